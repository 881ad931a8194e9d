//! The SIP load of `make bench`: a carrier that calls and a carrier that answers, one thread, one ring.
//!
//! `bench_calls --from IP:PORT --at IP:PORT --through IP:PORT --cpu CPU`. Calls leave `from` towards the system under test at
//! `through`, which routes them to `at`. Prints one line when its sockets stand, then answers lines of JSON with lines of JSON:
//!
//! - `{"rate": calls a second, "lead_in": s, "seconds": s, "pid": of the system, or a list}`: calls that end as soon as they are answered.
//! - `{"hold": calls, "rate": ...}`: sets calls up and keeps them. `{"release": calls a second}`: ends them.
//!
//! A call: INVITE with an offer, 180 and 200 back to back, ACK and BYE back to back, 200. Calls start at their time whatever
//! became of those before (open loop), and nothing is ever sent twice by itself: a message lost is a call failed.

use std::{
    collections::BTreeMap,
    io::{BufRead, Write},
    net::SocketAddr,
    time::{Duration, Instant},
};

use postern_uring::{Bell, Completion, Options, Ring, SocketId, SocketOptions, bind};
use serde_json::{Value, json};

#[path = "../bench_common/mod.rs"]
mod common;
#[path = "wire.rs"]
mod wire;
use common::{Reading, needed, percentiles, pids, settle};
use wire::Wire;

/// How long calls may take to end after the last was begun.
const PATIENCE: Duration = Duration::from_secs(4);
/// New calls between two looks at what has come.
const BURST: u64 = 32;

fn main() {
    let (from, at, through) = (needed("--from"), needed("--at"), needed("--through"));
    settle(needed("--cpu"));
    let mut load = Load::new(from, at, through);
    println!("{}", json!({ "ready": true }));
    for line in std::io::stdin().lock().lines() {
        let asked: Value = serde_json::from_str(&line.expect("a driver")).expect("JSON");
        let answer = match (asked["hold"].as_u64(), asked["release"].as_f64()) {
            (Some(calls), _) => load.hold(calls, asked["rate"].as_f64().expect("a rate")),
            (_, Some(rate)) => load.release(rate),
            _ => load.run(&asked),
        };
        println!("{answer}");
        std::io::stdout().flush().expect("a driver");
    }
}

struct Load {
    ring: Ring,
    caller: SocketId,
    callee: SocketId,
    wire: Wire,
    began: Instant,
    calls: Vec<Call>,
    /// Whether answered calls are kept.
    keeps: bool,
    counts: Counts,
    ringing_ns: Vec<u32>,
    answered_ns: Vec<u32>,
    text: String,
}

#[derive(Default)]
struct Call {
    stage: Stage,
    sent_ns: u64,
    /// The To header and the Contact of the answer, for ACK and BYE.
    to: Box<str>,
    target: Box<str>,
    /// The Route headers, when proxies wanted to stay in between (RFC 3261 12.1.2).
    route: Box<str>,
}

#[derive(Default, Clone, Copy, PartialEq, Eq)]
enum Stage {
    #[default]
    Invited,
    Ringing,
    Held,
    Ending,
    Over,
}

#[derive(Default)]
struct Counts {
    begun: u64,
    completed: u64,
    refused: BTreeMap<u32, u64>,
    /// Responses that said again what was known.
    repeated: u64,
    answered_here: u64,
    acked_here: u64,
    ended_here: u64,
    not_sent: u64,
}

impl Load {
    fn new(from: SocketAddr, at: SocketAddr, through: SocketAddr) -> Self {
        let options = Options {
            submissions: 1024,
            completions: 16384,
            receive_buffers: 8192,
            spare_buffers: 8192,
            buffer_size: 4096,
            sockets: 2,
        };
        let mut ring = Ring::new(&options, Bell::new().expect("a bell")).expect("a ring");
        let mut open = |address: SocketAddr| {
            let socket = bind(address, &SocketOptions::SIGNALING).unwrap_or_else(|error| panic!("{address}: {error}"));
            ring.add(socket).unwrap_or_else(|_| panic!("no room in the ring"))
        };
        let (caller, callee) = (open(from), open(at));
        Self {
            ring,
            caller,
            callee,
            wire: Wire { from, at, through, run: 0 },
            began: Instant::now(),
            calls: Vec::new(),
            keeps: false,
            counts: Counts::default(),
            ringing_ns: Vec::new(),
            answered_ns: Vec::new(),
            text: String::with_capacity(4096),
        }
    }

    fn begin(&mut self, keeps: bool, room: usize) {
        self.wire.run += 1;
        self.keeps = keeps;
        self.calls = Vec::with_capacity(room);
        self.ringing_ns = Vec::with_capacity(room);
        self.answered_ns = Vec::with_capacity(room);
        self.counts = Counts::default();
    }

    fn run(&mut self, asked: &Value) -> Value {
        let number = |key: &str| asked[key].as_f64().unwrap_or_else(|| panic!("{key} is missing"));
        let (rate, lead_in, seconds) = (number("rate"), number("lead_in"), number("seconds"));
        let pids = pids(asked);
        self.begin(false, (rate * (lead_in + seconds)) as usize + 1);
        let mut pace = Pace::new(rate, u64::MAX);
        self.invite_for(&mut pace, Duration::from_secs_f64(lead_in));
        let (completed, begun) = (self.counts.completed, self.counts.begun);
        self.ringing_ns.clear();
        self.answered_ns.clear();
        let before = Reading::take(&pids);
        self.invite_for(&mut pace, Duration::from_secs_f64(seconds));
        let used = before.until(&Reading::take(&pids));
        let (completed, begun) = (self.counts.completed - completed, self.counts.begun - begun);
        let (ringing, answered) = (percentiles(&mut self.ringing_ns), percentiles(&mut self.answered_ns));
        self.wait_until_over();
        let mut result = self.outcome();
        result["asked_rate"] = json!(rate);
        result["begun_per_second"] = json!(begun as f64 / used.seconds);
        result["completed_per_second"] = json!(completed as f64 / used.seconds);
        result["cpu_us_per_call"] = json!(used.system_ns as f64 / 1000.0 / completed.max(1) as f64);
        result["invite_to_180"] = ringing;
        result["invite_to_200"] = answered;
        result["used"] = used.json();
        result
    }

    fn hold(&mut self, calls: u64, rate: f64) -> Value {
        self.begin(true, calls as usize);
        let mut pace = Pace::new(rate, calls);
        self.invite_for(&mut pace, Duration::from_secs_f64(calls as f64 / rate + 0.05));
        let end = Instant::now() + PATIENCE;
        while self.calls.iter().any(|call| call.stage != Stage::Held) && Instant::now() < end {
            self.turn(Some(end));
        }
        let held = self.calls.iter().filter(|call| call.stage == Stage::Held).count();
        json!({ "held": held, "refused": self.counts.refused })
    }

    fn release(&mut self, rate: f64) -> Value {
        let mut pace = Pace::new(rate, self.calls.len() as u64);
        while pace.done < pace.most {
            while pace.is_due(Instant::now()) {
                let number = pace.done as usize - 1;
                if self.calls[number].stage == Stage::Held {
                    self.bye(number);
                }
            }
            self.turn(Some(pace.next()));
        }
        self.wait_until_over();
        self.outcome()
    }

    fn outcome(&mut self) -> Value {
        let failed = self.counts.begun - self.counts.completed;
        let counts = &self.counts;
        json!({
            "calls": counts.begun,
            "failed": failed,
            "refused": counts.refused,
            "repeated": counts.repeated,
            "not_sent": counts.not_sent,
            // At the answering side: each must be as many as there were calls.
            "answered_here": counts.answered_here,
            "acked_here": counts.acked_here,
            "ended_here": counts.ended_here,
        })
    }

    fn invite_for(&mut self, pace: &mut Pace, span: Duration) {
        let end = Instant::now() + span;
        while Instant::now() < end {
            let mut burst = 0;
            while burst < BURST && pace.is_due(Instant::now()) {
                self.invite();
                burst += 1;
            }
            self.turn(Some(pace.next().min(end)));
        }
    }

    fn wait_until_over(&mut self) {
        let end = Instant::now() + PATIENCE;
        // The far side's last BYE may come after the near side's last 200.
        let is_open = |counts: &Counts| counts.completed < counts.begun || counts.ended_here < counts.completed;
        while is_open(&self.counts) && Instant::now() < end {
            self.turn(Some(end));
        }
    }

    /// Sends what is queued, waits until something comes or the time, and answers all that came.
    fn turn(&mut self, until: Option<Instant>) {
        let _ = self.ring.wait(1, Duration::ZERO, until);
        let now_ns = self.began.elapsed().as_nanos() as u64;
        while let Some(completion) = self.ring.next() {
            let Completion::Datagram { socket, source, buffer } = completion else { continue };
            let Ok(message) = std::str::from_utf8(&buffer) else { continue };
            if socket == self.caller {
                self.response(now_ns, message);
            } else {
                self.request(source, message);
            }
        }
    }

    fn send(&mut self, socket: SocketId, to: SocketAddr) {
        let sent = self.ring.spare().and_then(|mut buffer| {
            buffer.fill(self.text.as_bytes()).ok()?;
            self.ring.send(socket, to, buffer).ok()
        });
        self.counts.not_sent += u64::from(sent.is_none());
    }

    fn invite(&mut self) {
        let number = self.calls.len();
        let sent_ns = self.began.elapsed().as_nanos() as u64;
        self.calls.push(Call { sent_ns, ..Call::default() });
        self.counts.begun += 1;
        self.text.clear();
        self.wire.invite(&mut self.text, number);
        self.send(self.caller, self.wire.through);
    }

    fn bye(&mut self, number: usize) {
        let call = &mut self.calls[number];
        call.stage = Stage::Ending;
        self.text.clear();
        self.wire.bye(&mut self.text, number, &call.target, (&call.to, &call.route));
        self.send(self.caller, self.wire.through);
    }

    /// What came to the calling side.
    fn response(&mut self, now_ns: u64, message: &str) {
        let Some(status) = wire::status(message) else { return };
        let Some(number) = wire::header(message, "call-id").and_then(|id| self.wire.number(id)) else { return };
        let Some(is_invite) = wire::header(message, "cseq").map(|cseq| cseq.ends_with("INVITE")) else { return };
        let Some(call) = self.calls.get_mut(number) else { return };
        let took = (now_ns.saturating_sub(call.sent_ns)).min(u64::from(u32::MAX)) as u32;
        match (status, is_invite, call.stage) {
            (100, ..) => {}
            (101..=199, true, Stage::Invited) => {
                call.stage = Stage::Ringing;
                self.ringing_ns.push(took);
            }
            (200, true, Stage::Invited | Stage::Ringing) => {
                let contact = wire::header(message, "contact").unwrap_or_default();
                call.target = contact.split(['<', '>']).nth(1).unwrap_or(contact).into();
                call.to = wire::header(message, "to").unwrap_or_default().into();
                call.route = wire::route(message);
                call.stage = Stage::Held;
                self.answered_ns.push(took);
                self.ack(number);
                if !self.keeps {
                    self.bye(number);
                }
            }
            // Our ACK was lost, or was slower than the answering side's patience.
            (200, true, _) => {
                self.counts.repeated += 1;
                self.ack(number);
            }
            (200, false, Stage::Ending) => {
                call.stage = Stage::Over;
                self.counts.completed += 1;
            }
            (300.., true, Stage::Invited | Stage::Ringing) => {
                call.stage = Stage::Over;
                call.to = wire::header(message, "to").unwrap_or_default().into();
                *self.counts.refused.entry(status).or_default() += 1;
                self.text.clear();
                self.wire.ack_refusal(&mut self.text, number, &self.calls[number].to);
                self.send(self.caller, self.wire.through);
            }
            (300.., false, Stage::Ending) => {
                call.stage = Stage::Over;
                *self.counts.refused.entry(status).or_default() += 1;
            }
            _ => self.counts.repeated += 1,
        }
    }

    fn ack(&mut self, number: usize) {
        let call = &self.calls[number];
        self.text.clear();
        self.wire.ack(&mut self.text, number, &call.target, (&call.to, &call.route));
        self.send(self.caller, self.wire.through);
    }

    /// What came to the answering side, which remembers nothing.
    fn request(&mut self, source: SocketAddr, message: &str) {
        let Some((method, _)) = message.split_once(' ') else { return };
        match method {
            "INVITE" => {
                self.counts.answered_here += 1;
                for (status, body) in [("180 Ringing", false), ("200 OK", true)] {
                    self.text.clear();
                    self.wire.answer(&mut self.text, message, status, body);
                    self.send(self.callee, source);
                }
            }
            "ACK" => self.counts.acked_here += 1,
            "BYE" => {
                self.counts.ended_here += 1;
                self.text.clear();
                self.wire.answer(&mut self.text, message, "200 OK", false);
                self.send(self.callee, source);
            }
            // OPTIONS, say: a carrier that is asked whether it lives.
            _ => {
                self.text.clear();
                self.wire.answer(&mut self.text, message, "200 OK", false);
                self.send(self.callee, source);
            }
        }
    }
}

/// When the next call is due.
struct Pace {
    rate: f64,
    begin: Instant,
    done: u64,
    most: u64,
}

impl Pace {
    fn new(rate: f64, most: u64) -> Self {
        Self { rate, begin: Instant::now(), done: 0, most }
    }

    fn is_due(&mut self, now: Instant) -> bool {
        let due = (now.duration_since(self.begin).as_secs_f64() * self.rate) as u64;
        let is_due = self.done < due.min(self.most);
        self.done += u64::from(is_due);
        is_due
    }

    fn next(&self) -> Instant {
        if self.done >= self.most {
            return self.begin + Duration::from_secs(3600);
        }
        self.begin + Duration::from_secs_f64((self.done + 1) as f64 / self.rate)
    }
}

//! The RTP load of `make bench`, the same for every relay: G.711 packets from a socket for each leg, and their times.
//!
//! `bench_rtp --legs N --address IP --port FIRST --cpu CPU`. Leg n has port FIRST + 2n; what it sends should arrive at leg n ^ 1.
//! Prints one line when its sockets stand, then answers lines of JSON with lines of JSON:
//!
//! - `{"aim": ["ip:port", ...]}`: where each leg sends; `"direct"` instead of the list: past any relay, to each other. With
//!   `"keys": [[ours, theirs] | null, ...]` a leg speaks SRTP (AES_CM_128_HMAC_SHA1_80; keys and salts in hexadecimal digits).
//!   With `"sides": "pcma,opus"` legs speak, even ones the first codec, odd ones the second, instead of telling times; with
//!   `"speakers": N` only the first N do, and the others send silence.
//! - `{"run": "flood" | packets a second, "pid": of the system under test, "lead_in": s, "seconds": s}`: one measurement.
//!
//! In a flood some thousand packets are under way, equally many of each leg, and a leg sends its next when one has come
//! back: the system under test is kept as busy as it can be without losing packets in socket buffers. At a rate packets
//! leave one by one, evenly in time and in an order of legs that means nothing to a cache. One thread on one ring.

use std::{
    collections::VecDeque,
    io::{BufRead, Write},
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

use postern_srtp::SrtpContext;
use postern_uring::{Bell, Completion, Options, Ring, SocketId, SocketOptions, bind};
use serde_json::{Value, json};

#[path = "../bench_common/mod.rs"]
mod common;
#[path = "../bench_common/side.rs"]
mod side;
mod speech;
use common::{Reading, needed, percentiles, pids, settle};
use speech::Speech;

/// Header and 20 ms of G.711.
const PACKET: usize = 172;
/// An SRTP tag besides, and some.
const ROOM: usize = 512;
/// Sends between two looks at what has come.
const BURST: usize = 64;
/// The same of a load that sleeps.
const BURST_AFTER_SLEEP: usize = 1000;
/// How long it sleeps, and more completions than come meanwhile.
const SLEEP: Duration = Duration::from_millis(1);
const SLEEPS: usize = 16_000;
/// Packets under way in a flood, of all legs together; more of them when there are more legs.
const FLOOD: usize = 4000;
/// When nothing of a leg comes back for so long, what was under way is lost.
const LOST_AFTER: Duration = Duration::from_millis(500);
/// Most that a rate may lag behind before the load counts as too slow: what is beyond is not made up for.
const LAG_MAX: u64 = 2000;

fn main() {
    let (legs, address, port): (u16, IpAddr, u16) = (needed("--legs"), needed("--address"), needed("--port"));
    settle(needed("--cpu"));
    let mut load = Load::new(legs, address, port);
    println!("{}", json!({ "ready": legs }));
    for line in std::io::stdin().lock().lines() {
        let asked: Value = serde_json::from_str(&line.expect("a driver")).expect("JSON");
        let answer = match asked.get("aim") {
            Some(aim) => load.aim(aim, &asked),
            None => load.run(&asked),
        };
        println!("{answer}");
        std::io::stdout().flush().expect("a driver");
    }
}

struct Load {
    ring: Ring,
    legs: Vec<Leg>,
    /// The legs in the order of sending.
    order: Vec<u32>,
    began: Instant,
    /// Told in each packet, so that those of an earlier run are known.
    run: u32,
    /// What even and odd legs say, when they speak.
    speech: Option<[Speech; 2]>,
    /// What they say who only listen: all legs but the first so many.
    silence: Option<[Speech; 2]>,
    speakers: u64,
    /// A packet before and after SRTP; its audio is a ramp, so that no packet is all equal.
    room: [u8; ROOM],
}

struct Leg {
    socket: SocketId,
    own: SocketAddr,
    to: SocketAddr,
    sequence: u16,
    /// Packets under way in a flood.
    flying: u32,
    /// When the last came back or was sent, nanoseconds since `began`.
    heard_ns: u64,
    /// What protects its packets, and what opens those of the system.
    srtp: Option<[SrtpContext; 2]>,
}

#[derive(Default)]
struct Counts {
    sent: u64,
    received: u64,
    lost: u64,
    skipped: u64,
}

impl Load {
    fn new(legs: u16, address: IpAddr, port: u16) -> Self {
        let options = Options {
            submissions: 1024,
            completions: 32768,
            receive_buffers: 16384,
            spare_buffers: 8192,
            buffer_size: 512,
            sockets: u32::from(legs),
        };
        let mut ring = Ring::new(&options, Bell::new().expect("a bell")).expect("a ring");
        let legs: Vec<Leg> = (0..legs)
            .map(|leg| {
                let own = SocketAddr::new(address, port + 2 * leg);
                let socket = bind(own, &SocketOptions::MEDIA).unwrap_or_else(|error| panic!("{own}: {error}"));
                let socket = ring.add(socket).unwrap_or_else(|_| panic!("no room in the ring"));
                Leg { socket, own, to: own, sequence: 0, flying: 0, heard_ns: 0, srtp: None }
            })
            .collect();
        let mut order: Vec<u32> = (0..legs.len() as u32).collect();
        // The same shuffle in every run.
        let mut state = 1u64;
        for at in (1..order.len()).rev() {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            order.swap(at, (state >> 33) as usize % (at + 1));
        }
        let room = std::array::from_fn(|at| at as u8);
        Self { ring, legs, order, began: Instant::now(), run: 0, speech: None, silence: None, speakers: u64::MAX, room }
    }

    fn aim(&mut self, aim: &Value, asked: &Value) -> Value {
        let given = aim.as_array();
        let speech = |speaks| {
            asked["sides"].as_str().map(|sides| side::formats(sides).map(|format| Speech::new(&format, speaks)))
        };
        (self.speech, self.silence) = (speech(true), speech(false));
        self.speakers = asked["speakers"].as_u64().unwrap_or(u64::MAX);
        for (leg, keys) in self.legs.iter_mut().zip(asked["keys"].as_array().into_iter().flatten()) {
            let key = |at: usize| keys[at].as_str().map(side::key);
            leg.srtp = key(0).zip(key(1)).map(|(ours, theirs)| {
                [SrtpContext::outbound(&ours), SrtpContext::inbound(&theirs)].map(|made| made.expect("a good key"))
            });
        }
        for at in 0..self.legs.len() {
            let to = match given {
                Some(list) => list[at].as_str().and_then(|text| text.parse().ok()).expect("ip:port"),
                None => self.legs[at ^ 1].own,
            };
            self.legs[at].to = to;
            self.ring.connect(self.legs[at].socket, to).expect("loopback can be connected to");
        }
        json!({ "aimed": self.legs.len() })
    }

    fn run(&mut self, asked: &Value) -> Value {
        let seconds = |key: &str| Duration::from_secs_f64(asked[key].as_f64().expect("seconds"));
        let pids = pids(asked);
        let rate = asked["run"].as_f64();
        self.run += 1;
        self.legs.iter_mut().for_each(|leg| leg.flying = 0);
        let mut times = Vec::with_capacity(4 << 20);
        let mut counts = Counts::default();
        let mut pace = Pace::new(rate, &self.order);
        pace.sleeps = asked["sleeps"].as_bool() == Some(true);
        self.serve(&mut pace, seconds("lead_in"), &mut counts, &mut times);
        times.clear();
        counts = Counts::default();
        let before = Reading::take(&pids);
        self.serve(&mut pace, seconds("seconds"), &mut counts, &mut times);
        let used = before.until(&Reading::take(&pids));
        // What is still under way belongs to nobody; wait for it, so that a relay is idle when the next run begins.
        let measured = (counts.sent, counts.received, counts.lost, counts.skipped);
        pace = Pace::new(Some(0.0), &self.order);
        self.serve(&mut pace, Duration::from_millis(100), &mut Counts::default(), &mut Vec::new());
        let (sent, received, lost, skipped) = measured;
        let lost = if rate.is_some() { sent.saturating_sub(received) } else { lost };
        json!({
            "sent": sent,
            "received": received,
            "lost": lost,
            "loss": lost as f64 / sent.max(1) as f64,
            "not_sent": skipped,
            "packets_per_second": received as f64 / used.seconds,
            "machine_ns_per_packet": used.machine_ns as f64 / received.max(1) as f64,
            "cpu_ns_per_packet": used.system_ns as f64 / received.max(1) as f64,
            "latency": percentiles(&mut times),
            "used": used.json(),
        })
    }

    /// Sends as the pace says and receives, for a while.
    fn serve(&mut self, pace: &mut Pace, span: Duration, counts: &mut Counts, times: &mut Vec<u32>) {
        let begin = Instant::now();
        let end = begin + span;
        let mut look_for_lost = begin + LOST_AFTER;
        pace.begin = begin;
        pace.done = 0;
        loop {
            let now = Instant::now();
            if now >= end {
                return;
            }
            let now_ns = now.duration_since(self.began).as_nanos() as u64;
            let mut sent = 0;
            while sent < pace.burst()
                && let Some(leg) = pace.next(now, counts)
            {
                if !self.send(leg, now_ns) {
                    pace.again(leg);
                    break;
                }
                sent += 1;
            }
            counts.sent += sent as u64;
            // In a flood there is nothing to do until packets come back; a few at a time are cheaper. A rate keeps time.
            match pace.rate {
                None if sent < BURST => {
                    let _ = self.ring.wait(sent + 16, Duration::from_micros(50), Some(now + Duration::from_millis(50)));
                }
                // Nothing wakes it but its clock, neither packets that come nor sends that are done.
                Some(_) if pace.sleeps => drop(self.ring.wait(SLEEPS, Duration::ZERO, Some(now + SLEEP))),
                Some(0.0) => drop(self.ring.wait(1, Duration::ZERO, Some(end))),
                _ => drop(self.ring.wait(1, Duration::ZERO, Some(now))),
            }
            self.receive(pace, counts, times);
            if now >= look_for_lost {
                look_for_lost = now + LOST_AFTER;
                self.give_up_lost(pace, now_ns, counts);
            }
        }
    }

    fn send(&mut self, leg: u32, now_ns: u64) -> bool {
        let Some(mut buffer) = self.ring.spare() else { return false };
        let one = &mut self.legs[leg as usize];
        let room = &mut self.room;
        room[0] = 0x80;
        room[2..4].copy_from_slice(&one.sequence.to_be_bytes());
        room[8..12].copy_from_slice(&(0x5000_0000 + leg).to_be_bytes());
        let said = if u64::from(leg) < self.speakers { &self.speech } else { &self.silence };
        let mut len = if let Some(speech) = said {
            speech[leg as usize % 2].say(one.sequence, room)
        } else {
            room[1] = 8;
            room[4..8].copy_from_slice(&(u32::from(one.sequence) * 160).to_be_bytes());
            room[12..20].copy_from_slice(&now_ns.to_be_bytes());
            room[20..24].copy_from_slice(&leg.to_be_bytes());
            room[24..28].copy_from_slice(&self.run.to_be_bytes());
            PACKET
        };
        if let Some([ours, _]) = &mut one.srtp {
            len = ours.protect_rtp(room, len).expect("a good packet");
        }
        if buffer.fill(&room[..len]).is_err() {
            return false;
        }
        one.sequence = one.sequence.wrapping_add(1);
        one.flying += 1;
        one.heard_ns = one.heard_ns.max(now_ns);
        self.ring.send(one.socket, one.to, buffer).is_ok()
    }

    fn receive(&mut self, pace: &mut Pace, counts: &mut Counts, times: &mut Vec<u32>) {
        // One reading a batch: what a batch takes to read is small against what is measured.
        let now_ns = self.began.elapsed().as_nanos() as u64;
        while let Some(completion) = self.ring.next() {
            let Completion::Datagram { socket, buffer, .. } = completion else { continue };
            if self.speech.is_some() {
                // RTCP is no audio.
                counts.received += u64::from(buffer.len() > 12 && !(200..=207).contains(&buffer[1]));
                continue;
            }
            let mut opened = [0; ROOM];
            // Sockets stand in the order of legs.
            let receiver = self.legs.get_mut(socket.index as usize).filter(|leg| leg.socket == socket);
            let packet = match receiver.and_then(|leg| leg.srtp.as_mut()) {
                Some([_, theirs]) if buffer.len() < ROOM => {
                    opened[..buffer.len()].copy_from_slice(&buffer);
                    let Ok(len) = theirs.unprotect_rtp(&mut opened, buffer.len()) else { continue };
                    &opened[..len]
                }
                _ => &buffer[..],
            };
            if packet.len() != PACKET {
                continue;
            }
            let word = |at: usize| u32::from_be_bytes(packet[at..at + 4].try_into().expect("four bytes"));
            let sent_ns = u64::from_be_bytes(packet[12..20].try_into().expect("eight bytes"));
            let leg = word(20);
            if word(24) != self.run {
                continue;
            }
            counts.received += 1;
            if times.len() < times.capacity() {
                times.push(now_ns.saturating_sub(sent_ns).min(u64::from(u32::MAX)) as u32);
            }
            if let Some(one) = self.legs.get_mut(leg as usize)
                && one.flying > 0
            {
                one.flying -= 1;
                one.heard_ns = now_ns;
                pace.again(leg);
            }
        }
    }

    fn give_up_lost(&mut self, pace: &mut Pace, now_ns: u64, counts: &mut Counts) {
        if pace.rate.is_some() {
            return;
        }
        for (at, leg) in self.legs.iter_mut().enumerate() {
            if leg.flying > 0 && now_ns.saturating_sub(leg.heard_ns) > LOST_AFTER.as_nanos() as u64 {
                counts.lost += u64::from(leg.flying);
                (0..std::mem::take(&mut leg.flying)).for_each(|_| pace.again(at as u32));
            }
        }
    }
}

/// Who sends next.
struct Pace {
    /// Packets a second; none for a flood.
    rate: Option<f64>,
    begin: Instant,
    /// Packets of the rate that are sent or given up, since `begin`.
    done: u64,
    order: Vec<u32>,
    turn: usize,
    /// Sends what is due once a millisecond and sleeps between, instead of looking all the time: what the machine works is then
    /// the packets' work.
    sleeps: bool,
    /// In a flood: legs that may send.
    free: VecDeque<u32>,
}

impl Pace {
    fn new(rate: Option<f64>, order: &[u32]) -> Self {
        let each = FLOOD.div_ceil(order.len());
        let free = if rate.is_none() { order.repeat(each).into() } else { VecDeque::new() };
        Self { rate, begin: Instant::now(), done: 0, order: order.to_vec(), turn: 0, sleeps: false, free }
    }

    fn burst(&self) -> usize {
        if self.sleeps { BURST_AFTER_SLEEP } else { BURST }
    }

    fn next(&mut self, now: Instant, counts: &mut Counts) -> Option<u32> {
        let Some(rate) = self.rate else { return self.free.pop_front() };
        let due = (now.duration_since(self.begin).as_secs_f64() * rate) as u64;
        if due.saturating_sub(self.done) > LAG_MAX {
            counts.skipped += due - self.done - LAG_MAX;
            self.done = due - LAG_MAX;
        }
        if self.done >= due {
            return None;
        }
        self.done += 1;
        let leg = self.order[self.turn];
        self.turn = (self.turn + 1) % self.order.len();
        Some(leg)
    }

    /// A leg that may send again, or could not send yet.
    fn again(&mut self, leg: u32) {
        if self.rate.is_none() {
            self.free.push_back(leg);
        }
    }
}

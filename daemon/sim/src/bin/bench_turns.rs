//! What a call costs the switch alone: no socket, no other thread, no kernel. Pieces of memory, bytes, and time a call.
//!
//! `bench_turns [CALLS]`. The messages are those of `bench_calls`, time is virtual: a hundred calls a second, so that what
//! is remembered for 32 seconds comes and goes as it does in the daemon. Under `valgrind --tool=callgrind
//! --toggle-collect='*measured*'` it tells instructions, which another load on the machine does not change.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use postern_config::NoFiles;
use postern_sim::media::Media;
use postern_switch::{Input, Output, Switch};
use postern_types::{Now, UnixMicros};

#[path = "../../../plane/media/tests/support/counting.rs"]
mod counting;
#[path = "bench_calls/wire.rs"]
#[allow(dead_code, reason = "a refusal is not part of this load")]
mod wire;
use wire::Wire;

const NEAR: &str = "127.0.0.7:5060";
const FAR: &str = "127.0.0.10:5060";
const CALLER: &str = "127.0.0.8:5060";
const CALLEE: &str = "127.0.0.9:5060";
const YAML: &str = "
appliance: {name: bench}
realms:
  near: {signaling: '127.0.0.7:5060', media: {ports: 10000-59999}}
  far: {signaling: '127.0.0.10:5060', media: {ports: 10000-59999}}
trunks:
  left: {realm: near, address: '127.0.0.8:5060'}
  right: {realm: far, address: '127.0.0.9:5060'}
routes:
  - {name: transit, from: {trunk: left}, to: {trunk: right}}
";
/// Between two calls: a hundred a second.
const APART: Duration = Duration::from_millis(10);
/// Calls before counting: those of the 32 seconds that a transaction lives, and some.
const LEAD_IN: usize = 4000;

fn main() {
    let calls = std::env::args().nth(1).map_or(4000, |text| text.parse().expect("a number of calls"));
    let mut house = House::new();
    house.lead_in();
    let (pieces, (bytes, _)) = (counting::allocations(), counting::bytes());
    let began = Instant::now();
    house.measured(calls);
    let took = began.elapsed();
    let each = |count: u64| count as f64 / calls as f64;
    println!(
        "{:.1} us a call, {:.1} pieces of memory, {:.0} bytes of them, {} calls whole of {}",
        took.as_secs_f64() * 1e6 / calls as f64,
        each(counting::allocations() - pieces),
        each(counting::bytes().0 - bytes),
        house.ended,
        LEAD_IN + calls,
    );
    house.forget();
    let (_, live) = counting::bytes();
    house.hold(1000);
    println!("{:.0} bytes a held call", (counting::bytes().1 - live) as f64 / 1000.0);
}

struct House {
    switch: Switch,
    media: Media,
    wire: Wire,
    now: Now,
    begun: usize,
    ended: usize,
    holds: bool,
    text: String,
}

impl House {
    fn new() -> Self {
        let Ok((config, _)) = postern_config::load("bench.yaml", YAML, &NoFiles) else { panic!("a bad configuration") };
        let now = Now { instant: Instant::now(), wall: UnixMicros(1_790_000_000_000_000) };
        let at = |text: &str| text.parse().expect("an address");
        Self {
            switch: Switch::new(Arc::new(config), [7; 32], 0, now),
            media: Media::new(20_000),
            wire: Wire { from: at(CALLER), at: at(CALLEE), through: at(NEAR), run: 1 },
            now,
            begun: 0,
            ended: 0,
            holds: false,
            text: String::new(),
        }
    }

    #[inline(never)]
    fn lead_in(&mut self) {
        (0..LEAD_IN).for_each(|_| self.call());
    }

    #[inline(never)]
    fn measured(&mut self, calls: usize) {
        (0..calls).for_each(|_| self.call());
    }

    /// Sets calls up and keeps them past the life of their transactions.
    fn hold(&mut self, calls: usize) {
        self.holds = true;
        (0..calls).for_each(|_| self.call());
        self.forget();
    }

    /// Lets the time pass for which ended transactions are remembered.
    fn forget(&mut self) {
        for _ in 0..6000 {
            self.pass();
        }
    }

    fn pass(&mut self) {
        self.now = self.now + APART;
        if self.switch.next_deadline().is_some_and(|at| at <= self.now.instant) {
            self.switch.handle_timeout(self.now);
            self.carry();
        }
    }

    fn call(&mut self) {
        self.pass();
        let number = self.begun;
        self.begun += 1;
        let mut text = std::mem::take(&mut self.text);
        text.clear();
        self.wire.invite(&mut text, number);
        self.datagram(NEAR, CALLER, text.as_bytes());
        self.text = text;
        self.carry();
    }

    fn datagram(&mut self, local: &str, source: &str, bytes: &[u8]) {
        let at = |text: &str| -> SocketAddr { text.parse().expect("an address") };
        self.switch.handle_input(self.now, Input::Datagram { local: at(local), source: at(source), bytes });
    }

    fn carry(&mut self) {
        while let Some(output) = self.switch.poll_output() {
            match output {
                Output::Send { destination, bytes, .. } => {
                    let message = std::str::from_utf8(&bytes).expect("SIP is text");
                    if destination == self.wire.at { self.callee(message) } else { self.caller(message) }
                }
                Output::Media(command) => {
                    self.media.command(self.now, command);
                    while let Some(event) = self.media.poll_event(self.now.instant) {
                        self.switch.handle_input(self.now, Input::Media(event));
                    }
                }
                _ => {}
            }
        }
    }

    fn caller(&mut self, message: &str) {
        let is_invite = wire::header(message, "cseq").is_some_and(|cseq| cseq.ends_with("INVITE"));
        match (wire::status(message), is_invite) {
            (Some(200), true) => {}
            (Some(200), false) => {
                self.ended += 1;
                return;
            }
            _ => return,
        }
        let number = wire::header(message, "call-id").and_then(|id| self.wire.number(id)).expect("a call of ours");
        let contact = wire::header(message, "contact").unwrap_or_default();
        let target = contact.split(['<', '>']).nth(1).unwrap_or(contact);
        let to = wire::header(message, "to").unwrap_or_default();
        let mut text = String::new();
        self.wire.ack(&mut text, number, target, (to, ""));
        self.datagram(NEAR, CALLER, text.as_bytes());
        if !self.holds {
            text.clear();
            self.wire.bye(&mut text, number, target, (to, ""));
            self.datagram(NEAR, CALLER, text.as_bytes());
        }
    }

    fn callee(&mut self, message: &str) {
        let answers: &[_] = match message.split_once(' ') {
            Some(("INVITE", _)) => &[("180 Ringing", false), ("200 OK", true)],
            Some(("BYE", _)) => &[("200 OK", false)],
            _ => &[],
        };
        for (status, with_body) in answers {
            let mut text = String::with_capacity(2048);
            self.wire.answer(&mut text, message, status, *with_body);
            self.datagram(FAR, CALLEE, text.as_bytes());
        }
    }
}

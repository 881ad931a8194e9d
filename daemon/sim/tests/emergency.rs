//! A call for help in the simulated world: every combination of what can stand in its way, and it is answered.

use std::time::Duration;

use postern_signaling::Load;
use postern_sim::{
    World,
    network::Faults,
    phone::{Habits, Stage},
};
use postern_switch::{Reply, Request};

const ACME: &str = "127.0.0.11:5060";
const FIRST: &str = "127.0.0.12:5060";
const SECOND: &str = "127.0.0.13:5060";
const BOX_CARRIER: &str = "127.0.0.2:5060";
const BOX_PHONES: &str = "127.0.0.3:5060";
const ALICE: &str = "127.0.0.21:5060";

/// The route's schedule is closed at all times but an hour of the night.
const YAML: &str = r#"
appliance: { name: sim, state_folder: /tmp/postern-sim, runtime_folder: /tmp/postern-sim }
realms:
  carrier: { signaling: ["127.0.0.2:5060"], media: { addresses: ["127.0.0.2"], ports: 20000-20999 }, emergency: ["112"] }
  phones:
    { signaling: ["127.0.0.3:5060"], media: { addresses: ["127.0.0.3"], ports: 20000-20999 }, registrations: true, emergency: ["112"] }
trunks:
  acme: { realm: carrier, address: "127.0.0.11:5060", codecs: [PCMA, PCMU], limits: { calls_in: 1, rate_in: 1, burst: 1 } }
  first: { realm: carrier, address: "127.0.0.12:5060", codecs: [PCMA, PCMU], probe: { again: 5s } }
  second:
    { realm: carrier, address: "127.0.0.13:5060", codecs: [PCMA, PCMU], calls_max: 1, limits: { rate_out: 1, burst: 1 }, probe: { again: 5s } }
groups:
  help: { trunks: [{ trunk: first, priority: 1 }, { trunk: second, priority: 2 }] }
schedules:
  night: { time_zone: UTC, hours: [{ days: [holiday], from: "03:00", to: "04:00" }], holidays: [2000-01-01] }
users:
  alice: { password: secret-a }
routes:
  - { name: help, from: any, prefix: "112", to: { group: help }, schedule: night, timeout: 30s }
  - { name: others, from: any, prefix: "+", to: { trunk: second }, timeout: 30s }
protection: { rate: 20 }
"#;

/// What stands in the way, a bit each.
#[derive(Debug, Clone, Copy)]
struct Odds(u32);

impl Odds {
    const ALL: u32 = 1 << 8;

    fn is(self, bit: u32) -> bool {
        self.0 & (1 << bit) != 0
    }

    /// The first way out is dead, and nobody knows yet.
    fn first_is_dead(self) -> bool {
        self.is(0)
    }
    /// The second was found dead, and came back this moment.
    fn second_was_down(self) -> bool {
        self.is(1)
    }
    /// Calls of others fill what the trunks may carry.
    fn trunks_are_full(self) -> bool {
        self.is(2)
    }
    /// The last ports and the last of the workers' time are kept.
    fn media_is_short(self) -> bool {
        self.is(3)
    }
    fn drains(self) -> bool {
        self.is(4)
    }
    fn is_overloaded(self) -> bool {
        self.is(5)
    }
    /// Somebody at the caller's address guesses passwords, and sends more than a source may.
    fn source_is_banned(self) -> bool {
        self.is(6)
    }
    fn network_is_bad(self) -> bool {
        self.is(7)
    }
}

fn noise(world: &mut World) {
    for n in 0..60 {
        let text = format!(
            "REGISTER sip:127.0.0.3 SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.21:6000;branch=z9hG4bK-n{n};rport\r\nMax-Forwards: 70\r\n\
             From: <sip:alice@127.0.0.3>;tag=n{n}\r\nTo: <sip:alice@127.0.0.3>\r\nCall-ID: n{n}\r\nCSeq: 1 REGISTER\r\n\
             Contact: <sip:alice@127.0.0.21:6000>\r\nAuthorization: Digest username=\"alice\", realm=\"sip\", nonce=\"0\", \
             uri=\"sip:x\", response=\"0\", qop=auth, nc=00000001, cnonce=\"c\"\r\nContent-Length: 0\r\n\r\n"
        );
        world.datagram(BOX_PHONES, "127.0.0.21:6000", &text);
    }
}

#[test]
fn row_14_a_call_for_help_is_answered_whatever_stands_in_its_way() {
    for seed in 0..Odds::ALL {
        let odds = Odds(seed);
        let faults = if odds.network_is_bad() { Faults::BAD } else { Faults::NONE };
        let mut world = World::new(seed.into(), YAML, faults);
        let lasting = Habits { hang_up_after: None, ..Habits::default() };
        let [acme, first, second] =
            [ACME, FIRST, SECOND].map(|address| world.phone("+15559999", "", address, BOX_CARRIER));
        let alice = world.phone("alice", "secret-a", ALICE, BOX_PHONES);
        for phone in &mut world.phones {
            phone.habits = lasting;
        }
        world.with(alice, |phone, now| phone.register(now, 3600));
        assert!(world.run_until(Duration::from_secs(40), |world| world.phones[alice].registered), "{odds:?}");

        if odds.trunks_are_full() {
            world.with(acme, |phone, now| phone.call(now, "+4930"));
            world.run(Duration::from_secs(20));
            assert_eq!(world.phones[second].live(), 1, "{odds:?}");
        }
        if odds.second_was_down() {
            world.phones[second].gone = true;
            world.run(Duration::from_secs(120));
            assert!(!world.facts("trunk.down").is_empty(), "{odds:?}");
            world.phones[second].gone = false;
        }
        if odds.first_is_dead() {
            world.phones[first].gone = true;
        }
        world.media.is_short = odds.media_is_short();
        if odds.drains() {
            assert!(matches!(world.ask(Request::Drain { on: true }), Reply::Done));
        }
        if odds.source_is_banned() {
            noise(&mut world);
            assert!(!world.facts("source.banned").is_empty(), "{odds:?}");
        }
        if odds.is_overloaded() {
            world.load(Load { busy: 1000, turn: Duration::from_millis(40) }, 20);
        }

        for caller in [alice, acme] {
            let call = world.with(caller, |phone, now| phone.call(now, "112"));
            let is_up = |world: &World| world.phones[caller].calls[call].stage == Stage::Answered;
            assert!(
                world.run_until(Duration::from_secs(60), is_up),
                "{odds:?}: {:?} of {:?}",
                world.phones[caller].calls[call].stage,
                world.phones[caller].address
            );
        }
        // Nobody else gets in by the same door.
        if odds.media_is_short() || odds.drains() || odds.trunks_are_full() {
            let call = world.with(acme, |phone, now| phone.call(now, "+4931"));
            let is_over = |world: &World| world.phones[acme].calls[call].is_over();
            assert!(world.run_until(Duration::from_secs(60), is_over), "{odds:?}");
        }
        for phone in [alice, acme] {
            for call in 0..world.phones[phone].calls.len() {
                world.with(phone, |phone, now| phone.hang_up(now, call));
            }
        }
        // A probe is no call, and is remembered as long.
        world.configure(&YAML.replace(", probe: { again: 5s }", ""));
        world.run(Duration::from_secs(120));
        world.assert_at_rest();
    }
}

//! Floods in the simulated world: whoever is known goes on as if nothing were.

use std::time::Duration;

use postern_signaling::Load;
use postern_sim::{World, network::Faults, phone::Stage};
use postern_switch::{Reply, Request};

const CARRIER: &str = "127.0.0.11:5060";
const BOX_CARRIER: &str = "127.0.0.2:5060";
const BOX_PHONES: &str = "127.0.0.3:5060";
const ALICE: &str = "127.0.0.21:5060";

const YAML: &str = r#"
appliance: { name: sim, state_folder: /tmp/postern-sim, runtime_folder: /tmp/postern-sim }
realms:
  carrier: { signaling: ["127.0.0.2:5060"], media: { addresses: ["127.0.0.2"], ports: 20000-20999 } }
  phones: { signaling: ["127.0.0.3:5060"], media: { addresses: ["127.0.0.3"], ports: 20000-20999 }, registrations: true }
trunks:
  acme: { realm: carrier, address: "127.0.0.11:5060", codecs: [PCMA, PCMU] }
users:
  alice: { password: secret-a }
numbers:
  "+15550001": { user: alice, timeout: 30s }
"#;

fn request(method: &str, source: &str, call: u32, rest: &str) -> String {
    format!(
        "{method} sip:+15550001@127.0.0.2 SIP/2.0\r\nVia: SIP/2.0/UDP {source};branch=z9hG4bK-{call};rport\r\nMax-Forwards: 70\r\n\
         From: <sip:alice@127.0.0.3>;tag=f{call}\r\nTo: <sip:alice@127.0.0.3>\r\nCall-ID: c{call}\r\nCSeq: 1 {method}\r\n\
         Contact: <sip:alice@{source}>\r\n{rest}Content-Length: 0\r\n\r\n"
    )
}

/// Strangers of a hundred sources: some guess a password, some scan, some send noise, some only knock.
fn flood(world: &mut World, from: u32, count: u32) {
    for n in from..from + count {
        let source = format!("10.0.{}.{}:5060", n / 10 % 4, n % 25 + 1);
        let guess = "Authorization: Digest username=\"alice\", realm=\"sip\", nonce=\"0\", uri=\"sip:x\", response=\"0\", \
                     qop=auth, nc=00000001, cnonce=\"c\"\r\n";
        let text = match n % 5 {
            0 => request("REGISTER", &source, n, guess),
            1 => request("OPTIONS", &source, n, "User-Agent: friendly-scanner\r\n"),
            2 => format!("noise {n}"),
            3 => request("INVITE", &source, n, ""),
            _ => request("REGISTER", &source, n, ""),
        };
        world.datagram(if n % 2 == 0 { BOX_PHONES } else { BOX_CARRIER }, &source, &text);
    }
}

#[test]
fn row_16_in_a_flood_of_strangers_every_call_goes_on_and_the_strangers_are_banned() {
    for seed in 0..3 {
        let mut world = World::new(seed, YAML, if seed == 0 { Faults::NONE } else { Faults::BAD });
        let carrier = world.phone("+15559999", "", CARRIER, BOX_CARRIER);
        let alice = world.phone("alice", "secret-a", ALICE, BOX_PHONES);
        world.with(alice, |phone, now| phone.register(now, 3600));
        assert!(world.run_until(Duration::from_secs(40), |world| world.phones[alice].registered), "seed {seed}");
        world.phones[carrier].habits.hang_up_after = Some(Duration::from_secs(5));
        for second in 0..10 {
            world.with(carrier, |phone, now| phone.call(now, "+15550001"));
            for tenth in 0..10 {
                flood(&mut world, (second * 10 + tenth) * 200, 200);
                world.run(Duration::from_millis(100));
            }
        }
        world.run(Duration::from_secs(120));
        let ends: Vec<_> = world.phones[carrier].calls.iter().map(|call| call.stage).collect();
        assert_eq!(ends, [Stage::Over(200); 10], "seed {seed}");
        let Reply::Bans(bans) = world.ask(Request::Bans) else { panic!() };
        assert!(bans.len() >= 40 && bans.iter().all(|ban| ban.source.starts_with("10.0.")), "seed {seed}: {bans:?}");
        let status = world.status();
        assert!(status.banned > 10_000, "seed {seed}: {status:?}");
        assert!(world.facts("source.banned").len() as u64 <= status.bans);
        world.assert_at_rest();
    }
}

#[test]
fn row_17_in_an_overload_calls_that_live_end_well_and_new_ones_are_refused_or_served_whole() {
    for seed in 0..10 {
        let mut world = World::new(seed, YAML, if seed == 0 { Faults::NONE } else { Faults::BAD });
        let carrier = world.phone("+15559999", "", CARRIER, BOX_CARRIER);
        let alice = world.phone("alice", "secret-a", ALICE, BOX_PHONES);
        world.with(alice, |phone, now| phone.register(now, 3600));
        assert!(world.run_until(Duration::from_secs(40), |world| world.phones[alice].registered), "seed {seed}");
        world.phones[carrier].habits.hang_up_after = Some(Duration::from_secs(20));
        for _ in 0..5 {
            world.with(carrier, |phone, now| phone.call(now, "+15550001"));
            world.run(Duration::from_secs(3));
        }
        let hot = Load { busy: 1000, turn: Duration::from_millis(40) };
        for _ in 0..40 {
            world.with(carrier, |phone, now| phone.call(now, "+15550001"));
            world.load(hot, 5);
        }
        world.load(Load { busy: 400, turn: Duration::from_millis(1) }, 60);
        assert_eq!(world.status().shedding, 0, "seed {seed}: it is over");
        world.run(Duration::from_secs(120));
        let ends: Vec<_> = world.phones[carrier].calls.iter().map(|call| call.stage).collect();
        assert_eq!(ends[..5], [Stage::Over(200); 5], "seed {seed}: those that lived before");
        let (served, refused) = (Stage::Over(200), Stage::Over(503));
        assert!(ends.iter().all(|end| *end == served || *end == refused), "seed {seed}: {ends:?}");
        assert!(ends.iter().filter(|end| **end == refused).count() > 20, "seed {seed}: {ends:?}");
        assert_eq!((world.facts("appliance.overloaded").len(), world.facts("appliance.recovered").len()), (1, 1));
        world.assert_at_rest();
    }
}

#[test]
fn a_ban_is_lifted_and_told() {
    let mut world = World::new(1, YAML, Faults::NONE);
    world.datagram(BOX_CARRIER, "10.0.0.1:5060", &request("OPTIONS", "10.0.0.1:5060", 1, "User-Agent: sipvicious\r\n"));
    world.configure(&YAML.replace("name: sim", "name: other"));
    let source = "10.0.0.1".parse().unwrap();
    assert!(matches!(world.ask(Request::LiftBan { source, by: "test".into() }), Reply::Done), "it outlived the reload");
    assert!(matches!(world.ask(Request::LiftBan { source, by: "test".into() }), Reply::NotLive));
    assert_eq!(world.facts("source.ban_lifted").len(), 1);
}

#[test]
fn a_registered_phone_is_called_after_a_restart_and_refreshes_with_its_old_nonce() {
    for seed in 0..10 {
        let mut world = World::new(seed, YAML, if seed == 0 { Faults::NONE } else { Faults::BAD });
        let carrier = world.phone("+15559999", "", CARRIER, BOX_CARRIER);
        let alice = world.phone("alice", "secret-a", ALICE, BOX_PHONES);
        world.with(alice, |phone, now| phone.register(now, 3600));
        assert!(world.run_until(Duration::from_secs(40), |world| world.phones[alice].registered), "seed {seed}");
        world.run(Duration::from_secs(40));
        world.restart();
        assert_eq!(world.facts("registration.restored").len(), 1, "seed {seed}");
        world.phones[carrier].habits.hang_up_after = Some(Duration::from_secs(5));
        world.with(carrier, |phone, now| phone.call(now, "+15550001"));
        world.run(Duration::from_secs(90));
        assert_eq!(world.phones[carrier].calls[0].stage, Stage::Over(200), "seed {seed}");
        world.assert_at_rest();
    }
}

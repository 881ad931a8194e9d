//! Too much to do: what is refused, and what never is.

use super::*;
use crate::Load;

pub(super) const HOT: Load = Load { busy: 1000, turn: Duration::from_millis(10) };
const CALM: Load = Load { busy: 100, turn: Duration::from_millis(1) };

impl World {
    pub(super) fn report(&mut self, load: Load, times: usize) {
        for _ in 0..times {
            self.signaling.handle_load(self.now, load);
            self.drain();
        }
    }
}

#[test]
fn row_17_new_calls_and_registrations_are_refused_and_those_that_live_go_on() {
    let mut world = World::new();
    let (leg, tag) = world.established();
    world.report(HOT, 20);
    assert_eq!(world.signaling.counters().shedding, 950);
    assert!(world.facts.iter().any(|fact| matches!(fact, Fact::OverloadBegan(_))));
    let mut refused = 0;
    for n in 0..100 {
        world.recv(CARRIER, &invite(&format!("n{n}"), 1));
        let answer = world.last();
        if answer.starts_with("SIP/2.0 503") {
            let after: u32 = header(&answer, "Retry-After").parse().unwrap();
            assert!((2..=6).contains(&after) && header(&answer, "To").contains(";tag="));
            refused += 1;
        }
    }
    assert!((85..100).contains(&refused), "{refused}");
    assert_eq!(world.signaling.counters().shed, refused);
    assert_eq!(world.signaling.transactions.len().1, 101 - refused as usize, "a refusal makes no state");
    world.events.clear();
    // The ACK of a refusal means nothing; a re-INVITE and a BYE go on.
    world.recv(CARRIER, &in_dialog("ACK", "n0", 1, "aa", ""));
    assert!(world.is_quiet());
    world.recv(CARRIER, &in_dialog("INVITE", "c1", 2, &tag, &with_sdp(SDP)));
    assert!(world.lines()[0].starts_with("SIP/2.0 100"));
    assert!(matches!(world.event(), LegEvent::Reoffered { leg: of, .. } if of == leg));
    world.recv(CARRIER, &in_dialog("BYE", "c1", 3, &tag, ""));
    assert!(world.lines().iter().any(|line| line.starts_with("SIP/2.0 200")));
    world.report(CALM, 60);
    let ended = world.facts.iter().find_map(|fact| match fact {
        Fact::OverloadEnded(fact) => Some(fact.refused),
        _ => None,
    });
    assert_eq!(ended, Some(refused));
    world.sent.clear();
    world.events.clear();
    world.offered(&invite("after", 1));
}

#[test]
fn row_14_an_emergency_call_is_taken_however_much_there_is_to_do() {
    let mut config = config();
    config.realms.get_mut(&RealmName::new("outer")).unwrap().emergency = vec!["112".into()];
    let mut world = World::with(config);
    world.report(HOT, 20);
    for n in 0..50 {
        let text = invite(&format!("e{n}"), 1).replace("INVITE sip:+15550100@", "INVITE sip:112@");
        assert_eq!(&*world.offered(&text).to, "112");
    }
}

#[test]
fn a_repeated_invite_of_a_call_that_was_taken_is_not_refused() {
    let mut world = World::new();
    world.offered(&invite("c1", 1));
    world.report(HOT, 20);
    for _ in 0..50 {
        world.recv(CARRIER, &invite("c1", 1));
    }
    assert_eq!(world.lines(), vec!["SIP/2.0 100 Trying"; 50]);
}

#[test]
fn registrations_are_spread_and_strangers_come_last() {
    let mut world = World::new();
    assert!(world.register("alice", PHONE, "").starts_with("SIP/2.0 200"));
    world.report(HOT, 5);
    let mut refused = |source: &str, n: usize| {
        let text = register("alice", &format!("o{n}"), 1, &format!("Contact: <sip:alice@{source}>"));
        world.recv_at(INNER, source, &text);
        let answer = world.last();
        let after = |answer: &str| header(answer, "Retry-After").parse::<u32>().unwrap();
        answer.starts_with("SIP/2.0 503") && (10..=60).contains(&after(&answer))
    };
    let known = (0..300).filter(|n| refused(PHONE, *n)).count();
    let unknown = (300..600).filter(|n| refused("192.168.1.77:5060", *n)).count();
    assert!((50..130).contains(&known) && (140..220).contains(&unknown), "{known} {unknown}");
    // Where nobody registers, a stranger hears nothing, overload or not.
    world.recv_at(OUTER, "203.0.113.66:5060", &invite("s1", 1));
    assert!(world.is_quiet());
}

//! Row 22: attended transfer, and a party that takes the place of a leg of its own.

use std::time::Duration;

use postern_facts::Fact;
use postern_types::{
    CallSid, Cause, EndedBy,
    leg::{LegCommand, LegEvent, Target},
    media::MediaCommand,
    stream::{AudioStream, Direction, Format},
};

use super::harness::*;

fn house() -> World {
    let mut world = World::new();
    ["alice", "bob", "carol"].into_iter().for_each(|user| world.devices(user, 1));
    world
}

/// `from` calls `to`, who answers with `formats`: both legs.
fn call(world: &mut World, from: postern_types::leg::Party, to: &str, formats: &[Format]) -> (CallSid, CallSid) {
    let caller = world.invite(from, to, Some(stream(1, &g711())));
    let callee = world.dialed().leg;
    world.answer(callee, stream(2, formats));
    world.said();
    world.media.clear();
    (caller, callee)
}

fn bridges(world: &mut World) -> Vec<(CallSid, CallSid)> {
    let found = world.media.drain(..).filter_map(|command| match command {
        MediaCommand::Bridge { a, b } => Some((a, b)),
        _ => None,
    });
    found.collect()
}

fn consult(world: &mut World, leg: CallSid, second: CallSid) {
    world.leg(LegEvent::ReferredToSecond { leg, second: Some(second), to: "".into() });
}

/// All hang up; what must be told was told.
fn over(world: &mut World, last: CallSid, calls: usize, legs: usize) {
    world.bye(last);
    world.pass(Duration::from_secs(60));
    assert_eq!((world.count("call.ended"), world.count("leg.ended")), (calls, legs));
    assert_eq!(world.records.len(), legs);
    world.assert_empty();
}

#[test]
fn row_22_who_talks_with_two_joins_them_whichever_way_it_called() {
    // Alice was called or called herself, in either of her two calls.
    for (called_first, calls_second) in [(true, true), (true, false), (false, true), (false, false)] {
        let mut world = house();
        let (one, other) = match called_first {
            true => call(&mut world, trunk_party(), "+15551000001", &g711()),
            false => call(&mut world, user_party("alice"), "bob", &g711()),
        };
        let (leg, stays) = if called_first { (other, one) } else { (one, other) };
        let (one, other) = match calls_second {
            true => call(&mut world, user_party("alice"), "carol", &g711()),
            false => call(&mut world, user_party("carol"), "alice", &g711()),
        };
        let (second, comes) = if calls_second { (one, other) } else { (other, one) };
        consult(&mut world, leg, second);
        assert_eq!(world.said(), ["referral 200", "hangup 200", "hangup 200"]);
        assert_eq!(bridges(&mut world), [(stays, comes)]);
        assert_eq!((world.count("call.ended"), world.count("call.transferred"), world.count("leg.moved")), (1, 1, 1));
        assert_eq!(world.router.call_of(comes), world.router.call_of(stays));
        world.pass(Duration::from_secs(30));
        let last = if calls_second { comes } else { stays };
        over(&mut world, last, 2, 4);
    }
}

#[test]
fn row_22_both_are_taken_off_hold_one_after_the_other() {
    let mut world = house();
    let (caller, alice) = call(&mut world, trunk_party(), "+15551000001", &g711());
    let (second, carol) = call(&mut world, user_party("alice"), "carol", &g711());
    for (holder, held) in [(alice, caller), (second, carol)] {
        let offer = AudioStream { direction: Direction::SendOnly, ..stream(2, &g711()) };
        world.leg(LegEvent::Reoffered { leg: holder, offer: Some(Box::new(offer)) });
        let answer = AudioStream { direction: Direction::RecvOnly, ..stream(1, &g711()) };
        world.leg(LegEvent::ReofferAnswered { leg: held, answer: Box::new(answer) });
    }
    world.said();
    consult(&mut world, alice, second);
    let mut resumed = Vec::new();
    loop {
        let next = world.commands.drain(..).find_map(|command| match command {
            LegCommand::Reoffer { leg, offer } => Some((leg, offer.direction)),
            _ => None,
        });
        let Some((leg, direction)) = next else { break };
        assert_eq!(direction, Direction::SendRecv);
        resumed.push(leg);
        // One refuses: the other has its turn all the same.
        match resumed.len() {
            1 => world.leg(LegEvent::ReofferFailed { leg, cause: Cause::new(488, "no") }),
            _ => world.leg(LegEvent::ReofferAnswered { leg, answer: Box::new(stream(1, &g711())) }),
        }
    }
    assert_eq!(resumed, [carol, caller]);
    over(&mut world, caller, 2, 4);
}

#[test]
fn row_22_two_who_share_no_codec_are_converted_and_what_cannot_be_is_refused() {
    let mut world = house();
    let (caller, alice) = call(&mut world, trunk_party(), "+15551000001", &[Format::pcmu()]);
    let (second, carol) = call(&mut world, user_party("alice"), "carol", &[Format::pcma()]);
    consult(&mut world, alice, second);
    assert_eq!(bridges(&mut world), [(caller, carol)]);
    over(&mut world, caller, 2, 4);
}

#[test]
fn row_22_what_cannot_be_joined_stays_as_it_was() {
    let refused = |world: &mut World, status: u16| {
        assert_eq!(world.said(), [format!("referral {status}")]);
        let told = world.fact(|fact| match fact {
            Fact::CallTransferred(f) => Some(f.cause.status),
            _ => None,
        });
        assert_eq!(told, Some(status));
        assert!(bridges(world).is_empty());
    };
    // No second call of its own; the same call; one that rings; one that changes.
    let mut world = house();
    let (caller, alice) = call(&mut world, trunk_party(), "+15551000001", &g711());
    world.leg(LegEvent::ReferredToSecond { leg: alice, second: None, to: "bob".into() });
    refused(&mut world, 481);
    for second in [alice, caller, CallSid(77)] {
        consult(&mut world, alice, second);
        refused(&mut world, 481);
    }
    let second = world.invite(user_party("alice"), "carol", Some(stream(1, &g711())));
    let carol = world.dialed().leg;
    world.said();
    consult(&mut world, alice, second);
    refused(&mut world, 491);
    world.answer(carol, stream(2, &g711()));
    world.said();
    world.media.clear();
    let offer = AudioStream { direction: Direction::SendOnly, ..stream(2, &g711()) };
    world.leg(LegEvent::Reoffered { leg: second, offer: Some(Box::new(offer)) });
    world.said();
    consult(&mut world, alice, second);
    refused(&mut world, 491);
    world.bye(carol);
    over(&mut world, caller, 2, 4);
    // The leg of a document stays with it.
    let mut world = house();
    let ivr = world.invite(trunk_party(), "+15552000001", Some(stream(1, &g711())));
    world.document("<Dial><Client>alice</Client></Dial>");
    let alice = world.dialed().leg;
    world.answer(alice, stream(2, &g711()));
    let (second, carol) = call(&mut world, user_party("alice"), "carol", &g711());
    consult(&mut world, second, alice);
    assert!(world.said().contains(&"referral 403".to_owned()));
    // The one it dialed may go, and its caller then talks with whom it consulted.
    bridges(&mut world);
    consult(&mut world, alice, second);
    assert_eq!(bridges(&mut world), [(ivr, carol)]);
    world.bye(carol);
    world.pass(Duration::from_secs(60));
    assert_eq!(world.count("call.ended"), 2);
    world.callbacks();
    world.assert_empty();
}

#[test]
fn row_22_a_party_takes_the_place_of_its_own_leg() {
    for (callers, delayed) in [(true, false), (true, true), (false, false)] {
        let mut world = house();
        let (caller, alice) = call(&mut world, user_party("bob"), "alice", &g711());
        let (of, other, who) = if callers { (caller, alice, "bob") } else { (alice, caller, "alice") };
        let offer = (!delayed).then(|| stream(3, &g711()));
        let new = world.invite_for(user_party(who), "x", offer, Some(of));
        assert_eq!(world.said(), ["answer", "hangup 200"]);
        let joined = bridges(&mut world);
        assert!(joined == [(new, other)] || joined == [(other, new)], "{joined:?}");
        if delayed {
            world.leg(LegEvent::Confirmed { leg: new, answer: Some(Box::new(stream(3, &g711()))) });
        }
        assert_eq!((world.count("call.offered"), world.count("leg.replaces"), world.count("call.ended")), (1, 1, 0));
        // What comes now is the new one's: it may refer the other.
        world.leg(LegEvent::Referred { device: None, leg: new, to: "carol".into(), pass_on: false });
        let carol = world.dialed();
        assert_eq!(carol.target, Target::user(postern_types::UserName::new("carol")));
        world.answer(carol.leg, stream(4, &g711()));
        assert_eq!(bridges(&mut world), [(other, carol.leg)]);
        over(&mut world, carol.leg, 1, 4);
    }
}

#[test]
fn row_22_a_call_that_rings_is_picked_up_at_another_device() {
    let mut world = house();
    let caller = world.invite(trunk_party(), "+15551000001", Some(stream(1, &g711())));
    let alice = world.dialed().leg;
    world.ring(alice);
    world.said();
    let new = world.invite_for(user_party("alice"), "x", Some(stream(3, &g711())), Some(alice));
    assert_eq!(world.said(), ["answer", "answer", "hangup 487"]);
    assert_eq!(bridges(&mut world), [(caller, new)]);
    over(&mut world, caller, 1, 3);
}

#[test]
fn row_22_a_place_that_cannot_be_taken_is_refused_and_the_talk_goes_on() {
    let opus = [opus(111)];
    let mut world = house();
    let (caller, alice) = call(&mut world, trunk_party(), "+15551000001", &g711());
    let calls = world.count("call.offered");
    for (of, offer, status) in
        [(CallSid(77), stream(3, &g711()), 481), (alice, AudioStream { formats: vec![], ..stream(3, &opus) }, 488)]
    {
        world.invite_for(user_party("alice"), "x", Some(offer), Some(of));
        assert_eq!(world.said(), [format!("hangup {status}")]);
    }
    assert!(bridges(&mut world).is_empty());
    assert_eq!(world.count("call.offered"), calls);
    // No port for it; it leaves while it waits for one; the other leaves.
    world.no_ports = true;
    world.invite_for(user_party("alice"), "x", Some(stream(3, &g711())), Some(alice));
    world.no_ports = false;
    assert_eq!(world.said(), ["hangup 503"]);
    world.deaf = true;
    let late = world.invite_for(user_party("alice"), "x", Some(stream(3, &g711())), Some(alice));
    world.invite_for(user_party("alice"), "x", Some(stream(3, &g711())), Some(alice));
    assert_eq!(world.said(), ["hangup 491"], "one at a time");
    world.cancel(late);
    world.invite_for(user_party("alice"), "x", Some(stream(3, &g711())), Some(alice));
    world.leg(LegEvent::Ended { leg: caller, by: EndedBy::Peer, cause: Cause::NORMAL });
    world.pass(Duration::from_secs(60));
    assert_eq!(world.count("call.ended"), 1);
    world.deaf = false;
    world.assert_empty();
}

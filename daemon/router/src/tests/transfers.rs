//! Row 22: blind transfer, from either party, and who may be reached by it.

use std::time::Duration;

use postern_facts::Fact;
use postern_types::{
    CallSid, Cause, EndedBy,
    leg::{LegCommand, LegEvent, Target},
    media::MediaCommand,
    stream::{AudioStream, Direction},
};

use super::harness::*;

/// Everybody is there.
fn house() -> World {
    let mut world = World::new();
    ["alice", "bob", "carol"].into_iter().for_each(|user| world.devices(user, 1));
    world
}

/// The carrier talks with alice: its leg and hers.
fn talking() -> (World, CallSid, CallSid) {
    let mut world = house();
    let caller = world.invite(trunk_party(), "+15551000001", Some(stream(1, &g711())));
    let alice = world.dialed().leg;
    world.answer(alice, stream(2, &g711()));
    world.said();
    world.media.clear();
    (world, caller, alice)
}

fn refer(world: &mut World, leg: CallSid, to: &str) {
    world.leg(LegEvent::Referred { device: None, leg, to: to.into(), pass_on: false });
}

fn bridges(world: &mut World) -> Vec<(CallSid, CallSid)> {
    let found = world.media.drain(..).filter_map(|command| match command {
        MediaCommand::Bridge { a, b } => Some((a, b)),
        _ => None,
    });
    found.collect()
}

fn ended(leg: CallSid) -> LegEvent {
    LegEvent::Ended { leg, by: EndedBy::Peer, cause: Cause::NORMAL }
}

#[test]
fn row_22_the_callee_refers_the_caller_and_is_released_when_the_third_answers() {
    let (mut world, caller, alice) = talking();
    refer(&mut world, alice, "bob");
    let dial = world.dialed();
    assert_eq!(dial.target, Target::user(postern_types::UserName::new("bob")));
    assert_eq!((&*dial.from, dial.max_forwards), ("+15559999999", 7), "the caller is shown, and a hop is gone");
    assert!(bridges(&mut world).is_empty(), "the two go on");
    world.leg(LegEvent::Progress { leg: dial.leg, status: 180, early: Some(Box::new(stream(3, &g711()))) });
    assert_eq!(world.said(), ["referral 180"], "no early media into a talk");
    world.answer(dial.leg, stream(3, &g711()));
    assert_eq!(world.said(), ["referral 200", "hangup 200"]);
    assert_eq!(bridges(&mut world), [(caller, dial.leg)]);
    world.pass(Duration::from_secs(5));
    assert_eq!(world.count("call.ended"), 0);
    world.leg(ended(dial.leg));
    assert_eq!(world.said(), ["hangup 200"]);
    world.pass(Duration::from_secs(60));
    assert_eq!((world.count("call.ended"), world.count("call.referred"), world.count("call.transferred")), (1, 1, 1));
    assert_eq!(world.records.len(), 3);
    assert!(!world.router.has_leftovers());
}

#[test]
fn row_22_the_caller_refers_the_callee_and_the_call_goes_on_without_it() {
    let mut world = house();
    let alice = world.invite(user_party("alice"), "bob", Some(stream(1, &g711())));
    let bob = world.dialed().leg;
    world.answer(bob, stream(2, &g711()));
    world.said();
    world.media.clear();
    refer(&mut world, alice, "+442071838750");
    let dial = world.dialed();
    assert!(matches!(&dial.target, Target::Trunk { number, .. } if &**number == "+442071838750"));
    assert_eq!((&*dial.from, &*dial.identity.asserted), ("+15550000001", "+15550000001"), "bob is shown by his number");
    world.answer(dial.leg, stream(3, &g711()));
    assert_eq!(world.said(), ["referral 200", "hangup 200"]);
    assert_eq!(bridges(&mut world), [(bob, dial.leg)]);
    world.pass(Duration::from_secs(60));
    assert_eq!((world.count("call.ended"), world.records.len()), (0, 1));
    // A second transfer, by whoever is there now.
    refer(&mut world, bob, "carol");
    let carol = world.dialed().leg;
    world.answer(carol, stream(4, &g711()));
    world.said();
    assert_eq!(bridges(&mut world), [(dial.leg, carol)]);
    world.leg(ended(carol));
    world.pass(Duration::from_secs(60));
    assert_eq!((world.count("call.ended"), world.records.len()), (1, 4));
    assert!(!world.router.has_leftovers());
}

#[test]
fn row_22_whoever_is_not_reached_leaves_the_two_as_they_were() {
    for by_caller in [false, true] {
        let (mut world, caller, alice) = talking();
        let referrer = if by_caller { caller } else { alice };
        let to = if by_caller { "bob" } else { "+442071838750" };
        refer(&mut world, referrer, to);
        let dial = world.dialed();
        world.leg(LegEvent::Failed { leg: dial.leg, by: EndedBy::Peer, cause: Cause::new(486, "Busy Here") });
        assert_eq!(world.said(), ["referral 486"]);
        assert!(bridges(&mut world).is_empty());
        let why = world.fact(|fact| match fact {
            Fact::CallTransferred(f) => Some(f.cause.status),
            _ => None,
        });
        assert_eq!(why, Some(486));
        // Again, and the other hangs up meanwhile: all is over.
        refer(&mut world, referrer, to);
        world.dialed();
        world.leg(ended(if by_caller { alice } else { caller }));
        world.pass(Duration::from_secs(60));
        assert_eq!(world.count("call.ended"), 1);
        assert!(!world.router.has_leftovers());
    }
}

#[test]
fn row_22_who_refers_may_leave_at_once() {
    for answers in [true, false] {
        let (mut world, caller, alice) = talking();
        refer(&mut world, alice, "bob");
        let bob = world.dialed().leg;
        world.leg(ended(alice));
        assert!(world.said().is_empty() && world.count("call.ended") == 0, "the caller waits");
        if answers {
            world.answer(bob, stream(3, &g711()));
            assert_eq!(bridges(&mut world), [(caller, bob)]);
            assert!(world.said().is_empty());
            world.leg(ended(caller));
        } else {
            world.leg(LegEvent::Failed { leg: bob, by: EndedBy::Peer, cause: Cause::new(486, "Busy Here") });
            assert_eq!(world.said(), ["hangup 486"]);
        }
        world.pass(Duration::from_secs(60));
        assert_eq!(world.count("call.ended"), 1);
        assert!(!world.router.has_leftovers());
    }
}

#[test]
fn row_22_a_held_party_is_taken_off_hold() {
    let (mut world, caller, alice) = talking();
    world.leg(LegEvent::Reoffered {
        leg: alice,
        offer: Some(Box::new(AudioStream { direction: Direction::SendOnly, ..stream(2, &g711()) })),
    });
    assert_eq!(world.said(), ["reoffer"]);
    let held = AudioStream { direction: Direction::RecvOnly, ..stream(1, &g711()) };
    world.leg(LegEvent::ReofferAnswered { leg: caller, answer: Box::new(held) });
    world.said();
    refer(&mut world, alice, "bob");
    let dial = world.dialed();
    assert_eq!(dial.offer.direction, Direction::SendRecv);
    world.answer(dial.leg, stream(3, &g711()));
    let resumed = world.commands.drain(..).any(
        |c| matches!(c, LegCommand::Reoffer { leg, offer } if leg == caller && offer.direction == Direction::SendRecv),
    );
    assert!(resumed);
}

#[test]
fn row_22_a_referral_reaches_nobody_whom_its_party_could_not_call() {
    // A trunk may dial what leads from it: a number of ours and `bob`, not the trunk's own numbers, and no user by name.
    for (to, status) in
        [("+442071838750", 404), ("0044207", 404), ("alice", 404), ("+15552000001", 501), ("", 404), ("nobody", 404)]
    {
        let (mut world, caller, _) = talking();
        refer(&mut world, caller, to);
        assert_eq!(world.said(), [format!("referral {status}")], "{to}");
        assert_eq!(world.count("leg.dialed"), 1, "{to}");
    }
    // Two at once, and one of whoever talks with nobody.
    let (mut world, caller, alice) = talking();
    refer(&mut world, alice, "bob");
    world.dialed();
    refer(&mut world, caller, "bob");
    assert_eq!(world.said(), ["referral 491"]);
    let mut world = World::new();
    let alone = world.invite(trunk_party(), "+15551000001", Some(stream(1, &g711())));
    world.dialed();
    refer(&mut world, alone, "bob");
    assert_eq!(world.said(), ["referral 491"]);
    // On and on: it ends.
    let (mut world, _, alice) = talking();
    let mut last = alice;
    let mut times = 0;
    loop {
        refer(&mut world, last, "bob");
        let next =
            world.commands.iter().find_map(|c| if let LegCommand::Dial(dial) = c { Some(dial.leg) } else { None });
        let Some(next) = next else { break };
        world.commands.clear();
        world.answer(next, stream(3, &g711()));
        world.said();
        last = next;
        times += 1;
    }
    assert_eq!((times, world.said()), (8, vec!["referral 483".to_owned()]), "its Max-Forwards was 9");
}

#[test]
fn row_22_what_is_passed_on_the_other_party_sees_to_itself() {
    let (mut world, caller, alice) = talking();
    let pass_on =
        |world: &mut World| world.leg(LegEvent::Referred { device: None, leg: alice, to: "bob".into(), pass_on: true });
    pass_on(&mut world);
    assert!(matches!(&world.commands[0], LegCommand::Refer { leg, .. } if *leg == caller));
    assert_eq!(world.said(), ["refer bob"]);
    // One at a time, and nobody else's news is about it.
    pass_on(&mut world);
    assert_eq!(world.said(), ["referral 491"]);
    world.leg(LegEvent::ReferralTold { leg: alice, status: 200 });
    assert!(world.said().is_empty());
    for (told, status) in [(183, 183), (180, 180), (420, 500)] {
        world.leg(LegEvent::ReferralTold { leg: caller, status: told });
        assert_eq!(world.said(), [format!("referral {status}")]);
    }
    pass_on(&mut world);
    world.leg(LegEvent::ReferralTold { leg: caller, status: 202 });
    assert_eq!(world.said(), ["refer bob", "referral 200"]);
    assert_eq!(world.count("leg.dialed"), 1, "nobody is dialed here");
    let outcomes: Vec<_> = world
        .facts
        .iter()
        .filter_map(|h| if let Fact::CallTransferred(f) = &h.fact { Some(f.cause.status) } else { None })
        .collect();
    assert_eq!(outcomes, [491, 500, 200]);
    pass_on(&mut world);
    world.leg(ended(alice));
    world.leg(LegEvent::ReferralTold { leg: caller, status: 200 });
    world.pass(Duration::from_secs(60));
    assert_eq!(world.count("call.ended"), 1);
    assert!(!world.router.has_leftovers());
}

/// The carrier's call runs a document that dialed alice, who answered.
fn dialed_by_document(attributes: &str) -> (World, CallSid, CallSid) {
    let mut world = house();
    let caller = world.invite(trunk_party(), "+15552000001", Some(stream(1, &g711())));
    world.document(&format!("<Dial action='/after' {attributes}><Client>alice</Client></Dial>"));
    let alice = world.dialed().leg;
    world.answer(alice, stream(2, &g711()));
    world.said();
    world.media.clear();
    (world, caller, alice)
}

#[test]
fn row_22_whom_a_document_dialed_passes_its_caller_on_and_the_document_stays() {
    for pass_on in [false, true] {
        let (mut world, caller, alice) = dialed_by_document("");
        world.leg(LegEvent::Referred { device: None, leg: caller, to: "bob".into(), pass_on });
        assert_eq!(world.said(), ["referral 403"], "the leg of the document");
        world.leg(LegEvent::Referred { device: None, leg: alice, to: "bob".into(), pass_on });
        let bob = world.dialed().leg;
        world.ring(bob);
        world.answer(bob, stream(3, &g711()));
        assert_eq!(world.said(), ["referral 180", "referral 200", "hangup 200"]);
        assert_eq!(bridges(&mut world), [(caller, bob)]);
        // When that talk is over the document goes on.
        world.leg(ended(bob));
        let action = world.request();
        assert_eq!(field(&action, "DialCallSid"), Some(&*bob.to_string()));
        assert_eq!((field(&action, "DialCallStatus"), world.count("call.ended")), (Some("completed"), 0));
        world.respond(&action, 200, "text/xml", "<Response><Hangup/></Response>");
        world.callbacks();
        world.pass(Duration::from_secs(60));
        world.assert_empty();
    }
}

#[test]
fn row_22_a_document_that_wants_to_be_asked_of_a_referral_is() {
    let (mut world, caller, alice) = dialed_by_document("referUrl='/refer'");
    world.leg(LegEvent::Referred { device: None, leg: alice, to: "+4420".into(), pass_on: false });
    let asked = world.request();
    assert!(asked.url.ends_with("/refer"), "{}", asked.url);
    assert_eq!(field(&asked, "ReferTransferTarget"), Some("+4420"));
    assert_eq!(field(&asked, "DialCallSid"), Some(&*alice.to_string()));
    assert_eq!(world.said(), ["referral 200", "hangup 200"]);
    world.respond(&asked, 200, "text/xml", "<Response><Dial><Client>bob</Client></Dial></Response>");
    let bob = world.dialed().leg;
    world.answer(bob, stream(3, &g711()));
    assert_eq!(bridges(&mut world), [(caller, bob)]);
    world.leg(ended(caller));
    world.callbacks();
    world.pass(Duration::from_secs(60));
    assert_eq!(world.count("call.ended"), 1);
    world.assert_empty();
}

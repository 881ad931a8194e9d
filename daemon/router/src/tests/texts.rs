//! Messages: who may write to whom, and what their senders hear.

use postern_facts::Fact;
use postern_types::{
    CallSid, Cause, EndedBy, RealmName,
    leg::{CallerIdentity, Party, Target},
    stream::Format,
    text::{TextCommand, TextEvent, TextId, TextOffered, TextSend, TextTarget},
};

use super::{groups, harness::*};

const ID: TextId = TextId(7);

fn write(world: &mut World, party: Party, to: &str) {
    let (from, realm) = match &party {
        Party::User { user } => (user.as_str(), "inside"),
        _ => ("+15559999999", "outside"),
    };
    let offered = TextOffered {
        device: None,
        id: ID,
        from: from.into(),
        realm: RealmName::new(realm),
        party,
        from_name: "".into(),
        to: to.into(),
        identity: CallerIdentity::default(),
        max_forwards: 70,
        bytes: 12,
    };
    world.router.handle_text(world.now, TextEvent::Offered(Box::new(offered)));
    world.settle();
}

fn ended(world: &mut World, by: EndedBy, status: u16) {
    world.router.handle_text(world.now, TextEvent::Ended { id: ID, by, cause: Cause::new(status, "so") });
    world.settle();
}

fn sent(world: &mut World) -> TextSend {
    match world.texts.pop_front() {
        Some(TextCommand::Send(send)) => *send,
        other => panic!("{other:?}"),
    }
}

fn said(world: &mut World) -> Vec<String> {
    let word = |command: TextCommand| match command {
        TextCommand::Send(send) => match send.target {
            TextTarget::Outside(Target::User { user, .. }) => format!("to {user}"),
            TextTarget::Outside(Target::Trunk { trunk, number }) => format!("to {number} by {trunk}"),
            TextTarget::Outside(Target::Uri { uri, .. }) => format!("to {uri}"),
            TextTarget::Within(leg) => format!("in {}", leg.0),
        },
        TextCommand::Answer { cause, .. } => format!("answer {}", cause.status),
    };
    world.texts.drain(..).map(word).collect()
}

#[test]
fn a_message_goes_where_a_call_would_and_its_sender_hears_what_became_of_it() {
    let mut world = World::new();
    write(&mut world, user_party("bob"), "alice");
    let send = sent(&mut world);
    assert_eq!((&*send.from, send.max_forwards, said(&mut world).len()), ("bob", 69, 0));
    ended(&mut world, EndedBy::Peer, 202);
    assert_eq!(said(&mut world), ["answer 202"]);
    let told =
        |f: &Fact| if let Fact::MessageDelivered(f) = f { Some((f.to.clone(), f.bytes, f.status)) } else { None };
    assert_eq!(world.fact(told), Some(("alice".to_owned(), 12, 202)));

    // By a number of the table, and out over a trunk, where the sender is its number.
    write(&mut world, trunk_party(), "+15551000001");
    assert_eq!(said(&mut world), ["to alice"]);
    ended(&mut world, EndedBy::Postern, 480);
    assert_eq!(said(&mut world), ["answer 480"]);
    write(&mut world, user_party("bob"), "0049301234");
    assert_eq!(&*sent(&mut world).from, "+15550000001");
    ended(&mut world, EndedBy::Peer, 404);
    let why = world.fact(|f| if let Fact::MessageRefused(f) = f { Some((f.by, f.cause.status)) } else { None });
    assert_eq!((why, said(&mut world)), (Some((EndedBy::Peer, 404)), vec!["answer 404".to_owned()]));
    assert_eq!((world.count("message.delivered"), world.count("message.refused")), (1, 2));
    assert_eq!(world.router.remembered(), 0);
}

#[test]
fn what_leads_nowhere_is_refused_at_once() {
    let mut world = World::new();
    // A trunk reaches numbers, never users by their names.
    for (party, to, status) in [
        (trunk_party(), "alice", 404),
        (user_party("bob"), "nobody", 404),
        (user_party("bob"), "", 404),
        (user_party("bob"), "+15552000001", 488),
    ] {
        write(&mut world, party, to);
        assert_eq!(said(&mut world), [format!("answer {status}")], "{to}");
    }
    world.router.set_draining(true);
    write(&mut world, user_party("bob"), "alice");
    assert_eq!(said(&mut world), ["answer 503"]);
    assert_eq!((world.count("message.refused"), world.router.remembered()), (5, 0));
}

#[test]
fn a_group_of_trunks_is_tried_in_its_order_but_never_after_the_receivers_word() {
    for (by, status, moves) in [
        (EndedBy::Postern, 503, true),
        (EndedBy::Postern, 408, true),
        (EndedBy::Peer, 503, true),
        (EndedBy::Peer, 486, false),
    ] {
        let mut world = groups::world();
        write(&mut world, user_party("bob"), "+77123");
        assert_eq!(said(&mut world), ["to +77123 by one"]);
        ended(&mut world, by, status);
        let next = if moves { "to +77123 by two".to_owned() } else { format!("answer {status}") };
        assert_eq!(said(&mut world), [next], "{by:?} {status}");
    }
}

#[test]
fn the_rates_of_a_trunk_hold_for_messages() {
    let mut limited = config();
    let limits = &mut limited.trunks.get_mut("carrier").unwrap().limits;
    (limits.rate_in, limits.burst, limits.status) = (Some(1), Some(2), Some(486));
    let mut world = World::with(limited);
    for want in ["to alice", "to alice", "answer 486"] {
        write(&mut world, trunk_party(), "+15551000001");
        assert_eq!(said(&mut world), [want]);
    }
    assert_eq!(world.count("trunk.limited"), 1);
}

#[test]
fn in_a_call_a_message_is_for_the_other_party() {
    let mut world = World::new();
    let caller = world.invite(trunk_party(), "+15551000001", Some(stream(1, &[Format::pcma()])));
    let callee = world.dialed().leg;
    let within = |world: &mut World, leg: CallSid| {
        world.router.handle_text(world.now, TextEvent::Within { id: ID, leg, max_forwards: 5, bytes: 3 });
        world.settle();
        said(world)
    };
    assert_eq!(within(&mut world, caller), ["answer 488"], "nobody answered yet");
    world.answer(callee, stream(2, &[Format::pcma()]));
    assert_eq!(within(&mut world, caller), [format!("in {}", callee.0)]);
    ended(&mut world, EndedBy::Peer, 200);
    assert_eq!(said(&mut world), ["answer 200"]);
    assert_eq!(within(&mut world, callee), [format!("in {}", caller.0)]);
    ended(&mut world, EndedBy::Postern, 408);
    assert_eq!(said(&mut world), ["answer 408"]);
    assert_eq!(within(&mut world, CallSid(99)), ["answer 481"]);
}

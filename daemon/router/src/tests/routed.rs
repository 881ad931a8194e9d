//! Static routes: two legs, one relay.

use std::time::Duration;

use postern_config::SrtpMode;
use postern_facts::Fact;
use postern_types::{
    Cause, EndedBy, TrunkName, UserName,
    leg::{CallerIdentity, LegCommand, LegEvent, Target},
    media::{MediaCommand, MediaEvent, Unheard},
    stream::{AudioStream, Direction, Format},
    trust::Trust,
    watch::{UserCall, UserState},
};

use super::harness::*;

#[test]
fn a_user_without_devices_fails_at_once_and_presence_says_nothing() {
    let mut world = World::new();
    world.devices("alice", 0);
    world.facts.clear();
    world.invite(trunk_party(), "+15551000001", Some(stream(1, &[Format::pcma()])));
    assert_eq!(world.said(), ["hangup 480"]);
    let told = |name| world.count(name);
    assert_eq!((told("presence.changed"), told("leg.dialed"), told("call.ended")), (0, 0, 1));
    let why = world.fact(|fact| match fact {
        Fact::CallRouted(f) if f.to == "refused" => Some((f.table.clone(), f.why.clone())),
        _ => None,
    });
    assert_eq!(why, Some(("route".into(), "480 no device is registered".into())));
    let by = world.fact(|fact| if let Fact::CallEnded(f) = fact { Some(f.by) } else { None });
    assert_eq!(by, Some(EndedBy::Postern), "no callee released it: nobody was asked");
}

#[test]
fn whoever_describes_one_of_our_own_media_ports_is_refused() {
    let own = |text: &str| AudioStream { rtp: text.parse().unwrap(), ..stream(1, &[Format::pcma()]) };
    let told = |world: &World| world.names().iter().filter(|name| **name == "media.own_address").count();
    // In an offer, the RTCP port included.
    for offer in [own("127.0.0.2:19998"), AudioStream { rtcp: own("127.0.0.1:10001").rtp, ..own("192.0.2.1:4000") }] {
        let mut world = World::new();
        world.invite(trunk_party(), "+15551000001", Some(offer));
        assert_eq!((world.said(), told(&world)), (vec!["hangup 488".to_owned()], 1));
    }
    // In an answer: the next party, or the end.
    let mut world = World::new();
    world.invite(trunk_party(), "+15551000001", Some(stream(1, &[Format::pcma()])));
    let dial = world.dialed();
    world.answer(dial.leg, own("127.0.0.1:12000"));
    assert_eq!((bridged(&world), told(&world)), (0, 1));
    assert!(world.said().iter().all(|said| said.starts_with("hangup")));
    // In a new offer the session stays as it was.
    let mut world = World::new();
    let caller = world.invite(trunk_party(), "+15551000001", Some(stream(1, &[Format::pcma()])));
    let dial = world.dialed();
    world.answer(dial.leg, stream(2, &[Format::pcma()]));
    world.commands.clear();
    let offer = Some(Box::new(own("127.0.0.1:12000")));
    world.leg(LegEvent::Reoffered { leg: caller, offer });
    assert_eq!(told(&world), 1);
    assert!(matches!(world.commands.pop_front(), Some(LegCommand::RejectReoffer { cause, .. }) if cause.status == 488));
    // The same address, another port: another program.
    let mut world = World::new();
    world.invite(trunk_party(), "+15551000001", Some(own("127.0.0.1:20000")));
    world.dialed();
}

#[test]
fn who_is_watched_is_seen_to_be_called_and_to_talk_and_nobody_else_is() {
    let (mut world, alice) = (World::new(), UserName::new("alice"));
    world.router.handle_watch(&alice, true);
    let caller = world.invite(trunk_party(), "+15551000001", Some(stream(1, &[Format::pcma()])));
    let leg = world.dialed().leg;
    world.ring(leg);
    world.answer(leg, stream(2, &[Format::pcma()]));
    world.bye(caller);
    let calls = |seen: Vec<UserState>| -> Vec<_> { seen.into_iter().map(|state| state.calls).collect() };
    let call = |answered| vec![UserCall { leg, calls: false, answered }];
    assert_eq!(calls(std::mem::take(&mut world.seen)), [vec![], call(false), call(true), vec![]]);
    world.router.handle_watch(&alice, false);
    world.invite(trunk_party(), "+15551000001", Some(stream(1, &[Format::pcma()])));
    world.dialed();
    assert_eq!(world.seen, []);
}

#[test]
fn a_trunk_call_rings_a_user_is_answered_and_ends() {
    let mut world = World::new();
    let caller = world.invite(trunk_party(), "+15551000001", Some(stream(1, &[opus(96), Format::pcma()])));
    let dial = world.dialed();
    assert_eq!(dial.target, Target::user(UserName::new("alice")));
    assert_eq!((&*dial.from, &*dial.from_name, dial.timeout), ("+15559999999", "Caller", Duration::from_secs(20)));
    assert_eq!(dial.offer.formats, [opus(96), Format::pcma(), Format::pcmu()], "what can be converted comes last");
    assert_eq!(dial.offer.rtp.ip().to_string(), "127.0.0.2");
    world.ring(dial.leg);
    world.ring(dial.leg);
    assert_eq!(world.said(), ["ring 180"]);
    assert_eq!(world.router.records(None).map(|r| r.status).collect::<Vec<_>>(), ["ringing", "ringing"]);

    world.answer(dial.leg, stream(2, &[Format::pcma()]));
    let Some(LegCommand::Answer { leg, answer }) = world.commands.pop_front() else { panic!("not answered") };
    assert_eq!((leg, &*answer.formats), (caller, &[Format::pcma()][..]));
    assert_eq!(answer.rtp.ip().to_string(), "127.0.0.1");
    assert_eq!(bridged(&world), 1);
    assert_eq!(world.router.presence().dialable(&UserName::new("alice")).name(), "busy");
    assert_eq!(world.router.trunk_legs(&TrunkName::new("carrier")), 1);

    world.pass(Duration::from_secs(5));
    world.bye(caller);
    assert_eq!(world.said(), ["hangup 200"]);
    assert_eq!(
        world.names(),
        [
            "call.offered",
            "call.routed",
            "presence.changed",
            "leg.dialed",
            "leg.ringing",
            "leg.answered",
            "leg.negotiated",
            "leg.negotiated",
            "leg.answered",
            "leg.ended",
            "media.quality",
            "presence.changed",
            "leg.ended",
            "media.quality",
            "call.ended",
        ]
    );
    let ended = world.fact(|f| if let Fact::CallEnded(e) = f { Some((e.by, e.total_ms, e.legs)) } else { None });
    assert_eq!(ended, Some((EndedBy::Peer, 5000, 2)));
    let (first, second) = (world.record(caller), world.record(dial.leg));
    assert_eq!((&*first.status, &*second.status), ("completed", "completed"));
    assert_eq!((second.parent, second.ended_by), (Some(caller), Some(EndedBy::OtherParty)));
    assert_eq!(second.quality.as_ref().map(|q| q.packets_received), Some(9));
    world.assert_empty();
}

#[test]
fn a_failure_of_the_callee_is_passed_to_the_caller() {
    for (status, word) in [(486, "busy"), (404, "failed"), (480, "no-answer"), (503, "failed"), (407, "failed")] {
        let mut world = World::new();
        let caller = world.invite(trunk_party(), "+15551000001", Some(stream(1, &g711())));
        let dial = world.dialed();
        world.fail(dial.leg, status);
        // A challenge is between the callee and us.
        let heard = if status == 407 { 500 } else { status };
        assert_eq!(world.said(), [format!("hangup {heard}")]);
        assert_eq!((&*world.record(caller).status, &*world.record(dial.leg).status), (word, word));
        world.assert_empty();
    }
}

#[test]
fn a_call_that_ends_in_the_moment_of_its_answer_was_answered() {
    let mut world = World::new();
    let caller = world.invite(trunk_party(), "+15551000001", Some(stream(1, &g711())));
    let dial = world.dialed();
    world.answer(dial.leg, stream(2, &[Format::pcma()]));
    world.bye(caller);
    assert_eq!(&*world.record(dial.leg).status, "completed");
    assert_eq!(world.said().last().map(String::as_str), Some("hangup 200"), "a BYE, with the caller's cause");
    world.assert_empty();
}

#[test]
fn a_caller_who_gives_up_cancels_the_callee() {
    let mut world = World::new();
    let caller = world.invite(user_party("bob"), "alice", Some(stream(1, &g711())));
    let dial = world.dialed();
    world.ring(dial.leg);
    world.cancel(caller);
    assert_eq!(world.said(), ["ring 180", "hangup 487"]);
    assert_eq!(world.record(dial.leg).status, "canceled");
    assert_eq!(world.record(caller).from, "client:bob");
    world.assert_empty();
}

#[test]
fn the_table_decides_and_refuses() {
    for (user, to, want) in [
        (true, "0015551234", Some("+15551234")),
        (true, "+15557654321", Some("+15557654321")),
        (true, "alice", None),
        (false, "bob", None),
    ] {
        let mut world = World::new();
        world.devices("bob", 1);
        let party = if user { user_party("carol") } else { trunk_party() };
        world.invite(party, to, Some(stream(1, &g711())));
        let dial = world.dialed();
        match (dial.target, want) {
            (Target::Trunk { number, .. }, Some(want)) => {
                assert_eq!((&*number, &*dial.from), (want, "+15550000001"));
            }
            (Target::User { user, .. }, None) => assert_eq!(user.as_str(), to),
            other => panic!("{other:?}"),
        }
    }
    // A trunk may reach a user by name only where a route says so.
    for to in ["alice", "+4999", "", "nobody"] {
        let mut world = World::new();
        world.invite(trunk_party(), to, Some(stream(1, &g711())));
        assert_eq!(world.said(), ["hangup 404"], "{to}");
        let to = world.fact(|f| if let Fact::CallRouted(r) = f { Some(r.to.clone()) } else { None });
        assert_eq!(to.as_deref(), Some("refused"));
        world.assert_empty();
    }
}

#[test]
fn early_media_reaches_the_caller_before_the_answer() {
    let mut world = World::new();
    let caller = world.invite(user_party("bob"), "0049301234", Some(stream(1, &g711())));
    let dial = world.dialed();
    let early = Some(Box::new(stream(2, &[Format::pcmu()])));
    world.leg(LegEvent::Progress { leg: dial.leg, status: 183, early });
    let Some(LegCommand::Ring { status: 183, early: Some(ours), .. }) = world.commands.pop_front() else {
        panic!("no early media")
    };
    assert_eq!((&*ours.formats, bridged(&world)), (&[Format::pcmu()][..], 1));
    world.answer(dial.leg, stream(2, &[Format::pcmu()]));
    assert_eq!(world.said(), ["answer"]);
    world.bye(dial.leg);
    assert_eq!(world.record(caller).ended_by, Some(EndedBy::OtherParty));
    world.assert_empty();
}

#[test]
fn hold_and_resume_go_through_and_are_told() {
    let mut world = World::new();
    let caller = world.invite(trunk_party(), "+15551000001", Some(stream(1, &g711())));
    let dial = world.dialed();
    world.answer(dial.leg, stream(2, &g711()));
    world.said();
    for (wants, answers, fact) in [
        (Direction::SendOnly, Direction::RecvOnly, "leg.held"),
        (Direction::SendRecv, Direction::SendRecv, "leg.resumed"),
    ] {
        let offer = postern_types::stream::AudioStream { direction: wants, ..stream(1, &g711()) };
        world.leg(LegEvent::Reoffered { leg: dial.leg, offer: Some(Box::new(offer)) });
        let Some(LegCommand::Reoffer { leg, offer }) = world.commands.pop_front() else { panic!("not passed on") };
        assert_eq!((leg, offer.direction), (caller, wants));
        let answer = postern_types::stream::AudioStream { direction: answers, ..stream(1, &g711()) };
        world.leg(LegEvent::ReofferAnswered { leg: caller, answer: Box::new(answer) });
        let Some(LegCommand::AnswerReoffer { leg, answer }) = world.commands.pop_front() else { panic!("no answer") };
        assert_eq!((leg, answer.direction), (dial.leg, answers));
        assert_eq!(world.count(fact), 1);
    }
}

#[test]
fn row_18_a_refresh_is_answered_here_and_the_other_party_hears_nothing_of_it() {
    let mut world = World::new();
    let caller = world.invite(trunk_party(), "+15551000001", Some(stream(1, &g711())));
    let dial = world.dialed();
    world.answer(dial.leg, stream(2, &g711()));
    world.said();
    for (leg, port) in [(caller, 1), (dial.leg, 2)] {
        world.leg(LegEvent::Reoffered { leg, offer: Some(Box::new(stream(port, &g711()))) });
        let Some(LegCommand::AnswerReoffer { leg: answered, answer }) = world.commands.pop_front() else { panic!() };
        assert_eq!((answered, answer.direction), (leg, Direction::SendRecv));
        assert!(world.commands.is_empty());
    }
    // Our refresh is answered with a moved address: taken into use, and told to nobody.
    world.leg(LegEvent::Refreshed { leg: caller, theirs: Box::new(stream(1, &g711())) });
    world.leg(LegEvent::Refreshed { leg: caller, theirs: Box::new(stream(7, &g711())) });
    assert!(world.commands.is_empty());
}

#[test]
fn hold_that_is_told_in_an_ack_reaches_the_other_party() {
    let mut world = World::new();
    let caller = world.invite(trunk_party(), "+15551000001", Some(stream(1, &g711())));
    let dial = world.dialed();
    world.answer(dial.leg, stream(2, &g711()));
    world.said();
    for (wants, told) in [(Direction::SendOnly, "leg.held"), (Direction::SendRecv, "leg.resumed")] {
        world.leg(LegEvent::Reoffered { leg: caller, offer: None });
        let Some(LegCommand::AnswerReoffer { answer, .. }) = world.commands.pop_front() else { panic!("no offer") };
        assert_eq!(answer.direction, Direction::SendRecv, "it may resume in this way, too");
        let chosen = postern_types::stream::AudioStream { direction: wants, ..stream(1, &g711()) };
        world.leg(LegEvent::Confirmed { leg: caller, answer: Some(Box::new(chosen)) });
        let Some(LegCommand::Reoffer { leg, offer }) = world.commands.pop_front() else { panic!("not passed on") };
        assert_eq!((leg, offer.direction, world.count(told)), (dial.leg, wants, 1));
        let answer = postern_types::stream::AudioStream { direction: wants.reversed(), ..stream(2, &g711()) };
        world.leg(LegEvent::ReofferAnswered { leg: dial.leg, answer: Box::new(answer) });
        assert!(world.said().is_empty());
    }
    // Nothing is new to the other: nothing is said.
    world.leg(LegEvent::Reoffered { leg: caller, offer: None });
    world.leg(LegEvent::Confirmed { leg: caller, answer: Some(Box::new(stream(1, &g711()))) });
    assert_eq!(world.said(), ["answer reoffer"]);
}

#[test]
fn what_is_between_the_callee_and_us_stays_there() {
    for (callee, caller) in
        [(302, 480), (401, 500), (407, 500), (422, 500), (481, 500), (404, 404), (486, 486), (603, 603)]
    {
        let mut world = World::new();
        world.invite(trunk_party(), "+15551000001", Some(stream(1, &g711())));
        let dial = world.dialed();
        world.fail(dial.leg, callee);
        assert_eq!(world.said(), [format!("hangup {caller}")], "{callee}");
        assert_eq!(
            world.record(dial.leg).cause.as_ref().map(|cause| cause.status),
            Some(callee),
            "the fact says what was"
        );
        world.assert_empty();
    }
}

#[test]
fn a_refused_change_goes_back_and_the_session_stays() {
    let mut world = World::new();
    let caller = world.invite(trunk_party(), "+15551000001", Some(stream(1, &g711())));
    let dial = world.dialed();
    world.answer(dial.leg, stream(2, &g711()));
    world.said();
    world.leg(LegEvent::Reoffered { leg: caller, offer: Some(Box::new(stream(3, &g711()))) });
    // The other side asks at the same time: glare.
    world.leg(LegEvent::Reoffered { leg: dial.leg, offer: Some(Box::new(stream(2, &g711()))) });
    assert_eq!(world.said(), ["reoffer", "reject reoffer 491"]);
    let configured = world.media.len();
    world.leg(LegEvent::ReofferFailed { leg: dial.leg, cause: Cause::new(488, "no") });
    assert_eq!(world.said(), ["reject reoffer 488"]);
    assert_eq!((world.media.len(), world.count("leg.reoffer_refused")), (configured, 1));
    // And the next one is taken again.
    world.leg(LegEvent::Reoffered { leg: caller, offer: Some(Box::new(stream(3, &g711()))) });
    world.leg(LegEvent::ReofferAnswered { leg: dial.leg, answer: Box::new(stream(2, &g711())) });
    assert_eq!(world.said(), ["reoffer", "answer reoffer"]);
    let moved = world.media.iter().rev().find_map(|c| match c {
        MediaCommand::Configure { leg, setup } if *leg == caller => Some(setup.remote_rtp),
        _ => None,
    });
    assert_eq!(moved, Some(stream(3, &[]).rtp));
}

#[test]
fn a_delayed_offer_is_answered_with_ours() {
    let mut world = World::new();
    let caller = world.invite(trunk_party(), "+15551000001", None);
    let dial = world.dialed();
    assert_eq!(dial.offer.formats.len(), 3);
    world.answer(dial.leg, stream(2, &g711()));
    let Some(LegCommand::Answer { answer, .. }) = world.commands.pop_front() else { panic!("not answered") };
    assert_eq!(answer.formats, g711());
    world.leg(LegEvent::Confirmed { leg: caller, answer: Some(Box::new(stream(1, &[Format::pcmu()]))) });
    for leg in [caller, dial.leg] {
        let format = world.media.iter().rev().find_map(|c| match c {
            MediaCommand::Configure { leg: of, setup } if *of == leg => Some(setup.format.clone()),
            _ => None,
        });
        assert_eq!(format, Some(Format::pcmu()));
    }
    world.bye(caller);
    world.assert_empty();
}

#[test]
fn srtp_by_policy() {
    let mut secure = config();
    secure.users.get_mut("alice").unwrap().srtp = SrtpMode::Required;
    let mut world = World::with(secure);
    let caller = world.invite(trunk_party(), "+15551000001", Some(stream(1, &g711())));
    let dial = world.dialed();
    assert_eq!(dial.offer.crypto.len(), 1);
    let mut answer = stream(2, &g711());
    let mut key = dial.offer.crypto[0].clone();
    key.key_salt = postern_types::Secret::new([9; 30]);
    answer.crypto = vec![key.clone()];
    world.answer(dial.leg, answer);
    let keys = world.media.iter().find_map(|c| match c {
        MediaCommand::Configure { leg, setup } if *leg == dial.leg => {
            Some((setup.srtp_in.as_deref().cloned(), setup.srtp_out.as_deref().cloned()))
        }
        _ => None,
    });
    assert_eq!(keys, Some((Some(key), Some(dial.offer.crypto[0].clone()))));
    world.bye(caller);
    world.assert_empty();

    // Plain answered where SRTP is demanded: no call.
    let mut secure = config();
    secure.users.get_mut("alice").unwrap().srtp = SrtpMode::Required;
    let mut world = World::with(secure);
    world.invite(trunk_party(), "+15551000001", Some(stream(1, &g711())));
    let dial = world.dialed();
    world.answer(dial.leg, stream(2, &g711()));
    assert_eq!(world.said(), ["hangup 488", "hangup 488"]);
    world.assert_empty();
}

#[test]
fn a_caller_that_is_silent_while_it_rings_keeps_its_call() {
    let mut world = World::new();
    let caller = world.invite(trunk_party(), "+15551000001", Some(stream(1, &g711())));
    let dial = world.dialed();
    world.event(MediaEvent::TimedOut { leg: caller, silent: Duration::from_secs(30) });
    assert_eq!(world.count("call.ended"), 0);
    world.answer(dial.leg, stream(2, &g711()));
    world.event(MediaEvent::TimedOut { leg: caller, silent: Duration::from_secs(30) });
    assert_eq!(world.record(caller).cause, Some(Cause::MEDIA_TIMEOUT));
    world.assert_empty();
}

#[test]
fn who_is_not_heard_is_told_once_answered_and_again_when_heard() {
    let mut world = World::new();
    let caller = world.invite(trunk_party(), "+15551000001", Some(stream(1, &g711())));
    let dial = world.dialed();
    let unheard = |why| MediaEvent::Unheard { leg: caller, why, silent: Duration::from_millis(1500) };
    world.event(unheard(Unheard::Nothing));
    world.event(MediaEvent::Heard { leg: caller });
    assert_eq!((world.count("media.unheard"), world.count("media.heard")), (0, 0), "it rings");
    world.answer(dial.leg, stream(2, &g711()));
    world.event(unheard(Unheard::Elsewhere { source: "192.0.2.9:4000".parse().unwrap() }));
    let told = world.fact(|fact| match fact {
        Fact::MediaUnheard(fact) => Some((fact.why.clone(), fact.detail.contains("192.0.2.9:4000"), fact.silent_ms)),
        _ => None,
    });
    assert_eq!(told, Some(("wrong_address".into(), true, 1500)));
    world.event(MediaEvent::Heard { leg: caller });
    world.event(MediaEvent::Heard { leg: caller });
    assert_eq!((world.count("media.unheard"), world.count("media.heard")), (1, 1));
    world.bye(caller);
    world.assert_empty();
}

#[test]
fn silence_no_ports_and_full_trunks_end_calls() {
    let mut world = World::new();
    let caller = world.invite(trunk_party(), "+15551000001", Some(stream(1, &g711())));
    let dial = world.dialed();
    world.answer(dial.leg, stream(2, &g711()));
    world.event(MediaEvent::TimedOut { leg: dial.leg, silent: Duration::from_secs(30) });
    assert_eq!(world.record(caller).cause, Some(Cause::MEDIA_TIMEOUT));
    assert_eq!(world.count("call.ended"), 1);
    world.assert_empty();

    let mut world = World::new();
    world.no_ports = true;
    world.invite(trunk_party(), "+15551000001", Some(stream(1, &g711())));
    assert_eq!(world.said(), ["hangup 503"]);
    assert_eq!(world.count("media.refused"), 1);
    world.assert_empty();

    let mut small = config();
    small.trunks.get_mut("carrier").unwrap().calls_max = Some(1);
    let mut world = World::with(small);
    world.invite(trunk_party(), "+15551000001", Some(stream(1, &g711())));
    world.dialed();
    world.invite(trunk_party(), "+15551000001", Some(stream(1, &g711())));
    assert_eq!(world.said(), ["hangup 503"]);
}

#[test]
fn row_43_who_drains_takes_no_new_call_and_keeps_the_live_ones() {
    let mut world = World::new();
    let caller = world.invite(trunk_party(), "+15551000001", Some(stream(1, &g711())));
    let dial = world.dialed();
    world.router.set_draining(true);
    // One that rings yet is answered and goes on.
    world.answer(dial.leg, stream(2, &g711()));
    assert_eq!(bridged(&world), 1);
    world.said();
    world.invite(trunk_party(), "+15551000001", Some(stream(1, &g711())));
    assert_eq!(world.said(), ["hangup 503"]);
    assert_eq!((world.router.counters().calls, world.router.counters().refused_total), (1, 1));
    world.bye(caller);
    world.assert_empty();
    world.router.set_draining(false);
    world.invite(trunk_party(), "+15551000001", Some(stream(1, &g711())));
    world.dialed();
}

#[test]
fn an_operator_and_a_shutdown_end_whole_calls() {
    let mut world = World::new();
    world.invite(trunk_party(), "+15551000001", Some(stream(1, &g711())));
    let dial = world.dialed();
    assert!(world.router.hangup(world.now, dial.leg, EndedBy::Operator));
    world.settle();
    assert!(!world.router.hangup(world.now, dial.leg, EndedBy::Operator));
    world.assert_empty();
    world.invite(trunk_party(), "+15551000001", Some(stream(1, &g711())));
    world.router.end_all(world.now, Cause::new(503, "shutting down"));
    world.assert_empty();
    assert_eq!(world.count("call.ended"), 2);
}

#[test]
fn a_leg_whose_end_is_never_told_does_not_stay() {
    let mut world = World::new();
    let caller = world.invite(trunk_party(), "+15551000001", Some(stream(1, &g711())));
    let dial = world.dialed();
    world.legs.remove(&dial.leg);
    world.bye(caller);
    assert_eq!(world.count("call.ended"), 0);
    world.pass(Duration::from_secs(60));
    assert_eq!(world.count("call.ended"), 1);
    world.assert_empty();
}

#[test]
fn a_stream_that_opens_never_or_too_late_leaves_nothing() {
    let mut world = World::new();
    world.deaf = true;
    let caller = world.invite(trunk_party(), "+15551000001", Some(stream(1, &g711())));
    world.pass(Duration::from_secs(6));
    assert_eq!(world.said(), ["hangup 503"]);
    world.assert_empty();
    world.media.clear();
    let at = stream(1, &[]);
    world.event(MediaEvent::Opened { leg: caller, rtp: at.rtp, rtcp: at.rtcp, fingerprint: None });
    assert_eq!(world.media, [MediaCommand::Close { leg: caller }]);
}

#[test]
fn row_1_what_is_known_of_a_caller_goes_with_its_call() {
    let mut world = World::new();
    world.invite(trunk_party(), "+15551000001", Some(stream(1, &g711())));
    let told = world.dialed().identity;
    assert_eq!(CallerIdentity { trust: Trust::default(), ..told }, identity());
    // We vouch for a user by the number that it has, and keep both back when it wants that.
    let mut world = World::new();
    world.invite(user_party("bob"), "+442071838750", Some(stream(1, &g711())));
    let dial = world.dialed();
    let own = dial.from.clone();
    assert!(own.starts_with('+'));
    assert_eq!((&dial.identity.asserted, dial.identity.withheld), (&own, false));
}

/// A call that talks, its two parties taking digits in the stream or not: the caller's leg and the callee's.
fn talking(caller: Option<u8>, callee: Option<u8>) -> (World, postern_types::CallSid, postern_types::CallSid) {
    let mut world = World::new();
    let describe = |host, telephone_event| AudioStream { telephone_event, ..stream(host, &g711()) };
    let leg = world.invite(trunk_party(), "+15551000001", Some(describe(1, caller)));
    let other = world.dialed().leg;
    world.answer(other, describe(2, callee));
    world.media.clear();
    (world, leg, other)
}

fn pressed(world: &mut World) -> Vec<(postern_types::CallSid, char, u32)> {
    let found = world.media.drain(..).filter_map(|command| match command {
        MediaCommand::Press { leg, digit, duration_ms } => Some((leg, digit, duration_ms)),
        _ => None,
    });
    found.collect()
}

#[test]
fn row_26_a_digit_by_info_is_said_to_the_other_party_once() {
    // Without telephone-event of its own the party has no other way: at once.
    let (mut world, leg, other) = talking(None, Some(101));
    world.leg(LegEvent::Digit { leg, digit: '5', duration_ms: 250 });
    world.leg(LegEvent::Digit { leg, digit: '5', duration_ms: 0 });
    assert_eq!(pressed(&mut world), [(other, '5', 250), (other, '5', 160)]);
    assert_eq!(world.count("leg.digit"), 2);
    // The callee's as well; what it becomes is for the media plane, which knows what the caller described.
    world.leg(LegEvent::Digit { leg: other, digit: '#', duration_ms: 0 });
    world.pass(Duration::from_secs(1));
    assert_eq!(pressed(&mut world), [(leg, '#', 160)]);
    // Both ways, whichever comes first: the stream's is relayed, and nothing is said besides.
    for info_first in [true, false] {
        let (mut world, leg, _) = talking(Some(101), Some(101));
        let stream = |world: &mut World| world.event(MediaEvent::Digit { leg, digit: '1', duration_ms: 80 });
        if !info_first {
            stream(&mut world);
        }
        world.leg(LegEvent::Digit { leg, digit: '1', duration_ms: 0 });
        world.pass(Duration::from_millis(100));
        if info_first {
            stream(&mut world);
        }
        world.pass(Duration::from_secs(1));
        assert_eq!((pressed(&mut world), world.count("leg.digit")), (vec![], 1), "{info_first}");
    }
    // It describes telephone-event and never uses it.
    let (mut world, leg, other) = talking(Some(101), Some(101));
    (0..100).for_each(|_| world.leg(LegEvent::Digit { leg, digit: '9', duration_ms: 0 }));
    assert_eq!(pressed(&mut world), []);
    world.pass(Duration::from_secs(1));
    let said = pressed(&mut world);
    assert_eq!((said.len(), said[0]), (32, (other, '9', 160)));
}

#[test]
fn row_26_who_is_told_by_info_and_who_in_the_stream_are_converted_to_each_other() {
    use postern_config::Dtmf;
    let with = |carrier, alice| {
        let mut config = config();
        config.trunks.values_mut().for_each(|trunk| trunk.dtmf = carrier);
        config.users.get_mut("alice").unwrap().dtmf = alice;
        World::with(config)
    };
    // A caller by INFO, who describes telephone-event all the same: neither used nor answered, but offered to the callee.
    for theirs in [None, Some(97)] {
        let mut world = with(Dtmf::Info, Dtmf::Rfc4733);
        let offer = AudioStream { telephone_event: theirs, ..stream(1, &g711()) };
        let leg = world.invite(trunk_party(), "+15551000001", Some(offer));
        let dial = world.dialed();
        assert_eq!(dial.offer.telephone_event, Some(101));
        world.answer(dial.leg, stream(2, &g711()));
        let answers: Vec<_> = world.commands.drain(..).collect();
        assert!(matches!(&answers[..], [LegCommand::Answer { answer, .. }] if answer.telephone_event.is_none()));
        world.media.clear();
        world.leg(LegEvent::Digit { leg, digit: '7', duration_ms: 0 });
        assert_eq!(pressed(&mut world), [(dial.leg, '7', 160)]);
        world.event(MediaEvent::Digit { leg: dial.leg, digit: '8', duration_ms: 90 });
        assert_eq!(world.said(), ["info 8 90"]);
    }
    // A callee by INFO: the caller's stream is taken, and told so.
    let mut world = with(Dtmf::Rfc4733, Dtmf::Info);
    let leg = world.invite(trunk_party(), "+15551000001", Some(stream(1, &g711())));
    let dial = world.dialed();
    assert_eq!(dial.offer.telephone_event, None);
    world.answer(dial.leg, AudioStream { telephone_event: None, ..stream(2, &g711()) });
    let answers: Vec<_> = world.commands.drain(..).collect();
    assert!(matches!(&answers[..], [LegCommand::Answer { answer, .. }] if answer.telephone_event == Some(101)));
    world.event(MediaEvent::Digit { leg, digit: '1', duration_ms: 90 });
    world.leg(LegEvent::Digit { leg, digit: '1', duration_ms: 90 });
    assert_eq!(world.said(), ["info 1 90"], "once");
    world.leg(LegEvent::Digit { leg: dial.leg, digit: '2', duration_ms: 90 });
    assert_eq!(pressed(&mut world), [(leg, '2', 90)]);
    // Both.
    let mut world = with(Dtmf::Info, Dtmf::Info);
    let leg = world.invite(trunk_party(), "+15551000001", Some(stream(1, &g711())));
    let dial = world.dialed();
    assert_eq!(dial.offer.telephone_event, None);
    world.answer(dial.leg, AudioStream { telephone_event: None, ..stream(2, &g711()) });
    world.said();
    world.leg(LegEvent::Digit { leg, digit: '*', duration_ms: 0 });
    assert_eq!(world.said(), ["info * 160"]);
}

#[test]
fn row_26_who_has_tones_and_who_is_told_otherwise_are_converted_to_each_other() {
    use postern_config::Dtmf;
    use postern_types::media::DigitsBy;
    let with = |carrier, alice| {
        let mut config = config();
        config.trunks.values_mut().for_each(|trunk| trunk.dtmf = carrier);
        config.users.get_mut("alice").unwrap().dtmf = alice;
        let mut world = World::with(config);
        let leg = world.invite(trunk_party(), "+15551000001", Some(stream(1, &g711())));
        let dial = world.dialed();
        let telephone_event = dial.offer.telephone_event;
        assert_eq!(telephone_event.is_some(), alice == Dtmf::Rfc4733, "{carrier:?} {alice:?}");
        world.answer(dial.leg, AudioStream { telephone_event, ..stream(2, &g711()) });
        let configured = |world: &World, of| {
            let found = world.media.iter().rev().find_map(|command| match command {
                MediaCommand::Configure { leg, setup } if *leg == of => Some((setup.digits, setup.telephone_event)),
                _ => None,
            });
            found.expect("configured")
        };
        let by = |dtmf| match dtmf {
            Dtmf::Rfc4733 => (DigitsBy::Stream, Some(101)),
            Dtmf::Info => (DigitsBy::Signaling, None),
            Dtmf::Inband => (DigitsBy::Tones, None),
        };
        assert_eq!((configured(&world, leg), configured(&world, dial.leg)), (by(carrier), by(alice)));
        world.commands.clear();
        world.media.clear();
        (world, leg, dial.leg)
    };
    let digit = |leg, digit| MediaEvent::Digit { leg, digit, duration_ms: 90 };
    // Tones to events and back.
    let (mut world, leg, other) = with(Dtmf::Inband, Dtmf::Rfc4733);
    world.event(digit(leg, '1'));
    assert_eq!(pressed(&mut world), [(other, '1', 90)]);
    world.event(digit(other, '2'));
    assert_eq!(pressed(&mut world), [(leg, '2', 90)]);
    // The same press by tones and by INFO is told once.
    world.event(digit(leg, '3'));
    world.leg(LegEvent::Digit { leg, digit: '3', duration_ms: 90 });
    assert_eq!(pressed(&mut world), [(other, '3', 90)]);
    assert!(world.facts.iter().any(|told| matches!(&told.fact, Fact::DigitReceived(f) if f.via == "inband")));
    // Tones to INFO and back.
    let (mut world, leg, other) = with(Dtmf::Inband, Dtmf::Info);
    world.event(digit(leg, '4'));
    assert_eq!(world.said(), ["info 4 90"]);
    world.leg(LegEvent::Digit { leg: other, digit: '5', duration_ms: 90 });
    assert_eq!(pressed(&mut world), [(leg, '5', 90)]);
    // Between two with tones they pass by themselves; an INFO waits whether they do.
    let (mut world, leg, other) = with(Dtmf::Inband, Dtmf::Inband);
    world.event(digit(leg, '6'));
    world.leg(LegEvent::Digit { leg: other, digit: '7', duration_ms: 90 });
    assert_eq!(pressed(&mut world), []);
    world.pass(Duration::from_secs(1));
    assert_eq!(pressed(&mut world), [(leg, '7', 90)]);
}

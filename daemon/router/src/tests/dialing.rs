//! `<Dial>`: forks, presence, what the action is told.

use std::time::Duration;

use postern_facts::Fact;
use postern_types::{
    Cause, EndedBy, UserName,
    leg::{LegCommand, Target},
    media::{MediaCommand, MediaEvent},
    stream::Format,
};

use super::harness::*;
use crate::PromptSource;

const NUMBER: &str = "+15552000001";

fn call(world: &mut World, dial: &str) -> postern_types::CallSid {
    let leg = world.invite(trunk_party(), NUMBER, Some(stream(1, &g711())));
    world.document(dial);
    leg
}

#[test]
fn a_client_is_dialed_talks_and_the_action_hears_of_it() {
    let mut world = World::new();
    world.devices("alice", 2);
    let leg = call(
        &mut world,
        "<Dial action='/done' callerId='+15557777777' timeout='12'><Client><Identity>alice</Identity>\
         <Parameter name='room' value='4'/></Client></Dial>",
    );
    let dial = world.dialed();
    assert_eq!(dial.target, Target::user(UserName::new("alice")));
    assert_eq!((&*dial.from, dial.timeout), ("+15557777777", Duration::from_secs(12)));
    assert_eq!(dial.headers, [("X-room".into(), "4".into())]);
    assert_eq!(world.said(), ["ring 180", "answer"]);
    assert!(matches!(world.prompts.back(), Some((_, PromptSource::Tone(crate::Tone::Ringback)))));
    // What was answered is what is offered on.
    assert_eq!(dial.offer.formats, [Format::pcma(), Format::pcmu()]);
    world.answer(dial.leg, stream(2, &[Format::pcma()]));
    let stopped = world.media.iter().any(|c| matches!(c, MediaCommand::StopPlay { .. }));
    let bridged = world.media.iter().any(|c| matches!(c, MediaCommand::Bridge { .. }));
    assert!(stopped && bridged);
    world.pass(Duration::from_millis(6500));
    world.bye(dial.leg);
    let request = world.request();
    let child = dial.leg.to_string();
    for (name, want) in [
        ("DialCallStatus", "completed"),
        ("DialCallSid", &*child),
        ("DialCallDuration", "7"),
        ("DialBridged", "true"),
        ("CallStatus", "in-progress"),
    ] {
        assert_eq!(field(&request, name), Some(want));
    }
    assert_eq!(world.record(dial.leg).parent, Some(leg));
    assert_eq!(world.record(dial.leg).direction, "outbound-dial");
    world.respond(&request, 200, "text/xml", "<Response><Hangup/></Response>");
    assert_eq!(world.said(), ["hangup 200"]);
    world.callbacks();
    world.assert_empty();
}

#[test]
fn presence_is_asked_first() {
    let mut world = World::new();
    world.devices("alice", 0);
    world.devices("bob", 1);
    for (user, status) in [("alice", "no-answer"), ("nobody", "no-answer")] {
        call(&mut world, &format!("<Dial action='/done' answerOnBridge='true'><Client>{user}</Client></Dial>"));
        assert_eq!(field(&world.request(), "DialCallStatus"), Some(status));
    }
    // Bob talks: he is skipped, and nobody rings at his place.
    world.invite(user_party("bob"), "0015551234", Some(stream(3, &g711())));
    world.dialed();
    call(&mut world, "<Dial action='/done'><Client>bob</Client></Dial>");
    assert_eq!(field(&world.request(), "DialCallStatus"), Some("busy"));
    assert!(!world.commands.iter().any(|c| matches!(c, LegCommand::Dial(_))));
}

#[test]
fn the_first_of_several_wins_and_the_others_are_cancelled() {
    let mut world = World::new();
    world.devices("alice", 1);
    let leg = call(
        &mut world,
        "<Dial answerOnBridge='true' action='/done'><Number>+15551234567</Number><Client>alice</Client>\
         <Sip username='u' password='p'>sip:x@pbx.example.net?X-A=1</Sip></Dial>",
    );
    let (number, client, sip) = (world.dialed(), world.dialed(), world.dialed());
    assert!(matches!(sip.target, Target::Uri { credentials: Some(_), .. }));
    assert_eq!(sip.headers, [("X-A".into(), "1".into())]);
    world.fail(number.leg, 486);
    world.ring(client.leg);
    world.answer(client.leg, stream(2, &g711()));
    assert_eq!(world.said(), ["ring 180", "answer", "hangup 487"]);
    assert_eq!(world.record(sip.leg).cause, Some(Cause::ELSEWHERE));
    // The caller leaves: everybody goes.
    world.bye(leg);
    assert_eq!(world.record(client.leg).ended_by, Some(EndedBy::OtherParty));
    world.callbacks();
    world.assert_empty();
}

#[test]
fn in_sequence_the_next_is_dialed_after_a_failure() {
    let mut world = World::new();
    call(
        &mut world,
        "<Dial sequential='true' answerOnBridge='true' action='/done'><Number>+15551</Number><Number>+15552</Number></Dial>",
    );
    let first = world.dialed();
    assert!(!world.commands.iter().any(|c| matches!(c, LegCommand::Dial(_))));
    world.fail(first.leg, 486);
    let second = world.dialed();
    world.fail(second.leg, 404);
    let request = world.request();
    assert_eq!(field(&request, "DialCallStatus"), Some("busy"), "the failure that tells most");
    assert_eq!(field(&request, "DialBridged"), Some("false"));
}

#[test]
fn without_an_action_the_next_verb_runs() {
    let mut world = World::new();
    call(&mut world, "<Dial answerOnBridge='true'>+15551234567</Dial><Redirect>/after</Redirect>");
    let dial = world.dialed();
    world.fail(dial.leg, 503);
    assert_eq!(world.request().url, "http://app.example.net/after");
}

#[test]
fn star_and_the_time_limit_end_the_talk_only() {
    let mut world = World::new();
    let leg = call(&mut world, "<Dial hangupOnStar='true' answerOnBridge='true' action='/done'>+15551234567</Dial>");
    let dial = world.dialed();
    world.answer(dial.leg, stream(2, &g711()));
    world.event(MediaEvent::Digit { leg, digit: '5', duration_ms: 80 });
    world.event(MediaEvent::Digit { leg, digit: '*', duration_ms: 80 });
    assert_eq!(field(&world.request(), "DialCallStatus"), Some("completed"));

    let mut world = World::new();
    call(&mut world, "<Dial timeLimit='30' answerOnBridge='true' action='/done'>+15551234567</Dial>");
    let dial = world.dialed();
    world.answer(dial.leg, stream(2, &g711()));
    world.pass(Duration::from_secs(29));
    assert!(world.legs.contains(&dial.leg));
    world.pass(Duration::from_secs(1));
    assert_eq!(field(&world.request(), "DialCallDuration"), Some("30"));
}

#[test]
fn own_numbers_and_unroutable_ones_fail_without_a_leg() {
    for number in [NUMBER, "12345"] {
        let mut world = World::new();
        call(&mut world, &format!("<Dial answerOnBridge='true' action='/done'>{number}</Dial>"));
        assert_eq!(field(&world.request(), "DialCallStatus"), Some("failed"));
    }
    // A number that maps to a user reaches the user.
    let mut world = World::new();
    call(&mut world, "<Dial answerOnBridge='true'>+15551000001</Dial>");
    assert_eq!(world.dialed().target, Target::user(UserName::new("alice")));
}

#[test]
fn a_caller_answered_in_another_codec_changes_over() {
    let mut narrow = config();
    narrow.trunks.get_mut("carrier").unwrap().codecs = vec![postern_types::stream::Codec::Pcmu];
    for takes in [true, false] {
        let mut world = World::with(narrow.clone());
        let mut own = narrow.clone();
        own.routes[2].from = postern_config::RouteFrom::Any;
        own.routes[2].prefix = "ivr".into();
        own.routes[2].to = postern_config::Destination::Application(postern_types::AppName::new("ivr"));
        world.router.reconfigure(world.now, std::sync::Arc::new(own));
        let leg = world.invite(user_party("carol"), "ivr", Some(stream(1, &g711())));
        world.document("<Play>a.wav</Play><Dial action='/done'>+15551234567</Dial>");
        let play = |c: &MediaCommand| if let MediaCommand::Play { play, .. } = c { Some(*play) } else { None };
        let play = world.media.iter().find_map(play).unwrap();
        world.event(MediaEvent::PlayEnded { leg, play });
        let dial = world.dialed();
        assert_eq!(dial.offer.formats, [Format::pcmu()]);
        world.said();
        world.answer(dial.leg, stream(2, &[Format::pcmu()]));
        assert_eq!(world.said(), ["reoffer"]);
        if takes {
            let answer = Box::new(stream(1, &[Format::pcmu()]));
            world.leg(postern_types::leg::LegEvent::ReofferAnswered { leg, answer });
            let setup = world.media.iter().rev().find_map(|c| match c {
                MediaCommand::Configure { leg: of, setup } if *of == leg => Some(setup.format.clone()),
                _ => None,
            });
            assert_eq!(setup, Some(Format::pcmu()));
        } else {
            world.leg(postern_types::leg::LegEvent::ReofferFailed { leg, cause: Cause::new(488, "no") });
            assert_eq!((world.said().len(), world.count("audio.transcoded")), (0, 1), "they talk all the same");
        }
    }
}

#[test]
fn whom_a_document_names_in_vain_is_told_with_the_reason() {
    let mut world = World::new();
    world.devices("alice", 0);
    let table = [
        ("<Number>+15552000001</Number>", "501 the number is an application's: use Redirect to its URL"),
        ("<Number>7</Number>", "404 no number, user or route for it among 3 routes"),
        ("<Client>alice</Client>", "480 no device is registered"),
    ];
    for (noun, want) in table {
        call(&mut world, &format!("<Dial action='/done' answerOnBridge='true'>{noun}</Dial>"));
        let status = if want.starts_with("480") { "no-answer" } else { "failed" };
        assert_eq!(field(&world.request(), "DialCallStatus"), Some(status), "{noun}");
        let routed = world.fact(|fact| match fact {
            Fact::CallRouted(routed) => Some((routed.table.clone(), routed.to.clone(), routed.why.clone())),
            _ => None,
        });
        assert_eq!(routed, Some(("document".to_owned(), "refused".to_owned(), want.to_owned())), "{noun}");
    }
}

#[test]
fn a_number_in_a_document_is_routed_as_a_users() {
    let mut world = World::new();
    world.devices("alice", 1);
    call(&mut world, "<Dial answerOnBridge='true'><Number>+15551000001</Number><Number>0015551234</Number></Dial>");
    let (user, trunk) = (world.dialed(), world.dialed());
    assert_eq!(user.target, Target::user(UserName::new("alice")));
    assert!(matches!(&trunk.target, Target::Trunk { number, .. } if &**number == "+15551234"));
    // The call came with 9 left.
    assert_eq!((user.max_forwards, trunk.max_forwards), (8, 8));
}

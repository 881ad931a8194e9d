//! Forks: of `<Start><Stream>` and by REST; with a server that takes them, refuses, closes, or a driver that says nothing.

use std::time::Duration;

use postern_config::HttpMethod;
use postern_document::{StreamNoun, Target};
use postern_facts::Fact;
use postern_types::{
    AccountSid, CallSid,
    fork::{ForkCommand, ForkEnd, ForkEvent, ForkSetup},
    media::{MediaCommand, MediaEvent},
    recording::{Listener, TapId},
    stream::Format,
};

use super::harness::*;

const NUMBER: &str = "+15552000001";
const STREAM: &str = "<Start><Stream url='wss://ai.example.net/in?key=k1' name='copy' track='both_tracks'\
                      statusCallback='/told'><Parameter name='lang' value='de'/></Stream></Start>";

fn call(world: &mut World, verbs: &str) -> CallSid {
    let leg = world.invite(trunk_party(), NUMBER, Some(stream(1, &g711())));
    world.document(verbs);
    leg
}

/// The latest fork that was begun.
fn begun(world: &World) -> (TapId, ForkSetup) {
    let start =
        |c: &ForkCommand| if let ForkCommand::Start(tap, setup) = c { Some((*tap, (**setup).clone())) } else { None };
    world.forks.iter().rev().find_map(start).expect("a fork is begun")
}

fn tell(world: &mut World, event: ForkEvent) {
    world.router.handle_fork(world.now, event);
    world.settle();
}

fn ends(world: &mut World, tap: TapId, why: ForkEnd) {
    tell(world, ForkEvent::Ended { tap, why, sent: 10, lost: 1 });
}

fn taps(world: &World) -> (Vec<(bool, bool)>, usize) {
    let tap = |c: &MediaCommand| match c {
        MediaCommand::Tap { to: Listener::Fork, inbound, outbound, .. } => Some((*inbound, *outbound)),
        _ => None,
    };
    let untaps = world.media.iter().filter(|c| matches!(c, MediaCommand::Untap { .. })).count();
    (world.media.iter().filter_map(tap).collect(), untaps)
}

/// What was told of streams since the last look.
fn told(world: &mut World) -> Vec<String> {
    let all = world.callbacks();
    all.iter().filter_map(|c| field(c, "StreamEvent").map(str::to_owned)).collect()
}

#[test]
fn audio_is_sent_from_start_to_stop_while_verbs_run() {
    let mut world = World::new();
    let leg =
        call(&mut world, &format!("{STREAM}<Pause length='5'/><Stop><Stream name='copy'/></Stop><Pause length='5'/>"));
    let (tap, setup) = begun(&world);
    assert_eq!(
        (&**setup.url.expose(), setup.account, setup.call),
        ("wss://ai.example.net/in?key=k1", Some(ACCOUNT), leg)
    );
    assert_eq!((setup.headers[0].0, &**setup.parameters[0].1.expose()), ("X-Twilio-Signature", "de"));
    assert_eq!(taps(&world).0, [], "nothing is copied for a server that is not there");
    tell(&mut world, ForkEvent::Started { tap });
    assert_eq!(taps(&world), (vec![(true, true)], 0));
    world.event(MediaEvent::Digit { leg, digit: '5', duration_ms: 100 });
    assert_eq!(world.forks.last(), Some(&ForkCommand::Digit { tap, digit: '5' }));
    world.pass(Duration::from_secs(5));
    assert_eq!((world.forks.last(), taps(&world).1), (Some(&ForkCommand::Stop(tap)), 1));
    ends(&mut world, tap, ForkEnd::Stopped);
    let callbacks = world.callbacks();
    let last = callbacks.iter().rfind(|c| field(c, "StreamEvent").is_some()).unwrap();
    for (name, want) in [
        ("StreamEvent", "stream-stopped"),
        ("StreamSid", &*setup.stream.to_string()),
        ("StreamName", "copy"),
        ("CallSid", &leg.to_string()),
        ("AccountSid", &ACCOUNT.to_string()),
        ("SequenceNumber", "1"),
    ] {
        assert_eq!(field(last, name), Some(want), "{name}");
    }
    let shown = world.fact(|f| if let Fact::ForkStarted(f) = f { Some(f.server.clone()) } else { None });
    assert_eq!(shown.as_deref(), Some("wss://ai.example.net/in"), "its query is nobody's business");
    let why = world.fact(|f| if let Fact::ForkEnded(f) = f { Some((f.why.clone(), f.sent, f.lost)) } else { None });
    assert_eq!(why, Some(("stopped".into(), 10, 1)));
    world.pass(Duration::from_secs(5));
    world.callbacks();
    world.assert_empty();
}

#[test]
fn a_server_that_fails_or_closes_ends_its_stream_and_not_the_call() {
    for (is_started, why, event, fact) in [
        (false, ForkEnd::Failed("refused".into()), "stream-error", "fork.failed"),
        (true, ForkEnd::Failed("too slow".into()), "stream-error", "fork.failed"),
        (true, ForkEnd::Closed, "stream-stopped", "fork.ended"),
    ] {
        let mut world = World::new();
        let leg = call(&mut world, &format!("{STREAM}<Pause length='9'/>"));
        let (tap, _) = begun(&world);
        if is_started {
            tell(&mut world, ForkEvent::Started { tap });
        }
        ends(&mut world, tap, why);
        assert_eq!(told(&mut world).last().map(String::as_str), Some(event));
        assert_eq!((world.count(fact), taps(&world).1), (1, usize::from(is_started)));
        assert_eq!(world.router.record(leg).unwrap().status, "in-progress");
        world.bye(leg);
        world.callbacks();
        world.assert_empty();
        assert_eq!(world.router.remembered(), 0);
    }
}

#[test]
fn who_hangs_up_ends_it_and_a_silent_driver_is_not_waited_for() {
    for driver_answers in [true, false] {
        let mut world = World::new();
        let leg = call(&mut world, &format!("{STREAM}<Pause length='9'/>"));
        let (tap, _) = begun(&world);
        world.bye(leg);
        assert_eq!(world.forks.last(), Some(&ForkCommand::Stop(tap)));
        // Its beginning is told too late to matter.
        tell(&mut world, ForkEvent::Started { tap });
        assert_eq!(taps(&world).0, []);
        if driver_answers {
            ends(&mut world, tap, ForkEnd::Stopped);
        }
        let mut all = told(&mut world);
        world.pass(Duration::from_secs(30));
        all.extend(told(&mut world));
        assert_eq!(all, [if driver_answers { "stream-stopped" } else { "stream-error" }]);
        world.assert_empty();
        assert_eq!(world.router.remembered(), 0);
    }
}

#[test]
fn a_codec_that_nobody_here_reads_is_told_and_the_call_goes_on() {
    let mut world = World::new();
    let g729 = Format { payload_type: 18, codec: postern_types::stream::Codec::G729, ..Format::pcma() };
    let leg = world.invite(trunk_party(), NUMBER, Some(stream(1, std::slice::from_ref(&g729))));
    world.document("<Dial><Client>alice</Client></Dial>");
    let dial = world.dialed();
    // Both have it, so it is passed on, on a machine without its library.
    world.answer(dial.leg, stream(2, &[g729]));
    assert_eq!(bridged(&world), 1);
    let noun = StreamNoun {
        url: "ws://a/".into(),
        name: None,
        inbound: true,
        outbound: false,
        parameters: Vec::new(),
        callback: None,
    };
    let refused = world.router.create_stream(world.now, ACCOUNT, leg, noun).unwrap_err();
    assert_eq!(refused.message, "the call's codec cannot be read here");
    world.bye(leg);
    world.settle();
    assert_eq!(world.record(leg).status, "completed");
}

#[test]
fn rest_begins_and_ends_streams() {
    let mut world = World::new();
    let leg = call(&mut world, "<Play loop='0'>music.wav</Play>");
    let wanted = |url: &str, name: Option<&str>| StreamNoun {
        url: url.into(),
        name: name.map(str::to_owned),
        inbound: true,
        outbound: false,
        parameters: Vec::new(),
        callback: Some(Target { url: "http://app.example.net/told".into(), method: HttpMethod::Post }),
    };
    let create = |world: &mut World, account, url: &str, name| {
        let made = world.router.create_stream(world.now, account, leg, wanted(url, name));
        world.settle();
        made.map_err(|error| error.message)
    };
    assert_eq!(create(&mut world, AccountSid(9), "ws://a/", None), Ok(None));
    assert!(create(&mut world, ACCOUNT, "https://a/", None).unwrap_err().contains("wss"));
    assert!(create(&mut world, ACCOUNT, "wss://u:p@a/", None).unwrap_err().contains("parameter"));
    let made = create(&mut world, ACCOUNT, "ws://a/", Some("one")).unwrap().unwrap();
    assert!(create(&mut world, ACCOUNT, "ws://a/", Some("one")).unwrap_err().contains("name"));
    for _ in 0..3 {
        assert!(create(&mut world, ACCOUNT, "ws://a/", None).is_ok());
    }
    assert!(create(&mut world, ACCOUNT, "ws://a/", None).unwrap_err().contains("at most"));
    let stop = |world: &mut World, account, which: &str| {
        let done = world.router.stop_stream(world.now, account, leg, which);
        world.settle();
        done.map(|record| (record.sid, record.status))
    };
    assert_eq!(stop(&mut world, AccountSid(9), "one"), None);
    assert_eq!(stop(&mut world, ACCOUNT, "two"), None);
    assert_eq!(stop(&mut world, ACCOUNT, "one"), Some((made.sid, "stopped")));
    assert_eq!(stop(&mut world, ACCOUNT, &made.sid.to_string()), None, "once");
    world.bye(leg);
    // None of them is told by the driver.
    world.pass(Duration::from_secs(30));
    assert_eq!(told(&mut world), ["stream-error"; 4]);
    world.assert_empty();
    assert_eq!(world.router.remembered(), 0);
}

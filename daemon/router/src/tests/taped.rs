//! Conferences that are recorded.

use std::time::Duration;

use postern_types::{
    CallSid,
    media::MediaCommand,
    recording::{RecorderCommand, RecordingEnd},
};

use super::harness::*;

const RECORDED: &str = "record='record-from-start' recordingStatusCallback='/kept' recordingStatusCallbackEvent='in-progress completed absent'";

fn come(world: &mut World, attributes: &str) -> CallSid {
    let leg = world.invite(trunk_party(), "+15552000001", Some(stream(1, &g711())));
    world.document(&format!("<Dial><Conference {attributes}>Room 1</Conference></Dial>"));
    leg
}

/// What the media plane was told of taps since the last look, after the legs that were seated before.
fn taps(world: &mut World) -> Vec<String> {
    let word = |command: MediaCommand| match command {
        MediaCommand::Join { .. } => Some("join".to_owned()),
        MediaCommand::Leave { .. } => Some("leave".to_owned()),
        MediaCommand::TapRoom { tap, .. } => Some(format!("tap {}", tap.0)),
        MediaCommand::UntapRoom { tap, .. } => Some(format!("untap {}", tap.0)),
        _ => None,
    };
    world.media.drain(..).filter_map(word).collect()
}

fn told(world: &mut World) -> Vec<String> {
    world.callbacks().iter().filter_map(|r| field(r, "RecordingStatus").map(str::to_owned)).collect()
}

#[test]
fn it_is_recorded_from_its_start_to_its_end_once() {
    let mut world = World::new();
    let a = come(&mut world, RECORDED);
    assert!(world.recorder.is_empty(), "nobody talks yet");
    let b = come(&mut world, "record='true' recordingStatusCallback='/other'");
    let tap = world.tap();
    let RecorderCommand::Start(_, setup) = world.recorder[0] else { panic!("not begun") };
    assert_eq!((setup.inbound, setup.outbound, setup.stereo, setup.trim), (true, false, false, false));
    assert_eq!(
        taps(&mut world),
        ["join".to_owned(), "join".into(), format!("tap {}", tap.0)],
        "the room is there first"
    );
    let c = come(&mut world, RECORDED);
    world.bye(a);
    assert_eq!((world.recorder.len(), told(&mut world)), (1, vec!["in-progress".to_owned()]));
    taps(&mut world);
    world.bye(b);
    world.bye(c);
    assert_eq!(taps(&mut world), ["leave".to_owned(), "leave".into(), format!("untap {}", tap.0)]);
    assert_eq!(world.recorder.last(), Some(&RecorderCommand::Stop(tap)));
    world.recorded(tap, RecordingEnd::Stopped, 4200);
    let callbacks = world.callbacks();
    let last = callbacks.iter().rfind(|c| field(c, "RecordingSid").is_some()).unwrap();
    for (name, want) in [
        ("RecordingStatus", "completed"),
        ("RecordingDuration", "5"),
        ("RecordingSource", "Conference"),
        ("RecordingChannels", "1"),
        ("CallSid", &a.to_string()),
    ] {
        assert_eq!(field(last, name), Some(want), "{name}");
    }
    let record = &world.recordings[&setup.recording];
    assert_eq!((record.conference.as_deref(), record.account), (field(last, "ConferenceSid"), Some(ACCOUNT)));
    assert_eq!((world.count("recording.started"), world.count("recording.ended")), (1, 1));
    world.assert_empty();
    assert_eq!(world.router.remembered(), 0);
}

#[test]
fn a_recorder_that_fails_or_says_nothing_harms_no_conference() {
    for says in [true, false] {
        let mut world = World::new();
        let (a, b) = (come(&mut world, RECORDED), come(&mut world, ""));
        let tap = world.tap();
        if says {
            world.recorded(tap, RecordingEnd::Failed("no space left".into()), 0);
            assert_eq!(taps(&mut world).last(), Some(&format!("untap {}", tap.0)));
            // One who comes later begins no second one.
            let c = come(&mut world, RECORDED);
            world.bye(c);
            assert_eq!(world.recorder.len(), 1);
        }
        assert_eq!(world.router.counters().legs, 2);
        world.bye(a);
        world.bye(b);
        let mut all = told(&mut world);
        world.pass(Duration::from_secs(30));
        all.extend(told(&mut world));
        assert_eq!(all, ["in-progress", "absent"]);
        assert_eq!(world.count("recording.failed"), 1);
        world.assert_empty();
        assert_eq!(world.router.remembered(), 0);
    }
}

#[test]
fn a_conference_that_never_starts_is_not_recorded() {
    let mut world = World::new();
    let a = come(&mut world, RECORDED);
    world.bye(a);
    world.callbacks();
    assert!(world.recorder.is_empty());
    world.assert_empty();
    assert_eq!(world.router.remembered(), 0);
}

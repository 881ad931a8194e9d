//! Recordings: of `<Record>`, of `<Dial>`, by REST; with a recorder that works, fails, or says nothing.

use std::time::Duration;

use postern_config::{HttpMethod, RecordingEvent};
use postern_facts::Fact;
use postern_types::{
    AccountSid, CallSid,
    media::{MediaCommand, MediaEvent},
    recording::{RecorderCommand, RecordingEnd},
};

use super::harness::*;
use crate::rest::{CreateRecording, UpdateRecording};

const NUMBER: &str = "+15552000001";

fn call(world: &mut World, verbs: &str) -> CallSid {
    let leg = world.invite(trunk_party(), NUMBER, Some(stream(1, &g711())));
    world.document(verbs);
    leg
}

/// The tone before a recording ends.
fn beep_ends(world: &mut World, leg: CallSid) {
    let play = |c: &MediaCommand| if let MediaCommand::Play { play, .. } = c { Some(*play) } else { None };
    let play = world.media.iter().rev().find_map(play).expect("a tone plays");
    world.event(MediaEvent::PlayEnded { leg, play });
}

fn taps(world: &World) -> Vec<(bool, bool)> {
    let tap = |c: &MediaCommand| match c {
        MediaCommand::Tap { inbound, outbound, .. } => Some((*inbound, *outbound)),
        _ => None,
    };
    world.media.iter().filter_map(tap).collect()
}

fn untaps(world: &World) -> usize {
    world.media.iter().filter(|c| matches!(c, MediaCommand::Untap { .. })).count()
}

fn digit(world: &mut World, leg: CallSid, digit: char) {
    world.event(MediaEvent::Digit { leg, digit, duration_ms: 100 });
}

#[test]
fn a_message_is_recorded_and_its_action_asked() {
    let mut world = World::new();
    let verbs = "<Record maxLength='60' timeout='7' action='/done' recordingStatusCallback='/kept'\
                 recordingStatusCallbackEvent='in-progress completed'/><Hangup/>";
    let leg = call(&mut world, verbs);
    digit(&mut world, leg, '1'); // During the tone it does not count.
    assert!(world.recorder.is_empty());
    beep_ends(&mut world, leg);
    let tap = world.tap();
    let RecorderCommand::Start(_, setup) = world.recorder[0] else { panic!("not begun") };
    assert_eq!((setup.seconds_max, setup.silence, setup.trim), (60, Some(Duration::from_secs(7)), true));
    assert_eq!((taps(&world), setup.stereo), (vec![(true, false)], false));
    assert_eq!(world.recordings[&setup.recording].status, "in-progress");
    digit(&mut world, leg, '#');
    assert_eq!((world.recorder.last(), untaps(&world)), (Some(&RecorderCommand::Stop(tap)), 1));
    world.recorded(tap, RecordingEnd::Stopped, 3200);
    let asked = world.request();
    let url = format!("/2010-04-01/Accounts/{ACCOUNT}/Recordings/{}", setup.recording);
    assert_eq!(asked.url, "http://app.example.net/done");
    for (name, want) in [("RecordingUrl", &*url), ("RecordingDuration", "4"), ("Digits", "#")] {
        assert_eq!(field(&asked, name), Some(want), "{name}");
    }
    world.respond(&asked, 200, "text/xml", "<Response/>");
    let callbacks = world.callbacks();
    let told: Vec<_> = callbacks.iter().filter_map(|c| field(c, "RecordingStatus")).collect();
    assert_eq!(told, ["in-progress", "completed"]);
    let last = callbacks.iter().rfind(|c| field(c, "RecordingSid").is_some()).unwrap();
    for (name, want) in [
        ("RecordingSid", &*setup.recording.to_string()),
        ("CallSid", &leg.to_string()),
        ("RecordingDuration", "4"),
        ("RecordingChannels", "1"),
        ("RecordingSource", "RecordVerb"),
        ("RecordingTrack", "inbound"),
        ("SequenceNumber", "1"),
    ] {
        assert_eq!(field(last, name), Some(want), "{name}");
    }
    let record = &world.recordings[&setup.recording];
    assert_eq!((&*record.status, record.duration_ms, record.account), ("completed", 3200, Some(ACCOUNT)));
    assert_eq!(world.count("recording.ended"), 1);
    world.assert_empty();
}

#[test]
fn when_nothing_was_said_the_next_verb_runs() {
    let mut world = World::new();
    let leg = call(
        &mut world,
        "<Record playBeep='false' recordingStatusCallback='/kept' recordingStatusCallbackEvent='absent'/><Hangup/>",
    );
    let tap = world.tap();
    world.recorded(tap, RecordingEnd::Silence, 0);
    assert_eq!(world.record(leg).status, "completed");
    let told: Vec<_> =
        world.callbacks().iter().filter_map(|c| field(c, "RecordingStatus").map(str::to_owned)).collect();
    assert_eq!(told, ["absent"]);
    world.assert_empty();
}

#[test]
fn who_hangs_up_leaves_a_recording_that_is_told_after_the_call() {
    let mut world = World::new();
    let leg = call(&mut world, "<Record playBeep='false' recordingStatusCallback='/kept'/>");
    let tap = world.tap();
    world.bye(leg);
    assert_eq!(world.recorder.last(), Some(&RecorderCommand::Stop(tap)));
    assert_eq!(world.count("call.ended"), 1);
    world.callbacks();
    world.recorded(tap, RecordingEnd::Stopped, 900);
    let told = world.callbacks();
    assert_eq!(told.iter().filter(|c| field(c, "RecordingStatus") == Some("completed")).count(), 1);
    world.assert_empty();
    assert_eq!(world.router.remembered(), 0);
}

#[test]
fn a_disk_that_fails_ends_the_recording_and_not_the_call() {
    let mut world = World::new();
    let leg = call(&mut world, "<Record playBeep='false' recordingStatusCallback='/kept'/><Pause length='9'/>");
    let tap = world.tap();
    world.recorded(tap, RecordingEnd::Failed("no space left".into()), 0);
    let why = world.fact(|f| if let Fact::RecordingFailed(f) = f { Some(f.why.clone()) } else { None });
    assert_eq!(why.as_deref(), Some("no space left"));
    assert_eq!((world.router.record(leg).unwrap().status.as_str(), untaps(&world)), ("in-progress", 1));
    world.pass(Duration::from_secs(10));
    world.callbacks();
    world.assert_empty();
}

#[test]
fn a_recorder_that_says_nothing_is_given_up() {
    let mut world = World::new();
    let leg = call(&mut world, "<Record playBeep='false' maxLength='10'/><Pause length='100'/>");
    world.pass(Duration::from_secs(10 + 30 + 20));
    assert_eq!(world.count("recording.failed"), 1);
    world.bye(leg);
    world.callbacks();
    world.assert_empty();
    assert_eq!(world.router.remembered(), 0);
}

#[test]
fn a_dial_is_recorded_on_two_channels_while_they_talk() {
    let mut world = World::new();
    let verbs = "<Dial record='record-from-answer-dual' action='/after'><Client>alice</Client></Dial>";
    let leg = call(&mut world, verbs);
    assert!(world.recorder.is_empty());
    let dial = world.dialed();
    world.answer(dial.leg, stream(2, &dial.offer.formats));
    let RecorderCommand::Start(tap, setup) = world.recorder[0] else { panic!("not begun") };
    assert_eq!((taps(&world), setup.stereo, setup.trim, setup.silence), (vec![(true, true)], true, false, None));
    world.bye(dial.leg);
    assert_eq!(world.recorder.last(), Some(&RecorderCommand::Stop(tap)));
    let asked = world.request();
    assert!(field(&asked, "RecordingUrl").unwrap().ends_with(&setup.recording.to_string()));
    world.recorded(tap, RecordingEnd::Stopped, 9000);
    world.bye(leg);
    world.callbacks();
    world.assert_empty();
}

#[test]
fn a_dial_is_recorded_from_its_ringing_for_a_caller_who_hears() {
    let mut world = World::new();
    let leg = call(&mut world, "<Dial record='record-from-ringing'><Client>alice</Client></Dial>");
    assert_eq!(world.recorder.len(), 1);
    let dial = world.dialed();
    world.answer(dial.leg, stream(2, &dial.offer.formats));
    assert_eq!(world.recorder.len(), 1, "once");
    world.bye(leg);
    let tap = world.tap();
    world.recorded(tap, RecordingEnd::Stopped, 9000);
    world.callbacks();
    world.assert_empty();
}

#[test]
fn rest_records_pauses_resumes_and_stops() {
    let mut world = World::new();
    let leg = call(&mut world, "<Pause length='60'/>");
    let events = vec![RecordingEvent::Completed];
    let wanted = CreateRecording {
        dual: true,
        inbound: true,
        outbound: true,
        trim: false,
        callback: Some(("http://app.example.net/kept".into(), HttpMethod::Post, events)),
    };
    let early = world.router.create_recording(world.now, ACCOUNT, leg, wanted.clone());
    assert_eq!(early.unwrap_err().code, 21220, "not answered yet");
    world.pass(Duration::from_secs(60));
    world.callbacks();
    world.assert_empty();

    let leg = call(&mut world, "<Play loop='0'>music.wav</Play>");
    assert_eq!(world.router.create_recording(world.now, AccountSid(9), leg, wanted.clone()), Ok(None));
    let made = world.router.create_recording(world.now, ACCOUNT, leg, wanted.clone()).unwrap().unwrap();
    world.settle();
    assert_eq!((&*made.status, made.channels, &*made.source), ("in-progress", 2, "StartCallRecordingAPI"));
    let tap = world.tap();
    let pause = UpdateRecording::Pause { silence: false };
    for (sid, update, want) in [
        (None, pause, Ok("paused")),
        (Some(made.sid), pause, Err(21220)),
        (Some(made.sid), UpdateRecording::Resume, Ok("in-progress")),
        (None, UpdateRecording::Stop, Ok("stopped")),
    ] {
        let done = world.router.update_recording(world.now, ACCOUNT, leg, sid, update);
        let done = done.map(|record| record.unwrap().status).map_err(|error| error.code);
        assert_eq!(done.as_deref(), want.as_ref().map(|word| &**word), "{update:?}");
    }
    assert_eq!(world.router.update_recording(world.now, ACCOUNT, leg, None, UpdateRecording::Stop), Ok(None));
    world.settle();
    world.recorded(tap, RecordingEnd::Stopped, 100);
    for _ in 0..4 {
        assert!(world.router.create_recording(world.now, ACCOUNT, leg, wanted.clone()).is_ok());
    }
    assert!(world.router.create_recording(world.now, ACCOUNT, leg, wanted).is_err(), "one too many");
    world.bye(leg);
    // None of them is told by the recorder.
    world.pass(Duration::from_secs(30));
    world.callbacks();
    world.assert_empty();
    assert_eq!(world.router.remembered(), 0);
}

//! Calls that meet in conferences.

use std::time::Duration;

use postern_types::{
    AccountSid, CallSid, ConferenceSid,
    media::{MediaCommand, MediaEvent, RoomPart, RoomSound},
};

use super::harness::*;
use crate::{
    HttpRequest, PromptSource, Tone,
    rest::{
        ChangeParticipant, ConferenceAnswer, ConferenceOrder, ConferenceRecord, CreateParticipant, ParticipantOrder,
        ParticipantRecord, RestError, UpdateCall,
    },
};

const ALL: &str = r#"statusCallback="/room" statusCallbackEvent="start end join leave mute hold modify announcement""#;

/// A call comes in and is told to enter.
fn come(world: &mut World, attributes: &str) -> CallSid {
    let leg = world.invite(trunk_party(), "+15552000001", Some(stream(1, &g711())));
    world.document(&format!(r#"<Dial action="/after"><Conference {attributes}>Room 1</Conference></Dial>"#));
    leg
}

/// What the media plane was told since the last look, of rooms and of music.
fn heard(world: &mut World) -> Vec<String> {
    let part = |part: &RoomPart| match part {
        RoomPart { held: true, .. } => "held".to_owned(),
        RoomPart { coaches: Some(leg), .. } => format!("coaches {:x}", leg.0),
        RoomPart { muted: true, .. } => "muted".to_owned(),
        _ => "talks".to_owned(),
    };
    let word = |command: MediaCommand| match command {
        MediaCommand::Join { leg, part: how, .. } => Some(format!("{:x} {}", leg.0, part(&how))),
        MediaCommand::Leave { leg } => Some(format!("{:x} leaves", leg.0)),
        MediaCommand::Chime { sound: RoomSound::Entered, .. } => Some("tone".to_owned()),
        MediaCommand::Chime { sound: RoomSound::Left, .. } => Some("low tone".to_owned()),
        MediaCommand::Chime { sound: RoomSound::Prompt(_), .. } => Some("announcement".to_owned()),
        MediaCommand::Play { leg, times, .. } => Some(format!("{:x} hears {times}", leg.0)),
        MediaCommand::StopPlay { leg } => Some(format!("{:x} quiet", leg.0)),
        _ => None,
    };
    world.media.drain(..).filter_map(word).collect()
}

/// The events of the conference's callbacks so far, and they.
fn told(world: &mut World) -> (Vec<String>, Vec<HttpRequest>) {
    let all: Vec<_> = world.callbacks().into_iter().filter(|r| r.url.ends_with("/room")).collect();
    (all.iter().map(|r| field(r, "StatusCallbackEvent").unwrap().to_owned()).collect(), all)
}

fn ask(world: &mut World, order: ConferenceOrder) -> Result<Option<ConferenceAnswer>, RestError> {
    let answer = world.router.conference(world.now, ACCOUNT, order);
    world.settle();
    answer
}

fn conferences(world: &mut World) -> Vec<ConferenceRecord> {
    match ask(world, ConferenceOrder::List) {
        Ok(Some(ConferenceAnswer::Conferences(all))) => all,
        other => panic!("{other:?}"),
    }
}

fn participants(world: &mut World, sid: ConferenceSid) -> Vec<ParticipantRecord> {
    match ask(world, ConferenceOrder::Participants(sid)) {
        Ok(Some(ConferenceAnswer::Participants(all))) => all,
        other => panic!("{other:?}"),
    }
}

fn change(world: &mut World, sid: ConferenceSid, leg: CallSid, change: ChangeParticipant) -> ParticipantRecord {
    let order = ParticipantOrder { change, ..ParticipantOrder::default() };
    match ask(world, ConferenceOrder::Change(sid, leg.to_string(), Box::new(order))) {
        Ok(Some(ConferenceAnswer::Participant(record))) => record,
        other => panic!("{other:?}"),
    }
}

fn wanted(to: &str) -> CreateParticipant {
    let document = postern_document::Program::parse(b"<Response><Dial><Conference>x</Conference></Dial></Response>");
    let noun = match &document.unwrap().verbs[0] {
        postern_document::Verb::Dial(dial) => match &dial.nouns[0] {
            postern_document::Noun::Conference(noun) => (**noun).clone(),
            _ => unreachable!(),
        },
        _ => unreachable!(),
    };
    let (to, from, time_limit) = (to.into(), "+15557777777".into(), Duration::from_secs(14_400));
    CreateParticipant { to, from, timeout_s: 60, time_limit, noun, status_callback: None }
}

#[test]
fn the_first_waits_with_a_tone_and_two_make_a_conference() {
    let mut world = World::new();
    let a = come(&mut world, ALL);
    assert_eq!(world.prompts.back().unwrap().1, PromptSource::Tone(Tone::Waiting));
    assert_eq!(heard(&mut world), ["1001 hears 0"]);
    assert_eq!(conferences(&mut world)[0].status, "init");
    let b = come(&mut world, ALL);
    assert_eq!(heard(&mut world), ["1001 quiet", "1001 talks", "1002 talks", "tone"]);
    let room = conferences(&mut world).remove(0);
    assert_eq!((room.status, &*room.name), ("in-progress", "Room 1"));
    let c = come(&mut world, "muted='true' beep='false'");
    assert_eq!(heard(&mut world), ["1003 muted"]);
    world.bye(b);
    assert_eq!(heard(&mut world), ["1002 leaves", "low tone"]);
    world.bye(c);
    world.bye(a);
    let (events, all) = told(&mut world);
    let want = [
        "participant-join",
        "participant-join",
        "conference-start",
        "participant-join",
        "participant-leave",
        "participant-leave",
        "participant-leave",
        "conference-end",
    ];
    assert_eq!(events, want);
    let numbers: Vec<_> = all.iter().map(|r| field(r, "SequenceNumber").unwrap().parse::<usize>().unwrap()).collect();
    assert_eq!(numbers, (0..want.len()).collect::<Vec<_>>());
    assert_eq!(field(&all[0], "CallSid"), Some(&*a.to_string()));
    assert_eq!((field(&all[3], "Muted"), field(&all[0], "Muted")), (Some("true"), Some("false")));
    let end = all.last().unwrap();
    assert_eq!(field(end, "ReasonConferenceEnded"), Some("last-participant-left"));
    assert_eq!(field(end, "CallSidEndingConference"), Some(&*a.to_string()));
    assert_eq!((field(end, "FriendlyName"), field(end, "CallSid")), (Some("Room 1"), None));
    assert!(header(end, "X-Twilio-Signature").is_some());
    assert_eq!(conferences(&mut world)[0].status, "completed");
    for (name, times) in [
        ("conference.created", 1),
        ("conference.started", 1),
        ("conference.joined", 3),
        ("conference.left", 3),
        ("conference.ended", 1),
    ] {
        assert_eq!(world.count(name), times, "{name}");
    }
    world.assert_empty();
    assert_eq!(world.router.remembered(), 0);
}

#[test]
fn it_does_not_start_before_somebody_who_may_start_it_and_ends_with_who_ends_it() {
    let mut world = World::new();
    let a = come(&mut world, "startConferenceOnEnter='false' waitUrl='music.wav'");
    assert_eq!(world.prompts.back().unwrap().1, PromptSource::Url("http://app.example.net/music.wav".into()));
    let b = come(&mut world, "startConferenceOnEnter='false' waitUrl=''");
    assert_eq!(heard(&mut world), ["1001 hears 0"], "and nothing for who wants silence");
    let boss = come(&mut world, "endConferenceOnExit='true' beep='false'");
    assert_eq!(heard(&mut world), ["1001 quiet", "1001 talks", "1002 talks", "1003 talks"]);
    world.bye(boss);
    let sounds = heard(&mut world);
    assert_eq!(sounds, ["1003 leaves", "1002 leaves", "1001 leaves"]);
    // Their documents go on.
    for _ in 0..2 {
        let asked = world.document("<Hangup/>");
        assert_eq!(
            (asked.url.as_str(), field(&asked, "DialCallStatus")),
            ("http://app.example.net/after", Some("answered"))
        );
    }
    assert_eq!(world.record(a).status, "completed");
    assert_eq!(world.record(b).status, "completed");
    let why = conferences(&mut world).remove(0);
    assert_eq!(why.reason_ended.as_deref(), Some("participant-with-end-conference-on-exit-left"));
    assert_eq!(why.ended_by, Some(boss));
    world.callbacks();
    world.assert_empty();
}

#[test]
fn mute_hold_coach_and_announcements_by_the_api() {
    let mut world = World::new();
    let (a, b, c) = (come(&mut world, ALL), come(&mut world, ""), come(&mut world, "participantLabel='trainer'"));
    let sid = conferences(&mut world)[0].sid;
    heard(&mut world);
    told(&mut world);
    assert!(change(&mut world, sid, b, ChangeParticipant { muted: Some(true), ..Default::default() }).muted);
    assert_eq!(heard(&mut world), ["1002 muted"]);
    let hold = ParticipantOrder {
        change: ChangeParticipant { held: Some(true), ..Default::default() },
        hold_url: Some("http://music.example.net/hold.wav".into()),
        ..Default::default()
    };
    let held = ask(&mut world, ConferenceOrder::Change(sid, b.to_string(), Box::new(hold))).unwrap();
    assert!(matches!(held, Some(ConferenceAnswer::Participant(ParticipantRecord { held: true, muted: true, .. }))));
    assert_eq!(heard(&mut world), ["1002 held", "1002 hears 0"]);
    change(&mut world, sid, b, ChangeParticipant { held: Some(false), muted: Some(false), ..Default::default() });
    assert_eq!(heard(&mut world), ["1002 talks", "1002 quiet"]);
    // A coach is found by its label.
    let coach = ParticipantOrder {
        change: ChangeParticipant { coaches: Some(Some(b)), ..Default::default() },
        ..Default::default()
    };
    ask(&mut world, ConferenceOrder::Change(sid, "trainer".into(), Box::new(coach))).unwrap().unwrap();
    assert_eq!(heard(&mut world), ["1003 coaches 1002"]);
    change(&mut world, sid, c, ChangeParticipant { coaches: Some(None), ..Default::default() });
    assert_eq!(heard(&mut world), ["1003 talks"]);
    let refused = ParticipantOrder {
        change: ChangeParticipant { coaches: Some(Some(CallSid(9))), ..Default::default() },
        ..Default::default()
    };
    assert!(ask(&mut world, ConferenceOrder::Change(sid, c.to_string(), Box::new(refused))).is_err());
    let announce = ConferenceOrder::Update { sid, end: false, announce: Some("http://a.example.net/a.wav".into()) };
    ask(&mut world, announce).unwrap().unwrap();
    assert_eq!(heard(&mut world), ["announcement"]);
    let to_one =
        ParticipantOrder { announce_url: Some("http://a.example.net/b.wav".into()), ..ParticipantOrder::default() };
    ask(&mut world, ConferenceOrder::Change(sid, a.to_string(), Box::new(to_one))).unwrap().unwrap();
    assert_eq!(heard(&mut world), ["1001 hears 1"]);
    let (events, _) = told(&mut world);
    let want = [
        "participant-mute",
        "participant-hold",
        "participant-unmute",
        "participant-unhold",
        "participant-modify",
        "participant-modify",
        "announcement-start",
        "participant-announcement-start",
    ];
    assert_eq!(events, want);
    assert_eq!(world.count("conference.changed"), 6);
    ask(&mut world, ConferenceOrder::Remove(sid, c.to_string())).unwrap().unwrap();
    assert_eq!(participants(&mut world, sid).len(), 2);
    assert_eq!(world.document("<Hangup/>").url, "http://app.example.net/after");
    let ended = ask(&mut world, ConferenceOrder::Update { sid, end: true, announce: None }).unwrap();
    assert!(matches!(ended, Some(ConferenceAnswer::Conference(ConferenceRecord { status: "completed", .. }))));
    world.document("<Hangup/>");
    world.document("<Hangup/>");
    let (events, all) = told(&mut world);
    assert_eq!(events, ["participant-leave", "participant-leave", "participant-leave", "conference-end"]);
    assert_eq!(field(all.last().unwrap(), "ReasonConferenceEnded"), Some("conference-ended-via-api"));
    let again = ask(&mut world, ConferenceOrder::Update { sid, end: true, announce: None });
    assert!(again.is_err(), "it is over: {again:?}");
    world.callbacks();
    world.assert_empty();
}

#[test]
fn a_participant_is_dialed_by_the_api() {
    let mut world = World::new();
    let a = come(&mut world, ALL);
    let mut create = wanted("+15551234567");
    create.noun.label = Some("guest".into());
    create.noun.end_on_exit = true;
    let made = ask(&mut world, ConferenceOrder::Create("Room 1".into(), Box::new(create))).unwrap();
    let Some(ConferenceAnswer::Participant(guest)) = made else { panic!("{made:?}") };
    assert_eq!((guest.status, guest.label.as_deref()), ("queued", Some("guest")));
    let sid = guest.conference;
    assert_eq!(participants(&mut world, sid).len(), 2);
    assert_eq!(conferences(&mut world)[0].status, "init", "it is not there yet");
    heard(&mut world);
    let dial = world.dialed();
    assert_eq!(dial.leg, guest.call);
    world.ring(guest.call);
    assert_eq!(participants(&mut world, sid)[1].status, "ringing");
    world.answer(guest.call, stream(2, &g711()));
    assert_eq!(participants(&mut world, sid)[1].status, "connected");
    assert_eq!(heard(&mut world).len(), 4, "the first is quiet, both talk, a tone");
    let who = ask(&mut world, ConferenceOrder::Participant(sid, "guest".into())).unwrap();
    assert!(matches!(who, Some(ConferenceAnswer::Participant(of)) if of.call == guest.call));
    let other = world.router.conference(world.now, AccountSid(9), ConferenceOrder::Participants(sid));
    assert_eq!(other, Ok(None), "another's");
    // Two more, of whom one never answers, and one that nobody knows.
    let late = ask(&mut world, ConferenceOrder::Create(sid.to_string(), Box::new(wanted("client:alice")))).unwrap();
    let Some(ConferenceAnswer::Participant(late)) = late else { panic!("{late:?}") };
    world.fail(late.call, 486);
    assert_eq!(participants(&mut world, sid).len(), 2);
    assert!(ask(&mut world, ConferenceOrder::Create(sid.to_string(), Box::new(wanted("client:nobody")))).is_err());
    let (unknown, mut full) = (ConferenceSid(9).to_string(), wanted("client:alice"));
    full.noun.participants_max = 2;
    assert_eq!(ask(&mut world, ConferenceOrder::Create(unknown, Box::new(full.clone()))).unwrap_err().status, 404);
    assert_eq!(ask(&mut world, ConferenceOrder::Create("Room 1".into(), Box::new(full))).unwrap_err().code, 45004);
    // The guest ends it, and has nothing else to do.
    world.bye(guest.call);
    world.document("<Hangup/>");
    assert_eq!(world.record(a).status, "completed");
    world.callbacks();
    world.assert_empty();
}

#[test]
fn one_that_is_dialed_for_a_conference_that_ends_is_not_called_any_more() {
    let mut world = World::new();
    let made = ask(&mut world, ConferenceOrder::Create("alone".into(), Box::new(wanted("client:alice")))).unwrap();
    let Some(ConferenceAnswer::Participant(of)) = made else { panic!("{made:?}") };
    world.dialed();
    ask(&mut world, ConferenceOrder::Update { sid: of.conference, end: true, announce: None }).unwrap().unwrap();
    assert_eq!(world.record(of.call).status, "canceled");
    let made = ask(&mut world, ConferenceOrder::Create("alone".into(), Box::new(wanted("client:alice")))).unwrap();
    let Some(ConferenceAnswer::Participant(again)) = made else { panic!("{made:?}") };
    assert_ne!(again.conference, of.conference);
    world.fail(again.call, 480);
    assert_eq!(conferences(&mut world)[0].status, "completed", "who was dialed for it did not come");
    world.callbacks();
    world.assert_empty();
}

#[test]
fn a_full_one_a_key_a_time_limit_and_a_redirect() {
    let mut world = World::new();
    let a = come(&mut world, "maxParticipants='2'");
    let b = come(&mut world, "maxParticipants='2'");
    let c = come(&mut world, "maxParticipants='2'");
    assert_eq!(world.count("conference.refused"), 1);
    assert_eq!(field(&world.document("<Hangup/>"), "DialCallStatus"), Some("failed"));
    assert_eq!(world.record(c).status, "completed");
    // b is redirected to a document that enters with a key to leave, and a limit.
    let again = r#"<Response><Dial hangupOnStar="true" timeLimit="60"><Conference>Room 1</Conference></Dial><Hangup/></Response>"#;
    let redirect = || UpdateCall::Redirect(crate::rest::Instructions::Document(again.into()));
    world.router.update_call(world.now, ACCOUNT, b, redirect()).unwrap().unwrap();
    world.settle();
    assert_eq!(world.count("conference.left"), 1);
    assert_eq!(world.count("conference.joined"), 3);
    world.event(postern_types::media::MediaEvent::Digit { leg: b, digit: '#', duration_ms: 100 });
    assert!(world.router.record(b).is_some());
    world.event(postern_types::media::MediaEvent::Digit { leg: b, digit: '*', duration_ms: 100 });
    assert_eq!(world.record(b).status, "completed");
    world.router.update_call(world.now, ACCOUNT, a, redirect()).unwrap().unwrap();
    world.settle();
    world.pass(Duration::from_secs(59));
    assert!(world.router.record(a).is_some());
    world.pass(Duration::from_secs(2));
    assert_eq!(world.record(a).status, "completed");
    world.callbacks();
    world.assert_empty();
}

#[test]
fn music_that_cannot_be_had_and_callbacks_that_nobody_takes_harm_nobody() {
    let mut world = World::new();
    world.auto_prompts = false;
    let a = come(&mut world, &format!("{ALL} waitUrl='/none.wav'"));
    let (key, _) = world.prompts.pop_back().unwrap();
    let b = come(&mut world, "waitUrl='file:/etc/passwd'");
    assert_eq!(world.count("play.failed"), 1, "not below a prompt folder");
    // Loaded after it had started.
    world.router.handle_prompt(world.now, key, Err("no such file".into()));
    world.settle();
    assert!(!heard(&mut world).iter().any(|word| word.contains("hears")));
    // The server takes none of its callbacks: each is tried as often as any other, and given up.
    world.bye(a);
    world.bye(b);
    world.pass(Duration::from_secs(600));
    while let Some(at) = world.http.iter().position(|r| r.url.ends_with("/room")) {
        let request = world.http.remove(at).unwrap();
        world.http_fails(&request, 11205);
        world.pass(Duration::from_secs(60));
    }
    world.callbacks();
    world.assert_empty();
    assert_eq!(world.router.remembered(), 0);
}

#[test]
fn two_hundred_are_in_one_conference() {
    let mut world = World::new();
    let all: Vec<_> = (0..200).map(|_| come(&mut world, "beep='false'")).collect();
    let sid = conferences(&mut world)[0].sid;
    assert_eq!(participants(&mut world, sid).len(), 200);
    ask(&mut world, ConferenceOrder::Update { sid, end: true, announce: None }).unwrap();
    for _ in &all {
        world.document("<Hangup/>");
    }
    world.callbacks();
    world.assert_empty();
}

#[test]
fn who_speaks_is_told_to_who_asks_for_it() {
    let watched = |world: &World| world.media.iter().filter(|c| matches!(c, MediaCommand::WatchRoom { .. })).count();
    for (attributes, want) in [(ALL, 0), (r#"statusCallback="/room" statusCallbackEvent="speaker""#, 1)] {
        let mut world = World::new();
        let a = come(&mut world, attributes);
        assert_eq!(watched(&world), 0, "there is no room yet");
        let (b, c) = (come(&mut world, ""), come(&mut world, attributes));
        assert_eq!(watched(&world), want);
        told(&mut world);
        for (leg, on) in [(b, true), (a, true), (b, false)] {
            world.event(MediaEvent::Speaks { leg, on });
        }
        let (events, all) = told(&mut world);
        let wanted = ["participant-speech-start", "participant-speech-start", "participant-speech-stop"];
        assert_eq!(events, if want == 1 { &wanted[..] } else { &[] });
        assert!(all.iter().take(1).all(|first| field(first, "CallSid") == Some(&*b.to_string())));
        [a, b, c].into_iter().for_each(|leg| world.bye(leg));
        // Too late.
        world.event(MediaEvent::Speaks { leg: b, on: true });
        world.callbacks();
        world.assert_empty();
    }
}

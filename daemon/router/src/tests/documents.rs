//! Calls that run documents: requests, verbs, failures.

use std::{sync::Arc, time::Duration};

use postern_config::HttpMethod;
use postern_facts::Fact;
use postern_types::{
    EndedBy,
    leg::LegEvent,
    media::{MediaCommand, MediaEvent, PlayId},
    stream::Format,
};

use super::harness::*;
use crate::{PromptSource, Purpose, Tone};

const NUMBER: &str = "+15552000001";

fn call(world: &mut World) -> postern_types::CallSid {
    world.invite(trunk_party(), NUMBER, Some(stream(1, &g711())))
}

fn plays(world: &World) -> Vec<PlayId> {
    let play = |c: &MediaCommand| if let MediaCommand::Play { play, .. } = c { Some(*play) } else { None };
    world.media.iter().filter_map(play).collect()
}

fn play_ends(world: &mut World, leg: postern_types::CallSid) {
    let play = *plays(world).last().expect("something plays");
    world.event(MediaEvent::PlayEnded { leg, play });
}

#[test]
fn the_application_is_asked_with_the_calls_parameters() {
    let mut world = World::new();
    let leg = call(&mut world);
    assert_eq!(world.said(), ["ring 180"]);
    let request = world.request();
    assert_eq!((&*request.url, request.method), ("http://app.example.net/voice", HttpMethod::Post));
    assert_eq!(request.purpose, Purpose::Voice);
    assert_eq!((request.connect_timeout, request.total_timeout), (Duration::from_secs(5), Duration::from_secs(15)));
    let sid = leg.to_string();
    let account = ACCOUNT.to_string();
    for (name, want) in [
        ("CallSid", &*sid),
        ("AccountSid", &account),
        ("From", "+15559999999"),
        ("To", NUMBER),
        ("CallStatus", "ringing"),
        ("ApiVersion", "2010-04-01"),
        ("Direction", "inbound"),
        ("CallerName", "Caller"),
        ("SipHeader_X-Ticket", "77"),
        ("ForwardedFrom", "+15558888888"),
    ] {
        assert_eq!(field(&request, name), Some(want), "{name}");
    }
    let token = postern_types::Secret::new("12345".to_owned());
    let signed = crate::sign::signature(&token, &request.url, &request.form);
    assert_eq!(header(&request, "X-Twilio-Signature"), Some(&*signed));
    assert!(!format!("{request:?}").contains("5559999999"), "a form in a debug print");
}

#[test]
fn play_answers_plays_and_the_end_of_the_document_hangs_up() {
    let mut world = World::new();
    let leg = call(&mut world);
    world.document("<Play>hello.wav</Play><Play loop=\"3\">http://cdn.example.net/b.wav?k=1</Play>");
    assert_eq!(world.said(), ["ring 180", "answer"]);
    let sources: Vec<_> = world.prompts.iter().map(|(_, source)| source.clone()).collect();
    assert_eq!(sources, [PromptSource::Url("http://app.example.net/hello.wav".into())]);
    play_ends(&mut world, leg);
    play_ends(&mut world, leg);
    assert_eq!(world.said(), ["hangup 200"]);
    assert_eq!(world.record(leg).status, "completed");
    assert_eq!(world.record(leg).ended_by, Some(EndedBy::Router));
    let url = world.fact(|f| if let Fact::PlayEnded(p) = f { Some(p.url.clone()) } else { None });
    assert_eq!(url.as_deref(), Some("http://cdn.example.net/b.wav"));
    world.callbacks();
    world.assert_empty();
}

/// A format that only passes.
fn amr() -> Format {
    Format { codec: postern_types::stream::Codec::Other("AMR".into()), ..opus(96) }
}

#[test]
fn a_caller_without_a_codec_of_ours_is_refused_only_when_it_must_hear() {
    for (format, said) in [(amr(), "hangup 488"), (opus(96), "answer")] {
        let mut world = World::new();
        world.invite(trunk_party(), NUMBER, Some(stream(1, &[format])));
        world.document("<Play>a.wav</Play>");
        assert_eq!(world.said(), ["ring 180", said]);
    }
}

#[test]
fn gather_takes_digits_once_and_asks_the_action() {
    let mut world = World::new();
    let leg = call(&mut world);
    world.document("<Gather numDigits=\"3\" action=\"/menu\"><Play>menu.wav</Play></Gather><Hangup/>");
    let heard = |world: &World| world.media.iter().filter(|c| matches!(c, MediaCommand::StopPlay { .. })).count();
    assert_eq!(heard(&world), 0);
    // Pressed once, told twice: in the stream and by INFO.
    world.event(MediaEvent::Digit { leg, digit: '1', duration_ms: 80 });
    world.leg(LegEvent::Digit { leg, digit: '1', duration_ms: 0 });
    assert_eq!(heard(&world), 1, "barge-in stops the prompt, once");
    world.pass(Duration::from_secs(1));
    world.event(MediaEvent::Digit { leg, digit: '1', duration_ms: 80 });
    world.leg(LegEvent::Digit { leg, digit: '4', duration_ms: 0 });
    let request = world.request();
    assert_eq!((&*request.url, field(&request, "Digits")), ("http://app.example.net/menu", Some("114")));
    assert_eq!(request.purpose, Purpose::Action);
    assert_eq!(field(&request, "CallStatus"), Some("in-progress"));
    assert_eq!(world.count("leg.digit"), 3);
}

#[test]
fn gather_ends_by_key_by_time_and_falls_through() {
    for (gather, presses, want) in [
        ("<Gather action='/a'/>", "12#", Some("12")),
        ("<Gather action='/a' finishOnKey='*'/>", "1#*", Some("1#")),
        ("<Gather action='/a' timeout='2'/>", "7", Some("7")),
        ("<Gather action='/a' timeout='2' actionOnEmptyResult='true'/>", "", Some("")),
        ("<Gather action='/a' timeout='2'/>", "", None),
        ("<Gather action='/a' timeout='2'/>", "#", None),
    ] {
        let mut world = World::new();
        let leg = call(&mut world);
        world.document(&format!("{gather}<Redirect>/next</Redirect>"));
        for digit in presses.chars() {
            world.event(MediaEvent::Digit { leg, digit, duration_ms: 80 });
        }
        world.pass(Duration::from_secs(3));
        let request = world.request();
        assert_eq!(field(&request, "Digits"), want, "{gather} {presses}");
        assert_eq!(request.url.ends_with("/next"), want.is_none());
    }
}

#[test]
fn pause_redirect_and_reject() {
    let mut world = World::new();
    let leg = call(&mut world);
    world.document("<Pause length=\"4\"/><Redirect method=\"GET\">next?x=1</Redirect>");
    assert_eq!(world.said(), ["ring 180"], "a pause does not answer");
    world.pass(Duration::from_secs(4));
    let request = world.request();
    assert!(request.url.starts_with("http://app.example.net/next?x=1&CallSid=CA"), "{}", request.url);
    assert!(request.form.is_empty());
    world.respond(&request, 200, "text/xml", "<Response><Reject reason=\"busy\"/></Response>");
    assert_eq!(world.said(), ["hangup 486"]);
    assert_eq!(world.record(leg).status, "busy");

    for (verb, status) in [("<Reject/>", "hangup 603"), ("<Hangup/>", "hangup 603"), ("", "hangup 480")] {
        let mut world = World::new();
        call(&mut world);
        world.document(verb);
        assert_eq!(world.said(), ["ring 180", status]);
        world.callbacks();
        world.assert_empty();
    }
}

#[test]
fn a_failing_primary_falls_over_with_code_and_url() {
    let bad = "<Response><Jump/></Response>";
    type Answer<'a> = Option<(u16, &'a str, &'a str)>;
    let cases: [(Answer<'_>, &str); 7] = [
        (None, "11205"),
        (Some((500, "text/xml", "<Response/>")), "11200"),
        (Some((404, "text/xml", "<Response/>")), "11200"),
        (Some((200, "application/json", "{}")), "12300"),
        (Some((200, "text/xml", "nonsense")), "12100"),
        (Some((200, "text/xml", "")), "12100"),
        (Some((200, "text/xml", bad)), "12200"),
    ];
    for (answer, code) in cases {
        let mut world = World::new();
        call(&mut world);
        let request = world.request();
        match answer {
            None => world.http_fails(&request, 11205),
            Some((status, kind, body)) => world.respond(&request, status, kind, body),
        }
        let second = world.request();
        assert_eq!(second.url, "http://backup.example.net/voice");
        assert_eq!(field(&second, "ErrorCode"), Some(code));
        assert_eq!(field(&second, "ErrorUrl"), Some("http://app.example.net/voice"));
        assert!(field(&second, "CallSid").is_some());
        // Relative references resolve against whoever answered.
        world.respond(&second, 200, "text/xml", "<Response><Redirect>on</Redirect></Response>");
        assert_eq!(world.request().url, "http://backup.example.net/on");
    }
}

#[test]
fn both_failing_is_heard_and_ends_the_call() {
    let mut world = World::new();
    let leg = call(&mut world);
    let request = world.request();
    world.http_fails(&request, 11205);
    let request = world.request();
    world.respond(&request, 503, "text/plain", "down");
    assert_eq!(world.said(), ["ring 180", "answer"]);
    assert_eq!(world.prompts.back().map(|(_, source)| source.clone()), Some(PromptSource::Tone(Tone::Error)));
    let then: Vec<_> = world
        .facts
        .iter()
        .filter_map(|h| if let Fact::AppFailed(f) = &h.fact { Some((f.code, f.then.clone())) } else { None })
        .collect();
    assert_eq!(then, [(11205, "secondary".to_owned()), (11200, "call ends".to_owned())]);
    play_ends(&mut world, leg);
    assert_eq!(world.said(), ["hangup 200"]);
    world.callbacks();
    world.assert_empty();
}

#[test]
fn a_silent_server_and_a_lost_prompt_do_not_hang_a_call() {
    let mut world = World::new();
    world.auto_prompts = false;
    call(&mut world);
    // Neither server answers, no tone comes: the call ends all the same.
    world.pass(Duration::from_secs(90));
    world.callbacks();
    world.pass(Duration::from_secs(90));
    assert_eq!(world.count("call.ended"), 1);
    world.http.clear();
    world.assert_empty();
}

#[test]
fn a_loop_of_documents_ends() {
    let mut world = World::new();
    call(&mut world);
    for _ in 0..200 {
        if world.http.iter().all(|request| request.purpose == Purpose::Callback) {
            break;
        }
        world.document("<Redirect/>");
    }
    assert!(world.fact(|f| if let Fact::AppFailed(f) = f { Some(f.why.contains("circle")) } else { None }).unwrap());
}

#[test]
fn cookies_live_with_the_call() {
    let mut world = World::new();
    call(&mut world);
    let first = world.request();
    assert_eq!(header(&first, "Cookie"), None);
    let body = "<Response><Redirect>/next</Redirect></Response>";
    let set = [("Set-Cookie", "a=1; Path=/"), ("set-cookie", "b=2; Path=/"), ("Set-Cookie", "c=3; Secure; Path=/")];
    world.respond_with(&first, 200, "text/xml", body, &set);
    let second = world.request();
    assert_eq!(header(&second, "Cookie"), Some("a=1; b=2"));
    world.http_fails(&second, 11205);
    assert_eq!(header(&world.request(), "Cookie"), None, "another host does not get them");
    call(&mut world);
    assert_eq!(header(&world.request(), "Cookie"), None, "another call does not have them");
}

#[test]
fn audio_instead_of_a_document_is_played() {
    let mut world = World::new();
    let leg = call(&mut world);
    let request = world.request();
    world.respond(&request, 200, "audio/x-wav", "RIFF");
    let (_, source) = world.prompts.pop_back().unwrap();
    assert_eq!(source, PromptSource::Body(Arc::from(&b"RIFF"[..])));
    play_ends(&mut world, leg);
    assert_eq!(world.record(leg).status, "completed");
}

#[test]
fn a_prompt_that_cannot_be_had_is_skipped() {
    let mut world = World::new();
    world.auto_prompts = false;
    call(&mut world);
    world.document(
        "<Play>a.wav</Play><Play>file:///etc/passwd</Play><Play>file:///srv/prompts/../x.wav</Play>\
         <Play>file:///srv/prompts/b.wav</Play><Redirect>on</Redirect>",
    );
    let (key, _) = world.prompts.pop_back().unwrap();
    world.router.handle_prompt(world.now, key, Err("404".into()));
    world.settle();
    assert_eq!(world.count("play.failed"), 3);
    let (key, source) = world.prompts.pop_back().unwrap();
    assert_eq!(source, PromptSource::File("/srv/prompts/b.wav".into()));
    world.router.handle_prompt(world.now, key, Err("not a WAV file".into()));
    world.settle();
    assert_eq!(world.request().url, "http://app.example.net/on");
}

#[test]
fn a_caller_who_leaves_stops_the_document() {
    let mut world = World::new();
    let leg = call(&mut world);
    let request = world.request();
    world.cancel(leg);
    world.respond(&request, 200, "text/xml", "<Response><Dial>+15551234567</Dial></Response>");
    assert_eq!(world.said(), ["ring 180"]);
    assert_eq!(world.record(leg).status, "canceled");
    world.callbacks();
    world.assert_empty();
}

#[test]
fn a_delayed_offer_hears_the_prompt_after_its_answer() {
    let mut world = World::new();
    let leg = world.invite(trunk_party(), NUMBER, None);
    world.document("<Play>a.wav</Play>");
    assert_eq!(world.said(), ["ring 180", "answer"]);
    assert!(plays(&world).is_empty());
    world.leg(LegEvent::Confirmed { leg, answer: Some(Box::new(stream(1, &[Format::pcma()]))) });
    assert_eq!(plays(&world).len(), 1);
}

#[test]
fn hold_while_alone_with_a_document_is_answered() {
    let mut world = World::new();
    let leg = call(&mut world);
    world.document("<Gather timeout=\"60\"/>");
    world.said();
    let mut hold = stream(1, &g711());
    hold.direction = postern_types::stream::Direction::SendOnly;
    world.leg(LegEvent::Reoffered { leg, offer: Some(Box::new(hold)) });
    assert_eq!(world.said(), ["answer reoffer"]);
    assert_eq!(world.count("leg.held"), 1);
    world.leg(LegEvent::Reoffered { leg, offer: Some(Box::new(stream(1, &[amr()]))) });
    assert_eq!(world.said(), ["reject reoffer 488"]);
}

#[test]
fn a_document_asks_itself_again_with_its_credentials_and_without_old_parameters() {
    let mut own = config();
    let app = own.applications.get_mut("ivr").unwrap();
    app.voice_url = "http://u:p%40q@app.example.net/voice?tenant=1".into();
    app.voice_method = HttpMethod::Get;
    let mut world = World::with(own);
    call(&mut world);
    let first = world.document("<Redirect method='GET'/>");
    let second = world.request();
    for request in [&first, &second] {
        assert!(request.url.starts_with("http://app.example.net/voice?tenant=1&CallSid="), "{}", request.url);
        assert_eq!(request.url.matches("CallSid").count(), 1);
        assert_eq!(header(request, "Authorization"), Some("Basic dTpwQHE="));
    }
}

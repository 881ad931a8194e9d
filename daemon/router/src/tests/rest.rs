//! Calls made and changed by the REST API.

use postern_config::{CallbackEvent, HttpMethod};
use postern_types::{AccountSid, EndedBy, leg::Target};

use super::harness::*;
use crate::rest::{CreateCall, Instructions, StatusCallback, UpdateCall};

fn wanted(to: &str) -> CreateCall {
    CreateCall {
        to: to.into(),
        from: "+15557777777".into(),
        instructions: Instructions::Url {
            url: "http://app.example.net/made".into(),
            method: HttpMethod::Post,
            fallback: None,
        },
        timeout_s: 60,
        status_callback: Some(StatusCallback {
            url: "http://app.example.net/made-status".into(),
            method: HttpMethod::Post,
            events: vec![
                CallbackEvent::Initiated,
                CallbackEvent::Ringing,
                CallbackEvent::Answered,
                CallbackEvent::Completed,
            ],
        }),
    }
}

fn made(world: &mut World, call: CreateCall) -> postern_types::CallSid {
    let record = world.router.create_call(world.now, ACCOUNT, call).unwrap();
    assert_eq!((&*record.status, &*record.direction), ("queued", "outbound-api"));
    world.settle();
    record.sid
}

fn status(world: &World, sid: postern_types::CallSid) -> String {
    world.router.record(sid).unwrap().status
}

#[test]
fn a_call_is_made_runs_its_document_and_dials_on() {
    let mut world = World::new();
    world.devices("alice", 1);
    let sid = made(&mut world, wanted("+15551234567"));
    let dial = world.dialed();
    assert_eq!((dial.leg, &*dial.from), (sid, "+15557777777"));
    assert!(world.http.iter().all(|r| r.purpose == crate::Purpose::Callback), "asked before the answer");
    world.ring(sid);
    assert_eq!(status(&world, sid), "ringing");
    world.answer(sid, stream(1, &g711()));
    assert_eq!(status(&world, sid), "in-progress");
    let request = world.document("<Dial><Client>alice</Client></Dial>");
    assert_eq!(field(&request, "Direction"), Some("outbound-api"));
    assert_eq!(field(&request, "CallStatus"), Some("in-progress"));
    let child = world.dialed();
    world.answer(child.leg, stream(2, &g711()));
    assert_eq!(world.router.records(Some(ACCOUNT)).count(), 2);
    assert_eq!(world.router.records(Some(AccountSid(9))).count(), 0);

    // Redirected while it talks: the other party goes, the new document runs.
    let document = UpdateCall::Redirect(Instructions::Document(
        "<Response><Play>http://a.example.net/x.wav</Play></Response>".into(),
    ));
    let record = world.router.update_call(world.now, ACCOUNT, sid, document).unwrap().unwrap();
    world.settle();
    assert_eq!(record.status, "in-progress");
    assert_eq!(world.record(child.leg).ended_by, Some(EndedBy::Router));
    assert_eq!(world.count("play.started"), 1);

    let record = world.router.update_call(world.now, ACCOUNT, sid, UpdateCall::Complete).unwrap().unwrap();
    assert_eq!(record.status, "completed");
    world.settle();
    assert_eq!(world.record(sid).ended_by, Some(EndedBy::Operator));
    let words: Vec<_> = world.callbacks().iter().map(|r| field(r, "CallStatus").unwrap().to_owned()).collect();
    assert_eq!(words, ["initiated", "ringing", "in-progress", "completed"]);
    assert_eq!(world.router.update_call(world.now, ACCOUNT, sid, UpdateCall::Complete), Ok(None));
    world.assert_empty();
}

#[test]
fn a_call_that_nobody_takes_or_that_is_canceled() {
    for (end, word) in [(480, "no-answer"), (486, "busy"), (0, "canceled")] {
        let mut world = World::new();
        let sid = made(&mut world, wanted("client:alice"));
        let dial = world.dialed();
        assert!(matches!(dial.target, Target::User { .. }));
        if end == 0 {
            let record = world.router.update_call(world.now, ACCOUNT, sid, UpdateCall::Cancel).unwrap().unwrap();
            assert_eq!(record.status, "canceled");
            world.settle();
        } else {
            world.fail(sid, end);
        }
        assert_eq!(world.record(sid).status, word);
        assert_eq!(field(world.callbacks().last().unwrap(), "CallStatus"), Some(word));
        world.assert_empty();
    }
}

#[test]
fn what_cannot_be_is_refused_with_its_code() {
    let mut world = World::new();
    for (to, code) in
        [("", 21201), ("nonsense", 21211), ("client:nobody", 21211), ("sip:", 21211), ("+15552000001", 21211)]
    {
        let refused = world.router.create_call(world.now, ACCOUNT, wanted(to)).unwrap_err();
        assert_eq!((refused.status, refused.code), (400, code), "{to}");
    }
    let with = |instructions| CreateCall { instructions, ..wanted("+15551234567") };
    for (call, code) in [
        (CreateCall { from: String::new(), ..wanted("+15551234567") }, 21213),
        (with(Instructions::Application("other".into())), 21218),
        (with(Instructions::Document("x".repeat(5000))), 21263),
        (with(Instructions::Url { url: "ftp://x/".into(), method: HttpMethod::Get, fallback: None }), 21205),
    ] {
        assert_eq!(world.router.create_call(world.now, ACCOUNT, call).unwrap_err().code, code);
    }
    world.assert_empty();

    let sid = made(&mut world, wanted("+15551234567"));
    let redirect = || UpdateCall::Redirect(Instructions::Document("<Response/>".into()));
    let refused = world.router.update_call(world.now, ACCOUNT, sid, redirect()).unwrap_err();
    assert_eq!(refused.code, 21220, "not answered yet");
    world.answer(sid, stream(1, &g711()));
    let refused = world.router.update_call(world.now, ACCOUNT, sid, UpdateCall::Cancel).unwrap_err();
    assert_eq!(refused.code, 21220, "answered already");
    let foreign = world.router.update_call(world.now, AccountSid(9), sid, UpdateCall::Complete);
    assert_eq!(foreign, Ok(None), "another's call");
}

#[test]
fn an_application_or_a_document_instead_of_a_url() {
    let mut world = World::new();
    let sid = made(
        &mut world,
        CreateCall { instructions: Instructions::Application("ivr".into()), ..wanted("+15551234567") },
    );
    world.answer(sid, stream(1, &g711()));
    assert_eq!(world.request().url, "http://app.example.net/voice");
    let urls: Vec<_> = world.callbacks().into_iter().map(|r| r.url).collect();
    assert!(urls.iter().all(|url| url == "http://app.example.net/status"), "{urls:?}");

    let bad = CreateCall {
        instructions: Instructions::Document("<Response><Jump/></Response>".into()),
        ..wanted("+15551234567")
    };
    let sid = made(&mut world, bad);
    world.answer(sid, stream(1, &g711()));
    assert_eq!(world.count("app.failed"), 1);
}

//! Status callbacks: in order, one terminal, never in the way.

use std::time::Duration;

use super::harness::*;
use crate::{HttpRequest, Purpose};

const NUMBER: &str = "+15552000001";

fn told(requests: &[HttpRequest]) -> Vec<(String, String)> {
    let both =
        |r: &HttpRequest| (field(r, "SequenceNumber").unwrap().to_owned(), field(r, "CallStatus").unwrap().to_owned());
    requests.iter().map(both).collect()
}

fn pairs(list: &[(&str, &str)]) -> Vec<(String, String)> {
    list.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect()
}

#[test]
fn an_inbound_calls_progress_is_told_in_order() {
    let mut world = World::new();
    let leg = world.invite(trunk_party(), NUMBER, Some(stream(1, &g711())));
    world.document("<Gather timeout='100'/>");
    let under_way = world.http.iter().filter(|r| r.purpose == Purpose::Callback).count();
    assert_eq!(under_way, 1, "one after the other");
    world.pass(Duration::from_millis(2500));
    world.bye(leg);
    let all = world.callbacks();
    let want = [("0", "initiated"), ("1", "ringing"), ("2", "in-progress"), ("3", "completed")];
    assert_eq!(told(&all), pairs(&want));
    let last = &all[3];
    assert_eq!(field(last, "CallDuration"), Some("3"));
    assert_eq!(field(last, "CallbackSource"), Some("call-progress-events"));
    assert_eq!(field(last, "SipResponseCode"), Some("200"));
    assert!(field(last, "Timestamp").unwrap().ends_with(" +0000"));
    assert!(header(last, "X-Twilio-Signature").is_some());
    assert_eq!(world.count("callback.delivered"), 4);
    world.assert_empty();
}

#[test]
fn a_dialed_leg_has_its_own_subscriber() {
    for (status, word) in [(486, "busy"), (480, "no-answer"), (500, "failed"), (0, "completed")] {
        let mut world = World::new();
        world.invite(trunk_party(), NUMBER, Some(stream(1, &g711())));
        world.document(
            "<Dial answerOnBridge='true'><Number statusCallback='/child' \
             statusCallbackEvent='initiated ringing answered completed'>+15551234567</Number></Dial>",
        );
        let dial = world.dialed();
        world.ring(dial.leg);
        if status == 0 {
            world.answer(dial.leg, stream(2, &g711()));
            world.bye(dial.leg);
        } else {
            world.fail(dial.leg, status);
        }
        let all = world.callbacks();
        let child: Vec<_> = all.into_iter().filter(|r| r.url.ends_with("/child")).collect();
        let last = child.last().unwrap();
        assert_eq!(field(last, "CallStatus"), Some(word));
        assert_eq!(field(last, "CallSid"), Some(&*dial.leg.to_string()));
        assert!(field(last, "ParentCallSid").is_some());
        assert_eq!(child.len(), if status == 0 { 4 } else { 3 });
    }
}

#[test]
fn a_dead_server_is_tried_again_and_given_up_without_touching_the_call() {
    let mut world = World::new();
    let leg = world.invite(trunk_party(), NUMBER, Some(stream(1, &g711())));
    world.document("<Gather timeout='1000'/>");
    let mut tries = 0;
    for _ in 0..200 {
        while let Some(at) = world.http.iter().position(|r| r.purpose == Purpose::Callback) {
            let request = world.http.remove(at).unwrap();
            tries += 1;
            world.http_fails(&request, 11205);
        }
        world.pass(Duration::from_secs(1));
    }
    assert_eq!((tries, world.count("callback.failed")), (9, 3), "three callbacks, three tries each");
    assert!(world.legs.contains(&leg), "the call lives");
    world.bye(leg);
    let all = world.callbacks();
    assert_eq!(told(&all), pairs(&[("3", "completed")]));
    world.assert_empty();
}

#[test]
fn a_refusing_server_is_not_asked_again() {
    let mut world = World::new();
    let leg = world.invite(trunk_party(), NUMBER, Some(stream(1, &g711())));
    world.cancel(leg);
    for _ in 0..3 {
        let at = world.http.iter().position(|r| r.purpose == Purpose::Callback).unwrap();
        let request = world.http.remove(at).unwrap();
        world.respond(&request, 404, "text/plain", "");
    }
    assert_eq!(world.count("callback.failed"), 3);
    world.http.clear();
    world.assert_empty();
}

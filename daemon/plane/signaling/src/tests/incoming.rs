//! A leg that comes in from a trunk, until its end.

use super::*;

#[test]
fn a_call_is_offered_rings_is_answered_and_ended_by_the_caller() {
    let mut world = World::new();
    let offered = world.offered(&invite("c1", 1));
    assert_eq!(offered.party, Party::Trunk { trunk: TrunkName::new("carrier") });
    assert_eq!((&*offered.from, &*offered.from_name, &*offered.to), ("+15550199", "Carol C", "+15550100"));
    assert_eq!((offered.realm.as_str(), &*offered.sip_call_id, offered.source), ("outer", "c1", address(CARRIER)));
    assert_eq!(offered.headers, [("X-Trace".into(), "abc".into())]);
    assert_eq!(offered.offer.unwrap().rtp, address("198.51.100.11:6000"));
    let leg = offered.leg;

    world.command(LegCommand::Ring { leg, status: 180, early: None });
    let ringing = world.one();
    assert!(ringing.starts_with("SIP/2.0 180 Ringing"), "{ringing}");
    assert_eq!(header(&ringing, "Contact"), "<sip:203.0.113.1:5060>");
    assert!(header(&ringing, "Via").contains("received=198.51.100.10;rport=5060"));

    world.command(LegCommand::Answer { leg, answer: Box::new(ours(30000)) });
    assert_eq!(world.sent[0].0, address(CARRIER));
    let answer = world.one();
    assert!(answer.starts_with("SIP/2.0 200 OK") && answer.contains("m=audio 30000 RTP/AVP 8 101"), "{answer}");
    assert_eq!(tag_of(&answer, "To"), tag_of(&ringing, "To"));
    let tag = tag_of(&answer, "To");

    world.recv(CARRIER, &in_dialog("ACK", "c1", 1, &tag, ""));
    assert_eq!(world.event(), LegEvent::Confirmed { leg, answer: None });
    world.recv(CARRIER, &in_dialog("BYE", "c1", 2, &tag, "Reason: Q.850;cause=31\n"));
    assert_eq!(world.lines(), ["SIP/2.0 200 OK"]);
    let LegEvent::Ended { by, cause, .. } = world.event() else { panic!() };
    assert_eq!((by, cause.status, cause.q850), (EndedBy::Peer, 200, Some(31)));
    world.pass(Duration::from_secs(60));
    assert!(world.is_quiet());
    assert_eq!(world.signaling.counters().legs, 0);
    assert!(
        world.signaling.clients.is_empty() && world.signaling.sides.is_empty() && world.signaling.merged.is_empty()
    );
}

#[test]
fn early_media_goes_out_in_a_183_and_the_same_description_keeps_its_version() {
    let mut world = World::new();
    let leg = world.offered(&invite("c1", 1)).leg;
    world.command(LegCommand::Ring { leg, status: 183, early: Some(Box::new(ours(30000))) });
    let early = world.one();
    assert!(early.starts_with("SIP/2.0 183"));
    world.command(LegCommand::Answer { leg, answer: Box::new(ours(30000)) });
    let origin = |text: &str| text.lines().find(|l| l.starts_with("o=")).unwrap().to_owned();
    assert_eq!(origin(&early), origin(&world.one()));
}

#[test]
fn a_repeated_invite_gets_the_last_answer_and_no_second_leg() {
    let mut world = World::new();
    let leg = world.offered(&invite("c1", 1)).leg;
    world.recv(CARRIER, &invite("c1", 1));
    assert_eq!(world.lines(), ["SIP/2.0 100 Trying"]);
    world.command(LegCommand::Ring { leg, status: 180, early: None });
    world.sent.clear();
    world.recv(CARRIER, &invite("c1", 1));
    assert_eq!(world.lines(), ["SIP/2.0 180 Ringing"]);
    assert!(world.events.is_empty());
}

#[test]
fn an_answer_is_repeated_until_the_ack_and_given_up_after_32_seconds() {
    let mut world = World::new();
    let leg = world.offered(&invite("c1", 1)).leg;
    world.command(LegCommand::Answer { leg, answer: Box::new(ours(30000)) });
    let first = world.one();
    world.pass(Duration::from_millis(1500));
    assert_eq!(world.sent.len(), 2, "after 0.5 and 1.5 s");
    assert_eq!(world.last(), first);
    world.pass(Duration::from_secs(31));
    assert!(world.last().starts_with("BYE sip:gw@198.51.100.10:5060"));
    let LegEvent::Ended { by, cause, .. } = world.event() else { panic!() };
    assert_eq!((by, cause.status), (EndedBy::Postern, 408));
}

#[test]
fn an_answered_call_that_is_hung_up_before_its_ack_gets_its_bye_after_it() {
    let mut world = World::new();
    let leg = world.offered(&invite("c1", 1)).leg;
    world.command(LegCommand::Answer { leg, answer: Box::new(ours(30000)) });
    let tag = tag_of(&world.one(), "To");
    world.command(hangup(leg));
    assert!(world.sent.is_empty(), "RFC 3261 15: no BYE before the ACK");
    assert!(matches!(world.event(), LegEvent::Ended { by: EndedBy::Router, .. }));
    world.recv(CARRIER, &in_dialog("ACK", "c1", 1, &tag, ""));
    let bye = world.one();
    assert!(bye.starts_with("BYE ") && header(&bye, "Reason") == "Q.850;cause=16", "{bye}");
    assert!(world.events.is_empty());
}

#[test]
fn a_cancel_ends_the_leg_with_487() {
    let mut world = World::new();
    let leg = world.offered(&invite("c1", 1)).leg;
    let cancel = invite("c1", 1).replace("INVITE sip", "CANCEL sip").replace("1 INVITE", "1 CANCEL");
    let cancel = cancel.split("Content-Type").next().unwrap().to_owned();
    world.recv(CARRIER, &cancel);
    assert_eq!(world.lines(), ["SIP/2.0 200 OK", "SIP/2.0 487 Request Terminated"]);
    assert_eq!(world.event(), LegEvent::Ended { leg, by: EndedBy::Peer, cause: Cause::CANCELLED });
    world.command(LegCommand::Answer { leg, answer: Box::new(ours(30000)) });
    assert!(world.is_quiet(), "a command for a leg that is gone does nothing");
}

#[test]
fn a_refusal_carries_status_and_cause() {
    let mut world = World::new();
    let leg = world.offered(&invite("c1", 1)).leg;
    world.command(LegCommand::Hangup { leg, by: EndedBy::OtherParty, cause: Cause::new(486, "busy at 10.9.9.9") });
    let refusal = world.one();
    assert!(refusal.starts_with("SIP/2.0 486 Busy Here\r\n") && header(&refusal, "Reason") == "Q.850;cause=17");
    assert!(!refusal.contains("10.9.9.9"));
    assert!(matches!(world.event(), LegEvent::Ended { by: EndedBy::OtherParty, .. }));
    let ack = in_dialog("ACK", "c1", 1, &tag_of(&refusal, "To"), "").replace("z9hG4bK-ACK-1", "z9hG4bK-c1-1");
    world.recv(CARRIER, &ack);
    world.pass(Duration::from_secs(60));
    assert!(world.is_quiet());
}

#[test]
fn a_delayed_offer_is_answered_with_ours_and_confirmed_with_theirs() {
    let mut world = World::new();
    let text = invite("c1", 1);
    let offered = world.offered(text.split("Content-Type").next().unwrap());
    assert_eq!(offered.offer, None);
    let leg = offered.leg;
    world.command(LegCommand::Answer { leg, answer: Box::new(ours(30000)) });
    let tag = tag_of(&world.one(), "To");
    world.recv(CARRIER, &in_dialog("ACK", "c1", 1, &tag, &with_sdp(SDP)));
    let LegEvent::Confirmed { answer: Some(answer), .. } = world.event() else { panic!() };
    assert_eq!(answer.rtp.port(), 6000);
}

#[test]
fn a_delayed_offer_that_is_never_answered_ends_the_call() {
    let mut world = World::new();
    let text = invite("c1", 1);
    let leg = world.offered(text.split("Content-Type").next().unwrap()).leg;
    world.command(LegCommand::Answer { leg, answer: Box::new(ours(30000)) });
    let tag = tag_of(&world.one(), "To");
    world.recv(CARRIER, &in_dialog("ACK", "c1", 1, &tag, ""));
    assert!(world.one().starts_with("BYE "));
    assert!(matches!(world.event(), LegEvent::Ended { by: EndedBy::Postern, .. }));
}

#[test]
fn what_cannot_be_served_is_refused_with_its_status() {
    let table: &[(&str, &str, &str)] = &[
        ("Max-Forwards: 70", "Max-Forwards: 0", "SIP/2.0 483"),
        ("X-Trace: abc", "Require: newfangled", "SIP/2.0 420"),
        ("X-Trace: abc", "Supported: timer, 100rel", "SIP/2.0 100"),
        ("X-Trace: abc", "Session-Expires: 1800;refresher=uac", "SIP/2.0 100"),
        ("application/sdp", "application/isup", "SIP/2.0 415"),
        ("RTP/AVP 8 0 101", "UDP/TLS/RTP/SAVPF 8", "SIP/2.0 488"),
        ("v=0\n", "nonsense\n", "SIP/2.0 400"),
        ("Contact: <sip:gw@198.51.100.10:5060>", "X-None: 1", "SIP/2.0 400"),
        ("INVITE sip:+15550100@203.0.113.1", "INVITE urn:service:sos", "SIP/2.0 416"),
    ];
    for (from, to, status) in table {
        let mut world = World::new();
        let text = invite("c1", 1);
        assert!(text.contains(from), "{from}");
        world.recv(CARRIER, &text.replace(from, to));
        assert!(world.sent[0].1.starts_with(status), "{to}: {}", world.sent[0].1);
        assert_eq!(world.events.is_empty(), !status.ends_with("100"), "{to}");
    }
}

#[test]
fn the_same_invite_by_another_way_is_a_loop() {
    let mut world = World::new();
    world.offered(&invite("c1", 1));
    world.recv(CARRIER, &invite("c1", 1).replace("branch=z9hG4bK-c1-1", "branch=z9hG4bK-other"));
    assert_eq!(world.lines(), ["SIP/2.0 482 Loop Detected"]);
    assert!(world.events.is_empty());
}

#[test]
fn a_trunks_legs_are_counted_and_the_router_decides_how_many_it_may_have() {
    let mut world = World::new();
    let small = "198.51.100.20:5060";
    for (call, legs) in [("c1", 1), ("c2", 2)] {
        world.recv(small, &invite(call, 1));
        assert!(matches!(world.event(), LegEvent::Offered(_)), "offered, so that its refusal is a fact");
        assert_eq!(world.signaling.counters().trunk_legs.get("small"), Some(&legs));
    }
}

#[test]
fn how_far_a_call_may_still_go_is_told() {
    for (header, left) in
        [("Max-Forwards: 70", 70), ("Max-Forwards: 3", 3), ("Max-Forwards: 255", 70), ("X-None: 1", 70)]
    {
        let offered = World::new().offered(&invite("c1", 1).replace("Max-Forwards: 70", header));
        assert_eq!(offered.max_forwards, left, "{header}");
    }
}

#[test]
fn who_forwarded_the_call_is_told() {
    let table = [
        ("X-None: 1", ""),
        ("Diversion: <sip:+15550123@a.example>;reason=user-busy, <sip:+15550124@b.example>", "+15550123"),
        ("Diversion: <tel:+15550125>;reason=unconditional", "+15550125"),
        ("History-Info: <sip:+15550126@a.example>;index=1, <sip:+15550100@b.example;cause=302>;index=1.1", "+15550126"),
        ("History-Info: <sip:+15550100@b.example>;index=1", ""),
        ("Diversion: nonsense", ""),
    ];
    for (header, want) in table {
        let offered = World::new().offered(&invite("c1", 1).replace("X-Trace: abc", header));
        assert_eq!(offered.identity.diversions.first().map_or("", |latest| &*latest.user), want, "{header}");
    }
}

#[test]
fn a_trunk_that_must_prove_itself_is_challenged() {
    let mut world = World::new();
    let strict = "198.51.100.30:5060";
    world.recv(strict, &invite("c1", 1));
    let challenge = world.one();
    assert!(challenge.starts_with("SIP/2.0 401"), "{challenge}");
    let answer = authorization(&challenge, "them", "theirs", "INVITE", "sip:203.0.113.1");
    world.recv(strict, &invite("c1", 2).replace("X-Trace: abc", &format!("Authorization: {answer}")));
    assert!(matches!(world.event(), LegEvent::Offered(_)));
    let wrong = authorization(&challenge, "them", "guess", "INVITE", "sip:203.0.113.1");
    world.recv(strict, &invite("c2", 2).replace("X-Trace: abc", &format!("Authorization: {wrong}")));
    assert!(matches!(&world.facts[..], [Fact::AuthenticationFailed(_)]));
}

#[test]
fn the_asserted_identity_of_a_trunk_is_who_calls() {
    let mut world = World::new();
    let offered = world.offered(
        &invite("c1", 1).replace("X-Trace: abc", "P-Asserted-Identity: <sip:+15550177@carrier.example>\nPrivacy: none"),
    );
    assert_eq!(&*offered.from, "+15550177");
}

#[test]
fn a_withheld_number_is_not_passed_on() {
    for privacy in ["id", "user;id", "critical; Header"] {
        let text = invite("c1", 1).replace("sip:+15550199@198.51.100.10>", "sip:anonymous@anonymous.invalid>").replace(
            "X-Trace: abc",
            &format!("P-Asserted-Identity: <sip:+15550177@carrier.example>\nPrivacy: {privacy}"),
        );
        assert_eq!(&*World::new().offered(&text).from, "anonymous", "{privacy}");
    }
}

//! Rows 19, 20, 21, 23: what is said before the answer, and offers that cross.

use super::*;

const LEG: CallSid = CallSid(0xabc);

const OTHER: &str = "v=0
o=carrier 5 6 IN IP4 198.51.100.12
s=-
c=IN IP4 198.51.100.12
t=0 0
m=audio 6100 RTP/AVP 8
";

fn ruled(rel100: Rel100) -> Config {
    let mut config = config();
    config.trunks.values_mut().for_each(|trunk| trunk.rel100 = rel100);
    config
}

/// A call of the carrier with these headers, not yet answered.
fn offered(world: &mut World, headers: &str) -> CallSid {
    world.offered(&invite("c1", 1).replace("X-Trace: abc", headers)).leg
}

fn early(world: &mut World, leg: CallSid) -> String {
    world.command(LegCommand::Ring { leg, status: 183, early: Some(Box::new(ours(30000))) });
    world.one()
}

fn prack(call: &str, cseq: u32, tag: &str, rack: &str) -> String {
    in_dialog("PRACK", call, cseq, tag, &format!("RAck: {rack}\n"))
}

fn rseq(text: &str) -> u32 {
    header(text, "RSeq").parse().unwrap()
}

fn has(text: &str, name: &str) -> bool {
    text.lines().any(|line| line.to_lowercase().starts_with(&format!("{}:", name.to_lowercase())))
}

/// A call to the carrier.
fn dialed(world: &mut World) -> String {
    world.command(to_carrier(LEG));
    world.one()
}

#[test]
fn row_19_a_caller_that_knows_100rel_gets_its_early_media_reliably() {
    let mut world = World::new();
    let leg = offered(&mut world, "Supported: 100rel");
    world.command(LegCommand::Ring { leg, status: 180, early: None });
    assert!(!has(&world.one(), "RSeq"), "no media is at stake");
    let first = early(&mut world, leg);
    assert!(first.starts_with("SIP/2.0 183") && header(&first, "Require") == "100rel", "{first}");
    let (number, tag) = (rseq(&first), tag_of(&first, "To"));
    assert!((1..1 << 31).contains(&number));
    // Lost: it comes again after 0.5, 1.5 and 3.5 s.
    world.pass(Duration::from_secs(4));
    assert_eq!(world.sent.len(), 3);
    assert_eq!(world.last(), first);
    // The answer waits for the PRACK (RFC 3262 3).
    world.command(LegCommand::Answer { leg, answer: Box::new(ours(30000)) });
    assert!(world.sent.is_empty());
    world.recv(CARRIER, &prack("c1", 2, &tag, &format!("{number} 1 INVITE")));
    assert_eq!(world.lines(), ["SIP/2.0 200 OK", "SIP/2.0 200 OK"]);
    world.recv(CARRIER, &in_dialog("ACK", "c1", 1, &tag, ""));
    assert_eq!(world.event(), LegEvent::Confirmed { leg, answer: None });
    // The dialog goes on with its numbers.
    world.recv(CARRIER, &in_dialog("BYE", "c1", 3, &tag, ""));
    assert_eq!(world.lines(), ["SIP/2.0 200 OK"]);
    world.pass(Duration::from_secs(70));
    assert_eq!(world.signaling.remembered(), 0);
}

#[test]
fn row_19_reliable_responses_follow_one_another() {
    let mut world = World::new();
    let leg = offered(&mut world, "Require: 100rel");
    world.command(LegCommand::Ring { leg, status: 180, early: None });
    let ringing = world.one();
    let (number, tag) = (rseq(&ringing), tag_of(&ringing, "To"));
    // What comes meanwhile waits; media is not displaced by what has none.
    world.command(LegCommand::Ring { leg, status: 183, early: Some(Box::new(ours(30000))) });
    world.command(LegCommand::Ring { leg, status: 180, early: None });
    assert!(world.is_quiet());
    let wrong = [format!("{} 1 INVITE", number + 1), format!("{number} 2 INVITE"), "x".into(), String::new()];
    for (cseq, wrong) in (2..).zip(wrong) {
        world.recv(CARRIER, &prack("c1", cseq, &tag, &wrong));
        assert_eq!(world.lines(), ["SIP/2.0 481 Call/Transaction Does Not Exist"], "{wrong}");
    }
    world.recv(CARRIER, &prack("c1", 90, &tag, &format!("{number} 1 INVITE")));
    assert!(world.sent.remove(0).1.starts_with("SIP/2.0 200"));
    let media = world.one();
    assert!(media.starts_with("SIP/2.0 183") && rseq(&media) == number + 1 && media.contains("m=audio"), "{media}");
    world.recv(CARRIER, &prack("c1", 91, &tag, &format!("{number} 1 INVITE")));
    assert_eq!(world.lines(), ["SIP/2.0 481 Call/Transaction Does Not Exist"], "acknowledged already");
}

#[test]
fn row_19_what_is_never_acknowledged_fails_the_call_with_504() {
    let mut world = World::new();
    let leg = offered(&mut world, "Require: 100rel");
    early(&mut world, leg);
    world.pass(Duration::from_secs(33));
    assert!(world.last().starts_with("SIP/2.0 504"));
    assert!(matches!(world.event(), LegEvent::Ended { by: EndedBy::Postern, cause: Cause { status: 504, .. }, .. }));
}

#[test]
fn row_19_off_supported_required() {
    // Rule, what the caller says, the answer to its INVITE, and whether its early media is reliable.
    let table = [
        (Rel100::Off, "Supported: 100rel", 100, false),
        (Rel100::Off, "Require: 100rel", 420, false),
        (Rel100::Supported, "X-Nothing: 1", 100, false),
        (Rel100::Supported, "Supported: 100rel", 100, true),
        (Rel100::Required, "X-Nothing: 1", 421, false),
        (Rel100::Required, "Supported: 100rel", 100, true),
        (Rel100::Required, "Require: 100rel", 100, true),
    ];
    for (rule, says, status, reliable) in table {
        let mut world = World::with(ruled(rule));
        world.recv(CARRIER, &invite("c1", 1).replace("X-Trace: abc", says));
        let answer = world.one();
        assert!(answer.starts_with(&format!("SIP/2.0 {status}")), "{rule:?} {says}: {answer}");
        match status {
            420 => assert_eq!(header(&answer, "Unsupported"), "100rel"),
            421 => assert_eq!(header(&answer, "Require"), "100rel"),
            _ => {
                let LegEvent::Offered(offered) = world.event() else { panic!() };
                assert_eq!(has(&early(&mut world, offered.leg), "RSeq"), reliable, "{rule:?} {says}");
            }
        }
        let mut world = World::with(ruled(rule));
        let invite = dialed(&mut world);
        assert_eq!(header(&invite, "Supported").contains("100rel"), rule != Rel100::Off);
        assert_eq!(has(&invite, "Require"), rule == Rel100::Required);
    }
}

#[test]
fn row_19_a_callee_that_requires_acknowledgement_gets_it_in_order() {
    let mut world = World::new();
    let invite = dialed(&mut world);
    let reliable = |number: u32, rest: &str| {
        response(
            &invite,
            "183 Session Progress",
            "t1",
            &format!("Require: 100rel\nRSeq: {number}\nContact: <sip:gw@198.51.100.10:5060>\n{rest}"),
        )
    };
    world.recv(CARRIER, &reliable(7, &with_sdp(SDP)));
    let prack = world.one();
    assert!(prack.starts_with("PRACK sip:gw@198.51.100.10:5060"), "{prack}");
    assert_eq!((header(&prack, "RAck"), header(&prack, "CSeq")), ("7 1 INVITE", "2 PRACK"));
    assert!(matches!(world.event(), LegEvent::Progress { status: 183, early: Some(_), .. }));
    // A repetition, one from the past, and one that is ahead of a lost one: the PRACK's own transaction repeats itself.
    for number in [7, 6, 9] {
        world.recv(CARRIER, &reliable(number, ""));
        assert!(world.is_quiet(), "{number}");
    }
    world.recv(CARRIER, &response(&prack, "200 OK", "", ""));
    world.recv(CARRIER, &reliable(8, ""));
    assert_eq!(header(&world.one(), "RAck"), "8 1 INVITE");
    assert!(matches!(world.event(), LegEvent::Progress { early: None, .. }));
    // The 200 repeats nothing: the description of its dialog counts, and so do its numbers.
    world.recv(CARRIER, &response(&invite, "200 OK", "t1", "Contact: <sip:gw@198.51.100.10:5060>\n"));
    assert!(world.one().starts_with("ACK "));
    let LegEvent::Answered { answer: Some(answer), .. } = world.event() else { panic!() };
    assert_eq!(answer.rtp.port(), 6000);
    world.command(hangup(LEG));
    assert_eq!(header(&world.one(), "CSeq"), "4 BYE");
}

#[test]
fn row_20_an_update_before_the_answer_waits_for_one_that_is_sure() {
    let mut world = World::new();
    let leg = offered(&mut world, "Supported: 100rel");
    let ringing = early(&mut world, leg);
    let tag = tag_of(&ringing, "To");
    let update = |cseq, rest: &str| in_dialog("UPDATE", "c1", cseq, &tag, rest);
    // Not acknowledged: their first offer counts as unanswered (RFC 3311 5.2).
    world.recv(CARRIER, &update(2, &with_sdp(OTHER)));
    let refusal = world.one();
    assert!(refusal.starts_with("SIP/2.0 500") && header(&refusal, "Retry-After").parse::<u8>().unwrap() <= 10);
    world.recv(CARRIER, &update(3, ""));
    assert_eq!(world.lines(), ["SIP/2.0 200 OK"]);
    world.recv(CARRIER, &prack("c1", 4, &tag, &format!("{} 1 INVITE", rseq(&ringing))));
    assert_eq!(world.lines(), ["SIP/2.0 200 OK"]);
    world.recv(CARRIER, &update(5, &with_sdp(OTHER)));
    assert!(matches!(world.event(), LegEvent::Reoffered { offer: Some(_), .. }));
    // A second one while that is open.
    world.recv(CARRIER, &update(6, &with_sdp(OTHER)));
    assert!(world.one().starts_with("SIP/2.0 500"));
    world.command(LegCommand::AnswerReoffer { leg, answer: Box::new(ours(30000)) });
    let ok = world.one();
    assert!(ok.starts_with("SIP/2.0 200") && header(&ok, "CSeq") == "5 UPDATE" && ok.contains("m=audio 30000"));
    world.recv(CARRIER, &update(7, &with_sdp(OTHER)));
    world.event();
    world.command(LegCommand::RejectReoffer { leg, cause: Cause::new(488, "no") });
    assert!(world.one().starts_with("SIP/2.0 488"));
    // The call is answered all the same.
    world.command(LegCommand::Answer { leg, answer: Box::new(ours(30000)) });
    assert!(world.one().starts_with("SIP/2.0 200"));
    world.recv(CARRIER, &in_dialog("INFO", "c1", 5, &tag, ""));
    assert!(world.one().starts_with("SIP/2.0 500"), "the numbers of the early dialog count on");
}

#[test]
fn row_20_a_callee_may_change_its_early_media() {
    let mut world = World::new();
    let invite = dialed(&mut world);
    let contact = "Contact: <sip:gw@198.51.100.10:5060>\n";
    let update = |cseq: u32, rest: &str| {
        format!(
            "UPDATE sip:203.0.113.1:5060 SIP/2.0
            Via: SIP/2.0/UDP 198.51.100.10:5060;branch=z9hG4bK-u-{cseq};rport
            From: {};tag=t1
            To: {}
            Call-ID: {}
            CSeq: {cseq} UPDATE
            {contact}{rest}",
            header(&invite, "To"),
            header(&invite, "From"),
            header(&invite, "Call-ID")
        )
    };
    world.recv(CARRIER, &response(&invite, "180 Ringing", "t1", contact));
    world.event();
    world.recv(CARRIER, &update(1, &with_sdp(OTHER)));
    assert!(world.one().starts_with("SIP/2.0 491"), "our offer is open");
    world.recv(
        CARRIER,
        &response(
            &invite,
            "183 Session Progress",
            "t1",
            &format!("Require: 100rel\nRSeq: 1\n{contact}{}", with_sdp(SDP)),
        ),
    );
    (world.sent, world.events) = Default::default();
    world.recv(CARRIER, &update(2, &with_sdp(OTHER)));
    let LegEvent::Reoffered { offer: Some(offer), .. } = world.event() else { panic!() };
    assert_eq!(offer.rtp.port(), 6100);
    world.command(LegCommand::AnswerReoffer { leg: LEG, answer: Box::new(ours(30002)) });
    assert!(world.one().contains("m=audio 30002"));
    world.recv(CARRIER, &response(&invite, "200 OK", "t1", contact));
    let LegEvent::Answered { answer: Some(answer), .. } = world.event() else { panic!() };
    assert_eq!(answer.rtp.port(), 6100, "what was offered last");
    // Of nobody's dialog.
    world.sent.clear();
    world.recv(CARRIER, &update(9, "").replace("tag=t1", "tag=t2"));
    assert_eq!(world.lines(), ["SIP/2.0 481 Call/Transaction Does Not Exist"]);
}

#[test]
fn row_23_of_several_early_dialogs_the_last_is_heard_and_the_one_that_answers_counts() {
    let mut world = World::new();
    let invite = dialed(&mut world);
    let early = |tag: &str, sdp: &str| response(&invite, "183 Session Progress", tag, &with_sdp(sdp));
    let port = |event: LegEvent| match event {
        LegEvent::Progress { early, .. } => early.map(|early| early.rtp.port()),
        LegEvent::Answered { answer, .. } => answer.map(|answer| answer.rtp.port()),
        other => panic!("{other:?}"),
    };
    world.recv(CARRIER, &early("a", SDP));
    assert_eq!(port(world.event()), Some(6000));
    world.recv(CARRIER, &early("b", OTHER));
    assert_eq!(port(world.event()), Some(6100));
    for fork in 0..40 {
        world.recv(CARRIER, &response(&invite, "180 Ringing", &format!("f{fork}"), ""));
        assert_eq!(port(world.event()), None);
    }
    world.recv(CARRIER, &early("a", SDP));
    world.event();
    world.recv(CARRIER, &early("b", OTHER));
    world.event();
    // The first fork answers without a description: its own counts, not the last.
    world.recv(CARRIER, &response(&invite, "200 OK", "a", ""));
    assert_eq!(port(world.event()), Some(6000));
}

#[test]
fn row_23_what_the_network_says_is_not_to_be_heard_is_no_early_media() {
    for (said, heard) in [("sendrecv", true), ("sendonly", true), ("inactive", false), ("recvonly, gated", false)] {
        let mut world = World::new();
        let invite = dialed(&mut world);
        let headers = format!("P-Early-Media: {said}\n{}", with_sdp(SDP));
        world.recv(CARRIER, &response(&invite, "183 Session Progress", "a", &headers));
        let LegEvent::Progress { early, .. } = world.event() else { panic!() };
        assert_eq!(early.is_some(), heard, "{said}");
        // It is the answer all the same.
        world.recv(CARRIER, &response(&invite, "200 OK", "a", ""));
        assert!(matches!(world.event(), LegEvent::Answered { answer: Some(_), .. }));
    }
}

#[test]
fn row_24_an_invite_without_an_offer_that_requires_100rel_hears_nothing_until_our_offer() {
    let mut world = World::new();
    let text = invite("c1", 1).replace("X-Trace: abc", "Require: 100rel");
    let leg = world.offered(text.split("Content-Type").next().unwrap()).leg;
    world.command(LegCommand::Ring { leg, status: 180, early: None });
    world.command(LegCommand::Ring { leg, status: 183, early: Some(Box::new(ours(30000))) });
    assert!(world.is_quiet());
    world.command(LegCommand::Answer { leg, answer: Box::new(ours(30000)) });
    let ok = world.one();
    assert!(ok.starts_with("SIP/2.0 200") && ok.contains("m=audio 30000"));
    world.recv(CARRIER, &in_dialog("ACK", "c1", 1, &tag_of(&ok, "To"), &with_sdp(SDP)));
    assert!(matches!(world.event(), LegEvent::Confirmed { answer: Some(_), .. }));
}

#[test]
fn row_21_an_offer_that_met_one_of_theirs_waits_as_long_as_its_side_should() {
    // Whose Call-ID, and between which times ours goes out again.
    for (ours_is_first, low, high) in [(true, 2100, 4000), (false, 0, 2000)] {
        let mut waits = Vec::new();
        for _ in 0..2 {
            let mut world = World::new();
            let leg = if ours_is_first {
                let invite = dialed(&mut world);
                world.recv(CARRIER, &response(&invite, "200 OK", "far", &with_sdp(SDP)));
                LEG
            } else {
                world.established().0
            };
            (world.sent, world.events) = Default::default();
            for _ in 0..3 {
                world.command(LegCommand::Reoffer { leg, offer: Box::new(ours(30008)) });
                let invite = world.one();
                world.recv(CARRIER, &response(&invite, "491 Request Pending", "", ""));
                assert!(world.one().starts_with("ACK "));
                assert!(world.events.is_empty(), "the router hears nothing of it");
                let start = world.now.instant;
                while world.sent.is_empty() {
                    world.pass(Duration::from_millis(10));
                }
                let wait = (world.now.instant - start).as_millis() as u64;
                assert!((low..=high + 10).contains(&wait), "{wait}");
                waits.push(wait);
                let again = world.one();
                assert!(again.starts_with("INVITE ") && again.contains("m=audio 30008"));
                world.recv(CARRIER, &response(&again, "200 OK", "", &with_sdp(SDP)));
                assert!(matches!(world.event(), LegEvent::ReofferAnswered { .. }));
                world.sent.clear();
            }
        }
        waits.dedup();
        assert!(waits.len() > 2, "drawn: {waits:?}");
    }
}

#[test]
fn row_21_their_offer_is_taken_while_ours_waits_and_a_peer_that_never_yields_is_given_up() {
    let mut world = World::new();
    let (leg, tag) = world.established();
    world.command(LegCommand::Reoffer { leg, offer: Box::new(ours(30008)) });
    let invite = world.one();
    world.recv(CARRIER, &in_dialog("INVITE", "c1", 2, &tag, &with_sdp(OTHER)));
    assert!(world.one().starts_with("SIP/2.0 491"));
    world.recv(CARRIER, &response(&invite, "491 Request Pending", "", ""));
    world.sent.clear();
    world.recv(CARRIER, &in_dialog("INVITE", "c1", 3, &tag, &with_sdp(OTHER)));
    assert!(matches!(world.event(), LegEvent::Reoffered { .. }));
    world.command(LegCommand::AnswerReoffer { leg, answer: Box::new(ours(30000)) });
    world.sent.clear();
    world.recv(CARRIER, &in_dialog("ACK", "c1", 3, &tag, ""));
    let mut tries = 0;
    while world.events.is_empty() {
        world.pass(Duration::from_millis(100));
        if let Some((_, text)) = world.sent.pop().filter(|(_, text)| text.starts_with("INVITE ")) {
            tries += 1;
            world.recv(CARRIER, &response(&text, "491 Request Pending", "", ""));
        }
        world.sent.clear();
    }
    assert_eq!(tries, 4);
    assert!(matches!(world.event(), LegEvent::ReofferFailed { cause: Cause { status: 491, .. }, .. }));
}

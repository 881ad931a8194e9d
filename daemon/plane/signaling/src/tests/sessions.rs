//! An answered leg: new offers both ways, INFO, stragglers.

use super::*;

const HELD: &str = "v=0
o=carrier 5 6 IN IP4 198.51.100.11
s=-
c=IN IP4 198.51.100.11
t=0 0
m=audio 6000 RTP/AVP 8
a=sendonly
";

#[test]
fn the_peer_holds_and_our_answer_goes_out_with_a_new_version() {
    let mut world = World::new();
    let (leg, tag) = world.established();
    world.recv(CARRIER, &in_dialog("INVITE", "c1", 2, &tag, &with_sdp(HELD)));
    assert_eq!(world.lines(), ["SIP/2.0 100 Trying"]);
    let LegEvent::Reoffered { offer: Some(offer), .. } = world.event() else { panic!() };
    assert_eq!(offer.direction, Direction::SendOnly);
    let mut answer = ours(30000);
    answer.direction = Direction::RecvOnly;
    world.command(LegCommand::AnswerReoffer { leg, answer: Box::new(answer) });
    let ok = world.one();
    assert!(ok.starts_with("SIP/2.0 200") && ok.contains("a=recvonly"));
    assert!(ok.lines().find(|l| l.starts_with("o=")).unwrap().contains(" 2 IN IP4"), "{ok}");
    world.pass(Duration::from_millis(600));
    assert_eq!(world.one(), ok, "a 2xx to a re-INVITE is repeated too");
    world.recv(CARRIER, &in_dialog("ACK", "c1", 2, &tag, ""));
    world.pass(Duration::from_secs(60));
    assert!(world.is_quiet());
}

#[test]
fn a_refused_offer_keeps_the_session() {
    let mut world = World::new();
    let (leg, tag) = world.established();
    // 481 would end the dialog at the peer (RFC 3261 12.2.1.2), which nobody meant.
    for (cseq, status, sent) in [(2, 488, "SIP/2.0 488"), (3, 481, "SIP/2.0 488"), (4, 491, "SIP/2.0 491")] {
        world.recv(CARRIER, &in_dialog("INVITE", "c1", cseq, &tag, &with_sdp(HELD)));
        (world.sent, world.events) = Default::default();
        world.command(LegCommand::RejectReoffer { leg, cause: Cause::new(status, "no") });
        let refusal = world.one();
        assert!(refusal.starts_with(sent), "{refusal}");
        let ack = in_dialog("ACK", "c1", cseq, &tag, "").replace("z9hG4bK-ACK", "z9hG4bK-INVITE");
        world.recv(CARRIER, &ack);
        assert!(world.is_quiet());
    }
    world.command(hangup(leg));
    assert!(world.one().starts_with("BYE "));
}

#[test]
fn an_update_with_an_offer_is_answered_and_one_without_is_just_taken() {
    let mut world = World::new();
    let (leg, tag) = world.established();
    world.recv(CARRIER, &in_dialog("UPDATE", "c1", 2, &tag, ""));
    assert_eq!(world.lines(), ["SIP/2.0 200 OK"]);
    assert!(world.events.is_empty());
    world.recv(CARRIER, &in_dialog("UPDATE", "c1", 3, &tag, &with_sdp(HELD)));
    assert!(matches!(world.event(), LegEvent::Reoffered { offer: Some(_), .. }));
    world.command(LegCommand::AnswerReoffer { leg, answer: Box::new(ours(30000)) });
    let ok = world.one();
    assert!(ok.starts_with("SIP/2.0 200") && header(&ok, "CSeq") == "3 UPDATE" && ok.contains("m=audio"));
    world.pass(Duration::from_secs(2));
    assert!(world.is_quiet(), "no ACK is waited for");
}

#[test]
fn a_peer_that_asks_for_our_offer_answers_in_its_ack() {
    let mut world = World::new();
    let (leg, tag) = world.established();
    world.recv(CARRIER, &in_dialog("INVITE", "c1", 2, &tag, ""));
    assert_eq!(world.event(), LegEvent::Reoffered { leg, offer: None });
    world.command(LegCommand::AnswerReoffer { leg, answer: Box::new(ours(30000)) });
    world.sent.clear();
    world.recv(CARRIER, &in_dialog("ACK", "c1", 2, &tag, &with_sdp(SDP)));
    assert!(matches!(world.event(), LegEvent::Confirmed { answer: Some(_), .. }));
}

#[test]
fn our_offer_is_answered_and_the_ack_follows_a_moved_contact() {
    let mut world = World::new();
    let (leg, _) = world.established();
    world.command(LegCommand::Reoffer { leg, offer: Box::new(ours(30008)) });
    let invite = world.one();
    assert!(invite.starts_with("INVITE sip:gw@198.51.100.10:5060") && invite.contains("m=audio 30008"), "{invite}");
    assert_eq!(header(&invite, "Contact"), "<sip:203.0.113.1:5060>");
    let ok = response(&invite, "200 OK", "", &format!("Contact: <sip:gw@198.51.100.12:5080>\n{}", with_sdp(SDP)));
    world.recv(CARRIER, &ok);
    assert_eq!(world.sent[0].0, address("198.51.100.12:5080"));
    let ack = world.one();
    assert!(ack.starts_with("ACK sip:gw@198.51.100.12:5080") && header(&ack, "CSeq") == "1 ACK");
    assert!(matches!(world.event(), LegEvent::ReofferAnswered { .. }));
    world.recv(CARRIER, &ok);
    assert_eq!(world.one(), ack);
    assert!(world.events.is_empty());
}

#[test]
fn our_refused_offer_keeps_the_session_and_a_lost_dialog_ends_it() {
    let mut world = World::new();
    let (leg, _) = world.established();
    for status in ["488 Not Acceptable Here", "606 Not Acceptable"] {
        world.command(LegCommand::Reoffer { leg, offer: Box::new(ours(30008)) });
        let invite = world.one();
        world.recv(CARRIER, &response(&invite, status, "", ""));
        assert!(world.one().starts_with("ACK "));
        let LegEvent::ReofferFailed { cause, .. } = world.event() else { panic!() };
        assert!(status.starts_with(&cause.status.to_string()));
    }
    world.command(LegCommand::Reoffer { leg, offer: Box::new(ours(30008)) });
    let invite = world.one();
    world.recv(CARRIER, &response(&invite, "481 Call/Transaction Does Not Exist", "", ""));
    assert!(matches!(
        &world.events[..],
        [LegEvent::ReofferFailed { .. }, LegEvent::Ended { by: EndedBy::Postern, .. }]
    ));
}

#[test]
fn our_offer_is_tried_again_with_credentials() {
    let mut world = World::new();
    let (leg, _) = world.established();
    world.command(LegCommand::Reoffer { leg, offer: Box::new(ours(30008)) });
    let invite = world.one();
    let challenge = "WWW-Authenticate: Digest realm=\"c\", nonce=\"n1\", algorithm=MD5, qop=\"auth\"\n";
    world.recv(CARRIER, &response(&invite, "401 Unauthorized", "", challenge));
    let again = world.last();
    assert!(header(&again, "CSeq") == "2 INVITE" && header(&again, "Authorization").contains("acct"));
    world.recv(CARRIER, &response(&again, "200 OK", "", &with_sdp(SDP)));
    assert!(matches!(world.event(), LegEvent::ReofferAnswered { .. }));
}

#[test]
fn offers_that_cross_are_refused_with_491() {
    let mut world = World::new();
    let (leg, tag) = world.established();
    world.command(LegCommand::Reoffer { leg, offer: Box::new(ours(30008)) });
    world.sent.clear();
    world.recv(CARRIER, &in_dialog("INVITE", "c1", 2, &tag, &with_sdp(HELD)));
    assert!(world.one().starts_with("SIP/2.0 491"));
    world.command(LegCommand::Reoffer { leg, offer: Box::new(ours(30010)) });
    assert!(matches!(world.event(), LegEvent::ReofferFailed { cause: Cause { status: 491, .. }, .. }));
}

#[test]
fn a_bye_ends_what_waits() {
    let mut world = World::new();
    let (leg, tag) = world.established();
    world.recv(CARRIER, &in_dialog("INVITE", "c1", 2, &tag, &with_sdp(HELD)));
    (world.sent, world.events) = Default::default();
    world.recv(CARRIER, &in_dialog("BYE", "c1", 3, &tag, ""));
    assert_eq!(world.lines(), ["SIP/2.0 200 OK", "SIP/2.0 487 Request Terminated"]);
    assert!(matches!(world.event(), LegEvent::Ended { by: EndedBy::Peer, .. }));
    world.command(LegCommand::AnswerReoffer { leg, answer: Box::new(ours(30000)) });
    world.recv(CARRIER, &in_dialog("BYE", "c1", 4, &tag, ""));
    assert_eq!(world.lines(), ["SIP/2.0 481 Call/Transaction Does Not Exist"]);
}

#[test]
fn a_cancelled_reinvite_gets_the_other_partys_answer_all_the_same() {
    let mut world = World::new();
    let (leg, tag) = world.established();
    let reinvite = in_dialog("INVITE", "c1", 2, &tag, &with_sdp(HELD));
    world.recv(CARRIER, &reinvite);
    (world.sent, world.events) = Default::default();
    let cancel = in_dialog("INVITE", "c1", 2, &tag, "");
    world.recv(CARRIER, &cancel.replace("INVITE sip", "CANCEL sip").replace("2 INVITE", "2 CANCEL"));
    assert_eq!(world.lines(), ["SIP/2.0 200 OK"]);
    assert!(world.events.is_empty());
    world.command(LegCommand::AnswerReoffer { leg, answer: Box::new(ours(30000)) });
    assert_eq!(world.lines(), ["SIP/2.0 200 OK"]);
    world.recv(CARRIER, &in_dialog("ACK", "c1", 2, &tag, ""));
    world.command(hangup(leg));
    assert!(world.one().starts_with("BYE "));
}

#[test]
fn row_26_info_brings_digits_and_other_bodies_are_refused() {
    let table = [
        ("application/dtmf-relay", "Signal=5\nDuration=160\n", Some(('5', 160)), "200"),
        ("application/dtmf-relay", "Signal= #\n", Some(('#', 0)), "200"),
        ("application/dtmf-relay", "Signal=11\n", Some(('#', 0)), "200"),
        ("application/dtmf-relay", "Signal=hook\n", None, "200"),
        ("application/dtmf", "*", Some(('*', 0)), "200"),
        ("application/dtmf", "d", Some(('D', 0)), "200"),
        ("application/dtmf-relay", "signal=A\nduration=99999999999\n", Some(('A', 0)), "200"),
        ("application/dtmf-relay", "Duration=70000\nSignal=7\n", Some(('7', 10_000)), "200"),
        ("application/dtmf-relay", "Signal=55\n=\n==5", None, "200"),
        ("application/dtmf", "\u{e9}", None, "200"),
        ("text/plain", "5", None, "415"),
        ("application/dtmf\n        Info-Package: x", "5", None, "469"),
    ];
    for (kind, body, digit, status) in table {
        let mut world = World::new();
        let (leg, tag) = world.established();
        world.recv(CARRIER, &in_dialog("INFO", "c1", 2, &tag, &format!("Content-Type: {kind}\n\n{body}")));
        assert!(world.one().starts_with(&format!("SIP/2.0 {status}")), "{kind} {body}");
        let told = world.events.pop();
        assert_eq!(
            told,
            digit.map(|(digit, duration_ms)| LegEvent::Digit { leg, digit, duration_ms }),
            "{kind} {body}"
        );
    }
}

#[test]
fn other_requests_in_a_dialog() {
    let mut world = World::new();
    let (_, tag) = world.established();
    let table =
        [("OPTIONS", 2, "200"), ("INFO", 3, "200"), ("REFER", 4, "405"), ("NEWFANGLED", 5, "501"), ("INFO", 2, "500")];
    for (method, cseq, status) in table {
        world.recv(CARRIER, &in_dialog(method, "c1", cseq, &tag, ""));
        assert!(world.one().starts_with(&format!("SIP/2.0 {status}")), "{method}");
    }
    world.recv(CARRIER, &in_dialog("BYE", "c1", 9, &tag, "").replace("ct-c1", "guess"));
    assert!(world.one().starts_with("SIP/2.0 481"), "the peer's tag must be right too");
    assert!(world.events.is_empty());
}

#[test]
fn requests_follow_the_route_that_proxies_recorded() {
    let mut world = World::new();
    let text = invite("c1", 1).replace("X-Trace: abc", "Record-Route: <sip:198.51.100.77:5090;lr>");
    let leg = world.offered(&text).leg;
    world.command(LegCommand::Answer { leg, answer: Box::new(ours(30000)) });
    let ok = world.one();
    assert_eq!(header(&ok, "Record-Route"), "<sip:198.51.100.77:5090;lr>");
    world.recv(CARRIER, &in_dialog("ACK", "c1", 1, &tag_of(&ok, "To"), ""));
    world.command(hangup(leg));
    assert_eq!(world.sent[0].0, address("198.51.100.77:5090"));
    let bye = world.one();
    assert!(bye.starts_with("BYE sip:gw@198.51.100.10:5060") && header(&bye, "Route") == "<sip:198.51.100.77:5090;lr>");
}

#[test]
fn nothing_of_a_changed_session_is_remembered() {
    let mut world = World::new();
    let (leg, _) = world.established();
    for port in [30008, 30010] {
        world.command(LegCommand::Reoffer { leg, offer: Box::new(ours(port)) });
        let reinvite = world.last();
        world.recv(CARRIER, &response(&reinvite, "200 OK", "", &with_sdp(SDP)));
    }
    world.command(hangup(leg));
    let bye = world.last();
    world.recv(CARRIER, &response(&bye, "200 OK", "", ""));
    assert!(world.signaling.remembered() > 0);
    world.pass(Duration::from_secs(70));
    assert_eq!(world.signaling.remembered(), 0);
}

#[test]
fn row_26_a_digit_is_told_by_info_in_its_dialog() {
    let mut world = World::new();
    let (leg, tag) = world.established();
    world.command(LegCommand::Digit { leg, digit: '#', duration_ms: 120 });
    let info = world.one();
    assert!(info.starts_with("INFO sip:gw@198.51.100.10:5060 SIP/2.0\r\n"), "{info}");
    assert_eq!((tag_of(&info, "From"), tag_of(&info, "To").as_str()), (tag, "ct-c1"));
    assert_eq!(header(&info, "Content-Type"), "application/dtmf-relay");
    assert!(info.ends_with("\r\n\r\nSignal=#\r\nDuration=120\r\n"), "{info}");
    // Whatever it says, the call goes on.
    world.recv(CARRIER, &response(&info, "415 Unsupported Media Type", "ct-c1", ""));
    world.command(LegCommand::Digit { leg: CallSid(9), digit: '1', duration_ms: 120 });
    assert!(world.is_quiet() && world.signaling.clients.is_empty());
}

//! A leg that goes out: to a trunk, a URI, and a user's devices.

use super::*;

const LEG: CallSid = CallSid(0xabc);

/// Dials the carrier: the INVITE.
fn dialed(world: &mut World) -> String {
    world.command(to_carrier(LEG));
    assert_eq!(world.sent[0].0, address(CARRIER));
    world.one()
}

fn with_answer(tag: &str) -> String {
    format!("Contact: <sip:gw{tag}@198.51.100.10:5060>\n{}", with_sdp(SDP))
}

#[test]
fn a_call_to_a_trunk_rings_is_answered_and_hung_up_by_us() {
    let mut world = World::new();
    let invite = dialed(&mut world);
    assert!(invite.starts_with("INVITE sip:+15550142@198.51.100.10 SIP/2.0\r\n"), "{invite}");
    assert!(header(&invite, "Via").starts_with("SIP/2.0/UDP 203.0.113.1:5060;branch=z9hG4bK"));
    assert!(header(&invite, "From").starts_with("\"Ann\" <sip:+15550111@203.0.113.1>;tag="));
    assert_eq!(header(&invite, "Contact"), "<sip:203.0.113.1:5060>");
    assert_eq!(header(&invite, "Max-Forwards"), "42");
    assert_eq!(header(&invite, "X-Note"), "one  Evil: two");
    assert!(!invite.contains("\r\nEvil") && !invite.contains("Via: no"));

    world.recv(CARRIER, &response(&invite, "100 Trying", "", ""));
    assert!(world.is_quiet());
    world.recv(CARRIER, &response(&invite, "180 Ringing", "t1", ""));
    assert_eq!(world.event(), LegEvent::Progress { leg: LEG, status: 180, early: None });
    world.recv(CARRIER, &response(&invite, "183 Session Progress", "t1", &with_answer("")));
    let LegEvent::Progress { status: 183, early: Some(early), .. } = world.event() else { panic!() };
    assert_eq!(early.rtp.port(), 6000);
    world.recv(CARRIER, &response(&invite, "200 OK", "t1", &with_answer("")));
    let ack = world.one();
    assert!(ack.starts_with("ACK sip:gw@198.51.100.10:5060") && header(&ack, "To").ends_with(";tag=t1"), "{ack}");
    let LegEvent::Answered { leg: LEG, answer: Some(_), remote, .. } = world.event() else { panic!() };
    assert_eq!(remote, address(CARRIER));

    world.recv(CARRIER, &response(&invite, "200 OK", "t1", &with_answer("")));
    assert_eq!(world.one(), ack, "the ACK was lost: it is sent again");
    assert!(world.events.is_empty());

    world.command(hangup(LEG));
    let bye = world.one();
    assert!(bye.starts_with("BYE sip:gw@198.51.100.10:5060") && header(&bye, "CSeq") == "2 BYE", "{bye}");
    assert_eq!(world.event(), LegEvent::Ended { leg: LEG, by: EndedBy::Router, cause: Cause::NORMAL });
    world.recv(CARRIER, &response(&bye, "200 OK", "t1", ""));
    world.pass(Duration::from_secs(60));
    assert!(world.is_quiet() && world.signaling.clients.is_empty() && world.signaling.sides.is_empty());
}

#[test]
fn the_callee_ends_the_call() {
    let mut world = World::new();
    let invite = dialed(&mut world);
    world.recv(CARRIER, &response(&invite, "200 OK", "t1", &with_answer("")));
    (world.sent, world.events) = Default::default();
    let bye = |call: &str| {
        format!(
            "BYE sip:203.0.113.1:5060 SIP/2.0\nVia: SIP/2.0/UDP 198.51.100.10:5060;branch=z9hG4bKb1\nMax-Forwards: 70\n\
             From: <sip:+15550142@198.51.100.10>;tag=t1\nTo: {}\nCall-ID: {call}\nCSeq: 1 BYE\n",
            header(&invite, "From")
        )
    };
    world.recv(CARRIER, &bye("guessed"));
    assert!(world.one().starts_with("SIP/2.0 481"), "our tag alone is not enough");
    world.recv(CARRIER, &bye(header(&invite, "Call-ID")).replace("bKb1", "bKb2"));
    assert!(world.one().starts_with("SIP/2.0 200"));
    assert_eq!(world.event(), LegEvent::Ended { leg: LEG, by: EndedBy::Peer, cause: Cause::NORMAL });
}

#[test]
fn failures_are_told_once_with_status_and_cause() {
    let table = [
        ("486 Busy Here", "", 486, Some(17)),
        ("404 Not Found", "Reason: Q.850;cause=1;text=\"x\"\n", 404, Some(1)),
        ("503 Service Unavailable", "Reason: Q.850;cause=34\n", 503, Some(34)),
        ("302 Moved Temporarily", "Contact: <sip:else@192.0.2.9>\n", 302, None),
        ("603 Decline", "", 603, Some(21)),
    ];
    for (status, rest, code, q850) in table {
        let mut world = World::new();
        let invite = dialed(&mut world);
        world.recv(CARRIER, &response(&invite, status, "t1", rest));
        assert!(world.one().starts_with("ACK "), "{status}");
        let LegEvent::Failed { leg: LEG, by: EndedBy::Peer, cause } = world.event() else { panic!() };
        assert_eq!((cause.status, cause.q850), (code, q850), "{status}");
        world.pass(Duration::from_secs(60));
        assert!(world.is_quiet() && world.signaling.sides.is_empty());
    }
}

#[test]
fn a_silent_trunk_is_unreachable_after_32_seconds() {
    let mut world = World::new();
    let LegCommand::Dial(mut dial) = to_carrier(LEG) else { panic!() };
    dial.timeout = Duration::from_secs(120);
    world.command(LegCommand::Dial(dial));
    world.pass(Duration::from_secs(33));
    assert_eq!(world.sent.len(), 7, "sent and repeated 6 times (RFC 3261 17.1.1.2)");
    assert!(matches!(world.event(), LegEvent::Failed { cause: Cause { status: 408, .. }, .. }));
}

#[test]
fn a_trunk_that_never_said_a_word_is_told_apart_from_one_that_rang() {
    for answers in [&[][..], &["100 Trying"], &["180 Ringing"]] {
        let mut world = World::new();
        let invite = dialed(&mut world);
        for answer in answers {
            world.recv(CARRIER, &response(&invite, answer, "t1", ""));
        }
        world.events.clear();
        world.pass(Duration::from_secs(20));
        let LegEvent::Failed { leg: LEG, by: EndedBy::Postern, cause } = world.event() else { panic!() };
        let silent = cause.text == format!("no answer, nothing was heard from {CARRIER}");
        assert_eq!((cause.status, silent), (480, answers.is_empty()), "{answers:?}: {cause}");
    }
}

#[test]
fn no_answer_in_time_is_cancelled_and_told() {
    let mut world = World::new();
    let invite = dialed(&mut world);
    world.recv(CARRIER, &response(&invite, "180 Ringing", "t1", ""));
    world.events.clear();
    world.pass(Duration::from_secs(20));
    let cancel = world.one();
    assert!(cancel.starts_with("CANCEL ") && header(&cancel, "Via") == header(&invite, "Via"));
    assert_eq!(world.event(), LegEvent::Failed { leg: LEG, by: EndedBy::Postern, cause: Cause::NO_ANSWER });
    world.recv(CARRIER, &response(&cancel, "200 OK", "t1", ""));
    world.recv(CARRIER, &response(&invite, "487 Request Terminated", "t1", ""));
    assert!(world.one().starts_with("ACK "));
    world.pass(Duration::from_secs(60));
    assert!(world.is_quiet() && world.signaling.sides.is_empty());
}

#[test]
fn a_hangup_before_any_answer_waits_with_its_cancel() {
    let mut world = World::new();
    let invite = dialed(&mut world);
    world.command(hangup(LEG));
    assert!(world.sent.is_empty(), "RFC 3261 9.1");
    assert!(matches!(world.event(), LegEvent::Ended { by: EndedBy::Router, .. }));
    world.recv(CARRIER, &response(&invite, "180 Ringing", "t1", ""));
    assert!(world.one().starts_with("CANCEL "));
    assert!(world.events.is_empty(), "the leg is gone");
}

#[test]
fn an_answer_that_crosses_the_hangup_is_acknowledged_and_ended() {
    let mut world = World::new();
    let invite = dialed(&mut world);
    world.recv(CARRIER, &response(&invite, "180 Ringing", "t1", ""));
    world.command(hangup(LEG));
    (world.sent, world.events) = Default::default();
    world.recv(CARRIER, &response(&invite, "200 OK", "t1", &with_answer("")));
    let lines = world.lines();
    assert!(lines[0].starts_with("ACK ") && lines[1].starts_with("BYE "), "{lines:?}");
    assert!(world.events.is_empty() && world.signaling.sides.is_empty());
}

#[test]
fn a_second_fork_that_answers_is_acknowledged_and_ended() {
    let mut world = World::new();
    let invite = dialed(&mut world);
    world.recv(CARRIER, &response(&invite, "200 OK", "t1", &with_answer("1")));
    (world.sent, world.events) = Default::default();
    world.recv(CARRIER, &response(&invite, "200 OK", "t2", &with_answer("2")));
    let lines = world.lines();
    assert_eq!(lines, ["ACK sip:gw2@198.51.100.10:5060 SIP/2.0", "BYE sip:gw2@198.51.100.10:5060 SIP/2.0"]);
    assert!(world.events.is_empty());
    world.command(hangup(LEG));
    assert!(world.one().starts_with("BYE sip:gw1@"), "the first goes on");
}

#[test]
fn a_challenge_is_answered_by_the_strongest_and_a_second_refusal_is_final() {
    let mut world = World::new();
    let invite = dialed(&mut world);
    let challenge = "WWW-Authenticate: Digest realm=\"c\", nonce=\"n1\", algorithm=MD5, qop=\"auth\"\n\
                     WWW-Authenticate: Digest realm=\"c\", nonce=\"n1\", algorithm=SHA-256, qop=\"auth\"\n";
    world.recv(CARRIER, &response(&invite, "401 Unauthorized", "t1", challenge));
    assert!(world.sent[0].1.starts_with("ACK "));
    let again = world.last();
    assert!(again.starts_with("INVITE ") && header(&again, "CSeq") == "2 INVITE");
    assert!(header(&again, "Authorization").contains("algorithm=SHA-256"), "{again}");
    assert_eq!(header(&again, "Call-ID"), header(&invite, "Call-ID"));
    assert_eq!(header(&again, "From"), header(&invite, "From"));
    assert_ne!(header(&again, "Via"), header(&invite, "Via"));
    world.recv(CARRIER, &response(&again, "401 Unauthorized", "t2", challenge));
    assert!(matches!(world.event(), LegEvent::Failed { cause: Cause { status: 401, .. }, .. }));
    assert!(world.signaling.sides.is_empty());
}

#[test]
fn a_challenged_bye_is_sent_once_more() {
    let mut world = World::new();
    let invite = dialed(&mut world);
    world.recv(CARRIER, &response(&invite, "200 OK", "t1", &with_answer("")));
    world.sent.clear();
    world.command(hangup(LEG));
    let bye = world.one();
    let challenge = "Proxy-Authenticate: Digest realm=\"c\", nonce=\"n1\"\n";
    world.recv(CARRIER, &response(&bye, "407 Proxy Authentication Required", "", challenge));
    let again = world.one();
    assert!(again.starts_with("BYE ") && header(&again, "CSeq") == "3 BYE", "{again}");
    assert!(header(&again, "Proxy-Authorization").contains("acct"));
    world.recv(CARRIER, &response(&again, "407 Proxy Authentication Required", "", challenge));
    assert!(world.sent.is_empty());
    world.pass(Duration::from_secs(33));
    assert!(world.signaling.clients.is_empty());
}

#[test]
fn a_contact_behind_nat_is_not_believed() {
    let mut world = World::new();
    let invite = dialed(&mut world);
    let private = with_answer("").replace("gw@198.51.100.10", "gw@172.16.3.4");
    world.recv(CARRIER, &response(&invite, "200 OK", "t1", &private));
    assert_eq!(world.sent[0].0, address(CARRIER));
    assert!(world.one().starts_with("ACK sip:gw@172.16.3.4:5060"));
}

#[test]
fn a_long_call_keeps_nothing_of_its_invite() {
    let mut world = World::new();
    let invite = dialed(&mut world);
    world.recv(CARRIER, &response(&invite, "200 OK", "t1", &with_answer("")));
    world.pass(Duration::from_secs(40));
    assert!(world.signaling.clients.is_empty() && world.signaling.transactions.is_empty());
    world.sent.clear();
    world.command(hangup(LEG));
    assert!(world.one().starts_with("BYE "));
}

#[test]
fn a_name_is_resolved_first() {
    let mut world = World::new();
    let named = |leg| dial(leg, Target::Trunk { trunk: TrunkName::new("named"), number: "1".into() });
    world.command(named(LEG));
    assert!(world.sent.is_empty());
    let (id, host) = world.asked.remove(0);
    assert_eq!(host, "sip.carrier.example");
    world.resolved(id, &["2001:db8::1", "198.51.100.70"]);
    assert_eq!(world.sent[0].0, address("198.51.100.70:5060"), "the realm has no IPv6");
    assert!(world.one().starts_with("INVITE sip:1@sip.carrier.example SIP/2.0"));

    // What was found is kept: the next call asks nobody.
    world.command(named(CallSid(4)));
    assert!(world.asked.is_empty());
    assert_eq!(world.sent[0].0, address("198.51.100.70:5060"));

    let mut world = World::new();
    world.command(named(CallSid(2)));
    let (id, _) = world.asked.remove(0);
    world.resolved(id, &[]);
    assert!(matches!(world.event(), LegEvent::Failed { cause: Cause { status: 503, .. }, .. }));

    let mut world = World::new();
    world.command(named(CallSid(3)));
    let (id, _) = world.asked.remove(0);
    world.command(hangup(CallSid(3)));
    world.resolved(id, &["198.51.100.70"]);
    assert!(world.sent.is_empty(), "hung up while it was resolved");
}

#[test]
fn a_uri_is_called_with_its_own_credentials() {
    let mut world = World::new();
    let uri = |uri: &str| Target::Uri {
        uri: uri.into(),
        realm: RealmName::new("outer"),
        credentials: Some(("u".into(), Secret::new("p".into()))),
    };
    world.command(dial(LEG, uri("sip:desk@198.51.100.99:5070;user=phone?X-A=1")));
    assert_eq!(world.sent[0].0, address("198.51.100.99:5070"));
    let invite = world.one();
    assert!(invite.starts_with("INVITE sip:desk@198.51.100.99:5070;user=phone SIP/2.0\r\n"), "{invite}");
    let challenge = "Proxy-Authenticate: Digest realm=\"c\", nonce=\"n1\"\n";
    world.recv("198.51.100.99:5070", &response(&invite, "407 Proxy Authentication Required", "t1", challenge));
    assert!(header(&world.last(), "Proxy-Authorization").contains("username=\"u\""));
    for bad in ["tel:+1", "sip:", "nonsense", "sip:a@198.51.100.9;transport=ws"] {
        world.command(dial(CallSid(5), uri(bad)));
        assert!(matches!(world.events.pop(), Some(LegEvent::Failed { .. })), "{bad}");
    }
}

fn to_alice() -> LegCommand {
    dial(LEG, Target::user(UserName::new("alice")))
}

const OTHER: &str = "192.168.1.60:5060";

/// Alice with two devices, dialed: their INVITEs.
fn forked(world: &mut World) -> (String, String) {
    world.register("alice", PHONE, "");
    world.register("alice", OTHER, "");
    world.command(to_alice());
    let to: Vec<_> = world.sent.iter().map(|(to, _)| *to).collect();
    assert_eq!(to, [address(PHONE), address(OTHER)], "over the flow that each registered by");
    let second = world.sent.pop().unwrap().1;
    (world.one(), second)
}

#[test]
fn all_devices_ring_the_first_answer_wins_and_the_others_are_cancelled() {
    let mut world = World::new();
    let (first, second) = forked(&mut world);
    assert!(first.starts_with(&format!("INVITE sip:alice@{PHONE} ")), "{first}");
    assert_ne!(header(&first, "Call-ID"), header(&second, "Call-ID"));
    for (source, invite) in [(PHONE, &first), (OTHER, &second)] {
        world.recv(source, &response(invite, "180 Ringing", "t", ""));
    }
    world.events.clear();
    world.recv(OTHER, &response(&second, "200 OK", "t", &with_answer("")));
    let lines = world.sent.clone();
    assert!(lines[0].1.starts_with("ACK ") && lines[0].0 == address(OTHER), "over its flow, whatever its Contact says");
    assert!(lines[1].1.starts_with("CANCEL ") && lines[1].0 == address(PHONE));
    assert!(header(&lines[1].1, "Reason").contains("Call completed elsewhere"));
    assert!(matches!(world.event(), LegEvent::Answered { leg: LEG, .. }));
    world.sent.clear();

    world.recv(PHONE, &response(&first, "200 OK", "t9", &with_answer("")));
    let lines = world.lines();
    assert!(lines[0].starts_with("ACK ") && lines[1].starts_with("BYE "), "a loser's late answer: {lines:?}");
    assert!(world.events.is_empty());
    world.command(hangup(LEG));
    assert_eq!(world.sent[0].0, address(OTHER));
}

#[test]
fn a_fork_fails_when_all_failed_with_what_tells_most() {
    let mut world = World::new();
    let (first, second) = forked(&mut world);
    world.recv(PHONE, &response(&first, "486 Busy Here", "t", ""));
    assert!(world.events.is_empty(), "the other still rings");
    world.recv(OTHER, &response(&second, "404 Not Found", "t", ""));
    assert!(matches!(world.event(), LegEvent::Failed { cause: Cause { status: 486, .. }, .. }));

    let mut world = World::new();
    let (first, second) = forked(&mut world);
    world.recv(OTHER, &response(&second, "180 Ringing", "t", ""));
    (world.sent, world.events) = Default::default();
    world.recv(PHONE, &response(&first, "603 Decline", "t", ""));
    assert!(matches!(world.event(), LegEvent::Failed { cause: Cause { status: 603, .. }, .. }));
    assert!(world.last().starts_with("CANCEL "), "a 6xx speaks for all");
}

#[test]
fn a_user_without_devices_fails_at_once() {
    let mut world = World::new();
    world.command(to_alice());
    assert!(matches!(world.event(), LegEvent::Failed { cause: Cause { status: 480, .. }, .. }));
    assert!(world.sent.is_empty());
}

#[test]
fn an_ipv6_trunk_is_called_from_our_ipv6_address() {
    let mut config = config();
    config.realms.get_mut("outer").unwrap().signaling.push(address("[2001:db8::1]:5060"));
    config.trunks.get_mut("carrier").unwrap().addresses[0].host = "2001:db8::9".into();
    let mut world = World::with(config);
    world.command(to_carrier(LEG));
    assert_eq!(world.sent[0].0, address("[2001:db8::9]:5060"));
    let invite = world.one();
    assert!(invite.starts_with("INVITE sip:+15550142@[2001:db8::9] SIP/2.0"), "{invite}");
    assert!(header(&invite, "Via").starts_with("SIP/2.0/UDP [2001:db8::1]:5060;"));
    assert_eq!(header(&invite, "Contact"), "<sip:[2001:db8::1]:5060>");
    assert!(header(&invite, "From").contains("@[2001:db8::1]>"));
    let ok = with_answer("").replace("gw@198.51.100.10:5060", "gw@[2001:db8::7]");
    world.recv_at("[2001:db8::1]:5060", "[2001:db8::9]:5060", &response(&invite, "200 OK", "t1", &ok));
    assert_eq!(world.sent[0].0, address("[2001:db8::7]:5060"));
    assert!(world.one().starts_with("ACK sip:gw@[2001:db8::7] SIP/2.0"));
}

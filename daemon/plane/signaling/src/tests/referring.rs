//! Row 22: REFER and what its sender is told.

use super::*;

fn permitting() -> World {
    let mut config = config();
    config.trunks.values_mut().for_each(|trunk| trunk.refer = Refer::Terminate);
    World::with(config)
}

fn refer(cseq: u32, tag: &str, to: &str) -> String {
    in_dialog("REFER", "c1", cseq, tag, to)
}

#[test]
fn row_22_a_referral_is_told_to_its_end_by_notify() {
    let mut world = permitting();
    let (leg, tag) = world.established();
    world.recv(
        CARRIER,
        &refer(2, &tag, "Refer-To: \"Bob\" <sip:+4420@203.0.113.1;method=INVITE?X-A=b>\nReferred-By: <sip:x@y>"),
    );
    let accepted = world.sent.remove(0).1;
    assert!(accepted.starts_with("SIP/2.0 202 Accepted") && accepted.contains("\r\nContact: "), "{accepted}");
    let first = world.one();
    assert!(first.starts_with("NOTIFY sip:gw@198.51.100.10:5060 SIP/2.0\r\n"), "{first}");
    assert_eq!(header(&first, "Event"), "refer");
    assert_eq!(header(&first, "Subscription-State"), "active;expires=600");
    assert_eq!(header(&first, "Content-Type"), "message/sipfrag;version=2.0");
    assert!(first.ends_with("\r\n\r\nSIP/2.0 100 Trying\r\n"), "{first}");
    assert_eq!(world.event(), LegEvent::Referred { device: None, leg, to: "+4420".into(), pass_on: false });
    // One at a time.
    world.recv(CARRIER, &refer(3, &tag, "Refer-To: <sip:+4421@a>"));
    assert!(world.one().starts_with("SIP/2.0 491"));
    world.command(LegCommand::Referral { leg, status: 180 });
    assert!(world.one().ends_with("SIP/2.0 180 Ringing\r\n"));
    world.command(LegCommand::Referral { leg, status: 486 });
    let last = world.one();
    assert!(last.ends_with("SIP/2.0 486 Busy Here\r\n"), "{last}");
    assert_eq!(header(&last, "Subscription-State"), "terminated;reason=noresource");
    world.recv(CARRIER, &response(&last, "481 Gone", "ct-c1", ""));
    world.command(LegCommand::Referral { leg, status: 200 });
    assert!(world.is_quiet(), "nothing more is told");
    // The next one of this dialog is told apart.
    world.recv(CARRIER, &refer(4, &tag, "r: <tel:+4422>"));
    assert_eq!(header(&world.last(), "Event"), "refer;id=4");
    assert_eq!(world.event(), LegEvent::Referred { device: None, leg, to: "+4422".into(), pass_on: false });
    world.command(LegCommand::Referral { leg, status: 200 });
    world.command(hangup(leg));
    let lines = world.lines();
    assert!(lines[0].starts_with("NOTIFY ") && lines[1].starts_with("BYE "), "{lines:?}");
}

#[test]
fn row_22_what_is_no_referral_is_refused() {
    let table = [
        ("Subject: none", 400),
        ("Refer-To: <sip:+4420@a>, <sip:+4421@a>", 400),
        ("Refer-To: <sip:+4420@a>\nRefer-To: <sip:+4421@a>", 400),
        ("Refer-To: nonsense", 400),
        ("Refer-To: <http://a/b>", 416),
        ("Refer-To: <sip:+4420@a;method=BYE>", 501),
        ("Refer-To: <sip:+4420@a?Replaces=x&Replaces=y>", 400),
        ("Refer-To: <sip:a.example>", 404),
        ("Refer-To: <sip:+4420@a>\nRequire: nothing-we-know", 420),
    ];
    for (said, status) in table {
        let mut world = permitting();
        let (_, tag) = world.established();
        world.recv(CARRIER, &refer(2, &tag, said));
        assert!(world.one().starts_with(&format!("SIP/2.0 {status}")), "{said}");
        assert!(world.events.is_empty(), "{said}");
    }
    // Who may not, and who is in no dialog of ours.
    let mut world = World::new();
    let (_, tag) = world.established();
    world.recv(CARRIER, &refer(2, &tag, "Refer-To: <sip:+4420@a>"));
    let refused = world.one();
    assert!(refused.starts_with("SIP/2.0 405") && !header(&refused, "Allow").contains("REFER"), "{refused}");
    let mut world = permitting();
    world.recv(CARRIER, &refer(2, "0123456789abcdef", "Refer-To: <sip:+4420@a>"));
    assert!(world.one().starts_with("SIP/2.0 481"));
    let (_, tag) = world.established();
    world.recv(CARRIER, &refer(2, &tag, "Refer-To: <sip:+4420@a>").replace("ct-c1", "guess"));
    assert!(world.one().starts_with("SIP/2.0 481") && world.events.is_empty());
    // Outside of a call.
    world.recv(CARRIER, &refer(7, "x", "Refer-To: <sip:+4420@a>").replace(";tag=x", ""));
    assert!(world.one().starts_with("SIP/2.0 405") && world.events.is_empty());
}

#[test]
fn who_refers_may_subscribe_to_how_it_goes_again_or_not_any_more() {
    let mut world = permitting();
    let (leg, tag) = world.established();
    world.recv(CARRIER, &refer(2, &tag, "Refer-To: <sip:+4420@a>"));
    world.sent.clear();
    world.command(LegCommand::Referral { leg, status: 180 });
    world.sent.clear();
    let subscribe = |cseq, rest| refer(cseq, &tag, rest).replace("REFER", "SUBSCRIBE");
    for (cseq, said, status) in [
        (3, "Event: presence", "489"),
        (4, "Event: refer;id=7\nExpires: 90", "481"),
        (5, "Event: refer\nExpires: 9", "423"),
        (6, "Event: refer\nExpires: 90", "200"),
        (7, "Event: refer\nExpires: 0", "200"),
        (8, "Event: refer\nExpires: 90", "481"),
    ] {
        world.recv(CARRIER, &subscribe(cseq, said));
        assert!(world.sent.remove(0).1.starts_with(&format!("SIP/2.0 {status}")), "{said}");
        let notify = world.sent.pop().map(|(_, text)| text);
        let state = notify.as_ref().map(|text| header(text, "Subscription-State"));
        let want =
            (status == "200").then_some(if cseq == 6 { "active;expires=90" } else { "terminated;reason=timeout" });
        assert_eq!(state, want, "{said}");
        assert!(notify.is_none_or(|text| text.ends_with("SIP/2.0 180 Ringing\r\n")), "{said}");
    }
    world.command(LegCommand::Referral { leg, status: 200 });
    assert!(world.sent.is_empty(), "it is not told any more");
}

#[test]
fn row_22_with_relay_the_router_has_it_passed_on() {
    let mut config = config();
    config.trunks.values_mut().for_each(|trunk| trunk.refer = Refer::Relay);
    let mut world = World::with(config);
    let (leg, tag) = world.established();
    world.recv(CARRIER, &refer(2, &tag, "Refer-To: <sip:+4420@10.9.9.9?X-Inner=secret>"));
    assert_eq!(world.event(), LegEvent::Referred { device: None, leg, to: "+4420".into(), pass_on: true });
}

/// A REFER of ours to the carrier: itself, and the leg and tag of its dialog.
fn passed_on(world: &mut World) -> (String, CallSid, String) {
    let (leg, tag) = world.established();
    world.command(LegCommand::Refer { leg, to: "+4420 x".into() });
    (world.one(), leg, tag)
}

fn notify(cseq: u32, tag: &str, event: &str, state: &str, line: &str) -> String {
    let rest =
        format!("Event: {event}\nSubscription-State: {state}\nContent-Type: message/sipfrag;version=2.0\n\n{line}\n");
    in_dialog("NOTIFY", "c1", cseq, tag, &rest)
}

#[test]
fn row_22_a_referral_of_ours_names_our_own_address_and_its_news_are_told_to_the_end() {
    let mut world = World::new();
    let (refer, leg, tag) = passed_on(&mut world);
    assert!(refer.starts_with("REFER sip:gw@198.51.100.10:5060 SIP/2.0\r\n"), "{refer}");
    assert_eq!(header(&refer, "Refer-To"), "<sip:+4420%20x@203.0.113.1:5060>");
    // News may overtake the answer.
    world.recv(CARRIER, &notify(2, &tag, "refer", "active;expires=60", "SIP/2.0 100 Trying"));
    assert!(world.one().starts_with("SIP/2.0 200") && world.events.is_empty());
    world.recv(CARRIER, &response(&refer, "202 Accepted", "ct-c1", ""));
    assert!(world.is_quiet());
    world.recv(CARRIER, &notify(3, &tag, "Refer;id=2", "active", "SIP/2.0 180 Ringing"));
    assert_eq!(world.event(), LegEvent::ReferralTold { leg, status: 180 });
    world.recv(CARRIER, &notify(4, &tag, "refer", "terminated;reason=noresource", "SIP/2.0 486 Busy Here"));
    assert_eq!(world.event(), LegEvent::ReferralTold { leg, status: 486 });
    // Nothing is told after the end, and nothing that was never asked for.
    world.sent.clear();
    world.recv(CARRIER, &notify(5, &tag, "refer", "active", "SIP/2.0 200 OK"));
    assert!(world.one().starts_with("SIP/2.0 481") && world.events.is_empty());
    world.recv(CARRIER, &notify(6, &tag, "presence", "active", "SIP/2.0 200 OK"));
    let refused = world.one();
    assert!(refused.starts_with("SIP/2.0 489") && header(&refused, "Allow-Events") == "refer", "{refused}");
}

#[test]
fn row_22_a_referral_of_ours_that_fails_or_says_no_more_ends() {
    // Refused; unanswered; over without a word, or with nonsense; silent for ever.
    let (mut world, said) = (World::new(), ["terminated", "terminated;reason=x"]);
    for (n, line) in ["nonsense", "SIP/2.0 99 x", "SIP/2.0 \u{e9}", "SIP/2.0 100 Trying"].iter().enumerate() {
        world = World::new();
        let (refer, leg, tag) = passed_on(&mut world);
        world.recv(CARRIER, &response(&refer, "202 Accepted", "ct-c1", ""));
        world.recv(CARRIER, &notify(2, &tag, "refer", said[n % 2], line));
        assert_eq!(world.event(), LegEvent::ReferralTold { leg, status: 408 }, "{line}");
    }
    drop(world);
    let mut world = World::new();
    let (refer, leg, _) = passed_on(&mut world);
    world.command(LegCommand::Refer { leg, to: "2".into() });
    assert_eq!(world.event(), LegEvent::ReferralTold { leg, status: 491 }, "one at a time");
    world.recv(CARRIER, &response(&refer, "603 Decline", "ct-c1", ""));
    assert_eq!(world.event(), LegEvent::ReferralTold { leg, status: 603 });
    let mut world = World::new();
    let (refer, leg, _) = passed_on(&mut world);
    world.recv(CARRIER, &response(&refer, "202 Accepted", "ct-c1", ""));
    world.pass(Duration::from_secs(601));
    assert!(world.events.contains(&LegEvent::ReferralTold { leg, status: 408 }));
    let mut world = World::new();
    let (_, leg, _) = passed_on(&mut world);
    world.pass(Duration::from_secs(40));
    assert!(world.events.contains(&LegEvent::ReferralTold { leg, status: 408 }));
}

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
    assert_eq!(world.event(), LegEvent::Referred { leg, to: "+4420".into() });
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
    assert_eq!(world.event(), LegEvent::Referred { leg, to: "+4422".into() });
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

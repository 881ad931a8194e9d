//! Row 22: which dialog a request may take the place of.

use super::*;

const OTHER: &str = "198.51.100.20:5060";
const SECOND: CallSid = CallSid(0xabc);

fn permitting() -> World {
    let mut config = config();
    config.trunks.values_mut().for_each(|trunk| trunk.refer = Refer::Terminate);
    World::with(config)
}

/// A leg to the carrier that is answered, or only rings: what names its dialog.
fn second(world: &mut World, answered: bool) -> String {
    world.command(to_carrier(SECOND));
    let invite = world.one();
    let (status, rest) = if answered { ("200 OK", with_sdp(SDP)) } else { ("180 Ringing", String::new()) };
    let rest = format!("Contact: <sip:gw@198.51.100.10:5060>\n{rest}");
    world.recv(CARRIER, &response(&invite, status, "far", &rest));
    (world.sent, world.events) = Default::default();
    format!("{};to-tag={};from-tag=far", header(&invite, "Call-ID"), tag_of(&invite, "From"))
}

fn escaped(value: &str) -> String {
    value.replace(';', "%3B").replace('=', "%3D").replace('@', "%40")
}

/// An INVITE with Replaces: what it was answered with at once, and what was offered.
fn replacing(world: &mut World, source: &str, call: &str, value: &str) -> (String, Option<CallSid>) {
    let host = source.trim_end_matches(":5060");
    let text = invite(call, 1).replace("198.51.100.10", host);
    world.recv(source, &text.replacen("Max-Forwards", &format!("Replaces: {value}\nMax-Forwards"), 1));
    let replaces = match world.events.pop() {
        Some(LegEvent::Offered(offered)) => Some(offered.replaces.unwrap_or(CallSid(0))),
        None => None,
        other => panic!("{other:?}"),
    };
    (world.lines().remove(0), replaces)
}

#[test]
fn row_22_a_referral_names_the_second_leg_of_the_same_trunk() {
    let mut world = permitting();
    let named = second(&mut world, true);
    let (leg, tag) = world.established();
    let refer = |cseq: u32, value: &str| {
        in_dialog("REFER", "c1", cseq, &tag, &format!("Refer-To: <sip:+4420@203.0.113.1?Replaces={}>", escaped(value)))
    };
    world.recv(CARRIER, &refer(2, &named));
    let lines = world.lines();
    assert!(lines[0].starts_with("SIP/2.0 202") && lines[1].starts_with("NOTIFY "), "{lines:?}");
    assert_eq!(world.event(), LegEvent::ReferredToSecond { leg, second: Some(SECOND), to: "+4420".into() });
    // What it does not name rightly is nobody's: the router is told so.
    for (cseq, value) in [
        named.replace("from-tag=far", "from-tag=near"),
        named.replace("to-tag=", "to-tag=0"),
        format!("x{named}"),
        "x;to-tag=0123456789abcdef;from-tag=far".into(),
        "nonsense".into(),
    ]
    .iter()
    .enumerate()
    {
        world.command(LegCommand::Referral { leg, status: 481 });
        world.sent.clear();
        world.recv(CARRIER, &refer(cseq as u32 + 3, value));
        assert_eq!(world.event(), LegEvent::ReferredToSecond { leg, second: None, to: "+4420".into() }, "{value}");
        world.sent.clear();
    }
}

#[test]
fn row_22_an_invite_takes_the_place_of_a_dialog_of_its_own_party() {
    let mut world = permitting();
    let named = second(&mut world, true);
    assert_eq!(replacing(&mut world, CARRIER, "r1", &named), ("SIP/2.0 100 Trying".into(), Some(SECOND)));
    assert_eq!(replacing(&mut world, CARRIER, "r2", &format!(" {} ; x=y", named.replace(';', " ; "))).1, Some(SECOND));
    // Another trunk, a party that is none, a dialog that is not there, and one that was answered.
    for (n, (source, value, status)) in [
        (OTHER, named.clone(), 481),
        (CARRIER, named.replace("far", "near"), 481),
        (CARRIER, format!("x{named}"), 481),
        (CARRIER, "x;to-tag=0;from-tag=1".into(), 481),
        (CARRIER, format!("{named};early-only"), 486),
        (CARRIER, "x".into(), 400),
        (CARRIER, format!("{named}\nReplaces: {named}"), 400),
    ]
    .into_iter()
    .enumerate()
    {
        let (line, offered) = replacing(&mut world, source, &format!("n{n}"), &value);
        assert!(line.starts_with(&format!("SIP/2.0 {status}")) && offered.is_none(), "{source} {value}: {line}");
    }
    world.command(hangup(SECOND));
    world.sent.clear();
    world.events.clear();
    assert!(replacing(&mut world, CARRIER, "late", &named).0.starts_with("SIP/2.0 481"));
}

#[test]
fn row_22_a_dialog_that_rings_may_be_taken_when_we_began_it() {
    let mut world = permitting();
    let named = second(&mut world, false);
    assert_eq!(replacing(&mut world, CARRIER, "r1", &format!("{named};early-only")).1, Some(SECOND));
    // RFC 3891 3: not one that the peer began.
    let mut world = permitting();
    let leg = world.offered(&invite("c1", 1)).leg;
    world.command(LegCommand::Ring { leg, status: 180, early: None });
    let named = format!("c1;to-tag={};from-tag=ct-c1", tag_of(&world.one(), "To"));
    assert!(replacing(&mut world, CARRIER, "r1", &named).0.starts_with("SIP/2.0 481"));
}

#[test]
fn row_22_for_who_may_not_transfer_replaces_is_unknown() {
    let mut world = World::new();
    let named = second(&mut world, true);
    assert_eq!(replacing(&mut world, CARRIER, "r1", &named).1, Some(CallSid(0)), "a call as any other");
    let required = invite("r2", 1).replacen("Max-Forwards", "Require: replaces\nMax-Forwards", 1);
    world.recv(CARRIER, &required);
    assert!(world.lines()[0].starts_with("SIP/2.0 420"));
    let mut world = permitting();
    world.recv(CARRIER, &required);
    assert_eq!(world.lines(), ["SIP/2.0 100 Trying"]);
}

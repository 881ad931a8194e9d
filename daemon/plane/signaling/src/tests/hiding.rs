//! Topology hiding: what one side says never reaches the other.

use super::*;

/// A router in few words: what one leg is offered is dialed on, and answers are passed back.
fn bridge(world: &mut World) -> (Vec<String>, Vec<String>) {
    let inner_invite = invite("inner-call-id", 1)
        .replace("198.51.100.10", "192.168.1.50")
        .replace("198.51.100.11", "192.168.1.51")
        .replace("+15550199", "alice")
        .replace("\"Carol C\"", "\"Alice\"");
    world.register("alice", PHONE, "");
    world.sent.clear();
    world.recv(PHONE, &inner_invite.replace("X-Trace: abc", "Record-Route: <sip:192.168.1.77;lr>"));
    let proof = authorization(&world.one(), "alice", "secret", "INVITE", "sip:192.168.1.1");
    let second = inner_invite.replace("-call-id-1", "-call-id-2").replace("CSeq: 1", "CSeq: 2");
    let warned = format!(
        "Authorization: {proof}\nRecord-Route: <sip:192.168.1.77;lr>\nSubject: inner-subject\nOrganization: Inner"
    );
    world.recv(PHONE, &second.replace("X-Trace: abc", &warned));
    let LegEvent::Offered(offered) = world.event() else { panic!() };
    let dialed = CallSid(77);
    world.command(to_carrier(dialed));
    let out = world.sent.iter().find(|(to, _)| *to == address(CARRIER)).unwrap().1.clone();
    let rest = format!(
        "Contact: <sip:outer-gw@198.51.100.10>\nServer: OuterSwitch/3\nRecord-Route: <sip:198.51.100.10;lr>\nWarning: 399 outer.example \"outer-warning\"\n{}",
        with_sdp(SDP)
    );
    world.recv(CARRIER, &response(&out, "180 Ringing outer-phrase", "outer-tag", &rest));
    world.command(LegCommand::Ring { leg: offered.leg, status: 183, early: Some(Box::new(ours(30000))) });
    world.recv(CARRIER, &response(&out, "200 OK outer-phrase", "outer-tag", &rest));
    world.command(LegCommand::Answer { leg: offered.leg, answer: Box::new(ours(30000)) });
    let tag = tag_of(&world.sent.iter().rev().find(|(to, _)| *to == address(PHONE)).unwrap().1, "To");
    world.recv(PHONE, &in_dialog("ACK", "inner-call-id", 2, &tag, "").replace("198.51.100.10", "192.168.1.50"));
    world.command(hangup(dialed));
    world.command(LegCommand::Hangup {
        leg: offered.leg,
        by: EndedBy::OtherParty,
        cause: Cause::new(503, "outer-cause"),
    });
    let side =
        |to: SocketAddr| world.sent.iter().filter(|(t, _)| t.ip() == to.ip()).map(|(_, text)| text.clone()).collect();
    (side(address(PHONE)), side(address(CARRIER)))
}

#[test]
fn no_address_tag_call_id_or_name_of_one_side_reaches_the_other() {
    let mut world = World::new();
    let (inner, outer) = bridge(&mut world);
    assert!(inner.iter().any(|text| text.starts_with("BYE ")) && outer.iter().any(|text| text.starts_with("BYE ")));
    let inner_words = [
        "192.168.",
        "10.0.0.1",
        "inner-call-id",
        "ct-inner",
        "z9hG4bK-inner",
        "CarrierSwitch",
        "secret-session",
        "Inner",
        "inner-subject",
        "alice",
        "o=carrier",
    ];
    for text in &outer {
        for word in inner_words {
            assert!(!text.contains(word), "{word} in what the carrier gets:\n{text}");
        }
    }
    let outer_words =
        ["198.51.100.", "outer", "Outer", "203.0.113.1:", "+15550142", "secret-session", "o=carrier", "10.0.0.1"];
    for text in &inner {
        for word in outer_words {
            assert!(!text.contains(word), "{word} in what the client gets:\n{text}");
        }
    }
    // Ids that we made for one side are not used on the other, either.
    let ids = |texts: &[String]| -> Vec<String> {
        let of = |text: &String| ["Call-ID", "From", "To"].map(|name| header(text, name).to_owned());
        let ours = texts
            .iter()
            .flat_map(of)
            .map(|value| value.split_once(";tag=").map_or(value.clone(), |(_, tag)| tag.to_owned()));
        ours.filter(|id| id.len() >= 16 && !id.contains('<')).collect()
    };
    let (inner_ids, outer_ids) = (ids(&inner), ids(&outer));
    assert!(inner_ids.iter().all(|id| !outer_ids.contains(id)), "{inner_ids:?} {outer_ids:?}");
}

#[test]
fn no_value_of_the_application_begins_a_line_of_its_own() {
    let mut world = World::new();
    let LegCommand::Dial(mut dial) = to_carrier(CallSid(1)) else { panic!() };
    dial.from = "1\r\nEvil: 1".into();
    dial.from_name = "a\"\r\nEvil: 2".into();
    dial.headers = vec![("X-A\r\nEvil".into(), "3".into()), ("X-B".into(), "4\nEvil: 4\r\n\r\nbody".into())];
    dial.target = Target::Trunk { trunk: TrunkName::new("carrier"), number: "1 SIP/2.0\r\nEvil: 5\r\n".into() };
    world.command(LegCommand::Dial(dial));
    let invite = world.one();
    assert!(!invite.lines().any(|line| line.starts_with("Evil")), "{invite}");
    assert!(postern_sip::Message::parse(invite.as_bytes()).is_ok());
    assert_eq!(header(&invite, "Content-Type"), "application/sdp");
}

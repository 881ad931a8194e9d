//! Devices by their instance: flows (RFC 5626), addresses of one device alone (RFC 5627), refreshes that cost nothing.

use super::*;

const INSTANCE: &str = "<urn:uuid:00000000-0000-1000-8000-000a95a0e128>";
const OTHER: &str = "<urn:uuid:00000000-0000-1000-8000-00000000beef>";
const SECOND: &str = "192.168.1.51:5060";
const LEG: CallSid = CallSid(1);

/// Alice's device registers by a flow: what it says behind its Contact, and its instance.
fn flow(world: &mut World, source: &str, instance: &str, rest: &str) -> String {
    let contact = format!("Contact: <sip:alice@{source}>;+sip.instance=\"{instance}\"{rest}");
    world.register_with("alice", "secret", source, &format!("{contact}\nSupported: outbound, gruu, path"))
}

fn call(world: &mut World, device: Option<&str>) {
    let target = Target::User { user: UserName::new("alice"), device: device.map(Into::into) };
    world.command(dial(LEG, target));
}

/// Where INVITEs went since the last look.
fn invited(world: &mut World) -> Vec<String> {
    let sent = world.sent.drain(..).filter(|(_, text)| text.starts_with("INVITE "));
    sent.map(|(to, _)| to.to_string()).collect()
}

#[test]
fn a_device_that_comes_again_by_the_same_flow_takes_its_own_place() {
    let mut world = World::new();
    let answer = flow(&mut world, PHONE, INSTANCE, ";reg-id=1");
    assert_eq!((header(&answer, "Require"), header(&answer, "Flow-Timer")), ("outbound", "30"), "{answer}");
    assert!(header(&answer, "Contact").contains(";reg-id=1"), "{answer}");
    flow(&mut world, "192.168.1.50:41000", INSTANCE, ";reg-id=1");
    assert_eq!(world.signaling.counters().devices, 1, "another address, and the same flow");
    call(&mut world, None);
    assert_eq!(invited(&mut world), ["192.168.1.50:41000"]);
    assert_eq!(world.remembered.len(), 1);
}

#[test]
fn flows_of_one_device_are_tried_one_after_the_other_and_devices_together() {
    let mut world = World::new();
    flow(&mut world, PHONE, INSTANCE, ";reg-id=1");
    world.pass(Duration::from_secs(1));
    flow(&mut world, SECOND, INSTANCE, ";reg-id=2");
    flow(&mut world, "192.168.1.52:5060", OTHER, "");
    assert_eq!(world.devices, [1, 1, 2], "flows are no devices");
    assert_eq!(world.remembered.len(), 3);
    call(&mut world, None);
    assert_eq!(invited(&mut world), [SECOND, "192.168.1.52:5060"], "the flow that was heard of last");
    world.pass(Duration::from_millis(4100));
    let tried = invited(&mut world);
    assert!(tried.contains(&PHONE.to_owned()), "the first was silent: {tried:?}");
    assert!(world.events.iter().any(|event| matches!(event, LegEvent::Moved { to, .. } if **to == *PHONE)));
    // Should the silent one answer after all: the call is its own, and the INVITE by the other flow is cancelled.
    world.command(hangup(LEG));
    world.pass(Duration::from_secs(60));
    assert_eq!(world.signaling.remembered(), 0);
}

#[test]
fn a_flow_that_a_proxy_lost_is_left_and_one_that_rings_is_kept() {
    let mut world = World::new();
    flow(&mut world, PHONE, INSTANCE, ";reg-id=1");
    world.pass(Duration::from_secs(1));
    flow(&mut world, SECOND, INSTANCE, ";reg-id=2");
    call(&mut world, None);
    let first = world.one();
    world.recv(SECOND, &response(&first, "430 Flow Failed", "t", ""));
    let invite = world.sent.iter().find(|(_, text)| text.starts_with("INVITE ")).unwrap().clone();
    assert_eq!(invite.0, address(PHONE));
    world.sent.clear();
    world.recv(PHONE, &response(&invite.1, "486 Busy Here", "t", ""));
    assert!(matches!(world.events.last(), Some(LegEvent::Failed { cause, .. }) if cause.status == 486));
    world.sent.clear();

    call(&mut world, None);
    let first = world.one();
    world.recv(SECOND, &response(&first, "180 Ringing", "t", ""));
    world.pass(Duration::from_secs(10));
    assert!(invited(&mut world).is_empty(), "it rings there");
}

#[test]
fn what_outbound_does_not_allow_is_refused() {
    let long = format!("<urn:x:{}>", "a".repeat(300));
    let cases = [
        (INSTANCE, ";reg-id=0", "400"),
        (INSTANCE, ";reg-id=2147483648", "400"),
        (INSTANCE, ";reg-id=99999999999999999999999", "400"),
        (INSTANCE, ";reg-id=x", "400"),
        (INSTANCE, ";reg-id=1, <sip:alice@192.168.1.9>", "400"),
        (long.as_str(), "", "400"),
        (INSTANCE, ";reg-id=2147483647", "200"),
    ];
    for (instance, rest, want) in cases {
        let answer = flow(&mut World::new(), PHONE, instance, rest);
        assert!(answer.starts_with(&format!("SIP/2.0 {want} ")), "{rest}: {answer}");
    }
    // RFC 5626 6: through a proxy that does not know outbound, whoever wants it is told so.
    let mut world = World::new();
    let contact = format!("Contact: <sip:alice@10.9.9.9>;+sip.instance=\"{INSTANCE}\";reg-id=1");
    let through = format!("{contact}\nVia: SIP/2.0/UDP 10.9.9.9;branch=z9hG4bKx");
    let answer = world.register_with("alice", "secret", PHONE, &format!("{through}\nSupported: outbound"));
    assert!(answer.starts_with("SIP/2.0 439 "), "{answer}");
    let answer = world.register_with("alice", "secret", SECOND, &through);
    assert!(answer.starts_with("SIP/2.0 200 ") && !answer.contains("reg-id") && !answer.contains("Require:"));
}

#[test]
fn a_flood_of_flows_and_contacts_is_bounded_by_those_that_are_heard_of() {
    let mut world = World::unguarded();
    for n in 1..=20 {
        world.pass(Duration::from_secs(1));
        flow(&mut world, &format!("192.168.1.50:{}", 41_000 + n), INSTANCE, &format!(";reg-id={n}"));
    }
    assert_eq!((world.signaling.counters().devices, world.remembered.len()), (4, 4), "flows of one device");
    for n in 1..=20 {
        world.pass(Duration::from_secs(1));
        let instance = format!("<urn:uuid:{n}>");
        flow(&mut world, &format!("192.168.1.50:{}", 42_000 + n), &instance, ";reg-id=1");
    }
    assert_eq!((world.signaling.counters().devices, world.remembered.len()), (2, 2), "devices of one user");
    // Another user's device of the same instance is another device.
    let contact = format!("Contact: <sip:bob@{SECOND}>;+sip.instance=\"<urn:uuid:20>\"");
    world.register_with("bob", "secret", SECOND, &contact);
    call(&mut world, Some("<urn:uuid:20>"));
    assert_eq!(invited(&mut world), ["192.168.1.50:42020"]);
}

/// The GRUUs that an answer tells.
fn gruus(answer: &str) -> (String, String) {
    let contact = header(answer, "Contact");
    let param = |name: &str| {
        let rest = contact.split_once(&format!("{name}=\"")).unwrap_or_else(|| panic!("no {name} in {contact}")).1;
        rest.split_once('"').unwrap().0.to_owned()
    };
    (param("pub-gruu"), param("temp-gruu"))
}

/// What an INVITE of bob's is for.
fn dialed(world: &mut World, uri: &str, call: &str) -> (String, Option<String>) {
    world.sent.clear();
    let text = |cseq: u32, proof: &str| {
        invite(call, cseq)
            .replace("sip:+15550100@203.0.113.1 SIP", &format!("{uri} SIP"))
            .replace("198.51.100.10:5060;branch", &format!("{SECOND};branch"))
            .replace("X-Trace: abc", proof)
    };
    world.recv(SECOND, &text(1, "X-Trace: abc"));
    let challenge = world.last();
    let proof = authorization(&challenge, "bob", "secret", "INVITE", "sip:x@192.168.1.1");
    world.recv(SECOND, &text(2, &format!("Authorization: {proof}")));
    let LegEvent::Offered(offered) = world.events.pop().unwrap_or_else(|| panic!("{uri}: {:?}", world.sent)) else {
        panic!()
    };
    world.events.clear();
    (offered.to.to_string(), offered.device.map(String::from))
}

#[test]
fn a_gruu_means_one_device_and_names_us() {
    let mut world = World::new();
    world.register("bob", SECOND, "");
    let first = flow(&mut world, PHONE, INSTANCE, "");
    let (public, temporary) = gruus(&first);
    assert_eq!(public, "sip:alice@192.168.1.1:5060;gr=urn:uuid:00000000-0000-1000-8000-000a95a0e128");
    assert!(temporary.ends_with("@192.168.1.1:5060;gr") && !temporary.contains("alice"), "{temporary}");
    let refreshed = flow(&mut world, "192.168.1.50:41000", INSTANCE, "");
    let (again, third) = gruus(&refreshed);
    assert_eq!(again, public, "the public one is for ever");
    assert_ne!(third[..40], temporary[..40], "and temporary ones have nothing in common");
    let meant = ("alice".to_owned(), Some(INSTANCE.to_owned()));
    assert_eq!(dialed(&mut world, &public, "c1"), meant);
    assert_eq!(dialed(&mut world, &third, "c2"), meant);
    // The helper registers by another Call-ID from another port (RFC 5627 3.1.2).
    assert_eq!(dialed(&mut world, &temporary, "c3").1, None, "of a registration that is gone");
    // What nobody has: a device that is not there, forged and cut tokens. Nothing of it names alice.
    let gone = public.replace("128", "129");
    assert_eq!(dialed(&mut world, &gone, "c4").1.as_deref(), Some("urn:uuid:00000000-0000-1000-8000-000a95a0e129"));
    let at = third.find('@').unwrap();
    let forged = [
        third.replacen(&third[4..6], if &third[4..6] == "00" { "01" } else { "00" }, 1),
        format!("{}{}", &third[..at - 2], &third[at..]),
        format!("sip:{}{}", "%C3%A9".repeat(30), &third[at..]),
        format!("sip:{}{}", "ab".repeat(120), &third[at..]),
    ];
    for (n, forged) in forged.iter().enumerate() {
        let (to, device) = dialed(&mut world, forged, &format!("f{n}"));
        assert!(to != "alice" && device.is_none(), "{forged}");
    }
    call(&mut world, Some("urn:uuid:00000000-0000-1000-8000-000a95a0e129"));
    assert!(
        matches!(world.events.last(), Some(LegEvent::Failed { cause, .. }) if cause.status == 480),
        "RFC 5627 5.3: {:?}",
        world.events
    );
    // Who does not ask is told none.
    world.sent.clear();
    let plain =
        world.register_with("alice", "secret", "192.168.1.50:43000", "Contact: <sip:a@b>;+sip.instance=\"<u:1>\"");
    assert!(!plain.contains("gruu"), "{plain}");
}

#[test]
fn a_transfer_to_a_gruu_is_to_that_device() {
    let mut world = World::new();
    let (public, _) = gruus(&flow(&mut world, PHONE, INSTANCE, ""));
    let uri = postern_sip::Uri::parse(&public).unwrap();
    assert_eq!(world.signaling.called(&uri).device.as_deref(), Some(INSTANCE));
    let mut config = config();
    config.trunks.get_mut("carrier").unwrap().refer = Refer::Relay;
    let mut world = World::with(config);
    flow(&mut world, PHONE, INSTANCE, "");
    let (leg, tag) = world.established();
    world.sent.clear();
    world.recv(CARRIER, &in_dialog("REFER", "c1", 2, &tag, &format!("Refer-To: <{public}>\n")));
    let referred = world.events.pop();
    let want = LegEvent::Referred { leg, to: "alice".into(), device: Some(INSTANCE.into()), pass_on: false };
    assert_eq!(referred, Some(want), "the other party could not be told of the device");
}

/// Registers once more, by the same Call-ID.
fn refresh(world: &mut World, source: &str, cseq: u32, contact: &str) -> String {
    let call = format!("reg-alice-{source}");
    world.recv(source, &register("alice", &call, cseq, contact));
    let proof = authorization(&world.one(), "alice", "secret", "REGISTER", "sip:192.168.1.1");
    world.recv(source, &register("alice", &call, cseq + 1, &format!("{contact}\nAuthorization: {proof}")));
    world.one()
}

#[test]
fn refreshes_that_change_nothing_cost_no_write_and_no_word() {
    let mut config = config();
    let lease = Lease { expires: Duration::from_secs(3600), behind_nat: Some(Duration::from_secs(60)) };
    config.realms.get_mut("inner").unwrap().lease = lease;
    let mut world = World::with(config);
    // Its Via has the port 5060, and it is heard from another.
    let contact = format!("Contact: <sip:alice@{PHONE}>");
    assert!(world.register("alice", PHONE, "").contains(";expires=60\r\n"));
    (world.facts, world.devices, world.writes) = Default::default();
    let minutes = 24 * 60;
    for n in 0..minutes {
        world.pass(Duration::from_secs(59));
        refresh(&mut world, PHONE, 3 + 2 * n, &contact);
    }
    assert!(world.writes < u64::from(minutes) / 14, "{} writes of {minutes} refreshes", world.writes);
    assert!(world.writes > u64::from(minutes) / 17, "and it is never forgotten: {}", world.writes);
    assert!(world.devices.is_empty() && world.facts.is_empty(), "{:?}", world.facts);
    // What changes is written at once.
    let before = world.writes;
    refresh(
        &mut world,
        PHONE,
        9000,
        &format!("Contact: <sip:new@{PHONE}>, {}", &contact[9..].replace('>', ">;expires=0")),
    );
    assert_eq!((world.writes, world.remembered.len()), (before + 2, 1), "one comes, one goes");
}

#[test]
fn behind_nat_is_who_says_another_address_and_an_outbound_device_keeps_its_way_itself() {
    let mut config = config();
    let lease = Lease { expires: Duration::from_secs(1800), behind_nat: Some(Duration::from_secs(90)) };
    config.realms.get_mut("inner").unwrap().lease = lease;
    // The helper's Via is 192.168.1.50:5060.
    for (source, rest, granted) in [
        ("192.168.1.50:5060", "", 1800),
        ("192.168.1.50:5061", "", 90),
        ("192.168.1.51:5060", "", 90),
        ("192.168.1.51:5060", ";reg-id=1", 1800),
        ("192.168.1.51:5060", ";expires=70", 70),
    ] {
        let answer = flow(&mut World::with(config.clone()), source, INSTANCE, rest);
        assert!(answer.contains(&format!(";expires={granted};")), "{source} {rest}: {answer}");
    }
    let answer = flow(&mut World::with(config), PHONE, INSTANCE, ";expires=59");
    assert!(answer.starts_with("SIP/2.0 423 ") && header(&answer, "Min-Expires") == "60", "{answer}");
}

#[test]
fn a_device_is_told_by_stun_that_its_flow_stands_and_a_stranger_nothing() {
    let mut world = World::new();
    world.register("alice", PHONE, "");
    let mut request = b"\x00\x01\x00\x00\x21\x12\xa4\x42".to_vec();
    request.extend([7; 12]);
    let asked = |world: &mut World, source: &str, bytes: &[u8]| {
        world.signaling.handle_datagram(world.now, address(INNER), address(source), bytes);
        let mut answers = Vec::new();
        while let Some(output) = world.signaling.poll_output() {
            if let Output::Send { destination, bytes, .. } = output {
                assert_eq!(destination, address(source));
                answers.push(bytes.to_vec());
            }
        }
        answers
    };
    let answers = asked(&mut world, PHONE, &request);
    assert_eq!(answers.len(), 1);
    // A success of the same transaction, with the address that it was seen from: 192.168.1.50:40000, hidden by the cookie.
    assert_eq!(answers[0][..2], [1, 1]);
    assert_eq!(answers[0][8..20], [7; 12]);
    let hidden = [0x9c40_u16 ^ 0x2112].map(u16::to_be_bytes).concat();
    assert!(answers[0].windows(2).any(|pair| pair == hidden), "{:?}", answers[0]);
    assert!(asked(&mut world, "192.168.1.50:40001", &request).is_empty());
    assert!(asked(&mut world, PHONE, &answers[0]).is_empty(), "an answer is not answered");
    assert!(asked(&mut world, PHONE, b"\r\n\r\n").is_empty(), "and an empty line keeps the way open");
}

//! Devices of users: they come, stay, and go.

use super::*;

#[test]
fn a_device_registers_refreshes_and_leaves() {
    let mut world = World::new();
    let answer = world.register("alice", PHONE, "Expires: 600");
    assert!(answer.starts_with("SIP/2.0 200"), "{answer}");
    assert_eq!(header(&answer, "Contact"), format!("<sip:alice@{PHONE}>;expires=600"));
    assert_eq!(world.devices, [1]);
    assert!(
        matches!(&world.facts[..], [Fact::RegistrationAdded(added)] if added.expires_s == 600 && added.devices == 1)
    );

    let contact = format!("Contact: <sip:alice@{PHONE}>");
    world.recv(PHONE, &register("alice", "fresh", 1, &contact));
    let challenge = world.one();
    let proof = authorization(&challenge, "alice", "secret", "REGISTER", "sip:192.168.1.1");
    world.recv(PHONE, &register("alice", "fresh", 2, &format!("{contact}\nAuthorization: {proof}")));
    assert!(header(&world.one(), "Contact").ends_with("expires=3600"));
    assert_eq!((world.devices.len(), world.facts.len()), (1, 1), "a refresh is no news");

    // RFC 3261 10.3: in one Call-ID, an older CSeq changes nothing.
    world.pass(Duration::from_secs(33));
    world.recv(PHONE, &register("alice", "fresh", 3, &contact));
    let proof = authorization(&world.one(), "alice", "secret", "REGISTER", "sip:192.168.1.1");
    world.recv(PHONE, &register("alice", "fresh", 1, &format!("{contact};expires=0\nAuthorization: {proof}")));
    assert!(world.one().starts_with("SIP/2.0 500"));
    let answer = world.register_with("alice", "secret", PHONE, "Contact: *\nExpires: 0");
    assert!(answer.starts_with("SIP/2.0 200") && !answer.contains("Contact"), "{answer}");
    assert_eq!(world.devices, [1, 0]);
    assert!(matches!(&world.facts[1], Fact::RegistrationRemoved(gone) if gone.why == "unregistered"));
}

#[test]
fn a_registration_expires_by_itself() {
    let mut world = World::new();
    world.register("alice", PHONE, "Expires: 60");
    world.pass(Duration::from_secs(59));
    assert_eq!(world.devices, [1]);
    world.pass(Duration::from_secs(2));
    assert_eq!(world.devices, [1, 0]);
    assert!(matches!(&world.facts[1], Fact::RegistrationRemoved(gone) if gone.why == "expired"));
    assert_eq!(world.signaling.counters().devices, 0);
}

#[test]
fn a_refreshed_registration_expires_later_and_leaves_one_timer() {
    let mut world = World::new();
    let contact = format!("Contact: <sip:alice@{PHONE}>\nExpires: 120");
    for cseq in 0..5 {
        world.recv(PHONE, &register("alice", "r", 2 * cseq + 1, &contact));
        let proof = authorization(&world.one(), "alice", "secret", "REGISTER", "sip:192.168.1.1");
        world.recv(PHONE, &register("alice", "r", 2 * cseq + 2, &format!("{contact}\nAuthorization: {proof}")));
        assert!(world.one().starts_with("SIP/2.0 200"));
        world.pass(Duration::from_secs(60));
    }
    assert_eq!(world.devices, [1]);
    assert_eq!(world.signaling.expiries.len(), 1);
    world.pass(Duration::from_secs(61));
    assert_eq!(world.devices, [1, 0]);
    assert!(world.signaling.expiries.is_empty());
}

#[test]
fn too_short_a_life_and_senseless_stars_are_refused() {
    let table = [
        ("Contact: <sip:alice@192.168.1.50>;expires=30", "SIP/2.0 423"),
        ("Contact: <sip:alice@192.168.1.50>\nExpires: 59", "SIP/2.0 423"),
        ("Contact: *", "SIP/2.0 400"),
        ("Contact: *\nExpires: 60", "SIP/2.0 400"),
        ("Contact: *\nContact: <sip:alice@192.168.1.50>\nExpires: 0", "SIP/2.0 400"),
        ("Contact: <tel:+1>", "SIP/2.0 400"),
        ("X-Query: 1", "SIP/2.0 200"),
        ("Require: path", "SIP/2.0 420"),
    ];
    for (headers, status) in table {
        let mut world = World::new();
        let answer = world.register_with("alice", "secret", PHONE, headers);
        assert!(answer.starts_with(status), "{headers}: {answer}");
        if status.ends_with("423") {
            assert_eq!(header(&answer, "Min-Expires"), "60");
        }
        assert!(world.devices.is_empty(), "{headers}");
    }
}

#[test]
fn the_challenge_offers_sha_256_before_md5() {
    let mut world = World::new();
    world.recv(PHONE, &register("alice", "r", 1, "Contact: <sip:a@192.168.1.50>"));
    let challenge = world.one();
    let offered: Vec<_> = challenge.lines().filter(|line| line.starts_with("WWW-Authenticate")).collect();
    assert!(offered.len() == 2 && offered[0].contains("algorithm=SHA-256") && offered[1].contains("algorithm=MD5"));
    assert!(!challenge.contains("Server") && !challenge.contains("Postern"));
}

#[test]
fn a_client_that_chokes_on_sha_256_is_shown_md5_alone() {
    let mut world = World::new();
    let headers = "Contact: <sip:a@192.168.1.50>\nUser-Agent: baresip v1.0.0 (x86_64/linux)";
    world.recv(PHONE, &register("alice", "r", 1, headers));
    let challenge = world.one();
    assert!(!challenge.contains("SHA-256") && challenge.contains("algorithm=MD5"), "{challenge}");
    let answer = world.register_with("alice", "secret", PHONE, headers);
    assert!(answer.starts_with("SIP/2.0 200"));
}

#[test]
fn one_device_too_many_replaces_the_one_longest_unheard() {
    let mut world = World::new();
    for source in ["192.168.1.51:5060", "192.168.1.52:5060", "192.168.1.53:5060"] {
        world.register("alice", source, "");
        world.pass(Duration::from_secs(1));
    }
    assert_eq!(world.devices, [1, 2, 2]);
    let removed = world.facts.iter().find_map(|fact| match fact {
        Fact::RegistrationRemoved(gone) => Some((gone.source, gone.why.as_str())),
        _ => None,
    });
    assert_eq!(removed, Some((address("192.168.1.51:5060"), "replaced")));
}

#[test]
fn a_device_with_an_instance_is_the_same_after_its_address_changed() {
    let mut world = World::new();
    for source in ["192.168.1.51:5060", "192.168.1.52:5060"] {
        let contact = format!("Contact: <sip:alice@{source}>;+sip.instance=\"<urn:uuid:1>\"");
        assert!(world.register_with("alice", "secret", source, &contact).starts_with("SIP/2.0 200"));
    }
    assert_eq!(world.devices, [1]);
    assert!(world.signaling.registrar.knows(Flow::udp(address(INNER), address("192.168.1.52:5060"))));
    assert!(!world.signaling.registrar.knows(Flow::udp(address(INNER), address("192.168.1.51:5060"))));
}

#[test]
fn a_wrong_password_is_a_fact_and_an_unknown_user_just_a_stranger() {
    let mut world = World::new();
    let contact = "Contact: <sip:alice@192.168.1.50>";
    let refused = world.register_with("alice", "guess", PHONE, contact);
    assert!(refused.starts_with("SIP/2.0 401"));
    assert!(matches!(&world.facts[..], [Fact::AuthenticationFailed(failed)] if failed.claimed == "alice"));
    world.facts.clear();
    let unknown = world.register_with("mallory", "guess", PHONE, contact);
    assert!(unknown.starts_with("SIP/2.0 401"));
    assert!(matches!(&world.facts[..], [Fact::StrangersRefused(_)]));
}

#[test]
fn nobody_registers_for_another() {
    let mut world = World::new();
    let contact = "Contact: <sip:bob@192.168.1.50>";
    world.recv(PHONE, &register("bob", "r", 1, contact));
    let challenge = world.one();
    let proof = authorization(&challenge, "alice", "secret", "REGISTER", "sip:192.168.1.1");
    world.recv(PHONE, &register("bob", "r", 2, &format!("{contact}\nAuthorization: {proof}")));
    assert!(world.one().starts_with("SIP/2.0 403"));
    assert!(world.devices.is_empty());
}

#[test]
fn a_user_that_leaves_the_configuration_loses_its_devices_and_calls_go_on() {
    let mut world = World::new();
    world.register("alice", PHONE, "");
    let (leg, _) = world.established();
    let mut config = config();
    config.users.remove("alice");
    config.trunks.clear();
    world.signaling.reconfigure(world.now.instant, Arc::new(config));
    world.pass(Duration::from_secs(1));
    assert_eq!(world.devices, [1, 0]);
    world.command(hangup(leg));
    assert!(world.one().starts_with("BYE "));
}

fn invite_of(user: &str, call: &str, cseq: u32, extra: &str) -> String {
    invite(call, cseq)
        .replace("198.51.100.10:5060", "192.168.1.50:5060")
        .replace("+15550199", user)
        .replace("X-Trace: abc", extra)
}

#[test]
fn a_device_at_a_trunks_host_is_itself() {
    let mut config = config();
    let mut beside = config.trunks["carrier"].clone();
    beside.realm = RealmName::new("inner");
    beside.addresses[0].host = "192.168.1.50".into();
    config.trunks.insert(TrunkName::new("beside"), beside);
    let mut world = World::with(config);
    world.register("alice", PHONE, "");
    world.recv(PHONE, &invite_of("alice", "u1", 1, "X-A: 1"));
    assert!(world.one().starts_with("SIP/2.0 401"));
    world.recv("192.168.1.50:5060", &invite_of("alice", "u2", 1, "X-A: 1"));
    assert!(matches!(world.event(), LegEvent::Offered(offered) if matches!(offered.party, Party::Trunk { .. })));
}

#[test]
fn who_guesses_passwords_does_not_fill_the_journal() {
    let mut world = World::unguarded();
    for guess in 0..30 {
        let contact = format!("Contact: <sip:alice@{PHONE}>");
        world.register_with("alice", &guess.to_string(), &format!("192.168.1.50:{}", 1000 + guess), &contact);
    }
    assert_eq!((world.facts.len(), world.signaling.counters().unproven), (10, 30));
}

#[test]
fn a_user_calls_when_it_proves_who_it_is() {
    let mut world = World::new();
    world.register("alice", PHONE, "");
    world.recv(PHONE, &invite_of("whoever", "u1", 1, "X-A: 1"));
    let challenge = world.one();
    assert!(challenge.starts_with("SIP/2.0 401"));
    let proof = authorization(&challenge, "alice", "secret", "INVITE", "sip:192.168.1.1");
    let ack = in_dialog("ACK", "u1", 1, &tag_of(&challenge, "To"), "").replace("z9hG4bK-ACK-1", "z9hG4bK-u1-1");
    world.recv(PHONE, &ack);
    world.recv(PHONE, &invite_of("whoever", "u1", 2, &format!("Authorization: {proof}")));
    let LegEvent::Offered(offered) = world.event() else { panic!() };
    assert_eq!(offered.party, Party::User { user: UserName::new("alice") });
    assert_eq!((&*offered.from, offered.realm.as_str()), ("alice", "inner"));
    world.sent.clear();
    world.command(LegCommand::Answer { leg: offered.leg, answer: Box::new(ours(30000)) });
    assert_eq!(world.sent[0].0, address(PHONE));
    let tag = tag_of(&world.one(), "To");
    world.recv(PHONE, &in_dialog("ACK", "u1", 2, &tag, ""));
    world.command(hangup(offered.leg));
    assert_eq!(world.sent[0].0, address(PHONE), "behind NAT the Contact is of no use");
}

#[test]
fn a_cancel_and_an_ack_from_a_device_that_never_registered_are_heard() {
    let mut world = World::new();
    world.recv(PHONE, &invite_of("alice", "u1", 1, "X-A: 1"));
    let challenge = world.one();
    let proof = authorization(&challenge, "alice", "secret", "INVITE", "sip:192.168.1.1");
    let text = invite_of("alice", "u1", 2, &format!("Authorization: {proof}"));
    world.recv(PHONE, &text);
    assert!(matches!(world.event(), LegEvent::Offered(_)));
    world.sent.clear();
    let cancel = text.replace("INVITE sip", "CANCEL sip").replace("2 INVITE", "2 CANCEL");
    world.recv(PHONE, cancel.split("Content-Type").next().unwrap());
    assert_eq!(world.lines(), ["SIP/2.0 200 OK", "SIP/2.0 487 Request Terminated"]);
}

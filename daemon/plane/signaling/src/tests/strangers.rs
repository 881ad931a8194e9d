//! Unknown sources: nothing that helps them, no state, and a count.

use super::*;

const STRANGER: &str = "203.0.113.66:5060";

#[test]
fn where_nobody_registers_a_stranger_hears_nothing() {
    let mut world = World::new();
    for text in [
        invite("s1", 1),
        invite("s2", 1).replace("INVITE", "OPTIONS"),
        register("alice", "r", 1, "Contact: <sip:a@1.1.1.1>"),
        in_dialog("BYE", "s3", 1, "0123456789abcdef", ""),
        invite("s4", 1).replace("INVITE", "SUBSCRIBE"),
        invite("s5", 1).replace("X-Trace: abc", "no header"),
        "garbage".into(),
    ] {
        world.recv_at(OUTER, STRANGER, &text);
        assert!(world.is_quiet(), "{text}");
    }
    let counters = world.signaling.counters();
    assert_eq!((counters.strangers, counters.malformed), (5, 2));
    assert!(world.signaling.transactions.is_empty());
}

#[test]
fn strangers_and_noise_are_told_at_most_once_a_minute() {
    let mut world = World::unguarded();
    for call in 0..100 {
        world.recv_at(OUTER, STRANGER, &invite(&format!("s{call}"), 1));
        world.recv_at(OUTER, STRANGER, "noise");
    }
    assert_eq!(world.facts.len(), 2, "the first of each at once");
    world.facts.clear();
    world.pass(Duration::from_secs(59));
    assert!(world.facts.is_empty());
    world.pass(Duration::from_secs(2));
    let count = |fact: &Fact| match fact {
        Fact::StrangersRefused(fact) => fact.requests,
        Fact::MalformedDropped(fact) => fact.messages,
        other => panic!("{other:?}"),
    };
    assert_eq!(world.facts.iter().map(count).collect::<Vec<_>>(), [99, 99]);
}

#[test]
fn where_users_register_all_strangers_get_the_same_challenge_and_make_no_state() {
    let mut world = World::new();
    let mut shapes = vec![];
    for user in ["alice", "nobody"] {
        world.recv_at(INNER, STRANGER, &register(user, "r", 1, "Contact: <sip:a@1.1.1.1>"));
        let challenge = world.one();
        let nonce = challenge.split("nonce=\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
        let tag = tag_of(&challenge, "To");
        shapes.push(challenge.replace(&nonce, "N").replace(&tag, "T").replace(user, "U"));
    }
    assert_eq!(shapes[0], shapes[1]);
    world.recv_at(INNER, STRANGER, &invite("s1", 1));
    assert!(world.one().starts_with("SIP/2.0 401"));
    world.recv_at(INNER, STRANGER, &invite("s2", 1).replace("INVITE", "OPTIONS"));
    assert!(world.is_quiet());
    assert!(world.signaling.transactions.is_empty());
    assert_eq!(world.signaling.counters().challenged, 3);
}

#[test]
fn a_challenge_never_goes_to_another_host() {
    let mut world = World::new();
    let text = register("alice", "r", 1, "Contact: <sip:a@1.1.1.1>");
    world.recv_at(INNER, STRANGER, &text.replace("SIP/2.0/UDP 192.168.1.50:5060", "SIP/2.0/UDP 8.8.8.8:53"));
    assert!(world.sent.iter().all(|(to, _)| to.ip() == address(STRANGER).ip()));
}

#[test]
fn a_trunk_is_known_only_in_its_own_realm() {
    let mut world = World::new();
    world.recv_at(INNER, CARRIER, &invite("c1", 1));
    assert!(world.one().starts_with("SIP/2.0 401"), "in the clients' realm it is a stranger like others");
    assert!(world.events.is_empty());
}

#[test]
fn a_flood_of_authorizations_from_strangers_is_bounded() {
    let mut world = World::unguarded();
    for call in 0..3000 {
        let forged = "Authorization: Digest username=\"x\", realm=\"sip\", nonce=\"n\", uri=\"sip:a\", response=\"r\", qop=auth, nc=00000001, cnonce=\"c\"";
        world.recv_at(INNER, STRANGER, &register("alice", &format!("r{call}"), 1, forged));
    }
    assert_eq!(world.signaling.transactions.len(), (0, 2000));
    assert_eq!(world.signaling.counters().strangers, 3000);
}

#[test]
fn options_are_answered_to_who_is_known() {
    let mut world = World::new();
    let options = invite("o1", 1).replace("INVITE", "OPTIONS");
    let options = options.split("Content-Type").next().unwrap();
    world.recv(CARRIER, options);
    let answer = world.one();
    assert!(answer.starts_with("SIP/2.0 200") && header(&answer, "Accept") == "application/sdp");
    assert!(header(&answer, "Allow").contains("INVITE") && header(&answer, "Server") == "Postern");
    world.recv(PHONE, options);
    assert!(world.is_quiet());
    world.register("alice", PHONE, "");
    world.recv(PHONE, &options.replace("z9hG4bK-o1-1", "z9hG4bK-o2"));
    assert!(world.one().starts_with("SIP/2.0 200"));
    // A probing carrier shall send its calls elsewhere while we drain; a stranger hears nothing of it.
    world.signaling.set_draining(true);
    world.recv(CARRIER, &options.replace("z9hG4bK-o1-1", "z9hG4bK-o3"));
    let answer = world.one();
    assert!(answer.starts_with("SIP/2.0 503") && header(&answer, "Retry-After") == "5", "{answer}");
    world.recv_at(INNER, STRANGER, &options.replace("z9hG4bK-o1-1", "z9hG4bK-o4"));
    assert!(world.is_quiet());
    world.signaling.set_draining(false);
    world.recv(CARRIER, &options.replace("z9hG4bK-o1-1", "z9hG4bK-o5"));
    assert!(world.one().starts_with("SIP/2.0 200"));
}

#[test]
fn known_peers_hear_what_is_wrong() {
    let mut world = World::new();
    let table = [
        (in_dialog("BYE", "x", 1, "0123456789abcdef", ""), "SIP/2.0 481"),
        (in_dialog("INFO", "x", 2, "ours-not", ""), "SIP/2.0 481"),
        (invite("m", 1).replace("INVITE", "PUBLISH"), "SIP/2.0 405"),
        (invite("n", 1).replace("INVITE", "NEWFANGLED"), "SIP/2.0 501"),
        (invite("p", 1).replace("X-Trace: abc", "no header"), "SIP/2.0 400"),
        (register("alice", "q", 1, "Contact: *"), "SIP/2.0 405"),
    ];
    for (text, status) in table {
        world.recv(CARRIER, &text);
        let answer = world.one();
        assert!(answer.starts_with(status), "{text}: {answer}");
    }
}

#[test]
fn the_box_hears_itself_and_nobody_else_can_ask_so() {
    let mut config = config();
    // Neither an access list nor a ban keeps the box from itself.
    config.realms.get_mut("outer").unwrap().access.deny =
        vec![Prefix { address: "0.0.0.0".parse().unwrap(), length: 0 }];
    let mut world = World::with(config);
    let options = invite("o1", 1).replace("INVITE", "OPTIONS");
    let options = options.split("Content-Type").next().unwrap();
    let aimed = |uri: &str| options.replacen(options.split(' ').nth(1).unwrap(), uri, 1);
    let own = format!("sip:{}@{OUTER}", postern_types::SELF_CALL_USER);
    let us = format!("{}:40000", address(OUTER).ip());
    world.recv_at(OUTER, &us, &aimed(&own));
    let (to, answer) = world.sent.remove(0);
    assert!(answer.starts_with("SIP/2.0 200") && to == address(&us), "to where it came from: {to} {answer}");
    assert!(world.signaling.transactions.is_empty());
    world.signaling.set_draining(true);
    world.recv_at(OUTER, &us, &aimed(&own));
    assert!(world.one().starts_with("SIP/2.0 503"));
    for (source, text) in [
        (STRANGER, aimed(&own)),
        (&us, aimed(&own.replace("-call", ""))),
        (&us, aimed(&own).replace("OPTIONS", "INVITE")),
        (&us, aimed(&own).replace("CSeq", "X-Seq")),
    ] {
        world.recv_at(OUTER, source, &text);
        assert!(world.is_quiet(), "{source}: {text}");
    }
}

//! MESSAGE (RFC 3428): taken from whom we know, passed on as one of ours, answered as it was answered.

use super::*;

/// What alice writes to bob.
fn message(to: &str, cseq: u32, extra: &str) -> String {
    format!(
        "MESSAGE sip:{to}@192.168.1.1 SIP/2.0
        Via: SIP/2.0/UDP 192.168.1.50:40000;branch=z9hG4bK-text-{cseq};rport
        Max-Forwards: 70
        From: \"Alice\" <sip:alice@192.168.1.1>;tag=text
        To: <sip:{to}@192.168.1.1>
        Call-ID: inner-text-id
        CSeq: {cseq} MESSAGE
        User-Agent: InnerPhone/1
        Subject: inner-subject
        {extra}"
    )
}

const TEXT: &str = "Content-Type: text/plain;charset=UTF-8\n\nhello bob";
const BOB: &str = "192.168.1.60:5060";

/// alice's message, her password proven.
fn written(world: &mut World, to: &str, rest: &str) {
    world.recv(PHONE, &message(to, 1, rest));
    let challenge = world.one();
    assert!(challenge.starts_with("SIP/2.0 401"), "{challenge}");
    let proof = authorization(&challenge, "alice", "secret", "MESSAGE", &format!("sip:{to}@192.168.1.1"));
    world.recv(PHONE, &message(to, 2, &format!("Authorization: {proof}\n{rest}")));
}

fn offered(world: &mut World) -> TextOffered {
    match world.texts.pop() {
        Some(TextEvent::Offered(offered)) => *offered,
        other => panic!("{other:?} {:?}", world.sent),
    }
}

fn send(world: &mut World, id: TextId, target: TextTarget) {
    let identity = CallerIdentity { asserted: "+15550111".into(), ..CallerIdentity::default() };
    let (from, from_name) = ("alice".into(), "Alice".into());
    let send = TextSend { id, target, from, from_name, identity, max_forwards: 69 };
    world.signaling.handle_text(world.now, TextCommand::Send(Box::new(send)));
    world.drain();
}

fn to_user(user: &str) -> TextTarget {
    TextTarget::Outside(Target::user(UserName::new(user)))
}

fn to_trunk() -> TextTarget {
    TextTarget::Outside(Target::Trunk { trunk: TrunkName::new("carrier"), number: "+15550142".into() })
}

fn answer(world: &mut World, id: TextId, status: u16) {
    world.signaling.handle_text(world.now, TextCommand::Answer { id, cause: Cause::new(status, "so") });
    world.drain();
}

fn over(world: &mut World) -> (EndedBy, u16) {
    match world.texts.pop() {
        Some(TextEvent::Ended { by, cause, .. }) => (by, cause.status),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_user_writes_to_another_and_nothing_of_its_side_goes_along() {
    let mut world = World::new();
    world.register("alice", PHONE, "");
    world.register("bob", BOB, "");
    world.sent.clear();
    written(&mut world, "bob", TEXT);
    let offer = offered(&mut world);
    assert_eq!((&*offer.from, &*offer.to, offer.bytes, offer.max_forwards), ("alice", "bob", 9, 70));
    assert!(world.sent.is_empty(), "no answer before there is one");
    send(&mut world, offer.id, to_user("bob"));
    let (to, text) = world.sent.pop().unwrap();
    assert_eq!(to, address(BOB));
    assert!(
        text.starts_with(&format!("MESSAGE sip:bob@{BOB} SIP/2.0\r\n")) && text.ends_with("\r\n\r\nhello bob"),
        "{text}"
    );
    assert_eq!(header(&text, "Content-Type"), "text/plain;charset=UTF-8");
    assert!(header(&text, "From").starts_with("\"Alice\" <sip:alice@192.168.1.1>;tag="));
    for word in ["Contact:", "inner-", "192.168.1.50", "InnerPhone", "tag=text"] {
        assert!(!text.contains(word), "{word} in {text}");
    }
    world.recv(BOB, &response(&text, "202 Accepted", "t", ""));
    assert_eq!(over(&mut world), (EndedBy::Peer, 202));
    answer(&mut world, offer.id, 202);
    assert!(world.one().starts_with("SIP/2.0 202 Accepted\r\n"));
    answer(&mut world, offer.id, 200);
    assert!(world.is_quiet(), "it is answered once");
    world.pass(Duration::from_secs(60));
    assert_eq!(world.signaling.remembered(), 0);
}

#[test]
fn of_several_devices_the_first_that_takes_it_speaks_for_all_and_else_the_best_reason() {
    let mut world = World::new();
    world.register("alice", PHONE, "");
    for device in [BOB, "192.168.1.61:5060"] {
        world.register("bob", device, "");
    }
    for (answers, want) in [(["200 OK", "404 Gone"], 200), (["503 Busy", "486 Busy"], 486)] {
        world.sent.clear();
        written(&mut world, "bob", TEXT);
        let id = offered(&mut world).id;
        send(&mut world, id, to_user("bob"));
        let copies = std::mem::take(&mut world.sent);
        assert_eq!(copies.len(), 2);
        for ((to, text), status) in copies.iter().zip(answers) {
            world.recv(&to.to_string(), &response(text, status, "t", ""));
        }
        assert_eq!(world.texts.len(), 1, "{want}");
        assert_eq!(over(&mut world), (EndedBy::Peer, want));
        answer(&mut world, id, want);
        world.pass(Duration::from_secs(60));
    }
    assert_eq!(world.signaling.remembered(), 0);
}

#[test]
fn a_trunk_is_written_to_by_its_best_address_its_challenge_answered() {
    let mut world = World::new();
    world.register("alice", PHONE, "");
    world.sent.clear();
    written(&mut world, "+15550142", TEXT);
    let id = offered(&mut world).id;
    send(&mut world, id, to_trunk());
    let (to, text) = world.sent.pop().unwrap();
    assert_eq!(to, address(CARRIER));
    assert!(text.starts_with("MESSAGE sip:+15550142@198.51.100.10 SIP/2.0\r\n"), "{text}");
    assert_eq!(header(&text, "P-Asserted-Identity"), "<sip:+15550111@203.0.113.1>");
    assert!(!text.contains("192.168.") && !text.contains("P-Early-Media"), "{text}");
    world.recv(CARRIER, &response(&text, "407 Prove", "t", "Proxy-Authenticate: Digest realm=\"r\", nonce=\"n\""));
    let again = world.one();
    assert!(again.contains("Proxy-Authorization: Digest") && again.ends_with("hello bob"), "{again}");
    assert!(world.texts.is_empty());
    world.recv(CARRIER, &response(&again, "407 Prove", "t", "Proxy-Authenticate: Digest realm=\"r\", nonce=\"n\""));
    assert_eq!(over(&mut world), (EndedBy::Peer, 403), "its challenge is ours to answer, not alice's");
    answer(&mut world, id, 403);
    assert!(world.one().starts_with("SIP/2.0 403 "));
}

#[test]
fn nobody_hears_a_time_out_that_comes_too_late_to_be_an_answer() {
    let mut world = World::new();
    world.register("alice", PHONE, "");
    world.sent.clear();
    written(&mut world, "+15550142", TEXT);
    let id = offered(&mut world).id;
    send(&mut world, id, to_trunk());
    world.pass(Duration::from_secs(40));
    assert_eq!(over(&mut world), (EndedBy::Postern, 408));
    world.sent.clear();
    answer(&mut world, id, 408);
    assert!(world.is_quiet());
    world.pass(Duration::from_secs(60));
    assert_eq!(world.signaling.remembered(), 0);
}

#[test]
fn what_is_no_message_that_could_be_passed_on_is_refused() {
    let mut world = World::new();
    world.register("alice", PHONE, "");
    let long = format!("Content-Type: text/plain\n\n{}", "a".repeat(1301));
    for (rest, status) in [
        ("Content-Type: message/cpim\n\nFrom: <im:alice@10.0.0.9>", 415),
        ("Content-Type: text/plain\nContent-Encoding: gzip\n\nx", 415),
        ("Subject: none", 415),
        (&long, 413),
        ("Require: recipient-list-message\nContent-Type: text/plain\n\nx", 420),
    ] {
        world.sent.clear();
        written(&mut world, "bob", rest);
        let said = world.one();
        assert!(said.starts_with(&format!("SIP/2.0 {status} ")) && world.texts.is_empty(), "{said}");
        world.pass(Duration::from_secs(60));
    }
    let hopless = message("+15550100", 1, TEXT).replace("192.168.1.50:40000", "198.51.100.10:5060");
    world.recv(CARRIER, &hopless.replace("Max-Forwards: 70", "Max-Forwards: 0"));
    assert!(world.one().starts_with("SIP/2.0 483 "));
    // No device, and what no datagram carries.
    written(&mut world, "bob", TEXT);
    let id = offered(&mut world).id;
    send(&mut world, id, to_user("bob"));
    assert_eq!(over(&mut world), (EndedBy::Postern, 480));
    answer(&mut world, id, 480);
    world.pass(Duration::from_secs(60));
    world.sent.clear();
    written(&mut world, "bob", &format!("Content-Type: text/plain\n\n{}", "a".repeat(1200)));
    let id = offered(&mut world).id;
    send(&mut world, id, to_trunk());
    assert_eq!(over(&mut world), (EndedBy::Postern, 513));
}

#[test]
fn a_stranger_writes_to_nobody() {
    let mut world = World::new();
    let stranger = "203.0.113.66:5060";
    world.recv_at(OUTER, stranger, &message("bob", 1, TEXT));
    assert!(world.is_quiet() && world.texts.is_empty());
    world.recv_at(INNER, stranger, &message("bob", 1, TEXT).replace("192.168.1.50:40000", stranger));
    assert!(world.one().starts_with("SIP/2.0 401 ") && world.texts.is_empty(), "asked for a password, as for a call");
    assert!(world.signaling.transactions.is_empty());
}

#[test]
fn in_a_call_it_is_passed_on_in_the_other_partys_dialog() {
    let mut world = World::new();
    let (leg, tag) = world.established();
    world.recv(CARRIER, &in_dialog("MESSAGE", "c1", 2, &tag, "Content-Type: text/plain\n\nhi"));
    let Some(TextEvent::Within { id, leg: told, bytes: 2, .. }) = world.texts.pop() else { panic!("{:?}", world.sent) };
    assert_eq!(told, leg);
    // Back into the same dialog: there is no other one here.
    send(&mut world, id, TextTarget::Within(leg));
    let text = world.one();
    assert!(
        text.starts_with("MESSAGE sip:gw@198.51.100.10:5060 SIP/2.0\r\n") && text.ends_with("\r\n\r\nhi"),
        "{text}"
    );
    assert_eq!((tag_of(&text, "From"), header(&text, "Call-ID")), (tag, "c1"));
    world.recv(CARRIER, &response(&text, "401 Prove", "", "WWW-Authenticate: Digest realm=\"r\", nonce=\"n\""));
    assert_eq!((over(&mut world), world.is_quiet()), ((EndedBy::Peer, 403), true));
    answer(&mut world, id, 403);
    assert!(world.one().starts_with("SIP/2.0 403 Forbidden\r\n"));
    send(&mut world, TextId(99), TextTarget::Within(leg));
    assert!(world.is_quiet(), "a message that is gone");
}

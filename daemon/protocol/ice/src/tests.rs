//! RFC 5769's vectors, and what becomes of checks that are not as they should be.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use postern_types::{Secret, stream::Ice};
use stun_types::{
    attribute::{AttributeType, ErrorCode, RawAttribute, Username, XorMappedAddress},
    message::{
        BINDING, IntegrityAlgorithm, Message, MessageClass, MessageWrite, MessageWriteExt, MessageWriteVec,
        ShortTermCredentials,
    },
};

use crate::*;

const PASSWORD: &str = "VOkJxbRl1RmTxUk/WvJxBt";

/// RFC 5769 2.1: name `evtj:h6vY`, with ICE-CONTROLLED.
const REQUEST: &str = "000100582112a442b7e7a701bc34d686fa87dfae802200105354554e207465737420636c69656e74\
    002400046e0001ff80290008932ff9b151263b36000600096576746a3a68367659202020\
    000800149aeaa70cbfd8cb56781ef2b5b2d3f249c1b571a280280004e57a3bcf";
/// RFC 5769 2.2.
const RESPONSE: &str = "0101003c2112a442b7e7a701bc34d686fa87dfae8022000b7465737420766563746f7220\
    002000080001a147e112a643000800142b91f599fd9e90c38c7489f92af9ba53f06be7d780280004c07d4c96";

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<char> = text.chars().filter(|c| !c.is_whitespace()).collect();
    digits.chunks(2).map(|pair| u8::from_str_radix(&pair.iter().collect::<String>(), 16).unwrap()).collect()
}

fn ours() -> Ice {
    Ice { ufrag: "evtj".into(), pwd: Secret::new(PASSWORD.into()), lite: true }
}

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn start() -> Instant {
    fuzz::any_instant()
}

/// A check as a browser sends it.
fn check(username: &str, password: &str, nominates: bool, further: &[(u16, &[u8])]) -> Vec<u8> {
    let mut check = Message::builder_request(BINDING, MessageWriteVec::new());
    check.add_attribute(&Username::new(username).unwrap()).unwrap();
    check.add_attribute(&RawAttribute::new(AttributeType::new(0x24), &[0x6e, 0, 1, 0xff])).unwrap();
    check.add_attribute(&RawAttribute::new(AttributeType::new(0x802a), &[1; 8])).unwrap();
    if nominates {
        check.add_attribute(&RawAttribute::new(AttributeType::new(0x25), &[])).unwrap();
    }
    for (kind, value) in further {
        check.add_attribute(&RawAttribute::new(AttributeType::new(*kind), value)).unwrap();
    }
    let key = ShortTermCredentials::new(password.to_owned()).make_key();
    check.add_message_integrity_with_key(&key, IntegrityAlgorithm::Sha1).unwrap();
    check.add_fingerprint().unwrap();
    check.finish()
}

/// Feeds a datagram; the answer's bytes with the verdict.
fn feed(lite: &mut Lite, now: Instant, source: SocketAddr, datagram: &[u8]) -> (Verdict, Vec<u8>) {
    let mut room = datagram.to_vec();
    room.resize(2048, 0xee);
    let verdict = lite.handle_input(now, source, &mut room, datagram.len());
    let len = if let Verdict::Answer(answer) = verdict { answer.len } else { 0 };
    assert!(room[len.max(datagram.len())..].iter().all(|b| *b == 0xee));
    (verdict, room[..len].to_vec())
}

fn refusal(lite: &mut Lite, now: Instant, datagram: &[u8]) -> Option<Refusal> {
    match feed(lite, now, address("192.0.2.9:9"), datagram).0 {
        Verdict::Drop(refusal) => Some(refusal),
        Verdict::Answer(_) => None,
    }
}

#[test]
fn the_request_of_rfc_5769_is_authentic_and_told_to_take_the_other_role() {
    let (now, mut lite) = (start(), Lite::new(&ours()));
    assert!(is_stun(&hex(REQUEST)));
    let (verdict, reply) = feed(&mut lite, now, address("192.0.2.1:32853"), &hex(REQUEST));
    assert!(matches!(verdict, Verdict::Answer(Answer { nominated: false, .. })));
    let reply = Message::from_bytes(&reply).unwrap();
    assert_eq!((reply.class(), reply.attribute::<ErrorCode>().unwrap().code()), (MessageClass::Error, 487));
    assert!(!lite.is_proven(now, address("192.0.2.1:32853")));
    // Any bit of it altered, and it is nobody's.
    for at in 0..hex(REQUEST).len() {
        let mut damaged = hex(REQUEST);
        damaged[at] ^= 1;
        assert!(refusal(&mut Lite::new(&ours()), now, &damaged).is_some(), "{at}");
        assert!(refusal(&mut Lite::new(&ours()), now, &damaged[..at]).is_some(), "{at}");
    }
}

#[test]
fn the_answer_of_rfc_5769_is_to_nothing_that_we_asked() {
    assert_eq!(refusal(&mut Lite::new(&ours()), start(), &hex(RESPONSE)), Some(Refusal::NotAsked));
}

#[test]
fn an_answer_tells_the_peer_its_address_as_in_rfc_5769() {
    // The transaction of the vectors, asked by a controlling peer.
    let mut request = hex(REQUEST);
    request.truncate(request.len() - 32);
    let attributes = request.len() as u16 - 20;
    request[2..4].copy_from_slice(&attributes.to_be_bytes());
    let at = request.windows(2).position(|pair| pair == [0x80, 0x29]).unwrap();
    request[at + 1] = 0x2a;
    let key = ShortTermCredentials::new(PASSWORD.to_owned()).make_key();
    let parsed = Message::from_bytes(&request).unwrap();
    let mut sealed = Message::builder(parsed.get_type(), parsed.transaction_id(), MessageWriteVec::new());
    for (_, attribute) in parsed.iter_attributes() {
        sealed.add_attribute(&attribute).unwrap();
    }
    sealed.add_message_integrity_with_key(&key, IntegrityAlgorithm::Sha1).unwrap();
    sealed.add_fingerprint().unwrap();
    let sealed = sealed.finish();
    for (source, wanted) in [
        ("192.0.2.1:32853", "002000080001a147e112a643"),
        ("[2001:db8:1234:5678:11:2233:4455:6677]:32853", "002000140002a1470113a9faa5d3f179bc25f4b5bed2b9d9"),
    ] {
        let mut lite = Lite::new(&ours());
        let (verdict, reply) = feed(&mut lite, start(), address(source), &sealed);
        assert!(matches!(verdict, Verdict::Answer(_)), "{verdict:?}");
        let wanted = hex(wanted);
        assert!(reply.windows(wanted.len()).any(|part| part == wanted), "{source}: {reply:02x?}");
        let reply = Message::from_bytes(&reply).expect("a right fingerprint");
        assert_eq!(reply.transaction_id(), parsed.transaction_id());
        reply.validate_integrity_with_key(&key).unwrap();
    }
}

#[test]
fn who_does_not_know_the_password_gets_no_answer() {
    let (now, mut lite) = (start(), Lite::new(&ours()));
    let mut unsigned = Message::builder_request(BINDING, MessageWriteVec::new());
    unsigned.add_attribute(&Username::new("evtj:x").unwrap()).unwrap();
    unsigned.add_fingerprint().unwrap();
    let unsigned = unsigned.finish();
    let mut long = check("evtj:x", PASSWORD, true, &[(0xc000, &[0; 500])]);
    for (datagram, wanted) in [
        (check("evtj:x", "another", true, &[]), Refusal::Password),
        (check("other:x", PASSWORD, true, &[]), Refusal::Username),
        (check("evtj", PASSWORD, true, &[]), Refusal::Username),
        (check("evt:j", PASSWORD, true, &[]), Refusal::Username),
        (unsigned, Refusal::Password),
        (long.clone(), Refusal::Malformed),
        (b"\x00\x01\x00\x00".to_vec(), Refusal::Malformed),
        (Vec::new(), Refusal::Malformed),
    ] {
        assert_eq!(refusal(&mut lite, now, &datagram), Some(wanted));
    }
    long.truncate(100);
    assert!(refusal(&mut lite, now, &long).is_some());
    assert!(lite.nominated().is_none() && !lite.is_proven(now, address("192.0.2.9:9")));
}

#[test]
fn the_last_nominated_address_is_followed_and_checked_ones_are_heard() {
    let (now, mut lite) = (start(), Lite::new(&ours()));
    let (wlan, mobile, stranger) = (address("192.0.2.1:1"), address("198.51.100.1:2"), address("203.0.113.1:3"));
    let plain = check("evtj:x", PASSWORD, false, &[]);
    let nominating = check("evtj:x", PASSWORD, true, &[]);
    feed(&mut lite, now, wlan, &plain);
    assert_eq!((lite.is_proven(now, wlan), lite.nominated()), (true, None));
    let nominated = |verdict| matches!(verdict, Verdict::Answer(Answer { nominated: true, .. }));
    assert!(nominated(feed(&mut lite, now, wlan, &nominating).0));
    assert!(!nominated(feed(&mut lite, now, wlan, &nominating).0), "told once");
    feed(&mut lite, now, mobile, &plain);
    assert_eq!(lite.nominated(), Some(wlan));
    assert!(nominated(feed(&mut lite, now, mobile, &nominating).0));
    assert!(lite.is_proven(now, wlan), "what is under way still counts");
    let later = now + Duration::from_secs(31);
    assert_eq!((lite.is_proven(later, wlan), lite.is_proven(later, mobile)), (false, true));
    assert!(!lite.is_proven(now, stranger));
}

#[test]
fn addresses_are_bounded_and_the_nominated_one_stays() {
    let (now, mut lite) = (start(), Lite::new(&ours()));
    let first = address("192.0.2.1:1");
    feed(&mut lite, now, first, &check("evtj:x", PASSWORD, true, &[]));
    for n in 0..20 {
        feed(&mut lite, now, address(&format!("192.0.2.2:{}", 100 + n)), &check("evtj:x", PASSWORD, false, &[]));
    }
    assert!(lite.is_proven(now, first) && lite.is_proven(now, address("192.0.2.2:119")));
    assert!(!lite.is_proven(now, address("192.0.2.2:100")));
}

#[test]
fn a_check_that_we_do_not_understand_is_answered_420_and_proves_nothing() {
    let (now, mut lite) = (start(), Lite::new(&ours()));
    let (_, reply) = feed(&mut lite, now, address("192.0.2.1:1"), &check("evtj:x", PASSWORD, true, &[(0x7777, &[])]));
    assert_eq!(Message::from_bytes(&reply).unwrap().attribute::<ErrorCode>().unwrap().code(), 420);
    assert!(lite.nominated().is_none());
    let (verdict, reply) =
        feed(&mut lite, now, address("192.0.2.1:1"), &check("evtj:x", PASSWORD, true, &[(0xc057, &[0; 4])]));
    assert!(matches!(verdict, Verdict::Answer(Answer { nominated: true, .. })), "optional ones are passed over");
    assert!(Message::from_bytes(&reply).unwrap().attribute::<XorMappedAddress>().is_ok());
}

#[test]
fn what_was_added_behind_the_integrity_does_not_count() {
    let (now, mut lite) = (start(), Lite::new(&ours()));
    let whole = check("evtj:x", PASSWORD, false, &[]);
    let mut forged = whole[..whole.len() - 8].to_vec();
    forged.extend([0, 0x25, 0, 0]);
    let attributes = forged.len() as u16 + 8 - 20;
    forged[2..4].copy_from_slice(&attributes.to_be_bytes());
    let sum = stun_types::attribute::Fingerprint::compute(&[&forged]);
    forged.extend([0x80, 0x28, 0, 4]);
    forged.extend(sum);
    feed(&mut lite, now, address("192.0.2.1:1"), &forged);
    assert_eq!(lite.nominated(), None);
}

#[test]
fn after_a_restart_only_the_new_password_counts_and_packets_go_on() {
    let (now, mut lite) = (start(), Lite::new(&ours()));
    let source = address("192.0.2.1:1");
    feed(&mut lite, now, source, &check("evtj:x", PASSWORD, true, &[]));
    lite.restart(&Ice { ufrag: "next".into(), pwd: Secret::new("anotherpasswordof22chr".into()), lite: true });
    assert_eq!(lite.nominated(), Some(source));
    assert_eq!(refusal(&mut lite, now, &check("evtj:x", PASSWORD, true, &[])), Some(Refusal::Username));
    assert_eq!(refusal(&mut lite, now, &check("next:x", "anotherpasswordof22chr", true, &[])), None);
}

#[test]
fn checks_are_bounded_in_each_second_and_silence_is_told_once() {
    let (now, mut lite) = (start(), Lite::new(&ours()));
    let wrong = check("evtj:x", "another", true, &[]);
    for n in 0..CHECKS_MAX + 5 {
        let wanted = if n < CHECKS_MAX { Refusal::Password } else { Refusal::TooMany };
        assert_eq!(refusal(&mut lite, now, &wrong), Some(wanted));
    }
    let second = now + Duration::from_secs(1);
    let good = check("evtj:x", PASSWORD, true, &[]);
    assert_eq!(refusal(&mut lite, second, &good), None);
    let after = |seconds| second + Duration::from_secs(seconds);
    assert_eq!(lite.consent_lost(after(29)), None);
    assert_eq!(lite.consent_lost(after(30)), Some(Duration::from_secs(30)));
    assert_eq!(lite.consent_lost(after(31)), None);
    assert_eq!(refusal(&mut lite, after(40), &good), None);
    assert!(lite.consent_lost(after(71)).is_some());
}

#[test]
fn the_password_is_not_shown() {
    assert!(!format!("{:?}", Lite::new(&ours())).contains("VOk"));
}

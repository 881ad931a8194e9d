//! Published vectors, round trips, and every way in which a packet can be wrong.

use postern_types::Secret;

use super::*;

/// RFC 3711 B.3's master key and salt.
const KEY: &str = "e1f97a0d3e018be0d64fa32c06de4139 0ec675ad498afeebb6960b3aabe6";

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<char> = text.chars().filter(|c| !c.is_whitespace()).collect();
    digits.chunks(2).map(|pair| u8::from_str_radix(&pair.iter().collect::<String>(), 16).unwrap()).collect()
}

fn key(suite: SrtpSuite) -> SdesKey {
    SdesKey { tag: 1, suite, key_salt: Secret::new(hex(KEY).try_into().unwrap()) }
}

const LONG: SrtpSuite = SrtpSuite::AesCm128HmacSha1_80;
const SHORT: SrtpSuite = SrtpSuite::AesCm128HmacSha1_32;

fn pair(suite: SrtpSuite) -> (SrtpContext, SrtpContext) {
    (SrtpContext::outbound(&key(suite)).unwrap(), SrtpContext::inbound(&key(suite)).unwrap())
}

fn rtp(sequence: u16, source: u32, payload: usize) -> Vec<u8> {
    let mut packet = vec![0x80, 0];
    packet.extend(sequence.to_be_bytes());
    packet.extend((u32::from(sequence) * 160).to_be_bytes());
    packet.extend(source.to_be_bytes());
    packet.extend((0..payload).map(|n| n as u8));
    packet
}

/// The packet with room behind it, and its length.
fn slot(packet: &[u8]) -> (Vec<u8>, usize) {
    let mut buffer = packet.to_vec();
    buffer.resize(packet.len() + ROOM, 0xee);
    (buffer, packet.len())
}

fn sealed(out: &mut SrtpContext, packet: &[u8]) -> Vec<u8> {
    let (mut buffer, len) = slot(packet);
    let len = out.protect_rtp(&mut buffer, len).unwrap();
    buffer[..len].to_vec()
}

fn opened(inbound: &mut SrtpContext, packet: &[u8]) -> Result<Vec<u8>, SrtpError> {
    // No room behind: opening needs none.
    let mut buffer = packet.to_vec();
    let len = inbound.unprotect_rtp(&mut buffer, packet.len())?;
    Ok(buffer[..len].to_vec())
}

#[test]
fn packets_are_those_that_the_keys_of_rfc_3711_b3_make() {
    let plain = hex("800f1234 decafbad cafebabe abababab abababab abababab abababab");
    let cipher = hex("800f1234 decafbad cafebabe 4e55dc4c e79978d8 8ca4d215 949d2402 b78d6acc 99ea179b 8dbb");
    let (mut out, mut inbound) = pair(LONG);
    assert_eq!(sealed(&mut out, &plain), cipher);
    assert_eq!(opened(&mut inbound, &cipher).unwrap(), plain);

    let plain = hex("81c8000b cafebabe abababab abababab abababab abababab");
    let cipher = hex("81c8000b cafebabe 7128035b e487b9bd bef89041 f977a5a8 80000001 993e08cd 54d6c123 0798");
    for suite in [LONG, SHORT] {
        let (mut out, mut inbound) = pair(suite);
        let (mut buffer, len) = slot(&plain);
        let len = out.protect_rtcp(&mut buffer, len).unwrap();
        assert_eq!(&buffer[..len], &cipher, "SRTCP has its long tag with both suites");
        let len = inbound.unprotect_rtcp(&mut buffer[..len], len).unwrap();
        assert_eq!(&buffer[..len], &plain);
    }
}

#[test]
fn the_tag_has_the_length_of_its_suite_and_nothing_behind_it_is_touched() {
    for (suite, tag) in [(LONG, 10), (SHORT, 4)] {
        let (mut out, mut inbound) = pair(suite);
        for payload in [0, 1, 160, 1400] {
            let plain = rtp(payload as u16 + 1, 7, payload);
            let (mut buffer, len) = slot(&plain);
            let sealed = out.protect_rtp(&mut buffer, len).unwrap();
            assert_eq!(sealed, len + tag);
            assert!(buffer[sealed..].iter().all(|b| *b == 0xee));
            assert_eq!(opened(&mut inbound, &buffer[..sealed]).unwrap(), plain);
        }
    }
}

#[test]
fn a_long_call_goes_through_the_wrap_of_its_sequence_numbers() {
    let (mut out, mut inbound) = pair(LONG);
    for n in 0..70_000u32 {
        let plain = rtp(n as u16, 7, 20);
        assert_eq!(opened(&mut inbound, &sealed(&mut out, &plain)).unwrap(), plain, "{n}");
    }
}

#[test]
fn a_repeat_is_refused_and_a_late_packet_is_not() {
    let (mut out, mut inbound) = pair(LONG);
    let packets: Vec<_> = (0..2000).map(|n| sealed(&mut out, &rtp(n, 7, 20))).collect();
    assert!(opened(&mut inbound, &packets[0]).is_ok());
    assert_eq!(opened(&mut inbound, &packets[0]), Err(SrtpError::Replayed));
    assert!(opened(&mut inbound, &packets[500]).is_ok());
    assert!(opened(&mut inbound, &packets[499]).is_ok(), "late, but new");
    assert!(opened(&mut inbound, &packets[1999]).is_ok());
    assert_eq!(opened(&mut inbound, &packets[600]), Err(SrtpError::Replayed), "older than the window");
    let (mut buffer, len) = slot(&rtp(1999, 7, 20));
    assert_eq!(out.protect_rtp(&mut buffer, len), Err(SrtpError::Replayed), "the key stream must not be used twice");
}

#[test]
fn another_key_and_damage_are_told_from_nonsense() {
    let (mut out, mut inbound) = pair(LONG);
    let mut other = key(LONG);
    other.key_salt = Secret::new([9; 30]);
    let packet = sealed(&mut out, &rtp(1, 7, 160));
    assert_eq!(opened(&mut SrtpContext::inbound(&other).unwrap(), &packet), Err(SrtpError::Unauthentic));
    for byte in [0, 3, 20, packet.len() - 1] {
        let mut damaged = packet.clone();
        damaged[byte] ^= 1;
        let got = opened(&mut inbound, &damaged).unwrap_err();
        assert!(matches!(got, SrtpError::Unauthentic | SrtpError::Malformed), "{byte}: {got:?}");
    }
    assert!(opened(&mut inbound, &packet).is_ok(), "forgeries before it change nothing");
}

#[test]
fn no_length_of_a_packet_does_harm() {
    let (mut out, mut inbound) = pair(LONG);
    let packet = sealed(&mut out, &rtp(1, 7, 40));
    for len in 0..packet.len() {
        assert!(opened(&mut inbound, &packet[..len]).is_err(), "{len}");
        let mut buffer = packet[..len].to_vec();
        assert!(inbound.unprotect_rtcp(&mut buffer, len).is_err(), "{len}");
    }
    // Header lengths that lie: fifteen contributing sources, an extension behind the end.
    for first in [0x8f, 0x90, 0x9f, 0xbf, 0x00, 0xff] {
        let mut lie = packet.clone();
        lie[0] = first;
        assert!(opened(&mut inbound, &lie).is_err(), "{first:#x}");
    }
    let huge = rtp(2, 7, 70_000);
    let (mut buffer, len) = slot(&huge);
    assert_eq!(out.protect_rtp(&mut buffer, len), Err(SrtpError::Malformed));
    assert_eq!(out.protect_rtp(&mut buffer, 80_000), Err(SrtpError::Malformed), "longer than the buffer");
}

#[test]
fn without_room_nothing_is_written() {
    let (mut out, _) = pair(LONG);
    let packet = rtp(1, 7, 160);
    for room in [0, 9, ROOM - 1] {
        let mut buffer = packet.clone();
        buffer.resize(packet.len() + room, 0xee);
        let before = buffer.clone();
        assert_eq!(out.protect_rtp(&mut buffer, packet.len()), Err(SrtpError::NoRoom));
        assert_eq!(buffer, before);
    }
}

#[test]
fn sources_are_bounded_and_forged_ones_do_not_count() {
    let (mut out, mut inbound) = pair(LONG);
    for forged in 0..100 {
        assert_eq!(opened(&mut inbound, &rtp(1, 1000 + forged, 40)), Err(SrtpError::Unauthentic));
    }
    for source in 0..SOURCES_MAX as u32 {
        assert!(opened(&mut inbound, &sealed(&mut out, &rtp(1, source, 20))).is_ok());
    }
    let (mut buffer, len) = slot(&rtp(1, 99, 20));
    assert_eq!(out.protect_rtp(&mut buffer, len), Err(SrtpError::TooManySources));
    assert!(opened(&mut inbound, &sealed(&mut out, &rtp(2, 0, 20))).is_ok(), "known ones go on");
}

#[test]
fn the_key_is_not_shown() {
    let context = SrtpContext::inbound(&key(LONG)).unwrap();
    assert!(!format!("{context:?} {:?}", key(LONG)).contains("225"), "0xe1 is the key's first byte");
}

use postern_rtp::{Digits, Header};
use postern_types::{
    CallSid,
    media::{PlayId, Prompt, StreamSetup},
    stream::Format,
};

use super::*;
use crate::testing::{LIMITS, start};

const FIVE: u8 = 5;

/// Two legs that hear each other; the second takes digits, and the first, too, when `both`.
fn pair(now: Instant, both: bool) -> Relay {
    let mut relay = Relay::new(4, LIMITS, 1);
    for slot in [0, 1] {
        relay.open(now, slot, CallSid(slot.into()));
        let at = ([192, 0, 2, 1], 4000 + slot as u16 * 2).into();
        let telephone_event = Some(101).filter(|_| both || slot == 1);
        relay.configure(now, slot, Box::new(StreamSetup { telephone_event, ..StreamSetup::plain(at, Format::pcma()) }));
    }
    relay.bridge(0, 1);
    relay
}

/// A packet of the first leg's party; whether it went on.
fn hear(relay: &mut Relay, now: Instant, payload_type: u8, payload: &[u8]) -> bool {
    let mut room = [0; 64];
    room[..2].copy_from_slice(&[0x80, payload_type]);
    room[12..12 + payload.len()].copy_from_slice(payload);
    let len = 12 + payload.len();
    let verdict = relay.handle_input(now, 0, Port::Rtp, ([192, 0, 2, 1], 4000).into(), &mut room, len);
    matches!(verdict, Verdict::Send { slot: 1, .. })
}

/// What is sent until nothing more is due within `span`: when, and the packet.
fn sent(relay: &mut Relay, from: Instant, span: Duration) -> Vec<(u64, Vec<u8>)> {
    let mut found = Vec::new();
    let mut now = from;
    loop {
        let mut room = [0; 2048];
        while let Some(verdict) = relay.poll_play(now, &mut room) {
            let Verdict::Send { slot: 1, len, .. } = verdict else { panic!("{verdict:?}") };
            found.push(((now - from).as_millis() as u64, room[..len].to_vec()));
        }
        match relay.next_deadline().filter(|at| *at <= from + span) {
            Some(at) => {
                now = at;
                relay.handle_timeout(now);
            }
            None => return found,
        }
    }
}

#[test]
fn row_26_a_digit_is_one_event_of_rfc_4733_and_audio_goes_on_after_it() {
    let now = start();
    let mut relay = pair(now, false);
    assert!(hear(&mut relay, now, 8, &[1]));
    relay.press(now, 1, FIVE, 100);
    relay.press(now, 1, 11, 80);
    assert!(!hear(&mut relay, now, 8, &[1]), "audio rests while a digit is said");
    let packets = sent(&mut relay, now, Duration::from_secs(2));
    let mut digits = Digits::default();
    let mut told = Vec::new();
    for (ms, packet) in &packets {
        let header = Header::parse(packet).unwrap();
        assert_eq!((header.payload_type, packet.len()), (101, 16));
        let pressed =
            digits.handle_input(now + Duration::from_millis(*ms), header.ssrc, header.timestamp, &packet[12..]);
        told.extend(pressed.into_iter().flatten().map(|p| (p.digit, p.duration_ms(8000))));
    }
    assert_eq!(told, [('5', 100), ('#', 80)]);
    // Five steps and two more ends; four and two.
    let times: Vec<_> = packets.iter().map(|(ms, _)| *ms).collect();
    assert_eq!(times, [0, 20, 40, 60, 80, 100, 120, 200, 220, 240, 260, 280, 300]);
    let heads: Vec<_> = packets.iter().map(|(_, packet)| Header::parse(packet).unwrap()).collect();
    assert!(heads.windows(2).all(|pair| pair[1].sequence == pair[0].sequence.wrapping_add(1)));
    assert_eq!(
        heads.iter().map(|head| head.marker).collect::<Vec<_>>(),
        times.iter().map(|t| *t == 0 || *t == 200).collect::<Vec<_>>()
    );
    let later = now + Duration::from_secs(2);
    assert!(hear(&mut relay, later, 8, &[1]), "audio goes on");
}

#[test]
fn row_26_what_the_stream_said_already_is_not_said_again_and_nobody_is_told_who_takes_no_digits() {
    let now = start();
    let mut relay = pair(now, true);
    let event = TelephoneEvent { code: FIVE, end: false, volume: 10, duration: 160 };
    assert!(hear(&mut relay, now, 101, &event.to_bytes()));
    relay.press(now, 1, FIVE, 100);
    assert_eq!(sent(&mut relay, now, Duration::from_secs(1)), []);
    relay.press(now, 1, 6, 100);
    assert_ne!(sent(&mut relay, now, Duration::from_secs(1)), [], "another digit is another press");
    // Later it is pressed anew.
    let later = now + Duration::from_secs(3);
    relay.handle_timeout(later);
    relay.press(later, 1, FIVE, 100);
    assert_ne!(sent(&mut relay, later, Duration::from_secs(1)), []);

    let mut relay = pair(now, false);
    relay.press(now, 0, FIVE, 100);
    assert_eq!(sent(&mut relay, now, Duration::from_secs(1)), []);
    relay.press(now, 9, FIVE, 100);
    let prompt = std::sync::Arc::new(Prompt { samples: vec![0; 16_000].into() });
    relay.play(now, 1, PlayId(1), prompt, 1);
    relay.press(now, 1, FIVE, 100);
    let packets = sent(&mut relay, now, Duration::from_secs(3));
    assert!(packets.iter().all(|(_, packet)| packet.len() == 172), "a prompt is not interrupted");
}

#[test]
fn too_many_digits_and_absurd_times_are_bounded() {
    let now = start();
    let mut relay = pair(now, false);
    (0..1000).for_each(|_| relay.press(now, 1, FIVE, u32::MAX));
    let ends = |packets: &[(u64, Vec<u8>)]| packets.iter().filter(|(_, packet)| packet[13] & 0x80 != 0).count();
    let packets = sent(&mut relay, now, Duration::from_secs(600));
    assert_eq!(ends(&packets), WAITING_MAX * usize::from(ENDS));
    let longest = packets.iter().map(|(_, packet)| u16::from_be_bytes([packet[14], packet[15]])).max();
    assert_eq!(longest, Some(16_000));
    // A new description without telephone-event ends it.
    relay.press(now, 1, FIVE, 100);
    relay.configure(now, 1, Box::new(StreamSetup::plain(([192, 0, 2, 1], 4002).into(), Format::pcma())));
    assert_eq!(sent(&mut relay, now, Duration::from_secs(1)), []);
    assert!(hear(&mut relay, now, 8, &[1]));
}

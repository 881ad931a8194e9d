use postern_srtp::SrtpContext;
use postern_types::{
    media::{PlayId, Prompt},
    stream::{Direction, Format, SdesKey, SrtpSuite},
};

use super::*;
use crate::testing::{LIMITS, address, start};

fn setup(port: u16) -> Box<StreamSetup> {
    Box::new(StreamSetup::plain(address(port), Format::pcma()))
}

/// Hands slot 0 a packet of twelve header bytes and one of payload.
fn packet(relay: &mut Relay, now: Instant, source: SocketAddr) -> Verdict {
    let mut room = [0; 64];
    room[..2].copy_from_slice(&[0x80, 8]);
    relay.handle_input(now, 0, Port::Rtp, source, &mut room, 13)
}

fn two_legs(now: Instant) -> Relay {
    let mut relay = Relay::new(4, LIMITS, 1);
    for slot in [0, 1] {
        relay.open(now, slot, CallSid(slot.into()));
        relay.configure(now, slot, setup(4000 + slot as u16 * 2));
    }
    relay.bridge(0, 1);
    relay
}

#[test]
fn strangers_are_told_at_most_once_a_second_and_none_is_forgotten() {
    let now = start();
    let mut relay = two_legs(now);
    let sent = Verdict::Send { slot: 1, port: Port::Rtp, to: address(4002), len: 13 };
    assert_eq!(packet(&mut relay, now, address(4000)), sent);
    for ms in 0..2500 {
        assert_eq!(packet(&mut relay, now + Duration::from_millis(ms), address(9)), Verdict::Drop);
    }
    relay.handle_second(now + Duration::from_millis(3500));
    let told: Vec<u64> = std::iter::from_fn(|| relay.poll_event())
        .filter_map(|event| match event {
            MediaEvent::Foreign { packets, .. } => Some(packets),
            _ => None,
        })
        .collect();
    assert_eq!(told, [1, 1000, 1000, 499]);
}

#[test]
fn a_settled_leg_is_connected_and_a_silent_one_let_go() {
    let now = start();
    let mut relay = two_legs(now);
    packet(&mut relay, now, address(77));
    for second in [1, 2] {
        relay.handle_second(now + Duration::from_secs(second));
        assert_eq!(relay.poll_binding(), None, "the described address may still win");
        packet(&mut relay, now + Duration::from_millis(second * 1000 + 500), address(77));
    }
    packet(&mut relay, now + Duration::from_millis(2600), address(4000));
    relay.handle_second(now + Duration::from_secs(3));
    assert_eq!(relay.poll_binding(), Some((0, Some(address(4000)))));
    relay.handle_second(now + Duration::from_secs(4));
    assert_eq!(relay.poll_binding(), Some((0, None)));
    relay.handle_second(now + Duration::from_secs(5));
    assert_eq!(relay.poll_binding(), None);
}

#[test]
fn reports_come_when_something_changed_and_silence_is_told_again_each_period() {
    let now = start();
    let mut relay = two_legs(now);
    packet(&mut relay, now, address(4000));
    let mut events = Vec::new();
    for second in 1..100 {
        relay.handle_second(now + Duration::from_secs(second));
        events.extend(std::iter::from_fn(|| relay.poll_event()));
    }
    let reports = events.iter().filter(|e| matches!(e, MediaEvent::Report { .. })).count();
    let silent = events.iter().filter(|e| matches!(e, MediaEvent::TimedOut { .. })).count();
    assert_eq!(
        (reports, silent),
        (2, 6),
        "each leg reports once: one received, one was sent; each is silent for three periods"
    );
}

#[test]
fn events_that_nobody_fetches_are_bounded() {
    let now = start();
    let mut relay = two_legs(now);
    for second in 0..2 * EVENTS_MAX as u64 {
        packet(&mut relay, now, address(4000));
        relay.handle_second(now + Duration::from_millis(second));
    }
    assert!(relay.counts().events_lost > 0);
    assert!(std::iter::from_fn(|| relay.poll_event()).count() <= 2 * EVENTS_MAX);
}

/// Whether a report of the peer is taken.
fn rtcp(relay: &mut Relay, now: Instant, slot: u32, source: SocketAddr) -> bool {
    let mut room = [0; 64];
    room[..8].copy_from_slice(&[0x80, 201, 0, 1, 0, 0, 0, 7]);
    let before = relay.counts().dropped;
    let verdict = relay.handle_input(now, slot, Port::Rtcp, source, &mut room, 8);
    assert_eq!(verdict, Verdict::Drop, "reports end here");
    relay.counts().dropped == before
}

#[test]
fn a_party_on_hold_or_heard_by_rtcp_alone_is_not_silent() {
    let now = start();
    let mut relay = two_legs(now);
    packet(&mut relay, now, address(4000));
    // The one holds and plays no music; the other has its microphone off and sends reports.
    relay.configure(now, 0, Box::new(StreamSetup { direction: Direction::SendOnly, ..*setup(4000) }));
    let silent = |relay: &mut Relay| {
        let events = std::iter::from_fn(|| relay.poll_event());
        events.filter(|event| matches!(event, MediaEvent::TimedOut { .. })).count()
    };
    for second in 1..100 {
        let now = now + Duration::from_secs(second);
        assert!(rtcp(&mut relay, now, 1, address(4003)));
        relay.handle_second(now);
        assert_eq!(silent(&mut relay), 0, "after {second} s");
    }
    // Resumed, the holder has to send again; and now nothing comes of either.
    relay.configure(now + Duration::from_secs(100), 0, setup(4000));
    relay.handle_second(now + Duration::from_secs(131));
    assert_eq!(silent(&mut relay), 2);
}

#[test]
fn a_source_that_cannot_be_answered_is_a_stranger() {
    let now = start();
    let mut relay = two_legs(now);
    let many = [address(0), "0.0.0.0:5".parse().unwrap(), "224.0.0.1:5".parse().unwrap()];
    for source in many.into_iter().chain(["255.255.255.255:5".parse().unwrap()]) {
        assert_eq!(packet(&mut relay, now, source), Verdict::Drop, "{source}");
        assert!(!rtcp(&mut relay, now, 0, source), "{source}");
    }
    assert_ne!(packet(&mut relay, now, address(77)), Verdict::Drop, "and keeps nobody out");
}

#[test]
fn a_reoffer_with_the_same_keys_keeps_the_rollover() {
    let key =
        |n| SdesKey { tag: 1, suite: SrtpSuite::AesCm128HmacSha1_80, key_salt: postern_types::Secret::new([n; 30]) };
    let secure = |tag| {
        let [srtp_in, srtp_out] = [1, 2].map(|n| Some(Box::new(SdesKey { tag, ..key(n) })));
        Box::new(StreamSetup { srtp_in, srtp_out, ..*setup(4000) })
    };
    let now = start();
    let mut relay = two_legs(now);
    relay.configure(now, 0, secure(1));
    let (mut protect, mut open) = (SrtpContext::outbound(&key(1)).unwrap(), SrtpContext::inbound(&key(2)).unwrap());
    for n in 65_500..65_700u32 {
        let mut room = [0; 400];
        room[..2].copy_from_slice(&[0x80, 8]);
        room[2..4].copy_from_slice(&(n as u16).to_be_bytes());
        let mut other = room;
        let len = protect.protect_rtp(&mut room, 172).unwrap();
        let verdict = relay.handle_input(now, 0, Port::Rtp, address(4000), &mut room, len);
        assert_eq!(verdict, Verdict::Send { slot: 1, port: Port::Rtp, to: address(4002), len: 172 }, "{n}");
        let verdict = relay.handle_input(now, 1, Port::Rtp, address(4002), &mut other, 172);
        assert_eq!(verdict, Verdict::Send { slot: 0, port: Port::Rtp, to: address(4000), len: 182 }, "{n}");
        assert_eq!(open.unprotect_rtp(&mut other, 182), Ok(172), "{n}");
        // After the wrap, with another tag, as a phone may choose.
        if n == 65_600 {
            relay.configure(now, 0, secure(2));
        }
    }
}

#[test]
fn prompts_are_cut_as_each_leg_asked() {
    let prompt = Arc::new(Prompt { samples: vec![1000; 8000].into() });
    for (ptime_ms, len) in [(10, 92), (20, 172), (30, 252), (60, 492), (0, 92), (200, 492)] {
        let mut now = start();
        let mut relay = two_legs(now);
        relay.configure(now, 0, Box::new(StreamSetup { ptime_ms, ..*setup(4000) }));
        relay.play(now, 0, PlayId(1), prompt.clone(), 1);
        let mut room = [0; 600];
        for _ in 0..10 {
            let verdict = relay.poll_play(now, &mut room);
            assert_eq!(verdict, Some(Verdict::Send { slot: 0, port: Port::Rtp, to: address(4000), len }));
            let next = relay.next_deadline().unwrap();
            assert_eq!((next - now).as_micros() as usize, (len - 12) * 125);
            now = next;
        }
    }
}

#[test]
fn the_parts_of_a_second_meet_every_leg_once() {
    let now = start();
    let mut relay = Relay::new(64, LIMITS, 1);
    for slot in 0..45 {
        relay.open(now, slot, CallSid(slot.into()));
        relay.configure(now, slot, setup(4000));
    }
    let mut silent = Vec::new();
    for part in 0..PARTS {
        relay.handle_part(now + LIMITS.timeout, part);
        let events = std::iter::from_fn(|| relay.poll_event());
        let told = events.filter(|event| matches!(event, MediaEvent::TimedOut { .. })).count();
        assert!((2..=3).contains(&told), "{told} of 45 legs in part {part}");
        silent.push(told);
    }
    assert_eq!(silent.iter().sum::<usize>(), 45);
}

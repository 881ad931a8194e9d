use postern_types::stream::{Direction, Format};

use super::*;

const LIMITS: Limits = Limits { latch_window: Duration::from_secs(2), timeout: Duration::from_secs(30) };

#[allow(clippy::disallowed_methods, reason = "tests need a beginning of time")]
fn start() -> Instant {
    Instant::now()
}

fn address(port: u16) -> SocketAddr {
    ([192, 0, 2, 1], port).into()
}

fn setup(port: u16) -> Box<StreamSetup> {
    Box::new(StreamSetup {
        remote_rtp: address(port),
        remote_rtcp: address(port + 1),
        format: Format::pcma(),
        formats: vec![Format::pcma()],
        telephone_event: None,
        ptime_ms: 20,
        direction: Direction::SendRecv,
        srtp_in: None,
        srtp_out: None,
    })
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
    relay.handle_second(now + Duration::from_secs(1));
    assert_eq!(relay.poll_binding(), None, "the described address may still win");
    packet(&mut relay, now + Duration::from_millis(2500), address(77));
    relay.handle_second(now + Duration::from_secs(3));
    assert_eq!(relay.poll_binding(), Some((0, Some(address(77)))));
    relay.handle_second(now + Duration::from_secs(4));
    assert_eq!(relay.poll_binding(), Some((0, None)));
    relay.handle_second(now + Duration::from_secs(5));
    assert_eq!(relay.poll_binding(), None);
}

#[test]
fn reports_come_when_something_changed_and_silence_is_told_once() {
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
    assert_eq!((reports, silent), (2, 2), "each leg once: one received, one was sent");
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

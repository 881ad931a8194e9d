//! Two legs that change from audio to fax and back.

use std::time::Duration;

use postern_types::{
    CallSid,
    media::StreamSetup,
    recording::{Listener, TapId},
    stream::Format,
};

use super::*;
use crate::{relay::Limits, testing::start};

const LIMITS: Limits = Limits { latch_window: Duration::from_secs(2), timeout: Duration::from_secs(30) };
const AUDIO: &[u8] = b"\x80\x08\x00\x01\x00\x00\x00\xa0\x12\x34\x56\x78\xd5\xd5\xd5\xd5";
const SIGNAL: &[u8] = b"\x00\x01\x01\x06\x00\x00";

fn address(host: u8) -> SocketAddr {
    ([192, 0, 2, host], 4000).into()
}

fn configure(relay: &mut Relay, now: Instant, slot: u32, udptl: bool) {
    let setup = StreamSetup { udptl, ..StreamSetup::plain(address(slot as u8), Format::pcma()) };
    relay.configure(now, slot, Box::new(setup));
}

fn say(
    relay: &mut Relay,
    now: Instant,
    slot: u32,
    from: SocketAddr,
    packet: &[u8],
) -> Option<(u32, SocketAddr, Vec<u8>)> {
    let mut room = [0; 200];
    room[..packet.len()].copy_from_slice(packet);
    match relay.handle_input(now, slot, Port::Rtp, from, &mut room, packet.len()) {
        Verdict::Send { slot, port: Port::Rtp, to, len } => Some((slot, to, room[..len].to_vec())),
        _ => None,
    }
}

/// Two legs that talk.
fn talking(now: Instant) -> Relay {
    let mut relay = Relay::new(4, LIMITS, 1);
    for slot in [0, 1] {
        relay.open(now, slot, CallSid(slot.into()));
        configure(&mut relay, now, slot, false);
    }
    relay.bridge(0, 1);
    for (slot, other) in [(0, 1), (1, 0)] {
        assert_eq!(say(&mut relay, now, slot, address(slot as u8), AUDIO).map(|sent| sent.0), Some(other));
    }
    relay
}

#[test]
fn datagrams_of_both_pass_as_they_are_and_audio_does_not() {
    let now = start();
    let mut relay = talking(now);
    relay.tap(0, TapId(1), Listener::Recorder, true, true);
    for slot in [0, 1] {
        configure(&mut relay, now, slot, true);
    }
    for (slot, other) in [(0, 1), (1, 0)] {
        let sent = say(&mut relay, now, slot, address(slot as u8), SIGNAL);
        assert_eq!(sent, Some((other, address(other as u8), SIGNAL.to_vec())));
    }
    // The same numbers later in a long fax look like RTP and RTCP, and are not.
    for late in [b"\x80\x08\x01\x06\x00\x00", b"\x80\xc8\x01\x06\x00\x00"] {
        assert!(say(&mut relay, now, 0, address(0), late).is_some(), "{late:02x?}");
    }
    let mut disguised = AUDIO.to_vec();
    (disguised[2], disguised[4]) = (1, 0);
    for other in [AUDIO, &disguised, b"", b"\x00", &[0xff; 40]] {
        assert_eq!(say(&mut relay, now, 0, address(0), other), None, "{other:02x?}");
    }
    assert!(relay.poll_tapped().is_none(), "a fax is nobody's to hear");
    let mut room = [0; 40];
    let rtcp = relay.handle_input(now, 0, Port::Rtcp, address(0), &mut room, 8);
    assert_eq!(rtcp, Verdict::Drop);
    // Back to audio.
    for slot in [0, 1] {
        configure(&mut relay, now, slot, false);
    }
    assert!(say(&mut relay, now, 0, address(0), AUDIO).is_some());
    assert_eq!(say(&mut relay, now, 0, address(0), SIGNAL), None);
}

#[test]
fn a_stranger_is_dropped_and_told_and_its_fax_goes_nowhere() {
    let now = start();
    let mut relay = talking(now);
    for slot in [0, 1] {
        configure(&mut relay, now, slot, true);
    }
    while relay.poll_event().is_some() {}
    assert_eq!(say(&mut relay, now, 0, address(66), SIGNAL), None);
    let told = std::iter::from_fn(|| relay.poll_event()).next();
    assert!(matches!(told, Some(MediaEvent::Foreign { source, packets: 1, .. }) if source == address(66)), "{told:?}");
    // A moved machine is found by its first datagram of UDPTL, and by nothing else.
    let moved = StreamSetup { udptl: true, ..StreamSetup::plain(address(7), Format::pcma()) };
    relay.configure(now, 0, Box::new(moved));
    assert_eq!(say(&mut relay, now, 0, address(8), AUDIO), None);
    assert!(say(&mut relay, now, 0, address(8), SIGNAL).is_some());
    assert_eq!(say(&mut relay, now, 1, address(1), SIGNAL).map(|sent| sent.1), Some(address(8)));
}

#[test]
fn one_side_alone_faxes_to_nobody() {
    let now = start();
    let mut relay = talking(now);
    configure(&mut relay, now, 0, true);
    assert_eq!(say(&mut relay, now, 0, address(0), SIGNAL), None);
    assert_eq!(say(&mut relay, now, 1, address(1), AUDIO), None, "and hears no audio");
    relay.close(0);
    configure(&mut relay, now, 1, false);
    assert_eq!(relay.faxes, 0);
}

#[test]
fn either_side_keeps_both_alive_and_silence_of_both_is_told() {
    let now = start();
    let mut relay = talking(now);
    for slot in [0, 1] {
        configure(&mut relay, now, slot, true);
    }
    let timeouts = |relay: &mut Relay, now| {
        relay.handle_second(now);
        let told = std::iter::from_fn(|| relay.poll_event());
        told.filter(|event| matches!(event, MediaEvent::TimedOut { .. } | MediaEvent::Unheard { .. })).count()
    };
    for second in 1..60 {
        let now = now + Duration::from_secs(second);
        say(&mut relay, now, 0, address(0), SIGNAL);
        assert_eq!(timeouts(&mut relay, now), 0, "{second}");
    }
    assert_eq!(timeouts(&mut relay, now + Duration::from_secs(90)), 2);
}

//! What a tap copies, and that it changes nothing.

use std::sync::Arc;

use postern_types::{
    CallSid,
    media::{PlayId, Prompt},
    stream::{Codec, Direction, Format, SdesKey, SrtpSuite},
};

use super::*;
use crate::{
    relay::{Port, Relay, Verdict},
    testing::{LIMITS, peer_of, start},
};

const DIGITS: u8 = 101;

/// Leg 0 speaks A-law as type 8, leg 1 A-law as type 97 and µ-law; they are bridged.
fn relay(now: Instant, change: impl Fn(u32, &mut StreamSetup)) -> Relay {
    let mut relay = Relay::new(4, LIMITS, 1);
    for slot in [0, 1] {
        relay.open(now, slot, CallSid(slot.into()));
        let format = Format { payload_type: if slot == 0 { 8 } else { 97 }, ..Format::pcma() };
        let mut setup = StreamSetup::plain(peer_of(slot), format);
        setup.formats.push(Format::pcmu());
        setup.telephone_event = Some(DIGITS);
        change(slot, &mut setup);
        relay.configure(now, slot, Box::new(setup));
    }
    relay.bridge(0, 1);
    relay
}

/// A packet of a leg with four bytes of payload.
fn say(relay: &mut Relay, now: Instant, slot: u32, payload_type: u8, sequence: u8) -> Verdict {
    let mut room = [0; 400];
    room[..4].copy_from_slice(&[0x80, payload_type, 0, sequence]);
    room[11] = slot as u8 + 1;
    room[12..16].copy_from_slice(&[sequence; 4]);
    relay.handle_input(now, slot, Port::Rtp, peer_of(slot), &mut room, 16)
}

fn copies(relay: &mut Relay) -> Vec<(u64, Track, Coding, u32, Vec<u8>)> {
    std::iter::from_fn(|| relay.poll_tapped())
        .map(|(_, t)| (t.tap.0, t.track, t.coding, t.ssrc, t.payload().to_vec()))
        .collect()
}

#[test]
fn both_directions_are_copied_with_their_codecs_and_digits_are_not() {
    let now = start();
    let mut relay = relay(now, |_, _| ());
    relay.tap(0, TapId(1), Listener::Recorder, true, true);
    relay.tap(0, TapId(2), Listener::Recorder, true, false);
    for (slot, payload_type) in [(0, 8), (1, 97), (1, 0), (0, DIGITS)] {
        assert!(matches!(say(&mut relay, now, slot, payload_type, 7), Verdict::Send { .. }), "{slot} {payload_type}");
    }
    let want = |tap, track, coding, ssrc| (tap, track, coding, ssrc, vec![7; 4]);
    let told = copies(&mut relay);
    assert_eq!(
        told,
        [
            want(1, Track::Inbound, Coding::Alaw, 1),
            want(2, Track::Inbound, Coding::Alaw, 1),
            want(1, Track::Outbound, Coding::Alaw, 2),
            want(1, Track::Outbound, Coding::Ulaw, 2),
        ]
    );
    relay.untap(0, TapId(1));
    say(&mut relay, now, 0, 8, 8);
    assert_eq!(copies(&mut relay).len(), 1);
    relay.untap(0, TapId(2));
    say(&mut relay, now, 0, 8, 9);
    assert_eq!(copies(&mut relay), []);
}

#[test]
fn what_is_encrypted_is_copied_in_the_clear_and_sent_encrypted() {
    let now = start();
    let suite = SrtpSuite::AesCm128HmacSha1_80;
    let key = SdesKey { tag: 1, suite, key_salt: postern_types::Secret::new([9; 30]) };
    let mut relay = relay(now, |slot, setup| {
        if slot == 1 {
            setup.srtp_out = Some(Box::new(key.clone()));
            setup.srtp_in = Some(Box::new(key.clone()));
        }
    });
    relay.tap(1, TapId(1), Listener::Recorder, true, true);
    let Verdict::Send { len, .. } = say(&mut relay, now, 0, 8, 7) else { panic!("not relayed") };
    assert_eq!(len, 16 + 10, "with its authentication");
    assert_eq!(copies(&mut relay), [(1, Track::Outbound, Coding::Alaw, 1, vec![7; 4])]);
}

#[test]
fn a_prompt_is_heard_on_the_tap_and_a_party_alone_too() {
    let now = start();
    let mut relay = relay(now, |_, _| ());
    relay.unbridge(0);
    relay.tap(0, TapId(1), Listener::Recorder, true, true);
    say(&mut relay, now, 0, 8, 7);
    relay.play(now, 0, PlayId(1), Arc::new(Prompt { samples: vec![0; 160].into() }), 1);
    let mut room = [0; 400];
    assert!(relay.poll_play(now, &mut room).is_some());
    let told = copies(&mut relay);
    assert_eq!((told.len(), told[1].1, told[1].4.len()), (2, Track::Outbound, 160));
}

#[test]
fn each_listener_has_a_queue_of_its_own() {
    let now = start();
    let mut relay = relay(now, |_, _| ());
    relay.tap(0, TapId(1), Listener::Recorder, true, false);
    relay.tap(0, TapId(2), Listener::Fork, true, false);
    let (spouts, copies) = queues();
    let mut fits = Vec::new();
    for n in 0..UNDER_WAY_MAX + 1 {
        say(&mut relay, now, 0, 8, n as u8);
        while let Some((_, copy)) = relay.poll_tapped() {
            fits.push((copy.to, spouts.put(copy)));
        }
        // One listener reads, the other hangs.
        copies.recorder.try_recv().unwrap();
    }
    assert!(fits.iter().all(|(to, fits)| *fits || *to == Listener::Fork));
    assert_eq!(fits.iter().filter(|(_, fits)| !fits).count(), 1);
    assert_eq!(copies.forks.try_iter().map(|copy| copy.tap).filter(|tap| *tap == TapId(2)).count(), UNDER_WAY_MAX);
}

#[test]
fn a_party_on_hold_is_not_copied() {
    let now = start();
    let mut relay = relay(now, |_, setup| setup.direction = Direction::RecvOnly);
    relay.tap(0, TapId(1), Listener::Recorder, true, true);
    say(&mut relay, now, 0, 8, 7);
    assert_eq!(copies(&mut relay), []);
}

#[test]
fn what_nobody_fetches_and_what_nobody_can_read_is_counted() {
    let now = start();
    let mut relay = relay(now, |_, setup| setup.formats.push(speex()));
    relay.tap(0, TapId(1), Listener::Recorder, true, false);
    for tap in 2..10 {
        relay.tap(0, TapId(tap), Listener::Recorder, false, true);
    }
    say(&mut relay, now, 0, 9, 1);
    for n in 0..WAITING_MAX + 5 {
        say(&mut relay, now, 0, 8, n as u8);
    }
    let told = copies(&mut relay);
    assert_eq!(told.len(), WAITING_MAX);
    relay.tap_lost(0, TapId(1));
    say(&mut relay, now, 0, 8, 1);
    let (_, copy) = relay.poll_tapped().unwrap();
    assert_eq!(copy.lost, 1 + 5 + 1);
    // Of nine taps eight were taken.
    say(&mut relay, now, 1, 97, 1);
    assert_eq!(copies(&mut relay).len(), TAPS_MAX - 1);
}

fn speex() -> Format {
    Format { payload_type: 9, codec: Codec::Other("speex".into()), ..Format::pcma() }
}

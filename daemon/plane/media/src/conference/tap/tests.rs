//! What a room's tap has, and when.

use postern_types::stream::Codec;

use super::*;
use crate::conference::{
    RoomSeat,
    tests::{House, ROOM, share},
};

/// What was copied so far, placed by time; the samples of each copy at its timestamp.
fn copied(house: &mut House) -> Vec<i16> {
    let mut sound = Vec::new();
    while let Some((slot, copy)) = house.relay.poll_tapped() {
        assert_eq!(
            (slot, copy.to, copy.tap, copy.track, copy.lost),
            (NOBODY, Listener::Recorder, TapId(1), Track::Inbound, 0)
        );
        let mut samples = [0; FRAME];
        assert_eq!(g711::decode_ulaw(copy.payload(), &mut samples), FRAME);
        let at = copy.timestamp as usize;
        assert!(at >= sound.len(), "they come in order");
        sound.resize(at, 0);
        sound.extend_from_slice(&samples);
    }
    sound
}

#[test]
fn all_who_are_heard_are_in_it_whatever_the_rate() {
    // The second room is one of 16 kHz.
    for codecs in [[Codec::Pcmu, Codec::Pcma, Codec::Pcmu], [Codec::Opus, Codec::G722, Codec::Pcmu]] {
        let mut house = House::new(&codecs);
        house.part(2, RoomSeat { muted: true, ..RoomSeat::default() });
        house.relay.tap_room(house.now(), ROOM, TapId(1));
        house.talk();
        let sound = copied(&mut house);
        assert!(sound.len().abs_diff(12_000) <= FRAME, "a second and a half: {}", sound.len());
        let last = &sound[sound.len() - 8000..];
        let is_there = |slot: usize| share(last, 8000.0, house.parties[slot].hz) > 0.05;
        assert_eq!([0, 1, 2].map(is_there), [true, true, false], "{codecs:?}");
    }
}

#[test]
fn a_pause_of_all_is_a_gap_and_its_end_is_the_end() {
    let mut house = House::new(&[Codec::Pcmu, Codec::Pcmu]);
    house.relay.tap_room(house.now(), ConferenceSid(99), TapId(9));
    house.relay.tap_room(house.now(), ROOM, TapId(1));
    house.talk();
    house.pass(3000);
    house.talk();
    let sound = copied(&mut house);
    assert!(sound.len().abs_diff(48_000) <= FRAME, "six seconds: {}", sound.len());
    assert!(sound[20_000..30_000].iter().all(|sample| sample.abs() < 10), "nothing in between");
    house.relay.untap_room(ROOM, TapId(9));
    house.frame();
    assert!(!copied(&mut house).is_empty(), "another's name");
    house.relay.untap_room(ROOM, TapId(1));
    house.talk();
    assert!(house.relay.poll_tapped().is_none());
}

#[test]
fn what_nobody_fetches_is_counted() {
    let mut house = House::new(&[Codec::Pcmu, Codec::Pcmu]);
    house.relay.tap_room(house.now(), ROOM, TapId(1));
    (0..2).for_each(|_| house.talk());
    house.relay.tap_lost(NOBODY, TapId(1));
    house.relay.tap_lost(NOBODY, TapId(2));
    house.frame();
    let last = std::iter::from_fn(|| house.relay.poll_tapped()).last().unwrap();
    assert_eq!(last.1.lost, 1);
}

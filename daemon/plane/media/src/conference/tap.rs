//! A room's tap: what all hear who do not speak, for the recorder.
//!
//! It is µ-law at 8000 Hz, whatever the room's rate, so that the recorder needs to know nothing of rooms.

use std::{collections::VecDeque, time::Instant};

use postern_audio::{
    g711,
    rate::{Converter, frame_of},
};
use postern_types::{
    ConferenceSid,
    recording::{Coding, Listener, TAPPED_MAX, TapId, Tapped, Track},
};

use super::NOBODY;
use crate::{play::SAMPLE_RATE, relay::Relay, tap::WAITING_MAX};

/// Samples of a copy: 20 ms.
const FRAME: usize = frame_of(SAMPLE_RATE);

pub(super) struct RoomTap {
    id: TapId,
    began: Instant,
    /// For a room of this rate; none when that is the recorder's own.
    converter: (u32, Option<Converter>),
    lost: u64,
}

impl RoomTap {
    fn new(id: TapId, began: Instant) -> Self {
        Self { id, began, converter: (SAMPLE_RATE, None), lost: 0 }
    }

    /// Copies the frame of a tick, at the time of that: a room where nobody sends anything does not tick, and leaves a gap.
    pub fn copy(&mut self, now: Instant, rate: u32, frame: &[i16], to: &mut VecDeque<(u32, Tapped)>) {
        if self.converter.0 != rate {
            self.converter = (rate, Converter::new(rate, SAMPLE_RATE));
        }
        let mut narrow = [0; FRAME];
        match &mut self.converter.1 {
            Some(converter) => converter.convert(frame, &mut narrow),
            None => narrow.iter_mut().zip(frame).for_each(|(to, from)| *to = *from),
        }
        if to.len() >= WAITING_MAX {
            self.lost += 1;
            return;
        }
        let mut room = [0; TAPPED_MAX];
        let len = g711::encode_ulaw(&narrow, &mut room) as u16;
        let passed = now.saturating_duration_since(self.began).as_micros() as u64;
        let timestamp = (passed * u64::from(SAMPLE_RATE) / 1_000_000) as u32;
        let (tap, lost) = (self.id, self.lost);
        let copy = Tapped {
            to: Listener::Recorder,
            tap,
            at: now,
            track: Track::Inbound,
            coding: Coding::Ulaw,
            ssrc: 0,
            timestamp,
            lost,
            len,
            room,
        };
        to.push_back((NOBODY, copy));
    }
}

impl Relay {
    /// Copies what all of a room hear, from now on.
    pub fn tap_room(&mut self, now: Instant, id: ConferenceSid, tap: TapId) {
        if let Some(room) = self.rooms.find(id).and_then(|at| self.rooms.room(at)) {
            room.tap = Some(Box::new(RoomTap::new(tap, now)));
        }
    }

    /// Copies no more.
    pub fn untap_room(&mut self, id: ConferenceSid, tap: TapId) {
        if let Some(room) = self.rooms.find(id).and_then(|at| self.rooms.room(at)) {
            room.tap.take_if(|of| of.id == tap);
        }
    }

    /// The recorder had no room for a copy of a room's.
    pub(crate) fn room_tap_lost(&mut self, tap: TapId) {
        let taps = self.rooms.rooms.iter_mut().flatten().filter_map(|room| room.tap.as_mut());
        taps.filter(|of| of.id == tap).for_each(|of| of.lost += 1);
    }
}

#[cfg(test)]
mod tests;

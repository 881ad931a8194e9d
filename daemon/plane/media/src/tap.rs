//! Taps: copies of a leg's packets for whoever records it or sends it on. A tap never changes what becomes of a packet, and never waits.
//!
//! A copied packet costs a header's reading and 700 bytes moved; a leg without taps one comparison.

use std::{
    collections::VecDeque,
    sync::mpsc::{Receiver, SyncSender, sync_channel},
    time::Instant,
};

use postern_rtp::Header;
use postern_types::{
    media::StreamSetup,
    recording::{Coding, Listener, TAPPED_MAX, TapId, Tapped, Track},
};

use crate::relay::{Relay, leg};

/// Taps of one leg at most: the router allows four recordings of a call, and four forks.
pub const TAPS_MAX: usize = 8;
/// Copies that wait in one worker for its next turn. Beyond it they are lost and counted.
pub(crate) const WAITING_MAX: usize = 2048;
/// Copies under way to a listener at once, of all workers: 200 ms of 400 legs, and 3 MB.
pub const UNDER_WAY_MAX: usize = 4096;

/// Where workers put copies: a queue for each listener, so that one who hangs costs the other nothing.
#[derive(Debug, Clone)]
pub(crate) struct Spouts {
    recorder: SyncSender<Tapped>,
    forks: SyncSender<Tapped>,
}

/// Where the listeners find them.
#[derive(Debug)]
pub struct Copies {
    /// For the recorder.
    pub recorder: Receiver<Tapped>,
    /// For the driver of forks.
    pub forks: Receiver<Tapped>,
}

/// The queues of all workers.
pub(crate) fn queues() -> (Spouts, Copies) {
    let (to_recorder, recorder) = sync_channel(UNDER_WAY_MAX);
    let (to_forks, forks) = sync_channel(UNDER_WAY_MAX);
    (Spouts { recorder: to_recorder, forks: to_forks }, Copies { recorder, forks })
}

impl Spouts {
    /// Hands a copy over; false: there was no room.
    pub fn put(&self, copy: Tapped) -> bool {
        let to = match copy.to {
            Listener::Recorder => &self.recorder,
            Listener::Fork => &self.forks,
        };
        to.try_send(copy).is_ok()
    }
}

/// The taps of a leg.
#[derive(Debug, Default)]
pub(crate) struct Taps(Vec<Tap>);

#[derive(Debug)]
struct Tap {
    id: TapId,
    to: Listener,
    inbound: bool,
    outbound: bool,
    lost: u64,
}

impl Taps {
    /// One more; false: there are too many.
    pub fn add(&mut self, id: TapId, to: Listener, inbound: bool, outbound: bool) -> bool {
        let has_room = self.0.len() < TAPS_MAX;
        if has_room {
            self.0.push(Tap { id, to, inbound, outbound, lost: 0 });
        }
        has_room
    }

    pub fn remove(&mut self, id: TapId) {
        self.0.retain(|tap| tap.id != id);
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// A copy did not reach whom it is for.
    pub fn lose(&mut self, id: TapId) {
        self.0.iter_mut().filter(|tap| tap.id == id).for_each(|tap| tap.lost += 1);
    }

    /// Copies an RTP packet in the clear, with a payload type of this leg, for each tap that wants its track.
    #[cold]
    pub fn copy(
        &mut self,
        now: Instant,
        (slot, track): (u32, Track),
        setup: Option<&StreamSetup>,
        packet: &[u8],
        to: &mut VecDeque<(u32, Tapped)>,
    ) {
        let Some(setup) = setup else { return };
        let Ok(header) = Header::parse(packet) else { return };
        // Digits and comfort noise are no voice: they leave silence.
        if setup.telephone_event == Some(header.payload_type) || header.payload_type == 13 {
            return;
        }
        let payload = header.payload(packet).unwrap_or_default();
        let format = setup.all_formats().find(|format| format.payload_type == header.payload_type);
        let coding = format.and_then(Coding::of);
        for tap in &mut self.0 {
            if !(if track == Track::Inbound { tap.inbound } else { tap.outbound }) {
                continue;
            }
            let Some(coding) = coding.filter(|_| payload.len() <= TAPPED_MAX && to.len() < WAITING_MAX) else {
                tap.lost += 1;
                continue;
            };
            let mut room = [0; TAPPED_MAX];
            room[..payload.len()].copy_from_slice(payload);
            let copy = Tapped {
                to: tap.to,
                tap: tap.id,
                at: now,
                track,
                coding,
                ssrc: header.ssrc,
                timestamp: header.timestamp,
                lost: tap.lost,
                len: payload.len() as u16,
                room,
            };
            to.push_back((slot, copy));
        }
    }
}

impl Relay {
    /// Copies what a leg says and hears, from now on; see [`Relay::poll_tapped`].
    pub fn tap(&mut self, slot: u32, tap: TapId, to: Listener, inbound: bool, outbound: bool) {
        self.lift(slot);
        if let Some(leg) = leg(&mut self.legs, slot) {
            leg.taps.get_or_insert_default().add(tap, to, inbound, outbound);
        }
    }

    /// Copies no more for this one.
    pub fn untap(&mut self, slot: u32, tap: TapId) {
        let Some(leg) = leg(&mut self.legs, slot) else { return };
        if let Some(taps) = &mut leg.taps {
            taps.remove(tap);
        }
        leg.taps.take_if(|taps| taps.is_empty());
    }

    /// The next copy for a listener, and whose it is.
    pub fn poll_tapped(&mut self) -> Option<(u32, Tapped)> {
        self.tapped.pop_front()
    }

    /// Its listener had no room for a copy.
    pub fn tap_lost(&mut self, slot: u32, tap: TapId) {
        match leg(&mut self.legs, slot) {
            Some(leg) => leg.taps.iter_mut().for_each(|taps| taps.lose(tap)),
            None => self.room_tap_lost(tap),
        }
    }
}

#[cfg(test)]
mod tests;

//! Who of a room speaks, for those who want to be told.
//!
//! The mixer knows it already: its speakers. A watched room compares them with what was told last, once a tick.

use std::collections::VecDeque;

use postern_audio::mix::{Mixer, SeatId};
use postern_types::{ConferenceSid, media::MediaEvent};

use super::Room;
use crate::{
    leg::Leg,
    relay::{Counts, Relay, leg, tell},
};

impl Room {
    /// Tells whose `speaks` is another than was told.
    pub(super) fn tell_speakers(
        &mut self,
        legs: &mut [Option<Box<Leg>>],
        events: &mut VecDeque<MediaEvent>,
        counts: &mut Counts,
        speaks: impl Fn(&Mixer, SeatId) -> bool,
    ) {
        if !self.watched {
            return;
        }
        for &slot in &self.slots {
            let Some(leg) = leg(legs, slot) else { continue };
            let Some(seat) = leg.seat.as_mut() else { continue };
            let on = speaks(&self.mixer, seat.id);
            if std::mem::replace(&mut seat.speaks, on) != on {
                tell(events, counts, MediaEvent::Speaks { leg: leg.id, on });
            }
        }
    }
}

impl Relay {
    /// Tells who of a room speaks, from now on.
    pub fn watch_room(&mut self, id: ConferenceSid) {
        if let Some(room) = self.rooms.find(id).and_then(|at| self.rooms.room(at)) {
            room.watched = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use postern_types::{CallSid, stream::Codec};

    use crate::conference::{
        RoomSeat,
        tests::{House, ROOM},
    };

    use super::*;

    fn told(house: &mut House) -> Vec<(u128, bool)> {
        let all = std::iter::from_fn(|| house.relay.poll_event());
        all.filter_map(|event| match event {
            MediaEvent::Speaks { leg: CallSid(leg), on } => Some((leg, on)),
            _ => None,
        })
        .collect()
    }

    #[test]
    fn beginning_and_end_of_speech_are_told_once_each() {
        let mut house = House::new(&[Codec::Pcmu, Codec::Opus, Codec::Pcma]);
        house.talk();
        assert_eq!(told(&mut house), [], "nobody wants to know");
        house.relay.watch_room(ROOM);
        house.relay.watch_room(ConferenceSid(99));
        house.only(&[0, 2]);
        house.talk();
        let mut begun = told(&mut house);
        begun.sort_unstable();
        assert_eq!(begun, [(0, true), (1, false), (1, true), (2, true)], "who spoke until then counts, and stopped");
        house.part(2, RoomSeat { muted: true, ..RoomSeat::default() });
        house.talk();
        assert_eq!(told(&mut house), [(2, false)]);
        // Nobody sends anything any more.
        house.pass(3000);
        assert_eq!(told(&mut house), [(0, false)]);
    }
}

//! Which leg is in which room, and which worker a room lives on: that of its first leg, to which the others move.

use std::collections::HashMap;

use postern_types::{CallSid, ConferenceSid, media::RoomPart};

use super::MediaPlane;
use crate::{
    conference::{NOBODY, RoomSeat},
    worker::Command,
};

/// Rooms and who is in them. Bounded by the legs there are.
#[derive(Debug, Default)]
pub(super) struct Seating {
    homes: HashMap<ConferenceSid, Home>,
    /// By slot.
    seats: HashMap<u32, (ConferenceSid, RoomPart)>,
}

#[derive(Debug)]
struct Home {
    worker: usize,
    legs: usize,
}

impl Seating {
    /// A slot is in no room; one without anybody is gone.
    pub fn rise(&mut self, slot: u32) {
        let Some((room, _)) = self.seats.remove(&slot) else { return };
        if let Some(home) = self.homes.get_mut(&room) {
            home.legs -= 1;
            if home.legs == 0 {
                self.homes.remove(&room);
            }
        }
    }
}

impl MediaPlane {
    pub(super) fn join(&mut self, room: ConferenceSid, leg: CallSid, part: RoomPart) {
        let Some(&slot) = self.legs.get(&leg) else { return };
        let Some(from) = self.stream(slot).map(|stream| stream.worker) else { return };
        self.bridges.retain(|&(a, b)| a != slot && b != slot);
        let seated = self.seating.seats.get(&slot).map(|(room, _)| *room);
        if seated != Some(room) {
            self.seating.rise(slot);
            self.seating.homes.entry(room).or_insert(Home { worker: from, legs: 0 }).legs += 1;
        }
        self.seating.seats.insert(slot, (room, part));
        let to = self.seating.homes.get(&room).map_or(from, |home| home.worker);
        if to != from {
            self.moves(slot, from, to);
        }
        self.seat(slot);
        self.look_for_lost();
    }

    /// Tells the worker of a leg's room, once the leg is there.
    pub(super) fn seat(&mut self, slot: u32) {
        let Some(&(room, RoomPart { muted, held, coaches })) = self.seating.seats.get(&slot) else { return };
        let coaches = coaches.map(|leg| self.legs.get(&leg).copied().unwrap_or(NOBODY));
        let there = self.stream(slot).filter(|stream| stream.held.is_none()).map(|stream| stream.worker);
        if let Some(worker) = there {
            self.tell(worker, Command::Join { room, slot, part: RoomSeat { muted, held, coaches } });
        }
    }

    pub(super) fn leave(&mut self, leg: CallSid) {
        if let Some(&slot) = self.legs.get(&leg) {
            self.seating.rise(slot);
        }
        self.say(leg, |slot| Command::Leave { slot });
    }

    /// Tells the worker of a room that is there.
    pub(super) fn tell_room(&mut self, room: ConferenceSid, command: Command) {
        if let Some(worker) = self.seating.homes.get(&room).map(|home| home.worker) {
            self.tell(worker, command);
        }
    }
}

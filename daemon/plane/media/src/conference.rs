//! Rooms: many legs, each hears all but itself.
//!
//! A leg in a room has an [`Ear`] for what its party says; the room has one clock, which ticks every 20 ms as long as packets come: each
//! ear that may be heard gives its frame to the [`Mixer`], and each leg is sent what it is to hear. Who does not speak hears the
//! common mix, and all of these with one codec and packets of 20 ms get the bytes of one encoder ([`Group`]) behind headers of their
//! own; only who speaks or is coached has frames encoded for it alone, by its [`Voice`]. A codec with memory is not reset when a leg
//! goes from one to the other: its decoder finds the way back within a frame or two.
//!
//! Sketch for 200 parties of G.711, 8 speaking: 200 frames out of jitter buffers and decoders (0.5 µs each), 30 µs of mixing, 8 + 1
//! encodings (0.5 µs), 200 headers and copies (0.2 µs): 0.2 ms of each 20, and 200 packets in and out, which cost ten times that.
//!
//! A tick allocates nothing. Coming, leaving and a new description do.

use std::{
    cmp::Reverse,
    collections::BinaryHeap,
    time::{Duration, Instant},
};

use postern_audio::{
    mix::{self, Mixer, Part, SeatId},
    rate::{Converter, FRAME_MAX, frame_of},
    tone,
};
use postern_rtp::{Header, packet::HEADER_LEN};
use postern_types::{
    ConferenceSid,
    media::{RoomSound, StreamSetup},
    recording::Track,
    stream::Format,
};

use crate::{
    ear::{Ear, Frame, Heard},
    leg::Leg,
    play::{OwnStream, SAMPLE_RATE},
    relay::{Port, Relay, Verdict, leg as leg_at, tell},
    transcode::{TICK, moment_of},
    voice::{PACKET_MAX, Voice},
};

/// Without a packet of anybody for so long the clock stops.
const GONE_AFTER: Duration = Duration::from_millis(500);
/// The packet time that encodings are shared for: what nearly all have. Others are encoded for alone.
const SHARED_PTIME_MS: u8 = 20;
/// Encodings of the common mix in one room at most: there are four codecs, and few ways to set Opus. Who would need another is encoded for alone.
const GROUPS_MAX: usize = 8;
/// The tones of coming and leaving: short, and apart from those of a telephone network.
const ENTERED: (f64, u32) = (880.0, 160);
const LEFT: (f64, u32) = (587.0, 160);

mod speech;
mod tap;

use tap::RoomTap;

/// How a leg takes part, by slots.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RoomSeat {
    /// Nobody hears it.
    pub muted: bool,
    /// Nobody hears it, and it hears nobody.
    pub held: bool,
    /// Only the leg in this slot hears it; [`NOBODY`] for one that is not here.
    pub coaches: Option<u32>,
}

/// The slot of a leg that is not there.
pub const NOBODY: u32 = u32::MAX;

/// The rooms of a worker.
pub(crate) struct Rooms {
    rooms: Vec<Option<Box<Room>>>,
    /// When which room's clock ticks; an entry whose time is not its room's is stale.
    ticks: BinaryHeap<Reverse<(Instant, u32)>>,
    going_on: Option<Speaking>,
    frame: Box<Frame>,
}

/// Where the sending of a tick is.
#[derive(Clone, Copy)]
struct Speaking {
    room: u32,
    /// Which of its legs is next.
    at: usize,
    /// That leg's voice has its frame, and may have a further packet.
    spoken: bool,
}

struct Room {
    id: ConferenceSid,
    rate: u32,
    mixer: Mixer,
    slots: Vec<u32>,
    groups: Vec<Group>,
    tap: Option<Box<RoomTap>>,
    /// Who speaks is told.
    watched: bool,
    tick: Option<Instant>,
    /// Until when something came, or sounds.
    latest: Option<Instant>,
}

/// An encoding of what all hear who do not speak.
struct Group {
    format: Format,
    voice: Voice,
    /// Its voice's numbers, which nobody sees.
    numbers: OwnStream,
    packet: Box<[u8; PACKET_MAX]>,
    /// Bytes of this tick's packet; none: not made yet. 0: a pause of the codec.
    len: Option<usize>,
}

/// A leg's part of a room.
pub(crate) struct Seat {
    room: u32,
    id: SeatId,
    part: RoomSeat,
    /// None: what it sends cannot be decoded here.
    ear: Option<Ear>,
    /// Whose packets it can share.
    group: Option<usize>,
    payload_type: u8,
    /// A frame in units of its RTP clock.
    units: u32,
    /// It was told as one who speaks.
    speaks: bool,
}

impl Rooms {
    pub fn new(slots: usize) -> Self {
        Self {
            rooms: Vec::new(),
            ticks: BinaryHeap::with_capacity(slots.min(1024)),
            going_on: None,
            frame: Box::new([0; FRAME_MAX]),
        }
    }

    pub fn next_deadline(&self) -> Option<Instant> {
        self.ticks.peek().map(|Reverse((at, _))| *at)
    }

    pub fn is_due(&self, now: Instant) -> bool {
        self.going_on.is_some() || self.next_deadline().is_some_and(|at| at <= now)
    }

    fn find(&self, id: ConferenceSid) -> Option<u32> {
        self.rooms.iter().position(|room| room.as_ref().is_some_and(|room| room.id == id)).map(|at| at as u32)
    }

    fn room(&mut self, at: u32) -> Option<&mut Room> {
        self.rooms.get_mut(at as usize)?.as_deref_mut()
    }

    /// The room of this name, made when there is none.
    fn open(&mut self, id: ConferenceSid) -> u32 {
        if let Some(at) = self.find(id) {
            return at;
        }
        let at = self.rooms.iter().position(Option::is_none).unwrap_or_else(|| {
            self.rooms.push(None);
            self.rooms.len() - 1
        });
        self.rooms[at] = Some(Box::new(Room::new(id)));
        at as u32
    }

    /// Something came into a room: its clock runs.
    fn wake(&mut self, now: Instant, at: u32, until: Instant) {
        let Some(Some(room)) = self.rooms.get_mut(at as usize) else { return };
        room.latest = Some(room.latest.map_or(until, |latest| latest.max(until)));
        if room.tick.is_none() {
            let tick = now + TICK;
            room.tick = Some(tick);
            self.ticks.push(Reverse((tick, at)));
        }
    }
}

impl Room {
    fn new(id: ConferenceSid) -> Self {
        let rate = SAMPLE_RATE;
        let mixer = Mixer::new(frame_of(rate));
        Self {
            id,
            rate,
            mixer,
            slots: Vec::new(),
            groups: Vec::new(),
            tap: None,
            watched: false,
            tick: None,
            latest: None,
        }
    }

    /// The encoding that a party of this setup can share.
    fn group_of(&mut self, setup: &StreamSetup) -> Option<usize> {
        let format = Voice::format_of(setup)?;
        let is_like = |of: &Format| {
            (&of.codec, of.clock_hz, of.channels, &of.fmtp)
                == (&format.codec, format.clock_hz, format.channels, &format.fmtp)
        };
        if let Some(at) = self.groups.iter().position(|group| is_like(&group.format)) {
            return Some(at);
        }
        if self.groups.len() >= GROUPS_MAX {
            return None;
        }
        let voice = Voice::new(&StreamSetup { ptime_ms: SHARED_PTIME_MS, ..setup.clone() }, self.rate)?;
        let (format, numbers, packet) = (format.clone(), OwnStream::new(0), Box::new([0; PACKET_MAX]));
        self.groups.push(Group { format, voice, numbers, packet, len: None });
        Some(self.groups.len() - 1)
    }
}

impl Group {
    /// This tick's payload, and the voice that made it; none: nothing need be sent.
    fn payload(&mut self, frame: &[i16]) -> Option<(&[u8], &Voice)> {
        let Self { voice, numbers, packet, len, .. } = self;
        let len = *len.get_or_insert_with(|| {
            voice.speak(frame);
            voice.poll_packet(numbers, &mut packet[..]).unwrap_or(0)
        });
        Some((self.packet.get(HEADER_LEN..len)?, &self.voice))
    }
}

impl Seat {
    /// What it needs for its party's description, at the room's rate.
    fn fit(&mut self, leg: LegView<'_>, room: &mut Room) {
        let Some(setup) = leg.setup else { return };
        if !self.ear.as_ref().is_some_and(|ear| ear.serves(setup, room.rate)) {
            self.ear = Ear::new(leg.opened, setup, room.rate);
        }
        if !leg.voice.as_ref().is_some_and(|voice| voice.serves(setup, room.rate)) {
            *leg.voice = Voice::new(setup, room.rate).map(Box::new);
        }
        let is_shared = leg.voice.as_ref().is_some_and(|voice| voice.ptime_ms() == SHARED_PTIME_MS);
        self.group = if is_shared { room.group_of(setup) } else { None };
        if let Some(format) = Voice::format_of(setup) {
            self.payload_type = format.payload_type;
            self.units = format.clock_hz / 1000 * u32::from(SHARED_PTIME_MS);
        }
    }

    /// Whether the room's clock listens to it.
    pub(crate) fn listens(&self) -> bool {
        self.is_heard() && self.ear.is_some()
    }

    fn is_heard(&self) -> bool {
        !self.part.muted && !self.part.held
    }
}

/// What of a leg its seat is fitted to.
struct LegView<'a> {
    opened: Instant,
    setup: Option<&'a StreamSetup>,
    voice: &'a mut Option<Box<Voice>>,
}

impl Leg {
    /// Its seat, and what that is fitted to.
    fn seated(&mut self) -> Option<(&mut Seat, LegView<'_>)> {
        let Self { seat, setup, voice, opened, .. } = self;
        Some((seat.as_deref_mut()?, LegView { opened: *opened, setup: setup.as_deref(), voice }))
    }
}

impl Relay {
    /// A leg enters a room, or takes part in another way.
    pub fn join(&mut self, now: Instant, id: ConferenceSid, slot: u32, part: RoomSeat) {
        if leg_at(&mut self.legs, slot).is_none() {
            return;
        }
        let at = self.rooms.open(id);
        let seated = leg_at(&mut self.legs, slot).and_then(|leg| leg.seat.as_ref()).map(|seat| seat.room);
        if seated != Some(at) {
            self.unbridge(slot);
            self.leave(slot);
            self.sit(at, slot);
        }
        let Self { legs, rooms, .. } = self;
        let Some(seat) = leg_at(legs, slot).and_then(|leg| leg.seat.as_mut()) else { return };
        let was_heard = seat.is_heard();
        seat.part = part;
        if seat.is_heard()
            && !was_heard
            && let Some(ear) = &mut seat.ear
        {
            // What waits there was said when nobody was to hear it.
            ear.clear();
        }
        rooms.wake(now, at, now);
        self.settle_room(at);
    }

    fn sit(&mut self, at: u32, slot: u32) {
        let Self { legs, rooms, .. } = self;
        let (Some(leg), Some(room)) = (leg_at(legs, slot), rooms.room(at)) else { return };
        let (id, part) = (room.mixer.join(Part::default()), RoomSeat::default());
        leg.seat = Some(Box::new(Seat {
            room: at,
            id,
            part,
            ear: None,
            group: None,
            payload_type: 0,
            units: 0,
            speaks: false,
        }));
        leg.mark_next = true;
        room.slots.push(slot);
        self.reseat(slot);
    }

    /// A leg is mixed with nobody any more.
    pub fn leave(&mut self, slot: u32) {
        let Self { legs, rooms, .. } = self;
        let Some(seat) = leg_at(legs, slot).and_then(|leg| leg.seat.take()) else { return };
        let Some(room) = rooms.room(seat.room) else { return };
        room.mixer.leave(seat.id);
        let place = room.slots.iter().position(|other| *other == slot);
        if let Some(place) = place {
            room.slots.remove(place);
            if let Some(speaking) = rooms.going_on.as_mut().filter(|speaking| speaking.room == seat.room) {
                if place < speaking.at {
                    speaking.at -= 1;
                } else if place == speaking.at {
                    speaking.spoken = false;
                }
            }
        }
        let Some(room) = rooms.room(seat.room) else { return };
        for &other in &room.slots {
            if let Some(other) = leg_at(legs, other).and_then(|leg| leg.seat.as_mut())
                && other.part.coaches == Some(slot)
            {
                // The slot may be another's soon, who is not coached.
                other.part.coaches = Some(NOBODY);
            }
        }
        if room.slots.is_empty() {
            rooms.rooms[seat.room as usize] = None;
            rooms.going_on.take_if(|speaking| speaking.room == seat.room);
        }
    }

    /// A leg that may be in a room was described anew.
    pub(crate) fn reseat(&mut self, slot: u32) {
        let Self { legs, rooms, .. } = self;
        let Some(at) = leg_at(legs, slot).and_then(|leg| leg.seat.as_ref()).map(|seat| seat.room) else { return };
        let Some(room) = rooms.room(at) else { return };
        // Two who have more than a telephone's band are worth its price, and keep it until the room is empty.
        let wide = |slot: &&u32| {
            let setup = legs.get(**slot as usize).and_then(Option::as_ref).and_then(|leg| leg.setup.as_ref());
            setup.is_some_and(|setup| setup.format.is_wideband())
        };
        if room.rate == SAMPLE_RATE && room.slots.iter().filter(wide).count() >= 2 {
            room.rate = 2 * SAMPLE_RATE;
            room.mixer = Mixer::new(frame_of(room.rate));
            room.groups.clear();
            for place in 0..room.slots.len() {
                if let Some((seat, leg)) = leg_at(legs, room.slots[place]).and_then(Leg::seated) {
                    seat.id = room.mixer.join(Part::default());
                    seat.fit(leg, room);
                }
            }
            return self.settle_room(at);
        }
        if let Some((seat, leg)) = leg_at(legs, slot).and_then(Leg::seated) {
            seat.fit(leg, room);
        }
    }

    /// Tells the mixer who takes part how.
    fn settle_room(&mut self, at: u32) {
        let Self { legs, rooms, .. } = self;
        let Some(room) = rooms.room(at) else { return };
        for &slot in &room.slots {
            let seat_of =
                |slot: u32| legs.get(slot as usize).and_then(Option::as_ref).and_then(|leg| leg.seat.as_ref());
            let Some(seat) = seat_of(slot) else { continue };
            let coached = |slot: u32| seat_of(slot).filter(|other| other.room == at).map_or(SeatId(u32::MAX), |s| s.id);
            let RoomSeat { muted, held, coaches } = seat.part;
            room.mixer.change(seat.id, Part { muted, held, coaches: coaches.map(coached) });
        }
    }

    /// All of a room hear this besides.
    pub fn chime(&mut self, now: Instant, id: ConferenceSid, sound: &RoomSound) {
        let Some(at) = self.rooms.find(id) else { return };
        let Some(room) = self.rooms.room(at) else { return };
        let made;
        let samples = match sound {
            RoomSound::Prompt(prompt) => &prompt.samples,
            RoomSound::Entered | RoomSound::Left => {
                let (hz, ms) = if *sound == RoomSound::Entered { ENTERED } else { LEFT };
                made = tone::tone(&[hz], ms);
                &made.samples
            }
        };
        let lasts = Duration::from_micros(samples.len() as u64 * 125);
        let samples = match Converter::new(SAMPLE_RATE, room.rate) {
            None => samples.as_ref().into(),
            Some(mut converter) => {
                let (from, to) = (frame_of(SAMPLE_RATE), frame_of(room.rate));
                let mut all = vec![0; samples.len().div_ceil(from) * to];
                let mut frame = [0; frame_of(SAMPLE_RATE)];
                for (part, out) in samples.chunks(from).zip(all.chunks_mut(to)) {
                    frame[..part.len()].copy_from_slice(part);
                    frame[part.len()..].fill(0);
                    converter.convert(&frame, out);
                }
                all.into()
            }
        };
        room.mixer.chime(samples);
        self.rooms.wake(now, at, now + lasts);
    }

    /// A packet of a leg in a room: audio waits for the room's clock.
    pub(crate) fn rtp_by_room(&mut self, now: Instant, slot: u32, header: &Header, packet: &[u8]) {
        let Some(seat) = leg_at(&mut self.legs, slot).and_then(|leg| leg.seat.as_mut()) else { return };
        if seat.is_heard()
            && let Some(ear) = &mut seat.ear
            && let Ok(payload) = header.payload(packet)
        {
            ear.take(now, header, payload);
        }
        let at = seat.room;
        self.rooms.wake(now, at, now);
    }

    /// Writes the next packet that a room has due. None: nothing is due. Call until then.
    pub(crate) fn poll_rooms(&mut self, now: Instant, out: &mut [u8]) -> Option<Verdict> {
        loop {
            while let Some(Speaking { room: at, at: place, spoken }) = self.rooms.going_on {
                let Some(slot) = self.rooms.room(at).and_then(|room| room.slots.get(place).copied()) else {
                    self.rooms.going_on = None;
                    break;
                };
                if !spoken && let Some(verdict) = self.say_mix(now, at, slot, out) {
                    return Some(verdict);
                }
                if self.rooms.going_on.is_some_and(|speaking| speaking.spoken) {
                    if let Some(verdict) = self.packet_of(now, slot, out) {
                        return Some(verdict);
                    }
                    self.rooms.next_place();
                }
            }
            let &Reverse((tick, at)) = self.rooms.ticks.peek().filter(|Reverse((at, _))| *at <= now)?;
            self.rooms.ticks.pop();
            self.tick_room(now, tick, at);
        }
    }

    /// A room's clock ticks: all are heard, and mixed.
    fn tick_room(&mut self, now: Instant, tick: Instant, at: u32) {
        let Self { legs, rooms, events, counts, tapped, .. } = self;
        let Rooms { rooms, ticks, going_on, frame } = rooms;
        let Some(Some(room)) = rooms.get_mut(at as usize) else { return };
        if room.tick != Some(tick) {
            return;
        }
        if room.latest.is_none_or(|latest| now.saturating_duration_since(latest) >= GONE_AFTER) {
            room.tick = None;
            room.tell_speakers(legs, events, counts, |_, _| false);
            return;
        }
        let moment = moment_of(tick, now);
        let next = moment + TICK;
        room.tick = Some(next);
        ticks.push(Reverse((next, at)));
        for &slot in &room.slots {
            let Some(leg) = leg_at(legs, slot) else { continue };
            let Some(seat) = leg.seat.as_mut().filter(|seat| seat.is_heard()) else { continue };
            let id = seat.id;
            let Some(ear) = &mut seat.ear else { continue };
            let frame = &mut frame[..ear.frame()];
            let heard = ear.listen(moment, frame);
            let told = leg.hear_tones(heard, frame, true);
            told.into_iter().for_each(|event| tell(events, counts, event));
            if heard != Heard::Nothing {
                room.mixer.put(id, frame);
            }
        }
        room.mixer.mix();
        if let Some(tap) = &mut room.tap {
            tap.copy(moment, room.rate, room.mixer.common(), tapped);
        }
        room.tell_speakers(legs, events, counts, |mixer, id| mixer.speaks(id));
        room.groups.iter_mut().for_each(|group| group.len = None);
        *going_on = Some(Speaking { room: at, at: 0, spoken: false });
    }

    /// Gives a leg its frame of the mix: as a packet of those that share it, or to its own voice. Where the sending is, moves on.
    fn say_mix(&mut self, now: Instant, at: u32, slot: u32, out: &mut [u8]) -> Option<Verdict> {
        let Self { legs, rooms, counts, tapped, .. } = self;
        let leg = leg_at(legs, slot);
        let room = rooms.rooms.get_mut(at as usize).and_then(Option::as_deref_mut);
        let (Some(leg), Some(room)) = (leg, room) else {
            rooms.next_place();
            return None;
        };
        // A prompt, or a digit of ours, keeps the stream's time itself.
        let (is_played_to, awaits_keys) = (leg.hears_us(), leg.awaits_keys(now));
        let to = leg.rtp_destination().filter(|_| !is_played_to && !awaits_keys);
        let Some(seat) = leg.seat.as_deref() else {
            rooms.next_place();
            return None;
        };
        let heard = if to.is_some() { room.mixer.hear(seat.id) } else { mix::Heard::Nothing };
        let shared = match heard {
            mix::Heard::Nothing => {
                if let Some(voice) = leg.voice.as_mut().filter(|_| !is_played_to) {
                    voice.rest(&mut leg.own);
                    leg.mark_next = true;
                }
                rooms.next_place();
                return None;
            }
            mix::Heard::Shared(frame) => match seat.group.and_then(|group| room.groups.get_mut(group)) {
                Some(group) => group.payload(frame),
                None => {
                    leg.voice.iter_mut().for_each(|voice| voice.speak(frame));
                    rooms.own_voice();
                    return None;
                }
            },
            mix::Heard::Own(frame) => {
                leg.voice.iter_mut().for_each(|voice| voice.speak(frame));
                rooms.own_voice();
                return None;
            }
        };
        let (payload_type, units) = (seat.payload_type, seat.units);
        let place =
            shared.and_then(|(payload, voice)| Some((payload, voice, out.get_mut(..HEADER_LEN + payload.len())?)));
        let Some((payload, voice, place)) = place else {
            leg.own.pass(units);
            leg.mark_next = true;
            rooms.next_place();
            return None;
        };
        let len = place.len();
        let (head, room_for) = place.split_first_chunk_mut::<HEADER_LEN>()?;
        room_for.copy_from_slice(payload);
        let begins = std::mem::replace(&mut leg.mark_next, voice.is_pausing()) && !voice.is_pausing();
        let mut header = leg.own.head(payload_type, begins);
        header.timestamp = header.timestamp.wrapping_add(voice.skipped());
        header.write(head);
        leg.own.pass(units);
        rooms.next_place();
        if let Some(taps) = &mut leg.taps {
            taps.copy(now, (slot, Track::Outbound), leg.setup.as_deref(), out.get(..len)?, tapped);
        }
        let protected = leg.crypto.protect(out, len, false).ok()?;
        let clock_hz = units * (1000 / u32::from(SHARED_PTIME_MS));
        leg.sent.update(now, header.ssrc, len - HEADER_LEN, Some((header.timestamp, clock_hz)));
        leg.sent_tally.add(1, len as u64);
        counts.packets_out += 1;
        Some(Verdict::Send { slot, port: Port::Rtp, to: to?, len: protected })
    }
}

impl Rooms {
    fn next_place(&mut self) {
        if let Some(speaking) = &mut self.going_on {
            (speaking.at, speaking.spoken) = (speaking.at + 1, false);
        }
    }

    fn own_voice(&mut self) {
        if let Some(speaking) = &mut self.going_on {
            speaking.spoken = true;
        }
    }
}

#[cfg(test)]
mod tests;

//! Two legs without a common codec: each hears the other through decoder and encoder.
//!
//! A pair that is transcoded has an [`Ear`] on each leg for what its peer says, and a [`Voice`] on each for what it hears. A leg's clock ticks every
//! 20 ms from the first packet of the other on, and stops when the other falls silent: then this pair costs nothing. A plain pair has neither
//! ears nor clocks, and its packets see one more comparison.
//!
//! Digits by telephone-event do not go through samples: their packets are sent on at once under the numbers of our own stream, those of one event with
//! one timestamp, and audio rests until the event is over.

use std::{
    cmp::Reverse,
    collections::BinaryHeap,
    time::{Duration, Instant},
};

use postern_audio::codec::libraries;
use postern_rtp::{Header, TelephoneEvent, packet::HEADER_LEN};
use postern_types::recording::Track;

use crate::{
    ear::{Ear, Frame, Heard, rate_between},
    leg::Leg,
    relay::{Port, Relay, Verdict, leg as leg_at, tell},
    typed::UNMAPPED,
    voice::Voice,
};

/// The grid of everything that is samples.
pub(crate) const TICK: Duration = Duration::from_millis(20);
/// Clocks begin on a finer grid: those of many legs are then one wake-up of their worker, and no long stretch of work.
const GRID: Duration = Duration::from_micros(2_500);
/// Later than this a clock is set anew, rather than sending a burst.
const LATE_MAX: Duration = Duration::from_millis(200);
/// An event without a further packet is over (RFC 4733 2.5.1.2 has one each 50 ms at the slowest).
const EVENT_OVER: Duration = Duration::from_millis(120);
/// Its end is sent three times, a packet time apart.
const REPEAT: Duration = Duration::from_millis(45);

/// The part of a worker that turns sound into other sound.
pub(crate) struct Transcoding {
    /// When which leg's clock ticks; an entry whose time is not its leg's is stale.
    pub(crate) ticks: BinaryHeap<Reverse<(Instant, u32)>>,
    /// Where the grid begins: with the first tick.
    epoch: Option<Instant>,
    /// A leg that may have a further packet of its tick.
    pub(crate) going_on: Option<u32>,
    pub(crate) frame: Box<Frame>,
    /// Frames that were turned since the start.
    pub frames: u64,
}

/// What a leg of a transcoded pair has, besides the voice that prompts use too.
pub(crate) struct Ways {
    /// What its peer says.
    ear: Ear,
    /// When its clock ticks next; none: the other is silent.
    tick: Option<Instant>,
    event: Option<EventOut>,
}

/// A digit on its way out.
#[derive(Debug, Clone, Copy)]
struct EventOut {
    ssrc: u32,
    /// The sender's timestamp, and ours.
    from: u32,
    to: u32,
    /// Audio rests until then.
    until: Instant,
}

impl Transcoding {
    pub fn new(slots: usize) -> Self {
        Self {
            ticks: BinaryHeap::with_capacity(2 * slots),
            epoch: None,
            going_on: None,
            frame: Box::new([0; postern_audio::rate::FRAME_MAX]),
            frames: 0,
        }
    }

    pub fn next_deadline(&self) -> Option<Instant> {
        self.ticks.peek().map(|Reverse((at, _))| *at)
    }

    /// When a clock ticks that begins now.
    pub fn first_tick(&mut self, now: Instant) -> Instant {
        let earliest = now + TICK;
        let epoch = *self.epoch.get_or_insert(earliest);
        let since = earliest.saturating_duration_since(epoch).as_nanos();
        let steps = since.div_ceil(GRID.as_nanos());
        epoch + Duration::from_nanos((steps * GRID.as_nanos()) as u64)
    }

    pub fn is_due(&self, now: Instant) -> bool {
        self.going_on.is_some() || self.next_deadline().is_some_and(|at| at <= now)
    }
}

/// The moment whose sound a tick is: its own, however late the worker comes to it, so that a late worker does not look like a late network.
pub(crate) fn moment_of(tick: Instant, now: Instant) -> Instant {
    if now.saturating_duration_since(tick) > LATE_MAX { now } else { tick }
}

impl Leg {
    /// Whether what this leg's peer sends cannot be sent to the other as it is.
    fn needs_other_codec(&self) -> bool {
        if self.strays {
            return true;
        }
        self.setup.as_ref().is_some_and(|setup| self.types.of(setup.format.payload_type).mapped == UNMAPPED)
    }

    /// Gives the leg what it needs for an exchange at this rate; false when its codec is none of ours.
    fn take_ways(&mut self, rate: u32) -> bool {
        let Some(setup) = self.setup.as_deref() else { return false };
        if !self.voice.as_ref().is_some_and(|voice| voice.serves(setup, rate)) {
            self.voice = Voice::new(setup, rate).map(Box::new);
        }
        if !self.ways.as_ref().is_some_and(|ways| ways.ear.serves(setup, rate)) {
            let ear = Ear::new(self.opened, setup, rate);
            self.ways = ear.map(|ear| Box::new(Ways { ear, tick: None, event: None }));
        }
        self.ways.is_some() && self.voice.is_some()
    }

    /// Speaks no more through samples.
    pub(crate) fn leave_ways(&mut self) {
        self.ways = None;
    }
}

impl Relay {
    /// Decides whether a pair is transcoded; its maps are made.
    pub(crate) fn settle_ways(&mut self, a: u32, b: u32) {
        let [Some(one), Some(other)] = [a, b].map(|slot| self.legs.get(slot as usize).and_then(Option::as_deref))
        else {
            return;
        };
        let (Some(mine), Some(theirs)) = (&one.setup, &other.setup) else { return };
        let has_tones = one.inband.is_some() || other.inband.is_some();
        let is_needed = (has_tones || one.needs_other_codec() || other.needs_other_codec())
            && mine.format.is_codable(libraries())
            && theirs.format.is_codable(libraries());
        let rate = rate_between(mine, theirs);
        let mut are_ready = is_needed;
        for slot in [a, b] {
            are_ready = are_ready && leg_at(&mut self.legs, slot).is_some_and(|leg| leg.take_ways(rate));
        }
        if !are_ready {
            for slot in [a, b] {
                leg_at(&mut self.legs, slot).into_iter().for_each(Leg::leave_ways);
            }
        }
    }

    /// A packet came in a format that the other leg lacks, though both have others in common: the peer may send what it offered or answered, so
    /// from here on the pair is transcoded. False when the format is none of ours.
    #[cold]
    pub(crate) fn follow_stray(&mut self, slot: u32, to: u32, payload_type: u8) -> bool {
        let Some(leg) = leg_at(&mut self.legs, slot) else { return false };
        let formats = leg.setup.iter().flat_map(|setup| &setup.formats);
        let codable =
            formats.into_iter().any(|format| format.payload_type == payload_type && format.is_codable(libraries()));
        if codable {
            leg.strays = true;
            self.settle_ways(slot, to);
        }
        codable && leg_at(&mut self.legs, slot).is_some_and(|leg| leg.ways.is_some())
    }

    /// A packet of a transcoded pair: audio waits for the other leg's clock; a digit goes on at once, if the other takes digits.
    pub(crate) fn rtp_by_ways(
        &mut self,
        now: Instant,
        slots: (u32, u32),
        header: Header,
        is_event: bool,
        (room, len): (&mut [u8], usize),
    ) -> Option<Verdict> {
        let (from, to) = slots;
        let leg = leg_at(&mut self.legs, from)?;
        if is_event {
            let mapped = leg.types.of(header.payload_type).mapped;
            if mapped == UNMAPPED {
                self.counts.dropped += 1;
                self.counts.unmapped += 1;
                return None;
            }
            return self.event_by_ways(now, to, header, mapped, room, len);
        }
        let payload = header.payload(room.get(..len)?).ok()?;
        leg.ways.as_mut()?.ear.take(now, &header, payload);
        let other = leg_at(&mut self.legs, to)?;
        let ways = other.ways.as_mut()?;
        if ways.tick.is_none() {
            let at = self.transcoding.first_tick(now);
            ways.tick = Some(at);
            other.mark_next = true;
            self.transcoding.ticks.push(Reverse((at, to)));
        }
        None
    }

    fn event_by_ways(
        &mut self,
        now: Instant,
        slot: u32,
        header: Header,
        mapped: u8,
        room: &mut [u8],
        len: usize,
    ) -> Option<Verdict> {
        let leg = leg_at(&mut self.legs, slot)?;
        let destination = leg.rtp_destination().filter(|_| !leg.hears_us());
        let now_at = leg.own.timestamp();
        let ways = leg.ways.as_mut()?;
        let ended = TelephoneEvent::parse(header.payload(&room[..len]).ok()?).is_some_and(|event| event.end);
        let until = now + if ended { REPEAT } else { EVENT_OVER };
        let event = match ways.event {
            Some(event) if event.ssrc == header.ssrc && event.from == header.timestamp => EventOut { until, ..event },
            // A late packet of a digit before.
            Some(event) if event.ssrc == header.ssrc && (header.timestamp.wrapping_sub(event.from) as i32) < 0 => {
                self.counts.dropped += 1;
                return None;
            }
            _ => EventOut { ssrc: header.ssrc, from: header.timestamp, to: now_at, until },
        };
        ways.event = Some(event);
        let Some(to) = destination else {
            self.counts.dropped += 1;
            return None;
        };
        // The payload moves up behind a header of our own, without what the sender's carried.
        let payload = header.payload(&room[..len]).ok()?.len();
        room.copy_within(header.payload_start..header.payload_start + payload, HEADER_LEN);
        let mut head = leg.own.head(mapped, header.marker);
        head.timestamp = event.to;
        head.write(room.first_chunk_mut()?);
        let len = HEADER_LEN + payload;
        let protected = leg.crypto.protect(room, len, false).ok()?;
        leg.sent.update(now, head.ssrc, payload, None);
        leg.sent_tally.add(1, len as u64);
        Some(Verdict::Send { slot, port: Port::Rtp, to, len: protected })
    }

    /// Writes the next packet that a tick has due. None: nothing is due. Call until then.
    pub(crate) fn poll_ways(&mut self, now: Instant, room: &mut [u8]) -> Option<Verdict> {
        loop {
            if let Some(slot) = self.transcoding.going_on {
                if let Some(verdict) = self.packet_of(now, slot, room) {
                    return Some(verdict);
                }
                self.transcoding.going_on = None;
            }
            let &Reverse((at, slot)) = self.transcoding.ticks.peek().filter(|Reverse((at, _))| *at <= now)?;
            self.transcoding.ticks.pop();
            self.tick(now, at, slot);
        }
    }

    /// A leg's clock ticks: 20 ms of the other are heard and spoken.
    fn tick(&mut self, now: Instant, at: Instant, slot: u32) {
        let moment = moment_of(at, now);
        let Self { legs, transcoding, events, counts, .. } = self;
        let Some((partner, cuts)) = leg_at(legs, slot)
            .filter(|leg| leg.ways.as_ref().is_some_and(|ways| ways.tick == Some(at)))
            .and_then(|leg| Some((leg.partner?, leg.is_told_otherwise())))
        else {
            return self.tick_alone(now, at, slot);
        };
        let heard = leg_at(legs, partner).and_then(|other| {
            let ways = other.ways.as_mut()?;
            let frame = &mut transcoding.frame[..ways.ear.frame()];
            let heard = ways.ear.listen(moment, frame);
            let told = other.hear_tones(heard, frame, cuts);
            told.into_iter().for_each(|event| tell(events, counts, event));
            Some((heard, frame.len()))
        });
        let Some(leg) = leg_at(legs, slot) else { return };
        let awaits_keys = leg.awaits_keys(now);
        let hears_us = leg.hears_us();
        let can_hear = !hears_us && leg.rtp_destination().is_some() && !awaits_keys;
        let (Some(ways), Some(voice)) = (leg.ways.as_mut(), leg.voice.as_mut()) else { return };
        let Some((_, len)) = heard.filter(|(heard, _)| *heard != Heard::Nothing) else {
            ways.tick = None;
            return;
        };
        transcoding.frames += 1;
        let next = moment + TICK;
        ways.tick = Some(next);
        transcoding.ticks.push(Reverse((next, slot)));
        let in_event = ways.event.is_some_and(|event| now < event.until);
        if !can_hear || in_event {
            // A prompt, or a digit of ours, keeps the stream's time itself.
            if !hears_us {
                voice.rest(&mut leg.own);
            }
            return;
        }
        voice.speak(&transcoding.frame[..len]);
        transcoding.going_on = Some(slot);
    }

    /// The next packet of what the leg's voice was given.
    pub(crate) fn packet_of(&mut self, now: Instant, slot: u32, room: &mut [u8]) -> Option<Verdict> {
        let leg = leg_at(&mut self.legs, slot)?;
        let to = leg.rtp_destination()?;
        let voice = leg.voice.as_mut()?;
        if std::mem::take(&mut leg.mark_next) {
            voice.mark();
        }
        let len = voice.poll_packet(&mut leg.own, room)?;
        let head = Header::parse(room.get(..len)?).ok()?;
        let clock_hz = voice.clock_hz();
        if let Some(taps) = &mut leg.taps {
            taps.copy(now, (slot, Track::Outbound), leg.setup.as_deref(), room.get(..len)?, &mut self.tapped);
        }
        let protected = leg.crypto.protect(room, len, false).ok()?;
        leg.sent.update(now, head.ssrc, len - HEADER_LEN, Some((head.timestamp, clock_hz)));
        leg.sent_tally.add(1, len as u64);
        self.counts.packets_out += 1;
        Some(Verdict::Send { slot, port: Port::Rtp, to, len: protected })
    }
}

#[cfg(test)]
mod tests;

//! A conference's sum: many parties in, each hears all but itself.
//!
//! Only who speaks costs anything: a frame whose party is muted, held or silent is looked at once and never added. Who
//! does not speak hears the one common mix, so that it is encoded once for all of them.
//!
//! ```text
//! each 20 ms:  put(seat, frame)* -> mix() -> hear(seat) for every seat
//! ```
//!
//! Sketch for 200 parties of which 8 speak, 160 samples a frame: 200 levels of 160 multiplications, 8 additions to the sum and 8
//! differences, 45,000 operations or about 30 µs of 20 ms. What is left is a packet for each.

use std::sync::Arc;

/// Speakers that are heard at once: more than eight at a time nobody can follow, and each adds its noise.
pub const SPEAKERS_MAX: usize = 8;
/// Samples of a frame at most: 20 ms at 48 kHz.
pub const FRAME_MAX: usize = 960;

/// Mean square from which a frame is speech, -46 dB below full scale: a quiet talker is 20 dB louder, the noise of an office line softer.
const SPEECH: u64 = 26_000;
/// A speaker stays one down to here, 6 dB below.
const STILL_SPEECH: u64 = SPEECH / 4;
/// Frames that a speaker stays after its last loud one, 400 ms: word ends and the pauses between words belong to it.
const HANGOVER: u8 = 20;
/// Who speaks already is taken for louder than it is by this factor (3 dB), so that two of equal level do not take turns.
const INCUMBENT: u64 = 2;

/// Names a place in a mixer; given again after [`Mixer::leave`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SeatId(pub u32);

/// How a party takes part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Part {
    /// Nobody hears it.
    pub muted: bool,
    /// Nobody hears it, and it hears nothing of the others.
    pub held: bool,
    /// Only this one hears it, whether it is there or not.
    pub coaches: Option<SeatId>,
}

/// What a party hears in a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heard<'a> {
    /// Nothing: it is on hold.
    Nothing,
    /// What all hear who do not speak: one frame for all of them.
    Shared(&'a [i16]),
    /// A frame of its own.
    Own(&'a [i16]),
}

/// Mixes one room. Allocates when a party comes, never for a frame.
#[derive(Debug)]
pub struct Mixer {
    frame: usize,
    seats: Vec<Option<Seat>>,
    /// Seats that put a frame since the last mix.
    heard: Vec<u32>,
    /// Who is in the sum, loudest first.
    speakers: Vec<u32>,
    /// Who coaches, whether it speaks or not. Few, or none.
    coaches: Vec<u32>,
    sum: Box<[i32]>,
    shared: Box<[i16]>,
    own: Box<[i16]>,
    chime: Option<(Arc<[i16]>, usize)>,
}

#[derive(Debug)]
struct Seat {
    part: Part,
    frame: Box<[i16]>,
    /// It put a frame since the last mix.
    fresh: bool,
    /// Mean square of the latest frames, smoothed.
    level: u64,
    /// Frames that it stays a speaker.
    hangover: u8,
    in_sum: bool,
}

impl Mixer {
    /// For frames of this many samples, at most [`FRAME_MAX`].
    pub fn new(frame: usize) -> Self {
        let frame = frame.clamp(1, FRAME_MAX);
        Self {
            frame,
            seats: Vec::new(),
            heard: Vec::new(),
            speakers: Vec::with_capacity(SPEAKERS_MAX),
            coaches: Vec::new(),
            sum: vec![0; frame].into(),
            shared: vec![0; frame].into(),
            own: vec![0; frame].into(),
            chime: None,
        }
    }

    /// Takes a party in.
    pub fn join(&mut self, part: Part) -> SeatId {
        let frame = vec![0; self.frame].into();
        let seat = Seat { part: Part::default(), frame, fresh: false, level: 0, hangover: 0, in_sum: false };
        let at = match self.seats.iter().position(Option::is_none) {
            Some(at) => at,
            None => {
                self.seats.push(None);
                self.heard.reserve(self.seats.len());
                self.seats.len() - 1
            }
        };
        self.seats[at] = Some(seat);
        let id = SeatId(at as u32);
        self.change(id, part);
        id
    }

    /// Changes how it takes part, from the next frame on.
    pub fn change(&mut self, id: SeatId, part: Part) {
        let Some(seat) = self.seats.get_mut(id.0 as usize).and_then(Option::as_mut) else { return };
        seat.part = part;
        if part.muted || part.held {
            (seat.hangover, seat.level, seat.fresh) = (0, 0, false);
        }
        self.coaches.retain(|coach| *coach != id.0);
        if part.coaches.is_some() {
            self.coaches.push(id.0);
        }
    }

    /// It is gone. Who coached it is heard by nobody.
    pub fn leave(&mut self, id: SeatId) {
        if let Some(place) = self.seats.get_mut(id.0 as usize) {
            *place = None;
        }
        for list in [&mut self.heard, &mut self.speakers, &mut self.coaches] {
            list.retain(|seat| *seat != id.0);
        }
        for seat in self.seats.iter_mut().flatten() {
            if seat.part.coaches == Some(id) {
                // The number may be given again, to somebody who is not coached. A place that no room has stands for nobody.
                seat.part.coaches = Some(SeatId(u32::MAX));
            }
        }
    }

    /// Parties.
    pub fn len(&self) -> usize {
        self.seats.iter().flatten().count()
    }

    /// Whether nobody is there.
    pub fn is_empty(&self) -> bool {
        self.seats.iter().all(Option::is_none)
    }

    /// Who is in the sum, loudest first.
    pub fn speakers(&self) -> impl Iterator<Item = SeatId> + '_ {
        self.speakers.iter().map(|seat| SeatId(*seat))
    }

    /// All hear this besides, from the next frame on; a chime that sounds already ends.
    pub fn chime(&mut self, samples: Arc<[i16]>) {
        self.chime = Some((samples, 0));
    }

    /// A party's audio of this frame; a short one is filled up with silence, what is too long is cut.
    pub fn put(&mut self, id: SeatId, samples: &[i16]) {
        let Some(seat) = self.seats.get_mut(id.0 as usize).and_then(Option::as_mut) else { return };
        if seat.part.muted || seat.part.held || std::mem::replace(&mut seat.fresh, true) {
            return;
        }
        let taken = samples.len().min(seat.frame.len());
        seat.frame[..taken].copy_from_slice(&samples[..taken]);
        seat.frame[taken..].fill(0);
        let level = mean_square(&seat.frame);
        // Up at once, down by and by: the first syllable is not lost, the rank does not flicker.
        seat.level = if level > seat.level { level } else { (7 * seat.level + level) / 8 };
        let bound = if seat.hangover > 0 { STILL_SPEECH } else { SPEECH };
        seat.hangover = if level >= bound { HANGOVER } else { seat.hangover.saturating_sub(1) };
        self.heard.push(id.0);
    }

    /// Makes the frame that all hear. What was put before belongs to it; who put nothing is silent.
    pub fn mix(&mut self) {
        let Self { seats, heard, speakers, .. } = self;
        speakers.clear();
        for &id in heard.iter() {
            let Some(seat) = seats[id as usize].as_mut() else { continue };
            if seat.hangover == 0 || seat.part.coaches.is_some() {
                seat.in_sum = false;
                continue;
            }
            let rank = |seat: &Seat| seat.level * if seat.in_sum { INCUMBENT } else { 1 };
            let mine = rank(seat);
            let at = speakers.iter().position(|other| seats[*other as usize].as_ref().is_some_and(|o| rank(o) < mine));
            let at = at.unwrap_or(speakers.len());
            if at < SPEAKERS_MAX {
                speakers.truncate(SPEAKERS_MAX - 1);
                speakers.insert(at, id);
            }
        }
        for &id in heard.iter() {
            if let Some(seat) = seats[id as usize].as_mut() {
                seat.in_sum = speakers.contains(&id);
                seat.fresh = false;
            }
        }
        // A coach's frame is kept for whom it coaches, until the next is put.
        for &id in &self.coaches {
            if let Some(seat) = seats[id as usize].as_mut().filter(|_| !heard.contains(&id)) {
                seat.frame.fill(0);
                seat.hangover = 0;
            }
        }
        heard.clear();
        self.sum.fill(0);
        for &id in &self.speakers {
            if let Some(seat) = &self.seats[id as usize] {
                self.sum.iter_mut().zip(&seat.frame).for_each(|(sum, sample)| *sum += i32::from(*sample));
            }
        }
        if let Some((samples, at)) = &mut self.chime {
            self.sum.iter_mut().zip(&samples[*at..]).for_each(|(sum, sample)| *sum += i32::from(*sample));
            *at += self.frame;
            if *at >= samples.len() {
                self.chime = None;
            }
        }
        self.shared.iter_mut().zip(&self.sum).for_each(|(out, sum)| *out = clipped(*sum));
    }

    /// Whether a party is among them.
    pub fn speaks(&self, id: SeatId) -> bool {
        self.speakers.contains(&id.0)
    }

    /// What all hear of the latest mix who do not speak.
    pub fn common(&self) -> &[i16] {
        &self.shared
    }

    /// What a party hears of the latest mix.
    pub fn hear(&mut self, id: SeatId) -> Heard<'_> {
        let Self { seats, speakers, coaches, sum, shared, own, .. } = self;
        let Some(Some(seat)) = seats.get(id.0 as usize) else { return Heard::Nothing };
        if seat.part.held {
            return Heard::Nothing;
        }
        let speaks = speakers.contains(&id.0);
        let whispers = |coach: &&u32| {
            let coach = seats[**coach as usize].as_ref();
            coach.is_some_and(|coach| coach.part.coaches == Some(id) && coach.hangover > 0)
        };
        if !speaks && !coaches.iter().any(|coach| whispers(&coach)) {
            return Heard::Shared(shared);
        }
        for (n, out) in own.iter_mut().enumerate() {
            *out = clipped(sum[n] - if speaks { i32::from(seat.frame[n]) } else { 0 });
        }
        for coach in coaches.iter().filter(whispers) {
            if let Some(coach) = &seats[*coach as usize] {
                own.iter_mut().zip(&coach.frame).for_each(|(out, sample)| *out = out.saturating_add(*sample));
            }
        }
        Heard::Own(own)
    }
}

/// A sum as a sample: what is too loud is as loud as can be, and never wraps.
fn clipped(sum: i32) -> i16 {
    sum.clamp(i32::from(i16::MIN), i32::from(i16::MAX)) as i16
}

fn mean_square(samples: &[i16]) -> u64 {
    let sum: u64 = samples.iter().map(|s| u64::from(s.unsigned_abs()).pow(2)).sum();
    sum / samples.len().max(1) as u64
}

#[cfg(test)]
mod tests;

//! A recording's time line: packets of one or two tracks in, bytes of a WAV file out, aligned in time.
//!
//! A track's packets are placed by their RTP timestamps, and the tracks to each other by when packets came: what was lost, never
//! sent or still under way after [`DELAY`] is silence. Samples are 16 bits at 8000 Hz. The tape also knows how long the first
//! track has been silent, and where speech begins and ends, for `timeout` and `trim` of documents.
//!
//! ```text
//! put(track, at, ...)*  ->  run(now, bytes)  ->  append bytes, overwrite the header    ...    finish() -> cut, last header
//! ```
//!
//! A minute is 0.96 MB a channel.

use std::time::{Duration, Instant};

use crate::resample::RATE;

/// How long the tape waits for what is under way: jitter beyond it sounds as a gap.
pub const DELAY: Duration = Duration::from_millis(240);
/// Bytes of the header of a file with 16-bit samples.
pub const HEADER_LEN: usize = 44;
/// Bytes of samples of a file at most, that its 32-bit lengths can tell: 37 hours of one channel.
pub const DATA_MAX: u64 = u32::MAX as u64 - 1024;

/// Samples that a track may be ahead of what was written: what claims to lie farther in the future is taken for a new beginning.
const AHEAD_MAX: usize = 2 * RATE as usize;
/// A packet whose timestamp puts it farther than this from its arrival is placed by its arrival: clocks drift, streams start anew.
const DRIFT_MAX: i64 = RATE as i64 / 4;
/// Mean square from which 20 ms are sound, -50 dB below full scale.
const SOUND: u64 = 10_400;
/// Samples that are judged together.
const FRAME: usize = RATE as usize / 50;
/// What stays of the silence before and after speech when it is trimmed.
const MARGIN: u64 = RATE as u64 / 10;

/// How a tape is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    /// The file's channels: the two tracks side by side, or all in one.
    pub stereo: bool,
    /// Silence at the beginning and the end is left out.
    pub trim: bool,
    /// Seconds after which it is full; 0: only the file's bound counts.
    pub seconds_max: u32,
}

/// The header of a WAV file with 16-bit samples at 8000 Hz and so many bytes of them.
pub fn header(channels: u16, data: u32) -> [u8; HEADER_LEN] {
    let mut out = [0; HEADER_LEN];
    let block = 2 * channels;
    let parts: [&[u8]; 12] = [
        b"RIFF",
        &data.saturating_add(HEADER_LEN as u32 - 8).to_le_bytes(),
        b"WAVEfmt ",
        &16_u32.to_le_bytes(),
        &1_u16.to_le_bytes(),
        &channels.to_le_bytes(),
        &RATE.to_le_bytes(),
        &(RATE * u32::from(block)).to_le_bytes(),
        &block.to_le_bytes(),
        &16_u16.to_le_bytes(),
        b"data",
        &data.to_le_bytes(),
    ];
    let mut at = 0;
    for part in parts {
        out[at..at + part.len()].copy_from_slice(part);
        at += part.len();
    }
    out
}

/// One recording.
#[derive(Debug)]
pub struct Tape {
    layout: Layout,
    began: Instant,
    /// Samples since the beginning that are past, recorded or not.
    past: u64,
    /// Samples of a channel that were written.
    written: u64,
    /// Where the latest sound of any track ended, of the written ones; none before the first.
    sounded: Option<u64>,
    /// Since when the first track is silent.
    quiet_since: u64,
    tracks: [Track; 2],
    pauses: Option<Pause>,
    until: Option<u64>,
}

/// What a pause leaves behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pause {
    /// Nothing.
    Skip,
    /// Silence of its length.
    Silence,
}

#[derive(Debug, Default)]
struct Track {
    /// What is not written yet, from `past` on.
    waiting: Vec<i16>,
    /// A stream, and where a timestamp of it lies.
    anchor: Option<(u32, u32, i64)>,
}

impl Tape {
    /// Begins now.
    pub fn new(now: Instant, layout: Layout) -> Self {
        Self {
            layout,
            began: now,
            past: 0,
            written: 0,
            sounded: None,
            quiet_since: 0,
            tracks: Default::default(),
            pauses: None,
            until: None,
        }
    }

    /// The file's channels.
    pub fn channels(&self) -> u16 {
        if self.layout.stereo { 2 } else { 1 }
    }

    /// Places a packet: the stream and the timestamp that it says, and its samples. Track 0 or 1.
    pub fn put(&mut self, track: usize, at: Instant, ssrc: u32, timestamp: u32, samples: &[i16]) {
        let came = position(at.saturating_duration_since(self.began)).cast_signed();
        let past = self.past.cast_signed();
        let Some(track) = self.tracks.get_mut(track) else { return };
        let told = track
            .anchor
            .filter(|(stream, ..)| *stream == ssrc)
            .map(|(_, first, place)| place + i64::from(timestamp.wrapping_sub(first).cast_signed()));
        let place = match told {
            Some(told) if (told - came).abs() <= DRIFT_MAX => told,
            _ => came,
        };
        track.anchor = Some((ssrc, timestamp, place));
        // What comes too late for its place is lost, the part of it that does not is not.
        let late = usize::try_from((past - place).max(0)).unwrap_or(usize::MAX);
        let Some(samples) = samples.get(late..) else { return };
        let start = usize::try_from((place - past).max(0)).unwrap_or(usize::MAX);
        let end = start.saturating_add(samples.len());
        if end > AHEAD_MAX {
            return;
        }
        if track.waiting.len() < end {
            track.waiting.resize(end, 0);
        }
        track.waiting[start..end].copy_from_slice(samples);
    }

    /// Nothing of what comes from now on is recorded, until [`Tape::resume`].
    pub fn pause(&mut self, now: Instant, how: Pause, out: &mut Vec<u8>) {
        self.run_to(self.position(now), out);
        self.pauses = Some(how);
    }

    /// Goes on after a pause.
    pub fn resume(&mut self, now: Instant, out: &mut Vec<u8>) {
        self.run_to(self.position(now), out);
        self.pauses = None;
        self.quiet_since = self.past;
    }

    /// What comes later does not belong to it: it is over when [`Tape::is_over`] says so.
    pub fn stop(&mut self, now: Instant) {
        let at = self.position(now);
        self.until = Some(self.until.map_or(at, |until| until.min(at)));
    }

    /// Adds to `out` the samples that are due.
    pub fn run(&mut self, now: Instant, out: &mut Vec<u8>) {
        let due = position(now.saturating_duration_since(self.began)).saturating_sub(position(DELAY));
        self.run_to(self.until.map_or(due, |until| due.min(until)), out);
    }

    /// Whether nothing more will come: it was stopped and all is written, or it is full.
    pub fn is_over(&self) -> bool {
        self.is_full() || self.until.is_some_and(|until| self.past >= until)
    }

    /// Whether it is as long as it may be.
    pub fn is_full(&self) -> bool {
        self.written >= self.written_max()
    }

    /// Since when the first track has been silent.
    pub fn quiet_for(&self) -> Duration {
        duration(self.past.saturating_sub(self.quiet_since))
    }

    /// Whether there was any sound at all.
    pub fn has_sound(&self) -> bool {
        self.sounded.is_some()
    }

    /// How long the recording is.
    pub fn length(&self) -> Duration {
        duration(self.written)
    }

    /// Bytes of samples of the finished file: with `trim` those up to the last sound. None at all when there was no sound.
    pub fn finish(&mut self) -> u64 {
        if self.layout.trim {
            self.written = self.sounded.map_or(0, |end| self.written.min(end + MARGIN));
        }
        self.written * u64::from(self.channels()) * 2
    }

    fn written_max(&self) -> u64 {
        let bound = DATA_MAX / 2 / u64::from(self.channels());
        match self.layout.seconds_max {
            0 => bound,
            seconds => bound.min(u64::from(seconds) * u64::from(RATE)),
        }
    }

    fn position(&self, now: Instant) -> u64 {
        let at = position(now.saturating_duration_since(self.began));
        self.until.map_or(at, |until| at.min(until))
    }

    fn run_to(&mut self, end: u64, out: &mut Vec<u8>) {
        while self.past < end && !self.is_full() {
            let len = (end - self.past).min(FRAME as u64) as usize;
            let mut frames = [[0; FRAME]; 2];
            for (frame, track) in frames.iter_mut().zip(&mut self.tracks) {
                let there = track.waiting.len().min(len);
                frame[..there].copy_from_slice(&track.waiting[..there]);
                track.waiting.drain(..there);
            }
            self.past += len as u64;
            let sounds = frames.each_ref().map(|frame| is_sound(&frame[..len]));
            if sounds[0] || self.pauses.is_some() {
                self.quiet_since = self.past;
            }
            match self.pauses {
                Some(Pause::Skip) => continue,
                Some(Pause::Silence) => frames = [[0; FRAME]; 2],
                None if sounds[0] || sounds[1] => self.sounded = Some(self.written + len as u64),
                None => {}
            }
            if self.layout.trim && self.sounded.is_none() {
                continue;
            }
            let room = (self.written_max() - self.written).min(len as u64) as usize;
            for (one, other) in frames[0].iter().zip(&frames[1]).take(room) {
                if self.layout.stereo {
                    out.extend(one.to_le_bytes());
                    out.extend(other.to_le_bytes());
                } else {
                    out.extend(one.saturating_add(*other).to_le_bytes());
                }
            }
            self.written += room as u64;
        }
    }
}

fn is_sound(samples: &[i16]) -> bool {
    let sum: u64 = samples.iter().map(|s| u64::from(s.unsigned_abs()).pow(2)).sum();
    sum >= SOUND * samples.len() as u64 && sum > 0
}

fn position(after: Duration) -> u64 {
    (after.as_micros() * u128::from(RATE) / 1_000_000) as u64
}

fn duration(samples: u64) -> Duration {
    Duration::from_micros(samples * 1_000_000 / u64::from(RATE))
}

#[cfg(test)]
mod tests;

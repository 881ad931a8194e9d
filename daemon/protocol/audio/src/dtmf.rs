//! Digits as tones in the audio (ITU-T Q.23): heard, and made.
//!
//! Each 8 ms the [`Detector`] looks at the last 24 ms through a Hann window, with a Goertzel filter for each of the eight frequencies. A row and a
//! column that hold nearly all of the energy, in balance, are a digit's two tones if they are also at their frequencies: how far off each is, the turn of
//! its phase since the look before tells to a few Hz, which the filters of so short a window alone could not. Three such looks in a row begin a digit, so
//! about 36 ms of tone are needed; half an interruption of speech never passes for that. It ends with 24 ms without energy, or when what is heard
//! has not been its tones for a while.
//!
//! ITU-T Q.24 wants from administrations' tables: frequencies accepted within 1.5 % and refused beyond 3.5 %, tones from 40 ms on and pauses from 40 ms on,
//! interruptions of 10 ms bridged, a column 4 dB above its row or 8 dB below it accepted, and levels down to -25 dBm. All of it is in the tests.

use std::{f64::consts::TAU, sync::LazyLock};

/// Samples a second that it hears.
pub const RATE: u32 = 8000;
/// Samples of a frame: 20 ms.
pub const FRAME: usize = 160;

/// Between two looks: the phase tells a frequency within 62 Hz of a tone's, more than 3.5 % of the highest.
const HOP: usize = 64;
const HOP_MS: u32 = 8;
/// What a look sees: next to each other the tones are 73 Hz apart, where this window hears 24 dB less.
const WINDOW: usize = 3 * HOP;
/// Rows, then columns, Hz.
const TONES: [f64; 8] = [697.0, 770.0, 852.0, 941.0, 1209.0, 1336.0, 1477.0, 1633.0];
const DIGITS: [[char; 4]; 4] = [['1', '2', '3', 'A'], ['4', '5', '6', 'B'], ['7', '8', '9', 'C'], ['*', '0', '#', 'D']];

/// A tone's deviation at most: in the middle between what must be accepted and what must not.
const OFF_MAX: f32 = 0.025;
/// Looks that begin a digit.
const LOOKS: u32 = 3;
/// The share of both tones in all that is heard, for a beginning: noise 11 dB below them is no matter.
const PURE: f32 = 0.92;
/// The same for going on: an interruption of 10 ms takes away half.
const PURE_ENOUGH: f32 = 0.4;
/// Power of a tone of -29 dBm0, a sine at +3.14 dBm0 being full scale: what comes with less is crosstalk.
const FAINTEST: f32 = 3.25e5;
/// Column to row, as powers: 5.5 dB, and -10 dB.
const COLUMN_ABOVE: f32 = 3.55;
const COLUMN_BELOW: f32 = 0.1;
/// Power that may change from look to look within a beginning: 3 dB, which tones stay within and syllables do not.
const STEADY: f32 = 2.0;
/// A hop with so little of the tones' power is silent.
const SILENT: f32 = 0.1;
/// So many silent hops end a digit: a pause of 40 ms has more, an interruption of 10 ms one.
const SILENT_HOPS: u32 = 3;
/// So many looks that are not its tones end a digit: sound that is not silence.
const LOST_LOOKS: u32 = 6;

/// A digit that was heard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Press {
    /// 0-9 * # A-D.
    pub digit: char,
    /// For how long, milliseconds, within 8 or so.
    pub duration_ms: u32,
}

/// What a frame had.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Heard {
    /// A digit that ended: told once.
    pub ended: Option<Press>,
    /// There is a digit's tone in it, or what looks like the beginning of one.
    pub is_tone: bool,
}

/// Listens for digits. Nothing is allocated after it was made.
#[derive(Debug, Clone)]
pub struct Detector {
    /// The last samples, the latest at the end.
    samples: [f32; WINDOW],
    /// Of them, not looked at yet.
    fresh: usize,
    before: [Wave; 8],
    /// What the last looks have found, and how often in a row.
    run: Option<Run>,
    digit: Option<Current>,
}

/// A frequency's amplitude and phase.
#[derive(Debug, Clone, Copy, Default)]
struct Wave {
    re: f32,
    im: f32,
}

#[derive(Debug, Clone, Copy)]
struct Run {
    key: (usize, usize),
    looks: u32,
    power: f32,
}

#[derive(Debug, Clone, Copy)]
struct Current {
    key: (usize, usize),
    power: f32,
    /// Hops since its beginning, and those of them up to the last that was no silence.
    hops: u32,
    sounded: u32,
    silent: u32,
    lost: u32,
}

/// Filters for the eight tones.
struct Filters {
    hann: [f32; WINDOW],
    cos: [f32; 8],
    sin: [f32; 8],
    /// Turn of a tone's phase in a hop, radians.
    turn: [f32; 8],
    /// The power of all that is heard, from that of the windowed samples.
    whole: f32,
}

static FILTERS: LazyLock<Filters> = LazyLock::new(|| {
    let hann: [f32; WINDOW] =
        std::array::from_fn(|n| (0.5 - 0.5 * (TAU * (n as f64 + 0.5) / WINDOW as f64).cos()) as f32);
    let angle = TONES.map(|hz| TAU * hz / f64::from(RATE));
    Filters {
        hann,
        cos: angle.map(|angle| angle.cos() as f32),
        sin: angle.map(|angle| angle.sin() as f32),
        turn: angle.map(|angle| (angle * HOP as f64 % TAU) as f32),
        whole: hann.iter().map(|weight| weight * weight).sum::<f32>().recip(),
    }
});

impl Default for Detector {
    fn default() -> Self {
        Self { samples: [0.0; WINDOW], fresh: 0, before: [Wave::default(); 8], run: None, digit: None }
    }
}

impl Detector {
    /// Hears the next 20 ms.
    pub fn hear(&mut self, frame: &[i16; FRAME]) -> Heard {
        let mut heard = Heard { ended: None, is_tone: self.is_in_tone() };
        let mut rest = &frame[..];
        while !rest.is_empty() {
            let (now, later) = rest.split_at(rest.len().min(HOP - self.fresh));
            self.samples.copy_within(now.len().., 0);
            let place = &mut self.samples[WINDOW - now.len()..];
            place.iter_mut().zip(now).for_each(|(place, sample)| *place = f32::from(*sample));
            self.fresh += now.len();
            rest = later;
            if self.fresh == HOP {
                self.fresh = 0;
                // A digit lasts longer than a frame, so one ends in it at most.
                heard.ended = self.look().or(heard.ended);
                heard.is_tone |= self.is_in_tone();
            }
        }
        heard
    }

    /// Nothing more comes for now: a digit that was on has ended.
    pub fn rest(&mut self) -> Option<Press> {
        let ended = self.digit.take().map(Current::told);
        *self = Self::default();
        ended
    }

    fn is_in_tone(&self) -> bool {
        self.digit.is_some() || self.run.is_some()
    }

    /// Looks at the window; a digit that ends with it is told.
    fn look(&mut self) -> Option<Press> {
        let filters = &*FILTERS;
        let (waves, whole) = filters.pass(&self.samples);
        let latest = &self.samples[WINDOW - HOP..];
        let loudness = latest.iter().map(|sample| sample * sample).sum::<f32>() / HOP as f32;
        let before = std::mem::replace(&mut self.before, waves);
        let seen = Sight::of(filters, &waves, &before, whole);
        self.run = seen.filter(|seen| seen.is_begin).map(|seen| match self.run {
            Some(run) if run.key == seen.key && seen.power < STEADY * run.power && run.power < STEADY * seen.power => {
                Run { looks: run.looks + 1, power: run.power.max(seen.power), ..run }
            }
            _ => Run { key: seen.key, looks: 1, power: seen.power },
        });
        let ended = self.go_on(seen, loudness);
        match (self.run.filter(|run| run.looks >= LOOKS), self.digit) {
            (Some(run), None) => {
                // Three looks, of which the first saw the two hops before, too.
                let hops = LOOKS + 2;
                self.digit = Some(Current { key: run.key, power: run.power, hops, sounded: hops, silent: 0, lost: 0 });
                ended
            }
            // Another digit without a pause.
            (Some(run), Some(digit)) if run.key != digit.key => {
                let hops = LOOKS + 2;
                let sounded = digit.sounded.saturating_sub(hops).max(hops);
                self.digit = Some(Current { key: run.key, power: run.power, hops, sounded: hops, silent: 0, lost: 0 });
                Some(Current { sounded, ..digit }.told())
            }
            _ => ended,
        }
    }

    /// The digit that is on goes on, or ends.
    fn go_on(&mut self, seen: Option<Sight>, loudness: f32) -> Option<Press> {
        let digit = self.digit.as_mut()?;
        digit.hops = digit.hops.saturating_add(1);
        let is_silent = loudness < SILENT * digit.power;
        let is_its = seen.is_some_and(|seen| seen.key == digit.key && seen.power > SILENT * digit.power);
        (digit.silent, digit.sounded) = if is_silent { (digit.silent + 1, digit.sounded) } else { (0, digit.hops) };
        digit.lost = if is_its { 0 } else { digit.lost + 1 };
        if digit.silent < SILENT_HOPS && digit.lost < LOST_LOOKS {
            return None;
        }
        let lost = if is_silent { 0 } else { digit.lost };
        let ended = Current { sounded: digit.sounded.saturating_sub(lost), ..*digit };
        (self.digit, self.run) = (None, None);
        Some(ended.told())
    }
}

impl Current {
    fn told(self) -> Press {
        let (row, column) = self.key;
        Press { digit: DIGITS[row][column], duration_ms: self.sounded * HOP_MS }
    }
}

/// The two tones of a look.
#[derive(Debug, Clone, Copy)]
struct Sight {
    key: (usize, usize),
    /// Of both.
    power: f32,
    /// They are all that a beginning wants.
    is_begin: bool,
}

impl Sight {
    fn of(filters: &Filters, waves: &[Wave; 8], before: &[Wave; 8], whole: f32) -> Option<Self> {
        let loudest = |from: usize| (from..from + 4).max_by(|a, b| waves[*a].square().total_cmp(&waves[*b].square()));
        let (row, column) = (loudest(0)?, loudest(4)?);
        let tone = |at: usize| {
            let off_hz = filters.off(at, &waves[at], &before[at]);
            (waves[at].square() / response(off_hz), off_hz.abs() / TONES[at] as f32)
        };
        let ((row_power, row_off), (column_power, column_off)) = (tone(row), tone(column));
        let power = row_power + column_power;
        let share = power / whole.max(1.0);
        let is_loud = row_power.min(column_power) >= FAINTEST;
        let is_balanced = (COLUMN_BELOW..=COLUMN_ABOVE).contains(&(column_power / row_power.max(1.0)));
        let is_there = row_off.max(column_off) <= OFF_MAX;
        let is_begin = is_loud && is_balanced && is_there && share >= PURE;
        (share >= PURE_ENOUGH).then_some(Self { key: (row, column - 4), power, is_begin })
    }
}

impl Wave {
    /// Mean power of the sine that it is of, if its frequency is the filter's.
    fn square(&self) -> f32 {
        // Half of the window's sum is the sine's part at this frequency, and a sine's power is half its peak squared.
        let scale = 4.0 / WINDOW as f32;
        0.5 * scale * scale * (self.re * self.re + self.im * self.im)
    }
}

impl Filters {
    /// All eight filters over the window, and the mean power of all that is in it.
    fn pass(&self, samples: &[f32; WINDOW]) -> ([Wave; 8], f32) {
        let (mut one, mut two, mut whole) = ([0f32; 8], [0f32; 8], 0f32);
        for (sample, weight) in samples.iter().zip(&self.hann) {
            let sample = sample * weight;
            whole += sample * sample;
            for at in 0..8 {
                let next = sample + 2.0 * self.cos[at] * one[at] - two[at];
                (two[at], one[at]) = (one[at], next);
            }
        }
        let wave = |at: usize| Wave { re: one[at] - two[at] * self.cos[at], im: two[at] * self.sin[at] };
        (std::array::from_fn(wave), whole * self.whole)
    }

    /// By how many Hz a tone is off its frequency.
    fn off(&self, at: usize, now: &Wave, before: &Wave) -> f32 {
        let (re, im) = (now.re * before.re + now.im * before.im, now.im * before.re - now.re * before.im);
        let full = std::f32::consts::TAU;
        let off = (im.atan2(re) - self.turn[at] + 1.5 * full).rem_euclid(full) - 0.5 * full;
        off * RATE as f32 / (full * HOP as f32)
    }
}

/// The power that a Hann window leaves of a tone which is off by so much.
fn response(off_hz: f32) -> f32 {
    let bins = off_hz * WINDOW as f32 / RATE as f32;
    if bins.abs() < 1e-3 {
        return 1.0;
    }
    let at = std::f32::consts::PI * bins;
    // Beyond a bin and a half nothing is a tone's.
    let amplitude = at.sin() / at / (1.0 - bins * bins);
    if bins.abs() < 1.0 - 1e-3 { (amplitude * amplitude).clamp(0.05, 1.0) } else { 0.25 }
}

/// Makes a digit's tones.
#[derive(Debug, Clone)]
pub struct Generator {
    hz: [f64; 2],
    at: u64,
}

/// Peak of each of its tones: -10 dBm0.
const PEAK: f64 = 7216.0;

impl Generator {
    /// For 0-9 * # A-D; none for anything else.
    pub fn new(digit: char) -> Option<Self> {
        let at = DIGITS.iter().flatten().position(|other| *other == digit)?;
        Some(Self { hz: [TONES[at / 4], TONES[4 + at % 4]], at: 0 })
    }

    /// The next samples, at [`RATE`].
    pub fn fill(&mut self, out: &mut [i16]) {
        for sample in out {
            let seconds = self.at as f64 / f64::from(RATE);
            let sum: f64 = self.hz.iter().map(|hz| (TAU * hz * seconds).sin()).sum();
            *sample = (PEAK * sum).round() as i16;
            self.at += 1;
        }
    }
}

#[cfg(test)]
mod tests;

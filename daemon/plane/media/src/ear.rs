//! What a leg says, as samples: packets in, frames of 20 ms out, whatever the codec, the packet time and the network.
//!
//! ```text
//! take(now, packet)*  ->  jitter buffer  ->  decoder  ->  stretch  ->  rate  ->  listen(now, frame)
//! ```
//!
//! An [`Ear`] is the source half of the PCM pipeline; [`crate::voice::Voice`] is the sink. Transcoding connects the two of a pair; a
//! room, a recorder or a detector listens the same way: whoever calls [`Ear::listen`] every 20 ms is the one listener, and hands the
//! frame to others. What is lost is concealed, what is paused is comfort noise, and when nobody spoke for a while the frame is silence
//! and [`Heard::Nothing`].
//!
//! Nothing is allocated for a packet or a frame, except a decoder when the peer changes its codec.

use std::time::{Duration, Instant};

use postern_audio::{
    Decode, Decoder,
    codec::{PAYLOAD_MS_MAX, libraries},
    noise::Noise,
    rate::{Converter, FRAME_MAX, frame_of},
    stretch,
};
use postern_rtp::{
    Header,
    jitter::{Arrival, JitterBuffer, JitterCounts, Pull},
};
use postern_types::{media::StreamSetup, stream::Format};

use crate::typed::COMFORT_NOISE;

/// Without a packet for so long nobody speaks. A sender in a pause says so first, and is then taken to be there for [`PAUSE_MAX`].
const GONE_AFTER: Duration = Duration::from_millis(500);
/// Noise is made for a pause of at most so long: senders repeat what describes it at least every few seconds.
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// What was made up in a row before it becomes silence, frames.
const MADE_UP_MAX: u32 = 4;
/// So much longer than needed the delay may be before a piece of speech is left out, and so much shorter before one is doubled.
const SURPLUS_MAX_US: i64 = 15_000;
const SHORTAGE_MAX_US: i64 = 5_000;
/// Packets between two such changes, so that speech does not waver.
const STRETCH_EVERY: u32 = 4;
/// A surplus up to this waits for a quiet moment, where nobody hears that a piece is left out, but for so many packets at most.
const PATIENT_MAX_US: i64 = 60_000;
const PATIENCE: u32 = 200;
/// A packet is quiet when it is so much less than the loudest lately, or next to nothing (mean of the samples' size).
const QUIET_SHARE: u32 = 8;
const QUIET: u32 = 32;
/// Steps to fill a frame at most: a payload has 10 ms at least, and what is lost or paused may be shorter.
const STEPS_MAX: usize = 64;

/// What a frame holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heard {
    /// Sound of the peer, or what stands for a lost piece of it.
    Sound,
    /// Noise of a pause that the peer announced.
    Pause,
    /// Silence: it has sent nothing for half a second.
    Nothing,
}

/// The source of a leg's sound.
pub struct Ear {
    rate: u32,
    formats: Vec<Format>,
    jitter: JitterBuffer,
    clock_hz: u32,
    decoder: Option<(u8, Decoder)>,
    converter: Option<Converter>,
    noise: Noise,
    /// The peer described the noise of a pause that it makes.
    paused: bool,
    /// Decoded samples at the decoder's rate, `fill` of them.
    pcm: Box<[i16]>,
    fill: usize,
    latest: Option<Instant>,
    made_up: u32,
    since_stretch: u32,
    /// How loud the loudest packet lately was, mean of the samples' size.
    loudest: u32,
    /// Payloads that no codec took.
    bad: u64,
}

impl Ear {
    /// For the peer of a setup, giving frames at `rate`: 8000, 16000 or 48000 Hz. `now` may be any time before the first packet. None: it may
    /// send nothing that can be decoded here.
    pub fn new(now: Instant, setup: &StreamSetup, rate: u32) -> Option<Self> {
        let formats: Vec<Format> = formats_of(setup).filter(|format| format.is_codable(libraries())).cloned().collect();
        let clock_hz = formats.first()?.clock_hz;
        // The longest payload, a frame that waits, and what stretching adds.
        let room = (PAYLOAD_MS_MAX + 40) * rate.max(16000) as usize / 1000;
        Some(Self {
            rate,
            formats,
            jitter: JitterBuffer::new(now, clock_hz),
            clock_hz,
            decoder: None,
            converter: None,
            noise: Noise::default(),
            paused: false,
            pcm: vec![0; room].into(),
            fill: 0,
            latest: None,
            made_up: 0,
            since_stretch: 0,
            loudest: 0,
            bad: 0,
        })
    }

    /// Whether this one was made for what the setup says.
    pub fn serves(&self, setup: &StreamSetup, rate: u32) -> bool {
        self.rate == rate && formats_of(setup).filter(|format| format.is_codable(libraries())).eq(self.formats.iter())
    }

    /// Samples of a frame.
    pub fn frame(&self) -> usize {
        frame_of(self.rate)
    }

    /// What the jitter buffer counted.
    pub fn counts(&self) -> JitterCounts {
        self.jitter.counts()
    }

    /// Takes a packet of the peer: audio or comfort noise. Others are ignored.
    pub fn take(&mut self, now: Instant, header: &Header, payload: &[u8]) {
        let clock_hz = match self.formats.iter().find(|format| format.payload_type == header.payload_type) {
            Some(format) => format.clock_hz,
            // Its clock is that of whatever it accompanies.
            None if header.payload_type == COMFORT_NOISE => self.clock_hz,
            None => return,
        };
        if clock_hz != self.clock_hz {
            self.jitter.set_clock(clock_hz);
            self.clock_hz = clock_hz;
        }
        let Header { ssrc, sequence, timestamp, payload_type, .. } = *header;
        self.jitter.put(now, Arrival { ssrc, sequence, timestamp, payload_type }, payload);
        self.latest = Some(now);
    }

    /// Forgets what waits: it was said to somebody else.
    pub fn clear(&mut self) {
        self.jitter.clear();
        (self.fill, self.made_up) = (0, 0);
    }

    /// Writes the next 20 ms into `out`, which has [`Ear::frame`] samples.
    pub fn listen(&mut self, now: Instant, out: &mut [i16]) -> Heard {
        let silent = self.latest.map_or(Duration::MAX, |at| now.saturating_duration_since(at));
        if silent >= if self.is_paused() { PAUSE_MAX } else { GONE_AFTER } {
            self.fill = 0;
            out.fill(0);
            return Heard::Nothing;
        }
        for _ in 0..STEPS_MAX {
            if self.fill >= frame_of(self.decoded_rate()) {
                break;
            }
            self.step(now);
        }
        let frame = frame_of(self.decoded_rate()).min(self.pcm.len());
        self.pcm[self.fill.min(frame)..frame].fill(0);
        match &mut self.converter {
            Some(converter) => converter.convert(&self.pcm[..frame], out),
            None => {
                let same = frame.min(out.len());
                out[..same].copy_from_slice(&self.pcm[..same]);
                out[same..].fill(0);
            }
        }
        self.pcm.copy_within(frame.min(self.fill)..self.fill, 0);
        self.fill = self.fill.saturating_sub(frame);
        if self.made_up > 0 && self.is_paused() { Heard::Pause } else { Heard::Sound }
    }

    /// Whether the peer announced a pause, by comfort noise or its codec's own way.
    fn is_paused(&self) -> bool {
        self.paused || self.decoder.as_ref().is_some_and(|(_, decoder)| decoder.is_pausing())
    }

    fn decoded_rate(&self) -> u32 {
        self.decoder.as_ref().map_or(self.rate, |(_, decoder)| decoder.rate())
    }

    /// Adds the next stretch of sound behind what waits.
    fn step(&mut self, now: Instant) {
        let rate = self.decoded_rate();
        let ahead = Duration::from_micros(self.fill as u64 * 1_000_000 / u64::from(rate));
        let (clock_hz, ten_ms) = (self.clock_hz, frame_of(rate) / 2);
        let samples_of = |units: u32| (u64::from(units) * u64::from(rate) / u64::from(clock_hz)) as usize;
        match self.jitter.pull(now, ahead) {
            Pull::Packet { payload_type: COMFORT_NOISE, payload } => {
                self.noise.take(payload);
                self.paused = true;
                self.jitter.played(clock_hz / 50);
                self.make_up(2 * ten_ms);
            }
            Pull::Packet { payload_type, payload } => {
                let fits = self.decoder.as_ref().is_some_and(|(of, _)| *of == payload_type);
                if !fits {
                    let format = self.formats.iter().find(|format| format.payload_type == payload_type);
                    let Some(decoder) = format.and_then(|format| Decoder::new(format, self.rate)) else { return };
                    // What waits is at the rate of the one before.
                    if self.decoder.as_ref().is_none_or(|(_, before)| before.rate() != decoder.rate()) {
                        self.fill = 0;
                        self.converter = Converter::new(decoder.rate(), self.rate);
                    }
                    self.decoder = Some((payload_type, decoder));
                }
                let Some((_, decoder)) = &mut self.decoder else { return };
                let rate = decoder.rate();
                self.paused = false;
                let Ok(samples) = decoder.decode(payload, &mut self.pcm[self.fill..]) else {
                    self.bad += 1;
                    self.jitter.played(clock_hz / 50);
                    return self.make_up(frame_of(rate));
                };
                self.made_up = 0;
                let units = (samples as u64 * u64::from(clock_hz) / u64::from(rate)) as u32;
                let kept = self.stretch(now, ahead, samples, rate);
                self.jitter.played(units);
                self.fill += kept;
            }
            Pull::Lost { units: 0, .. } => {}
            Pull::Lost { units, next } => {
                // Whole 10 ms, which every codec has.
                let samples =
                    samples_of(units).next_multiple_of(ten_ms).min(12 * ten_ms).min(self.pcm.len() - self.fill);
                if let (Some((of, decoder)), Some((payload_type, payload))) = (&mut self.decoder, next)
                    && *of == payload_type
                    && decoder.recover(payload, &mut self.pcm[self.fill..self.fill + samples])
                {
                    self.fill += samples;
                    return;
                }
                self.make_up(samples);
            }
            Pull::Pause { units } => self.make_up(samples_of(units)),
            Pull::Starved | Pull::Idle => self.make_up(2 * ten_ms),
        }
    }

    /// What stands for sound that is not here.
    fn make_up(&mut self, samples: usize) {
        let end = (self.fill + samples).min(self.pcm.len());
        let room = &mut self.pcm[self.fill..end];
        self.made_up = self.made_up.saturating_add(1);
        match &mut self.decoder {
            _ if self.paused => self.noise.fill(room),
            Some((_, decoder)) => {
                let is_made = decoder.pause(room);
                if !is_made && self.made_up <= MADE_UP_MAX {
                    decoder.conceal(room);
                } else if !is_made {
                    room.fill(0);
                }
            }
            None => room.fill(0),
        }
        self.fill = end;
    }

    /// Shortens or lengthens what was just decoded when the delay is to change; says how many samples it is.
    fn stretch(&mut self, now: Instant, ahead: Duration, samples: usize, rate: u32) -> usize {
        self.since_stretch = self.since_stretch.saturating_add(1);
        let is_quiet = self.is_quiet(samples);
        let surplus = self.jitter.surplus(now, ahead);
        if self.since_stretch < STRETCH_EVERY || (-SHORTAGE_MAX_US..=SURPLUS_MAX_US).contains(&surplus) {
            return samples;
        }
        let can_wait = (0..PATIENT_MAX_US).contains(&surplus) && self.since_stretch < PATIENCE;
        if can_wait && !is_quiet {
            return samples;
        }
        self.since_stretch = 0;
        let speech = &mut self.pcm[self.fill..];
        match surplus > 0 {
            true => stretch::shorten(&mut speech[..samples], rate),
            false => stretch::lengthen(speech, samples, rate),
        }
    }

    /// Whether what was just decoded is a pause in the speech.
    fn is_quiet(&mut self, samples: usize) -> bool {
        let speech = &self.pcm[self.fill..self.fill + samples];
        let sum: u32 = speech.iter().map(|sample| u32::from(sample.unsigned_abs())).sum();
        let loudness = sum / samples.max(1) as u32;
        // It is forgotten within a few seconds.
        self.loudest = loudness.max(self.loudest - self.loudest / 64);
        loudness < QUIET || loudness < self.loudest / QUIET_SHARE
    }
}

/// The rate at which the sound of two legs is exchanged: what the poorer of both can carry.
pub fn rate_between(a: &StreamSetup, b: &StreamSetup) -> u32 {
    if a.format.is_wideband() && b.format.is_wideband() { 16000 } else { 8000 }
}

/// Room for a frame at any rate.
pub type Frame = [i16; FRAME_MAX];

fn formats_of(setup: &StreamSetup) -> impl Iterator<Item = &Format> {
    std::iter::once(&setup.format).chain(setup.formats.iter().filter(|format| **format != setup.format))
}

#[cfg(test)]
mod tests;

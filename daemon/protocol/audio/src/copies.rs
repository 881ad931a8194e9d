//! Copies of a track's packets as samples at 8000 Hz, whatever they are coded in: what recordings and forks are made of.
//!
//! G.711 is looked up. The others have a memory, so each source has a decoder of its own. What was lost is a gap here, not concealed: a
//! recording tells what came.

use postern_types::recording::{Coding, Tapped};

use crate::{
    codec::{Decode, Decoder, PAYLOAD_MS_MAX},
    g711,
    rate::{Converter, FRAME_MAX, frame_of},
    resample::RATE,
};

/// Samples of one copy at most, and what waited of the one before.
pub const SAMPLES_MAX: usize = PAYLOAD_MS_MAX * 8 + FRAME;
/// The same before they are brought down.
const WIDE_MAX: usize = PAYLOAD_MS_MAX * 16;
const FRAME: usize = frame_of(RATE);

/// Reads the copies of one track.
#[derive(Default)]
pub struct Reader {
    line: Option<Line>,
}

/// A source with a codec that remembers.
struct Line {
    coding: Coding,
    ssrc: u32,
    decoder: Decoder,
    narrow: Option<Narrow>,
}

/// The way down from a higher rate, by frames of 20 ms: what does not fill one waits for the next packet.
struct Narrow {
    converter: Converter,
    frame: usize,
    /// Less than a frame between two packets.
    waiting: Vec<i16>,
    /// The timestamp that follows on what waits.
    next: u32,
}

impl Reader {
    /// The samples of a copy into `out`: how many, and the place of the first by the source's clock at 8000 Hz. None: it cannot be read.
    pub fn read(&mut self, copy: &Tapped, out: &mut [i16; SAMPLES_MAX]) -> Option<(u32, usize)> {
        match copy.coding {
            Coding::Alaw => return Some((copy.timestamp, g711::decode_alaw(copy.payload(), out))),
            Coding::Ulaw => return Some((copy.timestamp, g711::decode_ulaw(copy.payload(), out))),
            Coding::G722 | Coding::G729 | Coding::Opus => {}
        }
        if self.line.as_ref().is_none_or(|line| (line.coding, line.ssrc) != (copy.coding, copy.ssrc)) {
            self.line = Line::new(copy.coding, copy.ssrc);
        }
        self.line.as_mut()?.read(copy, out)
    }
}

impl Line {
    /// None: this machine has no such decoder.
    fn new(coding: Coding, ssrc: u32) -> Option<Self> {
        let decoder = Decoder::new(&coding.format(), RATE)?;
        let rate = decoder.rate();
        let narrow = Converter::new(rate, RATE).map(|converter| Narrow {
            converter,
            frame: frame_of(rate),
            waiting: Vec::with_capacity(FRAME_MAX + WIDE_MAX),
            next: 0,
        });
        Some(Self { coding, ssrc, decoder, narrow })
    }

    fn read(&mut self, copy: &Tapped, out: &mut [i16; SAMPLES_MAX]) -> Option<(u32, usize)> {
        let place = copy.timestamp / (self.coding.clock_hz() / RATE);
        let Some(narrow) = &mut self.narrow else {
            return Some((place, self.decoder.decode(copy.payload(), out).ok()?));
        };
        let mut wide = [0; WIDE_MAX];
        let len = self.decoder.decode(copy.payload(), &mut wide).ok()?;
        Some(narrow.take(place, &wide[..len], out))
    }
}

impl Narrow {
    fn take(&mut self, place: u32, samples: &[i16], out: &mut [i16; SAMPLES_MAX]) -> (u32, usize) {
        let factor = self.frame / FRAME;
        // After a gap what waited would be out of place: it is less than 20 ms.
        if place != self.next {
            self.waiting.clear();
        }
        let from = place.wrapping_sub((self.waiting.len() / factor) as u32);
        self.waiting.extend_from_slice(samples);
        self.next = place.wrapping_add((samples.len() / factor) as u32);
        let frames = self.waiting.chunks_exact(self.frame).zip(out.chunks_exact_mut(FRAME));
        let count = frames.map(|(frame, out)| self.converter.convert(frame, out)).count();
        self.waiting.drain(..count * self.frame);
        (from, count * FRAME)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use postern_types::{
        recording::{Listener, TAPPED_MAX, TapId, Track},
        stream::{Codec, Format},
    };

    use super::*;
    use crate::codec::{ENCODED_MAX, Encode, Encoder};

    fn copy(coding: Coding, ssrc: u32, timestamp: u32, payload: &[u8]) -> Tapped {
        let mut room = [0; TAPPED_MAX];
        room[..payload.len()].copy_from_slice(payload);
        #[allow(clippy::disallowed_methods, reason = "any instant will do")]
        let at = Instant::now();
        let (to, tap, len) = (Listener::Recorder, TapId(1), payload.len() as u16);
        Tapped { to, tap, at, track: Track::Inbound, coding, ssrc, timestamp, lost: 0, len, room }
    }

    /// How strong 1000 Hz is in samples of 8000 Hz, of a sine of full scale.
    fn tone(samples: &[i16]) -> f64 {
        let at = |n: usize| 2.0 * std::f64::consts::PI * n as f64 / 8.0;
        let sum = |wave: fn(f64) -> f64| -> f64 {
            samples.iter().enumerate().map(|(n, sample)| f64::from(*sample) * wave(at(n))).sum()
        };
        2.0 * sum(f64::sin).hypot(sum(f64::cos)) / samples.len() as f64
    }

    #[test]
    fn each_codec_is_read_at_8000_hz_in_its_place_whatever_its_packets_last() {
        let all = [(Coding::G722, 20), (Coding::G722, 30), (Coding::G722, 10), (Coding::Opus, 20), (Coding::Opus, 60)];
        for (coding, ms) in all {
            let mut encoder = Encoder::new(&coding.format(), 16_000).unwrap();
            let (rate, clock) = (encoder.rate() as usize, coding.clock_hz() as usize);
            let step = std::f64::consts::TAU * 1000.0 / rate as f64;
            let (mut reader, mut heard, mut next) = (Reader::default(), Vec::new(), None);
            for n in 0..1200 / ms {
                let first = n * ms * rate / 1000;
                let samples: Vec<i16> =
                    (first..first + ms * rate / 1000).map(|at| (f64::sin(step * at as f64) * 8000.0) as i16).collect();
                let mut bytes = [0; ENCODED_MAX];
                let len = encoder.encode(&samples, &mut bytes).unwrap();
                let copy = copy(coding, 7, (n * ms * clock / 1000) as u32, &bytes[..len]);
                let mut out = [0; SAMPLES_MAX];
                let (place, len) = reader.read(&copy, &mut out).unwrap();
                assert!(len == 0 || place == next.unwrap_or(place), "{coding:?} of {ms} ms: no gap and no overlap");
                next = Some(place + len as u32);
                heard.extend_from_slice(&out[..len]);
            }
            assert!((9440..=9600).contains(&heard.len()), "{coding:?} of {ms} ms: {}", heard.len());
            let strength = tone(&heard[1600..8000]);
            assert!((7000.0..9000.0).contains(&strength), "{coding:?} of {ms} ms: {strength}");
        }
    }

    #[test]
    fn a_gap_another_source_and_nonsense_are_no_harm() {
        let (mut reader, mut out) = (Reader::default(), [0; SAMPLES_MAX]);
        let mut read =
            |ssrc, timestamp, payload: &[u8]| reader.read(&copy(Coding::G722, ssrc, timestamp, payload), &mut out);
        assert_eq!(read(1, 1000, &[0; 80]), Some((1000, 0)), "half a frame waits");
        assert_eq!(read(1, 1080, &[0; 80]), Some((1000, 160)));
        assert_eq!(read(1, 1160, &[0; 80]), Some((1160, 0)));
        assert_eq!(read(1, 2000, &[0; 160]), Some((2000, 160)), "what waited is not moved over a gap");
        assert_eq!(read(2, 5, &[0; 160]), Some((5, 160)));
        assert_eq!(read(2, 165, &[]), None);
        assert_eq!(read(2, u32::MAX - 79, &[0; 80]), Some((u32::MAX - 79, 0)));
        assert_eq!(read(2, 0, &[0; 80]), Some((u32::MAX - 79, 160)), "timestamps go round");
        assert_eq!(reader.read(&copy(Coding::Opus, 2, 0, &[0xff; 640]), &mut out), None);
        assert_eq!(reader.read(&copy(Coding::Alaw, 2, 9, &[0xd5; 160]), &mut out), Some((9, 160)));
    }

    #[test]
    fn a_format_is_read_by_its_codec_and_clock() {
        for coding in [Coding::Alaw, Coding::Ulaw, Coding::G722, Coding::G729, Coding::Opus] {
            assert_eq!(Coding::of(&coding.format()), Some(coding));
        }
        let odd = Format { clock_hz: 16_000, ..Format::pcma() };
        let other = Format { codec: Codec::Other("speex".into()), ..Format::pcma() };
        assert_eq!((Coding::of(&odd), Coding::of(&other)), (None, None));
    }
}

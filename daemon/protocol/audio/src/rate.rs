//! Samples of one rate to another, frame by frame: the crate rubato, with a filter whose positions fall on samples, so that nothing
//! is interpolated.
//!
//! Between 8000, 16000 and 48000 Hz, all multiples of each other. A frame of 20 ms becomes one of 20 ms, 3 to 4 ms later.

use rubato::{
    Async, FixedAsync, Resampler, SincInterpolationParameters, SincInterpolationType, WindowFunction,
    audioadapter_buffers::direct::InterleavedSlice,
};

/// Frames are of so many milliseconds.
pub const FRAME_MS: u32 = 20;
/// Samples of a frame at most, at 48 kHz.
pub const FRAME_MAX: usize = 960;

/// Samples of a frame at a rate.
pub const fn frame_of(rate: u32) -> usize {
    (rate * FRAME_MS / 1000) as usize
}

/// Taps of the filter for each kHz of the input: it looks at 8 ms, so that its transition is 690 Hz wide towards 8 kHz (5.5 / 64 of it).
const TAPS: usize = 8;
/// The middle of the transition, of the lower rate's half: up to 3.4 kHz pass whole, what is above 4.2 kHz is gone.
const CUTOFF: f32 = 0.945;

/// Samples beyond a frame at most; one or two are usual, and what a short first frame misses.
const SPARE_MAX: usize = 64;
/// How many there are in the beginning.
const SPARE_FIRST: usize = 2;

/// Changes the rate of a stream of frames. Allocates when it is made.
pub struct Converter {
    inner: Async<f32>,
    from: Box<[f32]>,
    to: Box<[f32]>,
    /// Samples that wait for the next frame, so that none is short when the arithmetic of a sixth gives one more or less.
    spare: [i16; SPARE_MAX],
    spares: Option<usize>,
}

impl Converter {
    /// From one of 8000, 16000 and 48000 Hz to another. None: the same, or a rate that is none of these.
    pub fn new(from: u32, to: u32) -> Option<Self> {
        let are_ours = [from, to].iter().all(|rate| [8000, 16000, 48000].contains(rate));
        if from == to || !are_ours {
            return None;
        }
        let factor = (from.max(to) / from.min(to)) as usize;
        let taps = TAPS * (from / 1000) as usize;
        let parameters = SincInterpolationParameters::new(taps, WindowFunction::Blackman2)
            .f_cutoff(CUTOFF)
            .oversampling_factor(factor)
            .interpolation(SincInterpolationType::Nearest);
        let ratio = f64::from(to) / f64::from(from);
        let inner = Async::new_sinc(ratio, 1.0, &parameters, frame_of(from), 1, FixedAsync::Input).ok()?;
        let room = |frames: usize| vec![0.0; frames].into_boxed_slice();
        let (from, to) = (room(inner.input_frames_max()), room(inner.output_frames_max()));
        Some(Self { inner, from, to, spare: [0; SPARE_MAX], spares: None })
    }

    /// Converts a frame of 20 ms into one of 20 ms.
    pub fn convert(&mut self, frame: &[i16], out: &mut [i16]) {
        let (needed, given) = (self.inner.input_frames_next(), self.inner.output_frames_next());
        for (to, sample) in self.from.iter_mut().zip(frame) {
            *to = f32::from(*sample);
        }
        let slices = InterleavedSlice::new(&self.from, 1, needed)
            .ok()
            .zip(InterleavedSlice::new_mut(&mut self.to, 1, given).ok());
        let converted = slices.and_then(|(from, mut to)| self.inner.process_into_buffer(&from, &mut to, None).ok());
        let written = converted.map_or(0, |(_, written)| written);
        // The first frame is short by what the filter must know in advance.
        let spares = self.spares.unwrap_or((out.len() + SPARE_FIRST).saturating_sub(written).min(SPARE_MAX));
        let (early, rest) = out.split_at_mut(spares.min(out.len()));
        early.copy_from_slice(&self.spare[..early.len()]);
        // `as` saturates.
        let mut samples = self.to[..written].iter().map(|sample| sample.round() as i16);
        rest.iter_mut().for_each(|sample| *sample = samples.next().unwrap_or(0));
        let mut left = 0;
        for (place, sample) in self.spare.iter_mut().zip(samples) {
            *place = sample;
            left += 1;
        }
        self.spares = Some(left);
    }
}

#[cfg(test)]
mod tests {
    use std::f64::consts::TAU;

    use super::*;

    fn sine(rate: u32, hz: f64, from: usize, len: usize) -> Vec<i16> {
        (from..from + len).map(|n| (9000.0 * (TAU * hz * n as f64 / f64::from(rate)).sin()) as i16).collect()
    }

    fn level(samples: &[i16]) -> f64 {
        (samples.iter().map(|s| f64::from(*s).powi(2)).sum::<f64>() / samples.len() as f64).sqrt()
    }

    #[test]
    fn speech_passes_both_ways_and_nothing_folds_back() {
        let full = 9000.0 / 2f64.sqrt();
        for (from, to) in [(8000, 16000), (16000, 8000), (8000, 48000), (48000, 8000), (16000, 48000), (48000, 16000)] {
            let edge = f64::from(from.min(to)) / 2.0;
            for (hz, passes) in
                [(300.0, true), (1000.0, true), (3300.0, true), (edge * 1.06, false), (edge * 1.5, false)]
            {
                if hz >= f64::from(from) / 2.0 {
                    continue;
                }
                let mut converter = Converter::new(from, to).unwrap();
                let mut heard = Vec::new();
                for n in 0..500 {
                    assert_eq!(converter.inner.input_frames_next(), frame_of(from), "{from} to {to}");
                    let mut out = vec![0; frame_of(to)];
                    converter.convert(&sine(from, hz, n * frame_of(from), frame_of(from)), &mut out);
                    heard.extend(out);
                }
                let spares = converter.spares.unwrap();
                assert!((1..=4).contains(&spares), "{from} to {to}: {spares} spare samples after ten seconds");
                let share = level(&heard[heard.len() / 5..]) / full;
                assert!(
                    if passes { (0.95..1.05).contains(&share) } else { share < 0.01 },
                    "{from} to {to}, {hz}: {share}"
                );
            }
        }
        assert!(Converter::new(8000, 8000).is_none() && Converter::new(44100, 8000).is_none());
    }

    #[test]
    fn a_frame_comes_out_whole_and_soon() {
        for (from, to) in [(8000, 16000), (16000, 8000), (48000, 8000)] {
            let mut converter = Converter::new(from, to).unwrap();
            let mut heard = Vec::new();
            for n in 0..10 {
                let mut frame = vec![0; frame_of(from)];
                if n == 5 {
                    frame[0] = 30_000;
                }
                let mut out = vec![0; frame_of(to)];
                converter.convert(&frame, &mut out);
                heard.extend(out);
            }
            let loudest = heard.iter().enumerate().max_by_key(|(_, s)| s.unsigned_abs()).unwrap().0;
            let late_ms = loudest as f64 * 1000.0 / f64::from(to) - 100.0;
            assert!((0.0..6.0).contains(&late_ms), "{from} to {to}: {late_ms} ms");
        }
    }
}

//! From a higher rate down to 8000 Hz, through a low-pass so that nothing above 4 kHz folds back into speech.
//!
//! A windowed sinc, one set of taps for each phase that an output sample can have between two input samples: 44100 to 8000 is
//! 441 to 80, so 80 phases. Work: 64 x rate / 8000 multiplications an output sample.

use std::f64::consts::PI;

/// What everything is brought to, Hz.
pub const RATE: u32 = 8000;

/// Rates that are read, Hz: those of recorders, speech services and editors. Below 8000 nothing sounds worth playing.
pub const RATES: [u32; 8] = [8000, 11025, 16000, 22050, 24000, 32000, 44100, 48000];

/// Half of the passband's edge to the stop, in the middle of the transition: 3.3 kHz passes whole, 4 kHz is gone (-74 dB).
const CUTOFF_HZ: f64 = 3650.0;
/// Zero crossings on each side: with a Blackman window the transition is 5.5 / (2 x 32) of 8 kHz wide, 690 Hz.
const WING: usize = 32;

/// Samples at `rate`, one of [`RATES`], to 8000 Hz.
pub fn to_8000(samples: &[i16], rate: u32) -> Box<[i16]> {
    if rate == RATE {
        return samples.into();
    }
    let divisor = gcd(rate, RATE);
    let (down, up) = ((rate / divisor) as usize, (RATE / divisor) as usize);
    let wing = WING * rate as usize / RATE as usize;
    let filters: Vec<Vec<f32>> = (0..up).map(|phase| taps(phase as f64 / up as f64, wing, rate)).collect();
    (0..samples.len() * up / down)
        .map(|n| {
            let (place, phase) = (n * down / up, n * down % up);
            // Taps reach from `place - wing + 1` to `place + wing`; outside the recording is silence.
            let first = (place + 1) as isize - wing as isize;
            let skip = first.min(0).unsigned_abs();
            let window = &samples[(first.max(0) as usize).min(samples.len())..(place + wing + 1).min(samples.len())];
            let sum: f32 =
                filters[phase].iter().skip(skip).zip(window).map(|(tap, sample)| tap * f32::from(*sample)).sum();
            sum.round().clamp(f32::from(i16::MIN), f32::from(i16::MAX)) as i16
        })
        .collect()
}

/// The taps of one phase: for input samples `1 - wing` to `wing` around an output `offset` behind sample 0. They add up to 1.
fn taps(offset: f64, wing: usize, rate: u32) -> Vec<f32> {
    let cutoff = 2.0 * CUTOFF_HZ / f64::from(rate);
    let raw: Vec<f64> = (0..2 * wing)
        .map(|index| {
            let x = index as f64 - (wing as f64 - 1.0) - offset;
            let sinc = if x == 0.0 { 1.0 } else { (PI * cutoff * x).sin() / (PI * cutoff * x) };
            let turn = PI * x / wing as f64;
            sinc * (0.42 + 0.5 * turn.cos() + 0.08 * (2.0 * turn).cos())
        })
        .collect();
    let total: f64 = raw.iter().sum();
    raw.iter().map(|tap| (tap / total) as f32).collect()
}

fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sine(rate: u32, hz: f64, samples: usize) -> Vec<i16> {
        (0..samples).map(|n| (10_000.0 * (2.0 * PI * hz * n as f64 / f64::from(rate)).sin()) as i16).collect()
    }

    /// Root mean square without the ends, where the filter hears the silence outside.
    fn level(samples: &[i16]) -> f64 {
        let middle = &samples[200..samples.len() - 200];
        (middle.iter().map(|s| f64::from(*s).powi(2)).sum::<f64>() / middle.len() as f64).sqrt()
    }

    #[test]
    fn speech_passes_at_every_rate_and_what_would_fold_back_does_not() {
        for rate in RATES.into_iter().filter(|rate| *rate > RATE) {
            let full = 10_000.0 / 2f64.sqrt();
            for hz in [300.0, 1000.0, 3200.0] {
                let heard = level(&to_8000(&sine(rate, hz, rate as usize), rate)) / full;
                assert!((0.97..1.03).contains(&heard), "{rate} Hz, tone of {hz}: {heard}");
            }
            for hz in [4200.0, 5000.0, f64::from(rate) / 2.0 - 100.0] {
                let heard = level(&to_8000(&sine(rate, hz, rate as usize), rate)) / full;
                assert!(heard < 0.001, "{rate} Hz, tone of {hz} folds back: {heard}");
            }
        }
    }

    #[test]
    fn time_is_kept() {
        for rate in RATES {
            let mut click = vec![0; rate as usize];
            click[rate as usize / 2] = 30_000;
            let out = to_8000(&click, rate);
            assert_eq!(out.len(), 8000, "{rate}");
            let loudest = out.iter().enumerate().max_by_key(|(_, s)| s.unsigned_abs()).unwrap().0;
            assert_eq!(loudest, 4000, "{rate}");
            for few in 0..4 {
                assert!(to_8000(&click[..few], rate).len() <= few);
            }
        }
    }
}

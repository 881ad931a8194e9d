//! Call progress tones of the North American plan, one period each: played in a loop they sound as a telephone does.

use std::f64::consts::TAU;

use postern_types::media::Prompt;

use crate::resample::RATE;

/// Peak of a tone at -10 dBm0, the level of ITU-T E.180: a sine at G.711's overload point (+3.14 dBm0) would peak at full scale.
const PEAK: f64 = 7216.0;
/// Milliseconds of one tone at most: what is longer is looped.
const MS_MAX: u32 = 60_000;

/// The sum of sines at these frequencies (Hz), together at -10 dBm0, for `ms` milliseconds, at most a minute.
pub fn tone(freqs: &[f64], ms: u32) -> Prompt {
    Prompt { samples: sound(freqs, ms).collect() }
}

/// The called party is busy: half a second on, half off.
pub fn busy() -> Prompt {
    cadence(&[480.0, 620.0], 500, 500)
}

/// The called party's phone rings: two seconds on, four off.
pub fn ringback() -> Prompt {
    cadence(&[440.0, 480.0], 2000, 4000)
}

/// Somebody waits, and the line is there: a short soft tone each five seconds.
pub fn waiting() -> Prompt {
    cadence(&[400.0], 120, 4880)
}

/// The call cannot be put through (reorder, congestion): a quarter of a second on, a quarter off.
pub fn error() -> Prompt {
    cadence(&[480.0, 620.0], 250, 250)
}

fn cadence(freqs: &[f64], on_ms: u32, off_ms: u32) -> Prompt {
    Prompt { samples: sound(freqs, on_ms).chain(std::iter::repeat_n(0, samples(off_ms))).collect() }
}

fn sound(freqs: &[f64], ms: u32) -> impl Iterator<Item = i16> {
    // Powers add: n sines of the same level are each the root of n quieter.
    let peak = PEAK / (freqs.len().max(1) as f64).sqrt();
    (0..samples(ms.min(MS_MAX))).map(move |n| {
        let at = n as f64 / f64::from(RATE);
        let sum: f64 = freqs.iter().map(|hz| peak * (TAU * hz * at).sin()).sum();
        sum.round().clamp(-32768.0, 32767.0) as i16
    })
}

fn samples(ms: u32) -> usize {
    (ms * (RATE / 1000)) as usize
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// Power of one frequency, by correlation with it.
    fn power(samples: &[i16], hz: f64) -> f64 {
        let (mut re, mut im) = (0.0, 0.0);
        for (n, sample) in samples.iter().enumerate() {
            let turn = TAU * hz * n as f64 / 8000.0;
            re += f64::from(*sample) * turn.cos();
            im += f64::from(*sample) * turn.sin();
        }
        2.0 * (re * re + im * im) / (samples.len() as f64).powi(2)
    }

    #[test]
    fn tones_have_their_frequencies_level_and_cadence() {
        for (prompt, freqs, on, period) in [
            (busy(), [480.0, 620.0], 4000, 1000),
            (ringback(), [440.0, 480.0], 16000, 6000),
            (error(), [480.0, 620.0], 2000, 500),
        ] {
            assert_eq!(prompt.duration(), Duration::from_millis(period));
            let (sound, silence) = prompt.samples.split_at(on);
            assert!(silence.iter().all(|s| *s == 0));
            let total = sound.iter().map(|s| f64::from(*s).powi(2)).sum::<f64>() / on as f64;
            // 0 dBm0 is 3.14 dB below a full-scale sine, so -10 dBm0 is 13.14 below.
            let below_full = 10.0 * (32768f64.powi(2) / 2.0 / total).log10();
            assert!((12.94..13.34).contains(&below_full), "{below_full}");
            let told: f64 = freqs.iter().map(|hz| power(sound, *hz)).sum();
            assert!(told > 0.98 * total, "{told} of {total}");
        }
    }

    #[test]
    fn odd_requests_end_in_silence_or_a_bounded_tone() {
        assert_eq!(tone(&[], 20).samples.as_ref(), [0; 160]);
        assert_eq!(tone(&[440.0], 0).samples.len(), 0);
        assert_eq!(tone(&[440.0], u32::MAX).duration(), Duration::from_secs(60));
        assert!(tone(&[f64::NAN, f64::INFINITY], 20).samples.iter().all(|s| *s == 0));
    }
}

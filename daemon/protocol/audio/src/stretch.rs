//! Speech made shorter or longer by one pitch period, without a change of pitch: how a jitter buffer changes its depth in the midst of speech.
//!
//! The best overlap of a piece with itself is looked for, and the two are blended over their whole overlap (overlap-add).

use crate::plc::best_lag;

/// Shortest and longest piece that is left out or doubled, microseconds.
const PIECE_MIN_US: usize = 2_500;
const PIECE_MAX_US: usize = 8_000;

/// Leaves out a piece of 2.5 to 8 ms; says how many samples stay. Fewer than 16 ms are left alone.
pub fn shorten(samples: &mut [i16], rate: u32) -> usize {
    let Some(lag) = lag(samples, rate) else { return samples.len() };
    let len = samples.len();
    // The latest `lag` samples and those before them become one.
    let first = len - 2 * lag;
    for n in 0..lag {
        samples[first + n] = blend(samples[first + n], samples[first + lag + n], n, lag);
    }
    len - lag
}

/// Doubles a piece of 2.5 to 8 ms, when `samples` has room for it behind the `len` that are speech; says how many there are then.
pub fn lengthen(samples: &mut [i16], len: usize, rate: u32) -> usize {
    let Some(lag) = samples.get(..len).and_then(|speech| lag(speech, rate)).filter(|lag| len + lag <= samples.len())
    else {
        return len;
    };
    let first = len - 2 * lag;
    samples.copy_within(len - lag..len, len);
    // Between the two last periods comes a third, from the later one to the earlier: both its ends are where they were.
    for n in 0..lag {
        samples[first + lag + n] = blend(samples[len + n], samples[first + n], n, lag);
    }
    len + lag
}

fn lag(samples: &[i16], rate: u32) -> Option<usize> {
    let (min, max) = (rate as usize * PIECE_MIN_US / 1_000_000, rate as usize * PIECE_MAX_US / 1_000_000);
    (samples.len() >= 2 * max)
        .then(|| best_lag(samples, min.max(samples.len() - 2 * max), min, max).min(samples.len() / 2))
}

fn blend(from: i16, to: i16, n: usize, of: usize) -> i16 {
    let share = (n as i32 + 1) * 256 / (of as i32 + 1);
    ((i32::from(from) * (256 - share) + i32::from(to) * share) / 256) as i16
}

#[cfg(test)]
mod tests {
    use std::f64::consts::TAU;

    use super::*;

    fn sine(len: usize) -> Vec<i16> {
        (0..len).map(|n| (9000.0 * (TAU * 200.0 * n as f64 / 8000.0).sin()) as i16).collect()
    }

    fn roughest(samples: &[i16]) -> i32 {
        samples.windows(2).map(|w| (i32::from(w[1]) - i32::from(w[0])).abs()).max().unwrap()
    }

    #[test]
    fn a_period_is_left_out_or_doubled_without_a_click() {
        for len in [160, 240, 480] {
            let speech = sine(len);
            let mut short = speech.clone();
            let left = shorten(&mut short, 8000);
            assert_eq!(left, len - 40, "{len}");
            let mut long = speech.clone();
            long.resize(2 * len, 0);
            let more = lengthen(&mut long, len, 8000);
            assert_eq!(more, len + 40, "{len}");
            for part in [&short[..left], &long[..more]] {
                assert!(roughest(part) <= roughest(&speech) + 200, "{len}: {}", roughest(part));
            }
        }
    }

    #[test]
    fn what_is_too_short_or_has_no_room_stays() {
        let mut few = sine(80);
        assert_eq!(shorten(&mut few, 8000), 80);
        assert_eq!((lengthen(&mut few, 80, 8000), lengthen(&mut few, 200, 8000)), (80, 200));
        let mut tight = sine(160);
        assert_eq!(lengthen(&mut tight, 160, 8000), 160);
        assert!(shorten(&mut [0; 160], 8000) >= 160 - 64);
    }
}

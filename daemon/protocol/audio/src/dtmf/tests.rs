use super::*;

/// What is sent to the detector: pieces one after the other.
#[derive(Default)]
struct Line {
    samples: Vec<f64>,
    random: u64,
}

impl Line {
    fn silence(mut self, samples: usize) -> Self {
        self.samples.resize(self.samples.len() + samples, 0.0);
        self
    }

    /// Two sines, each of its level in dBm0, for so many samples; continuous in phase with nothing.
    fn tones(mut self, tones: [(f64, f64); 2], samples: usize) -> Self {
        for n in 0..samples {
            let at = n as f64 / 8000.0;
            let sine = |(hz, level): (f64, f64)| {
                32767.0 * 10f64.powf((level - FULL_SCALE) / 20.0) * (TAU * hz * at + hz).sin()
            };
            self.samples.push(tones.into_iter().map(sine).sum());
        }
        self
    }

    fn digit(self, digit: char, samples: usize) -> Self {
        let [row, column] = Generator::new(digit).unwrap().hz;
        self.tones([(row, -12.0), (column, -10.0)], samples)
    }

    fn random(&mut self) -> f64 {
        self.random = self.random.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.random >> 33) as f64 / f64::from(1u32 << 30) - 1.0
    }

    /// White noise over all of it.
    fn noise(mut self, level: f64) -> Self {
        // A uniform distribution has a third of its peak's square.
        let peak = 32767.0 * 10f64.powf((level - FULL_SCALE) / 20.0) * 1.5f64.sqrt();
        for n in 0..self.samples.len() {
            self.samples[n] += peak * self.random();
        }
        self
    }

    fn frames(mut self, skip: usize) -> impl Iterator<Item = [i16; FRAME]> {
        self.samples.splice(..0, std::iter::repeat_n(0.0, skip));
        let mut samples: Vec<i16> =
            self.samples.iter().map(|sample| sample.round().clamp(-32768.0, 32767.0) as i16).collect();
        samples.resize(samples.len().next_multiple_of(FRAME) + 4 * FRAME, 0);
        samples.chunks_exact(FRAME).map(|frame| frame.try_into().unwrap()).collect::<Vec<_>>().into_iter()
    }

    /// Digits heard, with the line shifted by so many samples.
    fn heard(self, skip: usize) -> Vec<Press> {
        let mut detector = Detector::default();
        let mut told: Vec<Press> = self.frames(skip).filter_map(|frame| detector.hear(&frame).ended).collect();
        told.extend(detector.rest());
        told
    }
}

/// The digits of a line, however it falls on the looks.
#[track_caller]
fn always(line: impl Fn() -> Line, want: &str) {
    for skip in (0..HOP).step_by(3) {
        let told: String = line().heard(skip).iter().map(|press| press.digit).collect();
        assert_eq!(told, want, "shifted by {skip}");
    }
}

const MS: usize = 8;
/// The level of a sine at full scale, dBm0 (ITU-T G.711): not a number for circles.
const FULL_SCALE: f64 = 314.0 / 100.0;

#[test]
fn each_digit_is_told_once_with_its_duration() {
    for digit in DIGITS.into_iter().flatten() {
        for ms in [40, 65, 100, 500] {
            let told = Line::default().silence(100).digit(digit, ms * MS).silence(800).heard(3);
            let [press] = told[..] else { panic!("{digit} for {ms} ms: {told:?}") };
            assert_eq!(press.digit, digit);
            assert!(press.duration_ms.abs_diff(ms as u32) <= 12, "{ms}: {press:?}");
        }
    }
}

#[test]
fn forty_milliseconds_of_tone_and_of_pause_are_enough_however_they_fall() {
    let keys = "159D*0#A7";
    always(
        || keys.chars().fold(Line::default().silence(70), |line, key| line.digit(key, 40 * MS).silence(40 * MS)),
        keys,
    );
    // The same key again and again.
    always(|| (0..8).fold(Line::default(), |line, _| line.digit('5', 40 * MS).silence(40 * MS)), "55555555");
    // One after the other without a pause.
    always(|| Line::default().digit('1', 80 * MS).digit('2', 80 * MS).digit('6', 80 * MS), "126");
}

#[test]
fn what_is_too_short_is_no_digit_and_an_interruption_splits_none() {
    always(|| (0..10).fold(Line::default(), |line, _| line.digit('8', 23 * MS).silence(60 * MS)), "");
    always(|| Line::default().digit('8', 60 * MS).silence(10 * MS).digit('8', 60 * MS), "8");
    always(
        || {
            Line::default()
                .digit('8', 40 * MS)
                .silence(10 * MS)
                .digit('8', 40 * MS)
                .silence(40 * MS)
                .digit('8', 40 * MS)
        },
        "88",
    );
}

#[test]
fn frequencies_are_accepted_within_one_and_a_half_percent_and_refused_beyond_three_and_a_half() {
    for (at, row) in TONES[..4].iter().enumerate() {
        for (to, column) in TONES[4..].iter().enumerate() {
            for (off, is_digit) in [(0.0, true), (0.015, true), (-0.015, true), (0.035, false), (-0.035, false)] {
                let want = if is_digit { DIGITS[at][to].to_string() } else { String::new() };
                for tones in [
                    [row * (1.0 + off), *column],
                    [*row, column * (1.0 + off)],
                    [row * (1.0 + off), column * (1.0 - off)],
                ] {
                    for skip in [0, 21, 42] {
                        let line = Line::default().silence(50).tones(tones.map(|hz| (hz, -10.0)), 60 * MS);
                        let told: String = line.heard(skip).iter().map(|press| press.digit).collect();
                        assert_eq!(told, want, "{tones:?} shifted by {skip}");
                    }
                }
            }
        }
    }
}

#[test]
fn twist_and_level_are_taken_as_they_come_on_telephone_lines() {
    for (row, column, is_digit) in [
        (-6.0, -6.0, true),
        (0.0, 0.0, true),
        // The column 4 dB above, 8 dB below: and both far beyond.
        (-10.0, -6.0, true),
        (-6.0, -14.0, true),
        (-14.0, -6.0, false),
        (-4.0, -18.0, false),
        (-25.0, -25.0, true),
        (-33.0, -25.0, false),
        (-35.0, -35.0, false),
        // One tone alone is none, nor are two of the same group.
        (-10.0, -90.0, false),
        (-90.0, -10.0, false),
    ] {
        for (digit, [low, high]) in [('1', [697.0, 1209.0]), ('D', [941.0, 1633.0]), ('#', [941.0, 1477.0])] {
            let want = if is_digit { digit.to_string() } else { String::new() };
            always(|| Line::default().silence(30).tones([(low, row), (high, column)], 50 * MS), &want);
        }
    }
    always(|| Line::default().tones([(697.0, -10.0), (852.0, -10.0)], 80 * MS), "");
    // Dial, busy and ringing tones of this and that country.
    for tones in [
        (350.0, 440.0),
        (480.0, 620.0),
        (440.0, 480.0),
        (425.0, 425.0),
        (1400.0, 2060.0),
        (2100.0, 2100.0),
        (1100.0, 1100.0),
    ] {
        always(|| Line::default().tones([(tones.0, -10.0), (tones.1, -10.0)], 200 * MS), "");
    }
}

#[test]
fn noise_fifteen_decibels_below_neither_hides_nor_makes_digits() {
    for seed in 1..40 {
        let keys = "3690*";
        let mut line =
            keys.chars().fold(Line::default().silence(37), |line, key| line.digit(key, 50 * MS).silence(50 * MS));
        line.random = seed;
        let told: String = line.noise(-24.0).heard(seed as usize).iter().map(|press| press.digit).collect();
        assert_eq!(told, keys, "{seed}");
    }
    let mut line = Line::default().silence(20 * 8000);
    line.random = 7;
    assert_eq!(line.noise(-15.0).heard(0), []);
}

/// A voice of sorts: a buzz of changing pitch through three wandering resonances, in syllables, with hisses and pauses between them.
fn speech(seed: u64, seconds: usize) -> Line {
    let mut line = Line { random: seed, ..Line::default() };
    let (mut phase, mut pitch, mut wanted) = (0.0, 120.0, [500.0, 1500.0, 2500.0]);
    let (mut formants, mut state, mut voiced, mut gain) = (wanted, [[0.0; 2]; 3], true, 0.0);
    for n in 0..seconds * 8000 {
        if n % 1200 == 0 {
            let kind = line.random();
            voiced = kind < 0.5;
            gain = if kind > 0.8 { 0.0 } else { 1.0 };
            wanted = [500.0 + 300.0 * line.random(), 1400.0 + 700.0 * line.random(), 2600.0 + 400.0 * line.random()];
            pitch = 150.0 + 90.0 * line.random();
        }
        for (formant, wanted) in formants.iter_mut().zip(wanted) {
            *formant += (wanted - *formant) * 0.002;
        }
        phase += pitch * (1.0 + 0.03 * (n as f64 / 400.0).sin()) / 8000.0;
        let source = if phase >= 1.0 {
            phase -= 1.0;
            1.0
        } else {
            0.0
        };
        let mut sound = gain * if voiced { source } else { 0.08 * line.random() };
        for (formant, state) in formants.iter().zip(&mut state) {
            let radius: f64 = (-std::f64::consts::PI * 70.0 / 8000.0).exp();
            let next = sound + 2.0 * radius * (TAU * formant / 8000.0).cos() * state[0] - radius * radius * state[1];
            *state = [next, state[0]];
            sound = next * (1.0 - radius) * 4.0;
        }
        line.samples.push(sound);
    }
    let peak = line.samples.iter().fold(0.0, |peak: f64, sample| peak.max(sample.abs()));
    line.samples.iter_mut().for_each(|sample| *sample *= 30_000.0 / peak);
    line
}

#[test]
fn speech_is_no_digit() {
    let mut muted = 0;
    for seed in 1..=6 {
        let mut detector = Detector::default();
        let line = speech(seed, 30);
        let loud = line.samples.iter().filter(|sample| sample.abs() > 3000.0).count();
        assert!(loud > 4_000, "it is heard: {loud}");
        for frame in line.frames(0) {
            let heard = detector.hear(&frame);
            assert_eq!(heard.ended, None, "{seed}");
            muted += u32::from(heard.is_tone);
        }
    }
    // Frames that looked like a beginning, of 9,000.
    assert!(muted < 18, "{muted}");
}

#[test]
fn a_voice_before_and_after_it_hides_no_digit() {
    for seed in 1..20 {
        let mut line = speech(seed, 2).digit('7', 90 * MS);
        line.samples.extend(speech(seed + 100, 1).samples);
        let told = line.heard(seed as usize);
        assert_eq!(told.iter().map(|press| press.digit).collect::<String>(), "7", "{seed}: {told:?}");
    }
}

#[test]
fn a_tone_is_known_of_within_a_frame_and_a_half() {
    for skip in 0..FRAME {
        let mut detector = Detector::default();
        let known = Line::default().digit('4', 100 * MS).frames(skip).position(|frame| detector.hear(&frame).is_tone);
        // The frame in which it is known, and the one before it are cut: what went out before is less than 16 ms of the tone.
        let leaked = known.unwrap().saturating_sub(1) * FRAME;
        assert!(leaked.saturating_sub(skip) <= 16 * MS, "{skip}: {leaked}");
    }
}

#[test]
fn what_stops_in_the_middle_has_ended() {
    let mut detector = Detector::default();
    for frame in Line::default().digit('9', 100 * MS).frames(0).take(5) {
        assert_eq!(detector.hear(&frame).ended, None);
    }
    let press = detector.rest().unwrap();
    assert!(press.digit == '9' && press.duration_ms.abs_diff(100) <= 12, "{press:?}");
    assert_eq!(detector.rest(), None);
}

#[test]
fn what_is_made_is_heard() {
    for digit in DIGITS.into_iter().flatten() {
        let mut generator = Generator::new(digit).unwrap();
        let mut detector = Detector::default();
        let mut told = Vec::new();
        for n in 0..12 {
            let mut frame = [0; FRAME];
            if n < 5 {
                generator.fill(&mut frame);
            }
            told.extend(detector.hear(&frame).ended);
        }
        assert_eq!(told.len(), 1);
        assert_eq!(told[0].digit, digit);
    }
    for other in ['E', 'a', ' ', '\0'] {
        assert!(Generator::new(other).is_none());
    }
}

//! Tapes of packets as networks bring them.

use proptest::prelude::*;

use super::*;

const PLAIN: Layout = Layout { stereo: false, trim: false, seconds_max: 0 };
const BOTH: Layout = Layout { stereo: true, ..PLAIN };

#[allow(clippy::disallowed_methods, reason = "tests need a beginning of time")]
fn start() -> Instant {
    Instant::now()
}

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

fn samples(bytes: &[u8]) -> Vec<i16> {
    bytes.chunks_exact(2).map(|b| i16::from_le_bytes([b[0], b[1]])).collect()
}

/// The end: all that is due long after.
fn rest(tape: &mut Tape, now: Instant, out: &mut Vec<u8>) {
    tape.stop(now);
    tape.run(now + ms(1000), out);
    assert!(tape.is_over());
}

#[test]
fn packets_out_of_order_lost_and_doubled_lie_where_they_belong() {
    let began = start();
    let mut tape = Tape::new(began, PLAIN);
    let mut out = Vec::new();
    for (n, jitter) in [(0, 0), (2, 5), (1, 40), (1, 41), (4, 0), (3, 60), (6, 0)] {
        let at = began + ms(n * 20 + jitter);
        tape.put(0, at, 9, 4_294_967_200_u32.wrapping_add(n as u32 * 160), &[n as i16 + 1; 160]);
    }
    rest(&mut tape, began + ms(160), &mut out);
    let got = samples(&out);
    let want = [1, 2, 3, 4, 5, 0, 7, 0].iter().flat_map(|v| [*v; 160]).collect::<Vec<_>>();
    assert_eq!(got, want);
    assert_eq!(tape.finish(), 8 * 320);
}

#[test]
fn two_tracks_are_aligned_by_when_they_came() {
    let began = start();
    let mut tape = Tape::new(began, BOTH);
    let mut out = Vec::new();
    for n in 0..50_u32 {
        tape.put(0, began + ms(u64::from(n) * 20), 1, n * 160, &[1000; 160]);
    }
    for n in 0..25_u32 {
        tape.put(1, began + ms(500 + u64::from(n) * 20), 2, 777 + n * 160, &[2000; 160]);
        tape.run(began + ms(500 + u64::from(n) * 20), &mut out);
    }
    rest(&mut tape, began + ms(1000), &mut out);
    let got = samples(&out);
    assert_eq!(got.len(), 16000);
    let (left, right): (Vec<_>, Vec<_>) = got.chunks_exact(2).map(|pair| (pair[0], pair[1])).unzip();
    assert!(left.iter().all(|s| *s == 1000));
    assert!(right[..4000].iter().all(|s| *s == 0) && right[4000..].iter().all(|s| *s == 2000));
}

#[test]
fn a_mix_of_both_tracks_does_not_wrap() {
    let began = start();
    let mut tape = Tape::new(began, PLAIN);
    let mut out = Vec::new();
    tape.put(0, began, 1, 0, &[30_000; 160]);
    tape.put(1, began, 2, 0, &[30_000; 160]);
    rest(&mut tape, began + ms(20), &mut out);
    assert_eq!(samples(&out), [i16::MAX; 160]);
}

#[test]
fn streams_that_start_anew_or_drift_are_placed_by_their_arrival() {
    let began = start();
    let mut tape = Tape::new(began, PLAIN);
    let mut out = Vec::new();
    tape.put(0, began, 1, 0, &[1; 160]);
    tape.put(0, began + ms(20), 2, 3_000_000_000, &[2; 160]); // another stream
    tape.put(0, began + ms(40), 2, 9, &[3; 160]); // its clock jumped
    tape.put(0, began + ms(60), 2, 169, &[4; 160]);
    tape.put(0, began + ms(80), 2, 329 + 60_000, &[5; 160]); // far ahead
    rest(&mut tape, began + ms(100), &mut out);
    assert_eq!(samples(&out), [1, 2, 3, 4, 5].iter().flat_map(|v| [*v; 160]).collect::<Vec<_>>());
}

#[test]
fn silence_is_trimmed_but_for_a_margin() {
    let began = start();
    let mut tape = Tape::new(began, Layout { trim: true, ..PLAIN });
    let mut out = Vec::new();
    for n in 0..100_u32 {
        let value = if (40..60).contains(&n) { 5000 } else { 10 };
        let at = began + ms(u64::from(n) * 20);
        tape.put(0, at, 1, n * 160, &[value; 160]);
        tape.run(at, &mut out);
    }
    rest(&mut tape, began + ms(2000), &mut out);
    assert_eq!(tape.finish(), 2 * (20 * 160 + MARGIN));
    assert_eq!(samples(&out)[0], 5000);
    assert!(tape.has_sound() && tape.length() == ms(500));
    let mut silent = Tape::new(began, Layout { trim: true, ..PLAIN });
    rest(&mut silent, began + ms(2000), &mut out);
    assert_eq!((silent.finish(), silent.has_sound()), (0, false));
}

#[test]
fn silence_is_measured_on_the_first_track_and_not_in_pauses() {
    let began = start();
    let mut tape = Tape::new(began, BOTH);
    let mut out = Vec::new();
    tape.put(0, began, 1, 0, &[5000; 160]);
    for n in 0..100_u32 {
        tape.put(1, began + ms(u64::from(n) * 20), 1, n * 160, &[5000; 160]);
        tape.run(began + ms(u64::from(n) * 20), &mut out);
    }
    tape.run(began + ms(2020) + DELAY, &mut out);
    assert_eq!(tape.quiet_for(), ms(2000));
    tape.pause(began + ms(3000), Pause::Skip, &mut out);
    tape.resume(began + ms(9000), &mut out);
    tape.run(began + ms(9100) + DELAY, &mut out);
    assert_eq!(tape.quiet_for(), ms(100));
    assert_eq!(tape.length(), ms(3100), "the pause is left out");
    tape.pause(began + ms(9400), Pause::Silence, &mut out);
    tape.resume(began + ms(9900), &mut out);
    assert_eq!(tape.length(), ms(3900));
}

#[test]
fn a_tape_is_full_at_its_bound() {
    let began = start();
    let mut tape = Tape::new(began, Layout { seconds_max: 1, ..PLAIN });
    let mut out = Vec::new();
    tape.run(began + ms(5000), &mut out);
    assert!(tape.is_full() && tape.is_over());
    assert_eq!((out.len(), tape.finish()), (16000, 16000));
}

#[test]
fn a_file_can_be_read_at_any_time() {
    for channels in [1, 2] {
        let data: Vec<u8> = (0..400_i16).flat_map(i16::to_le_bytes).collect();
        let whole: Vec<u8> = header(channels, data.len() as u32).iter().chain(&data).copied().collect();
        let mut reader = hound::WavReader::new(std::io::Cursor::new(&whole)).unwrap();
        let spec = hound::WavSpec {
            channels,
            sample_rate: 8000,
            bits_per_sample: 16,
            sample_format: hound::SampleFormat::Int,
        };
        assert_eq!(reader.spec(), spec);
        assert_eq!(reader.samples::<i16>().map(Result::unwrap).collect::<Vec<_>>(), (0..400).collect::<Vec<_>>());
        // Killed: more is in the file than its header says.
        let older: Vec<u8> = header(channels, 200).iter().chain(&data).copied().collect();
        let mut reader = hound::WavReader::new(std::io::Cursor::new(&older)).unwrap();
        assert_eq!(reader.samples::<i16>().count(), 100);
    }
}

proptest! {
    #[test]
    fn whatever_comes_the_tape_is_as_long_as_the_time(
        packets in prop::collection::vec((0..2_usize, 0..3000_u64, any::<u32>(), 0..3_u32, 0..400_usize), 0..200),
    ) {
        let began = start();
        let mut tape = Tape::new(began, PLAIN);
        let mut out = Vec::new();
        for (track, at, timestamp, ssrc, len) in packets {
            tape.put(track, began + ms(at), ssrc, timestamp, &vec![7; len]);
            tape.run(began + ms(at), &mut out);
            prop_assert!(tape.tracks.iter().all(|track| track.waiting.len() <= AHEAD_MAX));
        }
        rest(&mut tape, began + ms(3000), &mut out);
        prop_assert_eq!(out.len(), 48_000);
    }
}

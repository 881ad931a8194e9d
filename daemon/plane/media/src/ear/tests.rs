use postern_audio::{Encode, Encoder};
use postern_types::stream::Codec;

use super::*;
use crate::testing::start;

fn format(payload_type: u8, codec: Codec) -> Format {
    let clock_hz = if codec == Codec::Opus { 48000 } else { 8000 };
    Format { payload_type, codec, clock_hz, channels: 1, fmtp: "".into() }
}

fn setup(formats: Vec<Format>) -> StreamSetup {
    StreamSetup { formats: formats.clone(), ..StreamSetup::plain(([192, 0, 2, 1], 4000).into(), formats[0].clone()) }
}

fn header(payload_type: u8, sequence: u16, timestamp: u32) -> Header {
    Header { marker: false, payload_type, sequence, timestamp, ssrc: 7, payload_start: 12, padded: false }
}

fn loudness(samples: &[i16]) -> f64 {
    (samples.iter().map(|s| f64::from(*s).powi(2)).sum::<f64>() / samples.len() as f64).sqrt()
}

fn at(begin: Instant, tick: u64) -> Instant {
    begin + Duration::from_millis(20 * tick)
}

const LOUD: [u8; 160] = [0x2a; 160];

#[test]
fn comfort_noise_is_heard_through_a_pause_and_silence_after_a_party_that_went() {
    let begin = start();
    let mut ear = Ear::new(begin, &setup(vec![Format::pcma()]), 8000).unwrap();
    let mut frame = [0; 160];
    assert_eq!(ear.listen(begin, &mut frame), Heard::Nothing);
    for n in 0..20u16 {
        ear.take(at(begin, n.into()), &header(8, n, u32::from(n) * 160), &LOUD);
        ear.listen(at(begin, n.into()), &mut frame);
    }
    assert!(loudness(&frame) > 20_000.0);
    // -40 dBov: an amplitude of 328.
    ear.take(at(begin, 20), &header(13, 20, 20 * 160), &[40]);
    for tick in 20..500 {
        let heard = ear.listen(at(begin, tick), &mut frame);
        if tick > 26 {
            assert_eq!(heard, Heard::Pause, "{tick}");
            assert!((200.0..500.0).contains(&loudness(&frame)), "{tick}: {}", loudness(&frame));
        }
    }
    // It speaks again, and then is gone without a word.
    for tick in 500..520u64 {
        let n = tick as u16 - 479;
        ear.take(at(begin, tick), &header(8, n, tick as u32 * 160), &LOUD);
        ear.listen(at(begin, tick), &mut frame);
    }
    assert!(loudness(&frame) > 20_000.0);
    let after: Vec<Heard> = (520..560).map(|tick| ear.listen(at(begin, tick), &mut frame)).collect();
    assert_eq!((after[0], after[39]), (Heard::Sound, Heard::Nothing));
    assert!(after.iter().filter(|heard| **heard == Heard::Sound).count() <= 26);
    assert_eq!(loudness(&frame), 0.0);
}

#[test]
fn a_peer_may_change_its_codec_and_clock_at_any_packet() {
    let formats = vec![format(8, Codec::Pcma), format(9, Codec::G722), format(111, Codec::Opus)];
    let begin = start();
    for rate in [8000, 16000, 48000] {
        let mut ear = Ear::new(begin, &setup(formats.clone()), rate).unwrap();
        let mut frame = vec![0; ear.frame()];
        let (mut tick, mut n) = (0, 0u16);
        for of in formats.iter().cycle().take(7) {
            let mut encoder = Encoder::new(of, rate).unwrap();
            for _ in 0..25 {
                let samples: Vec<i16> =
                    (0..encoder.rate() / 50).map(|at| if at % 40 < 20 { 8000 } else { -8000 }).collect();
                let mut payload = [0; 480];
                let len = encoder.encode(&samples, &mut payload).unwrap();
                let timestamp = u32::from(n) * (of.clock_hz / 50);
                ear.take(at(begin, tick), &header(of.payload_type, n, timestamp), &payload[..len]);
                assert_ne!(ear.listen(at(begin, tick), &mut frame), Heard::Nothing);
                (tick, n) = (tick + 1, n + 1);
            }
            assert!(loudness(&frame) > 1000.0, "{} at {rate}: {}", of.codec, loudness(&frame));
        }
        assert_eq!(ear.bad, 0);
    }
}

#[test]
fn the_delay_that_a_burst_of_jitter_made_goes_away_again() {
    let begin = start();
    let mut ear = Ear::new(begin, &setup(vec![Format::pcma()]), 8000).unwrap();
    let mut frame = [0; 160];
    let (mut held, mut heard_late) = (Vec::new(), 0);
    for tick in 0..3000u64 {
        // For a second each packet waits for the fifth after it.
        held.push((tick as u16, tick as u32 * 160));
        if !(500..550).contains(&tick) || tick % 5 == 4 {
            for (n, timestamp) in held.drain(..) {
                ear.take(at(begin, tick), &header(8, n, timestamp), &LOUD);
            }
        }
        ear.listen(at(begin, tick), &mut frame);
        if (550..560).contains(&tick) {
            heard_late = heard_late.max(ear.jitter.surplus(at(begin, tick), Duration::ZERO));
        }
    }
    let end = ear.jitter.surplus(at(begin, 3000), Duration::from_micros(ear.fill as u64 * 125));
    assert!(end < 40_000, "{end} us after {heard_late}");
    assert_eq!(ear.counts().overflow, 0);
    assert!(loudness(&frame) > 20_000.0);
}

#[test]
fn a_delay_that_is_too_long_goes_in_a_pause_of_the_speech() {
    let begin = start();
    let mut ear = Ear::new(begin, &setup(vec![Format::pcma()]), 8000).unwrap();
    let mut frame = [0; 160];
    let mut surpluses = Vec::new();
    let mut n = 0;
    for tick in 0..150u64 {
        // The way becomes 20 ms shorter. Speech for two seconds, then a second of next to nothing.
        let sent = if tick < 60 { tick } else { tick + 1 };
        let payload = if tick < 100 { LOUD } else { [0xd5; 160] };
        while n < sent {
            ear.take(at(begin, tick), &header(8, n as u16, n as u32 * 160), &payload);
            n += 1;
        }
        ear.listen(at(begin, tick), &mut frame);
        let ahead = Duration::from_micros(ear.fill as u64 * 125);
        // Of what was played last, not of what comes next.
        surpluses.push(ear.jitter.surplus(at(begin, tick), ahead) + 20_000);
    }
    assert!((60..100).all(|tick| surpluses[tick] == surpluses[60]), "{:?}", &surpluses[60..100]);
    assert!(surpluses[99] > SURPLUS_MAX_US && surpluses[149] <= SURPLUS_MAX_US, "{} {}", surpluses[99], surpluses[149]);
}

#[test]
fn a_setup_without_a_codec_of_ours_has_no_ear() {
    let begin = start();
    let other = format(98, Codec::Other("iLBC".into()));
    assert!(Ear::new(begin, &setup(vec![other.clone()]), 8000).is_none());
    let both = setup(vec![other, Format::pcmu()]);
    let mut ear = Ear::new(begin, &both, 8000).unwrap();
    assert!(ear.serves(&both, 8000) && !ear.serves(&both, 16000));
    ear.take(begin, &header(98, 0, 0), &LOUD);
    assert_eq!(ear.listen(begin, &mut [0; 160]), Heard::Nothing, "what cannot be decoded is not taken");
}

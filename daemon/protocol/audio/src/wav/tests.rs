//! Files of every kind that is read, and those that are refused.

use std::f64::consts::TAU;

use super::*;

/// A file put together by hand: what hound would not write.
fn file(code: u16, channels: u16, rate: u32, bits: u16, data: &[u8]) -> Vec<u8> {
    let mut out = b"RIFF\0\0\0\0WAVE".to_vec();
    // A chunk that nobody needs, of odd length with its padding.
    out.extend(b"LIST\x03\0\0\0abc\0fmt \x12\0\0\0");
    out.extend([code, channels].iter().flat_map(|n| n.to_le_bytes()));
    out.extend(rate.to_le_bytes());
    let frame = channels * (bits / 8);
    out.extend((rate * u32::from(frame)).to_le_bytes());
    out.extend([frame, bits, 0].iter().flat_map(|n| n.to_le_bytes()));
    out.extend(b"data");
    out.extend((data.len() as u32).to_le_bytes());
    out.extend(data);
    let length = out.len() as u32 - 8;
    out[4..8].copy_from_slice(&length.to_le_bytes());
    out
}

fn sine(rate: u32) -> Vec<i16> {
    (0..rate).map(|n| (12_000.0 * (TAU * 440.0 * f64::from(n) / f64::from(rate)).sin()) as i16).collect()
}

/// Largest difference from the sine at 8000 Hz, without the ends.
fn error(prompt: &Prompt) -> i32 {
    let pairs = prompt.samples.iter().zip(sine(8000)).skip(100).take(7800);
    pairs.map(|(got, want)| (i32::from(*got) - i32::from(want)).abs()).max().unwrap()
}

#[test]
fn what_is_written_reads_back() {
    let samples = sine(8000);
    assert_eq!(read(&write(&samples)).unwrap().samples.as_ref(), samples);
    assert_eq!(read(&write(&[])), Err(WavError::Empty));
}

#[test]
fn another_program_reads_what_we_write_and_we_what_it_writes() {
    let samples = sine(8000);
    let mut theirs = hound::WavReader::new(std::io::Cursor::new(write(&samples))).unwrap();
    assert_eq!((theirs.spec().sample_rate, theirs.spec().channels), (8000, 1));
    assert_eq!(theirs.samples::<i16>().map(Result::unwrap).collect::<Vec<_>>(), samples);
    for bits_per_sample in [8, 16, 24, 32] {
        let spec =
            hound::WavSpec { channels: 1, sample_rate: 8000, bits_per_sample, sample_format: hound::SampleFormat::Int };
        let mut bytes = std::io::Cursor::new(Vec::new());
        let mut writer = hound::WavWriter::new(&mut bytes, spec).unwrap();
        for sample in &samples {
            let wide = (i32::from(*sample) << 16) >> (32 - bits_per_sample);
            writer.write_sample(wide).unwrap();
        }
        writer.finalize().unwrap();
        let worst = error(&read(&bytes.into_inner()).unwrap());
        assert!(worst <= if bits_per_sample == 8 { 256 } else { 0 }, "{bits_per_sample} bits: off by {worst}");
    }
}

#[test]
fn every_sample_size_rate_and_channel_count_sounds_the_same() {
    for rate in RATES {
        for channels in [1, 2] {
            let wave: Vec<i16> = sine(rate).iter().flat_map(|s| std::iter::repeat_n(*s, channels.into())).collect();
            let a: Vec<u8> = wave.iter().map(|s| g711::alaw(*s)).collect();
            let u: Vec<u8> = wave.iter().map(|s| g711::ulaw(*s)).collect();
            let eight: Vec<u8> = wave.iter().map(|s| ((s >> 8) + 128) as u8).collect();
            let sixteen: Vec<u8> = wave.iter().flat_map(|s| s.to_le_bytes()).collect();
            let more = |pad: usize| -> Vec<u8> {
                wave.iter().flat_map(|s| std::iter::repeat_n(0x7f, pad).chain(s.to_le_bytes())).collect()
            };
            for (code, bits, data, tolerance) in [
                (LINEAR, 8, eight, 300),
                (LINEAR, 16, sixteen, 30),
                (LINEAR, 24, more(1), 30),
                (LINEAR, 32, more(2), 30),
                (ALAW, 8, a, 400),
                (ULAW, 8, u, 400),
            ] {
                let prompt = read(&file(code, channels, rate, bits, &data)).unwrap();
                assert_eq!(prompt.samples.len(), 8000, "{rate} {channels} {code} {bits}");
                let worst = error(&prompt);
                assert!(
                    worst <= tolerance,
                    "{rate} Hz, {channels} channels, format {code}, {bits} bits: off by {worst}"
                );
            }
        }
    }
}

#[test]
fn two_channels_are_heard_as_one() {
    let data: Vec<u8> = [(1000i16, 3000i16), (-32768, -32768), (32767, 32767)]
        .iter()
        .flat_map(|(left, right)| [left.to_le_bytes(), right.to_le_bytes()].concat())
        .collect();
    assert_eq!(read(&file(LINEAR, 2, 8000, 16, &data)).unwrap().samples.as_ref(), [2000, -32768, 32767]);
}

#[test]
fn a_stream_without_a_known_length_gives_what_is_there() {
    for code in [LINEAR, ALAW] {
        let bits = if code == LINEAR { 16 } else { 8 };
        let mut bytes = file(code, 1, 8000, bits, &[1; 800]);
        let length = bytes.len() - 800 - 4;
        bytes[length..length + 4].copy_from_slice(&u32::MAX.to_le_bytes()[..]);
        let samples = read(&bytes).map(|prompt| prompt.samples.len());
        assert_eq!(samples, Ok(800 / usize::from(bits / 8)), "format {code}");
    }
}

#[test]
fn what_is_not_read_says_why() {
    let good = file(LINEAR, 1, 8000, 16, &[0; 320]);
    for (bytes, want) in [
        (vec![], WavError::NotWav),
        (b"ID3\x04 an MP3 file, perhaps".to_vec(), WavError::NotWav),
        (file(0x55, 1, 8000, 16, &[0; 320]), WavError::Format { code: 0x55, bits: 16 }),
        (file(3, 1, 8000, 32, &[0; 320]), WavError::Format { code: 3, bits: 32 }),
        (file(LINEAR, 1, 8000, 12, &[0; 320]), WavError::Format { code: LINEAR, bits: 12 }),
        (file(ALAW, 1, 8000, 16, &[0; 320]), WavError::Format { code: ALAW, bits: 16 }),
        (file(LINEAR, 6, 8000, 16, &[0; 320]), WavError::Channels(6)),
        (file(LINEAR, 0, 8000, 16, &[0; 320]), WavError::Channels(0)),
        (file(LINEAR, 1, 96_000, 16, &[0; 320]), WavError::Rate(96_000)),
        (file(LINEAR, 1, 8000, 16, &[]), WavError::Empty),
        (file(ALAW, 1, 8000, 8, &vec![0xd5; SAMPLES_MAX + 1]), WavError::TooLong),
        (vec![0; BYTES_MAX + 1], WavError::TooLong),
        (good[..40].to_vec(), WavError::Malformed("the format is cut short".into())),
        (good[..52].to_vec(), WavError::Malformed("no samples in it".into())),
    ] {
        let got = read(&bytes).unwrap_err();
        assert_eq!(got, want);
        assert!(!got.to_string().is_empty());
    }
}

#[test]
fn no_damage_to_a_file_does_harm() {
    for (code, bits) in [(LINEAR, 16), (LINEAR, 24), (ULAW, 8)] {
        let good = file(code, 2, 16_000, bits, &[0x41; 96]);
        for end in 0..good.len() {
            crate::fuzz::wav(&good[..end]);
        }
        for at in 0..good.len().min(64) {
            for value in [0, 1, 2, 0x7f, 0x80, 0xfe, 0xff] {
                let mut damaged = good.clone();
                damaged[at] = value;
                crate::fuzz::wav(&damaged);
            }
        }
    }
}

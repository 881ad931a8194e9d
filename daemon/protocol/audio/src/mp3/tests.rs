use std::f64::consts::TAU;

use super::*;

/// 0.6 s of 440 Hz at half of full scale, by lame: stereo and mono, MPEG-1, 2 and 2.5, one behind a tag.
const FILES: [&[u8]; 5] = [
    include_bytes!("tone-44100-2.mp3"),
    include_bytes!("tone-48000-1.mp3"),
    include_bytes!("tone-22050-1.mp3"),
    include_bytes!("tone-8000-1.mp3"),
    include_bytes!("tagged.mp3"),
];

/// The share of 440 Hz in all that is heard.
fn purity(samples: &[i16]) -> f64 {
    let (mut re, mut im, mut all) = (0.0, 0.0, 1.0);
    for (n, sample) in samples.iter().enumerate() {
        let (turn, sample) = (TAU * 440.0 * n as f64 / 8000.0, f64::from(*sample));
        (re, im, all) = (re + sample * turn.cos(), im + sample * turn.sin(), all + sample * sample);
    }
    2.0 * (re * re + im * im) / (samples.len() as f64 * all)
}

#[test]
fn what_lame_wrote_is_read_at_each_rate() {
    for (at, file) in FILES.into_iter().enumerate() {
        assert!(is_mp3(file));
        let prompt = read(file).unwrap();
        // The encoder pads both ends by up to three frames, of 72 ms at the most.
        assert!((4700..6400).contains(&prompt.samples.len()), "{at}: {}", prompt.samples.len());
        let middle = &prompt.samples[1600..4000];
        assert!(purity(middle) > 0.98, "{at}: {}", purity(middle));
        let loudest = middle.iter().map(|sample| sample.unsigned_abs()).max().unwrap();
        assert!((14_000..19_000).contains(&loudest), "{at}: {loudest}");
    }
}

#[test]
fn what_is_cut_short_or_damaged_gives_what_is_there() {
    for file in FILES {
        let whole = read(file).unwrap().samples.len();
        for part in 0..20 {
            let cut = read(&file[..file.len() * part / 20]);
            assert!(cut.map_or(0, |prompt| prompt.samples.len()) <= whole);
        }
        assert!(read(&file[..file.len() * 3 / 4]).is_ok());
        let mut torn = file.to_vec();
        let middle = torn.len() / 2;
        torn[middle..middle + 60].fill(0x5a);
        assert!(read(&torn).unwrap().samples.len() > whole / 2);
    }
}

#[test]
fn what_is_no_mp3_is_told_so() {
    let tag = |length: [u8; 4], rest: &[u8]| [b"ID3\x04\0\0".as_slice(), &length, rest].concat();
    for (file, want) in [
        (b"".to_vec(), Mp3Error::NotMp3),
        (b"ID3".to_vec(), Mp3Error::NotMp3),
        (vec![0; 5000], Mp3Error::NotMp3),
        (tag([0x7f, 0x7f, 0x7f, 0x7f], &[0; 100]), Mp3Error::NotMp3),
        (tag([0, 0, 0, 4], &[0; 100]), Mp3Error::NotMp3),
        (b"RIFF\0\0\0\0WAVEfmt ".repeat(20), Mp3Error::NotMp3),
        (vec![0; BYTES_MAX + 1], Mp3Error::TooLong),
    ] {
        assert_eq!(read(&file), Err(want), "{:?}", &file[..file.len().min(16)]);
    }
    assert!(!is_mp3(b"RIFF") && !is_mp3(&[0xff, 0xf1, 0x50]), "WAV, and AAC with its own frames");
}

#[test]
fn a_long_file_is_refused_before_it_is_decoded_whole() {
    // Frames of 72 ms at 8000 Hz: an hour.
    let file = FILES[3];
    let frames = &file[file.len() / 2..];
    let start = frames.windows(2).position(|pair| pair[0] == 0xff && pair[1] == 0xe3).unwrap();
    let long = [&file[..file.len() / 2 + start], &frames[start..].repeat(9000)].concat();
    assert_eq!(read(&long), Err(Mp3Error::TooLong));
}

#[test]
fn hostile_files_end_in_an_error_or_in_a_bounded_prompt() {
    let mut random = 7u64;
    let mut next = |below: usize| {
        random = random.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (random >> 33) as usize % below
    };
    for round in 0..400 {
        let mut file = FILES[round % FILES.len()].to_vec();
        for _ in 0..1 + next(12) {
            let at = next(file.len());
            match next(4) {
                0 => file[at] = next(256) as u8,
                1 => file[at] ^= 1 << next(8),
                2 => file.truncate(at + 1),
                _ => {
                    let piece = file[at..(at + next(200)).min(file.len())].to_vec();
                    file.splice(at..at, piece);
                }
            }
        }
        if let Ok(prompt) = read(&file) {
            assert!(prompt.samples.len() <= crate::wav::SAMPLES_MAX, "{round}");
        }
    }
}

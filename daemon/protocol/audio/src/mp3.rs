//! MP3 files to prompts: MPEG-1, 2 and 2.5 audio, layer III.
//!
//! The decoder is symphonia's, with nothing but this format: pure Rust without `unsafe` of its own, and kept up; minimp3 and its kin are bindings to C or
//! sleep. Of tags in front only the length is read. What a stream may say of itself (frames, gaps, rates) is not believed but counted as it is
//! decoded; a damaged frame is left out, and a file cut short gives what is there.

use std::{fmt, io::Cursor};

use postern_types::media::Prompt;
use symphonia_bundle_mp3::{MpaDecoder, MpaReader};
use symphonia_core::{
    codecs::audio::{AudioDecoder, AudioDecoderOptions},
    errors::Error,
    formats::{FormatOptions, FormatReader, TrackType},
    io::MediaSourceStream,
};

use crate::{
    resample,
    wav::{BYTES_MAX, RATES, SECONDS_MAX},
};

/// Damaged frames in a row after which the rest is not tried: some ten seconds.
const DAMAGED_MAX: u32 = 400;

/// Why a file is no prompt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mp3Error {
    /// No frame of layer III in it.
    NotMp3,
    /// The rate changes within it, or is not one of [`RATES`].
    Rate(u32),
    /// Longer than [`SECONDS_MAX`] or larger than [`BYTES_MAX`].
    TooLong,
    /// No sound could be decoded.
    Empty,
}

impl fmt::Display for Mp3Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotMp3 => f.write_str("not an MP3 file"),
            Self::Rate(hz) => write!(f, "an MP3 file of {hz} Hz: want one of {RATES:?}, and no change within it"),
            Self::TooLong => write!(f, "longer than {SECONDS_MAX} seconds"),
            Self::Empty => f.write_str("no sound in the MP3 file"),
        }
    }
}

impl std::error::Error for Mp3Error {}

/// Whether a file begins as MP3 files do: with a tag (ID3v2), or a frame of layer III.
pub fn is_mp3(bytes: &[u8]) -> bool {
    bytes.starts_with(b"ID3") || matches!(bytes, [0xff, second, ..] if second & 0xe6 == 0xe2)
}

/// Reads a whole file.
pub fn read(bytes: &[u8]) -> Result<Prompt, Mp3Error> {
    if bytes.len() > BYTES_MAX {
        return Err(Mp3Error::TooLong);
    }
    let sound = behind_tag(bytes).ok_or(Mp3Error::NotMp3)?;
    let stream = MediaSourceStream::new(Box::new(Cursor::new(sound.to_vec())), Default::default());
    let mut reader = MpaReader::try_new(stream, FormatOptions::default()).map_err(|_| Mp3Error::NotMp3)?;
    let track = reader.default_track(TrackType::Audio).ok_or(Mp3Error::NotMp3)?;
    let params = track.codec_params.as_ref().and_then(|params| params.audio()).ok_or(Mp3Error::NotMp3)?;
    let mut decoder = MpaDecoder::try_new(params, &AudioDecoderOptions::default()).map_err(|_| Mp3Error::NotMp3)?;
    let (mut samples, mut frame, mut rate, mut damaged) = (Vec::new(), Vec::<i16>::new(), None, 0);
    while let Ok(Some(packet)) = reader.next_packet() {
        let decoded = match decoder.decode(&packet) {
            Ok(decoded) => decoded,
            Err(Error::DecodeError(_)) if damaged < DAMAGED_MAX => {
                damaged += 1;
                continue;
            }
            Err(_) => break,
        };
        damaged = 0;
        let (hz, channels) = (decoded.spec().rate(), decoded.spec().channels().count());
        if *rate.get_or_insert(hz) != hz || !RATES.contains(&hz) {
            return Err(Mp3Error::Rate(hz));
        }
        frame.resize(decoded.samples_interleaved(), 0);
        decoded.copy_to_slice_interleaved(&mut frame);
        samples.extend(frame.chunks_exact(channels.max(1)).map(|of_all| {
            let sum: i32 = of_all.iter().map(|sample| i32::from(*sample)).sum();
            (sum / of_all.len() as i32) as i16
        }));
        if samples.len() > SECONDS_MAX * hz as usize {
            return Err(Mp3Error::TooLong);
        }
    }
    match resample::to_8000(&samples, rate.ok_or(Mp3Error::Empty)?) {
        samples if samples.is_empty() => Err(Mp3Error::Empty),
        samples => Ok(Prompt { samples }),
    }
}

/// The file without its ID3v2 tags: ten bytes, of which the last four say how long the rest is, seven bits each.
fn behind_tag(mut bytes: &[u8]) -> Option<&[u8]> {
    while let [b'I', b'D', b'3', _, _, flags, a, b, c, d, rest @ ..] = bytes {
        let length = [a, b, c, d].into_iter().fold(0, |length, seven| length << 7 | usize::from(*seven & 0x7f));
        // A footer repeats the head.
        let footer = if flags & 0x10 != 0 { 10 } else { 0 };
        bytes = rest.get(length + footer..)?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests;

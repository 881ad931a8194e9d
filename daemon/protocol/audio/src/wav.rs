//! WAV files to prompts, and samples to WAV files.
//!
//! Read are linear samples of 8, 16, 24 and 32 bits, A-law and µ-law. All rates of [`RATES`] come out at 8000 Hz, two channels as
//! one. A file cut short, or a stream whose length nobody knew, gives what is there.
//!
//! The walk is our own because no crate reads what application servers send: hound 3.5 knows neither of the G.711 formats nor the padding
//! of chunks of odd length; symphonia 0.6 reads both, but refuses files that were cut short or streamed (a length that is larger than the
//! file, as sox and many recorders write it), and panics on a sample rate of 2^31 Hz and more, which a stranger's file may say. hound is the
//! independent witness of the tests.

use std::fmt;

use postern_types::media::Prompt;

use crate::{g711, resample};

pub use crate::resample::RATES;

/// Seconds of a prompt at most: ten minutes of music for somebody who waits, 9.6 MB decoded.
pub const SECONDS_MAX: usize = 600;
/// Samples of a prompt at most.
pub const SAMPLES_MAX: usize = SECONDS_MAX * 8000;
/// Bytes of a file at most: ten minutes of stereo at 48 kHz and 16 bits, with headers.
pub const BYTES_MAX: usize = SECONDS_MAX * 48_000 * 4 + 65_536;

/// Why a file is no prompt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WavError {
    /// No RIFF/WAVE header: some other kind of file.
    NotWav,
    /// The header contradicts itself or the file.
    Malformed(String),
    /// A format code or sample size that is not read here.
    Format {
        /// The format code of the header: 1 linear, 3 floating point, 6 A-law, 7 µ-law, 0x55 MP3, ...
        code: u16,
        /// Bits a sample.
        bits: u16,
    },
    /// More than two channels, or none.
    Channels(u16),
    /// A rate that is not one of [`RATES`].
    Rate(u32),
    /// Longer than [`SECONDS_MAX`] or larger than [`BYTES_MAX`].
    TooLong,
    /// No samples.
    Empty,
}

impl fmt::Display for WavError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotWav => f.write_str("not a WAV file"),
            Self::Malformed(why) => write!(f, "damaged WAV file: {why}"),
            Self::Format { code, bits } => {
                write!(f, "WAV format {code} with {bits} bits is not read: want linear 8 to 32 bits, A-law or mu-law")
            }
            Self::Channels(n) => write!(f, "{n} channels: want one or two"),
            Self::Rate(hz) => write!(f, "a rate of {hz} Hz: want one of {RATES:?}"),
            Self::TooLong => write!(f, "longer than {SECONDS_MAX} seconds"),
            Self::Empty => f.write_str("no sound in it"),
        }
    }
}

impl std::error::Error for WavError {}

/// Reads a whole file.
pub fn read(bytes: &[u8]) -> Result<Prompt, WavError> {
    if bytes.len() > BYTES_MAX {
        return Err(WavError::TooLong);
    }
    let riff = Riff::read(bytes)?;
    let Format { code, channels, rate, bits } = riff.format;
    if !(1..=2).contains(&channels) {
        return Err(WavError::Channels(channels));
    }
    if !RATES.contains(&rate) {
        return Err(WavError::Rate(rate));
    }
    let frames = riff.data.len() / usize::from(channels) / usize::from(bits / 8).max(1);
    if frames > SECONDS_MAX * rate as usize {
        return Err(WavError::TooLong);
    }
    let decoded = |decode: fn(&[u8], &mut [i16]) -> usize| {
        let mut samples = vec![0; riff.data.len()];
        decode(riff.data, &mut samples);
        samples
    };
    let mut samples = match (code, bits) {
        (ALAW, 8) => decoded(g711::decode_alaw),
        (ULAW, 8) => decoded(g711::decode_ulaw),
        (LINEAR, 8 | 16 | 24 | 32) => linear(riff.data, bits),
        _ => return Err(WavError::Format { code, bits }),
    };
    if channels == 2 {
        samples = samples.chunks_exact(2).map(|pair| ((i32::from(pair[0]) + i32::from(pair[1])) / 2) as i16).collect();
    }
    match resample::to_8000(&samples, rate) {
        samples if samples.is_empty() => Err(WavError::Empty),
        samples => Ok(Prompt { samples }),
    }
}

/// A file of 16-bit mono samples at 8000 Hz. The container counts bytes in 32 bits: two billion samples at most, the rest is left out.
pub fn write(samples: &[i16]) -> Vec<u8> {
    /// Bytes behind the RIFF chunk's length and before the samples.
    const HEAD: usize = 36;
    let samples = &samples[..samples.len().min((u32::MAX as usize - HEAD) / 2)];
    let bytes = 2 * samples.len();
    let mut file = Vec::with_capacity(8 + HEAD + bytes);
    file.extend(b"RIFF");
    file.extend(((HEAD + bytes) as u32).to_le_bytes());
    file.extend(b"WAVEfmt \x10\0\0\0");
    file.extend([LINEAR, 1].iter().flat_map(|word| word.to_le_bytes()));
    file.extend([resample::RATE, 2 * resample::RATE].iter().flat_map(|word| word.to_le_bytes()));
    file.extend(b"\x02\0\x10\0data");
    file.extend((bytes as u32).to_le_bytes());
    file.extend(samples.iter().flat_map(|sample| sample.to_le_bytes()));
    file
}

/// Linear samples of whole bytes as 16 bits; of wider ones the upper half. Eight bits are unsigned, all others signed.
fn linear(data: &[u8], bits: u16) -> Vec<i16> {
    match bits {
        8 => data.iter().map(|byte| i16::from(byte ^ 0x80) << 8).collect(),
        _ => {
            let width = usize::from(bits / 8);
            data.chunks_exact(width).map(|s| i16::from_le_bytes([s[width - 2], s[width - 1]])).collect()
        }
    }
}

const LINEAR: u16 = 1;
const ALAW: u16 = 6;
const ULAW: u16 = 7;
/// The real format code is the front of a GUID.
const EXTENSIBLE: u16 = 0xfffe;
/// Chunks before the samples at most: recorders write three or four.
const CHUNKS_MAX: usize = 64;

/// What the `fmt ` chunk says.
#[derive(Debug, Clone, Copy)]
struct Format {
    code: u16,
    channels: u16,
    rate: u32,
    bits: u16,
}

/// A file's two chunks that count.
struct Riff<'f> {
    format: Format,
    data: &'f [u8],
}

impl<'f> Riff<'f> {
    fn read(bytes: &'f [u8]) -> Result<Self, WavError> {
        let malformed = |why: &str| WavError::Malformed(why.to_owned());
        let mut rest = match bytes {
            [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'A', b'V', b'E', rest @ ..] => rest,
            _ => return Err(WavError::NotWav),
        };
        let mut format = None;
        for _ in 0..CHUNKS_MAX {
            let Some((head, body)) = rest.split_first_chunk::<8>() else { break };
            let length = u32::from_le_bytes([head[4], head[5], head[6], head[7]]) as usize;
            let chunk = &body[..length.min(body.len())];
            match &head[..4] {
                b"fmt " => format = Some(Format::read(chunk).ok_or_else(|| malformed("the format is cut short"))?),
                b"data" => {
                    let format = format.ok_or_else(|| malformed("samples before their format"))?;
                    return Ok(Self { format, data: chunk });
                }
                _ => {}
            }
            // Chunks are padded to even lengths.
            rest = body.get(length.saturating_add(length & 1)..).unwrap_or_default();
        }
        Err(malformed("no samples in it"))
    }
}

impl Format {
    fn read(chunk: &[u8]) -> Option<Self> {
        let word = |at: usize| chunk.get(at..at + 2).map(|b| u16::from_le_bytes([b[0], b[1]]));
        let rate = u32::from(word(4)?) | u32::from(word(6)?) << 16;
        let code = match word(0)? {
            EXTENSIBLE => word(24)?,
            code => code,
        };
        Some(Self { code, channels: word(2)?, rate, bits: word(14)? })
    }
}

#[cfg(test)]
mod tests;

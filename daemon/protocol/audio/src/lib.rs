//! Sound: codecs, concealment of what was lost, comfort noise, resampling, WAV and MP3 files, tones, digits as tones, mixing, and the time line of recordings.
//!
//! Plain computing. What is played and to whom is the media plane's; here bytes become 16-bit samples of one channel and back. Codecs
//! and all that works on frames allocate when they are made and never for a frame; reading a WAV file allocates its samples once. Unsafe code is
//! only in `g729::bcg729`, which calls a C library.

#![deny(unsafe_code)]

pub mod codec;
pub mod copies;
pub mod dtmf;
pub mod g711;
pub mod mix;
pub mod mp3;
pub mod noise;
pub mod plc;
pub mod rate;
pub mod stretch;
pub mod tape;
pub mod tone;
pub mod wav;

mod g722;
mod g729;
mod opus;
mod resample;

pub use codec::{Decode, Decoder, Encode, Encoder};

/// Entries for fuzzing.
pub mod fuzz {
    use postern_types::stream::{Codec, Format};

    use crate::{Decode, Decoder, codec::PAYLOAD_MS_MAX, noise::Noise};

    /// Whatever a peer sends as payloads of whatever codec, decoding it ends in samples of a bounded number or in an error. The first byte of
    /// each piece says its length and what happens beside it.
    pub fn payloads(data: &[u8]) {
        let Some((choice, mut rest)) = data.split_first() else { return };
        let codec = match choice % 5 {
            0 => Codec::Pcma,
            1 => Codec::Pcmu,
            2 => Codec::G722,
            3 => Codec::G729,
            _ => Codec::Opus,
        };
        let (clock_hz, rate) =
            (if codec == Codec::Opus { 48000 } else { 8000 }, if choice & 8 == 0 { 8000 } else { 16000 });
        let format = Format { payload_type: 96, codec, clock_hz, channels: 1, fmtp: "".into() };
        let Some(mut decoder) = Decoder::new(&format, rate) else { return };
        let mut noise = Noise::default();
        let mut out = vec![0; PAYLOAD_MS_MAX * 48];
        let ten_ms = decoder.rate() as usize / 100;
        while let Some((head, after)) = rest.split_first() {
            let (payload, after) = after.split_at(usize::from(head & 0x7f).min(after.len()));
            if let Ok(samples) = decoder.decode(payload, &mut out) {
                assert!(samples <= PAYLOAD_MS_MAX * decoder.rate() as usize / 1000);
            }
            if head & 0x80 != 0 {
                decoder.conceal(&mut out[..ten_ms]);
                decoder.recover(payload, &mut out[..2 * ten_ms]);
                decoder.pause(&mut out[..ten_ms]);
                noise.take(payload);
                noise.fill(&mut out[..ten_ms]);
            }
            rest = after;
        }
    }

    /// Whatever the bytes are, reading them as MP3 ends in a prompt of bounded length or in an error.
    pub fn mp3(data: &[u8]) {
        if let Ok(prompt) = crate::mp3::read(data) {
            assert!(prompt.samples.len() <= crate::wav::SAMPLES_MAX);
        }
    }

    /// Whatever the bytes are, reading them as WAV ends in a prompt of bounded length or in an error.
    pub fn wav(data: &[u8]) {
        if let Ok(prompt) = crate::wav::read(data) {
            assert!(prompt.samples.len() <= crate::wav::SAMPLES_MAX);
        }
    }
}

//! Codecs behind two small traits: a payload becomes samples, samples become a payload.
//!
//! [`Decoder`] and [`Encoder`] are all codecs in one type, without `dyn`. Both are made for a [`Format`] and a wish for a sample rate: G.711
//! is of 8000 Hz, G.722 of 16000, Opus of whatever is asked, since libopus decodes to any of its rates and
//! computes no more than they need. One channel throughout: Opus in stereo is mixed down by its decoder.
//!
//! G.729 is there when its library is ([`libraries`]).

use std::fmt;

use postern_types::stream::{Codec, Format, Libraries};

use crate::{
    g711,
    g722::{G722Decoder, G722Encoder},
    g729::{self, G729Decoder, G729Encoder},
    opus::{OpusDecoder, OpusEncoder},
    plc::Concealer,
};

/// Milliseconds of one payload at most: what Opus allows (RFC 6716 3.2.5). Longer ones are bad.
pub const PAYLOAD_MS_MAX: usize = 120;
/// Bytes that any encoder writes for 60 ms at most: G.711 and G.722; Opus is held to it.
pub const ENCODED_MAX: usize = 480;

/// A payload is none of its codec: its length or its inside is impossible.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BadPayload;

impl fmt::Display for BadPayload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a payload of its codec")
    }
}

impl std::error::Error for BadPayload {}

/// Payloads to samples. Calls follow the order of speech; each stretch of it is decoded, concealed or passed over once.
pub trait Decode {
    /// Samples a second.
    fn rate(&self) -> u32;
    /// Decodes a payload into `out`, which has room for [`PAYLOAD_MS_MAX`]; says how many samples it was.
    fn decode(&mut self, payload: &[u8], out: &mut [i16]) -> Result<usize, BadPayload>;
    /// Fills `out`, a multiple of 10 ms, with what a lost stretch may have sounded like. Ends in silence when it goes on.
    fn conceal(&mut self, out: &mut [i16]);
    /// Fills `out`, which the payload before `next` would have filled, with what `next` says of it. False: nothing, `out` is as it was.
    fn recover(&mut self, _next: &[u8], _out: &mut [i16]) -> bool {
        false
    }
    /// Fills `out`, a multiple of 10 ms, with the noise of a pause in which the sender sends nothing; false when the codec knows of no such noise.
    fn pause(&mut self, _out: &mut [i16]) -> bool {
        false
    }
    /// Whether the latest payload announced a pause.
    fn is_pausing(&self) -> bool {
        false
    }
}

/// Samples to payloads.
pub trait Encode {
    /// Samples a second.
    fn rate(&self) -> u32;
    /// Encodes `samples`, 10, 20, 30, 40 or 60 ms that this codec has frames for ([`Encoder::ptime`]), into `out` with room for
    /// [`ENCODED_MAX`]; says how many bytes. None: nothing need be sent, for it is a pause.
    fn encode(&mut self, samples: &[i16], out: &mut [u8]) -> Option<usize>;
    /// Samples of the latest that are before the beginning of their payload: a pause ended among them.
    fn skipped(&self) -> usize {
        0
    }
    /// Whether the latest payload ends in a pause, or is all of one.
    fn is_pausing(&self) -> bool {
        false
    }
}

/// What this machine has of the codecs that are libraries of the system. The first call loads them.
pub fn libraries() -> Libraries {
    Libraries { g729: g729::is_here() }
}

/// Any decoder.
pub enum Decoder {
    /// G.711 A-law.
    Pcma(Concealed),
    /// G.711 µ-law.
    Pcmu(Concealed),
    /// G.722 at 64 kbit/s.
    G722(Box<G722Decoder>),
    /// G.729.
    G729(G729Decoder),
    /// Opus.
    Opus(OpusDecoder),
}

/// A codec without memory, and the concealment that needs some.
pub struct Concealed(Box<Concealer>);

impl Decoder {
    /// For a format; `rate` (8000, 16000 or 48000) is a wish, [`Decode::rate`] says what came of it. None: not [`Format::is_codable`].
    pub fn new(format: &Format, rate: u32) -> Option<Self> {
        if !format.is_codable(libraries()) {
            return None;
        }
        let concealed = || Concealed(Box::new(Concealer::new(8000)));
        Some(match format.codec {
            Codec::Pcma => Self::Pcma(concealed()),
            Codec::Pcmu => Self::Pcmu(concealed()),
            Codec::G722 => Self::G722(Box::default()),
            Codec::G729 => Self::G729(G729Decoder::new()?),
            Codec::Opus => Self::Opus(OpusDecoder::new(rate)?),
            Codec::Other(_) => return None,
        })
    }
}

impl Concealed {
    fn decode(
        &mut self,
        law: fn(&[u8], &mut [i16]) -> usize,
        payload: &[u8],
        out: &mut [i16],
    ) -> Result<usize, BadPayload> {
        if payload.is_empty() || payload.len() > PAYLOAD_MS_MAX * 8 {
            return Err(BadPayload);
        }
        let samples = law(payload, out);
        self.0.heard(&mut out[..samples]);
        Ok(samples)
    }
}

impl Decode for Decoder {
    fn rate(&self) -> u32 {
        match self {
            Self::Pcma(_) | Self::Pcmu(_) => 8000,
            Self::G722(g722) => g722.rate(),
            Self::G729(g729) => g729.rate(),
            Self::Opus(opus) => opus.rate(),
        }
    }

    fn decode(&mut self, payload: &[u8], out: &mut [i16]) -> Result<usize, BadPayload> {
        match self {
            Self::Pcma(law) => law.decode(g711::decode_alaw, payload, out),
            Self::Pcmu(law) => law.decode(g711::decode_ulaw, payload, out),
            Self::G722(g722) => g722.decode(payload, out),
            Self::G729(g729) => g729.decode(payload, out),
            Self::Opus(opus) => opus.decode(payload, out),
        }
    }

    fn conceal(&mut self, out: &mut [i16]) {
        match self {
            Self::Pcma(law) | Self::Pcmu(law) => law.0.conceal(out),
            Self::G722(g722) => g722.conceal(out),
            Self::G729(g729) => g729.conceal(out),
            Self::Opus(opus) => opus.conceal(out),
        }
    }

    fn recover(&mut self, next: &[u8], out: &mut [i16]) -> bool {
        match self {
            Self::Opus(opus) => opus.recover(next, out),
            Self::Pcma(_) | Self::Pcmu(_) | Self::G722(_) | Self::G729(_) => false,
        }
    }

    fn pause(&mut self, out: &mut [i16]) -> bool {
        match self {
            Self::G729(g729) => g729.pause(out),
            Self::Opus(opus) => opus.pause(out),
            Self::Pcma(_) | Self::Pcmu(_) | Self::G722(_) => false,
        }
    }

    fn is_pausing(&self) -> bool {
        match self {
            Self::G729(g729) => g729.is_pausing(),
            Self::Opus(opus) => opus.is_pausing(),
            Self::Pcma(_) | Self::Pcmu(_) | Self::G722(_) => false,
        }
    }
}

/// Any encoder.
pub enum Encoder {
    /// G.711 A-law.
    Pcma,
    /// G.711 µ-law.
    Pcmu,
    /// G.722 at 64 kbit/s.
    G722(Box<G722Encoder>),
    /// G.729.
    G729(G729Encoder),
    /// Opus.
    Opus(OpusEncoder),
}

impl Encoder {
    /// For a format, with what its fmtp asks of the sender; `rate` is a wish as for [`Decoder::new`]. None: not [`Format::is_codable`].
    pub fn new(format: &Format, rate: u32) -> Option<Self> {
        if !format.is_codable(libraries()) {
            return None;
        }
        Some(match format.codec {
            Codec::Pcma => Self::Pcma,
            Codec::Pcmu => Self::Pcmu,
            Codec::G722 => Self::G722(Box::default()),
            Codec::G729 => Self::G729(G729Encoder::new(!format.refuses_annex_b())?),
            Codec::Opus => Self::Opus(OpusEncoder::new(rate, format)?),
            Codec::Other(_) => return None,
        })
    }

    /// The packet time nearest to the wished one that this codec has: 10, 20, 30, 40 or 60 ms; Opus has none of 30.
    pub fn ptime(&self, wished_ms: u8) -> u8 {
        match (self, wished_ms) {
            (_, 0..15) => 10,
            (Self::Opus(_), 15..35) | (_, 15..25) => 20,
            (_, 25..35) => 30,
            (_, 35..50) => 40,
            (_, 50..) => 60,
        }
    }
}

impl Encode for Encoder {
    fn rate(&self) -> u32 {
        match self {
            Self::Pcma | Self::Pcmu => 8000,
            Self::G722(g722) => g722.rate(),
            Self::G729(g729) => g729.rate(),
            Self::Opus(opus) => opus.rate(),
        }
    }

    fn encode(&mut self, samples: &[i16], out: &mut [u8]) -> Option<usize> {
        match self {
            Self::Pcma => Some(g711::encode_alaw(samples, out)),
            Self::Pcmu => Some(g711::encode_ulaw(samples, out)),
            Self::G722(g722) => g722.encode(samples, out),
            Self::G729(g729) => g729.encode(samples, out),
            Self::Opus(opus) => opus.encode(samples, out),
        }
    }

    fn skipped(&self) -> usize {
        match self {
            Self::G729(g729) => g729.skipped(),
            Self::Pcma | Self::Pcmu | Self::G722(_) | Self::Opus(_) => 0,
        }
    }

    fn is_pausing(&self) -> bool {
        match self {
            Self::G729(g729) => g729.is_pausing(),
            Self::Pcma | Self::Pcmu | Self::G722(_) | Self::Opus(_) => false,
        }
    }
}

#[cfg(test)]
mod tests;

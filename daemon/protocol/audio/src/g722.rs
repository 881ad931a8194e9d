//! G.722 at 64 kbit/s (ITU-T G.722, 09/12): the crate audio-codec. It is not bit-exact; the tests hold it against spandsp's stream.

use audio_codec::{Decoder as _, Encoder as _, g722};

use crate::{
    codec::{BadPayload, Decode, Encode, PAYLOAD_MS_MAX},
    plc::Concealer,
};

/// Samples a second.
const RATE: u32 = 16000;

/// Decodes, and conceals by repetition: what Appendix I of G.711 does, at twice the rate.
pub struct G722Decoder {
    inner: g722::G722Decoder,
    concealer: Concealer,
}

/// Encodes.
#[derive(Default)]
pub struct G722Encoder {
    inner: g722::G722Encoder,
}

impl Default for G722Decoder {
    fn default() -> Self {
        Self { inner: g722::G722Decoder::new(), concealer: Concealer::new(RATE) }
    }
}

impl Decode for G722Decoder {
    fn rate(&self) -> u32 {
        RATE
    }

    fn decode(&mut self, payload: &[u8], out: &mut [i16]) -> Result<usize, BadPayload> {
        if payload.is_empty() || payload.len() > PAYLOAD_MS_MAX * 8 {
            return Err(BadPayload);
        }
        let samples = self.inner.decode_into(payload, out).map_err(|_| BadPayload)?;
        self.concealer.heard(&mut out[..samples]);
        Ok(samples)
    }

    fn conceal(&mut self, out: &mut [i16]) {
        self.concealer.conceal(out);
    }
}

impl Encode for G722Encoder {
    fn rate(&self) -> u32 {
        RATE
    }

    fn encode(&mut self, samples: &[i16], out: &mut [u8]) -> Option<usize> {
        self.inner.encode_into(samples, out).ok()
    }
}

//! G.729 (ITU-T G.729, 06/12) with the comfort noise of Annex B: the crate g729-sys, held bit for bit against bcg729 by the tests.
//!
//! Frames of 10 ms and 10 bytes; a payload of several may end in a noise frame of 2 bytes (RFC 3551 4.5.6). Erased frames are concealed
//! by the codec itself.

use crate::codec::{BadPayload, Decode, Encode, PAYLOAD_MS_MAX};

/// Samples a second.
const RATE: u32 = 8000;
/// Samples of a frame.
const FRAME: usize = g729_sys::FRAME_SAMPLES;
/// Bytes of a frame of speech.
const SPEECH: usize = g729_sys::VOICE_FRAME_BYTES;
/// Bytes of a frame that describes noise.
const NOISE: usize = 2;

/// Decodes.
#[derive(Default)]
pub struct G729Decoder {
    inner: g729_sys::Decoder,
    pausing: bool,
}

/// Encodes.
pub struct G729Encoder {
    inner: g729_sys::Encoder,
}

impl G729Encoder {
    /// Without the pauses of Annex B: a peer that would take noise frames (`annexb=yes`, RFC 4856) need not get any.
    pub fn new() -> Self {
        Self { inner: g729_sys::Encoder::new(false) }
    }
}

impl Decode for G729Decoder {
    fn rate(&self) -> u32 {
        RATE
    }

    fn decode(&mut self, payload: &[u8], out: &mut [i16]) -> Result<usize, BadPayload> {
        let (speech, rest) = (payload.len() / SPEECH, payload.len() % SPEECH);
        let frames = speech + usize::from(rest != 0);
        if frames == 0 || !matches!(rest, 0 | NOISE) || frames * 10 > PAYLOAD_MS_MAX || out.len() < frames * FRAME {
            return Err(BadPayload);
        }
        for (frame, samples) in payload.chunks(SPEECH).zip(out.chunks_exact_mut(FRAME)) {
            self.pausing = frame.len() == NOISE;
            samples.copy_from_slice(&self.inner.decode(frame, false, self.pausing, false));
        }
        Ok(frames * FRAME)
    }

    fn conceal(&mut self, out: &mut [i16]) {
        for samples in out.chunks_mut(FRAME) {
            let concealed = self.inner.decode(&[], true, false, false);
            samples.copy_from_slice(&concealed[..samples.len()]);
        }
    }

    fn pause(&mut self, out: &mut [i16]) -> bool {
        if !self.pausing {
            return false;
        }
        for samples in out.chunks_mut(FRAME) {
            let noise = self.inner.decode(&[], false, true, false);
            samples.copy_from_slice(&noise[..samples.len()]);
        }
        true
    }

    fn is_pausing(&self) -> bool {
        self.pausing
    }
}

impl Encode for G729Encoder {
    fn rate(&self) -> u32 {
        RATE
    }

    fn encode(&mut self, samples: &[i16], out: &mut [u8]) -> Option<usize> {
        let mut written = 0;
        for (frame, room) in samples.as_chunks::<FRAME>().0.iter().zip(out.as_chunks_mut::<SPEECH>().0) {
            written += usize::from(self.inner.encode_into(frame, room));
        }
        Some(written)
    }
}

//! G.729 (ITU-T G.729 Annex A, with the pauses of Annex B): bcg729, where this machine has it.
//!
//! The library is under the GPL, version 3. Nothing of it is linked, built or shipped here: who wants G.729 converted installs it, and it is
//! loaded at the start. Without it G.729 is relayed, as any codec.
//!
//! A payload is frames of 10 ms, 10 bytes each, and behind them maybe one of 2 bytes that describes a silence (RFC 3551 4.5.6). What we say has
//! such silences too, unless a party refused them (`annexb=no`, RFC 7261).

mod bcg729;

use self::bcg729::{DecoderChannel, EncoderChannel, FRAME, Frame, SILENCE, SPEECH};
use crate::codec::{BadPayload, Decode, Encode, PAYLOAD_MS_MAX};

/// Samples a second.
const RATE: u32 = 8000;
/// Frames of a payload at most.
const FRAMES_MAX: usize = PAYLOAD_MS_MAX / 10;

/// Whether this machine has the library.
pub(crate) fn is_here() -> bool {
    bcg729::library().is_some()
}

/// Decodes; concealment and the noise of pauses are the library's.
pub struct G729Decoder {
    channel: DecoderChannel,
    pausing: bool,
}

/// Encodes speech, and pauses or the beginnings of them.
pub struct G729Encoder {
    channel: EncoderChannel,
    /// The latest frame was not one of speech.
    pausing: bool,
    /// Samples of the latest payload's time that are before its first frame.
    skipped: usize,
}

impl G729Decoder {
    /// None: no library, or no memory.
    pub fn new() -> Option<Self> {
        Some(Self { channel: DecoderChannel::new()?, pausing: false })
    }

    /// What follows the latest payload, without one: noise in a pause, else what a lost stretch may have sounded like.
    fn go_on(&mut self, out: &mut [i16]) {
        let (frames, rest) = out.as_chunks_mut();
        frames.iter_mut().for_each(|frame| self.channel.decode(Frame::Missing, frame));
        rest.fill(0);
    }
}

impl Decode for G729Decoder {
    fn rate(&self) -> u32 {
        RATE
    }

    fn decode(&mut self, payload: &[u8], out: &mut [i16]) -> Result<usize, BadPayload> {
        let (speech, rest) = payload.as_chunks::<SPEECH>();
        let silence = <&[u8; SILENCE]>::try_from(rest).ok();
        let frames = speech.len() + usize::from(silence.is_some());
        if payload.is_empty() || frames > FRAMES_MAX || (silence.is_none() && !rest.is_empty()) {
            return Err(BadPayload);
        }
        let (room, _) = out.as_chunks_mut::<FRAME>();
        let coded = speech.iter().map(Frame::Speech).chain(silence.map(Frame::Silence));
        for (frame, out) in coded.zip(room.get_mut(..frames).ok_or(BadPayload)?) {
            self.channel.decode(frame, out);
        }
        self.pausing = silence.is_some();
        Ok(frames * FRAME)
    }

    fn conceal(&mut self, out: &mut [i16]) {
        self.go_on(out);
    }

    fn pause(&mut self, out: &mut [i16]) -> bool {
        if self.pausing {
            self.go_on(out);
        }
        self.pausing
    }

    fn is_pausing(&self) -> bool {
        self.pausing
    }
}

impl G729Encoder {
    /// With `pauses`, or speaking all the time. None: no library, or no memory.
    pub fn new(pauses: bool) -> Option<Self> {
        Some(Self { channel: EncoderChannel::new(pauses)?, pausing: false, skipped: 0 })
    }
}

impl Encode for G729Encoder {
    fn rate(&self) -> u32 {
        RATE
    }

    fn encode(&mut self, samples: &[i16], out: &mut [u8]) -> Option<usize> {
        let (frames, _) = samples.as_chunks::<FRAME>();
        let mut len = 0;
        self.pausing = true;
        for (n, frame) in frames.iter().enumerate() {
            let mut coded = [0; SPEECH];
            let bytes = self.channel.encode(frame, &mut coded);
            if bytes > 0 {
                // RFC 3551 4.5.6: frames follow each other without a gap, and a description is the last. What came before a gap goes: it is a
                // description without its pause, or in long payloads the end of a word.
                if self.pausing {
                    (len, self.skipped) = (0, n * FRAME);
                }
                out.get_mut(len..len + bytes)?.copy_from_slice(&coded[..bytes]);
                len += bytes;
            }
            self.pausing = bytes != SPEECH;
        }
        (len > 0).then_some(len)
    }

    fn skipped(&self) -> usize {
        self.skipped
    }

    fn is_pausing(&self) -> bool {
        self.pausing
    }
}

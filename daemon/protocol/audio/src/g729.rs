//! G.729 (ITU-T G.729 Annex A, pauses of Annex B understood): bcg729, where this machine has it.
//!
//! The library is under the GPL, version 3. Nothing of it is linked, built or shipped here: who wants G.729 converted installs it, and it is
//! loaded at the start. Without it G.729 is relayed, as any codec.
//!
//! A payload is frames of 10 ms, 10 bytes each, and behind them maybe one of 2 bytes that describes a silence (RFC 3551 4.5.6). What we say has no
//! such silences: a peer that takes them does not demand them, and one that refuses them (`annexb=no`, RFC 7261) then has what it asked for.

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

/// Encodes speech and pauses alike.
pub struct G729Encoder {
    channel: EncoderChannel,
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
    /// None: no library, or no memory.
    pub fn new() -> Option<Self> {
        Some(Self { channel: EncoderChannel::new()? })
    }
}

impl Encode for G729Encoder {
    fn rate(&self) -> u32 {
        RATE
    }

    fn encode(&mut self, samples: &[i16], out: &mut [u8]) -> Option<usize> {
        let ((frames, _), (room, _)) = (samples.as_chunks::<FRAME>(), out.as_chunks_mut::<SPEECH>());
        let room = room.get_mut(..frames.len())?;
        frames.iter().zip(room).for_each(|(frame, out)| self.channel.encode(frame, out));
        Some(frames.len() * SPEECH)
    }
}

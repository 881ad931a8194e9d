//! The language between the router, the media plane and the recorder: copies of what a leg says and hears.
//!
//! A tap is put on a leg ([`MediaCommand::Tap`](crate::media::MediaCommand)); the media worker copies packets to whoever listens,
//! by a bounded queue of its own, and never waits for it. The recorder makes a file of the copies; a fork
//! ([`crate::fork`]) sends them on.

use std::time::{Duration, Instant};

use crate::{
    id::RecordingSid,
    stream::{Codec, Format},
};

/// Names a tap; never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TapId(pub u64);

/// Bytes of a copied payload at most: 80 ms of G.711 or G.722, and more than Opus takes for speech. A larger one is counted as lost.
pub const TAPPED_MAX: usize = 640;

/// Who listens to a tap.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Listener {
    /// A file is made of it.
    Recorder,
    /// It goes to a server.
    Fork,
}

/// Whose voice a copy is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Track {
    /// The leg's party: what it says.
    Inbound,
    /// What it hears: another party, a prompt, a conference.
    Outbound,
}

/// How a copied payload is coded: what the media plane can make samples of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Coding {
    /// G.711 A-law.
    Alaw,
    /// G.711 µ-law.
    Ulaw,
    /// G.722 at 64 kbit/s.
    G722,
    /// G.729, with the silences of Annex B.
    G729,
    /// Opus.
    Opus,
}

impl Coding {
    /// That of a format; none: nobody here reads it.
    pub fn of(format: &Format) -> Option<Self> {
        let coding = match format.codec {
            Codec::Pcma => Self::Alaw,
            Codec::Pcmu => Self::Ulaw,
            Codec::G722 => Self::G722,
            Codec::G729 => Self::G729,
            Codec::Opus => Self::Opus,
            Codec::Other(_) => return None,
        };
        (format.clock_hz == coding.clock_hz()).then_some(coding)
    }

    /// Of its timestamps, Hz (RFC 3551 4.5.2 for G.722, RFC 7587 4.1 for Opus).
    pub fn clock_hz(self) -> u32 {
        if self == Self::Opus { 48_000 } else { 8000 }
    }

    /// A format of it, without a number.
    pub fn format(self) -> Format {
        let (codec, channels) = match self {
            Self::Alaw => (Codec::Pcma, 1),
            Self::Ulaw => (Codec::Pcmu, 1),
            Self::G722 => (Codec::G722, 1),
            Self::G729 => (Codec::G729, 1),
            Self::Opus => (Codec::Opus, 2),
        };
        Format { payload_type: 0, codec, clock_hz: self.clock_hz(), channels, fmtp: "".into() }
    }
}

/// A copied packet.
#[derive(Clone)]
pub struct Tapped {
    /// Who listens.
    pub to: Listener,
    /// For whom.
    pub tap: TapId,
    /// When it came or left.
    pub at: Instant,
    /// Whose voice.
    pub track: Track,
    /// How it is coded.
    pub coding: Coding,
    /// The stream that it is of, and its place there (RTP).
    pub ssrc: u32,
    /// See above.
    pub timestamp: u32,
    /// Packets of this tap that could not be copied so far: the queue was full, or nobody can read their codec.
    pub lost: u64,
    /// Bytes of `room` that are the payload.
    pub len: u16,
    /// The payload.
    pub room: [u8; TAPPED_MAX],
}

impl Tapped {
    /// The payload's bytes.
    pub fn payload(&self) -> &[u8] {
        &self.room[..usize::from(self.len).min(TAPPED_MAX)]
    }
}

impl std::fmt::Debug for Tapped {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tapped").field("tap", &self.tap).field("track", &self.track).finish_non_exhaustive()
    }
}

/// What is to be recorded, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordingSetup {
    /// Names the file.
    pub recording: RecordingSid,
    /// The tracks that are heard in it.
    pub inbound: bool,
    /// See above.
    pub outbound: bool,
    /// Two channels: inbound left, outbound right. Else one with both.
    pub stereo: bool,
    /// Silence at both ends is cut off.
    pub trim: bool,
    /// Seconds at most; 0: as long as a file can be.
    pub seconds_max: u32,
    /// It ends when the inbound track has been silent for so long.
    pub silence: Option<Duration>,
}

/// What the router wants of the recorder. A command for a tap that is not there is ignored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecorderCommand {
    /// Begin. Exactly one [`RecorderEvent::Ended`] follows, sooner or later.
    Start(TapId, RecordingSetup),
    /// Leave out what comes; with `silence` its time stays, as silence.
    Pause {
        /// Which.
        tap: TapId,
        /// Whether its time stays.
        silence: bool,
    },
    /// Go on.
    Resume(TapId),
    /// End with what came until now.
    Stop(TapId),
}

/// Why a recording ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RecordingEnd {
    /// It was stopped.
    Stopped,
    /// It is as long as it may be.
    Full,
    /// Nothing was said for too long.
    Silence,
    /// The disk refused it, was too slow, or is full; what was written before is kept.
    Failed(String),
}

/// What the recorder tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RecorderEvent {
    /// A recording is over; its file is whole, or gone when nothing is in it.
    Ended {
        /// Which.
        tap: TapId,
        /// Why.
        why: RecordingEnd,
        /// How long it sounds.
        length: Duration,
        /// Bytes of its file; 0: there is none.
        bytes: u64,
        /// Packets that should be in it and are not.
        lost: u64,
    },
}

impl RecorderEvent {
    /// The tap that this is about.
    pub fn tap(&self) -> TapId {
        match self {
            Self::Ended { tap, .. } => *tap,
        }
    }
}

//! Why a leg ended, and who ended it.

use std::{borrow::Cow, fmt};

use serde::{Deserialize, Serialize};

/// Who released a leg, seen from this box.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EndedBy {
    /// The party at the far end of this leg.
    Peer,
    /// The other party of the call, through us.
    OtherParty,
    /// The call's document or route said so.
    Router,
    /// A person or program by REST, `postern hangup` or the control plane.
    Operator,
    /// We, because something failed: media time-out, transaction time-out, no port, shutdown.
    Postern,
}

/// A reason that can cross floors: a SIP status where one fits, and words for a person.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cause {
    /// SIP status code that tells this best (RFC 3261 21): 486 busy, 487 cancelled, 200 for a normal BYE.
    pub status: u16,
    /// Q.850 cause, when the peer sent one in a Reason header (RFC 3326) or one follows from the status.
    pub q850: Option<u8>,
    /// One phrase for a person, without secrets.
    pub text: Cow<'static, str>,
}

impl Cause {
    /// A normal release of an answered call.
    pub const NORMAL: Self = Self { status: 200, q850: Some(16), text: Cow::Borrowed("normal clearing") };
    /// The caller gave up before the answer.
    pub const CANCELLED: Self = Self { status: 487, q850: Some(16), text: Cow::Borrowed("cancelled by the caller") };
    /// Rang until the time-out.
    pub const NO_ANSWER: Self = Self { status: 480, q850: Some(19), text: Cow::Borrowed("no answer") };
    /// Another branch answered first (RFC 3326: SIP;cause=200;text="Call completed elsewhere").
    pub const ELSEWHERE: Self = Self { status: 487, q850: Some(26), text: Cow::Borrowed("answered elsewhere") };
    /// No audio for the configured time.
    pub const MEDIA_TIMEOUT: Self = Self { status: 408, q850: Some(41), text: Cow::Borrowed("no media received") };

    /// A cause from a status and words.
    pub fn new(status: u16, text: impl Into<Cow<'static, str>>) -> Self {
        Self { status, q850: q850_of(status), text: text.into() }
    }

    /// Whether the status says busy (486, 600).
    pub fn is_busy(&self) -> bool {
        matches!(self.status, 486 | 600)
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.status, self.text)
    }
}

/// The Q.850 cause of a SIP status, by RFC 3398 8.2.6.1 read backwards where one is stated.
pub fn q850_of(status: u16) -> Option<u8> {
    Some(match status {
        200..=299 => 16,
        404 | 485 | 604 => 1,
        486 | 600 => 17,
        480 => 19,
        403 | 603 => 21,
        410 => 22,
        484 => 28,
        487 => 16,
        408 | 504 => 102,
        488 | 606 => 88,
        503 => 41,
        500 => 41,
        _ => return None,
    })
}

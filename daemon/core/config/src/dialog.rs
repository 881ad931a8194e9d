//! How dialogs are kept with one peer: session timers, reliable provisional responses.

use std::time::Duration;

use serde::Serialize;

use crate::{
    reader::{Fields, Reader},
    value, write,
};

/// Session timers with one peer (RFC 4028).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct SessionTimer {
    /// Whether there are any.
    pub mode: SessionTimerMode,
    /// The interval that we ask for, and the longest that we agree to.
    #[serde(serialize_with = "write::duration")]
    pub expires: Duration,
    /// The shortest that we agree to (Min-SE), 90 s at least (RFC 4028 4).
    #[serde(serialize_with = "write::duration")]
    pub min: Duration,
}

/// When session timers are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum SessionTimerMode {
    /// Never: neither asked for nor agreed to.
    Off,
    /// Asked for in our calls and agreed to in the peer's; a peer that does not know them has none.
    #[default]
    Supported,
    /// The same, and a peer that does not know them is asked in the same rhythm whether it still has the call.
    Always,
}

/// Reliable provisional responses with one peer (RFC 3262).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Rel100 {
    /// Neither said nor understood.
    Off,
    /// Said to be known; used where the peer requires it, and for early media where it knows it.
    #[default]
    Supported,
    /// Required of the peer, both ways.
    Required,
}

impl Rel100 {
    pub(crate) const ALL: [Self; 3] = [Self::Off, Self::Supported, Self::Required];
}

/// How one peer tells digits and is told them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Dtmf {
    /// In the stream (RFC 4733), where both sides describe it; an INFO of the peer's counts as well.
    #[default]
    Rfc4733,
    /// By INFO alone.
    Info,
    /// As tones in the audio, for what knows nothing better; an INFO of the peer's counts as well.
    Inband,
}

impl Dtmf {
    pub(crate) const ALL: [Self; 3] = [Self::Rfc4733, Self::Info, Self::Inband];

    /// Whether the peer is told digits in the stream by packets of their own.
    pub fn is_by_events(self) -> bool {
        self == Self::Rfc4733
    }
}

/// What becomes of a peer's wish that the other party talk with somebody else (REFER, RFC 3515).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Refer {
    /// It is refused.
    #[default]
    Refuse,
    /// We call that other, by the rights of who asks.
    Terminate,
    /// The other party is asked to call it, by its own rights.
    Relay,
}

impl Refer {
    pub(crate) const ALL: [Self; 3] = [Self::Refuse, Self::Terminate, Self::Relay];
}

impl Default for SessionTimer {
    fn default() -> Self {
        // RFC 4028 4 recommends 30 minutes, and allows no less than 90 s.
        Self { mode: SessionTimerMode::Supported, expires: Duration::from_secs(1800), min: Duration::from_secs(90) }
    }
}

impl SessionTimer {
    /// `session_timer` of the section `f`, whose own path is `path`.
    pub(crate) fn read(r: &mut Reader<'_>, f: &Fields<'_>, path: &'static str) -> Option<Self> {
        let f = f.section_or_defaults(r, "session_timer", path)?;
        let modes = [SessionTimerMode::Off, SessionTimerMode::Supported, SessionTimerMode::Always];
        let (mode, expires, min) = (f.choice(r, "mode", &modes), f.duration(r, "expires"), f.duration(r, "min"));
        let read = Self { mode: mode?, expires: expires?, min: min? };
        if read.min > read.expires {
            let (min, expires) = (value::duration_text(read.min), value::duration_text(read.expires));
            r.error(f.span_of("min"), format!("`min` is {min}, more than `expires`, which is {expires}"))
                .hint("make `expires` longer, or leave `min` out");
            return None;
        }
        Some(read)
    }
}

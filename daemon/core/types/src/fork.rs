//! The language between the router and the driver of forks: a copy of what a leg says and hears, sent to a server over a WebSocket.
//!
//! The audio comes by a tap, as a recording's does ([`crate::recording`]); the tap's name is the fork's. A server that is slow,
//! dead or hostile costs copies, which are counted, and the fork: never the call.

use crate::{
    id::{AccountSid, CallSid, StreamSid},
    recording::TapId,
    secret::Secret,
};

/// What is sent, and where to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForkSetup {
    /// Its name for the server.
    pub stream: StreamSid,
    /// Whose call it is.
    pub account: Option<AccountSid>,
    /// The leg.
    pub call: CallSid,
    /// `ws:` or `wss:`, with a host and without user information. Its query may hold what nobody else should see.
    pub url: Secret<Box<str>>,
    /// Headers of the handshake beside its own: the signature.
    pub headers: Vec<(&'static str, Secret<Box<str>>)>,
    /// The tracks that are sent.
    pub inbound: bool,
    /// See above.
    pub outbound: bool,
    /// Told to the server at its start; a program's own, so possibly secret.
    pub parameters: Vec<(Box<str>, Secret<Box<str>>)>,
}

/// What the router wants of the driver. A command for a fork that is not there is ignored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ForkCommand {
    /// Connect. [`ForkEvent::Started`] follows when audio may come, and exactly one [`ForkEvent::Ended`], sooner or later.
    Start(TapId, Box<ForkSetup>),
    /// The party pressed a key.
    Digit {
        /// Which fork.
        tap: TapId,
        /// 0-9 * # A-D.
        digit: char,
    },
    /// Say goodbye, once what came until now is sent.
    Stop(TapId),
}

/// Why a fork ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ForkEnd {
    /// It was stopped.
    Stopped,
    /// The server closed it.
    Closed,
    /// The server could not be reached, or did not take what was sent; in words, without the URL's query.
    Failed(String),
}

/// What the driver tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ForkEvent {
    /// The server took the connection.
    Started {
        /// Which fork.
        tap: TapId,
    },
    /// It is over.
    Ended {
        /// Which fork.
        tap: TapId,
        /// Why.
        why: ForkEnd,
        /// Packets whose audio was sent.
        sent: u64,
        /// Packets that should have been sent and were not.
        lost: u64,
    },
}

impl ForkEvent {
    /// The fork that this is about.
    pub fn tap(&self) -> TapId {
        match self {
            Self::Started { tap } | Self::Ended { tap, .. } => *tap,
        }
    }
}

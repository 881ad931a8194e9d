//! What SIP runs over, and the name of one connection.

use std::{fmt, num::NonZeroU64};

use serde::{Deserialize, Serialize};

/// What SIP messages are carried by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    /// Datagrams.
    #[default]
    Udp,
    /// A plain stream.
    Tcp,
    /// TLS over TCP.
    Tls,
    /// WebSocket (RFC 7118).
    Ws,
    /// WebSocket over TLS.
    Wss,
}

impl Transport {
    /// All of them, in the order of the type.
    pub const ALL: [Self; 5] = [Self::Udp, Self::Tcp, Self::Tls, Self::Ws, Self::Wss];

    /// Whether nothing is lost, so that nothing needs to be repeated (RFC 3261 17).
    pub fn is_reliable(self) -> bool {
        self != Self::Udp
    }

    /// Whether it is encrypted.
    pub fn is_secure(self) -> bool {
        matches!(self, Self::Tls | Self::Wss)
    }

    /// Whether each message comes in a frame of its own, so that Content-Length is not needed to part them.
    pub fn is_framed(self) -> bool {
        matches!(self, Self::Udp | Self::Ws | Self::Wss)
    }

    /// As a Via says it (RFC 3261 20.42, RFC 7118 5.1).
    pub fn in_via(self) -> &'static str {
        match self {
            Self::Udp => "UDP",
            Self::Tcp => "TCP",
            Self::Tls => "TLS",
            Self::Ws => "WS",
            Self::Wss => "WSS",
        }
    }

    /// As the `transport` parameter of a SIP URI says it. RFC 7118 5.2 has `ws` for both WebSockets.
    pub fn in_uri(self) -> &'static str {
        match self {
            Self::Udp => "udp",
            Self::Tcp => "tcp",
            Self::Tls => "tls",
            Self::Ws | Self::Wss => "ws",
        }
    }

    /// As configuration, journal and status say it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Udp => "udp",
            Self::Tcp => "tcp",
            Self::Tls => "tls",
            Self::Ws => "ws",
            Self::Wss => "wss",
        }
    }
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One connection of a stream transport, never used twice. Who makes the connection gives the number: signaling odd ones for
/// those that it opens, the listeners even ones for those that they accept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectionId(NonZeroU64);

impl ConnectionId {
    /// The `n`th that was opened from here, from 0.
    pub fn opened(n: u64) -> Self {
        Self(NonZeroU64::MIN.saturating_add(n.saturating_mul(2)))
    }

    /// The `n`th that was accepted, from 0.
    pub fn accepted(n: u64) -> Self {
        Self(NonZeroU64::MIN.saturating_add(n.saturating_mul(2).saturating_add(1)))
    }
}

impl ConnectionId {
    /// Whether it was opened from here.
    pub fn is_opened(self) -> bool {
        self.0.get() % 2 == 1
    }
}

impl fmt::Display for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_both_makers_never_meet() {
        let opened: Vec<_> = (0..100).map(ConnectionId::opened).collect();
        assert!((0..100).map(ConnectionId::accepted).all(|id| !opened.contains(&id)));
    }
}

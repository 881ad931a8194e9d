//! What the tests of this room begin with.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use postern_types::stream::{Codec, Format};

use crate::relay::Limits;

pub(crate) const LIMITS: Limits = Limits { latch_window: Duration::from_secs(2), timeout: Duration::from_secs(30) };

#[allow(clippy::disallowed_methods, reason = "tests need a beginning of time")]
pub(crate) fn start() -> Instant {
    Instant::now()
}

/// A port of a host of the documentation's network.
pub(crate) fn address_of(host: u8, port: u16) -> SocketAddr {
    ([192, 0, 2, host], port).into()
}

pub(crate) fn address(port: u16) -> SocketAddr {
    address_of(1, port)
}

/// Where the party of a slot is.
pub(crate) fn peer_of(slot: u32) -> SocketAddr {
    address(4000 + slot as u16 * 2)
}

/// A codec with its usual payload type; without pauses, so that a packet follows from each frame.
pub(crate) fn format(codec: Codec) -> Format {
    let (payload_type, clock_hz, channels) = match codec {
        Codec::Pcmu => (0, 8000, 1),
        Codec::Pcma => (8, 8000, 1),
        Codec::G722 => (9, 8000, 1),
        Codec::G729 => (18, 8000, 1),
        _ => (111, 48000, 2),
    };
    let fmtp = if codec == Codec::G729 { "annexb=no" } else { "" };
    Format { payload_type, codec, clock_hz, channels, fmtp: fmtp.into() }
}

//! SRTP on one leg: what opens packets of the peer, and what protects ours.

use postern_srtp::{SrtpContext, dtls::Keys};
use postern_types::{media::StreamSetup, stream::SdesKey};

/// Both directions.
#[derive(Default)]
pub struct Crypto {
    inbound: Guard,
    outbound: Guard,
}

/// One direction.
#[derive(Default)]
enum Guard {
    /// No key: packets pass as they are.
    #[default]
    Plain,
    /// With a key. Apart, because legs without one should not carry the room for it.
    Keyed(Box<Keyed>),
    /// A key that the cipher refused, or that a handshake has yet to make: nothing passes, rather than in the clear.
    Shut,
}

struct Keyed {
    /// The SDES key; none when a handshake made it.
    key: Option<SdesKey>,
    context: SrtpContext,
}

/// The packet failed authentication, was replayed, or there is no usable key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refused;

impl Crypto {
    /// Takes the keys of a setup. A context lives on when its key did not change, for it counts rollovers and repeats.
    pub fn configure(&mut self, setup: &StreamSetup) {
        self.inbound.configure(setup.srtp_in.as_deref(), SrtpContext::inbound);
        self.outbound.configure(setup.srtp_out.as_deref(), SrtpContext::outbound);
    }

    /// Nothing passes until [`Crypto::take`].
    pub fn shut(&mut self) {
        (self.inbound, self.outbound) = (Guard::Shut, Guard::Shut);
    }

    /// Takes the keys of a handshake.
    pub fn take(&mut self, keys: &Keys) {
        let keyed = |context| Guard::Keyed(Box::new(Keyed { key: None, context }));
        match SrtpContext::keyed(keys) {
            Ok((inbound, outbound)) => (self.inbound, self.outbound) = (keyed(inbound), keyed(outbound)),
            Err(_) => self.shut(),
        }
    }

    /// Whether packets pass as they are, both ways.
    pub fn is_plain(&self) -> bool {
        matches!((&self.inbound, &self.outbound), (Guard::Plain, Guard::Plain))
    }

    /// Opens a packet of the peer in place, and says how long it is now.
    pub fn open(&mut self, room: &mut [u8], len: usize, rtcp: bool) -> Result<usize, Refused> {
        match &mut self.inbound {
            Guard::Plain => Ok(len),
            Guard::Keyed(with) if rtcp => with.context.unprotect_rtcp(room, len).map_err(|_| Refused),
            Guard::Keyed(with) => with.context.unprotect_rtp(room, len).map_err(|_| Refused),
            Guard::Shut => Err(Refused),
        }
    }

    /// Protects a packet for the peer in place, and says how long it is now.
    pub fn protect(&mut self, room: &mut [u8], len: usize, rtcp: bool) -> Result<usize, Refused> {
        match &mut self.outbound {
            Guard::Plain => Ok(len),
            Guard::Keyed(with) if rtcp => with.context.protect_rtcp(room, len).map_err(|_| Refused),
            Guard::Keyed(with) => with.context.protect_rtp(room, len).map_err(|_| Refused),
            Guard::Shut => Err(Refused),
        }
    }
}

impl Guard {
    fn configure<E>(&mut self, key: Option<&SdesKey>, make: impl FnOnce(&SdesKey) -> Result<SrtpContext, E>) {
        let Some(key) = key else {
            *self = Self::Plain;
            return;
        };
        let is_same = |before: &SdesKey| (before.suite, &before.key_salt) == (key.suite, &key.key_salt);
        if matches!(self, Self::Keyed(with) if with.key.as_ref().is_some_and(is_same)) {
            return;
        }
        *self =
            make(key).map_or(Self::Shut, |context| Self::Keyed(Box::new(Keyed { key: Some(key.clone()), context })));
    }
}

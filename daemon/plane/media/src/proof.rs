//! How a leg's peer proves itself when it is not by a key from signaling: ICE checks, a DTLS handshake, or both.
//!
//! Packets that are neither RTP nor RTCP come here, told apart by their first byte (RFC 7983). The order is: with ICE, a check with our
//! password opens the way for its source, and a nomination says where packets go; only over such a way is a handshake begun. Without
//! ICE the latch says who may try, and who ends the handshake with the described certificate is bound.
//!
//! A handshake costs our side 0.9-1.1 ms (measured by `cost` in postern-srtp), half of it in each of two datagrams. It is done on the
//! worker: a thread of its own would save the legs there those half milliseconds, but would own half of each leg's state and race
//! with its moves between workers. Instead [`Budget`] bounds how much of a worker handshakes may take; who comes beyond is asked to
//! come again by DTLS's own timer.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use postern_ice::{Lite, Verdict as Check};
use postern_srtp::dtls::{DATAGRAM_MAX, Identity, client_hello};
use postern_types::media::{MediaEvent, StreamSetup};

use crate::{
    keying::{Keying, Outcome},
    latch::Judgement,
    leg::Leg,
    relay::{Counts, Port, Verdict},
};

/// Handshake datagrams at once at most: 4 ms of a worker, below what any jitter buffer holds.
const BURST: u32 = 8;
/// How long a prompt waits for a handshake, from the description on: three repetitions of a lost flight. Then it plays to nobody, and ends.
const AWAIT_MAX: Duration = Duration::from_secs(8);
/// One more each so often: 100 handshakes a second, a tenth of a worker.
const REFILL: Duration = Duration::from_millis(5);

/// What a leg with ICE or DTLS has besides the others.
pub(crate) struct Proof {
    pub(crate) ice: Option<Lite>,
    pub(crate) keying: Option<Keying>,
    pub(crate) refused: Refused,
}

/// Who failed to prove to be the peer and was not told of yet.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Refused {
    pub(crate) packets: u64,
    pub(crate) latest: Option<(SocketAddr, &'static str)>,
    pub(crate) told: Option<Instant>,
}

/// A datagram that has to wait for a description.
pub(crate) struct Early {
    source: SocketAddr,
    datagram: Box<[u8]>,
}

impl Proof {
    /// Follows a setup. Says whether the peer has to prove itself by DTLS anew.
    pub(crate) fn configure(
        place: &mut Option<Box<Self>>,
        setup: &StreamSetup,
        identity: Option<&Arc<Identity>>,
    ) -> bool {
        if setup.ice.is_none() && setup.dtls.is_none() {
            *place = None;
            return false;
        }
        let proof =
            place.get_or_insert_with(|| Box::new(Self { ice: None, keying: None, refused: Refused::default() }));
        match (&mut proof.ice, &setup.ice) {
            (Some(lite), Some(ours)) => lite.restart(ours),
            (ice, ours) => *ice = ours.as_deref().map(Lite::new),
        }
        let goes_on = match (&proof.keying, &setup.dtls) {
            (Some(keying), Some(peer)) => keying.is_with(peer),
            (keying, peer) => keying.is_none() && peer.is_none(),
        };
        if !goes_on {
            let made = setup.dtls.as_deref().zip(identity);
            proof.keying = made.map(|(peer, identity)| Keying::new(identity.clone(), *peer));
        }
        !goes_on
    }
}

/// How many handshake datagrams may still be looked at.
#[derive(Debug, Default)]
pub(crate) struct Budget {
    left: u32,
    filled: Option<Instant>,
}

impl Budget {
    fn take(&mut self, now: Instant) -> bool {
        let passed = self.filled.map_or(REFILL * BURST, |filled| now.saturating_duration_since(filled));
        let more = (passed.as_micros() / REFILL.as_micros()).min(u128::from(BURST)) as u32;
        if more > 0 {
            self.left = (self.left + more).min(BURST);
            self.filled = Some(now);
        }
        let may = self.left > 0;
        self.left = self.left.saturating_sub(1);
        may
    }
}

/// What became of a packet that is no RTP.
#[derive(Default)]
pub(crate) struct Proved {
    pub(crate) verdict: Option<Verdict>,
    /// At most: bound, connected or keyed, refused.
    pub(crate) events: [Option<MediaEvent>; 3],
}

impl Leg {
    /// A packet that is neither RTP nor RTCP, on a leg that proves its peer.
    pub(crate) fn prove(
        &mut self,
        now: Instant,
        (slot, port): (u32, Port),
        source: SocketAddr,
        (room, len): (&mut [u8], usize),
        (budget, counts): (&mut Budget, &mut Counts),
    ) -> Proved {
        let proved = match room.first() {
            // RFC 5764 5.1.2 and RFC 8843: one port for all; what comes to the other belongs to nothing.
            Some(0..=3) if port == Port::Rtp => self.check(now, slot, source, room, len),
            Some(20..=63) if port == Port::Rtp => self.shake(now, source, room.get(..len).unwrap_or_default(), budget),
            _ => None,
        };
        proved.unwrap_or_else(|| {
            counts.dropped += 1;
            self.figures.dropped_bad += 1;
            Proved::default()
        })
    }

    /// A packet that is not RTP, before anything was described. Only the latest is kept, and only the beginning of a handshake: its
    /// repetition would come a second later, and a second of the call with it. The rest comes again soon enough.
    pub(crate) fn keep_early(&mut self, source: SocketAddr, datagram: &[u8]) {
        if datagram.len() <= DATAGRAM_MAX && client_hello(datagram).is_some() {
            self.early = Some(Box::new(Early { source, datagram: datagram.into() }));
        }
    }

    /// Begins or takes up the handshake, as far as there is one and somewhere to have it with.
    pub(crate) fn take_up(&mut self, now: Instant, budget: &mut Budget) -> [Option<MediaEvent>; 3] {
        self.connect(now);
        let Some(early) = self.early.take() else { return [None, None, None] };
        self.shake(now, early.source, &early.datagram, budget).map_or([None, None, None], |proved| proved.events)
    }

    /// An ICE check.
    fn check(&mut self, now: Instant, slot: u32, source: SocketAddr, room: &mut [u8], len: usize) -> Option<Proved> {
        let ice = self.proof.as_mut()?.ice.as_mut()?;
        let answer = match ice.handle_input(now, source, room, len) {
            Check::Answer(answer) => answer,
            Check::Drop(refusal) => {
                let refused = self.refuse(now, source, refusal.why());
                return Some(Proved { verdict: None, events: [refused, None, None] });
            }
        };
        self.figures.checks_received += 1;
        let mut events = [None, None, None];
        if answer.nominated {
            self.latch.prove(source);
            events[0] = Some(MediaEvent::Connected { leg: self.id, source });
            self.connect(now);
        }
        let verdict = Some(Verdict::Send { slot, port: Port::Rtp, to: source, len: answer.len });
        Some(Proved { verdict, events })
    }

    /// A datagram of a handshake.
    fn shake(&mut self, now: Instant, source: SocketAddr, datagram: &[u8], budget: &mut Budget) -> Option<Proved> {
        let judgement = self.latch.judge(now, source);
        let proof = self.proof.as_mut()?;
        let may = match &proof.ice {
            Some(ice) => ice.is_proven(now, source),
            None => judgement != Judgement::Stranger,
        };
        let keying = proof.keying.as_mut()?;
        if !may {
            let event = self.stranger(now, source);
            return Some(Proved { verdict: None, events: [event, None, None] });
        }
        if !budget.take(now) {
            return None;
        }
        let outcome = keying.handle_input(now, source, datagram);
        Some(Proved { verdict: None, events: self.follow(now, outcome) })
    }

    /// Whether audio to the peer has to wait for its handshake, and not in vain as it seems.
    pub(crate) fn awaits_keys(&self, now: Instant) -> bool {
        let keying = self.proof.as_ref().and_then(|proof| proof.keying.as_ref());
        let waited = now.saturating_duration_since(self.heard);
        keying.is_some_and(Keying::is_awaited) && waited < AWAIT_MAX
    }

    /// Counts a packet that could not be read. One that overtook the end of the handshake is none: its sender has keys, and we not yet.
    pub(crate) fn unreadable(&mut self) {
        let keying = self.proof.as_ref().and_then(|proof| proof.keying.as_ref());
        self.figures.dropped_bad += u64::from(!keying.is_some_and(Keying::is_awaited));
    }

    /// Begins the handshake if that is ours to do and there is somewhere to begin it with.
    fn connect(&mut self, now: Instant) {
        let is_ice = self.proof.as_ref().is_some_and(|proof| proof.ice.is_some());
        let to = self.latch.destination().filter(|to| is_ice || crate::latch::is_usable(to));
        if let Some((keying, to)) = self.proof.as_mut().and_then(|proof| proof.keying.as_mut()).zip(to) {
            keying.connect(now, to);
        }
    }

    /// What a handshake came to.
    pub(crate) fn follow(&mut self, now: Instant, outcome: Outcome) -> [Option<MediaEvent>; 3] {
        match outcome {
            Outcome::Nothing => [None, None, None],
            Outcome::Failed { source, why } => [self.refuse(now, source, why), None, None],
            Outcome::Keyed { source, keys, took } => {
                self.crypto.take(&keys);
                self.heard = now;
                let ice = self.proof.as_ref().and_then(|proof| proof.ice.as_ref());
                if ice.is_some_and(|ice| ice.nominated().is_none()) {
                    // A lite agent could wait for the nomination, and a browser would miss the first second (1.1 s seen). It passed a
                    // check with our password, which is its consent, and holds the key: what is said before it makes up its mind goes there.
                    self.latch.prove(source);
                }
                let bound = (ice.is_none() && self.latch.source() != Some(source)).then(|| {
                    let as_described = self.latch.bind(source);
                    MediaEvent::Latched { leg: self.id, source, as_described }
                });
                [bound, Some(MediaEvent::Keyed { leg: self.id, source, suite: keys.suite, took }), None]
            }
        }
    }
}

#[cfg(test)]
mod tests;

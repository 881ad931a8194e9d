//! DTLS on one leg: which handshakes are under way, with whom, and which one wins.
//!
//! Whoever can send to the port can send a ClientHello, with the party's own address forged too if the network lets it. So an
//! unfinished handshake keeps nobody out: each new ClientHello begins an attempt of its own beside the others, and the first that
//! ends with the described certificate is the leg's; the rest are forgotten. What is not a ClientHello goes to all attempts of its
//! source, and none of them may end another: the alerts of an attempt that fails are not sent.

use std::{
    collections::VecDeque,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use postern_srtp::dtls::{Dtls, Failure, Identity, Keys, Role, State, client_hello};
use postern_types::media::DtlsPeer;

/// Handshakes of one leg at once: a party, its second try, and two others. The oldest gives way.
const ATTEMPTS_MAX: usize = 4;
/// How long one may take: 4 repetitions of a lost flight.
const ATTEMPT_MAX: Duration = Duration::from_secs(20);
/// Handshakes that one description may begin: a forger who has spent them has spent 32 ms of a core, and the next offer begins anew.
const ATTEMPTS_ALL_MAX: u32 = 32;

/// Datagrams of a leg that wait for a buffer: two flights of each attempt.
const FLIGHTS_MAX: usize = 32;

/// See the module.
pub(crate) struct Keying {
    identity: Arc<Identity>,
    peer: DtlsPeer,
    attempts: Vec<Attempt>,
    begun: u32,
    is_keyed: bool,
    flights: VecDeque<(SocketAddr, Box<[u8]>)>,
    /// What the relay has noted for this leg, so that a flood of datagrams does not make it note it as often.
    planned: Planned,
}

/// See [`Keying::plan`].
#[derive(Debug, Clone, Copy, Default)]
struct Planned {
    flight: bool,
    deadline: Option<Instant>,
}

struct Attempt {
    source: SocketAddr,
    /// Of its ClientHello; none when we began.
    random: Option<[u8; 32]>,
    began: Instant,
    dtls: Dtls,
}

/// What a datagram or a time-out changed.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// Nothing to tell.
    Nothing,
    /// The peer proved itself, from here. Told once.
    Keyed { source: SocketAddr, keys: Box<Keys>, took: Duration },
    /// An attempt failed.
    Failed { source: SocketAddr, why: &'static str },
}

impl Keying {
    pub(crate) fn new(identity: Arc<Identity>, peer: DtlsPeer) -> Self {
        Self {
            identity,
            peer,
            attempts: Vec::new(),
            begun: 0,
            is_keyed: false,
            flights: VecDeque::new(),
            planned: Planned::default(),
        }
    }

    /// Whether it is for this peer: a new offer that says the same goes on with the same association (RFC 8842 4).
    pub(crate) fn is_with(&self, peer: &DtlsPeer) -> bool {
        self.peer == *peer
    }

    /// Begins, when that is ours to do and nobody has.
    pub(crate) fn connect(&mut self, now: Instant, to: SocketAddr) {
        if !self.peer.begins && !self.is_keyed && self.attempts.is_empty() {
            self.begin(now, to, Role::Client, None);
            self.collect();
        }
    }

    fn begin(&mut self, now: Instant, source: SocketAddr, role: Role, random: Option<[u8; 32]>) {
        if self.begun >= ATTEMPTS_ALL_MAX {
            return;
        }
        let Ok(dtls) = Dtls::new(now, &self.identity, role, self.peer.fingerprint) else { return };
        if self.attempts.len() >= ATTEMPTS_MAX {
            self.attempts.remove(0);
        }
        self.begun += 1;
        self.attempts.push(Attempt { source, random, began: now, dtls });
    }

    /// A datagram from a source that the leg may listen to.
    pub(crate) fn handle_input(&mut self, now: Instant, source: SocketAddr, datagram: &[u8]) -> Outcome {
        if self.is_keyed {
            // The last flight again, or a word of goodbye; a party that moved says it from elsewhere.
            if let Some(attempt) = self.attempts.first_mut() {
                attempt.source = source;
                attempt.dtls.handle_input(now, datagram);
            }
            self.collect();
            return Outcome::Nothing;
        }
        let hello = client_hello(datagram);
        if let Some(random) = hello {
            let known = self.attempts.iter().any(|a| a.source == source && a.random == Some(random));
            if !known && self.peer.begins {
                self.begin(now, source, Role::Server, Some(random));
            }
        }
        for attempt in self.attempts.iter_mut().filter(|attempt| attempt.source == source) {
            if hello.is_none() || hello == attempt.random {
                attempt.dtls.handle_input(now, datagram);
            }
        }
        self.settle(now)
    }

    /// Repeats what is due, and gives up on who does not answer.
    pub(crate) fn handle_timeout(&mut self, now: Instant) -> Outcome {
        for attempt in &mut self.attempts {
            attempt.dtls.handle_timeout(now);
        }
        self.settle(now)
    }

    /// When [`Keying::handle_timeout`] has something to do.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        if self.is_keyed {
            return None;
        }
        let each = self.attempts.iter().map(|a| a.dtls.next_deadline().unwrap_or(a.began + ATTEMPT_MAX));
        each.min()
    }

    /// What is new since it was asked last: whether there is something to be sent, and when to come back.
    pub(crate) fn plan(&mut self) -> (bool, Option<Instant>) {
        let before = self.planned;
        self.planned = Planned { flight: !self.flights.is_empty(), deadline: self.next_deadline() };
        let flight = self.planned.flight && !before.flight;
        (flight, self.planned.deadline.filter(|_| self.planned.deadline != before.deadline))
    }

    /// The leg lives elsewhere now: all is new there.
    pub(crate) fn forget_plans(&mut self) {
        self.planned = Planned::default();
    }

    /// Whether the peer has still to prove itself.
    pub(crate) fn is_awaited(&self) -> bool {
        !self.is_keyed
    }

    /// The next datagram to be sent.
    pub(crate) fn poll_transmit(&mut self) -> Option<(SocketAddr, Box<[u8]>)> {
        let next = self.flights.pop_front();
        self.planned.flight &= next.is_some();
        next
    }

    /// Looks for a winner and for losers.
    fn settle(&mut self, now: Instant) -> Outcome {
        let winner = self.attempts.iter().position(|attempt| attempt.dtls.keys().is_some());
        if let Some(keys) = winner.and_then(|at| self.attempts[at].dtls.keys()) {
            let keys = Box::new(keys.clone());
            self.is_keyed = true;
            let winner = winner.unwrap_or_default();
            self.attempts.swap(0, winner);
            self.attempts.truncate(1);
            self.collect();
            let Attempt { source, began, .. } = self.attempts[0];
            return Outcome::Keyed { source, keys, took: now.saturating_duration_since(began) };
        }
        let mut outcome = Outcome::Nothing;
        let alone = self.attempts.len() == 1;
        let flights = &mut self.flights;
        self.attempts.retain_mut(|attempt| {
            let failure = match attempt.dtls.state() {
                State::Failed(failure) => Some(*failure),
                _ if now.saturating_duration_since(attempt.began) >= ATTEMPT_MAX => Some(Failure::TimedOut),
                State::Shaking | State::Keyed(_) => None,
            };
            if let Some(failure) = failure {
                outcome = Outcome::Failed { source: attempt.source, why: failure.why() };
                // Alone it may say why, so that the peer does not wait in vain.
                while let Some(datagram) = attempt.dtls.poll_transmit().filter(|_| alone) {
                    flights.push_back((attempt.source, datagram));
                }
            }
            failure.is_none()
        });
        self.collect();
        outcome
    }

    /// Takes what the attempts have to send. When nobody fetches it the oldest is lost, as on the wire.
    fn collect(&mut self) {
        for attempt in &mut self.attempts {
            while let Some(datagram) = attempt.dtls.poll_transmit() {
                if self.flights.len() >= FLIGHTS_MAX {
                    self.flights.pop_front();
                }
                self.flights.push_back((attempt.source, datagram));
            }
        }
    }
}

//! UDP between addresses: each datagram may be lost, doubled and delayed by chance, and so overtake another.

use std::{
    cmp::Reverse,
    collections::BinaryHeap,
    net::SocketAddr,
    time::{Duration, Instant},
};

use rand::{Rng, RngExt, rngs::StdRng};

/// How bad the network is.
#[derive(Debug, Clone, Copy)]
pub struct Faults {
    /// Chance that a datagram is lost, 0.0 to 1.0.
    pub loss: f64,
    /// Chance that it comes twice.
    pub duplicate: f64,
    /// Shortest way.
    pub delay_min: Duration,
    /// Longest way; a wide span reorders.
    pub delay_max: Duration,
}

impl Faults {
    /// A good network: 5 ms, in order.
    pub const NONE: Self =
        Self { loss: 0.0, duplicate: 0.0, delay_min: Duration::from_millis(5), delay_max: Duration::from_millis(5) };
    /// A bad one: a tenth lost, a tenth doubled, up to 300 ms late.
    pub const BAD: Self =
        Self { loss: 0.1, duplicate: 0.1, delay_min: Duration::from_millis(1), delay_max: Duration::from_millis(300) };
}

/// A datagram on its way.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Datagram {
    /// From.
    pub source: SocketAddr,
    /// To.
    pub destination: SocketAddr,
    /// Content.
    pub bytes: Vec<u8>,
}

/// All datagrams on their way.
#[derive(Debug)]
pub struct Network {
    faults: Faults,
    under_way: BinaryHeap<Reverse<(Instant, u64, Datagram)>>,
    sent: u64,
}

impl Network {
    /// An empty one.
    pub fn new(faults: Faults) -> Self {
        Self { faults, under_way: BinaryHeap::new(), sent: 0 }
    }

    /// Sends, as the faults allow.
    pub fn send(&mut self, now: Instant, rng: &mut StdRng, datagram: Datagram) {
        if chance(rng, self.faults.loss) {
            return;
        }
        let copies = if chance(rng, self.faults.duplicate) { 2 } else { 1 };
        for _ in 0..copies {
            let span = (self.faults.delay_max - self.faults.delay_min).as_micros() as u64;
            let extra = if span == 0 { 0 } else { rng.random_range(0..=span) };
            let at = now + self.faults.delay_min + Duration::from_micros(extra);
            self.sent += 1;
            self.under_way.push(Reverse((at, self.sent, datagram.clone())));
        }
    }

    /// The next arrival that is due.
    pub fn arrive(&mut self, now: Instant) -> Option<Datagram> {
        let due = self.under_way.peek().is_some_and(|Reverse((at, ..))| *at <= now);
        due.then(|| self.under_way.pop().map(|Reverse((_, _, datagram))| datagram)).flatten()
    }

    /// When the next one arrives.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.under_way.peek().map(|Reverse((at, ..))| *at)
    }
}

/// True with probability `p`.
pub fn chance(rng: &mut impl Rng, p: f64) -> bool {
    p > 0.0 && rng.random_bool(p)
}

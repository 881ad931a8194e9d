//! Deadlines of the plane. A timer is never taken out early: whoever set it looks, when it fires, whether it still means anything.

use std::{
    cmp::Reverse,
    collections::BinaryHeap,
    time::{Duration, Instant},
};

use postern_sip::transaction::ClientKey;
use postern_types::{CallSid, ConnectionId, TrunkName, UserName};

use crate::{side::Tag, targets::Target};

/// What is due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Timer {
    /// A call waited long enough for the certificate of its signature.
    Certificate(Tag),
    /// A dialed leg has rung long enough.
    NoAnswer(CallSid),
    /// An attempt of a dialed leg, by its number, may have been silent for too long.
    Silent(CallSid, u32),
    /// A flow to a device may have been silent for too long.
    SilentFlow(Tag),
    /// A target of this trunk may have rested long enough.
    Rested(TrunkName),
    /// A target of this trunk is to be asked whether it lives, or did not answer in time.
    Probe(TrunkName, Target),
    /// A registration with this trunk is to be made or made again, or was not answered in time.
    Register(TrunkName),
    /// A host of this trunk is to be looked up again.
    Name(TrunkName, Box<str>),
    /// Repeat a 2xx that was not acknowledged, or give up.
    Answer(Tag),
    /// No further answer to our first INVITE can come any more (RFC 6026: timer M).
    Settled(Tag),
    /// The same for a later INVITE of ours.
    Reinvited(ClientKey),
    /// A subscription may have run out, or has something to tell.
    Subscription(Tag),
    /// A registration of this user may have run out.
    Registration(UserName),
    /// Repeat a reliable provisional response, or give up.
    Reliable(Tag),
    /// An offer of ours that met one of theirs may go out again.
    Reoffer(Tag),
    /// The peer may have taken too long to tell how it fares with a REFER of ours.
    Passed(Tag),
    /// A session is to be refreshed, or was not.
    Session(Tag),
    /// A connection may have had its time.
    Connection(ConnectionId),
}

/// A queue by time; what was set first fires first among equals.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    heap: BinaryHeap<Reverse<Entry>>,
    set: u64,
}

#[derive(Debug, PartialEq, Eq)]
struct Entry {
    at: Instant,
    order: u64,
    timer: Timer,
}

impl Timers {
    pub(crate) fn set(&mut self, at: Instant, timer: Timer) {
        self.set += 1;
        self.heap.push(Reverse(Entry { at, order: self.set, timer }));
    }

    pub(crate) fn due(&mut self, now: Instant) -> Option<Timer> {
        if self.heap.peek()?.0.at > now {
            return None;
        }
        self.heap.pop().map(|Reverse(entry)| entry.timer)
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.heap.len()
    }

    pub(crate) fn next(&self) -> Option<Instant> {
        self.heap.peek().map(|Reverse(entry)| entry.at)
    }
}

impl Ord for Entry {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.order).cmp(&(other.at, other.order))
    }
}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

/// Counts what an outsider can cause at will, and lets it be told once a minute.
#[derive(Debug)]
pub(crate) struct OnceAMinute<T> {
    waiting: Option<(T, u64)>,
    told: Option<Instant>,
}

impl<T> Default for OnceAMinute<T> {
    fn default() -> Self {
        Self { waiting: None, told: None }
    }
}

impl<T> OnceAMinute<T> {
    const PAUSE: Duration = Duration::from_secs(60);

    /// Notes one more; `latest` replaces what was known of the one before.
    pub(crate) fn note(&mut self, latest: T) {
        let before = self.waiting.take().map_or(0, |(_, count)| count);
        self.waiting = Some((latest, before + 1));
    }

    /// What to tell now, if the last telling is long enough ago.
    pub(crate) fn due(&mut self, now: Instant) -> Option<(T, u64)> {
        if self.next().is_some_and(|at| at > now) {
            return None;
        }
        let waiting = self.waiting.take()?;
        self.told = Some(now);
        Some(waiting)
    }

    /// When something waits to be told and the pause is what holds it.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.waiting.as_ref().and(self.told).map(|told| told + Self::PAUSE)
    }
}

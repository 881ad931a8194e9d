//! The recent events, between the thread that makes them and the readers of event streams.
//!
//! The maker pushes into a bounded queue and never waits. A task moves them into the ring, from which each reader pulls
//! by number. A slow reader therefore costs its socket's buffer and nothing else. When the queue was full, numbers are
//! missing; the history before such a hole is forgotten, so that every reader is told of it by the ring's own rule.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use postern_events::{Batch, EventRing, Filter, RingLimits};
use postern_facts::Written;
use postern_types::CallSid;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};

/// Events that may wait for the ring: a second of a storm of 8000 a second.
pub const FEED_MAX: usize = 8192;

/// Readers of event streams at once.
pub const READERS_MAX: usize = 256;

/// Readers are woken at most once in this time, so that a storm of events is not a storm of wake-ups.
const WAKE_EVERY: Duration = Duration::from_millis(5);

/// Facts of one call that are looked up at most.
const FACTS_MAX: usize = 2000;

/// The recent events; cheap to clone.
#[derive(Debug, Clone)]
pub struct EventHub {
    shared: Arc<Shared>,
    newest: watch::Receiver<u64>,
}

#[derive(Debug)]
struct Shared {
    kept: Mutex<Kept>,
    overflowed: AtomicU64,
    readers: Arc<Semaphore>,
}

#[derive(Debug)]
struct Kept {
    ring: EventRing,
    /// Bounded by the catalog of facts.
    by_type: BTreeMap<Box<str>, u64>,
}

/// The maker's end: give each event once, in order.
#[derive(Debug, Clone)]
pub struct EventFeed {
    queue: mpsc::Sender<Arc<Written>>,
    shared: Arc<Shared>,
}

impl EventFeed {
    /// Hands an event over without waiting. When the queue is full it is lost to the streams, and counted.
    pub fn push(&self, event: Arc<Written>) {
        if self.queue.try_send(event).is_err() {
            self.shared.overflowed.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Moves events from the feed to the readers: spawn [`EventPump::run`] on the runtime.
#[derive(Debug)]
pub struct EventPump {
    queue: mpsc::Receiver<Arc<Written>>,
    shared: Arc<Shared>,
    newest: watch::Sender<u64>,
    limits: RingLimits,
}

impl EventPump {
    /// Until the feed is dropped.
    pub async fn run(mut self) {
        let mut batch = Vec::with_capacity(256);
        while self.queue.recv_many(&mut batch, 256).await > 0 {
            let last = self.take(&mut batch);
            self.newest.send_replace(last);
            tokio::time::sleep(WAKE_EVERY).await;
        }
    }

    fn take(&self, batch: &mut Vec<Arc<Written>>) -> u64 {
        let mut kept = self.shared.kept();
        for event in batch.drain(..) {
            match kept.by_type.get_mut(&*event.name) {
                Some(count) => *count += 1,
                None => _ = kept.by_type.insert(event.name.clone().into(), 1),
            }
            if event.seq > kept.ring.last() + 1 {
                kept.ring = EventRing::new(self.limits, event.seq - 1);
            }
            kept.ring.push(event);
        }
        kept.ring.last()
    }
}

impl EventHub {
    /// A hub whose first event follows number `last`, with the maker's end and the task that feeds it.
    pub fn new(limits: RingLimits, last: u64) -> (Self, EventFeed, EventPump) {
        let (sender, queue) = mpsc::channel(FEED_MAX);
        let (newest_sender, newest) = watch::channel(last);
        let shared = Arc::new(Shared {
            kept: Mutex::new(Kept { ring: EventRing::new(limits, last), by_type: BTreeMap::new() }),
            overflowed: AtomicU64::new(0),
            readers: Arc::new(Semaphore::new(READERS_MAX)),
        });
        let feed = EventFeed { queue: sender, shared: shared.clone() };
        let pump = EventPump { queue, shared: shared.clone(), newest: newest_sender, limits };
        (Self { shared, newest }, feed, pump)
    }

    /// What a reader that has seen `after` gets next.
    pub fn since(&self, after: u64, filter: &Filter, limit: usize) -> Batch {
        self.shared.kept().ring.since(after, filter, limit)
    }

    /// The number after which the latest `count` matching events follow.
    pub fn tail(&self, filter: &Filter, count: usize) -> u64 {
        let kept = self.shared.kept();
        if count == 0 {
            return kept.ring.last();
        }
        let all = kept.ring.since(0, filter, usize::MAX).events;
        let Some(first) = all.len().checked_sub(count).map_or(all.first(), |skip| all.get(skip)) else {
            return kept.ring.last();
        };
        first.seq - 1
    }

    /// What the memory still has of one call, oldest first.
    pub fn of_call(&self, call: CallSid) -> Vec<Arc<Written>> {
        let filter = Filter { call: Some(call), ..Filter::default() };
        self.since(0, &filter, FACTS_MAX).events
    }

    /// The newest number, as a thing to wait on.
    pub fn newest(&self) -> watch::Receiver<u64> {
        self.newest.clone()
    }

    /// A reader's place, or none when all are taken. Dropping it frees the place.
    pub fn admit_reader(&self) -> Option<OwnedSemaphorePermit> {
        self.shared.readers.clone().try_acquire_owned().ok()
    }

    /// Readers now.
    pub fn readers(&self) -> usize {
        READERS_MAX - self.shared.readers.available_permits()
    }

    /// Events lost to the streams because the queue was full.
    pub fn overflowed(&self) -> u64 {
        self.shared.overflowed.load(Ordering::Relaxed)
    }

    /// How many events of each type since start.
    pub fn by_type(&self) -> BTreeMap<Box<str>, u64> {
        self.shared.kept().by_type.clone()
    }
}

impl Shared {
    /// A panic elsewhere leaves plain data behind: a ring and counters that are as good as before.
    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use postern_events::Gap;
    use postern_facts::{Event, LegResumed, Subject};
    use postern_types::{UnixMicros, id::EventSid};

    use super::*;

    fn event(seq: u64) -> Arc<Written> {
        let fact = LegResumed {}.into();
        let id = EventSid(seq.into());
        Arc::new(Written::of(&Event { seq, id, at: UnixMicros(seq), subject: Subject::default(), fact }))
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_never_waits_and_what_did_not_fit_is_a_gap() {
        let (hub, feed, pump) = EventHub::new(RingLimits::default(), 0);
        let flood = FEED_MAX as u64 + 10;
        for seq in 1..=flood {
            feed.push(event(seq));
        }
        assert_eq!(hub.overflowed(), 10);
        let mut newest = hub.newest();
        tokio::spawn(pump.run());
        newest.wait_for(|last| *last == FEED_MAX as u64).await.unwrap();
        let all = Filter::default();
        assert_eq!(hub.since(0, &all, usize::MAX).events.len(), FEED_MAX);

        feed.push(event(flood + 1));
        newest.wait_for(|last| *last == flood + 1).await.unwrap();
        let batch = hub.since(FEED_MAX as u64, &all, 10);
        assert_eq!(batch.gap, Some(Gap { from: FEED_MAX as u64 + 1, to: flood }));
        assert_eq!(batch.events.len(), 1);
        assert_eq!(hub.by_type()["leg.resumed"], FEED_MAX as u64 + 1);
    }

    #[tokio::test(start_paused = true)]
    async fn the_tail_starts_before_the_latest_few() {
        let (hub, feed, pump) = EventHub::new(RingLimits::default(), 4);
        assert_eq!(hub.tail(&Filter::default(), 3), 4);
        tokio::spawn(pump.run());
        (5..=9).for_each(|seq| feed.push(event(seq)));
        hub.newest().wait_for(|last| *last == 9).await.unwrap();
        for (count, want) in [(0, 9), (1, 8), (3, 6), (5, 4), (50, 4)] {
            assert_eq!(hub.tail(&Filter::default(), count), want, "{count}");
        }
    }

    #[test]
    fn readers_are_bounded() {
        let (hub, _feed, _pump) = EventHub::new(RingLimits::default(), 0);
        let places: Vec<_> = (0..READERS_MAX).map(|_| hub.admit_reader().unwrap()).collect();
        assert!(hub.admit_reader().is_none());
        drop(places);
        assert_eq!(hub.readers(), 0);
    }
}

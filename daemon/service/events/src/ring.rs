//! The recent events in memory, from which every event stream is read.
//!
//! Readers hold a number, not a place in a queue: a slow one costs nothing and loses the oldest, and is told which.

use std::{collections::VecDeque, sync::Arc};

use postern_facts::Written;

use crate::filter::Filter;

/// How much is kept.
#[derive(Debug, Clone, Copy)]
pub struct RingLimits {
    /// Events at most.
    pub events_max: usize,
    /// Bytes of their JSON at most.
    pub bytes_max: usize,
}

impl Default for RingLimits {
    /// A minute at 250 events a second; events are about 500 bytes.
    fn default() -> Self {
        Self { events_max: 16_384, bytes_max: 16 << 20 }
    }
}

/// Numbers that can no longer be had, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gap {
    /// First.
    pub from: u64,
    /// Last.
    pub to: u64,
}

/// What a reader gets.
#[derive(Debug, Clone, PartialEq)]
pub struct Batch {
    /// Told before the events: the reader missed these.
    pub gap: Option<Gap>,
    /// Oldest first.
    pub events: Vec<Arc<Written>>,
    /// Where to read on: the number to give to the next [`EventRing::since`].
    pub next: u64,
}

/// The recent events, oldest first.
#[derive(Debug)]
pub struct EventRing {
    events: VecDeque<Arc<Written>>,
    bytes: usize,
    limits: RingLimits,
    last: u64,
}

impl EventRing {
    /// Empty, its first event to follow number `last`.
    pub fn new(limits: RingLimits, last: u64) -> Self {
        Self { events: VecDeque::new(), bytes: 0, limits, last }
    }

    /// Takes the next event; one that is not newer than the newest is ignored.
    pub fn push(&mut self, event: Arc<Written>) {
        if event.seq <= self.last {
            return;
        }
        self.last = event.seq;
        self.bytes += event.json.len();
        self.events.push_back(event);
        while self.events.len() > self.limits.events_max.max(1)
            || (self.bytes > self.limits.bytes_max && self.events.len() > 1)
        {
            let gone = self.events.pop_front().expect("the loop's condition holds one");
            self.bytes -= gone.json.len();
        }
    }

    /// The events after number `after` that pass `filter`, at most `limit`. Zero reads from the oldest; a number beyond
    /// the newest comes from an earlier life of the appliance and also reads from the oldest.
    pub fn since(&self, after: u64, filter: &Filter, limit: usize) -> Batch {
        let after = if after > self.last { 0 } else { after };
        let oldest = self.events.front().map_or(self.last + 1, |event| event.seq);
        let gap = (after + 1 < oldest).then_some(Gap { from: after + 1, to: oldest - 1 });
        let start = self.events.partition_point(|event| event.seq <= after);
        let mut batch = Batch { gap, events: Vec::new(), next: self.last };
        for event in self.events.range(start..) {
            if batch.events.len() >= limit {
                batch.next = event.seq - 1;
                break;
            }
            if filter.matches(event) {
                batch.events.push(event.clone());
            }
        }
        batch
    }

    /// Number of the newest event: reading from here gives only what is yet to come.
    pub fn last(&self) -> u64 {
        self.last
    }

    /// Events kept now.
    pub fn len(&self) -> usize {
        self.events.len()
    }

    /// Whether none is kept.
    pub fn is_empty(&self) -> bool {
        self.events.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use postern_facts::Subject;
    use postern_types::{UnixMicros, id::EventSid};

    use super::*;

    fn event(seq: u64, name: &'static str) -> Arc<Written> {
        Arc::new(Written {
            seq,
            id: EventSid(seq.into()),
            at: UnixMicros(seq),
            name: name.into(),
            subject: Subject::default(),
            json: "0123456789".into(),
        })
    }

    fn seqs(batch: &Batch) -> Vec<u64> {
        batch.events.iter().map(|event| event.seq).collect()
    }

    #[test]
    fn a_reader_resumes_and_is_told_what_it_missed() {
        let mut ring = EventRing::new(RingLimits { events_max: 3, bytes_max: 1000 }, 0);
        let all = Filter::default();
        assert_eq!(ring.since(0, &all, 10), Batch { gap: None, events: vec![], next: 0 });
        for seq in 1..=5 {
            ring.push(event(seq, "call.offered"));
        }
        let batch = ring.since(1, &all, 10);
        assert_eq!((batch.gap, seqs(&batch), batch.next), (Some(Gap { from: 2, to: 2 }), vec![3, 4, 5], 5));
        let batch = ring.since(2, &all, 2);
        assert_eq!((batch.gap, seqs(&batch), batch.next), (None, vec![3, 4], 4));
        assert_eq!(seqs(&ring.since(batch.next, &all, 2)), [5]);
        let batch = ring.since(99, &all, 10);
        assert_eq!((batch.gap, seqs(&batch)), (Some(Gap { from: 1, to: 2 }), vec![3, 4, 5]));
    }

    #[test]
    fn what_the_filter_skips_is_not_read_again() {
        let mut ring = EventRing::new(RingLimits::default(), 10);
        for seq in 11..=20 {
            ring.push(event(seq, if seq % 2 == 0 { "leg.ended" } else { "call.ended" }));
        }
        let mut filter = Filter::default();
        filter.set("type", "leg.*").unwrap();
        let batch = ring.since(10, &filter, 2);
        assert_eq!((batch.gap, seqs(&batch), batch.next), (None, vec![12, 14], 14));
        let batch = ring.since(batch.next, &filter, 9);
        assert_eq!((seqs(&batch), batch.next), (vec![16, 18, 20], 20));
    }

    #[test]
    fn bytes_are_bounded_too() {
        let mut ring = EventRing::new(RingLimits { events_max: 100, bytes_max: 35 }, 0);
        for seq in 1..=9 {
            ring.push(event(seq, "call.offered"));
        }
        assert_eq!((ring.len(), ring.last()), (3, 9));
    }
}

//! The spool against a folder in memory that can be cut off at any byte.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use postern_facts::{CallCreated, Event, Fact, LegResumed, Subject, Written};
use postern_types::{CallSid, UnixMicros, id::EventSid};
use proptest::prelude::*;

use super::*;
use crate::{
    filter::Filter,
    ring::{Gap, RingLimits},
};

/// Files as a disk keeps them; `budget` is how many more bytes reach it before the power goes.
#[derive(Debug, Default, Clone)]
struct Disk {
    segments: BTreeMap<SegmentId, Vec<u8>>,
    cursor: Vec<u8>,
}

impl Disk {
    fn apply(&mut self, commit: &Commit, budget: &mut usize) -> bool {
        commit.ops.iter().all(|op| self.apply_one(op, budget))
    }

    fn apply_one(&mut self, op: &FileOp, budget: &mut usize) -> bool {
        match op {
            FileOp::Write { segment, at, bytes } => {
                let file = self.segments.entry(*segment).or_default();
                put(file, *at as usize, bytes, budget)
            }
            FileOp::WriteCursor { at, bytes } => put(&mut self.cursor, *at as usize, bytes, budget),
            FileOp::Truncate { segment, bytes } => {
                self.segments.entry(*segment).or_default().truncate(*bytes as usize);
                true
            }
            FileOp::Delete { segment } => {
                self.segments.remove(segment);
                true
            }
            FileOp::Sync { .. } => true,
        }
    }

    fn recover(&self, limits: SpoolLimits, is_watched: bool) -> Recovered {
        recover(limits, RingLimits::default(), self.segments.clone(), &self.cursor, is_watched)
    }

    fn seqs(&self) -> Vec<u64> {
        self.segments.values().flat_map(|bytes| Frames::new(bytes).map(|(seq, _)| seq)).collect()
    }
}

fn put(file: &mut Vec<u8>, at: usize, bytes: &[u8], budget: &mut usize) -> bool {
    let taken = bytes.len().min(*budget);
    *budget -= taken;
    if file.len() < at + taken {
        file.resize(at + taken, 0);
    }
    file[at..at + taken].copy_from_slice(&bytes[..taken]);
    taken == bytes.len()
}

fn event_of(seq: u64, call: Option<u128>, fact: impl Into<Fact>) -> Arc<Written> {
    let subject = Subject { call: call.map(CallSid), ..Subject::default() };
    Arc::new(Written::of(&Event { seq, id: EventSid(seq.into()), at: UnixMicros(seq), subject, fact: fact.into() }))
}

fn event(seq: u64) -> Arc<Written> {
    event_of(seq, None, LegResumed {})
}

#[expect(clippy::disallowed_methods, reason = "a test needs some instant to begin with")]
fn start() -> Instant {
    Instant::now()
}

const YEAR: Duration = Duration::from_secs(31_536_000);

fn small() -> SpoolLimits {
    SpoolLimits { bytes_max: 2000, segment_bytes: 500, age_max: YEAR }
}

fn settle(spool: &mut Spool, disk: &mut Disk, mut now: Instant) {
    loop {
        while let Some(commit) = spool.poll(now) {
            assert!(disk.apply(&commit, &mut usize::MAX.clone()));
            spool.commit_done();
        }
        match spool.next_deadline() {
            Some(at) => now = at,
            None => return,
        }
    }
}

#[test]
fn events_are_kept_in_order_and_the_numbers_go_on() {
    let (now, mut disk) = (start(), Disk::default());
    let mut spool = disk.recover(small(), false).spool;
    (1..=7).for_each(|seq| spool.append(event(seq)).unwrap());
    settle(&mut spool, &mut disk, now);
    let back = disk.recover(small(), false);
    assert_eq!((back.last, back.torn_bytes, back.repairs.len()), (7, 0, 0));
    assert_eq!(back.recent.since(0, &Filter::default(), 99).events.len(), 7);
    assert!(disk.segments.len() > 1, "segments are closed at their size");
}

#[test]
fn what_is_too_old_leaves_and_the_gap_is_told() {
    let aged = |seq: u64, second: u64| {
        let at = UnixMicros(second * 1_000_000);
        let fact = LegResumed {}.into();
        Arc::new(Written::of(&Event { seq, id: EventSid(seq.into()), at, subject: Subject::default(), fact }))
    };
    let limits = SpoolLimits { bytes_max: 100_000, segment_bytes: 50_000, age_max: Duration::from_secs(160) };
    let (now, mut disk) = (start(), Disk::default());
    let mut spool = disk.recover(limits, true).spool;
    for seq in 1..=20 {
        // Every five seconds, with room for all in one segment: they are parted by age.
        spool.append(aged(seq, seq * 5)).unwrap();
        settle(&mut spool, &mut disk, now);
    }
    assert!(disk.segments.len() >= 5, "{}", disk.segments.len());
    spool.acknowledge(3);
    spool.append(aged(21, 215)).unwrap();
    settle(&mut spool, &mut disk, now);
    let first = disk.seqs()[0];
    assert!((9..=11).contains(&first), "older than 55 s is gone, by whole segments: {first}");
    assert_eq!(spool.take_trimmed(), Some(Gap { from: 4, to: first - 1 }));
    // The ages are known again after a restart, and all but what is being written may go.
    let mut spool = disk.recover(limits, false).spool;
    spool.append(aged(22, 1000)).unwrap();
    settle(&mut spool, &mut disk, now);
    assert_eq!((disk.seqs(), spool.take_trimmed()), (vec![22], None), "nobody waited for them");
}

#[test]
fn many_writes_share_a_sync_and_a_closed_segment_is_synced_before_the_next_begins() {
    let (now, mut disk) = (start(), Disk::default());
    let limits = SpoolLimits { bytes_max: 100_000, segment_bytes: 1000, age_max: YEAR };
    let mut spool = disk.recover(limits, false).spool;
    let (mut syncs, mut writes, mut dirty) = (0, 0, None);
    for seq in 1..=30 {
        spool.append(event(seq)).unwrap();
        let commit = spool.poll(now).unwrap();
        for op in &commit.ops {
            match op {
                FileOp::Write { segment, .. } => {
                    assert!(dirty.is_none_or(|dirty| dirty == *segment), "{seq}");
                    (writes, dirty) = (writes + 1, Some(*segment));
                }
                FileOp::Sync { segment } => {
                    assert_eq!(dirty.take(), Some(*segment));
                    syncs += 1;
                }
                other => panic!("{other:?}"),
            }
        }
        disk.apply(&commit, &mut usize::MAX.clone());
        spool.commit_done();
        assert_eq!(spool.last_kept(), seq, "kept once written");
    }
    assert_eq!((writes, syncs), (30, disk.segments.len() - 1));
    let due = spool.next_deadline().unwrap();
    assert!(due > now && due <= now + Duration::from_millis(200) && !spool.is_idle());
    assert_eq!(spool.poll(now), None);
    let last = spool.poll(due).unwrap();
    assert!(matches!(&*last.ops, [FileOp::Sync { .. }]) && last.events.is_empty());
    spool.commit_done();
    assert!(spool.is_idle());
    assert_eq!((last.syncs_to, spool.last_synced()), (Some(30), 30));
}

#[test]
fn a_failed_commit_is_repeated_as_it_stands() {
    let (now, mut disk) = (start(), Disk::default());
    let mut spool = disk.recover(small(), false).spool;
    spool.append(event(1)).unwrap();
    let first = spool.poll(now).unwrap();
    assert!(!disk.apply(&first, &mut 20));
    spool.commit_failed(now);
    spool.append(event(2)).unwrap();
    assert_eq!(spool.poll(now), None);
    let later = spool.next_deadline().unwrap();
    assert_eq!(spool.poll(later).unwrap(), first);
    disk.apply(&first, &mut usize::MAX.clone());
    spool.commit_done();
    settle(&mut spool, &mut disk, later);
    assert_eq!((disk.seqs(), spool.last_kept()), (vec![1, 2], 2));
}

#[test]
fn the_oldest_leave_and_only_a_watcher_misses_them() {
    for is_watched in [false, true] {
        let (now, mut disk) = (start(), Disk::default());
        let mut spool = disk.recover(small(), is_watched).spool;
        for seq in 1..=60 {
            spool.append(event(seq)).unwrap();
            settle(&mut spool, &mut disk, now);
            if seq == 5 {
                spool.acknowledge(3);
            }
        }
        let first = disk.seqs()[0];
        assert!(first > 4 && spool.bytes() <= small().bytes_max);
        let mut gaps = Vec::new();
        gaps.extend(std::iter::from_fn(|| spool.take_trimmed()));
        let wanted = if is_watched { vec![Gap { from: 4, to: first - 1 }] } else { vec![] };
        assert_eq!(gaps, wanted);
        assert_eq!(spool.segment_after(0).unwrap().0, SegmentId(first));
    }
}

#[test]
fn the_cursor_is_found_again_and_written_seldom() {
    let (now, mut disk) = (start(), Disk::default());
    let mut spool = disk.recover(small(), true).spool;
    (1..=6).for_each(|seq| spool.append(event(seq)).unwrap());
    settle(&mut spool, &mut disk, now);
    spool.acknowledge(2);
    assert!(spool.poll(now).is_some(), "the first at once");
    spool.commit_done();
    spool.acknowledge(99);
    assert_eq!(spool.poll(now), None);
    let at = spool.next_deadline().unwrap();
    assert!(at > now && at <= now + Duration::from_secs(1));
    settle(&mut spool, &mut disk, now);
    let back = disk.recover(small(), true).spool;
    assert_eq!((back.acknowledged(), back.waiting()), (6, 0), "never beyond what is kept");
}

#[test]
fn calls_that_were_live_are_counted() {
    let (now, mut disk) = (start(), Disk::default());
    let mut spool = disk.recover(small(), false).spool;
    let created = || CallCreated { from: "+1".into(), to: "+2".into(), by: "rest".into() };
    spool.append(event_of(1, Some(1), created())).unwrap();
    spool.append(event_of(2, Some(2), created())).unwrap();
    settle(&mut spool, &mut disk, now);
    assert_eq!(disk.recover(small(), false).calls_lost, 2);
}

#[test]
fn a_disk_that_refuses_costs_bounded_memory_and_the_loss_is_told() {
    let now = start();
    let mut spool = Disk::default().recover(small(), true).spool;
    let long = "x".repeat(900_000);
    let huge = |seq| event_of(seq, None, CallCreated { from: long.clone(), to: String::new(), by: String::new() });
    let refused = (1..=30).filter(|seq| spool.append(huge(*seq)).is_err()).count() as u64;
    assert!(refused > 5 && spool.refused() == refused);
    assert_eq!(spool.take_trimmed(), Some(Gap { from: 31 - refused, to: 30 }));
    assert!(spool.poll(now).is_some());
}

proptest! {
    /// Power fails after any number of bytes: what was committed is there, what follows is a clean continuation.
    #[test]
    fn a_crash_at_any_byte_loses_nothing_that_was_committed(
        budget in 0usize..4000, batch in 1u64..5, acks in any::<bool>(),
    ) {
        let limits = SpoolLimits { bytes_max: 100_000, segment_bytes: 400, age_max: YEAR };
        let (mut now, mut disk, mut budget) = (start(), Disk::default(), budget);
        let mut spool = disk.recover(limits, true).spool;
        let (mut seq, mut committed, mut acked) = (0, 0, 0);
        'life: for _ in 0..20 {
            for _ in 0..batch {
                seq += 1;
                spool.append(event(seq)).unwrap();
            }
            now += Duration::from_secs(1);
            while let Some(commit) = spool.poll(now) {
                if !disk.apply(&commit, &mut budget) {
                    break 'life;
                }
                spool.commit_done();
                committed = spool.last_kept();
                acked = acked.max(if acks { spool.acknowledged() } else { 0 });
                if acks {
                    spool.acknowledge(committed);
                }
            }
        }
        let mut back = disk.recover(limits, true);
        prop_assert!(back.last >= committed);
        prop_assert!(back.spool.acknowledged() <= back.last);
        let repairs = Commit { ops: std::mem::take(&mut back.repairs), events: Vec::new(), syncs_to: None };
        disk.apply(&repairs, &mut usize::MAX.clone());
        let next = back.last + 1;
        back.spool.append(event(next)).unwrap();
        settle(&mut back.spool, &mut disk, now);
        prop_assert_eq!(disk.seqs(), (1..=next).collect::<Vec<_>>());
        prop_assert_eq!(disk.recover(limits, true).torn_bytes, 0);
    }
}

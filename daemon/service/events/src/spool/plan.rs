//! What to do next with the files of the spool.

use std::{
    collections::VecDeque,
    fmt, mem,
    str::FromStr,
    sync::Arc,
    time::{Duration, Instant},
};

use postern_facts::Written;
use postern_types::UnixMicros;

use super::frame;
use crate::ring::Gap;

/// Bytes that one commit appends at most: one write the disk takes in some milliseconds.
const BATCH_MAX: usize = 1 << 20;

/// Bytes that wait in memory for the disk at most, while it refuses or is slow: half a minute of a storm.
const PENDING_MAX: usize = 16 << 20;

/// A cursor by itself is written at most this often; a repeat after a crash is recognised by its id.
const CURSOR_EVERY: Duration = Duration::from_millis(500);

/// What is kept is synced at most this much later. Disks take 0.3 to 10 ms for it whatever the amount, so that one for
/// each batch would be most of an event's cost.
const SYNC_EVERY: Duration = Duration::from_millis(200);

/// After a failed commit.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// How large it may grow.
#[derive(Debug, Clone, Copy)]
pub struct SpoolLimits {
    /// All segments together.
    pub bytes_max: u64,
    /// A segment is closed when it has this many; the unit in which the oldest leave.
    pub segment_bytes: u64,
    /// How much older than the newest event one may be. A segment spans a sixteenth of it at most.
    pub age_max: Duration,
}

impl SpoolLimits {
    /// From the configuration's `spool_mb` and `spool_days`: sixteen segments, none above 8 MB, which are read as a whole.
    pub fn new(megabytes: u64, days: u64) -> Self {
        let bytes_max = megabytes.max(1) << 20;
        let age_max = Duration::from_secs(days.max(1) * 86_400);
        Self { bytes_max, segment_bytes: (bytes_max / 16).clamp(64 << 10, 8 << 20), age_max }
    }
}

/// A segment, by the number of its first event. Shown as its file name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SegmentId(pub u64);

impl fmt::Display for SegmentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:020}.events", self.0)
    }
}

impl FromStr for SegmentId {
    type Err = ();
    /// From a file name; other files of the folder are refused.
    fn from_str(name: &str) -> Result<Self, ()> {
        let digits = name.strip_suffix(".events").filter(|d| d.len() == 20 && d.bytes().all(|b| b.is_ascii_digit()));
        digits.and_then(|d| d.parse().ok()).map(Self).ok_or(())
    }
}

/// One operation on the spool's folder. In order; all may be repeated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FileOp {
    /// Write at this offset, making the file when it is not there.
    Write {
        /// Which.
        segment: SegmentId,
        /// Where.
        at: u64,
        /// What.
        bytes: Arc<[u8]>,
    },
    /// Make what was written durable.
    Sync {
        /// Which.
        segment: SegmentId,
    },
    /// Cut to this length.
    Truncate {
        /// Which.
        segment: SegmentId,
        /// New length.
        bytes: u64,
    },
    /// Remove; a file that is not there is gone already.
    Delete {
        /// Which.
        segment: SegmentId,
    },
    /// Write to the cursor file and make it durable.
    WriteCursor {
        /// Where.
        at: u64,
        /// What.
        bytes: Vec<u8>,
    },
}

/// Operations to be done in order; report with [`Spool::commit_done`] or [`Spool::commit_failed`] before polling again.
#[derive(Debug, Clone, PartialEq)]
pub struct Commit {
    /// What.
    pub ops: Vec<FileOp>,
    /// The events that are kept when it is done, oldest first.
    pub events: Vec<Arc<Written>>,
    /// Up to this number events are synced when it is done.
    pub syncs_to: Option<u64>,
}

/// The disk is behind and memory is full: the event is not spooled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SpoolFull;

#[derive(Debug, Clone, Copy)]
pub(super) struct Segment {
    pub(super) id: SegmentId,
    pub(super) last: u64,
    pub(super) bytes: u64,
    /// The times of its first and last event.
    pub(super) began: UnixMicros,
    pub(super) ended: UnixMicros,
}

/// The spool's book-keeping.
#[derive(Debug)]
pub struct Spool {
    limits: SpoolLimits,
    /// Oldest first; only the last grows.
    segments: VecDeque<Segment>,
    pending: VecDeque<Arc<Written>>,
    pending_bytes: usize,
    /// Under way or to be repeated.
    commit: Option<UnderWay>,
    retry_at: Option<Instant>,
    acked: u64,
    generation: u64,
    is_cursor_due: bool,
    cursor_at: Option<Instant>,
    /// Whether a control plane reads: what it has not acknowledged is lost when it leaves.
    is_watched: bool,
    trimmed: VecDeque<Gap>,
    last_kept: u64,
    /// What was written since the last sync, and when the next is due.
    unsynced: Option<Unsynced>,
    last_synced: u64,
    refused: u64,
}

#[derive(Debug, Clone, Copy)]
struct Unsynced {
    segment: SegmentId,
    due: Instant,
}

#[derive(Debug)]
struct UnderWay {
    commit: Commit,
    /// The segment as it is after the commit.
    segment: Option<Segment>,
    deletes: usize,
    /// When it was planned.
    since: Instant,
    is_out: bool,
}

impl Spool {
    pub(super) fn assemble(
        limits: SpoolLimits,
        segments: VecDeque<Segment>,
        cursor: Option<(u64, u64)>,
        is_watched: bool,
    ) -> Self {
        let (generation, acked) = cursor.unwrap_or((0, 0));
        let last_kept = segments.back().map_or(0, |segment| segment.last);
        Self {
            limits,
            segments,
            pending: VecDeque::new(),
            pending_bytes: 0,
            commit: None,
            retry_at: None,
            acked,
            generation,
            is_cursor_due: false,
            cursor_at: None,
            is_watched,
            trimmed: VecDeque::new(),
            last_kept: last_kept.max(acked),
            unsynced: None,
            last_synced: last_kept.max(acked),
            refused: 0,
        }
    }

    /// Takes an event to be kept. One that is not newer than the newest is ignored.
    pub fn append(&mut self, event: Arc<Written>) -> Result<(), SpoolFull> {
        let size = event.json.len() + frame::FRAME_BYTES;
        if event.seq <= self.newest() {
            return Ok(());
        }
        if self.pending_bytes + size > PENDING_MAX || event.json.len() > frame::RECORD_MAX {
            self.refused += 1;
            self.lose(Gap { from: event.seq, to: event.seq });
            return Err(SpoolFull);
        }
        self.pending_bytes += size;
        self.pending.push_back(event);
        Ok(())
    }

    /// The control plane has everything up to `seq`.
    pub fn acknowledge(&mut self, seq: u64) {
        let seq = seq.min(self.last_kept);
        if seq > self.acked {
            self.acked = seq;
            self.is_cursor_due = true;
        }
    }

    /// What to do now, if anything. One commit is out at a time.
    pub fn poll(&mut self, now: Instant) -> Option<Commit> {
        if let Some(under_way) = &mut self.commit {
            if under_way.is_out || self.retry_at.is_some_and(|at| now < at) {
                return None;
            }
            under_way.is_out = true;
            self.retry_at = None;
            return Some(under_way.commit.clone());
        }
        let is_cursor_time = self.is_cursor_due && self.cursor_at.is_none_or(|at| now >= at);
        let is_sync_time = self.unsynced.is_some_and(|unsynced| now >= unsynced.due);
        if self.pending.is_empty() && !is_cursor_time && !is_sync_time {
            return None;
        }
        let mut commit = Commit { ops: Vec::new(), events: Vec::new(), syncs_to: None };
        if is_sync_time {
            self.sync(&mut commit);
        }
        let segment = self.write_pending(&mut commit);
        let deletes = self.plan_deletes(segment, &mut commit);
        // Also ahead of the events' own sync: the next start then goes on behind what was acknowledged.
        if is_cursor_time {
            self.is_cursor_due = false;
            self.cursor_at = Some(now + CURSOR_EVERY);
            self.generation += 1;
            let (at, bytes) = frame::cursor_slot(self.generation, self.acked);
            commit.ops.push(FileOp::WriteCursor { at, bytes });
        }
        self.commit = Some(UnderWay { commit: commit.clone(), segment, deletes, since: now, is_out: true });
        Some(commit)
    }

    /// The commit that is out was done.
    pub fn commit_done(&mut self) {
        let Some(done) = self.commit.take() else { return };
        self.last_synced = done.commit.syncs_to.unwrap_or(self.last_synced);
        if let Some(segment) = done.segment {
            match self.segments.back_mut() {
                Some(last) if last.id == segment.id => *last = segment,
                _ => self.segments.push_back(segment),
            }
            self.last_kept = segment.last;
            // Those before it in the same segment have waited longer already.
            let due = done.since + SYNC_EVERY;
            self.unsynced.get_or_insert(Unsynced { segment: segment.id, due });
        }
        for _ in 0..done.deletes {
            let Some(gone) = self.segments.pop_front() else { break };
            if self.is_watched && gone.last > self.acked {
                self.lose(Gap { from: gone.id.0.max(self.acked + 1), to: gone.last });
                self.acked = gone.last;
                self.is_cursor_due = true;
            }
        }
    }

    /// The commit that is out failed at some point; the same is to be done again, a while later.
    pub fn commit_failed(&mut self, now: Instant) {
        if let Some(under_way) = &mut self.commit {
            under_way.is_out = false;
            self.retry_at = Some(now + RETRY_AFTER);
        }
    }

    /// When [`Spool::poll`] has something to do though nothing new came.
    pub fn next_deadline(&self) -> Option<Instant> {
        match &self.commit {
            Some(under_way) if under_way.is_out => None,
            Some(_) => self.retry_at,
            None => {
                let cursor = self.cursor_at.filter(|_| self.is_cursor_due);
                cursor.into_iter().chain(self.unsynced.map(|unsynced| unsynced.due)).min()
            }
        }
    }

    /// The next sync is due now: somebody waits for it.
    pub fn sync_soon(&mut self, now: Instant) {
        if let Some(unsynced) = &mut self.unsynced {
            unsynced.due = now;
        }
    }

    /// Events that were lost to the control plane since the last question: to be told as SpoolTrimmed.
    pub fn take_trimmed(&mut self) -> Option<Gap> {
        self.trimmed.pop_front()
    }

    /// The segment that holds the first kept event after `seq`, and how many of its bytes are kept.
    pub fn segment_after(&self, seq: u64) -> Option<(SegmentId, u64)> {
        self.segments.iter().find(|segment| segment.last > seq).map(|segment| (segment.id, segment.bytes))
    }

    /// Up to here the control plane has everything.
    pub fn acknowledged(&self) -> u64 {
        self.acked
    }

    /// The newest number that is written: it survives the process, and after the next sync the power.
    pub fn last_kept(&self) -> u64 {
        self.last_kept
    }

    /// Kept events that the control plane has not acknowledged.
    pub fn waiting(&self) -> u64 {
        self.last_kept.saturating_sub(self.acked)
    }

    /// Bytes of all segments.
    pub fn bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.bytes).sum()
    }

    /// Events that found no room in memory while the disk was behind.
    pub fn refused(&self) -> u64 {
        self.refused
    }

    /// Events that are not kept yet, oldest first.
    pub fn unkept(&self) -> impl Iterator<Item = &Arc<Written>> {
        let under_way = self.commit.iter().flat_map(|under_way| &under_way.commit.events);
        under_way.chain(&self.pending)
    }

    /// Whether everything that came is durable, the cursor too.
    pub fn is_idle(&self) -> bool {
        self.commit.is_none() && self.pending.is_empty() && !self.is_cursor_due && self.unsynced.is_none()
    }

    /// The newest number that a loss of power cannot take.
    pub fn last_synced(&self) -> u64 {
        self.last_synced
    }

    fn sync(&mut self, commit: &mut Commit) {
        let unsynced = self.unsynced.take();
        commit.syncs_to = Some(self.last_kept);
        commit.ops.extend(unsynced.map(|unsynced| FileOp::Sync { segment: unsynced.segment }));
    }

    fn newest(&self) -> u64 {
        let under_way = self.commit.as_ref().and_then(|under_way| under_way.segment).map(|segment| segment.last);
        self.pending.back().map(|event| event.seq).or(under_way).unwrap_or(self.last_kept)
    }

    fn write_pending(&mut self, commit: &mut Commit) -> Option<Segment> {
        let first = self.pending.front()?;
        let (limits, at) = (self.limits, first.at);
        let has_room =
            |last: &Segment| last.bytes < limits.segment_bytes && at.since(last.began) <= limits.age_max / 16;
        let current = self.segments.back().copied().filter(has_room);
        let fresh = Segment { id: SegmentId(first.seq), last: first.seq, bytes: 0, began: at, ended: at };
        let mut segment = current.unwrap_or(fresh);
        if self.unsynced.is_some_and(|unsynced| unsynced.segment != segment.id) {
            // A closed segment is whole before the next one begins: a loss of power leaves no hole.
            self.sync(commit);
        }
        let mut bytes = Vec::with_capacity(self.pending_bytes.min(BATCH_MAX));
        while let Some(event) = self.pending.front() {
            let size = frame::FRAME_BYTES + event.json.len();
            let is_full = bytes.len() + size > BATCH_MAX
                || segment.bytes + (bytes.len() + size) as u64 > self.limits.segment_bytes;
            if is_full && !bytes.is_empty() {
                break;
            }
            let event = self.pending.pop_front().expect("the loop's condition holds one");
            self.pending_bytes -= size;
            frame::encode(event.seq, event.json.as_bytes(), &mut bytes);
            segment.last = event.seq;
            segment.ended = event.at;
            commit.events.push(event);
        }
        let at = segment.bytes;
        segment.bytes += bytes.len() as u64;
        commit.ops.push(FileOp::Write { segment: segment.id, at, bytes: bytes.into() });
        Some(segment)
    }

    /// The oldest leave until the rest fits and is young enough, measured by the newest event; the one being written stays.
    fn plan_deletes(&self, growing: Option<Segment>, commit: &mut Commit) -> usize {
        let Some(growing) = growing else { return 0 };
        let older = || self.segments.iter().filter(|segment| segment.id != growing.id);
        let mut total = growing.bytes + older().map(|segment| segment.bytes).sum::<u64>();
        let mut deletes = 0;
        for segment in older() {
            let is_old = growing.ended.since(segment.ended) > self.limits.age_max;
            if total <= self.limits.bytes_max && !is_old {
                break;
            }
            total -= segment.bytes;
            deletes += 1;
            commit.ops.push(FileOp::Delete { segment: segment.id });
        }
        deletes
    }

    /// Neighbouring losses become one.
    fn lose(&mut self, gap: Gap) {
        match self.trimmed.back_mut() {
            Some(last) if last.to + 1 == gap.from => last.to = gap.to,
            _ => self.trimmed.push_back(gap),
        }
        // Nobody asked for long: the first and the last matter.
        if self.trimmed.len() > 64 {
            let first = self.trimmed.pop_front().expect("more than one");
            let second = self.trimmed.front_mut().expect("more than one");
            second.from = mem::replace(&mut second.from, 0).min(first.from);
        }
    }
}

//! What the files of the spool mean when the daemon starts.

use std::{
    collections::{HashSet, VecDeque},
    sync::Arc,
};

use postern_facts::Written;
use postern_types::{CallSid, UnixMicros};

use super::{
    frame::{self, Frames},
    plan::{FileOp, Segment, SegmentId, Spool, SpoolLimits},
};
use crate::ring::{EventRing, RingLimits};

/// What was found.
#[derive(Debug)]
pub struct Recovered {
    /// Ready to go on.
    pub spool: Spool,
    /// To be done before anything else: torn tails are cut.
    pub repairs: Vec<FileOp>,
    /// The latest events, for readers that resume.
    pub recent: EventRing,
    /// Bytes behind the last whole record of a segment: torn by a crash, never told to anybody.
    pub torn_bytes: u64,
    /// Calls that were live at the end: they were cut.
    pub calls_lost: u64,
    /// The number given last; the next is one more.
    pub last: u64,
}

/// Reads the segments in order of their names, one after the other, and the cursor file (empty when there is none).
pub fn recover(
    limits: SpoolLimits,
    recent_limits: RingLimits,
    segments: impl IntoIterator<Item = (SegmentId, Vec<u8>)>,
    cursor: &[u8],
    is_watched: bool,
) -> Recovered {
    let mut kept: VecDeque<Segment> = VecDeque::new();
    let mut repairs = Vec::new();
    let mut recent: VecDeque<Arc<Written>> = VecDeque::new();
    let mut recent_bytes = 0;
    let mut torn_bytes = 0;
    let mut live = HashSet::new();
    let mut before = 0;
    for (id, bytes) in segments {
        let mut frames = Frames::new(&bytes);
        let (mut last, mut times) = (None, None);
        for (seq, payload) in frames.by_ref().skip_while(|(seq, _)| *seq <= before) {
            last = Some(seq);
            let Ok(event) = Written::read(payload) else { continue };
            note_call(&mut live, &event);
            times = Some((times.map_or(event.at, |(began, _): (UnixMicros, _)| began), event.at));
            recent_bytes += event.json.len();
            recent.push_back(Arc::new(event));
            while recent.len() > recent_limits.events_max || recent_bytes > recent_limits.bytes_max {
                recent_bytes -= recent.pop_front().map_or(0, |gone| gone.json.len());
            }
        }
        let good = frames.good_bytes() as u64;
        torn_bytes += bytes.len() as u64 - good;
        let Some(last) = last else {
            repairs.push(FileOp::Delete { segment: id });
            continue;
        };
        if good < bytes.len() as u64 {
            repairs.push(FileOp::Truncate { segment: id, bytes: good });
            repairs.push(FileOp::Sync { segment: id });
        }
        before = last;
        // One whose events cannot be read any more is as old as can be.
        let (began, ended) = times.unwrap_or((UnixMicros(0), UnixMicros(0)));
        kept.push_back(Segment { id, last, bytes: good, began, ended });
    }
    let cursor = frame::read_cursor(cursor);
    let spool = Spool::assemble(limits, kept, cursor, is_watched);
    let last = spool.last_kept();
    let first = recent.front().map_or(last, |event| event.seq - 1);
    let mut ring = EventRing::new(recent_limits, first);
    recent.into_iter().for_each(|event| ring.push(event));
    Recovered { spool, repairs, recent: ring, torn_bytes, calls_lost: live.len() as u64, last }
}

fn note_call(live: &mut HashSet<CallSid>, event: &Written) {
    match (&*event.name, event.subject.call) {
        ("call.offered" | "call.created", Some(call)) => _ = live.insert(call),
        ("call.ended", Some(call)) => _ = live.remove(&call),
        // An earlier start has told of those before it.
        ("appliance.started", _) => live.clear(),
        _ => {}
    }
}

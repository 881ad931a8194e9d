//! Events for the tests of this crate.

use postern_facts::{Event, LegResumed, Subject, Written};
use postern_types::{UnixMicros, id::EventSid};

pub(crate) fn event(seq: u64) -> Written {
    let fact = LegResumed {}.into();
    Written::of(&Event { seq, id: EventSid(seq.into()), at: UnixMicros(seq), subject: Subject::default(), fact })
}

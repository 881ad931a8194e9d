//! The durable order of events: what to write to which file, and what a file means after a crash.
//!
//! Segments are append-only files of framed events, named by their first number. Records enter in batches: one append,
//! then the batch is kept, which means: the process may be killed. A sync follows within 200 ms, for many batches at once:
//! from then on the power may fail too. A cursor file of two slots, written in turn, holds the
//! number up to which the control plane has acknowledged. Nothing here touches a file: [`Spool::poll`] says which
//! operations to do, [`recover`] reads what a crash left. Every append names its offset, so that a failed commit is
//! repeated as it stands.
//!
//! The bound is bytes: the oldest segment leaves when there are more. If the control plane has not acknowledged it,
//! that is a loss, and it is told ([`Spool::take_trimmed`]); without a control plane it is history that ends.

mod frame;
mod plan;
mod recover;

pub use frame::{CURSOR_FILE_BYTES, FRAME_BYTES, Frames, RECORD_MAX, encode};
pub use plan::{Commit, FileOp, SegmentId, Spool, SpoolFull, SpoolLimits};
pub use recover::{Recovered, recover};

#[cfg(test)]
mod tests;

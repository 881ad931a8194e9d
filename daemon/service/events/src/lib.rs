//! The one stream of facts: numbers, history, filters, the ladder of each call, and the order of the spool.
//!
//! Pure and synchronous. The switch numbers facts with a [`Sequencer`]; the delivery thread drives [`spool::Spool`], which
//! says what to write where, fills the [`EventRing`] from which event streams are read, and gathers the ladder of each
//! call in a [`Ledger`]. An event enters ring and ledger only when the spool has it: a reader that resumes after a crash finds the
//! numbers it saw. Whole calls for the files of records are put together by a [`Gatherer`] and chained by [`chain::Head`].

#![forbid(unsafe_code)]

pub mod chain;
pub mod csv;
mod detail;
mod filter;
mod ledger;
mod ring;
mod sequence;
pub mod spool;
mod trace;

pub use detail::{CallDetail, GATHERED_MAX, Gatherer, LEGS_MAX, RouteTaken};
pub use filter::{BadFilter, Filter, TYPES_MAX, TypePattern};
pub use ledger::{Chapter, Ledger, LedgerLimits};
pub use ring::{Batch, EventRing, Gap, RingLimits};
pub use sequence::Sequencer;
pub use trace::{Hop, Kept, Trace, TraceFigures, TraceLimits, Traced, Way};

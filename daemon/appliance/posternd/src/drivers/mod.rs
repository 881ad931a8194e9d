//! Drivers: they move bytes for the switch and decide nothing.
//!
//! Each has a start function that returns a handle. What comes back reaches the switch through one callback, [`Report`],
//! which must not block: it puts a [`DriverInput`] into the switch's queue.

pub mod files;
pub mod journal;
pub mod spool;
pub mod store;

use std::sync::Arc;

/// Takes what drivers have to say to the switch, from any thread, without blocking.
pub type Report = Arc<dyn Fn(DriverInput) + Send + Sync>;

/// What a driver says.
#[derive(Debug)]
pub enum DriverInput {
    /// A file cannot be written; it is tried again. Told once until it works again.
    StoreFailed {
        /// Which.
        file: String,
        /// The system's error.
        why: String,
    },
    /// Events left the spool before the control plane had them.
    SpoolTrimmed {
        /// First.
        from: u64,
        /// Last.
        to: u64,
    },
}

#[cfg(test)]
mod test_folder;

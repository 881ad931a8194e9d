//! The box itself.

use std::path::PathBuf;

use serde::Serialize;

use crate::reader::{Fields, Reader};

/// The box itself.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Appliance {
    /// Its name: source of its events, subject of its commands. `[A-Za-z0-9_-]{1,63}`.
    pub name: String,
    /// Durable state: spool, store.
    pub state_folder: PathBuf,
    /// The tool's socket `postern.sock`.
    pub runtime_folder: PathBuf,
    /// Bound of the event spool, megabytes.
    pub spool_mb: u64,
    /// Days that an event stays in it at most.
    pub spool_days: u64,
    /// Finished calls kept in the store at most.
    pub records_max: u64,
}

impl Appliance {
    pub(crate) fn read(r: &mut Reader<'_>, f: &Fields<'_>) -> Option<Self> {
        let name = f.name(r, "name");
        if name.as_ref().is_some_and(|name| name.contains('.')) {
            // The name is one word of a NATS subject.
            r.error(f.span_of("name"), "the name has a dot").hint("use letters, digits, `_` and `-`");
        }
        let (state_folder, runtime_folder) = (f.path(r, "state_folder"), f.path(r, "runtime_folder"));
        let (spool_mb, spool_days, records_max) =
            (f.integer(r, "spool_mb"), f.integer(r, "spool_days"), f.integer(r, "records_max"));
        Some(Self {
            name: name?,
            state_folder: state_folder?,
            runtime_folder: runtime_folder?,
            spool_mb: spool_mb?,
            spool_days: spool_days?,
            records_max: records_max?,
        })
    }
}

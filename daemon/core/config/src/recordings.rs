//! Recordings of calls.

use std::path::PathBuf;

use serde::Serialize;

use crate::reader::{Fields, Reader};

/// Where recordings go, and how long they stay.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Recordings {
    /// The folder; none: `recordings` in the state folder.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub folder: Option<PathBuf>,
    /// Megabytes of all files at most; the oldest leave.
    pub max_mb: u64,
    /// Days that a file stays at most.
    pub days: u64,
}

impl Recordings {
    pub(crate) fn read(r: &mut Reader<'_>, f: &Fields<'_>) -> Option<Self> {
        let (folder, max_mb, days) = (f.path(r, "folder"), f.integer(r, "max_mb"), f.integer(r, "days"));
        Some(Self { folder, max_mb: max_mb?, days: days? })
    }
}

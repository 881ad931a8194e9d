//! Call records as files.

use std::path::PathBuf;

use serde::Serialize;

use crate::reader::{Fields, Reader};

/// Where the files of call records go, and how long they stay.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Records {
    /// The folder; none: `records` in the state folder.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub folder: Option<PathBuf>,
    /// How they are written; never empty.
    pub formats: Vec<RecordFormat>,
    /// Megabytes of one file at most; a new one is also begun each day (UTC).
    pub file_mb: u64,
    /// Megabytes of all files at most; the oldest leave.
    pub max_mb: u64,
    /// Days that a file stays at most.
    pub days: u64,
}

/// How records are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RecordFormat {
    /// All that is known, a JSON object a line.
    Json,
    /// What billing reads, a row a line.
    Csv,
}

impl Records {
    pub(crate) fn read(r: &mut Reader<'_>, f: &Fields<'_>) -> Option<Self> {
        let folder = f.path(r, "folder");
        let formats = f.choices(r, "formats", &[RecordFormat::Json, RecordFormat::Csv]);
        let (file_mb, max_mb, days) = (f.integer(r, "file_mb"), f.integer(r, "max_mb"), f.integer(r, "days"));
        if let (Some(file), Some(all)) = (file_mb, max_mb)
            && file > all
        {
            r.error(f.span_of("file_mb"), "one file may be larger than all together")
                .hint("write a `file_mb` below `max_mb`");
        }
        Some(Self { folder, formats, file_mb: file_mb?, max_mb: max_mb?, days: days? })
    }
}

//! What is written to the journal.

use serde::Serialize;

use crate::reader::{Fields, Reader};

/// What is written to the journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Log {
    /// Facts of at least this level: `debug`, `info`, `notice`, `warning`, `error`.
    pub level: LogLevel,
    /// `auto` (journal when connected to it, else stderr), `journal`, `stderr`.
    pub to: LogTarget,
}

/// Least level that is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    /// Everything.
    Debug,
    /// Normal work.
    #[default]
    Info,
    /// Worth seeing.
    Notice,
    /// Something to look at.
    Warning,
    /// Something is broken.
    Error,
}

/// Where it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LogTarget {
    /// The journal when systemd connected us to it, else stderr.
    #[default]
    Auto,
    /// The journal.
    Journal,
    /// Lines for a person.
    Stderr,
}

impl Log {
    pub(crate) fn read(r: &mut Reader<'_>, f: &Fields<'_>) -> Option<Self> {
        let (level, to) = (f.choice(r, "level", &LEVELS), f.choice(r, "to", &TARGETS));
        Some(Self { level: level?, to: to? })
    }
}

/// In the order of the table's words.
const LEVELS: [LogLevel; 5] = [LogLevel::Debug, LogLevel::Info, LogLevel::Notice, LogLevel::Warning, LogLevel::Error];
const TARGETS: [LogTarget; 3] = [LogTarget::Auto, LogTarget::Journal, LogTarget::Stderr];

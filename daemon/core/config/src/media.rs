//! The media plane.

use std::{path::PathBuf, time::Duration};

use serde::Serialize;

use crate::{
    reader::{Fields, Reader},
    write,
};

/// Whether the kernel is to forward by itself the packets of plain calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum FastPath {
    /// When it can, and we may.
    #[default]
    Auto,
    /// No.
    Off,
    /// Yes: without it the daemon does not start.
    Required,
}

/// The media plane.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Media {
    /// CPUs that media workers are pinned to, one worker each; empty: one worker on the last CPU.
    pub workers: Vec<usize>,
    /// How long after an (re-)offer a new source may still be latched.
    #[serde(serialize_with = "write::duration")]
    pub latch_window: Duration,
    /// How long a sending party may be silent before its call is ended.
    #[serde(serialize_with = "write::duration")]
    pub timeout: Duration,
    /// How long a port rests after use.
    #[serde(serialize_with = "write::duration")]
    pub quarantine: Duration,
    /// How busy the least busy worker may be for new calls, per cent of its CPU.
    pub busy_max: u8,
    /// Whether the kernel forwards plain calls by itself.
    pub fast_path: FastPath,
    /// Folders below which `Play` may read local WAV files; empty: none.
    pub prompt_folders: Vec<PathBuf>,
}

impl Media {
    pub(crate) fn read(r: &mut Reader<'_>, f: &Fields<'_>) -> Option<Self> {
        let workers = f.integers(r, "workers").into_iter().map(|(cpu, _)| cpu as usize).collect();
        let busy_max = f.integer(r, "busy_max");
        let (latch_window, timeout) = (f.duration(r, "latch_window"), f.duration(r, "timeout"));
        let fast_path = f.choice(r, "fast_path", &[FastPath::Auto, FastPath::Off, FastPath::Required]);
        let (quarantine, prompt_folders) = (f.duration(r, "quarantine"), f.paths(r, "prompt_folders"));
        Some(Self {
            workers,
            latch_window: latch_window?,
            timeout: timeout?,
            quarantine: quarantine?,
            busy_max: busy_max? as u8,
            fast_path: fast_path?,
            prompt_folders,
        })
    }
}

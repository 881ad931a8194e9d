//! How long recordings stay: the oldest files leave when there are too many bytes, or when they are too old.

use std::{
    fs,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, SystemTime},
};

use postern_types::RecordingSid;

use super::super::{DriverInput, Report};

/// A file that was written to within this time may still grow, and is left alone.
const FRESH: Duration = Duration::from_secs(60);

/// Looks through the folder when told to, away from all other work. Cheap to clone.
#[derive(Clone)]
pub struct Trim {
    folder: PathBuf,
    bytes_max: u64,
    age_max: Duration,
    /// Makes the recording's record go too.
    forget: Arc<dyn Fn(RecordingSid) + Send + Sync>,
    report: Report,
    runs: Arc<AtomicBool>,
    runtime: tokio::runtime::Handle,
}

impl Trim {
    /// For the current runtime; nothing is done yet.
    pub fn new(
        folder: PathBuf,
        max_mb: u64,
        days: u64,
        forget: Arc<dyn Fn(RecordingSid) + Send + Sync>,
        report: Report,
    ) -> Self {
        Self {
            folder,
            bytes_max: max_mb.saturating_mul(1 << 20),
            age_max: Duration::from_secs(days.saturating_mul(86400)),
            forget,
            report,
            runs: Arc::default(),
            runtime: tokio::runtime::Handle::current(),
        }
    }

    /// Has it done, unless it is being done.
    pub(super) fn run(&self) {
        if self.runs.swap(true, Ordering::AcqRel) {
            return;
        }
        let trim = self.clone();
        drop(self.runtime.spawn_blocking(move || {
            let (recordings, bytes) = trim.look(SystemTime::now());
            trim.runs.store(false, Ordering::Release);
            if recordings > 0 {
                (trim.report)(DriverInput::RecordingsTrimmed { recordings, bytes });
            }
        }));
    }

    /// How many were deleted, and their bytes.
    pub(super) fn look(&self, now: SystemTime) -> (u64, u64) {
        let Ok(entries) = fs::read_dir(&self.folder) else { return (0, 0) };
        // Only files that this program made: whatever else an admin keeps there stays.
        let mut files: Vec<_> = entries
            .flatten()
            .filter_map(|entry| {
                let sid: RecordingSid = entry.file_name().to_str()?.strip_suffix(".wav")?.parse().ok()?;
                let about = entry.metadata().ok().filter(fs::Metadata::is_file)?;
                let age = now.duration_since(about.modified().ok()?).unwrap_or_default();
                Some((age, sid, about.len(), entry.path()))
            })
            .collect();
        files.sort_by_key(|(age, ..)| std::cmp::Reverse(*age));
        let mut bytes: u64 = files.iter().map(|(_, _, bytes, _)| bytes).sum();
        let (mut gone, mut freed) = (0, 0);
        for (age, sid, len, path) in files {
            if age < FRESH || (bytes <= self.bytes_max && age <= self.age_max) {
                break;
            }
            bytes -= len;
            if fs::remove_file(path).is_ok() {
                (self.forget)(sid);
                gone += 1;
                freed += len;
            }
        }
        (gone, freed)
    }
}

//! Call records as files: one thread that gathers each call until its end and writes it as a line of a hash chain
//! (`postern_events::chain`), in JSON, CSV or both.
//!
//! What is written is in the kernel at once: a kill takes the calls that were not over, and what was in the queue, milliseconds of it.
//! Files are synced once a second while records come; a loss of power takes what came since, and `postern records verify` says so, for the
//! state beside the files (`chain.jsonl.state`) has the number of the newest record. A chain goes on over restarts, over new files, and
//! when files were taken away. A last line that is not whole was never finished, and is cut off at the start.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Seek, SeekFrom, Write},
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel},
    },
    thread,
    time::{Duration, Instant, SystemTime},
};

use postern_config::{RecordFormat, Records};
use postern_events::{
    CallDetail, Gatherer,
    chain::{Form, Head, LINE_BYTES_MAX, Link},
    csv,
};
use postern_facts::{CallRecord, Event};
use postern_types::UnixMicros;

use super::{DriverInput, Report};

/// What waits for the writer: some seconds of a storm.
const QUEUE_MAX: usize = 32_768;
/// Calls that are written by one system call at most.
const GROUP_MAX: usize = 256;
/// Files are synced at this distance while records come.
const SYNC_EVERY: Duration = Duration::from_secs(1);
/// After a write that failed.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// How often a group is tried before its calls are given up: a full disk holds up the files, not the memory.
const TRIES_MAX: u32 = 30;
/// Calls as far as they are known, so that nobody but the service reads them.
const MODE: u32 = 0o640;

/// The handle; cheap to clone.
#[derive(Clone)]
pub struct RecordFiles {
    queue: SyncSender<Job>,
    lost: Arc<AtomicU64>,
}

enum Job {
    Leg(Box<CallRecord>),
    Event(Arc<Event>),
    Flush(SyncSender<()>),
}

impl RecordFiles {
    /// Opens the folder, which is there, and finds where its chains stand.
    pub fn start(folder: &Path, settings: &Records, report: Report) -> Result<Self, String> {
        let forms = settings.formats.iter().map(|format| match format {
            RecordFormat::Json => Form::Json,
            RecordFormat::Csv => Form::Csv,
        });
        let failed = |error: io::Error| format!("{}: {error}", folder.display());
        let chains = forms.map(|form| Chain::open(folder, form, settings)).collect::<io::Result<Vec<_>>>();
        let chains = chains.map_err(failed)?;
        let (queue, jobs) = sync_channel(QUEUE_MAX);
        let lost = Arc::<AtomicU64>::default();
        let writer = Writer { chains, gatherer: Gatherer::default(), group: Vec::new(), lost: lost.clone(), report };
        thread::Builder::new().name("records".into()).spawn(move || writer.run(&jobs)).map_err(failed)?;
        Ok(Self { queue, lost })
    }

    /// Hands in a finished leg; never waits.
    pub fn leg(&self, record: &CallRecord) {
        self.put(Job::Leg(Box::new(record.clone())));
    }

    /// Hands in an event; never waits.
    pub fn event(&self, event: &Arc<Event>) {
        if Gatherer::wants(&event.fact) {
            self.put(Job::Event(event.clone()));
        }
    }

    /// Waits until everything handed in is written and synced, for the end of the daemon; `patience` bounds it.
    pub fn flush(&self, patience: Duration) -> bool {
        let (done, wait) = sync_channel(1);
        self.queue.try_send(Job::Flush(done)).is_ok() && wait.recv_timeout(patience).is_ok()
    }

    fn put(&self, job: Job) {
        if self.queue.try_send(job).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

struct Writer {
    chains: Vec<Chain>,
    gatherer: Gatherer,
    group: Vec<CallDetail>,
    lost: Arc<AtomicU64>,
    report: Report,
}

impl Writer {
    fn run(mut self, jobs: &Receiver<Job>) {
        let mut synced = Instant::now();
        let mut is_dirty = false;
        loop {
            let wait = if is_dirty { SYNC_EVERY.saturating_sub(synced.elapsed()) } else { Duration::MAX };
            let mut waiters = Vec::new();
            match jobs.recv_timeout(wait) {
                Ok(job) => {
                    self.take(job, &mut waiters);
                    while self.group.len() < GROUP_MAX
                        && let Ok(job) = jobs.try_recv()
                    {
                        self.take(job, &mut waiters);
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return self.sync(),
            }
            if !self.group.is_empty() {
                self.write();
                is_dirty = true;
            }
            if is_dirty && (!waiters.is_empty() || synced.elapsed() >= SYNC_EVERY) {
                self.sync();
                (synced, is_dirty) = (Instant::now(), false);
            }
            // Whoever waited may have left.
            waiters.into_iter().for_each(|waiter| _ = waiter.try_send(()));
        }
    }

    fn take(&mut self, job: Job, waiters: &mut Vec<SyncSender<()>>) {
        let over = match job {
            Job::Leg(record) => self.gatherer.leg(*record),
            Job::Event(event) => self.gatherer.event(&event),
            Job::Flush(done) => {
                waiters.push(done);
                None
            }
        };
        if let Some(mut detail) = over {
            detail.lost = self.lost.swap(0, Ordering::Relaxed);
            self.group.push(detail);
        }
    }

    fn write(&mut self) {
        let group = std::mem::take(&mut self.group);
        let (mut told, mut lost) = (false, 0);
        for chain in &mut self.chains {
            for attempt in 1.. {
                let Err(error) = chain.append(&group) else { break };
                if !told {
                    let file = chain.folder.display().to_string();
                    (self.report)(DriverInput::StoreFailed { file, why: error.to_string() });
                    told = true;
                }
                if attempt == TRIES_MAX {
                    lost = group.len() as u64;
                    break;
                }
                thread::sleep(RETRY_AFTER);
            }
        }
        self.lost.fetch_add(lost, Ordering::Relaxed);
    }

    fn sync(&mut self) {
        for chain in &mut self.chains {
            if let Err(error) = chain.sync() {
                let file = chain.folder.display().to_string();
                (self.report)(DriverInput::StoreFailed { file, why: error.to_string() });
            }
        }
    }
}

/// The files of one form.
struct Chain {
    folder: PathBuf,
    form: Form,
    head: Head,
    state: File,
    open: Option<Open>,
    file_bytes_max: u64,
    all_bytes_max: u64,
    days: u64,
}

struct Open {
    file: File,
    bytes: u64,
    /// `20261121`.
    day: String,
}

impl Chain {
    fn open(folder: &Path, form: Form, settings: &Records) -> io::Result<Self> {
        let mut state = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(MODE)
            .open(folder.join(state_name(form)))?;
        let mut text = String::new();
        // What is no text is no state: the newest line then says where the chain stands.
        let kept = state.read_to_string(&mut text).ok().and_then(|_| Head::parse(text.lines().next()?));
        let written = newest(folder, form)?;
        let head = [kept, written].into_iter().flatten().max_by_key(|head| head.n).unwrap_or_default();
        Ok(Self {
            folder: folder.to_owned(),
            form,
            head,
            state,
            open: None,
            file_bytes_max: settings.file_mb << 20,
            all_bytes_max: settings.max_mb << 20,
            days: settings.days,
        })
    }

    /// All or, with an error, none of them.
    fn append(&mut self, group: &[CallDetail]) -> io::Result<()> {
        let mut head = self.head.clone();
        let mut text = String::new();
        for detail in group {
            text += &head.link(
                self.form,
                &match self.form {
                    Form::Json => serde_json::to_string(detail).expect("a record has string keys only"),
                    Form::Csv => csv::row(detail),
                },
            );
        }
        let day = day_of(SystemTime::now());
        let fits = self.open.as_ref().is_some_and(|open| open.day == day && open.bytes < self.file_bytes_max);
        if !fits {
            self.begin_file(day)?;
        }
        let open = self.open.as_mut().expect("one was just begun");
        if let Err(error) = open.file.write_all(text.as_bytes()) {
            // Half a line must not stand in front of a whole one.
            let _ = open.file.set_len(open.bytes);
            let _ = open.file.seek(SeekFrom::End(0));
            return Err(error);
        }
        open.bytes += text.len() as u64;
        self.head = head;
        // The records are there, and must not be written again for its sake: the next group tries anew, and a sync tells.
        let _ = self.write_state();
        Ok(())
    }

    fn begin_file(&mut self, day: String) -> io::Result<()> {
        self.sync()?;
        let name = format!("calls-{day}-{:012}.{}", self.head.n + 1, self.form.extension());
        let mut file = OpenOptions::new().append(true).create(true).mode(MODE).open(self.folder.join(name))?;
        let mut bytes = file.metadata()?.len();
        if bytes == 0 && self.form == Form::Csv {
            let headings = format!("{}\n", csv::HEADINGS);
            file.write_all(headings.as_bytes())?;
            bytes = headings.len() as u64;
        }
        self.open = Some(Open { file, bytes, day });
        self.trim()
    }

    /// The oldest files leave, never the one that is written.
    fn trim(&self) -> io::Result<()> {
        let files = files_of(&self.folder, self.form)?;
        let kept_for = Duration::from_secs(self.days * 86_400);
        let last_day = day_of(SystemTime::now().checked_sub(kept_for).unwrap_or(SystemTime::UNIX_EPOCH));
        let mut all: u64 = files.iter().map(|file| file.bytes).sum();
        for file in files.iter().take(files.len().saturating_sub(1)) {
            // A file as large as one may be is about to be written.
            if file.day >= last_day && all + self.file_bytes_max <= self.all_bytes_max.max(self.file_bytes_max) {
                break;
            }
            fs::remove_file(&file.path)?;
            all = all.saturating_sub(file.bytes);
        }
        Ok(())
    }

    fn write_state(&self) -> io::Result<()> {
        // Of one length, in one place: no moment without a state.
        let text = format!("{:<90}\n", self.head.to_string());
        self.state.write_all_at(text.as_bytes(), 0)
    }

    fn sync(&mut self) -> io::Result<()> {
        if let Some(open) = &self.open {
            open.file.sync_data()?;
            self.state.sync_data()?;
        }
        Ok(())
    }
}

/// `20261121`, UTC.
fn day_of(time: SystemTime) -> String {
    postern_link::rfc3339(UnixMicros::from_system(time))[..10].replace('-', "")
}

/// The state's file beside the records.
fn state_name(form: Form) -> String {
    format!("chain.{}.state", form.extension())
}

struct Found {
    path: PathBuf,
    day: String,
    bytes: u64,
}

/// The files of a form, in the order of their records.
fn files_of(folder: &Path, form: Form) -> io::Result<Vec<Found>> {
    let mut all: Vec<(u64, Found)> = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let parts = name.strip_suffix(form.extension()).and_then(|name| name.strip_suffix('.'));
        let parts = parts.and_then(|name| name.strip_prefix("calls-")).and_then(|name| name.split_once('-'));
        let Some((day, first)) = parts.and_then(|(day, first)| Some((day.to_owned(), first.parse().ok()?))) else {
            continue;
        };
        all.push((first, Found { path: entry.path(), day, bytes: entry.metadata()?.len() }));
    }
    all.sort_by(|one, other| (one.0, &one.1.day).cmp(&(other.0, &other.1.day)));
    Ok(all.into_iter().map(|(_, found)| found).collect())
}

/// The newest record that is whole. What stands behind its line was never finished, and is cut off.
fn newest(folder: &Path, form: Form) -> io::Result<Option<Head>> {
    for found in files_of(folder, form)?.iter().rev() {
        let mut file = OpenOptions::new().read(true).write(true).open(&found.path)?;
        let from = found.bytes.saturating_sub(2 * LINE_BYTES_MAX as u64);
        file.seek(SeekFrom::Start(from))?;
        let mut tail = Vec::new();
        file.take(found.bytes - from).read_to_end(&mut tail)?;
        let whole = tail.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        if whole < tail.len() && (whole > 0 || from == 0) {
            OpenOptions::new().write(true).open(&found.path)?.set_len(from + whole as u64)?;
        }
        let text = String::from_utf8_lossy(&tail[..whole]);
        if let Some(link) = text.lines().rev().find_map(|line| Link::read(form, line)) {
            return Ok(Some(Head { n: link.n, hash: link.hash }));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests;

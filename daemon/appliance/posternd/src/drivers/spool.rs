//! The spool's plan put onto files: every event is kept before anybody outside sees it.
//!
//! Kept means written to the file: a daemon that is killed loses nothing that was seen. What was written is synced within
//! 200 ms; only a loss of power or of the kernel can take that much, and its numbers are then given again.
//!
//! The switch pushes events into a bounded queue. One task makes their JSON, writes whatever has come since the last
//! write as one group, and then shows them: to the event streams and the ledger (by a callback) and to the link (by
//! [`Spool::after`]). While the disk refuses, events stay in memory, bounded, and are shown after the first failure: the
//! streams go on, and what a crash would lose is told to nobody who counts on it, for the link reads only what is kept.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use postern_events::{
    Batch, EventRing, Filter, RingLimits,
    spool::{self as plan, Frames, SegmentId, SpoolLimits, recover},
};
use postern_facts::{Event, Written};
use tokio::sync::{Notify, mpsc, watch};

use super::{
    DriverInput, Report,
    files::{self, CURSOR_FILE, FileError, Files},
};

/// Events on their way from the switch: a second of a storm.
const QUEUE_MAX: usize = 16_384;

/// Events taken from the queue at once.
const TAKE_MAX: usize = 1024;

/// Groups follow each other at this distance, so that a busy switch wakes nobody with each event. An event after a pause
/// is written at once.
const WRITE_EVERY: Duration = Duration::from_millis(20);

/// A segment in memory: its size and one record beyond it.
const SEGMENT_READ_MAX: usize = (8 << 20) + plan::RECORD_MAX + plan::FRAME_BYTES;

/// What a start found.
#[derive(Debug)]
pub struct Found {
    /// The number given last; the switch goes on after it.
    pub last: u64,
    /// Calls that were cut by the previous end of the daemon.
    pub calls_lost: u64,
    /// Bytes of a record that a crash had torn; nobody had been told of it.
    pub torn_bytes: u64,
    /// The latest events, oldest first, for event streams that resume.
    pub recent: Vec<Arc<Written>>,
}

/// The spool's handle; cheap to clone.
#[derive(Clone)]
pub struct Spool {
    queue: mpsc::Sender<Arc<Event>>,
    shared: Arc<Shared>,
    kept: watch::Receiver<u64>,
    synced: watch::Receiver<u64>,
}

struct Shared {
    state: Mutex<State>,
    files: Files,
    folder: PathBuf,
    /// The plan has something new to do, though no event came.
    nudged: Notify,
    overflowed: AtomicU64,
}

struct State {
    plan: plan::Spool,
    /// The latest kept events, so that a link that keeps up never reads a file.
    recent: EventRing,
}

/// The spool before its task runs: recovered, nothing written yet.
pub struct Opened {
    state: State,
    folder: PathBuf,
    /// What was found.
    pub found: Found,
}

impl Opened {
    /// Reads the spool in `state_folder/spool`, makes the folder if there is none, and cuts what a crash has torn.
    /// `is_watched`: there is a control plane, so what leaves unacknowledged is a loss.
    pub fn open(state_folder: &Path, limits: SpoolLimits, is_watched: bool) -> Result<Self, FileError> {
        let folder = state_folder.join("spool");
        let failed = |file: &Path| {
            let file = file.to_owned();
            move |error: io::Error| FileError { file, why: error.to_string() }
        };
        fs::create_dir_all(&folder).map_err(failed(&folder))?;
        let mut ids: Vec<SegmentId> = fs::read_dir(&folder)
            .map_err(failed(&folder))?
            .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
            .collect();
        ids.sort_unstable();
        let cursor = fs::read(folder.join(CURSOR_FILE)).unwrap_or_default();
        let mut unreadable = None;
        let segments = ids.iter().map_while(|id| {
            let path = folder.join(id.to_string());
            match fs::read(&path) {
                Ok(bytes) => Some((*id, bytes)),
                Err(error) => {
                    unreadable = Some(failed(&path)(error));
                    None
                }
            }
        });
        let recovered = recover(limits, RingLimits::default(), segments, &cursor, is_watched);
        if let Some(error) = unreadable {
            return Err(error);
        }
        for op in &recovered.repairs {
            repair(&folder, op)?;
        }
        let recent = recovered.recent.since(0, &Filter::default(), usize::MAX).events;
        let found =
            Found { last: recovered.last, calls_lost: recovered.calls_lost, torn_bytes: recovered.torn_bytes, recent };
        Ok(Self { state: State { plan: recovered.spool, recent: recovered.recent }, folder, found })
    }

    /// Starts the task on the current runtime. `show` gets each event once, in order, when it is kept.
    pub fn start(self, files: Files, report: Report, show: impl FnMut(Arc<Written>) + Send + 'static) -> Spool {
        let (queue, events) = mpsc::channel(QUEUE_MAX);
        let (kept_sender, kept) = watch::channel(self.state.plan.last_kept());
        let (synced_sender, synced) = watch::channel(self.state.plan.last_kept());
        let shared = Arc::new(Shared {
            state: Mutex::new(self.state),
            files,
            folder: self.folder,
            nudged: Notify::new(),
            overflowed: AtomicU64::new(0),
        });
        let task = Task {
            shared: shared.clone(),
            report,
            show,
            kept: kept_sender,
            synced: synced_sender,
            shown: 0,
            is_failing: false,
            json: Vec::new(),
        };
        tokio::spawn(task.run(events));
        Spool { queue, shared, kept, synced }
    }

    /// The spool's folder, for [`Files::start`].
    pub fn folder(&self) -> &Path {
        &self.folder
    }
}

impl Spool {
    /// Hands an event over; never waits. One that finds the queue full is not kept, and counted.
    pub fn push(&self, event: Arc<Event>) {
        if self.queue.try_send(event).is_err() {
            self.shared.overflowed.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Changes with each commit: the newest kept number.
    pub fn kept(&self) -> watch::Receiver<u64> {
        self.kept.clone()
    }

    /// The kept events after number `seq`, oldest first: at most `limit`, none only when there are none. Reads a file when
    /// memory does not reach back.
    pub async fn after(&self, seq: u64, limit: usize) -> Result<Vec<Arc<Written>>, FileError> {
        let (segment, bytes) = {
            let state = self.shared.state();
            let batch = state.recent.since(seq, &Filter::default(), limit);
            let reaches_back = batch.gap.is_none() || state.plan.segment_after(seq).is_none();
            if reaches_back {
                let last = state.plan.last_kept();
                return Ok(batch.events.into_iter().filter(|event| event.seq <= last).collect());
            }
            let Some(found) = state.plan.segment_after(seq) else { return Ok(Vec::new()) };
            found
        };
        let path = self.shared.folder.join(segment.to_string());
        let content = self.shared.files.read(path, SEGMENT_READ_MAX).await?;
        let content = &content[..content.len().min(bytes as usize)];
        let newer = Frames::new(content).skip_while(|(number, _)| *number <= seq).take(limit);
        Ok(newer.filter_map(|(_, payload)| Written::read(payload).ok()).map(Arc::new).collect())
    }

    /// The latest kept events after `seq` that pass `filter`, from memory only.
    pub fn recent(&self, seq: u64, filter: &Filter) -> Batch {
        self.shared.state().recent.since(seq, filter, usize::MAX)
    }

    /// The control plane has everything up to `seq`.
    pub fn acknowledge(&self, seq: u64) {
        self.shared.state().plan.acknowledge(seq);
        self.shared.nudged.notify_one();
    }

    /// Up to here the control plane has everything.
    pub fn acknowledged(&self) -> u64 {
        self.shared.state().plan.acknowledged()
    }

    /// Kept events that the control plane has not acknowledged.
    pub fn waiting(&self) -> u64 {
        self.shared.state().plan.waiting()
    }

    /// Bytes on disk.
    pub fn bytes(&self) -> u64 {
        self.shared.state().plan.bytes()
    }

    /// Events that were not kept: queue full, or memory full while the disk refused.
    pub fn lost(&self) -> u64 {
        self.shared.overflowed.load(Ordering::Relaxed) + self.shared.state().plan.refused()
    }

    /// Waits until number `seq` is kept and synced, for the end of the daemon; `patience` bounds it when the disk refuses.
    pub async fn flush(&self, seq: u64, patience: Duration) {
        let (mut kept, mut synced) = (self.kept(), self.synced.clone());
        let durable = async {
            let _ = kept.wait_for(|last| *last >= seq).await;
            self.shared.state().plan.sync_soon(Instant::now());
            self.shared.nudged.notify_one();
            let _ = synced.wait_for(|last| *last >= seq).await;
        };
        let _ = tokio::time::timeout(patience, durable).await;
    }
}

impl Shared {
    /// The plan is consistent between its calls; a panic elsewhere does not change that.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Task<F> {
    shared: Arc<Shared>,
    report: Report,
    show: F,
    kept: watch::Sender<u64>,
    /// The newest number that a loss of power cannot take.
    synced: watch::Sender<u64>,
    /// The newest number that was shown.
    shown: u64,
    is_failing: bool,
    /// What an event is written in.
    json: Vec<u8>,
}

impl<F: FnMut(Arc<Written>) + Send> Task<F> {
    async fn run(mut self, mut events: mpsc::Receiver<Arc<Event>>) {
        let mut fresh = Vec::with_capacity(TAKE_MAX);
        let mut is_open = true;
        let mut next_write = tokio::time::Instant::now();
        while is_open {
            let deadline = self.shared.state().plan.next_deadline();
            let wait = async {
                match deadline {
                    Some(at) => tokio::time::sleep_until(at.into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                taken = events.recv_many(&mut fresh, TAKE_MAX) => is_open = taken > 0,
                () = self.shared.nudged.notified() => {}
                () = wait => {}
            }
            if !fresh.is_empty() {
                if is_open {
                    tokio::time::sleep_until(next_write).await;
                    while fresh.len() < QUEUE_MAX
                        && let Ok(event) = events.try_recv()
                    {
                        fresh.push(event);
                    }
                }
                next_write = tokio::time::Instant::now() + WRITE_EVERY;
            }
            self.take(&mut fresh);
            self.commit_all().await;
        }
    }

    fn take(&mut self, fresh: &mut Vec<Arc<Event>>) {
        let mut refused = Vec::new();
        let json = &mut self.json;
        let written: Vec<_> = fresh.drain(..).map(|event| Arc::new(Written::by(&event, json))).collect();
        {
            let mut state = self.shared.state();
            for event in written {
                if state.plan.append(event.clone()).is_err() {
                    refused.push(event);
                }
            }
        }
        if self.is_failing || !refused.is_empty() {
            self.show_unkept();
            refused.into_iter().for_each(|event| self.show_once(event));
        }
    }

    /// The disk is behind: the streams do not wait for it.
    fn show_unkept(&mut self) {
        let shown = self.shown;
        let unkept: Vec<_> =
            self.shared.state().plan.unkept().skip_while(|event| event.seq <= shown).cloned().collect();
        unkept.into_iter().for_each(|event| self.show_once(event));
    }

    async fn commit_all(&mut self) {
        loop {
            let commit = self.shared.state().plan.poll(Instant::now());
            let Some(commit) = commit else { break };
            let result = self.shared.files.commit(commit.ops).await;
            match result {
                Ok(()) => {
                    let (last_kept, last_synced) = {
                        let mut state = self.shared.state();
                        state.plan.commit_done();
                        commit.events.iter().for_each(|event| state.recent.push(event.clone()));
                        (state.plan.last_kept(), state.plan.last_synced())
                    };
                    self.is_failing = false;
                    // Before it is announced: who waits for the last event may end what it is shown to.
                    commit.events.into_iter().for_each(|event| self.show_once(event));
                    self.synced.send_replace(last_synced);
                    self.kept.send_if_modified(|kept| std::mem::replace(kept, last_kept) != last_kept);
                }
                Err(error) => {
                    self.shared.state().plan.commit_failed(Instant::now());
                    if !self.is_failing {
                        let file = error.file.display().to_string();
                        (self.report)(DriverInput::StoreFailed { file, why: error.why });
                    }
                    self.is_failing = true;
                    self.show_unkept();
                    commit.events.into_iter().for_each(|event| self.show_once(event));
                }
            }
        }
        while let Some(gap) = self.take_trimmed() {
            (self.report)(DriverInput::SpoolTrimmed { from: gap.from, to: gap.to });
        }
    }

    fn take_trimmed(&self) -> Option<postern_events::Gap> {
        self.shared.state().plan.take_trimmed()
    }

    fn show_once(&mut self, event: Arc<Written>) {
        if event.seq > self.shown {
            self.shown = event.seq;
            (self.show)(event);
        }
    }
}

fn repair(folder: &Path, op: &plan::FileOp) -> Result<(), FileError> {
    let (path, result) = match op {
        plan::FileOp::Truncate { segment, bytes } => {
            let path = folder.join(segment.to_string());
            let result = files::truncate(&path, *bytes);
            (path, result)
        }
        plan::FileOp::Delete { segment } => {
            let path = folder.join(segment.to_string());
            let result = fs::remove_file(&path);
            (path, result)
        }
        // Cutting synced it already.
        plan::FileOp::Sync { .. } | plan::FileOp::Write { .. } | plan::FileOp::WriteCursor { .. } => return Ok(()),
    };
    result.map_err(|error| FileError { file: path, why: error.to_string() })
}

#[cfg(test)]
mod tests {
    use postern_facts::{LegResumed, Subject};
    use postern_types::{UnixMicros, id::EventSid};

    use super::*;
    use crate::drivers::test_folder::TestFolder;

    fn event(seq: u64) -> Arc<Event> {
        let fact = LegResumed {}.into();
        Arc::new(Event { seq, id: EventSid(seq.into()), at: UnixMicros(seq), subject: Subject::default(), fact })
    }

    fn start(folder: &TestFolder) -> (Spool, Found, mpsc::UnboundedReceiver<u64>) {
        let mut opened = Opened::open(folder.path(), SpoolLimits::new(1, 30), true).unwrap();
        let none = Found { last: 0, calls_lost: 0, torn_bytes: 0, recent: Vec::new() };
        let found = std::mem::replace(&mut opened.found, none);
        let files = Files::start(opened.folder().into()).unwrap();
        let (shown, seen) = mpsc::unbounded_channel();
        let spool = opened.start(files, Arc::new(|_| {}), move |event| _ = shown.send(event.seq));
        (spool, found, seen)
    }

    #[tokio::test]
    async fn events_are_kept_shown_once_and_found_after_a_restart() {
        let folder = TestFolder::new("spool");
        let (spool, found, mut seen) = start(&folder);
        assert_eq!(found.last, 0);
        for seq in 1..=5000 {
            while spool.queue.capacity() == 0 {
                tokio::task::yield_now().await;
            }
            spool.push(event(seq));
        }
        spool.kept().wait_for(|last| *last == 5000).await.unwrap();
        for seq in 1..=5000 {
            assert_eq!(seen.recv().await, Some(seq));
        }
        spool.acknowledge(1234);
        // A torn record behind the last whole one, as a crash in the middle of a write leaves it.
        while !spool.shared.state().plan.is_idle() {
            tokio::task::yield_now().await;
        }
        drop(spool);
        let spool_folder = folder.path().join("spool");
        let newest = fs::read_dir(&spool_folder).unwrap().filter_map(|e| e.unwrap().file_name().into_string().ok());
        let newest = newest.filter(|name| name.ends_with(".events")).max().unwrap();
        let path = spool_folder.join(newest);
        let mut bytes = fs::read(&path).unwrap();
        bytes.extend_from_slice(&[9; 21]);
        fs::write(&path, bytes).unwrap();

        let (spool, found, mut seen) = start(&folder);
        assert_eq!((found.last, found.torn_bytes, found.recent.len()), (5000, 21, 5000));
        assert_eq!((spool.acknowledged(), spool.waiting()), (1234, 3766));
        let next = spool.after(1234, 10).await.unwrap();
        assert_eq!(next.iter().map(|event| event.seq).collect::<Vec<_>>(), (1235..=1244).collect::<Vec<_>>());
        spool.push(event(5001));
        assert_eq!(seen.recv().await, Some(5001));
    }

    #[tokio::test]
    async fn what_memory_does_not_have_comes_from_the_segments() {
        let folder = TestFolder::new("segments");
        let (spool, ..) = start(&folder);
        (1..=1000).for_each(|seq| spool.push(event(seq)));
        spool.kept().wait_for(|last| *last == 1000).await.unwrap();
        spool.shared.state().recent = EventRing::new(RingLimits::default(), 1000);
        let (mut after, mut read) = (0, Vec::new());
        loop {
            let events = spool.after(after, 300).await.unwrap();
            let Some(last) = events.last() else { break };
            after = last.seq;
            read.extend(events.iter().map(|event| event.seq));
        }
        assert_eq!(read, (1..=1000).collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn a_disk_that_refuses_is_told_once_and_the_streams_go_on() {
        let folder = TestFolder::new("refusing");
        let opened = Opened::open(folder.path(), SpoolLimits::new(1, 30), false).unwrap();
        let files = Files::start("/nonexistent".into()).unwrap();
        let (shown, mut seen) = mpsc::unbounded_channel();
        let (told, mut reports) = mpsc::unbounded_channel();
        let report = Arc::new(move |input| _ = told.send(input));
        let spool = opened.start(files, report, move |event| _ = shown.send(event.seq));
        (1..=3).for_each(|seq| spool.push(event(seq)));
        for seq in 1..=3 {
            assert_eq!(seen.recv().await, Some(seq));
        }
        assert!(matches!(reports.recv().await, Some(DriverInput::StoreFailed { .. })));
        assert!(spool.after(0, 10).await.unwrap().is_empty(), "the link sees only what is kept");
        assert!(reports.try_recv().is_err());
    }
}

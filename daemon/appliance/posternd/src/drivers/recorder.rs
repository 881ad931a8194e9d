//! Recordings: copies of packets in, WAV files out, on a tokio-uring thread of its own.
//!
//! Apart from the spool's thread, so that decoding never delays an event's commit. Every few milliseconds it takes the
//! copies that media workers left, places them on their tapes ([`postern_audio::tape`]), and writes what is due. A file
//! can be read at any time: its header is written anew with each part. A disk that refuses, is full or too slow ends the
//! recording that it concerns, with what was written before; no call waits for any of this.

use std::{
    collections::HashMap,
    io,
    path::{Path, PathBuf},
    rc::Rc,
    sync::mpsc::Receiver,
    thread,
    time::{Duration, Instant},
};

use postern_audio::{
    copies::{Reader, SAMPLES_MAX},
    tape::{self, HEADER_LEN, Layout, Pause, Tape},
};
use postern_types::{
    RecordingSid,
    recording::{RecorderCommand, RecorderEvent, RecordingEnd, RecordingSetup, TapId, Tapped, Track},
};
use tokio::sync::{mpsc, oneshot};
use tokio_uring::fs::{File, OpenOptions};

use super::{DriverInput, Report};

mod trim;

pub use trim::Trim;

/// Commands that wait: more than calls that start a recording in one turn.
const COMMANDS_MAX: usize = 4096;
/// Recordings at once at most: more than a disk takes, and 64 MB of what waits for it.
const REELS_MAX: usize = 1024;
/// How often copies are fetched. The queue holds ten times as many as come in between.
const TICK: Duration = Duration::from_millis(20);
/// Bytes of one write: a second of one channel.
const CHUNK: usize = 16_000;
/// Bytes that wait for the disk at most, half a minute of two channels: beyond it the disk is too slow.
const WAITING_MAX: usize = 1 << 20;

/// The thread's handle; cheap to clone. The thread ends with the last of them, once its recordings are over.
#[derive(Clone)]
pub struct Recorder {
    jobs: mpsc::Sender<Job>,
    report: Report,
}

enum Job {
    Command(Instant, RecorderCommand),
    Flush(oneshot::Sender<()>),
}

impl Recorder {
    /// Starts the thread for files in `folder`, which exists. `tapped` brings the copies of all media workers.
    pub fn start(folder: PathBuf, tapped: Receiver<Tapped>, trim: Trim, report: Report) -> io::Result<Self> {
        let (jobs, waiting) = mpsc::channel(COMMANDS_MAX);
        let told = report.clone();
        thread::Builder::new().name("recorder".into()).spawn(move || {
            tokio_uring::start(async move {
                let (done, outcomes) = mpsc::channel(REELS_MAX);
                let machine = Machine { folder, reels: HashMap::new(), done, report: told, trim, flushes: Vec::new() };
                machine.run(waiting, outcomes, &tapped).await;
            });
        })?;
        Ok(Self { jobs, report })
    }

    /// Hands in a command; never waits.
    pub fn command(&self, command: RecorderCommand) {
        let refused = self.jobs.try_send(Job::Command(Instant::now(), command)).is_err();
        if let (true, RecorderCommand::Start(tap, _)) = (refused, command) {
            (self.report)(failed(tap, "too many recordings begin at once"));
        }
    }

    /// Waits until every recording is stopped and whole, for the end of the daemon; `patience` bounds it.
    pub async fn flush(&self, patience: Duration) -> bool {
        let (done, wait) = oneshot::channel();
        let sent = self.jobs.try_send(Job::Flush(done)).is_ok();
        sent && tokio::time::timeout(patience, wait).await.is_ok_and(|flushed| flushed.is_ok())
    }
}

fn failed(tap: TapId, why: &str) -> DriverInput {
    let (why, length) = (RecordingEnd::Failed(why.to_owned()), Duration::ZERO);
    DriverInput::Recorder(RecorderEvent::Ended { tap, why, length, bytes: 0, lost: 0 })
}

/// The name of a recording's file.
pub fn file_name(recording: RecordingSid) -> String {
    format!("{recording}.wav")
}

struct Machine {
    folder: PathBuf,
    reels: HashMap<TapId, Reel>,
    done: mpsc::Sender<Outcome>,
    report: Report,
    trim: Trim,
    /// Who waits until there is no reel.
    flushes: Vec<oneshot::Sender<()>>,
}

/// One recording that is made.
struct Reel {
    setup: RecordingSetup,
    tape: Tape,
    readers: [Reader; 2],
    path: PathBuf,
    file: Option<Rc<File>>,
    /// Due, and not handed to the disk.
    waiting: Vec<u8>,
    /// Bytes of samples in the file.
    written: u64,
    busy: Busy,
    /// Copies that media workers lost, and those that could not be read.
    lost: u64,
    unread: u64,
    why: Option<RecordingEnd>,
}

/// What the disk does for a reel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Busy {
    No,
    Writing(u64),
    Finishing,
}

/// What came of it.
struct Outcome {
    tap: TapId,
    file: io::Result<Rc<File>>,
}

impl Machine {
    async fn run(
        mut self,
        mut jobs: mpsc::Receiver<Job>,
        mut outcomes: mpsc::Receiver<Outcome>,
        tapped: &Receiver<Tapped>,
    ) {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        let mut copies = Vec::new();
        self.trim.run();
        loop {
            let job = if self.reels.is_empty() {
                match jobs.recv().await {
                    Some(job) => Some(job),
                    None => return,
                }
            } else {
                tokio::select! {
                    job = jobs.recv() => job,
                    outcome = outcomes.recv() => {
                        outcome.into_iter().for_each(|outcome| self.settle(outcome));
                        None
                    }
                    _ = tick.tick() => None,
                }
            };
            // Copies are fetched before commands are: a copy's tap is then known, for its command came first.
            copies.extend(tapped.try_iter());
            job.into_iter().for_each(|job| self.take(job));
            while let Ok(job) = jobs.try_recv() {
                self.take(job);
            }
            copies.drain(..).for_each(|copy| self.place(&copy));
            self.turn(Instant::now());
        }
    }

    fn take(&mut self, job: Job) {
        match job {
            Job::Command(now, command) => self.command(now, command),
            Job::Flush(done) => {
                let now = Instant::now();
                self.reels.values_mut().for_each(|reel| reel.tape.stop(now));
                self.flushes.push(done);
            }
        }
    }

    fn command(&mut self, now: Instant, command: RecorderCommand) {
        match command {
            RecorderCommand::Start(tap, _) if self.reels.len() >= REELS_MAX => {
                (self.report)(failed(tap, "too many recordings at once"));
            }
            RecorderCommand::Start(tap, setup) => {
                let RecordingSetup { recording, stereo, trim, seconds_max, .. } = setup;
                let path = self.folder.join(file_name(recording));
                let tape = Tape::new(now, Layout { stereo, trim, seconds_max });
                let reel = Reel {
                    setup,
                    tape,
                    readers: Default::default(),
                    path,
                    file: None,
                    waiting: Vec::new(),
                    written: 0,
                    busy: Busy::No,
                    lost: 0,
                    unread: 0,
                    why: None,
                };
                self.reels.insert(tap, reel);
            }
            RecorderCommand::Pause { tap, silence } => {
                if let Some(reel) = self.reels.get_mut(&tap) {
                    let how = if silence { Pause::Silence } else { Pause::Skip };
                    reel.tape.pause(now, how, &mut reel.waiting);
                }
            }
            RecorderCommand::Resume(tap) => {
                if let Some(reel) = self.reels.get_mut(&tap) {
                    reel.tape.resume(now, &mut reel.waiting);
                }
            }
            RecorderCommand::Stop(tap) => {
                if let Some(reel) = self.reels.get_mut(&tap) {
                    reel.tape.stop(now);
                }
            }
        }
    }

    fn place(&mut self, copy: &Tapped) {
        let Some(reel) = self.reels.get_mut(&copy.tap) else { return };
        let mut samples = [0; SAMPLES_MAX];
        let track = usize::from(copy.track == Track::Outbound);
        reel.lost = reel.lost.max(copy.lost);
        match reel.readers[track].read(copy, &mut samples) {
            Some((place, len)) => reel.tape.put(track, copy.at, copy.ssrc, place, &samples[..len]),
            None => reel.unread += 1,
        }
    }

    /// What is due is handed to the disk; what is over is finished.
    fn turn(&mut self, now: Instant) {
        for (tap, reel) in &mut self.reels {
            reel.run(now);
            let Some(job) = reel.job() else { continue };
            let (tap, done) = (*tap, self.done.clone());
            tokio_uring::spawn(async move {
                let file = job.run().await;
                // There is room for one of each reel.
                let _ = done.try_send(Outcome { tap, file });
            });
        }
        if self.reels.is_empty() {
            self.flushes.drain(..).for_each(|flushed| _ = flushed.send(()));
        }
    }

    fn settle(&mut self, outcome: Outcome) {
        let Some(reel) = self.reels.get_mut(&outcome.tap) else { return };
        let busy = std::mem::replace(&mut reel.busy, Busy::No);
        match (outcome.file, busy) {
            (Ok(file), Busy::Writing(bytes)) => {
                reel.file = Some(file);
                reel.written += bytes;
                return;
            }
            (Err(error), Busy::Writing(_)) => {
                reel.fail(format!("{}: {error}", reel.path.display()));
                return;
            }
            // The samples are there, whatever became of the last header.
            (_, Busy::Finishing | Busy::No) => {}
        }
        let Some(mut reel) = self.reels.remove(&outcome.tap) else { return };
        let bytes = reel.file_bytes();
        let length = Duration::from_micros(bytes.saturating_sub(HEADER_LEN as u64) * 1_000_000 / reel.bytes_a_second());
        let why = reel.why.take().unwrap_or(RecordingEnd::Stopped);
        let ended = RecorderEvent::Ended { tap: outcome.tap, why, length, bytes, lost: reel.lost + reel.unread };
        (self.report)(DriverInput::Recorder(ended));
        self.trim.run();
    }
}

impl Reel {
    fn run(&mut self, now: Instant) {
        if matches!(self.why, Some(RecordingEnd::Failed(_))) {
            return;
        }
        self.tape.run(now, &mut self.waiting);
        if self.waiting.len() > WAITING_MAX {
            return self.fail("the disk is too slow".to_owned());
        }
        if self.why.is_none() && self.tape.is_full() {
            self.why = Some(RecordingEnd::Full);
        }
        if self.why.is_none() && self.setup.silence.is_some_and(|most| self.tape.quiet_for() >= most) {
            self.why = Some(RecordingEnd::Silence);
            self.tape.stop(now);
        }
    }

    fn fail(&mut self, why: String) {
        self.why = Some(RecordingEnd::Failed(why));
        self.waiting = Vec::new();
    }

    /// What the disk has to do next, if it is free.
    fn job(&mut self) -> Option<DiskJob> {
        if self.busy != Busy::No {
            return None;
        }
        let has_failed = matches!(self.why, Some(RecordingEnd::Failed(_)));
        let is_over = has_failed || self.tape.is_over();
        if self.waiting.len() < CHUNK && !is_over {
            return None;
        }
        let (file, path, at) = (self.file.clone(), self.path.clone(), self.written);
        let channels = self.tape.channels();
        if !self.waiting.is_empty() {
            let bytes = std::mem::take(&mut self.waiting);
            self.busy = Busy::Writing(bytes.len() as u64);
            let header = tape::header(channels, (at + bytes.len() as u64) as u32);
            return Some(DiskJob { file, path, header, work: Work::Append { at, bytes } });
        }
        self.busy = Busy::Finishing;
        let data = self.data();
        let header = tape::header(channels, data as u32);
        let work = if data == 0 { Work::Remove } else { Work::Cut { to: data, from: at } };
        Some(DiskJob { file, path, header, work })
    }

    /// Bytes of samples that the finished file has.
    fn data(&mut self) -> u64 {
        let bytes = match &self.why {
            Some(RecordingEnd::Failed(_)) => self.written,
            _ => self.tape.finish(),
        };
        bytes.min(self.written)
    }

    fn file_bytes(&mut self) -> u64 {
        match self.data() {
            0 => 0,
            data => data + HEADER_LEN as u64,
        }
    }

    fn bytes_a_second(&self) -> u64 {
        16_000 * u64::from(self.tape.channels())
    }
}

/// One piece of work for the disk.
struct DiskJob {
    file: Option<Rc<File>>,
    path: PathBuf,
    header: [u8; HEADER_LEN],
    work: Work,
}

enum Work {
    /// Samples behind those that are there, and the header that counts them.
    Append { at: u64, bytes: Vec<u8> },
    /// The last header, and what is behind the samples cut off.
    Cut { to: u64, from: u64 },
    /// Nothing was said.
    Remove,
}

impl DiskJob {
    async fn run(self) -> io::Result<Rc<File>> {
        let Self { file, path, header, work } = self;
        let file = match file {
            Some(file) => file,
            None => Rc::new(create(&path).await?),
        };
        match work {
            Work::Append { at, bytes } => {
                file.write_all_at(bytes, HEADER_LEN as u64 + at).await.0?;
                file.write_all_at(header.to_vec(), 0).await.0?;
            }
            Work::Cut { to, from } => {
                file.write_all_at(header.to_vec(), 0).await.0?;
                if to < from {
                    // tokio-uring cannot shorten a file. It is open and small work for the file system.
                    std::fs::OpenOptions::new().write(true).open(&path)?.set_len(HEADER_LEN as u64 + to)?;
                }
                file.sync_data().await?;
            }
            Work::Remove => std::fs::remove_file(&path)?,
        }
        Ok(file)
    }
}

/// Never over a file that is there: names are not used twice.
async fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).open(path).await
}

#[cfg(test)]
mod tests;

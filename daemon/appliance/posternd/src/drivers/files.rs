//! File I/O on a thread of its own, by tokio-uring: the spool's commits and the reading of prompts.
//!
//! The thread does nothing else, so that its ring is flushed at once: tokio-uring submits when its thread parks. Commits
//! are done one after the other, reads beside them. Opening, sizes and symbolic links are looked at where they cannot be
//! raced: on the opened file.

use std::{
    fs, io,
    path::{Path, PathBuf},
    rc::Rc,
    sync::Arc,
    thread,
};

use postern_events::spool::{FileOp, SegmentId};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio_uring::fs::{File, OpenOptions};

/// Reads that may wait: more than calls that start to play in the same moment.
const READS_MAX: usize = 256;

/// Reads at once: enough to keep a disk busy.
const READS_AT_ONCE: usize = 16;

/// Bytes of one read request.
const CHUNK: usize = 256 << 10;

/// Name of the cursor in the spool's folder.
pub const CURSOR_FILE: &str = "cursor";

/// A file that could not be written or read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileError {
    /// Which.
    pub file: PathBuf,
    /// The system's error, or what is wrong with it.
    pub why: String,
}

impl std::fmt::Display for FileError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.file.display(), self.why)
    }
}

impl std::error::Error for FileError {}

fn failed(file: &Path) -> impl Fn(io::Error) -> FileError + '_ {
    move |error| FileError { file: file.into(), why: error.to_string() }
}

/// The thread's handle; cheap to clone. The thread ends with the last of them.
#[derive(Debug, Clone)]
pub struct Files {
    commits: mpsc::Sender<CommitJob>,
    reads: mpsc::Sender<ReadJob>,
}

#[derive(Debug)]
struct CommitJob {
    ops: Vec<FileOp>,
    done: oneshot::Sender<Result<(), FileError>>,
}

#[derive(Debug)]
struct ReadJob {
    path: PathBuf,
    bytes_max: usize,
    done: oneshot::Sender<Result<Vec<u8>, FileError>>,
}

impl Files {
    /// Starts the thread for the spool in `folder`, which exists.
    pub fn start(folder: PathBuf) -> io::Result<Self> {
        let (commits, mut commit_jobs) = mpsc::channel::<CommitJob>(4);
        let (reads, mut read_jobs) = mpsc::channel::<ReadJob>(READS_MAX);
        thread::Builder::new().name("files".into()).spawn(move || {
            tokio_uring::start(async move {
                let reader = tokio_uring::spawn(async move {
                    let places = Arc::new(Semaphore::new(READS_AT_ONCE));
                    while let Some(job) = read_jobs.recv().await {
                        let Ok(place) = places.clone().acquire_owned().await else { return };
                        tokio_uring::spawn(async move {
                            let _ = job.done.send(read(&job.path, job.bytes_max).await);
                            drop(place);
                        });
                    }
                });
                let mut writer = Writer { folder, open: None };
                while let Some(job) = commit_jobs.recv().await {
                    let _ = job.done.send(writer.commit(job.ops).await);
                }
                let _ = reader.await;
            });
        })?;
        Ok(Self { commits, reads })
    }

    /// Does the operations in order; answers when all are done, or at the first that fails.
    pub async fn commit(&self, ops: Vec<FileOp>) -> Result<(), FileError> {
        let (done, wait) = oneshot::channel();
        let gone = |_| FileError { file: "spool".into(), why: "the file thread has ended".into() };
        self.commits.send(CommitJob { ops, done }).await.map_err(|_| gone(()))?;
        wait.await.map_err(|_| gone(()))?
    }

    /// Reads a regular file of at most `bytes_max` bytes.
    pub async fn read(&self, path: PathBuf, bytes_max: usize) -> Result<Vec<u8>, FileError> {
        let (done, wait) = oneshot::channel();
        let busy = FileError { file: path.clone(), why: "too many files are being read".into() };
        self.reads.try_send(ReadJob { path, bytes_max, done }).map_err(|_| busy.clone())?;
        wait.await.map_err(|_| busy)?
    }
}

struct Writer {
    folder: PathBuf,
    /// The segment that grows, kept open.
    open: Option<(SegmentId, Rc<File>)>,
}

impl Writer {
    async fn commit(&mut self, ops: Vec<FileOp>) -> Result<(), FileError> {
        for op in ops {
            if let Err(error) = self.apply(op).await {
                // Whatever is wrong with it, the next try opens it anew.
                self.open = None;
                return Err(error);
            }
        }
        Ok(())
    }

    async fn apply(&mut self, op: FileOp) -> Result<(), FileError> {
        match op {
            FileOp::Write { segment, at, bytes } => {
                let path = self.folder.join(segment.to_string());
                let file = self.segment(segment, &path).await.map_err(failed(&path))?;
                file.write_all_at(bytes.to_vec(), at).await.0.map_err(failed(&path))
            }
            FileOp::Sync { segment } => {
                let path = self.folder.join(segment.to_string());
                let file = self.segment(segment, &path).await.map_err(failed(&path))?;
                file.sync_data().await.map_err(failed(&path))
            }
            FileOp::Truncate { segment, bytes } => {
                self.open = None;
                let path = self.folder.join(segment.to_string());
                truncate(&path, bytes).map_err(failed(&path))
            }
            FileOp::Delete { segment } => {
                let path = self.folder.join(segment.to_string());
                match tokio_uring::fs::remove_file(&path).await {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed(&path)(error)),
                    _ => Ok(()),
                }
            }
            FileOp::WriteCursor { at, bytes } => {
                let path = self.folder.join(CURSOR_FILE);
                let file = open_for_writing(&path).await.map_err(failed(&path))?;
                file.write_all_at(bytes, at).await.0.map_err(failed(&path))?;
                file.sync_data().await.map_err(failed(&path))?;
                file.close().await.map_err(failed(&path))
            }
        }
    }

    async fn segment(&mut self, segment: SegmentId, path: &Path) -> io::Result<Rc<File>> {
        if let Some((_, file)) = self.open.as_ref().filter(|(open, _)| *open == segment) {
            return Ok(file.clone());
        }
        let is_new = !path.exists();
        let file = Rc::new(open_for_writing(path).await?);
        if is_new {
            // The name must be as durable as the content.
            let folder = File::open(&self.folder).await?;
            folder.sync_all().await?;
            folder.close().await?;
        }
        self.open = Some((segment, file.clone()));
        Ok(file)
    }
}

async fn open_for_writing(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create(true).open(path).await
}

async fn read(path: &Path, bytes_max: usize) -> Result<Vec<u8>, FileError> {
    let refused = |why: String| FileError { file: path.into(), why };
    let file = File::open(path).await.map_err(failed(path))?;
    let is_regular = file.statx().await.map_err(failed(path))?.stx_mode & 0o170_000 == 0o100_000;
    if !is_regular {
        return Err(refused("not a regular file".into()));
    }
    let mut content = Vec::new();
    loop {
        let (result, chunk) = file.read_at(Vec::with_capacity(CHUNK), content.len() as u64).await;
        let taken = result.map_err(failed(path))?;
        if taken == 0 {
            break;
        }
        content.extend_from_slice(&chunk[..taken]);
        if content.len() > bytes_max {
            return Err(refused(format!("longer than {bytes_max} bytes")));
        }
    }
    file.close().await.map_err(failed(path))?;
    Ok(content)
}

/// tokio-uring cannot shorten a file; this is done at start only.
pub(super) fn truncate(path: &Path, bytes: u64) -> io::Result<()> {
    let file = fs::OpenOptions::new().write(true).open(path)?;
    file.set_len(bytes)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drivers::test_folder::TestFolder;

    #[tokio::test]
    async fn commits_are_on_disk_and_reads_are_bounded() {
        let folder = TestFolder::new("files");
        let files = Files::start(folder.path().into()).unwrap();
        let segment = SegmentId(1);
        let write = |at, text: &str| FileOp::Write { segment, at, bytes: text.as_bytes().into() };
        let cursor = FileOp::WriteCursor { at: 20, bytes: vec![1; 20] };
        files.commit(vec![write(0, "hello "), FileOp::Sync { segment }]).await.unwrap();
        files.commit(vec![write(6, "world"), FileOp::Sync { segment }, cursor]).await.unwrap();
        let path = folder.path().join(segment.to_string());
        assert_eq!(files.read(path.clone(), 11).await.unwrap(), b"hello world");
        assert!(files.read(path.clone(), 10).await.unwrap_err().why.contains("longer"));
        assert_eq!(fs::read(folder.path().join(CURSOR_FILE)).unwrap().len(), 40);
        files.commit(vec![FileOp::Truncate { segment, bytes: 5 }, write(5, "!")]).await.unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"hello!");
        files.commit(vec![FileOp::Delete { segment }, FileOp::Delete { segment }]).await.unwrap();
        assert!(!path.exists());
        assert!(files.read(folder.path().into(), 10).await.is_err(), "a folder is no file");
    }

    #[tokio::test]
    async fn a_disk_that_refuses_is_an_answer() {
        let files = Files::start("/nonexistent/folder".into()).unwrap();
        let write = FileOp::Write { segment: SegmentId(1), at: 0, bytes: b"x"[..].into() };
        assert!(files.commit(vec![write]).await.is_err());
    }
}

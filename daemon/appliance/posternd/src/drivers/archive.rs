//! What is known of recordings, in SQLite: `recordings.db` in the state folder, apart from the calls, which come in thousands a second.
//!
//! One thread writes; a record that waits for it can be read already. The files themselves are the recorder's.

use std::{
    collections::HashMap,
    fs, io,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread,
    time::Duration,
};

use postern_api::{Answer, RecordingQuery, RecordingStore, StoreError};
use postern_audio::tape::HEADER_LEN;
use postern_facts::RecordingRecord;
use postern_types::RecordingSid;
use rusqlite::{Connection, OptionalExtension, params};

use super::{DriverInput, Report, database, recorder::file_name};

/// What waits for the writer: several for each of the recordings that there can be at once.
const QUEUE_MAX: usize = 8192;
/// After a write that failed.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// How often a record is tried before it is given up: a full disk holds up the file, not the memory.
const TRIES_MAX: u32 = 30;

const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS recordings (
        sid BLOB PRIMARY KEY, account BLOB, call BLOB NOT NULL, conference TEXT, created INTEGER NOT NULL, record TEXT NOT NULL
    ) WITHOUT ROWID;
    CREATE INDEX IF NOT EXISTS recordings_by_account ON recordings (account, created);
    CREATE INDEX IF NOT EXISTS recordings_by_call ON recordings (call);
";

/// The handle; cheap to clone.
#[derive(Clone)]
pub struct Archive {
    queue: SyncSender<Job>,
    shared: Arc<Shared>,
    folder: PathBuf,
}

struct Shared {
    connection: Mutex<Connection>,
    /// Handed in, not written yet. Bounded by the queue.
    waiting: Mutex<HashMap<RecordingSid, RecordingRecord>>,
}

enum Job {
    Put(Box<RecordingRecord>),
    Forget(RecordingSid),
    Flush(SyncSender<()>),
}

impl Archive {
    /// Opens or makes the table, and mends what a killed daemon left. `folder` is that of the files.
    pub fn start(state_folder: &Path, folder: PathBuf, report: Report) -> Result<Self, StoreError> {
        let path = state_folder.join("recordings.db");
        let failed = |error: rusqlite::Error| StoreError(format!("{}: {error}", path.display()));
        let connection = database::open(&path).map_err(failed)?;
        connection.execute_batch(SCHEMA).map_err(failed)?;
        mend(&connection, &folder).map_err(failed)?;
        let shared = Arc::new(Shared { connection: Mutex::new(connection), waiting: Mutex::default() });
        let (queue, jobs) = sync_channel(QUEUE_MAX);
        let of_thread = shared.clone();
        thread::Builder::new()
            .name("archive".into())
            .spawn(move || write(&of_thread, &jobs, &path, &report))
            .map_err(|error| StoreError(error.to_string()))?;
        Ok(Self { queue, shared, folder })
    }

    /// Hands in a recording as it is now; never waits. It can be read at once.
    pub fn put(&self, record: RecordingRecord) {
        self.shared.waiting().insert(record.sid, record.clone());
        if let Err(refused) = self.queue.try_send(Job::Put(Box::new(record)))
            && let std::sync::mpsc::TrySendError::Full(Job::Put(record)) = refused
        {
            self.shared.waiting().remove(&record.sid);
        }
    }

    /// Its file is gone.
    pub fn forget(&self, sid: RecordingSid) {
        self.shared.waiting().remove(&sid);
        // A record without a file is told as such when it is asked for.
        let _ = self.queue.try_send(Job::Forget(sid));
    }

    /// Waits until everything handed in is written, for the end of the daemon; `patience` bounds it.
    pub fn flush(&self, patience: Duration) -> bool {
        let (done, wait) = sync_channel(1);
        self.queue.try_send(Job::Flush(done)).is_ok() && wait.recv_timeout(patience).is_ok()
    }

    fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Shared) -> rusqlite::Result<T> + Send + 'static,
    ) -> Answer<'_, Result<T, StoreError>> {
        let shared = self.shared.clone();
        Box::pin(async move {
            let asked = tokio::task::spawn_blocking(move || question(&shared));
            let answer = asked.await.map_err(|error| StoreError(error.to_string()))?;
            answer.map_err(|error| StoreError(error.to_string()))
        })
    }
}

impl RecordingStore for Archive {
    fn find(&self, sid: RecordingSid) -> Answer<'_, Result<Option<RecordingRecord>, StoreError>> {
        self.ask(move |shared| {
            if let Some(record) = shared.waiting().get(&sid) {
                return Ok(Some(record.clone()));
            }
            let connection = shared.connection();
            let mut rows = connection.prepare_cached("SELECT record FROM recordings WHERE sid = ?1")?;
            let text: Option<String> = rows.query_row([key(sid)], |row| row.get(0)).optional()?;
            Ok(text.and_then(|text| serde_json::from_str(&text).ok()))
        })
    }

    fn list(&self, query: RecordingQuery) -> Answer<'_, Result<Vec<RecordingRecord>, StoreError>> {
        self.ask(move |shared| {
            // Before the question: what is written in between is then found twice rather than not at all.
            let mut found = shared.waiting().clone();
            let connection = shared.connection();
            let mut rows = connection.prepare_cached(
                "SELECT record FROM recordings WHERE account = ?1 AND (?2 IS NULL OR call = ?2)
                    ORDER BY created DESC, sid DESC LIMIT ?3",
            )?;
            let call = query.call.map(|call| call.0.to_be_bytes());
            let most = (query.offset + query.limit).min(100_000) as i64;
            let texts =
                rows.query_map(params![query.account.0.to_be_bytes(), call, most], |row| row.get::<_, String>(0))?;
            for text in texts {
                if let Ok(record) = serde_json::from_str::<RecordingRecord>(&text?) {
                    found.entry(record.sid).or_insert(record);
                }
            }
            Ok(query.select(found.into_values()))
        })
    }

    fn delete(&self, sid: RecordingSid) -> Answer<'_, Result<bool, StoreError>> {
        let path = self.folder.join(file_name(sid));
        let queue = self.queue.clone();
        self.ask(move |shared| {
            let was = shared.waiting().remove(&sid).is_some();
            let gone = fs::remove_file(path).is_ok();
            let known = shared.connection().execute("DELETE FROM recordings WHERE sid = ?1", [key(sid)])? > 0;
            // Behind what may still be under way.
            let _ = queue.try_send(Job::Forget(sid));
            Ok(was || gone || known)
        })
    }

    fn open(&self, sid: RecordingSid) -> Answer<'_, io::Result<fs::File>> {
        let path = self.folder.join(file_name(sid));
        Box::pin(async move {
            let opened = tokio::task::spawn_blocking(move || fs::File::open(path));
            opened.await.map_err(io::Error::other)?
        })
    }
}

impl Shared {
    fn waiting(&self) -> MutexGuard<'_, HashMap<RecordingSid, RecordingRecord>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn connection(&self) -> MutexGuard<'_, Connection> {
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn write(shared: &Shared, jobs: &Receiver<Job>, path: &Path, report: &Report) {
    while let Ok(job) = jobs.recv() {
        let mut tries = 0;
        while let Err(error) = apply(&shared.connection(), &job) {
            if tries == 0 {
                let file = path.display().to_string();
                report(DriverInput::StoreFailed { file, why: error.to_string() });
            }
            tries += 1;
            if tries == TRIES_MAX {
                break;
            }
            thread::sleep(RETRY_AFTER);
        }
        match job {
            Job::Put(record) => {
                let mut waiting = shared.waiting();
                // A newer version of it may wait already.
                if waiting.get(&record.sid) == Some(&*record) {
                    waiting.remove(&record.sid);
                }
            }
            Job::Forget(_) => {}
            Job::Flush(done) => {
                database::fold(&shared.connection());
                let _ = done.try_send(());
            }
        }
    }
}

fn apply(to: &Connection, job: &Job) -> rusqlite::Result<()> {
    match job {
        Job::Put(record) => put(to, record),
        Job::Forget(sid) => to.execute("DELETE FROM recordings WHERE sid = ?1", [key(*sid)]).map(drop),
        Job::Flush(_) => Ok(()),
    }
}

fn put(to: &Connection, record: &RecordingRecord) -> rusqlite::Result<()> {
    let text = serde_json::to_string(record).expect("a record has string keys only");
    let values = params![
        key(record.sid),
        record.account.map(|account| account.0.to_be_bytes()),
        record.call.0.to_be_bytes(),
        record.conference,
        record.created.0.min(i64::MAX as u64).cast_signed(),
        text,
    ];
    to.prepare_cached(
        "INSERT OR REPLACE INTO recordings (sid, account, call, conference, created, record) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    )?
    .execute(values)?;
    Ok(())
}

/// What was being made when the daemon was killed: its file says how much of it there is.
fn mend(of: &Connection, folder: &Path) -> rusqlite::Result<()> {
    let mut rows = of
        .prepare("SELECT record FROM recordings WHERE json_extract(record, '$.status') IN ('in-progress', 'paused')")?;
    let texts: Vec<String> = rows.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
    for text in texts {
        let Ok(mut record) = serde_json::from_str::<RecordingRecord>(&text) else { continue };
        let bytes = fs::metadata(folder.join(file_name(record.sid))).map_or(0, |about| about.len());
        let samples = bytes.saturating_sub(HEADER_LEN as u64) / 2 / u64::from(record.channels.max(1));
        record.status = if samples > 0 { "completed" } else { "absent" }.into();
        (record.bytes, record.duration_ms) = (bytes, samples / 8);
        record.error = Some("the daemon was killed while it was made".into());
        put(of, &record)?;
    }
    Ok(())
}

fn key(sid: RecordingSid) -> [u8; 16] {
    sid.0.to_be_bytes()
}

#[cfg(test)]
mod tests {
    use postern_types::{AccountSid, CallSid, UnixMicros};

    use super::*;
    use crate::drivers::test_folder::TestFolder;

    fn record(number: u128, status: &str) -> RecordingRecord {
        RecordingRecord {
            sid: RecordingSid(number),
            account: Some(AccountSid(1)),
            call: CallSid(number / 10),
            conference: None,
            created: UnixMicros(number as u64),
            updated: UnixMicros(number as u64),
            status: status.into(),
            channels: 1,
            source: "DialVerb".into(),
            track: "both".into(),
            duration_ms: 0,
            bytes: 0,
            error: None,
        }
    }

    fn start(folder: &TestFolder) -> Archive {
        Archive::start(folder.path(), folder.path().into(), Arc::new(|_| ())).unwrap()
    }

    #[tokio::test]
    async fn records_are_found_at_once_listed_and_deleted_with_their_files() {
        let folder = TestFolder::new("archive");
        let archive = start(&folder);
        for number in 10..30 {
            archive.put(record(number, "completed"));
        }
        assert_eq!(archive.find(RecordingSid(12)).await.unwrap(), Some(record(12, "completed")));
        let all = RecordingQuery { account: AccountSid(1), call: None, offset: 0, limit: 5 };
        let sids = |found: Vec<RecordingRecord>| found.iter().map(|record| record.sid.0).collect::<Vec<_>>();
        assert_eq!(sids(archive.list(all).await.unwrap()), [29, 28, 27, 26, 25]);
        assert!(archive.flush(Duration::from_secs(10)));
        let second = RecordingQuery { call: Some(CallSid(1)), offset: 8, ..all };
        assert_eq!(sids(archive.list(second).await.unwrap()), [11, 10]);
        let other = RecordingQuery { account: AccountSid(2), ..all };
        assert_eq!(archive.list(other).await.unwrap(), []);
        let path = folder.path().join(file_name(RecordingSid(12)));
        fs::write(&path, "x").unwrap();
        assert!(archive.open(RecordingSid(12)).await.is_ok() && archive.open(RecordingSid(13)).await.is_err());
        assert!(archive.delete(RecordingSid(12)).await.unwrap() && !path.exists());
        assert!(!archive.delete(RecordingSid(12)).await.unwrap());
        assert_eq!(archive.find(RecordingSid(12)).await.unwrap(), None);
        archive.forget(RecordingSid(13));
        assert!(archive.flush(Duration::from_secs(10)));
        assert_eq!(archive.find(RecordingSid(13)).await.unwrap(), None);
    }

    #[tokio::test]
    async fn what_a_killed_daemon_left_is_mended_from_its_file() {
        let folder = TestFolder::new("mend");
        let archive = start(&folder);
        archive.put(record(1, "in-progress"));
        archive.put(record(2, "paused"));
        assert!(archive.flush(Duration::from_secs(10)));
        drop(archive);
        fs::write(folder.path().join(file_name(RecordingSid(1))), vec![0; HEADER_LEN + 32_000]).unwrap();
        let archive = start(&folder);
        let mended = archive.find(RecordingSid(1)).await.unwrap().unwrap();
        assert_eq!((mended.status.as_str(), mended.duration_ms), ("completed", 2000));
        assert_eq!(archive.find(RecordingSid(2)).await.unwrap().unwrap().status, "absent");
    }
}

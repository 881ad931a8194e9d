//! Call records and their ladders in SQLite: one writer thread that commits in groups, one connection that reads.
//!
//! Write-ahead log with a sync at each commit: a killed process loses what was in the open group at most, never a
//! committed record, and never the file's integrity. A record that waits for its commit can be read already.

use std::{
    collections::HashMap,
    fmt::Write as _,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread,
    time::Duration,
};

use postern_api::{Answer, Edge, RecordQuery, RecordStore, Span, StoreError};
use postern_events::Chapter;
use postern_facts::{CallRecord, Written};
use postern_types::{CallSid, UnixMicros};
use rusqlite::{Connection, OptionalExtension, ToSql, params};
use serde_json::Value;

use super::{DriverInput, Report};

/// What waits for the writer: some seconds of a storm.
const QUEUE_MAX: usize = 16_384;

/// Jobs in one group. At 285 us for a durable commit the sync is spread over many.
const GROUP_MAX: usize = 512;

/// After a commit that failed.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// How far beyond the bound the table may grow before the oldest are deleted, so that it is not done at each commit.
const PRUNE_SLACK: u64 = 256;

/// The newest layout that this release writes.
const SCHEMA_VERSION: i64 = 1;

const SCHEMA: &str = "
    CREATE TABLE calls (
        sid TEXT PRIMARY KEY, parent TEXT, account TEXT, caller TEXT NOT NULL, called TEXT NOT NULL,
        status TEXT NOT NULL, created INTEGER NOT NULL, ended INTEGER, record TEXT NOT NULL
    ) WITHOUT ROWID;
    CREATE INDEX calls_by_time ON calls (created, sid);
    CREATE INDEX calls_by_account ON calls (account, created, sid);
    CREATE INDEX calls_by_parent ON calls (parent);
    CREATE TABLE ladders (
        call TEXT NOT NULL, first_seq INTEGER NOT NULL, lines TEXT NOT NULL, PRIMARY KEY (call, first_seq)
    ) WITHOUT ROWID;
";

/// The store's handle; cheap to clone.
#[derive(Clone)]
pub struct Store {
    queue: SyncSender<Job>,
    shared: Arc<Shared>,
}

struct Shared {
    /// Handed in, not committed yet. Bounded by the queue.
    waiting: Mutex<HashMap<CallSid, CallRecord>>,
    reader: Mutex<Connection>,
    records: AtomicU64,
    dropped: AtomicU64,
}

#[derive(Clone)]
enum Job {
    Record(Arc<CallRecord>),
    Ladder(Arc<Chapter>),
    Delete(CallSid, tokio::sync::mpsc::Sender<bool>),
    Flush(SyncSender<()>),
}

impl Store {
    /// Opens or makes `state_folder/calls.db` and starts the writer. A file of a later release is refused.
    pub fn start(state_folder: &Path, records_max: u64, report: Report) -> Result<Self, StoreError> {
        let path = state_folder.join("calls.db");
        let failed = |error: rusqlite::Error| StoreError(format!("{}: {error}", path.display()));
        let writer = open_writer(&path).map_err(failed)?;
        let reader = Connection::open(&path).map_err(failed)?;
        reader.pragma_update(None, "query_only", true).map_err(failed)?;
        reader.busy_timeout(Duration::from_secs(5)).map_err(failed)?;
        let records: i64 = writer.query_row("SELECT count(*) FROM calls", [], |row| row.get(0)).map_err(failed)?;
        let shared = Arc::new(Shared {
            waiting: Mutex::default(),
            reader: Mutex::new(reader),
            records: AtomicU64::new(records.unsigned_abs()),
            dropped: AtomicU64::new(0),
        });
        let (queue, jobs) = sync_channel(QUEUE_MAX);
        let mut thread = Writer { connection: writer, path: path.clone(), shared: shared.clone(), records_max, report };
        thread::Builder::new()
            .name("store".into())
            .spawn(move || thread.run(&jobs))
            .map_err(|error| StoreError(error.to_string()))?;
        Ok(Self { queue, shared })
    }

    /// Hands in a finished leg; never waits. It can be read at once.
    pub fn put(&self, record: CallRecord) {
        let sid = record.sid;
        let job = Job::Record(Arc::new(record.clone()));
        self.shared.waiting().insert(sid, record);
        if self.queue.try_send(job).is_err() {
            self.shared.waiting().remove(&sid);
            self.shared.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Hands in a part of a ladder; never waits.
    pub fn put_ladder(&self, chapter: Chapter) {
        if self.queue.try_send(Job::Ladder(Arc::new(chapter))).is_err() {
            self.shared.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Records committed and kept.
    pub fn records(&self) -> u64 {
        self.shared.records.load(Ordering::Relaxed)
    }

    /// Records and ladders that found the queue full.
    pub fn dropped(&self) -> u64 {
        self.shared.dropped.load(Ordering::Relaxed)
    }

    /// Waits until everything handed in is committed, for the end of the daemon; `patience` bounds it.
    pub fn flush(&self, patience: Duration) -> bool {
        let (done, wait) = sync_channel(1);
        self.queue.try_send(Job::Flush(done)).is_ok() && wait.recv_timeout(patience).is_ok()
    }

    /// Runs a question on the reading connection, away from the runtime's threads.
    fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Answer<'_, Result<T, StoreError>> {
        let shared = self.shared.clone();
        Box::pin(async move {
            let asked = tokio::task::spawn_blocking(move || {
                let reader = shared.reader.lock().unwrap_or_else(PoisonError::into_inner);
                question(&reader)
            });
            let answer = asked.await.map_err(|error| StoreError(error.to_string()))?;
            answer.map_err(|error| StoreError(error.to_string()))
        })
    }
}

impl RecordStore for Store {
    fn find(&self, sid: CallSid) -> Answer<'_, Result<Option<CallRecord>, StoreError>> {
        if let Some(record) = self.shared.waiting().get(&sid).cloned() {
            return Box::pin(async move { Ok(Some(record)) });
        }
        self.ask(move |reader| {
            let mut rows = reader.prepare_cached("SELECT record FROM calls WHERE sid = ?1")?;
            let text: Option<String> = rows.query_row([sid.to_string()], |row| row.get(0)).optional()?;
            Ok(text.and_then(|text| serde_json::from_str(&text).ok()))
        })
    }

    fn list(&self, query: RecordQuery) -> Answer<'_, Result<Vec<CallRecord>, StoreError>> {
        // Before the question: a record that is committed in between is then found twice rather than not at all.
        let mut found: HashMap<CallSid, CallRecord> = self.shared.waiting().clone();
        Box::pin(async move {
            let asked = query.clone();
            let stored = self.ask(move |reader| select(reader, &asked)).await?;
            found.extend(stored.into_iter().map(|record| (record.sid, record)));
            Ok(query.select(found.into_values()))
        })
    }

    fn facts(&self, call: CallSid) -> Answer<'_, Result<Vec<Value>, StoreError>> {
        self.ask(move |reader| {
            let mut rows = reader.prepare_cached("SELECT lines FROM ladders WHERE call = ?1 ORDER BY first_seq")?;
            let chapters = rows.query_map([call.to_string()], |row| row.get::<_, String>(0))?;
            let mut facts = Vec::new();
            for lines in chapters {
                facts.extend(lines?.lines().filter_map(|line| serde_json::from_str(line).ok()));
            }
            Ok(facts)
        })
    }

    fn delete(&self, sid: CallSid) -> Answer<'_, Result<bool, StoreError>> {
        let (done, mut wait) = tokio::sync::mpsc::channel(1);
        let sent = self.queue.try_send(Job::Delete(sid, done));
        Box::pin(async move {
            sent.map_err(|_| StoreError("the store is busy".into()))?;
            wait.recv().await.ok_or_else(|| StoreError("the store has ended".into()))
        })
    }
}

impl Shared {
    fn waiting(&self) -> MutexGuard<'_, HashMap<CallSid, CallRecord>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Writer {
    connection: Connection,
    path: PathBuf,
    shared: Arc<Shared>,
    records_max: u64,
    report: Report,
}

impl Writer {
    fn run(&mut self, jobs: &Receiver<Job>) {
        while let Ok(first) = jobs.recv() {
            let mut group = vec![first];
            group.extend(jobs.try_iter().take(GROUP_MAX - 1));
            let mut is_failing = false;
            let outcome = loop {
                match self.commit(&group) {
                    Ok(outcome) => break outcome,
                    Err(error) => {
                        if !is_failing {
                            let file = self.path.display().to_string();
                            (self.report)(DriverInput::StoreFailed { file, why: error.to_string() });
                        }
                        is_failing = true;
                        thread::sleep(RETRY_AFTER);
                    }
                }
            };
            self.settle(group, outcome);
        }
    }

    /// One transaction. Answers for each deletion whether there was something.
    fn commit(&mut self, group: &[Job]) -> rusqlite::Result<Outcome> {
        let transaction = self.connection.transaction()?;
        let mut outcome = Outcome { records: 0, deleted: Vec::new() };
        for job in group {
            match job {
                Job::Record(record) => insert(&transaction, record)?,
                Job::Ladder(chapter) => insert_chapter(&transaction, chapter)?,
                Job::Delete(sid, _) => {
                    let sid = sid.to_string();
                    let gone = transaction.prepare_cached("DELETE FROM calls WHERE sid = ?1")?.execute([&sid])?;
                    transaction.prepare_cached("DELETE FROM ladders WHERE call = ?1")?.execute([&sid])?;
                    outcome.deleted.push(gone > 0);
                }
                Job::Flush(_) => {}
            }
        }
        let changes_table = group.iter().any(|job| matches!(job, Job::Record(_) | Job::Delete(..)));
        outcome.records = self.shared.records.load(Ordering::Relaxed);
        if changes_table {
            outcome.records = prune(&transaction, self.records_max)?;
        }
        transaction.commit()?;
        Ok(outcome)
    }

    fn settle(&self, group: Vec<Job>, outcome: Outcome) {
        self.shared.records.store(outcome.records, Ordering::Relaxed);
        let mut deleted = outcome.deleted.into_iter();
        for job in group {
            match job {
                Job::Record(record) => {
                    let mut waiting = self.shared.waiting();
                    // A newer version of the same leg may wait already.
                    if waiting.get(&record.sid) == Some(&*record) {
                        waiting.remove(&record.sid);
                    }
                }
                Job::Ladder(_) => {}
                Job::Delete(_, done) => _ = done.try_send(deleted.next().unwrap_or(false)),
                Job::Flush(done) => _ = done.try_send(()),
            }
        }
    }
}

struct Outcome {
    records: u64,
    deleted: Vec<bool>,
}

fn open_writer(path: &Path) -> rusqlite::Result<Connection> {
    let mut connection = Connection::open(path)?;
    connection.pragma_update(None, "journal_mode", "wal")?;
    connection.pragma_update(None, "synchronous", "full")?;
    connection.busy_timeout(Duration::from_secs(5))?;
    let version: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    match version {
        0 => {
            let transaction = connection.transaction()?;
            transaction.execute_batch(SCHEMA)?;
            transaction.pragma_update(None, "user_version", SCHEMA_VERSION)?;
            transaction.commit()?;
        }
        SCHEMA_VERSION => {}
        later => {
            let why = format!("written by a later release (layout {later}, this one knows {SCHEMA_VERSION})");
            return Err(rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(1), Some(why)));
        }
    }
    Ok(connection)
}

fn insert(to: &Connection, record: &CallRecord) -> rusqlite::Result<()> {
    let text = serde_json::to_string(record).expect("a record has string keys only");
    to.prepare_cached("INSERT OR REPLACE INTO calls VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)")?.execute(params![
        record.sid.to_string(),
        record.parent.map(|sid| sid.to_string()),
        record.account.map(|sid| sid.to_string()),
        record.from,
        record.to,
        record.status,
        micros(record.created),
        record.ended.map(micros),
        text,
    ])?;
    Ok(())
}

fn insert_chapter(to: &Connection, chapter: &Chapter) -> rusqlite::Result<()> {
    let Some(first) = chapter.events.first() else { return Ok(()) };
    let mut lines = String::new();
    for event in &chapter.events {
        lines.push_str(&Written::of(event).json);
        lines.push('\n');
    }
    to.prepare_cached("INSERT OR REPLACE INTO ladders VALUES (?1, ?2, ?3)")?.execute(params![
        chapter.call.to_string(),
        first.seq.cast_signed(),
        lines
    ])?;
    Ok(())
}

/// Deletes the oldest beyond the bound, ladders with them. Returns how many records are left.
fn prune(to: &Connection, records_max: u64) -> rusqlite::Result<u64> {
    let count: i64 = to.prepare_cached("SELECT count(*) FROM calls")?.query_row([], |row| row.get(0))?;
    let count = count.unsigned_abs();
    if count <= records_max.saturating_add(PRUNE_SLACK.min(records_max / 8)) {
        return Ok(count);
    }
    let excess = (count - records_max).cast_signed();
    to.prepare_cached("DELETE FROM ladders WHERE call IN (SELECT sid FROM calls ORDER BY created, sid LIMIT ?1)")?
        .execute([excess])?;
    to.prepare_cached("DELETE FROM calls WHERE sid IN (SELECT sid FROM calls ORDER BY created, sid LIMIT ?1)")?
        .execute([excess])?;
    Ok(records_max)
}

fn select(reader: &Connection, query: &RecordQuery) -> rusqlite::Result<Vec<CallRecord>> {
    let mut sql = String::from("SELECT record FROM calls WHERE 1");
    let mut values: Vec<Box<dyn ToSql>> = Vec::new();
    let mut also = |condition: &str, value: Box<dyn ToSql>| {
        values.push(value);
        let _ = write!(sql, " AND {condition} ?{}", values.len());
    };
    if let Some(account) = query.account {
        also("account =", Box::new(account.to_string()));
    }
    if let Some(to) = &query.to {
        also("called =", Box::new(to.clone()));
    }
    if let Some(from) = &query.from {
        also("caller =", Box::new(from.clone()));
    }
    if let Some(parent) = query.parent {
        also("parent =", Box::new(parent.to_string()));
    }
    if let Some(status) = &query.status {
        also("status =", Box::new(status.clone()));
    }
    for (column, Span { from, until }) in [("created", query.started), ("ended", query.ended)] {
        if let Some(from) = from {
            also(&format!("{column} >="), Box::new(micros(from)));
        }
        if let Some(until) = until {
            also(&format!("{column} <"), Box::new(micros(until)));
        }
    }
    let direction = match query.edge {
        Edge::Newest => "DESC",
        Edge::OlderThan(cursor) => {
            beyond(&mut sql, &mut values, "<", cursor.created, cursor.sid);
            "DESC"
        }
        Edge::NewerThan(cursor) => {
            beyond(&mut sql, &mut values, ">", cursor.created, cursor.sid);
            "ASC"
        }
    };
    let _ = write!(sql, " ORDER BY created {direction}, sid {direction} LIMIT {}", query.limit.min(10_000));
    let mut rows = reader.prepare_cached(&sql)?;
    let texts = rows.query_map(rusqlite::params_from_iter(values.iter()), |row| row.get::<_, String>(0))?;
    let mut found = Vec::new();
    for text in texts {
        found.extend(serde_json::from_str::<CallRecord>(&text?).ok());
    }
    Ok(found)
}

fn beyond(sql: &mut String, values: &mut Vec<Box<dyn ToSql>>, side: &str, created: UnixMicros, sid: CallSid) {
    values.push(Box::new(micros(created)));
    values.push(Box::new(sid.to_string()));
    let _ = write!(sql, " AND (created, sid) {side} (?{}, ?{})", values.len() - 1, values.len());
}

/// SQLite has signed integers; the year 294,000 is far.
fn micros(time: UnixMicros) -> i64 {
    time.0.min(i64::MAX as u64).cast_signed()
}

#[cfg(test)]
mod tests;

//! Call records and their ladders in SQLite: one writer thread that commits in groups, one connection that reads.
//!
//! Write-ahead log: a killed process loses what was in the open group at most, never a committed record, and never the
//! file's integrity. Files are synced when the log is folded into the table, not at each commit: a loss of power may take
//! the commits since then, whole ones and the latest only. A record that waits for its commit can be read already.
//!
//! What a call costs here is pages: rows are appended, so that a group shares them; keys that fall anywhere, one page
//! each, are kept to three indexes with short entries.

use std::{
    collections::HashMap,
    fmt::Write as _,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread,
    time::{Duration, Instant},
};

use postern_api::{Answer, Edge, RecordQuery, RecordStore, Span, StoreError};
use postern_events::Chapter;
use postern_facts::CallRecord;
use postern_types::{AccountSid, CallSid, UnixMicros};
use rusqlite::{Connection, OptionalExtension, ToSql, params};
use serde_json::Value;

use super::{DriverInput, Report, database};

/// What waits for the writer: some seconds of a storm.
const QUEUE_MAX: usize = 16_384;

/// Jobs in one group: what comes within [`STORM_GROUP_EVERY`] in a storm of 6000 calls a second.
const GROUP_MAX: usize = 9216;

/// Commits follow each other at this distance, so that under load a page is written once for many records. The first
/// record after a pause is committed at once.
const GROUP_EVERY: Duration = Duration::from_millis(200);

/// After a group of so many jobs, commits are further apart: most of what a call costs here is pages of the indexes, that each
/// group writes anew.
const STORM_GROUP: usize = 1024;
const STORM_GROUP_EVERY: Duration = Duration::from_millis(500);

/// Pages of the log before it is folded into the table: 16 MB, in which pages that change often are written once.
const LOG_PAGES: i64 = 4096;

/// Pages held in memory, KB at most: those of a group under load. With the two megabytes that SQLite takes by itself a
/// page was written to the log more than once in a group.
const CACHE_KB: i64 = 16 << 10;

/// After a commit that failed.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// How far beyond the bound the table may grow before the oldest are deleted, so that it is not done at each commit.
const PRUNE_SLACK: u64 = 256;

/// The newest layout that this release writes.
const SCHEMA_VERSION: i64 = 2;

const SCHEMA: &str = "
    CREATE TABLE calls (
        id INTEGER PRIMARY KEY, sid BLOB NOT NULL, parent BLOB, account BLOB, caller TEXT NOT NULL, called TEXT NOT NULL,
        status TEXT NOT NULL, created INTEGER NOT NULL, ended INTEGER, record TEXT NOT NULL
    );
    CREATE UNIQUE INDEX calls_by_sid ON calls (sid);
    CREATE INDEX calls_by_time ON calls (created, sid);
    CREATE INDEX calls_by_account ON calls (account, created, sid) WHERE account IS NOT NULL;
    CREATE INDEX calls_by_parent ON calls (parent) WHERE parent IS NOT NULL;
    CREATE TABLE ladders (id INTEGER PRIMARY KEY, call BLOB NOT NULL, lines TEXT NOT NULL);
    CREATE INDEX ladders_by_call ON ladders (call);
";

/// Layout 1 had its sids as text, and rows in their order.
const FROM_LAYOUT_1: [&str; 2] = [
    "ALTER TABLE calls RENAME TO old_calls; ALTER TABLE ladders RENAME TO old_ladders;
    DROP INDEX calls_by_time; DROP INDEX calls_by_account; DROP INDEX calls_by_parent;",
    "INSERT INTO calls (sid, parent, account, caller, called, status, created, ended, record)
        SELECT unhex(substr(sid, 3)), unhex(substr(parent, 3)), unhex(substr(account, 3)),
            caller, called, status, created, ended, record FROM old_calls ORDER BY created, sid;
    INSERT INTO ladders (call, lines) SELECT unhex(substr(call, 3)), lines FROM old_ladders ORDER BY first_seq;
    DROP TABLE old_calls; DROP TABLE old_ladders;",
];

/// The store's handle; cheap to clone.
#[derive(Clone)]
pub struct Store {
    queue: SyncSender<Job>,
    shared: Arc<Shared>,
    writer: thread::Thread,
}

struct Shared {
    /// Handed in, not committed yet. Bounded by the queue.
    waiting: Mutex<HashMap<CallSid, Arc<CallRecord>>>,
    /// Somebody waits for a commit: the group is closed early.
    is_urgent: AtomicBool,
    reader: Mutex<Connection>,
    records: AtomicU64,
    dropped: AtomicU64,
}

enum Job {
    Record(Arc<CallRecord>),
    Ladder(Chapter),
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
        reader.busy_timeout(database::PATIENCE).map_err(failed)?;
        let records: i64 = writer.query_row("SELECT count(*) FROM calls", [], |row| row.get(0)).map_err(failed)?;
        let shared = Arc::new(Shared {
            waiting: Mutex::default(),
            is_urgent: AtomicBool::new(false),
            reader: Mutex::new(reader),
            records: AtomicU64::new(records.unsigned_abs()),
            dropped: AtomicU64::new(0),
        });
        let (queue, jobs) = sync_channel(QUEUE_MAX);
        let mut thread = Writer { connection: writer, path: path.clone(), shared: shared.clone(), records_max, report };
        let running = thread::Builder::new()
            .name("store".into())
            .spawn(move || thread.run(&jobs))
            .map_err(|error| StoreError(error.to_string()))?;
        Ok(Self { queue, shared, writer: running.thread().clone() })
    }

    /// Hands in a finished leg; never waits. It can be read at once.
    pub fn put(&self, record: CallRecord) {
        let sid = record.sid;
        let record = Arc::new(record);
        self.shared.waiting().insert(sid, record.clone());
        if self.queue.try_send(Job::Record(record)).is_err() {
            self.shared.waiting().remove(&sid);
            self.shared.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Hands in a part of a ladder; never waits.
    pub fn put_ladder(&self, chapter: Chapter) {
        if self.queue.try_send(Job::Ladder(chapter)).is_err() {
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
        let sent = self.queue.try_send(Job::Flush(done)).is_ok();
        self.hurry();
        sent && wait.recv_timeout(patience).is_ok()
    }

    fn hurry(&self) {
        self.shared.is_urgent.store(true, Ordering::Release);
        self.writer.unpark();
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
            return Box::pin(async move { Ok(Some((*record).clone())) });
        }
        self.ask(move |reader| {
            let mut rows = reader.prepare_cached("SELECT record FROM calls WHERE sid = ?1")?;
            let text: Option<String> = rows.query_row([key(sid)], |row| row.get(0)).optional()?;
            Ok(text.and_then(|text| serde_json::from_str(&text).ok()))
        })
    }

    fn list(&self, query: RecordQuery) -> Answer<'_, Result<Vec<CallRecord>, StoreError>> {
        // Before the question: a record that is committed in between is then found twice rather than not at all.
        let mut found: HashMap<CallSid, CallRecord> = {
            let waiting = self.shared.waiting();
            let wanted = waiting.values().filter(|record| query.matches(record));
            wanted.map(|record| (record.sid, (**record).clone())).collect()
        };
        Box::pin(async move {
            let asked = query.clone();
            let stored = self.ask(move |reader| select(reader, &asked)).await?;
            found.extend(stored.into_iter().map(|record| (record.sid, record)));
            Ok(query.select(found.into_values()))
        })
    }

    fn facts(&self, call: CallSid) -> Answer<'_, Result<Vec<Value>, StoreError>> {
        self.ask(move |reader| {
            let mut rows = reader.prepare_cached("SELECT lines FROM ladders WHERE call = ?1 ORDER BY id")?;
            let chapters = rows.query_map([key(call)], |row| row.get::<_, String>(0))?;
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
        self.hurry();
        Box::pin(async move {
            sent.map_err(|_| StoreError("the store is busy".into()))?;
            wait.recv().await.ok_or_else(|| StoreError("the store has ended".into()))
        })
    }
}

impl Shared {
    fn waiting(&self) -> MutexGuard<'_, HashMap<CallSid, Arc<CallRecord>>> {
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
        let mut next_group = Instant::now();
        while let Ok(first) = jobs.recv() {
            self.wait_until(next_group);
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
            let is_storm = group.len() >= STORM_GROUP;
            self.settle(group, outcome);
            next_group = Instant::now() + if is_storm { STORM_GROUP_EVERY } else { GROUP_EVERY };
        }
    }

    /// Jobs gather meanwhile, and wake nobody.
    fn wait_until(&self, at: Instant) {
        while !self.shared.is_urgent.swap(false, Ordering::Acquire) {
            let left = at.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            thread::park_timeout(left);
        }
    }

    /// One transaction. Answers for each deletion whether there was something.
    fn commit(&mut self, group: &[Job]) -> rusqlite::Result<Outcome> {
        let transaction = self.connection.transaction()?;
        let mut outcome = Outcome { records: self.shared.records.load(Ordering::Relaxed), deleted: Vec::new() };
        // One buffer for all rows of the group.
        let mut json = Vec::new();
        for job in group {
            json.clear();
            match job {
                Job::Record(record) => outcome.records += u64::from(insert(&transaction, record, &mut json)?),
                Job::Ladder(chapter) => insert_chapter(&transaction, chapter, &mut json)?,
                Job::Delete(sid, _) => {
                    let gone = remove(&transaction, *sid)?;
                    transaction.prepare_cached("DELETE FROM ladders WHERE call = ?1")?.execute([key(*sid)])?;
                    outcome.records = outcome.records.saturating_sub(u64::from(gone));
                    outcome.deleted.push(gone);
                }
                Job::Flush(_) => {}
            }
        }
        outcome.records = prune(&transaction, outcome.records, self.records_max)?;
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
                    if waiting.get(&record.sid).is_some_and(|newest| Arc::ptr_eq(newest, &record)) {
                        waiting.remove(&record.sid);
                    }
                }
                Job::Ladder(_) => {}
                Job::Delete(_, done) => _ = done.try_send(deleted.next().unwrap_or(false)),
                Job::Flush(done) => {
                    database::fold(&self.connection);
                    let _ = done.try_send(());
                }
            }
        }
    }
}

struct Outcome {
    records: u64,
    deleted: Vec<bool>,
}

fn open_writer(path: &Path) -> rusqlite::Result<Connection> {
    let mut connection = database::open(path)?;
    connection.pragma_update(None, "wal_autocheckpoint", LOG_PAGES)?;
    // Negative: kilobytes, not pages.
    connection.pragma_update(None, "cache_size", -CACHE_KB)?;
    connection.set_prepared_statement_cache_capacity(16);
    let version: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    match version {
        0 => {
            let transaction = connection.transaction()?;
            transaction.execute_batch(SCHEMA)?;
            transaction.pragma_update(None, "user_version", SCHEMA_VERSION)?;
            transaction.commit()?;
        }
        1 => {
            let [make_room, bring_over] = FROM_LAYOUT_1;
            let transaction = connection.transaction()?;
            transaction.execute_batch(make_room)?;
            transaction.execute_batch(SCHEMA)?;
            transaction.execute_batch(bring_over)?;
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

/// True: the leg is new. A newer version of one takes the place of the older.
fn insert(to: &Connection, record: &CallRecord, json: &mut Vec<u8>) -> rusqlite::Result<bool> {
    serde_json::to_writer(&mut *json, record).expect("a record has string keys only");
    let text = str::from_utf8(json).expect("JSON is UTF-8");
    let mut statement = to.prepare_cached(
        "INSERT OR IGNORE INTO calls (sid, parent, account, caller, called, status, created, ended, record)
            VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
    )?;
    let values = params![
        key(record.sid),
        record.parent.map(key),
        record.account.map(account_key),
        record.from,
        record.to,
        record.status,
        micros(record.created),
        record.ended.map(micros),
        text,
    ];
    if statement.execute(values)? > 0 {
        return Ok(true);
    }
    remove(to, record.sid)?;
    statement.execute(values)?;
    Ok(false)
}

fn remove(from: &Connection, sid: CallSid) -> rusqlite::Result<bool> {
    Ok(from.prepare_cached("DELETE FROM calls WHERE sid = ?1")?.execute([key(sid)])? > 0)
}

fn insert_chapter(to: &Connection, chapter: &Chapter, lines: &mut Vec<u8>) -> rusqlite::Result<()> {
    for event in &chapter.events {
        lines.extend_from_slice(event.json.as_bytes());
        lines.push(b'\n');
    }
    let lines = str::from_utf8(lines).expect("it was put together of strings");
    to.prepare_cached("INSERT INTO ladders (call, lines) VALUES (?1, ?2)")?
        .execute(params![key(chapter.call), lines])?;
    Ok(())
}

/// Deletes the oldest beyond the bound, ladders with them. Returns how many records are left.
fn prune(to: &Connection, count: u64, records_max: u64) -> rusqlite::Result<u64> {
    if count <= records_max.saturating_add(PRUNE_SLACK.min(records_max / 8)) {
        return Ok(count);
    }
    let excess = (count - records_max).cast_signed();
    to.prepare_cached("DELETE FROM ladders WHERE call IN (SELECT sid FROM calls ORDER BY created, sid LIMIT ?1)")?
        .execute([excess])?;
    to.prepare_cached("DELETE FROM calls WHERE id IN (SELECT id FROM calls ORDER BY created, sid LIMIT ?1)")?
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
        also("account =", Box::new(account_key(account)));
    }
    if let Some(to) = &query.to {
        also("called =", Box::new(to.clone()));
    }
    if let Some(from) = &query.from {
        also("caller =", Box::new(from.clone()));
    }
    if let Some(parent) = query.parent {
        also("parent =", Box::new(key(parent)));
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
    values.push(Box::new(key(sid)));
    let _ = write!(sql, " AND (created, sid) {side} (?{}, ?{})", values.len() - 1, values.len());
}

/// Sids are stored as their sixteen bytes, which sort as their text does.
fn key(sid: CallSid) -> [u8; 16] {
    sid.0.to_be_bytes()
}

fn account_key(sid: AccountSid) -> [u8; 16] {
    sid.0.to_be_bytes()
}

/// SQLite has signed integers; the year 294,000 is far.
fn micros(time: UnixMicros) -> i64 {
    time.0.min(i64::MAX as u64).cast_signed()
}

#[cfg(test)]
mod tests;

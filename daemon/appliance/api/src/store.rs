//! What the API needs of the store and of the daemon: two small traits, implemented by the daemon's drivers.

use std::{fmt, fs, future::Future, io, pin::Pin, time::Duration};

use postern_facts::{CallRecord, RecordingRecord};
use postern_switch::Status;
use postern_types::{AccountSid, CallSid, RecordingSid, UnixMicros};
use serde_json::Value;

/// An answer that takes its time.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The store cannot answer; the words are for the log and for the local tool, not for a tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreError(pub String);

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for StoreError {}

/// Finished legs and what happened to them. A leg that the switch has let go must be found here at once, committed or not:
/// live legs are asked for first, and one that is in neither place would not exist for a moment.
pub trait RecordStore: Send + Sync {
    /// One finished leg.
    fn find(&self, sid: CallSid) -> Answer<'_, Result<Option<CallRecord>, StoreError>>;
    /// Finished legs that match, newest first; see [`RecordQuery`].
    fn list(&self, query: RecordQuery) -> Answer<'_, Result<Vec<CallRecord>, StoreError>>;
    /// The events of a call, named by its first leg, as they serialize, oldest first; empty when nothing is kept.
    fn facts(&self, call: CallSid) -> Answer<'_, Result<Vec<Value>, StoreError>>;
    /// Forgets a finished leg; false when there is none.
    fn delete(&self, sid: CallSid) -> Answer<'_, Result<bool, StoreError>>;
}

/// Recordings, live and finished, and their files.
pub trait RecordingStore: Send + Sync {
    /// One.
    fn find(&self, sid: RecordingSid) -> Answer<'_, Result<Option<RecordingRecord>, StoreError>>;
    /// Those that match, newest first.
    fn list(&self, query: RecordingQuery) -> Answer<'_, Result<Vec<RecordingRecord>, StoreError>>;
    /// Deletes its file and forgets it; false when there is none.
    fn delete(&self, sid: RecordingSid) -> Answer<'_, Result<bool, StoreError>>;
    /// Its file.
    fn open(&self, sid: RecordingSid) -> Answer<'_, io::Result<fs::File>>;
}

/// Which recordings are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordingQuery {
    /// The tenant.
    pub account: AccountSid,
    /// Of one leg.
    pub call: Option<CallSid>,
    /// How many of the newest are left out.
    pub offset: usize,
    /// How many at most.
    pub limit: usize,
}

impl RecordingQuery {
    /// The wanted ones among `records`, in order and cut to the limit: what [`RecordingStore::list`] returns.
    pub fn select(&self, records: impl IntoIterator<Item = RecordingRecord>) -> Vec<RecordingRecord> {
        let is_wanted = |record: &RecordingRecord| {
            record.account == Some(self.account) && self.call.is_none_or(|call| record.call == call)
        };
        let mut found: Vec<_> = records.into_iter().filter(is_wanted).collect();
        found.sort_by_key(|record| std::cmp::Reverse((record.created, record.sid)));
        found.into_iter().skip(self.offset).take(self.limit).collect()
    }
}

/// What only the daemon knows.
pub trait Admin: Send + Sync {
    /// Fills in the parts of the status that drivers know.
    fn complete(&self, status: &mut Status);
    /// Reads the configuration file again and applies it, on behalf of `by`. A summary, or every mistake as a serialized
    /// `postern_config::Diagnostic`.
    fn reload(&self, by: &str) -> Answer<'_, Result<Value, Vec<Value>>>;
    /// Applies what stands in `place`, which is to be the file's name and `.trial`, for a time. As [`Admin::reload`].
    fn try_out(&self, place: &str, lasts: Duration) -> Answer<'_, Result<Value, Vec<Value>>>;
    /// What is on trial stays. The error is a sentence for a person.
    fn confirm(&self) -> Answer<'_, Result<Value, String>>;
}

/// A leg's place in the order of lists: newest first, then by sid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cursor {
    /// Its creation.
    pub created: UnixMicros,
    /// Its sid.
    pub sid: CallSid,
}

impl Cursor {
    /// Where a leg stands.
    pub fn of(record: &CallRecord) -> Self {
        Self { created: record.created, sid: record.sid }
    }
}

/// Where a page begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Edge {
    /// With the newest.
    #[default]
    Newest,
    /// With the first that is older than this.
    OlderThan(Cursor),
    /// The `limit` legs that are newer than this and nearest to it; they too are returned newest first.
    NewerThan(Cursor),
}

/// A span of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Span {
    /// From here, included.
    pub from: Option<UnixMicros>,
    /// Until here, excluded.
    pub until: Option<UnixMicros>,
}

impl Span {
    /// Whether a time lies in it. No time lies only in the span without bounds.
    pub fn contains(&self, time: Option<UnixMicros>) -> bool {
        match time {
            Some(time) => self.from.is_none_or(|from| time >= from) && self.until.is_none_or(|until| time < until),
            None => *self == Self::default(),
        }
    }
}

/// Which legs are wanted: all conditions must hold, an absent one always does.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RecordQuery {
    /// The tenant; none: everybody's.
    pub account: Option<AccountSid>,
    /// Exactly.
    pub to: Option<String>,
    /// Exactly.
    pub from: Option<String>,
    /// Legs that this one caused.
    pub parent: Option<CallSid>,
    /// Exactly, as in [`CallRecord::status`].
    pub status: Option<String>,
    /// [`CallRecord::created`].
    pub started: Span,
    /// [`CallRecord::ended`].
    pub ended: Span,
    /// Where to begin.
    pub edge: Edge,
    /// Legs at most.
    pub limit: usize,
}

impl RecordQuery {
    /// Whether one leg is wanted, edge included, limit aside.
    pub fn matches(&self, record: &CallRecord) -> bool {
        self.account.is_none_or(|account| record.account == Some(account))
            && self.to.as_ref().is_none_or(|to| *to == record.to)
            && self.from.as_ref().is_none_or(|from| *from == record.from)
            && self.parent.is_none_or(|parent| record.parent == Some(parent))
            && self.status.as_ref().is_none_or(|status| *status == record.status)
            && self.started.contains(Some(record.created))
            && self.ended.contains(record.ended)
            && match self.edge {
                Edge::Newest => true,
                Edge::OlderThan(cursor) => Cursor::of(record) < cursor,
                Edge::NewerThan(cursor) => Cursor::of(record) > cursor,
            }
    }

    /// The wanted ones among `records`, in order and cut to the limit: what [`RecordStore::list`] returns.
    pub fn select(&self, records: impl IntoIterator<Item = CallRecord>) -> Vec<CallRecord> {
        let mut found: Vec<_> = records.into_iter().filter(|record| self.matches(record)).collect();
        found.sort_by_key(|record| std::cmp::Reverse(Cursor::of(record)));
        if let Edge::NewerThan(_) = self.edge {
            found.drain(..found.len().saturating_sub(self.limit));
        }
        found.truncate(self.limit);
        found
    }
}

//! The store against files.

use postern_api::Cursor;
use postern_events::Chapter;
use postern_facts::{Event, LegResumed, Subject, Written};
use postern_types::{AccountSid, TrunkName, id::EventSid, leg::Party};

use super::*;
use crate::drivers::test_folder::TestFolder;

fn record(number: u128) -> CallRecord {
    CallRecord {
        sid: CallSid(number),
        parent: number.is_multiple_of(2).then_some(CallSid(number - 1)),
        account: Some(AccountSid(number % 3)),
        direction: "inbound".into(),
        status: if number.is_multiple_of(5) { "busy" } else { "completed" }.into(),
        from: format!("+{number}"),
        from_name: String::new(),
        to: "+2".into(),
        party: Party::Trunk { trunk: TrunkName::new("acme") },
        created: UnixMicros(number as u64 / 2 * 1000),
        updated: UnixMicros(0),
        answered: None,
        ended: Some(UnixMicros(number as u64 * 1000 + 500)),
        ended_by: None,
        cause: None,
        media: None,
        quality: None,
        verstat: None,
    }
}

fn start(folder: &TestFolder, records_max: u64) -> Store {
    Store::start(folder.path(), records_max, Arc::new(|_| {})).unwrap()
}

fn chapter(call: u128, seq: u64) -> Chapter {
    let event = |seq| {
        let fact = LegResumed {}.into();
        let subject = Subject { call: Some(CallSid(call)), ..Subject::default() };
        Arc::new(Written::of(&Event { seq, id: EventSid(seq.into()), at: UnixMicros(seq), subject, fact }))
    };
    Chapter { call: CallSid(call), events: vec![event(seq), event(seq + 1)] }
}

#[tokio::test]
async fn a_record_is_found_at_once_and_after_a_restart() {
    let folder = TestFolder::new("store");
    let store = start(&folder, 100);
    store.put(record(7));
    assert_eq!(store.find(CallSid(7)).await.unwrap(), Some(record(7)));
    store.put_ladder(chapter(7, 10));
    store.put_ladder(chapter(7, 20));
    assert!(store.flush(Duration::from_secs(10)));
    assert_eq!((store.records(), store.shared.waiting().len()), (1, 0));
    drop(store);
    let store = start(&folder, 100);
    assert_eq!(store.find(CallSid(7)).await.unwrap(), Some(record(7)));
    let facts = store.facts(CallSid(7)).await.unwrap();
    assert_eq!(facts.iter().map(|fact| fact["seq"].as_u64().unwrap()).collect::<Vec<_>>(), [10, 11, 20, 21]);
    assert!(store.delete(CallSid(7)).await.unwrap());
    assert!(!store.delete(CallSid(7)).await.unwrap());
    assert_eq!(store.find(CallSid(7)).await.unwrap(), None);
    assert!(store.facts(CallSid(7)).await.unwrap().is_empty());
}

#[tokio::test]
async fn after_a_flush_the_file_alone_is_whole() {
    let (folder, elsewhere) = (TestFolder::new("whole"), TestFolder::new("copy"));
    let store = start(&folder, 100);
    store.put(record(7));
    assert!(store.flush(Duration::from_secs(10)));
    std::fs::copy(folder.path().join("calls.db"), elsewhere.path().join("calls.db")).unwrap();
    assert_eq!(start(&elsewhere, 100).find(CallSid(7)).await.unwrap(), Some(record(7)));
}

#[tokio::test]
async fn a_list_is_that_of_the_plain_definition() {
    let folder = TestFolder::new("list");
    let store = start(&folder, 1000);
    let all: Vec<_> = (1..=60).map(record).collect();
    all.iter().cloned().for_each(|record| store.put(record));
    assert!(store.flush(Duration::from_secs(10)));
    let limit = 7;
    let base = RecordQuery { limit, ..RecordQuery::default() };
    let cursor = Cursor::of(&all[30]);
    let queries = [
        base.clone(),
        RecordQuery { edge: Edge::OlderThan(cursor), ..base.clone() },
        RecordQuery { edge: Edge::NewerThan(cursor), ..base.clone() },
        RecordQuery { account: Some(AccountSid(1)), edge: Edge::NewerThan(cursor), ..base.clone() },
        RecordQuery { status: Some("busy".into()), to: Some("+2".into()), ..base.clone() },
        RecordQuery { from: Some("+12".into()), ..base.clone() },
        RecordQuery { parent: Some(CallSid(11)), ..base.clone() },
        RecordQuery {
            started: Span { from: Some(UnixMicros(5000)), until: Some(UnixMicros(20_000)) },
            ended: Span { from: Some(UnixMicros(15_000)), until: None },
            ..base.clone()
        },
    ];
    for query in queries {
        let wanted = query.select(all.iter().cloned());
        assert!(!wanted.is_empty());
        assert_eq!(store.list(query.clone()).await.unwrap(), wanted, "{query:?}");
    }
}

#[tokio::test]
async fn the_oldest_leave() {
    let folder = TestFolder::new("prune");
    let store = start(&folder, 80);
    store.put_ladder(chapter(1, 1));
    (1..=200).for_each(|number| store.put(record(number)));
    assert!(store.flush(Duration::from_secs(10)));
    assert!((80..=90).contains(&store.records()), "{}", store.records());
    assert_eq!(store.find(CallSid(1)).await.unwrap(), None);
    assert!(store.facts(CallSid(1)).await.unwrap().is_empty());
    assert!(store.find(CallSid(200)).await.unwrap().is_some());
}

#[test]
fn a_file_of_a_later_release_is_refused() {
    let folder = TestFolder::new("later");
    drop(start(&folder, 10));
    let file = Connection::open(folder.path().join("calls.db")).unwrap();
    file.pragma_update(None, "user_version", SCHEMA_VERSION + 1).unwrap();
    let error = Store::start(folder.path(), 10, Arc::new(|_| {})).err().unwrap();
    assert!(error.0.contains("later release"), "{error}");
}

#[tokio::test]
async fn a_file_of_the_first_layout_is_brought_over() {
    let folder = TestFolder::new("layout1");
    let file = Connection::open(folder.path().join("calls.db")).unwrap();
    file.execute_batch(
        "CREATE TABLE calls (
            sid TEXT PRIMARY KEY, parent TEXT, account TEXT, caller TEXT NOT NULL, called TEXT NOT NULL,
            status TEXT NOT NULL, created INTEGER NOT NULL, ended INTEGER, record TEXT NOT NULL
        ) WITHOUT ROWID;
        CREATE INDEX calls_by_time ON calls (created, sid);
        CREATE INDEX calls_by_account ON calls (account, created, sid);
        CREATE INDEX calls_by_parent ON calls (parent);
        CREATE TABLE ladders (
            call TEXT NOT NULL, first_seq INTEGER NOT NULL, lines TEXT NOT NULL, PRIMARY KEY (call, first_seq)
        ) WITHOUT ROWID;
        PRAGMA user_version = 1;",
    )
    .unwrap();
    let (old, parent) = (record(8), record(7));
    for record in [&old, &parent] {
        file.execute(
            "INSERT INTO calls VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
            params![
                record.sid.to_string(),
                record.parent.map(|sid| sid.to_string()),
                record.account.map(|sid| sid.to_string()),
                record.from,
                record.to,
                record.status,
                micros(record.created),
                record.ended.map(micros),
                serde_json::to_string(record).unwrap(),
            ],
        )
        .unwrap();
    }
    file.execute("INSERT INTO ladders VALUES (?1, 3, '{\"seq\":3}\n')", [old.sid.to_string()]).unwrap();
    drop(file);
    let store = start(&folder, 100);
    assert_eq!((store.records(), store.find(old.sid).await.unwrap()), (2, Some(old.clone())));
    let query = RecordQuery { parent: Some(parent.sid), account: old.account, limit: 9, ..RecordQuery::default() };
    assert_eq!(store.list(query).await.unwrap(), std::slice::from_ref(&old));
    assert_eq!(store.facts(old.sid).await.unwrap()[0]["seq"], 3);
}

#[tokio::test]
async fn a_newer_version_of_a_record_takes_its_place_and_nobody_is_counted_twice() {
    let folder = TestFolder::new("newer");
    let store = start(&folder, 100);
    for status in ["in-progress", "completed"] {
        store.put(CallRecord { status: status.into(), ..record(7) });
        assert!(store.flush(Duration::from_secs(10)));
    }
    assert_eq!(store.records(), 1);
    let all = store.list(RecordQuery { limit: 9, ..RecordQuery::default() }).await.unwrap();
    assert_eq!(all.iter().map(|record| &*record.status).collect::<Vec<_>>(), ["completed"]);
    assert!(store.delete(CallSid(7)).await.unwrap());
    assert_eq!(store.records(), 0);
}

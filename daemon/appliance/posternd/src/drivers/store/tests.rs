//! The store against files.

use postern_api::Cursor;
use postern_events::Chapter;
use postern_facts::{Event, LegResumed, Subject};
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
    }
}

fn start(folder: &TestFolder, records_max: u64) -> Store {
    Store::start(folder.path(), records_max, Arc::new(|_| {})).unwrap()
}

fn chapter(call: u128, seq: u64) -> Chapter {
    let event = |seq| {
        let fact = LegResumed {}.into();
        let subject = Subject { call: Some(CallSid(call)), ..Subject::default() };
        Arc::new(Event { seq, id: EventSid(seq.into()), at: UnixMicros(seq), subject, fact })
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

//! kill -9 in the middle of load: afterwards spool and store are whole, and have all that was said to be kept.

use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};

use postern_api::RecordStore;
use postern_events::{Filter, spool::SpoolLimits};
use postern_facts::{CallRecord, Event, LegResumed, Subject};
use postern_types::{CallSid, UnixMicros, id::EventSid, leg::Party};
use posternd::drivers::{files::Files, spool, store::Store};

/// Names the folder for the process that is to be killed.
const FOLDER: &str = "POSTERN_CRASH_FOLDER";

/// Rounds of a hundred events and records that the child has confirmed when it is killed.
const ROUNDS: u64 = 5;

fn record(number: u64) -> CallRecord {
    CallRecord {
        sid: CallSid(number.into()),
        parent: None,
        account: None,
        direction: "inbound".into(),
        status: "completed".into(),
        from: "+1".into(),
        from_name: String::new(),
        to: "+2".into(),
        party: Party::Uri { uri: "sip:a@b".into() },
        created: UnixMicros(number),
        updated: UnixMicros(number),
        answered: None,
        ended: None,
        ended_by: None,
        cause: None,
        media: None,
        quality: None,
        verstat: None,
    }
}

fn open_store(folder: &Path) -> Store {
    Store::start(folder, 1_000_000, Arc::new(|_| {})).expect("the store opens")
}

/// The process that is killed: writes for ever, and says on its output what is durable. Does nothing in an ordinary run.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_child_writes_until_it_is_killed() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    let folder = Path::new(&folder);
    let opened = spool::Opened::open(folder, SpoolLimits::new(16, 30), false).expect("a spool");
    let files = Files::start(opened.folder().into()).expect("a thread");
    let spool = opened.start(files, Arc::new(|_| {}), |_| {});
    let store = open_store(folder);
    for number in 1.. {
        let fact = LegResumed {}.into();
        let (id, at) = (EventSid(number.into()), UnixMicros(number));
        spool.push(Arc::new(Event { seq: number, id, at, subject: Subject::default(), fact }));
        store.put(record(number));
        if number.is_multiple_of(100) {
            spool.flush(number, Duration::from_secs(10)).await;
            assert!(store.flush(Duration::from_secs(10)));
            println!("\nkept {number}");
        }
    }
}

#[tokio::test]
async fn what_was_kept_survives_kill_9() {
    let folder = std::env::temp_dir().join(format!("postern-crash-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "the_child_writes_until_it_is_killed", "--nocapture"])
        .env(FOLDER, &folder)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let kept = lines.map_while(Result::ok).filter_map(|line| line.strip_prefix("kept ")?.parse::<u64>().ok());
    let kept = kept.take(ROUNDS as usize).last().unwrap();
    assert_eq!(kept, ROUNDS * 100);
    child.kill().unwrap();
    child.wait().unwrap();

    let found = spool::Opened::open(&folder, SpoolLimits::new(16, 30), false).unwrap().found;
    assert!(found.last >= kept, "{} of {kept}", found.last);
    let seqs: Vec<_> = found.recent.iter().filter(|event| Filter::default().matches(event)).map(|e| e.seq).collect();
    assert_eq!(seqs, (1..=found.last).collect::<Vec<_>>());

    let file = rusqlite::Connection::open(folder.join("calls.db")).unwrap();
    let verdict: String = file.pragma_query_value(None, "integrity_check", |row| row.get(0)).unwrap();
    assert_eq!(verdict, "ok");
    let store = open_store(&folder);
    assert!(store.records() >= kept, "{} of {kept}", store.records());
    for number in [1, kept / 2, kept] {
        assert_eq!(store.find(CallSid(number.into())).await.unwrap(), Some(record(number)));
    }
    drop((file, store));
    let _ = std::fs::remove_dir_all(&folder);
}

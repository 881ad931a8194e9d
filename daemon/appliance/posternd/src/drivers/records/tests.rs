use postern_events::chain::{Flaw, Verifier};
use postern_facts::{CallEnded, CallRouted, Subject};
use postern_types::{CallSid, Cause, EndedBy, TrunkName, UnixMicros, id::EventSid, leg::Party};

use super::{super::test_folder::TestFolder, *};

fn settings(file_mb: u64, max_mb: u64) -> Records {
    let formats = vec![RecordFormat::Json, RecordFormat::Csv];
    Records { folder: None, formats, file_mb, max_mb, days: 9 }
}

fn quiet() -> Report {
    Arc::new(|_| {})
}

fn event(call: CallSid, fact: impl Into<postern_facts::Fact>) -> Arc<Event> {
    let subject = Subject { call: Some(call), ..Subject::default() };
    Arc::new(Event { seq: 1, id: EventSid(1), at: UnixMicros(9_000_000), subject, fact: fact.into() })
}

fn leg(sid: CallSid, parent: Option<CallSid>, trunk: &str) -> CallRecord {
    CallRecord {
        sid,
        parent,
        account: None,
        direction: "inbound".into(),
        status: "completed".into(),
        from: "+4930, \"1\"".into(),
        from_name: String::new(),
        to: "+4940".into(),
        party: Party::Trunk { trunk: TrunkName::new(trunk) },
        created: UnixMicros(1_000_000),
        updated: UnixMicros(9_000_000),
        answered: Some(UnixMicros(2_000_000)),
        ended: Some(UnixMicros(9_000_000)),
        ended_by: Some(EndedBy::Peer),
        cause: Some(Cause::NORMAL),
        media: None,
        quality: None,
        verstat: None,
    }
}

fn call(files: &RecordFiles, number: u128) {
    let (first, second) = (CallSid(2 * number), CallSid(2 * number + 1));
    let routed = CallRouted { table: "route".into(), entry: "out".into(), to: "trunk b".into(), why: "x".into() };
    files.event(&event(first, routed));
    files.leg(&leg(second, Some(first), "b"));
    files.leg(&leg(first, None, "a"));
    files.event(&event(first, CallEnded { by: EndedBy::Peer, cause: Cause::NORMAL, total_ms: 8000, legs: 2 }));
}

fn verified(folder: &Path, form: Form) -> Result<(u64, Head), Flaw> {
    let mut verifier = Verifier::default();
    for found in files_of(folder, form).unwrap() {
        let text = fs::read_to_string(&found.path).unwrap();
        let headings = usize::from(form == Form::Csv);
        for line in text.lines().skip(headings) {
            verifier.line(form, line)?;
        }
    }
    let state = fs::read_to_string(folder.join(state_name(form))).unwrap();
    verifier.end(&Head::parse(state.trim_end()).unwrap())?;
    Ok((verifier.records(), verifier.last().cloned().unwrap()))
}

#[test]
fn calls_are_chained_over_restarts_and_a_line_that_was_not_finished_is_cut_off() {
    let folder = TestFolder::new("records");
    for run in 0..3 {
        let files = RecordFiles::start(folder.path(), &settings(1, 9), quiet()).unwrap();
        (0..50).for_each(|number| call(&files, 100 * run + number));
        assert!(files.flush(Duration::from_secs(20)));
        for form in [Form::Json, Form::Csv] {
            let (records, head) = verified(folder.path(), form).unwrap();
            assert_eq!((records, head.n), (50 * (run as u64 + 1), 50 * (run as u64 + 1)));
        }
        // As a disk that was full in the middle of a line would leave it.
        let newest = &files_of(folder.path(), Form::Json).unwrap().pop().unwrap().path;
        OpenOptions::new().append(true).open(newest).unwrap().write_all(b"{\"n\":1000,\"prev").unwrap();
    }
    let text = fs::read_to_string(&files_of(folder.path(), Form::Json).unwrap()[0].path).unwrap();
    let line: serde_json::Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
    let told = &line["call"];
    assert_eq!((told["route"]["entry"].as_str(), told["legs"].as_array().unwrap().len()), (Some("out"), 2));
    assert_eq!(told["legs"][1]["party"]["trunk"], "b");
    let text = fs::read_to_string(&files_of(folder.path(), Form::Csv).unwrap()[0].path).unwrap();
    let (headings, row) = text.split_once('\n').unwrap();
    // The caller has a comma in it.
    assert_eq!(row.lines().next().unwrap().split(',').count(), headings.split(',').count() + 1);
    assert!(row.contains("\"+4930, \"\"1\"\"\"") && row.contains(",trunk a,trunk b,1,peer,200,16,"), "{row}");
}

#[test]
fn files_are_bounded_and_what_left_does_not_break_the_chain() {
    let folder = TestFolder::new("records-bounded");
    let mut chain = Chain::open(folder.path(), Form::Json, &settings(1, 9)).unwrap();
    (chain.file_bytes_max, chain.all_bytes_max) = (10_000, 60_000);
    let detail = |number| {
        let mut gatherer = Gatherer::default();
        gatherer.leg(leg(CallSid(number), None, "a"));
        let ended = CallEnded { by: EndedBy::Peer, cause: Cause::NORMAL, total_ms: 1, legs: 1 };
        gatherer.event(&event(CallSid(number), ended)).unwrap()
    };
    for number in 0..500 {
        chain.append(&[detail(number)]).unwrap();
    }
    let files = files_of(folder.path(), Form::Json).unwrap();
    assert!(files.len() > 3 && files.iter().map(|file| file.bytes).sum::<u64>() < 80_000);
    let (records, head) = verified(folder.path(), Form::Json).unwrap();
    assert!(records < 500 && head.n == 500, "{records}");
    // Somebody takes all files away; then the newest alone; then changes one record.
    files.iter().for_each(|file| fs::remove_file(&file.path).unwrap());
    drop(chain);
    let mut chain = Chain::open(folder.path(), Form::Json, &settings(1, 9)).unwrap();
    assert_eq!(chain.head, head);
    (0..3).for_each(|number| chain.append(&[detail(number)]).unwrap());
    assert_eq!(verified(folder.path(), Form::Json).unwrap().0, 3);
    let path = &files_of(folder.path(), Form::Json).unwrap()[0].path;
    let text = fs::read_to_string(path).unwrap();
    fs::write(path, text.replacen("+4940", "+4941", 1)).unwrap();
    assert_eq!(verified(folder.path(), Form::Json), Err(Flaw::Changed { n: 501 }));
    fs::write(path, text.lines().take(2).map(|line| format!("{line}\n")).collect::<String>()).unwrap();
    assert_eq!(verified(folder.path(), Form::Json), Err(Flaw::Missing { from: 503, to: 503 }));
}

//! Facts to the systemd journal, or to stderr for a person.
//!
//! journald blocks its writers when it stalls. So one thread writes, the switch only puts into a bounded queue, and what
//! does not fit is counted: a journal that stands still costs lines, never calls.

use std::{
    io::{self, Write},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering},
        mpsc::{Receiver, SyncSender, TrySendError, sync_channel},
    },
    thread,
};

use log::kv::{Key, Value};
use postern_config::{LogLevel, LogTarget};
use postern_facts::{Event, Level, text};
use postern_types::UnixMicros;
use systemd_journal_logger::JournalLog;

/// Events that wait for the writer: some seconds of a busy box, about 4 MB.
pub const QUEUE_MAX: usize = 16_384;

/// The switch's end; cheap to clone.
#[derive(Debug, Clone)]
pub struct Journal {
    queue: SyncSender<Line>,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    level: AtomicU8,
    dropped: AtomicU64,
    is_journal: AtomicBool,
}

#[derive(Debug)]
enum Line {
    Event(Arc<Event>),
    /// Answered when all before it is written.
    Flush(SyncSender<()>),
}

impl Journal {
    /// Starts the writer. With `LogTarget::Journal` a missing journald is an error.
    pub fn start(target: LogTarget, level: LogLevel) -> io::Result<Self> {
        let to_journal = match target {
            LogTarget::Stderr => false,
            LogTarget::Journal => true,
            LogTarget::Auto => systemd_journal_logger::connected_to_journal(),
        };
        let sink: Box<dyn Sink> = if to_journal {
            Box::new(JournalLog::empty()?.with_syslog_identifier("posternd".into()))
        } else {
            Box::new(Stderr)
        };
        Self::start_with(sink, to_journal, level, QUEUE_MAX)
    }

    fn start_with(sink: Box<dyn Sink>, is_journal: bool, level: LogLevel, queue_max: usize) -> io::Result<Self> {
        let (queue, lines) = sync_channel(queue_max);
        let shared = Arc::new(Shared {
            level: AtomicU8::new(0),
            dropped: AtomicU64::new(0),
            is_journal: AtomicBool::new(is_journal),
        });
        thread::Builder::new().name("journal".into()).spawn(move || write_all(&lines, &*sink))?;
        let journal = Self { queue, shared };
        journal.set_level(level);
        Ok(journal)
    }

    /// Hands an event over, if it matters enough; never waits.
    pub fn write(&self, event: &Arc<Event>) {
        if rank(event.fact.meta().level) < self.shared.level.load(Ordering::Relaxed) {
            return;
        }
        if let Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) =
            self.queue.try_send(Line::Event(event.clone()))
        {
            self.shared.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// From now on facts of at least this level are written.
    pub fn set_level(&self, level: LogLevel) {
        let least = match level {
            LogLevel::Debug => Level::Debug,
            LogLevel::Info => Level::Info,
            LogLevel::Notice => Level::Notice,
            LogLevel::Warning => Level::Warning,
            LogLevel::Error => Level::Error,
        };
        self.shared.level.store(rank(least), Ordering::Relaxed);
    }

    /// Events that found the queue full.
    pub fn dropped(&self) -> u64 {
        self.shared.dropped.load(Ordering::Relaxed)
    }

    /// Whether lines go to journald.
    pub fn is_journal(&self) -> bool {
        self.shared.is_journal.load(Ordering::Relaxed)
    }

    /// Waits until everything so far is written, for the end of the daemon; `patience` bounds it when journald stalls.
    pub fn flush(&self, patience: std::time::Duration) {
        let (done, wait) = sync_channel(1);
        if self.queue.try_send(Line::Flush(done)).is_ok() {
            let _ = wait.recv_timeout(patience);
        }
    }
}

fn rank(level: Level) -> u8 {
    level as u8
}

fn write_all(lines: &Receiver<Line>, sink: &dyn Sink) {
    while let Ok(line) = lines.recv() {
        match line {
            Line::Event(event) => sink.write(&event),
            Line::Flush(done) => _ = done.send(()),
        }
    }
}

/// Where lines end. A line that cannot be written is lost: there is no other place to say so.
trait Sink: Send {
    fn write(&self, event: &Event);
}

impl Sink for JournalLog {
    fn write(&self, event: &Event) {
        let fields = fields_of(event);
        let fields: Vec<(Key<'_>, Value<'_>)> =
            fields.iter().map(|(name, value)| (Key::from_str(name), Value::from(value.as_str()))).collect();
        let sentence = text::sentence(&event.fact);
        let mut record = log::Record::builder();
        record.level(priority_of(event.fact.meta().level)).target("posternd").key_values(&fields);
        let _ = self.journal_send(&record.args(format_args!("{sentence}")).build());
    }
}

/// The crate writes log's five levels as syslog's err, warning, notice, info, debug: ours, one for one.
fn priority_of(level: Level) -> log::Level {
    match level {
        Level::Error => log::Level::Error,
        Level::Warning => log::Level::Warn,
        Level::Notice => log::Level::Info,
        Level::Info => log::Level::Debug,
        Level::Debug => log::Level::Trace,
    }
}

fn fields_of(event: &Event) -> Vec<(&'static str, String)> {
    let (meta, about) = (event.fact.meta(), &event.subject);
    let mut fields = vec![
        ("MESSAGE_ID", meta.message_id.to_owned()),
        ("EVENT_TYPE", meta.name.to_owned()),
        ("EVENT_SEQ", event.seq.to_string()),
        ("EVENT_ID", event.id.to_string()),
    ];
    let mut add = |name, value: Option<String>| fields.extend(value.map(|value| (name, value)));
    add("CALL_ID", about.call.map(|v| v.to_string()));
    add("LEG_ID", about.leg.map(|v| v.to_string()));
    add("ACCOUNT", about.account.map(|v| v.to_string()));
    add("TRUNK", about.trunk.as_ref().map(|v| v.to_string()));
    add("USER_NAME", about.user.as_ref().map(|v| v.to_string()));
    fields
}

struct Stderr;

impl Sink for Stderr {
    fn write(&self, event: &Event) {
        let mut line = line_of(event);
        line.push('\n');
        let _ = io::stderr().lock().write_all(line.as_bytes());
    }
}

/// `03:26:30.123  info     call.offered        CA0123…  call from +1… to +1…`; the time is UTC.
fn line_of(event: &Event) -> String {
    let (meta, about) = (event.fact.meta(), &event.subject);
    let level = match meta.level {
        Level::Debug => "debug",
        Level::Info => "info",
        Level::Notice => "notice",
        Level::Warning => "WARNING",
        Level::Error => "ERROR",
    };
    let whom = about
        .leg
        .or(about.call)
        .map(|sid| sid.to_string().chars().take(8).chain(['…']).collect())
        .or_else(|| about.user.as_ref().map(|user| user.to_string()))
        .or_else(|| about.trunk.as_ref().map(|trunk| trunk.to_string()))
        .unwrap_or_default();
    // A peer's words may stand in a fact; they must not move the cursor of whoever reads.
    let sentence: String = text::sentence(&event.fact).chars().map(|c| if c.is_control() { '?' } else { c }).collect();
    format!("{}  {level:<7}  {:<20} {whom:<10} {sentence}", clock(event.at), meta.name)
}

fn clock(at: UnixMicros) -> String {
    let of_day = at.seconds() % 86_400;
    let ms = at.0 / 1000 % 1000;
    format!("{:02}:{:02}:{:02}.{ms:03}", of_day / 3600, of_day / 60 % 60, of_day % 60)
}

#[cfg(test)]
mod tests {
    use std::{sync::mpsc, time::Duration};

    use postern_facts::{CallCreated, Fact, LegResumed, LinkDown, Subject};
    use postern_types::{CallSid, id::EventSid};

    use super::*;

    fn event(fact: impl Into<Fact>) -> Arc<Event> {
        let subject = Subject { call: Some(CallSid(0xab << 120)), ..Subject::default() };
        Arc::new(Event { seq: 7, id: EventSid(1), at: UnixMicros(3_661_001_000), subject, fact: fact.into() })
    }

    #[test]
    fn a_line_is_for_a_person_and_cannot_be_forged() {
        let created = CallCreated { from: "+1\x1b[2J".into(), to: "+2\n".into(), by: "rest".into() };
        let line = line_of(&event(created));
        assert_eq!(line, "01:01:01.001  info     call.created         CAab0000…  call from +1?[2J to +2? made by rest");
    }

    #[test]
    fn fields_name_the_call_and_the_catalog_entry() {
        let fields = fields_of(&event(LegResumed {}));
        let value = |name| fields.iter().find(|(field, _)| *field == name).map(|(_, value)| value.as_str());
        assert_eq!(value("MESSAGE_ID"), Some(LegResumed::META.message_id));
        assert_eq!(value("EVENT_SEQ"), Some("7"));
        assert_eq!(value("CALL_ID"), Some("CAab000000000000000000000000000000"));
        assert_eq!(value("TRUNK"), None);
    }

    struct Stalled {
        gate: std::sync::Mutex<mpsc::Receiver<()>>,
        seen: mpsc::Sender<&'static str>,
    }

    impl Sink for Stalled {
        fn write(&self, event: &Event) {
            let _ = self.gate.lock().unwrap().recv();
            let _ = self.seen.send(event.fact.meta().name);
        }
    }

    #[test]
    fn a_journal_that_stalls_costs_lines_and_counts_them() {
        let (open, gate) = mpsc::channel();
        let (seen, lines) = mpsc::channel();
        let sink = Stalled { gate: gate.into(), seen };
        let journal = Journal::start_with(Box::new(sink), false, LogLevel::Notice, 4).unwrap();
        let down = event(LinkDown { server: "x".into(), why: "y".into() });
        for _ in 0..100 {
            journal.write(&down);
            journal.write(&event(LegResumed {}));
        }
        // Four wait and one may be in the writer's hand; facts below the level do not count.
        assert!((95..=96).contains(&journal.dropped()), "{}", journal.dropped());
        drop(open);
        assert_eq!(lines.recv_timeout(Duration::from_secs(5)), Ok("link.down"));
        journal.set_level(LogLevel::Debug);
        journal.flush(Duration::from_secs(5));
    }
}

//! Events against a real nats-server that is killed under load: the stream has each exactly once.
//!
//! The server is found through `NATS_SERVER` (the Makefile sets it) or the path; without one the test says so and passes.

use std::{
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
    time::Duration,
};

use async_nats::jetstream;
use futures_util::{StreamExt, TryStreamExt};
use postern_config::ControlPlane;
use postern_events::spool::SpoolLimits;
use postern_facts::{Event, Fact, LegResumed, PresenceChanged, Subject};
use postern_types::{CallSid, UnixMicros, UserName, id::EventSid};
use posternd::drivers::{
    DriverInput, Report,
    files::Files,
    install_crypto,
    nats::{Link, Orders},
    spool,
};
use tokio::sync::mpsc;

/// Events published in all, some of them while the server is away.
const EVENTS: u64 = 6000;

/// How long the server is away.
const AWAY: Duration = Duration::from_millis(700);

/// Limit for each thing that is waited for.
const PATIENCE: Duration = Duration::from_secs(60);

struct Server {
    child: Child,
    port: u16,
    folder: PathBuf,
}

impl Server {
    fn start(binary: &Path, folder: &Path, port: u16) -> Self {
        Self { child: Self::spawn(binary, folder, port), port, folder: folder.into() }
    }

    fn spawn(binary: &Path, folder: &Path, port: u16) -> Child {
        Command::new(binary)
            .args(["-a", "127.0.0.1", "-p", &port.to_string(), "-js", "-sd"])
            .arg(folder.join("nats"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("nats-server starts")
    }

    /// With what its disk has.
    fn restart(&mut self, binary: &Path) {
        self.kill();
        self.child = Self::spawn(binary, &self.folder, self.port);
    }

    fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// The server's binary, or none with a word about it.
fn binary() -> Option<PathBuf> {
    let named = std::env::var_os("NATS_SERVER").map(PathBuf::from);
    let paths = std::env::var_os("PATH").unwrap_or_default();
    let found = named.or_else(|| std::env::split_paths(&paths).map(|p| p.join("nats-server")).find(|p| p.is_file()));
    if found.is_none() {
        eprintln!("skipped: no nats-server; set NATS_SERVER");
    }
    found
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a free port").port()
}

struct Daemon {
    spool: spool::Spool,
    link: Link,
    said: mpsc::UnboundedReceiver<DriverInput>,
}

impl Daemon {
    fn start(folder: &Path, url: &str) -> (Self, u64) {
        let opened = spool::Opened::open(folder, SpoolLimits::new(16, 30), true).expect("a spool");
        let last = opened.found.last;
        let files = Files::start(opened.folder().into()).expect("a thread");
        let (sender, said) = mpsc::unbounded_channel();
        let report: Report = Arc::new(move |input| _ = sender.send(input));
        let spool = opened.start(files, report.clone(), |_| {});
        let config = ControlPlane {
            url: url.into(),
            stream: "POSTERN".into(),
            presence_bucket: "postern_presence".into(),
            token: None,
            credentials_file: None,
            ca_file: None,
        };
        let orders: Orders = Arc::new(|command| {
            Box::pin(async move {
                match command {
                    postern_link::Command::Hangup { call } => Ok(serde_json::json!({ "call": call })),
                    postern_link::Command::Status => Err("not now".into()),
                }
            })
        });
        let link = Link::start(config, "edge", spool.clone(), orders, report);
        (Self { spool, link, said }, last)
    }

    async fn until(&mut self, wanted: impl Fn(&DriverInput) -> bool) -> DriverInput {
        let wait = async {
            loop {
                let input = self.said.recv().await.expect("the drivers run");
                if wanted(&input) {
                    return input;
                }
            }
        };
        tokio::time::timeout(PATIENCE, wait).await.expect("it is said in time")
    }

    async fn push(&self, seqs: std::ops::RangeInclusive<u64>) {
        for seq in seqs {
            self.spool.push(event(seq, LegResumed {}.into(), Subject::default()));
            if seq.is_multiple_of(100) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
    }
}

fn event(seq: u64, fact: Fact, subject: Subject) -> Arc<Event> {
    Arc::new(Event { seq, id: EventSid(seq.into()), at: UnixMicros(seq), subject, fact })
}

async fn sequences(url: &str) -> Vec<u64> {
    let context = jetstream::new(async_nats::connect(url).await.unwrap());
    let stream = context.get_stream("POSTERN").await.unwrap();
    let total = stream.get_info().await.unwrap().state.messages;
    let consumer = stream.create_consumer(jetstream::consumer::pull::OrderedConfig::default()).await.unwrap();
    let messages = consumer.messages().await.unwrap().take(total as usize);
    let messages: Vec<_> = messages.try_collect().await.unwrap();
    let sequence = |payload: &[u8]| {
        let json: serde_json::Value = serde_json::from_slice(payload).unwrap();
        json["sequence"].as_str().and_then(|text| text.parse().ok()).unwrap()
    };
    messages.iter().map(|message| sequence(&message.payload)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_killed_under_load_has_each_event_once() {
    let Some(binary) = binary() else { return };
    install_crypto();
    let folder = std::env::temp_dir().join(format!("postern-link-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let port = free_port();
    let mut server = Server::start(&binary, &folder, port);
    let url = server.url();
    let (mut daemon, last) = Daemon::start(&folder, &url);
    assert_eq!(last, 0);
    daemon.until(|input| matches!(input, DriverInput::LinkUp { .. })).await;

    daemon.push(1..=EVENTS / 3).await;
    server.kill();
    daemon.push(EVENTS / 3 + 1..=2 * EVENTS / 3).await;
    daemon.until(|input| matches!(input, DriverInput::LinkDown { .. })).await;
    tokio::time::sleep(AWAY).await;
    assert!(!daemon.link.is_up());

    // The daemon dies too, and comes back before the server does.
    daemon.spool.flush(2 * EVENTS / 3, PATIENCE).await;
    daemon.link.stop();
    drop(daemon);
    let (mut daemon, last) = Daemon::start(&folder, &url);
    assert_eq!(last, 2 * EVENTS / 3, "everything pushed was kept");
    server.restart(&binary);
    daemon.until(|input| matches!(input, DriverInput::LinkUp { .. })).await;
    daemon.push(2 * EVENTS / 3 + 1..=EVENTS).await;
    let all_acknowledged = async {
        while daemon.spool.acknowledged() < EVENTS {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, all_acknowledged).await.expect("everything is acknowledged");
    let mut stored = sequences(&url).await;
    stored.sort_unstable();
    assert_eq!(stored, (1..=EVENTS).collect::<Vec<_>>());

    presence_and_commands(&mut daemon, &url).await;
}

async fn presence_and_commands(daemon: &mut Daemon, url: &str) {
    let client = async_nats::connect(url).await.unwrap();
    let bucket = jetstream::new(client.clone()).get_key_value("postern_presence").await.unwrap();
    let mut watch = bucket.watch_with_history("edge.ann").await.unwrap();
    let subject = Subject { user: Some(UserName::new("ann")), ..Subject::default() };
    let fact = PresenceChanged { status: "busy".into(), devices: 1, calls: 1 };
    daemon.spool.push(event(EVENTS + 1, fact.into(), subject));
    let entry = tokio::time::timeout(PATIENCE, watch.next()).await.unwrap().unwrap().unwrap();
    let value: serde_json::Value = serde_json::from_slice(&entry.value).unwrap();
    assert_eq!(value["status"], "busy");

    let call = CallSid(9);
    let question = format!("{{\"call\":\"{call}\"}}");
    let answer = client.request("postern.edge.command.hangup", question.into()).await.unwrap();
    let answer: serde_json::Value = serde_json::from_slice(&answer.payload).unwrap();
    assert_eq!((&answer["ok"], &answer["result"]["call"]), (&true.into(), &call.to_string().into()));
    let told = daemon.until(|input| matches!(input, DriverInput::LinkCommanded { .. })).await;
    assert!(matches!(told, DriverInput::LinkCommanded { command: "hangup", .. }));
    let answer = client.request("postern.edge.command.reboot", "".into()).await.unwrap();
    assert!(std::str::from_utf8(&answer.payload).unwrap().contains("unknown command"));
}

//! A switch, a store and a daemon that answer from memory, behind the real HTTP server.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use postern_api::{
    Admin, Answer, Asked, Context, EventFeed, EventHub, RecordQuery, RecordStore, RecordingQuery, RecordingStore,
    StoreError, SwitchHandle, Tenants,
};
use postern_events::{RingLimits, Way};
use postern_facts::{CallRecord, Event, Fact, RecordingRecord, Subject, Written};
use postern_router::rest::{RestError, UpdateCall, UpdateRecording};
use postern_switch::{Reply, Request, Status, TraceOf, TracedMessage, Tracing, request::BanStatus};
use postern_types::{AccountSid, CallSid, RecordingSid, Transport, UnixMicros, UserName, id::EventSid, leg::Party};
use serde_json::{Value, json};
use tokio::{
    net::TcpListener,
    sync::{mpsc, watch},
};

/// The tenant of the tests, and another.
pub const ACCOUNT: AccountSid = AccountSid(0xa1);
pub const OTHER: AccountSid = AccountSid(0xa2);
pub const TOKEN: &str = "token-of-one";

/// What the fakes remember.
#[derive(Default)]
pub struct World {
    pub live: Vec<CallRecord>,
    pub finished: Vec<CallRecord>,
    pub facts: BTreeMap<CallSid, Vec<Value>>,
    pub recordings: Vec<RecordingRecord>,
    /// The audio of all recordings.
    pub audio: Option<std::path::PathBuf>,
    pub reload_fails: bool,
    made: u64,
}

/// The fakes and how to reach them.
pub struct Fake {
    pub url: String,
    pub world: Arc<Mutex<World>>,
    pub feed: EventFeed,
    pub context: Context,
    pub stop: watch::Sender<bool>,
    events: std::sync::atomic::AtomicU64,
}

impl Fake {
    /// Serves on a free port.
    pub async fn start() -> Self {
        let world = Arc::new(Mutex::new(World::default()));
        let (switch, questions) = SwitchHandle::new(Arc::new(|| ()));
        tokio::spawn(answer(questions, world.clone()));
        let (hub, feed, pump) = EventHub::new(RingLimits::default(), 0);
        tokio::spawn(pump.run());
        let tenants = Tenants::default();
        tenants.replace(accounts());
        let shared = Arc::new(Shared(world.clone()));
        let context =
            Context { switch, hub, store: shared.clone(), recordings: shared.clone(), admin: shared, tenants };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (stop, stopped) = watch::channel(false);
        tokio::spawn(postern_api::serve_tcp(listener, context.clone(), stopped));
        Self { url, world, feed, context, stop, events: 0.into() }
    }

    pub fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap()
    }

    /// Tells an event of an account and a call.
    pub fn tell(&self, account: Option<AccountSid>, call: Option<CallSid>, fact: impl Into<Fact>) -> u64 {
        let seq = 1 + self.events.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        let subject = Subject { account, call, leg: call, ..Subject::default() };
        let event = Event { seq, id: EventSid(seq.into()), at: UnixMicros(seq), subject, fact: fact.into() };
        self.feed.push(Arc::new(Written::of(&event)));
        seq
    }

    /// The account's list of calls.
    pub fn calls_url(&self) -> String {
        format!("{}/2010-04-01/Accounts/{ACCOUNT}/Calls.json", self.url)
    }
}

fn accounts() -> postern_accounts::Accounts {
    let (config, _) = postern_config::load("test.yaml", CONFIG, &postern_config::SystemEnvironment)
        .unwrap_or_else(|mistakes| panic!("{}", mistakes.iter().map(|m| m.render()).collect::<String>()));
    postern_accounts::Accounts::new(&config)
}

/// A leg.
pub fn record(sid: u128, created_s: u64, status: &str) -> CallRecord {
    let created = UnixMicros(created_s * 1_000_000);
    let over = !matches!(status, "queued" | "ringing" | "in-progress");
    CallRecord {
        sid: CallSid(sid),
        parent: None,
        account: Some(ACCOUNT),
        direction: "outbound-api".into(),
        status: status.into(),
        from: "+15550001".into(),
        from_name: String::new(),
        to: "+15550002".into(),
        party: Party::User { user: UserName::new("alice") },
        created,
        updated: created,
        answered: matches!(status, "completed" | "in-progress").then_some(UnixMicros(created.0 + 2_000_000)),
        ended: over.then_some(UnixMicros(created.0 + 9_500_000)),
        ended_by: None,
        cause: None,
        media: None,
        quality: None,
        verstat: None,
    }
}

/// A recording of a leg.
pub fn recording(sid: u128, call: CallSid, status: &str) -> RecordingRecord {
    RecordingRecord {
        sid: RecordingSid(sid),
        account: Some(ACCOUNT),
        call,
        conference: None,
        created: UnixMicros(sid as u64 * 1_000_000),
        updated: UnixMicros(0),
        status: status.into(),
        channels: 1,
        source: "StartCallRecordingAPI".into(),
        track: "both".into(),
        duration_ms: 1500,
        bytes: 4,
        error: None,
    }
}

async fn answer(mut questions: mpsc::Receiver<Asked>, world: Arc<Mutex<World>>) {
    while let Some(Asked { request, answer }) = questions.recv().await {
        _ = answer.send(world.lock().unwrap().answer(request));
    }
}

impl World {
    fn answer(&mut self, request: Request) -> Reply {
        let mine = |record: &CallRecord, account: Option<AccountSid>| account.is_none() || record.account == account;
        match request {
            Request::Drain { .. } => Reply::Done,
            Request::Route(postern_router::TrialOf { dialed, .. }) => {
                Reply::Route(Box::new(postern_router::Trial { dialed, ..Default::default() }))
            }
            Request::CreateCall { call, .. } if call.to == "nobody" => {
                Reply::Refused(RestError { status: 400, code: 21211, message: "Parameter 'To': nobody".into() })
            }
            Request::CreateCall { account, call } => {
                self.made += 1;
                let mut made = record(0x1000 + u128::from(self.made), 1_700_000_000 + self.made, "queued");
                made.account = Some(account);
                (made.to, made.from) = (call.to, call.from);
                self.live.push(made.clone());
                Reply::Call(Box::new(made))
            }
            Request::UpdateCall { account, sid, update } => {
                let Some(at) = self.live.iter().position(|r| r.sid == sid && r.account == Some(account)) else {
                    return Reply::NotLive;
                };
                let status = match update {
                    _ if matches!(*update, UpdateCall::Redirect(_)) => {
                        return Reply::Call(Box::new(self.live[at].clone()));
                    }
                    _ if matches!(*update, UpdateCall::Complete) => "completed",
                    _ if self.live[at].status == "in-progress" => {
                        return Reply::Refused(RestError { status: 400, code: 21220, message: "answered".into() });
                    }
                    _ => "canceled",
                };
                let mut over = self.live.remove(at);
                over.status = status.into();
                over.ended = Some(UnixMicros(over.created.0 + 5_000_000));
                self.finished.push(over.clone());
                Reply::Call(Box::new(over))
            }
            // The real-peer tests have conferences and streams that are real.
            Request::Conference { .. } | Request::CreateStream { .. } | Request::StopStream { .. } => Reply::NotLive,
            Request::CreateRecording { account, call, wanted } => {
                if !self.live.iter().any(|r| r.sid == call && r.account == Some(account)) {
                    return Reply::NotLive;
                }
                let mut made = recording(0x2000 + self.recordings.len() as u128, call, "in-progress");
                made.channels = if wanted.dual { 2 } else { 1 };
                self.recordings.push(made.clone());
                Reply::Recording(Box::new(made))
            }
            Request::UpdateRecording { call, recording, update, .. } => {
                let live = |r: &&mut RecordingRecord| {
                    r.call == call && recording.is_none_or(|sid| r.sid == sid) && r.status != "completed"
                };
                let Some(found) = self.recordings.iter_mut().rev().find(live) else { return Reply::NotLive };
                found.status = match update {
                    UpdateRecording::Pause { .. } => "paused",
                    UpdateRecording::Resume => "in-progress",
                    UpdateRecording::Stop => "completed",
                }
                .into();
                Reply::Recording(Box::new(found.clone()))
            }
            Request::LiveCalls { account } => {
                Reply::Calls(self.live.iter().filter(|r| mine(r, account)).cloned().collect())
            }
            Request::FindCall { account, sid } => match self.live.iter().find(|r| r.sid == sid && mine(r, account)) {
                Some(found) => Reply::Call(Box::new(found.clone())),
                None => Reply::NotLive,
            },
            Request::Hangup { sid } => match self.live.iter().any(|r| r.sid == sid) {
                true => {
                    self.live.retain(|r| r.sid != sid && r.parent != Some(sid));
                    Reply::Done
                }
                false => Reply::NotLive,
            },
            Request::Bans => Reply::Bans(vec![BanStatus {
                source: "2001:db8::/64".into(),
                left_s: 599,
                times: 2,
                why: "wrong passwords".into(),
                ..BanStatus::default()
            }]),
            Request::Messages { user, set } => match user.as_str() {
                "alice" => Reply::Messages(set.map(|(waiting, _)| waiting).unwrap_or_default()),
                _ => Reply::NotLive,
            },
            Request::LiftBan { source, .. } if source.is_ipv6() => Reply::Done,
            Request::LiftBan { .. } => Reply::NotLive,
            Request::Trace(of) => Reply::Trace(Box::new(match of {
                TraceOf::Call(call) if call == CallSid(7) => traced(call),
                TraceOf::Call(_) => Tracing { is_on: true, ..Tracing::default() },
                TraceOf::Since(_) => Tracing { is_on: true, last: 9, ..Tracing::default() },
            })),
            Request::Status => Reply::Status(Box::new(Status {
                name: "edge1".into(),
                version: "0.1.0".into(),
                calls: self.live.len() as u64,
                ..Status::default()
            })),
        }
    }
}

/// A message with a secret in it, and one that is no text.
fn traced(call: CallSid) -> Tracing {
    let message = |seq: u64, bytes: &[u8]| TracedMessage {
        seq,
        at: UnixMicros(seq),
        call: Some(call),
        leg: Some(call),
        way: Way::In,
        transport: Transport::Udp,
        local: "127.0.0.1:5060".parse().unwrap(),
        remote: "127.0.0.2:5060".parse().unwrap(),
        bytes: bytes.to_vec(),
    };
    let invite = b"INVITE sip:b SIP/2.0\r\nAuthorization: Digest response=\"5ec7e7\"\r\n\r\n";
    let messages = vec![message(1, invite), message(2, b"INFO sip:b SIP/2.0\r\n\r\n\xff")];
    Tracing { is_on: true, messages, last: 2, ..Tracing::default() }
}

struct Shared(Arc<Mutex<World>>);

impl RecordStore for Shared {
    fn find(&self, sid: CallSid) -> Answer<'_, Result<Option<CallRecord>, StoreError>> {
        let found = self.0.lock().unwrap().finished.iter().find(|r| r.sid == sid).cloned();
        Box::pin(async move { Ok(found) })
    }
    fn list(&self, query: RecordQuery) -> Answer<'_, Result<Vec<CallRecord>, StoreError>> {
        let found = query.select(self.0.lock().unwrap().finished.iter().cloned());
        Box::pin(async move { Ok(found) })
    }
    fn facts(&self, call: CallSid) -> Answer<'_, Result<Vec<Value>, StoreError>> {
        let facts = self.0.lock().unwrap().facts.get(&call).cloned().unwrap_or_default();
        Box::pin(async move { Ok(facts) })
    }
    fn delete(&self, sid: CallSid) -> Answer<'_, Result<bool, StoreError>> {
        let mut world = self.0.lock().unwrap();
        let before = world.finished.len();
        world.finished.retain(|r| r.sid != sid);
        let gone = world.finished.len() < before;
        Box::pin(async move { Ok(gone) })
    }
}

impl RecordingStore for Shared {
    fn find(&self, sid: RecordingSid) -> Answer<'_, Result<Option<RecordingRecord>, StoreError>> {
        let found = self.0.lock().unwrap().recordings.iter().find(|r| r.sid == sid).cloned();
        Box::pin(async move { Ok(found) })
    }
    fn list(&self, query: RecordingQuery) -> Answer<'_, Result<Vec<RecordingRecord>, StoreError>> {
        let found = query.select(self.0.lock().unwrap().recordings.iter().cloned());
        Box::pin(async move { Ok(found) })
    }
    fn delete(&self, sid: RecordingSid) -> Answer<'_, Result<bool, StoreError>> {
        self.0.lock().unwrap().recordings.retain(|r| r.sid != sid);
        Box::pin(async move { Ok(true) })
    }
    fn open(&self, _sid: RecordingSid) -> Answer<'_, std::io::Result<std::fs::File>> {
        let path = self.0.lock().unwrap().audio.clone().unwrap_or_default();
        Box::pin(async move { std::fs::File::open(path) })
    }
}

impl Admin for Shared {
    fn complete(&self, status: &mut Status) {
        status.delivery.link = "none".into();
    }
    fn reload(&self, by: &str) -> Answer<'_, Result<Value, Vec<Value>>> {
        let outcome = match self.0.lock().unwrap().reload_fails {
            false => Ok(json!({ "file": "postern.yaml", "by": by })),
            true => Err(vec![json!({ "file": "postern.yaml", "line": 3, "column": 5, "message": "unknown key" })]),
        };
        Box::pin(async move { outcome })
    }
    fn try_out(&self, place: &str, lasts: Duration) -> Answer<'_, Result<Value, Vec<Value>>> {
        let told = json!({ "file": place, "seconds": lasts.as_secs() });
        Box::pin(async move { Ok(told) })
    }
    fn confirm(&self) -> Answer<'_, Result<Value, String>> {
        Box::pin(async move { Err("no configuration is on trial".into()) })
    }
}

const CONFIG: &str = "
appliance:
  name: edge1
realms:
  inside:
    signaling: 127.0.0.1:5060
    media: {ports: 20000-20099}
accounts:
  one:
    sid: AC000000000000000000000000000000a1
    token: token-of-one
  two:
    sid: AC000000000000000000000000000000a2
    token: token-of-two
";

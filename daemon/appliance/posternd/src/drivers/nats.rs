//! The connection to the control plane: one NATS client per session, the state machine of `service/link` on top.
//!
//! A session is: connect, see that stream and bucket are there, subscribe to commands, publish from the spool's cursor on.
//! Whatever goes wrong ends the session; the next begins after a wait that grows. The client's own reconnecting is not
//! used: what it would hold back and send later is in the spool anyway, and one place decides. Nothing here is waited
//! for by the switch.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use async_nats::{
    Client, ConnectOptions, Event, Message, ServerAddr, Subscriber,
    jetstream::{self, context::PublishError, kv, message::PublishMessage, stream},
};
use futures_util::{StreamExt, TryStreamExt};
use postern_api::{Answer, SwitchHandle};
use postern_config::ControlPlane;
use postern_events::Filter;
use postern_facts::Written;
use postern_link::{
    Backoff, Board, Change, Command, Output, Publisher, PublisherLimits, STREAM_SUBJECTS, Subjects, cloud_event, done,
    refused,
};
use postern_switch::{Reply, Request};
use rand::{SeedableRng, rngs::StdRng};
use serde_json::Value;
use tokio::{
    sync::{Notify, mpsc},
    task::{AbortHandle, JoinSet},
};

use super::{DriverInput, Report, spool::Spool};

/// To connect, and for each question of the set-up.
const SETUP_WITHIN: Duration = Duration::from_secs(5);

/// The switch answers a command within a turn or two; a caller of NATS waits some seconds.
const ANSWER_WITHIN: Duration = Duration::from_secs(4);

/// Commands that are being answered at once; further ones are refused.
const COMMANDS_MAX: usize = 64;

/// Events read ahead of the window: about a segment, so that no segment is read twice.
const AHEAD_MAX: usize = 16_384;

/// Keys of the presence bucket that are looked at for those of an earlier life.
const KEYS_MAX: usize = 100_000;

/// How long the stream recognises a repeat: longer than an appliance takes to come back after a crash.
const DUPLICATE_WINDOW: Duration = Duration::from_secs(2 * 3600);

/// How long a stream that we make keeps events; who wants more makes the stream.
const STREAM_AGE: Duration = Duration::from_secs(30 * 24 * 3600);

/// The link's handle; dropping it does not end the link, [`Link::stop`] does.
#[derive(Clone)]
pub struct Link {
    shared: Arc<Shared>,
    task: AbortHandle,
}

struct Shared {
    board: Mutex<Board>,
    subjects: Subjects,
    presence_changed: Notify,
    is_up: AtomicBool,
    published: AtomicU64,
}

/// Carries out a command: the result, or why not.
pub type Orders = Arc<dyn Fn(Command) -> Answer<'static, Result<Value, String>> + Send + Sync>;

/// Starts the link with a switch that carries out its commands.
pub fn start(config: &ControlPlane, appliance: &str, spool: Spool, switch: SwitchHandle, report: Report) -> Link {
    let orders: Orders = Arc::new(move |command| {
        let switch = switch.clone();
        Box::pin(async move {
            let request = match command {
                Command::Hangup { call } => Request::Hangup { sid: call },
                Command::Status => Request::Status,
            };
            match switch.ask(request).await {
                Ok(Reply::Done) => Ok(Value::Null),
                Ok(Reply::Status(status)) => serde_json::to_value(status).map_err(|error| error.to_string()),
                Ok(Reply::NotLive) => Err("no such live call".into()),
                Ok(Reply::Refused(error)) => Err(error.message),
                Ok(_) => Err("the switch gave another answer".into()),
                Err(_) => Err("the switch is busy".into()),
            }
        })
    });
    Link::start(config.clone(), appliance, spool, orders, report)
}

impl Link {
    /// Starts the link on the current runtime. It tries for ever.
    pub fn start(config: ControlPlane, appliance: &str, spool: Spool, orders: Orders, report: Report) -> Self {
        let shared = Arc::new(Shared {
            board: Mutex::default(),
            subjects: Subjects::new(appliance),
            presence_changed: Notify::new(),
            is_up: AtomicBool::new(false),
            published: AtomicU64::new(0),
        });
        let publisher = Publisher::new(PublisherLimits::default(), spool.acknowledged());
        let rng = StdRng::try_from_rng(&mut rand::rngs::SysRng).unwrap_or_else(|_| StdRng::seed_from_u64(0));
        let watching = tokio::spawn(watch_presence(spool.clone(), shared.clone()));
        let runner = Runner {
            config,
            spool,
            orders,
            report,
            shared: shared.clone(),
            publisher,
            ahead: VecDeque::new(),
            rng,
            _watching: AbortOnDrop(watching.abort_handle()),
        };
        let task = tokio::spawn(runner.run()).abort_handle();
        Self { shared, task }
    }

    /// Whether the session stands.
    pub fn is_up(&self) -> bool {
        self.shared.is_up.load(Ordering::Relaxed)
    }

    /// Events acknowledged since the start.
    pub fn published(&self) -> u64 {
        self.shared.published.load(Ordering::Relaxed)
    }

    /// Ends the link at once; what is not acknowledged stays in the spool.
    pub fn stop(&self) {
        self.task.abort();
        self.shared.is_up.store(false, Ordering::Relaxed);
    }
}

impl Shared {
    fn board(&self) -> MutexGuard<'_, Board> {
        self.board.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why a session ended or did not begin, in words without credentials.
type Ended = String;

struct Runner {
    config: ControlPlane,
    spool: Spool,
    orders: Orders,
    report: Report,
    shared: Arc<Shared>,
    publisher: Publisher,
    ahead: VecDeque<Arc<Written>>,
    rng: StdRng,
    _watching: AbortOnDrop,
}

struct AbortOnDrop(AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Presence is told as it is now, not as it was when the spool's turn comes: so it is noted apart from the publishing.
async fn watch_presence(spool: Spool, shared: Arc<Shared>) {
    let mut filter = Filter::default();
    filter.set("type", "presence.changed").expect("a type of the catalog");
    let mut kept = spool.kept();
    let mut seen = *kept.borrow_and_update();
    while kept.changed().await.is_ok() {
        let batch = spool.recent(seen, &filter);
        seen = batch.next;
        if !batch.events.is_empty() {
            let mut board = shared.board();
            batch.events.iter().for_each(|event| board.record(&shared.subjects, event));
            shared.presence_changed.notify_one();
        }
    }
}

struct Session {
    client: Client,
    jetstream: jetstream::Context,
    bucket: kv::Store,
    commands: Subscriber,
    events: mpsc::Receiver<Event>,
}

impl Runner {
    async fn run(mut self) {
        let server = server_name(&self.config.url);
        let mut backoff = Backoff::default();
        let mut was_told_down = false;
        loop {
            let why = match self.open().await {
                Ok(mut session) => {
                    let published = self.publisher.published();
                    was_told_down = false;
                    self.shared.is_up.store(true, Ordering::Relaxed);
                    (self.report)(DriverInput::LinkUp { server: server.clone(), waiting: self.spool.waiting() });
                    self.publisher.handle_connected();
                    let why = self.serve(&mut session).await;
                    self.publisher.handle_disconnected();
                    self.shared.is_up.store(false, Ordering::Relaxed);
                    if self.publisher.published() > published {
                        backoff = Backoff::default();
                    }
                    why
                }
                Err(why) => why,
            };
            if !was_told_down {
                was_told_down = true;
                (self.report)(DriverInput::LinkDown { server: server.clone(), why });
            }
            tokio::time::sleep(backoff.next(&mut self.rng)).await;
        }
    }

    async fn open(&self) -> Result<Session, Ended> {
        let (event_sender, events) = mpsc::channel(64);
        let mut options = ConnectOptions::new()
            .name(format!("postern/{}", self.shared.subjects.appliance()))
            .connection_timeout(SETUP_WITHIN)
            .request_timeout(Some(SETUP_WITHIN))
            .ping_interval(Duration::from_secs(10))
            .max_reconnects(1)
            .event_callback(move |event| {
                // A full queue holds an end already.
                let _ = event_sender.try_send(event);
                std::future::ready(())
            });
        if let Some(token) = &self.config.token {
            options = match token.expose().split_once(':') {
                Some((user, password)) => options.user_and_password(user.into(), password.into()),
                None => options.token(token.expose().clone()),
            };
        }
        if let Some(file) = &self.config.credentials_file {
            let loaded = options.credentials_file(file).await;
            options = loaded.map_err(|error| format!("credentials file {}: {error}", file.display()))?;
        }
        if let Some(file) = &self.config.ca_file {
            options = options.add_root_certificates(file.clone());
        }
        if self.config.url.starts_with("tls://") {
            options = options.require_tls(true);
        }
        let connecting = options.connect(&self.config.url);
        let client = within(connecting).await?;
        let jetstream = jetstream::new(client.clone());
        self.ensure_stream(&jetstream).await?;
        let bucket = self.ensure_bucket(&jetstream).await?;
        let commands = client.subscribe(self.shared.subjects.commands()).await.map_err(|error| error.to_string())?;
        let listing = async {
            let keys = bucket.keys().await.map_err(async_nats::Error::from)?;
            keys.take(KEYS_MAX).try_collect::<Vec<String>>().await.map_err(async_nats::Error::from)
        };
        let keys = within(listing).await.map_err(|error| format!("presence bucket: {error}"))?;
        self.shared.board().handle_connected(&self.shared.subjects, keys);
        Ok(Session { client, jetstream, bucket, commands, events })
    }

    async fn ensure_stream(&self, jetstream: &jetstream::Context) -> Result<(), Ended> {
        let wanted = stream::Config {
            name: self.config.stream.clone(),
            subjects: vec![STREAM_SUBJECTS.into()],
            max_age: STREAM_AGE,
            duplicate_window: DUPLICATE_WINDOW,
            ..stream::Config::default()
        };
        let made = within(jetstream.get_or_create_stream(wanted)).await;
        made.map(|_| ()).map_err(|error| format!("stream {}: {error}", self.config.stream))
    }

    async fn ensure_bucket(&self, jetstream: &jetstream::Context) -> Result<kv::Store, Ended> {
        let bucket = &self.config.presence_bucket;
        if let Ok(store) = within(jetstream.get_key_value(bucket.clone())).await {
            return Ok(store);
        }
        let wanted = kv::Config { bucket: bucket.clone(), history: 1, ..kv::Config::default() };
        within(jetstream.create_key_value(wanted)).await.map_err(|error| format!("bucket {bucket}: {error}"))
    }

    async fn serve(&mut self, session: &mut Session) -> Ended {
        let mut kept = self.spool.kept();
        let mut acks: JoinSet<(u64, Result<(), PublishError>)> = JoinSet::new();
        let mut answers: JoinSet<()> = JoinSet::new();
        let mut saying: JoinSet<Result<(), (Change, String)>> = JoinSet::new();
        let shared = self.shared.clone();
        loop {
            kept.mark_unchanged();
            if let Err(why) = self.fill().await {
                return why;
            }
            if let Err(why) = self.publish(session, &mut acks).await {
                return why;
            }
            if saying.is_empty()
                && let Some(change) = shared.board().next_change()
            {
                saying.spawn(say(session.bucket.clone(), change));
            }
            let deadline = self.publisher.next_deadline();
            let wait = async {
                match deadline {
                    Some(at) => tokio::time::sleep_until(at.into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                Some(acked) = acks.join_next() => match acked {
                    Ok((seq, Ok(()))) => {
                        self.publisher.handle_ack(Instant::now(), seq);
                        self.shared.published.store(self.publisher.published(), Ordering::Relaxed);
                    }
                    Ok((_, Err(error))) => return format!("the stream does not take events: {error}"),
                    Err(error) => return error.to_string(),
                },
                Some(said) = saying.join_next() => if let Ok(Err((change, why))) = said {
                    shared.board().handle_failed(change);
                    return format!("presence bucket: {why}");
                },
                Some(()) = async { answers.join_next().await.map(|_| ()) } => {}
                event = session.events.recv() => match event {
                    Some(Event::Disconnected) | None => return "the connection broke".into(),
                    Some(Event::Closed) => return "the connection was closed".into(),
                    Some(Event::LameDuckMode) => return "the server is shutting down".into(),
                    Some(Event::ServerError(error)) => return error.to_string(),
                    Some(_) => {}
                },
                message = session.commands.next() => match message {
                    Some(message) => self.command(session, message, &mut answers),
                    None => return "the connection was closed".into(),
                },
                changed = kept.changed() => if changed.is_err() {
                    return "the spool has ended".into();
                },
                () = shared.presence_changed.notified() => {}
                () = wait => self.publisher.handle_timeout(Instant::now(), &mut self.rng),
            }
        }
    }

    /// Keeps the window full while the spool has more.
    async fn fill(&mut self) -> Result<(), Ended> {
        while let Some(after) = self.publisher.next_wanted() {
            match self.ahead.pop_front() {
                Some(event) => self.publisher.offer(event),
                None => {
                    let more = self.spool.after(after, AHEAD_MAX).await.map_err(|error| error.to_string())?;
                    if more.is_empty() {
                        break;
                    }
                    self.ahead.extend(more);
                }
            }
        }
        Ok(())
    }

    async fn publish(
        &mut self,
        session: &Session,
        acks: &mut JoinSet<(u64, Result<(), PublishError>)>,
    ) -> Result<(), Ended> {
        while let Some(output) = self.publisher.poll_output(Instant::now()) {
            match output {
                Output::Acknowledged(seq) => self.spool.acknowledge(seq),
                Output::Publish(event) => {
                    let subjects = &self.shared.subjects;
                    let message = PublishMessage::build()
                        .message_id(event.id.to_string())
                        .header("Content-Type", "application/cloudevents+json")
                        .payload(cloud_event(subjects.appliance(), &event).into());
                    let sending = session.jetstream.send_publish(subjects.event(&event.name), message).await;
                    let ack = sending.map_err(|error| error.to_string())?;
                    acks.spawn(async move { (event.seq, ack.await.map(|_| ())) });
                }
            }
        }
        Ok(())
    }

    fn command(&self, session: &Session, message: Message, answers: &mut JoinSet<()>) {
        let word = self.shared.subjects.command_of(&message.subject).unwrap_or_default();
        let order = match Command::parse(word, &message.payload) {
            // Not even a refusal: each would be a task again.
            Ok(_) if answers.len() >= COMMANDS_MAX => return,
            Ok(command) => Ok((command.name(), (self.orders)(command))),
            Err(error) => Err(error.to_string()),
        };
        let (client, report) = (session.client.clone(), self.report.clone());
        answers.spawn(async move {
            let result = match order {
                Ok((command, order)) => {
                    let result = tokio::time::timeout(ANSWER_WITHIN, order).await;
                    let result = result.unwrap_or_else(|_| Err("the appliance did not answer".into()));
                    let outcome = result.as_ref().map_or_else(Clone::clone, |_| "done".into());
                    report(DriverInput::LinkCommanded { command, outcome });
                    result
                }
                Err(why) => Err(why),
            };
            if let Some(subject) = message.reply {
                let answer = result.map_or_else(|why| refused(&why), done);
                // A caller that is gone needs no answer.
                let _ = client.publish(subject, answer.into()).await;
            }
        });
    }
}

async fn say(bucket: kv::Store, change: Change) -> Result<(), (Change, String)> {
    let result = match &change {
        Change::Put { key, value } => within(bucket.put(key, value.clone().into())).await.map(|_| ()),
        Change::Delete { key } => within(bucket.delete(key)).await,
    };
    result.map_err(|why| (change, why))
}

/// The result within the time of a set-up step, its error in words.
async fn within<T, E>(step: impl Future<Output = Result<T, E>>) -> Result<T, Ended>
where
    E: Into<async_nats::Error>,
{
    match tokio::time::timeout(SETUP_WITHIN, step).await {
        Ok(result) => result.map_err(|error| error.into().to_string()),
        Err(_) => Err(format!("no answer within {} s", SETUP_WITHIN.as_secs())),
    }
}

/// Scheme, host and port: a URL may carry credentials.
fn server_name(url: &str) -> String {
    match url.parse::<ServerAddr>() {
        Ok(server) => format!("{}://{}:{}", server.scheme(), server.host(), server.port()),
        Err(_) => "the configured server".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_named_without_credentials() {
        assert_eq!(server_name("nats://ann:secret@127.0.0.1:4222"), "nats://127.0.0.1:4222");
        assert_eq!(server_name("tls://nats.example.net"), "tls://nats.example.net:4222");
    }
}

//! One turn of the house: an input to the rooms, their outputs to the drivers.
//!
//! Pure: no socket, no clock, no thread. The daemon's switch thread and the simulated world drive the same [`Switch`].
//! It decides nothing: it carries what one room says to the room that it is for, gives facts their numbers, and
//! answers questions by asking the room that knows.
//!
//! ```text
//! handle_input(now, Input) ─┐
//! handle_timeout(now) ──────┴─► signaling ◄─► router ─► outputs: datagrams, media, HTTP, events, records, replies
//! ```

#![forbid(unsafe_code)]

mod bans;
mod certificates;
mod hep;
pub mod request;
mod status;
mod tracing;

use std::{collections::VecDeque, net::SocketAddr, sync::Arc, time::Instant};

use postern_config::Config;
use postern_events::Sequencer;
use postern_facts::{
    ApplianceDraining, ApplianceStopping, CallRecord, ConfigApplied, Event, Fact, Happened, RecordingRecord, Subject,
};
use postern_locate::{Answer, Question};
use postern_router::{HttpFailure, HttpRequest, HttpResponse, PromptKey, PromptSource, Router};
use postern_signaling::{ConnectionCommand, ConnectionEvent, Load, Signaling};
use postern_types::{
    Cause, ConnectionId, EndedBy, Now, RequestId,
    device::{Device, DeviceChange},
    fork::{ForkCommand, ForkEvent},
    mailbox::Mailbox,
    media::{MediaCommand, MediaEvent, Prompt},
    recording::{RecorderCommand, RecorderEvent},
    stream::Libraries,
};
use rand::{SeedableRng, rngs::StdRng};

pub use request::{Reply, Request, Status, TraceOf, TracedMessage, Tracing};

/// Names a [`Request`], so that its [`Reply`] finds the asker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Token(pub u64);

/// What can come in.
#[derive(Debug)]
pub enum Input<'a> {
    /// A SIP datagram.
    Datagram {
        /// Our address that it came to.
        local: SocketAddr,
        /// Where it came from.
        source: SocketAddr,
        /// Its bytes.
        bytes: &'a [u8],
    },
    /// What became of a SIP connection.
    Connection(ConnectionId, ConnectionEvent<'a>),
    /// The media plane tells.
    Media(MediaEvent),
    /// An application server answered, or did not.
    Http(RequestId, Result<HttpResponse, HttpFailure>),
    /// Audio was loaded, or not.
    Prompt(PromptKey, Result<Arc<Prompt>, String>),
    /// The recorder tells.
    Recorder(RecorderEvent),
    /// The driver of forks tells.
    Fork(ForkEvent),
    /// What DNS says to a question.
    Answered(Question, Answer),
    /// What was fetched for an [`Output::Certificate`]: PEM, or why there is none.
    Certificate(Box<str>, Result<Vec<u8>, String>),
    /// Devices that registered before a restart, before anything else comes in.
    Restore(Vec<Device>),
    /// Messages that waited before a restart.
    Mailboxes(Vec<Mailbox>),
    /// Somebody asks.
    Request(Token, Request),
    /// A checked configuration is to be applied.
    Configure {
        /// It.
        config: Arc<Config>,
        /// The file, for the fact.
        file: String,
        /// Who asked, for the fact.
        by: String,
    },
    /// A driver tells a fact of its own (link, store, spool).
    Happened(Happened),
    /// Every call is to be ended: the daemon stops.
    Stop {
        /// Why, for the fact.
        why: String,
    },
}

/// What goes out.
#[derive(Debug)]
pub enum Output {
    /// A SIP datagram.
    Send {
        /// Our address that it must leave from.
        local: SocketAddr,
        /// Where to.
        destination: SocketAddr,
        /// Its bytes.
        bytes: Arc<[u8]>,
    },
    /// A SIP message for the collector of `hep`, as it says: from any address of ours, and nobody waits for it.
    Copy {
        /// Where to.
        destination: SocketAddr,
        /// The datagram.
        bytes: Vec<u8>,
    },
    /// For the driver of a SIP connection.
    Connection(ConnectionId, ConnectionCommand),
    /// For the media plane.
    Media(MediaCommand),
    /// For the HTTP driver; answered by [`Input::Http`].
    Http(Box<HttpRequest>),
    /// For the files or HTTP driver; answered by [`Input::Prompt`].
    LoadPrompt(PromptKey, PromptSource),
    /// For the recorder; answered by [`Input::Recorder`].
    Recorder(RecorderCommand),
    /// For the driver of forks; answered by [`Input::Fork`].
    Fork(ForkCommand),
    /// A recording as it is now, for the store.
    Recording(Box<RecordingRecord>),
    /// What became of a registered device, to be given back by [`Input::Restore`].
    Device(DeviceChange),
    /// How many messages wait for a user, to be given back by [`Input::Mailboxes`].
    Mailbox(Mailbox),
    /// A question for DNS; answered by [`Input::Answered`].
    Ask(Question),
    /// Fetch the certificate of somebody who signs calls, from an address that a caller chose; answered by [`Input::Certificate`].
    Certificate(Box<str>),
    /// A fact, numbered: for journal, hub, spool and link.
    Event(Arc<Event>),
    /// A finished leg, for the store.
    Record(Box<CallRecord>),
    /// The answer to a [`Request`].
    Reply(Token, Reply),
}

/// The switch: signaling, router and the numbering of events, wired.
pub struct Switch {
    signaling: Signaling,
    router: Router,
    sequencer: Sequencer,
    rng: StdRng,
    config: Arc<Config>,
    certificates: certificates::Watch,
    tracer: tracing::Tracer,
    started: Now,
    outputs: VecDeque<Output>,
}

impl Switch {
    /// Wires the rooms. `last_seq` is the number of the last event that was spooled before; `seed` must be unpredictable outside of tests.
    pub fn new(config: Arc<Config>, seed: [u8; 32], last_seq: u64, now: Now) -> Self {
        let mut rng = StdRng::from_seed(seed);
        Self {
            signaling: Signaling::new(config.clone(), StdRng::from_rng(&mut rng), now.instant),
            router: Router::new(config.clone(), StdRng::from_rng(&mut rng), now),
            sequencer: Sequencer::resume(last_seq),
            rng,
            certificates: certificates::Watch::new(&config, now),
            tracer: tracing::Tracer::new(&config),
            config,
            started: now,
            outputs: VecDeque::new(),
        }
    }

    /// What this machine's media plane converts besides its own codecs; said once, before the first input.
    pub fn set_libraries(&mut self, libraries: Libraries) {
        self.router.set_libraries(libraries);
    }

    /// Applies one input.
    pub fn handle_input(&mut self, now: Now, input: Input<'_>) {
        match input {
            Input::Datagram { local, source, bytes } => {
                self.tracer.came_by_datagram(now.wall, local, source, bytes);
                self.signaling.handle_datagram(now, local, source, bytes);
            }
            Input::Connection(id, event) => {
                self.tracer.came(now.wall, id, &event);
                self.signaling.handle_connection(now, id, event);
            }
            Input::Media(event) => self.router.handle_media(now, event),
            Input::Http(id, result) => self.router.handle_http(now, id, result),
            Input::Prompt(key, result) => self.router.handle_prompt(now, key, result),
            Input::Recorder(event) => self.router.handle_recorder(now, event),
            Input::Fork(event) => self.router.handle_fork(now, event),
            Input::Answered(question, answer) => self.signaling.handle_answer(now, &question, answer),
            Input::Certificate(url, fetched) => self.signaling.handle_certificate(now, &url, fetched),
            Input::Restore(devices) => self.signaling.restore(now, devices),
            Input::Mailboxes(mailboxes) => self.signaling.restore_mailboxes(mailboxes),
            Input::Request(token, request) => {
                let reply = self.answer(now, request);
                self.outputs.push_back(Output::Reply(token, reply));
            }
            Input::Configure { config, file, by } => {
                self.signaling.reconfigure(now.instant, config.clone());
                self.router.reconfigure(now, config.clone());
                self.certificates = certificates::Watch::new(&config, now);
                self.tracer.reconfigure(&config);
                self.config = config;
                self.tell(now, Happened { subject: Subject::default(), fact: ConfigApplied { file, by }.into() });
            }
            Input::Happened(happened) => self.tell(now, happened),
            Input::Stop { why } => {
                let legs = self.router.counters().legs;
                self.tell(now, Happened { subject: Subject::default(), fact: ApplianceStopping { why, legs }.into() });
                self.router.end_all(now, Cause::new(503, "the appliance stops"));
                self.signaling.leave(now);
            }
        }
        self.drain(now);
    }

    /// Lets time pass: call when [`Switch::next_deadline`] is reached.
    pub fn handle_timeout(&mut self, now: Now) {
        self.signaling.handle_timeout(now);
        self.router.handle_timeout(now);
        while let Some(fact) = self.certificates.due(now) {
            self.tell(now, Happened { subject: Subject::default(), fact: fact.into() });
        }
        self.drain(now);
    }

    /// Takes a report of how busy the thread is that calls this: about every tenth of a second.
    pub fn handle_load(&mut self, now: Now, load: Load) {
        self.signaling.handle_load(now, load);
        self.drain(now);
    }

    /// The next thing to carry out, until none is left.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When [`Switch::handle_timeout`] wants to be called, if at all.
    pub fn next_deadline(&self) -> Option<Instant> {
        let ours = [self.signaling.next_deadline(), self.router.next_deadline(), self.certificates.next_deadline()];
        ours.into_iter().flatten().min()
    }

    /// Whether no call is alive, its end was told, and no trunk has to answer that we leave: a daemon that stops need not wait longer.
    pub fn is_idle(&self) -> bool {
        // A call outlives its legs until the last figures of their audio came.
        let router = self.router.counters();
        router.calls == 0 && router.legs == 0 && self.signaling.counters().legs == 0 && !self.signaling.is_leaving()
    }

    /// How many things the rooms remember for the sake of calls: what grows here while no call lives is a leak.
    pub fn remembered(&self) -> usize {
        self.signaling.remembered() + self.router.remembered()
    }

    /// The number of the last event.
    pub fn last_seq(&self) -> u64 {
        self.sequencer.last()
    }

    /// The configuration in force.
    pub fn config(&self) -> &Arc<Config> {
        &self.config
    }

    /// Carries outputs between the rooms until both are silent. Ends: every pass consumes what the rooms said, and rooms
    /// speak only when spoken to.
    fn drain(&mut self, now: Now) {
        loop {
            let mut silent = true;
            while let Some(output) = self.signaling.poll_output() {
                silent = false;
                self.carry_signaling(now, output);
            }
            while let Some(output) = self.router.poll_output() {
                silent = false;
                self.carry_router(now, output);
            }
            if silent {
                break;
            }
        }
        while let Some((destination, bytes)) = self.tracer.copy() {
            self.outputs.push_back(Output::Copy { destination, bytes });
        }
    }

    fn carry_signaling(&mut self, now: Now, output: postern_signaling::Output) {
        use postern_signaling::Output as From;
        match output {
            From::Send { local, destination, bytes } => {
                self.tracer.goes_by_datagram(now.wall, local, destination, &bytes);
                self.outputs.push_back(Output::Send { local, destination, bytes });
            }
            From::Connection(id, command) => {
                self.tracer.goes(now.wall, id, &command);
                self.outputs.push_back(Output::Connection(id, command));
            }
            From::Framed { connection, bytes } => self.tracer.framed(now.wall, connection, &bytes),
            From::Dialed { leg, sip_call_id } => {
                if let Some(call) = self.router.call_of(leg) {
                    self.tracer.claim(call, leg, &sip_call_id);
                }
            }
            From::Leg(event) => self.router.handle_leg(now, event),
            From::Text(event) => self.router.handle_text(now, event),
            From::Devices { user, devices } => self.router.handle_devices(now, user, devices),
            From::Device(change) => self.outputs.push_back(Output::Device(change)),
            From::Mailbox(mailbox) => self.outputs.push_back(Output::Mailbox(mailbox)),
            From::Watch { user, on } => self.router.handle_watch(&user, on),
            From::Trunk { trunk, up } => self.router.handle_trunk(now, trunk, up),
            From::Fetch { url } => self.outputs.push_back(Output::Certificate(url)),
            From::Ask(question) => self.outputs.push_back(Output::Ask(question)),
            From::Fact(happened) => self.tell(now, happened),
        }
    }

    fn carry_router(&mut self, now: Now, output: postern_router::Output) {
        use postern_router::Output as From;
        match output {
            From::Leg(command) => self.signaling.handle_command(now, command),
            From::Text(command) => self.signaling.handle_text(now, command),
            From::User(state) => self.signaling.handle_user(now, state),
            From::Media(command) => self.outputs.push_back(Output::Media(command)),
            From::Http(request) => self.outputs.push_back(Output::Http(request)),
            From::LoadPrompt { key, source } => self.outputs.push_back(Output::LoadPrompt(key, source)),
            From::Recorder(command) => self.outputs.push_back(Output::Recorder(command)),
            From::Fork(command) => self.outputs.push_back(Output::Fork(command)),
            From::Recording(record) => self.outputs.push_back(Output::Recording(record)),
            From::Fact(happened) => self.tell(now, happened),
            From::Ended(record) => self.outputs.push_back(Output::Record(record)),
        }
    }

    fn tell(&mut self, now: Now, happened: Happened) {
        let event = self.sequencer.number(now.wall, &mut self.rng, happened);
        if let (Fact::CallOffered(offered), Some(call)) = (&event.fact, event.subject.call) {
            self.tracer.claim(call, call, &offered.sip_call_id);
        }
        self.outputs.push_back(Output::Event(event));
    }

    fn answer(&mut self, now: Now, request: Request) -> Reply {
        match request {
            Request::CreateCall { account, call } => match self.router.create_call(now, account, *call) {
                Ok(record) => Reply::Call(Box::new(record)),
                Err(refused) => Reply::Refused(refused),
            },
            Request::UpdateCall { account, sid, update } => match self.router.update_call(now, account, sid, *update) {
                Ok(Some(record)) => Reply::Call(Box::new(record)),
                Ok(None) => Reply::NotLive,
                Err(refused) => Reply::Refused(refused),
            },
            Request::CreateRecording { account, call, wanted } => {
                recording(self.router.create_recording(now, account, call, *wanted))
            }
            Request::UpdateRecording { account, call, recording: sid, update } => {
                recording(self.router.update_recording(now, account, call, sid, update))
            }
            Request::CreateStream { account, call, wanted } => {
                match self.router.create_stream(now, account, call, *wanted) {
                    Ok(Some(record)) => Reply::Stream(record),
                    Ok(None) => Reply::NotLive,
                    Err(refused) => Reply::Refused(refused),
                }
            }
            Request::StopStream { account, call, stream } => {
                self.router.stop_stream(now, account, call, &stream).map_or(Reply::NotLive, Reply::Stream)
            }
            Request::Conference { account, order } => match self.router.conference(now, account, *order) {
                Ok(Some(answer)) => Reply::Conference(Box::new(answer)),
                Ok(None) => Reply::NotLive,
                Err(refused) => Reply::Refused(refused),
            },
            Request::FindCall { account, sid } => match self.router.record(sid) {
                Some(record) if account.is_none() || record.account == account => Reply::Call(Box::new(record)),
                _ => Reply::NotLive,
            },
            Request::LiveCalls { account } => Reply::Calls(self.router.records(account).collect()),
            Request::Hangup { sid } => {
                if self.router.hangup(now, sid, EndedBy::Operator) {
                    Reply::Done
                } else {
                    Reply::NotLive
                }
            }
            Request::Drain { on } => {
                if self.router.is_draining() != on {
                    self.router.set_draining(on);
                    self.signaling.set_draining(on);
                    let calls = self.router.counters().calls;
                    self.tell(
                        now,
                        Happened { subject: Subject::default(), fact: ApplianceDraining { on, calls }.into() },
                    );
                }
                Reply::Done
            }
            Request::Trace(TraceOf::Call(call)) => Reply::Trace(Box::new(self.tracer.call(call))),
            Request::Trace(TraceOf::Since(after)) => Reply::Trace(Box::new(self.tracer.since(after))),
            Request::Bans => Reply::Bans(self.bans(now)),
            Request::Messages { user, set } => {
                let known = match set {
                    Some((waiting, by)) => self.signaling.set_waiting(now, &user, waiting, &by),
                    None => self.config.users.contains_key(&user),
                };
                if known { Reply::Messages(self.signaling.waiting(&user)) } else { Reply::NotLive }
            }
            Request::LiftBan { source, by } => self.lift_ban(now, source, by),
            Request::Route(of) => match self.router.try_number(now, &of) {
                Ok(trial) => Reply::Route(Box::new(trial)),
                Err(message) => Reply::Refused(postern_router::rest::RestError { status: 404, code: 20404, message }),
            },
            Request::Status => Reply::Status(Box::new(self.status(now))),
        }
    }
}

fn recording(done: Result<Option<RecordingRecord>, postern_router::rest::RestError>) -> Reply {
    match done {
        Ok(Some(record)) => Reply::Recording(Box::new(record)),
        Ok(None) => Reply::NotLive,
        Err(refused) => Reply::Refused(refused),
    }
}

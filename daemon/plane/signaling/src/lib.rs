//! The signaling plane: who may come in, who is registered where, and SIP legs in the language of [`postern_types::leg`].
//!
//! Sans-IO: datagrams, commands, resolved names and `now` go in; datagrams, leg events, facts and questions come out. A
//! back-to-back user agent: each leg is a user agent of its own, made from what the language of legs can say. Nothing else
//! passes from one side to the other, and that is the whole of topology hiding: there is no header to take out.
//!
//! | module | what it decides |
//! |---|---|
//! | `places` | which endpoint, realm and trunk a source belongs to |
//! | `guard`, `protect` | what a source may send; who is banned |
//! | `overload` | what is turned away when there is too much to do |
//! | `heeding` | the same told to trunks, and heeded of them |
//! | `clients` | our requests: what each is for, and whose its answer is |
//! | `connections` | who may have a connection, what comes and goes over it, when it is closed |
//! | `admission` | who a request is from; challenges; strangers; OPTIONS and REGISTER |
//! | `registrar`, `restore` | where a user's devices are, over restarts |
//! | `gruu`, `flows` | addresses of one device alone, and the ways to it |
//! | `legs`, `side` | what there is: a leg, and its one or several dialogs |
//! | `offered` | a leg that comes in, until its answer |
//! | `dialed` | a leg that goes out, until its answer: forks, challenges, CANCEL |
//! | `ladder` | which address of a trunk or name is tried, and when the next |
//! | `probe` | whether an address of a trunk lives, by OPTIONS |
//! | `registering` | our own registrations with trunks |
//! | `names` | what names mean now, by RFC 3263 |
//! | `targets` | what is remembered of the addresses of trunks |
//! | `early` | what is said before the answer: reliable responses, early dialogs |
//! | `detour` | requests of an answered leg whose trunk's address died |
//! | `session` | an answered leg: ACK, BYE, new offers |
//! | `info` | INFO: digits, and what is no digit |
//! | `texts` | MESSAGE: outside of calls and in them |
//! | `subscriptions` | SUBSCRIBE and NOTIFY: who is told what becomes of a user |
//! | `mailboxes` | how many voice messages wait for a user |
//! | `refer` | REFER: whether, and what the peer is told of how it goes |
//! | `passing` | REFER passed on to the other party, and what that one tells of it |
//! | `replaces` | which dialog a request may take the place of |
//! | `refresh` | session timers |
//! | `self_call` | how the box asks itself whether it is there |
//! | `rules` | what the configuration wants of a dialog |
//! | `identity` | who calls, and who sent the call on: what is believed, and who is told |
//! | `vouching` | the signature over who calls whom, for trunks that want it |
//! | `editing` | header rules of trunks, on the way in and out |
//! | `verifying` | the same of calls that come: certificates, waiting for them, verdicts |
//! | `headers` | what of a header passes to and from the language of legs |
//!
//! What cannot happen here: an in-dialog request is never believed without our tag, the Call-ID and the peer's tag; a stranger
//! makes no state; a leg is told to the router exactly once as ended or failed.

#![forbid(unsafe_code)]

mod admission;
mod clients;
mod connections;
mod detour;
mod dialed;
mod early;
mod editing;
mod flows;
pub mod fuzz;
mod gruu;
mod guard;
mod headers;
mod heeding;
mod identity;
mod info;
mod ladder;
mod legs;
mod mailboxes;
mod names;
mod offered;
mod output;
mod overload;
mod passing;
mod places;
mod probe;
mod protect;
mod refer;
mod refresh;
mod registering;
mod registrar;
mod replaces;
mod restore;
mod rules;
mod self_call;
mod session;
mod side;
mod subscriptions;
mod targets;
mod texts;
mod timers;
mod verifying;
mod vouching;

use std::{
    collections::{HashMap, HashSet, VecDeque},
    net::SocketAddr,
    sync::Arc,
    time::Instant,
};

use postern_config::Config;
use postern_facts::{MalformedDropped, StrangersRefused, Subject};
use postern_locate::{LocateId, Locator};
use postern_sip::{
    Message, Name, ParseError, Request, ResponseBuilder,
    digest::{Algorithm, Challenger},
    limits::TRANSACTIONS_MAX,
    message::Defect,
    transaction::{self, ClientKey, Flow, ServerKey, Transactions},
};
use postern_types::{Now, Transport, TrunkName, UnixMicros, UserName, leg::LegCommand, text::TextCommand};
use rand::{RngExt, rngs::StdRng};

pub use guard::Ban;
pub use output::{Connect, ConnectionCommand, ConnectionEvent, Counters, Output, TargetHealth};
pub use overload::Load;
pub use registering::RegistrationHealth;

use clients::{Client, Retry};
use connections::Connections;
use detour::Detour;
use gruu::Gruus;
use guard::{Guard, Misdeed};
use legs::Legs;
use mailboxes::Mailboxes;
use names::Search;
use overload::Overload;
use places::Places;
use protect::Passage;
use registering::Registrations;
use registrar::Registrar;
use side::{Side, Tag};
use subscriptions::Subscriptions;
use targets::Targets;
use texts::Texts;
use timers::{OnceAMinute, Timer, Timers};

/// Names asked for at once at most; a dial beyond fails with 503. Answers come in milliseconds or not at all.
const RESOLVING_MAX: usize = 1024;

/// The plane. Drain [`Signaling::poll_output`] after every input, and call [`Signaling::handle_timeout`] by [`Signaling::next_deadline`].
pub struct Signaling {
    places: Places,
    transactions: Transactions,
    connections: Connections,
    challenger: Challenger,
    registrar: Registrar,
    gruus: Gruus,
    /// A trunk has header rules, or had: without any no message is looked at for them.
    edits: bool,
    /// OPTIONS are answered 503, so that trunks which probe us send their calls elsewhere.
    draining: bool,
    registrations: Registrations,
    targets: Targets,
    legs: Legs,
    sides: HashMap<Tag, Side>,
    /// Whose our requests are.
    clients: HashMap<ClientKey, Client>,
    /// What it takes to send those in a trunk's dialogs to another address.
    detours: HashMap<ClientKey, Detour>,
    /// Which INVITEs wait for a final answer: first ones, and later ones of a session.
    servers: HashMap<ServerKey, Tag>,
    /// Hashes of Call-ID, From tag and CSeq of the first INVITEs that are alive (RFC 3261 8.2.2.2).
    merged: HashSet<u64>,
    /// Finds hosts (RFC 3263).
    locator: Locator,
    searches: HashMap<LocateId, Search>,
    texts: Texts,
    subscriptions: Subscriptions,
    mailboxes: Mailboxes,
    /// The timer that is set for a user's registrations.
    expiries: HashMap<UserName, Instant>,
    resolve_next: u64,
    timers: Timers,
    /// Requests with an authorization from unknown sources.
    unproven: admission::Meter,
    /// Failed proofs that were told.
    failures: admission::Meter,
    guard: Guard,
    overload: Overload,
    /// What `counters.shed` was when the overload began.
    shed_before: u64,
    /// Bans that were told.
    bans_told: admission::Meter,
    throttled: OnceAMinute<SocketAddr>,
    /// Calls kept from a trunk's address that wants fewer, and how many per cent.
    kept_back: OnceAMinute<(TrunkName, SocketAddr, u8)>,
    strangers: OnceAMinute<SocketAddr>,
    malformed: OnceAMinute<(SocketAddr, String)>,
    refused_connections: OnceAMinute<(SocketAddr, Box<str>)>,
    /// Why the connection was lost whose requests come back undelivered in this turn.
    lost_because: Box<str>,
    outputs: VecDeque<Output>,
    counters: Counters,
    /// Signs calls that leave; none: nothing is signed.
    signer: Option<postern_stir::Signer>,
    /// Checks the signatures of calls that come.
    verifier: verifying::Verifier,
    /// The time of day at the input that is being handled.
    wall: UnixMicros,
    /// Keys the hashes of `merged`.
    seed: u64,
    rng: StdRng,
}

impl Signaling {
    /// A plane without legs or registrations. `rng` must be cryptographic: it makes tags and nonces.
    pub fn new(config: Arc<Config>, mut rng: StdRng, now: Instant) -> Self {
        let mut targets = Targets::default();
        targets.configure(&config);
        let protection = config.protection.clone();
        let mut plane = Self {
            transactions: Transactions::new(rng.random(), TRANSACTIONS_MAX),
            connections: Connections::default(),
            challenger: Challenger::new(admission::DIGEST_REALM, &[Algorithm::Sha256, Algorithm::Md5], rng.random()),
            signer: vouching::signer(&config),
            verifier: verifying::Verifier::new(&config),
            wall: UnixMicros(0),
            edits: !config.headers.is_empty(),
            places: Places::new(config),
            registrar: Registrar::default(),
            gruus: Gruus::new(rng.random(), rng.random()),
            draining: false,
            registrations: Registrations::default(),
            targets,
            legs: Legs::default(),
            sides: HashMap::new(),
            clients: HashMap::new(),
            detours: HashMap::new(),
            servers: HashMap::new(),
            merged: HashSet::new(),
            locator: Locator::new(rng.random()),
            searches: HashMap::new(),
            texts: Texts::default(),
            subscriptions: Subscriptions::default(),
            mailboxes: Mailboxes::default(),
            expiries: HashMap::new(),
            resolve_next: 0,
            timers: Timers::default(),
            unproven: admission::Meter::default(),
            failures: admission::Meter::default(),
            guard: Guard::new(&protection, now),
            overload: Overload::default(),
            shed_before: 0,
            bans_told: admission::Meter::default(),
            throttled: OnceAMinute::default(),
            kept_back: OnceAMinute::default(),
            strangers: OnceAMinute::default(),
            malformed: OnceAMinute::default(),
            refused_connections: OnceAMinute::default(),
            lost_because: Box::default(),
            outputs: VecDeque::new(),
            counters: Counters::default(),
            seed: rng.random(),
            rng,
        };
        plane.arm_probes(now);
        plane.arm_names(now);
        plane.arm_registrations(now);
        plane
    }

    /// From now on OPTIONS outside of dialogs are answered 503, or 200 again. What becomes of calls is the router's.
    pub fn set_draining(&mut self, draining: bool) {
        self.draining = draining;
    }

    /// Takes a new configuration. Calls go on, also those of trunks and users that are gone; a user that is gone loses its devices.
    pub fn reconfigure(&mut self, now: Instant, config: Arc<Config>) {
        self.targets.configure(&config);
        self.guard.configure(&config.protection);
        self.signer = vouching::signer(&config);
        self.edits |= !config.headers.is_empty();
        self.verifier.configure(&config);
        self.places = Places::new(config);
        self.arm_probes(now);
        self.arm_names(now);
        self.arm_registrations(now);
        let users = &self.places.config.users;
        let mut gone: Vec<_> = self.registrar.users().filter(|user| !users.contains_key(*user)).cloned().collect();
        // The same inputs must give the same outputs, whatever the order of a hash table.
        gone.sort();
        for user in gone {
            let changes = self.registrar.drop_user(&user);
            self.tell_changes(now, &user, changes);
        }
        self.look_at_subscriptions(now);
        self.look_at_mailboxes();
    }

    /// Takes a datagram that came from `source` to our endpoint `local`.
    pub fn handle_datagram(&mut self, now: Now, local: SocketAddr, source: SocketAddr, bytes: &[u8]) {
        self.wall = now.wall;
        self.handle_message(now, Flow::udp(local, source), bytes);
        self.run(now);
    }

    fn handle_message(&mut self, now: Now, flow: Flow, bytes: &[u8]) {
        if self.answer_self_call(now, flow, bytes) {
            return;
        }
        let passage = self.passage(now, flow);
        let is_for_flow = passage == Passage::Device && self.keep_alive(now.instant, flow, bytes);
        if passage != Passage::Shut && !is_for_flow {
            self.handle_weighed(now, flow, passage, Message::parse(bytes));
        }
    }

    fn handle_parsed(&mut self, now: Now, flow: Flow, parsed: Result<Message, ParseError>) {
        let passage = self.passage(now, flow);
        if passage != Passage::Shut {
            self.handle_weighed(now, flow, passage, parsed);
        }
    }

    fn handle_weighed(&mut self, now: Now, flow: Flow, passage: Passage, mut parsed: Result<Message, ParseError>) {
        if passage == Passage::Trunk
            && let Ok(message) = &mut parsed
        {
            self.ask_relief(now, message);
        }
        let trusted = matches!(passage, Passage::Trunk | Passage::Device);
        match parsed {
            Err(error) if error.defect == Defect::KeepAlive => {}
            Err(error) => {
                self.counters.malformed += 1;
                self.malformed.note((flow.remote, error.to_string()));
                if trusted {
                    self.transactions.receive_broken(flow, &error);
                } else {
                    self.blame(now, flow, Misdeed::Unreadable);
                }
            }
            Ok(Message::Request(request)) if passage == Passage::Narrow && !self.outranks_bans(flow, &request) => {
                self.drop_banned(flow);
            }
            Ok(Message::Request(request)) if passage == Passage::Spent && !self.outranks_bans(flow, &request) => {
                self.throttle(flow);
            }
            Ok(Message::Request(request)) if self.overload.share() > 0 && self.shed(now, flow, trusted, &request) => {}
            Ok(Message::Request(request)) if !trusted && !self.let_in(now, flow, &request) => {}
            Ok(message) => self.transactions.receive(now.instant, flow, message),
        }
    }

    /// Takes a command of the router. One for a leg that is gone does nothing.
    pub fn handle_command(&mut self, now: Now, command: LegCommand) {
        self.wall = now.wall;
        let at = now.instant;
        match command {
            LegCommand::Dial(dial) => self.dial(at, dial),
            LegCommand::Ring { leg, status, early } => self.ring(at, leg, status, early.as_deref()),
            LegCommand::Answer { leg, answer } => self.answer(at, leg, &answer),
            LegCommand::Hangup { leg, by, cause } => self.hang_up(at, leg, by, cause),
            LegCommand::Referral { leg, status } => self.referral(at, leg, status),
            LegCommand::Refer { leg, to } => self.pass_refer(at, leg, &to),
            LegCommand::Digit { leg, digit, duration_ms } => self.say_digit(at, leg, digit, duration_ms),
            LegCommand::Reoffer { leg, offer } => self.reoffer(at, leg, &offer),
            LegCommand::AnswerReoffer { leg, answer } => self.answer_reoffer(at, leg, &answer),
            LegCommand::RejectReoffer { leg, cause } => self.reject_reoffer(at, leg, &cause),
        }
        self.run(now);
    }

    /// Takes a command of the router about a message.
    pub fn handle_text(&mut self, now: Now, command: TextCommand) {
        self.on_text_command(now.instant, command);
        self.run(now);
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Now) {
        self.wall = now.wall;
        self.transactions.handle_timeout(now.instant);
        self.locator.handle_timeout(now.instant);
        self.found(now.instant);
        self.run(now);
        while let Some(timer) = self.timers.due(now.instant) {
            match timer {
                Timer::NoAnswer(leg) => self.no_answer(now.instant, leg),
                Timer::Silent(leg, attempt) => self.on_silence(now.instant, leg, attempt),
                Timer::SilentFlow(tag) => self.on_silent_flow(now.instant, tag),
                Timer::Probe(trunk, target) => self.probe_due(now.instant, &trunk, target),
                Timer::Register(trunk) => self.registration_due(now.instant, &trunk),
                Timer::Name(trunk, host) => self.name_due(now.instant, trunk, host),
                Timer::Rested(trunk) => self.look_at_trunk(now.instant, &trunk),
                Timer::Answer(tag) => self.repeat_answer(now.instant, tag),
                Timer::Settled(tag) => self.settled(tag),
                Timer::Reinvited(key) => drop(self.clients.remove(&key)),
                Timer::Registration(user) => {
                    self.expiries.remove(&user);
                    let changes = self.registrar.expire(now.instant, &user);
                    self.tell_changes(now.instant, &user, changes);
                }
                Timer::Subscription(tag) => self.subscription_due(now.instant, tag),
                Timer::Reliable(tag) => self.repeat_reliable(now.instant, tag),
                Timer::Reoffer(tag) => self.reoffer_again(now.instant, tag),
                Timer::Passed(tag) => self.passed_due(now.instant, tag),
                Timer::Session(tag) => self.session_due(now.instant, tag),
                Timer::Certificate(tag) => self.certificate_due(now.instant, tag),
                Timer::Connection(id) => self.look_at_connection(now.instant, id),
            }
        }
        self.run(now);
    }

    /// The next output.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When to call [`Signaling::handle_timeout`] at the latest.
    pub fn next_deadline(&self) -> Option<Instant> {
        let ours = [
            self.transactions.next_deadline(),
            self.locator.next_deadline(),
            self.timers.next(),
            self.strangers.next(),
            self.throttled.next(),
            self.kept_back.next(),
            self.malformed.next(),
            self.refused_connections.next(),
        ];
        ours.into_iter().flatten().min()
    }

    /// Figures.
    pub fn counters(&self) -> Counters {
        Counters {
            connections: self.connections.len() as u64,
            devices: self.registrar.len() as u64,
            legs: self.legs.len() as u64,
            subscriptions: self.subscriptions.len() as u64,
            trunk_legs: self.legs.of_trunk.iter().map(|(trunk, legs)| (trunk.clone(), *legs)).collect(),
            shedding: self.overload.share(),
            overloaded: self.counters.overloaded + self.transactions.counters().full,
            ..self.counters.clone()
        }
    }

    /// How the addresses of a trunk are, as far as they are known.
    pub fn trunk_health(&self, now: Instant, trunk: &TrunkName) -> Vec<TargetHealth> {
        self.targets.health(now, trunk)
    }

    /// How many things are remembered for the sake of calls: legs, dialogs, transactions and who waits for them. Nothing when every call
    /// is over and the last timer has run out.
    pub fn remembered(&self) -> usize {
        let (clients, servers) = self.transactions.len();
        let tables = [
            self.texts.len(),
            self.legs.len(),
            self.sides.len(),
            self.clients.len(),
            self.detours.len(),
            self.servers.len(),
            self.merged.len(),
        ];
        tables.iter().sum::<usize>()
            + self.searches.values().filter(|search| matches!(search, Search::Leg(_))).count()
            + self.verifier.waiting()
            + clients
            + servers
    }

    /// Takes what the transactions have to say, until they are silent.
    fn run(&mut self, now: Now) {
        while let Some(output) = self.transactions.poll_output() {
            match output {
                transaction::Output::Send { flow, bytes } => self.send(now.instant, flow, bytes),
                transaction::Output::Request { key, request, flow } => self.on_request(now, key, request, flow),
                transaction::Output::Cancelled { invite, request } => self.on_cancelled(now.instant, invite, &request),
                transaction::Output::Ack { mut request, flow } => {
                    self.edit_received(flow, &mut request);
                    self.on_ack(now.instant, &request);
                }
                transaction::Output::Response { key, response, flow } => {
                    self.on_response(now.instant, key, response, flow);
                }
                // A 2xx that comes later than 32 s: its sender has been given up, and gives up itself.
                transaction::Output::Stray { .. } => self.counters.stray += 1,
                transaction::Output::TimedOut { key } => self.on_timed_out(now.instant, key),
                transaction::Output::Undelivered { key } => self.on_undelivered(now.instant, key),
                transaction::Output::NoAck { .. } => {}
            }
        }
        if let Some((source, requests)) = self.strangers.due(now.instant) {
            self.fact(Subject::default(), StrangersRefused { source, requests });
        }
        if let Some(((source, why), messages)) = self.malformed.due(now.instant) {
            self.fact(Subject::default(), MalformedDropped { source, messages, why });
        }
        self.tell_throttled(now);
        self.tell_kept_back(now.instant);
        self.tell_refused_connections(now.instant);
    }

    fn send(&mut self, now: Instant, flow: Flow, bytes: Arc<[u8]>) {
        self.counters.sent += 1;
        if flow.transport != Transport::Udp {
            return self.send_by_connection(now, flow, bytes.to_vec());
        }
        self.outputs.push_back(Output::Send { local: flow.local, destination: flow.remote, bytes });
    }

    fn on_request(&mut self, now: Now, key: ServerKey, mut request: Request, flow: Flow) {
        let edited = self.edit_received(flow, &mut request);
        // `check` has read To well.
        let to_tag = request.headers.to().ok().and_then(|to| to.tag().map(Tag::read));
        match to_tag {
            Some(Some(tag)) if self.subscriptions.has(tag) => self.in_subscription(now, key, &request, flow, tag),
            Some(tag) => self.in_dialog(now.instant, key, &request, flow, tag),
            None => {
                self.admit(now, key, request, flow);
                self.tell_edited(key, edited);
            }
        }
    }

    /// A response without a body. `tag` is for To.
    fn reply(&mut self, now: Instant, key: ServerKey, request: &Request, status: u16, tag: Tag) {
        let tag = tag.to_string();
        let mut response = ResponseBuilder::to(request, status).header(Name::Server, headers::PRODUCT);
        if status != 100 {
            response = response.to_tag(&tag);
        }
        response = match status {
            405 | 501 => response.header(Name::Allow, headers::ALLOW),
            415 => response.header(Name::Accept, headers::SDP),
            503 => response.header(Name::RetryAfter, "5"),
            // RFC 3261 14.2, RFC 3311 5.2: wait a moment between 0 and 10 seconds.
            500 => response.header(Name::RetryAfter, &(self.rng.random::<u8>() % 11).to_string()),
            _ => response,
        };
        self.respond(now, key, &response.build());
    }

    /// Takes a side out of all tables.
    fn forget(&mut self, tag: Tag) -> Option<Side> {
        let side = self.sides.remove(&tag)?;
        match &side.state {
            side::State::Offered(offered) => {
                self.servers.remove(&offered.key);
                if let side::OfferAnswer::Theirs { key, .. } = &offered.offer_answer {
                    self.servers.remove(key);
                }
                self.merged.remove(&offered.merged_id);
            }
            side::State::Calling(calling) => {
                self.clients.remove(&calling.key);
                if let side::OfferAnswer::Theirs { key, .. } = &calling.offer_answer {
                    self.servers.remove(key);
                }
            }
            side::State::Up(session) => {
                if let Some((key, _)) = &session.invite {
                    self.clients.remove(key);
                }
                if let side::OfferAnswer::Theirs { key, .. } = &session.offer_answer {
                    self.servers.remove(key);
                }
            }
        }
        Some(side)
    }

    fn random(&mut self) -> u64 {
        self.rng.random()
    }

    fn new_tag(&mut self) -> Tag {
        Tag(self.rng.random())
    }

    fn new_branch(&mut self) -> String {
        format!("{}{:016x}", postern_sip::message::MAGIC_COOKIE, self.rng.random::<u64>())
    }
}

#[cfg(test)]
mod tests;

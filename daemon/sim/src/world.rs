//! One switch among phones, carriers, application servers and a faulty network; and what must hold whatever happens.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use postern_config::{Config, NoFiles};
use postern_facts::{CallRecord, Event, Fact};
use postern_signaling::{ConnectionCommand, ConnectionEvent, Load};
use postern_switch::{Input, Output, Reply, Request, Status, Switch, Token};
use postern_types::{
    CallSid, Now, Transport, UnixMicros, UserName,
    device::{Device, DeviceChange},
    mailbox::{Mailbox, Waiting},
    media::Prompt,
    recording::{RecorderCommand, RecorderEvent, RecordingEnd},
};
use rand::{Rng, SeedableRng, rngs::StdRng};
use rsip::prelude::{HeadersExt, UntypedHeader};

use crate::{
    application::Servers,
    media::Media,
    network::{Datagram, Faults, Network},
    phone::Phone,
    stream::{Arrival, StreamFaults, Streams},
};

/// Steps of one run at most: a world that does not come to rest is a bug of its own.
const STEPS_MAX: u64 = 5_000_000;

/// The world.
pub struct World {
    /// The seed of this run, for the message of a failure.
    pub seed: u64,
    /// The box.
    pub switch: Switch,
    /// Its media plane's twin.
    pub media: Media,
    /// Phones and carriers, in the order they were added.
    pub phones: Vec<Phone>,
    /// Application servers.
    pub servers: Servers,
    /// Everything that happened.
    pub events: Vec<Arc<Event>>,
    /// Finished legs.
    pub records: Vec<CallRecord>,
    /// Datagrams that the box sent, for who looks for leaks: destination and text.
    pub sent: Vec<(SocketAddr, Vec<u8>)>,
    /// What outlives a restart.
    devices: BTreeMap<(UserName, String), Device>,
    mailboxes: BTreeMap<UserName, Waiting>,
    network: Network,
    streams: Streams,
    now: Now,
    replies: Vec<(Token, Reply)>,
    next_token: u64,
    rng: StdRng,
}

impl World {
    /// A world around a box with this configuration (YAML).
    pub fn new(seed: u64, yaml: &str, faults: Faults) -> Self {
        let config = load(yaml);
        let mut rng = StdRng::seed_from_u64(seed);
        let now = Now { instant: Instant::now(), wall: UnixMicros(1_790_000_000_000_000) };
        let mut secret = [0; 32];
        rng.fill_bytes(&mut secret);
        Self {
            seed,
            switch: Switch::new(config, secret, 0, now),
            media: Media::new(500),
            phones: Vec::new(),
            servers: Servers::default(),
            events: Vec::new(),
            records: Vec::new(),
            sent: Vec::new(),
            devices: BTreeMap::new(),
            mailboxes: BTreeMap::new(),
            network: Network::new(faults),
            streams: Streams::new(StreamFaults::NONE),
            now,
            replies: Vec::new(),
            next_token: 0,
            rng,
        }
    }

    /// Adds a user agent; returns its place.
    pub fn phone(&mut self, name: &str, password: &str, address: &str, border: &str) -> usize {
        let parse = |text: &str| text.parse().expect("a socket address");
        let rng = StdRng::from_rng(&mut self.rng);
        self.phones.push(Phone::new(name, password, parse(address), parse(border), rng));
        self.phones.len() - 1
    }

    /// How connections are from now on.
    pub fn stream_faults(&mut self, faults: StreamFaults) {
        self.streams.set_faults(faults);
    }

    /// The time.
    pub fn now(&self) -> Now {
        self.now
    }

    /// Has the box end without a word and start again, when no call lives.
    pub fn restart(&mut self) {
        let mut secret = [0; 32];
        self.rng.fill_bytes(&mut secret);
        let (config, last) = (self.switch.config().clone(), self.switch.last_seq());
        self.switch = Switch::new(config, secret, last, self.now);
        let devices = self.devices.values().cloned().collect();
        self.switch.handle_input(self.now, Input::Restore(devices));
        let kept = self.mailboxes.iter().map(|(user, waiting)| Mailbox { user: user.clone(), waiting: *waiting });
        self.switch.handle_input(self.now, Input::Mailboxes(kept.collect()));
        self.settle();
    }

    /// Has a datagram of anybody come in.
    pub fn datagram(&mut self, local: &str, source: &str, text: &str) {
        let parse = |text: &str| text.parse().expect("a socket address");
        let input = Input::Datagram { local: parse(local), source: parse(source), bytes: text.as_bytes() };
        self.switch.handle_input(self.now, input);
        self.settle();
    }

    /// Has the switch told how busy it is, for this many tenths of a second.
    pub fn load(&mut self, load: Load, tenths: u32) {
        for _ in 0..tenths {
            self.switch.handle_load(self.now, load);
            self.run(Duration::from_millis(100));
        }
    }

    /// Has a phone do something now.
    pub fn with<T>(&mut self, phone: usize, act: impl FnOnce(&mut Phone, Instant) -> T) -> T {
        let value = act(&mut self.phones[phone], self.now.instant);
        self.settle();
        value
    }

    /// Asks the switch.
    pub fn ask(&mut self, request: Request) -> Reply {
        self.next_token += 1;
        let token = Token(self.next_token);
        self.switch.handle_input(self.now, Input::Request(token, request));
        self.settle();
        let at = self.replies.iter().position(|(t, _)| *t == token).expect("every request is answered in its turn");
        self.replies.swap_remove(at).1
    }

    /// Applies another configuration.
    pub fn configure(&mut self, yaml: &str) {
        let config = load(yaml);
        self.switch.handle_input(self.now, Input::Configure { config, file: "new.yaml".into(), by: "test".into() });
        self.settle();
    }

    /// Has the party of a leg press a key.
    pub fn press(&mut self, leg: CallSid, digit: char) -> bool {
        let open = self.media.press(leg, digit);
        self.settle();
        open
    }

    /// Lets a leg's party fall silent.
    pub fn fall_silent(&mut self, leg: CallSid) -> bool {
        let open = self.media.time_out(leg);
        self.settle();
        open
    }

    /// Every live leg, the oldest first.
    pub fn live_legs(&mut self) -> Vec<CallRecord> {
        let Reply::Calls(mut records) = self.ask(Request::LiveCalls { account: None }) else { return Vec::new() };
        records.sort_by_key(|record| (record.created, record.sid));
        records
    }

    /// Lets `span` pass.
    pub fn run(&mut self, span: Duration) {
        let until = self.now.instant + span;
        for _ in 0..STEPS_MAX {
            self.settle();
            match self.next_deadline() {
                Some(at) if at <= until => self.advance(at),
                _ => return self.advance(until),
            }
        }
        panic!("seed {}: the world does not come to rest", self.seed);
    }

    /// Lets time pass until `done`, at most `span`. False when it did not come.
    pub fn run_until(&mut self, span: Duration, mut done: impl FnMut(&Self) -> bool) -> bool {
        let until = self.now.instant + span;
        for _ in 0..STEPS_MAX {
            self.settle();
            if done(self) {
                return true;
            }
            match self.next_deadline() {
                Some(at) if at <= until => self.advance(at),
                _ => {
                    self.advance(until);
                    return done(self);
                }
            }
        }
        panic!("seed {}: the world does not come to rest", self.seed);
    }

    fn advance(&mut self, to: Instant) {
        let span = to.saturating_duration_since(self.now.instant);
        self.now = self.now + span;
        let now = self.now;
        if self.switch.next_deadline().is_some_and(|at| at <= now.instant) {
            self.switch.handle_timeout(now);
        }
        for phone in &mut self.phones {
            if phone.next_deadline().is_some_and(|at| at <= now.instant) {
                phone.handle_timeout(now.instant);
            }
        }
        self.settle();
    }

    fn next_deadline(&self) -> Option<Instant> {
        let phones = self.phones.iter().filter_map(Phone::next_deadline).min();
        let rest = [
            self.switch.next_deadline(),
            self.network.next_deadline(),
            self.streams.next_deadline(),
            self.media.next_deadline(),
            self.servers.next_deadline(),
        ];
        rest.into_iter().flatten().chain(phones).min()
    }

    /// Carries everything that is due now to where it belongs, until all are silent.
    fn settle(&mut self) {
        let now = self.now;
        loop {
            let mut silent = true;
            while let Some(output) = self.switch.poll_output() {
                silent = false;
                self.carry(output);
            }
            for phone in &mut self.phones {
                while let Some((destination, bytes)) = phone.poll_send(now.instant) {
                    silent = false;
                    if phone.transport.is_reliable() {
                        self.streams.say(now.instant, &mut self.rng, phone.address, phone.border(), &bytes);
                        continue;
                    }
                    let datagram = Datagram { source: phone.address, destination, bytes };
                    self.network.send(now.instant, &mut self.rng, datagram);
                }
            }
            if let Some(datagram) = self.network.arrive(now.instant) {
                silent = false;
                self.deliver(datagram);
            } else if let Some(arrival) = self.streams.arrive(now.instant) {
                silent = false;
                self.arrived(arrival);
            } else if let Some(event) = self.media.poll_event(now.instant) {
                silent = false;
                self.switch.handle_input(now, Input::Media(event));
            } else if let Some((id, result)) = self.servers.poll(now.instant) {
                silent = false;
                self.switch.handle_input(now, Input::Http(id, result));
            }
            if silent {
                return;
            }
        }
    }

    fn deliver(&mut self, Datagram { source, destination, bytes }: Datagram) {
        match self.phones.iter_mut().find(|phone| phone.address == destination) {
            Some(phone) => phone.handle_datagram(self.now.instant, source, &bytes),
            None => {
                let input = Input::Datagram { local: destination, source, bytes: &bytes };
                self.switch.handle_input(self.now, input);
            }
        }
    }

    fn arrived(&mut self, arrival: Arrival) {
        let (id, event) = match &arrival {
            Arrival::Accepted { id, local, remote } => {
                (*id, ConnectionEvent::Accepted { transport: Transport::Tcp, local: *local, remote: *remote })
            }
            Arrival::Connected(id) => (*id, ConnectionEvent::Connected),
            Arrival::Bytes(id, bytes) => (*id, ConnectionEvent::Received(bytes)),
            Arrival::Closed(id) => (*id, ConnectionEvent::Closed("it died".into())),
            Arrival::Messages(party, messages) => {
                let phone = self.phones.iter_mut().find(|phone| phone.address == *party).expect("links have parties");
                for message in messages {
                    phone.handle_datagram(self.now.instant, phone.border(), message);
                }
                return;
            }
        };
        self.switch.handle_input(self.now, Input::Connection(id, event));
    }

    fn carry(&mut self, output: Output) {
        match output {
            Output::Send { local, destination, bytes } => {
                self.read_by_another(&bytes);
                self.sent.push((destination, bytes.to_vec()));
                let datagram = Datagram { source: local, destination, bytes: bytes.to_vec() };
                self.network.send(self.now.instant, &mut self.rng, datagram);
            }
            Output::Connection(id, command) => {
                let (now, rng) = (self.now.instant, &mut self.rng);
                match command {
                    ConnectionCommand::Admit => {
                        self.switch.handle_input(self.now, Input::Connection(id, ConnectionEvent::Connected));
                    }
                    ConnectionCommand::Connect(connect) => self.streams.connect(now, rng, id, connect.remote),
                    ConnectionCommand::Send(bytes) => {
                        self.streams.send(now, rng, id, &bytes);
                        self.read_by_another(&bytes);
                    }
                    ConnectionCommand::Close => self.streams.close(id),
                }
            }
            Output::Media(command) => self.media.command(self.now, command),
            Output::Http(request) => self.servers.request(self.now.instant, *request),
            // A recorder that does as it is told, and records nothing.
            Output::Recorder(RecorderCommand::Stop(tap)) => {
                let (why, length) = (RecordingEnd::Stopped, Duration::from_secs(1));
                let event = RecorderEvent::Ended { tap, why, length, bytes: 16_044, lost: 0 };
                self.switch.handle_input(self.now, Input::Recorder(event));
            }
            Output::Recorder(_) | Output::Recording(_) | Output::Fork(_) => {}
            Output::LoadPrompt(key, _) => {
                // A second of silence stands for any audio: what it sounds like is the media plane's business.
                let prompt = Arc::new(Prompt { samples: vec![0; 8000].into() });
                self.switch.handle_input(self.now, Input::Prompt(key, Ok(prompt)));
            }
            // Nobody signs here.
            Output::Certificate(_) => {}
            Output::Ask(question) => {
                let answer = postern_locate::Answer::Nothing(Duration::from_secs(60));
                self.switch.handle_input(self.now, Input::Answered(question, answer));
            }
            Output::Event(event) => self.events.push(event),
            Output::Copy { .. } => {}
            Output::Device(DeviceChange::Keep(device)) => {
                self.devices.insert((device.user.clone(), device.key()), *device);
            }
            Output::Mailbox(mailbox) => drop(self.mailboxes.insert(mailbox.user, mailbox.waiting)),
            Output::Device(DeviceChange::Forget { user, key }) => drop(self.devices.remove(&(user, key))),
            Output::Record(record) => self.records.push(*record),
            Output::Reply(token, reply) => self.replies.push((token, reply)),
        }
    }

    /// What the box sends must be SIP to a reader that was not written here.
    fn read_by_another(&self, bytes: &[u8]) {
        let seed = self.seed;
        let text = String::from_utf8_lossy(bytes);
        let message = rsip::SipMessage::try_from(bytes).unwrap_or_else(|error| panic!("seed {seed}: {error}:\n{text}"));
        let call_id = message.call_id_header().map(|header| header.value().to_owned());
        let ours = text.lines().find_map(|line| line.strip_prefix("Call-ID: ")).map(str::to_owned);
        assert_eq!(call_id.ok(), ours, "seed {seed}: another reader sees another Call-ID:\n{text}");
        assert!(message.via_header().is_ok() && message.cseq_header().is_ok(), "seed {seed}: Via or CSeq:\n{text}");
    }

    /// How the box is.
    pub fn status(&mut self) -> Status {
        match self.ask(Request::Status) {
            Reply::Status(status) => *status,
            other => panic!("{other:?}"),
        }
    }

    /// The facts of one kind, in order.
    pub fn facts(&self, name: &str) -> Vec<&Arc<Event>> {
        self.events.iter().filter(|event| event.fact.meta().name == name).collect()
    }

    /// What must hold when every party has had its time: nothing lives, nothing is held, and each story has one end.
    pub fn assert_at_rest(&mut self) {
        let seed = self.seed;
        let status = self.status();
        assert_eq!((status.calls, status.legs), (0, 0), "seed {seed}: calls or legs live on");
        assert_eq!(self.media.open_now(), 0, "seed {seed}: streams are still open");
        // RFC 3261 17: the last transaction is forgotten 32 s after its last message.
        self.run(Duration::from_secs(70));
        assert_eq!(self.switch.remembered(), 0, "seed {seed}: something is remembered of calls that are over");
        self.assert_callbacks();
        let mut begun: BTreeMap<CallSid, i32> = BTreeMap::new();
        let mut legs: BTreeMap<CallSid, i32> = BTreeMap::new();
        for event in &self.events {
            let (call, leg) = (event.subject.call, event.subject.leg);
            match &event.fact {
                Fact::CallOffered(_) | Fact::CallCreated(_) => {
                    assert!(
                        begun.insert(call.expect("a call's fact names it"), 0).is_none(),
                        "seed {seed}: begun twice"
                    );
                    if matches!(event.fact, Fact::CallOffered(_)) {
                        legs.insert(leg.expect("an offered call has a leg"), 0);
                    }
                }
                Fact::LegDialed(_) | Fact::LegReplaces(_) => {
                    _ = legs.entry(leg.expect("a leg's fact names it")).or_insert(0)
                }
                Fact::CallEnded(_) => {
                    let ends = begun.get_mut(&call.expect("a call's fact names it"));
                    *ends.unwrap_or_else(|| panic!("seed {seed}: an end without a beginning")) += 1;
                }
                Fact::LegEnded(_) => *legs.entry(leg.expect("a leg's fact names it")).or_insert(0) += 1,
                _ => {}
            }
        }
        for (call, ends) in begun {
            assert_eq!(ends, 1, "seed {seed}: {call} ended {ends} times");
        }
        for (leg, ends) in &legs {
            assert_eq!(*ends, 1, "seed {seed}: leg {leg} ended {ends} times");
        }
        let mut recorded: Vec<_> = self.records.iter().map(|record| record.sid).collect();
        recorded.sort();
        let told: Vec<_> = legs.into_keys().collect();
        assert_eq!(recorded, told, "seed {seed}: records and legs differ");
        for (n, event) in self.events.iter().enumerate() {
            assert_eq!(event.seq, n as u64 + 1, "seed {seed}: event numbers have holes");
        }
    }

    /// Whoever was told of a leg's progress was told in order, and of its end exactly once and last.
    fn assert_callbacks(&self) {
        let seed = self.seed;
        let mut told: BTreeMap<(&str, &str), Vec<(u32, &str)>> = BTreeMap::new();
        for taken in &self.servers.taken {
            let number = taken.param("SequenceNumber").and_then(|number| number.parse().ok());
            let (Some(number), Some(sid), Some(status)) = (number, taken.param("CallSid"), taken.param("CallStatus"))
            else {
                continue;
            };
            told.entry((sid, &taken.url)).or_default().push((number, status));
        }
        for ((sid, url), mut notes) in told {
            // What was not taken is told again.
            notes.dedup();
            let is_end = |status: &str| ["completed", "busy", "no-answer", "failed", "canceled"].contains(&status);
            for (n, (number, _)) in notes.iter().enumerate() {
                assert_eq!(*number, n as u32, "seed {seed}: {url} is told of {sid} out of order: {notes:?}");
            }
            let ends = notes.iter().filter(|(_, status)| is_end(status)).count();
            let last = notes.last().is_some_and(|(_, status)| is_end(status));
            assert!(ends == 1 && last, "seed {seed}: {url} is told of {sid}: {notes:?}");
        }
    }

    /// Whatever the box sent to `address`, as text.
    pub fn sent_to(&self, address: SocketAddr) -> String {
        let to_it = self.sent.iter().filter(|(destination, _)| *destination == address);
        to_it.map(|(_, bytes)| String::from_utf8_lossy(bytes)).collect::<Vec<_>>().join("\n")
    }
}

fn load(yaml: &str) -> Arc<Config> {
    match postern_config::load("world.yaml", yaml, &NoFiles) {
        Ok((config, _)) => Arc::new(config),
        Err(mistakes) => panic!("{}", mistakes.iter().map(|m| m.render()).collect::<Vec<_>>().join("\n")),
    }
}

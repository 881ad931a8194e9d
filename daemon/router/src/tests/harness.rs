//! A world around one router: it opens and closes streams, ends legs that are hung up, and keeps what else comes out.

use std::{
    collections::{BTreeMap, HashSet, VecDeque},
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use postern_config::*;
use postern_facts::{CallRecord, Fact, Happened, RecordingRecord};
use postern_types::{
    AccountSid, AppName, CallSid, Cause, EndedBy, Now, RealmName, RecordingSid, Secret, TrunkName, UnixMicros,
    UserName,
    fork::ForkCommand,
    leg::{CallerIdentity, Dial, Diversion, LegCommand, LegEvent, Offered, Party},
    media::{MediaCommand, MediaEvent, Prompt, StreamReport},
    recording::{RecorderCommand, RecorderEvent, RecordingEnd, TapId},
    stream::{AudioStream, Codec, Direction, Fingerprint, Format},
    text::TextCommand,
    trust::{Trust, Verdict},
    watch::UserState,
};
use rand::{SeedableRng, rngs::StdRng};

use crate::{HttpFailure, HttpRequest, HttpResponse, Output, PromptKey, PromptSource, Router};

pub const ACCOUNT: AccountSid = AccountSid(1);

pub struct World {
    pub router: Router,
    pub now: Now,
    /// Legs that signaling knows.
    pub legs: HashSet<CallSid>,
    pub commands: VecDeque<LegCommand>,
    pub texts: VecDeque<TextCommand>,
    pub seen: Vec<UserState>,
    pub media: VecDeque<MediaCommand>,
    pub http: VecDeque<HttpRequest>,
    pub prompts: VecDeque<(PromptKey, PromptSource)>,
    pub facts: Vec<Happened>,
    pub records: Vec<CallRecord>,
    pub recorder: Vec<RecorderCommand>,
    pub forks: Vec<ForkCommand>,
    /// Each recording as it was stored last.
    pub recordings: BTreeMap<RecordingSid, RecordingRecord>,
    /// Streams fail to open.
    pub no_ports: bool,
    /// Every media worker is as busy as it may be.
    pub is_busy: bool,
    /// The media plane does not answer.
    pub deaf: bool,
    /// Prompts are loaded at once.
    pub auto_prompts: bool,
    /// What came of the check of the signatures of calls that come.
    pub verdict: Option<Verdict>,
    open: HashSet<CallSid>,
    port: u16,
    next_leg: u128,
}

pub fn config() -> Config {
    let realm = |last, registrations| Realm {
        signaling: vec![SocketAddr::from(([127, 0, 0, last], 5060))],
        listeners: vec![],
        media: RealmMedia {
            ipv4: Some(Ipv4Addr::new(127, 0, 0, last)),
            ipv6: None,
            port_first: 10000,
            port_last: 19999,
            dscp: postern_config::Dscp::EF,
        },
        advertised: None,
        registrations,
        lease: Default::default(),
        uri_calls: registrations,
        session_timer: Default::default(),
        access: Default::default(),
        emergency: Vec::new(),
        numbering: None,
        codecs: vec![],
        codecs_stripped: vec![],
        signaling_dscp: postern_config::Dscp::AF31,
    };
    let user = |caller_id: Option<&str>| User {
        password: Secret::new("pw".into()),
        devices_max: 5,
        caller_id: caller_id.map(|n| n.parse().unwrap()),
        codecs: vec![],
        codecs_stripped: vec![],
        srtp: SrtpMode::Off,
        dtmf: Default::default(),
        refer: Default::default(),
        transports: vec![],
        attest: None,
        verstat: false,
        watchable: true,
    };
    let trunk = Trunk::at("outside", "192.0.2.1", 5060);
    let to_user =
        |name: &str| NumberRoute { to: Destination::User(UserName::new(name)), timeout: Duration::from_secs(20) };
    let app = |url: &str| Application {
        account: ACCOUNT,
        voice_url: url.into(),
        voice_method: HttpMethod::Post,
        voice_fallback_url: Some("http://backup.example.net/voice".into()),
        voice_fallback_method: HttpMethod::Post,
        status_callback: Some("http://app.example.net/status".into()),
        status_callback_method: HttpMethod::Post,
        status_callback_events: vec![
            CallbackEvent::Initiated,
            CallbackEvent::Ringing,
            CallbackEvent::Answered,
            CallbackEvent::Completed,
        ],
    };
    let route = |name: &str, from, prefix: &str, strip, prepend: &str, to| Route {
        name: name.into(),
        from,
        prefix: prefix.into(),
        schedule: None,
        strip,
        prepend: prepend.into(),
        to,
        timeout: Duration::from_secs(60),
    };
    let carrier = || TrunkName::new("carrier");
    let empty = Config::empty("test");
    Config {
        appliance: Appliance {
            name: "test".into(),
            state_folder: PathBuf::from("/nowhere"),
            runtime_folder: PathBuf::from("/nowhere"),
            spool_mb: 1,
            spool_days: 1,
            records_max: 1,
        },
        realms: BTreeMap::from([
            (RealmName::new("inside"), realm(2, true)),
            (RealmName::new("outside"), realm(1, false)),
        ]),
        trunks: BTreeMap::from([(carrier(), trunk)]),
        schedules: BTreeMap::new(),
        tables: BTreeMap::new(),
        users: ["alice", "bob", "carol"].map(|n| (UserName::new(n), user(Some("+15550000001")))).into(),
        numbers: BTreeMap::from([
            ("+15551000001".parse().unwrap(), to_user("alice")),
            (
                "+15552000001".parse().unwrap(),
                NumberRoute { to: Destination::Application(AppName::new("ivr")), timeout: Duration::from_secs(20) },
            ),
        ]),
        routes: vec![
            route("out", RouteFrom::Users, "00", 2, "+", Destination::Trunk(carrier())),
            route("e164", RouteFrom::Users, "+", 0, "", Destination::Trunk(carrier())),
            route("desk", RouteFrom::Trunk(carrier()), "bob", 0, "", Destination::User(UserName::new("bob"))),
        ],
        applications: BTreeMap::from([(AppName::new("ivr"), app("http://app.example.net/voice"))]),
        accounts: BTreeMap::from([("main".to_owned(), Account { sid: ACCOUNT, token: Secret::new("12345".into()) })]),
        media: Media { fast_path: FastPath::Off, prompt_folders: vec![PathBuf::from("/srv/prompts")], ..empty.media },
        ..empty
    }
}

pub fn stream(host: u8, formats: &[Format]) -> AudioStream {
    AudioStream {
        rtp: SocketAddr::from(([198, 51, 100, host], 4000)),
        rtcp: SocketAddr::from(([198, 51, 100, host], 4001)),
        rtcp_mux: false,
        rtcp_xr: false,
        formats: formats.to_vec(),
        telephone_event: Some(101),
        ptime_ms: 20,
        direction: Direction::SendRecv,
        crypto: vec![],
        dtls: None,
        ice: None,
        fax: None,
    }
}

pub fn g711() -> Vec<Format> {
    vec![Format::pcma(), Format::pcmu()]
}

pub fn opus(payload_type: u8) -> Format {
    Format { payload_type, codec: Codec::Opus, clock_hz: 48000, channels: 2, fmtp: "".into() }
}

pub fn trunk_party() -> Party {
    Party::Trunk { trunk: TrunkName::new("carrier") }
}

pub fn user_party(name: &str) -> Party {
    Party::User { user: UserName::new(name) }
}

/// What the carrier says of its caller.
pub fn identity() -> CallerIdentity {
    let diversions = vec![Diversion { user: "+15558888888".into(), reason: "no-answer" }];
    CallerIdentity { diversions, ..CallerIdentity::default() }
}

impl World {
    pub fn new() -> Self {
        Self::with(config())
    }

    pub fn with(config: Config) -> Self {
        // The one reading of a clock: everything after it is virtual.
        #[expect(clippy::disallowed_methods, reason = "any instant will do as the start of virtual time")]
        let now = Now { instant: Instant::now(), wall: UnixMicros(1_800_000_000_000_000) };
        let mut router = Router::new(Arc::new(config), StdRng::seed_from_u64(7), now);
        // alice is at home.
        router.handle_devices(now, UserName::new("alice"), 1);
        while router.poll_output().is_some() {}
        Self {
            router,
            now,
            legs: HashSet::new(),
            commands: VecDeque::new(),
            texts: VecDeque::new(),
            seen: Vec::new(),
            media: VecDeque::new(),
            http: VecDeque::new(),
            prompts: VecDeque::new(),
            facts: Vec::new(),
            records: Vec::new(),
            recorder: Vec::new(),
            forks: Vec::new(),
            recordings: BTreeMap::new(),
            no_ports: false,
            is_busy: false,
            deaf: false,
            auto_prompts: true,
            verdict: None,
            open: HashSet::new(),
            port: 10000,
            next_leg: 0x1000,
        }
    }

    /// Drains the router, playing the planes where nothing is to be decided.
    pub fn settle(&mut self) {
        while let Some(output) = self.router.poll_output() {
            match output {
                Output::Leg(command) => self.signaling(command),
                Output::Text(command) => self.texts.push_back(command),
                Output::User(state) => self.seen.push(state),
                Output::Media(command) => self.streams(command),
                Output::Http(request) => self.http.push_back(*request),
                Output::LoadPrompt { key, source } => {
                    self.prompts.push_back((key, source));
                    if self.auto_prompts {
                        let prompt = Arc::new(Prompt { samples: vec![0; 8000].into() });
                        self.router.handle_prompt(self.now, key, Ok(prompt));
                    }
                }
                Output::Fact(fact) => self.facts.push(fact),
                Output::Recorder(command) => self.recorder.push(command),
                Output::Fork(command) => self.forks.push(command),
                Output::Recording(record) => drop(self.recordings.insert(record.sid, *record)),
                Output::Ended(record) => self.records.push(*record),
            }
        }
    }

    fn signaling(&mut self, command: LegCommand) {
        match &command {
            LegCommand::Dial(dial) => {
                assert!(self.legs.insert(dial.leg), "a leg dialed twice");
                assert!(dial.offer.rtp.port() != 0, "offered without an address");
            }
            LegCommand::Hangup { leg, by, cause } if self.legs.remove(leg) => {
                let ended = LegEvent::Ended { leg: *leg, by: *by, cause: cause.clone() };
                self.router.handle_leg(self.now, ended);
            }
            _ => {}
        }
        self.commands.push_back(command);
    }

    fn streams(&mut self, command: MediaCommand) {
        match &command {
            MediaCommand::Open { .. } if self.deaf => {}
            MediaCommand::Open { leg, urgent, .. } if self.no_ports || (self.is_busy && !urgent) => {
                self.router.handle_media(self.now, MediaEvent::OpenFailed { leg: *leg, why: "none left".into() });
            }
            MediaCommand::Open { leg, realm, .. } => {
                assert!(self.open.insert(*leg), "a stream opened twice");
                let last = if realm.as_str() == "inside" { 2 } else { 1 };
                let at = |port| SocketAddr::new(IpAddr::from([127, 0, 0, last]), port);
                self.port += 2;
                let (rtp, rtcp) = (at(self.port), at(self.port + 1));
                self.router.handle_media(
                    self.now,
                    MediaEvent::Opened { leg: *leg, rtp, rtcp, fingerprint: Some(Fingerprint([7; 32])) },
                );
            }
            MediaCommand::Close { leg } if self.open.remove(leg) => {
                let report = Box::new(StreamReport { packets_received: 9, ..StreamReport::default() });
                self.router.handle_media(self.now, MediaEvent::Closed { leg: *leg, report });
            }
            _ => {}
        }
        self.media.push_back(command);
    }

    pub fn leg(&mut self, event: LegEvent) {
        if matches!(event, LegEvent::Ended { .. } | LegEvent::Failed { .. }) {
            self.legs.remove(&event.leg());
        }
        self.router.handle_leg(self.now, event);
        self.settle();
    }

    pub fn event(&mut self, event: MediaEvent) {
        self.router.handle_media(self.now, event);
        self.settle();
    }

    /// A call comes in.
    pub fn invite(&mut self, party: Party, to: &str, offer: Option<AudioStream>) -> CallSid {
        self.invite_for(party, to, offer, None)
    }

    /// The same, that takes the place of a leg of the party's.
    pub fn invite_for(
        &mut self,
        party: Party,
        to: &str,
        offer: Option<AudioStream>,
        replaces: Option<CallSid>,
    ) -> CallSid {
        self.next_leg += 1;
        let leg = CallSid(self.next_leg);
        self.legs.insert(leg);
        let (realm, from) = match &party {
            Party::User { user } => ("inside", user.to_string()),
            _ => ("outside", "+15559999999".to_owned()),
        };
        self.leg(LegEvent::Offered(Box::new(Offered {
            leg,
            party,
            realm: RealmName::new(realm),
            from: from.into(),
            from_name: "Caller".into(),
            to: to.into(),
            device: None,
            identity: CallerIdentity {
                trust: Trust { verdict: self.verdict.clone().map(Box::new), ..Trust::default() },
                ..identity()
            },
            max_forwards: 9,
            offer,
            replaces,
            headers: vec![("X-Ticket".into(), "77".into())],
            source: SocketAddr::from(([198, 51, 100, 9], 5060)),
            sip_call_id: "outside-id".into(),
        })));
        leg
    }

    /// The next leg that the router dials.
    pub fn dialed(&mut self) -> Box<Dial> {
        let at = self.commands.iter().position(|c| matches!(c, LegCommand::Dial(_))).expect("a leg was dialed");
        match self.commands.remove(at) {
            Some(LegCommand::Dial(dial)) => dial,
            _ => unreachable!(),
        }
    }

    pub fn ring(&mut self, leg: CallSid) {
        self.leg(LegEvent::Progress { leg, status: 180, early: None });
    }

    pub fn answer(&mut self, leg: CallSid, answer: AudioStream) {
        let remote = answer.rtp;
        self.leg(LegEvent::Answered { leg, answer: Some(Box::new(answer)), sip_call_id: "inside-id".into(), remote });
    }

    pub fn fail(&mut self, leg: CallSid, status: u16) {
        self.leg(LegEvent::Failed { leg, by: EndedBy::Peer, cause: Cause::new(status, "said no") });
    }

    pub fn bye(&mut self, leg: CallSid) {
        self.leg(LegEvent::Ended { leg, by: EndedBy::Peer, cause: Cause::NORMAL });
    }

    pub fn cancel(&mut self, leg: CallSid) {
        self.leg(LegEvent::Ended { leg, by: EndedBy::Peer, cause: Cause::CANCELLED });
    }

    pub fn devices(&mut self, user: &str, devices: u32) {
        self.router.handle_devices(self.now, UserName::new(user), devices);
        self.settle();
    }

    /// Time passes, deadline by deadline.
    pub fn pass(&mut self, span: Duration) {
        let end = self.now + span;
        self.settle();
        while let Some(at) = self.router.next_deadline().filter(|at| *at <= end.instant) {
            self.now = self.now + at.saturating_duration_since(self.now.instant);
            self.router.handle_timeout(self.now);
            self.settle();
            assert!(self.router.next_deadline() != Some(at), "a deadline that does not go away");
        }
        self.now = end;
    }

    /// The oldest request that is not a status callback.
    pub fn request(&mut self) -> HttpRequest {
        let at = self.http.iter().position(|r| r.purpose != crate::Purpose::Callback).expect("a request was made");
        self.http.remove(at).unwrap()
    }

    pub fn respond(&mut self, request: &HttpRequest, status: u16, content_type: &str, body: &str) {
        self.respond_with(request, status, content_type, body, &[]);
    }

    pub fn respond_with(
        &mut self,
        request: &HttpRequest,
        status: u16,
        content_type: &str,
        body: &str,
        headers: &[(&str, &str)],
    ) {
        let response = HttpResponse {
            status,
            headers: headers.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect(),
            content_type: content_type.into(),
            body: body.as_bytes().to_vec(),
            final_url: request.url.clone(),
            took: Duration::from_millis(40),
        };
        self.router.handle_http(self.now, request.id, Ok(response));
        self.settle();
    }

    /// The next request is answered with a document of these verbs.
    pub fn document(&mut self, verbs: &str) -> HttpRequest {
        let request = self.request();
        self.respond(&request, 200, "text/xml", &format!("<Response>{verbs}</Response>"));
        request
    }

    pub fn http_fails(&mut self, request: &HttpRequest, code: u32) {
        self.router.handle_http(self.now, request.id, Err(HttpFailure { code, why: "broken".into() }));
        self.settle();
    }

    /// All status callbacks that were sent so far, answered as they come, in the order of sending.
    pub fn callbacks(&mut self) -> Vec<HttpRequest> {
        let mut all = Vec::new();
        while let Some(at) = self.http.iter().position(|r| r.purpose == crate::Purpose::Callback) {
            let request = self.http.remove(at).unwrap();
            self.respond(&request, 200, "text/plain", "");
            all.push(request);
        }
        all
    }

    /// The legs' commands since the last look, without dials, as words.
    pub fn said(&mut self) -> Vec<String> {
        let word = |command: &LegCommand| match command {
            LegCommand::Dial(_) => "dial".to_owned(),
            LegCommand::Ring { status, .. } => format!("ring {status}"),
            LegCommand::Answer { .. } => "answer".to_owned(),
            LegCommand::Hangup { cause, .. } => format!("hangup {}", cause.status),
            LegCommand::Referral { status, .. } => format!("referral {status}"),
            LegCommand::Refer { to, .. } => format!("refer {to}"),
            LegCommand::Digit { digit, duration_ms, .. } => format!("info {digit} {duration_ms}"),
            LegCommand::Reoffer { .. } => "reoffer".to_owned(),
            LegCommand::AnswerReoffer { .. } => "answer reoffer".to_owned(),
            LegCommand::RejectReoffer { cause, .. } => format!("reject reoffer {}", cause.status),
        };
        self.commands.drain(..).map(|command| word(&command)).collect()
    }

    /// The tap of the latest recording.
    pub fn tap(&self) -> TapId {
        let start = |c: &RecorderCommand| if let RecorderCommand::Start(tap, _) = c { Some(*tap) } else { None };
        self.recorder.iter().rev().find_map(start).expect("something is recorded")
    }

    /// The recorder ends a recording.
    pub fn recorded(&mut self, tap: TapId, why: RecordingEnd, ms: u64) {
        let (length, bytes) = (Duration::from_millis(ms), if ms > 0 { 44 + ms * 16 } else { 0 });
        self.router.handle_recorder(self.now, RecorderEvent::Ended { tap, why, length, bytes, lost: 0 });
        self.settle();
    }

    pub fn names(&self) -> Vec<&'static str> {
        self.facts.iter().map(|happened| happened.fact.meta().name).collect()
    }

    pub fn count(&self, name: &str) -> usize {
        self.names().iter().filter(|n| **n == name).count()
    }

    pub fn record(&self, leg: CallSid) -> &CallRecord {
        self.records.iter().find(|record| record.sid == leg).expect("the leg's record was written")
    }

    pub fn fact<T>(&self, pick: impl Fn(&Fact) -> Option<T>) -> Option<T> {
        self.facts.iter().rev().find_map(|happened| pick(&happened.fact))
    }

    /// Nothing is left of any call.
    pub fn assert_empty(&mut self) {
        self.settle();
        let counters = self.router.counters();
        assert_eq!((counters.calls, counters.legs), (0, 0));
        assert_eq!(self.router.records(None).count(), 0);
        assert!(self.open.is_empty(), "streams left open");
        assert!(self.legs.is_empty(), "legs left in signaling");
        assert!(!self.router.has_leftovers(), "tables not empty");
    }
}

/// The value of a form field.
/// How often two legs were joined.
pub fn bridged(world: &World) -> usize {
    world.media.iter().filter(|c| matches!(c, MediaCommand::Bridge { .. })).count()
}

pub fn field<'a>(request: &'a HttpRequest, name: &str) -> Option<&'a str> {
    request.form.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
}

pub fn header<'a>(request: &'a HttpRequest, name: &str) -> Option<&'a str> {
    request.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str())
}

//! Scenarios through the public verbs: peers' text in, our text and leg events out, in virtual time.

mod detour;
mod dialing;
mod early;
mod editing;
mod failover;
mod heeding;
mod hiding;
mod identity;
mod incoming;
mod names;
mod outbound;
mod overload;
mod probing;
mod protection;
mod referring;
mod registering;
mod registration;
mod replacing;
mod restoring;
mod sessions;
mod strangers;
mod streams;
mod subscriptions;
mod texts;
mod timers;
mod torture;
mod verifying;
mod vouching;
mod workarounds;

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use postern_config::*;
use postern_facts::Fact;
use postern_locate::{Answer, Kind, Question, Record};
use postern_types::{
    CallSid, Cause, ConnectionId, EndedBy, Now, RealmName, Secret, Transport, TrunkName, UnixMicros, UserName,
    device::{Device, DeviceChange},
    leg::*,
    mailbox::Mailbox,
    stream::{AudioStream, Direction, Format},
    text::*,
};
use rand::{SeedableRng, rngs::StdRng};

use postern_sip::transaction::Flow;

use crate::{Connect, ConnectionCommand, ConnectionEvent, Output, RegistrationHealth, Signaling};

/// Our endpoint towards carriers, advertised as 203.0.113.1.
pub(crate) const OUTER: &str = "10.0.0.1:5060";
/// Our endpoint towards clients.
pub(crate) const INNER: &str = "192.168.1.1:5060";
pub(crate) const CARRIER: &str = "198.51.100.10:5060";
pub(crate) const PHONE: &str = "192.168.1.50:40000";

/// A plane and its surroundings.
pub(crate) struct World {
    pub(crate) signaling: Signaling,
    pub(crate) now: Now,
    pub(crate) sent: Vec<(SocketAddr, String)>,
    pub(crate) events: Vec<LegEvent>,
    pub(crate) texts: Vec<TextEvent>,
    pub(crate) facts: Vec<Fact>,
    pub(crate) devices: Vec<u32>,
    pub(crate) remembered: BTreeMap<(UserName, String), Device>,
    /// Changes of what is remembered.
    pub(crate) writes: u64,
    pub(crate) trunks: Vec<(TrunkName, bool)>,
    pub(crate) asked: Vec<(Question, String)>,
    pub(crate) commands: Vec<(ConnectionId, ConnectionCommand)>,
    pub(crate) fetched: Vec<String>,
    pub(crate) watches: Vec<(String, bool)>,
    pub(crate) mailboxes: Vec<Mailbox>,
}

pub(crate) fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

pub(crate) fn config() -> Config {
    let realm = |signaling: &str, advertised: Option<&str>, registrations| Realm {
        signaling: vec![address(signaling)],
        listeners: vec![],
        media: RealmMedia {
            ipv4: None,
            ipv6: None,
            port_first: 30000,
            port_last: 31000,
            dscp: postern_config::Dscp::EF,
        },
        advertised: advertised.map(|a| a.parse().unwrap()),
        registrations,
        lease: Default::default(),
        uri_calls: !registrations,
        session_timer: Default::default(),
        access: Default::default(),
        emergency: Vec::new(),
        numbering: None,
        codecs: vec![],
        codecs_stripped: vec![],
        signaling_dscp: postern_config::Dscp::AF31,
    };
    let trunk = |host: &str, sources: &[(&str, u8)]| Trunk {
        sources: sources.iter().map(|(a, length)| Prefix { address: a.parse().unwrap(), length: *length }).collect(),
        ..Trunk::at("outer", host, 5060)
    };
    let mut carrier = trunk("198.51.100.10", &[]);
    carrier.trusted = true;
    carrier.credentials = Some(Credentials { username: "acct".into(), password: Secret::new("pw".into()) });
    let mut small = trunk("198.51.100.20", &[]);
    small.calls_max = Some(1);
    let mut strict = trunk("198.51.100.30", &[]);
    strict.demands = Some(Credentials { username: "them".into(), password: Secret::new("theirs".into()) });
    let user = User {
        password: Secret::new("secret".into()),
        devices_max: 2,
        caller_id: None,
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
    Config {
        appliance: Appliance {
            name: "test".into(),
            state_folder: "state".into(),
            runtime_folder: "run".into(),
            spool_mb: 1,
            spool_days: 1,
            records_max: 1,
        },
        realms: BTreeMap::from([
            (RealmName::new("outer"), realm(OUTER, Some("203.0.113.1"), false)),
            (RealmName::new("inner"), realm(INNER, None, true)),
        ]),
        trunks: BTreeMap::from([
            (TrunkName::new("carrier"), carrier),
            (TrunkName::new("named"), trunk("sip.carrier.example", &[("198.51.100.64", 26)])),
            (TrunkName::new("small"), small),
            (TrunkName::new("strict"), strict),
        ]),
        users: BTreeMap::from([(UserName::new("alice"), user.clone()), (UserName::new("bob"), user)]),
        numbers: BTreeMap::new(),
        routes: vec![],
        applications: BTreeMap::new(),
        accounts: BTreeMap::new(),
        ..Config::empty("test")
    }
}

impl World {
    pub(crate) fn new() -> Self {
        Self::with(config())
    }

    pub(crate) fn with(config: Config) -> Self {
        #[allow(clippy::disallowed_methods, reason = "any instant will do as the start of virtual time")]
        let now = Now { instant: Instant::now(), wall: UnixMicros(1_700_000_000_000_000) };
        let signaling = Signaling::new(Arc::new(config), StdRng::seed_from_u64(7), now.instant);
        let (sent, events, texts, facts, devices, trunks, asked, commands, fetched, watches) = Default::default();
        let remembered = BTreeMap::new();
        let writes = 0;
        Self {
            signaling,
            now,
            sent,
            events,
            texts,
            facts,
            devices,
            remembered,
            writes,
            trunks,
            asked,
            commands,
            fetched,
            watches,
            mailboxes: Vec::new(),
        }
    }

    /// Where no source is held up or banned: what bounds all of them together stands alone.
    pub(crate) fn unguarded() -> Self {
        let mut config = config();
        (config.protection.bans, config.protection.burst) = (false, 1_000_000);
        Self::with(config)
    }

    pub(crate) fn drain(&mut self) {
        while let Some(output) = self.signaling.poll_output() {
            self.writes += u64::from(matches!(output, Output::Device(_)));
            match output {
                Output::Send { destination, bytes, .. } => {
                    self.sent.push((destination, String::from_utf8(bytes.to_vec()).unwrap()))
                }
                Output::Connection(id, command) => self.commands.push((id, command)),
                Output::Leg(event) => self.events.push(event),
                Output::Text(event) => self.texts.push(event),
                Output::Devices { devices, .. } => self.devices.push(devices),
                Output::Device(DeviceChange::Keep(device)) => {
                    self.remembered.insert((device.user.clone(), device.key()), *device);
                }
                Output::Device(DeviceChange::Forget { user, key }) => drop(self.remembered.remove(&(user, key))),
                Output::Trunk { trunk, up } => self.trunks.push((trunk, up)),
                // These tests have addresses only.
                Output::Ask(question) if question.kind != Kind::A => {
                    self.signaling.handle_answer(self.now, &question, Answer::Nothing(Duration::from_secs(3600)));
                }
                Output::Ask(question) => {
                    let name = question.name.to_string();
                    self.asked.push((question, name));
                }
                Output::Fetch { url } => self.fetched.push(url.into()),
                Output::Mailbox(mailbox) => self.mailboxes.push(mailbox),
                Output::Watch { user, on } => self.watches.push((user.to_string(), on)),
                Output::Dialed { .. } | Output::Framed { .. } => {}
                Output::Fact(happened) => self.facts.push(happened.fact),
            }
        }
    }

    /// A message to one of our endpoints, its body after an empty line; lines may end in LF alone.
    pub(crate) fn recv_at(&mut self, local: &str, source: &str, text: &str) {
        self.signaling.handle_datagram(self.now, address(local), address(source), wire(text).as_bytes());
        self.drain();
    }

    /// From a carrier or PHONE, to the endpoint that it knows.
    pub(crate) fn recv(&mut self, source: &str, text: &str) {
        let local = if source.starts_with("192.168.") { INNER } else { OUTER };
        self.recv_at(local, source, text);
    }

    pub(crate) fn command(&mut self, command: LegCommand) {
        self.signaling.handle_command(self.now, command);
        self.drain();
    }

    pub(crate) fn resolved(&mut self, question: Question, addresses: &[&str]) {
        // The outer realm has IPv4 only: nothing else is asked for.
        let records = addresses.iter().filter_map(|a| a.parse().ok().map(Record::A)).collect();
        let answer = Answer::Records(records, Duration::from_secs(60));
        self.signaling.handle_answer(self.now, &question, answer);
        self.drain();
    }

    /// Lets time pass from deadline to deadline.
    pub(crate) fn pass(&mut self, span: Duration) {
        let end = self.now + span;
        while let Some(at) = self.signaling.next_deadline().filter(|at| *at <= end.instant) {
            let step = at.saturating_duration_since(self.now.instant);
            self.now = self.now + step;
            self.signaling.handle_timeout(self.now);
            self.drain();
        }
        self.now = end;
    }

    /// What was sent since the last look, first lines only.
    pub(crate) fn lines(&mut self) -> Vec<String> {
        self.sent.drain(..).map(|(_, text)| text.lines().next().unwrap().to_owned()).collect()
    }

    /// The only message sent since the last look.
    pub(crate) fn one(&mut self) -> String {
        assert_eq!(self.sent.len(), 1, "{:#?}", self.sent);
        self.sent.remove(0).1
    }

    pub(crate) fn last(&mut self) -> String {
        let last = self.sent.pop().expect("something was sent").1;
        self.sent.clear();
        last
    }

    /// The only event since the last look.
    pub(crate) fn event(&mut self) -> LegEvent {
        assert_eq!(self.events.len(), 1, "{:#?}", self.events);
        self.events.remove(0)
    }

    pub(crate) fn is_quiet(&self) -> bool {
        self.sent.is_empty() && self.events.is_empty()
    }

    /// Takes the offer of an INVITE from the carrier.
    pub(crate) fn offered(&mut self, text: &str) -> Offered {
        self.recv(CARRIER, text);
        assert_eq!(self.lines(), ["SIP/2.0 100 Trying"]);
        match self.event() {
            LegEvent::Offered(offered) => *offered,
            other => panic!("{other:?}"),
        }
    }

    /// A call from the carrier that is answered and acknowledged: its leg, and our tag.
    pub(crate) fn established(&mut self) -> (CallSid, String) {
        let leg = self.offered(&invite("c1", 1)).leg;
        self.command(LegCommand::Answer { leg, answer: Box::new(ours(30000)) });
        let tag = tag_of(&self.one(), "To");
        self.recv(CARRIER, &in_dialog("ACK", "c1", 1, &tag, ""));
        assert_eq!(self.event(), LegEvent::Confirmed { leg, answer: None });
        (leg, tag)
    }

    /// REGISTER with the challenge answered.
    pub(crate) fn register(&mut self, user: &str, source: &str, extra: &str) -> String {
        let contact = format!("Contact: <sip:{user}@{source}>");
        self.register_with(user, "secret", source, format!("{contact}\n{extra}").trim())
    }

    pub(crate) fn register_with(&mut self, user: &str, password: &str, source: &str, headers: &str) -> String {
        let call = format!("reg-{user}-{source}");
        self.recv(source, &register(user, &call, 1, headers));
        let challenge = self.one();
        let answer = authorization(&challenge, user, password, "REGISTER", "sip:192.168.1.1");
        self.recv(source, &register(user, &call, 2, &format!("{headers}\nAuthorization: {answer}")));
        self.one()
    }
}

/// CRLF, no empty line but the one before the body, Content-Length in front of it.
pub(crate) fn wire(text: &str) -> String {
    let (head, body) = text.split_once("\n\n").unwrap_or((text.trim_end(), ""));
    let head: Vec<_> = head.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let body = body.replace('\n', "\r\n");
    format!("{}\r\nContent-Length: {}\r\n\r\n{body}", head.join("\r\n"), body.len())
}

pub(crate) const SDP: &str = "v=0
o=carrier 5 5 IN IP4 198.51.100.11
s=secret-session
c=IN IP4 198.51.100.11
t=0 0
m=audio 6000 RTP/AVP 8 0 101
a=rtpmap:101 telephone-event/8000
";

/// An INVITE of the carrier.
pub(crate) fn invite(call: &str, cseq: u32) -> String {
    format!(
        "INVITE sip:+15550100@203.0.113.1 SIP/2.0
        Via: SIP/2.0/UDP 198.51.100.10:5060;branch=z9hG4bK-{call}-{cseq};rport
        Max-Forwards: 70
        From: \"Carol C\" <sip:+15550199@198.51.100.10>;tag=ct-{call}
        To: <sip:+15550100@203.0.113.1>
        Call-ID: {call}
        CSeq: {cseq} INVITE
        Contact: <sip:gw@198.51.100.10:5060>
        User-Agent: CarrierSwitch/9
        X-Trace: abc
        Content-Type: application/sdp

{SDP}"
    )
}

/// A request of the carrier in the dialog of [`invite`]; `rest` are headers, and a body after an empty line.
pub(crate) fn in_dialog(method: &str, call: &str, cseq: u32, tag: &str, rest: &str) -> String {
    let headers = format!(
        "{method} sip:203.0.113.1:5060 SIP/2.0
        Via: SIP/2.0/UDP 198.51.100.10:5060;branch=z9hG4bK-{method}-{cseq};rport
        Max-Forwards: 70
        From: \"Carol C\" <sip:+15550199@198.51.100.10>;tag=ct-{call}
        To: <sip:+15550100@203.0.113.1>;tag={tag}
        Call-ID: {call}
        CSeq: {cseq} {method}
        Contact: <sip:gw@198.51.100.10:5060>
"
    );
    headers + rest
}

pub(crate) fn with_sdp(sdp: &str) -> String {
    format!("Content-Type: application/sdp\n\n{sdp}")
}

pub(crate) fn register(user: &str, call: &str, cseq: u32, headers: &str) -> String {
    format!(
        "REGISTER sip:192.168.1.1 SIP/2.0
        Via: SIP/2.0/UDP 192.168.1.50:5060;branch=z9hG4bK-{call}-{cseq};rport
        Max-Forwards: 70
        From: <sip:{user}@192.168.1.1>;tag=rt
        To: <sip:{user}@192.168.1.1>
        Call-ID: {call}
        CSeq: {cseq} REGISTER
        {headers}
"
    )
}

/// The response of a peer to a request of ours; `rest` as in [`in_dialog`].
pub(crate) fn response(request: &str, status: &str, tag: &str, rest: &str) -> String {
    let mut text = format!("SIP/2.0 {status}\n");
    for name in ["Via", "From", "To", "Call-ID", "CSeq"] {
        let value = header(request, name);
        let tag = if name == "To" && !value.contains(";tag=") && !tag.is_empty() {
            format!(";tag={tag}")
        } else {
            String::new()
        };
        text += &format!("{name}: {value}{tag}\n");
    }
    text + rest
}

/// The value of the first header of this name.
pub(crate) fn header<'a>(text: &'a str, name: &str) -> &'a str {
    let line = text.lines().find(|line| line.to_lowercase().starts_with(&format!("{}:", name.to_lowercase())));
    line.unwrap_or_else(|| panic!("no {name} in {text}")).split_once(':').unwrap().1.trim()
}

pub(crate) fn tag_of(text: &str, name: &str) -> String {
    header(text, name).split_once(";tag=").expect("a tag").1.to_owned()
}

/// The answer to the last challenge of a response (MD5), computed by an implementation of its own.
pub(crate) fn authorization(challenge: &str, user: &str, password: &str, method: &str, uri: &str) -> String {
    let line = challenge.lines().rfind(|l| l.starts_with("WWW-Authenticate")).expect("a challenge");
    let param = |name: &str| {
        let rest = &line[line.find(&format!("{name}=")).unwrap() + name.len() + 1..];
        rest.trim_start_matches('"').split(['"', ',']).next().unwrap().to_owned()
    };
    assert_eq!(param("algorithm"), "MD5");
    let (realm, nonce) = (param("realm"), param("nonce"));
    let digest = rsip::services::DigestGenerator {
        username: user,
        password,
        realm: &realm,
        nonce: &nonce,
        algorithm: rsip::headers::auth::Algorithm::Md5,
        qop: Some(&rsip::headers::auth::AuthQop::Auth { cnonce: "c".into(), nc: 1 }),
        uri: &rsip::Uri::try_from(uri).unwrap(),
        method: &method.parse().unwrap(),
    }
    .compute();
    format!(
        "Digest username=\"{user}\", realm=\"{realm}\", nonce=\"{nonce}\", uri=\"{uri}\", response=\"{digest}\", \
         algorithm=MD5, qop=auth, nc=00000001, cnonce=\"c\""
    )
}

/// What the router describes of us.
pub(crate) fn ours(port: u16) -> AudioStream {
    AudioStream {
        rtp: SocketAddr::new("203.0.113.2".parse().unwrap(), port),
        rtcp: SocketAddr::new("203.0.113.2".parse().unwrap(), port + 1),
        rtcp_mux: false,
        rtcp_xr: false,
        formats: vec![Format::pcma()],
        telephone_event: Some(101),
        ptime_ms: 20,
        direction: Direction::SendRecv,
        crypto: vec![],
        dtls: None,
        ice: None,
        fax: None,
    }
}

pub(crate) fn dial(leg: CallSid, target: Target) -> LegCommand {
    LegCommand::Dial(Box::new(Dial {
        leg,
        target,
        from: "+15550111".into(),
        from_name: "Ann".into(),
        offer: ours(30002),
        timeout: Duration::from_secs(20),
        headers: vec![("X-Note".into(), "one\r\nEvil: two".into()), ("Via".into(), "no".into())],
        identity: CallerIdentity::default(),
        max_forwards: 42,
        emergency: false,
        spare: false,
    }))
}

pub(crate) fn to_carrier(leg: CallSid) -> LegCommand {
    dial(leg, Target::Trunk { trunk: TrunkName::new("carrier"), number: "+15550142".into() })
}

pub(crate) fn hangup(leg: CallSid) -> LegCommand {
    LegCommand::Hangup { leg, by: EndedBy::Router, cause: Cause::NORMAL }
}

#[test]
fn arbitrary_and_mutated_datagrams_do_no_harm() {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut random = |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % below as u64) as usize
    };
    let seeds =
        [invite("c1", 1), in_dialog("BYE", "c1", 2, "0123456789abcdef", ""), register("alice", "r", 1, "Contact: *")];
    for _ in 0..3000 {
        let mut bytes = wire(&seeds[random(seeds.len())]).into_bytes();
        for _ in 0..=random(5) {
            let at = random(bytes.len());
            match random(3) {
                0 => bytes[at] = random(256) as u8,
                1 => drop(bytes.remove(at)),
                _ => bytes.insert(at, b"0:;=<>\r\n ,"[random(10)]),
            }
        }
        crate::fuzz::signaling(&bytes);
    }
}

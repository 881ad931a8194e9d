//! Our registrations with trunks (RFC 3261 10.2): asked for, refreshed in time, asked for again after whatever went wrong, taken back.
//!
//! ```text
//! waiting ──due──► asking ──200──► waiting, registered ──before it ends──► asking …
//!   ▲                │ 401, 407: once more, with our password    423: once more, for longer
//!   └───back-off─────┴ refused, silent, unreachable: the trunk's next address at once, else later and later
//! ```
//!
//! No state can stick: whatever became of a REGISTER, the next one has its time. A registration that fails is told and tried again; calls
//! over the trunk do not depend on it, the trunk may refuse them itself.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    time::{Duration, Instant},
};

use postern_config::{Config, Register};
use postern_facts::{TrunkRegistered, TrunkRegistrationFailed};
use postern_sip::{
    Method, Name, Request, RequestBuilder, Response, SentBy, Uri,
    message::Contact,
    transaction::{ClientKey, Flow},
};
use postern_types::{Cause, ConnectionId, Secret, Transport, TrunkName, leg::FORWARDS_MAX};
use rand::RngExt;

use crate::{
    Client, Retry, Signaling,
    dialed::{TRIES_MAX, authorized},
    headers::{self, PRODUCT},
    ladder::retry_after,
    places::Endpoint,
    targets::{Target, about},
    timers::Timer,
};

/// How long an answer is waited for; the transaction alone would wait 32 s while another address may live.
const PATIENCE: Duration = Duration::from_secs(8);
/// The first back-off at most; each is twice the one before (RFC 5626 4.5).
const BACK_OFF_MIN: Duration = Duration::from_secs(4);
/// The longest: a registrar that comes back is found within five minutes.
const BACK_OFF_MAX: Duration = Duration::from_secs(300);
/// However long a registrar asks us to wait (Retry-After).
const PAUSE_MAX: Duration = Duration::from_secs(3600);
/// The first registrations come within this time of the start, not all at once.
const FIRST_WITHIN: Duration = Duration::from_millis(500);
/// However short a registrar grants, seconds: less would be a flood of our own.
const GRANTED_MIN: u32 = 10;
/// However long a registrar grants, or demands by Min-Expires, seconds.
const GRANTED_MAX: u32 = 7 * 86_400;
/// Entries of a Service-Route at most, and bytes of each: more is no route that a datagram could carry.
const ROUTES_MAX: usize = 8;
const ROUTE_BYTES_MAX: usize = 256;

/// How a registration is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegistrationHealth {
    /// Whether one holds now.
    pub registered: bool,
    /// The registrar that took it, or that was asked last.
    pub registrar: Option<SocketAddr>,
    /// Seconds until it ends.
    pub left_s: u64,
    /// What came of the last try when it failed; else empty.
    pub why: String,
}

/// Those of all trunks.
#[derive(Debug, Default)]
pub(crate) struct Registrations {
    of: BTreeMap<TrunkName, Registration>,
}

#[derive(Debug)]
struct Registration {
    settings: Register,
    credentials: Option<(Box<str>, Secret<String>)>,
    call_id: String,
    cseq: u32,
    /// What is asked for, seconds: a 423 may have raised it.
    expires_s: u32,
    phase: Phase,
    holds: Option<Held>,
    /// How often in a row another address was asked at once.
    moves: usize,
    /// Failures in a row, and the last of them.
    failures: u32,
    failed: Option<Cause>,
    /// What of it was told.
    told: Option<u16>,
    asked: Option<SocketAddr>,
}

/// A registration that a registrar granted.
#[derive(Debug)]
struct Held {
    until: Instant,
    target: Target,
    flow: Flow,
    /// RFC 3608: by where requests of ours must go.
    routes: Vec<Box<str>>,
    /// What was granted, to be taken back.
    request: Request,
}

#[derive(Debug)]
enum Phase {
    /// Until.
    Waiting(Instant),
    /// The same, and nothing but an address is missing.
    Unlocated(Instant),
    Asking(Box<Asking>),
}

#[derive(Debug)]
struct Asking {
    key: ClientKey,
    request: Request,
    target: Target,
    flow: Flow,
    /// How often a challenge was answered.
    tries: u8,
    /// Whether a 423 was answered.
    raised: bool,
    until: Instant,
}

impl Registrations {
    /// How the registration with a trunk is; none: there is none.
    pub(crate) fn health(&self, now: Instant, trunk: &TrunkName) -> Option<RegistrationHealth> {
        let of = self.of.get(trunk)?;
        let held = of.holds.as_ref().filter(|held| held.until > now);
        Some(RegistrationHealth {
            registered: held.is_some(),
            registrar: held.map(|held| held.target.remote).or(of.asked),
            left_s: held.map_or(0, |held| held.until.saturating_duration_since(now).as_secs()),
            why: of.failed.as_ref().map(Cause::to_string).unwrap_or_default(),
        })
    }

    /// By where requests to a trunk must go.
    pub(crate) fn routes(&self, trunk: &TrunkName) -> &[Box<str>] {
        self.of.get(trunk).and_then(|of| of.holds.as_ref()).map_or(&[], |held| &held.routes)
    }

    /// Whether a registration was made over a connection, which is then kept open for the calls that come.
    pub(crate) fn holds_over(&self, id: ConnectionId) -> bool {
        self.of.values().filter_map(|of| of.holds.as_ref()).any(|held| held.flow.connection == Some(id))
    }
}

/// The number that a trunk's call is for. A registrar puts our contact in place of the Request-URI that it got (RFC 3261 16.5), so that
/// what was dialed is left in To alone.
pub(crate) fn called(config: &Config, trunk: &TrunkName, request: &Request) -> Box<str> {
    let told = headers::user_of(&request.uri());
    let register = config.trunks.get(trunk).and_then(|trunk| trunk.register.as_ref());
    if register.is_none_or(|register| register.contact != *told) {
        return told;
    }
    let dialed = request.headers.to().ok().and_then(|to| to.uri().ok().map(|uri| headers::user_of(&uri)));
    dialed.filter(|dialed| !dialed.is_empty()).unwrap_or(told)
}

impl Signaling {
    /// How our registration with a trunk is, where one is configured.
    pub fn registration_health(&self, now: Instant, trunk: &TrunkName) -> Option<RegistrationHealth> {
        self.registrations.health(now, trunk)
    }

    /// Takes every registration back, and tells those who subscribed: the daemon stops. [`Signaling::is_leaving`] says how long that takes.
    pub fn leave(&mut self, now: postern_types::Now) {
        for (_, registration) in std::mem::take(&mut self.registrations.of) {
            self.take_back(now.instant, registration);
        }
        self.leave_subscribers(now.instant);
        self.run(now);
    }

    /// After [`Signaling::leave`], whether an answer to a registration that was taken back may still come, or to a NOTIFY before the last one.
    pub fn is_leaving(&self) -> bool {
        self.subscriptions.len() > 0 || self.clients.values().any(|client| matches!(client, Client::Unregister(_)))
    }

    /// Begins and ends registrations as the configuration says.
    pub(crate) fn arm_registrations(&mut self, now: Instant) {
        let config = self.places.config.clone();
        let wanted = |name: &TrunkName| config.trunks.get(name).and_then(|trunk| trunk.register.as_ref());
        let mut gone = Vec::new();
        for (name, mut of) in std::mem::take(&mut self.registrations.of) {
            // What is held at an address that the trunk does not have any more is not the one that is wanted.
            let there = of.holds.as_ref().is_none_or(|held| self.targets.get(&name, held.target).is_some());
            match wanted(&name) {
                Some(settings) if there && is_same(&of.settings, settings) => {
                    if of.settings.expires != settings.expires {
                        of.expires_s = seconds(settings);
                    }
                    of.settings = settings.clone();
                    of.credentials = self.trunk_credentials(&name);
                    // What was wrong may have been mended.
                    if let (Phase::Waiting(due), Some(_)) = (&mut of.phase, &of.failed) {
                        *due = now + FIRST_WITHIN.mul_f64(self.rng.random());
                        of.failures = 0;
                        self.timers.set(*due, Timer::Register(name.clone()));
                    }
                    self.registrations.of.insert(name, of);
                }
                _ => gone.push(of),
            }
        }
        for registration in gone {
            self.take_back(now, registration);
        }
        for name in config.trunks.keys() {
            let Some(settings) = wanted(name).filter(|_| !self.registrations.of.contains_key(name)) else { continue };
            let due = now + FIRST_WITHIN.mul_f64(self.rng.random());
            let registration = Registration {
                settings: settings.clone(),
                credentials: self.trunk_credentials(name),
                call_id: format!("{:016x}{:016x}", self.random(), self.random()),
                cseq: 0,
                expires_s: seconds(settings),
                phase: Phase::Waiting(due),
                holds: None,
                moves: 0,
                failures: 0,
                failed: None,
                told: None,
                asked: None,
            };
            self.registrations.of.insert(name.clone(), registration);
            self.timers.set(due, Timer::Register(name.clone()));
        }
    }

    /// An address of the trunk became known: who waits for nothing else need not wait any longer.
    pub(crate) fn register_at_last(&mut self, now: Instant, trunk: &TrunkName) {
        if self.registrations.of.get(trunk).is_some_and(|of| matches!(of.phase, Phase::Unlocated(_)))
            && self.targets.best(now, trunk).is_some()
        {
            self.register_at(now, trunk, false);
        }
    }

    /// The time of a registration's next step may have come.
    pub(crate) fn registration_due(&mut self, now: Instant, trunk: &TrunkName) {
        let Some(of) = self.registrations.of.get(trunk) else { return };
        match &of.phase {
            Phase::Waiting(due) | Phase::Unlocated(due) if *due <= now => self.register_at(now, trunk, false),
            Phase::Asking(asking) if asking.until <= now => {
                let (key, target) = (asking.key, asking.target);
                self.clients.remove(&key);
                self.transactions.give_up(key);
                let cause = Cause::new(408, format!("no answer to REGISTER from {}", target.remote));
                self.register_elsewhere(now, trunk, target, cause);
            }
            Phase::Waiting(_) | Phase::Unlocated(_) | Phase::Asking(_) => {}
        }
    }

    /// Asks the first address of the trunk that is fit, or with none any.
    fn register_at(&mut self, now: Instant, trunk: &TrunkName, raised: bool) {
        let Some(target) = self.targets.best(now, trunk) else {
            return self.register_later(now, trunk, Cause::new(503, "no address of the registrar is known"), None);
        };
        let (branch, tag) = (self.new_branch(), self.new_tag().to_string());
        let config = self.places.config.clone();
        let Some(settings) = config.trunks.get(trunk) else { return };
        let endpoint = self.places.endpoint_in(&settings.realm, target.remote.is_ipv6(), target.transport).cloned();
        let Some(of) = self.registrations.of.get_mut(trunk) else { return };
        of.asked = Some(target.remote);
        of.cseq += 1;
        let request = endpoint.as_ref().and_then(|endpoint| of.request(endpoint, target.transport, &branch, &tag));
        let (Some(endpoint), Some(request)) = (endpoint, request) else {
            let cause = Cause::new(503, "the realm has no address to register from");
            return self.register_later(now, trunk, cause, None);
        };
        let flow = Flow { transport: target.transport, local: endpoint.local, remote: target.remote, connection: None };
        let flow = match target.transport {
            Transport::Udp => Some(flow),
            _ => {
                let host = self.targets.get(trunk, target).map(|known| known.host.clone()).unwrap_or_default();
                self.open(now, flow, &host, Some(trunk.clone()))
            }
        };
        let sent = flow.and_then(|flow| {
            let key = self.request(now, flow, request.clone(), Client::Register(trunk.clone()))?;
            Some((key, flow))
        });
        let Some((key, flow)) = sent else {
            let cause = Cause::new(503, "too many transactions or connections");
            return self.register_later(now, trunk, cause, None);
        };
        self.asking(trunk, Asking { key, request, target, flow, tries: 0, raised, until: now + PATIENCE });
    }

    fn asking(&mut self, trunk: &TrunkName, asking: Asking) {
        if let Some(of) = self.registrations.of.get_mut(trunk) {
            self.timers.set(asking.until, Timer::Register(trunk.clone()));
            of.phase = Phase::Asking(Box::new(asking));
        }
    }

    /// A REGISTER was answered.
    pub(crate) fn register_answered(&mut self, now: Instant, key: ClientKey, trunk: &TrunkName, response: &Response) {
        let Some(of) = self.registrations.of.get_mut(trunk) else { return };
        let Phase::Asking(asking) = &of.phase else { return };
        if asking.key != key {
            return;
        }
        let (target, raised) = (asking.target, asking.raised);
        match response.status {
            200..=299 => self.granted(now, trunk, response),
            401 | 407 => self.register_again(now, trunk, response),
            423 => match response.headers.number(Name::MinExpires) {
                Some(Ok(least)) if !raised && least > of.expires_s && least <= GRANTED_MAX => {
                    of.expires_s = least;
                    self.register_at(now, trunk, true);
                }
                _ => self.register_later(now, trunk, headers::cause_of(response), None),
            },
            408 | 500..=599 => {
                let cause = headers::cause_of(response);
                match retry_after(response).filter(|_| response.status == 503) {
                    Some(span) => {
                        self.rest(now, trunk, target, span, cause.clone());
                        self.register_next(now, trunk, target, cause, Some(span));
                    }
                    None => self.register_elsewhere(now, trunk, target, cause),
                }
            }
            _ => self.register_later(now, trunk, headers::cause_of(response), None),
        }
    }

    fn granted(&mut self, now: Instant, trunk: &TrunkName, response: &Response) {
        let chance: f64 = self.rng.random();
        let Some(of) = self.registrations.of.get_mut(trunk) else { return };
        let Phase::Asking(asking) = &of.phase else { return };
        let (target, flow) = (asking.target, asking.flow);
        let granted = granted_s(&asking.request, response).unwrap_or(of.expires_s).clamp(GRANTED_MIN, GRANTED_MAX);
        let span = Duration::from_secs(granted.into());
        // In time for more tries before it ends, and not all trunks at once.
        let due = now + span.mul_f64(0.6 + 0.2 * chance);
        let lapsed = of.holds.as_ref().is_none_or(|held| held.until <= now);
        let news = lapsed || of.told.is_some();
        let routes = response.headers.list(Name::ServiceRoute).filter(|route| route.len() <= ROUTE_BYTES_MAX);
        let routes = routes.take(ROUTES_MAX).map(|route| headers::tidy(route).into()).collect();
        of.holds = Some(Held { until: now + span, target, flow, routes, request: asking.request.clone() });
        (of.failures, of.moves, of.failed, of.told) = (0, 0, None, None);
        of.phase = Phase::Waiting(due);
        self.timers.set(due, Timer::Register(trunk.clone()));
        self.is_alive(now, trunk, target);
        if news {
            let registrar = target.remote.to_string();
            self.fact(about(trunk), TrunkRegistered { registrar, expires_s: granted.into() });
        }
    }

    /// Answers a challenge.
    fn register_again(&mut self, now: Instant, trunk: &TrunkName, response: &Response) {
        let (branch, cnonce) = (self.new_branch(), self.random());
        let credentials = self.trunk_credentials(trunk);
        let Some(of) = self.registrations.of.get_mut(trunk) else { return };
        let Phase::Asking(asking) = &of.phase else { return };
        let cause = headers::cause_of(response);
        let Some(credentials) = credentials else {
            return self.register_later(now, trunk, because(cause, "wants a password, and none is configured"), None);
        };
        let (target, flow, tries, raised) = (asking.target, asking.flow, asking.tries + 1, asking.raised);
        let endpoint = self.places.endpoint(flow).map(|endpoint| endpoint.sent_by(target.transport));
        of.cseq += 1;
        let request = endpoint.filter(|_| tries <= TRIES_MAX).and_then(|advertised| {
            authorized(&asking.request, response, &credentials, (advertised, &branch, cnonce), of.cseq)
        });
        let Some(request) = request else {
            return self.register_later(now, trunk, because(cause, "our username and password were refused"), None);
        };
        match self.request(now, flow, request.clone(), Client::Register(trunk.clone())) {
            Some(key) => {
                let until = now + PATIENCE;
                self.asking(trunk, Asking { key, request, target, flow, tries, raised, until });
            }
            None => self.register_later(now, trunk, Cause::new(503, "too many transactions or connections"), None),
        }
    }

    /// Nobody answered, or the connection was lost.
    pub(crate) fn register_failed(&mut self, now: Instant, key: ClientKey, trunk: &TrunkName, why: &str) {
        let Some(of) = self.registrations.of.get(trunk) else { return };
        let Phase::Asking(asking) = &of.phase else { return };
        if asking.key == key {
            let target = asking.target;
            let cause = Cause::new(503, format!("cannot be reached by {}: {why}", target.transport));
            self.register_elsewhere(now, trunk, target, cause);
        }
    }

    fn register_elsewhere(&mut self, now: Instant, trunk: &TrunkName, target: Target, cause: Cause) {
        let span = self.places.config.trunks.get(trunk).map(|trunk| trunk.failover.rest).unwrap_or_default();
        self.rest(now, trunk, target, span, cause.clone());
        self.register_next(now, trunk, target, cause, None);
    }

    /// The next address that is fit, at once; with none, later.
    fn register_next(
        &mut self,
        now: Instant,
        trunk: &TrunkName,
        failed: Target,
        cause: Cause,
        pause: Option<Duration>,
    ) {
        let other = self.targets.best(now, trunk).filter(|best| *best != failed);
        let other = other.is_some_and(|best| self.targets.is_fit(now, trunk, best));
        // Addresses that are never put to rest (`rest: 0s`) must not be asked in turn without end.
        let addresses = self.targets.known_mut(trunk).count();
        match self.registrations.of.get_mut(trunk).filter(|of| other && of.moves + 1 < addresses) {
            Some(of) => {
                of.moves += 1;
                self.register_at(now, trunk, false);
            }
            None => self.register_later(now, trunk, cause, pause),
        }
    }

    fn register_later(&mut self, now: Instant, trunk: &TrunkName, cause: Cause, pause: Option<Duration>) {
        let chance: f64 = self.rng.random();
        let located = self.targets.best(now, trunk).is_some();
        let Some(of) = self.registrations.of.get_mut(trunk) else { return };
        let longest = (BACK_OFF_MIN * 2_u32.pow(of.failures.min(10))).min(BACK_OFF_MAX);
        // RFC 5626 4.5: between half of it and all.
        let wait = longest.mul_f64(0.5 + 0.5 * chance).max(pause.unwrap_or_default().min(PAUSE_MAX));
        // At the start a name is not looked up yet: that is no failure until it has had its time.
        let early = !located && of.failures == 0;
        (of.failures, of.moves) = (of.failures.saturating_add(1), 0);
        let due = now + wait;
        of.phase = if located { Phase::Waiting(due) } else { Phase::Unlocated(due) };
        self.timers.set(due, Timer::Register(trunk.clone()));
        if early {
            return;
        }
        of.failed = Some(cause.clone());
        if of.told.replace(cause.status) != Some(cause.status) {
            self.fact(about(trunk), TrunkRegistrationFailed { cause, again_s: wait.as_secs() });
        }
    }

    /// A connection is gone: what was registered over it cannot be reached any more.
    pub(crate) fn registered_over_lost(&mut self, now: Instant, id: ConnectionId) {
        for (name, of) in &mut self.registrations.of {
            if of.holds.as_ref().is_some_and(|held| held.flow.connection == Some(id)) {
                of.holds = None;
                if let Phase::Waiting(due) = &mut of.phase {
                    *due = (*due).min(now + FIRST_WITHIN.mul_f64(self.rng.random()));
                    self.timers.set(*due, Timer::Register(name.clone()));
                }
            }
        }
    }

    /// RFC 3261 10.2.2: the binding goes. Nobody waits for the answer, but a challenge is answered once.
    fn take_back(&mut self, now: Instant, registration: Registration) {
        if let Phase::Asking(asking) = &registration.phase {
            self.clients.remove(&asking.key);
            self.transactions.give_up(asking.key);
        }
        let Some(held) = registration.holds.filter(|held| held.until > now) else { return };
        let branch = self.new_branch();
        let Some(advertised) = self.places.endpoint(held.flow).map(|e| e.sent_by(held.target.transport)) else {
            return;
        };
        let left = [Name::Expires, Name::Authorization, Name::ProxyAuthorization];
        let cseq = registration.cseq + 1;
        let request =
            RequestBuilder::retry(&held.request, advertised, &branch, cseq, &left).header(Name::Expires, "0").build();
        let (flow, rules) = (held.flow, self.header_rules(None, held.flow));
        let retry = registration
            .credentials
            .map(|credentials| Box::new(Retry { flow, advertised, request: request.clone(), credentials, rules }));
        self.request(now, held.flow, request, Client::Unregister(retry));
    }
}

impl Registration {
    fn request(&self, endpoint: &Endpoint, by: Transport, branch: &str, tag: &str) -> Option<Request> {
        let Register { user, domain, contact, .. } = &self.settings;
        let registrar = Uri::sip(None, domain, None).ok()?;
        let address = Uri::sip(Some(user), domain, None).ok()?;
        let SentBy { transport, address: here } = endpoint.contact();
        let ours = Uri::sip(Some(contact), &here.ip().to_string(), Some(here.port())).ok()?;
        let ours = match transport {
            Transport::Udp => format!("<{ours}>"),
            _ => format!("<{ours};transport={}>", transport.in_uri()),
        };
        let request = RequestBuilder::new(Method::Register, &registrar)
            .via(endpoint.sent_by(by), branch)
            .max_forwards(FORWARDS_MAX)
            .header(Name::From, &format!("<{address}>;tag={tag}"))
            .header(Name::To, &format!("<{address}>"))
            .header(Name::CallId, &self.call_id)
            .cseq(self.cseq)
            .header(Name::Contact, &ours)
            .header(Name::Expires, &self.expires_s.to_string())
            // RFC 3327 5.1: proxies on the way may note themselves.
            .header(Name::Supported, "path")
            .header(Name::UserAgent, PRODUCT)
            .build();
        Some(request)
    }
}

fn seconds(settings: &Register) -> u32 {
    settings.expires.as_secs().min(GRANTED_MAX.into()) as u32
}

/// How long the registrar granted our Contact (RFC 3261 10.2.1.1, 10.3 step 8), seconds.
fn granted_s(request: &Request, response: &Response) -> Option<u32> {
    let ours = request.headers.contact().ok()?;
    let ours = ours.uri().ok()?;
    let of_ours = response.headers.contacts().filter_map(Result::ok).find_map(|contact| match contact {
        Contact::Address(address) if address.uri().is_ok_and(|uri| uri.equivalent(&ours)) => {
            address.param("expires").and_then(|expires| expires.parse().ok())
        }
        _ => None,
    });
    of_ours.or_else(|| response.headers.number(Name::Expires).and_then(Result::ok))
}

/// Whether both are of one address and one contact: then the registration that holds is the one that is wanted.
fn is_same(a: &Register, b: &Register) -> bool {
    (&a.user, &a.domain, &a.contact) == (&b.user, &b.domain, &b.contact)
}

fn because(cause: Cause, why: &str) -> Cause {
    Cause { text: format!("{}: {why}", cause.text).into(), ..cause }
}

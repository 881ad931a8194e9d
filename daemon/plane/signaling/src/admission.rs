//! Requests outside any dialog: who are they from, and may they? Registration and OPTIONS are served here.
//!
//! A source that is neither trunk nor device gets nothing that tells it what we are: it is dropped, or, where users may
//! register, challenged. The challenge is the same for any user, existing or not, and costs no state: nonces are signed, not kept.

use std::time::{Duration, Instant};

use postern_facts::{AuthenticationFailed, RegistrationAdded, RegistrationRemoved, Subject};
use postern_sip::{
    Method, Name, Request, ResponseBuilder,
    build::quoted,
    digest::Verdict,
    transaction::{Flow, ServerKey, answering},
};
use postern_types::{Now, RealmName, Secret, TrunkName, UserName};
use rand::RngExt;

use crate::{
    Output, Signaling, gruu,
    guard::Misdeed,
    headers::{self, ALLOW_OUTSIDE, PRODUCT, SDP},
    offered::Who,
    places::Endpoint,
    registrar::{self, Changes, Terms},
    side::Tag,
    subscriptions::PACKAGES,
    timers::Timer,
};

/// The realm of our challenges. It says nothing, and users need not configure it.
pub(crate) const DIGEST_REALM: &str = "sip";

/// What a REGISTER may require (RFC 5626, RFC 5627).
const REGISTER_SUPPORTED: &str = "outbound, gruu";
/// How often a device with several flows shall send something over each, seconds (RFC 5626 4.4, 10): NATs forget datagrams after half a
/// minute, connections after some minutes.
const DATAGRAM_ALIVE_S: u32 = 30;
const STREAM_ALIVE_S: u32 = 120;

/// Requests a second with an authorization from unknown sources: each makes a transaction of 32 s, so that this many fill a
/// quarter of the table at most. What is beyond is dropped and counted; an honest client sends again.
const UNPROVEN_PER_SECOND: u32 = 2000;

/// Failed proofs told as facts in a second at most; more are only counted. Somebody who guesses passwords must not fill the
/// journal as well.
const FAILURES_TOLD_PER_SECOND: u32 = 10;

/// Counts within one second.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    since: Option<Instant>,
    count: u32,
}

impl Meter {
    /// Counts one more; whether it is among the first `max` of this second.
    pub(crate) fn admits(&mut self, now: Instant, max: u32) -> bool {
        if self.since.is_none_or(|since| now.duration_since(since) >= Duration::from_secs(1)) {
            (self.since, self.count) = (Some(now), 0);
        }
        self.count = self.count.saturating_add(1);
        self.count <= max
    }
}

impl Signaling {
    /// Whether a request from an unknown source may reach the transactions. When not, it was dropped or challenged.
    pub(crate) fn let_in(&mut self, now: Now, flow: Flow, request: &Request) -> bool {
        let to_tag = request.headers.to().ok().and_then(|to| to.tag()).map(Tag::read);
        if Self::is_scanner(request) {
            self.refuse_stranger(now, flow);
            self.blame(now, flow, Misdeed::Scanner);
            return false;
        }
        match (&request.method, to_tag) {
            // An ACK is never answered.
            (Method::Ack, _) => return true,
            // Of a dialog: a called URI's server, or a peer that moved. The dialog itself is checked later.
            (_, Some(Some(tag))) if self.sides.contains_key(&tag) || self.subscriptions.has(tag) => return true,
            (Method::Cancel, _) if self.merged.contains(&self.merged_id(&request.headers)) => return true,
            (Method::Invite | Method::Register | Method::Message | Method::Subscribe, None)
                if self.admits_users(flow) =>
            {
                if request.headers.has(Name::Authorization) && self.unproven.admits(now.instant, UNPROVEN_PER_SECOND) {
                    return true;
                }
                if request.check().is_ok() && !request.headers.has(Name::Authorization) {
                    self.counters.challenged += 1;
                    self.blame(now, flow, Misdeed::Challenged);
                    self.challenge_without_state(now, flow, request);
                    return false;
                }
            }
            _ => {}
        }
        self.refuse_stranger(now, flow);
        false
    }

    /// A request without To tag.
    pub(crate) fn admit(&mut self, now: Now, key: ServerKey, request: Request, flow: Flow) {
        let Some(endpoint) = self.places.endpoint(flow).cloned() else { return };
        // A device that registered from exactly this address and port is itself, also when a trunk is at the same host.
        let device = endpoint.registrations && self.registrar.knows(flow);
        let called = request.uri();
        let called = called.user().unwrap_or_default();
        let trunk = self.places.trunk_called(&endpoint.realm, flow, called).filter(|_| !device).cloned();
        let tag = self.new_tag();
        match (&request.method, trunk) {
            (Method::Invite, Some(trunk)) => {
                if self.trunk_proves(now, key, &request, flow, &trunk) {
                    self.offered(now.instant, key, request, flow, Who::Trunk(trunk), &endpoint);
                }
            }
            (Method::Message, Some(trunk)) => {
                if self.trunk_proves(now, key, &request, flow, &trunk) {
                    self.text_offered(now.instant, key, request, &Who::Trunk(trunk), &endpoint);
                }
            }
            (Method::Subscribe, Some(trunk)) => {
                if self.trunk_proves(now, key, &request, flow, &trunk) {
                    self.subscribe(now, key, &request, flow, Who::Trunk(trunk), &endpoint);
                }
            }
            (Method::Invite | Method::Register | Method::Message | Method::Subscribe, None)
                if !endpoint.registrations =>
            {
                self.transactions.discard(key);
                self.refuse_stranger(now, flow);
            }
            (Method::Invite, None) => {
                if let Some(user) = self.user_proves(now, key, &request, flow) {
                    self.offered(now.instant, key, request, flow, Who::User(user), &endpoint);
                }
            }
            (Method::Message, None) => {
                if let Some(user) = self.user_proves(now, key, &request, flow) {
                    self.text_offered(now.instant, key, request, &Who::User(user), &endpoint);
                }
            }
            (Method::Notify, Some(trunk)) => {
                if self.trunk_proves(now, key, &request, flow, &trunk) {
                    self.on_notice(now.instant, key, &request, &trunk, tag);
                }
            }
            (Method::Subscribe, None) => {
                if let Some(user) = self.user_proves(now, key, &request, flow) {
                    self.subscribe(now, key, &request, flow, Who::User(user), &endpoint);
                }
            }
            (Method::Register, Some(_)) if !endpoint.registrations => self.reply(now.instant, key, &request, 405, tag),
            (Method::Register, _) => {
                if let Some(user) = self.user_proves(now, key, &request, flow) {
                    self.register(now, key, &request, flow, &user);
                }
            }
            (Method::Options, trunk) if self.draining && (trunk.is_some() || device) => {
                self.reply(now.instant, key, &request, 503, tag);
            }
            (Method::Options, trunk) if trunk.is_some() || device => {
                self.options(now.instant, key, &request, tag);
            }
            (Method::Bye | Method::Info | Method::Update | Method::Prack, _) => {
                self.reply(now.instant, key, &request, 481, tag);
            }
            (Method::Options, _) => {
                self.transactions.discard(key);
                self.refuse_stranger(now, flow);
            }
            (method, _) => {
                let status = headers::unserved(method);
                self.reply(now.instant, key, &request, status, tag);
            }
        }
    }

    fn admits_users(&self, flow: Flow) -> bool {
        self.places.endpoint(flow).is_some_and(|endpoint: &Endpoint| endpoint.registrations)
    }

    fn refuse_stranger(&mut self, now: Now, flow: Flow) {
        self.counters.strangers += 1;
        self.strangers.note(flow.remote);
        let what = if self.admits_users(flow) { Misdeed::Uninvited } else { Misdeed::Stranger };
        self.blame(now, flow, what);
    }

    /// 200 that says what we speak: a trunk's or device's way of asking whether we are there.
    pub(crate) fn options(&mut self, now: Instant, key: ServerKey, request: &Request, tag: Tag) {
        if headers::max_forwards(&request.headers) == 0 {
            return self.reply(now, key, request, 483, tag);
        }
        if !headers::is_served_scheme(request) {
            return self.reply(now, key, request, 416, tag);
        }
        if self.refuse_required(now, key, request, tag, "timer, 100rel") {
            return;
        }
        let text = tag.to_string();
        let response = ResponseBuilder::to(request, 200)
            .to_tag(&text)
            .header(Name::Allow, ALLOW_OUTSIDE)
            .header(Name::AllowEvents, PACKAGES)
            .header(Name::Accept, SDP)
            .header(Name::Server, PRODUCT)
            .build();
        self.respond(now, key, &response);
    }

    /// Whether a trunk that must prove itself besides its source did; else it was challenged.
    fn trunk_proves(&mut self, now: Now, key: ServerKey, request: &Request, flow: Flow, trunk: &TrunkName) -> bool {
        let config = self.places.config.clone();
        let Some(demands) = config.trunks.get(trunk).and_then(|t| t.demands.as_ref()) else { return true };
        let password = |user: &str| (user == demands.username).then(|| demands.password.clone());
        let verdict = self.challenger.check(now.wall, request.method.as_str(), &request.headers, password);
        let subject = Subject { trunk: Some(trunk.clone()), ..Subject::default() };
        self.proven(now, key, request, flow, verdict, subject, true).is_some()
    }

    /// The user that a request proves to be from; else it was challenged.
    pub(crate) fn user_proves(&mut self, now: Now, key: ServerKey, request: &Request, flow: Flow) -> Option<UserName> {
        let config = self.places.config.clone();
        let password = |user: &str| config.users.get(user).map(|u| u.password.clone());
        let verdict = self.challenger.check(now.wall, request.method.as_str(), &request.headers, password);
        let claimed = match &verdict {
            Verdict::Granted { user } | Verdict::Refused { user } | Verdict::Replayed { user } => {
                config.users.get_key_value(user.as_str())
            }
            _ => None,
        };
        let known = claimed.is_some();
        let subject = Subject { user: claimed.map(|(name, _)| name.clone()), ..Subject::default() };
        let user = self.proven(now, key, request, flow, verdict, subject, known)?;
        let (name, user) = config.users.get_key_value(user.as_str())?;
        if !user.transports.is_empty() && !user.transports.contains(&flow.transport) {
            let subject = Subject { user: Some(name.clone()), ..Subject::default() };
            let why = format!("came by {}, which its `transports` leave out", flow.transport);
            self.authentication_failed(now.instant, subject, flow, name.as_str(), &why);
            let tag = self.new_tag();
            self.reply(now.instant, key, request, 403, tag);
            return None;
        }
        self.connections.prove(flow);
        Some(name.clone())
    }

    /// What follows from a verdict: the user, or a challenge. `known`: whether the claimed name is one of ours, so that its
    /// failure is a fact; names that we do not have are just another stranger.
    #[allow(clippy::too_many_arguments, reason = "the parts of one request, each used once")]
    fn proven(
        &mut self,
        now: Now,
        key: ServerKey,
        request: &Request,
        flow: Flow,
        verdict: Verdict,
        subject: Subject,
        known: bool,
    ) -> Option<String> {
        let mut stale = false;
        match verdict {
            Verdict::Granted { user } => {
                self.guard.forgive(now.instant, flow.remote.ip());
                return Some(user);
            }
            Verdict::Missing => self.counters.challenged += 1,
            Verdict::Stale => stale = true,
            Verdict::Replayed { user } => {
                stale = true;
                self.blame(now, flow, Misdeed::Uninvited);
                self.authentication_failed(now.instant, subject, flow, &user, "an authorization used twice");
            }
            Verdict::Malformed => {
                self.blame(now, flow, Misdeed::Unreadable);
                let tag = self.new_tag();
                self.reply(now.instant, key, request, 400, tag);
                return None;
            }
            Verdict::Refused { user } if known => {
                self.blame(now, flow, Misdeed::WrongPassword);
                self.authentication_failed(now.instant, subject, flow, &user, "wrong password");
            }
            Verdict::Refused { .. } => {
                self.refuse_stranger(now, flow);
                self.blame(now, flow, Misdeed::UnknownUser);
            }
        }
        let random = self.random();
        let tag = self.new_tag().to_string();
        let challenges = self.challenger.challenge(now.wall, random, stale);
        let response = challenge(request, &challenges, &tag);
        self.respond(now.instant, key, &response);
        None
    }

    fn authentication_failed(&mut self, now: Instant, subject: Subject, flow: Flow, claimed: &str, why: &str) {
        self.counters.unproven += 1;
        if self.failures.admits(now, FAILURES_TOLD_PER_SECOND) {
            let claimed = headers::tidy(claimed);
            self.fact(subject, AuthenticationFailed { source: flow.remote, claimed, why: why.into() });
        }
    }

    /// RFC 3261 8.2.7: a challenge needs no transaction. Nothing in it tells whether the user exists, or what we are.
    fn challenge_without_state(&mut self, now: Now, flow: Flow, request: &Request) {
        let mut request = request.clone();
        request.source = Some(flow.remote);
        let random = self.random();
        // The tag must be the same for a repetition.
        let tag = Tag(self.merged_id(&request.headers)).to_string();
        let challenges = self.challenger.challenge(now.wall, random, false);
        let response = challenge(&request, &challenges, &tag);
        let to = answering(flow, &request);
        // Never to another host than it came from, or we could be pointed at a victim.
        if to.remote.ip() == flow.remote.ip() {
            self.send(now.instant, to, response.wire());
        }
    }

    fn register(&mut self, now: Now, key: ServerKey, request: &Request, flow: Flow, user: &UserName) {
        let tag = self.new_tag();
        let address = request.headers.to().ok().and_then(|to| to.uri().ok().map(|uri| headers::user_of(&uri)));
        if address.as_deref() != Some(user.as_str()) {
            let subject = Subject { user: Some(user.clone()), ..Subject::default() };
            self.authentication_failed(
                now.instant,
                subject,
                flow,
                user.as_str(),
                "registers an address of another user",
            );
            return self.reply(now.instant, key, request, 403, tag);
        }
        if self.refuse_required(now.instant, key, request, tag, REGISTER_SUPPORTED) {
            return;
        }
        let Some(endpoint) = self.places.endpoint(flow).cloned() else { return };
        let Some(terms) = self.terms(user, &endpoint.realm) else { return };
        let outcome = self.registrar.register(now, user, terms, request, flow);
        let changes = match outcome {
            Ok(changes) => changes,
            Err(refusal) if refusal.0 == 423 => {
                let text = tag.to_string();
                let response = ResponseBuilder::to(request, 423)
                    .to_tag(&text)
                    .header(Name::MinExpires, &registrar::least_s(terms.lease).to_string())
                    .header(Name::Server, PRODUCT)
                    .build();
                self.respond(now.instant, key, &response);
                return;
            }
            Err(refusal) => return self.reply(now.instant, key, request, refusal.0, tag),
        };
        self.registered_over(flow, user);
        let text = tag.to_string();
        let mut response = ResponseBuilder::to(request, 200).to_tag(&text);
        let wants_gruu = gruu::is_wanted(&request.headers);
        for at in 0..self.registrar.bindings(user.as_str()).len() {
            let nonce = self.rng.random();
            let binding = &self.registrar.bindings(user.as_str())[at];
            let mut value = format!("<{}>;expires={}", binding.contact, binding.expires_in_s(now.instant));
            // RFC 3261 10.3 step 8 wants the device's own parameters back: by its instance it finds itself among the others.
            if let Some(instance) = binding.instance() {
                value.push_str(&format!(";+sip.instance={}", quoted(instance)));
            }
            if let Some(flow) = binding.reg_id() {
                value.push_str(&format!(";reg-id={flow}"));
            }
            if wants_gruu {
                value.push_str(&self.gruus.told(user, binding, &endpoint, nonce));
            }
            response = response.header(Name::Contact, &value);
        }
        if changes.outbound {
            // RFC 5626 6, 10.
            let keep_alive_s = if flow.transport.is_reliable() { STREAM_ALIVE_S } else { DATAGRAM_ALIVE_S };
            response = response.header(Name::Require, "outbound").other("Flow-Timer", &keep_alive_s.to_string());
        }
        let response = response.header(Name::Server, PRODUCT).build();
        self.respond(now.instant, key, &response);
        self.tell_changes(now.instant, user, changes);
    }

    /// What holds for a user's devices in a realm.
    pub(crate) fn terms(&self, user: &UserName, realm: &RealmName) -> Option<Terms> {
        let (user, realm) = (self.places.config.users.get(user)?, self.places.config.realms.get(realm)?);
        Some(Terms { devices_max: user.devices_max, lease: realm.lease })
    }

    /// Tells what became of a user's devices, and sets the timer for the next expiry.
    pub(crate) fn tell_changes(&mut self, now: Instant, user: &UserName, changes: Changes) {
        // One timer a user, however often its devices refresh: it fires early at worst, and is set again then.
        if let Some(at) = changes.expires
            && self.expiries.get(user).is_none_or(|set| at < *set)
        {
            self.expiries.insert(user.clone(), at);
            self.timers.set(at, Timer::Registration(user.clone()));
        }
        self.outputs.extend(changes.remembered.into_iter().map(Output::Device));
        if changes.added.is_empty() && changes.removed.is_empty() {
            return;
        }
        let devices = self.registrar.devices(user.as_str());
        let subject = Subject { user: Some(user.clone()), ..Subject::default() };
        for (source, why) in changes.removed {
            self.subscriber_left(now, user, source);
            self.fact(subject.clone(), RegistrationRemoved { source, why: why.into(), devices });
        }
        for (source, expires_s) in changes.added {
            self.fact(subject.clone(), RegistrationAdded { source, expires_s, devices });
        }
        self.outputs.push_back(Output::Devices { user: user.clone(), devices });
    }

    pub(crate) fn trunk_credentials(&self, trunk: &TrunkName) -> Option<(Box<str>, Secret<String>)> {
        let credentials = self.places.config.trunks.get(trunk)?.credentials.as_ref()?;
        Some((credentials.username.as_str().into(), credentials.password.clone()))
    }
}

fn challenge(request: &Request, challenges: &[String], tag: &str) -> postern_sip::Response {
    let mut response = ResponseBuilder::to(request, 401).to_tag(tag);
    let md5_only = headers::knows_only_md5(&request.headers);
    for value in challenges.iter().filter(|value| !md5_only || value.contains("algorithm=MD5")) {
        response = response.header(Name::WwwAuthenticate, value);
    }
    response.build()
}

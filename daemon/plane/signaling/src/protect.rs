//! What comes in is weighed before it is read: access lists, rates, bans; and what follows from misdeeds.
//!
//! And when there is too much to do, which requests are turned away.
//!
//! A trunk's messages in its own realm are never weighed. What a source that is banned sends is dropped unread but for a few
//! messages a second, of which only those go on that belong to a call that lives: a ban cuts no call.

use std::net::IpAddr;

use postern_config::Prefix;
use postern_facts::{OverloadBegan, OverloadEnded, SourceBanned, SourcesThrottled, Subject};
use postern_sip::{
    Method, Name, Request, ResponseBuilder,
    transaction::{Flow, answering},
};
use postern_types::Now;
use rand::RngExt;

use crate::{
    Signaling,
    guard::{self, Ban, Look, Misdeed},
    headers::{self, PRODUCT},
    overload::{Change, Load},
    side::Tag,
};

/// Bans told as facts in a second at most; those beyond stand in the list only. Forged addresses must not fill the journal.
const BANS_TOLD_PER_SECOND: u32 = 10;

/// Programs that look for open boxes and guess passwords, by the beginning of their User-Agent. Whoever scans on purpose changes it;
/// most do not.
const SCANNERS: [&str; 5] = ["friendly-scanner", "sipvicious", "sundayddr", "sipcli", "pplsip"];

/// What may become of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Passage {
    /// It is a trunk's.
    Trunk,
    /// It comes from exactly where a device is registered.
    Device,
    /// Anybody's.
    Anybody,
    /// Of a banned source: only what [`Signaling::outranks_bans`].
    Narrow,
    /// Of a source that sends too many: the same.
    Spent,
    /// It is dropped.
    Shut,
}

impl Signaling {
    /// Weighs a message by where it comes from.
    pub(crate) fn passage(&mut self, now: Now, flow: Flow) -> Passage {
        self.counters.received += 1;
        let Some(endpoint) = self.places.endpoint(flow) else {
            self.counters.stray += 1;
            return Passage::Shut;
        };
        if self.places.trunk_of(&endpoint.realm, flow).is_some() {
            return Passage::Trunk;
        }
        let source = flow.remote.ip();
        if !endpoint.access.admits(source) {
            self.counters.denied += 1;
            return Passage::Shut;
        }
        let is_known = self.registrar.knows(flow);
        match self.guard.look(now.instant, source, is_known) {
            Look::Free if is_known => Passage::Device,
            Look::Free => Passage::Anybody,
            Look::Spent { looked_at: true } => Passage::Spent,
            Look::Spent { looked_at: false } => self.throttle(flow),
            Look::Banned { looked_at } => match (self.is_spared(source), looked_at) {
                (true, true) => Passage::Anybody,
                (true, false) => self.throttle(flow),
                (false, true) => Passage::Narrow,
                (false, false) => {
                    self.counters.banned += 1;
                    Passage::Shut
                }
            },
        }
    }

    pub(crate) fn throttle(&mut self, flow: Flow) -> Passage {
        self.counters.throttled += 1;
        self.throttled.note(flow.remote);
        Passage::Shut
    }

    /// Whether a request goes on though its source is banned or sends too many, or though there is too much to do: what belongs to a call
    /// that lives, and an emergency call. Who makes that must prove who it is as ever.
    pub(crate) fn outranks_bans(&self, flow: Flow, request: &Request) -> bool {
        let to_tag = request.headers.to().ok().and_then(|to| to.tag()).and_then(Tag::read);
        to_tag.is_some_and(|tag| self.sides.contains_key(&tag)) || self.is_emergency(flow, request)
    }

    fn is_emergency(&self, flow: Flow, request: &Request) -> bool {
        let Some(endpoint) = self.places.endpoint(flow).filter(|_| request.method == Method::Invite) else {
            return false;
        };
        let trunk = self.places.trunk_of(&endpoint.realm, flow);
        self.places.config.is_emergency(&endpoint.realm, trunk, &headers::user_of(&request.uri()))
    }

    /// A request of a banned source was read, and dropped.
    pub(crate) fn drop_banned(&mut self, flow: Flow) {
        self.counters.banned += 1;
        self.guard.dropped(flow.remote.ip());
    }

    /// Whether whoever sends this says that it is a scanner.
    pub(crate) fn is_scanner(request: &Request) -> bool {
        let agent = request.headers.first(Name::UserAgent).unwrap_or_default();
        SCANNERS.iter().any(|name| agent.get(..name.len()).is_some_and(|front| front.eq_ignore_ascii_case(name)))
    }

    /// Puts a misdeed to the account of a source; a trunk of that realm has none.
    pub(crate) fn blame(&mut self, now: Now, flow: Flow, what: Misdeed) {
        let realm = self.places.endpoint(flow).map(|endpoint| &endpoint.realm);
        if realm.is_none_or(|realm| self.places.trunk_of(realm, flow).is_some()) {
            return;
        }
        let source = flow.remote.ip();
        let Some(begun) = self.guard.blame(now.instant, source, what) else { return };
        let is_slowed = self.is_spared(source);
        if self.bans_told.admits(now.instant, BANS_TOLD_PER_SECOND) {
            let (source, for_s, times) = (guard::written(begun.source), begun.lasts.as_secs(), begun.times);
            let why = what.words().into();
            self.fact(Subject::default(), SourceBanned { source, for_s, times, why, slowed: is_slowed });
        }
        if !is_slowed {
            self.close_unproven_of(now.instant, source);
        }
    }

    /// Whether a ban of this source only slows it: its trunks and devices must go on.
    pub(crate) fn is_spared(&self, source: IpAddr) -> bool {
        self.places.is_of_trunk(source) || self.registrar.lives_at(guard::network(source))
    }

    /// All bans, by source.
    pub fn bans(&self, now: Now) -> Vec<Ban> {
        self.guard.list(now.instant, |source: Prefix| self.is_spared(source.address))
    }

    /// How many sources are banned.
    pub fn banned(&self, now: Now) -> u64 {
        self.guard.len(now.instant) as u64
    }

    /// Ends the ban of the source that an address belongs to, and forgets what it did. False: it is not banned.
    pub fn lift_ban(&mut self, now: Now, source: IpAddr) -> bool {
        self.guard.lift(now.instant, source)
    }

    pub(crate) fn tell_throttled(&mut self, now: Now) {
        if let Some((source, messages)) = self.throttled.due(now.instant) {
            self.fact(Subject::default(), SourcesThrottled { source, messages });
        }
    }

    /// Takes a report of how busy the switch is: about every tenth of a second.
    pub fn handle_load(&mut self, now: Now, load: Load) {
        match self.overload.report(load) {
            Some(Change::Begun(Load { busy, turn })) => {
                self.shed_before = self.counters.shed;
                let (busy_percent, turn_ms) = (busy.div_ceil(10), turn.as_millis() as u64);
                self.fact(Subject::default(), OverloadBegan { busy_percent, turn_ms });
            }
            Some(Change::Ended) => {
                let refused = self.counters.shed - self.shed_before;
                self.fact(Subject::default(), OverloadEnded { refused });
            }
            None => {}
        }
        self.run(now);
    }

    /// Refuses a new call, message or registration because there is too much to do, without a transaction. False: it goes on.
    pub(crate) fn shed(&mut self, now: Now, flow: Flow, is_known: bool, request: &Request) -> bool {
        let is_new = matches!(request.method, Method::Invite | Method::Register | Method::Message | Method::Subscribe)
            && request.headers.to().is_ok_and(|to| to.tag().is_none());
        // Where nobody registers a stranger gets no answer at all.
        let is_answered = is_known || self.places.endpoint(flow).is_some_and(|endpoint| endpoint.registrations);
        if !is_new || !is_answered || self.outranks_bans(flow, request) || self.transactions.knows(request) {
            return false;
        }
        // Who was told drops by itself; only what that does not mend is refused besides.
        if request.relief.is_some() && !self.overload.is_at_its_most() {
            return false;
        }
        let draw = self.random();
        if !self.overload.refuses(draw, is_known) {
            return false;
        }
        self.counters.shed += 1;
        let mut request = request.clone();
        request.source = Some(flow.remote);
        let tag = Tag(self.merged_id(&request.headers)).to_string();
        // Calls come again soon, and not all at once; registrations of a whole town, when power is back, are spread over a minute.
        let after = match request.method {
            Method::Invite | Method::Message => self.rng.random_range(2..=6),
            _ => self.rng.random_range(10..=60),
        };
        let response = ResponseBuilder::to(&request, 503)
            .to_tag(&tag)
            .header(Name::RetryAfter, &after.to_string())
            .header(Name::Server, PRODUCT)
            .build();
        let to = answering(flow, &request);
        // As for challenges: never to another host than it came from.
        if to.remote.ip() == flow.remote.ip() {
            self.send(now.instant, to, response.wire());
        }
        true
    }
}

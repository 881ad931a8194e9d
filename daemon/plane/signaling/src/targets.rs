//! The addresses of trunks and how each is: what calls learn of one is remembered for the next call.
//!
//! A target that said 503 with Retry-After, that was silent or unreachable *rests*: it is tried last until its time is over or it answers.
//! A trunk none of whose targets is fit is *down*, which the router is told: it takes other trunks first. Nothing here refuses a
//! call: whoever has no better way tries what rests.

use std::{
    collections::{BTreeMap, HashMap},
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

use postern_config::Config;
use postern_facts::{Subject, TrunkDown, TrunkTargetRests, TrunkUp};
use postern_types::{Cause, Transport, TrunkName};

use crate::{Output, Signaling, TargetHealth, heeding::Heeded, places::Learned, probe::Probed, timers::Timer};

/// Targets of one trunk at most: what more a name resolves to is not remembered, only tried.
pub(crate) const TARGETS_MAX: usize = 64;
/// A rest is never longer, whatever Retry-After says: a peer that asks for a day is not lost for a day.
const REST_MAX: Duration = Duration::from_secs(3600);

/// An address of a trunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Target {
    pub(crate) transport: Transport,
    pub(crate) remote: SocketAddr,
}

/// What is known of one.
#[derive(Debug)]
pub(crate) struct Known {
    pub(crate) target: Target,
    /// The host of the configuration that led to it.
    pub(crate) host: Box<str>,
    rests: Option<(Instant, Cause)>,
    /// How many calls it wants less.
    pub(crate) heeded: Option<Heeded>,
    /// What asking it says, where that is configured.
    pub(crate) probed: Option<Probed>,
}

#[derive(Debug, Default)]
struct OfTrunk {
    known: Vec<Known>,
    /// Its hosts that are names, and when each is looked up again.
    names: BTreeMap<Box<str>, Instant>,
    /// Since when, and that the router was told.
    down: Option<Instant>,
}

/// Those of all trunks.
#[derive(Debug, Default)]
pub(crate) struct Targets {
    of: BTreeMap<TrunkName, OfTrunk>,
}

impl Known {
    fn is_fit(&self, now: Instant) -> bool {
        self.unfit(now).is_none()
    }

    /// Why it is tried last, and the word for that.
    fn unfit(&self, now: Instant) -> Option<(&'static str, &Cause)> {
        let down = self.probed.as_ref().and_then(Probed::down).map(|cause| ("down", cause));
        let rests = || self.rests.as_ref().filter(|(until, _)| *until > now).map(|(_, cause)| ("rests", cause));
        down.or_else(rests)
    }
}

impl Targets {
    /// Takes over a configuration: numeric addresses are known at once; what was learned of addresses that stay is kept.
    pub(crate) fn configure(&mut self, config: &Config) {
        self.of.retain(|name, _| config.trunks.contains_key(name));
        for (name, trunk) in &config.trunks {
            let of = self.of.entry(name.clone()).or_default();
            of.known.retain(|known| trunk.addresses.iter().any(|address| *address.host == *known.host));
            of.names.retain(|host, _| trunk.addresses.iter().any(|address| *address.host == **host));
            for address in &trunk.addresses {
                if let Some((transport, remote)) = address.numeric(trunk.transport) {
                    of.learn(&address.host, Target { transport, remote });
                }
            }
        }
    }

    /// Takes what a trunk's host resolves to now; addresses that it does not have any more are forgotten. Whether anything changed.
    pub(crate) fn resolved(&mut self, trunk: &TrunkName, host: &str, targets: &[Target]) -> bool {
        let Some(of) = self.of.get_mut(trunk) else { return false };
        let before: Vec<Target> = of.known.iter().map(|known| known.target).collect();
        of.known.retain(|known| *known.host != *host || targets.contains(&known.target));
        for target in targets {
            of.learn(host, *target);
        }
        before.len() != of.known.len() || of.known.iter().any(|known| !before.contains(&known.target))
    }

    /// Names of trunks that were never looked up. They count as looked up from now on.
    pub(crate) fn new_names(&mut self, now: Instant, config: &Config) -> Vec<(TrunkName, Box<str>)> {
        let mut new = Vec::new();
        for (name, trunk) in &config.trunks {
            let Some(of) = self.of.get_mut(name) else { continue };
            for address in trunk.addresses.iter().filter(|address| address.numeric(trunk.transport).is_none()) {
                let host: Box<str> = address.host.as_str().into();
                if !of.names.contains_key(&host) {
                    of.names.insert(host.clone(), now);
                    new.push((name.clone(), host));
                }
            }
        }
        new
    }

    /// A name is to be looked up again at a time. False when the trunk does not have it any more.
    pub(crate) fn look_again(&mut self, trunk: &TrunkName, host: &str, at: Instant) -> bool {
        let due = self.of.get_mut(trunk).and_then(|of| of.names.get_mut(host));
        due.map(|due| *due = at).is_some()
    }

    /// Whether that time has come; a timer may be one of a configuration that is gone.
    pub(crate) fn is_name_due(&self, now: Instant, trunk: &TrunkName, host: &str) -> bool {
        self.of.get(trunk).and_then(|of| of.names.get(host)).is_some_and(|due| *due <= now)
    }

    /// The addresses that names of trunks have now: calls from them are the trunk's. Of two trunks with one address the first by name, but
    /// for calls to the contact that the other is registered with.
    pub(crate) fn sources(&self, config: &Config) -> HashMap<IpAddr, Vec<Learned>> {
        let mut sources: HashMap<IpAddr, Vec<Learned>> = HashMap::new();
        for (name, of) in &self.of {
            let Some(trunk) = config.trunks.get(name) else { continue };
            for known in of.known.iter().filter(|known| of.names.contains_key(&known.host)) {
                let at = sources.entry(known.target.remote.ip()).or_default();
                if !at.iter().any(|learned| learned.trunk == *name) {
                    let secure = trunk.transport.is_some_and(Transport::is_secure);
                    at.push(Learned { realm: trunk.realm.clone(), trunk: name.clone(), secure });
                }
            }
        }
        sources
    }

    /// Whether a target is to be tried in its turn; one that nobody knows is.
    pub(crate) fn is_fit(&self, now: Instant, trunk: &TrunkName, target: Target) -> bool {
        self.get(trunk, target).is_none_or(|known| known.is_fit(now))
    }

    /// The first that is fit, or with none the first.
    pub(crate) fn best(&self, now: Instant, trunk: &TrunkName) -> Option<Target> {
        let known = &self.of.get(trunk)?.known;
        known.iter().find(|known| known.is_fit(now)).or(known.first()).map(|known| known.target)
    }

    /// How many addresses of a trunk are known.
    pub(crate) fn len(&self, trunk: &TrunkName) -> usize {
        self.of.get(trunk).map_or(0, |of| of.known.len())
    }

    /// Whether a trunk has an address.
    pub(crate) fn has(&self, trunk: &TrunkName, ip: IpAddr) -> bool {
        self.of.get(trunk).is_some_and(|of| of.known.iter().any(|known| known.target.remote.ip() == ip))
    }

    /// Another address of a trunk than these, fit and reached as the first of them.
    pub(crate) fn other(&self, now: Instant, trunk: &TrunkName, than: &[Target]) -> Option<Target> {
        let first = than.first()?;
        let is_alike = |of: Target| of.transport == first.transport && of.remote.is_ipv6() == first.remote.is_ipv6();
        let alike = |target: Target| is_alike(target) && !than.contains(&target);
        let known = &self.of.get(trunk)?.known;
        known.iter().find(|known| alike(known.target) && known.is_fit(now)).map(|known| known.target)
    }

    pub(crate) fn get(&self, trunk: &TrunkName, target: Target) -> Option<&Known> {
        self.of.get(trunk)?.known.iter().find(|known| known.target == target)
    }

    /// All of a trunk.
    pub(crate) fn known_mut(&mut self, trunk: &TrunkName) -> impl Iterator<Item = &mut Known> {
        self.of.get_mut(trunk).into_iter().flat_map(|of| of.known.iter_mut())
    }

    pub(crate) fn get_mut(&mut self, trunk: &TrunkName, target: Target) -> Option<&mut Known> {
        self.of.get_mut(trunk)?.known.iter_mut().find(|known| known.target == target)
    }

    /// How each target of a trunk is.
    pub(crate) fn health(&self, now: Instant, trunk: &TrunkName) -> Vec<TargetHealth> {
        let known = self.of.get(trunk).map_or(&[][..], |of| &of.known);
        let health = |known: &Known| {
            let Target { transport, remote } = known.target;
            let (state, why) = match known.unfit(now) {
                Some((state, cause)) => (state, cause.to_string()),
                None => ("up", String::new()),
            };
            TargetHealth { transport, remote, state, why }
        };
        known.iter().map(health).collect()
    }
}

impl OfTrunk {
    fn learn(&mut self, host: &str, target: Target) {
        if self.known.len() < TARGETS_MAX && !self.known.iter().any(|known| known.target == target) {
            self.known.push(Known { target, host: host.into(), rests: None, heeded: None, probed: None });
        }
    }
}

impl Signaling {
    /// A target failed: it is tried last for `span`.
    pub(crate) fn rest(&mut self, now: Instant, trunk: &TrunkName, target: Target, span: Duration, cause: Cause) {
        self.observe(now, trunk, target, Err(&cause));
        let span = span.min(REST_MAX);
        let until = now + span;
        let Some(known) = self.targets.get_mut(trunk, target).filter(|_| !span.is_zero()) else { return };
        if known.rests.as_ref().is_some_and(|(set, _)| *set >= until) {
            return;
        }
        let new = known.is_fit(now);
        known.rests = Some((until, cause.clone()));
        self.timers.set(until, Timer::Rested(trunk.clone()));
        if new {
            let (address, for_s) = (target.remote.to_string(), span.as_secs());
            self.fact(about(trunk), TrunkTargetRests { address, for_s, cause });
            self.look_at_trunk(now, trunk);
        }
    }

    /// A target answered.
    pub(crate) fn is_alive(&mut self, now: Instant, trunk: &TrunkName, target: Target) {
        self.observe(now, trunk, target, Ok(()));
        if let Some(known) = self.targets.get_mut(trunk, target)
            && known.rests.take().is_some()
        {
            self.look_at_trunk(now, trunk);
        }
    }

    /// Tells the router when a trunk went down or came up.
    pub(crate) fn look_at_trunk(&mut self, now: Instant, trunk: &TrunkName) {
        let Some(of) = self.targets.of.get_mut(trunk) else { return };
        let fit = of.known.iter().find(|known| known.is_fit(now)).map(|known| known.target.remote);
        match (fit, of.down) {
            (None, None) if !of.known.is_empty() => {
                of.down = Some(now);
                let last = of.known.iter().rev().find_map(|known| known.unfit(now));
                let cause = last.map_or(Cause::new(503, "no address that can be reached"), |(_, cause)| cause.clone());
                let targets = of.known.len() as u64;
                self.fact(about(trunk), TrunkDown { cause, targets });
                self.outputs.push_back(Output::Trunk { trunk: trunk.clone(), up: false });
            }
            (Some(address), Some(since)) => {
                of.down = None;
                let down_s = now.duration_since(since).as_secs();
                self.fact(about(trunk), TrunkUp { address: address.to_string(), down_s });
                self.outputs.push_back(Output::Trunk { trunk: trunk.clone(), up: true });
            }
            _ => {}
        }
    }
}

pub(crate) fn about(trunk: &TrunkName) -> Subject {
    Subject { trunk: Some(trunk.clone()), ..Subject::default() }
}

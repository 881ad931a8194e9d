//! The addresses of trunks and how each is: what calls learn of one is remembered for the next call.
//!
//! A target that said 503 with Retry-After, that was silent or unreachable *rests*: it is tried last until its time is over or it answers.
//! A trunk none of whose targets is fit is *down*, which the router is told: it takes other trunks first. Nothing here refuses a
//! call: whoever has no better way tries what rests.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    time::{Duration, Instant},
};

use postern_config::Config;
use postern_facts::{Subject, TrunkDown, TrunkTargetRests, TrunkUp};
use postern_types::{Cause, Transport, TrunkName};

use crate::{Output, Signaling, TargetHealth, probe::Probed, timers::Timer};

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
    /// What asking it says, where that is configured.
    pub(crate) probed: Option<Probed>,
}

#[derive(Debug, Default)]
struct OfTrunk {
    known: Vec<Known>,
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
            for address in &trunk.addresses {
                if let Ok(ip) = address.host.parse() {
                    let remote = SocketAddr::new(ip, address.port);
                    of.learn(&address.host, Target { transport: trunk.transport, remote });
                }
            }
        }
    }

    /// Takes what a trunk's host resolves to now; addresses that it does not have any more are forgotten.
    pub(crate) fn resolved(&mut self, trunk: &TrunkName, host: &str, targets: &[Target]) {
        let Some(of) = self.of.get_mut(trunk) else { return };
        of.known.retain(|known| *known.host != *host || targets.contains(&known.target));
        for target in targets {
            of.learn(host, *target);
        }
    }

    /// Whether a target is to be tried in its turn; one that nobody knows is.
    pub(crate) fn is_fit(&self, now: Instant, trunk: &TrunkName, target: Target) -> bool {
        self.get(trunk, target).is_none_or(|known| known.is_fit(now))
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
            self.known.push(Known { target, host: host.into(), rests: None, probed: None });
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

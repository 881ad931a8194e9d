//! OPTIONS to the addresses of trunks, with hysteresis: some failures in a row make one down, some answers in a row up again.
//!
//! ```text
//! waiting ──due──► asking ──answer──► waiting (`every`, or `again` while it is not surely up)
//!                    └──patience over, connection lost, 5xx──► waiting (`again`)
//! ```
//!
//! Neither state can stick: whatever became of a question, the next one has its time. Each time is a tenth early or late by chance, so
//! that a thousand trunks do not ask at once. What calls learn counts like an answer or a failure.

use std::time::{Duration, Instant};

use postern_config::Probe;
use postern_facts::{TrunkTargetDown, TrunkTargetUp};
use postern_sip::{
    Method, Name, RequestBuilder, Response, Uri,
    transaction::{ClientKey, Flow},
};
use postern_types::{Cause, Transport, TrunkName, leg::FORWARDS_MAX};
use rand::RngExt;

use crate::{
    Client, Signaling,
    headers::{self, PRODUCT, SDP},
    offered::contact,
    targets::{Target, about},
    timers::Timer,
};

/// The first question comes within this time of the start, not all at once.
const FIRST_WITHIN: Duration = Duration::from_secs(2);

/// What is known of a target by asking it.
#[derive(Debug)]
pub(crate) struct Probed {
    phase: Phase,
    verdict: Verdict,
}

#[derive(Debug)]
enum Phase {
    /// Asked at.
    Waiting(Instant),
    /// Given up at.
    Asking(ClientKey, Instant),
}

/// Up or down, by what came in a row.
#[derive(Debug, Default)]
pub(crate) struct Verdict {
    fails: u32,
    successes: u32,
    down: Option<(Instant, Cause)>,
}

/// What one more observation changed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Change {
    None,
    Down,
    /// After being down since.
    Up(Instant),
}

impl Verdict {
    /// An answer.
    pub(crate) fn answered(&mut self, probe: &Probe) -> Change {
        self.fails = 0;
        let Some((since, _)) = &self.down else { return Change::None };
        let since = *since;
        self.successes += 1;
        if self.successes < probe.successes {
            return Change::None;
        }
        *self = Self::default();
        Change::Up(since)
    }

    /// None.
    pub(crate) fn failed(&mut self, now: Instant, probe: &Probe, cause: &Cause) -> Change {
        self.successes = 0;
        if let Some((_, last)) = &mut self.down {
            last.clone_from(cause);
            return Change::None;
        }
        self.fails += 1;
        if self.fails < probe.fails {
            return Change::None;
        }
        self.down = Some((now, cause.clone()));
        Change::Down
    }

    /// Why it is down.
    pub(crate) fn down(&self) -> Option<&Cause> {
        self.down.as_ref().map(|(_, cause)| cause)
    }

    fn is_sure(&self) -> bool {
        self.down.is_none() && self.fails == 0
    }
}

impl Probed {
    pub(crate) fn down(&self) -> Option<&Cause> {
        self.verdict.down()
    }
}

impl Signaling {
    /// Begins to ask the targets that are new, and forgets what was learned where asking was turned off.
    pub(crate) fn arm_probes(&mut self, now: Instant) {
        for name in self.places.config.clone().trunks.keys() {
            self.arm_probe(now, name);
        }
    }

    /// The same for one trunk.
    pub(crate) fn arm_probe(&mut self, now: Instant, name: &TrunkName) {
        let asks = self.places.config.trunks.get(name).is_some_and(|trunk| trunk.probe.is_some());
        for known in self.targets.known_mut(name) {
            if !asks {
                known.probed = None;
            } else if known.probed.is_none() {
                let due = now + FIRST_WITHIN.mul_f64(self.rng.random());
                known.probed = Some(Probed { phase: Phase::Waiting(due), verdict: Verdict::default() });
                self.timers.set(due, Timer::Probe(name.clone(), known.target));
            }
        }
        self.look_at_trunk(now, name);
    }

    /// The time of a target's next step may have come.
    pub(crate) fn probe_due(&mut self, now: Instant, trunk: &TrunkName, target: Target) {
        let Some(probed) = self.targets.get_mut(trunk, target).and_then(|known| known.probed.as_ref()) else { return };
        match probed.phase {
            Phase::Waiting(due) if due <= now => self.ask(now, trunk, target),
            Phase::Asking(key, until) if until <= now => {
                self.clients.remove(&key);
                self.transactions.give_up(key);
                self.probe_failed(now, trunk, target, Cause::new(408, "no answer to OPTIONS"));
            }
            Phase::Waiting(_) | Phase::Asking(..) => {}
        }
    }

    fn ask(&mut self, now: Instant, trunk: &TrunkName, target: Target) {
        let config = self.places.config.clone();
        let Some(settings) = config.trunks.get(trunk) else { return };
        let Some(probe) = &settings.probe else { return };
        let host = self.targets.get(trunk, target).map(|known| known.host.clone()).unwrap_or_default();
        let unreachable = |why: &str| Cause::new(503, why.to_owned());
        let sent = match self.places.endpoint_in(&settings.realm, target.remote.is_ipv6(), target.transport).cloned() {
            None => Err(unreachable("the realm has no address to ask from")),
            Some(endpoint) => {
                let advertised = endpoint.sent_by(target.transport);
                // A name without a port is the service itself (RFC 3263).
                let numeric = host.parse::<std::net::IpAddr>().is_ok();
                let port = numeric.then_some(target.remote.port());
                let from = Uri::sip(None, &endpoint.advertised.ip().to_string(), None);
                match (Uri::sip(None, &host, port), from) {
                    (Ok(uri), Ok(from)) => {
                        let tag = self.new_tag();
                        let call_id = format!("{:016x}{:016x}", self.random(), self.random());
                        let request = RequestBuilder::new(Method::Options, &uri)
                            .via(advertised, &self.new_branch())
                            .max_forwards(FORWARDS_MAX)
                            .header(Name::From, &format!("<{from}>;tag={tag}"))
                            .header(Name::To, &format!("<{uri}>"))
                            .header(Name::CallId, &call_id)
                            .cseq(1)
                            .header(Name::Contact, &contact(endpoint.contact()))
                            .header(Name::Accept, SDP)
                            .header(Name::UserAgent, PRODUCT)
                            .build();
                        let (transport, remote) = (target.transport, target.remote);
                        let flow = Flow { transport, local: endpoint.local, remote, connection: None };
                        let flow = match transport {
                            Transport::Udp => Some(flow),
                            _ => self.open(now, flow, &host, Some(trunk.clone())),
                        };
                        let what = Client::Probe(trunk.clone(), target);
                        flow.and_then(|flow| self.request(now, flow, request, what))
                            .ok_or_else(|| unreachable("too many transactions or connections"))
                    }
                    _ => Err(unreachable("its host makes no SIP address")),
                }
            }
        };
        match sent {
            Ok(key) => {
                let until = now + probe.patience;
                self.set_phase(trunk, target, Phase::Asking(key, until), until);
            }
            Err(cause) => self.probe_failed(now, trunk, target, cause),
        }
    }

    /// An OPTIONS was answered.
    pub(crate) fn probe_answered(&mut self, now: Instant, trunk: &TrunkName, target: Target, response: &Response) {
        match response.status {
            // It has it from elsewhere, or does not know the method: it lives.
            408 | 500 | 502..=504 | 506..=599 => {
                self.probe_failed(now, trunk, target, headers::cause_of(response));
            }
            _ => {
                self.observe(now, trunk, target, Ok(()));
                self.wait_on(now, trunk, target);
            }
        }
    }

    pub(crate) fn probe_failed(&mut self, now: Instant, trunk: &TrunkName, target: Target, cause: Cause) {
        self.observe(now, trunk, target, Err(&cause));
        self.wait_on(now, trunk, target);
    }

    /// What a question, or a call, learned of a target.
    pub(crate) fn observe(&mut self, now: Instant, trunk: &TrunkName, target: Target, seen: Result<(), &Cause>) {
        let config = self.places.config.clone();
        let Some(probe) = config.trunks.get(trunk).and_then(|trunk| trunk.probe.as_ref()) else { return };
        let Some(probed) = self.targets.get_mut(trunk, target).and_then(|known| known.probed.as_mut()) else { return };
        let change = match seen {
            Ok(()) => probed.verdict.answered(probe),
            Err(cause) => probed.verdict.failed(now, probe, cause),
        };
        let address = target.remote.to_string();
        match (change, seen) {
            (Change::Down, Err(cause)) => {
                self.fact(about(trunk), TrunkTargetDown { address, cause: cause.clone(), fails: probe.fails });
            }
            (Change::Up(since), _) => {
                let down_s = now.duration_since(since).as_secs();
                self.fact(about(trunk), TrunkTargetUp { address, down_s });
            }
            _ => return,
        }
        self.look_at_trunk(now, trunk);
    }

    /// When to ask next.
    fn wait_on(&mut self, now: Instant, trunk: &TrunkName, target: Target) {
        let config = self.places.config.clone();
        let Some(probe) = config.trunks.get(trunk).and_then(|trunk| trunk.probe.as_ref()) else { return };
        let chance: f64 = self.rng.random();
        let Some(probed) = self.targets.get_mut(trunk, target).and_then(|known| known.probed.as_ref()) else { return };
        let span = if probed.verdict.is_sure() { probe.every } else { probe.again };
        let due = now + span.mul_f64(0.9 + 0.2 * chance);
        self.set_phase(trunk, target, Phase::Waiting(due), due);
    }

    fn set_phase(&mut self, trunk: &TrunkName, target: Target, phase: Phase, at: Instant) {
        let Some(probed) = self.targets.get_mut(trunk, target).and_then(|known| known.probed.as_mut()) else { return };
        probed.phase = phase;
        self.timers.set(at, Timer::Probe(trunk.clone(), target));
    }
}

#[cfg(test)]
mod tests {
    use rand::{SeedableRng, rngs::StdRng};

    use super::*;

    fn probe() -> Probe {
        let span = Duration::from_secs;
        Probe { every: span(30), again: span(5), patience: span(2), fails: 3, successes: 2 }
    }

    /// Whatever came before: so many failures in a row make it down and so many answers up, and nothing else does.
    #[test]
    fn neither_stuck_up_nor_down() {
        #[allow(clippy::disallowed_methods, reason = "any instant will do as the start of virtual time")]
        let now = Instant::now();
        let (probe, cause) = (probe(), Cause::new(408, "silent"));
        for seed in 0..200 {
            let mut rng = StdRng::seed_from_u64(seed);
            let mut verdict = Verdict::default();
            let (mut down, mut fails, mut answers) = (false, 0, 0);
            for _ in 0..300 {
                if rng.random::<f64>() < 0.5 {
                    (fails, answers) = (0, answers + 1);
                    let up = down && answers >= probe.successes;
                    assert_eq!(matches!(verdict.answered(&probe), Change::Up(_)), up, "seed {seed}");
                    down &= !up;
                } else {
                    (fails, answers) = (fails + 1, 0);
                    let fell = !down && fails >= probe.fails;
                    assert_eq!(verdict.failed(now, &probe, &cause) == Change::Down, fell, "seed {seed}");
                    down |= fell;
                }
                assert_eq!(verdict.down().is_some(), down, "seed {seed}");
            }
        }
    }
}

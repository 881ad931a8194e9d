//! The ways of a dialed leg, tried one after the other: the addresses of a trunk, and what a name resolves to.
//!
//! ```text
//! numeric address ─┐
//! name ─ resolved ─┴─► fit: INVITE ─► answered, or what the callee meant: the end
//!                      resting: last  └► silent, unreachable, 503, …: the next rung
//! ```
//!
//! Only what says nothing of the callee moves a leg on (`trunks.*.failover`), so 486 and 603 never do.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use postern_config::Failover;
use postern_locate::Located;
use postern_sip::{Name, Response};
use postern_types::{
    CallSid, Cause, EndedBy, RealmName, Transport, TrunkName,
    leg::{LegEvent, Target as Callee},
};

use crate::{
    RESOLVING_MAX, Signaling,
    names::Search,
    side::{Side, State, Tag},
    targets::Target,
    timers::Timer,
};

/// What is left to try for a leg.
#[derive(Debug)]
pub(crate) struct Ladder {
    realm: RealmName,
    /// None for a URI.
    trunk: Option<TrunkName>,
    rungs: VecDeque<Rung>,
    /// Tried when no other rung is left.
    resting: VecDeque<Place>,
    /// What is tried now, or was tried last, and how many there were.
    current: Option<Box<str>>,
    attempts: u32,
    /// Why the current one failed.
    failed: Option<Cause>,
    /// The router has another way.
    spare: bool,
    /// When the call's time is over.
    until: Instant,
}

#[derive(Debug)]
enum Rung {
    /// A host as it is written; it is looked for first (RFC 3263).
    Host {
        host: Box<str>,
        port: Option<u16>,
        transport: Option<Transport>,
    },
    At(Place),
}

/// Where an INVITE can go.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    /// As the Request-URI of a trunk says it, and a certificate.
    pub(crate) host: Box<str>,
    /// As it was written.
    pub(crate) port: Option<u16>,
    pub(crate) target: Target,
}

impl Ladder {
    fn left(&self) -> usize {
        self.rungs.len() + self.resting.len() + usize::from(self.spare)
    }
}

impl Signaling {
    /// The ladder of a callee that is reached by address.
    pub(crate) fn ladder(&self, now: Instant, dial: &postern_types::leg::Dial) -> Result<Ladder, Cause> {
        let (realm, trunk, rungs) = match &dial.target {
            Callee::Trunk { trunk: name, .. } => {
                let trunk = self.places.config.trunks.get(name).ok_or_else(|| Cause::new(404, "no such trunk"))?;
                let rung = |address: &postern_config::Address| {
                    let (host, port) = (address.host.as_str().into(), address.port);
                    Rung::Host { host, port, transport: trunk.transport }
                };
                (trunk.realm.clone(), Some(name.clone()), trunk.addresses.iter().map(rung).collect())
            }
            Callee::Uri { uri, realm, .. } => {
                let (host, port, transport) = crate::dialed::place_of_uri(uri)?;
                (realm.clone(), None, [Rung::Host { host, port, transport }].into())
            }
            Callee::User { .. } => return Err(Cause::new(500, "a user is not reached by address")),
        };
        let until = now + dial.timeout;
        let (resting, current, failed) = Default::default();
        Ok(Ladder { realm, trunk, rungs, resting, current, attempts: 0, failed, spare: dial.spare, until })
    }

    /// Tries the next rung that can be tried; with none left, the leg fails.
    pub(crate) fn climb(&mut self, now: Instant, sid: CallSid) {
        while let Some(ladder) = self.legs.get_mut(sid).and_then(|leg| leg.ladder.as_mut()) {
            let place = match ladder.rungs.pop_front() {
                Some(Rung::Host { .. }) if self.searches.len() >= RESOLVING_MAX => {
                    self.note_failure(sid, Cause::new(503, "too many names are being resolved"));
                    continue;
                }
                Some(Rung::Host { host, port, transport }) => {
                    let realm = ladder.realm.clone();
                    ladder.rungs.push_front(Rung::Host { host: host.clone(), port, transport });
                    return self.search(now, Search::Leg(sid), &realm, &host, port, transport);
                }
                Some(Rung::At(place)) => {
                    let fit = ladder.trunk.as_ref().is_none_or(|t| self.targets.is_fit(now, t, place.target));
                    if !fit {
                        ladder.resting.push_back(place);
                        continue;
                    }
                    place
                }
                None => match ladder.resting.pop_front() {
                    Some(place) => place,
                    None => break,
                },
            };
            if self.keeps_back(now, sid, &place) {
                self.note_failure(sid, Cause::new(503, "the trunk wants fewer calls"));
                continue;
            }
            match self.attempt(now, sid, &place) {
                Ok(()) => return,
                Err(cause) => self.note_failure(sid, cause),
            }
        }
        let failure = self.legs.get_mut(sid).and_then(|leg| leg.failure.take());
        let (by, cause) =
            failure.unwrap_or_else(|| (EndedBy::Postern, Cause::new(503, "no address that can be reached")));
        self.fail(now, sid, by, cause);
    }

    /// The host of the rung in front was found, or not.
    pub(crate) fn rung_located(&mut self, now: Instant, sid: CallSid, located: &Located) {
        let Some(ladder) = self.legs.get_mut(sid).and_then(|leg| leg.ladder.as_mut()) else { return };
        let Some(Rung::Host { host, port, .. }) = ladder.rungs.pop_front() else { return };
        let (realm, trunk) = (ladder.realm.clone(), ladder.trunk.clone());
        let targets = self.reachable(&realm, located);
        let Some(ladder) = self.legs.get_mut(sid).and_then(|leg| leg.ladder.as_mut()) else { return };
        for target in targets.iter().rev() {
            ladder.rungs.push_front(Rung::At(Place { host: host.clone(), port, target: *target }));
        }
        if targets.is_empty() {
            let why = match (located.targets.is_empty(), located.sure) {
                (false, _) => "has no address that this realm can reach",
                (true, true) => "has no address",
                (true, false) => "was not found: DNS does not answer",
            };
            self.note_failure(sid, Cause::new(503, format!("{host} {why}")));
        }
        if let Some(trunk) = trunk {
            self.trunk_located(now, &trunk, &host, &targets, located.sure);
        }
        self.climb(now, sid);
    }

    /// One INVITE. An error: it could not even be sent.
    fn attempt(&mut self, now: Instant, sid: CallSid, place: &Place) -> Result<(), Cause> {
        let Some(leg) = self.legs.get_mut(sid) else { return Ok(()) };
        let (Some(dial), Some(ladder)) = (leg.dial.clone(), leg.ladder.as_mut()) else { return Ok(()) };
        ladder.attempts += 1;
        let to: Box<str> = place.target.remote.to_string().into();
        let from = ladder.current.replace(to.clone());
        let cause = ladder.failed.take();
        let (attempt, left, realm, until) = (ladder.attempts, ladder.left(), ladder.realm.clone(), ladder.until);
        let after = self.failover(sid).after;
        if let (Some(from), Some(cause)) = (from, cause) {
            self.tell(LegEvent::Moved { leg: sid, from, to, cause });
        }
        self.dial_place(now, &dial, &realm, place)?;
        if left > 0 {
            // Each of those that are left must have its turn before the call's time is over.
            let share = until.saturating_duration_since(now) / (left as u32 + 1);
            self.timers.set(now + after.min(share), Timer::Silent(sid, attempt));
        }
        Ok(())
    }

    /// Notes why a rung failed, for the leg should it be the last, and for the story.
    fn note_failure(&mut self, sid: CallSid, cause: Cause) {
        let Some(leg) = self.legs.get_mut(sid) else { return };
        leg.note(EndedBy::Postern, cause.clone());
        if let Some(ladder) = &mut leg.ladder {
            ladder.failed = Some(cause);
        }
    }

    /// The settings of a leg's trunk; those of a plain trunk for a URI.
    fn failover(&self, sid: CallSid) -> Failover {
        let trunk = self.legs.trunk_of(sid).and_then(|trunk| self.places.config.trunks.get(trunk));
        trunk.map(|trunk| trunk.failover.clone()).unwrap_or_default()
    }

    /// Nothing at all was heard of an attempt for as long as is waited when there is another way.
    pub(crate) fn on_silence(&mut self, now: Instant, sid: CallSid, attempt: u32) {
        let Some(leg) = self.legs.get_mut(sid).filter(|leg| leg.dial.is_some()) else { return };
        let [tag] = leg.sides[..] else { return };
        if leg.ladder.as_ref().is_none_or(|ladder| ladder.attempts != attempt) {
            return;
        }
        let Some(Side { state: State::Calling(calling), flow, .. }) = self.sides.get(&tag) else { return };
        if calling.heard {
            return;
        }
        let cause = Cause::new(408, format!("nothing was heard from {}", flow.remote));
        self.target_failed(now, sid, tag, &cause);
        // Should it wake up later, its answer finds the CANCEL, or is acknowledged and ended.
        if let Some(leg) = self.legs.get_mut(sid) {
            leg.sides.clear();
        }
        self.release(now, tag, &cause);
        self.note_failure(sid, cause);
        self.climb(now, sid);
    }

    /// The only side of a leg failed. Whether the leg goes on elsewhere.
    pub(crate) fn moves_on(&mut self, now: Instant, sid: CallSid, by: EndedBy, cause: &Cause) -> bool {
        let ours = by == EndedBy::Postern;
        let may = ours || self.failover(sid).takes(cause.status);
        let Some(ladder) = self.legs.get_mut(sid).and_then(|leg| leg.ladder.as_mut()) else { return false };
        if !may || (ladder.rungs.is_empty() && ladder.resting.is_empty()) {
            return false;
        }
        ladder.failed = Some(cause.clone());
        self.climb(now, sid);
        true
    }

    /// An address was silent or could not be reached: it rests.
    pub(crate) fn target_failed(&mut self, now: Instant, sid: CallSid, tag: Tag, cause: &Cause) {
        let Some((trunk, target)) = self.target_of(sid, tag) else { return };
        let span = self.failover(sid).rest;
        self.rest(now, &trunk, target, span, cause.clone());
    }

    /// An address answered an INVITE: it lives, unless it asks for a pause (RFC 3261 21.5.4).
    pub(crate) fn target_answered(&mut self, now: Instant, sid: CallSid, tag: Tag, response: &Response) {
        let Some((trunk, target)) = self.target_of(sid, tag) else { return };
        self.heed(now, &trunk, target, response);
        match retry_after(response) {
            Some(span) if response.status == 503 => {
                self.rest(now, &trunk, target, span, crate::headers::cause_of(response));
            }
            _ => self.is_alive(now, &trunk, target),
        }
    }

    fn target_of(&self, sid: CallSid, tag: Tag) -> Option<(TrunkName, Target)> {
        let (trunk, flow) = (self.legs.trunk_of(sid)?, self.sides.get(&tag)?.flow);
        Some((trunk.clone(), Target { transport: flow.transport, remote: flow.remote }))
    }
}

/// `Retry-After: 120 (maintenance);duration=60` (RFC 3261 20.33): its seconds.
pub(crate) fn retry_after(response: &Response) -> Option<Duration> {
    let value = response.headers.first(Name::RetryAfter)?.trim_start();
    let digits = value.find(|c: char| !c.is_ascii_digit()).unwrap_or(value.len());
    value[..digits].parse().ok().map(Duration::from_secs)
}

//! Legs: what the router knows them by, how many there are, and their ends.

use std::{collections::HashMap, time::Instant};

use postern_facts::Subject;
use postern_types::{
    CallSid, Cause, EndedBy, TrunkName,
    leg::{Dial, LegEvent},
};

use crate::{
    Output, Signaling,
    ladder::Ladder,
    side::{State, Tag},
};

/// Legs alive at once at most: 50,000 calls are beyond any box that this runs on. 503 beyond.
pub(crate) const LEGS_MAX: usize = 100_000;
/// Legs of emergency calls that find room beyond that.
const EMERGENCY_LEGS: usize = 4000;

/// A leg that the router knows.
#[derive(Debug)]
pub(crate) struct Leg {
    /// One for a leg that came in or was answered; those still trying for a dialed one.
    pub(crate) sides: Vec<Tag>,
    /// What it was dialed with, until it is answered; none for a leg that came in.
    pub(crate) dial: Option<Box<Dial>>,
    /// What is left to try, for one that is reached by address.
    pub(crate) ladder: Option<Box<Ladder>>,
    /// The best reason among the sides that failed so far.
    pub(crate) failure: Option<(EndedBy, Cause)>,
}

impl Leg {
    /// Notes why a side failed, if it tells more than what is known.
    pub(crate) fn note(&mut self, by: EndedBy, cause: Cause) {
        if self.failure.as_ref().is_none_or(|(_, best)| rank(&cause) < rank(best)) {
            self.failure = Some((by, cause));
        }
    }
}

/// RFC 3261 16.7 step 6, for devices of one person: what a person did tells more than what a network did.
pub(crate) fn rank(cause: &Cause) -> (u8, u16) {
    let class = match cause.status {
        600.. => 0,
        486 => 1,
        408 | 503 => 4,
        500..=599 => 3,
        _ => 2,
    };
    (class, cause.status)
}

/// All legs, and how many each trunk carries.
#[derive(Debug, Default)]
pub(crate) struct Legs {
    legs: HashMap<CallSid, (Leg, Option<TrunkName>)>,
    pub(crate) of_trunk: HashMap<TrunkName, u32>,
}

impl Legs {
    /// Whether there is no room for one more.
    pub(crate) fn is_full(&self, emergency: bool) -> bool {
        self.legs.len() >= if emergency { LEGS_MAX + EMERGENCY_LEGS } else { LEGS_MAX }
    }

    pub(crate) fn insert(&mut self, sid: CallSid, leg: Leg, trunk: Option<TrunkName>) {
        if let Some(trunk) = &trunk {
            *self.of_trunk.entry(trunk.clone()).or_default() += 1;
        }
        self.legs.insert(sid, (leg, trunk));
    }

    pub(crate) fn remove(&mut self, sid: CallSid) -> Option<Leg> {
        let (leg, trunk) = self.legs.remove(&sid)?;
        if let Some(trunk) = trunk
            && let Some(count) = self.of_trunk.get_mut(&trunk)
        {
            *count -= 1;
            if *count == 0 {
                self.of_trunk.remove(&trunk);
            }
        }
        Some(leg)
    }

    pub(crate) fn get(&self, sid: CallSid) -> Option<&Leg> {
        self.legs.get(&sid).map(|(leg, _)| leg)
    }

    pub(crate) fn get_mut(&mut self, sid: CallSid) -> Option<&mut Leg> {
        self.legs.get_mut(&sid).map(|(leg, _)| leg)
    }

    /// The trunk that a leg is of.
    pub(crate) fn trunk_of(&self, sid: CallSid) -> Option<&TrunkName> {
        self.legs.get(&sid)?.1.as_ref()
    }

    pub(crate) fn contains(&self, sid: CallSid) -> bool {
        self.legs.contains_key(&sid)
    }

    pub(crate) fn len(&self) -> usize {
        self.legs.len()
    }
}

impl Signaling {
    pub(crate) fn tell(&mut self, event: LegEvent) {
        self.outputs.push_back(Output::Leg(event));
    }

    pub(crate) fn fact(&mut self, subject: Subject, fact: impl Into<postern_facts::Fact>) {
        self.outputs.push_back(Output::Fact(postern_facts::Happened { subject, fact: fact.into() }));
    }

    /// The leg of a side that is the leg's only one and up.
    pub(crate) fn only_side(&self, leg: CallSid) -> Option<Tag> {
        match self.legs.get(leg)?.sides[..] {
            [tag] => Some(tag),
            _ => None,
        }
    }

    /// The router ends a leg in whatever state.
    pub(crate) fn hang_up(&mut self, now: Instant, sid: CallSid, by: EndedBy, cause: Cause) {
        let Some(leg) = self.legs.remove(sid) else { return };
        for tag in leg.sides {
            self.release(now, tag, &cause);
        }
        self.tell(LegEvent::Ended { leg: sid, by, cause });
    }

    /// A dialed leg fails before its answer; what still tries is cancelled.
    pub(crate) fn fail(&mut self, now: Instant, sid: CallSid, by: EndedBy, cause: Cause) {
        let Some(leg) = self.legs.remove(sid) else { return };
        for tag in leg.sides {
            self.release(now, tag, &cause);
        }
        self.tell(LegEvent::Failed { leg: sid, by, cause });
    }

    /// The peer, or a failure of ours, ended the dialog of a side: nothing more is sent on it.
    pub(crate) fn ended(&mut self, tag: Tag, by: EndedBy, cause: Cause) {
        let Some(side) = self.forget(tag) else { return };
        let Some(sid) = side.leg else { return };
        self.legs.remove(sid);
        self.tell(LegEvent::Ended { leg: sid, by, cause });
    }

    /// Lets go of a side in the way that its state demands. It lives on without a leg where the RFC wants us to wait.
    pub(crate) fn release(&mut self, now: Instant, tag: Tag, cause: &Cause) {
        let Some(side) = self.sides.get_mut(&tag) else { return };
        side.leg = None;
        match &mut side.state {
            State::Offered(offered) => {
                let (key, invite) = (offered.key, offered.invite.clone());
                let status = if (400..700).contains(&cause.status) { cause.status } else { 480 };
                self.refuse_invite(now, tag, key, &invite, status, cause);
                self.forget(tag);
            }
            State::Calling(calling) => {
                let reason = crate::headers::reason(cause);
                // Without a transaction to cancel the final answer is just being handled, or there never was one.
                if !self.transactions.cancel(now, calling.key, reason.as_deref()) {
                    self.forget(tag);
                }
            }
            State::Up(session) => {
                // RFC 3261 15: a callee sends no BYE before the ACK of its answer.
                if session.unacked.as_ref().is_some_and(|unacked| unacked.first) {
                    session.hangup = Some(cause.clone());
                } else {
                    self.bye(now, tag, cause);
                    self.forget(tag);
                }
            }
        }
    }
}

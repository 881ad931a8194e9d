//! Attended transfer and taking over: who talks with two of ours joins them and leaves (RFC 5589 7), and who comes anew takes the place of a leg of
//! its own (RFC 3891).
//!
//! ```text
//! A talks with B in one call and with C in another ─ A refers B to C, naming its second leg ─► C's leg moves to the first call: B talks with C,
//!                                                                                              A is released from both, the second call is over
//! A talks with C ─ A' calls, naming A's leg ─► A' is answered and talks with C, A is released
//! C rings A      ─ A' calls, naming A's leg ─► A' is answered and talks with C, A rings no more
//! ```
//!
//! Signaling has checked that both legs are of one party. Nobody is dialed, so no route is asked: whoever is joined was reached by rights of its own.
//! Left out: calls whose own leg a document runs, and a second leg that is not answered yet.

use postern_facts as facts;
use postern_types::{
    CallSid, Cause, EndedBy, Now,
    leg::{LegCommand, Offered, Party},
    media::MediaCommand,
    stream::{AudioStream, Direction, Format, Libraries},
};

use crate::{
    call::{Call, LEGS_MAX},
    context::Context,
    dial::own_number,
    leg::Leg,
    negotiate,
    reoffer::{Asker, Reoffer},
    router::Router,
    transfer::TRANSFERS_MAX,
};

/// A leg that takes the place of another as soon as it has a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TakeOver {
    /// The new one.
    pub leg: CallSid,
    /// Whose place.
    of: CallSid,
}

impl Router {
    /// A party refers the other party of `leg` to that of `second`.
    pub(crate) fn referred_to_second(&mut self, now: Now, leg: CallSid, second: Option<CallSid>, to: &str) {
        let (first, other) = (self.call_of(leg), second.and_then(|second| self.call_of(second)));
        let refusal = match (first, second.zip(other)) {
            (Some(first), Some((second, other))) if first != other => {
                self.join_calls(now, (first, leg), (other, second), to).err()
            }
            _ => Some(Cause::new(481, "no such second call of the same party")),
        };
        if let Some(cause) = refusal {
            self.with_leg(now, leg, |call, cx| {
                call.tell(cx, leg, facts::CallReferred { to: to.to_owned() });
                call.refer_failed(cx, leg, to, cause);
            });
        }
    }

    /// Moves whom `second` talks with to the call of `leg`, there to talk with whom `leg` talks with.
    fn join_calls(
        &mut self,
        now: Now,
        (first, leg): (CallSid, CallSid),
        (other, second): (CallSid, CallSid),
        to: &str,
    ) -> Result<(), Cause> {
        let stays = self.call(first).ok_or(Cause::NORMAL)?.may_join(leg)?;
        let comes = self.call(other).ok_or(Cause::NORMAL)?;
        if comes.session.is_some() {
            return Err(Cause::new(403, "an application decides who talks in the second call"));
        }
        let moved = comes.may_join(second)?;
        let (stays, comes) = (self.leg(stays).ok_or(Cause::NORMAL)?, self.leg(moved).ok_or(Cause::NORMAL)?);
        if !can_talk(stays, &comes.agreed, self.context().libraries) {
            return Err(Cause::new(488, "the two parties have no codec in common"));
        }
        let to = if to.is_empty() { comes.to.clone() } else { to.to_owned() };
        let mut carried = None;
        self.with_call(now, other, |call, cx| {
            call.tell(cx, moved, facts::LegMoved { into: first });
            carried = call.give_away(cx, now, moved, second);
        });
        let Some(carried) = carried else { return Err(Cause::new(481, "the second call is over")) };
        self.with_call(now, first, |call, cx| call.take_in(cx, now, leg, carried, to));
        self.with_call(now, other, |call, cx| {
            call.hang_up(cx, now, second, EndedBy::Router, Cause { text: "transferred".into(), ..Cause::NORMAL });
        });
        Ok(())
    }

    /// An INVITE with Replaces: no call of its own, but a leg that takes the place of `of`.
    pub(crate) fn take_over(&mut self, now: Now, offered: &Offered, of: CallSid) {
        let (sid, call) = (offered.leg, self.call_of(of));
        let may = call.and_then(|call| self.call(call)).map_or_else(
            || Err(Cause::new(481, "the call is over")),
            |call| {
                let own = call.may_be_taken_over(of)?;
                let with = call.leg(own).ok_or(Cause::NORMAL)?;
                let policy = negotiate::Policy::of(&self.context().config, &offered.party, &offered.realm);
                let formats =
                    offered.offer.as_ref().map_or_else(negotiate::static_formats, |offer| offer.formats.clone());
                let theirs = if with.agreed.is_empty() { with.candidates() } else { with.agreed.clone() };
                let formats = policy.allow(&formats);
                let fits = !negotiate::common(&formats, &theirs).is_empty();
                if fits || negotiate::convertible(&formats, &theirs, self.context().libraries).is_some() {
                    return Ok(());
                }
                Err(Cause::new(488, "the two parties have no codec in common"))
            },
        );
        match (call, may) {
            (Some(call), Ok(())) => self.with_call(now, call, |call, cx| {
                let leg = Leg::offered(cx, now, offered);
                call.add_leg(cx, leg);
                let (source, sip_call_id) = (offered.source, offered.sip_call_id.to_string());
                call.tell(cx, sid, facts::LegReplaces { of, source, sip_call_id });
                if let Some(offer) = &offered.offer
                    && let Err(cause) = call.check_address(cx, sid, offer)
                {
                    return call.hang_up(cx, now, sid, EndedBy::Postern, cause);
                }
                call.taking_over = Some(TakeOver { leg: sid, of });
                call.open(cx, now, sid);
            }),
            (_, Err(cause)) => {
                self.refused();
                self.command(LegCommand::Hangup { leg: sid, by: EndedBy::Router, cause });
            }
            (None, Ok(())) => {}
        }
    }
}

impl Call {
    /// Who would talk with another if `leaves` joined them; an error: why that cannot be now.
    fn may_join(&self, leaves: CallSid) -> Result<CallSid, Cause> {
        let Some(other) = self.bridged_with(leaves) else { return Err(Cause::new(491, "nobody to be referred")) };
        if self.session.is_some() && leaves == self.anchor {
            return Err(Cause::new(403, "an application decides who talks in this call"));
        }
        let ringing = self.dialing.as_ref().is_some_and(|dialing| !dialing.ringing.is_empty());
        let both =
            [leaves, other].iter().all(|sid| self.leg(*sid).is_some_and(|l| l.is_live() && l.answered.is_some()));
        if self.transfer.is_some() || self.reoffer.is_some() || self.taking_over.is_some() || ringing || !both {
            return Err(Cause::new(491, "another change is under way"));
        }
        if self.transfers >= TRANSFERS_MAX || self.legs.len() >= LEGS_MAX {
            return Err(Cause::new(483, "transferred too often"));
        }
        Ok(other)
    }

    /// Lets a leg go to another call; `remains` is what this one is about from now on, for a moment.
    fn give_away(&mut self, cx: &mut Context, now: Now, goes: CallSid, remains: CallSid) -> Option<Leg> {
        self.stop_recordings_of(cx, now, goes);
        self.stop_dial_recording(cx, now);
        cx.media(MediaCommand::Unbridge { leg: remains });
        (self.dialing, self.anchor) = (None, remains);
        let at = self.legs.iter().position(|leg| leg.sid == goes)?;
        Some(self.legs.remove(at))
    }

    /// Takes in whom `leaves` is replaced by.
    fn take_in(&mut self, cx: &mut Context, now: Now, leaves: CallSid, mut leg: Leg, to: String) {
        self.tell(cx, leaves, facts::CallReferred { to: to.clone() });
        let comes = leg.sid;
        if leaves == self.anchor
            && let Some(stays) = self.bridged_with(leaves)
        {
            self.turn(cx, leaves, stays);
        }
        self.transfers += 1;
        leg.account = self.first().and_then(|first| first.account);
        cx.legs.insert(comes, self.sid);
        self.legs_total += 1;
        self.legs.push(leg);
        if let Some(dialing) = &mut self.dialing {
            dialing.connected = Some(comes);
        }
        if let Err(cause) = self.join(cx, now, comes, 200) {
            self.refer_failed(cx, leaves, &to, cause.clone());
            return self.end(cx, now, EndedBy::Postern, cause);
        }
        self.tell(cx, leaves, facts::CallTransferred { to, cause: Cause::NORMAL });
        cx.leg(LegCommand::Referral { leg: leaves, status: 200 });
        self.hang_up(cx, now, leaves, EndedBy::Router, Cause { text: "transferred".into(), ..Cause::NORMAL });
        let anchor = self.anchor;
        self.resume(cx, &[anchor, comes]);
    }

    /// Who talks with `of`, or is rung for; an error: why it cannot be taken over.
    fn may_be_taken_over(&self, of: CallSid) -> Result<CallSid, Cause> {
        let taken = self.leg(of).filter(|leg| leg.is_live());
        let Some(taken) = taken else { return Err(Cause::new(481, "the call is over")) };
        if self.session.is_some() && of == self.anchor {
            return Err(Cause::new(403, "an application decides who talks in this call"));
        }
        if self.transfer.is_some() || self.reoffer.is_some() || self.taking_over.is_some() {
            return Err(Cause::new(491, "another change is under way"));
        }
        if self.transfers >= TRANSFERS_MAX || self.legs.len() >= LEGS_MAX {
            return Err(Cause::new(483, "transferred too often"));
        }
        let rings = self.dialing.as_ref().is_some_and(|dialing| dialing.ringing.contains(&of) && !dialing.early);
        match self.bridged_with(of) {
            Some(other) if taken.answered.is_some() => Ok(other),
            None if rings && taken.answered.is_none() => Ok(self.anchor),
            _ => Err(Cause::new(481, "nobody talks or rings there")),
        }
    }

    /// The stream of a leg is open that takes the place of another. False: of none.
    pub fn takes_over(&mut self, cx: &mut Context, now: Now, sid: CallSid) -> bool {
        let Some(TakeOver { leg, of }) = self.taking_over.take_if(|taking| taking.leg == sid) else { return false };
        if let Err(cause) = self.may_be_taken_over(of).and_then(|other| self.put_in_place(cx, now, leg, of, other)) {
            self.hang_up(cx, now, leg, EndedBy::Postern, cause);
        }
        true
    }

    fn put_in_place(
        &mut self,
        cx: &mut Context,
        now: Now,
        leg: CallSid,
        of: CallSid,
        other: CallSid,
    ) -> Result<(), Cause> {
        self.transfers += 1;
        let was = self.anchor;
        if self.bridged_with(of).is_none() {
            // It rang for somebody who waits: the new one is who answered.
            self.answer_for(cx, now, leg)?;
            self.stop_prompt(cx);
            self.join(cx, now, leg, 200)?;
            let limit = self.dialing.as_ref().and_then(|dialing| dialing.time_limit);
            let Some(dialing) = &mut self.dialing else { return Err(Cause::NORMAL) };
            (dialing.connected, dialing.limit_at) = (Some(leg), limit.map(|limit| now.instant + limit));
            dialing.next.clear();
            dialing.branches.clear();
            let losers = std::mem::take(&mut dialing.ringing);
            for loser in losers {
                self.hang_up(cx, now, loser, EndedBy::Router, Cause::ELSEWHERE);
            }
            self.start_dial_recording(cx, now, false);
            return Ok(());
        }
        if of == was {
            self.anchor = leg;
            let joined = self.join(cx, now, other, 200);
            if joined.is_err() {
                self.anchor = was;
            }
            joined?;
            self.caller_is(cx, leg);
        } else {
            self.answer_for(cx, now, leg)?;
            self.join(cx, now, leg, 200)?;
            if let Some(dialing) = &mut self.dialing {
                dialing.connected = Some(leg);
            }
        }
        self.hang_up(cx, now, of, EndedBy::Router, Cause { text: "replaced".into(), ..Cause::NORMAL });
        self.resume(cx, &[other]);
        Ok(())
    }

    /// Answers a leg that came in for one that was dialed, in what fits the first.
    fn answer_for(&mut self, cx: &mut Context, now: Now, sid: CallSid) -> Result<(), Cause> {
        let none = || Cause::new(488, "the two parties have no codec in common");
        let wanted = self.first().map(Leg::candidates).unwrap_or_default();
        let Some(leg) = self.leg_mut(sid) else { return Err(Cause::NORMAL) };
        let Some(offer) = leg.theirs.clone() else {
            return Err(Cause::new(488, "an INVITE without a description takes nobody's place"));
        };
        let allowed = leg.policy.allow(&offer.formats);
        let mut agreed = negotiate::common(&allowed, &wanted);
        if agreed.is_empty() {
            agreed.extend(negotiate::convertible(&allowed, &wanted, cx.libraries));
        }
        if agreed.is_empty() {
            return Err(none());
        }
        leg.keys.take_offer(&leg.policy, &mut cx.rng, &offer)?;
        leg.agreed = agreed.clone();
        let ours = Self::describe(leg, agreed, leg.telephone_event(), offer.direction.reversed());
        leg.ours = Some(ours.clone());
        self.configure(cx, sid);
        cx.leg(LegCommand::Answer { leg: sid, answer: Box::new(ours) });
        self.mark_answered(cx, now, sid, None);
        Ok(())
    }

    /// Others are dialed on behalf of this leg from now on.
    fn caller_is(&mut self, cx: &Context, sid: CallSid) {
        let Some(leg) = self.leg(sid) else { return };
        let caller = leg.from.clone();
        let asserted = match &leg.party {
            Party::User { user } => own_number(&cx.config, user.as_str()).unwrap_or_else(|| user.as_str().into()),
            Party::Trunk { .. } | Party::Uri { .. } => "".into(),
        };
        self.shown_as(caller, asserted);
    }

    /// Who was put on hold by one that left is taken off it.
    pub fn resume(&mut self, cx: &mut Context, legs: &[CallSid]) {
        self.held_for_nobody.extend(legs);
        self.resume_next(cx);
    }

    /// The next of them, when no other offer is open.
    pub fn resume_next(&mut self, cx: &mut Context) {
        while self.reoffer.is_none() {
            let Some(sid) = self.held_for_nobody.pop() else { return };
            let Some(leg) = self.leg_mut(sid).filter(|leg| leg.is_live() && leg.answered.is_some()) else { continue };
            let is_held = |ours: &&mut AudioStream| ours.direction != Direction::SendRecv;
            let Some(ours) = leg.ours.as_mut().filter(is_held) else { continue };
            let before = ours.clone();
            ours.direction = Direction::SendRecv;
            let offer = Box::new(ours.clone());
            self.reoffer = Some(Reoffer { asker: Asker::Direction, to: sid, before: Some(before) });
            cx.leg(LegCommand::Reoffer { leg: sid, offer });
        }
    }
}

/// Whether a leg that was answered can be joined with one that has these formats.
fn can_talk(leg: &Leg, wanted: &[Format], libraries: Libraries) -> bool {
    !negotiate::common(&leg.capabilities(), wanted).is_empty()
        || !negotiate::common(&leg.candidates(), wanted).is_empty()
        || negotiate::convertible(&leg.candidates(), wanted, libraries).is_some()
}

//! New offers in a live call (RFC 3264 8): hold, resume, a moved address. Passed through to the other party; its answer or refusal
//! comes back the same way. Alone with a document, a leg is answered by ourselves.

use postern_facts as facts;
use postern_types::{
    CallSid, Cause, EndedBy, Now,
    leg::LegCommand,
    stream::{AudioStream, Direction, Format},
};

use crate::{
    call::Call,
    context::Context,
    negotiate::{self, receives},
};

/// A new offer that is under way to the other party.
#[derive(Debug)]
pub struct Reoffer {
    /// Who waits for the answer.
    pub asker: Asker,
    /// Who was asked.
    pub to: CallSid,
    /// What we had described to it before, and have again if it refuses.
    pub before: Option<AudioStream>,
}

/// Why the other party was asked.
#[derive(Debug)]
pub enum Asker {
    /// The other leg offered this, and gets the answer.
    Leg(CallSid, Box<AudioStream>),
    /// We: whoever answered has another codec. Without it they cannot talk.
    Codec,
    /// We: the other leg changed its direction in an ACK, when it was too late to refuse.
    Direction,
}

impl Asker {
    fn leg(&self) -> Option<CallSid> {
        match self {
            Self::Leg(leg, _) => Some(*leg),
            Self::Codec | Self::Direction => None,
        }
    }
}

impl Call {
    /// The peer of a leg wants something else.
    pub fn on_reoffered(&mut self, cx: &mut Context, sid: CallSid, offer: Option<Box<AudioStream>>) {
        let refuse = |cx: &mut Context, cause| cx.leg(LegCommand::RejectReoffer { leg: sid, cause });
        if self.reoffer.is_some() {
            // RFC 3261 14.2: one at a time; both sides at once is glare.
            return refuse(cx, Cause::new(491, "another change is under way"));
        }
        let Some(leg) = self.leg(sid).filter(|leg| leg.is_live() && (leg.answered.is_some() || leg.theirs.is_some()))
        else {
            return refuse(cx, Cause::new(491, "the call is not set up"));
        };
        let is_early = leg.answered.is_none();
        let Some(offer) = offer else {
            // It asks for an offer: what was agreed, offered again, its own hold left out, so that it can resume in this way. That
            // of the other party stays. Its answer comes with the ACK. Who faxes is offered just that.
            if let Some(ours) = leg.ours.clone().filter(|_| leg.is_faxing()) {
                return cx.leg(LegCommand::AnswerReoffer { leg: sid, answer: Box::new(ours) });
            }
            let telephone_event = leg.ours.as_ref().and_then(|ours| ours.telephone_event);
            let other = self.bridged_with(sid).and_then(|other| self.leg(other)).filter(|other| other.held);
            let direction = other.and_then(|other| other.theirs.as_ref()).map_or(Direction::SendRecv, wanted);
            let ours = Self::describe(leg, leg.agreed.clone(), telephone_event, direction);
            if let Some(leg) = self.leg_mut(sid) {
                leg.ours = Some(ours.clone());
            }
            return cx.leg(LegCommand::AnswerReoffer { leg: sid, answer: Box::new(ours) });
        };
        let checked = self.check_address(cx, sid, &offer);
        if checked.is_ok() && offer.fax.is_some() {
            return self.on_fax_offered(cx, sid, *offer);
        }
        if let Err(cause) = checked.and_then(|()| leg.policy.accepts(&offer)) {
            self.tell(cx, sid, facts::ReofferRefused { cause: cause.clone() });
            return refuse(cx, cause);
        }
        if leg.theirs.as_ref() == Some(&*offer) && !leg.agreed.is_empty() {
            // RFC 4028 7.4: it only keeps its session alive, which is no matter of the other party's.
            let allowed = wanted(&offer).reversed();
            let direction = leg.ours.as_ref().map_or(allowed, |ours| within(ours.direction, allowed));
            let formats = leg.agreed.clone();
            return self.accept(cx, sid, &offer, formats, direction);
        }
        if is_early {
            // RFC 3311: before the answer only what was agreed can be asked for otherwise. The other party's turn comes with the answer.
            let formats = negotiate::common(&offer.formats, &leg.agreed);
            if formats.is_empty() {
                return refuse(cx, Cause::new(488, "another codec than the call was begun with"));
            }
            return self.accept(cx, sid, &offer, formats, wanted(&offer).reversed());
        }
        match self.bridged_with(sid) {
            Some(other) => self.pass_on(cx, sid, other, *offer),
            None => self.answer_reoffer_alone(cx, sid, &offer),
        }
    }

    fn pass_on(&mut self, cx: &mut Context, sid: CallSid, other: CallSid, offer: AudioStream) {
        let Some((leg, to)) = self.leg(sid).zip(self.leg(other)) else { return };
        let mut formats = to.policy.allow(&leg.policy.allow(&offer.formats));
        if offer.formats.iter().any(|format| format.is_codable(cx.libraries)) {
            // What it talks in now is left to it: the media plane converts if nothing else fits.
            let now: Vec<_> = to.agreed.iter().filter(|format| format.is_codable(cx.libraries)).cloned().collect();
            let further = now.into_iter().filter(|f| negotiate::common(&formats, std::slice::from_ref(f)).is_empty());
            formats.extend(further.collect::<Vec<_>>());
        }
        if formats.is_empty() {
            let cause = Cause::new(488, "the two parties have no codec in common");
            self.tell(cx, sid, facts::ReofferRefused { cause: cause.clone() });
            return cx.leg(LegCommand::RejectReoffer { leg: sid, cause });
        }
        // What was settled with the other party keeps its payload types; what is new keeps the offer's.
        let mut ours: Vec<_> = Vec::with_capacity(formats.len());
        for format in formats {
            let known = negotiate::common(&to.agreed, std::slice::from_ref(&format)).pop();
            let format = known.unwrap_or(format);
            let taken = ours.iter().any(|f: &Format| f.payload_type == format.payload_type);
            if !taken {
                ours.push(format);
            }
        }
        let direction = wanted(&offer);
        let telephone_event = to.ours.as_ref().and_then(|ours| ours.telephone_event).or(offer.telephone_event);
        let telephone_event = telephone_event.filter(|_| to.policy.dtmf.is_by_events());
        let ours = Self::describe(to, ours, telephone_event, direction);
        let before = self.leg_mut(other).and_then(|to| to.ours.replace(ours.clone()));
        self.reoffer = Some(Reoffer { asker: Asker::Leg(sid, Box::new(offer)), to: other, before });
        cx.leg(LegCommand::Reoffer { leg: other, offer: Box::new(ours) });
    }

    /// Nobody else is there: any direction is fine, and the codec stays if it can.
    fn answer_reoffer_alone(&mut self, cx: &mut Context, sid: CallSid, offer: &AudioStream) {
        let Some(leg) = self.leg(sid) else { return };
        let mut formats = negotiate::common(&offer.formats, &leg.agreed);
        if formats.is_empty() {
            let allowed = leg.policy.allow(&offer.formats);
            formats = negotiate::playable(allowed, cx.libraries).into_iter().take(1).collect();
        }
        if formats.is_empty() {
            let cause = Cause::new(488, "no codec in which a prompt can be played");
            self.tell(cx, sid, facts::ReofferRefused { cause: cause.clone() });
            return cx.leg(LegCommand::RejectReoffer { leg: sid, cause });
        }
        self.accept(cx, sid, offer, formats, wanted(offer).reversed());
    }

    /// The peer answered a refresh: what is new in its description is taken into use.
    pub fn on_refreshed(&mut self, cx: &mut Context, sid: CallSid, theirs: &AudioStream) {
        let changed = self.leg(sid).is_some_and(|leg| leg.is_live() && leg.theirs.as_ref() != Some(theirs));
        if changed && self.reoffer.is_none() && self.take_answer(cx, sid, theirs).is_ok() {
            self.configure(cx, sid);
            self.note_hold(cx, sid, theirs);
        }
    }

    /// The other party took it.
    pub fn on_reoffer_answered(&mut self, cx: &mut Context, now: Now, sid: CallSid, answer: AudioStream) {
        let Some(reoffer) = self.reoffer.take_if(|reoffer| reoffer.to == sid) else { return };
        if let Err(cause) = self.take_answer(cx, sid, &answer) {
            // It accepted nonsense; whoever asked keeps what it had, and so do we.
            if let Some(leg) = self.leg_mut(sid) {
                leg.ours = reoffer.before;
            }
            return self.not_changed(cx, now, sid, reoffer.asker, cause);
        }
        let Asker::Leg(from, offer) = reoffer.asker else {
            self.configure(cx, sid);
            return self.note_conversion_now(cx);
        };
        if let (Some(_), Some(fax)) = (&offer.fax, answer.fax) {
            return self.fax_agreed(cx, sid, from, *offer, *fax);
        }
        let agreed = self.leg(sid).map(|leg| leg.agreed.clone()).unwrap_or_default();
        let mut formats = negotiate::common(&offer.formats, &agreed);
        if formats.is_empty() {
            let allowed = self.leg(from).map(|leg| leg.policy.allow(&offer.formats)).unwrap_or_default();
            formats.extend(negotiate::convertible(&allowed, &agreed, cx.libraries));
        }
        if formats.is_empty() {
            let cause = Cause::new(488, "the two parties have no codec in common");
            return self.not_changed(cx, now, sid, Asker::Leg(from, offer), cause);
        }
        if let Some(other) = self.leg_mut(sid) {
            other.agreed = negotiate::with_convertible(&other.agreed, &formats, cx.libraries);
        }
        self.configure(cx, sid);
        self.accept(cx, from, &offer, formats, answer.direction);
        self.note_conversion_now(cx);
    }

    /// The other party refused: the session stays as it was, on both sides.
    pub fn on_reoffer_failed(&mut self, cx: &mut Context, now: Now, sid: CallSid, cause: Cause) {
        let Some(reoffer) = self.reoffer.take_if(|reoffer| reoffer.to == sid) else { return };
        if let Some(leg) = self.leg_mut(sid) {
            leg.ours = reoffer.before;
        }
        self.not_changed(cx, now, sid, reoffer.asker, cause);
    }

    /// The party that was asked does not change.
    fn not_changed(&mut self, cx: &mut Context, now: Now, asked: CallSid, asker: Asker, cause: Cause) {
        self.tell(cx, asked, facts::ReofferRefused { cause: cause.clone() });
        match asker {
            Asker::Leg(from, _) => cx.leg(LegCommand::RejectReoffer { leg: from, cause }),
            Asker::Codec => self.no_codec(cx, now, asked),
            // It goes on sending to somebody who does not listen: harmless.
            Asker::Direction => {}
        }
    }

    /// The first leg does not change to the codec of whoever answered: the media plane converts, or they cannot talk.
    fn no_codec(&mut self, cx: &mut Context, now: Now, sid: CallSid) {
        if let Some(other) = self.bridged_with(sid) {
            let pair = self.leg(sid).zip(self.leg(other));
            if pair
                .is_some_and(|(leg, other)| negotiate::convertible(&leg.agreed, &other.agreed, cx.libraries).is_some())
            {
                return self.note_conversion_now(cx);
            }
            let cause = Cause::new(488, "the two parties have no codec in common");
            self.hang_up(cx, now, other, EndedBy::Postern, cause);
        }
    }

    /// A leg ended while an offer was under way.
    pub fn reoffer_over(&mut self, cx: &mut Context, sid: CallSid) {
        let Some(reoffer) = self.reoffer.take_if(|r| r.to == sid || r.asker.leg() == Some(sid)) else { return };
        if let Some(from) = reoffer.asker.leg().filter(|from| *from != sid) {
            cx.leg(LegCommand::RejectReoffer { leg: from, cause: Cause::new(488, "the other party left") });
        }
    }

    /// Answers a new offer and takes it into use.
    fn accept(
        &mut self,
        cx: &mut Context,
        sid: CallSid,
        offer: &AudioStream,
        formats: Vec<Format>,
        direction: Direction,
    ) {
        let Some(leg) = self.leg_mut(sid) else { return };
        if leg.keys.take_offer(&leg.policy, &mut cx.rng, offer).is_err() {
            return cx.leg(LegCommand::RejectReoffer { leg: sid, cause: Cause::new(488, "SRTP does not fit") });
        }
        let events = leg.ours.as_ref().is_none_or(|ours| ours.telephone_event.is_some());
        leg.theirs = Some(offer.clone());
        leg.agreed = formats.clone();
        let ours = Self::describe(leg, formats, offer.telephone_event.filter(|_| events), direction);
        leg.ours = Some(ours.clone());
        self.configure(cx, sid);
        cx.leg(LegCommand::AnswerReoffer { leg: sid, answer: Box::new(ours) });
        self.note_hold(cx, sid, offer);
    }

    /// Tells when a party's latest description holds the other, or no longer does.
    fn note_hold(&mut self, cx: &mut Context, sid: CallSid, theirs: &AudioStream) {
        let holds = !receives(theirs);
        let Some(leg) = self.leg_mut(sid) else { return };
        match (std::mem::replace(&mut leg.held, holds), holds) {
            (false, true) => self.tell(cx, sid, facts::LegHeld { direction: wanted(theirs).name().to_owned() }),
            (true, false) => self.tell(cx, sid, facts::LegResumed {}),
            _ => {}
        }
    }

    /// The ACK of an INVITE that asked for an offer brought the answer: the other party is told of the direction that is new to it.
    pub fn told_in_ack(&mut self, cx: &mut Context, sid: CallSid, answer: &AudioStream) {
        self.note_hold(cx, sid, answer);
        let Some(other) = self.bridged_with(sid).filter(|_| self.reoffer.is_none()) else { return };
        let Some(ours) = self.leg(other).and_then(|other| other.ours.clone()) else { return };
        let direction = wanted(answer);
        if ours.direction == direction {
            return;
        }
        let ours = AudioStream { direction, ..ours };
        let before = self.leg_mut(other).and_then(|other| other.ours.replace(ours.clone()));
        self.reoffer = Some(Reoffer { asker: Asker::Direction, to: other, before });
        cx.leg(LegCommand::Reoffer { leg: other, offer: Box::new(ours) });
    }
}

/// The direction that an offer asks for; the unspecified address means that it does not want to hear (RFC 3264 8.4).
fn wanted(offer: &AudioStream) -> Direction {
    match (offer.direction.sends(), receives(offer)) {
        (true, true) => Direction::SendRecv,
        (true, false) => Direction::SendOnly,
        (false, true) => Direction::RecvOnly,
        (false, false) => Direction::Inactive,
    }
}

/// What of `direction` an answer may say where `allowed` is the most (RFC 3264 6.1).
fn within(direction: Direction, allowed: Direction) -> Direction {
    match (direction.sends() && allowed.sends(), direction.receives() && allowed.receives()) {
        (true, true) => Direction::SendRecv,
        (true, false) => Direction::SendOnly,
        (false, true) => Direction::RecvOnly,
        (false, false) => Direction::Inactive,
    }
}

//! T.38 in a live call (RFC 3362): who offers fax instead of audio has the other party asked, and gets its answer. Only the two
//! parties know how to fax; what is theirs to agree passes, and nothing else of their descriptions.

use postern_facts as facts;
use postern_types::{
    CallSid, Cause,
    leg::LegCommand,
    stream::{AudioStream, Direction, Fax},
};

use crate::{
    call::Call,
    context::Context,
    leg::Leg,
    reoffer::{Asker, Reoffer},
};

impl Call {
    /// The peer of a leg wants to fax.
    pub fn on_fax_offered(&mut self, cx: &mut Context, sid: CallSid, offer: AudioStream) {
        let again = self.leg(sid).filter(|leg| leg.theirs.as_ref() == Some(&offer));
        if let Some(ours) = again.and_then(|leg| leg.ours.clone()).filter(|ours| ours.fax.is_some()) {
            // RFC 4028 7.4: it only keeps its session alive.
            return cx.leg(LegCommand::AnswerReoffer { leg: sid, answer: Box::new(ours) });
        }
        match self.fax_partner(sid) {
            Ok(other) => {
                let (Some(to), Some(fax)) = (self.leg_mut(other), &offer.fax) else { return };
                let ours = Self::describe_fax(to, (**fax).clone());
                let before = to.ours.replace(ours.clone());
                self.reoffer = Some(Reoffer { asker: Asker::Leg(sid, Box::new(offer)), to: other, before });
                cx.leg(LegCommand::Reoffer { leg: other, offer: Box::new(ours) });
            }
            Err(why) => {
                let cause = Cause::new(488, why);
                self.tell(cx, sid, facts::ReofferRefused { cause: cause.clone() });
                cx.leg(LegCommand::RejectReoffer { leg: sid, cause });
            }
        }
    }

    /// Who would fax with a leg. Nobody: why, in words.
    fn fax_partner(&self, sid: CallSid) -> Result<CallSid, &'static str> {
        let other = self.bridged_with(sid).ok_or("T.38 offered where nobody can fax")?;
        let is_encrypted = |sid| self.leg(sid).and_then(Leg::setup).is_none_or(|setup| setup.is_encrypted());
        if is_encrypted(sid) || is_encrypted(other) {
            return Err("T.38 has no encryption, and this call has");
        }
        let is_answered = |sid| self.leg(sid).is_some_and(|leg| leg.answered.is_some());
        if is_answered(sid) && is_answered(other) {
            Ok(other)
        } else {
            Err("T.38 offered before the call was answered")
        }
    }

    /// The other party takes the fax: both change to it.
    pub fn fax_agreed(&mut self, cx: &mut Context, asked: CallSid, from: CallSid, offer: AudioStream, fax: Fax) {
        let Some(leg) = self.leg_mut(from) else { return };
        let ours = Self::describe_fax(leg, fax);
        (leg.theirs, leg.ours) = (Some(offer), Some(ours.clone()));
        self.configure(cx, asked);
        self.configure(cx, from);
        cx.leg(LegCommand::AnswerReoffer { leg: from, answer: Box::new(ours) });
    }

    /// Our description of a leg that faxes.
    fn describe_fax(leg: &Leg, fax: Fax) -> AudioStream {
        // What was said of digits is kept for the time after.
        let telephone_event = leg.ours.as_ref().and_then(|ours| ours.telephone_event);
        let ours = Self::describe(leg, Vec::new(), telephone_event, Direction::SendRecv);
        AudioStream { fax: Some(Box::new(fax)), ..ours }
    }
}

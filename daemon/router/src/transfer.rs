//! Blind transfer: one of two who talk refers the other to a third.
//!
//! ```text
//! A talks with B ─ B refers A to C ─► C rings, A and B go on ─┬─ C answers: A talks with C, B is released
//!                                       │                     └─ C does not: B is told, A and B go on
//!                                       └─ B leaves already ───► A waits for C; if C does not answer, the call ends
//! ```
//!
//! Whoever refers calls C by its own rights: the routing table is asked as for a call of its own, so that a REFER reaches nobody whom it could
//! not have dialed. With `refer: relay` A is asked to call C itself instead, and what it tells of it is passed back.
//!
//! In the call of a document whom it dialed may refer, and the caller stays with the document: with `referUrl` in its `<Dial>` that document says what
//! becomes of the caller; without, C takes the place of whom `<Dial>` had connected, and the document goes on when that is over. The leg that the
//! document runs may not: its program decides who talks with whom.

use postern_facts as facts;
use postern_types::{
    CallSid, Cause, EndedBy, Now,
    leg::{CallerIdentity, LegCommand, Party},
};

use crate::{
    call::{Call, for_caller},
    context::Context,
    dial::{Branch, own_number},
    session::nouns::{self, user_part},
    table::{self, Asked, Caller},
    ways::Ways,
};

/// Transfers of one call at most: people who pass a caller on and on are fewer, machines that do so to each other are a loop.
pub const TRANSFERS_MAX: u8 = 16;

/// A transfer that is under way.
#[derive(Debug)]
pub struct Transfer {
    /// Who refers, as long as it waits for the outcome.
    pub referrer: CallSid,
    /// Whom to.
    to: String,
}

/// A wish that the other party was asked to see to itself.
#[derive(Debug)]
pub struct PassedOn {
    /// Whose wish.
    pub by: CallSid,
    /// Who was asked.
    pub on: CallSid,
    to: String,
}

impl Call {
    /// A party of the call refers the other to `to`.
    pub fn on_referred(
        &mut self,
        cx: &mut Context,
        now: Now,
        sid: CallSid,
        (to, device): (&str, Option<Box<str>>),
        pass_on: bool,
    ) {
        self.tell(cx, sid, facts::CallReferred { to: to.to_owned() });
        let done = match (pass_on && self.session.is_none(), self.bridged_with(sid)) {
            (true, Some(other)) => self.pass_on_refer(cx, sid, other, to),
            _ => self.refer(cx, now, sid, to, device),
        };
        if let Err(cause) = done {
            self.refer_failed(cx, sid, to, cause);
        }
    }

    fn pass_on_refer(&mut self, cx: &mut Context, sid: CallSid, other: CallSid, to: &str) -> Result<(), Cause> {
        if self.passed_on.is_some() || self.transfer.is_some() || self.taking_over.is_some() {
            return Err(Cause::new(491, "another change is under way"));
        }
        if self.transfers >= TRANSFERS_MAX {
            return Err(Cause::new(483, "transferred too often"));
        }
        self.transfers += 1;
        self.passed_on = Some(PassedOn { by: sid, on: other, to: to.to_owned() });
        cx.leg(LegCommand::Refer { leg: other, to: to.into() });
        Ok(())
    }

    /// The party that was asked to call somebody tells how that goes. Whoever wanted it hangs up when it has heard enough.
    pub fn on_referral_told(&mut self, cx: &mut Context, sid: CallSid, status: u16) {
        let Some(passed) = self.passed_on.take_if(|passed| passed.on == sid) else { return };
        let leg = passed.by;
        match status {
            ..200 => {
                self.passed_on = Some(passed);
                cx.leg(LegCommand::Referral { leg, status });
            }
            200..300 => {
                self.tell(cx, leg, facts::CallTransferred { to: passed.to, cause: Cause::NORMAL });
                cx.leg(LegCommand::Referral { leg, status: 200 });
            }
            _ => {
                let cause = Cause::new(for_caller(status), "the other party did not reach it");
                self.refer_failed(cx, leg, &passed.to, cause);
            }
        }
    }

    fn refer(
        &mut self,
        cx: &mut Context,
        now: Now,
        sid: CallSid,
        to: &str,
        device: Option<Box<str>>,
    ) -> Result<(), Cause> {
        let refuse = |status, text: &'static str| Err(Cause::new(status, text));
        let Some(other) = self.bridged_with(sid) else { return refuse(491, "nobody to be referred") };
        if self.session.is_some() && sid == self.anchor {
            return refuse(403, "an application decides who talks in this call");
        }
        let busy = self.passed_on.is_some() || self.taking_over.is_some();
        if self.transfer.is_some() || self.reoffer.is_some() || busy {
            return refuse(491, "another change is under way");
        }
        if self.transfers >= TRANSFERS_MAX || self.max_forwards <= 1 {
            return refuse(483, "transferred too often");
        }
        if self.session_referred(cx, now, sid, to) {
            return Ok(());
        }
        let Some(leg) = self.leg(sid) else { return refuse(481, "the call is over") };
        let caller = match &leg.party {
            Party::Trunk { trunk } => Caller::Trunk(trunk),
            Party::User { .. } => Caller::User,
            Party::Uri { .. } => return refuse(403, "a free SIP address may call nobody by itself"),
        };
        let emergency = cx.config.is_emergency_somewhere(to);
        let decision = table::look_up(&cx.config, Asked { caller, dialed: to, at: now.wall, emergency });
        let decision = decision.map_err(|why| Cause::new(404, why))?;
        let (table, entry, why) = (decision.table.to_owned(), decision.entry.clone(), decision.why.clone());
        self.tell(cx, sid, facts::CallRouted { table, entry, to: decision.to.to_string(), why });
        let timeout = decision.timeout;
        let Some(Ways { target, party, spares }) = nouns::reach(cx, decision.to).map(|ways| ways.at(device)) else {
            return refuse(501, "an application cannot be transferred to");
        };
        if sid == self.anchor {
            // Who stays is from now on the one that others are dialed for.
            self.turn(cx, sid, other);
        }
        self.transfers += 1;
        self.max_forwards -= 1;
        self.transfer = Some(Transfer { referrer: sid, to: to.to_owned() });
        let branch = Branch { target, party, spares, to: to.to_owned(), headers: Vec::new(), subscription: None };
        let Some(dialing) = &mut self.dialing else { return refuse(481, "the call is over") };
        (dialing.timeout, dialing.early_media, dialing.failure) = (timeout, false, None);
        self.dial_ways(cx, now, branch);
        let dialing = self.dialing.as_mut();
        match dialing.filter(|dialing| dialing.ringing.is_empty()).map(|dialing| dialing.failure.take()) {
            None => Ok(()),
            Some(failure) => {
                self.transfer = None;
                Err(failure.map_or(Cause::new(503, "it cannot be dialed"), |outcome| outcome.cause))
            }
        }
    }

    /// The call turns round: `stays` is the one that others are dialed for, and `goes` the one that it talks with.
    pub fn turn(&mut self, cx: &Context, goes: CallSid, stays: CallSid) {
        let Some(leg) = self.leg(stays) else { return };
        let caller = leg.to.clone();
        let asserted = match &leg.party {
            Party::User { user } => own_number(&cx.config, user.as_str()).unwrap_or_else(|| user.as_str().into()),
            // Nobody vouches for who answers a number.
            Party::Trunk { .. } | Party::Uri { .. } => "".into(),
        };
        self.anchor = stays;
        let Some(dialing) = &mut self.dialing else { return };
        dialing.connected = Some(goes);
        self.shown_as(caller, asserted);
    }

    /// Who is shown to whoever is dialed from now on.
    pub fn shown_as(&mut self, caller: String, asserted: Box<str>) {
        let Some(dialing) = &mut self.dialing else { return };
        (dialing.from, dialing.from_name) = (user_part(&caller).into(), "".into());
        dialing.caller = caller;
        dialing.identity = CallerIdentity { asserted, ..CallerIdentity::default() };
    }

    /// It rings at whom the transfer is to.
    pub fn transfer_rings(&self, cx: &mut Context, status: u16) {
        if let Some(transfer) = &self.transfer {
            cx.leg(LegCommand::Referral { leg: transfer.referrer, status });
        }
    }

    /// Whom the transfer is to has answered, and was joined: who referred is released, who stays is taken off hold.
    pub fn transferred(&mut self, cx: &mut Context, now: Now) {
        let Some(Transfer { referrer, to }) = self.transfer.take() else { return };
        self.tell(cx, referrer, facts::CallTransferred { to, cause: Cause::NORMAL });
        cx.leg(LegCommand::Referral { leg: referrer, status: 200 });
        self.hang_up(cx, now, referrer, EndedBy::Router, Cause { text: "transferred".into(), ..Cause::NORMAL });
        let anchor = self.anchor;
        self.resume(cx, &[anchor]);
    }

    /// Nobody answered whom the transfer was to: who talks goes on. False: nobody talks.
    pub fn transfer_failed(&mut self, cx: &mut Context, cause: Cause) -> bool {
        let Some(Transfer { referrer, to }) = self.transfer.take() else { return false };
        if let Some(dialing) = &mut self.dialing {
            dialing.failure = None;
        }
        self.refer_failed(cx, referrer, &to, cause);
        true
    }

    pub fn refer_failed(&self, cx: &mut Context, referrer: CallSid, to: &str, cause: Cause) {
        let status = if (300..700).contains(&cause.status) { cause.status } else { 503 };
        self.tell(cx, referrer, facts::CallTransferred { to: to.to_owned(), cause });
        cx.leg(LegCommand::Referral { leg: referrer, status });
    }
}

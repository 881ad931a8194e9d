//! Blind transfer: one of two who talk refers the other to a third.
//!
//! ```text
//! A talks with B ─ B refers A to C ─► C rings, A and B go on ─┬─ C answers: A talks with C, B is released
//!                                       │                     └─ C does not: B is told, A and B go on
//!                                       └─ B leaves already ───► A waits for C; if C does not answer, the call ends
//! ```
//!
//! Whoever refers calls C by its own rights: the routing table is asked as for a call of its own, so that a REFER reaches nobody whom it could
//! not have dialed. Left out: calls of documents, whose program decides who talks with whom.

use postern_facts as facts;
use postern_types::{
    CallSid, Cause, EndedBy, Now,
    leg::{CallerIdentity, LegCommand, Party},
};

use crate::{
    call::Call,
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

impl Call {
    /// A party of the call refers the other to `to`.
    pub fn on_referred(&mut self, cx: &mut Context, now: Now, sid: CallSid, to: &str) {
        self.tell(cx, sid, facts::CallReferred { to: to.to_owned() });
        if let Err(cause) = self.refer(cx, now, sid, to) {
            self.refer_failed(cx, sid, to, cause);
        }
    }

    fn refer(&mut self, cx: &mut Context, now: Now, sid: CallSid, to: &str) -> Result<(), Cause> {
        let refuse = |status, text: &'static str| Err(Cause::new(status, text));
        let Some(other) = self.bridged_with(sid) else { return refuse(491, "nobody to be referred") };
        if self.session.is_some() {
            return refuse(403, "an application decides who talks in this call");
        }
        if self.transfer.is_some() || self.reoffer.is_some() {
            return refuse(491, "another change is under way");
        }
        if self.transfers >= TRANSFERS_MAX || self.max_forwards <= 1 {
            return refuse(483, "transferred too often");
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
        let Some(Ways { target, party, spares }) = nouns::reach(cx, decision.to) else {
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

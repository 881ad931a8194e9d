//! Dialing other parties for the first leg, and the talk that follows: of a static route and of `<Dial>` alike.
//!
//! ```text
//! waiting (for the first leg's stream) -> ringing (one or several branches) -> connected -> over
//!                                               \-> no branch left, the next in sequence or over
//! ```

use std::time::{Duration, Instant};

use postern_config::{Config, Dtmf};
use postern_facts as facts;
use postern_types::{
    CallSid, Cause, EndedBy, Now, RecordingSid, Sid,
    leg::{CallerIdentity, Dial, LegCommand, Party, Target},
    media::MediaCommand,
    stream::{AudioStream, Direction},
};
use std::collections::VecDeque;

use crate::{
    call::{Call, LEGS_MAX, is_due},
    callback::{Of, Subscription},
    context::Context,
    leg::{Leg, Origin, Stream},
    limits::{Bound, Passing},
    negotiate::{self, Policy},
    numbers,
    recording::Wanted,
    ways::Way,
};

/// Parties dialed at once by one `<Dial>` at most.
pub const BRANCHES_MAX: usize = 10;

/// One party to be dialed.
#[derive(Debug, Clone)]
pub struct Branch {
    pub target: Target,
    pub party: Party,
    /// Where it goes instead when that fails for a reason that is not the callee's, the next one first.
    pub spares: VecDeque<Way>,
    /// As the API shows it.
    pub to: String,
    pub headers: Vec<(Box<str>, Box<str>)>,
    pub subscription: Option<Subscription>,
}

/// Who is dialed, and how it stands.
#[derive(Debug)]
pub struct Dialing {
    /// Not dialed yet.
    pub next: VecDeque<Branch>,
    /// One after the other instead of all at once.
    pub sequential: bool,
    /// User part and display name that are shown, and the caller as the API shows it.
    pub from: Box<str>,
    pub from_name: Box<str>,
    pub caller: String,
    /// What trusted trunks are told of the caller.
    pub identity: CallerIdentity,
    pub timeout: Duration,
    pub time_limit: Option<Duration>,
    pub hangup_on_star: bool,
    /// Whether the caller may hear early media: only when there is one party in all.
    pub early_media: bool,
    pub started: bool,
    /// The caller was told that it rings.
    pub rang: bool,
    /// Early media flows.
    pub early: bool,
    pub ringing: Vec<CallSid>,
    /// What those that ring were dialed by, while they have other ways.
    pub branches: Vec<(CallSid, Branch)>,
    pub connected: Option<CallSid>,
    pub limit_at: Option<Instant>,
    /// It is recorded.
    pub record: Option<Tape>,
    /// The failure that tells most so far.
    pub failure: Option<Outcome>,
}

/// How it is recorded.
#[derive(Debug)]
pub struct Tape {
    pub wanted: Box<Wanted>,
    pub from_ringing: bool,
    pub recording: Option<RecordingSid>,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// `completed`, `busy`, `no-answer`, `failed` or `canceled`.
    pub status: &'static str,
    pub cause: Cause,
    pub by: EndedBy,
    pub child: Option<CallSid>,
    pub talked: Duration,
    pub bridged: bool,
}

impl Outcome {
    /// Nobody was reached.
    pub fn failed(status: &'static str, cause: Cause, child: Option<CallSid>) -> Self {
        Self { status, cause, by: EndedBy::OtherParty, child, talked: Duration::ZERO, bridged: false }
    }

    /// Of several failures the one that tells the caller most: busy before no-answer before the rest.
    fn rank(&self) -> u8 {
        match self.status {
            "busy" => 3,
            "no-answer" => 2,
            "canceled" => 0,
            _ => 1,
        }
    }
}

impl Dialing {
    /// One or several parties, with the settings of a plain route.
    pub fn new(branches: Vec<Branch>, from: &str, from_name: &str, caller: &str, timeout: Duration) -> Self {
        Self {
            early_media: branches.len() == 1,
            next: branches.into(),
            sequential: false,
            from: from.into(),
            from_name: from_name.into(),
            caller: caller.to_owned(),
            identity: CallerIdentity::default(),
            timeout,
            time_limit: None,
            hangup_on_star: false,
            started: false,
            rang: false,
            early: false,
            ringing: Vec::new(),
            branches: Vec::new(),
            connected: None,
            limit_at: None,
            record: None,
            failure: None,
        }
    }

    /// Notes a failure, if it tells more than those so far.
    pub fn note(&mut self, outcome: Outcome) {
        if self.failure.as_ref().is_none_or(|so_far| outcome.rank() > so_far.rank()) {
            self.failure = Some(outcome);
        }
    }
}

impl Call {
    /// Starts dialing, as soon as the first leg's stream is open. Some: it is over already.
    pub fn dial(&mut self, cx: &mut Context, now: Now, dialing: Dialing) -> Option<Outcome> {
        // While its document was fetched the caller was told already.
        let rang = dialing.rang || self.session.is_some();
        self.dialing = Some(Dialing { rang, ..dialing });
        self.open(cx, now, self.anchor);
        match self.first().map(|leg| leg.stream) {
            Some(Stream::Open { .. }) => self.dial_start(cx, now),
            _ => None,
        }
    }

    /// The first leg's stream is open.
    pub fn first_opened(&mut self, cx: &mut Context, now: Now) {
        if self.dialing.as_ref().is_some_and(|dialing| !dialing.started) {
            if let Some(outcome) = self.dial_start(cx, now) {
                self.dial_over(cx, now, outcome);
            }
        } else {
            self.run_session(cx, now);
        }
    }

    fn dial_start(&mut self, cx: &mut Context, now: Now) -> Option<Outcome> {
        if let Some(dialing) = &mut self.dialing {
            dialing.started = true;
        }
        let over = self.dial_next(cx, now);
        self.start_dial_recording(cx, now, true);
        over
    }

    /// Dials all that wait, or with `sequential` the next that can be dialed. Some: nobody rings, it is over.
    fn dial_next(&mut self, cx: &mut Context, now: Now) -> Option<Outcome> {
        while let Some(dialing) = &mut self.dialing {
            if dialing.sequential && !dialing.ringing.is_empty() {
                return None;
            }
            let Some(branch) = dialing.next.pop_front() else { break };
            self.dial_ways(cx, now, branch);
        }
        let dialing = self.dialing.as_mut()?;
        if !dialing.ringing.is_empty() {
            return None;
        }
        let nobody = || Outcome::failed("failed", Cause::new(404, "nobody to dial"), None);
        let outcome = dialing.failure.take().unwrap_or_else(nobody);
        self.dialing = None;
        Some(outcome)
    }

    /// Dials a branch by the first of its ways by which it can be; what hinders the others is noted.
    pub fn dial_ways(&mut self, cx: &mut Context, now: Now, mut branch: Branch) {
        loop {
            let mut next = branch.clone();
            let Err(outcome) = self.dial_branch(cx, now, branch) else { return };
            let failed = next.party.clone();
            if next.take_spare() {
                self.tell_failed_over(cx, self.anchor, &failed, &next.party, outcome.cause);
                branch = next;
                continue;
            }
            self.tell_refused(cx, next.to, &outcome);
            if let Some(dialing) = &mut self.dialing {
                dialing.note(outcome);
            }
            return;
        }
    }

    fn dial_branch(&mut self, cx: &mut Context, now: Now, branch: Branch) -> Result<(), Outcome> {
        // Nobody else was asked: it is our word.
        let ours = |status, cause| Outcome { by: EndedBy::Postern, ..Outcome::failed(status, cause, None) };
        let refuse = |status, text| ours("failed", Cause::new(status, text));
        let Some(dialing) = &self.dialing else { return Err(refuse(500, "not dialing")) };
        if self.legs.len() >= LEGS_MAX {
            return Err(refuse(503, "too many legs in this call"));
        }
        let emergency = self.emergency || is_emergency(&cx.config, &branch.target);
        if let Party::Trunk { trunk } = &branch.party
            && !emergency
            && let Err(full) = cx.take_room(now, trunk, Bound::Out, Passing::Call)
        {
            return Err(refuse(503, full.why()));
        }
        if let Target::User { user, .. } = &branch.target
            && cx.presence.devices_of(user) == 0
        {
            // Before there is a leg: one would tell that the user is busy, and then gone.
            let cause = Cause { text: "no device is registered".into(), ..Cause::NO_ANSWER };
            return Err(ours("no-answer", cause));
        }
        let Some((realm, ipv6)) = negotiate::realm_of(&cx.config, &branch.target) else {
            return Err(refuse(503, "no realm from which it can be reached"));
        };
        let policy = Policy::of(&cx.config, &branch.party, &realm);
        let Some(first) = self.first() else { return Err(refuse(500, "the call is over")) };
        let mut formats = policy.allow(&first.candidates());
        if formats.is_empty() {
            // It was answered in a codec that the other may not use: its codec will be changed once somebody answers.
            formats = policy.allow(&first.capabilities());
        }
        // What the first leg has is offered first; if the other has none of it, the media plane converts.
        let theirs = if formats.is_empty() { first.candidates() } else { formats };
        let telephone_event = match (policy.dtmf, first.policy.dtmf) {
            (Dtmf::Info | Dtmf::Inband, _) => None,
            // Its digits by INFO or tones are said to the other party in the stream.
            (Dtmf::Rfc4733, Dtmf::Info | Dtmf::Inband) => negotiate::event_beside(&theirs),
            (Dtmf::Rfc4733, Dtmf::Rfc4733) => first.telephone_event(),
        };
        let formats = negotiate::offer(&policy, &theirs, telephone_event, cx.libraries);
        if formats.is_empty() {
            return Err(refuse(488, "the two parties have no codec in common"));
        }
        let sid = CallSid::random(&mut cx.rng);
        let ptime_ms = first.theirs.as_ref().map_or(20, |theirs| theirs.ptime_ms);
        let theirs = first.theirs.as_ref().filter(|_| self.transfer.is_none());
        // Who is transferred may have been put on hold for it.
        let direction = theirs.map_or(Direction::SendRecv, |theirs| theirs.direction);
        let (account, parent) = (first.account, first.sid);
        let timeout = dialing.timeout;
        let (from, from_name) = {
            let user = dialing.caller.strip_prefix("client:");
            let shown = (&*dialing.from, &*dialing.from_name);
            shown_to(&cx.config, user, shown, dialing.identity.withheld, &branch.target)
        };
        let (caller, mut identity) = (dialing.caller.clone(), dialing.identity.clone());
        let (mut target, mut from) = (branch.target.clone(), from);
        let steps = numbers::sent(&cx.config, &branch.party, &realm, &mut target, &mut from, &mut identity);
        let mut leg = Leg::new(sid, branch.party.clone(), policy, realm, ipv6, now);
        leg.to = branch.to.clone();
        leg.parent = Some(parent);
        leg.account = account;
        leg.origin = Origin::Dial;
        leg.from = caller.clone();
        leg.from_name = from_name.to_string();
        leg.keys.make_offer(&leg.policy, &mut cx.rng);
        let mut offer = Self::describe(&leg, formats, telephone_event, direction);
        offer.ptime_ms = ptime_ms;
        let spare = !branch.spares.is_empty();
        if spare && let Some(dialing) = &mut self.dialing {
            dialing.branches.push((sid, branch.clone()));
        }
        let headers = branch.headers;
        let numbers = steps.fact(sent_number(&target), &from);
        let max_forwards = self.max_forwards.saturating_sub(1);
        leg.dial = Some(Box::new(Dial {
            leg: sid,
            target,
            from,
            from_name,
            offer,
            timeout,
            headers,
            identity,
            max_forwards,
            emergency,
            spare,
        }));
        self.add_leg(cx, leg);
        if let Some(dialing) = &mut self.dialing {
            dialing.ringing.push(sid);
        }
        if let Some(subscription) = branch.subscription
            && !self.callbacks.subscribe(Of::Leg(sid), subscription)
        {
            cx.counters.callbacks_lost += 1;
        }
        let fact = facts::LegDialed { party: branch.party, to: branch.to, from: caller, timeout_s: timeout.as_secs() };
        self.tell(cx, sid, fact);
        if let Some(fact) = numbers {
            self.tell(cx, sid, fact);
        }
        self.open(cx, now, sid);
        Ok(())
    }

    /// A provisional answer of a dialed leg.
    pub fn on_progress(
        &mut self,
        cx: &mut Context,
        now: Now,
        sid: CallSid,
        status: u16,
        early: Option<Box<AudioStream>>,
    ) {
        let Some(leg) = self.leg_mut(sid).filter(|leg| leg.answered.is_none() && leg.is_live()) else { return };
        let news = !leg.ringing && (status == 180 || status == 183);
        leg.ringing |= news;
        leg.updated = now.wall;
        if news {
            leg.sip_status = Some(status);
            self.tell(cx, sid, facts::LegRinging { status, early_media: early.is_some() });
            self.callback_ringing(cx, now, sid);
            self.transfer_rings(cx, status);
        }
        if sid == self.anchor {
            return;
        }
        let Some(dialing) = &mut self.dialing else { return };
        if !dialing.ringing.contains(&sid) {
            return;
        }
        let may_early = dialing.early_media && (status == 180 || status == 183);
        if let Some(early) = early.filter(|_| may_early) {
            let can_hear = self.first().is_some_and(|leg| leg.answered.is_some() || leg.theirs.is_some());
            if can_hear && self.take_answer(cx, sid, &early).is_ok() {
                self.stop_prompt(cx);
                let joined = self.join(cx, now, sid, 183).is_ok();
                if let Some(dialing) = &mut self.dialing {
                    dialing.early = joined;
                    dialing.rang |= joined;
                }
                if joined {
                    return;
                }
            }
        }
        let Some(dialing) = &mut self.dialing else { return };
        if !dialing.rang {
            dialing.rang = true;
            self.ring_first(cx);
        }
    }

    /// Tells a caller that was not answered that it rings.
    pub fn ring_first(&mut self, cx: &mut Context) {
        let sid = self.anchor;
        if self.first().is_some_and(|leg| leg.origin == Origin::Inbound && leg.answered.is_none() && leg.is_live()) {
            cx.leg(LegCommand::Ring { leg: sid, status: 180, early: None });
        }
    }

    /// A dialed leg was answered.
    pub fn on_answered(
        &mut self,
        cx: &mut Context,
        now: Now,
        sid: CallSid,
        answer: Option<Box<AudioStream>>,
        sip_call_id: &str,
    ) {
        let dialed = |leg: &&Leg| leg.is_live() && leg.answered.is_none() && leg.origin != Origin::Inbound;
        let Some(leg) = self.leg(sid).filter(dialed) else { return };
        let origin = leg.origin;
        self.mark_answered(cx, now, sid, Some(sip_call_id));
        let described = answer.ok_or_else(|| Cause::new(488, "answered without a description"));
        let taken = described.and_then(|answer| self.take_answer(cx, sid, &answer));
        if sid == self.anchor {
            if let Err(cause) = taken {
                return self.end(cx, now, EndedBy::Postern, cause);
            }
            self.configure(cx, sid);
            if origin == Origin::Api {
                self.start_session(cx, now);
            }
            return;
        }
        if !self.dialing.as_ref().is_some_and(|dialing| dialing.ringing.contains(&sid)) {
            return self.hang_up(cx, now, sid, EndedBy::Router, Cause::ELSEWHERE);
        }
        self.stop_prompt(cx);
        if let Err(cause) = taken.and_then(|()| self.join(cx, now, sid, 200)) {
            return self.hang_up(cx, now, sid, EndedBy::Postern, cause);
        }
        let Some(dialing) = &mut self.dialing else { return };
        dialing.connected = Some(sid);
        dialing.next.clear();
        dialing.limit_at = dialing.time_limit.map(|limit| now.instant + limit);
        let losers: Vec<_> = dialing.ringing.drain(..).filter(|other| *other != sid).collect();
        for loser in losers {
            self.hang_up(cx, now, loser, EndedBy::Router, Cause::ELSEWHERE);
        }
        self.start_dial_recording(cx, now, false);
        self.transferred(cx, now);
    }

    /// A leg other than the first ended.
    pub fn branch_ended(&mut self, cx: &mut Context, now: Now, sid: CallSid, by: EndedBy, cause: Cause) {
        let talked = self.talked(sid, now.wall);
        let Some(dialing) = &mut self.dialing else { return };
        let by = if by == EndedBy::Peer { EndedBy::OtherParty } else { by };
        let had = dialing.branches.iter().position(|(of, _)| *of == sid);
        let had = had.map(|at| dialing.branches.swap_remove(at).1);
        let referred = self.transfer.take_if(|transfer| transfer.referrer == sid).is_some();
        if referred && !dialing.ringing.is_empty() {
            // It left before the other has answered, as it may: who stays waits.
            dialing.connected = None;
            return cx.media(MediaCommand::Unbridge { leg: self.anchor });
        }
        if dialing.connected == Some(sid) {
            let outcome = Outcome { status: "completed", cause, by, child: Some(sid), talked, bridged: true };
            self.dialing = None;
            cx.media(MediaCommand::Unbridge { leg: self.anchor });
            return self.dial_over(cx, now, outcome);
        }
        let Some(at) = dialing.ringing.iter().position(|ringing| *ringing == sid) else { return };
        dialing.ringing.swap_remove(at);
        if std::mem::take(&mut dialing.early) {
            cx.media(MediaCommand::Unbridge { leg: self.anchor });
        }
        if let Some(branch) = had
            && self.goes_another_way(cx, now, sid, branch, by, &cause)
        {
            return;
        }
        let Some(dialing) = &mut self.dialing else { return };
        if dialing.ringing.is_empty() && self.transfer.is_some() {
            self.transfer_failed(cx, cause);
            return;
        }
        let status = match cause.status {
            486 | 600 => "busy",
            487 => "canceled",
            408 | 480 => "no-answer",
            _ => "failed",
        };
        dialing.note(Outcome { by, ..Outcome::failed(status, cause, Some(sid)) });
        if dialing.started
            && dialing.ringing.is_empty()
            && let Some(outcome) = self.dial_next(cx, now)
        {
            self.dial_over(cx, now, outcome);
        }
    }

    /// Nobody is dialed any more: the document goes on, or the route's call ends as its callee did.
    fn dial_over(&mut self, cx: &mut Context, now: Now, outcome: Outcome) {
        if self.session.is_some() {
            self.session_dialed(cx, now, outcome);
        } else {
            self.end(cx, now, outcome.by, outcome.cause);
        }
    }

    /// Gives up whoever is dialed or connected, without telling the document.
    pub fn drop_dialing(&mut self, cx: &mut Context, now: Now) {
        let Some(dialing) = self.dialing.take() else { return };
        self.stop_dial_recording(cx, now);
        if dialing.connected.is_some() || dialing.early {
            cx.media(MediaCommand::Unbridge { leg: self.anchor });
        }
        for sid in dialing.ringing.into_iter().chain(dialing.connected) {
            self.hang_up(cx, now, sid, EndedBy::Router, Cause::NORMAL);
        }
    }

    pub fn dial_timeout(&mut self, cx: &mut Context, now: Now) {
        let Some(dialing) = &mut self.dialing else { return };
        if is_due(dialing.limit_at, now) {
            dialing.limit_at = None;
            if let Some(child) = dialing.connected {
                self.hang_up(cx, now, child, EndedBy::Router, Cause::new(200, "time limit reached"));
            }
        }
    }

    /// `hangupOnStar`.
    pub fn dial_digit(&mut self, cx: &mut Context, now: Now, digit: char) {
        let Some(dialing) = &self.dialing else { return };
        if digit == '*'
            && dialing.hangup_on_star
            && let Some(child) = dialing.connected
        {
            self.hang_up(cx, now, child, EndedBy::Router, Cause::new(200, "the caller pressed *"));
        }
    }
}

/// The number or name, and the display name, shown to whoever is dialed or written to: outside, a user's name means nothing, so its own number
/// stands in. `user` is the caller, if it is one of ours.
pub fn shown_to(
    config: &Config,
    user: Option<&str>,
    (from, from_name): (&str, &str),
    withheld: bool,
    target: &Target,
) -> (Box<str>, Box<str>) {
    let Some(user) = user else { return (from.into(), from_name.into()) };
    if withheld {
        return ("anonymous".into(), "".into());
    }
    let own = match target {
        Target::Trunk { .. } | Target::Uri { .. } => own_number(config, user),
        Target::User { .. } => None,
    };
    (own.unwrap_or_else(|| from.into()), from_name.into())
}

/// Whether what is dialed is an emergency number of the trunk that it leaves by.
pub fn is_emergency(config: &Config, target: &Target) -> bool {
    let Target::Trunk { trunk, number } = target else { return false };
    config.trunks.get(trunk).is_some_and(|of| config.is_emergency(&of.realm, Some(trunk), number))
}

/// The number that a trunk is sent; empty for others.
pub fn sent_number(target: &Target) -> &str {
    match target {
        Target::Trunk { number, .. } => number,
        Target::User { .. } | Target::Uri { .. } => "",
    }
}

/// The number that a user calls out with.
pub fn own_number(config: &Config, user: &str) -> Option<Box<str>> {
    let number = config.users.get(user)?.caller_id?;
    Some(number.to_string().into())
}

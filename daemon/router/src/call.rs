//! One call: its legs from the first INVITE to the last record, and the plan that it follows.
//!
//! The first leg gives the call its name. What happens on legs comes in here, is booked (facts, presence, callbacks), and then moves
//! the plan on: a [`Dialing`] for a static route, a [`Session`] for a document. When the first leg ends, everything ends.

use std::time::{Duration, Instant};

use postern_config::Dtmf;
use postern_facts as facts;
use postern_types::{
    AccountSid, CallSid, Cause, EndedBy, Now, UnixMicros,
    leg::{CallerIdentity, FORWARDS_MAX, LegCommand, LegEvent, Offered, Party},
    media::{MediaCommand, MediaEvent},
};

use crate::{
    attended::TakeOver,
    bandwidth,
    callback::Callbacks,
    conference,
    context::Context,
    cookies::Jar,
    dial::{Dialing, own_number},
    digits::{Digits, Via},
    fork::Fork,
    leg::{End, Leg, Origin, Stream},
    recording::Recording,
    reoffer::Reoffer,
    session::Session,
    transfer::{PassedOn, Transfer},
    trust::attestation,
};

/// Legs of one call at once at most: the first and ten dialed in parallel; the rest are still closing.
pub const LEGS_MAX: usize = 24;
/// How long the media plane may take for a leg's final figures before its record is written without them.
const CLOSING_MAX: Duration = Duration::from_secs(3);
/// How long the media plane may take to open a stream: it answers from a table, within a millisecond.
pub const OPENING_MAX: Duration = Duration::from_secs(5);
/// How long signaling may take to end a leg that we hung up: more than its slowest timer (RFC 3261 Timer B, 32 s).
const HANGUP_MAX: Duration = Duration::from_secs(40);
/// One call.
pub struct Call {
    /// Its name: that of the leg that began it.
    pub sid: CallSid,
    /// The leg that others are dialed for: the first, until a transfer turns the call round.
    pub anchor: CallSid,
    pub transfer: Option<Transfer>,
    /// The other party was asked to call somebody by itself.
    pub passed_on: Option<PassedOn>,
    /// A leg that is about to take the place of another.
    pub taking_over: Option<TakeOver>,
    /// Those who were put on hold by one that left, to be taken off it.
    pub held_for_nobody: Vec<CallSid>,
    /// How many there were.
    pub transfers: u8,
    pub account: Option<AccountSid>,
    pub legs: Vec<Leg>,
    pub legs_total: u64,
    pub created: Now,
    /// The document it runs, if it runs one.
    pub session: Option<Box<Session>>,
    /// What is being dialed, or talks.
    pub dialing: Option<Dialing>,
    pub reoffer: Option<Reoffer>,
    /// The codecs of the two that talk, while they differ.
    pub converted: Option<[String; 2]>,
    pub callbacks: Callbacks,
    /// Those that are made of it.
    pub recordings: Vec<Recording>,
    /// Where its audio is sent beside.
    pub forks: Vec<Fork>,
    pub jar: Jar,
    /// `X-` headers of the first INVITE, for the application.
    pub headers: Vec<(Box<str>, Box<str>)>,
    /// What is known of the caller, for trusted trunks; who sent the first leg on to us, for the application.
    pub identity: CallerIdentity,
    /// No limit holds it.
    pub emergency: bool,
    /// What the first leg may still pass, itself counted.
    pub max_forwards: u8,
    /// Set by the first that released it.
    pub released: Option<(EndedBy, Cause)>,
    /// Its end was told.
    pub ended: bool,
    /// Where the router's timer table has it.
    pub timer: Option<Instant>,
    pub digits: Digits,
}

impl Call {
    /// A call that came in, before anything was decided about it.
    pub fn offered(cx: &mut Context, now: Now, offered: &Offered) -> Self {
        let leg = Leg::offered(cx, now, offered);
        let mut call = Self::empty(offered.leg, now);
        call.headers = offered.headers.clone();
        call.identity = offered.identity.clone();
        if let Party::User { user } = &offered.party {
            // It proved who it is: we vouch for it.
            call.identity.asserted = own_number(&cx.config, user.as_str()).unwrap_or_else(|| user.as_str().into());
        }
        call.identity.trust.attest = attestation(&cx.config, &offered.party);
        call.max_forwards = offered.max_forwards;
        call.add_leg(cx, leg);
        let fact = facts::CallOffered {
            party: offered.party.clone(),
            from: offered.from.to_string(),
            to: offered.to.to_string(),
            source: Some(offered.source),
            sip_call_id: offered.sip_call_id.to_string(),
        };
        call.tell(cx, offered.leg, fact);
        call
    }

    /// A call without legs yet.
    pub fn empty(sid: CallSid, now: Now) -> Self {
        Self {
            sid,
            anchor: sid,
            transfer: None,
            passed_on: None,
            taking_over: None,
            held_for_nobody: Vec::new(),
            transfers: 0,
            account: None,
            // The caller's and the callee's; more are rare, and a leg is large.
            legs: Vec::with_capacity(2),
            legs_total: 0,
            created: now,
            session: None,
            dialing: None,
            reoffer: None,
            converted: None,
            callbacks: Callbacks::default(),
            recordings: Vec::new(),
            forks: Vec::new(),
            jar: Jar::default(),
            headers: Vec::new(),
            identity: CallerIdentity::default(),
            emergency: false,
            max_forwards: FORWARDS_MAX,
            released: None,
            ended: false,
            timer: None,
            digits: Digits::default(),
        }
    }

    /// Takes a leg in.
    pub fn add_leg(&mut self, cx: &mut Context, mut leg: Leg) {
        cx.legs.insert(leg.sid, self.sid);
        if let Party::Trunk { trunk } = &leg.party {
            leg.kbps = bandwidth::expected(&cx.config, trunk);
        }
        cx.leg_began(leg.sid, &leg.party, leg.origin.bound(), leg.kbps);
        self.legs_total += 1;
        self.legs.push(leg);
    }

    pub fn leg(&self, sid: CallSid) -> Option<&Leg> {
        self.legs.iter().find(|leg| leg.sid == sid)
    }

    pub fn leg_mut(&mut self, sid: CallSid) -> Option<&mut Leg> {
        self.legs.iter_mut().find(|leg| leg.sid == sid)
    }

    /// Who sent the first leg on to us; empty when nobody said.
    pub fn forwarded_from(&self) -> &str {
        self.identity.diversions.first().map_or("", |latest| &latest.user)
    }

    /// The leg that others are dialed for, until its record is written.
    pub fn first(&self) -> Option<&Leg> {
        self.leg(self.anchor)
    }

    /// Whether the first leg lives.
    pub fn is_live(&self) -> bool {
        self.released.is_none() && self.first().is_some_and(Leg::is_live)
    }

    /// A fact about one of its legs.
    pub fn tell(&self, cx: &mut Context, sid: CallSid, fact: impl Into<facts::Fact>) {
        let subject = match self.leg(sid) {
            Some(leg) => leg.subject(self.sid),
            None => facts::Subject { account: self.account, call: Some(self.sid), ..Default::default() },
        };
        cx.fact(subject, fact);
    }

    /// Something happened on a leg.
    pub fn on_leg(&mut self, cx: &mut Context, now: Now, event: LegEvent) {
        let sid = event.leg();
        if self.leg(sid).is_none_or(|leg| leg.end.is_some()) {
            return;
        }
        match event {
            // A second INVITE for a leg that lives is no new call.
            LegEvent::Offered(_) => {}
            LegEvent::Progress { status, early, .. } => self.on_progress(cx, now, sid, status, early),
            LegEvent::Moved { from, to, cause, .. } => {
                self.tell(cx, sid, facts::LegFailedOver { from: from.into(), to: to.into(), cause });
            }
            LegEvent::Vouched { vouched, .. } => self.tell_vouched(cx, sid, vouched),
            LegEvent::HeadersChanged { sent, rules, .. } => {
                let way = if sent { "sent" } else { "received" };
                self.tell(cx, sid, facts::HeadersChanged { way: way.into(), rules: rules.join(", ") });
            }
            LegEvent::Answered { answer, sip_call_id, .. } => self.on_answered(cx, now, sid, answer, &sip_call_id),
            LegEvent::Confirmed { answer, .. } => self.on_confirmed(cx, now, sid, answer),
            LegEvent::Failed { by, cause, .. } | LegEvent::Ended { by, cause, .. } => {
                self.on_ended(cx, now, sid, by, cause);
            }
            LegEvent::Reoffered { offer, .. } => self.on_reoffered(cx, sid, offer),
            LegEvent::ReofferAnswered { answer, .. } => {
                self.on_reoffer_answered(cx, now, sid, *answer);
                self.resume_next(cx);
            }
            LegEvent::ReofferFailed { cause, .. } => {
                self.on_reoffer_failed(cx, now, sid, cause);
                self.resume_next(cx);
            }
            LegEvent::Refreshed { theirs, .. } => self.on_refreshed(cx, sid, &theirs),
            LegEvent::Referred { to, device, pass_on, .. } => self.on_referred(cx, now, sid, (&to, device), pass_on),
            LegEvent::ReferralTold { status, .. } => self.on_referral_told(cx, sid, status),
            // It concerns two calls: the router's.
            LegEvent::ReferredToSecond { .. } => {}
            LegEvent::Digit { digit, duration_ms, .. } => self.on_digit(cx, now, sid, digit, Via::Info, duration_ms),
        }
    }

    /// Something happened on a stream.
    pub fn on_media(&mut self, cx: &mut Context, now: Now, event: MediaEvent) {
        match event {
            MediaEvent::Opened { leg, .. } if !self.leg(leg).is_some_and(Leg::is_opening) => {
                // Too late: nobody waits for it, and it must not stay open.
                cx.media(MediaCommand::Close { leg });
            }
            MediaEvent::Opened { leg, rtp, rtcp, fingerprint } => {
                self.on_opened(cx, now, leg, (rtp, rtcp), fingerprint);
            }
            MediaEvent::OpenFailed { leg, why } => self.on_open_failed(cx, now, leg, why),
            MediaEvent::Latched { leg, source, as_described } => {
                let Some(opened) = self.leg(leg).map(|leg| leg.opened) else { return };
                let after_ms = now.wall.since(opened).as_millis() as u64;
                self.tell(cx, leg, facts::MediaLatched { source, as_described, after_ms });
            }
            MediaEvent::Connected { leg, source } => {
                let Some(opened) = self.leg(leg).map(|leg| leg.opened) else { return };
                let after_ms = now.wall.since(opened).as_millis() as u64;
                self.tell(cx, leg, facts::MediaConnected { source, after_ms });
            }
            MediaEvent::Keyed { leg, source, suite, took } => {
                let (suite, took_ms) = (suite.name().to_owned(), took.as_millis() as u64);
                self.tell(cx, leg, facts::MediaKeyed { source, suite, took_ms });
            }
            MediaEvent::Unproven { leg, source, why, packets } => {
                self.tell(cx, leg, facts::MediaUnproven { source, why: why.to_owned(), packets });
            }
            MediaEvent::Unheard { leg, why, silent } => {
                // Who rings may be silent.
                let Some(of) = self.leg_mut(leg).filter(|leg| leg.is_live() && leg.answered.is_some()) else { return };
                of.unheard = Some(why);
                let (silent_ms, detail) = (silent.as_millis() as u64, why.to_string());
                self.tell(cx, leg, facts::MediaUnheard { why: why.name().to_owned(), detail, silent_ms });
            }
            MediaEvent::Heard { leg } => {
                let was = self.leg_mut(leg).and_then(|leg| leg.unheard.take());
                if let Some(was) = was {
                    self.tell(cx, leg, facts::MediaHeard { was: was.name().to_owned() });
                }
            }
            MediaEvent::ConsentLost { leg, silent } => {
                self.tell(cx, leg, facts::MediaConsentLost { silent_ms: silent.as_millis() as u64 });
            }
            MediaEvent::Foreign { leg, source, packets } => {
                self.tell(cx, leg, facts::MediaForeign { source, packets });
            }
            MediaEvent::Digit { leg, digit, duration_ms } => {
                let is_tone = self.leg(leg).is_some_and(|leg| leg.policy.dtmf == Dtmf::Inband);
                let via = if is_tone { Via::Tones } else { Via::Rtp };
                self.on_digit(cx, now, leg, digit, via, duration_ms);
            }
            MediaEvent::Speaks { leg, on } => conference::on_speech(cx, now, leg, on),
            MediaEvent::PlayEnded { leg, play } => {
                if !conference::on_play_ended(cx, now, leg, play) && leg == self.sid {
                    self.on_play_ended(cx, now, play);
                }
            }
            MediaEvent::TimedOut { leg, silent } => {
                // A caller that only listens while it rings is not gone; a worker that is gone says zero.
                let counts = |leg: &Leg| leg.is_live() && (leg.answered.is_some() || silent.is_zero());
                if self.leg(leg).is_some_and(counts) {
                    self.tell(cx, leg, facts::MediaTimedOut { silent_ms: silent.as_millis() as u64 });
                    self.end(cx, now, EndedBy::Postern, Cause::MEDIA_TIMEOUT);
                }
            }
            MediaEvent::Report { leg, report } => {
                if let Some(leg) = self.leg_mut(leg) {
                    leg.quality = Some(*report);
                }
            }
            MediaEvent::Closed { leg, report } => {
                if let Some(mos) = report.mos {
                    let worst = report.far.and_then(|far| far.mos).map_or(mos, |there| there.min(mos));
                    cx.counters.measured_total += 1;
                    cx.counters.poor_total += u64::from(worst < crate::output::POOR_MOS);
                }
                self.tell(cx, leg, facts::QualityMeasured { report: (*report).clone() });
                if let Some(leg) = self.leg_mut(leg) {
                    leg.quality = Some(*report);
                    leg.stream = Stream::Closed;
                }
            }
        }
    }

    /// Whatever is due.
    pub fn on_timeout(&mut self, cx: &mut Context, now: Now) {
        let late: Vec<_> =
            self.legs.iter().filter(|l| l.end.is_none() && is_due(l.hung_up, now)).map(|l| l.sid).collect();
        for sid in late {
            let cause = Cause::new(408, "signaling did not tell the end of the leg");
            self.on_ended(cx, now, sid, EndedBy::Postern, cause);
        }
        for leg in &mut self.legs {
            if let Stream::Closing(until) = leg.stream
                && until <= now.instant
            {
                leg.stream = Stream::Closed;
            }
        }
        let unopened = |leg: &&Leg| matches!(leg.stream, Stream::Opening(until) if until <= now.instant);
        let unopened: Vec<_> = self.legs.iter().filter(unopened).map(|leg| leg.sid).collect();
        for sid in unopened {
            self.on_open_failed(cx, now, sid, "the media plane did not answer".into());
        }
        self.digit_timeout(cx, now);
        self.dial_timeout(cx, now);
        self.session_timeout(cx, now);
        self.callback_timeout(cx, now);
        self.recording_timeout(cx, now);
        self.fork_timeout(cx, now);
    }

    /// When something is due next.
    pub fn next_deadline(&self) -> Option<Instant> {
        let legs = self.legs.iter().flat_map(|leg| {
            let stream = match leg.stream {
                Stream::Opening(until) | Stream::Closing(until) => Some(until),
                Stream::None | Stream::Open { .. } | Stream::Closed => None,
            };
            [stream, leg.hung_up.filter(|_| leg.end.is_none())]
        });
        let plans = [
            self.dialing.as_ref().and_then(|dialing| dialing.limit_at),
            self.session.as_ref().and_then(|session| session.deadline()),
            self.callbacks.next_deadline(),
            self.recording_deadline(),
            self.fork_deadline(),
            self.digits.next_deadline(),
        ];
        legs.chain(plans).flatten().min()
    }

    /// Writes the records of legs that are over, and tells the end of the call after the last. True: nothing is left of it.
    pub fn sweep(&mut self, cx: &mut Context, now: Now) -> bool {
        let mut at = 0;
        while at < self.legs.len() {
            let leg = &self.legs[at];
            if leg.end.is_none() || !matches!(leg.stream, Stream::None | Stream::Closed) {
                at += 1;
                continue;
            }
            let leg = self.legs.remove(at);
            cx.legs.remove(&leg.sid);
            cx.out.push_back(crate::Output::Ended(Box::new(leg.record())));
        }
        if self.legs.is_empty() && !self.ended {
            self.ended = true;
            cx.counters.calls = cx.counters.calls.saturating_sub(1);
            let (by, cause) = self.released.clone().unwrap_or((EndedBy::Postern, Cause::NORMAL));
            let total_ms = now.wall.since(self.created.wall).as_millis() as u64;
            self.tell(cx, self.sid, facts::CallEnded { by, cause, total_ms, legs: self.legs_total });
        }
        self.ended && self.callbacks.is_idle() && self.recordings.is_empty() && self.forks.is_empty()
    }

    /// Ends the whole call. The first cause stands.
    pub fn end(&mut self, cx: &mut Context, now: Now, by: EndedBy, cause: Cause) {
        if self.released.is_some() {
            return;
        }
        self.released = Some((by, cause.clone()));
        self.stop_session(cx, now);
        self.dialing = None;
        self.reoffer = None;
        let live: Vec<_> = self.legs.iter().filter(|leg| leg.is_live()).map(|leg| leg.sid).collect();
        for sid in live {
            self.hang_up(cx, now, sid, by, cause.clone());
        }
    }

    /// Ends one leg.
    pub fn hang_up(&mut self, cx: &mut Context, now: Now, sid: CallSid, by: EndedBy, cause: Cause) {
        let Some(leg) = self.leg_mut(sid).filter(|leg| leg.is_live()) else { return };
        let refused = leg.answered.is_none() && cause.status < 300;
        let cause = match (leg.origin, refused) {
            (Origin::Inbound, true) => Cause::new(480, cause.text),
            (Origin::Inbound, false) if leg.answered.is_none() => Cause { status: for_caller(cause.status), ..cause },
            (_, true) => Cause { status: 487, ..cause },
            (_, false) => cause,
        };
        if leg.dial.take().is_some() {
            // Not dialed yet: signaling never heard of it.
            return self.on_ended(cx, now, sid, by, cause);
        }
        leg.hung_up = Some(now.instant + HANGUP_MAX);
        cx.leg(LegCommand::Hangup { leg: sid, by, cause });
    }

    /// A leg is over.
    pub fn on_ended(&mut self, cx: &mut Context, now: Now, sid: CallSid, by: EndedBy, cause: Cause) {
        let Some(leg) = self.leg_mut(sid).filter(|leg| leg.end.is_none()) else { return };
        let status = leg.final_status(&cause);
        leg.end = Some(End { by, cause: cause.clone(), at: now.wall, status });
        leg.updated = now.wall;
        if leg.answered.is_none() && cause.status >= 300 {
            leg.sip_status = Some(cause.status);
        }
        self.taking_over.take_if(|taking| taking.leg == sid);
        self.passed_on.take_if(|passed| passed.by == sid || passed.on == sid);
        let Some(leg) = self.leg_mut(sid) else { return };
        let answered = leg.answered;
        let duration_ms = answered.map_or(0, |at| now.wall.since(at.wall).as_millis() as u64);
        match leg.stream {
            Stream::Opening(_) | Stream::Open { .. } => {
                leg.stream = Stream::Closing(now.instant + CLOSING_MAX);
                cx.media(MediaCommand::Close { leg: sid });
            }
            Stream::None | Stream::Closing(_) | Stream::Closed => {}
        }
        let (party, bound, kbps) = (leg.party.clone(), leg.origin.bound(), leg.kbps);
        cx.leg_ended(sid, &party, bound, kbps);
        self.stop_recordings_of(cx, now, sid);
        self.stop_forks_of(cx, now, sid);
        conference::leave(cx, now, sid, conference::Why::Left);
        let fact = facts::LegEnded { by, cause: cause.clone(), status: status.to_owned(), duration_ms };
        self.tell(cx, sid, fact);
        self.callback_ended(cx, now, sid);
        self.reoffer_over(cx, sid);
        if sid == self.anchor {
            if self.released.is_none() {
                self.released = Some((by, cause.clone()));
            }
            self.stop_session(cx, now);
            self.dialing = None;
            let others: Vec<_> = self.legs.iter().filter(|leg| leg.is_live()).map(|leg| leg.sid).collect();
            let by = if by == EndedBy::Peer { EndedBy::OtherParty } else { by };
            for other in others {
                let cause = if answered.is_none() && cause.status == 200 { Cause::CANCELLED } else { cause.clone() };
                self.hang_up(cx, now, other, by, cause);
            }
        } else {
            self.branch_ended(cx, now, sid, by, cause);
        }
    }

    /// The whole seconds that a leg has talked.
    pub fn talked(&self, sid: CallSid, until: UnixMicros) -> Duration {
        self.leg(sid).and_then(|leg| leg.answered).map_or(Duration::ZERO, |at| until.since(at.wall))
    }
}

/// A callee's final status as its caller may hear it. What is between the callee and us stays here: challenges, extensions, intervals, and
/// dialogs and hops that are not the caller's are our failure, 500. A callee that moved is not followed, and not reached: 480.
pub fn for_caller(status: u16) -> u16 {
    match status {
        300..=399 => 480,
        401 | 407 | 420..=423 | 481..=483 | 491 | 493 | 494 => 500,
        other => other,
    }
}

/// Whether a deadline has come.
pub fn is_due(deadline: Option<Instant>, now: Now) -> bool {
    deadline.is_some_and(|at| at <= now.instant)
}

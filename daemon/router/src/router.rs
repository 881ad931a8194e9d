//! The machine itself: who is told what, and what becomes of a call that arrives.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::Instant,
};

use postern_config::Config;
use postern_document::{StreamNoun, Wait};
use postern_facts::{self as facts, CallRecord, RecordingRecord};
use postern_presence::Presence;
use postern_types::{
    AccountSid, CallSid, Cause, ConferenceSid, EndedBy, Now, RecordingSid, RequestId, TrunkName, UserName,
    fork::ForkEvent,
    leg::{LegCommand, LegEvent, Offered, Party},
    media::{MediaCommand, MediaEvent, Prompt},
    recording::RecorderEvent,
    stream::Libraries,
};
use rand::rngs::StdRng;

use crate::{
    call::Call,
    conference,
    context::{Asker, Context},
    dial::{Branch, Dialing},
    limits::{Bound, Passing},
    negotiate, numbers, originate,
    output::{Counters, HttpFailure, HttpResponse, Output, PromptKey},
    rest::{
        ConferenceAnswer, ConferenceOrder, CreateCall, CreateParticipant, CreateRecording, Instructions,
        ParticipantOrder, RestError, StreamRecord, UpdateCall, UpdateRecording,
    },
    table::{self, Asked, Caller, Resolved},
    texts::Texts,
    ways::Ways,
};

/// Calls that are over and only wait for their last status callbacks, at most. Beyond it callbacks are dropped and counted: a dead
/// subscriber must not cost a new call its place.
pub const TAILS_MAX: u64 = 20_000;

/// Every call of the appliance.
pub struct Router {
    pub(crate) cx: Context,
    calls: HashMap<CallSid, Call>,
    /// When which call is due, one entry a call that has a deadline.
    timers: BTreeSet<(Instant, CallSid)>,
    pub(crate) texts: Texts,
}

impl Router {
    /// No calls yet. `rng` makes SIDs and SRTP keys: it must be seeded from the system.
    pub fn new(config: Arc<Config>, rng: StdRng, now: Now) -> Self {
        let _ = now;
        Self { cx: Context::new(config, rng), calls: HashMap::new(), timers: BTreeSet::new(), texts: Texts::new() }
    }

    /// A new configuration: for calls that come; those that live keep what they decided.
    pub fn reconfigure(&mut self, _now: Now, config: Arc<Config>) {
        self.cx.configure(config);
    }

    /// Refuses new calls from now on, or takes them again; live ones go on, with all that they do.
    pub fn set_draining(&mut self, draining: bool) {
        self.cx.draining = draining;
    }

    /// What this machine's media plane converts besides its own codecs; said once, before the first call. Without a word, nothing.
    pub fn set_libraries(&mut self, libraries: Libraries) {
        self.cx.libraries = libraries;
    }

    /// Whether new calls are refused.
    pub fn is_draining(&self) -> bool {
        self.cx.draining
    }

    /// Something happened on a leg.
    pub fn handle_leg(&mut self, now: Now, event: LegEvent) {
        match event {
            LegEvent::Offered(offered) if !self.cx.legs.contains_key(&offered.leg) => match offered.replaces {
                Some(of) => self.take_over(now, &offered, of),
                None => self.offered(now, &offered),
            },
            LegEvent::ReferredToSecond { leg, second, to } => self.referred_to_second(now, leg, second, &to),
            event => {
                let leg = event.leg();
                self.with_leg(now, leg, |call, cx| call.on_leg(cx, now, event));
            }
        }
    }

    /// Something happened on a leg's stream.
    pub fn handle_media(&mut self, now: Now, event: MediaEvent) {
        let leg = event.leg();
        if matches!(event, MediaEvent::Opened { .. }) && !self.cx.legs.contains_key(&leg) {
            // Its leg is gone: the stream must not stay open.
            return self.cx.media(MediaCommand::Close { leg });
        }
        self.with_leg(now, leg, |call, cx| call.on_media(cx, now, event));
    }

    /// The answer to an [`Output::Http`].
    pub fn handle_http(&mut self, now: Now, id: RequestId, answer: Result<HttpResponse, HttpFailure>) {
        let call = match self.cx.requests.remove(&id) {
            None => return,
            Some(Asker::Call(call)) => call,
            Some(Asker::Conference(sid)) => return conference::on_callback(&mut self.cx, now, sid, id, answer),
        };
        self.with_call(now, call, |call, cx| {
            if call.callbacks.has(id) {
                call.on_callback(cx, now, id, answer);
            } else {
                call.on_document(cx, now, id, answer);
            }
        });
    }

    /// The answer to an [`Output::LoadPrompt`].
    pub fn handle_prompt(&mut self, now: Now, key: PromptKey, answer: Result<Arc<Prompt>, String>) {
        if self.cx.conferences.awaits(key) {
            return conference::on_prompt(&mut self.cx, now, key, answer);
        }
        let Some(call) = self.cx.prompts.remove(&key) else { return };
        self.with_call(now, call, |call, cx| call.on_prompt(cx, now, key, answer));
    }

    /// The recorder tells.
    pub fn handle_recorder(&mut self, now: Now, event: RecorderEvent) {
        match self.cx.taps.remove(&event.tap()) {
            None => {}
            Some(Asker::Call(call)) => self.with_call(now, call, |call, cx| call.on_recorder(cx, now, event)),
            Some(Asker::Conference(sid)) => conference::on_recorder(&mut self.cx, now, sid, event),
        }
    }

    /// The driver of forks tells.
    pub fn handle_fork(&mut self, now: Now, event: ForkEvent) {
        if let Some(Asker::Call(call)) = self.cx.taps.get(&event.tap()).copied() {
            self.with_call(now, call, |call, cx| call.on_fork(cx, now, event));
        }
    }

    /// How many devices of a user are registered now.
    pub fn handle_devices(&mut self, _now: Now, user: UserName, devices: u32) {
        let changed = self.cx.presence.devices(&user, devices);
        self.cx.user_changed(&user, changed);
    }

    /// Somebody watches a user from now on, or nobody does any more. Answered by [`Output::User`], now and whenever it changes.
    pub fn handle_watch(&mut self, user: &UserName, on: bool) {
        self.cx.presence.watch(user, on);
        self.cx.user_changed(user, None);
    }

    /// Whether a trunk has an address that is known to live.
    pub fn handle_trunk(&mut self, _now: Now, trunk: TrunkName, up: bool) {
        if up {
            self.cx.down.remove(&trunk);
        } else {
            self.cx.down.insert(trunk);
        }
    }

    /// Whatever was due by `now`.
    pub fn handle_timeout(&mut self, now: Now) {
        conference::on_timeout(&mut self.cx, now);
        while let Some((at, sid)) = self.timers.first().copied() {
            if at > now.instant {
                return;
            }
            self.timers.pop_first();
            if let Some(call) = self.calls.get_mut(&sid) {
                call.timer = None;
            }
            self.with_call(now, sid, |call, cx| call.on_timeout(cx, now));
        }
    }

    /// What is to be done next; none when all is done.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.cx.out.pop_front()
    }

    /// When [`Router::handle_timeout`] must be called at the latest.
    pub fn next_deadline(&self) -> Option<Instant> {
        let call = self.timers.first().map(|(at, _)| *at);
        call.into_iter().chain(self.cx.conferences.next_deadline()).min()
    }

    /// `POST Calls`: the new call, `queued`.
    pub fn create_call(&mut self, now: Now, account: AccountSid, call: CreateCall) -> Result<CallRecord, RestError> {
        let emergency = self.cx.config.is_emergency_somewhere(&call.to);
        if let Some(why) = self.cx.closed(emergency) {
            self.cx.counters.refused_total += 1;
            return Err(originate::no_room(why));
        }
        let call = originate::create(&mut self.cx, now, account, call)?;
        let sid = call.sid;
        let record = call.first().map(|leg| leg.record()).ok_or_else(|| originate::no_room("the call has no leg"))?;
        self.admit(call);
        self.with_call(now, sid, |call, cx| call.open(cx, now, sid));
        Ok(record)
    }

    /// `POST Calls/{sid}`: the call as it is now, or none when that account has no such live call.
    pub fn update_call(
        &mut self,
        now: Now,
        account: AccountSid,
        sid: CallSid,
        update: UpdateCall,
    ) -> Result<Option<CallRecord>, RestError> {
        let mut done = Ok(None);
        self.with_leg(now, sid, |call, cx| done = originate::update(call, cx, now, account, sid, update));
        done
    }

    /// `POST Calls/{sid}/Recordings`: the recording that began, or none when that account has no such live call.
    pub fn create_recording(
        &mut self,
        now: Now,
        account: AccountSid,
        sid: CallSid,
        wanted: CreateRecording,
    ) -> Result<Option<RecordingRecord>, RestError> {
        let mut done = Ok(None);
        self.with_leg(now, sid, |call, cx| {
            if call.leg(sid).is_some_and(|leg| leg.account == Some(account)) {
                done = call.create_recording(cx, now, sid, wanted).map(Some);
            }
        });
        done
    }

    /// `POST Calls/{sid}/Recordings/{sid}`, the newest when none is named; none when it is over or unknown.
    pub fn update_recording(
        &mut self,
        now: Now,
        account: AccountSid,
        sid: CallSid,
        recording: Option<RecordingSid>,
        update: UpdateRecording,
    ) -> Result<Option<RecordingRecord>, RestError> {
        let mut done = Ok(None);
        self.with_leg(now, sid, |call, cx| {
            if call.leg(sid).is_some_and(|leg| leg.account == Some(account)) {
                done = call.update_recording(cx, now, sid, recording, update);
            }
        });
        done
    }

    /// `POST Calls/{sid}/Streams`: the fork that began, or none when that account has no such live call.
    pub fn create_stream(
        &mut self,
        now: Now,
        account: AccountSid,
        sid: CallSid,
        wanted: StreamNoun,
    ) -> Result<Option<StreamRecord>, RestError> {
        let mut done = Ok(None);
        self.with_leg(now, sid, |call, cx| {
            if call.leg(sid).is_some_and(|leg| leg.account == Some(account)) {
                done = call.create_stream(cx, now, sid, wanted).map(Some);
            }
        });
        done
    }

    /// `POST Calls/{sid}/Streams/{sid or name}` with `Status=stopped`; none when it is over or unknown.
    pub fn stop_stream(&mut self, now: Now, account: AccountSid, sid: CallSid, which: &str) -> Option<StreamRecord> {
        let mut done = None;
        self.with_leg(now, sid, |call, cx| {
            if call.leg(sid).is_some_and(|leg| leg.account == Some(account)) {
                done = call.stop_stream(cx, now, sid, which);
            }
        });
        done
    }

    /// Conferences and who is in them; none when that account has no such one.
    pub fn conference(
        &mut self,
        now: Now,
        account: AccountSid,
        order: ConferenceOrder,
    ) -> Result<Option<ConferenceAnswer>, RestError> {
        let answer = self.order(now, account, order);
        self.release(now);
        answer
    }

    fn order(
        &mut self,
        now: Now,
        account: AccountSid,
        order: ConferenceOrder,
    ) -> Result<Option<ConferenceAnswer>, RestError> {
        use conference::rest;
        let (sid, who) = match order {
            ConferenceOrder::List => {
                return Ok(Some(ConferenceAnswer::Conferences(rest::list(&self.cx, account))));
            }
            ConferenceOrder::Fetch(sid) => {
                return Ok(rest::fetch(&self.cx, account, sid).map(ConferenceAnswer::Conference));
            }
            ConferenceOrder::Update { sid, end, announce } => {
                let record = rest::update(&mut self.cx, now, account, sid, end, announce.as_deref())?;
                return Ok(record.map(ConferenceAnswer::Conference));
            }
            ConferenceOrder::Participants(sid) => {
                let all = rest::participants(&self.cx, account, sid, |leg| self.coming(leg));
                return Ok(all.map(ConferenceAnswer::Participants));
            }
            ConferenceOrder::Participant(sid, who) => (sid, rest::find(&self.cx, account, sid, &who)),
            ConferenceOrder::Change(sid, who, order) => {
                let ParticipantOrder { mut change, hold_url, announce_url } = *order;
                let load = |name, url: Option<String>| url.map(|url| rest::source(&self.cx, name, &url)).transpose();
                (change.hold, change.announce) = (load("HoldUrl", hold_url)?, load("AnnounceUrl", announce_url)?);
                (sid, rest::change(&mut self.cx, now, account, (sid, &who), change)?)
            }
            ConferenceOrder::Remove(sid, who) => {
                let removed = rest::remove(&mut self.cx, now, account, sid, &who);
                return Ok(removed.map(|_| ConferenceAnswer::Removed));
            }
            ConferenceOrder::Create(name, wanted) => self.create_participant(now, account, &name, *wanted)?,
        };
        let all = rest::participants(&self.cx, account, sid, |leg| self.coming(leg)).unwrap_or_default();
        Ok(all.into_iter().find(|of| Some(of.call) == who).map(ConferenceAnswer::Participant))
    }

    fn create_participant(
        &mut self,
        now: Now,
        account: AccountSid,
        name: &str,
        wanted: CreateParticipant,
    ) -> Result<(ConferenceSid, Option<CallSid>), RestError> {
        use conference::rest;
        let CreateParticipant { to, from, timeout_s, time_limit, mut noun, status_callback } = wanted;
        noun.name = rest::name_of(&self.cx, account, name)?;
        rest::check(&self.cx, account, &noun)?;
        if let Wait::Play(url) = &noun.wait {
            rest::source(&self.cx, "WaitUrl", url)?;
        }
        let instructions = Instructions::Program(Box::new(rest::program(noun.clone(), time_limit)));
        let record =
            self.create_call(now, account, CreateCall { to, from, instructions, timeout_s, status_callback })?;
        let subject = self.leg(record.sid).map(|leg| leg.subject(record.sid));
        let sid = subject.and_then(|subject| rest::expect(&mut self.cx, now, &subject, &noun));
        // A call that ended in the same moment is in no conference.
        let sid = sid.ok_or_else(|| originate::no_room("the call could not be made"))?;
        Ok((sid, Some(record.sid)))
    }

    /// How a leg stands that is dialed for a conference.
    fn coming(&self, leg: CallSid) -> &'static str {
        match self.leg(leg) {
            Some(leg) if leg.answered.is_some() => "connecting",
            Some(leg) if leg.ringing => "ringing",
            Some(_) => "queued",
            None => "failed",
        }
    }

    /// Ends a whole call by any of its legs; false when there is no such live leg.
    pub fn hangup(&mut self, now: Now, sid: CallSid, by: EndedBy) -> bool {
        let live = self.leg(sid).is_some_and(|leg| leg.is_live());
        if live {
            self.with_leg(now, sid, |call, cx| call.end(cx, now, by, Cause::NORMAL));
        }
        live
    }

    /// Ends every call: the box goes down.
    pub fn end_all(&mut self, now: Now, cause: Cause) {
        let calls: Vec<_> = self.calls.keys().copied().collect();
        for sid in calls {
            self.with_call(now, sid, |call, cx| call.end(cx, now, EndedBy::Postern, cause.clone()));
        }
    }

    /// The live legs, of one account or of all.
    pub fn records(&self, account: Option<AccountSid>) -> impl Iterator<Item = CallRecord> {
        let legs = self.calls.values().flat_map(|call| &call.legs);
        legs.filter(move |leg| leg.end.is_none() && (account.is_none() || leg.account == account))
            .map(|leg| leg.record())
    }

    /// One live leg.
    pub fn record(&self, sid: CallSid) -> Option<CallRecord> {
        self.leg(sid).filter(|leg| leg.end.is_none()).map(|leg| leg.record())
    }

    /// The call that a leg belongs to, while it lives.
    pub fn call_of(&self, leg: CallSid) -> Option<CallSid> {
        self.cx.legs.get(&leg).copied()
    }

    /// Figures.
    pub fn counters(&self) -> Counters {
        self.cx.counters
    }

    /// Live legs of a trunk.
    pub fn trunk_legs(&self, trunk: &TrunkName) -> u32 {
        self.cx.trunks.get(trunk).copied().unwrap_or(0)
    }

    /// What its legs take of its line, each way, kbit/s.
    pub fn trunk_bandwidth(&self, trunk: &TrunkName) -> u32 {
        self.cx.limits.bandwidth(trunk)
    }

    /// Calls refused for the limits of a trunk since the start: of it, and to it.
    pub fn trunk_refusals(&self, trunk: &TrunkName) -> (u64, u64) {
        self.cx.limits.refusals(trunk)
    }

    /// Who is available, busy or gone.
    pub fn presence(&self) -> &Presence {
        &self.cx.presence
    }

    /// How many things are remembered for the sake of calls. Nothing when every call is over and its last callback is told or given up.
    pub fn remembered(&self) -> usize {
        let cx = &self.cx;
        let tables = [
            cx.conferences.remembered(),
            self.calls.len(),
            self.texts.len(),
            self.timers.len(),
            cx.legs.len(),
            cx.requests.len(),
            cx.prompts.len(),
            cx.taps.len(),
        ];
        tables.iter().sum::<usize>() + self.cx.trunks.values().map(|legs| *legs as usize).sum::<usize>()
    }

    /// Whether any table still knows of a leg; a call that only waits for its callbacks may stay.
    #[cfg(test)]
    pub(crate) fn has_leftovers(&self) -> bool {
        !(self.cx.legs.is_empty() && self.cx.requests.is_empty() && self.cx.prompts.is_empty())
            || self.cx.conferences.has_leftovers()
            || self.calls.values().any(|call| !call.legs.is_empty())
            || self.cx.trunks.values().any(|legs| *legs > 0)
    }

    pub(crate) fn context(&self) -> &Context {
        &self.cx
    }

    /// A call by its name.
    pub(crate) fn call(&self, sid: CallSid) -> Option<&Call> {
        self.calls.get(&sid)
    }

    /// Counts a call that was refused before it was one.
    pub(crate) fn refused(&mut self) {
        self.cx.counters.refused_total += 1;
    }

    pub(crate) fn command(&mut self, command: LegCommand) {
        self.cx.leg(command);
    }

    pub(crate) fn leg(&self, sid: CallSid) -> Option<&crate::leg::Leg> {
        self.calls.get(self.cx.legs.get(&sid)?)?.leg(sid)
    }

    /// A call from a known party: is there room, what does the dialed string mean, then off it goes.
    fn offered(&mut self, now: Now, offered: &Offered) {
        let sid = offered.leg;
        let trunk = match &offered.party {
            Party::Trunk { trunk } => Some(trunk),
            Party::User { .. } | Party::Uri { .. } => None,
        };
        let emergency = self.cx.config.is_emergency(&offered.realm, trunk, &offered.to);
        let dialed = offered.to.clone();
        let (ours, steps) = numbers::received(&self.cx.config, offered).unzip();
        let offered = ours.as_ref().unwrap_or(offered);
        if let Some(why) = self.cx.closed(emergency) {
            self.cx.counters.refused_total += 1;
            let cause = Cause::new(503, why);
            return self.cx.leg(LegCommand::Hangup { leg: sid, by: EndedBy::Postern, cause });
        }
        // Asked before its own leg is counted.
        let room = trunk.filter(|_| !emergency).map_or(Ok(()), |trunk| {
            self.cx.take_room(now, trunk, Bound::In, Passing::Call).map_err(|full| {
                let limits = self.cx.config.trunks.get(trunk).map(|trunk| trunk.limits).unwrap_or_default();
                Cause::new(limits.refusal(), full.why())
            })
        });
        let mut call = Call::offered(&mut self.cx, now, offered);
        if emergency {
            call.emergency = true;
            call.tell(&mut self.cx, sid, facts::EmergencyCall { number: dialed.into() });
        }
        if let Some(fact) = steps.and_then(|steps| steps.fact(&offered.to, &offered.from)) {
            call.tell(&mut self.cx, sid, fact);
        }
        let distrusted = call.tell_verdict(&mut self.cx);
        self.admit(call);
        self.with_call(now, sid, |call, cx| {
            if let Some(cause) = distrusted {
                cx.counters.refused_total += 1;
                return call.end(cx, now, EndedBy::Postern, cause);
            }
            if let Err(cause) = room {
                cx.counters.refused_total += 1;
                return call.end(cx, now, EndedBy::Postern, cause);
            }
            if let Some(offer) = &offered.offer
                && let Err(cause) = call.check_address(cx, sid, offer)
            {
                return call.end(cx, now, EndedBy::Postern, cause);
            }
            let caller = match &offered.party {
                Party::Trunk { trunk } => Caller::Trunk(trunk),
                Party::User { .. } | Party::Uri { .. } => Caller::User,
            };
            let asked = Asked { caller, dialed: &offered.to, at: now.wall, emergency };
            match table::look_up(&cx.config, asked) {
                Ok(decision) => {
                    call.tell(
                        cx,
                        sid,
                        facts::CallRouted {
                            table: decision.table.into(),
                            entry: decision.entry.clone(),
                            to: decision.to.to_string(),
                            why: decision.why.clone(),
                        },
                    );
                    start(call, cx, now, offered, decision);
                }
                Err(why) => {
                    let (table, entry) = ("route".to_owned(), String::new());
                    call.tell(cx, sid, facts::CallRouted { table, entry, to: "refused".into(), why });
                    call.end(cx, now, EndedBy::Router, Cause::new(404, "nobody has this number"));
                }
            }
        });
    }

    fn admit(&mut self, call: Call) {
        self.cx.counters.calls += 1;
        self.cx.counters.calls_total += 1;
        self.calls.insert(call.sid, call);
    }

    pub(crate) fn with_leg(&mut self, now: Now, leg: CallSid, act: impl FnOnce(&mut Call, &mut Context)) {
        if let Some(call) = self.cx.legs.get(&leg).copied() {
            self.with_call(now, call, act);
        }
    }

    /// Lets a call act, then restores what must hold: records written, its timer right, nothing kept of it when it is over.
    pub(crate) fn with_call(&mut self, now: Now, sid: CallSid, act: impl FnOnce(&mut Call, &mut Context)) {
        self.with_call_alone(now, sid, act);
        self.release(now);
    }

    /// Those whom a conference let go: their documents go on. One may make others go.
    fn release(&mut self, now: Now) {
        while let Some(leg) = self.cx.conferences.next_released() {
            if let Some(call) = self.cx.legs.get(&leg).copied() {
                self.with_call_alone(now, call, |call, cx| call.conference_over(cx, now));
            }
        }
    }

    fn with_call_alone(&mut self, now: Now, sid: CallSid, act: impl FnOnce(&mut Call, &mut Context)) {
        let tails = (self.calls.len() as u64).saturating_sub(self.cx.counters.calls);
        let Some(call) = self.calls.get_mut(&sid) else { return };
        act(call, &mut self.cx);
        let mut gone = call.sweep(&mut self.cx, now);
        if !gone && call.ended && tails > TAILS_MAX {
            call.callbacks.abandon(&mut self.cx);
            gone = true;
        }
        let deadline = if gone { None } else { call.next_deadline() };
        if call.timer != deadline {
            if let Some(at) = call.timer {
                self.timers.remove(&(at, sid));
            }
            if let Some(at) = deadline {
                self.timers.insert((at, sid));
            }
            call.timer = deadline;
        }
        if gone {
            self.calls.remove(&sid);
        }
    }
}

/// Sets a call going to where its number leads.
fn start(call: &mut Call, cx: &mut Context, now: Now, offered: &Offered, decision: table::Decision) {
    let to = match &decision.to {
        Resolved::User(user) => format!("client:{user}"),
        Resolved::Trunk(_, number) | Resolved::Group(_, number) | Resolved::Table(_, _, number) => number.to_string(),
        Resolved::Application(app) => return call.start_application(cx, now, offered, app),
    };
    let ways = match Ways::of(cx, decision.to) {
        Ok(ways) => ways,
        Err(cause) => return call.end(cx, now, EndedBy::Router, cause),
    };
    // Told from the start, so that a caller whose codecs nobody knows hears 488 and not 503 from a port that was not needed.
    if let Some(offer) = &offered.offer
        && let Err(cause) = {
            let policy = negotiate::Policy::of(&cx.config, &offered.party, &offered.realm);
            policy.accepts(offer).and_then(|()| policy.leaves_some(&offer.formats))
        }
    {
        return call.end(cx, now, EndedBy::Postern, cause);
    }
    let caller = call.first().map(|leg| leg.from.clone()).unwrap_or_default();
    let Ways { target, party, spares } = ways.at(offered.device.clone());
    let branch = Branch { target, party, spares, to, headers: offered.headers.clone(), subscription: None };
    let mut dialing = Dialing::new(vec![branch], &offered.from, &offered.from_name, &caller, decision.timeout);
    dialing.identity = call.identity.clone();
    if let Some(outcome) = call.dial(cx, now, dialing) {
        call.end(cx, now, outcome.by, outcome.cause);
    }
}

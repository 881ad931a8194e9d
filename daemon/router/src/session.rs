//! A call that runs documents: fetch, run verb by verb, fetch the next, until it ends.
//!
//! ```text
//! Idle -> Fetching -> Ready -> (Audio | Playing | Pausing | Gathering | Dialing | Fetching) -> Ready -> ... -> end
//!            \-> fallback -> Fetching ...      both failed -> Failing (a tone) -> end
//! ```
//! One thing at a time: whatever a state waits for has a deadline, or belongs to a leg whose end ends the state.

mod confer;
mod fetch;
pub mod nouns;
mod play;
mod take;

use std::{collections::VecDeque, time::Instant};

use postern_config::HttpMethod;
use postern_document::{Program, RejectReason, Target, Verb};
use postern_facts as facts;
use postern_types::{
    AppName, CallSid, Cause, EndedBy, Now, RequestId,
    leg::{LegCommand, Offered},
    media::{MediaCommand, Prompt as Audio},
};
use std::sync::Arc;
use url::Url;

use crate::{
    call::Call,
    callback::{Of, Subscription},
    conference,
    context::Context,
    dial::Outcome,
    leg::{Origin, Stream},
    output::{PromptKey, PromptSource, Purpose, Tone},
    request::Fields,
    rest::Instructions,
};
use fetch::Fetch;
pub use fetch::prompt_file;
use play::{Gathering, Player};
use take::Take;

/// Verbs run by one call at most: a document that redirects to itself for a day stays below.
pub const VERBS_MAX: u32 = 100_000;
/// Documents in a row without a moment's audio, pause or talk at most: beyond, it is a loop.
pub const HOPS_MAX: u32 = 25;
/// Calls by the REST API may carry a document of this many bytes at most.
pub const DOCUMENT_PARAMETER_MAX: usize = 4000;

/// The document side of a call.
#[derive(Debug)]
pub struct Session {
    /// What runs as soon as the call is answered, for a call made by the REST API.
    pub start: Option<Instructions>,
    fallback: Option<(Url, HttpMethod)>,
    /// The document that runs, for relative references; none for one that came by REST.
    base: Option<Url>,
    verbs: VecDeque<Verb>,
    state: State,
    verbs_run: u32,
    hops: u32,
    plays: u32,
    ringback: Ringback,
    /// Audio that came in place of a document.
    body: Option<PromptSource>,
    /// What says what becomes of the caller when whom it talks with refers it.
    refer: Option<Target>,
}

/// What it waits for.
#[derive(Debug)]
enum State {
    /// The answer of the call.
    Idle,
    /// Nothing: the next verb runs.
    Ready,
    /// An application server.
    Fetching(Box<Fetch>),
    /// The first leg's audio, for the verb that stands next.
    Audio,
    /// `<Play>`, and the tone before the end.
    Playing(Player),
    /// The end of the tone that tells a failure.
    Failing(Player),
    /// Time.
    Pausing(Instant),
    /// Digits.
    Gathering(Box<Gathering>),
    /// `<Record>`.
    Recording(Box<Take>),
    /// A conference.
    Conferring(confer::Conferring),
    /// Other parties; then this is asked.
    Dialing(Option<Target>),
}

/// The tone that an answered caller hears while another party rings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ringback {
    Off,
    Loading(PromptKey),
    On,
}

impl Session {
    fn new(fallback: Option<(Url, HttpMethod)>) -> Self {
        Self {
            start: None,
            fallback,
            base: None,
            verbs: VecDeque::new(),
            state: State::Idle,
            verbs_run: 0,
            hops: 0,
            plays: 0,
            ringback: Ringback::Off,
            body: None,
            refer: None,
        }
    }

    /// One that starts when the call is answered.
    pub fn waiting(start: Instructions) -> Self {
        Self { start: Some(start), ..Self::new(None) }
    }

    /// The document that runs, for relative references.
    pub fn base(&self) -> Option<&Url> {
        self.base.as_ref()
    }

    pub fn deadline(&self) -> Option<Instant> {
        match &self.state {
            State::Idle | State::Ready | State::Audio | State::Dialing(_) => None,
            State::Fetching(fetch) => Some(fetch.until),
            State::Playing(player) | State::Failing(player) => player.deadline(),
            State::Pausing(until) => Some(*until),
            State::Conferring(conferring) => Some(conferring.until),
            State::Gathering(gathering) => gathering.deadline(),
            State::Recording(take) => take.deadline(),
        }
    }
}

impl Call {
    /// An inbound call whose number maps to an application.
    pub fn start_application(&mut self, cx: &mut Context, now: Now, _offered: &Offered, name: &AppName) {
        let sid = self.sid;
        let Some(app) = cx.config.applications.get(name).cloned() else {
            return self.end(cx, now, EndedBy::Postern, Cause::new(404, "no such application"));
        };
        self.account = Some(app.account);
        if let Some(leg) = self.leg_mut(sid) {
            leg.account = Some(app.account);
        }
        if let Some(Ok(url)) = app.status_callback.as_deref().map(|url| crate::url::resolve(None, url)) {
            let (method, events) = (app.status_callback_method, app.status_callback_events.clone());
            self.callbacks.subscribe(Of::Leg(sid), Subscription { url, method, events });
        }
        self.session = Some(Box::new(Session::new(None)));
        self.callback_initiated(cx, now, sid);
        self.ring_first(cx);
        self.callback_ringing(cx, now, sid);
        self.instruct(cx, now, Instructions::Application(name.to_string()), Purpose::Voice);
    }

    /// A call made by the REST API was answered.
    pub fn start_session(&mut self, cx: &mut Context, now: Now) {
        if let Some(start) = self.session.as_mut().and_then(|session| session.start.take()) {
            self.instruct(cx, now, start, Purpose::Voice);
        }
    }

    /// Runs other instructions from now on.
    pub fn instruct(&mut self, cx: &mut Context, now: Now, instructions: Instructions, purpose: Purpose) {
        let (url, method, fallback) = match instructions {
            Instructions::Document(text) => {
                let Some(session) = &mut self.session else { return };
                session.fallback = None;
                session.base = None;
                return match Program::parse(text.as_bytes()) {
                    Ok(program) => self.run_program(cx, now, program),
                    Err(why) => {
                        let (code, why) = (why.code, why.to_string());
                        self.give_up(cx, now, "the document in the request".into(), code, why);
                    }
                };
            }
            Instructions::Program(program) => {
                let Some(session) = &mut self.session else { return };
                (session.fallback, session.base) = (None, None);
                return self.run_program(cx, now, *program);
            }
            Instructions::Url { url, method, fallback } => (url, method, fallback),
            Instructions::Application(name) => {
                let Some(app) = cx.config.applications.get(name.as_str()) else {
                    return self.give_up(cx, now, name, 11200, "no such application".into());
                };
                let fallback = app.voice_fallback_url.clone().map(|url| (url, app.voice_fallback_method));
                (app.voice_url.clone(), app.voice_method, fallback)
            }
        };
        let fallback = fallback.and_then(|(url, method)| Some((crate::url::resolve(None, &url).ok()?, method)));
        let Some(session) = &mut self.session else { return };
        session.fallback = fallback;
        match crate::url::resolve(None, &url) {
            Ok(url) => self.fetch(cx, now, url, method, purpose, Fields::new()),
            Err(why) => self.fetch_impossible(cx, now, &url, why, purpose, Fields::new()),
        }
    }

    /// Stops whatever runs and runs other instructions: a redirect by REST.
    pub fn redirect(&mut self, cx: &mut Context, now: Now, instructions: Instructions) {
        self.drop_dialing(cx, now);
        self.stop_prompt(cx);
        self.halt(cx, now);
        if let Some(session) = &mut self.session {
            session.hops = 0;
        }
        self.instruct(cx, now, instructions, Purpose::Redirect);
    }

    /// Nothing of the session goes on.
    pub fn stop_session(&mut self, cx: &mut Context, now: Now) {
        if self.session.is_none() {
            return;
        }
        if let Some(Session { ringback: Ringback::Loading(key), .. }) = self.session.as_deref() {
            cx.prompts.remove(key);
        }
        self.halt(cx, now);
        self.session = None;
    }

    /// Leaves the state: what it waited for is forgotten, what sounds is stopped.
    fn halt(&mut self, cx: &mut Context, now: Now) {
        let sid = self.sid;
        let Some(session) = &mut self.session else { return };
        let player = match std::mem::replace(&mut session.state, State::Ready) {
            State::Fetching(fetch) => {
                cx.requests.remove(&fetch.id);
                None
            }
            State::Playing(player) | State::Failing(player) => Some(player),
            State::Gathering(gathering) => Some(gathering.player),
            State::Recording(take) => {
                take.recording.into_iter().for_each(|sid| self.stop_recording(cx, now, sid));
                Some(take.player)
            }
            State::Conferring(_) => {
                conference::leave(cx, now, sid, conference::Why::Left);
                None
            }
            State::Idle | State::Ready | State::Audio | State::Pausing(_) | State::Dialing(_) => None,
        };
        if let Some(player) = player {
            player.stop(cx, sid);
        }
    }

    fn run_program(&mut self, cx: &mut Context, now: Now, program: Program) {
        let Some(session) = &mut self.session else { return };
        session.verbs = program.verbs.into();
        session.state = State::Ready;
        self.run_session(cx, now);
    }

    /// Runs verbs until one waits.
    pub fn run_session(&mut self, cx: &mut Context, now: Now) {
        loop {
            if !self.is_live() {
                return;
            }
            let Some(session) = &mut self.session else { return };
            if matches!(session.state, State::Failing(_)) {
                return self.go_on_failing(cx, now);
            }
            if !matches!(session.state, State::Ready | State::Audio) {
                return;
            }
            session.verbs_run += 1;
            if session.verbs_run > VERBS_MAX {
                return self.end(cx, now, EndedBy::Router, Cause::new(500, "too many verbs"));
            }
            let Some(verb) = session.verbs.front() else {
                return self.end(cx, now, EndedBy::Router, Cause::new(200, "the document ended"));
            };
            let bridges = match verb {
                Verb::Dial(dial) => dial.answer_on_bridge,
                _ => false,
            };
            let wants_audio = match verb {
                Verb::Dial(dial) if confer::noun(dial).is_some() => true,
                // A caller to whom no tone can be made goes on hearing its own ringing.
                Verb::Dial(_) => !bridges && self.can_hear(cx),
                Verb::Play(_) | Verb::Gather(_) | Verb::Record(_) | Verb::Start(_) => true,
                Verb::Stop(_) | Verb::Pause(_) | Verb::Redirect(_) | Verb::Reject(_) | Verb::Hangup => false,
            };
            if wants_audio {
                match self.ensure_audio(cx, now) {
                    Ok(true) => {}
                    Ok(false) => {
                        if let Some(session) = &mut self.session {
                            session.state = State::Audio;
                        }
                        return;
                    }
                    Err(cause) => return self.end(cx, now, EndedBy::Postern, cause),
                }
            }
            let Some(session) = &mut self.session else { return };
            session.state = State::Ready;
            let Some(verb) = session.verbs.pop_front() else { return };
            let detail = nouns::detail(&verb);
            self.tell(cx, self.sid, facts::VerbStarted { verb: verb.name().to_owned(), detail });
            self.run_verb(cx, now, verb);
        }
    }

    /// Starts one verb; the state says whether it is done already.
    fn run_verb(&mut self, cx: &mut Context, now: Now, verb: Verb) {
        let Some(session) = &mut self.session else { return };
        match verb {
            Verb::Play(play) => {
                session.hops = 0;
                session.state = State::Playing(Player::new(vec![postern_document::Prompt::Play(play)]));
                self.play_on(cx, now);
            }
            Verb::Gather(gather) => {
                session.hops = 0;
                session.state = State::Gathering(Box::new(Gathering::new(*gather)));
                self.play_on(cx, now);
            }
            Verb::Record(record) => {
                session.hops = 0;
                session.state = State::Recording(Box::new(Take::new(*record)));
                self.take_up(cx, now);
            }
            Verb::Start(stream) => self.start_fork(cx, now, *stream),
            Verb::Stop(name) => self.stop_fork_named(cx, now, &name),
            Verb::Pause(pause) => {
                if !pause.length.is_zero() {
                    session.hops = 0;
                }
                session.state = State::Pausing(now.instant + pause.length);
            }
            Verb::Redirect(redirect) => self.go_to(cx, now, Some(redirect.target), Purpose::Redirect, Fields::new()),
            Verb::Reject(reject) => {
                let cause = match reject.reason {
                    RejectReason::Rejected => Cause::new(603, "rejected by the document"),
                    RejectReason::Busy => Cause::new(486, "rejected as busy by the document"),
                };
                self.end(cx, now, EndedBy::Router, cause);
            }
            Verb::Hangup => {
                let answered = self.first().is_some_and(|leg| leg.answered.is_some());
                let status = if answered { 200 } else { 603 };
                self.end(cx, now, EndedBy::Router, Cause::new(status, "hung up by the document"));
            }
            Verb::Dial(dial) if confer::noun(&dial).is_some() => {
                session.hops = 0;
                self.confer(cx, now, &dial);
            }
            Verb::Dial(dial) => {
                session.hops = 0;
                session.state = State::Dialing(dial.action.clone());
                session.refer.clone_from(&dial.refer);
                let dialing = self.dialing_of(cx, now, &dial);
                if self.first().is_some_and(|leg| leg.answered.is_some()) && !dialing.next.is_empty() {
                    let key = cx.load(self.sid, PromptSource::Tone(Tone::Ringback));
                    if let Some(session) = &mut self.session {
                        session.ringback = Ringback::Loading(key);
                    }
                }
                if let Some(outcome) = self.dial(cx, now, dialing) {
                    self.dialed(cx, now, outcome);
                }
            }
        }
    }

    /// `<Dial>` is over.
    pub fn session_dialed(&mut self, cx: &mut Context, now: Now, outcome: Outcome) {
        self.dialed(cx, now, outcome);
        self.run_session(cx, now);
    }

    fn dialed(&mut self, cx: &mut Context, now: Now, outcome: Outcome) {
        self.stop_prompt(cx);
        let recorded = self.stop_dial_recording(cx, now);
        let Some(session) = &mut self.session else { return };
        let State::Dialing(action) = std::mem::replace(&mut session.state, State::Ready) else { return };
        if let Some(action) = action {
            let mut fields = nouns::outcome_fields(&outcome);
            fields.extend(recorded.map(|url| ("RecordingUrl".to_owned(), url)));
            self.go_to(cx, now, Some(action), Purpose::Action, fields);
        }
    }

    /// Whom the document dialed refers its caller: `referUrl` of the `<Dial>`, if it has one, says what becomes of the caller. False: it has none.
    pub fn session_referred(&mut self, cx: &mut Context, now: Now, sid: CallSid, to: &str) -> bool {
        let Some(target) = self.session.as_mut().and_then(|session| session.refer.take()) else { return false };
        let talked = self.talked(sid, now.wall);
        cx.leg(LegCommand::Referral { leg: sid, status: 200 });
        self.tell(cx, sid, facts::CallTransferred { to: to.to_owned(), cause: Cause::NORMAL });
        let outcome = Outcome {
            status: "completed",
            cause: Cause::NORMAL,
            by: EndedBy::OtherParty,
            child: Some(sid),
            talked,
            bridged: true,
        };
        self.drop_dialing(cx, now);
        self.halt(cx, now);
        let mut fields = nouns::outcome_fields(&outcome);
        fields.push(("ReferTransferTarget".to_owned(), to.to_owned()));
        self.go_to(cx, now, Some(target), Purpose::Action, fields);
        self.run_session(cx, now);
        true
    }

    /// Asks the reference of a verb; none, or an empty one, means the document itself.
    fn go_to(&mut self, cx: &mut Context, now: Now, target: Option<Target>, purpose: Purpose, extra: Fields) {
        let Some(session) = &mut self.session else { return };
        session.hops += 1;
        let (reference, method) = target.map_or((String::new(), HttpMethod::Post), |t| (t.url, t.method));
        if session.hops > HOPS_MAX {
            return self.give_up(cx, now, crate::url::shown(&reference), 11200, "documents lead in a circle".into());
        }
        match crate::url::resolve(session.base.as_ref(), &reference) {
            Ok(url) => self.fetch(cx, now, url, method, purpose, extra),
            Err(why) => self.fetch_impossible(cx, now, &reference, why, purpose, extra),
        }
    }

    /// Whether the first leg has audio, or could be given it.
    fn can_hear(&self, cx: &Context) -> bool {
        self.first().is_some_and(|leg| leg.candidates().iter().any(|format| format.is_codable(cx.libraries)))
    }

    /// Answers the first leg if need be. False: not yet.
    fn ensure_audio(&mut self, cx: &mut Context, now: Now) -> Result<bool, Cause> {
        let sid = self.sid;
        let Some(leg) = self.first() else { return Ok(false) };
        if leg.answered.is_some() {
            return Ok(leg.theirs.is_some() && !leg.agreed.is_empty());
        }
        if leg.origin != Origin::Inbound {
            return Ok(false);
        }
        if !self.can_hear(cx) {
            return Err(Cause::new(488, "no codec in which a prompt can be played"));
        }
        match leg.stream {
            Stream::Open { .. } => {
                self.answer_alone(cx, now)?;
                Ok(self.first().is_some_and(|leg| leg.theirs.is_some()))
            }
            _ => {
                self.open(cx, now, sid);
                Ok(false)
            }
        }
    }

    /// Nothing can go on: the caller hears a tone, then the call ends.
    fn give_up(&mut self, cx: &mut Context, now: Now, url: String, code: u32, why: String) {
        self.tell(cx, self.sid, facts::AppFailed { url, code, why, then: "call ends".into() });
        let Some(session) = &mut self.session else { return };
        session.verbs.clear();
        session.state = State::Failing(Player::new(Vec::new()));
        self.go_on_failing(cx, now);
    }

    /// Answers for the tone, plays it, ends.
    fn go_on_failing(&mut self, cx: &mut Context, now: Now) {
        match self.ensure_audio(cx, now) {
            Ok(true) => {
                let sid = self.sid;
                let Some(session) = &mut self.session else { return };
                if let State::Failing(player) = &mut session.state
                    && player.is_fresh()
                {
                    player.load_tone(cx, now, sid, Tone::Error);
                }
            }
            Ok(false) => {}
            Err(_) => self.end(cx, now, EndedBy::Postern, Cause::new(500, "the application failed")),
        }
    }

    /// The driver brought audio, or could not.
    pub fn on_prompt(&mut self, cx: &mut Context, now: Now, key: PromptKey, answer: Result<Arc<Audio>, String>) {
        let sid = self.sid;
        let Some(session) = &mut self.session else { return };
        if session.ringback == Ringback::Loading(key) {
            session.ringback = Ringback::Off;
            if let Ok(prompt) = answer {
                session.ringback = Ringback::On;
                session.plays += 1;
                let play = postern_types::media::PlayId(session.plays);
                cx.media(MediaCommand::Play { leg: sid, play, prompt, times: 0 });
            }
            return;
        }
        self.player_loaded(cx, now, key, answer);
    }

    /// Stops the ringing tone.
    pub fn stop_prompt(&mut self, cx: &mut Context) {
        let sid = self.sid;
        let Some(session) = &mut self.session else { return };
        match std::mem::replace(&mut session.ringback, Ringback::Off) {
            Ringback::Off => {}
            Ringback::Loading(key) => drop(cx.prompts.remove(&key)),
            Ringback::On => cx.media(MediaCommand::StopPlay { leg: sid }),
        }
    }

    /// Whatever of the session is due.
    pub fn session_timeout(&mut self, cx: &mut Context, now: Now) {
        let Some(session) = &mut self.session else { return };
        if session.deadline().is_none_or(|at| at > now.instant) {
            return;
        }
        match &session.state {
            State::Fetching(fetch) => {
                let id = fetch.id;
                self.fetch_lost(cx, now, id);
            }
            State::Pausing(_) => {
                session.state = State::Ready;
                self.run_session(cx, now);
            }
            State::Playing(_) | State::Failing(_) | State::Gathering(_) => self.player_timeout(cx, now),
            State::Recording(_) => self.take_timeout(cx, now),
            State::Conferring(_) => self.leave_conference(cx, now),
            State::Idle | State::Ready | State::Audio | State::Dialing(_) => {}
        }
    }

    /// Whether a request is the session's.
    pub fn awaits(&self, id: RequestId) -> bool {
        matches!(self.session.as_deref(), Some(Session { state: State::Fetching(fetch), .. }) if fetch.id == id)
    }
}

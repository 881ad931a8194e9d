//! Conferences: rooms of an account, by name, in which the legs of different calls hear each other.
//!
//! ```text
//! (the first comes) -> init: who is there hears `waitUrl` -> in-progress: all are mixed -> completed
//!                       two are there, and one may start it      the last left, one that ends it left, or the API
//! ```
//!
//! A conference belongs to no call. Calls come ([`join`]) and go ([`leave`]); whom it lets go it puts on a list that the router hands to
//! their calls, whose documents go on. What its participants hear it tells the media plane itself, for it needs no more than their names.
//! Status callbacks are its own: of the first participant that named a URL, in order, and the last one is `conference-end`.

pub mod rest;
mod tape;
mod told;

pub use tape::on_recorder;

use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    sync::Arc,
    time::Instant,
};

use postern_document::{ConferenceEvent, ConferenceNoun};
use postern_facts::{self as facts, Fact, Subject};
use postern_types::{
    AccountSid, CallSid, ConferenceSid, Now, RequestId, Sid, UnixMicros,
    media::{MediaCommand, PlayId, Prompt, RoomPart, RoomSound},
};
use tape::Tape;
use url::Url;

use crate::{
    callback::{Callbacks, Of, Owner},
    context::{Asker, Context},
    cookies::Jar,
    output::{HttpFailure, HttpResponse, PromptKey, PromptSource},
    rest::ConferenceRecord,
};

/// Conferences at once at most, of all accounts. Beyond it a new one is refused, and the document goes on.
pub const CONFERENCES_MAX: usize = 2000;
/// Finished conferences that the API still shows. They are not kept over a restart.
const PAST_MAX: usize = 1000;
/// Finished conferences that wait for their callbacks at most; beyond it theirs are given up and counted.
const TAILS_MAX: usize = 1000;
/// Plays of conferences have names of their own, apart from those of documents.
const PLAY_BIT: u32 = 1 << 31;

/// All conferences, and who waits for what on their behalf.
#[derive(Debug, Default)]
pub struct Conferences {
    all: HashMap<ConferenceSid, Box<Conference>>,
    /// Those that did not end, by account and name.
    names: HashMap<(AccountSid, String), ConferenceSid>,
    seats: HashMap<CallSid, ConferenceSid>,
    prompts: HashMap<PromptKey, ConferenceSid>,
    deadlines: BTreeSet<(Instant, ConferenceSid)>,
    released: VecDeque<CallSid>,
    past: VecDeque<ConferenceRecord>,
    plays: u32,
}

/// How it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// They wait.
    Init,
    /// They talk.
    InProgress,
    /// Only callbacks are left.
    Completed,
}

#[derive(Debug)]
struct Conference {
    sid: ConferenceSid,
    account: AccountSid,
    name: String,
    created: Now,
    updated: UnixMicros,
    state: State,
    participants: Vec<Participant>,
    callbacks: Callbacks,
    jar: Jar,
    /// What its subscriber wants to hear.
    events: Vec<ConferenceEvent>,
    tape: Tape,
    /// The media plane tells who speaks.
    watched: bool,
    /// An announcement to all that is loaded.
    announcing: Option<PromptKey>,
    deadline: Option<Instant>,
}

/// A leg in it, or on its way.
#[derive(Debug)]
pub struct Participant {
    leg: CallSid,
    subject: Subject,
    label: Option<String>,
    created: Now,
    updated: UnixMicros,
    /// It is dialed, and not there yet.
    is_coming: bool,
    muted: bool,
    held: bool,
    coaches: Option<CallSid>,
    beep_on_enter: bool,
    beep_on_exit: bool,
    start_on_enter: bool,
    end_on_exit: bool,
    wait: Option<PromptSource>,
    hold: Option<PromptSource>,
    sounds: Sounds,
}

/// What is played to one.
#[derive(Debug, PartialEq)]
enum Sounds {
    Nothing,
    /// Music that is loaded, and music that plays.
    Loading(PromptKey),
    Music,
    /// An announcement that is loaded, and one that plays; then music goes on.
    Coming(PromptKey),
    Announcement(PlayId),
}

/// Who comes.
pub struct Joining<'a> {
    pub leg: CallSid,
    pub subject: Subject,
    pub noun: &'a ConferenceNoun,
    /// What it hears until the conference starts.
    pub wait: Option<PromptSource>,
    /// What its callback's URL is relative to.
    pub base: Option<&'a Url>,
}

/// Why somebody leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// By itself.
    Left,
    /// By the API.
    Removed,
    /// The conference is over.
    Ended,
}

impl Why {
    fn word(self) -> &'static str {
        match self {
            Self::Left => "left",
            Self::Removed => "removed",
            Self::Ended => "ended",
        }
    }
}

impl Conferences {
    /// The next leg that was let go.
    pub fn next_released(&mut self) -> Option<CallSid> {
        self.released.pop_front()
    }

    /// Whether audio is loaded for one of these.
    pub fn awaits(&self, key: PromptKey) -> bool {
        self.prompts.contains_key(&key)
    }

    pub fn next_deadline(&self) -> Option<Instant> {
        self.deadlines.first().map(|(at, _)| *at)
    }

    /// Things remembered for those that live.
    pub fn remembered(&self) -> usize {
        self.all.len() + self.names.len() + self.seats.len() + self.prompts.len() + self.released.len()
    }

    /// Whether anybody is still taken to be in one; those that only wait for callbacks may stay.
    #[cfg(test)]
    pub fn has_leftovers(&self) -> bool {
        !(self.names.is_empty() && self.seats.is_empty() && self.prompts.is_empty() && self.released.is_empty())
    }

    fn play(&mut self) -> PlayId {
        self.plays = self.plays.wrapping_add(1) & !PLAY_BIT;
        PlayId(self.plays | PLAY_BIT)
    }

    fn named(&self, account: AccountSid, name: &str) -> Option<ConferenceSid> {
        self.names.get(&(account, name.to_owned())).copied()
    }
}

impl Participant {
    fn new(leg: CallSid, subject: Subject, noun: &ConferenceNoun, now: Now) -> Self {
        Self {
            leg,
            subject,
            label: noun.label.clone(),
            created: now,
            updated: now.wall,
            is_coming: true,
            muted: noun.muted,
            held: false,
            coaches: noun.coach.as_ref().and_then(|sid| sid.parse().ok()),
            beep_on_enter: noun.beep_on_enter,
            beep_on_exit: noun.beep_on_exit,
            start_on_enter: noun.start_on_enter,
            end_on_exit: noun.end_on_exit,
            wait: None,
            hold: None,
            sounds: Sounds::Nothing,
        }
    }

    fn part(&self) -> &'static str {
        match self {
            Self { held: true, .. } => "held",
            Self { coaches: Some(_), .. } => "coaches",
            Self { muted: true, .. } => "muted",
            _ => "talks",
        }
    }
}

/// A leg enters the conference of its account with this name, which is opened for the first one. Refused: why, for people.
pub fn join(cx: &mut Context, now: Now, joining: Joining<'_>) -> Result<(), String> {
    let Joining { leg, subject, noun, wait, base } = joining;
    let account = subject.account.ok_or("the call belongs to no account")?;
    let sid = open(cx, now, account, noun, leg, &subject)?;
    let url =
        noun.callback.as_ref().and_then(|callback| Some((crate::url::resolve(base, &callback.url).ok()?, callback)));
    with(cx, now, sid, |conference, cx| {
        if let Some((url, callback)) = url {
            conference.subscribe(url, callback);
        }
        if let Some(record) = &noun.record {
            conference.want_recording(leg, record, base);
        }
        conference.enter(cx, now, leg, wait);
        conference.record_if_wanted(cx, now);
        conference.watch_if_wanted(cx);
    });
    Ok(())
}

/// Notes who comes, in a conference that is there or is opened for it.
fn open(
    cx: &mut Context,
    now: Now,
    account: AccountSid,
    noun: &ConferenceNoun,
    leg: CallSid,
    subject: &Subject,
) -> Result<ConferenceSid, String> {
    let found = cx.conferences.named(account, &noun.name);
    let seated = cx.conferences.seats.get(&leg).copied();
    if let Some(sid) = seated.filter(|_| seated == found) {
        // It was dialed for it.
        return Ok(sid);
    }
    leave(cx, now, leg, Why::Left);
    check_room(cx, account, noun)?;
    let sid = match found {
        Some(sid) => sid,
        None => {
            let sid = ConferenceSid::random(&mut cx.rng);
            cx.conferences.names.insert((account, noun.name.clone()), sid);
            cx.conferences.all.insert(sid, Box::new(Conference::new(sid, account, noun.name.clone(), now)));
            cx.fact(subject.clone(), facts::ConferenceCreated { conference: sid.to_string(), name: noun.name.clone() });
            sid
        }
    };
    let Some(conference) = cx.conferences.all.get_mut(&sid) else { return Err("it is over".into()) };
    conference.participants.push(Participant::new(leg, subject.clone(), noun, now));
    cx.conferences.seats.insert(leg, sid);
    Ok(sid)
}

/// Whether one more may come. Refused: why, for people.
fn check_room(cx: &Context, account: AccountSid, noun: &ConferenceNoun) -> Result<(), String> {
    let found = cx.conferences.named(account, &noun.name);
    match found.and_then(|sid| cx.conferences.all.get(&sid)) {
        Some(conference) if conference.participants.len() >= noun.participants_max as usize => {
            Err(format!("it is full: {} are there", conference.participants.len()))
        }
        None if cx.conferences.names.len() >= CONFERENCES_MAX => {
            Err(format!("there are {CONFERENCES_MAX} conferences already"))
        }
        _ => Ok(()),
    }
}

/// A leg that may be in a conference is in none any more.
pub fn leave(cx: &mut Context, now: Now, leg: CallSid, why: Why) {
    if let Some(sid) = cx.conferences.seats.get(&leg).copied() {
        with(cx, now, sid, |conference, cx| conference.exit(cx, now, leg, why));
    }
}

/// Audio was loaded, or could not be.
pub fn on_prompt(cx: &mut Context, now: Now, key: PromptKey, answer: Result<Arc<Prompt>, String>) {
    let Some(sid) = cx.conferences.prompts.remove(&key) else { return };
    with(cx, now, sid, |conference, cx| conference.on_prompt(cx, now, key, answer));
}

/// What was played to a leg is over; false: it was not played by a conference.
pub fn on_play_ended(cx: &mut Context, now: Now, leg: CallSid, play: PlayId) -> bool {
    let is_ours = play.0 & PLAY_BIT != 0;
    if let Some(sid) = cx.conferences.seats.get(&leg).copied().filter(|_| is_ours) {
        with(cx, now, sid, |conference, cx| conference.on_play_ended(cx, now, leg, play));
    }
    is_ours
}

/// A participant begins to speak, or stops.
pub fn on_speech(cx: &mut Context, now: Now, leg: CallSid, on: bool) {
    if let Some(sid) = cx.conferences.seats.get(&leg).copied() {
        let word = if on { "participant-speech-start" } else { "participant-speech-stop" };
        with(cx, now, sid, |conference, cx| conference.notify(cx, now, ConferenceEvent::Speaker, word, Some(leg)));
    }
}

/// The answer to a status callback.
pub fn on_callback(
    cx: &mut Context,
    now: Now,
    sid: ConferenceSid,
    id: RequestId,
    answer: Result<HttpResponse, HttpFailure>,
) {
    with(cx, now, sid, |conference, cx| {
        let Conference { callbacks, jar, account, .. } = conference;
        let mut owner = Owner { asker: Asker::Conference(sid), account: Some(*account), jar };
        callbacks.answered(cx, now, id, answer, &mut owner);
    });
}

/// Callbacks that are due.
pub fn on_timeout(cx: &mut Context, now: Now) {
    while let Some((at, sid)) = cx.conferences.deadlines.first().copied().filter(|(at, _)| *at <= now.instant) {
        cx.conferences.deadlines.remove(&(at, sid));
        with(cx, now, sid, |conference, cx| {
            conference.deadline = None;
            let Conference { callbacks, jar, account, .. } = conference;
            let mut owner = Owner { asker: Asker::Conference(sid), account: Some(*account), jar };
            callbacks.timeout(cx, now, &mut owner);
            conference.recording_timeout(cx, now);
        });
    }
}

/// Lets a conference act, then restores what must hold: callbacks sent, its deadline right, nothing kept of it when it is over.
fn with<T>(
    cx: &mut Context,
    now: Now,
    sid: ConferenceSid,
    act: impl FnOnce(&mut Conference, &mut Context) -> T,
) -> Option<T> {
    let mut conference = cx.conferences.all.remove(&sid)?;
    let done = act(&mut conference, cx);
    if conference.state != State::Completed && conference.participants.is_empty() {
        // Who was dialed for it never came.
        conference.end(cx, now, "last-participant-left", None);
    }
    let Conference { callbacks, jar, account, tape, .. } = &mut *conference;
    let owner = Owner { asker: Asker::Conference(sid), account: Some(*account), jar };
    for of in [Some(Of::Conference(sid)), tape.of()].into_iter().flatten() {
        callbacks.deliver(cx, now, of, &owner);
    }
    let tails = cx.conferences.all.len().saturating_sub(cx.conferences.names.len());
    let is_over = conference.state == State::Completed;
    if is_over && tails > TAILS_MAX {
        conference.callbacks.abandon(cx);
    }
    let is_gone = is_over && conference.callbacks.is_idle() && !conference.tape.is_running();
    let deadlines = conference.callbacks.next_deadline().into_iter().chain(conference.tape.deadline());
    let deadline = deadlines.min().filter(|_| !is_gone);
    if deadline != conference.deadline {
        if let Some(at) = conference.deadline {
            cx.conferences.deadlines.remove(&(at, sid));
        }
        cx.conferences.deadlines.extend(deadline.map(|at| (at, sid)));
        conference.deadline = deadline;
    }
    if !is_gone {
        cx.conferences.all.insert(sid, conference);
    }
    Some(done)
}

impl Conference {
    fn new(sid: ConferenceSid, account: AccountSid, name: String, now: Now) -> Self {
        Self {
            sid,
            account,
            name,
            created: now,
            updated: now.wall,
            state: State::Init,
            participants: Vec::new(),
            callbacks: Callbacks::default(),
            jar: Jar::default(),
            events: Vec::new(),
            tape: Tape::None,
            watched: false,
            announcing: None,
            deadline: None,
        }
    }

    /// Those who are there.
    fn present(&self) -> usize {
        self.participants.iter().filter(|participant| !participant.is_coming).count()
    }

    fn participant(&mut self, leg: CallSid) -> Option<&mut Participant> {
        self.participants.iter_mut().find(|participant| participant.leg == leg)
    }

    /// Of facts about all of it.
    fn subject(&self) -> Subject {
        Subject { account: Some(self.account), ..Subject::default() }
    }

    fn tell(&self, cx: &mut Context, leg: CallSid, fact: impl Into<Fact>) {
        let of = self.participants.iter().find(|participant| participant.leg == leg);
        cx.fact(of.map_or_else(|| self.subject(), |participant| participant.subject.clone()), fact);
    }

    fn enter(&mut self, cx: &mut Context, now: Now, leg: CallSid, wait: Option<PromptSource>) {
        self.updated = now.wall;
        let Some(participant) = self.participant(leg) else { return };
        participant.is_coming = false;
        (participant.created, participant.updated, participant.wait) = (now, now.wall, wait);
        let (beeps, part) = (participant.beep_on_enter, participant.part().to_owned());
        let participants = self.present() as u64;
        let (conference, name) = (self.sid.to_string(), self.name.clone());
        self.tell(cx, leg, facts::ConferenceJoined { conference, name, participants, part });
        self.notify(cx, now, ConferenceEvent::Join, "participant-join", Some(leg));
        let may_start = self.participants.iter().any(|of| !of.is_coming && of.start_on_enter);
        if self.state == State::Init && participants >= 2 && may_start {
            self.start(cx, now);
        } else {
            self.place(cx, leg);
            self.tune(cx, leg);
        }
        self.place_coaches_of(cx, leg);
        if beeps && self.state == State::InProgress {
            cx.media(MediaCommand::Chime { room: self.sid, sound: RoomSound::Entered });
        }
    }

    fn start(&mut self, cx: &mut Context, now: Now) {
        self.state = State::InProgress;
        let all: Vec<_> = self.participants.iter().filter(|of| !of.is_coming).map(|of| of.leg).collect();
        for leg in &all {
            self.tune(cx, *leg);
            self.place(cx, *leg);
        }
        let waited_ms = now.wall.since(self.created.wall).as_millis() as u64;
        let (conference, name, participants) = (self.sid.to_string(), self.name.clone(), all.len() as u64);
        let fact = facts::ConferenceStarted { conference, name, participants, waited_ms };
        cx.fact(self.subject(), fact);
        self.notify(cx, now, ConferenceEvent::Start, "conference-start", None);
    }

    /// Tells the media plane how a leg takes part, once all are mixed.
    fn place(&mut self, cx: &mut Context, leg: CallSid) {
        let (room, is_on) = (self.sid, self.state == State::InProgress);
        let Some(of) = self.participant(leg).filter(|of| is_on && !of.is_coming) else { return };
        let part = RoomPart { muted: of.muted, held: of.held, coaches: of.coaches };
        cx.media(MediaCommand::Join { room, leg, part });
    }

    /// Those who coach a leg that came say so once more: before, it had no place.
    fn place_coaches_of(&mut self, cx: &mut Context, leg: CallSid) {
        let coaches: Vec<_> = self.participants.iter().filter(|of| of.coaches == Some(leg)).map(|of| of.leg).collect();
        for coach in coaches {
            self.place(cx, coach);
        }
    }

    /// Has a leg hear what it should besides the others: music while it waits or is held, else nothing. What sounds ends.
    fn tune(&mut self, cx: &mut Context, leg: CallSid) {
        let (sid, waits) = (self.sid, self.state == State::Init);
        let Some(of) = self.participant(leg) else { return };
        of.hush(cx);
        let music = match (waits, of.held) {
            (_, true) => of.hold.clone(),
            (true, false) => of.wait.clone(),
            (false, false) => None,
        };
        if let Some(source) = music.filter(|_| !of.is_coming) {
            let key = cx.load_for_another(source);
            cx.conferences.prompts.insert(key, sid);
            of.sounds = Sounds::Loading(key);
        }
    }

    fn on_prompt(&mut self, cx: &mut Context, now: Now, key: PromptKey, answer: Result<Arc<Prompt>, String>) {
        if self.announcing == Some(key) {
            self.announcing = None;
            match answer {
                Ok(prompt) => {
                    cx.media(MediaCommand::Chime { room: self.sid, sound: RoomSound::Prompt(prompt) });
                    self.notify(cx, now, ConferenceEvent::Announcement, "announcement-start", None);
                }
                Err(why) => {
                    let fact = facts::PlayFailed { url: "announcement".into(), why };
                    cx.fact(self.subject(), fact);
                    self.notify(cx, now, ConferenceEvent::Announcement, "announcement-fail", None);
                }
            }
            return;
        }
        let is_for = |of: &&mut Participant| matches!(of.sounds, Sounds::Loading(of) | Sounds::Coming(of) if of == key);
        let Some(of) = self.participants.iter_mut().find(is_for) else { return };
        let (leg, is_music) = (of.leg, matches!(of.sounds, Sounds::Loading(_)));
        match answer {
            Ok(prompt) => {
                let play = cx.conferences.play();
                of.sounds = if is_music { Sounds::Music } else { Sounds::Announcement(play) };
                cx.media(MediaCommand::Play { leg, play, prompt, times: u32::from(!is_music) });
            }
            Err(why) => {
                of.sounds = Sounds::Nothing;
                let url = if is_music { "music of a conference" } else { "announcement" }.to_owned();
                self.tell(cx, leg, facts::PlayFailed { url, why });
                if !is_music {
                    self.tune(cx, leg);
                }
            }
        }
        if !is_music {
            let what = if matches!(self.participant(leg), Some(Participant { sounds: Sounds::Announcement(_), .. })) {
                "participant-announcement-start"
            } else {
                "participant-announcement-fail"
            };
            self.notify(cx, now, ConferenceEvent::Announcement, what, Some(leg));
        }
    }

    fn on_play_ended(&mut self, cx: &mut Context, now: Now, leg: CallSid, play: PlayId) {
        let Some(of) = self.participant(leg).filter(|of| of.sounds == Sounds::Announcement(play)) else { return };
        of.sounds = Sounds::Nothing;
        self.notify(cx, now, ConferenceEvent::Announcement, "participant-announcement-end", Some(leg));
        self.tune(cx, leg);
    }

    /// A leg leaves; the conference may be over with it.
    fn exit(&mut self, cx: &mut Context, now: Now, leg: CallSid, why: Why) {
        let Some(at) = self.participants.iter().position(|of| of.leg == leg) else { return };
        self.updated = now.wall;
        let ends = self.participants[at].end_on_exit && !self.participants[at].is_coming;
        let beeps = self.participants[at].beep_on_exit;
        let was_there = self.remove(cx, now, at, why);
        if !was_there || self.state == State::Completed {
            return;
        }
        let reason = match (ends, why) {
            (true, Why::Removed) => "participant-with-end-conference-on-exit-kicked",
            (true, _) => "participant-with-end-conference-on-exit-left",
            (false, _) if !self.participants.is_empty() => {
                if beeps && self.state == State::InProgress {
                    cx.media(MediaCommand::Chime { room: self.sid, sound: RoomSound::Left });
                }
                return;
            }
            (false, Why::Removed) => "last-participant-kicked",
            (false, _) => "last-participant-left",
        };
        self.end(cx, now, reason, Some(leg));
    }

    /// Takes a leg out; false: it had not come yet.
    fn remove(&mut self, cx: &mut Context, now: Now, at: usize, why: Why) -> bool {
        self.participants[at].hush(cx);
        let was_there = !self.participants[at].is_coming;
        let leg = self.participants[at].leg;
        cx.conferences.seats.remove(&leg);
        if was_there && self.state != State::Init {
            cx.media(MediaCommand::Leave { leg });
        }
        if why != Why::Left {
            cx.conferences.released.push_back(leg);
        }
        if was_there {
            let participants = self.present() as u64 - 1;
            let duration_ms = now.wall.since(self.participants[at].created.wall).as_millis() as u64;
            let (conference, word) = (self.sid.to_string(), why.word().to_owned());
            let fact = facts::ConferenceLeft { conference, why: word, participants, duration_ms };
            self.tell(cx, leg, fact);
            self.notify(cx, now, ConferenceEvent::Leave, "participant-leave", Some(leg));
        }
        self.participants.remove(at);
        was_there
    }

    /// It is over: all are let go, and the last callback says why.
    fn end(&mut self, cx: &mut Context, now: Now, reason: &'static str, by: Option<CallSid>) {
        self.stop_recording(cx, now);
        while let Some(last) = self.participants.len().checked_sub(1) {
            self.remove(cx, now, last, Why::Ended);
        }
        self.state = State::Completed;
        self.updated = now.wall;
        if let Some(key) = self.announcing.take() {
            cx.conferences.prompts.remove(&key);
        }
        cx.conferences.names.remove(&(self.account, self.name.clone()));
        let duration_ms = now.wall.since(self.created.wall).as_millis() as u64;
        let (conference, name) = (self.sid.to_string(), self.name.clone());
        let fact = facts::ConferenceEnded { conference, name, why: reason.to_owned(), duration_ms };
        cx.fact(self.subject(), fact);
        self.notify_end(cx, now, reason, by);
        let record = ConferenceRecord { reason_ended: Some(reason.to_owned()), ended_by: by, ..self.record() };
        if cx.conferences.past.len() >= PAST_MAX {
            cx.conferences.past.pop_front();
        }
        cx.conferences.past.push_back(record);
    }
}

impl Participant {
    /// Stops what sounds, and forgets what is loaded.
    fn hush(&mut self, cx: &mut Context) {
        match std::mem::replace(&mut self.sounds, Sounds::Nothing) {
            Sounds::Nothing => {}
            Sounds::Loading(key) | Sounds::Coming(key) => drop(cx.conferences.prompts.remove(&key)),
            Sounds::Music | Sounds::Announcement(_) => cx.media(MediaCommand::StopPlay { leg: self.leg }),
        }
    }
}

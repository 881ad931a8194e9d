//! What the first leg hears and presses: prompts one after the other, and the digits of `<Gather>`.

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};

use postern_document::{Gather, Prompt, Target};
use postern_facts as facts;
use postern_types::{
    CallSid, Cause, EndedBy, Now,
    media::{MediaCommand, PlayId, Prompt as Audio},
};

use crate::{
    call::{Call, is_due},
    context::Context,
    output::{PromptKey, PromptSource, Purpose, Tone},
    request::{Fields, add},
    session::State,
};

/// Digits of one `<Gather>` at most.
pub const DIGITS_MAX: usize = 128;
/// How long a prompt may take to load: as long as a document.
const LOADING_MAX: Duration = Duration::from_secs(20);
/// A play that was asked for ends by itself; if its end is never told, this long after its due time it is taken for granted.
const LATE: Duration = Duration::from_secs(2);

/// Prompts, one after the other.
#[derive(Debug)]
pub struct Player {
    items: VecDeque<Prompt>,
    current: Option<Current>,
    /// Something was loaded or played already.
    used: bool,
}

/// What sounds, or is about to.
#[derive(Debug)]
enum Current {
    Loading { key: PromptKey, url: String, times: u32, until: Instant },
    Playing { play: PlayId, url: String, until: Option<Instant> },
    Pausing(Instant),
}

/// `<Gather>` at work.
#[derive(Debug)]
pub struct Gathering {
    gather: Gather,
    pub player: Player,
    digits: String,
    /// Runs since the end of the prompts, or the last digit.
    until: Option<Instant>,
}

impl Player {
    pub fn new(items: Vec<Prompt>) -> Self {
        Self { items: items.into(), current: None, used: false }
    }

    pub fn deadline(&self) -> Option<Instant> {
        match &self.current {
            None => None,
            Some(Current::Loading { until, .. } | Current::Pausing(until)) => Some(*until),
            Some(Current::Playing { until, .. }) => *until,
        }
    }

    /// Nothing was loaded or played yet.
    pub fn is_fresh(&self) -> bool {
        !self.used
    }

    /// Has a tone made.
    pub fn load_tone(&mut self, cx: &mut Context, now: Now, call: CallSid, tone: Tone) {
        self.used = true;
        let key = cx.load(call, PromptSource::Tone(tone));
        let url = format!("tone {tone:?}").to_lowercase();
        self.current = Some(Current::Loading { key, url, times: 1, until: now.instant + LOADING_MAX });
    }

    /// Silence, at once.
    pub fn stop(self, cx: &mut Context, leg: CallSid) {
        match self.current {
            Some(Current::Loading { key, .. }) => drop(cx.prompts.remove(&key)),
            Some(Current::Playing { .. }) => cx.media(MediaCommand::StopPlay { leg }),
            Some(Current::Pausing(_)) | None => {}
        }
    }
}

impl Gathering {
    pub fn new(gather: Gather) -> Self {
        let player = Player::new(gather.prompts.clone());
        Self { gather, player, digits: String::new(), until: None }
    }

    pub fn deadline(&self) -> Option<Instant> {
        self.player.deadline().into_iter().chain(self.until).min()
    }
}

impl Call {
    fn player(&mut self) -> Option<&mut Player> {
        match &mut self.session.as_mut()?.state {
            State::Playing(player) | State::Failing(player) => Some(player),
            State::Gathering(gathering) => Some(&mut gathering.player),
            State::Recording(take) => Some(&mut take.player),
            _ => None,
        }
    }

    /// Starts the next prompt; after the last the verb is done, or waits for digits.
    pub fn play_on(&mut self, cx: &mut Context, now: Now) {
        let sid = self.sid;
        while let Some(player) = self.player() {
            if player.current.is_some() {
                return;
            }
            player.used = true;
            match player.items.pop_front() {
                Some(Prompt::Pause(pause)) => player.current = Some(Current::Pausing(now.instant + pause.length)),
                Some(Prompt::Play(play)) => match self.prompt_source(cx, &play.url) {
                    Ok(source) => {
                        let url = match &source {
                            PromptSource::Url(url) => crate::url::shown(url),
                            _ => play.url,
                        };
                        let key = cx.load(sid, source);
                        let until = now.instant + LOADING_MAX;
                        if let Some(player) = self.player() {
                            player.current = Some(Current::Loading { key, url, times: play.times, until });
                        }
                    }
                    Err(why) => self.tell(cx, sid, facts::PlayFailed { url: crate::url::shown(&play.url), why }),
                },
                None => return self.prompts_over(cx, now),
            }
        }
    }

    fn prompts_over(&mut self, cx: &mut Context, now: Now) {
        let Some(session) = &mut self.session else { return };
        match &mut session.state {
            State::Playing(_) => session.state = State::Ready,
            State::Recording(_) => self.begin_take(cx, now),
            State::Failing(_) => self.end(cx, now, EndedBy::Router, Cause::new(200, "the application failed")),
            State::Gathering(gathering) => {
                // A digit may have started it already.
                gathering.until.get_or_insert(now.instant + gathering.gather.timeout);
            }
            _ => {}
        }
    }

    /// After a prompt ended: the next one, and then the next verb.
    fn prompt_over(&mut self, cx: &mut Context, now: Now) {
        self.play_on(cx, now);
        self.run_session(cx, now);
    }

    /// Audio was loaded, or could not be.
    pub fn player_loaded(&mut self, cx: &mut Context, now: Now, key: PromptKey, answer: Result<Arc<Audio>, String>) {
        let sid = self.sid;
        let Some(session) = &mut self.session else { return };
        session.plays += 1;
        let play = PlayId(session.plays);
        let Some(player) = self.player() else { return };
        let Some(Current::Loading { key: wanted, url, times, .. }) = &player.current else { return };
        if *wanted != key {
            return;
        }
        let (url, times) = (url.clone(), *times);
        match answer {
            Ok(prompt) => {
                let whole = prompt.duration().checked_mul(times);
                let until = whole.filter(|_| times > 0).map(|whole| now.instant + whole + LATE);
                player.current = Some(Current::Playing { play, url: url.clone(), until });
                cx.media(MediaCommand::Play { leg: sid, play, prompt, times });
                self.tell(cx, sid, facts::PlayStarted { url });
            }
            Err(why) => {
                player.current = None;
                self.tell(cx, sid, facts::PlayFailed { url, why });
                self.prompt_over(cx, now);
            }
        }
    }

    /// The media plane played to the end.
    pub fn on_play_ended(&mut self, cx: &mut Context, now: Now, play: PlayId) {
        let sid = self.sid;
        let Some(player) = self.player() else { return };
        match &player.current {
            Some(Current::Playing { play: playing, url, .. }) if *playing == play => {
                let url = url.clone();
                player.current = None;
                self.tell(cx, sid, facts::PlayEnded { url });
                self.prompt_over(cx, now);
            }
            _ => {}
        }
    }

    /// A pause is over, a prompt is late, or nobody pressed anything any more.
    pub fn player_timeout(&mut self, cx: &mut Context, now: Now) {
        let sid = self.sid;
        if let Some(session) = &mut self.session
            && let State::Gathering(gathering) = &session.state
            && is_due(gathering.until, now)
        {
            return self.gathered(cx, now, None);
        }
        let Some(player) = self.player() else { return };
        match player.current.take() {
            Some(Current::Loading { key, url, .. }) => {
                cx.prompts.remove(&key);
                self.tell(cx, sid, facts::PlayFailed { url, why: "took too long to load".into() });
            }
            Some(Current::Playing { url, .. }) => {
                cx.media(MediaCommand::StopPlay { leg: sid });
                self.tell(cx, sid, facts::PlayEnded { url });
            }
            Some(Current::Pausing(_)) | None => {}
        }
        self.prompt_over(cx, now);
    }

    /// The caller pressed a key.
    pub fn session_digit(&mut self, cx: &mut Context, now: Now, digit: char) {
        let sid = self.sid;
        let Some(session) = &mut self.session else { return };
        if digit == '*' && matches!(&session.state, State::Conferring(of) if of.hangup_on_star) {
            return self.leave_conference(cx, now);
        }
        if let State::Recording(take) = &session.state
            && take.ends_with(digit)
        {
            return self.end_take(cx, now, digit);
        }
        let State::Gathering(gathering) = &mut session.state else { return };
        // Barge-in: whoever presses has heard enough.
        let player = std::mem::replace(&mut gathering.player, Player::new(Vec::new()));
        let heard = match &player.current {
            Some(Current::Playing { url, .. }) => Some(url.clone()),
            _ => None,
        };
        player.stop(cx, sid);
        gathering.until = Some(now.instant + gathering.gather.timeout);
        let finishes = gathering.gather.finish_on_key.contains(digit);
        if !finishes && gathering.digits.len() < DIGITS_MAX {
            gathering.digits.push(digit);
        }
        let most = gathering.gather.num_digits.map_or(DIGITS_MAX, |n| n as usize);
        let enough = gathering.digits.len() >= most;
        if let Some(url) = heard {
            self.tell(cx, sid, facts::PlayEnded { url });
        }
        if finishes || enough {
            self.gathered(cx, now, finishes.then_some(digit));
        }
    }

    /// `<Gather>` is over: the action is asked, or the next verb runs.
    fn gathered(&mut self, cx: &mut Context, now: Now, finished_by: Option<char>) {
        let sid = self.sid;
        let Some(session) = &mut self.session else { return };
        let State::Gathering(gathering) = std::mem::replace(&mut session.state, State::Ready) else { return };
        let Gathering { gather, player, digits, .. } = *gathering;
        player.stop(cx, sid);
        let asks = !digits.is_empty() || gather.action_on_empty_result;
        // A document that came by REST has no URL of its own to ask.
        let action: Option<Target> = gather.action.filter(|action| !action.url.is_empty());
        if asks && (action.is_some() || session.base.is_some()) {
            let mut extra = Fields::new();
            add(&mut extra, "Digits", digits);
            if let Some(key) = finished_by {
                add(&mut extra, "FinishedOnKey", key);
            }
            add(&mut extra, "msg", "Gather End");
            self.go_to(cx, now, action, Purpose::Action, extra);
        }
        self.run_session(cx, now);
    }
}

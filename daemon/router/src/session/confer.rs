//! `<Dial><Conference>`: a call's first leg in a conference, until it leaves or is let go; then the document goes on.

use std::time::{Duration, Instant};

use postern_document::{ConferenceNoun, Dial, Noun, Target, Wait};
use postern_facts as facts;
use postern_types::{Cause, EndedBy, Now};

use crate::{
    call::Call,
    conference::{self, Joining, Why},
    context::Context,
    dial::Outcome,
    output::{PromptSource, Purpose, Tone},
    session::{Session, State, nouns},
};

/// A leg in a conference.
#[derive(Debug)]
pub struct Conferring {
    action: Option<Target>,
    /// The `<Dial>`'s time limit.
    pub until: Instant,
    /// `*` leaves.
    pub hangup_on_star: bool,
    since: Now,
}

/// The conference of a `<Dial>`, if that is what it is.
pub fn noun(dial: &Dial) -> Option<&ConferenceNoun> {
    match dial.nouns.first() {
        Some(Noun::Conference(noun)) => Some(noun),
        _ => None,
    }
}

impl Call {
    /// Enters a conference. The leg has audio.
    pub fn confer(&mut self, cx: &mut Context, now: Now, dial: &Dial) {
        let Some(noun) = noun(dial) else { return };
        let sid = self.sid;
        let wait = match &noun.wait {
            Wait::Tone => Some(PromptSource::Tone(Tone::Waiting)),
            Wait::Silence => None,
            Wait::Play(url) => match self.prompt_source(cx, url) {
                Ok(source) => Some(source),
                Err(why) => {
                    self.tell(cx, sid, facts::PlayFailed { url: crate::url::shown(url), why });
                    None
                }
            },
        };
        let base = self.session.as_ref().and_then(|session| session.base.clone());
        let joined = match self.first() {
            Some(leg) if !leg.agreed.iter().any(|format| format.is_codable(cx.libraries)) => {
                Err("no codec in which it could be mixed".into())
            }
            Some(leg) => {
                let subject = leg.subject(sid);
                conference::join(cx, now, Joining { leg: sid, subject, noun, wait, base: base.as_ref() })
            }
            None => Err("the call is over".to_owned()),
        };
        let conferring = Conferring {
            action: dial.action.clone(),
            until: now.instant + dial.time_limit,
            hangup_on_star: dial.hangup_on_star,
            since: now,
        };
        match joined {
            Ok(()) => drop(self.set_state(State::Conferring(conferring))),
            Err(why) => {
                self.tell(cx, sid, facts::ConferenceRefused { name: noun.name.clone(), why: why.clone() });
                let outcome = Outcome { by: EndedBy::Postern, ..Outcome::failed("failed", Cause::new(486, why), None) };
                self.conferred(cx, now, conferring.action, outcome);
            }
        }
    }

    /// The conference let the leg go.
    pub fn conference_over(&mut self, cx: &mut Context, now: Now) {
        let Some(Session { state: State::Conferring(_), .. }) = self.session.as_deref() else {
            // Dialed for a conference that is no more: there is nothing else that it would do.
            if self.session.as_ref().is_some_and(|session| session.start.is_some()) {
                self.end(cx, now, EndedBy::Operator, Cause::new(487, "the conference is over"));
            }
            return;
        };
        let Some(State::Conferring(Conferring { action, since, .. })) = self.set_state(State::Ready) else { return };
        let talked = now.wall.since(since.wall);
        let cause = Cause::NORMAL;
        let outcome = Outcome {
            status: "answered",
            cause,
            by: EndedBy::Router,
            child: None,
            talked,
            bridged: talked > Duration::ZERO,
        };
        self.conferred(cx, now, action, outcome);
        self.run_session(cx, now);
    }

    /// The leg leaves by itself: a key, or its time is over.
    pub fn leave_conference(&mut self, cx: &mut Context, now: Now) {
        conference::leave(cx, now, self.sid, Why::Left);
        self.conference_over(cx, now);
    }

    fn conferred(&mut self, cx: &mut Context, now: Now, action: Option<Target>, outcome: Outcome) {
        if action.is_some() {
            self.go_to(cx, now, action, Purpose::Action, nouns::outcome_fields(&outcome));
        }
    }

    fn set_state(&mut self, state: State) -> Option<State> {
        Some(std::mem::replace(&mut self.session.as_mut()?.state, state))
    }
}

//! `<Record>`: a tone, the recording, and the document that is asked with it; and the recording of a `<Dial>`.

use std::time::{Duration, Instant};

use postern_document::{DialRecord, Record, RecordingCallback};
use postern_facts::{self as facts, RecordingRecord};
use postern_types::{Now, RecordingSid};

use crate::{
    call::{Call, is_due},
    callback::Subscription,
    context::Context,
    dial::Tape,
    output::{Purpose, Tone},
    recording::{self, Wanted},
    request::{Fields, add},
    session::{State, play::Player},
};

/// `<Record>` at work.
#[derive(Debug)]
pub struct Take {
    verb: Record,
    /// The tone before.
    pub player: Player,
    /// Since the tone ended.
    pub recording: Option<RecordingSid>,
    /// The key that ended it.
    key: Option<char>,
    /// By then the recorder should have ended it by itself.
    until: Option<Instant>,
}

/// What the recorder gets beyond a recording's longest time, pauses by REST not counted.
const LATE: Duration = Duration::from_secs(30);

impl Take {
    pub fn new(verb: Record) -> Self {
        Self { verb, player: Player::new(Vec::new()), recording: None, key: None, until: None }
    }

    pub fn deadline(&self) -> Option<Instant> {
        self.player.deadline().into_iter().chain(self.until).min()
    }

    /// Whether this key ends it: one that is pressed during the tone does not count.
    pub fn ends_with(&self, key: char) -> bool {
        self.recording.is_some() && self.verb.finish_on_key.contains(key)
    }
}

impl Call {
    /// `<Record>` begins: the tone, or without one the recording.
    pub fn take_up(&mut self, cx: &mut Context, now: Now) {
        let sid = self.sid;
        let Some(State::Recording(take)) = self.session.as_mut().map(|session| &mut session.state) else { return };
        if take.verb.play_beep {
            take.player.load_tone(cx, now, sid, Tone::Beep);
        } else {
            self.begin_take(cx, now);
        }
    }

    /// The tone is over.
    pub fn begin_take(&mut self, cx: &mut Context, now: Now) {
        let Some(State::Recording(take)) = self.session.as_ref().map(|session| &session.state) else { return };
        let verb = &take.verb;
        let wanted = Wanted {
            source: "RecordVerb",
            inbound: true,
            outbound: false,
            stereo: false,
            trim: verb.trim,
            seconds_max: verb.max_length.as_secs() as u32,
            silence: Some(verb.timeout).filter(|silence| *silence > Duration::ZERO),
            subscription: verb.callback.as_ref().and_then(|callback| self.recording_subscription(callback)),
        };
        let begun = self.record(cx, now, self.sid, wanted);
        let Some(session) = self.session.as_mut() else { return };
        match (begun, &mut session.state) {
            (Ok(sid), State::Recording(take)) => {
                take.until = Some(now.instant + take.verb.max_length + LATE);
                take.recording = Some(sid);
            }
            (Ok(_), _) => {}
            (Err(why), _) => {
                // Nothing can be recorded: as if nothing had been said.
                session.state = State::Ready;
                self.tell_unrecorded(cx, why);
            }
        }
    }

    fn tell_unrecorded(&self, cx: &mut Context, why: &str) {
        let fact = facts::RecordingFailed { recording: String::new(), why: why.to_owned(), duration_ms: 0 };
        self.tell(cx, self.sid, fact);
    }

    /// A key of `finishOnKey` was pressed.
    pub fn end_take(&mut self, cx: &mut Context, now: Now, key: char) {
        let Some(State::Recording(take)) = self.session.as_mut().map(|session| &mut session.state) else { return };
        take.key.get_or_insert(key);
        take.recording.into_iter().for_each(|sid| self.stop_recording(cx, now, sid));
    }

    /// The recorder does not end it: it is stopped, and if that is of no use, given up.
    pub fn take_timeout(&mut self, cx: &mut Context, now: Now) {
        let Some(State::Recording(take)) = self.session.as_mut().map(|session| &mut session.state) else { return };
        if is_due(take.until.take_if(|until| *until <= now.instant), now) {
            take.recording.into_iter().for_each(|sid| self.stop_recording(cx, now, sid));
        } else {
            self.player_timeout(cx, now);
        }
    }

    /// A recording is over; when it is that of `<Record>`, its action is asked, or the next verb runs.
    pub fn session_recorded(&mut self, cx: &mut Context, now: Now, record: &RecordingRecord) {
        let Some(session) = self.session.as_mut() else { return };
        let State::Recording(take) = &session.state else { return };
        if take.recording != Some(record.sid) {
            return;
        }
        let State::Recording(take) = std::mem::replace(&mut session.state, State::Ready) else { return };
        let action = take.verb.action.filter(|action| !action.url.is_empty());
        // A document that came by REST has no URL of its own to ask.
        if record.bytes > 0 && (action.is_some() || session.base.is_some()) {
            let mut fields = Fields::new();
            add(&mut fields, "RecordingUrl", recording::url(cx, record));
            add(&mut fields, "RecordingSid", record.sid);
            add(&mut fields, "RecordingDuration", recording::seconds(record));
            add(&mut fields, "Digits", take.key.map(String::from).unwrap_or_default());
            self.go_to(cx, now, action, Purpose::Action, fields);
        }
        self.run_session(cx, now);
    }

    /// How a `<Dial>` is to be recorded.
    pub fn dial_recording(&self, record: &DialRecord) -> Tape {
        let wanted = Wanted {
            source: "DialVerb",
            inbound: record.inbound,
            outbound: record.outbound,
            stereo: record.dual,
            trim: record.trim,
            seconds_max: 0,
            silence: None,
            subscription: record.callback.as_ref().and_then(|callback| self.recording_subscription(callback)),
        };
        Tape { wanted: Box::new(wanted), from_ringing: record.from_ringing, recording: None }
    }

    /// Records the talk of a `<Dial>`, unless that is done already.
    pub fn start_dial_recording(&mut self, cx: &mut Context, now: Now, ringing: bool) {
        let tape = self.dialing.as_ref().and_then(|dialing| dialing.record.as_ref());
        let Some(tape) = tape.filter(|tape| tape.recording.is_none() && (tape.from_ringing || !ringing)) else {
            return;
        };
        // Who still hears its own ringing has nothing to be recorded.
        if ringing && self.first().is_none_or(|leg| leg.answered.is_none()) {
            return;
        }
        let wanted = (*tape.wanted).clone();
        match self.record(cx, now, self.sid, wanted) {
            Ok(sid) => {
                if let Some(tape) = self.dialing.as_mut().and_then(|dialing| dialing.record.as_mut()) {
                    tape.recording = Some(sid);
                }
            }
            Err(why) => {
                if let Some(dialing) = &mut self.dialing {
                    dialing.record = None;
                }
                self.tell_unrecorded(cx, why);
            }
        }
    }

    /// The `<Dial>` is over: its recording ends. Where it will be found.
    pub fn stop_dial_recording(&mut self, cx: &mut Context, now: Now) -> Option<String> {
        let recordings = &self.recordings;
        let of_dial = |of: &&recording::Recording| of.record.source == "DialVerb" && !of.is_stopped();
        let record = recordings.iter().rev().find(of_dial).map(|of| of.record.clone())?;
        self.stop_recording(cx, now, record.sid);
        Some(recording::url(cx, &record))
    }

    fn recording_subscription(
        &self,
        callback: &RecordingCallback,
    ) -> Option<(Subscription, Vec<postern_config::RecordingEvent>)> {
        let base = self.session.as_ref().and_then(|session| session.base.as_ref());
        let url = crate::url::resolve(base, &callback.url).ok()?;
        Some((Subscription { url, method: callback.method, events: Vec::new() }, callback.events.clone()))
    }
}

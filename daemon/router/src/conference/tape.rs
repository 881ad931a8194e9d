//! A conference's recording: of what all hear, from its start to its end.

use std::time::Instant;

use postern_config::RecordingEvent;
use postern_types::{CallSid, ConferenceSid, Now, RecordingSid, recording::RecorderEvent};
use url::Url;

use super::{Conference, State, with};
use crate::{
    call::is_due,
    callback::{self, Subscription},
    context::{Asker, Context},
    recording::{Of, Recording, Wanted},
};

/// Where it is.
#[derive(Debug)]
pub(super) enum Tape {
    /// Nobody wants one.
    None,
    /// This participant does; it has not begun.
    Wanted(CallSid, Box<Wanted>),
    /// It is made, or about to be finished.
    Running(Box<Recording>),
    /// It was made.
    Over(RecordingSid),
}

impl Tape {
    /// Whether the recorder still has to say its end.
    pub fn is_running(&self) -> bool {
        matches!(self, Self::Running(_))
    }

    pub fn deadline(&self) -> Option<Instant> {
        match self {
            Self::Running(recording) => recording.deadline(),
            Self::None | Self::Wanted(..) | Self::Over(_) => None,
        }
    }

    /// Of whose callbacks it is.
    pub fn of(&self) -> Option<callback::Of> {
        match self {
            Self::Running(recording) => Some(callback::Of::Recording(recording.record.sid)),
            Self::Over(sid) => Some(callback::Of::Recording(*sid)),
            Self::None | Self::Wanted(..) => None,
        }
    }
}

/// The recorder tells.
pub fn on_recorder(cx: &mut Context, now: Now, sid: ConferenceSid, event: RecorderEvent) {
    with(cx, now, sid, |conference, cx| conference.recorded(cx, now, event));
}

impl Conference {
    /// A participant has it recorded; the first decides how.
    pub(super) fn want_recording(
        &mut self,
        leg: CallSid,
        record: &postern_document::ConferenceRecord,
        base: Option<&Url>,
    ) {
        if !matches!(self.tape, Tape::None) {
            return;
        }
        let subscription = record.callback.as_ref().and_then(|callback| {
            let url = crate::url::resolve(base, &callback.url).ok()?;
            Some((Subscription { url, method: callback.method, events: Vec::new() }, callback.events.clone()))
        });
        let wanted = Wanted {
            source: "Conference",
            inbound: true,
            outbound: false,
            stereo: false,
            trim: record.trim,
            seconds_max: 0,
            silence: None,
            subscription,
        };
        self.tape = Tape::Wanted(leg, Box::new(wanted));
    }

    /// Begins it, once all are mixed.
    pub(super) fn record_if_wanted(&mut self, cx: &mut Context, now: Now) {
        if self.state != State::InProgress || !matches!(self.tape, Tape::Wanted(..)) {
            return;
        }
        let Tape::Wanted(leg, mut wanted) = std::mem::replace(&mut self.tape, Tape::None) else { return };
        let of = self.participants.iter().find(|of| of.leg == leg).map(|of| of.subject.clone());
        let subject = of.unwrap_or_else(|| self.subject());
        let of = Of { asker: Asker::Conference(self.sid), leg, room: Some(self.sid), subject };
        let recording = Recording::begin(cx, now, of, &wanted);
        if let Some((subscription, _)) = wanted.subscription.take() {
            // A conference has two subscribers at most.
            self.callbacks.subscribe(callback::Of::Recording(recording.record.sid), subscription);
        }
        recording.tell(cx, &mut self.callbacks, RecordingEvent::InProgress);
        self.tape = Tape::Running(Box::new(recording));
    }

    /// The conference is over, and with it what is recorded of it.
    pub(super) fn stop_recording(&mut self, cx: &mut Context, now: Now) {
        if let Tape::Running(recording) = &mut self.tape {
            recording.stop(cx, now);
        }
    }

    /// The recorder ended it.
    fn recorded(&mut self, cx: &mut Context, now: Now, event: RecorderEvent) {
        let Tape::Running(recording) = &mut self.tape else { return };
        let told = recording.ended(cx, now, event);
        recording.tell(cx, &mut self.callbacks, told);
        let sid = recording.record.sid;
        self.callbacks.close(callback::Of::Recording(sid));
        self.tape = Tape::Over(sid);
    }

    /// A recorder that never said the end.
    pub(super) fn recording_timeout(&mut self, cx: &mut Context, now: Now) {
        if is_due(self.tape.deadline(), now)
            && let Tape::Running(recording) = &self.tape
        {
            let event = recording.overdue();
            self.recorded(cx, now, event);
        }
    }
}

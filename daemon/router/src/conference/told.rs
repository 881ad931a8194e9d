//! What a conference's subscriber is told: the fields of its status callbacks.

use postern_document::{ConferenceCallback, ConferenceEvent};
use postern_types::{CallSid, Now, media::MediaCommand};
use url::Url;

use super::{Conference, Participant, State};
use crate::{
    callback::{Of, Subscription, rfc2822},
    context::Context,
    request::{Fields, add},
};

impl Conference {
    /// The first who names a URL decides for all.
    pub(super) fn subscribe(&mut self, url: Url, callback: &ConferenceCallback) {
        if self.events.is_empty() {
            self.events.clone_from(&callback.events);
            let subscription = Subscription { url, method: callback.method, events: Vec::new() };
            self.callbacks.subscribe(Of::Conference(self.sid), subscription);
        }
    }

    /// Has the media plane tell who speaks, once all are mixed, if the subscriber wants that.
    pub(super) fn watch_if_wanted(&mut self, cx: &mut Context) {
        let is_wanted = self.events.contains(&ConferenceEvent::Speaker) && self.state == State::InProgress;
        if is_wanted && !std::mem::replace(&mut self.watched, true) {
            cx.media(MediaCommand::WatchRoom { room: self.sid });
        }
    }

    /// Something happened, to one participant or to all.
    pub(super) fn notify(
        &mut self,
        cx: &mut Context,
        now: Now,
        event: ConferenceEvent,
        word: &'static str,
        leg: Option<CallSid>,
    ) {
        if !self.events.contains(&event) {
            return;
        }
        let mut fields = self.fields(now, word);
        let of = leg.and_then(|leg| self.participants.iter().find(|of| of.leg == leg));
        of.into_iter().for_each(|of| participant_fields(&mut fields, of));
        self.callbacks.post(cx, Of::Conference(self.sid), word, fields);
    }

    /// It is over; nothing follows.
    pub(super) fn notify_end(&mut self, cx: &mut Context, now: Now, reason: &str, by: Option<CallSid>) {
        if self.events.contains(&ConferenceEvent::End) {
            let mut fields = self.fields(now, "conference-end");
            add(&mut fields, "ReasonConferenceEnded", reason);
            if let Some(leg) = by {
                add(&mut fields, "CallSidEndingConference", leg);
            }
            self.callbacks.post(cx, Of::Conference(self.sid), "conference-end", fields);
        }
        self.callbacks.close(Of::Conference(self.sid));
    }

    fn fields(&self, now: Now, word: &str) -> Fields {
        let mut fields = Fields::new();
        add(&mut fields, "ConferenceSid", self.sid);
        add(&mut fields, "FriendlyName", &self.name);
        add(&mut fields, "AccountSid", self.account);
        add(&mut fields, "Timestamp", rfc2822(now.wall));
        add(&mut fields, "StatusCallbackEvent", word);
        fields
    }
}

fn participant_fields(fields: &mut Fields, of: &Participant) {
    add(fields, "CallSid", of.leg);
    add(fields, "Muted", of.muted);
    add(fields, "Hold", of.held);
    add(fields, "Coaching", of.coaches.is_some());
    if let Some(leg) = of.coaches {
        add(fields, "CallSidToCoach", leg);
    }
    add(fields, "StartConferenceOnEnter", of.start_on_enter);
    add(fields, "EndConferenceOnExit", of.end_on_exit);
    if let Some(label) = &of.label {
        add(fields, "ParticipantLabel", label);
    }
}

//! `<Conference>`: a room in a `<Dial>`.

use super::{RECORDING_CALLBACK, Read, Reader, attribute};
use crate::{program::*, tree::Element};

const KNOWN: [&str; 14] = [
    "muted",
    "beep",
    "startConferenceOnEnter",
    "endConferenceOnExit",
    "waitUrl",
    "waitMethod",
    "maxParticipants",
    "record",
    "coach",
    "trim",
    "statusCallback",
    "statusCallbackMethod",
    "statusCallbackEvent",
    "participantLabel",
];

impl Reader<'_> {
    pub(super) fn conference(&mut self, element: &Element) -> Read<ConferenceNoun> {
        self.known(element, &[&KNOWN[..], &RECORDING_CALLBACK].concat());
        self.leaf(element)?;
        let name = element.text.trim();
        if !is_name(name) {
            let want = format!("<Conference> wants a name of 1 to {CONFERENCE_NAME_MAX} characters");
            return Err(self.error(element, want));
        }
        let is_recorded = match attribute(element, "record") {
            None | Some("do-not-record" | "false" | "False") => false,
            Some("record-from-start" | "true" | "True") => true,
            Some(other) => return Err(self.value(element, "record", other, "do-not-record or record-from-start")),
        };
        let (trim, recording) = (self.trim(element, false)?, self.recording_callback(element)?);
        let (beep_on_enter, beep_on_exit) = match attribute(element, "beep") {
            None | Some("true" | "True") => (true, true),
            Some("false" | "False") => (false, false),
            Some("onEnter") => (true, false),
            Some("onExit") => (false, true),
            Some(other) => return Err(self.value(element, "beep", other, "true, false, onEnter or onExit")),
        };
        // It is fetched as every prompt is.
        self.method(element, "waitMethod")?;
        let wait = match attribute(element, "waitUrl").map(str::trim) {
            None => Wait::Tone,
            Some("") => Wait::Silence,
            Some(url) => Wait::Play(url.to_owned()),
        };
        let coach = attribute(element, "coach").map(str::trim).filter(|sid| !sid.is_empty());
        if let Some(sid) = coach
            && !(sid.len() == 34 && sid.starts_with("CA"))
        {
            return Err(self.value(element, "coach", sid, "the sid of a call, CA and 32 hexadecimal digits"));
        }
        let label = attribute(element, "participantLabel").map(str::trim).filter(|label| !label.is_empty());
        if let Some(label) = label
            && !is_name(label)
        {
            let want = format!("1 to {CONFERENCE_NAME_MAX} characters");
            return Err(self.value(element, "participantLabel", label, &want));
        }
        Ok(ConferenceNoun {
            name: name.to_owned(),
            muted: self.flag(element, "muted")?,
            beep_on_enter,
            beep_on_exit,
            start_on_enter: attribute(element, "startConferenceOnEnter").is_none()
                || self.flag(element, "startConferenceOnEnter")?,
            end_on_exit: self.flag(element, "endConferenceOnExit")?,
            participants_max: self
                .integer(element, "maxParticipants", 1..=PARTICIPANTS_MAX)?
                .unwrap_or(PARTICIPANTS_MAX),
            wait,
            coach: coach.map(str::to_owned),
            label: label.map(str::to_owned),
            callback: self.conference_callback(element)?,
            record: is_recorded.then_some(ConferenceRecord { trim, callback: recording }),
        })
    }

    fn conference_callback(&self, element: &Element) -> Read<Option<ConferenceCallback>> {
        let method = self.method(element, "statusCallbackMethod")?;
        let mut events = Vec::new();
        for word in attribute(element, "statusCallbackEvent").unwrap_or_default().split_whitespace() {
            let want = "start, end, join, leave, mute, hold, modify, announcement, speaker";
            let event = ConferenceEvent::from_word(word)
                .ok_or_else(|| self.value(element, "statusCallbackEvent", word, want))?;
            if !events.contains(&event) {
                events.push(event);
            }
        }
        if events.is_empty() {
            events.extend(ConferenceEvent::DEFAULT);
        }
        let url = attribute(element, "statusCallback").map(str::trim).filter(|url| !url.is_empty());
        Ok(url.map(|url| ConferenceCallback { url: url.to_owned(), method, events }))
    }
}

/// Whether it can be a conference's name, or a label: no control characters, not too long.
pub(super) fn is_name(text: &str) -> bool {
    (1..=CONFERENCE_NAME_MAX).contains(&text.chars().count()) && !text.contains(char::is_control)
}

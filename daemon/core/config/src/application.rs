//! Applications: programs that application servers return.

use postern_types::AccountSid;
use serde::Serialize;

use crate::{
    reader::{Fields, Reader},
    write,
};

/// A program: the application server's URLs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Application {
    /// The tenant on whose behalf it runs.
    pub account: AccountSid,
    /// Asked first.
    #[serde(serialize_with = "write::url")]
    pub voice_url: String,
    /// How.
    pub voice_method: HttpMethod,
    /// Asked when the first fails.
    #[serde(serialize_with = "write::optional_url")]
    pub voice_fallback_url: Option<String>,
    /// How.
    pub voice_fallback_method: HttpMethod,
    /// Told of call progress.
    #[serde(serialize_with = "write::optional_url")]
    pub status_callback: Option<String>,
    /// How.
    pub status_callback_method: HttpMethod,
    /// Of which events: `initiated`, `ringing`, `answered`, `completed`.
    pub status_callback_events: Vec<CallbackEvent>,
}

/// GET or POST.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum HttpMethod {
    /// Parameters in the query.
    Get,
    /// Parameters as a form.
    #[default]
    Post,
}

/// Events of call progress.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum CallbackEvent {
    /// The call was made.
    Initiated,
    /// It rings.
    Ringing,
    /// It was answered.
    Answered,
    /// It is over.
    Completed,
}

/// Events of a recording.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RecordingEvent {
    /// It began.
    InProgress,
    /// Its file is there.
    Completed,
    /// There is no file: nothing was said, or it could not be written.
    Absent,
}

impl RecordingEvent {
    /// From the platform's word.
    pub fn from_word(word: &str) -> Option<Self> {
        match word {
            "in-progress" => Some(Self::InProgress),
            "completed" => Some(Self::Completed),
            "absent" => Some(Self::Absent),
            _ => None,
        }
    }
}

impl Application {
    pub(crate) fn read(r: &mut Reader<'_>, _: &str, f: &Fields<'_>) -> Option<Self> {
        let account = f.account(r, "account");
        let (voice_url, fallback_url) = (f.url(r, "voice_url"), f.url(r, "voice_fallback_url"));
        let status_callback = f.url(r, "status_callback");
        let (voice_method, fallback_method) =
            (f.choice(r, "voice_method", &METHODS), f.choice(r, "voice_fallback_method", &METHODS));
        let status_method = f.choice(r, "status_callback_method", &METHODS);
        let events = f.choices(r, "status_callback_events", &EVENTS);
        for (key, needs) in [
            ("voice_fallback_method", "voice_fallback_url"),
            ("status_callback_method", "status_callback"),
            ("status_callback_events", "status_callback"),
        ] {
            if f.has(key) && !f.has(needs) {
                r.warning(f.span_of(key), format!("`{key}` does nothing without `{needs}`"));
            }
        }
        Some(Self {
            account: account?,
            voice_url: voice_url?,
            voice_method: voice_method?,
            voice_fallback_url: fallback_url,
            voice_fallback_method: fallback_method?,
            status_callback,
            status_callback_method: status_method?,
            status_callback_events: events,
        })
    }
}

/// In the order of the table's words.
const METHODS: [HttpMethod; 2] = [HttpMethod::Get, HttpMethod::Post];
const EVENTS: [CallbackEvent; 4] =
    [CallbackEvent::Initiated, CallbackEvent::Ringing, CallbackEvent::Answered, CallbackEvent::Completed];

//! What the router asks of the world: commands to the planes, HTTP requests, prompts, facts and records.

use std::{path::PathBuf, sync::Arc, time::Duration};

use postern_config::HttpMethod;
use postern_facts::{CallRecord, Happened, RecordingRecord};
use postern_types::{
    RequestId, fork::ForkCommand, leg::LegCommand, media::MediaCommand, recording::RecorderCommand, text::TextCommand,
    watch::UserState,
};

/// Drained by [`crate::Router::poll_output`] until none is left, after each input.
#[derive(Debug, Clone, PartialEq)]
pub enum Output {
    /// For the signaling plane.
    Leg(LegCommand),
    /// For the signaling plane, about a message.
    Text(TextCommand),
    /// For the signaling plane, about a user that somebody watches.
    User(UserState),
    /// For the media plane.
    Media(MediaCommand),
    /// For the HTTP driver; answered exactly once by [`crate::Router::handle_http`].
    Http(Box<HttpRequest>),
    /// Audio to be fetched and decoded; answered by [`crate::Router::handle_prompt`] with the same key.
    LoadPrompt {
        /// Comes back with the answer; never used twice.
        key: PromptKey,
        /// From where. The driver may keep what it decoded.
        source: PromptSource,
    },
    /// For the recorder; its answers come by [`crate::Router::handle_recorder`].
    Recorder(RecorderCommand),
    /// For the driver of forks; its answers come by [`crate::Router::handle_fork`].
    Fork(ForkCommand),
    /// A recording began, changed or is over: for the store.
    Recording(Box<RecordingRecord>),
    /// Something happened.
    Fact(Happened),
    /// A leg is over, figures included: for the store. Exactly one a leg.
    Ended(Box<CallRecord>),
}

/// Names one [`Output::LoadPrompt`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PromptKey(pub u64);

/// Where audio comes from.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum PromptSource {
    /// To be fetched by GET, `http:` or `https:`.
    Url(String),
    /// A local file. Its path is lexically below a configured prompt folder; whoever opens it must see that
    /// no symbolic link leads out of it.
    File(PathBuf),
    /// The bytes of a WAV file that an application server answered with instead of a document.
    Body(Arc<[u8]>),
    /// A tone that the driver makes.
    Tone(Tone),
}

/// Tones that the router has played.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Tone {
    /// Something failed and the call will end: about a second, ends by itself.
    Error,
    /// The other party is busy: some seconds, ends by itself.
    Busy,
    /// The other party rings: one period of tone and silence, to be repeated.
    Ringback,
    /// Somebody waits: a short tone and some seconds of silence, to be repeated.
    Waiting,
    /// A recording begins: a fraction of a second, ends by itself.
    Beep,
}

/// What an HTTP request is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Purpose {
    /// The first document of a call.
    Voice,
    /// What comes after a verb with `action`.
    Action,
    /// `<Redirect>`, or a redirect by REST.
    Redirect,
    /// A status callback: its answer's body is not read.
    Callback,
}

impl Purpose {
    /// The word in facts.
    pub fn name(self) -> &'static str {
        match self {
            Self::Voice => "voice",
            Self::Action => "action",
            Self::Redirect => "redirect",
            Self::Callback => "callback",
        }
    }
}

/// A request to an application server.
#[derive(Clone, PartialEq)]
pub struct HttpRequest {
    /// Comes back with the answer.
    pub id: RequestId,
    /// Whole, without credentials and fragment; with GET the parameters are in its query already.
    pub url: String,
    /// GET or POST.
    pub method: HttpMethod,
    /// Further headers: signature, cookies, authorization.
    pub headers: Vec<(String, String)>,
    /// The form of a POST, in the order to be sent; empty for GET.
    pub form: Vec<(String, String)>,
    /// Until the connection stands, TLS included.
    pub connect_timeout: Duration,
    /// Until the last byte of the answer.
    pub total_timeout: Duration,
    /// Redirects (301, 302, 303, 307, 308) to be followed at most.
    pub follow_redirects: u8,
    /// What for.
    pub purpose: Purpose,
}

/// Headers carry credentials and forms carry digits: neither is shown.
impl std::fmt::Debug for HttpRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HttpRequest")
            .field("id", &self.id)
            .field("url", &crate::url::shown(&self.url))
            .field("method", &self.method)
            .field("purpose", &self.purpose)
            .finish_non_exhaustive()
    }
}

/// A whole answer, whatever its status.
#[derive(Debug, Clone, PartialEq)]
pub struct HttpResponse {
    /// 100..=599.
    pub status: u16,
    /// As received; `Set-Cookie` may be there several times.
    pub headers: Vec<(String, String)>,
    /// The `Content-Type`, empty when none.
    pub content_type: String,
    /// At most [`BODY_MAX`] bytes; a longer one is an [`HttpFailure`].
    pub body: Vec<u8>,
    /// The URL that answered, after redirects.
    pub final_url: String,
    /// From sending to the last byte.
    pub took: Duration,
}

/// Bytes of an answer's body at most: 1 MiB, far above any document and a minute of 8 kHz PCM audio.
pub const BODY_MAX: usize = 1 << 20;

/// No answer came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpFailure {
    /// 11200 unusable answer, 11205 connection, 11210 DNS, 11220 TLS, 11235 time-out.
    pub code: u32,
    /// In words, without credentials or query.
    pub why: String,
}

/// Figures of the router.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Live calls.
    pub calls: u64,
    /// Live legs.
    pub legs: u64,
    /// Calls since start.
    pub calls_total: u64,
    /// Legs since start.
    pub legs_total: u64,
    /// Legs that were answered since start.
    pub answered_total: u64,
    /// Legs with a score at their end.
    pub measured_total: u64,
    /// Of these, with one below [`POOR_MOS`], as we heard the party or as it heard us.
    pub poor_total: u64,
    /// Calls turned away because there was no room.
    pub refused_total: u64,
    /// Status callbacks given up, or dropped by a full queue, since start.
    pub callbacks_lost: u64,
}

/// Below it many who talk are dissatisfied: R 70 of ITU-T G.109.
pub const POOR_MOS: f32 = 3.6;

//! What the REST API asks of live calls, and how it is refused.

use postern_config::{CallbackEvent, HttpMethod, RecordingEvent};
use serde::Serialize;

/// Where a call's instructions come from.
#[derive(Debug, Clone, PartialEq)]
pub enum Instructions {
    /// An application server's URL, and its fallback.
    Url {
        /// Asked first.
        url: String,
        /// How.
        method: HttpMethod,
        /// Asked when the first fails.
        fallback: Option<(String, HttpMethod)>,
    },
    /// A document given in the request (`Twiml`).
    Document(String),
    /// Those of a configured application, by its name.
    Application(String),
}

/// `POST Calls.json`.
#[derive(Debug, Clone, PartialEq)]
pub struct CreateCall {
    /// A number, `client:NAME` or `sip:…`.
    pub to: String,
    /// The caller that is shown.
    pub from: String,
    /// What it does when answered.
    pub instructions: Instructions,
    /// Seconds it may ring, 60 when not said, 600 at most.
    pub timeout_s: u32,
    /// Who is told of its progress.
    pub status_callback: Option<StatusCallback>,
}

/// Whom to tell of call progress.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatusCallback {
    /// Where.
    pub url: String,
    /// How.
    pub method: HttpMethod,
    /// Of what; `completed` when the request named none.
    pub events: Vec<CallbackEvent>,
}

/// `POST Calls/{sid}.json`.
#[derive(Debug, Clone, PartialEq)]
pub enum UpdateCall {
    /// Run other instructions from now on.
    Redirect(Instructions),
    /// `Status=canceled`: only while queued or ringing.
    Cancel,
    /// `Status=completed`: end it in whatever state.
    Complete,
}

/// `POST Calls/{sid}/Recordings.json`.
#[derive(Debug, Clone, PartialEq)]
pub struct CreateRecording {
    /// Each direction on a channel of its own.
    pub dual: bool,
    /// What the party says is in it.
    pub inbound: bool,
    /// What it hears is in it.
    pub outbound: bool,
    /// Silence at both ends is cut off.
    pub trim: bool,
    /// Who is told: where, how, of what.
    pub callback: Option<(String, HttpMethod, Vec<RecordingEvent>)>,
}

/// `POST Calls/{sid}/Recordings/{sid}.json`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UpdateRecording {
    /// Leave out what comes; with `silence` its time stays.
    Pause {
        /// Whether it stays.
        silence: bool,
    },
    /// Go on.
    Resume,
    /// End it.
    Stop,
}

/// The body of a REST error, and its HTTP status.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RestError {
    /// HTTP status.
    pub status: u16,
    /// The platform's error code: 21211 bad To, 21220 wrong state, 20404 not found, ...
    pub code: u32,
    /// In words.
    pub message: String,
}

//! What the REST API asks of live calls, and how it is refused.

use std::time::Duration;

use postern_config::{CallbackEvent, HttpMethod, RecordingEvent};
use postern_document::ConferenceNoun;
pub use postern_document::StreamNoun;
use postern_types::{AccountSid, CallSid, ConferenceSid, StreamSid, UnixMicros};
use serde::Serialize;

use crate::output::PromptSource;

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
    /// A program that the appliance made itself.
    Program(Box<postern_document::Program>),
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

/// A fork of a call, as the stream resource shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamRecord {
    /// Its name for machines.
    pub sid: StreamSid,
    /// Of which leg.
    pub call: CallSid,
    /// What the document or the request calls it.
    pub name: Option<String>,
    /// `in-progress` or `stopped`.
    pub status: &'static str,
    /// Last change.
    pub updated: UnixMicros,
}

/// `POST Conferences/{sid or name}/Participants.json`: who is dialed, and how it takes part.
#[derive(Debug, Clone, PartialEq)]
pub struct CreateParticipant {
    /// A number, `client:NAME` or `sip:…`.
    pub to: String,
    /// The caller that is shown.
    pub from: String,
    /// Seconds it may ring.
    pub timeout_s: u32,
    /// How long it may stay.
    pub time_limit: Duration,
    /// How it takes part; its name is not looked at.
    pub noun: ConferenceNoun,
    /// Who is told of the call's progress.
    pub status_callback: Option<StatusCallback>,
}

/// `POST Conferences/{sid}/Participants/{call or label}.json`: what is to be another way; none: stays.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ChangeParticipant {
    /// Nobody hears it.
    pub muted: Option<bool>,
    /// Nobody hears it, and it hears nobody.
    pub held: Option<bool>,
    /// What it hears while it is held.
    pub hold: Option<PromptSource>,
    /// Only this leg hears it; `Some(None)`: all again.
    pub coaches: Option<Option<CallSid>>,
    /// The conference ends when it leaves.
    pub end_on_exit: Option<bool>,
    /// A tone for all when it leaves.
    pub beep_on_exit: Option<bool>,
    /// What only it hears, once.
    pub announce: Option<PromptSource>,
}

/// The same as it was asked for: audio by its URL.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ParticipantOrder {
    /// What needs no look at the configuration.
    pub change: ChangeParticipant,
    /// `HoldUrl`.
    pub hold_url: Option<String>,
    /// `AnnounceUrl`.
    pub announce_url: Option<String>,
}

/// A question or an order about conferences of an account.
#[derive(Debug, Clone, PartialEq)]
pub enum ConferenceOrder {
    /// Those that live, and the latest that ended.
    List,
    /// One.
    Fetch(ConferenceSid),
    /// End one, or announce something to all in it.
    Update {
        /// Which.
        sid: ConferenceSid,
        /// `Status=completed`.
        end: bool,
        /// `AnnounceUrl`.
        announce: Option<String>,
    },
    /// Who is in one.
    Participants(ConferenceSid),
    /// One of them, by the sid of its call or its label.
    Participant(ConferenceSid, String),
    /// Change how it takes part.
    Change(ConferenceSid, String, Box<ParticipantOrder>),
    /// Take it out.
    Remove(ConferenceSid, String),
    /// Dial one into a conference, by its sid or name.
    Create(String, Box<CreateParticipant>),
}

/// The answer.
#[derive(Debug, Clone, PartialEq)]
pub enum ConferenceAnswer {
    /// Conferences, the newest first.
    Conferences(Vec<ConferenceRecord>),
    /// One.
    Conference(ConferenceRecord),
    /// Participants, in the order of their coming.
    Participants(Vec<ParticipantRecord>),
    /// One.
    Participant(ParticipantRecord),
    /// It is out.
    Removed,
}

/// A conference, live or finished.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConferenceRecord {
    /// Its name for machines.
    pub sid: ConferenceSid,
    /// Whose.
    pub account: AccountSid,
    /// Its name.
    pub name: String,
    /// The first came.
    pub created: UnixMicros,
    /// Last change.
    pub updated: UnixMicros,
    /// `init`, `in-progress` or `completed`.
    pub status: &'static str,
    /// Why it is over.
    pub reason_ended: Option<String>,
    /// Whose leaving ended it.
    pub ended_by: Option<CallSid>,
}

/// A participant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParticipantRecord {
    /// Of which conference.
    pub conference: ConferenceSid,
    /// Its leg.
    pub call: CallSid,
    /// Its name.
    pub label: Option<String>,
    /// Nobody hears it.
    pub muted: bool,
    /// On hold.
    pub held: bool,
    /// Who alone hears it.
    pub coaches: Option<CallSid>,
    /// The conference may start with it.
    pub start_on_enter: bool,
    /// It ends with it.
    pub end_on_exit: bool,
    /// When it came, or was asked for.
    pub created: UnixMicros,
    /// Last change.
    pub updated: UnixMicros,
    /// `queued`, `connecting`, `ringing`, `connected`, `complete` or `failed`.
    pub status: &'static str,
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

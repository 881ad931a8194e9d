//! What a document says once it is checked.

use std::time::Duration;

use postern_config::{CallbackEvent, HttpMethod, RecordingEvent};

mod fork;

pub use fork::*;

/// A whole document.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Program {
    /// In order.
    pub verbs: Vec<Verb>,
    /// What was ignored, each with its line, for a person.
    pub warnings: Vec<String>,
}

/// One instruction.
#[derive(Debug, Clone, PartialEq)]
pub enum Verb {
    /// Connect the caller to somebody.
    Dial(Box<Dial>),
    /// Play a file.
    Play(Play),
    /// Collect digits.
    Gather(Box<Gather>),
    /// Record the caller.
    Record(Box<Record>),
    /// Send the call's audio to a server too, from now on.
    Start(Box<StreamNoun>),
    /// End what `<Start>` began, by its name.
    Stop(String),
    /// Wait.
    Pause(Pause),
    /// Go on with another document.
    Redirect(Redirect),
    /// Turn the call away without answering it.
    Reject(Reject),
    /// End the call.
    Hangup,
}

impl Verb {
    /// Its element's name.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Dial(_) => "Dial",
            Self::Play(_) => "Play",
            Self::Gather(_) => "Gather",
            Self::Record(_) => "Record",
            Self::Start(_) => "Start",
            Self::Stop(_) => "Stop",
            Self::Pause(_) => "Pause",
            Self::Redirect(_) => "Redirect",
            Self::Reject(_) => "Reject",
            Self::Hangup => "Hangup",
        }
    }
}

/// A reference to ask next, as written: relative ones are resolved by whoever knows the document's URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The reference; empty means the document itself.
    pub url: String,
    /// How.
    pub method: HttpMethod,
}

/// `<Dial>`.
#[derive(Debug, Clone, PartialEq)]
pub struct Dial {
    /// Whom; at least one.
    pub nouns: Vec<Noun>,
    /// How long it may ring.
    pub timeout: Duration,
    /// How long they may talk.
    pub time_limit: Duration,
    /// The caller that is shown; none: the caller itself.
    pub caller_id: Option<String>,
    /// Asked when it is over.
    pub action: Option<Target>,
    /// Asked when whom it connected refers the caller to somebody else.
    pub refer: Option<Target>,
    /// `*` ends the talk and the document goes on.
    pub hangup_on_star: bool,
    /// The caller keeps hearing ringing until somebody answers.
    pub answer_on_bridge: bool,
    /// One after the other instead of all at once.
    pub sequential: bool,
    /// The talk is recorded.
    pub record: Option<DialRecord>,
}

/// Whom to dial.
#[derive(Debug, Clone, PartialEq)]
pub enum Noun {
    /// A telephone number.
    Number(Number),
    /// A user.
    Client(ClientNoun),
    /// A SIP URI.
    Sip(SipNoun),
    /// A room; alone in its `<Dial>`.
    Conference(Box<ConferenceNoun>),
}

/// Who is told of the progress of a dialed leg.
#[derive(Debug, Clone, PartialEq)]
pub struct StatusCallback {
    /// Where, as written.
    pub url: String,
    /// How.
    pub method: HttpMethod,
    /// Of what; `completed` when nothing was named.
    pub events: Vec<CallbackEvent>,
}

/// `<Number>`, or the text of `<Dial>`.
#[derive(Debug, Clone, PartialEq)]
pub struct Number {
    /// As written, without separators.
    pub number: String,
    /// Who is told.
    pub status_callback: Option<StatusCallback>,
}

/// `<Client>`.
#[derive(Debug, Clone, PartialEq)]
pub struct ClientNoun {
    /// The user's name.
    pub identity: String,
    /// Handed to the user's device.
    pub parameters: Vec<(String, String)>,
    /// Who is told.
    pub status_callback: Option<StatusCallback>,
}

/// `<Sip>`.
#[derive(Debug, Clone, PartialEq)]
pub struct SipNoun {
    /// `sip:…` without headers.
    pub uri: String,
    /// `X-` headers that stood behind its `?`.
    pub headers: Vec<(String, String)>,
    /// For a challenge.
    pub credentials: Option<(String, postern_types::Secret<String>)>,
    /// Who is told.
    pub status_callback: Option<StatusCallback>,
}

/// `<Conference>`.
#[derive(Debug, Clone, PartialEq)]
pub struct ConferenceNoun {
    /// Its name, of the account's own.
    pub name: String,
    /// Nobody hears who comes.
    pub muted: bool,
    /// A tone for all when it comes.
    pub beep_on_enter: bool,
    /// And when it leaves.
    pub beep_on_exit: bool,
    /// The conference may start with it.
    pub start_on_enter: bool,
    /// The conference ends when it leaves.
    pub end_on_exit: bool,
    /// Parties at most.
    pub participants_max: u32,
    /// What is heard until it starts.
    pub wait: Wait,
    /// The call that only hears it, by its sid as written.
    pub coach: Option<String>,
    /// Its name among the participants.
    pub label: Option<String>,
    /// Who is told.
    pub callback: Option<ConferenceCallback>,
    /// It is recorded, from its start. The first who wants that decides how.
    pub record: Option<ConferenceRecord>,
}

/// How a conference is recorded.
#[derive(Debug, Clone, PartialEq)]
pub struct ConferenceRecord {
    /// Silence at both ends is cut off.
    pub trim: bool,
    /// Who is told.
    pub callback: Option<RecordingCallback>,
}

/// What somebody who waits hears.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wait {
    /// A tone from time to time, so that it is known that the line is there.
    Tone,
    /// Nothing.
    Silence,
    /// A file, as written, again and again.
    Play(String),
}

/// Who is told of a conference. The first who names one decides for all.
#[derive(Debug, Clone, PartialEq)]
pub struct ConferenceCallback {
    /// Where, as written.
    pub url: String,
    /// How.
    pub method: HttpMethod,
    /// Of what; `start` and `end` when nothing was named.
    pub events: Vec<ConferenceEvent>,
}

/// What can be told of a conference.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConferenceEvent {
    /// It started.
    Start,
    /// It is over.
    End,
    /// Somebody came.
    Join,
    /// Somebody left.
    Leave,
    /// Somebody was muted, or is no more.
    Mute,
    /// Somebody was put on hold, or is back.
    Hold,
    /// Somebody takes part in another way.
    Modify,
    /// An announcement.
    Announcement,
    /// Somebody begins to speak, or stops.
    Speaker,
}

impl ConferenceEvent {
    /// Those that are told when nobody said which.
    pub const DEFAULT: [Self; 2] = [Self::Start, Self::End];

    /// By its word; none: no such one.
    pub fn from_word(word: &str) -> Option<Self> {
        Some(match word {
            "start" => Self::Start,
            "end" => Self::End,
            "join" => Self::Join,
            "leave" => Self::Leave,
            "mute" => Self::Mute,
            "hold" => Self::Hold,
            "modify" => Self::Modify,
            "announcement" => Self::Announcement,
            "speaker" => Self::Speaker,
            _ => return None,
        })
    }
}

/// Parties of one conference at most.
pub const PARTICIPANTS_MAX: u32 = 250;
/// Characters of a conference's name, and of a participant's label, at most.
pub const CONFERENCE_NAME_MAX: usize = 128;

/// `<Play>`.
#[derive(Debug, Clone, PartialEq)]
pub struct Play {
    /// What, as written.
    pub url: String,
    /// How often; 0 until the call ends.
    pub times: u32,
}

/// `<Gather>`.
#[derive(Debug, Clone, PartialEq)]
pub struct Gather {
    /// Heard meanwhile; a digit stops it.
    pub prompts: Vec<Prompt>,
    /// As many are enough.
    pub num_digits: Option<u32>,
    /// From the last digit, or the end of the prompts.
    pub timeout: Duration,
    /// Keys that end the input and are not part of it.
    pub finish_on_key: String,
    /// Asked with the digits; none: the document's own URL.
    pub action: Option<Target>,
    /// Ask even when nothing was pressed.
    pub action_on_empty_result: bool,
}

/// What may stand in `<Gather>`.
#[derive(Debug, Clone, PartialEq)]
pub enum Prompt {
    /// `<Play>`.
    Play(Play),
    /// `<Pause>`.
    Pause(Pause),
}

/// `<Record>`.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    /// So long at most.
    pub max_length: Duration,
    /// Silence of this length ends it.
    pub timeout: Duration,
    /// Keys that end it.
    pub finish_on_key: String,
    /// A tone says that it begins.
    pub play_beep: bool,
    /// Silence at both ends is cut off.
    pub trim: bool,
    /// Asked when something was said; none: the document's own URL.
    pub action: Option<Target>,
    /// Who is told.
    pub callback: Option<RecordingCallback>,
}

/// How a `<Dial>` is recorded.
#[derive(Debug, Clone, PartialEq)]
pub struct DialRecord {
    /// From the moment of dialing, not only from the answer.
    pub from_ringing: bool,
    /// Each party on a channel of its own.
    pub dual: bool,
    /// What the caller says is in it.
    pub inbound: bool,
    /// What the caller hears is in it.
    pub outbound: bool,
    /// Silence at both ends is cut off.
    pub trim: bool,
    /// Who is told.
    pub callback: Option<RecordingCallback>,
}

/// Who is told of a recording.
#[derive(Debug, Clone, PartialEq)]
pub struct RecordingCallback {
    /// Where, as written.
    pub url: String,
    /// How.
    pub method: HttpMethod,
    /// Of what; `completed` when nothing was named.
    pub events: Vec<RecordingEvent>,
}

/// `<Pause>`.
#[derive(Debug, Clone, PartialEq)]
pub struct Pause {
    /// How long.
    pub length: Duration,
}

/// `<Redirect>`.
#[derive(Debug, Clone, PartialEq)]
pub struct Redirect {
    /// Where to.
    pub target: Target,
}

/// `<Reject>`.
#[derive(Debug, Clone, PartialEq)]
pub struct Reject {
    /// What the caller is told.
    pub reason: RejectReason,
}

/// The two reasons there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RejectReason {
    /// Declined.
    #[default]
    Rejected,
    /// Busy.
    Busy,
}

//! Drivers: they move bytes for the switch and decide nothing.
//!
//! Each has a start function that returns a handle. What comes back reaches the switch through one callback, [`Report`],
//! which must not block: it puts a [`DriverInput`] into the switch's queue.

pub mod archive;
pub mod certificates;
mod database;
pub mod devices;
pub mod files;
pub mod forks;
pub mod http;
pub mod journal;
pub mod nats;
pub mod prompts;
pub mod recorder;
pub mod records;
pub mod resolve;
pub mod spool;
pub mod store;
pub mod streams;

use std::sync::Arc;

use postern_facts::{
    Fact, Happened, LinkCommand, LinkDown, LinkUp, RecordingsTrimmed, SpoolTrimmed, StoreFailed, Subject,
};
use postern_locate::{Answer, Question};
use postern_router::{HttpFailure, HttpResponse, PromptKey};
use postern_switch::Input;
use postern_types::{RequestId, fork::ForkEvent, media::Prompt, recording::RecorderEvent};

/// Takes what drivers have to say to the switch, from any thread, without blocking.
pub type Report = Arc<dyn Fn(DriverInput) + Send + Sync>;

/// What a driver says.
#[derive(Debug)]
pub enum DriverInput {
    /// An application server answered, or did not.
    HttpDone {
        /// Which request.
        id: RequestId,
        /// The answer.
        result: Result<HttpResponse, HttpFailure>,
    },
    /// Audio is there, or cannot be had.
    PromptDone {
        /// Which.
        key: PromptKey,
        /// The samples, or why not, in words.
        result: Result<Arc<Prompt>, String>,
    },
    /// A recording is over.
    Recorder(RecorderEvent),
    /// A fork began or is over.
    Fork(ForkEvent),
    /// Old recordings were deleted.
    RecordingsTrimmed {
        /// How many.
        recordings: u64,
        /// Bytes of their files.
        bytes: u64,
    },
    /// What DNS says.
    Answered {
        /// To which question.
        question: Question,
        /// It.
        answer: Answer,
    },
    /// A signer's certificate was fetched, or not.
    Certificate {
        /// From where.
        url: Box<str>,
        /// PEM, or why not, in words.
        fetched: Result<Vec<u8>, String>,
    },
    /// A file cannot be written; it is tried again. Told once until it works again.
    StoreFailed {
        /// Which.
        file: String,
        /// The system's error.
        why: String,
    },
    /// The connection to the control plane stands.
    LinkUp {
        /// The server, without credentials.
        server: String,
        /// Events that wait in the spool.
        waiting: u64,
    },
    /// It is lost, or could not be made; told once until it stands again.
    LinkDown {
        /// The server, without credentials.
        server: String,
        /// Why.
        why: String,
    },
    /// A command of the control plane was carried out, or not.
    LinkCommanded {
        /// Its word.
        command: &'static str,
        /// What came of it.
        outcome: String,
    },
    /// Events left the spool before the control plane had them.
    SpoolTrimmed {
        /// First.
        from: u64,
        /// Last.
        to: u64,
    },
}

impl DriverInput {
    /// As the switch takes it: an answer, or a fact about the box.
    pub fn into_letter(self) -> Input<'static> {
        let fact: Fact = match self {
            Self::HttpDone { id, result } => return Input::Http(id, result),
            Self::PromptDone { key, result } => return Input::Prompt(key, result),
            Self::Recorder(event) => return Input::Recorder(event),
            Self::Fork(event) => return Input::Fork(event),
            Self::RecordingsTrimmed { recordings, bytes } => RecordingsTrimmed { recordings, bytes }.into(),
            Self::Answered { question, answer } => return Input::Answered(question, answer),
            Self::Certificate { url, fetched } => return Input::Certificate(url, fetched),
            Self::StoreFailed { file, why } => StoreFailed { file, why }.into(),
            Self::LinkUp { server, waiting } => LinkUp { server, waiting }.into(),
            Self::LinkDown { server, why } => LinkDown { server, why }.into(),
            Self::LinkCommanded { command, outcome } => LinkCommand { command: command.into(), outcome }.into(),
            Self::SpoolTrimmed { from, to } => SpoolTrimmed { from_seq: from, to_seq: to }.into(),
        };
        Input::Happened(Happened { subject: Subject::default(), fact })
    }
}

/// The drivers that the switch thread hands its outputs to.
pub struct Drivers {
    /// Facts for a person.
    pub journal: journal::Journal,
    /// Facts to be kept.
    pub spool: spool::Spool,
    /// Records to be kept.
    pub store: store::Store,
    /// Application servers.
    pub http: http::Http,
    /// Audio.
    pub prompts: prompts::Prompts,
    /// Records as files, where they are wanted.
    pub records: Option<records::RecordFiles>,
    /// Recordings.
    pub recorder: recorder::Recorder,
    /// Audio sent to servers.
    pub forks: forks::Forks,
    /// What is known of recordings.
    pub archive: archive::Archive,
    /// Registered devices.
    pub devices: devices::Devices,
    /// Certificates of those who sign calls.
    pub certificates: certificates::Certificates,
    /// Names.
    pub resolver: resolve::Resolver,
}

/// Makes aws-lc-rs the process's one provider of TLS cryptography. First thing in `main`: NATS and HTTP both look for it,
/// and a second one beside it would make rustls panic.
pub fn install_crypto() {
    // An error says that one is installed already, which is this one.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
}

#[cfg(test)]
mod test_folder;

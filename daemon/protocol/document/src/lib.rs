//! Instruction documents: XML to a checked program.
//!
//! [`Program::parse`] takes what an application server answered and gives either verbs whose every value is in range, or one error
//! with its code, line, column and words. An attribute that is not known is no error: it becomes a warning, so that documents
//! written for larger platforms run as far as this one goes. Nothing is fetched, expanded or executed here.

#![forbid(unsafe_code)]

mod program;
mod read;
mod tree;

pub mod fuzz;

pub use program::{
    CONFERENCE_NAME_MAX, ClientNoun, ConferenceCallback, ConferenceEvent, ConferenceNoun, ConferenceRecord, Dial,
    DialRecord, Gather, Noun, Number, PARTICIPANTS_MAX, Pause, Play, Program, Prompt, Record, RecordingCallback,
    Redirect, Reject, RejectReason, STREAM_NAME_MAX, STREAM_PARAMETER_BYTES_MAX, STREAM_PARAMETERS_MAX, SipNoun,
    StatusCallback, StreamNoun, Target, Verb, Wait,
};
pub use tree::{ATTRIBUTES_MAX, DEPTH_MAX, DOCUMENT_MAX, ELEMENTS_MAX};

use std::fmt;

/// Why a document was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DocumentError {
    /// 12100: not XML, or too large. 12200: a verb or value that cannot be.
    pub code: u32,
    /// Line, from 1.
    pub line: u32,
    /// Column in characters, from 1.
    pub column: u32,
    /// What is wrong there, in words.
    pub message: String,
}

/// Not well-formed, or beyond a limit.
pub const NOT_XML: u32 = 12100;
/// Well-formed, and not a document that we can run.
pub const NOT_VALID: u32 = 12200;

impl fmt::Display for DocumentError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, column {}: {}", self.line, self.column, self.message)
    }
}

impl std::error::Error for DocumentError {}

/// What an answer's `Content-Type` says that its body is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    /// A document.
    Document,
    /// Audio, to be played.
    Audio,
    /// Something that we cannot run.
    Other,
}

impl Content {
    /// From the header's value. None at all passes for a document: the parser will tell.
    pub fn of(content_type: &str) -> Self {
        let essence = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        match essence.as_str() {
            "" | "text/xml" | "application/xml" | "text/html" => Self::Document,
            audio if audio.starts_with("audio/") => Self::Audio,
            _ => Self::Other,
        }
    }
}

#[cfg(test)]
mod tests;

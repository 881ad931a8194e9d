//! What the control plane may ask, and how it is answered.

use std::fmt;

use postern_types::CallSid;
use serde::Deserialize;
use serde_json::{Value, json};

/// Longest payload of a command that is read.
const PAYLOAD_MAX: usize = 4096;

/// A command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    /// End a call, by any of its legs: `{"call": "CA…"}`.
    Hangup {
        /// Which.
        call: CallSid,
    },
    /// How is the appliance? The payload is not looked at.
    Status,
}

/// A command that is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadCommand {
    /// In words.
    pub why: String,
}

impl fmt::Display for BadCommand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.why)
    }
}

impl std::error::Error for BadCommand {}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct HangupBody {
    call: CallSid,
}

impl Command {
    /// Reads one: the word of its subject and its payload.
    pub fn parse(word: &str, payload: &[u8]) -> Result<Self, BadCommand> {
        if payload.len() > PAYLOAD_MAX {
            return Err(BadCommand { why: format!("longer than {PAYLOAD_MAX} bytes") });
        }
        match word {
            "hangup" => {
                let body: HangupBody =
                    serde_json::from_slice(payload).map_err(|error| BadCommand { why: error.to_string() })?;
                Ok(Self::Hangup { call: body.call })
            }
            "status" => Ok(Self::Status),
            _ => Err(BadCommand { why: "unknown command: want `hangup` or `status`".into() }),
        }
    }

    /// Its word, for the fact.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Hangup { .. } => "hangup",
            Self::Status => "status",
        }
    }
}

/// The answer to a command that was done: `{"ok":true,"result":…}`.
pub fn done(result: Value) -> String {
    json!({ "ok": true, "result": result }).to_string()
}

/// The answer to one that was not: `{"ok":false,"error":…}`.
pub fn refused(why: &str) -> String {
    json!({ "ok": false, "error": why }).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_read_and_nonsense_is_refused() {
        let call = CallSid(5);
        let payload = format!("{{\"call\":\"{call}\"}}");
        assert_eq!(Command::parse("hangup", payload.as_bytes()), Ok(Command::Hangup { call }));
        assert_eq!(Command::parse("status", b""), Ok(Command::Status));
        let bad: &[(&str, &[u8])] =
            &[("hangup", b""), ("hangup", b"{\"call\":\"CA1\"}"), ("hangup", b"\xff"), ("reboot", b"")];
        for (word, payload) in bad {
            assert!(Command::parse(word, payload).is_err(), "{word}");
        }
        assert!(Command::parse("status", &[b' '; PAYLOAD_MAX + 1]).is_err());
    }
}

//! An event as it leaves the switch's memory: its JSON, made once, with the part that is searched beside it.
//!
//! Spool, event stream, control plane and store all carry this one text, so that nobody serializes an event twice and
//! an event read back after a restart is the same as a fresh one.

use std::{borrow::Cow, fmt};

use postern_types::{AccountSid, CallSid, TrunkName, UnixMicros, UserName, id::EventSid};
use serde::Deserialize;

use crate::{Event, Subject};

/// What precedes the facts' fields in an event's JSON. Header values are strings with escaped quotes, so its first
/// occurrence is the member itself.
const DATA_MEMBER: &str = ",\"data\":";

/// An event and its JSON.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// Its number.
    pub seq: u64,
    /// Its stable id.
    pub id: EventSid,
    /// When.
    pub at: UnixMicros,
    /// What kind: `call.offered`.
    pub name: Cow<'static, str>,
    /// Whom it is about.
    pub subject: Subject,
    /// The whole, as [`Event`] serializes.
    pub json: Box<str>,
}

/// Bytes that are no event.
#[derive(Debug)]
pub struct BadWritten(String);

impl fmt::Display for BadWritten {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "not an event: {}", self.0)
    }
}

impl std::error::Error for BadWritten {}

impl Written {
    /// Serializes.
    pub fn of(event: &Event) -> Self {
        Self::by(event, &mut Vec::new())
    }

    /// The same by a buffer that is used for many: what is kept is then one piece of memory of its own size.
    pub fn by(event: &Event, buffer: &mut Vec<u8>) -> Self {
        buffer.clear();
        serde_json::to_writer(&mut *buffer, event).expect("an event has string keys only");
        Self {
            seq: event.seq,
            id: event.id,
            at: event.at,
            name: event.fact.meta().name.into(),
            subject: event.subject.clone(),
            json: std::str::from_utf8(buffer).expect("JSON is UTF-8").into(),
        }
    }

    /// Reads one back, of this release or an older one: fields of the data are not looked at.
    pub fn read(json: &[u8]) -> Result<Self, BadWritten> {
        let text = std::str::from_utf8(json).map_err(|error| BadWritten(error.to_string()))?;
        let header: Header = serde_json::from_str(text).map_err(|error| BadWritten(error.to_string()))?;
        let Header { seq, id, at, name, account, call, leg, trunk, user } = header;
        Ok(Self {
            seq,
            id,
            at,
            name: name.into(),
            subject: Subject { account, call, leg, trunk, user },
            json: text.into(),
        })
    }

    /// The JSON object of the fact's own fields.
    pub fn data(&self) -> &str {
        let start = self.json.find(DATA_MEMBER).map(|at| at + DATA_MEMBER.len());
        start.and_then(|start| self.json.get(start..self.json.len() - 1)).unwrap_or("{}")
    }
}

#[derive(Deserialize)]
struct Header {
    seq: u64,
    id: EventSid,
    at: UnixMicros,
    #[serde(rename = "type")]
    name: String,
    account: Option<AccountSid>,
    call: Option<CallSid>,
    leg: Option<CallSid>,
    trunk: Option<TrunkName>,
    user: Option<UserName>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{AppFailed, Fact, LegResumed};

    #[test]
    fn an_event_read_back_is_the_same_and_its_data_is_cut_out_whole() {
        let tricky = "\",\"data\":{\"x\":1}";
        let facts = [
            Fact::from(LegResumed {}),
            Fact::from(AppFailed { url: tricky.into(), code: 11200, why: "}".into(), then: "call ends".into() }),
        ];
        for fact in facts {
            let trunk = Some(TrunkName::new(tricky));
            let subject = Subject { call: Some(CallSid(3)), trunk, ..Subject::default() };
            let event = Event { seq: 9, id: EventSid(4), at: UnixMicros(5), subject, fact };
            let written = Written::of(&event);
            assert_eq!(Written::read(written.json.as_bytes()).unwrap(), written);
            let data: serde_json::Value = serde_json::from_str(written.data()).unwrap();
            assert_eq!(data, serde_json::to_value(&event).unwrap()["data"]);
        }
        assert!(Written::read(b"{\"seq\":1}").is_err());
    }
}

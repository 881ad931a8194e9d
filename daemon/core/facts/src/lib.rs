//! Everything that can happen, one documented struct each.
//!
//! A room returns a [`Happened`]; the switch gives it a number and a time (an [`Event`]). Journal, event stream,
//! spool, call records, metrics and the control plane all drink from this one stream, so they cannot disagree.
//! The [`catalog`] is the single source for docs/EVENTS.md and the journal catalog. The router tells all facts of
//! calls and legs, signaling those of strangers, trunks and registrations, the top floor those of the box.

#![forbid(unsafe_code)]

#[macro_use]
mod declare;
mod all;
pub mod docs;
mod record;
pub mod text;
mod written;

pub use all::*;
pub use record::{CallRecord, RecordingRecord};
pub use written::{BadWritten, Written};

use postern_types::{AccountSid, CallSid, TrunkName, UnixMicros, UserName, id::EventSid};
use serde::Serialize;

/// How much a fact matters, in syslog's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Only for whoever looks closely.
    Debug,
    /// Normal work.
    Info,
    /// Normal, and worth seeing.
    Notice,
    /// Something to look at.
    Warning,
    /// Something is broken.
    Error,
}

/// What a kind of fact is: the row that documents it.
#[derive(Debug)]
pub struct Meta {
    /// Name in events, metrics and documentation: `call.offered`.
    pub name: &'static str,
    /// The journal's MESSAGE_ID: 32 hexadecimal digits, never changed once released.
    pub message_id: &'static str,
    /// How much it matters.
    pub level: Level,
    /// What happened and what it means.
    pub doc: &'static str,
    /// What a field engineer should do, empty when nothing.
    pub advice: &'static str,
    /// Field name, type and meaning.
    pub fields: &'static [(&'static str, &'static str, &'static str)],
}

/// Whom a fact is about; every part may be absent.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Subject {
    /// The tenant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub account: Option<AccountSid>,
    /// The call: the sid of its first leg.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub call: Option<CallSid>,
    /// The leg, when it is about one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub leg: Option<CallSid>,
    /// The trunk.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trunk: Option<TrunkName>,
    /// The client user.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<UserName>,
}

/// A fact as a room returns it.
#[derive(Debug, Clone, PartialEq)]
pub struct Happened {
    /// Whom it is about.
    pub subject: Subject,
    /// What.
    pub fact: Fact,
}

/// A fact with its number and time. Serialized flat:
/// `{"seq","id","at","type","account"?,"call"?,"leg"?,"trunk"?,"user"?,"data":{…}}`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Event {
    /// 1, 2, 3, … without holes on one appliance, over restarts.
    pub seq: u64,
    /// Stable id: a repeat is recognised by it.
    pub id: EventSid,
    /// When, microseconds since 1970.
    pub at: UnixMicros,
    /// Whom it is about.
    #[serde(flatten)]
    pub subject: Subject,
    /// What: `type` and `data`.
    #[serde(flatten)]
    pub fact: Fact,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fact_has_its_own_name_and_message_id_and_says_what_it_means() {
        let mut names = std::collections::HashSet::new();
        let mut ids = std::collections::HashSet::new();
        for meta in catalog() {
            assert!(names.insert(meta.name), "{} twice", meta.name);
            assert!(ids.insert(meta.message_id), "{}: message id twice", meta.name);
            assert!(
                meta.message_id.len() == 32 && meta.message_id.bytes().all(|b| b.is_ascii_hexdigit()),
                "{}",
                meta.name
            );
            assert!(meta.doc.len() > 10, "{}: say what it means", meta.name);
            let must_advise = meta.level >= Level::Warning;
            assert!(!must_advise || !meta.advice.is_empty(), "{}: say what to do", meta.name);
            assert!(meta.fields.iter().all(|(_, _, doc)| !doc.is_empty()), "{}", meta.name);
        }
    }

    #[test]
    fn an_event_is_flat_json() {
        let fact = Fact::from(LinkDown { server: "nats://127.0.0.1:4222".into(), why: "refused".into() });
        let event = Event { seq: 7, id: EventSid(1), at: UnixMicros(5), subject: Subject::default(), fact };
        let json: serde_json::Value = serde_json::to_value(&event).unwrap();
        assert_eq!((json["seq"].as_u64(), json["type"].as_str()), (Some(7), Some("link.down")));
        assert_eq!(json["data"]["why"], "refused");
        assert_eq!(event.fact.meta().level, Level::Warning);
    }
}

//! Presence as the control plane should see it: the newest value of each user, whatever happened in between.

use std::collections::{BTreeMap, BTreeSet};

use postern_facts::Written;
use serde_json::Value;

use crate::{cloud_event::rfc3339, subject::Subjects};

/// Something to do in the key-value bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Put this value.
    Put {
        /// Where.
        key: String,
        /// JSON: `status`, `devices`, `calls`, `since`.
        value: String,
    },
    /// The user is no longer known here.
    Delete {
        /// Which.
        key: String,
    },
}

impl Change {
    /// The key that it is about.
    pub fn key(&self) -> &str {
        match self {
            Self::Put { key, .. } | Self::Delete { key } => key,
        }
    }
}

/// The newest value of each key, and which of them the bucket does not have yet. As large as there are users.
#[derive(Debug, Clone, Default)]
pub struct Board {
    values: BTreeMap<String, String>,
    unsaid: BTreeSet<String>,
}

impl Board {
    /// Takes note of an event; only `presence.changed` matters.
    pub fn record(&mut self, subjects: &Subjects, event: &Written) {
        let Some(user) = event.subject.user.as_ref().filter(|_| &*event.name == "presence.changed") else { return };
        let Ok(Value::Object(mut value)) = serde_json::from_str(event.data()) else { return };
        value.insert("since".into(), rfc3339(event.at).into());
        let key = subjects.presence_key(user);
        self.values.insert(key.clone(), Value::Object(value).to_string());
        self.unsaid.insert(key);
    }

    /// The connection stands and the bucket has these keys: all is said again, and those of an earlier life are deleted.
    pub fn handle_connected(&mut self, subjects: &Subjects, existing: impl IntoIterator<Item = String>) {
        self.unsaid.extend(self.values.keys().cloned());
        let stale = existing.into_iter().filter(|key| subjects.owns_key(key) && !self.values.contains_key(key));
        self.unsaid.extend(stale);
    }

    /// What to do next; it counts as done unless given back to [`Board::handle_failed`].
    pub fn next_change(&mut self) -> Option<Change> {
        let key = self.unsaid.pop_first()?;
        Some(match self.values.get(&key) {
            Some(value) => Change::Put { key, value: value.clone() },
            None => Change::Delete { key },
        })
    }

    /// A change was not done: its key's newest value is tried again.
    pub fn handle_failed(&mut self, change: Change) {
        self.unsaid.insert(change.key().into());
    }
}

#[cfg(test)]
mod tests {
    use postern_facts::{Event, PresenceChanged, Subject};
    use postern_types::{UnixMicros, UserName, id::EventSid};

    use super::*;

    fn presence(user: &str, status: &str) -> Written {
        let fact = PresenceChanged { status: status.into(), devices: 1, calls: 0 }.into();
        let subject = Subject { user: Some(UserName::new(user)), ..Subject::default() };
        Written::of(&Event { seq: 1, id: EventSid(1), at: UnixMicros(0), subject, fact })
    }

    #[test]
    fn only_the_newest_value_is_said_and_all_again_after_a_reconnect() {
        let (mut board, subjects) = (Board::default(), Subjects::new("edge"));
        board.record(&subjects, &presence("ann", "available"));
        board.record(&subjects, &presence("ann", "busy"));
        let change = board.next_change().unwrap();
        let Change::Put { key, value } = &change else { panic!("{change:?}") };
        let value: Value = serde_json::from_str(value).unwrap();
        assert_eq!((&**key, &value["status"]), ("edge.ann", &"busy".into()));
        assert_eq!(value["since"], "1970-01-01T00:00:00.000000Z");
        assert_eq!(board.next_change(), None);
        board.handle_failed(change.clone());
        assert_eq!(board.next_change(), Some(change.clone()));
        board.handle_connected(&subjects, ["edge.ann".into(), "edge.old".into(), "other.bob".into()]);
        assert_eq!(board.next_change(), Some(change));
        assert_eq!(board.next_change(), Some(Change::Delete { key: "edge.old".into() }));
        assert_eq!(board.next_change(), None);
    }
}

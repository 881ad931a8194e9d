//! Names on the wire.

use postern_types::UserName;

/// What the stream of a fleet takes: every appliance's events.
pub const STREAM_SUBJECTS: &str = "postern.*.events.>";

/// The subjects of one appliance. Its name has been checked by the configuration: letters, digits, `_` and `-`.
#[derive(Debug, Clone)]
pub struct Subjects {
    appliance: String,
}

impl Subjects {
    /// For this appliance.
    pub fn new(appliance: &str) -> Self {
        Self { appliance: appliance.into() }
    }

    /// Its name.
    pub fn appliance(&self) -> &str {
        &self.appliance
    }

    /// Where an event of this type goes.
    pub fn event(&self, name: &str) -> String {
        format!("postern.{}.events.{name}", self.appliance)
    }

    /// Where commands come from: one wildcard subscription.
    pub fn commands(&self) -> String {
        format!("postern.{}.command.*", self.appliance)
    }

    /// The command's word of a subject that [`Subjects::commands`] matched.
    pub fn command_of<'a>(&self, subject: &'a str) -> Option<&'a str> {
        let rest = subject.strip_prefix("postern.")?.strip_prefix(&*self.appliance)?;
        rest.strip_prefix(".command.").filter(|word| !word.is_empty() && !word.contains('.'))
    }

    /// The key under which a user's presence stands: `<appliance>.<user>`. NATS allows few characters in a key; the
    /// bytes of others are written as `=` and two hexadecimal digits.
    pub fn presence_key(&self, user: &UserName) -> String {
        let mut key = format!("{}.", self.appliance);
        for byte in user.as_str().bytes() {
            if byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_' {
                key.push(byte.into());
            } else {
                key.push_str(&format!("={byte:02X}"));
            }
        }
        key
    }

    /// Whether a key of the presence bucket is this appliance's.
    pub fn owns_key(&self, key: &str) -> bool {
        key.strip_prefix(&*self.appliance).is_some_and(|rest| rest.starts_with('.'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subjects_and_keys_are_those_that_nats_allows() {
        let subjects = Subjects::new("edge-1");
        assert_eq!(subjects.event("call.offered"), "postern.edge-1.events.call.offered");
        assert_eq!(subjects.command_of("postern.edge-1.command.hangup"), Some("hangup"));
        for other in ["postern.edge-11.command.x", "postern.edge-1.command.", "postern.edge-1.command.a.b", "x"] {
            assert_eq!(subjects.command_of(other), None, "{other}");
        }
        assert_eq!(subjects.presence_key(&UserName::new("ann.b=ü")), "edge-1.ann=2Eb=3D=C3=BC");
        assert!(subjects.owns_key("edge-1.ann") && !subjects.owns_key("edge-11.ann"));
    }
}

//! Which events a reader wants.

use std::fmt;

use postern_facts::Written;
use postern_types::{AccountSid, CallSid, TrunkName, UserName};

/// Type patterns in one filter at most: each is compared with each event.
pub const TYPES_MAX: usize = 32;

/// One name, or a family of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TypePattern {
    /// `call.offered`.
    Exact(Box<str>),
    /// `call.*`; the prefix with its dot. `*` alone is the empty prefix.
    Prefix(Box<str>),
}

impl TypePattern {
    fn matches(&self, name: &str) -> bool {
        match self {
            Self::Exact(exact) => **exact == *name,
            Self::Prefix(prefix) => name.starts_with(&**prefix),
        }
    }
}

/// Conditions that must all hold; an absent one always does.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// Any of these types; empty: all.
    pub types: Vec<TypePattern>,
    /// This call: by its first leg, or by any leg that the event is about.
    pub call: Option<CallSid>,
    /// This leg.
    pub leg: Option<CallSid>,
    /// This tenant.
    pub account: Option<AccountSid>,
    /// This trunk.
    pub trunk: Option<TrunkName>,
    /// This user.
    pub user: Option<UserName>,
}

/// A filter that cannot be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadFilter {
    /// The parameter.
    pub name: String,
    /// What is wrong with it.
    pub why: String,
}

impl fmt::Display for BadFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.name, self.why)
    }
}

impl std::error::Error for BadFilter {}

impl Filter {
    /// Takes one parameter of a query: `type` (names and `prefix.*`, separated by commas, may be repeated), `call`,
    /// `leg`, `account`, `trunk`, `user`. False for any other name.
    pub fn set(&mut self, name: &str, value: &str) -> Result<bool, BadFilter> {
        let bad = |why: String| BadFilter { name: name.into(), why };
        match name {
            "type" => {
                for pattern in value.split(',').map(str::trim).filter(|p| !p.is_empty()) {
                    if self.types.len() >= TYPES_MAX {
                        return Err(bad(format!("at most {TYPES_MAX} types")));
                    }
                    self.types.push(pattern_of(pattern).map_err(bad)?);
                }
            }
            "call" => self.call = Some(value.parse().map_err(|e| bad(format!("{e}")))?),
            "leg" => self.leg = Some(value.parse().map_err(|e| bad(format!("{e}")))?),
            "account" => self.account = Some(value.parse().map_err(|e| bad(format!("{e}")))?),
            "trunk" => self.trunk = Some(TrunkName::new(value)),
            "user" => self.user = Some(UserName::new(value)),
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Whether the reader wants this event.
    pub fn matches(&self, event: &Written) -> bool {
        let subject = &event.subject;
        (self.types.is_empty() || self.types.iter().any(|p| p.matches(&event.name)))
            && self.call.is_none_or(|call| subject.call == Some(call) || subject.leg == Some(call))
            && self.leg.is_none_or(|leg| subject.leg == Some(leg))
            && self.account.is_none_or(|account| subject.account == Some(account))
            && (self.trunk.is_none() || self.trunk == subject.trunk)
            && (self.user.is_none() || self.user == subject.user)
    }
}

fn pattern_of(text: &str) -> Result<TypePattern, String> {
    let (stem, is_prefix) = match text.strip_suffix('*') {
        Some(stem) => (stem, true),
        None => (text, false),
    };
    let plausible = stem.bytes().all(|b| b.is_ascii_lowercase() || b == b'.' || b == b'_');
    if !plausible || (is_prefix && !stem.is_empty() && !stem.ends_with('.')) {
        return Err(format!("`{text}` is no type: want a name as `call.offered`, or a family as `call.*`"));
    }
    Ok(if is_prefix { TypePattern::Prefix(stem.into()) } else { TypePattern::Exact(stem.into()) })
}

#[cfg(test)]
mod tests {
    use postern_facts::Subject;
    use postern_types::{UnixMicros, id::EventSid};

    use super::*;

    #[test]
    fn filters_by_type_family_and_subject() {
        let subject = Subject {
            call: Some(CallSid(1)),
            leg: Some(CallSid(2)),
            trunk: Some(TrunkName::new("acme")),
            ..Subject::default()
        };
        let event = Written {
            seq: 1,
            id: EventSid(1),
            at: UnixMicros(0),
            name: "leg.ended".into(),
            subject,
            json: "{}".into(),
        };
        let (one, two) = (CallSid(1).to_string(), CallSid(2).to_string());
        let table: &[(&[(&str, &str)], bool)] = &[
            (&[], true),
            (&[("type", "*")], true),
            (&[("type", "leg.*")], true),
            (&[("type", "call.*, leg.ended")], true),
            (&[("type", "call.*"), ("type", "leg.ended")], true),
            (&[("type", "leg.end")], false),
            (&[("type", "call.*")], false),
            (&[("call", &one)], true),
            (&[("call", &two)], true),
            (&[("leg", &one)], false),
            (&[("leg", &two), ("trunk", "acme")], true),
            (&[("leg", &two), ("trunk", "other")], false),
            (&[("user", "ann")], false),
            (&[("account", "AC00000000000000000000000000000001")], false),
        ];
        for (parameters, wanted) in table {
            let mut filter = Filter::default();
            for (name, value) in *parameters {
                assert_eq!(filter.set(name, value), Ok(true));
            }
            assert_eq!(filter.matches(&event), *wanted, "{parameters:?}");
        }
    }

    #[test]
    fn nonsense_is_refused_with_its_name() {
        for (name, value) in [("call", "CA1"), ("type", "Call*"), ("type", "ca*"), ("account", "x")] {
            assert_eq!(Filter::default().set(name, value).unwrap_err().name, name);
        }
        assert_eq!(Filter::default().set("limit", "3"), Ok(false));
        let many = "call.offered,".repeat(TYPES_MAX + 1);
        assert!(Filter::default().set("type", &many).is_err());
    }
}

//! Numbers: what a dialed number maps to.

use std::time::Duration;

use postern_types::{AppName, GroupName, TableName, TrunkName, UserName};
use serde::{Serialize, Serializer, ser::SerializeMap};

use crate::{
    reader::{Fields, Reader},
    write,
};

/// What a configured number does.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct NumberRoute {
    /// Where its calls go.
    #[serde(flatten)]
    pub to: Destination,
    /// How long it rings at a user or trunk before no-answer.
    #[serde(serialize_with = "write::duration")]
    pub timeout: Duration,
}

/// Where a call goes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Destination {
    /// All devices of a user.
    User(UserName),
    /// Out over a trunk, the dialed number kept.
    Trunk(TrunkName),
    /// Out over a trunk of this group, the dialed number kept.
    Group(GroupName),
    /// Out over a carrier that this table has for the number, the cheapest first. Of routes alone.
    Table(TableName),
    /// The program that an application server returns.
    Application(AppName),
}

impl NumberRoute {
    pub(crate) fn read(r: &mut Reader<'_>, number: &str, f: &Fields<'_>) -> Option<Self> {
        let timeout = f.duration(r, "timeout");
        let mut found: Vec<(&'static str, Option<String>)> = Vec::new();
        for kind in ["user", "trunk", "group", "application"] {
            if f.has(kind) {
                let name = f.reference(r, kind);
                if let Some((first, _)) = found.first() {
                    let first_span = f.span_of(first);
                    r.error(f.span_of(kind), format!("`{number}` maps to a second destination"))
                        .hint("keep one of `user`, `trunk`, `group` and `application`")
                        .also(first_span, "first");
                }
                found.push((kind, name));
            }
        }
        if found.is_empty() {
            r.error(f.span, format!("`{number}` maps to nothing"))
                .hint("write one of `user`, `trunk`, `group` and `application`");
        }
        let (kind, name) = found.into_iter().next()?;
        Some(Self { to: Destination::new(kind, &name?), timeout: timeout? })
    }
}

impl Destination {
    /// From a key of the table's targets.
    pub(crate) fn new(kind: &str, name: &str) -> Self {
        match kind {
            "user" => Self::User(UserName::new(name)),
            "trunk" => Self::Trunk(TrunkName::new(name)),
            "group" => Self::Group(GroupName::new(name)),
            "table" => Self::Table(TableName::new(name)),
            _ => Self::Application(AppName::new(name)),
        }
    }
}

/// As it is written: `trunk: acme`.
impl Serialize for Destination {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let (kind, name) = match self {
            Self::User(name) => ("user", name.as_str()),
            Self::Trunk(name) => ("trunk", name.as_str()),
            Self::Group(name) => ("group", name.as_str()),
            Self::Table(name) => ("table", name.as_str()),
            Self::Application(name) => ("application", name.as_str()),
        };
        let mut map = to.serialize_map(Some(1))?;
        map.serialize_entry(kind, name)?;
        map.end()
    }
}

//! Routes: rules for dialed strings that are no configured number.

use std::time::Duration;

use postern_types::{ScheduleName, TrunkName};
use serde::{Serialize, Serializer, ser::SerializeMap};

use crate::{
    check::Reach,
    node::{Node, Value},
    number::Destination,
    reader::{Fields, Reader},
    table::{self, Kind},
    value, write,
};

/// A rule for dialed strings that are no configured number.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Route {
    /// Shown by `explain`.
    pub name: String,
    /// Who may use it.
    pub from: RouteFrom,
    /// The dialed string must start with this.
    pub prefix: String,
    /// When it may be used; none: always.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub schedule: Option<ScheduleName>,
    /// Characters taken off its front.
    pub strip: usize,
    /// Put in front afterwards.
    pub prepend: String,
    /// Where to.
    pub to: Destination,
    /// How long it rings before no-answer.
    #[serde(serialize_with = "write::duration")]
    pub timeout: Duration,
}

/// Whose calls a route takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RouteFrom {
    /// Client users, and calls made by documents and REST.
    Users,
    /// One trunk.
    Trunk(TrunkName),
    /// Everybody who is known.
    Any,
}

impl Route {
    pub(crate) fn read(r: &mut Reader<'_>, f: &Fields<'_>) -> Option<Self> {
        let name = f.name(r, "name");
        if let Some(name) = &name {
            r.claims.routes.push((name.clone(), f.span_of("name")));
        }
        let from = match f.node(r, "from") {
            None => Some(RouteFrom::Users),
            Some(node) => RouteFrom::read(r, node),
        };
        let (prefix, prepend) = (f.dialed(r, "prefix"), f.dialed(r, "prepend"));
        let (strip, timeout) = (f.integer(r, "strip"), f.duration(r, "timeout"));
        let Kind::Target(kinds) = table::row("routes.*", "to").kind else {
            unreachable!("`to` is a target in the table")
        };
        let to = f.node(r, "to").and_then(|node| r.target(node, kinds));
        let (schedule, scheduled) = (f.reference(r, "schedule"), f.has("schedule"));
        // A table may have no row for a number, and a schedule is closed at times: others are reached then.
        let takes_all = !scheduled && to.as_ref().is_some_and(|(kind, _)| *kind != "table");
        if let (Some(from), Some(prefix)) = (&from, &prefix) {
            r.claims.reach.push(Reach { from: from.clone(), prefix: prefix.clone(), takes_all, span: f.span });
        }
        let (kind, target) = to?;
        if scheduled && schedule.is_none() {
            return None;
        }
        Some(Self {
            name: name?,
            from: from?,
            prefix: prefix?,
            schedule: schedule.map(|name| ScheduleName::new(&name)),
            strip: strip? as usize,
            prepend: prepend?,
            to: Destination::new(kind, &target),
            timeout: timeout?,
        })
    }
}

impl RouteFrom {
    fn read(r: &mut Reader<'_>, node: &Node) -> Option<Self> {
        match &node.value {
            Value::Scalar { text, .. } => {
                let word = r.checked(node.span, value::choice(text, &["users", "any"]))?;
                Some(if word == "any" { Self::Any } else { Self::Users })
            }
            _ => r.target(node, &[("trunk", "trunks")]).map(|(_, name)| Self::Trunk(TrunkName::new(&name))),
        }
    }
}

/// As it is written: `users`, `any` or `trunk: acme`.
impl Serialize for RouteFrom {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Users => to.serialize_str("users"),
            Self::Any => to.serialize_str("any"),
            Self::Trunk(name) => {
                let mut map = to.serialize_map(Some(1))?;
                map.serialize_entry("trunk", name)?;
                map.end()
            }
        }
    }
}

//! The routing table: a dialed string to a destination. One pass, first match, no row leads to another row: it cannot loop.

use postern_config::{Config, Destination, Route, RouteFrom};
use postern_types::{AppName, E164, GroupName, TrunkName, UserName};
use std::time::Duration;

/// How long a user rings who was dialed by name.
pub const USER_TIMEOUT: Duration = Duration::from_secs(30);
/// Characters of a dialed string at most; a longer one is nobody's number.
pub const DIALED_MAX: usize = 128;

/// Who dials.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Caller<'a> {
    /// A trunk.
    Trunk(&'a TrunkName),
    /// A client user, a document or the REST API.
    User,
}

/// What a dialed string means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// `number`, `user` or `route`.
    pub table: &'static str,
    /// The row.
    pub entry: String,
    /// Why this row, in words.
    pub why: String,
    /// Where to.
    pub to: Resolved,
    /// How long it may ring.
    pub timeout: Duration,
}

/// Where a call goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resolved {
    /// All devices of a user.
    User(UserName),
    /// Out over a trunk.
    Trunk(TrunkName, Box<str>),
    /// Out over one of these, by priority and weight.
    Group(GroupName, Box<str>),
    /// A program.
    Application(AppName),
}

impl std::fmt::Display for Resolved {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::User(user) => write!(f, "user {user}"),
            Self::Trunk(trunk, _) => write!(f, "trunk {trunk}"),
            Self::Group(group, _) => write!(f, "group {group}"),
            Self::Application(app) => write!(f, "application {app}"),
        }
    }
}

/// Looks a dialed string up: numbers, then users (not for trunks), then the routes in order.
pub fn look_up(config: &Config, caller: Caller<'_>, dialed: &str) -> Result<Decision, String> {
    if dialed.is_empty() || dialed.len() > DIALED_MAX {
        return Err(format!("want 1 to {DIALED_MAX} characters"));
    }
    if let Ok(number) = dialed.parse::<E164>()
        && let Some(row) = config.numbers.get(&number)
    {
        return Ok(Decision {
            table: "number",
            entry: number.to_string(),
            why: "a configured number".into(),
            to: resolve(&row.to, dialed),
            timeout: row.timeout,
        });
    }
    if caller == Caller::User
        && let Some((user, _)) = config.users.get_key_value(dialed)
    {
        return Ok(Decision {
            table: "user",
            entry: user.to_string(),
            why: "a user dialed by name".into(),
            to: Resolved::User(user.clone()),
            timeout: USER_TIMEOUT,
        });
    }
    let Some(route) = config.routes.iter().find(|route| takes(route, caller, dialed)) else {
        return Err(format!("no number, user or route for it among {} routes", config.routes.len()));
    };
    let kept: String = dialed.chars().skip(route.strip).collect();
    let number = format!("{}{kept}", route.prepend);
    let why = match (route.strip, route.prepend.as_str()) {
        (0, "") => format!("prefix {:?}", route.prefix),
        (strip, prepend) => format!("prefix {:?}, {strip} characters off, {prepend:?} in front", route.prefix),
    };
    let to = resolve(&route.to, &number);
    Ok(Decision { table: "route", entry: route.name.clone(), why, to, timeout: route.timeout })
}

fn takes(route: &Route, caller: Caller<'_>, dialed: &str) -> bool {
    let may = match (&route.from, caller) {
        (RouteFrom::Any, _) | (RouteFrom::Users, Caller::User) => true,
        (RouteFrom::Trunk(wanted), Caller::Trunk(trunk)) => wanted == trunk,
        (RouteFrom::Users, Caller::Trunk(_)) | (RouteFrom::Trunk(_), Caller::User) => false,
    };
    may && dialed.starts_with(&route.prefix)
}

fn resolve(to: &Destination, number: &str) -> Resolved {
    match to {
        Destination::User(user) => Resolved::User(user.clone()),
        Destination::Trunk(trunk) => Resolved::Trunk(trunk.clone(), number.into()),
        Destination::Group(group) => Resolved::Group(group.clone(), number.into()),
        Destination::Application(app) => Resolved::Application(app.clone()),
    }
}

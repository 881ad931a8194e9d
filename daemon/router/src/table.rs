//! The routing table: a dialed string to a destination. One pass, first match, no row leads to another row: it cannot loop.
//!
//! Routes and rows of prefix tables hold within their schedules. What a schedule has closed is passed over, but for an emergency number
//! that would then go nowhere: no clock of ours keeps it from being tried.

use postern_config::{Config, Cost, Destination, Found, Route, RouteFrom, TableRow};
use postern_types::{AppName, E164, GroupName, ScheduleName, TableName, TrunkName, UnixMicros, UserName};
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

/// What is asked.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// Who dials.
    pub caller: Caller<'a>,
    /// What.
    pub dialed: &'a str,
    /// When, for schedules.
    pub at: UnixMicros,
    /// Whether it is an emergency call.
    pub emergency: bool,
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
    /// Out over what this table has for the number: trunks and groups, the least cost first. Never empty.
    Table(TableName, Vec<Row>, Box<str>),
    /// A program.
    Application(AppName),
}

/// Who carries a number, and at what cost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// A trunk or a group.
    pub to: Destination,
    pub cost: Cost,
}

impl std::fmt::Display for Resolved {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::User(user) => write!(f, "user {user}"),
            Self::Trunk(trunk, _) => write!(f, "trunk {trunk}"),
            Self::Group(group, _) => write!(f, "group {group}"),
            Self::Table(table, ..) => write!(f, "table {table}"),
            Self::Application(app) => write!(f, "application {app}"),
        }
    }
}

/// Looks a dialed string up: numbers, then users (not for trunks), then the routes in order.
pub fn look_up(config: &Config, asked: Asked<'_>) -> Result<Decision, String> {
    let Asked { caller, dialed, .. } = asked;
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
    let mut passed = Passed::default();
    let found = by_routes(config, asked, Some(asked.at), &mut passed);
    if let Some(decision) = found {
        return Ok(decision);
    }
    if asked.emergency
        && let Some(decision) = by_routes(config, asked, None, &mut Passed::default())
    {
        let why = format!("{}; no schedule holds an emergency call that would go nowhere", decision.why);
        return Ok(Decision { why, ..decision });
    }
    Err(format!("no number, user or route for it among {} routes{}", config.routes.len(), passed.words()))
}

/// What would have matched, but did not.
#[derive(Default)]
struct Passed {
    closed: Vec<String>,
    rowless: Vec<String>,
}

impl Passed {
    /// Behind a reason; nothing when nothing was passed over.
    fn words(&self) -> String {
        let part = |what: &str, of: &[String]| match of {
            [] => String::new(),
            of => format!("; {what}: {}", of.join(", ")),
        };
        part("closed now", &self.closed) + &part("no row for it", &self.rowless)
    }
}

/// The first route that takes it. `at`: none heeds no schedule.
fn by_routes(config: &Config, asked: Asked<'_>, at: Option<UnixMicros>, passed: &mut Passed) -> Option<Decision> {
    let is_open = |schedule: Option<&ScheduleName>| match (schedule, at) {
        (Some(name), Some(at)) => config.schedules.get(name).is_none_or(|schedule| schedule.is_open(at)),
        _ => true,
    };
    for route in config.routes.iter().filter(|route| takes(route, asked.caller, asked.dialed)) {
        if !is_open(route.schedule.as_ref()) {
            passed.closed.push(format!("route {}", route.name));
            continue;
        }
        let kept: String = asked.dialed.chars().skip(route.strip).collect();
        let number = format!("{}{kept}", route.prepend);
        let mut why = match (route.strip, route.prepend.as_str()) {
            (0, "") => format!("prefix {:?}", route.prefix),
            (strip, prepend) => format!("prefix {:?}, {strip} characters off, {prepend:?} in front", route.prefix),
        };
        if let Some(schedule) = &route.schedule {
            why = format!("{why}, within {schedule}");
        }
        let to = match &route.to {
            Destination::Table(name) => {
                let rows = config.tables.get(name).and_then(|table| table.rows.longest(&number));
                let Some((found, rows)) = rows.and_then(|longest| open_rows(longest, is_open)) else {
                    passed.rowless.push(format!("table {name} (route {})", route.name));
                    continue;
                };
                why = format!("{why}; {name} has {}: {}", found.prefix(), costs(&rows));
                let ways = rows.iter().map(|row| Row { to: row.to.clone(), cost: row.cost }).collect();
                Resolved::Table(name.clone(), ways, number.into())
            }
            to => resolve(to, &number),
        };
        why += &passed.words();
        return Some(Decision { table: "route", entry: route.name.clone(), why, to, timeout: route.timeout });
    }
    None
}

/// The rows that hold now of the longest prefix that has such.
fn open_rows<'t>(
    longest: Found<'t>,
    is_open: impl Fn(Option<&ScheduleName>) -> bool,
) -> Option<(Found<'t>, Vec<TableRow<'t>>)> {
    std::iter::successors(Some(longest), |found| found.shorter()).find_map(|found| {
        let rows: Vec<_> = found.rows().filter(|row| is_open(row.schedule)).collect();
        (!rows.is_empty()).then_some((found, rows))
    })
}

/// `trunk cheap 0.01, trunk dear 0.02`.
fn costs(rows: &[TableRow<'_>]) -> String {
    /// Rows that are named at most: a reason is a line.
    const NAMED_MAX: usize = 4;
    let one = |row: &TableRow<'_>| match row.to {
        Destination::Group(group) => format!("group {group} {}", row.cost),
        Destination::Trunk(trunk) => format!("trunk {trunk} {}", row.cost),
        // A table's rows lead to nothing else.
        Destination::User(_) | Destination::Table(_) | Destination::Application(_) => row.cost.to_string(),
    };
    let mut words: Vec<String> = rows.iter().take(NAMED_MAX).map(one).collect();
    if rows.len() > NAMED_MAX {
        words.push(format!("{} more", rows.len() - NAMED_MAX));
    }
    words.join(", ")
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
        // Only routes lead to tables, and they look into them first.
        Destination::Table(table) => Resolved::Table(table.clone(), Vec::new(), number.into()),
    }
}

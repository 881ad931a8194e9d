//! What would become of a number, without a call: `postern route`.

use postern_config::{Config, Destination, HeaderRules, HeaderSide};
use postern_types::{
    GroupName, Now, RealmName, TrunkName, UnixMicros, UserName,
    leg::{CallerIdentity, Party, Target},
};
use serde::{Deserialize, Serialize};

use crate::{
    Router,
    limits::{Bound, Passing},
    negotiate, numbers,
    table::{self, Asked, Caller, Resolved},
};

/// Whose call is tried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TrialFrom {
    /// A trunk's.
    Trunk(TrunkName),
    /// A user's, whose devices register in any realm that takes registrations.
    User,
}

/// What is tried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrialOf {
    /// Whose call.
    pub from: TrialFrom,
    /// What is dialed.
    pub dialed: String,
    /// Who calls; may be empty.
    pub caller: String,
    /// When, for schedules; none: now.
    pub at: Option<UnixMicros>,
}

/// What would become of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trial {
    /// `trunk NAME` or `users`.
    pub from: String,
    /// As it was dialed.
    pub dialed: String,
    /// As it is looked up.
    pub called: String,
    /// The caller, as it is shown further on.
    pub caller: String,
    /// What was done to both on the way in.
    pub steps: Vec<String>,
    /// The header rules for its INVITE on the way in: `NAME: HEADER`.
    #[serde(default)]
    pub headers: Vec<String>,
    /// Whether it is an emergency call, which no limit holds.
    pub emergency: bool,
    /// `number`, `user` or `route`; empty when nothing matched.
    pub table: String,
    /// The row.
    pub entry: String,
    /// Why this row, or why none.
    pub why: String,
    /// `trunk NAME`, `group NAME`, `user NAME`, `application NAME`, or `refused`.
    pub to: String,
    /// The trunks by which it could leave, in the order of their cost or priority.
    pub ways: Vec<TrialWay>,
    /// The schedules at that moment.
    #[serde(default)]
    pub schedules: Vec<TrialSchedule>,
}

/// A schedule at the moment of the trial.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrialSchedule {
    /// Its name.
    pub name: String,
    /// What its clock says: `Thu 2026-12-24 20:00 Europe/Berlin`.
    pub reads: String,
    /// Whether it is open.
    pub open: bool,
}

/// One trunk by which it could leave.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrialWay {
    /// Its name.
    pub trunk: String,
    /// As in its group; 0 and 1 without one.
    pub priority: u16,
    /// See above.
    pub weight: u16,
    /// Of its row in a prefix table; empty without one.
    #[serde(default)]
    pub cost: String,
    /// The number that is sent.
    pub called: String,
    /// The caller that is sent.
    pub caller: String,
    /// What was done to both on the way out.
    pub steps: Vec<String>,
    /// The header rules for its INVITE on the way out.
    #[serde(default)]
    pub headers: Vec<String>,
    /// `up`, `down` (it is tried last) or `full`.
    pub state: String,
}

impl Router {
    /// What would become of a number that is dialed. An error: there is no such trunk.
    pub fn try_number(&self, now: Now, of: &TrialOf) -> Result<Trial, String> {
        let cx = self.context();
        let state = |trunk: &TrunkName| match () {
            () if cx.down.contains(trunk) => "down",
            () if cx.limits.room(&cx.config, now, (trunk, Bound::Out), Passing::Call).is_err() => "full",
            () => "up",
        };
        try_number(&cx.config, of, of.at.unwrap_or(now.wall), &state)
    }
}

/// The same by any configuration. `state` says how a trunk is: `up`, `down` or `full`.
pub fn try_number(
    config: &Config,
    of: &TrialOf,
    at: UnixMicros,
    state: &dyn Fn(&TrunkName) -> &'static str,
) -> Result<Trial, String> {
    let (dialed, caller) = (of.dialed.as_str(), of.caller.as_str());
    let (party, realm, told) = match &of.from {
        TrialFrom::Trunk(trunk) => {
            let known = config.trunks.get(trunk).ok_or_else(|| format!("there is no trunk {trunk}"))?;
            (Party::Trunk { trunk: trunk.clone() }, known.realm.clone(), format!("trunk {trunk}"))
        }
        TrialFrom::User => {
            let realm = config.realms.iter().find(|(_, realm)| realm.registrations).map(|(name, _)| name.clone());
            let user = UserName::new(caller);
            (Party::User { user }, realm.unwrap_or_else(|| RealmName::new("")), "users".to_owned())
        }
    };
    let mut trial = Trial { from: told, dialed: dialed.to_owned(), caller: caller.to_owned(), ..Trial::default() };
    let trunk = match &party {
        Party::Trunk { trunk } => Some(trunk),
        Party::User { .. } | Party::Uri { .. } => None,
    };
    trial.headers = trunk.map(|trunk| header_rules(config, trunk, HeaderSide::ReceivedRequest)).unwrap_or_default();
    trial.emergency = config.is_emergency(&realm, trunk, dialed);
    let mut called: Box<str> = dialed.into();
    let mut shown: Box<str> = caller.into();
    let is_trunk = matches!(party, Party::Trunk { .. });
    trial.steps = numbers::try_received(config, &party, &realm, &mut called, is_trunk.then_some(&mut shown));
    (trial.called, trial.caller) = (called.to_string(), shown.to_string());
    let schedules = config.schedules.iter().map(|(name, schedule)| TrialSchedule {
        name: name.to_string(),
        reads: schedule.reading(at),
        open: schedule.is_open(at),
    });
    trial.schedules = schedules.collect();
    let caller = match &of.from {
        TrialFrom::Trunk(trunk) => Caller::Trunk(trunk),
        TrialFrom::User => Caller::User,
    };
    match table::look_up(config, Asked { caller, dialed: &called, at, emergency: trial.emergency }) {
        Err(why) => (trial.to, trial.why) = ("refused".into(), why),
        Ok(decision) => {
            (trial.table, trial.entry, trial.why) = (decision.table.into(), decision.entry, decision.why);
            trial.to = decision.to.to_string();
            trial.ways = ways(config, &decision.to, &shown);
            trial.ways.iter_mut().for_each(|way| way.state = state(&TrunkName::new(&way.trunk)).into());
        }
    }
    Ok(trial)
}

fn ways(config: &Config, to: &Resolved, caller: &str) -> Vec<TrialWay> {
    let of_group = |group: &GroupName, number: &str| {
        let members = config.groups.get(group).map_or(&[][..], |group| &group.trunks);
        let mut members: Vec<_> = members.iter().collect();
        members.sort_by_key(|member| (member.priority, std::cmp::Reverse(member.weight)));
        let of = |member: &&postern_config::Member| {
            way(config, &member.trunk, (member.priority, member.weight), number, caller)
        };
        members.iter().map(of).collect::<Vec<_>>()
    };
    match to {
        Resolved::Trunk(trunk, number) => vec![way(config, trunk, (0, 1), number, caller)],
        Resolved::Group(group, number) => of_group(group, number),
        Resolved::Table(_, rows, number) => {
            let mut ways: Vec<TrialWay> = Vec::new();
            for row in rows {
                let (of_row, cost) = match &row.to {
                    Destination::Trunk(trunk) => (vec![way(config, trunk, (0, 1), number, caller)], row.cost),
                    Destination::Group(group) => (of_group(group, number), row.cost),
                    Destination::User(_) | Destination::Table(_) | Destination::Application(_) => continue,
                };
                // As the call itself: each trunk once.
                let fresh = of_row.into_iter().filter(|way| ways.iter().all(|known| known.trunk != way.trunk));
                let fresh: Vec<_> = fresh.map(|way| TrialWay { cost: cost.to_string(), ..way }).collect();
                ways.extend(fresh);
            }
            ways
        }
        Resolved::User(_) | Resolved::Application(_) => Vec::new(),
    }
}

fn way(config: &Config, trunk: &TrunkName, (priority, weight): (u16, u16), number: &str, caller: &str) -> TrialWay {
    let party = Party::Trunk { trunk: trunk.clone() };
    let mut target = Target::Trunk { trunk: trunk.clone(), number: number.into() };
    let realm = negotiate::realm_of(config, &target).map(|(realm, _)| realm);
    let realm = realm.unwrap_or_else(|| RealmName::new(""));
    let mut from: Box<str> = caller.into();
    let mut identity = CallerIdentity::default();
    let steps = numbers::sent(config, &party, &realm, &mut target, &mut from, &mut identity);
    let called = match target {
        Target::Trunk { number, .. } => number.into(),
        Target::User { .. } | Target::Uri { .. } => String::new(),
    };
    TrialWay {
        trunk: trunk.to_string(),
        priority,
        weight,
        cost: String::new(),
        called,
        caller: from.into(),
        steps: steps.into_words(),
        headers: header_rules(config, trunk, HeaderSide::SentRequest),
        state: String::new(),
    }
}

/// The header rules of a trunk for an INVITE.
fn header_rules(config: &Config, trunk: &TrunkName, side: HeaderSide) -> Vec<String> {
    let rules = config.trunks.get(trunk).and_then(|trunk| config.headers.get(trunk.headers.as_ref()?));
    let told =
        |rules: &HeaderRules| rules.of(side, "INVITE").map(|rule| format!("{}: {}", rule.name, rule.header)).collect();
    rules.map(|rules| told(rules)).unwrap_or_default()
}

//! What would become of a number, without a call: `postern route`.

use postern_types::{
    Now, RealmName, TrunkName, UserName,
    leg::{CallerIdentity, Party, Target},
};
use serde::{Deserialize, Serialize};

use crate::{
    Router,
    context::Context,
    limits::Bound,
    negotiate, numbers,
    table::{self, Caller, Resolved},
};

/// Whose call is tried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TrialFrom {
    /// A trunk's.
    Trunk(TrunkName),
    /// A user's, whose devices register in any realm that takes registrations.
    User,
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
    /// The trunks by which it could leave, in the order of their priority.
    pub ways: Vec<TrialWay>,
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
    /// The number that is sent.
    pub called: String,
    /// The caller that is sent.
    pub caller: String,
    /// What was done to both on the way out.
    pub steps: Vec<String>,
    /// `up`, `down` (it is tried last) or `full`.
    pub state: String,
}

impl Router {
    /// What would become of a number that is dialed now. An error: there is no such trunk.
    pub fn try_number(&self, now: Now, from: TrialFrom, dialed: &str, caller: &str) -> Result<Trial, String> {
        let cx = self.context();
        let (party, realm, told) = match &from {
            TrialFrom::Trunk(trunk) => {
                let of = cx.config.trunks.get(trunk).ok_or_else(|| format!("there is no trunk {trunk}"))?;
                (Party::Trunk { trunk: trunk.clone() }, of.realm.clone(), format!("trunk {trunk}"))
            }
            TrialFrom::User => {
                let realm =
                    cx.config.realms.iter().find(|(_, realm)| realm.registrations).map(|(name, _)| name.clone());
                let user = UserName::new(caller);
                (Party::User { user }, realm.unwrap_or_else(|| RealmName::new("")), "users".to_owned())
            }
        };
        let mut trial = Trial { from: told, dialed: dialed.to_owned(), caller: caller.to_owned(), ..Trial::default() };
        let trunk = match &party {
            Party::Trunk { trunk } => Some(trunk),
            Party::User { .. } | Party::Uri { .. } => None,
        };
        trial.emergency = cx.config.is_emergency(&realm, trunk, dialed);
        let mut called: Box<str> = dialed.into();
        let mut shown: Box<str> = caller.into();
        let is_trunk = matches!(party, Party::Trunk { .. });
        trial.steps = numbers::try_received(&cx.config, &party, &realm, &mut called, is_trunk.then_some(&mut shown));
        (trial.called, trial.caller) = (called.to_string(), shown.to_string());
        let asks = match &from {
            TrialFrom::Trunk(trunk) => Caller::Trunk(trunk),
            TrialFrom::User => Caller::User,
        };
        match table::look_up(&cx.config, asks, &called) {
            Err(why) => (trial.to, trial.why) = ("refused".into(), why),
            Ok(decision) => {
                (trial.table, trial.entry, trial.why) = (decision.table.into(), decision.entry, decision.why);
                trial.to = decision.to.to_string();
                trial.ways = match &decision.to {
                    Resolved::Trunk(trunk, number) => vec![way(cx, now, trunk, (0, 1), number, &shown)],
                    Resolved::Group(group, number) => {
                        let members = cx.config.groups.get(group).map_or(&[][..], |group| &group.trunks);
                        let mut members: Vec<_> = members.iter().collect();
                        members.sort_by_key(|member| (member.priority, std::cmp::Reverse(member.weight)));
                        let of = |member: &&postern_config::Member| {
                            way(cx, now, &member.trunk, (member.priority, member.weight), number, &shown)
                        };
                        members.iter().map(of).collect()
                    }
                    Resolved::User(_) | Resolved::Application(_) => Vec::new(),
                };
            }
        }
        Ok(trial)
    }
}

fn way(
    cx: &Context,
    now: Now,
    trunk: &TrunkName,
    (priority, weight): (u16, u16),
    number: &str,
    caller: &str,
) -> TrialWay {
    let party = Party::Trunk { trunk: trunk.clone() };
    let mut target = Target::Trunk { trunk: trunk.clone(), number: number.into() };
    let realm = negotiate::realm_of(&cx.config, &target).map(|(realm, _)| realm);
    let realm = realm.unwrap_or_else(|| RealmName::new(""));
    let mut from: Box<str> = caller.into();
    let mut identity = CallerIdentity::default();
    let steps = numbers::sent(&cx.config, &party, &realm, &mut target, &mut from, &mut identity);
    let called = match target {
        Target::Trunk { number, .. } => number.into(),
        Target::User { .. } | Target::Uri { .. } => String::new(),
    };
    let state = match () {
        () if cx.down.contains(trunk) => "down",
        () if cx.limits.room(&cx.config, now, trunk, Bound::Out).is_err() => "full",
        () => "up",
    };
    TrialWay {
        trunk: trunk.to_string(),
        priority,
        weight,
        called,
        caller: from.into(),
        steps: steps.into_words(),
        state: state.into(),
    }
}

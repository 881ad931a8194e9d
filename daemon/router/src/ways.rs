//! The ways to one callee: a trunk, and the other trunks of its group for when it fails.
//!
//! By priority, and by weight among equals (RFC 2782); what is down comes last, but it comes: a call is not refused for what is
//! only believed. The callee's own word (486, 603, what `failover.statuses` leaves out) ends the search.

use std::collections::VecDeque;

use postern_config::{Destination, Member};
use postern_facts as facts;
use postern_types::{
    CallSid, Cause, EndedBy, GroupName, Now, TrunkName, UserName,
    leg::{Party, Target},
};
use rand::RngExt;

use crate::{
    call::Call,
    context::Context,
    dial::Branch,
    table::{Resolved, Row},
};

/// Trunks that one call tries at most, as many as a group may have.
const WAYS_MAX: usize = 32;

/// Whom to dial, and whom instead.
#[derive(Debug, Clone)]
pub struct Ways {
    pub target: Target,
    pub party: Party,
    pub spares: VecDeque<Way>,
}

/// One further way.
#[derive(Debug, Clone)]
pub struct Way {
    pub target: Target,
    pub party: Party,
}

impl Ways {
    /// Where a decision of the table leads.
    pub fn of(cx: &mut Context, to: Resolved) -> Result<Self, Cause> {
        match to {
            Resolved::User(user) => Ok(Self::user(user)),
            Resolved::Trunk(trunk, number) => Ok(Self::trunk(trunk, number)),
            Resolved::Group(group, number) => {
                Self::group(cx, &group, &number).ok_or_else(|| Cause::new(404, "no such group"))
            }
            Resolved::Table(_, rows, number) => {
                Self::rows(cx, &rows, &number).ok_or_else(|| Cause::new(404, "no carrier for this number"))
            }
            Resolved::Application(_) => Err(Cause::new(488, "an application takes calls alone")),
        }
    }

    /// No other.
    pub fn only(target: Target, party: Party) -> Self {
        Self { target, party, spares: VecDeque::new() }
    }

    pub fn user(user: UserName) -> Self {
        Self::only(Target::user(user.clone()), Party::User { user })
    }

    /// Where they lead to a user, to that device of it.
    pub fn at(mut self, only: Option<Box<str>>) -> Self {
        if let Target::User { device, .. } = &mut self.target {
            *device = only;
        }
        self
    }

    pub fn trunk(trunk: TrunkName, number: Box<str>) -> Self {
        let Way { target, party } = Way::trunk(trunk, number);
        Self::only(target, party)
    }

    /// None: the configuration in force has no such group.
    pub fn group(cx: &mut Context, group: &GroupName, number: &str) -> Option<Self> {
        let members = cx.config.groups.get(group)?.trunks.clone();
        let order = in_order(&members, |below| cx.rng.random_range(0..below));
        Self::each_once(cx, order, number)
    }

    /// The rows of a prefix, the least cost first; a group's trunks stand together at its cost. None: nothing is left of them.
    pub fn rows(cx: &mut Context, rows: &[Row], number: &str) -> Option<Self> {
        let mut order: Vec<TrunkName> = Vec::new();
        for row in rows {
            let of_row = match &row.to {
                Destination::Trunk(trunk) => vec![trunk.clone()],
                Destination::Group(group) => {
                    let members = cx.config.groups.get(group).map(|group| group.trunks.clone()).unwrap_or_default();
                    in_order(&members, |below| cx.rng.random_range(0..below))
                }
                // A table's rows lead to nothing else.
                Destination::User(_) | Destination::Table(_) | Destination::Application(_) => Vec::new(),
            };
            let fresh: Vec<_> = of_row.into_iter().filter(|trunk| !order.contains(trunk)).collect();
            order.extend(fresh);
        }
        order.truncate(WAYS_MAX);
        Self::each_once(cx, order, number)
    }

    fn each_once(cx: &Context, order: Vec<TrunkName>, number: &str) -> Option<Self> {
        let (up, down): (Vec<_>, Vec<_>) = order.into_iter().partition(|trunk| !cx.down.contains(trunk));
        let mut ways: VecDeque<_> = up.into_iter().chain(down).map(|trunk| Way::trunk(trunk, number.into())).collect();
        let Way { target, party } = ways.pop_front()?;
        Some(Self { target, party, spares: ways })
    }
}

impl Way {
    fn trunk(trunk: TrunkName, number: Box<str>) -> Self {
        Self { target: Target::Trunk { trunk: trunk.clone(), number }, party: Party::Trunk { trunk } }
    }
}

impl Branch {
    /// Turns to the next way. False when there is none.
    pub fn take_spare(&mut self) -> bool {
        let Some(Way { target, party }) = self.spares.pop_front() else { return false };
        (self.target, self.party) = (target, party);
        true
    }
}

impl Call {
    /// A leg that was dialed by a branch with other ways failed. Whether the branch rings again by another.
    pub fn goes_another_way(
        &mut self,
        cx: &mut Context,
        now: Now,
        sid: CallSid,
        mut branch: Branch,
        by: EndedBy,
        cause: &Cause,
    ) -> bool {
        let failed = branch.party.clone();
        let failover = match &failed {
            Party::Trunk { trunk } => cx.config.trunks.get(trunk).map(|trunk| trunk.failover.clone()),
            Party::User { .. } | Party::Uri { .. } => None,
        };
        // What we say of a trunk ourselves is that it cannot be reached; that nobody answered in time is the callee's (480).
        let may = match by {
            EndedBy::Postern => matches!(cause.status, 408 | 500..=599),
            _ => failover.unwrap_or_default().takes(cause.status),
        };
        if !may || !self.is_live() || !branch.take_spare() {
            return false;
        }
        self.tell_failed_over(cx, sid, &failed, &branch.party, cause.clone());
        let rings = |call: &Self| call.dialing.as_ref().map_or(0, |dialing| dialing.ringing.len());
        let before = rings(self);
        self.dial_ways(cx, now, branch);
        rings(self) > before
    }

    pub fn tell_failed_over(&self, cx: &mut Context, sid: CallSid, from: &Party, to: &Party, cause: Cause) {
        let (from, to) = (facts::text::party(from), facts::text::party(to));
        self.tell(cx, sid, facts::LegFailedOver { from, to, cause });
    }
}

/// The trunks of a group in the order of one call: by priority, among equals drawn by weight (RFC 2782). `random` gives a number
/// below its argument.
fn in_order(members: &[Member], mut random: impl FnMut(u32) -> u32) -> Vec<TrunkName> {
    let mut left: Vec<&Member> = members.iter().collect();
    // Those without weight in front: they are drawn only when the number is zero.
    left.sort_by_key(|member| (member.priority, member.weight != 0));
    let mut order = Vec::with_capacity(left.len());
    while let Some(first) = left.first() {
        let equals = left.iter().take_while(|member| member.priority == first.priority).count();
        let total: u32 = left[..equals].iter().map(|member| u32::from(member.weight)).sum();
        let drawn = random(total + 1);
        let mut sum = 0;
        let at = left[..equals].iter().position(|member| {
            sum += u32::from(member.weight);
            sum >= drawn
        });
        order.push(left.remove(at.unwrap_or(0)).trunk.clone());
    }
    order
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use rand::{SeedableRng, rngs::StdRng};

    use super::*;

    fn member(trunk: &str, priority: u16, weight: u16) -> Member {
        Member { trunk: TrunkName::new(trunk), priority, weight }
    }

    #[test]
    fn priority_comes_first_and_weight_shares_among_equals() {
        let members = [member("last", 9, 100), member("three", 1, 30), member("one", 1, 10), member("none", 1, 0)];
        let mut rng = StdRng::seed_from_u64(1);
        let mut first: BTreeMap<String, u32> = BTreeMap::new();
        for _ in 0..10_000 {
            let order = in_order(&members, |below| rng.random_range(0..below));
            assert_eq!(order.len(), 4, "each has its turn");
            assert_eq!(order[3].as_str(), "last");
            *first.entry(order[0].to_string()).or_default() += 1;
        }
        let share = |name: &str| f64::from(first.get(name).copied().unwrap_or(0)) / 10_000.0;
        assert!((share("three") - 0.73).abs() < 0.03 && (share("one") - 0.24).abs() < 0.03, "{first:?}");
        assert!(share("none") < 0.05, "{first:?}");
    }
}

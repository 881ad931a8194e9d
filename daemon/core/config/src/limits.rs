//! What a trunk may carry, and which numbers no limit concerns.

use postern_types::{RealmName, TrunkName};
use serde::Serialize;

use crate::{
    Config,
    numbering::Side,
    reader::{Fields, Reader},
};

/// Limits of a trunk, beside `calls_max`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Limits {
    /// Calls of the trunk at once at most.
    pub calls_in: Option<u32>,
    /// Calls to the trunk at once at most.
    pub calls_out: Option<u32>,
    /// Calls of the trunk a second at most.
    pub rate_in: Option<u32>,
    /// Calls to the trunk a second at most.
    pub rate_out: Option<u32>,
    /// Calls that may come at once before a rate holds them; none: as many as come in a second.
    pub burst: Option<u32>,
    /// What all its calls may take of its line at most, each way, kbit/s.
    pub bandwidth_max: Option<u32>,
    /// What a call of the trunk hears that is over a limit; none: 503.
    pub status: Option<u16>,
}

impl Limits {
    /// What a call of the trunk hears that is over a limit.
    pub fn refusal(&self) -> u16 {
        self.status.unwrap_or(503)
    }

    pub(crate) fn read(r: &mut Reader<'_>, trunk: &Fields<'_>) -> Self {
        let Some(f) = trunk.section(r, "limits", "trunks.*.limits") else { return Self::default() };
        let number = |r: &mut Reader<'_>, key: &str| f.integer(r, key).map(|n| n as u32);
        let limits = Self {
            calls_in: number(r, "calls_in"),
            calls_out: number(r, "calls_out"),
            rate_in: number(r, "rate_in"),
            rate_out: number(r, "rate_out"),
            burst: number(r, "burst"),
            bandwidth_max: number(r, "bandwidth_max"),
            status: f.integer(r, "status").map(|n| n as u16),
        };
        if limits.burst.is_some() && limits.rate_in.is_none() && limits.rate_out.is_none() {
            r.warning(f.span_of("burst"), "it does nothing without a rate").hint("write `rate_in` or `rate_out`");
        }
        limits
    }
}

impl Config {
    /// Whether any number is an emergency number.
    pub fn has_emergencies(&self) -> bool {
        self.emergency_lists().any(|list| !list.is_empty())
    }

    fn emergency_lists(&self) -> impl Iterator<Item = &Vec<String>> {
        let realms = self.realms.values().map(|realm| &realm.emergency);
        realms.chain(self.trunks.values().map(|trunk| &trunk.emergency))
    }

    /// Whether a number is an emergency number of any realm or trunk, for who calls from none.
    pub fn is_emergency_somewhere(&self, number: &str) -> bool {
        self.emergency_lists().any(|list| list.iter().any(|listed| listed == number))
    }

    /// Whether a call is an emergency call, which no limit may hinder: by what its realm and its trunk say of the number as it was dialed, and
    /// as it is after their rules.
    pub fn is_emergency(&self, realm: &RealmName, trunk: Option<&TrunkName>, number: &str) -> bool {
        let realm = self.realms.get(realm);
        let trunk = trunk.and_then(|trunk| self.trunks.get(trunk));
        let lists = [realm.map(|realm| &realm.emergency), trunk.map(|trunk| &trunk.emergency)];
        if lists.iter().flatten().all(|list| list.is_empty()) {
            return false;
        }
        // `112;phone-context=+49` (RFC 3966 5.1.5).
        let plain = number.split(';').next().unwrap_or(number);
        let is_listed = |number: &str| lists.iter().flatten().any(|list| list.iter().any(|listed| listed == number));
        let numbering = match trunk {
            Some(trunk) => trunk.numbering.as_ref(),
            None => realm.and_then(|realm| realm.numbering.as_ref()),
        };
        let changed = || {
            let numbering = self.numbering.get(numbering?)?;
            Some(numbering.apply(Side::ReceivedCalled, number).number)
        };
        is_listed(plain) || changed().is_some_and(|changed| is_listed(&changed))
    }
}

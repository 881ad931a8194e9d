//! What the configuration wants of the dialogs with one party.

use postern_config::{Config, SessionTimer, SessionTimerMode};
use postern_types::{RealmName, TrunkName};

pub(crate) use postern_config::Rel100;

/// Copied into each dialog when it begins: a new configuration holds for new calls.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Rules {
    pub(crate) session_timer: SessionTimer,
    pub(crate) rel100: Rel100,
    /// It is told who calls, and believed.
    pub(crate) trusted: bool,
}

impl Rules {
    /// Those of a trunk; without one, of the realm that the party is in.
    pub(crate) fn of(config: &Config, trunk: Option<&TrunkName>, realm: &RealmName) -> Self {
        if let Some(trunk) = trunk.and_then(|trunk| config.trunks.get(trunk)) {
            return Self { session_timer: trunk.session_timer, rel100: trunk.rel100, trusted: trunk.trusted };
        }
        let session_timer = config.realms.get(realm).map(|realm| realm.session_timer).unwrap_or_default();
        Self { session_timer, rel100: Rel100::default(), trusted: false }
    }

    /// The extensions that the party is told of, and that it may require.
    pub(crate) fn supported(&self) -> &'static str {
        match (self.session_timer.mode, self.rel100) {
            (SessionTimerMode::Off, Rel100::Off) => "",
            (SessionTimerMode::Off, _) => "100rel",
            (_, Rel100::Off) => "timer",
            _ => "timer, 100rel",
        }
    }
}

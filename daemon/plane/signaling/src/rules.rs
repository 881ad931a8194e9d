//! What the configuration wants of the dialogs with one party.

use std::sync::Arc;

use postern_config::{Config, HeaderRules, Refer, SessionTimer, SessionTimerMode, Trunk, Workarounds};
use postern_types::{RealmName, TrunkName, UserName};

use crate::headers::{ALLOW, ALLOW_REFER};

pub(crate) use postern_config::Rel100;

/// Copied into each dialog when it begins: a new configuration holds for new calls.
#[derive(Debug, Clone, Default)]
pub(crate) struct Rules {
    pub(crate) session_timer: SessionTimer,
    pub(crate) rel100: Rel100,
    /// Whether it may transfer.
    pub(crate) refer: Refer,
    /// Its devices are shown what came of the check of a caller's signature.
    pub(crate) verstat: bool,
    /// It is told who calls, and believed.
    pub(crate) trusted: bool,
    /// What is changed in the headers of its messages.
    pub(crate) headers: Option<Arc<HeaderRules>>,
    /// What is done for it that others do not need.
    pub(crate) workarounds: Workarounds,
}

impl Rules {
    /// Those of a trunk; without one, of the realm that the party is in, and of the user that it is.
    pub(crate) fn of(config: &Config, trunk: Option<&TrunkName>, user: Option<&UserName>, realm: &RealmName) -> Self {
        if let Some(trunk) = trunk.and_then(|trunk| config.trunks.get(trunk)) {
            let Trunk { session_timer, rel100, refer, trusted, workarounds, .. } = *trunk;
            let headers = header_rules(config, trunk);
            return Self { session_timer, rel100, refer, trusted, verstat: false, headers, workarounds };
        }
        let session_timer = config.realms.get(realm).map(|realm| realm.session_timer).unwrap_or_default();
        let user = user.and_then(|user| config.users.get(user));
        let (refer, verstat) = user.map(|user| (user.refer, user.verstat)).unwrap_or_default();
        Self { session_timer, refer, verstat, ..Self::default() }
    }

    /// The methods that the party is told of.
    pub(crate) fn allow(&self) -> &'static str {
        match self.refer {
            Refer::Refuse => ALLOW,
            Refer::Terminate | Refer::Relay => ALLOW_REFER,
        }
    }

    /// The extensions that the party is told of, and that it may require.
    pub(crate) fn supported(&self) -> &'static str {
        let (timer, rel100) = (self.session_timer.mode != SessionTimerMode::Off, self.rel100 != Rel100::Off);
        // Who may transfer may also take the place of what is its own.
        match (timer, rel100, self.refer != Refer::Refuse) {
            (false, false, false) => "",
            (false, true, false) => "100rel",
            (true, false, false) => "timer",
            (true, true, false) => "timer, 100rel",
            (false, false, true) => "replaces",
            (false, true, true) => "100rel, replaces",
            (true, false, true) => "timer, replaces",
            (true, true, true) => "timer, 100rel, replaces",
        }
    }
}

/// What is changed in the headers of a trunk's messages.
pub(crate) fn header_rules(config: &Config, trunk: &Trunk) -> Option<Arc<HeaderRules>> {
    trunk.headers.as_ref().and_then(|name| config.headers.get(name)).cloned()
}

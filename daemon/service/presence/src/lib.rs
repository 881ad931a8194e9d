//! Presentities: who is available, busy or gone.
//!
//! A user is available with at least one registered device and no live call, busy with a live call, gone with neither.
//! Plain book-keeping: whoever knows of a change tells it and gets the fact back, if the status or a figure changed.

#![forbid(unsafe_code)]

use std::collections::BTreeMap;

use postern_facts::{Happened, PresenceChanged, Subject};
use postern_types::UserName;

/// Devices and calls of every user that has any. As large as the configuration has users, no larger: the caller only
/// tells of configured users.
#[derive(Debug, Clone, Default)]
pub struct Presence {
    users: BTreeMap<UserName, Figures>,
}

/// What is known of one user.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Figures {
    devices: u32,
    calls: u32,
}

/// Whether dialing a user makes sense.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Availability {
    /// Somebody would ring.
    Available {
        /// Registered devices.
        devices: u32,
    },
    /// In a call.
    Busy {
        /// Registered devices.
        devices: u32,
        /// Live calls.
        calls: u32,
    },
    /// No device.
    Gone,
}

impl Availability {
    /// The word in facts and the API.
    pub fn name(self) -> &'static str {
        match self {
            Self::Available { .. } => "available",
            Self::Busy { .. } => "busy",
            Self::Gone => "gone",
        }
    }
}

impl Presence {
    /// A user's registered devices are now this many.
    pub fn devices(&mut self, user: &UserName, devices: u32) -> Option<Happened> {
        self.change(user, |figures| figures.devices = devices)
    }

    /// A leg with the user began.
    pub fn call_began(&mut self, user: &UserName) -> Option<Happened> {
        self.change(user, |figures| figures.calls += 1)
    }

    /// A leg with the user ended.
    pub fn call_ended(&mut self, user: &UserName) -> Option<Happened> {
        self.change(user, |figures| figures.calls = figures.calls.saturating_sub(1))
    }

    /// Registered devices of one user.
    pub fn devices_of(&self, user: &UserName) -> u32 {
        self.users.get(user).map_or(0, |figures| figures.devices)
    }

    /// Whether dialing the user makes sense. A user in a call whose devices are all gone is busy: the call still lives.
    pub fn dialable(&self, user: &UserName) -> Availability {
        self.users.get(user).copied().unwrap_or_default().availability()
    }

    /// Every user who is not gone, in the order of their names.
    pub fn users(&self) -> impl Iterator<Item = (&UserName, Availability)> {
        self.users.iter().map(|(user, figures)| (user, figures.availability()))
    }

    /// How many are available, and how many busy.
    pub fn counts(&self) -> (u64, u64) {
        self.users().fold((0, 0), |(available, busy), (_, is)| match is {
            Availability::Available { .. } => (available + 1, busy),
            Availability::Busy { .. } => (available, busy + 1),
            Availability::Gone => (available, busy),
        })
    }

    /// Registered devices of all users.
    pub fn devices_total(&self) -> u64 {
        self.users.values().map(|figures| u64::from(figures.devices)).sum()
    }

    fn change(&mut self, user: &UserName, apply: impl FnOnce(&mut Figures)) -> Option<Happened> {
        let before = self.users.get(user).copied().unwrap_or_default();
        let mut after = before;
        apply(&mut after);
        if after == before {
            return None;
        }
        if after == Figures::default() {
            self.users.remove(user);
        } else {
            self.users.insert(user.clone(), after);
        }
        let status = after.availability().name().to_owned();
        let fact = PresenceChanged { status, devices: after.devices, calls: after.calls };
        Some(Happened { subject: Subject { user: Some(user.clone()), ..Subject::default() }, fact: fact.into() })
    }
}

impl Figures {
    fn availability(self) -> Availability {
        match self {
            Self { calls: 0, devices: 0 } => Availability::Gone,
            Self { calls: 0, devices } => Availability::Available { devices },
            Self { calls, devices } => Availability::Busy { devices, calls },
        }
    }
}

#[cfg(test)]
mod tests {
    use postern_facts::Fact;

    use super::*;

    fn told(happened: Option<Happened>) -> Option<(String, u32, u32)> {
        match happened?.fact {
            Fact::PresenceChanged(fact) => Some((fact.status, fact.devices, fact.calls)),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_user_is_available_busy_or_gone_and_each_change_is_told_once() {
        let (mut presence, bob) = (Presence::default(), UserName::new("bob"));
        let word = |text: &str, devices, calls| Some((text.to_owned(), devices, calls));
        assert_eq!(presence.dialable(&bob), Availability::Gone);
        assert_eq!(told(presence.devices(&bob, 2)), word("available", 2, 0));
        assert_eq!(told(presence.devices(&bob, 2)), None);
        assert_eq!(told(presence.call_began(&bob)), word("busy", 2, 1));
        assert_eq!(presence.dialable(&bob), Availability::Busy { devices: 2, calls: 1 });
        assert_eq!(told(presence.devices(&bob, 0)), word("busy", 0, 1));
        assert_eq!(presence.counts(), (0, 1));
        assert_eq!(told(presence.call_ended(&bob)), word("gone", 0, 0));
        assert_eq!(told(presence.call_ended(&bob)), None);
        assert_eq!((presence.counts(), presence.users().count()), ((0, 0), 0));
    }
}

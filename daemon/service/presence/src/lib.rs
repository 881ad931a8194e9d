//! Presentities: who is available, busy or gone.
//!
//! A user is available with at least one registered device and no live call, busy with a live call, gone with neither.
//! Plain book-keeping: whoever knows of a change tells it and gets the fact back, if the status or a figure changed; and for users that somebody
//! watches what is to be seen of them.

#![forbid(unsafe_code)]

use std::collections::{BTreeMap, BTreeSet};

use postern_facts::{Happened, PresenceChanged, Subject};
use postern_types::{
    CallSid, UserName,
    watch::{SEEN_MAX, UserCall, UserState},
};

/// Devices and calls of every user that has any. As large as the configuration has users, no larger: the caller only
/// tells of configured users.
#[derive(Debug, Clone, Default)]
pub struct Presence {
    users: BTreeMap<UserName, Known>,
    /// Whom somebody watches.
    watched: BTreeSet<UserName>,
}

/// What is known of one user.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Known {
    devices: u32,
    calls: Vec<UserCall>,
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
        self.change(user, |known| known.devices = devices)
    }

    /// A leg with the user began.
    pub fn call_began(&mut self, user: &UserName, call: UserCall) -> Option<Happened> {
        self.change(user, |known| known.calls.push(call))
    }

    /// It was answered.
    pub fn call_answered(&mut self, user: &UserName, leg: CallSid) {
        let calls = self.users.get_mut(user).into_iter().flat_map(|known| &mut known.calls);
        calls.filter(|call| call.leg == leg).for_each(|call| call.answered = true);
    }

    /// A leg with the user ended.
    pub fn call_ended(&mut self, user: &UserName, leg: CallSid) -> Option<Happened> {
        self.change(user, |known| known.calls.retain(|call| call.leg != leg))
    }

    /// From now on somebody watches a user, or nobody does any more.
    pub fn watch(&mut self, user: &UserName, on: bool) {
        if on {
            self.watched.insert(user.clone());
        } else {
            self.watched.remove(user);
        }
    }

    /// What is to be seen of a user, if somebody watches it.
    pub fn seen(&self, user: &UserName) -> Option<UserState> {
        self.watched.contains(user).then(|| {
            let known = self.users.get(user).cloned().unwrap_or_default();
            let beyond = known.calls.len().saturating_sub(SEEN_MAX);
            UserState { user: user.clone(), devices: known.devices, calls: known.calls[beyond..].to_vec() }
        })
    }

    /// Registered devices of one user.
    pub fn devices_of(&self, user: &UserName) -> u32 {
        self.users.get(user).map_or(0, |known| known.devices)
    }

    /// Whether dialing the user makes sense. A user in a call whose devices are all gone is busy: the call still lives.
    pub fn dialable(&self, user: &UserName) -> Availability {
        self.users.get(user).map_or(Availability::Gone, Known::availability)
    }

    /// Every user who is not gone, in the order of their names.
    pub fn users(&self) -> impl Iterator<Item = (&UserName, Availability)> {
        self.users.iter().map(|(user, known)| (user, known.availability()))
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
        self.users.values().map(|known| u64::from(known.devices)).sum()
    }

    fn change(&mut self, user: &UserName, apply: impl FnOnce(&mut Known)) -> Option<Happened> {
        let known = self.users.entry(user.clone()).or_default();
        let before = known.figures();
        apply(known);
        let after @ (devices, calls) = known.figures();
        let status = known.availability().name().to_owned();
        if after == (0, 0) {
            self.users.remove(user);
        }
        if after == before {
            return None;
        }
        let fact = PresenceChanged { status, devices, calls };
        Some(Happened { subject: Subject { user: Some(user.clone()), ..Subject::default() }, fact: fact.into() })
    }
}

impl Known {
    /// Devices and calls.
    fn figures(&self) -> (u32, u32) {
        (self.devices, self.calls.len() as u32)
    }

    fn availability(&self) -> Availability {
        match self.figures() {
            (0, 0) => Availability::Gone,
            (devices, 0) => Availability::Available { devices },
            (devices, calls) => Availability::Busy { devices, calls },
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
        let call = UserCall { leg: CallSid(1), calls: true, answered: false };
        assert_eq!(told(presence.call_began(&bob, call)), word("busy", 2, 1));
        assert_eq!(presence.dialable(&bob), Availability::Busy { devices: 2, calls: 1 });
        assert_eq!(told(presence.devices(&bob, 0)), word("busy", 0, 1));
        assert_eq!(presence.counts(), (0, 1));
        assert_eq!(told(presence.call_ended(&bob, call.leg)), word("gone", 0, 0));
        assert_eq!(told(presence.call_ended(&bob, call.leg)), None);
        assert_eq!((presence.counts(), presence.users().count()), ((0, 0), 0));
    }
}

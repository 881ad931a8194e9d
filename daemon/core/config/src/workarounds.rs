//! What is done for a trunk that departs from the standards.
//!
//! Each has a name with a version: what `no-update-1` does never changes, and a better way gets another name. Each is in the tests of the
//! signaling plane (`tests/workarounds.rs`) with the messages of a trunk that needs it, and how its calls fail without.

use serde::{Serialize, Serializer};

/// Those of one trunk.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Workarounds {
    /// `user-phone-1`: numbers in Request-URI, To and From say that they are numbers (`user=phone`, RFC 3261 19.1.1).
    pub user_phone: bool,
    /// `no-update-1`: sessions are refreshed by INVITE alone, whatever its Allow says.
    pub no_update: bool,
    /// `hold-by-zero-1`: who does not want to hear it is at address 0.0.0.0, as in RFC 2543.
    pub hold_by_zero: bool,
    /// `ignore-contact-1`: what follows in a dialog goes where the dialog came from.
    pub ignore_contact: bool,
}

/// One of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Workaround {
    UserPhone1,
    NoUpdate1,
    HoldByZero1,
    IgnoreContact1,
}

impl Workaround {
    /// In the order of [`NAMES`].
    pub(crate) const ALL: [Self; 4] = [Self::UserPhone1, Self::NoUpdate1, Self::HoldByZero1, Self::IgnoreContact1];
}

/// As the document writes them.
pub(crate) const NAMES: &[&str] = &["user-phone-1", "no-update-1", "hold-by-zero-1", "ignore-contact-1"];

impl Workarounds {
    pub(crate) fn of(wanted: &[Workaround]) -> Self {
        let has = |one| wanted.contains(&one);
        Self {
            user_phone: has(Workaround::UserPhone1),
            no_update: has(Workaround::NoUpdate1),
            hold_by_zero: has(Workaround::HoldByZero1),
            ignore_contact: has(Workaround::IgnoreContact1),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl Serialize for Workarounds {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let wanted = [self.user_phone, self.no_update, self.hold_by_zero, self.ignore_contact];
        serializer.collect_seq(NAMES.iter().zip(wanted).filter_map(|(name, wanted)| wanted.then_some(name)))
    }
}

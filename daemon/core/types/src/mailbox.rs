//! Voice messages that wait for a user, in a mailbox elsewhere: what its phones light a lamp for (RFC 3842).

use serde::{Deserialize, Serialize};

use crate::UserName;

/// How many wait.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waiting {
    /// Not heard yet.
    pub new: u32,
    /// Heard before.
    pub old: u32,
    /// Of the new ones, urgent.
    pub new_urgent: u32,
    /// Of the old ones.
    pub old_urgent: u32,
}

/// Whose, as it outlives a restart. One in which nothing waits is as good as none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mailbox {
    /// Whose.
    pub user: UserName,
    /// How many.
    pub waiting: Waiting,
}

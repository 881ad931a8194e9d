//! The language between the router and the signaling plane for users that somebody watches: what a subscriber may see of one.
//!
//! Signaling says whom somebody watches. From then on, and once at the beginning, the router says what there is to see, whenever it changed. Who is at
//! the other end of a user's calls is not in it.

use crate::id::{CallSid, UserName};

/// Calls of a user that are shown at most, the latest: a busy lamp needs one, and what is told must fit a datagram.
pub const SEEN_MAX: usize = 8;

/// What is to be seen of a user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserState {
    /// Who.
    pub user: UserName,
    /// Registered devices.
    pub devices: u32,
    /// Its calls, at most [`SEEN_MAX`].
    pub calls: Vec<UserCall>,
}

/// One call of a user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UserCall {
    /// The user's leg of it.
    pub leg: CallSid,
    /// The user calls; else it is called.
    pub calls: bool,
    /// Somebody talks; else it rings.
    pub answered: bool,
}

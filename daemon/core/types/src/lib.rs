//! Nouns of the house, and the language that floors speak with each other.
//!
//! Everything here is plain data: no socket, no clock, no async. A plane and the router never import each
//! other; they meet in [`leg`], [`text`] and [`watch`] (signaling and router), [`media`] (media and router), [`recording`] and [`fork`].

#![forbid(unsafe_code)]

pub mod cause;
pub mod device;
pub mod fork;
pub mod id;
pub mod leg;
pub mod mailbox;
pub mod media;
pub mod number;
pub mod queue;
pub mod recording;
pub mod secret;
pub mod stream;
pub mod text;
pub mod time;
pub mod transport;
pub mod trust;
pub mod watch;

pub use cause::{Cause, EndedBy};
pub use id::{
    AccountSid, AppName, CallSid, ConferenceSid, GroupName, RealmName, RecordingSid, RequestId, ScheduleName, Sid,
    StreamSid, TableName, TrunkName, UserName,
};
pub use number::E164;
pub use queue::BoundedQueue;
pub use secret::Secret;
pub use time::{Now, UnixMicros};
pub use transport::{ConnectionId, Transport};

/// The user whom the box calls to see whether it is there: an OPTIONS to it, from one of our own addresses, is answered whoever else may
/// come in. Signaling answers, `postern health` asks.
pub const SELF_CALL_USER: &str = "postern-self-call";

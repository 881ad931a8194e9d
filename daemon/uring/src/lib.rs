//! The machine room: one io_uring with its provided buffers, and UDP sockets on it.
//!
//! This is the only crate of the house with unsafe code (FFI leaves apart). What leaves it is safe: a datagram arrives as
//! a [`Buffer`] that its holder owns alone, a send takes a buffer and keeps it until the kernel is done with it, and a
//! buffer goes back to the kernel exactly once, when it is dropped. It knows nothing of telephony.
//!
//! Two threads use it: a media worker through [`Ring`], and the switch through [`SwitchRing`]. A ring belongs to the
//! thread that made it (`SINGLE_ISSUER`), so neither is `Send`. Others wake it by a [`Bell`].
//!
//! What cannot happen: a completion for a socket that was reported closed; a buffer that two hold; a socket killed by a
//! peer's ICMP error; a receive that stays ended because buffers were short for a while.

pub mod bell;
pub mod buffer;
pub mod gather;
pub mod prefetch;
pub mod ring;
pub mod setup;
pub mod socket;
pub mod switch;

pub use bell::Bell;
pub use buffer::Buffer;
pub use gather::{Gather, Gathering};
pub use prefetch::prefetch;
pub use ring::{Completion, Counters, Ring, SocketId};
pub use setup::Options;
pub use socket::{SocketOptions, bind, bind_patiently, mark};
pub use switch::{Event, SendError, SwitchRing};

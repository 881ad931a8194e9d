//! The media plane: audio streams by their leg, relayed, played into, measured.
//!
//! The switch holds a [`MediaPlane`]: it owns the table of ports, binds the sockets, and hands them to workers. A worker
//! is one pinned thread with one ring; a packet never leaves it. What a worker decides about a packet is [`relay`]:
//! plain computing on bytes, source and time, which the simulated world uses without any socket.
//!
//! ```text
//! MediaCommand -> plane -> (bounded queue, bell) -> worker: ring -> relay -> ring
//! MediaEvent  <- plane <- (bounded queue, bell) <-
//! ```
//!
//! Legs without a common codec hear each other as samples: [`ear::Ear`] is what a leg says, [`voice::Voice`] what it hears, 20 ms at a time.
//!
//! What cannot happen: a packet sent to an address that neither signaling described nor the latch accepted; a plain
//! packet sent on a leg with an SRTP key, or one that waits for its handshake; an allocation, a lock or a log line for a relayed packet.

#![forbid(unsafe_code)]

pub mod calibrate;
pub mod conference;
pub mod crypto;
pub mod ear;
mod fast;
mod g711;
mod inband;
mod keying;
pub mod latch;
pub mod leg;
pub mod plane;
pub mod play;
pub mod ports;
mod press;
mod proof;
mod quality;
pub mod relay;
pub mod tap;
#[cfg(test)]
mod testing;
mod transcode;
mod typed;
mod unheard;
pub mod voice;
mod worker;

pub use calibrate::{Calibration, calibrate};
pub use plane::{KernelPart, MediaPlane, Room, Status, raise_descriptors, worker_cpus};
pub use relay::{Port, Relay, Verdict};
pub use tap::Copies;

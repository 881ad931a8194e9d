//! ICE-lite (RFC 8445 2.5): answers the peer's connectivity checks and follows what it nominates. Sends no checks of its own.
//!
//! STUN messages are read and written by the crate `stun-types`; here is who is believed. A check counts when it carries our name
//! fragment and a MESSAGE-INTEGRITY made with our password (RFC 8489 9.1, RFC 8445 7.3); everything else is dropped without a
//! word, so that nobody who does not know the password can make us send anything. Addresses that passed a check may send; the one
//! that a check with USE-CANDIDATE came from last is where packets go. Last, not best: RFC 8445 has no aggressive nomination, so a
//! second one is a party that moves from one network to another.
//!
//! ```text
//! datagram -> Lite::handle_input -> Verdict::Answer (what to send back, in the same buffer) | Verdict::Drop (why)
//! ```
//!
//! Not here: candidates (a lite agent has its own address and needs none of the peer's), trickling, TURN.

#![forbid(unsafe_code)]

pub mod fuzz;
mod lite;

pub use lite::{Answer, Lite, Refusal, Verdict, answer_binding, is_stun};

/// Addresses of one peer that passed a check at most: a phone on two networks with both families, twice. The one silent longest gives way.
pub const REMOTES_MAX: usize = 8;
/// Bytes of a check at most: ours are below 200, and attributes that we do not know may double that.
pub const CHECK_MAX: usize = 548;
/// Checks with a wrong or right password that are looked at in a second: a browser sends 20 for each pair of candidates at first. Computing
/// the integrity of one costs about a microsecond.
pub const CHECKS_MAX: u32 = 200;

#[cfg(test)]
mod tests;

//! The daemon as a library: threads and wiring, no decisions.
//!
//! | module | what it is |
//! |---|---|
//! | [`daemon`] | the order in which everything starts and stops |
//! | [`switch_thread`] | the loop around [`postern_switch::Switch`] |
//! | [`mailbox`] | how drivers reach that loop |
//! | [`admin`] | reload, and the daemon's part of the status |
//! | [`drivers`] | journal, spool, store, HTTP, prompts, names, NATS, SIP connections |

#![forbid(unsafe_code)]

pub mod admin;
pub mod daemon;
pub mod drivers;
mod load;
pub mod mailbox;
pub mod switch_thread;
mod trial;

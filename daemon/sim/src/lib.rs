//! The simulated world: the daemon's own [`postern_switch::Switch`] among phones, a carrier, application servers and a network
//! that loses, doubles, delays and reorders. Time is virtual, randomness is a printed seed, and a run takes milliseconds.
//!
//! | module | stands for |
//! |---|---|
//! | [`network`] | UDP between addresses, with faults |
//! | [`phone`] | a SIP user agent: registers, calls, answers, rejects, hangs up, holds |
//! | [`media`] | the media plane's twin: ports and what it tells, without packets |
//! | [`application`] | application servers: slow, wrong, dead, or right |
//! | [`world`] | all of them around one switch, and the invariants of the house |
//! | [`fuzz`] | one entry for each parser, with seeds to mutate |

#![forbid(unsafe_code)]

pub mod application;
pub mod fuzz;
pub mod media;
pub mod network;
pub mod phone;
pub mod stream;
pub mod world;

pub use world::World;

//! One turn of the house: an input to the rooms, their outputs to the drivers.
//!
//! Pure: no socket, no clock, no thread. The daemon's switch thread and the simulated world drive the same [`Switch`].

#![forbid(unsafe_code)]

pub mod request;

pub use request::{Reply, Request, Status};

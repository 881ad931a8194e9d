//! The daemon as a library: the drivers that move bytes for the switch. `main` wires them to it.

#![forbid(unsafe_code)]

pub mod drivers;

//! The one YAML document of an appliance: what it says, checked and typed.
//!
//! The sections below are what the rest of the house sees. How a file becomes a [`Config`], and how every mistake is told at once
//! with its place and a hint, is in `read` and `check`.

#![forbid(unsafe_code)]

pub mod section;

pub use section::*;

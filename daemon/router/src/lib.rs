//! The life of a call: routes, documents, application servers, session state.

#![forbid(unsafe_code)]

pub mod rest;

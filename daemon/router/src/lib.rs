//! The life of a call: routes, documents, application servers, session state.
//!
//! [`Router`] is a pure machine: events of legs, streams, application servers and prompts go in, each with `now`; commands, requests,
//! facts and records come out of [`Router::poll_output`]. It never sees a SIP header, a packet or a socket.

#![forbid(unsafe_code)]

mod router;

pub mod output;
pub mod rest;

mod attended;
mod audio;
mod bandwidth;
mod call;
mod callback;
mod conference;
mod context;
mod cookies;
mod dial;
mod digits;
mod fax;
mod fork;
mod keys;
mod leg;
mod limits;
mod negotiate;
mod numbers;
mod originate;
mod recording;
mod reoffer;
mod request;
mod session;
mod sign;
mod table;
mod texts;
mod transfer;
mod trial;
mod trust;
mod url;
mod ways;

#[cfg(test)]
mod tests;

pub use context::CALLS_MAX;
pub use output::{
    BODY_MAX, Counters, HttpFailure, HttpRequest, HttpResponse, Output, PromptKey, PromptSource, Purpose, Tone,
};
pub use router::{Router, TAILS_MAX};
pub use trial::{Trial, TrialFrom, TrialOf, TrialSchedule, TrialWay, try_number};

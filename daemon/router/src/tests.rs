//! Scenarios through the public verbs, in virtual time. The harness plays signaling, media and the application server.

mod attended;
mod callbacks;
mod codecs;
mod conferences;
mod dialing;
mod documents;
mod faxes;
mod forks;
mod groups;
mod harness;
mod property;
mod recordings;
mod rest;
mod routed;
mod tables;
mod taped;
mod texts;
mod transfers;
mod trunks;
mod trust;

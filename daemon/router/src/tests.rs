//! Scenarios through the public verbs, in virtual time. The harness plays signaling, media and the application server.

mod harness;
mod routed;

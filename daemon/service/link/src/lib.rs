//! What crosses to the control plane, without the connection: subjects, CloudEvents, presence keys, commands, and the
//! order in which events are published and acknowledged.
//!
//! The distributed engine is NATS JetStream. Events go into a stream under `postern.<appliance>.events.<type>` with the
//! event's id as `Nats-Msg-Id`, so that a repeat within the stream's duplicate window is stored once. [`Publisher`] holds
//! the few events that are on their way; whatever else waits is in the spool.

#![forbid(unsafe_code)]

mod board;
mod cloud_event;
mod command;
mod publisher;
mod subject;

pub use board::{Board, Change};
pub use cloud_event::{cloud_event, rfc3339};
pub use command::{BadCommand, Command, done, refused};
pub use publisher::{Backoff, Output, Publisher, PublisherLimits};
pub use subject::{STREAM_SUBJECTS, Subjects};

#[cfg(test)]
mod test_events;

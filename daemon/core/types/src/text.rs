//! The language between the signaling plane and the router for messages (SIP MESSAGE, RFC 3428): who writes to whom, and what became of it.
//!
//! What was written stays in signaling: the router needs none of it. Every [`TextCommand::Send`] is answered by exactly one [`TextEvent::Ended`], every
//! [`TextEvent::Offered`] and [`TextEvent::Within`] by exactly one [`TextCommand::Answer`].

use crate::{
    cause::{Cause, EndedBy},
    id::{CallSid, RealmName},
    leg::{CallerIdentity, Party, Target},
};

/// Names a message from its coming to its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TextId(pub u64);

/// A message that a known party sends outside of calls.
#[derive(Debug, Clone, PartialEq)]
pub struct TextOffered {
    /// Its name.
    pub id: TextId,
    /// Who sends.
    pub party: Party,
    /// Where it came in.
    pub realm: RealmName,
    /// As of a call ([`crate::leg::Offered`]).
    pub from: Box<str>,
    /// Display name of the sender, empty when none.
    pub from_name: Box<str>,
    /// User part of the Request-URI: a number or a user's name.
    pub to: Box<str>,
    /// The device of that user which alone is meant, as of a call.
    pub device: Option<Box<str>>,
    /// What is known of the sender besides.
    pub identity: CallerIdentity,
    /// How many elements it may still pass, 1..=70.
    pub max_forwards: u8,
    /// Bytes of its text.
    pub bytes: usize,
}

/// Where a message goes.
#[derive(Debug, Clone, PartialEq)]
pub enum TextTarget {
    /// As a call would: to all devices of a user, or over a trunk.
    Outside(Target),
    /// In the dialog of an answered leg.
    Within(CallSid),
}

/// A message on its way out.
#[derive(Debug, Clone, PartialEq)]
pub struct TextSend {
    /// Its name.
    pub id: TextId,
    /// Where to.
    pub target: TextTarget,
    /// User part of From.
    pub from: Box<str>,
    /// Display name of From, empty for none.
    pub from_name: Box<str>,
    /// What a trusted trunk is told of the sender.
    pub identity: CallerIdentity,
    /// Its Max-Forwards.
    pub max_forwards: u8,
}

/// What happened to messages.
#[derive(Debug, Clone, PartialEq)]
pub enum TextEvent {
    /// One came.
    Offered(Box<TextOffered>),
    /// One came in the dialog of an answered leg.
    Within {
        /// Its name.
        id: TextId,
        /// Which leg.
        leg: CallSid,
        /// How many elements it may still pass.
        max_forwards: u8,
        /// Bytes of its text.
        bytes: usize,
    },
    /// What became of one that was to be sent.
    Ended {
        /// Which.
        id: TextId,
        /// Who answered, or that we gave up.
        by: EndedBy,
        /// A status below 300: it was taken.
        cause: Cause,
    },
}

/// What the router wants done with messages.
#[derive(Debug, Clone, PartialEq)]
pub enum TextCommand {
    /// Pass it on.
    Send(Box<TextSend>),
    /// Answer its sender, and forget it.
    Answer {
        /// Which.
        id: TextId,
        /// The status.
        cause: Cause,
    },
}

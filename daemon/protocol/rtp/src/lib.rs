//! RTP as a relay needs it: packet views, what reception says about quality, digits, and the jitter buffer before a decoder.
//!
//! Everything here is plain computing on bytes and times that are passed in. A peer's nonsense is an ordinary `Err` or
//! `None`. Left out: encoding of audio (postern-audio), SRTP (postern-srtp), and RTCP's feedback and application packets.

#![forbid(unsafe_code)]

pub mod burst;
pub mod control;
pub mod event;
pub mod fuzz;
pub mod jitter;
pub mod metrics;
pub mod packet;
pub mod quality;
pub mod reception;
pub mod rtcp;
pub mod sent;
pub mod udptl;
pub mod write;

pub use control::Control;
pub use event::{Digits, Pressed, TelephoneEvent};
pub use packet::{BadPacket, Header, is_rtcp};
pub use quality::{Conditions, Impairment, mos};
pub use reception::Reception;
pub use sent::Sent;

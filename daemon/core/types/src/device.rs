//! A registered device, as it outlives a restart.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::{Transport, UnixMicros, UserName};

/// Where a user's device is reached, and until when. There is no secret in it: that its user knew the password was proven before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    /// Whose.
    pub user: UserName,
    /// Its Contact: what it wants in the Request-URI.
    pub contact: String,
    /// Its `+sip.instance` (RFC 5626 4.1), when it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
    /// Which of its ways to us this is: its `reg-id` (RFC 5626 4.2.1), when it has several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reg_id: Option<u32>,
    /// By what it is reached.
    pub transport: Transport,
    /// Our endpoint that it registered at.
    pub local: SocketAddr,
    /// Where it is reached.
    pub remote: SocketAddr,
    /// The Call-ID of its REGISTER.
    pub call_id: String,
    /// And its CSeq: an older one changes nothing (RFC 3261 10.3).
    pub cseq: u32,
    /// When it is forgotten unless it refreshes.
    pub expires: UnixMicros,
}

impl Device {
    /// What names it among those of its user: its instance and way, else its contact.
    pub fn key(&self) -> String {
        key(&self.contact, self.instance.as_deref(), self.reg_id)
    }
}

/// [`Device::key`] of these parts.
pub fn key(contact: &str, instance: Option<&str>, reg_id: Option<u32>) -> String {
    match (instance, reg_id) {
        (Some(instance), Some(way)) => format!("{instance};reg-id={way}"),
        (Some(instance), None) => instance.to_owned(),
        (None, _) => contact.to_owned(),
    }
}

/// What is to be remembered over a restart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeviceChange {
    /// A device is as this says, whatever was known of it before.
    Keep(Box<Device>),
    /// A device is gone.
    Forget {
        /// Whose.
        user: UserName,
        /// Its [`Device::key`].
        key: String,
    },
}

//! The REST API over TCP.

use std::net::SocketAddr;

use serde::Serialize;

use crate::reader::{Fields, Reader};

/// The REST API, event stream and metrics over TCP.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Api {
    /// Where.
    pub listen: SocketAddr,
}

impl Api {
    pub(crate) fn read(r: &mut Reader<'_>, f: &Fields<'_>) -> Option<Self> {
        let listen = f.socket(r, "listen")?;
        if !listen.ip().is_loopback() {
            r.warning(f.span_of("listen"), "tokens cross the network unencrypted")
                .hint("listen on a loopback address and put a TLS proxy in front");
        }
        if r.is_empty("accounts") {
            r.warning(f.span, "nobody can use the API").hint("add an entry to `accounts`");
        }
        Some(Self { listen })
    }
}

//! DNS: whom to ask for names.

use std::net::IpAddr;

use serde::Serialize;

use crate::reader::{Fields, Reader};

/// Name servers at most: each may be waited for.
const SERVERS_MAX: usize = 8;

/// Whom to ask.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Dns {
    /// Name servers; empty: the system's.
    pub servers: Vec<IpAddr>,
    /// Their port.
    pub port: u16,
}

impl Dns {
    pub(crate) fn read(r: &mut Reader<'_>, f: &Fields<'_>) -> Option<Self> {
        let servers = f.addresses(r, "servers");
        if let Some((_, span)) = servers.get(SERVERS_MAX) {
            r.error(*span, format!("more than {SERVERS_MAX} name servers")).hint("two or three are enough");
        }
        let port = f.integer(r, "port")? as u16;
        Some(Self { servers: servers.into_iter().map(|(server, _)| server).collect(), port })
    }
}

//! What of the box's work can be looked at later, beyond the journal.

use std::net::SocketAddr;

use serde::Serialize;

use crate::reader::{Fields, Reader};

/// The sections for whoever looks back.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Seeing {
    /// `trace:`
    pub trace: Trace,
    /// `hep:`; none: nothing is sent to a collector.
    pub hep: Option<Hep>,
}

/// Where copies of SIP messages are sent, in HEP3.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Hep {
    /// The collector, UDP.
    pub address: SocketAddr,
    /// How it knows this box.
    pub id: u32,
}

/// What of the SIP traffic is kept in memory, for `postern trace`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Trace {
    /// Calls at most; 0: nothing is kept.
    pub calls: u64,
    /// Bound of their messages, megabytes.
    pub mb: u64,
}

impl Default for Trace {
    fn default() -> Self {
        Self { calls: 1000, mb: 32 }
    }
}

impl Seeing {
    pub(crate) fn read(r: &mut Reader<'_>, top: &Fields<'_>) -> Option<Self> {
        let trace = top.section_or_defaults(r, "trace", "trace").and_then(|f| Trace::read(r, &f));
        let hep = top.section(r, "hep", "hep").and_then(|f| Hep::read(r, &f));
        Some(Self { trace: trace?, hep })
    }
}

impl Hep {
    fn read(r: &mut Reader<'_>, f: &Fields<'_>) -> Option<Self> {
        let (address, id) = (f.socket(r, "address"), f.integer(r, "id"));
        Some(Self { address: address?, id: id? as u32 })
    }
}

impl Trace {
    fn read(r: &mut Reader<'_>, f: &Fields<'_>) -> Option<Self> {
        let (calls, mb) = (f.integer(r, "calls"), f.integer(r, "mb"));
        Some(Self { calls: calls?, mb: mb? })
    }
}

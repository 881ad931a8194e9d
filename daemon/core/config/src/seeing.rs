//! What of the box's work can be looked at later, beyond the journal.

use serde::Serialize;

use crate::reader::{Fields, Reader};

/// The sections for whoever looks back: traces.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Seeing {
    /// `trace:`
    pub trace: Trace,
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
        Some(Self { trace: trace? })
    }
}

impl Trace {
    fn read(r: &mut Reader<'_>, f: &Fields<'_>) -> Option<Self> {
        let (calls, mb) = (f.integer(r, "calls"), f.integer(r, "mb"));
        Some(Self { calls: calls?, mb: mb? })
    }
}

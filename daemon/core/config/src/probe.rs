//! How a trunk's addresses are asked whether they live.

use std::time::Duration;

use serde::Serialize;

use crate::{
    reader::{Fields, Reader},
    write,
};

/// OPTIONS to each address of a trunk. Several failures make it down and several answers up again, so that one lost packet does
/// neither.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Probe {
    /// How often an address that answers is asked.
    #[serde(serialize_with = "write::duration")]
    pub every: Duration,
    /// How often one that did not answer, or is down, is asked.
    #[serde(serialize_with = "write::duration")]
    pub again: Duration,
    /// How long an answer is waited for.
    #[serde(serialize_with = "write::duration")]
    pub patience: Duration,
    /// Failures in a row after which it is down.
    pub fails: u32,
    /// Answers in a row after which it is up again.
    pub successes: u32,
}

impl Probe {
    pub(crate) fn read(r: &mut Reader<'_>, trunk: &Fields<'_>) -> Option<Self> {
        let f = trunk.section(r, "probe", "trunks.*.probe")?;
        let (every, again, patience) = (f.duration(r, "every"), f.duration(r, "again"), f.duration(r, "patience"));
        let (fails, successes) = (f.integer(r, "fails"), f.integer(r, "successes"));
        let (every, again, patience) = (every?, again?, patience?);
        if again > every {
            r.error(f.span_of("again"), "an address that does not answer would be asked less often than one that does")
                .hint("make `again` shorter than `every`");
        }
        Some(Self { every, again, patience, fails: fails? as u32, successes: successes? as u32 })
    }
}

//! When a call goes on elsewhere: to the next address of a trunk, or the next trunk of a group.

use std::time::Duration;

use serde::Serialize;

use crate::{
    reader::{Fields, Reader},
    write,
};

/// What a peer may say that says nothing of the callee: its time-out (RFC 3263 4.3 with RFC 3261 8.1.3.1), and what
/// gateways and servers say of themselves.
const STATUSES: [u16; 5] = [408, 500, 502, 503, 504];

/// When another target is tried, and how long one that failed rests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Failover {
    /// Final answers after which another may answer better.
    pub statuses: Vec<u16>,
    /// How long a target that says nothing at all is waited for, when there is another.
    #[serde(serialize_with = "write::duration")]
    pub after: Duration,
    /// How long a target that was silent or unreachable is tried last.
    #[serde(serialize_with = "write::duration")]
    pub rest: Duration,
}

impl Default for Failover {
    fn default() -> Self {
        Self { statuses: STATUSES.to_vec(), after: Duration::from_secs(4), rest: Duration::from_secs(30) }
    }
}

impl Failover {
    pub(crate) fn read(r: &mut Reader<'_>, trunk: &Fields<'_>) -> Option<Self> {
        let f = trunk.section_or_defaults(r, "failover", "trunks.*.failover")?;
        let written = f.integers(r, "statuses");
        for (status, span) in &written {
            let why = match status {
                401 | 407 => "a challenge is answered, or is the end",
                486 | 487 => "the callee, or the caller, meant that",
                _ => continue,
            };
            r.error(*span, format!("no call goes on elsewhere after {status}: {why}"))
                .hint("name what a gateway says of itself: 408, 500, 502, 503, 504, perhaps 404 or 480");
        }
        let statuses = match f.has("statuses") || f.node_if_written("statuses").is_some() {
            true => written.into_iter().map(|(status, _)| status as u16).collect(),
            false => STATUSES.to_vec(),
        };
        Some(Self { statuses, after: f.duration(r, "after")?, rest: f.duration(r, "rest")? })
    }

    /// Whether a final answer leaves hope that another target takes the call. What the callee meant never does.
    pub fn takes(&self, status: u16) -> bool {
        self.statuses.contains(&status)
    }
}

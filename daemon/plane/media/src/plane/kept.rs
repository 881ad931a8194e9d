//! What is kept for emergency calls, where any number is one: the last port pairs of each address, the last slots. Who calls for help finds room
//! for its media however many others talk.

use std::time::Instant;

use postern_types::Now;

use super::{MediaPlane, PortsKey};

/// Pairs of one port table that are kept at most, and slots of all: 32 calls with both legs at one address.
const KEPT_MAX: usize = 64;
/// One call's: with fewer it could not be answered.
const KEPT_MIN: usize = 2;
/// Of a small range no more than this part, so that keeping does not take what others need every day.
const KEPT_PART: usize = 16;

impl MediaPlane {
    /// Why a leg of no emergency call is not opened though there is room, if so.
    pub(super) fn kept(&self, now: Now, key: &PortsKey) -> Option<String> {
        if !self.keeps {
            return None;
        }
        let ports = self.ports.get(key)?;
        let free = ports.free(now.instant);
        let is_left = |share: usize| free > share || free + self.rested(now.instant, key) > share;
        if !is_left(share(ports.range())) {
            return Some(format!("realm {}: the last media ports are kept for emergency calls", key.0));
        }
        (self.slots_max.saturating_sub(self.legs.len()) <= share(self.slots_max))
            .then(|| "the last streams are kept for emergency calls".into())
    }

    /// Pairs that are held with their sockets, and could serve a leg now.
    pub(super) fn rested(&self, now: Instant, key: &PortsKey) -> usize {
        self.workers.iter().filter(|worker| !worker.has_failed()).map(|worker| worker.rested(key, now)).sum()
    }

    /// Of so many of a kind, those that ordinary calls may have.
    pub(super) fn common(&self, left: usize, of: usize) -> usize {
        left.saturating_sub(if self.keeps { share(of) } else { 0 })
    }
}

/// How many of so many are kept.
fn share(of: usize) -> usize {
    (of / KEPT_PART).clamp(KEPT_MIN, KEPT_MAX).min(of / 2)
}

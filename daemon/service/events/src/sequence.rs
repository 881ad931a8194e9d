//! Numbers and names for facts.

use std::sync::Arc;

use postern_facts::{Event, Happened};
use postern_types::{Sid, UnixMicros, id::EventSid};
use rand::Rng;

/// Gives each fact the next number and an id of its own.
#[derive(Debug, Clone)]
pub struct Sequencer {
    last: u64,
}

impl Sequencer {
    /// Goes on after `last`: the spool's last number, 0 on a fresh appliance.
    pub fn resume(last: u64) -> Self {
        Self { last }
    }

    /// Makes the event.
    pub fn number(&mut self, now: UnixMicros, rng: &mut impl Rng, happened: Happened) -> Arc<Event> {
        self.last += 1;
        let Happened { subject, fact } = happened;
        Arc::new(Event { seq: self.last, id: EventSid::random(rng), at: now, subject, fact })
    }

    /// The number given last.
    pub fn last(&self) -> u64 {
        self.last
    }
}

#[cfg(test)]
mod tests {
    use postern_facts::{Fact, LegResumed, Subject};
    use rand::{SeedableRng, rngs::StdRng};

    use super::*;

    #[test]
    fn numbers_go_on_after_a_restart_and_ids_differ() {
        let mut rng = StdRng::seed_from_u64(1);
        let mut sequencer = Sequencer::resume(41);
        let happened = || Happened { subject: Subject::default(), fact: Fact::from(LegResumed {}) };
        let one = sequencer.number(UnixMicros(7), &mut rng, happened());
        let two = sequencer.number(UnixMicros(8), &mut rng, happened());
        assert_eq!((one.seq, two.seq, sequencer.last()), (42, 43, 43));
        assert_ne!(one.id, two.id);
    }
}

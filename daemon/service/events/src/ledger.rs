//! The ladder of each call: its facts in order, gathered while it lives and told when it ends.
//!
//! What is gathered are the texts that spool, streams and control plane share: no fact is written down a second time.

use std::{
    collections::{BTreeMap, HashMap, VecDeque, hash_map::Entry},
    sync::Arc,
};

use postern_facts::{CallCreated, CallEnded, CallOffered, Written};
use postern_types::CallSid;

/// How much is kept.
#[derive(Debug, Clone, Copy)]
pub struct LedgerLimits {
    /// Live calls at most. Above what one box admits: more of them say that ends were lost, in a queue before this one. The
    /// call that began first is then told as far as it is known.
    pub live_max: usize,
    /// Finished calls whose late facts are still taken, at most; the oldest leaves.
    pub finished_max: usize,
    /// Facts of one call at most: a document can loop for days. Those beyond are counted, except the call's end.
    pub facts_max: usize,
}

impl Default for LedgerLimits {
    fn default() -> Self {
        Self { live_max: 20_000, finished_max: 1_000, facts_max: 500 }
    }
}

/// A part of a call's ladder that is complete: to be stored.
#[derive(Debug, Clone, PartialEq)]
pub struct Chapter {
    /// Whose.
    pub call: CallSid,
    /// Oldest first; the whole call at its end, then each late fact (a callback's delivery) by itself.
    pub events: Vec<Arc<Written>>,
}

#[derive(Debug)]
enum Story {
    /// Its facts, at least the one that began it.
    Live(Vec<Arc<Written>>),
    /// Its chapter was told.
    Finished,
}

/// Facts by call.
#[derive(Debug, Default)]
pub struct Ledger {
    stories: HashMap<CallSid, Story>,
    /// Live calls by the number of their first fact.
    live: BTreeMap<u64, CallSid>,
    finished: VecDeque<CallSid>,
    limits: LedgerLimits,
    dropped: u64,
}

impl Ledger {
    /// Empty.
    pub fn new(limits: LedgerLimits) -> Self {
        Self { limits, ..Self::default() }
    }

    /// Takes note of an event. Returns what is to be stored now.
    pub fn record(&mut self, event: &Arc<Written>) -> Option<Chapter> {
        let call = event.subject.call?;
        let is_end = *event.name == *CallEnded::META.name;
        match self.stories.entry(call) {
            // A story begins with the call's first fact only, so that a late fact of a forgotten call does not open one that
            // never ends.
            Entry::Vacant(place) => {
                if ![CallOffered::META.name, CallCreated::META.name].contains(&&*event.name) {
                    self.dropped += 1;
                    return None;
                }
                place.insert(Story::Live(vec![event.clone()]));
                self.live.insert(event.seq, call);
                if self.live.len() <= self.limits.live_max {
                    return None;
                }
                let (_, oldest) = self.live.pop_first()?;
                self.finish(oldest)
            }
            Entry::Occupied(story) => match story.into_mut() {
                Story::Finished => Some(Chapter { call, events: vec![event.clone()] }),
                Story::Live(events) => {
                    if events.len() < self.limits.facts_max || is_end {
                        events.push(event.clone());
                    } else {
                        self.dropped += 1;
                    }
                    if !is_end {
                        return None;
                    }
                    self.live.remove(&events[0].seq);
                    self.finish(call)
                }
            },
        }
    }

    /// Calls that have not ended.
    pub fn live(&self) -> usize {
        self.live.len()
    }

    /// Facts that found no room.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    fn finish(&mut self, call: CallSid) -> Option<Chapter> {
        let story = self.stories.insert(call, Story::Finished);
        self.finished.push_back(call);
        if self.finished.len() > self.limits.finished_max
            && let Some(oldest) = self.finished.pop_front()
        {
            self.stories.remove(&oldest);
        }
        match story {
            Some(Story::Live(events)) => Some(Chapter { call, events }),
            Some(Story::Finished) | None => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use postern_facts::{Event, Fact, LegResumed, Subject};
    use postern_types::{
        UnixMicros,
        cause::{Cause, EndedBy},
        id::EventSid,
    };

    use super::*;

    fn event(seq: u64, call: u128, fact: impl Into<Fact>) -> Arc<Written> {
        let subject = Subject { call: Some(CallSid(call)), ..Subject::default() };
        let event = Event { seq, id: EventSid(seq.into()), at: UnixMicros(seq), subject, fact: fact.into() };
        Arc::new(Written::of(&event))
    }

    fn created() -> CallCreated {
        CallCreated { from: "+1".into(), to: "+2".into(), by: "rest".into() }
    }

    fn ended() -> CallEnded {
        CallEnded { by: EndedBy::Peer, cause: Cause::NORMAL, total_ms: 1, legs: 1 }
    }

    fn told(chapter: Option<Chapter>) -> (u128, Vec<u64>) {
        let chapter = chapter.expect("a chapter");
        (chapter.call.0, chapter.events.iter().map(|event| event.seq).collect())
    }

    #[test]
    fn a_call_is_told_when_it_ends_and_late_facts_by_themselves() {
        let mut ledger = Ledger::new(LedgerLimits::default());
        assert_eq!(ledger.record(&event(1, 1, created())), None);
        assert_eq!(ledger.record(&event(2, 1, LegResumed {})), None);
        assert_eq!(ledger.live(), 1);
        assert_eq!(told(ledger.record(&event(3, 1, ended()))), (1, vec![1, 2, 3]));
        assert_eq!(told(ledger.record(&event(4, 1, LegResumed {}))), (1, vec![4]));
        assert_eq!((ledger.live(), ledger.dropped()), (0, 0));
    }

    #[test]
    fn calls_and_facts_are_bounded() {
        let mut ledger = Ledger::new(LedgerLimits { live_max: 2, finished_max: 1, facts_max: 2 });
        assert_eq!(ledger.record(&event(1, 1, created())), None);
        assert_eq!(ledger.record(&event(2, 2, created())), None);
        // One too many: the end of the first was lost.
        assert_eq!(told(ledger.record(&event(3, 3, created()))), (1, vec![1]));
        assert_eq!(ledger.live(), 2);
        for seq in 4..9 {
            ledger.record(&event(seq, 2, LegResumed {}));
        }
        assert_eq!(told(ledger.record(&event(9, 2, ended()))), (2, vec![2, 4, 9]));
        assert_eq!(ledger.dropped(), 4);
        // The forgotten call stays forgotten.
        assert_eq!(ledger.record(&event(10, 1, LegResumed {})), None);
        assert_eq!((ledger.live(), ledger.dropped()), (1, 5));
    }
}

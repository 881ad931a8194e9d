//! The ladder of each call: its facts in order, live and for a while after its end.

use std::{
    collections::{HashMap, VecDeque, hash_map::Entry},
    sync::Arc,
};

use postern_facts::{Event, Fact};
use postern_types::CallSid;

/// How much is kept.
#[derive(Debug, Clone, Copy)]
pub struct LedgerLimits {
    /// Live calls at most; of one beyond, nothing is kept (counted). Above what one box admits.
    pub live_max: usize,
    /// Finished calls at most; the oldest leaves. `explain` finds older ones in the store.
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
    pub events: Vec<Arc<Event>>,
}

#[derive(Debug, Default)]
struct Story {
    events: Vec<Arc<Event>>,
    legs: Vec<CallSid>,
    is_finished: bool,
}

/// Facts by call.
#[derive(Debug, Default)]
pub struct Ledger {
    stories: HashMap<CallSid, Story>,
    /// From any further leg to its call.
    call_of: HashMap<CallSid, CallSid>,
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
    pub fn record(&mut self, event: &Arc<Event>) -> Option<Chapter> {
        let call = event.subject.call?;
        let is_end = matches!(event.fact, Fact::CallEnded(_));
        let live = self.live();
        let story = match self.stories.entry(call) {
            Entry::Occupied(story) => story.into_mut(),
            // A story begins with the call's first fact only, so that a late fact of a forgotten call does not open one that
            // never ends.
            Entry::Vacant(place) => {
                let begins = matches!(event.fact, Fact::CallOffered(_) | Fact::CallCreated(_));
                if !begins || live >= self.limits.live_max {
                    self.dropped += 1;
                    return None;
                }
                place.insert(Story::default())
            }
        };
        if let Some(leg) = event.subject.leg.filter(|leg| *leg != call && !story.legs.contains(leg)) {
            // Bounded by facts_max: a leg is noted only with a fact that is kept.
            if story.events.len() < self.limits.facts_max {
                story.legs.push(leg);
                self.call_of.insert(leg, call);
            }
        }
        if story.events.len() < self.limits.facts_max || is_end {
            story.events.push(event.clone());
        } else {
            self.dropped += 1;
        }
        if story.is_finished {
            return Some(Chapter { call, events: vec![event.clone()] });
        }
        if !is_end {
            return None;
        }
        story.is_finished = true;
        let chapter = Chapter { call, events: story.events.clone() };
        self.finished.push_back(call);
        while self.finished.len() > self.limits.finished_max {
            self.forget_oldest();
        }
        Some(chapter)
    }

    /// The facts of a call, by its sid or that of any of its legs. Oldest first.
    pub fn story(&self, sid: CallSid) -> Option<&[Arc<Event>]> {
        let call = self.call_of.get(&sid).copied().unwrap_or(sid);
        self.stories.get(&call).map(|story| &*story.events)
    }

    /// The call that a leg belongs to, while its story is kept.
    pub fn call_of(&self, leg: CallSid) -> Option<CallSid> {
        match self.call_of.get(&leg) {
            Some(call) => Some(*call),
            None => self.stories.contains_key(&leg).then_some(leg),
        }
    }

    /// Calls that have not ended.
    pub fn live(&self) -> usize {
        self.stories.len() - self.finished.len()
    }

    /// Facts that found no room.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    fn forget_oldest(&mut self) {
        let Some(call) = self.finished.pop_front() else { return };
        for leg in self.stories.remove(&call).map(|story| story.legs).unwrap_or_default() {
            self.call_of.remove(&leg);
        }
    }
}

#[cfg(test)]
mod tests {
    use postern_facts::{CallCreated, CallEnded, LegResumed, Subject};
    use postern_types::{
        UnixMicros,
        cause::{Cause, EndedBy},
        id::EventSid,
    };

    use super::*;

    fn event(seq: u64, call: u128, leg: u128, fact: impl Into<Fact>) -> Arc<Event> {
        let subject = Subject { call: Some(CallSid(call)), leg: Some(CallSid(leg)), ..Subject::default() };
        Arc::new(Event { seq, id: EventSid(seq.into()), at: UnixMicros(seq), subject, fact: fact.into() })
    }

    fn created() -> CallCreated {
        CallCreated { from: "+1".into(), to: "+2".into(), by: "rest".into() }
    }

    fn ended() -> CallEnded {
        CallEnded { by: EndedBy::Peer, cause: Cause::NORMAL, total_ms: 1, legs: 1 }
    }

    #[test]
    fn a_call_is_told_by_any_leg_and_stored_when_it_ends() {
        let mut ledger = Ledger::new(LedgerLimits::default());
        assert_eq!(ledger.record(&event(1, 1, 1, created())), None);
        assert_eq!(ledger.record(&event(2, 1, 2, LegResumed {})), None);
        assert_eq!(ledger.story(CallSid(2)).map(<[_]>::len), Some(2));
        let chapter = ledger.record(&event(3, 1, 1, ended())).unwrap();
        assert_eq!((chapter.call, chapter.events.len(), ledger.live()), (CallSid(1), 3, 0));
        let late = ledger.record(&event(4, 1, 1, LegResumed {})).unwrap();
        assert_eq!((late.events.len(), late.events[0].seq), (1, 4));
        assert_eq!(ledger.story(CallSid(1)).map(<[_]>::len), Some(4));
    }

    #[test]
    fn calls_and_facts_are_bounded() {
        let mut ledger = Ledger::new(LedgerLimits { live_max: 2, finished_max: 1, facts_max: 2 });
        for call in 1..=3 {
            ledger.record(&event(1, call, call, created()));
        }
        assert_eq!((ledger.live(), ledger.dropped()), (2, 1));
        for _ in 0..5 {
            ledger.record(&event(2, 1, 1, LegResumed {}));
        }
        let chapter = ledger.record(&event(3, 1, 1, ended())).unwrap();
        assert_eq!((chapter.events.len(), ledger.dropped()), (3, 5));
        ledger.record(&event(4, 2, 9, ended()));
        assert!(ledger.story(CallSid(1)).is_none() && ledger.story(CallSid(9)).is_some());
        // The forgotten call stays forgotten.
        assert_eq!(ledger.record(&event(5, 1, 1, LegResumed {})), None);
        assert_eq!((ledger.live(), ledger.dropped()), (0, 6));
    }
}

//! The record of a whole call: its legs, its route and its end, gathered while it lives and told when its last leg is gone.

use std::collections::{BTreeMap, HashMap, hash_map::Entry};

use postern_facts::{CallEnded, CallRecord, CallRouted, Event, Fact};
use postern_types::{CallSid, Cause, EndedBy, UnixMicros};
use serde::{Deserialize, Serialize};

/// Calls that are gathered at most, above what one box admits: more of them say that ends were lost. The call that began first is then
/// told as far as it is known.
pub const GATHERED_MAX: usize = 22_000;
/// Legs of one call that are kept at most: a document can dial for days. Those beyond are counted.
pub const LEGS_MAX: usize = 64;

/// A call that is over.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CallDetail {
    /// Its name: its first leg.
    pub call: CallSid,
    /// First INVITE, or creation by REST.
    pub began: Option<UnixMicros>,
    /// When its last leg was gone.
    pub ended: Option<UnixMicros>,
    /// Who released it first; none: its end was lost.
    pub by: Option<EndedBy>,
    /// Why: the cause of the Reason header (RFC 3326) that came, else the one that follows from the status.
    pub cause: Option<Cause>,
    /// What decided where it goes; the first, for a call that a document or a transfer routed again.
    pub route: Option<RouteTaken>,
    /// Its legs, the first in front: each with its trunk or user, its times, its cause, what was negotiated and the audio's figures.
    pub legs: Vec<CallRecord>,
    /// Legs beyond those.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub legs_more: u64,
    /// Legs, routes and ends of calls that were lost before this record, because they came faster than records could be written.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub lost: u64,
}

/// What decided.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteTaken {
    /// `number`, `user`, `route`, `rest` or `document`.
    pub table: String,
    /// The row.
    pub entry: String,
    /// Where to.
    pub to: String,
    /// Why.
    pub why: String,
}

fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// Calls that are not over.
#[derive(Debug, Default)]
pub struct Gatherer {
    calls: HashMap<CallSid, Story>,
    /// Legs other than the first, to their calls.
    legs: HashMap<CallSid, CallSid>,
    /// Calls in the order in which they were first heard of.
    order: BTreeMap<u64, CallSid>,
    next: u64,
}

#[derive(Debug)]
struct Story {
    detail: CallDetail,
    /// Its legs in the table of legs.
    placed: Vec<CallSid>,
    /// Its place in the order.
    number: u64,
}

impl Gatherer {
    /// Whether an event has anything for it: spares others the way.
    pub fn wants(fact: &Fact) -> bool {
        let places_a_leg = matches!(fact, Fact::LegDialed(_) | Fact::LegReplaces(_) | Fact::LegMoved(_));
        places_a_leg || matches!(fact, Fact::CallRouted(_) | Fact::CallEnded(_))
    }

    /// Takes note of an event. Returns a call that is over.
    pub fn event(&mut self, event: &Event) -> Option<CallDetail> {
        let call = event.subject.call?;
        match &event.fact {
            Fact::CallRouted(routed) => {
                let CallRouted { table, entry, to, why } = &**routed;
                let overflow = self.begin(call);
                let route = &mut self.calls.get_mut(&call)?.detail.route;
                if route.is_none() {
                    let (table, entry, to, why) = (table.clone(), entry.clone(), to.clone(), why.clone());
                    *route = Some(RouteTaken { table, entry, to, why });
                }
                overflow
            }
            Fact::LegDialed(_) | Fact::LegReplaces(_) => self.place(event.subject.leg?, call),
            Fact::LegMoved(moved) => {
                let leg = event.subject.leg?;
                if let Some(story) = self.calls.get_mut(&call) {
                    story.placed.retain(|placed| *placed != leg);
                }
                self.place(leg, moved.into)
            }
            Fact::CallEnded(over) => {
                self.begin(call);
                let mut detail = self.take(call)?;
                let CallEnded { by, cause, .. } = &**over;
                (detail.by, detail.cause, detail.ended) = (Some(*by), Some(cause.clone()), Some(event.at));
                Some(detail)
            }
            _ => None,
        }
    }

    /// Takes a finished leg. Returns a call that had to leave for it.
    pub fn leg(&mut self, record: CallRecord) -> Option<CallDetail> {
        let call = self.legs.get(&record.sid).copied().or(record.parent).unwrap_or(record.sid);
        let overflow = self.begin(call);
        let detail = &mut self.calls.get_mut(&call)?.detail;
        if detail.legs.len() >= LEGS_MAX {
            detail.legs_more += 1;
        } else {
            detail.legs.push(record);
        }
        overflow
    }

    /// Calls that are gathered now.
    pub fn len(&self) -> usize {
        self.calls.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.calls.is_empty()
    }

    /// Notes whose a leg is that is not its call's first.
    fn place(&mut self, leg: CallSid, call: CallSid) -> Option<CallDetail> {
        let overflow = self.begin(call);
        if leg != call {
            self.legs.insert(leg, call);
            self.calls.get_mut(&call)?.placed.push(leg);
        }
        overflow
    }

    fn begin(&mut self, call: CallSid) -> Option<CallDetail> {
        let Entry::Vacant(place) = self.calls.entry(call) else { return None };
        self.next += 1;
        let detail = CallDetail {
            call,
            began: None,
            ended: None,
            by: None,
            cause: None,
            route: None,
            legs: Vec::new(),
            legs_more: 0,
            lost: 0,
        };
        place.insert(Story { detail, placed: Vec::new(), number: self.next });
        self.order.insert(self.next, call);
        if self.calls.len() <= GATHERED_MAX {
            return None;
        }
        let oldest = self.order.first_key_value().map(|(_, call)| *call)?;
        self.take(oldest)
    }

    fn take(&mut self, call: CallSid) -> Option<CallDetail> {
        let Story { mut detail, placed, number } = self.calls.remove(&call)?;
        self.order.remove(&number);
        placed.iter().for_each(|leg| _ = self.legs.remove(leg));
        detail.legs.sort_by_key(|leg| (leg.sid != call, leg.created, leg.sid));
        detail.began = detail.legs.iter().map(|leg| leg.created).min();
        Some(detail)
    }
}

#[cfg(test)]
mod tests {
    use postern_facts::{LegDialed, LegMoved, LegReplaces, Subject};
    use postern_types::{TrunkName, id::EventSid, leg::Party};

    use super::*;

    fn event(call: u128, leg: u128, fact: impl Into<Fact>) -> Event {
        let subject = Subject { call: Some(CallSid(call)), leg: Some(CallSid(leg)), ..Subject::default() };
        Event { seq: 1, id: EventSid(1), at: UnixMicros(9), subject, fact: fact.into() }
    }

    fn leg(sid: u128, parent: Option<u128>, created: u64) -> CallRecord {
        let text = serde_json::json!({
            "sid": CallSid(sid), "parent": parent.map(CallSid), "account": null, "direction": "inbound", "status": "completed",
            "from": "1", "from_name": "", "to": "2", "party": Party::Trunk { trunk: TrunkName::new("t") }, "created": created, "updated": 3,
            "answered": null, "ended": 4, "ended_by": null, "cause": null, "media": null, "quality": null,
        });
        serde_json::from_value(text).unwrap()
    }

    fn dialed() -> LegDialed {
        let party = Party::Trunk { trunk: TrunkName::new("t") };
        LegDialed { party, to: "2".into(), from: "1".into(), timeout_s: 30 }
    }

    fn ended() -> CallEnded {
        CallEnded { by: EndedBy::Peer, cause: Cause::NORMAL, total_ms: 1, legs: 3 }
    }

    #[test]
    fn all_legs_of_a_call_are_one_record_also_after_a_transfer() {
        let mut gatherer = Gatherer::default();
        let routed =
            |entry: &str| CallRouted { table: "route".into(), entry: entry.into(), to: "".into(), why: "".into() };
        assert_eq!(gatherer.event(&event(1, 1, routed("first"))), None);
        gatherer.event(&event(1, 2, dialed()));
        gatherer.event(&event(1, 3, dialed()));
        gatherer.event(&event(1, 1, routed("second")));
        // The third was dialed by the second, which is no longer there when it ends.
        for record in [leg(2, Some(1), 20), leg(3, Some(2), 30), leg(1, None, 10)] {
            assert_eq!(gatherer.leg(record), None);
        }
        gatherer.leg(leg(7, None, 1));
        let detail = gatherer.event(&event(1, 1, ended())).unwrap();
        assert_eq!(detail.legs.iter().map(|leg| leg.sid.0).collect::<Vec<_>>(), [1, 2, 3]);
        assert_eq!((detail.began, detail.by), (Some(UnixMicros(10)), Some(EndedBy::Peer)));
        assert_eq!(detail.route.unwrap().entry, "first");
        assert!(gatherer.legs.is_empty() && gatherer.len() == 1);
    }

    #[test]
    fn a_leg_that_moved_or_took_a_place_is_in_the_record_of_the_call_that_it_ended_in() {
        let mut gatherer = Gatherer::default();
        let replaces = LegReplaces { of: CallSid(3), source: ([192, 0, 2, 1], 5060).into(), sip_call_id: "x".into() };
        // One and two talk, three and four; three refers four to one, so that it goes on with two, and five takes the place of two.
        gatherer.event(&event(1, 2, dialed()));
        gatherer.event(&event(3, 4, dialed()));
        gatherer.event(&event(3, 4, LegMoved { into: CallSid(1) }));
        gatherer.event(&event(1, 5, replaces));
        gatherer.leg(leg(3, None, 30));
        let second = gatherer.event(&event(3, 3, ended())).unwrap();
        for record in [leg(1, None, 10), leg(2, Some(1), 20), leg(4, Some(3), 40), leg(5, None, 50)] {
            gatherer.leg(record);
        }
        let first = gatherer.event(&event(1, 1, ended())).unwrap();
        let legs = |detail: CallDetail| detail.legs.iter().map(|leg| leg.sid.0).collect::<Vec<_>>();
        assert_eq!((legs(second), legs(first)), (vec![3], vec![1, 2, 4, 5]));
        assert!(gatherer.is_empty() && gatherer.legs.is_empty() && gatherer.order.is_empty());
    }

    #[test]
    fn calls_and_legs_whose_end_is_lost_take_no_more_than_their_room() {
        let mut gatherer = Gatherer::default();
        for call in 0..GATHERED_MAX as u128 {
            assert_eq!(gatherer.event(&event(call, call + (1 << 64), dialed())), None);
        }
        let pushed_out = gatherer.leg(leg(1 << 32, None, 1)).unwrap();
        assert_eq!((pushed_out.call, pushed_out.by), (CallSid(0), None));
        assert_eq!(
            (gatherer.len(), gatherer.order.len(), gatherer.legs.len()),
            (GATHERED_MAX, GATHERED_MAX, GATHERED_MAX - 1)
        );
        for sid in 0..100 {
            gatherer.leg(leg((1 << 40) + sid, Some(1 << 32), 1));
        }
        let detail = gatherer.event(&event(1 << 32, 0, ended())).unwrap();
        assert_eq!((detail.legs.len(), detail.legs_more), (LEGS_MAX, 101 - LEGS_MAX as u64));
    }
}

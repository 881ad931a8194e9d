//! The messages of the last calls, as they were on the wire, in memory: what `postern trace` shows.
//!
//! A message is filed by its dialog. Until a call claims the dialog it waits among those of nobody, in an eighth of the room: what
//! strangers send pushes out what other strangers sent, never a call's messages. A claimed dialog goes whole into its call, in order
//! with the call's other dialogs. When the room is used up, the oldest call leaves; a call that says too much loses its middle, since
//! how it began and how it ended is what is asked for.

use std::{
    collections::{HashMap, VecDeque},
    net::SocketAddr,
    sync::Arc,
};

use postern_types::{CallSid, Transport, UnixMicros};

/// How much is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceLimits {
    /// Calls at most; 0: nothing is kept. The oldest leaves.
    pub calls: usize,
    /// Bytes of messages at most, those of nobody included.
    pub bytes: usize,
}

/// Which way a message went, seen from here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Way {
    /// It came.
    In,
    /// It was sent.
    Out,
}

/// Where a message passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hop {
    /// Which way.
    pub way: Way,
    /// By what.
    pub transport: Transport,
    /// Our address.
    pub local: SocketAddr,
    /// The other's.
    pub remote: SocketAddr,
}

/// A message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Traced {
    /// Its number since the start, from 1.
    pub seq: u64,
    /// When it passed.
    pub at: UnixMicros,
    /// Where.
    pub hop: Hop,
    /// Of which leg, once that is known.
    pub leg: Option<CallSid>,
    /// As it was on the wire; secrets and all. What was sent is shared with those who may send it again.
    pub bytes: Arc<[u8]>,
}

/// Messages of one dialog of nobody at most: keep-alives of a PBX may have the same Call-ID for months.
const OF_NOBODY_MAX: usize = 32;

/// Messages of one call at most: a conference or a phone that refreshes each minute for a day.
const OF_CALL_MAX: usize = 1000;

/// A message counts for its bytes and this much for what is kept beside them.
const OVERHEAD: usize = size_of::<Traced>();

/// Messages by call. See the head of the module.
#[derive(Debug)]
pub struct Trace {
    limits: TraceLimits,
    dialogs: HashMap<Box<[u8]>, Dialog>,
    /// Call-IDs of dialogs of nobody, oldest first; those that were claimed since are still in it for a while.
    waiting: VecDeque<Box<[u8]>>,
    calls: HashMap<CallSid, Story>,
    /// Oldest first.
    order: VecDeque<CallSid>,
    waiting_dialogs: usize,
    waiting_bytes: usize,
    call_bytes: usize,
    last: u64,
}

#[derive(Debug)]
enum Dialog {
    OfNobody(VecDeque<Traced>),
    Of { call: CallSid, leg: CallSid },
}

#[derive(Debug, Default)]
struct Story {
    messages: Vec<Traced>,
    dialogs: Vec<Box<[u8]>>,
    bytes: usize,
    dropped: u64,
}

/// What is kept of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kept<'a> {
    /// Oldest first.
    pub messages: &'a [Traced],
    /// How many were given up from the middle.
    pub dropped: u64,
}

/// How much is kept now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TraceFigures {
    /// Calls.
    pub calls: usize,
    /// Bytes of messages and what is kept beside them.
    pub bytes: usize,
}

impl Trace {
    /// Empty.
    pub fn new(limits: TraceLimits) -> Self {
        Self {
            limits,
            dialogs: HashMap::new(),
            waiting: VecDeque::new(),
            calls: HashMap::new(),
            order: VecDeque::new(),
            waiting_dialogs: 0,
            waiting_bytes: 0,
            call_bytes: 0,
            last: 0,
        }
    }

    /// Other limits from now on; what is beyond them leaves at once.
    pub fn set_limits(&mut self, limits: TraceLimits) {
        self.limits = limits;
        self.shrink();
    }

    /// Whether anything is kept at all.
    pub fn is_on(&self) -> bool {
        self.limits.calls > 0
    }

    /// Takes a message of a dialog.
    pub fn note(&mut self, at: UnixMicros, hop: Hop, call_id: &[u8], bytes: impl AsRef<[u8]> + Into<Arc<[u8]>>) {
        // One that alone is more than a quarter of the room would push out all others of its sort.
        if !self.is_on() || bytes.as_ref().len() > self.limits.bytes / 32 {
            return;
        }
        self.last += 1;
        let mut message = Traced { seq: self.last, at, hop, leg: None, bytes: bytes.into() };
        let size = size(&message);
        match self.dialogs.get_mut(call_id) {
            Some(Dialog::Of { call, leg }) => {
                message.leg = Some(*leg);
                let Some(story) = self.calls.get_mut(call) else { return };
                self.call_bytes += size;
                self.call_bytes -= story.add(message, self.limits.bytes / 8);
            }
            Some(Dialog::OfNobody(messages)) => {
                messages.push_back(message);
                self.waiting_bytes += size;
                if messages.len() > OF_NOBODY_MAX {
                    let oldest = messages.pop_front().expect("there are more than the maximum");
                    self.waiting_bytes -= self::size(&oldest);
                }
            }
            None => {
                self.dialogs.insert(call_id.into(), Dialog::OfNobody([message].into()));
                self.waiting.push_back(call_id.into());
                self.waiting_dialogs += 1;
                self.waiting_bytes += size;
            }
        }
        self.shrink();
    }

    /// A dialog is of this leg of this call: what waited of it goes there, and so does what comes.
    pub fn claim(&mut self, call: CallSid, leg: CallSid, call_id: &[u8]) {
        if !self.is_on() {
            return;
        }
        let waited = match self.dialogs.insert(call_id.into(), Dialog::Of { call, leg }) {
            Some(Dialog::OfNobody(messages)) => {
                self.waiting_dialogs -= 1;
                messages
            }
            // A Call-ID that is used again: from now on it is the new call's.
            Some(Dialog::Of { call: before, .. }) => {
                if let Some(story) = self.calls.get_mut(&before) {
                    story.dialogs.retain(|known| **known != *call_id);
                }
                VecDeque::new()
            }
            None => VecDeque::new(),
        };
        let story = self.calls.entry(call).or_insert_with(|| {
            self.order.push_back(call);
            Story::default()
        });
        story.dialogs.push(call_id.into());
        for mut message in waited {
            let size = size(&message);
            message.leg = Some(leg);
            self.waiting_bytes -= size;
            self.call_bytes += size;
            self.call_bytes -= story.add(message, self.limits.bytes / 8);
        }
        // Dialogs of one call may have waited beside each other.
        story.messages.sort_by_key(|message| message.seq);
        self.shrink();
    }

    /// What is kept of a call, named by its first leg.
    pub fn call(&self, call: CallSid) -> Option<Kept<'_>> {
        let story = self.calls.get(&call)?;
        Some(Kept { messages: &story.messages, dropped: story.dropped })
    }

    /// The messages of all calls and of nobody after a number, oldest first, at most `limit`: what came since the last look. Each
    /// with its call.
    pub fn since(&self, after: u64, limit: usize) -> Vec<(Option<CallSid>, &Traced)> {
        let newer = |message: &&Traced| message.seq > after;
        let mut found = Vec::new();
        for (call, story) in &self.calls {
            let begin = story.messages.partition_point(|message| message.seq <= after);
            found.extend(story.messages[begin..].iter().map(|message| (Some(*call), message)));
        }
        for dialog in self.dialogs.values() {
            if let Dialog::OfNobody(messages) = dialog {
                found.extend(messages.iter().filter(newer).map(|message| (None, message)));
            }
        }
        found.sort_by_key(|(_, message)| message.seq);
        found.truncate(limit);
        found
    }

    /// The number of the latest message.
    pub fn last(&self) -> u64 {
        self.last
    }

    /// How much is kept.
    pub fn figures(&self) -> TraceFigures {
        TraceFigures { calls: self.calls.len(), bytes: self.waiting_bytes + self.call_bytes }
    }

    fn shrink(&mut self) {
        while self.waiting_bytes > self.limits.bytes / 8 || (!self.is_on() && !self.waiting.is_empty()) {
            let Some(oldest) = self.waiting.pop_front() else { break };
            if let Some(Dialog::OfNobody(messages)) = self.dialogs.get(&oldest) {
                self.waiting_bytes -= messages.iter().map(size).sum::<usize>();
                self.waiting_dialogs -= 1;
                self.dialogs.remove(&oldest);
            }
        }
        // Dialogs that were claimed are taken out of the queue when they are most of it.
        if self.waiting.len() > 2 * self.waiting_dialogs + 64 {
            let dialogs = &self.dialogs;
            let mut seen = std::collections::HashSet::new();
            self.waiting.retain(|call_id| {
                matches!(dialogs.get(call_id), Some(Dialog::OfNobody(_))) && seen.insert(call_id.clone())
            });
        }
        while self.calls.len() > self.limits.calls || self.call_bytes > self.limits.bytes / 8 * 7 {
            let Some(oldest) = self.order.pop_front() else { break };
            let Some(story) = self.calls.remove(&oldest) else { continue };
            self.call_bytes -= story.bytes;
            for call_id in story.dialogs {
                self.dialogs.remove(&call_id);
            }
        }
    }
}

impl Story {
    /// Adds a message, and gives up from the middle what is then too much. Bytes that were given up.
    fn add(&mut self, message: Traced, bytes_max: usize) -> usize {
        self.bytes += size(&message);
        self.messages.push(message);
        let mut given_up = 0;
        while self.messages.len() > OF_CALL_MAX || (self.bytes > bytes_max && self.messages.len() > 2) {
            let middle = self.messages.remove(self.messages.len() / 2);
            self.dropped += 1;
            given_up += size(&middle);
            self.bytes -= size(&middle);
        }
        given_up
    }
}

fn size(message: &Traced) -> usize {
    message.bytes.len() + OVERHEAD
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: TraceLimits = TraceLimits { calls: 3, bytes: 64_000 };

    fn hop(way: Way) -> Hop {
        let (local, remote) = ("127.0.0.1:5060".parse().unwrap(), "127.0.0.2:5060".parse().unwrap());
        Hop { way, transport: Transport::Udp, local, remote }
    }

    fn note(trace: &mut Trace, call_id: &str, text: &str) {
        trace.note(UnixMicros(0), hop(Way::In), call_id.as_bytes(), text.as_bytes());
    }

    fn told(trace: &Trace, call: u128) -> Vec<String> {
        let kept = trace.call(CallSid(call)).map_or(&[][..], |kept| kept.messages);
        kept.iter().map(|message| String::from_utf8_lossy(&message.bytes).into_owned()).collect()
    }

    #[test]
    fn a_claimed_dialog_brings_what_came_before_and_both_legs_stand_in_order() {
        let mut trace = Trace::new(LIMITS);
        note(&mut trace, "a", "invite a");
        note(&mut trace, "a", "100 a");
        trace.claim(CallSid(1), CallSid(1), b"a");
        trace.claim(CallSid(1), CallSid(2), b"b");
        note(&mut trace, "b", "invite b");
        note(&mut trace, "a", "180 a");
        note(&mut trace, "b", "200 b");
        assert_eq!(told(&trace, 1), ["invite a", "100 a", "invite b", "180 a", "200 b"]);
        let legs: Vec<_> = trace.call(CallSid(1)).unwrap().messages.iter().map(|m| m.leg.unwrap().0).collect();
        assert_eq!(legs, [1, 1, 2, 1, 2]);
        assert_eq!(trace.since(3, 10).iter().map(|(_, m)| m.seq).collect::<Vec<_>>(), [4, 5]);
    }

    #[test]
    fn strangers_push_out_strangers_and_no_call() {
        let mut trace = Trace::new(LIMITS);
        note(&mut trace, "call", "invite");
        trace.claim(CallSid(1), CallSid(1), b"call");
        for stranger in 0..10_000 {
            note(&mut trace, &format!("s{stranger}"), &"x".repeat(300));
        }
        assert_eq!(told(&trace, 1), ["invite"]);
        let figures = trace.figures();
        assert!(figures.bytes < LIMITS.bytes / 8 + 1000, "{figures:?}");
        assert!(trace.dialogs.len() < 100 && trace.waiting.len() < 100, "{}", trace.waiting.len());
        let shown = trace.since(0, 1000);
        assert_eq!(shown.last().unwrap().1.seq, 10_001);
    }

    #[test]
    fn the_oldest_call_leaves_and_its_dialogs_with_it() {
        let mut trace = Trace::new(LIMITS);
        for call in 1..=500u128 {
            let call_id = call.to_string();
            note(&mut trace, &call_id, "invite");
            trace.claim(CallSid(call), CallSid(call), call_id.as_bytes());
            note(&mut trace, &call_id, "bye");
        }
        assert!(trace.call(CallSid(497)).is_none());
        assert_eq!(told(&trace, 498), ["invite", "bye"]);
        assert_eq!((trace.dialogs.len(), trace.calls.len(), trace.order.len()), (3, 3, 3));
        assert!(trace.waiting.len() <= 65, "{}", trace.waiting.len());
        trace.set_limits(TraceLimits { calls: 0, bytes: 64_000 });
        note(&mut trace, "x", "late");
        assert_eq!((trace.figures(), trace.dialogs.len()), (TraceFigures::default(), 0));
    }

    #[test]
    fn a_call_id_that_is_used_again_is_the_new_calls() {
        let mut trace = Trace::new(TraceLimits { calls: 1, ..LIMITS });
        trace.claim(CallSid(1), CallSid(1), b"a");
        note(&mut trace, "a", "old");
        trace.claim(CallSid(2), CallSid(2), b"a");
        note(&mut trace, "a", "new");
        assert!(trace.call(CallSid(1)).is_none(), "one call has room");
        assert_eq!(told(&trace, 2), ["new"]);
    }

    #[test]
    fn a_long_call_keeps_its_beginning_and_its_end() {
        let mut trace = Trace::new(LIMITS);
        trace.claim(CallSid(1), CallSid(1), b"a");
        for number in 0..5000 {
            note(&mut trace, "a", &format!("{number} {}", "x".repeat(100)));
        }
        let told = told(&trace, 1);
        let kept = trace.call(CallSid(1)).unwrap();
        assert!(told[0].starts_with("0 ") && told[told.len() - 1].starts_with("4999 "));
        assert_eq!(kept.dropped + kept.messages.len() as u64, 5000);
        assert!(trace.figures().bytes <= LIMITS.bytes / 8);
        note(&mut trace, "a", &"x".repeat(64_000));
        assert_eq!(trace.call(CallSid(1)).unwrap().messages.len(), told.len(), "too large for the room");
    }
}

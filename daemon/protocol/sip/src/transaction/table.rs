//! What both sides share: slots with generations, lookup by a keyed hash, and timers in a heap with lazy deletion.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap},
    hash::{BuildHasherDefault, DefaultHasher, Hasher as _},
    sync::Arc,
    time::Instant,
};

use super::Flow;
use crate::message::Request;

/// A slot of a [`Table`] in one of its lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Slot {
    index: u32,
    generation: u32,
}

/// What names a transaction: 128 bits of a keyed hash, so that no text is kept and nobody can make two collide.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Id(u128);

impl std::hash::Hash for Id {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        state.write_u64(self.0 as u64);
    }
}

/// An [`Id`] is a hash already.
#[derive(Default)]
struct AsIs(u64);

impl std::hash::Hasher for AsIs {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        debug_assert!(bytes.is_empty(), "only ids are looked up");
    }
    fn write_u64(&mut self, value: u64) {
        self.0 = value;
    }
}

/// What a timer did.
pub enum Fired {
    /// It was early, or only a state changed.
    Nothing,
    /// A repetition.
    Send(Flow, Arc<[u8]>),
    /// The transaction has served its time.
    Ended,
    /// The peer was silent too long; the transaction has ended.
    TimedOut,
}

/// A transaction tells when it next wants [`Table::due`] to name it.
pub trait Timed {
    /// None while it waits for the core or the peer alone.
    fn deadline(&self) -> Option<Instant>;
}

/// Transactions of one side.
pub struct Table<T> {
    entries: Vec<Entry<T>>,
    free: Vec<u32>,
    by_id: HashMap<Id, u32, BuildHasherDefault<AsIs>>,
    /// Earliest first. An entry whose transaction ended or moved its deadline is dropped or put back when it comes up.
    timers: BinaryHeap<Reverse<(Instant, Slot)>>,
    max: usize,
}

struct Entry<T> {
    generation: u32,
    /// The earliest time in `timers` for this life.
    armed: Option<Instant>,
    life: Option<(Id, T)>,
}

impl<T: Timed> Table<T> {
    pub fn new(max: usize) -> Self {
        let by_id = HashMap::default();
        Self { entries: Vec::new(), free: Vec::new(), by_id, timers: BinaryHeap::new(), max }
    }

    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    pub fn find(&self, id: Id) -> Option<Slot> {
        self.by_id.get(&id).map(|&index| Slot { index, generation: self.entries[index as usize].generation })
    }

    pub fn get(&self, slot: Slot) -> Option<&T> {
        let entry = self.entries.get(slot.index as usize).filter(|entry| entry.generation == slot.generation)?;
        entry.life.as_ref().map(|(_, transaction)| transaction)
    }

    pub fn of(&mut self, slot: Slot) -> Option<&mut T> {
        let entry = self.entries.get_mut(slot.index as usize).filter(|entry| entry.generation == slot.generation)?;
        entry.life.as_mut().map(|(_, transaction)| transaction)
    }

    /// Those for which this holds, by walking all: for what happens seldom.
    pub fn all(&self, holds: impl Fn(&T) -> bool) -> Vec<Slot> {
        let of = |(index, entry): (usize, &Entry<T>)| {
            let (_, transaction) = entry.life.as_ref()?;
            holds(transaction).then_some(Slot { index: index as u32, generation: entry.generation })
        };
        self.entries.iter().enumerate().filter_map(of).collect()
    }

    /// None when full or when the id is taken.
    pub fn insert(&mut self, id: Id, transaction: T) -> Option<Slot> {
        if self.by_id.len() >= self.max || self.by_id.contains_key(&id) {
            return None;
        }
        let index = self.free.pop().unwrap_or_else(|| {
            self.entries.push(Entry { generation: 0, armed: None, life: None });
            (self.entries.len() - 1) as u32
        });
        let entry = &mut self.entries[index as usize];
        entry.life = Some((id, transaction));
        self.by_id.insert(id, index);
        Some(Slot { index, generation: entry.generation })
    }

    pub fn remove(&mut self, slot: Slot) {
        let Some(entry) = self.entries.get_mut(slot.index as usize).filter(|e| e.generation == slot.generation) else {
            return;
        };
        let Some((id, _)) = entry.life.take() else { return };
        entry.generation = entry.generation.wrapping_add(1);
        entry.armed = None;
        self.by_id.remove(&id);
        self.free.push(slot.index);
    }

    /// Sees to it that the transaction's deadline is in the heap. A later deadline leaves the earlier entry where it
    /// is: when that comes up, this is called again.
    pub fn arm(&mut self, slot: Slot) {
        let Some(deadline) = self.of(slot).and_then(|transaction| transaction.deadline()) else { return };
        let entry = &mut self.entries[slot.index as usize];
        if entry.armed.is_none_or(|armed| deadline < armed) {
            entry.armed = Some(deadline);
            self.timers.push(Reverse((deadline, slot)));
        }
    }

    /// A transaction whose deadline has come. Call [`Table::arm`] or [`Table::remove`] for it.
    pub fn due(&mut self, now: Instant) -> Option<Slot> {
        while let Some(&Reverse((at, slot))) = self.timers.peek() {
            if at > now {
                return None;
            }
            self.timers.pop();
            let Some(deadline) = self.of(slot).map(|transaction| transaction.deadline()) else { continue };
            let entry = &mut self.entries[slot.index as usize];
            if entry.armed != Some(at) {
                continue;
            }
            entry.armed = None;
            match deadline {
                Some(deadline) if deadline <= now => return Some(slot),
                _ => self.arm(slot),
            }
        }
        None
    }

    pub fn next_deadline(&self) -> Option<Instant> {
        self.timers.peek().map(|Reverse((at, _))| *at)
    }
}

/// Makes [`Id`]s and tags from what a peer chose and a seed that it does not know.
pub struct Hasher {
    halves: [DefaultHasher; 2],
}

impl Hasher {
    pub fn new(seed: u128) -> Self {
        let half = |salt: u8| {
            let mut hasher = DefaultHasher::new();
            hasher.write_u128(seed);
            hasher.write_u8(salt);
            hasher
        };
        Self { halves: [half(1), half(2)] }
    }

    /// RFC 3261 17.1.3: branch and method of the CSeq.
    pub fn client(&self, branch: &str, method: &str) -> Id {
        self.hash(&[branch, method])
    }

    /// RFC 3261 17.2.3: branch, sent-by and method, ACK counting as INVITE. A request of RFC 2543 is told by Request-URI, From
    /// tag, Call-ID, CSeq and Via. The To tag is left out there: an ACK has one that its INVITE had not. None when
    /// the Via does not read.
    pub fn server(&self, request: &Request, method: &str) -> Option<Id> {
        let headers = &request.headers;
        let via = headers.via().ok()?;
        let method = if method == "ACK" { "INVITE" } else { method };
        let mut digits = [0; 5];
        let port = port_text(via.port.unwrap_or(5060), &mut digits);
        if let Some(branch) = via.unique_branch() {
            return Some(self.hash(&[branch, via.host, port, method]));
        }
        let from_tag = headers.from().ok().and_then(|from| from.tag()).unwrap_or("");
        let call_id = headers.call_id().unwrap_or("");
        let number = headers.cseq().map_or(0, |cseq| cseq.number).to_string();
        let parts = [request.uri_str(), from_tag, call_id, &number, via.host, port, via.branch().unwrap_or(""), method];
        Some(self.hash(&parts))
    }

    /// A tag that is the same for a repetition of the request.
    pub fn tag(&self, request: &Request) -> String {
        let headers = &request.headers;
        let branch = headers.via().ok().and_then(|via| via.branch()).unwrap_or("");
        let Id(bits) = self.hash(&["tag", branch, headers.call_id().unwrap_or("")]);
        format!("{:016x}", bits as u64)
    }

    fn hash(&self, parts: &[&str]) -> Id {
        let [mut low, mut high] = self.halves.clone();
        for part in parts {
            for hasher in [&mut low, &mut high] {
                hasher.write(part.as_bytes());
                // Lengths, so that no two lists of parts read alike.
                hasher.write_usize(part.len());
            }
        }
        Id(u128::from(high.finish()) << 64 | u128::from(low.finish()))
    }
}

fn port_text(port: u16, digits: &mut [u8; 5]) -> &str {
    let mut rest = port;
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    std::str::from_utf8(digits).expect("digits are ASCII")
}

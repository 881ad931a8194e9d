//! Connections between parties and the box: bytes come in order but in any pieces, and a connection may die in the middle of a message.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap},
    net::SocketAddr,
    time::{Duration, Instant},
};

use postern_sip::framing::{Frame, Framer};
use postern_types::ConnectionId;
use rand::{RngExt, rngs::StdRng};

use crate::network::chance;

/// How bad connections are.
#[derive(Debug, Clone, Copy)]
pub struct StreamFaults {
    /// Chance that a connection dies under a message: a part of it still arrives.
    pub death: f64,
    /// Chance that a connection cannot be made.
    pub refused: f64,
    /// Longest way of a piece.
    pub delay_max: Duration,
}

impl StreamFaults {
    /// Good ones: whole messages, 5 ms.
    pub const NONE: Self = Self { death: 0.0, refused: 0.0, delay_max: Duration::from_millis(5) };
    /// Bad ones.
    pub const BAD: Self = Self { death: 0.03, refused: 0.1, delay_max: Duration::from_millis(300) };
}

/// What arrives.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Arrival {
    /// At the box: a party wants a connection.
    Accepted {
        /// Its number.
        id: ConnectionId,
        /// The box's address.
        local: SocketAddr,
        /// The party's.
        remote: SocketAddr,
    },
    /// At the box: one that it wanted stands.
    Connected(ConnectionId),
    /// At the box: bytes.
    Bytes(ConnectionId, Vec<u8>),
    /// At the box: a connection is gone.
    Closed(ConnectionId),
    /// At a party: whole messages.
    Messages(SocketAddr, Vec<Vec<u8>>),
}

#[derive(Debug)]
struct Link {
    party: SocketAddr,
    framer: Framer,
    /// Nothing arrives before what was sent earlier, per direction.
    to_box: Instant,
    to_party: Instant,
    dead: bool,
}

/// All connections.
#[derive(Debug)]
pub struct Streams {
    faults: StreamFaults,
    links: BTreeMap<ConnectionId, Link>,
    under_way: BinaryHeap<Reverse<(Instant, u64, Piece)>>,
    scheduled: u64,
    accepted: u64,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Piece {
    Ready(Arrival),
    /// For the party's end of a connection.
    Party(ConnectionId, Vec<u8>),
}

impl Streams {
    /// No connections yet.
    pub fn new(faults: StreamFaults) -> Self {
        let (links, under_way) = (BTreeMap::new(), BinaryHeap::new());
        Self { faults, links, under_way, scheduled: 0, accepted: 0 }
    }

    /// How they are from now on.
    pub fn set_faults(&mut self, faults: StreamFaults) {
        self.faults = faults;
    }

    /// A party says something to the box, over the connection that it has or a new one.
    pub fn say(&mut self, now: Instant, rng: &mut StdRng, party: SocketAddr, border: SocketAddr, bytes: &[u8]) {
        let known = self.links.iter().rev().find(|(_, link)| link.party == party && !link.dead).map(|(id, _)| *id);
        let id = known.unwrap_or_else(|| {
            let id = ConnectionId::accepted(self.accepted);
            // A port of its own for each connection.
            let remote = SocketAddr::new(party.ip(), 20_000 + (self.accepted % 40_000) as u16);
            self.accepted += 1;
            self.links.insert(id, Link::new(now, party));
            self.schedule(now, Piece::Ready(Arrival::Accepted { id, local: border, remote }));
            id
        });
        let (length, dies) = self.fate(rng, bytes.len());
        let mut at = self.links[&id].to_box;
        for piece in split(rng, &bytes[..length]) {
            at = self.later(at.max(now), rng);
            self.schedule(at, Piece::Ready(Arrival::Bytes(id, piece)));
        }
        self.links.get_mut(&id).expect("it was just looked at").to_box = at;
        if dies {
            self.die(at, id);
        }
    }

    /// The box wants a connection to a party.
    pub fn connect(&mut self, now: Instant, rng: &mut StdRng, id: ConnectionId, party: SocketAddr) {
        let at = self.later(now, rng);
        if chance(rng, self.faults.refused) {
            return self.schedule(at, Piece::Ready(Arrival::Closed(id)));
        }
        self.links.insert(id, Link::new(at, party));
        self.schedule(at, Piece::Ready(Arrival::Connected(id)));
    }

    /// The box sends.
    pub fn send(&mut self, now: Instant, rng: &mut StdRng, id: ConnectionId, bytes: &[u8]) {
        let Some(link) = self.links.get(&id).filter(|link| !link.dead) else { return };
        let mut at = link.to_party;
        let (length, dies) = self.fate(rng, bytes.len());
        for piece in split(rng, &bytes[..length]) {
            at = self.later(at.max(now), rng);
            self.schedule(at, Piece::Party(id, piece));
        }
        self.links.get_mut(&id).expect("it was just looked at").to_party = at;
        if dies {
            self.die(at, id);
        }
    }

    /// The box closes.
    pub fn close(&mut self, id: ConnectionId) {
        self.links.remove(&id);
    }

    /// The next arrival that is due.
    pub fn arrive(&mut self, now: Instant) -> Option<Arrival> {
        while self.under_way.peek().is_some_and(|Reverse((at, ..))| *at <= now) {
            let Some(Reverse((_, _, piece))) = self.under_way.pop() else { break };
            match piece {
                Piece::Ready(Arrival::Closed(id)) => {
                    self.links.remove(&id);
                    return Some(Arrival::Closed(id));
                }
                Piece::Ready(arrival) => return Some(arrival),
                Piece::Party(id, bytes) => {
                    let Some(link) = self.links.get_mut(&id) else { continue };
                    link.framer.push(&bytes);
                    let mut messages = Vec::new();
                    while let Some(Ok(frame)) = link.framer.next() {
                        if let Frame::Message(bytes) = frame {
                            messages.push(bytes.to_vec());
                        }
                    }
                    if !messages.is_empty() {
                        return Some(Arrival::Messages(link.party, messages));
                    }
                }
            }
        }
        None
    }

    /// When the next one arrives.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.under_way.peek().map(|Reverse((at, ..))| *at)
    }

    /// How much of a message still arrives, and whether its connection dies under it.
    fn fate(&self, rng: &mut StdRng, length: usize) -> (usize, bool) {
        match chance(rng, self.faults.death) {
            true => (rng.random_range(0..=length), true),
            false => (length, false),
        }
    }

    fn die(&mut self, at: Instant, id: ConnectionId) {
        if let Some(link) = self.links.get_mut(&id) {
            link.dead = true;
        }
        self.schedule(at + Duration::from_millis(1), Piece::Ready(Arrival::Closed(id)));
    }

    fn later(&self, at: Instant, rng: &mut StdRng) -> Instant {
        at + Duration::from_micros(rng.random_range(1..=self.faults.delay_max.as_micros() as u64))
    }

    fn schedule(&mut self, at: Instant, piece: Piece) {
        self.scheduled += 1;
        self.under_way.push(Reverse((at, self.scheduled, piece)));
    }
}

impl Link {
    fn new(now: Instant, party: SocketAddr) -> Self {
        Self { party, framer: Framer::default(), to_box: now, to_party: now, dead: false }
    }
}

/// A message in one to five pieces.
fn split(rng: &mut StdRng, bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut cuts: Vec<usize> = (0..rng.random_range(0..5)).map(|_| rng.random_range(0..=bytes.len())).collect();
    cuts.extend([0, bytes.len()]);
    cuts.sort();
    cuts.windows(2).filter(|pair| pair[0] < pair[1]).map(|pair| bytes[pair[0]..pair[1]].to_vec()).collect()
}

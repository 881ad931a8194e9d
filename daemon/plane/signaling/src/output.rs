//! What comes out of the signaling plane, and its figures.

use std::{collections::BTreeMap, net::SocketAddr};

use postern_facts::Happened;
use postern_types::{TrunkName, UserName, leg::LegEvent};

/// One thing for the top floor to do or to pass on.
#[derive(Debug, Clone, PartialEq)]
pub enum Output {
    /// Send a datagram.
    Send {
        /// From which of our endpoints.
        local: SocketAddr,
        /// To whom.
        destination: SocketAddr,
        /// What.
        bytes: Vec<u8>,
    },
    /// For the router.
    Leg(LegEvent),
    /// How many devices a user has now: after each change, for presence.
    Devices {
        /// Whose.
        user: UserName,
        /// How many.
        devices: u32,
    },
    /// Look up the addresses of a host name; answer with `handle_resolved`, with an empty list when there are none.
    Resolve {
        /// Comes back with the answer.
        id: ResolveId,
        /// A name, never a literal address.
        host: String,
        /// The port that will be used: for whoever caches or asks for services.
        port: u16,
    },
    /// Something happened to a trunk, a registration, or from strangers.
    Fact(Happened),
}

/// Names one question to the resolver.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ResolveId(pub u64);

/// Figures since the start, and how things stand.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counters {
    /// Datagrams that came.
    pub received: u64,
    /// Datagrams sent.
    pub sent: u64,
    /// Requests of unknown sources that were turned away.
    pub strangers: u64,
    /// First requests of users that were asked for their password.
    pub challenged: u64,
    /// Known users and trunks that failed to prove themselves.
    pub unproven: u64,
    /// Datagrams that could not be read.
    pub malformed: u64,
    /// Responses and in-dialog requests that belong to nothing here.
    pub stray: u64,
    /// Refused because a table was full.
    pub overloaded: u64,
    /// Devices registered now.
    pub devices: u64,
    /// Legs alive now.
    pub legs: u64,
    /// Of them, by trunk; trunks without a leg are left out.
    pub trunk_legs: BTreeMap<TrunkName, u32>,
}

//! What comes out of the signaling plane, and its figures.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use postern_facts::Happened;
use postern_locate::Question;
use postern_types::{
    CallSid, ConnectionId, Transport, TrunkName, UserName, device::DeviceChange, leg::LegEvent, mailbox::Mailbox,
    text::TextEvent,
};

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
        bytes: Arc<[u8]>,
    },
    /// For the driver of a connection.
    Connection(ConnectionId, ConnectionCommand),
    /// For the router.
    Leg(LegEvent),
    /// For the router, about a message.
    Text(TextEvent),
    /// How many devices a user has now: after each change, for presence.
    Devices {
        /// Whose.
        user: UserName,
        /// How many.
        devices: u32,
    },
    /// What became of a device, to be remembered over a restart: given back by `restore`.
    Device(DeviceChange),
    /// How many messages wait for a user now, to be remembered over a restart: given back by `restore_mailboxes`.
    Mailbox(Mailbox),
    /// Somebody watches a user from now on, or nobody does any more: for the router, which answers by `handle_user`, now and whenever
    /// it changes.
    Watch {
        /// Whom.
        user: UserName,
        /// Somebody does.
        on: bool,
    },
    /// Whether a trunk has an address that is known to live: after each change, for routing. Trunks are up until told otherwise.
    Trunk {
        /// Which.
        trunk: TrunkName,
        /// Whether it is up.
        up: bool,
    },
    /// Ask DNS; answer with `handle_answer`.
    Ask(Question),
    /// Fetch a signer's certificate; answer with `handle_certificate`. The address is a caller's word.
    Fetch {
        /// Where: `https:`.
        url: Box<str>,
    },
    /// An INVITE of a leg that is dialed is about to leave: what dialog it begins. For whoever keeps messages by call.
    Dialed {
        /// Whose; forks of a leg have each their own.
        leg: CallSid,
        /// Its Call-ID.
        sip_call_id: Box<str>,
    },
    /// A message came over a stream, whole: for whoever keeps messages. A datagram or a WebSocket's message is one as it comes.
    Framed {
        /// Over which connection.
        connection: ConnectionId,
        /// As it was on the wire.
        bytes: Vec<u8>,
    },
    /// Something happened to a trunk, a registration, or from strangers.
    Fact(Happened),
}

/// What became of a connection.
#[derive(Debug, Clone, PartialEq)]
pub enum ConnectionEvent<'a> {
    /// A peer wants one: answered by [`ConnectionCommand::Admit`] or [`ConnectionCommand::Close`], before any handshake.
    Accepted {
        /// What it is to carry messages by.
        transport: Transport,
        /// Our listening address.
        local: SocketAddr,
        /// The peer's.
        remote: SocketAddr,
    },
    /// It stands, handshakes included: bytes can pass.
    Connected,
    /// Bytes of a stream, or one message of a WebSocket.
    Received(&'a [u8]),
    /// It is gone, or could not be made; why, in words for a person. Nothing more comes of it.
    Closed(Box<str>),
}

/// What to do with a connection.
#[derive(Debug, Clone, PartialEq)]
pub enum ConnectionCommand {
    /// Go on with one that was accepted.
    Admit,
    /// Make one. Answered by [`ConnectionEvent::Connected`] or [`ConnectionEvent::Closed`].
    Connect(Box<Connect>),
    /// Send bytes, or one message of a WebSocket.
    Send(Vec<u8>),
    /// End it, what was sent before included. Not answered.
    Close,
}

/// A connection to be made.
#[derive(Debug, Clone, PartialEq)]
pub struct Connect {
    /// TCP or TLS.
    pub transport: Transport,
    /// From which of our addresses.
    pub from: IpAddr,
    /// To where.
    pub remote: SocketAddr,
    /// Whom we mean by that: the name that a certificate must have, unless the trunk's configuration says another.
    pub name: Box<str>,
    /// The trunk whose TLS settings hold.
    pub trunk: Option<TrunkName>,
}

/// How an address of a trunk is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetHealth {
    /// By what it is reached.
    pub transport: Transport,
    /// Where.
    pub remote: SocketAddr,
    /// `up`, `rests` or `down`.
    pub state: &'static str,
    /// Why it is not up; else empty.
    pub why: String,
}

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
    /// Messages dropped because their source sent too many.
    pub throttled: u64,
    /// Messages dropped because their source is banned.
    pub banned: u64,
    /// Messages dropped and connections refused because the realm's access list does not have their source.
    pub denied: u64,
    /// New calls and registrations refused because the switch had too much to do.
    pub shed: u64,
    /// Of new calls and registrations, thousandths that are refused for that now.
    pub shedding: u32,
    /// Refused because a table was full.
    pub overloaded: u64,
    /// Messages that no connection could be had for.
    pub unreachable: u64,
    /// Connections open now.
    pub connections: u64,
    /// Connections refused: as many as are allowed.
    pub connections_refused: u64,
    /// Connections closed because what came was no SIP, or too much of it; and those whose handshake failed.
    pub connections_broken: u64,
    /// Connections closed because of time: strangers that did not prove themselves, halves of messages.
    pub connections_expired: u64,
    /// Devices registered now.
    pub devices: u64,
    /// Subscriptions alive now.
    pub subscriptions: u64,
    /// Legs alive now.
    pub legs: u64,
    /// Of them, by trunk; trunks without a leg are left out.
    pub trunk_legs: BTreeMap<TrunkName, u32>,
}

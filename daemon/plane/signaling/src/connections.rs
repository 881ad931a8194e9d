//! Connections of stream transports: who may have one, what comes and goes over it, when it is closed.
//!
//! A connection is *proven* when it is one of ours, comes from a trunk, or carried a password that was right. What is not proven is
//! a stranger's: there are few of them, fewer from one source, and not for long. What is proven lives until it is idle for a
//! long time and neither a device nor a call needs it.

use std::{
    collections::{HashMap, VecDeque, hash_map::Entry},
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

use postern_facts::{ConnectionsRefused, Subject};
use postern_sip::{
    Message,
    framing::{Frame, Framer, PONG},
    limits::MESSAGE_MAX,
    transaction::{Flow, T1_64},
};
use postern_types::{ConnectionId, Now, Transport, TrunkName, UserName};

use crate::{
    Output, Signaling,
    admission::Meter,
    guard::Misdeed,
    output::{Connect, ConnectionCommand, ConnectionEvent},
    registrar::Binding,
    side::{self, Side, Tag},
    targets::Target,
    timers::Timer,
};

/// Connections at once at most, proven or not: each is a descriptor and some kilobytes. Refused beyond.
const CONNECTIONS_MAX: usize = 10_000;
/// To and from trunks there may be so many more: calls for help go out by them, also of a box that is full of phones.
const OF_TRUNKS_MORE: usize = 1000;
/// Of strangers at most. Beyond it the oldest gives way to the next, so that who only holds connections keeps nobody out. By the rate below it
/// had four seconds; who is honest proves itself within one.
const UNPROVEN_MAX: usize = 4096;
/// Of strangers from one source at most: an office behind one address whose phones all come back at once has room.
const UNPROVEN_OF_SOURCE_MAX: u32 = 128;
/// Of anybody from one source at most, proven or not, so that nobody takes all: a carrier that opens one for each call has room.
const OF_SOURCE_MAX: u32 = 4096;
/// Strangers admitted in a second at most: a TLS handshake costs about a tenth of a millisecond of one core.
const STRANGERS_PER_SECOND: u32 = 1000;
/// A timer is never set further ahead, so that those of connections that are gone do not pile up.
const LOOK_EVERY: Duration = Duration::from_secs(60);
/// How long a stranger may take to prove itself, handshake included.
const UNPROVEN_FOR: Duration = T1_64;
/// How long the rest of a message may take that has begun.
const MESSAGE_FOR: Duration = T1_64;
/// How long a peer may take to accept a connection of ours, TLS included.
const CONNECTING_FOR: Duration = Duration::from_secs(10);
/// How long a proven connection that nobody needs may be silent. A connection is cheap to make again.
const IDLE_FOR: Duration = Duration::from_secs(900);
/// Bytes that wait for a connection to be made; what is beyond is lost, and its transaction times out.
const WAITING_BYTES_MAX: usize = 4 * MESSAGE_MAX;

/// All of them.
#[derive(Debug, Default)]
pub(crate) struct Connections {
    all: HashMap<ConnectionId, Connection>,
    /// Those that were opened from here, for the next request to the same peer.
    to: HashMap<Peer, ConnectionId>,
    /// Accepted ones by source.
    sources: HashMap<IpAddr, Source>,
    unproven: usize,
    /// Strangers in the order in which they came; some proved themselves since, or are gone.
    queue: VecDeque<ConnectionId>,
    /// Strangers of this second.
    strangers: Meter,
    opened: u64,
}

/// Connections of one source.
#[derive(Debug, Default)]
struct Source {
    all: u32,
    unproven: u32,
}

#[derive(Debug)]
struct Connection {
    flow: Flow,
    state: State,
    proven: bool,
    /// None where the transport parts messages by itself.
    framer: Option<Framer>,
    begun: Instant,
    heard: Instant,
    /// Since when a message is incomplete.
    half: Option<Instant>,
    /// Whose devices registered over it.
    users: Vec<UserName>,
    peer: Option<Peer>,
    /// The earliest timer that is set.
    armed: Instant,
}

#[derive(Debug)]
enum State {
    /// Accepted; TLS or WebSocket shake hands.
    Handshake,
    /// On the way; what is to be sent when it stands.
    Connecting(Vec<Vec<u8>>),
    Open,
}

/// Whom a connection of ours goes to. Two trunks at one address may have different certificates.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Peer {
    transport: Transport,
    local: SocketAddr,
    remote: SocketAddr,
    name: Box<str>,
    trunk: Option<TrunkName>,
}

impl Connections {
    pub(crate) fn len(&self) -> usize {
        self.all.len()
    }

    pub(crate) fn is_alive(&self, id: ConnectionId) -> bool {
        self.all.contains_key(&id)
    }

    /// Somebody proved itself over it.
    pub(crate) fn prove(&mut self, flow: Flow) {
        let Some(connection) = flow.connection.and_then(|id| self.all.get_mut(&id)) else { return };
        if !std::mem::replace(&mut connection.proven, true) {
            self.unproven -= 1;
            if let Some(source) = self.sources.get_mut(&connection.flow.remote.ip()) {
                source.unproven -= 1;
            }
        }
    }

    /// A device of this user is reached, or told something, over it. Whether that is new.
    fn serves(&mut self, flow: Flow, user: &UserName) -> bool {
        let Some(connection) = flow.connection.and_then(|id| self.all.get_mut(&id)) else { return false };
        let new = !connection.users.contains(user);
        if new {
            connection.users.push(user.clone());
        }
        new
    }

    fn is_lost(&self, flow: Flow) -> bool {
        flow.transport.is_reliable() && !flow.connection.is_some_and(|id| self.is_alive(id))
    }

    /// Whether there is room for one more, of a trunk or not.
    fn has_room(&self, of_trunk: bool) -> bool {
        self.all.len() < if of_trunk { CONNECTIONS_MAX + OF_TRUNKS_MORE } else { CONNECTIONS_MAX }
    }

    /// The stranger that came first of those that are here.
    fn oldest_stranger(&mut self) -> Option<ConnectionId> {
        let is_stranger = |id: &ConnectionId| self.all.get(id).is_some_and(|connection| !connection.proven);
        while self.queue.pop_front_if(|id| !is_stranger(id)).is_some() {}
        self.queue.front().copied()
    }

    /// Takes a connection in, one of a trunk as proven from the start. One that has to give way for it is returned.
    fn admit(
        &mut self,
        now: Instant,
        id: ConnectionId,
        flow: Flow,
        proven: bool,
    ) -> Result<Option<ConnectionId>, &'static str> {
        let source = flow.remote.ip();
        if !self.has_room(proven) {
            return Err("too many connections");
        }
        let known = self.sources.get(&source).map_or((0, 0), |of| (of.all, of.unproven));
        if known.0 >= OF_SOURCE_MAX || (!proven && known.1 >= UNPROVEN_OF_SOURCE_MAX) {
            return Err("too many connections from one source");
        }
        if !proven && !self.strangers.admits(now, STRANGERS_PER_SECOND) {
            return Err("too many connections of strangers in a second");
        }
        let mut yields = None;
        if !proven {
            yields = self.oldest_stranger().filter(|_| self.unproven >= UNPROVEN_MAX);
            self.queue.push_back(id);
        }
        let of_source = self.sources.entry(source).or_default();
        of_source.all += 1;
        of_source.unproven += u32::from(!proven);
        self.unproven += usize::from(!proven);
        self.insert(now, id, flow, State::Handshake, proven, None);
        Ok(yields)
    }

    fn insert(&mut self, now: Instant, id: ConnectionId, flow: Flow, state: State, proven: bool, peer: Option<Peer>) {
        let connection = Connection {
            flow,
            state,
            proven,
            framer: (!flow.transport.is_framed()).then(Framer::default),
            begun: now,
            heard: now,
            half: None,
            users: Vec::new(),
            peer,
            armed: now,
        };
        self.all.insert(id, connection);
    }

    fn remove(&mut self, id: ConnectionId) -> Option<Connection> {
        let connection = self.all.remove(&id)?;
        self.unproven -= usize::from(!connection.proven);
        if connection.peer.is_none()
            && let Entry::Occupied(mut of) = self.sources.entry(connection.flow.remote.ip())
        {
            of.get_mut().all -= 1;
            of.get_mut().unproven -= u32::from(!connection.proven);
            if of.get().all == 0 {
                of.remove();
            }
        }
        if let Some(peer) = &connection.peer
            && self.to.get(peer) == Some(&id)
        {
            self.to.remove(peer);
        }
        Some(connection)
    }
}

impl Connection {
    /// When it is to be looked at, and the word for closing it then. A word only for what is closed without asking further.
    fn deadline(&self) -> (Instant, Option<&'static str>) {
        if let State::Connecting(_) = self.state {
            return (self.begun + CONNECTING_FOR, Some("no connection in time"));
        }
        if !self.proven {
            return (self.begun + UNPROVEN_FOR, Some("nobody proved itself in time"));
        }
        if let Some(half) = self.half {
            return (half + MESSAGE_FOR, Some("half a message"));
        }
        (self.heard + IDLE_FOR, None)
    }
}

impl Signaling {
    /// Takes what became of a connection.
    pub fn handle_connection(&mut self, now: Now, id: ConnectionId, event: ConnectionEvent<'_>) {
        self.wall = now.wall;
        match event {
            ConnectionEvent::Accepted { transport, local, remote } => {
                let flow = Flow { transport, local, remote, connection: Some(id) };
                self.accepted(now.instant, id, flow);
            }
            ConnectionEvent::Connected => self.connected(now.instant, id),
            ConnectionEvent::Received(bytes) => self.received(now, id, bytes),
            ConnectionEvent::Closed(why) => {
                if let Some(Connection { state: State::Handshake, flow, .. }) = self.connections.all.get(&id) {
                    self.counters.connections_broken += 1;
                    self.refused_connections.note((flow.remote, why.clone()));
                }
                self.connection_closed(now.instant, id, &why);
            }
        }
        self.run(now);
    }

    fn accepted(&mut self, now: Instant, id: ConnectionId, flow: Flow) {
        let Some(endpoint) = self.places.endpoint(flow) else {
            // A listener of a configuration that is gone.
            return self.command(id, ConnectionCommand::Close);
        };
        let proven = self.places.trunk_of(&endpoint.realm, flow).is_some();
        let source = flow.remote.ip();
        let admitted = match proven {
            false if !endpoint.access.admits(source) => {
                self.counters.denied += 1;
                Err("the realm's access list does not have this source")
            }
            false if self.guard.bans(now, source) && !self.is_spared(source) => {
                self.counters.banned += 1;
                Err("the source is banned")
            }
            _ => self.connections.admit(now, id, flow, proven),
        };
        match admitted {
            Ok(yields) => {
                if let Some(oldest) = yields {
                    self.counters.connections_expired += 1;
                    self.close(now, oldest, "a stranger that came later has its place");
                }
                self.command(id, ConnectionCommand::Admit);
                self.arm(now, id);
            }
            Err(why) => {
                self.counters.connections_refused += 1;
                self.refused_connections.note((flow.remote, why.into()));
                self.command(id, ConnectionCommand::Close);
            }
        }
    }

    fn connected(&mut self, now: Instant, id: ConnectionId) {
        let Some(connection) = self.connections.all.get_mut(&id) else { return };
        if let State::Connecting(waiting) = std::mem::replace(&mut connection.state, State::Open) {
            for bytes in waiting {
                self.command(id, ConnectionCommand::Send(bytes));
            }
            self.arm(now, id);
        }
    }

    fn received(&mut self, now: Now, id: ConnectionId, bytes: &[u8]) {
        let Some(connection) = self.connections.all.get_mut(&id) else { return };
        connection.heard = now.instant;
        let flow = connection.flow;
        let Some(framer) = &mut connection.framer else {
            // RFC 7118 4.1: a WebSocket message is one SIP message.
            match bytes {
                b"\r\n\r\n" => self.command(id, ConnectionCommand::Send(PONG.to_vec())),
                bytes => self.handle_message(now, flow, bytes),
            }
            return;
        };
        framer.push(bytes);
        loop {
            let Some(framer) = self.connections.all.get_mut(&id).and_then(|c| c.framer.as_mut()) else { return };
            match framer.next() {
                None => break,
                Some(Ok(Frame::Ping)) => self.command(id, ConnectionCommand::Send(PONG.to_vec())),
                Some(Ok(Frame::Message(bytes))) => {
                    let parsed = Message::parse(bytes);
                    self.outputs.push_back(Output::Framed { connection: id, bytes: bytes.to_vec() });
                    self.handle_parsed(now, flow, parsed);
                    // What follows may depend on what this one did: a dialog that began, a password that was right.
                    self.run(now);
                }
                Some(Err(broken)) => {
                    self.counters.connections_broken += 1;
                    self.refused_connections.note((flow.remote, broken.to_string().into()));
                    self.blame(now, flow, Misdeed::Unreadable);
                    return self.close(now.instant, id, "what came is no SIP");
                }
            }
        }
        let Some(connection) = self.connections.all.get_mut(&id) else { return };
        let waiting = connection.framer.as_ref().is_some_and(Framer::is_waiting);
        connection.half = if waiting { connection.half.or(Some(now.instant)) } else { None };
        if waiting {
            self.arm(now.instant, id);
        }
    }

    /// Closes a connection from here.
    pub(crate) fn close(&mut self, now: Instant, id: ConnectionId, why: &str) {
        self.command(id, ConnectionCommand::Close);
        self.connection_closed(now, id, why);
    }

    /// A source is banned: what it has open and proved nothing over is closed.
    pub(crate) fn close_unproven_of(&mut self, now: Instant, source: IpAddr) {
        if self.connections.sources.get(&source).is_none_or(|of| of.unproven == 0) {
            return;
        }
        let its = |(id, connection): (&ConnectionId, &Connection)| {
            (!connection.proven && connection.flow.remote.ip() == source).then_some(*id)
        };
        let mut all: Vec<_> = self.connections.all.iter().filter_map(its).collect();
        all.sort();
        for id in all {
            self.close(now, id, "its source is banned");
        }
    }

    /// It is gone: so are the requests that nobody answered yet, and the devices that were reached over it.
    fn connection_closed(&mut self, now: Instant, id: ConnectionId, why: &str) {
        let Some(connection) = self.connections.remove(id) else { return };
        if connection.proven {
            self.lost_because = why.into();
            self.transactions.connection_lost(id);
        }
        self.registered_over_lost(now, id);
        for user in connection.users {
            self.subscriber_lost(&user, id);
            let changes = self.registrar.connection_lost(now, &user, id);
            self.tell_changes(now, &user, changes);
        }
    }

    /// Looks whether a connection is to be closed.
    pub(crate) fn look_at_connection(&mut self, now: Instant, id: ConnectionId) {
        let Some(connection) = self.connections.all.get_mut(&id) else { return };
        let (at, why) = connection.deadline();
        let (flow, opening) = (connection.flow, matches!(connection.state, State::Connecting(_)));
        if at > now {
            // The timer that fired was an earlier one.
            return self.set_timer(now, id, at);
        }
        match why {
            Some(why) => {
                if !opening {
                    self.counters.connections_expired += 1;
                    self.refused_connections.note((flow.remote, why.into()));
                }
                self.close(now, id, why);
            }
            None => {
                let needed = !connection.users.is_empty()
                    || self.registrations.holds_over(id)
                    || self.sides.values().any(|side| side.flow.connection == Some(id));
                if !needed {
                    return self.close(now, id, "idle");
                }
                if let Some(connection) = self.connections.all.get_mut(&id) {
                    connection.heard = now;
                }
                self.set_timer(now, id, now + IDLE_FOR);
            }
        }
    }

    /// Sees to it that a timer fires by the connection's deadline.
    fn arm(&mut self, now: Instant, id: ConnectionId) {
        let Some(connection) = self.connections.all.get(&id) else { return };
        let (at, _) = connection.deadline();
        // A later timer that is set already looks at the earlier time by itself only when it fires: so one is set for each earlier one.
        if connection.armed <= connection.begun || at < connection.armed {
            self.set_timer(now, id, at);
        }
    }

    fn set_timer(&mut self, now: Instant, id: ConnectionId, at: Instant) {
        let at = at.min(now + LOOK_EVERY);
        if let Some(connection) = self.connections.all.get_mut(&id) {
            connection.armed = at;
            self.timers.set(at, Timer::Connection(id));
        }
    }

    /// The flow that a request can go by: itself when it is of datagrams or its connection lives, else one over a connection to the
    /// same peer, which may have to be made. None when that peer cannot be reached from here.
    pub(crate) fn ready(&mut self, now: Instant, flow: Flow) -> Option<Flow> {
        if flow.transport == Transport::Udp || flow.connection.is_some_and(|id| self.connections.is_alive(id)) {
            return Some(flow);
        }
        // A device behind NAT, or a web page: only it can make connections.
        let endpoint = self.places.endpoint(flow)?;
        let trunk = self.places.trunk_of(&endpoint.realm, flow).cloned();
        let theirs = flow.connection.is_some_and(|id| !id.is_opened());
        if theirs && trunk.is_none() {
            return None;
        }
        // RFC 5922 4: its certificate is of the name that led to the address.
        let target = Target { transport: flow.transport, remote: flow.remote };
        let host = trunk.as_ref().and_then(|trunk| self.targets.get(trunk, target)).map(|known| known.host.to_string());
        let name = trunk.as_ref().and_then(|trunk| self.places.config.trunks.get(trunk));
        let name = name.map_or_else(|| flow.remote.ip().to_string(), |trunk| trunk.address().host.clone());
        let name = host.unwrap_or(name);
        self.open(now, flow, &name, trunk)
    }

    /// The flow over a connection to `flow.remote`, one that stands or a new one.
    pub(crate) fn open(&mut self, now: Instant, flow: Flow, name: &str, trunk: Option<TrunkName>) -> Option<Flow> {
        let Flow { transport, local, remote, .. } = flow;
        if !matches!(transport, Transport::Tcp | Transport::Tls) {
            return None;
        }
        let peer = Peer { transport, local, remote, name: name.into(), trunk };
        if let Some(id) = self.connections.to.get(&peer) {
            return Some(Flow { connection: Some(*id), ..flow });
        }
        if !self.connections.has_room(peer.trunk.is_some()) {
            self.counters.connections_refused += 1;
            return None;
        }
        let id = ConnectionId::opened(self.connections.opened);
        self.connections.opened += 1;
        let flow = Flow { connection: Some(id), ..flow };
        let connect =
            Connect { transport, from: local.ip(), remote, name: peer.name.clone(), trunk: peer.trunk.clone() };
        self.connections.to.insert(peer.clone(), id);
        self.connections.insert(now, id, flow, State::Connecting(Vec::new()), true, Some(peer));
        self.command(id, ConnectionCommand::Connect(Box::new(connect)));
        self.arm(now, id);
        Some(flow)
    }

    /// Sends over a stream, opening a new connection where the old one is gone and the peer can be reached (RFC 3261 18.2.2).
    pub(crate) fn send_by_connection(&mut self, now: Instant, flow: Flow, bytes: Vec<u8>) {
        let Some(id) = self.ready(now, flow).and_then(|flow| flow.connection) else {
            self.counters.unreachable += 1;
            return;
        };
        let Some(connection) = self.connections.all.get_mut(&id) else { return };
        match &mut connection.state {
            State::Connecting(waiting) => {
                if waiting.iter().map(Vec::len).sum::<usize>() + bytes.len() > WAITING_BYTES_MAX {
                    self.counters.unreachable += 1;
                } else {
                    waiting.push(bytes);
                }
            }
            State::Open | State::Handshake => self.command(id, ConnectionCommand::Send(bytes)),
        }
    }

    /// A user registered, or subscribed, over a flow. When its connection is new, the calls of a device that is back after it lost the old one go on
    /// over this one (RFC 5626 4.4): those whose Contact is the one that was registered now.
    pub(crate) fn registered_over(&mut self, flow: Flow, user: &UserName) {
        if !self.connections.serves(flow, user) {
            return;
        }
        let of_flow = |binding: &&Binding| binding.flow.connection == flow.connection;
        let back: Vec<_> = self.registrar.bindings(user.as_str()).iter().filter(of_flow).collect();
        for side in self.sides.values_mut().filter(|side| side.user.as_ref() == Some(user)) {
            let Side { state: side::State::Up(session), .. } = side else { continue };
            let its = |binding: &&Binding| binding.contact.equivalent(session.dialog.remote_target());
            if self.connections.is_lost(side.flow) && back.iter().any(its) {
                side.moves_to(flow);
            }
        }
    }

    /// A device that lost its connection speaks in its dialog over another one: from now on it is reached there. That it is the same
    /// device was proven by the tags.
    pub(crate) fn heard_in_dialog(&mut self, tag: Tag, flow: Flow) {
        let Some(side) = self.sides.get_mut(&tag).filter(|side| side.keeps_flow) else { return };
        if flow.connection.is_some() && self.connections.is_lost(side.flow) {
            side.moves_to(flow);
        }
    }

    fn command(&mut self, id: ConnectionId, command: ConnectionCommand) {
        self.outputs.push_back(Output::Connection(id, command));
    }

    pub(crate) fn tell_refused_connections(&mut self, now: Instant) {
        if let Some(((source, why), connections)) = self.refused_connections.due(now) {
            self.fact(Subject::default(), ConnectionsRefused { source, connections, why: why.into() });
        }
    }
}

const _: () = assert!(UNPROVEN_MAX > 4 * STRANGERS_PER_SECOND as usize);
const _: () = assert!(UNPROVEN_MAX < CONNECTIONS_MAX && (UNPROVEN_OF_SOURCE_MAX as usize) < UNPROVEN_MAX);
const _: () = assert!(UNPROVEN_OF_SOURCE_MAX < OF_SOURCE_MAX && (OF_SOURCE_MAX as usize) < CONNECTIONS_MAX);

//! What passes the switch's edge, filed by call for `postern trace`.

use std::{
    collections::{HashMap, VecDeque},
    net::SocketAddr,
    sync::Arc,
};

use postern_config::{Config, Hep};
use postern_events::{Hop, Trace, TraceLimits, Traced, Way};
use postern_signaling::{ConnectionCommand, ConnectionEvent};
use postern_types::{CallSid, ConnectionId, Transport, UnixMicros};

use crate::request::{TracedMessage, Tracing};

/// Messages in one answer at most: what `--follow` takes in one look.
const ANSWER_MAX: usize = 2000;

/// Bytes of messages in one answer at most, above what one call may have in the trace; beyond it the asker asks again.
const ANSWER_BYTES_MAX: usize = 4 << 20;

/// Files what passes.
pub(crate) struct Tracer {
    trace: Trace,
    /// Between whom each connection is.
    connections: HashMap<ConnectionId, Link>,
    /// Where copies for Homer go.
    hep: Option<Hep>,
    /// Emptied each turn.
    copies: VecDeque<Vec<u8>>,
}

#[derive(Clone, Copy)]
struct Link {
    transport: Transport,
    local: SocketAddr,
    remote: SocketAddr,
}

impl Tracer {
    pub fn new(config: &Config) -> Self {
        Self {
            trace: Trace::new(limits(config)),
            connections: HashMap::new(),
            hep: config.seeing.hep.clone(),
            copies: VecDeque::new(),
        }
    }

    pub fn reconfigure(&mut self, config: &Config) {
        self.trace.set_limits(limits(config));
        self.hep.clone_from(&config.seeing.hep);
    }

    /// A datagram came.
    pub fn came_by_datagram(&mut self, at: UnixMicros, local: SocketAddr, remote: SocketAddr, bytes: &[u8]) {
        self.note(at, Hop { way: Way::In, transport: Transport::Udp, local, remote }, bytes);
    }

    /// A datagram goes.
    pub fn goes_by_datagram(&mut self, at: UnixMicros, local: SocketAddr, remote: SocketAddr, bytes: &Arc<[u8]>) {
        self.note(at, Hop { way: Way::Out, transport: Transport::Udp, local, remote }, bytes.clone());
    }

    /// Something came over a connection.
    pub fn came(&mut self, at: UnixMicros, id: ConnectionId, event: &ConnectionEvent<'_>) {
        match event {
            ConnectionEvent::Accepted { transport, local, remote } => {
                self.connections.insert(id, Link { transport: *transport, local: *local, remote: *remote });
            }
            // A WebSocket parts messages by itself; a stream's come by `framed`.
            ConnectionEvent::Received(bytes) => {
                if let Some(link) = self.connections.get(&id).filter(|link| link.transport.is_framed()).copied() {
                    self.note(at, link.hop(Way::In), *bytes);
                }
            }
            ConnectionEvent::Closed(_) => drop(self.connections.remove(&id)),
            ConnectionEvent::Connected => {}
        }
    }

    /// A whole message of a stream came.
    pub fn framed(&mut self, at: UnixMicros, id: ConnectionId, bytes: &[u8]) {
        if let Some(link) = self.connections.get(&id).copied() {
            self.note(at, link.hop(Way::In), bytes);
        }
    }

    /// Something goes over a connection.
    pub fn goes(&mut self, at: UnixMicros, id: ConnectionId, command: &ConnectionCommand) {
        match command {
            ConnectionCommand::Connect(connect) => {
                // Which port of ours it will be is the kernel's choice and not told.
                let local = SocketAddr::new(connect.from.to_canonical(), 0);
                self.connections.insert(id, Link { transport: connect.transport, local, remote: connect.remote });
            }
            ConnectionCommand::Send(bytes) => {
                if let Some(link) = self.connections.get(&id).copied() {
                    self.note(at, link.hop(Way::Out), &bytes[..]);
                }
            }
            ConnectionCommand::Close => drop(self.connections.remove(&id)),
            ConnectionCommand::Admit => {}
        }
    }

    /// A dialog is of this leg of this call.
    pub fn claim(&mut self, call: CallSid, leg: CallSid, sip_call_id: &str) {
        self.trace.claim(call, leg, sip_call_id.as_bytes());
    }

    /// What is kept of a call, named by its first leg.
    pub fn call(&self, call: CallSid) -> Tracing {
        let Some(kept) = self.trace.call(call) else { return self.answer(Vec::new(), 0) };
        self.answer(kept.messages.iter().map(|message| shown(Some(call), message)).collect(), kept.dropped)
    }

    /// What came after a number, of all calls and of nobody.
    pub fn since(&self, after: u64) -> Tracing {
        let mut room = ANSWER_BYTES_MAX;
        let found = self.trace.since(after, ANSWER_MAX).into_iter().take_while(|(_, message)| {
            room = room.saturating_sub(message.bytes.len());
            room > 0
        });
        self.answer(found.map(|(call, message)| shown(call, message)).collect(), 0)
    }

    fn answer(&self, messages: Vec<TracedMessage>, dropped: u64) -> Tracing {
        let figures = self.trace.figures();
        let (is_on, last) = (self.trace.is_on(), self.trace.last());
        Tracing { is_on, messages, dropped, last, calls: figures.calls as u64, bytes: figures.bytes as u64 }
    }

    fn note(&mut self, at: UnixMicros, hop: Hop, bytes: impl AsRef<[u8]> + Into<Arc<[u8]>> + Clone) {
        if !self.trace.is_on() && self.hep.is_none() {
            return;
        }
        // Keep-alives, and what is no SIP at all, have none.
        let Some(call_id) = postern_sip::raw::call_id(bytes.as_ref()) else { return };
        self.trace.note(at, hop, call_id, bytes.clone());
        if let Some(hep) = &self.hep {
            let mut masked = bytes.as_ref().to_vec();
            postern_sip::raw::mask(&mut masked);
            self.copies.push_back(crate::hep::encode(hep.id, at, hop, call_id, &masked));
        }
    }

    /// The next copy for Homer, and where it goes.
    pub fn copy(&mut self) -> Option<(SocketAddr, Vec<u8>)> {
        let address = self.hep.as_ref()?.address;
        Some((address, self.copies.pop_front()?))
    }
}

impl Link {
    fn hop(self, way: Way) -> Hop {
        Hop { way, transport: self.transport, local: self.local, remote: self.remote }
    }
}

fn shown(call: Option<CallSid>, message: &Traced) -> TracedMessage {
    TracedMessage {
        seq: message.seq,
        at: message.at,
        call,
        leg: message.leg,
        way: message.hop.way,
        transport: message.hop.transport,
        local: message.hop.local,
        remote: message.hop.remote,
        bytes: message.bytes.to_vec(),
    }
}

fn limits(config: &Config) -> TraceLimits {
    let trace = &config.seeing.trace;
    TraceLimits { calls: trace.calls as usize, bytes: (trace.mb as usize) << 20 }
}

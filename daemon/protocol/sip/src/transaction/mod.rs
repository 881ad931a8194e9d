//! Transactions: RFC 3261 17 as amended by RFC 6026.
//!
//! A [`Flow`] says what carries a message. Where that is reliable nothing is repeated (timers A, E and G are off) and nothing is
//! waited for that a lost datagram could bring (D, I, J and K are zero).
//!
//! [`Transactions`] is one endpoint's table. Datagrams that parsed go into [`Transactions::receive`]; what the core
//! must know and what goes on the wire comes out of [`Transactions::poll_output`], in order.
//!
//! What this layer does by itself: repeats requests and final failures, answers repeated requests from the last
//! response, sends 100 when the core takes longer than 200 ms, acknowledges failures, absorbs their ACKs, answers
//! CANCEL (200, or 481 without its INVITE), refuses what does not pass [`Request::check`] and, when the table is full,
//! answers 503.
//!
//! What it leaves to the core: every 2xx to an INVITE comes up ([`Output::Response`], also a repeated one or one of another
//! fork, for 32 s) and is acknowledged with [`Transactions::send`]; a 2xx that we gave is repeated by the core (with
//! [`crate::dialog::AnswerKeeper`]) through [`Transactions::respond`] until [`Output::Ack`] arrives. How long an INVITE may
//! ring (timer C) is the core's, too: see [`Transactions::cancel`].

mod client;
mod server;
mod table;

use std::{
    collections::VecDeque,
    fmt,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{
    build::{self, ResponseBuilder},
    limits::OUTPUTS_MAX,
    message::{Message, Method, ParseError, Rejection, Request, Response},
};
use postern_types::{ConnectionId, Transport};

use client::Client;
use server::Server;
use table::{Hasher, Id, Slot, Table};

/// Round-trip estimate (RFC 3261 17.1.1.1).
pub const T1: Duration = Duration::from_millis(500);
/// Longest interval between repetitions.
pub const T2: Duration = Duration::from_secs(4);
/// Longest life of a message in the network.
pub const T4: Duration = Duration::from_secs(5);
/// 64 * T1: timers B, D, F, H, J, L and M.
pub const T1_64: Duration = Duration::from_secs(32);
/// After this an INVITE that the core has not answered gets 100 (17.2.1).
pub const TRYING_AFTER: Duration = Duration::from_millis(200);

/// What messages go between: a pair of addresses, and perhaps a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Flow {
    /// What carries them.
    pub transport: Transport,
    /// Ours.
    pub local: SocketAddr,
    /// The peer's. For a stream: where it is reached anew when the connection is gone.
    pub remote: SocketAddr,
    /// The connection to use for as long as it lives; none for datagrams, and for a stream that is still to be opened.
    pub connection: Option<ConnectionId>,
}

impl Flow {
    /// A flow of datagrams.
    pub fn udp(local: SocketAddr, remote: SocketAddr) -> Self {
        Self { transport: Transport::Udp, local, remote, connection: None }
    }
}

/// A client transaction. A key of one that has ended is never taken for another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ClientKey(Slot);

/// A server transaction. A key of one that has ended is never taken for another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ServerKey(Slot);

/// What came of the inputs.
#[derive(Debug, Clone)]
pub enum Output {
    /// To be sent.
    Send {
        /// From and to where.
        flow: Flow,
        /// One datagram.
        bytes: Arc<[u8]>,
    },
    /// A new request, neither ACK nor CANCEL: answer it with [`Transactions::respond`].
    Request {
        /// Its transaction.
        key: ServerKey,
        /// The request, `source` filled in, checked.
        request: Request,
        /// Where it came in.
        flow: Flow,
    },
    /// An INVITE that has no final answer was cancelled; the CANCEL is answered already. Answer the INVITE with 487.
    Cancelled {
        /// The INVITE's transaction.
        invite: ServerKey,
        /// The CANCEL: its Reason says why.
        request: Request,
    },
    /// An ACK of a 2xx, or one that belongs to nothing.
    Ack {
        /// It.
        request: Request,
        /// Where it came in.
        flow: Flow,
    },
    /// A response to our request: every provisional one but no repetition of a final failure.
    Response {
        /// The transaction.
        key: ClientKey,
        /// It.
        response: Response,
        /// Where it came in.
        flow: Flow,
    },
    /// A response that belongs to no transaction: a 2xx after 32 s deserves ACK and BYE, others nothing.
    Stray {
        /// It.
        response: Response,
        /// Where it came in.
        flow: Flow,
    },
    /// No final response came in time (timers B and F, or 32 s after a CANCEL): treat as 408. The transaction has ended.
    TimedOut {
        /// Which.
        key: ClientKey,
    },
    /// The request could not be delivered: its connection failed before anything was answered. Treat as 503 (RFC 3261 8.1.3.1).
    /// The transaction has ended.
    Undelivered {
        /// Which.
        key: ClientKey,
    },
    /// Our final failure was never acknowledged (timer H). The transaction has ended; nothing is left to do for it.
    NoAck {
        /// Which.
        key: ServerKey,
    },
}

/// What was counted since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Requests that started a transaction here.
    pub requests: u64,
    /// Requests that we sent, repetitions aside.
    pub sent: u64,
    /// Repetitions that came: requests and final responses.
    pub repeated_in: u64,
    /// Repetitions that timers made us send.
    pub repeated_out: u64,
    /// Requests refused as malformed, and broken datagrams that were answered.
    pub malformed: u64,
    /// Responses dropped: malformed, not ours, or after their time.
    pub dropped_responses: u64,
    /// Requests refused or not sent because the table was full.
    pub full: u64,
    /// Datagrams not sent because nobody took the outputs.
    pub outputs_dropped: u64,
    /// Transactions that ended by timers B, F or H.
    pub timed_out: u64,
}

/// The table is full: try again later, or answer 503.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SendError {
    /// [`crate::limits::TRANSACTIONS_MAX`] transactions are alive.
    Full,
    /// The request has no Via with a branch of RFC 3261, or one that is in use.
    Branch,
}

impl fmt::Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full => "the transaction table is full",
            Self::Branch => "the request has no branch of its own",
        })
    }
}

impl std::error::Error for SendError {}

/// One endpoint's transactions.
pub struct Transactions {
    clients: Table<Client>,
    servers: Table<Server>,
    hasher: Hasher,
    outputs: VecDeque<Output>,
    counters: Counters,
}

impl Transactions {
    /// An empty table for `max` transactions of each side (see [`crate::limits::TRANSACTIONS_MAX`]). `seed` must be
    /// random, so that nobody can choose branches that collide, and makes the tags of what is answered here.
    pub fn new(seed: u128, max: usize) -> Self {
        Self {
            clients: Table::new(max),
            servers: Table::new(max),
            hasher: Hasher::new(seed),
            outputs: VecDeque::new(),
            counters: Counters::default(),
        }
    }

    /// Takes a message that came in.
    pub fn receive(&mut self, now: Instant, flow: Flow, message: Message) {
        match message {
            Message::Request(request) => self.receive_request(now, flow, request),
            Message::Response(response) => self.receive_response(now, flow, response),
        }
    }

    /// Takes a datagram that did not parse: answers it without state when it was meant as a request.
    pub fn receive_broken(&mut self, flow: Flow, error: &ParseError) {
        let (Some(rejection), Some(request)) = (error.answer(), error.request.as_deref()) else { return };
        self.counters.malformed += 1;
        self.refuse(flow, request.clone(), rejection);
    }

    /// Sends a request, not ACK, as a new transaction. Its top Via must carry a branch of its own.
    pub fn send_request(&mut self, now: Instant, flow: Flow, request: Request) -> Result<ClientKey, SendError> {
        let branch = request.headers.via().ok().and_then(|via| via.unique_branch()).ok_or(SendError::Branch)?;
        let id = self.hasher.client(branch, request.method.as_str());
        if self.clients.find(id).is_some() {
            return Err(SendError::Branch);
        }
        let client = Client::new(now, flow, request);
        let send = client.send();
        let Some(slot) = self.clients.insert(id, client) else {
            self.counters.full += 1;
            return Err(SendError::Full);
        };
        self.counters.sent += 1;
        self.clients.arm(slot);
        self.push(send);
        Ok(ClientKey(slot))
    }

    /// Sends a message outside any transaction: the ACK of a 2xx.
    pub fn send(&mut self, flow: Flow, request: &Request) {
        self.push(Output::Send { flow, bytes: request.wire() });
    }

    /// Cancels an INVITE: the CANCEL goes out at once, or with the first provisional response when none came yet (RFC
    /// 3261 9.1), with `reason` as its Reason header. When nothing final comes within 32 s, [`Output::TimedOut`] does.
    /// False when the INVITE has its final response or is unknown: then the call is ended otherwise.
    pub fn cancel(&mut self, now: Instant, key: ClientKey, reason: Option<&str>) -> bool {
        let Some(client) = self.clients.of(key.0) else { return false };
        let taken = client.want_cancel(now, reason);
        let cancel = client.take_cancel();
        self.clients.arm(key.0);
        self.send_cancel(now, cancel);
        taken
    }

    /// The connection is gone. Requests that went over it and were not answered at all fail; an INVITE that was answered provisionally
    /// waits on: its final response may come over another connection (RFC 3261 18.2.2).
    pub fn connection_lost(&mut self, connection: ConnectionId) {
        for slot in self.clients.all(|client| client.is_lost_with(connection)) {
            let quiet = self.clients.of(slot).is_none_or(|client| client.is_quiet());
            self.clients.remove(slot);
            if !quiet {
                self.push(Output::Undelivered { key: ClientKey(slot) });
            }
        }
    }

    /// Forgets a request that nobody waits for any more: it is not repeated, and its answer is a stray one. Not for an INVITE, which
    /// must be cancelled.
    pub fn give_up(&mut self, key: ClientKey) {
        self.clients.remove(key.0);
    }

    /// Gives a response to the core's transaction. False when it has ended or has another final response: a repeated
    /// 2xx goes out again for as long as RFC 6026 keeps the transaction (32 s).
    pub fn respond(&mut self, now: Instant, key: ServerKey, response: &Response) -> bool {
        let Some(server) = self.servers.of(key.0) else { return false };
        let Some(send) = server.respond(now, response) else { return false };
        self.servers.arm(key.0);
        self.push(send);
        true
    }

    /// Where a request's responses go; none when its transaction has ended.
    pub fn answers_over(&self, key: ServerKey) -> Option<Flow> {
        self.servers.get(key.0).map(Server::flow)
    }

    /// Forgets a request without answering it: what came from a stranger.
    pub fn discard(&mut self, key: ServerKey) {
        self.servers.remove(key.0);
    }

    /// Runs the timers that are due.
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some(slot) = self.clients.due(now) {
            let Some(client) = self.clients.of(slot) else { continue };
            match client.handle_timeout(now) {
                table::Fired::Nothing => self.clients.arm(slot),
                table::Fired::Send(flow, bytes) => {
                    self.counters.repeated_out += 1;
                    self.clients.arm(slot);
                    self.push(Output::Send { flow, bytes });
                }
                table::Fired::Ended => self.clients.remove(slot),
                table::Fired::TimedOut => {
                    let quiet = client.is_quiet();
                    self.clients.remove(slot);
                    if !quiet {
                        self.counters.timed_out += 1;
                        self.push(Output::TimedOut { key: ClientKey(slot) });
                    }
                }
            }
        }
        while let Some(slot) = self.servers.due(now) {
            let Some(server) = self.servers.of(slot) else { continue };
            match server.handle_timeout(now) {
                table::Fired::Nothing => self.servers.arm(slot),
                table::Fired::Send(flow, bytes) => {
                    self.counters.repeated_out += 1;
                    self.servers.arm(slot);
                    self.push(Output::Send { flow, bytes });
                }
                table::Fired::Ended => self.servers.remove(slot),
                table::Fired::TimedOut => {
                    self.servers.remove(slot);
                    self.counters.timed_out += 1;
                    self.push(Output::NoAck { key: ServerKey(slot) });
                }
            }
        }
    }

    /// The next output. Drain after every input.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When to call [`Transactions::handle_timeout`] at the latest. May be early, never late.
    pub fn next_deadline(&self) -> Option<Instant> {
        [self.clients.next_deadline(), self.servers.next_deadline()].into_iter().flatten().min()
    }

    /// Whether a request belongs to a server transaction that lives: a repetition, or the ACK of a failure.
    pub fn knows(&self, request: &Request) -> bool {
        self.hasher.server(request, request.method.as_str()).is_some_and(|id| self.servers.find(id).is_some())
    }

    /// Transactions alive: client and server.
    pub fn len(&self) -> (usize, usize) {
        (self.clients.len(), self.servers.len())
    }

    /// Whether none is alive.
    pub fn is_empty(&self) -> bool {
        self.len() == (0, 0)
    }

    /// What was counted.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    fn receive_request(&mut self, now: Instant, flow: Flow, mut request: Request) {
        request.source = Some(flow.remote);
        let Some(id) = self.hasher.server(&request, request.method.as_str()) else {
            return self.malformed(flow, request, Rejection { status: 400, reason: "Malformed Via" });
        };
        if let Some(slot) = self.servers.find(id) {
            return self.repeated(now, slot, flow, request);
        }
        if let Err(rejection) = request.check() {
            return self.malformed(flow, request, rejection);
        }
        match request.method {
            Method::Ack => self.push(Output::Ack { request, flow }),
            Method::Cancel => self.receive_cancel(now, id, flow, request),
            _ => {
                let server = Server::new(now, answering(flow, &request), &request);
                let Some(slot) = self.servers.insert(id, server) else {
                    self.counters.full += 1;
                    return self.refuse(flow, request, Rejection { status: 503, reason: "Too Many Transactions" });
                };
                self.counters.requests += 1;
                self.servers.arm(slot);
                self.push(Output::Request { key: ServerKey(slot), request, flow });
            }
        }
    }

    fn repeated(&mut self, now: Instant, slot: Slot, flow: Flow, request: Request) {
        let Some(server) = self.servers.of(slot) else { return };
        if request.method == Method::Ack {
            if server.receive_ack(now) {
                self.push(Output::Ack { request, flow });
            }
        } else {
            self.counters.repeated_in += 1;
            if let Some(send) = server.repeat() {
                self.push(send);
            }
        }
        self.servers.arm(slot);
    }

    /// RFC 3261 9.2: 200 when its INVITE is known, even when that was answered already; else 481.
    fn receive_cancel(&mut self, now: Instant, id: Id, flow: Flow, request: Request) {
        let invite = self.hasher.server(&request, Method::Invite.as_str()).and_then(|id| self.servers.find(id));
        let status = if invite.is_some() { 200 } else { 481 };
        let invite_tag = invite.and_then(|slot| self.servers.of(slot)).and_then(|server| server.to_tag());
        let tag = invite_tag.unwrap_or_else(|| self.hasher.tag(&request));
        let response = ResponseBuilder::to(&request, status).to_tag(&tag).build();
        let mut server = Server::new(now, answering(flow, &request), &request);
        if let Some(send) = server.respond(now, &response) {
            self.push(send);
        }
        // A full table costs only that a repeated CANCEL is handled as new, to the same effect.
        if let Some(slot) = self.servers.insert(id, server) {
            self.servers.arm(slot);
        }
        if let Some(slot) = invite
            && self.servers.of(slot).is_some_and(|server| server.is_cancellable())
        {
            self.push(Output::Cancelled { invite: ServerKey(slot), request });
        }
    }

    fn receive_response(&mut self, now: Instant, flow: Flow, response: Response) {
        let headers = &response.headers;
        let (Ok(()), Ok(via), Ok(cseq)) = (response.check(), headers.via(), headers.cseq()) else {
            self.counters.dropped_responses += 1;
            return;
        };
        let found = via.branch().and_then(|branch| self.clients.find(self.hasher.client(branch, cseq.method)));
        let Some(slot) = found else { return self.push(Output::Stray { response, flow }) };
        let Some(client) = self.clients.of(slot) else { return };
        let quiet = client.is_quiet();
        let client::Received { up, send } = client.receive(now, &response);
        let cancel = client.take_cancel();
        self.clients.arm(slot);
        if let Some(send) = send {
            self.push(send);
        }
        self.send_cancel(now, cancel);
        if !up {
            self.counters.repeated_in += u64::from(!response.is_provisional());
            self.counters.dropped_responses += u64::from(response.is_provisional());
        } else if !quiet {
            self.push(Output::Response { key: ClientKey(slot), response, flow });
        }
    }

    /// A transaction of its own, whose responses nobody waits for.
    fn send_cancel(&mut self, now: Instant, cancel: Option<(Flow, Request)>) {
        let Some((flow, request)) = cancel else { return };
        if let Ok(ClientKey(slot)) = self.send_request(now, flow, request)
            && let Some(client) = self.clients.of(slot)
        {
            client.hush();
        }
    }

    fn malformed(&mut self, flow: Flow, request: Request, rejection: Rejection) {
        self.counters.malformed += 1;
        self.refuse(flow, request, rejection);
    }

    fn refuse(&mut self, flow: Flow, mut request: Request, rejection: Rejection) {
        if request.method == Method::Ack {
            return;
        }
        request.source = Some(flow.remote);
        let tag = self.hasher.tag(&request);
        let mut response = ResponseBuilder::to(&request, rejection.status).reason(rejection.reason).to_tag(&tag);
        if rejection.status == 503 {
            response = response.header(crate::Name::RetryAfter, "5");
        }
        let bytes = response.build().wire();
        self.push(Output::Send { flow: answering(flow, &request), bytes });
    }

    fn push(&mut self, output: Output) {
        // Repetition mends a lost datagram; a lost event would strand a call.
        if self.outputs.len() >= OUTPUTS_MAX && matches!(output, Output::Send { .. }) {
            self.counters.outputs_dropped += 1;
            return;
        }
        self.outputs.push_back(output);
    }
}

/// How responses to a request go back (RFC 3261 18.2.2): over its connection, or to where its Via says. `rport` is the port of a
/// connection that may be gone by then: a new one is opened to the port that the peer listens on.
pub fn answering(flow: Flow, request: &Request) -> Flow {
    let remote = match flow.transport.is_reliable() {
        false => build::response_address(request),
        true => request.headers.via().ok().map(|via| {
            let usual = if flow.transport.is_secure() { 5061 } else { 5060 };
            SocketAddr::new(flow.remote.ip(), via.port.unwrap_or(usual))
        }),
    };
    Flow { remote: remote.unwrap_or(flow.remote), ..flow }
}

impl fmt::Debug for Transactions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transactions").field("alive", &self.len()).field("counters", &self.counters).finish()
    }
}

#[cfg(test)]
mod tests;

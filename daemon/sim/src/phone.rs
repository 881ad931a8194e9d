//! A SIP user agent of the simulated world: a phone, or a carrier with many calls at once.
//!
//! It speaks through the house's own message and transaction layers; what it decides (when to ring, answer, cancel, hold, hang up) is
//! its [`Habits`]. Peers that were not written here have their turn in the real-peer tests.

mod watch;

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use postern_sip::{
    Message, Method, Name, Request, RequestBuilder, Response, ResponseBuilder, SentBy, Uri,
    dialog::{AnswerKeeper, Dialog, Keep},
    digest,
    transaction::{ClientKey, Flow, Output, ServerKey, Transactions},
};
use postern_types::Transport;
use rand::{Rng, RngExt, rngs::StdRng};

pub use watch::Watch;

/// Methods that one with session timers takes.
const TAKES: &str = "INVITE, ACK, CANCEL, BYE, UPDATE, OPTIONS";

/// What a phone does with a call that comes.
#[derive(Debug, Clone, Copy)]
pub enum Reaction {
    /// Rings, then answers.
    Answer {
        /// How long it rings.
        after: Duration,
    },
    /// Rings, then refuses.
    Refuse {
        /// How long it rings.
        after: Duration,
        /// 400..=699.
        status: u16,
    },
    /// Rings for ever.
    Ring,
    /// Says nothing at all: switched off.
    Dead,
}

/// What a user agent does by itself.
#[derive(Debug, Clone, Copy)]
pub struct Habits {
    /// With calls that come.
    pub reaction: Reaction,
    /// When it hangs up an answered call; none: never.
    pub hang_up_after: Option<Duration>,
    /// When it gives up a call that is not answered.
    pub cancel_after: Option<Duration>,
    /// When it puts an answered call on hold (and resumes as much later).
    pub hold_after: Option<Duration>,
    /// The session interval that it asks for and agrees to, and then refreshes never by itself (RFC 4028).
    pub session_expires: Option<u32>,
    /// What it answers to a new offer.
    pub refuses_offers: bool,
}

impl Default for Habits {
    fn default() -> Self {
        Self {
            reaction: Reaction::Answer { after: Duration::from_secs(2) },
            hang_up_after: None,
            cancel_after: None,
            hold_after: None,
            session_expires: None,
            refuses_offers: false,
        }
    }
}

/// How far a call is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// INVITE sent or received.
    Trying,
    /// 18x sent or received.
    Ringing,
    /// 2xx sent or received.
    Answered,
    /// Over, with the status that ended it: 200 for BYE.
    Over(u16),
}

/// One call of this user agent.
#[derive(Debug)]
pub struct Call {
    /// How far.
    pub stage: Stage,
    /// Whether this user agent started it.
    pub outgoing: bool,
    /// Final failures of offers that it made.
    pub offers_refused: Vec<u16>,
    /// Offers that it made and that were accepted.
    pub offers_accepted: u32,
    /// Offers that it got: the direction line of each.
    pub offers_got: Vec<String>,
    /// What it was told of its referrals: each NOTIFY's status line.
    pub told: Vec<String>,
    call_id: String,
    invite: Request,
    client: Option<ClientKey>,
    server: Option<ServerKey>,
    /// An offer of ours that has no final answer.
    offer: Option<ClientKey>,
    /// The one before, whose 2xx may be repeated.
    offered: Option<ClientKey>,
    offer_cseq: u32,
    dialog: Option<Dialog>,
    keeper: Option<AnswerKeeper>,
    answer_at: Option<Instant>,
    cancel_at: Option<Instant>,
    hang_up_at: Option<Instant>,
    hold_at: Option<Instant>,
    on_hold: bool,
    again: bool,
}

impl Call {
    /// Whether nothing more will happen.
    pub fn is_over(&self) -> bool {
        matches!(self.stage, Stage::Over(_))
    }

    fn deadlines(&self) -> impl Iterator<Item = Instant> {
        let keeper = self.keeper.as_ref().map(AnswerKeeper::next_deadline);
        [self.answer_at, self.cancel_at, self.hang_up_at, self.hold_at, keeper].into_iter().flatten()
    }
}

/// The user agent.
pub struct Phone {
    /// Where it is.
    pub address: SocketAddr,
    /// Its habits; changed at will.
    pub habits: Habits,
    /// UPDATEs that it took.
    pub refreshes: u32,
    /// Its calls, the oldest first.
    pub calls: Vec<Call>,
    /// What it subscribed to, the oldest first.
    pub watches: Vec<Watch>,
    /// Whether the last REGISTER was accepted.
    pub registered: bool,
    /// It neither hears nor speaks any more: its cable is out.
    pub gone: bool,
    /// UDP or TCP.
    pub transport: Transport,
    name: String,
    password: String,
    border: SocketAddr,
    transactions: Transactions,
    registering: Option<(ClientKey, Request, bool)>,
    rng: StdRng,
}

impl Phone {
    /// A user agent called `name` at `address`, that knows the box by `border`.
    pub fn new(name: &str, password: &str, address: SocketAddr, border: SocketAddr, mut rng: StdRng) -> Self {
        Self {
            address,
            habits: Habits::default(),
            calls: Vec::new(),
            watches: Vec::new(),
            refreshes: 0,
            registered: false,
            gone: false,
            transport: Transport::Udp,
            name: name.into(),
            password: password.into(),
            border,
            transactions: Transactions::new(rng.random(), 10_000),
            registering: None,
            rng,
        }
    }

    /// Registers for `expires` seconds; 0 unregisters.
    pub fn register(&mut self, now: Instant, expires: u32) {
        let uri = format!("sip:{}", self.border);
        let request = self
            .request(Method::Register, &uri, &format!("<sip:{}@{}>", self.name, self.border))
            .header(Name::Expires, &expires.to_string())
            .build();
        if let Ok(key) = self.transactions.send_request(now, self.flow(), request.clone()) {
            self.registering = Some((key, request, false));
        }
    }

    /// Calls `to`. Returns the place of the call in [`Phone::calls`].
    pub fn call(&mut self, now: Instant, to: &str) -> usize {
        self.invite(now, to, None)
    }

    fn invite(&mut self, now: Instant, to: &str, replaces: Option<&str>) -> usize {
        let uri = format!("sip:{to}@{}", self.border);
        let mut invite = self.request(Method::Invite, &uri, &format!("<{uri}>"));
        if let Some(named) = replaces {
            invite = invite.header(Name::Replaces, named).header(Name::Require, "replaces");
        }
        if let Some(seconds) = self.habits.session_expires {
            invite = invite.header(Name::Supported, "timer").header(Name::Allow, TAKES);
            invite = invite.header(Name::SessionExpires, &seconds.to_string());
        }
        let invite = invite.body("application/sdp", &self.sdp("sendrecv")).build();
        let client = self.transactions.send_request(now, self.flow(), invite.clone()).ok();
        let cancel_at = self.habits.cancel_after.map(|after| now + after);
        self.calls.push(Call { client, cancel_at, ..self.new_call(invite, true) });
        self.calls.len() - 1
    }

    /// Hangs an answered call up.
    pub fn hang_up(&mut self, now: Instant, at: usize) {
        let (flow, branch, sent_by) = (self.flow(), self.branch(), self.sent_by());
        let call = &mut self.calls[at];
        if let (Stage::Answered, Some(dialog)) = (call.stage, &mut call.dialog) {
            let bye = dialog.request(Method::Bye, sent_by, &branch).build();
            call.stage = Stage::Over(200);
            call.keeper = None;
            let _ = self.transactions.send_request(now, flow, bye);
        }
    }

    /// Puts on hold, or resumes, by a new offer.
    pub fn reoffer(&mut self, now: Instant, at: usize, direction: &str) {
        let (flow, branch, sdp, sent_by) = (self.flow(), self.branch(), self.sdp(direction), self.sent_by());
        let call = &mut self.calls[at];
        if let (Stage::Answered, Some(dialog), None) = (call.stage, &mut call.dialog, call.offer) {
            let offer = dialog.request(Method::Invite, sent_by, &branch).body("application/sdp", &sdp).build();
            call.offer_cseq = dialog.local_cseq();
            call.offer = self.transactions.send_request(now, flow, offer).ok();
        }
    }

    /// Wants the other party of a call to talk with `to` (REFER).
    pub fn refer(&mut self, now: Instant, at: usize, to: &str) {
        let (flow, branch, sent_by) = (self.flow(), self.branch(), self.sent_by());
        let (user, headers) = to.split_once('?').map_or((to, String::new()), |(user, more)| (user, format!("?{more}")));
        let to = format!("<sip:{user}@{}{headers}>", self.border);
        let call = &mut self.calls[at];
        if let (Stage::Answered, Some(dialog)) = (call.stage, &mut call.dialog) {
            let refer = dialog.request(Method::Refer, sent_by, &branch).header(Name::ReferTo, &to).build();
            let _ = self.transactions.send_request(now, flow, refer);
        }
    }

    /// Wants it to talk with the other party of `second` (REFER with Replaces).
    pub fn join(&mut self, now: Instant, at: usize, second: usize) {
        if let Some(named) = self.named(second) {
            self.refer(
                now,
                at,
                &format!("x?Replaces={}", named.replace(';', "%3B").replace('=', "%3D").replace('@', "%40")),
            );
        }
    }

    /// A call as a Replaces names it.
    pub fn named(&self, at: usize) -> Option<String> {
        let id = self.calls[at].dialog.as_ref()?.id();
        Some(format!("{};to-tag={};from-tag={}", id.call_id, id.remote_tag, id.local_tag))
    }

    /// Calls to take the place of the call that this names.
    pub fn replace(&mut self, now: Instant, named: &str) -> usize {
        self.invite(now, "x", Some(named))
    }

    /// Takes a datagram.
    pub fn handle_datagram(&mut self, now: Instant, source: SocketAddr, bytes: &[u8]) {
        if let Ok(message) = Message::parse(bytes)
            && !self.gone
        {
            self.transactions.receive(
                now,
                Flow { transport: self.transport, ..Flow::udp(self.address, source) },
                message,
            );
        }
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.transactions.handle_timeout(now);
        let due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        for at in 0..self.calls.len() {
            if due(self.calls[at].answer_at) {
                self.calls[at].answer_at = None;
                self.react(now, at);
            }
            if due(self.calls[at].cancel_at) {
                let call = &mut self.calls[at];
                call.cancel_at = None;
                if let (Some(key), false) = (call.client, matches!(call.stage, Stage::Answered | Stage::Over(_))) {
                    self.transactions.cancel(now, key, None);
                }
            }
            if due(self.calls[at].hang_up_at) {
                self.calls[at].hang_up_at = None;
                self.hang_up(now, at);
            }
            if due(self.calls[at].hold_at) {
                let call = &mut self.calls[at];
                let after = self.habits.hold_after.unwrap_or(Duration::from_secs(1));
                call.hold_at = (!call.on_hold).then(|| now + after);
                call.on_hold = !call.on_hold;
                let direction = if call.on_hold { "sendonly" } else { "sendrecv" };
                self.reoffer(now, at, direction);
            }
            self.keep_answer(now, at);
        }
    }

    fn keep_answer(&mut self, now: Instant, at: usize) {
        let call = &mut self.calls[at];
        let (Some(keeper), Some(key)) = (&mut call.keeper, call.server) else { return };
        match keeper.handle_timeout(now) {
            Keep::Wait => {}
            Keep::Repeat(response) => _ = self.transactions.respond(now, key, response),
            Keep::GiveUp => {
                call.keeper = None;
                self.hang_up(now, at);
            }
        }
    }

    /// The next datagram to be sent.
    pub fn poll_send(&mut self, now: Instant) -> Option<(SocketAddr, Vec<u8>)> {
        while let Some(output) = self.transactions.poll_output() {
            match output {
                Output::Send { .. } if self.gone => {}
                Output::Send { flow, bytes } => return Some((flow.remote, bytes.to_vec())),
                Output::Request { key, request, .. } => self.on_request(now, key, request),
                Output::Cancelled { invite, .. } => self.on_cancelled(now, invite),
                Output::Ack { request, .. } => {
                    let acked = self
                        .calls
                        .iter_mut()
                        .find(|call| call.keeper.as_ref().is_some_and(|k| k.is_acknowledged_by(&request)));
                    if let Some(call) = acked {
                        call.keeper = None;
                    }
                }
                Output::Response { key, response, .. } => self.on_response(now, key, response),
                Output::Stray { .. } | Output::NoAck { .. } => {}
                Output::TimedOut { key } | Output::Undelivered { key } => self.on_final(key, 408),
            }
        }
        None
    }

    /// When [`Phone::handle_timeout`] wants to be called.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.calls.iter().flat_map(Call::deadlines).chain(self.transactions.next_deadline()).min()
    }

    /// Puts its latest call that talks on hold, or resumes it; false when none talks.
    pub fn reoffer_latest(&mut self, now: Instant, direction: &str) -> bool {
        let latest = self.calls.iter().rposition(|call| call.stage == Stage::Answered);
        latest.map(|at| self.reoffer(now, at, direction)).is_some()
    }

    /// Calls that are not over.
    pub fn live(&self) -> usize {
        self.calls.iter().filter(|call| !call.is_over()).count()
    }

    fn on_request(&mut self, now: Instant, key: ServerKey, request: Request) {
        let call_id = request.headers.call_id().unwrap_or_default().to_owned();
        let known = self.calls.iter().position(|call| call.call_id == call_id && call.dialog.is_some());
        match (&request.method, known) {
            (Method::Invite, None) => self.on_invite(now, key, request),
            (Method::Invite, Some(at)) => {
                let line = String::from_utf8_lossy(&request.body).lines().find_map(|line| {
                    line.strip_prefix("a=")
                        .filter(|a| a.starts_with("send") || a.starts_with("recv") || *a == "inactive")
                        .map(str::to_owned)
                });
                self.calls[at].offers_got.push(line.unwrap_or_default());
                if self.habits.refuses_offers {
                    let refusal = ResponseBuilder::to(&request, 488).build();
                    self.transactions.respond(now, key, &refusal);
                    return;
                }
                let answer = self.answer(&request, 200, "tag");
                self.transactions.respond(now, key, &answer);
                let call = &mut self.calls[at];
                call.server = Some(key);
                call.keeper = Some(AnswerKeeper::new(now, answer));
            }
            (Method::Notify, Some(at)) => {
                self.calls[at].told.push(String::from_utf8_lossy(&request.body).trim().to_owned());
                let ok = ResponseBuilder::to(&request, 200).build();
                self.transactions.respond(now, key, &ok);
            }
            (Method::Bye, Some(at)) => {
                let call = &mut self.calls[at];
                call.stage = Stage::Over(200);
                call.keeper = None;
                let ok = ResponseBuilder::to(&request, 200).build();
                self.transactions.respond(now, key, &ok);
            }
            (Method::Notify, None) if self.on_notified(now, key, &request) => {}
            (_, None) => {
                let gone = ResponseBuilder::to(&request, 481).to_tag("x").build();
                self.transactions.respond(now, key, &gone);
            }
            _ => {
                let mut ok = ResponseBuilder::to(&request, 200);
                if request.method == Method::Update {
                    ok = self.agree(&request, ok);
                    self.refreshes += 1;
                }
                self.transactions.respond(now, key, &ok.build());
            }
        }
    }

    /// The box may refresh.
    fn agree<'a>(&self, request: &Request, response: ResponseBuilder<'a>) -> ResponseBuilder<'a> {
        match self.habits.session_expires.filter(|_| request.headers.has(Name::SessionExpires)) {
            Some(seconds) => response
                .header(Name::Allow, TAKES)
                .header(Name::SessionExpires, &format!("{seconds};refresher=uac"))
                .header(Name::Require, "timer"),
            None => response,
        }
    }

    fn on_invite(&mut self, now: Instant, key: ServerKey, request: Request) {
        let answer_at = match self.habits.reaction {
            Reaction::Dead => return self.transactions.discard(key),
            Reaction::Ring => None,
            Reaction::Answer { after } | Reaction::Refuse { after, .. } => Some(now + after),
        };
        let tag = format!("t{:x}", self.rng.random::<u32>());
        let ringing = ResponseBuilder::to(&request, 180).to_tag(&tag).header(Name::Contact, &self.contact()).build();
        self.transactions.respond(now, key, &ringing);
        let dialog = Dialog::uas(&request, &tag, &self.contact()).ok();
        let call =
            Call { stage: Stage::Ringing, server: Some(key), dialog, answer_at, ..self.new_call(request, false) };
        self.calls.push(call);
    }

    fn react(&mut self, now: Instant, at: usize) {
        let call = &self.calls[at];
        let (Some(key), Some(dialog), Stage::Ringing) = (call.server, &call.dialog, call.stage) else { return };
        let tag = dialog.id().local_tag.to_string();
        if let Reaction::Refuse { status, .. } = self.habits.reaction {
            let refusal = ResponseBuilder::to(&call.invite, status).to_tag(&tag).build();
            self.transactions.respond(now, key, &refusal);
            self.calls[at].stage = Stage::Over(status);
            return;
        }
        let answer = self.answer(&call.invite, 200, &tag);
        if !self.transactions.respond(now, key, &answer) {
            return;
        }
        let (hang_up_at, hold_at) = self.plans(now);
        let call = &mut self.calls[at];
        call.keeper = Some(AnswerKeeper::new(now, answer));
        call.stage = Stage::Answered;
        (call.hang_up_at, call.hold_at) = (hang_up_at, hold_at);
        if let Some(dialog) = &mut call.dialog {
            dialog.confirm();
        }
    }

    fn on_cancelled(&mut self, now: Instant, invite: ServerKey) {
        let Some(call) = self.calls.iter_mut().find(|call| call.server == Some(invite) && !call.is_over()) else {
            return;
        };
        let tag = call.dialog.as_ref().map(|dialog| dialog.id().local_tag.to_string()).unwrap_or_default();
        let terminated = ResponseBuilder::to(&call.invite, 487).to_tag(&tag).build();
        call.stage = Stage::Over(487);
        call.answer_at = None;
        self.transactions.respond(now, invite, &terminated);
    }

    fn on_response(&mut self, now: Instant, key: ClientKey, response: Response) {
        let sent_by = self.sent_by();
        if self.registering.as_ref().is_some_and(|(registering, ..)| *registering == key) {
            return self.on_registered(now, &response);
        }
        if self.on_subscribed(now, key, &response) {
            return;
        }
        let (flow, branch) = (self.flow(), self.branch());
        if let Some(at) = self.calls.iter().position(|call| call.client == Some(key)) {
            if response.is_provisional() {
                if response.status > 100 && self.calls[at].stage == Stage::Trying {
                    self.calls[at].stage = Stage::Ringing;
                }
                return;
            }
            if matches!(response.status, 401 | 407) && !self.calls[at].again {
                return self.prove(now, at, &response);
            }
            if !response.is_success() {
                return self.on_final(key, response.status);
            }
            let (hang_up_at, hold_at) = self.plans(now);
            let call = &mut self.calls[at];
            if call.dialog.is_none() {
                call.dialog = Dialog::uac(&call.invite, &response).ok();
                (call.hang_up_at, call.hold_at) = (hang_up_at, hold_at);
                if !call.is_over() {
                    call.stage = Stage::Answered;
                }
            }
            let cseq = call.invite.headers.cseq().map(|cseq| cseq.number).unwrap_or(1);
            let Some(dialog) = &mut call.dialog else { return };
            let ack = match dialog.ack_again(&response) {
                Some(ack) => ack.clone(),
                None => dialog.ack(cseq, sent_by, &branch, None),
            };
            self.transactions.send(flow, &ack);
        } else if let Some(at) = self.calls.iter().position(|call| call.offer == Some(key) || call.offered == Some(key))
        {
            if response.is_provisional() {
                return;
            }
            if !response.is_success() {
                return self.on_final(key, response.status);
            }
            let call = &mut self.calls[at];
            let (cseq, Some(dialog)) = (call.offer_cseq, &mut call.dialog) else { return };
            let ack = match dialog.ack_again(&response) {
                Some(ack) => ack.clone(),
                None => {
                    call.offers_accepted += 1;
                    call.offered = call.offer.take();
                    dialog.refresh(&response);
                    dialog.ack(cseq, sent_by, &branch, None)
                }
            };
            self.transactions.send(flow, &ack);
        }
    }

    /// A final failure of an INVITE: the call's, or an offer's.
    fn on_final(&mut self, key: ClientKey, status: u16) {
        for call in &mut self.calls {
            if call.client == Some(key) && !call.is_over() {
                call.stage = Stage::Over(status);
            }
            if call.offer == Some(key) {
                call.offer = None;
                call.offers_refused.push(status);
            }
        }
    }

    fn on_registered(&mut self, now: Instant, response: &Response) {
        let Some((_, request, again)) = self.registering.take() else { return };
        if response.status == 401 && !again {
            let Some(next) = self.with_proof(&request, response) else { return };
            if let Ok(key) = self.transactions.send_request(now, self.flow(), next.clone()) {
                self.registering = Some((key, next, true));
            }
            return;
        }
        if !response.is_provisional() {
            self.registered = response.is_success();
        } else {
            self.registering = None;
        }
    }

    fn prove(&mut self, now: Instant, at: usize, response: &Response) {
        let invite = self.calls[at].invite.clone();
        let Some(next) = self.with_proof(&invite, response) else { return };
        let client = self.transactions.send_request(now, self.flow(), next.clone()).ok();
        let call = &mut self.calls[at];
        (call.client, call.invite, call.again) = (client, next, true);
    }

    fn with_proof(&mut self, request: &Request, response: &Response) -> Option<Request> {
        let password = postern_types::Secret::new(self.password.clone());
        let credentials = digest::Credentials { username: &self.name, password: &password };
        let cnonce = self.rng.random();
        let uri = request.uri_str().to_owned();
        let proofs =
            digest::answer(response, request.method.as_str(), &uri, credentials, cnonce, &request.headers).ok()?;
        let cseq = request.headers.cseq().map(|cseq| cseq.number).unwrap_or(1) + 1;
        let branch = self.branch();
        let mut next = RequestBuilder::retry(request, self.sent_by(), &branch, cseq, &[]);
        for (name, value) in proofs {
            next = next.header(name, &value);
        }
        Some(next.build())
    }

    fn plans(&self, now: Instant) -> (Option<Instant>, Option<Instant>) {
        (self.habits.hang_up_after.map(|after| now + after), self.habits.hold_after.map(|after| now + after))
    }

    fn new_call(&self, invite: Request, outgoing: bool) -> Call {
        Call {
            stage: Stage::Trying,
            outgoing,
            offers_refused: Vec::new(),
            offers_accepted: 0,
            offers_got: Vec::new(),
            told: Vec::new(),
            call_id: invite.headers.call_id().unwrap_or_default().to_owned(),
            invite,
            client: None,
            server: None,
            offer: None,
            offered: None,
            offer_cseq: 0,
            dialog: None,
            keeper: None,
            answer_at: None,
            cancel_at: None,
            hang_up_at: None,
            hold_at: None,
            on_hold: false,
            again: false,
        }
    }

    fn request(&mut self, method: Method, uri: &str, to: &str) -> RequestBuilder {
        let (branch, tag, call_id) = (self.branch(), self.rng.random::<u32>(), self.rng.random::<u64>());
        let uri = Uri::parse(uri).expect("made of a number and an address");
        RequestBuilder::new(method, &uri)
            .via(self.sent_by(), &branch)
            .header(Name::From, &format!("<sip:{}@{}>;tag={tag:x}", self.name, self.address.ip()))
            .header(Name::To, to)
            .header(Name::CallId, &format!("{call_id:x}@{}", self.address.ip()))
            .cseq(1)
            .max_forwards(70)
            .header(Name::Contact, &self.contact())
    }

    fn answer(&self, request: &Request, status: u16, tag: &str) -> Response {
        let sdp = self.sdp("sendrecv");
        let response = ResponseBuilder::to(request, status).to_tag(tag).header(Name::Contact, &self.contact());
        self.agree(request, response).body("application/sdp", &sdp).build()
    }

    fn sdp(&self, direction: &str) -> Vec<u8> {
        let (kind, ip) = (if self.address.is_ipv4() { 4 } else { 6 }, self.address.ip());
        format!(
            "v=0\r\no=- 1 1 IN IP{kind} {ip}\r\ns=-\r\nc=IN IP{kind} {ip}\r\nt=0 0\r\nm=audio 4000 RTP/AVP 8 0 101\r\n\
             a=rtpmap:101 telephone-event/8000\r\na={direction}\r\n"
        )
        .into_bytes()
    }

    fn contact(&self) -> String {
        let transport = if self.transport == Transport::Udp { "" } else { ";transport=tcp" };
        format!("<sip:{}@{}{transport}>", self.name, self.address)
    }

    /// Where it sends.
    pub fn border(&self) -> SocketAddr {
        self.border
    }

    fn sent_by(&self) -> SentBy {
        SentBy { transport: self.transport, address: self.address }
    }

    fn flow(&self) -> Flow {
        Flow { transport: self.transport, ..Flow::udp(self.address, self.border) }
    }

    fn branch(&mut self) -> String {
        format!("z9hG4bK{:016x}", self.rng.next_u64())
    }
}

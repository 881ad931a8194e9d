//! MESSAGE (RFC 3428): what a known party writes to a user, over a trunk, or to the other party of its call.
//!
//! Each message leaves as one of ours, with nothing of the other side but its text and the type of that. The router decides where it goes, and never
//! sees the text. Whoever sent it hears what the one that it was for, or the next network, answered. Nothing is kept for later: a user
//! without a device does not get it, and the sender is told so.

use std::{collections::HashMap, time::Instant};

use postern_sip::{Method, Name, Request, RequestBuilder, Response, ResponseBuilder, transaction::ServerKey};
use postern_types::{
    CallSid, Cause, EndedBy, TrunkName,
    leg::{Party, Target as Callee},
    text::{TextCommand, TextEvent, TextId, TextOffered, TextSend, TextTarget},
};

use crate::{
    Client, Output, Retry, Signaling,
    dialed::{DATAGRAM_MAX, Opening, Way},
    editing,
    gruu::Called,
    headers::{self, PRODUCT},
    identity::{self, Caller},
    ladder::Place,
    offered::Who,
    places::Endpoint,
    registering,
    rules::Rules,
    side::{State, Tag},
};

/// Messages under way at once at most, some 5 MB; 503 beyond. Each is over within 32 seconds.
const TEXTS_MAX: usize = 4096;
/// Bytes of a text at most; 413 beyond. A message outside of a call must stay below what a datagram surely carries (RFC 3428 8).
const TEXT_MAX: usize = 1300;
/// What may be in a message: text, and that somebody is writing one (RFC 3994). Types that carry addresses in their bodies are not passed on.
const TYPES: &str = "text/plain, text/html, application/im-iscomposing+xml";

/// Those under way.
#[derive(Debug, Default)]
pub(crate) struct Texts {
    of: HashMap<TextId, Text>,
    next: u64,
}

/// One that is not answered.
#[derive(Debug)]
struct Text {
    key: ServerKey,
    /// As it came.
    request: Request,
    tag: Tag,
    /// Copies that are out and not answered.
    open: usize,
    /// Whether the router was told what became of the last ones.
    told: bool,
    /// The best answer of those that were none.
    failure: Option<(EndedBy, Cause)>,
}

impl Texts {
    pub(crate) fn len(&self) -> usize {
        self.of.len()
    }
}

impl Signaling {
    /// A MESSAGE outside of calls, from a known party.
    pub(crate) fn text_offered(
        &mut self,
        now: Instant,
        key: ServerKey,
        request: Request,
        who: &Who,
        endpoint: &Endpoint,
    ) {
        let tag = self.new_tag();
        let (trunk, user) = match who {
            Who::Trunk(trunk) => (Some(trunk), None),
            Who::User(user) => (None, Some(user)),
        };
        let rules = Rules::of(&self.places.config, trunk, user, &endpoint.realm);
        let Some(max_forwards) = self.may_pass(now, key, &request, tag) else { return };
        if !headers::is_served_scheme(&request) {
            return self.reply(now, key, &request, 416, tag);
        }
        let Caller { from, from_name, identity } = identity::read(&request.headers, rules.trusted);
        let Called { to: called, device } = self.called(&request.uri());
        let (party, from, to) = match who {
            Who::Trunk(trunk) => {
                let to = registering::called(&self.places.config, trunk, &request);
                (Party::Trunk { trunk: trunk.clone() }, from, to)
            }
            Who::User(user) => (Party::User { user: user.clone() }, user.as_str().into(), called),
        };
        let id = self.texts.next_id();
        let offered = TextOffered {
            id,
            party,
            realm: endpoint.realm.clone(),
            from,
            from_name,
            to,
            device,
            identity,
            max_forwards,
            bytes: request.body.len(),
        };
        self.take_text(key, request, tag, id, TextEvent::Offered(Box::new(offered)));
    }

    /// One in the dialog of an answered leg.
    pub(crate) fn text_in_dialog(&mut self, now: Instant, key: ServerKey, request: &Request, tag: Tag) {
        let Some(leg) = self.sides.get(&tag).and_then(|side| side.leg) else {
            return self.reply(now, key, request, 481, tag);
        };
        let Some(max_forwards) = self.may_pass(now, key, request, tag) else { return };
        let (id, bytes) = (self.texts.next_id(), request.body.len());
        self.take_text(key, request.clone(), tag, id, TextEvent::Within { id, leg, max_forwards, bytes });
    }

    /// What holds wherever it came; its Max-Forwards. None: it was answered.
    fn may_pass(&mut self, now: Instant, key: ServerKey, request: &Request, tag: Tag) -> Option<u8> {
        let is_text = TYPES.split(", ").any(|kind| request.headers.is_content(kind));
        let max_forwards = headers::max_forwards(&request.headers);
        let status = match () {
            () if max_forwards == 0 => 483,
            () if request.body.len() > TEXT_MAX => 413,
            () if !is_text || request.headers.has(Name::ContentEncoding) => {
                let text = tag.to_string();
                let response = ResponseBuilder::to(request, 415).to_tag(&text).header(Name::Accept, TYPES);
                self.respond(now, key, &response.header(Name::Server, PRODUCT).build());
                return None;
            }
            () if self.texts.len() >= TEXTS_MAX => {
                self.counters.overloaded += 1;
                503
            }
            () if self.refuse_required(now, key, request, tag, "") => return None,
            () => return Some(max_forwards),
        };
        self.reply(now, key, request, status, tag);
        None
    }

    fn take_text(&mut self, key: ServerKey, request: Request, tag: Tag, id: TextId, event: TextEvent) {
        let text = Text { key, request, tag, open: 0, told: false, failure: None };
        self.texts.of.insert(id, text);
        self.outputs.push_back(Output::Text(event));
    }

    /// Takes a command of the router. One for a message that is gone does nothing.
    pub(crate) fn on_text_command(&mut self, now: Instant, command: TextCommand) {
        match command {
            TextCommand::Send(send) => self.send_text(now, &send),
            TextCommand::Answer { id, cause } => self.answer_text(now, id, &cause),
        }
    }

    fn send_text(&mut self, now: Instant, send: &TextSend) {
        let Some(text) = self.texts.of.get_mut(&send.id) else { return };
        (text.open, text.told, text.failure) = (0, false, None);
        let came = text.request.clone();
        let launched = match &send.target {
            TextTarget::Within(leg) => self.text_within(now, send.id, *leg, &came),
            TextTarget::Outside(Callee::User { user, device }) => {
                let ways = self.first_flows_to(user.as_str(), device.as_deref());
                if ways.is_empty() { Err(Cause::new(480, "no device is registered")) } else { Ok(ways) }
                    .and_then(|ways| self.text_by(now, send, ways, &came))
            }
            TextTarget::Outside(target @ Callee::Trunk { trunk, .. }) => {
                self.way_of_text(now, target, trunk).and_then(|way| self.text_by(now, send, vec![way], &came))
            }
            TextTarget::Outside(Callee::Uri { .. }) => Err(Cause::new(404, "messages go to users and trunks")),
        };
        if let Err(cause) = launched {
            self.text_over(send.id, EndedBy::Postern, cause);
        }
    }

    /// By the best address of a trunk.
    fn way_of_text(&self, now: Instant, target: &Callee, trunk: &TrunkName) -> Result<Way, Cause> {
        let unreachable = || Cause::new(503, "no address that can be reached");
        let config = self.places.config.trunks.get(trunk).ok_or_else(|| Cause::new(404, "no such trunk"))?;
        let best = self.targets.best(now, trunk).ok_or_else(unreachable)?;
        let host = self.targets.get(trunk, best).map(|known| known.host.clone()).ok_or_else(unreachable)?;
        let port = config.addresses.iter().find(|address| *address.host == *host).and_then(|address| address.port);
        self.way(target, &config.realm, &Place { host, port, target: best })
    }

    /// A copy by each of these ways.
    fn text_by(&mut self, now: Instant, send: &TextSend, ways: Vec<Way>, came: &Request) -> Result<(), Cause> {
        let mut failure = Cause::new(503, "too many transactions or connections");
        let mut open = 0;
        for way in ways {
            let tag = self.new_tag();
            let rules = Rules::of(&self.places.config, way.trunk.as_ref(), None, &way.endpoint.realm);
            let Some(Opening { mut request, host, .. }) =
                self.open_request(Method::Message, &way, (&send.from, &send.from_name), None, send.max_forwards, tag)
            else {
                failure = Cause::new(484, "its sender makes no SIP address");
                continue;
            };
            if rules.trusted {
                request = identity::tell(&send.identity, &way.to, &host, request);
            }
            let request = written(request.header(Name::UserAgent, PRODUCT), came);
            let Some(flow) = self.flow_of(now, &way) else { continue };
            let leaves = editing::sent(rules.headers.as_deref(), &request).0;
            if !flow.transport.is_reliable() && leaves.len() > DATAGRAM_MAX {
                // RFC 3428 8.
                failure = Cause::new(513, "too large for a datagram");
                continue;
            }
            let advertised = way.endpoint.sent_by(flow.transport);
            let rules = rules.headers;
            let retry =
                way.credentials.map(|credentials| Box::new(Retry { flow, advertised, request, credentials, rules }));
            if self.request_as_it_is(now, flow, leaves, Client::Text(send.id, retry)).is_some() {
                open += 1;
            }
        }
        self.texts_out(send.id, open, failure)
    }

    fn text_within(&mut self, now: Instant, id: TextId, leg: CallSid, came: &Request) -> Result<(), Cause> {
        let branch = self.new_branch();
        let gone = || Cause::new(481, "the other party is gone");
        let side = self.only_side(leg).and_then(|tag| self.sides.get_mut(&tag)).ok_or_else(gone)?;
        let (advertised, flow) = (side.advertised, side.next_hop());
        let State::Up(session) = &mut side.state else {
            return Err(Cause::new(480, "the other party did not answer yet"));
        };
        let request = session.dialog.request(Method::Message, advertised, &branch).header(Name::UserAgent, PRODUCT);
        // As an INFO, it is not sent again with a password: that would take a number of the dialog's.
        let sent = self.request(now, flow, written(request, came), Client::Text(id, None));
        let open = usize::from(sent.is_some());
        self.texts_out(id, open, Cause::new(503, "too many transactions or connections"))
    }

    /// So many copies are out; with none it failed.
    fn texts_out(&mut self, id: TextId, open: usize, failure: Cause) -> Result<(), Cause> {
        if open == 0 {
            return Err(failure);
        }
        if let Some(text) = self.texts.of.get_mut(&id) {
            text.open = open;
        }
        Ok(())
    }

    /// A copy was answered.
    pub(crate) fn on_text_response(
        &mut self,
        now: Instant,
        id: TextId,
        retry: Option<Box<Retry>>,
        response: &Response,
    ) {
        let has_password = retry.is_some();
        if let Some(retry) = retry
            && self.once_more(now, *retry, response, Client::Text(id, None))
        {
            return;
        }
        let cause = headers::cause_of(response);
        let cause = match cause.status {
            // A challenge is ours to answer, never the sender's.
            401 | 407 => Cause { status: 403, ..crate::dialed::explained(cause, has_password) },
            300..=399 => Cause { status: 480, ..cause },
            _ => cause,
        };
        self.text_ended(id, EndedBy::Peer, cause);
    }

    /// A copy is over. The first that was taken speaks for all, else the best reason of the last (RFC 3261 16.7).
    pub(crate) fn text_ended(&mut self, id: TextId, by: EndedBy, cause: Cause) {
        let Some(text) = self.texts.of.get_mut(&id).filter(|text| !text.told) else { return };
        text.open = text.open.saturating_sub(1);
        if cause.status < 300 {
            return self.text_over(id, by, cause);
        }
        if text.failure.as_ref().is_none_or(|(_, best)| crate::legs::rank(&cause) < crate::legs::rank(best)) {
            text.failure = Some((by, cause));
        }
        if text.open == 0
            && let Some((by, cause)) = text.failure.take()
        {
            self.text_over(id, by, cause);
        }
    }

    fn text_over(&mut self, id: TextId, by: EndedBy, cause: Cause) {
        if let Some(text) = self.texts.of.get_mut(&id) {
            text.told = true;
            self.outputs.push_back(Output::Text(TextEvent::Ended { id, by, cause }));
        }
    }

    fn answer_text(&mut self, now: Instant, id: TextId, cause: &Cause) {
        let Some(Text { key, request, tag, .. }) = self.texts.of.remove(&id) else { return };
        match cause.status {
            // RFC 4320: too late for an answer, and nobody waits for one.
            408 => self.transactions.discard(key),
            status => self.reply(now, key, &request, status, tag),
        }
    }
}

impl Texts {
    fn next_id(&mut self) -> TextId {
        self.next += 1;
        TextId(self.next)
    }
}

/// With what was written, and the type of that.
fn written(request: RequestBuilder, came: &Request) -> Request {
    request.body(came.headers.first(Name::ContentType).unwrap_or_default(), &came.body).build()
}

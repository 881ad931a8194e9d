//! Dialogs (RFC 3261 12): made by a request and a response, they carry what each further request repeats.
//!
//! Also here: [`AnswerKeeper`], which repeats a 2xx to an INVITE until its ACK (13.3.1.4), and the ACK that a UAC keeps
//! for a repeated 2xx (13.2.2.4): [`Dialog::ack`] and [`Dialog::ack_again`].

use std::{
    fmt,
    time::{Duration, Instant},
};

use crate::{
    build::{RequestBuilder, SentBy},
    limits::{CSEQ_MAX, ROUTE_SET_MAX},
    message::{Headers, Method, Name, Rejection, Request, Response},
    transaction::{T1, T1_64, T2},
    uri::Uri,
};

/// What names a dialog. The remote tag is empty with a peer of RFC 2543 that sends none.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct DialogId {
    /// Call-ID.
    pub call_id: Box<str>,
    /// Our tag.
    pub local_tag: Box<str>,
    /// The peer's.
    pub remote_tag: Box<str>,
}

impl DialogId {
    fn of(Names { call_id, local_tag, remote_tag }: Names<'_>) -> Self {
        Self { call_id: call_id.into(), local_tag: local_tag.into(), remote_tag: remote_tag.into() }
    }

    fn is(&self, names: Names<'_>) -> bool {
        *self.call_id == *names.call_id && *self.local_tag == *names.local_tag && *self.remote_tag == *names.remote_tag
    }
}

/// The same as a message has them: to compare costs no memory.
#[derive(Clone, Copy)]
struct Names<'a> {
    call_id: &'a str,
    local_tag: &'a str,
    remote_tag: &'a str,
}

impl<'a> Names<'a> {
    /// Of an incoming request; none when its To has no tag: it is outside any dialog (RFC 3261 12.2.2).
    fn of_request(request: &'a Request) -> Option<Self> {
        let headers = &request.headers;
        let local_tag = headers.to().ok()?.tag()?;
        let remote_tag = headers.from().ok()?.tag().unwrap_or("");
        Some(Self { call_id: headers.call_id().ok()?, local_tag, remote_tag })
    }

    /// Of a response to our request; none without a To tag.
    fn of_response(response: &'a Response) -> Option<Self> {
        let headers = &response.headers;
        let local_tag = headers.from().ok()?.tag()?;
        let remote_tag = headers.to().ok()?.tag()?;
        Some(Self { call_id: headers.call_id().ok()?, local_tag, remote_tag })
    }
}

/// How far a dialog is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// After a provisional response.
    Early,
    /// After a 2xx.
    Confirmed,
}

/// Why no dialog can be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DialogError {
    /// The response has no To tag, or is a failure.
    NoDialog,
    /// Contact is missing in a request that makes a dialog, or does not read.
    Contact,
    /// From, To, Call-ID, CSeq or Record-Route does not read.
    Header,
    /// More than [`ROUTE_SET_MAX`] Record-Route entries.
    RouteSet,
}

impl DialogError {
    /// What a UAS answers.
    pub fn rejection(self) -> Rejection {
        let reason = match self {
            Self::NoDialog => "Bad Request",
            Self::Contact => "Missing Or Malformed Contact",
            Self::Header => "Malformed Dialog Header",
            Self::RouteSet => "Too Many Record-Route",
        };
        Rejection { status: 400, reason }
    }
}

impl fmt::Display for DialogError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.rejection().reason)
    }
}

impl std::error::Error for DialogError {}

/// One dialog, seen from our side.
#[derive(Debug, Clone)]
pub struct Dialog {
    id: DialogId,
    state: State,
    /// From of our requests, with our tag.
    local: Box<str>,
    /// To of our requests, with the peer's tag.
    remote: Box<str>,
    local_cseq: u32,
    remote_cseq: Option<u32>,
    remote_target: Uri<'static>,
    /// First hop first.
    routes: Vec<Box<str>>,
    /// Our Contact, a whole value.
    contact: Box<str>,
    /// CSeq of the INVITE last acknowledged, and its ACK.
    ack: Option<(u32, Request)>,
}

impl Dialog {
    /// As the caller, from our request and a response with a To tag: 101..=199 makes it early, 2xx confirmed (12.1.2).
    pub fn uac(request: &Request, response: &Response) -> Result<Self, DialogError> {
        if !(101..300).contains(&response.status) {
            return Err(DialogError::NoDialog);
        }
        let sent = &request.headers;
        let id = DialogId::of(Names::of_response(response).ok_or(DialogError::NoDialog)?);
        // A response without Contact is against the rules but comes with 18x: the target stays as it is.
        let remote_target = match target_of(&response.headers) {
            Some(target) => target?,
            None => request.uri().into_owned(),
        };
        let mut routes = record_routes(&response.headers)?;
        routes.reverse();
        Ok(Self {
            id,
            state: state_of(response),
            local: one_line(sent, Name::From)?,
            remote: one_line(&response.headers, Name::To)?,
            local_cseq: sent.cseq().map_err(|_| DialogError::Header)?.number,
            remote_cseq: None,
            remote_target,
            routes,
            contact: one_line(sent, Name::Contact).unwrap_or_default(),
            ack: None,
        })
    }

    /// As the callee, from the peer's request and the tag and Contact value that our responses carry (12.1.1). It is early
    /// until [`Dialog::confirm`].
    pub fn uas(request: &Request, local_tag: &str, contact: &str) -> Result<Self, DialogError> {
        let headers = &request.headers;
        let remote_tag = headers.from().map_err(|_| DialogError::Header)?.tag().unwrap_or("");
        let call_id = headers.call_id().map_err(|_| DialogError::Header)?;
        let to = one_line(headers, Name::To)?;
        Ok(Self {
            id: DialogId::of(Names { call_id, local_tag, remote_tag }),
            state: State::Early,
            local: format!("{to};tag={local_tag}").into(),
            remote: one_line(headers, Name::From)?,
            local_cseq: 0,
            remote_cseq: Some(headers.cseq().map_err(|_| DialogError::Header)?.number),
            remote_target: target_of(headers).ok_or(DialogError::Contact)??,
            routes: record_routes(headers)?,
            contact: contact.into(),
            ack: None,
        })
    }

    /// Its name.
    pub fn id(&self) -> &DialogId {
        &self.id
    }

    /// How far it is.
    pub fn state(&self) -> State {
        self.state
    }

    /// We sent a 2xx.
    pub fn confirm(&mut self) {
        self.state = State::Confirmed;
    }

    /// Where its requests are addressed.
    pub fn remote_target(&self) -> &Uri<'static> {
        &self.remote_target
    }

    /// The URI to send its requests to: the first route, or the target when there is none.
    pub fn next_hop(&self) -> Uri<'static> {
        let route = self.routes.first().and_then(|route| route_uri(route));
        route.unwrap_or_else(|| self.remote_target.clone())
    }

    /// CSeq of our last request.
    pub fn local_cseq(&self) -> u32 {
        self.local_cseq
    }

    /// Whether the peer's request is of this dialog.
    pub fn is_of(&self, request: &Request) -> bool {
        Names::of_request(request).is_some_and(|names| self.id.is(names))
    }

    /// Whether a response to a request of ours is of this dialog.
    pub fn is_of_response(&self, response: &Response) -> bool {
        Names::of_response(response).is_some_and(|names| self.id.is(names))
    }

    /// Our next request, neither ACK nor CANCEL: Via, Route, From, To, Call-ID, CSeq, Max-Forwards and, except in
    /// BYE, Contact (12.2.1.1).
    pub fn request(&mut self, method: Method, sent_by: impl Into<SentBy>, branch: &str) -> RequestBuilder {
        self.local_cseq = if self.local_cseq >= CSEQ_MAX { 1 } else { self.local_cseq + 1 };
        self.numbered(method, self.local_cseq, sent_by, branch)
    }

    /// The same for a request that was challenged and goes out again with credentials.
    pub fn next_cseq(&mut self) -> u32 {
        self.local_cseq = if self.local_cseq >= CSEQ_MAX { 1 } else { self.local_cseq + 1 };
        self.local_cseq
    }

    /// The ACK of a 2xx to the INVITE with CSeq `invite` (13.2.2.4), with `answer` (type, body) when the 2xx carried the
    /// offer. Kept for [`Dialog::ack_again`]. Send it with [`crate::transaction::Transactions::send`].
    pub fn ack(
        &mut self,
        invite: u32,
        sent_by: impl Into<SentBy>,
        branch: &str,
        answer: Option<(&str, &[u8])>,
    ) -> Request {
        let mut builder = self.numbered(Method::Ack, invite, sent_by, branch);
        if let Some((content_type, body)) = answer {
            builder = builder.body(content_type, body);
        }
        let ack = builder.build();
        self.ack = Some((invite, ack.clone()));
        ack
    }

    /// The ACK to send once more, when `response` is the repetition of a 2xx that was acknowledged already.
    pub fn ack_again(&self, response: &Response) -> Option<&Request> {
        let cseq = response.headers.cseq().ok()?;
        let (invite, ack) = self.ack.as_ref()?;
        let ours = response.is_success() && cseq.method == "INVITE" && cseq.number == *invite;
        (ours && self.is_of_response(response)).then_some(ack)
    }

    /// Takes the peer's request in this dialog: one out of order is refused with 500 (12.2.2), INVITE, UPDATE and SUBSCRIBE move
    /// the target. An ACK is not counted.
    pub fn receive(&mut self, request: &Request) -> Result<(), Rejection> {
        let headers = &request.headers;
        let malformed = Rejection { status: 400, reason: "Malformed CSeq" };
        let number = headers.cseq().map_err(|_| malformed)?.number;
        if !matches!(request.method, Method::Ack | Method::Cancel) {
            if self.remote_cseq.is_some_and(|last| number <= last) {
                return Err(Rejection { status: 500, reason: "CSeq Out Of Order" });
            }
            self.remote_cseq = Some(number);
        }
        if matches!(request.method, Method::Invite | Method::Update | Method::Subscribe)
            && let Some(target) = target_of(headers)
        {
            self.remote_target = target.map_err(DialogError::rejection)?;
        }
        Ok(())
    }

    /// Takes a response to our INVITE or UPDATE in this dialog: a 2xx confirms it and moves the target (12.2.1.2), and the
    /// first one settles the route set (13.2.2.4).
    pub fn refresh(&mut self, response: &Response) {
        if !response.is_success() {
            return;
        }
        if let Some(Ok(target)) = target_of(&response.headers) {
            self.remote_target = target;
        }
        if self.state == State::Early
            && let Ok(mut routes) = record_routes(&response.headers)
        {
            routes.reverse();
            self.routes = routes;
        }
        self.state = State::Confirmed;
    }

    fn numbered(&self, method: Method, cseq: u32, sent_by: impl Into<SentBy>, branch: &str) -> RequestBuilder {
        let has_contact = !matches!(method, Method::Bye | Method::Ack) && !self.contact.is_empty();
        // 12.2.1.1: a strict router (no `lr`) is addressed itself, and the target goes to the end of the route.
        let first = self.routes.first().and_then(|route| route_uri(route));
        let strict = first.filter(|uri| uri.param("lr").is_none());
        let (target, routes) = match &strict {
            Some(uri) => (uri, &self.routes[1..]),
            None => (&self.remote_target, &self.routes[..]),
        };
        let mut builder = RequestBuilder::new(method, target).via(sent_by, branch).max_forwards(70);
        for route in routes {
            builder = builder.header(Name::Route, route);
        }
        if strict.is_some() {
            builder = builder.header(Name::Route, &format!("<{}>", self.remote_target));
        }
        builder = builder.header(Name::From, &self.local).header(Name::To, &self.remote);
        builder = builder.header(Name::CallId, &self.id.call_id).cseq(cseq);
        if has_contact { builder.header(Name::Contact, &self.contact) } else { builder }
    }
}

fn state_of(response: &Response) -> State {
    if response.is_success() { State::Confirmed } else { State::Early }
}

fn one_line(headers: &Headers, name: Name) -> Result<Box<str>, DialogError> {
    headers.first(name).map(|value| crate::scan::unfold(value).into()).ok_or(DialogError::Header)
}

/// None when there is no Contact.
fn target_of(headers: &Headers) -> Option<Result<Uri<'static>, DialogError>> {
    headers.has(Name::Contact).then(|| {
        let contact = headers.contact().map_err(|_| DialogError::Contact)?;
        contact.uri().map(Uri::into_owned).map_err(|_| DialogError::Contact)
    })
}

fn record_routes(headers: &Headers) -> Result<Vec<Box<str>>, DialogError> {
    let mut routes = Vec::new();
    for (entry, value) in headers.record_routes().zip(headers.list(Name::RecordRoute)) {
        if routes.len() == ROUTE_SET_MAX {
            return Err(DialogError::RouteSet);
        }
        entry.map_err(|_| DialogError::Header)?.uri().map_err(|_| DialogError::Header)?;
        routes.push(crate::scan::unfold(value).into());
    }
    Ok(routes)
}

fn route_uri(route: &str) -> Option<Uri<'static>> {
    let address = crate::message::NameAddr::parse(Name::Route, route).ok()?;
    address.uri().ok().map(Uri::into_owned)
}

/// Repeats a 2xx to an INVITE until the ACK comes (13.3.1.4): after T1, then doubling up to T2, for 64*T1.
#[derive(Debug, Clone)]
pub struct AnswerKeeper {
    response: Response,
    cseq: u32,
    next: Instant,
    interval: Duration,
    give_up: Instant,
}

/// What an [`AnswerKeeper`] wants.
#[derive(Debug)]
pub enum Keep<'a> {
    /// Nothing yet.
    Wait,
    /// Give this to [`crate::transaction::Transactions::respond`] again.
    Repeat(&'a Response),
    /// No ACK in 32 s: the session is ended with BYE.
    GiveUp,
}

impl AnswerKeeper {
    /// For a 2xx that was just sent.
    pub fn new(now: Instant, response: Response) -> Self {
        let cseq = response.headers.cseq().map_or(0, |cseq| cseq.number);
        Self { response, cseq, next: now + T1, interval: T1, give_up: now + T1_64 }
    }

    /// Whether this ACK, which is of the same dialog, ends the waiting.
    pub fn is_acknowledged_by(&self, ack: &Request) -> bool {
        ack.method == Method::Ack && ack.headers.cseq().is_ok_and(|cseq| cseq.number == self.cseq)
    }

    /// What is to be done now.
    pub fn handle_timeout(&mut self, now: Instant) -> Keep<'_> {
        if self.give_up <= now {
            return Keep::GiveUp;
        }
        if self.next > now {
            return Keep::Wait;
        }
        self.interval = (self.interval * 2).min(T2);
        self.next = now + self.interval;
        Keep::Repeat(&self.response)
    }

    /// When to ask again.
    pub fn next_deadline(&self) -> Instant {
        self.next.min(self.give_up)
    }
}

#[cfg(test)]
mod tests;

//! Requests and responses written once, straight into the text that goes on the wire, with their marks.
//!
//! Values come from peers and from documents: CR, LF and NUL become spaces here, in one place, so that no value can
//! begin a header of its own. What has a grammar is quoted or escaped by [`name_addr`], [`quoted`] and [`Uri`].

use std::{net::SocketAddr, sync::Arc};

use postern_types::Transport;

use crate::{
    limits::HEADERS_MAX,
    message::{Headers, Mark, Method, Name, Request, Response, Via, empty_body},
    relief::Relief,
    scan,
    status::reason_of,
    uri::{Parts, Uri},
    write,
};

/// Room for the head of an ordinary message, so that it is not grown while written.
const HEAD_USUAL: usize = 1024;
/// Header fields of an ordinary message.
const FIELDS_USUAL: usize = 24;

/// Header fields being written.
#[derive(Debug, Clone, Default)]
struct Fields {
    text: String,
    marks: Vec<Mark>,
}

impl Fields {
    fn push(&mut self, id: Name, name: &str, value: impl FnOnce(&mut String)) {
        if self.marks.len() >= HEADERS_MAX {
            return;
        }
        let start = self.text.len();
        self.text.push_str(name);
        self.text.push_str(": ");
        let from = self.text.len();
        value(&mut self.text);
        self.marks.push(Mark {
            name: id,
            name_len: name.len() as u16,
            start: start as u32,
            value: (from as u32, self.text.len() as u32),
        });
        self.text.push_str("\r\n");
    }

    fn known(&mut self, name: Name, value: &str) {
        self.push(name, name.as_str(), |text| push_clean(value, text));
    }

    /// A known header whose value is put together, in its place.
    fn composed(&mut self, name: Name, value: impl FnOnce(&mut String)) {
        self.push(name, name.as_str(), |text| {
            let from = text.len();
            value(text);
            if !is_clean(&text[from..]) {
                let raw = text.split_off(from);
                push_clean(&raw, text);
            }
        });
    }

    fn any(&mut self, name: &str, value: &str) {
        if scan::is_token(name) && name.len() <= crate::limits::NAME_MAX {
            self.push(Name::of(name), name, |text| push_clean(value, text));
        }
    }

    /// Behind what is here.
    fn append(&mut self, other: &Fields) {
        let shift = self.text.len() as u32;
        self.text.push_str(&other.text);
        self.marks.extend(other.marks.iter().map(|mark| Mark {
            start: mark.start + shift,
            value: (mark.value.0 + shift, mark.value.1 + shift),
            ..*mark
        }));
    }

    fn finish(mut self, content_type: Option<&str>, body: &[u8]) -> (Headers, Arc<[u8]>) {
        if let Some(content_type) = content_type {
            self.known(Name::ContentType, content_type);
        }
        self.push(Name::ContentLength, Name::ContentLength.as_str(), |text| write::number(text, body.len()));
        self.text.push_str("\r\n");
        let body = if body.is_empty() { empty_body() } else { body.into() };
        (Headers::new(self.text.into(), self.marks.into()), body)
    }
}

impl Headers {
    /// The same start line with these fields, name and value, in place of the ones that are there: for a policy that changes headers. At most
    /// [`HEADERS_MAX`], what is beyond is left out; the caller keeps Content-Length among them.
    pub fn replaced<'f>(&self, all: impl IntoIterator<Item = (&'f str, &'f str)>) -> Self {
        let mut fields =
            Fields { text: String::with_capacity(self.text().len()), marks: Vec::with_capacity(self.len()) };
        fields.text.push_str(self.start_line());
        fields.text.push_str("\r\n");
        all.into_iter().for_each(|(name, value)| fields.any(name, value));
        fields.text.push_str("\r\n");
        Self::new(fields.text.into(), fields.marks.into())
    }
}

fn is_clean(value: &str) -> bool {
    memchr::memchr3(b'\r', b'\n', 0, value.as_bytes()).is_none()
}

fn push_clean(value: &str, out: &mut String) {
    if is_clean(value) {
        out.push_str(value);
    } else {
        out.extend(value.chars().map(|c| if matches!(c, '\r' | '\n' | '\0') { ' ' } else { c }));
    }
}

/// Where we say that we are: what a Via names, and a Contact points to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SentBy {
    /// What we are reached by.
    pub transport: Transport,
    /// Where.
    pub address: SocketAddr,
}

impl From<SocketAddr> for SentBy {
    fn from(address: SocketAddr) -> Self {
        Self { transport: Transport::Udp, address }
    }
}

/// A request being written. Headers stand in the order of the calls; Content-Type and Content-Length come last.
#[derive(Debug, Clone)]
pub struct RequestBuilder {
    fields: Fields,
    method: Method,
    target: (u32, u32),
    parts: Parts,
    content_type: Option<String>,
    body: Vec<u8>,
}

impl RequestBuilder {
    /// Starts with the request line.
    pub fn new(method: Method, uri: &Uri<'_>) -> Self {
        let mut fields = Fields { text: String::with_capacity(HEAD_USUAL), marks: Vec::with_capacity(FIELDS_USUAL) };
        push_clean(method.as_str(), &mut fields.text);
        fields.text.push(' ');
        let start = fields.text.len();
        fields.text.push_str(uri.as_str());
        let target = (start as u32, fields.text.len() as u32);
        fields.text.push_str(" SIP/2.0\r\n");
        Self { fields, method, target, parts: uri.parts(), content_type: None, body: Vec::new() }
    }

    /// Starts as a copy of `request` without the headers named in `leave_out`; body and Content-Type are copied, too.
    pub fn copy(request: &Request, leave_out: &[Name]) -> Self {
        let mut builder = Self::new(request.method.clone(), &request.uri());
        for header in request.headers.iter() {
            match header.id {
                Name::ContentLength => {}
                Name::ContentType => builder.content_type = Some(header.value.to_owned()),
                Name::Other => builder.fields.any(header.name, header.value),
                id if leave_out.contains(&id) => {}
                id => builder.fields.known(id, header.value),
            }
        }
        builder.body = request.body.to_vec();
        builder
    }

    /// The same request of ours for another try: a fresh Via branch on top, the next CSeq, and without the headers named in
    /// `leave_out` (old credentials). RFC 3261 8.1.3.5, 22.2.
    pub fn retry(request: &Request, sent_by: SentBy, branch: &str, cseq: u32, leave_out: &[Name]) -> Self {
        let mut left_out = vec![Name::Via, Name::CSeq];
        left_out.extend_from_slice(leave_out);
        let mut copy = Self::copy(request, &left_out);
        // What its Via asked for besides, `oc` for one, it asks for again.
        let asked =
            request.headers.first(Name::Via).and_then(|via| via.split_once(";rport")).map_or("", |(_, more)| more);
        let mut fresh = Self::new(request.method.clone(), &request.uri()).via_with(sent_by, branch, asked);
        let copied = copy.fields.text.split_off(copy.fields.text.find("\r\n").map_or(0, |at| at + 2));
        let shift = copy.fields.text.len() as u32;
        let marks = copy.fields.marks.iter().map(|mark| Mark {
            start: mark.start - shift,
            value: (mark.value.0 - shift, mark.value.1 - shift),
            ..*mark
        });
        fresh.fields.append(&Fields { text: copied, marks: marks.collect() });
        fresh.content_type = copy.content_type;
        fresh.body = copy.body;
        fresh.cseq(cseq)
    }

    /// A Via that asks for `rport` (RFC 3581). The branch must begin with `z9hG4bK` and be new for each transaction.
    pub fn via(self, sent_by: impl Into<SentBy>, branch: &str) -> Self {
        self.via_with(sent_by, branch, "")
    }

    /// The same with further parameters, each with its `;` in front.
    pub fn via_with(mut self, sent_by: impl Into<SentBy>, branch: &str, params: &str) -> Self {
        let SentBy { transport, address } = sent_by.into();
        let transport = transport.in_via();
        self.fields.composed(Name::Via, |text| {
            ["SIP/2.0/", transport, " "].into_iter().for_each(|part| text.push_str(part));
            write::address(text, address);
            [";branch=", branch, ";rport", params].into_iter().for_each(|part| text.push_str(part));
        });
        self
    }

    /// CSeq with this request's method.
    pub fn cseq(mut self, number: u32) -> Self {
        self.fields.composed(Name::CSeq, |text| {
            write::number(text, number as usize);
            text.push(' ');
            text.push_str(self.method.as_str());
        });
        self
    }

    /// Max-Forwards.
    pub fn max_forwards(mut self, hops: u8) -> Self {
        self.fields.push(Name::MaxForwards, Name::MaxForwards.as_str(), |text| write::number(text, hops.into()));
        self
    }

    /// A known header.
    pub fn header(mut self, name: Name, value: &str) -> Self {
        debug_assert!(name != Name::Other, "use `other` for a name of its own");
        self.fields.known(name, value);
        self
    }

    /// Any header. A name that is not a token is left out with its value.
    pub fn other(mut self, name: &str, value: &str) -> Self {
        self.fields.any(name, value);
        self
    }

    /// The body and its type.
    pub fn body(mut self, content_type: &str, body: &[u8]) -> Self {
        self.content_type = Some(content_type.to_owned());
        self.body = body.to_vec();
        self
    }

    /// Done.
    pub fn build(self) -> Request {
        let (headers, body) = self.fields.finish(self.content_type.as_deref(), &self.body);
        Request {
            method: self.method,
            headers,
            body,
            source: None,
            relief: None,
            target: self.target,
            target_parts: self.parts,
        }
    }
}

/// A response being written: Via, From, To, Call-ID and CSeq of its request first (RFC 3261 8.2.6).
#[derive(Debug, Clone)]
pub struct ResponseBuilder<'a> {
    request: &'a Request,
    status: u16,
    reason: &'a str,
    to_tag: Option<&'a str>,
    fields: Fields,
    content_type: Option<&'a str>,
    body: &'a [u8],
}

impl<'a> ResponseBuilder<'a> {
    /// A response to `request`. When [`Request::source`] is known, the top Via gets `received` and `rport`.
    pub fn to(request: &'a Request, status: u16) -> Self {
        let status = status.clamp(100, 699);
        let mut fields =
            Fields { text: String::with_capacity(HEAD_USUAL / 2), marks: Vec::with_capacity(FIELDS_USUAL) };
        if status == 100 {
            // RFC 3261 8.2.6.1.
            request.headers.all(Name::Timestamp).for_each(|value| fields.known(Name::Timestamp, value));
        }
        Self { request, status, reason: reason_of(status), to_tag: None, fields, content_type: None, body: &[] }
    }

    /// Another reason phrase than the usual one.
    pub fn reason(mut self, reason: &'a str) -> Self {
        self.reason = reason;
        self
    }

    /// The tag that To gets when the request's To has none. Every response but 100 needs one (8.2.6.2).
    pub fn to_tag(mut self, tag: &'a str) -> Self {
        self.to_tag = Some(tag);
        self
    }

    /// A known header.
    pub fn header(mut self, name: Name, value: &str) -> Self {
        debug_assert!(name != Name::Other, "use `other` for a name of its own");
        self.fields.known(name, value);
        self
    }

    /// Any header. A name that is not a token is left out with its value.
    pub fn other(mut self, name: &str, value: &str) -> Self {
        self.fields.any(name, value);
        self
    }

    /// Copies the request's Record-Route, as a response that makes a dialog must (12.1.1).
    pub fn record_route(mut self) -> Self {
        for value in self.request.headers.all(Name::RecordRoute) {
            self.fields.known(Name::RecordRoute, value);
        }
        self
    }

    /// The body and its type.
    pub fn body(mut self, content_type: &'a str, body: &'a [u8]) -> Self {
        (self.content_type, self.body) = (Some(content_type), body);
        self
    }

    /// Done.
    pub fn build(self) -> Response {
        let from = &self.request.headers;
        let mut fields = Fields { text: String::with_capacity(HEAD_USUAL), marks: Vec::with_capacity(FIELDS_USUAL) };
        fields.text.push_str("SIP/2.0 ");
        write::number(&mut fields.text, self.status.into());
        fields.text.push(' ');
        let reason_start = fields.text.len() as u32;
        push_clean(self.reason, &mut fields.text);
        let reason = (reason_start, fields.text.len() as u32);
        fields.text.push_str("\r\n");
        for (at, value) in from.list(Name::Via).enumerate() {
            match (at, self.request.source, Via::parse(value)) {
                (0, Some(source), Ok(via)) if needs_received(&via, source) || self.request.relief.is_some() => {
                    fields.composed(Name::Via, |text| received_via(text, &via, source, self.request.relief));
                }
                _ => fields.known(Name::Via, value),
            }
        }
        for name in [Name::From, Name::To, Name::CallId, Name::CSeq] {
            let Some(value) = from.first(name) else { continue };
            match self.to_tag {
                Some(tag) if name == Name::To && from.to().is_ok_and(|to| to.tag().is_none()) => {
                    fields.composed(name, |text| {
                        [value, ";tag=", tag].into_iter().for_each(|part| text.push_str(part));
                    });
                }
                _ => fields.known(name, value),
            }
        }
        fields.append(&self.fields);
        let (headers, body) = fields.finish(self.content_type, self.body);
        Response { status: self.status, headers, body, reason }
    }
}

/// Whether a Via asks for its source, or lies about where it is (18.2.1, RFC 3581 4).
fn needs_received(via: &Via<'_>, source: SocketAddr) -> bool {
    via.rport().is_some() || crate::uri::ip_of(via.host) != Some(source.ip())
}

/// A Via with `received`, `rport` when it asks for it, and how much relief we want filled in.
fn received_via(text: &mut String, via: &Via<'_>, source: SocketAddr, relief: Option<Relief>) {
    ["SIP/2.0/", via.transport, " ", via.host].into_iter().for_each(|part| text.push_str(part));
    if let Some(port) = via.port {
        text.push(':');
        write::port(text, port);
    }
    for (name, param) in via.params.iter() {
        let is_ours = name.eq_ignore_ascii_case("received") || name.eq_ignore_ascii_case("rport");
        if is_ours || (relief.is_some() && Relief::has(name)) {
            continue;
        }
        text.push(';');
        text.push_str(name);
        if let Some(param) = param {
            text.push('=');
            text.push_str(param);
        }
    }
    text.push_str(";received=");
    write::ip(text, source.ip());
    if via.rport().is_some() {
        text.push_str(";rport=");
        write::port(text, source.port());
    }
    if let Some(relief) = relief {
        relief.write(text);
    }
}

/// Where a response to `request` goes: RFC 3581 4 with rport, else RFC 3261 18.2.2. None when the Via is broken and no
/// source is known.
pub fn response_address(request: &Request) -> Option<SocketAddr> {
    let via = request.headers.via().ok();
    let Some(source) = request.source else {
        let via = via?;
        let ip = via.received().or_else(|| crate::uri::ip_of(via.host))?;
        return Some(SocketAddr::new(ip, via.rport().flatten().or(via.port).unwrap_or(5060)));
    };
    Some(match via {
        Some(via) if via.rport().is_none() => SocketAddr::new(source.ip(), via.port.unwrap_or(5060)),
        _ => source,
    })
}

/// `"Display" <uri>`, with quotes and backslashes of the name escaped; `<uri>` without a name.
pub fn name_addr(display: &str, uri: &Uri<'_>) -> String {
    if display.is_empty() { format!("<{uri}>") } else { format!("{} <{uri}>", quoted(display)) }
}

/// A quoted string.
pub fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// The CANCEL of an INVITE that was sent and answered provisionally (RFC 3261 9.1): same target, top Via, From, To,
/// Call-ID, CSeq number and Route; `reason` as its Reason header. [`crate::transaction::Transactions::cancel`] sends it.
pub fn cancel(invite: &Request, reason: Option<&str>) -> Request {
    let builder = from_invite(invite, Method::Cancel, invite.headers.first(Name::To).unwrap_or(""));
    match reason {
        Some(reason) => builder.header(Name::Reason, reason).build(),
        None => builder.build(),
    }
}

/// The ACK to a final failure of an INVITE (RFC 3261 17.1.1.3). The transaction layer sends it by itself.
pub fn ack_of_failure(invite: &Request, response: &Response) -> Request {
    from_invite(invite, Method::Ack, response.headers.first(Name::To).unwrap_or("")).build()
}

fn from_invite(invite: &Request, method: Method, to: &str) -> RequestBuilder {
    let headers = &invite.headers;
    let mut builder = RequestBuilder::new(method, &invite.uri());
    if let Some(via) = headers.list(Name::Via).next() {
        builder = builder.header(Name::Via, via);
    }
    for route in headers.all(Name::Route) {
        builder = builder.header(Name::Route, route);
    }
    builder = builder.header(Name::From, headers.first(Name::From).unwrap_or("")).header(Name::To, to);
    builder = builder.header(Name::CallId, headers.first(Name::CallId).unwrap_or(""));
    let number = headers.cseq().map_or(0, |cseq| cseq.number);
    builder.cseq(number).max_forwards(70)
}

#[cfg(test)]
mod tests;

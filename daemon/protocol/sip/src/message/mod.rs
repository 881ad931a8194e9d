//! A message as received or built: one text for start line and headers, marks into it, and the body.
//!
//! Nothing is thrown away: unknown headers, compact names, folds and unknown methods stay as written and in order.
//! [`Message::parse`] checks the frame (start line, header lines, body length); [`Request::check`] what every UAS
//! must have before it looks closer (RFC 3261 8.2, 16.3); typed views read a header when somebody asks for it.
//!
//! Three allocations a message: head, marks, body. Cloning allocates nothing.

mod headers;
mod method;
mod name;
mod once;
mod parse;
mod view;

use std::{fmt, net::SocketAddr, sync::Arc};

pub use headers::{Header, Headers};
pub use method::Method;
pub use name::Name;
pub use parse::{Defect, ParseError};
pub use view::{CSeq, Contact, EventValue, HeaderError, MAGIC_COOKIE, MediaType, NameAddr, Params, ReasonValue, Via};

use crate::{
    relief::Relief,
    uri::{Parts, Uri},
};
pub(crate) use headers::Mark;
pub(crate) use parse::empty_body;

/// A request or a response.
#[derive(Debug, Clone)]
pub enum Message {
    /// A request.
    Request(Request),
    /// A response.
    Response(Response),
}

/// A request.
#[derive(Clone)]
pub struct Request {
    /// Its method.
    pub method: Method,
    /// Header fields in order.
    pub headers: Headers,
    /// Body, empty for none.
    pub body: Arc<[u8]>,
    /// Where it really came from, once known: responses carry it in `received` and `rport` (RFC 3261 18.2.1, RFC 3581).
    pub source: Option<SocketAddr>,
    /// How much relief its sender is asked for by the responses (RFC 7339).
    pub relief: Option<Relief>,
    pub(crate) target: (u32, u32),
    pub(crate) target_parts: Parts,
}

/// A response.
#[derive(Clone)]
pub struct Response {
    /// 100..=699.
    pub status: u16,
    /// Header fields in order.
    pub headers: Headers,
    /// Body, empty for none.
    pub body: Arc<[u8]>,
    pub(crate) reason: (u32, u32),
}

/// What a UAS answers to a request that it will not look at closer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rejection {
    /// Status to answer.
    pub status: u16,
    /// Reason phrase that names the defect, for the person at the other end.
    pub reason: &'static str,
}

impl Message {
    /// The headers of either.
    pub fn headers(&self) -> &Headers {
        match self {
            Self::Request(request) => &request.headers,
            Self::Response(response) => &response.headers,
        }
    }

    /// The body of either.
    pub fn body(&self) -> &[u8] {
        match self {
            Self::Request(request) => &request.body,
            Self::Response(response) => &response.body,
        }
    }

    /// As it goes on the wire.
    pub fn wire(&self) -> Arc<[u8]> {
        match self {
            Self::Request(request) => request.wire(),
            Self::Response(response) => response.wire(),
        }
    }
}

impl Request {
    /// The Request-URI.
    pub fn uri(&self) -> Uri<'_> {
        Uri::from_parts(self.uri_str(), self.target_parts)
    }

    /// The Request-URI as written.
    pub fn uri_str(&self) -> &str {
        &self.headers.text()[self.target.0 as usize..self.target.1 as usize]
    }

    /// As it goes on the wire: start line, headers and body exactly as parsed or built.
    pub fn wire(&self) -> Arc<[u8]> {
        wire(&self.headers, &self.body)
    }

    /// Bytes on the wire.
    #[allow(clippy::len_without_is_empty, reason = "a request without bytes is none")]
    pub fn len(&self) -> usize {
        self.headers.text().len() + self.body.len()
    }

    /// What must hold before anything else is looked at: the headers that every request has are there once and read
    /// well, CSeq names this method, Via, Contact and routes read well. The `Err` is what to answer.
    pub fn check(&self) -> Result<(), Rejection> {
        view::check(self)
    }
}

impl Response {
    /// The reason phrase as written.
    pub fn reason(&self) -> &str {
        &self.headers.text()[self.reason.0 as usize..self.reason.1 as usize]
    }

    /// As it goes on the wire.
    pub fn wire(&self) -> Arc<[u8]> {
        wire(&self.headers, &self.body)
    }

    /// 1xx.
    pub fn is_provisional(&self) -> bool {
        self.status < 200
    }

    /// 2xx.
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// What a transaction needs reads well: Via, From, To, Call-ID, CSeq. A response that fails this is dropped.
    pub fn check(&self) -> Result<(), HeaderError> {
        view::check_response(self)
    }
}

/// Without a body, the text that the headers stand in: nothing is copied.
fn wire(headers: &Headers, body: &[u8]) -> Arc<[u8]> {
    if body.is_empty() {
        return headers.text().clone().into();
    }
    [headers.text().as_bytes(), body].concat().into()
}

/// Start line only: headers may hold credentials and who calls whom.
impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Request({} {}, {} headers, {} bytes)",
            self.method,
            self.uri_str(),
            self.headers.len(),
            self.body.len()
        )
    }
}

impl fmt::Debug for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Response({}, {} headers, {} bytes)", self.status, self.headers.len(), self.body.len())
    }
}

#[cfg(test)]
mod tests;

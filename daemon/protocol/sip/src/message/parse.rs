//! From a datagram to a [`Message`]: start line, header lines, body length (RFC 3261 7, 18.3).

use std::{borrow::Cow, fmt, sync::Arc};

use super::{Headers, Mark, Message, Method, Name, Rejection, Request, Response};
use crate::{
    limits::{HEADERS_MAX, LINE_MAX, MESSAGE_MAX, NAME_MAX},
    scan,
    uri::Parts,
};

/// Why a datagram is not a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Defect {
    /// Nothing but line ends: a keep-alive (RFC 5626 3.5.1). Not an error of anybody.
    KeepAlive,
    /// Longer than [`MESSAGE_MAX`].
    TooLong,
    /// Neither a request line nor a status line.
    StartLine,
    /// A request line with white space or brackets where none belongs, or a Request-URI that does not read.
    RequestLine(&'static str),
    /// A request of another SIP version.
    Version,
    /// A header line without colon or with a bad name.
    HeaderLine,
    /// A line longer than [`LINE_MAX`].
    LineTooLong,
    /// More than [`HEADERS_MAX`] header fields.
    TooManyHeaders,
    /// No empty line behind the headers.
    NoEnd,
    /// Content-Length is not a number, negative, or there twice with different values.
    ContentLength,
    /// The body is shorter than Content-Length says.
    BodyTooShort,
}

/// A datagram that is not a message, with what could be read of it.
#[derive(Debug, Clone)]
pub struct ParseError {
    /// What is wrong.
    pub defect: Defect,
    /// The request, as far as it could be read: enough to answer it when it has Via, From, To, Call-ID and CSeq.
    pub request: Option<Box<Request>>,
}

impl ParseError {
    /// What to answer, or none to drop it: no response is ever sent to a response, to an ACK or to noise.
    pub fn answer(&self) -> Option<Rejection> {
        let request = self.request.as_ref()?;
        if request.method == Method::Ack {
            return None;
        }
        let (status, reason) = match self.defect {
            Defect::Version => (505, "SIP Version Not Supported"),
            Defect::RequestLine(what) => (400, what),
            Defect::HeaderLine => (400, "Malformed Header Field"),
            Defect::LineTooLong => (400, "Header Field Too Long"),
            Defect::TooManyHeaders => (400, "Too Many Header Fields"),
            Defect::NoEnd => (400, "No Empty Line After Header Fields"),
            Defect::ContentLength => (400, "Bad Content-Length"),
            Defect::BodyTooShort => (400, "Body Shorter Than Content-Length"),
            Defect::KeepAlive | Defect::TooLong | Defect::StartLine => return None,
        };
        Some(Rejection { status, reason })
    }
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "not a SIP message: {:?}", self.defect)
    }
}

impl std::error::Error for ParseError {}

impl From<Defect> for ParseError {
    fn from(defect: Defect) -> Self {
        Self { defect, request: None }
    }
}

impl Message {
    /// Reads one datagram. What follows the body that Content-Length announces is ignored; a body that is too short
    /// is an error (RFC 3261 18.3). Line ends in front are skipped (7.5). A lone LF ends a line as well.
    pub fn parse(datagram: &[u8]) -> Result<Self, ParseError> {
        if datagram.len() > MESSAGE_MAX {
            return Err(Defect::TooLong.into());
        }
        let start = datagram.iter().position(|b| !matches!(b, b'\r' | b'\n')).ok_or(Defect::KeepAlive)?;
        let datagram = &datagram[start..];
        let (head_len, ended) = match scan::head_end(datagram) {
            Some(end) => (end, true),
            None => (datagram.len(), false),
        };
        let head = text_of(&datagram[..head_len]);
        let rest = &datagram[head_len..];

        let line_end = memchr::memchr(b'\n', head.as_bytes()).map_or(head.len(), |at| at + 1);
        let start_line = head[..line_end].trim_end_matches(['\r', '\n']);
        if start_line.len() > LINE_MAX {
            return Err(Defect::LineTooLong.into());
        }
        let start = StartLine::parse(start_line)?;

        let mut marks = [const { Mark { name: Name::Other, name_len: 0, start: 0, value: (0, 0) } }; HEADERS_MAX];
        let (count, mut defect) = mark_lines(&head, line_end, &mut marks);
        if !ended {
            defect = defect.or(Some(Defect::NoEnd));
        }
        let text: Arc<str> = Arc::from(&*head);
        let headers = Headers::new(text, Arc::from(&marks[..count]));
        let mut body = rest;
        match content_length(&headers) {
            Ok(Some(length)) if length > rest.len() => defect = defect.or(Some(Defect::BodyTooShort)),
            Ok(Some(length)) => body = &rest[..length],
            Ok(None) => {}
            Err(()) => defect = defect.or(Some(Defect::ContentLength)),
        }
        let body = if body.is_empty() { empty_body() } else { Arc::from(body) };

        match start {
            StartLine::Request { method, target, parts, wrong } => {
                let request =
                    Request { method, headers, body, source: None, relief: None, target, target_parts: parts };
                match wrong.or(defect) {
                    None => Ok(Self::Request(request)),
                    Some(defect) => Err(ParseError { defect, request: Some(Box::new(request)) }),
                }
            }
            StartLine::Response { status, reason } => match defect {
                None => Ok(Self::Response(Response { status, headers, body, reason })),
                Some(defect) => Err(defect.into()),
            },
        }
    }
}

/// No allocation for the many messages without a body.
pub(crate) fn empty_body() -> Arc<[u8]> {
    static EMPTY: std::sync::LazyLock<Arc<[u8]>> = std::sync::LazyLock::new(|| Arc::from(&[][..]));
    EMPTY.clone()
}

/// SIP is UTF-8 (RFC 3261 7). A head that is not was written by a device that thinks in Latin-1: read it so, rather
/// than refuse a call for an umlaut in a display name.
fn text_of(head: &[u8]) -> Cow<'_, str> {
    match std::str::from_utf8(head) {
        Ok(text) => text.into(),
        Err(_) => head.iter().map(|&b| b as char).collect::<String>().into(),
    }
}

enum StartLine {
    Request { method: Method, target: (u32, u32), parts: Parts, wrong: Option<Defect> },
    Response { status: u16, reason: (u32, u32) },
}

impl StartLine {
    fn parse(line: &str) -> Result<Self, Defect> {
        if line.get(..4).is_some_and(|start| start.eq_ignore_ascii_case("SIP/")) {
            return Self::response(line);
        }
        // RFC 3261 25.1: Method SP Request-URI SP SIP-Version. More white space than that is refused, not guessed at:
        // two elements that guess differently send one call to two places.
        let (method, rest) = line.split_once(' ').ok_or(Defect::StartLine)?;
        let method = Method::parse(method).ok_or(Defect::StartLine)?;
        let (target, version) = rest.trim_end_matches([' ', '\t']).rsplit_once(' ').ok_or(Defect::StartLine)?;
        if !version.get(..4).is_some_and(|start| start.eq_ignore_ascii_case("SIP/")) {
            return Err(Defect::StartLine);
        }
        let mut wrong = None;
        if !version.eq_ignore_ascii_case("SIP/2.0") {
            wrong = Some(Defect::Version);
        } else if rest.ends_with([' ', '\t']) {
            wrong = Some(Defect::RequestLine("White Space After SIP Version"));
        } else if target.starts_with('<') || target.ends_with('>') {
            wrong = Some(Defect::RequestLine("Request-URI In Angle Brackets"));
        } else if target.contains([' ', '\t']) {
            wrong = Some(Defect::RequestLine("White Space In Request Line"));
        }
        let start = target.as_ptr() as usize - line.as_ptr() as usize;
        let span = (start as u32, (start + target.len()) as u32);
        let parts = match Parts::parse(target) {
            // RFC 3261 19.1.1: no headers in a Request-URI.
            Ok(parts) if parts.has_headers() => {
                wrong = wrong.or(Some(Defect::RequestLine("Headers In Request-URI")));
                parts
            }
            Ok(parts) => parts,
            Err(_) => {
                wrong = wrong.or(Some(Defect::RequestLine("Malformed Request-URI")));
                Parts::unread()
            }
        };
        Ok(Self::Request { method, target: span, parts, wrong })
    }

    fn response(line: &str) -> Result<Self, Defect> {
        let rest = line
            .get(..8)
            .filter(|v| v.eq_ignore_ascii_case("SIP/2.0 "))
            .map(|_| &line[8..])
            .ok_or(Defect::StartLine)?;
        let digits = rest.get(..3).ok_or(Defect::StartLine)?;
        let status = scan::number::<u16>(digits).filter(|s| (100..700).contains(s)).ok_or(Defect::StartLine)?;
        let reason = match rest.as_bytes().get(3) {
            Some(b' ') => (12, line.len() as u32),
            // An empty reason phrase still has its space in front by the grammar; some forget it.
            None => (line.len() as u32, line.len() as u32),
            Some(_) => return Err(Defect::StartLine),
        };
        Ok(Self::Response { status, reason })
    }
}

/// Marks the header lines from `at` on, up to the empty line. On a defect, what was read before it counts.
fn mark_lines(head: &str, mut at: usize, marks: &mut [Mark; HEADERS_MAX]) -> (usize, Option<Defect>) {
    let bytes = head.as_bytes();
    let mut count = 0;
    let mut defect = None;
    while at < bytes.len() {
        let mut end = memchr::memchr(b'\n', &bytes[at..]).map_or(bytes.len(), |lf| at + lf + 1);
        while matches!(bytes.get(end), Some(b' ' | b'\t')) {
            end = memchr::memchr(b'\n', &bytes[end..]).map_or(bytes.len(), |lf| end + lf + 1);
        }
        let line = &head[at..end];
        if matches!(line, "\r\n" | "\n") {
            break;
        }
        match mark_line(line, at) {
            Ok(_) if count == HEADERS_MAX => return (count, defect.or(Some(Defect::TooManyHeaders))),
            Ok(mark) => {
                marks[count] = mark;
                count += 1;
            }
            // The others are still wanted for the answer.
            Err(wrong) => defect = defect.or(Some(wrong)),
        }
        at = end;
    }
    (count, defect)
}

fn mark_line(line: &str, at: usize) -> Result<Mark, Defect> {
    if line.len() > LINE_MAX {
        return Err(Defect::LineTooLong);
    }
    let colon = scan::find(line, b':').ok_or(Defect::HeaderLine)?;
    // RFC 3261 25.1 HCOLON: white space may stand in front of the colon.
    let name = line[..colon].trim_end_matches([' ', '\t']);
    if name.len() > NAME_MAX || !scan::is_token(name) {
        return Err(Defect::HeaderLine);
    }
    let value = scan::trim(&line[colon + 1..]);
    let start = if value.is_empty() { at + colon + 1 } else { at + value.as_ptr() as usize - line.as_ptr() as usize };
    Ok(Mark {
        name: Name::of(name),
        name_len: name.len() as u16,
        start: at as u32,
        value: (start as u32, (start + value.len()) as u32),
    })
}

fn content_length(headers: &Headers) -> Result<Option<usize>, ()> {
    let mut found = None;
    for value in headers.all(Name::ContentLength) {
        let length = scan::number::<usize>(value).ok_or(())?;
        if found.is_some_and(|before| before != length) {
            return Err(());
        }
        found = Some(length);
    }
    Ok(found)
}

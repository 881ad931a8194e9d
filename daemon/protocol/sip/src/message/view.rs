//! Typed views: a header's value read when somebody asks, borrowing from the message.

use std::{borrow::Cow, fmt, net::IpAddr};

use super::{Method, Name, Rejection, Request, Response};
use crate::{
    limits::{CSEQ_MAX, LIST_MAX},
    scan,
    uri::{BadUri, Uri, ip_of},
};

/// What stands in no value of a parameter, in no URI without brackets, and in none with.
const NO_VALUE: scan::Bytes = scan::set(b" \t\r\n\"<>,");
const NO_BARE_URI: scan::Bytes = scan::set(b" \t\r\n\">?,");
const NO_URI: scan::Bytes = scan::set(b" \t\r\n\"<");

/// A header that does not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeaderError {
    /// Which.
    pub name: Name,
    /// What is wrong with it.
    pub what: &'static str,
}

impl fmt::Display for HeaderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.name, self.what)
    }
}

impl std::error::Error for HeaderError {}

/// Header parameters `;name=value` as written.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Params<'a> {
    /// From the first `;` on, or empty.
    pub(super) text: &'a str,
}

impl<'a> Params<'a> {
    /// Checks that every parameter is a token with a token, host or quoted value, so that looking them up cannot fail.
    pub fn parse(text: &'a str) -> Option<Self> {
        let text = scan::trim(text);
        if text.is_empty() {
            return Some(Self { text });
        }
        let mut rest = text.strip_prefix(';')?;
        loop {
            let (param, after) = match scan::find_outside(rest, b';', false).ok()? {
                Some(at) => (&rest[..at], Some(&rest[at + 1..])),
                None => (rest, None),
            };
            let (name, value) = split_param(param);
            let good = match value {
                Some(value) if value.starts_with('"') => scan::quoted_end(value) == Some(value.len()),
                // More than tokens and hosts occurs (`+sip.instance`, URIs); white space, quotes and brackets cannot.
                Some(value) => !scan::has_any(value, &NO_VALUE),
                None => true,
            };
            if !good || !scan::is_token(name) {
                return None;
            }
            match after {
                Some(after) => rest = after,
                None => return Some(Self { text }),
            }
        }
    }

    /// All, in order: name, and value as written when there is `=`.
    pub fn iter(&self) -> impl Iterator<Item = (&'a str, Option<&'a str>)> + use<'a> {
        let mut rest = self.text.strip_prefix(';');
        std::iter::from_fn(move || {
            let text = rest?;
            let (param, after) = match scan::find_outside(text, b';', false) {
                Ok(Some(at)) => (&text[..at], Some(&text[at + 1..])),
                Ok(None) | Err(()) => (text, None),
            };
            rest = after;
            Some(split_param(param))
        })
    }

    /// A parameter's value as written, case of the name aside; empty when it has none.
    pub fn value(&self, name: &str) -> Option<&'a str> {
        self.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value.unwrap_or(""))
    }

    /// A parameter's value without quotes.
    pub fn text(&self, name: &str) -> Option<Cow<'a, str>> {
        self.value(name).map(scan::unquote)
    }

    /// As written, from the first `;` on.
    pub fn as_str(&self) -> &'a str {
        self.text
    }
}

fn split_param(param: &str) -> (&str, Option<&str>) {
    match scan::cut(param, b'=') {
        Some((name, value)) => (scan::trim(name), Some(scan::trim(value))),
        None => (scan::trim(param), None),
    }
}

impl fmt::Debug for Params<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.text, f)
    }
}

/// One Via (RFC 3261 20.42).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Via<'a> {
    /// UDP, TCP, ... as written.
    pub transport: &'a str,
    /// sent-by host as written, IPv6 in its brackets.
    pub host: &'a str,
    /// sent-by port when written.
    pub port: Option<u16>,
    /// Parameters.
    pub params: Params<'a>,
}

impl<'a> Via<'a> {
    /// Reads one value.
    pub fn parse(value: &'a str) -> Result<Self, HeaderError> {
        Self::read(value).ok_or(HeaderError { name: Name::Via, what: "malformed" })
    }

    fn read(value: &'a str) -> Option<Self> {
        let (protocol, rest) = scan::cut(value, b'/')?;
        let (version, rest) = scan::cut(rest, b'/')?;
        let (protocol, version) = (scan::trim(protocol), scan::trim(version));
        if !protocol.eq_ignore_ascii_case("SIP") || version != "2.0" {
            return None;
        }
        let rest = rest.trim_start_matches(scan::is_lws);
        let (transport, rest) = rest.split_at(rest.bytes().position(scan::is_lws_byte)?);
        let (sent_by, params) = rest.split_at(scan::find(rest, b';').unwrap_or(rest.len()));
        let sent_by = scan::trim(sent_by);
        let (host, port) = match sent_by.bytes().rposition(|b| b == b':') {
            Some(colon) if scan::find(&sent_by[colon..], b']').is_none() => {
                (scan::trim(&sent_by[..colon]), Some(scan::number(scan::trim(&sent_by[colon + 1..]))?))
            }
            _ => (sent_by, None),
        };
        let good_host = if host.starts_with('[') {
            ip_of(host).is_some()
        } else {
            !host.is_empty() && scan::has_only(host, &scan::HOST)
        };
        (good_host && scan::is_token(transport)).then_some(())?;
        Some(Self { transport, host, port, params: Params::parse(params)? })
    }

    /// The branch.
    pub fn branch(&self) -> Option<&'a str> {
        self.params.value("branch").filter(|branch| !branch.is_empty())
    }

    /// The branch when it is one of RFC 3261, that is unique to its transaction.
    pub fn unique_branch(&self) -> Option<&'a str> {
        self.branch().filter(|b| {
            b.len() > MAGIC_COOKIE.len() && b.get(..7).is_some_and(|c| c.eq_ignore_ascii_case(MAGIC_COOKIE))
        })
    }

    /// The `received` address.
    pub fn received(&self) -> Option<IpAddr> {
        self.params.value("received").and_then(ip_of)
    }

    /// `rport`: `Some(None)` when it asks, `Some(Some(port))` when it was filled in (RFC 3581).
    pub fn rport(&self) -> Option<Option<u16>> {
        self.params.value("rport").map(scan::number)
    }
}

/// What every RFC 3261 branch begins with (8.1.1.7).
pub const MAGIC_COOKIE: &str = "z9hG4bK";

/// An address with optional display name and parameters: From, To, Route, ... (RFC 3261 20.10).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NameAddr<'a> {
    /// Display name as written, quotes and all.
    pub(super) display: &'a str,
    /// The URI as written.
    pub(super) uri: &'a str,
    /// Header parameters.
    pub params: Params<'a>,
}

impl<'a> NameAddr<'a> {
    /// Reads one value of header `name`.
    pub fn parse(name: Name, value: &'a str) -> Result<Self, HeaderError> {
        let wrong = |what| HeaderError { name, what };
        let value = scan::trim(value);
        let open = scan::find_outside(value, b'<', false).map_err(|()| wrong("quoted string does not end"))?;
        let Some(open) = open else {
            // RFC 3261 20: without brackets all parameters are the header's, and the URI holds no comma or `?`.
            let (uri, params) = value.split_at(scan::find(value, b';').unwrap_or(value.len()));
            let uri = scan::trim(uri);
            if uri.is_empty() || scan::has_any(uri, &NO_BARE_URI) || scan::find(uri, b':').is_none() {
                return Err(wrong("not an address"));
            }
            return Ok(Self { display: "", uri, params: Params::parse(params).ok_or(wrong("bad parameters"))? });
        };
        let display = scan::trim(&value[..open]);
        let close = scan::find(&value[open..], b'>').ok_or(wrong("< without >"))? + open;
        // Quoted, or words. More than tokens is let through (`Bell, Alexander` cannot occur here, but dots and UTF-8 do),
        // as long as no quote is among them.
        let well = if display.starts_with('"') {
            scan::quoted_end(display) == Some(display.len())
        } else {
            scan::find(display, b'"').is_none()
        };
        if !well {
            return Err(wrong("bad display name"));
        }
        // White space just inside the brackets is a common slip (RFC 4475 3.1.2.14) and cannot be misread.
        let uri = scan::trim(&value[open + 1..close]);
        if uri.is_empty() || scan::has_any(uri, &NO_URI) || scan::find(uri, b':').is_none() {
            return Err(wrong("not an address"));
        }
        Ok(Self { display, uri, params: Params::parse(&value[close + 1..]).ok_or(wrong("bad parameters"))? })
    }

    /// Display name without quotes, empty for none.
    pub fn display_name(&self) -> Cow<'a, str> {
        scan::unquote(self.display)
    }

    /// Display name as written.
    pub fn display_raw(&self) -> &'a str {
        self.display
    }

    /// The URI.
    pub fn uri(&self) -> Result<Uri<'a>, BadUri> {
        Uri::parse(self.uri)
    }

    /// The URI as written.
    pub fn uri_str(&self) -> &'a str {
        self.uri
    }

    /// The tag.
    pub fn tag(&self) -> Option<&'a str> {
        self.params.value("tag").filter(|tag| !tag.is_empty())
    }

    /// A header parameter's value.
    pub fn param(&self, name: &str) -> Option<&'a str> {
        self.params.value(name)
    }
}

/// One Contact.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Contact<'a> {
    /// `*`: all bindings of a REGISTER.
    Star,
    /// An address.
    Address(NameAddr<'a>),
}

impl<'a> Contact<'a> {
    /// Reads one value.
    pub fn parse(value: &'a str) -> Result<Self, HeaderError> {
        if scan::trim(value) == "*" { Ok(Self::Star) } else { NameAddr::parse(Name::Contact, value).map(Self::Address) }
    }
}

/// CSeq.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CSeq<'a> {
    /// Sequence number, below 2^31.
    pub number: u32,
    /// Method as written.
    pub method: &'a str,
}

impl<'a> CSeq<'a> {
    /// Reads the value.
    pub fn parse(value: &'a str) -> Result<Self, HeaderError> {
        let wrong = |what| HeaderError { name: Name::CSeq, what };
        let end = value.bytes().position(scan::is_lws_byte).ok_or(wrong("no method"))?;
        let (digits, method) = value.split_at(end);
        let number = scan::number(digits).filter(|&n| n <= CSEQ_MAX).ok_or(wrong("not a number below 2^31"))?;
        let method = scan::trim(method);
        if scan::is_token(method) { Ok(Self { number, method }) } else { Err(wrong("bad method")) }
    }
}

/// A media type: `application/sdp;charset=utf-8`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MediaType<'a> {
    /// As in `application`.
    pub kind: &'a str,
    /// As in `sdp`.
    pub subtype: &'a str,
    /// Parameters.
    pub params: Params<'a>,
}

impl<'a> MediaType<'a> {
    /// Reads a Content-Type.
    pub fn parse(value: &'a str) -> Result<Self, HeaderError> {
        let wrong = HeaderError { name: Name::ContentType, what: "malformed" };
        let (kind, params) = value.split_at(scan::find(value, b';').unwrap_or(value.len()));
        let (kind, subtype) = scan::cut(kind, b'/').ok_or(wrong)?;
        let (kind, subtype) = (scan::trim(kind), scan::trim(subtype));
        match Params::parse(params) {
            Some(params) if scan::is_token(kind) && scan::is_token(subtype) => Ok(Self { kind, subtype, params }),
            _ => Err(wrong),
        }
    }

    /// Whether it is `wanted`, as in `application/sdp`.
    pub fn is(&self, wanted: &str) -> bool {
        wanted
            .split_once('/')
            .is_some_and(|(k, s)| k.eq_ignore_ascii_case(self.kind) && s.eq_ignore_ascii_case(self.subtype))
    }
}

/// One Reason value (RFC 3326): `Q.850;cause=16;text="..."`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReasonValue<'a> {
    /// `SIP`, `Q.850`, ...
    pub protocol: &'a str,
    /// Its cause.
    pub cause: Option<u16>,
    /// Its text without quotes.
    pub text: Option<Cow<'a, str>>,
}

impl<'a> ReasonValue<'a> {
    /// Reads one value; none when it is malformed: a Reason never matters enough to refuse a BYE.
    pub fn parse(value: &'a str) -> Option<Self> {
        let (protocol, params) = value.split_at(value.find(';').unwrap_or(value.len()));
        let params = Params::parse(params)?;
        let protocol = scan::trim(protocol);
        let cause = params.value("cause").and_then(scan::number);
        scan::is_token(protocol).then(|| Self { protocol, cause, text: params.text("text") })
    }
}

/// An Event value (RFC 6665 8.2.1): `dialog;id=7`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EventValue<'a> {
    /// The package. It is compared as written.
    pub package: &'a str,
    /// What tells it from others of its dialog.
    pub id: Option<&'a str>,
}

impl<'a> EventValue<'a> {
    /// Reads one value; none when it is malformed.
    pub fn parse(value: &'a str) -> Option<Self> {
        let (package, params) = value.split_at(value.find(';').unwrap_or(value.len()));
        let (package, params) = (scan::trim(package), Params::parse(params)?);
        let id = params.value("id");
        (scan::is_token(package) && id.is_none_or(scan::is_token)).then_some(Self { package, id })
    }
}

pub(super) fn check(request: &Request) -> Result<(), Rejection> {
    let headers = &request.headers;
    let bad = |reason| Rejection { status: 400, reason };
    let mut seen = [0u8; 6];
    for mark in headers.marks().iter() {
        let at = match mark.name {
            Name::From => 0,
            Name::To => 1,
            Name::CallId => 2,
            Name::CSeq => 3,
            Name::MaxForwards => 4,
            Name::Via => {
                seen[5] = 1;
                continue;
            }
            _ => continue,
        };
        seen[at] = seen[at].saturating_add(1);
    }
    const MISSING: [&str; 6] = ["Missing From", "Missing To", "Missing Call-ID", "Missing CSeq", "", "Missing Via"];
    const DOUBLED: [&str; 5] = ["Two From", "Two To", "Two Call-ID", "Two CSeq", "Two Max-Forwards"];
    // Max-Forwards may be missing: elements of RFC 2543 do not send it.
    if let Some(at) = (0..6).find(|&at| at != 4 && seen[at] == 0) {
        return Err(bad(MISSING[at]));
    }
    if let Some(at) = (0..5).find(|&at| seen[at] > 1) {
        return Err(bad(DOUBLED[at]));
    }
    let others = headers.all(Name::Via).flat_map(scan::list).skip(1).map(Via::parse);
    every(std::iter::once(headers.via()).chain(others), bad("Malformed Via"))?;
    for (address, reason) in [(headers.from(), "Malformed From"), (headers.to(), "Malformed To")] {
        address.ok().filter(|address| address.uri().is_ok()).ok_or(bad(reason))?;
    }
    headers.call_id().map_err(|_| bad("Malformed Call-ID"))?;
    let cseq = headers.cseq().map_err(|_| bad("Malformed CSeq"))?;
    if cseq.method != request.method.as_str() {
        return Err(bad("CSeq Method Does Not Match"));
    }
    if !matches!(headers.number(Name::MaxForwards), None | Some(Ok(0..=255))) {
        return Err(bad("Malformed Max-Forwards"));
    }
    every(headers.contacts(), bad("Malformed Contact"))?;
    every(headers.routes(), bad("Malformed Route"))?;
    every(headers.record_routes(), bad("Malformed Record-Route"))?;
    if matches!(headers.content_type(), Some(Err(_))) {
        return Err(bad("Malformed Content-Type"));
    }
    Ok(())
}

fn every<T>(entries: impl Iterator<Item = Result<T, HeaderError>>, otherwise: Rejection) -> Result<(), Rejection> {
    for (at, entry) in entries.enumerate() {
        if at >= LIST_MAX || entry.is_err() {
            return Err(otherwise);
        }
    }
    Ok(())
}

pub(super) fn check_response(response: &Response) -> Result<(), HeaderError> {
    let headers = &response.headers;
    headers.via()?;
    headers.from()?;
    headers.to()?;
    headers.call_id()?;
    let cseq = headers.cseq()?;
    Method::parse(cseq.method).map(|_| ()).ok_or(HeaderError { name: Name::CSeq, what: "bad method" })
}

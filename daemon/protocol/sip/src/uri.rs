//! URIs: sip, sips and tel taken apart, others kept whole.
//!
//! The host of a SIP URI begins after the first `@` in front of which only user characters stand (RFC 3261 25.1). An
//! unescaped `@` can stand neither in userinfo nor in parameters, so two of them are refused: readers that disagree
//! about the host are how a call reaches a place that was not checked.

use std::{borrow::Cow, fmt, net::IpAddr};

use crate::{scan, write};

/// A URI as written, borrowed or owned, with its parts marked. Cheap to make: parsing allocates nothing.
#[derive(Clone)]
pub struct Uri<'a> {
    text: Cow<'a, str>,
    parts: Parts,
}

/// What kind of URI.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// sip.
    Sip,
    /// sips.
    Sips,
    /// tel (RFC 3966): the number is `user`, there is no host.
    Tel,
    /// Another, kept whole.
    Other,
}

/// Why a text is not a URI.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BadUri(pub &'static str);

impl fmt::Display for BadUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "not a URI: {}", self.0)
    }
}

impl std::error::Error for BadUri {}

/// Offsets into the text. `u32`: a message has at most 65,535 bytes, and [`Uri::parse`] refuses longer text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Parts {
    scheme: Scheme,
    scheme_end: u32,
    /// User without password, empty range when none.
    user: (u32, u32),
    has_user: bool,
    password: Option<(u32, u32)>,
    host: (u32, u32),
    port: Option<u16>,
    /// After the first `;`, empty when none.
    params: (u32, u32),
    /// After `?`, empty when none.
    headers: (u32, u32),
}

impl<'a> Uri<'a> {
    /// Reads. Escapes stay as they are.
    pub fn parse(text: &'a str) -> Result<Self, BadUri> {
        Ok(Self { parts: Parts::parse(text)?, text: Cow::Borrowed(text) })
    }

    pub(crate) fn from_parts(text: &'a str, parts: Parts) -> Self {
        Self { text: Cow::Borrowed(text), parts }
    }

    pub(crate) fn parts(&self) -> Parts {
        self.parts
    }

    /// `sip:user@host:port` from parts that are escaped here; IPv6 hosts get their brackets.
    pub fn sip(user: Option<&str>, host: &str, port: Option<u16>) -> Result<Uri<'static>, BadUri> {
        let mut text = String::from("sip:");
        if let Some(user) = user {
            escape_user(user, &mut text);
            text.push('@');
        }
        let bracketed = host.parse::<std::net::Ipv6Addr>().map(|ip| format!("[{ip}]"));
        let host = bracketed.as_deref().unwrap_or(host);
        text.push_str(host);
        if let Some(port) = port {
            text.push(':');
            write::port(&mut text, port);
        }
        let parts = Parts::parse(&text)?;
        if &text[parts.host.0 as usize..parts.host.1 as usize] != host {
            return Err(BadUri("host has characters that a host cannot have"));
        }
        Ok(Uri { text: Cow::Owned(text), parts })
    }

    /// Free of what it was read from.
    pub fn into_owned(self) -> Uri<'static> {
        Uri { text: Cow::Owned(self.text.into_owned()), parts: self.parts }
    }

    /// The same with one more parameter, which is escaped here. Headers keep their place behind it.
    pub fn with_param(&self, name: &str, value: Option<&str>) -> Uri<'static> {
        let end = if self.parts.headers.0 > 0 { self.parts.headers.0 as usize - 1 } else { self.text.len() };
        let mut text = String::from(&self.text[..end]);
        text.push(';');
        escape_param(name, &mut text);
        if let Some(value) = value {
            text.push('=');
            escape_param(value, &mut text);
        }
        text.push_str(&self.text[end..]);
        let parts = Parts::parse(&text).unwrap_or(self.parts);
        Uri { text: Cow::Owned(text), parts }
    }

    /// Scheme, user, host and port alone.
    pub fn without_params(&self) -> Uri<'static> {
        let end = match (self.parts.params.0, self.parts.headers.0) {
            (0, 0) => self.text.len(),
            (0, headers) => headers as usize - 1,
            (params, _) => params as usize - 1,
        };
        let parts = Parts { params: (0, 0), headers: (0, 0), ..self.parts };
        Uri { text: Cow::Owned(self.text[..end].to_owned()), parts }
    }

    /// As written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Kind of URI.
    pub fn scheme(&self) -> Scheme {
        self.parts.scheme
    }

    /// The scheme as written.
    pub fn scheme_str(&self) -> &str {
        &self.text[..self.parts.scheme_end as usize]
    }

    /// User part with its escapes, without the password; the number of a tel URI.
    pub fn user(&self) -> Option<&str> {
        self.parts.has_user.then(|| self.slice(self.parts.user))
    }

    /// User part with its escapes resolved; bytes that are not UTF-8 become U+FFFD.
    pub fn user_decoded(&self) -> Option<Cow<'_, str>> {
        self.user().map(unescape)
    }

    /// Password in the userinfo (deprecated, but sent).
    pub fn password(&self) -> Option<&str> {
        self.parts.password.map(|span| self.slice(span))
    }

    /// Host as written, IPv6 in its brackets; empty for a URI without one (tel, urn).
    pub fn host(&self) -> &str {
        self.slice(self.parts.host)
    }

    /// The host when it is a literal address.
    pub fn host_ip(&self) -> Option<IpAddr> {
        ip_of(self.host())
    }

    /// Port when written.
    pub fn port(&self) -> Option<u16> {
        self.parts.port
    }

    /// URI parameters as written: name, and value when there is `=`.
    pub fn params(&self) -> impl Iterator<Item = (&str, Option<&str>)> {
        pairs(self.slice(self.parts.params), ';')
    }

    /// A parameter's value, case of the name aside; empty when it has none.
    pub fn param(&self, name: &str) -> Option<&str> {
        self.params().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value.unwrap_or(""))
    }

    /// Headers after `?`, as written.
    pub fn headers(&self) -> impl Iterator<Item = (&str, Option<&str>)> {
        pairs(self.slice(self.parts.headers), '&')
    }

    /// Whether this is the same address (RFC 3261 19.1.4). Other schemes compare as text.
    pub fn equivalent(&self, other: &Uri<'_>) -> bool {
        if self.scheme() != other.scheme() {
            return false;
        }
        if !matches!(self.scheme(), Scheme::Sip | Scheme::Sips) {
            return self.as_str().eq_ignore_ascii_case(other.as_str());
        }
        let same_text = |a: Option<&str>, b: Option<&str>| match (a, b) {
            (Some(a), Some(b)) => unescape(a) == unescape(b),
            (None, None) => true,
            _ => false,
        };
        // A parameter that only one has is ignored, but these must then be absent in both.
        const TELLING: [&str; 5] = ["user", "ttl", "method", "maddr", "transport"];
        let params_of = |a: &Uri<'_>, b: &Uri<'_>| {
            a.params().all(|(name, value)| match b.param(name) {
                Some(theirs) => unescape(value.unwrap_or("")).eq_ignore_ascii_case(&unescape(theirs)),
                None => !TELLING.iter().any(|t| name.eq_ignore_ascii_case(t)),
            })
        };
        let headers_of = |a: &Uri<'_>, b: &Uri<'_>| {
            a.headers().all(|h| b.headers().any(|o| h.0.eq_ignore_ascii_case(o.0) && h.1 == o.1))
        };
        let same_host = match (self.host_ip(), other.host_ip()) {
            (Some(a), Some(b)) => a == b,
            _ => self.host().eq_ignore_ascii_case(other.host()),
        };
        same_text(self.user(), other.user())
            && same_text(self.password(), other.password())
            && same_host
            && self.port() == other.port()
            && params_of(self, other)
            && params_of(other, self)
            && headers_of(self, other)
            && headers_of(other, self)
    }

    fn slice(&self, span: (u32, u32)) -> &str {
        &self.text[span.0 as usize..span.1 as usize]
    }
}

impl fmt::Display for Uri<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Uri<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.text)
    }
}

/// Text alone counts: as written. Ask [`Uri::equivalent`] for the RFC's comparison.
impl PartialEq for Uri<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Uri<'_> {}

impl Parts {
    pub(crate) fn parse(text: &str) -> Result<Self, BadUri> {
        if text.len() > crate::limits::MESSAGE_MAX {
            return Err(BadUri("too long"));
        }
        if scan::has_any(text, &NEVER) {
            return Err(BadUri("white space, control character, quote or angle bracket"));
        }
        let colon = scan::find(text, b':').ok_or(BadUri("no scheme"))?;
        let scheme = &text[..colon];
        if !scheme.starts_with(|c: char| c.is_ascii_alphabetic()) || !scan::has_only(scheme, &SCHEME) {
            return Err(BadUri("bad scheme"));
        }
        let kind = match scheme.len() {
            3 if scheme.eq_ignore_ascii_case("sip") => Scheme::Sip,
            4 if scheme.eq_ignore_ascii_case("sips") => Scheme::Sips,
            3 if scheme.eq_ignore_ascii_case("tel") => Scheme::Tel,
            _ => Scheme::Other,
        };
        let start = colon + 1;
        if start == text.len() {
            return Err(BadUri("nothing after the scheme"));
        }
        let mut parts = Self { scheme: kind, scheme_end: colon as u32, ..Self::unread() };
        match kind {
            Scheme::Sip | Scheme::Sips => parts.sip(text, start)?,
            Scheme::Tel => {
                let end = scan::find(&text[start..], b';').map_or(text.len(), |at| start + at);
                let digits = &text[start..end];
                if !digits.contains(|c: char| c.is_ascii_hexdigit() || "*#".contains(c))
                    || !digits.bytes().all(|b| b.is_ascii_hexdigit() || b"+-.()*#".contains(&b))
                {
                    return Err(BadUri("bad telephone number"));
                }
                (parts.user, parts.has_user) = (span(start, end), true);
                if end < text.len() {
                    parts.params = span(end + 1, text.len());
                }
            }
            Scheme::Other => {}
        }
        Ok(parts)
    }

    /// Stands for a Request-URI that does not read, so that the request can be answered with 400.
    pub(crate) fn unread() -> Self {
        let none = (0, 0);
        Self {
            scheme: Scheme::Other,
            scheme_end: 0,
            user: none,
            has_user: false,
            password: None,
            host: none,
            port: None,
            params: none,
            headers: none,
        }
    }

    pub(crate) fn has_headers(&self) -> bool {
        self.headers.0 > 0
    }

    fn sip(&mut self, text: &str, start: usize) -> Result<(), BadUri> {
        let bytes = text.as_bytes();
        let mut at = start;
        if let Some(end) = scan::find(&text[start..], b'@').map(|at| start + at) {
            if scan::find(&text[end + 1..], b'@').is_some() {
                return Err(BadUri("two @"));
            }
            let userinfo = &text[start..end];
            let (user, password) = match scan::find(userinfo, b':') {
                Some(colon) => (&userinfo[..colon], Some(span(start + colon + 1, end))),
                None => (userinfo, None),
            };
            if user.is_empty() {
                return Err(BadUri("empty user"));
            }
            if !scan::has_only(userinfo, &USERINFO) || !escapes_hold(userinfo) {
                return Err(BadUri("bad user"));
            }
            self.user = span(start, start + user.len());
            self.has_user = true;
            self.password = password;
            at = end + 1;
        }
        let host_start = at;
        if bytes.get(at) == Some(&b'[') {
            let close = scan::find(&text[at..], b']').ok_or(BadUri("[ without ]"))? + at;
            if text[at + 1..close].parse::<std::net::Ipv6Addr>().is_err() {
                return Err(BadUri("bad IPv6 address"));
            }
            at = close + 1;
        } else {
            at += bytes[at..].iter().take_while(|b| scan::HOST[usize::from(**b)]).count();
            if at == host_start {
                return Err(BadUri("no host"));
            }
        }
        self.host = span(host_start, at);
        if bytes.get(at) == Some(&b':') {
            let digits = bytes[at + 1..].iter().take_while(|b| b.is_ascii_digit()).count();
            self.port = Some(scan::number(&text[at + 1..at + 1 + digits]).ok_or(BadUri("bad port"))?);
            at += 1 + digits;
        }
        let headers = scan::find(&text[at..], b'?').map(|q| at + q);
        let params_end = headers.unwrap_or(text.len());
        match bytes.get(at) {
            None => return Ok(()),
            Some(b';') => self.params = span(at + 1, params_end),
            Some(b'?') => {}
            Some(_) => return Err(BadUri("characters after the host")),
        }
        if !escapes_hold(&text[at..]) {
            return Err(BadUri("bad escape"));
        }
        if let Some(q) = headers {
            self.headers = span(q + 1, text.len());
        }
        Ok(())
    }
}

fn span(start: usize, end: usize) -> (u32, u32) {
    (start as u32, end as u32)
}

/// What no URI has: white space, control characters, quotes, angle brackets.
const NEVER: scan::Bytes = {
    let mut set = scan::set(b" <>\"\x7f");
    let mut b = 0;
    while b < b' ' {
        set[b as usize] = true;
        b += 1;
    }
    set
};

/// RFC 3261 25.1.
const SCHEME: scan::Bytes = scan::alphanumeric_and(b"+-.");

/// RFC 3261 25.1: unreserved, escaped or user-unreserved, and `:` before a password. `#` and others that devices send
/// unescaped (`sip:*21#@…`) are let through: they cannot move the host. So is UTF-8.
const USERINFO: scan::Bytes = {
    let mut set = scan::alphanumeric_and(b"-_.!~*'()%&=+$,;?/:#[]{}|^`\\");
    let mut b = 0x80;
    while b < 256 {
        set[b] = true;
        b += 1;
    }
    set
};

fn escapes_hold(text: &str) -> bool {
    let bytes = text.as_bytes();
    !bytes.contains(&b'%')
        || (0..bytes.len()).filter(|&at| bytes[at] == b'%').all(|at| {
            bytes.get(at + 1).is_some_and(u8::is_ascii_hexdigit) && bytes.get(at + 2).is_some_and(u8::is_ascii_hexdigit)
        })
}

fn pairs(text: &str, separator: char) -> impl Iterator<Item = (&str, Option<&str>)> {
    text.split(separator).filter(|pair| !pair.is_empty()).map(|pair| match scan::cut(pair, b'=') {
        Some((name, value)) => (name, Some(value)),
        None => (pair, None),
    })
}

/// A literal address, IPv6 with or without brackets.
pub fn ip_of(host: &str) -> Option<IpAddr> {
    host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host).parse().ok()
}

/// Resolves `%41`; bytes that are not UTF-8 become U+FFFD.
pub fn unescape(text: &str) -> Cow<'_, str> {
    if !text.contains('%') {
        return text.into();
    }
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let hex = |at: usize| bytes.get(at).and_then(|&b| (b as char).to_digit(16));
        match (bytes[at], hex(at + 1), hex(at + 2)) {
            (b'%', Some(high), Some(low)) => {
                out.push((high * 16 + low) as u8);
                at += 3;
            }
            (b, ..) => {
                out.push(b);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned().into()
}

/// Escapes what a user part cannot hold as it is.
pub fn escape_user(text: &str, out: &mut String) {
    escape(text, b"-_.!~*'()&=+$,;?/", out);
}

fn escape_param(text: &str, out: &mut String) {
    escape(text, b"-_.!~*'()[]/:&+$", out);
}

fn escape(text: &str, plain: &[u8], out: &mut String) {
    for b in text.bytes() {
        if b.is_ascii_alphanumeric() || plain.contains(&b) {
            out.push(b as char);
        } else {
            out.push_str(&format!("%{b:02X}"));
        }
    }
}

#[cfg(test)]
mod tests;

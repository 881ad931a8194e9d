//! What passes between SIP headers and the language of legs.

use std::borrow::Cow;

use postern_sip::{Headers, Method, Name, Request, Response, Uri, status::reason_of};
use postern_types::{
    Cause,
    cause::q850_of,
    leg::{FORWARDS_MAX, HEADERS_MAX},
};

/// What we call ourselves, on every side alike; no version, so that nobody can look up its holes.
pub(crate) const PRODUCT: &str = "Postern";
/// Methods that are served in a dialog.
pub(crate) const ALLOW: &str = "INVITE, ACK, CANCEL, BYE, OPTIONS, INFO, MESSAGE, UPDATE, PRACK";
/// The same for who may transfer.
pub(crate) const ALLOW_REFER: &str = "INVITE, ACK, CANCEL, BYE, OPTIONS, INFO, MESSAGE, UPDATE, PRACK, REFER";
/// And outside of one, for who asks (OPTIONS).
pub(crate) const ALLOW_OUTSIDE: &str = "INVITE, ACK, CANCEL, BYE, OPTIONS, INFO, MESSAGE, UPDATE, PRACK, SUBSCRIBE";
/// The body that is understood.
pub(crate) const SDP: &str = "application/sdp";
/// Clients that give up when they see any challenge but MD5, instead of skipping it as RFC 3261 22.4 and RFC 8760 2.4 want: how
/// their User-Agent begins. Measured with Debian 12's baresip 1.0; its later versions know SHA-256.
const MD5_ONLY: [&str; 2] = ["baresip v0.", "baresip v1."];
/// Longest value of an `X-` header that is passed on; longer ones are left out.
const VALUE_MAX: usize = 1024;
/// Longest user part, name or phrase taken from a peer; cut there.
const TEXT_MAX: usize = 256;

/// Whether the client that sent this must not be shown a SHA-256 challenge. Nothing is lost by a lie: it is about the sender's
/// own password, and MD5 is offered to everybody.
pub(crate) fn knows_only_md5(headers: &Headers) -> bool {
    headers.first(Name::UserAgent).is_some_and(|agent| MD5_ONLY.iter().any(|start| agent.starts_with(start)))
}

/// The `X-` headers for the application.
pub(crate) fn extra(headers: &Headers) -> Vec<(Box<str>, Box<str>)> {
    let ours = |name: &str| name.get(..2).is_some_and(|start| start.eq_ignore_ascii_case("x-"));
    headers
        .iter()
        .filter(|h| ours(h.name) && h.value.len() <= VALUE_MAX)
        .take(HEADERS_MAX)
        .map(|h| (h.name.into(), tidy(&h.unfolded()).into()))
        .collect()
}

/// Those of a dialed leg that may go out: `X-` only, so that nobody writes our Via or Route. The builder keeps
/// line ends out of the values and drops names that are no tokens.
pub(crate) fn allowed_extra(headers: &[(Box<str>, Box<str>)]) -> impl Iterator<Item = (&str, &str)> {
    headers
        .iter()
        .filter(|(name, value)| name.get(..2).is_some_and(|s| s.eq_ignore_ascii_case("x-")) && value.len() <= VALUE_MAX)
        .take(HEADERS_MAX)
        .map(|(name, value)| (&**name, &**value))
}

/// A peer's text without control characters, cut to a sane length.
pub(crate) fn tidy(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(TEXT_MAX).collect()
}

/// The user part of a URI, escapes resolved.
pub(crate) fn user_of(uri: &Uri<'_>) -> Box<str> {
    tidy(&uri.user_decoded().unwrap_or(Cow::Borrowed(""))).into()
}

/// The same address, told to be a number where it is one (RFC 3261 19.1.1).
pub(crate) fn as_phone(uri: Uri<'static>) -> Uri<'static> {
    let is_number = uri.user().is_some_and(|user| {
        let digits = user.strip_prefix('+').unwrap_or(user);
        !digits.is_empty() && digits.bytes().all(|c| c.is_ascii_digit())
    });
    if is_number { uri.with_param("user", Some("phone")) } else { uri }
}

/// Why a peer refused, as far as another floor may know: status, Q.850 cause, its phrase.
pub(crate) fn cause_of(response: &Response) -> Cause {
    let phrase = match tidy(response.reason()) {
        // It may be left out (RFC 3261 25.1), and a person wants words.
        phrase if phrase.is_empty() => reason_of(response.status).into(),
        phrase => phrase.into(),
    };
    Cause {
        status: response.status,
        q850: q850_in(&response.headers).or_else(|| q850_of(response.status)),
        text: phrase,
    }
}

/// The cause that a BYE or CANCEL tells in its Reason (RFC 3326).
pub(crate) fn cause_in(headers: &Headers, otherwise: Cause) -> Cause {
    let elsewhere = headers.reasons().any(|r| r.protocol.eq_ignore_ascii_case("SIP") && r.cause == Some(200));
    if elsewhere && otherwise.status == 487 {
        return Cause::ELSEWHERE;
    }
    Cause { q850: q850_in(headers).or(otherwise.q850), ..otherwise }
}

fn q850_in(headers: &Headers) -> Option<u8> {
    let said = headers.reasons().find(|r| r.protocol.eq_ignore_ascii_case("Q.850"))?;
    said.cause.and_then(|cause| u8::try_from(cause).ok()).filter(|cause| *cause <= 127)
}

/// The Reason that tells a cause. Its words stay here: they may be another side's.
pub(crate) fn reason(cause: &Cause) -> Option<String> {
    if *cause == Cause::ELSEWHERE {
        return Some("SIP;cause=200;text=\"Call completed elsewhere\"".into());
    }
    cause.q850.map(|q850| format!("Q.850;cause={q850}"))
}

/// Whether a Request-URI is of a scheme that is served here (RFC 3261 8.2.2.1).
pub(crate) fn is_served_scheme(request: &Request) -> bool {
    ["sip", "sips", "tel"].iter().any(|scheme| request.uri().scheme_str().eq_ignore_ascii_case(scheme))
}

/// The status for a method that is not served here: one that is known, or not (RFC 3261 8.2.1, 21.5.2).
pub(crate) fn unserved(method: &Method) -> u16 {
    if matches!(method, Method::Other(_)) { 501 } else { 405 }
}

/// How many elements a request may still pass, at most [`FORWARDS_MAX`]; 0: no further.
pub(crate) fn max_forwards(headers: &Headers) -> u8 {
    match headers.number(Name::MaxForwards) {
        Some(Ok(left)) => left.min(FORWARDS_MAX.into()) as u8,
        _ => FORWARDS_MAX,
    }
}

/// Whether the sender can take this kind of body, one of `application/`, from us (RFC 3261 20.1, RFC 6665 3.1.3: without Accept it can).
pub(crate) fn accepts(headers: &Headers, wanted: &str) -> bool {
    let mut kinds = headers.list(Name::Accept).peekable();
    let takes = |kind: &str| {
        let kind = kind.split(';').next().unwrap_or(kind).trim();
        [wanted, "application/*", "*/*"].iter().any(|known| known.eq_ignore_ascii_case(kind))
    };
    kinds.peek().is_none() || kinds.any(takes)
}

/// What Require names and is not served here (RFC 3261 8.2.2.3).
pub(crate) fn unsupported(headers: &Headers, supported: &str) -> Option<String> {
    let served = |tag: &&str| supported.split(", ").any(|served| served.eq_ignore_ascii_case(tag));
    let named: Vec<_> = headers.list(Name::Require).filter(|tag| !served(tag)).take(8).map(tidy).collect();
    (!named.is_empty()).then(|| named.join(", "))
}

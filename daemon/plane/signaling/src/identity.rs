//! Who calls, and who sent the call on: what is believed of a peer's word, and what the next is told.
//!
//! Only a trunk with `trusted` is believed and told (RFC 3325 3: a trust domain). Hosts stay here: numbers and names alone cross, under
//! our own address. Left out: P-Preferred-Identity, which is a wish of a user's for one of its identities (RFC 3325 9.2); here a user has one.

use postern_sip::{Headers, Name, RequestBuilder, Uri, message::NameAddr};
use postern_types::{
    leg::{CallerIdentity, DIVERSIONS_MAX, Diversion},
    trust::Trust,
};

use crate::headers;

/// What stands for a caller that is not to be seen (RFC 3323 4.1).
pub(crate) const ANONYMOUS: &str = "anonymous";

/// What stands between a number and what came of the check of its signature.
const VERSTAT: &str = ";verstat=";
/// Entries of a History-Info that are looked at; longer ones come of loops.
const HISTORY_MAX: usize = 32;
/// Reasons of RFC 5806 4, and the causes that mean the same in History-Info (RFC 4458, RFC 7544); the first of a cause is what it reads as.
const REASONS: [(&str, &str); 11] = [
    ("unknown", "404"),
    ("user-busy", "486"),
    ("no-answer", "408"),
    ("unconditional", "302"),
    ("deflection", "480"),
    ("unavailable", "503"),
    ("time-of-day", "404"),
    ("do-not-disturb", "404"),
    ("follow-me", "404"),
    ("out-of-service", "404"),
    ("away", "404"),
];

/// What an INVITE says of its caller.
pub(crate) struct Caller {
    /// Who may be shown.
    pub(crate) from: Box<str>,
    /// Its display name.
    pub(crate) from_name: Box<str>,
    pub(crate) identity: CallerIdentity,
}

/// Reads it, as far as its sender is to be believed.
pub(crate) fn read(fields: &Headers, trusted: bool) -> Caller {
    let shown = fields.from().ok();
    let from_name: Box<str> = shown.map(|from| headers::tidy(&from.display_name())).unwrap_or_default().into();
    let from = shown.and_then(|from| user(&from)).unwrap_or_default();
    let wishes = |wish: &str| privacy(fields).any(|said| said.eq_ignore_ascii_case(wish));
    // RFC 3323 4.2, RFC 3325 9.3.
    let mut withheld = wishes("id") || wishes("user") || wishes("header");
    let mut identity = CallerIdentity::default();
    if trusted {
        let party = fields.addresses(Name::RemotePartyId).next().and_then(Result::ok);
        // What carriers did before RFC 3325, and some still do.
        withheld |=
            party.and_then(|party| party.params.text("privacy")).is_some_and(|wish| !wish.eq_ignore_ascii_case("off"));
        let asserted = fields.asserted_identities().filter_map(Result::ok).find_map(|address| user(&address));
        identity.asserted = asserted.or_else(|| party.as_ref().and_then(user)).unwrap_or_default();
        if !wishes("history") {
            read_stations(fields, &mut identity);
        }
    }
    identity.withheld = withheld || from.eq_ignore_ascii_case(ANONYMOUS);
    let asserted = &identity.asserted;
    let hidden = || Caller { from: ANONYMOUS.into(), from_name: "".into(), identity: identity.clone() };
    match (withheld, asserted.is_empty()) {
        // From is the caller's own to make anonymous, unless it asks us to; what is asserted is ours to keep back.
        (true, _) if wishes("user") || *asserted == from => hidden(),
        (false, false) => Caller { from: asserted.clone(), from_name, identity },
        (true, _) | (false, true) => Caller { from, from_name, identity },
    }
}

fn privacy(fields: &Headers) -> impl Iterator<Item = &str> {
    fields.all(Name::Privacy).flat_map(|value| value.split([';', ','])).map(str::trim)
}

/// Diversion, whose topmost entry is the latest (RFC 5806 4); else History-Info, whose last entry is where the call is now, and tells why
/// it left the one before (RFC 7044 5, RFC 4458).
fn read_stations(fields: &Headers, identity: &mut CallerIdentity) {
    let told = fields.addresses(Name::Diversion).filter_map(Result::ok).filter_map(|address| {
        let said = address.params.text("reason").unwrap_or_default();
        Some(Diversion {
            user: user(&address)?,
            reason: known_reason(|(reason, _)| reason.eq_ignore_ascii_case(&said)),
        })
    });
    identity.diversions = told.take(DIVERSIONS_MAX).collect();
    if !identity.diversions.is_empty() {
        return;
    }
    let mut before: Option<Box<str>> = None;
    for address in fields.addresses(Name::HistoryInfo).take(HISTORY_MAX).filter_map(Result::ok) {
        let Ok(uri) = address.uri() else { continue };
        if uri.headers().any(|(name, value)| name.eq_ignore_ascii_case("Privacy") && value != Some("none")) {
            // RFC 7044 10.1: this one is for nobody.
            before = None;
            continue;
        }
        let here = headers::user_of(&uri);
        if let Some(user) = before.take().filter(|user| !user.is_empty() && *user != here) {
            let cause = uri.param("cause").unwrap_or_default();
            identity.diversions.push(Diversion { user, reason: known_reason(|(_, of)| of == cause) });
        }
        before = Some(here);
    }
    identity.diversions.reverse();
    identity.diversions.truncate(DIVERSIONS_MAX);
    identity.by_history = !identity.diversions.is_empty();
}

fn known_reason(is: impl Fn((&str, &str)) -> bool) -> &'static str {
    REASONS.iter().find(|(reason, cause)| is((*reason, *cause))).unwrap_or(&REASONS[0]).0
}

/// The user part of an address, without what another box says of its signature: ours is checked here or not at all.
pub(crate) fn user(address: &NameAddr<'_>) -> Option<Box<str>> {
    let user = address.uri().ok().map(|uri| headers::user_of(&uri)).filter(|user| !user.is_empty())?;
    Some(match user.find(VERSTAT) {
        Some(at) => user[..at].into(),
        None => user,
    })
}

/// A number, and behind it what came of the check of its signature (3GPP TS 24.229 7.2A.20), where it was checked.
pub(crate) fn with_verstat(user: &str, trust: &Trust) -> String {
    match &trust.verdict {
        Some(verdict) => format!("{user}{VERSTAT}{}", verdict.verstat()),
        None => user.to_owned(),
    }
}

/// What a trusted trunk is told in the first request of a call, or a message, to `to`.
pub(crate) fn tell(identity: &CallerIdentity, to: &Uri<'_>, host: &str, mut request: RequestBuilder) -> RequestBuilder {
    let of = |user: &str| Uri::sip(Some(user), host, None).ok();
    let known = !identity.asserted.is_empty() && !identity.asserted.eq_ignore_ascii_case(ANONYMOUS);
    if let Some(uri) = of(&with_verstat(&identity.asserted, &identity.trust)).filter(|_| known) {
        request = request.header(Name::PAssertedIdentity, &format!("<{uri}>"));
    }
    if identity.withheld {
        request = request.header(Name::Privacy, "id");
    }
    if !identity.by_history {
        for station in &identity.diversions {
            let Some(uri) = of(&station.user) else { continue };
            request = request.header(Name::Diversion, &format!("<{uri}>;reason={}", station.reason));
        }
        return request;
    }
    // The oldest first, and where the call goes now last; each but the first tells why it was gone to (RFC 7044 10.3).
    let mut index = String::new();
    let mut cause: Option<&str> = None;
    let now = to.user_decoded().unwrap_or_default();
    let stations = identity.diversions.iter().rev().map(|station| (&*station.user, Some(station.reason)));
    for (user, reason) in stations.chain([(&*now, None)]) {
        let Some(uri) = of(user) else { continue };
        index.push_str(if index.is_empty() { "1" } else { ".1" });
        let uri = match cause {
            Some(cause) => uri.with_param("cause", Some(cause)),
            None => uri,
        };
        let mp = index.strip_suffix(".1").map(|from| format!(";mp={from}")).unwrap_or_default();
        request = request.header(Name::HistoryInfo, &format!("<{uri}>;index={index}{mp}"));
        cause = reason.and_then(|reason| REASONS.iter().find(|(known, _)| *known == reason)).map(|(_, cause)| *cause);
    }
    request
}

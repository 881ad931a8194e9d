//! What sections say together: claims that contradict each other, and claims that leave something useless.

use std::{
    collections::{BTreeMap, HashMap},
    hash::Hash,
    net::{IpAddr, SocketAddr},
};

use postern_types::{AccountSid, Transport};

use crate::{node::Span, reader::Reader, route::RouteFrom, trunk::Prefix};

/// Claims of one sort that are compared with each other at most: a thousand trunks with a source each, or half a million pairs.
const COMPARED_MAX: usize = 1000;

/// Collected while sections are read, also from entries that have other mistakes.
#[derive(Debug, Default)]
pub(crate) struct Claims {
    /// Address, transport, realm.
    pub signaling: Vec<(SocketAddr, Transport, String, Span)>,
    /// Address, first and last port, realm.
    pub media: Vec<(IpAddr, u16, u16, String, Span)>,
    /// Realm to whether it has IPv4 and IPv6 signaling addresses.
    pub families: BTreeMap<String, (bool, bool)>,
    /// Realms with `uri_calls`.
    pub uri_calls: Vec<(String, Span)>,
    /// Whether a realm takes registrations.
    pub registrations: bool,
    /// Whose calls come from where.
    pub sources: Vec<SourceClaim>,
    /// Realm, the trunk's numeric address.
    pub reached: Vec<(String, IpAddr, Span)>,
    /// Names of routes.
    pub routes: Vec<(String, Span)>,
    /// What each route takes.
    pub reach: Vec<Reach>,
    /// Where a trunk says that calls to it are signed.
    pub signed: Vec<Span>,
    /// Where a trunk says that signatures of its calls are checked.
    pub checked: Vec<Span>,
    /// SIDs of accounts.
    pub sids: Vec<(AccountSid, Span)>,
}

/// What a route takes.
#[derive(Debug)]
pub(crate) struct Reach {
    /// Whose calls.
    pub from: RouteFrom,
    /// Which numbers.
    pub prefix: String,
    /// Whether it takes all of them, at any time.
    pub takes_all: bool,
    pub span: Span,
}

/// A source of a trunk's calls.
#[derive(Debug)]
pub(crate) struct SourceClaim {
    pub realm: String,
    pub prefix: Prefix,
    pub trunk: String,
    /// What a call to us is addressed to when the trunk is registered with.
    pub contact: Option<String>,
    pub span: Span,
}

impl SourceClaim {
    /// Whether nobody could tell whose of two trunks a call is. Those that are called at contacts of their own are told apart by these.
    fn conflicts(&self, other: &Self) -> bool {
        let overlap = other.prefix.contains(self.prefix.address) || self.prefix.contains(other.prefix.address);
        let apart = self.contact.is_some() && other.contact.is_some() && self.contact != other.contact;
        self.realm == other.realm && self.trunk != other.trunk && overlap && !apart
    }
}

/// Compares them all.
pub(crate) fn all(r: &mut Reader<'_>) {
    let claims = std::mem::take(&mut r.claims);
    signaling(r, &claims);
    media(r, &claims);
    sources(r, &claims);
    routes(r, &claims);
    for (_, span, first) in repeated(&claims.sids) {
        r.error(span, "two accounts have this SID").also(first, "first");
    }
    if let [(_, first), rest @ ..] = claims.uri_calls.as_slice() {
        for (_, span) in rest {
            r.error(*span, "a second realm with `uri_calls`")
                .hint("calls to free addresses leave from one realm")
                .also(*first, "first");
        }
    }
    for (realm, address, span) in &claims.reached {
        let (ipv4, ipv6) = claims.families.get(realm).copied().unwrap_or((true, true));
        let (family, reachable) = if address.is_ipv4() { ("IPv4", ipv4) } else { ("IPv6", ipv6) };
        if !reachable && (ipv4 || ipv6) {
            r.error(*span, format!("realm `{realm}` has no {family} signaling address to reach this from"))
                .hint(format!("add one to `realms.{realm}.signaling`"));
        }
    }
}

fn signaling(r: &mut Reader<'_>, claims: &Claims) {
    // UDP and the streams have ports of their own; all streams share theirs.
    let mut seen: HashMap<(SocketAddr, bool), (&str, Transport, Span)> = HashMap::new();
    for (socket, transport, realm, span) in &claims.signaling {
        match seen.get(&(*socket, transport.is_reliable())) {
            Some((first, other, place)) if first == realm && other != transport => {
                r.error(*span, format!("`{other}` already has {socket}"))
                    .hint("give each transport its own port: 5060 for tcp, 5061 for tls, others for ws and wss")
                    .also(*place, "first");
            }
            Some((first, _, place)) if first != realm => {
                r.error(*span, format!("realm `{first}` already serves {socket}"))
                    .hint("give each realm its own address or port")
                    .also(*place, "first");
            }
            Some(_) => {}
            None => {
                seen.insert((*socket, transport.is_reliable()), (realm, *transport, *span));
            }
        }
    }
}

fn media(r: &mut Reader<'_>, claims: &Claims) {
    for (index, (address, first, last, realm, span)) in
        compared(r, &claims.media, |(.., span)| *span).iter().enumerate()
    {
        let overlapped = claims.media[..index]
            .iter()
            .find(|(other, from, to, name, _)| other == address && name != realm && from <= last && first <= to);
        if let Some((_, from, to, name, place)) = overlapped {
            r.error(*span, format!("ports {first}-{last} of {address} overlap with {from}-{to} of realm `{name}`"))
                .hint("realms that share a media address need port ranges of their own")
                .also(*place, "overlapped");
        }
        if let Some((socket, .., place)) = claims
            .signaling
            .iter()
            .find(|(socket, ..)| socket.ip() == *address && (*first..=*last).contains(&socket.port()))
        {
            r.error(*span, format!("ports {first}-{last} take the signaling port {}", socket.port()))
                .hint("move the range or the signaling port")
                .also(*place, "signaling");
        }
    }
}

fn sources(r: &mut Reader<'_>, claims: &Claims) {
    for (index, source) in compared(r, &claims.sources, |source| source.span).iter().enumerate() {
        if let Some(other) = claims.sources[..index].iter().find(|other| source.conflicts(other)) {
            let (prefix, of) = (other.prefix, &other.trunk);
            r.error(source.span, format!("source {} overlaps with {prefix} of trunk `{of}`", source.prefix))
                .hint("a call from there could be either trunk's: make the sources disjoint, use two realms, or register each with a `contact` of its own")
                .also(other.span, "overlapped");
        }
    }
}

fn routes(r: &mut Reader<'_>, claims: &Claims) {
    for (name, span, first) in repeated(&claims.routes) {
        r.error(span, format!("two routes are named `{name}`")).also(first, "first");
    }
    for (index, reach) in compared(r, &claims.reach, |reach| reach.span).iter().enumerate() {
        let taken = claims.reach[..index].iter().find(|earlier| {
            earlier.takes_all
                && (earlier.from == reach.from || earlier.from == RouteFrom::Any)
                && reach.prefix.starts_with(&earlier.prefix)
        });
        if let Some(first) = taken {
            r.warning(reach.span, "this route is never reached: an earlier one takes all its calls")
                .hint("put the longer prefix first")
                .also(first.span, "earlier");
        }
    }
}

/// Those that are compared with each other; says so when some are left out.
fn compared<'c, T>(r: &mut Reader<'_>, claims: &'c [T], span: impl Fn(&T) -> Span) -> &'c [T] {
    if let Some(first) = claims.get(COMPARED_MAX) {
        r.warning(span(first), format!("from here on overlaps are not looked for: more than {COMPARED_MAX} entries"));
    }
    &claims[..claims.len().min(COMPARED_MAX)]
}

/// Values that were claimed before, with their place and the first one.
fn repeated<T: Hash + Eq>(claims: &[(T, Span)]) -> Vec<(&T, Span, Span)> {
    let mut seen = HashMap::new();
    let mut again = Vec::new();
    for (value, span) in claims {
        match seen.get(value) {
            Some(first) => again.push((value, *span, *first)),
            None => _ = seen.insert(value, *span),
        }
    }
    again
}

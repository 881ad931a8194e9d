//! Realms: named local addresses, one side of the border each.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use serde::{Serialize, Serializer, ser::SerializeStruct};

use crate::{
    node::Span,
    reader::{Fields, Reader},
    value,
};

/// Named local addresses: one side of the border.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Realm {
    /// Where SIP over UDP is served; at most one IPv4 and one IPv6 address.
    pub signaling: Vec<SocketAddr>,
    /// Where RTP is served.
    pub media: RealmMedia,
    /// The IPv4 address that the outside knows us by (static NAT): written into SIP and SDP in place of the IPv4 addresses.
    pub advertised: Option<Ipv4Addr>,
    /// Whether client users may register here.
    pub registrations: bool,
    /// Whether calls to free SIP URIs (`<Dial><Sip>`) leave here. At most one realm.
    pub uri_calls: bool,
}

/// Addresses and ports of a realm's media.
#[derive(Debug, Clone, PartialEq)]
pub struct RealmMedia {
    /// At most one of each family.
    pub ipv4: Option<Ipv4Addr>,
    /// See `ipv4`.
    pub ipv6: Option<Ipv6Addr>,
    /// First port, even.
    pub port_first: u16,
    /// Last port, included.
    pub port_last: u16,
}

impl Realm {
    pub(crate) fn read(r: &mut Reader<'_>, name: &str, f: &Fields<'_>) -> Option<Self> {
        let signaling = f.sockets(r, "signaling");
        for (socket, span) in &signaling {
            r.checked(*span, value::own_address(&socket.ip().to_string(), socket.ip()));
            r.claims.signaling.push((*socket, name.to_owned(), *span));
        }
        one_of_each_family(r, signaling.iter().map(|(socket, span)| (socket.ip(), *span)));
        let signaling: Vec<SocketAddr> = signaling.into_iter().map(|(socket, _)| socket).collect();
        let media = f
            .section_or_defaults(r, "media", "realms.*.media")
            .and_then(|media| RealmMedia::read(r, name, &media, &signaling));
        let advertised = f.ipv4(r, "advertised");
        if advertised.is_some() && !signaling.is_empty() && !signaling.iter().any(SocketAddr::is_ipv4) {
            r.warning(f.span_of("advertised"), "the realm has no IPv4 address that this could stand for");
        }
        let (registrations, uri_calls) = (f.flag(r, "registrations"), f.flag(r, "uri_calls"));
        if uri_calls == Some(true) {
            r.claims.uri_calls.push((name.to_owned(), f.span_of("uri_calls")));
        }
        if registrations == Some(true) {
            r.claims.registrations = true;
        }
        r.claims.families.insert(
            name.to_owned(),
            (signaling.iter().any(SocketAddr::is_ipv4), signaling.iter().any(SocketAddr::is_ipv6)),
        );
        Some(Self {
            signaling: (!signaling.is_empty()).then_some(signaling)?,
            media: media?,
            advertised,
            registrations: registrations?,
            uri_calls: uri_calls?,
        })
    }
}

impl RealmMedia {
    fn read(r: &mut Reader<'_>, name: &str, f: &Fields<'_>, signaling: &[SocketAddr]) -> Option<Self> {
        let mut addresses = f.addresses(r, "addresses");
        for (address, span) in &addresses {
            r.checked(*span, value::own_address(&address.to_string(), *address));
        }
        one_of_each_family(r, addresses.iter().copied());
        if !f.has("addresses") {
            addresses = signaling.iter().map(|socket| (socket.ip(), f.span)).collect();
        }
        let ports = f.ports(r, "ports");
        if let Some((first, last)) = ports {
            for (address, _) in &addresses {
                r.claims.media.push((*address, first, last, name.to_owned(), f.span_of("ports")));
            }
        }
        let ipv4 = addresses.iter().find_map(|(address, _)| match address {
            IpAddr::V4(v4) => Some(*v4),
            IpAddr::V6(_) => None,
        });
        let ipv6 = addresses.iter().find_map(|(address, _)| match address {
            IpAddr::V6(v6) => Some(*v6),
            IpAddr::V4(_) => None,
        });
        let (port_first, port_last) = ports?;
        Some(Self { ipv4, ipv6, port_first, port_last })
    }
}

fn one_of_each_family(r: &mut Reader<'_>, addresses: impl Iterator<Item = (IpAddr, Span)>) {
    let mut seen: [Option<Span>; 2] = [None, None];
    for (address, span) in addresses {
        let family = if address.is_ipv4() { "IPv4" } else { "IPv6" };
        match &mut seen[usize::from(address.is_ipv6())] {
            Some(first) => {
                let first = *first;
                r.error(span, format!("a second {family} address"))
                    .hint("a realm has at most one IPv4 and one IPv6 address: make a second realm")
                    .also(first, "first");
            }
            slot => *slot = Some(span),
        }
    }
}

/// As it is written: addresses and a range.
impl Serialize for RealmMedia {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let addresses: Vec<IpAddr> = self.ipv4.map(IpAddr::V4).into_iter().chain(self.ipv6.map(IpAddr::V6)).collect();
        let mut map = to.serialize_struct("RealmMedia", 2)?;
        map.serialize_field("addresses", &addresses)?;
        map.serialize_field("ports", &format!("{}-{}", self.port_first, self.port_last))?;
        map.end()
    }
}

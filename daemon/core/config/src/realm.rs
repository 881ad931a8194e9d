//! Realms: named local addresses, one side of the border each.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use postern_types::{Transport, stream::Codec};
use serde::{
    Serialize, Serializer,
    ser::{SerializeMap, SerializeStruct},
};

use crate::{
    certificate::{Authorities, Identity},
    dialog::SessionTimer,
    dscp::Dscp,
    node::{Span, Value},
    protection::Access,
    reader::{Fields, Reader},
    value, write,
};

/// Named local addresses: one side of the border.
#[derive(Debug, Clone, PartialEq)]
pub struct Realm {
    /// Where SIP over UDP is served; at most one IPv4 and one IPv6 address.
    pub signaling: Vec<SocketAddr>,
    /// Where SIP over streams is served; of each transport at most one IPv4 and one IPv6 address.
    pub listeners: Vec<Listener>,
    /// How SIP that leaves is marked.
    pub signaling_dscp: Dscp,
    /// Where RTP is served.
    pub media: RealmMedia,
    /// The IPv4 address that the outside knows us by (static NAT): written into SIP and SDP in place of the IPv4 addresses.
    pub advertised: Option<Ipv4Addr>,
    /// Whether client users may register here.
    pub registrations: bool,
    /// For how long.
    pub lease: Lease,
    /// Whether calls to free SIP URIs (`<Dial><Sip>`) leave here. At most one realm.
    pub uri_calls: bool,
    /// Session timers with devices and free addresses.
    pub session_timer: SessionTimer,
    /// Who may come in, besides its trunks.
    pub access: Access,
    /// Numbers that no limit concerns.
    pub emergency: Vec<String>,
    /// How its devices write numbers: a name of `numbering`.
    pub numbering: Option<String>,
    /// Codecs allowed with who has none of its own, in order of preference; empty allows all.
    pub codecs: Vec<Codec>,
    /// Codecs that are left out with everybody there.
    pub codecs_stripped: Vec<Codec>,
}

/// Where connections are accepted.
#[derive(Debug, Clone, PartialEq)]
pub struct Listener {
    /// Which: not UDP.
    pub transport: Transport,
    /// Address and port.
    pub address: SocketAddr,
    /// Who we are there, for TLS and secure WebSocket.
    pub tls: Option<Arc<ServerTls>>,
    /// Of which web pages WebSockets are taken; empty: of all.
    pub origins: Arc<[String]>,
}

/// TLS as a server.
#[derive(Debug, Clone, PartialEq)]
pub struct ServerTls {
    /// Our certificate and key.
    pub identity: Identity,
    /// When set, a client must show a certificate of one of these (mutual TLS).
    pub client_ca: Option<Authorities>,
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
    /// How its packets are marked.
    pub dscp: Dscp,
}

/// How long a registration holds that is not refreshed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Lease {
    /// The longest that is granted.
    #[serde(serialize_with = "write::duration")]
    pub expires: Duration,
    /// The same for devices behind NAT; none: as the others.
    #[serde(serialize_with = "write::optional_duration", skip_serializing_if = "Option::is_none")]
    pub behind_nat: Option<Duration>,
}

impl Default for Lease {
    fn default() -> Self {
        Self { expires: Duration::from_secs(3600), behind_nat: None }
    }
}

impl Lease {
    /// `registrations` in its long form.
    fn read(r: &mut Reader<'_>, f: &Fields<'_>) -> Option<Self> {
        let f = f.section(r, "registrations", "realms.*.registrations")?;
        let (expires, behind_nat) = (f.duration(r, "expires"), f.duration(r, "behind_nat"));
        Some(Self { expires: expires?, behind_nat })
    }
}

impl Realm {
    pub(crate) fn read(r: &mut Reader<'_>, name: &str, f: &Fields<'_>) -> Option<Self> {
        let (signaling, listeners) = match is_written_as_map(f, "signaling") {
            false => (Self::addresses(r, name, f, "signaling", Transport::Udp), Some(Vec::new())),
            true => Self::transports(r, name, f).unwrap_or_default(),
        };
        let known = !signaling.is_empty() || listeners.as_ref().is_some_and(|listeners| !listeners.is_empty());
        let mut all: Vec<SocketAddr> = signaling.clone();
        all.extend(listeners.iter().flatten().map(|listener| listener.address));
        let media = f
            .section_or_defaults(r, "media", "realms.*.media")
            .and_then(|media| RealmMedia::read(r, name, &media, &all));
        let advertised = f.ipv4(r, "advertised");
        if advertised.is_some() && known && !all.iter().any(SocketAddr::is_ipv4) {
            r.warning(f.span_of("advertised"), "the realm has no IPv4 address that this could stand for");
        }
        let (registrations, lease) = if is_written_as_map(f, "registrations") {
            (Some(true), Lease::read(r, f))
        } else {
            (f.flag(r, "registrations"), Some(Lease::default()))
        };
        let uri_calls = f.flag(r, "uri_calls");
        if uri_calls == Some(true) {
            r.claims.uri_calls.push((name.to_owned(), f.span_of("uri_calls")));
        }
        let signaling_dscp = f.dscp(r, "signaling_dscp");
        let session_timer = SessionTimer::read(r, f, "realms.*.session_timer");
        let access = Access::read(r, f);
        let (emergency, numbering) = (f.dialed_list(r, "emergency"), f.reference(r, "numbering"));
        let (codecs, codecs_stripped) = f.codec_policy(r);
        if registrations == Some(true) {
            r.claims.registrations = true;
        }
        r.claims
            .families
            .insert(name.to_owned(), (all.iter().any(SocketAddr::is_ipv4), all.iter().any(SocketAddr::is_ipv6)));
        Some(Self {
            signaling: known.then_some(signaling)?,
            listeners: listeners?,
            signaling_dscp: signaling_dscp?,
            media: media?,
            advertised,
            registrations: registrations?,
            lease: lease?,
            uri_calls: uri_calls?,
            session_timer: session_timer?,
            access,
            emergency,
            numbering,
            codecs,
            codecs_stripped,
        })
    }

    /// Addresses of one transport.
    fn addresses(r: &mut Reader<'_>, name: &str, f: &Fields<'_>, key: &str, transport: Transport) -> Vec<SocketAddr> {
        let found = f.sockets(r, key);
        for (socket, span) in &found {
            r.checked(*span, value::own_address(&socket.ip().to_string(), socket.ip()));
            r.claims.signaling.push((*socket, transport, name.to_owned(), *span));
        }
        one_of_each_family(r, found.iter().map(|(socket, span)| (socket.ip(), *span)));
        found.into_iter().map(|(socket, _)| socket).collect()
    }

    /// `{udp: …, tls: {…}}`. The second is none when a listener has a mistake.
    fn transports(r: &mut Reader<'_>, name: &str, f: &Fields<'_>) -> Option<(Vec<SocketAddr>, Option<Vec<Listener>>)> {
        let f = f.section(r, "signaling", "realms.*.signaling")?;
        let udp = Self::addresses(r, name, &f, "udp", Transport::Udp);
        let mut listeners = Vec::new();
        let mut sound = true;
        for address in Self::addresses(r, name, &f, "tcp", Transport::Tcp) {
            listeners.push(Listener { transport: Transport::Tcp, address, tls: None, origins: Arc::default() });
        }
        for (key, path, transport) in [
            ("tls", "realms.*.signaling.tls", Transport::Tls),
            ("ws", "realms.*.signaling.ws", Transport::Ws),
            ("wss", "realms.*.signaling.wss", Transport::Wss),
        ] {
            if !f.has(key) {
                continue;
            }
            let Some(f) = f.section(r, key, path) else {
                sound = false;
                continue;
            };
            let addresses = Self::addresses(r, name, &f, "address", transport);
            let origins: Arc<[String]> = match transport {
                Transport::Ws | Transport::Wss => f.texts(r, "origins").into(),
                _ => Arc::default(),
            };
            let mut tls = None;
            if transport.is_secure() {
                let identity = Identity::read(r, &f);
                let client_ca = Authorities::read(r, &f, "client_ca");
                sound &= identity.is_some() && client_ca.is_some() == f.has("client_ca");
                tls = identity.map(|identity| Arc::new(ServerTls { identity, client_ca }));
            }
            sound &= !addresses.is_empty();
            let listener = |address| Listener { transport, address, tls: tls.clone(), origins: origins.clone() };
            listeners.extend(addresses.into_iter().map(listener));
        }
        if udp.is_empty() && listeners.is_empty() && sound {
            r.error(f.span, "`signaling` is empty").hint("write for example `udp: 192.0.2.10:5060`");
        }
        Some((udp, sound.then_some(listeners)))
    }
}

/// Whether a key that has a short form stands in its long one.
fn is_written_as_map(f: &Fields<'_>, key: &str) -> bool {
    matches!(f.node_if_written(key).map(|node| &node.value), Some(Value::Map(_)))
}

/// As it is written: the short form where there is UDP only.
impl Serialize for Realm {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut map = to.serialize_struct("Realm", 13)?;
        match self.listeners.is_empty() {
            true => map.serialize_field("signaling", &self.signaling)?,
            false => map.serialize_field("signaling", &Written(self))?,
        }
        map.serialize_field("signaling_dscp", &self.signaling_dscp)?;
        map.serialize_field("media", &self.media)?;
        map.serialize_field("advertised", &self.advertised)?;
        match self.registrations && self.lease != Lease::default() {
            true => map.serialize_field("registrations", &self.lease)?,
            false => map.serialize_field("registrations", &self.registrations)?,
        }
        map.serialize_field("uri_calls", &self.uri_calls)?;
        map.serialize_field("session_timer", &self.session_timer)?;
        map.serialize_field("allow", &self.access.allow)?;
        map.serialize_field("deny", &self.access.deny)?;
        if !self.emergency.is_empty() {
            map.serialize_field("emergency", &self.emergency)?;
        }
        if let Some(numbering) = &self.numbering {
            map.serialize_field("numbering", numbering)?;
        }
        for (key, codecs) in [("codecs", &self.codecs), ("codecs_stripped", &self.codecs_stripped)] {
            if !codecs.is_empty() {
                map.serialize_field(key, &codecs.iter().map(Codec::name).collect::<Vec<_>>())?;
            }
        }
        map.end()
    }
}

/// `signaling` in its long form.
struct Written<'a>(&'a Realm);

impl Serialize for Written<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Section<'a> {
            address: Vec<SocketAddr>,
            #[serde(skip_serializing_if = "Option::is_none")]
            certificate: Option<&'a std::path::Path>,
            #[serde(skip_serializing_if = "Option::is_none")]
            key: Option<&'a std::path::Path>,
            #[serde(skip_serializing_if = "Option::is_none")]
            client_ca: Option<&'a Authorities>,
            #[serde(skip_serializing_if = "<[String]>::is_empty")]
            origins: &'a [String],
        }
        let mut map = to.serialize_map(None)?;
        if !self.0.signaling.is_empty() {
            map.serialize_entry("udp", &self.0.signaling)?;
        }
        for transport in Transport::ALL {
            let mut of = self.0.listeners.iter().filter(|listener| listener.transport == transport).peekable();
            let Some(first) = of.peek().copied() else { continue };
            let address: Vec<SocketAddr> = of.map(|listener| listener.address).collect();
            if transport == Transport::Tcp {
                map.serialize_entry("tcp", &address)?;
                continue;
            }
            let tls = first.tls.as_deref();
            let section = Section {
                address,
                certificate: tls.map(|tls| tls.identity.certificate.as_path()),
                key: tls.map(|tls| tls.identity.key.as_path()),
                client_ca: tls.and_then(|tls| tls.client_ca.as_ref()),
                origins: &first.origins,
            };
            map.serialize_entry(transport.name(), &section)?;
        }
        map.end()
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
        let (ports, dscp) = (f.ports(r, "ports"), f.dscp(r, "dscp"));
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
        Some(Self { ipv4, ipv6, port_first, port_last, dscp: dscp? })
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

/// As it is written: addresses, a range, a mark.
impl Serialize for RealmMedia {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let addresses: Vec<IpAddr> = self.ipv4.map(IpAddr::V4).into_iter().chain(self.ipv6.map(IpAddr::V6)).collect();
        let mut map = to.serialize_struct("RealmMedia", 3)?;
        map.serialize_field("addresses", &addresses)?;
        map.serialize_field("ports", &format!("{}-{}", self.port_first, self.port_last))?;
        map.serialize_field("dscp", &self.dscp)?;
        map.end()
    }
}

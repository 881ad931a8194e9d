//! Trunks: carriers and PBXs, and how they are recognised.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use postern_types::{RealmName, Secret, Transport, media::Latching, stream::Codec};
use serde::{Serialize, Serializer, ser::SerializeMap};

use crate::{
    certificate::{Authorities, Identity},
    check::SourceClaim,
    dialog::{Dtmf, Refer, Rel100, SessionTimer},
    failover::Failover,
    limits::Limits,
    probe::Probe,
    reader::{Fields, Reader},
    register::Register,
    stir::TrunkStir,
    value::{SIP_PORT, SIPS_PORT},
    workarounds::{Workaround, Workarounds},
    write,
};

/// Addresses of one trunk at most: each may be waited for in turn.
const ADDRESSES_MAX: usize = 16;

/// A trunk to a carrier or PBX.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Trunk {
    /// The realm it is reached from.
    pub realm: RealmName,
    /// Where its calls are sent, the best first; never empty.
    #[serde(rename = "address")]
    pub addresses: Vec<Address>,
    /// What its calls are sent by: UDP, TCP or TLS. A trunk by TLS is known by TLS only. None: by what DNS says of its name (RFC 3263), by UDP
    /// to a numeric address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transport: Option<Transport>,
    /// Whether a request too large for one UDP packet goes by TCP.
    pub large_over_tcp: bool,
    /// How TLS is spoken to it, when not by defaults.
    pub tls: Option<Arc<ClientTls>>,
    /// When a call goes on elsewhere.
    pub failover: Failover,
    /// How its addresses are asked whether they live; none: calls find out.
    pub probe: Option<Probe>,
    /// How we register with it; none: it knows where we are.
    pub register: Option<Register>,
    /// Sources that are this trunk: addresses and prefixes. The numeric `address` is always one.
    pub sources: Vec<Prefix>,
    /// Credentials by which we answer its challenges.
    pub credentials: Option<Credentials>,
    /// Credentials that it must prove to us, besides coming from its sources.
    pub demands: Option<Credentials>,
    /// Codecs allowed, in order of preference; empty: those of its realm.
    #[serde(serialize_with = "write::codecs")]
    pub codecs: Vec<Codec>,
    /// Codecs that are left out of what is offered and answered.
    #[serde(serialize_with = "write::codecs", skip_serializing_if = "Vec::is_empty")]
    pub codecs_stripped: Vec<Codec>,
    /// SRTP.
    pub srtp: SrtpMode,
    /// Whose audio is taken for its.
    pub latching: Latching,
    /// How digits are told.
    pub dtmf: Dtmf,
    /// Whether it may transfer calls.
    pub refer: Refer,
    /// Calls at once at most; none: no limit.
    pub calls_max: Option<u32>,
    /// Whether what it says of a caller is believed, and it is told (RFC 3325).
    pub trusted: bool,
    /// What it may carry, beside that.
    pub limits: Limits,
    /// Numbers that no limit concerns, in addition to those of its realm.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub emergency: Vec<String>,
    /// How it writes numbers: a name of `numbering`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub numbering: Option<String>,
    /// Whether it is asked how many calls it wants less, and heeded.
    pub overload_control: bool,
    /// Whether it may subscribe to users' presence and calls.
    pub subscribes: bool,
    /// Whether it is believed that messages wait for users.
    pub message_waiting: bool,
    /// Signed callers.
    pub stir: TrunkStir,
    /// What is changed in the headers of its messages: a name of `headers`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub headers: Option<String>,
    /// What is done for it that others do not need.
    #[serde(skip_serializing_if = "Workarounds::is_empty")]
    pub workarounds: Workarounds,
    /// Session timers.
    pub session_timer: SessionTimer,
    /// Reliable provisional responses.
    pub rel100: Rel100,
}

/// TLS as a client.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ClientTls {
    /// The authorities that its certificate must be of; none: the system's.
    pub ca: Option<Authorities>,
    /// The name that its certificate must have, and that it is asked for (SNI); none: the host of its address.
    pub name: Option<String>,
    /// Whether its certificate is checked at all.
    pub verify: bool,
    /// Our own certificate, for a trunk that asks for one.
    #[serde(flatten, serialize_with = "identity")]
    pub identity: Option<Identity>,
}

impl ClientTls {
    fn read(r: &mut Reader<'_>, f: &Fields<'_>) -> Option<Self> {
        let ca = Authorities::read(r, f, "ca");
        let name = f.text(r, "name").and_then(|name| {
            let known = rustls::pki_types::ServerName::try_from(name.clone()).is_ok();
            if !known {
                r.error(f.span_of("name"), "not a name that a certificate could have")
                    .hint("write for example sip.carrier.example");
            }
            known.then_some(name)
        });
        let verify = f.flag(r, "verify")?;
        if !verify {
            r.warning(f.span_of("verify"), "anybody on the way can pretend to be this trunk")
                .hint("write the certificate of its authority, or its own, as `ca`");
        }
        let wants_identity = f.has("certificate") || f.has("key");
        let identity = if wants_identity { Identity::read(r, f) } else { None };
        for (key, other) in [("certificate", "key"), ("key", "certificate")] {
            if f.has(key) && !f.has(other) {
                r.error(f.span_of(key), format!("`{key}` without `{other}`")).hint("write both");
            }
        }
        let sound =
            identity.is_some() == wants_identity && ca.is_some() == f.has("ca") && name.is_some() == f.has("name");
        sound.then_some(Self { ca, name, verify, identity })
    }
}

fn identity<S: Serializer>(identity: &Option<Identity>, to: S) -> Result<S::Ok, S::Error> {
    let mut map = to.serialize_map(None)?;
    if let Some(identity) = identity {
        map.serialize_entry("certificate", &identity.certificate)?;
        map.serialize_entry("key", &identity.key)?;
    }
    map.end()
}

/// How audio with a peer is encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum SrtpMode {
    /// Plain RTP only.
    #[default]
    Off,
    /// Taken when offered, with SDES keys or DTLS, not offered by us.
    Accept,
    /// Offered with SDES keys, and demanded with these or DTLS.
    Required,
    /// DTLS-SRTP, offered and demanded.
    Dtls,
    /// The same over ICE: what browsers need.
    Webrtc,
}

/// Host and port.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Address {
    /// A name or a numeric address, without brackets.
    pub host: String,
    /// Port; none: the usual one of a numeric address, what DNS says of a name (RFC 3263).
    pub port: Option<u16>,
}

impl Address {
    /// It, if it is numeric, and its port by a transport (RFC 3261 19.1.2).
    pub fn numeric(&self, transport: Option<Transport>) -> Option<(Transport, SocketAddr)> {
        let address: IpAddr = self.host.parse().ok()?;
        let transport = transport.unwrap_or_default();
        let usual = if transport.is_secure() { SIPS_PORT } else { SIP_PORT };
        Some((transport, SocketAddr::new(address, self.port.unwrap_or(usual))))
    }
}

/// An address prefix: `192.0.2.0/24`, `2001:db8::/32`, or a single address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Prefix {
    /// Network address; bits after `length` are zero.
    pub address: IpAddr,
    /// Leading bits that count.
    pub length: u8,
}

impl Prefix {
    /// Just one address.
    pub fn of(address: IpAddr) -> Self {
        Self { address, length: if address.is_ipv4() { 32 } else { 128 } }
    }

    /// The network of this length that an address lies in; a length beyond the family's is its longest.
    pub fn around(address: IpAddr, length: u8) -> Self {
        match address {
            IpAddr::V4(v4) => {
                let length = length.min(32);
                let mask = u32::MAX.checked_shl(32 - u32::from(length)).unwrap_or(0);
                Self { address: IpAddr::V4((u32::from(v4) & mask).into()), length }
            }
            IpAddr::V6(v6) => {
                let length = length.min(128);
                let mask = u128::MAX.checked_shl(128 - u32::from(length)).unwrap_or(0);
                Self { address: IpAddr::V6((u128::from(v6) & mask).into()), length }
            }
        }
    }

    /// Whether `address` lies in it. An IPv4-mapped IPv6 address counts as its IPv4 address.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(net), IpAddr::V4(host)) => {
                let shift = 32 - u32::from(self.length.min(32));
                shift == 32 || (u32::from(net) >> shift) == (u32::from(host) >> shift)
            }
            (IpAddr::V6(net), IpAddr::V6(host)) => {
                let shift = 128 - u32::from(self.length.min(128));
                shift == 128 || (u128::from(net) >> shift) == (u128::from(host) >> shift)
            }
            _ => false,
        }
    }
}

/// A username and its password.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Credentials {
    /// As sent in the clear.
    pub username: String,
    /// Never shown.
    pub password: Secret<String>,
}

impl Trunk {
    /// A trunk with nothing but defaults, for tests and tools that need no file.
    pub fn at(realm: &str, host: &str, port: u16) -> Self {
        Self {
            realm: RealmName::new(realm),
            addresses: vec![Address { host: host.into(), port: Some(port) }],
            transport: None,
            large_over_tcp: false,
            tls: None,
            failover: Failover::default(),
            probe: None,
            register: None,
            sources: Vec::new(),
            credentials: None,
            demands: None,
            codecs: Vec::new(),
            codecs_stripped: Vec::new(),
            srtp: SrtpMode::default(),
            latching: Latching::default(),
            dtmf: Dtmf::default(),
            refer: Refer::default(),
            calls_max: None,
            limits: Limits::default(),
            emergency: Vec::new(),
            numbering: None,
            headers: None,
            workarounds: Workarounds::default(),
            trusted: false,
            overload_control: false,
            subscribes: false,
            message_waiting: false,
            stir: TrunkStir::default(),
            session_timer: SessionTimer::default(),
            rel100: Rel100::default(),
        }
    }

    /// The address that is tried first.
    pub fn address(&self) -> &Address {
        self.addresses.first().expect("the reader refuses a trunk without an address")
    }

    pub(crate) fn read(r: &mut Reader<'_>, name: &str, f: &Fields<'_>) -> Option<Self> {
        let transport = f.choice(r, "transport", &[Transport::Udp, Transport::Tcp, Transport::Tls]);
        let transport_is_sound = transport.is_some() == f.has("transport");
        let (realm, addresses) = (f.reference(r, "realm"), f.hosts(r, "address"));
        if let Some((_, span)) = addresses.get(ADDRESSES_MAX) {
            r.error(*span, format!("more than {ADDRESSES_MAX} addresses"))
                .hint("make several trunks of them, and a group of these");
        }
        let large_over_tcp = f.flag(r, "large_over_tcp");
        if large_over_tcp == Some(true) && transport.is_some_and(|transport| transport != Transport::Udp) {
            r.warning(f.span_of("large_over_tcp"), "it does nothing: this trunk is never reached by UDP");
        }
        let mut tls = None;
        if let Some(section) = f.section(r, "tls", "trunks.*.tls") {
            tls = Some(Arc::new(ClientTls::read(r, &section)?));
            if transport.is_some_and(|transport| transport != Transport::Tls) {
                r.warning(f.span_of("tls"), "it does nothing without `transport: tls`");
            }
        }
        let numeric =
            addresses.iter().filter_map(|(address, span)| Some((address.host.parse::<IpAddr>().ok()?, *span)));
        let numeric: Vec<_> = numeric.collect();
        let register = Register::read(r, f, addresses.first().map(|(address, _)| address.host.as_str()));
        let mut sources = f.prefixes(r, "sources");
        for (own, span) in &numeric {
            let own = Prefix::of(*own);
            if !sources.iter().any(|(known, _)| *known == own) {
                sources.push((own, *span));
            }
        }
        if let Some(realm) = &realm {
            for (prefix, span) in &sources {
                let contact = register.as_ref().map(|register| register.contact.clone());
                r.claims.sources.push(SourceClaim {
                    realm: realm.clone(),
                    prefix: *prefix,
                    trunk: name.to_owned(),
                    contact,
                    span: *span,
                });
            }
            for (own, span) in numeric {
                r.claims.reached.push((realm.clone(), own, span));
            }
        }
        let (failover, probe) = (Failover::read(r, f), Probe::read(r, f));
        let credentials = Credentials::read(r, f, "credentials", "trunks.*.credentials");
        let demands = Credentials::read(r, f, "demands", "trunks.*.demands");
        let (codecs, codecs_stripped) = f.codec_policy(r);
        let srtp = f.choice(r, "srtp", &SrtpMode::ALL);
        let latching = f.choice(r, "latching", &[Latching::Window, Latching::Strict]);
        let dtmf = f.choice(r, "dtmf", &Dtmf::ALL);
        let refer = f.choice(r, "refer", &Refer::ALL);
        let calls_max = f.integer(r, "calls_max").map(|n| n as u32);
        let (trusted, stir) = (f.flag(r, "trusted"), TrunkStir::read(r, f));
        let (overload_control, subscribes) = (f.flag(r, "overload_control"), f.flag(r, "subscribes"));
        let message_waiting = f.flag(r, "message_waiting");
        let (limits, emergency) = (Limits::read(r, f), f.dialed_list(r, "emergency"));
        let (numbering, headers) = (f.reference(r, "numbering"), f.reference(r, "headers"));
        let session_timer = SessionTimer::read(r, f, "trunks.*.session_timer");
        let rel100 = f.choice(r, "rel100", &Rel100::ALL);
        let workarounds = Workarounds::of(&f.choices(r, "workarounds", &Workaround::ALL));
        Some(Self {
            realm: RealmName::new(&realm?),
            addresses: if addresses.is_empty() { return None } else { addresses.into_iter().map(|(a, _)| a).collect() },
            transport: if transport_is_sound { transport } else { return None },
            large_over_tcp: large_over_tcp?,
            tls,
            failover: failover?,
            probe,
            register,
            sources: sources.into_iter().map(|(prefix, _)| prefix).collect(),
            credentials,
            demands,
            codecs,
            codecs_stripped,
            srtp: srtp?,
            latching: latching?,
            dtmf: dtmf?,
            refer: refer?,
            calls_max,
            limits,
            emergency,
            numbering,
            headers,
            workarounds,
            trusted: trusted?,
            overload_control: overload_control?,
            subscribes: subscribes?,
            message_waiting: message_waiting?,
            stir: stir?,
            session_timer: session_timer?,
            rel100: rel100?,
        })
    }
}

impl Credentials {
    fn read(r: &mut Reader<'_>, f: &Fields<'_>, key: &str, path: &'static str) -> Option<Self> {
        let f = f.section(r, key, path)?;
        let (username, password) = (f.text(r, "username"), f.secret(r, "password"));
        Some(Self { username: username?, password: password? })
    }
}

impl SrtpMode {
    pub(crate) const ALL: [Self; 5] = [Self::Off, Self::Accept, Self::Required, Self::Dtls, Self::Webrtc];
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.port, self.host.contains(':')) {
            (Some(port), true) => write!(f, "[{}]:{port}", self.host),
            (Some(port), false) => write!(f, "{}:{port}", self.host),
            (None, _) => f.write_str(&self.host),
        }
    }
}

impl Serialize for Address {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.length)
    }
}

impl Serialize for Prefix {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

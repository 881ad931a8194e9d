//! Trunks: carriers and PBXs, and how they are recognised.

use std::{fmt, net::IpAddr};

use postern_types::{RealmName, Secret, media::Latching, stream::Codec};
use serde::{Serialize, Serializer};

use crate::{
    reader::{Fields, Reader},
    write,
};

/// A trunk to a carrier or PBX.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Trunk {
    /// The realm it is reached from.
    pub realm: RealmName,
    /// Where its calls are sent: host (name or address) and port.
    pub address: Address,
    /// Sources that are this trunk: addresses and prefixes. The numeric `address` is always one.
    pub sources: Vec<Prefix>,
    /// Credentials by which we answer its challenges.
    pub credentials: Option<Credentials>,
    /// Credentials that it must prove to us, besides coming from its sources.
    pub demands: Option<Credentials>,
    /// Codecs allowed, in order of preference; empty allows all.
    #[serde(serialize_with = "write::codecs")]
    pub codecs: Vec<Codec>,
    /// SRTP.
    pub srtp: SrtpMode,
    /// Whose audio is taken for its.
    pub latching: Latching,
    /// Calls at once at most; none: no limit.
    pub calls_max: Option<u32>,
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
    /// UDP port.
    pub port: u16,
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
    pub(crate) fn read(r: &mut Reader<'_>, name: &str, f: &Fields<'_>) -> Option<Self> {
        let (realm, address) = (f.reference(r, "realm"), f.host(r, "address"));
        let own: Option<IpAddr> = address.as_ref().and_then(|address| address.host.parse().ok());
        let mut sources = f.prefixes(r, "sources");
        if let Some(own) = own.map(Prefix::of).filter(|own| !sources.iter().any(|(known, _)| known == own)) {
            sources.push((own, f.span_of("address")));
        }
        if let Some(realm) = &realm {
            for (prefix, span) in &sources {
                r.claims.sources.push((realm.clone(), *prefix, name.to_owned(), *span));
            }
            if let Some(own) = own {
                r.claims.reached.push((realm.clone(), own, f.span_of("address")));
            }
        }
        if sources.is_empty() && address.is_some() && !f.has("sources") {
            r.warning(f.span, format!("no call from trunk `{name}` will be known"))
                .hint("its address is a name: write its addresses in `sources`");
        }
        let credentials = Credentials::read(r, f, "credentials", "trunks.*.credentials");
        let demands = Credentials::read(r, f, "demands", "trunks.*.demands");
        let codecs = f.codecs(r, "codecs");
        let srtp = f.choice(r, "srtp", &SrtpMode::ALL);
        let latching = f.choice(r, "latching", &[Latching::Window, Latching::Strict]);
        let calls_max = f.integer(r, "calls_max").map(|n| n as u32);
        Some(Self {
            realm: RealmName::new(&realm?),
            address: address?,
            sources: sources.into_iter().map(|(prefix, _)| prefix).collect(),
            credentials,
            demands,
            codecs,
            srtp: srtp?,
            latching: latching?,
            calls_max,
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
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
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

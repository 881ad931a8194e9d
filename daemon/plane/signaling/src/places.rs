//! The configuration as signaling looks at it: which endpoint belongs to which realm, which source is which trunk.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use postern_config::{Config, Prefix, Realm};
use postern_types::{RealmName, TrunkName};

/// Looked up once for each message: small tables, no allocation.
#[derive(Debug)]
pub(crate) struct Places {
    pub(crate) config: Arc<Config>,
    endpoints: Vec<Endpoint>,
    /// Longest prefix first, so that the first match is the closest.
    sources: Vec<(Prefix, RealmName, TrunkName)>,
}

/// One of our SIP addresses.
#[derive(Debug, Clone)]
pub(crate) struct Endpoint {
    /// As bound.
    pub(crate) local: SocketAddr,
    /// As the outside knows it: goes into Via, Contact and From.
    pub(crate) advertised: SocketAddr,
    pub(crate) realm: RealmName,
    pub(crate) registrations: bool,
}

impl Places {
    pub(crate) fn new(config: Arc<Config>) -> Self {
        let mut endpoints = Vec::new();
        for (name, realm) in &config.realms {
            for &local in &realm.signaling {
                endpoints.push(Endpoint {
                    local,
                    advertised: advertised(realm, local),
                    realm: name.clone(),
                    registrations: realm.registrations,
                });
            }
        }
        let mut sources = Vec::new();
        for (name, trunk) in &config.trunks {
            let own = trunk
                .address
                .host
                .parse::<IpAddr>()
                .ok()
                .map(|address| Prefix { address, length: if address.is_ipv4() { 32 } else { 128 } });
            for prefix in trunk.sources.iter().copied().chain(own) {
                sources.push((prefix, trunk.realm.clone(), name.clone()));
            }
        }
        sources.sort_by_key(|(prefix, ..)| std::cmp::Reverse(prefix.length));
        Self { config, endpoints, sources }
    }

    /// The endpoint bound to this address.
    pub(crate) fn endpoint(&self, local: SocketAddr) -> Option<&Endpoint> {
        self.endpoints.iter().find(|e| e.local == local)
    }

    /// The endpoint of a realm that can reach an address of this family.
    pub(crate) fn endpoint_in(&self, realm: &RealmName, ipv6: bool) -> Option<&Endpoint> {
        self.endpoints.iter().find(|e| e.realm == *realm && e.local.is_ipv6() == ipv6)
    }

    /// The trunk that a source in a realm is.
    pub(crate) fn trunk_of(&self, realm: &RealmName, source: IpAddr) -> Option<&TrunkName> {
        self.sources.iter().find(|(prefix, r, _)| r == realm && prefix.contains(source)).map(|(.., trunk)| trunk)
    }
}

fn advertised(realm: &Realm, local: SocketAddr) -> SocketAddr {
    match (realm.advertised, local) {
        (Some(address), SocketAddr::V4(_)) => SocketAddr::new(IpAddr::V4(address), local.port()),
        _ => local,
    }
}

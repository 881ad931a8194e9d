//! The configuration as signaling looks at it: which endpoint belongs to which realm, which source is which trunk.

use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use postern_config::{AccessTable, Config, Prefix, Realm};
use postern_sip::{SentBy, transaction::Flow};
use postern_types::{RealmName, Transport, TrunkName};

/// Looked up once for each message: small tables, no allocation.
#[derive(Debug)]
pub(crate) struct Places {
    pub(crate) config: Arc<Config>,
    endpoints: Vec<Endpoint>,
    /// What the names of trunks resolve to now.
    pub(crate) learned: HashMap<IpAddr, Vec<Learned>>,
    /// Longest prefix first, so that the first match is the closest.
    sources: Vec<Source>,
}

/// A trunk whose name has an address now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Learned {
    pub(crate) realm: RealmName,
    pub(crate) trunk: TrunkName,
    /// As for a source that was written.
    pub(crate) secure: bool,
}

/// Where a trunk's calls come from.
#[derive(Debug)]
struct Source {
    prefix: Prefix,
    realm: RealmName,
    trunk: TrunkName,
    /// It is reached by TLS: by anything else it could be anybody.
    secure: bool,
}

/// One of our SIP addresses.
#[derive(Debug, Clone)]
pub(crate) struct Endpoint {
    pub(crate) transport: Transport,
    /// As bound.
    pub(crate) local: SocketAddr,
    /// As the outside knows it: goes into Via, Contact and From.
    pub(crate) advertised: SocketAddr,
    pub(crate) realm: RealmName,
    pub(crate) registrations: bool,
    /// Who may come in, besides the realm's trunks.
    pub(crate) access: Arc<AccessTable>,
}

impl Endpoint {
    /// What a Via says when this endpoint's requests go by `transport`.
    pub(crate) fn sent_by(&self, transport: Transport) -> SentBy {
        SentBy { transport, address: self.advertised }
    }

    /// What a Contact says: where connections and datagrams are taken.
    pub(crate) fn contact(&self) -> SentBy {
        SentBy { transport: self.transport, address: self.advertised }
    }
}

impl Places {
    pub(crate) fn new(config: Arc<Config>) -> Self {
        let mut endpoints = Vec::new();
        for (name, realm) in &config.realms {
            let access = Arc::new(realm.access.table());
            let streams = realm.listeners.iter().map(|listener| (listener.transport, listener.address));
            for (transport, local) in realm.signaling.iter().map(|&udp| (Transport::Udp, udp)).chain(streams) {
                endpoints.push(Endpoint {
                    transport,
                    local,
                    advertised: advertised(realm, local),
                    realm: name.clone(),
                    registrations: realm.registrations,
                    access: access.clone(),
                });
            }
        }
        let mut sources = Vec::new();
        for (name, trunk) in &config.trunks {
            let own = trunk.addresses.iter().filter_map(|address| address.host.parse().ok()).map(Prefix::of);
            for prefix in trunk.sources.iter().copied().chain(own) {
                let secure = trunk.transport.is_some_and(Transport::is_secure);
                sources.push(Source { prefix, realm: trunk.realm.clone(), trunk: name.clone(), secure });
            }
        }
        sources.sort_by_key(|source| std::cmp::Reverse(source.prefix.length));
        Self { config, endpoints, learned: HashMap::new(), sources }
    }

    /// The endpoint bound to a flow's address; for a connection that we opened from a realm without a listener of its transport,
    /// the endpoint that it was opened for.
    pub(crate) fn endpoint(&self, flow: Flow) -> Option<&Endpoint> {
        let mut here = self.endpoints.iter().filter(|e| e.local == flow.local).peekable();
        let any = here.peek().copied().filter(|_| flow.transport.is_reliable());
        here.find(|e| e.transport == flow.transport).or(any)
    }

    /// The endpoint of a realm that can reach an address of this family by a transport: one that serves it, or, as a connection can be
    /// made from anywhere, any.
    pub(crate) fn endpoint_in(&self, realm: &RealmName, ipv6: bool, transport: Transport) -> Option<&Endpoint> {
        let mut here = self.endpoints.iter().filter(|e| e.realm == *realm && e.local.is_ipv6() == ipv6).peekable();
        let any = here.peek().copied().filter(|_| transport.is_reliable());
        here.find(|e| e.transport == transport).or(any)
    }

    /// The same for a call to `called`: of several trunks at one source the one that is registered with this contact.
    pub(crate) fn trunk_called(&self, realm: &RealmName, flow: Flow, called: &str) -> Option<&TrunkName> {
        let first = self.trunk_of(realm, flow)?;
        let is_it = |name: &TrunkName, needs: bool| {
            let register = self.config.trunks.get(name).and_then(|trunk| trunk.register.as_ref());
            (flow.transport.is_secure() || !needs) && register.is_some_and(|register| register.contact == called)
        };
        let source = flow.remote.ip();
        let written = self.sources.iter().filter(|s| s.realm == *realm && s.prefix.contains(source));
        let learned = self.learned.get(&source.to_canonical()).into_iter().flatten();
        let learned = learned.filter(|learned| learned.realm == *realm).map(|learned| (&learned.trunk, learned.secure));
        let mut all = written.map(|source| (&source.trunk, source.secure)).chain(learned);
        Some(all.find(|(name, needs)| is_it(name, *needs)).map_or(first, |(name, _)| name))
    }

    /// Whether a trunk, of any realm and by any transport, may be at this address.
    pub(crate) fn is_of_trunk(&self, source: IpAddr) -> bool {
        self.learned.contains_key(&source.to_canonical()) || self.sources.iter().any(|s| s.prefix.contains(source))
    }

    /// The trunk that a flow's source in a realm is.
    pub(crate) fn trunk_of(&self, realm: &RealmName, flow: Flow) -> Option<&TrunkName> {
        let (source, secure) = (flow.remote.ip(), flow.transport.is_secure());
        let written = self.sources.iter().find(|s| s.realm == *realm && s.prefix.contains(source));
        let written = written.map(|source| (source.secure, &source.trunk));
        let learned = || self.learned.get(&source.to_canonical())?.iter().find(|learned| learned.realm == *realm);
        let (needs, trunk) = written.or_else(|| learned().map(|learned| (learned.secure, &learned.trunk)))?;
        (secure || !needs).then_some(trunk)
    }
}

fn advertised(realm: &Realm, local: SocketAddr) -> SocketAddr {
    match (realm.advertised, local) {
        (Some(address), SocketAddr::V4(_)) => SocketAddr::new(IpAddr::V4(address), local.port()),
        _ => local,
    }
}

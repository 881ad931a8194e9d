//! Names of trunks and of called addresses: who waits for which search of RFC 3263, and what trunks' names mean now.
//!
//! The name of a trunk is looked up at the start and whenever its answer ends, so that its addresses are known before the first
//! call: they are asked by OPTIONS, and calls from them are the trunk's.

use std::{net::SocketAddr, time::Instant};

use postern_locate::{Answer, LocateId, Located, Output as Found, Question, Wanted};
use postern_types::{CallSid, Now, RealmName, Transport, TrunkName};

use crate::{Output, Signaling, targets::Target, timers::Timer};

/// A trunk's name is not looked up more often, however short its records last.
const AGAIN_MIN: std::time::Duration = std::time::Duration::from_secs(5);
/// Nor less often: a carrier may move before its time.
const AGAIN_MAX: std::time::Duration = std::time::Duration::from_secs(3600);

/// Who searches.
#[derive(Debug)]
pub(crate) enum Search {
    /// A leg, for the rung in front of its ladder.
    Leg(CallSid),
    /// A trunk, for one of its hosts.
    Trunk(TrunkName, Box<str>),
}

impl Signaling {
    /// Takes what DNS says to a question of [`Output::Ask`].
    pub fn handle_answer(&mut self, now: Now, question: &Question, answer: Answer) {
        self.wall = now.wall;
        self.locator.handle_answer(now.instant, question, answer);
        self.found(now.instant);
        self.run(now);
    }

    /// Looks for a host.
    pub(crate) fn search(
        &mut self,
        now: Instant,
        search: Search,
        realm: &RealmName,
        host: &str,
        port: Option<u16>,
        transport: Option<Transport>,
    ) {
        let has = |ipv6, transport| self.places.endpoint_in(realm, ipv6, transport).is_some();
        let families = (has(false, Transport::Tcp), has(true, Transport::Tcp));
        let mut spoken = vec![Transport::Udp, Transport::Tcp, Transport::Tls];
        spoken.retain(|&transport| has(false, transport) || has(true, transport));
        self.resolve_next += 1;
        let id = LocateId(self.resolve_next);
        self.searches.insert(id, search);
        let host = host.trim_start_matches('[').trim_end_matches(']').into();
        self.locator.locate(now, id, Wanted { host, port, transport, spoken, families });
        self.found(now);
    }

    /// Carries out what the locator says.
    pub(crate) fn found(&mut self, now: Instant) {
        while let Some(found) = self.locator.poll_output() {
            match found {
                Found::Ask(question) => self.outputs.push_back(Output::Ask(question)),
                Found::Located(id, located) => match self.searches.remove(&id) {
                    Some(Search::Leg(sid)) => self.rung_located(now, sid, &located),
                    Some(Search::Trunk(trunk, host)) => {
                        let realm = self.places.config.trunks.get(&trunk).map(|trunk| trunk.realm.clone());
                        let Some(realm) = realm else { continue };
                        let targets = self.reachable(&realm, &located);
                        self.trunk_located(now, &trunk, &host, &targets, located.sure);
                        let again = now + located.lasts.clamp(AGAIN_MIN, AGAIN_MAX);
                        if self.targets.look_again(&trunk, &host, again) {
                            self.timers.set(again, Timer::Name(trunk, host));
                        }
                    }
                    None => {}
                },
            }
        }
    }

    /// What of a search can be reached from a realm.
    pub(crate) fn reachable(&self, realm: &RealmName, located: &Located) -> Vec<Target> {
        let target = |found: &postern_locate::Target| Target {
            transport: found.transport,
            remote: SocketAddr::new(found.address, found.port),
        };
        let is_reachable =
            |target: &Target| self.places.endpoint_in(realm, target.remote.is_ipv6(), target.transport).is_some();
        located.targets.iter().map(target).filter(is_reachable).collect()
    }

    /// A trunk's host has these addresses now. What nobody could tell changes nothing.
    pub(crate) fn trunk_located(
        &mut self,
        now: Instant,
        trunk: &TrunkName,
        host: &str,
        targets: &[Target],
        sure: bool,
    ) {
        if targets.is_empty() && !sure {
            return;
        }
        if self.targets.resolved(trunk, host, targets) {
            self.places.learned = self.targets.sources(&self.places.config);
        }
        self.arm_probe(now, trunk);
        self.register_at_last(now, trunk);
    }

    /// Looks up the names of trunks that are new.
    pub(crate) fn arm_names(&mut self, now: Instant) {
        for (trunk, host) in self.targets.new_names(now, &self.places.config) {
            self.look_up_name(now, trunk, host);
        }
        self.places.learned = self.targets.sources(&self.places.config);
    }

    /// The answer for a trunk's name ends.
    pub(crate) fn name_due(&mut self, now: Instant, trunk: TrunkName, host: Box<str>) {
        if self.targets.is_name_due(now, &trunk, &host) {
            self.look_up_name(now, trunk, host);
        }
    }

    fn look_up_name(&mut self, now: Instant, trunk: TrunkName, host: Box<str>) {
        let Some(settings) = self.places.config.trunks.get(&trunk) else { return };
        let Some(address) = settings.addresses.iter().find(|address| *address.host == *host) else { return };
        let (realm, port, transport) = (settings.realm.clone(), address.port, settings.transport);
        self.search(now, Search::Trunk(trunk, host.clone()), &realm, &host, port, transport);
    }
}

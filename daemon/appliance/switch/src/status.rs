//! How the box is, as far as the rooms know; drivers fill in the rest on the way up.

use postern_config::Realm;
use postern_types::{Now, RealmName, Transport};

use crate::{
    Switch,
    request::{EndpointStatus, RegistrationStatus, RemainingStatus, Status, TargetStatus, TrunkStatus},
};

fn target(health: postern_signaling::TargetHealth) -> TargetStatus {
    let (address, transport) = (health.remote.to_string(), health.transport.to_string());
    TargetStatus { address, transport, state: health.state.into(), why: health.why }
}

fn registration(health: postern_signaling::RegistrationHealth) -> RegistrationStatus {
    let registrar = health.registrar.map(|address| address.to_string()).unwrap_or_default();
    RegistrationStatus { registered: health.registered, registrar, left_s: health.left_s, why: health.why }
}

fn endpoints((name, realm): (&RealmName, &Realm)) -> impl Iterator<Item = EndpointStatus> {
    let udp = realm.signaling.iter().map(|address| (Transport::Udp, *address));
    let streams = realm.listeners.iter().map(|listener| (listener.transport, listener.address));
    udp.chain(streams).map(move |(transport, address)| EndpointStatus {
        realm: name.to_string(),
        transport: transport.to_string(),
        address,
    })
}

impl Switch {
    pub(crate) fn status(&self, now: Now) -> Status {
        let sip = self.signaling.counters();
        let calls = self.router.counters();
        let presence = self.router.presence();
        let (users_available, users_busy) = presence.counts();
        let trunk = |(name, trunk): (&postern_types::TrunkName, &postern_config::Trunk)| {
            let targets = self.signaling.trunk_health(now.instant, name);
            let state = match () {
                () if targets.is_empty() => "unknown",
                () if targets.iter().any(|target| target.state == "up") => "up",
                () => "down",
            };
            let (refused_in, refused_out) = self.router.trunk_refusals(name);
            TrunkStatus {
                refused_in,
                refused_out,
                name: name.to_string(),
                calls: self.router.trunk_legs(name).into(),
                calls_max: trunk.calls_max,
                kbps: self.router.trunk_bandwidth(name),
                kbps_max: trunk.limits.bandwidth_max,
                state: state.into(),
                targets: targets.into_iter().map(target).collect(),
                registration: self.signaling.registration_health(now.instant, name).map(registration),
            }
        };
        let trunks: Vec<TrunkStatus> = self.config.trunks.iter().map(trunk).collect();
        let room = |trunk: &TrunkStatus| {
            let calls = u64::from(trunk.calls_max?).saturating_sub(trunk.calls);
            Some(RemainingStatus { of: format!("calls_max of trunk {}", trunk.name), calls })
        };
        let at_once = postern_router::CALLS_MAX.saturating_sub(calls.calls);
        let mut remaining = vec![RemainingStatus { of: "calls at once".into(), calls: at_once }];
        remaining.extend(trunks.iter().filter_map(room));
        Status {
            remaining,
            name: self.config.appliance.name.clone(),
            version: env!("CARGO_PKG_VERSION").into(),
            uptime_s: now.wall.since(self.started.wall).as_secs(),
            draining: self.router.is_draining(),
            calls: calls.calls,
            legs: calls.legs,
            calls_total: calls.calls_total,
            answered_total: calls.answered_total,
            measured_total: calls.measured_total,
            poor_total: calls.poor_total,
            devices: presence.devices_total(),
            subscriptions: sip.subscriptions,
            users_available,
            users_busy,
            trunks,
            endpoints: self.config.realms.iter().flat_map(endpoints).collect(),
            sip_received: sip.received,
            sip_sent: sip.sent,
            strangers: sip.strangers,
            malformed: sip.malformed,
            throttled: sip.throttled,
            banned: sip.banned,
            denied: sip.denied,
            bans: self.signaling.banned(now),
            shed: sip.shed,
            shedding: sip.shedding.into(),
            connections: sip.connections,
            connections_refused: sip.connections_refused,
            connections_broken: sip.connections_broken,
            connections_expired: sip.connections_expired,
            certificates: self.certificates.status(now),
            events_seq: self.sequencer.last(),
            ..Status::default()
        }
    }
}

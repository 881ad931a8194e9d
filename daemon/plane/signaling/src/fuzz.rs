//! Entry for the fuzzer, run briefly with the ordinary tests too.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use postern_config::{Appliance, Config, Listener, Realm, RealmMedia, SrtpMode, Trunk, User};
use postern_types::{
    Cause, ConnectionId, EndedBy, Now, RealmName, Secret, Transport, TrunkName, UnixMicros, UserName, leg::*, text::*,
    watch::UserState,
};
use rand::{SeedableRng, rngs::StdRng};

use postern_sip::{Message, Method, RequestBuilder, Uri};

use crate::{ConnectionEvent, Output, Signaling, identity, info, mailboxes, passing, refer, replaces};

/// Feeds datagrams, parted by a NUL byte, from a trunk into a plane that has users too, answers what is offered, and lets a minute pass.
///
/// # Panics
/// When a leg is not ended exactly once, or something is left behind: that is the finding.
pub fn signaling(data: &[u8]) {
    let local: SocketAddr = ([192, 0, 2, 1], 5060).into();
    let source: SocketAddr = ([192, 0, 2, 2], 5060).into();
    #[allow(clippy::disallowed_methods, reason = "fuzzing only needs a beginning of time")]
    let now = Now { instant: Instant::now(), wall: UnixMicros(1_700_000_000_000_000) };
    let mut plane = Signaling::new(Arc::new(config(local, source)), StdRng::seed_from_u64(1), now.instant);
    let mut alive = std::collections::BTreeSet::new();
    for datagram in data.split(|&b| b == 0) {
        plane.handle_datagram(now, local, source, datagram);
        drain(&mut plane, now, &mut alive);
    }
    come_to_rest(plane, now, alive);
}

/// What is read of requests besides: who calls, who sent the call on, digits, whom a transfer wants. None of it is more than it may be, and
/// what is said of it to others is a message again.
///
/// # Panics
/// When it is not.
pub fn fields(data: &[u8]) {
    let Ok(Message::Request(request)) = Message::parse(data) else { return };
    let headers = &request.headers;
    replaces::fuzz(headers);
    let _ = (
        refer::wanted(headers),
        passing::told(headers, &request.body),
        info::digit_of(headers, &request.body),
        mailboxes::read(&request.body),
        Signaling::is_scanner(&request),
    );
    for trusted in [false, true] {
        let caller = identity::read(headers, trusted);
        assert!(trusted || caller.identity.diversions.is_empty(), "a stranger's word on who sent the call on");
        let to = Uri::sip(Some("1"), "192.0.2.1", None).expect("it is one");
        let told = RequestBuilder::new(Method::Invite, &to);
        let told = identity::tell(&caller.identity, &to, "192.0.2.9", told).build();
        assert!(Message::parse(&told.wire()).is_ok(), "what is told does not read");
    }
}

/// The same by TCP: bytes of one connection in small pieces; at a NUL byte it dies and the next one begins.
///
/// # Panics
/// As above, and when a connection is remembered that is gone.
pub fn stream(data: &[u8]) {
    let local: SocketAddr = ([192, 0, 2, 1], 5060).into();
    let remote: SocketAddr = ([192, 0, 2, 2], 40_000).into();
    #[allow(clippy::disallowed_methods, reason = "fuzzing only needs a beginning of time")]
    let now = Now { instant: Instant::now(), wall: UnixMicros(1_700_000_000_000_000) };
    let mut plane = Signaling::new(Arc::new(config(local, remote)), StdRng::seed_from_u64(1), now.instant);
    let mut alive = std::collections::BTreeSet::new();
    for (n, bytes) in data.split(|&b| b == 0).enumerate() {
        let id = ConnectionId::accepted(n as u64);
        let accepted = ConnectionEvent::Accepted { transport: Transport::Tcp, local, remote };
        plane.handle_connection(now, id, accepted);
        plane.handle_connection(now, id, ConnectionEvent::Connected);
        for piece in bytes.chunks(61) {
            plane.handle_connection(now, id, ConnectionEvent::Received(piece));
            drain(&mut plane, now, &mut alive);
        }
        plane.handle_connection(now, id, ConnectionEvent::Closed("it died".into()));
        drain(&mut plane, now, &mut alive);
    }
    come_to_rest(plane, now, alive);
}

/// Ends what is alive and lets every timer run out.
fn come_to_rest(mut plane: Signaling, mut now: Now, mut alive: std::collections::BTreeSet<postern_types::CallSid>) {
    for leg in alive.clone() {
        plane.handle_command(now, LegCommand::Hangup { leg, by: EndedBy::Router, cause: Cause::NORMAL });
    }
    drain(&mut plane, now, &mut alive);
    assert!(alive.is_empty(), "a leg was not ended");
    for _ in 0..100 {
        now = now + Duration::from_secs(1);
        plane.handle_timeout(now);
        drain(&mut plane, now, &mut alive);
    }
    assert!(plane.sides.is_empty() && plane.merged.is_empty() && plane.servers.is_empty() && plane.clients.is_empty());
    assert_eq!(plane.texts.len(), 0, "a message was not answered");
    assert_eq!(plane.subscriptions.len(), 0, "nobody answers a NOTIFY here");
    assert_eq!(plane.connections.len(), 0, "a connection that is gone is remembered");
}

fn drain(plane: &mut Signaling, now: Now, alive: &mut std::collections::BTreeSet<postern_types::CallSid>) {
    while let Some(output) = plane.poll_output() {
        match output {
            Output::Leg(LegEvent::Offered(offered)) => {
                assert!(alive.insert(offered.leg));
                let leg = offered.leg;
                if let Some(answer) = offered.offer {
                    plane.handle_command(now, LegCommand::Answer { leg, answer: Box::new(answer) });
                }
            }
            Output::Leg(LegEvent::Ended { leg, .. }) => assert!(alive.remove(&leg)),
            Output::Text(TextEvent::Offered(offered)) => {
                let TextOffered { id, to, from, from_name, identity, max_forwards, .. } = *offered;
                let target = TextTarget::Outside(Target::Trunk { trunk: TrunkName::new("t"), number: to });
                let send = TextSend { id, target, from, from_name, identity, max_forwards };
                plane.handle_text(now, TextCommand::Send(Box::new(send)));
            }
            Output::Text(TextEvent::Within { id, leg, max_forwards, .. }) => {
                let (target, from, from_name) = (TextTarget::Within(leg), "".into(), "".into());
                let send = TextSend { id, target, from, from_name, identity: CallerIdentity::default(), max_forwards };
                plane.handle_text(now, TextCommand::Send(Box::new(send)));
            }
            Output::Watch { user, on: true } => {
                plane.handle_user(now, UserState { user, devices: 1, calls: Vec::new() });
            }
            Output::Text(TextEvent::Ended { id, cause, .. }) => {
                plane.handle_text(now, TextCommand::Answer { id, cause });
            }
            _ => {}
        }
    }
}

fn config(local: SocketAddr, trunk: SocketAddr) -> Config {
    let name = RealmName::new("r");
    let realm = Realm {
        signaling: vec![local],
        listeners: vec![Listener { transport: Transport::Tcp, address: local, tls: None, origins: Arc::default() }],
        media: RealmMedia {
            ipv4: None,
            ipv6: None,
            port_first: 30000,
            port_last: 30010,
            dscp: postern_config::Dscp::EF,
        },
        advertised: None,
        registrations: true,
        lease: Default::default(),
        uri_calls: true,
        session_timer: Default::default(),
        access: Default::default(),
        emergency: Vec::new(),
        numbering: None,
        codecs: vec![],
        codecs_stripped: vec![],
        signaling_dscp: postern_config::Dscp::AF31,
    };
    let trunk = Trunk {
        calls_max: Some(8),
        subscribes: true,
        message_waiting: true,
        ..Trunk::at("r", &trunk.ip().to_string(), trunk.port())
    };
    let user = User {
        password: Secret::new("secret".into()),
        devices_max: 1,
        caller_id: None,
        codecs: vec![],
        codecs_stripped: vec![],
        srtp: SrtpMode::Off,
        dtmf: Default::default(),
        refer: Default::default(),
        transports: vec![],
        attest: None,
        verstat: false,
        watchable: true,
    };
    Config {
        appliance: Appliance {
            name: "fuzz".into(),
            state_folder: PathBuf::new(),
            runtime_folder: PathBuf::new(),
            spool_mb: 1,
            spool_days: 1,
            records_max: 1,
        },
        realms: BTreeMap::from([(name, realm)]),
        trunks: BTreeMap::from([(TrunkName::new("t"), trunk)]),
        users: BTreeMap::from([(UserName::new("alice"), user)]),
        numbers: BTreeMap::new(),
        routes: vec![],
        applications: BTreeMap::new(),
        accounts: BTreeMap::new(),
        ..Config::empty("test")
    }
}

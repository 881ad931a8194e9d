//! Connections: made, accepted, reused, lost, refused; and what goes over them.

use postern_config::Listener;

use super::*;

const LEG: CallSid = CallSid(0xabc);
const TCP: &str = "192.168.1.1:5060";
const WS: &str = "192.168.1.1:8088";

/// The usual world, with TCP and WebSocket for users; the carrier is reached by `transport`.
fn world(transport: Transport) -> World {
    let mut config = config();
    let listener =
        |transport, text: &str| Listener { transport, address: address(text), tls: None, origins: Arc::default() };
    config.realms.get_mut("inner").unwrap().listeners =
        vec![listener(Transport::Tcp, TCP), listener(Transport::Ws, WS)];
    config.realms.get_mut("outer").unwrap().listeners = vec![listener(Transport::Tcp, OUTER)];
    config.trunks.get_mut("carrier").unwrap().transport = Some(transport);
    World::with(config)
}

impl World {
    fn happens(&mut self, id: ConnectionId, event: ConnectionEvent<'_>) {
        self.signaling.handle_connection(self.now, id, event);
        self.drain();
    }

    /// A peer connects; whether it was admitted.
    fn connects(&mut self, n: u64, transport: Transport, local: &str, remote: &str) -> Option<ConnectionId> {
        let id = ConnectionId::accepted(n);
        let (local, remote) = (address(local), address(remote));
        self.happens(id, ConnectionEvent::Accepted { transport, local, remote });
        match self.commands.pop() {
            Some((of, ConnectionCommand::Admit)) if of == id => {
                self.happens(id, ConnectionEvent::Connected);
                Some(id)
            }
            Some((of, ConnectionCommand::Close)) if of == id => None,
            other => panic!("{other:?}"),
        }
    }

    /// A message, in pieces of three bytes where the transport has no frames.
    fn says(&mut self, id: ConnectionId, text: &str) {
        for piece in wire(text).as_bytes().chunks(3) {
            self.happens(id, ConnectionEvent::Received(piece));
        }
    }

    /// What was sent over connections since the last look.
    fn written(&mut self, id: ConnectionId) -> Vec<String> {
        let mut found = Vec::new();
        self.commands.retain(|(of, command)| match command {
            ConnectionCommand::Send(bytes) if *of == id => {
                found.push(String::from_utf8(bytes.clone()).unwrap());
                false
            }
            _ => true,
        });
        found
    }

    fn answered(&mut self, id: ConnectionId) -> String {
        let written = self.written(id);
        assert_eq!(written.len(), 1, "{written:#?}");
        written.into_iter().next().unwrap()
    }

    /// alice registers over a connection.
    fn registers(&mut self, id: ConnectionId, contact: &str) -> String {
        let headers = format!("Contact: <{contact}>");
        self.says(id, &register("alice", "r", 1, &headers));
        let challenge = self.answered(id);
        let proof = authorization(&challenge, "alice", "secret", "REGISTER", "sip:192.168.1.1");
        self.says(id, &register("alice", "r", 2, &format!("{headers}\nAuthorization: {proof}")));
        self.answered(id)
    }

    /// The one connection that is to be made.
    fn wanted(&mut self) -> (ConnectionId, Connect) {
        let at =
            self.commands.iter().position(|(_, c)| matches!(c, ConnectionCommand::Connect(_))).expect("a connection");
        match self.commands.remove(at) {
            (id, ConnectionCommand::Connect(connect)) => (id, *connect),
            _ => unreachable!(),
        }
    }

    fn closed(&mut self) -> Vec<ConnectionId> {
        let closed = self.commands.iter().filter(|(_, c)| *c == ConnectionCommand::Close).map(|(id, _)| *id).collect();
        self.commands.retain(|(_, c)| *c != ConnectionCommand::Close);
        closed
    }
}

#[test]
fn a_call_to_a_tcp_trunk_opens_a_connection_and_the_next_one_uses_it() {
    let mut world = world(Transport::Tcp);
    world.command(to_carrier(LEG));
    let (id, connect) = world.wanted();
    assert_eq!((connect.transport, connect.remote), (Transport::Tcp, address(CARRIER)));
    assert_eq!((connect.from, &*connect.name), (address(OUTER).ip(), "198.51.100.10"));
    assert!(world.written(id).is_empty() && world.sent.is_empty(), "nothing before it stands");

    world.happens(id, ConnectionEvent::Connected);
    let invite = world.answered(id);
    assert!(header(&invite, "Via").starts_with("SIP/2.0/TCP 203.0.113.1:5060;branch="), "{invite}");
    assert_eq!(header(&invite, "Contact"), "<sip:203.0.113.1:5060;transport=tcp>");
    world.pass(Duration::from_secs(5));
    assert!(world.written(id).is_empty(), "nothing is repeated over TCP");

    let answer = format!("Contact: <sip:gw@198.51.100.10:5060;transport=tcp>\n{}", with_sdp(SDP));
    world.says(id, &response(&invite, "200 OK", "t1", &answer));
    assert!(world.answered(id).starts_with("ACK sip:gw@198.51.100.10:5060;transport=tcp"));
    world.command(hangup(LEG));
    let bye = world.answered(id);
    assert!(bye.starts_with("BYE") && header(&bye, "Via").starts_with("SIP/2.0/TCP"), "{bye}");

    world.command(to_carrier(CallSid(0xdef)));
    assert!(world.answered(id).starts_with("INVITE"), "the same connection");
}

#[test]
fn a_connection_that_cannot_be_made_fails_the_leg_at_once() {
    for timeout in [false, true] {
        let mut world = world(Transport::Tcp);
        world.command(to_carrier(LEG));
        let (id, _) = world.wanted();
        match timeout {
            false => world.happens(id, ConnectionEvent::Closed("connection refused".into())),
            true => world.pass(Duration::from_secs(11)),
        }
        let LegEvent::Failed { leg: LEG, by: EndedBy::Postern, cause } = world.event() else { panic!() };
        assert_eq!(cause.status, 503);
        assert!(cause.text.starts_with("cannot be reached by tcp: "), "{}", cause.text);
        world.pass(Duration::from_secs(60));
        assert_eq!(world.signaling.remembered(), 0);
        assert_eq!(world.signaling.counters().connections, 0);
    }
}

#[test]
fn a_trunk_calls_over_its_own_connection_and_is_answered_on_it() {
    let mut world = world(Transport::Tcp);
    let id = world.connects(0, Transport::Tcp, OUTER, "198.51.100.10:41000").expect("a trunk is admitted");
    world.says(id, &invite("c1", 1));
    assert!(world.answered(id).starts_with("SIP/2.0 100"));
    let LegEvent::Offered(offered) = world.event() else { panic!() };
    assert_eq!(offered.source, address("198.51.100.10:41000"));
    world.command(LegCommand::Answer { leg: offered.leg, answer: Box::new(ours(30000)) });
    let tag = tag_of(&world.answered(id), "To");
    world.says(id, &in_dialog("ACK", "c1", 1, &tag, ""));
    world.event();

    // The connection is lost: a BYE goes by a new one, to where the dialog's target is.
    world.happens(id, ConnectionEvent::Closed("reset".into()));
    assert!(world.is_quiet(), "a call outlives its connection");
    world.command(hangup(offered.leg));
    let (again, connect) = world.wanted();
    assert_eq!(connect.remote.ip(), address(CARRIER).ip());
    world.happens(again, ConnectionEvent::Connected);
    assert!(world.answered(again).starts_with("BYE"));
}

#[test]
fn a_response_goes_by_a_new_connection_when_the_trunks_is_gone() {
    let mut world = world(Transport::Tcp);
    let id = world.connects(0, Transport::Tcp, OUTER, "198.51.100.10:41000").unwrap();
    world.says(id, &invite("c1", 1));
    let LegEvent::Offered(offered) = world.event() else { panic!() };
    world.happens(id, ConnectionEvent::Closed("reset".into()));
    world.commands.clear();
    world.command(LegCommand::Answer { leg: offered.leg, answer: Box::new(ours(30000)) });
    let (again, connect) = world.wanted();
    assert_eq!(connect.remote, address("198.51.100.10:5060"), "RFC 3261 18.2.2: the source's host, sent-by's port");
    world.happens(again, ConnectionEvent::Connected);
    assert!(world.answered(again).starts_with("SIP/2.0 200"));
}

#[test]
fn a_browser_registers_is_called_over_its_socket_and_is_gone_with_it() {
    let mut world = world(Transport::Udp);
    let id = world.connects(0, Transport::Ws, WS, "192.168.1.77:50000").unwrap();
    let say = |world: &mut World, text: &str| world.happens(id, ConnectionEvent::Received(wire(text).as_bytes()));
    let contact = "Contact: <sip:x1y2@df7jal23ls0d.invalid;transport=ws>";
    say(&mut world, &register("alice", "r", 1, contact));
    let proof = authorization(&world.answered(id), "alice", "secret", "REGISTER", "sip:192.168.1.1");
    say(&mut world, &register("alice", "r", 2, &format!("{contact}\nAuthorization: {proof}")));
    assert!(world.answered(id).starts_with("SIP/2.0 200"));
    assert_eq!(world.devices, [1]);

    world.pass(Duration::from_secs(1000));
    assert!(world.closed().is_empty(), "a socket with a device stays, however silent");
    world.command(dial(LEG, Target::user(UserName::new("alice"))));
    let invite = world.answered(id);
    assert!(invite.starts_with("INVITE sip:x1y2@df7jal23ls0d.invalid;transport=ws SIP/2.0"), "{invite}");
    assert!(header(&invite, "Via").starts_with("SIP/2.0/WS 192.168.1.1:8088;"), "{invite}");
    assert_eq!(header(&invite, "Contact"), "<sip:192.168.1.1:8088;transport=ws>");
    let answer = format!("Contact: <sip:x1y2@df7jal23ls0d.invalid;transport=ws>\n{}", with_sdp(SDP));
    say(&mut world, &response(&invite, "200 OK", "t1", &answer));
    assert!(world.answered(id).starts_with("ACK sip:x1y2@df7jal23ls0d.invalid;transport=ws"));
    world.event();

    world.happens(id, ConnectionEvent::Closed("the page was left".into()));
    assert_eq!(world.devices, [1, 0], "RFC 5626: nobody else can be reached by this flow");
    assert!(
        matches!(world.facts.last(), Some(Fact::RegistrationRemoved(gone)) if gone.why == "its connection is gone")
    );
    world.command(hangup(LEG));
    assert!(world.commands.is_empty(), "nobody connects to a browser");
    world.pass(Duration::from_secs(60));
    assert_eq!(world.signaling.remembered(), 0);
}

#[test]
fn a_call_goes_on_when_its_browser_is_back_by_another_socket() {
    for registers in [true, false] {
        let mut world = world(Transport::Udp);
        let old = world.connects(0, Transport::Tcp, TCP, "192.168.1.77:50000").unwrap();
        let contact = "sip:x1y2@df7jal23ls0d.invalid;transport=tcp";
        world.registers(old, contact);
        world.command(dial(LEG, Target::user(UserName::new("alice"))));
        let invite = world.answered(old);
        let answer = format!("Contact: <{contact}>\n{}", with_sdp(SDP));
        world.says(old, &response(&invite, "200 OK", "t1", &answer));
        world.happens(old, ConnectionEvent::Closed("the network changed".into()));
        world.commands.clear();
        world.pass(Duration::from_secs(1));

        let new = world.connects(1, Transport::Tcp, TCP, "192.168.1.78:50000").unwrap();
        if registers {
            world.registers(new, contact);
        } else {
            let options = format!(
                "OPTIONS sip:192.168.1.1 SIP/2.0\nVia: SIP/2.0/TCP x.invalid;branch=z9hG4bKo1\nMax-Forwards: 70\n\
                 From: <sip:alice@192.168.1.1>;tag=t1\nTo: {}\nCall-ID: {}\nCSeq: 1 OPTIONS\n",
                header(&invite, "From"),
                header(&invite, "Call-ID")
            );
            world.says(new, &options);
            assert!(world.answered(new).starts_with("SIP/2.0 200"));
        }
        world.command(hangup(LEG));
        assert!(world.answered(new).starts_with("BYE sip:x1y2@df7jal23ls0d.invalid"), "registers: {registers}");
    }
}

#[test]
fn a_tcp_phone_without_nat_is_called_back_by_a_new_connection() {
    let mut world = world(Transport::Udp);
    let id = world.connects(0, Transport::Tcp, TCP, "192.168.1.50:40000").unwrap();
    world.registers(id, "sip:alice@192.168.1.50:5062;transport=tcp");
    world.happens(id, ConnectionEvent::Closed("idle".into()));
    assert_eq!(world.devices, [1], "it can still be reached");
    world.command(dial(LEG, Target::user(UserName::new("alice"))));
    let (_, connect) = world.wanted();
    assert_eq!(connect.remote, address("192.168.1.50:5062"));

    // Another host in its Contact is NAT: nobody can connect through that.
    world.pass(Duration::from_secs(1));
    let id = world.connects(1, Transport::Tcp, TCP, "192.168.1.51:40000").unwrap();
    world.registers(id, "sip:alice@10.0.0.7:5060;transport=tcp");
    world.happens(id, ConnectionEvent::Closed("idle".into()));
    assert!(matches!(world.facts.last(), Some(Fact::RegistrationRemoved(_))));
}

#[test]
fn pings_are_answered_and_what_is_no_sip_closes_the_connection() {
    let mut world = world(Transport::Udp);
    let id = world.connects(0, Transport::Tcp, TCP, "192.168.1.50:40000").unwrap();
    world.happens(id, ConnectionEvent::Received(b"\r\n\r"));
    assert!(world.written(id).is_empty());
    world.happens(id, ConnectionEvent::Received(b"\n"));
    assert_eq!(world.answered(id), "\r\n", "RFC 5626 3.5.1");
    world.happens(id, ConnectionEvent::Received(b"GET / HTTP/1.1\r\n\r\n"));
    assert_eq!(world.closed(), [id]);
    assert_eq!(world.signaling.counters().connections_broken, 1);
    assert!(matches!(world.facts.last(), Some(Fact::ConnectionsRefused(f)) if f.why == "not SIP"));
    world.happens(id, ConnectionEvent::Received(b"OPTIONS"));
    assert!(world.commands.is_empty(), "and nothing is heard of it any more");
}

#[test]
fn strangers_have_few_connections_and_little_time() {
    let mut world = world(Transport::Udp);
    let mut admitted = Vec::new();
    for n in 0..1000 {
        admitted.extend(world.connects(n, Transport::Tcp, TCP, &format!("192.168.1.66:{}", 10_000 + n)));
    }
    assert_eq!(admitted.len(), 128, "of one source");
    assert!(world.connects(2000, Transport::Tcp, TCP, "192.168.1.67:9").is_some(), "another is not harmed");
    assert!(world.connects(2001, Transport::Tcp, OUTER, CARRIER).is_some(), "nor is a trunk");
    assert_eq!(world.signaling.counters().connections_refused, 872);
    // One of them sends a byte now and then, one asks for a challenge and leaves it at that.
    for second in 0..33 {
        world.happens(admitted[0], ConnectionEvent::Received(b"R"));
        if second % 8 == 0 {
            world.says(admitted[1], &register("alice", "r", second + 1, "Contact: <sip:a@b>"));
        }
        world.pass(Duration::from_secs(1));
    }
    let closed = world.closed();
    assert!(admitted.iter().all(|id| closed.contains(id)) && closed.len() == 129, "{}", closed.len());
    assert_eq!(world.signaling.counters().connections, 1, "the trunk's stays");
    assert!(world.connects(3000, Transport::Tcp, TCP, "192.168.1.66:9").is_some(), "and there is room again");
}

#[test]
fn who_only_holds_connections_keeps_nobody_out_and_trunks_have_room_of_their_own() {
    let mut world = world(Transport::Udp);
    let mut next = 0;
    let mut arrive = |world: &mut World, local, source: &str| {
        next += 1;
        world.connects(next, Transport::Tcp, local, source)
    };
    // Slow strangers of forty sources.
    let mut slow = Vec::new();
    for n in 0..4096 {
        if n % 900 == 899 {
            world.pass(Duration::from_secs(1));
        }
        slow.push(arrive(&mut world, TCP, &format!("10.9.{}.1:{}", n / 128, 10_000 + n)).unwrap());
    }
    let phone = arrive(&mut world, TCP, "192.168.1.50:7").expect("the oldest had its time");
    assert_eq!(world.closed(), [slow[0]]);
    world.says(phone, &register("alice", "r", 1, "Contact: <sip:a@b>"));
    assert!(world.answered(phone).starts_with("SIP/2.0 401"));
    world.happens(slow[2], ConnectionEvent::Closed("it went by itself".into()));
    assert!(arrive(&mut world, TCP, "192.168.1.51:7").is_some() && world.closed().is_empty(), "its place is free");
    assert!(arrive(&mut world, TCP, "192.168.1.52:7").is_some());
    assert_eq!(world.closed(), [slow[1]]);
    assert!(arrive(&mut world, TCP, "192.168.1.53:7").is_some());
    assert_eq!(world.closed(), [slow[3]], "the oldest of those that are here");
    assert!(arrive(&mut world, OUTER, CARRIER).is_some() && world.closed().is_empty(), "a trunk is no stranger");
}

#[test]
fn half_a_message_has_its_time_and_an_idle_connection_its_end() {
    let mut world = world(Transport::Udp);
    let half = world.connects(0, Transport::Tcp, OUTER, CARRIER).unwrap();
    let idle = world.connects(1, Transport::Tcp, OUTER, "198.51.100.20:7").unwrap();
    world.happens(half, ConnectionEvent::Received(b"INVITE sip:x@y SIP/2.0\r\nVia: "));
    world.pass(Duration::from_secs(40));
    assert_eq!(world.closed(), [half]);
    world.pass(Duration::from_secs(1000));
    assert_eq!(world.closed(), [idle]);
    assert_eq!(world.signaling.counters().connections, 0);
}

#[test]
fn row_51_a_large_invite_goes_by_tcp_and_by_udp_when_nobody_listens_there() {
    let mut large = config();
    large.trunks.get_mut("carrier").unwrap().large_over_tcp = true;
    let command = |size: usize| {
        let LegCommand::Dial(mut dial) = to_carrier(LEG) else { panic!() };
        dial.headers.push(("X-Big".into(), "x".repeat(size).into()));
        LegCommand::Dial(dial)
    };
    let mut world = World::with(large);
    world.command(command(10));
    assert!(world.one().starts_with("INVITE") && world.commands.is_empty(), "a small one stays");
    world.command(hangup(LEG));

    let mut world = World::with(world.signaling.places.config.as_ref().clone());
    world.command(command(1000));
    assert!(world.sent.is_empty());
    let (id, connect) = world.wanted();
    assert_eq!(connect.transport, Transport::Tcp);
    world.happens(id, ConnectionEvent::Closed("refused".into()));
    let invite = world.one();
    assert!(header(&invite, "Via").starts_with("SIP/2.0/UDP"), "RFC 3261 18.1.1: then UDP after all: {invite}");
    world.recv(CARRIER, &response(&invite, "486 Busy Here", "t", ""));
    assert!(matches!(world.event(), LegEvent::Failed { leg: LEG, .. }));
}

#[test]
fn a_trunk_with_tls_is_known_by_tls_only() {
    let mut world = world(Transport::Tls);
    world.recv(CARRIER, &invite("c1", 1));
    assert!(world.is_quiet(), "an address alone can be forged");
    let id = world.connects(0, Transport::Tcp, OUTER, "198.51.100.10:41000").unwrap();
    world.says(id, &invite("c2", 1));
    assert!(world.events.is_empty());
    world.command(to_carrier(LEG));
    let (id, connect) = world.wanted();
    assert_eq!((connect.transport, connect.trunk), (Transport::Tls, Some(TrunkName::new("carrier"))));
    world.happens(id, ConnectionEvent::Connected);
    assert!(header(&world.answered(id), "Via").starts_with("SIP/2.0/TLS"));
}

#[test]
fn a_user_comes_by_its_transports_only() {
    let mut config = world(Transport::Udp).signaling.places.config.as_ref().clone();
    config.users.get_mut("alice").unwrap().transports = vec![Transport::Wss];
    let mut world = World::with(config);
    let id = world.connects(0, Transport::Tcp, TCP, "192.168.1.50:40000").unwrap();
    assert!(world.registers(id, "sip:alice@192.168.1.50").starts_with("SIP/2.0 403"));
    assert!(matches!(world.facts.last(), Some(Fact::AuthenticationFailed(f)) if f.why.contains("came by tcp")));
    assert!(world.register("bob", PHONE, "").starts_with("SIP/2.0 200"));
}

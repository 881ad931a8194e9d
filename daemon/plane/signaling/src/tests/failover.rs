//! Rows 4 to 6 of what an SBC is held to: a call goes on to the next address when the first says nothing of the callee, and never else.

use super::*;

const LEG: CallSid = CallSid(0xf0);
const FIRST: &str = CARRIER;
const SECOND: &str = "198.51.100.11:5060";
const THIRD: &str = "198.51.100.12:5060";

/// The carrier with three addresses.
pub(super) fn world() -> World {
    let mut config = config();
    let carrier = config.trunks.get_mut("carrier").unwrap();
    for host in ["198.51.100.11", "198.51.100.12"] {
        carrier.addresses.push(Address { host: host.into(), port: Some(5060) });
    }
    World::with(config)
}

/// Where the last INVITE went, and itself.
fn invited(world: &mut World) -> (SocketAddr, String) {
    let at = world.sent.iter().rposition(|(_, text)| text.starts_with("INVITE ")).expect("an INVITE");
    let found = world.sent[at].clone();
    world.sent.clear();
    found
}

fn moves(world: &mut World) -> Vec<(String, String, u16)> {
    let moved = world.events.iter().filter_map(|event| match event {
        LegEvent::Moved { from, to, cause, .. } => Some((from.to_string(), to.to_string(), cause.status)),
        _ => None,
    });
    moved.collect()
}

#[test]
fn row_6_fail_over_on_503_and_never_on_what_the_callee_meant() {
    for (status, moves_on) in [
        ("503 Service Unavailable", true),
        ("500 Server Internal Error", true),
        ("504 Server Time-out", true),
        ("408 Request Timeout", true),
        ("404 Not Found", false),
        ("480 Temporarily Unavailable", false),
        ("486 Busy Here", false),
        ("488 Not Acceptable Here", false),
        ("600 Busy Everywhere", false),
        ("603 Decline", false),
    ] {
        let mut world = world();
        world.command(to_carrier(LEG));
        let (to, invite) = invited(&mut world);
        assert_eq!(to, address(FIRST));
        world.recv(FIRST, &response(&invite, status, "t1", ""));
        let failed = world.events.iter().any(|event| matches!(event, LegEvent::Failed { .. }));
        assert_eq!(failed, !moves_on, "{status}");
        if moves_on {
            let (to, again) = invited(&mut world);
            assert_eq!(to, address(SECOND), "{status}");
            assert!(again.starts_with("INVITE sip:+15550142@198.51.100.11 "), "{again}");
            assert_ne!(header(&again, "Call-ID"), header(&invite, "Call-ID"), "another call there");
            assert_eq!(moves(&mut world)[0].0, FIRST);
        }
    }
}

#[test]
fn a_status_of_the_configuration_moves_on_too() {
    let mut config = config();
    let carrier = config.trunks.get_mut("carrier").unwrap();
    carrier.addresses.push(Address { host: "198.51.100.11".into(), port: Some(5060) });
    carrier.failover.statuses = vec![404];
    let mut world = World::with(config);
    world.command(to_carrier(LEG));
    let (_, invite) = invited(&mut world);
    world.recv(FIRST, &response(&invite, "404 Not Found", "t1", ""));
    let (to, invite) = invited(&mut world);
    assert_eq!(to, address(SECOND));
    world.events.clear();
    world.recv(SECOND, &response(&invite, "503 Service Unavailable", "t1", ""));
    let LegEvent::Failed { cause, .. } = world.event() else { panic!() };
    assert_eq!(cause.status, 404, "of two failures the one that tells more");
}

#[test]
fn silence_moves_on_in_seconds_and_the_silent_address_rests() {
    let mut world = world();
    world.command(to_carrier(LEG));
    let (_, first) = invited(&mut world);
    world.pass(Duration::from_millis(4100));
    let (to, second) = invited(&mut world);
    assert_eq!(to, address(SECOND));
    assert!(world.facts.iter().any(|f| matches!(f, Fact::TrunkTargetRests(f) if f.address == FIRST && f.for_s == 30)));
    world.recv(SECOND, &response(&second, "200 OK", "t1", &format!("Contact: <sip:b@{SECOND}>\n{}", with_sdp(SDP))));
    assert!(world.events.iter().any(|event| matches!(event, LegEvent::Answered { leg: LEG, .. })));
    world.sent.clear();

    // The first wakes up and answers what was given up: it is acknowledged and ended.
    world.recv(FIRST, &response(&first, "200 OK", "t9", &format!("Contact: <sip:a@{FIRST}>\n{}", with_sdp(SDP))));
    let lines = world.lines();
    assert!(lines.iter().any(|l| l.starts_with("ACK sip:a@")) && lines.iter().any(|l| l.starts_with("BYE sip:a@")));

    // The next call does not wait for it, and after its rest it is first again.
    world.command(to_carrier(CallSid(2)));
    assert_eq!(invited(&mut world).0, address(SECOND));
    world.pass(Duration::from_secs(40));
    world.command(to_carrier(CallSid(3)));
    assert_eq!(invited(&mut world).0, address(FIRST));
}

#[test]
fn retry_after_is_honoured_and_a_503_without_it_is_forgotten() {
    let mut world = world();
    world.command(to_carrier(LEG));
    let (_, invite) = invited(&mut world);
    world.recv(FIRST, &response(&invite, "503 Service Unavailable", "t1", "Retry-After: 120 (repairs);duration=9\n"));
    let (to, invite) = invited(&mut world);
    assert_eq!(to, address(SECOND));
    world.recv(SECOND, &response(&invite, "503 Service Unavailable", "t1", ""));
    assert_eq!(invited(&mut world).0, address(THIRD));
    world.command(to_carrier(CallSid(2)));
    assert_eq!(invited(&mut world).0, address(SECOND), "RFC 3261 21.5.4: as if it had been a 500");
    world.pass(Duration::from_secs(121));
    world.command(to_carrier(CallSid(3)));
    assert_eq!(invited(&mut world).0, address(FIRST));
}

#[test]
fn no_call_fails_while_one_target_lives_not_even_one_that_is_believed_dead() {
    let mut world = world();
    // All three rest, and the router hears of it.
    for (n, source) in [FIRST, SECOND, THIRD].into_iter().enumerate() {
        world.command(to_carrier(CallSid(10 + n as u128)));
        let (to, invite) = invited(&mut world);
        assert_eq!(to, address(source));
        world.recv(source, &response(&invite, "503 Service Unavailable", "t1", "Retry-After: 60\n"));
        world.command(hangup(CallSid(10 + n as u128)));
        world.sent.clear();
    }
    let down = (TrunkName::new("carrier"), false);
    assert_eq!(world.trunks, std::slice::from_ref(&down));
    assert!(world.facts.iter().any(|fact| matches!(fact, Fact::TrunkDown(f) if f.targets == 3)));
    world.events.clear();

    world.command(to_carrier(LEG));
    let (to, invite) = invited(&mut world);
    assert_eq!(to, address(FIRST), "it is tried all the same");
    world.recv(FIRST, &response(&invite, "180 Ringing", "t1", ""));
    assert!(matches!(world.event(), LegEvent::Progress { .. }));
    assert_eq!(world.trunks.last(), Some(&(TrunkName::new("carrier"), true)), "and found to live");
    assert!(world.facts.iter().any(|fact| matches!(fact, Fact::TrunkUp(f) if f.address == FIRST)));
}

#[test]
fn a_lone_address_has_all_the_time_unless_the_router_has_another_trunk() {
    for spare in [false, true] {
        let mut world = World::new();
        let LegCommand::Dial(mut dial) = to_carrier(LEG) else { panic!() };
        dial.spare = spare;
        world.command(LegCommand::Dial(dial));
        world.pass(Duration::from_secs(5));
        assert_eq!(world.events.len(), usize::from(spare));
        if spare {
            assert!(matches!(world.event(), LegEvent::Failed { cause: Cause { status: 408, .. }, .. }));
        }
    }
}

#[test]
fn every_address_has_its_turn_within_the_time_of_the_call() {
    let mut world = world();
    let LegCommand::Dial(mut dial) = to_carrier(LEG) else { panic!() };
    dial.timeout = Duration::from_secs(3);
    world.command(LegCommand::Dial(dial));
    world.pass(Duration::from_millis(2900));
    let reached: std::collections::BTreeSet<_> = world.sent.iter().map(|(to, _)| *to).collect();
    assert_eq!(reached.len(), 3, "{reached:?}");
}

#[test]
fn a_name_that_nobody_knows_and_one_with_several_addresses() {
    let mut config = config();
    let named = config.trunks.get_mut("named").unwrap();
    named.addresses.insert(0, Address { host: "gone.carrier.example".into(), port: Some(5060) });
    let mut world = World::with(config);
    world.command(dial(LEG, Target::Trunk { trunk: TrunkName::new("named"), number: "+1".into() }));
    let asked = |world: &mut World, host: &str| {
        let at = world.asked.iter().position(|(_, name)| name == host).expect("it was asked");
        world.asked.remove(at).0
    };
    let gone = asked(&mut world, "gone.carrier.example");
    world.resolved(gone, &[]);
    // A DNS failure moves on.
    let named = asked(&mut world, "sip.carrier.example");
    world.resolved(named, &["198.51.100.70", "2001:db8::7", "198.51.100.71"]);
    let (to, invite) = invited(&mut world);
    assert_eq!(to, address("198.51.100.70:5060"));
    assert!(invite.starts_with("INVITE sip:+1@sip.carrier.example "), "{invite}");
    world.recv("198.51.100.70:5060", &response(&invite, "503 Service Unavailable", "t1", ""));
    assert_eq!(invited(&mut world).0, address("198.51.100.71:5060"), "the realm has no IPv6");
    let told: Vec<_> = moves(&mut world).into_iter().map(|(from, to, _)| (from, to)).collect();
    assert_eq!(told, [("198.51.100.70:5060".into(), "198.51.100.71:5060".into())]);
}

#[test]
fn a_hangup_while_the_ladder_is_climbed_ends_it() {
    let mut world = world();
    world.command(to_carrier(LEG));
    let (_, invite) = invited(&mut world);
    world.command(hangup(LEG));
    world.recv(FIRST, &response(&invite, "503 Service Unavailable", "t1", ""));
    world.pass(Duration::from_secs(60));
    assert!(!world.sent.iter().any(|(_, text)| text.starts_with("INVITE ")));
    assert!(world.signaling.sides.is_empty() && world.signaling.remembered() == 0);
}

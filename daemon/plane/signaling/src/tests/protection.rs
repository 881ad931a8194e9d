//! Access lists, rates and bans: what a source may do, and whom a ban never touches.

use super::*;

const STRANGER: &str = "203.0.113.66:5060";

fn with(change: impl FnOnce(&mut Config)) -> World {
    let mut config = config();
    change(&mut config);
    World::with(config)
}

fn prefix(address: &str, length: u8) -> Prefix {
    Prefix::around(address.parse().unwrap(), length)
}

/// What sipvicious calls itself.
fn scan(call: &str) -> String {
    let text = invite(call, 1).replace("INVITE", "OPTIONS").replace("CarrierSwitch/9", "friendly-scanner");
    text.split("Content-Type").next().unwrap().to_owned()
}

/// A wrong password each, over the challenge before it.
fn guess(world: &mut World, source: &str, times: usize) {
    for n in 0..times {
        world.register_with_call("alice", "wrong", source, &format!("g{n}"));
        world.sent.clear();
    }
}

impl World {
    fn register_with_call(&mut self, user: &str, password: &str, source: &str, call: &str) {
        let contact = format!("Contact: <sip:{user}@{source}>");
        self.recv_at(INNER, source, &register(user, call, 1, &contact));
        let Some((_, challenge)) = self.sent.pop() else { return };
        let answer = authorization(&challenge, user, password, "REGISTER", "sip:192.168.1.1");
        self.recv_at(INNER, source, &register(user, call, 2, &format!("{contact}\nAuthorization: {answer}")));
    }

    fn banned(&self) -> Vec<(String, bool)> {
        let bans = self.signaling.bans(self.now);
        bans.iter().map(|ban| (ban.source.address.to_string(), ban.is_slowed)).collect()
    }
}

#[test]
fn an_access_list_drops_what_comes_from_others_and_lets_trunks_in() {
    let mut world = with(|config| {
        let access = Access { allow: vec![prefix("192.168.0.0", 16)], deny: vec![prefix("192.168.9.0", 24)] };
        config.realms.get_mut("inner").unwrap().access = access;
        let access = Access { allow: vec![], deny: vec![prefix("198.51.100.0", 24)] };
        config.realms.get_mut("outer").unwrap().access = access;
    });
    for denied in [STRANGER, "192.168.9.1:5060"] {
        world.recv_at(INNER, denied, &register("alice", "r", 1, "Contact: <sip:a@1.1.1.1>"));
        assert!(world.is_quiet(), "{denied}");
    }
    assert_eq!(world.signaling.counters().denied, 2);
    assert!(world.register("alice", PHONE, "").starts_with("SIP/2.0 200"));
    world.offered(&invite("c1", 1));
}

#[test]
fn a_source_over_its_rate_is_dropped_and_told_once_a_minute_while_others_go_on() {
    let mut world = with(|config| (config.protection.rate, config.protection.burst) = (10, 20));
    for n in 0..100 {
        world.recv_at(INNER, STRANGER, &register("alice", &format!("r{n}"), 1, "Contact: <sip:a@1.1.1.1>"));
    }
    assert_eq!((world.lines().len(), world.signaling.counters().throttled), (20, 80));
    let told = |fact: &&Fact| matches!(fact, Fact::SourcesThrottled(_));
    assert_eq!(world.facts.iter().filter(told).count(), 1);
    assert!(world.register("alice", PHONE, "").starts_with("SIP/2.0 200"));
    for n in 0..100 {
        world.recv(CARRIER, &in_dialog("BYE", &format!("x{n}"), 1, "0123456789abcdef", ""));
    }
    assert_eq!(world.lines().len(), 100, "a trunk has no rate");
}

#[test]
fn a_scanner_and_a_guesser_are_banned_and_told() {
    let mut world = World::new();
    world.recv_at(OUTER, STRANGER, &scan("s1"));
    guess(&mut world, "203.0.113.67:5060", 11);
    assert_eq!(world.banned(), [("203.0.113.66".into(), false), ("203.0.113.67".into(), false)]);
    let told = world.facts.iter().filter_map(|fact| match fact {
        Fact::SourceBanned(fact) => Some((fact.source.as_str(), fact.why.as_str(), fact.for_s, fact.slowed)),
        _ => None,
    });
    let want = [
        ("203.0.113.66", "names itself as a program for scanning", 600, false),
        ("203.0.113.67", "wrong passwords", 600, false),
    ];
    assert_eq!(told.collect::<Vec<_>>(), want);
    // In every realm, and whatever it sends.
    world.recv_at(INNER, STRANGER, &register("alice", "r", 1, "Contact: <sip:a@1.1.1.1>"));
    assert!(world.is_quiet());
    assert!(world.signaling.counters().banned > 0);
    world.pass(Duration::from_secs(600));
    world.recv_at(INNER, STRANGER, &register("alice", "r", 1, "Contact: <sip:a@1.1.1.1>"));
    assert!(world.one().starts_with("SIP/2.0 401"), "it ends by itself");
}

#[test]
fn guessing_names_is_punished_as_guessing_passwords() {
    let mut world = World::new();
    for n in 0..11 {
        world.register_with_call(&format!("user{n}"), "x", STRANGER, &format!("u{n}"));
    }
    assert_eq!(world.banned().len(), 1);
}

#[test]
fn garbage_bans_a_stranger_and_never_a_trunk() {
    let mut world = World::new();
    for source in [STRANGER, CARRIER] {
        for _ in 0..100 {
            world.recv_at(OUTER, source, "garbage without end");
        }
    }
    assert_eq!(world.banned(), [("203.0.113.66".into(), false)]);
    world.offered(&invite("c1", 1));
}

#[test]
fn a_trunks_address_is_only_slowed_where_it_is_a_stranger() {
    let mut world = World::new();
    guess(&mut world, CARRIER, 12);
    assert_eq!(world.banned(), [("198.51.100.10".into(), true)]);
    world.offered(&invite("c1", 1));
    world.recv_at(INNER, CARRIER, &register("alice", "r", 1, "Contact: <sip:a@1.1.1.1>"));
    assert!(world.one().starts_with("SIP/2.0 401"), "a few messages a second are heard");
}

#[test]
fn a_source_with_a_device_is_slowed_and_its_device_goes_on() {
    let mut world = World::new();
    assert!(world.register("alice", PHONE, "").starts_with("SIP/2.0 200"));
    guess(&mut world, "192.168.1.50:6666", 50);
    assert_eq!(world.banned(), [("192.168.1.50".into(), true)]);
    let options = invite("o1", 1).replace("INVITE", "OPTIONS");
    let options = options.split("Content-Type").next().unwrap();
    for n in 0..100 {
        world.recv(PHONE, &options.replace("z9hG4bK-o1-1", &format!("z9hG4bK-o{n}")));
    }
    assert_eq!(world.lines().len(), 100, "the device itself");
    world.pass(Duration::from_secs(4));
    assert!(world.register("bob", "192.168.1.50:7777", "").starts_with("SIP/2.0 200"), "and a new one, in its turn");
}

#[test]
fn a_ban_cuts_no_call() {
    let mut world = World::new();
    let uri = "sip:x@203.0.113.66".into();
    world.command(dial(CallSid(9), Target::Uri { uri, realm: RealmName::new("inner"), credentials: None }));
    let request = world.sent.iter().find(|(to, _)| *to == address(STRANGER)).map(|(_, text)| text.clone());
    let Some(request) = request else { panic!("{:#?}", world.sent) };
    let sdp = with_sdp(SDP);
    let ok = response(&request, "200 OK", "st", &format!("Contact: <sip:x@203.0.113.66>\n{sdp}"));
    let local = INNER;
    world.recv_at(local, STRANGER, &ok);
    world.recv_at(local, STRANGER, &scan("s1"));
    assert_eq!(world.banned().len(), 1);
    world.sent.clear();
    let tag = tag_of(&request, "From");
    let bye = format!(
        "BYE sip:192.168.1.1:5060 SIP/2.0
        Via: SIP/2.0/UDP 203.0.113.66:5060;branch=z9hG4bK-bye;rport
        Max-Forwards: 70
        From: {};tag=st
        To: {}
        Call-ID: {}
        CSeq: 7 BYE",
        header(&request, "To"),
        header(&request, "From"),
        header(&request, "Call-ID"),
    );
    assert!(bye.contains(&tag));
    world.recv_at(local, STRANGER, &bye);
    assert!(world.last().starts_with("SIP/2.0 200"));
}

/// An INVITE to this number of the inner realm, from this host.
fn calling(number: &str, call: &str, host: &str) -> String {
    let text = invite(call, 1).replacen("sip:+15550100@203.0.113.1", &format!("sip:{number}@192.168.1.1"), 1);
    text.replace("198.51.100.10", host)
}

#[test]
fn row_14_a_rate_that_is_spent_holds_no_emergency_call() {
    let mut world = with(|config| {
        (config.protection.rate, config.protection.burst) = (1, 20);
        config.realms.get_mut("inner").unwrap().emergency = vec!["112".into()];
    });
    assert!(world.register("alice", PHONE, "").starts_with("SIP/2.0 200"));
    for n in 0..100 {
        world.recv(PHONE, &register("alice", &format!("flood-{n}"), 1, ""));
    }
    world.sent.clear();
    // Of what comes beyond its rate five a second are looked at.
    for (number, call, is_heard) in [("4711", "c1", false), ("112", "c2", true), ("4712", "c3", false)] {
        world.pass(Duration::from_millis(210));
        world.sent.clear();
        world.recv(PHONE, &calling(number, call, "192.168.1.50"));
        let answers = std::mem::take(&mut world.sent);
        assert_eq!(answers.iter().any(|(_, text)| text.starts_with("SIP/2.0 40")), is_heard, "{number}: {answers:?}");
    }
}

#[test]
fn a_ban_holds_no_emergency_call_which_has_to_prove_who_it_is_as_ever() {
    let mut world = with(|config| {
        config.realms.get_mut("inner").unwrap().emergency = vec!["112".into()];
    });
    world.recv_at(INNER, STRANGER, &scan("s1"));
    assert_eq!(world.banned().len(), 1);
    world.recv_at(INNER, STRANGER, &calling("4711", "c1", "203.0.113.66"));
    assert!(world.is_quiet(), "it is banned");
    world.recv_at(INNER, STRANGER, &calling("112", "c2", "203.0.113.66"));
    let answers = std::mem::take(&mut world.sent);
    assert!(answers.iter().any(|(_, text)| text.starts_with("SIP/2.0 40")), "asked who it is: {answers:?}");
}

#[test]
fn bans_outlive_a_reload_and_are_lifted_by_hand() {
    let mut world = World::new();
    world.recv_at(OUTER, STRANGER, &scan("s1"));
    let mut other = config();
    other.protection.rate = 77;
    world.signaling.reconfigure(world.now.instant, Arc::new(other));
    assert_eq!(world.banned().len(), 1);
    let source = address(STRANGER).ip();
    assert!(world.signaling.lift_ban(world.now, source));
    assert!(!world.signaling.lift_ban(world.now, source) && world.banned().is_empty());
}

#[test]
fn a_connection_of_a_banned_source_is_refused_and_the_open_ones_are_closed() {
    let mut config = config();
    let listener =
        Listener { transport: Transport::Tcp, address: address(INNER), tls: None, origins: Default::default() };
    config.realms.get_mut("inner").unwrap().listeners.push(listener);
    let mut world = World::with(config);
    let accept = |world: &mut World, n| {
        let (local, remote) = (address(INNER), address(STRANGER));
        let event = ConnectionEvent::Accepted { transport: Transport::Tcp, local, remote };
        world.signaling.handle_connection(world.now, ConnectionId::accepted(n), event);
        world.drain();
        std::mem::take(&mut world.commands)
    };
    assert_eq!(accept(&mut world, 1), [(ConnectionId::accepted(1), ConnectionCommand::Admit)]);
    world.recv_at(OUTER, STRANGER, &scan("s1"));
    assert_eq!(std::mem::take(&mut world.commands), [(ConnectionId::accepted(1), ConnectionCommand::Close)]);
    assert_eq!(accept(&mut world, 2), [(ConnectionId::accepted(2), ConnectionCommand::Close)]);
}

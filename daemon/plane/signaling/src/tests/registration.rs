//! Row 7 of what an SBC is held to: outbound REGISTER with retry, back-off and 423, in virtual time.

use rand::RngExt;

use super::*;

const SPARE: &str = "198.51.100.11:5060";
const SPAN: fn(u64) -> Duration = Duration::from_secs;
const DAY: u64 = 86_400;

fn settings() -> Register {
    Register {
        user: "customer-17".into(),
        domain: "carrier.example".into(),
        contact: "pbx".into(),
        expires: SPAN(3600),
    }
}

fn with(change: impl FnOnce(&mut Trunk)) -> Config {
    let mut config = config();
    // Whose name nobody looks up here.
    config.trunks.remove(&TrunkName::new("named"));
    let carrier = config.trunks.get_mut("carrier").unwrap();
    carrier.register = Some(settings());
    change(carrier);
    config
}

fn carrier() -> TrunkName {
    TrunkName::new("carrier")
}

/// A registrar of its own: it computes digests with another implementation, and does what a day wants of it.
struct Registrar {
    nonce: u64,
    /// The nonce that it takes; another is stale.
    good: u64,
    /// Says `stale=true` of an old nonce; some do not.
    honest: bool,
    proxy: bool,
    min_expires: u32,
    grants_max: u32,
    /// Status and further headers, in place of all that.
    says: Option<(&'static str, &'static str)>,
    silent: bool,
    extra: &'static str,
    /// Until when we are registered.
    bound: Option<Instant>,
    asked: u64,
    challenged: u64,
}

impl Registrar {
    fn new() -> Self {
        Self {
            nonce: 1,
            good: 1,
            honest: true,
            proxy: false,
            min_expires: 60,
            grants_max: 7200,
            says: None,
            silent: false,
            extra: "",
            bound: None,
            asked: 0,
            challenged: 0,
        }
    }

    /// Forgets what it knew.
    fn restart(&mut self) {
        (self.bound, self.good) = (None, 0);
    }

    fn answer(&mut self, now: Instant, request: &str) -> Option<String> {
        self.asked += 1;
        if self.silent {
            return None;
        }
        if let Some((status, rest)) = self.says {
            return Some(response(request, status, "r", rest));
        }
        let challenge = |stale: bool, nonce: u64, proxy: bool| {
            let (status, name, realm) = if proxy {
                ("407 Proxy Authentication Required", "Proxy-Authenticate", "edge")
            } else {
                ("401 Unauthorized", "WWW-Authenticate", "carrier")
            };
            let stale = if stale { ", stale=true" } else { "" };
            // Of the two an old device knows the first, and we take the stronger; MD5 alone is asked when the day is odd.
            let md5 =
                format!("{name}: Digest realm=\"{realm}\", nonce=\"n{nonce}\", algorithm=MD5, qop=\"auth\"{stale}\n");
            response(request, status, "r", &md5)
        };
        if self.proxy && !request.contains("Proxy-Authorization: ") {
            self.challenged += 1;
            return Some(challenge(false, self.nonce, true));
        }
        if self.proxy {
            assert_proof(request, "Proxy-Authorization", "edge", None);
        }
        let proven = request.lines().any(|line| line.starts_with("Authorization: "));
        if !proven || self.good != self.nonce {
            self.challenged += 1;
            let stale = proven && self.honest;
            self.nonce += 1;
            self.good = self.nonce;
            return Some(challenge(stale, self.nonce, false));
        }
        assert_proof(request, "Authorization", "carrier", Some(self.nonce));
        // A nonce is good for one request.
        self.nonce += 1;
        let wanted: u32 = header(request, "Expires").parse().unwrap();
        if wanted == 0 {
            self.bound = None;
            return Some(response(request, "200 OK", "r", ""));
        }
        if wanted < self.min_expires {
            let least = format!("Min-Expires: {}\n", self.min_expires);
            return Some(response(request, "423 Interval Too Brief", "r", &least));
        }
        let granted = wanted.min(self.grants_max);
        self.bound = Some(now + SPAN(granted.into()));
        let contact = header(request, "Contact").trim_matches(['<', '>']).to_owned();
        let contacts =
            format!("Contact: <sip:other@192.0.2.9>;expires=7, <{contact}>;expires={granted}\n{}", self.extra);
        Some(response(request, "200 OK", "r", &contacts))
    }
}

fn assert_proof(request: &str, name: &str, realm: &str, nonce: Option<u64>) {
    let line = header(request, name);
    let param = |name: &str| {
        let rest = &line[line.find(&format!("{name}=")).unwrap() + name.len() + 1..];
        rest.trim_start_matches('"').split(['"', ',']).next().unwrap().to_owned()
    };
    if let Some(nonce) = nonce {
        assert_eq!(param("nonce"), format!("n{nonce}"));
    }
    let (nonce, cnonce) = (param("nonce"), param(" cnonce"));
    let digest = rsip::services::DigestGenerator {
        username: "acct",
        password: "pw",
        realm,
        nonce: &nonce,
        algorithm: rsip::headers::auth::Algorithm::Md5,
        qop: Some(&rsip::headers::auth::AuthQop::Auth { cnonce, nc: 1 }),
        uri: &rsip::Uri::try_from("sip:carrier.example").unwrap(),
        method: &"REGISTER".parse().unwrap(),
    }
    .compute();
    assert_eq!(param("response"), digest);
}

/// The first REGISTER, within half a second.
fn asked(world: &mut World) -> String {
    let due = world.signaling.next_deadline().unwrap();
    world.pass(due.saturating_duration_since(world.now.instant));
    world.one()
}

/// Lets time pass with a registrar behind the carrier's address; REGISTERs to another address are left unanswered.
fn pass(world: &mut World, registrar: &mut Registrar, span: Duration) {
    let end = world.now + span;
    loop {
        while !world.sent.is_empty() {
            let (to, text) = world.sent.remove(0);
            assert!(text.starts_with("REGISTER sip:carrier.example SIP/2.0\r\n"), "{text}");
            if to == address(CARRIER)
                && let Some(answer) = registrar.answer(world.now.instant, &text)
            {
                world.recv(CARRIER, &answer);
            }
        }
        match world.signaling.next_deadline().filter(|at| *at <= end.instant) {
            Some(at) => world.pass(at.saturating_duration_since(world.now.instant)),
            None => break,
        }
    }
    world.pass(end.instant.saturating_duration_since(world.now.instant));
}

fn health(world: &World) -> RegistrationHealth {
    world.signaling.registration_health(world.now.instant, &carrier()).unwrap()
}

fn told(world: &mut World) -> Vec<String> {
    let facts = world.facts.drain(..).filter_map(|fact| match fact {
        Fact::TrunkRegistered(f) => Some(format!("registered with {} for {}", f.registrar, f.expires_s)),
        Fact::TrunkRegistrationFailed(f) => Some(f.cause.to_string()),
        _ => None,
    });
    facts.collect()
}

#[test]
fn row_7_what_is_asked_for_and_how_challenges_are_answered() {
    let mut world = World::with(with(|_| ()));
    let first = asked(&mut world);
    assert_eq!(header(&first, "To"), "<sip:customer-17@carrier.example>");
    assert!(header(&first, "From").starts_with("<sip:customer-17@carrier.example>;tag="));
    assert_eq!(header(&first, "Contact"), "<sip:pbx@203.0.113.1:5060>");
    assert_eq!((header(&first, "Expires"), header(&first, "Supported")), ("3600", "path"));
    assert_eq!(header(&first, "CSeq"), "1 REGISTER");
    let wants = "WWW-Authenticate: Digest realm=\"a\", nonce=\"x\", algorithm=MD5, qop=\"auth\"\n\
                 WWW-Authenticate: Digest realm=\"a\", nonce=\"x\", algorithm=SHA-256, qop=\"auth\"\n\
                 WWW-Authenticate: Digest realm=\"b\", nonce=\"y\"\n";
    world.recv(CARRIER, &response(&first, "401 Unauthorized", "r", wants));
    let second = world.one();
    let answers: Vec<_> = second.lines().filter(|line| line.starts_with("Authorization: ")).collect();
    assert_eq!(answers.len(), 2, "one for each realm, the stronger of the first: {second}");
    assert!(answers[0].contains("algorithm=SHA-256") && answers[1].contains("realm=\"b\""), "{second}");
    assert_eq!(header(&second, "CSeq"), "2 REGISTER");
    assert_eq!(header(&second, "Call-ID"), header(&first, "Call-ID"));
    world.recv(CARRIER, &response(&second, "200 OK", "r", "Expires: 600\n"));
    assert_eq!(told(&mut world), ["registered with 198.51.100.10:5060 for 600"]);
    assert!(health(&world).registered && health(&world).left_s == 600, "{:?}", health(&world));
}

#[test]
fn a_proxy_and_the_registrar_behind_it_ask_one_after_the_other() {
    let (mut world, mut registrar) = (World::with(with(|_| ())), Registrar::new());
    registrar.proxy = true;
    pass(&mut world, &mut registrar, SPAN(5));
    assert_eq!(told(&mut world), ["registered with 198.51.100.10:5060 for 3600"]);
    assert_eq!((registrar.asked, registrar.challenged), (3, 2));
}

#[test]
fn a_stale_nonce_is_answered_with_the_new_one_and_a_wrong_password_is_told_once() {
    let (mut world, mut registrar) = (World::with(with(|_| ())), Registrar::new());
    let first = asked(&mut world);
    world.recv(CARRIER, &registrar.answer(world.now.instant, &first).unwrap());
    let second = world.one();
    registrar.good = 0;
    world.recv(CARRIER, &registrar.answer(world.now.instant, &second).unwrap());
    let third = world.one();
    world.recv(CARRIER, &registrar.answer(world.now.instant, &third).unwrap());
    assert_eq!(told(&mut world), ["registered with 198.51.100.10:5060 for 3600"]);

    let (mut world, mut registrar) = (World::with(with(|_| ())), Registrar::new());
    registrar.says = Some(("401 Unauthorized", "WWW-Authenticate: Digest realm=\"carrier\", nonce=\"n\"\n"));
    pass(&mut world, &mut registrar, SPAN(DAY));
    assert_eq!(told(&mut world), ["401 Unauthorized: our username and password were refused"]);
    // Two requests every 225 s on average, and the first ones sooner.
    assert!(registrar.asked < 2 * DAY / 150 + 40, "{}", registrar.asked);
    // The password is mended: no back-off is waited for.
    registrar.says = None;
    world.signaling.reconfigure(world.now.instant, Arc::new(with(|_| ())));
    world.drain();
    pass(&mut world, &mut registrar, SPAN(1));
    assert_eq!(told(&mut world), ["registered with 198.51.100.10:5060 for 3600"]);
}

#[test]
fn row_7_a_demand_for_longer_is_met_once() {
    let (mut world, mut registrar) = (World::with(with(|_| ())), Registrar::new());
    (registrar.min_expires, registrar.grants_max) = (5000, 9000);
    pass(&mut world, &mut registrar, SPAN(5));
    assert_eq!(told(&mut world), ["registered with 198.51.100.10:5060 for 5000"]);
    pass(&mut world, &mut registrar, SPAN(30 * DAY));
    assert_eq!(told(&mut world), [""; 0]);

    for nonsense in ["", "Min-Expires: 10\n", "Min-Expires: 4294967295\n", "Min-Expires: soon\n"] {
        let (mut world, mut registrar) = (World::with(with(|_| ())), Registrar::new());
        registrar.says = Some(("423 Interval Too Brief", nonsense));
        pass(&mut world, &mut registrar, SPAN(600));
        assert_eq!(told(&mut world), ["423 Interval Too Brief"], "{nonsense}");
        assert!(registrar.asked < 14, "{}", registrar.asked);
    }
}

#[test]
fn a_silent_registrar_is_left_for_the_next_address_and_a_pause_is_kept() {
    let mut world = World::with(with(|trunk| {
        trunk.addresses.push(Address { host: "198.51.100.11".into(), port: Some(5060) });
    }));
    world.pass(SPAN(1));
    world.sent.clear();
    world.pass(SPAN(9));
    let (to, request) = world.sent.pop().unwrap();
    assert_eq!(to, address(SPARE), "the first said nothing for 8 s");
    world.recv(SPARE, &response(&request, "200 OK", "r", "Expires: 600\n"));
    assert_eq!(health(&world).registrar, Some(address(SPARE)));

    let (mut world, mut registrar) = (World::with(with(|_| ())), Registrar::new());
    registrar.says = Some(("503 Service Unavailable", "Retry-After: 900 (maintenance)\n"));
    pass(&mut world, &mut registrar, SPAN(895));
    assert_eq!((registrar.asked, told(&mut world)), (1, vec!["503 Service Unavailable".to_owned()]));
    registrar.says = None;
    pass(&mut world, &mut registrar, SPAN(10));
    assert_eq!(told(&mut world), ["registered with 198.51.100.10:5060 for 3600"]);
}

#[test]
fn addresses_that_never_rest_are_not_asked_in_turn_without_end() {
    let mut world = World::with(with(|trunk| {
        trunk.failover.rest = Duration::ZERO;
        trunk.addresses.push(Address { host: "198.51.100.11".into(), port: Some(5060) });
    }));
    let mut asked = 0;
    for _ in 0..600 {
        world.pass(SPAN(1));
        while !world.sent.is_empty() {
            let (to, request) = world.sent.remove(0);
            asked += 1;
            world.recv(&to.to_string(), &response(&request, "500 Server Internal Error", "r", ""));
        }
    }
    assert!(asked < 30, "{asked}");
}

#[test]
fn years_of_restarts_refusals_and_silence_and_never_stuck() {
    for seed in 0..6 {
        let mut rng = StdRng::seed_from_u64(seed);
        let (mut world, mut registrar) = (World::with(with(|_| ())), Registrar::new());
        registrar.honest = seed % 2 == 0;
        registrar.grants_max = [300, 3600, 86_400][seed as usize % 3];
        for _ in 0..24 {
            // A bad while, up to a few hours.
            match rng.random::<u32>() % 6 {
                0 => registrar.silent = true,
                1 => registrar.says = Some(("503 Service Unavailable", "Retry-After: 120\n")),
                2 => registrar.says = Some(("403 Forbidden", "")),
                3 => registrar.min_expires = 4000,
                4 => registrar.restart(),
                _ => registrar.good = 0,
            }
            let bad = u64::from(rng.random::<u32>()) % 10_000;
            let before = registrar.asked;
            pass(&mut world, &mut registrar, SPAN(bad));
            // At most one round of retransmissions in each back-off.
            assert!(registrar.asked - before < 60 + bad / 10, "seed {seed}: {} in {bad} s", registrar.asked - before);
            registrar.silent = false;
            (registrar.says, registrar.min_expires) = (None, 60);
            // A good one: whoever lives is found within the longest back-off, refreshes come in time from then on.
            let refreshed = u64::from(registrar.grants_max) * 8 / 10 + 10;
            pass(&mut world, &mut registrar, SPAN(refreshed.max(320)));
            for _ in 0..6 {
                let bound = registrar.bound.is_some_and(|until| until > world.now.instant);
                assert!(bound && health(&world).registered, "seed {seed}: {:?}", health(&world));
                pass(&mut world, &mut registrar, SPAN(rng.random::<u64>() % 4000));
            }
            world.facts.clear();
        }
        assert!(world.signaling.timers.len() < 20, "timers do not pile up");
    }
}

#[test]
fn a_registration_is_taken_back_at_the_end_and_when_it_is_not_wanted_any_more() {
    let (mut world, mut registrar) = (World::with(with(|_| ())), Registrar::new());
    pass(&mut world, &mut registrar, SPAN(5));
    assert!(registrar.bound.is_some());
    world.signaling.leave(world.now);
    world.drain();
    assert!(world.signaling.is_leaving());
    let request = world.sent[0].1.clone();
    assert_eq!((header(&request, "Expires"), header(&request, "Contact")), ("0", "<sip:pbx@203.0.113.1:5060>"));
    pass(&mut world, &mut registrar, SPAN(1));
    assert!(!world.signaling.is_leaving() && registrar.bound.is_none());
    pass(&mut world, &mut registrar, SPAN(DAY));
    assert_eq!(world.signaling.remembered(), 0);

    let (mut world, mut registrar) = (World::with(with(|_| ())), Registrar::new());
    pass(&mut world, &mut registrar, SPAN(5));
    world.signaling.reconfigure(world.now.instant, Arc::new(with(|trunk| trunk.calls_max = Some(9))));
    world.drain();
    assert!(world.sent.is_empty(), "it is the same registration");
    world.signaling.reconfigure(world.now.instant, Arc::new(with(|trunk| trunk.register = None)));
    world.drain();
    pass(&mut world, &mut registrar, SPAN(5));
    assert!(registrar.bound.is_none());
    assert_eq!(world.signaling.registration_health(world.now.instant, &carrier()), None);

    // A registrar that is gone: the end does not wait for it for ever.
    let (mut world, mut registrar) = (World::with(with(|_| ())), Registrar::new());
    pass(&mut world, &mut registrar, SPAN(5));
    registrar.silent = true;
    world.signaling.leave(world.now);
    world.drain();
    pass(&mut world, &mut registrar, SPAN(60));
    assert!(!world.signaling.is_leaving());
}

#[test]
fn calls_go_by_the_service_route_and_from_an_address_of_the_domain() {
    let (mut world, mut registrar) = (World::with(with(|_| ())), Registrar::new());
    registrar.extra = "Service-Route: <sip:p1.carrier.example;lr>, <sip:p2.carrier.example;lr>\n";
    pass(&mut world, &mut registrar, SPAN(5));
    world.command(to_carrier(CallSid(1)));
    let invite = world.last();
    let routes: Vec<_> = invite.lines().filter_map(|line| line.strip_prefix("Route: ")).collect();
    assert_eq!(routes, ["<sip:p1.carrier.example;lr>", "<sip:p2.carrier.example;lr>"]);
    assert!(header(&invite, "From").starts_with("\"Ann\" <sip:+15550111@carrier.example>;tag="), "{invite}");
    assert!(!invite.contains("203.0.113.1>"), "{invite}");
}

#[test]
fn a_call_to_our_contact_is_for_the_dialed_number_and_of_the_trunk_that_has_this_contact() {
    let mut config = with(|_| ());
    // A second account with the same carrier.
    let mut second = config.trunks[&carrier()].clone();
    second.register = Some(Register { user: "customer-18".into(), contact: "second".into(), ..settings() });
    config.trunks.insert(TrunkName::new("carrier-2"), second);
    let mut world = World::with(config);
    for (n, (contact, trunk, to)) in [
        ("pbx", "carrier", "+15550100"),
        ("second", "carrier-2", "+15550100"),
        // Some carriers put the number in place of the contact; the first trunk is it then.
        ("+15550107", "carrier", "+15550107"),
    ]
    .into_iter()
    .enumerate()
    {
        let text = invite(&format!("c{n}"), 1).replace("INVITE sip:+15550100@", &format!("INVITE sip:{contact}@"));
        world.recv(CARRIER, &text);
        let LegEvent::Offered(offered) = world.event() else { panic!() };
        assert_eq!((&*offered.to, offered.party), (to, Party::Trunk { trunk: TrunkName::new(trunk) }));
    }
}

#[test]
fn a_name_that_is_not_looked_up_yet_is_no_failure_and_is_not_waited_for_longer_than_it_takes() {
    let mut config = config();
    config.trunks.get_mut("named").unwrap().register = Some(settings());
    let mut world = World::with(config);
    world.pass(SPAN(1));
    assert!(world.sent.is_empty());
    let (question, _) = world.asked.pop().unwrap();
    world.resolved(question, &["198.51.100.70"]);
    let request = world.one();
    assert!(request.starts_with("REGISTER "));
    assert_eq!(told(&mut world), [""; 0]);
}

#[test]
fn a_lost_connection_is_a_lost_registration() {
    let mut config = with(|trunk| trunk.transport = Some(Transport::Tcp));
    config.realms.get_mut("outer").unwrap().listeners =
        vec![Listener { transport: Transport::Tcp, address: address(OUTER), tls: None, origins: Arc::default() }];
    let mut world = World::with(config);
    let opened = |world: &mut World| {
        let found = world.commands.iter().find_map(|(id, command)| match command {
            ConnectionCommand::Connect(_) => Some(*id),
            _ => None,
        });
        world.commands.clear();
        found
    };
    let register = |world: &mut World, id: ConnectionId| {
        world.signaling.handle_connection(world.now, id, ConnectionEvent::Connected);
        world.drain();
        let (_, ConnectionCommand::Send(bytes)) = world.commands.pop().unwrap() else { panic!() };
        let request = String::from_utf8(bytes).unwrap();
        assert_eq!(header(&request, "Contact"), "<sip:pbx@203.0.113.1:5060;transport=tcp>");
        let answer = wire(&response(&request, "200 OK", "r", "Expires: 86400\n"));
        world.signaling.handle_connection(world.now, id, ConnectionEvent::Received(answer.as_bytes()));
        world.drain();
    };
    world.pass(SPAN(1));
    let first = opened(&mut world).unwrap();
    register(&mut world, first);
    assert!(health(&world).registered);
    // An idle connection is kept for the calls that come over it.
    world.pass(SPAN(DAY / 2));
    assert!(!world.commands.iter().any(|(_, command)| *command == ConnectionCommand::Close), "{:?}", world.commands);
    world.signaling.handle_connection(world.now, first, ConnectionEvent::Closed("reset".into()));
    world.drain();
    assert!(!health(&world).registered);
    world.pass(SPAN(1));
    let second = opened(&mut world).expect("registered again at once");
    register(&mut world, second);
    assert!(health(&world).registered);
}

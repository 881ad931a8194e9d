//! Row 1 and who calls: what is believed of a trunk, what the next one is told, and that hosts stay here.

use super::*;

const LEG: CallSid = CallSid(0xabc);

fn untrusting() -> Config {
    let mut config = config();
    config.trunks.values_mut().for_each(|trunk| trunk.trusted = false);
    config
}

fn dialed(config: Config, from: &str, identity: CallerIdentity) -> String {
    let mut world = World::with(config);
    let LegCommand::Dial(dial) = to_carrier(LEG) else { panic!() };
    world.command(LegCommand::Dial(Box::new(Dial { from: from.into(), identity, ..*dial })));
    world.one()
}

fn all<'a>(text: &'a str, name: &str) -> Vec<&'a str> {
    let start = format!("{name}: ");
    text.lines().filter_map(|line| line.strip_prefix(start.as_str())).collect()
}

fn station(user: &str, reason: &'static str) -> Diversion {
    Diversion { user: user.into(), reason }
}

#[test]
fn row_1_a_trusted_trunk_is_believed_and_another_is_not() {
    // What it says; who may be shown, who is asserted, who is withheld, from where it was sent on; who may be shown when it is not trusted.
    let table = [
        ("P-Asserted-Identity: \"C\" <sip:+15557777@10.9.9.9>", "+15557777", "+15557777", false, vec![], "+15550199"),
        (
            "P-Asserted-Identity: <tel:+15557777>, <sip:x@y.example>\nPrivacy: id",
            "+15550199",
            "+15557777",
            true,
            vec![],
            "+15550199",
        ),
        ("P-Asserted-Identity: <sip:+15550199@a>\nPrivacy: id", "anonymous", "+15550199", true, vec![], "+15550199"),
        (
            "P-Asserted-Identity: <tel:+15557777>\nPrivacy: user;critical",
            "anonymous",
            "+15557777",
            true,
            vec![],
            "anonymous",
        ),
        ("P-Preferred-Identity: <sip:+15557777@10.9.9.9>", "+15550199", "", false, vec![], "+15550199"),
        (
            "Remote-Party-ID: <sip:+15556666@10.9.9.9>;party=calling;privacy=full",
            "+15550199",
            "+15556666",
            true,
            vec![],
            "+15550199",
        ),
        ("Remote-Party-ID: <sip:+15556666@10.9.9.9>;privacy=off", "+15556666", "+15556666", false, vec![], "+15550199"),
        (
            "Diversion: <sip:+1001@10.2.2.2>;reason=\"no-answer\";counter=1, <tel:+1000>;reason=made-up",
            "+15550199",
            "",
            false,
            vec![("+1001", "no-answer"), ("+1000", "unknown")],
            "+15550199",
        ),
        (
            "History-Info: <sip:+1000@10.3.3.3>;index=1, <sip:+1001@10.3.3.3;cause=486>;index=1.1;mp=1, \
             <sip:+1001@10.4.4.4>;index=1.1.1, <sip:+15550100@10.3.3.3;cause=302>;index=1.2",
            "+15550199",
            "",
            false,
            vec![("+1001", "unconditional"), ("+1000", "user-busy")],
            "+15550199",
        ),
        (
            "History-Info: <sip:+1000@10.3.3.3?Privacy=history>;index=1, <sip:+15550100@b;cause=302>;index=1.1",
            "+15550199",
            "",
            false,
            vec![],
            "+15550199",
        ),
        ("Diversion: <sip:+1001@a>;reason=away\nPrivacy: history", "+15550199", "", false, vec![], "+15550199"),
        (
            "P-Asserted-Identity: nonsense\nDiversion: <<>\nHistory-Info: ,,;\nPrivacy: ;;",
            "+15550199",
            "",
            false,
            vec![],
            "+15550199",
        ),
    ];
    for (said, from, asserted, withheld, stations, untrusted_from) in table {
        let text = invite("c1", 1).replace("X-Trace: abc", said);
        let offered = World::new().offered(&text);
        let identity = &offered.identity;
        assert_eq!((&*offered.from, &*identity.asserted, identity.withheld), (from, asserted, withheld), "{said}");
        let found: Vec<_> = identity.diversions.iter().map(|d| (&*d.user, d.reason)).collect();
        assert_eq!(found, stations, "{said}");
        let other = World::with(untrusting()).offered(&text);
        let nothing = CallerIdentity { withheld: other.identity.withheld, ..CallerIdentity::default() };
        assert_eq!((&*other.from, &other.identity), (untrusted_from, &nothing), "{said}");
    }
    let many = "Diversion: <sip:+1555@10.1.1.1>\n".repeat(40);
    let offered = World::new().offered(&invite("c1", 1).replace("X-Trace: abc", many.trim()));
    assert_eq!(offered.identity.diversions.len(), DIVERSIONS_MAX, "bounded");
    let many: String = (0..60).map(|n| format!("History-Info: <sip:+1{n}@10.1.1.1>\n")).collect();
    let offered = World::new().offered(&invite("c1", 1).replace("X-Trace: abc", many.trim()));
    assert_eq!(offered.identity.diversions.len(), DIVERSIONS_MAX, "bounded");
}

#[test]
fn row_1_a_trusted_trunk_is_told_under_our_address_and_another_nothing() {
    let identity = CallerIdentity {
        asserted: "+15557777".into(),
        withheld: true,
        diversions: vec![station("+1001", "no-answer"), station("a>b\r\nEvil: 1", "unknown")],
        by_history: false,
        ..CallerIdentity::default()
    };
    let told = dialed(config(), "anonymous", identity.clone());
    assert_eq!(all(&told, "P-Asserted-Identity"), ["<sip:+15557777@203.0.113.1>"]);
    assert_eq!(all(&told, "Privacy"), ["id"]);
    assert!(header(&told, "From").starts_with("\"Ann\" <sip:anonymous@anonymous.invalid>;tag="), "{told}");
    assert_eq!(all(&told, "Diversion")[0], "<sip:+1001@203.0.113.1>;reason=no-answer");
    assert!(all(&told, "Evil").is_empty() && all(&told, "History-Info").is_empty());

    let history = CallerIdentity { by_history: true, ..identity.clone() };
    let told = dialed(config(), "anonymous", history);
    assert!(all(&told, "Diversion").is_empty() && all(&told, "Evil").is_empty());
    let entries = all(&told, "History-Info");
    assert_eq!(entries[0].split_once('@').unwrap().1, "203.0.113.1>;index=1");
    assert_eq!(
        entries[1..],
        [
            "<sip:+1001@203.0.113.1;cause=404>;index=1.1;mp=1",
            "<sip:+15550142@203.0.113.1;cause=408>;index=1.1.1;mp=1.1",
        ]
    );

    let untold = dialed(untrusting(), "anonymous", identity);
    for name in ["P-Asserted-Identity", "Privacy", "Diversion", "History-Info", "P-Early-Media"] {
        assert!(all(&untold, name).is_empty(), "{name}");
    }
    assert!(!untold.contains("+15557777") && !untold.contains("+1001"), "withheld means withheld");
    // Nobody asserts a caller that nobody vouches for.
    let unknown = dialed(config(), "+15550111", CallerIdentity::default());
    assert!(all(&unknown, "P-Asserted-Identity").is_empty() && all(&unknown, "Privacy").is_empty());
    let known = dialed(config(), "x", CallerIdentity { asserted: "+15550111".into(), ..CallerIdentity::default() });
    assert_eq!(all(&known, "P-Asserted-Identity"), ["<sip:+15550111@203.0.113.1>"]);
}

#[test]
fn row_23_a_trusted_caller_that_knows_it_is_told_which_way_early_media_flows() {
    for (config, asks, told) in [(config(), true, true), (config(), false, false), (untrusting(), true, false)] {
        let mut world = World::with(config);
        let asked = if asks { "P-Early-Media: supported" } else { "X-Trace: abc" };
        let leg = world.offered(&invite("c1", 1).replace("X-Trace: abc", asked)).leg;
        world.command(LegCommand::Ring { leg, status: 183, early: Some(Box::new(ours(30000))) });
        let early = world.one();
        assert_eq!(all(&early, "P-Early-Media"), if told { vec!["sendrecv"] } else { vec![] });
    }
    // What somebody says whom we do not trust stops nothing.
    let mut world = World::with(untrusting());
    world.command(to_carrier(LEG));
    let invite = world.one();
    let rest = format!("P-Early-Media: inactive\nContact: <sip:gw@198.51.100.10>\n{}", with_sdp(SDP));
    world.recv(CARRIER, &response(&invite, "183 Session Progress", "a", &rest));
    assert!(matches!(world.event(), LegEvent::Progress { early: Some(_), .. }));
}

#[test]
fn a_user_may_withhold_itself_and_vouches_for_nothing() {
    let mut world = World::new();
    world.register("alice", PHONE, "");
    let text = invite("c9", 1).replace("198.51.100.10", "192.168.1.50").replace(
        "X-Trace: abc",
        "Privacy: id\nP-Asserted-Identity: <sip:boss@a>\nP-Preferred-Identity: <sip:boss@a>\nDiversion: <sip:boss@a>",
    );
    world.recv(PHONE, &text);
    let proof = authorization(&world.one(), "alice", "secret", "INVITE", "sip:192.168.1.1");
    let text = text.replace("-c9-1", "-c9-2").replace("CSeq: 1", "CSeq: 2");
    world.recv(PHONE, &text.replace("Privacy: id", &format!("Privacy: id\nAuthorization: {proof}")));
    let LegEvent::Offered(offered) = world.event() else { panic!() };
    assert_eq!(
        (&*offered.from, offered.identity),
        ("alice", CallerIdentity { withheld: true, ..CallerIdentity::default() })
    );
}

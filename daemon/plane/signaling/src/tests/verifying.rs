//! Row 12: calls whose signature is checked: what is found out, how long that may take, and that it holds nobody for longer.

use postern_stir::{Kind, Passport, Signer};
use postern_types::trust::{Attestation, Outcome, Trust, Verdict};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};

use super::*;

const X5U: &str = "https://certificates.example/signer.pem";
/// January 2027, when the certificates of the tests are valid.
const NOW_S: u64 = 1_800_000_000;
const AUTHORITY: &[u8] = include_bytes!("../../../../protocol/stir/tests/certificates/authority.pem");
const CERTIFICATE: &[u8] = include_bytes!("../../../../protocol/stir/tests/certificates/signer.pem");
const STRANGER: &[u8] = include_bytes!("../../../../protocol/stir/tests/certificates/stranger.pem");
const KEY: &[u8] = include_bytes!("../../../../protocol/stir/tests/certificates/signer.key");

pub(super) fn checking() -> Config {
    let mut config = config();
    let der = CertificateDer::from_pem_slice(AUTHORITY).unwrap().to_vec();
    config.stir.verify = Some(StirVerify {
        authorities: Authorities { file: "authorities.pem".into(), certificates: vec![der] },
        freshness: Duration::from_secs(60),
        patience: Duration::from_secs(2),
        unreachable: Unreachable::Pass,
        repository_ca: None,
        private_repositories: false,
    });
    config.trunks.get_mut("carrier").unwrap().stir.verify = Verify::Tag;
    config
}

fn world(config: Config) -> World {
    let mut world = World::with(config);
    world.now.wall = UnixMicros(NOW_S * 1_000_000);
    world
}

fn signed_at(x5u: &str, orig: &str, dest: &str, iat: u64) -> String {
    let kind = Kind::Shaken { attest: Attestation::A, origid: "123e4567-e89b-12d3-a456-426655440000".into() };
    made(kind, x5u, orig, dest, iat)
}

fn diverted(from: &str, to: &str, orig: &str, iat: u64) -> String {
    made(Kind::Div { from: from.into() }, X5U, orig, to, iat)
}

fn made(kind: Kind, x5u: &str, orig: &str, dest: &str, iat: u64) -> String {
    let key = PrivateKeyDer::from_pem_slice(KEY).unwrap();
    let passport = Passport { orig: orig.into(), dest: vec![dest.into()], iat, kind };
    Signer::new(key.secret_der(), x5u).unwrap().identity(&passport).unwrap()
}

fn signed() -> String {
    signed_at(X5U, "15550199", "15550100", NOW_S)
}

fn with_identity(call: &str, identity: &str) -> String {
    invite(call, 1).replace("X-Trace: abc", &format!("Identity: {identity}"))
}

impl World {
    fn certificate(&mut self, fetched: Result<&[u8], &str>) {
        let fetched = fetched.map(<[u8]>::to_vec).map_err(str::to_owned);
        self.signaling.handle_certificate(self.now, X5U, fetched);
        self.drain();
    }

    /// A call that need not wait.
    fn verdict(&mut self, text: &str) -> Verdict {
        *self.offered(text).identity.trust.verdict.expect("it was checked")
    }

    /// What a call says that waited.
    fn late(&mut self) -> Verdict {
        let LegEvent::Offered(offered) = self.event() else { panic!() };
        *offered.identity.trust.verdict.expect("it was checked")
    }
}

fn failed(verdict: &Verdict) -> (u16, &str) {
    verdict.refusal().expect("it failed")
}

#[test]
fn row_12_a_call_waits_for_its_certificate_and_the_next_does_not() {
    let mut world = world(checking());
    world.recv(CARRIER, &with_identity("c1", &signed()));
    assert_eq!(
        (world.lines(), world.events.len(), &*world.fetched),
        (vec!["SIP/2.0 100 Trying".to_owned()], 0, &[X5U.to_owned()][..])
    );
    // A second one asks nobody again.
    world.recv(CARRIER, &with_identity("c2", &signed()));
    world.certificate(Ok(CERTIFICATE));
    assert_eq!((world.events.len(), world.fetched.len()), (2, 1));
    for _ in 0..2 {
        let LegEvent::Offered(offered) = world.events.remove(0) else { panic!() };
        let verdict = offered.identity.trust.verdict.unwrap();
        assert_eq!(
            (verdict.outcome.clone(), verdict.attest, &*verdict.signer),
            (Outcome::Passed, Some(Attestation::A), X5U)
        );
        assert_eq!(verdict.verstat_attested(), "TN-Validation-Passed-A");
    }
    world.sent.clear();
    assert_eq!(world.verdict(&with_identity("c3", &signed())).outcome, Outcome::Passed);
    world.pass(Duration::from_secs(40));
    assert_eq!(world.fetched.len(), 1);
}

#[test]
fn header_rules_that_changed_a_call_are_told_when_it_has_waited() {
    let rule = "{name: nameless, for: received_request, header: User-Agent, remove: true}";
    let mut world = world(editing::with_rules(checking(), rule));
    world.recv(CARRIER, &with_identity("c1", &signed()));
    assert!(world.events.is_empty());
    world.certificate(Ok(CERTIFICATE));
    let [LegEvent::Offered(offered), LegEvent::HeadersChanged { leg, sent: false, rules }] = &world.events[..] else {
        panic!("{:?}", world.events)
    };
    assert_eq!((offered.leg, &*rules[0]), (*leg, "nameless"));
}

#[test]
fn what_is_wrong_with_a_signature_is_told_by_the_status_of_the_rfc() {
    let mut world = world(checking());
    world.recv(CARRIER, &with_identity("c0", &signed()));
    world.certificate(Ok(CERTIFICATE));
    assert_eq!(world.late().outcome, Outcome::Passed);
    world.sent.clear();
    let other_kind = signed().replace("ppt=shaken", "ppt=div");
    let tampered = signed().replacen('.', ".A", 1);
    let table = [
        (signed_at(X5U, "15550199", "15550100", NOW_S - 61), 403, "signed 61 s ago"),
        (signed_at(X5U, "15550199", "15550100", NOW_S + 61), 403, "signed 61 s ahead"),
        (signed_at(X5U, "15550198", "15550100", NOW_S), 438, "15550198 was signed, and another calls"),
        (signed_at(X5U, "15550199", "15550101", NOW_S), 438, "signed for a call to 15550101"),
        (signed_at("http://certificates.example/signer.pem", "1", "2", NOW_S), 436, "an address that is asked"),
        (tampered, 438, "cannot be read"),
        (other_kind, 438, "another kind"),
        ("nonsense".into(), 438, "no PASSporT"),
    ];
    for (n, (identity, status, why)) in table.iter().enumerate() {
        let verdict = world.verdict(&with_identity(&format!("t{n}"), identity));
        let told = failed(&verdict);
        assert!(told.0 == *status && told.1.contains(why), "{told:?} for {why}");
    }
    let verdict = world.verdict(&invite("plain", 1));
    assert_eq!((verdict.outcome.clone(), verdict.verstat()), (Outcome::Unsigned, "No-TN-Validation"));
    // Another's signature beside it, unreadable or of another kind, takes nothing from it.
    let two = format!("nonsense\nIdentity: {}", signed());
    assert_eq!(world.verdict(&with_identity("two", &two)).outcome, Outcome::Passed);
}

#[test]
fn a_signer_whom_nobody_vouches_for_is_not_believed() {
    let mut world = world(checking());
    world.recv(CARRIER, &with_identity("c1", &signed()));
    world.certificate(Ok(STRANGER));
    assert_eq!(failed(&world.late()).0, 437);
    // Whom a new configuration believes is believed at once.
    let mut config = checking();
    let stranger = CertificateDer::from_pem_slice(STRANGER).unwrap().to_vec();
    config.stir.verify.as_mut().unwrap().authorities.certificates.push(stranger);
    world.signaling.reconfigure(world.now.instant, Arc::new(config));
    world.sent.clear();
    let verdict = world.verdict(&with_identity("c2", &signed()));
    assert_ne!(verdict.outcome, Outcome::Unsigned);
    assert_eq!(world.fetched.len(), 1);
}

#[test]
fn a_repository_that_is_down_holds_a_call_for_its_patience_alone() {
    let mut world = world(checking());
    world.recv(CARRIER, &with_identity("c1", &signed()));
    world.pass(Duration::from_millis(1999));
    assert!(world.events.is_empty());
    world.pass(Duration::from_millis(2));
    assert_eq!(failed(&world.late()), (436, "its certificate did not come in time"));
    world.certificate(Err("no answer within 5 s"));
    assert!(world.events.is_empty());
    world.sent.clear();
    // Not asked again for a while, and nobody waits.
    let again = || signed_at(X5U, "15550199", "15550100", NOW_S + 3);
    assert!(failed(&world.verdict(&with_identity("c2", &again()))).1.contains("no answer within 5 s"));
    assert_eq!(world.fetched.len(), 1);
    world.pass(Duration::from_secs(31));
    world.recv(CARRIER, &with_identity("c3", &again()));
    assert_eq!((world.fetched.len(), world.events.len()), (2, 0));
    world.certificate(Ok(b"<html>sorry</html>"));
    assert_eq!(failed(&world.late()), (436, "its certificate cannot be had: it is no certificate in PEM"));
}

#[test]
fn a_certificate_is_fetched_anew_while_it_is_used_and_outlives_its_repository() {
    let mut world = world(checking());
    world.recv(CARRIER, &with_identity("c1", &signed()));
    world.certificate(Ok(CERTIFICATE));
    world.events.clear();
    let started = world.now.instant;
    for (hours, asked) in [(1, 2), (12, 3), (23, 4)] {
        world.now.instant = started + Duration::from_secs(3600 * hours);
        world.sent.clear();
        let call = format!("h{hours}");
        assert_eq!(world.verdict(&with_identity(&call, &signed())).outcome, Outcome::Passed, "in the background");
        assert_eq!(world.fetched.len(), asked);
        world.certificate(Err("answered 503"));
    }
    world.now.instant += Duration::from_secs(3600);
    world.recv(CARRIER, &with_identity("old", &signed()));
    assert!(world.events.is_empty(), "kept for a day");
}

#[test]
fn a_caller_that_leaves_while_it_waits_was_never_there() {
    let mut world = world(checking());
    let text = with_identity("c1", &signed());
    world.recv(CARRIER, &text);
    world.sent.clear();
    let head = text.split("\n\n").next().unwrap();
    let cancel = head.replace("INVITE", "CANCEL").replace("Content-Type: application/sdp", "");
    world.recv(CARRIER, &cancel);
    assert_eq!(world.lines(), ["SIP/2.0 200 OK", "SIP/2.0 487 Request Terminated"]);
    world.certificate(Ok(CERTIFICATE));
    assert!(world.events.is_empty());
    world.pass(Duration::from_secs(60));
    assert!(world.events.is_empty());
    assert_eq!(world.signaling.remembered(), 0);
}

#[test]
fn row_14_an_emergency_call_does_not_wait_for_a_certificate() {
    let mut config = checking();
    config.realms.get_mut("outer").unwrap().emergency = vec!["112".into()];
    let mut world = world(config);
    let text = with_identity("sos", &signed()).replace("+15550100@", "112@");
    assert_eq!(failed(&world.verdict(&text)).0, 436);
}

#[test]
fn numbers_are_compared_as_the_numbering_of_the_trunk_reads_them() {
    let mut config = checking();
    let text = "appliance: {name: n}\nrealms: {r: {signaling: 192.0.2.1}}\nnumbering: {n: {country: \"1\", national: \"\", received: e164}}\n";
    config.numbering = load("n.yaml", text, &NoFiles).unwrap().0.numbering;
    config.trunks.get_mut("carrier").unwrap().numbering = Some("n".into());
    let mut world = world(config);
    let text =
        with_identity("c1", &signed()).replace("sip:+15550199", "sip:5550199").replace("sip:+15550100", "sip:5550100");
    world.recv(CARRIER, &text);
    world.certificate(Ok(CERTIFICATE));
    assert_eq!(world.late().outcome, Outcome::Passed);
}

#[test]
fn nothing_is_checked_that_nobody_wants_checked_and_no_word_of_others_passes() {
    let mut world = world(config());
    let text = with_identity("c1", &signed()).replace("sip:+15550199@", "sip:+15550199;verstat=TN-Validation-Passed@");
    let offered = world.offered(&text);
    assert_eq!((&*offered.from, offered.identity.trust.verdict), ("+15550199", None));
    assert!(world.fetched.is_empty());
}

#[test]
fn who_is_called_is_told_what_came_of_it_where_it_may_be() {
    let trust = Trust { verdict: Some(Box::new(Verdict::of(Outcome::Passed))), ..Trust::default() };
    let mut world = world(config());
    let LegCommand::Dial(mut command) = to_carrier(CallSid(1)) else { panic!() };
    (command.identity.asserted, command.identity.trust) = ("+15550111".into(), trust.clone());
    world.command(LegCommand::Dial(command));
    let told = world.one();
    assert_eq!(header(&told, "P-Asserted-Identity"), "<sip:+15550111;verstat=TN-Validation-Passed@203.0.113.1>");
    assert!(header(&told, "From").starts_with("\"Ann\" <sip:+15550111@"), "{told}");
    for (verstat, want) in
        [(true, "\"Ann\" <sip:+15550111;verstat=TN-Validation-Passed@"), (false, "\"Ann\" <sip:+15550111@")]
    {
        let mut config = config();
        config.users.get_mut("alice").unwrap().verstat = verstat;
        let mut world = World::with(config);
        world.register("alice", PHONE, "");
        world.sent.clear();
        let LegCommand::Dial(mut command) = dial(CallSid(2), Target::user(UserName::new("alice"))) else { panic!() };
        command.identity.trust = trust.clone();
        world.command(LegCommand::Dial(command));
        let told = world.one();
        assert!(header(&told, "From").starts_with(want), "{told}");
    }
}

#[test]
fn row_13_a_call_that_was_sent_on_is_followed_to_the_number_that_was_signed() {
    let mut world = world(checking());
    world.recv(CARRIER, &with_identity("c0", &signed()));
    world.certificate(Ok(CERTIFICATE));
    world.events.clear();
    world.sent.clear();
    let first = signed_at(X5U, "15550199", "15550777", NOW_S);
    let div = |from: &str, to: &str| diverted(from, to, "15550199", NOW_S);
    let (near, far) = (div("15550777", "15550888"), div("15550888", "15550100"));
    let foreign = diverted("15550888", "15550100", "15550198", NOW_S);
    let stale = diverted("15550888", "15550100", "15550199", NOW_S - 61);
    let torn = far.replacen('.', ".A", 1);
    for (n, (identities, status)) in [
        (vec![&first, &near, &far], None),
        (vec![&far, &near, &first], None),
        (vec![&first, &near], Some(438)),
        (vec![&first, &far], Some(438)),
        (vec![&near, &far], Some(428)),
        (vec![&first, &near, &foreign], Some(438)),
        (vec![&first, &near, &stale], Some(403)),
        (vec![&first, &near, &torn], Some(438)),
        (vec![&first, &near, &near, &div("15550888", "15550777")], Some(438)),
    ]
    .into_iter()
    .enumerate()
    {
        let lines = identities.iter().map(|identity| identity.as_str()).collect::<Vec<_>>().join("\nIdentity: ");
        let offered = world.offered(&with_identity(&format!("d{n}"), &lines));
        let verdict = offered.identity.trust.verdict.unwrap();
        assert_eq!(verdict.refusal().map(|(status, _)| status), status, "{n}: {verdict:?}");
        let chain = offered.identity.trust.chain;
        assert_eq!(
            chain.as_ref().map(|chain| (&*chain.caller, &*chain.called, chain.identities.len())),
            status.is_none().then_some(("15550199", "15550100", 3))
        );
    }
}

//! Row 12: which calls are signed, with what, and that nothing holds a call that cannot be.

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use postern_types::trust::{Attestation, Chain, Trust, Vouched};

use super::*;

const LEG: CallSid = CallSid(0xabc);

fn signing() -> Config {
    let mut config = config();
    let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap().to_pkcs8v1().unwrap();
    config.stir.sign = Some(StirSign {
        key: "stir.key".into(),
        key_der: Secret::new(key.as_ref().to_vec()),
        certificate: "https://certificates.example/postern.pem".into(),
        origid: "123e4567-e89b-12d3-a456-426655440000".into(),
        attest: Attestation::A,
    });
    config.trunks.get_mut("carrier").unwrap().stir.sign = true;
    config
}

fn dialed(config: Config, attest: Option<Attestation>, caller: &str) -> (String, Vec<LegEvent>) {
    let mut world = World::with(config);
    let LegCommand::Dial(mut dial) = to_carrier(LEG) else { panic!() };
    let called = "+1 (555) 015-0142".into();
    dial.identity.trust = Trust { attest, caller: caller.into(), called, ..Trust::default() };
    world.command(LegCommand::Dial(dial));
    (world.one(), world.events)
}

fn signed(attest: Attestation) -> LegEvent {
    let vouched = Vouched::Signed { attest, caller: "15550111".into(), called: "15550150142".into() };
    LegEvent::Vouched { leg: LEG, vouched }
}

#[test]
fn row_12_a_call_to_a_trunk_that_wants_it_is_signed_by_what_is_known_of_its_caller() {
    for (attest, want) in [(None, Attestation::A), (Some(Attestation::C), Attestation::C)] {
        let (invite, events) = dialed(signing(), attest, "+15550111");
        let identity = header(&invite, "Identity");
        let parameters = ";info=<https://certificates.example/postern.pem>;alg=ES256;ppt=shaken";
        assert!(identity.starts_with("eyJhbGciOiJFUzI1NiIs") && identity.ends_with(parameters), "{identity}");
        assert_eq!(events, [signed(want)]);
    }
}

#[test]
fn a_caller_without_a_number_goes_unsigned_and_the_router_is_told_why() {
    for caller in ["anonymous", "alice", ""] {
        let (invite, events) = dialed(signing(), None, caller);
        assert!(!invite.contains("\r\nIdentity:"), "{invite}");
        let why = "the caller that the trunk is told is no number";
        assert_eq!(events, [LegEvent::Vouched { leg: LEG, vouched: Vouched::Unsigned { why } }]);
    }
}

#[test]
fn nobody_else_gets_a_signature() {
    let mut config = signing();
    config.trunks.get_mut("carrier").unwrap().stir.sign = false;
    for config in [config, super::config()] {
        let (invite, events) = dialed(config, None, "+15550111");
        assert!(!invite.contains("\r\nIdentity:") && events.is_empty(), "{invite}");
    }
}

#[test]
fn a_challenge_is_answered_with_the_same_signature() {
    let mut world = World::with(signing());
    let LegCommand::Dial(mut dial) = to_carrier(LEG) else { panic!() };
    (dial.identity.trust.caller, dial.identity.trust.called) = ("+1".into(), "+2".into());
    world.command(LegCommand::Dial(dial));
    let first = world.one();
    let challenge = "Proxy-Authenticate: Digest realm=\"r\", nonce=\"n\"\n";
    world.recv(CARRIER, &response(&first, "407 Who", "t", challenge));
    let second = world.last();
    assert!(second.contains("Proxy-Authorization:"));
    assert_eq!(header(&second, "Identity"), header(&first, "Identity"));
}

#[test]
fn a_new_configuration_signs_with_its_own_key() {
    let mut world = World::new();
    world.signaling.reconfigure(world.now.instant, Arc::new(signing()));
    let LegCommand::Dial(mut dial) = to_carrier(LEG) else { panic!() };
    (dial.identity.trust.caller, dial.identity.trust.called) = ("+1".into(), "+2".into());
    world.command(LegCommand::Dial(dial));
    assert!(world.one().contains("\r\nIdentity: "));
}

#[test]
fn row_13_good_signatures_go_on_and_a_diversion_is_signed_by_us() {
    let mut config = signing();
    config.stir.verify = verifying::checking().stir.verify;
    let now_s = World::new().now.wall.seconds();
    let dialed = |called: &str, caller: &str, since_s| {
        let mut world = World::with(config.clone());
        let LegCommand::Dial(mut dial) = to_carrier(LEG) else { panic!() };
        let identities = vec!["one;info=<https://a.example>".into(), "two;ppt=div".into()];
        let chain = Chain { identities, caller: "15550111".into(), called: "15550142".into(), since_s };
        let (caller, called) = (caller.into(), called.into());
        dial.identity.trust = Trust { caller, called, chain: Some(Box::new(chain)), ..Trust::default() };
        world.command(LegCommand::Dial(dial));
        let text = world.one();
        let identities = text.lines().filter_map(|line| line.strip_prefix("Identity: ")).map(str::to_owned);
        let LegEvent::Vouched { vouched, .. } = world.event() else { panic!() };
        (identities.collect::<Vec<_>>(), vouched)
    };
    let passed = |called: &str, diverted_from: Option<&str>| Vouched::PassedOn {
        caller: "15550111".into(),
        called: called.into(),
        diverted_from: diverted_from.map(Into::into),
    };
    let (identities, vouched) = dialed("+15550142", "+15550111", now_s - 60);
    assert_eq!((identities.len(), vouched), (2, passed("15550142", None)));
    let (identities, vouched) = dialed("+15550143", "+15550111", now_s);
    assert_eq!((identities.len(), vouched), (3, passed("15550143", Some("15550142"))));
    assert_eq!(identities[0], "one;info=<https://a.example>");
    assert!(identities[2].ends_with(";alg=ES256;ppt=div"), "{identities:?}");
    // What is stale, or another caller's, is not passed on: we say what we know.
    for (caller, since_s) in [("+15550111", now_s - 61), ("+15550112", now_s)] {
        let (identities, vouched) = dialed("+15550142", caller, since_s);
        assert!(identities.len() == 1 && matches!(vouched, Vouched::Signed { .. }), "{vouched:?}");
    }
}

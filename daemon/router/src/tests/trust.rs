//! Row 12: what becomes of calls whose signature was checked, and how far we vouch for those that go on.

use postern_config::{Authorities, StirVerify, Unreachable, Verify};
use postern_facts::Fact;
use postern_types::{
    RealmName, TrunkName,
    trust::{Attestation, Outcome, Verdict},
};
use std::time::Duration;

use super::harness::*;

fn checking(verify: Verify, unreachable: Unreachable) -> World {
    let mut config = config();
    config.trunks.get_mut(&TrunkName::new("carrier")).unwrap().stir.verify = verify;
    config.realms.get_mut(&RealmName::new("outside")).unwrap().emergency = vec!["112".into()];
    config.stir.verify = Some(StirVerify {
        authorities: Authorities { file: "a.pem".into(), certificates: vec![] },
        freshness: Duration::from_secs(60),
        patience: Duration::from_secs(2),
        unreachable,
        repository_ca: None,
        private_repositories: false,
    });
    World::with(config)
}

#[test]
fn row_12_only_what_fails_is_refused_and_only_where_that_is_wanted() {
    use Unreachable::{Pass, Refuse as Refused};
    let wrong = || Outcome::Failed { status: 438, why: "forged".into() };
    let down = || Outcome::Unknown { why: "down".into() };
    for (verify, unreachable, outcome, refused) in [
        (Verify::Refuse, Pass, Outcome::Passed, None),
        (Verify::Refuse, Pass, wrong(), Some(438)),
        (Verify::Refuse, Pass, Outcome::Unsigned, Some(428)),
        (Verify::Refuse, Pass, down(), None),
        (Verify::Refuse, Refused, down(), Some(436)),
        (Verify::Tag, Refused, down(), None),
        (Verify::Tag, Refused, wrong(), None),
        (Verify::Tag, Refused, Outcome::Unsigned, None),
    ] {
        let mut world = checking(verify, unreachable);
        world.verdict = Some(Verdict { attest: Some(Attestation::B), ..Verdict::of(outcome.clone()) });
        world.invite(trunk_party(), "+15551000001", Some(stream(1, &g711())));
        let said = world.said();
        match refused {
            Some(status) => assert_eq!(said, [format!("hangup {status}")], "{outcome:?}"),
            None => assert_eq!(said, ["dial"], "{outcome:?}"),
        }
        let told = world.facts.iter().find_map(|happened| match &happened.fact {
            Fact::IdentityVerified(f) => Some((f.attest.clone(), false)),
            Fact::IdentityFailed(f) => Some((f.status.to_string(), f.refused)),
            _ => None,
        });
        let status = |status: u16| (status.to_string(), refused.is_some());
        let want = match &outcome {
            Outcome::Passed => ("B".to_owned(), false),
            Outcome::Failed { .. } => status(438),
            Outcome::Unknown { .. } => status(436),
            Outcome::Unsigned => status(428),
        };
        assert_eq!(told, Some(want));
        if refused.is_some() {
            let record = world.records.pop().unwrap();
            assert_eq!(record.verstat.as_deref(), Some(world.verdict.unwrap().verstat_attested().as_str()));
        }
    }
}

#[test]
fn row_14_an_emergency_call_is_never_refused_for_its_signature() {
    let mut world = checking(Verify::Refuse, Unreachable::Refuse);
    for outcome in [Outcome::Unsigned, Outcome::Failed { status: 438, why: "forged".into() }] {
        world.verdict = Some(Verdict::of(outcome));
        world.invite(trunk_party(), "112", Some(stream(1, &g711())));
        // Nobody has the number here: the refusal is that, and not the signature's.
        assert_eq!(world.said(), ["hangup 404"]);
    }
}

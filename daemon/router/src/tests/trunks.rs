//! What trunks may carry, how they write numbers, and the calls that none of this concerns.

use std::time::Duration;

use postern_config::{Config, Destination, Group, Limits, Member, Numbering, Received, RouteFrom, Sent, Trunk};
use postern_facts::Fact;
use postern_types::{
    CallSid, Cause, GroupName, RealmName, TrunkName,
    leg::{Dial, Party, Target},
};
use proptest::prelude::*;

use super::harness::*;
use crate::{
    TrialFrom, TrialOf,
    rest::{CreateCall, Instructions},
};

fn german() -> Numbering {
    Numbering {
        country: Some("49".into()),
        national: "0".into(),
        international: "00".into(),
        received: Received::E164,
        sent: Sent::National,
        rules: vec![],
    }
}

/// One and two with priority 0 and 1 take what begins with + or is 112.
fn two_trunks() -> Config {
    let mut config = config();
    let member = |trunk: &str, priority| Member { trunk: TrunkName::new(trunk), priority, weight: 1 };
    let group = Group { trunks: vec![member("one", 0), member("two", 1)] };
    for (n, name) in ["one", "two"].into_iter().enumerate() {
        let trunk = Trunk::at("outside", &format!("192.0.2.{}", 10 + n), 5060);
        config.trunks.insert(TrunkName::new(name), trunk);
    }
    config.groups.insert(GroupName::new("out"), group);
    for prefix in ["112", "+"] {
        let mut route = config.routes[0].clone();
        route.name = format!("by{prefix}").replace('+', "plus");
        (route.from, route.prefix) = (RouteFrom::Any, prefix.into());
        (route.strip, route.prepend) = (0, String::new());
        route.to = Destination::Group(GroupName::new("out"));
        config.routes.insert(0, route);
    }
    config
}

fn trunk<'c>(config: &'c mut Config, name: &str) -> &'c mut Trunk {
    config.trunks.get_mut(&TrunkName::new(name)).unwrap()
}

fn emergency(config: &mut Config) {
    for realm in ["inside", "outside"] {
        config.realms.get_mut(&RealmName::new(realm)).unwrap().emergency = vec!["112".into()];
    }
}

fn call(world: &mut World, to: &str) -> CallSid {
    world.invite(trunk_party(), to, Some(stream(1, &g711())))
}

fn sent(dial: &Dial) -> (String, String, String) {
    let Target::Trunk { trunk, number } = &dial.target else { panic!("{:?}", dial.target) };
    (trunk.to_string(), number.to_string(), dial.from.to_string())
}

fn limited(world: &World) -> Vec<String> {
    let facts = world.facts.iter().filter_map(|happened| match &happened.fact {
        Fact::TrunkLimited(f) => {
            Some(format!("{} {} {} {}", happened.subject.trunk.as_ref().unwrap(), f.limit, f.max, f.refused))
        }
        _ => None,
    });
    facts.collect()
}

#[test]
fn row_15_a_call_over_a_limit_goes_to_the_next_trunk_and_then_hears_503() {
    let mut config = two_trunks();
    trunk(&mut config, "one").limits = Limits { calls_out: Some(1), ..Limits::default() };
    trunk(&mut config, "two").limits = Limits { rate_out: Some(1), ..Limits::default() };
    let mut world = World::with(config);
    call(&mut world, "+491");
    assert_eq!(sent(&world.dialed()).0, "one");
    call(&mut world, "+492");
    assert_eq!(sent(&world.dialed()).0, "two");
    call(&mut world, "+493");
    assert_eq!(world.said(), ["hangup 503"]);
    assert_eq!(limited(&world), ["one calls_out 1 1", "two rate_out 1 1"]);
    assert_eq!(world.router.trunk_refusals(&TrunkName::new("one")), (0, 2));
    world.pass(Duration::from_secs(1));
    call(&mut world, "+494");
    assert_eq!(sent(&world.dialed()).0, "two", "a second later");
}

#[test]
fn row_15_calls_of_a_trunk_over_its_limit_hear_what_is_configured_and_are_told_once_a_minute() {
    for (limits, status, limit) in [
        (Limits { calls_in: Some(2), ..Limits::default() }, 503, "carrier calls_in 2 1"),
        (Limits { bandwidth_max: Some(200), ..Limits::default() }, 503, "carrier bandwidth_max 200 1"),
        (
            Limits { rate_in: Some(5), burst: Some(2), status: Some(486), ..Limits::default() },
            486,
            "carrier rate_in 5 1",
        ),
    ] {
        let mut config = two_trunks();
        trunk(&mut config, "carrier").limits = limits;
        let mut world = World::with(config);
        for n in 0..2 {
            call(&mut world, &format!("+49{n}"));
            world.dialed();
        }
        world.said();
        for _ in 0..100 {
            call(&mut world, "+499");
        }
        let said = world.said();
        assert!(said.len() == 100 && said.iter().all(|said| *said == format!("hangup {status}")), "{said:?}");
        assert_eq!(limited(&world), [limit]);
        assert_eq!(world.router.trunk_refusals(&TrunkName::new("carrier")), (100, 0));
        let line = |world: &World| world.router.trunk_bandwidth(&TrunkName::new("carrier"));
        assert_eq!(line(&world), 160, "two of G.711");
        world.router.end_all(world.now, Cause::new(503, "over"));
        world.settle();
        assert_eq!(line(&world), 0);
    }
}

#[test]
fn the_api_takes_the_next_trunk_of_a_group_that_has_room() {
    let mut config = two_trunks();
    trunk(&mut config, "one").limits = Limits { rate_out: Some(1), ..Limits::default() };
    let mut world = World::with(config);
    for name in ["one", "two"] {
        let wanted = CreateCall {
            to: "+491".into(),
            from: "+15550000001".into(),
            instructions: Instructions::Document("<Response/>".into()),
            timeout_s: 20,
            status_callback: None,
        };
        world.router.create_call(world.now, ACCOUNT, wanted).unwrap();
        world.settle();
        assert_eq!(sent(&world.dialed()).0, name);
    }
}

#[test]
fn row_45_numbers_come_and_leave_as_each_peer_writes_them() {
    let mut config = two_trunks();
    config.numbering.insert("de".into(), german());
    trunk(&mut config, "carrier").numbering = Some("de".into());
    trunk(&mut config, "one").numbering = Some("de".into());
    let mut world = World::with(config);
    call(&mut world, "030123456");
    let dial = world.dialed();
    assert_eq!(sent(&dial), ("one".into(), "030123456".into(), "0015559999999".into()));
    assert!(dial.identity.asserted.is_empty() || !dial.identity.asserted.starts_with('+'));
    let how: Vec<_> = world
        .facts
        .iter()
        .filter_map(|happened| match &happened.fact {
            Fact::NumbersChanged(f) => Some((f.called.as_str(), f.how.as_str())),
            _ => None,
        })
        .collect();
    assert_eq!(how[0], ("+4930123456", "030123456 becomes +4930123456: 0 is national, 49 in place of it"));
    assert_eq!(how[1].0, "030123456");
    // The next trunk has its own way of writing, and gets the number as we know it.
    world.fail(dial.leg, 503);
    assert_eq!(sent(&world.dialed()), ("two".into(), "+4930123456".into(), "+15559999999".into()));
}

#[test]
fn a_number_can_be_tried_without_a_call() {
    let mut config = two_trunks();
    emergency(&mut config);
    config.numbering.insert("de".into(), german());
    trunk(&mut config, "carrier").numbering = Some("de".into());
    trunk(&mut config, "one").numbering = Some("de".into());
    trunk(&mut config, "two").limits = Limits { calls_out: Some(1), ..Limits::default() };
    let mut world = World::with(config);
    world.router.handle_trunk(world.now, TrunkName::new("one"), false);
    let of =
        |from, dialed: &str, caller: &str| TrialOf { from, dialed: dialed.into(), caller: caller.into(), at: None };
    let from = || TrialFrom::Trunk(TrunkName::new("carrier"));
    let trial = world.router.try_number(world.now, &of(from(), "030123456", "0301")).unwrap();
    assert_eq!(
        (&*trial.called, &*trial.caller, &*trial.entry, &*trial.to),
        ("+4930123456", "+49301", "byplus", "group out")
    );
    assert_eq!(trial.steps.len(), 2);
    let ways: Vec<_> = trial.ways.iter().map(|way| (&*way.trunk, &*way.called, &*way.state)).collect();
    assert_eq!(ways, [("one", "030123456", "down"), ("two", "+4930123456", "up")]);
    let trial = world.router.try_number(world.now, &of(TrialFrom::User, "112", "alice")).unwrap();
    assert!(trial.emergency && trial.to == "group out");
    let trial = world.router.try_number(world.now, &of(from(), "9", "")).unwrap();
    assert!(trial.to == "refused" && !trial.why.is_empty());
    let gone = of(TrialFrom::Trunk(TrunkName::new("gone")), "9", "");
    assert!(world.router.try_number(world.now, &gone).is_err());
    assert_eq!(world.router.counters().calls_total, 0);
}

#[test]
fn row_12_a_caller_is_vouched_for_as_the_party_that_it_came_by() {
    use postern_types::trust::Attestation::{B, C};
    let mut config = two_trunks();
    config.numbering.insert("de".into(), german());
    trunk(&mut config, "one").numbering = Some("de".into());
    config.users.get_mut("bob").unwrap().attest = Some(B);
    let mut world = World::with(config);
    world.devices("bob", 1);
    call(&mut world, "+4930123456");
    let trust = world.dialed().identity.trust;
    // As it is known here, not as the trunk writes it.
    assert_eq!((trust.attest, &*trust.caller, &*trust.called), (Some(C), "+15559999999", "+4930123456"));
    world.commands.clear();
    world.invite(user_party("bob"), "+4930123456", Some(stream(1, &g711())));
    let trust = world.dialed().identity.trust;
    assert_eq!((trust.attest, &*trust.caller), (Some(B), "+15550000001"));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    /// Row 14: whatever the limits are, however many calls there are and whoever makes one, whether trunks are down, the media workers busy or the box drains: an
    /// emergency call is dialed, and on every trunk of its group before it fails.
    #[test]
    fn row_14_no_limit_holds_an_emergency_call(
        limits in prop::collection::vec((prop::option::of(1_u32..3), prop::option::of(1_u32..3), prop::option::of(1_u32..3)), 3),
        before in prop::collection::vec((any::<bool>(), 0_u64..400), 0..12),
        down in any::<[bool; 2]>(),
        draining in any::<bool>(),
        is_busy in any::<bool>(),
        by_user in any::<bool>(),
        written in prop::sample::select(vec!["112", "112;phone-context=+49", "9112"]),
    ) {
        let mut config = two_trunks();
        emergency(&mut config);
        let mut numbering = german();
        numbering.rules = vec![postern_config::NumberRule {
            name: "outside-line".into(),
            sides: vec![postern_config::Side::ReceivedCalled],
            change: postern_config::NumberChange::Prefix { prefix: "9112".into(), strip: 1, prepend: String::new() },
        }];
        config.numbering.insert("n".into(), numbering);
        config.realms.get_mut(&RealmName::new("inside")).unwrap().numbering = Some("n".into());
        trunk(&mut config, "carrier").numbering = Some("n".into());
        for (name, (calls, rate, max)) in ["carrier", "one", "two"].into_iter().zip(limits) {
            let of = trunk(&mut config, name);
            of.calls_max = max;
            of.limits = Limits { calls_in: calls, calls_out: calls, rate_in: rate, rate_out: rate, bandwidth_max: max, ..Limits::default() };
        }
        let mut world = World::with(config);
        world.devices("bob", 1);
        for (is_user, wait) in before {
            let party = if is_user { user_party("bob") } else { trunk_party() };
            world.invite(party, "+49123", Some(stream(1, &g711())));
            world.pass(Duration::from_millis(wait));
        }
        for (name, is_down) in ["one", "two"].into_iter().zip(down) {
            world.router.handle_trunk(world.now, TrunkName::new(name), !is_down);
        }
        world.router.set_draining(draining);
        world.is_busy = is_busy;
        world.settle();
        world.commands.clear();
        let party: Party = if by_user { user_party("bob") } else { trunk_party() };
        world.invite(party, written, Some(stream(1, &g711())));
        let first = world.dialed();
        prop_assert!(first.emergency);
        world.fail(first.leg, 503);
        let second = world.dialed();
        prop_assert!(second.emergency && sent(&second).0 != sent(&first).0);
        prop_assert_eq!(world.count("call.emergency"), 1);
        world.router.end_all(world.now, Cause::new(503, "over"));
        world.settle();
    }
}

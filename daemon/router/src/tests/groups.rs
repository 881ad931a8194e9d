//! Row 4 of what an SBC is held to, trunk groups: whom a call goes to next, and when it does not.

use postern_config::{Destination, Group, Member, RouteFrom, Trunk};
use postern_facts::Fact;
use postern_types::{
    CallSid, Cause, EndedBy, GroupName, TrunkName,
    leg::{Dial, LegEvent, Target},
    stream::Format,
};

use super::harness::*;

/// One and two with priority 0 and 1, three last; all lead to the numbers of +77.
pub fn world() -> World {
    let mut config = config();
    let member = |trunk: &str, priority| Member { trunk: TrunkName::new(trunk), priority, weight: 1 };
    let group = Group { trunks: vec![member("one", 0), member("two", 1), member("three", 2)] };
    for (n, name) in ["one", "two", "three"].into_iter().enumerate() {
        let trunk = Trunk::at("outside", &format!("192.0.2.{}", 10 + n), 5060);
        config.trunks.insert(TrunkName::new(name), trunk);
    }
    config.groups.insert(GroupName::new("carriers"), group);
    let mut route = config.routes[0].clone();
    route.name = "group".into();
    route.from = RouteFrom::Any;
    (route.prefix, route.strip, route.prepend) = ("+77".into(), 0, String::new());
    route.to = Destination::Group(GroupName::new("carriers"));
    config.routes.insert(0, route);
    World::with(config)
}

fn call(world: &mut World) -> CallSid {
    world.invite(trunk_party(), "+77123", Some(stream(1, &[Format::pcma()])))
}

fn trunk_of(dial: &Dial) -> &str {
    match &dial.target {
        Target::Trunk { trunk, number } => {
            assert_eq!(&**number, "+77123");
            trunk.as_str()
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_call_goes_down_the_group_and_the_last_failure_is_the_callers() {
    let mut world = world();
    call(&mut world);
    for (name, spare) in [("one", true), ("two", true), ("three", false)] {
        let dial = world.dialed();
        assert_eq!((trunk_of(&dial), dial.spare), (name, spare));
        world.fail(dial.leg, 503);
    }
    assert_eq!(world.said(), ["hangup 503"]);
    let moved = world.facts.iter().filter_map(|happened| match &happened.fact {
        Fact::LegFailedOver(f) => Some(format!("{} -> {}", f.from, f.to)),
        _ => None,
    });
    assert_eq!(moved.collect::<Vec<_>>(), ["trunk one -> trunk two", "trunk two -> trunk three"]);
    assert_eq!(world.count("call.ended"), 1);
    world.assert_empty();
}

#[test]
fn row_6_never_on_an_answer_that_the_callee_meant() {
    for status in [404, 480, 486, 487, 488, 600, 603] {
        let mut world = world();
        call(&mut world);
        let dial = world.dialed();
        world.fail(dial.leg, status);
        assert_eq!(world.count("leg.dialed"), 1, "{status}");
        assert_eq!(world.count("call.ended"), 1, "{status}");
    }
}

#[test]
fn an_unreachable_trunk_moves_on_and_an_unanswered_one_does_not() {
    for (status, again) in [(503, true), (408, true), (480, false)] {
        let mut world = world();
        call(&mut world);
        let dial = world.dialed();
        let cause = Cause::new(status, "as signaling says it");
        world.leg(LegEvent::Failed { leg: dial.leg, by: EndedBy::Postern, cause });
        assert_eq!(world.count("leg.dialed"), 1 + usize::from(again), "{status}");
    }
}

#[test]
fn what_is_down_is_tried_last_but_it_is_tried() {
    let mut world = world();
    let (one, two, three) = (TrunkName::new("one"), TrunkName::new("two"), TrunkName::new("three"));
    world.router.handle_trunk(world.now, one.clone(), false);
    call(&mut world);
    let dial = world.dialed();
    assert_eq!(trunk_of(&dial), "two");
    world.fail(dial.leg, 503);
    let dial = world.dialed();
    assert_eq!(trunk_of(&dial), "three");
    world.fail(dial.leg, 503);
    let dial = world.dialed();
    assert_eq!(trunk_of(&dial), "one", "no call fails while one target may live");
    for trunk in [two, three] {
        world.router.handle_trunk(world.now, trunk, false);
    }
    world.fail(dial.leg, 486);
    world.router.handle_trunk(world.now, one, true);
    call(&mut world);
    let dial = world.dialed();
    assert_eq!(trunk_of(&dial), "one");
}

#[test]
fn a_full_trunk_is_passed_over() {
    let mut config = config();
    let member = |trunk: &str| Member { trunk: TrunkName::new(trunk), priority: 0, weight: 0 };
    let mut full = Trunk::at("outside", "192.0.2.10", 5060);
    full.calls_max = Some(1);
    config.trunks.insert(TrunkName::new("small"), full);
    let group =
        Group { trunks: vec![Member { weight: 1, ..member("small") }, Member { priority: 1, ..member("carrier") }] };
    config.groups.insert(GroupName::new("g"), group);
    let mut route = config.routes[0].clone();
    (route.prefix, route.strip, route.prepend) = ("+77".into(), 0, String::new());
    (route.from, route.to) = (RouteFrom::Any, Destination::Group(GroupName::new("g")));
    config.routes.insert(0, route);
    let mut world = World::with(config);
    call(&mut world);
    assert_eq!(trunk_of(&world.dialed()), "small");
    call(&mut world);
    assert_eq!(trunk_of(&world.dialed()), "carrier");
}

#[test]
fn a_caller_that_gives_up_ends_the_search() {
    let mut world = world();
    let caller = call(&mut world);
    let dial = world.dialed();
    world.cancel(caller);
    world.fail(dial.leg, 503);
    assert_eq!(world.count("leg.dialed"), 1);
    assert_eq!(world.count("call.ended"), 1);
}

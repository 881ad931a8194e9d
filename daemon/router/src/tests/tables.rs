//! Row 46 of what an SBC is held to: least cost by prefix tables, and time of day.

use postern_config::{Config, Destination, Environment, RouteFrom, Trunk};
use postern_facts::Fact;
use postern_types::{
    GroupName, ScheduleName, TableName, TrunkName, UnixMicros,
    leg::{Dial, Target},
    stream::Format,
};

use super::harness::*;
use crate::{Trial, TrialFrom, TrialOf};

const ROWS: &str = "prefix,trunk,group,cost,schedule\n\
    +49,dear,,0.02,\n+4930,,pair,0.015,\n+4930,cheap,,0.01,\n+4930,dear,,0.03,\n+4999,cheap,,0.01,night\n+112,dear,,9,night\n";

/// The sections that are read from text: a table and two schedules.
const TEXT: &str = r#"appliance: { name: t }
realms: { r: { signaling: 192.0.2.1 } }
trunks: { cheap: { realm: r, address: 192.0.2.9 }, dear: { realm: r, address: 192.0.2.8 }, one: { realm: r, address: 192.0.2.7 } }
groups: { pair: { trunks: [ { trunk: cheap }, { trunk: one, priority: 1 } ] } }
schedules:
  night: { time_zone: Europe/Berlin, hours: [ { from: "20:00", to: "06:00" } ] }
  office: { time_zone: Europe/Berlin, hours: [ { days: [mon, tue, wed, thu, fri], from: "08:00", to: "18:00" } ], holidays: [2026-12-25] }
tables: { carriers: { file: carriers.csv } }
"#;

struct Rows;

impl Environment for Rows {
    fn read(&self, _: &std::path::Path) -> std::io::Result<Vec<u8>> {
        Ok(ROWS.into())
    }
    fn credential(&self, _: &str) -> std::io::Result<Vec<u8>> {
        Err(std::io::ErrorKind::NotFound.into())
    }
}

fn tabled() -> Config {
    let (read, _) = postern_config::load("t.yaml", TEXT, &Rows).unwrap();
    let mut config = config();
    for (n, name) in ["cheap", "dear", "one"].into_iter().enumerate() {
        config.trunks.insert(TrunkName::new(name), Trunk::at("outside", &format!("192.0.2.{}", 10 + n), 5060));
    }
    config.groups.insert(GroupName::new("pair"), read.groups[&GroupName::new("pair")].clone());
    (config.tables, config.schedules) = (read.tables, read.schedules);
    let mut route = config.routes[0].clone();
    (route.from, route.strip, route.prepend) = (RouteFrom::Any, 0, String::new());
    let rule = |name: &str, prefix: &str, to, schedule: Option<&str>| postern_config::Route {
        name: name.into(),
        prefix: prefix.into(),
        to,
        schedule: schedule.map(ScheduleName::new),
        ..route.clone()
    };
    let trunk = |name: &str| Destination::Trunk(TrunkName::new(name));
    let rules = [
        rule("office-hours", "+77", trunk("dear"), Some("office")),
        rule("after-hours", "+77", trunk("cheap"), None),
        rule("only-nights", "112", trunk("dear"), Some("night")),
        rule("lcr", "+", Destination::Table(TableName::new("carriers")), None),
        rule("rest", "+44", trunk("dear"), None),
    ];
    config.routes.splice(0..0, rules);
    for realm in config.realms.values_mut() {
        realm.emergency = vec!["112".into()];
    }
    config
}

fn trunk_of(dial: &Dial) -> &str {
    match &dial.target {
        Target::Trunk { trunk, .. } => trunk.as_str(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_cheapest_row_of_the_longest_prefix_is_first_and_failures_go_down_the_costs() {
    let mut world = World::with(tabled());
    world.invite(trunk_party(), "+4930123", Some(stream(1, &[Format::pcma()])));
    let why = world.fact(|fact| match fact {
        Fact::CallRouted(routed) => Some((routed.to.clone(), routed.why.clone())),
        _ => None,
    });
    let (to, why) = why.unwrap();
    assert_eq!(to, "table carriers");
    assert!(why.ends_with("carriers has +4930: trunk cheap 0.01, group pair 0.015, trunk dear 0.03"), "{why}");
    // The group has `cheap` again, which was tried.
    for (name, spare) in [("cheap", true), ("one", true), ("dear", false)] {
        let dial = world.dialed();
        assert_eq!((trunk_of(&dial), dial.spare), (name, spare));
        world.fail(dial.leg, 503);
    }
    assert_eq!(world.said(), ["hangup 503"]);
    world.assert_empty();

    let mut world = World::with(tabled());
    world.router.handle_trunk(world.now, TrunkName::new("cheap"), false);
    world.invite(trunk_party(), "+4930123", Some(stream(1, &[Format::pcma()])));
    assert_eq!(trunk_of(&world.dialed()), "one", "what is down comes last");
}

fn tried(dialed: &str, at: &str) -> Trial {
    let seconds = match at {
        // Thursday before and in office hours, Thursday and Friday night; then Christmas Day at noon.
        "thu 07:59" => 1_798_095_540,
        "thu 12:00" => 1_798_110_000,
        "thu 20:00" => 1_798_138_800,
        "fri 12:00" => 1_798_196_400,
        other => panic!("{other}"),
    };
    let world = World::with(tabled());
    let from = TrialFrom::Trunk(TrunkName::new("carrier"));
    let of = TrialOf { from, dialed: dialed.into(), caller: "".into(), at: Some(UnixMicros(seconds * 1_000_000)) };
    world.router.try_number(world.now, &of).unwrap()
}

#[test]
fn routes_and_rows_hold_within_their_schedules() {
    for (dialed, at, entry, to, first) in [
        ("+771", "thu 07:59", "after-hours", "trunk cheap", "cheap"),
        ("+771", "thu 12:00", "office-hours", "trunk dear", "dear"),
        ("+771", "thu 20:00", "after-hours", "trunk cheap", "cheap"),
        ("+771", "fri 12:00", "after-hours", "trunk cheap", "cheap"),
        // A closed row leaves the shorter prefix.
        ("+49991", "thu 20:00", "lcr", "table carriers", "cheap"),
        ("+49991", "thu 12:00", "lcr", "table carriers", "dear"),
        // A number without a row goes on to the next route.
        ("+441", "thu 12:00", "rest", "trunk dear", "dear"),
        // Whatever the time, an emergency call goes where it could at another.
        ("112", "thu 20:00", "only-nights", "trunk dear", "dear"),
        ("112", "thu 12:00", "only-nights", "trunk dear", "dear"),
    ] {
        let trial = tried(dialed, at);
        assert_eq!((&*trial.entry, &*trial.to, &*trial.ways[0].trunk), (entry, to, first), "{dialed} {at}");
        assert_eq!(trial.schedules.len(), 2);
    }
    let trial = tried("+771", "thu 20:00");
    assert!(trial.why.ends_with("; closed now: route office-hours"), "{}", trial.why);
    assert_eq!(trial.schedules[1].reads, "Thu 2026-12-24 20:00 Europe/Berlin");
    assert!(tried("112", "thu 12:00").why.contains("no schedule holds an emergency call"));
    let none = tried("+1", "thu 12:00");
    assert_eq!(none.to, "refused");
    assert!(none.why.ends_with("no row for it: table carriers (route lcr)"), "{}", none.why);
    let costs: Vec<_> = tried("+49301", "thu 12:00").ways.into_iter().map(|way| (way.trunk, way.cost)).collect();
    assert_eq!(costs, [("cheap", "0.01"), ("one", "0.015"), ("dear", "0.03")].map(|(t, c)| (t.into(), c.into())));
}

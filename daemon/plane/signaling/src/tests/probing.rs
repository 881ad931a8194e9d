//! Row 4 of what an SBC is held to: OPTIONS keep-alives, dead in N failures, alive in M answers.

use super::*;

const FIRST: &str = CARRIER;
const SECOND: &str = "198.51.100.11:5060";
const SPAN: fn(u64) -> Duration = Duration::from_secs;

fn probe() -> Probe {
    Probe { every: SPAN(30), again: SPAN(5), patience: SPAN(2), fails: 3, successes: 2 }
}

/// The carrier with two addresses, both asked; the other trunks of the tests are not.
fn world() -> World {
    let mut config = config();
    let carrier = config.trunks.get_mut("carrier").unwrap();
    carrier.addresses.push(Address { host: "198.51.100.11".into(), port: Some(5060) });
    carrier.probe = Some(probe());
    World::with(config)
}

/// Lets time pass while those of `alive` answer with `status`; how many questions each got.
fn pass(world: &mut World, span: Duration, alive: &[&str], status: &str) -> (usize, usize) {
    let end = world.now + span;
    let (mut first, mut second) = (0, 0);
    loop {
        while !world.sent.is_empty() {
            let (to, text) = world.sent.remove(0);
            if text.starts_with("INVITE ") {
                // A call that was given up is repeated until its time is over.
                continue;
            }
            assert!(text.starts_with("OPTIONS sip:198.51.100.1"), "{text}");
            if to == address(FIRST) {
                first += 1
            } else {
                second += 1
            }
            if alive.iter().any(|source| address(source) == to) {
                world.recv(&to.to_string(), &response(&text, status, "t", ""));
            }
        }
        match world.signaling.next_deadline().filter(|at| *at <= end.instant) {
            Some(at) => world.pass(at.saturating_duration_since(world.now.instant)),
            None => break,
        }
    }
    world.pass(end.instant.saturating_duration_since(world.now.instant));
    (first, second)
}

fn names(world: &mut World) -> Vec<&'static str> {
    world.facts.drain(..).map(|fact| fact.meta().name).filter(|name| name.starts_with("trunk.")).collect()
}

#[test]
fn row_4_dead_in_n_failures_and_alive_in_m_answers() {
    let mut world = world();
    pass(&mut world, SPAN(60), &[FIRST, SECOND], "200 OK");
    assert_eq!(names(&mut world), [""; 0]);

    // The first falls silent: 30 s until it is asked, then 5 s after each failure of 2 s.
    pass(&mut world, SPAN(60), &[SECOND], "200 OK");
    assert_eq!(names(&mut world), ["trunk.target_down"]);
    assert!(world.trunks.is_empty(), "the trunk still has an address");
    world.command(to_carrier(CallSid(1)));
    let (to, _) = world.sent.remove(0);
    assert_eq!(to, address(SECOND), "no call meets the one that is down");
    world.command(hangup(CallSid(1)));
    world.sent.clear();
    world.events.clear();

    pass(&mut world, SPAN(70), &[], "");
    assert_eq!(names(&mut world), ["trunk.target_down", "trunk.down"]);
    assert_eq!(world.trunks, [(TrunkName::new("carrier"), false)]);
    let health = world.signaling.trunk_health(world.now.instant, &TrunkName::new("carrier"));
    assert!(
        health.iter().all(|target| target.state == "down" && target.why == "408 no answer to OPTIONS"),
        "{health:?}"
    );

    pass(&mut world, SPAN(30), &[FIRST, SECOND], "200 OK");
    let told = names(&mut world);
    assert_eq!(told.iter().filter(|name| **name == "trunk.target_up").count(), 2, "{told:?}");
    assert_eq!(world.trunks.last(), Some(&(TrunkName::new("carrier"), true)));
}

#[test]
fn any_answer_lives_but_that_of_a_server_that_fails() {
    for (status, lives) in [
        ("200 OK", true),
        ("404 Not Found", true),
        ("405 Method Not Allowed", true),
        ("401 Unauthorized", true),
        ("501 Not Implemented", true),
        ("408 Request Timeout", false),
        ("500 Server Internal Error", false),
        ("503 Service Unavailable", false),
    ] {
        let mut world = world();
        pass(&mut world, SPAN(90), &[FIRST, SECOND], status);
        assert_eq!(names(&mut world).is_empty(), lives, "{status}");
    }
}

#[test]
fn those_that_answer_are_asked_seldom_and_at_different_times() {
    let mut world = world();
    let (first, second) = pass(&mut world, SPAN(300), &[FIRST, SECOND], "200 OK");
    assert!((9..=12).contains(&first) && (9..=12).contains(&second), "{first} {second}");
}

#[test]
fn what_calls_learn_counts_too() {
    let mut world = world();
    pass(&mut world, SPAN(3), &[FIRST, SECOND], "200 OK");
    for n in 0..3 {
        world.command(to_carrier(CallSid(n)));
        let (to, invite) = world.sent.remove(0);
        if to == address(FIRST) {
            world.recv(FIRST, &response(&invite, "503 Service Unavailable", "t", "Retry-After: 1\n"));
        }
        world.command(hangup(CallSid(n)));
        world.sent.clear();
        pass(&mut world, SPAN(1), &[FIRST, SECOND], "200 OK");
    }
    let told = names(&mut world);
    assert!(told.contains(&"trunk.target_down"), "{told:?}");
}

#[test]
fn a_new_configuration_begins_and_ends_the_asking() {
    let mut plain = config();
    plain.trunks.get_mut("carrier").unwrap().probe = Some(probe());
    let mut world = World::new();
    world.signaling.reconfigure(world.now.instant, Arc::new(plain));
    world.drain();
    pass(&mut world, SPAN(60), &[], "");
    assert_eq!(names(&mut world), ["trunk.target_down", "trunk.down"]);
    world.signaling.reconfigure(world.now.instant, Arc::new(config()));
    world.drain();
    assert_eq!(world.trunks.last(), Some(&(TrunkName::new("carrier"), true)), "what nobody asks is not believed down");
    world.pass(SPAN(60));
    world.sent.clear();
    world.pass(SPAN(300));
    assert!(world.sent.is_empty());
    assert_eq!(world.signaling.remembered(), 0);
}

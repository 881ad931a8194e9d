//! Subscriptions (RFC 6665) in the simulated world: lamps follow calls whatever the network does, and every subscription ends.

use std::time::Duration;

use postern_facts::Fact;
use postern_sim::{World, network::Faults, phone::Habits};
use postern_switch::{Reply, Request};
use postern_types::{UserName, mailbox::Waiting};

const YAML: &str = r#"
appliance: { name: sim, state_folder: /tmp/postern-sim, runtime_folder: /tmp/postern-sim }
realms:
  carrier: { signaling: ["127.0.0.2:5060"], media: { addresses: ["127.0.0.2"], ports: 20000-20999 } }
  phones: { signaling: ["127.0.0.3:5060"], media: { addresses: ["127.0.0.3"], ports: 20000-20999 }, registrations: true }
trunks:
  acme: { realm: carrier, address: "127.0.0.11:5060", codecs: [PCMA, PCMU] }
users:
  alice: { password: secret-a }
  bob: { password: secret-b }
numbers:
  "+15550001": { user: alice, timeout: 30s }
"#;
const MINUTE: Duration = Duration::from_secs(60);

/// The carrier, alice, and bob, who watches her: both registered.
fn world(seed: u64, faults: Faults) -> (World, usize, usize, usize) {
    let mut world = World::new(seed, YAML, faults);
    let carrier = world.phone("+15559999", "", "127.0.0.11:5060", "127.0.0.2:5060");
    let alice = world.phone("alice", "secret-a", "127.0.0.21:5060", "127.0.0.3:5060");
    let bob = world.phone("bob", "secret-b", "127.0.0.22:5060", "127.0.0.3:5060");
    for phone in [alice, bob] {
        world.with(phone, |phone, now| phone.register(now, 3600));
        assert!(world.run_until(MINUTE, |world| world.phones[phone].registered), "seed {seed}");
    }
    (world, carrier, alice, bob)
}

fn subscriptions(world: &mut World) -> u64 {
    match world.ask(Request::Status) {
        Reply::Status(status) => status.subscriptions,
        other => panic!("{other:?}"),
    }
}

fn told(world: &World) -> (usize, usize) {
    let count = |wanted: fn(&Fact) -> bool| world.events.iter().filter(|event| wanted(&event.fact)).count();
    (count(|fact| matches!(fact, Fact::SubscriptionBegan(_))), count(|fact| matches!(fact, Fact::SubscriptionEnded(_))))
}

#[test]
fn a_lamp_follows_calls_whatever_the_network_does() {
    for seed in 0..40 {
        let faults = if seed == 0 { Faults::NONE } else { Faults::BAD };
        let (mut world, carrier, _, bob) = world(seed, faults);
        for package in ["dialog", "presence"] {
            world.with(bob, |phone, now| phone.subscribe(now, "alice", package, 600));
        }
        let active = |world: &World| world.phones[bob].watches.iter().all(|watch| watch.is_active());
        assert!(world.run_until(2 * MINUTE, active), "seed {seed}: {:?}", world.phones[bob].watches);
        world.phones[carrier].habits = Habits { hang_up_after: Some(Duration::from_secs(20)), ..Habits::default() };
        world.with(carrier, |phone, now| phone.call(now, "+15550001"));
        let lit = |world: &World| {
            world.phones[bob].watches[0].shown().contains("<state>confirmed</state>")
                && world.phones[bob].watches[1].shown().contains("on-the-phone")
        };
        assert!(world.run_until(MINUTE, lit), "seed {seed}: {:?}", world.phones[bob].watches);
        let out = |world: &World| {
            world.phones[bob].watches[0].shown().contains("<state>terminated</state>")
                && !world.phones[bob].watches[1].shown().contains("on-the-phone")
        };
        assert!(world.run_until(2 * MINUTE, out), "seed {seed}: {:?}", world.phones[bob].watches);
        // Nobody refreshes: they end by their time.
        world.run(12 * MINUTE);
        assert_eq!((subscriptions(&mut world), told(&world)), (0, (2, 2)), "seed {seed}");
        assert!(world.phones[bob].watches.iter().all(|watch| !watch.is_active()), "seed {seed}");
        world.assert_at_rest();
    }
}

#[test]
fn a_watcher_that_is_gone_is_told_once_more_and_forgotten() {
    let (mut world, carrier, _, bob) = world(1, Faults::NONE);
    world.with(bob, |phone, now| phone.subscribe(now, "alice", "dialog", 3600));
    assert!(world.run_until(MINUTE, |world| world.phones[bob].watches[0].is_active()));
    world.phones[bob].gone = true;
    world.with(carrier, |phone, now| phone.call(now, "+15550001"));
    world.run(MINUTE);
    assert_eq!((subscriptions(&mut world), told(&world)), (0, (1, 1)));
    world.with(carrier, |phone, now| phone.hang_up(now, 0));
    world.run(MINUTE);
    world.assert_at_rest();
}

#[test]
fn after_a_restart_a_refresh_is_refused_and_the_phone_subscribes_anew() {
    let (mut world, _, _, bob) = world(1, Faults::NONE);
    world.with(bob, |phone, now| phone.subscribe(now, "alice", "dialog", 600));
    assert!(world.run_until(MINUTE, |world| world.phones[bob].watches[0].is_active()));
    world.with(bob, |phone, now| phone.subscribe_again(now, 0, "dialog", 600));
    world.run(MINUTE);
    assert_eq!((world.phones[bob].watches[0].status, world.phones[bob].watches[0].told.len()), (Some(200), 2));
    world.restart();
    world.with(bob, |phone, now| phone.subscribe_again(now, 0, "dialog", 600));
    world.run(MINUTE);
    assert_eq!(world.phones[bob].watches[0].status, Some(481));
    let again = world.with(bob, |phone, now| phone.subscribe(now, "alice", "dialog", 600));
    assert!(world.run_until(MINUTE, |world| world.phones[bob].watches[again].is_active()));
    world.with(bob, |phone, now| phone.subscribe_again(now, again, "dialog", 0));
    world.run(MINUTE);
    assert_eq!(world.phones[bob].watches[again].told.last().unwrap().0, "terminated;reason=timeout");
    assert_eq!(subscriptions(&mut world), 0);
    world.assert_at_rest();
}

#[test]
fn messages_that_wait_are_told_and_known_after_a_restart() {
    for seed in 0..20 {
        let faults = if seed == 0 { Faults::NONE } else { Faults::BAD };
        let (mut world, _, alice, _) = world(seed, faults);
        world.with(alice, |phone, now| phone.subscribe(now, "alice", "message-summary", 600));
        let shows = |world: &World, at: usize, what: &str| world.phones[alice].watches[at].shown().contains(what);
        assert!(world.run_until(2 * MINUTE, |world| shows(world, 0, "Messages-Waiting: no")), "seed {seed}");
        let set = Some((Waiting { new: 3, ..Waiting::default() }, "test".to_owned()));
        let reply = world.ask(Request::Messages { user: UserName::new("alice"), set });
        assert!(matches!(reply, Reply::Messages(Waiting { new: 3, .. })), "{reply:?}");
        assert!(world.run_until(MINUTE, |world| shows(world, 0, "Voice-Message: 3/0 (0/0)")), "seed {seed}");
        world.restart();
        let again = world.with(alice, |phone, now| phone.subscribe(now, "alice", "message-summary", 0));
        assert!(world.run_until(2 * MINUTE, |world| shows(world, again, "Voice-Message: 3/0 (0/0)")), "seed {seed}");
    }
}

//! Devices over a restart.

use super::*;

impl World {
    /// A plane of the next run, which knows what this one left, `after` so long.
    fn restarted(self, after: Duration, change: impl FnOnce(&mut Config)) -> World {
        let mut config = config();
        change(&mut config);
        let mut next = World::with(config);
        next.now = Now { wall: (self.now + after).wall, ..next.now };
        next.remembered = self.remembered.clone();
        next.signaling.restore(next.now, self.remembered.into_values().collect());
        next.drain();
        next
    }

    fn restored(&self) -> Vec<(u64, u64)> {
        let told = self.facts.iter().filter_map(|fact| match fact {
            Fact::RegistrationsRestored(fact) => Some((fact.devices, fact.dropped)),
            _ => None,
        });
        told.collect()
    }
}

const INSTANCE: &str = "<urn:uuid:00000000-0000-1000-8000-000a95a0e128>";

#[test]
fn a_device_is_reached_after_a_restart_until_its_time_is_over() {
    let mut world = World::new();
    let contact = format!("Contact: <sip:alice@{PHONE}>;+sip.instance=\"{INSTANCE}\"\nExpires: 600");
    let answer = world.register_with("alice", "secret", PHONE, &contact);
    assert!(header(&answer, "Contact").ends_with(&format!(";expires=600;+sip.instance=\"{INSTANCE}\"")), "{answer}");
    world.register("bob", "192.168.1.51:5060", "Expires: 60");
    // Both are written down for a quarter of an hour more than they were granted.
    let mut world = world.restarted(Duration::from_secs(1000), |_| {});
    assert_eq!((world.restored(), world.devices.clone()), (vec![(1, 1)], vec![1]));
    assert_eq!(world.remembered.len(), 1, "bob's is forgotten");
    world.command(dial(CallSid(9), Target::user(UserName::new("alice"))));
    let (to, invite) = world.sent.remove(0);
    assert!(to == address(PHONE) && invite.starts_with("INVITE sip:alice@"), "{invite}");
    // It is a device as before: not a stranger, its older REGISTER changes nothing, and its instance is the same with another contact.
    let moved = format!("Contact: <sip:alice@192.168.1.50:7777>;+sip.instance=\"{INSTANCE}\"");
    world.sent.clear();
    world.register_with("alice", "secret", "192.168.1.50:7777", &moved);
    assert_eq!(world.signaling.counters().devices, 1);
    let mut world = world.restarted(Duration::ZERO, |_| {});
    world.pass(Duration::from_secs(3601));
    assert_eq!((world.devices.clone(), world.remembered.len()), (vec![1, 0], 0), "and it expires");
}

#[test]
fn what_is_gone_from_the_configuration_is_not_restored() {
    let registered = || {
        let mut world = World::new();
        world.register("alice", PHONE, "");
        world.register("alice", "192.168.1.51:5060", "");
        world
    };
    let none = registered().restarted(Duration::ZERO, |config| _ = config.users.remove("alice"));
    assert_eq!((none.restored(), none.remembered.len()), (vec![(0, 2)], 0));
    let none = registered().restarted(Duration::ZERO, |config| {
        config.realms.get_mut("inner").unwrap().signaling = vec![address("192.168.1.2:5060")];
    });
    assert_eq!(none.restored(), [(0, 2)]);
    let one = registered().restarted(Duration::ZERO, |config| config.users.get_mut("alice").unwrap().devices_max = 1);
    assert_eq!(one.restored(), [(1, 1)]);
}

#[test]
fn a_removed_device_and_a_clock_that_was_set_back_leave_nothing_for_ever() {
    let mut world = World::new();
    world.register("alice", PHONE, "");
    assert_eq!(world.remembered.len(), 1);
    // From another port, so that it is not the same Call-ID with an older CSeq.
    world.register_with("alice", "secret", "192.168.1.50:41000", "Contact: *\nExpires: 0");
    assert_eq!(world.remembered.len(), 0);
    world.register("alice", "192.168.1.51:5060", "");
    let mut next = World::new();
    next.now.wall = UnixMicros(1_000_000);
    next.signaling.restore(next.now, world.remembered.into_values().collect());
    next.drain();
    next.pass(Duration::from_secs(3601));
    assert_eq!(next.devices, [1, 0]);
}

#[test]
fn garbage_of_a_file_makes_no_device() {
    let mut world = World::new();
    world.register("alice", PHONE, "");
    let good = world.remembered.into_values().next().unwrap();
    let mut next = World::new();
    let broken = [Device { contact: "<>".into(), ..good.clone() }, Device { contact: String::new(), ..good }];
    next.signaling.restore(next.now, broken.into());
    next.drain();
    assert_eq!((next.restored(), next.signaling.counters().devices), (vec![(0, 2)], 0));
}

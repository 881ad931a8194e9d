//! Row 22 in the simulated world: transfers by REFER, with and without Replaces, and INVITE with Replaces, through networks that lose and reorder.

use std::time::Duration;

use postern_sim::{World, network::Faults, phone::Stage};

const CARRIER: &str = "127.0.0.11:5060";
const BOX_CARRIER: &str = "127.0.0.2:5060";
const BOX_PHONES: &str = "127.0.0.3:5060";
const MINUTE: Duration = Duration::from_secs(60);

const YAML: &str = r#"
appliance: { name: sim, state_folder: /tmp/postern-sim, runtime_folder: /tmp/postern-sim }
realms:
  carrier: { signaling: ["127.0.0.2:5060"], media: { addresses: ["127.0.0.2"], ports: 20000-20999 } }
  phones: { signaling: ["127.0.0.3:5060"], media: { addresses: ["127.0.0.3"], ports: 20000-20999 }, registrations: true }
trunks:
  acme: { realm: carrier, address: "127.0.0.11:5060" }
users:
  alice: { password: secret-a, refer: terminate }
  bob: { password: secret-b, refer: terminate }
  carol: { password: secret-c }
numbers:
  "+15550001": { user: alice, timeout: 30s }
routes:
  - { name: pstn, from: users, prefix: "+", to: { trunk: acme }, timeout: 30s }
"#;

/// A carrier, and alice, bob and carol at home.
struct House {
    world: World,
    carrier: usize,
    alice: usize,
    bob: usize,
    carol: usize,
}

fn house(seed: u64, faults: Faults) -> House {
    let mut world = World::new(seed, YAML, faults);
    let carrier = world.phone("+15559999", "", CARRIER, BOX_CARRIER);
    let [alice, bob, carol] = [("alice", "secret-a", 21), ("bob", "secret-b", 22), ("carol", "secret-c", 23)]
        .map(|(name, password, last)| world.phone(name, password, &format!("127.0.0.{last}:5060"), BOX_PHONES));
    for phone in [alice, bob, carol] {
        world.with(phone, |phone, now| phone.register(now, 3600));
        assert!(world.run_until(MINUTE, |world| world.phones[phone].registered), "seed {seed}");
    }
    House { world, carrier, alice, bob, carol }
}

impl House {
    /// Rings and talks: the places of the call at both; false when the network lost too much.
    fn talk(&mut self, from: usize, to: &str, at: usize) -> Option<(usize, usize)> {
        let call = self.world.with(from, |phone, now| phone.call(now, to));
        let theirs = self.world.phones[at].calls.len();
        let is_up = self.world.run_until(MINUTE, |world| {
            let up = |phone: usize, call: usize| {
                world.phones[phone].calls.get(call).map(|c| c.stage) == Some(Stage::Answered)
            };
            up(from, call) && up(at, theirs)
        });
        is_up.then_some((call, theirs))
    }

    fn stage(&self, phone: usize, call: usize) -> Stage {
        self.world.phones[phone].calls[call].stage
    }

    fn at_rest(&mut self) {
        for record in self.world.live_legs() {
            self.world.ask(postern_switch::Request::Hangup { sid: record.sid });
        }
        self.world.run(2 * MINUTE);
        self.world.assert_at_rest();
    }
}

#[test]
fn row_22_an_attended_transfer_joins_the_two_and_releases_the_third() {
    for seed in 0..40 {
        let faults = if seed == 0 { Faults::NONE } else { Faults::BAD };
        let mut house = house(seed, faults);
        let House { carrier, alice, bob, .. } = house;
        let Some((caller, first)) = house.talk(carrier, "+15550001", alice) else {
            house.at_rest();
            continue;
        };
        let Some((second, asked)) = house.talk(alice, "bob", bob) else {
            house.at_rest();
            continue;
        };
        house.world.with(alice, |phone, now| phone.join(now, first, second));
        house.world.run(Duration::from_secs(40));
        if seed == 0 {
            assert_eq!(house.stage(alice, first), Stage::Over(200));
            assert_eq!(house.stage(alice, second), Stage::Over(200));
            assert_eq!(house.world.phones[alice].calls[first].told, ["SIP/2.0 100 Trying", "SIP/2.0 200 OK"]);
            assert_eq!(house.stage(carrier, caller), Stage::Answered);
            house.world.with(bob, |phone, now| phone.hang_up(now, asked));
            house.world.run(MINUTE);
            assert_eq!(house.stage(carrier, caller), Stage::Over(200), "the two are one call");
            assert_eq!(house.world.facts("leg.moved").len(), 1);
        }
        house.at_rest();
    }
}

#[test]
fn row_22_another_device_takes_the_call_and_nobody_elses() {
    for seed in 0..40 {
        let faults = if seed == 0 { Faults::NONE } else { Faults::BAD };
        let mut house = house(seed, faults);
        let House { carrier, alice, bob, carol, .. } = house;
        let tablet = house.world.phone("alice", "secret-a", "127.0.0.24:5060", BOX_PHONES);
        let Some((caller, first)) = house.talk(carrier, "+15550001", alice) else {
            house.at_rest();
            continue;
        };
        let named = house.world.phones[alice].named(first).unwrap();
        // Bob may transfer what is his; carol may not even that: neither learns whether there is such a call.
        for (thief, status) in [(bob, 481), (carol, 420)] {
            let stolen = house.world.with(thief, |phone, now| phone.replace(now, &named));
            house.world.run(Duration::from_secs(40));
            if seed == 0 {
                assert_eq!(house.stage(thief, stolen), Stage::Over(status));
                assert_eq!(house.stage(alice, first), Stage::Answered);
            }
        }
        let taken = house.world.with(tablet, |phone, now| phone.replace(now, &named));
        house.world.run(Duration::from_secs(40));
        if seed == 0 {
            assert_eq!(house.stage(tablet, taken), Stage::Answered);
            assert_eq!(house.stage(alice, first), Stage::Over(200));
            house.world.with(tablet, |phone, now| phone.hang_up(now, taken));
            house.world.run(MINUTE);
            assert_eq!(house.stage(carrier, caller), Stage::Over(200));
        }
        house.at_rest();
    }
}

#[test]
fn row_22_a_blind_transfer_is_served_here_or_passed_on() {
    for seed in 0..40 {
        let faults = if seed == 0 { Faults::NONE } else { Faults::BAD };
        for relay in [false, true] {
            let mut house = house(seed, faults);
            let House { carrier, alice, bob, carol, .. } = house;
            if relay {
                house.world.configure(&YAML.replace("secret-a, refer: terminate", "secret-a, refer: relay"));
            }
            let Some((caller, first)) = house.talk(carrier, "+15550001", alice) else {
                house.at_rest();
                continue;
            };
            house.world.with(alice, |phone, now| phone.refer(now, first, "bob"));
            house.world.run(Duration::from_secs(40));
            if seed == 0 {
                let told = &house.world.phones[alice].calls[first].told;
                // The carrier may dial no user by name, and the phone that plays it accepts any REFER and then says no more.
                assert_eq!(told[0], "SIP/2.0 100 Trying", "{told:?}");
                assert_eq!(house.stage(alice, first), if relay { Stage::Answered } else { Stage::Over(200) });
                assert_eq!(house.stage(carrier, caller), Stage::Answered);
                assert_eq!(house.world.phones[bob].calls.len(), usize::from(!relay));
                let sent = house.world.sent_to(CARRIER.parse().unwrap());
                assert_eq!(sent.contains("Refer-To: <sip:bob@127.0.0.2:5060>"), relay);
                assert!(!sent.contains("127.0.0.21") && !sent.contains("127.0.0.3"), "the inner side shows");
            }
            assert!(house.world.phones[carol].calls.is_empty());
            house.at_rest();
        }
    }
}

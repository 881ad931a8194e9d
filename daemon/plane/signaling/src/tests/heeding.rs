//! Overload control between boxes (RFC 7339), both ways.

use super::{overload::HOT, *};

const ASKS: &str = ";oc;oc-algo=\"loss\"";

fn asking(call: &str) -> String {
    invite(call, 1).replace(";rport", &format!("{ASKS};rport"))
}

/// A trunk `pair` of two addresses that is asked.
fn heeding() -> Config {
    let mut config = config();
    let mut pair = Trunk::at("outer", "198.51.100.10", 5060);
    pair.addresses.push(Address { host: "198.51.100.40".into(), port: Some(5060) });
    pair.overload_control = true;
    config.trunks.remove("carrier");
    config.trunks.insert(TrunkName::new("pair"), pair);
    config
}

fn to_pair(leg: u128, emergency: bool) -> LegCommand {
    let target = Target::Trunk { trunk: TrunkName::new("pair"), number: "+15550142".into() };
    let LegCommand::Dial(mut command) = dial(CallSid(leg), target) else { panic!() };
    command.emergency = emergency;
    LegCommand::Dial(command)
}

impl World {
    /// Where the next call to the pair goes; none: it fails at once. Whoever gets it is busy.
    fn goes_to(&mut self, leg: u128, emergency: bool) -> Option<String> {
        self.sent.clear();
        self.events.clear();
        self.command(to_pair(leg, emergency));
        let (to, text) = self.sent.first().cloned()?;
        self.recv(&to.to_string(), &response(&text, "486 Busy Here", "t", ""));
        Some(to.ip().to_string())
    }

    /// An address of the pair gets a call and says how many it wants less.
    fn told(&mut self, leg: u128, said: &str) {
        self.sent.clear();
        self.command(to_pair(leg, true));
        let (to, text) = self.sent.first().cloned().unwrap();
        let answer = response(&text, "486 Busy Here", "t", "").replacen(ASKS, said, 1);
        assert!(answer.contains(said), "{answer}");
        self.recv(&to.to_string(), &answer);
    }
}

#[test]
fn row_17_a_trunk_that_asks_is_told_and_drops_by_itself() {
    let mut world = World::new();
    world.recv(CARRIER, &asking("calm"));
    let via = header(&world.last(), "Via").to_owned();
    assert!(via.contains(";oc=0;oc-algo=\"loss\";oc-validity=0;oc-seq=1700000000.00000"), "{via}");
    world.recv(CARRIER, &invite("silent", 1));
    assert!(!header(&world.last(), "Via").contains("oc="));
    world.report(HOT, 5);
    let share = world.signaling.counters().shedding;
    assert_eq!(share, 300);
    let mut refused = [0, 0];
    for n in 0..100 {
        for (asks, refused) in [true, false].into_iter().zip(&mut refused) {
            let call = format!("c{n}-{asks}");
            world.recv(CARRIER, &if asks { asking(&call) } else { invite(&call, 1) });
            let answer = world.last();
            assert_eq!(header(&answer, "Via").contains(";oc=30;oc-algo=\"loss\";oc-validity=1000;oc-seq="), asks);
            *refused += u32::from(answer.starts_with("SIP/2.0 503"));
        }
    }
    assert!(refused[0] == 0 && refused[1] > 10, "{refused:?}");
    // What does not help is not waited for.
    world.report(HOT, 20);
    let refused = (0..100).filter(|n| {
        world.recv(CARRIER, &asking(&format!("d{n}")));
        let answer = world.last();
        assert!(header(&answer, "Via").contains(";oc=95;"), "{answer}");
        answer.starts_with("SIP/2.0 503")
    });
    assert!(refused.count() > 80);
}

#[test]
fn row_17_a_trunk_that_wants_fewer_calls_gets_fewer_for_as_long_as_it_says() {
    let mut world = World::with(heeding());
    world.told(1, ";oc=100;oc-algo=\"loss\";oc-validity=1000;oc-seq=5.0");
    assert_eq!(world.goes_to(2, false).as_deref(), Some("198.51.100.40"), "the other address is not meant");
    assert_eq!(world.goes_to(3, true).as_deref(), Some("198.51.100.10"), "row 14: an emergency call is never kept");
    // An older word does not undo it.
    world.told(4, ";oc=0;oc-algo=\"loss\";oc-validity=0;oc-seq=4.9");
    assert_eq!(world.goes_to(5, false).as_deref(), Some("198.51.100.40"));
    world.pass(Duration::from_millis(1001));
    assert_eq!(world.goes_to(6, false).as_deref(), Some("198.51.100.10"), "it held for a second");
    // It began anew, and counts from nothing.
    world.told(220, ";oc=100;oc-algo=\"loss\";oc-validity=1000;oc-seq=0.1");
    assert_eq!(world.goes_to(221, false).as_deref(), Some("198.51.100.40"));
    // A share of them, by chance.
    world.told(7, ";oc=40;oc-algo=\"loss\";oc-validity=60000;oc-seq=6.0");
    let kept = (10..210).filter(|leg| world.goes_to(*leg, false).as_deref() == Some("198.51.100.40")).count();
    assert!((50..110).contains(&kept), "{kept}");
    // A newer word ends it.
    world.told(8, ";oc=0;oc-algo=\"loss\";oc-validity=0;oc-seq=7.0");
    assert!((300..330).all(|leg| world.goes_to(leg, false).as_deref() == Some("198.51.100.10")));
    world.pass(Duration::from_secs(60));
    let told = world.facts.iter().filter_map(|fact| match fact {
        Fact::TrunkOverloaded(fact) => Some((fact.address.as_str(), fact.calls)),
        _ => None,
    });
    assert_eq!(told.collect::<Vec<_>>(), [("198.51.100.10:5060", 1), ("198.51.100.10:5060", 2 + kept as u64)]);
}

#[test]
fn a_trunk_without_another_address_fails_at_once_and_one_that_was_not_asked_is_not_heeded() {
    let mut config = heeding();
    let pair = config.trunks.get_mut("pair").unwrap();
    pair.addresses.truncate(1);
    let mut world = World::with(config.clone());
    world.told(1, ";oc=100;oc-algo=\"loss\";oc-validity=1000;oc-seq=5.0");
    assert_eq!(world.goes_to(2, false), None);
    let LegEvent::Failed { by: EndedBy::Postern, cause, .. } = world.event() else { panic!() };
    assert_eq!((cause.status, &*cause.text), (503, "the trunk wants fewer calls"));
    config.trunks.get_mut("pair").unwrap().overload_control = false;
    let mut world = World::with(config);
    world.command(to_pair(1, false));
    let text = world.one();
    assert!(!header(&text, "Via").contains(";oc"), "{text}");
    let said = response(&text, "486 Busy Here", "t", "").replacen(";rport", ";rport;oc=100;oc-seq=5.0", 1);
    world.recv(CARRIER, &said);
    assert_eq!(world.goes_to(2, false).as_deref(), Some("198.51.100.10"));
}

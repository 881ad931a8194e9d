//! Row 5 of what an SBC is held to: NAPTR, SRV, A and AAAA with failover.

use postern_locate::{Answer, Kind, Question, Record};

use super::*;

const LEG: CallSid = CallSid(0x3263);

/// A trunk that is nothing but a name, and a zone.
struct Zone {
    world: World,
    records: Vec<(&'static str, Kind, Vec<Record>)>,
    down: bool,
}

fn srv(priority: u16, port: u16, target: &str) -> Record {
    Record::Srv { priority, weight: 1, port, target: target.into() }
}

fn a(address: &str) -> Record {
    Record::A(address.parse().unwrap())
}

impl Zone {
    fn new(records: Vec<(&'static str, Kind, Vec<Record>)>) -> Self {
        let mut config = config();
        let mut trunk = Trunk::at("outer", "carrier.example", 1);
        trunk.addresses[0].port = None;
        config.trunks = [(TrunkName::new("whole"), trunk)].into();
        let world = World::with(config);
        let mut zone = Self { world, records, down: false };
        zone.settle();
        zone
    }

    fn settle(&mut self) {
        while let Some(output) = self.world.signaling.poll_output() {
            let Output::Ask(question) = output else {
                match output {
                    Output::Send { destination, bytes, .. } => {
                        self.world.sent.push((destination, String::from_utf8(bytes.to_vec()).unwrap()));
                    }
                    Output::Leg(event) => self.world.events.push(event),
                    Output::Fact(happened) => self.world.facts.push(happened.fact),
                    _ => {}
                }
                continue;
            };
            let found = self.records.iter().find(|(name, kind, _)| **name == *question.name && *kind == question.kind);
            let answer = match found {
                _ if self.down => Answer::Failed,
                Some((.., records)) => Answer::Records(records.clone(), SPAN(60)),
                None => Answer::Nothing(SPAN(60)),
            };
            self.world.signaling.handle_answer(self.world.now, &question, answer);
        }
    }

    fn dial(&mut self, leg: CallSid) -> (SocketAddr, String) {
        let target = Target::Trunk { trunk: TrunkName::new("whole"), number: "+15550142".into() };
        let now = self.world.now;
        self.world.signaling.handle_command(now, dial(leg, target));
        self.settle();
        let at = self.world.sent.iter().rposition(|(_, text)| text.starts_with("INVITE ")).expect("an INVITE");
        let found = self.world.sent[at].clone();
        self.world.sent.clear();
        found
    }

    fn recv(&mut self, source: &str, text: &str) {
        let now = self.world.now;
        self.world.signaling.handle_datagram(now, address(OUTER), address(source), wire(text).as_bytes());
        self.settle();
    }

    fn pass(&mut self, span: Duration) {
        let end = self.world.now + span;
        while let Some(at) = self.world.signaling.next_deadline().filter(|at| *at <= end.instant) {
            self.world.now = self.world.now + at.saturating_duration_since(self.world.now.instant);
            let now = self.world.now;
            self.world.signaling.handle_timeout(now);
            self.settle();
        }
        self.world.now = end;
    }
}

const SPAN: fn(u64) -> Duration = Duration::from_secs;

fn two_servers() -> Vec<(&'static str, Kind, Vec<Record>)> {
    vec![
        (
            "carrier.example",
            Kind::Naptr,
            vec![Record::Naptr {
                order: 1,
                preference: 1,
                flags: "s".into(),
                service: "SIP+D2U".into(),
                replacement: "_sip._udp.carrier.example".into(),
            }],
        ),
        ("_sip._udp.carrier.example", Kind::Srv, vec![srv(1, 5070, "one.example"), srv(2, 5080, "two.example")]),
        ("one.example", Kind::A, vec![a("198.51.100.71")]),
        ("two.example", Kind::A, vec![a("198.51.100.72")]),
    ]
}

#[test]
fn row_5_a_call_follows_naptr_and_srv_and_fails_over_to_the_next_server() {
    let mut zone = Zone::new(two_servers());
    let (to, invite) = zone.dial(LEG);
    assert_eq!(to, address("198.51.100.71:5070"));
    assert!(invite.starts_with("INVITE sip:+15550142@carrier.example SIP/2.0"), "{invite}");
    zone.recv("198.51.100.71:5070", &response(&invite, "503 Service Unavailable", "t", ""));
    let (to, again) = zone.world.sent.iter().rfind(|(_, text)| text.starts_with("INVITE ")).unwrap().clone();
    assert_eq!(to, address("198.51.100.72:5080"));
    assert!(again.starts_with("INVITE sip:+15550142@carrier.example SIP/2.0"), "{again}");
}

#[test]
fn calls_from_the_addresses_of_a_trunks_name_are_the_trunks() {
    let mut zone = Zone::new(two_servers());
    let call = invite("c1", 1).replace("198.51.100.10", "198.51.100.72");
    zone.recv("198.51.100.72:5060", &call);
    assert!(matches!(&zone.world.events[..], [LegEvent::Offered(offered)] if offered.party
        == Party::Trunk { trunk: TrunkName::new("whole") }));
    zone.world.events.clear();
    zone.recv("198.51.100.73:5060", &invite("c2", 1).replace("198.51.100.10", "198.51.100.73"));
    assert!(zone.world.events.is_empty(), "a stranger");

    // The carrier moves: when its records end, its new address is its own and the old one a stranger's.
    zone.records[3].2 = vec![a("198.51.100.73")];
    zone.pass(SPAN(70));
    zone.recv("198.51.100.73:5060", &invite("c3", 1).replace("198.51.100.10", "198.51.100.73"));
    assert!(matches!(&zone.world.events[..], [LegEvent::Offered(_)]));
    zone.world.events.clear();
    zone.recv("198.51.100.72:5060", &invite("c4", 1).replace("198.51.100.10", "198.51.100.72"));
    assert!(zone.world.events.is_empty());
}

#[test]
fn a_name_server_that_is_gone_takes_neither_calls_nor_sources() {
    let mut zone = Zone::new(two_servers());
    zone.down = true;
    zone.pass(SPAN(3600));
    assert_eq!(zone.dial(LEG).0, address("198.51.100.71:5070"));
    zone.world.events.clear();
    zone.recv("198.51.100.72:5060", &invite("c1", 1).replace("198.51.100.10", "198.51.100.72"));
    assert!(matches!(&zone.world.events[..], [LegEvent::Offered(_)]));
}

#[test]
fn a_trunk_is_not_found_and_found_later() {
    let mut zone = Zone::new(vec![]);
    let target = || Target::Trunk { trunk: TrunkName::new("whole"), number: "+1".into() };
    let now = zone.world.now;
    zone.world.signaling.handle_command(now, dial(LEG, target()));
    zone.settle();
    let [LegEvent::Failed { cause, .. }] = &zone.world.events[..] else { panic!("{:?}", zone.world.events) };
    assert_eq!((cause.status, &*cause.text), (503, "carrier.example has no address"));
    zone.records = two_servers();
    zone.pass(SPAN(70));
    assert_eq!(zone.dial(CallSid(2)).0, address("198.51.100.71:5070"));
    let question = Question { name: "nobody.asked".into(), kind: Kind::A };
    let now = zone.world.now;
    zone.world.signaling.handle_answer(now, &question, Answer::Failed);
}

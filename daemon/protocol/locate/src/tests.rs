//! RFC 3263's own examples and what DNS does besides.

use std::{collections::HashMap, time::Instant};

use super::*;

/// A zone that answers, and counts.
struct World {
    locator: Locator,
    now: Instant,
    zone: HashMap<Question, Answer>,
    asked: Vec<Question>,
    down: bool,
    next: u64,
}

fn naptr(order: u16, preference: u16, service: &str, replacement: &str) -> Record {
    Record::Naptr { order, preference, flags: "s".into(), service: service.into(), replacement: replacement.into() }
}

fn srv(priority: u16, weight: u16, port: u16, target: &str) -> Record {
    Record::Srv { priority, weight, port, target: target.into() }
}

fn a(last: u8) -> Record {
    Record::A(Ipv4Addr::new(192, 0, 2, last))
}

impl World {
    fn new() -> Self {
        #[allow(clippy::disallowed_methods, reason = "any instant will do as the start of virtual time")]
        let now = Instant::now();
        Self { locator: Locator::new(3), now, zone: HashMap::new(), asked: Vec::new(), down: false, next: 0 }
    }

    fn has(&mut self, name: &str, kind: Kind, records: Vec<Record>) {
        let answer = Answer::Records(records, Duration::from_secs(300));
        self.zone.insert(Question { name: name.into(), kind }, answer);
    }

    fn locate(&mut self, host: &str, port: Option<u16>, transport: Option<Transport>) -> Located {
        let spoken = vec![Transport::Udp, Transport::Tcp, Transport::Tls];
        let wanted = Wanted { host: host.into(), port, transport, spoken, families: (true, true) };
        self.next += 1;
        self.locator.locate(self.now, LocateId(self.next), wanted);
        while let Some(output) = self.locator.poll_output() {
            match output {
                Output::Located(id, located) => {
                    assert_eq!(id, LocateId(self.next));
                    return located;
                }
                Output::Ask(question) => {
                    let nothing = Answer::Nothing(Duration::from_secs(60));
                    let answer = self.zone.get(&question).cloned().unwrap_or(nothing);
                    let answer = if self.down { Answer::Failed } else { answer };
                    self.asked.push(question.clone());
                    self.locator.handle_answer(self.now, &question, answer);
                }
            }
        }
        panic!("{host} was never found")
    }

    fn told(&mut self, host: &str, port: Option<u16>, transport: Option<Transport>) -> Vec<String> {
        let located = self.locate(host, port, transport);
        located.targets.iter().map(|t| format!("{} {}:{}", t.transport, t.address, t.port)).collect()
    }
}

#[test]
fn the_example_of_rfc_3263_4_1() {
    let mut world = World::new();
    world.has(
        "example.com",
        Kind::Naptr,
        vec![
            naptr(90, 50, "SIP+D2T", "_sip._tcp.example.com"),
            naptr(50, 50, "SIPS+D2T", "_sips._tcp.example.com."),
            naptr(100, 50, "SIP+D2U", "_sip._udp.example.com"),
            naptr(1, 1, "HTTP+D2T", "www.example.com"),
        ],
    );
    world.has(
        "_sip._tcp.example.com",
        Kind::Srv,
        vec![srv(0, 1, 5060, "server1.example.com"), srv(0, 2, 5060, "server2.example.com")],
    );
    world.has("_sips._tcp.example.com", Kind::Srv, vec![srv(0, 1, 5061, "Server1.Example.com.")]);
    world.has("server1.example.com", Kind::A, vec![a(1)]);
    world.has("server2.example.com", Kind::A, vec![a(2)]);
    let told = world.told("Example.COM", None, None);
    assert_eq!(told[0], "tls 192.0.2.1:5061");
    let mut rest = told[1..].to_vec();
    rest.sort();
    assert_eq!(rest, ["tcp 192.0.2.1:5060", "tcp 192.0.2.2:5060"]);
}

#[test]
fn row_5_each_way_to_a_host() {
    let mut world = World::new();
    world.has("plain.example", Kind::A, vec![a(1), a(2)]);
    world.has("plain.example", Kind::Aaaa, vec![Record::Aaaa("2001:db8::1".parse().unwrap())]);
    world.has(
        "_sip._udp.served.example",
        Kind::Srv,
        vec![srv(10, 0, 5070, "one.example"), srv(20, 0, 5080, "two.example")],
    );
    world.has("_sip._tcp.served.example", Kind::Srv, vec![srv(10, 0, 5071, "one.example")]);
    world.has("_sips._tcp.served.example", Kind::Srv, vec![srv(10, 0, 5072, "one.example")]);
    world.has("one.example", Kind::A, vec![a(11)]);
    world.has("two.example", Kind::A, vec![a(12)]);
    world.has("_sip._udp.off.example", Kind::Srv, vec![srv(0, 0, 0, ".")]);
    let (udp, tcp, tls) = (Some(Transport::Udp), Some(Transport::Tcp), Some(Transport::Tls));
    type Case = (&'static str, Option<u16>, Option<Transport>, &'static [&'static str]);
    let table: [Case; 9] = [
        ("192.0.2.9", None, None, &["udp 192.0.2.9:5060"]),
        ("2001:db8::9", Some(5090), tls, &["tls 2001:db8::9:5090"]),
        ("plain.example", None, None, &["udp 2001:db8::1:5060", "udp 192.0.2.1:5060", "udp 192.0.2.2:5060"]),
        ("plain.example", Some(5099), tcp, &["tcp 2001:db8::1:5099", "tcp 192.0.2.1:5099", "tcp 192.0.2.2:5099"]),
        ("served.example", None, None, &["udp 192.0.2.11:5070", "udp 192.0.2.12:5080", "tcp 192.0.2.11:5071"]),
        ("served.example", None, udp, &["udp 192.0.2.11:5070", "udp 192.0.2.12:5080"]),
        ("served.example", None, tls, &["tls 192.0.2.11:5072"]),
        ("off.example", None, udp, &[]),
        ("gone.example", None, None, &[]),
    ];
    for (host, port, transport, wanted) in table {
        assert_eq!(world.told(host, port, transport), wanted, "{host} {port:?} {transport:?}");
    }
}

#[test]
fn weights_share_and_a_seed_draws_the_same() {
    let run = |seed| {
        let mut world = World::new();
        world.locator = Locator::new(seed);
        world.has(
            "_sip._udp.w.example",
            Kind::Srv,
            vec![srv(1, 30, 5060, "big.example"), srv(1, 10, 5060, "small.example")],
        );
        world.has("big.example", Kind::A, vec![a(1)]);
        world.has("small.example", Kind::A, vec![a(2)]);
        (0..1000).map(|_| world.told("w.example", None, Some(Transport::Udp))[0].clone()).collect::<Vec<_>>()
    };
    let first = run(1);
    assert_eq!(first, run(1));
    let big = first.iter().filter(|told| told.contains("192.0.2.1:")).count();
    assert!((680..800).contains(&big), "{big}");
}

#[test]
fn answers_are_kept_as_long_as_they_say_and_nothing_is_too() {
    let mut world = World::new();
    world.has("plain.example", Kind::A, vec![a(1)]);
    let first = world.locate("plain.example", None, Some(Transport::Udp));
    assert_eq!(
        (first.lasts, first.sure),
        (Duration::from_secs(60), true),
        "the SRV that is not there is the first to end"
    );
    let asked = world.asked.len();
    world.now += Duration::from_secs(59);
    world.locate("plain.example", None, Some(Transport::Udp));
    assert_eq!(world.asked.len(), asked, "nothing is asked twice");
    world.now += Duration::from_secs(2);
    world.locate("plain.example", None, Some(Transport::Udp));
    let again: Vec<_> = world.asked[asked..].iter().map(|question| question.kind).collect();
    assert_eq!(again, [Kind::Srv, Kind::Aaaa], "A still holds");
}

#[test]
fn a_name_server_that_fails_takes_no_carrier_with_it() {
    let mut world = World::new();
    world.has("plain.example", Kind::A, vec![a(1)]);
    world.locate("plain.example", Some(5060), Some(Transport::Udp));
    world.down = true;
    world.now += Duration::from_secs(3600);
    assert_eq!(world.told("plain.example", Some(5060), Some(Transport::Udp)), ["udp 192.0.2.1:5060"]);
    world.now += Duration::from_secs(2 * 86_400);
    let located = world.locate("plain.example", Some(5060), Some(Transport::Udp));
    assert!(located.targets.is_empty() && !located.sure);
    world.down = false;
    world.now += Duration::from_secs(10);
    assert_eq!(world.told("plain.example", Some(5060), Some(Transport::Udp)), ["udp 192.0.2.1:5060"]);
}

#[test]
fn who_never_answers_is_given_up_and_many_wait_for_one_question() {
    let mut world = World::new();
    let wanted = Wanted {
        host: "slow.example".into(),
        port: Some(5060),
        transport: Some(Transport::Udp),
        spoken: vec![Transport::Udp],
        families: (true, false),
    };
    for id in 0..3 {
        world.locator.locate(world.now, LocateId(id), wanted.clone());
    }
    assert!(matches!(world.locator.poll_output(), Some(Output::Ask(_))));
    assert_eq!(world.locator.poll_output(), None);
    let at = world.locator.next_deadline().unwrap();
    world.locator.handle_timeout(at);
    for id in 0..3 {
        let located = Located { targets: vec![], sure: false, lasts: Duration::from_secs(5) };
        assert_eq!(world.locator.poll_output(), Some(Output::Located(LocateId(id), located)));
    }
    assert_eq!((world.locator.searching(), world.locator.next_deadline()), (0, None));
}

#[test]
fn arbitrary_answers_do_no_harm() {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    for _ in 0..3000 {
        let bytes: Vec<u8> = (0..200)
            .map(|_| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                state as u8
            })
            .collect();
        fuzz::answers(&bytes);
    }
}

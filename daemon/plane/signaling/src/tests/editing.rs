//! Row 2: header manipulation per trunk, both ways.

use super::*;

/// The carrier's messages are changed as these rules say.
fn ruled(rules: &str) -> World {
    World::with(with_rules(config(), rules))
}

pub(crate) fn with_rules(mut config: Config, rules: &str) -> Config {
    let text = format!(
        "appliance: {{name: a}}\nrealms: {{outer: {{signaling: \"10.0.0.1\"}}}}\nheaders: {{h: {{rules: [{rules}]}}}}\n"
    );
    let (read, _) = load("test.yaml", &text, &NoFiles).expect("the rules read");
    config.headers = read.headers;
    config.trunks.get_mut("carrier").unwrap().headers = Some("h".into());
    config
}

fn told(world: &mut World) -> Vec<(bool, String)> {
    let told = |event: LegEvent| match event {
        LegEvent::HeadersChanged { sent, rules, .. } => Some((sent, rules.join(","))),
        _ => None,
    };
    world.events.drain(..).filter_map(told).collect()
}

fn count(text: &str, name: &str) -> usize {
    text.lines().filter(|line| line.to_lowercase().starts_with(&format!("{}:", name.to_lowercase()))).count()
}

#[test]
fn row_2_what_comes_is_read_as_the_rules_want_it_and_what_leaves_carries_what_they_say() {
    let mut world = ruled(
        "{name: who, for: received_request, methods: INVITE, header: P-Asserted-Identity, copy: X-Who, match: '(.*)', replace: '<sip:$1@x>'}, \
         {name: called, for: received_request, methods: INVITE, header: X-Called, copy: To, match: '<sip:(.*)@.*>', replace: '$1'}, \
         {name: trace, for: received_request, header: X-Trace, remove: true}, \
         {name: quiet, for: [sent_request, sent_response], header: User-Agent, remove: true}, \
         {name: silent, for: [sent_request, sent_response], header: server, remove: true}, \
         {name: edge, for: [sent_response], methods: [INVITE, BYE], header: X-Edge, add: one}",
    );
    world.recv(CARRIER, &invite("c1", 1).replace("X-Trace: abc", "X-Trace: abc\nX-Who: +15550177"));
    let LegEvent::Offered(offered) = world.events.remove(0) else { panic!() };
    assert_eq!((&*offered.from, &*offered.identity.asserted), ("+15550177", "+15550177"));
    let extra: Vec<_> = offered.headers.iter().map(|(name, value)| format!("{name}: {value}")).collect();
    assert_eq!(extra, ["X-Who: +15550177", "X-Called: +15550100"]);
    assert_eq!(told(&mut world), [(false, "who,called,trace".to_owned())]);
    let trying = world.one();
    assert_eq!((count(&trying, "Server"), count(&trying, "X-Edge")), (1, 0), "100 is nobody's to change: {trying}");

    world.command(LegCommand::Answer { leg: offered.leg, answer: Box::new(ours(30000)) });
    let answer = world.one();
    assert_eq!((count(&answer, "Server"), header(&answer, "X-Edge")), (0, "one"), "{answer}");
    assert_eq!(header(&answer, "Content-Length"), answer.split_once("\r\n\r\n").unwrap().1.len().to_string());
    world.pass(Duration::from_millis(500));
    assert_eq!(world.one(), answer, "repeated as it was");
    let tag = tag_of(&answer, "To");
    world.recv(CARRIER, &in_dialog("ACK", "c1", 1, &tag, ""));
    world.recv(CARRIER, &in_dialog("OPTIONS", "c1", 2, &tag, ""));
    let options = world.one();
    assert_eq!((count(&options, "Server"), count(&options, "X-Edge")), (0, 0), "{options}");
    world.recv(CARRIER, &in_dialog("BYE", "c1", 3, &tag, ""));
    assert_eq!(header(&world.one(), "X-Edge"), "one");
    // What is refused before it is a leg is the trunk's all the same.
    world.recv(CARRIER, &invite("c2", 1).replace("Max-Forwards: 70", "Max-Forwards: 0"));
    let refused = world.one();
    assert!(refused.starts_with("SIP/2.0 483") && header(&refused, "X-Edge") == "one", "{refused}");
    // Another trunk has no rules.
    world.recv("198.51.100.20:5060", &invite("c3", 1).replace("198.51.100.10", "198.51.100.20"));
    world.events.clear();
    assert_eq!(count(&world.one(), "Server"), 1);
}

#[test]
fn row_2_a_request_that_is_sent_again_carries_what_rules_add_once() {
    let mut world = ruled(
        "{name: account, for: sent_request, header: X-Account, add: '4711'}, \
         {name: agent, for: sent_request, methods: [ACK, BYE], header: User-Agent, set: Edge}, \
         {name: cause, for: received_response, methods: INVITE, header: Reason, match: 'Q.850;cause=41', replace: 'Q.850;cause=17'}",
    );
    world.command(to_carrier(CallSid(1)));
    assert_eq!(told(&mut world), [(true, "account".to_owned())]);
    let invite = world.one();
    assert_eq!((count(&invite, "X-Account"), header(&invite, "User-Agent")), (1, "Postern"), "{invite}");
    world.recv(
        CARRIER,
        &response(&invite, "401 Unauthorized", "t1", "WWW-Authenticate: Digest realm=\"r\", nonce=\"n\""),
    );
    let again = world.sent.pop().unwrap().1;
    assert!(again.contains("Authorization: Digest") && count(&again, "X-Account") == 1, "{again}");
    world.sent.clear();
    let described = format!("Contact: <sip:gw@198.51.100.10:5060>\n{}", with_sdp(SDP));
    world.recv(CARRIER, &response(&again, "200 OK", "t1", &described));
    let ack = world.one();
    assert_eq!((count(&ack, "X-Account"), header(&ack, "User-Agent")), (1, "Edge"), "{ack}");
    world.command(hangup(CallSid(1)));
    let bye = world.one();
    assert_eq!((count(&bye, "X-Account"), header(&bye, "User-Agent")), (1, "Edge"), "{bye}");
    world.recv(CARRIER, &response(&bye, "401 Unauthorized", "t1", "WWW-Authenticate: Digest realm=\"r\", nonce=\"n\""));
    let bye = world.one();
    assert!(bye.contains("Authorization: Digest") && count(&bye, "X-Account") == 1, "{bye}");
    world.events.clear();

    world.command(to_carrier(CallSid(2)));
    let invite = world.one();
    world.recv(CARRIER, &response(&invite, "480 Gone", "t1", "Reason: Q.850;cause=41"));
    let failed = world.events.iter().find_map(|event| match event {
        LegEvent::Failed { cause, .. } => Some((cause.status, cause.q850)),
        _ => None,
    });
    assert_eq!(failed, Some((480, Some(17))));
}

#[test]
fn row_2_a_device_beside_a_trunk_has_none_of_its_rules() {
    let mut world = ruled("{name: account, for: [sent_request, sent_response], header: X-Account, add: '4711'}");
    let answer = world.register("alice", PHONE, "");
    assert_eq!(count(&answer, "X-Account"), 0, "{answer}");
    world.command(dial(CallSid(1), Target::user(UserName::new("alice"))));
    assert_eq!(count(&world.one(), "X-Account"), 0);
}

//! The house in the simulated world: scores of conditions, actions and checks, and storms by seed.

use std::time::Duration;

use postern_config::{CallbackEvent, HttpMethod};
use postern_facts::Fact;
use postern_router::rest::{CreateCall, Instructions, StatusCallback, UpdateCall};
use postern_sim::{
    World,
    application::Answer,
    network::Faults,
    phone::{Habits, Reaction, Stage},
    stream::StreamFaults,
};
use postern_switch::{Reply, Request};
use postern_types::Transport;
use rand::{RngExt, SeedableRng, rngs::StdRng};

const CARRIER: &str = "127.0.0.11:5060";
/// A second carrier.
const BETA: &str = "127.0.0.12:5060";
const BOX_CARRIER: &str = "127.0.0.2:5060";
const BOX_PHONES: &str = "127.0.0.3:5060";
const ALICE: &str = "127.0.0.21:5060";
const ALICE_TABLET: &str = "127.0.0.22:5060";
const ACCOUNT: &str = "AC00000000000000000000000000000001";

const YAML: &str = r#"
appliance: { name: sim, state_folder: /tmp/postern-sim, runtime_folder: /tmp/postern-sim }
realms:
  carrier: { signaling: ["127.0.0.2:5060"], media: { addresses: ["127.0.0.2"], ports: 20000-20999 } }
  phones: { signaling: ["127.0.0.3:5060"], media: { addresses: ["127.0.0.3"], ports: 20000-20999 }, registrations: true }
trunks:
  acme: { realm: carrier, address: "127.0.0.11:5060", codecs: [PCMA, PCMU], trusted: true }
  beta: { realm: carrier, address: "127.0.0.12:5060", calls_max: 20, trusted: true }
users:
  alice: { password: secret-a, refer: terminate }
  bob: { password: secret-b }
numbers:
  "+15550001": { user: alice, timeout: 30s }
  "+15550002": { application: greeting }
  "+15550003": { application: dialer }
routes:
  - { name: transit, from: { trunk: acme }, prefix: "+44", to: { trunk: beta }, timeout: 30s }
  - { name: pstn, from: users, prefix: "+", to: { trunk: acme }, timeout: 30s }
accounts:
  main: { sid: AC00000000000000000000000000000001, token: not-to-be-seen }
applications:
  greeting:
    account: main
    voice_url: http://app.example/greeting
    voice_fallback_url: http://spare.example/greeting
    status_callback: http://app.example/status
    status_callback_events: [initiated, ringing, answered, completed]
  dialer: { account: main, voice_url: http://app.example/dialer }
"#;

/// A carrier, alice with one device that is registered, and a box between.
fn world(seed: u64, faults: Faults) -> (World, usize, usize) {
    let mut world = World::new(seed, YAML, faults);
    let carrier = world.phone("+15559999", "", CARRIER, BOX_CARRIER);
    let alice = world.phone("alice", "secret-a", ALICE, BOX_PHONES);
    world.with(alice, |phone, now| phone.register(now, 3600));
    assert!(world.run_until(Duration::from_secs(40), |world| world.phones[alice].registered), "seed {seed}");
    (world, carrier, alice)
}

fn good() -> (World, usize, usize) {
    world(1, Faults::NONE)
}

const MINUTE: Duration = Duration::from_secs(60);

/// The same by TCP on all sides.
fn tcp_world(seed: u64) -> (World, usize, usize) {
    let mut yaml = YAML.to_owned();
    for address in [BOX_CARRIER, BOX_PHONES] {
        yaml = yaml.replace(&format!("signaling: [\"{address}\"]"), &format!("signaling: {{ tcp: [\"{address}\"] }}"));
    }
    yaml = yaml.replace("address: \"127.0.0.1", "transport: tcp, address: \"127.0.0.1");
    let mut world = World::new(seed, &yaml, Faults::NONE);
    let carrier = world.phone("+15559999", "", CARRIER, BOX_CARRIER);
    let alice = world.phone("alice", "secret-a", ALICE, BOX_PHONES);
    world.phones.iter_mut().for_each(|phone| phone.transport = Transport::Tcp);
    world.with(alice, |phone, now| phone.register(now, 3600));
    assert!(world.run_until(Duration::from_secs(40), |world| world.phones[alice].registered), "seed {seed}");
    (world, carrier, alice)
}

#[test]
fn a_call_by_tcp_comes_in_and_goes_out_whatever_pieces_its_messages_come_in() {
    for seed in 0..50 {
        let (mut world, carrier, alice) = tcp_world(seed);
        world.phones[carrier].habits.hang_up_after = Some(Duration::from_secs(10));
        world.with(carrier, |phone, now| phone.call(now, "+15550001"));
        assert!(
            world.run_until(MINUTE, |world| world.phones[carrier].calls[0].stage == Stage::Answered),
            "seed {seed}"
        );
        world.run(2 * MINUTE);
        assert_eq!(world.phones[alice].calls[0].stage, Stage::Over(200), "seed {seed}");
        world.with(alice, |phone, now| phone.call(now, "+442071838750"));
        assert!(world.run_until(MINUTE, |world| world.phones[alice].calls[1].stage == Stage::Answered), "seed {seed}");
        world.with(carrier, |phone, now| phone.hang_up(now, 1));
        world.run(MINUTE);
        assert_eq!(world.phones[alice].calls[1].stage, Stage::Over(200), "seed {seed}");
        assert!(world.sent.is_empty(), "seed {seed}: nothing by UDP");
        world.assert_at_rest();
    }
}

#[test]
fn row_18_a_call_with_session_timers_lasts_all_day_and_ends_when_a_side_is_gone() {
    let hour = 60 * MINUTE;
    for seed in 0..20 {
        let faults = if seed == 0 { Faults::NONE } else { Faults::BAD };
        let (mut world, carrier, alice) = world(seed, faults);
        for phone in [carrier, alice] {
            world.phones[phone].habits.session_expires = Some(600);
        }
        world.with(carrier, |phone, now| phone.call(now, "+15550001"));
        let talks = |world: &World| world.phones[carrier].calls[0].stage == Stage::Answered;
        assert!(world.run_until(2 * MINUTE, talks), "seed {seed}");
        world.run(3 * hour);
        assert_eq!(world.phones[carrier].live() + world.phones[alice].live(), 2, "seed {seed}: nobody cut it");
        // Each leg on its own, every five minutes.
        assert!(world.phones[carrier].refreshes >= 30 && world.phones[alice].refreshes >= 30, "seed {seed}");
        world.phones[alice].gone = true;
        assert!(world.run_until(10 * MINUTE, |world| world.phones[carrier].live() == 0), "seed {seed}");
        let why = world.records.iter().filter_map(|record| record.cause.as_ref()).map(|cause| cause.text.to_string());
        assert!(why.clone().any(|why| why.contains("session refresh")), "seed {seed}: {:?}", why.collect::<Vec<_>>());
        world.run(2 * MINUTE);
        world.assert_at_rest();
    }
}

#[test]
fn a_carriers_call_reaches_the_phone_and_either_side_hangs_up() {
    for caller_ends in [true, false] {
        let (mut world, carrier, alice) = good();
        let ender = if caller_ends { carrier } else { alice };
        world.phones[ender].habits.hang_up_after = Some(Duration::from_secs(10));
        world.with(carrier, |phone, now| phone.call(now, "+15550001"));
        assert!(world.run_until(MINUTE, |world| world.phones[carrier].calls[0].stage == Stage::Answered));
        assert!(world.run_until(Duration::from_secs(1), |world| world.media.bridges() == 1), "audio is joined");
        world.run(2 * MINUTE);
        assert!(world.phones[carrier].calls[0].is_over() && world.phones[alice].calls[0].is_over());
        world.assert_at_rest();
    }
}

#[test]
fn a_phones_call_leaves_over_the_trunk() {
    let (mut world, carrier, alice) = good();
    world.with(alice, |phone, now| phone.call(now, "+442071838750"));
    assert!(world.run_until(MINUTE, |world| world.phones[alice].calls[0].stage == Stage::Answered));
    world.with(carrier, |phone, now| phone.hang_up(now, 0));
    world.run(MINUTE);
    assert_eq!(world.phones[alice].calls[0].stage, Stage::Over(200));
    world.assert_at_rest();
}

#[test]
fn failures_come_back_as_the_callee_meant_them() {
    for status in [404, 480, 486, 503, 603] {
        let (mut world, carrier, alice) = good();
        world.phones[alice].habits.reaction = Reaction::Refuse { after: Duration::from_secs(1), status };
        world.with(carrier, |phone, now| phone.call(now, "+15550001"));
        world.run(2 * MINUTE);
        assert_eq!(world.phones[carrier].calls[0].stage, Stage::Over(status));
        world.assert_at_rest();
    }
}

#[test]
fn a_caller_that_gives_up_is_told_487_and_the_phone_stops_ringing() {
    let (mut world, carrier, alice) = good();
    world.phones[alice].habits.reaction = Reaction::Ring;
    world.phones[carrier].habits.cancel_after = Some(Duration::from_secs(5));
    world.with(carrier, |phone, now| phone.call(now, "+15550001"));
    world.run(2 * MINUTE);
    assert_eq!(world.phones[carrier].calls[0].stage, Stage::Over(487));
    assert_eq!(world.phones[alice].calls[0].stage, Stage::Over(487));
    world.assert_at_rest();
}

#[test]
fn nobody_answers_in_time() {
    let (mut world, carrier, alice) = good();
    world.phones[alice].habits.reaction = Reaction::Ring;
    world.with(carrier, |phone, now| phone.call(now, "+15550001"));
    world.run(2 * MINUTE);
    assert_eq!(world.phones[carrier].calls[0].stage, Stage::Over(480));
    world.assert_at_rest();
}

#[test]
fn hold_and_resume_pass_through_and_a_refusal_comes_back() {
    let (mut world, carrier, alice) = good();
    world.phones[carrier].habits.hold_after = Some(Duration::from_secs(3));
    world.with(carrier, |phone, now| phone.call(now, "+15550001"));
    world.run(Duration::from_secs(20));
    assert_eq!(world.phones[carrier].calls[0].offers_accepted, 2);
    assert_eq!(world.phones[alice].calls[0].offers_got, ["sendonly", "sendrecv"]);
    assert_eq!((world.facts("leg.held").len(), world.facts("leg.resumed").len()), (1, 1));

    world.phones[alice].habits.refuses_offers = true;
    world.with(carrier, |phone, now| phone.reoffer(now, 0, "sendonly"));
    world.run(Duration::from_secs(10));
    assert_eq!(world.phones[carrier].calls[0].offers_refused, [488]);
    assert_eq!(world.phones[carrier].calls[0].stage, Stage::Answered, "the session stays as it was");
    world.with(carrier, |phone, now| phone.hang_up(now, 0));
    world.run(MINUTE);
    world.assert_at_rest();
}

#[test]
fn every_device_rings_and_the_losers_stop() {
    let (mut world, carrier, alice) = good();
    let tablet = world.phone("alice", "secret-a", ALICE_TABLET, BOX_PHONES);
    world.with(tablet, |phone, now| phone.register(now, 3600));
    world.run(Duration::from_secs(2));
    world.phones[alice].habits.reaction = Reaction::Ring;
    world.phones[tablet].habits.hang_up_after = Some(Duration::from_secs(5));
    world.with(carrier, |phone, now| phone.call(now, "+15550001"));
    world.run(2 * MINUTE);
    assert_eq!(world.phones[alice].calls[0].stage, Stage::Over(487));
    assert_eq!(world.phones[tablet].calls[0].stage, Stage::Over(200));
    world.assert_at_rest();
}

#[test]
fn presence_follows_registration_and_calls() {
    let (mut world, carrier, alice) = good();
    world.phones[alice].habits.hang_up_after = Some(Duration::from_secs(5));
    world.with(carrier, |phone, now| phone.call(now, "+15550001"));
    world.run(MINUTE);
    world.with(alice, |phone, now| phone.register(now, 0));
    world.run(MINUTE);
    let told: Vec<_> = world
        .facts("presence.changed")
        .iter()
        .map(|event| match &event.fact {
            Fact::PresenceChanged(changed) => changed.status.clone(),
            _ => unreachable!("filtered by name"),
        })
        .collect();
    assert_eq!(told, ["available", "busy", "available", "gone"]);

    world.with(carrier, |phone, now| phone.call(now, "+15550001"));
    world.run(Duration::from_secs(2));
    assert_eq!(world.phones[carrier].calls[1].stage, Stage::Over(480), "nobody is there: at once");
    world.assert_at_rest();
}

#[test]
fn a_registration_that_is_not_refreshed_is_gone() {
    let (mut world, carrier, alice) = good();
    world.with(alice, |phone, now| phone.register(now, 60));
    world.run(2 * MINUTE);
    assert_eq!(world.facts("registration.removed").len(), 1);
    world.with(carrier, |phone, now| phone.call(now, "+15550001"));
    world.run(Duration::from_secs(2));
    assert_eq!(world.phones[carrier].calls[0].stage, Stage::Over(480));
    world.assert_at_rest();
}

#[test]
fn the_far_side_sees_nothing_of_the_inner_side() {
    let (mut world, carrier, alice) = good();
    world.phones[alice].habits.hang_up_after = Some(Duration::from_secs(5));
    world.phones[carrier].habits.hold_after = Some(Duration::from_secs(1));
    world.with(carrier, |phone, now| phone.call(now, "+15550001"));
    world.run(2 * MINUTE);
    let (outside, inside) = (world.sent_to(CARRIER.parse().unwrap()), world.sent_to(ALICE.parse().unwrap()));
    for inner in ["127.0.0.21", "127.0.0.3"] {
        assert!(!outside.contains(inner), "{inner} leaks to the carrier");
    }
    for outer in ["127.0.0.11", "127.0.0.2:"] {
        assert!(!inside.contains(outer), "{outer} leaks to the phone");
    }
    world.assert_at_rest();
}

#[test]
fn a_document_gathers_digits_and_dials() {
    let (mut world, carrier, alice) = good();
    let gather = r#"<Gather numDigits="2" action="/menu" timeout="5"><Play>http://app.example/hello.wav</Play></Gather><Hangup/>"#;
    world.servers.serve("http://app.example/greeting", vec![Answer::document(gather)]);
    let dial = r#"<Dial timeout="20" action="/after"><Client>alice</Client></Dial>"#;
    world.servers.serve("http://app.example/menu", vec![Answer::document(dial)]);
    world.servers.serve("http://app.example/after", vec![Answer::document("<Hangup/>")]);
    world.servers.serve("http://app.example/status", vec![Answer::status(204)]);
    world.phones[alice].habits.hang_up_after = Some(Duration::from_secs(7));
    world.with(carrier, |phone, now| phone.call(now, "+15550002"));
    assert!(world.run_until(MINUTE, |world| world.phones[carrier].calls[0].stage == Stage::Answered));
    let leg = world.facts("call.offered")[0].subject.leg.unwrap();
    world.press(leg, '4');
    world.press(leg, '2');
    assert!(world.run_until(MINUTE, |world| world.media.bridges() == 1));
    world.run(2 * MINUTE);
    let menu = world.servers.taken.iter().find(|taken| taken.url.ends_with("/menu")).unwrap();
    assert_eq!(menu.param("Digits"), Some("42"));
    let after = world.servers.taken.iter().find(|taken| taken.url.ends_with("/after")).unwrap();
    assert_eq!((after.param("DialCallStatus"), after.param("DialCallDuration")), (Some("completed"), Some("7")));
    assert_callbacks(&world, &["initiated", "ringing", "in-progress", "completed"]);
    world.assert_at_rest();
}

/// The progress that the application was told of, in order.
fn assert_callbacks(world: &World, want: &[&str]) {
    let told: Vec<_> = world.servers.taken.iter().filter(|taken| taken.url.ends_with("/status")).collect();
    let statuses: Vec<_> = told.iter().map(|taken| taken.param("CallStatus").unwrap_or("none")).collect();
    assert_eq!(statuses, want);
    for (n, taken) in told.iter().enumerate() {
        assert_eq!(taken.param("SequenceNumber"), Some(n.to_string().as_str()));
    }
}

#[test]
fn a_dead_slow_or_wrong_primary_falls_over_and_the_caller_hears_nothing_of_it() {
    let primaries = [
        (Answer::Refused, "11205"),
        (Answer::Silent, "11235"),
        (Answer::status(500), "11200"),
        (Answer::document("<Fly/>"), "12200"),
        (Answer::Document(Duration::ZERO, 200, "text/xml", "<Response><Play>".into()), "12100"),
    ];
    for (primary, code) in primaries {
        let (mut world, carrier, _) = good();
        world.servers.serve("http://app.example/greeting", vec![primary]);
        world
            .servers
            .serve("http://spare.example/greeting", vec![Answer::document("<Play>/hello.wav</Play><Hangup/>")]);
        world.with(carrier, |phone, now| phone.call(now, "+15550002"));
        world.run(2 * MINUTE);
        let spare = world.servers.taken.iter().find(|taken| taken.url.starts_with("http://spare")).expect(code);
        assert_eq!(spare.param("ErrorCode"), Some(code));
        assert_eq!(spare.param("ErrorUrl"), Some("http://app.example/greeting"));
        assert_eq!(world.phones[carrier].calls[0].stage, Stage::Over(200));
        world.assert_at_rest();
    }
}

#[test]
fn both_servers_failing_ends_the_call_audibly_and_cleanly() {
    let (mut world, carrier, _) = good();
    world.with(carrier, |phone, now| phone.call(now, "+15550002"));
    world.run(2 * MINUTE);
    assert_eq!(world.facts("app.failed").len(), 2);
    assert!(!world.facts("leg.answered").is_empty(), "the caller hears a tone");
    assert_eq!(world.phones[carrier].calls[0].stage, Stage::Over(200));
    world.assert_at_rest();
}

#[test]
fn rest_makes_redirects_and_ends_calls() {
    let (mut world, _, alice) = good();
    let account = ACCOUNT.parse().unwrap();
    let document = |body: &str| Instructions::Document(format!("<Response>{body}</Response>"));
    let call = CreateCall {
        to: "client:alice".into(),
        from: "+15550002".into(),
        instructions: document("<Pause length=\"60\"/>"),
        timeout_s: 30,
        status_callback: None,
    };
    let Reply::Call(record) = world.ask(Request::CreateCall { account, call: Box::new(call) }) else { panic!() };
    assert_eq!(record.status, "queued");
    assert!(
        world.run_until(MINUTE, |world| world.phones[alice].calls.first().is_some_and(|c| c.stage == Stage::Answered))
    );
    world.run(Duration::from_secs(1));
    let redirect = UpdateCall::Redirect(document("<Pause length=\"5\"/><Hangup/>"));
    let reply = world.ask(Request::UpdateCall { account, sid: record.sid, update: Box::new(redirect) });
    assert!(matches!(reply, Reply::Call(_)), "{reply:?}");
    assert!(world.run_until(Duration::from_secs(10), |world| world.phones[alice].calls[0].is_over()));
    world.run(MINUTE);
    let reply = world.ask(Request::UpdateCall { account, sid: record.sid, update: Box::new(UpdateCall::Complete) });
    assert!(matches!(reply, Reply::NotLive), "{reply:?}");
    world.assert_at_rest();
}

#[test]
fn strangers_get_nothing_and_are_counted() {
    let (mut world, ..) = good();
    let stranger = world.phone("mallory", "guess", "127.0.0.66:5060", BOX_CARRIER);
    world.with(stranger, |phone, now| phone.call(now, "+15550001"));
    world.run(2 * MINUTE);
    assert_eq!(world.sent_to("127.0.0.66:5060".parse().unwrap()), "");
    assert!(world.status().strangers > 0);
    assert!(world.facts("call.offered").is_empty());
    world.assert_at_rest();
}

#[test]
fn a_new_configuration_is_for_calls_that_come() {
    let (mut world, carrier, alice) = good();
    world.with(carrier, |phone, now| phone.call(now, "+15550001"));
    world.run(Duration::from_secs(10));
    world.configure(&YAML.replace("\"+15550001\": { user: alice, timeout: 30s }", "\"+15550001\": { user: bob }"));
    world.run(Duration::from_secs(10));
    assert_eq!(world.phones[carrier].calls[0].stage, Stage::Answered, "a live call goes on");
    world.with(alice, |phone, now| phone.hang_up(now, 0));
    world.with(carrier, |phone, now| phone.call(now, "+15550001"));
    world.run(2 * MINUTE);
    assert_eq!(world.phones[carrier].calls[1].stage, Stage::Over(480), "bob is not there");
    world.assert_at_rest();
}

#[test]
fn row_43_a_box_that_drains_keeps_its_calls_and_refuses_new_ones() {
    let (mut world, carrier, alice) = good();
    world.with(carrier, |phone, now| phone.call(now, "+15550001"));
    world.run(Duration::from_secs(10));
    for _ in 0..2 {
        assert!(matches!(world.ask(Request::Drain { on: true }), Reply::Done));
    }
    world.with(carrier, |phone, now| phone.call(now, "+15550001"));
    world.run(Duration::from_secs(30));
    assert_eq!(world.phones[carrier].calls[0].stage, Stage::Answered, "a live call goes on");
    assert_eq!(world.phones[carrier].calls[1].stage, Stage::Over(503));
    assert_eq!((world.status().draining, world.status().calls), (true, 1));
    world.with(alice, |phone, now| phone.hang_up(now, 0));
    world.run(MINUTE);
    assert_eq!(world.status().calls, 0, "drained");
    world.ask(Request::Drain { on: false });
    world.with(carrier, |phone, now| phone.call(now, "+15550001"));
    world.run(Duration::from_secs(10));
    assert_eq!(world.phones[carrier].calls[2].stage, Stage::Answered);
    assert_eq!(world.facts("appliance.draining").len(), 2, "told when it changes");
    world.with(alice, |phone, now| phone.hang_up(now, 1));
    world.run(MINUTE);
    world.assert_at_rest();
}

#[test]
fn a_carriers_call_goes_out_over_another_carrier() {
    let (mut world, carrier, _) = good();
    let beta = world.phone("+442071838750", "", BETA, BOX_CARRIER);
    world.phones[beta].habits.hang_up_after = Some(Duration::from_secs(5));
    world.with(carrier, |phone, now| phone.call(now, "+442071838750"));
    world.run(MINUTE);
    assert_eq!(world.phones[carrier].calls[0].stage, Stage::Over(200));
    assert_eq!(world.phones[beta].calls[0].stage, Stage::Over(200));
    let out = world.sent_to(BETA.parse().unwrap());
    assert!(out.contains("Max-Forwards: 69\r\n"), "one less than came in");
    assert!(out.contains("From: <sip:+15559999@127.0.0.2>;tag="), "who calls is shown");
    assert!(!out.contains("P-Asserted-Identity"), "and nobody vouched for it");
    world.assert_at_rest();
}

#[test]
fn a_full_trunk_refuses_in_words() {
    let (mut world, carrier, _) = good();
    world.configure(&YAML.replace("calls_max: 20", "calls_max: 1"));
    let beta = world.phone("+442071838750", "", BETA, BOX_CARRIER);
    for _ in 0..2 {
        world.with(carrier, |phone, now| phone.call(now, "+442071838750"));
        world.run(Duration::from_secs(10));
    }
    assert_eq!(world.phones[carrier].calls[1].stage, Stage::Over(503));
    let end = world.facts("call.ended").pop().map(|event| event.fact.clone());
    let Some(Fact::CallEnded(end)) = end else { panic!("an end") };
    assert_eq!(end.cause.text, "the trunk has no room for a further call");
    world.with(beta, |phone, now| phone.hang_up(now, 0));
    world.run(MINUTE);
    world.assert_at_rest();
}

/// A random moment's doings besides calls: digits, hold from one or both sides, silence, REST, registrations, reloads.
fn weather(world: &mut World, chance: &mut StdRng, phones: &[usize; 4]) {
    let legs = world.live_legs();
    let leg = (!legs.is_empty()).then(|| legs[chance.random_range(0..legs.len())].sid);
    let account = ACCOUNT.parse().unwrap();
    let verbs =
        ["<Hangup/>", "<Pause/>", "<Play>/a.wav</Play>", "<Gather/>", "<Dial>+442071838750</Dial>", "<Nonsense/>"];
    let document = |chance: &mut StdRng| {
        let verbs: String = (0..3).map(|_| verbs[chance.random_range(0..verbs.len())]).collect();
        Instructions::Document(format!("<Response>{verbs}</Response>"))
    };
    let direction = |chance: &mut StdRng| ["sendonly", "sendrecv", "inactive"][chance.random_range(0..3)];
    match (chance.random_range(0..13), leg) {
        (0, Some(leg)) => {
            for digit in "42#".chars() {
                world.press(leg, digit);
            }
        }
        (1, Some(leg)) => _ = world.fall_silent(leg),
        (2, Some(sid)) => {
            let update = match chance.random_range(0..3) {
                0 => UpdateCall::Cancel,
                1 => UpdateCall::Complete,
                _ => UpdateCall::Redirect(document(chance)),
            };
            world.ask(Request::UpdateCall { account, sid, update: Box::new(update) });
        }
        (3, _) => {
            let to = ["client:alice", "+442071838750", "client:bob"][chance.random_range(0..3)];
            let call = CreateCall {
                to: to.into(),
                from: "+15550002".into(),
                instructions: document(chance),
                timeout_s: 20,
                status_callback: Some(StatusCallback {
                    url: "http://app.example/made".into(),
                    method: HttpMethod::Post,
                    events: vec![CallbackEvent::Ringing, CallbackEvent::Completed],
                }),
            };
            world.ask(Request::CreateCall { account, call: Box::new(call) });
        }
        (4, _) => {
            // Both at once: glare.
            let direction = direction(chance);
            for phone in phones {
                world.with(*phone, |phone, now| phone.reoffer_latest(now, direction));
            }
        }
        (5, _) => {
            let (phone, direction) = (phones[chance.random_range(0..4)], direction(chance));
            world.with(phone, |phone, now| phone.reoffer_latest(now, direction));
        }
        (6, _) => {
            let (phone, expires) = (phones[chance.random_range(1..3)], [0, 60, 3600][chance.random_range(0..3)]);
            world.with(phone, |phone, now| phone.register(now, expires));
        }
        (7, _) => {
            let other = YAML.replace("calls_max: 20", "calls_max: 1").replace("+15550003", "+15550004");
            world.configure(if chance.random_bool(0.5) { &other } else { YAML });
        }
        (8, Some(sid)) => _ = world.ask(Request::Hangup { sid }),
        (10, _) => {
            let to = ["+442071838750", "alice", "+15550002", "bob"][chance.random_range(0..4)];
            world.with(phones[1], |phone, now| (0..phone.calls.len()).for_each(|call| phone.refer(now, call, to)));
        }
        (11, _) => {
            world.with(phones[1], |phone, now| {
                (1..phone.calls.len()).for_each(|call| phone.join(now, call - 1, call));
            });
        }
        (12, _) => {
            let named = world.phones[phones[1]].calls.last().map(|_| world.phones[phones[1]].calls.len() - 1);
            let named = named.and_then(|at| world.phones[phones[1]].named(at));
            if let Some(named) = named {
                world.with(phones[2], |phone, now| phone.replace(now, &named));
            }
        }
        _ => {}
    }
}

/// Many calls with random habits through a bad network: whatever happens, every story has one end and everything comes back.
fn storm(seed: u64, over: Transport) {
    let mut chance = StdRng::seed_from_u64(seed ^ 0x5703);
    let (mut world, carrier, alice) = match over {
        Transport::Udp => world(seed, Faults::BAD),
        _ => tcp_world(seed),
    };
    let tablet = world.phone("alice", "secret-a", ALICE_TABLET, BOX_PHONES);
    let beta = world.phone("+442071838750", "", BETA, BOX_CARRIER);
    let phones = [carrier, alice, tablet, beta];
    phones.iter().for_each(|phone| world.phones[*phone].transport = over);
    world.stream_faults(StreamFaults::BAD);
    world.with(tablet, |phone, now| phone.register(now, 3600));
    world.media.peers_send = chance.random_bool(0.8);
    let slow = |ms: u64, verbs: &str| {
        Answer::Document(Duration::from_millis(ms), 200, "text/xml", format!("<Response>{verbs}</Response>"))
    };
    let told = "statusCallback='/noun' statusCallbackEvent='initiated ringing answered completed'";
    let dial =
        format!("<Dial action='/after'><Client {told}>alice</Client><Number {told}>+442071838750</Number></Dial>");
    let gather =
        "<Gather numDigits='2' timeout='4' action='/after'><Play>/a.wav</Play></Gather><Redirect>/after</Redirect>";
    world.servers.serve("http://app.example/dialer", vec![slow(chance.random_range(0..20_000), &dial)]);
    world.servers.serve(
        "http://app.example/greeting",
        vec![Answer::Refused, slow(50, gather), Answer::status(500), slow(3000, &dial)],
    );
    world
        .servers
        .serve("http://spare.example/greeting", vec![slow(50, "<Dial><Client>alice</Client></Dial>"), Answer::Silent]);
    world.servers.serve("http://app.example/after", vec![slow(50, &dial), Answer::Silent, slow(50, "<Hangup/>")]);
    let subscriber =
        vec![Answer::status(204), Answer::Silent, Answer::status(500), Answer::status(204), Answer::status(404)];
    for url in ["status", "noun", "made"] {
        world.servers.serve(&format!("http://app.example/{url}"), subscriber.clone());
    }
    let span = |chance: &mut StdRng, max: u64| Duration::from_millis(chance.random_range(0..max));
    for _ in 0..12 {
        for phone in phones {
            let some = |chance: &mut StdRng, p: f64, max: u64| chance.random_bool(p).then(|| span(chance, max));
            let reaction = match chance.random_range(0..6) {
                0 => Reaction::Ring,
                1 => Reaction::Dead,
                2 => Reaction::Refuse { after: span(&mut chance, 5_000), status: 486 },
                _ => Reaction::Answer { after: span(&mut chance, 5_000) },
            };
            world.phones[phone].habits = Habits {
                reaction,
                hang_up_after: Some(span(&mut chance, 20_000)),
                cancel_after: some(&mut chance, 0.4, 6_000),
                hold_after: some(&mut chance, 0.3, 4_000),
                session_expires: chance.random_bool(0.5).then_some(600),
                refuses_offers: chance.random_bool(0.2),
            };
        }
        match chance.random_range(0..6) {
            0 => _ = world.with(alice, |phone, now| phone.call(now, "+442071838750")),
            1 => _ = world.with(carrier, |phone, now| phone.call(now, "+15550002")),
            2 => _ = world.with(carrier, |phone, now| phone.call(now, "+15550003")),
            3 => _ = world.with(carrier, |phone, now| phone.call(now, "+442071838750")),
            _ => _ = world.with(carrier, |phone, now| phone.call(now, "+15550001")),
        }
        for _ in 0..chance.random_range(0..4) {
            world.run(span(&mut chance, 4_000));
            weather(&mut world, &mut chance, &phones);
        }
        world.run(span(&mut chance, 4_000));
    }
    // Parties whose BYE was lost for good are noticed by nobody but the media plane, which has no packets here: end what is left as the
    // appliance does when it stops, then let every timer run out.
    world.run(Duration::from_secs(200));
    for record in world.live_legs() {
        world.ask(Request::Hangup { sid: record.sid });
    }
    world.run(Duration::from_secs(300));
    world.assert_at_rest();
}

#[test]
fn storms_leave_nothing_behind() {
    let seeds = std::env::var("STORM_SEEDS").ok().and_then(|n| n.parse().ok()).unwrap_or(60);
    for seed in 0..seeds {
        eprintln!("storm with seed {seed}");
        storm(seed, Transport::Udp);
        storm(seed, Transport::Tcp);
    }
}

/// Two carriers in a group; the first is dead, says 503, or is fine.
#[test]
fn row_4_a_group_takes_the_call_to_a_carrier_that_lives() {
    let yaml = YAML
        .replace("numbers:", "groups: { both: { trunks: [{ trunk: acme }, { trunk: beta, priority: 1 }] } }\nnumbers:")
        .replace("prefix: \"+\", to: { trunk: acme }", "prefix: \"+\", to: { group: both }");
    for seed in 0..30 {
        for acme in [Some(503), Some(486), None] {
            let mut world = World::new(seed, &yaml, if seed % 2 == 0 { Faults::NONE } else { Faults::BAD });
            let beta = world.phone("+15558888", "", BETA, BOX_CARRIER);
            let alice = world.phone("alice", "secret-a", ALICE, BOX_PHONES);
            if let Some(status) = acme {
                let carrier = world.phone("+15559999", "", CARRIER, BOX_CARRIER);
                world.phones[carrier].habits.reaction = Reaction::Refuse { after: Duration::ZERO, status };
            }
            world.phones[beta].habits.hang_up_after = Some(Duration::from_secs(5));
            world.with(alice, |phone, now| phone.register(now, 3600));
            assert!(world.run_until(Duration::from_secs(40), |world| world.phones[alice].registered), "seed {seed}");
            world.with(alice, |phone, now| phone.call(now, "+442071838750"));
            world.run(3 * MINUTE);
            let stage = world.phones[alice].calls[0].stage;
            let wanted = if acme == Some(486) { Stage::Over(486) } else { Stage::Over(200) };
            assert_eq!(stage, wanted, "seed {seed}, acme {acme:?}");
            assert_eq!(world.phones[beta].calls.len(), usize::from(acme != Some(486)), "seed {seed}, acme {acme:?}");
            world.assert_at_rest();
        }
    }
}

//! SUBSCRIBE and NOTIFY (RFC 6665): who is told what of a user, how often, and how each subscription ends.

use postern_types::{
    mailbox::{Mailbox, Waiting},
    watch::{UserCall, UserState},
};

use super::*;

const CONSOLE: &str = "192.168.1.70:5060";

/// A SUBSCRIBE of alice's console; `rest` are further header lines.
fn subscribe(to: &str, event: &str, cseq: u32, tag: &str, rest: &str) -> String {
    format!(
        "SUBSCRIBE sip:{to}@192.168.1.1 SIP/2.0
        Via: SIP/2.0/UDP {CONSOLE};branch=z9hG4bK-sub-{to}-{event}-{cseq};rport
        Max-Forwards: 70
        From: <sip:alice@192.168.1.1>;tag=console
        To: <sip:{to}@192.168.1.1>{tag}
        Call-ID: sub-{to}-{event}
        CSeq: {cseq} SUBSCRIBE
        Contact: <sip:alice@{CONSOLE}>
        Event: {event}
        {rest}"
    )
}

/// The answer to a SUBSCRIBE of alice's, her password proven; what follows it stays in `sent`.
fn subscribed(world: &mut World, to: &str, event: &str, rest: &str) -> String {
    world.recv(CONSOLE, &subscribe(to, event, 1, "", rest));
    let challenge = world.one();
    assert!(challenge.starts_with("SIP/2.0 401"), "{challenge}");
    let proof = authorization(&challenge, "alice", "secret", "SUBSCRIBE", &format!("sip:{to}@192.168.1.1"));
    world.recv(CONSOLE, &subscribe(to, event, 2, "", &format!("Authorization: {proof}\n{rest}")));
    world.sent.remove(0).1
}

fn state(world: &mut World, user: &str, devices: u32, calls: &[UserCall]) {
    let state = UserState { user: UserName::new(user), devices, calls: calls.to_vec() };
    world.signaling.handle_user(world.now, state);
    world.drain();
}

fn call(leg: u128, answered: bool) -> UserCall {
    UserCall { leg: CallSid(leg), calls: false, answered }
}

/// The NOTIFY that was sent, answered.
fn told(world: &mut World) -> String {
    let text = world.one();
    assert!(text.starts_with(&format!("NOTIFY sip:alice@{CONSOLE} SIP/2.0\r\n")), "{text}");
    world.recv(CONSOLE, &response(&text, "200 OK", "", ""));
    text
}

fn state_of(notify: &str) -> &str {
    header(notify, "Subscription-State")
}

/// A subscription of alice's to bob's calls, told once; our tag.
fn lamp(world: &mut World) -> String {
    let ok = subscribed(world, "bob", "dialog", "Expires: 600");
    assert!(ok.starts_with("SIP/2.0 200"), "{ok}");
    state(world, "bob", 1, &[]);
    let first = told(world);
    assert_eq!((state_of(&first), header(&first, "Event")), ("active;expires=600", "dialog"));
    tag_of(&ok, "To")
}

fn ended(world: &World) -> Vec<String> {
    let why = |fact: &Fact| match fact {
        Fact::SubscriptionEnded(ended) => Some(ended.why.clone()),
        _ => None,
    };
    world.facts.iter().filter_map(why).collect()
}

fn cseq(text: &str) -> u32 {
    header(text, "CSeq").split(' ').next().unwrap().parse().unwrap()
}

#[test]
fn a_busy_lamp_is_lit_and_goes_out_and_nobody_else_is_named() {
    let mut world = World::new();
    let ok = subscribed(&mut world, "bob", "dialog;id=7", "Expires: 600");
    assert!(ok.starts_with("SIP/2.0 200") && header(&ok, "Expires") == "600", "{ok}");
    assert_eq!(header(&ok, "Contact"), "<sip:192.168.1.1:5060>");
    assert!(world.sent.is_empty(), "nothing is told before it is known");
    assert_eq!(world.watches, [("bob".to_owned(), true)]);
    state(&mut world, "bob", 1, &[]);
    let first = told(&mut world);
    assert_eq!(header(&first, "Event"), "dialog;id=7");
    assert_eq!(header(&first, "Content-Type"), "application/dialog-info+xml");
    assert!(first.contains("version=\"0\" state=\"full\" entity=\"sip:bob@192.168.1.1\""), "{first}");
    world.pass(Duration::from_secs(2));
    state(&mut world, "bob", 1, &[call(1, false)]);
    let rings = told(&mut world);
    assert!(
        rings.contains("direction=\"recipient\"><state>early</state>") && cseq(&rings) == cseq(&first) + 1,
        "{rings}"
    );
    world.pass(Duration::from_secs(2));
    state(&mut world, "bob", 1, &[call(1, true)]);
    assert!(told(&mut world).contains("<state>confirmed</state>"));
    world.pass(Duration::from_secs(2));
    state(&mut world, "bob", 1, &[]);
    let over = told(&mut world);
    assert!(over.contains("<state>terminated</state>") && over.contains("version=\"3\""), "{over}");
    // Nothing of what dialog does not say.
    state(&mut world, "bob", 2, &[]);
    assert!(world.is_quiet());
}

#[test]
fn one_notify_is_out_at_a_time_and_the_next_has_the_latest() {
    let mut world = World::new();
    lamp(&mut world);
    for n in 1..5 {
        state(&mut world, "bob", 1, &[call(n, false)]);
    }
    assert!(world.is_quiet(), "sooner than the package allows");
    world.pass(Duration::from_secs(1));
    let text = world.one();
    assert!(text.contains(&CallSid(4).to_string()) && !text.contains(&CallSid(3).to_string()), "{text}");
    state(&mut world, "bob", 1, &[]);
    world.pass(Duration::from_secs(3));
    let again: Vec<_> = world.sent.drain(..).map(|(_, text)| text).collect();
    assert!(again.iter().all(|copy| *copy == text), "only the repetitions of the one that is out: {again:#?}");
    world.recv(CONSOLE, &response(&text, "200 OK", "", ""));
    assert!(told(&mut world).contains("<state>terminated</state>"));
}

#[test]
fn a_subscription_is_refreshed_unsubscribed_and_expires() {
    let mut world = World::new();
    let tag = lamp(&mut world);
    world.pass(Duration::from_secs(500));
    world.recv(CONSOLE, &subscribe("bob", "dialog", 3, &format!(";tag={tag}"), "Expires: 700"));
    assert!(world.sent.remove(0).1.starts_with("SIP/2.0 200"));
    assert_eq!(state_of(&told(&mut world)), "active;expires=700");
    world.pass(Duration::from_secs(650));
    assert!(world.is_quiet(), "the first time does not count any more");
    world.recv(CONSOLE, &subscribe("bob", "dialog", 4, &format!(";tag={tag}"), "Expires: 0"));
    assert!(world.sent.remove(0).1.starts_with("SIP/2.0 200"));
    assert_eq!(state_of(&told(&mut world)), "terminated;reason=timeout");
    world.recv(CONSOLE, &subscribe("bob", "dialog", 5, &format!(";tag={tag}"), "Expires: 600"));
    assert_eq!(world.watches.last(), Some(&("bob".to_owned(), false)));
    // The tag is nobody's any more, and what is not registered is a stranger.
    assert!(world.is_quiet());
    let mut world = World::new();
    lamp(&mut world);
    world.pass(Duration::from_secs(600));
    assert_eq!(state_of(&told(&mut world)), "terminated;reason=timeout");
    assert_eq!((ended(&world), world.signaling.counters().subscriptions), (vec!["expired".to_owned()], 0));
}

#[test]
fn a_fetch_is_told_once() {
    let mut world = World::new();
    let ok = subscribed(&mut world, "bob", "presence", "Expires: 0");
    assert!(ok.starts_with("SIP/2.0 200") && header(&ok, "Expires") == "0", "{ok}");
    state(&mut world, "bob", 0, &[]);
    let only = told(&mut world);
    assert!(state_of(&only) == "terminated;reason=timeout" && only.contains("<basic>closed</basic>"), "{only}");
    assert_eq!(world.signaling.counters().subscriptions, 0);
    assert!(!world.facts.iter().any(|fact| matches!(fact, Fact::SubscriptionBegan(_) | Fact::SubscriptionEnded(_))));
}

#[test]
fn whoever_refuses_a_notify_or_is_silent_has_lost_the_subscription() {
    for (answer, why) in [
        (Some("481 Subscription Does Not Exist"), "the subscriber answered 481 Subscription Does Not Exist"),
        (Some("500 Oops"), "the subscriber answered 500 Oops"),
        (None, "the subscriber did not answer"),
    ] {
        let mut world = World::new();
        lamp(&mut world);
        world.pass(Duration::from_secs(1));
        state(&mut world, "bob", 1, &[call(1, false)]);
        let text = world.one();
        match answer {
            Some(answer) => world.recv(CONSOLE, &response(&text, answer, "", "")),
            None => world.pass(Duration::from_secs(40)),
        }
        assert_eq!((ended(&world), world.signaling.counters().subscriptions), (vec![why.to_owned()], 0));
    }
}

#[test]
fn what_is_refused_and_why() {
    for (to, event, rest, status, has) in [
        ("bob", "conference", "Expires: 600", 489, "Allow-Events: presence, dialog"),
        ("bob", "", "Expires: 600", 489, "Allow-Events"),
        ("bob", "dialog\nEvent: presence", "Expires: 600", 489, "Allow-Events"),
        ("bob", "dialog", "Expires: 30", 423, "Min-Expires: 60"),
        ("bob", "dialog", "Accept: text/plain", 406, ""),
        ("bob", "dialog", "Require: eventlist", 420, "Unsupported: eventlist"),
        ("nobody", "dialog", "Expires: 600", 404, ""),
        ("shy", "presence", "Expires: 600", 403, ""),
        ("bob", "presence", "Expires: 99999999999999", 200, "Expires: 3600"),
        ("bob", "presence", "Accept: application/pidf+xml;q=1, text/plain", 200, "Expires: 3600"),
    ] {
        let mut config = config();
        let shy = User { watchable: false, ..config.users["bob"].clone() };
        config.users.insert(UserName::new("shy"), shy);
        let mut world = World::with(config);
        let answer = subscribed(&mut world, to, event, rest);
        assert!(answer.starts_with(&format!("SIP/2.0 {status}")) && answer.contains(has), "{event} {rest}: {answer}");
    }
}

#[test]
fn a_stranger_is_only_asked_for_a_password_and_a_trunk_needs_leave() {
    let mut world = World::new();
    world.recv("192.168.1.99:5060", &subscribe("bob", "dialog", 1, "", ""));
    assert!(world.one().starts_with("SIP/2.0 401"));
    let of_trunk = subscribe("bob", "presence", 1, "", "").replace(CONSOLE, "198.51.100.10:5060");
    world.recv(CARRIER, &of_trunk);
    assert!(world.one().starts_with("SIP/2.0 403"));
    let mut config = config();
    config.trunks.get_mut("carrier").unwrap().subscribes = true;
    let mut world = World::with(config);
    world.recv(CARRIER, &of_trunk);
    assert!(world.one().starts_with("SIP/2.0 200"));
    state(&mut world, "bob", 1, &[]);
    let (to, text) = world.sent.pop().unwrap();
    assert!(to == address(CARRIER) && text.contains("<basic>open</basic>"), "{text}");
    // And strangers of that realm get nothing, as ever.
    world.recv("198.51.100.200:5060", &of_trunk);
    assert!(world.is_quiet());
}

#[test]
fn from_another_address_a_refresh_is_proven_anew() {
    let mut world = World::new();
    let tag = lamp(&mut world);
    let elsewhere = "192.168.1.99:5060";
    let refresh =
        |cseq, extra: &str| subscribe("bob", "dialog", cseq, &format!(";tag={tag}"), extra).replace(CONSOLE, elsewhere);
    world.recv(elsewhere, &refresh(3, ""));
    let challenge = world.one();
    assert!(challenge.starts_with("SIP/2.0 401"), "{challenge}");
    // bob's password is not alice's.
    let proof = authorization(&challenge, "bob", "secret", "SUBSCRIBE", "sip:bob@192.168.1.1");
    world.recv(elsewhere, &refresh(4, &format!("Authorization: {proof}")));
    assert!(world.one().starts_with("SIP/2.0 403"));
    world.recv(elsewhere, &refresh(5, ""));
    let proof = authorization(&world.one(), "alice", "secret", "SUBSCRIBE", "sip:bob@192.168.1.1");
    world.recv(elsewhere, &refresh(6, &format!("Authorization: {proof}")));
    assert!(world.sent.remove(0).1.starts_with("SIP/2.0 200"));
    assert_eq!(world.sent.pop().unwrap().0, address(elsewhere));
}

#[test]
fn it_ends_with_the_registration_with_leave_to_watch_and_with_the_daemon() {
    // The device that subscribed is gone.
    let mut world = World::new();
    world.register("alice", CONSOLE, "Expires: 60");
    lamp(&mut world);
    world.pass(Duration::from_secs(60));
    assert_eq!(state_of(&told(&mut world)), "terminated;reason=timeout");
    assert_eq!(ended(&world), ["the subscriber's registration is gone"]);
    // The user is not to be watched any more, or not there.
    for (watchable, want) in [(Some(false), "rejected"), (None, "noresource")] {
        let mut world = World::new();
        lamp(&mut world);
        let mut config = config();
        match watchable {
            Some(watchable) => config.users.get_mut("bob").unwrap().watchable = watchable,
            None => drop(config.users.remove("bob")),
        }
        world.signaling.reconfigure(world.now.instant, Arc::new(config));
        world.signaling.handle_timeout(world.now);
        world.drain();
        assert_eq!(state_of(&told(&mut world)), format!("terminated;reason={want}"));
    }
    // A NOTIFY that is out is waited for: its subscriber, too, is told the end.
    let mut world = World::new();
    lamp(&mut world);
    world.pass(Duration::from_secs(1));
    state(&mut world, "bob", 1, &[call(1, false)]);
    world.signaling.leave(world.now);
    world.drain();
    assert!(world.signaling.is_leaving());
    assert_eq!(state_of(&told(&mut world)), "active;expires=599");
    assert_eq!(state_of(&told(&mut world)), "terminated;reason=probation;retry-after=10");
    assert!(!world.signaling.is_leaving() && world.signaling.counters().subscriptions == 0);
}

#[test]
fn an_unknown_dialog_and_a_notify_for_nobody_get_481() {
    let mut world = World::new();
    world.register("alice", CONSOLE, "");
    world.sent.clear();
    world.recv(CONSOLE, &subscribe("bob", "dialog", 8, ";tag=0123456789abcdef", ""));
    assert!(world.one().starts_with("SIP/2.0 481"));
    // Right tags, another Call-ID.
    let tag = lamp(&mut world);
    world.recv(CONSOLE, &subscribe("bob", "presence", 1, &format!(";tag={tag}"), ""));
    assert!(world.one().starts_with("SIP/2.0 481"));
    let notify = subscribe("alice", "dialog", 9, ";tag=0123456789abcdef", "").replace("SUBSCRIBE", "NOTIFY");
    world.recv(CONSOLE, &notify);
    assert!(world.one().starts_with("SIP/2.0 481"));
}

#[test]
fn one_user_has_so_many_and_the_box_drains() {
    let mut config = config();
    for n in 0..257 {
        let bob = config.users["bob"].clone();
        config.users.insert(UserName::new(&format!("u{n}")), bob);
    }
    (config.protection.bans, config.protection.burst) = (false, 1_000_000);
    let mut world = World::with(config);
    for n in 0..257 {
        let answer = subscribed(&mut world, &format!("u{n}"), "dialog", "");
        let want = if n < 256 { "SIP/2.0 200" } else { "SIP/2.0 503" };
        assert!(answer.starts_with(want), "{n}: {answer}");
    }
    let mut world = World::new();
    world.signaling.set_draining(true);
    let answer = subscribed(&mut world, "bob", "dialog", "");
    assert!(answer.starts_with("SIP/2.0 503") && !header(&answer, "Retry-After").is_empty(), "{answer}");
}

/// What the carrier says of a mailbox.
fn notice(to: &str, event: &str, kind: &str, body: &str, cseq: u32) -> String {
    format!(
        "NOTIFY sip:{to}@203.0.113.1 SIP/2.0
        Via: SIP/2.0/UDP {CARRIER};branch=z9hG4bK-notice-{cseq};rport
        Max-Forwards: 70
        From: <sip:vm@198.51.100.10>;tag=vm
        To: <sip:{to}@203.0.113.1>
        Call-ID: notice
        CSeq: {cseq} NOTIFY
        Event: {event}
        Subscription-State: active
        Content-Type: {kind}

{body}"
    )
}

const KIND: &str = "application/simple-message-summary";

#[test]
fn messages_that_wait_are_told_to_their_user_alone() {
    let mut world = World::new();
    let refused = subscribed(&mut world, "bob", "message-summary", "");
    assert!(refused.starts_with("SIP/2.0 403"), "{refused}");
    world.sent.clear();
    let ok = subscribed(&mut world, "alice", "message-summary", "Accept: application/simple-message-summary");
    assert!(ok.starts_with("SIP/2.0 200"), "{ok}");
    let first = told(&mut world);
    assert!(header(&first, "Content-Type") == KIND && first.contains("Messages-Waiting: no\r\n"), "{first}");
    world.pass(Duration::from_secs(1));
    let alice = UserName::new("alice");
    let waiting = Waiting { new: 2, old: 5, ..Waiting::default() };
    for _ in 0..2 {
        assert!(world.signaling.set_waiting(world.now, &alice, waiting, "test"));
    }
    world.drain();
    let lit = told(&mut world);
    assert!(lit.contains("Messages-Waiting: yes\r\n") && lit.contains("Voice-Message: 2/5 (0/0)\r\n"), "{lit}");
    assert!(lit.contains("Message-Account: sip:alice@192.168.1.1\r\n"), "{lit}");
    assert_eq!(world.mailboxes, [Mailbox { user: alice.clone(), waiting }], "the same once more is no news");
    assert!(!world.signaling.set_waiting(world.now, &UserName::new("nobody"), waiting, "test"));
    // After a restart, and when its user is gone.
    let mut after = World::new();
    let kept = |user: &str| Mailbox { user: UserName::new(user), waiting };
    after.signaling.restore_mailboxes(vec![kept("alice"), kept("gone")]);
    after.drain();
    let gone = Mailbox { user: UserName::new("gone"), waiting: Waiting::default() };
    assert_eq!((after.signaling.waiting(&alice), &after.mailboxes[..]), (waiting, &[gone][..]));
    let mut config = config();
    config.users.remove("alice");
    after.signaling.reconfigure(after.now.instant, Arc::new(config));
    after.drain();
    assert_eq!((after.signaling.waiting(&alice), after.mailboxes.len()), (Waiting::default(), 2));
}

#[test]
fn a_trunk_that_is_believed_says_that_messages_wait() {
    let mut world = World::new();
    world.recv(CARRIER, &notice("alice", "message-summary", KIND, "Messages-Waiting: yes\n", 1));
    assert!(world.one().starts_with("SIP/2.0 481"), "nobody asked");
    let mut config = config();
    config.trunks.get_mut("carrier").unwrap().message_waiting = true;
    let mut world = World::with(config);
    let body = "Messages-Waiting: yes\nVoice-Message: 3/1 (1/0)\n";
    for (cseq, (to, event, kind, body, status)) in [
        ("alice", "message-summary", KIND, body, 200),
        ("alice", "dialog", KIND, body, 489),
        ("nobody", "message-summary", KIND, body, 404),
        ("alice", "message-summary", "text/plain", body, 415),
        ("alice", "message-summary", KIND, "Messages-Waiting: perhaps\n", 400),
        ("alice", "message-summary", KIND, "", 200),
    ]
    .into_iter()
    .enumerate()
    {
        world.recv(CARRIER, &notice(to, event, kind, body, cseq as u32 + 1));
        let answer = world.one();
        assert!(answer.starts_with(&format!("SIP/2.0 {status}")), "{event} {body}: {answer}");
    }
    let waiting = Waiting { new: 3, old: 1, new_urgent: 1, old_urgent: 0 };
    assert_eq!(world.signaling.waiting(&UserName::new("alice")), waiting);
    let by = world.facts.iter().find_map(|fact| match fact {
        Fact::MessagesWaiting(fact) => Some((fact.new, fact.by.as_str())),
        _ => None,
    });
    assert_eq!(by, Some((3, "trunk carrier")));
}

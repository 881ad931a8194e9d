//! Row 18: session timers (RFC 4028), each leg on its own.

use super::*;

const MINUTE: Duration = Duration::from_secs(60);

fn rule(mode: SessionTimerMode) -> Config {
    let mut config = config();
    let timer = SessionTimer { mode, ..SessionTimer::default() };
    config.trunks.values_mut().for_each(|trunk| trunk.session_timer = timer);
    config
}

/// A call of the carrier whose INVITE and ACK have these headers: our leg, tag, and the 200.
fn answered(world: &mut World, headers: &str) -> (CallSid, String, String) {
    let leg = world.offered(&invite("c1", 1).replace("X-Trace: abc", headers)).leg;
    world.command(LegCommand::Answer { leg, answer: Box::new(ours(30000)) });
    let ok = world.one();
    let tag = tag_of(&ok, "To");
    world.recv(CARRIER, &in_dialog("ACK", "c1", 1, &tag, ""));
    world.event();
    (leg, tag, ok)
}

/// A call to the carrier that answers with these headers: our leg, and the INVITE.
fn called(world: &mut World, headers: &str) -> (CallSid, String) {
    let leg = CallSid(0xabc);
    world.command(to_carrier(leg));
    let invite = world.one();
    world.recv(CARRIER, &response(&invite, "200 OK", "far", &format!("{headers}\n{}", with_sdp(SDP))));
    assert!(world.one().starts_with("ACK "));
    assert!(matches!(world.event(), LegEvent::Answered { .. }));
    (leg, invite)
}

/// Lets time pass until something is sent, 3 hours at most.
fn until_sent(world: &mut World) -> (Duration, String) {
    let start = world.now.instant;
    while world.sent.is_empty() && world.now.instant < start + 180 * MINUTE {
        world.pass(Duration::from_secs(1));
    }
    (world.now.instant - start, world.one())
}

fn has(text: &str, name: &str) -> bool {
    text.lines().any(|line| line.to_lowercase().starts_with(&format!("{}:", name.to_lowercase())))
}

#[test]
fn row_18_a_wish_is_agreed_to_by_the_table_of_the_rfc() {
    // What the peer's INVITE says; what our 200 says, and whether it requires it.
    let table = [
        ("Supported: timer\nSession-Expires: 1800", Some("1800;refresher=uas"), true),
        ("Supported: timer\nSession-Expires: 1800;refresher=uac", Some("1800;refresher=uac"), true),
        ("Supported: timer\nx: 900 ; refresher=UAS", Some("900;refresher=uas"), true),
        ("Session-Expires: 1800;refresher=uac", Some("1800;refresher=uas"), false),
        ("Session-Expires: 60", Some("60;refresher=uas"), false),
        ("Supported: timer\nSession-Expires: 7200", Some("1800;refresher=uas"), true),
        ("Supported: timer\nSession-Expires: 7200\nMin-SE: 3600", Some("3600;refresher=uas"), true),
        ("Require: timer\nSession-Expires: 600", Some("600;refresher=uas"), true),
        ("Supported: timer", None, false),
        ("X-Nothing: 1", None, false),
    ];
    for (headers, said, required) in table {
        let mut world = World::new();
        let (_, _, ok) = answered(&mut world, headers);
        assert_eq!(has(&ok, "Session-Expires").then(|| header(&ok, "Session-Expires")), said, "{headers}");
        assert_eq!(has(&ok, "Require"), required, "{headers}");
        assert_eq!(header(&ok, "Supported"), "timer, 100rel");
    }
}

#[test]
fn row_18_too_short_an_interval_is_refused_with_422_and_nonsense_with_400() {
    let table = [
        ("Supported: timer\nSession-Expires: 89", "SIP/2.0 422"),
        ("Supported: timer\nSession-Expires: soon", "SIP/2.0 400"),
        ("Supported: timer\nSession-Expires: 900\nMin-SE: -1", "SIP/2.0 400"),
    ];
    for (headers, answer) in table {
        let mut world = World::new();
        world.recv(CARRIER, &invite("c1", 1).replace("X-Trace: abc", headers));
        let refusal = world.one();
        assert!(refusal.starts_with(answer), "{refusal}");
        assert!(answer.ends_with("400") || header(&refusal, "Min-SE") == "90");
        assert!(world.events.is_empty());
    }
    let mut world = World::new();
    let (_, tag, _) = answered(&mut world, "Supported: timer\nSession-Expires: 1800");
    world.recv(CARRIER, &in_dialog("UPDATE", "c1", 2, &tag, "Supported: timer\nSession-Expires: 60\n"));
    assert!(world.one().starts_with("SIP/2.0 422"));
    world.pass(10 * MINUTE);
    assert!(world.is_quiet(), "the session goes on");
}

#[test]
fn row_18_we_refresh_by_update_where_the_peer_takes_it() {
    let mut world = World::new();
    let (leg, _, _) = answered(&mut world, "Supported: timer\nSession-Expires: 600\nAllow: INVITE, UPDATE, BYE");
    for cseq in 1..=3 {
        let (after, update) = until_sent(&mut world);
        assert_eq!(after, Duration::from_secs(300));
        assert!(update.starts_with("UPDATE sip:gw@198.51.100.10:5060"), "{update}");
        assert_eq!(header(&update, "Session-Expires"), "600;refresher=uac");
        assert_eq!(header(&update, "CSeq"), format!("{cseq} UPDATE"));
        assert!(update.ends_with("\r\n\r\n"), "no description");
        let ok = response(&update, "200 OK", "", "Session-Expires: 600;refresher=uac\nRequire: timer\n");
        world.recv(CARRIER, &ok);
        assert!(world.is_quiet());
    }
    world.command(hangup(leg));
    assert!(world.last().starts_with("BYE "));
    world.events.clear();
    world.pass(60 * MINUTE);
    assert!(world.events.is_empty());
    assert_eq!(world.signaling.remembered(), 0);
}

#[test]
fn row_18_else_by_an_invite_with_the_same_description() {
    let mut world = World::new();
    let (leg, _, ok) = answered(&mut world, "Session-Expires: 1800");
    let (after, refresh) = until_sent(&mut world);
    assert_eq!(after, Duration::from_secs(900));
    assert!(refresh.starts_with("INVITE "), "{refresh}");
    let body = |text: &str| text.split_once("\r\n\r\n").unwrap().1.to_owned();
    assert_eq!(body(&refresh), body(&ok), "not even the version changes");
    world.recv(CARRIER, &response(&refresh, "200 OK", "", &with_sdp(SDP)));
    assert!(world.one().starts_with("ACK "));
    // The router compares; it asked for nothing.
    assert!(matches!(world.event(), LegEvent::Refreshed { leg: told, .. } if told == leg));
    // RFC 4028 7.2: a 2xx without Session-Expires ends the timer, and never the call.
    world.pass(180 * MINUTE);
    assert!(world.is_quiet());
}

#[test]
fn row_18_a_peer_that_takes_no_update_after_all_is_refreshed_by_invite() {
    let mut world = World::new();
    answered(&mut world, "Supported: timer\nSession-Expires: 600\nAllow: UPDATE");
    let (_, update) = until_sent(&mut world);
    world.recv(CARRIER, &response(&update, "501 Not Implemented", "", ""));
    assert!(world.one().starts_with("INVITE "));
}

#[test]
fn row_18_an_interval_too_small_for_the_peer_is_raised() {
    let mut world = World::new();
    let leg = CallSid(0xabc);
    world.command(to_carrier(leg));
    let first = world.one();
    assert_eq!(header(&first, "Session-Expires"), "1800;refresher=uac");
    assert_eq!(header(&first, "Supported"), "timer, 100rel");
    world.recv(CARRIER, &response(&first, "422 Session Interval Too Small", "x", "Min-SE: 3600\n"));
    assert_eq!(world.sent.len(), 2, "ACK and another INVITE");
    let again = world.last();
    assert_eq!((header(&again, "Session-Expires"), header(&again, "Min-SE")), ("3600;refresher=uac", "3600"));
    assert_eq!(header(&again, "CSeq"), "2 INVITE");
    assert_eq!(header(&again, "Call-ID"), header(&first, "Call-ID"));
    // A 422 that makes no sense: once more without any timer, then it is a failure.
    world.recv(CARRIER, &response(&again, "422 Session Interval Too Small", "x", "Min-SE: 90\n"));
    let bare = world.last();
    assert!(!has(&bare, "Session-Expires") && world.events.is_empty());
    world.recv(CARRIER, &response(&bare, "422 Session Interval Too Small", "x", ""));
    assert!(matches!(world.event(), LegEvent::Failed { cause: Cause { status: 422, .. }, .. }));
}

#[test]
fn row_18_a_refresh_with_too_small_an_interval_is_raised_too() {
    let mut world = World::new();
    called(&mut world, "Session-Expires: 600;refresher=uac\nAllow: UPDATE");
    let (_, update) = until_sent(&mut world);
    world.recv(CARRIER, &response(&update, "422 Session Interval Too Small", "", "Min-SE: 1200\n"));
    let again = world.one();
    assert!(again.starts_with("UPDATE ") && header(&again, "Session-Expires") == "1200;refresher=uac", "{again}");
    world.recv(CARRIER, &response(&again, "200 OK", "", "Session-Expires: 1200;refresher=uac\n"));
    assert_eq!(until_sent(&mut world).0, Duration::from_secs(600));
}

#[test]
fn row_18_no_call_is_cut_where_the_peer_knows_no_timers() {
    let mut world = World::new();
    called(&mut world, "Server: old");
    world.pass(300 * MINUTE);
    assert!(world.is_quiet());
    let mut world = World::new();
    answered(&mut world, "X-Nothing: 1");
    world.pass(300 * MINUTE);
    assert!(world.is_quiet());
}

#[test]
fn row_18_a_peer_that_never_refreshes_ends_its_call_and_we_say_why() {
    let mut world = World::new();
    let (leg, tag, _) = answered(&mut world, "Supported: timer\nSession-Expires: 600;refresher=uac");
    world.pass(5 * MINUTE);
    let sip = "Supported: timer\nSession-Expires: 600;refresher=uac\n";
    world.recv(CARRIER, &in_dialog("UPDATE", "c1", 2, &tag, sip));
    let ok = world.one();
    assert!(ok.starts_with("SIP/2.0 200") && header(&ok, "Session-Expires") == "600;refresher=uac", "{ok}");
    // RFC 4028 10: 32 s before the end.
    let (after, bye) = until_sent(&mut world);
    assert_eq!(after, Duration::from_secs(568));
    assert!(bye.starts_with("BYE "));
    let LegEvent::Ended { leg: ended, by: EndedBy::Postern, cause } = world.event() else { panic!() };
    assert_eq!((ended, &*cause.text), (leg, "the peer did not refresh the session within 600 s"));
}

#[test]
fn row_18_a_refused_refresh_ends_no_call_and_a_lost_dialog_does() {
    let mut world = World::new();
    called(&mut world, "Session-Expires: 600;refresher=uac\nAllow: UPDATE");
    for status in ["500 Server Internal Error", "488 Not Acceptable Here", "403 Forbidden"] {
        let (_, update) = until_sent(&mut world);
        world.recv(CARRIER, &response(&update, status, "", ""));
        assert!(world.is_quiet(), "{status}");
    }
    let (after, update) = until_sent(&mut world);
    assert_eq!(after, Duration::from_secs(10));
    world.recv(CARRIER, &response(&update, "481 Call/Transaction Does Not Exist", "", ""));
    assert!(world.last().starts_with("BYE "));
    assert!(matches!(world.event(), LegEvent::Ended { by: EndedBy::Postern, cause: Cause { status: 481, .. }, .. }));
}

#[test]
fn row_18_silence_to_a_refresh_ends_the_call() {
    let mut world = World::new();
    called(&mut world, "Session-Expires: 600;refresher=uac\nAllow: UPDATE");
    until_sent(&mut world);
    world.pass(Duration::from_secs(33));
    assert!(world.last().starts_with("BYE "));
    let LegEvent::Ended { cause, .. } = world.event() else { panic!() };
    assert_eq!(cause.text, "no answer to a session refresh: unreachable");
}

#[test]
fn row_18_who_refreshes_is_the_peers_choice_and_ours_when_it_says_nothing() {
    for (said, first) in [("600;refresher=uas", "BYE "), ("600;refresher=uac", "UPDATE "), ("600", "UPDATE ")] {
        let mut world = World::new();
        called(&mut world, &format!("Session-Expires: {said}\nAllow: UPDATE"));
        assert!(until_sent(&mut world).1.starts_with(first), "{said}");
    }
}

#[test]
fn row_18_a_new_offer_refreshes_too() {
    let mut world = World::new();
    let (leg, _) = called(&mut world, "Session-Expires: 600;refresher=uac\nAllow: UPDATE");
    world.pass(4 * MINUTE);
    world.command(LegCommand::Reoffer { leg, offer: Box::new(ours(30008)) });
    let offer = world.one();
    assert_eq!(header(&offer, "Session-Expires"), "600;refresher=uac");
    world.recv(
        CARRIER,
        &response(&offer, "200 OK", "", &format!("Session-Expires: 600;refresher=uac\n{}", with_sdp(SDP))),
    );
    (world.sent, world.events) = Default::default();
    assert_eq!(until_sent(&mut world).0, Duration::from_secs(300));
}

#[test]
fn row_18_off_knows_no_timers_and_always_asks_without_touching_the_session() {
    let mut world = World::with(rule(SessionTimerMode::Off));
    let (_, invite) = called(&mut world, "Session-Expires: 600;refresher=uas");
    assert!(!has(&invite, "Session-Expires"));
    world.pass(60 * MINUTE);
    assert!(world.is_quiet());

    let mut world = World::with(rule(SessionTimerMode::Always));
    called(&mut world, "Server: old");
    for _ in 0..3 {
        let (after, options) = until_sent(&mut world);
        assert_eq!(after, Duration::from_secs(900));
        assert!(options.starts_with("OPTIONS "), "{options}");
        world.recv(CARRIER, &response(&options, "405 Method Not Allowed", "", ""));
        assert!(world.is_quiet(), "it answered: it is there");
    }
    let (_, options) = until_sent(&mut world);
    world.recv(CARRIER, &response(&options, "481 Call/Transaction Does Not Exist", "", ""));
    assert!(matches!(world.event(), LegEvent::Ended { .. }));
}

#[test]
fn row_18_a_peer_that_refreshes_all_day_grows_nothing() {
    let mut world = World::new();
    let (_, tag, _) = answered(&mut world, "Supported: timer\nSession-Expires: 600;refresher=uac");
    for cseq in 2..500 {
        world.recv(
            CARRIER,
            &in_dialog("UPDATE", "c1", cseq, &tag, "Supported: timer\nSession-Expires: 600;refresher=uac\n"),
        );
        assert!(world.one().starts_with("SIP/2.0 200"));
        world.pass(Duration::from_secs(60));
    }
    assert!(world.signaling.timers.len() < 8, "{}", world.signaling.timers.len());
    assert!(world.is_quiet());
}

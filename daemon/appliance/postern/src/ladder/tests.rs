//! Whole ladders, letter by letter, from recorded answers.

use serde_json::json;

use super::*;

#[test]
fn a_finished_call_is_told_from_the_offer_to_the_release() {
    let (one, two) = ("CA01", "CA02");
    let fact = |ms: u64, kind: &str, leg: &str, data: Value| json!({"at": 1_000_000 + ms * 1000, "type": kind, "call": one, "leg": leg, "data": data});
    let cause = json!({"status": 200, "q850": 16, "text": "normal clearing"});
    let media = json!({"codec": "PCMA/8000", "payload_type": 8, "ptime_ms": 20, "telephone_event": 101, "srtp": null,
        "local": "127.0.0.2:4000", "remote": "127.0.0.1:6000", "direction": "sendrecv"});
    let told = json!({
        "call": one,
        "legs": [
            {"sid": one, "from": "+1555", "from_name": "", "to": "+1666", "direction": "inbound", "status": "completed",
             "party": {"kind": "trunk", "trunk": "acme"}, "created": 1_000_000, "media": media, "answered": 2_000_000, "ended": 4_500_000,
             "quality": {"packets_received": 99, "packets_sent": 100, "packets_lost": 1, "jitter_ms": 0.5, "mos": 4.4, "round_trip_ms": 41.7,
                         "bursts": {"burst_density_percent": 60.0, "gap_density_percent": 0.1, "burst_ms": 100, "gap_ms": 4000},
                         "far": {"packets_lost": 2, "recent_loss_percent": 0.0, "jitter_ms": 1.2, "mos": 4.3, "told_mos": 4.1}}},
            {"sid": two, "party": {"kind": "user", "user": "alice"}},
        ],
        "facts": [
            fact(0, "call.offered", one, json!({"from": "+1555", "to": "+1666", "party": {"kind": "trunk", "trunk": "acme"}, "source": "127.0.0.1:5070", "sip_call_id": "77@carrier"})),
            fact(3, "leg.dialed", two, json!({"to": "alice", "from": "+1555", "party": {"kind": "user", "user": "alice"}, "timeout_s": 30})),
            fact(90, "leg.ringing", two, json!({"status": 180, "early_media": false})),
            fact(91, "leg.ringing", one, json!({"status": 180, "early_media": false})),
            fact(3500, "leg.ended", two, json!({"by": "peer", "cause": cause, "status": "completed", "duration_ms": 2500})),
            fact(3501, "call.ended", one, json!({"by": "peer", "cause": cause, "total_ms": 3501, "legs": 2})),
        ],
    });
    let want = "\
call CA01
from +1555 to +1666, inbound, trunk acme
1970-01-01 00:00:01.000 UTC, completed, 2.5 s of talk

      ms caller    postern    callee
       0   |------->|        |  call from +1555 to +1666, trunk acme at 127.0.0.1:5070
       3   |        |------->|  dialing alice (user alice) as +1555, for 30 s at most
      90   |        |<-------|  rings (180)
      91   |<-------|        |  rings (180)
    3500   |        |<-------|  completed by its party after 2.5 s of talk: 200 normal clearing
    3501   |        *        |  call ended by its first party after 3.5 s with 2 legs: 200 normal clearing

released by the caller: 200 normal clearing
caller: trunk acme, CA01
  SIP Call-ID 77@carrier
  audio PCMA/8000, 20 ms, digits as 101, plain RTP; 127.0.0.2:4000 here, 127.0.0.1:6000 there
  its end reports: 2 lost, jitter 1.2 ms, round trip 42 ms, MOS 4.30 (it says 4.1)
  losses in bursts of 100 ms, 60 % lost in them, 0.1 % between them
callee: user alice, CA02
";
    let got = render(&told, None);
    assert!(got.starts_with(want), "{got}");
    assert!(got.contains("1 (1.0%)") && got.contains("4.40"), "{got}");
    // The same on a terminal of 80 columns: nothing is longer.
    let narrow = render(&told, Some(80));
    assert!(narrow.lines().all(|line| line.chars().count() <= 80), "{narrow}");
    assert!(narrow.contains("\n           |        |        |    "), "{narrow}");
}

#[test]
fn a_call_of_which_nothing_is_kept_is_still_told() {
    let got = render(&json!({"call": "CA01", "legs": [], "facts": []}), None);
    assert!(got.contains("call CA01") && got.contains("nothing was kept"), "{got}");
}

#[test]
fn a_leg_that_never_heard_its_party_says_so() {
    let media = json!({"codec": "PCMU/8000", "direction": "sendrecv", "remote": "192.0.2.1:6000"});
    let leg = |received: u64| json!({"call": "CA01", "facts": [], "legs": [{"sid": "CA01", "media": media, "quality": {"packets_received": received}}]});
    assert!(render(&leg(0), None).contains("no audio was ever received from it (it said 192.0.2.1:6000)"));
    assert!(!render(&leg(1), None).contains("no audio"));
}

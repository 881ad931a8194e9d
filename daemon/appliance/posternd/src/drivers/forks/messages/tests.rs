//! The messages as a server reads them, and where audio is in time.

use postern_types::{
    AccountSid, CallSid, Secret, StreamSid,
    recording::{Listener, TAPPED_MAX, TapId},
};

use super::*;

fn setup() -> ForkSetup {
    ForkSetup {
        stream: StreamSid(7),
        account: Some(AccountSid(1)),
        call: CallSid(2),
        url: Secret::new("wss://ai.example.net/".into()),
        headers: Vec::new(),
        inbound: true,
        outbound: true,
        parameters: vec![("lang".into(), Secret::new("d\"e".into()))],
    }
}

fn copy(began: Instant, at_ms: u64, track: Track, (ssrc, timestamp): (u32, u32)) -> Tapped {
    Tapped {
        to: Listener::Fork,
        tap: TapId(1),
        at: began + Duration::from_millis(at_ms),
        track,
        coding: Coding::Ulaw,
        ssrc,
        timestamp,
        lost: 0,
        len: 3,
        room: [0x7f; TAPPED_MAX],
    }
}

/// A copy's message.
fn said(message: Result<Option<String>, Unread>) -> Value {
    read(&message.unwrap().unwrap())
}

fn read(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

#[test]
fn a_stream_from_its_first_message_to_its_last() {
    let (setup, began) = (setup(), Instant::now());
    let mut messages = Messages::new(&setup, began);
    assert_eq!(read(&messages.connected())["protocol"], "Call");
    let start = read(&messages.start(&setup));
    assert_eq!((&start["event"], &start["sequenceNumber"]), (&json!("start"), &json!("1")));
    assert_eq!(start["start"]["tracks"], json!(["inbound", "outbound"]));
    assert_eq!(start["start"]["customParameters"], json!({ "lang": "d\"e" }));
    assert_eq!(start["start"]["mediaFormat"]["encoding"], "audio/x-mulaw");
    let media = said(messages.media(&copy(began, 40, Track::Outbound, (9, 1600))));
    assert_eq!(media["streamSid"], "MZ00000000000000000000000000000007");
    let want = json!({ "track": "outbound", "chunk": "1", "timestamp": "40", "payload": "f39/" });
    assert_eq!((&media["sequenceNumber"], &media["media"]), (&json!("2"), &want));
    let dtmf = read(&messages.dtmf('#'));
    assert_eq!(dtmf["dtmf"], json!({ "track": "inbound_track", "digit": "#" }));
    let stop = read(&messages.stop(&setup));
    assert_eq!((&stop["sequenceNumber"], &stop["stop"]["callSid"]), (&json!("4"), &json!(setup.call)));
}

#[test]
fn a_law_becomes_mu_law() {
    let began = Instant::now();
    let mut alaw = copy(began, 0, Track::Inbound, (1, 0));
    alaw.coding = Coding::Alaw;
    alaw.room[..3].copy_from_slice(&[g711::alaw(8000), g711::alaw(-8000), g711::ALAW_SILENCE]);
    let media = said(Messages::new(&setup(), began).media(&alaw));
    let bytes = STANDARD.decode(media["media"]["payload"].as_str().unwrap()).unwrap();
    let mut samples = [0; 3];
    g711::decode_alaw(&alaw.room[..3], &mut samples);
    assert_eq!(bytes, samples.map(g711::ulaw));
}

#[test]
fn audio_is_placed_by_its_own_clock_and_anew_when_that_jumps() {
    let began = Instant::now();
    let mut messages = Messages::new(&setup(), began);
    for (at_ms, source, want) in [
        (100, (1, u32::MAX - 159), "100"),
        // Twenty milliseconds later by its clock, which wraps, and late by another 30.
        (150, (1, 0), "120"),
        // Out of its order.
        (155, (1, u32::MAX - 159), "100"),
        (160, (1, 160), "140"),
        // Another source.
        (400, (2, 5), "400"),
        (420, (2, 165), "420"),
        // Its clock jumps, forth and back.
        (440, (2, 80_165), "440"),
        (460, (2, 80_325), "460"),
        (480, (2, 165), "480"),
        // Silence of a minute, after which its clock has gone on.
        (60_480, (2, 480_165), "60480"),
    ] {
        let media = said(messages.media(&copy(began, at_ms, Track::Inbound, source)));
        assert_eq!(media["media"]["timestamp"], want, "{at_ms} {source:?}");
    }
    // The other track has a clock of its own.
    let other = said(messages.media(&copy(began, 60_500, Track::Outbound, (9, 3))));
    assert_eq!((&other["media"]["timestamp"], &other["media"]["chunk"]), (&json!("60500"), &json!("1")));
}

#[test]
fn another_codec_becomes_mu_law_and_nonsense_is_none() {
    let (setup, began) = (setup(), Instant::now());
    let mut messages = Messages::new(&setup, began);
    let mut g722 = copy(began, 20, Track::Inbound, (1, 0));
    (g722.coding, g722.len) = (Coding::G722, 160);
    let media = said(messages.media(&g722));
    assert_eq!(STANDARD.decode(media["media"]["payload"].as_str().unwrap()).unwrap().len(), 160);
    assert_eq!(media["media"]["timestamp"], "20");
    g722.len = 0;
    assert_eq!(messages.media(&g722), Err(Unread));
    // Half a frame waits for the other half.
    (g722.len, g722.timestamp) = (80, 160);
    assert_eq!(messages.media(&g722), Ok(None));
    (g722.timestamp, g722.at) = (240, began + Duration::from_millis(50));
    let media = said(messages.media(&g722));
    assert_eq!((&media["media"]["timestamp"], &media["media"]["chunk"]), (&json!("40"), &json!("2")));
}

use std::f64::consts::TAU;

use postern_audio::{Decode, Decoder, Encode, Encoder, codec::PAYLOAD_MS_MAX};
use postern_types::{
    CallSid,
    media::{PlayId, Prompt, StreamSetup},
    stream::{Codec, Format},
};

use super::*;
use crate::testing::{LIMITS, format, peer_of, start};

const EVENT: u8 = 101;
/// The share of the tone in what is heard. G.729, made for voices, is the worst at tones.
const CLEAR: f64 = 0.7;

const ALL: [Codec; 5] = [Codec::Pcma, Codec::Pcmu, Codec::G722, Codec::G729, Codec::Opus];

/// A packet that came out.
#[derive(Debug, Clone)]
struct Out {
    at_ms: u64,
    slot: u32,
    header: Header,
    payload: Vec<u8>,
}

/// Two legs, a party at each, and a clock.
struct Pair {
    relay: Relay,
    begin: Instant,
    ms: u64,
    out: Vec<Out>,
}

impl Pair {
    fn new(a: Codec, b: Codec) -> Self {
        Self::with(a, b, |_, _| {})
    }

    fn with(a: Codec, b: Codec, change: impl Fn(u32, &mut StreamSetup)) -> Self {
        let begin = start();
        let mut relay = Relay::new(4, LIMITS, 1);
        for (slot, codec) in [(0, a), (1, b)] {
            let mut setup = StreamSetup::plain(peer_of(slot), format(codec));
            setup.telephone_event = Some(EVENT);
            change(slot, &mut setup);
            relay.open(begin, slot, CallSid(slot.into()));
            relay.configure(begin, slot, Box::new(setup));
        }
        relay.bridge(0, 1);
        Self { relay, begin, ms: 0, out: Vec::new() }
    }

    fn now(&self) -> Instant {
        self.begin + Duration::from_millis(self.ms)
    }

    fn note(&mut self, verdict: Verdict, room: &[u8]) {
        if let Verdict::Send { slot, len, .. } = verdict {
            let header = Header::parse(&room[..len]).unwrap();
            let payload = header.payload(&room[..len]).unwrap().to_vec();
            self.out.push(Out { at_ms: self.ms, slot, header, payload });
        }
    }

    /// The party of a slot sends.
    fn send(&mut self, slot: u32, header: Header, payload: &[u8]) {
        let mut room = [0; 2048];
        header.write(room.first_chunk_mut().unwrap());
        room[12..12 + payload.len()].copy_from_slice(payload);
        let verdict =
            self.relay.handle_input(self.now(), slot, Port::Rtp, peer_of(slot), &mut room, 12 + payload.len());
        self.note(verdict, &room);
    }

    fn pass(&mut self, ms: u64) {
        for _ in 0..ms {
            self.ms += 1;
            let now = self.now();
            while self.relay.play_is_due(now) {
                let mut room = [0; 2048];
                let Some(verdict) = self.relay.poll_play(now, &mut room) else { break };
                self.note(verdict, &room);
            }
        }
    }

    fn to(&self, slot: u32) -> Vec<Out> {
        self.out.iter().filter(|out| out.slot == slot).cloned().collect()
    }
}

fn header(format: &Format, sequence: u16, timestamp: u32) -> Header {
    Header {
        marker: sequence == 0,
        payload_type: format.payload_type,
        sequence,
        timestamp,
        ssrc: 0x1111,
        payload_start: 12,
        padded: false,
    }
}

fn tone(rate: u32, from: usize, len: usize) -> Vec<i16> {
    (from..from + len).map(|n| (8000.0 * (TAU * 440.0 * n as f64 / f64::from(rate)).sin()) as i16).collect()
}

/// A party that sends a tone of 440 Hz in its codec.
struct Talker {
    format: Format,
    encoder: Encoder,
    sequence: u16,
    ms: usize,
}

impl Talker {
    fn new(codec: Codec, ms: usize) -> Self {
        let format = format(codec);
        Self { encoder: Encoder::new(&format, 16000).unwrap(), format, sequence: 0, ms }
    }

    fn packet(&mut self) -> (Header, Vec<u8>) {
        let rate = self.encoder.rate();
        let len = rate as usize * self.ms / 1000;
        let mut payload = [0; 480];
        let n = usize::from(self.sequence);
        let bytes = self.encoder.encode(&tone(rate, n * len, len), &mut payload).unwrap();
        let timestamp = (n * self.ms) as u32 * (self.format.clock_hz / 1000);
        let header = header(&self.format, self.sequence, timestamp);
        self.sequence += 1;
        (header, payload[..bytes].to_vec())
    }
}

/// How loud 440 Hz is among what was heard, 0 to 1.
fn purity(samples: &[i16], rate: u32) -> f64 {
    let (mut re, mut im, mut all) = (0.0, 0.0, 1.0);
    for (n, sample) in samples.iter().enumerate() {
        let (turn, sample) = (TAU * 440.0 * n as f64 / f64::from(rate), f64::from(*sample));
        (re, im, all) = (re + sample * turn.cos(), im + sample * turn.sin(), all + sample * sample);
    }
    2.0 * (re * re + im * im) / (samples.len() as f64 * all)
}

fn decoded(codec: Codec, packets: &[Out]) -> (Vec<i16>, u32) {
    let mut decoder = Decoder::new(&format(codec), 16000).unwrap();
    let mut room = vec![0; PAYLOAD_MS_MAX * 48];
    let mut heard = Vec::new();
    for packet in packets {
        let samples = decoder.decode(&packet.payload, &mut room).unwrap();
        heard.extend_from_slice(&room[..samples]);
    }
    (heard, decoder.rate())
}

/// Numbers as a receiver wants them: one source, sequence without gaps, time without gaps, one marker at the beginning.
fn check_stream(packets: &[Out], units: u32) {
    assert!(packets[0].header.marker, "a talk spurt begins with the marker");
    for (n, pair) in packets.windows(2).enumerate() {
        let (one, two) = (&pair[0].header, &pair[1].header);
        assert_eq!((two.ssrc, two.sequence), (one.ssrc, one.sequence.wrapping_add(1)), "{n}");
        assert_eq!(two.timestamp.wrapping_sub(one.timestamp), units, "{n}");
        assert!(!two.marker, "{n}");
    }
}

#[test]
fn every_codec_is_heard_in_every_other() {
    for a in ALL {
        for b in ALL {
            let mut pair = Pair::new(a.clone(), b.clone());
            let mut talker = Talker::new(a.clone(), 20);
            for _ in 0..100 {
                let (header, payload) = talker.packet();
                pair.send(0, header, &payload);
                pair.pass(20);
            }
            let heard = pair.to(1);
            if a == b {
                assert_eq!(
                    (heard.len(), pair.relay.transcoding.frames),
                    (100, 0),
                    "{a}: a common codec is relayed as it is"
                );
                assert_eq!(heard[0].header.ssrc, 0x1111);
                continue;
            }
            assert!((90..=100).contains(&heard.len()), "{a} to {b}: {}", heard.len());
            check_stream(&heard, format(b.clone()).clock_hz / 50);
            assert_ne!(heard[0].header.ssrc, 0x1111, "{a} to {b}: a stream of our own");
            assert!(heard[0].at_ms <= 80, "{a} to {b}: first heard after {} ms", heard[0].at_ms);
            let (samples, rate) = decoded(b.clone(), &heard[20..]);
            assert!(purity(&samples, rate) > CLEAR, "{a} to {b}: {}", purity(&samples, rate));
            pair.pass(2000);
            assert_eq!(pair.relay.next_deadline(), None, "{a} to {b}: who is silent costs nothing");
        }
    }
}

#[test]
fn packet_times_are_each_legs_own() {
    for (ptime, codec) in [
        (10, Codec::Pcma),
        (20, Codec::Pcma),
        (30, Codec::Pcma),
        (40, Codec::G722),
        (30, Codec::G729),
        (60, Codec::Opus),
    ] {
        let mut pair = Pair::with(Codec::Pcmu, codec.clone(), |slot, setup| {
            if slot == 1 {
                setup.ptime_ms = ptime;
            }
        });
        let mut talker = Talker::new(Codec::Pcmu, 30);
        for _ in 0..60 {
            let (header, payload) = talker.packet();
            pair.send(0, header, &payload);
            pair.pass(30);
        }
        let heard = pair.to(1);
        let expected = 1800 / usize::from(ptime);
        assert!(
            (expected - 120 / usize::from(ptime) - 2..=expected).contains(&heard.len()),
            "{ptime}: {}",
            heard.len()
        );
        check_stream(&heard, u32::from(ptime) * (format(codec.clone()).clock_hz / 1000));
        let (samples, rate) = decoded(codec, &heard[10..]);
        assert!(purity(&samples, rate) > CLEAR, "{ptime}: {}", purity(&samples, rate));
    }
}

#[test]
fn digits_cross_once_with_one_timestamp_each_and_silence_the_audio() {
    let mut pair = Pair::new(Codec::Pcma, Codec::Opus);
    let mut talker = Talker::new(Codec::Pcma, 20);
    for _ in 0..20 {
        let (header, payload) = talker.packet();
        pair.send(0, header, &payload);
        pair.pass(20);
    }
    for digit in 0..2u8 {
        let timestamp = u32::from(talker.sequence) * 160;
        // Five packets, the end three times; then a straggler of the digit before.
        for n in 0..8u16 {
            let mut head = header(&format(Codec::Pcma), talker.sequence, timestamp);
            talker.sequence += 1;
            (head.payload_type, head.marker) = (EVENT, n == 0);
            let event = TelephoneEvent { code: digit + 5, end: n >= 5, volume: 10, duration: (n.min(5) + 1) * 160 };
            pair.send(0, head, &event.to_bytes());
            if digit == 1 && n == 3 {
                let mut late = header(&format(Codec::Pcma), 20, 20 * 160);
                late.payload_type = EVENT;
                pair.send(0, late, &TelephoneEvent { code: 5, end: true, volume: 10, duration: 960 }.to_bytes());
            }
            pair.pass(20);
        }
        pair.pass(200);
    }
    let heard = pair.to(1);
    let events: Vec<&Out> = heard.iter().filter(|out| out.header.payload_type == EVENT).collect();
    assert_eq!(events.len(), 16, "each packet once, the straggler not at all");
    for digit in 0..2 {
        let of: Vec<_> = events[digit * 8..][..8].iter().collect();
        assert!(
            of.iter().all(|out| out.header.timestamp == of[0].header.timestamp && out.payload[0] == digit as u8 + 5)
        );
        assert_eq!(of.iter().filter(|out| out.header.marker).count(), 1);
        let (first, last) = (of[0].at_ms, of[7].at_ms);
        let audio =
            heard.iter().filter(|out| out.header.payload_type != EVENT && (first + 1..last).contains(&out.at_ms));
        assert_eq!(audio.count(), 0, "no audio beside the digit");
    }
    assert_ne!(events[0].header.timestamp, events[8].header.timestamp);
    for two in heard.windows(2) {
        assert_eq!(two[1].header.sequence, two[0].header.sequence.wrapping_add(1), "one sequence for audio and digits");
        assert_eq!(two[1].header.ssrc, two[0].header.ssrc);
    }
    let told: Vec<_> = std::iter::from_fn(|| pair.relay.poll_event())
        .filter(|event| matches!(event, postern_types::media::MediaEvent::Digit { .. }))
        .collect();
    assert_eq!(told.len(), 2);
}

#[test]
fn loss_and_jitter_are_smoothed_for_the_other_leg() {
    let mut chance = 0x2545_f491_u64;
    let mut below = move |n: u64| {
        chance ^= chance << 13;
        chance ^= chance >> 7;
        chance ^= chance << 17;
        chance % n
    };
    let mut pair = Pair::new(Codec::Pcmu, Codec::Pcma);
    let mut talker = Talker::new(Codec::Pcmu, 20);
    // Each packet up to 50 ms late, one in fifty lost.
    let mut arrivals: Vec<(u64, Header, Vec<u8>)> = (0..300u64)
        .filter_map(|n| {
            let (header, payload) = talker.packet();
            (below(50) != 0).then(|| (n * 20 + below(50), header, payload))
        })
        .collect();
    arrivals.sort_by_key(|(at, ..)| *at);
    for (at, header, payload) in arrivals {
        pair.pass(at - pair.ms);
        pair.send(0, header, &payload);
    }
    let heard = pair.to(1);
    check_stream(&heard, 160);
    assert!(heard.windows(2).all(|two| two[1].at_ms - two[0].at_ms == 20), "an even stream");
    let (samples, rate) = decoded(Codec::Pcma, &heard[100..]);
    // The phase moves with each change of delay, so each second is looked at alone.
    for second in samples.chunks_exact(800) {
        assert!(purity(second, rate) > 0.5, "{}", purity(second, rate));
    }
}

#[test]
fn a_prompt_is_heard_in_any_codec_and_the_other_leg_after_it() {
    let prompt = std::sync::Arc::new(Prompt { samples: tone(8000, 0, 8000).into() });
    for codec in ALL {
        for ptime in [10, 20, 60] {
            let mut pair = Pair::with(Codec::Pcma, codec.clone(), |_, setup| setup.ptime_ms = ptime);
            pair.relay.play(pair.begin, 1, PlayId(1), prompt.clone(), 1);
            pair.pass(1500);
            let heard = pair.to(1);
            assert_eq!(heard.len(), 1000usize.div_ceil(usize::from(ptime)), "{codec} {ptime}");
            check_stream(&heard, u32::from(ptime) * (format(codec.clone()).clock_hz / 1000));
            let (samples, rate) = decoded(codec.clone(), &heard[3..]);
            assert!(purity(&samples, rate) > CLEAR, "{codec} {ptime}: {}", purity(&samples, rate));
            let ended = std::iter::from_fn(|| pair.relay.poll_event())
                .filter(|event| matches!(event, postern_types::media::MediaEvent::PlayEnded { .. }))
                .count();
            assert_eq!(ended, 1, "{codec} {ptime}");
            let mut talker = Talker::new(Codec::Pcma, 20);
            for _ in 0..25 {
                let (header, payload) = talker.packet();
                pair.send(0, header, &payload);
                pair.pass(20);
            }
            let after = pair.to(1).len() - heard.len();
            assert!(after >= 300 / usize::from(ptime.max(20)), "{codec} {ptime}: {after}");
        }
    }
}

#[test]
fn who_sends_what_the_other_lacks_though_they_have_something_in_common_is_converted() {
    let mut pair = Pair::with(Codec::Pcma, Codec::Pcma, |slot, setup| {
        if slot == 1 {
            setup.formats.push(format(Codec::G722));
        }
    });
    let mut talker = Talker::new(Codec::G722, 20);
    for _ in 0..50 {
        let (header, payload) = talker.packet();
        pair.send(1, header, &payload);
        pair.pass(20);
    }
    let heard = pair.to(0);
    assert!(heard.len() > 40, "{}", heard.len());
    let (samples, rate) = decoded(Codec::Pcma, &heard[10..]);
    assert!(purity(&samples, rate) > CLEAR, "{}", purity(&samples, rate));
}

#[test]
fn a_common_codec_ends_transcoding_and_strange_payloads_harm_nothing() {
    let mut pair = Pair::new(Codec::Pcma, Codec::Opus);
    let mut talker = Talker::new(Codec::Pcma, 20);
    for len in [0, 1, 7, 160, 1000, 1281, 1400] {
        let (header, _) = talker.packet();
        pair.send(0, header, &vec![0x7f; len]);
        pair.send(
            1,
            super::tests::header(&format(Codec::Opus), talker.sequence, u32::from(talker.sequence) * 960),
            &vec![0xfd; len],
        );
        pair.pass(20);
    }
    let now = pair.now();
    pair.relay.configure(now, 1, Box::new(StreamSetup::plain(peer_of(1), format(Codec::Pcma))));
    let before = pair.to(1).len();
    let (header, payload) = talker.packet();
    pair.send(0, header, &payload);
    assert_eq!(pair.to(1).len(), before + 1, "relayed at once");
    assert_eq!(pair.to(1)[before].payload, payload);
    pair.relay.unbridge(0);
    pair.pass(500);
    assert_eq!(pair.relay.next_deadline(), None);
}

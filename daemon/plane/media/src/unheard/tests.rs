use std::net::SocketAddr;

use postern_types::{
    CallSid, Secret,
    media::StreamSetup,
    stream::{Format, SdesKey, SrtpSuite},
};

use super::*;
use crate::{
    relay::{Limits, Port, Relay},
    testing::{address_of, start},
};

const LIMITS: Limits = Limits { latch_window: Duration::from_secs(60), timeout: Duration::from_secs(30) };

fn setup() -> StreamSetup {
    StreamSetup::plain(address_of(1, 4000), Format::pcma())
}

/// One leg and what was told of it, with milliseconds.
struct World {
    relay: Relay,
    began: Instant,
    ms: u64,
    sequence: u16,
    told: Vec<(u64, Option<Unheard>)>,
}

impl World {
    fn new(setup: StreamSetup) -> Self {
        let (began, mut relay) = (start(), Relay::new(1, LIMITS, 1));
        relay.open(began, 0, CallSid(1));
        relay.configure(began, 0, Box::new(setup));
        Self { relay, began, ms: 0, sequence: 0, told: Vec::new() }
    }

    fn now(&self) -> Instant {
        self.began + Duration::from_millis(self.ms)
    }

    fn configure(&mut self, setup: StreamSetup) {
        let now = self.now();
        self.relay.configure(now, 0, Box::new(setup));
    }

    /// So many seconds with a packet each 20 ms: from where, its type and what it is full of.
    fn pass(&mut self, seconds: u64, packet: Option<(SocketAddr, u8, &[u8])>) -> &mut Self {
        for _ in 0..seconds * 50 {
            let now = self.now();
            if let Some((source, payload_type, payload)) = packet {
                let mut room = [0; 400];
                self.sequence += 1;
                room[..2].copy_from_slice(&[0x80, payload_type]);
                room[2..4].copy_from_slice(&self.sequence.to_be_bytes());
                room[12..12 + payload.len()].copy_from_slice(payload);
                self.relay.handle_input(now, 0, Port::Rtp, source, &mut room, 12 + payload.len());
            }
            if self.ms.is_multiple_of(500) {
                // One of a second's parts meets this leg each half of it.
                self.relay.handle_part(now, if self.ms.is_multiple_of(1000) { 0 } else { crate::relay::PARTS / 2 });
            }
            while let Some(event) = self.relay.poll_event() {
                match event {
                    MediaEvent::Unheard { why, .. } => self.told.push((self.ms, Some(why))),
                    MediaEvent::Heard { .. } => self.told.push((self.ms, None)),
                    _ => {}
                }
            }
            self.ms += 20;
        }
        self
    }

    /// What was told, each within two seconds of `since`.
    fn whys(&self) -> Vec<Option<Unheard>> {
        self.told.iter().map(|(_, why)| *why).collect()
    }
}

const AUDIO: [u8; 160] = [0x12; 160];

fn audio(host: u8) -> Option<(SocketAddr, u8, &'static [u8])> {
    Some((address_of(host, 4000), 8, &AUDIO))
}

#[test]
fn nothing_sent_is_told_within_two_seconds_and_taken_back() {
    let mut world = World::new(setup());
    world.pass(2, None);
    assert_eq!(world.whys(), [Some(Unheard::Nothing)]);
    assert!(world.told[0].0 <= 2000, "{:?}", world.told);
    world.pass(10, None).pass(2, audio(1));
    assert_eq!(world.whys(), [Some(Unheard::Nothing), None], "once, and once that it mended");
    let from = world.ms;
    world.pass(3, None);
    assert_eq!(world.told[2].1, Some(Unheard::Stopped));
    assert!(world.told[2].0 - from <= 2000, "{:?}", world.told);
}

#[test]
fn a_wrong_address_is_told_with_the_source() {
    let mut world = World::new(StreamSetup { latching: postern_types::media::Latching::Strict, ..setup() });
    world.pass(2, audio(9));
    assert_eq!(world.whys(), [Some(Unheard::Elsewhere { source: address_of(9, 4000) })]);
    // Only strangers while the party itself talks: nothing to tell.
    let mut world = World::new(setup());
    world.pass(1, audio(1));
    for _ in 0..5 {
        world.pass(1, audio(9)).pass(1, audio(1));
    }
    assert_eq!(world.whys(), []);
}

#[test]
fn a_wrong_key_is_told() {
    let key = |n| SdesKey { tag: 1, suite: SrtpSuite::AesCm128HmacSha1_80, key_salt: Secret::new([n; 30]) };
    let mut world =
        World::new(StreamSetup { srtp_in: Some(Box::new(key(1))), srtp_out: Some(Box::new(key(2))), ..setup() });
    world.pass(2, audio(1));
    assert!(matches!(world.whys()[..], [Some(Unheard::Unreadable { packets: 50.. })]), "{:?}", world.told);
}

#[test]
fn a_hold_is_told_and_its_end_mends_it() {
    let mut world = World::new(setup());
    world.pass(2, audio(1));
    world.configure(StreamSetup { direction: Direction::RecvOnly, ..setup() });
    world.pass(5, None);
    assert_eq!(world.whys(), [Some(Unheard::Held)]);
    world.configure(setup());
    world.pass(2, audio(1));
    assert_eq!(world.whys(), [Some(Unheard::Held), None]);
    // Who holds the other may send or not.
    world.configure(StreamSetup { direction: Direction::SendOnly, ..setup() });
    world.pass(5, None);
    assert_eq!(world.told.len(), 2);
}

#[test]
fn digital_silence_from_the_start_is_told_soon_and_a_mute_later() {
    for (format, payload_type, silence) in [(Format::pcma(), 8, [0xd5; 160]), (Format::pcmu(), 0, [0xff; 160])] {
        let plain = StreamSetup::plain(address_of(1, 4000), format);
        let mut world = World::new(plain.clone());
        let silent = Some((address_of(1, 4000), payload_type, &silence[..]));
        let loud = Some((address_of(1, 4000), payload_type, &AUDIO[..]));
        world.pass(3, silent);
        assert_eq!(world.whys(), [Some(Unheard::Silence)], "{payload_type}");
        assert!(world.told[0].0 <= 2500, "{:?}", world.told);
        world.pass(2, loud);
        assert_eq!(world.whys(), [Some(Unheard::Silence), None]);
        world.pass(5, silent).pass(1, loud).pass(8, silent);
        assert_eq!(world.told.len(), 2, "pauses and short mutes are nobody's fault");
        world.pass(4, silent);
        assert_eq!(world.told[2].1, Some(Unheard::Silence));
    }
}

#[test]
fn silence_that_was_announced_is_none() {
    let mut world = World::new(setup());
    world.pass(1, audio(1)).pass(1, Some((address_of(1, 4000), 13, &[60; 5]))).pass(20, None);
    assert_eq!(world.whys(), [], "comfort noise, then nothing");
}

#[test]
fn a_party_that_comes_and_goes_is_told_so_often_and_no_more() {
    let mut world = World::new(setup());
    for _ in 0..100 {
        world.pass(2, None).pass(1, audio(1));
    }
    let unheard = world.told.iter().filter(|(_, why)| why.is_some()).count();
    assert_eq!(unheard, usize::from(TELLINGS_MAX));
    assert!(world.told.len() <= 2 * usize::from(TELLINGS_MAX), "{}", world.told.len());
}

use std::f64::consts::TAU;

use postern_audio::{Decode, Decoder, Encode, Encoder, codec::PAYLOAD_MS_MAX};
use postern_types::{
    CallSid,
    media::{MediaEvent, PlayId, Prompt},
    stream::{Codec, Direction},
};

use super::*;
use crate::testing::{LIMITS, format, peer_of, start};

pub(super) const ROOM: ConferenceSid = ConferenceSid(7);
const EVENT: u8 = 101;
/// The share of a tone in what is heard by which it is there, and by which it is not.
const THERE: f64 = 0.1;
const AWAY: f64 = 0.001;

/// A party that sends a tone of its own, and keeps what it hears.
pub(super) struct Party {
    pub hz: f64,
    talks: bool,
    format: Format,
    encoder: Encoder,
    decoder: Decoder,
    sequence: u16,
    heard: Vec<i16>,
    headers: Vec<Header>,
    payloads: Vec<Vec<u8>>,
}

/// A room, its parties in the slots from 0, and a clock.
pub(super) struct House {
    pub relay: Relay,
    begin: Instant,
    ms: u64,
    pub parties: Vec<Party>,
}

impl House {
    /// Parties with these codecs, all in the room, each with its tone.
    pub fn new(codecs: &[Codec]) -> Self {
        let mut house = Self { relay: Relay::new(codecs.len(), LIMITS, 1), begin: start(), ms: 0, parties: vec![] };
        for (slot, codec) in (0..).zip(codecs) {
            let format = format(codec.clone());
            let mut setup = StreamSetup::plain(peer_of(slot), format.clone());
            setup.telephone_event = Some(EVENT);
            house.relay.open(house.begin, slot, CallSid(slot.into()));
            house.relay.configure(house.begin, slot, Box::new(setup));
            house.part(slot, RoomSeat::default());
            house.parties.push(Party {
                // Whole periods in a second, and no harmonics of each other.
                hz: 400.0 + 170.0 * f64::from(slot % 12),
                talks: true,
                encoder: Encoder::new(&format, 16000).unwrap(),
                decoder: Decoder::new(&format, 16000).unwrap(),
                format,
                sequence: 0,
                heard: vec![],
                headers: vec![],
                payloads: vec![],
            });
        }
        house
    }

    pub fn now(&self) -> Instant {
        self.begin + Duration::from_millis(self.ms)
    }

    pub fn part(&mut self, slot: u32, part: RoomSeat) {
        self.relay.join(self.now(), ROOM, slot, part);
    }

    pub fn only(&mut self, talkers: &[u32]) {
        for (slot, party) in (0..).zip(&mut self.parties) {
            party.talks = talkers.contains(&slot);
        }
    }

    fn send(&mut self, slot: u32, payload_type: u8, timestamp: u32, payload: &[u8]) {
        let party = &mut self.parties[slot as usize];
        let sequence = party.sequence;
        party.sequence += 1;
        let ssrc = 0x1111 + slot;
        let header =
            Header { marker: false, payload_type, sequence, timestamp, ssrc, payload_start: HEADER_LEN, padded: false };
        let mut room = [0; 2048];
        header.write(room.first_chunk_mut().unwrap());
        room[HEADER_LEN..HEADER_LEN + payload.len()].copy_from_slice(payload);
        let verdict =
            self.relay.handle_input(self.now(), slot, Port::Rtp, peer_of(slot), &mut room, HEADER_LEN + payload.len());
        assert_eq!(verdict, Verdict::Drop, "nothing is sent before the clock ticks");
    }

    /// 20 ms in which all talkers send a packet, and silence of those who do not.
    pub fn frame(&mut self) {
        for slot in 0..self.parties.len() as u32 {
            let party = &mut self.parties[slot as usize];
            let rate = party.encoder.rate();
            let len = frame_of(rate);
            let n = usize::from(party.sequence) * len;
            let peak = if party.talks { 5000.0 } else { 0.0 };
            let tone = |n: usize| (peak * (TAU * party.hz * n as f64 / f64::from(rate)).sin()) as i16;
            let samples: Vec<i16> = (n..n + len).map(tone).collect();
            let mut payload = [0; 480];
            let bytes = party.encoder.encode(&samples, &mut payload).unwrap();
            let timestamp = u32::from(party.sequence) * (party.format.clock_hz / 50);
            let payload_type = party.format.payload_type;
            self.send(slot, payload_type, timestamp, &payload[..bytes]);
        }
        self.pass(20);
    }

    pub fn pass(&mut self, ms: u64) {
        for _ in 0..ms {
            self.ms += 1;
            let now = self.now();
            while self.relay.play_is_due(now) {
                let mut room = [0; 2048];
                let Some(verdict) = self.relay.poll_play(now, &mut room) else { break };
                let Verdict::Send { slot, port: Port::Rtp, to, len } = verdict else { continue };
                assert_eq!(to, peer_of(slot));
                let header = Header::parse(&room[..len]).unwrap();
                let party = &mut self.parties[slot as usize];
                assert_eq!(header.payload_type, party.format.payload_type);
                let mut samples = vec![0; PAYLOAD_MS_MAX * 48];
                let payload = header.payload(&room[..len]).unwrap();
                let n = party.decoder.decode(payload, &mut samples).unwrap();
                party.heard.extend_from_slice(&samples[..n]);
                party.payloads.push(payload.to_vec());
                party.headers.push(header);
            }
        }
    }

    /// A second and a half of talk; what is heard of its last second is kept.
    pub fn talk(&mut self) {
        for frame in 0..75 {
            if frame == 25 {
                self.parties.iter_mut().for_each(|party| party.heard.clear());
            }
            self.frame();
        }
    }

    /// Which tones a party heard.
    fn hears(&self, slot: u32) -> Vec<u32> {
        let by = &self.parties[slot as usize];
        let rate = f64::from(by.decoder.rate());
        let is_there = |hz: f64| {
            let share = share(&by.heard, rate, hz);
            assert!(!(AWAY..THERE).contains(&share), "slot {slot}: {share} of {hz} Hz is neither there nor away");
            share > THERE
        };
        (0..).zip(&self.parties).filter(|(_, of)| is_there(of.hz)).map(|(of, _)| of).collect()
    }
}

/// The share of a tone of a party's in what is heard.
pub(super) fn share(heard: &[i16], rate: f64, hz: f64) -> f64 {
    let (mut re, mut im) = (0.0, 0.0);
    for (n, sample) in heard.iter().enumerate() {
        let (turn, sample) = (TAU * hz * n as f64 / rate, f64::from(*sample) / 5000.0);
        (re, im) = (re + sample * turn.cos(), im + sample * turn.sin());
    }
    4.0 * (re * re + im * im) / (heard.len().max(1) as f64).powi(2)
}

#[test]
fn each_hears_all_but_itself_whatever_the_codecs() {
    for codecs in [
        [Codec::Pcma, Codec::Pcma, Codec::Pcmu, Codec::Pcma],
        [Codec::Pcma, Codec::Opus, Codec::G722, Codec::Pcmu],
        [Codec::Opus, Codec::Opus, Codec::G722, Codec::G722],
    ] {
        let mut house = House::new(&codecs);
        house.talk();
        for slot in 0..4 {
            let others: Vec<u32> = (0..4).filter(|other| *other != slot).collect();
            assert_eq!(house.hears(slot), others, "{codecs:?}");
            let party = &house.parties[slot as usize];
            assert!(party.headers.len() > 70, "{}", party.headers.len());
            let step = party.format.clock_hz / 50;
            for pair in party.headers.windows(2) {
                assert_eq!(pair[1].sequence, pair[0].sequence.wrapping_add(1));
                assert_eq!(pair[1].timestamp, pair[0].timestamp.wrapping_add(step));
                assert_eq!(pair[1].ssrc, pair[0].ssrc);
            }
        }
    }
}

#[test]
fn who_is_silent_gets_the_bytes_that_all_others_get() {
    let mut house = House::new(&[Codec::Pcma, Codec::Pcma, Codec::Pcma, Codec::Opus, Codec::Opus]);
    house.only(&[0]);
    house.talk();
    let last = |slot: usize| house.parties[slot].payloads.last().unwrap();
    assert_eq!(last(1), last(2), "one encoding for both");
    assert_ne!(last(0), last(1));
    assert_eq!(last(3), last(4));
    let room = house.relay.rooms.room(0).unwrap();
    assert_eq!(room.groups.len(), 2, "one for each codec");
    let ssrcs: Vec<_> = house.parties.iter().map(|party| party.headers[0].ssrc).collect();
    assert!((1..5).all(|n| !ssrcs[..n].contains(&ssrcs[n])), "and each its own stream: {ssrcs:x?}");
}

#[test]
fn mute_hold_and_coaching() {
    let mut house = House::new(&[Codec::Pcma, Codec::Pcma, Codec::Pcmu, Codec::Opus]);
    house.part(1, RoomSeat { muted: true, ..RoomSeat::default() });
    house.talk();
    assert_eq!((house.hears(0), house.hears(1)), (vec![2, 3], vec![0, 2, 3]), "one is muted");
    house.part(1, RoomSeat { held: true, ..RoomSeat::default() });
    house.talk();
    assert_eq!((house.hears(0), house.hears(1)), (vec![2, 3], vec![]), "one is held");
    house.part(1, RoomSeat { coaches: Some(2), ..RoomSeat::default() });
    house.talk();
    assert_eq!((house.hears(0), house.hears(1)), (vec![2, 3], vec![0, 2, 3]), "one coaches two");
    assert_eq!((house.hears(2), house.hears(3)), (vec![0, 1, 3], vec![0, 2]));
    // Two goes; whoever comes in its slot is not coached.
    house.relay.leave(2);
    house.part(2, RoomSeat::default());
    house.talk();
    assert_eq!((house.hears(2), house.hears(0)), (vec![0, 3], vec![2, 3]));
    house.part(1, RoomSeat::default());
    house.talk();
    assert_eq!(house.hears(0), [1, 2, 3], "and is a party as any other");
}

#[test]
fn who_leaves_or_is_bridged_or_closed_is_not_there() {
    let mut house = House::new(&[Codec::Pcma, Codec::Pcma, Codec::Pcma, Codec::Pcma, Codec::Pcma]);
    house.talk();
    house.relay.leave(0);
    house.relay.close(1);
    house.parties[0].talks = false;
    house.parties[1].talks = false;
    let before = house.parties[0].headers.len();
    house.talk();
    assert_eq!((house.hears(2), house.parties[0].headers.len()), (vec![3, 4], before));
    for slot in [2, 3, 4] {
        house.relay.leave(slot);
    }
    assert!(house.relay.rooms.rooms.iter().all(Option::is_none), "an empty room is gone");
    let now = house.now() + Duration::from_secs(1);
    assert_eq!(house.relay.poll_play(now, &mut [0; 2048]), None);
}

#[test]
fn music_is_heard_instead_and_a_chime_besides() {
    let mut house = House::new(&[Codec::Pcma, Codec::Pcmu]);
    let tone = |hz: f64| (0..8000).map(|n| (9000.0 * (TAU * hz * f64::from(n) / 8000.0).sin()) as i16).collect();
    // Slot 1's tone, to slot 0, who hears nobody else meanwhile.
    let prompt = std::sync::Arc::new(Prompt { samples: tone(house.parties[0].hz) });
    let now = house.now();
    house.relay.play(now, 0, PlayId(1), prompt.clone(), 0);
    house.talk();
    assert_eq!((house.hears(0), house.hears(1)), (vec![0], vec![0]), "its music, and no party; it is heard as ever");
    house.relay.stop_play(0);
    house.talk();
    assert_eq!(house.hears(0), [1]);
    // An announcement and a tone are heard by all, of whom nobody speaks.
    house.only(&[]);
    for (sound, loud) in [(RoomSound::Prompt(prompt), 4000..7000), (RoomSound::Entered, 400..1300)] {
        let now = house.now();
        house.relay.chime(now, ROOM, &sound);
        house.parties.iter_mut().for_each(|party| party.heard.clear());
        for _ in 0..60 {
            house.frame();
        }
        let peaks =
            [0, 1].map(|slot: usize| house.parties[slot].heard.iter().filter(|s| s.unsigned_abs() > 4000).count());
        assert!(peaks.iter().all(|peaks| loud.contains(peaks)), "{peaks:?}");
    }
}

#[test]
fn the_clock_stops_when_nobody_sends_and_a_held_stream_is_not_sent_to() {
    let mut house = House::new(&[Codec::Pcma, Codec::Pcma]);
    let mut setup = StreamSetup::plain(peer_of(1), Format::pcma());
    setup.direction = Direction::SendOnly;
    let now = house.now();
    house.relay.configure(now, 1, Box::new(setup));
    house.talk();
    assert!(house.parties[1].headers.is_empty());
    assert_eq!(house.hears(0), [1]);
    house.pass(600);
    let sent = house.parties[0].headers.len();
    house.pass(2000);
    assert_eq!(house.parties[0].headers.len(), sent, "nobody sends, so nothing is mixed");
    assert_eq!(house.relay.rooms.next_deadline(), None);
}

#[test]
fn a_party_that_cannot_be_decoded_harms_nobody_and_a_digit_is_told_and_not_heard() {
    let mut house = House::new(&[Codec::Pcma, Codec::Pcma]);
    let strange = Format { codec: Codec::Other("AMR".into()), payload_type: 96, ..Format::pcma() };
    house.relay.configure(house.begin, 1, Box::new(StreamSetup::plain(peer_of(1), strange)));
    house.only(&[0]);
    for n in 0..20_u32 {
        house.send(0, 8, n * 160, &[0xd5; 160]);
        house.send(1, 96, n * 160, &[0xff; 40]);
        house.send(1, 8, n * 160, &[]);
        house.pass(20);
    }
    assert!(house.parties[1].headers.is_empty(), "nothing that it could read");
    let mut house = House::new(&[Codec::Pcma, Codec::Pcma]);
    house.only(&[]);
    for n in 0..3 {
        house.send(0, EVENT, 800, &[5, if n == 2 { 0x8a } else { 10 }, 3, 0x20]);
        house.frame();
    }
    let digits = std::iter::from_fn(|| house.relay.poll_event())
        .filter(|event| matches!(event, MediaEvent::Digit { digit: '5', .. }));
    assert_eq!(digits.count(), 1);
    assert!(house.parties[1].headers.iter().all(|header| header.payload_type == 8));
}

#[test]
fn a_change_of_codec_and_other_packet_times_are_followed() {
    let mut house = House::new(&[Codec::Pcma, Codec::Pcma, Codec::Pcma]);
    for (slot, ptime_ms) in [(1, 10), (2, 60)] {
        let mut setup = StreamSetup::plain(peer_of(slot), Format::pcma());
        setup.ptime_ms = ptime_ms;
        house.relay.configure(house.begin, slot, Box::new(setup));
    }
    house.only(&[0]);
    house.talk();
    let sizes: Vec<_> = house.parties.iter().map(|party| party.payloads.last().unwrap().len()).collect();
    assert_eq!(sizes, [160, 80, 480]);
    assert_eq!((house.hears(0), house.hears(1), house.hears(2)), (vec![], vec![0], vec![0]));
}

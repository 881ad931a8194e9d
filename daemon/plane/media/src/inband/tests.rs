use std::time::Duration;

use postern_audio::{Decode, Decoder, Encode, Encoder, codec::PAYLOAD_MS_MAX};
use postern_types::{
    CallSid, ConferenceSid,
    media::{PlayId, Prompt},
    stream::{Codec, Format},
};

use super::*;
use crate::{
    Port, Verdict,
    conference::RoomSeat,
    testing::{LIMITS, format, peer_of, start},
};

const CODECS: [Codec; 4] = [Codec::Pcma, Codec::Pcmu, Codec::G722, Codec::Opus];

/// Legs, each with a party that speaks and hears a codec, and a clock.
struct World {
    relay: Relay,
    now: Instant,
    parties: Vec<Party>,
    digits: Vec<(u32, char)>,
}

struct Party {
    format: Format,
    encoder: Encoder,
    decoder: Decoder,
    sequence: u16,
    /// What it heard.
    heard: Vec<i16>,
}

impl World {
    fn new(legs: &[(Codec, DigitsBy)]) -> Self {
        let now = start();
        let mut relay = Relay::new(8, LIMITS, 1);
        let mut parties = Vec::new();
        for (slot, (codec, digits)) in (0..).zip(legs) {
            let format = format(codec.clone());
            let mut setup = StreamSetup::plain(peer_of(slot), format.clone());
            setup.digits = *digits;
            setup.telephone_event = Some(101).filter(|_| *digits == DigitsBy::Stream);
            relay.open(now, slot, CallSid(slot.into()));
            relay.configure(now, slot, Box::new(setup));
            let (encoder, decoder) = (Encoder::new(&format, 8000).unwrap(), Decoder::new(&format, 8000).unwrap());
            parties.push(Party { format, encoder, decoder, sequence: 0, heard: Vec::new() });
        }
        Self { relay, now, parties, digits: Vec::new() }
    }

    fn bridged(a: (Codec, DigitsBy), b: (Codec, DigitsBy)) -> Self {
        let mut world = Self::new(&[a, b]);
        world.relay.bridge(0, 1);
        world
    }

    /// A party's next 20 ms, at 8000 Hz; a lost packet is sent by nobody.
    fn says(&mut self, slot: u32, frame: &[i16; FRAME], is_lost: bool) {
        let party = &mut self.parties[slot as usize];
        let mut wide = vec![0; frame_of(party.encoder.rate())];
        let factor = wide.len() / FRAME;
        wide.iter_mut().enumerate().for_each(|(n, sample)| *sample = frame[n / factor]);
        let mut room = [0; 1500];
        let len = party.encoder.encode(&wide, &mut room[12..]).unwrap_or(0);
        let units = party.format.clock_hz / 50;
        let timestamp = u32::from(party.sequence) * units;
        let payload_type = party.format.payload_type;
        let head = Header {
            marker: false,
            payload_type,
            sequence: party.sequence,
            timestamp,
            ssrc: 7 + slot,
            payload_start: 12,
            padded: false,
        };
        head.write(room.first_chunk_mut().unwrap());
        party.sequence += 1;
        if !is_lost && len > 0 {
            let verdict = self.relay.handle_input(self.now, slot, Port::Rtp, peer_of(slot), &mut room, 12 + len);
            self.note(verdict, &room);
        }
    }

    fn note(&mut self, verdict: Verdict, room: &[u8]) {
        let Verdict::Send { slot, len, .. } = verdict else { return };
        let party = &mut self.parties[slot as usize];
        let header = Header::parse(&room[..len]).unwrap();
        if header.payload_type == party.format.payload_type {
            let mut pcm = vec![0; PAYLOAD_MS_MAX * 48];
            let samples = party.decoder.decode(header.payload(&room[..len]).unwrap(), &mut pcm).unwrap();
            let step = party.decoder.rate() as usize / 8000;
            party.heard.extend(pcm[..samples].iter().step_by(step));
        }
    }

    fn pass(&mut self, ms: u64) {
        for _ in 0..ms {
            self.now += Duration::from_millis(1);
            let mut room = [0; 2048];
            while let Some(verdict) = self.relay.poll_play(self.now, &mut room) {
                self.note(verdict, &room);
            }
            while let Some(event) = self.relay.poll_event() {
                if let MediaEvent::Digit { leg, digit, .. } = event {
                    self.digits.push((leg.0 as u32, digit));
                }
            }
        }
    }

    /// A party hums, presses keys for 80 ms each, hums on; every `loss`th packet is lost.
    fn presses(&mut self, slot: u32, keys: &str, loss: usize) {
        let hum = |n: usize| (3000.0 * (std::f64::consts::TAU * 300.0 * n as f64 / 8000.0).sin()) as i16;
        let mut samples: Vec<i16> = (0..1600).map(hum).collect();
        for key in keys.chars() {
            let mut generator = Generator::new(key).unwrap();
            let from = samples.len();
            // Not in step with frames.
            samples.resize(from + 687, 0);
            generator.fill(&mut samples[from..from + 640]);
            samples.extend([0; 480]);
        }
        samples.extend((0..3200).map(hum));
        samples.resize(samples.len().next_multiple_of(FRAME), 0);
        for (n, frame) in samples.chunks_exact(FRAME).enumerate() {
            self.says(slot, frame.try_into().unwrap(), loss > 0 && n % loss == loss - 1);
            self.pass(20);
        }
        self.pass(600);
    }

    fn told(&self, slot: u32) -> String {
        self.digits.iter().filter(|(leg, _)| *leg == slot).map(|(_, digit)| digit).collect()
    }

    /// Digits in what a party heard.
    fn tones(&self, slot: u32) -> String {
        let mut detector = Detector::default();
        let heard = &self.parties[slot as usize].heard;
        let mut told: String = Vec::from_iter(heard.chunks_exact(FRAME))
            .iter()
            .filter_map(|frame| detector.hear((*frame).try_into().unwrap()).ended)
            .map(|press| press.digit)
            .collect();
        told.extend(detector.rest().map(|press| press.digit));
        told
    }
}

#[test]
fn tones_are_told_and_cut_in_every_codec_and_what_is_said_around_them_is_heard() {
    for codec in CODECS {
        for (other, digits) in [(Codec::Pcma, DigitsBy::Stream), (Codec::G722, DigitsBy::Signaling)] {
            let mut world = World::bridged((codec.clone(), DigitsBy::Tones), (other, digits));
            world.presses(0, "19*0D", 0);
            assert_eq!(world.told(0), "19*0D", "{codec}");
            assert_eq!(world.tones(1), "", "{codec}");
            let heard = &world.parties[1].heard;
            let power = |part: &[i16]| part.iter().map(|s| f64::from(*s).powi(2)).sum::<f64>() / part.len() as f64;
            assert!(power(&heard[400..1300]) > 2e6, "{codec}: the hum before");
            // Five tones of some 80 ms, of which next to nothing is left; each has 5e7 or so.
            let middle = &heard[1800..6500];
            assert!(power(middle) < 4e6, "{codec}: {}", power(middle));
            let after = heard.rchunks(400).map(power).filter(|power| *power > 2e6).count();
            assert!(after >= 6, "{codec}: the hum after: {after}");
        }
    }
}

#[test]
fn to_who_takes_digits_no_other_way_tones_pass_and_are_told_all_the_same() {
    for codec in CODECS {
        let mut world = World::bridged((Codec::Pcmu, DigitsBy::Tones), (codec.clone(), DigitsBy::Tones));
        world.presses(0, "2580", 0);
        assert_eq!((world.told(0), world.tones(1)), ("2580".into(), "2580".into()), "{codec}");
    }
    // One that could take events, and did not describe them.
    let mut world = World::new(&[(Codec::Pcma, DigitsBy::Tones), (Codec::Pcma, DigitsBy::Stream)]);
    let plain = StreamSetup::plain(peer_of(1), Format::pcma());
    world.relay.configure(world.now, 1, Box::new(plain));
    world.relay.bridge(0, 1);
    world.presses(0, "77", 0);
    assert_eq!((world.told(0), world.tones(1)), ("77".into(), "77".into()));
}

#[test]
fn a_lost_packet_neither_doubles_nor_loses_a_digit() {
    for codec in CODECS {
        for loss in [50, 23, 11] {
            if loss == 11 && !matches!(codec, Codec::Pcma | Codec::Pcmu) {
                // A decoder with memory needs some 20 ms to find back: of 80 ms of tone too little is left.
                continue;
            }
            let mut world = World::bridged((codec.clone(), DigitsBy::Tones), (Codec::Pcma, DigitsBy::Stream));
            world.presses(0, "1234567", loss);
            assert_eq!(world.told(0), "1234567", "{codec}, each {loss}th");
        }
    }
}

#[test]
fn a_leg_that_nobody_hears_is_listened_to_also_while_it_hears_a_prompt() {
    for codec in CODECS {
        let mut world = World::new(&[(codec.clone(), DigitsBy::Tones)]);
        let prompt = std::sync::Arc::new(Prompt { samples: vec![500; 16000].into() });
        world.relay.play(world.now, 0, PlayId(1), prompt, 1);
        world.presses(0, "#42", 0);
        assert_eq!(world.told(0), "#42", "{codec}");
        // Its clock has stopped, and starts again.
        assert_eq!(world.relay.transcoding.next_deadline(), None);
        world.presses(0, "7", 0);
        assert_eq!(world.told(0), "#427");
    }
}

#[test]
fn in_a_room_tones_are_told_and_others_hear_none_also_of_one_who_is_muted() {
    let room = ConferenceSid(1);
    for muted in [false, true] {
        let mut world = World::new(&[(Codec::Pcma, DigitsBy::Tones), (Codec::Pcmu, DigitsBy::Stream)]);
        for slot in [0, 1] {
            let part = RoomSeat { muted: muted && slot == 0, ..RoomSeat::default() };
            world.relay.join(world.now, room, slot, part);
        }
        world.presses(0, "306", 0);
        assert_eq!((world.told(0), world.tones(1)), ("306".into(), String::new()), "{muted}");
    }
}

#[test]
fn digits_are_said_as_tones_one_after_the_other_in_every_codec() {
    for codec in CODECS {
        let mut world = World::bridged((Codec::Pcma, DigitsBy::Stream), (codec.clone(), DigitsBy::Tones));
        world.says(0, &[0; FRAME], false);
        for (code, duration_ms) in [(1, 100), (1, 0), (11, 300), (15, 80)] {
            world.relay.press(world.now, 1, code, duration_ms);
        }
        for _ in 0..60 {
            world.says(0, &[900; FRAME], false);
            world.pass(20);
        }
        assert_eq!(world.tones(1), "11#D", "{codec}");
        let last = world.parties[1].heard.rchunks(FRAME).nth(3).unwrap();
        assert!(last.iter().any(|sample| *sample != 0), "{codec}: audio goes on after them");
    }
}

#[test]
fn a_digit_of_the_partners_stream_is_said_as_a_tone_though_it_came_just_now() {
    let mut world = World::bridged((Codec::Pcma, DigitsBy::Stream), (Codec::Pcmu, DigitsBy::Tones));
    let mut room = [0; 64];
    room[..2].copy_from_slice(&[0x80, 101]);
    room[12..16].copy_from_slice(&[5, 0x8a, 3, 0x20]);
    let verdict = world.relay.handle_input(world.now, 0, Port::Rtp, peer_of(0), &mut room, 16);
    assert_eq!(verdict, Verdict::Drop, "it described none");
    world.relay.press(world.now, 1, 5, 100);
    world.pass(400);
    assert_eq!((world.told(0), world.tones(1)), ("5".into(), "5".into()));
}

#[test]
fn a_leg_without_tones_has_nothing_of_this() {
    let mut world = World::bridged((Codec::Pcma, DigitsBy::Stream), (Codec::Pcma, DigitsBy::Signaling));
    world.presses(0, "123", 0);
    assert_eq!((world.told(0), world.tones(1)), (String::new(), "123".into()));
    for slot in [0, 1] {
        let leg = leg_at(&mut world.relay.legs, slot).unwrap();
        assert!(leg.inband.is_none() && leg.ways.is_none());
    }
}

//! Digits that are tones in the audio of a leg (`dtmf: inband`): heard in what its party says and cut from what others hear of it, and made when the
//! leg is told one.
//!
//! Only a leg that is set so has any of this. Bridged, the pair goes through samples as a transcoded one does, and the detector hears each frame on its
//! way; in a room it hears what the room's clock takes of the leg's ear; and a leg that nobody hears, because a document has it, has an ear and a clock
//! here. A digit is told as one of RFC 4733 is; the router has it said to the other leg by that one's own way.
//!
//! To cut a tone, the frame before is held back: 20 ms of delay. A tone is known 28 ms after its beginning at the latest, so what leaks of it
//! is less than 16 ms, which no detector may take for a digit (ITU-T Q.24). What was taken for a beginning and was none costs speech a frame or two. To who
//! takes digits by no other way tones pass uncut, and are told of all the same.

use std::{cmp::Reverse, time::Instant};

use postern_audio::{
    dtmf::{Detector, FRAME, Generator, Press, RATE},
    rate::{Converter, FRAME_MAX, frame_of},
};
use postern_rtp::{Header, event::digit_of};
use postern_types::media::{DigitsBy, MediaEvent, StreamSetup};

use crate::{
    ear::{Ear, Frame, Heard},
    leg::Leg,
    press::Pressing,
    relay::{Relay, leg as leg_at, tell},
    transcode::{TICK, moment_of},
    voice::Voice,
};

/// Between two digits, frames: exchanges want at least 40 ms of silence.
const PAUSE_FRAMES: u16 = 3;

/// What a leg with tones for digits has.
pub(crate) struct Inband {
    detector: Detector,
    /// From frames of so many samples.
    converter: Option<(usize, Converter)>,
    /// The frame before, that is held back, its length, and whether there was a tone in it.
    held: Box<Frame>,
    held_len: usize,
    held_tone: bool,
    /// Listens while nobody else does, and when next.
    alone: Option<Ear>,
    tick: Option<Instant>,
    /// Of the digit that is said to it.
    generator: Option<Generator>,
}

impl Inband {
    fn new() -> Self {
        Self {
            detector: Detector::default(),
            converter: None,
            held: Box::new([0; FRAME_MAX]),
            held_len: 0,
            held_tone: false,
            alone: None,
            tick: None,
            generator: None,
        }
    }

    /// Hears a frame of what the leg says, at any of our rates. With `cuts` the frame becomes the one before, without tones.
    fn hear(&mut self, frame: &mut [i16], cuts: bool) -> Option<Press> {
        let mut narrow = [0; FRAME];
        if frame.len() == FRAME {
            narrow.copy_from_slice(frame);
        } else {
            if self.converter.as_ref().is_none_or(|(len, _)| *len != frame.len()) {
                let converter = Converter::new(frame.len() as u32 * 50, RATE);
                self.converter = converter.map(|converter| (frame.len(), converter));
            }
            if let Some((_, converter)) = &mut self.converter {
                converter.convert(frame, &mut narrow);
            }
        }
        let heard = self.detector.hear(&narrow);
        if cuts {
            self.hold_back(frame, heard.is_tone);
        } else {
            self.held_len = 0;
        }
        heard.ended
    }

    fn hold_back(&mut self, frame: &mut [i16], is_tone: bool) {
        let len = frame.len();
        let Some(held) = self.held.get_mut(..len) else { return };
        if self.held_len != len {
            held.fill(0);
        }
        held.swap_with_slice(frame);
        if is_tone || self.held_tone {
            frame.fill(0);
        }
        (self.held_len, self.held_tone) = (len, is_tone);
    }

    /// The leg says nothing for now.
    fn rest(&mut self) -> Option<Press> {
        (self.held_len, self.held_tone) = (0, false);
        self.detector.rest()
    }
}

impl Leg {
    /// Takes up or lays down listening for tones, as described.
    pub(crate) fn settle_inband(&mut self) {
        let Some(setup) = self.setup.as_deref().filter(|setup| setup.digits == DigitsBy::Tones) else {
            self.inband = None;
            return;
        };
        let inband = self.inband.get_or_insert_with(|| Box::new(Inband::new()));
        inband.alone.take_if(|ear| !ear.serves(setup, RATE));
    }

    /// A frame of what this leg says was listened to: its digits are heard, and `cuts` says whether they are taken out of it.
    pub(crate) fn hear_tones(&mut self, heard: Heard, frame: &mut [i16], cuts: bool) -> Option<MediaEvent> {
        let inband = self.inband.as_mut()?;
        let press = if heard == Heard::Nothing { inband.rest() } else { inband.hear(frame, cuts) };
        press.map(|Press { digit, duration_ms }| MediaEvent::Digit { leg: self.id, digit, duration_ms })
    }

    /// Whether tones are no way to tell this leg a digit, for it is told by another.
    pub(crate) fn is_told_otherwise(&self) -> bool {
        self.setup.as_ref().is_some_and(|setup| match setup.digits {
            DigitsBy::Stream => setup.telephone_event.is_some(),
            DigitsBy::Signaling => true,
            DigitsBy::Tones => false,
        })
    }

    /// What is planned for it on this worker is no more.
    pub(crate) fn forget_inband_plan(&mut self) {
        if let Some(inband) = &mut self.inband {
            inband.tick = None;
        }
    }

    /// Whether somebody else listens to it.
    fn is_listened_to(&self) -> bool {
        self.partner.is_some() || self.seat.as_ref().is_some_and(|seat| seat.listens())
    }
}

impl Relay {
    /// A packet of a leg that nobody hears.
    pub(crate) fn rtp_alone(&mut self, now: Instant, slot: u32, header: &Header, packet: &[u8]) {
        let Self { legs, transcoding, .. } = self;
        let Some(leg) = leg_at(legs, slot).filter(|leg| !leg.is_listened_to()) else { return };
        let (opened, setup) = (leg.opened, leg.setup.as_deref());
        let (Some(inband), Some(setup), Ok(payload)) = (leg.inband.as_mut(), setup, header.payload(packet)) else {
            return;
        };
        if inband.alone.is_none() {
            inband.alone = Ear::new(opened, setup, RATE);
        }
        let Some(ear) = &mut inband.alone else { return };
        ear.take(now, header, payload);
        if inband.tick.is_none() {
            let at = transcoding.first_tick(now);
            inband.tick = Some(at);
            transcoding.ticks.push(Reverse((at, slot)));
        }
    }

    /// The clock of a leg that nobody hears ticks.
    pub(crate) fn tick_alone(&mut self, now: Instant, at: Instant, slot: u32) {
        let Self { legs, transcoding, events, counts, .. } = self;
        let Some(leg) = leg_at(legs, slot) else { return };
        let is_listened_to = leg.is_listened_to();
        let Some(inband) = leg.inband.as_mut().filter(|inband| inband.tick == Some(at)) else { return };
        inband.tick = None;
        if is_listened_to {
            inband.alone = None;
            return;
        }
        let Some(ear) = &mut inband.alone else { return };
        let frame = &mut transcoding.frame[..frame_of(RATE)];
        let moment = moment_of(at, now);
        let heard = ear.listen(moment, frame);
        if heard != Heard::Nothing {
            let next = moment + TICK;
            inband.tick = Some(next);
            transcoding.ticks.push(Reverse((next, slot)));
        }
        let told = leg.hear_tones(heard, frame, false);
        told.into_iter().for_each(|event| tell(events, counts, event));
    }
}

/// Says the next 20 ms of the digits that wait; false when none does any more. The packets are for [`Relay::poll_ways`] to write.
pub(crate) fn say(
    pressing: &mut Pressing,
    inband: &mut Inband,
    voice: &mut Option<Box<Voice>>,
    setup: &StreamSetup,
) -> bool {
    let Some(&(code, steps)) = pressing.waiting.front() else { return false };
    if voice.is_none() {
        *voice = Voice::new(setup, RATE).map(Box::new);
    }
    let Some(voice) = voice else { return false };
    let mut frame = [0; FRAME];
    if pressing.steps == 0 {
        inband.generator = digit_of(code).and_then(Generator::new);
        voice.mark();
    }
    pressing.steps += 1;
    if pressing.steps <= steps {
        inband.generator.iter_mut().for_each(|generator| generator.fill(&mut frame));
    }
    if pressing.steps >= steps + PAUSE_FRAMES {
        pressing.waiting.pop_front();
        pressing.steps = 0;
    }
    voice.speak(&frame);
    true
}

#[cfg(test)]
mod tests;

//! Digits that we say ourselves, as telephone-event (RFC 4733) or as tones: those that came by another way than the other leg's stream.
//!
//! While one is said, the other leg is not heard on this one, as with a prompt: what is sent is ours, under our own SSRC. A digit that the other
//! leg says in its stream at the same time is the same press told twice: it has passed already, and is not said again.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use postern_rtp::{TelephoneEvent, packet::HEADER_LEN};

use crate::{
    inband,
    leg::Leg,
    relay::{Port, Relay, Verdict, leg as leg_at},
};

/// Digits that wait at most: more than a person presses while one is said. A further one is dropped.
const WAITING_MAX: usize = 32;
/// Packets of an event are this far apart (RFC 4733 2.5.1.2).
const STEP: Duration = Duration::from_millis(20);
/// The same in units of its clock.
const STEP_UNITS: u16 = 160;
/// Its last packet is sent so often (RFC 4733 2.5.1.4).
const ENDS: u8 = 3;
/// Between two digits: exchanges want at least 40 ms of silence.
const PAUSE: Duration = Duration::from_millis(60);
/// Shortest and longest that one is said; what is told beyond is a mistake.
const SHORTEST_MS: u32 = 80;
const LONGEST_MS: u32 = 2000;
/// Loudness, -dBm0.
const VOLUME: u8 = 10;
/// A digit of the other leg's stream within this time before is the same press.
const SAME_PRESS: Duration = Duration::from_millis(1000);

/// What a leg is being told.
#[derive(Debug)]
pub(crate) struct Pressing {
    /// Code and steps, the one that is said first.
    pub(crate) waiting: VecDeque<(u8, u16)>,
    /// Of the one that is said.
    timestamp: u32,
    pub(crate) steps: u16,
    ends: u8,
    /// When the next packet is due.
    pub(crate) next_at: Instant,
}

impl Leg {
    /// Whether what is sent to it is ours alone.
    pub(crate) fn hears_us(&self) -> bool {
        self.player.is_some() || self.is_pressing
    }
}

impl Relay {
    /// Says a digit (a code of RFC 4733 3.2) to a leg for so long. Nothing happens when the leg did not describe telephone-event, hears a prompt,
    /// or got the same digit from its partner's stream.
    pub fn press(&mut self, now: Instant, slot: u32, code: u8, duration_ms: u32) {
        self.lift(slot);
        let partner = leg_at(&mut self.legs, slot).and_then(|leg| leg.partner);
        let doubled = partner.and_then(|partner| leg_at(&mut self.legs, partner)).is_some_and(|partner| {
            partner
                .digits
                .latest()
                .is_some_and(|(said, seen)| said == code && now.saturating_duration_since(seen) < SAME_PRESS)
        });
        let Some(leg) = leg_at(&mut self.legs, slot) else { return };
        let is_by_tones = leg.inband.is_some();
        let takes = is_by_tones || leg.setup.as_ref().is_some_and(|setup| setup.telephone_event.is_some());
        // What the partner's stream says does not pass to one that has tones.
        if doubled && !is_by_tones || !takes || leg.player.is_some() {
            return;
        }
        let steps = (duration_ms.clamp(SHORTEST_MS, LONGEST_MS) / STEP.as_millis() as u32) as u16;
        match &mut leg.pressing {
            Some(pressing) if pressing.waiting.len() < WAITING_MAX => pressing.waiting.push_back((code, steps)),
            Some(_) => {}
            None => {
                leg.is_pressing = true;
                leg.pressing = Some(Box::new(Pressing {
                    waiting: VecDeque::from([(code, steps)]),
                    timestamp: leg.own.timestamp(),
                    steps: 0,
                    ends: 0,
                    next_at: now,
                }));
                self.plan_play(now, slot);
            }
        }
    }

    /// Writes the packet of a digit that is due at `at`, if there is one.
    pub(crate) fn poll_press(&mut self, now: Instant, at: Instant, slot: u32, room: &mut [u8]) -> Option<Verdict> {
        let leg = leg_at(&mut self.legs, slot)?;
        let pressing = leg.pressing.as_mut().filter(|pressing| pressing.next_at == at)?;
        if let (Some(inband), None, Some(setup)) = (&mut leg.inband, &leg.player, leg.setup.as_deref())
            && inband::say(pressing, inband, &mut leg.voice, setup)
        {
            let next_at = at.max(now) + STEP;
            pressing.next_at = next_at;
            self.transcoding.going_on = Some(slot);
            self.plan_play(next_at, slot);
            return None;
        }
        let takes = leg.setup.as_ref().and_then(|setup| setup.telephone_event);
        let front = pressing.waiting.front().copied();
        let (Some((code, steps)), Some(payload_type), None) = (front, takes, &leg.player) else {
            (leg.pressing, leg.is_pressing) = (None, false);
            leg.mark_next = true;
            return None;
        };
        let is_first = pressing.steps == 0;
        pressing.steps = (pressing.steps + 1).min(steps);
        let end = pressing.steps == steps;
        let event = TelephoneEvent { code, end, volume: VOLUME, duration: pressing.steps * STEP_UNITS };
        let timestamp = pressing.timestamp;
        pressing.ends += u8::from(end);
        pressing.next_at = at.max(now) + STEP;
        if pressing.ends == ENDS {
            pressing.waiting.pop_front();
            let clock_hz = leg.voice.as_ref().map_or(8000, |voice| voice.clock_hz());
            let passed = STEP * u32::from(steps) + PAUSE;
            leg.own.pass((passed.as_micros() as u64 * u64::from(clock_hz) / 1_000_000) as u32);
            (pressing.timestamp, pressing.steps, pressing.ends) = (leg.own.timestamp(), 0, 0);
            pressing.next_at += PAUSE;
        }
        let next_at = pressing.next_at;
        let to = leg.rtp_destination();
        let mut head = leg.own.head(payload_type, is_first);
        head.timestamp = timestamp;
        head.write(room.first_chunk_mut()?);
        let len = HEADER_LEN + 4;
        room.get_mut(HEADER_LEN..len)?.copy_from_slice(&event.to_bytes());
        let protected = to.and_then(|_| leg.crypto.protect(room, len, false).ok());
        if protected.is_some() {
            leg.sent.update(now, head.ssrc, 4, None);
            leg.sent_tally.add(1, len as u64);
            self.counts.packets_out += 1;
        }
        self.plan_play(next_at, slot);
        let (to, len) = to.zip(protected)?;
        Some(Verdict::Send { slot, port: Port::Rtp, to, len })
    }
}

#[cfg(test)]
mod tests;

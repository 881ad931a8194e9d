//! What is sent of our own accord when its time has come: prompts, digits, converted audio, handshakes, reports.

use std::{
    cmp::Reverse,
    sync::Arc,
    time::{Duration, Instant},
};

use postern_types::{
    media::{MediaEvent, PlayId, Prompt},
    recording::Track,
};

use super::{Port, Relay, Verdict, leg, tell};
use crate::{
    play::{Player, SAMPLE_RATE},
    transcode::TICK,
    voice::Voice,
};

/// How soon a player looks again whether a handshake is done.
const PLAY_AGAIN: Duration = TICK;

impl Relay {
    /// Plays into a leg, replacing what plays.
    pub fn play(&mut self, now: Instant, slot: u32, play: PlayId, prompt: Arc<Prompt>, times: u32) {
        self.lift(slot);
        let Some(leg) = leg(&mut self.legs, slot) else { return };
        let player = Player::new(now, play, prompt, times, &mut leg.own);
        self.plays.push(Reverse((player.next_at, slot)));
        leg.player = Some(Box::new(player));
    }

    /// A leg has something of ours due at that time.
    pub(crate) fn plan_play(&mut self, at: Instant, slot: u32) {
        self.plays.push(Reverse((at, slot)));
    }

    /// Stops what plays.
    pub fn stop_play(&mut self, slot: u32) {
        if let Some(leg) = leg(&mut self.legs, slot)
            && leg.player.take().is_some()
        {
            leg.mark_next = true;
        }
    }

    /// Whether a player, a transcoded pair, a handshake or a report has something to send.
    pub fn play_is_due(&self, now: Instant) -> bool {
        !self.flights.is_empty()
            || !self.reporting.is_empty()
            || self.transcoding.is_due(now)
            || self.rooms.is_due(now)
            || self.plays.peek().is_some_and(|Reverse((at, _))| *at <= now)
    }

    /// Writes the next datagram of a handshake.
    fn poll_flight(&mut self, room: &mut [u8]) -> Option<Verdict> {
        while let Some(&slot) = self.flights.front() {
            let proof = leg(&mut self.legs, slot).and_then(|leg| leg.proof.as_mut());
            let Some((to, datagram)) = proof.and_then(|proof| proof.keying.as_mut()?.poll_transmit()) else {
                self.flights.pop_front();
                continue;
            };
            let Some(place) = room.get_mut(..datagram.len()) else { continue };
            place.copy_from_slice(&datagram);
            self.counts.packets_out += 1;
            return Some(Verdict::Send { slot, port: Port::Rtp, to, len: datagram.len() });
        }
        None
    }

    /// Writes the next packet that a player, a transcoded pair, a handshake or a report has due, with its verdict. None: nothing is due. Call until then.
    pub fn poll_play(&mut self, now: Instant, room: &mut [u8]) -> Option<Verdict> {
        if let Some(own) = self.poll_flight(room).or_else(|| self.poll_report(now, room)) {
            return Some(own);
        }
        loop {
            if let Some(made) = self.poll_ways(now, room).or_else(|| self.poll_rooms(now, room)) {
                return Some(made);
            }
            let &Reverse((at, slot)) = self.plays.peek().filter(|Reverse((at, _))| *at <= now)?;
            self.plays.pop();
            if let Some(digit) = self.poll_press(now, at, slot, room) {
                return Some(digit);
            }
            let Some(leg) = leg(&mut self.legs, slot) else { continue };
            let awaits_keys = leg.awaits_keys(now);
            let Some(player) = leg.player.as_mut().filter(|player| player.next_at == at) else { continue };
            if awaits_keys {
                // The beginning of a prompt is not played to nobody.
                player.next_at = now + PLAY_AGAIN;
                self.plays.push(Reverse((player.next_at, slot)));
                continue;
            }
            // Without a codec that we can speak nothing is sent, and the play is over at once.
            let len = match (leg.play_format, leg.setup.as_deref()) {
                (Some(format), _) => player.next(now, &mut leg.own, format, room),
                (None, Some(setup)) => {
                    if leg.voice.is_none() {
                        leg.voice = Voice::new(setup, SAMPLE_RATE).map(Box::new);
                    }
                    if leg.voice.as_mut().is_some_and(|voice| player.speak(now, voice)) {
                        self.plays.push(Reverse((player.next_at, slot)));
                        self.transcoding.going_on = Some(slot);
                        continue;
                    }
                    None
                }
                (None, None) => None,
            };
            let Some(len) = len else {
                let ended = MediaEvent::PlayEnded { leg: leg.id, play: player.play };
                leg.player = None;
                leg.mark_next = true;
                tell(&mut self.events, &mut self.counts, ended);
                continue;
            };
            self.plays.push(Reverse((player.next_at, slot)));
            let Some(to) = leg.rtp_destination() else { continue };
            if let Some(taps) = &mut leg.taps {
                taps.copy(now, (slot, Track::Outbound), leg.setup.as_deref(), &room[..len], &mut self.tapped);
            }
            let (ssrc, timestamp, payload) = leg.own.latest(len);
            let Ok(protected) = leg.crypto.protect(room, len, false) else { continue };
            leg.sent.update(now, ssrc, payload, Some((timestamp, SAMPLE_RATE)));
            leg.sent_tally.add(1, len as u64);
            self.counts.packets_out += 1;
            return Some(Verdict::Send { slot, port: Port::Rtp, to, len: protected });
        }
    }
}

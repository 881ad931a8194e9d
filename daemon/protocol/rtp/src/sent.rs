//! What we send on one leg, as far as our reports of it need to know.

use std::time::{Duration, Instant};

/// The stream that a peer gets of us. Another SSRC begins another stream; who relays passes on those of its parties.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sent {
    ssrc: Option<u32>,
    packets: u32,
    bytes: u32,
    timestamp: u32,
    clock_hz: u32,
    at: Option<Instant>,
}

impl Sent {
    /// Counts a packet with so many bytes of payload. `timing` is its timestamp and clock where it says when the audio was taken,
    /// which a telephone-event (it repeats its start) does not.
    pub fn update(&mut self, now: Instant, ssrc: u32, payload: usize, timing: Option<(u32, u32)>) {
        if self.ssrc != Some(ssrc) {
            *self = Self { ssrc: Some(ssrc), ..Self::default() };
        }
        self.packets = self.packets.wrapping_add(1);
        self.bytes = self.bytes.wrapping_add(payload as u32);
        if let Some((timestamp, clock_hz)) = timing {
            (self.timestamp, self.clock_hz, self.at) = (timestamp, clock_hz, Some(now));
        }
    }

    /// Adds packets of the source that somebody else sent: how many, with so many bytes of payload, and the last's timestamp and time,
    /// when they are known.
    pub fn add(&mut self, packets: u64, payload: u64, last: Option<(u32, Instant)>) {
        self.packets = self.packets.wrapping_add(packets as u32);
        self.bytes = self.bytes.wrapping_add(payload as u32);
        if let Some((timestamp, at)) = last.filter(|(_, at)| self.at.is_some_and(|before| before <= *at)) {
            (self.timestamp, self.at) = (timestamp, Some(at));
        }
    }

    /// The source; none as long as nothing was sent.
    pub fn ssrc(&self) -> Option<u32> {
        self.ssrc
    }

    /// Packets of this source, modulo 2^32.
    pub fn packets(&self) -> u32 {
        self.packets
    }

    /// Payload bytes of this source, modulo 2^32.
    pub fn bytes(&self) -> u32 {
        self.bytes
    }

    /// RTP clock of the latest packet with audio, Hz; 0 before one.
    pub fn clock_hz(&self) -> u32 {
        self.clock_hz
    }

    /// The timestamp that audio taken at `now` would have (RFC 3550 6.4.1).
    pub fn timestamp_at(&self, now: Instant) -> u32 {
        let passed = self.at.map_or(Duration::ZERO, |at| now.saturating_duration_since(at));
        let ticks = passed.as_micros() as u64 * u64::from(self.clock_hz) / 1_000_000;
        self.timestamp.wrapping_add(ticks as u32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_timestamp_goes_on_by_the_clock_and_another_source_begins_anew() {
        let (start, mut sent) = (crate::fuzz::any_instant(), Sent::default());
        assert_eq!((sent.ssrc(), sent.timestamp_at(start)), (None, 0));
        sent.update(start, 7, 160, Some((u32::MAX - 79, 8000)));
        sent.update(start + Duration::from_millis(20), 7, 4, None);
        assert_eq!((sent.ssrc(), sent.packets(), sent.bytes(), sent.clock_hz()), (Some(7), 2, 164, 8000));
        assert_eq!(sent.timestamp_at(start + Duration::from_millis(20)), 80, "past the wrap");
        sent.update(start, 8, 160, None);
        assert_eq!((sent.ssrc(), sent.packets(), sent.clock_hz()), (Some(8), 1, 0));
        assert_eq!(sent.timestamp_at(start + Duration::from_secs(1)), 0, "no clock, no time");
    }
}

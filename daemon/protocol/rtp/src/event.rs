//! Digits as telephone-event (RFC 4733): each told once, however often its packets are repeated or lost.
//!
//! A digit is the packets of one event code with one timestamp. It is told when its end is seen, or, when all of the
//! redundant end packets were lost, when another event starts or nothing more came for [`END_LOST_AFTER`].

use std::time::{Duration, Instant};

/// Without a further packet an event has ended. Senders repeat it at least every 50 ms (RFC 4733 2.5.1.2 asks for one
/// packet time), so this outlasts three lost ones.
pub const END_LOST_AFTER: Duration = Duration::from_millis(200);

/// Within this time an older timestamp is a late packet; afterwards a sender that started over.
const LATE_FOR: Duration = Duration::from_secs(5);

/// A segment of a long event has this duration, and its successor starts where it ended (RFC 4733 2.5.1.3).
const SEGMENT: u32 = 0xffff;

/// One payload (RFC 4733 2.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TelephoneEvent {
    /// 0-9 digits, 10 *, 11 #, 12-15 A-D; others are tones and line events.
    pub code: u8,
    /// The last packets of an event carry it.
    pub end: bool,
    /// Loudness, -dBm0, 0..=63.
    pub volume: u8,
    /// Since the timestamp, in its units.
    pub duration: u16,
}

impl TelephoneEvent {
    /// Reads the first four bytes; further events in one packet do not occur with DTMF.
    pub fn parse(payload: &[u8]) -> Option<Self> {
        let bytes = payload.first_chunk::<4>()?;
        Some(Self {
            code: bytes[0],
            end: bytes[1] & 0x80 != 0,
            volume: bytes[1] & 0x3f,
            duration: u16::from_be_bytes([bytes[2], bytes[3]]),
        })
    }

    /// The payload.
    pub fn to_bytes(self) -> [u8; 4] {
        let [high, low] = self.duration.to_be_bytes();
        [self.code, u8::from(self.end) << 7 | self.volume & 0x3f, high, low]
    }
}

/// The code of a digit.
pub fn code_of(digit: char) -> Option<u8> {
    DIGITS.iter().position(|&d| d == digit).map(|code| code as u8)
}

/// The digit of a code.
pub fn digit_of(code: u8) -> Option<char> {
    DIGITS.get(usize::from(code)).copied()
}

const DIGITS: [char; 16] = ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', '*', '#', 'A', 'B', 'C', 'D'];

/// A digit that was pressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pressed {
    /// 0-9 * # A-D.
    pub digit: char,
    /// In units of the event's clock.
    pub duration: u32,
}

impl Pressed {
    /// How long it was held, milliseconds.
    pub fn duration_ms(&self, clock_hz: u32) -> u32 {
        (u64::from(self.duration) * 1000 / u64::from(clock_hz.max(1))) as u32
    }
}

/// The digits of one leg.
#[derive(Debug, Clone, Default)]
pub struct Digits {
    current: Option<Current>,
}

#[derive(Debug, Clone, Copy)]
struct Current {
    ssrc: u32,
    code: u8,
    timestamp: u32,
    /// Of the segments before this one.
    earlier: u32,
    duration: u16,
    seen: Instant,
    told: bool,
}

impl Digits {
    /// Takes one packet. Up to two digits can come of it: one whose end was lost, and one that begins and ends here.
    pub fn handle_input(&mut self, now: Instant, ssrc: u32, timestamp: u32, payload: &[u8]) -> [Option<Pressed>; 2] {
        let Some(event) = TelephoneEvent::parse(payload).filter(|event| usize::from(event.code) < DIGITS.len()) else {
            return [None, None];
        };
        let mut lost = None;
        match &mut self.current {
            Some(current) if current.ssrc == ssrc && current.timestamp == timestamp && current.code == event.code => {
                current.duration = current.duration.max(event.duration);
                current.seen = now;
            }
            Some(current) if current.continues(ssrc, timestamp, &event) => {
                current.earlier = current.earlier.saturating_add(SEGMENT);
                current.timestamp = timestamp;
                current.duration = event.duration;
                current.seen = now;
            }
            Some(current) if current.is_later_than(now, ssrc, timestamp) => return [None, None],
            _ => {
                lost = self.current.as_mut().and_then(Current::tell);
                let (code, duration) = (event.code, event.duration);
                self.current = Some(Current { ssrc, code, timestamp, earlier: 0, duration, seen: now, told: false });
            }
        }
        let ended = self.current.as_mut().filter(|_| event.end).and_then(Current::tell);
        [lost, ended]
    }

    /// Tells a digit whose end was lost.
    pub fn handle_timeout(&mut self, now: Instant) -> Option<Pressed> {
        let current = self.current.as_mut()?;
        if now.saturating_duration_since(current.seen) < END_LOST_AFTER {
            return None;
        }
        current.tell()
    }

    /// The code of the latest digit, and when its latest packet came.
    pub fn latest(&self) -> Option<(u8, Instant)> {
        self.current.map(|current| (current.code, current.seen))
    }

    /// When [`Digits::handle_timeout`] has something to look at.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.current.filter(|current| !current.told).map(|current| current.seen + END_LOST_AFTER)
    }
}

impl Current {
    fn tell(&mut self) -> Option<Pressed> {
        if std::mem::replace(&mut self.told, true) {
            return None;
        }
        let duration = self.earlier.saturating_add(u32::from(self.duration));
        Some(Pressed { digit: DIGITS[usize::from(self.code)], duration })
    }

    fn continues(&self, ssrc: u32, timestamp: u32, event: &TelephoneEvent) -> bool {
        !self.told && self.ssrc == ssrc && self.code == event.code && timestamp.wrapping_sub(self.timestamp) == SEGMENT
    }

    fn is_later_than(&self, now: Instant, ssrc: u32, timestamp: u32) -> bool {
        let behind = self.timestamp.wrapping_sub(timestamp);
        self.ssrc == ssrc && (1..1 << 31).contains(&behind) && now.saturating_duration_since(self.seen) < LATE_FOR
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Packets as (milliseconds, timestamp, digit, end, duration), and the digits told with their times.
    fn told(packets: &[(u64, u32, char, bool, u16)]) -> Vec<(u64, char, u32)> {
        let start = crate::fuzz::any_instant();
        let at = |ms| start + Duration::from_millis(ms);
        let mut digits = Digits::default();
        let mut told = Vec::new();
        for &(ms, timestamp, digit, end, duration) in packets {
            if let Some(deadline) = digits.next_deadline().filter(|&deadline| deadline <= at(ms)) {
                let pressed = digits.handle_timeout(deadline).expect("the deadline was set for it");
                told.push(((deadline - start).as_millis() as u64, pressed.digit, pressed.duration));
            }
            let code = code_of(digit).unwrap_or(200);
            let event = TelephoneEvent { code, end, volume: 10, duration };
            assert_eq!(TelephoneEvent::parse(&event.to_bytes()), Some(event));
            let pressed = digits.handle_input(at(ms), 1, timestamp, &event.to_bytes());
            told.extend(pressed.into_iter().flatten().map(|p| (ms, p.digit, p.duration)));
        }
        if let Some(deadline) = digits.next_deadline() {
            let pressed = digits.handle_timeout(deadline).expect("the deadline was set for it");
            told.push(((deadline - start).as_millis() as u64, pressed.digit, pressed.duration));
        }
        assert_eq!(digits.next_deadline(), None);
        told
    }

    #[test]
    fn each_digit_is_told_once() {
        let plain = [(0, 0, '5', false, 160), (20, 0, '5', false, 320), (40, 0, '5', true, 480)];
        assert_eq!(told(&plain), [(40, '5', 480)]);

        let repeated_end =
            [(0, 0, '#', false, 160), (20, 0, '#', true, 320), (40, 0, '#', true, 320), (60, 0, '#', true, 320)];
        assert_eq!(told(&repeated_end), [(20, '#', 320)]);

        assert_eq!(told(&[(0, 0, 'D', true, 800)]), [(0, 'D', 800)], "only an end was left");

        let same_twice = [(0, 0, '1', true, 400), (100, 800, '1', false, 160), (120, 800, '1', true, 400)];
        assert_eq!(told(&same_twice), [(0, '1', 400), (120, '1', 400)], "a new timestamp is a new press");
    }

    #[test]
    fn a_lost_end_is_noticed_by_the_next_digit_or_by_silence() {
        let next = [(0, 0, '1', false, 160), (100, 800, '2', true, 320)];
        assert_eq!(told(&next), [(100, '1', 160), (100, '2', 320)]);
        assert_eq!(told(&[(0, 0, '1', false, 160)]), [(200, '1', 160)]);
        let late_end = [(0, 0, '1', false, 160), (500, 0, '1', true, 480)];
        assert_eq!(told(&late_end), [(200, '1', 160)]);
    }

    /// Digits of 100 ms as senders make them (RFC 4733 2.5.1: each 20 ms, the end three times), two in a row alike, over lines that lose.
    #[test]
    fn row_26_at_five_percent_loss_no_digit_is_lost_and_none_told_twice() {
        for (percent, seed) in [1, 3, 5].into_iter().flat_map(|percent| (1..=20).map(move |seed| (percent, seed))) {
            let mut state: u64 = seed;
            let mut is_lost = || {
                // Knuth's multiplier: enough for dice.
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (state >> 33) % 100 < percent
            };
            let (mut packets, mut pressed) = (Vec::new(), String::new());
            for n in 0..200_u32 {
                let digit = DIGITS[n as usize / 2 % DIGITS.len()];
                pressed.push(digit);
                let (from_ms, timestamp) = (u64::from(n) * 200, n * 1600);
                for step in 1..=7_u16 {
                    let (duration, end) = (step.min(5) * 160, step >= 5);
                    if !is_lost() {
                        packets.push((from_ms + u64::from(step) * 20, timestamp, digit, end, duration));
                    }
                }
            }
            let heard: String = told(&packets).iter().map(|(_, digit, _)| digit).collect();
            assert_eq!(heard, pressed, "seed {seed}, {percent} %");
        }
    }

    #[test]
    fn late_packets_and_other_events_tell_nothing() {
        let late =
            [(0, 0, '1', true, 400), (20, 800, '2', false, 160), (30, 0, '1', true, 400), (40, 800, '2', true, 320)];
        assert_eq!(told(&late), [(0, '1', 400), (40, '2', 320)]);
        assert_eq!(told(&[(0, 0, 'x', true, 400)]), []);
        assert_eq!(Digits::default().handle_input(crate::fuzz::any_instant(), 1, 0, &[1, 2, 3]), [None, None]);
        let restarted = [(0, 80_000, '1', true, 400), (6000, 0, '2', true, 400)];
        assert_eq!(told(&restarted), [(0, '1', 400), (6000, '2', 400)]);
    }

    #[test]
    fn a_long_press_is_one_digit() {
        let first = (0, 1000, '9', false, 0xffff);
        let second = (8192, 1000 + 0xffff, '9', false, 160);
        let last = (8300, 1000 + 0xffff, '9', true, 1000);
        // Kept alive in between, as a sender does.
        let mut packets = vec![first];
        packets.extend((1..82).map(|n| (n * 100, 1000, '9', false, 0xffff)));
        packets.extend([second, last]);
        assert_eq!(told(&packets), [(8300, '9', 0xffff + 1000)]);
        assert_eq!(Pressed { digit: '9', duration: 0xffff + 1000 }.duration_ms(8000), 8316);
    }
}

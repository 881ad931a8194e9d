//! What the packets of one stream say about their way here: loss and jitter (RFC 3550 A.1, A.3, A.8).

use std::time::Instant;

use crate::burst::{Bursts, Pattern};

/// A jump forward of the sequence number up to this is loss; a larger one is a restart or nonsense (A.1).
const DROPOUT_MAX: u16 = 3000;
/// A packet that is late by up to this is only out of order (A.1).
const MISORDER_MAX: u16 = 100;

/// Figures of one direction of one leg. A new SSRC starts the count of sequence numbers afresh; sums go on.
///
/// Unlike A.1 there is no probation: who sends was settled before, by address. Two lines of the cache, for each packet comes here.
#[derive(Debug, Clone, Default)]
pub struct Reception {
    source: Option<Source>,
    received: u64,
    lost_earlier: u64,
    /// Jitter in timestamp units, times 16, as A.8 keeps it.
    jitter: u64,
    clock_hz: u32,
    began: Option<Instant>,
    bursts: Bursts,
}

/// What was counted of one source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counted {
    /// It.
    pub ssrc: u32,
    /// Highest sequence number, with its cycles above the low 16 bits.
    pub highest: u32,
    /// Packets from the first to the highest.
    pub expected: u64,
    /// Packets that came, duplicates too.
    pub received: u64,
    /// Jitter in timestamp units.
    pub jitter: u32,
}

#[derive(Debug, Clone, Copy)]
struct Source {
    ssrc: u32,
    base: u16,
    highest: u16,
    /// How often the numbers began again.
    cycles: u32,
    received: u64,
    /// After a large jump: the number that would confirm it as a restart.
    suspect: Option<u16>,
    /// Modulo 2^32, as the timestamps are.
    transit: Option<u32>,
}

impl Reception {
    /// Counts one packet. `timestamp` only when it tells when the audio was taken, which packets of a telephone-event
    /// (they repeat their start) do not.
    pub fn update(&mut self, ssrc: u32, sequence: u16, timestamp: Option<(u32, u32)>, arrival: Instant) {
        self.received += 1;
        let known = self.source.filter(|source| source.ssrc == ssrc);
        let mut source = known.unwrap_or_else(|| {
            self.lost_earlier = self.lost();
            self.bursts.restart();
            Source::new(ssrc, sequence)
        });
        if !source.count(sequence, &mut self.bursts) {
            self.lost_earlier += source.lost();
            self.bursts.restart();
            self.bursts.advance(1);
            source = Source { received: 1, ..Source::new(ssrc, sequence) };
        }
        self.source = Some(source);
        if let Some((timestamp, clock_hz)) = timestamp {
            self.time(timestamp, clock_hz, arrival);
        }
    }

    /// A.8: the difference of two packets' transit times, smoothed by a sixteenth.
    fn time(&mut self, timestamp: u32, clock_hz: u32, arrival: Instant) {
        let began = *self.began.get_or_insert(arrival);
        let Some(source) = &mut self.source else { return };
        if self.clock_hz != clock_hz {
            self.clock_hz = clock_hz;
            source.transit = None;
            self.jitter = 0;
        }
        let micros = arrival.saturating_duration_since(began).as_micros() as u64;
        let ticks = micros.wrapping_mul(u64::from(clock_hz)) / 1_000_000;
        let transit = (ticks as u32).wrapping_sub(timestamp);
        if let Some(last) = source.transit.replace(transit) {
            let distance = u64::from((transit.wrapping_sub(last) as i32).unsigned_abs());
            self.jitter = self.jitter + distance - ((self.jitter + 8) >> 4);
        }
    }

    /// What whoever goes on counting this source has to know: its SSRC, the highest sequence number with the cycles of 2^16 before
    /// it, and the jitter in timestamp units, times 16.
    pub fn so_far(&self) -> Option<(u32, u64, u64)> {
        self.source.map(|source| (source.ssrc, source.extended(), self.jitter))
    }

    /// Adds packets of the source that were counted elsewhere, going on from [`Reception::so_far`]: how many, and what that says now.
    pub fn add(&mut self, highest: u64, packets: u64, jitter: u64) {
        let Some(source) = &mut self.source else { return };
        self.received += packets;
        source.received += packets;
        let moved = highest.saturating_sub(source.extended());
        if moved > 0 {
            // Which of them were lost is not known: they are taken as spread evenly.
            let came = packets.min(moved);
            let lost = moved - came;
            for n in 0..came {
                let before = lost * (n + 1) / came - lost * n / came;
                self.bursts.advance(u16::try_from(before + 1).unwrap_or(DROPOUT_MAX));
            }
            source.highest = highest as u16;
            source.cycles = (highest >> 16) as u32;
        }
        source.suspect = None;
        // The last packet that was seen here was not the last.
        source.transit = None;
        self.jitter = jitter;
    }

    /// Whether a packet would go on with what was counted, late or ahead within bounds: no other source, no restart, no nonsense.
    pub fn continues(&self, ssrc: u32, sequence: u16) -> bool {
        self.source.is_some_and(|source| {
            let ahead = sequence.wrapping_sub(source.highest);
            source.ssrc == ssrc && !(DROPOUT_MAX..=u16::MAX - MISORDER_MAX).contains(&ahead)
        })
    }

    /// Packets counted.
    pub fn received(&self) -> u64 {
        self.received
    }

    /// Packets that never came; duplicates can hide some (A.3).
    pub fn lost(&self) -> u64 {
        self.lost_earlier + self.source.map_or(0, |source| source.lost())
    }

    /// How losses lie together.
    pub fn pattern(&self) -> Option<Pattern> {
        self.bursts.pattern()
    }

    /// Interarrival jitter, milliseconds.
    pub fn jitter_ms(&self) -> f32 {
        if self.clock_hz == 0 {
            return 0.0;
        }
        (self.jitter as f64 / 16.0 * 1000.0 / f64::from(self.clock_hz)) as f32
    }

    /// The source that is counted now, as a report block wants it.
    pub fn source(&self) -> Option<Counted> {
        let source = self.source?;
        Some(Counted {
            ssrc: source.ssrc,
            highest: source.extended() as u32,
            expected: source.expected(),
            received: source.received,
            jitter: (self.jitter >> 4) as u32,
        })
    }

    /// The source that is counted now.
    pub fn ssrc(&self) -> Option<u32> {
        self.source.map(|source| source.ssrc)
    }
}

impl Source {
    fn new(ssrc: u32, sequence: u16) -> Self {
        Self { ssrc, base: sequence, highest: sequence, cycles: 0, received: 0, suspect: None, transit: None }
    }

    /// A.1. False: the other side restarted, and the source must be begun anew with this packet.
    fn count(&mut self, sequence: u16, bursts: &mut Bursts) -> bool {
        let ahead = sequence.wrapping_sub(self.highest);
        if ahead < DROPOUT_MAX {
            // The first of a source is none ahead of itself, and one more all the same.
            bursts.advance(if self.received == 0 { 1 } else { ahead });
            if sequence < self.highest {
                self.cycles = self.cycles.wrapping_add(1);
            }
            self.highest = sequence;
            self.suspect = None;
        } else if ahead <= u16::MAX - MISORDER_MAX {
            if self.suspect == Some(sequence) {
                return false;
            }
            self.suspect = Some(sequence.wrapping_add(1));
            return true;
        } else {
            bursts.late(self.highest.wrapping_sub(sequence));
        }
        self.received += 1;
        true
    }

    /// The highest sequence number with the cycles of 2^16 before it.
    fn extended(&self) -> u64 {
        (u64::from(self.cycles) << 16) + u64::from(self.highest)
    }

    fn expected(&self) -> u64 {
        (self.extended() + 1).saturating_sub(u64::from(self.base))
    }

    fn lost(&self) -> u64 {
        self.expected().saturating_sub(self.received)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn fed(sequences: impl IntoIterator<Item = u16>) -> Reception {
        let mut reception = Reception::default();
        let now = crate::fuzz::any_instant();
        sequences.into_iter().for_each(|sequence| reception.update(1, sequence, None, now));
        reception
    }

    #[test]
    fn it_takes_two_lines_of_the_cache() {
        assert_eq!(size_of::<Reception>(), 128);
    }

    #[test]
    fn loss_is_what_the_sequence_numbers_lack() {
        let rows: [(&str, Vec<u16>, u64); 9] = [
            ("nothing", vec![], 0),
            ("all there", (0..100).collect(), 0),
            ("three missing", vec![0, 1, 5, 6], 3),
            ("out of order", vec![0, 2, 1, 4, 3], 0),
            ("duplicates hide loss but never go below none", vec![0, 0, 0, 1], 0),
            ("across the wrap", vec![65533, 65534, 1, 2], 2),
            ("a single wild number changes nothing", vec![0, 1, 30000, 2, 3], 0),
            ("two in a row are a restart", vec![0, 1, 3, 30000, 30001, 30002], 1),
            ("late by more than a window, once", vec![200, 201, 10, 202], 0),
        ];
        for (what, sequences, lost) in rows {
            let reception = fed(sequences.clone());
            assert_eq!((reception.lost(), reception.received()), (lost, sequences.len() as u64), "{what}");
        }
        let many = fed((0..200_000u32).filter(|n| n % 10 != 3).map(|n| n as u16));
        assert_eq!(many.lost(), 20_000);
    }

    #[test]
    fn what_was_counted_elsewhere_is_added() {
        let now = crate::fuzz::any_instant();
        let mut reception = fed([65_530, 65_531]);
        assert_eq!(reception.so_far(), Some((1, 65_531, 0)));
        // Elsewhere: 65532 to 3 but for one, across the wrap.
        reception.add(65_536 + 3, 7, 160);
        assert_eq!((reception.lost(), reception.received()), (1, 9));
        assert!(reception.continues(1, 4) && reception.continues(1, 65_535) && !reception.continues(2, 4));
        assert!(!reception.continues(1, 4000));
        // One that went the other way meanwhile, and one after.
        reception.update(1, 2, None, now);
        reception.update(1, 5, None, now);
        assert_eq!((reception.lost(), reception.received(), reception.so_far()), (1, 11, Some((1, 65_541, 160))));
        // Older figures than ours move nothing back.
        reception.add(65_536 + 4, 1, 320);
        assert_eq!((reception.lost(), reception.so_far()), (0, Some((1, 65_541, 320))));
        let mut nothing = Reception::default();
        nothing.add(5, 5, 5);
        assert_eq!((nothing.received(), nothing.so_far(), nothing.continues(0, 0)), (0, None, false));
    }

    #[test]
    fn a_new_source_keeps_the_sums() {
        let mut reception = fed([0, 1, 3]);
        let now = crate::fuzz::any_instant();
        reception.update(2, 500, None, now);
        reception.update(2, 503, None, now);
        assert_eq!((reception.lost(), reception.received(), reception.ssrc()), (3, 5, Some(2)));
    }

    #[test]
    fn jitter_follows_the_spread_of_arrivals() {
        let start = crate::fuzz::any_instant();
        let run = |late_ms: fn(u64) -> u64| {
            let mut reception = Reception::default();
            for n in 0..1000u64 {
                // Timestamps that wrap on the way.
                let timestamp = (n as u32 * 160).wrapping_sub(8000);
                let arrival = start + Duration::from_millis(n * 20 + late_ms(n));
                reception.update(7, n as u16, Some((timestamp, 8000)), arrival);
            }
            reception.jitter_ms()
        };
        assert_eq!(run(|_| 0), 0.0);
        // Every other packet 10 ms late: each difference is 10 ms, so is their mean.
        assert!((run(|n| n % 2 * 10) - 10.0).abs() < 0.2);
        assert!((run(|n| n % 4 / 3 * 8) - 4.0).abs() < 1.5);
    }
}

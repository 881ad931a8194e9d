//! An adaptive jitter buffer: packets in as the network brings them, payloads out in the order of speech, each when its time has come.
//!
//! ```text
//! put(now, arrival, payload)*   ->   pull(now, ahead)  ->  Packet | Lost | Pause | Starved | Idle,   played(units)
//! ```
//!
//! Its reader pulls whenever it needs more samples. How long a packet waits follows from its timestamp: the buffer knows the fastest way
//! that a packet took lately, how much longer the others took, and aims at a delay that all but one in a hundred keep. It
//! does not stretch time itself; [`JitterBuffer::surplus`] says by how much the delay is longer than it need be, for a reader that can.
//!
//! Bounds: [`SLOTS`] packets of [`PAYLOAD_MAX`] bytes, allocated once; delay at most [`DELAY_MAX`]. No packet is played twice, or after
//! a later one.

use std::time::{Duration, Instant};

/// Packets that wait at most: [`DELAY_MAX`] of 10 ms each, and as many again for a burst.
pub const SLOTS: usize = 48;
/// Bytes of a payload at most: what fits into a datagram on the way. Longer ones are refused.
pub const PAYLOAD_MAX: usize = 1280;
/// The longest delay aimed at: beyond it nobody can converse, and loss is the smaller evil.
pub const DELAY_MAX: Duration = Duration::from_millis(200);
/// The delay at the beginning, when nothing is known of the way.
pub const DELAY_FIRST: Duration = Duration::from_millis(40);

/// The shortest delay aimed at: the reader's own grid.
const DELAY_MIN_US: i64 = 10_000;
/// Resolution of what is known of the delays.
const BUCKET_US: i64 = 5_000;
const BUCKETS: usize = (DELAY_MAX.as_micros() as i64 / BUCKET_US) as usize + 1;
/// What a new packet weighs in the distribution of delays, from the first to when it has seen a few hundred: a change of the way is known after
/// about as many packets, ten seconds' worth.
const WEIGHT_FIRST: f32 = 0.05;
const WEIGHT: f32 = 0.002;
/// The share of packets that may be later than the delay aimed at.
const LATE_SHARE: f32 = 0.01;
/// The fastest way is that of this time, or of the time as long before: clocks drift, routes change.
const FASTEST_OVER: Duration = Duration::from_secs(5);
/// Nothing to play for so long, and the next packet begins anew: with the delay then aimed at.
const IDLE_AFTER_US: i64 = 120_000;
/// Sequence numbers or time that jump farther than this are another stream.
const JUMP_PACKETS: i64 = 1000;
const JUMP_US: i64 = 10_000_000;
/// Late packets in a row that mean that the sender began anew with lower numbers.
const LATE_RUN_MAX: u32 = 25;

/// A packet's header, as far as it matters here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arrival {
    /// Source. A new one begins anew.
    pub ssrc: u32,
    /// Sequence number.
    pub sequence: u16,
    /// In units of the clock.
    pub timestamp: u32,
    /// For the reader.
    pub payload_type: u8,
}

/// What became of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Put {
    /// It waits for its time.
    Kept,
    /// Its time was over.
    Late,
    /// It is here already, or was.
    Duplicate,
    /// Longer than [`PAYLOAD_MAX`].
    Long,
}

/// What comes next.
#[derive(Debug, PartialEq, Eq)]
pub enum Pull<'a> {
    /// A payload. The reader says how long it was by [`JitterBuffer::played`].
    Packet {
        /// As it came.
        payload_type: u8,
        /// As it came.
        payload: &'a [u8],
    },
    /// A packet did not come in time.
    Lost {
        /// How long it must have been, in units of the clock.
        units: u32,
        /// The packet after it, when that is here: it may carry redundancy.
        next: Option<(u8, &'a [u8])>,
    },
    /// The sender sent nothing on purpose: sequence numbers follow each other and timestamps do not.
    Pause {
        /// For so long, at most 20 ms at once, in units of the clock.
        units: u32,
    },
    /// Nothing is here though speech went on a moment ago: late, lost, or a pause. The reader makes up 20 ms.
    Starved,
    /// Nothing is here, or what is here waits for its time.
    Idle,
}

/// What was counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct JitterCounts {
    /// Packets handed out.
    pub played: u64,
    /// Packets that did not come in time.
    pub lost: u64,
    /// Packets that came after their time.
    pub late: u64,
    /// Packets that came twice.
    pub duplicate: u64,
    /// Packets dropped because the reader was too far behind.
    pub overflow: u64,
    /// Times that nothing was here.
    pub starved: u64,
}

#[derive(Debug, Clone, Copy, Default)]
struct Slot {
    used: bool,
    sequence: i64,
    /// Microseconds on the sender's clock.
    at_us: i64,
    arrived_us: i64,
    payload_type: u8,
    len: u16,
}

/// The packets of one stream of one clock.
pub struct JitterBuffer {
    clock_hz: i64,
    slots: Box<[Slot]>,
    bytes: Box<[u8]>,
    waiting: usize,
    epoch: Instant,
    ssrc: Option<u32>,
    /// The latest packet's numbers, extended beyond their 16 and 32 bits.
    latest: (i64, i64),
    /// What is to be played next: sequence number and time. None: idle.
    next: Option<(i64, i64)>,
    /// Below it all was played or given up.
    floor: i64,
    late_run: u32,
    /// Time made up while starved, that a gap which shows up later has had already.
    made_up_us: i64,
    /// How long a packet lasts, as last seen.
    packet_us: i64,
    delays: Delays,
    counts: JitterCounts,
}

impl JitterBuffer {
    /// For timestamps of this clock. `now` is when it begins.
    pub fn new(now: Instant, clock_hz: u32) -> Self {
        Self {
            clock_hz: i64::from(clock_hz.max(1)),
            slots: vec![Slot::default(); SLOTS].into(),
            bytes: vec![0; SLOTS * PAYLOAD_MAX].into(),
            waiting: 0,
            epoch: now,
            ssrc: None,
            latest: (0, 0),
            next: None,
            floor: i64::MIN,
            late_run: 0,
            made_up_us: 0,
            packet_us: 20_000,
            delays: Delays::default(),
            counts: JitterCounts::default(),
        }
    }

    /// Figures since the beginning.
    pub fn counts(&self) -> JitterCounts {
        self.counts
    }

    /// The delay aimed at: by so much later than the fastest possible a packet is played.
    pub fn target(&self) -> Duration {
        Duration::from_micros(self.delays.target_us() as u64)
    }

    /// Forgets all packets; what is known of the way stays.
    pub fn clear(&mut self) {
        self.slots.fill(Slot::default());
        (self.waiting, self.next, self.made_up_us) = (0, None, 0);
    }

    /// Another format: what comes has timestamps of this clock. Forgets all packets.
    pub fn set_clock(&mut self, clock_hz: u32) {
        self.clock_hz = i64::from(clock_hz.max(1));
        self.ssrc = None;
        self.clear();
    }

    /// Takes a packet.
    pub fn put(&mut self, now: Instant, arrival: Arrival, payload: &[u8]) -> Put {
        if payload.len() > PAYLOAD_MAX {
            return Put::Long;
        }
        let (mut sequence, mut time) = self.extend(&arrival);
        let units_us = |units: i64| units * 1_000_000 / self.clock_hz;
        let is_jump = (sequence - self.latest.0).abs() > JUMP_PACKETS || units_us(time - self.latest.1).abs() > JUMP_US;
        if self.ssrc != Some(arrival.ssrc) || is_jump || self.late_run >= LATE_RUN_MAX {
            self.clear();
            self.ssrc = Some(arrival.ssrc);
            (self.floor, self.late_run) = (i64::MIN, 0);
            // Far from all earlier numbers, so that nothing of the old stream is taken for the new.
            sequence = i64::from(arrival.sequence) + (1 << 20);
            time = i64::from(arrival.timestamp) + (1 << 36);
            self.latest = (sequence, time);
            self.delays.restart();
        }
        let (at_us, arrived_us) = (time * 1_000_000 / self.clock_hz, self.micros(now));
        if sequence > self.latest.0 {
            self.latest = (sequence, time);
        }
        self.delays.note(now.saturating_duration_since(self.epoch), arrived_us - at_us);
        if sequence < self.floor {
            self.late_run += 1;
            self.counts.late += 1;
            return Put::Late;
        }
        self.late_run = 0;
        let place = sequence.rem_euclid(SLOTS as i64) as usize;
        if self.slots[place].used && self.slots[place].sequence == sequence {
            self.counts.duplicate += 1;
            return Put::Duplicate;
        }
        // The reader is too far behind: the oldest give way.
        let oldest = sequence - SLOTS as i64 + 1;
        if self.waiting > 0 {
            for slot in self.slots.iter_mut().filter(|slot| slot.used && slot.sequence < oldest) {
                slot.used = false;
                self.waiting -= 1;
                self.counts.overflow += 1;
            }
        }
        if let Some((next, _)) = &mut self.next
            && *next < oldest
        {
            self.next = None;
            self.floor = oldest;
        }
        let len = payload.len() as u16;
        self.slots[place] = Slot { used: true, sequence, at_us, arrived_us, payload_type: arrival.payload_type, len };
        self.bytes[place * PAYLOAD_MAX..][..payload.len()].copy_from_slice(payload);
        self.waiting += 1;
        Put::Kept
    }

    /// What comes next for a reader that has enough for `ahead` already.
    pub fn pull(&mut self, now: Instant, ahead: Duration) -> Pull<'_> {
        let now_us = self.micros(now) + ahead.as_micros() as i64;
        let first = self.first();
        let Some((sequence, at_us)) = self.next else {
            let Some(first) = first.map(|place| self.slots[place]) else { return Pull::Idle };
            // The first of a stretch of speech waits for as long as it is faster than the slowest.
            if self.delays.delay_at(now_us, first.at_us) < self.delays.target_us()
                && now_us - first.arrived_us < DELAY_MAX.as_micros() as i64
            {
                return Pull::Idle;
            }
            self.next = Some((first.sequence, first.at_us));
            self.made_up_us = 0;
            return self.pull(now, ahead);
        };
        let Some(place) = first else {
            self.counts.starved += 1;
            self.made_up_us += 20_000;
            if self.made_up_us > IDLE_AFTER_US {
                self.next = None;
                return Pull::Idle;
            }
            return Pull::Starved;
        };
        let found = self.slots[place];
        let missing = found.sequence - sequence;
        let gap_us = found.at_us - at_us;
        // Timestamps that go backwards, or far ahead, say nothing of time: it is played as if it followed.
        let is_odd = !(-1_000..=JUMP_US).contains(&gap_us);
        if missing > 0 {
            self.counts.lost += 1;
            self.floor = sequence + 1;
            let lost_us = if is_odd { 0 } else { self.packet_us.min(gap_us / missing).max(0) };
            self.next = Some((sequence + 1, if is_odd && missing == 1 { found.at_us } else { at_us + lost_us }));
            // What was made up while it was late has been heard in its place.
            let had_us = self.made_up_us.min(lost_us);
            self.made_up_us -= had_us;
            let units = ((lost_us - had_us) * self.clock_hz / 1_000_000) as u32;
            let bytes = &self.bytes[place * PAYLOAD_MAX..][..usize::from(found.len)];
            return Pull::Lost { units, next: (missing == 1).then_some((found.payload_type, bytes)) };
        }
        let had_us = std::mem::take(&mut self.made_up_us);
        if gap_us - had_us > 1_000 && !is_odd {
            let pause_us = (gap_us - had_us).min(20_000);
            self.next = Some((sequence, at_us + had_us + pause_us));
            return Pull::Pause { units: (pause_us * self.clock_hz / 1_000_000) as u32 };
        }
        self.slots[place].used = false;
        self.waiting -= 1;
        self.floor = sequence + 1;
        self.next = Some((sequence + 1, found.at_us));
        self.counts.played += 1;
        let payload = &self.bytes[place * PAYLOAD_MAX..][..usize::from(found.len)];
        Pull::Packet { payload_type: found.payload_type, payload }
    }

    /// The packet that was pulled last was so long, in units of the clock.
    pub fn played(&mut self, units: u32) {
        if let Some((_, at_us)) = &mut self.next {
            let us = i64::from(units) * 1_000_000 / self.clock_hz;
            *at_us += us;
            if (5_000..=120_000).contains(&us) {
                self.packet_us = us;
            }
        }
    }

    /// By how many microseconds what comes next is played later than it need be; negative: sooner than is safe. 0 when nothing is played.
    pub fn surplus(&self, now: Instant, ahead: Duration) -> i64 {
        let now_us = self.micros(now) + ahead.as_micros() as i64;
        self.next.map_or(0, |(_, at_us)| self.delays.delay_at(now_us, at_us) - self.delays.target_us())
    }

    /// Where the packet with the lowest number is.
    fn first(&self) -> Option<usize> {
        if self.waiting == 0 {
            return None;
        }
        // Most often it is the very next.
        if let Some((sequence, _)) = self.next {
            let place = sequence.rem_euclid(SLOTS as i64) as usize;
            if self.slots[place].used && self.slots[place].sequence == sequence {
                return Some(place);
            }
        }
        let used = self.slots.iter().enumerate().filter(|(_, slot)| slot.used);
        used.min_by_key(|(_, slot)| slot.sequence).map(|(place, _)| place)
    }

    fn extend(&self, arrival: &Arrival) -> (i64, i64) {
        let sequence = self.latest.0 + i64::from(arrival.sequence.wrapping_sub(self.latest.0 as u16) as i16);
        let time = self.latest.1 + i64::from(arrival.timestamp.wrapping_sub(self.latest.1 as u32) as i32);
        (sequence, time)
    }

    fn micros(&self, now: Instant) -> i64 {
        now.saturating_duration_since(self.epoch).as_micros() as i64
    }
}

/// How long packets were on their way, compared with the fastest.
struct Delays {
    /// The shortest differences between arrival and timestamp: of the present stretch of time, and of the one before.
    fastest: [i64; 2],
    since: Duration,
    /// Shares of packets by how much slower they were.
    shares: [f32; BUCKETS],
    weight: f32,
    seen: u32,
}

impl Default for Delays {
    fn default() -> Self {
        Self { fastest: [i64::MAX; 2], since: Duration::ZERO, shares: [0.0; BUCKETS], weight: WEIGHT_FIRST, seen: 0 }
    }
}

impl Delays {
    /// Another stream: its clock has nothing to do with the old one's, its way has.
    fn restart(&mut self) {
        self.fastest = [i64::MAX; 2];
    }

    fn note(&mut self, now: Duration, difference_us: i64) {
        if now.saturating_sub(self.since) >= FASTEST_OVER {
            self.fastest = [i64::MAX, self.fastest[0]];
            self.since = now;
        }
        self.fastest[0] = self.fastest[0].min(difference_us);
        let slower = difference_us - self.fastest();
        let bucket = (slower / BUCKET_US).clamp(0, BUCKETS as i64 - 1) as usize;
        self.shares.iter_mut().for_each(|share| *share *= 1.0 - self.weight);
        self.shares[bucket] += self.weight;
        self.weight = (self.weight * 0.98).max(WEIGHT);
        self.seen = self.seen.saturating_add(1);
    }

    fn fastest(&self) -> i64 {
        let fastest = self.fastest[0].min(self.fastest[1]);
        if fastest == i64::MAX { 0 } else { fastest }
    }

    /// How much later than by the fastest way something of the sender's time `at_us` is played at `now_us`.
    fn delay_at(&self, now_us: i64, at_us: i64) -> i64 {
        now_us - at_us - self.fastest()
    }

    fn target_us(&self) -> i64 {
        // Too few to judge by: at least the first guess.
        let least = if self.seen < 50 { DELAY_FIRST.as_micros() as i64 } else { DELAY_MIN_US };
        let all: f32 = self.shares.iter().sum();
        let (mut later, mut bucket) = (0.0, BUCKETS - 1);
        while bucket > 0 && later + self.shares[bucket] <= all * LATE_SHARE {
            later += self.shares[bucket];
            bucket -= 1;
        }
        ((bucket as i64 + 1) * BUCKET_US).max(least).min(DELAY_MAX.as_micros() as i64)
    }
}

#[cfg(test)]
mod tests;

//! Events on their way: published in order, acknowledged in any, given up by the spool only without a hole.
//!
//! ```text
//!   spool --next_wanted--> window --Publish--> stream
//!                            |  <----ack------
//!                            +--Acknowledged(n): everything up to n is in the stream
//! ```
//! A connection that breaks, a refusal or a missing acknowledgement leads to the same: wait, then publish again all that
//! is not acknowledged, oldest first. The stream knows repeats by their id.

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};

use postern_facts::Written;
use rand::Rng;

/// How much is on its way.
#[derive(Debug, Clone, Copy)]
pub struct PublisherLimits {
    /// Events that are published and not acknowledged: at 20 ms to the server and back, 256 allow 12,800 a second.
    pub window_max: usize,
    /// An acknowledgement that takes longer will not come.
    pub ack_within: Duration,
}

impl Default for PublisherLimits {
    fn default() -> Self {
        Self { window_max: 256, ack_within: Duration::from_secs(5) }
    }
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq)]
pub enum Output {
    /// Publish it, without waiting for its acknowledgement.
    Publish(Arc<Written>),
    /// Everything up to this number is in the stream.
    Acknowledged(u64),
}

#[derive(Debug)]
struct OnTheWay {
    event: Arc<Written>,
    is_sent: bool,
    is_acked: bool,
}

/// The window.
#[derive(Debug)]
pub struct Publisher {
    limits: PublisherLimits,
    window: VecDeque<OnTheWay>,
    /// The newest that ever entered the window.
    taken: u64,
    acked: u64,
    told: u64,
    published: u64,
    is_connected: bool,
    /// Nothing is published before.
    resume_at: Option<Instant>,
    /// When the oldest acknowledgement is overdue.
    overdue_at: Option<Instant>,
    backoff: Backoff,
}

impl Publisher {
    /// Goes on after the spool's cursor.
    pub fn new(limits: PublisherLimits, acked: u64) -> Self {
        Self {
            limits,
            window: VecDeque::new(),
            taken: acked,
            acked,
            told: acked,
            published: 0,
            is_connected: false,
            resume_at: None,
            overdue_at: None,
            backoff: Backoff::default(),
        }
    }

    /// The connection stands, the stream is there.
    pub fn handle_connected(&mut self) {
        self.is_connected = true;
        self.resume_at = None;
        self.overdue_at = None;
        self.window.iter_mut().for_each(|one| one.is_sent = false);
    }

    /// It is lost. Acknowledgements of before may still be handed in.
    pub fn handle_disconnected(&mut self) {
        self.is_connected = false;
        self.resume_at = None;
        self.overdue_at = None;
    }

    /// The number after which the next event is wanted; none while disconnected, waiting, or full.
    pub fn next_wanted(&self) -> Option<u64> {
        let has_room = self.window.len() < self.limits.window_max;
        (self.is_connected && self.resume_at.is_none() && has_room).then_some(self.taken)
    }

    /// The next event from the spool. One that was taken before is ignored; numbers may be missing (trimmed).
    pub fn offer(&mut self, event: Arc<Written>) {
        if event.seq > self.taken {
            self.taken = event.seq;
            self.window.push_back(OnTheWay { event, is_sent: false, is_acked: false });
        }
    }

    /// The stream has it, newly or as a repeat.
    pub fn handle_ack(&mut self, now: Instant, seq: u64) {
        let Ok(index) = self.window.binary_search_by_key(&seq, |one| one.event.seq) else { return };
        self.window[index].is_acked = true;
        self.backoff = Backoff::default();
        self.overdue_at = Some(now + self.limits.ack_within);
        while self.window.front().is_some_and(|one| one.is_acked) {
            let one = self.window.pop_front().expect("the loop's condition holds one");
            self.acked = one.event.seq;
            self.published += 1;
        }
        if self.window.iter().all(|one| !one.is_sent || one.is_acked) {
            self.overdue_at = None;
        }
    }

    /// The stream refused it (full, no leader), or it could not be sent.
    pub fn handle_refused(&mut self, now: Instant, rng: &mut impl Rng, seq: u64) {
        let is_waited_for = self.window.iter().any(|one| one.event.seq == seq && one.is_sent && !one.is_acked);
        if is_waited_for && self.resume_at.is_none() {
            self.pause(now, rng);
        }
    }

    /// A deadline has come.
    pub fn handle_timeout(&mut self, now: Instant, rng: &mut impl Rng) {
        if self.resume_at.is_some_and(|at| now >= at) {
            self.resume_at = None;
        }
        if self.overdue_at.is_some_and(|at| now >= at) {
            self.pause(now, rng);
        }
    }

    /// What to do next.
    pub fn poll_output(&mut self, now: Instant) -> Option<Output> {
        if self.acked > self.told {
            self.told = self.acked;
            return Some(Output::Acknowledged(self.acked));
        }
        if !self.is_connected || self.resume_at.is_some() {
            return None;
        }
        let one = self.window.iter_mut().find(|one| !one.is_sent && !one.is_acked)?;
        one.is_sent = true;
        self.overdue_at.get_or_insert(now + self.limits.ack_within);
        Some(Output::Publish(one.event.clone()))
    }

    /// When [`Publisher::handle_timeout`] wants to be called.
    pub fn next_deadline(&self) -> Option<Instant> {
        if self.is_connected { self.resume_at.or(self.overdue_at) } else { None }
    }

    /// Events acknowledged since the start.
    pub fn published(&self) -> u64 {
        self.published
    }

    /// Everything up to here is in the stream.
    pub fn acknowledged(&self) -> u64 {
        self.acked
    }

    fn pause(&mut self, now: Instant, rng: &mut impl Rng) {
        self.overdue_at = None;
        self.resume_at = Some(now + self.backoff.next(rng));
        self.window.iter_mut().for_each(|one| one.is_sent = false);
    }
}

/// Waiting times between tries: doubled from a quarter of a second up to half a minute, each cut by up to a half, so that
/// a fleet does not return in step.
#[derive(Debug, Clone, Default)]
pub struct Backoff {
    tries: u32,
}

impl Backoff {
    const FIRST: Duration = Duration::from_millis(250);
    const LONGEST: Duration = Duration::from_secs(30);

    /// The next wait.
    pub fn next(&mut self, rng: &mut impl Rng) -> Duration {
        let whole = (Self::FIRST * 2u32.saturating_pow(self.tries.min(16))).min(Self::LONGEST);
        self.tries = self.tries.saturating_add(1);
        whole / 2 + (whole / 2).mul_f64(f64::from(rng.next_u32()) / f64::from(u32::MAX))
    }
}

#[cfg(test)]
mod tests {
    use rand::{SeedableRng, rngs::StdRng};

    use super::*;
    use crate::test_events::event;

    #[expect(clippy::disallowed_methods, reason = "a test needs some instant to begin with")]
    fn start() -> Instant {
        Instant::now()
    }

    fn fill(publisher: &mut Publisher, last: u64) {
        while let Some(after) = publisher.next_wanted().filter(|after| *after < last) {
            publisher.offer(Arc::new(event(after + 1)));
        }
    }

    fn drain(publisher: &mut Publisher, now: Instant) -> (Vec<u64>, Option<u64>) {
        let (mut sent, mut told) = (Vec::new(), None);
        while let Some(output) = publisher.poll_output(now) {
            match output {
                Output::Publish(event) => sent.push(event.seq),
                Output::Acknowledged(seq) => told = Some(seq),
            }
        }
        (sent, told)
    }

    #[test]
    fn the_cursor_moves_only_without_a_hole() {
        let (now, limits) = (start(), PublisherLimits { window_max: 3, ..PublisherLimits::default() });
        let mut publisher = Publisher::new(limits, 10);
        assert_eq!(publisher.next_wanted(), None, "not connected");
        publisher.handle_connected();
        fill(&mut publisher, 99);
        assert_eq!(drain(&mut publisher, now), (vec![11, 12, 13], None));
        publisher.handle_ack(now, 12);
        assert_eq!((drain(&mut publisher, now), publisher.next_wanted()), ((vec![], None), None));
        publisher.handle_ack(now, 11);
        fill(&mut publisher, 99);
        assert_eq!(drain(&mut publisher, now), (vec![14, 15], Some(12)));
        publisher.handle_ack(now, 12);
        assert_eq!(publisher.published(), 2, "an acknowledgement that comes twice counts once");
    }

    #[test]
    fn what_is_not_acknowledged_is_sent_again_in_order_after_a_reconnect() {
        let now = start();
        let mut publisher = Publisher::new(PublisherLimits::default(), 0);
        publisher.handle_connected();
        fill(&mut publisher, 4);
        drain(&mut publisher, now);
        publisher.handle_ack(now, 2);
        publisher.handle_disconnected();
        assert_eq!((publisher.next_deadline(), drain(&mut publisher, now).0), (None, vec![]));
        publisher.handle_connected();
        assert_eq!(drain(&mut publisher, now), (vec![1, 3, 4], None));
        // One of before, late.
        publisher.handle_ack(now, 1);
        assert_eq!(drain(&mut publisher, now), (vec![], Some(2)));
    }

    #[test]
    fn a_refusal_or_silence_waits_longer_each_time_and_repeats() {
        let (mut now, mut rng) = (start(), StdRng::seed_from_u64(7));
        let mut publisher = Publisher::new(PublisherLimits::default(), 0);
        publisher.handle_connected();
        fill(&mut publisher, 2);
        assert_eq!(drain(&mut publisher, now).0, [1, 2]);
        publisher.handle_refused(now, &mut rng, 1);
        publisher.handle_refused(now, &mut rng, 2);
        let first = publisher.next_deadline().unwrap() - now;
        assert!(drain(&mut publisher, now).0.is_empty());
        now += first;
        publisher.handle_timeout(now, &mut rng);
        assert_eq!(drain(&mut publisher, now).0, [1, 2]);
        let overdue = publisher.next_deadline().unwrap();
        publisher.handle_timeout(overdue, &mut rng);
        let second = publisher.next_deadline().unwrap() - overdue;
        assert!(first <= Duration::from_millis(250) && second > first, "{first:?} {second:?}");
        publisher.handle_timeout(overdue + second, &mut rng);
        assert_eq!(drain(&mut publisher, overdue + second).0, [1, 2]);
        publisher.handle_ack(overdue + second, 1);
        publisher.handle_ack(overdue + second, 2);
        assert_eq!((drain(&mut publisher, now).1, publisher.next_deadline()), (Some(2), None));
    }

    /// A server that loses connections, acknowledgements and its patience; the daemon restarts in between.
    #[test]
    fn nothing_is_lost_or_stored_twice_whatever_the_line_does() {
        for seed in 0..200 {
            let mut rng = StdRng::seed_from_u64(seed);
            let mut chance = move |percent: u32| rng.next_u32() % 100 < percent;
            let mut rng = StdRng::seed_from_u64(seed + 1000);
            let (mut now, last) = (start(), 60);
            let mut stream: Vec<u64> = Vec::new();
            let mut cursor = 0;
            let mut publisher = Publisher::new(PublisherLimits { window_max: 8, ..PublisherLimits::default() }, cursor);
            for turn in 0.. {
                assert!(turn < 100_000, "seed {seed}: no progress");
                if cursor == last {
                    break;
                }
                if chance(3) {
                    publisher = Publisher::new(PublisherLimits { window_max: 8, ..PublisherLimits::default() }, cursor);
                }
                match chance(10) {
                    true => publisher.handle_disconnected(),
                    false if !publisher.is_connected => publisher.handle_connected(),
                    false => {}
                }
                fill(&mut publisher, last);
                while let Some(output) = publisher.poll_output(now) {
                    match output {
                        Output::Acknowledged(seq) => {
                            assert!((1..=seq).all(|one| stream.contains(&one)), "seed {seed}: {seq} told too early");
                            cursor = seq;
                        }
                        Output::Publish(event) if chance(70) => {
                            // The stream's duplicate window.
                            if !stream.contains(&event.seq) {
                                stream.push(event.seq);
                            }
                            if chance(70) {
                                publisher.handle_ack(now, event.seq);
                            }
                        }
                        Output::Publish(event) if chance(50) => publisher.handle_refused(now, &mut rng, event.seq),
                        Output::Publish(_) => {}
                    }
                }
                if let Some(at) = publisher.next_deadline() {
                    now = now.max(at);
                    publisher.handle_timeout(now, &mut rng);
                }
            }
            stream.sort_unstable();
            assert_eq!(stream, (1..=last).collect::<Vec<_>>(), "seed {seed}");
        }
    }
}

//! How long to gather before looking: at low load each arrival wakes the thread; as load rises it takes together what a span brings,
//! which is the biggest saving there is (FACTS.md).

use std::time::{Duration, Instant};

/// Over which the rate of arrivals is measured.
const LEARN_EVERY: Duration = Duration::from_millis(10);

/// The plan of one thread.
#[derive(Debug)]
pub struct Gather {
    how: Gathering,
    since: Instant,
    arrivals: usize,
    /// Arrivals in a span, smoothed.
    rate: f64,
    /// Sends queued since the last wait: they complete as they are submitted, and would end the gathering at once.
    sends: usize,
}

/// What a thread can afford.
#[derive(Debug, Clone, Copy)]
pub struct Gathering {
    /// Longest gathering, and so the most that it adds to a packet's way.
    pub span: Duration,
    /// Below so many arrivals in it each is taken as it comes.
    pub from: f64,
    /// Arrivals that end it early.
    pub most: usize,
}

impl Gather {
    /// A thread that begins.
    pub fn new(now: Instant, how: Gathering) -> Self {
        Self { how, since: now, arrivals: 0, rate: 0.0, sends: 0 }
    }

    /// A datagram was queued for sending.
    pub fn sent(&mut self) {
        self.sends += 1;
    }

    /// For how many completions to wait now, and how long at most before fewer will do.
    pub fn plan(&mut self) -> (usize, Duration) {
        let sends = std::mem::take(&mut self.sends);
        if self.rate < self.how.from {
            return (1, Duration::ZERO);
        }
        (sends + (self.rate.ceil() as usize * 2).min(self.how.most), self.how.span)
    }

    /// So much came with the last wait.
    pub fn learn(&mut self, now: Instant, arrivals: usize) {
        self.arrivals += arrivals;
        let passed = now.saturating_duration_since(self.since);
        if passed >= LEARN_EVERY {
            let rate = self.arrivals as f64 * self.how.span.as_secs_f64() / passed.as_secs_f64();
            // More than it ever waits for says nothing more, and would only be remembered for longer.
            self.rate = (self.rate + rate.min(self.how.most as f64)) / 2.0;
            (self.arrivals, self.since) = (0, now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lone_arrival_is_taken_at_once_and_many_together_and_after_a_lull_at_once_again() {
        #[allow(clippy::disallowed_methods, reason = "any instant will do as the start of virtual time")]
        let mut now = Instant::now();
        let how = Gathering { span: Duration::from_micros(500), from: 2.0, most: 128 };
        let mut gather = Gather::new(now, how);
        assert_eq!(gather.plan(), (1, Duration::ZERO));
        let mut pass = |gather: &mut Gather, arrivals| {
            for _ in 0..40 {
                now += Duration::from_millis(1);
                gather.learn(now, arrivals);
            }
        };
        pass(&mut gather, 20);
        let (want, span) = gather.plan();
        assert_eq!((span, (18..=20).contains(&want)), (how.span, true), "twice what a span brings: {want}");
        (0..5).for_each(|_| gather.sent());
        assert_eq!(gather.plan().0, want + 5, "sends complete at once and do not count");
        assert_eq!(gather.plan().0, want);
        pass(&mut gather, 100_000);
        assert_eq!(gather.plan().0, how.most);
        pass(&mut gather, 0);
        pass(&mut gather, 0);
        assert_eq!(gather.plan(), (1, Duration::ZERO));
    }
}

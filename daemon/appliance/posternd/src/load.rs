//! How busy the switch thread is, for its overload control: the time that it ran or wanted to, and the longest turn.
//!
//! Processor time alone would not do: on a core that others use as well a thread that always has something to do gets only a part of it.

use std::time::{Duration, Instant};

use nix::time::{ClockId, clock_gettime};
use postern_signaling::Load;

/// How often a report is made. Each costs the reading of a small file of the kernel's.
const EVERY: Duration = Duration::from_millis(100);

/// Measures the thread that it is used on.
#[derive(Debug, Default)]
pub(crate) struct LoadMeter {
    /// When the report began, and what [`wanted`] was then.
    since: Option<(Instant, Duration)>,
    turn: Option<Instant>,
    longest: Duration,
}

impl LoadMeter {
    /// What was there has been done, and the thread goes to sleep.
    pub(crate) fn turn_ended(&mut self, now: Instant) {
        if let Some(began) = self.turn.take() {
            self.longest = self.longest.max(now.duration_since(began));
        }
    }

    /// The thread is awake. A report, when it is time for one.
    pub(crate) fn turn_begins(&mut self, now: Instant) -> Option<Load> {
        self.turn = Some(now);
        let (since, before) = match self.since {
            Some((since, _)) if now.duration_since(since) < EVERY => return None,
            known => known.unzip(),
        };
        let wanted = wanted();
        self.since = Some((now, wanted));
        let span = now.duration_since(since?);
        let busy = wanted.saturating_sub(before?).as_micros() * 1000 / span.as_micros().max(1);
        Some(Load { busy: busy.min(1000) as u32, turn: std::mem::take(&mut self.longest) })
    }
}

/// How long this thread ran since it began, and waited for a processor to run on.
fn wanted() -> Duration {
    // Nanoseconds of both, and a count (the kernel's sched-stats.rst). Kernels without it tell the first.
    let told = std::fs::read_to_string("/proc/thread-self/schedstat").ok().and_then(|text| {
        let mut words = text.split_ascii_whitespace().map(str::parse::<u64>);
        Some(Duration::from_nanos(words.next()?.ok()?.saturating_add(words.next()?.ok()?)))
    });
    // A clock that cannot be read is a thread that is never busy: its turns still tell.
    told.or_else(|| clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map(Duration::from).ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_comes_every_tenth_of_a_second_with_the_longest_turn() {
        let (mut meter, start) = (LoadMeter::default(), Instant::now());
        let at = |ms| start + Duration::from_millis(ms);
        assert_eq!(meter.turn_begins(at(0)), None);
        meter.turn_ended(at(30));
        assert_eq!(meter.turn_begins(at(50)), None);
        meter.turn_ended(at(60));
        let load = meter.turn_begins(at(100)).unwrap();
        assert_eq!(load.turn, Duration::from_millis(30));
        meter.turn_ended(at(140));
        assert_eq!(meter.turn_begins(at(200)).unwrap().turn, Duration::from_millis(40), "of this report alone");
    }

    #[test]
    fn what_a_thread_wanted_grows_with_its_work() {
        let before = wanted();
        let grows = (0..1_000_000).any(|_| wanted() > before);
        assert!(grows, "{before:?}");
    }
}

//! How busy the switch thread is, for its overload control: processor time, and the longest turn.

use std::time::{Duration, Instant};

use nix::time::{ClockId, clock_gettime};
use postern_signaling::Load;

/// How often a report is made. The thread's processor time costs a system call each.
const EVERY: Duration = Duration::from_millis(100);

/// Measures the thread that it is used on.
#[derive(Debug, Default)]
pub(crate) struct LoadMeter {
    /// When the report began, and the processor time then.
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
        // A clock that cannot be read is a thread that is never busy: its turns still tell.
        let used = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map(Duration::from).unwrap_or_default();
        self.since = Some((now, used));
        let span = now.duration_since(since?);
        let busy = used.saturating_sub(before?).as_micros() * 1000 / span.as_micros().max(1);
        Some(Load { busy: busy.min(1000) as u32, turn: std::mem::take(&mut self.longest) })
    }
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
}

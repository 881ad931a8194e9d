//! What a trunk may carry: calls at once and calls a second, each way, and what its line bears. Nothing here ever refuses an emergency call: nobody asks for one.
//!
//! Rates are counted by the generic cell rate algorithm (ITU-T I.371 A.1), which needs one instant instead of a bucket that is filled:
//! each call moves the time at which the next would be on schedule, and may come early by a burst.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use postern_config::{Config, Limits as Settings};
use postern_facts::TrunkLimited;
use postern_types::{Now, TrunkName};

use crate::bandwidth;

/// A trunk that is over its limit is told of at most so often, each way.
const TELL_EVERY: Duration = Duration::from_secs(60);

/// Which way a call goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bound {
    /// The trunk calls us.
    In,
    /// We call the trunk.
    Out,
}

/// What wants to pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Passing {
    /// It stays for a while: all limits hold it.
    Call,
    /// It is over at once: rates alone hold it.
    Message,
}

/// Why a trunk takes no further call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Full {
    /// The key of the limit.
    pub limit: &'static str,
    /// Its value.
    pub max: u32,
}

impl Full {
    /// For whoever called.
    pub fn why(&self) -> &'static str {
        match self.limit {
            "rate_in" | "rate_out" => "the trunk's calls come too fast",
            "bandwidth_max" => "the trunk's line is full",
            _ => "the trunk has no room for a further call",
        }
    }
}

/// All trunks.
#[derive(Debug, Default)]
pub struct Limits {
    of: HashMap<TrunkName, [OneWay; 2]>,
    /// What its legs take of its line, each way, kbit/s.
    lines: HashMap<TrunkName, u32>,
}

#[derive(Debug, Default)]
struct OneWay {
    live: u32,
    /// When the next call would be on schedule.
    due: Option<Instant>,
    refused: u64,
    untold: u64,
    told: Option<Instant>,
}

impl Limits {
    /// Whether one more may go this way. It is not counted yet.
    pub fn room(
        &self,
        config: &Config,
        now: Now,
        (trunk, bound): (&TrunkName, Bound),
        passing: Passing,
    ) -> Result<(), Full> {
        let Some(settings) = config.trunks.get(trunk) else { return Ok(()) };
        let Settings { calls_in, calls_out, rate_in, rate_out, burst, bandwidth_max, .. } = settings.limits;
        let none = [OneWay::default(), OneWay::default()];
        let ways = self.of.get(trunk).unwrap_or(&none);
        let one = &ways[bound as usize];
        let (calls, rate, names) = match bound {
            Bound::In => (calls_in, rate_in, ("calls_in", "rate_in")),
            Bound::Out => (calls_out, rate_out, ("calls_out", "rate_out")),
        };
        if passing == Passing::Call {
            let all = ways[0].live.saturating_add(ways[1].live);
            for (limit, max, live) in [("calls_max", settings.calls_max, all), (names.0, calls, one.live)] {
                if let Some(max) = max.filter(|max| live >= *max) {
                    return Err(Full { limit, max });
                }
            }
            if let Some(max) = bandwidth_max
                && self.bandwidth(trunk).saturating_add(bandwidth::expected(config, trunk)) > max
            {
                return Err(Full { limit: "bandwidth_max", max });
            }
        }
        match rate {
            Some(max) if one.due.is_some_and(|due| due > now.instant + tolerance(max, burst)) => {
                Err(Full { limit: names.1, max })
            }
            _ => Ok(()),
        }
    }

    /// A call goes this way: it has its share of the rate.
    pub fn passed(&mut self, config: &Config, now: Now, trunk: &TrunkName, bound: Bound) {
        let limits = config.trunks.get(trunk).map(|trunk| trunk.limits).unwrap_or_default();
        let rate = match bound {
            Bound::In => limits.rate_in,
            Bound::Out => limits.rate_out,
        };
        if let Some(rate) = rate {
            let one = self.one(trunk, bound);
            one.due = Some(one.due.map_or(now.instant, |due| due.max(now.instant)) + spacing(rate));
        }
    }

    /// A call was refused for a limit: the fact, when it is time for one.
    pub fn refused(&mut self, now: Now, trunk: &TrunkName, bound: Bound, full: Full) -> Option<TrunkLimited> {
        let one = self.one(trunk, bound);
        (one.refused, one.untold) = (one.refused + 1, one.untold + 1);
        if one.told.is_some_and(|told| now.instant.saturating_duration_since(told) < TELL_EVERY) {
            return None;
        }
        one.told = Some(now.instant);
        let refused = std::mem::take(&mut one.untold);
        Some(TrunkLimited { limit: full.limit.into(), max: full.max, refused })
    }

    /// A leg began or ended.
    pub fn count(&mut self, trunk: &TrunkName, bound: Bound, began: bool) {
        let one = self.one(trunk, bound);
        one.live = if began { one.live.saturating_add(1) } else { one.live.saturating_sub(1) };
    }

    /// What a leg takes of the trunk's line, kbit/s, is another than before.
    pub fn weigh(&mut self, trunk: &TrunkName, before: u32, now: u32) {
        let line = self.lines.entry(trunk.clone()).or_default();
        *line = line.saturating_sub(before).saturating_add(now);
    }

    /// What its legs take of its line, each way, kbit/s.
    pub fn bandwidth(&self, trunk: &TrunkName) -> u32 {
        self.lines.get(trunk).copied().unwrap_or(0)
    }

    /// Calls refused so far: of the trunk, and to it.
    pub fn refusals(&self, trunk: &TrunkName) -> (u64, u64) {
        self.of.get(trunk).map_or((0, 0), |ways| (ways[0].refused, ways[1].refused))
    }

    fn one(&mut self, trunk: &TrunkName, bound: Bound) -> &mut OneWay {
        &mut self.of.entry(trunk.clone()).or_default()[bound as usize]
    }
}

/// From one call to the next.
fn spacing(rate: u32) -> Duration {
    Duration::from_secs(1) / rate.max(1)
}

/// How far ahead of schedule a call may be: the first `burst` at once.
fn tolerance(rate: u32, burst: Option<u32>) -> Duration {
    spacing(rate) * burst.unwrap_or(rate).saturating_sub(1)
}

#[cfg(test)]
mod tests {
    use postern_config::Trunk;
    use postern_types::UnixMicros;

    use super::*;

    fn config(limits: Settings) -> Config {
        let mut config = Config::empty("t");
        config.trunks.insert(TrunkName::new("t"), Trunk { limits, ..Trunk::at("r", "192.0.2.1", 5060) });
        config
    }

    fn now() -> Now {
        // The one reading of a clock: everything after it is virtual.
        #[expect(clippy::disallowed_methods)]
        Now { instant: Instant::now(), wall: UnixMicros(1) }
    }

    #[test]
    fn so_many_at_once_and_then_so_many_a_second_for_ever() {
        for (rate, burst) in [(10, None), (1, Some(5)), (100, Some(1)), (7, Some(70))] {
            let config = config(Settings { rate_in: Some(rate), burst, ..Settings::default() });
            let (trunk, start) = (TrunkName::new("t"), now());
            let mut limits = Limits::default();
            let (mut first, mut all) = (0, 0);
            for ms in 0..20_000_u64 {
                let at = start + Duration::from_millis(ms);
                while limits.room(&config, at, (&trunk, Bound::In), Passing::Call).is_ok() {
                    limits.passed(&config, at, &trunk, Bound::In);
                    all += 1;
                    first += u32::from(ms == 0);
                }
                assert!(
                    limits.room(&config, at, (&trunk, Bound::Out), Passing::Call).is_ok(),
                    "the other way has its own"
                );
            }
            assert_eq!(first, burst.unwrap_or(rate), "{rate} {burst:?}");
            let most = first + 20 * rate;
            assert!((most - 1..=most).contains(&all), "{rate} {burst:?}: {all}");
        }
    }

    #[test]
    fn a_line_bears_what_its_legs_leave() {
        let config = config(Settings { bandwidth_max: Some(200), ..Settings::default() });
        let (trunk, start) = (TrunkName::new("t"), now());
        let mut limits = Limits::default();
        let room = |limits: &Limits| limits.room(&config, start, (&trunk, Bound::Out), Passing::Call);
        for _ in 0..2 {
            assert_eq!(room(&limits), Ok(()));
            limits.weigh(&trunk, 0, 80);
        }
        assert_eq!(room(&limits), Err(Full { limit: "bandwidth_max", max: 200 }));
        assert_eq!(limits.room(&config, start, (&trunk, Bound::Out), Passing::Message), Ok(()));
        limits.weigh(&trunk, 80, 24);
        assert_eq!((limits.bandwidth(&trunk), room(&limits)), (104, Ok(())));
        limits.weigh(&trunk, 80, 0);
        limits.weigh(&trunk, 24, 0);
        assert_eq!(limits.bandwidth(&trunk), 0);
    }

    #[test]
    fn each_way_and_both_have_their_own_limit_and_a_refusal_is_told_once_a_minute() {
        let mut config = config(Settings { calls_in: Some(2), ..Settings::default() });
        let (trunk, start) = (TrunkName::new("t"), now());
        config.trunks.get_mut(&trunk).unwrap().calls_max = Some(3);
        let mut limits = Limits::default();
        for bound in [Bound::In, Bound::In] {
            assert_eq!(limits.room(&config, start, (&trunk, bound), Passing::Call), Ok(()));
            limits.count(&trunk, bound, true);
        }
        let full = Full { limit: "calls_in", max: 2 };
        assert_eq!(limits.room(&config, start, (&trunk, Bound::In), Passing::Call), Err(full));
        limits.count(&trunk, Bound::Out, true);
        assert_eq!(
            limits.room(&config, start, (&trunk, Bound::Out), Passing::Call),
            Err(Full { limit: "calls_max", max: 3 })
        );
        limits.count(&trunk, Bound::In, false);
        assert_eq!(limits.room(&config, start, (&trunk, Bound::Out), Passing::Call), Ok(()));

        assert_eq!(limits.refused(start, &trunk, Bound::In, full).unwrap().refused, 1);
        for ms in 1..1000 {
            assert_eq!(limits.refused(start + Duration::from_millis(ms), &trunk, Bound::In, full), None);
        }
        assert_eq!(limits.refused(start + TELL_EVERY, &trunk, Bound::In, full).unwrap().refused, 1000);
        assert_eq!(limits.refusals(&trunk), (1001, 0));
    }
}

//! What is turned away when the switch has more to do than it can.
//!
//! The top floor says every tenth of a second how busy the switch thread was and how long its longest turn took: what came in
//! meanwhile waited for as long. From that follows a *share* of new calls and registrations that is refused, as the loss-based scheme of
//! RFC 7339 has it, grown while the box is overloaded and given back when it is not. A refusal is a 503 without state and costs a tenth of
//! a call. A trunk that asks is told the share instead and drops by itself (`heeding`). Whatever belongs to a call or transaction that
//! lives goes on: finishing work is what ends an overload.

use std::time::Duration;

/// Busier than this, thousandths: nothing is left for what comes next, and it waits.
const BUSY: u32 = 985;
/// A turn that takes longer makes itself felt: with a network's own delay it comes near to the half second after which peers repeat.
const TURN_MAX: Duration = Duration::from_millis(100);
/// Reports in a row that must say so: one may be a hiccup of the machine.
const REPORTS: u8 = 3;
/// By how much the share grows with each such report, thousandths: from nothing to nine tenths within a second.
const UP: u32 = 100;
/// Never all: the box must find out whether it is over.
const SHARE_MAX: u32 = 950;
/// What is left of the share after a report that is well; below `UP / 10` it is nothing.
const DOWN: (u32, u32) = (9, 10);

/// How the switch thread was for about a tenth of a second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Load {
    /// Its share of processor time, thousandths of one core.
    pub busy: u32,
    /// Its longest turn.
    pub turn: Duration,
}

/// A change that is worth telling.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    Begun(Load),
    Ended,
}

#[derive(Debug, Default)]
pub(crate) struct Overload {
    /// Of new requests, thousandths, that are refused.
    share: u32,
    hot: u8,
}

impl Overload {
    /// Takes a report.
    pub(crate) fn report(&mut self, load: Load) -> Option<Change> {
        let before = self.share;
        if load.busy >= BUSY || load.turn > TURN_MAX {
            self.hot = self.hot.saturating_add(1);
            if self.hot >= REPORTS {
                self.share = (self.share + UP).min(SHARE_MAX);
            }
        } else {
            self.hot = 0;
            self.share = self.share * DOWN.0 / DOWN.1;
            if self.share < UP / 10 {
                self.share = 0;
            }
        }
        match (before, self.share) {
            (0, 1..) => Some(Change::Begun(load)),
            (1.., 0) => Some(Change::Ended),
            _ => None,
        }
    }

    /// Of new requests, thousandths, that are refused; of those of unknown sources twice as many.
    pub(crate) fn share(&self) -> u32 {
        self.share
    }

    /// Whether no more than now can be refused.
    pub(crate) fn is_at_its_most(&self) -> bool {
        self.share == SHARE_MAX
    }

    /// Whether a new request is refused. `draw` is random, `is_known` whether it comes from a trunk or a device.
    pub(crate) fn refuses(&self, draw: u64, is_known: bool) -> bool {
        let share = if is_known { self.share } else { self.share * 2 };
        draw % 1000 < share.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CALM: Load = Load { busy: 700, turn: Duration::from_millis(3) };
    const HOT: Load = Load { busy: 1000, turn: Duration::from_millis(3) };
    const SLOW: Load = Load { busy: 300, turn: Duration::from_millis(400) };

    #[test]
    fn a_hiccup_is_nothing_and_an_overload_grows_and_ends() {
        let mut overload = Overload::default();
        for load in [HOT, SLOW, CALM, HOT, HOT, CALM] {
            assert_eq!((overload.report(load), overload.share()), (None, 0));
        }
        assert_eq!([HOT, SLOW].map(|load| overload.report(load)), [None, None]);
        assert_eq!((overload.report(HOT), overload.share()), (Some(Change::Begun(HOT)), UP));
        assert!((0..20).all(|_| overload.report(HOT).is_none()));
        assert_eq!(overload.share(), SHARE_MAX, "never all");
        let told: Vec<_> = (0..100).filter_map(|_| overload.report(CALM)).collect();
        assert_eq!((told, overload.share()), (vec![Change::Ended], 0));
    }

    #[test]
    fn who_is_unknown_is_refused_twice_as_often() {
        let mut overload = Overload::default();
        assert!(!(0..1000).any(|draw| overload.refuses(draw, false)));
        (0..4).for_each(|_| _ = overload.report(HOT));
        let refused = |is_known| (0..1000).filter(|draw| overload.refuses(*draw, is_known)).count();
        assert_eq!((refused(true), refused(false)), (200, 400));
    }
}

//! What a worker can be given: by its measured load, and by what the legs that it was given lately will ask of it.
//!
//! The measure is of the last second, so a burst of new legs is in it a second or two late. Until then each counts by what a leg costs on
//! this machine (`calibrate`); without that figure the measure stands alone. A leg that converts costs more than it counts here; one that rings,
//! or whose packets the kernel forwards, next to nothing: so young legs count once the measure says that legs talk.

use std::{
    net::IpAddr,
    time::{Duration, Instant},
};

use super::{LEGS_MAX, MediaPlane, crew::Worker};
use crate::calibrate::Calibration;

/// A leg is young for at least two seconds and at most three: then a whole second of it was measured, and told.
const SPAN: Duration = Duration::from_secs(1);
const SPANS: usize = 3;

/// From this part of what a worker may have to do on, its legs talk: what comes of a burst of talkers is there within a second of it.
const TALKING_PART: u64 = 3;

/// `media.busy_max` of 100 says that load refuses no call.
const NO_BOUND: u64 = 1000;

/// Legs that were opened lately and are open still, by seconds, the latest first.
#[derive(Debug, Default)]
pub(super) struct Young {
    since: Option<Instant>,
    legs: [u64; SPANS],
}

impl Young {
    /// How many seconds have begun since the latest that was counted.
    fn passed(&self, now: Instant) -> usize {
        let spans = |since| now.saturating_duration_since(since).as_millis() / SPAN.as_millis();
        self.since.map_or(SPANS, |since| spans(since).min(SPANS as u128) as usize)
    }

    pub(super) fn opened(&mut self, now: Instant) {
        match (self.passed(now), self.since) {
            (0, _) => {}
            (passed @ 1..SPANS, Some(since)) => {
                self.legs.rotate_right(passed);
                self.legs[..passed].fill(0);
                self.since = Some(since + SPAN * passed as u32);
            }
            _ => (self.legs, self.since) = ([0; SPANS], Some(now)),
        }
        self.legs[0] += 1;
    }

    pub(super) fn closed(&mut self, opened: Instant) {
        let Some(since) = self.since else { return };
        let age = since.saturating_duration_since(opened);
        let span = age.as_millis().div_ceil(SPAN.as_millis()) as usize;
        if let Some(legs) = self.legs.get_mut(span) {
            *legs = legs.saturating_sub(1);
        }
    }

    pub(super) fn count(&self, now: Instant) -> u64 {
        self.legs[..SPANS - self.passed(now)].iter().sum()
    }
}

/// More calls, as far as one thing that they need goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Room {
    /// The thing, in words.
    pub of: String,
    /// So many calls of two legs.
    pub calls: u64,
}

/// What a worker is expected to have to do, thousandths of its CPU, of which it may have `busy_max`.
pub(super) fn expected(worker: &Worker, calibration: Option<&Calibration>, busy_max: u64, now: Instant) -> u64 {
    let busy = worker.busy();
    match calibration {
        Some(known) if busy >= busy_max / TALKING_PART => {
            busy + (worker.young.count(now) as f64 * known.leg_permille()) as u64
        }
        _ => busy,
    }
}

/// Why a worker that has so much to do takes no call; none when it does.
pub(super) fn refusal(worker: &Worker, expected: u64, busy_max: u64) -> Option<String> {
    if expected <= busy_max || busy_max >= NO_BOUND {
        return None;
    }
    let (busy, most) = (worker.busy() / 10, busy_max / 10);
    let young = match (expected - worker.busy()) / 10 {
        0 => String::new(),
        percent => format!(" and some {percent} % to come of legs opened just now"),
    };
    Some(format!("every media worker is busy: the least with {busy} % of its CPU{young}, media.busy_max is {most} %"))
}

impl MediaPlane {
    /// Takes what a packet costs here. Until then only the measured load admits.
    pub fn set_calibration(&mut self, calibration: Calibration) {
        self.calibration = Some(calibration);
    }

    /// What [`MediaPlane::set_calibration`] was told.
    pub fn calibration(&self) -> Option<&Calibration> {
        self.calibration.as_ref()
    }

    /// Calls of two talking legs that one worker takes by sockets, as far as its CPU goes; none without calibration.
    pub fn calls_per_worker(&self) -> Option<u64> {
        Some(self.calibration?.calls_in(self.busy_max.min(NO_BOUND) as f64))
    }

    /// How many more calls fit that are no emergency, by each thing of which the plane has so much and no more. A call takes a pair of ports in each of two realms;
    /// where there is one realm, both are of it.
    pub fn room(&self, now: Instant) -> Vec<Room> {
        let mut all = Vec::new();
        let alive = || self.workers.iter().filter(|worker| !worker.has_failed());
        if let Some(known) = &self.calibration {
            let left = |worker: &Worker| {
                let expected = expected(worker, Some(known), self.busy_max, now);
                known.calls_in(self.busy_max.min(NO_BOUND) as f64 - expected as f64)
            };
            all.push(Room { of: "CPU of the media workers".into(), calls: alive().map(left).sum() });
        }
        let legs = self.common(self.slots_max.saturating_sub(self.legs.len()), self.slots_max) as u64;
        let of = if self.slots_max < LEGS_MAX { "file descriptors" } else { "legs at once" };
        all.push(Room { of: of.into(), calls: legs / 2 });
        let of_call = if self.realms.len() > 1 { 1 } else { 2 };
        let mut ports: Vec<Room> = self
            .ports
            .iter()
            .map(|(key, ports)| {
                let free = self.common(ports.free(now) + self.rested(now, key), ports.range());
                let family = if matches!(ports.address(), IpAddr::V6(_)) { ", IPv6" } else { "" };
                Room { of: format!("ports of realm {}{family}", key.0), calls: (free / of_call) as u64 }
            })
            .collect();
        ports.sort_by(|a, b| a.of.cmp(&b.of));
        all.extend(ports);
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::start;

    #[test]
    fn a_leg_is_young_for_two_to_three_seconds_or_until_it_closes() {
        let now = start();
        let at = |ms| now + Duration::from_millis(ms);
        let mut young = Young::default();
        assert_eq!(young.count(now), 0);
        [0, 900, 1100, 2500].into_iter().for_each(|ms| young.opened(at(ms)));
        assert_eq!(young.count(at(2999)), 4);
        assert_eq!(young.count(at(3000)), 2, "those of the first second are old");
        young.closed(at(900));
        young.closed(at(1100));
        assert_eq!((young.count(at(2999)), young.count(at(3000))), (2, 1));
        assert_eq!((young.count(at(4999)), young.count(at(5000))), (1, 0));
        young.opened(at(60_000));
        assert_eq!(young.count(at(60_000)), 1);
        young.closed(at(0));
        assert_eq!(young.count(at(60_000)), 1, "one that was not counted any more");
    }
}

//! Port pairs of one address of a realm: free, in use, or resting after use.
//!
//! A pair rests so that late packets of an ended call do not reach the next one, and because a port can stay busy for a
//! moment after its socket was closed. Plain book-keeping; binding is the caller's.

use std::{
    collections::{BTreeSet, VecDeque},
    hash::{BuildHasher, RandomState},
    net::IpAddr,
    time::{Duration, Instant},
};

use postern_config::RealmMedia;

/// The even ports of a range, at one address.
#[derive(Debug)]
pub struct Ports {
    address: IpAddr,
    first: u16,
    last: u16,
    free: VecDeque<u16>,
    used: BTreeSet<u16>,
    /// Oldest first, with the time from which they are free again.
    resting: VecDeque<(Instant, u16)>,
}

impl Ports {
    /// All pairs of the realm's range at `address`, in an order that outsiders cannot foresee.
    pub fn new(address: IpAddr, media: &RealmMedia) -> Self {
        let order = RandomState::new();
        // A pair needs its second port within the range too.
        let first = media.port_first.next_multiple_of(2);
        let mut free: Vec<u16> = (first..media.port_last).step_by(2).collect();
        free.sort_by_cached_key(|port| order.hash_one(port));
        Self {
            address,
            first,
            last: media.port_last,
            free: free.into(),
            used: BTreeSet::new(),
            resting: VecDeque::new(),
        }
    }

    /// The same for a changed range: what is in use or rests stays so.
    pub fn changed(self, media: &RealmMedia) -> Self {
        let mut next = Self::new(self.address, media);
        next.free.retain(|port| !self.used.contains(port) && !self.resting.iter().any(|(_, resting)| resting == port));
        next.used = self.used;
        next.resting = self.resting;
        next
    }

    /// Where these ports are.
    pub fn address(&self) -> IpAddr {
        self.address
    }

    /// Takes the even port of a free pair; none when all are in use or rest.
    pub fn take(&mut self, now: Instant) -> Option<u16> {
        while let Some((_, port)) = self.resting.pop_front_if(|(until, _)| *until <= now) {
            // A reload may have narrowed the range meanwhile.
            if self.first <= port && port < self.last {
                self.free.push_back(port);
            }
        }
        let port = self.free.pop_front()?;
        self.used.insert(port);
        Some(port)
    }

    /// Gives a pair back after use, or one that somebody else holds: it rests until it is tried again.
    pub fn give_back(&mut self, now: Instant, port: u16, rest: Duration) {
        if self.used.remove(&port) {
            let until = now + rest;
            // The rest may have been changed by a reload; the order by time must stay.
            let place = self.resting.partition_point(|(other, _)| *other <= until);
            self.resting.insert(place, (until, port));
        }
    }

    /// Pairs of the whole range.
    pub fn range(&self) -> usize {
        (usize::from(self.last) + 1 - usize::from(self.first)) / 2
    }

    /// Pairs that could be taken now.
    pub fn free(&self, now: Instant) -> usize {
        let rested = self.resting.iter().take_while(|(until, _)| *until <= now);
        self.free.len() + rested.filter(|(_, port)| self.first <= *port && *port < self.last).count()
    }

    /// Whether any pair could be taken now.
    pub fn has_free(&self, now: Instant) -> bool {
        !self.free.is_empty() || self.resting.front().is_some_and(|(until, _)| *until <= now)
    }

    /// Pairs in use, or kept with their sockets for the next leg.
    pub fn used(&self) -> usize {
        self.used.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::start;

    fn realm(port_first: u16, port_last: u16) -> RealmMedia {
        RealmMedia { ipv4: None, ipv6: None, port_first, port_last, dscp: postern_config::Dscp::EF }
    }

    #[test]
    fn pairs_are_used_up_rest_and_come_back() {
        let rest = Duration::from_secs(5);
        let now = start();
        for (first, last, pairs) in [(4000, 4007, 4), (4000, 4006, 3), (4001, 4007, 3), (65534, 65535, 1)] {
            let mut ports = Ports::new([127, 0, 0, 1].into(), &realm(first, last));
            let taken: BTreeSet<u16> = std::iter::from_fn(|| ports.take(now)).collect();
            assert_eq!(taken.len(), pairs, "{first}-{last}");
            assert!(taken.iter().all(|p| p % 2 == 0 && first <= *p && *p < last));
            let port = *taken.first().unwrap();
            ports.give_back(now, port, rest);
            ports.give_back(now, port, rest);
            assert_eq!(ports.take(now + rest / 2), None, "it rests");
            assert_eq!((ports.free(now + rest / 2), ports.free(now + rest)), (0, 1));
            assert_eq!((ports.take(now + rest), ports.take(now + rest)), (Some(port), None));
        }
    }

    #[test]
    fn a_reload_keeps_what_is_in_use() {
        let now = start();
        let mut ports = Ports::new([127, 0, 0, 1].into(), &realm(4000, 4003));
        let (a, b) = (ports.take(now).unwrap(), ports.take(now).unwrap());
        ports.give_back(now, b, Duration::ZERO);
        let mut ports = ports.changed(&realm(4000, 4001));
        assert_eq!(ports.used(), 1);
        ports.give_back(now, a, Duration::ZERO);
        let left: Vec<u16> = std::iter::from_fn(|| ports.take(now)).collect();
        assert_eq!(left, [4000], "what lies outside the new range is not used again");
    }
}

//! Whom a leg listens to: symmetric RTP with bounds.
//!
//! What a party describes is often not where it sends from (NAT), so for a while after an offer the first plausible
//! packet decides. That while is the latching window; after it only the described address may still be the first. Once
//! bound, everybody else is a stranger: dropped and counted.
//!
//! The described address wins over another that was quicker, whenever it shows up: it was told by the party itself, in
//! signaling, where it proved who it is. So a stranger that finds the port while the party is silent (RFC 7362 5) has the
//! leg until the party speaks, and no longer. The price is that whoever can forge the described address takes the leg of a
//! party behind NAT; such a packet has to pass the border's filters first, and SRTP stops both. Strict latching has no window.
//!
//! After a changed description the former source may send for a while yet (a forked device that lost, a phone that
//! moves). It is heard, but keeps nobody out: within the window any other takes its place.

use std::{
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

/// The state of one leg's latch. First what every packet is compared with: see [`crate::leg::Leg`].
#[derive(Debug, Clone, Default)]
#[repr(C)]
pub struct Latch {
    source: Option<SocketAddr>,
    described: Option<SocketAddr>,
    open_until: Option<Instant>,
    /// The source that the last change of description forgot.
    former: Option<Box<SocketAddr>>,
}

/// What the latch thinks of a source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Judgement {
    /// The one that the leg is bound to.
    Known,
    /// May be bound by [`Latch::bind`] if its packet proves plausible.
    Candidate,
    /// Anybody else.
    Stranger,
}

impl Latch {
    /// Takes the described address. A changed one forgets the source and opens the window, if there is one; as long as no
    /// source was found, every new description (the answer after the offer) opens it again. An address that says "do not
    /// send" (hold as RFC 3264 8.4 still knows it) moves nobody. Says whether the source was forgotten.
    pub fn describe(&mut self, now: Instant, address: SocketAddr, window: Option<Duration>) -> bool {
        let changed = self.described != Some(address) && is_usable(&address);
        if changed || self.source.is_none() {
            self.open_until = window.map(|window| now + window);
        }
        if changed {
            self.described = Some(address);
            self.former = self.source.take().map(Box::new);
        }
        changed && self.former.is_some()
    }

    /// Judges the source of a packet.
    pub fn judge(&self, now: Instant, source: SocketAddr) -> Judgement {
        if self.source == Some(source) {
            return Judgement::Known;
        }
        // Nobody can be answered there: a forger, or a raw socket.
        if !is_usable(&source) {
            return Judgement::Stranger;
        }
        let open = self.open_until.is_some_and(|until| now < until);
        let is_described = self.described == Some(source);
        match self.source {
            None if open || is_described => Judgement::Candidate,
            Some(_) if is_described || (open && self.is_former_bound()) => Judgement::Candidate,
            _ => Judgement::Stranger,
        }
    }

    fn is_former_bound(&self) -> bool {
        self.source.is_some() && self.source.as_ref() == self.former.as_deref() && self.source != self.described
    }

    /// Binds the leg to a candidate. Says whether it is the described address.
    pub fn bind(&mut self, source: SocketAddr) -> bool {
        self.source = Some(source);
        self.described == Some(source)
    }

    /// Binds the leg to a source that proved itself by ICE: no description counts beside it, and no window is open.
    pub fn prove(&mut self, source: SocketAddr) {
        *self = Self { source: Some(source), ..Self::default() };
    }

    /// The source that the leg is bound to.
    pub fn source(&self) -> Option<SocketAddr> {
        self.source
    }

    /// The source, once nothing short of a new description can change it: to another than the described one no socket may
    /// be connected, for the kernel would turn the described one away.
    pub fn settled(&self) -> Option<SocketAddr> {
        self.source.filter(|_| self.source == self.described)
    }

    /// Where packets go: to the source; before there is one, to the described address if it is one.
    pub fn destination(&self) -> Option<SocketAddr> {
        self.source.or(self.described)
    }
}

/// Whether one party can be there. RFC 3264 8.4 and 8.2: the unspecified address and port 0 say "do not send"; to many at
/// once nothing is sent, and nothing comes from them.
pub fn is_usable(address: &SocketAddr) -> bool {
    let ip = address.ip();
    let is_broadcast = matches!(ip, IpAddr::V4(ip) if ip.is_broadcast());
    address.port() != 0 && !ip.is_unspecified() && !ip.is_multicast() && !is_broadcast
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::start;

    const WINDOW: Option<Duration> = Some(SPAN);
    const SPAN: Duration = Duration::from_secs(2);

    fn address(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn the_first_in_the_window_is_bound_and_the_described_address_still_wins() {
        let (described, nat, stranger) =
            (address("192.0.2.1:4000"), address("198.51.100.1:5"), address("203.0.113.1:6"));
        let now = start();
        let mut latch = Latch::default();
        assert_eq!(latch.judge(now, described), Judgement::Stranger, "nothing was described yet");
        latch.describe(now, described, WINDOW);
        assert_eq!(latch.destination(), Some(described));
        assert_eq!(latch.judge(now, nat), Judgement::Candidate);
        assert!(!latch.bind(nat));
        assert_eq!((latch.judge(now, nat), latch.destination()), (Judgement::Known, Some(nat)));
        assert_eq!(latch.judge(now, stranger), Judgement::Stranger);
        assert_eq!(latch.settled(), None);
        assert_eq!(latch.judge(now, described), Judgement::Candidate);
        assert!(latch.bind(described));
        assert_eq!(latch.settled(), Some(described));
        assert_eq!(latch.judge(now, nat), Judgement::Stranger);
    }

    #[test]
    fn after_the_window_only_the_described_address_may_be_first() {
        let (described, nat) = (address("192.0.2.1:4000"), address("198.51.100.1:5"));
        let mut latch = Latch::default();
        let now = start();
        latch.describe(now, described, WINDOW);
        let late = now + SPAN;
        assert_eq!(latch.judge(late, nat), Judgement::Stranger);
        assert_eq!(latch.judge(late, described), Judgement::Candidate);
        // The answer comes much later than the offer: the same description opens the window again.
        assert!(!latch.describe(late, described, WINDOW));
        assert_eq!(latch.judge(late, nat), Judgement::Candidate);
        latch.bind(nat);
        let other = address("203.0.113.1:6");
        assert_eq!((latch.judge(late + SPAN, other), latch.settled()), (Judgement::Stranger, None));
        // Now that there is a source, the same description opens no window.
        assert!(!latch.describe(late + SPAN, described, WINDOW));
        assert_eq!(latch.judge(late + SPAN, other), Judgement::Stranger);
        // A changed one does.
        assert!(latch.describe(late + SPAN, address("192.0.2.1:4002"), WINDOW));
        assert_eq!(latch.judge(late + SPAN, nat), Judgement::Candidate);
        assert_eq!(latch.destination(), Some(address("192.0.2.1:4002")));
    }

    #[test]
    fn who_was_first_while_the_party_was_silent_loses_the_leg_when_the_party_speaks() {
        let (described, stranger) = (address("192.0.2.1:4000"), address("203.0.113.1:6"));
        let (now, mut latch) = (start(), Latch::default());
        latch.describe(now, described, WINDOW);
        latch.bind(stranger);
        let late = now + SPAN * 30;
        assert_eq!(latch.settled(), None, "nothing may keep the described address away");
        assert_eq!(latch.judge(late, described), Judgement::Candidate);
        assert!(latch.bind(described));
        assert_eq!((latch.judge(late, stranger), latch.settled()), (Judgement::Stranger, Some(described)));
    }

    #[test]
    fn strict_latching_takes_only_the_described_address() {
        let (described, moved, nat) = (address("192.0.2.1:4000"), address("192.0.2.1:4002"), address("198.51.100.1:5"));
        let (now, mut latch) = (start(), Latch::default());
        latch.describe(now, described, None);
        assert_eq!(latch.judge(now, nat), Judgement::Stranger);
        assert_eq!(latch.judge(now, described), Judgement::Candidate);
        latch.bind(described);
        assert!(latch.describe(now, moved, None));
        assert_eq!(latch.judge(now, described), Judgement::Stranger, "it has moved");
        assert_eq!(latch.judge(now, moved), Judgement::Candidate);
    }

    #[test]
    fn an_address_that_says_do_not_send_is_no_destination() {
        let mut latch = Latch::default();
        let now = start();
        for nowhere in
            ["0.0.0.0:4000", "192.0.2.1:0", "[::]:4000", "255.255.255.255:4000", "224.0.0.1:4000", "[ff02::1]:4000"]
        {
            latch.describe(now, address(nowhere), WINDOW);
            assert_eq!(latch.destination(), None, "{nowhere}");
            assert_eq!(latch.judge(now, address(nowhere)), Judgement::Stranger, "nor is it a source: {nowhere}");
        }
        let nat = address("198.51.100.1:5");
        assert_eq!(latch.judge(now, nat), Judgement::Candidate, "who holds may yet send music");
    }

    #[test]
    fn hold_by_the_unspecified_address_opens_no_window_and_forgets_nobody() {
        let (described, nat, stranger) =
            (address("192.0.2.1:4000"), address("198.51.100.1:5"), address("203.0.113.1:6"));
        let (now, mut latch) = (start(), Latch::default());
        latch.describe(now, described, WINDOW);
        latch.bind(nat);
        let later = now + SPAN;
        for address in [address("0.0.0.0:4000"), address("192.0.2.1:0"), described] {
            assert!(!latch.describe(later, address, WINDOW));
            assert_eq!(
                (latch.judge(later, nat), latch.judge(later, stranger)),
                (Judgement::Known, Judgement::Stranger)
            );
            assert_eq!(latch.source(), Some(nat));
        }
    }

    #[test]
    fn after_a_changed_description_the_former_source_keeps_nobody_out() {
        // Early media of one forked device behind NAT, then the answer of another.
        let (one, other, other_nat) = (address("198.51.100.1:5"), address("10.0.0.7:4000"), address("198.51.100.2:6"));
        let (now, mut latch) = (start(), Latch::default());
        latch.describe(now, address("10.0.0.6:4000"), WINDOW);
        latch.bind(one);
        let answered = now + SPAN * 3;
        assert!(latch.describe(answered, other, WINDOW));
        assert_eq!(latch.judge(answered, one), Judgement::Candidate, "it may be the same party after all");
        latch.bind(one);
        assert_eq!(latch.judge(answered, other_nat), Judgement::Candidate);
        latch.bind(other_nat);
        assert_eq!(latch.judge(answered, one), Judgement::Stranger);
        assert_eq!(latch.judge(answered, address("203.0.113.1:6")), Judgement::Stranger);
        latch.describe(answered, address("10.0.0.8:4000"), WINDOW);
        latch.bind(other_nat);
        let late = answered + SPAN;
        assert_eq!(latch.judge(late, one), Judgement::Stranger, "the window has closed");
        assert_eq!(latch.source(), Some(other_nat));
    }
}

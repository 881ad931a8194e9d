//! Which packets the kernel forwards by itself, and what it counted of them.
//!
//! A direction of a bridge may be the kernel's when the relay would do nothing to its packets but pass them on: both legs latched,
//! without keys and handshakes, nothing played into either, and payload types that both sides name alike. All else of the same leg
//! (digits, RTCP, a new SSRC, strangers) goes on coming to the relay.
//!
//! What cannot happen: a packet that comes after a change (bridge, hold, key, description, another source, close) and is forwarded as
//! before it. Every verb of the relay that changes a leg lifts its flows first, and the flows come back, if they may, with the
//! leg's next turn of a second. Figures are read once a second, and before a packet of the leg is counted by the relay.

use std::{collections::VecDeque, net::SocketAddr, time::Instant};

use postern_fastpath::{Ends, Figures, Flow, Flows};
use postern_rtp::{Header, packet::HEADER_LEN};

use crate::{
    latch::Judgement,
    leg::Leg,
    relay::{PARTS, Relay},
    typed::{Kind, Typed},
};

/// Payload types that are RTCP's second byte when marked (RFC 5761 4): never forwarded unseen.
const RTCP_TYPES: std::ops::RangeInclusive<u8> = 64..=95;

/// The kernel's part in a relay.
pub(crate) struct Kernel {
    flows: Box<dyn Flows>,
    /// Legs whose packets the kernel could forward, and the legs that hear them.
    wishes: VecDeque<(u32, u32)>,
    installed: u64,
}

/// A flow of a leg that the kernel has.
pub(crate) struct Installed {
    /// The leg that hears it.
    to: u32,
    heard: Ends,
    /// What was counted already.
    seen: Figures,
}

impl Relay {
    /// Gives it the kernel's flows, or takes them away with all that is installed.
    pub fn set_flows(&mut self, flows: Option<Box<dyn Flows>>) {
        self.lift_all();
        self.kernel = flows.map(|flows| Kernel { flows, wishes: VecDeque::new(), installed: 0 });
    }

    /// Flows that are installed.
    pub fn flows(&self) -> u64 {
        self.kernel.as_ref().map_or(0, |kernel| kernel.installed)
    }

    /// Takes what the kernel forwards from a leg and to it back, before something about the leg changes.
    pub(crate) fn lift(&mut self, slot: u32) {
        if self.kernel.is_none() {
            return;
        }
        let partner = self.leg_at(slot).and_then(|leg| leg.partner);
        for slot in [Some(slot), partner].into_iter().flatten() {
            self.lift_one(slot);
        }
    }

    fn lift_all(&mut self) {
        if self.kernel.is_some() {
            (0..self.live.len()).for_each(|at| self.lift_one(self.live[at]));
        }
    }

    fn lift_one(&mut self, slot: u32) {
        let (Some(kernel), Some(leg)) = (&mut self.kernel, leg_mut(&mut self.legs, slot)) else { return };
        leg.flow_refused = false;
        if let Some(mut installed) = leg.flow.take() {
            kernel.installed -= 1;
            let figures = kernel.flows.remove(slot, &installed.heard);
            self.count_flow(slot, &mut installed, figures, None);
        }
    }

    /// Fetches what the kernel counted of a leg.
    fn read_flow(&mut self, now: Instant, slot: u32) {
        let (Some(kernel), Some(leg)) = (&mut self.kernel, leg_mut(&mut self.legs, slot)) else { return };
        if let Some(mut installed) = leg.flow.take() {
            let figures = kernel.flows.read(slot);
            self.count_flow(slot, &mut installed, figures, Some(now));
            if let Some(leg) = leg_mut(&mut self.legs, slot) {
                leg.flow = Some(installed);
            }
        }
    }

    /// Adds what is new in the figures to those of both legs.
    fn count_flow(&mut self, slot: u32, installed: &mut Installed, figures: Figures, now: Option<Instant>) {
        let packets = figures.packets.saturating_sub(installed.seen.packets);
        let bytes = figures.bytes.saturating_sub(installed.seen.bytes);
        if packets == 0 {
            return;
        }
        installed.seen = figures;
        self.counts.packets_in += packets;
        self.counts.packets_out += packets;
        self.counts.forwarded += packets;
        let last = now.zip(figures.since_last).and_then(|(now, since)| now.checked_sub(since));
        if let Some(leg) = leg_mut(&mut self.legs, slot) {
            leg.pass_by();
            leg.received.add(packets, bytes);
            leg.reception.add(figures.highest, packets, figures.jitter);
            leg.heard = last.map_or(leg.heard, |last| leg.heard.max(last));
        }
        if let Some(leg) = leg_mut(&mut self.legs, installed.to) {
            leg.sent_tally.add(packets, bytes);
            // Only plain headers are forwarded: all of the same length.
            let payload = bytes.saturating_sub(packets * HEADER_LEN as u64);
            leg.sent.add(packets, payload, last.map(|at| (figures.timestamp, at)));
        }
    }

    /// A packet of a leg came up although the kernel may have a flow of it: the leg is brought up to date, and flows that
    /// the packet puts an end to are lifted before anybody looks at it.
    pub(crate) fn before_packet(&mut self, now: Instant, slot: u32, source: SocketAddr, packet: &[u8]) {
        let Some(leg) = self.leg_at(slot) else { return };
        if self.kernel.is_none() {
            return;
        }
        match leg.latch.judge(now, source) {
            Judgement::Stranger => {}
            Judgement::Candidate => self.lift(slot),
            Judgement::Known if leg.flow.is_none() => {}
            Judgement::Known => {
                self.read_flow(now, slot);
                let Ok(header) = Header::parse(packet) else { return };
                let goes_on = |leg: &Leg| leg.reception.continues(header.ssrc, header.sequence);
                if self.leg_at(slot).is_some_and(|leg| !goes_on(leg)) {
                    self.lift_one(slot);
                }
            }
        }
    }

    /// Fetches what the kernel counted from a leg and to it, before somebody reports on both.
    pub(crate) fn read_flows_of(&mut self, now: Instant, slot: u32) {
        if self.flows() > 0 {
            let partner = self.leg_at(slot).and_then(|leg| leg.partner);
            for slot in [Some(slot), partner].into_iter().flatten() {
                self.read_flow(now, slot);
            }
        }
    }

    /// Fetches the figures of every [`PARTS`]th leg; before its turn of a second.
    pub(crate) fn read_flows(&mut self, now: Instant, part: u32) {
        let Some(kernel) = &mut self.kernel else { return };
        if part == 0 && kernel.flows.have_routes_changed() {
            self.lift_all();
        }
        for at in 0..self.live.len() {
            let slot = self.live[at];
            if slot % PARTS == part {
                self.read_flow(now, slot);
            }
        }
    }

    /// Notes which of every [`PARTS`]th leg the kernel could take; after its turn of a second.
    pub(crate) fn wish_for_flows(&mut self, part: u32) {
        if self.kernel.is_none() {
            return;
        }
        for at in 0..self.live.len() {
            let slot = self.live[at];
            if slot % PARTS == part
                && self.leg_at(slot).is_some_and(|leg| leg.flow.is_none() && !leg.flow_refused)
                && let Some(to) = self.may_flow(slot).map(|(to, _)| to)
                && let Some(kernel) = &mut self.kernel
            {
                kernel.wishes.push_back((slot, to));
            }
        }
    }

    /// The next leg whose packets the kernel could forward, and the leg that hears it: for [`Relay::install`].
    pub(crate) fn poll_wish(&mut self) -> Option<(u32, u32)> {
        self.kernel.as_mut()?.wishes.pop_front()
    }

    /// Has the kernel forward what it may of a leg from now on. The addresses are those of our own RTP ports; the other leg's marks what it sends so.
    pub(crate) fn install(&mut self, slot: u32, local: SocketAddr, (out, dscp): (SocketAddr, u8)) {
        let Some((to, mut flow)) = self.may_flow(slot) else { return };
        (flow.heard.local, flow.said.local, flow.dscp) = (local, out, dscp);
        let (Some(kernel), Some(leg)) = (&mut self.kernel, leg_mut(&mut self.legs, slot)) else { return };
        if leg.flow.is_some() {
            return;
        }
        leg.flow_refused = !kernel.flows.install(slot, &flow);
        if !leg.flow_refused {
            kernel.installed += 1;
            leg.flow = Some(Box::new(Installed { to, heard: flow.heard, seen: Figures::default() }));
        }
    }

    /// What the kernel could do for a leg, but for our own addresses and mark, and the leg that hears it.
    fn may_flow(&self, slot: u32) -> Option<(u32, Flow)> {
        let from = self.leg_at(slot)?;
        let to_slot = from.partner?;
        let to = self.leg_at(to_slot)?;
        let source = from.plain_source()?;
        // Where packets go is where they come from: the latch has both.
        let destination = to.rtp_destination().filter(|to_destination| to.plain_source() == Some(*to_destination))?;
        let is_silent = !from.hears_us() && !to.hears_us() && from.ways.is_none();
        let is_tapped = from.taps.is_some() || to.taps.is_some();
        let is_bare = is_silent && !is_tapped && !to.mark_next;
        if !is_bare || !from.sends || source.is_ipv4() != destination.is_ipv4() {
            return None;
        }
        let in_use = from.setup.as_ref()?.format.payload_type;
        let Kind::Audio(clock) = from.types.of(in_use).kind else { return None };
        let clock_hz = clock.hz()?;
        let as_it_is = |of: u8| Typed { kind: Kind::Audio(clock), mapped: of };
        let payload_types = (0..128)
            .filter(|of| !RTCP_TYPES.contains(of) && from.types.of(*of) == as_it_is(*of))
            .fold(0u128, |mask, of| mask | 1 << of);
        let (ssrc, highest, jitter) = from.reception.so_far()?;
        let nowhere = |peer: SocketAddr| Ends { local: peer, peer };
        let flow = Flow {
            heard: nowhere(source),
            said: nowhere(destination),
            ssrc,
            clock_hz,
            payload_types,
            dscp: 0,
            highest,
            jitter,
        };
        // What is left of a call whose codec has two numbers is not worth it.
        (payload_types >> in_use & 1 != 0).then_some((to_slot, flow))
    }

    fn leg_at(&self, slot: u32) -> Option<&Leg> {
        self.legs.get(slot as usize)?.as_deref()
    }
}

impl Leg {
    /// The latched source of a leg whose packets are as they are: no keys, no handshake, no ICE.
    fn plain_source(&self) -> Option<SocketAddr> {
        let is_plain = self.crypto.is_plain() && self.proof.is_none();
        self.setup.as_ref().filter(|_| is_plain)?;
        self.latch.source()
    }
}

fn leg_mut(legs: &mut [Option<Box<Leg>>], slot: u32) -> Option<&mut Leg> {
    legs.get_mut(slot as usize)?.as_deref_mut()
}

#[cfg(test)]
mod tests;

//! RTCP: the peer's reports are read and end here, and ours are written when they are due.
//!
//! Nothing is passed on. What one party reports is about what we sent it, under payload types, a source and losses that may not be
//! those of the other leg; and its CNAME can name a host that the border hides. Each party gets reports of ours instead.

use std::{cmp::Reverse, net::SocketAddr, time::Instant};

use postern_rtp::{control, rtcp};

use super::{Port, Relay, Verdict, leg, tell};
use crate::{latch::is_usable, leg::Leg};

impl Relay {
    /// Tells what time it is, in microseconds since 1970, for sender reports. Once is enough: they need a clock that runs evenly.
    pub fn set_clock(&mut self, now: Instant, unix_micros: u64) {
        self.clock = Some((now, control::ntp(unix_micros)));
    }

    fn ntp(&mut self, now: Instant) -> u64 {
        let (at, ntp) = *self.clock.get_or_insert((now, 0));
        let micros = now.saturating_duration_since(at).as_micros();
        ntp.wrapping_add(((micros << 32) / 1_000_000) as u64)
    }

    /// Takes what came as RTCP.
    pub(super) fn rtcp(
        &mut self,
        now: Instant,
        slot: u32,
        port: Port,
        source: SocketAddr,
        room: &mut [u8],
        len: usize,
    ) {
        let ntp = self.ntp(now);
        let Some(leg) = leg(&mut self.legs, slot).filter(|leg| leg.setup.is_some()) else {
            self.counts.dropped += 1;
            return;
        };
        if !leg.hears_rtcp(now, port, source) {
            self.counts.dropped += 1;
            let event = leg.stranger(now, source);
            event.into_iter().for_each(|event| tell(&mut self.events, &mut self.counts, event));
            return;
        }
        let opened = leg.crypto.open(room, len, true).ok();
        let Some(compound) = opened.and_then(|len| room.get(..len)).filter(|bytes| rtcp::check(bytes).is_ok()) else {
            self.counts.dropped += 1;
            leg.unreadable();
            return;
        };
        leg.figures.rtcp_received += 1;
        // A sign of life: who is muted with silence suppression may send nothing else for long.
        leg.heard = now;
        if port == Port::Rtcp {
            leg.rtcp_source = Some(source);
        }
        leg.control.handle_input((now, ntp), compound, &leg.sent);
    }

    /// Notes when a leg has to report.
    pub(super) fn plan_report(&mut self, slot: u32) {
        let due = leg(&mut self.legs, slot).and_then(|leg| leg.control.next_deadline());
        self.reports.extend(due.map(|at| Reverse((at, slot))));
    }

    /// Finds those who have to report by now. Asked with each part of a second, not at each deadline: a worker is not woken for it,
    /// and a twentieth of a second is nothing beside the spread of the interval.
    pub(super) fn reports_due(&mut self, now: Instant) {
        while let Some(&Reverse((at, slot))) = self.reports.peek().filter(|Reverse((at, _))| *at <= now) {
            self.reports.pop();
            if leg(&mut self.legs, slot).is_some_and(|leg| leg.control.next_deadline() == Some(at)) {
                self.reporting.push_back(slot);
            }
        }
    }

    /// Writes the next report.
    pub(super) fn poll_report(&mut self, now: Instant, room: &mut [u8]) -> Option<Verdict> {
        while let Some(slot) = self.reporting.pop_front() {
            let verdict = self.write_report(now, slot, room, false);
            self.plan_report(slot);
            if verdict.is_some() {
                return verdict;
            }
        }
        None
    }

    /// Writes the last report of a leg that is about to be closed, with a goodbye.
    pub fn goodbye(&mut self, now: Instant, slot: u32, room: &mut [u8]) -> Option<Verdict> {
        self.write_report(now, slot, room, true)
    }

    fn write_report(&mut self, now: Instant, slot: u32, room: &mut [u8], is_last: bool) -> Option<Verdict> {
        self.read_flows_of(now, slot);
        let time = (now, self.ntp(now));
        let leg = leg(&mut self.legs, slot)?;
        let metrics = leg.voip_metrics();
        let Leg { control, sent, reception, .. } = leg;
        // Written also when it can go nowhere, so that the next is planned.
        let len = match is_last {
            false => control.report(time, sent, reception, metrics, room)?,
            true => control.goodbye(time, sent, reception, metrics, room)?,
        };
        let (to, is_muxed) = leg.rtcp_destination()?;
        let len = leg.crypto.protect(room, len, true).ok()?;
        self.counts.packets_out += 1;
        let port = if is_muxed { Port::Rtp } else { Port::Rtcp };
        Some(Verdict::Send { slot, port, to, len })
    }
}

impl Leg {
    /// RTCP is heard from the source of RTP. On a port of its own from the described address, or, for behind NAT its port
    /// is not known, from the first port of the host that the leg is latched to.
    fn hears_rtcp(&self, now: Instant, port: Port, source: SocketAddr) -> bool {
        let Some(setup) = self.setup.as_ref().filter(|_| is_usable(&source)) else { return false };
        match (port, self.latch.source()) {
            (Port::Rtp, latched) => latched == Some(source) || self.is_proven(now, source),
            (Port::Rtcp, _) if source == setup.remote_rtcp || self.rtcp_bound() == Some(source) => true,
            (Port::Rtcp, Some(latched)) => source.ip() == latched.ip() && self.rtcp_bound().is_none(),
            (Port::Rtcp, None) => false,
        }
    }
}

#[cfg(test)]
mod tests;

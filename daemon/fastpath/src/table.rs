//! The flows of one thread: installed, read, removed.

use std::{sync::Arc, time::Duration};

use aya::maps::{Array, HashMap, MapData};
use nix::time::{ClockId, clock_gettime};

use crate::{
    layout::{Ends, Flow, RawEnds, RawFlow},
    program::Interfaces,
    routes::{Routes, Way},
};

/// BPF_F_LOCK: the kernel copies the value under the lock that the program counts under.
const LOCKED: u64 = 4;

/// What a flow has carried since it was installed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Figures {
    /// Packets forwarded.
    pub packets: u64,
    /// Their bytes: RTP header and payload.
    pub bytes: u64,
    /// How long ago the last came; none: none came.
    pub since_last: Option<Duration>,
    /// See [`Flow::highest`].
    pub highest: u64,
    /// See [`Flow::jitter`].
    pub jitter: u64,
    /// The RTP timestamp of the last packet.
    pub timestamp: u32,
}

/// Flows by slot, as whoever decides about them sees it. A trait, so that such decisions can be tested without a kernel.
pub trait Flows: Send {
    /// Packets of this flow are forwarded from now on. False: the kernel cannot, for want of a route that it could follow, say.
    fn install(&mut self, slot: u32, flow: &Flow) -> bool;
    /// The figures so far.
    fn read(&mut self, slot: u32) -> Figures;
    /// No packet that comes later is forwarded by this flow. Its last figures.
    fn remove(&mut self, slot: u32, heard: &Ends) -> Figures;
    /// Routes or interfaces changed: what was installed may go the wrong way.
    fn have_routes_changed(&mut self) -> bool;
}

/// A hand on the kernel's flows. See [`crate::FastPath::table`].
pub struct Table {
    slots: HashMap<MapData, RawEnds, u32>,
    flows: Array<MapData, RawFlow>,
    routes: Routes,
    interfaces: Arc<Interfaces>,
}

impl Table {
    pub(crate) fn new(
        slots: HashMap<MapData, RawEnds, u32>,
        flows: Array<MapData, RawFlow>,
        routes: Routes,
        interfaces: Arc<Interfaces>,
    ) -> Self {
        Self { slots, flows, routes, interfaces }
    }

    /// Where the flow's packets have to come in, and where they leave (0: to this host).
    ///
    /// They have to come in where an answer to them would leave: the kernel's own check of sources is passed by, so a source
    /// that is forged from elsewhere must not match. Who is on this host is reached over loopback only.
    fn ways(&mut self, flow: &Flow) -> Option<(u32, u32)> {
        let came = self.routes.way(flow.heard.local.ip(), flow.heard.peer.ip())?;
        let goes = self.routes.way(flow.said.local.ip(), flow.said.peer.ip())?;
        let ways = match (came, goes) {
            (Way::Here, Way::Here) => (self.interfaces.loopback(), 0),
            (Way::Here, Way::Through(to)) => (self.interfaces.loopback(), to),
            (Way::Through(from), Way::Through(to)) => (from, to),
            (Way::Through(_), Way::Here) => return None,
        };
        let is_served = |index: u32| self.interfaces.contains(index);
        (is_served(ways.0) && (ways.1 == 0 || is_served(ways.1))).then_some(ways)
    }

    fn figures(&self, slot: u32) -> Figures {
        let Ok(raw) = self.flows.get(&slot, LOCKED) else { return Figures::default() };
        let since = monotonic_ns().saturating_sub(raw.last_ns);
        Figures {
            packets: raw.packets,
            bytes: raw.bytes,
            since_last: (raw.packets > 0).then(|| Duration::from_nanos(since)),
            highest: raw.highest,
            jitter: raw.jitter,
            // Transit is the arrival by the stream's clock less the timestamp, as forward.c has it.
            timestamp: ticks(raw.last_ns - raw.began_ns.min(raw.last_ns), raw.clock_hz).wrapping_sub(raw.transit),
        }
    }
}

impl Flows for Table {
    fn install(&mut self, slot: u32, flow: &Flow) -> bool {
        if !flow.is_possible() {
            return false;
        }
        let Some((ingress, egress)) = self.ways(flow) else { return false };
        let heard = RawEnds::from(&flow.heard);
        let raw = RawFlow {
            ingress,
            egress,
            heard,
            said: RawEnds::from(&flow.said),
            ssrc: flow.ssrc.to_be_bytes(),
            clock_hz: flow.clock_hz,
            tos: (flow.dscp & 63) << 2,
            payload_types: [flow.payload_types as u64, (flow.payload_types >> 64) as u64],
            began_ns: monotonic_ns(),
            highest: flow.highest,
            jitter: flow.jitter,
            ..RawFlow::default()
        };
        // The flow first: as long as nothing leads to its slot nothing matches it.
        self.flows.set(slot, raw, LOCKED).is_ok() && self.slots.insert(heard, slot, 0).is_ok()
    }

    fn read(&mut self, slot: u32) -> Figures {
        self.figures(slot)
    }

    fn remove(&mut self, slot: u32, heard: &Ends) -> Figures {
        // Not there: it was never installed, or its map is as dead as the process will be.
        let _ = self.slots.remove(&RawEnds::from(heard));
        let figures = self.figures(slot);
        // A packet that found the slot on another core before it was taken away finds it empty.
        let _ = self.flows.set(slot, RawFlow::default(), LOCKED);
        figures
    }

    fn have_routes_changed(&mut self) -> bool {
        self.routes.have_changed()
    }
}

/// Ticks of an RTP clock, modulo 2^32.
fn ticks(ns: u64, clock_hz: u32) -> u32 {
    ((ns / 1000).wrapping_mul(u64::from(clock_hz)) / 1_000_000) as u32
}

/// The kernel's clock of `bpf_ktime_get_ns`.
fn monotonic_ns() -> u64 {
    clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(0, |time| Duration::from(time).as_nanos() as u64)
}

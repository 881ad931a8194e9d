//! What a packet costs on this machine: a worker of its own, on loopback, is flooded for a moment, and its CPU time read.
//!
//! It is the worker, ring and relay that calls have, with no call's packets: run before the first call, or by hand. CPU time, not the
//! clock's: who else wants the CPU lengthens a round and hardly changes its figure. Not measured: the network's card, keys, conversions.
//!
//! Sketch: a round of 25 ms is 5000 packets at 5 µs, five rounds; opening 256 legs takes 5 ms, ending them as long.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr, UdpSocket},
    sync::{Arc, atomic::Ordering},
    thread,
    time::Duration,
};

use nix::sys::resource::{Resource, getrlimit};
use postern_rtp::{Header, packet::HEADER_LEN};
use postern_srtp::dtls::Identity;
use postern_types::{CallSid, media::StreamSetup, stream::Format};
use postern_uring::{Bell, SocketOptions, bind};

use crate::{
    relay::Limits,
    tap::{self, Copies},
    worker::{self, Command, Handle, Sockets, Start, clock},
};

/// Packets a second that a leg's party sends, of 20 ms each.
pub const PACKETS_PER_LEG: f64 = 50.0;
/// Legs at the start of a daemon: beyond them the cost rises slowly (docs/PERFORMANCE.md), and opening them takes time.
pub const START_LEGS: usize = 256;
/// For how long at the start of a daemon.
pub const START_SPAN: Duration = Duration::from_millis(150);
/// Legs at most: two descriptors each.
pub const LEGS_MAX: usize = 4096;

/// An address that is local on every machine and that nobody else is likely to listen on: 127.0.0.1's ports are left to others.
const ADDRESS: Ipv4Addr = Ipv4Addr::new(127, 83, 66, 67);
/// Rounds that count, after one that latches the legs and warms caches. Their median is told: one that was disturbed says nothing.
const ROUNDS: u32 = 5;
/// Packets under way at most: what a socket's memory holds by the kernel's default.
const WINDOW: usize = 192;
/// Packets sent before looking at what came back.
const BURST: usize = 32;
/// For how long nothing comes back until what is under way counts as lost.
const LOST_AFTER: Duration = Duration::from_millis(5);
/// How long the worker may take to say its CPU time.
const PATIENCE: Duration = Duration::from_secs(2);
/// Bytes of G.711 in 20 ms.
const PAYLOAD_LEN: usize = 160;
const PACKET_LEN: usize = HEADER_LEN + PAYLOAD_LEN;

/// What was found.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Calibration {
    /// CPU time of a worker for a packet of a plain call, received and sent on by sockets, microseconds.
    pub us_per_packet: f64,
    /// With so many legs.
    pub legs: usize,
    /// Packets that were counted.
    pub packets: u64,
    /// How long it took, all together.
    pub took: Duration,
}

impl Calibration {
    /// What a leg takes of a worker's CPU whose party talks, thousandths.
    pub fn leg_permille(&self) -> f64 {
        self.us_per_packet * PACKETS_PER_LEG / 1000.0
    }

    /// Calls of two such legs that fit into so many thousandths of a worker's CPU.
    pub fn calls_in(&self, permille: f64) -> u64 {
        (permille / (2.0 * self.leg_permille())) as u64
    }
}

/// Measures on a worker pinned to `cpu`, with an even number of legs, fewer when descriptors are few, for about `span`. Errors are of
/// the system: no io_uring, no loopback interface, no thread.
pub fn calibrate(cpu: usize, legs: usize, span: Duration) -> io::Result<Calibration> {
    let began = clock();
    let mut stand = Stand::open(cpu, legs)?;
    let round = span / (ROUNDS + 1);
    stand.flood(round)?;
    let mut before = stand.reading()?;
    let (mut costs, mut packets) = (Vec::with_capacity(ROUNDS as usize), 0);
    for _ in 0..ROUNDS {
        stand.flood(round)?;
        let after = stand.reading()?;
        let (ns, count) = (after.0 - before.0, after.1 - before.1);
        if count > 0 {
            costs.push(ns as f64 / count as f64 / 1000.0);
        }
        packets += count;
        before = after;
    }
    costs.sort_by(f64::total_cmp);
    let Some(&us_per_packet) = costs.get(costs.len() / 2) else {
        return Err(io::Error::other("no packet came over the loopback interface"));
    };
    let legs = stand.targets.len();
    drop(stand);
    Ok(Calibration { us_per_packet, legs, packets, took: clock() - began })
}

/// A worker with its legs, and the one socket that speaks to all of them.
struct Stand {
    handle: Handle,
    load: UdpSocket,
    targets: Vec<SocketAddr>,
    /// Packets sent so far.
    sent: usize,
    under_way: usize,
    /// Nobody listens to copies, but the worker has an end of their queues.
    _copies: Copies,
}

impl Stand {
    fn open(cpu: usize, legs: usize) -> io::Result<Self> {
        let (taps, copies) = tap::queues();
        let start = Start {
            cpu,
            slots: LEGS_MAX,
            limits: Limits { latch_window: PATIENCE, timeout: Duration::from_secs(3600) },
            seed: 0,
            identity: Arc::new(Identity::generate().map_err(io::Error::other)?),
            flows: None,
            wake: Bell::new()?,
            taps,
        };
        let handle = worker::start(start)?;
        let load = bind((ADDRESS, 0).into(), &SocketOptions::MEDIA)?;
        load.set_nonblocking(true)?;
        let remote = load.local_addr()?;
        let mut stand = Self { handle, load, targets: Vec::new(), sent: 0, under_way: 0, _copies: copies };
        // A quarter of the descriptors at most: the daemon opens its files meanwhile.
        let descriptors = getrlimit(Resource::RLIMIT_NOFILE).map_or(1024, |(soft, _)| soft) as usize;
        for slot in 0..legs.min(LEGS_MAX).min(descriptors / 8).max(2) & !1 {
            let any = SocketAddr::from((ADDRESS, 0));
            let sockets = Sockets { rtp: bind(any, &SocketOptions::MEDIA)?, rtcp: bind(any, &SocketOptions::MEDIA)? };
            stand.targets.push(sockets.rtp.local_addr()?);
            let (slot, setup) = (slot as u32, Box::new(StreamSetup::plain(remote, Format::pcma())));
            stand.tell(Command::Open { slot, leg: CallSid(slot.into()), sockets })?;
            stand.tell(Command::Configure { slot, setup })?;
            if slot % 2 == 1 {
                stand.tell(Command::Bridge { a: slot - 1, b: slot })?;
            }
        }
        stand.handle.bell.ring();
        Ok(stand)
    }

    fn tell(&self, command: Command) -> io::Result<()> {
        // Blocks while the queue is full; the worker takes all that is there once it was rung.
        self.handle.commands.send(command).map_err(|_| io::Error::other("the media worker ended"))
    }

    /// As many packets as the worker passes on, for so long.
    fn flood(&mut self, span: Duration) -> io::Result<()> {
        let end = clock() + span;
        let mut progress = clock();
        loop {
            let now = clock();
            if now >= end {
                return Ok(());
            }
            if self.under_way + BURST <= WINDOW {
                (0..BURST).for_each(|_| self.send());
            }
            if self.take() {
                progress = now;
            } else if now.saturating_duration_since(progress) > LOST_AFTER {
                (self.under_way, progress) = (0, now);
            } else {
                // On a machine with one CPU the worker would otherwise not have a turn.
                thread::yield_now();
            }
        }
    }

    fn send(&mut self) {
        let turn = self.sent / self.targets.len();
        let header = Header {
            marker: false,
            payload_type: 8,
            sequence: turn as u16,
            timestamp: (turn as u32).wrapping_mul(PAYLOAD_LEN as u32),
            ssrc: 1,
            payload_start: HEADER_LEN,
            padded: false,
        };
        let mut packet = [0xd5; PACKET_LEN];
        header.write(packet.first_chunk_mut().expect("it is longer than a header"));
        // What does not fit the other's socket is lost, and made up for.
        let sent = self.load.send_to(&packet, self.targets[self.sent % self.targets.len()]).is_ok();
        self.sent += 1;
        self.under_way += usize::from(sent);
    }

    /// Takes what came back; whether anything did.
    fn take(&mut self) -> bool {
        let mut bytes = [0; PACKET_LEN];
        let came = std::iter::from_fn(|| self.load.recv(&mut bytes).ok()).take(WINDOW).count();
        self.under_way = self.under_way.saturating_sub(came);
        came > 0
    }

    /// The worker's CPU time so far, nanoseconds, and the packets that it took.
    fn reading(&mut self) -> io::Result<(u64, u64)> {
        let shared = self.handle.shared.clone();
        let before = shared.cpu_readings.load(Ordering::Acquire);
        self.tell(Command::Meter)?;
        self.handle.bell.ring();
        let limit = clock() + PATIENCE;
        while shared.cpu_readings.load(Ordering::Acquire) == before {
            if clock() > limit || shared.ended.load(Ordering::Acquire) {
                return Err(io::Error::other("the media worker did not answer"));
            }
            thread::yield_now();
        }
        Ok((shared.cpu_ns.load(Ordering::Relaxed), shared.cpu_packets.load(Ordering::Relaxed)))
    }
}

impl Drop for Stand {
    fn drop(&mut self) {
        self.handle.end();
        self.handle.join();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packet_costs_something_and_all_legs_are_heard() {
        let found = calibrate(0, 8, Duration::from_millis(60)).expect("a worker on loopback");
        assert!(found.us_per_packet > 0.1 && found.us_per_packet < 10_000.0, "{found:?}");
        assert!((found.legs, found.packets > 8) == (8, true), "{found:?}");
    }

    #[test]
    fn calls_follow_from_the_cost_of_a_packet() {
        let found = Calibration { us_per_packet: 5.0, legs: 2, packets: 1, took: Duration::ZERO };
        // 50 packets of 5 µs: a quarter of a thousandth.
        assert_eq!((found.leg_permille(), found.calls_in(950.0)), (0.25, 1900));
        assert_eq!(found.calls_in(-3.0), 0);
    }
}

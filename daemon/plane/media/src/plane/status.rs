//! How the plane is, for people and metrics.

use std::{sync::atomic::Ordering, time::Instant};

use postern_types::stream::Libraries;

use super::{MediaPlane, crew::Worker};
use crate::{ports::Ports, worker::Shared};

/// How the plane is. Counters run since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Status {
    /// Open streams.
    pub streams: u64,
    /// Port pairs that may be taken now; those that rest after use are not counted. True to a second.
    pub ports_free: u64,
    /// Port pairs in use.
    pub ports_used: u64,
    /// Packets that came in.
    pub packets_in: u64,
    /// Packets that went out.
    pub packets_out: u64,
    /// Of both, those that the kernel forwarded by itself, up to a second ago.
    pub forwarded: u64,
    /// Directions of calls that the kernel forwards by itself now.
    pub flows: u64,
    /// Packets that came in and could not be used.
    pub dropped: u64,
    /// CPU time of the workers, microseconds for each packet that came to them.
    pub us_per_packet: f64,
    /// The busiest worker's share of its CPU in the last second, per cent.
    pub busy_percent: f64,
    /// Commands that wait for a worker.
    pub commands_waiting: u64,
    /// Commands that were given up because too many waited.
    pub commands_lost: u64,
    /// Events that were given up because nobody fetched them.
    pub events_lost: u64,
    /// Packets that the kernel did not send: no route, the peer's port is closed, a full socket.
    pub send_errors: u64,
    /// Times that packets waited in their sockets because every buffer was in use.
    pub receive_starved: u64,
    /// Packets longer than a buffer, dropped.
    pub truncated: u64,
    /// Times that a worker ended by itself. The legs that it had were told as timed out; it is started again with a later call.
    pub workers_failed: u64,
    /// Workers at work.
    pub workers: u64,
}

impl Status {
    /// The counters of one worker.
    pub(super) fn add(&mut self, worker: &Shared) {
        self.packets_in += worker.packets_in.load(Ordering::Relaxed);
        self.packets_out += worker.packets_out.load(Ordering::Relaxed);
        self.forwarded += worker.forwarded.load(Ordering::Relaxed);
        self.flows += worker.flows.load(Ordering::Relaxed);
        self.dropped += worker.dropped.load(Ordering::Relaxed);
        self.events_lost += worker.events_lost.load(Ordering::Relaxed);
        self.send_errors += worker.send_errors.load(Ordering::Relaxed);
        self.receive_starved += worker.starved.load(Ordering::Relaxed);
        self.truncated += worker.truncated.load(Ordering::Relaxed);
    }
}

impl MediaPlane {
    fn ports_free(&self, now: Instant) -> usize {
        self.ports.values().map(|ports| ports.free(now)).sum()
    }

    /// What this machine has of the codecs that are libraries of the system.
    pub fn libraries(&self) -> Libraries {
        postern_audio::codec::libraries()
    }

    /// How the plane is.
    pub fn status(&self) -> Status {
        let clock = self.workers.iter().map(|worker| worker.handle.clock()).max();
        let resting = || self.workers.iter().flat_map(|worker| worker.resting.values().flatten());
        let rested = |now| resting().filter(|(until, _)| *until <= now).count() + self.ports_free(now);
        let used: usize = self.ports.values().map(Ports::used).sum();
        let mut status = Status {
            streams: self.legs.len() as u64,
            ports_free: clock.map_or(0, |now| rested(now) as u64),
            ports_used: (used - resting().count().min(used)) as u64,
            commands_lost: self.commands_lost,
            ..self.past
        };
        let (mut cpu_ns, mut cpu_packets) = (0, 0);
        for worker in &self.workers {
            let shared = &worker.handle.shared;
            status.add(shared);
            status.commands_waiting += worker.waiting.len() as u64;
            status.workers += u64::from(!worker.has_failed());
            cpu_ns += shared.cpu_ns.load(Ordering::Relaxed);
            cpu_packets += shared.cpu_packets.load(Ordering::Relaxed);
        }
        status.busy_percent = self.workers.iter().map(Worker::busy).max().unwrap_or(0) as f64 / 10.0;
        if cpu_packets > 0 {
            status.us_per_packet = cpu_ns as f64 / cpu_packets as f64 / 1000.0;
        }
        status
    }
}

//! The workers from the switch's side: what waits for each, what it has, how busy it is.

use std::{
    collections::{HashMap, VecDeque},
    hash::{BuildHasher, RandomState},
    io,
    sync::{Arc, atomic::Ordering, mpsc::TrySendError},
    time::Instant,
};

use postern_fastpath::Flows;
use postern_srtp::dtls::Identity;
use postern_uring::Bell;

use super::{LEGS_MAX, PortsKey, admission::Young};
use crate::{
    relay::Limits,
    tap::Spouts,
    worker::{self, Command, Handle, Start},
};

/// A worker, as the plane has it.
pub(super) struct Worker {
    pub(super) handle: Handle,
    pub(super) cpu: usize,
    /// When it was started, or tried to, last.
    pub(super) started: Instant,
    /// Bounded by [`MediaPlane::tell`].
    pub(super) waiting: VecDeque<Command>,
    pub(super) streams: usize,
    pub(super) young: Young,
    /// Slots whose leg is over and whose sockets are kept for another: what a call's four sockets cost is a sixth of the whole.
    /// Those of a port table in the order in which they may be used again, with the time.
    pub(super) resting: HashMap<PortsKey, VecDeque<(Instant, u32)>>,
    /// It has ended, and all that it said was heard.
    pub(super) over: bool,
}

impl Worker {
    /// Sends it what waits, and rings once.
    pub(super) fn flush(&mut self) {
        let mut sent = false;
        while let Some(command) = self.waiting.pop_front() {
            match self.handle.commands.try_send(command) {
                Ok(()) => sent = true,
                Err(TrySendError::Full(command)) => {
                    self.waiting.push_front(command);
                    break;
                }
                // The worker is gone; so are its sockets.
                Err(TrySendError::Disconnected(_)) => {}
            }
        }
        if sent && !self.handle.shared.rung.swap(true, Ordering::SeqCst) {
            self.handle.bell.ring();
        }
    }

    /// It gets a leg.
    pub(super) fn take_leg(&mut self, now: Instant) {
        self.streams += 1;
        self.young.opened(now);
    }

    /// A thousandth of its CPU each, of the last second.
    pub(super) fn busy(&self) -> u64 {
        self.handle.shared.busy_permille.load(Ordering::Relaxed)
    }

    /// Slots of this port table that may be used again.
    pub(super) fn rested(&self, key: &PortsKey, now: Instant) -> usize {
        self.resting.get(key).map_or(0, |pile| pile.partition_point(|(until, _)| *until <= now))
    }

    /// Whether its thread has ended.
    pub(super) fn has_failed(&self) -> bool {
        self.handle.shared.ended.load(Ordering::Acquire)
    }
}

/// Starts the thread of one.
pub(super) fn start_worker(
    cpu: usize,
    limits: Limits,
    identity: &Arc<Identity>,
    flows: Option<Box<dyn Flows>>,
    wake: &Bell,
    taps: &Spouts,
) -> io::Result<Handle> {
    let seed = RandomState::new().hash_one(cpu);
    let (identity, wake, taps) = (identity.clone(), wake.try_clone()?, taps.clone());
    worker::start(Start { cpu, slots: LEGS_MAX, limits, seed, identity, flows, wake, taps })
}

//! The switch's side of the media plane: ports, placement on workers, commands down and events up.

use std::{
    collections::{HashMap, VecDeque},
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use postern_config::{Config, Realm};
use postern_srtp::dtls::Identity;
use postern_types::{
    CallSid, Now, RealmName,
    media::{MediaCommand, MediaEvent, StreamReport},
};
use postern_uring::{Bell, SocketOptions, bind};

use crate::{
    calibrate::Calibration,
    ports::Ports,
    relay::Limits,
    tap::{self, Copies, Spouts},
    worker::{Command, Sockets, Up},
};

mod admission;
mod crew;
mod kept;
mod kernel;
mod seating;
mod status;
pub use admission::Room;
use admission::{Young, expected, refusal};
use crew::{Worker, start_worker};
use kernel::Kernel;
pub use kernel::KernelPart;
use seating::Seating;
pub use status::Status;

/// Legs at once. Two descriptors each: more than most machines allow a process to open.
pub const LEGS_MAX: usize = 16384;
/// Commands that wait for one worker beyond its queue. A leg is not opened when half are waiting, so that those of the
/// legs that exist have room, unless it is an emergency call's; beyond all of it only `Close` is taken.
pub const WAITING_MAX: usize = 65536;
/// How long a worker that ended must have run, or have been tried, before it is started again: what ends it at once
/// would otherwise have the switch do nothing but start it.
const RESTART_EVERY: Duration = Duration::from_secs(5);
/// Port pairs tried for one leg when others hold them.
const PORT_TRIES: usize = 64;
/// Workers count as equally busy within this many thousandths: then the number of their streams decides.
const BUSY_STEP: u64 = 100;
/// Slots that rest with their sockets at most: with a quarantine of five seconds, those of 800 calls a second, and 40 MB
/// of the kernel's memory. Beyond it sockets are closed.
const RESTING_MAX: usize = 8192;
/// Fewer that rest are not used again: the ports of a box at peace keep the order that outsiders cannot foresee.
const RESTING_MIN: usize = 64;
/// Descriptors that are left to the rest of the daemon.
const OTHER_DESCRIPTORS: usize = 256;
/// How long sockets that nobody needs any more are kept.
const RESTING_FOR: Duration = Duration::from_secs(30);

/// The media plane, as the switch holds it.
pub struct MediaPlane {
    workers: Vec<Worker>,
    realms: HashMap<RealmName, Realm>,
    ports: HashMap<PortsKey, Ports>,
    /// The certificate that all legs key by, made at start.
    identity: Arc<Identity>,
    quarantine: Duration,
    /// As [`Worker::busy`] says it: beyond it only what is urgent is taken.
    busy_max: u64,
    /// Whether the last ports and slots are kept for emergency calls.
    keeps: bool,
    calibration: Option<Calibration>,
    slots: Vec<Option<Stream>>,
    free_slots: Vec<u32>,
    legs: HashMap<CallSid, u32>,
    /// Bridges that wait for a leg to arrive at the other's worker.
    bridges: Vec<(u32, u32)>,
    /// Who is in which room.
    seating: Seating,
    events: VecDeque<MediaEvent>,
    commands_lost: u64,
    /// A worker has ended, and streams may be of it that were not told.
    unmourned: bool,
    limits: Limits,
    kernel: Kernel,
    wake: Bell,
    /// What workers that ended had counted.
    past: Status,
    /// Slots that rest or will.
    resting: usize,
    /// Slots for which there are descriptors.
    slots_max: usize,
    /// Configurations taken since the start.
    reloads: u32,
    /// Where workers put copies, and the end for who reads them.
    taps: Spouts,
    tapped: Option<Copies>,
}

/// A port table: a realm's, for IPv6 or not.
type PortsKey = (RealmName, bool);

struct Stream {
    leg: CallSid,
    ports: PortsKey,
    port: u16,
    /// Where it is, or is on its way to.
    worker: usize,
    /// Where it is, or set out from.
    home: usize,
    /// The worker that it was opened on, and when.
    born: (usize, Instant),
    /// On its way: what is to be said to it on arrival.
    held: Option<Vec<Command>>,
    /// When it was asked to close.
    closing: Option<Instant>,
    rest: Rest,
    /// Under which configuration it was opened: its sockets serve no leg of a later one.
    reloads: u32,
    /// The end of its worker was told.
    mourned: bool,
}

/// What becomes of a slot's sockets after its leg.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Rest {
    /// They are closed.
    No,
    /// They will be kept.
    Wanted,
    /// They are kept: among its worker's `resting`, or just called from there to be closed.
    Kept,
}

impl MediaPlane {
    /// Starts the workers; `wake` is rung whenever [`MediaPlane::poll_event`] has something. Raises the process's soft
    /// limit of open descriptors to the hard one. Workers are fixed from here on: a reload does not change them.
    pub fn start(config: &Config, wake: Bell) -> io::Result<Self> {
        let descriptors = raise_descriptors();
        let identity = Arc::new(Identity::generate().map_err(io::Error::other)?);
        let limits = limits(config);
        let mut kernel = Kernel::default();
        kernel.follow(config).map_err(|why| io::Error::other(format!("media.fast_path is required: {why}")))?;
        let (taps, tapped) = tap::queues();
        let workers = worker_cpus(config).into_iter().map(|cpu| {
            let handle = start_worker(cpu, limits, &identity, kernel.table(), &wake, &taps)?;
            let started = handle.began;
            let (waiting, resting, young) = (VecDeque::new(), HashMap::new(), Young::default());
            Ok(Worker { handle, cpu, started, waiting, streams: 0, young, resting, over: false })
        });
        let mut plane = Self {
            workers: workers.collect::<io::Result<_>>()?,
            realms: HashMap::new(),
            ports: HashMap::new(),
            identity,
            quarantine: config.media.quarantine,
            busy_max: u64::from(config.media.busy_max) * 10,
            keeps: config.has_emergencies(),
            calibration: None,
            slots: std::iter::repeat_with(|| None).take(LEGS_MAX).collect(),
            free_slots: (0..LEGS_MAX as u32).rev().collect(),
            legs: HashMap::new(),
            bridges: Vec::new(),
            seating: Seating::default(),
            events: VecDeque::new(),
            commands_lost: 0,
            unmourned: false,
            limits,
            kernel,
            wake,
            past: Status::default(),
            resting: 0,
            slots_max: LEGS_MAX.min(descriptors.saturating_sub(OTHER_DESCRIPTORS) / 2),
            reloads: 0,
            taps,
            tapped: Some(tapped),
        };
        plane.take_realms(config);
        Ok(plane)
    }

    /// The copies of all taps, for those who listen; once.
    pub fn take_tapped(&mut self) -> Option<Copies> {
        self.tapped.take()
    }

    /// What this machine cannot do, in words for a person.
    pub fn notices(&self) -> impl Iterator<Item = &'static str> + '_ {
        self.workers.iter().flat_map(|worker| worker.handle.notices.iter().copied())
    }

    /// Applies a new configuration: realms, port ranges, times. Open streams keep their ports.
    pub fn reconfigure(&mut self, config: &Config) {
        self.quarantine = config.media.quarantine;
        self.busy_max = u64::from(config.media.busy_max) * 10;
        self.keeps = config.has_emergencies();
        self.limits = limits(config);
        self.reloads += 1;
        for worker in 0..self.workers.len() {
            let resting = std::mem::take(&mut self.workers[worker].resting);
            for (_, slot) in resting.into_values().flatten() {
                self.tell(worker, Command::Close { slot, keep: false });
            }
        }
        self.take_realms(config);
        // A reload does not fail for want of it: a daemon that is up stays up, and says so.
        let is_new = self.kernel.follow(config).unwrap_or(true);
        for worker in 0..self.workers.len() {
            self.tell(worker, Command::Limits(self.limits));
            if is_new {
                self.tell(worker, Command::Flows(self.kernel.table()));
            }
        }
        self.workers.iter_mut().for_each(Worker::flush);
    }

    fn take_realms(&mut self, config: &Config) {
        let mut before = std::mem::take(&mut self.ports);
        for (name, realm) in &config.realms {
            let v4 = realm.media.ipv4.map(IpAddr::V4);
            let v6 = realm.media.ipv6.map(IpAddr::V6);
            for address in v4.into_iter().chain(v6) {
                let key = (name.clone(), address.is_ipv6());
                let ports = match before.remove(&key) {
                    Some(ports) if ports.address() == address => ports.changed(&realm.media),
                    _ => Ports::new(address, &realm.media),
                };
                self.ports.insert(key, ports);
            }
        }
        self.realms = config.realms.iter().map(|(name, realm)| (name.clone(), realm.clone())).collect();
    }

    /// Carries a command out and tells its worker at once.
    pub fn command(&mut self, now: Now, command: MediaCommand) {
        self.queue(now, command);
        self.workers.iter_mut().for_each(Worker::flush);
    }

    /// Takes a command; its worker is told by the next [`MediaPlane::poll_event`]. A command for a leg that is not open is
    /// ignored.
    pub fn queue(&mut self, now: Now, command: MediaCommand) {
        match command {
            MediaCommand::Open { leg, realm, ipv6, urgent } => {
                if self.legs.contains_key(&leg) {
                    return;
                }
                let event = self
                    .open(now, leg, (realm, ipv6), urgent)
                    .unwrap_or_else(|why| MediaEvent::OpenFailed { leg, why });
                self.events.push_back(event);
            }
            MediaCommand::Configure { leg, setup } => {
                self.say(leg, |slot| Command::Configure { slot, setup });
            }
            MediaCommand::Bridge { a, b } => self.bridge(a, b),
            MediaCommand::Join { room, leg, part } => self.join(room, leg, part),
            MediaCommand::Leave { leg } => self.leave(leg),
            MediaCommand::Chime { room, sound } => self.tell_room(room, Command::Chime { room, sound }),
            MediaCommand::WatchRoom { room } => self.tell_room(room, Command::WatchRoom { room }),
            MediaCommand::TapRoom { room, tap } => self.tell_room(room, Command::TapRoom { room, tap }),
            MediaCommand::UntapRoom { room, tap } => self.tell_room(room, Command::UntapRoom { room, tap }),
            MediaCommand::Unbridge { leg } => {
                if let Some(&slot) = self.legs.get(&leg) {
                    self.bridges.retain(|&(a, b)| a != slot && b != slot);
                }
                self.say(leg, |slot| Command::Unbridge { slot });
            }
            MediaCommand::Play { leg, play, prompt, times } => {
                self.say(leg, |slot| Command::Play { slot, play, prompt, times });
            }
            MediaCommand::StopPlay { leg } => self.say(leg, |slot| Command::StopPlay { slot }),
            MediaCommand::Press { leg, digit, duration_ms } => {
                if let Some(code) = postern_rtp::event::code_of(digit) {
                    self.say(leg, |slot| Command::Press { slot, code, duration_ms });
                }
            }
            MediaCommand::Tap { leg, tap, to, inbound, outbound } => {
                self.say(leg, |slot| Command::Tap { slot, tap, to, inbound, outbound });
            }
            MediaCommand::Untap { leg, tap } => self.say(leg, |slot| Command::Untap { slot, tap }),
            MediaCommand::Close { leg } => {
                // When slots get short sockets are closed, so that every worker and realm can have them.
                let keep = self.resting < RESTING_MAX && self.slots_used() < self.slots_max / 4 * 3;
                self.say(leg, |slot| Command::Close { slot, keep });
                let Some(slot) = self.legs.remove(&leg) else { return };
                self.bridges.retain(|&(a, b)| a != slot && b != slot);
                self.seating.rise(slot);
                if let Some(stream) = self.slots[slot as usize].as_mut() {
                    stream.closing = Some(now.instant);
                    let (worker, opened) = stream.born;
                    self.workers[worker].young.closed(opened);
                    if keep {
                        stream.rest = Rest::Wanted;
                        self.resting += 1;
                    }
                }
                self.look_for_lost();
            }
        }
    }

    fn open(&mut self, now: Now, leg: CallSid, key: PortsKey, urgent: bool) -> Result<MediaEvent, String> {
        self.revive(now.instant);
        let are_slots_short = self.slots_used() >= self.slots_max;
        let ipv6 = key.1;
        let family = if ipv6 { "IPv6" } else { "IPv4" };
        if !urgent && let Some(why) = self.kept(now, &key) {
            return Err(why);
        }
        let realm = self.realms.get(&key.0).ok_or_else(|| format!("no realm {}", key.0))?;
        let (advertised, options) = (realm.advertised, SocketOptions::MEDIA.marked(realm.media.dscp.code()));
        let ports = self.ports.get_mut(&key).ok_or_else(|| format!("realm {} has no {family} media address", key.0))?;
        let alive = self.workers.iter_mut().enumerate().filter(|(_, worker)| !worker.has_failed());
        // With no port or slot left, those that rest are the only ones to be had.
        let is_short = are_slots_short || !ports.has_free(now.instant);
        let (busy_max, calibration) = (self.busy_max, self.calibration.as_ref());
        let busy = |worker: &Worker| expected(worker, calibration, busy_max, now.instant);
        let rank = |worker: &Worker| {
            let busy = busy(worker);
            (is_short && worker.rested(&key, now.instant) == 0, busy > busy_max, busy / BUSY_STEP, worker.streams)
        };
        let (worker, chosen) = alive.min_by_key(|(_, worker)| rank(worker)).ok_or("no media worker is alive")?;
        if let Some(why) = refusal(chosen, busy(chosen), busy_max).filter(|_| !urgent) {
            return Err(why);
        }
        if chosen.waiting.len() >= WAITING_MAX / 2 && !urgent {
            return Err("the media workers are overloaded".into());
        }
        let address = ports.address();
        let shown = advertised.filter(|_| !ipv6).map_or(address, IpAddr::V4);
        let fingerprint = Some(self.identity.fingerprint());
        let opened = |port: u16| {
            let (rtp, rtcp) = (SocketAddr::new(shown, port), SocketAddr::new(shown, port + 1));
            MediaEvent::Opened { leg, rtp, rtcp, fingerprint }
        };
        let few = if is_short { 0 } else { RESTING_MIN };
        if let Some(pile) = chosen.resting.get_mut(&key).filter(|pile| pile.len() > few)
            && let Some((_, slot)) = pile.pop_front_if(|(until, _)| *until <= now.instant)
            && let Some(stream) = self.slots[slot as usize].as_mut()
        {
            chosen.take_leg(now.instant);
            let born = (worker, now.instant);
            *stream =
                Stream { leg, born, rest: Rest::No, closing: None, mourned: false, held: None, ports: key, ..*stream };
            let port = stream.port;
            self.resting -= 1;
            self.legs.insert(leg, slot);
            self.tell(worker, Command::Reopen { slot, leg });
            return Ok(opened(port));
        }
        let slot = *self.free_slots.last().ok_or("too many streams")?;
        for _ in 0..PORT_TRIES {
            let port = ports
                .take(now.instant)
                .ok_or_else(|| format!("realm {}: all {family} media ports are in use", key.0))?;
            let rtp = SocketAddr::new(address, port);
            let rtcp = SocketAddr::new(address, port + 1);
            let bound = bind(rtp, &options).and_then(|one| Ok((one, bind(rtcp, &options)?)));
            let (rtp_socket, rtcp_socket) = match bound {
                Ok(sockets) => sockets,
                Err(e) if e.kind() == io::ErrorKind::AddrInUse => {
                    ports.give_back(now.instant, port, self.quarantine);
                    continue;
                }
                Err(e) => {
                    ports.give_back(now.instant, port, Duration::ZERO);
                    return Err(format!("cannot open {rtp}: {e}"));
                }
            };
            self.free_slots.pop();
            chosen.take_leg(now.instant);
            self.slots[slot as usize] = Some(Stream {
                leg,
                ports: key,
                port,
                worker,
                home: worker,
                born: (worker, now.instant),
                held: None,
                closing: None,
                rest: Rest::No,
                reloads: self.reloads,
                mourned: false,
            });
            self.legs.insert(leg, slot);
            self.tell(worker, Command::Open { slot, leg, sockets: Sockets { rtp: rtp_socket, rtcp: rtcp_socket } });
            return Ok(opened(port));
        }
        Err(format!("realm {}: {PORT_TRIES} media ports in a row are held by other programs", key.0))
    }

    /// Starts workers again that have ended, once nothing of theirs is left: not sooner, so that a slot of the old is never
    /// one of the new. Takes some milliseconds, which a new call can spare.
    fn revive(&mut self, now: Instant) {
        for at in 0..self.workers.len() {
            let worker = &self.workers[at];
            let resting = now.saturating_duration_since(worker.started) < RESTART_EVERY;
            if !worker.over || resting || self.slots.iter().flatten().any(|s| s.home == at || s.worker == at) {
                continue;
            }
            self.workers[at].started = now;
            // Refused: as dead as before; the next call after a while tries again.
            let flows = self.kernel.table();
            if let Ok(handle) =
                start_worker(self.workers[at].cpu, self.limits, &self.identity, flows, &self.wake, &self.taps)
            {
                let worker = &mut self.workers[at];
                self.past.add(&worker.handle.shared);
                worker.handle = handle;
                worker.waiting.clear();
                worker.over = false;
            }
        }
    }

    fn bridge(&mut self, a: CallSid, b: CallSid) {
        let (Some(&a), Some(&b)) = (self.legs.get(&a), self.legs.get(&b)) else { return };
        if a == b {
            return;
        }
        self.bridges.retain(|&(one, other)| ![one, other].iter().any(|slot| [a, b].contains(slot)));
        [a, b].into_iter().for_each(|slot| self.seating.rise(slot));
        let (Some(to), Some(from)) = (self.stream(a).map(|s| s.worker), self.stream(b).map(|s| s.worker)) else {
            return;
        };
        if to != from {
            self.moves(b, from, to);
        }
        self.bridges.push((a, b));
        self.build_bridges();
        self.look_for_lost();
    }

    /// Sends a leg to another worker: a packet never leaves its worker, so both legs of a bridge live on one.
    fn moves(&mut self, slot: u32, from: usize, to: usize) {
        let Some(stream) = self.stream(slot) else { return };
        stream.worker = to;
        if stream.held.is_none() {
            stream.held = Some(Vec::new());
            self.tell(from, Command::Yield { slot });
        }
        self.workers[from].streams -= 1;
        self.workers[to].streams += 1;
    }

    /// Bridges whose two legs have arrived.
    fn build_bridges(&mut self) {
        for (a, b) in std::mem::take(&mut self.bridges) {
            let arrived = |slot: u32| self.slots[slot as usize].as_ref().filter(|s| s.held.is_none()).map(|s| s.worker);
            match (arrived(a), arrived(b)) {
                (Some(one), Some(other)) if one == other => self.tell(one, Command::Bridge { a, b }),
                _ => self.bridges.push((a, b)),
            }
        }
    }

    fn stream(&mut self, slot: u32) -> Option<&mut Stream> {
        self.slots.get_mut(slot as usize)?.as_mut()
    }

    fn say(&mut self, leg: CallSid, command: impl FnOnce(u32) -> Command) {
        let Some(&slot) = self.legs.get(&leg) else { return };
        let command = command(slot);
        let Some(stream) = self.stream(slot) else { return };
        match &mut stream.held {
            // A move takes two turns of a ring: what comes meanwhile is little. Should it not be, the oldest stay.
            Some(held) if held.len() < HELD_MAX || matches!(command, Command::Close { .. }) => held.push(command),
            Some(_) => self.commands_lost += 1,
            None => {
                let worker = stream.worker;
                self.tell(worker, command);
            }
        }
    }

    fn tell(&mut self, worker: usize, command: Command) {
        let worker = &mut self.workers[worker];
        let keep = matches!(command, Command::Close { .. } | Command::Yield { .. } | Command::Adopt { .. });
        if worker.waiting.len() >= WAITING_MAX && !keep {
            self.commands_lost += 1;
        } else {
            worker.waiting.push_back(command);
        }
    }

    /// The next answer to a command that needed no worker: `Opened`, `OpenFailed`. With [`MediaPlane::queue`] for a caller
    /// that asks [`MediaPlane::poll_event`] at the end of its turn: a worker is then woken once a turn, not for each command.
    pub fn poll_answer(&mut self) -> Option<MediaEvent> {
        self.events.pop_front()
    }

    /// Streams of a worker that ended by itself: the open ones are told as timed out, the closing ones are closed without
    /// figures.
    fn bury_failed(&mut self) {
        self.workers.iter_mut().filter(|worker| worker.over).for_each(|worker| worker.resting.clear());
        for at in 0..self.slots.len() {
            let Some(stream) = self.slots[at].as_mut().filter(|s| self.workers[s.home].over) else { continue };
            let (leg, rest) = (stream.leg, stream.rest);
            if let Some(asked) = stream.closing {
                self.closed(at as u32, asked, false);
                if rest == Rest::Kept {
                    continue;
                }
                self.events.push_back(MediaEvent::Closed { leg, report: Box::new(StreamReport::default()) });
            } else if !std::mem::replace(&mut stream.mourned, true) {
                self.events.push_back(MediaEvent::TimedOut { leg, silent: Duration::ZERO });
            }
        }
    }

    /// After a change that may concern a worker that ended. The looking is left to `poll_event`.
    fn look_for_lost(&mut self) {
        self.unmourned |= self.workers.iter().any(|worker| worker.over);
    }

    fn closed(&mut self, slot: u32, at: Instant, kept: bool) {
        let Some(stream) = self.slots.get_mut(slot as usize).and_then(Option::as_mut) else { return };
        let worker = &mut self.workers[stream.worker];
        if stream.rest != Rest::Kept {
            worker.streams -= 1;
            self.legs.remove(&stream.leg);
        }
        if kept {
            stream.rest = Rest::Kept;
            let mut unwanted = Some(slot);
            if stream.reloads == self.reloads {
                let pile = worker.resting.entry(stream.ports.clone()).or_default();
                pile.push_back((at + self.quarantine, slot));
                unwanted = pile.pop_front_if(|(until, _)| *until + RESTING_FOR <= at).map(|(_, slot)| slot);
            }
            if let Some(slot) = unwanted {
                let worker = stream.worker;
                self.tell(worker, Command::Close { slot, keep: false });
            }
            return;
        }
        self.resting -= usize::from(stream.rest != Rest::No);
        if let Some(ports) = self.ports.get_mut(&stream.ports) {
            ports.give_back(at, stream.port, self.quarantine);
        }
        self.slots[slot as usize] = None;
        self.free_slots.push(slot);
    }

    /// The next event; call until none.
    pub fn poll_event(&mut self) -> Option<MediaEvent> {
        loop {
            if let Some(event) = self.events.pop_front() {
                return Some(event);
            }
            self.workers.iter_mut().for_each(Worker::flush);
            let Some(up) = self.hear() else {
                if !std::mem::take(&mut self.unmourned) {
                    return None;
                }
                self.bury_failed();
                continue;
            };
            match up {
                Up::Event(event) => {
                    // What was under way when the leg was closed is of no use any more.
                    if self.legs.contains_key(&event.leg()) {
                        return Some(event);
                    }
                }
                Up::Closed { slot, at, kept, event } => {
                    self.closed(slot, at, kept);
                    if event.is_some() {
                        return event;
                    }
                }
                Up::Yielded { slot, leg, sockets } => self.arrived(slot, leg.zip(sockets)),
            }
        }
    }

    /// The next word of a worker. One that has ended is over only when its last word was heard: a slot that it closed
    /// must not be taken for the one of the next stream.
    fn hear(&mut self) -> Option<Up> {
        for worker in &mut self.workers {
            let ended = worker.has_failed();
            if let Ok(up) = worker.handle.events.try_recv() {
                return Some(up);
            }
            let news = ended && !std::mem::replace(&mut worker.over, ended);
            self.past.workers_failed += u64::from(news);
            self.unmourned |= news;
        }
        None
    }

    fn arrived(&mut self, slot: u32, parts: Option<(Box<crate::leg::Leg>, Sockets)>) {
        let Some(stream) = self.stream(slot) else { return };
        let (worker, held) = (stream.worker, stream.held.take().unwrap_or_default());
        stream.home = worker;
        if let Some((leg, sockets)) = parts {
            self.tell(worker, Command::Adopt { slot, leg, sockets });
        }
        held.into_iter().for_each(|command| self.tell(worker, command));
        self.seat(slot);
        self.build_bridges();
        self.look_for_lost();
    }

    /// The kernel's part in this plane.
    pub fn kernel(&self) -> &KernelPart {
        self.kernel.part()
    }

    /// The same, once after each change: with the start, and with a reload.
    pub fn poll_kernel(&mut self) -> Option<&KernelPart> {
        self.kernel.take_news()
    }

    /// Times that a worker ended by itself: [`Status::workers_failed`], for whoever looks each turn.
    pub fn workers_failed(&self) -> u64 {
        self.past.workers_failed
    }

    fn slots_used(&self) -> usize {
        LEGS_MAX - self.free_slots.len()
    }

    /// Ends the workers and all streams; the ports are free when it returns.
    pub fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        self.workers.iter().for_each(|worker| worker.handle.end());
        self.workers.iter_mut().for_each(|worker| worker.handle.join());
    }
}

impl Drop for MediaPlane {
    fn drop(&mut self) {
        self.end();
    }
}

/// The CPUs of the workers that a configuration asks for: the last one, when it names none.
pub fn worker_cpus(config: &Config) -> Vec<usize> {
    match &config.media.workers[..] {
        [] => vec![thread::available_parallelism().map_or(1, usize::from) - 1],
        named => named.to_vec(),
    }
}

/// Raises the process's soft limit of open descriptors to the hard one, and says how many that are.
pub fn raise_descriptors() -> usize {
    let Ok((_, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else { return 0 };
    // Refused at worst; then opening legs fails earlier, and says so.
    let _ = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
    usize::try_from(hard).unwrap_or(usize::MAX)
}

/// Commands for one leg that is on its way between workers.
const HELD_MAX: usize = 64;

fn limits(config: &Config) -> Limits {
    Limits { latch_window: config.media.latch_window, timeout: config.media.timeout }
}

#[cfg(test)]
mod tests;

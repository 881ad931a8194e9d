//! A media worker: one pinned thread, one ring, the relay of its legs.
//!
//! Turn: wait on the ring, decide about each packet, take commands when the bell rang, let players and clocks have their
//! turn, hand events up. The wait adapts to the load (`postern_uring::Gather`).

use std::{
    collections::VecDeque,
    io,
    net::{SocketAddr, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc::{Receiver, SyncSender, TrySendError},
    },
    thread,
    time::{Duration, Instant, SystemTime},
};

use nix::{
    sched::{CpuSet, sched_setaffinity},
    time::{ClockId, clock_gettime},
    unistd::Pid,
};
use postern_fastpath::Flows;
use postern_srtp::dtls::Identity;
use postern_types::{
    CallSid, ConferenceSid, UnixMicros,
    media::{MediaEvent, PlayId, Prompt, RoomSound, StreamSetup},
    recording::{Listener, TapId},
};
use postern_uring::{Bell, Buffer, Completion, Gather, Gathering, Options, Ring, SocketId};

use crate::{
    conference::RoomSeat,
    leg::Leg,
    relay::{Limits, PARTS, Port, Relay, Verdict},
    tap::Spouts,
};

/// Commands under way to a worker at once; beyond it they wait on the switch's side.
pub(crate) const COMMANDS_MAX: usize = 8192;
/// Events under way to the switch at once; beyond it they wait in the relay's queue.
pub(crate) const EVENTS_UP_MAX: usize = 8192;

/// Half a millisecond at most is added to a packet's way.
const GATHER: Gathering = Gathering { span: Duration::from_micros(500), from: 2.0, most: 128 };

/// How many packets before its turn a leg's memory is asked for: some microseconds, which is much longer than memory takes.
const PREFETCH_AHEAD: usize = 4;

/// The sockets of a leg.
pub(crate) struct Sockets {
    pub rtp: UdpSocket,
    pub rtcp: UdpSocket,
}

/// What the switch says to a worker. Slots are the plane's numbers for legs.
pub(crate) enum Command {
    Open {
        slot: u32,
        leg: CallSid,
        sockets: Sockets,
    },
    Configure {
        slot: u32,
        setup: Box<StreamSetup>,
    },
    Bridge {
        a: u32,
        b: u32,
    },
    Unbridge {
        slot: u32,
    },
    Join {
        room: ConferenceSid,
        slot: u32,
        part: RoomSeat,
    },
    Leave {
        slot: u32,
    },
    Chime {
        room: ConferenceSid,
        sound: RoomSound,
    },
    Play {
        slot: u32,
        play: PlayId,
        prompt: Arc<Prompt>,
        times: u32,
    },
    StopPlay {
        slot: u32,
    },
    Press {
        slot: u32,
        code: u8,
        duration_ms: u32,
    },
    Tap {
        slot: u32,
        tap: TapId,
        to: Listener,
        inbound: bool,
        outbound: bool,
    },
    Untap {
        slot: u32,
        tap: TapId,
    },
    WatchRoom {
        room: ConferenceSid,
    },
    TapRoom {
        room: ConferenceSid,
        tap: TapId,
    },
    UntapRoom {
        room: ConferenceSid,
        tap: TapId,
    },
    /// The leg is over. `keep`: its sockets stay in the ring, for [`Command::Reopen`]; what comes to them meanwhile is dropped.
    Close {
        slot: u32,
        keep: bool,
    },
    /// A new leg on the sockets that a slot has kept.
    Reopen {
        slot: u32,
        leg: CallSid,
    },
    /// Give the leg up, for another worker.
    Yield {
        slot: u32,
    },
    /// Take a leg that another worker gave up.
    Adopt {
        slot: u32,
        leg: Box<Leg>,
        sockets: Sockets,
    },
    Limits(Limits),
    /// Tell the CPU time now, not at the turn of the second.
    Meter,
    /// The kernel's flows, or none any more.
    Flows(Option<Box<dyn Flows>>),
}

/// What a worker says to the switch.
pub(crate) enum Up {
    Event(MediaEvent),
    /// A leg is over, its sockets closed or kept; its ports may rest from now on.
    Closed {
        slot: u32,
        at: Instant,
        kept: bool,
        event: Option<MediaEvent>,
    },
    Yielded {
        slot: u32,
        leg: Option<Box<Leg>>,
        sockets: Option<Sockets>,
    },
}

/// Figures that the switch may read at any time; written once a turn or a second.
#[derive(Default)]
pub(crate) struct Shared {
    pub packets_in: AtomicU64,
    pub packets_out: AtomicU64,
    /// Of both, those that the kernel forwarded by itself.
    pub forwarded: AtomicU64,
    pub flows: AtomicU64,
    pub dropped: AtomicU64,
    /// CPU time of the thread, the packets that had come in by then, and how often both were told.
    pub cpu_ns: AtomicU64,
    pub cpu_packets: AtomicU64,
    pub cpu_readings: AtomicU64,
    /// CPU time of the last second, a thousandth of it each.
    pub busy_permille: AtomicU64,
    pub streams: AtomicU64,
    pub events_lost: AtomicU64,
    /// The worker is to end, or has ended.
    pub stop: AtomicBool,
    /// The bell was rung for commands and not heard yet: no need to ring again.
    pub rung: AtomicBool,
    /// It has ended, and its sockets are closed.
    pub ended: AtomicBool,
    /// The clock's last reading at the turn of a second, milliseconds after [`Handle::began`].
    pub second_ms: AtomicU64,
    pub send_errors: AtomicU64,
    pub starved: AtomicU64,
    pub truncated: AtomicU64,
}

/// Both ends that the plane keeps of a worker.
pub(crate) struct Handle {
    pub commands: SyncSender<Command>,
    pub events: Receiver<Up>,
    pub bell: Bell,
    pub shared: Arc<Shared>,
    pub began: Instant,
    pub thread: Option<thread::JoinHandle<()>>,
    pub notices: Vec<&'static str>,
}

impl Handle {
    /// The worker's clock, at most a second old.
    pub fn clock(&self) -> Instant {
        self.began + Duration::from_millis(self.shared.second_ms.load(Ordering::Relaxed))
    }

    /// Tells it to end, which it does with its next turn.
    pub fn end(&self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        self.bell.ring();
    }

    /// Waits for its end. One that panicked has nothing to say here; it was counted as failed.
    pub fn join(&mut self) {
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// What a worker starts with.
pub(crate) struct Start {
    pub cpu: usize,
    pub slots: usize,
    pub limits: Limits,
    pub seed: u64,
    pub identity: Arc<Identity>,
    pub flows: Option<Box<dyn Flows>>,
    pub wake: Bell,
    /// Where copies go.
    pub taps: Spouts,
}

/// Starts a worker and waits until its ring stands, so that an unfit kernel is an error of the start.
pub(crate) fn start(start: Start) -> io::Result<Handle> {
    let (commands, commands_in) = std::sync::mpsc::sync_channel(COMMANDS_MAX);
    let (events_out, events) = std::sync::mpsc::sync_channel(EVENTS_UP_MAX);
    let (ready, is_ready) = std::sync::mpsc::sync_channel(1);
    let bell = Bell::new()?;
    let shared = Arc::new(Shared::default());
    let (own_bell, own_shared) = (bell.try_clone()?, shared.clone());
    let end = End { shared: shared.clone(), wake: start.wake.try_clone()? };
    let began = clock();
    let thread = thread::Builder::new().name(format!("media-{}", start.cpu)).spawn(move || {
        // The first made is the last dropped: by then the ring and its sockets are gone.
        let _end = end;
        let pinned = pin(start.cpu);
        match Ring::new(&Options { sockets: 2 * start.slots as u32, ..Options::MEDIA }, own_bell) {
            Err(e) => drop(ready.send(Err(e))),
            Ok(ring) => {
                let mut notices = ring.notices().to_vec();
                notices.extend((!pinned).then_some("a media worker could not be pinned to its CPU"));
                drop(ready.send(Ok(notices)));
                let mut worker = Worker::new(ring, start, commands_in, events_out, own_shared, began);
                worker.run();
            }
        }
    })?;
    let notices = is_ready.recv().map_err(|_| io::Error::other("the media worker ended at its start"))??;
    Ok(Handle { commands, events, bell, shared, began, thread: Some(thread), notices })
}

/// Tells the switch of a worker's end, also of one by panic: its legs would be silent for ever.
struct End {
    shared: Arc<Shared>,
    wake: Bell,
}

impl Drop for End {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::Release);
        self.wake.ring();
    }
}

/// Not permitted, or no such CPU: the thread runs where the kernel likes.
fn pin(cpu: usize) -> bool {
    let mut set = CpuSet::new();
    set.set(cpu).is_ok() && sched_setaffinity(Pid::from_raw(0), &set).is_ok()
}

/// The worker's own reading of the clock: it is the one that hands time down here.
#[allow(clippy::disallowed_methods, reason = "a worker is the top of its thread and reads the clock once a turn")]
pub(crate) fn clock() -> Instant {
    Instant::now()
}

/// Microseconds since 1970.
#[allow(clippy::disallowed_methods, reason = "read once, as the worker starts")]
fn wall() -> u64 {
    UnixMicros::from_system(SystemTime::now()).0
}

/// A leg's sockets in the ring.
#[derive(Clone, Copy)]
struct Wires {
    rtp: SocketId,
    rtcp: SocketId,
    leaving: Option<Leaving>,
    /// One of them can receive no more: no later leg shall have them.
    broken: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Leaving {
    Closing,
    Yielding,
}

/// What is kept until both sockets of a leg are out of the ring.
#[derive(Default)]
struct Farewell {
    event: Option<MediaEvent>,
    leg: Option<Box<Leg>>,
    rtp: Option<UdpSocket>,
    rtcp: Option<UdpSocket>,
    gone: u8,
}

struct Worker {
    ring: Ring,
    relay: Relay,
    /// By slot.
    wires: Vec<Option<Wires>>,
    /// By the ring's socket index.
    owners: Vec<Option<(u32, Port)>>,
    farewells: Vec<(u32, Farewell)>,
    commands: Receiver<Command>,
    events: SyncSender<Up>,
    /// What did not fit into `events`. Bounded: one per leg, for only ends of legs come here.
    backlog: VecDeque<Up>,
    held: Option<Up>,
    /// Commands were left for the next turn.
    more_commands: bool,
    wake: Bell,
    shared: Arc<Shared>,
    began: Instant,
    /// Its CPU time at the last turn of a second, and when that was.
    cpu_before: (Instant, Duration),
    gather: Gather,
    taps: Spouts,
}

impl Worker {
    fn new(
        ring: Ring,
        start: Start,
        commands: Receiver<Command>,
        events: SyncSender<Up>,
        shared: Arc<Shared>,
        began: Instant,
    ) -> Self {
        let mut relay = Relay::new(start.slots, start.limits, start.seed);
        relay.set_identity(start.identity);
        relay.set_flows(start.flows);
        relay.set_clock(clock(), wall());
        Self {
            ring,
            relay,
            wires: vec![None; start.slots],
            owners: vec![None; 2 * start.slots],
            farewells: Vec::with_capacity(64),
            commands,
            events,
            backlog: VecDeque::with_capacity(64),
            held: None,
            more_commands: false,
            wake: start.wake,
            shared,
            began,
            cpu_before: (began, Duration::ZERO),
            gather: Gather::new(began, GATHER),
            taps: start.taps,
        }
    }

    fn run(&mut self) {
        let mut second = clock() + SECOND;
        let (mut part, mut part_at) = (0, second);
        while !self.shared.stop.load(Ordering::Relaxed) {
            let mut deadline = self.relay.next_deadline().map_or(second, |at| at.min(second));
            if !self.relay.is_empty() {
                deadline = deadline.min(part_at);
            }
            if self.held.is_some() {
                deadline = deadline.min(clock() + RETRY);
            }
            if self.more_commands {
                deadline = clock();
            }
            let (want, min_wait) = self.gather.plan();
            if self.ring.wait(want, min_wait, Some(deadline)).is_err() {
                // The ring itself is broken. The plane notices that this thread has ended, and tells each leg here.
                break;
            }
            let now = clock();
            let packets = self.turn(now);
            if std::mem::take(&mut self.more_commands) {
                self.commands(now);
            }
            self.gather.learn(now, packets);
            self.relay.handle_timeout(now);
            if now >= part_at {
                self.relay.handle_part(now, part);
                self.install_flows();
                part = (part + 1) % PARTS;
                part_at = now + SECOND / PARTS;
            }
            self.play(now);
            if now >= second {
                second = now + SECOND;
                let passed = now.saturating_duration_since(self.began);
                self.shared.second_ms.store(passed.as_millis() as u64, Ordering::Relaxed);
                self.publish_cpu(now);
            }
            while let Some((slot, peer)) = self.relay.poll_binding() {
                self.bind(slot, peer);
            }
            while let Some((slot, copy)) = self.relay.poll_tapped() {
                // Listeners look every few milliseconds; one that hangs costs its copies, and no call.
                let tap = copy.tap;
                if !self.taps.put(copy) {
                    self.relay.tap_lost(slot, tap);
                }
            }
            self.publish();
        }
    }

    /// Takes all completions; says how many were packets.
    fn turn(&mut self, now: Instant) -> usize {
        let mut packets = 0;
        while let Some(completion) = self.ring.next() {
            match completion {
                Completion::Datagram { socket, source, buffer } => {
                    packets += 1;
                    self.look_ahead();
                    self.packet(now, socket, source, buffer);
                }
                // In its place among the packets: what was commanded before a packet came holds for it.
                Completion::Woken => self.commands(now),
                Completion::Closed { socket } => self.gone(now, socket, None),
                Completion::Released { socket, descriptor } => self.gone(now, socket, Some(descriptor)),
                Completion::Broken { socket, .. } => {
                    if let Some((slot, _)) = self.owners.get(socket.index as usize).copied().flatten()
                        && let Some(wires) = &mut self.wires[slot as usize]
                    {
                        wires.broken = true;
                    }
                }
            }
        }
        packets
    }

    /// Asks for the memory of packets that are next: it comes while others are handled.
    #[inline]
    fn look_ahead(&self) {
        let owner = |ahead| self.owners.get(self.ring.coming(ahead)? as usize).copied().flatten();
        if let Some((slot, _)) = owner(PREFETCH_AHEAD) {
            self.relay.prefetch(slot);
        }
        if let Some((slot, _)) = owner(PREFETCH_AHEAD / 2) {
            self.relay.prefetch_partner(slot);
        }
    }

    fn packet(&mut self, now: Instant, socket: SocketId, source: SocketAddr, mut buffer: Buffer) {
        let Some(Some((slot, port))) = self.owners.get(socket.index as usize).copied() else { return };
        let len = buffer.len();
        let verdict = self.relay.handle_input(now, slot, port, source, buffer.room(), len);
        self.send(verdict, buffer);
    }

    fn send(&mut self, verdict: Verdict, mut buffer: Buffer) {
        let Verdict::Send { slot, port, to, len } = verdict else { return };
        let Some(Some(wires)) = self.wires.get(slot as usize) else { return };
        buffer.set_len(len);
        let socket = if port == Port::Rtp { wires.rtp } else { wires.rtcp };
        // Refused only when the socket is on its way out: the packet goes with it.
        let _ = self.ring.send(socket, to, buffer);
        self.gather.sent();
    }

    fn play(&mut self, now: Instant) {
        // Without a spare buffer the packet stays due, and is sent when sends have completed.
        while let Some(mut buffer) = self.relay.play_is_due(now).then(|| self.ring.spare()).flatten() {
            let Some(verdict) = self.relay.poll_play(now, buffer.room()) else { return };
            self.send(verdict, buffer);
        }
    }

    fn commands(&mut self, now: Instant) {
        // Before looking, so that what is queued later rings again.
        self.shared.rung.store(false, Ordering::SeqCst);
        let mut taken = 0;
        // As many as there can be at once and no more: whoever sends them as fast as they are taken would keep the packets waiting.
        while taken < COMMANDS_MAX
            && let Ok(command) = self.commands.try_recv()
        {
            taken += 1;
            self.command(now, command);
        }
        self.more_commands = taken == COMMANDS_MAX;
        // The switch may hold commands back because the queue was full: tell it that there is room.
        if taken >= COMMANDS_MAX / 2 {
            self.wake.ring();
        }
    }

    fn command(&mut self, now: Instant, command: Command) {
        match command {
            Command::Open { slot, leg, sockets } => {
                self.relay.open(now, slot, leg);
                self.wire(slot, sockets);
            }
            Command::Adopt { slot, leg, sockets } => {
                self.relay.put(slot, leg);
                self.wire(slot, sockets);
            }
            Command::Configure { slot, setup } => self.relay.configure(now, slot, setup),
            Command::Bridge { a, b } => self.relay.bridge(a, b),
            Command::Unbridge { slot } => self.relay.unbridge(slot),
            Command::Join { room, slot, part } => self.relay.join(now, room, slot, part),
            Command::Leave { slot } => self.relay.leave(slot),
            Command::Chime { room, sound } => self.relay.chime(now, room, &sound),
            Command::WatchRoom { room } => self.relay.watch_room(room),
            Command::TapRoom { room, tap } => self.relay.tap_room(now, room, tap),
            Command::UntapRoom { room, tap } => self.relay.untap_room(room, tap),
            Command::Play { slot, play, prompt, times } => self.relay.play(now, slot, play, prompt, times),
            Command::StopPlay { slot } => self.relay.stop_play(slot),
            Command::Press { slot, code, duration_ms } => self.relay.press(now, slot, code, duration_ms),
            Command::Tap { slot, tap, to, inbound, outbound } => self.relay.tap(slot, tap, to, inbound, outbound),
            Command::Untap { slot, tap } => self.relay.untap(slot, tap),
            Command::Reopen { slot, leg } => {
                // Still connected to the peer of the leg before.
                self.bind(slot, None);
                self.relay.open(now, slot, leg);
            }
            Command::Close { slot, keep } => {
                if let Some(mut buffer) = self.ring.spare()
                    && let Some(verdict) = self.relay.goodbye(now, slot, buffer.room())
                {
                    self.send(verdict, buffer);
                }
                let event = self.relay.close(slot);
                if keep && self.wires[slot as usize].is_some_and(|wires| !wires.broken) {
                    self.hand_up(Up::Closed { slot, at: now, kept: true, event });
                } else {
                    self.leave(now, slot, Leaving::Closing, Farewell { event, ..Farewell::default() });
                }
            }
            Command::Yield { slot } => {
                // Connected, the socket would turn others away while nobody looks.
                self.bind(slot, None);
                let leg = self.relay.take(slot);
                self.leave(now, slot, Leaving::Yielding, Farewell { leg, ..Farewell::default() });
            }
            Command::Limits(limits) => self.relay.set_limits(limits),
            Command::Meter => self.publish_cpu(now),
            Command::Flows(flows) => self.relay.set_flows(flows),
        }
    }

    fn wire(&mut self, slot: u32, sockets: Sockets) {
        // The ring's table has two places for each slot.
        let (Ok(rtp), Ok(rtcp)) = (self.ring.add(sockets.rtp), self.ring.add(sockets.rtcp)) else { return };
        self.owners[rtp.index as usize] = Some((slot, Port::Rtp));
        self.owners[rtcp.index as usize] = Some((slot, Port::Rtcp));
        self.wires[slot as usize] = Some(Wires { rtp, rtcp, leaving: None, broken: false });
    }

    fn leave(&mut self, now: Instant, slot: u32, how: Leaving, farewell: Farewell) {
        let Some(Some(wires)) = self.wires.get_mut(slot as usize) else {
            self.hand_up(match how {
                Leaving::Closing => Up::Closed { slot, at: now, kept: false, event: farewell.event },
                Leaving::Yielding => Up::Yielded { slot, leg: farewell.leg, sockets: None },
            });
            return;
        };
        wires.leaving = Some(how);
        let Wires { rtp, rtcp, .. } = *wires;
        self.farewells.push((slot, farewell));
        for socket in [rtp, rtcp] {
            match how {
                Leaving::Closing => self.ring.close(socket),
                Leaving::Yielding => self.ring.release(socket),
            }
        }
    }

    /// One of a leaving leg's sockets is out of the ring.
    fn gone(&mut self, now: Instant, socket: SocketId, descriptor: Option<UdpSocket>) {
        let Some((slot, port)) = self.owners.get_mut(socket.index as usize).and_then(Option::take) else { return };
        let Some(at) = self.farewells.iter().position(|(leaving, _)| *leaving == slot) else { return };
        let farewell = &mut self.farewells[at].1;
        farewell.gone += 1;
        match port {
            Port::Rtp => farewell.rtp = descriptor,
            Port::Rtcp => farewell.rtcp = descriptor,
        }
        if farewell.gone < 2 {
            return;
        }
        let (_, farewell) = self.farewells.swap_remove(at);
        let leaving = self.wires[slot as usize].take().and_then(|wires| wires.leaving);
        self.hand_up(match leaving {
            Some(Leaving::Yielding) => {
                let sockets = farewell.rtp.zip(farewell.rtcp).map(|(rtp, rtcp)| Sockets { rtp, rtcp });
                Up::Yielded { slot, leg: farewell.leg, sockets }
            }
            Some(Leaving::Closing) | None => Up::Closed { slot, at: now, kept: false, event: farewell.event },
        });
    }

    /// Hands the kernel what it may forward by itself.
    fn install_flows(&mut self) {
        while let Some((slot, to)) = self.relay.poll_wish() {
            let socket = |slot: u32| Some(self.wires.get(slot as usize)?.as_ref()?.rtp);
            let port = |slot: u32| self.ring.local(socket(slot)?);
            let dscp = socket(to).and_then(|socket| self.ring.dscp(socket));
            if let (Some(local), Some(out), Some(dscp)) = (port(slot), port(to), dscp) {
                self.relay.install(slot, local, (out, dscp));
            }
        }
    }

    fn bind(&mut self, slot: u32, peer: Option<SocketAddr>) {
        let Some(Some(wires)) = self.wires.get(slot as usize) else { return };
        // A peer that cannot be connected to is still sent to by address.
        let _ = match peer {
            Some(peer) => self.ring.connect(wires.rtp, peer),
            None if self.ring.peer(wires.rtp).is_some() => self.ring.disconnect(wires.rtp),
            None => Ok(()),
        };
    }

    fn hand_up(&mut self, up: Up) {
        self.backlog.push_back(up);
    }

    /// Hands events up as far as there is room, those of the relay before the ends of legs.
    fn publish(&mut self) {
        let mut rung = false;
        loop {
            let next = self.held.take().or_else(|| self.relay.poll_event().map(Up::Event));
            let Some(up) = next.or_else(|| self.backlog.pop_front()) else { break };
            match self.events.try_send(up) {
                Ok(()) => rung = true,
                Err(TrySendError::Full(up)) => {
                    self.held = Some(up);
                    break;
                }
                Err(TrySendError::Disconnected(_)) => break,
            }
        }
        if rung || self.held.is_some() {
            self.wake.ring();
        }
        let counts = self.relay.counts();
        self.shared.packets_in.store(counts.packets_in, Ordering::Relaxed);
        self.shared.packets_out.store(counts.packets_out, Ordering::Relaxed);
        self.shared.forwarded.store(counts.forwarded, Ordering::Relaxed);
        self.shared.flows.store(self.relay.flows(), Ordering::Relaxed);
        self.shared.dropped.store(counts.dropped, Ordering::Relaxed);
        self.shared.streams.store(self.relay.len() as u64, Ordering::Relaxed);
        self.shared.events_lost.store(counts.events_lost, Ordering::Relaxed);
        let ring = self.ring.counters();
        self.shared.send_errors.store(ring.send_errors, Ordering::Relaxed);
        self.shared.starved.store(ring.starved, Ordering::Relaxed);
        self.shared.truncated.store(ring.truncated, Ordering::Relaxed);
    }

    fn publish_cpu(&mut self, now: Instant) {
        if let Ok(time) = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID) {
            let time = Duration::from(time);
            let (at, before) = std::mem::replace(&mut self.cpu_before, (now, time));
            let passed = now.saturating_duration_since(at).as_micros().max(1);
            let permille = time.saturating_sub(before).as_micros() * 1000 / passed;
            self.shared.busy_permille.store(permille.min(1000) as u64, Ordering::Relaxed);
            self.shared.cpu_ns.store(time.as_nanos() as u64, Ordering::Relaxed);
            // The kernel's work on what it forwards is not this thread's.
            let counts = self.relay.counts();
            self.shared.cpu_packets.store(counts.packets_in - counts.forwarded, Ordering::Relaxed);
            self.shared.cpu_readings.fetch_add(1, Ordering::Release);
        }
    }
}

/// The turn of the clocks; each leg has its own within it.
const SECOND: Duration = Duration::from_secs(1);
/// How soon a full queue towards the switch is tried again.
const RETRY: Duration = Duration::from_millis(5);

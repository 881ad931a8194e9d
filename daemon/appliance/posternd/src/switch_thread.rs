//! The switch thread: reads the clock, takes what came, has the [`Switch`] decide, and hands its outputs to the drivers.
//!
//! One turn: sleep until a datagram, a letter or the next deadline; read both clocks once; take everything that is
//! there; let due timers run; carry outputs out. Datagrams leave with the next sleep, many in one system call.

use std::{
    collections::HashMap,
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant, SystemTime},
};

use postern_api::Asked;
use postern_config::Config;
use postern_facts::{Happened, MediaFastPath, MediaWorkerFailed, Subject};
use postern_media::{Calibration, Copies, KernelPart, MediaPlane};
use postern_switch::{
    Input, Output, Reply, Switch, Token,
    request::{CalibrationStatus, MediaStatus, RemainingStatus},
};
use postern_types::{Now, UnixMicros};
use postern_uring::{Event, SocketId, SwitchRing};
use tokio::sync::{mpsc, oneshot};

use crate::{
    drivers::{Drivers, streams::Streams},
    load::LoadMeter,
    mailbox::Mailbox,
};

/// Longest sleep: the watchdog counts turns.
const SLEEP_MAX: Duration = Duration::from_secs(1);

/// What the thread is started with.
pub struct Start {
    /// The configuration.
    pub config: Arc<Config>,
    /// Bound SIP sockets.
    pub sockets: Vec<UdpSocket>,
    /// Number of the last event that was kept.
    pub last_seq: u64,
    /// Unpredictable.
    pub seed: [u8; 32],
    /// Turns of the loop, for the watchdog.
    pub turns: Arc<AtomicU64>,
}

/// The running thread: what others need of it.
pub struct Running {
    /// Where letters go.
    pub mailbox: Mailbox,
    /// Copies of packets, for the recorder and the forks.
    pub tapped: Copies,
    /// What this kernel cannot do, in words for a person.
    pub notices: Vec<&'static str>,
    /// Hand the drivers and the questions over: the thread serves from then on.
    pub go: SyncSender<Go>,
    /// Ends when [`Input::Stop`] was carried out and every leg is gone, or two seconds after it, with the number of the last event.
    pub thread: JoinHandle<u64>,
}

/// Starts the thread and waits until its ring and the media workers stand.
pub fn start(start: Start) -> io::Result<Running> {
    let (ready, is_ready) = sync_channel(1);
    let (go, drivers) = sync_channel(1);
    let thread = thread::Builder::new().name("switch".into()).spawn(move || {
        let (mut ours, waiting) = match Thread::prepare(start, &ready) {
            Ok(prepared) => prepared,
            Err(error) => {
                let _ = ready.send(Err(error));
                return 0;
            }
        };
        if let Ok(Go { drivers, mut streams, questions, calibration }) = drivers.recv() {
            calibration.into_iter().for_each(|found| ours.media.set_calibration(found));
            ours.run(&drivers, &mut streams, questions, &waiting);
        }
        ours.media.stop();
        ours.switch.last_seq()
    })?;
    let (mailbox, notices, tapped) =
        is_ready.recv().map_err(|_| io::Error::other("the switch thread died at its start"))??;
    Ok(Running { mailbox, tapped, notices, go, thread })
}

/// What the thread serves with.
pub struct Go {
    /// Where outputs go.
    pub drivers: Drivers,
    /// SIP over connections.
    pub streams: Streams,
    /// What the API asks.
    pub questions: mpsc::Receiver<Asked>,
    /// What a packet costs here; none: nobody knows.
    pub calibration: Option<Calibration>,
}

struct Thread {
    switch: Switch,
    ring: SwitchRing,
    media: MediaPlane,
    by_address: HashMap<SocketAddr, SocketId>,
    addresses: HashMap<SocketId, SocketAddr>,
    answers: HashMap<Token, oneshot::Sender<Reply>>,
    next_token: u64,
    turns: Arc<AtomicU64>,
    /// For copies to a collector; made with the first one.
    copies: Option<UdpSocket>,
    /// Datagrams that found no buffer: lost, as the network may lose any.
    unsent: u64,
    /// Ends of media workers that were told.
    workers_failed: u64,
    load: LoadMeter,
}

type Ready = SyncSender<io::Result<(Mailbox, Vec<&'static str>, Copies)>>;

impl Thread {
    fn prepare(start: Start, ready: &Ready) -> io::Result<(Self, Receiver<Input<'static>>)> {
        let Start { config, sockets, last_seq, seed, turns } = start;
        let locals: Vec<_> = sockets.iter().map(UdpSocket::local_addr).collect::<io::Result<_>>()?;
        let (ring, ids) = SwitchRing::new(Instant::now(), sockets)?;
        let mut media = MediaPlane::start(&config, ring.bell().try_clone()?)?;
        let tapped = media.take_tapped().expect("the plane is new, and nobody else asks");
        let (mailbox, waiting) = Mailbox::new(ring.bell().try_clone()?);
        let notices = ring.notices().to_vec();
        let mut switch = Switch::new(config, seed, last_seq, now());
        switch.set_libraries(media.libraries());
        let ours = Self {
            switch,
            ring,
            media,
            by_address: locals.iter().copied().zip(ids.iter().copied()).collect(),
            addresses: ids.into_iter().zip(locals).collect(),
            answers: HashMap::new(),
            next_token: 0,
            turns,
            copies: None,
            unsent: 0,
            workers_failed: 0,
            load: LoadMeter::default(),
        };
        let _ = ready.send(Ok((mailbox, notices, tapped)));
        Ok((ours, waiting))
    }

    fn run(
        &mut self,
        drivers: &Drivers,
        streams: &mut Streams,
        mut questions: mpsc::Receiver<Asked>,
        letters: &Receiver<Input<'static>>,
    ) {
        let mut stop_by: Option<Instant> = None;
        // What was put there before the start comes before any datagram.
        self.read(now(), letters, drivers, streams);
        loop {
            self.turns.fetch_add(1, Ordering::Relaxed);
            let asleep = Instant::now();
            self.load.turn_ended(asleep);
            let limit = asleep + SLEEP_MAX;
            let deadline = self.switch.next_deadline().into_iter().chain(stop_by).fold(limit, Instant::min);
            if let Err(error) = self.ring.sleep(asleep, Some(deadline)) {
                // The ring is this thread's only ear: without it the daemon is better restarted by systemd.
                eprintln!("posternd: the signaling ring failed: {error}; stopping");
                return;
            }
            let now = now();
            if let Some(load) = self.load.turn_begins(now.instant) {
                self.switch.handle_load(now, load);
                self.carry(now, drivers, streams);
            }
            while let Some(event) = self.ring.poll() {
                self.take(now, event);
                self.carry(now, drivers, streams);
            }
            streams.take(|streams, id, event| {
                self.switch.handle_input(now, Input::Connection(id, event));
                self.carry(now, drivers, streams);
            });
            while let Ok(asked) = questions.try_recv() {
                self.next_token += 1;
                let token = Token(self.next_token);
                self.answers.insert(token, asked.answer);
                self.switch.handle_input(now, Input::Request(token, asked.request));
                self.carry(now, drivers, streams);
            }
            if self.read(now, letters, drivers, streams) {
                stop_by = Some(now.instant + Duration::from_secs(2));
            }
            if self.switch.next_deadline().is_some_and(|at| at <= now.instant) {
                self.switch.handle_timeout(now);
                self.carry(now, drivers, streams);
            }
            // Last: this also sends the turn's commands to the workers, which wakes each at most once.
            while let Some(event) = self.media.poll_event() {
                self.switch.handle_input(now, Input::Media(event));
                self.carry(now, drivers, streams);
            }
            if let Some(KernelPart { on, why }) = self.media.poll_kernel() {
                let fact = MediaFastPath { on: *on, why: why.clone() }.into();
                self.switch.handle_input(now, Input::Happened(Happened { subject: Subject::default(), fact }));
                self.carry(now, drivers, streams);
            }
            if self.media.workers_failed() != self.workers_failed {
                self.workers_failed = self.media.workers_failed();
                let fact = MediaWorkerFailed { failed: self.workers_failed, alive: self.media.status().workers }.into();
                self.switch.handle_input(now, Input::Happened(Happened { subject: Subject::default(), fact }));
                self.carry(now, drivers, streams);
            }
            if stop_by.is_some_and(|by| by <= now.instant || self.switch.is_idle()) {
                // What was said last leaves with one more look at the ring.
                let _ = self.ring.sleep(asleep, Some(asleep));
                return;
            }
        }
    }

    /// Takes the letters that are there. Whether one said to stop.
    fn read(&mut self, now: Now, letters: &Receiver<Input<'static>>, drivers: &Drivers, streams: &mut Streams) -> bool {
        let mut stops = false;
        while let Ok(letter) = letters.try_recv() {
            if let Input::Configure { config, .. } = &letter {
                self.media.reconfigure(config);
                drivers.resolver.configure(&config.dns);
                drivers.certificates.configure(config);
            }
            stops |= matches!(letter, Input::Stop { .. });
            self.switch.handle_input(now, letter);
            self.carry(now, drivers, streams);
        }
        stops
    }

    fn take(&mut self, now: Now, event: Event) {
        match event {
            Event::Datagram { socket, source, bytes } => {
                let Some(local) = self.addresses.get(&socket).copied() else { return };
                self.switch.handle_input(now, Input::Datagram { local, source, bytes: &bytes });
            }
            Event::Woken | Event::Closed { .. } => {}
            Event::Broken { socket, error } => {
                let local = self.addresses.get(&socket);
                eprintln!("posternd: the SIP socket {local:?} can receive no more: {error}");
                self.ring.close(socket);
            }
        }
    }

    fn carry(&mut self, now: Now, drivers: &Drivers, streams: &mut Streams) {
        while let Some(output) = self.switch.poll_output() {
            match output {
                Output::Send { local, destination, bytes } => {
                    let sent = self.by_address.get(&local).map(|id| self.ring.send(*id, destination, &bytes));
                    if !matches!(sent, Some(Ok(()))) {
                        self.unsent += 1;
                    }
                }
                Output::Copy { destination, bytes } => self.copy(destination, &bytes),
                Output::Connection(id, command) => {
                    if let Some(event) = streams.carry(id, command) {
                        self.switch.handle_input(now, Input::Connection(id, event));
                    }
                }
                Output::Media(command) => {
                    self.media.queue(now, command);
                    while let Some(event) = self.media.poll_answer() {
                        self.switch.handle_input(now, Input::Media(event));
                    }
                }
                Output::Http(request) => drivers.http.request(*request),
                Output::LoadPrompt(key, source) => drivers.prompts.load(key, source),
                Output::Recorder(command) => drivers.recorder.command(command),
                Output::Fork(command) => drivers.forks.command(command),
                Output::Recording(record) => drivers.archive.put(*record),
                Output::Device(change) => drivers.devices.put(change),
                Output::Mailbox(mailbox) => drivers.devices.put_mailbox(mailbox),
                Output::Certificate(url) => drivers.certificates.fetch(url),
                Output::Ask(question) => drivers.resolver.ask(question),
                Output::Event(event) => {
                    drivers.journal.write(&event);
                    if let Some(records) = &drivers.records {
                        records.event(&event);
                    }
                    drivers.spool.push(event);
                }
                Output::Record(record) => {
                    if let Some(records) = &drivers.records {
                        records.leg(&record);
                    }
                    drivers.store.put(*record);
                }
                Output::Reply(token, reply) => self.reply(now, token, reply),
            }
        }
    }

    /// Sends a copy to a collector. What does not fit its socket is lost: calls do not wait for it.
    fn copy(&mut self, destination: SocketAddr, bytes: &[u8]) {
        let fits = |socket: &UdpSocket| socket.local_addr().is_ok_and(|local| local.is_ipv4() == destination.is_ipv4());
        if !self.copies.as_ref().is_some_and(fits) {
            let any: SocketAddr = if destination.is_ipv4() {
                (Ipv4Addr::UNSPECIFIED, 0).into()
            } else {
                (Ipv6Addr::UNSPECIFIED, 0).into()
            };
            self.copies = UdpSocket::bind(any).and_then(|socket| socket.set_nonblocking(true).map(|()| socket)).ok();
        }
        if let Some(socket) = &self.copies {
            // A collector that is gone answers by ICMP, told with the next send; nobody here could mend it.
            let _ = socket.send_to(bytes, destination);
        }
    }

    fn reply(&mut self, now: Now, token: Token, mut reply: Reply) {
        if let Reply::Status(status) = &mut reply {
            status.media = media_status(&self.media);
            let rooms = self.media.room(now.instant).into_iter();
            status.remaining.extend(rooms.map(|room| RemainingStatus { of: room.of, calls: room.calls }));
            status.remaining.sort_by_key(|room| room.calls);
        }
        if let Some(answer) = self.answers.remove(&token) {
            // Whoever asked may have left.
            let _ = answer.send(reply);
        }
    }
}

fn media_status(media: &MediaPlane) -> MediaStatus {
    let status = media.status();
    MediaStatus {
        streams: status.streams,
        ports_free: status.ports_free,
        packets_received: status.packets_in,
        packets_sent: status.packets_out,
        packets_forwarded: status.forwarded,
        flows: status.flows,
        fast_path: media.kernel().on,
        fast_path_why: media.kernel().why.clone(),
        g729: media.libraries().g729,
        packets_dropped: status.dropped,
        us_per_packet: (status.packets_in > status.forwarded).then_some(status.us_per_packet),
        busy_percent: status.busy_percent,
        calibrated: media.calibration().map(|found| CalibrationStatus {
            us_per_packet: found.us_per_packet,
            legs: found.legs as u64,
            calls_per_worker: media.calls_per_worker().unwrap_or(0),
        }),
        send_errors: status.send_errors,
        receive_starved: status.receive_starved,
        truncated: status.truncated,
        messages_lost: status.commands_lost + status.events_lost,
        workers: status.workers,
        workers_failed: status.workers_failed,
    }
}

/// One reading of both clocks: the only place of the switch thread that looks at them for the rooms.
fn now() -> Now {
    Now { instant: Instant::now(), wall: UnixMicros::from_system(SystemTime::now()) }
}

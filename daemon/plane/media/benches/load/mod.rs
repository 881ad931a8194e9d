//! A load of RTP at any relay: sends along paths in turn, receives at their ends, and takes the time between.
//!
//! The payload carries the time of sending, so only packets of this process are measured.

use std::{
    net::{SocketAddr, UdpSocket},
    os::fd::AsFd,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use nix::{
    sched::{CpuSet, sched_setaffinity},
    sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout},
    unistd::Pid,
};
use serde_json::{Value, json};

/// One direction of a call: sent from here, to the relay there, expected at the answer's socket.
pub struct Path {
    /// Sends.
    pub from: UdpSocket,
    /// The relay.
    pub to: SocketAddr,
    /// Receives.
    pub answer: UdpSocket,
}

/// A running load.
pub struct Load {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<(Vec<Path>, Figures)>,
    began: Instant,
}

#[derive(Default)]
struct Figures {
    sent: u64,
    received: u64,
    /// Microseconds, for a sample of the packets.
    latency_us: Vec<u32>,
}

/// Packets sent before the receivers are looked at.
const BURST: usize = 32;
/// Latencies kept.
const SAMPLES_MAX: usize = 4_000_000;

impl Load {
    /// Starts at so many thousand packets a second, or as many as go, from one CPU.
    pub fn start(paths: Vec<Path>, kpps: Option<f64>, cpu: usize) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (asked, began) = (stop.clone(), Instant::now());
        let thread = thread::spawn(move || {
            let mut set = CpuSet::new();
            let _ = set.set(cpu).and_then(|()| sched_setaffinity(Pid::from_raw(0), &set));
            run(paths, kpps, &asked)
        });
        Self { stop, thread, began }
    }

    /// Ends it; gives the paths back with the figures.
    pub fn end(self) -> (Vec<Path>, Value) {
        self.stop.store(true, Ordering::Relaxed);
        let (paths, mut figures) = self.thread.join().expect("the load does not panic");
        figures.latency_us.sort_unstable();
        let at = |part: f64| figures.latency_us.get((figures.latency_us.len() as f64 * part) as usize).copied();
        let seconds = self.began.elapsed().as_secs_f64();
        let report = json!({
            "sent": figures.sent,
            "received": figures.received,
            "sent_kpps": figures.sent as f64 / seconds / 1000.0,
            "p50_us": at(0.5),
            "p99_us": at(0.99),
        });
        (paths, report)
    }

    /// Ends it.
    pub fn stop(self) -> Value {
        self.end().1
    }
}

fn run(paths: Vec<Path>, kpps: Option<f64>, stop: &AtomicBool) -> (Vec<Path>, Figures) {
    let epoll = Epoll::new(EpollCreateFlags::empty()).expect("an epoll");
    for (at, path) in paths.iter().enumerate() {
        path.answer.set_nonblocking(true).expect("a socket");
        path.from.set_nonblocking(true).expect("a socket");
        epoll.add(path.answer.as_fd(), EpollEvent::new(EpollFlags::EPOLLIN, at as u64)).expect("room in epoll");
    }
    let began = Instant::now();
    let mut figures = Figures { latency_us: Vec::with_capacity(SAMPLES_MAX), ..Figures::default() };
    let mut packet = [0u8; 172];
    packet[0] = 0x80;
    packet[1] = 8;
    let mut turn = 0usize;
    let mut ready = vec![EpollEvent::empty(); 256];
    while !stop.load(Ordering::Relaxed) {
        let due = kpps.map_or(u64::MAX, |kpps| (began.elapsed().as_secs_f64() * kpps * 1000.0) as u64);
        for _ in 0..BURST {
            if figures.sent >= due {
                break;
            }
            let path = &paths[turn % paths.len()];
            let round = (turn / paths.len()) as u32;
            packet[2..4].copy_from_slice(&(round as u16).to_be_bytes());
            packet[4..8].copy_from_slice(&(round * 160).to_be_bytes());
            packet[8..12].copy_from_slice(&((turn % paths.len()) as u32).to_be_bytes());
            packet[12..20].copy_from_slice(&(began.elapsed().as_nanos() as u64).to_be_bytes());
            // A full socket buffer in a flood: the packet was not sent, and is not counted.
            figures.sent += u64::from(path.from.send_to(&packet, path.to).is_ok());
            turn += 1;
        }
        receive(&paths, &epoll, &mut ready, began, &mut figures);
    }
    let end = Instant::now() + Duration::from_millis(50);
    while Instant::now() < end {
        receive(&paths, &epoll, &mut ready, began, &mut figures);
    }
    (paths, figures)
}

fn receive(paths: &[Path], epoll: &Epoll, ready: &mut [EpollEvent], began: Instant, figures: &mut Figures) {
    let count = epoll.wait(ready, EpollTimeout::ZERO).unwrap_or(0);
    let mut bytes = [0; 400];
    for event in &ready[..count] {
        while let Ok(len) = paths[event.data() as usize].answer.recv(&mut bytes) {
            figures.received += 1;
            if len >= 20 && figures.latency_us.len() < SAMPLES_MAX {
                let sent = u64::from_be_bytes(bytes[12..20].try_into().expect("eight bytes"));
                let took = (began.elapsed().as_nanos() as u64).saturating_sub(sent);
                figures.latency_us.push((took / 1000) as u32);
            }
        }
    }
}

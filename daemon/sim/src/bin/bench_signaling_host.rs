//! Signaling as a process of its own, for `make bench`: the daemon's switch on its ring, with media that is only made up.
//!
//! `bench_signaling_host --config FILE --cpu CPU`. Calls are parsed, routed, put through and told as in the daemon: every fact is made and numbered, the
//! messages are kept for `postern trace`. Left out is what other threads do: audio, records, the spool. A media command is answered here at once with ports
//! that nobody opened. Prints one line when it serves, until standard input ends.

use std::{
    collections::HashMap,
    io::Read,
    net::SocketAddr,
    sync::Arc,
    time::{Instant, SystemTime},
};

use postern_config::NoFiles;
use postern_switch::{Input, Output, Switch};
use postern_types::{
    Now, UnixMicros,
    media::{MediaCommand, MediaEvent, StreamReport},
};
use postern_uring::{Event, SocketId, SocketOptions, SwitchRing, bind};
use serde_json::json;

#[path = "bench_common/mod.rs"]
mod common;
use common::{needed, settle};

/// The daemon's.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() {
    let (file, cpu): (String, usize) = (needed("--config"), needed("--cpu"));
    settle(cpu);
    let text = std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{file}: {error}"));
    let config = postern_config::load(&file, &text, &NoFiles).map(|(config, _)| config);
    let config = Arc::new(config.unwrap_or_else(|mistakes| panic!("{}", mistakes[0].render())));

    let addresses: Vec<SocketAddr> = config.realms.values().flat_map(|realm| realm.signaling.clone()).collect();
    let open =
        |address: &SocketAddr| bind(*address, &SocketOptions::SIGNALING).unwrap_or_else(|e| panic!("{address}: {e}"));
    let (ring, sockets) = SwitchRing::new(Instant::now(), addresses.iter().map(open).collect()).expect("a ring");
    let mut host = Host {
        switch: Switch::new(config, rand::random(), 0, now()),
        ring,
        sockets: addresses.iter().copied().zip(sockets.iter().copied()).collect(),
        addresses: sockets.into_iter().zip(addresses).collect(),
        port: 0,
    };
    println!("{}", json!({ "ready": true }));
    let bell = host.ring.bell().try_clone().expect("a bell");
    let driver = std::thread::spawn(move || {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        bell.ring();
    });
    while !driver.is_finished() {
        host.turn();
    }
}

struct Host {
    switch: Switch,
    ring: SwitchRing,
    sockets: HashMap<SocketAddr, SocketId>,
    addresses: HashMap<SocketId, SocketAddr>,
    /// The last that was said to be open.
    port: u16,
}

impl Host {
    /// As the daemon's switch thread has it.
    fn turn(&mut self) {
        let deadline = self.switch.next_deadline();
        self.ring.sleep(Instant::now(), deadline).expect("the ring waits");
        let now = now();
        while let Some(event) = self.ring.poll() {
            let Event::Datagram { socket, source, bytes } = event else { continue };
            let Some(&local) = self.addresses.get(&socket) else { continue };
            self.switch.handle_input(now, Input::Datagram { local, source, bytes: &bytes });
            self.carry(now);
        }
        if self.switch.next_deadline().is_some_and(|at| at <= now.instant) {
            self.switch.handle_timeout(now);
            self.carry(now);
        }
    }

    fn carry(&mut self, now: Now) {
        while let Some(output) = self.switch.poll_output() {
            match output {
                Output::Send { local, destination, bytes } => {
                    if let Some(socket) = self.sockets.get(&local) {
                        // What finds no buffer is lost, as in the daemon; the load tells that a call failed.
                        let _ = self.ring.send(*socket, destination, &bytes);
                    }
                }
                Output::Media(MediaCommand::Open { leg, .. }) => {
                    self.port = if self.port < 10_000 || self.port > 59_990 { 10_000 } else { self.port + 2 };
                    let at = |port| SocketAddr::from(([127, 0, 0, 1], port));
                    let (rtp, rtcp) = (at(self.port), at(self.port + 1));
                    let opened = MediaEvent::Opened { leg, rtp, rtcp, fingerprint: None };
                    self.switch.handle_input(now, Input::Media(opened));
                }
                Output::Media(MediaCommand::Close { leg }) => {
                    let closed = MediaEvent::Closed { leg, report: Box::new(StreamReport::default()) };
                    self.switch.handle_input(now, Input::Media(closed));
                }
                _ => {}
            }
        }
    }
}

/// The clocks, read once a turn.
fn now() -> Now {
    Now { instant: Instant::now(), wall: UnixMicros::from_system(SystemTime::now()) }
}

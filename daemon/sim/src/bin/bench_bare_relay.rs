//! The least that a relay by sockets can cost, for `make bench`: our ring, and nothing that a relay is for.
//!
//! `bench_bare_relay --legs N --peer IP:PORT --address IP --port FIRST --cpu CPU`. Leg n has port FIRST + 2n and is connected to
//! the peer's port + 2n from the start; what comes to it leaves by leg n ^ 1 unread. No latch, no figures, no RTCP, no SRTP, no reports.
//! What a real relay takes beyond this is its own; this is the kernel's.

use std::{
    io::Read,
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

use postern_uring::{Bell, Completion, Options, Ring, SocketId, SocketOptions, bind};
use serde_json::json;

#[path = "bench_common/mod.rs"]
mod common;
use common::{needed, settle};

/// As the media worker gathers when it is busy.
const GATHER: Duration = Duration::from_micros(500);
const GATHER_MAX: usize = 128;

fn main() {
    let (legs, peer, address, first): (u16, SocketAddr, IpAddr, u16) =
        (needed("--legs"), needed("--peer"), needed("--address"), needed("--port"));
    settle(needed("--cpu"));
    let bell = Bell::new().expect("a bell");
    let mut ring = Ring::new(&Options::MEDIA, bell.try_clone().expect("a bell")).expect("a ring");
    println!("{}", json!({ "started": true }));
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).expect("a driver");

    let mut ports = Vec::new();
    let mut wires: Vec<(SocketId, SocketAddr)> = Vec::new();
    // By the ring's socket index.
    let mut legs_of = vec![0; Options::MEDIA.sockets as usize];
    for leg in 0..legs {
        let own = SocketAddr::new(address, first + 2 * leg);
        let to = SocketAddr::new(peer.ip(), peer.port() + 2 * leg);
        let socket = bind(own, &SocketOptions::MEDIA).unwrap_or_else(|error| panic!("{own}: {error}"));
        socket.connect(to).expect("loopback can be connected to");
        let socket = ring.add(socket).unwrap_or_else(|_| panic!("no room in the ring"));
        legs_of[socket.index as usize] = usize::from(leg);
        wires.push((socket, to));
        ports.push(own.port());
    }
    println!("{}", json!({ "ports": ports }));

    let driver = std::thread::spawn(move || {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        bell.ring();
    });
    while !driver.is_finished() {
        let _ = ring.wait(GATHER_MAX, GATHER, Some(Instant::now() + Duration::from_secs(1)));
        while let Some(completion) = ring.next() {
            if let Completion::Datagram { socket, buffer, .. } = completion {
                let (other, to) = wires[legs_of[socket.index as usize] ^ 1];
                let _ = ring.send(other, to, buffer);
            }
        }
    }
    println!("{}", json!({ "received": ring.counters().received, "sent": ring.counters().sent }));
}

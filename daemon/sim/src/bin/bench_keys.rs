//! What encryption takes of one core, for `make bench`: a DTLS handshake on either side, and a packet of SRTP by each suite.
//!
//! `bench_keys --cpu CPU --handshakes N --packets N`, no more than 60,000. Both ends of everything live here, without sockets; CPU time of the thread is
//! counted for each by itself. Prints one line of JSON: microseconds a handshake, the median of all, and nanoseconds a packet.

use std::time::{Duration, Instant};

use nix::time::{ClockId, clock_gettime};
use postern_srtp::{
    ROOM, SrtpContext,
    dtls::{Dtls, Identity, Keys, Role},
};
use postern_types::{
    Secret,
    stream::SrtpSuite::{self, AeadAes128Gcm, AeadAes256Gcm, AesCm128HmacSha1_32, AesCm128HmacSha1_80},
};
use serde_json::{Map, Value, json};

#[path = "bench_common/mod.rs"]
mod common;
use common::{needed, settle};

/// RTP with 20 ms of G.711.
const PACKET: usize = 172;
/// Packets between two looks at the clock, which takes as long as half a packet.
const BATCH: usize = 50;

fn main() {
    settle(needed("--cpu"));
    let mut said = handshakes(needed("--handshakes"));
    let packets: u16 = needed("--packets");
    // With the bytes of master key and salt (RFC 3711 5, RFC 7714 12).
    let suites = [(AesCm128HmacSha1_80, 30), (AesCm128HmacSha1_32, 30), (AeadAes128Gcm, 28), (AeadAes256Gcm, 44)];
    let of = |(suite, key): (SrtpSuite, u8)| (suite.name().to_owned(), transforms(suite, key, packets));
    let by_suite: Map<_, _> = suites.into_iter().map(of).collect();
    said["srtp"] = by_suite.into();
    println!("{said}");
}

/// CPU time of this thread that a piece of work takes, added to what was.
fn timed<T>(spent: &mut Duration, work: impl FnOnce() -> T) -> T {
    let clock =
        || Duration::from(clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).expect("a clock that is always there"));
    let began = clock();
    let done = work();
    *spent += clock() - began;
    done
}

fn handshakes(count: usize) -> Value {
    let [caller, ours] = [(); 2].map(|()| Identity::generate().expect("a certificate"));
    let (mut as_client, mut as_server) = (Vec::with_capacity(count), Vec::with_capacity(count));
    for _ in 0..count {
        let (mut client_us, mut server_us) = (Duration::ZERO, Duration::ZERO);
        let make = |identity, role, peer: &Identity| {
            Dtls::new(Instant::now(), identity, role, peer.fingerprint()).expect("memory for a handshake")
        };
        let mut client = timed(&mut client_us, || make(&caller, Role::Client, &ours));
        let mut server = timed(&mut server_us, || make(&ours, Role::Server, &caller));
        while client.keys().is_none() || server.keys().is_none() {
            while let Some(datagram) = client.poll_transmit() {
                timed(&mut server_us, || server.handle_input(Instant::now(), &datagram));
            }
            while let Some(datagram) = server.poll_transmit() {
                timed(&mut client_us, || client.handle_input(Instant::now(), &datagram));
            }
        }
        as_client.push(client_us);
        as_server.push(server_us);
    }
    json!({ "client_us": median_us(as_client), "server_us": median_us(as_server) })
}

fn median_us(mut spans: Vec<Duration>) -> f64 {
    spans.sort_unstable();
    spans[spans.len() / 2].as_nanos() as f64 / 1000.0
}

/// Each packet protected, and opened at the other end.
fn transforms(suite: SrtpSuite, key: u8, packets: u16) -> Value {
    let key = || Secret::new((1..=key).collect::<Vec<u8>>());
    let keys = Keys { suite, inbound: key(), outbound: key() };
    let (mut inbound, mut outbound) = SrtpContext::keyed(&keys).expect("keys of the suite");
    let (mut protecting, mut opening) = (Duration::ZERO, Duration::ZERO);
    let sequences: Vec<u16> = (0..packets).collect();
    for batch in sequences.chunks(BATCH) {
        let mut rooms = [([0x55; PACKET + ROOM], PACKET); BATCH];
        for ((room, _), sequence) in rooms.iter_mut().zip(batch) {
            room[..4].copy_from_slice(&[0x80, 0, (sequence >> 8) as u8, *sequence as u8]);
        }
        let rooms = &mut rooms[..batch.len()];
        timed(&mut protecting, || {
            rooms.iter_mut().for_each(|(room, len)| *len = outbound.protect_rtp(room, *len).expect("a packet"));
        });
        timed(&mut opening, || {
            rooms.iter_mut().for_each(|(room, len)| *len = inbound.unprotect_rtp(room, *len).expect("the same packet"));
        });
        assert!(rooms.iter().all(|(_, len)| *len == PACKET));
    }
    let each_ns = |spent: Duration| spent.as_nanos() as f64 / f64::from(packets);
    json!({ "protect_ns": each_ns(protecting), "open_ns": each_ns(opening) })
}

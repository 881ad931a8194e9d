//! What the decision about a packet costs by itself, without a kernel: nanoseconds, least and median of the rounds.
//!
//! ```text
//! cargo bench -p postern-media --bench decide -- [--legs 2000] [--rounds 30] [--cold 512] [--ahead 4]
//! ```
//!
//! Legs take turns in shuffled order. `--cold`: cache lines of other memory touched between two packets, as the kernel does on a packet's way;
//! with none the caches belong to the relay alone, which they never do. `--ahead`: how many packets before its turn a leg's memory is asked for.
#![allow(clippy::disallowed_methods, reason = "a benchmark reads the clock")]

use std::{
    hint::black_box,
    net::SocketAddr,
    time::{Duration, Instant},
};

use postern_media::{Port, Relay, Verdict, relay::Limits};
use postern_types::{CallSid, media::StreamSetup, stream::Format};

const LIMITS: Limits = Limits { latch_window: Duration::from_secs(2), timeout: Duration::from_secs(30) };
const LINE: usize = 64;
/// Memory that is walked through for `--cold`: more than any core's own caches hold.
const OTHER: usize = 64 << 20;

fn main() {
    let (mut legs, mut rounds, mut cold, mut ahead) = (2000u32, 30usize, 512usize, 4usize);
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut value = || words.next().and_then(|word| word.parse::<usize>().ok()).expect("an option and its number");
        match word.as_str() {
            "--legs" => legs = value() as u32,
            "--rounds" => rounds = value(),
            "--cold" => cold = value(),
            "--ahead" => ahead = value(),
            // Given by `cargo bench` itself.
            "--bench" => {}
            other => panic!("unknown option {other}"),
        }
    }
    let now = Instant::now();
    let peer = |leg: u32| SocketAddr::from(([192, 0, 2, 1], 4000 + 2 * leg as u16));
    let mut relay = Relay::new(legs as usize, LIMITS, 1);
    for leg in 0..legs {
        relay.open(now, leg, CallSid(leg.into()));
        relay.configure(now, leg, Box::new(StreamSetup::plain(peer(leg), Format::pcma())));
    }
    (0..legs / 2).for_each(|call| relay.bridge(2 * call, 2 * call + 1));
    let mut order: Vec<u32> = (0..legs).collect();
    let mut random = 88_172_645_463_325_252u64;
    let mut next = move || {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random as usize
    };
    let mut other = vec![0u8; OTHER];
    let mut at = 0;
    let mut sequence = 0u16;
    let mut costs: Vec<f64> = (0..rounds)
        .map(|_| {
            (1..order.len()).rev().for_each(|n| order.swap(n, next() % (n + 1)));
            sequence += 1;
            let mut spent = Duration::ZERO;
            let at_packet = now + Duration::from_millis(20) * sequence.into();
            for (n, &leg) in order.iter().enumerate() {
                if ahead > 0 {
                    order.get(n + ahead).inspect(|leg| relay.prefetch(**leg));
                    order.get(n + ahead / 2).inspect(|leg| relay.prefetch_partner(**leg));
                }
                for _ in 0..cold {
                    at = (at + LINE) % OTHER;
                    other[at] = other[at].wrapping_add(1);
                }
                let mut room = [0u8; 200];
                room[..2].copy_from_slice(&[0x80, 8]);
                room[2..4].copy_from_slice(&sequence.to_be_bytes());
                room[4..8].copy_from_slice(&(u32::from(sequence) * 160).to_be_bytes());
                room[8..12].copy_from_slice(&leg.to_be_bytes());
                let began = Instant::now();
                let verdict = relay.handle_input(at_packet, leg, Port::Rtp, peer(leg), &mut room, 172);
                spent += began.elapsed();
                assert!(matches!(black_box(verdict), Verdict::Send { .. }));
            }
            spent.as_nanos() as f64 / f64::from(legs)
        })
        .collect();
    costs.remove(0);
    costs.sort_by(f64::total_cmp);
    // Reading the clock twice is in each figure.
    let clock = {
        let began = Instant::now();
        (0..1_000_000).for_each(|_| {
            let _ = black_box(Instant::now());
        });
        began.elapsed().as_nanos() as f64 / 1e6
    };
    println!(
        "{{\"legs\":{legs},\"cold_lines\":{cold},\"ns_least\":{:.0},\"ns_median\":{:.0},\"ns_clock\":{clock:.0}}}",
        costs[0],
        costs[costs.len() / 2]
    );
}

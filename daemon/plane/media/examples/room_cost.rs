//! What a conference costs a worker, without the kernel's part: `cargo run --release -p postern-media --example room_cost`.
#![allow(clippy::disallowed_methods, reason = "it measures time")]

#[path = "support/room.rs"]
mod room;

use std::time::Instant;

use room::House;

fn main() {
    println!("parties  speak  us per tick  per cent of a core");
    for (parties, speakers) in [(10, 2), (50, 4), (200, 1), (200, 4), (200, 8), (200, 200)] {
        let mut house = House::new(parties, speakers);
        for _ in 0..50 {
            house.tick();
        }
        let began = Instant::now();
        let ticks = 500;
        let sent: usize = (0..ticks).map(|_| house.tick()).sum();
        assert_eq!(sent, ticks * parties as usize, "each hears each tick");
        let us = began.elapsed().as_micros() as f64 / ticks as f64;
        println!("{parties:7}  {speakers:5}  {us:11.1}  {:18.2}", us / 200.0);
    }
}

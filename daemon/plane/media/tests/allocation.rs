//! After start-up a relayed packet costs no allocation. Alone in its program, for the allocator is the program's.
#![allow(clippy::disallowed_methods, reason = "tests read the clock")]

#[path = "support/counting.rs"]
mod counting;
mod support;

use counting::allocations;
use postern_types::media::MediaCommand;
use support::*;

#[test]
fn relaying_allocates_nothing() {
    let mut house = House::new(&config(4));
    let (a, b) = (house.leg(false, |_| {}), house.leg(false, |_| {}));
    house.command(MediaCommand::Bridge { a: a.id, b: b.id });
    let packet = rtp(8, 1, &[1; 160]);
    let mut bytes = [0; 2000];
    let mut exchange = |count: u32| {
        for _ in 0..count {
            for (one, other) in [(&a, &b), (&b, &a)] {
                one.send(&packet);
                assert_eq!(other.rtp.recv(&mut bytes).unwrap(), 172);
            }
        }
    };
    exchange(500);
    let before = allocations();
    let started = std::time::Instant::now();
    exchange(10_000);
    let seconds = started.elapsed().as_secs() + 1;
    let allocated = allocations() - before;
    // Once a second each of the two legs reports, in a box.
    assert!(allocated <= seconds * 4, "{allocated} allocations for 20000 packets in {seconds} s");
}

//! A conference allocates nothing for a tick, however many are in it. Alone in its program, for the allocator is the program's.
#![allow(clippy::disallowed_methods, reason = "tests read the clock")]

#[path = "support/counting.rs"]
mod counting;
#[path = "../examples/support/room.rs"]
mod room;

use counting::allocations;
use room::House;

#[test]
fn two_hundred_are_mixed_without_an_allocation() {
    let mut house = House::new(200, 8);
    // Decoders and the like are made with the first packets.
    for _ in 0..25 {
        house.tick();
    }
    let before = allocations();
    let sent = (0..100).map(|_| house.tick()).sum::<usize>();
    let allocated = allocations() - before;
    assert_eq!(sent, 100 * 200, "each hears each tick");
    assert_eq!(allocated, 0, "for {sent} packets");
}

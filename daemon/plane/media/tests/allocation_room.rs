//! A conference allocates nothing for a tick, however many are in it. Alone in its program, for the allocator is the program's.
#![allow(clippy::disallowed_methods, reason = "tests read the clock")]

#[path = "../examples/support/room.rs"]
mod room;

use std::{
    alloc::{GlobalAlloc, Layout, System},
    sync::atomic::{AtomicU64, Ordering},
};

use room::House;

struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

// SAFETY: every call is handed to the system's allocator as it is.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn two_hundred_are_mixed_without_an_allocation() {
    let mut house = House::new(200, 8);
    // Decoders and the like are made with the first packets.
    for _ in 0..25 {
        house.tick();
    }
    let before = ALLOCATIONS.load(Ordering::Relaxed);
    let sent = (0..100).map(|_| house.tick()).sum::<usize>();
    let allocated = ALLOCATIONS.load(Ordering::Relaxed) - before;
    assert_eq!(sent, 100 * 200, "each hears each tick");
    assert_eq!(allocated, 0, "for {sent} packets");
}

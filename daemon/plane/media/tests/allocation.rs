//! After start-up a relayed packet costs no allocation. Alone in its program, for the allocator is the program's.
#![allow(clippy::disallowed_methods, reason = "tests read the clock")]

mod support;

use std::{
    alloc::{GlobalAlloc, Layout, System},
    sync::atomic::{AtomicU64, Ordering},
};

use postern_types::media::MediaCommand;
use support::*;

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
    let before = ALLOCATIONS.load(Ordering::Relaxed);
    let started = std::time::Instant::now();
    exchange(10_000);
    let seconds = started.elapsed().as_secs() + 1;
    let allocated = ALLOCATIONS.load(Ordering::Relaxed) - before;
    // Once a second each of the two legs reports, in a box.
    assert!(allocated <= seconds * 4, "{allocated} allocations for 20000 packets in {seconds} s");
}

//! The way to the switch for everybody but the network: a bounded queue and the bell of the switch's ring.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
    mpsc::{Receiver, SyncSender, sync_channel},
};

use postern_switch::Input;
use postern_uring::Bell;

/// Letters that may wait: every answer that drivers may have under way at once (their own bounds add up to less), and
/// room for facts. When it is full a letter is dropped and counted; the router's own time-outs then answer for it.
pub const LETTERS_MAX: usize = 16_384;

/// The drivers' end; cheap to clone.
#[derive(Clone)]
pub struct Mailbox {
    letters: SyncSender<Input<'static>>,
    bell: Arc<Bell>,
    dropped: Arc<AtomicU64>,
}

impl Mailbox {
    /// A mailbox whose owner is woken by `bell`, and the owner's end.
    pub fn new(bell: Bell) -> (Self, Receiver<Input<'static>>) {
        let (letters, waiting) = sync_channel(LETTERS_MAX);
        (Self { letters, bell: Arc::new(bell), dropped: Arc::default() }, waiting)
    }

    /// Puts a letter in and wakes the switch; never waits.
    pub fn put(&self, letter: Input<'static>) {
        if self.letters.try_send(letter).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
        self.bell.ring();
    }

    /// Wakes the switch.
    pub fn ring(&self) {
        self.bell.ring();
    }

    /// Letters that found no room.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}

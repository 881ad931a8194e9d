//! Buffers that the kernel fills, and handles by which they are owned one at a time.
//!
//! One allocation holds all buffers: first those that the kernel takes for receives (the provided-buffer ring), then the
//! spares that we fill ourselves. A [`Buffer`] stands for one of them while it is out; dropping it gives it back.

use std::{
    alloc::{self, Layout},
    cell::{Cell, RefCell},
    fmt, io,
    ops::{Deref, DerefMut},
    ptr::NonNull,
    rc::Rc,
    sync::atomic::{AtomicU16, Ordering},
};

use io_uring::{IoUring, types::BufRingEntry};

use crate::setup::{Options, explained};

/// Bytes at the end of every buffer that a receive leaves free: the longest SRTP trailer that libsrtp may write is 144.
pub const TRAILER_ROOM: usize = 160;

/// The group under which the ring knows these buffers; a ring has one.
pub(crate) const GROUP: u16 = 0;

/// Page alignment, which the kernel demands of the entry ring.
const PAGE: usize = 4096;

/// All buffers of a ring. Lives as long as the ring or any handle.
pub(crate) struct Pool {
    entries: Memory,
    data: Memory,
    buffer_size: usize,
    /// Receive buffers; a power of two. Ids from here on are spares.
    provided: u16,
    /// The next entry to be written, published to the kernel through the ring's tail.
    tail: Cell<u16>,
    /// Receive buffers that are out of the kernel's hands.
    out: Cell<u16>,
    spares: RefCell<Vec<u16>>,
}

impl Pool {
    /// Allocates, registers with the ring and gives the kernel its buffers.
    pub(crate) fn new(ring: &IoUring, options: &Options) -> io::Result<Rc<Self>> {
        let pool = Self::allocate(options)?;
        // SAFETY: the address is page-aligned memory for `provided` entries; it stays allocated until the pool drops,
        // which the ring outlives only after unregistering with its own end (`Ring` keeps an Rc, or leaks the pool).
        unsafe {
            let entries = pool.entries.start.as_ptr() as u64;
            ring.submitter().register_buf_ring_with_flags(entries, pool.provided, GROUP, 0).map_err(explained)?;
        }
        pool.provide_all();
        Ok(Rc::new(pool))
    }

    /// The memory alone, which no kernel knows of.
    fn allocate(options: &Options) -> io::Result<Self> {
        let total = usize::from(options.receive_buffers) + usize::from(options.spare_buffers);
        let fits = options.receive_buffers.is_power_of_two() && total < usize::from(u16::MAX);
        if !fits || (options.buffer_size as usize) < 2 * TRAILER_ROOM {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "buffer counts or sizes out of range"));
        }
        let entry = size_of::<BufRingEntry>();
        Ok(Self {
            entries: Memory::new(usize::from(options.receive_buffers) * entry)?,
            data: Memory::new(total * options.buffer_size as usize)?,
            buffer_size: options.buffer_size as usize,
            provided: options.receive_buffers,
            tail: Cell::new(0),
            out: Cell::new(options.receive_buffers),
            spares: RefCell::new((options.receive_buffers..total as u16).rev().collect()),
        })
    }

    fn provide_all(&self) {
        (0..self.provided).for_each(|id| self.provide(id));
    }

    /// Bytes that a receive may fill.
    fn fillable(&self) -> usize {
        self.buffer_size - TRAILER_ROOM
    }

    /// Gives a receive buffer to the kernel.
    fn provide(&self, id: u16) {
        let tail = self.tail.get();
        let index = usize::from(tail & (self.provided - 1));
        let base = self.entries.start.as_ptr().cast::<BufRingEntry>();
        // SAFETY: `index` is below `provided`, so the entry lies in our allocation. The kernel reads an entry only between
        // its head and the published tail; this one is beyond the tail until the store below, so nobody else touches it.
        // The setters leave `resv` alone, which in entry 0 is the tail itself.
        let entry = unsafe { &mut *base.add(index) };
        entry.set_addr(self.at(id).as_ptr() as u64);
        entry.set_len(self.fillable() as u32);
        entry.set_bid(id);
        let next = tail.wrapping_add(1);
        // SAFETY: `base` is the first entry, whose `resv` is the tail, two-byte aligned and shared with the kernel, hence atomic.
        unsafe { (*BufRingEntry::tail(base).cast::<AtomicU16>()).store(next, Ordering::Release) };
        self.tail.set(next);
        self.out.set(self.out.get() - 1);
    }

    fn at(&self, id: u16) -> NonNull<u8> {
        // SAFETY: ids are below the number of buffers that `data` was allocated for.
        unsafe { self.data.start.add(usize::from(id) * self.buffer_size) }
    }

    /// Takes over the buffer that a completion names. The caller must have got `id` from a completion just now.
    pub(crate) fn received(self: &Rc<Self>, id: u16, filled: usize) -> Buffer {
        debug_assert!(id < self.provided);
        self.out.set(self.out.get() + 1);
        Buffer { pool: self.clone(), id, start: 0, len: filled.min(self.fillable()) as u32 }
    }

    /// A spare one, empty; none when all are out.
    pub(crate) fn spare(self: &Rc<Self>) -> Option<Buffer> {
        let id = self.spares.borrow_mut().pop()?;
        Some(Buffer { pool: self.clone(), id, start: 0, len: 0 })
    }

    /// Receive buffers in the kernel's hands, as far as completions were seen.
    pub(crate) fn available(&self) -> u16 {
        self.provided - self.out.get()
    }

    fn take_back(&self, id: u16) {
        if id < self.provided {
            self.provide(id);
        } else {
            // Never grows: it was made with room for every spare.
            self.spares.borrow_mut().push(id);
        }
    }
}

/// One buffer, owned alone: bytes of a datagram, or of what shall be sent. Dropping it gives it back.
pub struct Buffer {
    pool: Rc<Pool>,
    id: u16,
    start: u32,
    len: u32,
}

impl Buffer {
    /// How long the bytes may become at their place.
    pub fn capacity(&self) -> usize {
        self.pool.buffer_size - self.start as usize
    }

    /// Sets how many bytes count, from the first one on; beyond [`Buffer::capacity`] it is cut. Bytes that were not
    /// written before are what an earlier datagram left there.
    pub fn set_len(&mut self, len: usize) {
        self.len = len.min(self.capacity()) as u32;
    }

    /// The bytes and the room behind them, as one slice of [`Buffer::capacity`].
    pub fn room(&mut self) -> &mut [u8] {
        let capacity = self.capacity();
        // SAFETY: `start + capacity` is the buffer's size, all of it initialised (zeroed at allocation); the handle is the only
        // owner, because the kernel gave the buffer up with the completion (or never had it), and `&mut self` is exclusive.
        unsafe { std::slice::from_raw_parts_mut(self.pointer().as_ptr(), capacity) }
    }

    /// Replaces the bytes; refused when they do not fit.
    pub fn fill(&mut self, bytes: &[u8]) -> Result<(), BufferTooSmall> {
        self.room().get_mut(..bytes.len()).ok_or(BufferTooSmall)?.copy_from_slice(bytes);
        self.len = bytes.len() as u32;
        Ok(())
    }

    /// Leaves out bytes at the front.
    pub(crate) fn narrow(&mut self, start: usize, len: usize) {
        debug_assert!(self.start as usize + start + len <= self.pool.buffer_size);
        self.start += start as u32;
        self.len = len as u32;
    }

    pub(crate) fn pointer(&self) -> NonNull<u8> {
        // SAFETY: `start` never passes the buffer's end (`narrow`), so this stays inside the allocation.
        unsafe { self.pool.at(self.id).add(self.start as usize) }
    }
}

/// The bytes do not fit into the buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BufferTooSmall;

impl Deref for Buffer {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        // SAFETY: as in `room`, shared instead of exclusive.
        unsafe { std::slice::from_raw_parts(self.pointer().as_ptr(), self.len as usize) }
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        let len = self.len as usize;
        &mut self.room()[..len]
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        self.pool.take_back(self.id);
    }
}

impl fmt::Debug for Buffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Buffer {} of {} bytes", self.id, self.len)
    }
}

/// Zeroed, page-aligned memory, of which a page is taken only when it is first touched.
struct Memory {
    base: NonNull<u8>,
    start: NonNull<u8>,
    layout: Layout,
}

impl Memory {
    fn new(bytes: usize) -> io::Result<Self> {
        // Aligned by hand within one page more: asked for aligned zeroes, the allocator would write every byte itself.
        let layout = Layout::from_size_align(bytes.max(PAGE) + PAGE, align_of::<u64>()).map_err(io::Error::other)?;
        // SAFETY: the size is not zero.
        let base = NonNull::new(unsafe { alloc::alloc_zeroed(layout) }).ok_or(io::ErrorKind::OutOfMemory)?;
        // SAFETY: the next page border is less than a page away, and there is a page more than asked for.
        let start = unsafe { base.add(base.align_offset(PAGE)) };
        Ok(Self { base, start, layout })
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: allocated in `new` with this layout, freed only here.
        unsafe { alloc::dealloc(self.base.as_ptr(), self.layout) }
    }
}

/// Without a kernel, so that Miri can follow every access (`make miri`).
#[cfg(test)]
mod tests {
    use super::*;

    const RECEIVE: u16 = 8;
    const SPARE: u16 = 3;

    fn pool() -> Rc<Pool> {
        let options = Options { receive_buffers: RECEIVE, spare_buffers: SPARE, buffer_size: 512, ..Options::MEDIA };
        let pool = Pool::allocate(&options).unwrap();
        pool.provide_all();
        Rc::new(pool)
    }

    /// What the kernel would read: the entry at a place, and the tail.
    fn entry(pool: &Pool, place: u16) -> (u64, u32, u16) {
        let base = pool.entries.start.as_ptr().cast::<BufRingEntry>();
        // SAFETY: the place is below the number of entries, and nobody writes meanwhile.
        let entry = unsafe { &*base.add(usize::from(place)) };
        (entry.addr(), entry.len(), entry.bid())
    }

    fn tail(pool: &Pool) -> u16 {
        let base = pool.entries.start.as_ptr().cast::<BufRingEntry>();
        // SAFETY: as in `provide`.
        unsafe { (*BufRingEntry::tail(base).cast::<AtomicU16>()).load(Ordering::Acquire) }
    }

    #[test]
    fn every_buffer_is_its_owners_alone() {
        let pool = pool();
        let mut out: Vec<Buffer> = (0..RECEIVE).map(|id| pool.received(id, usize::MAX)).collect();
        assert!(out.iter().all(|buffer| buffer.len() == 512 - TRAILER_ROOM), "a receive leaves the trailer's room");
        out.extend(std::iter::from_fn(|| pool.spare()));
        assert_eq!((out.len(), pool.available()), (usize::from(RECEIVE + SPARE), 0));
        for (n, buffer) in out.iter_mut().enumerate() {
            buffer.room().fill(n as u8);
        }
        for (n, buffer) in out.iter_mut().enumerate() {
            buffer.set_len(usize::MAX);
            assert_eq!((buffer.len(), buffer.iter().all(|byte| *byte == n as u8)), (512, true));
        }
        drop(out);
        assert_eq!(pool.available(), RECEIVE);
        let spares: Vec<Buffer> = std::iter::from_fn(|| pool.spare()).collect();
        assert_eq!(spares.len(), usize::from(SPARE));
    }

    #[test]
    fn what_is_narrowed_keeps_to_its_end_and_what_does_not_fit_is_refused() {
        let pool = pool();
        let mut buffer = pool.received(0, 100);
        buffer.room()[16..20].copy_from_slice(b"data");
        buffer.narrow(16, 4);
        assert_eq!((&*buffer, buffer.capacity()), (&b"data"[..], 496));
        assert_eq!(buffer.fill(&[1; 497]), Err(BufferTooSmall));
        assert_eq!(&*buffer, b"data", "as it was");
        assert_eq!(buffer.fill(&[1; 496]), Ok(()));
        buffer.reverse();
        assert_eq!(buffer.len(), 496);
    }

    #[test]
    fn the_kernel_is_told_of_each_buffer_that_came_back_however_often_the_ring_went_round() {
        let pool = pool();
        for round in 0..1000u16 {
            let id = round % RECEIVE;
            let place = tail(&pool) % RECEIVE;
            drop(pool.received(id, 10));
            assert_eq!(entry(&pool, place), (pool.at(id).as_ptr() as u64, (512 - TRAILER_ROOM) as u32, id));
        }
        assert_eq!(tail(&pool), RECEIVE + 1000);
    }

    #[test]
    fn a_buffer_outlives_whoever_else_held_the_pool() {
        let mut last = pool().spare().unwrap();
        last.fill(b"still here").unwrap();
        assert_eq!(&*last, b"still here");
    }
}

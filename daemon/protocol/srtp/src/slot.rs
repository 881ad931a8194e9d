//! The one place where memory meets libsrtp: a caller's buffer, of which the front is filled.
//!
//! The crate's own `VecLike for Cursor<&mut [u8]>` tests the room the wrong way round and lets C write behind the buffer; so here is another.

#![allow(unsafe_code, reason = "the trait that the crate wants has unsafe methods")]

use srtp::vec_like::{BufferTooShortError, VecLike};

/// A packet in a buffer that may have room behind it.
pub(crate) struct Slot<'b> {
    bytes: &'b mut [u8],
    len: usize,
}

impl<'b> Slot<'b> {
    /// The first `len` bytes are the packet; none when there are not so many.
    pub fn new(bytes: &'b mut [u8], len: usize) -> Option<Self> {
        (len <= bytes.len()).then_some(Self { bytes, len })
    }

    /// Length of the packet.
    pub fn len(&self) -> usize {
        self.len
    }

    /// The packet.
    pub fn packet(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    /// Bytes behind the packet.
    pub fn room(&self) -> usize {
        self.bytes.len() - self.len
    }
}

// The methods are unsafe to implement, because their caller lets C write where we say. What makes it sound: `len` never exceeds
// `bytes.len()`, all of `bytes` is initialised and exclusively borrowed while a `Slot` lives, and `reserve` says yes only to room that is there.
impl VecLike for Slot<'_> {
    fn as_mut_bytes(&mut self) -> &mut [u8] {
        &mut self.bytes[..self.len]
    }

    unsafe fn reserve(&mut self, additional: usize) -> Result<(), BufferTooShortError> {
        if self.room() >= additional {
            Ok(())
        } else {
            Err(BufferTooShortError { requested_capacity: self.len.saturating_add(additional) })
        }
    }

    unsafe fn set_len(&mut self, new_len: usize) {
        // A length from C that cannot be true would only shorten the packet.
        self.len = new_len.min(self.bytes.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_what_is_there_and_no_more() {
        let mut bytes = [0; 10];
        let mut slot = Slot::new(&mut bytes, 4).unwrap();
        // SAFETY: only our own methods are called; they write nothing.
        unsafe {
            assert!(slot.reserve(6).is_ok());
            assert!(slot.reserve(7).is_err());
            assert!(slot.reserve(usize::MAX).is_err());
            slot.set_len(99);
        }
        assert_eq!(slot.len(), 10);
        assert!(Slot::new(&mut bytes, 11).is_none());
    }
}

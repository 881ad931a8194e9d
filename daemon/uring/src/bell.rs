//! An eventfd by which other threads wake the owner of a ring.

use std::{
    io,
    os::fd::{AsFd, AsRawFd, OwnedFd, RawFd},
};

use nix::sys::eventfd::{EfdFlags, EventFd};

/// Wakes the thread that waits on a ring. Rings before the other looks melt into one.
#[derive(Debug)]
pub struct Bell(OwnedFd);

impl Bell {
    /// A new bell. It blocks on reading, for a ring would be told `EAGAIN` instead of waiting (io_uring honours O_NONBLOCK).
    pub fn new() -> io::Result<Self> {
        Ok(Self(EventFd::from_flags(EfdFlags::EFD_CLOEXEC)?.into()))
    }

    /// Another handle of the same bell.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(Self(self.0.try_clone()?))
    }

    /// Rings. Cannot block: the counter would have to reach 2^64 - 1 unread.
    pub fn ring(&self) {
        // The only possible errors are those of a bad descriptor, which an OwnedFd is not.
        let _ = nix::unistd::write(self.0.as_fd(), &1u64.to_ne_bytes());
    }

    pub(crate) fn fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

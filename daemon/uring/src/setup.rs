//! Making a ring: the flags that FACTS found fastest, and what is done without on older kernels.

use std::io;

use io_uring::IoUring;

/// Sizes of a ring.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// Submission queue entries, a power of two. A full queue is submitted on the way, so this only sets the batch.
    pub submissions: u32,
    /// Completion queue entries, a power of two. Overflow is kept by the kernel and ends multishot receives, which are armed again.
    pub completions: u32,
    /// Buffers that receives take from, a power of two up to 32768. All taken: datagrams wait in the socket.
    pub receive_buffers: u16,
    /// Buffers for what is sent by ourselves. All taken: [`crate::Ring::spare`] gives none.
    pub spare_buffers: u16,
    /// Bytes of every buffer. Of these [`crate::buffer::TRAILER_ROOM`] are never filled by a receive, and 44 carry the source.
    pub buffer_size: u32,
    /// Sockets at once.
    pub sockets: u32,
}

impl Options {
    /// A media worker: 8 MB of receive buffers, whatever the number of legs.
    pub const MEDIA: Self = Self {
        submissions: 1024,
        completions: 16384,
        receive_buffers: 4096,
        spare_buffers: 1024,
        buffer_size: 2048,
        sockets: 32768,
    };

    /// The switch: few sockets and datagrams up to the largest that UDP carries. Pages are only taken as they are filled.
    pub const SWITCH: Self = Self {
        submissions: 1024,
        completions: 4096,
        receive_buffers: 1024,
        spare_buffers: 2048,
        buffer_size: 65536 + 128,
        sockets: 64,
    };

    /// Sends in flight at once at most: every buffer may be on its way out.
    pub(crate) fn sends(&self) -> usize {
        usize::from(self.receive_buffers) + usize::from(self.spare_buffers)
    }
}

/// Least kernel: multishot `recvmsg` with provided buffers.
const KERNEL: &str = "postern needs Linux 6.0 or newer with io_uring";

/// A ring with as many of the wanted flags as the kernel knows, and what had to be left out.
pub(crate) fn build(options: &Options) -> io::Result<(IoUring, Vec<&'static str>)> {
    let mut notices = Vec::new();
    for attempt in [Attempt::Full, Attempt::SubmissionArray, Attempt::Cooperative] {
        if let Some(notice) = attempt.notice() {
            notices.push(notice);
        }
        match attempt.build(options) {
            Ok(ring) => {
                if !ring.params().is_feature_ext_arg() || !ring.params().is_feature_nodrop() {
                    return Err(io::Error::new(io::ErrorKind::Unsupported, KERNEL));
                }
                if !ring.params().is_feature_min_timeout() {
                    notices.push("this kernel cannot gather completions for a minimum time (Linux 6.12 can)");
                }
                return Ok((ring, notices));
            }
            // An unknown flag is EINVAL; anything else will not get better with fewer flags.
            Err(e) if e.raw_os_error() == Some(nix::libc::EINVAL) => {}
            Err(e) => return Err(explained(e)),
        }
    }
    Err(io::Error::new(io::ErrorKind::Unsupported, KERNEL))
}

/// Says what stands behind the errors that an administrator meets.
pub(crate) fn explained(error: io::Error) -> io::Error {
    let why = match error.raw_os_error() {
        Some(nix::libc::EPERM | nix::libc::EACCES) => {
            "io_uring is not permitted: sysctl kernel.io_uring_disabled, or a seccomp filter (in a unit: SystemCallFilter=@aio)"
        }
        Some(nix::libc::ENOSYS | nix::libc::EINVAL) => KERNEL,
        Some(nix::libc::ENOMEM) => "no memory may be locked for io_uring: raise RLIMIT_MEMLOCK (LimitMEMLOCK=)",
        _ => return error,
    };
    io::Error::new(error.kind(), format!("{why} ({error})"))
}

#[derive(Clone, Copy)]
enum Attempt {
    Full,
    SubmissionArray,
    Cooperative,
}

impl Attempt {
    fn notice(self) -> Option<&'static str> {
        match self {
            Self::Full => None,
            Self::SubmissionArray => Some("this kernel wants a submission array (Linux 6.6 does without)"),
            Self::Cooperative => {
                Some("this kernel cannot defer completion work (Linux 6.1 can): media costs twice the CPU")
            }
        }
    }

    fn build(self, options: &Options) -> io::Result<IoUring> {
        let mut builder = IoUring::builder();
        builder.dontfork().setup_cqsize(options.completions).setup_submit_all().setup_single_issuer();
        match self {
            Self::Full => builder.setup_defer_taskrun().setup_no_sqarray(),
            Self::SubmissionArray => builder.setup_defer_taskrun(),
            Self::Cooperative => builder.setup_coop_taskrun(),
        };
        builder.build(options.submissions)
    }
}

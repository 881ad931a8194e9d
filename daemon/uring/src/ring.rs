//! A ring with UDP sockets: multishot receives into provided buffers, sends out of the same buffers.
//!
//! Turn: [`Ring::wait`], then [`Ring::next`] until none, acting on each; what was asked for meanwhile is submitted by the
//! next wait in one system call. After start-up nothing here allocates.
//!
//! A receive that ends by itself is armed again at the next wait: after `ENOBUFS` as soon as buffers are back, after an
//! ICMP error or a completion overflow at once. Closing is a sequence: cancel the receive, wait until it and the sends
//! have completed, close the descriptor, tell [`Completion::Closed`]; only then is the port free for others.

use std::{
    collections::VecDeque,
    io, mem,
    net::{SocketAddr, UdpSocket},
    os::fd::{AsRawFd, OwnedFd},
    rc::Rc,
    time::{Duration, Instant},
};

use io_uring::{IoUring, cqueue, opcode, squeue, types};
use nix::libc;
use socket2::SockAddr;

use crate::{
    bell::Bell,
    buffer::{Buffer, GROUP, Pool},
    setup::{self, Options},
    socket::address_from_kernel,
};

/// Names a socket of one ring. After its [`Completion::Closed`] the name is stale and ignored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SocketId {
    /// Place in the ring's table: below [`Options::sockets`], so callers may keep tables of their own by it.
    pub index: u32,
    generation: u32,
}

/// What the kernel has done.
#[derive(Debug)]
pub enum Completion {
    /// A datagram came.
    Datagram {
        /// Where.
        socket: SocketId,
        /// From whom.
        source: SocketAddr,
        /// Its bytes, with at least [`crate::buffer::TRAILER_ROOM`] behind them.
        buffer: Buffer,
    },
    /// Somebody rang the bell.
    Woken,
    /// The socket is closed and its port free.
    Closed {
        /// Which.
        socket: SocketId,
    },
    /// The socket given to [`Ring::release`] is out of the ring, still bound.
    Released {
        /// Which.
        socket: SocketId,
        /// Itself.
        descriptor: UdpSocket,
    },
    /// The socket can receive no more, for a reason that trying again will not mend. It still has to be closed.
    Broken {
        /// Which.
        socket: SocketId,
        /// The system's error number.
        error: i32,
    },
}

/// What went past, and what went wrong.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Datagrams handed out.
    pub received: u64,
    /// Datagrams that the kernel took from us.
    pub sent: u64,
    /// Sends that failed: the peer's port is closed, no route, socket buffer full.
    pub send_errors: u64,
    /// Receives that ended by an error of the peer's side (ICMP) and were armed again.
    pub receive_errors: u64,
    /// Datagrams longer than a buffer, dropped.
    pub truncated: u64,
    /// Receives that ended because buffers were short, and were armed again when some were back.
    pub starved: u64,
    /// Times that the completion queue was seen full. The kernel keeps what did not fit.
    pub overflows: u64,
    /// Calls of io_uring_enter.
    pub waits: u64,
}

/// The ring. Belongs to the thread that made it.
pub struct Ring {
    // The order of fields is the order of dropping: the ring goes before the memory that it uses.
    uring: IoUring,
    pool: Rc<Pool>,
    sends: Box<[SendSlot]>,
    /// How multishot `recvmsg` lays a datagram out: room for an IPv6 address, none for control data.
    header: Box<libc::msghdr>,
    bell: Bell,
    bell_count: Box<[u8; 8]>,
    bell_armed: bool,
    sockets: Box<[Slot]>,
    free_sockets: Vec<u32>,
    free_sends: Vec<u32>,
    /// Sockets whose receive is to be armed at the next wait.
    to_arm: VecDeque<u32>,
    /// Completions taken over from the kernel's queue and not yet told.
    batch: VecDeque<cqueue::Entry>,
    /// Sockets that are closed, or released with their descriptor, and not yet told.
    closed: VecDeque<(SocketId, Option<UdpSocket>)>,
    /// Operations that the kernel has and will complete.
    in_flight: usize,
    counters: Counters,
    notices: Vec<&'static str>,
    has_min_wait: bool,
}

/// Completions taken over from the kernel's queue at a time.
const BATCH: usize = 256;

/// Bytes before the payload in a buffer filled by multishot `recvmsg`: its header and the source's address.
const NAME_MAX: usize = size_of::<libc::sockaddr_in6>();

struct Slot {
    generation: u32,
    fd: Option<OwnedFd>,
    /// The only peer, when the socket is connected.
    peer: Option<SocketAddr>,
    receive: Receive,
    sends: u32,
    closing: bool,
    /// Closing ends with giving the descriptor back.
    release: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Receive {
    Off,
    /// In `to_arm`.
    Wanted,
    Armed,
    Broken,
}

/// A send under way: all that the kernel may look at until it completes.
struct SendSlot {
    socket: u32,
    buffer: Option<Buffer>,
    address: SockAddr,
    part: libc::iovec,
    header: libc::msghdr,
}

#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Kind {
    Receive = 1,
    Send = 2,
    Cancel = 3,
    Bell = 4,
}

impl Kind {
    fn tag(self, index: u32) -> u64 {
        (self as u64) << 56 | u64::from(index)
    }
}

impl Ring {
    /// A ring that `bell` wakes.
    pub fn new(options: &Options, bell: Bell) -> io::Result<Self> {
        let (uring, notices) = setup::build(options)?;
        let pool = Pool::new(&uring, options)?;
        // SAFETY: msghdr is a C struct of integers and pointers; all zero is its empty value.
        let mut header: Box<libc::msghdr> = Box::new(unsafe { mem::zeroed() });
        header.msg_namelen = NAME_MAX as u32;
        let sends = options.sends();
        Ok(Self {
            has_min_wait: uring.params().is_feature_min_timeout(),
            uring,
            pool,
            sends: (0..sends).map(|_| SendSlot::new()).collect(),
            header,
            bell,
            bell_count: Box::new([0; 8]),
            bell_armed: false,
            sockets: (0..options.sockets).map(|_| Slot::new()).collect(),
            free_sockets: (0..options.sockets).rev().collect(),
            free_sends: (0..sends as u32).rev().collect(),
            to_arm: VecDeque::with_capacity(options.sockets as usize),
            batch: VecDeque::with_capacity(BATCH),
            closed: VecDeque::with_capacity(options.sockets as usize),
            in_flight: 0,
            counters: Counters::default(),
            notices,
        })
    }

    /// What this kernel cannot do, in words for a person; empty on Linux 6.12 and newer.
    pub fn notices(&self) -> &[&'static str] {
        &self.notices
    }

    /// Figures since the start.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// Takes a socket over and receives from it. Handed back when the table is full.
    pub fn add(&mut self, socket: UdpSocket) -> Result<SocketId, UdpSocket> {
        let Some(index) = self.free_sockets.pop() else { return Err(socket) };
        let slot = &mut self.sockets[index as usize];
        slot.peer = socket.peer_addr().ok();
        slot.fd = Some(socket.into());
        slot.receive = Receive::Wanted;
        slot.closing = false;
        self.to_arm.push_back(index);
        Ok(SocketId { index, generation: slot.generation })
    }

    /// Binds a socket to one peer: sends get cheaper, and the kernel turns others away. Datagrams that were queued
    /// before still come, with their true source, because the receive goes on as it was armed.
    pub fn connect(&mut self, socket: SocketId, peer: SocketAddr) -> io::Result<()> {
        let Some(slot) = live(&mut self.sockets, socket) else { return Ok(()) };
        let Some(fd) = &slot.fd else { return Ok(()) };
        socket2::SockRef::from(fd).connect(&SockAddr::from(peer))?;
        slot.peer = Some(peer);
        Ok(())
    }

    /// Undoes [`Ring::connect`]; the local address and port stay if they were bound by number (Linux gives up a port that
    /// it had chosen itself).
    pub fn disconnect(&mut self, socket: SocketId) -> io::Result<()> {
        let Some(slot) = live(&mut self.sockets, socket) else { return Ok(()) };
        let Some(fd) = &slot.fd else { return Ok(()) };
        // SAFETY: a sockaddr of all zeroes is the AF_UNSPEC address (family 0), valid for its whole length; the kernel
        // only reads it during the call.
        let unspecified = unsafe { mem::zeroed::<libc::sockaddr>() };
        // SAFETY: see above; the descriptor is owned by the slot and open.
        let result = unsafe { libc::connect(fd.as_raw_fd(), &unspecified, size_of::<libc::sockaddr>() as u32) };
        if result < 0 {
            return Err(io::Error::last_os_error());
        }
        slot.peer = None;
        Ok(())
    }

    /// Whom the socket is connected to.
    pub fn peer(&self, socket: SocketId) -> Option<SocketAddr> {
        let slot = self.sockets.get(socket.index as usize)?;
        (slot.generation == socket.generation).then_some(slot.peer)?
    }

    /// The address and port of the socket.
    pub fn local(&self, socket: SocketId) -> Option<SocketAddr> {
        self.socket(socket)?.local_addr().ok()?.as_socket()
    }

    /// How packets that leave a socket are marked: their code point of differentiated services.
    pub fn dscp(&self, socket: SocketId) -> Option<u8> {
        let socket = self.socket(socket)?;
        let is_v6 = socket.domain().ok()? == socket2::Domain::IPV6;
        let marked = if is_v6 { socket.tclass_v6() } else { socket.tos_v4() };
        Some((marked.ok()? >> 2) as u8 & 63)
    }

    fn socket(&self, socket: SocketId) -> Option<socket2::SockRef<'_>> {
        let slot = self.sockets.get(socket.index as usize).filter(|slot| slot.generation == socket.generation)?;
        Some(socket2::SockRef::from(slot.fd.as_ref()?))
    }

    /// An empty buffer of our own; none when all are out.
    pub fn spare(&mut self) -> Option<Buffer> {
        self.pool.spare()
    }

    /// Sends a buffer's bytes; it is given back when the kernel is done. Handed back at once when the socket is gone or
    /// too many sends are under way.
    pub fn send(&mut self, socket: SocketId, to: SocketAddr, buffer: Buffer) -> Result<(), Buffer> {
        let Some(slot) = live(&mut self.sockets, socket).filter(|s| !s.closing) else { return Err(buffer) };
        let Some(fd) = slot.fd.as_ref().map(|fd| types::Fd(fd.as_raw_fd())) else { return Err(buffer) };
        let Some(index) = self.free_sends.pop() else { return Err(buffer) };
        slot.sends += 1;
        let send = &mut self.sends[index as usize];
        send.socket = socket.index;
        let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
        let entry = if slot.peer == Some(to) {
            opcode::Send::new(fd, buffer.pointer().as_ptr(), buffer.len() as u32).flags(flags).build()
        } else {
            send.address = SockAddr::from(to);
            send.part = libc::iovec { iov_base: buffer.pointer().as_ptr().cast(), iov_len: buffer.len() };
            send.header.msg_name = send.address.as_ptr().cast_mut().cast();
            send.header.msg_namelen = send.address.len();
            send.header.msg_iov = &mut send.part;
            send.header.msg_iovlen = 1;
            opcode::SendMsg::new(fd, &send.header).flags(flags as u32).build()
        };
        send.buffer = Some(buffer);
        // SAFETY (of the operation): buffer, address, iovec and header are owned by the slot, which has a fixed place on
        // the heap and is not touched until the completion frees it; the socket stays open while `sends` is not zero.
        self.push(entry.user_data(Kind::Send.tag(index)));
        Ok(())
    }

    /// Ends a socket; [`Completion::Closed`] follows.
    pub fn close(&mut self, socket: SocketId) {
        self.end(socket, false);
    }

    /// Gives a socket back, for another ring: [`Completion::Released`] follows. What comes meanwhile waits in the socket;
    /// datagrams that completed before are still told.
    pub fn release(&mut self, socket: SocketId) {
        self.end(socket, true);
    }

    fn end(&mut self, socket: SocketId, release: bool) {
        let Some(slot) = live(&mut self.sockets, socket).filter(|s| !s.closing) else { return };
        slot.closing = true;
        slot.release = release;
        match slot.receive {
            Receive::Armed => {
                let cancel = opcode::AsyncCancel::new(Kind::Receive.tag(socket.index)).build();
                self.push(cancel.user_data(Kind::Cancel.tag(socket.index)));
            }
            // `arm_receives` skips it when its turn comes.
            Receive::Wanted | Receive::Off | Receive::Broken => self.finish_close(socket.index),
        }
    }

    /// Submits what was asked for, and waits: for `want` completions at most `min_wait`, then for at least one until
    /// `deadline`. Returns at once when something is there already. Interruptions and time-outs are no errors.
    pub fn wait(&mut self, want: usize, min_wait: Duration, deadline: Option<Instant>) -> io::Result<()> {
        self.arm_bell();
        self.arm_receives();
        let idle = self.batch.is_empty() && self.closed.is_empty();
        let timeout = match deadline {
            Some(at) => types::Timespec::from(at.saturating_duration_since(Instant::now())),
            None => types::Timespec::from(FOREVER),
        };
        let mut args = types::SubmitArgs::new().timespec(&timeout);
        let want = if !idle {
            0
        } else if want > 1 && self.has_min_wait {
            args = args.min_wait_usec(min_wait.as_micros() as u32);
            want
        } else {
            1
        };
        self.counters.waits += 1;
        if self.uring.submission().cq_overflow() {
            self.counters.overflows += 1;
        }
        match self.uring.submitter().submit_with_args(want, &args) {
            Ok(_) => Ok(()),
            Err(e) => match e.raw_os_error() {
                // EBUSY, EAGAIN: completions must be taken first, or memory is short; the caller's turn does just that.
                Some(libc::ETIME | libc::EINTR | libc::EBUSY | libc::EAGAIN) => Ok(()),
                _ => Err(e),
            },
        }
    }

    /// The next thing that happened; none when all is told.
    #[allow(clippy::should_implement_trait, reason = "not an iterator: the caller sends in between")]
    pub fn next(&mut self) -> Option<Completion> {
        loop {
            if let Some((socket, descriptor)) = self.closed.pop_front() {
                return Some(match descriptor {
                    Some(descriptor) => Completion::Released { socket, descriptor },
                    None => Completion::Closed { socket },
                });
            }
            let entry = self.batch.pop_front().or_else(|| self.refill())?;
            let (result, flags) = (entry.result(), entry.flags());
            let index = entry.user_data() as u32;
            if !cqueue::more(flags) {
                self.in_flight -= 1;
            }
            match (entry.user_data() >> 56) as u8 {
                kind if kind == Kind::Receive as u8 => {
                    if let Some(completion) = self.received(index, result, flags) {
                        return Some(completion);
                    }
                }
                kind if kind == Kind::Send as u8 => self.sent(index, result),
                kind if kind == Kind::Bell as u8 => {
                    self.bell_armed = false;
                    return Some(Completion::Woken);
                }
                _ => {}
            }
        }
    }

    /// The index of the socket whose datagram [`Ring::next`] will bring after `ahead` others, as far as that is known yet.
    pub fn coming(&self, ahead: usize) -> Option<u32> {
        let entry = self.batch.get(ahead)?;
        (entry.user_data() >> 56 == Kind::Receive as u64).then_some(entry.user_data() as u32)
    }

    fn refill(&mut self) -> Option<cqueue::Entry> {
        // Within capacity, so this does not allocate.
        self.batch.extend(self.uring.completion().take(BATCH));
        self.batch.pop_front()
    }

    fn received(&mut self, index: u32, result: i32, flags: u32) -> Option<Completion> {
        // The buffer is ours from here on, and goes back by itself on every way out.
        let filled = usize::try_from(result).unwrap_or(0);
        let buffer = cqueue::buffer_select(flags).map(|id| self.pool.received(id, filled));
        let slot = &mut self.sockets[index as usize];
        let socket = SocketId { index, generation: slot.generation };
        if !cqueue::more(flags) {
            slot.receive = Receive::Off;
            if slot.closing {
                // Ended by cancelling it, or by itself in the same moment; a datagram of the latter is given up.
                drop(buffer);
                self.finish_close(index);
                return None;
            }
            match -result {
                error @ (libc::EBADF | libc::ENOTSOCK | libc::EINVAL | libc::EOPNOTSUPP | libc::EFAULT) => {
                    slot.receive = Receive::Broken;
                    return Some(Completion::Broken { socket, error });
                }
                libc::ENOBUFS => self.counters.starved += 1,
                error if error > 0 => self.counters.receive_errors += 1,
                _ => {}
            }
            slot.receive = Receive::Wanted;
            self.to_arm.push_back(index);
        }
        let mut buffer = buffer.filter(|_| result >= 0 && (!slot.closing || slot.release))?;
        let Some((source, start, len)) = self.opened(&buffer) else {
            self.counters.truncated += 1;
            return None;
        };
        buffer.narrow(start, len);
        self.counters.received += 1;
        Some(Completion::Datagram { socket, source, buffer })
    }

    /// Source, and place of the payload, in a buffer filled by multishot `recvmsg`; none when it was cut off.
    fn opened(&self, filled: &[u8]) -> Option<(SocketAddr, usize, usize)> {
        let parsed = types::RecvMsgOut::parse(filled, &self.header).ok()?;
        if parsed.is_payload_truncated() {
            return None;
        }
        let len = parsed.payload_data().len();
        Some((address_from_kernel(parsed.name_data())?, filled.len() - len, len))
    }

    fn sent(&mut self, index: u32, result: i32) {
        let send = &mut self.sends[index as usize];
        send.buffer = None;
        let socket = send.socket;
        self.free_sends.push(index);
        if result < 0 {
            self.counters.send_errors += 1;
        } else {
            self.counters.sent += 1;
        }
        let slot = &mut self.sockets[socket as usize];
        slot.sends -= 1;
        if slot.closing {
            self.finish_close(socket);
        }
    }

    fn finish_close(&mut self, index: u32) {
        let slot = &mut self.sockets[index as usize];
        if slot.receive == Receive::Armed || slot.sends > 0 || slot.fd.is_none() {
            return;
        }
        if slot.receive == Receive::Wanted {
            self.to_arm.retain(|&waiting| waiting != index);
        }
        slot.receive = Receive::Off;
        let descriptor = slot.fd.take().filter(|_| slot.release).map(UdpSocket::from);
        slot.peer = None;
        slot.closing = false;
        self.closed.push_back((SocketId { index, generation: slot.generation }, descriptor));
        slot.generation = slot.generation.wrapping_add(1);
        self.free_sockets.push(index);
    }

    fn arm_receives(&mut self) {
        for _ in 0..self.to_arm.len() {
            // With no buffer left a receive would only end again: wait until some are back.
            if self.pool.available() == 0 {
                return;
            }
            let Some(index) = self.to_arm.pop_front() else { return };
            let slot = &mut self.sockets[index as usize];
            let Some(fd) = slot.fd.as_ref().map(|fd| types::Fd(fd.as_raw_fd())) else { continue };
            slot.receive = Receive::Armed;
            let entry = opcode::RecvMsgMulti::new(fd, &*self.header, GROUP).build();
            // SAFETY (of the operation): the header lives in a box as long as the ring and is never written again; the
            // buffers are the pool's; the descriptor stays open until the receive has ended.
            self.push(entry.user_data(Kind::Receive.tag(index)));
        }
    }

    fn arm_bell(&mut self) {
        if self.bell_armed {
            return;
        }
        self.bell_armed = true;
        let entry = opcode::Read::new(types::Fd(self.bell.fd()), self.bell_count.as_mut_ptr(), 8).build();
        // SAFETY (of the operation): the counter lives in a box as long as the ring, and only one read is armed at a time.
        self.push(entry.user_data(Kind::Bell.tag(0)));
    }

    fn push(&mut self, entry: squeue::Entry) {
        self.in_flight += 1;
        loop {
            // SAFETY: each caller says why what its entry points to outlives the operation.
            if unsafe { self.uring.submission().push(&entry) }.is_ok() {
                return;
            }
            // Full: submit. EBUSY and the like leave the queue full; then completions are run, which frees the way.
            if self.uring.submit().is_err() {
                let _ = self.uring.submitter().submit_and_wait(0);
                let taken: Vec<_> = self.uring.completion().collect();
                self.batch.extend(taken);
            }
        }
    }
}

/// Longer than any uptime, shorter than what the kernel's clock holds.
const FOREVER: Duration = Duration::from_secs(3600 * 24 * 365);

/// Turns of ten milliseconds that a ring's end waits for its operations.
const DRAIN_TURNS: u32 = 200;

impl Drop for Ring {
    /// Ends every operation before the memory that it uses goes; should the kernel not let go, the memory is leaked.
    fn drop(&mut self) {
        for index in 0..self.sockets.len() {
            if self.sockets[index].receive == Receive::Armed {
                let cancel = opcode::AsyncCancel::new(Kind::Receive.tag(index as u32)).build();
                self.push(cancel.user_data(Kind::Cancel.tag(index as u32)));
            }
            self.sockets[index].closing = true;
        }
        if self.bell_armed {
            let cancel = opcode::AsyncCancel::new(Kind::Bell.tag(0)).build();
            self.push(cancel.user_data(Kind::Cancel.tag(0)));
        }
        for _ in 0..DRAIN_TURNS {
            while self.in_flight > 0 && self.next().is_some() {}
            self.closed.clear();
            if self.in_flight == 0 {
                return;
            }
            let timeout = types::Timespec::from(Duration::from_millis(10));
            let args = types::SubmitArgs::new().timespec(&timeout);
            let _ = self.uring.submitter().submit_with_args(1, &args);
        }
        mem::forget(self.pool.clone());
        mem::forget(mem::take(&mut self.sends));
        mem::forget(mem::replace(&mut self.bell_count, Box::new([0; 8])));
        // SAFETY: msghdr is a C struct of integers and pointers; all zero is its empty value.
        mem::forget(mem::replace(&mut self.header, Box::new(unsafe { mem::zeroed() })));
    }
}

impl Slot {
    fn new() -> Self {
        Self { generation: 0, fd: None, peer: None, receive: Receive::Off, sends: 0, closing: false, release: false }
    }
}

impl SendSlot {
    fn new() -> Self {
        Self {
            socket: 0,
            buffer: None,
            address: SockAddr::from(SocketAddr::from(([0, 0, 0, 0], 0))),
            part: libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 },
            // SAFETY: msghdr is a C struct of integers and pointers; all zero is its empty value.
            header: unsafe { mem::zeroed() },
        }
    }
}

/// The slot of a name that is not stale. A function of its own, so that the other fields stay free to borrow.
fn live(sockets: &mut [Slot], socket: SocketId) -> Option<&mut Slot> {
    sockets.get_mut(socket.index as usize).filter(|s| s.generation == socket.generation && s.fd.is_some())
}

#[cfg(test)]
mod tests;

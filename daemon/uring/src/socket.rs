//! UDP sockets as the house wants them.

use std::{
    io,
    net::{SocketAddr, UdpSocket},
    thread,
    time::{Duration, Instant},
};

use socket2::{Domain, Protocol, SockAddr, Socket, Type};

/// What a socket is made with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SocketOptions {
    /// SO_RCVBUF, bytes; none: as the system has it, 208 KB unless `net.core.rmem_default` says otherwise. The kernel
    /// doubles what is asked for, and caps it at `net.core.rmem_max` without an error.
    pub receive_buffer: Option<usize>,
    /// SO_SNDBUF, bytes; none: `net.core.wmem_default`.
    pub send_buffer: Option<usize>,
    /// Differentiated services code point, 0..=63: 46 (EF) for audio, 26 (AF31) for signaling.
    pub dscp: u8,
}

impl SocketOptions {
    /// Audio: the default holds seconds of 50 packets a second, and each option is a system call for each of a call's
    /// four sockets; EF.
    pub const MEDIA: Self = Self { receive_buffer: None, send_buffer: None, dscp: 46 };
    /// The same marked so.
    pub const fn marked(self, dscp: u8) -> Self {
        Self { dscp, ..self }
    }

    /// Signaling: the default 208 KB loses bursts of INVITEs; AF31.
    pub const SIGNALING: Self = Self { receive_buffer: Some(8 << 20), send_buffer: Some(4 << 20), dscp: 26 };
}

/// Binds a UDP socket: no SO_REUSEADDR or SO_REUSEPORT, so that a port in use is an error and never shared; an IPv6
/// socket takes IPv6 only.
pub fn bind(address: SocketAddr, options: &SocketOptions) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    mark(&socket, address.is_ipv6(), options.dscp)?;
    if let Some(bytes) = options.receive_buffer {
        socket.set_recv_buffer_size(bytes)?;
    }
    if let Some(bytes) = options.send_buffer {
        socket.set_send_buffer_size(bytes)?;
    }
    socket.bind(&SockAddr::from(address))?;
    Ok(socket.into())
}

/// Marks all that leaves a socket with a code point, 0..=63 (RFC 2474).
pub fn mark(socket: &Socket, is_ipv6: bool, dscp: u8) -> io::Result<()> {
    let tos = u32::from(dscp & 63) << 2;
    if is_ipv6 { socket.set_tclass_v6(tos) } else { socket.set_tos_v4(tos) }
}

/// [`bind`] for start-up: the ports of a process that just ended stay busy until the kernel has taken its ring apart
/// (29-57 ms), so a busy address is tried again for `patience`.
pub fn bind_patiently(address: SocketAddr, options: &SocketOptions, patience: Duration) -> io::Result<UdpSocket> {
    let until = Instant::now() + patience;
    loop {
        match bind(address, options) {
            Err(e) if e.kind() == io::ErrorKind::AddrInUse && Instant::now() < until => thread::sleep(BIND_PAUSE),
            result => return result,
        }
    }
}

/// Between two tries of [`bind_patiently`].
const BIND_PAUSE: Duration = Duration::from_millis(5);

/// Reads a socket address as the kernel writes it, and gives back an IPv4 or IPv6 address, never another family.
pub(crate) fn address_from_kernel(name: &[u8]) -> Option<SocketAddr> {
    use std::net::{Ipv4Addr, Ipv6Addr, SocketAddrV6};
    let family = u16::from_ne_bytes(name.get(..2)?.try_into().ok()?);
    let port = u16::from_be_bytes(name.get(2..4)?.try_into().ok()?);
    match i32::from(family) {
        nix::libc::AF_INET => {
            let ip: [u8; 4] = name.get(4..8)?.try_into().ok()?;
            Some(SocketAddr::from((Ipv4Addr::from(ip), port)))
        }
        nix::libc::AF_INET6 => {
            let flow = u32::from_be_bytes(name.get(4..8)?.try_into().ok()?);
            let ip: [u8; 16] = name.get(8..24)?.try_into().ok()?;
            let scope = u32::from_ne_bytes(name.get(24..28)?.try_into().ok()?);
            Some(SocketAddr::V6(SocketAddrV6::new(Ipv6Addr::from(ip), port, flow, scope)))
        }
        _ => None,
    }
}

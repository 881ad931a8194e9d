//! Network namespaces of a test's own: one for us, which the test's thread enters, and one far away, joined by a pair of interfaces.
#![allow(dead_code, reason = "each test uses a part")]

use std::{
    fs::File,
    net::{IpAddr, SocketAddr, UdpSocket},
    process::Command,
    sync::mpsc,
    thread,
    time::Duration,
};

use nix::{
    sched::{CloneFlags, setns, unshare},
    unistd::{geteuid, gettid},
};
use socket2::{Domain, Protocol, Socket, Type};

/// How long to wait for a packet that must come.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// The namespace that a test talks to. Ours is 192.0.2.1 and 2001:db8::1, this one .2 and ::2.
pub struct Far {
    namespace: File,
}

/// Whether this user may make namespaces and load programs; says so if not, for the test is left out.
pub fn is_root(test: &str) -> bool {
    let root = geteuid().is_root();
    if !root {
        eprintln!("{test}: left out, for it needs root (network namespaces, BPF)");
    }
    root
}

/// Puts this thread into a network namespace of its own, with a loopback interface.
pub fn enter() {
    unshare(CloneFlags::CLONE_NEWNET).expect("root may");
    ip("link set lo up");
}

impl Far {
    /// Makes the far side and the way to it. Call [`enter`] before.
    pub fn new() -> Self {
        let (tell, told) = mpsc::channel();
        let (done, is_done) = mpsc::channel::<()>();
        let thread = thread::spawn(move || {
            unshare(CloneFlags::CLONE_NEWNET).expect("root may");
            let own = gettid();
            tell.send((own, File::open(format!("/proc/self/task/{own}/ns/net")).expect("our own"))).expect("a test");
            let _ = is_done.recv();
            ip("link set lo up");
            ip("link set far up");
            ip("addr add 192.0.2.2/24 dev far");
            ip("addr add 192.0.2.3/24 dev far");
            ip("addr add 2001:db8::2/64 dev far nodad");
        });
        let (tid, namespace) = told.recv().expect("the far side");
        ip(&format!("link add near type veth peer name far netns {tid}"));
        ip("link set near up");
        ip("addr add 192.0.2.1/24 dev near");
        ip("addr add 2001:db8::1/64 dev near nodad");
        drop(done);
        thread.join().expect("the far side stands");
        Self { namespace }
    }

    /// Runs in the far namespace.
    pub fn run<T: Send>(&self, what: impl FnOnce() -> T + Send) -> T {
        thread::scope(|scope| {
            let thread = scope.spawn(|| {
                setns(&self.namespace, CloneFlags::CLONE_NEWNET).expect("root may");
                what()
            });
            thread.join().expect("it does not panic")
        })
    }

    /// A socket over there.
    pub fn socket(&self, address: &str) -> UdpSocket {
        self.run(|| socket(address))
    }
}

/// A socket here.
pub fn socket(address: &str) -> UdpSocket {
    let socket = UdpSocket::bind(address).unwrap_or_else(|error| panic!("{address}: {error}"));
    socket.set_read_timeout(Some(PATIENCE)).expect("it is not zero");
    socket
}

/// `ip` of iproute2, in this thread's namespace.
pub fn ip(words: &str) {
    let output = Command::new("ip").args(words.split(' ')).output().expect("iproute2 is installed");
    assert!(output.status.success(), "ip {words}: {}", String::from_utf8_lossy(&output.stderr));
}

/// What comes to a socket within [`PATIENCE`].
pub fn heard(socket: &UdpSocket) -> (Vec<u8>, SocketAddr) {
    let mut room = [0; 2048];
    let (len, from) = socket.recv_from(&mut room).expect("a packet");
    (room[..len].to_vec(), from)
}

/// Nothing has come. For packets that would have come before another that was heard.
pub fn assert_silent(socket: &UdpSocket) {
    socket.set_nonblocking(true).expect("a socket");
    let mut room = [0; 2048];
    let came = socket.recv_from(&mut room);
    assert!(came.is_err(), "{came:?} {:?}", &room[..16]);
    socket.set_nonblocking(false).expect("a socket");
}

/// A packet of RTP without padding, extension and contributing sources.
pub fn rtp(payload_type: u8, sequence: u16, timestamp: u32, ssrc: u32) -> Vec<u8> {
    let mut packet = vec![0x80, payload_type];
    packet.extend(sequence.to_be_bytes());
    packet.extend(timestamp.to_be_bytes());
    packet.extend(ssrc.to_be_bytes());
    packet.extend((0..160).map(|at| (at as u8).wrapping_mul(31).wrapping_add(sequence as u8)));
    packet
}

/// The one's complement sum of RFC 1071, complemented.
pub fn checksum(parts: &[&[u8]]) -> u16 {
    let words = parts
        .iter()
        .flat_map(|part| part.chunks(2))
        .map(|two| u32::from(u16::from_be_bytes([two[0], two.get(1).copied().unwrap_or(0)])));
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// A whole packet of IP and UDP with checksums made here, so that the receiving kernel has to verify them.
pub fn datagram(from: SocketAddr, to: SocketAddr, payload: &[u8]) -> Vec<u8> {
    let length = (8 + payload.len()) as u16;
    let mut udp = Vec::new();
    udp.extend(from.port().to_be_bytes());
    udp.extend(to.port().to_be_bytes());
    udp.extend(length.to_be_bytes());
    udp.extend([0, 0]);
    udp.extend(payload);
    let (mut packet, pseudo) = match (from.ip(), to.ip()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            let ends = [from.octets(), to.octets()].concat();
            let total = (20 + length).to_be_bytes();
            let head = [&[0x45, 0, total[0], total[1], 0, 1, 0, 0, 64, 17, 0, 0][..], &ends].concat();
            (head, ends)
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            let ends = [from.octets(), to.octets()].concat();
            let length = length.to_be_bytes();
            ([&[0x60, 0, 0, 0, length[0], length[1], 17, 64][..], &ends].concat(), ends)
        }
        _ => panic!("one family"),
    };
    let sum = checksum(&[&pseudo, &[0, 17], &length.to_be_bytes(), &udp]);
    udp[6..8].copy_from_slice(&sum.to_be_bytes());
    seal(&mut packet);
    packet.extend(udp);
    packet
}

/// Writes the checksum of an IPv4 header.
pub fn seal(packet: &mut [u8]) {
    if packet[0] >> 4 == 4 {
        let length = usize::from(packet[0] & 15) * 4;
        packet[10..12].fill(0);
        let sum = checksum(&[&packet[..length]]);
        packet[10..12].copy_from_slice(&sum.to_be_bytes());
    }
}

/// A socket that sends packets as [`datagram`] makes them.
pub fn raw(ipv6: bool) -> Socket {
    const IPPROTO_RAW: i32 = 255;
    let domain = if ipv6 { Domain::IPV6 } else { Domain::IPV4 };
    Socket::new(domain, Type::RAW, Some(Protocol::from(IPPROTO_RAW))).expect("root may")
}

/// Sends such a packet.
pub fn send_raw(socket: &Socket, packet: &[u8], to: SocketAddr) {
    // A raw socket has no ports.
    socket.send_to(packet, &SocketAddr::new(to.ip(), 0).into()).expect("it is sent");
}

//! Flows in the real kernel, between namespaces that the tests make: what is forwarded, and what never is.

use std::net::{SocketAddr, UdpSocket};

use postern_fastpath::{Ends, FastPath, Flow, Flows, Table};

mod support;
use support::{Far, assert_silent, enter, heard, is_root, rtp, socket};

const SSRC: u32 = 0x1234_5678;
const PCMA: u8 = 8;

/// Two legs of ours with their peers.
struct Call {
    path: FastPath,
    table: Table,
    /// Our ports, as user space has them: what comes here went up the stack.
    ours: [UdpSocket; 2],
    peers: [UdpSocket; 2],
}

impl Call {
    fn new(ours: [UdpSocket; 2], peers: [UdpSocket; 2]) -> Self {
        let mut path = FastPath::start().expect("root may");
        let addresses: Vec<_> = ours.iter().map(|socket| at(socket).ip()).collect();
        assert_eq!(path.serve(&addresses), Vec::<String>::new());
        let table = path.table().expect("it stands");
        Self { path, table, ours, peers }
    }

    fn flow(&self, from: usize) -> Flow {
        let ends = |leg: usize| Ends { local: at(&self.ours[leg]), peer: at(&self.peers[leg]) };
        Flow {
            heard: ends(from),
            said: ends(1 - from),
            ssrc: SSRC,
            clock_hz: 8000,
            payload_types: 1 << PCMA,
            dscp: 46,
            highest: 9,
            jitter: 0,
        }
    }

    fn install(&mut self, from: usize) {
        let flow = self.flow(from);
        assert!(self.table.install(from as u32, &flow));
    }

    fn send(&self, from: usize, packet: &[u8]) {
        self.peers[from].send_to(packet, at(&self.ours[from])).expect("it is sent");
    }

    /// Sent by a peer, it comes to the other from our other port, as it was.
    fn passes(&self, from: usize, packet: &[u8]) {
        self.send(from, packet);
        let (came, source) = heard(&self.peers[1 - from]);
        assert_eq!((came.as_slice(), source), (packet, at(&self.ours[1 - from])));
        assert_silent(&self.ours[from]);
    }

    /// Sent by a peer, it comes to our own socket as if there were no flow.
    fn goes_up(&self, from: usize, packet: &[u8]) {
        self.send(from, packet);
        let (came, source) = heard(&self.ours[from]);
        assert_eq!((came.as_slice(), source), (packet, at(&self.peers[from])));
        assert_silent(&self.peers[1 - from]);
    }
}

fn at(socket: &UdpSocket) -> SocketAddr {
    socket.local_addr().expect("it is bound")
}

/// Forwards both ways, and stops.
fn a_call_is_forwarded(call: &mut Call) {
    let packet = |sequence: u16| rtp(PCMA, sequence, u32::from(sequence) * 160, SSRC);
    call.goes_up(0, &packet(10));
    call.install(0);
    call.install(1);
    for sequence in 10..30 {
        call.passes(0, &packet(sequence));
        call.passes(1, &packet(sequence));
    }
    // Marked, it is the same payload type.
    call.passes(0, &rtp(PCMA | 0x80, 30, 4800, SSRC));

    let heard = call.flow(0).heard;
    let figures = call.table.remove(0, &heard);
    assert_eq!((figures.packets, figures.bytes, figures.highest), (21, 21 * 172, 30));
    call.goes_up(0, &packet(31));
    call.passes(1, &packet(31));
    assert_eq!(call.table.remove(0, &heard).packets, 0, "removed twice is removed once");
}

#[test]
fn over_loopback_ipv4() {
    if !is_root("over_loopback_ipv4") {
        return;
    }
    enter();
    let call = |ours: [&str; 2], peers: [&str; 2]| Call::new(ours.map(socket), peers.map(socket));
    a_call_is_forwarded(&mut call(["127.0.0.3:4000", "127.0.0.4:4002"], ["127.0.0.1:5000", "127.0.0.2:5002"]));
}

#[test]
fn over_loopback_ipv6() {
    if !is_root("over_loopback_ipv6") {
        return;
    }
    enter();
    let call = |ours: [&str; 2], peers: [&str; 2]| Call::new(ours.map(socket), peers.map(socket));
    a_call_is_forwarded(&mut call(["[::1]:4000", "[::1]:4002"], ["[::1]:5000", "[::1]:5002"]));
}

#[test]
fn over_ethernet_to_and_fro() {
    if !is_root("over_ethernet_to_and_fro") {
        return;
    }
    enter();
    let far = Far::new();
    for (ours, theirs) in [("192.0.2.1", "192.0.2.2"), ("[2001:db8::1]", "[2001:db8::2]")] {
        let ours = [4000, 4002].map(|port| socket(&format!("{ours}:{port}")));
        let peers = [5000, 5002].map(|port| far.socket(&format!("{theirs}:{port}")));
        a_call_is_forwarded(&mut Call::new(ours, peers));
    }
    // One peer on this host, the other far away: out of this host the kernel may, into it the worker does.
    let ours = ["192.0.2.1:4000", "192.0.2.1:4002"].map(socket);
    let mut call = Call::new(ours, [socket("192.0.2.1:5000"), far.socket("192.0.2.2:5002")]);
    call.install(0);
    call.passes(0, &rtp(PCMA, 10, 1600, SSRC));
    let flow = call.flow(1);
    assert!(!call.table.install(1, &flow));
}

#[test]
fn what_the_flow_does_not_name_goes_up() {
    if !is_root("what_the_flow_does_not_name_goes_up") {
        return;
    }
    enter();
    let far = Far::new();
    let ours = ["192.0.2.1:4000", "192.0.2.1:4002"].map(socket);
    let mut call = Call::new(ours, ["192.0.2.2:5000", "192.0.2.2:5002"].map(|address| far.socket(address)));
    call.install(0);
    let plain = rtp(PCMA, 10, 1600, SSRC);
    call.passes(0, &plain);
    let changed = |at: usize, byte: u8| {
        let mut packet = plain.clone();
        packet[at] = byte;
        packet
    };
    let rows: [(&str, Vec<u8>); 13] = [
        ("digits", rtp(101, 11, 1760, SSRC)),
        ("another codec", rtp(0, 11, 1760, SSRC)),
        ("another SSRC", rtp(PCMA, 11, 1760, SSRC + 1)),
        ("a jump of the sequence number", rtp(PCMA, 5000, 1760, SSRC)),
        ("RTP version 1", changed(0, 0x40)),
        ("padding", changed(0, 0xa0)),
        ("an extension", changed(0, 0x90)),
        ("a contributing source", changed(0, 0x81)),
        ("RTCP", changed(1, 200)),
        ("STUN", [&[0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42][..], &[0; 12]].concat()),
        ("DTLS", [&[22, 254, 253][..], &[0; 40]].concat()),
        ("a packet cut short", plain[..11].to_vec()),
        ("nothing at all", vec![]),
    ];
    for (what, packet) in &rows {
        eprintln!("{what}");
        call.goes_up(0, packet);
    }
    call.passes(0, &rtp(PCMA, 11, 1760, SSRC));
    // In pieces: longer than the link takes at once.
    let long = [plain.clone(), vec![0; 1800]].concat();
    call.send(0, &long);
    assert_eq!(heard(&call.ours[0]).0.len(), long.len());
    let figures = call.table.read(0);
    assert_eq!((figures.packets, figures.highest), (2, 11), "what went up was not counted");
}

#[test]
fn strangers_do_not_match() {
    if !is_root("strangers_do_not_match") {
        return;
    }
    enter();
    let far = Far::new();
    let ours = ["192.0.2.1:4000", "192.0.2.1:4002"].map(socket);
    let mut call = Call::new(ours, ["192.0.2.2:5000", "192.0.2.2:5002"].map(|address| far.socket(address)));
    call.install(0);
    let plain = rtp(PCMA, 10, 1600, SSRC);
    // Another port of the peer, another host, and somebody on this one.
    for stranger in [far.socket("192.0.2.2:5004"), far.socket("192.0.2.3:5000"), socket("192.0.2.1:5000")] {
        stranger.send_to(&plain, at(&call.ours[0])).expect("it is sent");
        assert_eq!(heard(&call.ours[0]), (plain.clone(), at(&stranger)));
        assert_silent(&call.peers[1]);
    }
    // The peer's own address, to the other leg's port.
    call.peers[0].send_to(&plain, at(&call.ours[1])).expect("it is sent");
    assert_eq!(heard(&call.ours[1]).1, at(&call.peers[0]));
    assert_eq!(call.table.read(0).packets, 0);
    // The peer's very address and port, but forged by somebody on this host: it does not come in where the peer is.
    let forged = support::datagram(at(&call.peers[0]), at(&call.ours[0]), &plain);
    support::ip("addr add 192.0.2.2/32 dev lo");
    support::send_raw(&support::raw(false), &forged, at(&call.ours[0]));
    assert_eq!(heard(&call.ours[0]).0, plain);
    support::ip("addr del 192.0.2.2/32 dev lo");
    assert_eq!(call.table.read(0).packets, 0);
    call.passes(0, &plain);
}

#[test]
fn checksums_hold_and_are_not_mended() {
    if !is_root("checksums_hold_and_are_not_mended") {
        return;
    }
    enter();
    let far = Far::new();
    for (ours, theirs) in [("192.0.2.1", "192.0.2.2"), ("[2001:db8::1]", "[2001:db8::2]")] {
        let ours = [4000, 4002].map(|port| socket(&format!("{ours}:{port}")));
        let peers = [5000, 5002].map(|port| far.socket(&format!("{theirs}:{port}")));
        let mut call = Call::new(ours, peers);
        call.install(0);
        let (from, to) = (at(&call.peers[0]), at(&call.ours[0]));
        let ipv6 = from.is_ipv6();
        let sender = far.run(|| support::raw(ipv6));
        let udp = if ipv6 { 40 } else { 20 };
        // The kernel over there computes nothing for such packets and the one here trusts none of them.
        for sequence in 10..60 {
            let payload = rtp(PCMA, sequence, u32::from(sequence) * 160, SSRC);
            support::send_raw(&sender, &support::datagram(from, to, &payload), to);
            assert_eq!(heard(&call.peers[1]), (payload, at(&call.ours[1])));
        }
        let payload = rtp(PCMA, 60, 9600, SSRC);
        // Damaged on its way, it stays damaged.
        let mut damaged = support::datagram(from, to, &payload);
        *damaged.last_mut().unwrap() ^= 1;
        support::send_raw(&sender, &damaged, to);
        if !ipv6 {
            let mut unsummed = support::datagram(from, to, &payload);
            unsummed[udp + 6..udp + 8].fill(0);
            support::send_raw(&sender, &unsummed, to);
            assert_eq!(heard(&call.peers[1]).0, payload, "what has no checksum gets none");
            // On its last hop, and with an option of IP: not for us.
            let mut last = support::datagram(from, to, &payload);
            last[8] = 1;
            support::seal(&mut last);
            let mut with_option = support::datagram(from, to, &payload);
            with_option.splice(20..20, [1, 1, 1, 0]);
            with_option[0] = 0x46;
            let total = (with_option.len() as u16).to_be_bytes();
            with_option[2..4].copy_from_slice(&total);
            support::seal(&mut with_option);
            // The first piece of a packet: it would match, but for being one.
            let mut piece = support::datagram(from, to, &payload);
            piece[6] = 0x20;
            support::seal(&mut piece);
            for packet in [last, with_option] {
                support::send_raw(&sender, &packet, to);
                assert_eq!(heard(&call.ours[0]).0, payload);
            }
            support::send_raw(&sender, &piece, to);
        }
        call.passes(0, &rtp(PCMA, 61, 9760, SSRC));
        assert_silent(&call.ours[0]);
    }
}

#[test]
fn figures_are_those_of_what_was_sent() {
    if !is_root("figures_are_those_of_what_was_sent") {
        return;
    }
    enter();
    let (ours, peers) = (["127.0.0.3:4000", "127.0.0.4:4002"], ["127.0.0.1:5000", "127.0.0.2:5002"]);
    let mut call = Call::new(ours.map(socket), peers.map(socket));
    let mut flow = call.flow(0);
    flow.highest = 65_530;
    flow.jitter = 160;
    assert!(call.table.install(0, &flow));
    assert_eq!(call.table.read(0).since_last, None);
    // Across the wrap, with gaps, two out of order and one twice.
    let sequences = [65_531, 65_533, 65_532, 65_535, 3, 2, 3, 10];
    for sequence in sequences {
        call.passes(0, &rtp(PCMA, sequence, 0, SSRC));
    }
    let figures = call.table.read(0);
    assert_eq!((figures.packets, figures.highest), (sequences.len() as u64, 65_536 + 10));
    assert!(figures.since_last.is_some_and(|since| since < support::PATIENCE));
    assert_eq!(figures.timestamp, 0);
    // Timestamps that stand still: the spread is the time that passed, some ticks at most a packet; the start's value fades.
    assert!(figures.jitter > 0 && figures.jitter < 160 + 16 * 8000, "{}", figures.jitter);

    // 160 ticks of the clock between packets that come at once: that is the spread, within what the machine takes.
    flow.jitter = 0;
    assert!(call.table.install(0, &flow));
    for n in 1..200u32 {
        call.passes(0, &rtp(PCMA, 65_530u16.wrapping_add(n as u16), n * 160, SSRC));
    }
    let figures = call.table.read(0);
    assert_eq!(figures.timestamp, 199 * 160);
    let ticks = figures.jitter / 16;
    assert!((100..=160).contains(&ticks), "{ticks}");
}

#[test]
fn nothing_is_left_when_it_is_dropped() {
    if !is_root("nothing_is_left_when_it_is_dropped") {
        return;
    }
    enter();
    let far = Far::new();
    let ours = ["192.0.2.1:4000", "192.0.2.1:4002"].map(socket);
    let mut call = Call::new(ours, ["192.0.2.2:5000", "192.0.2.2:5002"].map(|address| far.socket(address)));
    call.install(0);
    call.passes(0, &rtp(PCMA, 10, 1600, SSRC));
    assert_eq!(call.path.interfaces().count(), 2);
    // An address that nobody holds any more: its interface is let go.
    assert_eq!(call.path.serve(&["192.0.2.99".parse().unwrap()]).len(), 1);
    assert_eq!(call.path.interfaces().count(), 1);
    call.goes_up(0, &rtp(PCMA, 11, 1760, SSRC));
    call.path.serve(&["192.0.2.1".parse().unwrap()]);
    call.passes(0, &rtp(PCMA, 11, 1760, SSRC));
    let Call { path, table, ours, peers } = call;
    // The table's maps outlive the program here; without it nothing looks at them.
    drop(path);
    // The kernel lets go of a program a moment after its last descriptor is closed.
    let say = |sequence| peers[0].send_to(&rtp(PCMA, sequence, 1920, SSRC), at(&ours[0])).expect("it is sent");
    let comes_up = |sequence| {
        say(sequence);
        ours[0].recv_from(&mut [0; 2048]).is_ok()
    };
    assert!((12..16).any(comes_up), "it goes on without us");
    while peers[1].set_nonblocking(true).is_ok() && peers[1].recv_from(&mut [0; 2048]).is_ok() {}
    say(16);
    assert_eq!(heard(&ours[0]).1, at(&peers[0]));
    assert_silent(&peers[1]);
    drop(table);
}

#[test]
fn a_changed_route_is_told() {
    if !is_root("a_changed_route_is_told") {
        return;
    }
    enter();
    let _far = Far::new();
    let path = FastPath::start().expect("root may");
    let mut table = path.table().expect("it stands");
    assert!(!table.have_routes_changed());
    support::ip("route add 198.51.100.0/24 dev near");
    assert!(table.have_routes_changed());
    assert!(!table.have_routes_changed());
}

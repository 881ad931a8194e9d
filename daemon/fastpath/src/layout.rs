//! What user space and `bpf/forward.c` tell each other, byte for byte.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use aya::Pod;

/// Flows at once: one of each leg of the media plane. 4 MB of the kernel's memory, taken at the start.
pub const FLOWS_MAX: u32 = 16384;

/// The two ends of a packet's way, seen from us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ends {
    /// Our address and port.
    pub local: SocketAddr,
    /// The peer's; of the same family.
    pub peer: SocketAddr,
}

/// Whose packets leave as whose.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flow {
    /// Of whom, and to which of our ports: nothing else matches.
    pub heard: Ends,
    /// Out of which port, and to whom. Of the same family.
    pub said: Ends,
    /// The only source (RFC 3550 3) that is forwarded.
    pub ssrc: u32,
    /// Of the timestamps.
    pub clock_hz: u32,
    /// A bit for each payload type that is forwarded; the others go up.
    pub payload_types: u128,
    /// Differentiated services code point of what leaves, 0..=63.
    pub dscp: u8,
    /// The highest sequence number so far, with the cycles of 2^16 before it.
    pub highest: u64,
    /// Interarrival jitter so far, in timestamp units, times 16 (RFC 3550 A.8).
    pub jitter: u64,
}

impl Flow {
    /// Whether the kernel could do it: one family, nothing unspecified.
    pub fn is_possible(&self) -> bool {
        let ends = [self.heard.local, self.heard.peer, self.said.local, self.said.peer];
        ends.iter().all(|end| end.is_ipv4() == ends[0].is_ipv4() && !end.ip().is_unspecified() && end.port() != 0)
    }
}

/// `struct ends`.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct RawEnds {
    local: [u8; 16],
    peer: [u8; 16],
    local_port: [u8; 2],
    peer_port: [u8; 2],
    zero: u32,
}

impl From<&Ends> for RawEnds {
    fn from(ends: &Ends) -> Self {
        Self {
            local: address(ends.local.ip()),
            peer: address(ends.peer.ip()),
            local_port: ends.local.port().to_be_bytes(),
            peer_port: ends.peer.port().to_be_bytes(),
            zero: 0,
        }
    }
}

fn address(ip: IpAddr) -> [u8; 16] {
    match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped().octets(),
        IpAddr::V6(ip) => Ipv6Addr::octets(&ip),
    }
}

/// `struct flow`.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct RawFlow {
    pub lock: u32,
    pub ingress: u32,
    pub heard: RawEnds,
    pub said: RawEnds,
    pub egress: u32,
    pub ssrc: [u8; 4],
    pub clock_hz: u32,
    pub tos: u8,
    pub zero: [u8; 3],
    pub payload_types: [u64; 2],
    pub packets: u64,
    pub bytes: u64,
    pub began_ns: u64,
    pub last_ns: u64,
    pub highest: u64,
    pub jitter: u64,
    pub transit: u32,
    pub has_transit: u32,
}

// SAFETY: `repr(C)`, of integers and arrays of them only, without padding (the test below adds the fields up), so any bytes are a
// value and a value is nothing but its bytes. aya asks for this to copy it to and from the kernel's map.
unsafe impl Pod for RawEnds {}
// SAFETY: as above.
unsafe impl Pod for RawFlow {}

#[cfg(test)]
mod tests {
    use std::mem::offset_of;

    use super::*;

    #[test]
    fn layouts_have_no_holes() {
        assert_eq!(size_of::<RawEnds>(), 40);
        assert_eq!(size_of::<RawFlow>(), 2 * 4 + 2 * 40 + 3 * 4 + 4 + 16 + 6 * 8 + 2 * 4);
        assert_eq!(size_of::<RawFlow>(), 176, "as in bpf/forward.c");
        assert_eq!((offset_of!(RawFlow, heard), offset_of!(RawFlow, payload_types)), (8, 104));
    }

    #[test]
    fn an_ipv4_address_is_written_as_mapped() {
        let ends = |local: &str, peer: &str| {
            RawEnds::from(&Ends { local: local.parse().unwrap(), peer: peer.parse().unwrap() })
        };
        let v4 = ends("192.0.2.1:258", "198.51.100.7:65535");
        assert_eq!(v4.local, [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 192, 0, 2, 1]);
        assert_eq!((v4.local_port, v4.peer_port), ([1, 2], [255, 255]));
        assert_eq!(ends("[2001:db8::1]:2", "[::1]:4").local[..4], [0x20, 1, 0x0d, 0xb8]);
    }

    #[test]
    fn a_flow_keeps_to_one_family() {
        let ends = |local: &str, peer: &str| Ends { local: local.parse().unwrap(), peer: peer.parse().unwrap() };
        let v4 = ends("192.0.2.1:4000", "192.0.2.2:4000");
        let v6 = ends("[2001:db8::1]:4000", "[2001:db8::2]:4000");
        let rows = [
            (v4, v4, true),
            (v6, v6, true),
            (v4, v6, false),
            (v4, ends("192.0.2.1:4000", "0.0.0.0:4000"), false),
            (v4, ends("192.0.2.1:4000", "192.0.2.2:0"), false),
        ];
        for (heard, said, possible) in rows {
            let flow = Flow { heard, said, ssrc: 1, clock_hz: 8000, payload_types: 1, dscp: 46, highest: 0, jitter: 0 };
            assert_eq!(flow.is_possible(), possible, "{heard:?} {said:?}");
        }
    }
}

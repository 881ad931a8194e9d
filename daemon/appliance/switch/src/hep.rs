//! SIP messages for Homer, in HEP3 (the public "HEP/EEP" description of the sipcapture project): one datagram a message, of chunks with
//! vendor, type, length and value.

use std::net::IpAddr;

use postern_events::{Hop, Way};
use postern_types::{Transport, UnixMicros};

/// Bytes of a message at most, so that the datagram fits into UDP over IPv4.
const PAYLOAD_MAX: usize = 65_000;

/// One message. `id` is how the collector knows this box.
pub(crate) fn encode(id: u32, at: UnixMicros, hop: Hop, call_id: &[u8], message: &[u8]) -> Vec<u8> {
    let (source, target) = match hop.way {
        Way::In => (hop.remote, hop.local),
        Way::Out => (hop.local, hop.remote),
    };
    let mut datagram = b"HEP3\0\0".to_vec();
    let mut chunk = |kind: u16, value: &[u8]| {
        datagram.extend(0u16.to_be_bytes());
        datagram.extend(kind.to_be_bytes());
        datagram.extend((6 + value.len() as u16).to_be_bytes());
        datagram.extend(value);
    };
    match (source.ip().to_canonical(), target.ip().to_canonical()) {
        (IpAddr::V4(source), IpAddr::V4(target)) => {
            chunk(1, &[2]);
            chunk(3, &source.octets());
            chunk(4, &target.octets());
        }
        (source, target) => {
            chunk(1, &[10]);
            chunk(5, &octets(source));
            chunk(6, &octets(target));
        }
    }
    chunk(2, &[if hop.transport == Transport::Udp { 17 } else { 6 }]);
    chunk(7, &source.port().to_be_bytes());
    chunk(8, &target.port().to_be_bytes());
    chunk(9, &(at.seconds() as u32).to_be_bytes());
    chunk(10, &((at.0 % 1_000_000) as u32).to_be_bytes());
    // SIP.
    chunk(11, &[1]);
    chunk(12, &id.to_be_bytes());
    chunk(15, &message[..message.len().min(PAYLOAD_MAX)]);
    chunk(17, &call_id[..call_id.len().min(256)]);
    let length = datagram.len() as u16;
    datagram[4..6].copy_from_slice(&length.to_be_bytes());
    datagram
}

fn octets(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
        IpAddr::V6(address) => address.octets(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_add_up_to_the_length_whatever_the_message() {
        for (remote, size) in [("192.0.2.1:5060", 0), ("[2001:db8::1]:5060", 700), ("192.0.2.1:5060", 65_535)] {
            let (local, remote) = ("192.0.2.2:5061".parse().unwrap(), remote.parse().unwrap());
            let hop = Hop { way: Way::In, transport: Transport::Tls, local, remote };
            let datagram = encode(7, UnixMicros(1_000_002), hop, b"id", &vec![b'x'; size]);
            assert_eq!(
                (&datagram[..4], u16::from_be_bytes([datagram[4], datagram[5]]) as usize),
                (&b"HEP3"[..], datagram.len())
            );
            let mut rest = &datagram[6..];
            let mut kinds = Vec::new();
            while !rest.is_empty() {
                let length = usize::from(u16::from_be_bytes([rest[4], rest[5]]));
                kinds.push(rest[3]);
                rest = &rest[length..];
            }
            let family = if hop.remote.is_ipv4() { [1, 3, 4] } else { [1, 5, 6] };
            assert_eq!(kinds, [&family[..], &[2, 7, 8, 9, 10, 11, 12, 15, 17]].concat());
        }
    }
}

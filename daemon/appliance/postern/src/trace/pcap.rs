//! Messages as packets of a capture file.
//!
//! Each becomes one UDP packet between the addresses that it passed, also what came over TCP or out of TLS: analysers read SIP in
//! datagrams without knowing the stream around it, and what was encrypted could not be read otherwise. There is no link layer.

use std::net::{IpAddr, SocketAddr};

use pcap_file::{
    DataLink, Endianness, TsResolution,
    pcap::{PcapHeader, PcapPacket, PcapWriter},
};

use super::{Message, Way};

/// Bytes of a message in a packet at most: what IPv4 leaves.
const PAYLOAD_MAX: usize = 65_535 - 20 - 8;

const UDP: u8 = 17;
const HOPS: u8 = 64;

/// The file.
pub(super) fn bytes(messages: &[Message]) -> Vec<u8> {
    let header = PcapHeader {
        datalink: DataLink::RAW,
        endianness: Endianness::Little,
        ts_resolution: TsResolution::MicroSecond,
        ..PcapHeader::default()
    };
    let mut writer = PcapWriter::with_header(Vec::new(), header).expect("a Vec takes every byte");
    for message in messages {
        let packet = packet(message);
        let at = std::time::Duration::from_micros(message.at.0);
        writer
            .write_packet(&PcapPacket::new(at, packet.len() as u32, &packet))
            .expect("a packet is shorter than the header's 65535 bytes, and its time is after 1970");
    }
    writer.into_writer()
}

fn packet(message: &Message) -> Vec<u8> {
    let mut payload = message.bytes();
    let (source, target) = match message.way {
        Way::In => (message.remote, message.local),
        Way::Out => (message.local, message.remote),
    };
    let is_ipv4 = source.ip().to_canonical().is_ipv4() && target.ip().to_canonical().is_ipv4();
    payload.truncate(if is_ipv4 { PAYLOAD_MAX } else { PAYLOAD_MAX - 20 });
    let datagram = datagram(source, target, &payload);
    let mut packet = Vec::with_capacity(40 + datagram.len());
    match (source.ip().to_canonical(), target.ip().to_canonical()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            packet.extend([0x45, 0]);
            packet.extend((20 + datagram.len() as u16).to_be_bytes());
            packet.extend([0, 0, 0x40, 0, HOPS, UDP, 0, 0]);
            packet.extend(from.octets());
            packet.extend(to.octets());
            let sum = sum_of(&packet);
            packet[10..12].copy_from_slice(&sum.to_be_bytes());
        }
        (from, to) => {
            packet.extend([0x60, 0, 0, 0]);
            packet.extend((datagram.len() as u16).to_be_bytes());
            packet.extend([UDP, HOPS]);
            packet.extend(octets(from));
            packet.extend(octets(to));
        }
    }
    packet.extend(datagram);
    packet
}

fn datagram(source: SocketAddr, target: SocketAddr, payload: &[u8]) -> Vec<u8> {
    let length = 8 + payload.len() as u16;
    let mut datagram = Vec::with_capacity(length.into());
    for word in [source.port(), target.port(), length, 0] {
        datagram.extend(word.to_be_bytes());
    }
    datagram.extend(payload);
    // RFC 768, RFC 8200 8.1: over addresses, protocol and length too; 0 would say that there is none.
    let mut summed = Vec::with_capacity(40 + datagram.len());
    for address in [source.ip().to_canonical(), target.ip().to_canonical()] {
        match address {
            IpAddr::V4(address) => summed.extend(address.octets()),
            IpAddr::V6(address) => summed.extend(address.octets()),
        }
    }
    summed.extend([0, UDP]);
    summed.extend(length.to_be_bytes());
    summed.extend(&datagram);
    let sum = match sum_of(&summed) {
        0 => 0xffff,
        sum => sum,
    };
    datagram[6..8].copy_from_slice(&sum.to_be_bytes());
    datagram
}

fn octets(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
        IpAddr::V6(address) => address.octets(),
    }
}

/// RFC 1071.
fn sum_of(bytes: &[u8]) -> u16 {
    let mut sum: u32 = 0;
    for pair in bytes.chunks(2) {
        sum += u32::from(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]));
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

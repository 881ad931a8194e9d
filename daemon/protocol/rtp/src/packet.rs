//! The RTP header (RFC 3550 5.1), read, and written back in place.

use std::fmt;

/// Bytes of a header without CSRCs and extension.
pub const HEADER_LEN: usize = 12;

/// What a header says. Field positions are fixed, so changes are written into the packet without moving anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// The marker bit: for audio, the first packet after a silence (RFC 3551 4.1).
    pub marker: bool,
    /// 0..=127.
    pub payload_type: u8,
    /// Sequence number.
    pub sequence: u16,
    /// In units of the format's clock.
    pub timestamp: u32,
    /// The source.
    pub ssrc: u32,
    /// Where the payload starts: after CSRCs and the extension.
    pub payload_start: usize,
    /// Whether the last byte of the payload counts padding bytes.
    pub padded: bool,
}

/// Why bytes are not an RTP or RTCP packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BadPacket {
    /// Shorter than it says, or than any packet is.
    Short,
    /// The version is not 2.
    Version,
    /// The padding is longer than the payload, or none.
    Padding,
    /// An RTCP packet type that does not stand first, or lengths that do not add up.
    Compound,
}

impl fmt::Display for BadPacket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Short => "packet cut short",
            Self::Version => "not RTP version 2",
            Self::Padding => "padding longer than the payload",
            Self::Compound => "not a compound RTCP packet",
        })
    }
}

impl std::error::Error for BadPacket {}

impl Header {
    /// Reads a header and checks that CSRCs and extension lie within the packet. Padding is not looked at, because in
    /// SRTP it is encrypted: ask [`Header::payload`] after opening.
    pub fn parse(packet: &[u8]) -> Result<Self, BadPacket> {
        let Some((fixed, rest)) = packet.split_first_chunk::<HEADER_LEN>() else { return Err(BadPacket::Short) };
        if fixed[0] >> 6 != 2 {
            return Err(BadPacket::Version);
        }
        let csrcs = usize::from(fixed[0] & 0x0f) * 4;
        let extension = if fixed[0] & 0x10 == 0 {
            0
        } else {
            // RFC 3550 5.3.1: two bytes of profile, two of length in words.
            let head = rest.get(csrcs..csrcs + 4).ok_or(BadPacket::Short)?;
            4 + usize::from(u16::from_be_bytes([head[2], head[3]])) * 4
        };
        let payload_start = HEADER_LEN + csrcs + extension;
        if packet.len() < payload_start {
            return Err(BadPacket::Short);
        }
        Ok(Self {
            marker: fixed[1] & 0x80 != 0,
            payload_type: fixed[1] & 0x7f,
            sequence: u16::from_be_bytes([fixed[2], fixed[3]]),
            timestamp: u32::from_be_bytes([fixed[4], fixed[5], fixed[6], fixed[7]]),
            ssrc: u32::from_be_bytes([fixed[8], fixed[9], fixed[10], fixed[11]]),
            payload_start,
            padded: fixed[0] & 0x20 != 0,
        })
    }

    /// The payload without padding.
    pub fn payload<'a>(&self, packet: &'a [u8]) -> Result<&'a [u8], BadPacket> {
        let payload = packet.get(self.payload_start..).ok_or(BadPacket::Short)?;
        if !self.padded {
            return Ok(payload);
        }
        let padding = payload.last().map_or(0, |&count| usize::from(count));
        if padding == 0 || padding > payload.len() {
            return Err(BadPacket::Padding);
        }
        Ok(&payload[..payload.len() - padding])
    }

    /// Writes the twelve fixed bytes of a packet of our own: no padding, CSRCs or extension.
    pub fn write(&self, packet: &mut [u8; HEADER_LEN]) {
        packet[0] = 2 << 6;
        packet[1] = self.payload_type & 0x7f | u8::from(self.marker) << 7;
        packet[2..4].copy_from_slice(&self.sequence.to_be_bytes());
        packet[4..8].copy_from_slice(&self.timestamp.to_be_bytes());
        packet[8..12].copy_from_slice(&self.ssrc.to_be_bytes());
    }
}

/// Changes marker and payload type of a packet that [`Header::parse`] took.
pub fn set_type(packet: &mut [u8], payload_type: u8, marker: bool) {
    if let Some(byte) = packet.get_mut(1) {
        *byte = payload_type & 0x7f | u8::from(marker) << 7;
    }
}

/// Whether a packet on a shared port is RTCP: packet types 192 to 223, where RTP would have payload types 64 to 95 with
/// the marker set, which RFC 5761 4 keeps free.
pub fn is_rtcp(packet: &[u8]) -> bool {
    matches!(packet, [first, 192..=223, ..] if first >> 6 == 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(first: u8, rest: &[u8]) -> Vec<u8> {
        [&[first, 0x80 | 8, 0x12, 0x34, 0, 0, 0, 160, 0xde, 0xad, 0xbe, 0xef], rest].concat()
    }

    type Row = (&'static str, u8, &'static [u8], Result<&'static [u8], BadPacket>);

    #[test]
    fn headers_are_read() {
        let plain = packet(0x80, b"audio");
        let header = Header::parse(&plain).unwrap();
        let want = Header {
            marker: true,
            payload_type: 8,
            sequence: 0x1234,
            timestamp: 160,
            ssrc: 0xdead_beef,
            payload_start: 12,
            padded: false,
        };
        assert_eq!((header, header.payload(&plain)), (want, Ok(&b"audio"[..])));

        let rows: [Row; 10] = [
            ("two CSRCs", 0x82, b"11112222ab", Ok(b"ab")),
            ("CSRC cut", 0x82, b"1111222", Err(BadPacket::Short)),
            ("extension of a word", 0x90, b"\xbe\xde\0\x01wordab", Ok(b"ab")),
            ("CSRC and empty extension", 0x91, b"1111\xbe\xde\0\0ab", Ok(b"ab")),
            ("extension head cut", 0x90, b"\xbe\xde\0", Err(BadPacket::Short)),
            ("extension longer than the packet", 0x90, b"\xbe\xde\xff\xffab", Err(BadPacket::Short)),
            ("padding", 0xa0, b"ab\0\x02", Ok(b"ab")),
            ("padding of nothing", 0xa0, b"ab\0", Err(BadPacket::Padding)),
            ("padding longer than the payload", 0xa0, b"ab\x09", Err(BadPacket::Padding)),
            ("version 1", 0x40, b"ab", Err(BadPacket::Version)),
        ];
        for (what, first, rest, want) in rows {
            let bytes = packet(first, rest);
            let got = Header::parse(&bytes).and_then(|header| header.payload(&bytes).map(<[u8]>::to_vec));
            assert_eq!(got, want.map(<[u8]>::to_vec), "{what}");
        }
        assert_eq!(Header::parse(&plain[..11]), Err(BadPacket::Short));
        assert!(Header::parse(&packet(0xa0, b"")).unwrap().payload(&packet(0xa0, b"")).is_err());
    }

    #[test]
    fn a_written_header_reads_back_and_types_change_in_place() {
        let header = Header::parse(&packet(0x80, b"")).unwrap();
        let mut bytes = [0; HEADER_LEN];
        header.write(&mut bytes);
        assert_eq!(Header::parse(&bytes), Ok(header));
        set_type(&mut bytes, 101, false);
        assert_eq!(Header::parse(&bytes), Ok(Header { payload_type: 101, marker: false, ..header }));
    }

    #[test]
    fn rtcp_is_told_from_rtp_on_one_port() {
        for (second, rtcp) in
            [(200, true), (207, true), (192, true), (223, true), (191, false), (224, false), (0x88, false)]
        {
            assert_eq!(is_rtcp(&[0x80, second, 0, 0]), rtcp, "{second}");
        }
        assert!(!is_rtcp(&[0x80]) && !is_rtcp(&[0, 200]), "STUN and scraps are not RTCP");
    }
}

//! Entries for fuzzing: any bytes, no panic.

use std::time::{Duration, Instant};

use crate::{Digits, Header, Reception, is_rtcp, packet, rtcp};

/// Feeds bytes to everything here that reads packets: as RTP, as RTCP, and as a run of packets in one stream.
pub fn rtp(data: &[u8]) {
    let mut bytes = data.to_vec();
    if let Ok(header) = Header::parse(&bytes) {
        let payload = header.payload(&bytes).map(<[u8]>::len);
        packet::set_type(&mut bytes, header.payload_type, header.marker);
        assert_eq!(Header::parse(&bytes), Ok(header), "an unchanged type changes nothing");
        assert!(payload.is_ok() || header.padded);
    }
    let _ = is_rtcp(data);
    let _ = rtcp::check(data);
    for packet in rtcp::packets(data).flatten() {
        let _ = (packet.ssrc(), packet.sender_report(), packet.blocks().count());
    }
    let (mut reception, mut digits) = (Reception::default(), Digits::default());
    let mut now = any_instant();
    for piece in data.chunks_exact(12) {
        now += Duration::from_millis(u64::from(piece[11]));
        let (sequence, timestamp) =
            (u16::from_be_bytes([piece[0], piece[1]]), u32::from_be_bytes([piece[2], piece[3], piece[4], piece[5]]));
        reception.update(u32::from(piece[6] & 1), sequence, Some((timestamp, 8000)), now);
        digits.handle_input(now, u32::from(piece[6] & 1), timestamp, &piece[7..11]);
        digits.handle_timeout(now);
    }
    assert!(reception.jitter_ms().is_finite() && reception.lost() < 1 << 40);
}

/// Some instant to count from; which does not matter.
#[allow(clippy::disallowed_methods, reason = "fuzzing and tests only need a beginning of time")]
pub(crate) fn any_instant() -> Instant {
    Instant::now()
}

#[cfg(test)]
mod tests {

    #[test]
    fn any_bytes_are_survived() {
        let mut state = 0x9e37_79b9_7f4a_7c15u64;
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state
        };
        for _ in 0..20_000 {
            let len = (next() % 96) as usize;
            let mut data: Vec<u8> = (0..len).map(|_| next() as u8).collect();
            if let Some(first) = data.first_mut().filter(|_| next() % 4 != 0) {
                *first = *first & 0x3f | 0x80;
            }
            super::rtp(&data);
        }
    }
}

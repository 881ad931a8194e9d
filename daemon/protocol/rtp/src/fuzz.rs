//! Entries for fuzzing: any bytes, no panic.

use std::time::{Duration, Instant};

use crate::{
    Control, Digits, Header, Reception, Sent, control, is_rtcp,
    jitter::{self, Arrival, JitterBuffer, Pull},
    metrics::VoipMetrics,
    packet, rtcp,
    udptl::is_udptl,
};

/// Feeds bytes to everything here that reads packets: as RTP, as RTCP, and as a run of packets in one stream.
pub fn rtp(data: &[u8]) {
    let mut bytes = data.to_vec();
    if let Ok(header) = Header::parse(&bytes) {
        let payload = header.payload(&bytes).map(<[u8]>::len);
        packet::set_type(&mut bytes, header.payload_type, header.marker);
        assert_eq!(Header::parse(&bytes), Ok(header), "an unchanged type changes nothing");
        assert!(payload.is_ok() || header.padded);
    }
    let _ = (is_rtcp(data), is_udptl(data));
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

/// Feeds bytes as compounds of a peer to a participant that sends and receives, and lets it report.
pub fn rtcp(data: &[u8]) {
    let start = any_instant();
    let (mut control, mut sent, mut reception) = (Control::new(1), Sent::default(), Reception::default());
    // So that blocks and metrics of bytes chosen at random can be about it.
    let ssrc = data.first_chunk::<8>().map_or(0, |b| u32::from_be_bytes([b[4], b[5], b[6], b[7]]));
    sent.update(start, ssrc, 160, Some((0, 8000)));
    reception.update(ssrc, 1, Some((0, 8000)), start);
    let mut room = [0; control::COMPOUND_MAX];
    for n in 0..3 {
        let time = (start + control::INTERVAL * n, u64::from(n) << 34);
        if rtcp::check(data).is_ok() {
            control.handle_input(time, data, &sent);
        }
        let len = control.report(time, &sent, &reception, control.metrics().copied(), &mut room).unwrap_or(0);
        assert!(len > 0 && rtcp::check(&room[..len]).is_ok(), "what we say is sound");
    }
    assert!(control.round_trip().is_none_or(|round_trip| round_trip < Duration::from_secs(60)));
    assert!(control.far().is_none_or(|far| far.jitter_ms.is_finite()));
    if let Some(metrics) = VoipMetrics::parse(data) {
        assert_eq!(VoipMetrics::parse(&metrics.to_bytes()), Some(metrics));
    }
}

/// Feeds a jitter buffer with any packets in any order and time, and reads it as a decoder would.
pub fn jitter(data: &[u8]) {
    let mut now = any_instant();
    let mut buffer = JitterBuffer::new(now, 8000);
    let mut taken = 0u64;
    for piece in data.chunks_exact(8) {
        now += Duration::from_millis(u64::from(piece[7] & 0x3f));
        let arrival = Arrival {
            ssrc: u32::from(piece[0] >> 7),
            sequence: u16::from_be_bytes([piece[1] & 1, piece[2]]),
            timestamp: u32::from_be_bytes([0, piece[0] & 1, piece[3], piece[4]]),
            payload_type: piece[5],
        };
        let len = usize::from(piece[6]) * 8;
        buffer.put(now, arrival, &vec![piece[6]; len]);
        if piece[7] & 0x40 == 0 {
            continue;
        }
        let units = match buffer.pull(now, Duration::from_millis(u64::from(piece[7] >> 7))) {
            Pull::Packet { payload, .. } => {
                assert!(payload.iter().all(|byte| usize::from(*byte) * 8 == payload.len()), "a payload is whole");
                taken += 1;
                160
            }
            Pull::Lost { units, .. } | Pull::Pause { units } => {
                assert!(units <= 8 * 120);
                0
            }
            Pull::Starved | Pull::Idle => 0,
        };
        if units > 0 {
            buffer.played(units);
        }
        assert!(buffer.target() <= jitter::DELAY_MAX);
    }
    assert_eq!(buffer.counts().played, taken);
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
            super::rtcp(&data);
            super::jitter(&data);
        }
    }
}

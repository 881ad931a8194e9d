//! VoIP metrics: what one end heard of a call, in 36 bytes (RFC 3611 4.7).

/// Block type of the report.
const BLOCK_TYPE: u8 = 7;
/// Bytes of the block with its head.
pub const LEN: usize = 36;
/// "Not available", in the one-byte fields that know it.
pub const UNAVAILABLE: u8 = 127;

/// The block's fields as they are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VoipMetrics {
    /// The source that it is about.
    pub ssrc: u32,
    /// Lost, of 256.
    pub loss_rate: u8,
    /// Too late for playout, of 256.
    pub discard_rate: u8,
    /// Lost or discarded within bursts, of 256.
    pub burst_density: u8,
    /// Lost or discarded within gaps, of 256.
    pub gap_density: u8,
    /// Mean length of a burst, milliseconds.
    pub burst_ms: u16,
    /// Mean length of a gap, milliseconds.
    pub gap_ms: u16,
    /// Round trip between the RTP interfaces, milliseconds; 0: not known.
    pub round_trip_ms: u16,
    /// Delay within the end that reports, milliseconds; 0: not known.
    pub end_system_ms: u16,
    /// Received packets in a row that end a burst.
    pub gmin: u8,
    /// Rating of the voice segment on this side, 0 to 100; [`UNAVAILABLE`].
    pub rating: u8,
    /// Listening quality times ten; [`UNAVAILABLE`].
    pub mos_lq: u8,
    /// Conversational quality times ten; [`UNAVAILABLE`].
    pub mos_cq: u8,
}

impl VoipMetrics {
    /// Reads a block whose first byte is its type.
    pub fn parse(block: &[u8]) -> Option<Self> {
        let b = block.first_chunk::<LEN>().filter(|b| b[0] == BLOCK_TYPE)?;
        let half = |at: usize| u16::from_be_bytes([b[at], b[at + 1]]);
        Some(Self {
            ssrc: u32::from_be_bytes([b[4], b[5], b[6], b[7]]),
            loss_rate: b[8],
            discard_rate: b[9],
            burst_density: b[10],
            gap_density: b[11],
            burst_ms: half(12),
            gap_ms: half(14),
            round_trip_ms: half(16),
            end_system_ms: half(18),
            gmin: b[23],
            rating: b[24],
            mos_lq: b[26],
            mos_cq: b[27],
        })
    }

    /// The block. What a relay cannot know (levels, echo, another segment's rating, a jitter buffer) is said to be so.
    pub fn to_bytes(&self) -> [u8; LEN] {
        let mut b = [0; LEN];
        // The length is in words, without the head.
        (b[0], b[3]) = (BLOCK_TYPE, (LEN / 4 - 1) as u8);
        b[4..8].copy_from_slice(&self.ssrc.to_be_bytes());
        b[8..12].copy_from_slice(&[self.loss_rate, self.discard_rate, self.burst_density, self.gap_density]);
        for (at, half) in [(12, self.burst_ms), (14, self.gap_ms), (16, self.round_trip_ms), (18, self.end_system_ms)] {
            b[at..at + 2].copy_from_slice(&half.to_be_bytes());
        }
        b[20..28].copy_from_slice(&[
            UNAVAILABLE,
            UNAVAILABLE,
            UNAVAILABLE,
            self.gmin,
            self.rating,
            UNAVAILABLE,
            self.mos_lq,
            self.mos_cq,
        ]);
        b
    }

    /// The blocks of this kind in the body of an extended report (what follows its four-byte header): any others are passed over,
    /// and one that is cut short ends it.
    pub fn in_report(body: &[u8]) -> impl Iterator<Item = Self> + '_ {
        let mut rest = body.get(4..).unwrap_or_default();
        std::iter::from_fn(move || {
            let head = rest.first_chunk::<4>()?;
            let len = 4 + usize::from(u16::from_be_bytes([head[2], head[3]])) * 4;
            let (block, left) = rest.split_at_checked(len)?;
            rest = left;
            Some(Self::parse(block))
        })
        .flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const METRICS: VoipMetrics = VoipMetrics {
        ssrc: 0x0102_0304,
        loss_rate: 5,
        discard_rate: 6,
        burst_density: 7,
        gap_density: 8,
        burst_ms: 0x0910,
        gap_ms: 0x1112,
        round_trip_ms: 0x1314,
        end_system_ms: 0x1516,
        gmin: 16,
        rating: 93,
        mos_lq: 44,
        mos_cq: 43,
    };

    #[test]
    fn a_block_reads_back_and_stands_where_the_figure_says() {
        let bytes = METRICS.to_bytes();
        assert_eq!(VoipMetrics::parse(&bytes), Some(METRICS));
        // RFC 3611 4.7: type, reserved, length 8; the figure's fields in their order.
        let figure = [
            7, 0, 0, 8, 1, 2, 3, 4, 5, 6, 7, 8, 9, 16, 0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 127, 127, 127, 16, 93, 127,
            44, 43, 0, 0, 0, 0, 0, 0, 0, 0,
        ];
        assert_eq!(bytes, figure);
        assert_eq!(VoipMetrics::parse(&bytes[..35]), None);
    }

    #[test]
    fn other_blocks_are_passed_over_and_a_cut_one_ends() {
        // A receiver reference time (type 4, two words) before ours, and after it a liar.
        let body = [&[0, 0, 0, 9][..], &[4, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0], &METRICS.to_bytes(), &[7, 0, 0xff, 0xff]];
        assert_eq!(VoipMetrics::in_report(&body.concat()).collect::<Vec<_>>(), [METRICS]);
        assert_eq!(VoipMetrics::in_report(&[0, 0]).count(), 0);
        // A block of the right type that is too short for its fields.
        assert_eq!(VoipMetrics::in_report(&[0, 0, 0, 9, 7, 0, 0, 1, 0, 0, 0, 0]).count(), 0);
    }
}

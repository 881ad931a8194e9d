//! RTCP packets of our own, written one after the other into given room (RFC 3550 6.4-6.6, RFC 3611 4.7).
//!
//! The crate `rtcp-types` was looked at and left: it has no VoIP metrics block, reads lost packets without their sign, checks
//! the version of a compound's first packet only, and makes several boxes for each report that a worker sends.

use crate::{
    metrics::VoipMetrics,
    rtcp::{ReportBlock, SenderReport},
};

/// A compound that grows. What does not fit is left out, and nothing after it is written.
pub struct Compound<'a> {
    room: &'a mut [u8],
    len: usize,
    is_full: bool,
}

impl<'a> Compound<'a> {
    /// An empty one.
    pub fn new(room: &'a mut [u8]) -> Self {
        Self { room, len: 0, is_full: false }
    }

    /// How long it came to be; none when something did not fit.
    pub fn finish(self) -> Option<usize> {
        Some(self.len).filter(|_| !self.is_full)
    }

    /// A sender report with at most one block.
    pub fn sender_report(&mut self, report: &SenderReport, block: Option<&ReportBlock>) {
        let (seconds, fraction) = ((report.ntp >> 32) as u32, report.ntp as u32);
        self.begin(200, u8::from(block.is_some()), 6 + 6 * block.iter().len());
        self.words([report.ssrc, seconds, fraction, report.timestamp, report.packets, report.bytes]);
        self.block(block);
    }

    /// A receiver report with at most one block.
    pub fn receiver_report(&mut self, ssrc: u32, block: Option<&ReportBlock>) {
        self.begin(201, u8::from(block.is_some()), 1 + 6 * block.iter().len());
        self.word(ssrc);
        self.block(block);
    }

    /// A source description of one CNAME, at most 255 bytes of it.
    pub fn cname(&mut self, ssrc: u32, cname: &[u8]) {
        let cname = &cname[..cname.len().min(255)];
        // Item type and length, the name, and one to four zeros up to the end of a word (RFC 3550 6.5).
        let words = (2 + cname.len()) / 4 + 1;
        self.begin(202, 1, 1 + words);
        self.word(ssrc);
        self.bytes(&[1, cname.len() as u8]);
        self.bytes(cname);
        self.bytes(&[0; 4][..words * 4 - 2 - cname.len()]);
    }

    /// A goodbye of one source, without words.
    pub fn bye(&mut self, ssrc: u32) {
        self.begin(203, 1, 1);
        self.word(ssrc);
    }

    /// An extended report of `ssrc` with one block of VoIP metrics.
    pub fn voip_metrics(&mut self, ssrc: u32, metrics: &VoipMetrics) {
        let block = metrics.to_bytes();
        self.begin(207, 0, 1 + block.len() / 4);
        self.word(ssrc);
        self.bytes(&block);
    }

    fn begin(&mut self, packet_type: u8, count: u8, words: usize) {
        self.is_full |= self.room.len() - self.len < 4 + words * 4;
        let [high, low] = (words as u16).to_be_bytes();
        self.bytes(&[2 << 6 | count & 0x1f, packet_type, high, low]);
    }

    fn block(&mut self, block: Option<&ReportBlock>) {
        let Some(block) = block else { return };
        // 24 bits with a sign (RFC 3550 6.4.1, A.3).
        let lost = block.lost.clamp(-0x80_0000, 0x7f_ffff) as u32 & 0xff_ffff;
        let loss = u32::from(block.fraction_lost) << 24 | lost;
        self.words([block.ssrc, loss, block.highest_sequence, block.jitter, block.last_report, block.delay]);
    }

    fn words(&mut self, words: [u32; 6]) {
        words.into_iter().for_each(|word| self.word(word));
    }

    fn word(&mut self, word: u32) {
        self.bytes(&word.to_be_bytes());
    }

    fn bytes(&mut self, bytes: &[u8]) {
        if self.is_full {
            return;
        }
        // Its room was looked at when the packet began.
        self.room[self.len..self.len + bytes.len()].copy_from_slice(bytes);
        self.len += bytes.len();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rtcp;

    const BLOCK: ReportBlock = ReportBlock {
        ssrc: 7,
        fraction_lost: 64,
        lost: -3,
        highest_sequence: 9,
        jitter: 10,
        last_report: 11,
        delay: 12,
    };
    const REPORT: SenderReport = SenderReport { ssrc: 1, ntp: 2 << 32 | 3, timestamp: 4, packets: 5, bytes: 6 };

    fn written(write: impl Fn(&mut Compound)) -> Vec<u8> {
        let mut room = [0xee; 400];
        let mut compound = Compound::new(&mut room);
        write(&mut compound);
        let len = compound.finish().unwrap();
        assert!(room[len..].iter().all(|&byte| byte == 0xee));
        for short in 0..len {
            let mut compound = Compound::new(&mut room[..short]);
            write(&mut compound);
            assert_eq!(compound.finish(), None, "{short} bytes are too few");
        }
        room[..len].to_vec()
    }

    #[test]
    fn what_is_written_reads_back() {
        let bytes = written(|compound| {
            compound.sender_report(&REPORT, Some(&BLOCK));
            compound.cname(1, b"abc");
            compound.bye(1);
        });
        let packets: Vec<_> = rtcp::packets(&bytes).map(Result::unwrap).collect();
        assert_eq!(
            packets.iter().map(|p| (p.packet_type, p.count)).collect::<Vec<_>>(),
            [(200, 1), (202, 1), (203, 1)]
        );
        assert_eq!((packets[0].sender_report(), packets[0].blocks().collect::<Vec<_>>()), (Some(REPORT), vec![BLOCK]));
        assert_eq!(packets[1].body, b"\0\0\0\x01\x01\x03abc\0\0\0");
        assert_eq!(packets[2].body, 1u32.to_be_bytes());
        let bytes = written(|compound| compound.receiver_report(3, None));
        assert_eq!(bytes, [0x80, 201, 0, 1, 0, 0, 0, 3]);
        let bytes = written(|compound| compound.receiver_report(3, Some(&BLOCK)));
        assert_eq!(rtcp::packets(&bytes).next().unwrap().unwrap().blocks().collect::<Vec<_>>(), [BLOCK]);
    }

    #[test]
    fn a_name_ends_with_a_zero_and_a_whole_word() {
        for len in 0..20 {
            let bytes = written(|compound| compound.cname(1, &[b'x'; 20][..len]));
            assert_eq!((bytes.len() % 4, bytes.last()), (0, Some(&0)), "{len}");
            assert_eq!(rtcp::check(&bytes), Ok(()), "{len}");
        }
    }
}

//! RTCP as far as a relay looks into it: is it sound, who sends it, what does it report (RFC 3550 6).

use crate::packet::BadPacket;

/// Report blocks that are read of one packet: its five-bit count allows no more.
pub const BLOCKS_MAX: usize = 31;

/// One packet of a compound, still as bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packet<'a> {
    /// The five-bit count: report blocks, or sources of a BYE.
    pub count: u8,
    /// 200 sender report, 201 receiver report, 202 source description, 203 bye, 204 application.
    pub packet_type: u8,
    /// What follows the four-byte header.
    pub body: &'a [u8],
}

/// Sender report, without its blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SenderReport {
    /// The sender.
    pub ssrc: u32,
    /// NTP time of the report, seconds and fraction.
    pub ntp: u64,
    /// The same in RTP timestamp units.
    pub timestamp: u32,
    /// RTP packets sent.
    pub packets: u32,
    /// Payload bytes sent.
    pub bytes: u32,
}

/// What a receiver says of one source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReportBlock {
    /// The source it is about.
    pub ssrc: u32,
    /// Lost since the last report, of 256.
    pub fraction_lost: u8,
    /// Lost in all; negative with duplicates.
    pub lost: i32,
    /// Highest sequence number received, with its cycles.
    pub highest_sequence: u32,
    /// Jitter in timestamp units.
    pub jitter: u32,
    /// Middle of the NTP time of the last sender report seen.
    pub last_report: u32,
    /// Since then, 1/65536 s.
    pub delay: u32,
}

/// Splits a compound; each step is checked, the first error ends it.
pub fn packets(compound: &[u8]) -> impl Iterator<Item = Result<Packet<'_>, BadPacket>> {
    let mut rest = compound;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        match split(rest) {
            Ok((packet, left)) => {
                rest = left;
                Some(Ok(packet))
            }
            Err(e) => {
                rest = &[];
                Some(Err(e))
            }
        }
    })
}

/// Whether bytes are sound RTCP: every packet within bounds and at least one. Reduced-size packets (RFC 5506) pass.
pub fn check(compound: &[u8]) -> Result<(), BadPacket> {
    if compound.is_empty() {
        return Err(BadPacket::Short);
    }
    packets(compound).try_for_each(|packet| packet.map(drop))
}

fn split(bytes: &[u8]) -> Result<(Packet<'_>, &[u8]), BadPacket> {
    let Some((head, rest)) = bytes.split_first_chunk::<4>() else { return Err(BadPacket::Short) };
    if head[0] >> 6 != 2 {
        return Err(BadPacket::Version);
    }
    if !(192..=223).contains(&head[1]) {
        return Err(BadPacket::Compound);
    }
    let len = usize::from(u16::from_be_bytes([head[2], head[3]])) * 4;
    let (body, left) = rest.split_at_checked(len).ok_or(BadPacket::Compound)?;
    Ok((Packet { count: head[0] & 0x1f, packet_type: head[1], body }, left))
}

impl Packet<'_> {
    /// The sender of a report, a feedback or an application packet.
    pub fn ssrc(&self) -> Option<u32> {
        word(self.body, 0)
    }

    /// As a sender report.
    pub fn sender_report(&self) -> Option<SenderReport> {
        if self.packet_type != 200 {
            return None;
        }
        let ntp = u64::from(word(self.body, 1)?) << 32 | u64::from(word(self.body, 2)?);
        Some(SenderReport {
            ssrc: word(self.body, 0)?,
            ntp,
            timestamp: word(self.body, 3)?,
            packets: word(self.body, 4)?,
            bytes: word(self.body, 5)?,
        })
    }

    /// Report blocks of a sender or receiver report, as many as are there in full.
    pub fn blocks(&self) -> impl Iterator<Item = ReportBlock> + '_ {
        let first = match self.packet_type {
            200 => Some(6),
            201 => Some(1),
            _ => None,
        };
        let count = usize::from(self.count).min(BLOCKS_MAX);
        first.into_iter().flat_map(move |first| (0..count).map_while(move |n| block(self.body, first + n * 6)))
    }
}

fn block(body: &[u8], at: usize) -> Option<ReportBlock> {
    let loss = word(body, at + 1)?;
    Some(ReportBlock {
        ssrc: word(body, at)?,
        fraction_lost: (loss >> 24) as u8,
        // A 24-bit number with a sign: moved to the top and back.
        lost: (loss << 8) as i32 >> 8,
        highest_sequence: word(body, at + 2)?,
        jitter: word(body, at + 3)?,
        last_report: word(body, at + 4)?,
        delay: word(body, at + 5)?,
    })
}

fn word(body: &[u8], index: usize) -> Option<u32> {
    let bytes = body.get(index * 4..index * 4 + 4)?;
    Some(u32::from_be_bytes(bytes.try_into().expect("four bytes were taken")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(head: [u8; 2], body: &[u32]) -> Vec<u8> {
        let mut bytes = vec![head[0], head[1]];
        bytes.extend((body.len() as u16).to_be_bytes());
        bytes.extend(body.iter().flat_map(|w| w.to_be_bytes()));
        bytes
    }

    #[test]
    fn a_compound_is_split_and_reports_are_read() {
        let sr = words([0x81, 200], &[1, 2, 3, 4, 5, 6, 7, 0x40ff_ffff, 9, 10, 11, 12]);
        let sdes = words([0x81, 202], &[1, 0x0102_6162, 0]);
        let compound = [sr.clone(), sdes].concat();
        let got: Vec<_> = packets(&compound).map(Result::unwrap).collect();
        assert_eq!(got.iter().map(|p| p.packet_type).collect::<Vec<_>>(), [200, 202]);
        let report = SenderReport { ssrc: 1, ntp: 2 << 32 | 3, timestamp: 4, packets: 5, bytes: 6 };
        assert_eq!((got[0].ssrc(), got[0].sender_report()), (Some(1), Some(report)));
        let block = ReportBlock {
            ssrc: 7,
            fraction_lost: 64,
            lost: -1,
            highest_sequence: 9,
            jitter: 10,
            last_report: 11,
            delay: 12,
        };
        assert_eq!(got[0].blocks().collect::<Vec<_>>(), [block]);
        assert_eq!(got[1].blocks().count(), 0);
        // A count that promises more blocks than are there.
        let liar = words([0x9f, 201], &[1, 7, 0, 0, 0, 0, 0]);
        assert_eq!(packets(&liar).next().unwrap().unwrap().blocks().count(), 1);
    }

    #[test]
    fn unsound_compounds_are_refused() {
        let good = words([0x80, 201], &[1]);
        assert_eq!(check(&good), Ok(()));
        assert_eq!(check(&[]), Err(BadPacket::Short));
        assert_eq!(check(&good[..6]), Err(BadPacket::Compound));
        assert_eq!(check(&[&good[..], &[0x80]].concat()), Err(BadPacket::Short));
        assert_eq!(check(&words([0x80, 100], &[])), Err(BadPacket::Compound));
        assert_eq!(check(&words([0x40, 201], &[])), Err(BadPacket::Version));
    }
}

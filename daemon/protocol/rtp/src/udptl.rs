//! UDPTL, the transport of fax over IP (ITU-T T.38): as much as tells whether a datagram is of it.

/// Whether a datagram can be one of UDPTL: a sequence number of two bytes, the primary packet behind its length, and the
/// kind of error recovery, which is one bit padded to a byte (ITU-T T.38, UDPTL in aligned PER). What is inside is the fax machines' business.
pub fn is_udptl(datagram: &[u8]) -> bool {
    let Some((&first, rest)) = datagram.get(2..).and_then(<[u8]>::split_first) else { return false };
    let (length, rest) = match (first, rest.split_first()) {
        (0..=127, _) => (usize::from(first), rest),
        (128..=191, Some((&second, rest))) => (usize::from(first & 0x3f) << 8 | usize::from(second), rest),
        // Lengths in fragments are for packets that no datagram holds.
        _ => return false,
    };
    matches!(rest.get(length), Some(0x00 | 0x80))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn datagrams_of_udptl_are_told_from_others() {
        let long = [&[0, 9, 0x80, 200][..], &[7; 200], &[0, 0]].concat();
        for (datagram, want) in [
            // A signal alone; one with a secondary packet; one with error correction.
            (&b"\x00\x01\x01\x06\x00\x00"[..], true),
            (b"\x00\x02\x01\x06\x00\x01\x01\x06", true),
            (b"\xff\xff\x02\xc0\x01\x80\x01\x01", true),
            (&long, true),
            (&long[..100], false),
            (b"", false),
            (b"\x00\x01\x01", false),
            (b"\x00\x01\x01\x06", false),
            (b"\x00\x01\xc1\x06\x00\x00", false),
            // RTP and RTCP, a check of ICE.
            (b"\x80\x08\x12\x34\x00\x00\x00\xa0\x12\x34\x56\x78\xd5\xd5\xd5\xd5", false),
            (b"\x80\xc8\x00\x06\x12\x34\x56\x78", false),
            (b"\x00\x01\x00\x08\x21\x12\xa4\x42", false),
        ] {
            assert_eq!(is_udptl(datagram), want, "{datagram:02x?}");
        }
    }
}

//! Bytes on disk.
//!
//! ```text
//! record: | length of payload, u32 | CRC-32 of seq and payload, u32 | seq, u64 | payload: the event's JSON |
//! cursor: | generation, u64 | acknowledged seq, u64 | CRC-32 of both, u32 |, two slots
//! ```
//! Little-endian. A torn write leaves a short or wrong record at the end, never a wrong one that looks right.

use crc32fast::Hasher;

/// Bytes in front of each payload.
pub const FRAME_BYTES: usize = 16;

/// Longest payload: longer than any event, short enough that a broken length is recognised.
pub const RECORD_MAX: usize = 1 << 20;

const CURSOR_SLOT_BYTES: usize = 20;

/// Size of the cursor file.
pub const CURSOR_FILE_BYTES: usize = 2 * CURSOR_SLOT_BYTES;

/// Appends one record. False, and nothing appended, when the payload is empty or longer than [`RECORD_MAX`].
pub fn encode(seq: u64, payload: &[u8], to: &mut Vec<u8>) -> bool {
    if payload.is_empty() || payload.len() > RECORD_MAX {
        return false;
    }
    to.extend_from_slice(&(payload.len() as u32).to_le_bytes());
    to.extend_from_slice(&checksum(&[&seq.to_le_bytes(), payload]).to_le_bytes());
    to.extend_from_slice(&seq.to_le_bytes());
    to.extend_from_slice(payload);
    true
}

/// The whole records at the front of a segment's bytes, as number and payload. Ends at the first that is torn or wrong.
#[derive(Debug, Clone)]
pub struct Frames<'a> {
    bytes: &'a [u8],
    at: usize,
    last: u64,
}

impl<'a> Frames<'a> {
    /// Reads from the start of a segment.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0, last: 0 }
    }

    /// How many bytes were whole records so far.
    pub fn good_bytes(&self) -> usize {
        self.at
    }
}

impl<'a> Iterator for Frames<'a> {
    type Item = (u64, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let rest = &self.bytes[self.at..];
        let (length, rest) = rest.split_first_chunk::<4>()?;
        let (crc, rest) = rest.split_first_chunk::<4>()?;
        let (seq, rest) = rest.split_first_chunk::<8>()?;
        let length = u32::from_le_bytes(*length) as usize;
        if length == 0 || length > RECORD_MAX {
            return None;
        }
        let payload = rest.get(..length)?;
        let number = u64::from_le_bytes(*seq);
        // Numbers only rise: an old block that reappears after a crash is not taken.
        if checksum(&[seq, payload]) != u32::from_le_bytes(*crc) || number <= self.last {
            return None;
        }
        self.at += FRAME_BYTES + length;
        self.last = number;
        Some((number, payload))
    }
}

/// The cursor's slot for this generation: offset and bytes.
pub(super) fn cursor_slot(generation: u64, acked: u64) -> (u64, Vec<u8>) {
    let mut bytes = Vec::with_capacity(CURSOR_SLOT_BYTES);
    bytes.extend_from_slice(&generation.to_le_bytes());
    bytes.extend_from_slice(&acked.to_le_bytes());
    let crc = checksum(&[&bytes]);
    bytes.extend_from_slice(&crc.to_le_bytes());
    ((generation % 2) * CURSOR_SLOT_BYTES as u64, bytes)
}

/// The newest whole slot: generation and acknowledged number.
pub(super) fn read_cursor(file: &[u8]) -> Option<(u64, u64)> {
    let slots = file.chunks_exact(CURSOR_SLOT_BYTES).take(2);
    let whole = slots.filter_map(|slot| {
        let (body, crc) = slot.split_at(CURSOR_SLOT_BYTES - 4);
        let number = |range: std::ops::Range<usize>| body[range].try_into().map(u64::from_le_bytes).ok();
        (checksum(&[body]).to_le_bytes() == *crc).then_some((number(0..8)?, number(8..16)?))
    });
    whole.max()
}

fn checksum(parts: &[&[u8]]) -> u32 {
    let mut hasher = Hasher::new();
    for part in parts {
        hasher.update(part);
    }
    hasher.finalize()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_prefix_gives_exactly_the_whole_records_before_it(
            payloads in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..80), 1..12),
            cut in any::<prop::sample::Index>(),
            garbage in prop::collection::vec(any::<u8>(), 0..40),
        ) {
            let mut bytes = Vec::new();
            let mut ends = Vec::new();
            for (index, payload) in payloads.iter().enumerate() {
                prop_assert!(encode(index as u64 + 7, payload, &mut bytes));
                ends.push(bytes.len());
            }
            let cut = cut.index(bytes.len() + 1);
            let whole = ends.iter().filter(|end| **end <= cut).count();
            let mut torn = bytes[..cut].to_vec();
            // What a disk leaves behind the cut is arbitrary; if it happens to be what was written, it may be taken.
            if !bytes[cut..].starts_with(&garbage) && cut < bytes.len() {
                torn.extend_from_slice(&garbage);
            }
            let mut frames = Frames::new(&torn);
            let read: Vec<_> = frames.by_ref().map(|(seq, payload)| (seq, payload.to_vec())).collect();
            prop_assert!(read.len() >= whole);
            prop_assert_eq!(frames.good_bytes(), ends.get(read.len().wrapping_sub(1)).copied().unwrap_or(0));
            for (index, (seq, payload)) in read.iter().enumerate() {
                prop_assert_eq!((*seq, payload), (index as u64 + 7, &payloads[index]));
            }
            let exact = Frames::new(&bytes[..cut]).count();
            prop_assert_eq!(exact, whole);
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = Frames::new(&bytes).count();
            let _ = read_cursor(&bytes);
        }
    }

    #[test]
    fn a_flipped_bit_ends_the_reading() {
        let mut bytes = Vec::new();
        for seq in 1..=3 {
            assert!(encode(seq, b"{}", &mut bytes));
        }
        bytes[FRAME_BYTES + 2 + FRAME_BYTES] ^= 1;
        assert_eq!(Frames::new(&bytes).count(), 1);
        assert!(!encode(4, b"", &mut bytes) && !encode(4, &vec![0; RECORD_MAX + 1], &mut bytes));
    }

    #[test]
    fn the_cursor_survives_a_torn_slot() {
        let mut file = vec![0; CURSOR_FILE_BYTES];
        for (generation, acked) in [(1, 10), (2, 20), (3, 30)] {
            let (at, bytes) = cursor_slot(generation, acked);
            file[at as usize..][..bytes.len()].copy_from_slice(&bytes);
        }
        assert_eq!(read_cursor(&file), Some((3, 30)));
        let (at, _) = cursor_slot(3, 30);
        file[at as usize + 9] ^= 0xff;
        assert_eq!((read_cursor(&file), read_cursor(&[])), (Some((2, 20)), None));
    }
}

use postern_rtp::Header;
use postern_types::stream::Codec;

use super::*;

fn setup(codec: Codec, ptime_ms: u8) -> StreamSetup {
    let clock_hz = if codec == Codec::Opus { 48000 } else { 8000 };
    let format = Format { payload_type: 96, codec, clock_hz, channels: 1, fmtp: "usedtx=1".into() };
    StreamSetup { ptime_ms, ..StreamSetup::plain(([192, 0, 2, 1], 4000).into(), format) }
}

#[test]
fn time_goes_on_while_nothing_is_said_and_the_next_packet_is_marked() {
    let mut voice = Voice::new(&setup(Codec::Opus, 20), 16000).unwrap();
    let mut stream = OwnStream::new(0x1234_0000_0001);
    let mut out = [0; PACKET_MAX];
    let mut headers = Vec::new();
    for n in 0..30 {
        if (10..20).contains(&n) {
            voice.rest(&mut stream);
            continue;
        }
        // Frames of any rate, noisy so that nothing is left out.
        let len = [160, 320, 960][n % 3];
        let frame: Vec<i16> = (0..len).map(|at| ((at * 7919 + n * 104_729) % 20_000) as i16 - 10_000).collect();
        voice.speak(&frame);
        while let Some(len) = voice.poll_packet(&mut stream, &mut out) {
            headers.push(Header::parse(&out[..len]).unwrap());
        }
    }
    assert_eq!(headers.len(), 20);
    let marked: Vec<_> = headers.iter().enumerate().filter(|(_, h)| h.marker).map(|(n, _)| n).collect();
    assert_eq!(marked, [0, 10]);
    let steps: Vec<u32> = headers.windows(2).map(|w| w[1].timestamp.wrapping_sub(w[0].timestamp) / 960).collect();
    assert_eq!(steps, [1, 1, 1, 1, 1, 1, 1, 1, 1, 11, 1, 1, 1, 1, 1, 1, 1, 1, 1]);
}

#[test]
fn a_pause_is_not_sent_to_who_asked_for_that() {
    let mut voice = Voice::new(&setup(Codec::Opus, 20), 8000).unwrap();
    let mut stream = OwnStream::new(1);
    let mut out = [0; PACKET_MAX];
    let first = stream.timestamp();
    let mut sent = 0;
    for _ in 0..100 {
        voice.speak(&[0; 160]);
        while voice.poll_packet(&mut stream, &mut out).is_some() {
            sent += 1;
        }
    }
    assert!(sent < 50, "{sent}");
    assert_eq!(stream.timestamp().wrapping_sub(first), 96_000, "two seconds passed all the same");
}

#[test]
fn a_pause_of_g729_is_described_and_what_follows_it_is_marked_and_in_its_time() {
    let mut voice = Voice::new(&setup(Codec::G729, 20), 8000).unwrap();
    let mut stream = OwnStream::new(1);
    let (mut out, mut packets, first) = ([0; PACKET_MAX], Vec::new(), stream.timestamp());
    for n in 0..300_i32 {
        let loud = if (100..200).contains(&n) { 10 } else { 6000 };
        let frame: [i16; 160] =
            std::array::from_fn(|at| ((at as i32 * at as i32 * (n + 3)) % (2 * loud) - loud) as i16);
        voice.speak(&frame);
        while let Some(len) = voice.poll_packet(&mut stream, &mut out) {
            let header = Header::parse(&out[..len]).unwrap();
            packets.push((header.timestamp.wrapping_sub(first), len - HEADER_LEN, header.marker));
        }
    }
    assert_eq!(stream.timestamp().wrapping_sub(first), 300 * 160);
    assert!(packets.len() < 250, "{}", packets.len());
    assert!(packets.iter().any(|(_, len, _)| len % 10 == 2));
    let mut spoken = 0;
    for pair in packets.windows(2) {
        let ((at, len, _), (next, following, marked)) = (pair[0], pair[1]);
        let end = at + (len as u32).div_ceil(10) * 80;
        assert!(next >= end, "frames do not overlap: {pair:?}");
        assert_eq!(marked, (next > end || len % 10 == 2) && following % 10 != 2 && following > 2, "{pair:?}");
        spoken += u32::from(marked);
    }
    assert!(spoken > 0 && packets[0].2);
}

#[test]
fn what_nobody_polls_is_bounded_and_a_small_room_is_no_harm() {
    let mut voice = Voice::new(&setup(Codec::Pcma, 60), 8000).unwrap();
    let mut stream = OwnStream::new(1);
    for _ in 0..1000 {
        voice.speak(&[5; 160]);
    }
    assert!(voice.is_waiting());
    assert_eq!(voice.poll_packet(&mut stream, &mut [0; 100]), None);
    assert!(
        voice.fits(&setup(Codec::Pcma, 60))
            && !voice.fits(&setup(Codec::Pcma, 20))
            && !voice.fits(&setup(Codec::G722, 60))
    );
    assert!(Voice::new(&setup(Codec::Other("iLBC".into()), 20), 8000).is_none());
}

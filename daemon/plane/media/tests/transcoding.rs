//! After its first second a transcoded pair costs no allocation, whatever its codecs. Alone in its program, for the allocator is the program's.
#![allow(clippy::disallowed_methods, reason = "tests read the clock")]

#[path = "support/counting.rs"]
mod counting;

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use counting::allocations;
use postern_audio::{Encode, Encoder, codec::ENCODED_MAX};
use postern_media::{Port, Relay, Verdict, relay::Limits};
use postern_rtp::{Header, packet::HEADER_LEN};
use postern_types::{
    CallSid,
    media::StreamSetup,
    stream::{Codec, Format},
};

fn format(codec: Codec) -> Format {
    let (clock_hz, channels) = if codec == Codec::Opus { (48000, 2) } else { (8000, 1) };
    Format { payload_type: 96, codec, clock_hz, channels, fmtp: "useinbandfec=1".into() }
}

#[test]
fn transcoding_allocates_nothing_for_a_packet() {
    const ALL: [Codec; 4] = [Codec::Pcma, Codec::Pcmu, Codec::G722, Codec::Opus];
    let limits = Limits { latch_window: Duration::from_secs(2), timeout: Duration::from_secs(30) };
    let peers: [SocketAddr; 2] = [([192, 0, 2, 1], 4000).into(), ([192, 0, 2, 2], 4000).into()];
    for pair in ALL.iter().flat_map(|a| ALL.iter().map(move |b| [a, b])).filter(|[a, b]| a != b) {
        let begin = Instant::now();
        let mut relay = Relay::new(2, limits, 1);
        let mut talkers: Vec<Encoder> = Vec::new();
        for (slot, codec) in (0..2).zip(pair) {
            relay.open(begin, slot, CallSid(slot.into()));
            let setup = StreamSetup::plain(peers[slot as usize], format(codec.clone()));
            relay.configure(begin, slot, Box::new(setup));
            talkers.push(Encoder::new(&format(codec.clone()), 16000).unwrap());
        }
        relay.bridge(0, 1);
        let (mut room, mut sent, mut before) = ([0; 2048], [0; 2], 0);
        for n in 0..200u16 {
            if n == 50 {
                before = allocations();
            }
            let now = begin + Duration::from_millis(u64::from(n) * 20);
            for slot in 0..2u32 {
                let talker = &mut talkers[slot as usize];
                let samples: [i16; 320] =
                    std::array::from_fn(|at| ((at * 977 + usize::from(n) * 31) % 9001) as i16 - 4500);
                let mut payload = [0; ENCODED_MAX];
                let Some(len) = talker.encode(&samples[..talker.rate() as usize / 50], &mut payload) else { continue };
                // One in twenty is lost, so that concealment is seen too.
                if n % 20 == 7 {
                    continue;
                }
                let clock = if *pair[slot as usize] == Codec::Opus { 960 } else { 160 };
                let head = Header {
                    marker: false,
                    payload_type: 96,
                    sequence: n,
                    timestamp: u32::from(n) * clock,
                    ssrc: slot,
                    payload_start: HEADER_LEN,
                    padded: false,
                };
                head.write(room.first_chunk_mut().unwrap());
                room[HEADER_LEN..HEADER_LEN + len].copy_from_slice(&payload[..len]);
                relay.handle_input(now, slot, Port::Rtp, peers[slot as usize], &mut room, HEADER_LEN + len);
            }
            while relay.play_is_due(now) {
                match relay.poll_play(now, &mut room) {
                    Some(Verdict::Send { slot, .. }) => sent[slot as usize] += 1,
                    _ => break,
                }
            }
        }
        let allocated = allocations() - before;
        assert!(sent.iter().all(|packets| *packets > 150), "{pair:?}: {sent:?}");
        assert_eq!(allocated, 0, "{pair:?}: for 300 packets");
    }
}

//! A room of many in G.711, without sockets: each sends a packet each 20 ms, some of them speech.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use postern_media::{Port, Relay, Verdict, conference::RoomSeat, relay::Limits};
use postern_rtp::{Header, packet::HEADER_LEN};
use postern_types::{CallSid, ConferenceSid, media::StreamSetup, stream::Format};

/// Bytes of a packet of 20 ms.
const PACKET: usize = HEADER_LEN + 160;

/// The room and its parties.
pub struct House {
    relay: Relay,
    now: Instant,
    parties: u32,
    speakers: u32,
    sequence: u16,
    speech: [u8; 160],
}

impl House {
    /// So many, of whom these speak.
    #[allow(clippy::disallowed_methods, reason = "a beginning of time is needed")]
    pub fn new(parties: u32, speakers: u32) -> Self {
        let now = Instant::now();
        let limits = Limits { latch_window: Duration::from_secs(2), timeout: Duration::from_secs(30) };
        let mut relay = Relay::new(parties as usize, limits, 1);
        for slot in 0..parties {
            relay.open(now, slot, CallSid(slot.into()));
            relay.configure(now, slot, Box::new(StreamSetup::plain(address(slot), Format::pcma())));
            relay.join(now, ConferenceSid(1), slot, RoomSeat::default());
        }
        // A-law of a loud square wave: its cost is that of any speech.
        let speech = std::array::from_fn(|n| if n % 16 < 8 { 0xaa } else { 0x2a });
        Self { relay, now, parties, speakers, sequence: 0, speech }
    }

    /// 20 ms: a packet of each party, and what is sent to each. Says how many packets that were.
    pub fn tick(&mut self) -> usize {
        let mut packet = [0; 512];
        for slot in 0..self.parties {
            let header = Header {
                marker: false,
                payload_type: 8,
                sequence: self.sequence,
                timestamp: u32::from(self.sequence) * 160,
                ssrc: slot,
                payload_start: HEADER_LEN,
                padded: false,
            };
            header.write(packet.first_chunk_mut().expect("a packet has room for its header"));
            match slot < self.speakers {
                true => packet[HEADER_LEN..PACKET].copy_from_slice(&self.speech),
                false => packet[HEADER_LEN..PACKET].fill(0xd5),
            }
            self.relay.handle_input(self.now, slot, Port::Rtp, address(slot), &mut packet, PACKET);
        }
        self.sequence = self.sequence.wrapping_add(1);
        self.now += Duration::from_millis(20);
        let mut sent = 0;
        while let Some(Verdict::Send { .. }) = self.relay.poll_play(self.now, &mut packet) {
            sent += 1;
        }
        sent
    }
}

fn address(slot: u32) -> SocketAddr {
    ([192, 0, 2, 1], 4000 + slot as u16 * 2).into()
}

//! Rooms at the sockets, of legs that began on different workers.
#![allow(clippy::disallowed_methods, reason = "tests read the clock")]

mod support;

use postern_rtp::{Header, packet::HEADER_LEN};
use postern_types::{
    ConferenceSid,
    media::{MediaCommand, RoomPart, RoomSound},
};
use support::*;

const ROOM: ConferenceSid = ConferenceSid(3);
/// Packets that are enough for anything here: ten seconds of them.
const PACKETS_MAX: u16 = 500;

/// A-law of a loud square wave.
fn speech() -> [u8; 160] {
    std::array::from_fn(|n| if n % 16 < 8 { 0xaa } else { 0x2a })
}

fn is_loud(packet: &[u8]) -> bool {
    let (_, payload) = packet.split_at(HEADER_LEN);
    payload.iter().filter(|byte| (*byte ^ 0x55) & 0x7f > 0x40).count() > payload.len() / 2
}

/// A house of two workers, and three in a room.
fn house() -> (House, [Peer; 3]) {
    let mut settings = config(8);
    settings.media.workers = vec![0, 1];
    let mut house = House::new(&settings);
    let peers = [(); 3].map(|()| house.leg(false, |_| {}));
    for peer in &peers {
        join(&mut house, peer, RoomPart::default());
    }
    (house, peers)
}

fn join(house: &mut House, peer: &Peer, part: RoomPart) {
    house.command(MediaCommand::Join { room: ROOM, leg: peer.id, part });
}

/// One speaks and all send, until each of these got a loud packet, or all of those quiet ones in the meantime.
fn talk(house: &mut House, peers: &[Peer; 3], from: u16, hear: &[usize]) -> u16 {
    let (mut heard, mut sequence) = ([0; 3], from);
    while hear.iter().any(|at| heard[*at] < 5) {
        assert!(sequence < from + PACKETS_MAX, "heard by {heard:?} of {hear:?}; {:?}", house.plane.status());
        for (at, peer) in peers.iter().enumerate() {
            peer.send(&rtp(8, sequence, &if at == 0 { speech() } else { [0xd5; 160] }));
        }
        sequence += 1;
        // Moves are made as events are fetched.
        house.seen.extend(std::iter::from_fn(|| house.plane.poll_event()));
        for at in 0..3 {
            peers[at].rtp.set_read_timeout(Some(std::time::Duration::from_millis(7))).unwrap();
            let mut bytes = [0; 2000];
            let Ok(len) = peers[at].rtp.recv(&mut bytes) else { continue };
            assert_eq!(Header::parse(&bytes[..len]).unwrap().payload_type, 8);
            heard[at] += u32::from(is_loud(&bytes[..len]));
        }
    }
    for (at, count) in heard.iter().enumerate() {
        assert!(hear.contains(&at) || *count == 0, "{at} heard {count} that were not for it");
    }
    sequence
}

#[test]
fn legs_of_two_workers_hear_each_other_and_a_coach_only_whom_it_coaches() {
    let (mut house, peers) = house();
    let at = talk(&mut house, &peers, 0, &[1, 2]);
    join(&mut house, &peers[0], RoomPart { coaches: Some(peers[2].id), ..RoomPart::default() });
    // What was said before is on its way.
    let at = drain(&mut house, &peers, at);
    let at = talk(&mut house, &peers, at, &[2]);
    house.command(MediaCommand::Leave { leg: peers[2].id });
    join(&mut house, &peers[0], RoomPart::default());
    let at = drain(&mut house, &peers, at);
    let at = talk(&mut house, &peers, at, &[1]);
    // Bridged, two are in no room.
    house.command(MediaCommand::Bridge { a: peers[0].id, b: peers[2].id });
    let at = drain(&mut house, &peers, at);
    talk(&mut house, &peers, at, &[2]);
    for peer in &peers {
        house.close(peer.id);
    }
    assert_eq!(house.plane.status().streams, 0);
    // Of what is not there nothing is known.
    house.command(MediaCommand::Join { room: ROOM, leg: peers[0].id, part: RoomPart::default() });
    house.command(MediaCommand::Chime { room: ROOM, sound: RoomSound::Entered });
    house.command(MediaCommand::Leave { leg: peers[0].id });
}

/// Half a second in which nobody speaks, so that nothing of before is heard after it.
fn drain(house: &mut House, peers: &[Peer; 3], from: u16) -> u16 {
    for sequence in from..from + 25 {
        for peer in peers {
            peer.send(&rtp(8, sequence, &[0xd5; 160]));
        }
        house.seen.extend(std::iter::from_fn(|| house.plane.poll_event()));
        for peer in peers {
            peer.rtp.set_read_timeout(Some(std::time::Duration::from_millis(7))).unwrap();
            let _ = peer.rtp.recv(&mut [0; 2000]);
        }
    }
    // And what waits in the sockets.
    for peer in peers {
        peer.rtp.set_nonblocking(true).unwrap();
        while peer.rtp.recv(&mut [0; 2000]).is_ok() {}
        peer.rtp.set_nonblocking(false).unwrap();
    }
    from + 25
}

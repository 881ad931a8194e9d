//! The plane with real sockets: who hears whom, and who is not heard.
#![allow(clippy::disallowed_methods, reason = "tests read the clock")]

mod support;

use std::sync::Arc;

use postern_rtp::{Header, TelephoneEvent, event::code_of};
use postern_types::{
    media::{Latching, MediaCommand, MediaEvent, PlayId, Prompt},
    stream::{Codec, Direction, Format, SdesKey, SrtpSuite},
};
use support::*;

/// Two legs, bridged and latched, that have heard a packet of each other.
fn bridged(house: &mut House, ipv6: bool) -> (Peer, Peer) {
    let (a, b) = (house.leg(ipv6, |_| {}), house.leg(ipv6, |_| {}));
    house.command(MediaCommand::Bridge { a: a.id, b: b.id });
    for (one, other) in [(&a, &b), (&b, &a)] {
        one.send(&rtp(8, 1, b"first"));
        let got = other.receive();
        assert_eq!((got[1], &got[12..]), (0x80 | 8, &b"first"[..]), "marked, for a new source is heard");
        assert_eq!(house.latched(one.id), (one.rtp.local_addr().unwrap(), true));
    }
    (a, b)
}

#[test]
fn two_peers_hear_each_other_bit_by_bit() {
    let mut house = House::new(&config(8));
    for ipv6 in [false, true] {
        let (a, b) = bridged(&mut house, ipv6);
        for n in 2..200u16 {
            for (one, other, shift) in [(&a, &b, 0), (&b, &a, 7)] {
                let packet = rtp(8, n, &[n as u8 ^ shift; 160]);
                one.send(&packet);
                assert_eq!(other.receive(), packet);
            }
        }
        let report = house.close(a.id);
        assert_eq!((report.packets_received, report.packets_sent), (199, 199));
        assert_eq!((report.bytes_received, report.packets_lost), (198 * 172 + 17, 0));
        assert!(report.mos.is_some_and(|mos| mos > 4.0), "{report:?}");
        assert_eq!(report.source, Some(a.rtp.local_addr().unwrap()));
        assert!(report.first_packet_ms.is_some());
        // The other goes on alone.
        b.send(&rtp(8, 200, b"alone"));
        assert_eq!(house.close(b.id).packets_received, 200);
    }
}

#[test]
fn a_stranger_is_not_heard_answered_or_believed() {
    let mut house = House::new(&config(4));
    let (a, b) = bridged(&mut house, false);
    let stranger = socket(a.leg_rtp);
    for n in 0..5 {
        stranger.send_to(&rtp(8, 500 + n, b"evil"), a.leg_rtp).unwrap();
    }
    let source = house.wait_for("Foreign", |event| match event {
        MediaEvent::Foreign { leg, source, .. } if *leg == a.id => Some(*source),
        _ => None,
    });
    assert_eq!(source, stranger.local_addr().unwrap());
    a.send(&rtp(8, 2, b"good"));
    assert_eq!(&b.receive()[12..], b"good");
    b.send(&rtp(8, 2, b"back"));
    assert_eq!(&a.receive()[12..], b"back");
    assert!(b.is_quiet());
    stranger.set_nonblocking(true).unwrap();
    assert!(stranger.recv(&mut [0; 100]).is_err(), "nothing is sent to a stranger");
    let report = house.close(a.id);
    assert_eq!((report.dropped_foreign, report.packets_received), (5, 2));
}

#[test]
fn behind_nat_the_first_source_is_bound_until_the_described_one_speaks() {
    let mut house = House::new(&config(4));
    let (a, b) = (house.leg(false, |_| {}), house.leg(false, |_| {}));
    house.command(MediaCommand::Bridge { a: a.id, b: b.id });
    let nat = socket(a.leg_rtp);
    nat.send_to(b"not RTP at all, but long enough", a.leg_rtp).unwrap();
    nat.send_to(&rtp(99, 1, b"unknown type"), a.leg_rtp).unwrap();
    nat.send_to(&rtp(8, 1, b"nat"), a.leg_rtp).unwrap();
    assert_eq!(house.latched(a.id), (nat.local_addr().unwrap(), false));
    assert_eq!(&b.receive()[12..], b"nat");
    b.send(&rtp(8, 1, b"to nat"));
    assert_eq!(&receive(&nat).0[12..], b"to nat");
    a.send(&rtp(8, 1, b"described"));
    assert_eq!(house.latched(a.id), (a.rtp.local_addr().unwrap(), true));
    b.send(&rtp(8, 2, b"to described"));
    assert_eq!(&a.receive()[12..], b"to described");
}

#[test]
fn a_stranger_that_was_first_loses_the_leg_when_the_party_speaks_after_the_window() {
    let mut config = config(4);
    config.media.latch_window = std::time::Duration::from_millis(100);
    let mut house = House::new(&config);
    let (a, b) = (house.leg(false, |_| {}), house.leg(false, |_| {}));
    house.command(MediaCommand::Bridge { a: a.id, b: b.id });
    let stranger = socket(a.leg_rtp);
    // Long enough that the worker would connect the socket to a settled source: the kernel would turn the party away.
    for n in 1..140 {
        stranger.send_to(&rtp(8, n, b"stranger"), a.leg_rtp).unwrap();
        b.receive();
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    assert_eq!(house.latched(a.id), (stranger.local_addr().unwrap(), false));
    a.send(&rtp(8, 1, b"party"));
    assert_eq!(house.latched(a.id), (a.rtp.local_addr().unwrap(), true));
    assert_eq!(&b.receive()[12..], b"party");
    stranger.send_to(&rtp(8, 141, b"stranger"), a.leg_rtp).unwrap();
    a.send(&rtp(8, 2, b"again"));
    assert_eq!(&b.receive()[12..], b"again", "and never gets it back");
}

#[test]
fn strict_latching_hears_only_the_described_address() {
    let mut house = House::new(&config(4));
    let a = house.leg(false, |setup| setup.latching = Latching::Strict);
    let b = house.leg(false, |_| {});
    house.command(MediaCommand::Bridge { a: a.id, b: b.id });
    socket(a.leg_rtp).send_to(&rtp(8, 1, b"quicker"), a.leg_rtp).unwrap();
    a.send(&rtp(8, 1, b"party"));
    assert_eq!(house.latched(a.id), (a.rtp.local_addr().unwrap(), true));
    assert_eq!(&b.receive()[12..], b"party");
    assert_eq!(house.close(a.id).dropped_foreign, 1);
}

#[test]
fn a_reoffer_with_a_new_address_moves_the_leg() {
    let mut house = House::new(&config(4));
    let (a, b) = bridged(&mut house, false);
    let moved = Peer::new(a.id, a.leg_rtp, a.leg_rtcp);
    // Long enough that the worker connected the socket to the old address.
    for n in 2..140 {
        a.send(&rtp(8, n, b"x"));
        b.receive();
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    house.command(MediaCommand::Configure { leg: a.id, setup: Box::new(moved.setup()) });
    b.send(&rtp(8, 2, b"early"));
    assert_eq!(&moved.receive()[12..], b"early", "the described address is served before it speaks");
    moved.send(&rtp(8, 9, b"here"));
    assert_eq!(house.latched(a.id), (moved.rtp.local_addr().unwrap(), true));
    assert_eq!(&b.receive()[12..], b"here");
}

#[test]
fn each_party_gets_reports_of_ours_on_its_own_port_or_on_one() {
    let mut house = House::new(&config(4));
    let a = house.leg(false, |_| {});
    let b = house.leg(false, |setup| setup.remote_rtcp = setup.remote_rtp);
    house.command(MediaCommand::Bridge { a: a.id, b: b.id });
    a.send(&rtp(8, 1, b"x"));
    assert_eq!(b.receive().len(), 13);
    b.send(&rtp(8, 1, b"x"));
    assert_eq!(a.receive().len(), 13);
    // A party's report and a piece of one: taken and dropped, but not passed on.
    a.rtcp.send_to(&RTCP, a.leg_rtcp).unwrap();
    a.rtcp.send_to(&RTCP[..6], a.leg_rtcp).unwrap();
    b.send(&RTCP);
    b.send(&rtp(8, 2, b"y"));
    assert_eq!(a.receive().len(), 13);
    // The first report comes within four seconds: of what each is sent (200), with what it sent (one block).
    for (socket, from) in [(&a.rtcp, a.leg_rtcp), (&b.rtp, b.leg_rtp)] {
        let (report, source) = receive(socket);
        assert_eq!((&report[..2], source), (&[0x81, 200][..], from));
        assert_eq!(report[4..8], 7u32.to_be_bytes(), "the source that it hears");
    }
    for (peer, socket) in [(&a, &a.rtcp), (&b, &b.rtp)] {
        let report = house.close(peer.id);
        assert_eq!((report.rtcp_received, report.rtcp_sent), (1, 2));
        let (goodbye, _) = receive(socket);
        assert_eq!(goodbye[goodbye.len() - 8..][..4], [0x81, 203, 0, 1]);
    }
}

#[test]
fn payload_types_are_those_of_each_leg() {
    let opus =
        |payload_type| Format { payload_type, codec: Codec::Opus, clock_hz: 48000, channels: 2, fmtp: "".into() };
    // No codec of ours: it cannot be converted either.
    let foreign = Format { payload_type: 98, codec: Codec::Other("iLBC".into()), ..Format::pcmu() };
    let mut house = House::new(&config(4));
    let a = house.leg(false, |setup| {
        (setup.formats, setup.telephone_event) = (vec![opus(96), foreign.clone()], Some(97));
    });
    let b = house.leg(false, |setup| {
        (setup.formats, setup.telephone_event) = (vec![opus(111), Format::pcma()], Some(101));
        setup.format = opus(111);
    });
    house.command(MediaCommand::Bridge { a: a.id, b: b.id });
    // iLBC has no counterpart and 55 was never negotiated; both are dropped and counted. (PCMA is A's format in use.)
    for (sent, want) in [(96, Some(111)), (97, Some(101)), (98, None), (55, None), (8, Some(8)), (96, Some(111))] {
        a.send(&rtp(sent, 1, b"abcd"));
        if let Some(want) = want {
            assert_eq!(Header::parse(&b.receive()).unwrap().payload_type, want);
        }
    }
    b.send(&rtp(111, 1, b"abcd"));
    assert_eq!(Header::parse(&a.receive()).unwrap().payload_type, 96);
    house.wait_until("counted", |status| status.dropped == 2);
}

#[test]
fn a_leg_on_hold_hears_nothing_and_is_not_heard() {
    let mut house = House::new(&config(4));
    let (a, b) = bridged(&mut house, false);
    let mut held = a.setup();
    // A holds B: it only sends (music), and is sent nothing.
    held.direction = Direction::SendOnly;
    house.command(MediaCommand::Configure { leg: a.id, setup: Box::new(held.clone()) });
    b.send(&rtp(8, 2, b"unheard"));
    a.send(&rtp(8, 2, b"music"));
    assert_eq!(&b.receive()[12..], b"music");
    house.wait_until("dropped", |status| status.dropped == 1);
    held.direction = Direction::Inactive;
    house.command(MediaCommand::Configure { leg: a.id, setup: Box::new(held.clone()) });
    a.send(&rtp(8, 3, b"unheard"));
    house.wait_until("dropped", |status| status.dropped == 2);
    held.direction = Direction::SendRecv;
    house.command(MediaCommand::Configure { leg: a.id, setup: Box::new(held) });
    b.send(&rtp(8, 3, b"resumed"));
    assert_eq!(&a.receive()[12..], b"resumed");
    assert!(b.is_quiet());
}

#[test]
fn a_prompt_is_played_on_the_beat_and_the_bridge_waits() {
    let mut house = House::new(&config(4));
    let (a, b) = bridged(&mut house, false);
    // 95 ms: the last packet is filled up with silence.
    let samples: Vec<i16> = (0..760).map(|n| ((n * 997) % 20_000) as i16 - 10_000).collect();
    let prompt = Arc::new(Prompt { samples: samples.clone().into() });
    let start = std::time::Instant::now();
    house.command(MediaCommand::Play { leg: a.id, play: PlayId(3), prompt: prompt.clone(), times: 2 });
    let mut played = Vec::new();
    let mut headers = Vec::new();
    while headers.len() < 10 {
        b.send(&rtp(8, 2, b"not heard"));
        let packet = a.receive();
        let header = Header::parse(&packet).unwrap();
        if header.ssrc == 7 {
            continue; // arrived before the play began
        }
        assert_eq!((header.payload_type, packet.len(), header.marker), (8, 172, headers.is_empty()));
        headers.push(header);
        let mut samples = [0; 160];
        postern_audio::g711::decode_alaw(&packet[12..], &mut samples);
        played.extend(samples);
    }
    let ended = house.wait_for("PlayEnded", |event| match event {
        MediaEvent::PlayEnded { leg, play } if *leg == a.id => Some(*play),
        _ => None,
    });
    assert_eq!(ended, PlayId(3));
    assert!(start.elapsed() >= std::time::Duration::from_millis(9 * 20), "{:?}", start.elapsed());
    for pair in headers.windows(2) {
        assert_eq!(pair[1].sequence, pair[0].sequence.wrapping_add(1));
        assert_eq!(pair[1].timestamp, pair[0].timestamp.wrapping_add(160));
        assert_eq!(pair[1].ssrc, pair[0].ssrc);
    }
    for round in played.chunks(800) {
        for (n, &heard) in round.iter().enumerate() {
            let said = samples.get(n).copied().unwrap_or(0);
            let error = (i32::from(heard) - i32::from(said)).abs();
            assert!(error <= 16 + i32::from(said).abs() / 16, "sample {n}: said {said}, heard {heard}");
        }
    }
    // Afterwards the bridged party is heard again, with a marker.
    b.send(&rtp(8, 90, b"again"));
    loop {
        let packet = a.receive();
        if &packet[12..] == b"again" {
            assert_eq!(packet[1], 0x80 | 8);
            break;
        }
    }
    // Stopped by command, nothing is told.
    house.command(MediaCommand::Play { leg: a.id, play: PlayId(4), prompt, times: 0 });
    while a.receive().len() != 172 {}
    house.command(MediaCommand::StopPlay { leg: a.id });
    house.close(a.id);
    assert!(!house.seen.iter().any(|event| matches!(event, MediaEvent::PlayEnded { .. })));
}

#[test]
fn a_digit_is_told_once_and_relayed() {
    let mut house = House::new(&config(4));
    let (a, b) = bridged(&mut house, false);
    for (n, end, duration) in [(0, false, 160), (1, false, 320), (2, true, 800), (3, true, 800), (4, true, 800)] {
        let event = TelephoneEvent { code: code_of('#').unwrap(), end, volume: 10, duration };
        let mut packet = rtp(101, 10 + n, &event.to_bytes());
        packet[4..8].copy_from_slice(&5000u32.to_be_bytes());
        a.send(&packet);
        assert_eq!(b.receive(), packet);
    }
    let event = TelephoneEvent { code: 5, end: false, volume: 10, duration: 400 };
    a.send(&rtp(101, 99, &event.to_bytes()));
    let digits: Vec<_> = (0..2)
        .map(|_| {
            house.wait_for("Digit", |event| match event {
                MediaEvent::Digit { leg, digit, duration_ms } if *leg == a.id => Some((*digit, *duration_ms)),
                _ => None,
            })
        })
        .collect();
    assert_eq!(digits, [('#', 100), ('5', 50)], "the second has lost its end");
    house.close(a.id);
    assert!(!house.seen.iter().any(|event| matches!(event, MediaEvent::Digit { .. })));
}

#[test]
fn silence_is_told_again_but_never_of_a_party_that_need_not_send() {
    let mut config = config(4);
    config.media.timeout = std::time::Duration::from_millis(300);
    let mut house = House::new(&config);
    let quiet = house.leg(false, |setup| setup.direction = Direction::RecvOnly);
    let dead = house.leg(false, |_| {});
    let silent = house.wait_for("TimedOut", |event| match event {
        MediaEvent::TimedOut { leg, silent } if *leg == dead.id => Some(*silent),
        _ => None,
    });
    assert!(silent >= config.media.timeout, "{silent:?}");
    // Two more turns of the clock, seen by reports of a leg that speaks.
    for n in 0..2 {
        quiet.send(&rtp(8, n, b"x"));
        house.wait_for("Report", |event| matches!(event, MediaEvent::Report { .. }).then_some(()));
    }
    let told = |event: &MediaEvent| match event {
        MediaEvent::TimedOut { leg, .. } => Some(*leg),
        _ => None,
    };
    let told: Vec<_> = house.seen.iter().filter_map(told).collect();
    assert!(!told.is_empty() && told.iter().all(|leg| *leg == dead.id), "{:?}", house.seen);
}

#[test]
fn srtp_on_one_leg_and_plain_rtp_on_the_other() {
    let key = |n: u8| SdesKey {
        tag: 1,
        suite: SrtpSuite::AesCm128HmacSha1_80,
        key_salt: postern_types::Secret::new([n; 30]),
    };
    let mut house = House::new(&config(4));
    let a =
        house.leg(false, |setup| (setup.srtp_in, setup.srtp_out) = (Some(Box::new(key(1))), Some(Box::new(key(2)))));
    let b = house.leg(false, |_| {});
    house.command(MediaCommand::Bridge { a: a.id, b: b.id });
    // Nobody latches without the key, whatever the window says.
    let stranger = socket(a.leg_rtp);
    stranger.send_to(&rtp(8, 1, b"in the clear"), a.leg_rtp).unwrap();
    let mut protect = postern_srtp::SrtpContext::outbound(&key(1)).unwrap();
    let mut open = postern_srtp::SrtpContext::inbound(&key(2)).unwrap();
    for n in 1..50 {
        let plain = rtp(8, n, &[n as u8; 160]);
        let mut room = [0; 400];
        room[..plain.len()].copy_from_slice(&plain);
        let len = protect.protect_rtp(&mut room, plain.len()).unwrap();
        a.send(&room[..len]);
        let got = b.receive();
        assert_eq!(got[12..], plain[12..]);
        b.send(&plain);
        let mut back = a.receive();
        let len = back.len();
        assert_eq!(len, plain.len() + 10);
        back.resize(400, 0);
        let len = open.unprotect_rtp(&mut back, len).unwrap();
        assert_eq!(back[12..len], plain[12..]);
        // A repeat is not relayed twice.
        if n == 20 {
            a.send(&room[..plain.len() + 10]);
        }
    }
    assert_eq!(house.latched(a.id).0, a.rtp.local_addr().unwrap());
    let report = house.close(a.id);
    assert_eq!((report.packets_received, report.dropped_bad), (49, 2));
    assert!(b.is_quiet());
}

#[test]
fn digits_are_heard_while_a_prompt_plays_and_the_bridge_follows_at_once() {
    let mut house = House::new(&config(4));
    let (a, b) = bridged(&mut house, false);
    let prompt = Arc::new(Prompt { samples: vec![5000; 80_000].into() });
    house.command(MediaCommand::Play { leg: a.id, play: PlayId(1), prompt, times: 0 });
    let first = Header::parse(&a.receive()).unwrap();
    assert!(first.marker);
    let event = TelephoneEvent { code: 5, end: true, volume: 10, duration: 800 };
    a.send(&rtp(101, 2, &event.to_bytes()));
    house.wait_for("Digit", |event| matches!(event, MediaEvent::Digit { digit: '5', .. }).then_some(()));
    assert_eq!(b.receive()[1] & 0x7f, 101, "what the listener sends is relayed as ever");
    house.command(MediaCommand::StopPlay { leg: a.id });
    // Packets of the prompt that were under way arrive before.
    let mut last = first.sequence;
    b.send(&rtp(8, 2, b"again"));
    let heard = loop {
        let packet = a.receive();
        let header = Header::parse(&packet).unwrap();
        if header.ssrc != first.ssrc {
            break packet;
        }
        assert_eq!(header.sequence, last.wrapping_add(1), "without a gap");
        last = header.sequence;
    };
    assert_eq!((heard[1], &heard[12..]), (0x80 | 8, &b"again"[..]), "another source, marked as a beginning");
}

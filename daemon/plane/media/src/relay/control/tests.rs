use std::time::Duration;

use postern_rtp::metrics::VoipMetrics;
use postern_rtp::rtcp::{Packet, ReportBlock, packets};
use postern_srtp::SrtpContext;
use postern_types::{
    CallSid, Secret,
    media::{MediaEvent, StreamReport, StreamSetup},
    stream::{Format, SdesKey, SrtpSuite},
};

use super::*;
use crate::{
    relay::PARTS,
    testing::{LIMITS, address, start},
};

fn setup(port: u16) -> StreamSetup {
    StreamSetup::plain(address(port), Format::pcma())
}

/// Two bridged legs; slot n expects its peer at 4000 + 2n, RTCP on the next port.
fn two_legs(now: Instant) -> Relay {
    let mut relay = Relay::new(4, LIMITS, 7);
    relay.set_clock(now, 1_700_000_000_000_000);
    for slot in [0, 1] {
        relay.open(now, slot, CallSid(slot.into()));
        relay.configure(now, slot, Box::new(setup(4000 + slot as u16 * 2)));
    }
    relay.bridge(0, 1);
    relay
}

/// A packet of 160 bytes from the peer of a slot.
fn audio(relay: &mut Relay, now: Instant, slot: u32, source: SocketAddr, sequence: u16) -> Verdict {
    let mut room = [0; 400];
    room[..2].copy_from_slice(&[0x80, 8]);
    room[2..4].copy_from_slice(&sequence.to_be_bytes());
    room[4..8].copy_from_slice(&(u32::from(sequence) * 160).to_be_bytes());
    room[11] = 50 + slot as u8;
    relay.handle_input(now, slot, Port::Rtp, source, &mut room, 172)
}

/// Hands a slot a compound of its peer.
fn hand(relay: &mut Relay, now: Instant, slot: u32, source: SocketAddr, compound: &[u8]) {
    let mut room = [0; 400];
    room[..compound.len()].copy_from_slice(compound);
    assert_eq!(relay.handle_input(now, slot, Port::Rtcp, source, &mut room, compound.len()), Verdict::Drop);
}

/// Lets time pass in parts of a second; tells what was sent: when, from where, the compound.
fn pass(relay: &mut Relay, from: Instant, span: Duration) -> Vec<(Instant, Verdict, Vec<u8>)> {
    let mut sent = Vec::new();
    for n in 0..=(span.as_millis() / 50) as u32 {
        let now = from + Duration::from_millis(50) * n;
        relay.handle_part(now, n % PARTS);
        let mut room = [0; 400];
        while let Some(verdict) = relay.play_is_due(now).then(|| relay.poll_play(now, &mut room)).flatten() {
            let Verdict::Send { len, .. } = verdict else { panic!("nothing else is polled") };
            sent.push((now, verdict, room[..len].to_vec()));
        }
    }
    sent
}

fn first(compound: &[u8]) -> Packet<'_> {
    packets(compound).next().unwrap().unwrap()
}

fn report(relay: &Relay, slot: usize) -> StreamReport {
    relay.legs[slot].as_ref().unwrap().report()
}

#[test]
fn each_side_hears_of_its_own_leg_alone() {
    let now = start();
    let mut relay = two_legs(now);
    // The one sends ten packets and loses two of them; the other sends three.
    for sequence in [1, 2, 3, 6, 7, 8, 9, 10] {
        audio(&mut relay, now, 0, address(4000), sequence);
    }
    for sequence in 1..4 {
        audio(&mut relay, now, 1, address(4002), sequence);
    }
    let sent = pass(&mut relay, now, Duration::from_secs(4));
    assert_eq!(sent.len(), 2, "one each within 3.75 s");
    for (at, verdict, compound) in &sent {
        let Verdict::Send { slot, port, to, .. } = *verdict else { unreachable!() };
        assert_eq!((port, to), (Port::Rtcp, address(4001 + slot as u16 * 2)));
        let packet = first(compound);
        let report = packet.sender_report().unwrap();
        // Told in the source that it hears, which is the other party's, and of what it sent.
        let (heard, packets_sent, lost) = if slot == 0 { (51, 3, 2) } else { (50, 8, 0) };
        assert_eq!((report.ssrc, report.packets, report.bytes), (heard, packets_sent, packets_sent * 160));
        let block = packet.blocks().next().unwrap();
        assert_eq!((block.ssrc, block.lost), (50 + slot, lost));
        let passed = (*at - now).as_secs_f64();
        let last_sequence = if slot == 0 { 3 } else { 10 };
        let timestamp = last_sequence * 160 + (passed * 8000.0).round() as u32;
        assert_eq!((report.timestamp, report.ntp >> 32), (timestamp, 2_208_988_800 + 1_700_000_000 + passed as u64));
    }
    assert_eq!(relay.counts().packets_out, 8 + 3 + 2);
}

#[test]
fn the_answer_tells_round_trip_loss_and_jitter_and_goes_no_further() {
    let now = start();
    let mut relay = two_legs(now);
    audio(&mut relay, now, 0, address(4000), 1);
    audio(&mut relay, now, 1, address(4002), 1);
    let sent = pass(&mut relay, now, Duration::from_secs(4));
    let of_first = |(_, verdict, _): &&(Instant, Verdict, Vec<u8>)| matches!(verdict, Verdict::Send { slot: 0, .. });
    let (at, _, compound) = sent.iter().find(of_first).unwrap();
    let ntp = first(compound).sender_report().unwrap().ntp;
    let block = ReportBlock {
        ssrc: 51,
        fraction_lost: 26,
        lost: 4,
        highest_sequence: 1,
        jitter: 80,
        last_report: (ntp >> 16) as u32,
        delay: 65_536 / 10,
    };
    let mut room = [0; 64];
    let mut answer = postern_rtp::write::Compound::new(&mut room);
    answer.receiver_report(50, Some(&block));
    let len = answer.finish().unwrap();
    let before = relay.counts();
    // 100 ms there, 60 ms on the way.
    hand(&mut relay, *at + Duration::from_millis(160), 0, address(4001), &room[..len]);
    let report = report(&relay, 0);
    assert!((59.0..61.0).contains(&report.round_trip_ms.unwrap()), "{:?}", report.round_trip_ms);
    let far = report.far.unwrap();
    assert_eq!((far.packets_lost, far.jitter_ms), (4, 10.0));
    assert!((far.recent_loss_percent - 10.2).abs() < 0.1);
    assert_eq!((report.rtcp_received, report.rtcp_sent), (1, 1));
    assert_eq!((relay.counts().packets_out, relay.counts().dropped), (before.packets_out, before.dropped));
}

#[test]
fn rtcp_of_another_port_of_the_host_is_bound_like_rtp() {
    let now = start();
    let mut relay = two_legs(now);
    let rr = [0x80, 201, 0, 1, 0, 0, 0, 7];
    let is_heard = |relay: &mut Relay, port| {
        let before = report(relay, 0).rtcp_received;
        hand(relay, now, 0, address(port), &rr);
        report(relay, 0).rtcp_received > before
    };
    let to = |relay: &mut Relay, from: u64| {
        let sent = pass(relay, now + Duration::from_secs(from), Duration::from_secs(8));
        sent.iter().map(|(_, verdict, _)| *verdict).find_map(|verdict| match verdict {
            Verdict::Send { slot: 0, to, .. } => Some(to),
            _ => None,
        })
    };
    assert!(!is_heard(&mut relay, 5001), "nobody is latched yet");
    audio(&mut relay, now, 0, address(4000), 1);
    assert_eq!(to(&mut relay, 0), Some(address(4001)), "as described");
    assert!(is_heard(&mut relay, 5001));
    assert!(!is_heard(&mut relay, 5002), "a neighbour behind the same NAT");
    assert_eq!(to(&mut relay, 10), Some(address(5001)));
    assert!(is_heard(&mut relay, 4001), "the described address may always");
    assert_eq!(to(&mut relay, 20), Some(address(4001)));
}

#[test]
fn malformed_and_foreign_reports_are_counted_and_change_nothing() {
    let now = start();
    let mut relay = two_legs(now);
    audio(&mut relay, now, 0, address(4000), 1);
    let bad: [&[u8]; 5] =
        [&[], &[0x80, 201], &[0x80, 201, 0, 9, 0, 0, 0, 7], &[0x40, 201, 0, 1, 0, 0, 0, 7], &[0x80, 8, 0, 0]];
    for bytes in bad {
        hand(&mut relay, now, 0, address(4001), bytes);
    }
    hand(&mut relay, now, 0, "198.51.100.9:4001".parse().unwrap(), &[0x80, 201, 0, 1, 0, 0, 0, 7]);
    let report = report(&relay, 0);
    assert_eq!((report.rtcp_received, report.dropped_bad, report.dropped_foreign), (0, 5, 1));
    assert_eq!((report.far, report.round_trip_ms), (None, None));
}

#[test]
fn with_a_key_reports_are_protected_and_opened() {
    let key = |n| SdesKey { tag: 1, suite: SrtpSuite::AesCm128HmacSha1_80, key_salt: Secret::new([n; 30]) };
    let now = start();
    let mut relay = two_legs(now);
    // Multiplexed too.
    let secure = StreamSetup {
        srtp_in: Some(Box::new(key(1))),
        srtp_out: Some(Box::new(key(2))),
        remote_rtcp: address(4000),
        ..setup(4000)
    };
    relay.configure(now, 0, Box::new(secure));
    audio(&mut relay, now, 1, address(4002), 1);
    let sent = pass(&mut relay, now, Duration::from_secs(8));
    let of_first = sent.iter().find(|(_, v, _)| matches!(v, Verdict::Send { slot: 0, .. })).unwrap();
    assert!(matches!(of_first.1, Verdict::Send { port: Port::Rtp, to, .. } if to == address(4000)));
    let mut room = [0; 400];
    room[..of_first.2.len()].copy_from_slice(&of_first.2);
    assert!(packets(&of_first.2).any(|packet| packet.is_err()), "it is not readable");
    let mut open = SrtpContext::inbound(&key(2)).unwrap();
    let len = open.unprotect_rtcp(&mut room, of_first.2.len()).unwrap();
    assert_eq!(first(&room[..len]).sender_report().unwrap().ssrc, 51);
    // The peer's: with the key it is heard, without it is not.
    let mut protect = SrtpContext::outbound(&key(1)).unwrap();
    let mut theirs = [0; 400];
    theirs[..2].copy_from_slice(&[0x80, 8]);
    let len = protect.protect_rtp(&mut theirs, 172).unwrap();
    assert_ne!(relay.handle_input(now, 0, Port::Rtp, address(4000), &mut theirs, len), Verdict::Drop);
    let rr = [0x80, 201, 0, 1, 0, 0, 0, 7];
    for (is_protected, received) in [(false, 0), (true, 1)] {
        let mut room = [0; 400];
        room[..8].copy_from_slice(&rr);
        let len = if is_protected { protect.protect_rtcp(&mut room, 8).unwrap() } else { 8 };
        relay.handle_input(now, 0, Port::Rtp, address(4000), &mut room, len);
        assert_eq!(report(&relay, 0).rtcp_received, received);
    }
}

#[test]
fn who_leaves_says_goodbye_and_who_never_spoke_does_not() {
    let now = start();
    let mut room = [0; 400];
    let mut relay = two_legs(now);
    audio(&mut relay, now, 0, address(4000), 1);
    assert_eq!(relay.goodbye(now, 0, &mut room), None);
    let mut relay = two_legs(now);
    audio(&mut relay, now, 0, address(4000), 1);
    pass(&mut relay, now, Duration::from_secs(4));
    let Some(Verdict::Send { len, to, .. }) = relay.goodbye(now + Duration::from_secs(4), 1, &mut room) else {
        panic!("it has reported")
    };
    assert_eq!(to, address(4003));
    let kinds: Vec<_> = packets(&room[..len]).map(|packet| packet.unwrap().packet_type).collect();
    assert_eq!(kinds, [200, 202, 203]);
    let closed = relay.close(1);
    assert!(matches!(closed, Some(MediaEvent::Closed { report, .. }) if report.rtcp_sent == 2));
    let others = pass(&mut relay, now + Duration::from_secs(4), Duration::from_secs(20));
    assert!(others.len() >= 2, "the other goes on: {others:?}");
}

#[test]
fn names_are_ours_and_differ() {
    let now = start();
    let mut relay = two_legs(now);
    for slot in [0, 1] {
        audio(&mut relay, now, slot, address(4000 + slot as u16 * 2), 1);
    }
    let sent = pass(&mut relay, now, Duration::from_secs(4));
    let names: Vec<_> = sent
        .iter()
        .map(|(_, _, compound)| {
            packets(compound).map(Result::unwrap).find(|p| p.packet_type == 202).unwrap().body.to_vec()
        })
        .collect();
    // One word of source, then type 1 and 24 letters.
    assert!(names.iter().all(|name| name[4..6] == [1, 24]) && names[0][6..] != names[1][6..], "{names:?}");
}

#[test]
fn who_asks_for_metrics_gets_them_and_its_own_are_read() {
    let now = start();
    let mut relay = two_legs(now);
    relay.configure(now, 0, Box::new(StreamSetup { rtcp_xr: true, ..setup(4000) }));
    // A tenth is lost, one at a time.
    for sequence in (1..300).filter(|n| n % 10 != 5) {
        audio(&mut relay, now + Duration::from_millis(sequence * 10), 0, address(4000), sequence as u16);
    }
    audio(&mut relay, now, 1, address(4002), 1);
    let sent = pass(&mut relay, now + Duration::from_secs(3), Duration::from_secs(8));
    let metrics = |slot: u32| {
        let of = sent
            .iter()
            .find(|(_, verdict, _)| matches!(verdict, Verdict::Send { slot: of, .. } if *of == slot))
            .unwrap();
        let extended = packets(&of.2).map(Result::unwrap).find(|packet| packet.packet_type == 207);
        extended.map(|packet| VoipMetrics::in_report(packet.body).next().unwrap())
    };
    assert_eq!(metrics(1), None, "it did not ask");
    let told = metrics(0).unwrap();
    assert_eq!((told.ssrc, told.gmin), (50, 16));
    assert!((24..=27).contains(&told.loss_rate), "{told:?}");
    assert!(told.burst_density > 20 && told.burst_ms > 1000, "nine between two losses are one long burst: {told:?}");
    assert!((20..40).contains(&told.mos_cq) && told.mos_lq >= told.mos_cq && told.rating < 75, "{told:?}");
    // The other way: what the peer tells of the audio that it gets.
    let mut room = [0; 100];
    let mut theirs = postern_rtp::write::Compound::new(&mut room);
    let block =
        ReportBlock { ssrc: 51, fraction_lost: 0, lost: 0, highest_sequence: 1, jitter: 0, last_report: 0, delay: 0 };
    theirs.receiver_report(50, Some(&block));
    theirs.voip_metrics(50, &VoipMetrics { ssrc: 51, mos_cq: 127, mos_lq: 41, ..told });
    let len = theirs.finish().unwrap();
    hand(&mut relay, now, 0, address(4001), &room[..len]);
    let far = report(&relay, 0).far.unwrap();
    assert_eq!(far.told_mos, Some(4.1));
    assert!(far.mos.unwrap() > 4.3, "{far:?}");
}

#[test]
fn a_second_tells_its_own_loss_and_the_whole_tells_bursts() {
    let now = start();
    let mut relay = two_legs(now);
    let mut recent = Vec::new();
    for second in 0..4u64 {
        for n in 0..50 {
            // In the third second a row of five is lost.
            if second != 2 || !(10..15).contains(&n) {
                let at = now + Duration::from_millis(second * 1000 + n * 20);
                audio(&mut relay, at, 0, address(4000), (second * 50 + n) as u16);
            }
        }
        relay.handle_second(now + Duration::from_secs(second + 1));
        let told = std::iter::from_fn(|| relay.poll_event()).find_map(|event| match event {
            MediaEvent::Report { leg: CallSid(0), report } => Some(report.recent_loss_percent),
            _ => None,
        });
        recent.push(told.unwrap());
    }
    assert_eq!(recent, [0.0, 0.0, 10.0, 0.0]);
    let report = report(&relay, 0);
    let bursts = report.bursts.unwrap();
    assert_eq!((bursts.burst_density_percent, bursts.gap_density_percent), (100.0, 0.0));
    assert_eq!(bursts.burst_ms, 100);
    assert!(report.rating.unwrap() < 88.0 && report.mos.unwrap() < 4.3, "{report:?}");
}

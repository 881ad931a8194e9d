//! Every limit has a behaviour: ports, descriptors, queues, workers, memory.
#![allow(clippy::disallowed_methods, reason = "tests read the clock")]

mod support;

use std::{collections::BTreeSet, net::SocketAddr, sync::Arc, time::Duration};

use postern_types::{
    CallSid, RealmName,
    media::{MediaCommand, MediaEvent, PlayId, Prompt},
};
use postern_uring::{SocketOptions, bind};
use support::*;

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

#[test]
fn ports_are_used_up_rest_and_come_back() {
    let mut config = config(3);
    config.media.quarantine = Duration::from_millis(300);
    let mut house = House::new(&config);
    let opened: Vec<_> = (0..3).map(|_| house.open(false)).collect();
    let ports: BTreeSet<u16> = opened.iter().map(|(_, rtp, _)| rtp.port()).collect();
    assert_eq!(ports.len(), 3);
    assert!(opened.iter().all(|(_, rtp, rtcp)| rtp.port() % 2 == 0 && rtcp.port() == rtp.port() + 1));
    assert!(house.try_open(false).unwrap_err().contains("in use"));
    assert!(house.try_open(true).is_ok(), "the other family has ports of its own");
    let closed = std::time::Instant::now();
    house.close(opened[1].0);
    assert!(house.try_open(false).is_err(), "the pair rests");
    // Still ours: its sockets wait for the next leg.
    let address = opened[1].1;
    assert!(bind(address, &SocketOptions::MEDIA).is_err());
    let again = loop {
        match house.try_open(false) {
            Ok(opened) => break opened,
            Err(_) => assert!(closed.elapsed() < LIMIT),
        }
    };
    assert!(closed.elapsed() >= config.media.quarantine);
    assert_eq!(again.1, address);
}

#[test]
fn ports_of_others_are_passed_over_and_unknown_realms_refused() {
    let config = config(3);
    let first = config.realms.values().next().unwrap().media.port_first;
    let address = |port| SocketAddr::from(([127, 0, 0, 1], port));
    // One pair is taken by its even port, one by its odd one.
    let _other = (
        bind(address(first), &SocketOptions::MEDIA).unwrap(),
        bind(address(first + 3), &SocketOptions::MEDIA).unwrap(),
    );
    let mut house = House::new(&config);
    assert_eq!(house.open(false).1, address(first + 4));
    assert!(house.try_open(false).is_err());
    house.command(MediaCommand::Open {
        leg: CallSid(99),
        realm: RealmName::new("nowhere"),
        ipv6: false,
        urgent: false,
    });
    let why = house.wait_for("OpenFailed", |event| match event {
        MediaEvent::OpenFailed { leg: CallSid(99), why } => Some(why.clone()),
        _ => None,
    });
    assert!(why.contains("nowhere"));
}

#[test]
fn an_advertised_address_is_told_in_place_of_ours() {
    let mut config = config(2);
    config.realms.values_mut().next().unwrap().advertised = Some([192, 0, 2, 1].into());
    let mut house = House::new(&config);
    assert_eq!(house.open(false).1.ip().to_string(), "192.0.2.1");
    assert_eq!(house.open(true).1.ip().to_string(), "::1");
}

#[test]
fn thousands_of_legs_come_and_go_without_a_leak() {
    let mut config = config(64);
    config.media.quarantine = Duration::ZERO;
    let mut house = House::new(&config);
    let before = descriptors();
    for _ in 0..100 {
        let legs: Vec<_> = (0..32).map(|_| house.open(false).0).collect();
        for pair in legs.chunks(2) {
            house.command(MediaCommand::Bridge { a: pair[0], b: pair[1] });
        }
        for &leg in &legs {
            house.command(MediaCommand::Close { leg });
        }
        for &id in &legs {
            house.wait_for("Closed", |event| {
                matches!(event, MediaEvent::Closed { leg, .. } if *leg == id).then_some(())
            });
        }
    }
    assert_eq!(house.plane.status().streams, 0);
    assert_eq!(house.plane.status().ports_used, 0);
    // Other tests of this process open and close too; a leak would be of 6400.
    assert!(descriptors() < before + 500, "{} before, {} after", before, descriptors());
    house.plane.stop();
}

#[test]
fn a_flood_of_commands_is_held_back_and_loses_no_end() {
    let mut house = House::new(&config(4));
    let peer = house.leg(false, |_| {});
    let prompt = Arc::new(Prompt { samples: Box::new([]) });
    for n in 0..200_000 {
        house.command(MediaCommand::Play { leg: peer.id, play: PlayId(n), prompt: prompt.clone(), times: 1 });
    }
    house.close(peer.id);
    let status = house.plane.status();
    assert_eq!(status.streams, 0, "{status:?}");
}

#[test]
fn stopping_frees_every_port() {
    let config = config(8);
    let mut house = House::new(&config);
    let opened: Vec<_> = (0..8).map(|_| house.open(false)).collect();
    let _talk = house.leg(true, |_| {});
    house.plane.stop();
    for (_, rtp, rtcp) in opened {
        drop((bind(rtp, &SocketOptions::MEDIA).unwrap(), bind(rtcp, &SocketOptions::MEDIA).unwrap()));
    }
}

#[test]
fn a_reload_changes_ranges_and_spares_open_legs() {
    let mut config = config(4);
    let mut house = House::new(&config);
    let (a, b) = (house.leg(false, |_| {}), house.leg(false, |_| {}));
    house.command(MediaCommand::Bridge { a: a.id, b: b.id });
    let realm = config.realms.values_mut().next().unwrap();
    realm.media.port_last = realm.media.port_first + 1;
    let (first, last) = (realm.media.port_first, realm.media.port_last);
    house.plane.reconfigure(&config);
    a.send(&rtp(8, 1, b"goes on"));
    assert_eq!(&b.receive()[12..], b"goes on");
    let left = house.try_open(false);
    assert!(left.is_err() || (first..last).contains(&left.unwrap().1.port()));
    house.close(a.id);
    house.close(b.id);
    config.realms.clear();
    house.plane.reconfigure(&config);
    assert!(house.try_open(false).unwrap_err().contains("no realm"));
}

#[test]
fn legs_of_different_workers_meet_on_one() {
    let mut config = config(16);
    config.media.workers = vec![0, 1];
    let mut house = House::new(&config);
    let peers: Vec<_> = (0..8).map(|_| house.leg(false, |_| {})).collect();
    // Every pairing, one after the other; at least one of each four needs a move.
    for (round, shift) in [1usize, 2, 3, 5].into_iter().enumerate() {
        let (a, b) = (&peers[round], &peers[(round + shift) % 8]);
        house.command(MediaCommand::Bridge { a: a.id, b: b.id });
        for n in 0..50u16 {
            let packet = rtp(8, 1000 * round as u16 + n, &[n as u8; 160]);
            for (one, other) in [(a, b), (b, a)] {
                // Until the bridge stands, packets go nowhere.
                let got = loop {
                    // A moving leg comes back through the switch, which takes it up as it polls.
                    house.seen.extend(std::iter::from_fn(|| house.plane.poll_event()));
                    one.send(&packet);
                    if n > 0 {
                        // Repeats of the first packet may still arrive: a move loses nothing.
                        break std::iter::repeat_with(|| other.receive())
                            .find(|got| got[12..] == packet[12..])
                            .unwrap();
                    }
                    other.rtp.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
                    let mut bytes = [0; 2000];
                    let answer = other.rtp.recv(&mut bytes);
                    other.rtp.set_read_timeout(Some(LIMIT)).unwrap();
                    if let Ok(len) = answer {
                        break bytes[..len].to_vec();
                    }
                };
                assert_eq!(got[12..], packet[12..]);
            }
        }
    }
    for peer in peers {
        let report = house.close(peer.id);
        assert_eq!(report.dropped_bad + report.dropped_foreign, 0);
    }
    assert_eq!(house.plane.status().streams, 0);
}

#[test]
fn when_every_buffer_is_in_use_packets_wait_and_no_leg_is_lost() {
    let mut house = House::new(&config(64));
    let legs: Vec<_> = (0..64).map(|_| house.leg(false, |_| {})).collect();
    for pair in legs.chunks(2) {
        house.command(MediaCommand::Bridge { a: pair[0].id, b: pair[1].id });
        pair[0].send(&rtp(8, 1, b"first"));
        pair[1].receive();
    }
    // More datagrams than buffers wait when the worker comes back from a long command.
    // Only a net: on a machine that does much else a round takes seconds.
    let limit = std::time::Instant::now() + LIMIT * 12;
    let mut sequence = 2;
    while house.plane.status().receive_starved == 0 {
        assert!(std::time::Instant::now() < limit, "{:?}", house.plane.status());
        // Those of the round before are done: the worker is to be busy, not buried.
        while house.plane.status().commands_waiting > 0 {
            house.seen.extend(std::iter::from_fn(|| house.plane.poll_event()));
            assert!(std::time::Instant::now() < limit, "{:?}", house.plane.status());
        }
        for n in 0..COMMANDS_AT_ONCE {
            let leg = &legs[n % legs.len()];
            house.command(MediaCommand::Configure { leg: leg.id, setup: Box::new(leg.setup()) });
        }
        for _ in 0..150 {
            legs.iter().for_each(|leg| leg.send(&rtp(8, sequence, &[0; 160])));
            sequence += 1;
        }
    }
    for pair in legs.chunks(2) {
        pair[1].rtp.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        let mut bytes = [0; 2000];
        // Full sockets, ours too, may have dropped some: the last word is said until it is heard.
        loop {
            match pair[1].rtp.recv(&mut bytes) {
                Ok(len) if bytes[12..len] == b"last"[..] => break,
                Ok(_) => {}
                Err(_) => pair[0].send(&rtp(8, sequence, b"last")),
            }
            assert!(std::time::Instant::now() < limit, "{:?}", house.plane.status());
        }
    }
}

/// Enough for the worker to be busy while thousands of packets arrive.
const COMMANDS_AT_ONCE: usize = 8000;

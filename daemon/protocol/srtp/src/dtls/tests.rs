//! Two ends with a wire between them that can lose, repeat and forge.

use super::*;
use crate::{ROOM, SrtpContext};

#[allow(clippy::disallowed_methods, reason = "tests need a beginning of time; OpenSSL's timer runs by the same clock")]
fn clock() -> Instant {
    Instant::now()
}

struct Pair {
    client: Dtls,
    server: Dtls,
    client_identity: Identity,
    server_identity: Identity,
}

fn pair() -> Pair {
    let (client_identity, server_identity) = (Identity::generate().unwrap(), Identity::generate().unwrap());
    let now = clock();
    let client = Dtls::new(now, &client_identity, Role::Client, server_identity.fingerprint()).unwrap();
    let server = Dtls::new(now, &server_identity, Role::Server, client_identity.fingerprint()).unwrap();
    Pair { client, server, client_identity, server_identity }
}

/// Carries datagrams both ways until none is left; `lose` says which are lost, by number.
fn carry(client: &mut Dtls, server: &mut Dtls, mut lose: impl FnMut(usize) -> bool) -> usize {
    let mut count = 0;
    loop {
        let before = count;
        while let Some(datagram) = client.poll_transmit() {
            count += 1;
            if !lose(count) {
                server.handle_input(clock(), &datagram);
            }
        }
        while let Some(datagram) = server.poll_transmit() {
            assert!(datagram.len() <= MTU as usize);
            count += 1;
            if !lose(count) {
                client.handle_input(clock(), &datagram);
            }
        }
        if count == before {
            return count;
        }
    }
}

fn why(dtls: &Dtls) -> Option<Failure> {
    match dtls.state() {
        State::Failed(failure) => Some(*failure),
        State::Shaking | State::Keyed(_) => None,
    }
}

#[test]
fn both_ends_have_the_same_keys_and_audio_passes() {
    let Pair { mut client, mut server, .. } = pair();
    assert!(server.next_deadline().is_none(), "who waits has nothing to repeat");
    carry(&mut client, &mut server, |_| false);
    let (ours, theirs) = (client.keys().unwrap(), server.keys().unwrap());
    assert_eq!(ours.suite, SrtpSuite::AesCm128HmacSha1_80);
    assert_eq!((&ours.inbound, &ours.outbound), (&theirs.outbound, &theirs.inbound));
    assert_ne!(ours.inbound, ours.outbound);
    assert!(client.next_deadline().is_none() && server.next_deadline().is_none());
    let (_, mut out) = SrtpContext::keyed(ours).unwrap();
    let (mut inbound, _) = SrtpContext::keyed(theirs).unwrap();
    let mut packet = vec![0x80, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 9, 1, 2, 3];
    let len = packet.len();
    packet.resize(len + ROOM, 0);
    let sealed = out.protect_rtp(&mut packet, len).unwrap();
    assert_eq!(inbound.unprotect_rtp(&mut packet, sealed).unwrap(), len);
    assert_eq!(packet[12..15], [1, 2, 3]);
}

#[test]
fn every_suite_has_keys_of_its_length() {
    for suite in [SrtpSuite::AesCm128HmacSha1_80, SrtpSuite::AeadAes128Gcm, SrtpSuite::AeadAes256Gcm] {
        let bytes: usize = key_bytes(suite).iter().sum();
        let key = |n| Secret::new(vec![n; bytes]);
        let keys = Keys { suite, inbound: key(1), outbound: key(1) };
        let (mut inbound, mut out) = SrtpContext::keyed(&keys).unwrap();
        let mut packet = vec![0x80, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 9, 1, 2, 3];
        let len = packet.len();
        packet.resize(len + ROOM, 0);
        let sealed = out.protect_rtp(&mut packet, len).unwrap();
        assert_eq!(inbound.unprotect_rtp(&mut packet, sealed).unwrap(), len, "{suite:?}");
        let short = Keys { suite, inbound: Secret::new(vec![1; bytes - 1]), outbound: key(1) };
        assert!(SrtpContext::keyed(&short).is_err());
    }
}

#[test]
fn another_certificate_than_the_described_one_makes_no_keys() {
    let stranger = Identity::generate().unwrap();
    for wrong_at_server in [true, false] {
        let Pair { mut client, mut server, client_identity, server_identity } = pair();
        if wrong_at_server {
            server = Dtls::new(clock(), &server_identity, Role::Server, stranger.fingerprint()).unwrap();
        } else {
            client = Dtls::new(clock(), &client_identity, Role::Client, stranger.fingerprint()).unwrap();
        }
        carry(&mut client, &mut server, |_| false);
        let judge = if wrong_at_server { &server } else { &client };
        assert_eq!(why(judge), Some(Failure::Fingerprint));
        assert!(client.keys().is_none() || server.keys().is_none());
        assert!(judge.next_deadline().is_none());
    }
}

#[test]
fn a_lost_flight_is_sent_again() {
    // Each datagram of the handshake in turn; the whole has at most 8.
    for lost in 1..=3 {
        let Pair { mut client, mut server, .. } = pair();
        carry(&mut client, &mut server, |n| n == lost);
        let limit = clock() + Duration::from_secs(10);
        while client.keys().is_none() || server.keys().is_none() {
            assert!(clock() < limit, "lost {lost}");
            let next = [client.next_deadline(), server.next_deadline()].into_iter().flatten().min();
            let next = next.expect("somebody waits");
            // OpenSSL's own clock must get there.
            while clock() < next {
                std::thread::yield_now();
            }
            client.handle_timeout(clock());
            server.handle_timeout(clock());
            carry(&mut client, &mut server, |_| false);
        }
    }
}

#[test]
fn a_repeated_last_flight_is_answered_after_the_end() {
    let Pair { mut client, mut server, .. } = pair();
    let mut last = None;
    // As carry(), but keeps the client's last flight, and loses the server's.
    while let Some(datagram) = client.poll_transmit() {
        server.handle_input(clock(), &datagram);
    }
    while let Some(datagram) = server.poll_transmit() {
        client.handle_input(clock(), &datagram);
    }
    while let Some(datagram) = client.poll_transmit() {
        server.handle_input(clock(), &datagram);
        last = Some(datagram);
    }
    assert!(server.keys().is_some() && client.keys().is_none() && last.is_some());
    while server.poll_transmit().is_some() {}
    let limit = clock() + Duration::from_secs(5);
    while client.keys().is_none() {
        assert!(clock() < limit);
        client.handle_timeout(clock());
        carry(&mut client, &mut server, |_| false);
    }
}

#[test]
fn what_is_no_handshake_ends_nothing() {
    let Pair { mut client, mut server, .. } = pair();
    let hello = client.poll_transmit().unwrap();
    let random = client_hello(&hello).expect("a ClientHello");
    for len in 0..hello.len() {
        let cut = &hello[..len];
        assert_eq!(client_hello(cut), (len >= 13 + 12 + 2 + 32).then_some(random));
        server.handle_input(clock(), cut);
    }
    assert_eq!((why(&server), why(&client)), (None, None));
    for noise in [&[20u8; 40][..], &[22, 254, 253, 0, 1, 0, 0, 0, 0, 0, 0, 0, 4, 1, 2, 3, 4], &[0; 5000]] {
        server.handle_input(clock(), noise);
        client.handle_input(clock(), noise);
        assert_eq!((why(&server), why(&client)), (None, None), "{noise:?}");
    }
    server.handle_input(clock(), &hello);
    carry(&mut client, &mut server, |_| false);
    assert!(client.keys().is_some() && server.keys().is_some());
}

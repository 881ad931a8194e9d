use super::*;
use crate::{SocketOptions, bind};

const SMALL: Options =
    Options { submissions: 8, completions: 16, receive_buffers: 8, spare_buffers: 4, buffer_size: 2048, sockets: 64 };

fn ring(options: &Options) -> (Ring, Bell) {
    let bell = Bell::new().unwrap();
    (Ring::new(options, bell.try_clone().unwrap()).unwrap(), bell)
}

fn socket(host: &str) -> (UdpSocket, SocketAddr) {
    // Bound by number, as the media plane does, lest a disconnect give the port up. Another test may snatch a number.
    let socket = std::iter::repeat_with(|| {
        let free = bind(format!("{host}:0").parse().unwrap(), &SocketOptions::MEDIA).unwrap().local_addr().unwrap();
        bind(free, &SocketOptions::MEDIA)
    });
    let socket = socket.take(100).find_map(Result::ok).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let address = socket.local_addr().unwrap();
    (socket, address)
}

/// Turns the ring until `done` says so; each completion is shown to it first. Fails after five seconds.
fn turn_until(ring: &mut Ring, mut done: impl FnMut(&mut Ring, Option<Completion>) -> bool) {
    let limit = Instant::now() + Duration::from_secs(5);
    while Instant::now() < limit {
        ring.wait(1, Duration::ZERO, Some(Instant::now() + Duration::from_millis(20))).unwrap();
        while let Some(completion) = ring.next() {
            if done(ring, Some(completion)) {
                return;
            }
        }
        if done(ring, None) {
            return;
        }
    }
    panic!("it did not happen within five seconds: {:?}", ring.counters());
}

fn datagrams(ring: &mut Ring, count: usize) -> Vec<(SocketAddr, Vec<u8>)> {
    let mut got = Vec::new();
    turn_until(ring, |_, completion| {
        if let Some(Completion::Datagram { source, buffer, .. }) = completion {
            got.push((source, buffer.to_vec()));
        }
        got.len() >= count
    });
    got
}

#[test]
fn datagrams_arrive_with_their_source_and_go_back_from_the_same_buffer() {
    for host in ["127.0.0.1", "[::1]"] {
        for connected in [false, true] {
            let (mut ring, _bell) = ring(&SMALL);
            let (ours, address) = socket(host);
            let (peer, peer_address) = socket(host);
            let id = ring.add(ours).unwrap();
            if connected {
                ring.connect(id, peer_address).unwrap();
            }
            // More than there are buffers or completions, so that all go round several times.
            for round in 0..50u8 {
                peer.send_to(&[round; 172], address).unwrap();
                turn_until(&mut ring, |ring, completion| match completion {
                    Some(Completion::Datagram { socket, source, mut buffer }) => {
                        assert_eq!((source, &buffer[..]), (peer_address, &[round; 172][..]));
                        assert!(buffer.capacity() >= 172 + crate::buffer::TRAILER_ROOM);
                        buffer[0] = !round;
                        buffer.set_len(173);
                        buffer[172] = 7;
                        ring.send(socket, source, buffer).unwrap();
                        true
                    }
                    _ => false,
                });
                turn_until(&mut ring, |ring, _| ring.counters().sent == u64::from(round) + 1);
                let mut bytes = [0; 2000];
                let (len, from) = peer.recv_from(&mut bytes).unwrap();
                assert_eq!((len, from, bytes[0], bytes[172]), (173, address, !round, 7), "{host}");
            }
        }
    }
}

#[test]
fn short_buffers_end_the_receive_and_it_goes_on_when_they_are_back() {
    let (mut ring, _bell) = ring(&SMALL);
    let (ours, address) = socket("127.0.0.1");
    let (peer, _) = socket("127.0.0.1");
    ring.add(ours).unwrap();
    let mut held = Vec::new();
    for n in 0..20u8 {
        peer.send_to(&[n], address).unwrap();
    }
    turn_until(&mut ring, |ring, completion| {
        held.extend(match completion {
            Some(Completion::Datagram { buffer, .. }) => Some(buffer),
            _ => None,
        });
        ring.counters().starved > 0
    });
    assert_eq!(held.len(), 8, "all buffers are held");
    // Held buffers do not make the ring spin: nothing is armed that could only fail again.
    let waits = ring.counters().starved;
    ring.wait(1, Duration::ZERO, Some(Instant::now() + Duration::from_millis(5))).unwrap();
    assert_eq!((ring.next().is_none(), ring.counters().starved), (true, waits));
    let mut values: Vec<u8> = held.drain(..).map(|b| b[0]).collect();
    values.extend(datagrams(&mut ring, 12).into_iter().map(|(_, bytes)| bytes[0]));
    assert_eq!(values, (0..20).collect::<Vec<_>>(), "nothing was lost or changed order");
}

#[test]
fn a_closed_socket_frees_its_port_and_its_name_grows_stale() {
    let (mut ring, _bell) = ring(&SMALL);
    let (first, address) = socket("127.0.0.1");
    let mut id = ring.add(first).unwrap();
    let (peer, _) = socket("127.0.0.1");
    for round in 0..100u8 {
        // Sometimes closed with the receive armed, sometimes before it ever was.
        if round % 3 != 0 {
            peer.send_to(&[round], address).unwrap();
            assert_eq!(datagrams(&mut ring, 1)[0].1, [round]);
        }
        ring.close(id);
        ring.close(id);
        turn_until(&mut ring, |_, c| matches!(c, Some(Completion::Closed { socket }) if socket == id));
        let spare = ring.spare().unwrap();
        assert!(ring.send(id, address, spare).is_err(), "a stale name sends nothing");
        let again = bind(address, &SocketOptions::MEDIA).expect("the port is free at once");
        let next = ring.add(again).unwrap();
        assert_ne!(next, id);
        id = next;
    }
}

#[test]
fn a_released_socket_lives_on_in_another_ring_without_loss() {
    let (mut first, _bell) = ring(&SMALL);
    let (mut second, _bell) = ring(&SMALL);
    let (ours, address) = socket("127.0.0.1");
    let (peer, _) = socket("127.0.0.1");
    let id = first.add(ours).unwrap();
    peer.send_to(b"1", address).unwrap();
    assert_eq!(datagrams(&mut first, 1)[0].1, b"1");
    first.release(id);
    let mut released = None;
    turn_until(&mut first, |_, completion| {
        if let Some(Completion::Released { descriptor, .. }) = completion {
            released = Some(descriptor);
        }
        released.is_some()
    });
    peer.send_to(b"2", address).unwrap();
    second.add(released.unwrap()).unwrap();
    peer.send_to(b"3", address).unwrap();
    let got: Vec<_> = datagrams(&mut second, 2).into_iter().map(|(_, bytes)| bytes).collect();
    assert_eq!(got, [b"2", b"3"]);
}

#[test]
fn a_full_table_hands_the_socket_back() {
    let (mut ring, _bell) = ring(&SMALL);
    for _ in 0..64 {
        ring.add(socket("127.0.0.1").0).unwrap();
    }
    assert!(ring.add(socket("127.0.0.1").0).is_err());
}

#[test]
fn completion_overflow_loses_nothing() {
    let options = Options { receive_buffers: 256, ..SMALL };
    let (mut ring, _bell) = ring(&options);
    let mut peers = Vec::new();
    for _ in 0..8 {
        let (ours, address) = socket("127.0.0.1");
        ring.add(ours).unwrap();
        peers.push(address);
    }
    let (peer, _) = socket("127.0.0.1");
    ring.wait(1, Duration::ZERO, Some(Instant::now())).unwrap();
    for n in 0..20u8 {
        for address in &peers {
            peer.send_to(&[n], address).unwrap();
        }
    }
    assert_eq!(datagrams(&mut ring, 160).len(), 160, "{:?}", ring.counters());
}

#[test]
fn a_dead_port_does_not_kill_the_socket() {
    for connected in [false, true] {
        let (mut ring, _bell) = ring(&SMALL);
        let (ours, address) = socket("127.0.0.1");
        let (dead, dead_address) = socket("127.0.0.1");
        drop(dead);
        let id = ring.add(ours).unwrap();
        if connected {
            ring.connect(id, dead_address).unwrap();
        }
        for _ in 0..10 {
            let mut buffer = ring.spare().unwrap();
            buffer.fill(b"hello").unwrap();
            ring.send(id, dead_address, buffer).unwrap();
            turn_until(&mut ring, |ring, _| ring.in_flight <= 2);
        }
        if connected {
            turn_until(&mut ring, |ring, _| {
                let counters = ring.counters();
                counters.receive_errors + counters.send_errors > 0
            });
            ring.disconnect(id).unwrap();
        }
        let (peer, peer_address) = socket("127.0.0.1");
        peer.send_to(b"alive", address).unwrap();
        assert_eq!(datagrams(&mut ring, 1), [(peer_address, b"alive".to_vec())]);
    }
}

#[test]
fn a_connected_socket_hears_only_its_peer_and_tells_the_source_of_what_came_before() {
    let (mut ring, _bell) = ring(&SMALL);
    let (ours, address) = socket("127.0.0.1");
    let (friend, friend_address) = socket("127.0.0.1");
    let (stranger, stranger_address) = socket("127.0.0.1");
    let id = ring.add(ours).unwrap();
    stranger.send_to(b"before", address).unwrap();
    ring.connect(id, friend_address).unwrap();
    // Refused by the kernel: the first send draws an ICMP error, so a later one may fail on the stranger's side.
    let _ = stranger.send_to(b"after", address);
    friend.send_to(b"friend", address).unwrap();
    let got = datagrams(&mut ring, 2);
    assert_eq!(got, [(stranger_address, b"before".to_vec()), (friend_address, b"friend".to_vec())]);
    ring.disconnect(id).unwrap();
    let _ = stranger.send_to(b"open", address);
    let _ = stranger.send_to(b"open", address);
    assert_eq!(datagrams(&mut ring, 1)[0].0, stranger_address);
}

#[test]
fn oversized_datagrams_are_dropped_and_counted() {
    let (mut ring, _bell) = ring(&SMALL);
    let (ours, address) = socket("127.0.0.1");
    let (peer, _) = socket("127.0.0.1");
    ring.add(ours).unwrap();
    peer.send_to(&[1; 4000], address).unwrap();
    peer.send_to(&[], address).unwrap();
    peer.send_to(&[2; 1800], address).unwrap();
    let got: Vec<_> = datagrams(&mut ring, 2).into_iter().map(|(_, bytes)| bytes.len()).collect();
    assert_eq!((got, ring.counters().truncated), (vec![0, 1800], 1));
}

#[test]
fn the_bell_wakes_again_and_again_from_other_threads() {
    let (mut ring, bell) = ring(&SMALL);
    for _ in 0..20 {
        let other = bell.try_clone().unwrap();
        let thread = std::thread::spawn(move || other.ring());
        turn_until(&mut ring, |_, c| matches!(c, Some(Completion::Woken)));
        thread.join().unwrap();
    }
}

#[test]
fn a_wait_gathers_completions_but_not_longer_than_asked() {
    let (mut ring, _bell) = ring(&Options { receive_buffers: 64, ..SMALL });
    let (ours, address) = socket("127.0.0.1");
    let (peer, _) = socket("127.0.0.1");
    ring.add(ours).unwrap();
    peer.send_to(&[0], address).unwrap();
    let start = Instant::now();
    ring.wait(16, Duration::from_micros(500), Some(start + Duration::from_secs(5))).unwrap();
    assert!(start.elapsed() < Duration::from_secs(2), "min_wait ends the gathering");
    assert_eq!(datagrams(&mut ring, 1).len(), 1);
    // Nothing comes: the deadline ends the wait.
    let start = Instant::now();
    ring.wait(16, Duration::from_micros(500), Some(start + Duration::from_millis(10))).unwrap();
    assert!(ring.next().is_none());
    assert!(start.elapsed() >= Duration::from_millis(10));
}

#[test]
fn a_ring_ends_with_operations_under_way_and_buffers_held() {
    let (mut ring, _bell) = ring(&SMALL);
    let (ours, address) = socket("127.0.0.1");
    let (peer, peer_address) = socket("127.0.0.1");
    let id = ring.add(ours).unwrap();
    peer.send_to(b"held", address).unwrap();
    let mut held = None;
    turn_until(&mut ring, |_, completion| {
        if let Some(Completion::Datagram { buffer, .. }) = completion {
            held = Some(buffer);
        }
        held.is_some()
    });
    let spare = ring.spare().unwrap();
    ring.send(id, peer_address, spare).unwrap();
    drop(ring);
    assert_eq!(&held.unwrap()[..], b"held");
    bind(address, &SocketOptions::MEDIA).expect("the port is free when the ring is gone");
}

#[test]
fn spares_are_bounded_and_come_back() {
    let (mut ring, _bell) = ring(&SMALL);
    let mut all: Vec<_> = std::iter::from_fn(|| ring.spare()).collect();
    assert_eq!(all.len(), 4);
    assert_eq!(all[0].fill(&[0; 4000]), Err(crate::buffer::BufferTooSmall));
    all.clear();
    assert!(ring.spare().is_some());
}

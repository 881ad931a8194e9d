//! A relay between a plain leg and one whose peer proves itself, and everybody who tries to be that peer.

use postern_srtp::{
    ROOM, SrtpContext,
    dtls::{Dtls, Role},
};
use postern_types::{
    CallSid, Secret,
    media::{DtlsPeer, PlayId, Prompt, StreamReport},
    stream::{Format, Ice},
};

use super::*;
use crate::{
    relay::Relay,
    testing::{LIMITS, address_of, start},
};

const PLAIN: u32 = 0;
const PROVEN: u32 = 1;

fn setup(port: u16) -> StreamSetup {
    StreamSetup { remote_rtcp: address_of(1, port), ..StreamSetup::plain(address_of(1, port), Format::pcmu()) }
}

/// The box, a phone that keys by DTLS, and somebody with another certificate.
struct World {
    now: Instant,
    relay: Relay,
    ours: Arc<Identity>,
    phone: Identity,
    thief: Identity,
    sequence: u8,
}

impl World {
    fn new(by_ice: bool, begins: bool) -> Self {
        let identity = || Identity::generate().unwrap();
        let mut world = Self {
            now: start(),
            relay: Relay::new(4, LIMITS, 1),
            ours: Arc::new(identity()),
            phone: identity(),
            thief: identity(),
            sequence: 0,
        };
        world.relay.set_identity(world.ours.clone());
        for slot in [PLAIN, PROVEN] {
            world.relay.open(world.now, slot, CallSid(slot.into()));
        }
        world.relay.configure(world.now, PLAIN, Box::new(setup(4000)));
        world.relay.configure(world.now, PROVEN, Box::new(world.proven(by_ice, begins)));
        world.relay.bridge(PLAIN, PROVEN);
        world
    }

    fn proven(&self, by_ice: bool, begins: bool) -> StreamSetup {
        let peer = DtlsPeer { fingerprint: self.phone.fingerprint(), begins };
        let ice = Ice { ufrag: "evtj".into(), pwd: Secret::new("VOkJxbRl1RmTxUk/WvJxBt".into()), lite: true };
        let mut setup = StreamSetup { dtls: Some(Box::new(peer)), ice: by_ice.then(|| Box::new(ice)), ..setup(5000) };
        if by_ice {
            // As a browser describes itself.
            setup.remote_rtp = ([0, 0, 0, 0], 9).into();
            setup.remote_rtcp = setup.remote_rtp;
        }
        setup
    }

    /// A datagram to the proving leg; what the box says to it, and to whom.
    fn hear(&mut self, source: SocketAddr, datagram: &[u8]) -> Vec<(SocketAddr, Vec<u8>)> {
        let mut room = datagram.to_vec();
        room.resize(2048, 0);
        let verdict = self.relay.handle_input(self.now, PROVEN, Port::Rtp, source, &mut room, datagram.len());
        let mut said = Vec::new();
        if let Verdict::Send { to, len, .. } = verdict {
            said.push((to, room[..len].to_vec()));
        }
        said.extend(self.said());
        said
    }

    fn said(&mut self) -> Vec<(SocketAddr, Vec<u8>)> {
        let mut room = vec![0; 2048];
        let mut said = Vec::new();
        while let Some(Verdict::Send { to, len, .. }) = self.relay.poll_play(self.now, &mut room) {
            said.push((to, room[..len].to_vec()));
        }
        said
    }

    fn client(&self, identity: &Identity) -> Dtls {
        Dtls::new(self.now, identity, Role::Client, self.ours.fingerprint()).unwrap()
    }

    /// Carries a handshake on until nothing is said any more. `further` was said by the box before.
    fn shake(&mut self, dtls: &mut Dtls, at: SocketAddr, further: Vec<(SocketAddr, Vec<u8>)>) {
        let mut said = further;
        loop {
            // The budget is not what is tested here.
            self.now += REFILL * BURST;
            for (to, datagram) in std::mem::take(&mut said) {
                assert_eq!(to, at, "sent to somebody else");
                dtls.handle_input(self.now, &datagram);
            }
            while let Some(datagram) = dtls.poll_transmit() {
                said.extend(self.hear(at, &datagram));
            }
            if said.is_empty() {
                return;
            }
        }
    }

    fn events(&mut self) -> Vec<MediaEvent> {
        std::iter::from_fn(|| self.relay.poll_event()).collect()
    }

    /// Whether audio of a peer with these keys reaches the plain leg, and that of the plain leg the peer.
    fn audio(&mut self, dtls: &Dtls, at: SocketAddr) -> (bool, bool) {
        let Some(keys) = dtls.keys() else { return (false, false) };
        let (mut inbound, mut out) = SrtpContext::keyed(keys).unwrap();
        self.sequence += 1;
        let mut packet = vec![0x80, 0, 0, self.sequence, 0, 0, 0, 0, 0, 0, 0, 9, 1, 2, 3];
        let len = packet.len();
        packet.resize(len + ROOM, 0);
        let sealed = out.protect_rtp(&mut packet, len).unwrap();
        let there = self.hear(at, &packet[..sealed]);
        let there = there.iter().any(|(to, said)| *to == address_of(1, 4000) && said[12..] == [1, 2, 3]);
        let mut packet = vec![0x80, 0, 0, self.sequence, 0, 0, 0, 0, 0, 0, 0, 8, 4, 5, 6];
        packet.resize(2048, 0);
        let verdict = self.relay.handle_input(self.now, PLAIN, Port::Rtp, address_of(1, 4000), &mut packet, 15);
        let back = match verdict {
            Verdict::Send { slot: PROVEN, to, len, .. } if to == at => {
                let opened = inbound.unprotect_rtp(&mut packet, len).unwrap_or_default();
                packet[12..opened.max(12)] == [4, 5, 6]
            }
            _ => false,
        };
        (there, back)
    }

    fn report(&mut self) -> StreamReport {
        match self.relay.close(PROVEN) {
            Some(MediaEvent::Closed { report, .. }) => *report,
            other => panic!("{other:?}"),
        }
    }
}

fn whys(events: &[MediaEvent]) -> Vec<&'static str> {
    let why = |event: &MediaEvent| match event {
        MediaEvent::Unproven { why, .. } => Some(*why),
        _ => None,
    };
    events.iter().filter_map(why).collect()
}

fn is_keyed(event: &MediaEvent) -> bool {
    matches!(event, MediaEvent::Keyed { .. })
}

#[test]
fn a_phone_that_begins_is_keyed_bound_and_heard() {
    let mut world = World::new(false, true);
    let at = address_of(9, 6000);
    let mut dtls = world.client(&world.phone);
    world.shake(&mut dtls, at, Vec::new());
    let events = world.events();
    let latched = |event: &MediaEvent| matches!(event, MediaEvent::Latched { source, .. } if *source == at);
    assert!(events.iter().any(latched) && events.iter().filter(|e| is_keyed(e)).count() == 1, "{events:?}");
    assert_eq!(world.audio(&dtls, at), (true, true));
    // A new offer that says the same changes nothing.
    let same = world.proven(false, true);
    world.relay.configure(world.now, PROVEN, Box::new(same));
    assert_eq!(world.audio(&dtls, at), (true, true), "{:?}", world.events());
}

#[test]
fn a_phone_that_waits_is_asked_at_the_address_that_it_described() {
    let mut world = World::new(false, false);
    let at = address_of(1, 5000);
    let mut dtls = Dtls::new(world.now, &world.phone, Role::Server, world.ours.fingerprint()).unwrap();
    let first = world.said();
    assert!(!first.is_empty());
    world.shake(&mut dtls, at, first);
    assert_eq!(world.audio(&dtls, at), (true, true));
}

#[test]
fn a_handshake_that_begins_before_the_answer_is_not_lost() {
    let mut world = World::new(false, true);
    let at = address_of(1, 5000);
    let again = world.proven(false, true);
    world.relay.close(PROVEN);
    world.relay.open(world.now, PROVEN, CallSid(7));
    let mut dtls = world.client(&world.phone);
    let hello = dtls.poll_transmit().unwrap();
    assert!(world.hear(at, &hello).is_empty(), "nobody knows yet who that is");
    world.relay.configure(world.now, PROVEN, Box::new(again));
    world.relay.bridge(PLAIN, PROVEN);
    let said = world.said();
    assert!(!said.is_empty());
    world.shake(&mut dtls, at, said);
    assert_eq!(world.audio(&dtls, at), (true, true));
}

#[test]
fn before_the_handshake_nothing_passes_in_the_clear() {
    let mut world = World::new(false, true);
    let mut packet = vec![0x80, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 9, 1, 2, 3];
    assert!(world.hear(address_of(1, 5000), &packet).is_empty());
    packet.resize(2048, 0);
    let out = world.relay.handle_input(world.now, PLAIN, Port::Rtp, address_of(1, 4000), &mut packet, 15);
    assert_eq!(out, Verdict::Drop);
    assert_eq!(world.relay.counts().dropped, 2, "on either leg");
    assert_eq!(world.report().dropped_bad, 0, "it may have overtaken the end of a handshake");
}

#[test]
fn another_certificate_is_told_and_keeps_the_phone_not_out() {
    let mut world = World::new(false, true);
    let (at, thief_at) = (address_of(1, 5000), address_of(66, 6666));
    let mut thief = world.client(&world.thief);
    world.shake(&mut thief, thief_at, Vec::new());
    assert_eq!(whys(&world.events()), ["DTLS: the certificate is not the one of a=fingerprint"]);
    assert_eq!(world.audio(&thief, thief_at), (false, false));
    let mut dtls = world.client(&world.phone);
    world.shake(&mut dtls, at, Vec::new());
    assert_eq!(world.audio(&dtls, at), (true, true));
    assert_eq!(world.report().proofs_refused, 1);
}

#[test]
fn forged_hellos_in_the_phones_name_do_not_stop_it() {
    let mut world = World::new(false, true);
    let at = address_of(1, 5000);
    let mut dtls = world.client(&world.phone);
    let hello = dtls.poll_transmit().unwrap();
    let forged: Vec<_> = (0..2).map(|_| world.client(&world.thief).poll_transmit().unwrap()).collect();
    // One before the phone's, one after; what the box answers to them reaches the phone too.
    world.hear(at, &forged[0]);
    let answer = world.hear(at, &hello);
    assert!(!answer.is_empty());
    let late = world.hear(at, &forged[1]);
    world.shake(&mut dtls, at, answer);
    assert_eq!(world.audio(&dtls, at), (true, true));
    assert!(!late.is_empty());
    assert!(world.events().iter().any(is_keyed));
}

#[test]
fn with_ice_only_a_checked_source_may_shake_and_speak() {
    let mut world = World::new(true, true);
    let (at, stranger) = (address_of(9, 6000), address_of(66, 6666));
    let mut dtls = world.client(&world.phone);
    let hello = dtls.poll_transmit().unwrap();
    assert!(world.hear(stranger, &hello).is_empty());
    assert!(world.hear(at, &hello).is_empty(), "not checked yet");
    // A wrong password gets no answer, and a fact.
    assert!(world.hear(stranger, &check("evtj:x", "wrong", true)).is_empty());
    assert_eq!(whys(&world.events()), ["ICE: a check with a wrong password"]);
    assert_eq!(world.hear(at, &check("evtj:x", "VOkJxbRl1RmTxUk/WvJxBt", true)).len(), 1);
    let events = world.events();
    assert!(matches!(events[..], [MediaEvent::Connected { source, .. }] if source == at), "{events:?}");
    let mut dtls = world.client(&world.phone);
    world.shake(&mut dtls, at, Vec::new());
    assert_eq!(world.audio(&dtls, at), (true, true));
    // It moves to another network: a new nomination, the same association.
    let moved = address_of(10, 7000);
    assert!(world.audio(&dtls, moved) == (false, false));
    assert_eq!(world.hear(moved, &check("evtj:x", "VOkJxbRl1RmTxUk/WvJxBt", true)).len(), 1);
    let (_, mut out) = SrtpContext::keyed(dtls.keys().unwrap()).unwrap();
    let mut packet = vec![0x80, 0, 0, 99, 0, 0, 0, 0, 0, 0, 0, 9, 1, 2, 3];
    packet.resize(15 + ROOM, 0);
    let sealed = out.protect_rtp(&mut packet, 15).unwrap();
    assert_eq!(world.hear(moved, &packet[..sealed]).len(), 1, "heard from there");
    let mut packet = vec![0x80, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 8, 4, 5, 6];
    packet.resize(2048, 0);
    let verdict = world.relay.handle_input(world.now, PLAIN, Port::Rtp, address_of(1, 4000), &mut packet, 15);
    assert!(matches!(verdict, Verdict::Send { to, .. } if to == moved));
    let report = world.report();
    assert_eq!((report.checks_received, report.proofs_refused, report.source), (2, 1, Some(moved)));
}

#[test]
fn with_ice_the_box_begins_only_where_the_peer_nominates_and_silence_is_told() {
    let mut world = World::new(true, false);
    let at = address_of(9, 6000);
    assert!(world.said().is_empty(), "nobody was nominated");
    let said = world.hear(at, &check("evtj:x", "VOkJxbRl1RmTxUk/WvJxBt", true));
    let (answer, hello): (Vec<_>, Vec<_>) = said.into_iter().partition(|(_, datagram)| datagram[0] < 4);
    assert_eq!((answer.len(), hello.len()), (1, 1));
    let mut dtls = Dtls::new(world.now, &world.phone, Role::Server, world.ours.fingerprint()).unwrap();
    world.shake(&mut dtls, at, hello);
    assert_eq!(world.audio(&dtls, at), (true, true));
    world.events();
    world.relay.handle_second(world.now + Duration::from_secs(31));
    let events = world.events();
    assert!(events.iter().any(|event| matches!(event, MediaEvent::ConsentLost { .. })), "{events:?}");
    let bound: Vec<_> = std::iter::from_fn(|| world.relay.poll_binding()).collect();
    assert!(bound.iter().all(|(slot, _)| *slot == PLAIN), "with ICE the socket stays open to a move");
}

#[test]
fn who_was_checked_and_keyed_hears_before_it_nominates() {
    let mut world = World::new(true, true);
    let (at, better) = (address_of(9, 6000), address_of(10, 7000));
    let check = |nominates| check("evtj:x", "VOkJxbRl1RmTxUk/WvJxBt", nominates);
    assert_eq!(world.hear(at, &check(false)).len(), 1);
    let mut dtls = world.client(&world.phone);
    world.shake(&mut dtls, at, Vec::new());
    assert_eq!(world.audio(&dtls, at), (true, true));
    assert!(!world.events().iter().any(|event| matches!(event, MediaEvent::Connected { .. })), "nobody was nominated");
    assert_eq!(world.hear(better, &check(true)).len(), 1);
    assert_eq!(world.report().source, Some(better), "the nomination decides");
}

#[test]
fn handshakes_take_no_more_of_a_worker_than_they_may() {
    let (now, mut budget) = (start(), Budget::default());
    let taken = |budget: &mut Budget, at| (0..100).filter(|_| budget.take(at)).count();
    assert_eq!(taken(&mut budget, now), BURST as usize);
    assert_eq!(taken(&mut budget, now + REFILL * 2), 2);
    assert_eq!(taken(&mut budget, now + Duration::from_secs(1)), BURST as usize);
    // A leg begins no more handshakes than the bound for each description.
    let mut world = World::new(false, true);
    let answered: usize = (0..100)
        .map(|_| {
            world.now += REFILL * BURST;
            let hello = world.client(&world.thief).poll_transmit().unwrap();
            world.hear(address_of(1, 5000), &hello).len().min(1)
        })
        .sum();
    assert_eq!(answered, 32);
}

#[test]
fn a_flood_is_noted_once_and_a_prompt_waits_for_the_handshake() {
    let mut world = World::new(false, true);
    let at = address_of(1, 5000);
    let prompt = Arc::new(Prompt { samples: vec![1000; 800].into() });
    world.relay.play(world.now, PROVEN, PlayId(1), prompt, 1);
    let mut dtls = world.client(&world.phone);
    let hello = dtls.poll_transmit().unwrap();
    let said = world.hear(at, &hello);
    let mut rest = hello.to_vec();
    rest[0] = 23;
    for _ in 0..10_000 {
        let mut room = rest.clone();
        world.relay.handle_input(world.now, PROVEN, Port::Rtp, at, &mut room, rest.len());
    }
    assert!(world.relay.handshakes.len() < 20, "{}", world.relay.handshakes.len());
    world.now += Duration::from_secs(1);
    assert!(world.said().iter().all(|(_, datagram)| datagram[0] < 128), "no audio before there are keys");
    world.shake(&mut dtls, at, said);
    assert!(dtls.keys().is_some());
    for _ in 0..20 {
        world.now += Duration::from_millis(20);
        world.said();
    }
    assert!(world.events().iter().any(|event| matches!(event, MediaEvent::PlayEnded { .. })));
    assert_eq!(world.report().packets_sent, 5, "the whole prompt");
}

/// A check as RFC 5769 2.1 has it, of a controlling peer, made here so that no library is trusted on both sides.
fn check(username: &str, password: &str, nominates: bool) -> Vec<u8> {
    let mut message = vec![0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42];
    message.extend([7; 12]);
    let add = |message: &mut Vec<u8>, kind: u16, value: &[u8]| {
        message.extend(kind.to_be_bytes());
        message.extend((value.len() as u16).to_be_bytes());
        message.extend(value);
        message.resize(message.len().next_multiple_of(4), 0);
        let len = message.len() as u16 - 20;
        message[2..4].copy_from_slice(&len.to_be_bytes());
    };
    add(&mut message, 0x0006, username.as_bytes());
    add(&mut message, 0x0024, &[0x6e, 0, 1, 0xff]);
    add(&mut message, 0x802a, &[1; 8]);
    if nominates {
        add(&mut message, 0x0025, &[]);
    }
    let covered = message.clone();
    add(&mut message, 0x0008, &[0; 20]);
    let mut sealed = covered;
    sealed[2..4].copy_from_slice(&message[2..4]);
    let key = openssl::pkey::PKey::hmac(password.as_bytes()).unwrap();
    let mut signer = openssl::sign::Signer::new(openssl::hash::MessageDigest::sha1(), &key).unwrap();
    let mac = signer.sign_oneshot_to_vec(&sealed).unwrap();
    let at = message.len() - 20;
    message[at..].copy_from_slice(&mac);
    let len = message.len() as u16 + 8 - 20;
    message[2..4].copy_from_slice(&len.to_be_bytes());
    let sum = crc32fast::hash(&message) ^ 0x5354_554e;
    message.extend([0x80, 0x28, 0, 4]);
    message.extend(sum.to_be_bytes());
    message
}

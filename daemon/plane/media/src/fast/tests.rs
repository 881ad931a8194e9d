use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use postern_types::{
    CallSid,
    media::{MediaEvent, PlayId, Prompt, StreamReport, StreamSetup},
    stream::{Direction, Format, SdesKey, SrtpSuite},
};

use super::*;
use crate::{
    relay::{Limits, Port, Verdict},
    testing::{address, start},
};

const LIMITS: Limits = Limits { latch_window: Duration::from_secs(2), timeout: Duration::from_secs(5) };

/// The kernel's twin: does nothing by itself, and remembers.
#[derive(Clone, Default)]
struct Twin(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    flows: BTreeMap<u32, (Flow, Figures)>,
    refuses: bool,
    asked: u32,
    routes_changed: bool,
}

impl Flows for Twin {
    fn install(&mut self, slot: u32, flow: &Flow) -> bool {
        let mut state = self.0.lock().unwrap();
        state.asked += 1;
        if state.refuses {
            return false;
        }
        let figures = Figures { highest: flow.highest, jitter: flow.jitter, ..Figures::default() };
        assert!(state.flows.insert(slot, (flow.clone(), figures)).is_none(), "one flow a slot");
        true
    }

    fn read(&mut self, slot: u32) -> Figures {
        self.0.lock().unwrap().flows[&slot].1
    }

    fn remove(&mut self, slot: u32, heard: &Ends) -> Figures {
        let (flow, figures) = self.0.lock().unwrap().flows.remove(&slot).expect("it was installed");
        assert_eq!(flow.heard, *heard);
        figures
    }

    fn have_routes_changed(&mut self) -> bool {
        std::mem::take(&mut self.0.lock().unwrap().routes_changed)
    }
}

impl Twin {
    fn slots(&self) -> Vec<u32> {
        self.0.lock().unwrap().flows.keys().copied().collect()
    }

    fn flow(&self, slot: u32) -> Flow {
        self.0.lock().unwrap().flows[&slot].0.clone()
    }

    /// As if it had forwarded so many packets, of 172 bytes, up to this one.
    fn carries(&self, slot: u32, packets: u64, highest: u64, since_last: Duration) {
        let mut state = self.0.lock().unwrap();
        let figures = &mut state.flows.get_mut(&slot).expect("it is installed").1;
        figures.packets += packets;
        figures.bytes += packets * 172;
        figures.highest = highest;
        figures.since_last = Some(since_last);
    }
}

/// Of the peers; legs' own ports are 100 higher.
fn setup(slot: u32) -> Box<StreamSetup> {
    let plain = StreamSetup::plain(address(4000 + slot as u16 * 2), Format::pcma());
    Box::new(StreamSetup { telephone_event: Some(101), formats: vec![Format::pcma(), Format::pcmu()], ..plain })
}

struct House {
    relay: Relay,
    twin: Twin,
    now: Instant,
}

impl House {
    /// Two legs that heard each other, before the kernel was asked.
    fn new() -> Self {
        let (twin, now) = (Twin::default(), start());
        let mut relay = Relay::new(4, LIMITS, 1);
        relay.set_flows(Some(Box::new(twin.clone())));
        for slot in [0, 1] {
            relay.open(now, slot, CallSid(slot.into()));
            relay.configure(now, slot, setup(slot));
        }
        relay.bridge(0, 1);
        let mut house = Self { relay, twin, now };
        house.talk();
        house
    }

    /// A packet each way, the first of which marks a beginning.
    fn talk(&mut self) {
        for slot in [0, 1] {
            self.hears(slot, address(4000 + slot as u16 * 2), 8, 10, 7);
        }
    }

    fn hears(&mut self, slot: u32, source: SocketAddr, payload_type: u8, sequence: u16, ssrc: u8) -> Verdict {
        let mut room = [0; 64];
        room[..2].copy_from_slice(&[0x80, payload_type]);
        room[2..4].copy_from_slice(&sequence.to_be_bytes());
        room[11] = ssrc;
        self.relay.handle_input(self.now, slot, Port::Rtp, source, &mut room, 32)
    }

    /// A second's turn, and what the worker does after it.
    fn second(&mut self) {
        self.now += Duration::from_secs(1);
        self.relay.handle_second(self.now);
        while let Some((slot, to)) = self.relay.poll_wish() {
            let out = (address(4100 + to as u16 * 2), 34);
            self.relay.install(slot, address(4100 + slot as u16 * 2), out);
        }
    }

    fn flowing() -> Self {
        let mut house = Self::new();
        house.second();
        assert_eq!((house.twin.slots(), house.relay.flows()), (vec![0, 1], 2));
        house
    }

    fn close(&mut self, slot: u32) -> StreamReport {
        match self.relay.close(slot) {
            Some(MediaEvent::Closed { report, .. }) => *report,
            other => panic!("{other:?}"),
        }
    }

    fn told(&mut self) -> Vec<MediaEvent> {
        std::iter::from_fn(|| self.relay.poll_event()).collect()
    }
}

#[test]
fn a_flow_says_what_the_relay_would_do() {
    let house = House::flowing();
    let flow = house.twin.flow(0);
    assert_eq!(flow.heard, Ends { local: address(4100), peer: address(4000) });
    assert_eq!(flow.said, Ends { local: address(4102), peer: address(4002) });
    assert_eq!((flow.ssrc, flow.clock_hz, flow.highest, flow.dscp), (7, 8000, 10, 34));
    assert_eq!(flow.payload_types, 1 << 8 | 1 | 1 << 13, "PCMA, PCMU and comfort noise, no digits");
    assert!(flow.is_possible());
}

#[test]
fn only_plain_legs_that_are_latched_and_agree_are_handed_over() {
    type Change = fn(&mut House);
    fn with(house: &mut House, slot: u32, change: impl FnOnce(&mut StreamSetup)) {
        let mut setup = setup(slot);
        change(&mut setup);
        house.relay.configure(house.now, slot, setup);
    }
    let rows: [(&str, Change, &[u32]); 8] = [
        ("said again", |house| with(house, 1, |_| ()), &[0, 1]),
        ("a key", |house| with(house, 1, |s| s.srtp_out = Some(Box::new(key()))), &[]),
        ("a peer that only sends", |house| with(house, 1, |s| s.direction = Direction::SendOnly), &[1]),
        ("a peer that does neither", |house| with(house, 1, |s| s.direction = Direction::Inactive), &[]),
        (
            "another number for its codec",
            |house| with(house, 1, |s| (s.formats, s.format) = (vec![], renumbered())),
            &[],
        ),
        ("a prompt", |house| house.relay.play(house.now, 1, PlayId(1), prompt(), 0), &[]),
        ("no bridge", |house| house.relay.unbridge(0), &[]),
        ("another address", |house| with(house, 1, |s| s.remote_rtp.set_port(9)), &[]),
    ];
    for (what, change, flows) in rows {
        let mut house = House::flowing();
        change(&mut house);
        assert_eq!(house.twin.slots(), [] as [u32; 0], "{what}: lifted before it is changed");
        house.hears(0, address(4000), 8, 11, 7);
        house.second();
        assert_eq!(house.twin.slots(), flows, "{what}");
    }
    // Before either was heard, and to the other family.
    let mut house = House::new();
    house.relay.close(1);
    house.relay.open(house.now, 1, CallSid(1));
    with(&mut house, 1, |s| s.remote_rtp = "[2001:db8::1]:4000".parse().unwrap());
    house.relay.bridge(0, 1);
    house.hears(0, address(4000), 8, 11, 7);
    house.second();
    assert_eq!(house.twin.slots(), [] as [u32; 0], "not latched");
    house.hears(1, "[2001:db8::1]:4000".parse().unwrap(), 8, 10, 7);
    house.hears(0, address(4000), 8, 12, 7);
    house.second();
    assert_eq!(house.twin.slots(), [] as [u32; 0], "two families");
}

fn renumbered() -> Format {
    Format { payload_type: 96, ..Format::pcma() }
}

fn key() -> SdesKey {
    SdesKey { tag: 1, suite: SrtpSuite::AesCm128HmacSha1_80, key_salt: postern_types::Secret::new([1; 30]) }
}

fn prompt() -> Arc<Prompt> {
    Arc::new(Prompt { samples: vec![1000; 8000].into() })
}

#[test]
fn what_the_kernel_counted_is_in_the_figures() {
    let mut house = House::flowing();
    // 11 to 110, ten of them lost.
    house.twin.carries(0, 90, 110, Duration::ZERO);
    house.second();
    let reported = house.told().into_iter().rev().find_map(|event| match event {
        MediaEvent::Report { leg: CallSid(0), report } => Some(report),
        _ => None,
    });
    let reported = reported.expect("a report");
    assert_eq!((reported.packets_received, reported.packets_lost), (91, 10));
    // Digits come to the relay in between, and go on to the other leg.
    let verdict = house.hears(0, address(4000), 101, 111, 7);
    assert!(matches!(verdict, Verdict::Send { slot: 1, .. }));
    house.twin.carries(0, 5, 116, Duration::ZERO);
    assert_eq!(house.twin.slots(), [0, 1], "they put no end to the flow");
    let counts = house.relay.counts();
    let one = house.close(0);
    assert_eq!((one.packets_received, one.packets_lost), (97, 10));
    assert_eq!(one.bytes_received, 95 * 172 + 2 * 32);
    let other = house.close(1);
    assert_eq!((other.packets_sent, other.packets_received), (1 + 1 + 95, 1));
    let after = house.relay.counts();
    assert_eq!((counts.forwarded, after.forwarded, after.packets_in), (90, 95, 98));
    assert_eq!(house.twin.slots(), [] as [u32; 0]);
}

#[test]
fn silence_is_that_of_the_kernel_too() {
    let mut house = House::flowing();
    for n in 1..=20 {
        house.twin.carries(0, 50, 10 + n * 50, Duration::from_millis(10));
        house.twin.carries(1, 50, 10 + n * 50, Duration::from_millis(10));
        house.second();
    }
    assert!(!house.told().iter().any(|event| matches!(event, MediaEvent::TimedOut { .. })));
    for _ in 0..6 {
        house.second();
    }
    let silent: Vec<_> =
        house.told().into_iter().filter(|event| matches!(event, MediaEvent::TimedOut { .. })).collect();
    assert_eq!(silent.len(), 2, "{silent:?}");
}

#[test]
fn a_changed_source_of_the_stream_is_lifted_and_comes_back_as_it_is() {
    let rows: [(&str, u16, u8, bool); 5] = [
        ("another SSRC", 11, 8, false),
        ("a jump of the sequence number", 20_000, 7, false),
        ("late", 5, 7, true),
        ("ahead", 500, 7, true),
        ("the same again", 10, 7, true),
    ];
    for (what, sequence, ssrc, stays) in rows {
        let mut house = House::flowing();
        let verdict = house.hears(0, address(4000), 8, sequence, ssrc);
        assert!(matches!(verdict, Verdict::Send { slot: 1, .. }), "{what}: the relay passes it on");
        assert_eq!(house.twin.slots().contains(&0), stays, "{what}");
        assert!(house.twin.slots().contains(&1), "{what}: the other direction goes on");
        house.second();
        assert_eq!((house.twin.slots(), house.twin.flow(0).ssrc), (vec![0, 1], u32::from(ssrc)), "{what}");
    }
}

#[test]
fn a_stranger_changes_nothing_and_the_described_address_takes_over() {
    let mut house = House::new();
    // Behind NAT: latched to another address than the described one.
    house.relay.configure(house.now, 0, {
        let mut setup = setup(0);
        setup.remote_rtp.set_port(5000);
        setup
    });
    house.hears(0, address(4000), 8, 11, 7);
    house.second();
    assert_eq!(house.twin.slots(), [0, 1]);
    assert_eq!(house.twin.flow(1).said.peer, address(4000));
    house.now += LIMITS.latch_window;
    for _ in 0..100 {
        assert_eq!(house.hears(0, address(666), 8, 12, 7), Verdict::Drop);
    }
    assert_eq!(house.twin.slots(), [0, 1]);
    house.hears(0, address(5000), 8, 12, 7);
    assert_eq!(house.twin.slots(), [] as [u32; 0], "nothing more to the former source, and nothing from it");
    house.second();
    assert_eq!((house.twin.flow(0).heard.peer, house.twin.flow(1).said.peer), (address(5000), address(5000)));
}

#[test]
fn the_kernel_is_asked_again_only_when_something_changed() {
    let mut house = House::new();
    house.twin.0.lock().unwrap().refuses = true;
    for _ in 0..5 {
        house.second();
    }
    assert_eq!(house.twin.0.lock().unwrap().asked, 2, "once a direction");
    {
        let mut state = house.twin.0.lock().unwrap();
        (state.refuses, state.routes_changed) = (false, true);
    }
    house.second();
    assert_eq!(house.twin.slots(), [0, 1]);
    // Another route: lifted, and installed anew in the same turn.
    house.twin.0.lock().unwrap().routes_changed = true;
    house.second();
    assert_eq!((house.twin.slots(), house.twin.0.lock().unwrap().asked), (vec![0, 1], 6));
    // Taken away by a reload.
    house.relay.set_flows(None);
    assert_eq!((house.twin.slots(), house.relay.flows()), (vec![], 0));
    house.second();
    assert_eq!(house.relay.poll_wish(), None);
}

//! Calls that the kernel forwards by itself, with the real plane in a network namespace of the test's own. Root only.
#![allow(clippy::disallowed_methods, reason = "tests read the clock")]

use std::{
    process::Command,
    time::{Duration, Instant},
};

use nix::{
    sched::{CloneFlags, unshare},
    unistd::geteuid,
};
use postern_config::FastPath;
use postern_media::KernelPart;
use postern_types::{
    media::{MediaCommand, MediaEvent},
    stream::Direction,
};

mod support;
use support::{House, Peer, config, rtp, socket};

/// Puts this thread, and the workers that it will start, into a namespace with a loopback interface. False: not root.
fn enter(test: &str) -> bool {
    if !geteuid().is_root() {
        eprintln!("{test}: left out, for it needs root (network namespaces, BPF)");
        return false;
    }
    unshare(CloneFlags::CLONE_NEWNET).expect("root may");
    let up = Command::new("ip").args(["link", "set", "lo", "up"]).status().expect("iproute2 is installed");
    assert!(up.success());
    true
}

/// A call whose both directions the kernel has. Packet 1 of each peer went through the worker.
struct Call {
    house: House,
    one: Peer,
    other: Peer,
}

impl Call {
    fn new(ipv6: bool, timeout: Duration) -> Self {
        let mut config = config(8);
        config.media.fast_path = FastPath::Required;
        config.media.timeout = timeout;
        let mut house = House::new(&config);
        assert_eq!(house.plane.kernel(), &KernelPart { on: true, why: String::new() });
        let (one, other) = (house.leg(ipv6, |_| ()), house.leg(ipv6, |_| ()));
        house.command(MediaCommand::Bridge { a: one.id, b: other.id });
        let mut call = Self { house, one, other };
        call.talk(1);
        call.flows(2);
        call
    }

    /// A packet each way that arrives as it was.
    fn talk(&mut self, sequence: u16) {
        for (from, to) in [(&self.one, &self.other), (&self.other, &self.one)] {
            let packet = rtp(8, sequence, &[sequence as u8; 160]);
            from.send(&packet);
            let came = to.receive();
            assert_eq!((came.len(), &came[2..]), (packet.len(), &packet[2..]), "but for the mark of a beginning");
        }
    }

    fn flows(&mut self, flows: u64) {
        self.house.wait_until("so many flows", |status| status.flows == flows);
    }
}

#[test]
fn a_call_is_the_kernels_and_its_figures_are_true() {
    if !enter("a_call_is_the_kernels_and_its_figures_are_true") {
        return;
    }
    for ipv6 in [false, true] {
        let mut call = Call::new(ipv6, Duration::from_secs(30));
        // 2 to 101, without every tenth.
        for sequence in (2..102).filter(|n| n % 10 != 0) {
            call.talk(sequence);
        }
        // A digit in the middle: an event of three packets, the last with its end.
        for (sequence, end) in [(102, 0), (103, 0), (104, 0x80)] {
            call.one.send(&rtp(101, sequence, &[5, end | 10, 1, 224]));
            assert_eq!(call.other.receive()[1] & 0x7f, 101);
        }
        let digit = call.house.wait_for("the digit", |event| match event {
            MediaEvent::Digit { digit, .. } => Some(*digit),
            _ => None,
        });
        assert_eq!(digit, '5');
        // A stranger is heard by nobody.
        let stranger = socket(call.one.leg_rtp);
        stranger.send_to(&rtp(8, 106, &[0; 160]), call.one.leg_rtp).unwrap();
        call.talk(105);
        assert!(call.other.is_quiet());
        call.house.wait_until("all counted", |status| status.forwarded == 2 * 91);
        assert_eq!(call.house.plane.status().flows, 2);

        let (one, other) = (call.house.close(call.one.id), call.house.close(call.other.id));
        assert_eq!((one.packets_received, one.packets_sent, one.packets_lost), (95, 92, 10));
        assert_eq!(one.bytes_received, 92 * 172 + 3 * 16);
        // The other never sent the numbers of the digit's packets.
        assert_eq!((other.packets_received, other.packets_sent, other.packets_lost), (92, 95, 13));
        assert!(one.mos.is_some_and(|mos| mos > 1.0 && mos < 4.4), "{one:?}");
        // Closed, nothing passes any more.
        call.one.send(&rtp(8, 107, &[0; 160]));
        call.house.wait_until("no flow", |status| status.flows == 0);
        assert!(call.other.is_quiet());
    }
}

#[test]
fn a_hold_and_another_bridge_stop_it_at_once() {
    if !enter("a_hold_and_another_bridge_stop_it_at_once") {
        return;
    }
    let mut call = Call::new(false, Duration::from_secs(30));
    let mut setup = call.other.setup();
    setup.direction = Direction::SendOnly;
    call.house.command(MediaCommand::Configure { leg: call.other.id, setup: Box::new(setup) });
    call.house.wait_until("lifted", |status| status.flows == 0);
    call.one.send(&rtp(8, 2, &[2; 160]));
    call.flows(1);
    call.one.send(&rtp(8, 3, &[3; 160]));
    // Heard, it would have come before this one, which the kernel forwards.
    call.other.send(&rtp(8, 2, &[2; 160]));
    assert_eq!(call.one.receive()[2..4], [0, 2]);
    assert!(call.other.is_quiet());

    let third = call.house.leg(false, |_| ());
    call.house.command(MediaCommand::Configure { leg: call.other.id, setup: Box::new(call.other.setup()) });
    call.house.command(MediaCommand::Bridge { a: call.one.id, b: third.id });
    call.house.wait_until("lifted", |status| status.flows == 0);
    call.one.send(&rtp(8, 4, &[4; 160]));
    assert_eq!(third.receive()[2..4], [0, 4]);
    assert!(call.other.is_quiet());
    third.send(&rtp(8, 4, &[4; 160]));
    assert_eq!(call.one.receive()[2..4], [0, 4]);
    call.flows(2);
    call.one.send(&rtp(8, 5, &[5; 160]));
    assert_eq!(third.receive(), rtp(8, 5, &[5; 160]));
}

#[test]
fn who_falls_silent_is_told_though_nothing_of_him_came_to_the_worker() {
    if !enter("who_falls_silent_is_told_though_nothing_of_him_came_to_the_worker") {
        return;
    }
    let mut call = Call::new(false, Duration::from_secs(2));
    let spoken = Instant::now();
    let mut sequence = 2;
    while spoken.elapsed() < Duration::from_secs(3) {
        call.talk(sequence);
        sequence += 1;
        std::thread::sleep(Duration::from_millis(20));
    }
    let early = call.house.seen.iter().any(|event| matches!(event, MediaEvent::TimedOut { .. }));
    assert!(!early && call.house.plane.status().flows == 2);
    let silent = call.house.wait_for("the time-out", |event| match event {
        MediaEvent::TimedOut { silent, .. } => Some(*silent),
        _ => None,
    });
    assert!(silent >= Duration::from_secs(2), "{silent:?}");
}

#[test]
fn from_one_family_to_the_other_goes_through_the_worker() {
    if !enter("from_one_family_to_the_other_goes_through_the_worker") {
        return;
    }
    let mut config = config(8);
    config.media.fast_path = FastPath::Auto;
    let mut house = House::new(&config);
    let (one, other) = (house.leg(false, |_| ()), house.leg(true, |_| ()));
    house.command(MediaCommand::Bridge { a: one.id, b: other.id });
    let mut call = Call { house, one, other };
    let begun = Instant::now();
    let mut sequence = 1;
    while begun.elapsed() < Duration::from_millis(2500) {
        call.talk(sequence);
        sequence += 1;
    }
    let status = call.house.plane.status();
    assert_eq!((status.flows, status.forwarded), (0, 0));
    // A reload that wants none takes it away, and one that does brings it back.
    assert!(call.house.plane.poll_kernel().is_some_and(|part| part.on));
    config.media.fast_path = FastPath::Off;
    call.house.plane.reconfigure(&config);
    assert_eq!(call.house.plane.poll_kernel(), Some(&KernelPart::default()));
    config.media.fast_path = FastPath::Required;
    call.house.plane.reconfigure(&config);
    assert!(call.house.plane.poll_kernel().is_some_and(|part| part.on));
    assert_eq!(call.house.plane.poll_kernel(), None);
}

use std::{collections::BTreeSet, sync::atomic::Ordering, time::SystemTime};

use postern_config::NoFiles;
use postern_types::UnixMicros;

use super::*;

const LIMIT: Duration = Duration::from_secs(20);

#[allow(clippy::disallowed_methods, reason = "tests read the clock")]
fn now() -> Now {
    Now { instant: Instant::now(), wall: UnixMicros::from_system(SystemTime::now()) }
}

/// Two workers and eight port pairs from `first` on, with these emergency numbers.
fn config(first: u16, emergency: &str) -> Config {
    let yaml = format!(
        "appliance: {{name: test, state_folder: /, runtime_folder: /}}\n\
         realms: {{lo: {{signaling: [\"127.0.0.1:45060\"], emergency: [{emergency}], media: {{addresses: [127.0.0.1], ports: {first}-{}}}}}}}\n\
         media: {{workers: [0, 1], quarantine: 0ms}}\n",
        first + 15
    );
    postern_config::load("test.yaml", &yaml, &NoFiles).expect("a configuration").0
}

fn open(plane: &mut MediaPlane, leg: u128, urgent: bool) -> Option<MediaEvent> {
    let realm = RealmName::new("lo");
    plane.command(now(), MediaCommand::Open { leg: CallSid(leg), realm, ipv6: false, urgent });
    plane.poll_event()
}

/// A plane of such a configuration, and so many legs.
fn plane(first: u16, legs: u128) -> MediaPlane {
    let mut plane = MediaPlane::start(&config(first, ""), Bell::new().unwrap()).unwrap();
    for leg in 0..legs {
        let event = open(&mut plane, leg, false);
        assert!(matches!(event, Some(MediaEvent::Opened { .. })), "{event:?}");
    }
    plane
}

/// Ends a worker as a panic or a broken ring would: on its own, unasked by the plane.
fn kill(plane: &mut MediaPlane, worker: usize) {
    plane.workers[worker].handle.end();
}

/// The legs of the next events that `pick` takes, so many.
fn legs(plane: &mut MediaPlane, count: usize, pick: fn(&MediaEvent) -> bool) -> BTreeSet<CallSid> {
    let limit = now().instant + LIMIT;
    let mut found = BTreeSet::new();
    while found.len() < count {
        let event = plane.poll_event().filter(pick);
        assert!(event.as_ref().map(MediaEvent::leg).is_none_or(|leg| found.insert(leg)), "told twice: {event:?}");
        assert!(now().instant < limit, "{found:?} {:?}", plane.status());
        thread::yield_now();
    }
    found
}

fn close_some(plane: &mut MediaPlane, which: std::ops::Range<u128>) {
    let count = which.clone().count();
    which.for_each(|leg| plane.command(now(), MediaCommand::Close { leg: CallSid(leg) }));
    let closed = legs(plane, count, |event| matches!(event, MediaEvent::Closed { .. }));
    assert_eq!(closed.len(), count);
}

fn close_all(plane: &mut MediaPlane, count: u128) {
    close_some(plane, 0..count);
    let status = plane.status();
    assert_eq!((status.streams, status.ports_used), (0, 0));
    assert!(plane.slots.iter().flatten().all(|stream| stream.rest == Rest::Kept));
}

fn is_timed_out(event: &MediaEvent) -> bool {
    matches!(event, MediaEvent::TimedOut { .. })
}

#[test]
fn legs_of_a_worker_that_ended_are_told_and_can_be_closed() {
    let mut plane = plane(47_000, 4);
    let lost: BTreeSet<_> = plane.slots.iter().flatten().filter(|s| s.worker == 0).map(|s| s.leg).collect();
    assert_eq!(lost.len(), 2);
    kill(&mut plane, 0);
    assert_eq!(legs(&mut plane, 2, is_timed_out), lost);
    assert_eq!((plane.status().workers_failed, plane.poll_event()), (1, None));
    close_all(&mut plane, 4);
    for leg in 10..13 {
        plane.command(
            now(),
            MediaCommand::Open { leg: CallSid(leg), realm: RealmName::new("lo"), ipv6: false, urgent: false },
        );
    }
    assert!(plane.slots.iter().flatten().all(|s| s.worker == 1), "the other worker takes what comes");
}

#[test]
fn a_worker_that_ended_is_started_again_when_nothing_of_it_is_left() {
    let mut plane = plane(47_400, 2);
    kill(&mut plane, 0);
    kill(&mut plane, 1);
    legs(&mut plane, 2, is_timed_out);
    let later = |s| Now { instant: now().instant + RESTART_EVERY * s, ..now() };
    let open = |plane: &mut MediaPlane, now, leg| {
        plane.command(
            now,
            MediaCommand::Open { leg: CallSid(leg), realm: RealmName::new("lo"), ipv6: false, urgent: false },
        );
        plane.poll_event()
    };
    assert!(matches!(open(&mut plane, later(2), 9), Some(MediaEvent::OpenFailed { .. })), "its legs are still there");
    close_all(&mut plane, 2);
    assert!(matches!(open(&mut plane, now(), 9), Some(MediaEvent::OpenFailed { .. })), "not at once");
    assert_eq!((plane.status().workers, plane.workers_failed()), (0, 2));
    for leg in [10, 11] {
        let opened = open(&mut plane, later(2), leg);
        let Some(MediaEvent::Opened { .. }) = opened else { panic!("{opened:?}") };
    }
    assert_eq!((plane.status().workers, plane.status().workers_failed), (2, 2));
    // The new ones are at work: they close, with figures.
    for leg in [10, 11] {
        plane.command(now(), MediaCommand::Close { leg: CallSid(leg) });
    }
    legs(&mut plane, 2, |event| matches!(event, MediaEvent::Closed { .. }));
    kill(&mut plane, 1);
    let limit = now().instant + LIMIT;
    while plane.status().workers_failed < 3 {
        assert!(plane.poll_event().is_none() && now().instant < limit);
    }
}

#[test]
fn a_leg_that_moves_while_a_worker_ends_is_not_lost() {
    for (dead, ports) in [(0, 47_100), (1, 47_200)] {
        let mut plane = plane(ports, 2);
        let at = |plane: &MediaPlane, leg| plane.slots[plane.legs[&CallSid(leg)] as usize].as_ref().map(|s| s.worker);
        assert_ne!(at(&plane, 0), at(&plane, 1));
        kill(&mut plane, dead);
        plane.command(now(), MediaCommand::Bridge { a: CallSid(0), b: CallSid(1) });
        let limit = now().instant + LIMIT;
        while !plane.workers[dead].has_failed() {
            assert!(now().instant < limit);
        }
        // It may just have made it; else it is told, as the one that stayed there is.
        let settled =
            |plane: &MediaPlane, s: &Stream| s.mourned || s.held.is_none() && !plane.workers[s.home].has_failed();
        let mut told = 0;
        while told < 2 && !plane.slots.iter().flatten().all(|stream| settled(&plane, stream)) {
            told += usize::from(plane.poll_event().is_some_and(|event| is_timed_out(&event)));
            assert!(now().instant < limit, "{:?}", plane.status());
        }
        close_all(&mut plane, 2);
    }
}

#[test]
fn rested_ports_are_free_again_without_a_new_call() {
    let mut plane = plane(47_300, 3);
    close_all(&mut plane, 3);
    let limit = now().instant + LIMIT;
    while plane.status().ports_free != 8 {
        assert!(now().instant < limit, "{:?}", plane.status());
        while plane.poll_event().is_some() {}
        thread::yield_now();
    }
}

#[test]
fn sockets_rest_and_serve_a_later_leg_also_when_no_port_is_left_and_not_after_a_reload() {
    let mut plane = plane(47_500, 8);
    let opened = |plane: &mut MediaPlane, leg| {
        plane.command(
            now(),
            MediaCommand::Open { leg: CallSid(leg), realm: RealmName::new("lo"), ipv6: false, urgent: false },
        );
        plane.poll_event()
    };
    assert!(matches!(opened(&mut plane, 8), Some(MediaEvent::OpenFailed { .. })), "eight pairs for eight legs");
    close_all(&mut plane, 8);
    assert_eq!((plane.status().ports_used, plane.resting), (0, 8));
    // Again, on what rests: no worker and no port is left out.
    for leg in 10..18 {
        let event = opened(&mut plane, leg);
        assert!(matches!(event, Some(MediaEvent::Opened { .. })), "{event:?}");
    }
    assert_eq!((plane.status().streams, plane.status().ports_used, plane.resting), (8, 8, 0));

    plane.reloads += 1;
    (10..18).for_each(|leg| plane.command(now(), MediaCommand::Close { leg: CallSid(leg) }));
    let closed = legs(&mut plane, 8, |event| matches!(event, MediaEvent::Closed { .. }));
    assert_eq!(closed.len(), 8);
    let limit = now().instant + LIMIT;
    while plane.resting > 0 {
        assert_eq!(plane.poll_event(), None);
        assert!(now().instant < limit, "opened under another configuration, their sockets are closed");
        thread::yield_now();
    }
    assert_eq!(plane.ports.values().map(Ports::used).sum::<usize>(), 0);
}

#[test]
fn busy_workers_take_emergency_calls_only() {
    let mut plane = plane(47_600, 2);
    let opened = |plane: &mut MediaPlane, leg, busy, urgent| {
        // They say it anew each second, so just before it is asked.
        plane.workers.iter().for_each(|worker| worker.handle.shared.busy_permille.store(busy, Ordering::Relaxed));
        open(plane, leg, urgent)
    };
    let why = (10..13).find_map(|leg| match opened(&mut plane, leg, 960, false) {
        Some(MediaEvent::OpenFailed { why, .. }) => Some(why),
        _ => None,
    });
    assert!(why.is_some_and(|why| why.ends_with("with 96 % of its CPU, media.busy_max is 95 %")));
    assert!(matches!(opened(&mut plane, 20, 1000, true), Some(MediaEvent::Opened { .. })));
    assert!(matches!(opened(&mut plane, 21, 950, false), Some(MediaEvent::Opened { .. })));
}

#[test]
fn row_14_the_last_ports_are_kept_for_emergency_calls_where_there_are_any() {
    let is_open = |event: &Option<MediaEvent>| matches!(event, Some(MediaEvent::Opened { .. }));
    let mut plane = MediaPlane::start(&config(47_700, "\"112\""), Bell::new().unwrap()).unwrap();
    let opened: Vec<_> = (0..8).map(|leg| open(&mut plane, leg, false)).collect();
    assert_eq!(opened.iter().map(is_open).collect::<Vec<_>>(), [true, true, true, true, true, true, false, false]);
    let Some(MediaEvent::OpenFailed { why, .. }) = &opened[7] else { panic!("{opened:?}") };
    assert_eq!(&**why, "realm lo: the last media ports are kept for emergency calls");
    assert!(is_open(&open(&mut plane, 20, true)) && is_open(&open(&mut plane, 21, true)), "one call");
    let Some(MediaEvent::OpenFailed { why, .. }) = open(&mut plane, 22, true) else { panic!() };
    assert_eq!(&*why, "realm lo: all IPv4 media ports are in use");
    // What an ordinary call gives back while all is short is kept again.
    plane.command(now(), MediaCommand::Close { leg: CallSid(0) });
    legs(&mut plane, 1, |event| matches!(event, MediaEvent::Closed { .. }));
    assert!(!is_open(&open(&mut plane, 23, false)));
    assert!(is_open(&open(&mut plane, 24, true)));
    // Without emergency numbers nothing is kept.
    plane.reconfigure(&config(47_700, ""));
    plane.command(now(), MediaCommand::Close { leg: CallSid(1) });
    legs(&mut plane, 1, |event| matches!(event, MediaEvent::Closed { .. }));
    let limit = now().instant + LIMIT;
    // Sockets of an earlier configuration are closed, and their ports free, a moment after their leg.
    while !is_open(&open(&mut plane, 25, false)) {
        assert!(now().instant < limit, "{:?}", plane.status());
        while plane.poll_event().is_some() {}
        thread::yield_now();
    }
}

#[test]
fn a_burst_of_talkers_is_refused_before_it_can_be_measured_and_none_later_that_fits() {
    // A machine so slow that a leg takes a quarter of a worker.
    let slow = Calibration { us_per_packet: 5000.0, legs: 2, packets: 1, took: Duration::ZERO };
    let begin = now();
    // They say how busy they are anew each second, so just before it is asked.
    let say = |plane: &MediaPlane, busy| {
        plane.workers.iter().for_each(|worker| worker.handle.shared.busy_permille.store(busy, Ordering::Relaxed));
    };
    let open = |plane: &mut MediaPlane, busy, after_s, leg, urgent| {
        say(plane, busy);
        let at = Now { instant: begin.instant + Duration::from_secs(after_s), ..begin };
        plane.command(at, MediaCommand::Open { leg: CallSid(leg), realm: RealmName::new("lo"), ipv6: false, urgent });
        plane.events.pop_front().expect("an answer at once")
    };
    let is_open = |event: MediaEvent| matches!(event, MediaEvent::Opened { .. });
    let mut silent = plane(47_920, 0);
    silent.set_calibration(slow);
    assert!((0..8).all(|leg| is_open(open(&mut silent, 10, 0, leg, false))), "legs that ring cost nothing");
    drop(silent);

    let mut plane = plane(47_900, 0);
    plane.set_calibration(slow);
    let taken = (0..7).filter(|leg| is_open(open(&mut plane, 320, 0, *leg, false))).count();
    assert_eq!(taken, 6, "three on each of two workers: 82 % before the last");
    let MediaEvent::OpenFailed { why, .. } = open(&mut plane, 320, 1, 8, false) else { panic!("it fits no more") };
    assert!(
        why.ends_with("32 % of its CPU and some 75 % to come of legs opened just now, media.busy_max is 95 %"),
        "{why}"
    );
    say(&plane, 320);
    let cpu = plane.room(begin.instant).remove(0);
    assert_eq!(cpu, Room { of: "CPU of the media workers".into(), calls: 0 });
    // Two that end make room for others; an emergency needs none.
    close_some(&mut plane, 0..2);
    assert!(is_open(open(&mut plane, 320, 2, 10, true)));
    assert!(is_open(open(&mut plane, 320, 2, 11, false)));
    assert!(!is_open(open(&mut plane, 320, 2, 12, false)));
    assert!(is_open(open(&mut plane, 320, 3, 13, false)), "four are old: the measure has them");
}

#[test]
fn room_is_told_by_what_ends_first() {
    let mut plane = plane(47_800, 3);
    let rooms = |plane: &MediaPlane| {
        plane.room(now().instant).into_iter().map(|room| (room.of, room.calls)).collect::<Vec<_>>()
    };
    let ports = rooms(&plane).pop().unwrap();
    assert_eq!(ports, ("ports of realm lo".into(), 2), "five pairs, of which a call takes two");
    assert_eq!(
        (rooms(&plane).len(), plane.calls_per_worker()),
        (2, None),
        "nothing is said of a CPU that nobody measured"
    );
    plane.set_calibration(Calibration { us_per_packet: 4.75, legs: 2, packets: 1, took: Duration::ZERO });
    assert_eq!(plane.calls_per_worker(), Some(2000));
    let (of, calls) = rooms(&plane).swap_remove(0);
    assert_eq!(of, "CPU of the media workers");
    assert!((3000..=4000).contains(&calls), "two workers, less what they do already: {calls}");
}

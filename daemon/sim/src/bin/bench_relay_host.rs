//! The media plane as a process of its own, for `make bench`: legs bridged in pairs, nothing else.
//!
//! `bench_relay_host --legs N --peer IP:PORT --address IP --ports FIRST-LAST --cpu CPU [--fast-path auto|off|required]
//! [--sides EVEN,ODD] [--key HEX] [--room true] [--churn SECONDS]`. Leg n expects its peer at the peer's port + 2n. With a key even legs speak SRTP, both ways by that key;
//! sides are codecs. In a room all hear each other, instead of pairs. Churn is calls that come and go as fast as they can, instead of serving. Prints one line of JSON with the ports, serves until standard input ends, prints the plane's status.

use std::{
    io::Read,
    net::SocketAddr,
    time::{Duration, Instant, SystemTime},
};

use postern_config::NoFiles;
use postern_media::MediaPlane;
use postern_types::{
    CallSid, ConferenceSid, Now, RealmName, UnixMicros,
    media::{MediaCommand, MediaEvent, RoomPart, StreamSetup},
};
use postern_uring::{Event, SwitchRing};
use serde_json::{Value, json};

#[path = "bench_common/mod.rs"]
mod common;
#[path = "bench_common/side.rs"]
mod side;
use common::{cpu_ns, needed, option, settle};

fn main() {
    let (legs, cpu): (u16, usize) = (needed("--legs"), needed("--cpu"));
    let peer: SocketAddr = needed("--peer");
    let (address, ports): (String, String) = (needed("--address"), needed("--ports"));
    let fast_path: String = option("--fast-path").unwrap_or_else(|| "off".into());
    settle(cpu);
    let text = format!(
        "appliance: {{name: bench}}\n\
         realms:\n  lo: {{signaling: {address}:5060, media: {{ports: {ports}}}}}\n\
         media: {{workers: [{cpu}], timeout: 1h, quarantine: 0ms, busy_max: 100, fast_path: {fast_path}}}\n"
    );
    let config = postern_config::load("bench", &text, &NoFiles).map(|(config, _)| config);
    let config = config.unwrap_or_else(|mistakes| panic!("{}", mistakes[0].render()));

    let (mut ring, _) = SwitchRing::new(Instant::now(), Vec::new()).expect("a ring");
    let mut plane = MediaPlane::start(&config, ring.bell().try_clone().expect("a bell")).expect("media workers");
    println!("{}", json!({ "started": true }));
    // The driver looks at our memory now, and says by a line that legs may be opened.
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).expect("a driver");

    let formats = side::formats(&option::<String>("--sides").unwrap_or_else(|| "pcma".into()));
    let key = option::<String>("--key").map(|hex| Box::new(side::key(&hex)));
    let setup = |leg: u16| {
        let remote_rtp = SocketAddr::new(peer.ip(), peer.port() + 2 * leg);
        let plain = StreamSetup::plain(remote_rtp, formats[usize::from(leg % 2)].clone());
        let key = key.clone().filter(|_| leg.is_multiple_of(2));
        StreamSetup { telephone_event: Some(101), srtp_in: key.clone(), srtp_out: key, ..plain }
    };
    let opened: Vec<u16> = (0..legs).map(|leg| open(&mut plane, leg.into(), setup(leg))).collect();
    let all = 0..u64::from(legs);
    if option("--room").unwrap_or(false) {
        let join = |leg| MediaCommand::Join { room: ConferenceSid(1), leg: id(leg), part: RoomPart::default() };
        all.for_each(|leg| plane.command(now(), join(leg)));
    } else {
        all.step_by(2).for_each(|pair| plane.command(now(), MediaCommand::Bridge { a: id(pair), b: id(pair + 1) }));
    }
    println!("{}", json!({ "ports": opened }));

    if let Some(seconds) = option::<f64>("--churn") {
        println!("{}", churn(&mut plane, seconds, setup));
        return;
    }
    let bell = ring.bell().try_clone().expect("a bell");
    let driver = std::thread::spawn(move || {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        bell.ring();
    });
    while !driver.is_finished() {
        let _ = ring.wait(Instant::now(), None, |event| debug_assert!(matches!(event, Event::Woken)));
        // As the switch does: reports come once a second and leg.
        while plane.poll_event().is_some() {}
    }
    let status = plane.status();
    println!(
        "{}",
        json!({ "packets_in": status.packets_in, "packets_out": status.packets_out, "dropped": status.dropped, "forwarded": status.forwarded })
    );
}

/// Two legs opened, described, bridged and closed, some calls at a time: how many calls, and what they took of the CPU.
fn churn(plane: &mut MediaPlane, seconds: f64, setup: impl Fn(u16) -> StreamSetup) -> Value {
    const ALIVE: u64 = 100;
    const BURST: usize = 10;
    let (mut begun, mut closed) = (0u64, 0u64);
    let mut before = (Instant::now(), 0u64, 0u64);
    let cpu = || cpu_ns(std::process::id()).values().sum::<u64>();
    // A first second, not counted, makes the sockets that later legs are given.
    for (span, counts) in [(1.0, false), (seconds, true)] {
        if counts {
            before = (Instant::now(), cpu(), closed);
        }
        let end = Instant::now() + Duration::from_secs_f64(span);
        while Instant::now() < end {
            // As many at a time as come in a millisecond of a busy switch; then the worker has its turn.
            for _ in 0..BURST {
                if let Some(oldest) = begun.checked_sub(ALIVE) {
                    [0, 1]
                        .into_iter()
                        .for_each(|n| plane.queue(now(), MediaCommand::Close { leg: id(2 * oldest + n) }));
                }
                for side in [0, 1] {
                    let _: u16 = open(plane, 2 * begun + side, setup(side as u16));
                }
                plane.queue(now(), MediaCommand::Bridge { a: id(2 * begun), b: id(2 * begun + 1) });
                begun += 1;
            }
            while 2 * begun - closed > 2 * ALIVE {
                match plane.poll_event() {
                    Some(event) => closed += u64::from(matches!(event, MediaEvent::Closed { .. })),
                    None => std::thread::sleep(Duration::from_micros(50)),
                }
            }
        }
    }
    let calls = (closed - before.2) / 2;
    let seconds = before.0.elapsed().as_secs_f64();
    json!({ "calls": calls, "seconds": seconds, "cpu_us_per_call": (cpu() - before.1) as f64 / 1000.0 / calls.max(1) as f64 })
}

fn id(leg: u64) -> CallSid {
    CallSid(u128::from(leg) + 1)
}

/// Opens a leg and describes its peer; the port that it got.
fn open(plane: &mut MediaPlane, leg: u64, setup: StreamSetup) -> u16 {
    plane.queue(now(), MediaCommand::Open { leg: id(leg), realm: RealmName::new("lo"), ipv6: false, urgent: false });
    let event = plane.poll_answer();
    let Some(MediaEvent::Opened { rtp, .. }) = event else { panic!("leg {leg}: {event:?}") };
    plane.queue(now(), MediaCommand::Configure { leg: id(leg), setup: Box::new(setup) });
    rtp.port()
}

fn now() -> Now {
    Now { instant: Instant::now(), wall: UnixMicros::from_system(SystemTime::now()) }
}

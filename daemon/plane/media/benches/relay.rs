//! What a relayed packet costs, as JSON: CPU of the media worker, packets a second, added latency, memory of a call.
//!
//! ```text
//! cargo bench -p postern-media -- [--legs 2000] [--kpps 100 | --flood] [--seconds 5] [--worker-cpu 1] [--load-cpu 0]
//! relay --aim FILE ...            load only: each line "from-port ip:port answer-port" is one direction of a bridge
//! ```
//!
//! The load is one thread that sends RTP from many sockets in turn, and one thread that receives and takes the time from
//! the payload. It knows nothing of what it aims at, so another relay can be measured by the same load (`--aim`).
#![allow(clippy::disallowed_methods, reason = "a benchmark reads clocks")]

mod load;
#[path = "../tests/support/mod.rs"]
#[allow(unused_imports, reason = "made for tests, of which this uses a part")]
mod support;

use std::{
    net::UdpSocket,
    time::{Duration, Instant},
};

use load::{Load, Path};
use postern_types::media::MediaCommand;
use serde_json::json;

struct Options {
    legs: usize,
    kpps: Option<f64>,
    seconds: u64,
    worker_cpu: usize,
    load_cpu: usize,
    aim: Option<String>,
}

fn options() -> Options {
    let mut options = Options { legs: 200, kpps: Some(20.0), seconds: 3, worker_cpu: 1, load_cpu: 0, aim: None };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut value = || words.next().unwrap_or_else(|| panic!("{word} needs a value"));
        match word.as_str() {
            "--legs" => options.legs = value().parse().expect("a number of legs"),
            "--kpps" => options.kpps = Some(value().parse().expect("thousands of packets a second")),
            "--flood" => options.kpps = None,
            "--seconds" => options.seconds = value().parse().expect("seconds"),
            "--worker-cpu" => options.worker_cpu = value().parse().expect("a CPU"),
            "--load-cpu" => options.load_cpu = value().parse().expect("a CPU"),
            "--aim" => options.aim = Some(value()),
            // Given by `cargo bench` itself.
            "--bench" => {}
            other => panic!("unknown option {other}"),
        }
    }
    options
}

fn main() {
    let options = options();
    let result = match &options.aim {
        Some(file) => load_only(&options, file),
        None => measured(&options),
    };
    println!("{result}");
}

/// Aims at a relay that somebody else set up: "from-port ip:port answer-port" a line, local ports on loopback.
fn load_only(options: &Options, file: &str) -> serde_json::Value {
    let lines = std::fs::read_to_string(file).expect("the file of paths");
    let local = |port: &str| {
        std::net::UdpSocket::bind(("127.0.0.1", port.parse::<u16>().expect("a port"))).expect("a free local port")
    };
    let paths = lines.lines().map(|line| {
        let words: Vec<_> = line.split_whitespace().collect();
        let [from, to, answer] = words[..] else { panic!("not a path: {line}") };
        Path { from: local(from), to: to.parse().expect("ip:port"), answer: local(answer) }
    });
    let load = Load::start(paths.collect(), options.kpps, options.load_cpu);
    std::thread::sleep(Duration::from_secs(options.seconds));
    json!({ "legs": lines.lines().count() * 2, "load": load.stop() })
}

fn measured(options: &Options) -> serde_json::Value {
    let mut config = support::config(options.legs as u16);
    config.media.workers = vec![options.worker_cpu];
    config.media.latch_window = Duration::from_millis(500);
    let memory_before = resident_kb();
    let mut house = support::House::new(&config);
    let memory_started = resident_kb();
    let mut paths = Vec::new();
    let setup_began = Instant::now();
    for _ in 0..options.legs / 2 {
        let (a, b) = (house.leg(false, |_| {}), house.leg(false, |_| {}));
        house.command(MediaCommand::Bridge { a: a.id, b: b.id });
        // Each path is one way, and a call has two, or only one of its sockets would be connected.
        let again = |socket: &UdpSocket| socket.try_clone().expect("a descriptor");
        paths.push(Path { from: again(&a.rtp), to: a.leg_rtp, answer: again(&b.rtp) });
        paths.push(Path { from: b.rtp, to: b.leg_rtp, answer: a.rtp });
    }
    let setup_us = setup_began.elapsed().as_micros() as f64 / options.legs as f64;
    // First packets latch; then the sockets are connected at the turn of a second.
    let warm = Load::start(paths, Some(10.0), options.load_cpu);
    std::thread::sleep(Duration::from_millis(2500));
    let (paths, _) = warm.end();
    let before = (house.plane.status().packets_out, worker_cpu_ns());
    let woken = wakes();
    let began = Instant::now();
    let load = Load::start(paths, options.kpps, options.load_cpu);
    let end = began + Duration::from_secs(options.seconds);
    while Instant::now() < end {
        while house.plane.poll_event().is_some() {}
        std::thread::sleep(Duration::from_millis(100));
    }
    let after = (house.plane.status().packets_out, worker_cpu_ns());
    let seconds = began.elapsed().as_secs_f64();
    let report = load.stop();
    let packets = (after.0 - before.0).max(1);
    json!({
        "legs": options.legs,
        "kpps": packets as f64 / seconds / 1000.0,
        "cpu_ns_per_packet": (after.1 - before.1) / packets,
        "packets_per_wake": packets as f64 / (wakes() - woken) as f64,
        "worker_cpu_percent": (after.1 - before.1) as f64 / seconds / 1e7,
        "setup_us_per_leg": setup_us,
        "rss_kb_start": memory_started - memory_before,
        "rss_kb_per_call": (resident_kb() - memory_started) as f64 * 2.0 / options.legs as f64,
        "load": report,
    })
}

/// CPU time of the media worker's thread.
fn worker_cpu_ns() -> u64 {
    worker("schedstat", |text| text.split(' ').next().map(str::to_owned))
}

/// How often it has slept.
fn wakes() -> u64 {
    let line = |line: &&str| line.starts_with("voluntary_ctxt_switches");
    worker("status", |text| text.lines().find(line)?.split_whitespace().last().map(str::to_owned))
}

/// A number from the kernel's files of the media worker's thread, which is known by its name.
fn worker(file: &str, number: impl Fn(&str) -> Option<String>) -> u64 {
    let mut total = 0;
    for task in std::fs::read_dir("/proc/self/task").expect("procfs").flatten() {
        let path = task.path();
        let is_worker = std::fs::read_to_string(path.join("comm")).is_ok_and(|name| name.starts_with("media-"));
        if is_worker && let Ok(text) = std::fs::read_to_string(path.join(file)) {
            total += number(&text).and_then(|number| number.parse::<u64>().ok()).unwrap_or(0);
        }
    }
    total
}

fn resident_kb() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("procfs");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("a VmRSS line");
    line.split_whitespace().nth(1).and_then(|kb| kb.parse().ok()).expect("kilobytes")
}

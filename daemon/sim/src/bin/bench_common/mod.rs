//! What the programs of `make bench` share: pinning, the CPU time of the system under test, percentiles.
#![allow(dead_code, reason = "each program uses a part")]

use std::{collections::BTreeMap, fs, path::Path, time::Instant};

use nix::{
    sched::{CpuSet, sched_setaffinity},
    sys::resource::{Resource, getrlimit, setrlimit},
    unistd::Pid,
};
use serde_json::{Value, json};

/// Keeps this process on one CPU, and lets it open as many sockets as the system allows.
pub fn settle(cpu: usize) {
    let mut set = CpuSet::new();
    let pinned = set.set(cpu).and_then(|()| sched_setaffinity(Pid::from_raw(0), &set));
    pinned.unwrap_or_else(|error| panic!("CPU {cpu} cannot be had: {error}"));
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("a limit of open files");
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).expect("the soft limit may be raised to the hard one");
}

/// CPU time that the threads of a process have used so far, in their own and the kernel's code, nanoseconds by name. The
/// kernel's workers of an io_uring are threads of the process, so they are counted.
pub fn cpu_ns(pid: u32) -> BTreeMap<String, u64> {
    let mut by_name = BTreeMap::new();
    let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else { return by_name };
    for task in tasks.flatten() {
        let Ok(name) = fs::read_to_string(task.path().join("comm")) else { continue };
        // Numbers at the end tell equals apart: `iou-wrk-1234`.
        let name = name.trim_end().trim_end_matches(|c: char| c.is_ascii_digit() || c == '-');
        *by_name.entry(name.to_owned()).or_default() += on_cpu_ns(&task.path());
    }
    by_name
}

fn on_cpu_ns(task: &Path) -> u64 {
    let schedstat = fs::read_to_string(task.join("schedstat")).ok();
    schedstat.and_then(|text| text.split(' ').next()?.parse().ok()).unwrap_or(0)
}

/// CPU time of the kernel threads that take over network work when a CPU has too much of it, nanoseconds. Such work is
/// nobody's in particular; it is reported beside, not added.
pub fn softirq_threads_ns() -> u64 {
    let Ok(all) = fs::read_dir("/proc") else { return 0 };
    all.flatten()
        .filter(|entry| entry.file_name().to_str().is_some_and(|name| name.parse::<u32>().is_ok_and(|pid| pid < 200)))
        .filter(|entry| fs::read_to_string(entry.path().join("comm")).is_ok_and(|comm| comm.starts_with("ksoftirqd")))
        .map(|entry| on_cpu_ns(&entry.path()))
        .sum()
}

/// Time that the CPUs of this machine were not idle, nanoseconds, whoever worked: processes, interrupts, the kernel for nobody in
/// particular. What the hypervisor took is not in it.
pub fn machine_ns() -> u64 {
    const TICK_NS: u64 = 10_000_000;
    let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
    let all = stat.lines().next().unwrap_or_default();
    let ticks: Vec<u64> = all.split_whitespace().skip(1).map_while(|word| word.parse().ok()).collect();
    // user nice system idle iowait irq softirq steal
    ticks.iter().enumerate().filter(|(at, _)| matches!(at, 0..=2 | 5 | 6)).map(|(_, ticks)| ticks * TICK_NS).sum()
}

/// Readings of the clocks at one moment.
pub struct Reading {
    at: Instant,
    system_ns: BTreeMap<String, u64>,
    own_ns: u64,
    softirq_ns: u64,
    machine_ns: u64,
}

impl Reading {
    /// Now, for the processes under test.
    pub fn take(pids: &[u32]) -> Self {
        let mut system_ns = BTreeMap::new();
        for (name, ns) in pids.iter().flat_map(|pid| cpu_ns(*pid)) {
            *system_ns.entry(name).or_default() += ns;
        }
        let own_ns = cpu_ns(std::process::id()).values().sum();
        Self { system_ns, own_ns, softirq_ns: softirq_threads_ns(), machine_ns: machine_ns(), at: Instant::now() }
    }

    /// What was used between two readings: CPU time of the system and of the load as parts of one core.
    pub fn until(&self, later: &Self) -> Used {
        let seconds = later.at.duration_since(self.at).as_secs_f64();
        let part = |ns: u64| ns as f64 / 1e9 / seconds;
        let since = |name: &str, ns: u64| ns.saturating_sub(self.system_ns.get(name).copied().unwrap_or(0));
        let threads: BTreeMap<_, _> = later
            .system_ns
            .iter()
            .map(|(name, ns)| (name.clone(), since(name, *ns)))
            .filter(|(_, ns)| *ns > 0)
            .collect();
        let system_ns = threads.values().sum();
        Used {
            seconds,
            system_ns,
            system_core: part(system_ns),
            load_core: part(later.own_ns.saturating_sub(self.own_ns)),
            softirq_core: part(later.softirq_ns.saturating_sub(self.softirq_ns)),
            machine_ns: later.machine_ns.saturating_sub(self.machine_ns),
            threads,
        }
    }
}

/// See [`Reading::until`].
pub struct Used {
    pub seconds: f64,
    pub system_ns: u64,
    pub system_core: f64,
    pub load_core: f64,
    pub softirq_core: f64,
    pub machine_ns: u64,
    pub threads: BTreeMap<String, u64>,
}

impl Used {
    /// As the results file has it.
    pub fn json(&self) -> Value {
        json!({
            "seconds": self.seconds,
            "system_core": self.system_core,
            "load_core": self.load_core,
            "softirq_core": self.softirq_core,
            "machine_ns": self.machine_ns,
            "system_ns_by_thread": self.threads,
        })
    }
}

/// Percentiles of times in nanoseconds, told in microseconds.
pub fn percentiles(times_ns: &mut [u32]) -> Value {
    times_ns.sort_unstable();
    let at = |part: f64| {
        let place = (times_ns.len() as f64 * part) as usize;
        times_ns.get(place.min(times_ns.len().saturating_sub(1))).map(|ns| f64::from(*ns) / 1000.0)
    };
    json!({ "samples": times_ns.len(), "p50_us": at(0.5), "p99_us": at(0.99), "p999_us": at(0.999), "max_us": at(1.0) })
}

/// The processes of the system under test, as `pid` names them: one, or a list.
pub fn pids(asked: &Value) -> Vec<u32> {
    let of = |pid: &Value| pid.as_u64().expect("a process") as u32;
    asked["pid"].as_array().map_or_else(|| vec![of(&asked["pid"])], |all| all.iter().map(of).collect())
}

/// The value after `--name` among the program's arguments.
pub fn option<T: std::str::FromStr>(name: &str) -> Option<T> {
    let mut words = std::env::args().skip_while(|word| word != name);
    words.next()?;
    let value = words.next().unwrap_or_else(|| panic!("{name} needs a value"));
    Some(value.parse().unwrap_or_else(|_| panic!("{name} {value}: not understood")))
}

/// The same, for an option that must be there.
pub fn needed<T: std::str::FromStr>(name: &str) -> T {
    option(name).unwrap_or_else(|| panic!("{name} is missing"))
}

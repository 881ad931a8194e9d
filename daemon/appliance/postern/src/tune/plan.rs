//! What a machine should be set to, from its cores, network interfaces and their queues: plain decisions over facts.
//!
//! The half of the cores carries media, each with one worker and nobody else. The other half takes the network's interrupts, in which the
//! kernel does about as much for a packet as a worker, and all the rest: SIP, drivers, the system. Of two threads of one core the second
//! stays idle beside a worker, for it would take the worker's time.

use serde::Serialize;

/// Fewer cores than this are shared by all: with one set apart too little is left for the rest.
const CORES_MIN: usize = 4;

/// From here on the system and SIP have two cores without interrupts instead of one.
const CORES_MANY: usize = 8;

/// How long a CPU may be held up, in ms, while packets wait for it in the kernel's queue.
const BACKLOG_MS: u64 = 20;

/// Octets of a G.711 packet of 20 ms on the wire: 160, RTP, UDP, IP, Ethernet with preamble and gap.
const PACKET_OCTETS: u64 = 238;

/// Bounds of that queue: the kernel's own default, and what 100 Gbit/s on one queue would want.
const BACKLOG: (u64, u64) = (1000, 300_000);

/// SO_RCVBUF that signaling asks for; the kernel caps it at `net.core.rmem_max` without an error.
pub(crate) const RECEIVE_BUFFER: u64 = 8 << 20;

/// SO_SNDBUF likewise.
pub(crate) const SEND_BUFFER: u64 = 4 << 20;

/// The machine.
#[derive(Debug, Clone, Default)]
pub(crate) struct Facts {
    /// CPUs in use, by core: with hyper-threading two each.
    pub cores: Vec<Vec<usize>>,
    pub interfaces: Vec<Interface>,
    pub receive_buffer_max: u64,
    pub send_buffer_max: u64,
    pub backlog: u64,
    /// Whether irqbalance runs: it moves interrupts back.
    pub balanced: bool,
}

/// A network interface with hardware of its own.
#[derive(Debug, Clone, Default)]
pub(crate) struct Interface {
    pub name: String,
    pub speed_mbit: Option<u64>,
    /// Receive queues: number, and the CPUs to which the kernel spreads its packets further (a mask as in sysfs).
    pub queues: Vec<(usize, String)>,
    /// Interrupts: number, and on which CPUs it may come.
    pub interrupts: Vec<(u32, String)>,
}

/// A value of the running kernel that should be another one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Write {
    pub path: String,
    pub now: String,
    pub value: String,
    pub why: String,
}

/// What it should be set to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Plan {
    pub cpus: usize,
    pub cores: usize,
    /// For `media.workers`; empty: as it is without that key, one on the last CPU.
    pub workers: Vec<usize>,
    /// CPUs that nobody else should use.
    pub set_apart: Vec<usize>,
    /// CPUs that take the network's interrupts.
    pub interrupts_on: Vec<usize>,
    /// For the kernel's command line: nothing else keeps others off a CPU from the beginning. Empty: nothing.
    pub kernel: String,
    /// What can be written at once.
    pub writes: Vec<Write>,
    /// Sentences that explain it.
    pub why: Vec<String>,
}

/// Decides.
pub(crate) fn plan(of: &Facts) -> Plan {
    let cpus: Vec<usize> = of.cores.iter().flatten().copied().collect();
    let count = of.cores.len();
    let mut why = Vec::new();
    let (workers, set_apart, interrupts_on): (Vec<usize>, Vec<usize>, Vec<usize>) = match count {
        0..CORES_MIN => {
            why.push(format!(
                "{count} cores are too few to set one apart: media has one worker on the last CPU, and shares it"
            ));
            // The worker's CPU is spared the interrupts when there is another.
            let last = cpus.iter().max().copied();
            let others = cpus.iter().copied().filter(|cpu| cpus.len() == 1 || Some(*cpu) != last).collect();
            (Vec::new(), Vec::new(), others)
        }
        _ => {
            let (rest, media) = of.cores.split_at(count - count / 2);
            let quiet = if count < CORES_MANY { 1 } else { 2 };
            why.push(format!(
                "{} of {count} cores carry media, a worker each; the others take interrupts, SIP and the system, of which {quiet} without interrupts",
                media.len()
            ));
            if media.iter().any(|core| core.len() > 1) {
                why.push("the second thread of a worker's core stays idle: it would take the worker's time".to_owned());
            }
            let workers: Vec<usize> = media.iter().filter_map(|core| core.first().copied()).collect();
            let apart = media.iter().flatten().copied().collect();
            let interrupts = rest[quiet..].iter().filter_map(|core| core.first().copied()).collect();
            (workers, apart, interrupts)
        }
    };
    let kernel = match listed(&set_apart) {
        apart if apart.is_empty() => String::new(),
        apart => self::set_apart(&apart),
    };
    let mut writes = Vec::new();
    for interface in &of.interfaces {
        interrupts(interface, &interrupts_on, &mut writes);
        spreading(interface, &interrupts_on, cpus.iter().max().copied().unwrap_or(0), &mut writes);
    }
    if of.interfaces.is_empty() {
        why.push("no network interface has interrupts of its own here".to_owned());
    }
    if of.balanced && !of.interfaces.is_empty() {
        why.push(
            "irqbalance runs and moves interrupts back: systemctl disable --now irqbalance, then once more".to_owned(),
        );
    }
    sockets(of, &mut writes);
    Plan { cpus: cpus.len(), cores: count, workers, set_apart, interrupts_on, kernel, writes, why }
}

/// What on the kernel's command line keeps others off these CPUs: neither programs, nor interrupts that the kernel places by itself, nor
/// its own clock and clean-up.
pub(crate) fn set_apart(cpus: &str) -> String {
    format!("isolcpus=domain,managed_irq,{cpus} nohz_full={cpus} rcu_nocbs={cpus}")
}

/// Each interrupt of an interface on one CPU, in turn.
fn interrupts(of: &Interface, on: &[usize], writes: &mut Vec<Write>) {
    for ((number, now), cpu) in of.interrupts.iter().zip(on.iter().cycle()) {
        if *now != cpu.to_string() {
            writes.push(Write {
                path: format!("/proc/irq/{number}/smp_affinity_list"),
                now: now.clone(),
                value: cpu.to_string(),
                why: format!("{}: its interrupts away from media, each on one CPU", of.name),
            });
        }
    }
}

/// With fewer queues than CPUs for them the kernel spreads packets further, by address and port.
fn spreading(of: &Interface, on: &[usize], last: usize, writes: &mut Vec<Write>) {
    if of.queues.is_empty() || of.queues.len() >= on.len() {
        return;
    }
    for (queue, now) in &of.queues {
        if listing(now) != on {
            writes.push(Write {
                path: format!("/sys/class/net/{}/queues/rx-{queue}/rps_cpus", of.name),
                now: now.clone(),
                value: mask(on, last),
                why: format!("{}: {} queues for {} CPUs", of.name, of.queues.len(), on.len()),
            });
        }
    }
}

fn sockets(of: &Facts, writes: &mut Vec<Write>) {
    let fastest = of.interfaces.iter().filter_map(|interface| {
        let packets = interface.speed_mbit? * 1_000_000 / 8 / PACKET_OCTETS;
        Some(packets * BACKLOG_MS / 1000 / interface.queues.len().max(1) as u64)
    });
    let backlog = fastest.max().unwrap_or(0).next_multiple_of(1000).clamp(BACKLOG.0, BACKLOG.1);
    let rows = [
        ("rmem_max", of.receive_buffer_max, RECEIVE_BUFFER, "the buffer that SIP's sockets ask for".to_owned()),
        ("wmem_max", of.send_buffer_max, SEND_BUFFER, "the buffer that SIP's sockets ask for".to_owned()),
        (
            "netdev_max_backlog",
            of.backlog,
            backlog,
            format!("packets of {BACKLOG_MS} ms from the fastest queue, while its CPU is held up"),
        ),
    ];
    for (name, now, wanted, why) in rows {
        // More than is needed is somebody's choice.
        if now < wanted {
            let (path, now, value) = (format!("/proc/sys/net/core/{name}"), now.to_string(), wanted.to_string());
            writes.push(Write { path, now, value, why });
        }
    }
}

/// `2-3,6`.
pub(crate) fn listed(cpus: &[usize]) -> String {
    let mut sorted = cpus.to_vec();
    sorted.sort_unstable();
    let mut ranges: Vec<(usize, usize)> = Vec::new();
    for cpu in sorted {
        match ranges.last_mut() {
            Some((_, last)) if *last + 1 == cpu => *last = cpu,
            _ => ranges.push((cpu, cpu)),
        }
    }
    let shown = |(first, last): (usize, usize)| {
        if first == last { first.to_string() } else { format!("{first}-{last}") }
    };
    ranges.into_iter().map(shown).collect::<Vec<_>>().join(",")
}

/// The CPUs of `2-3,6`; what cannot be read is left out.
pub(crate) fn unlisted(text: &str) -> Vec<usize> {
    let part = |part: &str| {
        let (first, last) = part.trim().split_once('-').unwrap_or((part.trim(), part.trim()));
        let (first, last): (usize, usize) = (first.parse().ok()?, last.parse().ok()?);
        // No machine has more; a line of nonsense must not fill the memory.
        (last < 1 << 16).then_some(first..=last)
    };
    text.split(',').filter_map(part).flatten().collect()
}

/// `00000001,0000000c`: words of 32 bits, the highest first.
fn mask(cpus: &[usize], last: usize) -> String {
    let words = (0..=last / 32).rev().map(|word| {
        let bits = cpus.iter().filter(|cpu| **cpu / 32 == word).fold(0u32, |bits, cpu| bits | 1 << (cpu % 32));
        format!("{bits:08x}")
    });
    words.collect::<Vec<_>>().join(",")
}

/// The CPUs of such a mask.
fn listing(mask: &str) -> Vec<usize> {
    let mut cpus = Vec::new();
    for (word, text) in mask.trim().rsplit(',').enumerate() {
        let bits = u32::from_str_radix(text, 16).unwrap_or(0);
        cpus.extend((0..32).filter(|bit| bits & 1 << bit != 0).map(|bit| word * 32 + bit));
    }
    cpus
}

#[cfg(test)]
mod tests {
    use super::*;

    fn single(cores: usize) -> Vec<Vec<usize>> {
        (0..cores).map(|cpu| vec![cpu]).collect()
    }

    /// As Linux numbers them: the second threads behind all first ones.
    fn double(cores: usize) -> Vec<Vec<usize>> {
        (0..cores).map(|cpu| vec![cpu, cores + cpu]).collect()
    }

    fn tuned(cores: Vec<Vec<usize>>, interfaces: Vec<Interface>) -> Facts {
        let (receive_buffer_max, send_buffer_max, backlog) = (1 << 30, 1 << 30, 1 << 30);
        Facts { cores, interfaces, receive_buffer_max, send_buffer_max, backlog, balanced: false }
    }

    fn interface(name: &str, queues: usize, speed_mbit: u64) -> Interface {
        Interface {
            name: name.into(),
            speed_mbit: Some(speed_mbit),
            queues: (0..queues).map(|queue| (queue, "0".into())).collect(),
            interrupts: (0..queues as u32).map(|queue| (40 + queue, "0-3".into())).collect(),
        }
    }

    #[test]
    fn cores_are_parted_by_how_many_there_are() {
        // Cores; media workers; set apart; CPUs with interrupts.
        let rows = [
            (single(0), "", "", ""),
            (single(1), "", "", "0"),
            (single(2), "", "", "0"),
            (single(3), "", "", "0-1"),
            (double(2), "", "", "0-2"),
            (single(4), "2-3", "2-3", "1"),
            (single(5), "3-4", "3-4", "1-2"),
            (double(4), "2-3", "2-3,6-7", "1"),
            (single(8), "4-7", "4-7", "2-3"),
            (single(16), "8-15", "8-15", "2-7"),
            (double(64), "32-63", "32-63,96-127", "2-31"),
        ];
        for (cores, workers, apart, interrupts) in rows {
            let plan = plan(&tuned(cores.clone(), vec![]));
            let told = (listed(&plan.workers), listed(&plan.set_apart), listed(&plan.interrupts_on));
            assert_eq!(told, (workers.into(), apart.into(), interrupts.into()), "{cores:?}");
            assert!(plan.interrupts_on.iter().all(|cpu| !plan.set_apart.contains(cpu)));
            assert_eq!(plan.kernel.is_empty(), apart.is_empty());
            assert!(!plan.why.is_empty());
        }
        let kernel = plan(&tuned(double(4), vec![])).kernel;
        assert_eq!(kernel, "isolcpus=domain,managed_irq,2-3,6-7 nohz_full=2-3,6-7 rcu_nocbs=2-3,6-7");
    }

    #[test]
    fn interrupts_go_in_turn_to_the_cpus_for_them_and_few_queues_are_spread() {
        let written = |cores, interfaces: Vec<Interface>| {
            let writes = plan(&tuned(cores, interfaces)).writes;
            writes.into_iter().map(|write| format!("{}={}", write.path, write.value)).collect::<Vec<_>>()
        };
        let irq = |number: u32, cpu: usize| format!("/proc/irq/{number}/smp_affinity_list={cpu}");
        assert_eq!(written(single(8), vec![interface("eth0", 3, 1000)]), [irq(40, 2), irq(41, 3), irq(42, 2)]);
        assert_eq!(written(single(2), vec![interface("eth0", 2, 1000)]), [irq(40, 0), irq(41, 0)]);
        let few = written(single(8), vec![interface("eth0", 1, 1000)]);
        assert_eq!(few, [irq(40, 2), "/sys/class/net/eth0/queues/rx-0/rps_cpus=0000000c".into()]);
        // What is as it should be is left alone.
        let mut done = interface("eth0", 1, 1000);
        (done.interrupts[0].1, done.queues[0].1) = ("2".into(), "0000000c".into());
        assert!(written(single(8), vec![done]).is_empty());
        // A machine without any CPU that it tells, or an interface without interrupts, is no reason to fall over.
        assert!(written(single(0), vec![interface("eth0", 2, 1000), Interface::default()]).is_empty());
    }

    #[test]
    fn limits_grow_with_the_fastest_queue_and_are_never_lowered() {
        let rows = [
            (vec![], 1000),
            (vec![interface("a", 1, 100)], 2000),
            (vec![interface("a", 1, 1000)], 11_000),
            (vec![interface("a", 4, 1000), interface("b", 8, 10_000)], 14_000),
            (vec![interface("a", 1, 400_000)], 300_000),
            (vec![interface("a", 0, 1000)], 11_000),
        ];
        for (interfaces, backlog) in rows {
            let mut facts = tuned(single(1), interfaces);
            (facts.receive_buffer_max, facts.send_buffer_max, facts.backlog) = (212_992, 4 << 20, 0);
            facts.interfaces.iter_mut().for_each(|interface| interface.interrupts.clear());
            let writes = plan(&facts).writes;
            let values: Vec<_> = writes.iter().map(|write| write.value.as_str()).collect();
            assert_eq!(values, ["8388608", &backlog.to_string()], "{writes:?}");
            facts.backlog = u64::MAX;
            assert_eq!(plan(&facts).writes.len(), 1);
        }
    }

    #[test]
    fn lists_and_masks_are_the_kernels() {
        for (cpus, list, masked) in [
            (&[][..], "", "00000000"),
            (&[0], "0", "00000001"),
            (&[1, 2, 3, 6], "1-3,6", "0000004e"),
            (&[0, 33], "0,33", "00000002,00000001"),
        ] {
            assert_eq!(listed(cpus), list);
            assert_eq!(unlisted(list), cpus);
            assert_eq!(mask(cpus, cpus.last().copied().unwrap_or(0)), masked);
            assert_eq!(listing(masked), cpus);
        }
        assert_eq!(unlisted("x,3-1,0-99999999999,7"), [7]);
        assert_eq!(listing("zz,f"), [0, 1, 2, 3]);
    }
}

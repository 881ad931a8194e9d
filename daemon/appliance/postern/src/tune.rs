//! `postern tune`: what this machine's CPUs, interrupts and socket limits should be set to for media, why, and, with `--apply`, sets what can
//! be set while it runs.
//!
//! [`plan`] decides from facts; here they are read below /sys and /proc, and the plan is told and written. What is written holds until the
//! next start. Workers belong into the configuration and isolation onto the kernel's command line: both are told, not written.

pub(crate) mod plan;

use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

use plan::{Facts, Interface, Plan, listed, unlisted};
use serde::Serialize;
use serde_json::json;

use crate::{Failure, print};

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Write what can be written while the machine runs. Needs root; holds until the next start.
    #[arg(long)]
    apply: bool,
}

/// What became of a value.
#[derive(Debug, Serialize)]
struct Applied {
    path: String,
    value: String,
    /// Why it could not be written; empty: it was.
    error: String,
}

pub(crate) fn run(arguments: &Arguments, as_json: bool) -> Result<(), Failure> {
    let facts = facts(Path::new("/"));
    let plan = plan::plan(&facts);
    if arguments.apply && !nix::unistd::geteuid().is_root() {
        return Err(Failure::Problem("only root may set a machine: sudo postern tune --apply".into()));
    }
    let applied = arguments.apply.then(|| apply(Path::new("/"), &plan));
    let isolated = unlisted(&text(Path::new("/"), "sys/devices/system/cpu/isolated"));
    print(as_json, &json!({ "plan": plan, "applied": applied, "isolated": isolated }), |_| {
        drawn(&plan, applied.as_deref(), &isolated)
    })?;
    match applied.iter().flatten().any(|one| !one.error.is_empty()) {
        true => Err(Failure::Problem(String::new())),
        false => Ok(()),
    }
}

fn apply(root: &Path, plan: &Plan) -> Vec<Applied> {
    let written = |write: &plan::Write| {
        let place = root.join(write.path.trim_start_matches('/'));
        let error = fs::write(place, &write.value).err().map(|error| error.to_string()).unwrap_or_default();
        Applied { path: write.path.clone(), value: write.value.clone(), error }
    };
    plan.writes.iter().map(written).collect()
}

fn drawn(plan: &Plan, applied: Option<&[Applied]>, isolated: &[usize]) -> String {
    let mut out = String::new();
    // Writing into a String cannot fail.
    _ = writeln!(out, "{} CPUs in {} cores", plan.cpus, plan.cores);
    for sentence in &plan.why {
        _ = writeln!(out, "  {sentence}");
    }
    if !plan.workers.is_empty() {
        let workers = plan.workers.iter().map(usize::to_string).collect::<Vec<_>>().join(", ");
        _ = writeln!(out, "\nin postern.yaml          media: {{ workers: [{workers}] }}");
        let kept = plan.set_apart.iter().all(|cpu| isolated.contains(cpu));
        let so = if kept { " (it is so)" } else { "" };
        _ = writeln!(out, "kernel's command line    {}{so}", plan.kernel);
    }
    _ = writeln!(out, "\ninterrupts of the network on CPUs {}", listed(&plan.interrupts_on));
    if plan.writes.is_empty() {
        out.push_str("nothing to write: interrupts and socket limits are as they should be\n");
    }
    for (index, write) in plan.writes.iter().enumerate() {
        let state = match applied.and_then(|all| all.get(index)) {
            None => format!("now {}", write.now),
            Some(one) if one.error.is_empty() => format!("written, was {}", write.now),
            Some(one) => format!("REFUSED: {}", one.error),
        };
        _ = writeln!(out, "  {} = {}   ({state})\n      {}", write.path, write.value, write.why);
    }
    if applied.is_none() && !plan.writes.is_empty() {
        out.push_str("postern tune --apply writes these; they hold until the next start\n");
    }
    out
}

/// Looks at the machine below `root`.
pub(crate) fn facts(root: &Path) -> Facts {
    let number = |path: &str| text(root, path).parse().unwrap_or(0);
    Facts {
        cores: cores(root),
        interfaces: interfaces(root),
        receive_buffer_max: number("proc/sys/net/core/rmem_max"),
        send_buffer_max: number("proc/sys/net/core/wmem_max"),
        backlog: number("proc/sys/net/core/netdev_max_backlog"),
        balanced: entries(root, "proc")
            .iter()
            .any(|(_, path)| fs::read_to_string(path.join("comm")).is_ok_and(|name| name.trim_end() == "irqbalance")),
    }
}

fn cores(root: &Path) -> Vec<Vec<usize>> {
    let mut cores: Vec<Vec<usize>> = Vec::new();
    for cpu in unlisted(&text(root, "sys/devices/system/cpu/online")) {
        if cores.iter().any(|core| core.contains(&cpu)) {
            continue;
        }
        let siblings = unlisted(&text(root, &format!("sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list")));
        cores.push(if siblings.contains(&cpu) { siblings } else { vec![cpu] });
    }
    cores
}

fn interfaces(root: &Path) -> Vec<Interface> {
    let mut found = Vec::new();
    for (name, path) in entries(root, "sys/class/net") {
        // A virtio interface is a device of its own below the one that has the interrupts.
        let devices = ["device", "device/.."].map(|folder| path.join(folder));
        let vectors = devices.iter().map(|device| names(&device.join("msi_irqs"))).find(|names| !names.is_empty());
        // One without vectors has a line, whose number is 0 when there is none.
        let line = || devices.iter().map(|device| text(device, "irq")).find(|number| !number.is_empty());
        let all = vectors.unwrap_or_else(|| line().into_iter().collect());
        let mut numbers: Vec<u32> = all.iter().filter_map(|name| name.parse().ok()).filter(|one| *one > 0).collect();
        if numbers.is_empty() {
            continue;
        }
        numbers.sort_unstable();
        let affinity = |number: &u32| text(root, &format!("proc/irq/{number}/smp_affinity_list"));
        // A vector that nobody asked for has no folder, and nothing to be set.
        let interrupts =
            numbers.iter().map(|number| (*number, affinity(number))).filter(|(_, now)| !now.is_empty()).collect();
        let queue = |name: &String| {
            let number: usize = name.strip_prefix("rx-")?.parse().ok()?;
            Some((number, text(&path, &format!("queues/{name}/rps_cpus"))))
        };
        let mut queues: Vec<_> = names(&path.join("queues")).iter().filter_map(queue).collect();
        queues.sort_unstable();
        // Negative: not known.
        let speed_mbit = text(&path, "speed").parse().ok();
        found.push(Interface { name, speed_mbit, queues, interrupts });
    }
    found
}

fn names(folder: &Path) -> Vec<String> {
    let all = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<_> = all.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort();
    names
}

fn entries(root: &Path, folder: &str) -> Vec<(String, PathBuf)> {
    let folder = root.join(folder);
    names(&folder).into_iter().map(|name| (name.clone(), folder.join(name))).collect()
}

fn text(root: &Path, path: &str) -> String {
    fs::read_to_string(root.join(path)).map(|text| text.trim_end().to_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A machine of files: 4 cores with 2 threads each, a card with 2 queues and 3 vectors of which one is asked for by nobody.
    fn machine(name: &str) -> PathBuf {
        let root = std::env::temp_dir().join(format!("postern-tune-{name}-{}", std::process::id()));
        _ = fs::remove_dir_all(&root);
        let put = |path: &str, text: &str| {
            let place = root.join(path);
            fs::create_dir_all(place.parent().unwrap()).unwrap();
            fs::write(place, text).unwrap();
        };
        put("sys/devices/system/cpu/online", "0-7\n");
        for cpu in 0..8 {
            let siblings = format!("{},{}\n", cpu % 4, cpu % 4 + 4);
            put(&format!("sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list"), &siblings);
        }
        for number in [40, 41, 42] {
            put(&format!("sys/class/net/eth0/device/msi_irqs/{number}"), "msix\n");
        }
        put("proc/irq/40/smp_affinity_list", "0-7\n");
        put("proc/irq/41/smp_affinity_list", "1\n");
        put("sys/class/net/eth0/queues/rx-0/rps_cpus", "00\n");
        put("sys/class/net/eth0/queues/rx-1/rps_cpus", "00\n");
        put("sys/class/net/eth0/queues/tx-0/xps_cpus", "00\n");
        put("sys/class/net/eth0/speed", "1000\n");
        put("sys/class/net/lo/speed", "\n");
        // One interface with a line, as below a virtual device, and one without any.
        put("sys/class/net/eth1/device/driver", "");
        put("sys/class/net/eth1/irq", "22\n");
        put("proc/irq/22/smp_affinity_list", "1\n");
        put("sys/class/net/eth2/device/irq", "0\n");
        put("proc/sys/net/core/rmem_max", "212992\n");
        put("proc/sys/net/core/wmem_max", "16777216\n");
        put("proc/sys/net/core/netdev_max_backlog", "10000\n");
        put("proc/77/comm", "irqbalance\n");
        root
    }

    #[test]
    fn what_is_read_of_a_machine_is_planned_told_and_written() {
        let root = machine("whole");
        let found = facts(&root);
        assert_eq!(found.cores, [[0, 4], [1, 5], [2, 6], [3, 7]]);
        let lines: Vec<_> = found.interfaces.iter().map(|of| (of.name.as_str(), of.interrupts.len())).collect();
        assert_eq!(lines, [("eth0", 2), ("eth1", 1)]);
        let wanted = plan::plan(&found);
        let paths: Vec<_> = wanted.writes.iter().map(|write| (write.path.as_str(), write.value.as_str())).collect();
        assert_eq!(paths, [("/proc/irq/40/smp_affinity_list", "1"), ("/proc/sys/net/core/rmem_max", "8388608")]);
        let said = drawn(&wanted, None, &[]);
        for words in [
            "8 CPUs in 4 cores",
            "media: { workers: [2, 3] }",
            "isolcpus=domain,managed_irq,2-3,6-7",
            "systemctl disable --now irqbalance",
            "postern tune --apply writes these",
            "(now 0-7)",
        ] {
            assert!(said.contains(words), "{words}: {said}");
        }
        let applied = apply(&root, &wanted);
        assert!(drawn(&wanted, Some(&applied), &[2, 3, 6, 7]).contains("written, was 0-7"));
        assert!(drawn(&wanted, Some(&applied), &[2, 3, 6, 7]).contains("(it is so)"));
        // Once written there is nothing left to write.
        let after = plan::plan(&facts(&root));
        assert!(after.writes.is_empty() && drawn(&after, None, &[]).contains("nothing to write"), "{after:?}");
        fs::remove_dir_all(&root).unwrap();
    }

    #[test]
    fn what_the_kernel_refuses_is_told() {
        let root = machine("refused");
        let wanted = plan::plan(&facts(&root));
        fs::remove_dir_all(root.join("proc/irq")).unwrap();
        let applied = apply(&root, &wanted);
        assert!(!applied[0].error.is_empty() && applied[1].error.is_empty(), "{applied:?}");
        assert!(drawn(&wanted, Some(&applied), &[]).contains("REFUSED: "));
        fs::remove_dir_all(&root).unwrap();
        let nothing = facts(&root);
        assert!(nothing.cores.is_empty() && nothing.interfaces.is_empty());
    }
}

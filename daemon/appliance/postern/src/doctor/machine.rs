//! What the machine's state means: one function a check, over text.

use super::{Finding, collect::Interface, collect::Machine};
use crate::tune::plan::{Plan, RECEIVE_BUFFER, SEND_BUFFER, listed};

/// All checks of the machine.
pub(super) fn all(seen: &Machine) -> Vec<Finding> {
    let mut findings = vec![
        kernel(&seen.kernel),
        io_uring(&seen.io_uring_disabled),
        clock_source(&seen.clock_source, &seen.clock_sources),
        time_sync(&seen.time_sync),
        buffer("receive buffers", "net.core.rmem_max", &seen.receive_buffer_max, RECEIVE_BUFFER),
        buffer("send buffers", "net.core.wmem_max", &seen.send_buffer_max, SEND_BUFFER),
        governor(&seen.governors),
        tuning(&seen.tuning),
        tracking(&seen.connections_tracked, &seen.connections_tracked_max),
        journal_limits(&seen.journald),
        journal_storage(&seen.journald, seen.journal_is_persistent),
    ];
    if seen.interfaces.is_empty() {
        findings.push(Finding::not_applicable("network", "no interface but the loopback"));
    }
    for interface in &seen.interfaces {
        findings.push(link(interface));
        if interface.state == "down" {
            continue;
        }
        findings.push(losses(interface));
        findings.push(offloads(interface));
        findings.push(rings(interface));
        findings.push(interrupts(&interface.name, &seen.interrupts));
    }
    findings
}

/// `6.1.0-18-amd64` as (6, 1).
fn version(release: &str) -> Option<(u32, u32)> {
    let mut parts = release.split(['.', '-']);
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

pub(super) fn kernel(release: &str) -> Finding {
    let check = "kernel";
    match version(release) {
        None => Finding::not_applicable(check, "its release is not told"),
        Some(version) if version < (6, 0) => Finding::bad(
            check,
            release,
            "io_uring of this kernel lacks what media needs: the daemon does not start",
            "use Linux 6.0 or newer (Debian 12 has 6.1)",
        ),
        Some(version) if version < (6, 1) => Finding::warn(
            check,
            release,
            "completion work cannot be deferred: media costs twice the CPU",
            "use Linux 6.1 or newer",
        ),
        Some(version) if version < (6, 12) => Finding::warn(
            check,
            release,
            "completions cannot be gathered: media costs up to 30 % more CPU under load",
            "use Linux 6.12 or newer (Debian 13)",
        ),
        Some(_) => Finding::ok(check, release),
    }
}

pub(super) fn io_uring(disabled: &str) -> Finding {
    let check = "io_uring";
    let mend = "sysctl -w kernel.io_uring_disabled=0, and the same line in /etc/sysctl.d/";
    match disabled.trim() {
        "" => Finding::ok(check, "allowed (this kernel has no switch for it)"),
        "0" => Finding::ok(check, "allowed"),
        "1" => Finding::bad(
            check,
            "for privileged processes only",
            "the daemon runs as a user of its own and cannot start",
            mend,
        ),
        other => Finding::bad(check, format!("kernel.io_uring_disabled={other}"), "the daemon cannot start", mend),
    }
}

pub(super) fn clock_source(current: &str, available: &str) -> Finding {
    let check = "clock source";
    const QUICK: [&str; 5] = ["tsc", "kvm-clock", "arch_sys_counter", "hyperv_clocksource_tsc_page", "xen"];
    if current.is_empty() {
        return Finding::not_applicable(check, "not told");
    }
    if QUICK.contains(&current) {
        return Finding::ok(check, current);
    }
    let better = available.split_ascii_whitespace().find(|name| QUICK.contains(name));
    let means = "each look at the clock is a system call of a microsecond: the media loop and timers pay for it";
    match better {
        Some(better) => Finding::warn(
            check,
            current,
            means,
            format!("echo {better} > /sys/devices/system/clocksource/clocksource0/current_clocksource"),
        ),
        None => Finding::warn(
            check,
            current,
            means,
            "`dmesg | grep -i tsc` says why there is no tsc; on a virtual machine ask its host for one",
        ),
    }
}

pub(super) fn time_sync(shown: &str) -> Finding {
    let check = "time";
    let value = |name: &str| shown.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
    let means = "records, certificates and the order of events between boxes depend on the right time";
    match (value("NTPSynchronized"), value("NTP")) {
        (Some("yes"), _) => Finding::ok(check, "synchronized"),
        (Some(_), Some("yes")) => Finding::warn(
            check,
            "not synchronized yet",
            means,
            "timedatectl timesync-status (or `chronyc tracking`) says why; are UDP port 123 and DNS open?",
        ),
        (Some(_), _) => {
            Finding::warn(check, "nobody synchronizes it", means, "apt-get install chrony, or timedatectl set-ntp true")
        }
        (None, _) => Finding::not_applicable(check, "timedatectl does not answer"),
    }
}

pub(super) fn buffer(check: &str, name: &str, text: &str, wanted: u64) -> Finding {
    match text.trim().parse::<u64>() {
        Err(_) => Finding::not_applicable(check, format!("{name} is not told")),
        Ok(bytes) if bytes >= wanted => Finding::ok(check, format!("{name} {bytes}")),
        Ok(bytes) => Finding::warn(
            check,
            format!("{name} {bytes}"),
            format!(
                "signaling asks for {wanted} bytes and gets less: a burst of SIP is lost and repeated half a second later"
            ),
            format!("sysctl -w {name}={wanted}, and the same line in /etc/sysctl.d/"),
        ),
    }
}

pub(super) fn governor(governors: &[String]) -> Finding {
    let check = "CPU governor";
    let Some(first) = governors.first() else {
        return Finding::not_applicable(check, "the CPUs' clock is not ours to set (a virtual machine)");
    };
    match governors.iter().find(|governor| *governor != "performance") {
        None => Finding::ok(check, first),
        Some(other) => Finding::warn(
            check,
            other,
            "a core that slows down at each pause wakes up late for each packet",
            "cpupower frequency-set -g performance",
        ),
    }
}

/// Interrupts and queues; the socket limits have checks of their own.
pub(super) fn tuning(plan: &Plan) -> Finding {
    let check = "CPU plan";
    let found = format!("{} CPUs in {} cores", plan.cpus, plan.cores);
    if plan.workers.is_empty() {
        return Finding::not_applicable(check, format!("{found}: too few to set some apart"));
    }
    let differ: Vec<_> = plan.writes.iter().filter(|write| !write.path.starts_with("/proc/sys/")).collect();
    match differ.first() {
        None => Finding::ok(check, format!("{found}, interrupts on CPUs {}", listed(&plan.interrupts_on))),
        Some(first) => Finding::warn(
            check,
            format!("{} settings differ, such as {} = {}", differ.len(), first.path, first.now),
            "interrupts of the network come on CPUs that carry media, and hold up its packets",
            "postern tune says what and why, postern tune --apply writes it",
        ),
    }
}

pub(super) fn tracking(count: &str, max: &str) -> Finding {
    let check = "connection tracking";
    let (Ok(count), Ok(max)) = (count.trim().parse::<u64>(), max.trim().parse::<u64>()) else {
        return Finding::not_applicable(check, "the firewall tracks no connections");
    };
    let found = format!("{count} of {max}");
    let means = "each audio stream is a tracked connection; when the table is full, packets of new calls are dropped without a word";
    let mend = "take media ports out of tracking (nft: `udp dport 20000-29999 notrack`), or raise net.netfilter.nf_conntrack_max";
    match () {
        () if count >= max => Finding::bad(check, found, means, mend),
        () if count * 10 >= max * 7 => Finding::warn(check, found, means, mend),
        () => Finding::ok(check, found),
    }
}

/// The last line with a key counts.
fn setting<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    let lines = text.lines().map(str::trim).filter(|line| !line.starts_with(['#', ';']));
    lines.filter_map(|line| line.strip_prefix(key)?.trim_start().strip_prefix('=')).next_back().map(str::trim)
}

pub(super) fn journal_limits(conf: &str) -> Finding {
    let check = "journal limits";
    let found = |key: &str, default: &str| format!("{key}={}", setting(conf, key).unwrap_or(default));
    let told =
        format!("{}, {}", found("RateLimitBurst", "10000 (default)"), found("RateLimitIntervalSec", "30s (default)"));
    if setting(conf, "RateLimitBurst") == Some("0") || setting(conf, "RateLimitIntervalSec") == Some("0") {
        let means = "any program of this machine can flood the journal, and push out yesterday's evidence";
        return Finding::warn(
            check,
            told,
            means,
            "take RateLimitBurst=0 and RateLimitIntervalSec=0 out of journald.conf",
        );
    }
    Finding::ok(check, told)
}

pub(super) fn journal_storage(conf: &str, has_folder: bool) -> Finding {
    let check = "journal storage";
    let mend = "mkdir -p /var/log/journal, Storage=persistent in /etc/systemd/journald.conf, systemctl restart systemd-journald";
    let means = "what happened before a restart of the machine is gone with it";
    match setting(conf, "Storage").unwrap_or("auto") {
        "none" => Finding::bad(check, "Storage=none", "nothing of what happens is kept", mend),
        "volatile" => Finding::warn(check, "Storage=volatile", means, mend),
        "persistent" => Finding::ok(check, "persistent"),
        _ if has_folder => Finding::ok(check, "persistent (/var/log/journal is there)"),
        _ => Finding::warn(check, "in memory: there is no /var/log/journal", means, mend),
    }
}

pub(super) fn link(of: &Interface) -> Finding {
    let check = format!("{} link", of.name);
    let speed = of.speed.parse::<i64>().ok().filter(|speed| *speed > 0);
    match of.state.as_str() {
        "up" | "unknown" => match (of.duplex.as_str(), speed) {
            ("half", _) => Finding::bad(
                check,
                "half duplex",
                "packets of both ways collide: audio breaks as soon as there is load",
                format!("set both ends to negotiate: ethtool -s {} autoneg on, and the switch port likewise", of.name),
            ),
            (_, Some(speed)) if speed < 1000 => Finding::warn(
                check,
                format!("{speed} Mbit/s"),
                format!("room for about {} calls of G.711", speed * 1_000_000 / 2 / 87_200),
                "look at cable and switch port: a worn cable makes a gigabit link fall back to 100",
            ),
            (_, Some(speed)) => Finding::ok(check, format!("up, {speed} Mbit/s")),
            (_, None) => Finding::ok(check, "up"),
        },
        state => Finding::not_applicable(check, if state.is_empty() { "state not told" } else { state }),
    }
}

pub(super) fn losses(of: &Interface) -> Finding {
    let check = format!("{} losses", of.name);
    let number = |text: &str| text.trim().parse::<u64>().unwrap_or(0);
    let (received, lost) = (number(&of.received), number(&of.missed) + number(&of.errors));
    let found = format!(
        "{lost} of {received} packets missed or damaged since the interface came up, {} dropped later",
        number(&of.dropped)
    );
    let mend = format!(
        "`ethtool -S {}` says which: missed: enlarge its ring (`ethtool -G {} rx MAX`); crc: the cable",
        of.name, of.name
    );
    // One in 10,000 is what an ear begins to notice.
    match () {
        () if received == 0 => Finding::not_applicable(check, "nothing was received yet"),
        () if lost * 1000 >= received => {
            Finding::bad(check, found, "more than one packet in a thousand is lost before the kernel has it", mend)
        }
        () if lost * 10_000 >= received => {
            Finding::warn(check, found, "packets are lost before the kernel has them", mend)
        }
        () => Finding::ok(check, found),
    }
}

pub(super) fn offloads(of: &Interface) -> Finding {
    let check = format!("{} offloads", of.name);
    if !of.is_physical {
        return Finding::not_applicable(check, "no hardware of its own");
    }
    let is_on = |name: &str| {
        of.offloads
            .lines()
            .find_map(|line| line.trim().strip_prefix(name)?.strip_prefix(": "))
            .map(|value| value.starts_with("on"))
    };
    match (is_on("rx-checksumming"), is_on("tx-checksumming"), is_on("large-receive-offload")) {
        (None, None, _) => Finding::not_applicable(check, "not told (apt-get install ethtool)"),
        (_, _, Some(true)) => Finding::warn(
            check,
            "large-receive-offload is on",
            "packets are merged and delayed before the kernel has them",
            format!("ethtool -K {} lro off", of.name),
        ),
        (Some(false), ..) | (_, Some(false), _) => Finding::warn(
            check,
            "checksums are computed by the CPU",
            "some tens of nanoseconds of each packet",
            format!("ethtool -K {} rx on tx on", of.name),
        ),
        _ => Finding::ok(check, "checksums on, large receive off"),
    }
}

pub(super) fn rings(of: &Interface) -> Finding {
    let check = format!("{} ring", of.name);
    // `ethtool -g`: the maximum's RX line first, the current one second.
    let mut sizes = of.rings.lines().filter_map(|line| line.trim().strip_prefix("RX:")?.trim().parse::<u64>().ok());
    match (sizes.next(), sizes.next()) {
        (Some(max), Some(now)) if now * 4 < max && now < 1024 => Finding::warn(
            check,
            format!("{now} of {max} packets"),
            "a pause of the CPU of a millisecond loses packets",
            format!("ethtool -G {} rx {}", of.name, max.min(2048)),
        ),
        (Some(max), Some(now)) => Finding::ok(check, format!("{now} of {max} packets")),
        _ => Finding::not_applicable(check, "not told"),
    }
}

/// Whether an interface's queues interrupt more than one CPU, from /proc/interrupts.
pub(super) fn interrupts(name: &str, table: &str) -> Finding {
    let check = format!("{name} interrupts");
    let cpus = table.lines().next().map_or(0, |head| head.split_ascii_whitespace().count());
    let mut queues = 0;
    let mut of_cpu = vec![0u64; cpus];
    for line in table.lines().skip(1) {
        let words: Vec<_> = line.split_ascii_whitespace().collect();
        // `eth0`, `eth0-TxRx-3`, and never `eth01`.
        let is_its = |word: &&str| {
            word.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with(['-', '.', ':']))
        };
        if words.len() <= cpus || !words[cpus + 1..].iter().any(is_its) {
            continue;
        }
        queues += 1;
        for (cpu, word) in words[1..=cpus].iter().enumerate() {
            of_cpu[cpu] += word.parse::<u64>().unwrap_or(0);
        }
    }
    let total: u64 = of_cpu.iter().sum();
    if queues == 0 || total == 0 {
        return Finding::not_applicable(check, "none are counted under its name");
    }
    let busy = of_cpu.iter().filter(|count| **count * 20 > total).count();
    let found = format!("{queues} queues, {busy} of {cpus} CPUs");
    if queues > 1 && cpus > 1 && busy == 1 {
        return Finding::warn(
            check,
            found,
            "one CPU takes every packet of this interface and is full before the others have work",
            "postern tune --apply spreads them (postern tune says how, and why); or start irqbalance",
        );
    }
    Finding::ok(check, found)
}

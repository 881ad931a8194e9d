//! What the machine's state means for this configuration.

use std::{io::ErrorKind, net::SocketAddr, time::Duration};

use postern_config::{Config, Identity};
use postern_types::stream::{Codec, Libraries};

use super::{
    Finding,
    collect::{Machine, Ours},
};
use crate::tune::plan::{set_apart, unlisted};

/// Descriptors that are not a call's: connections, files, workers.
const SPARE_FILES: u64 = 12_000;

/// All checks of the configuration.
pub(super) fn all(config: &Config, seen: &Machine, ours: &Ours) -> Vec<Finding> {
    let ports: Vec<(u16, u16)> =
        config.realms.values().map(|realm| (realm.media.port_first, realm.media.port_last)).collect();
    let mut findings = vec![
        open_files(&seen.open_files.0, &seen.open_files.1, &ports),
        port_range(&seen.local_ports, &seen.reserved_ports, &ports),
        isolation(&seen.isolated, seen.cpus, &config.media.workers),
        g729(seen.libraries, is_named(config, &Codec::G729)),
        room(ours.room, config.appliance.spool_mb),
        sync(ours.sync.as_ref()),
    ];
    if seen.is_served {
        findings.push(Finding::ok("ports", "the running daemon has them"));
    }
    findings.extend(ours.ports.iter().map(|(key, address, error)| port(key, *address, *error)));
    findings.extend(ours.names.iter().map(|(name, found, took)| self::name(name, found.as_ref(), *took)));
    if ours.names.is_empty() {
        findings.push(Finding::not_applicable("DNS", "the configuration names no host"));
    }
    let certificates = certificates(config);
    if certificates.is_empty() {
        findings.push(Finding::not_applicable("certificates", "the configuration names none"));
    }
    findings.extend(certificates.iter().map(|(of, identity)| {
        certificate(of, &identity.certificate.display().to_string(), identity.expires.seconds(), ours.now_s)
    }));
    findings
}

fn is_named(config: &Config, codec: &Codec) -> bool {
    let of_realms = config.realms.values().flat_map(|realm| &realm.codecs);
    let of_trunks = config.trunks.values().flat_map(|trunk| &trunk.codecs);
    let of_users = config.users.values().flat_map(|user| &user.codecs);
    of_realms.chain(of_trunks).chain(of_users).any(|named| named == codec)
}

/// Whether a party that has G.729 alone can talk with one that has none of it.
pub(super) fn g729(libraries: Libraries, is_named: bool) -> Finding {
    let check = "G.729";
    match (libraries.g729, is_named) {
        (true, _) => Finding::ok(check, "converted by libbcg729"),
        (false, false) => Finding::not_applicable(check, "relayed and not converted: there is no libbcg729"),
        (false, true) => Finding::warn(
            check,
            "the configuration names it, and there is no libbcg729",
            "it is relayed between two who have it; a call between one who has nothing else and one without it fails (488)",
            "apt install libbcg729-0 (GPL-3), then restart posternd",
        ),
    }
}

fn certificates(config: &Config) -> Vec<(String, &Identity)> {
    let of_realms = config.realms.iter().flat_map(|(name, realm)| {
        let served = realm.listeners.iter().filter_map(|listener| listener.tls.as_ref());
        served.map(move |tls| (format!("realm {name}"), &tls.identity))
    });
    let of_trunks = config.trunks.iter().filter_map(|(name, trunk)| {
        let identity = trunk.tls.as_ref()?.identity.as_ref()?;
        Some((format!("trunk {name}"), identity))
    });
    of_realms.chain(of_trunks).collect()
}

/// From /proc/PID/limits or `systemctl show`. A call has a socket on each side, and RTCP has one beside it.
pub(super) fn open_files(limits: &str, whose: &str, ports: &[(u16, u16)]) -> Finding {
    let check = "descriptors";
    let of_process = limits.lines().find_map(|line| line.strip_prefix("Max open files"));
    let limit = match of_process {
        Some(rest) => rest.split_ascii_whitespace().next(),
        None => limits.lines().find_map(|line| line.strip_prefix("LimitNOFILE=")),
    };
    let limit = match limit.map(str::trim) {
        Some("unlimited" | "infinity") => u64::MAX,
        Some(number) => number.parse().unwrap_or(0),
        None => return Finding::not_applicable(check, "not told"),
    };
    let wanted: u64 = ports.iter().map(|(first, last)| u64::from(last - first) + 1).sum::<u64>() + SPARE_FILES;
    let found = if limit == u64::MAX { format!("{whose}: unlimited") } else { format!("{whose}: {limit}") };
    if limit >= wanted {
        return Finding::ok(check, found);
    }
    let calls = limit.saturating_sub(SPARE_FILES) / 4;
    let means = format!(
        "the configured media ports are {} sockets: the daemon runs out at about {calls} calls",
        wanted - SPARE_FILES
    );
    let mend =
        format!("LimitNOFILE={} in `systemctl edit posternd` (in a shell: ulimit -n)", wanted.next_power_of_two());
    Finding::warn(check, found, means, mend)
}

/// Whether the kernel may give away media ports to programs that ask for any.
pub(super) fn port_range(range: &str, reserved: &str, ports: &[(u16, u16)]) -> Finding {
    let check = "media ports";
    let bounds: Vec<u16> = range.split_ascii_whitespace().filter_map(|word| word.parse().ok()).collect();
    let &[low, high] = bounds.as_slice() else {
        return Finding::not_applicable(check, "the kernel's range is not told");
    };
    let kept: Vec<(u16, u16)> = reserved
        .split(',')
        .filter_map(|part| {
            let (first, last) = part.trim().split_once('-').unwrap_or((part.trim(), part.trim()));
            Some((first.parse().ok()?, last.parse().ok()?))
        })
        .collect();
    let overlaps = |(first, last): &&(u16, u16)| *first <= high && *last >= low;
    let is_kept = |(first, last): &(u16, u16)| {
        // What of the range lies in the kernel's must lie in one reserved range.
        kept.iter().any(|(from, to)| *from <= (*first).max(low) && *to >= (*last).min(high))
    };
    match ports.iter().filter(overlaps).find(|range| !is_kept(range)) {
        None => Finding::ok(check, format!("apart from the kernel's own ({low}-{high})")),
        Some((first, last)) => Finding::warn(
            check,
            format!("{first}-{last} are among those that the kernel gives away ({low}-{high})"),
            "a DNS query or any client may sit on the port of a call, which then gets another or none",
            format!("sysctl -w net.ipv4.ip_local_reserved_ports={first}-{last}, and the same line in /etc/sysctl.d/"),
        ),
    }
}

/// `2-3,6` of /sys/devices/system/cpu/isolated.
pub(super) fn isolation(isolated: &str, cpus: usize, workers: &[usize]) -> Finding {
    let check = "CPU isolation";
    let listed = unlisted(isolated);
    if let Some(missing) = workers.iter().find(|cpu| **cpu >= cpus) {
        let found = format!("media.workers names CPU {missing}, this machine has 0 to {}", cpus.saturating_sub(1));
        return Finding::bad(check, found, "that worker cannot be pinned", "write CPUs of this machine");
    }
    if workers.is_empty() || cpus < 4 {
        return Finding::not_applicable(
            check,
            format!("{cpus} CPUs, {} configured workers: nothing to set apart", workers.len()),
        );
    }
    let shared: Vec<_> = workers.iter().filter(|cpu| !listed.contains(cpu)).map(usize::to_string).collect();
    if shared.is_empty() {
        return Finding::ok(check, format!("CPUs {isolated}"));
    }
    Finding::warn(
        check,
        format!("media workers on CPUs {}, which others use too", shared.join(", ")),
        "a backup or a login can hold up audio for some milliseconds",
        format!("{} on the kernel's command line (postern tune says why)", set_apart(&shared.join(","))),
    )
}

pub(super) fn room(room: Option<(u64, u64)>, spool_mb: u64) -> Finding {
    let check = "disk room";
    let Some((bytes, files)) = room else {
        return Finding::warn(
            check,
            "the state folder is not there",
            "the daemon makes it, if it may",
            "systemd-tmpfiles --create, or mkdir",
        );
    };
    let found = format!("{} MB and {files} files free", bytes >> 20);
    let means = "events and call records wait in memory when the disk is full, and are lost with the process";
    let mend = "journalctl --vacuum-size=500M; or lower appliance.spool_mb and appliance.records_max; or a larger disk";
    // Some file systems count no files and say 0.
    match bytes >> 20 {
        0..100 => Finding::bad(check, found, means, mend),
        mb if mb < spool_mb + 512 => {
            Finding::warn(check, format!("{found}; the spool may take {spool_mb} MB"), means, mend)
        }
        _ => Finding::ok(check, found),
    }
}

pub(super) fn sync(took: Option<&Result<Duration, String>>) -> Finding {
    let check = "disk sync";
    match took {
        None => Finding::not_applicable(check, "no state folder to write to"),
        Some(Err(why)) => Finding::warn(
            check,
            format!("not tried: {why}"),
            "this user may not write there, or nobody can",
            "run it as root, or as the daemon's user",
        ),
        Some(Ok(took)) => {
            let found = format!("{:.1} ms a write", took.as_secs_f64() * 1e3);
            let means = "events are shown when they are kept: they lag, and a loss of power takes more of them";
            let mend = "an SSD, or a controller with a battery; not a network file system";
            match took.as_millis() {
                0..20 => Finding::ok(check, found),
                20..100 => Finding::warn(check, found, means, mend),
                _ => Finding::bad(check, found, means, mend),
            }
        }
    }
}

pub(super) fn port(key: &str, address: SocketAddr, error: Option<ErrorKind>) -> Finding {
    let check = format!("port {address}");
    match error {
        None => Finding::ok(check, format!("free, for {key}")),
        Some(ErrorKind::AddrInUse) => Finding::bad(
            check,
            "another program has it",
            format!("{key}: the daemon cannot start"),
            format!("ss -tulpn 'sport = {}'", address.port()),
        ),
        Some(ErrorKind::AddrNotAvailable) => Finding::bad(
            check,
            "no interface has this address",
            format!("{key}: the daemon cannot start"),
            format!("ip addr; correct {key}, or add the address"),
        ),
        Some(ErrorKind::PermissionDenied) => {
            Finding::not_applicable(check, "ports below 1024 are for root and the unit")
        }
        Some(other) => {
            Finding::warn(check, other.to_string(), format!("{key} may not be served"), "look at the address")
        }
    }
}

pub(super) fn name(name: &str, found: Result<&usize, &String>, took: Duration) -> Finding {
    let check = format!("DNS {name}");
    let told = |what: &str| format!("{what} in {} ms", took.as_millis());
    match found {
        Ok(0) => Finding::bad(
            check,
            told("no address"),
            "calls or requests to it fail",
            format!("getent hosts {name}; correct the name"),
        ),
        Ok(count) if took > Duration::from_millis(500) => Finding::warn(
            check,
            told(&format!("{count} addresses")),
            "whatever needs it waits as long",
            "a nearer name server in /etc/resolv.conf, or a cache on this machine (systemd-resolved, unbound)",
        ),
        Ok(count) => Finding::ok(check, told(&format!("{count} addresses"))),
        Err(why) => Finding::bad(
            check,
            told(why),
            "calls or requests to it fail",
            format!("getent hosts {name}; cat /etc/resolv.conf"),
        ),
    }
}

pub(super) fn certificate(of: &str, file: &str, expires_s: u64, now_s: u64) -> Finding {
    let check = format!("certificate of {of}");
    let days = expires_s.saturating_sub(now_s) / 86_400;
    let mend = "put the new certificate and key into the same files, then: postern reload";
    match () {
        () if expires_s <= now_s => {
            Finding::bad(check, format!("{file} has ended"), "peers that check it refuse the connection", mend)
        }
        () if days < 30 => Finding::warn(
            check,
            format!("{file} ends in {days} days"),
            "from then on peers that check it refuse the connection",
            mend,
        ),
        () => Finding::ok(check, format!("{file}, {days} days left")),
    }
}

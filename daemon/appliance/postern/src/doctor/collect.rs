//! What is looked at: files below /proc, /sys and /etc, a few commands, a trial of disk, ports and names. Nothing is judged here, and
//! what is not there is empty.

use std::{
    fs, io,
    net::{SocketAddr, TcpListener, ToSocketAddrs, UdpSocket},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use postern_config::{Config, SystemEnvironment};
use postern_types::stream::Libraries;

use super::Finding;
use crate::tune::{self, plan::Plan};

/// How long a command or a name may take.
const PATIENCE: Duration = Duration::from_secs(4);

/// Writes of the disk's trial; the middle one counts.
const WRITES: usize = 9;

/// Host names that are looked up at most.
const NAMES_MAX: usize = 16;

/// The machine, whatever it is for.
#[derive(Debug, Default, Clone)]
pub(super) struct Machine {
    pub kernel: String,
    pub io_uring_disabled: String,
    pub clock_source: String,
    pub clock_sources: String,
    /// `timedatectl show`.
    pub time_sync: String,
    /// Of the daemon when one runs, else as systemd would start it; with the word for whose.
    pub open_files: (String, String),
    pub receive_buffer_max: String,
    pub send_buffer_max: String,
    pub governors: Vec<String>,
    pub isolated: String,
    /// What it should be set to, by `postern tune`.
    pub tuning: Plan,
    pub cpus: usize,
    pub interrupts: String,
    /// Lines of journald.conf and what is put over it, in order.
    pub journald: String,
    pub journal_is_persistent: bool,
    pub connections_tracked: String,
    pub connections_tracked_max: String,
    pub local_ports: String,
    pub reserved_ports: String,
    pub interfaces: Vec<Interface>,
    pub is_served: bool,
    pub libraries: Libraries,
}

/// A network interface that is no loopback.
#[derive(Debug, Default, Clone)]
pub(super) struct Interface {
    pub name: String,
    pub state: String,
    pub speed: String,
    pub duplex: String,
    pub is_physical: bool,
    pub received: String,
    pub dropped: String,
    pub missed: String,
    pub errors: String,
    /// `ethtool -k`, empty without the command.
    pub offloads: String,
    /// `ethtool -g`.
    pub rings: String,
}

/// What the configuration asks for, tried.
#[derive(Debug, Default)]
pub(super) struct Ours {
    pub now_s: u64,
    /// Bytes free in the state folder's file system, and files that may still be made.
    pub room: Option<(u64, u64)>,
    /// The middle of some small synced writes, or why there are none.
    pub sync: Option<Result<Duration, String>>,
    /// Address by key: what binding it came to.
    pub ports: Vec<(String, SocketAddr, Option<io::ErrorKind>)>,
    /// Name, how many addresses or why none, how long it took.
    pub names: Vec<(String, Result<usize, String>, Duration)>,
}

/// Reads and checks the file, as the daemon does.
pub(super) fn configuration(file: &Path) -> Result<Config, Finding> {
    let text = postern_config::read_document(file).map_err(|error| {
        let found = format!("{} cannot be read: {error}", file.display());
        Finding::bad(
            "configuration",
            found,
            "what follows from it was not checked",
            "name it with --config, or use sudo",
        )
    })?;
    match postern_config::load(&file.display().to_string(), &text, &SystemEnvironment) {
        Ok((config, _)) => Ok(config),
        Err(mistakes) => {
            let found = format!("{}: {} mistakes or warnings", file.display(), mistakes.len());
            let mend = format!("postern check {}", file.display());
            Err(Finding::bad(
                "configuration",
                found,
                "the daemon refuses it; what follows from it was not checked",
                mend,
            ))
        }
    }
}

/// Looks at the machine.
pub(super) fn machine(socket: &Path) -> Machine {
    let cpus = fs::read_dir("/sys/devices/system/cpu").into_iter().flatten().flatten();
    let cpus: Vec<PathBuf> = cpus
        .map(|entry| entry.path())
        .filter(|path| {
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            name.strip_prefix("cpu").is_some_and(|number| number.parse::<u32>().is_ok())
        })
        .collect();
    let governors = cpus.iter().map(|cpu| text(cpu.join("cpufreq/scaling_governor"))).filter(|text| !text.is_empty());
    Machine {
        kernel: text("/proc/sys/kernel/osrelease"),
        io_uring_disabled: text("/proc/sys/kernel/io_uring_disabled"),
        clock_source: text("/sys/devices/system/clocksource/clocksource0/current_clocksource"),
        clock_sources: text("/sys/devices/system/clocksource/clocksource0/available_clocksource"),
        time_sync: command("timedatectl", &["show"]),
        open_files: open_files(),
        receive_buffer_max: text("/proc/sys/net/core/rmem_max"),
        send_buffer_max: text("/proc/sys/net/core/wmem_max"),
        governors: governors.collect(),
        isolated: text("/sys/devices/system/cpu/isolated"),
        tuning: tune::plan::plan(&tune::facts(Path::new("/"))),
        cpus: cpus.len().max(1),
        interrupts: text("/proc/interrupts"),
        journald: journald(),
        journal_is_persistent: Path::new("/var/log/journal").is_dir(),
        connections_tracked: text("/proc/sys/net/netfilter/nf_conntrack_count"),
        connections_tracked_max: text("/proc/sys/net/netfilter/nf_conntrack_max"),
        local_ports: text("/proc/sys/net/ipv4/ip_local_port_range"),
        reserved_ports: text("/proc/sys/net/ipv4/ip_local_reserved_ports"),
        interfaces: interfaces(),
        is_served: UnixStream::connect(socket).is_ok(),
        libraries: postern_audio::codec::libraries(),
    }
}

/// Tries what the configuration asks for.
pub(super) async fn ours(config: &Config, seen: &Machine) -> Ours {
    let folder = &config.appliance.state_folder;
    let room = nix::sys::statvfs::statvfs(folder).ok();
    let room = room.map(|of| (of.blocks_available().saturating_mul(of.fragment_size()), of.files_available()));
    let mut ours = Ours {
        now_s: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()),
        room,
        sync: folder.is_dir().then(|| sync_time(folder).map_err(|error| error.to_string())),
        ..Ours::default()
    };
    let mut sockets: Vec<(String, SocketAddr, bool)> = Vec::new();
    for (name, realm) in &config.realms {
        sockets.extend(realm.signaling.iter().map(|address| (format!("realms.{name}.signaling"), *address, true)));
        sockets.extend(
            realm.listeners.iter().map(|l| (format!("realms.{name}.signaling {}", l.transport), l.address, false)),
        );
    }
    sockets.extend(config.api.iter().map(|api| ("api.listen".to_owned(), api.listen, false)));
    // A daemon that runs has them.
    if !seen.is_served {
        for (key, address, datagrams) in sockets {
            let bound =
                if datagrams { UdpSocket::bind(address).map(drop) } else { TcpListener::bind(address).map(drop) };
            ours.ports.push((key, address, bound.err().map(|error| error.kind())));
        }
    }
    for name in names(config).into_iter().take(NAMES_MAX) {
        let began = Instant::now();
        let asked = name.clone();
        let looked = tokio::task::spawn_blocking(move || (asked.as_str(), 0u16).to_socket_addrs().map(Iterator::count));
        let found = match tokio::time::timeout(PATIENCE, looked).await {
            Ok(Ok(Ok(count))) => Ok(count),
            Ok(Ok(Err(error))) => Err(error.to_string()),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err(format!("no answer within {} s", PATIENCE.as_secs())),
        };
        ours.names.push((name, found, began.elapsed()));
    }
    ours
}

/// Host names of trunks, application servers and the control plane; numeric addresses need no look-up.
fn names(config: &Config) -> Vec<String> {
    let of_trunks = config.trunks.values().flat_map(|trunk| &trunk.addresses).map(|address| address.host.clone());
    let urls = config.applications.values().flat_map(|application| {
        [Some(&application.voice_url), application.voice_fallback_url.as_ref(), application.status_callback.as_ref()]
    });
    let urls = urls.flatten().chain(config.control_plane.as_ref().map(|control_plane| &control_plane.url));
    let of_urls = urls.filter_map(|url| reqwest::Url::parse(url).ok()?.host_str().map(str::to_owned));
    let mut names: Vec<_> = of_trunks
        .chain(of_urls)
        .filter(|name| name.trim_matches(['[', ']']).parse::<std::net::IpAddr>().is_err())
        .collect();
    names.sort();
    names.dedup();
    names
}

fn sync_time(folder: &Path) -> io::Result<Duration> {
    use std::io::Write;
    let path = folder.join(format!(".doctor-{}", std::process::id()));
    let tried = (|| {
        let mut file = fs::OpenOptions::new().write(true).create_new(true).open(&path)?;
        let mut times = Vec::new();
        for _ in 0..WRITES {
            let began = Instant::now();
            file.write_all(&[0; 4096])?;
            file.sync_data()?;
            times.push(began.elapsed());
        }
        times.sort();
        Ok(times[WRITES / 2])
    })();
    // Whatever became of the trial, nothing of it stays; a file that was not made cannot be removed.
    _ = fs::remove_file(&path);
    tried
}

fn interfaces() -> Vec<Interface> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/sys/class/net").into_iter().flatten().flatten() {
        let (path, name) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
        // ARPHRD_LOOPBACK.
        if text(path.join("type")) == "772" {
            continue;
        }
        let is_physical = path.join("device").exists();
        let ethtool = |option: &str| if is_physical { command("ethtool", &[option, &name]) } else { String::new() };
        found.push(Interface {
            state: text(path.join("operstate")),
            speed: text(path.join("speed")),
            duplex: text(path.join("duplex")),
            received: text(path.join("statistics/rx_packets")),
            dropped: text(path.join("statistics/rx_dropped")),
            missed: text(path.join("statistics/rx_missed_errors")),
            errors: text(path.join("statistics/rx_errors")),
            offloads: ethtool("-k"),
            rings: ethtool("-g"),
            is_physical,
            name,
        });
    }
    found.sort_by(|one, other| one.name.cmp(&other.name));
    found
}

/// `Max open files …` of the daemon, or `LimitNOFILE=N` of its unit, or that of this shell.
fn open_files() -> (String, String) {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten().map(|entry| entry.path());
    let daemon = processes.into_iter().find(|path| text(path.join("comm")) == "posternd");
    if let Some(limits) = daemon.map(|path| text(path.join("limits"))).filter(|limits| !limits.is_empty()) {
        return (limits, "the daemon".into());
    }
    let unit = command("systemctl", &["show", "--property=LimitNOFILE,LoadState", "posternd"]);
    if unit.contains("LoadState=loaded") {
        return (unit, "the unit".into());
    }
    (text("/proc/self/limits"), "this shell".into())
}

fn journald() -> String {
    let mut all = text("/etc/systemd/journald.conf");
    for folder in ["/usr/lib/systemd/journald.conf.d", "/run/systemd/journald.conf.d", "/etc/systemd/journald.conf.d"] {
        let mut files: Vec<_> =
            fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
        files.sort();
        for file in files {
            all.push('\n');
            all.push_str(&text(file));
        }
    }
    all
}

/// A small file without its last line end; empty when it cannot be read.
fn text(path: impl AsRef<Path>) -> String {
    fs::read_to_string(path).map(|text| text.trim_end().to_owned()).unwrap_or_default()
}

/// What a command prints; empty when there is none, it fails or it takes too long.
fn command(name: &str, words: &[&str]) -> String {
    let limited = Command::new("timeout").arg(PATIENCE.as_secs().to_string()).arg(name).args(words).output();
    match limited {
        Ok(done) if done.status.success() => String::from_utf8_lossy(&done.stdout).into_owned(),
        _ => String::new(),
    }
}

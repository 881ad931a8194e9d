//! The order in which the house is lit and darkened.
//!
//! Up: limits, folders, sockets, the spool (which knows the last event's number), the switch and its media workers, the
//! drivers, the API, the control plane, and only then READY. Down: calls are ended, the last facts are kept and written, sockets close.

use std::{
    fs, io,
    net::{SocketAddr, UdpSocket},
    os::unix::fs::{DirBuilderExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use postern_accounts::Accounts;
use postern_api::{Context, EventHub, SwitchHandle, Tenants, bind_unix, serve_tcp, serve_unix};
use postern_config::Config;
use postern_events::{Ledger, LedgerLimits, RingLimits, spool::SpoolLimits};
use postern_facts::{ApplianceStarted, Happened, MediaCalibrated, Subject};
use postern_media::calibrate::{Calibration, START_LEGS, START_SPAN, calibrate};
use postern_switch::Input;
use postern_types::Transport;
use postern_uring::{SocketOptions, bind_patiently};
use rand::{Rng, SeedableRng, rngs::StdRng};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
    sync::watch,
};

use crate::{
    admin::Daemon,
    drivers::{
        self, Drivers,
        archive::Archive,
        certificates::Certificates,
        devices::Devices,
        files::Files,
        forks::Forks,
        http::Http,
        journal::Journal,
        prompts::Prompts,
        recorder::{Recorder, Trim},
        records::RecordFiles,
        resolve::Resolver,
        spool,
        store::Store,
        streams,
    },
    switch_thread,
    trial::{self, Trial},
};

/// How long a busy port is tried at the start: a daemon that just ended holds its ports for some ten milliseconds.
const BIND_PATIENCE: Duration = Duration::from_secs(2);

/// How long the last events may take to reach disk and journal when the daemon stops.
const FLUSH_PATIENCE: Duration = Duration::from_secs(2);

/// Threads of the drivers' runtime: they move bytes, the work is elsewhere.
const DRIVER_THREADS: usize = 2;

/// Serves until a signal says stop. The error is a sentence for a person.
pub fn run(file: PathBuf, config: Config) -> Result<(), String> {
    drivers::install_crypto();
    let config = Arc::new(config);
    make_folder(&config.appliance.state_folder, 0o750)?;
    make_folder(&config.appliance.runtime_folder, 0o755)?;
    make_folder(&config.recordings_folder(), 0o750)?;
    if let Some(folder) = config.records_folder() {
        make_folder(&folder, 0o750)?;
    }
    let sockets = bind_signaling(&config)?;
    let listeners = streams::bind(&config)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(DRIVER_THREADS)
        .thread_name("drivers")
        .enable_all()
        .build()
        .map_err(|error| format!("the drivers' threads cannot be started: {error}"))?;
    runtime.block_on(serve(file, config, sockets, listeners))
}

async fn serve(
    file: PathBuf,
    config: Arc<Config>,
    sockets: Vec<UdpSocket>,
    listeners: Vec<streams::Bound>,
) -> Result<(), String> {
    let said = |what: &'static str| move |error: &dyn std::fmt::Display| format!("{what}: {error}");
    let appliance = &config.appliance;
    let journal =
        Journal::start(config.log.to, config.log.level).map_err(|e| said("the journal cannot be reached")(&e))?;
    let limits = SpoolLimits::new(appliance.spool_mb, appliance.spool_days);
    let opened = spool::Opened::open(&appliance.state_folder, limits, config.control_plane.is_some())
        .map_err(|e| said("the event spool cannot be opened")(&e))?;
    let (last_seq, calls_lost) = (opened.found.last, opened.found.calls_lost);

    let turns = Arc::new(AtomicU64::new(0));
    let mut seed = [0; 32];
    StdRng::try_from_rng(&mut rand::rngs::SysRng)
        .map_err(|e| said("the system gives no random numbers")(&e))?
        .fill_bytes(&mut seed);
    let start = switch_thread::Start { config: config.clone(), sockets, last_seq, seed, turns: turns.clone() };
    let running = switch_thread::start(start).map_err(|e| said("io_uring cannot be set up")(&e))?;
    running.notices.iter().for_each(|notice| eprintln!("posternd: {notice}"));
    let mailbox = running.mailbox.clone();
    // Beside the rest of the start, and over before the first call: it wants a worker's CPU for itself.
    let cpu = postern_media::worker_cpus(&config).into_iter().next().unwrap_or(0);
    let calibrating = tokio::task::spawn_blocking(move || calibrate(cpu, START_LEGS, START_SPAN));

    let report: drivers::Report = {
        let mailbox = mailbox.clone();
        Arc::new(move |input: drivers::DriverInput| mailbox.put(input.into_letter()))
    };
    let files = Files::start(opened.folder().to_owned()).map_err(|e| said("the file thread cannot be started")(&e))?;
    let limits = RingLimits::default();
    let first_shown = opened.found.recent.first().map_or(last_seq, |event| event.seq - 1);
    let (hub, feed, pump) = EventHub::new(limits, first_shown);
    tokio::spawn(pump.run());
    opened.found.recent.iter().for_each(|event| feed.push(event.clone()));
    let store = Store::start(&appliance.state_folder, appliance.records_max, report.clone())
        .map_err(|e| said("the call store cannot be opened")(&e))?;
    let spool = {
        let (store, mut ledger) = (store.clone(), Ledger::new(LedgerLimits::default()));
        opened.start(files.clone(), report.clone(), move |event| {
            if let Some(chapter) = ledger.record(&event) {
                store.put_ladder(chapter);
            }
            feed.push(event);
        })
    };
    let http = Http::start(report.clone());
    let folder = config.recordings_folder();
    let archive = Archive::start(&appliance.state_folder, folder.clone(), report.clone())
        .map_err(|e| said("the store of recordings cannot be opened")(&e))?;
    let (devices, kept) = Devices::start(&appliance.state_folder, report.clone())
        .map_err(|e| said("the store of registered devices cannot be opened")(&e))?;
    let forget = {
        let archive = archive.clone();
        Arc::new(move |sid| archive.forget(sid))
    };
    let (max_mb, days) = (config.recordings.max_mb, config.recordings.days);
    let trim = Trim::new(folder.clone(), max_mb, days, forget, report.clone());
    let recorder = Recorder::start(folder, running.tapped.recorder, trim, report.clone())
        .map_err(|e| said("the recorder's thread cannot be started")(&e))?;
    let record_files = match (&config.records, config.records_folder()) {
        (Some(settings), Some(folder)) => {
            let started = RecordFiles::start(&folder, settings, report.clone());
            Some(started.map_err(|e| said("the files of call records cannot be opened")(&e))?)
        }
        _ => None,
    };
    let drivers = Drivers {
        records: record_files.clone(),
        journal: journal.clone(),
        spool: spool.clone(),
        store: store.clone(),
        http: http.clone(),
        prompts: Prompts::start(files, config.media.prompt_folders.clone(), http, report.clone()),
        recorder: recorder.clone(),
        forks: Forks::start(running.tapped.forks, report.clone()),
        archive: archive.clone(),
        devices: devices.clone(),
        certificates: Certificates::start(&config, report.clone()),
        resolver: Resolver::start(&config.dns, report.clone()),
    };
    let wake = {
        let mailbox = mailbox.clone();
        Arc::new(move || mailbox.ring())
    };
    let (switch, questions) = SwitchHandle::new(wake);
    let (connections, streams) = streams::Streams::start(&config, listeners, mailbox.clone())?;
    let socket = appliance.runtime_folder.join("postern.sock");
    let unix = bind_unix(&socket).map_err(|error| format!("{}: {error}", socket.display()))?;
    let api = match &config.api {
        Some(api) => {
            let bound = TcpListener::bind(api.listen).await;
            Some(bound.map_err(|error| format!("api.listen {}: {error}", api.listen))?)
        }
        None => None,
    };

    // Nothing can fail any more. The first fact of a run: at the next start, calls that were told before it would count as another's.
    let started =
        ApplianceStarted { name: appliance.name.clone(), version: env!("CARGO_PKG_VERSION").into(), calls_lost };
    mailbox.put(Input::Happened(Happened { subject: Subject::default(), fact: started.into() }));
    mailbox.put(Input::Restore(kept.devices));
    mailbox.put(Input::Mailboxes(kept.mailboxes));
    let calibration = calibrating.await.unwrap_or_else(|_| Err(io::Error::other("the measurement ended by a fault")));
    let fact = calibrated(&calibration, config.media.busy_max);
    mailbox.put(Input::Happened(Happened { subject: Subject::default(), fact: fact.into() }));
    let go = switch_thread::Go { drivers, streams: connections, questions, calibration: calibration.ok() };
    running.go.send(go).map_err(|_| "the switch thread died at its start".to_owned())?;

    let link = config.control_plane.as_ref().map(|control_plane| {
        drivers::nats::start(control_plane, &appliance.name, spool.clone(), switch.clone(), report.clone())
    });
    let tenants = Tenants::default();
    tenants.replace(Accounts::new(&config));
    let daemon = Arc::new(Daemon {
        file: file.clone(),
        // Without tables: those of the start would stay in memory for ever.
        started: Arc::new(Config { tables: Default::default(), ..(*config).clone() }),
        config: Mutex::new(config.clone()),
        runtime: tokio::runtime::Handle::current(),
        order: Mutex::default(),
        trial: Trial::default(),
        mailbox: mailbox.clone(),
        tenants: tenants.clone(),
        journal: journal.clone(),
        spool: spool.clone(),
        store: store.clone(),
        streams,
        link,
    });
    let (records, recordings) = (Arc::new(store.clone()), Arc::new(archive.clone()));
    let context = Context { switch, hub, store: records, recordings, admin: daemon.clone(), tenants };
    let (stop, stopping) = watch::channel(false);
    let mut faces = vec![tokio::spawn(serve_unix(unix, context.clone(), stopping.clone()))];
    faces.extend(api.map(|listener| tokio::spawn(serve_tcp(listener, context, stopping))));
    // Without systemd there is nobody to notify, and that is fine.
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
    tokio::spawn(feed_watchdog(turns));
    tokio::spawn(trial::guard(daemon.clone()));

    drop(config);
    let why = wait_for_the_end(&daemon).await?;
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Stopping]);
    mailbox.put(Input::Stop { why: why.into() });
    let thread = running.thread;
    let last = tokio::task::spawn_blocking(move || thread.join().ok()).await.ok().flatten();
    let _ = stop.send(true);
    for face in faces {
        let _ = face.await;
    }
    recorder.flush(FLUSH_PATIENCE).await;
    spool.flush(last.unwrap_or(0), FLUSH_PATIENCE).await;
    let kept = tokio::task::spawn_blocking(move || {
        journal.flush(FLUSH_PATIENCE);
        archive.flush(FLUSH_PATIENCE);
        devices.flush(FLUSH_PATIENCE);
        let filed = record_files.is_none_or(|files| files.flush(FLUSH_PATIENCE));
        store.flush(FLUSH_PATIENCE) && filed
    });
    let kept = kept.await.unwrap_or(false);
    match (last, kept) {
        (Some(_), true) => Ok(()),
        (None, _) => Err("the switch thread ended by a fault; live calls were lost".into()),
        (_, false) => Err("the last call records could not be written in time".into()),
    }
}

/// What a measurement came to, as it is told.
fn calibrated(found: &io::Result<Calibration>, busy_max: u8) -> MediaCalibrated {
    match found {
        Ok(found) => MediaCalibrated {
            ns_per_packet: (found.us_per_packet * 1000.0) as u64,
            calls_per_worker: found.calls_in(f64::from(busy_max) * 10.0),
            took_ms: found.took.as_millis() as u64,
            why: String::new(),
        },
        Err(error) => MediaCalibrated { ns_per_packet: 0, calls_per_worker: 0, took_ms: 0, why: error.to_string() },
    }
}

/// Until SIGTERM or SIGINT; SIGHUP reloads on the way.
async fn wait_for_the_end(daemon: &Arc<Daemon>) -> Result<&'static str, String> {
    let watch = |kind| signal(kind).map_err(|error| format!("signals cannot be watched: {error}"));
    let (mut hangup, mut terminate, mut interrupt) =
        (watch(SignalKind::hangup())?, watch(SignalKind::terminate())?, watch(SignalKind::interrupt())?);
    loop {
        tokio::select! {
            _ = terminate.recv() => return Ok("SIGTERM"),
            _ = interrupt.recv() => return Ok("SIGINT"),
            _ = hangup.recv() => {
                let daemon = daemon.clone();
                let _ = sd_notify::notify(&[sd_notify::NotifyState::Reloading]);
                // The outcome is a fact, in the journal and on the event stream.
                let _ = tokio::task::spawn_blocking(move || daemon.apply("SIGHUP").is_ok()).await;
                let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
            }
        }
    }
}

/// Tells systemd that all is well only while the switch makes turns: a hung switch is a hung daemon.
async fn feed_watchdog(turns: Arc<AtomicU64>) {
    let Some(limit) = sd_notify::watchdog_enabled() else { return };
    let mut seen = 0;
    loop {
        tokio::time::sleep(limit / 3).await;
        let now = turns.load(Ordering::Relaxed);
        if now != seen {
            let _ = sd_notify::notify(&[sd_notify::NotifyState::Watchdog]);
        }
        seen = now;
    }
}

fn make_folder(folder: &Path, mode: u32) -> Result<(), String> {
    let made = match fs::DirBuilder::new().recursive(true).mode(mode).create(folder) {
        Ok(()) => fs::metadata(folder).map(|there| there.permissions().mode()),
        Err(error) => Err(error),
    };
    made.map(|_| ())
        .map_err(|error| format!("{}: {error}; make it, or name another folder under `appliance:`", folder.display()))
}

fn bind_signaling(config: &Config) -> Result<Vec<UdpSocket>, String> {
    let mut sockets = Vec::new();
    for (name, realm) in &config.realms {
        for address in &realm.signaling {
            let options = SocketOptions::SIGNALING.marked(realm.signaling_dscp.code());
            let socket = bind_patiently(*address, &options, BIND_PATIENCE);
            sockets.push(socket.map_err(|error| bind_advice(name.as_str(), Transport::Udp, *address, &error))?);
        }
    }
    Ok(sockets)
}

/// Why a SIP address cannot be served, and what to look at.
pub(crate) fn bind_advice(realm: &str, transport: Transport, address: SocketAddr, error: &io::Error) -> String {
    let hint = match error.kind() {
        io::ErrorKind::AddrInUse => "another program serves it (`ss -tulpn`)",
        io::ErrorKind::AddrNotAvailable => "no interface has this address (`ip addr`)",
        io::ErrorKind::PermissionDenied => "ports below 1024 need CAP_NET_BIND_SERVICE",
        _ => "look at the address",
    };
    format!("realms.{realm}.signaling {transport} {address}: {error}; {hint}")
}

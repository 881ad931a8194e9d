//! `postern upgrade` and `postern rollback`: another version of the appliance, and back.
//!
//! The work is systemd's: systemd-sysupdate verifies and writes, systemd-boot counts and chooses. Here it is asked in the right order, with
//! its progress shown, and what it says is put into words. An upgrade goes into the slot that does not run; calls are drained before
//! the restart. A machine that is not the appliance is told so: its package is upgraded by apt.

use std::{
    fs,
    io::Read,
    os::unix::net::UnixDatagram,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use serde_json::json;

use crate::{
    Failure,
    client::Client,
    drain::{self, line},
    slots, write,
};

/// Where an update's files are put (image/appliance/usr/lib/sysupdate.d).
const UPDATES: &str = "/var/lib/postern-update";

/// How often a running update is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Bytes of what systemd-sysupdate says that are kept: three files in steps of a percent are 40 KiB.
const SAID_MAX: u64 = 256 * 1024;

/// Lines of it that are shown when it failed.
const WORDS_MAX: usize = 6;

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Write it and leave it at that: the next start, whenever it comes, takes the new version.
    #[arg(long)]
    no_restart: bool,
    /// How long live calls may go on before the restart ends them, as 90s, 10m or 1h.
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = drain::span)]
    drain: Duration,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Back {
    /// The version; default: the other one on the disk, when it came up before.
    version: Option<String>,
    #[command(flatten)]
    restart: Arguments,
}

/// The appliance's own programs and files; tests have others.
pub(crate) struct Machine {
    os_release: PathBuf,
    sysupdate: PathBuf,
    /// Where an update's files are put.
    updates: PathBuf,
    /// The loader's folder; none: bootctl is asked.
    kernels: Option<PathBuf>,
    restart: Vec<String>,
    /// Where a socket may be made that nobody else can replace.
    run: PathBuf,
    is_root: bool,
}

impl Default for Machine {
    fn default() -> Self {
        Self {
            os_release: "/etc/os-release".into(),
            sysupdate: "/usr/lib/systemd/systemd-sysupdate".into(),
            updates: UPDATES.into(),
            kernels: None,
            restart: vec!["systemctl".into(), "reboot".into()],
            run: "/run".into(),
            is_root: nix::unistd::geteuid().is_root(),
        }
    }
}

impl Machine {
    /// The version that runs.
    fn running(&self) -> Result<String, Failure> {
        let said = fs::read_to_string(&self.os_release).unwrap_or_default();
        let field = |name: &str| {
            let value = said.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='))?;
            Some(value.trim_matches(['"', '\'']).to_owned())
        };
        let (is_ours, version) = (field("IMAGE_ID").as_deref() == Some("postern"), field("IMAGE_VERSION"));
        let problem = |words: &str| Err(Failure::Problem(words.into()));
        match version {
            Some(version) if is_ours && self.is_root => Ok(version),
            Some(_) if is_ours => problem("only root may write a version: sudo postern …, or ssh root@…"),
            _ => problem(
                "this machine is not the appliance (IMAGE_ID in /etc/os-release is not postern): it has no second slot. \
                 A package is upgraded by apt: apt install ./postern_VERSION_ARCHITECTURE.deb",
            ),
        }
    }

    fn kernels(&self) -> Result<Vec<slots::Kernel>, Failure> {
        let folder = match &self.kernels {
            Some(folder) => folder.clone(),
            None => {
                let said = ask(Command::new("bootctl").arg("--print-esp-path"))?;
                Path::new(said.trim()).join("EFI/Linux")
            }
        };
        slots::kernels(&folder)
    }

    /// The newest version among the update's files that is newer than what is on the disk.
    fn newer(&self) -> Result<Option<String>, Failure> {
        let done = Command::new(&self.sysupdate).arg("check-new").stdin(Stdio::null()).output();
        let done = done.map_err(|error| Failure::Problem(format!("{}: {error}", self.sysupdate.display())))?;
        let found = String::from_utf8_lossy(&done.stdout).trim().to_owned();
        if done.status.success() && !found.is_empty() {
            return Ok(Some(found));
        }
        let said = String::from_utf8_lossy(&done.stderr).into_owned();
        // Exit code 1 stands for "none" and for failures alike: only the words tell them apart.
        if ["Failed", "failed", "ignature", "rror", "No such"].iter().any(|word| said.contains(word)) {
            return Err(refused(&said));
        }
        Ok(None)
    }

    /// Has the newer version written, telling how far it is.
    fn write(&self, version: &str, quiet: bool) -> Result<(), Failure> {
        let progress = Progress::open(&self.run).ok();
        let mut command = Command::new(&self.sysupdate);
        command.arg("update").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        if let Some(progress) = &progress {
            command.env("NOTIFY_SOCKET", &progress.place);
        }
        let mut child =
            command.spawn().map_err(|error| Failure::Problem(format!("{}: {error}", self.sysupdate.display())))?;
        let stderr = child.stderr.take();
        let reader = thread::spawn(move || {
            let mut said = Vec::new();
            if let Some(mut stderr) = stderr {
                // What comes beyond is thrown away, so that the writer never waits.
                _ = stderr.by_ref().take(SAID_MAX).read_to_end(&mut said);
                _ = std::io::copy(&mut stderr, &mut std::io::sink());
            }
            String::from_utf8_lossy(&said).into_owned()
        });
        let mut shown = None;
        let status = loop {
            match child.try_wait() {
                Ok(Some(status)) => break status,
                Ok(None) => {}
                Err(error) => return Err(Failure::Problem(format!("{}: {error}", self.sysupdate.display()))),
            }
            let Some(progress) = &progress else {
                thread::sleep(LOOK_EVERY);
                continue;
            };
            // A line for each tenth is enough for a log; a terminal shows the same.
            let tenth = progress.next().map(|percent| percent / 10);
            if let Some(tenth) = tenth.filter(|tenth| !quiet && Some(*tenth) != shown) {
                line(&format!("writing {version} into the other slot: {} %", tenth * 10), tenth == 10);
                shown = Some(tenth);
            }
        };
        let said = reader.join().unwrap_or_default();
        if status.success() { Ok(()) } else { Err(refused(&said)) }
    }

    /// Refuses new calls, waits for the live ones, restarts.
    async fn restart(&self, client: Option<&Client>, limit: Duration, quiet: bool) -> Result<(), Failure> {
        match client {
            Some(client) => match drain::wait(client, limit, quiet).await {
                Ok(waited) if waited.calls > 0 && !quiet => {
                    line(&format!("{} still live after the limit: the restart ends them", waited.calls), true);
                }
                Ok(_) => {}
                Err(Failure::Unreachable(_)) => line("the daemon does not answer: nothing to drain", true),
                Err(other) => return Err(other),
            },
            None => line("no daemon runs: nothing to drain", true),
        }
        let (program, arguments) = self.restart.split_first().expect("a command is never empty");
        ask(Command::new(program).args(arguments)).map(drop)
    }
}

/// `postern upgrade`.
pub(crate) async fn run(
    machine: &Machine,
    client: Option<&Client>,
    arguments: &Arguments,
    as_json: bool,
) -> Result<(), Failure> {
    let running = machine.running()?;
    let folder = machine.updates.display();
    if !machine.updates.join("SHA256SUMS").exists() {
        return Err(Failure::Problem(format!(
            "there is no update in {folder}: put root, verity, kernel, SHA256SUMS and its signature SHA256SUMS.gpg there (docs/APPLIANCE.md)"
        )));
    }
    let Some(version) = machine.newer()? else {
        return Err(Failure::Problem(format!(
            "{folder} has no version that is newer than what is on the disk; {running} runs"
        )));
    };
    if !as_json {
        _ = write(&format!("{running} runs; {version} goes into the other slot\n"));
    }
    machine.write(&version, as_json)?;
    let all = machine.kernels()?;
    if !all.iter().any(|kernel| kernel.version == version && kernel.verdict != slots::Verdict::GivenUp) {
        return Err(Failure::Problem(format!(
            "{version} was written, but the boot loader does not have its kernel; {running} goes on. `journalctl -b -t systemd-sysupdate`"
        )));
    }
    told(
        as_json,
        &running,
        &version,
        !arguments.no_restart,
        &format!(
            "{version} is written and verified; it is on trial for {} starts, then {running} comes back by itself",
            slots::TRIES
        ),
    );
    if arguments.no_restart { Ok(()) } else { machine.restart(client, arguments.drain, as_json).await }
}

/// `postern rollback`.
pub(crate) async fn back(
    machine: &Machine,
    client: Option<&Client>,
    arguments: &Back,
    as_json: bool,
) -> Result<(), Failure> {
    let running = machine.running()?;
    let all = machine.kernels()?;
    let target = slots::back_to(&all, &running, arguments.version.as_deref()).map_err(Failure::Problem)?;
    slots::prefer(&all, target)
        .map_err(|error| Failure::Problem(format!("the kernels cannot be renamed: {error}; {running} goes on")))?;
    let restarts = !arguments.restart.no_restart;
    told(
        as_json,
        &running,
        &target.version,
        restarts,
        &format!("the next start takes {}; {running} is given up", target.version),
    );
    if restarts { machine.restart(client, arguments.restart.drain, as_json).await } else { Ok(()) }
}

fn told(as_json: bool, running: &str, next: &str, restarts: bool, words: &str) {
    _ = match as_json {
        true => write(&format!("{:#}\n", json!({ "running": running, "next": next, "restarts": restarts }))),
        false => write(&format!("{words}\n")),
    };
}

/// What systemd-sysupdate says, for a person; what runs is never touched by it.
fn refused(said: &str) -> Failure {
    let has = |words: &[&str]| words.iter().any(|word| said.contains(word));
    // What was verified is told before what was not, so a spoilt file comes first.
    let hint = match () {
        () if has(&["did not check out", "hecksum mismatch"]) => {
            "a file is not what SHA256SUMS says: copy the update again"
        }
        () if has(&["No space left"]) => "/var or the firmware's partition is full: `df -h`",
        () if has(&["ignature", "gpg"]) => {
            "SHA256SUMS.gpg must be a signature of SHA256SUMS by a key that this image was built with"
        }
        () => "`systemd-sysupdate list` shows what it sees",
    };
    // Its last words; how far each file came is no news any more.
    let told: Vec<_> = said.lines().filter(|line| !line.starts_with("Got ") && !line.trim().is_empty()).collect();
    let last = &told[told.len().saturating_sub(WORDS_MAX)..];
    Failure::Problem(format!("the update is refused, what runs goes on: {hint}\n{}", last.join("\n")))
}

/// Runs a command; its output, or its words as the failure.
fn ask(command: &mut Command) -> Result<String, Failure> {
    let name = command.get_program().to_string_lossy().into_owned();
    let done = command.stdin(Stdio::null()).output();
    let done = done.map_err(|error| Failure::Problem(format!("{name}: {error}")))?;
    if !done.status.success() {
        return Err(Failure::Problem(format!("{name}: {}", String::from_utf8_lossy(&done.stderr).trim_end())));
    }
    Ok(String::from_utf8_lossy(&done.stdout).into_owned())
}

/// Where systemd-sysupdate tells how far it is, as a service tells systemd (sd_notify(3)).
struct Progress {
    socket: UnixDatagram,
    place: PathBuf,
}

impl Progress {
    fn open(folder: &Path) -> std::io::Result<Self> {
        let place = folder.join(format!("postern-upgrade-{}.sock", std::process::id()));
        _ = fs::remove_file(&place);
        let socket = UnixDatagram::bind(&place)?;
        socket.set_read_timeout(Some(LOOK_EVERY))?;
        Ok(Self { socket, place })
    }

    /// Waits a moment for news: percent of all that is to be written.
    fn next(&self) -> Option<u32> {
        let mut said = [0; 4096];
        let count = self.socket.recv(&mut said).ok()?;
        percent(&String::from_utf8_lossy(&said[..count]))
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        _ = fs::remove_file(&self.place);
    }
}

fn percent(said: &str) -> Option<u32> {
    let value = said.lines().find_map(|line| line.strip_prefix("X_SYSUPDATE_PROGRESS="))?;
    value.trim_end_matches('%').parse().ok().filter(|percent| *percent <= 100)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    /// An appliance of files and scripts, in a folder of its own.
    struct Fake {
        folder: PathBuf,
        machine: Machine,
    }

    impl Fake {
        fn new(name: &str, sysupdate: &str, kernels: &[&str]) -> Self {
            let folder = std::env::temp_dir().join(format!("postern-upgrade-{name}-{}", std::process::id()));
            _ = fs::remove_dir_all(&folder);
            fs::create_dir_all(folder.join("kernels")).unwrap();
            let write = |name: &str, text: &str| {
                let place = folder.join(name);
                fs::write(&place, text).unwrap();
                fs::set_permissions(&place, fs::Permissions::from_mode(0o755)).unwrap();
                place
            };
            kernels.iter().for_each(|name| _ = write(&format!("kernels/{name}"), ""));
            let machine = Machine {
                os_release: write("os-release", "ID=debian\nIMAGE_ID=postern\nIMAGE_VERSION=\"0.1.0\"\n"),
                sysupdate: write("sysupdate", &format!("#!/bin/sh\nkernels={}/kernels\n{sysupdate}", folder.display())),
                updates: write("SHA256SUMS", "").parent().unwrap().into(),
                kernels: Some(folder.join("kernels")),
                restart: vec!["touch".into(), folder.join("restarted").display().to_string()],
                run: folder.clone(),
                is_root: true,
            };
            Self { folder, machine }
        }

        async fn upgrade(&self) -> Result<(), Failure> {
            let arguments = Arguments { no_restart: false, drain: Duration::ZERO };
            run(&self.machine, None, &arguments, true).await
        }

        fn restarted(&self) -> bool {
            self.folder.join("restarted").exists()
        }
    }

    impl Drop for Fake {
        fn drop(&mut self) {
            _ = fs::remove_dir_all(&self.folder);
        }
    }

    fn words(outcome: Result<(), Failure>) -> String {
        match outcome {
            Err(Failure::Problem(words)) => words,
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn a_newer_version_is_written_and_started() {
        let script = "case $1 in check-new) echo 0.2.0;; update) touch $kernels/postern_0.2.0+3-0.efi;; esac";
        let fake = Fake::new("good", script, &["postern_0.1.0.efi"]);
        fake.upgrade().await.unwrap();
        assert!(fake.restarted());
        fs::remove_file(fake.folder.join("SHA256SUMS")).unwrap();
        assert!(words(fake.upgrade().await).contains("there is no update in"));
    }

    #[tokio::test]
    async fn what_is_refused_leaves_what_runs_and_says_why() {
        for (name, script, said) in [
            ("none", "exit 1", "no version that is newer"),
            (
                "unsigned",
                "echo 'Signature verification failed.' >&2; exit 1",
                "by a key that this image was built with",
            ),
            (
                "spoilt",
                "[ $1 = check-new ] && echo 0.2.0 || { echo 'gpg: Good signature' >&2; echo 'Got 1% of it' >&2; echo 'DOWNLOAD INVALID: Checksum of x file did not check out' >&2; exit 1; }",
                "copy the update again",
            ),
            (
                "full",
                "[ $1 = check-new ] && echo 0.2.0 || { echo 'write: No space left on device' >&2; exit 1; }",
                "df -h",
            ),
            ("no-kernel", "[ $1 = check-new ] && echo 0.2.0 || true", "does not have its kernel"),
        ] {
            let fake = Fake::new(name, script, &["postern_0.1.0.efi"]);
            let refused = words(fake.upgrade().await);
            assert!(refused.contains(said), "{name}: {refused}");
            assert!(!refused.contains("Got 1%") && !fake.restarted(), "{name}: {refused}");
        }
    }

    #[tokio::test]
    async fn one_that_talks_without_end_is_not_waited_for() {
        let script = "[ $1 = check-new ] && { echo 0.2.0; exit; }; head -c 3000000 /dev/zero | tr '\\0' x >&2; exit 1";
        let fake = Fake::new("loud", script, &["postern_0.1.0.efi"]);
        assert!(words(fake.upgrade().await).len() < 300_000);
    }

    #[tokio::test]
    async fn elsewhere_one_is_told_what_to_do() {
        let mut fake = Fake::new("elsewhere", "exit 1", &[]);
        fake.machine.is_root = false;
        assert!(words(fake.upgrade().await).contains("only root"));
        fs::write(&fake.machine.os_release, "ID=debian\nIMAGE_ID=other\nIMAGE_VERSION=1\n").unwrap();
        assert!(words(fake.upgrade().await).contains("apt install"));
        fake.machine.os_release = "/nonexistent".into();
        assert!(words(fake.upgrade().await).contains("not the appliance"));
    }

    #[tokio::test]
    async fn one_goes_back_to_the_version_before() {
        let fake = Fake::new("back", "", &["postern_0.1.0.efi", "postern_0.0.9.efi"]);
        let arguments = Back { version: None, restart: Arguments { no_restart: true, drain: Duration::ZERO } };
        back(&fake.machine, None, &arguments, true).await.unwrap();
        assert!(fake.folder.join("kernels/postern_0.1.0+0-1.efi").exists() && !fake.restarted());
        let arguments = Back { version: Some("7".into()), ..arguments };
        assert!(words(back(&fake.machine, None, &arguments, true).await).contains("not on this disk"));
    }

    #[test]
    fn progress_is_read_from_what_a_service_would_say() {
        let rows = [
            ("X_SYSUPDATE_PROGRESS=43\nSTATUS=Updating", Some(43)),
            ("READY=1", None),
            ("X_SYSUPDATE_PROGRESS=101", None),
            ("X_SYSUPDATE_PROGRESS=x", None),
        ];
        for (said, want) in rows {
            assert_eq!(percent(said), want, "{said}");
        }
    }
}

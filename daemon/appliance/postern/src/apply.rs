//! `postern apply NEW.yaml`: another configuration takes the place of the file and is in force; with `--confirm` for a time only, until
//! somebody says that it may stay. The daemon keeps the time, so that it goes back also when the change cut off who made it.

use std::{
    ffi::OsStr,
    fs,
    io::{IsTerminal, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, chown},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use serde_json::json;
use tokio::sync::oneshot;

use crate::{
    Failure, check,
    client::{Client, with_query},
    drain::{line, span},
    print, show,
};

/// The shortest trial: below it nobody can answer.
const TRIAL_MIN: Duration = Duration::from_secs(1);
const TRIAL_MAX: Duration = Duration::from_secs(3600);

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The other configuration. Relative paths in it begin where the file is that it takes the place of.
    new: PathBuf,
    /// Go back after this time, as 60s or 10m, unless it is confirmed: here, or by `postern confirm`.
    #[arg(long, value_name = "TIME", value_parser = trial)]
    confirm: Option<Duration>,
}

fn trial(text: &str) -> Result<Duration, String> {
    let wanted = span(text)?;
    if (TRIAL_MIN..=TRIAL_MAX).contains(&wanted) { Ok(wanted) } else { Err("from 1s to 1h".into()) }
}

pub(crate) async fn run(client: &Client, file: &Path, wanted: &Arguments, as_json: bool) -> Result<(), Failure> {
    let staged = stage(&wanted.new, file)?;
    if let Err(failure) = check::checked(&staged, file) {
        // Nobody is to find it there and take it for a trial.
        let _ = fs::remove_file(&staged);
        return Err(failure);
    }
    match wanted.confirm {
        None => keep(client, file, &staged, as_json).await,
        Some(lasts) => try_out(client, file, &staged, lasts, as_json).await,
    }
}

/// For good, at once.
async fn keep(client: &Client, file: &Path, staged: &Path, as_json: bool) -> Result<(), Failure> {
    let before = replace(file, staged)?;
    let reloaded = client.post("/v1/reload").await.and_then(|done| {
        let theirs = Path::new(done["file"].as_str().unwrap_or_default());
        let same =
            theirs == file || fs::canonicalize(theirs).is_ok_and(|a| fs::canonicalize(file).is_ok_and(|b| a == b));
        if same {
            Ok(done)
        } else {
            Err(Failure::Problem(format!("the daemon runs with {}: name that with --config", theirs.display())))
        }
    });
    match reloaded {
        Ok(done) => print(as_json, &done, |done| {
            format!("{}the file of before is {}\n", show::reloaded(done), before.display())
        }),
        Err(failure) => {
            let back = fs::rename(&before, file);
            back.map_err(|error| told(&format!("{} could not be put back as", before.display()), file, &error))?;
            Err(failure)
        }
    }
}

async fn try_out(client: &Client, file: &Path, staged: &Path, lasts: Duration, as_json: bool) -> Result<(), Failure> {
    let (place, seconds) = (staged.display().to_string(), lasts.as_secs().to_string());
    let done = client.post(&with_query("/v1/trial", &[("place", &place), ("seconds", &seconds)])).await;
    let done = done.inspect_err(|_| _ = fs::remove_file(staged))?;
    let is_asked = !as_json && std::io::stdin().is_terminal() && std::io::stderr().is_terminal();
    print(as_json, &done, |done| {
        let how = if is_asked { "Enter keeps it, or `postern confirm`" } else { "`postern confirm` keeps it" };
        format!("{}on trial for {seconds} s: {how}; `postern reload` goes back at once\n", show::reloaded(done))
    })?;
    if !is_asked {
        return Ok(());
    }
    let until = Instant::now() + lasts;
    let mut answer = answer();
    loop {
        let left = until.saturating_duration_since(Instant::now());
        line(&format!("goes back in {} s; Enter keeps it ", left.as_secs()), left.is_zero());
        tokio::select! {
            said = &mut answer => return match said {
                Ok(()) => confirm(client, file, false).await,
                // The terminal went away. That is what the trial is for.
                Err(_) => Ok(()),
            },
            () = tokio::time::sleep(Duration::from_secs(1).min(left)), if !left.is_zero() => {}
            () = std::future::ready(()), if left.is_zero() => {
                return Err(Failure::Problem("nobody confirmed it: the configuration of before is in force".into()));
            }
        }
    }
}

/// A line of the terminal; an error when there will be none. A thread of its own, which ends with the tool.
fn answer() -> oneshot::Receiver<()> {
    let (said, answer) = oneshot::channel();
    std::thread::spawn(move || {
        let mut text = String::new();
        if std::io::stdin().read_line(&mut text).is_ok_and(|len| len > 0) {
            let _ = said.send(());
        }
    });
    answer
}

/// `postern confirm`: what is on trial stays, and becomes the file.
pub(crate) async fn confirm(client: &Client, file: &Path, as_json: bool) -> Result<(), Failure> {
    client.post("/v1/trial/confirm").await?;
    // In force it is already, so a file that cannot be put into its place is told and nothing else.
    let before = replace(file, &beside(file, "trial"))?;
    let told = json!({ "file": file, "before": before });
    print(as_json, &told, |_| format!("it stays; the file of before is {}\n", before.display()))
}

/// Puts a copy of the new one beside the file, readable by whom that is readable.
fn stage(new: &Path, file: &Path) -> Result<PathBuf, Failure> {
    let staged = beside(file, "trial");
    let text = postern_config::read_document(new)
        .map_err(|error| Failure::Problem(format!("{} cannot be read: {error}", new.display())))?;
    let write = || {
        let like = fs::metadata(file)?;
        let _ = fs::remove_file(&staged);
        let mut out = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&staged)?;
        out.write_all(text.as_bytes())?;
        // Who is not root keeps what is his own; the daemon says so when it cannot read it.
        let _ = chown(&staged, Some(like.uid()), Some(like.gid()));
        out.set_permissions(fs::Permissions::from_mode(like.mode() & 0o7777))?;
        out.sync_all()
    };
    write().map_err(|error| told("cannot write", &staged, &error))?;
    Ok(staged)
}

/// The staged one becomes the file, in one step; what was there stays as `FILE.before`, which is told.
fn replace(file: &Path, staged: &Path) -> Result<PathBuf, Failure> {
    // Where the file is a link, what it leads to is replaced.
    let real = fs::canonicalize(file).map_err(|error| told("cannot find", file, &error))?;
    let before = beside(file, "before");
    fs::copy(&real, &before).map_err(|error| told("cannot write", &before, &error))?;
    fs::rename(staged, &real).map_err(|error| told("cannot replace", &real, &error))?;
    Ok(before)
}

fn beside(file: &Path, ending: &str) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(OsStr::new("."));
    name.push(ending);
    name.into()
}

fn told(what: &str, path: &Path, error: &std::io::Error) -> Failure {
    Failure::Problem(format!("{what} {}: {error}", path.display()))
}

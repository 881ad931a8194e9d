//! `postern support-bundle`: everything that somebody far away needs to tell what is wrong, in one file, without a secret in it.
//!
//! Works also when the daemon does not: what cannot be had is named in the bundle's README. Secrets are kept out three times: the
//! configuration is written with its secrets hidden, messages are asked for masked, and at the end every secret of the configuration
//! is looked for in every text and overwritten.

use std::{
    fmt::Write as _,
    fs,
    io::Write as _,
    os::unix::fs::OpenOptionsExt,
    path::Path,
    process::Command,
    time::{SystemTime, UNIX_EPOCH},
};

use flate2::{Compression, write::GzEncoder};
use postern_config::{Config, SystemEnvironment};
use postern_types::UnixMicros;
use serde_json::{Value, json};

use crate::{
    Failure,
    client::Client,
    doctor, ladder, print,
    say::{date, line},
    trace,
};

/// Bytes of all texts at most; compressed they are about a tenth.
const ALL_MAX: usize = 64 << 20;
/// Bytes of the journal at most; its end is what is kept.
const JOURNAL_MAX: usize = 24 << 20;
/// Bytes of any other text at most.
const TEXT_MAX: usize = 4 << 20;
/// Finished legs that are listed.
const LISTED: usize = 500;
/// Calls that are told whole: the failed ones first, each sort from the latest.
const TOLD: usize = 30;
/// Latest events.
const EVENTS: usize = 2000;
/// Secrets shorter than this are not looked for in texts: they would be found in numbers and words that are none.
const SECRET_MIN: usize = 5;

/// What a person may ask for.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The file to write, as `postern.tar.gz`.
    file: std::path::PathBuf,
    /// Hours of the journal.
    #[arg(long, default_value_t = 6, value_parser = clap::value_parser!(u32).range(1..=168))]
    hours: u32,
}

/// Texts by name, and what is not among them.
#[derive(Default)]
struct Bundle {
    texts: Vec<(String, String)>,
    left_out: Vec<String>,
    bytes: usize,
}

impl Bundle {
    /// Takes a text; of one that is too long the end is kept, which is the latest.
    fn add(&mut self, name: impl Into<String>, text: String, max: usize) {
        let name = name.into();
        let room = max.min(ALL_MAX.saturating_sub(self.bytes));
        let kept = tail(&text, room);
        if kept.len() < text.len() {
            self.left_out.push(format!("{name}: its first {} of {} bytes", text.len() - kept.len(), text.len()));
        }
        if !kept.is_empty() {
            self.bytes += kept.len();
            self.texts.push((name, kept.to_owned()));
        }
    }

    /// The outcome of asking somebody: the text, or why there is none.
    fn take(&mut self, name: &str, asked: Result<String, String>, max: usize) {
        match asked {
            Ok(text) if text.trim().is_empty() => self.left_out.push(format!("{name}: there is nothing")),
            Ok(text) => self.add(name, text, max),
            Err(why) => self.left_out.push(format!("{name}: {why}")),
        }
    }
}

/// The end of a text, from the beginning of a line.
fn tail(text: &str, max: usize) -> &str {
    if text.len() <= max {
        return text;
    }
    let mut from = text.len() - max;
    while !text.is_char_boundary(from) {
        from += 1;
    }
    text[from..].split_once('\n').map_or("", |(_, rest)| rest)
}

/// Collects and writes.
pub(crate) async fn run(arguments: &Arguments, file: &Path, socket: &Path, as_json: bool) -> Result<(), Failure> {
    let name = arguments.file.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let Some(stem) = name.strip_suffix(".tar.gz").or(name.strip_suffix(".tgz")).filter(|stem| !stem.is_empty()) else {
        return Err(Failure::Problem(format!("`{name}` is no name for a bundle: want one that ends with .tar.gz")));
    };
    let mut bundle = Bundle::default();
    let config = configuration(&mut bundle, file);
    of_doctor(&mut bundle, file, socket).await;
    of_daemon(&mut bundle, socket).await;
    of_machine(&mut bundle, arguments.hours);
    if let Some(config) = &config {
        let secrets = secrets(config);
        bundle.texts.iter_mut().for_each(|(_, text)| *text = scrubbed(text, &secrets));
    }
    bundle.texts.insert(0, ("README.txt".into(), readme(&bundle)));
    let written = archive(&bundle, stem).and_then(|bytes| save(&arguments.file, &bytes).map(|()| bytes.len()));
    let shown = arguments.file.display();
    let bytes = written.map_err(|error| Failure::Problem(format!("{shown} cannot be written: {error}")))?;
    let told =
        json!({ "file": shown.to_string(), "bytes": bytes, "texts": bundle.texts.len(), "left_out": bundle.left_out });
    print(as_json, &told, |_| {
        let mut said = format!(
            "{shown}: {} texts, {} KB; it has numbers and addresses of callers in it, and no secrets\n",
            bundle.texts.len(),
            bytes.div_ceil(1024)
        );
        bundle.left_out.iter().for_each(|what| _ = writeln!(said, "left out: {what}"));
        said
    })
}

fn configuration(bundle: &mut Bundle, file: &Path) -> Option<Config> {
    let text = match postern_config::read_document(file) {
        Ok(text) => text,
        Err(error) => {
            bundle.left_out.push(format!("configuration.yaml: {} cannot be read: {error}", file.display()));
            return None;
        }
    };
    match postern_config::load(&file.display().to_string(), &text, &SystemEnvironment) {
        Ok((config, _)) => {
            bundle.add("configuration.yaml", without_url_secrets(&config.to_yaml()), TEXT_MAX);
            Some(config)
        }
        Err(mistakes) => {
            // The lines themselves could hold what nobody recognised as a secret.
            let told = mistakes.iter().map(|m| format!("{}:{}:{}: {}\n", m.file, m.line, m.column, m.message));
            bundle.add("configuration-mistakes.txt", told.collect(), TEXT_MAX);
            bundle.left_out.push("configuration.yaml: it has mistakes, and what of it is secret cannot be told".into());
            None
        }
    }
}

async fn of_doctor(bundle: &mut Bundle, file: &Path, socket: &Path) {
    let findings = doctor::examine(file, socket).await;
    bundle.add("doctor.txt", doctor::drawn(&findings), TEXT_MAX);
    bundle.add("doctor.json", pretty(&json!(findings)), TEXT_MAX);
}

async fn of_daemon(bundle: &mut Bundle, socket: &Path) {
    let client = match Client::open(socket) {
        Ok(client) => client,
        Err(why) => return bundle.left_out.push(format!("status, calls, events, traces: {}", words(why))),
    };
    let get = async |path: String| client.get(&path).await.map_err(words);
    bundle.take("status.json", get("/v1/status".into()).await.map(|told| pretty(&told)), TEXT_MAX);
    let calls = get(format!("/v1/calls?finished={LISTED}")).await;
    bundle.take("calls.json", calls.as_ref().map(pretty).map_err(String::clone), TEXT_MAX);
    for sid in chosen(&calls.unwrap_or_default()) {
        let told = get(format!("/v1/calls/{sid}")).await;
        bundle.take(&format!("calls/{sid}.json"), told.as_ref().map(pretty).map_err(String::clone), TEXT_MAX);
        if let Ok(told) = told {
            bundle.add(format!("calls/{sid}.txt"), ladder::render(&told, None), TEXT_MAX);
        }
        let traced = get(format!("/v1/trace/{sid}")).await.and_then(|told| trace::story(&told).map_err(words));
        bundle.take(&format!("traces/{sid}.txt"), traced, TEXT_MAX);
    }
    bundle.take("events.txt", events(&client).await.map_err(words), TEXT_MAX);
}

/// First legs of the calls that are told: failed ones, then others.
fn chosen(calls: &Value) -> Vec<String> {
    let legs = calls["calls"].as_array().map_or(&[][..], Vec::as_slice);
    let first = legs.iter().filter(|leg| leg["parent"].is_null());
    let (well, failed): (Vec<_>, Vec<_>) = first
        .partition(|leg| matches!(leg["status"].as_str(), Some("completed" | "in-progress" | "ringing" | "queued")));
    let both = latest(failed).into_iter().chain(latest(well));
    both.filter_map(|leg| leg["sid"].as_str().map(str::to_owned)).take(TOLD).collect()
}

fn latest(mut legs: Vec<&Value>) -> Vec<&Value> {
    legs.sort_by_key(|leg| std::cmp::Reverse(leg["created"].as_u64()));
    legs
}

async fn events(client: &Client) -> Result<String, Failure> {
    let mut stream = client.stream(&format!("/v1/events?tail={EVENTS}&follow=false")).await?;
    let mut text = String::new();
    while let Some(event) = stream.next().await? {
        text.push_str(&line(&event));
    }
    Ok(text)
}

fn of_machine(bundle: &mut Bundle, hours: u32) {
    let since = format!("-{hours}h");
    bundle.take(
        "journal.txt",
        command(
            "journalctl",
            &["--namespace=+postern", "-u", "posternd", "--since", &since, "-o", "short-iso-precise", "--no-pager"],
        ),
        JOURNAL_MAX,
    );
    bundle.take(
        "kernel.txt",
        command("journalctl", &["-k", "-p", "warning", "--since", &since, "--no-pager"]),
        TEXT_MAX,
    );
    bundle.take("unit.txt", command("systemctl", &["show", "posternd"]), TEXT_MAX);
    bundle.take("addresses.txt", command("ip", &["address"]), TEXT_MAX);
    bundle.take("sockets.txt", command("ss", &["-s"]), TEXT_MAX);
    bundle.take("package.txt", command("dpkg-query", &["-W", "postern"]), TEXT_MAX);
    for (name, file) in [
        ("os-release.txt", "/etc/os-release"),
        ("kernel-version.txt", "/proc/version"),
        ("interrupts.txt", "/proc/interrupts"),
        ("memory.txt", "/proc/meminfo"),
        ("load.txt", "/proc/loadavg"),
        ("network.txt", "/proc/net/snmp"),
    ] {
        bundle.take(name, fs::read_to_string(file).map_err(|error| error.to_string()), TEXT_MAX);
    }
}

fn command(name: &str, words: &[&str]) -> Result<String, String> {
    let done = Command::new("timeout").arg("20").arg(name).args(words).output().map_err(|error| error.to_string())?;
    if done.status.success() {
        return Ok(String::from_utf8_lossy(&done.stdout).into_owned());
    }
    let why = String::from_utf8_lossy(&done.stderr);
    Err(format!("`{name}` failed: {}", why.lines().next().unwrap_or("without a word")))
}

/// Every password, token and key of the configuration that is long enough to be recognised.
fn secrets(config: &Config) -> Vec<String> {
    let of_users = config.users.values().map(|user| user.password.expose().clone());
    let of_trunks = config.trunks.values().flat_map(|trunk| [&trunk.credentials, &trunk.demands]);
    let of_trunks = of_trunks.flatten().map(|credentials| credentials.password.expose().clone());
    let of_accounts = config.accounts.values().map(|account| account.token.expose().clone());
    let of_link =
        config.control_plane.iter().filter_map(|link| link.token.as_ref()).map(|token| token.expose().clone());
    let mut all: Vec<_> = of_users.chain(of_trunks).chain(of_accounts).chain(of_link).collect();
    all.retain(|secret| secret.len() >= SECRET_MIN);
    // The longest first: one may be the beginning of another.
    all.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
    all
}

fn scrubbed(text: &str, secrets: &[String]) -> String {
    secrets.iter().fold(text.to_owned(), |text, secret| match text.contains(secret.as_str()) {
        true => text.replace(secret.as_str(), postern_types::secret::HIDDEN),
        false => text,
    })
}

/// `https://user:word@host/path?token=x` without the word and what follows the question mark: there people put keys.
fn without_url_secrets(yaml: &str) -> String {
    let mut out = String::new();
    for line in yaml.lines() {
        match line.split_once("://") {
            Some((before, url)) => {
                let end = url.find(['/', '?', '#', '"', '\'']).unwrap_or(url.len());
                let (authority, rest) = url.split_at(end);
                let authority =
                    authority.rsplit_once('@').map_or(authority.to_owned(), |(_, host)| format!("***@{host}"));
                let rest = rest.split_once('?').map_or(rest.to_owned(), |(path, _)| format!("{path}?***"));
                _ = writeln!(out, "{before}://{authority}{rest}");
            }
            None => _ = writeln!(out, "{line}"),
        }
    }
    out
}

fn readme(bundle: &Bundle) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros() as u64);
    let mut text = format!(
        "Support bundle of postern {}, {} UTC.\n\nBegin with doctor.txt, status.json and journal.txt; calls/ tells calls as ladders, traces/ their SIP\nmessages. Passwords, tokens, keys and digits are hidden; numbers, names and addresses of callers are not.\n\n",
        env!("CARGO_PKG_VERSION"),
        date(UnixMicros(now))
    );
    bundle.texts.iter().for_each(|(name, content)| _ = writeln!(text, "{:>9}  {name}", content.len()));
    text.push_str(if bundle.left_out.is_empty() { "\nNothing was left out.\n" } else { "\nLeft out:\n" });
    bundle.left_out.iter().for_each(|what| _ = writeln!(text, "- {what}"));
    text
}

fn archive(bundle: &Bundle, stem: &str) -> std::io::Result<Vec<u8>> {
    let mut archive = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::default()));
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    for (name, text) in &bundle.texts {
        let mut header = tar::Header::new_gnu();
        header.set_size(text.len() as u64);
        header.set_mode(0o600);
        header.set_mtime(now);
        archive.append_data(&mut header, format!("{stem}/{name}"), text.as_bytes())?;
    }
    archive.into_inner()?.finish()
}

/// Only its owner may read it.
fn save(file: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut opened = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(file)?;
    opened.write_all(bytes)?;
    opened.sync_all()
}

fn pretty(value: &Value) -> String {
    format!("{value:#}\n")
}

fn words(failure: Failure) -> String {
    match failure {
        Failure::Problem(words) | Failure::Unreachable(words) => words,
        Failure::Warned => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_bounded_and_what_is_cut_is_named() {
        let mut bundle = Bundle::default();
        bundle.add("long", "first line\nsecond\nthird\n".into(), 15);
        bundle.take("none", Ok(" \n".into()), 10);
        bundle.take("gone", Err("no such command".into()), 10);
        assert_eq!(bundle.texts, [("long".to_owned(), "second\nthird\n".to_owned())]);
        assert_eq!(
            bundle.left_out,
            ["long: its first 11 of 24 bytes", "none: there is nothing", "gone: no such command"]
        );
        for number in 0..20 {
            bundle.add(format!("{number}"), "x\n".repeat(ALL_MAX / 8), TEXT_MAX);
        }
        assert!(bundle.bytes <= ALL_MAX);
        assert_eq!(tail("é\né", 3), "é");
        assert_eq!(tail("no line end", 3), "");
    }

    #[test]
    fn urls_lose_user_and_query_and_secrets_become_stars() {
        let yaml = "a: https://u:p@app.example/voice?key=k\nb: plain\nc: \"nats://n:4222\"\n";
        assert_eq!(without_url_secrets(yaml), "a: https://***@app.example/voice?***\nb: plain\nc: \"nats://n:4222\"\n");
        assert_eq!(scrubbed("x secret-2 secret", &["secret-2".into(), "secret".into()]), "x *** ***");
    }

    #[test]
    fn failed_calls_come_first_and_only_first_legs() {
        let leg = |sid: &str, status: &str, created: u64| json!({ "sid": sid, "status": status, "created": created });
        let mut child = leg("child", "failed", 9);
        child["parent"] = json!("new");
        let calls =
            json!({ "calls": [leg("new", "completed", 3), child, leg("bad", "busy", 1), leg("worse", "failed", 2)] });
        assert_eq!(chosen(&calls), ["worse", "bad", "new"]);
        assert!(chosen(&json!({})).is_empty());
    }
}

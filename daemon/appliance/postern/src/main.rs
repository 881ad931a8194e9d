//! `postern`: asks the daemon of this machine over its socket, and tells a person.
//!
//! Exit codes: 0 all is well, 1 a problem was found or the daemon refused, 2 wrong usage, 3 the daemon cannot be reached, 4 the doctor
//! found something to look at and nothing bad.

#![forbid(unsafe_code)]

mod apply;
mod bans;
mod bench;
mod bundle;
mod check;
mod client;
mod diff;
mod doctor;
mod drain;
mod find;
mod health;
mod ladder;
mod messages;
mod records;
mod route;
mod say;
mod show;
mod slots;
mod trace;
mod tune;
mod upgrade;
mod why;

use std::{
    io::{IsTerminal, Write},
    path::PathBuf,
    process::ExitCode,
};

use clap::{Parser, Subcommand};
use client::Client;
use serde_json::Value;

/// What the unit runs with.
const CONFIG: &str = "/etc/postern/postern.yaml";

/// Where the daemon listens unless its configuration says otherwise.
const SOCKET: &str = "/run/postern/postern.sock";

/// Looks at a Postern appliance and gives it orders.
#[derive(Debug, Parser)]
#[command(
    version,
    after_help = "Exit codes: 0 well, 1 a problem was found or an order refused, 2 wrong usage, 3 daemon unreachable, 4 the doctor warns."
)]
struct Arguments {
    /// The daemon's socket.
    #[arg(long, global = true, value_name = "PATH")]
    socket: Option<PathBuf>,
    /// The daemon's configuration file; without --socket, its folder of the socket, too.
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// JSON for programs instead of text for a person.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Read a configuration file and tell every mistake.
    Check {
        /// The file.
        file: PathBuf,
        /// Show the whole configuration with defaults filled in and secrets hidden.
        #[arg(long)]
        effective: bool,
    },
    /// Whether this machine is fit: what to mend, and how. Needs no running daemon.
    Doctor,
    /// What this machine's CPUs, interrupts and socket limits should be set to, and why. Needs no running daemon.
    Tune(tune::Arguments),
    /// What a packet costs this machine, and how many calls follow from it. Needs no running daemon, and wants none with calls.
    Bench(bench::Arguments),
    /// Everything that tells what is wrong in one file, for whoever helps; no secrets in it. Needs no running daemon.
    SupportBundle(bundle::Arguments),
    /// How the appliance is.
    Status,
    /// Whether the box serves: it calls itself over each of its SIP addresses, and tells how its trunks are.
    Health,
    /// The calls of this moment.
    Calls {
        /// And the latest finished ones, this many.
        #[arg(long, value_name = "N", default_value_t = 0)]
        finished: usize,
    },
    /// What would become of a number, without a call: each rule, the route, and the trunks that it could leave by.
    Route {
        /// As it would be dialed.
        number: String,
        /// Of a call of this trunk; without it, of a user.
        #[arg(long, value_name = "TRUNK")]
        from: Option<String>,
        /// Who would call.
        #[arg(long, value_name = "NUMBER", default_value = "")]
        caller: String,
        /// When it would be dialed, for schedules: `2026-12-24T20:00` by this machine's clock, or with its distance from UTC (`…+01:00`).
        #[arg(long, value_name = "TIME", value_parser = route::time)]
        at: Option<u64>,
    },
    /// Tell a call, live or finished, as a ladder.
    Explain {
        /// A sid, its beginning, or a number: then the latest call from or to it.
        call: String,
    },
    /// The SIP messages of a call, live or lately finished, as a ladder.
    Trace(trace::Arguments),
    /// What happens.
    Events {
        /// Only this type (`call.ended`) or family (`leg.*`); may be repeated.
        #[arg(long = "type", value_name = "TYPE")]
        types: Vec<String>,
        /// Only this call, named as for `explain`.
        #[arg(long)]
        call: Option<String>,
        /// Go on as things happen.
        #[arg(short, long)]
        follow: bool,
        /// Begin with this many of the latest; 20 when not following, none when following.
        #[arg(short = 'n', long = "tail", value_name = "N")]
        tail: Option<usize>,
    },
    /// What another configuration changes, and which of the latest calls would go elsewhere by it. Changes nothing.
    Diff(diff::Arguments),
    /// Call records in files. Needs no running daemon.
    #[command(subcommand)]
    Records(Records),
    /// End a call.
    Hangup {
        /// As for `explain`.
        call: String,
    },
    /// How many voice messages wait for a user, or to say so; its phones are told.
    Messages(messages::Arguments),
    /// The sources that are banned, why and for how long.
    Bans {
        /// End the ban of this one, and forget what it did.
        #[arg(long, value_name = "SOURCE")]
        lift: Option<String>,
    },
    /// Read the configuration file again. What is on trial is gone with it.
    Reload,
    /// Put another configuration into the file's place and in force, or for a time only.
    Apply(apply::Arguments),
    /// What is on trial stays: see `apply --confirm`.
    Confirm,
    /// Refuse new calls and wait for the live ones to end: before a stop, or work on the machine.
    Drain(drain::Arguments),
    /// The appliance only: write a newer version into the other slot, drain, and start it, on trial.
    Upgrade(upgrade::Arguments),
    /// The appliance only: drain, and start the version before.
    Rollback(upgrade::Back),
}

#[derive(Debug, Subcommand)]
enum Records {
    /// Whether they are those that were written: names the first that was changed, left out or moved.
    Verify(records::Verify),
}

/// Why the tool did not succeed; the number is the exit code.
#[derive(Debug, PartialEq, Eq)]
enum Failure {
    /// 1, with words for the person; empty when they were told already.
    Problem(String),
    /// 3.
    Unreachable(String),
    /// 4.
    Warned,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let (code, words) = match run(arguments).await {
        Ok(()) => return ExitCode::SUCCESS,
        Err(Failure::Problem(words)) => (1, words),
        Err(Failure::Unreachable(words)) => (3, words),
        Err(Failure::Warned) => (4, String::new()),
    };
    if !words.is_empty() {
        eprintln!("postern: {words}");
    }
    ExitCode::from(code)
}

async fn run(arguments: Arguments) -> Result<(), Failure> {
    if let Command::Check { file, effective } = &arguments.command {
        return check::run(file, *effective, arguments.json);
    }
    if let Command::Records(Records::Verify(wanted)) = &arguments.command {
        return records::verify(wanted, &places(&arguments).0, arguments.json);
    }
    if let Command::Doctor = &arguments.command {
        let (file, socket) = places(&arguments);
        return doctor::run(&file, &socket, arguments.json).await;
    }
    if let Command::Tune(wanted) = &arguments.command {
        return tune::run(wanted, arguments.json);
    }
    if let Command::Bench(wanted) = &arguments.command {
        let (file, socket) = places(&arguments);
        return bench::run(wanted, &file, &socket, arguments.json).await;
    }
    if let Command::SupportBundle(wanted) = &arguments.command {
        let (file, socket) = places(&arguments);
        return bundle::run(wanted, &file, &socket, arguments.json).await;
    }
    let socket = match (&arguments.socket, &arguments.config) {
        (Some(socket), _) => socket.clone(),
        (None, Some(file)) => check::socket_of(file)?,
        (None, None) => std::env::var_os("POSTERN_SOCKET").map_or_else(|| SOCKET.into(), PathBuf::from),
    };
    let json = arguments.json;
    match &arguments.command {
        // A daemon that is down is no reason to keep its version.
        Command::Upgrade(wanted) => {
            return upgrade::run(&upgrade::Machine::default(), Client::open(&socket).ok().as_ref(), wanted, json).await;
        }
        Command::Rollback(wanted) => {
            return upgrade::back(&upgrade::Machine::default(), Client::open(&socket).ok().as_ref(), wanted, json)
                .await;
        }
        _ => {}
    }
    let (file, _) = places(&arguments);
    if let Command::Diff(wanted) = &arguments.command {
        return diff::run(wanted, &file, || Client::open(&socket), json).await;
    }
    let client = Client::open(&socket)?;
    match arguments.command {
        Command::Check { .. }
        | Command::Doctor
        | Command::Records(_)
        | Command::Diff(_)
        | Command::Tune(_)
        | Command::Bench(_)
        | Command::SupportBundle(_)
        | Command::Upgrade(_)
        | Command::Rollback(_) => unreachable!("done above"),
        Command::Status => {
            let status = client.get("/v1/status").await?;
            print(json, &status, show::status)
        }
        Command::Health => health::run(&client, json).await,
        Command::Calls { finished } => {
            let calls = client.get(&format!("/v1/calls?finished={finished}")).await?;
            print(json, &calls, |calls| show::calls(calls, width()))
        }
        Command::Route { number, from, caller, at } => {
            route::run(&client, json, &number, from.as_deref(), &caller, at).await
        }
        Command::Explain { call } => {
            let sid = find::call(&client, &call).await?;
            let told = client.get(&format!("/v1/calls/{sid}")).await?;
            print(json, &told, |told| ladder::render(told, width()))
        }
        Command::Trace(arguments) => trace::run(&client, json, arguments).await,
        Command::Events { types, call, follow, tail } => {
            let call = match call {
                Some(call) => Some(find::call(&client, &call).await?),
                None => None,
            };
            let tail = tail.unwrap_or(if follow { 0 } else { 20 });
            events(&client, json, &types, call, follow, tail).await
        }
        Command::Hangup { call } => {
            let sid = find::call(&client, &call).await?;
            let done = client.post(&format!("/v1/calls/{sid}/hangup")).await?;
            print(json, &done, |_| format!("{sid} is ended\n"))
        }
        Command::Messages(wanted) => messages::run(&client, &wanted, json).await,
        Command::Bans { lift } => bans::run(&client, json, lift.as_deref()).await,
        Command::Reload => {
            let done = client.post("/v1/reload").await?;
            print(json, &done, show::reloaded)
        }
        Command::Apply(wanted) => apply::run(&client, &file, &wanted, json).await,
        Command::Confirm => apply::confirm(&client, &file, json).await,
        Command::Drain(wanted) => drain::run(&client, &wanted, json).await,
    }
}

/// The configuration and the socket for what works without either.
fn places(arguments: &Arguments) -> (PathBuf, PathBuf) {
    let file = arguments.config.clone().unwrap_or_else(|| CONFIG.into());
    let of_file = || check::quiet_socket_of(&file).unwrap_or_else(|| SOCKET.into());
    let socket = arguments.socket.clone().or_else(|| std::env::var_os("POSTERN_SOCKET").map(PathBuf::from));
    let socket = socket.unwrap_or_else(of_file);
    (file, socket)
}

async fn events(
    client: &Client,
    json: bool,
    types: &[String],
    call: Option<String>,
    follow: bool,
    tail: usize,
) -> Result<(), Failure> {
    let mut path = format!("/v1/events?tail={tail}&follow={follow}");
    for name in types {
        if name.bytes().any(|b| !(b.is_ascii_lowercase() || matches!(b, b'.' | b'_' | b'*' | b','))) {
            return Err(Failure::Problem(format!(
                "`{name}` is no type of event: want a name as `call.ended` or `leg.*`"
            )));
        }
        path.push_str(&format!("&type={name}"));
    }
    if let Some(call) = call {
        path.push_str(&format!("&call={call}"));
    }
    let mut stream = client.stream(&path).await?;
    while let Some(event) = stream.next().await? {
        let line = if json { format!("{event}\n") } else { say::line(&event) };
        if write(&line).is_err() {
            break;
        }
    }
    Ok(())
}

fn print(json: bool, value: &Value, render: impl Fn(&Value) -> String) -> Result<(), Failure> {
    let text = if json { format!("{value:#}\n") } else { render(value) };
    // A reader that left, as `head` does, wants no more: that is no failure.
    _ = write(&text);
    Ok(())
}

/// Columns of the terminal; none when the reader is no terminal, which has lines as long as they come.
fn width() -> Option<usize> {
    comfy_table::Table::new().width().map(usize::from)
}

fn write(text: &str) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

/// Whether text may be coloured: the reader is a terminal, and NO_COLOR is not set (no-color.org).
fn coloured(stream: &impl IsTerminal) -> bool {
    stream.is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

//! `posternd`: the daemon. Reads its configuration, starts the threads, serves until it is told to stop.

use std::{path::PathBuf, process::ExitCode};

use clap::Parser;
use posternd::{admin, daemon};

/// The system's costs a call a tenth more: what one thread makes another frees, and what is remembered of a call for half a minute is cold
/// (docs/PERFORMANCE.md).
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Postern, an edge session border controller: the daemon.
///
/// Runs in the foreground, with or without systemd, with or without root. SIGHUP reloads the configuration; SIGTERM and SIGINT
/// end live calls and stop. Exit codes: 0 stopped as asked, 1 could not serve, 2 wrong usage.
#[derive(Parser)]
#[command(name = "posternd", version)]
struct Arguments {
    /// The configuration file; docs/CONFIGURATION.md has every key
    #[arg(long, short, value_name = "FILE", default_value = "/etc/postern/postern.yaml")]
    config: PathBuf,
    /// Check the configuration and exit
    #[arg(long)]
    check: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let config = match admin::read(&arguments.config) {
        Ok((config, warnings)) => {
            warnings.iter().for_each(|warning| eprintln!("{}", warning.render()));
            config
        }
        Err(admin::Refused::Unreadable(why)) => {
            eprintln!("posternd: {why}\nGive a configuration file with --config FILE.");
            return ExitCode::FAILURE;
        }
        Err(admin::Refused::Mistakes(mistakes)) => {
            mistakes.iter().for_each(|mistake| eprintln!("{}", mistake.render()));
            eprintln!("posternd: {} has {} mistake(s); not started", arguments.config.display(), mistakes.len());
            return ExitCode::FAILURE;
        }
    };
    if arguments.check {
        return ExitCode::SUCCESS;
    }
    match daemon::run(arguments.config, config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("posternd: {why}");
            ExitCode::FAILURE
        }
    }
}

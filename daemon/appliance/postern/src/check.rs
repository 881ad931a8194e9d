//! `postern check`: the same reading that the daemon does, without a daemon.

use std::path::{Path, PathBuf};

use postern_config::{Colour, Config, Diagnostic, Environment, SystemEnvironment, WithoutTables};
use serde_json::json;

use crate::{Failure, coloured, write};

type Outcome = Result<(Config, Vec<Diagnostic>), Vec<Diagnostic>>;

/// Tells what is wrong with a file, or shows what it comes to.
pub(crate) fn run(file: &Path, effective: bool, as_json: bool) -> Result<(), Failure> {
    let outcome = load(file, &SystemEnvironment)?;
    let (config, findings) = match &outcome {
        Ok((config, warnings)) => (Some(config), warnings),
        Err(mistakes) => (None, mistakes),
    };
    if as_json {
        let shown = config.filter(|_| effective);
        let told = json!({ "ok": config.is_some(), "diagnostics": findings, "effective": shown });
        _ = write(&format!("{told:#}\n"));
    } else {
        eprint!("{}", rendered(findings));
        match config {
            Some(config) if effective => _ = write(&config.to_yaml()),
            Some(_) => _ = write(&format!("{}: no mistakes\n", file.display())),
            None => {}
        }
    }
    match config {
        Some(_) => Ok(()),
        None if as_json => Err(Failure::Problem(String::new())),
        None => {
            let (count, noun) = (findings.len(), if findings.len() == 1 { "mistake" } else { "mistakes" });
            Err(Failure::Problem(format!("{} cannot be used: {count} {noun}", file.display())))
        }
    }
}

/// The socket of the daemon that runs with this file.
pub(crate) fn socket_of(file: &Path) -> Result<PathBuf, Failure> {
    match load(file, &WithoutTables)? {
        Ok((config, _)) => Ok(config.appliance.runtime_folder.join("postern.sock")),
        Err(mistakes) => {
            eprint!("{}", rendered(&mistakes));
            Err(Failure::Problem("the socket's place cannot be read from this file; give --socket".into()))
        }
    }
}

/// The whole of a file, tables and all, for who compares it.
pub(crate) fn whole(file: &Path) -> Result<Config, Failure> {
    match load(file, &SystemEnvironment)? {
        Ok((config, _)) => Ok(config),
        Err(mistakes) => {
            eprint!("{}", rendered(&mistakes));
            Err(Failure::Problem(format!("{} cannot be used", file.display())))
        }
    }
}

/// Where the daemon that runs with this file writes call records.
pub(crate) fn records_folder(file: &Path) -> Result<PathBuf, Failure> {
    let Ok((config, _)) = load(file, &WithoutTables)? else {
        return Err(Failure::Problem(format!("{} has mistakes: name the files or their folder", file.display())));
    };
    config.records_folder().ok_or_else(|| {
        Failure::Problem(format!("{} has no section `records`: name the files or their folder", file.display()))
    })
}

/// The same, for who goes on without it.
pub(crate) fn quiet_socket_of(file: &Path) -> Option<PathBuf> {
    Some(quiet_config_of(file)?.appliance.runtime_folder.join("postern.sock"))
}

/// A file as it stands, without its tables; none when it cannot be read or has mistakes.
pub(crate) fn quiet_config_of(file: &Path) -> Option<Config> {
    let (config, _) = load(file, &WithoutTables).ok()?.ok()?;
    Some(config)
}

/// Whether what stands in `place` can take the place of the file; tells the mistakes otherwise.
pub(crate) fn checked(place: &Path, file: &Path) -> Result<(), Failure> {
    match load_as(place, file, &SystemEnvironment)? {
        Ok(_) => Ok(()),
        Err(mistakes) => {
            eprint!("{}", rendered(&mistakes));
            Err(Failure::Problem("the new configuration has mistakes: nothing was changed".into()))
        }
    }
}

fn load(file: &Path, env: &dyn Environment) -> Result<Outcome, Failure> {
    load_as(file, file, env)
}

fn load_as(place: &Path, file: &Path, env: &dyn Environment) -> Result<Outcome, Failure> {
    let text = postern_config::read_document(place)
        .map_err(|error| Failure::Problem(format!("{} cannot be read: {error}", place.display())))?;
    Ok(postern_config::load(&file.display().to_string(), &text, env))
}

fn rendered(findings: &[Diagnostic]) -> String {
    let colour = if coloured(&std::io::stderr()) { Colour::Ansi } else { Colour::Never };
    findings.iter().map(|finding| finding.render_with(colour)).collect()
}

//! Reloading the configuration, and the parts of the status that only the daemon knows.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use postern_accounts::Accounts;
use postern_api::{Admin, Answer, Tenants};
use postern_config::{Config, Diagnostic, SystemEnvironment};
use postern_facts::{ConfigRefused, Fact, Happened, Subject};
use postern_switch::{Input, Status};
use serde_json::{Value, json};

use crate::{
    drivers::{journal::Journal, nats::Link, spool::Spool, store::Store, streams},
    mailbox::Mailbox,
    trial::{self, Trial},
};

/// By then the switch has let go of the configuration before.
const LET_GO_AFTER: Duration = Duration::from_secs(10);

/// Reads and checks a configuration file.
pub fn read(file: &Path) -> Result<(Config, Vec<Diagnostic>), Refused> {
    read_as(file, file).map(|(config, warnings, _)| (config, warnings))
}

/// What stands in `place`, as if it stood in `file`, and its text.
fn read_as(place: &Path, file: &Path) -> Result<(Config, Vec<Diagnostic>, String), Refused> {
    let text = postern_config::read_document(place)
        .map_err(|error| Refused::Unreadable(format!("{}: {error}", place.display())))?;
    let (config, warnings) =
        postern_config::load(&file.display().to_string(), &text, &SystemEnvironment).map_err(Refused::Mistakes)?;
    Ok((config, warnings, text))
}

/// Why a configuration file was not taken.
#[derive(Debug)]
pub enum Refused {
    /// It cannot be read at all.
    Unreadable(String),
    /// It says something wrong; every mistake.
    Mistakes(Vec<Diagnostic>),
}

/// The daemon, as the API asks it.
pub struct Daemon {
    /// The configuration file.
    pub file: PathBuf,
    /// The one of the start, which holds for what only a restart changes.
    pub started: Arc<Config>,
    /// The one in force.
    pub config: Mutex<Arc<Config>>,
    /// Where what takes a while is done.
    pub runtime: tokio::runtime::Handle,
    /// Held while it changes.
    pub order: Mutex<()>,
    /// What is in force for a time only.
    pub trial: Trial,
    /// The way to the switch.
    pub mailbox: Mailbox,
    /// Its tenants.
    pub tenants: Tenants,
    /// See the fields of the status that they fill.
    pub journal: Journal,
    /// See above.
    pub spool: Spool,
    /// See above.
    pub store: Store,
    /// See above: SIP connections.
    pub streams: streams::Control,
    /// See above; none: no control plane.
    pub link: Option<Link>,
}

impl Daemon {
    /// Reads the file again and applies it whole, or leaves the old one and says why. A trial is over with it.
    pub fn apply(&self, by: &str) -> Result<Value, Vec<Value>> {
        let _order = self.order();
        let (told, _) = self.put_in_force(&self.file, by)?;
        self.trial.end();
        Ok(told)
    }

    /// Applies what stands in `place` as if it stood in the file: paths in it begin where they would there. A summary and the text.
    pub(crate) fn put_in_force(&self, place: &Path, by: &str) -> Result<(Value, String), Vec<Value>> {
        let file = place.display().to_string();
        let (config, warnings, text) = match read_as(place, &self.file) {
            Ok(read) => read,
            Err(refused) => {
                let (mistakes, first, list) = match refused {
                    Refused::Unreadable(why) => (1, why.clone(), vec![json!({ "message": why })]),
                    Refused::Mistakes(mistakes) => {
                        let first =
                            mistakes.first().map(|m| format!("{}:{}:{}: {}", m.file, m.line, m.column, m.message));
                        let list = mistakes.iter().map(|m| json!(m)).collect();
                        (mistakes.len() as u64, first.unwrap_or_default(), list)
                    }
                };
                self.tell(ConfigRefused { file, mistakes, first });
                return Err(list);
            }
        };
        let config = Arc::new(config);
        if let Err(why) = self.streams.reload(&config) {
            // The check has passed these files; what the library still dislikes leaves the old ones in force.
            self.tell(ConfigRefused { file, mistakes: 1, first: why.clone() });
            return Err(vec![json!({ "message": why })]);
        }
        let waits_for_restart = needs_restart(&self.started, &config);
        self.swap(config, by);
        Ok((json!({ "file": file, "warnings": warnings, "needs_restart": waits_for_restart }), text))
    }

    pub(crate) fn swap(&self, config: Arc<Config>, by: &str) {
        self.journal.set_level(config.log.level);
        self.tenants.replace(Accounts::new(&config));
        let in_force = &mut *self.config.lock().unwrap_or_else(PoisonError::into_inner);
        let before = std::mem::replace(in_force, config.clone());
        // Who lets go of it last frees it, and a table of a million rows takes a while: not the switch.
        self.runtime.spawn(async move {
            tokio::time::sleep(LET_GO_AFTER).await;
            drop(before);
        });
        self.mailbox.put(Input::Configure { config, file: self.file.display().to_string(), by: by.into() });
    }

    /// The configuration in force.
    pub(crate) fn in_force(&self) -> Arc<Config> {
        self.config.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// One change after the other.
    pub(crate) fn order(&self) -> MutexGuard<'_, ()> {
        self.order.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn tell(&self, fact: impl Into<Fact>) {
        self.mailbox.put(Input::Happened(Happened { subject: Subject::default(), fact: fact.into() }));
    }
}

impl Admin for Daemon {
    fn complete(&self, status: &mut Status) {
        status.connections_slow = self.streams.slow();
        let delivery = &mut status.delivery;
        delivery.link = self.link.as_ref().map_or("none", |link| if link.is_up() { "up" } else { "down" }).into();
        delivery.published = self.link.as_ref().map_or(0, Link::published);
        delivery.spool_waiting = if self.link.is_some() { self.spool.waiting() } else { 0 };
        delivery.spool_bytes = self.spool.bytes();
        delivery.journal_dropped = self.journal.dropped();
        delivery.records = self.store.records();
        status.trial_left_s = self.trial.left_s();
    }

    fn reload(&self, by: &str) -> Answer<'_, Result<Value, Vec<Value>>> {
        let by = by.to_owned();
        // A table of a million rows takes a while: the other tasks of the drivers' threads go on meanwhile.
        Box::pin(async move { tokio::task::block_in_place(|| self.apply(&by)) })
    }

    fn try_out(&self, place: &str, lasts: Duration) -> Answer<'_, Result<Value, Vec<Value>>> {
        let ours = trial::place(&self.file);
        let same =
            |a: &Path, b: &Path| a == b || a.canonicalize().is_ok_and(|a| b.canonicalize().is_ok_and(|b| a == b));
        let is_ours = same(Path::new(place), &ours);
        Box::pin(async move {
            if !is_ours {
                let why = format!("the daemon runs with {}: name that with --config", self.file.display());
                return Err(vec![json!({ "message": why })]);
            }
            tokio::task::block_in_place(|| self.try_out(lasts))
        })
    }

    fn confirm(&self) -> Answer<'_, Result<Value, String>> {
        Box::pin(async move { tokio::task::block_in_place(|| self.confirm()) })
    }
}

/// Keys that differ from those of the start, and that only a restart applies.
fn needs_restart(old: &Config, new: &Config) -> Vec<String> {
    let mut keys = Vec::new();
    let mut note = |changed: bool, key: String| {
        if changed {
            keys.push(key);
        }
    };
    note(old.appliance.state_folder != new.appliance.state_folder, "appliance.state_folder".into());
    note(old.appliance.runtime_folder != new.appliance.runtime_folder, "appliance.runtime_folder".into());
    note(old.appliance.spool_mb != new.appliance.spool_mb, "appliance.spool_mb".into());
    note(old.appliance.spool_days != new.appliance.spool_days, "appliance.spool_days".into());
    note(old.appliance.records_max != new.appliance.records_max, "appliance.records_max".into());
    note(old.api != new.api, "api".into());
    note(old.control_plane != new.control_plane, "control_plane".into());
    note(old.recordings != new.recordings, "recordings".into());
    note(old.records != new.records, "records".into());
    note(old.log.to != new.log.to, "log.to".into());
    note(old.media.workers != new.media.workers, "media.workers".into());
    let names: std::collections::BTreeSet<_> = old.realms.keys().chain(new.realms.keys()).collect();
    for name in names {
        let signaling = |config: &Config| {
            let realm = config.realms.get(name)?;
            let streams = realm.listeners.iter().map(|listener| (listener.transport, listener.address));
            Some((realm.signaling.clone(), streams.collect::<Vec<_>>()))
        };
        note(signaling(old) != signaling(new), format!("realms.{name}.signaling"));
        let marks = |config: &Config| Some(config.realms.get(name)?.signaling_dscp);
        let is_marked_otherwise = marks(old).zip(marks(new)).is_some_and(|(old, new)| old != new);
        note(is_marked_otherwise, format!("realms.{name}.signaling_dscp"));
    }
    keys
}

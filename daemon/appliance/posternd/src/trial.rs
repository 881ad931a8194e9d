//! A configuration on trial: in force for a time, and gone again unless somebody confirms it. For changes that may cut off who makes them.
//!
//! What is on trial stands beside the file, as `FILE.trial`; the file itself stays as it is until the confirmation, so that a restart in between
//! goes back, too. The tool writes both: the daemon may not write where its configuration is.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use postern_config::Config;
use postern_facts::ConfigReverted;
use serde_json::{Value, json};
use tokio::{sync::watch, time::Instant};

use crate::admin::Daemon;

/// The trial of the moment, if there is one.
pub struct Trial {
    running: Mutex<Option<Running>>,
    until: watch::Sender<Option<Instant>>,
}

struct Running {
    /// What was in force before it, as it was read.
    before: Arc<Config>,
    /// What is on trial, as it was read.
    text: String,
    lasts: Duration,
}

impl Default for Trial {
    fn default() -> Self {
        Self { running: Mutex::default(), until: watch::Sender::new(None) }
    }
}

impl Trial {
    /// Ends it without a word: another configuration is in force, or this one for good.
    pub fn end(&self) {
        *self.running() = None;
        self.until.send_replace(None);
    }

    /// Seconds until it goes back.
    pub fn left_s(&self) -> Option<u64> {
        self.until.borrow().map(|at| at.saturating_duration_since(Instant::now()).as_secs())
    }

    fn running(&self) -> MutexGuard<'_, Option<Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where what is on trial stands.
pub fn place(file: &Path) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(".trial");
    name.into()
}

impl Daemon {
    /// Puts what stands beside the file in force for a time. A second trial renews the first: what was before that comes back.
    pub fn try_out(&self, lasts: Duration) -> Result<Value, Vec<Value>> {
        let _order = self.order();
        let before = self.in_force();
        let (mut told, text) =
            self.put_in_force(&place(&self.file), &format!("postern apply, on trial for {} s", lasts.as_secs()))?;
        told["seconds"] = json!(lasts.as_secs());
        let mut running = self.trial.running();
        let before = running.take().map_or(before, |earlier| earlier.before);
        *running = Some(Running { before, text, lasts });
        drop(running);
        self.trial.until.send_replace(Some(Instant::now() + lasts));
        Ok(told)
    }

    /// What is on trial stays. The error is a sentence for a person.
    pub fn confirm(&self) -> Result<Value, String> {
        let _order = self.order();
        let mut running = self.trial.running();
        let Some(trial) = running.as_ref() else { return Err("no configuration is on trial".into()) };
        let staged = place(&self.file);
        let text = postern_config::read_document(&staged).map_err(|error| format!("{}: {error}", staged.display()))?;
        if text != trial.text {
            return Err(format!("{} is not what is on trial any more: apply it anew", staged.display()));
        }
        *running = None;
        drop(running);
        self.trial.until.send_replace(None);
        Ok(json!({ "file": self.file }))
    }

    fn go_back(&self) {
        let _order = self.order();
        let Some(Running { before, lasts, .. }) = self.trial.running().take() else { return };
        self.trial.until.send_replace(None);
        let file = self.file.display().to_string();
        // It was in force: only its certificates' files may have become unreadable, and then those of the trial stay.
        let kept = self.streams.reload(&before).err();
        self.swap(before, "the end of a trial");
        self.tell(ConfigReverted { file, after_s: lasts.as_secs(), but: kept.unwrap_or_default() });
    }
}

/// Goes back when a trial's time is over.
pub async fn guard(daemon: Arc<Daemon>) {
    let mut until = daemon.trial.until.subscribe();
    loop {
        let at = *until.borrow_and_update();
        let over = async {
            match at {
                Some(at) => tokio::time::sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = over => tokio::task::block_in_place(|| daemon.go_back()),
            // The sender is the daemon, which we hold.
            _ = until.changed() => {}
        }
    }
}

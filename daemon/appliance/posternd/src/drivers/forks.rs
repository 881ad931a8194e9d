//! Forks: copies of packets in, messages of a WebSocket out, one task a server.
//!
//! Every few milliseconds it takes the copies that media workers left and gives each to the task of its fork, by a bounded
//! queue. A server that reads slowly loses what finds its queue full, counted; one that takes nothing, or sends nonsense
//! of the WebSocket kind, loses its fork. What servers send is read, at a bounded pace, and thrown away.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc::Receiver,
    },
    time::Duration,
};

use postern_types::{
    fork::{ForkCommand, ForkEnd, ForkEvent, ForkSetup},
    recording::{TapId, Tapped},
};
use tokio::sync::{mpsc, oneshot};

mod messages;
mod session;

use super::{DriverInput, Report};

/// Commands that wait: more than calls that start a fork in one turn.
const COMMANDS_MAX: usize = 4096;
/// Forks at once at most: 25,000 messages a second of one track, half of what a driver thread carries.
const FORKS_MAX: usize = 512;
/// How often copies are fetched: what a listener hears is late by this much at most.
const TICK: Duration = Duration::from_millis(20);
/// Copies and keys that wait for one server: a second and a quarter of both tracks, 90 KB.
const WAITING_MAX: usize = 128;

/// The driver's handle; cheap to clone.
#[derive(Clone)]
pub struct Forks {
    jobs: mpsc::Sender<ForkCommand>,
    report: Report,
}

impl Forks {
    /// Starts it on the current runtime. `tapped` brings the copies of all media workers.
    pub fn start(tapped: Receiver<Tapped>, report: Report) -> Self {
        let (jobs, waiting) = mpsc::channel(COMMANDS_MAX);
        let machine = Machine { lines: HashMap::new(), report: report.clone() };
        tokio::spawn(machine.run(waiting, tapped));
        Self { jobs, report }
    }

    /// Hands in a command; never waits.
    pub fn command(&self, command: ForkCommand) {
        if let Err(refused) = self.jobs.try_send(command)
            && let ForkCommand::Start(tap, _) = refused.into_inner()
        {
            (self.report)(failed(tap, "too many streams begin at once"));
        }
    }
}

fn failed(tap: TapId, why: &str) -> DriverInput {
    DriverInput::Fork(ForkEvent::Ended { tap, why: ForkEnd::Failed(why.to_owned()), sent: 0, lost: 0 })
}

struct Machine {
    lines: HashMap<TapId, Line>,
    report: Report,
}

/// The way to a fork's task. Dropped, it tells the task to end.
struct Line {
    queue: mpsc::Sender<Item>,
    /// Copies and keys that found the queue full.
    lost: Arc<AtomicU64>,
    _stop: oneshot::Sender<()>,
}

/// What a fork's task is told.
#[expect(clippy::large_enum_variant, reason = "nearly all are copies: a box would be an allocation for each packet")]
enum Item {
    Copy(Tapped),
    Digit(char),
}

impl Line {
    fn put(&self, item: Item) {
        if self.queue.try_send(item).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Machine {
    async fn run(mut self, mut jobs: mpsc::Receiver<ForkCommand>, tapped: Receiver<Tapped>) {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        loop {
            let job = tokio::select! {
                job = jobs.recv() => match job {
                    Some(job) => Some(job),
                    None => return,
                },
                _ = tick.tick(), if !self.lines.is_empty() => None,
            };
            // Before the command is carried out: a fork that is to end is owed what was said until then.
            for copy in tapped.try_iter() {
                if let Some(line) = self.lines.get(&copy.tap) {
                    line.put(Item::Copy(copy));
                }
            }
            job.into_iter().for_each(|job| self.take(job));
            self.lines.retain(|_, line| !line.queue.is_closed());
        }
    }

    fn take(&mut self, job: ForkCommand) {
        match job {
            ForkCommand::Start(tap, _) if self.lines.len() >= FORKS_MAX => {
                (self.report)(failed(tap, "too many streams at once"));
            }
            ForkCommand::Start(tap, setup) => {
                let line = self.begin(tap, *setup);
                self.lines.insert(tap, line);
            }
            ForkCommand::Digit { tap, digit } => {
                if let Some(line) = self.lines.get(&tap) {
                    line.put(Item::Digit(digit));
                }
            }
            ForkCommand::Stop(tap) => drop(self.lines.remove(&tap)),
        }
    }

    fn begin(&self, tap: TapId, setup: ForkSetup) -> Line {
        let (queue, items) = mpsc::channel(WAITING_MAX);
        let (stop, stopped) = oneshot::channel();
        let (lost, report) = (Arc::new(AtomicU64::new(0)), self.report.clone());
        let counted = lost.clone();
        tokio::spawn(async move {
            let started = || report(DriverInput::Fork(ForkEvent::Started { tap }));
            let (why, figures) = session::run(&setup, items, stopped, started).await;
            let lost = figures.lost + figures.unread + counted.load(Ordering::Relaxed);
            report(DriverInput::Fork(ForkEvent::Ended { tap, why, sent: figures.sent, lost }));
        });
        Line { queue, lost, _stop: stop }
    }
}

#[cfg(test)]
mod tests;

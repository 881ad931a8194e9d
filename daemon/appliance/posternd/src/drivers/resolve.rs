//! Host names to addresses, by the system's resolver, kept for a short while.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use postern_signaling::ResolveId;
use tokio::{runtime::Handle, sync::Semaphore};

use super::{DriverInput, Report};

/// Questions at once: each holds a thread of the blocking pool.
const AT_ONCE: usize = 16;

/// Questions that wait at most; a further one is answered with nothing.
const WAITING_MAX: usize = 1024;

/// How long an answer holds. The system's resolver does not tell the record's time to live.
const KEPT_FOR: Duration = Duration::from_secs(30);

/// Names that are kept at most; when full, all are forgotten.
const NAMES_MAX: usize = 1024;

/// A dead name server must not hold a call for long.
const PATIENCE: Duration = Duration::from_secs(4);

/// The resolver's handle; cheap to clone.
#[derive(Clone)]
pub struct Resolver {
    shared: Arc<Shared>,
    report: Report,
    runtime: Handle,
}

#[derive(Debug)]
struct Shared {
    kept: Mutex<HashMap<String, (Instant, Vec<IpAddr>)>>,
    places: Semaphore,
    waiting: Semaphore,
}

impl Resolver {
    /// For the current runtime.
    pub fn start(report: Report) -> Self {
        let shared =
            Shared { kept: Mutex::default(), places: Semaphore::new(AT_ONCE), waiting: Semaphore::new(WAITING_MAX) };
        Self { shared: Arc::new(shared), report, runtime: Handle::current() }
    }

    /// Looks a host up and reports [`DriverInput::Resolved`]; never waits.
    pub fn resolve(&self, id: ResolveId, host: String) {
        let resolver = self.clone();
        self.runtime.spawn(async move {
            let addresses = resolver.look_up(&host).await;
            (resolver.report)(DriverInput::Resolved { id, addresses });
        });
    }

    /// The addresses of a host, in the resolver's order without repeats; empty when there are none or nobody answers.
    async fn look_up(&self, host: &str) -> Vec<IpAddr> {
        if let Ok(address) = host.parse() {
            return vec![address];
        }
        let now = Instant::now();
        let kept = self.shared.kept.lock().unwrap_or_else(PoisonError::into_inner).get(host).cloned();
        if let Some((_, addresses)) = kept.filter(|(until, _)| *until > now) {
            return addresses;
        }
        let Ok(_waiting) = self.shared.waiting.try_acquire() else { return Vec::new() };
        let asked = tokio::time::timeout(PATIENCE, async {
            let Ok(_place) = self.shared.places.acquire().await else { return Vec::new() };
            let found = tokio::net::lookup_host((host, 0)).await;
            found.map(|found| found.map(|address| address.ip()).collect()).unwrap_or_default()
        });
        let mut addresses: Vec<IpAddr> = asked.await.unwrap_or_default();
        let mut seen = std::collections::HashSet::new();
        addresses.retain(|address| seen.insert(*address));
        if !addresses.is_empty() {
            let mut kept = self.shared.kept.lock().unwrap_or_else(PoisonError::into_inner);
            if kept.len() >= NAMES_MAX {
                kept.clear();
            }
            kept.insert(host.into(), (now + KEPT_FOR, addresses.clone()));
        }
        addresses
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn addresses_are_themselves_and_unknown_names_are_nothing() {
        let resolver = Resolver::start(Arc::new(|_| {}));
        assert_eq!(resolver.look_up("::1").await, ["::1".parse::<IpAddr>().unwrap()]);
        assert!(resolver.look_up("localhost").await.iter().all(IpAddr::is_loopback));
        assert!(resolver.look_up("no such name").await.is_empty());
    }
}

//! The asker of DNS: questions of the switch to name servers, answers with their time to live back.
//!
//! What is asked, kept and made of it is decided in `postern-locate`; here is one library call a question. hickory-resolver, because the
//! system's resolver knows neither NAPTR nor SRV nor times to live, and because it takes servers of our choice.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use hickory_resolver::{
    TokioResolver,
    config::{ConnectionConfig, NameServerConfig, ResolverConfig},
    net::{DnsError, NetError, runtime::TokioRuntimeProvider},
    proto::rr::{Name, RData, RecordType},
    system_conf,
};
use postern_config::Dns;
use postern_locate::{Answer, Kind, Question, RECORDS_MAX, Record};
use tokio::{runtime::Handle, sync::Semaphore};

use super::{DriverInput, Report};

/// Questions at once; more wait.
const AT_ONCE: usize = 256;
/// Questions that wait at most; a further one is answered with a failure.
const WAITING_MAX: usize = 4096;
/// A dead name server must not hold a call for long.
const PATIENCE: Duration = Duration::from_secs(4);
/// How long one server may take before the next is asked.
const SERVER_PATIENCE: Duration = Duration::from_millis(1500);
/// How long "there is none" holds when the zone does not say it.
const NOTHING_FOR: Duration = Duration::from_secs(60);

/// The resolver's handle; cheap to clone.
#[derive(Clone)]
pub struct Resolver {
    shared: Arc<Shared>,
    report: Report,
    runtime: Handle,
}

struct Shared {
    /// None: the system has no usable configuration, and none was written.
    resolver: Mutex<Option<TokioResolver>>,
    places: Semaphore,
    waiting: Semaphore,
}

impl Resolver {
    /// For the current runtime.
    pub fn start(dns: &Dns, report: Report) -> Self {
        let shared = Shared {
            resolver: Mutex::new(resolver(dns)),
            places: Semaphore::new(AT_ONCE),
            waiting: Semaphore::new(WAITING_MAX),
        };
        Self { shared: Arc::new(shared), report, runtime: Handle::current() }
    }

    /// Other servers from now on.
    pub fn configure(&self, dns: &Dns) {
        let new = {
            let _runtime = self.runtime.enter();
            resolver(dns)
        };
        *self.shared.resolver.lock().unwrap_or_else(PoisonError::into_inner) = new;
    }

    /// Asks and reports [`DriverInput::Answered`]; never waits.
    pub fn ask(&self, question: Question) {
        let asker = self.clone();
        self.runtime.spawn(async move {
            let answer = asker.look_up(&question).await;
            (asker.report)(DriverInput::Answered { question, answer });
        });
    }

    async fn look_up(&self, question: &Question) -> Answer {
        let Ok(_waiting) = self.shared.waiting.try_acquire() else { return Answer::Failed };
        let resolver = self.shared.resolver.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let Some(resolver) = resolver else { return Answer::Failed };
        let Ok(name) = Name::from_ascii(&question.name) else { return Answer::Nothing(NOTHING_FOR) };
        let kind = match question.kind {
            Kind::Naptr => RecordType::NAPTR,
            Kind::Srv => RecordType::SRV,
            Kind::A => RecordType::A,
            Kind::Aaaa => RecordType::AAAA,
        };
        let asked = tokio::time::timeout(PATIENCE, async {
            let Ok(_place) = self.shared.places.acquire().await else { return Answer::Failed };
            match resolver.lookup(name, kind).await {
                Ok(found) => {
                    let records = found.answers().iter().filter(|record| record.data.record_type() == kind);
                    let lasts = records.clone().map(|record| record.ttl).min().unwrap_or(0);
                    let records = records.filter_map(|found| record(&found.data)).take(RECORDS_MAX).collect();
                    Answer::Records(records, Duration::from_secs(lasts.into()))
                }
                Err(NetError::Dns(DnsError::NoRecordsFound(none))) => {
                    Answer::Nothing(none.negative_ttl.map_or(NOTHING_FOR, |ttl| Duration::from_secs(ttl.into())))
                }
                Err(_) => Answer::Failed,
            }
        });
        asked.await.unwrap_or(Answer::Failed)
    }
}

fn resolver(dns: &Dns) -> Option<TokioResolver> {
    let server = |ip| {
        let mut server = NameServerConfig::udp_and_tcp(ip);
        server.connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()].into();
        server.connections.iter_mut().for_each(|connection| connection.port = dns.port);
        server
    };
    let (config, mut options) = match dns.servers.as_slice() {
        [] => {
            let (mut system, options) = system_conf::read_system_conf().ok()?;
            // Names are whole: a search list would send a carrier's name to the office's zone.
            (system.domain, system.search) = (None, Vec::new());
            (system, options)
        }
        servers => {
            let mut config = ResolverConfig::default();
            config.name_servers = servers.iter().copied().map(server).collect();
            (config, Default::default())
        }
    };
    // What holds how long is decided where it is used.
    options.cache_size = 0;
    options.timeout = SERVER_PATIENCE;
    options.attempts = 1;
    options.ndots = 0;
    let mut builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
    *builder.options_mut() = options;
    builder.build().ok()
}

fn record(data: &RData) -> Option<Record> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned().into_boxed_str();
    // The root, which stands for nothing, becomes empty.
    let name = |name: &Name| name.to_ascii().trim_end_matches('.').into();
    Some(match data {
        RData::A(address) => Record::A(address.0),
        RData::AAAA(address) => Record::Aaaa(address.0),
        RData::SRV(srv) => {
            let (priority, weight, port) = (srv.priority, srv.weight, srv.port);
            Record::Srv { priority, weight, port, target: name(&srv.target) }
        }
        RData::NAPTR(naptr) => Record::Naptr {
            order: naptr.order,
            preference: naptr.preference,
            flags: text(&naptr.flags),
            service: text(&naptr.services),
            replacement: name(&naptr.replacement),
        },
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_no_name_is_nothing_and_a_dead_server_is_a_failure() {
        let dns = Dns { servers: vec!["127.0.0.1".parse().unwrap()], port: 9 };
        let resolver = Resolver::start(&dns, Arc::new(|_| {}));
        let ask = |name: &str| Question { name: name.into(), kind: Kind::A };
        assert_eq!(resolver.look_up(&ask("dead.example")).await, Answer::Failed);
        let long = "a".repeat(80);
        assert!(matches!(resolver.look_up(&ask(&long)).await, Answer::Nothing(_)));
    }
}

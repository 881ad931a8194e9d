//! Certificates of those who sign calls, fetched from where the calls say.
//!
//! Whoever calls chooses the address, so it gets less than an application's: HTTPS alone, no redirects, a small answer within a few
//! seconds, and no address that is not public, also when a name leads there. What is kept and for how long is decided in signaling.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use postern_config::{Config, Prefix, StirVerify};
use reqwest::{
    Certificate, Client, Url,
    dns::{Addrs, Name, Resolve, Resolving},
    redirect::Policy,
};
use tokio::{runtime::Handle, sync::Semaphore};

use super::{DriverInput, Report, http};

/// Bytes of a chain at most: three certificates have four thousand.
const BYTES_MAX: usize = 32_768;
/// A whole fetch at most. Calls wait for less.
const WITHIN: Duration = Duration::from_secs(5);
/// Fetches at once; more wait.
const AT_ONCE: usize = 32;
/// Fetches that wait or are under way; a further one fails.
const WAITING_MAX: usize = 4096;

/// Where nobody outside can be: the special addresses of IANA's registries (RFC 6890).
const SPECIAL: [(IpAddr, u8); 22] = [
    v4([0, 0, 0, 0], 8),
    v4([10, 0, 0, 0], 8),
    v4([100, 64, 0, 0], 10),
    v4([127, 0, 0, 0], 8),
    v4([169, 254, 0, 0], 16),
    v4([172, 16, 0, 0], 12),
    v4([192, 0, 0, 0], 24),
    v4([192, 0, 2, 0], 24),
    v4([192, 88, 99, 0], 24),
    v4([192, 168, 0, 0], 16),
    v4([198, 18, 0, 0], 15),
    v4([198, 51, 100, 0], 24),
    v4([203, 0, 113, 0], 24),
    v4([224, 0, 0, 0], 3),
    // All of IPv6 that is not global unicast, and what of that is special or leads to IPv4.
    v6([0, 0], 3),
    v6([0x4000, 0], 2),
    v6([0x8000, 0], 1),
    v6([0x2001, 0], 23),
    v6([0x2001, 0xdb8], 32),
    v6([0x2002, 0], 16),
    v6([0x3fff, 0], 20),
    v6([0x5f00, 0], 16),
];

const fn v4([a, b, c, d]: [u8; 4], length: u8) -> (IpAddr, u8) {
    (IpAddr::V4(Ipv4Addr::new(a, b, c, d)), length)
}

const fn v6([a, b]: [u16; 2], length: u8) -> (IpAddr, u8) {
    (IpAddr::V6(Ipv6Addr::new(a, b, 0, 0, 0, 0, 0, 0)), length)
}

/// The fetcher's handle; cheap to clone.
#[derive(Clone)]
pub struct Certificates {
    shared: Arc<Shared>,
    report: Report,
    runtime: Handle,
}

struct Shared {
    asker: Mutex<Result<Asker, String>>,
    places: Semaphore,
    waiting: Arc<Semaphore>,
}

/// How it is asked, by the configuration.
#[derive(Clone)]
struct Asker {
    client: Client,
    private: bool,
}

impl Certificates {
    /// For the current runtime. The crypto provider must be installed.
    pub fn start(config: &Config, report: Report) -> Self {
        let shared = Shared {
            asker: Mutex::new(Asker::new(config.stir.verify.as_ref())),
            places: Semaphore::new(AT_ONCE),
            waiting: Arc::new(Semaphore::new(WAITING_MAX)),
        };
        Self { shared: Arc::new(shared), report, runtime: Handle::current() }
    }

    /// Other authorities, or other addresses, from now on.
    pub fn configure(&self, config: &Config) {
        let asker = Asker::new(config.stir.verify.as_ref());
        *self.shared.asker.lock().unwrap_or_else(PoisonError::into_inner) = asker;
    }

    /// Fetches and reports [`DriverInput::Certificate`]; never waits.
    pub fn fetch(&self, url: Box<str>) {
        let Ok(waiting) = self.shared.waiting.clone().try_acquire_owned() else {
            let fetched = Err("too many certificates are being fetched".into());
            return (self.report)(DriverInput::Certificate { url, fetched });
        };
        let fetcher = self.clone();
        self.runtime.spawn(async move {
            let within = tokio::time::timeout(WITHIN, fetcher.perform(&url));
            let late = || Err(format!("no answer within {} s", WITHIN.as_secs()));
            let fetched = within.await.unwrap_or_else(|_| late());
            (fetcher.report)(DriverInput::Certificate { url, fetched });
            drop(waiting);
        });
    }

    async fn perform(&self, url: &str) -> Result<Vec<u8>, String> {
        let _place = self.shared.places.acquire().await;
        let asker = self.shared.asker.lock().unwrap_or_else(PoisonError::into_inner).clone()?;
        let url = Url::parse(url).ok().filter(|url| url.scheme() == "https").ok_or("not an address of HTTPS")?;
        // A name is looked at when it is looked up.
        let literal = url.host_str().and_then(|host| host.trim_matches(['[', ']']).parse().ok());
        if literal.is_some_and(|address| !asker.private && !is_public(address)) {
            return Err(NOT_PUBLIC.into());
        }
        let answer = asker.client.get(url).send().await.map_err(|error| http::words(&error))?;
        if !answer.status().is_success() {
            return Err(format!("answered {}", answer.status().as_u16()));
        }
        http::body(answer, BYTES_MAX).await.map_err(|failure| failure.why)
    }
}

const NOT_PUBLIC: &str = "its address is not public";

impl Asker {
    fn new(verify: Option<&StirVerify>) -> Result<Self, String> {
        let private = verify.is_some_and(|verify| verify.private_repositories);
        let builder = Client::builder()
            .user_agent(concat!("postern/", env!("CARGO_PKG_VERSION")))
            .https_only(true)
            .redirect(Policy::none())
            .referer(false)
            // A proxy would look names up for us.
            .no_proxy()
            .dns_resolver(Arc::new(Names { private }));
        let builder = match verify.and_then(|verify| verify.repository_ca.as_ref()) {
            None => builder,
            Some(believed) => {
                let certificates = believed.certificates.iter().map(|der| Certificate::from_der(der));
                let certificates = certificates.collect::<Result<Vec<_>, _>>().map_err(|error| http::words(&error))?;
                builder.tls_certs_only(certificates)
            }
        };
        let client = builder.build().map_err(|error| format!("no HTTPS: {}", http::words(&error)))?;
        Ok(Self { client, private })
    }
}

/// The system's names, but for those that lead to nobody outside.
struct Names {
    private: bool,
}

impl Resolve for Names {
    fn resolve(&self, name: Name) -> Resolving {
        let private = self.private;
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let found: Vec<SocketAddr> = found.filter(|address| private || is_public(address.ip())).collect();
            if found.is_empty() {
                return Err(io::Error::other(NOT_PUBLIC).into());
            }
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}

fn is_public(address: IpAddr) -> bool {
    let address = address.to_canonical();
    !SPECIAL.iter().any(|&(network, length)| Prefix::around(network, length).contains(address))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_outside_is_public() {
        for (address, want) in [
            ("8.8.8.8", true),
            ("93.184.216.34", true),
            ("2a00:1450:4001::1", true),
            ("127.0.0.1", false),
            ("10.1.2.3", false),
            ("172.31.255.255", false),
            ("172.32.0.1", true),
            ("192.168.0.1", false),
            ("169.254.169.254", false),
            ("100.64.0.1", false),
            ("0.0.0.0", false),
            ("224.0.0.1", false),
            ("255.255.255.255", false),
            ("::1", false),
            ("::", false),
            ("::ffff:10.0.0.1", false),
            ("::ffff:8.8.8.8", true),
            ("64:ff9b::a00:1", false),
            ("2002:a00:1::1", false),
            ("fe80::1", false),
            ("fd00::1", false),
            ("ff02::1", false),
            ("2001:db8::1", false),
        ] {
            assert_eq!(is_public(address.parse().unwrap()), want, "{address}");
        }
    }

    #[tokio::test]
    async fn what_a_caller_chose_leads_nowhere_but_outside_by_https() {
        super::super::install_crypto();
        let config = Config::empty("test");
        let fetcher = Certificates::start(&config, Arc::new(|_| {}));
        for (url, why) in [
            ("http://8.8.8.8/a.pem", "not an address of HTTPS"),
            ("file:///etc/passwd", "not an address of HTTPS"),
            ("nonsense", "not an address of HTTPS"),
            ("https://127.0.0.1/a.pem", NOT_PUBLIC),
            ("https://[::1]/a.pem", NOT_PUBLIC),
            ("https://0x7f.1/a.pem", NOT_PUBLIC),
            ("https://[::ffff:192.168.1.1]:8443/a.pem", NOT_PUBLIC),
            ("https://localhost/a.pem", NOT_PUBLIC),
        ] {
            let told = fetcher.perform(url).await.unwrap_err();
            assert!(told.contains(why), "{url}: {told}");
        }
    }
}

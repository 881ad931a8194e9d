//! Our certificates, and when they end: nobody should learn that from callers.

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use postern_config::{Config, Identity};
use postern_facts::CertificateExpiring;
use postern_types::{Now, UnixMicros};

use crate::request::CertificateStatus;

const DAY: Duration = Duration::from_secs(86_400);
/// From so long before its end a certificate is spoken of, once a day.
const AHEAD: Duration = Duration::from_secs(30 * 86_400);

/// What the configuration names, and when it is looked at next.
#[derive(Debug)]
pub(crate) struct Watch {
    /// The one that ends first in front.
    certificates: Vec<Certificate>,
    /// The next to be looked at in this round.
    at: usize,
    next: Instant,
}

#[derive(Debug)]
struct Certificate {
    of: String,
    file: PathBuf,
    expires: UnixMicros,
}

impl Watch {
    /// Looks at once, and each day from then on.
    pub(crate) fn new(config: &Config, now: Now) -> Self {
        let of_realms = config.realms.iter().flat_map(|(name, realm)| {
            let identities = realm.listeners.iter().filter_map(|listener| listener.tls.as_deref());
            identities.map(move |tls| certificate(format!("realm {name}"), &tls.identity))
        });
        let of_trunks = config.trunks.iter().filter_map(|(name, trunk)| {
            let identity = trunk.tls.as_deref()?.identity.as_ref()?;
            Some(certificate(format!("trunk {name}"), identity))
        });
        let mut certificates: Vec<_> = of_realms.chain(of_trunks).collect();
        certificates.sort_by(|a, b| (a.expires, &a.of, &a.file).cmp(&(b.expires, &b.of, &b.file)));
        certificates.dedup_by(|a, b| a.of == b.of && a.file == b.file);
        Self { certificates, at: 0, next: now.instant }
    }

    /// The next fact that is due.
    pub(crate) fn due(&mut self, now: Now) -> Option<CertificateExpiring> {
        if self.certificates.is_empty() || self.next > now.instant {
            return None;
        }
        let found = self.certificates.get(self.at).filter(|c| c.expires <= now.wall + AHEAD);
        let Some(Certificate { of, file, expires }) = found else {
            (self.at, self.next) = (0, now.instant + DAY);
            return None;
        };
        self.at += 1;
        Some(CertificateExpiring { of: of.clone(), file: file.display().to_string(), days: days(*expires, now) })
    }

    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        (!self.certificates.is_empty()).then_some(self.next)
    }

    pub(crate) fn status(&self, now: Now) -> Vec<CertificateStatus> {
        let status = |c: &Certificate| CertificateStatus {
            of: c.of.clone(),
            file: c.file.display().to_string(),
            expires: c.expires.seconds(),
            days: days(c.expires, now),
        };
        self.certificates.iter().map(status).collect()
    }
}

fn certificate(of: String, identity: &Identity) -> Certificate {
    Certificate { of, file: identity.certificate.clone(), expires: identity.expires }
}

fn days(expires: UnixMicros, now: Now) -> u64 {
    expires.since(now.wall).as_secs() / DAY.as_secs()
}

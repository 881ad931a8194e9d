//! Certificates and keys that realms and trunks name: read, paired and dated while the file is checked, so that a running daemon
//! never meets a bad one.

use std::path::{Path, PathBuf};

use postern_types::{Secret, UnixMicros};
use rustls::{
    InconsistentKeys,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    sign::CertifiedKey,
};
use serde::{Serialize, Serializer};

use crate::reader::{Fields, Reader};

/// Certificates of one chain or bundle that are read at most: all public authorities together are about 150.
const CERTIFICATES_MAX: usize = 1000;

/// Who we are: a certificate with its chain, and its key. Shown and compared with their files' names; the contents are as read when the
/// configuration was.
#[derive(Debug, Clone, PartialEq)]
pub struct Identity {
    /// The file of the chain.
    pub certificate: PathBuf,
    /// The file of the key.
    pub key: PathBuf,
    /// Our certificate first, then its issuers, DER.
    pub chain: Vec<Vec<u8>>,
    /// DER: PKCS #8, PKCS #1 or SEC 1.
    pub key_der: Secret<Vec<u8>>,
    /// After this our certificate is not valid.
    pub expires: UnixMicros,
}

/// Whom we believe: certificates of authorities.
#[derive(Debug, Clone, PartialEq)]
pub struct Authorities {
    /// Their file.
    pub file: PathBuf,
    /// DER.
    pub certificates: Vec<Vec<u8>>,
}

impl Serialize for Authorities {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        self.file.serialize(to)
    }
}

impl Identity {
    /// `certificate` and `key` of a section; none, and told, when they cannot be used together.
    pub(crate) fn read(r: &mut Reader<'_>, f: &Fields<'_>) -> Option<Self> {
        let (certificate, key) = (f.path(r, "certificate"), f.path(r, "key"));
        let at = f.span_of("certificate");
        let chain = certificate.as_ref().and_then(|path| read_certificates(r, f, "certificate", path));
        let expires = chain.as_ref().and_then(|chain| {
            let expires = chain.first().and_then(|der| not_after(der));
            if expires.is_none() {
                r.error(at, "the first certificate of the file has no date that can be read");
            }
            expires
        });
        let key_der = key.as_ref().and_then(|path| read_key(r, f, "key", path));
        let (chain, key_der) = (chain?, key_der?);
        let ders = chain.iter().map(|der| CertificateDer::from(der.as_slice()).into_owned()).collect();
        let paired = CertifiedKey::from_der(ders, key_der.clone_key(), &aws_lc_rs::default_provider());
        let wrong = match paired {
            Ok(_) => None,
            Err(rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch)) => {
                Some((f.span_of("key"), "the key is not that of the certificate".to_owned()))
            }
            Err(rustls::Error::InvalidCertificate(_)) => Some((at, "the certificate cannot be read".to_owned())),
            Err(error) => Some((f.span_of("key"), format!("the key cannot be used: {error}"))),
        };
        if let Some((span, what)) = wrong {
            r.error(span, what)
                .hint("want the certificate first in its file, then its issuers, and the key that it was made with")
                .also(at, "certificate");
            return None;
        }
        let key_der = Secret::new(key_der.secret_der().to_vec());
        Some(Self { certificate: certificate?, key: key?, chain, key_der, expires: expires? })
    }
}

impl Authorities {
    /// The authorities that a key of a section names, if any.
    pub(crate) fn read(r: &mut Reader<'_>, f: &Fields<'_>, key: &str) -> Option<Self> {
        let file = f.path(r, key)?;
        let certificates = read_certificates(r, f, key, &file)?;
        Some(Self { file, certificates })
    }
}

/// The private key in the file that a key of a section names.
pub(crate) fn read_key(r: &mut Reader<'_>, f: &Fields<'_>, key: &str, path: &Path) -> Option<PrivateKeyDer<'static>> {
    let span = f.span_of(key);
    let bytes = r.file(span, path)?;
    let der = PrivateKeyDer::from_pem_slice(&bytes).ok();
    if der.is_none() {
        r.error(span, "the file holds no private key")
            .hint("want PEM without a passphrase: `-----BEGIN PRIVATE KEY-----` and base64");
    }
    der
}

fn read_certificates(r: &mut Reader<'_>, f: &Fields<'_>, key: &str, path: &Path) -> Option<Vec<Vec<u8>>> {
    let span = f.span_of(key);
    let bytes = r.file(span, path)?;
    let found: Result<Vec<_>, _> =
        CertificateDer::pem_slice_iter(&bytes).take(CERTIFICATES_MAX).map(|der| der.map(|der| der.to_vec())).collect();
    match found {
        Ok(found) if !found.is_empty() => Some(found),
        _ => {
            r.error(span, "the file holds no certificate").hint("want PEM: `-----BEGIN CERTIFICATE-----` and base64");
            None
        }
    }
}

/// The end of a certificate's validity (RFC 5280 4.1.2.5). The TLS library checks all else; it does not tell this date.
fn not_after(der: &[u8]) -> Option<UnixMicros> {
    let (_, certificate, _) = element(der)?;
    let (_, mut rest, _) = element(certificate)?;
    // Version (optional), serial number, signature algorithm, issuer.
    if rest.first() == Some(&0xa0) {
        rest = element(rest)?.2;
    }
    for _ in 0..3 {
        rest = element(rest)?.2;
    }
    let (_, validity, _) = element(rest)?;
    let (_, _, after) = element(validity)?;
    let (tag, text, _) = element(after)?;
    let text = std::str::from_utf8(text).ok()?.strip_suffix('Z')?;
    let two = |at: usize| text.get(at..at + 2)?.parse::<i64>().ok();
    let (year, at) = match tag {
        // UTCTime: 50 to 99 are of the last century.
        0x17 => (two(0)? + if two(0)? >= 50 { 1900 } else { 2000 }, 2),
        0x18 => (two(0)? * 100 + two(2)?, 4),
        _ => return None,
    };
    let (month, day, hour, minute, second) = (two(at)?, two(at + 2)?, two(at + 4)?, two(at + 6)?, two(at + 8)?);
    let seconds = days_since_1970(year, month, day)? * 86_400 + hour * 3600 + minute * 60 + second;
    // What ends before 1970 has ended.
    Some(UnixMicros(u64::try_from(seconds).unwrap_or(0).saturating_mul(1_000_000)))
}

/// Tag, content and what follows of the first DER element.
fn element(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = der.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        0x81..=0x84 => {
            let (octets, rest) = rest.split_at_checked(usize::from(first - 0x80))?;
            (octets.iter().fold(0, |all, octet| all << 8 | usize::from(*octet)), rest)
        }
        _ => return None,
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((tag, content, rest))
}

/// Days of the Gregorian calendar, by counting years from March so that a leap day comes last.
fn days_since_1970(year: i64, month: i64, day: i64) -> Option<i64> {
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    let year = if month <= 2 { year - 1 } else { year };
    let since_march = (month + 9) % 12;
    let in_year = (153 * since_march + 2) / 5 + day - 1;
    Some(year * 365 + year / 4 - year / 100 + year / 400 + in_year - 719_468)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_those_of_the_calendar() {
        for ((year, month, day), want) in [
            ((1970, 1, 1), 0),
            ((1969, 12, 31), -1),
            ((2000, 2, 29), 11_016),
            ((2000, 3, 1), 11_017),
            ((2026, 11, 21), 20_778),
        ] {
            assert_eq!(days_since_1970(year, month, day), Some(want), "{year}-{month}-{day}");
        }
        assert_eq!(days_since_1970(2026, 13, 1), None);
    }

    #[test]
    fn a_date_is_found_in_both_forms_and_noise_has_none() {
        /// A certificate's skeleton with this validity end.
        fn skeleton(tag: u8, text: &str) -> Vec<u8> {
            let wrap = |tag: u8, content: &[u8]| [&[tag, content.len() as u8][..], content].concat();
            let validity = wrap(0x30, &[wrap(0x17, b"200101000000Z"), wrap(tag, text.as_bytes())].concat());
            let parts = [wrap(0xa0, &[2, 1, 2]), vec![2, 1, 1], vec![0x30, 0], vec![0x30, 0], validity].concat();
            wrap(0x30, &wrap(0x30, &parts))
        }
        let day = 86_400_000_000;
        assert_eq!(not_after(&skeleton(0x17, "700102000000Z")), Some(UnixMicros(day)));
        assert_eq!(not_after(&skeleton(0x18, "20261121000000Z")), Some(UnixMicros(20_778 * day)));
        assert_eq!(not_after(&skeleton(0x18, "2026112100000")), None);
        let whole = skeleton(0x18, "20261121000000Z");
        for end in 0..whole.len() {
            assert_eq!(not_after(&whole[..end]), None);
        }
    }
}

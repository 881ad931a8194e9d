//! Signed caller identity (STIR/SHAKEN): what is signed with, and which peers it concerns.

use std::{path::PathBuf, time::Duration};

use postern_types::{Secret, trust::Attestation};
use rustls::{RootCertStore, SignatureScheme, crypto::aws_lc_rs, pki_types::CertificateDer};
use serde::Serialize;

use crate::{
    certificate::{Authorities, read_key},
    reader::{Fields, Reader},
    write,
};

/// `stir:`
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Stir {
    /// What calls are signed with; none: nothing is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sign: Option<StirSign>,
    /// By whose word signatures are believed; none: nothing is checked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verify: Option<StirVerify>,
}

/// Our key, and what stands in what we sign.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StirSign {
    /// The file of the key.
    pub key: PathBuf,
    /// DER: a key on P-256, PKCS #8 or SEC 1.
    #[serde(skip)]
    pub key_der: Secret<Vec<u8>>,
    /// Where everybody finds the certificate of the key (`x5u`).
    pub certificate: String,
    /// By what we find where a call came from (RFC 8588 5): an UUID.
    pub origid: String,
    /// How far we vouch for calls of our users and our own.
    pub attest: Attestation,
}

/// Whose signatures are believed, and how their certificates are fetched.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StirVerify {
    /// The authorities that a signer's certificate must be of.
    pub authorities: Authorities,
    /// How old a signature may be, and how far in the future.
    #[serde(serialize_with = "write::duration")]
    pub freshness: Duration,
    /// How long a call waits for a certificate.
    #[serde(serialize_with = "write::duration")]
    pub patience: Duration,
    /// What becomes of a call whose certificate cannot be had, where failures are refused.
    pub unreachable: Unreachable,
    /// The authorities of the repositories' own TLS; none: the system's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repository_ca: Option<Authorities>,
    /// Whether certificates are also fetched from addresses that are not public.
    pub private_repositories: bool,
}

/// When a certificate cannot be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Unreachable {
    /// The call goes on.
    Pass,
    /// It is refused.
    Refuse,
}

/// What is done with the signatures of a trunk's calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verify {
    /// Nothing.
    Off,
    /// They are checked and what came of it is told; every call goes on.
    Tag,
    /// The same, and what fails is refused.
    Refuse,
}

/// `stir:` of a trunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct TrunkStir {
    /// Whether calls to it are signed.
    pub sign: bool,
    /// How far we vouch for the callers of its own calls, where these go on to a trunk that wants them signed.
    pub attest: Attestation,
    /// What is done with the signatures of its own calls.
    pub verify: Verify,
}

impl Default for TrunkStir {
    fn default() -> Self {
        Self { sign: false, attest: Attestation::C, verify: Verify::Off }
    }
}

impl Stir {
    pub(crate) fn read(r: &mut Reader<'_>, top: &Fields<'_>) -> Option<Self> {
        let f = top.section_or_defaults(r, "stir", "stir")?;
        let sign = f.section(r, "sign", "stir.sign").map(|f| StirSign::read(r, &f));
        if sign.is_none() {
            for span in std::mem::take(&mut r.claims.signed) {
                r.error(span, "there is nothing to sign with")
                    .hint("write `stir.sign`: a key, and where its certificate is");
            }
        }
        let verify = f.section(r, "verify", "stir.verify").map(|f| StirVerify::read(r, &f));
        if verify.is_none() {
            for span in std::mem::take(&mut r.claims.checked) {
                r.error(span, "there is nobody to believe").hint("write `stir.verify`: the authorities of signers");
            }
        }
        // What is there and cannot be read was told.
        if matches!(sign, Some(None)) || matches!(verify, Some(None)) {
            return None;
        }
        Some(Self { sign: sign.flatten(), verify: verify.flatten() })
    }
}

impl StirSign {
    fn read(r: &mut Reader<'_>, f: &Fields<'_>) -> Option<Self> {
        let (key, certificate) = (f.path(r, "key"), f.url(r, "certificate"));
        let key_der = key.as_ref().and_then(|path| {
            let der = read_key(r, f, "key", path)?;
            let is_p256 = aws_lc_rs::sign::any_ecdsa_type(&der)
                .is_ok_and(|key| key.choose_scheme(&[SignatureScheme::ECDSA_NISTP256_SHA256]).is_some());
            if !is_p256 {
                r.error(f.span_of("key"), "not a key on the curve P-256, and ES256 knows no other")
                    .hint("make one: `openssl ecparam -name prime256v1 -genkey -noout -out stir.key`");
            }
            is_p256.then(|| Secret::new(der.secret_der().to_vec()))
        });
        let origid = f.text(r, "origid").filter(|text| {
            if !is_uuid(text) {
                r.error(f.span_of("origid"), "not an UUID").hint("make one: `uuidgen`");
            }
            is_uuid(text)
        });
        let attest = f.choice(r, "attest", &Attestation::ALL);
        Some(Self { key: key?, key_der: key_der?, certificate: certificate?, origid: origid?, attest: attest? })
    }
}

impl StirVerify {
    fn read(r: &mut Reader<'_>, f: &Fields<'_>) -> Option<Self> {
        let authorities = Authorities::read(r, f, "authorities").filter(|authorities| {
            let mut known = RootCertStore::empty();
            let sound =
                authorities.certificates.iter().all(|der| known.add(CertificateDer::from(der.as_slice())).is_ok());
            if !sound {
                r.error(f.span_of("authorities"), "the file holds a certificate that can be nobody's authority");
            }
            sound
        });
        let (freshness, patience) = (f.duration(r, "freshness"), f.duration(r, "patience"));
        let unreachable = f.choice(r, "unreachable", &[Unreachable::Pass, Unreachable::Refuse]);
        let repository_ca = Authorities::read(r, f, "repository_ca");
        let sound = repository_ca.is_some() == f.has("repository_ca");
        let private_repositories = f.flag(r, "private_repositories");
        Some(Self {
            authorities: authorities?,
            freshness: freshness?,
            patience: patience?,
            unreachable: unreachable?,
            repository_ca: if sound { repository_ca } else { return None },
            private_repositories: private_repositories?,
        })
    }
}

impl TrunkStir {
    pub(crate) fn read(r: &mut Reader<'_>, trunk: &Fields<'_>) -> Option<Self> {
        let f = trunk.section_or_defaults(r, "stir", "trunks.*.stir")?;
        let (sign, attest) = (f.flag(r, "sign"), f.choice(r, "attest", &Attestation::ALL));
        let verify = f.choice(r, "verify", &[Verify::Off, Verify::Tag, Verify::Refuse]);
        if sign == Some(true) {
            r.claims.signed.push(f.span_of("sign"));
        }
        if verify.is_some_and(|verify| verify != Verify::Off) {
            r.claims.checked.push(f.span_of("verify"));
        }
        Some(Self { sign: sign?, attest: attest?, verify: verify? })
    }
}

/// RFC 9562 4.
fn is_uuid(text: &str) -> bool {
    let groups: Vec<usize> = text.split('-').map(str::len).collect();
    groups == [8, 4, 4, 4, 12] && text.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-')
}

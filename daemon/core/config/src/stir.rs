//! Signed caller identity (STIR/SHAKEN): what is signed with, and which peers it concerns.

use std::path::PathBuf;

use postern_types::{Secret, trust::Attestation};
use rustls::{SignatureScheme, crypto::aws_lc_rs};
use serde::Serialize;

use crate::{
    certificate::read_key,
    reader::{Fields, Reader},
};

/// `stir:`
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Stir {
    /// What calls are signed with; none: nothing is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sign: Option<StirSign>,
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

/// `stir:` of a trunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct TrunkStir {
    /// Whether calls to it are signed.
    pub sign: bool,
    /// How far we vouch for the callers of its own calls, where these go on to a trunk that wants them signed.
    pub attest: Attestation,
}

impl Default for TrunkStir {
    fn default() -> Self {
        Self { sign: false, attest: Attestation::C }
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
        Some(Self { sign: sign.map_or(Some(None), |sign| sign.map(Some))? })
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

impl TrunkStir {
    pub(crate) fn read(r: &mut Reader<'_>, trunk: &Fields<'_>) -> Option<Self> {
        let f = trunk.section_or_defaults(r, "stir", "trunks.*.stir")?;
        let (sign, attest) = (f.flag(r, "sign"), f.choice(r, "attest", &Attestation::ALL));
        if sign == Some(true) {
            r.claims.signed.push(f.span_of("sign"));
        }
        Some(Self { sign: sign?, attest: attest? })
    }
}

/// RFC 9562 4.
fn is_uuid(text: &str) -> bool {
    let groups: Vec<usize> = text.split('-').map(str::len).collect();
    groups == [8, 4, 4, 4, 12] && text.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-')
}

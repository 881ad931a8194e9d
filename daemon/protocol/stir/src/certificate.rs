//! The certificate of a signer: a chain that leads to an authority that we believe (RFC 8226, RFC 5280).

use std::fmt;

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
use rustls_pki_types::{CertificateDer, SignatureVerificationAlgorithm, TrustAnchor, UnixTime, pem::PemObject};
use webpki::{EndEntityCert, KeyUsage, anchor_from_trusted_cert, aws_lc_rs as algorithms};

/// Certificates of one chain at most: a provider, an authority or two above it.
const CHAIN_MAX: usize = 8;
/// What issuers sign with. SHAKEN has the first alone (ATIS-1000080), roots of other countries also the second.
const ISSUERS_SIGN_BY: [&dyn SignatureVerificationAlgorithm; 2] =
    [algorithms::ECDSA_P256_SHA256, algorithms::ECDSA_P384_SHA384];

/// Whom we believe.
#[derive(Debug, Clone, Default)]
pub struct Authorities(Vec<TrustAnchor<'static>>);

/// A signer's certificate and those above it, as they were fetched.
#[derive(Debug, Clone)]
pub struct Certificate(Vec<CertificateDer<'static>>);

/// Why a certificate is not believed, in words for a person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Distrusted(String);

impl Authorities {
    /// From their certificates, DER; those that cannot be read are left out.
    pub fn new<'a>(certificates: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let anchor = |der| anchor_from_trusted_cert(&CertificateDer::from(der)).map(|anchor| anchor.to_owned()).ok();
        Self(certificates.into_iter().filter_map(anchor).collect())
    }
}

impl Certificate {
    /// Reads PEM, the signer's first. None when there is none in it, or too many.
    pub fn read(pem: &[u8]) -> Option<Self> {
        let chain: Vec<_> = CertificateDer::pem_slice_iter(pem).take(CHAIN_MAX + 1).collect::<Result<_, _>>().ok()?;
        (1..=CHAIN_MAX).contains(&chain.len()).then_some(Self(chain))
    }

    /// Whether somebody we believe says, at this second, who the signer is, and whether this is the signer's signature.
    pub(crate) fn verify(
        &self,
        authorities: &Authorities,
        now_s: u64,
        signed: &[u8],
        signature: &[u8],
    ) -> Result<bool, Distrusted> {
        let distrusted = |error: webpki::Error| Distrusted(format!("{error:?}"));
        let (own, above) = self.0.split_first().ok_or_else(|| Distrusted("it is empty".into()))?;
        let own = EndEntityCert::try_from(own).map_err(distrusted)?;
        let now = UnixTime::since_unix_epoch(std::time::Duration::from_secs(now_s));
        // RFC 8226 has no extended key usage of its own; one that is for TLS servers alone is not for this.
        let usage = KeyUsage::client_auth();
        own.verify_for_usage(&ISSUERS_SIGN_BY, &authorities.0, above, now, usage, None, None).map_err(distrusted)?;
        let key = own.subject_public_key_info();
        Ok(UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, key.as_ref()).verify(signed, signature).is_ok())
    }
}

impl fmt::Display for Distrusted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Distrusted {}

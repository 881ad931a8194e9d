//! The Identity header (RFC 8224 4): a PASSporT in its full form, and where its certificate is.

use std::fmt;

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};

use crate::passport::{ALGORITHM, Passport};

/// A private key that cannot sign PASSporTs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoKey;

/// Signs with one key.
pub struct Signer {
    key: EcdsaKeyPair,
    x5u: String,
}

impl Signer {
    /// `key_der` is PKCS #8 or SEC 1 with a key on P-256; `x5u` is where everybody finds its certificate.
    pub fn new(key_der: &[u8], x5u: &str) -> Result<Self, NoKey> {
        let key = EcdsaKeyPair::from_private_key_der(&ECDSA_P256_SHA256_FIXED_SIGNING, key_der).map_err(|_| NoKey)?;
        Ok(Self { key, x5u: x5u.to_owned() })
    }

    /// The value of an Identity header. None when the machine has no randomness left, which a signature needs.
    pub fn identity(&self, passport: &Passport) -> Option<String> {
        let (header, claims) = passport.written(&self.x5u);
        let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
        let signature = self.key.sign(&SystemRandom::new(), signed.as_bytes()).ok()?;
        let signature = URL_SAFE_NO_PAD.encode(signature);
        let (x5u, ppt) = (&self.x5u, passport.kind.ppt());
        Some(format!("{signed}.{signature};info=<{x5u}>;alg={ALGORITHM};ppt={ppt}"))
    }
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signer").field("x5u", &self.x5u).finish_non_exhaustive()
    }
}

impl fmt::Display for NoKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no private key on the curve P-256")
    }
}

impl std::error::Error for NoKey {}

#[cfg(test)]
mod tests {
    use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, KeyPair, UnparsedPublicKey};
    use postern_types::trust::Attestation;

    use super::*;
    use crate::passport::Kind;

    #[test]
    fn a_header_is_as_rfc_8224_writes_it_and_signed_by_the_key() {
        let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
        let signer = Signer::new(key.to_pkcs8v1().unwrap().as_ref(), "https://cert.example.org/passport.cer").unwrap();
        let kind = Kind::Shaken { attest: Attestation::B, origid: "123e4567-e89b-12d3-a456-426655440000".into() };
        let passport =
            Passport { orig: "12155551212".into(), dest: vec!["12125551213".into()], iat: 1_443_208_345, kind };
        let header = signer.identity(&passport).unwrap();
        let (token, parameters) = header.split_once(';').unwrap();
        assert_eq!(parameters, "info=<https://cert.example.org/passport.cer>;alg=ES256;ppt=shaken");
        let (signed, signature) = token.rsplit_once('.').unwrap();
        let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
        assert_eq!(signature.len(), 64, "as JWS wants it (RFC 7518 3.4), not as X.509");
        let public = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, key.public_key().as_ref());
        public.verify(signed.as_bytes(), &signature).unwrap();
        assert!(public.verify(format!("{signed}x").as_bytes(), &signature).is_err());
        assert!(!format!("{signer:?}").contains("key"), "{signer:?}");
    }

    #[test]
    fn what_is_no_key_signs_nothing() {
        assert_eq!(Signer::new(b"no key", "https://a.example").unwrap_err(), NoKey);
    }
}

//! The Identity header (RFC 8224 4): a PASSporT in its full form, and where its certificate is.

use std::fmt;

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};

use crate::{
    Authorities, Certificate, Distrusted,
    passport::{ALGORITHM, Claims, Passport, ReadHeader, TYPE},
};

/// Bytes of an Identity header at most that are read: SHAKEN needs some 600, and what names, pictures and reasons others add a few
/// thousand. A longer one is refused.
const IDENTITY_MAX: usize = 6144;

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

/// An Identity header that was read; nothing in it is believed yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    token: String,
    /// Where the signature begins in the token.
    signed_len: usize,
    signature: Vec<u8>,
    x5u: String,
    ppt: Option<String>,
    claims: Claims,
}

/// Why an Identity header cannot be read, for a person.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed(pub &'static str);

impl Identity {
    /// Reads a header's value.
    pub fn read(value: &str) -> Result<Self, Malformed> {
        if value.len() > IDENTITY_MAX {
            return Err(Malformed("longer than any that is read"));
        }
        let (token, parameters) = value.split_once(';').unwrap_or((value, ""));
        let token = token.trim();
        let parameters = parameters_of(parameters).ok_or(Malformed("its parameters cannot be read"))?;
        let parameter = |name: &str| parameters.iter().find(|(of, _)| of.eq_ignore_ascii_case(name)).map(|(_, v)| *v);
        let mut parts = token.split('.');
        let (Some(header), Some(claims), Some(signature), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(Malformed("no PASSporT"));
        };
        if header.is_empty() || claims.is_empty() {
            return Err(Malformed("a PASSporT in compact form, which is not read"));
        }
        let signed_len = header.len() + 1 + claims.len();
        let decoded = |part| URL_SAFE_NO_PAD.decode(part).map_err(|_| Malformed("not base64url"));
        let (header, claims, signature) = (decoded(header)?, decoded(claims)?, decoded(signature)?);
        let header: ReadHeader =
            serde_json::from_slice(&header).map_err(|_| Malformed("the header of its PASSporT cannot be read"))?;
        let claims = Claims::read(&claims).ok_or(Malformed("the claims of its PASSporT cannot be read"))?;
        if header.typ != TYPE || header.alg != ALGORITHM || parameter("alg").is_some_and(|alg| alg != ALGORITHM) {
            return Err(Malformed("not a PASSporT signed by ES256"));
        }
        // RFC 8224 4.1: both name the same.
        if parameter("info") != Some(&header.x5u) {
            return Err(Malformed("its certificate is elsewhere than its PASSporT says"));
        }
        if parameter("ppt").is_some_and(|ppt| header.ppt.as_deref() != Some(ppt)) {
            return Err(Malformed("its PASSporT is of another kind than it says"));
        }
        let ReadHeader { ppt, x5u, .. } = header;
        Ok(Self { token: token.to_owned(), signed_len, signature, x5u, ppt, claims })
    }

    /// Whether its PASSporT says who calls: SHAKEN, or the plain kind. Others say more about a call, or something else.
    pub fn is_of_caller(&self) -> bool {
        self.ppt.as_deref().is_none_or(|ppt| ppt == "shaken")
    }

    /// Whether its PASSporT says that the call was sent on (RFC 8946).
    pub fn is_of_diversion(&self) -> bool {
        self.ppt.as_deref() == Some("div") && self.claims.div.is_some()
    }

    /// Where its certificate is.
    pub fn x5u(&self) -> &str {
        &self.x5u
    }

    /// What it claims.
    pub fn claims(&self) -> &Claims {
        &self.claims
    }

    /// Its PASSporT, with the signature.
    pub fn token(&self) -> &str {
        &self.token
    }

    /// Whether what it claims was signed by the owner of a certificate, who is somebody to believe at this second.
    pub fn verify(&self, certificate: &Certificate, authorities: &Authorities, now_s: u64) -> Result<bool, Distrusted> {
        let signed = &self.token.as_bytes()[..self.signed_len];
        certificate.verify(authorities, now_s, signed, &self.signature)
    }
}

/// Names and values; `<…>` and `"…"` lose what encloses them, and `;` within means nothing. None when one does not end.
fn parameters_of(mut text: &str) -> Option<Vec<(&str, &str)>> {
    let mut found = Vec::new();
    while !text.trim().is_empty() {
        let (name, rest) = text.split_once('=')?;
        let rest = rest.trim_start();
        let (value, rest) = match rest.as_bytes().first() {
            Some(b'<') => rest[1..].split_once('>')?,
            Some(b'"') => rest[1..].split_once('"')?,
            _ => rest.split_at(rest.find(';').unwrap_or(rest.len())),
        };
        found.push((name.trim(), value.trim()));
        text = rest.trim_start();
        text = match text.strip_prefix(';') {
            Some(more) => more,
            None if text.is_empty() => text,
            None => return None,
        };
    }
    Some(found)
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

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for Malformed {}

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

//! Digest authentication: RFC 7616 and RFC 8760, with qop `auth`, SHA-256 before MD5.
//!
//! A server keeps no state for a challenge: [`Challenger`] signs its nonces with their time. What it remembers is the
//! counter of each nonce that was used with a right password, so that an authorization works once.
//!
//! Left out: `auth-int` and `userhash` (no SIP client in use offers them), and a check that the digest's `uri` is the
//! Request-URI: clients write different forms of it there, and a nonce counter stops the replay that the check is for.

mod challenger;
mod client;
mod header;

use std::fmt;

use md5::Md5;
use postern_types::Secret;
use sha2::{Sha256, Sha512_256};

pub use challenger::{Challenger, Verdict};
pub use client::{Credentials, Unanswerable, answer};
pub use header::{AuthHeader, BadAuth, challenges};

/// A digest algorithm, weakest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Algorithm {
    /// MD5: what most devices know.
    Md5,
    /// SHA-256.
    Sha256,
    /// SHA-512-256: answered when a server asks, not offered.
    Sha512_256,
}

impl Algorithm {
    /// Reads the `algorithm` parameter; MD5 when there is none. None for what we do not know, session variants included.
    pub fn parse(text: Option<&str>) -> Option<Self> {
        let Some(text) = text else { return Some(Self::Md5) };
        [Self::Md5, Self::Sha256, Self::Sha512_256].into_iter().find(|a| a.as_str().eq_ignore_ascii_case(text))
    }

    /// As it stands on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Md5 => "MD5",
            Self::Sha256 => "SHA-256",
            Self::Sha512_256 => "SHA-512-256",
        }
    }

    fn hash(self, parts: &[&str]) -> String {
        fn joined<D: sha2::Digest>(parts: &[&str]) -> String {
            let mut digest = D::new();
            for (at, part) in parts.iter().enumerate() {
                if at > 0 {
                    digest.update(b":");
                }
                digest.update(part.as_bytes());
            }
            hex(&digest.finalize())
        }
        match self {
            Self::Md5 => joined::<Md5>(parts),
            Self::Sha256 => joined::<Sha256>(parts),
            Self::Sha512_256 => joined::<Sha512_256>(parts),
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a response is computed of.
struct Proof<'a> {
    algorithm: Algorithm,
    username: &'a str,
    realm: &'a str,
    password: &'a Secret<String>,
    method: &'a str,
    uri: &'a str,
    nonce: &'a str,
    /// nc and cnonce as written; none without qop (RFC 2069).
    counted: Option<(&'a str, &'a str)>,
}

impl Proof<'_> {
    /// RFC 7616 3.4.1.
    fn response(&self) -> String {
        let algorithm = self.algorithm;
        let ha1 = algorithm.hash(&[self.username, self.realm, self.password.expose()]);
        let ha2 = algorithm.hash(&[self.method, self.uri]);
        match self.counted {
            Some((nc, cnonce)) => algorithm.hash(&[&ha1, self.nonce, nc, cnonce, "auth", &ha2]),
            None => algorithm.hash(&[&ha1, self.nonce, &ha2]),
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    bytes.iter().flat_map(|b| [DIGITS[usize::from(b >> 4)] as char, DIGITS[usize::from(b & 15)] as char]).collect()
}

#[cfg(test)]
mod tests;

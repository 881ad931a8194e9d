//! The server's side: challenges out, authorizations checked.

use std::collections::{HashMap, VecDeque};

use hmac::{Hmac, KeyInit, Mac};
use postern_types::{Secret, UnixMicros};
use sha2::Sha256;
use subtle::ConstantTimeEq;

use super::{Algorithm, AuthHeader, Proof, hex};
use crate::{build::quoted, limits::NONCES_MAX, message::Headers, message::Name};

/// How long a nonce is good for. A registration refreshed more slowly is asked once more, which costs a round trip.
pub const NONCE_SECONDS: u64 = 300;

/// Challenges for one realm and checks what comes back.
pub struct Challenger {
    realm: String,
    /// Strongest first.
    algorithms: Vec<Algorithm>,
    secret: Secret<[u8; 32]>,
    /// Counters of nonces that were used with a right password.
    used: HashMap<Nonce, Window>,
    /// The same, oldest use first.
    order: VecDeque<Nonce>,
    /// Nonces made up to then may have been forgotten.
    forgotten: u64,
}

/// What came of an authorization.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The user has shown that it knows its password.
    Granted {
        /// Who.
        user: String,
    },
    /// No authorization for this realm: challenge.
    Missing,
    /// The password was right, but the nonce is too old, forgotten, or of before a restart: challenge with `stale`.
    Stale,
    /// The password was right, but this counter of the nonce was used before, by this peer or whoever listened: challenge with `stale`.
    Replayed {
        /// Who it says it is.
        user: String,
    },
    /// Wrong password or unknown user (they look alike): challenge, and count it.
    Refused {
        /// Who it says it is.
        user: String,
    },
    /// It does not read: 400.
    Malformed,
}

/// A nonce without its signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Nonce {
    seconds: u64,
    random: u64,
}

/// The highest counter that was used, and which of the 64 up to it: requests overtake each other.
#[derive(Debug, Clone, Copy)]
struct Window {
    highest: u32,
    seen: u64,
}

impl Window {
    /// Whether this counter is new; then it is used.
    fn take(&mut self, counter: u32) -> bool {
        if counter > self.highest {
            let ahead = counter - self.highest;
            self.seen = if ahead >= 64 { 0 } else { self.seen << ahead };
            self.highest = counter;
            self.seen |= 1;
            return true;
        }
        let bit = match self.highest - counter {
            behind @ 0..64 => 1u64 << behind,
            _ => return false,
        };
        let new = self.seen & bit == 0;
        self.seen |= bit;
        new
    }
}

impl Challenger {
    /// For a realm, with the algorithms it offers. `secret` must be random; with the same secret, nonces outlive a restart.
    pub fn new(realm: &str, algorithms: &[Algorithm], secret: [u8; 32]) -> Self {
        let mut algorithms = algorithms.to_vec();
        algorithms.sort_by(|a, b| b.cmp(a));
        algorithms.dedup();
        let (used, order) = (HashMap::new(), VecDeque::new());
        Self { realm: realm.to_owned(), algorithms, secret: Secret::new(secret), used, order, forgotten: 0 }
    }

    /// Values for WWW-Authenticate, a header each, strongest first (RFC 8760 2.4). `random` must be new for each challenge.
    pub fn challenge(&self, now: UnixMicros, random: u64, stale: bool) -> Vec<String> {
        let nonce = self.sign(Nonce { seconds: now.seconds(), random });
        let realm = quoted(&self.realm);
        let stale = if stale { ", stale=true" } else { "" };
        let value =
            |algorithm| format!("Digest realm={realm}, nonce=\"{nonce}\", algorithm={algorithm}, qop=\"auth\"{stale}");
        self.algorithms.iter().map(value).collect()
    }

    /// Checks the Authorization of a request. `password_of` is asked at most once, and none for an unknown user costs
    /// as much time as a wrong password.
    pub fn check(
        &mut self,
        now: UnixMicros,
        method: &str,
        headers: &Headers,
        password_of: impl FnOnce(&str) -> Option<Secret<String>>,
    ) -> Verdict {
        for value in headers.all(Name::Authorization) {
            let Ok(header) = AuthHeader::parse(value) else { return Verdict::Malformed };
            if header.is_digest() && header.param("realm").is_some_and(|realm| realm == self.realm) {
                return self.check_one(now, method, &header, password_of).unwrap_or(Verdict::Malformed);
            }
        }
        Verdict::Missing
    }

    /// None when a parameter is missing or does not read.
    fn check_one(
        &mut self,
        now: UnixMicros,
        method: &str,
        header: &AuthHeader<'_>,
        password_of: impl FnOnce(&str) -> Option<Secret<String>>,
    ) -> Option<Verdict> {
        let username = header.param("username")?;
        let user = || username.clone().into_owned();
        let (nonce_text, uri, response) = (header.param("nonce")?, header.param("uri")?, header.param("response")?);
        let algorithm = Algorithm::parse(header.param("algorithm").as_deref());
        let Some(algorithm) = algorithm.filter(|algorithm| self.algorithms.contains(algorithm)) else {
            return Some(Verdict::Refused { user: user() });
        };
        // Without qop there is no counter, and so no protection against replay: we always ask for it.
        let (qop, nc, cnonce) = (header.param("qop")?, header.param("nc")?, header.param("cnonce")?);
        let counter = Some(&*nc).filter(|nc| nc.len() == 8 && nc.bytes().all(|b| b.is_ascii_hexdigit()));
        let counter = u32::from_str_radix(counter?, 16).ok()?;
        if !qop.eq_ignore_ascii_case("auth") {
            return None;
        }

        let known = password_of(&username);
        let is_known = known.is_some();
        let password = known.unwrap_or_default();
        let proof = Proof {
            algorithm,
            username: &username,
            realm: &self.realm,
            password: &password,
            method,
            uri: &uri,
            nonce: &nonce_text,
            counted: Some((&nc, &cnonce)),
        };
        let right: bool = proof.response().as_bytes().ct_eq(response.to_ascii_lowercase().as_bytes()).into();
        if !right || !is_known {
            return Some(Verdict::Refused { user: user() });
        }
        // RFC 7616 3.3: stale is for a nonce that is not valid with a digest that is right for it. So phones that kept theirs over our
        // restart try again by themselves.
        let Some(nonce) = self.verify(&nonce_text) else { return Some(Verdict::Stale) };
        let age = now.seconds().saturating_sub(nonce.seconds);
        if age > NONCE_SECONDS || nonce.seconds > now.seconds() + NONCE_SECONDS {
            return Some(Verdict::Stale);
        }
        Some(match self.used.get_mut(&nonce) {
            Some(window) => match window.take(counter) {
                true => Verdict::Granted { user: user() },
                false => Verdict::Replayed { user: user() },
            },
            None if nonce.seconds <= self.forgotten => Verdict::Stale,
            None => {
                self.remember(nonce, counter);
                Verdict::Granted { user: user() }
            }
        })
    }

    fn remember(&mut self, nonce: Nonce, counter: u32) {
        while self.order.len() >= NONCES_MAX {
            let Some(oldest) = self.order.pop_front() else { break };
            self.used.remove(&oldest);
            self.forgotten = self.forgotten.max(oldest.seconds);
        }
        self.used.insert(nonce, Window { highest: counter, seen: 1 });
        self.order.push_back(nonce);
    }

    fn sign(&self, nonce: Nonce) -> String {
        let mut text = hex(&nonce.seconds.to_be_bytes()[3..]);
        text.push_str(&hex(&nonce.random.to_be_bytes()));
        text.push_str(&hex(&self.mac(nonce)));
        text
    }

    fn verify(&self, text: &str) -> Option<Nonce> {
        if text.len() != 10 + 16 + 32 || !text.is_ascii() {
            return None;
        }
        let seconds = u64::from_str_radix(&text[..10], 16).ok()?;
        let nonce = Nonce { seconds, random: u64::from_str_radix(&text[10..26], 16).ok()? };
        let signed = self.sign(nonce);
        bool::from(signed.as_bytes().ct_eq(text.as_bytes())).then_some(nonce)
    }

    /// 128 bits of it.
    fn mac(&self, nonce: Nonce) -> [u8; 16] {
        let mut mac = Hmac::<Sha256>::new_from_slice(self.secret.expose()).expect("HMAC takes a key of any length");
        mac.update(&nonce.seconds.to_be_bytes());
        mac.update(&nonce.random.to_be_bytes());
        mac.update(self.realm.as_bytes());
        let mut half = [0; 16];
        half.copy_from_slice(&mac.finalize().into_bytes()[..16]);
        half
    }
}

impl std::fmt::Debug for Challenger {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Challenger").field("realm", &self.realm).field("used", &self.used.len()).finish_non_exhaustive()
    }
}

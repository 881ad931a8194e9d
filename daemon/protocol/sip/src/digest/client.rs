//! The client's side: one answer for each realm that asks, by the strongest algorithm that both know.

use std::fmt;

use postern_types::Secret;

use super::{Algorithm, AuthHeader, Proof, header::challenges};
use crate::{
    build::quoted,
    message::{Headers, Name, Response},
};

/// Who we are to a server.
#[derive(Debug, Clone, Copy)]
pub struct Credentials<'a> {
    /// Name.
    pub username: &'a str,
    /// Password.
    pub password: &'a Secret<String>,
}

/// Why there is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unanswerable {
    /// No Digest challenge with an algorithm and qop that we know.
    NoChallenge,
    /// These credentials were refused: the request had an answer for each realm that asks, and no nonce is merely stale.
    Refused,
}

impl fmt::Display for Unanswerable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoChallenge => "no challenge that can be answered",
            Self::Refused => "the credentials were refused",
        })
    }
}

impl std::error::Error for Unanswerable {}

/// Headers to put into the next try of a request that got 401 or 407: Authorization or Proxy-Authorization for each realm.
/// `uri` is its Request-URI and `sent` its headers, which may carry answers of ours already; `cnonce` must be random.
pub fn answer(
    response: &Response,
    method: &str,
    uri: &str,
    credentials: Credentials<'_>,
    cnonce: u64,
    sent: &Headers,
) -> Result<Vec<(Name, String)>, Unanswerable> {
    // The strongest of each realm; RFC 8760 2.4 has the server's order, but a weak one first is a downgrade.
    let mut best: Vec<(Name, String, Algorithm, AuthHeader<'_>)> = Vec::new();
    for (name, challenge) in challenges(&response.headers) {
        let realm = challenge.param("realm").filter(|_| challenge.is_digest() && challenge.param("nonce").is_some());
        let algorithm = Algorithm::parse(challenge.param("algorithm").as_deref());
        let (Some(realm), Some(algorithm), true) = (realm, algorithm, knows_qop(&challenge)) else { continue };
        match best.iter_mut().find(|(n, r, ..)| *n == name && *r == realm) {
            Some(entry) if entry.2 < algorithm => *entry = (name, realm.into_owned(), algorithm, challenge),
            Some(_) => {}
            None => best.push((name, realm.into_owned(), algorithm, challenge)),
        }
    }
    if best.is_empty() {
        return Err(Unanswerable::NoChallenge);
    }
    let stale = |c: &AuthHeader<'_>| c.param("stale").is_some_and(|stale| stale.eq_ignore_ascii_case("true"));
    // A proxy that let the request pass and the server behind it ask one after the other, each for the first time.
    let is_new = |name: Name, realm: &str| !sent.all(answering(name)).any(|value| is_for(value, realm));
    if !best.iter().any(|(name, realm, _, challenge)| stale(challenge) || is_new(*name, realm)) {
        return Err(Unanswerable::Refused);
    }
    let cnonce = format!("{cnonce:016x}");
    let authorize = |(name, realm, algorithm, challenge): (Name, String, Algorithm, AuthHeader<'_>)| {
        let nonce = challenge.param("nonce").unwrap_or_default();
        // A nonce is used for one request, so its counter is 1.
        let counted = challenge.param("qop").map(|_| ("00000001", &*cnonce));
        let proof = Proof {
            algorithm,
            username: credentials.username,
            realm: &realm,
            password: credentials.password,
            method,
            uri,
            nonce: &nonce,
            counted,
        };
        let mut value = format!(
            "Digest username={}, realm={}, nonce={}, uri={}, response=\"{}\", algorithm={algorithm}",
            quoted(credentials.username),
            quoted(&realm),
            quoted(&nonce),
            quoted(uri),
            proof.response(),
        );
        if let Some((nc, cnonce)) = counted {
            value.push_str(&format!(", qop=auth, nc={nc}, cnonce=\"{cnonce}\""));
        }
        if let Some(opaque) = challenge.param("opaque") {
            value.push_str(&format!(", opaque={}", quoted(&opaque)));
        }
        (answering(name), value)
    };
    Ok(best.into_iter().map(authorize).collect())
}

/// The header that answers a challenge.
fn answering(challenge: Name) -> Name {
    if challenge == Name::ProxyAuthenticate { Name::ProxyAuthorization } else { Name::Authorization }
}

fn is_for(authorization: &str, realm: &str) -> bool {
    AuthHeader::parse(authorization).is_ok_and(|sent| sent.param("realm").is_some_and(|of| of == realm))
}

fn knows_qop(challenge: &AuthHeader<'_>) -> bool {
    challenge.param("qop").is_none_or(|qop| qop.split(',').any(|q| crate::scan::trim(q).eq_ignore_ascii_case("auth")))
}

//! `Digest name=value, name="value"`: challenges and authorizations taken apart.

use std::{borrow::Cow, fmt};

use crate::{
    limits::{AUTH_PARAMS_MAX, CHALLENGES_MAX},
    message::{Headers, Name},
    scan,
};

/// One challenge or authorization.
#[derive(Clone, PartialEq, Eq)]
pub struct AuthHeader<'a> {
    /// `Digest`, `Bearer`, ... as written.
    pub scheme: &'a str,
    params: Vec<(&'a str, &'a str)>,
}

/// A header that does not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BadAuth;

impl fmt::Display for BadAuth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("malformed challenge or authorization")
    }
}

impl std::error::Error for BadAuth {}

impl<'a> AuthHeader<'a> {
    /// Reads a value with one challenge or authorization.
    pub fn parse(value: &'a str) -> Result<Self, BadAuth> {
        let mut all = Self::parse_all(value)?;
        if all.len() == 1 { all.pop().ok_or(BadAuth) } else { Err(BadAuth) }
    }

    /// Reads a value with any number of them: RFC 7235 lets commas separate both parameters and challenges.
    pub fn parse_all(value: &'a str) -> Result<Vec<Self>, BadAuth> {
        let mut all: Vec<Self> = Vec::new();
        for entry in entries(value) {
            let mut entry = scan::trim(entry?);
            if entry.is_empty() {
                continue;
            }
            // `Digest realm="x"` begins a challenge, `realm = "x"` goes on with one.
            let first = entry.split(|c| scan::is_lws(c) || c == '=').next().unwrap_or("");
            let rest = scan::trim(&entry[first.len()..]);
            if !rest.starts_with('=') {
                if !scan::is_token(first) || all.len() == CHALLENGES_MAX {
                    return Err(BadAuth);
                }
                all.push(Self { scheme: first, params: Vec::with_capacity(8) });
                entry = rest;
            }
            let challenge = all.last_mut().ok_or(BadAuth)?;
            if entry.is_empty() {
                continue;
            }
            let Some((name, value)) = entry.split_once('=') else {
                // A token68 (`Bearer abc`, `Basic abc=`): kept under no name.
                challenge.params.push(("", entry));
                continue;
            };
            let (name, value) = (scan::trim(name), scan::trim(value));
            let quoted = value.starts_with('"');
            let good = if quoted { scan::quoted_end(value) == Some(value.len()) } else { !value.contains(['"', ' ']) };
            // RFC 7616 3.4: a parameter that is there twice makes the header invalid.
            let twice = challenge.params.iter().any(|(n, _)| n.eq_ignore_ascii_case(name));
            if !good || !scan::is_token(name) || twice || challenge.params.len() == AUTH_PARAMS_MAX {
                return Err(BadAuth);
            }
            challenge.params.push((name, value));
        }
        if all.is_empty() { Err(BadAuth) } else { Ok(all) }
    }

    /// Whether this is Digest.
    pub fn is_digest(&self) -> bool {
        self.scheme.eq_ignore_ascii_case("Digest")
    }

    /// A parameter without quotes, case of the name aside.
    pub fn param(&self, name: &str) -> Option<Cow<'a, str>> {
        self.params.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| scan::unquote(value))
    }
}

/// Names only.
impl fmt::Debug for AuthHeader<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple(self.scheme).field(&self.params.iter().map(|(name, _)| *name).collect::<Vec<_>>()).finish()
    }
}

/// Comma entries; brackets mean nothing here, so this is not `scan::list`.
fn entries(value: &str) -> impl Iterator<Item = Result<&str, BadAuth>> {
    let mut rest = Some(value);
    std::iter::from_fn(move || {
        let text = rest.take()?;
        Some(match scan::find_outside(text, b',', false) {
            Ok(Some(at)) => {
                rest = Some(&text[at + 1..]);
                Ok(&text[..at])
            }
            Ok(None) => Ok(text),
            Err(()) => Err(BadAuth),
        })
    })
}

/// All challenges of a response in their order, WWW- and Proxy-Authenticate; values that do not read are left out.
pub fn challenges(headers: &Headers) -> impl Iterator<Item = (Name, AuthHeader<'_>)> {
    [Name::WwwAuthenticate, Name::ProxyAuthenticate]
        .into_iter()
        .flat_map(|name| headers.all(name).map(move |value| (name, value)))
        .flat_map(|(name, value)| AuthHeader::parse_all(value).unwrap_or_default().into_iter().map(move |c| (name, c)))
        .take(CHALLENGES_MAX)
}

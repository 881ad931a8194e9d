//! Who asks: Basic authentication with an account's sid and token.

use axum::http::{HeaderMap, header};
use base64::{Engine, prelude::BASE64_STANDARD};
use postern_types::AccountSid;

use crate::{Tenants, error::Refusal};

/// The account that a request proves to be.
pub(crate) fn account(headers: &HeaderMap, tenants: &Tenants) -> Result<AccountSid, Refusal> {
    let (user, password) = basic(headers).ok_or_else(Refusal::unauthenticated)?;
    tenants.now().authenticate(&user, &password).map_err(|_| Refusal::unauthenticated())
}

/// User and password of `Authorization: Basic …` (RFC 7617).
fn basic(headers: &HeaderMap) -> Option<(String, String)> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, coded) = value.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let plain = String::from_utf8(BASE64_STANDARD.decode(coded.trim()).ok()?).ok()?;
    let (user, password) = plain.split_once(':')?;
    Some((user.into(), password.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_basic_credentials_are_read() {
        for (value, want) in [
            ("Basic YTpiOmM=", Some(("a", "b:c"))),
            ("basic  YTpiOmM=", Some(("a", "b:c"))),
            ("Basic YWJj", None),
            ("Basic !", None),
            ("Bearer YTpi", None),
            ("", None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::AUTHORIZATION, value.parse().unwrap());
            let got = basic(&headers);
            assert_eq!(got.as_ref().map(|(u, p)| (u.as_str(), p.as_str())), want, "{value}");
        }
        assert_eq!(basic(&HeaderMap::new()), None);
    }
}

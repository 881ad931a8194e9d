//! URLs of application servers: how they are resolved, and how much of one may be shown.

use url::Url;

/// Bytes of a URL at most; longer ones are refused as bad.
pub const URL_MAX: usize = 8192;

/// A URL without credentials, query and fragment, for facts and logs.
pub fn shown(text: &str) -> String {
    match Url::parse(text) {
        Ok(mut url) if url.has_host() => {
            let _ = url.set_username("");
            let _ = url.set_password(None);
            url.set_query(None);
            url.set_fragment(None);
            url.into()
        }
        _ => text.split(['?', '#']).next().unwrap_or_default().rsplit('@').next().unwrap_or_default().to_owned(),
    }
}

/// A reference read against the document that it stands in; only `http:` and `https:` come out.
pub fn resolve(base: Option<&Url>, reference: &str) -> Result<Url, String> {
    if reference.len() > URL_MAX {
        return Err(format!("longer than {URL_MAX} bytes"));
    }
    let url = match base {
        Some(base) => base.join(reference.trim()),
        None => Url::parse(reference.trim()),
    }
    .map_err(|why| format!("not a URL: {why}"))?;
    match url.scheme() {
        "http" | "https" if url.has_host() => Ok(url),
        other => Err(format!("want http or https, not {other}")),
    }
}

/// Where a WebSocket leads. User information is refused: nothing would send it.
pub fn web_socket(text: &str) -> Result<Url, String> {
    if text.len() > URL_MAX {
        return Err(format!("longer than {URL_MAX} bytes"));
    }
    let url = Url::parse(text.trim()).map_err(|why| format!("not a URL: {why}"))?;
    match url.scheme() {
        "ws" | "wss" if !url.username().is_empty() || url.password().is_some() => {
            Err("a user or password before the host is not sent: use a parameter".into())
        }
        "ws" | "wss" => Ok(url),
        other => Err(format!("want wss or ws, not {other}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_resolve_against_their_document() {
        let base = Url::parse("https://app.example.net/ivr/start.xml?a=1").unwrap();
        for (reference, want) in [
            ("next", "https://app.example.net/ivr/next"),
            ("/menu?x=1", "https://app.example.net/menu?x=1"),
            ("http://other.example.net/", "http://other.example.net/"),
            ("?b=2", "https://app.example.net/ivr/start.xml?b=2"),
        ] {
            assert_eq!(resolve(Some(&base), reference).unwrap().as_str(), want);
        }
        assert!(resolve(None, "next").is_err());
        assert!(resolve(Some(&base), "ftp://example.net/").is_err());
    }

    #[test]
    fn web_sockets_have_a_scheme_and_a_host_and_no_user() {
        assert_eq!(web_socket(" wss://h.example.net/a?b=1 ").unwrap().as_str(), "wss://h.example.net/a?b=1");
        for bad in ["https://h.example.net/", "wss:", "wss://u:p@h.example.net/", "next", "wss:// /"] {
            let why = web_socket(bad).unwrap_err();
            assert!(!why.contains("u:p"), "{bad}: {why}");
        }
        assert!(web_socket(&format!("ws://h/{}", "a".repeat(URL_MAX))).is_err());
    }

    #[test]
    fn what_is_shown_has_no_credentials_and_no_query() {
        assert_eq!(shown("https://u:p@h.example.net/a?token=1#f"), "https://h.example.net/a");
        assert_eq!(shown("u:p@nonsense?x"), "nonsense");
    }
}

//! The cookies of one call (RFC 6265): set by its application servers, sent back to them alone, gone with the call.

use cookie::Cookie;
use postern_types::UnixMicros;
use url::{Host, Url};

/// Cookies kept at most; the oldest makes room.
pub const COOKIES_MAX: usize = 20;
/// Bytes of name and value at most; a larger cookie is not taken.
pub const COOKIE_BYTES_MAX: usize = 4096;

/// All cookies of a call.
#[derive(Debug, Default)]
pub struct Jar {
    cookies: Vec<Stored>,
}

#[derive(Debug)]
struct Stored {
    name: String,
    value: String,
    domain: String,
    /// No Domain attribute: for exactly this host.
    host_only: bool,
    path: String,
    secure: bool,
    expires: Option<UnixMicros>,
}

impl Jar {
    /// Takes one `Set-Cookie` of an answer from `url`. What the server may not set is ignored (RFC 6265 5.3).
    pub fn take(&mut self, url: &Url, header: &str, now: UnixMicros) {
        let Ok(cookie) = Cookie::parse(header) else { return };
        let Some(host) = url.host() else { return };
        let name = host.to_string();
        let too_large = cookie.name().len() + cookie.value().len() > COOKIE_BYTES_MAX;
        if too_large || cookie.name().is_empty() {
            return;
        }
        let (domain, host_only) = match cookie.domain().map(|d| d.trim_start_matches('.').to_ascii_lowercase()) {
            None => (name, true),
            Some(domain) if domain.is_empty() || domain == name => (name, domain.is_empty()),
            // A domain without a dot would be every host's below it, and an address has none below it.
            Some(domain) if matches!(host, Host::Domain(_)) && domain.contains('.') && is_below(&name, &domain) => {
                (domain, false)
            }
            Some(_) => return,
        };
        let path = match cookie.path() {
            Some(path) if path.starts_with('/') => path.to_owned(),
            _ => default_path(url.path()).to_owned(),
        };
        let secure = cookie.secure().unwrap_or(false);
        // Max-Age has precedence (RFC 6265 5.3, 3).
        let expires = match (cookie.max_age(), cookie.expires_datetime()) {
            (Some(age), _) => {
                let seconds = u64::try_from(age.whole_seconds()).unwrap_or(0).min(u64::from(u32::MAX));
                Some(UnixMicros(now.0.saturating_add(seconds * 1_000_000)))
            }
            (None, Some(at)) => {
                Some(UnixMicros(u64::try_from(at.unix_timestamp()).unwrap_or(0).saturating_mul(1_000_000)))
            }
            (None, None) => None,
        };
        let same = |old: &Stored| old.name == cookie.name() && old.domain == domain && old.path == path;
        self.cookies.retain(|old| !same(old) && old.expires.is_none_or(|at| at > now));
        if expires.is_some_and(|at| at <= now) {
            return;
        }
        if self.cookies.len() >= COOKIES_MAX {
            self.cookies.remove(0);
        }
        let (name, value) = (cookie.name().to_owned(), cookie.value().to_owned());
        self.cookies.push(Stored { name, value, domain, host_only, path, secure, expires });
    }

    /// The `Cookie` header for a request, the longest paths first (RFC 6265 5.4).
    pub fn header(&self, url: &Url, now: UnixMicros) -> Option<String> {
        let host = url.host_str()?;
        let fits = |cookie: &&Stored| {
            let host_fits = cookie.domain == host || (!cookie.host_only && is_below(host, &cookie.domain));
            host_fits
                && path_fits(url.path(), &cookie.path)
                && (!cookie.secure || url.scheme() == "https")
                && cookie.expires.is_none_or(|at| at > now)
        };
        let mut fitting: Vec<_> = self.cookies.iter().filter(fits).collect();
        fitting.sort_by_key(|cookie| std::cmp::Reverse(cookie.path.len()));
        let pairs: Vec<_> = fitting.iter().map(|cookie| format!("{}={}", cookie.name, cookie.value)).collect();
        (!pairs.is_empty()).then(|| pairs.join("; "))
    }
}

fn is_below(host: &str, domain: &str) -> bool {
    host.strip_suffix(domain).is_some_and(|front| front.ends_with('.'))
}

/// RFC 6265 5.1.4.
fn default_path(path: &str) -> &str {
    match path.rfind('/') {
        Some(0) | None => "/",
        Some(at) => &path[..at],
    }
}

fn path_fits(path: &str, cookie: &str) -> bool {
    path.strip_prefix(cookie).is_some_and(|rest| rest.is_empty() || cookie.ends_with('/') || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixMicros = UnixMicros(1_800_000_000_000_000);

    fn sent(set: &str, from: &str, to: &str) -> Option<String> {
        let mut jar = Jar::default();
        jar.take(&Url::parse(from).unwrap(), set, NOW);
        jar.header(&Url::parse(to).unwrap(), NOW)
    }

    #[test]
    fn a_cookie_goes_where_it_may() {
        let app = "http://app.example.net/ivr/start";
        for (set, to, goes) in [
            ("a=1", "http://app.example.net/ivr/next", true),
            ("a=1", "http://app.example.net/other", false),
            ("a=1; Path=/", "http://app.example.net/other", true),
            ("a=1; Path=/iv", "http://app.example.net/ivr/next", false),
            ("a=1; Path=/", "http://other.example.net/", false),
            ("a=1; Path=/; Domain=example.net", "http://other.example.net/", true),
            ("a=1; Path=/; Domain=example.org", "http://app.example.net/", false),
            ("a=1; Path=/; Domain=net", "http://app.example.net/", false),
            ("a=1; Path=/; Secure", "http://app.example.net/", false),
            ("a=1; Path=/; Secure", "https://app.example.net/", true),
            ("a=1; Path=/; Max-Age=0", "http://app.example.net/", false),
            ("a=1; Path=/; Max-Age=60", "http://app.example.net/", true),
            ("a=1; Path=/; Expires=Thu, 01 Jan 2026 00:00:00 GMT", "http://app.example.net/", false),
            ("nonsense", "http://app.example.net/ivr/", false),
        ] {
            assert_eq!(sent(set, app, to).is_some(), goes, "{set} to {to}");
        }
        assert_eq!(sent("a=1; Domain=0.0.1", "http://127.0.0.1/", "http://10.0.0.1/"), None);
    }

    #[test]
    fn a_cookie_is_replaced_expires_and_is_bounded() {
        let url = Url::parse("http://h.example.net/").unwrap();
        let mut jar = Jar::default();
        jar.take(&url, "a=1; Max-Age=10", NOW);
        jar.take(&url, "a=2; Max-Age=10", NOW);
        jar.take(&url, "b=3", NOW);
        assert_eq!(jar.header(&url, NOW).as_deref(), Some("a=2; b=3"));
        assert_eq!(jar.header(&url, UnixMicros(NOW.0 + 10_000_000)).as_deref(), Some("b=3"));
        for n in 0..100 {
            jar.take(&url, &format!("c{n}=1"), NOW);
        }
        assert_eq!(jar.cookies.len(), COOKIES_MAX);
        jar.take(&url, &format!("big={}", "x".repeat(5000)), NOW);
        assert!(!jar.header(&url, NOW).unwrap().contains("big"));
    }
}

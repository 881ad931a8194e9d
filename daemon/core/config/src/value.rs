//! Single values: text to a type, with words for what is wrong and what would be right.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::Duration,
};

use postern_types::{AccountSid, E164, stream::Codec};

use crate::{
    suggest::nearest,
    trunk::{Address, Prefix},
};

/// SIP's port (RFC 3261 19.1.2).
pub(crate) const SIP_PORT: u16 = 5060;
/// The same over TLS.
pub(crate) const SIPS_PORT: u16 = 5061;
/// Characters of a quoted value in a message at most.
const QUOTED_MAX: usize = 60;

/// Why a value is refused.
#[derive(Debug)]
pub(crate) struct Bad {
    pub message: String,
    pub hint: Option<String>,
}

pub(crate) type Parsed<T> = Result<T, Bad>;

pub(crate) fn bad<T>(message: String, hint: &str) -> Parsed<T> {
    Err(Bad { message, hint: Some(hint.to_owned()) })
}

/// The value as a message may repeat it.
pub(crate) fn quoted(text: &str) -> String {
    let mut shown: String = crate::source::without_url_secrets(text).chars().take(QUOTED_MAX).collect();
    if text.chars().count() > QUOTED_MAX {
        shown.push('…');
    }
    format!("`{}`", shown.replace(['\n', '\r', '\t'], " "))
}

pub(crate) fn text(text: &str) -> Parsed<String> {
    match text {
        "" => bad("empty text".into(), "write something between the quotes"),
        text if text.len() > 1024 => bad("text longer than 1024 bytes".into(), "shorten it"),
        text if text.chars().any(char::is_control) => {
            bad("text with a line break or control character".into(), "write it on one line")
        }
        text => Ok(text.to_owned()),
    }
}

/// Names of things: they appear in logs, metrics, subjects and SIP addresses, so the common subset of what those take.
pub(crate) fn name(text: &str) -> Parsed<String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    if text.is_empty() || text.len() > 63 || !text.chars().all(plain) || text.starts_with(['.', '-']) {
        let hint = "use letters, digits, `_`, `-` and `.`, at most 63, not starting with `.` or `-`";
        return bad(format!("{} is not a name", quoted(text)), hint);
    }
    Ok(text.to_owned())
}

/// A name without dots: a dot would split a subject.
pub(crate) fn nats_name(text: &str) -> Parsed<String> {
    if text.is_empty() || text.len() > 63 || !text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'))
    {
        return bad(format!("{} is not such a name", quoted(text)), "use letters, digits, `_` and `-`, at most 63");
    }
    Ok(text.to_owned())
}

pub(crate) fn flag(text: &str) -> Parsed<bool> {
    match text {
        "true" | "yes" | "on" => Ok(true),
        "false" | "no" | "off" => Ok(false),
        _ => bad(format!("{} is neither true nor false", quoted(text)), "write `true` or `false`"),
    }
}

pub(crate) fn integer(text: &str, min: u64, max: u64) -> Parsed<u64> {
    let range = || format!("write a whole number from {min} to {max}");
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
        return bad(format!("{} is not a whole number", quoted(text)), &range());
    }
    match text.parse::<u64>() {
        Ok(number) if (min..=max).contains(&number) => Ok(number),
        _ => bad(format!("{} is out of range", quoted(text)), &range()),
    }
}

/// `500ms`, `30s`, `5m`, `1h`.
pub(crate) fn duration(text: &str, min_ms: u64, max_ms: u64) -> Parsed<Duration> {
    let form = "write a whole number and a unit: 500ms, 30s, 5m or 1h";
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let scale = match unit.trim_start() {
        "ms" => 1,
        "s" => 1000,
        "m" | "min" => 60_000,
        "h" => 3_600_000,
        "" if digits > 0 => {
            return bad(
                format!("{} has no unit", quoted(text)),
                &format!("write {number}s for seconds, {number}ms for milliseconds"),
            );
        }
        _ => return bad(format!("{} is not a duration", quoted(text)), form),
    };
    if digits == 0 {
        return bad(format!("{} is not a duration", quoted(text)), form);
    }
    match number.parse::<u64>().ok().and_then(|n| n.checked_mul(scale)) {
        Some(ms) if (min_ms..=max_ms).contains(&ms) => Ok(Duration::from_millis(ms)),
        _ => {
            let (low, high) =
                (duration_text(Duration::from_millis(min_ms)), duration_text(Duration::from_millis(max_ms)));
            bad(format!("{} is out of range", quoted(text)), &format!("write {low} to {high}"))
        }
    }
}

/// As [`duration`] reads it.
pub(crate) fn duration_text(span: Duration) -> String {
    match span.as_millis() {
        0 => "0s".into(),
        ms if ms % 3_600_000 == 0 => format!("{}h", ms / 3_600_000),
        ms if ms % 60_000 == 0 => format!("{}m", ms / 60_000),
        ms if ms % 1000 == 0 => format!("{}s", ms / 1000),
        ms => format!("{ms}ms"),
    }
}

pub(crate) fn choice(text: &str, words: &'static [&'static str]) -> Parsed<&'static str> {
    if let Some(word) = words.iter().find(|word| word.eq_ignore_ascii_case(text)) {
        return Ok(word);
    }
    let list = words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ");
    let hint = match nearest(text, words.iter().copied()) {
        Some(word) => format!("did you mean `{word}`?"),
        None => format!("write one of {list}"),
    };
    bad(format!("{} is not one of {list}", quoted(text)), &hint)
}

pub(crate) fn e164(text: &str) -> Parsed<E164> {
    let digits: String = text.chars().filter(char::is_ascii_digit).collect();
    text.parse().or_else(|_| {
        let hint = match format!("+{digits}").parse::<E164>() {
            Ok(number) => format!("write \"{number}\" if that is its international form"),
            Err(_) => "write `+`, the country code and the number: at most 15 digits".to_owned(),
        };
        bad(format!("{} is not a number in international form", quoted(text)), &hint)
    })
}

pub(crate) fn dialed(text: &str) -> Parsed<String> {
    let dialable = |c: char| c.is_ascii_digit() || matches!(c, '*' | '#');
    let rest = text.strip_prefix('+').unwrap_or(text);
    if text.len() > 32 || !rest.chars().all(dialable) {
        return bad(
            format!("{} cannot be dialed", quoted(text)),
            "write digits, `*` and `#`, in front perhaps a `+`, at most 32",
        );
    }
    Ok(text.to_owned())
}

/// A shape check, no more: what it resolves to is for whoever connects.
pub(crate) fn url(text: &str, schemes: &[&str]) -> Parsed<String> {
    let wanted = schemes.iter().map(|scheme| format!("`{scheme}://`")).collect::<Vec<_>>().join(" or ");
    let Some((scheme, rest)) = text.split_once("://") else {
        return bad(format!("{} is not an URL", quoted(text)), &format!("start it with {wanted}"));
    };
    if !schemes.iter().any(|known| known.eq_ignore_ascii_case(scheme)) {
        return bad(format!("{} is not an URL for this", quoted(text)), &format!("start it with {wanted}"));
    }
    if text.len() > 2048 || text.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return bad(format!("{} is not an URL", quoted(text)), "no blanks, at most 2048 characters");
    }
    let authority = rest.split(['/', '?', '#']).next().unwrap_or("");
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    match host_and_port(host) {
        Some((_, Ok(_))) => Ok(text.to_owned()),
        Some((_, Err(()))) => bad(format!("{} has a bad port", quoted(text)), "ports are 1 to 65535"),
        None => bad(format!("{} has no host", quoted(text)), &format!("write {wanted}, then host and path")),
    }
}

/// Splits `host`, `host:port`, `[v6]:port`; the port none when not written, an error when written badly.
fn host_and_port(text: &str) -> Option<(&str, Result<Option<u16>, ()>)> {
    let (host, rest) = match text.strip_prefix('[') {
        Some(inner) => {
            let (host, rest) = inner.split_once(']')?;
            host.parse::<std::net::Ipv6Addr>().ok()?;
            (host, rest)
        }
        None => {
            let end = text.find(':').unwrap_or(text.len());
            text.split_at(end)
        }
    };
    let host_like = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    if host.is_empty() || host.len() > 253 || !(text.starts_with('[') || host.chars().all(host_like)) {
        return None;
    }
    let port = match rest.strip_prefix(':') {
        None if rest.is_empty() => Ok(None),
        None => Err(()),
        Some(port) => {
            port.parse().ok().filter(|p| *p > 0 && port.bytes().all(|b| b.is_ascii_digit())).map(Some).ok_or(())
        }
    };
    Some((host, port))
}

/// A bare IPv6 address with a port cannot be told from one without: brackets are asked for.
const BRACKETS: &str = "write an IPv6 address with a port in brackets: \"[2001:db8::1]:5060\"";

pub(crate) fn host(text: &str) -> Parsed<Address> {
    if let Ok(IpAddr::V6(address)) = text.parse() {
        return Ok(Address { host: address.to_string(), port: None });
    }
    let (host, port) = match host_and_port(text) {
        Some((host, Ok(port))) => (host, port),
        Some((_, Err(()))) if text.matches(':').count() > 1 => {
            return bad(format!("{} is not a host", quoted(text)), BRACKETS);
        }
        Some((_, Err(()))) => return bad(format!("{} has a bad port", quoted(text)), "ports are 1 to 65535"),
        None => {
            return bad(
                format!("{} is not a host", quoted(text)),
                "write a name or an address, then perhaps `:` and a port",
            );
        }
    };
    // Four numbers that are no address would be looked up as a name, and fail at the first call only.
    let numeric = host.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    if numeric && host.parse::<Ipv4Addr>().is_err() {
        return bad(format!("{} is not an address", quoted(text)), "an IPv4 address has four numbers of 0 to 255");
    }
    let host = host.parse::<IpAddr>().map_or_else(|_| host.to_ascii_lowercase(), |address| address.to_string());
    Ok(Address { host, port })
}

pub(crate) fn socket(text: &str, port_optional: bool) -> Parsed<SocketAddr> {
    let parsed = match text.parse::<SocketAddr>() {
        Ok(socket) => socket,
        Err(_) => match text.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>() {
            Ok(address) if port_optional => SocketAddr::new(address, SIP_PORT),
            Ok(_) => {
                return bad(format!("{} has no port", quoted(text)), &format!("write for example \"{}:8080\"", text));
            }
            Err(_) if text.matches(':').count() > 1 => {
                return bad(format!("{} is not an address and port", quoted(text)), BRACKETS);
            }
            Err(_) => {
                let hint = "write a numeric address and a port: 192.0.2.10:5060 or \"[2001:db8::10]:5060\"";
                return bad(format!("{} is not an address and port", quoted(text)), hint);
            }
        },
    };
    if parsed.port() == 0 {
        return bad(format!("{} has port 0", quoted(text)), "ports are 1 to 65535");
    }
    Ok(parsed)
}

pub(crate) fn address(text: &str) -> Parsed<IpAddr> {
    text.trim_start_matches('[').trim_end_matches(']').parse().or_else(|_| {
        bad(format!("{} is not an address", quoted(text)), "write a numeric address: 192.0.2.10 or \"2001:db8::10\"")
    })
}

/// An address that can be told to a peer: not "all", not a group.
pub(crate) fn own_address(text: &str, address: IpAddr) -> Parsed<()> {
    if address.is_unspecified() || address.is_multicast() {
        let hint = "write the address of one interface: it is told to peers in SIP and SDP";
        return bad(format!("{} is not an address of this box", quoted(text)), hint);
    }
    Ok(())
}

pub(crate) fn ipv4(text: &str) -> Parsed<Ipv4Addr> {
    text.parse().or_else(|_| bad(format!("{} is not an IPv4 address", quoted(text)), "write for example 203.0.113.7"))
}

pub(crate) fn prefix(text: &str) -> Parsed<Prefix> {
    let form = "write an address or a prefix: 192.0.2.7, 192.0.2.0/24, \"2001:db8::/32\"";
    let (head, length) = text.split_once('/').map_or((text, None), |(head, length)| (head, Some(length)));
    let Ok(address) = head.parse::<IpAddr>() else {
        return bad(format!("{} is not an address or prefix", quoted(text)), form);
    };
    let bits = if address.is_ipv4() { 32 } else { 128 };
    let length = match length.map(str::parse::<u8>) {
        None => bits,
        Some(Ok(length)) if length <= bits => length,
        Some(_) => return bad(format!("{} has a bad prefix length", quoted(text)), &format!("write /0 to /{bits}")),
    };
    let network = match address {
        IpAddr::V4(v4) => {
            IpAddr::V4((u32::from(v4) & u32::MAX.checked_shl(32 - u32::from(length)).unwrap_or(0)).into())
        }
        IpAddr::V6(v6) => {
            IpAddr::V6((u128::from(v6) & u128::MAX.checked_shl(128 - u32::from(length)).unwrap_or(0)).into())
        }
    };
    if network != address {
        let hint = format!("did you mean {network}/{length} or {address}/{bits}?");
        return bad(format!("{} has bits set behind its /{length}", quoted(text)), &hint);
    }
    Ok(Prefix { address, length })
}

/// First and last port.
pub(crate) fn ports(text: &str) -> Parsed<(u16, u16)> {
    let ends = text
        .split_once('-')
        .and_then(|(first, last)| Some((first.trim().parse::<u16>().ok()?, last.trim().parse::<u16>().ok()?)));
    let Some((first, last)) = ends else {
        return bad(format!("{} is not a range of ports", quoted(text)), "write for example 20000-29999");
    };
    if first == 0 || last <= first {
        return bad(
            format!("{} is not a range of ports", quoted(text)),
            "the last port must be above the first, the first above 0",
        );
    }
    if first % 2 == 1 {
        // RFC 3550 11: RTP on the even port, RTCP on the odd one above it.
        let hint =
            format!("start with {}: RTP takes the even port, RTCP the next", first.checked_add(1).unwrap_or(first - 1));
        return bad(format!("{} starts with an odd port", quoted(text)), &hint);
    }
    Ok((first, last))
}

/// Encoding names of audio that carriers and phones use. Those without a name of their own pass a relay only.
const CODECS: [&str; 20] = [
    "PCMU",
    "PCMA",
    "G722",
    "G729",
    "opus",
    "GSM",
    "iLBC",
    "speex",
    "AMR",
    "AMR-WB",
    "EVS",
    "G723",
    "G726-16",
    "G726-24",
    "G726-32",
    "G726-40",
    "G728",
    "L16",
    "SILK",
    "telephone-event",
];

pub(crate) fn codec(text: &str) -> Parsed<Codec> {
    match CODECS.iter().find(|name| name.eq_ignore_ascii_case(text)) {
        Some(&"telephone-event") => {
            bad(format!("{} is no codec", quoted(text)), "remove it: digits (RFC 4733) are always negotiated")
        }
        Some(name) => Ok(Codec::from_name(name)),
        None => {
            let usual = match text.to_ascii_lowercase().as_str() {
                "alaw" | "g711a" | "g.711a" => Some("PCMA"),
                "ulaw" | "mulaw" | "g711u" | "g.711u" | "g711" | "g.711" => Some("PCMU"),
                _ => nearest(text, CODECS.into_iter()),
            };
            let hint = usual.map_or_else(
                || "codecs are PCMU, PCMA, G722, G729, opus, ...".into(),
                |name| format!("did you mean {name}?"),
            );
            bad(format!("{} is not a codec known here", quoted(text)), &hint)
        }
    }
}

pub(crate) fn sid(text: &str) -> Parsed<AccountSid> {
    text.parse()
        .or_else(|_| bad(format!("{} is not an account SID", quoted(text)), "write `AC` and 32 hexadecimal digits"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a parser makes of a text, for a table: the value's own text, or nothing.
    fn shown<T: ToString>(parsed: Parsed<T>) -> Option<String> {
        parsed.ok().map(|value| value.to_string())
    }

    #[test]
    fn addresses_hosts_and_prefixes() {
        for (text, want) in [
            ("192.0.2.1", Some("192.0.2.1")),
            ("192.0.2.1:5070", Some("192.0.2.1:5070")),
            ("2001:db8::1", Some("2001:db8::1")),
            ("[2001:db8::1]", Some("2001:db8::1")),
            ("[2001:DB8::1]:7", Some("[2001:db8::1]:7")),
            ("Sip.Example", Some("sip.example")),
            ("sip.example:65535", Some("sip.example:65535")),
            ("sip.example:65536", None),
            ("sip.example:0", None),
            ("sip.example:+5", None),
            ("sip.example:", None),
            ("a b", None),
            ("", None),
            (":5060", None),
            ("[::1", None),
            ("[x]:5", None),
            ("1.2.3", None),
            ("sip:host", None),
        ] {
            assert_eq!(shown(host(text)).as_deref(), want, "{text}");
        }
        for (text, want) in [
            ("192.0.2.7", Some("192.0.2.7/32")),
            ("192.0.2.0/24", Some("192.0.2.0/24")),
            ("0.0.0.0/0", Some("0.0.0.0/0")),
            ("2001:db8::/32", Some("2001:db8::/32")),
            ("::/0", Some("::/0")),
            ("192.0.2.1/24", None),
            ("192.0.2.0/33", None),
            ("2001:db8::/129", None),
            ("192.0.2.0/", None),
            ("host/8", None),
        ] {
            assert_eq!(shown(prefix(text)).as_deref(), want, "{text}");
        }
        assert_eq!(shown(socket("[::1]:8080", false)).as_deref(), Some("[::1]:8080"));
        for bad in ["::1", "127.0.0.1", "127.0.0.1:0", "localhost:80", "*:80"] {
            assert!(socket(bad, false).is_err(), "{bad}");
        }
    }

    #[test]
    fn durations_ports_and_urls() {
        for (text, ms) in [("0s", 0), ("500ms", 500), ("30s", 30_000), ("5m", 300_000), ("2 h", 7_200_000)] {
            let span = duration(text, 0, u64::MAX).unwrap();
            assert_eq!(span, Duration::from_millis(ms));
            assert_eq!(duration(&duration_text(span), 0, u64::MAX).unwrap(), span);
        }
        for bad in ["", "s", "-1s", "1.5s", "1d", "99999999999999999999s", "18446744073709551615h"] {
            assert!(duration(bad, 0, u64::MAX).is_err(), "{bad}");
        }
        assert_eq!(ports("20000 - 29999").unwrap(), (20000, 29999));
        for bad in ["", "20000", "1-2", "0-9", "20-20", "30-20", "60000-65536", "a-b", "65535-65535"] {
            assert!(ports(bad).is_err(), "{bad}");
        }
        for good in ["http://h", "HTTPS://h:1/x?y#z", "http://u:p@h/", "http://[::1]:80/", "http://127.0.0.1"] {
            assert!(url(good, &["http", "https"]).is_ok(), "{good}");
        }
        for bad in [
            "",
            "h",
            "http:/h",
            "http://",
            "http:///x",
            "http://h h/",
            "http://h:x/",
            "http://[::1/",
            "ftp://h",
            "http://u@",
        ] {
            assert!(url(bad, &["http", "https"]).is_err(), "{bad}");
        }
    }
}

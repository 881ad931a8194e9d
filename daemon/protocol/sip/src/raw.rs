//! What can be told of a message without reading it whole: whose dialog it is of, and where its secrets are.
//!
//! For a trace, which keeps messages as they were on the wire, readable or not. A look for the Call-ID costs a scan over the lines before
//! it; secrets are overwritten only when somebody wants to see a message, so that the way of a call does not pay for it.

/// The Call-ID (RFC 3261 20.8) of a message, trimmed, or none when there is none before the empty line.
pub fn call_id(bytes: &[u8]) -> Option<&[u8]> {
    head_lines(bytes).find_map(|line| field(line, &[b"call-id", b"i"])).filter(|value| !value.is_empty())
}

/// Overwrites by `*`, byte for byte, what must not be shown: digest responses, other credentials, keys of SDES (RFC 4568), ICE
/// passwords (RFC 8839), passwords in URIs, digits in INFO, and the text of a MESSAGE. What is masked reads as it did: no length changes.
pub fn mask(bytes: &mut [u8]) {
    let body = crate::scan::head_end(bytes).unwrap_or(bytes.len());
    let mut is_credentials = false;
    let mut is_digits = false;
    let mut at = 0;
    while at < body {
        let end = line_end(bytes, at).min(body);
        let line = &mut bytes[at..end];
        at = end;
        let continues = matches!(line.first(), Some(b' ' | b'\t'));
        if !continues {
            let names: [&[u8]; 4] =
                [b"authorization", b"proxy-authorization", b"authentication-info", b"proxy-authentication-info"];
            is_credentials = field(line, &names).is_some();
            is_digits |=
                field(line, &[b"content-type", b"c"]).is_some_and(|kind| starts_with(kind, b"application/dtmf"));
        }
        if is_credentials {
            mask_credentials(line, continues);
        } else {
            mask_uri_passwords(line);
        }
    }
    if starts_with(bytes, b"message ") {
        // What somebody wrote to somebody is nobody else's.
        return stars(bytes.get_mut(at..).unwrap_or_default());
    }
    while at < bytes.len() {
        let end = line_end(bytes, at);
        mask_body_line(&mut bytes[at..end], is_digits);
        at = end;
    }
}

/// The lines of the head; the first is the start line.
fn head_lines(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let end = line_end(bytes, at);
        let line = bytes.get(at..end)?;
        at = end;
        Some(line).filter(|line| !line.trim_ascii().is_empty())
    })
}

/// Behind the line feed of the line that begins at `at`, or the end.
fn line_end(bytes: &[u8], at: usize) -> usize {
    bytes.get(at..).and_then(|rest| memchr::memchr(b'\n', rest)).map_or(bytes.len(), |lf| at + lf + 1)
}

/// The value of a header line with one of these lower-case names.
fn field<'a>(line: &'a [u8], names: &[&[u8]]) -> Option<&'a [u8]> {
    // Most lines begin with another letter.
    let first = line.first()?.to_ascii_lowercase();
    let name = names.iter().find(|name| name[0] == first && starts_with(line, name))?;
    let value = line[name.len()..].trim_ascii_start().strip_prefix(b":")?;
    Some(value.trim_ascii())
}

fn starts_with(text: &[u8], lower: &[u8]) -> bool {
    text.get(..lower.len()).is_some_and(|head| head.eq_ignore_ascii_case(lower))
}

/// `response`, `rspauth` and `cnonce` stay in their places as stars. Another scheme than Digest is hidden whole.
fn mask_credentials(line: &mut [u8], continues: bool) {
    let value = if continues { 0 } else { line.iter().position(|b| *b == b':').map_or(0, |colon| colon + 1) };
    let scheme = line[value..].iter().position(|b| !b.is_ascii_whitespace()).map_or(line.len(), |skip| value + skip);
    let names = starts_with(line, b"authentication-info") || starts_with(line, b"proxy-authentication-info");
    if !continues && !names && !starts_with(&line[scheme..], b"digest") {
        return stars(&mut line[scheme..]);
    }
    for name in [&b"response"[..], b"rspauth"] {
        let mut from = value;
        while let Some(at) = find_ignoring_case(&line[from..], name).map(|at| from + at) {
            from = at + name.len();
            let Some(equals) = line[from..].iter().position(|b| !b.is_ascii_whitespace()).map(|skip| from + skip)
            else {
                break;
            };
            let starts_here = at == 0 || !line[at - 1].is_ascii_alphanumeric();
            if line[equals] != b'=' || !starts_here {
                continue;
            }
            let Some(open) = line[equals + 1..].iter().position(|b| !b.is_ascii_whitespace()) else { break };
            let open = equals + 1 + open;
            let (start, ends): (usize, fn(u8) -> bool) = match line[open] {
                b'"' => (open + 1, |b| b == b'"'),
                _ => (open, |b| b == b',' || b.is_ascii_whitespace()),
            };
            let end = line[start..].iter().position(|b| ends(*b)).map_or(line.len(), |length| start + length);
            stars(&mut line[start..end]);
            from = end;
        }
    }
}

/// `sip:alice:secret@…`: what stands between the colon and the at sign (RFC 3261 19.1.1).
fn mask_uri_passwords(line: &mut [u8]) {
    let mut from = 0;
    while let Some(colon) = memchr::memchr(b':', &line[from..]).map(|at| from + at) {
        from = colon + 1;
        let is_scheme = |scheme: &[u8]| {
            colon.checked_sub(scheme.len()).is_some_and(|start| line[start..colon].eq_ignore_ascii_case(scheme))
        };
        if !is_scheme(b"sip") && !is_scheme(b"sips") {
            continue;
        }
        let userinfo = line[from..].iter().position(|b| matches!(b, b'@' | b'>' | b'<' | b' ' | b'"' | b'\r' | b'\n'));
        let Some(at) = userinfo.map(|length| from + length).filter(|at| line[*at] == b'@') else { continue };
        if let Some(password) = memchr::memchr(b':', &line[from..at]) {
            stars(&mut line[from + password + 1..at]);
        }
        from = at;
    }
}

fn mask_body_line(line: &mut [u8], is_digits: bool) {
    let text = line.trim_ascii_start();
    let skipped = line.len() - text.len();
    let shown = if starts_with(text, b"a=ice-pwd:") {
        Some(b"a=ice-pwd:".len())
    } else if starts_with(text, b"k=") {
        Some(2)
    } else if starts_with(text, b"a=key-mgmt:") {
        Some(b"a=key-mgmt:".len())
    } else if is_digits {
        // `Signal=5` of application/dtmf-relay; application/dtmf is the digit alone.
        match text.iter().position(|b| *b == b'=') {
            Some(equals) if starts_with(text, b"signal") => Some(equals + 1),
            Some(_) => None,
            None => Some(0),
        }
    } else {
        None
    };
    if let Some(shown) = shown {
        return stars(&mut line[skipped + shown..]);
    }
    if starts_with(text, b"a=crypto:") {
        let mut from = skipped;
        while let Some(at) = find_ignoring_case(&line[from..], b"inline:") {
            let start = from + at + b"inline:".len();
            let key = line[start..].iter().position(|b| b.is_ascii_whitespace() || matches!(b, b'|' | b';'));
            let end = key.map_or(line.len(), |length| start + length);
            stars(&mut line[start..end]);
            from = end;
        }
    }
}

fn find_ignoring_case(text: &[u8], lower: &[u8]) -> Option<usize> {
    text.windows(lower.len()).position(|window| window.eq_ignore_ascii_case(lower))
}

fn stars(bytes: &mut [u8]) {
    bytes.iter_mut().filter(|b| !b.is_ascii_whitespace()).for_each(|b| *b = b'*');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_id_is_found_in_either_form_and_only_in_the_head() {
        for (message, wanted) in [
            (&b"INVITE sip:a SIP/2.0\r\nCall-ID: x@y \r\n\r\n"[..], Some(&b"x@y"[..])),
            (b"BYE sip:a SIP/2.0\ni:short\n\n", Some(b"short")),
            (b"BYE sip:a SIP/2.0\r\nCALL-ID  :\tz\r\n", Some(b"z")),
            (b"BYE sip:a SIP/2.0\r\nIdentity: no\r\n\r\nCall-ID: in the body\r\n", None),
            (b"BYE sip:a SIP/2.0\r\nCall-ID:\r\n\r\n", None),
            (b"\x16\x03\x01", None),
            (b"", None),
        ] {
            assert_eq!(call_id(message), wanted, "{}", String::from_utf8_lossy(message));
        }
    }

    #[test]
    fn every_secret_becomes_stars_and_nothing_else_changes() {
        for (line, wanted) in [
            (
                "Authorization: Digest username=\"a\", realm=\"r\", response=\"deadbeef\", uri=\"sip:a:b@c\", nonce=\"n\"",
                "Authorization: Digest username=\"a\", realm=\"r\", response=\"********\", uri=\"sip:a:b@c\", nonce=\"n\"",
            ),
            (
                "proxy-authorization: Digest realm=\"r\",\r\n Response = deadbeef, qop=auth",
                "proxy-authorization: Digest realm=\"r\",\r\n Response = ********, qop=auth",
            ),
            ("Authorization: Basic YTpi", "Authorization: ***** ****"),
            ("Authorization: Bearer abc.def", "Authorization: ****** *******"),
            ("Authentication-Info: rspauth=\"abcd\", nc=1", "Authentication-Info: rspauth=\"****\", nc=1"),
            (
                "Authorization: Digest realm=\"no end, response=\"x",
                "Authorization: Digest realm=\"no end, response=\"*",
            ),
            ("From: <sip:alice:pa55@h>;tag=1", "From: <sip:alice:****@h>;tag=1"),
            ("To: <sip:alice@h:5060>", "To: <sip:alice@h:5060>"),
            ("Via: SIP/2.0/UDP h:5060;branch=z9hG4bK1", "Via: SIP/2.0/UDP h:5060;branch=z9hG4bK1"),
            ("WWW-Authenticate: Digest realm=\"r\", nonce=\"n\"", "WWW-Authenticate: Digest realm=\"r\", nonce=\"n\""),
        ] {
            let whole =
                |line: &str| format!("INVITE sip:b SIP/2.0\r\n{line}\r\nContent-Length: 0\r\n\r\n").into_bytes();
            let mut bytes = whole(line);
            mask(&mut bytes);
            assert_eq!(String::from_utf8(bytes).unwrap(), String::from_utf8(whole(wanted)).unwrap());
        }
    }

    #[test]
    fn keys_passwords_and_digits_of_a_body_become_stars() {
        for (kind, line, wanted) in [
            (
                "application/sdp",
                "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:abc+/=|2^20|1:4;inline:def FEC",
                "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:******|2^20|1:4;inline:*** FEC",
            ),
            ("application/sdp", "a=ice-pwd:secret", "a=ice-pwd:******"),
            ("application/sdp", "k=clear:secret", "k=************"),
            ("application/sdp", "a=rtpmap:0 PCMU/8000", "a=rtpmap:0 PCMU/8000"),
            ("application/dtmf-relay", "Signal= 5\r\nDuration=160", "Signal= *\r\nDuration=160"),
            ("application/dtmf", "5", "*"),
            ("text/plain", "5", "5"),
        ] {
            let whole =
                |line: &str| format!("INFO sip:b SIP/2.0\r\nContent-Type: {kind}\r\n\r\n{line}\r\n").into_bytes();
            let mut bytes = whole(line);
            mask(&mut bytes);
            assert_eq!(String::from_utf8(bytes).unwrap(), String::from_utf8(whole(wanted)).unwrap());
        }
    }

    #[test]
    fn what_somebody_wrote_is_not_shown() {
        let mut bytes = b"MESSAGE sip:b SIP/2.0\r\nContent-Type: text/plain\r\n\r\nmeet me\r\nat noon".to_vec();
        mask(&mut bytes);
        let wanted = "MESSAGE sip:b SIP/2.0\r\nContent-Type: text/plain\r\n\r\n**** **\r\n** ****";
        assert_eq!(String::from_utf8(bytes).unwrap(), wanted);
    }
}

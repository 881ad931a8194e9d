//! The few ways that SIP text is cut: white space with folds, lists outside quotes, tokens. No allocation.
//!
//! What cuts is always ASCII, and the texts are short: bytes are looked at one by one, which is done before a search by `char`
//! has been set up. A message of a call is cut some hundred times.

/// SP, HT and the CR LF of a fold.
pub(crate) fn is_lws(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\r' | '\n')
}

/// The same of a byte.
pub(crate) fn is_lws_byte(b: u8) -> bool {
    matches!(b, b' ' | b'\t' | b'\r' | b'\n')
}

/// Without white space and folds at both ends.
pub(crate) fn trim(text: &str) -> &str {
    let is_text = |b: &u8| !is_lws_byte(*b);
    let bytes = text.as_bytes();
    match (bytes.iter().position(is_text), bytes.iter().rposition(is_text)) {
        (Some(first), Some(last)) => &text[first..=last],
        _ => &text[..0],
    }
}

/// Where an ASCII character first stands.
pub(crate) fn find(text: &str, wanted: u8) -> Option<usize> {
    debug_assert!(wanted.is_ascii());
    text.bytes().position(|b| b == wanted)
}

/// What is in front of an ASCII character, and what is behind it.
pub(crate) fn cut(text: &str, wanted: u8) -> Option<(&str, &str)> {
    let at = find(text, wanted)?;
    Some((&text[..at], &text[at + 1..]))
}

/// A set of bytes, looked up for every byte of what is read.
pub(crate) type Bytes = [bool; 256];

/// These bytes.
pub(crate) const fn set(bytes: &[u8]) -> Bytes {
    let mut set = [false; 256];
    let mut at = 0;
    while at < bytes.len() {
        set[bytes[at] as usize] = true;
        at += 1;
    }
    set
}

/// Letters, digits and these.
pub(crate) const fn alphanumeric_and(bytes: &[u8]) -> Bytes {
    let mut set = set(bytes);
    let mut b = 0;
    while b < 128u8 {
        set[b as usize] |= b.is_ascii_alphanumeric();
        b += 1;
    }
    set
}

/// Whether one of them occurs.
pub(crate) fn has_any(text: &str, of: &Bytes) -> bool {
    text.bytes().any(|b| of[usize::from(b)])
}

/// Whether nothing else occurs.
pub(crate) fn has_only(text: &str, of: &Bytes) -> bool {
    text.bytes().all(|b| of[usize::from(b)])
}

/// RFC 3261 25.1 token.
pub(crate) fn is_token(text: &str) -> bool {
    !text.is_empty() && has_only(text, &TOKEN)
}

const TOKEN: Bytes = alphanumeric_and(b"-.!%*_+`'~");

/// White space and the line ends of folds.
pub(crate) const LWS: Bytes = set(b" \t\r\n");

/// Of hosts. Underscore is no host character by RFC 3261, but names with one are in use.
pub(crate) const HOST: Bytes = alphanumeric_and(b"-._");

/// 1*DIGIT that fits.
pub(crate) fn number<T: std::str::FromStr>(text: &str) -> Option<T> {
    (!text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())).then(|| text.parse().ok()).flatten()
}

/// The index behind the empty line that ends the header fields.
pub(crate) fn head_end(bytes: &[u8]) -> Option<usize> {
    let mut from = 0;
    loop {
        let lf = from + memchr::memchr(b'\n', &bytes[from..])?;
        match (bytes.get(lf + 1), bytes.get(lf + 2)) {
            (Some(b'\n'), _) => return Some(lf + 2),
            (Some(b'\r'), Some(b'\n')) => return Some(lf + 3),
            _ => from = lf + 1,
        }
    }
}

/// The index after the quoted string that opens at 0, or none when it never closes.
pub(crate) fn quoted_end(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    debug_assert_eq!(bytes.first(), Some(&b'"'));
    let mut at = 1;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => at += 2,
            b'"' => return Some(at + 1),
            _ => at += 1,
        }
    }
    None
}

/// Where `wanted` first stands outside quoted strings and, when `angles`, outside `<>`. `Err` when one of them never closes.
pub(crate) fn find_outside(text: &str, wanted: u8, angles: bool) -> Result<Option<usize>, ()> {
    let bytes = text.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        match bytes[at] {
            b if b == wanted => return Ok(Some(at)),
            b'"' => at += quoted_end(&text[at..]).ok_or(())?,
            b'<' if angles => at += bytes[at..].iter().position(|&b| b == b'>').ok_or(())? + 1,
            _ => at += 1,
        }
    }
    Ok(None)
}

/// The entries of a comma list, trimmed; commas in quotes and `<>` do not count. An entry can be empty: the reader decides.
/// What does not close is one last entry, so that its reader sees the defect.
pub(crate) fn list(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let text = rest?;
        // Most values are one entry and have no comma at all.
        let comma = memchr::memchr(b',', text.as_bytes()).map_or(Ok(None), |_| find_outside(text, b',', true));
        let (entry, after) = match comma {
            Ok(Some(at)) => (&text[..at], Some(&text[at + 1..])),
            Ok(None) | Err(()) => (text, None),
        };
        rest = after;
        Some(trim(entry))
    })
}

/// Takes the marks off a quoted string and resolves `\x`; other text as it is. White space runs with folds become one space.
pub(crate) fn unquote(text: &str) -> std::borrow::Cow<'_, str> {
    let text = trim(text);
    let inner = match text.strip_prefix('"') {
        Some(rest) => rest.strip_suffix('"').unwrap_or(rest),
        None => return unfold(text),
    };
    if !inner.contains('\\') {
        return unfold(inner);
    }
    let mut out = String::with_capacity(inner.len());
    let mut chars = inner.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => out.extend(chars.next()),
            '\r' => {}
            '\n' => out.push(' '),
            c => out.push(c),
        }
    }
    out.into()
}

/// A folded value on one line: each fold with the white space around it becomes one space (RFC 3261 7.3.1).
pub(crate) fn unfold(text: &str) -> std::borrow::Cow<'_, str> {
    if !text.contains(['\r', '\n']) {
        return text.into();
    }
    let mut out = String::with_capacity(text.len());
    for line in text.split(['\r', '\n']) {
        let line = line.trim_matches([' ', '\t']);
        if !line.is_empty() {
            if !out.is_empty() {
                out.push(' ');
            }
            out.push_str(line);
        }
    }
    out.into()
}

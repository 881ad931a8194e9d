//! `a=crypto`: SDES keys (RFC 4568).

use base64::{Engine as _, engine::general_purpose::STANDARD};
use postern_types::{
    Secret,
    stream::{SdesKey, SrtpSuite},
};

/// Reads the value after `crypto:`. None for what we do not speak: other suites, an MKI, several keys,
/// and session parameters that change the packets (RFC 4568 6.3: such a line must then not be used).
pub(crate) fn read(value: &str) -> Option<SdesKey> {
    let mut words = value.split_ascii_whitespace();
    let tag = words.next().filter(|t| t.len() <= 9)?.parse().ok()?;
    let suite = match words.next()? {
        "AES_CM_128_HMAC_SHA1_80" => SrtpSuite::AesCm128HmacSha1_80,
        "AES_CM_128_HMAC_SHA1_32" => SrtpSuite::AesCm128HmacSha1_32,
        _ => return None,
    };
    let key_params = words.next()?.strip_prefix("inline:")?;
    // A `;` starts a second key and `n:m` names an MKI. The lifetime in between only limits how long a key
    // may live (2^48 packets); no call of ours comes near it.
    if key_params.contains([';', ':']) {
        return None;
    }
    // RFC 4568 6.3.7: an unknown parameter voids the line unless `-` says it may be ignored. WSH is a mere hint.
    if words.any(|parameter| !parameter.starts_with('-') && !parameter.starts_with("WSH=")) {
        return None;
    }
    let encoded = key_params.split('|').next()?;
    let mut key_salt = [0; 30];
    // The decoder refuses to write past 30 bytes only by its estimate, which is exact for 40 characters.
    if encoded.len() != 40 || STANDARD.decode_slice(encoded, &mut key_salt) != Ok(30) {
        return None;
    }
    Some(SdesKey { tag, suite, key_salt: Secret::new(key_salt) })
}

/// Appends one whole attribute line.
pub(crate) fn write(out: &mut String, key: &SdesKey) {
    out.push_str("a=crypto:");
    out.push_str(&key.tag.to_string());
    out.push(' ');
    out.push_str(key.suite.name());
    out.push_str(" inline:");
    STANDARD.encode_string(key.key_salt.expose(), out);
    out.push_str("\r\n");
}

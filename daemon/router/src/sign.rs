//! The signature by which an application server knows that a request is ours.

use base64::{Engine, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit, Mac};
use postern_types::Secret;
use sha1::Sha1;

/// `X-Twilio-Signature`: base64 of HMAC-SHA1 under the account's token over the URL as sent and, of a POST, its fields sorted by
/// name, names and values joined without separators. A field given twice with one value counts once.
pub fn signature(token: &Secret<String>, url: &str, form: &[(String, String)]) -> String {
    let mut fields: Vec<_> = form.iter().collect();
    fields.sort();
    fields.dedup();
    let mut mac = Hmac::<Sha1>::new_from_slice(token.expose().as_bytes()).expect("HMAC takes keys of any length");
    mac.update(url.as_bytes());
    for (name, value) in fields {
        mac.update(name.as_bytes());
        mac.update(value.as_bytes());
    }
    STANDARD.encode(mac.finalize().into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documented_vector() {
        let form = [
            ("To", "+18005551212"),
            ("CallSid", "CA1234567890ABCDE"),
            ("Caller", "+14158675309"),
            ("Digits", "1234"),
            ("From", "+14158675309"),
        ];
        let form = form.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let token = Secret::new("12345".to_owned());
        let signed = signature(&token, "https://mycompany.com/myapp.php?foo=1&bar=2", &form);
        assert_eq!(signed, "RSOYDt4T1cUTdK1PDd93/VVr8B8=");
    }
}

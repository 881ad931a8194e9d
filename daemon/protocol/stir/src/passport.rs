//! A PASSporT's claims and their JSON (RFC 8225), in the order that RFC 8225 9 wants: names sorted, nothing between them.

use postern_types::trust::Attestation;
use serde::{Deserialize, Serialize};

use crate::number::canonical;

/// The one algorithm (RFC 8225 8).
pub(crate) const ALGORITHM: &str = "ES256";
/// Called numbers of one PASSporT at most: a call has one, and a PASSporT with more than a few is no call's.
const DESTINATIONS_MAX: usize = 16;
/// What a PASSporT is called in its header (RFC 8225 4.1).
pub(crate) const TYPE: &str = "passport";

/// Who calls whom, said by somebody who knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Passport {
    /// The caller, in canonical form.
    pub orig: String,
    /// Who is called, in canonical form.
    pub dest: Vec<String>,
    /// When that was said, seconds since 1970.
    pub iat: u64,
    /// What else is said.
    pub kind: Kind,
}

/// The extension of a PASSporT.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// SHAKEN (RFC 8588): how far the network vouches, and by what it finds where the call came from.
    Shaken {
        /// How far.
        attest: Attestation,
        /// An UUID that only it can read.
        origid: String,
    },
    /// Somebody sent the call on (RFC 8946): it was for this number before, in canonical form.
    Div {
        /// Which.
        from: String,
    },
}

impl Kind {
    /// Its name, in the header of the PASSporT and the parameter `ppt` of the SIP header.
    pub(crate) fn ppt(&self) -> &'static str {
        match self {
            Self::Shaken { .. } => "shaken",
            Self::Div { .. } => "div",
        }
    }
}

#[derive(Serialize)]
pub(crate) struct Header<'a> {
    alg: &'a str,
    ppt: &'a str,
    typ: &'a str,
    x5u: &'a str,
}

#[derive(Serialize)]
struct WrittenClaims<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    attest: Option<&'a str>,
    dest: Numbers<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    div: Option<Number<'a>>,
    iat: u64,
    orig: Number<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    origid: Option<&'a str>,
}

#[derive(Serialize)]
struct Numbers<'a> {
    tn: &'a [String],
}

#[derive(Serialize)]
struct Number<'a> {
    tn: &'a str,
}

impl Passport {
    /// The JSON of its header and of its claims.
    pub(crate) fn written(&self, x5u: &str) -> (String, String) {
        let header = Header { alg: ALGORITHM, ppt: self.kind.ppt(), typ: TYPE, x5u };
        let (attest, origid, div) = match &self.kind {
            Kind::Shaken { attest, origid } => (Some(attest.letter()), Some(origid.as_str()), None),
            Kind::Div { from } => (None, None, Some(Number { tn: from })),
        };
        let claims = WrittenClaims {
            attest,
            div,
            dest: Numbers { tn: &self.dest },
            iat: self.iat,
            orig: Number { tn: &self.orig },
            origid,
        };
        let text = |json: serde_json::Result<String>| json.expect("strings and numbers are always JSON");
        (text(serde_json::to_string(&header)), text(serde_json::to_string(&claims)))
    }
}

/// A header as it was read.
#[derive(Deserialize)]
pub(crate) struct ReadHeader {
    pub(crate) alg: String,
    pub(crate) ppt: Option<String>,
    pub(crate) typ: String,
    pub(crate) x5u: String,
}

#[derive(Deserialize)]
struct ReadClaims {
    attest: Option<String>,
    dest: ReadNumbers,
    div: Option<ReadNumber>,
    iat: u64,
    orig: ReadNumber,
    origid: Option<String>,
}

#[derive(Deserialize)]
struct ReadNumbers {
    #[serde(default)]
    tn: Vec<String>,
}

#[derive(Deserialize)]
struct ReadNumber {
    tn: Option<String>,
}

/// Claims as somebody else said them. Addresses that are no numbers (`uri`) are left out: nothing here is compared with them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claims {
    /// The caller's number, in canonical form; none: an address.
    pub orig: Option<String>,
    /// The called numbers, in canonical form.
    pub dest: Vec<String>,
    /// The number that the call was for before, in canonical form (RFC 8946).
    pub div: Option<String>,
    /// When that was said, seconds since 1970.
    pub iat: u64,
    /// How far the signer vouches (RFC 8588).
    pub attest: Option<Attestation>,
    /// By what the signer finds where the call came from; may be empty.
    pub origid: String,
}

impl Claims {
    /// Reads the JSON. None for what is none, or not one of a PASSporT.
    pub(crate) fn read(json: &[u8]) -> Option<Self> {
        let read: ReadClaims = serde_json::from_slice(json).ok()?;
        if read.dest.tn.len() > DESTINATIONS_MAX {
            return None;
        }
        Some(Self {
            orig: read.orig.tn.as_deref().and_then(canonical),
            dest: read.dest.tn.iter().filter_map(|number| canonical(number)).collect(),
            div: read.div.and_then(|div| div.tn).as_deref().and_then(canonical),
            iat: read.iat,
            attest: read.attest.as_deref().and_then(Attestation::of_letter),
            origid: read.origid.unwrap_or_default(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn claims_are_written_as_the_example_of_rfc_8588() {
        let passport = Passport {
            orig: "12155551212".into(),
            dest: vec!["12125551213".into()],
            iat: 1_443_208_345,
            kind: Kind::Shaken { attest: Attestation::A, origid: "123e4567-e89b-12d3-a456-426655440000".into() },
        };
        let (header, claims) = passport.written("https://cert.example.org/passport.cer");
        assert_eq!(
            header,
            r#"{"alg":"ES256","ppt":"shaken","typ":"passport","x5u":"https://cert.example.org/passport.cer"}"#
        );
        assert_eq!(
            claims,
            r#"{"attest":"A","dest":{"tn":["12125551213"]},"iat":1443208345,"orig":{"tn":"12155551212"},"origid":"123e4567-e89b-12d3-a456-426655440000"}"#
        );
    }

    #[test]
    fn a_diversion_is_written_as_the_example_of_rfc_8946() {
        let passport = Passport {
            orig: "12155551212".into(),
            dest: vec!["12155551214".into()],
            iat: 1_443_208_345,
            kind: Kind::Div { from: "12155551213".into() },
        };
        let (header, claims) = passport.written("https://www.example.com/cert.cer");
        assert_eq!(header, r#"{"alg":"ES256","ppt":"div","typ":"passport","x5u":"https://www.example.com/cert.cer"}"#);
        assert_eq!(
            claims,
            r#"{"dest":{"tn":["12155551214"]},"div":{"tn":"12155551213"},"iat":1443208345,"orig":{"tn":"12155551212"}}"#
        );
        let read = Claims::read(claims.as_bytes()).unwrap();
        assert_eq!((read.div.as_deref(), read.attest), (Some("12155551213"), None));
    }
}

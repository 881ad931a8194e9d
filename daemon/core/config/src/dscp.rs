//! Differentiated services code points: how routers are asked to treat packets (RFC 2474).

use std::fmt;

use serde::{Serialize, Serializer};

use crate::value::{Parsed, bad, quoted};

/// A code point, 0..=63.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dscp(u8);

/// Names of RFC 2474 (CS), 2597 (AF), 3246 (EF), 5865 (VA) and 8622 (LE); BE is the default of all.
const NAMES: [(&str, u8); 24] = [
    ("BE", 0),
    ("LE", 1),
    ("CS0", 0),
    ("CS1", 8),
    ("CS2", 16),
    ("CS3", 24),
    ("CS4", 32),
    ("CS5", 40),
    ("CS6", 48),
    ("CS7", 56),
    ("AF11", 10),
    ("AF12", 12),
    ("AF13", 14),
    ("AF21", 18),
    ("AF22", 20),
    ("AF23", 22),
    ("AF31", 26),
    ("AF32", 28),
    ("AF33", 30),
    ("AF41", 34),
    ("AF42", 36),
    ("AF43", 38),
    ("VA", 44),
    ("EF", 46),
];

impl Dscp {
    /// Expedited forwarding: audio.
    pub const EF: Self = Self(46);
    /// Assured, with little loss: signaling.
    pub const AF31: Self = Self(26);

    /// The six bits.
    pub fn code(self) -> u8 {
        self.0
    }
}

impl fmt::Display for Dscp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match NAMES.iter().find(|(_, code)| *code == self.0) {
            Some((name, _)) => f.write_str(name),
            None => write!(f, "{}", self.0),
        }
    }
}

impl Serialize for Dscp {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

/// A name, or the number itself.
pub(crate) fn parse(text: &str) -> Parsed<Dscp> {
    let named = NAMES.iter().find(|(name, _)| name.eq_ignore_ascii_case(text)).map(|(_, code)| *code);
    let number = || text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok()).flatten();
    match named.or_else(number).filter(|code| *code < 64) {
        Some(code) => Ok(Dscp(code)),
        None => bad(
            format!("{} is no code point of differentiated services", quoted(text)),
            "write EF, VA, AF11 to AF43, CS0 to CS7, BE, LE, or a number from 0 to 63",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_are_code_points() {
        for (text, want) in [
            ("EF", Some((46, "EF"))),
            ("ef", Some((46, "EF"))),
            ("46", Some((46, "EF"))),
            ("AF31", Some((26, "AF31"))),
            ("CS3", Some((24, "CS3"))),
            ("CS0", Some((0, "BE"))),
            ("0", Some((0, "BE"))),
            ("63", Some((63, "63"))),
            ("64", None),
            ("-1", None),
            ("+1", None),
            ("", None),
            ("0x2e", None),
            ("AF14", None),
            ("184", None),
        ] {
            let found = parse(text).ok().map(|dscp| (dscp.code(), dscp.to_string()));
            assert_eq!(found, want.map(|(code, name)| (code, name.to_owned())), "{text}");
        }
    }
}

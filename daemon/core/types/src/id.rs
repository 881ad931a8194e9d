//! Identities: 34-character SIDs as telephony SDKs know them, and the names an admin gives things in YAML.

use std::{fmt, str::FromStr, sync::Arc};

use rand::Rng;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A two-letter prefix and 128 random bits in hex: `CA0123…`, 34 characters (PLATFORM contract 0).
pub trait Sid: Sized + Copy + fmt::Display + FromStr<Err = BadSid> {
    /// The two letters in front.
    const PREFIX: &'static str;
    /// Makes a fresh one. `rng` must be cryptographic where a stranger could profit from guessing.
    fn random(rng: &mut impl Rng) -> Self;
}

/// The text was not a SID of the wanted kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadSid {
    /// The prefix that was wanted.
    pub wanted: &'static str,
}

impl fmt::Display for BadSid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "not a SID: want `{}` and 32 hexadecimal digits", self.wanted)
    }
}

impl std::error::Error for BadSid {}

/// The text of a SID: its prefix and 32 hexadecimal digits.
struct SidText([u8; 34]);

impl SidText {
    /// By hand: an event names three SIDs, and the formatter takes ten times as long for each.
    fn new(prefix: &str, bits: u128) -> Self {
        let mut text = [0; 34];
        text[..2].copy_from_slice(prefix.as_bytes());
        for (pair, byte) in text[2..].chunks_exact_mut(2).zip(bits.to_be_bytes()) {
            pair[0] = HEX[usize::from(byte >> 4)];
            pair[1] = HEX[usize::from(byte & 15)];
        }
        Self(text)
    }

    fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("a prefix and digits are ASCII")
    }
}

const HEX: &[u8; 16] = b"0123456789abcdef";

macro_rules! sid {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(pub u128);

        impl Sid for $name {
            const PREFIX: &'static str = $prefix;
            fn random(rng: &mut impl Rng) -> Self {
                let mut bytes = [0; 16];
                rng.fill_bytes(&mut bytes);
                Self(u128::from_be_bytes(bytes))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(SidText::new($prefix, self.0).as_str())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = BadSid;
            fn from_str(text: &str) -> Result<Self, BadSid> {
                let hex = text.strip_prefix($prefix).filter(|h| h.len() == 32 && h.bytes().all(|b| b.is_ascii_hexdigit()));
                let bits = hex.and_then(|h| u128::from_str_radix(h, 16).ok());
                bits.map(Self).ok_or(BadSid { wanted: $prefix })
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                to.serialize_str(SidText::new($prefix, self.0).as_str())
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                let text = <std::borrow::Cow<'de, str>>::deserialize(from)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

sid!(
    /// One leg of a call: the call resource of the REST API, `CA…`. A call is named by its first leg.
    CallSid,
    "CA"
);
sid!(
    /// A tenant, `AC…`.
    AccountSid,
    "AC"
);
sid!(
    /// An event that happened, `EV…`: the stable id under which a repeat is recognised.
    EventSid,
    "EV"
);

sid!(
    /// A recording, `RE…`.
    RecordingSid,
    "RE"
);

sid!(
    /// A fork of a leg's audio, `MZ…`: the stream resource of the REST API.
    StreamSid,
    "MZ"
);

sid!(
    /// A conference, `CF…`.
    ConferenceSid,
    "CF"
);

macro_rules! name {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Takes the text as it is; configuration checks its shape.
            pub fn new(text: &str) -> Self {
                Self(text.into())
            }
            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", &*self.0)
            }
        }

        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
    };
}

name!(
    /// A realm: named local addresses for signaling and media.
    RealmName
);
name!(
    /// A trunk to a carrier or a PBX.
    TrunkName
);
name!(
    /// A group of trunks that lead to the same numbers.
    GroupName
);
name!(
    /// A client user that registers with us.
    UserName
);
name!(
    /// An application: a program that an application server returns.
    AppName
);

name!(
    /// A table of number prefixes and the trunks that carry them.
    TableName
);
name!(
    /// A schedule: hours of the week in a time zone.
    ScheduleName
);

/// A request to an application server that is under way; its answer carries the same number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RequestId(pub u64);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sid_reads_back_and_others_are_refused() {
        let sid = CallSid(0xabc);
        assert_eq!(sid.to_string(), "CA00000000000000000000000000000abc");
        assert_eq!(sid.to_string().parse(), Ok(sid));
        for bad in ["", "CA", "AC00000000000000000000000000000abc", "CA+0000000000000000000000000000abc", "CA0"] {
            assert!(bad.parse::<CallSid>().is_err(), "{bad}");
        }
    }
}

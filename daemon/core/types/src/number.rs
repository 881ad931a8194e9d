//! Telephone numbers.

use std::{fmt, str::FromStr};

use serde::{Serialize, Serializer};

/// Digits of an E.164 number at most (ITU-T E.164 6.2.1).
pub const E164_DIGITS_MAX: usize = 15;

/// A number in international form: `+` and 1 to 15 digits. Eight bytes: compares and hashes as an integer.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct E164(u64);

/// Not a number in international form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadNumber;

impl fmt::Display for BadNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not an E.164 number: want `+` and 1 to 15 digits, the first not 0")
    }
}

impl std::error::Error for BadNumber {}

impl FromStr for E164 {
    type Err = BadNumber;
    /// Takes `+` and digits only; visual separators are for whoever reads from people.
    fn from_str(text: &str) -> Result<Self, BadNumber> {
        let digits = text.strip_prefix('+').ok_or(BadNumber)?;
        let plausible = (1..=E164_DIGITS_MAX).contains(&digits.len())
            && digits.bytes().all(|b| b.is_ascii_digit())
            && !digits.starts_with('0');
        if !plausible {
            return Err(BadNumber);
        }
        digits.parse().map(Self).map_err(|_| BadNumber)
    }
}

impl fmt::Display for E164 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "+{}", self.0)
    }
}

impl fmt::Debug for E164 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for E164 {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_international_numbers_are_taken() {
        for good in ["+1", "+15551234567", "+999999999999999"] {
            assert_eq!(good.parse::<E164>().unwrap().to_string(), good);
        }
        for bad in ["", "+", "15551234567", "+0123", "+1234567890123456", "+1 555", "++1", "+1a"] {
            assert_eq!(bad.parse::<E164>(), Err(BadNumber), "{bad}");
        }
    }
}

//! What a caller's number is worth: who vouches for it by a signature, and how far (STIR, RFC 8224; SHAKEN, RFC 8588).

use std::fmt;

use serde::{Deserialize, Serialize};

/// How far a network vouches for a caller (RFC 8588 4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Attestation {
    /// Full: it knows the customer, who may use this number.
    A,
    /// Partial: it knows the customer, but not whether the number is theirs.
    B,
    /// Gateway: it only knows where the call came in.
    C,
}

impl Attestation {
    /// All, the strongest first.
    pub const ALL: [Self; 3] = [Self::A, Self::B, Self::C];

    /// The letter of the claim `attest`.
    pub fn letter(self) -> &'static str {
        match self {
            Self::A => "A",
            Self::B => "B",
            Self::C => "C",
        }
    }

    /// Reads what [`Attestation::letter`] wrote.
    pub fn of_letter(letter: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|attestation| attestation.letter() == letter)
    }
}

impl fmt::Display for Attestation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.letter())
    }
}

/// What goes with a call's caller from the leg that came to the leg that leaves.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Trust {
    /// How far we vouch for the caller; none: as for calls that this box makes itself.
    pub attest: Option<Attestation>,
    /// The caller and who is called, before they were written as the peer of the leg writes numbers. Empty on a leg that came in.
    pub caller: Box<str>,
    /// See `caller`.
    pub called: Box<str>,
}

/// What was signed for a leg that leaves, or why nothing was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Vouched {
    /// A PASSporT went with it.
    Signed {
        /// How far we vouch.
        attest: Attestation,
        /// The caller's number, digits alone.
        caller: Box<str>,
        /// The called number, digits alone.
        called: Box<str>,
    },
    /// None could be made.
    Unsigned {
        /// Why, for a person.
        why: &'static str,
    },
}

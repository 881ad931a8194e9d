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
    /// What came of the check of the signature of the leg that came; none: it was not checked.
    pub verdict: Option<Box<Verdict>>,
    /// The signatures that it came with, when they are good: they go on with it.
    pub chain: Option<Box<Chain>>,
}

/// Good signatures of a call that came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chain {
    /// As they came, values of Identity headers (RFC 8224 4).
    pub identities: Vec<Box<str>>,
    /// The caller that they are for, digits alone.
    pub caller: Box<str>,
    /// The called number that they end at, digits alone.
    pub called: Box<str>,
    /// When the oldest was made, seconds since 1970.
    pub since_s: u64,
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
    /// The signatures that it came with went on.
    PassedOn {
        /// The caller's number, digits alone.
        caller: Box<str>,
        /// The called number, digits alone.
        called: Box<str>,
        /// The number that it was called by before, for which we signed that it is another now (RFC 8946); none: it is the same.
        diverted_from: Option<Box<str>>,
    },
    /// None could be made.
    Unsigned {
        /// Why, for a person.
        why: &'static str,
    },
}

/// What came of the check of a caller's signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// What.
    pub outcome: Outcome,
    /// How far the signer vouches, as far as it could be read.
    pub attest: Option<Attestation>,
    /// By what the signer finds where the call came from; may be empty.
    pub origid: Box<str>,
    /// Where the signer's certificate is; empty when that could not be read.
    pub signer: Box<str>,
    /// The signed PASSporT as it came; empty when there is none that could be read.
    pub token: Box<str>,
}

/// How a check ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The signature is a believed one, fresh, and over this caller and callee.
    Passed,
    /// It is not: the status of RFC 8224 6.2.2, and why for a person.
    Failed {
        /// 403, 437 or 438.
        status: u16,
        /// In words.
        why: Box<str>,
    },
    /// Nobody can tell: its certificate cannot be had.
    Unknown {
        /// In words.
        why: Box<str>,
    },
    /// There is none.
    Unsigned,
}

impl Verdict {
    /// One without anything that was read.
    pub fn of(outcome: Outcome) -> Self {
        let nothing = Box::<str>::default();
        Self { outcome, attest: None, origid: nothing.clone(), signer: nothing.clone(), token: nothing }
    }

    /// The word of the parameter `verstat` (3GPP TS 24.229 7.2A.20).
    pub fn verstat(&self) -> &'static str {
        match self.outcome {
            Outcome::Passed => "TN-Validation-Passed",
            Outcome::Failed { .. } => "TN-Validation-Failed",
            Outcome::Unknown { .. } | Outcome::Unsigned => "No-TN-Validation",
        }
    }

    /// The same with how far the signer vouches, as applications are told it: `TN-Validation-Passed-A`.
    pub fn verstat_attested(&self) -> String {
        match (&self.outcome, self.attest) {
            (Outcome::Passed | Outcome::Failed { .. }, Some(attest)) => format!("{}-{attest}", self.verstat()),
            _ => self.verstat().to_owned(),
        }
    }

    /// The status of RFC 8224 6.2.2 that refuses such a call, and why in words; none when it passed.
    pub fn refusal(&self) -> Option<(u16, &str)> {
        match &self.outcome {
            Outcome::Passed => None,
            Outcome::Failed { status, why } => Some((*status, why)),
            Outcome::Unknown { why } => Some((436, why)),
            Outcome::Unsigned => Some((428, "the caller is not signed")),
        }
    }
}

//! Signed caller identity: a network that sends a call on signs who calls whom and when, and whoever gets it checks that by a certificate
//! that it fetches.
//!
//! | module | what it is |
//! |---|---|
//! | `number` | a telephone number as it is signed (RFC 8224 8.3) |
//! | `passport` | the claims: PASSporT (RFC 8225), SHAKEN (RFC 8588), diverted calls (RFC 8946) |
//! | `identity` | the SIP header that carries one (RFC 8224 4), made and read |
//! | `certificate` | whose signature it is, and whether that is somebody to believe (RFC 8226, RFC 5280) |
//! | `fuzz` | entries for fuzzing |
//!
//! Sans-IO: text, keys and seconds of the epoch go in, text and verdicts come out. Signatures are the work of aws-lc-rs. Left out: the
//! compact form of a PASSporT (RFC 8224 4.1 wants the full form of an extension, and SHAKEN is one), and algorithms other than ES256, the
//! only one that RFC 8225 has. A certificate's TNAuthList (RFC 8226 9) is not read: in SHAKEN it names a provider, of whom no number tells.
//! Revocation lists are not fetched.

#![forbid(unsafe_code)]

mod certificate;
pub mod fuzz;
mod identity;
mod number;
mod passport;

pub use certificate::{Authorities, Certificate, Distrusted};
pub use identity::{Identity, Malformed, NoKey, Signer};
pub use number::canonical;
pub use passport::{Claims, Kind, Passport};

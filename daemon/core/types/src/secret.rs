//! A value that never shows itself: not in a log line, an error, a dump or `--json`.

use std::fmt;

use serde::{Serialize, Serializer};

/// What stands where a secret would.
pub const HIDDEN: &str = "***";

/// Wraps a password, token or key. Debug, Display and Serialize give `***`; [`Secret::expose`] is the one way in.
#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub struct Secret<T>(T);

impl<T> Secret<T> {
    /// Wraps.
    pub fn new(value: T) -> Self {
        Self(value)
    }
    /// The value itself: only for computing a digest, a signature or a key schedule.
    pub fn expose(&self) -> &T {
        &self.0
    }
}

impl<T> fmt::Debug for Secret<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(HIDDEN)
    }
}

impl<T> fmt::Display for Secret<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(HIDDEN)
    }
}

impl<T> Serialize for Secret<T> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(HIDDEN)
    }
}

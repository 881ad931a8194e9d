//! Tables of single values, good and bad.

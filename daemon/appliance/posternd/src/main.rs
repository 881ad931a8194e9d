//! Placeholder while the house is being wired.
fn main() {}

//! stub
#[derive(Default)]
pub struct Jar;

//! The effective configuration as YAML again: every default filled in, every secret hidden, in the shape that [`load`](crate::load) reads.

use std::time::Duration;

use postern_types::stream::Codec;
use serde::Serializer;

use crate::{Config, source, value};

impl Config {
    /// The effective configuration: all defaults written out, secrets as `***`.
    pub fn to_yaml(&self) -> String {
        serde_yaml::to_string(self).expect("plain data with text keys, written to memory")
    }
}

pub(crate) fn duration<S: Serializer>(span: &Duration, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(&value::duration_text(*span))
}

pub(crate) fn optional_duration<S: Serializer>(span: &Option<Duration>, to: S) -> Result<S::Ok, S::Error> {
    match span {
        Some(span) => duration(span, to),
        None => to.serialize_none(),
    }
}

pub(crate) fn codecs<S: Serializer>(codecs: &[Codec], to: S) -> Result<S::Ok, S::Error> {
    to.collect_seq(codecs.iter().map(Codec::name))
}

/// With the password and the query of `https://user:password@host/path?query` hidden.
pub(crate) fn url<S: Serializer>(url: &str, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(&source::without_url_secrets(url))
}

pub(crate) fn optional_url<S: Serializer>(url: &Option<String>, to: S) -> Result<S::Ok, S::Error> {
    match url {
        Some(text) => to.serialize_some(&source::without_url_secrets(text)),
        None => to.serialize_none(),
    }
}

//! The connection to the control plane.

use std::path::PathBuf;

use base64::{Engine, prelude::BASE64_STANDARD};
use postern_types::Secret;
use serde::Serialize;

use crate::reader::{Fields, Reader};

/// The connection to the control plane.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ControlPlane {
    /// `nats://host:port` or `tls://host:port`.
    pub url: String,
    /// JetStream stream that takes the events; made when missing.
    pub stream: String,
    /// Key-value bucket of presence; made when missing.
    pub presence_bucket: String,
    /// Token, or user and password.
    pub token: Option<Secret<String>>,
    /// A NATS credentials file (.creds).
    pub credentials_file: Option<PathBuf>,
    /// CA certificates for `tls://`, PEM; none: the system's.
    pub ca_file: Option<PathBuf>,
}

impl ControlPlane {
    pub(crate) fn read(r: &mut Reader<'_>, f: &Fields<'_>) -> Option<Self> {
        let url = f.url(r, "url");
        if url.as_ref().is_some_and(|url| url.contains('@')) {
            r.error(f.span_of("url"), "credentials in the URL would be seen in logs")
                .hint("write them as `token: {credential: NAME}` or in `credentials_file`");
        }
        let (stream, bucket) = (f.nats_name(r, "stream"), f.nats_name(r, "presence_bucket"));
        let (token, credentials_file) = (f.secret(r, "token"), f.path(r, "credentials_file"));
        if let Some(path) = &credentials_file {
            let span = f.span_of("credentials_file");
            let bytes = r.file(span, path);
            if bytes.is_some_and(|bytes| !contains(&bytes, b"-----BEGIN NATS USER JWT-----")) {
                r.error(span, "the file holds no NATS credentials")
                    .hint("want a file as `nsc generate creds` writes it");
            }
            if token.is_some() {
                r.error(f.span_of("token"), "both `token` and `credentials_file`").hint("keep one").also(span, "first");
            }
        }
        let ca_file = f.path(r, "ca_file");
        if let Some(path) = &ca_file {
            let span = f.span_of("ca_file");
            if r.file(span, path).is_some_and(|bytes| !holds_certificate(&bytes)) {
                r.error(span, "the file holds no certificate")
                    .hint("want PEM: `-----BEGIN CERTIFICATE-----` and base64");
            }
            if url.as_ref().is_some_and(|url| !url.starts_with("tls")) {
                r.warning(span, "`ca_file` does nothing without a `tls://` URL");
            }
        }
        Some(Self { url: url?, stream: stream?, presence_bucket: bucket?, token, credentials_file, ca_file })
    }
}

fn contains(bytes: &[u8], wanted: &[u8]) -> bool {
    bytes.windows(wanted.len()).any(|window| window == wanted)
}

/// Whether PEM text has at least one certificate block, and each such block is base64 of a whole DER sequence. What the certificate
/// says is for the TLS library; here only the wrong file or half a file is caught.
fn holds_certificate(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else { return false };
    let mut blocks = text.split("-----BEGIN CERTIFICATE-----").skip(1).peekable();
    blocks.peek().is_some()
        && blocks.all(|block| {
            let Some((body, _)) = block.split_once("-----END CERTIFICATE-----") else { return false };
            let body: String = body.split_whitespace().collect();
            BASE64_STANDARD.decode(body).is_ok_and(|der| is_sequence(&der))
        })
}

/// A DER SEQUENCE whose length is that of the bytes.
fn is_sequence(der: &[u8]) -> bool {
    match der {
        [0x30, length @ 0..=0x7f, rest @ ..] => rest.len() == usize::from(*length),
        [0x30, form @ 0x81..=0x84, rest @ ..] => {
            let octets = usize::from(form - 0x80);
            let Some((length, body)) = rest.split_at_checked(octets) else { return false };
            body.len() == length.iter().fold(0, |all, octet| all << 8 | usize::from(*octet))
        }
        _ => false,
    }
}

//! The lines of DTLS and ICE: `a=fingerprint` (RFC 8122), `a=setup` (RFC 4145), `a=ice-ufrag` and its like (RFC 8839).

use std::fmt::Write as _;

use postern_types::{
    Secret,
    stream::{AudioStream, Dtls, DtlsSetup, Fingerprint, Ice},
};

/// RFC 8445 5.1.2.1: type preference of a host candidate 126, local preference 65535, component 1.
const HOST_PRIORITY: u32 = (126 << 24) | (65_535 << 8) | 255;

/// What one section says of them.
#[derive(Default, Clone, Copy)]
pub(crate) struct Transport<'a> {
    fingerprint: Option<Fingerprint>,
    setup: Option<DtlsSetup>,
    ufrag: Option<&'a str>,
    pwd: Option<&'a str>,
    lite: bool,
}

impl<'a> Transport<'a> {
    /// Takes an attribute if it is one of these.
    pub fn take(&mut self, name: &str, value: &'a str) {
        match name {
            // Of several the first that we can check; other hashes than SHA-256 nobody needs to send any more (RFC 8122 5).
            "fingerprint" => self.fingerprint = self.fingerprint.or(fingerprint(value)),
            "setup" => self.setup = setup(value.trim()),
            "ice-ufrag" => self.ufrag = Some(value.trim()).filter(|text| is_ice(text, 4)),
            "ice-pwd" => self.pwd = Some(value.trim()).filter(|text| is_ice(text, 22)),
            "ice-lite" => self.lite = true,
            _ => {}
        }
    }

    /// A stream's own words before those of the session.
    pub fn or(self, session: Self) -> Self {
        Self {
            fingerprint: self.fingerprint.or(session.fingerprint),
            setup: self.setup.or(session.setup),
            ufrag: self.ufrag.or(session.ufrag),
            pwd: self.pwd.or(session.pwd),
            lite: self.lite || session.lite,
        }
    }

    /// Keying by DTLS, when a certificate was named.
    pub fn dtls(&self) -> Option<Box<Dtls>> {
        // Without a=setup the offer leaves it to the answer, and who answers so begins (RFC 4145 4.1, RFC 8842 5.3).
        let setup = self.setup.unwrap_or(DtlsSetup::ActPass);
        self.fingerprint.map(|fingerprint| Box::new(Dtls { fingerprint, setup }))
    }

    /// ICE, when both of its words were said.
    pub fn ice(&self) -> Option<Box<Ice>> {
        let (ufrag, pwd) = self.ufrag.zip(self.pwd)?;
        Some(Box::new(Ice { ufrag: ufrag.into(), pwd: Secret::new(pwd.into()), lite: self.lite }))
    }
}

fn fingerprint(value: &str) -> Option<Fingerprint> {
    let (hash, digits) = value.trim().split_once(' ')?;
    let mut bytes = [0; 32];
    let mut pairs = digits.trim().split(':');
    for byte in &mut bytes {
        let pair = pairs.next().filter(|pair| pair.len() == 2 && !pair.starts_with('+'))?;
        *byte = u8::from_str_radix(pair, 16).ok()?;
    }
    (hash.eq_ignore_ascii_case("sha-256") && pairs.next().is_none()).then_some(Fingerprint(bytes))
}

fn setup(value: &str) -> Option<DtlsSetup> {
    match value {
        "actpass" => Some(DtlsSetup::ActPass),
        "active" => Some(DtlsSetup::Active),
        "passive" => Some(DtlsSetup::Passive),
        // `holdconn` wants no connection; nobody does this with audio.
        _ => None,
    }
}

/// RFC 8839 5.4: so many to 256 of ice-char.
fn is_ice(text: &str, least: usize) -> bool {
    (least..=256).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'+' || b == b'/')
}

/// The lines of a whole description.
pub(crate) fn write_session(out: &mut String, stream: &AudioStream) {
    if stream.ice.as_ref().is_some_and(|ice| ice.lite) {
        out.push_str("a=ice-lite\r\n");
    }
}

/// The lines of the stream. An offer leaves the role to the answer, whatever it was before (RFC 8842 5.3).
pub(crate) fn write_stream(out: &mut String, stream: &AudioStream, is_offer: bool) {
    if let Some(dtls) = &stream.dtls {
        out.push_str("a=fingerprint:sha-256 ");
        for (at, byte) in dtls.fingerprint.0.iter().enumerate() {
            let _ = write!(out, "{}{byte:02X}", if at == 0 { "" } else { ":" });
        }
        out.push_str(match dtls.setup {
            _ if is_offer => "\r\na=setup:actpass\r\n",
            DtlsSetup::ActPass => "\r\na=setup:actpass\r\n",
            DtlsSetup::Active => "\r\na=setup:active\r\n",
            DtlsSetup::Passive => "\r\na=setup:passive\r\n",
        });
    }
    if let Some(ice) = &stream.ice {
        let _ = write!(out, "a=ice-ufrag:{}\r\na=ice-pwd:{}\r\n", ice.ufrag, ice.pwd.expose());
        // A lite agent has its own address and no other.
        if stream.rtp.port() != 0 && !stream.rtp.ip().is_unspecified() {
            let (host, port) = (stream.rtp.ip(), stream.rtp.port());
            let _ = write!(out, "a=candidate:1 1 udp {HOST_PRIORITY} {host} {port} typ host\r\n");
        }
        out.push_str("a=end-of-candidates\r\n");
    }
}

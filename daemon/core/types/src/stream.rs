//! Audio streams as every floor sees them: what a session description says, without its syntax.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::secret::Secret;

/// Formats in one description at most; further ones are ignored.
pub const CODECS_MAX: usize = 32;

/// Codecs that have a name here. Others pass a relay as [`Codec::Other`].
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Codec {
    /// G.711 µ-law, static payload type 0.
    Pcmu,
    /// G.711 A-law, static payload type 8.
    Pcma,
    /// G.722, static payload type 9; its RTP clock is 8000 (RFC 3551 4.5.2).
    G722,
    /// G.729, static payload type 18.
    G729,
    /// Opus, clock 48000, dynamic.
    Opus,
    /// Any other, by its rtpmap name as written.
    Other(Box<str>),
}

impl Codec {
    /// From the encoding name of an rtpmap, without regard to case.
    pub fn from_name(name: &str) -> Self {
        match name.to_ascii_uppercase().as_str() {
            "PCMU" => Self::Pcmu,
            "PCMA" => Self::Pcma,
            "G722" => Self::G722,
            "G729" => Self::G729,
            "OPUS" => Self::Opus,
            _ => Self::Other(name.into()),
        }
    }

    /// The encoding name for an rtpmap.
    pub fn name(&self) -> &str {
        match self {
            Self::Pcmu => "PCMU",
            Self::Pcma => "PCMA",
            Self::G722 => "G722",
            Self::G729 => "G729",
            Self::Opus => "opus",
            Self::Other(name) => name,
        }
    }
}

impl std::fmt::Display for Codec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// What this machine has of the codecs that are libraries of the system, loaded when they are there. The same from start to end.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Libraries {
    /// G.729: libbcg729.
    pub g729: bool,
}

/// One payload type of an audio stream.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Format {
    /// 0..=127.
    pub payload_type: u8,
    /// What it means.
    pub codec: Codec,
    /// RTP clock, Hz.
    pub clock_hz: u32,
    /// Audio channels.
    pub channels: u8,
    /// The fmtp parameters as written, empty when absent.
    pub fmtp: Box<str>,
}

impl Format {
    /// Whether another is of the same codec, clock and channels, by whatever number.
    pub fn is_same_codec(&self, other: &Self) -> bool {
        self.codec == other.codec && self.clock_hz == other.clock_hz && self.channels == other.channels
    }

    /// Whether the media plane can make samples of it and it of samples, so that a party with this format can talk with one that has only others:
    /// G.711 and G.722 (RFC 3551: their RTP clock is 8000), Opus (RFC 7587 7: 48000, whatever is inside), and G.729 on a machine that has its library.
    pub fn is_codable(&self, with: Libraries) -> bool {
        match self.codec {
            Codec::Pcmu | Codec::Pcma | Codec::G722 => self.clock_hz == 8000 && self.channels == 1,
            Codec::G729 => with.g729 && self.clock_hz == 8000 && self.channels == 1,
            Codec::Opus => self.clock_hz == 48000,
            Codec::Other(_) => false,
        }
    }

    /// G.729 whose Annex B, silence instead of pauses, the describing party refuses: `annexb=no` (RFC 4856, RFC 7261). Without a word it is taken.
    pub fn refuses_annex_b(&self) -> bool {
        self.codec == Codec::G729 && self.parameter("annexb").is_some_and(|value| value.eq_ignore_ascii_case("no"))
    }

    /// The value of a parameter of its fmtp line, whose names have no case.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.fmtp
            .split(';')
            .filter_map(|part| part.split_once('='))
            .find_map(|(key, value)| key.trim().eq_ignore_ascii_case(name).then(|| value.trim()))
    }

    /// Whether it carries more than a telephone's 3.4 kHz.
    pub fn is_wideband(&self) -> bool {
        matches!(self.codec, Codec::G722 | Codec::Opus)
    }

    /// The static formats of RFC 3551 that we can play into: PCMU and PCMA at 8000 Hz.
    pub fn pcmu() -> Self {
        Self { payload_type: 0, codec: Codec::Pcmu, clock_hz: 8000, channels: 1, fmtp: "".into() }
    }
    /// See [`Format::pcmu`].
    pub fn pcma() -> Self {
        Self { payload_type: 8, codec: Codec::Pcma, clock_hz: 8000, channels: 1, fmtp: "".into() }
    }
}

/// Which way audio may flow, seen from the party whose description this is (RFC 3264 5.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// Both ways.
    #[default]
    SendRecv,
    /// Only from the describing party: it holds the other.
    SendOnly,
    /// Only towards the describing party.
    RecvOnly,
    /// Neither.
    Inactive,
}

impl Direction {
    /// The same flow seen from the other side.
    pub fn reversed(self) -> Self {
        match self {
            Self::SendOnly => Self::RecvOnly,
            Self::RecvOnly => Self::SendOnly,
            both => both,
        }
    }

    /// The word of SDP (RFC 4566 6).
    pub fn name(self) -> &'static str {
        match self {
            Self::SendRecv => "sendrecv",
            Self::SendOnly => "sendonly",
            Self::RecvOnly => "recvonly",
            Self::Inactive => "inactive",
        }
    }

    /// Whether the describing party may send.
    pub fn sends(self) -> bool {
        matches!(self, Self::SendRecv | Self::SendOnly)
    }
    /// Whether the describing party wants to receive.
    pub fn receives(self) -> bool {
        matches!(self, Self::SendRecv | Self::RecvOnly)
    }
}

/// SRTP suites that we speak: the first two with SDES keys (RFC 4568 6.2), all but the second with DTLS (RFC 5764, RFC 7714).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum SrtpSuite {
    /// AES_CM_128_HMAC_SHA1_80.
    AesCm128HmacSha1_80,
    /// AES_CM_128_HMAC_SHA1_32.
    AesCm128HmacSha1_32,
    /// AEAD_AES_128_GCM.
    AeadAes128Gcm,
    /// AEAD_AES_256_GCM.
    AeadAes256Gcm,
}

impl SrtpSuite {
    /// The name in `a=crypto` and for people.
    pub fn name(self) -> &'static str {
        match self {
            Self::AesCm128HmacSha1_80 => "AES_CM_128_HMAC_SHA1_80",
            Self::AesCm128HmacSha1_32 => "AES_CM_128_HMAC_SHA1_32",
            Self::AeadAes128Gcm => "AEAD_AES_128_GCM",
            Self::AeadAes256Gcm => "AEAD_AES_256_GCM",
        }
    }
}

/// One SDES key: 16 bytes of key and 14 of salt, as one `inline:` value carries them (RFC 4568 6.1).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SdesKey {
    /// The tag that an answer repeats.
    pub tag: u32,
    /// Suite.
    pub suite: SrtpSuite,
    /// Master key and salt.
    pub key_salt: Secret<[u8; 30]>,
}

/// SHA-256 of a certificate (RFC 8122 5): what ties a DTLS peer to the party that signaled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Fingerprint(pub [u8; 32]);

/// Who begins the DTLS handshake, in the words of `a=setup` (RFC 4145 4, RFC 8842 5.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DtlsSetup {
    /// Either: for the answer to choose.
    ActPass,
    /// The describing party.
    Active,
    /// The other.
    Passive,
}

/// What a description says of keying by DTLS (RFC 5763, RFC 8842).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Dtls {
    /// Of the describing party's certificate.
    pub fingerprint: Fingerprint,
    /// Its role.
    pub setup: DtlsSetup,
}

/// What a description says of ICE (RFC 8839). Candidates are not kept: we are lite, and learn addresses from the peer's checks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Ice {
    /// User name fragment, 4 to 256 letters, digits, `+` and `/`.
    pub ufrag: Box<str>,
    /// Password, 22 to 256 of the same.
    pub pwd: Secret<Box<str>>,
    /// `a=ice-lite`: it answers checks and sends none.
    pub lite: bool,
}

/// What a description says of T.38 over UDPTL (RFC 3362, ITU-T T.38 Annex D).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Fax {
    /// Its attributes by their registered names, each once; empty values are flags.
    pub attributes: Vec<(&'static str, Box<str>)>,
}

/// One party's description of the one audio stream of a leg: an offer, an answer, or what we say of ourselves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AudioStream {
    /// Where this party wants RTP. The unspecified address or port 0 means: do not send (RFC 3264 8.2, 8.4).
    pub rtp: SocketAddr,
    /// Where it wants RTCP: `a=rtcp` (RFC 3605), else RTP's port + 1; equal to `rtp` with rtcp-mux (RFC 5761).
    pub rtcp: SocketAddr,
    /// Whether `a=rtcp-mux` was said.
    pub rtcp_mux: bool,
    /// Whether this party wants VoIP metrics in extended reports: `a=rtcp-xr:voip-metrics` (RFC 3611 5.1).
    pub rtcp_xr: bool,
    /// Formats in order of preference, telephone-event left out; never more than [`CODECS_MAX`].
    pub formats: Vec<Format>,
    /// Payload type of telephone-event/8000 (RFC 4733).
    pub telephone_event: Option<u8>,
    /// Packet time, milliseconds (`a=ptime`), 20 when not said.
    pub ptime_ms: u8,
    /// Flow, seen from this party.
    pub direction: Direction,
    /// SDES keys offered (several) or answered (one); empty for plain RTP (RTP/AVP) and with DTLS.
    pub crypto: Vec<SdesKey>,
    /// Keying by DTLS (UDP/TLS/RTP/SAVP and SAVPF); none with `crypto` or without encryption.
    pub dtls: Option<Box<Dtls>>,
    /// ICE. With it, `rtp` may be anything: where packets go is settled by checks.
    pub ice: Option<Box<Ice>>,
    /// Fax in place of audio: `rtp` is where UDPTL goes, and there are no formats, no RTCP and no keys.
    pub fax: Option<Box<Fax>>,
}

/// What a leg settled on, for facts, records and `explain`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Negotiated {
    /// Codec name and clock, as `PCMA/8000`.
    pub codec: String,
    /// Payload type.
    pub payload_type: u8,
    /// Packet time, milliseconds.
    pub ptime_ms: u8,
    /// telephone-event payload type, when digits travel as RFC 4733.
    pub telephone_event: Option<u8>,
    /// Suite name of SDES keys, `DTLS` when the suite is for the handshake to settle, or none for plain RTP.
    pub srtp: Option<String>,
    /// Whether addresses are settled by ICE; `remote` then says nothing.
    #[serde(default)]
    pub ice: bool,
    /// Our address for this leg.
    pub local: SocketAddr,
    /// The peer's address as it described it.
    pub remote: SocketAddr,
    /// Flow seen from the peer.
    pub direction: Direction,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn format(codec: Codec, fmtp: &str) -> Format {
        Format { codec, fmtp: fmtp.into(), ..Format::pcmu() }
    }

    #[test]
    fn parameters_are_found_whatever_their_case_and_spacing() {
        let opus = format(Codec::Opus, "minptime=10; useinbandfec = 1;STEREO=1;x");
        for (name, want) in [("useinbandfec", Some("1")), ("stereo", Some("1")), ("x", None), ("minptime", Some("10"))]
        {
            assert_eq!(opus.parameter(name), want, "{name}");
        }
    }

    #[test]
    fn annex_b_is_taken_unless_it_is_refused() {
        for (codec, fmtp, refuses) in [
            (Codec::G729, "", false),
            (Codec::G729, "annexb=yes", false),
            (Codec::G729, "annexb=no", true),
            (Codec::G729, " AnnexB = NO ", true),
            (Codec::G729, "annexb=nonsense", false),
            (Codec::Pcmu, "annexb=no", false),
        ] {
            assert_eq!(format(codec, fmtp).refuses_annex_b(), refuses, "{fmtp:?}");
        }
    }

    #[test]
    fn g729_is_made_samples_of_where_its_library_is() {
        let g729 = format(Codec::G729, "");
        assert!(!g729.is_codable(Libraries::default()));
        assert!(g729.is_codable(Libraries { g729: true }));
        assert!(!Format { clock_hz: 16000, ..g729 }.is_codable(Libraries { g729: true }));
    }
}

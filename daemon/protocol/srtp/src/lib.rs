//! SRTP and SRTCP (RFC 3711, RFC 7714) with keys from SDES or DTLS: transforms in place on a caller's buffer.
//!
//! One [`SrtpContext`] is one direction of one leg. It knows no sockets, no SDP and no clock; how a key is written in `a=crypto`
//! belongs to the session description. After the first packet of a source nothing is allocated. [`dtls`] is the handshake that
//! makes keys (RFC 5764).
//!
//! The cipher is libsrtp's, through the crate `srtp`. What reaches it was checked here first: version, header length, room for
//! the trailer. Unsafe code is only in `slot`, where C writes into our memory, and in `dtls::timer`, for two controls of OpenSSL
//! that the crate `openssl` does not have.

#![deny(unsafe_code)]

pub mod dtls;
pub mod fuzz;
mod slot;

use std::fmt;

use postern_types::stream::{SdesKey, SrtpSuite};
use srtp::{CryptoPolicy, Session, StreamPolicy};

use self::slot::Slot;

/// Bytes that must be free behind a packet before it is protected. A trailer of our suites takes 14 at most; libsrtp is promised room
/// for its longest (SRTP_MAX_TRAILER_LEN), so that the promise holds whatever it does there.
pub const ROOM: usize = 144;

/// Sources (SSRCs) of one direction at most: each costs memory and a replay window in libsrtp, and a list walk per packet. A phone
/// that changes its source at every hold stays below. Further ones are refused.
pub const SOURCES_MAX: usize = 32;

/// Bytes of a packet at most; a datagram cannot carry more.
const PACKET_MAX: usize = 65_535;
/// Packets back from the newest that are still told from a repeat (RFC 3711 3.3.2 asks for at least 64).
const REPLAY_WINDOW: u64 = 1024;
/// RTP's fixed header.
const RTP_HEADER: usize = 12;
/// Header and sender of an RTCP packet: the part that stays readable.
const RTCP_HEADER: usize = 8;
/// The E flag and index behind an SRTCP packet.
const RTCP_INDEX: usize = 4;
/// SRTCP's tag with the SHA-1 suites (RFC 4568 6.2.1, 6.2.2); that of GCM is longer.
const RTCP_TAG: usize = 10;

/// Why a packet was not transformed. The packet is spoilt: drop and count it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SrtpError {
    /// Not RTP or RTCP, too short or too long.
    Malformed,
    /// The tag is wrong: another key, or damaged on the way.
    Unauthentic,
    /// Seen before, or too old to know. Also when protecting: the same sequence number would reuse the key stream.
    Replayed,
    /// Fewer than [`ROOM`] bytes free behind the packet.
    NoRoom,
    /// More than [`SOURCES_MAX`] sources.
    TooManySources,
    /// The key has protected as many packets as it may (RFC 3711 9.2).
    KeyExhausted,
    /// libsrtp failed inside.
    Internal,
}

impl fmt::Display for SrtpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Malformed => "malformed packet",
            Self::Unauthentic => "authentication failed",
            Self::Replayed => "replayed packet",
            Self::NoRoom => "no room for the trailer",
            Self::TooManySources => "too many sources",
            Self::KeyExhausted => "key exhausted",
            Self::Internal => "SRTP library failed",
        })
    }
}

impl std::error::Error for SrtpError {}

impl From<srtp::Error> for SrtpError {
    fn from(error: srtp::Error) -> Self {
        match error {
            srtp::Error::AUTH_FAIL => Self::Unauthentic,
            srtp::Error::REPLAY_FAIL | srtp::Error::REPLAY_OLD | srtp::Error::PKT_IDX_OLD => Self::Replayed,
            srtp::Error::BAD_PARAM | srtp::Error::PARSE_ERR | srtp::Error::PKT_IDX_ADV => Self::Malformed,
            srtp::Error::KEY_EXPIRED => Self::KeyExhausted,
            _ => Self::Internal,
        }
    }
}

/// One direction of one leg: its key, and what was seen of each source.
pub struct SrtpContext {
    session: Session,
    /// Bytes of an RTP packet's tag.
    tag: usize,
    /// Sources that passed; the first `known` count.
    sources: [u32; SOURCES_MAX],
    known: usize,
}

impl fmt::Debug for SrtpContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SrtpContext").field("tag", &self.tag).field("sources", &self.known).finish_non_exhaustive()
    }
}

impl SrtpContext {
    /// For what the peer sends with its key.
    pub fn inbound(key: &SdesKey) -> Result<Self, SrtpError> {
        Self::new(key.suite, key.key_salt.expose(), Session::with_inbound_template)
    }

    /// For what we send with our key.
    pub fn outbound(key: &SdesKey) -> Result<Self, SrtpError> {
        Self::new(key.suite, key.key_salt.expose(), Session::with_outbound_template)
    }

    /// Both directions, inbound first, with the keys of a handshake.
    pub fn keyed(keys: &dtls::Keys) -> Result<(Self, Self), SrtpError> {
        let inbound = Self::new(keys.suite, keys.inbound.expose(), Session::with_inbound_template)?;
        Ok((inbound, Self::new(keys.suite, keys.outbound.expose(), Session::with_outbound_template)?))
    }

    fn new(
        suite: SrtpSuite,
        key: &[u8],
        make: fn(StreamPolicy<'_>) -> Result<Session, srtp::Error>,
    ) -> Result<Self, SrtpError> {
        let long = CryptoPolicy::aes_cm_128_hmac_sha1_80;
        // RFC 4568 6.2.2: SRTCP keeps its long tag with the short-tag suite.
        let (rtp, rtcp, tag) = match suite {
            SrtpSuite::AesCm128HmacSha1_80 => (long(), long(), 10),
            SrtpSuite::AesCm128HmacSha1_32 => (CryptoPolicy::aes_cm_128_hmac_sha1_32(), long(), 4),
            SrtpSuite::AeadAes128Gcm => (CryptoPolicy::aes_gcm_128_16_auth(), CryptoPolicy::aes_gcm_128_16_auth(), 16),
            SrtpSuite::AeadAes256Gcm => (CryptoPolicy::aes_gcm_256_16_auth(), CryptoPolicy::aes_gcm_256_16_auth(), 16),
        };
        // libsrtp reads as many bytes as the suite wants, whatever it is given.
        if key.len() != dtls::key_bytes(suite).iter().sum() {
            return Err(SrtpError::Internal);
        }
        let policy = StreamPolicy { rtp, rtcp, key, window_size: REPLAY_WINDOW, ..StreamPolicy::default() };
        Ok(Self { session: make(policy)?, tag, sources: [0; SOURCES_MAX], known: 0 })
    }

    /// RTP to SRTP: the packet is the first `len` bytes of `buffer`, with [`ROOM`] behind it. Returns the new length.
    pub fn protect_rtp(&mut self, buffer: &mut [u8], len: usize) -> Result<usize, SrtpError> {
        self.transform(buffer, len, Direction::Out, Language::Rtp)
    }

    /// SRTP to RTP, when it is authentic and new. Returns the new length.
    pub fn unprotect_rtp(&mut self, buffer: &mut [u8], len: usize) -> Result<usize, SrtpError> {
        self.transform(buffer, len, Direction::In, Language::Rtp)
    }

    /// RTCP (a compound packet) to SRTCP: as [`SrtpContext::protect_rtp`].
    pub fn protect_rtcp(&mut self, buffer: &mut [u8], len: usize) -> Result<usize, SrtpError> {
        self.transform(buffer, len, Direction::Out, Language::Rtcp)
    }

    /// SRTCP to RTCP: as [`SrtpContext::unprotect_rtp`].
    pub fn unprotect_rtcp(&mut self, buffer: &mut [u8], len: usize) -> Result<usize, SrtpError> {
        self.transform(buffer, len, Direction::In, Language::Rtcp)
    }

    fn transform(
        &mut self,
        buffer: &mut [u8],
        len: usize,
        way: Direction,
        language: Language,
    ) -> Result<usize, SrtpError> {
        let mut slot = Slot::new(buffer, len).filter(|slot| slot.len() <= PACKET_MAX).ok_or(SrtpError::Malformed)?;
        let (header, source) = match language {
            Language::Rtp => rtp_header(slot.packet()),
            Language::Rtcp => rtcp_header(slot.packet()),
        }
        .ok_or(SrtpError::Malformed)?;
        let trailer = match language {
            Language::Rtp => self.tag,
            Language::Rtcp => RTCP_INDEX + RTCP_TAG,
        };
        match way {
            Direction::In if slot.len() < header + trailer => return Err(SrtpError::Malformed),
            Direction::Out if slot.room() < ROOM => return Err(SrtpError::NoRoom),
            Direction::In | Direction::Out => {}
        }
        let is_new = !self.sources[..self.known].contains(&source);
        if is_new && self.known == SOURCES_MAX {
            return Err(SrtpError::TooManySources);
        }
        match (way, language) {
            (Direction::Out, Language::Rtp) => self.session.protect(&mut slot),
            (Direction::Out, Language::Rtcp) => self.session.protect_rtcp(&mut slot),
            (Direction::In, Language::Rtp) => self.session.unprotect(&mut slot),
            (Direction::In, Language::Rtcp) => self.session.unprotect_rtcp(&mut slot),
        }?;
        // Only now: a forged packet must not take a source's place.
        if is_new {
            self.sources[self.known] = source;
            self.known += 1;
        }
        Ok(slot.len())
    }
}

#[derive(Clone, Copy)]
enum Direction {
    In,
    Out,
}

#[derive(Clone, Copy)]
enum Language {
    Rtp,
    Rtcp,
}

/// Bytes in front of the payload, and the source (RFC 3550 5.1, 5.3.1). None when they do not fit into the packet.
fn rtp_header(packet: &[u8]) -> Option<(usize, u32)> {
    let fixed: &[u8; RTP_HEADER] = packet.first_chunk()?;
    let sources = usize::from(fixed[0] & 0x0f);
    let mut header = RTP_HEADER + 4 * sources;
    if fixed[0] & 0x10 != 0 {
        let words = packet.get(header + 2..header + 4)?;
        header += 4 + 4 * usize::from(u16::from_be_bytes([words[0], words[1]]));
    }
    let source = u32::from_be_bytes([fixed[8], fixed[9], fixed[10], fixed[11]]);
    (fixed[0] >> 6 == 2 && header <= packet.len()).then_some((header, source))
}

/// The same for RTCP (RFC 3550 6.4).
fn rtcp_header(packet: &[u8]) -> Option<(usize, u32)> {
    let fixed: &[u8; RTCP_HEADER] = packet.first_chunk()?;
    let source = u32::from_be_bytes([fixed[4], fixed[5], fixed[6], fixed[7]]);
    (fixed[0] >> 6 == 2).then_some((RTCP_HEADER, source))
}

#[cfg(test)]
mod tests;

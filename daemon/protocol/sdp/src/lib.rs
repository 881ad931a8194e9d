//! SDP (RFC 8866) as an edge needs it: one audio stream in, one audio stream out, or one of fax in its place.
//!
//! [`read`] finds the audio stream of a description and remembers the other media only so that an answer can refuse them
//! (RFC 3264 6: as many m-lines as the offer, port 0 for what is refused). [`write`] makes a description from nothing but
//! our own stream: no line of the far side's description is ever copied, so its addresses, names and attributes stay where
//! they were. Not here: who may use which codec, and what an answer should say. That is offer/answer, decided above.
//!
//! Of DTLS and ICE only the words are here; handshakes and checks are other rooms' work. T.38 (RFC 3362) is read where no audio is wanted:
//! the stream is then one of fax.

#![forbid(unsafe_code)]

mod crypto;
pub mod fuzz;
mod read;
mod transport;
mod write;

pub use read::{Described, Media, SdpError, read};
pub use write::{Origin, write, write_again};

/// Bytes of one description at most: a UDP datagram rarely holds more than 8 KB of it; browsers with many codecs send 6 KB.
pub const BYTES_MAX: usize = 16 * 1024;
/// m-lines at most; a conference client offers up to about 6. More is refused, as an answer must repeat every one.
pub const MEDIA_MAX: usize = 16;
/// SDES keys taken from one description at most; further ones are ignored.
pub const CRYPTO_MAX: usize = 8;
/// Longest fmtp taken; longer ones are dropped, the format stays.
pub const FMTP_MAX: usize = 256;
/// Longest encoding name taken; a format with a longer one is skipped.
pub const NAME_MAX: usize = 32;

#[cfg(test)]
mod tests;

//! Sound: the G.711 codecs, WAV containers, resampling, tones, mixing, and the time line of recordings.
//!
//! Pure functions. What is played and to whom is the media plane's; here bytes become samples at 8000 Hz, 16 bits, one channel,
//! and back. G.711 works in a caller's buffer and allocates nothing; reading a WAV file allocates its samples once.

#![forbid(unsafe_code)]

pub mod g711;
pub mod mix;
pub mod tape;
pub mod tone;
pub mod wav;

mod resample;

/// Entry for fuzzing.
pub mod fuzz {
    /// Whatever the bytes are, reading them as WAV ends in a prompt of bounded length or in an error.
    pub fn wav(data: &[u8]) {
        if let Ok(prompt) = crate::wav::read(data) {
            assert!(prompt.samples.len() <= crate::wav::SAMPLES_MAX);
        }
    }
}

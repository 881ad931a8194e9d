//! Codecs, tones and containers.

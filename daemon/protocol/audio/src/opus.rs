//! Opus (RFC 6716, in RTP RFC 7587): libopus by the crate opus, which hides the `unsafe` of calling it.

use opus::{Application, Bitrate, Channels, Signal};
use postern_types::stream::Format;

use crate::codec::{BadPayload, Decode, ENCODED_MAX, Encode, PAYLOAD_MS_MAX};

/// Bits a second, by rate: somewhat above what RFC 7587 3.1.1 recommends for speech, because what is encoded here was coded once before.
const BITRATES: [(u32, i32); 3] = [(8000, 24_000), (16000, 32_000), (48000, 48_000)];
/// Of 10: where quality still rises fast. Half of what 10 costs.
const COMPLEXITY: i32 = 5;
/// Loss that in-band redundancy is made for when the peer takes it, percent.
const LOSS_PERCENT: i32 = 5;
/// A payload of at most so many bytes says nothing: a frame that discontinuous transmission need not send (RFC 6716 2.1.9).
const NOTHING: usize = 2;

/// Decodes at the rate it was made for.
pub struct OpusDecoder {
    inner: opus::Decoder,
    rate: u32,
    pausing: bool,
}

/// Encodes speech.
pub struct OpusEncoder {
    inner: opus::Encoder,
    rate: u32,
}

/// One of the rates that libopus has and we use.
fn rate_of(wished: u32) -> u32 {
    match wished {
        0..=8000 => 8000,
        8001..=16000 => 16000,
        _ => 48000,
    }
}

impl OpusDecoder {
    /// For 8000, 16000 or 48000 samples a second. None: no memory.
    pub fn new(rate: u32) -> Option<Self> {
        let rate = rate_of(rate);
        Some(Self { inner: opus::Decoder::new(rate, Channels::Mono).ok()?, rate, pausing: false })
    }
}

impl Decode for OpusDecoder {
    fn rate(&self) -> u32 {
        self.rate
    }

    fn decode(&mut self, payload: &[u8], out: &mut [i16]) -> Result<usize, BadPayload> {
        // An empty slice would mean "lost".
        if payload.is_empty() {
            return Err(BadPayload);
        }
        let room = out.len().min(PAYLOAD_MS_MAX * self.rate as usize / 1000);
        let samples = self.inner.decode(payload, &mut out[..room], false).map_err(|_| BadPayload)?;
        self.pausing = payload.len() <= NOTHING;
        Ok(samples)
    }

    fn conceal(&mut self, out: &mut [i16]) {
        // In steps of 20 ms at most, as libopus likes them.
        for part in out.chunks_mut(self.rate as usize / 50) {
            if self.inner.decode(&[], part, false).is_err() {
                part.fill(0);
            }
        }
    }

    fn recover(&mut self, next: &[u8], out: &mut [i16]) -> bool {
        !next.is_empty() && self.inner.decode(next, out, true).is_ok_and(|samples| samples == out.len())
    }

    fn pause(&mut self, out: &mut [i16]) -> bool {
        // After a frame of silence its concealment is the comfort noise.
        if self.pausing {
            self.conceal(out);
        }
        self.pausing
    }

    fn is_pausing(&self) -> bool {
        self.pausing
    }
}

impl OpusEncoder {
    /// For 8000, 16000 or 48000 samples a second and what the peer's fmtp asks: `maxaveragebitrate`, `useinbandfec`, `usedtx` (RFC 7587 6.1).
    /// None: no memory.
    pub fn new(rate: u32, format: &Format) -> Option<Self> {
        let rate = rate_of(rate);
        let mut inner = opus::Encoder::new(rate, Channels::Mono, Application::Voip).ok()?;
        let own = BITRATES.into_iter().find(|(at, _)| *at == rate).map_or(32_000, |(_, bits)| bits);
        // RFC 7587 6.1: from 6000 to 510000.
        let most = format.parameter("maxaveragebitrate").and_then(|bits| bits.parse().ok()).unwrap_or(own);
        let is_on = |name| format.parameter(name) == Some("1");
        // Refused settings leave libopus' defaults, which work too.
        let _ = inner.set_bitrate(Bitrate::Bits(own.min(most).max(6000)));
        let _ = inner.set_complexity(COMPLEXITY);
        let _ = inner.set_signal(Signal::Voice);
        let _ = inner.set_dtx(is_on("usedtx"));
        if is_on("useinbandfec") {
            let _ = inner.set_inband_fec(true);
            let _ = inner.set_packet_loss_perc(LOSS_PERCENT);
        }
        Some(Self { inner, rate })
    }
}

impl Encode for OpusEncoder {
    fn rate(&self) -> u32 {
        self.rate
    }

    fn encode(&mut self, samples: &[i16], out: &mut [u8]) -> Option<usize> {
        let room = out.len().min(ENCODED_MAX);
        self.inner.encode(samples, &mut out[..room]).ok().filter(|bytes| *bytes > NOTHING)
    }
}

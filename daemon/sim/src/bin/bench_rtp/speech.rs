//! Something like speech, encoded once: syllables of a few tones with pauses between them, so that codecs have work as with people.

use postern_audio::{Encode, Encoder, codec::ENCODED_MAX};
use postern_types::stream::Format;

/// Frames of 20 ms before it begins anew.
const FRAMES: usize = 200;

/// What one side says.
pub struct Speech {
    payload_type: u8,
    /// RTP time of a frame.
    step: u32,
    payloads: Vec<Vec<u8>>,
}

impl Speech {
    /// In this format, as its codec has it at its best; of one that listens it is silence.
    pub fn new(format: &Format, speaks: bool) -> Self {
        let mut encoder = Encoder::new(format, 48_000).expect("a codec of ours");
        let (rate, mut out) = (f64::from(encoder.rate()), [0; ENCODED_MAX]);
        let frame = encoder.rate() as usize / 50;
        let payloads = (0..FRAMES)
            .map(|number| {
                let said = |at: usize| if speaks { sample((number * frame + at) as f64 / rate) } else { 0 };
                let samples: Vec<i16> = (0..frame).map(said).collect();
                // A pause of discontinuous transmission is sent as the shortest payload there is.
                let len = encoder.encode(&samples, &mut out).unwrap_or(1);
                out[..len].to_vec()
            })
            .collect();
        Self { payload_type: format.payload_type, step: format.clock_hz / 50, payloads }
    }

    /// Writes the packet with this number behind what stands in front of the type; says how long it is.
    pub fn say(&self, sequence: u16, room: &mut [u8]) -> usize {
        let payload = &self.payloads[usize::from(sequence) % FRAMES];
        room[1] = self.payload_type;
        room[4..8].copy_from_slice(&u32::from(sequence).wrapping_mul(self.step).to_be_bytes());
        room[12..12 + payload.len()].copy_from_slice(payload);
        12 + payload.len()
    }
}

fn sample(seconds: f64) -> i16 {
    let tone = |hz: f64| (seconds * hz * std::f64::consts::TAU).sin();
    // Four syllables a second, each louder and softer, its pitch drifting.
    let syllable = (tone(2.0).abs() - 0.2).max(0.0);
    let voice = tone(140.0 + 20.0 * tone(0.7)) + 0.6 * tone(560.0) + 0.4 * tone(1430.0) + 0.2 * tone(2600.0);
    (syllable * voice * 6000.0) as i16
}

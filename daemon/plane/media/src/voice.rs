//! What a leg hears of us, as packets: frames of 20 ms in, RTP of the leg's codec and packet time out.
//!
//! ```text
//! speak(frame)  ->  rate  ->  encoder  ->  poll_packet(stream, room)*
//! ```
//!
//! A [`Voice`] is the sink half of the PCM pipeline ([`crate::ear::Ear`] is the source): transcoding, prompts and rooms speak through it. The
//! numbers of the RTP stream are [`OwnStream`]'s, which outlives the voice: one SSRC for all that we ever say to a leg. Whoever speaks calls
//! once in 20 ms; when there is nothing to say [`Voice::rest`] keeps the time, and the next packet starts a talk spurt (marker).
//!
//! Nothing is allocated for a frame, but a converter when frames of another rate come.

use postern_audio::{
    Encode, Encoder,
    codec::{ENCODED_MAX, libraries},
    rate::{Converter, frame_of},
};
use postern_rtp::packet::HEADER_LEN;
use postern_types::{media::StreamSetup, stream::Format};

use crate::play::OwnStream;

/// Bytes of room that a packet may need.
pub const PACKET_MAX: usize = HEADER_LEN + ENCODED_MAX;

/// The sink for a leg's sound.
pub struct Voice {
    format: Format,
    wished_ms: u8,
    wished_rate: u32,
    encoder: Encoder,
    ptime_ms: u8,
    converter: Option<(u32, Converter)>,
    /// Samples at the encoder's rate that wait for a packet's worth.
    pcm: Box<[i16]>,
    fill: usize,
    /// The next packet begins a talk spurt.
    marker: bool,
}

impl Voice {
    /// For the peer of a setup; `rate` is that of the frames that will mostly come, which a codec of several rates is made for. None: the peer takes
    /// nothing that can be encoded here.
    pub fn new(setup: &StreamSetup, rate: u32) -> Option<Self> {
        let format = Self::format_of(setup)?.clone();
        let encoder = Encoder::new(&format, rate)?;
        let ptime_ms = encoder.ptime(setup.ptime_ms);
        // A packet's worth less one sample may wait when a frame comes.
        let room = frame_of(encoder.rate()) * (usize::from(ptime_ms).div_ceil(20) + 2);
        Some(Self {
            format,
            wished_ms: setup.ptime_ms,
            wished_rate: rate,
            encoder,
            ptime_ms,
            converter: None,
            pcm: vec![0; room].into(),
            fill: 0,
            marker: true,
        })
    }

    /// The format that a peer is spoken to in: the one in use, else the first that it takes and we have.
    pub fn format_of(setup: &StreamSetup) -> Option<&Format> {
        std::iter::once(&setup.format).chain(&setup.formats).find(|format| format.is_codable(libraries()))
    }

    /// Whether this one was made for what the setup says.
    pub fn serves(&self, setup: &StreamSetup, rate: u32) -> bool {
        self.wished_rate == rate && self.wished_ms == setup.ptime_ms && Self::format_of(setup) == Some(&self.format)
    }

    /// The RTP clock of its packets, Hz.
    pub fn clock_hz(&self) -> u32 {
        self.format.clock_hz
    }

    /// Whether it can go on after a new description.
    pub fn fits(&self, setup: &StreamSetup) -> bool {
        self.serves(setup, self.wished_rate)
    }

    /// Milliseconds of a packet.
    pub fn ptime_ms(&self) -> u8 {
        self.ptime_ms
    }

    /// By how much the latest packet begins later than the time that it is for, in units of its clock: a pause ended in it.
    pub fn skipped(&self) -> u32 {
        self.encoder.skipped() as u32 * self.clock_hz() / self.encoder.rate()
    }

    /// Whether the latest packet ends in a pause: what comes after it begins a talk spurt.
    pub fn is_pausing(&self) -> bool {
        self.encoder.is_pausing()
    }

    /// Whether sound waits for a packet's worth.
    pub fn is_waiting(&self) -> bool {
        self.fill > 0
    }

    /// Takes the next 20 ms, at 8000, 16000 or 48000 Hz by their number. What no packet was polled of is dropped when there is no room.
    pub fn speak(&mut self, frame: &[i16]) {
        let (from, to) = (frame.len() as u32 * 50, self.encoder.rate());
        let len = frame_of(to);
        if self.fill + len > self.pcm.len() {
            self.fill = 0;
        }
        let room = &mut self.pcm[self.fill..self.fill + len];
        if from == to {
            room.copy_from_slice(frame);
        } else {
            if self.converter.as_ref().is_none_or(|(rate, _)| *rate != from) {
                self.converter = Converter::new(from, to).map(|converter| (from, converter));
            }
            let Some((_, converter)) = &mut self.converter else { return };
            converter.convert(frame, room);
        }
        self.fill += len;
    }

    /// Says nothing for 20 ms: what waits is dropped, the stream's time goes on.
    pub fn rest(&mut self, stream: &mut OwnStream) {
        let waiting_ms = self.fill as u32 * 1000 / self.encoder.rate();
        stream.pass((20 + waiting_ms) * (self.clock_hz() / 1000));
        (self.fill, self.marker) = (0, true);
    }

    /// The next packet starts a talk spurt: another source speaks.
    pub fn mark(&mut self) {
        self.marker = true;
    }

    /// Writes the next packet, when there is enough for one; says how long it is. Call until None.
    pub fn poll_packet(&mut self, stream: &mut OwnStream, out: &mut [u8]) -> Option<usize> {
        let samples = frame_of(self.encoder.rate()) * usize::from(self.ptime_ms) / 20;
        let units = u32::from(self.ptime_ms) * (self.clock_hz() / 1000);
        while self.fill >= samples {
            let (head, payload) = out.get_mut(..PACKET_MAX)?.split_first_chunk_mut::<HEADER_LEN>()?;
            let encoded = self.encoder.encode(&self.pcm[..samples], payload);
            self.pcm.copy_within(samples..self.fill, 0);
            self.fill -= samples;
            let Some(len) = encoded else {
                // The codec has nothing to send: a pause.
                stream.pass(units);
                self.marker = true;
                continue;
            };
            let pauses = self.encoder.is_pausing();
            let mut header = stream.head(self.format.payload_type, self.marker && !pauses);
            header.timestamp = header.timestamp.wrapping_add(self.skipped());
            header.write(head);
            self.marker = pauses;
            stream.pass(units);
            return Some(HEADER_LEN + len);
        }
        None
    }
}

#[cfg(test)]
mod tests;

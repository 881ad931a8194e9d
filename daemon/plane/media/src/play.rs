//! Audio that we send ourselves: a prompt, cut into packets on a clock. G.711, most of all prompts, is written here without detour; for other
//! codecs the prompt gives frames to the leg's [`Voice`].

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use postern_rtp::packet::{HEADER_LEN, Header};
use postern_types::{
    media::{PlayId, Prompt, StreamSetup},
    stream::Codec,
};

use crate::{g711, transcode::TICK, voice::Voice};

/// Later than this the clock is set anew, rather than sending a burst that no jitter buffer takes.
const LATE_MAX: Duration = Duration::from_millis(200);

/// Samples a second of a prompt.
pub(crate) const SAMPLE_RATE: u32 = 8000;

/// RTP stream of our own on a leg. It outlives a play, so that the next one continues it.
#[derive(Debug, Clone)]
pub struct OwnStream {
    ssrc: u32,
    sequence: u16,
    timestamp: u32,
    /// When the next packet would be due.
    next_at: Option<Instant>,
}

/// One prompt playing into one leg.
#[derive(Debug, Clone)]
pub struct Player {
    /// Its name.
    pub play: PlayId,
    prompt: Arc<Prompt>,
    /// Rounds still to be begun after this one; none: endless.
    rounds: Option<u32>,
    position: usize,
    marker: bool,
    /// When the next packet is due.
    pub next_at: Instant,
}

/// How a leg wants to hear us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlayFormat {
    a_law: bool,
    payload_type: u8,
    /// Samples of a packet. Small, for each leg has it.
    samples: u16,
}

impl PlayFormat {
    /// G.711 of a setup, when that is what the peer is spoken to in; other codecs are a [`crate::voice::Voice`]'s.
    pub fn of(setup: &StreamSetup) -> Option<Self> {
        let format = Voice::format_of(setup).filter(|f| matches!(f.codec, Codec::Pcmu | Codec::Pcma))?;
        Some(Self {
            a_law: format.codec == Codec::Pcma,
            payload_type: format.payload_type,
            samples: u16::from(setup.ptime_ms.clamp(10, 60)) * 8,
        })
    }
}

impl OwnStream {
    /// Starts where `random` says (RFC 3550 5.1 wants all three unpredictable).
    pub fn new(random: u64) -> Self {
        Self { ssrc: random as u32, sequence: (random >> 32) as u16, timestamp: (random >> 24) as u32, next_at: None }
    }

    /// Source, timestamp and payload bytes of the packet of `len` bytes that [`Player::next`] wrote last: G.711, a byte a sample.
    pub(crate) fn latest(&self, len: usize) -> (u32, u32, usize) {
        let payload = len.saturating_sub(HEADER_LEN);
        (self.ssrc, self.timestamp.wrapping_sub(payload as u32), payload)
    }

    /// The next packet's header, and a step of the sequence.
    pub(crate) fn head(&mut self, payload_type: u8, marker: bool) -> Header {
        let (sequence, timestamp, ssrc) = (self.sequence, self.timestamp, self.ssrc);
        self.sequence = sequence.wrapping_add(1);
        Header { marker, payload_type, sequence, timestamp, ssrc, payload_start: HEADER_LEN, padded: false }
    }

    /// Where its time is.
    pub(crate) fn timestamp(&self) -> u32 {
        self.timestamp
    }

    /// Time passes, in units of the format's clock.
    pub(crate) fn pass(&mut self, units: u32) {
        self.timestamp = self.timestamp.wrapping_add(units);
        self.next_at = None;
    }
}

impl Player {
    /// Begins `times` rounds (0: endless); the first packet is due now.
    pub fn new(now: Instant, play: PlayId, prompt: Arc<Prompt>, times: u32, stream: &mut OwnStream) -> Self {
        // The stream's clock went on while nothing played.
        if let Some(last) = stream.next_at {
            let micros = now.saturating_duration_since(last).as_micros() as u64;
            stream.timestamp = stream.timestamp.wrapping_add((micros * u64::from(SAMPLE_RATE) / 1_000_000) as u32);
        }
        Self { play, prompt, rounds: times.checked_sub(1), position: 0, marker: true, next_at: now }
    }

    /// Writes the next packet and sets when the one after it is due. None: the prompt is over, and nothing was written.
    pub fn next(&mut self, now: Instant, stream: &mut OwnStream, format: PlayFormat, out: &mut [u8]) -> Option<usize> {
        let samples = usize::from(format.samples);
        let end = HEADER_LEN + samples;
        let (head, payload) = out.get_mut(..end)?.split_first_chunk_mut::<HEADER_LEN>()?;
        let audio = self.take(now, samples)?;
        g711::encode(audio, format.a_law, payload);
        let is_first = std::mem::take(&mut self.marker);
        stream.head(format.payload_type, is_first).write(head);
        stream.pass(u32::from(format.samples));
        stream.next_at = Some(self.next_at);
        Some(end)
    }

    /// Gives the next 20 ms to a voice and sets when those after them are due; false: it is over, and all of it was given.
    pub(crate) fn speak(&mut self, now: Instant, voice: &mut Voice) -> bool {
        if std::mem::take(&mut self.marker) {
            voice.mark();
        }
        let mut frame = [0; SAMPLE_RATE as usize / 50];
        match self.take(now, frame.len()) {
            Some(audio) => frame[..audio.len()].copy_from_slice(audio),
            // A packet of several frames is filled with silence.
            None if voice.is_waiting() => self.next_at += TICK,
            None => return false,
        }
        voice.speak(&frame);
        true
    }

    /// The next samples, this many or what is left of the round, and sets when those after them are due. None: it is over.
    pub(crate) fn take(&mut self, now: Instant, samples: usize) -> Option<&[i16]> {
        if self.position >= self.prompt.samples.len() {
            if self.prompt.samples.is_empty() || self.rounds == Some(0) {
                return None;
            }
            self.rounds = self.rounds.map(|rounds| rounds - 1);
            self.position = 0;
        }
        let rest = &self.prompt.samples[self.position..];
        self.position += samples;
        if now.saturating_duration_since(self.next_at) > LATE_MAX {
            self.next_at = now;
        }
        self.next_at += Duration::from_micros(samples as u64 * 125);
        Some(&rest[..rest.len().min(samples)])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::start;

    #[test]
    fn packets_follow_each_other_over_rounds_and_plays() {
        let prompt = Arc::new(Prompt { samples: (0..400).map(|n| n * 10).collect() });
        let format = PlayFormat { a_law: true, payload_type: 8, samples: 160 };
        let mut stream = OwnStream::new(0x1234_ffff_0000_0001);
        let mut now = start();
        let mut out = [0; 200];
        let mut headers = Vec::new();
        for play in [PlayId(1), PlayId(2)] {
            let mut player = Player::new(now, play, prompt.clone(), 2, &mut stream);
            while let Some(len) = player.next(now, &mut stream, format, &mut out) {
                assert_eq!(len, 172);
                headers.push(Header::parse(&out[..len]).unwrap());
                assert_eq!(player.next_at, now + Duration::from_millis(20));
                now = player.next_at;
            }
            now += Duration::from_secs(1);
        }
        // 400 samples are three packets; two rounds, two plays.
        assert_eq!(headers.len(), 12);
        for (n, pair) in headers.windows(2).enumerate() {
            assert_eq!(pair[1].sequence, pair[0].sequence.wrapping_add(1));
            assert_eq!(pair[1].ssrc, pair[0].ssrc);
            let gap = if n == 5 { 160 + 8000 } else { 160 };
            assert_eq!(pair[1].timestamp.wrapping_sub(pair[0].timestamp), gap, "{n}");
        }
        let marked: Vec<_> = headers.iter().enumerate().filter(|(_, h)| h.marker).map(|(n, _)| n).collect();
        assert_eq!(marked, [0, 6]);
    }

    #[test]
    fn a_late_clock_does_not_burst_and_endless_goes_on() {
        let prompt = Arc::new(Prompt { samples: vec![0; 160].into() });
        let format = PlayFormat { a_law: false, payload_type: 0, samples: 160 };
        let mut stream = OwnStream::new(1);
        let now = start();
        let mut player = Player::new(now, PlayId(1), prompt, 0, &mut stream);
        let mut out = [0; 200];
        let late = now + Duration::from_secs(3);
        for _ in 0..1000 {
            assert!(player.next(late, &mut stream, format, &mut out).is_some());
        }
        assert!(player.next_at >= late, "{:?}", player.next_at);
        let nothing = Arc::new(Prompt { samples: Box::new([]) });
        assert!(
            Player::new(now, PlayId(2), nothing, 0, &mut stream).next(now, &mut stream, format, &mut out).is_none()
        );
    }
}

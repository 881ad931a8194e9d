//! The messages that a server is sent: JSON in the shapes of the platform's media streams, audio as base64 of µ-law.

use std::time::{Duration, Instant};

use base64::{Engine, engine::general_purpose::STANDARD};
use postern_audio::{
    copies::{Reader, SAMPLES_MAX},
    g711,
};
use postern_types::{
    fork::ForkSetup,
    recording::{Coding, Tapped, Track},
};
use serde_json::{Map, Value, json};

/// How far a packet's place may be from when it came before its clock is taken for another one.
const JUMP_MAX: Duration = Duration::from_secs(1);

/// Writes the messages of one fork, in order.
pub(super) struct Messages {
    stream: String,
    sequence: u64,
    tracks: [Place; 2],
    began: Instant,
}

/// A copy that is nothing of its codec.
#[derive(Debug, PartialEq)]
pub(super) struct Unread;

/// Where a track is.
#[derive(Default)]
struct Place {
    reader: Reader,
    chunk: u64,
    /// Source and timestamp of a packet, and its place in milliseconds.
    anchor: Option<(u32, u32, u64)>,
}

impl Messages {
    /// Those of a fork whose audio begins now.
    pub fn new(setup: &ForkSetup, began: Instant) -> Self {
        Self { stream: setup.stream.to_string(), sequence: 0, tracks: Default::default(), began }
    }

    /// The first message: which protocol follows.
    pub fn connected(&self) -> String {
        json!({ "event": "connected", "protocol": "Call", "version": "1.0.0" }).to_string()
    }

    /// The second: what is sent.
    pub fn start(&mut self, setup: &ForkSetup) -> String {
        let tracks = [("inbound", setup.inbound), ("outbound", setup.outbound)];
        let tracks: Vec<_> = tracks.into_iter().filter(|(_, wanted)| *wanted).map(|(name, _)| name).collect();
        let parameters =
            setup.parameters.iter().map(|(name, value)| (name.to_string(), Value::from(&**value.expose())));
        let start = json!({
            "accountSid": setup.account,
            "callSid": setup.call,
            "streamSid": setup.stream,
            "tracks": tracks,
            "mediaFormat": { "encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1 },
            "customParameters": parameters.collect::<Map<_, _>>(),
        });
        self.write("start", start)
    }

    /// A packet's audio, and where in the stream it belongs. None: it waits for the next, or says nothing.
    pub fn media(&mut self, copy: &Tapped) -> Result<Option<String>, Unread> {
        let (track, place) = match copy.track {
            Track::Inbound => ("inbound", &mut self.tracks[0]),
            Track::Outbound => ("outbound", &mut self.tracks[1]),
        };
        let (timestamp, payload) = if copy.coding == Coding::Ulaw {
            (copy.timestamp, STANDARD.encode(copy.payload()))
        } else {
            let (mut samples, mut bytes) = ([0; SAMPLES_MAX], [0; SAMPLES_MAX]);
            let (timestamp, len) = place.reader.read(copy, &mut samples).ok_or(Unread)?;
            let len = g711::encode_ulaw(&samples[..len], &mut bytes);
            (timestamp, STANDARD.encode(&bytes[..len]))
        };
        if payload.is_empty() {
            return Ok(None);
        }
        place.chunk += 1;
        let (chunk, timestamp) = (place.chunk.to_string(), place.of(copy, timestamp, self.began).to_string());
        let media = json!({ "track": track, "chunk": chunk, "timestamp": timestamp, "payload": payload });
        Ok(Some(self.write("media", media)))
    }

    /// A key that the party pressed.
    pub fn dtmf(&mut self, digit: char) -> String {
        self.write("dtmf", json!({ "track": "inbound_track", "digit": digit }))
    }

    /// The last.
    pub fn stop(&mut self, setup: &ForkSetup) -> String {
        self.write("stop", json!({ "accountSid": setup.account, "callSid": setup.call }))
    }

    fn write(&mut self, event: &str, body: Value) -> String {
        self.sequence += 1;
        let (sequence, stream) = (self.sequence.to_string(), &self.stream);
        json!({ "event": event, "sequenceNumber": sequence, "streamSid": stream, event: body }).to_string()
    }
}

impl Place {
    /// The place of a packet in milliseconds since the stream's beginning: by its timestamp, so that what was jittered on the
    /// way is not here; anew by its arrival when another source speaks or the clock jumps.
    fn of(&mut self, copy: &Tapped, timestamp: u32, began: Instant) -> u64 {
        let came = copy.at.saturating_duration_since(began).as_millis() as u64;
        let (ssrc, first, at) = *self.anchor.get_or_insert((copy.ssrc, timestamp, came));
        let passed = i64::from(timestamp.wrapping_sub(first).cast_signed()) / 8;
        let place = at.checked_add_signed(passed);
        match place.filter(|place| ssrc == copy.ssrc && place.abs_diff(came) <= JUMP_MAX.as_millis() as u64) {
            Some(place) => {
                self.anchor = Some((ssrc, timestamp, place));
                place
            }
            None => {
                self.anchor = Some((copy.ssrc, timestamp, came));
                came
            }
        }
    }
}

#[cfg(test)]
mod tests;

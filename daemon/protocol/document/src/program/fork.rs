//! `<Start>` and `<Stop>`: what goes on beside the verbs that follow.

use super::Target;

/// `<Stream>` in `<Start>`: the call's audio to a server, by WebSocket.
#[derive(Clone, PartialEq)]
pub struct StreamNoun {
    /// `wss:` or `ws:`.
    pub url: String,
    /// What `<Stop>` calls it; none: only its sid.
    pub name: Option<String>,
    /// What the party says is sent.
    pub inbound: bool,
    /// What it hears is sent.
    pub outbound: bool,
    /// Told to the server at its start.
    pub parameters: Vec<(String, String)>,
    /// Who is told how it goes.
    pub callback: Option<Target>,
}

/// A stream's URL and parameters are a program's own business, and may be secret.
impl std::fmt::Debug for StreamNoun {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StreamNoun")
            .field("name", &self.name)
            .field("inbound", &self.inbound)
            .field("outbound", &self.outbound)
            .finish_non_exhaustive()
    }
}

impl StreamNoun {
    /// Inbound and outbound of a track's word; none: no such one.
    pub fn track(word: &str) -> Option<(bool, bool)> {
        Some(match word {
            "inbound_track" => (true, false),
            "outbound_track" => (false, true),
            "both_tracks" => (true, true),
            _ => return None,
        })
    }
}

/// Characters of a stream's name at most.
pub const STREAM_NAME_MAX: usize = 128;
/// Parameters of one stream at most.
pub const STREAM_PARAMETERS_MAX: usize = 99;
/// Bytes of a parameter, name and value together, at most.
pub const STREAM_PARAMETER_BYTES_MAX: usize = 500;

//! The machine of one leg.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use postern_types::stream::Ice;
use stun_types::{
    attribute::{Attribute, AttributeStaticType, AttributeType, ErrorCode, Fingerprint, Username, XorMappedAddress},
    message::{
        BINDING, IntegrityKey, Message, MessageClass, MessageWrite, MessageWriteExt, MessageWriteMutSlice,
        ShortTermCredentials, StunParseError,
    },
};

use crate::{CHECK_MAX, CHECKS_MAX, REMOTES_MAX};

const USE_CANDIDATE: AttributeType = AttributeType::new(0x0025);
const ICE_CONTROLLED: AttributeType = AttributeType::new(0x8029);
/// RFC 8445 16.1: PRIORITY, which every check carries.
const PRIORITY: AttributeType = AttributeType::new(0x0024);
/// RFC 8445 7.3.1.1.
const ROLE_CONFLICT: u16 = 487;
/// A source is heard for so long after its last check (RFC 7675 5.1: consent ends after 30 seconds).
const CONSENT: Duration = Duration::from_secs(30);

/// One leg's ICE.
#[derive(Debug)]
pub struct Lite {
    ufrag: Box<str>,
    /// Computed once from the password. Its Debug is the crate's; ours below leaves it out.
    key: Key,
    /// The latest check last.
    remotes: Vec<Remote>,
    nominated: Option<SocketAddr>,
    /// When the last good check came.
    heard: Option<Instant>,
    silence_told: bool,
    /// The second that `checks` counts.
    second: Option<Instant>,
    checks: u32,
}

struct Key(IntegrityKey);

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(postern_types::secret::HIDDEN)
    }
}

#[derive(Debug, Clone, Copy)]
struct Remote {
    address: SocketAddr,
    checked: Instant,
}

/// What becomes of a datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Send the first `len` bytes of the buffer back to the source.
    Answer(Answer),
    /// Send nothing.
    Drop(Refusal),
}

/// An answer to a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answer {
    /// Bytes of it.
    pub len: usize,
    /// Packets go to this source from now on, and went elsewhere before.
    pub nominated: bool,
}

/// Why a datagram was not answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// Not a STUN message, or too long.
    Malformed,
    /// The FINGERPRINT does not fit: it was altered on the way, or is not STUN.
    Fingerprint,
    /// Not a binding request: an answer to nothing, an indication.
    NotAsked,
    /// The check has no user name, or another's.
    Username,
    /// The MESSAGE-INTEGRITY is missing or made with another password.
    Password,
    /// Too many checks in one second.
    TooMany,
}

impl Refusal {
    /// In words for a person.
    pub fn why(self) -> &'static str {
        match self {
            Self::Malformed => "ICE: malformed",
            Self::Fingerprint => "ICE: wrong STUN fingerprint",
            Self::NotAsked => "ICE: not a binding request",
            Self::Username => "ICE: a check for another user name fragment",
            Self::Password => "ICE: a check with a wrong password",
            Self::TooMany => "ICE: too many checks in a second",
        }
    }
}

/// Whether a datagram on a media port is STUN (RFC 7983 7), by its first byte and the magic cookie.
pub fn is_stun(datagram: &[u8]) -> bool {
    datagram.first().is_some_and(|first| *first < 4) && datagram.get(4..8) == Some(&[0x21, 0x12, 0xa4, 0x42])
}

/// The answer to a binding request that proves nothing, from somebody who may ask all the same: where it came from (RFC 8489 7.3.1). None for
/// what is none.
pub fn answer_binding(datagram: &[u8], source: SocketAddr) -> Option<Vec<u8>> {
    let request = Some(datagram).filter(|datagram| datagram.len() <= CHECK_MAX && is_stun(datagram))?;
    let request = Message::from_bytes(request).ok()?;
    if request.class() != MessageClass::Request || request.method() != BINDING {
        return None;
    }
    let mut reply = [0; CHECK_MAX];
    let mut answer = Message::builder_success(&request, MessageWriteMutSlice::new(&mut reply));
    answer.add_attribute(&XorMappedAddress::new(source, request.transaction_id())).ok()?;
    let written = answer.finish();
    Some(reply[..written].to_vec())
}

impl Lite {
    /// With our name fragment and password.
    pub fn new(ours: &Ice) -> Self {
        Self {
            ufrag: ours.ufrag.clone(),
            key: key(ours),
            remotes: Vec::new(),
            nominated: None,
            heard: None,
            silence_told: false,
            second: None,
            checks: 0,
        }
    }

    /// Takes new credentials after a restart (RFC 8445 9). What was checked before is heard until the peer nominates anew.
    pub fn restart(&mut self, ours: &Ice) {
        if *self.ufrag != *ours.ufrag {
            self.ufrag = ours.ufrag.clone();
            self.key = key(ours);
        }
    }

    /// Decides about a datagram, the first `len` bytes of `room`; an answer lies in its place.
    pub fn handle_input(&mut self, now: Instant, source: SocketAddr, room: &mut [u8], len: usize) -> Verdict {
        match self.judge(now, source, room, len) {
            Ok(answer) => Verdict::Answer(answer),
            Err(refusal) => Verdict::Drop(refusal),
        }
    }

    fn judge(&mut self, now: Instant, source: SocketAddr, room: &mut [u8], len: usize) -> Result<Answer, Refusal> {
        let datagram = room.get(..len).filter(|_| len <= CHECK_MAX).ok_or(Refusal::Malformed)?;
        let check = Message::from_bytes(datagram).map_err(|error| match error {
            StunParseError::FingerprintMismatch => Refusal::Fingerprint,
            _ => Refusal::Malformed,
        })?;
        if check.class() != MessageClass::Request || check.method() != BINDING {
            return Err(Refusal::NotAsked);
        }
        // RFC 8445 7.1.4: every check has one. What is wrong with it was noticed above.
        if !check.has_attribute(Fingerprint::TYPE) {
            return Err(Refusal::Fingerprint);
        }
        // The cheap test before the dear one: `ours:theirs` (RFC 8445 7.2.2).
        let username = check.attribute::<Username>().map_err(|_| Refusal::Username)?;
        if username.username().split_once(':').is_none_or(|(ours, _)| *ours != *self.ufrag) {
            return Err(Refusal::Username);
        }
        self.count(now)?;
        let algorithm = check.validate_integrity_with_key(&self.key.0).map_err(|_| Refusal::Password)?;
        // From here on it is the peer that speaks.
        let unknown = unknown(&check);
        let conflict = check.has_attribute(ICE_CONTROLLED);
        let is_good = unknown.is_none() && !conflict;
        let nominates = is_good && check.has_attribute(USE_CANDIDATE);
        let mut reply = [0; CHECK_MAX];
        let written = self.reply(&check, algorithm, source, unknown, conflict, &mut reply).ok_or(Refusal::Malformed)?;
        room.get_mut(..written).ok_or(Refusal::Malformed)?.copy_from_slice(&reply[..written]);
        if is_good {
            self.hear(now, source);
        }
        let nominated = nominates && self.nominated != Some(source);
        if nominated {
            self.nominated = Some(source);
        }
        Ok(Answer { len: written, nominated })
    }

    fn reply(
        &self,
        check: &Message<'_>,
        algorithm: stun_types::message::IntegrityAlgorithm,
        source: SocketAddr,
        unknown: Option<AttributeType>,
        conflict: bool,
        out: &mut [u8],
    ) -> Option<usize> {
        let writer = MessageWriteMutSlice::new(out);
        let mut reply = if let Some(unknown) = unknown {
            Message::unknown_attributes(check, &[unknown], writer)
        } else if conflict {
            // We are always controlled (RFC 8445 6.1.1): the peer must take the other role.
            let mut reply = Message::builder_error(check, writer);
            reply.add_attribute(&ErrorCode::new(ROLE_CONFLICT, "Role Conflict").ok()?).ok()?;
            reply
        } else {
            let mut reply = Message::builder_success(check, writer);
            reply.add_attribute(&XorMappedAddress::new(source, check.transaction_id())).ok()?;
            reply
        };
        reply.add_message_integrity_with_key(&self.key.0, algorithm).ok()?;
        reply.add_fingerprint().ok()?;
        Some(reply.finish())
    }

    /// Bounds the computing that strangers can cause.
    fn count(&mut self, now: Instant) -> Result<(), Refusal> {
        if self.second.is_none_or(|since| now.saturating_duration_since(since) >= Duration::from_secs(1)) {
            (self.second, self.checks) = (Some(now), 0);
        }
        self.checks += 1;
        if self.checks > CHECKS_MAX { Err(Refusal::TooMany) } else { Ok(()) }
    }

    fn hear(&mut self, now: Instant, source: SocketAddr) {
        self.heard = Some(now);
        self.silence_told = false;
        self.remotes.retain(|remote| remote.address != source);
        if self.remotes.len() >= REMOTES_MAX {
            // The oldest that packets do not go to.
            let oldest = self.remotes.iter().position(|remote| Some(remote.address) != self.nominated);
            self.remotes.remove(oldest.unwrap_or_default());
        }
        self.remotes.push(Remote { address: source, checked: now });
    }

    /// Whether packets from this source may be heard: it passed a check, not too long ago or it is the nominated one.
    pub fn is_proven(&self, now: Instant, source: SocketAddr) -> bool {
        self.nominated == Some(source)
            || self.remotes.iter().any(|r| r.address == source && now.saturating_duration_since(r.checked) < CONSENT)
    }

    /// Where packets go.
    pub fn nominated(&self) -> Option<SocketAddr> {
        self.nominated
    }

    /// For how long the peer has not checked a connection that stands, once that is too long. Told once a silence.
    pub fn consent_lost(&mut self, now: Instant) -> Option<Duration> {
        let silent = now.saturating_duration_since(self.heard?);
        let is_news = silent >= CONSENT && self.nominated.is_some() && !self.silence_told;
        self.silence_told |= is_news;
        is_news.then_some(silent)
    }
}

fn key(ours: &Ice) -> Key {
    Key(ShortTermCredentials::new(ours.pwd.expose().to_string()).make_key())
}

/// The first attribute that we would have to understand and do not (RFC 8489 14): those below 0x8000.
fn unknown(check: &Message<'_>) -> Option<AttributeType> {
    let known = [Username::TYPE, stun_types::attribute::MessageIntegrity::TYPE, PRIORITY, USE_CANDIDATE];
    let sha256 = stun_types::attribute::MessageIntegritySha256::TYPE;
    let mut types = check.iter_attributes().map(|(_, attribute)| attribute.get_type());
    types.find(|kind| kind.comprehension_required() && *kind != sha256 && !known.contains(kind))
}

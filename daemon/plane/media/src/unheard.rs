//! Why a party is not heard: looked at twice a second, told within two, taken back when it mends.
//!
//! Nothing here costs a relayed packet more than a byte stored: whether packets came is seen by their count. Only the silence of a
//! microphone needs a look into a payload: at two packets a second of G.711, and at all of them while they are silent.

use std::time::{Duration, Instant};

use postern_rtp::Header;
use postern_types::{
    media::{MediaEvent, Unheard},
    stream::{Codec, Direction},
};

use crate::{keying::Keying, leg::Leg, typed::COMFORT_NOISE};

/// Silence that is told. With a look each half second, it is noticed after two seconds at most.
const TOLD_AFTER: Duration = Duration::from_millis(1400);
/// Digital silence of a party that was heard before is told later: people mute themselves.
const MUTED_AFTER: Duration = Duration::from_secs(10);
/// Tellings of one leg: a party that comes and goes fills no spool.
const TELLINGS_MAX: u8 = 32;
/// Payloads up to so many bytes are a codec's word for "nothing to hear": G.729's silence descriptor and Opus' DTX.
const DTX_MAX: usize = 2;

/// What is known of a party's audio.
pub(crate) struct Ear {
    /// The last look at which packets had come, or the description that began to expect some.
    audible: Instant,
    /// Packets by then.
    received: u64,
    /// Since when all payloads looked at were silent.
    muted: Option<Instant>,
    /// Something else than silence came since the description.
    sounded: bool,
    /// Dropped packets, when packets were accepted last.
    foreign: u64,
    bad: u64,
    /// By its name.
    told: Option<&'static str>,
    /// Told before the description changed, and not taken back.
    owes: bool,
    tellings: u8,
}

impl Ear {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            audible: now,
            received: 0,
            muted: None,
            sounded: false,
            foreign: 0,
            bad: 0,
            told: None,
            owes: false,
            tellings: 0,
        }
    }
}

/// What each accepted packet is asked, apart from the rest for the sake of the caches: see [`Leg`].
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Attention {
    /// The last packet said that silence follows.
    is_resting: bool,
    /// Look into the next payload.
    listens: bool,
}

impl Attention {
    /// A packet was accepted. Says whether it is worth [`Leg::listen`].
    #[inline]
    pub(crate) fn hear(&mut self, header: &Header, payload: &[u8]) -> bool {
        self.is_resting = header.payload_type == COMFORT_NOISE || payload.len() <= DTX_MAX;
        self.listens
    }
}

impl Leg {
    /// Packets went by without passing here: what was heard before says nothing of them.
    pub(crate) fn pass_by(&mut self) {
        (self.attention.is_resting, self.ear.muted) = (false, None);
    }

    /// Looks into a payload.
    #[cold]
    pub(crate) fn listen(&mut self, now: Instant, payload_type: u8, payload: &[u8]) {
        // G.711's codes for nothing, of either sign: RFC 3551's static types tell the law, or these bytes do.
        let is_silent = |byte: &u8| match payload_type {
            0 => matches!(byte, 0xff | 0x7f),
            8 => matches!(byte, 0xd5 | 0x55),
            _ => false,
        };
        if payload.iter().all(is_silent) {
            self.ear.muted.get_or_insert(now);
        } else {
            (self.ear.muted, self.ear.sounded, self.attention.listens) = (None, true, false);
        }
    }

    /// A new description: what was told holds no more, and waiting begins anew.
    pub(crate) fn expect_audio(&mut self, now: Instant) {
        let (tellings, owes) = (self.ear.tellings, self.ear.owes || self.ear.told.is_some());
        self.ear = Ear { received: self.received.packets, tellings, owes, ..Ear::new(now) };
        self.attention = Attention::default();
        (self.ear.foreign, self.ear.bad) = (self.figures.dropped_foreign, self.figures.dropped_bad);
    }

    /// Looks whether the party is heard.
    pub(crate) fn look(&mut self, now: Instant) -> Option<MediaEvent> {
        let setup = self.setup.as_ref().filter(|setup| !setup.udptl)?;
        let received = self.received.packets;
        let came = received != self.ear.received;
        if came {
            (self.ear.audible, self.ear.received) = (now, received);
            (self.ear.foreign, self.ear.bad) = (self.figures.dropped_foreign, self.figures.dropped_bad);
        }
        self.attention.listens |= matches!(setup.format.codec, Codec::Pcmu | Codec::Pcma);
        let silent = now.saturating_duration_since(self.ear.audible);
        let muted = self.ear.muted.map(|since| now.saturating_duration_since(since));
        let muted_after = if self.ear.sounded { MUTED_AFTER } else { TOLD_AFTER };
        let why = match setup.direction {
            Direction::RecvOnly | Direction::Inactive => (silent >= TOLD_AFTER).then_some(Unheard::Held),
            // It holds the other: music or nothing, as it likes.
            Direction::SendOnly => None,
            Direction::SendRecv if silent >= TOLD_AFTER && !self.attention.is_resting => Some(self.cause()),
            Direction::SendRecv => muted.filter(|muted| came && *muted >= muted_after).map(|_| Unheard::Silence),
        };
        match why {
            Some(why) if self.ear.told != Some(why.name()) && self.ear.tellings < TELLINGS_MAX => {
                self.ear.told = Some(why.name());
                self.ear.tellings += 1;
                let silent = if why == Unheard::Silence { muted.unwrap_or(silent) } else { silent };
                Some(MediaEvent::Unheard { leg: self.id, why, silent })
            }
            // Packets that are silent, or only expected to be missed, mend nothing.
            None if (self.ear.told.is_some() || self.ear.owes) && came && self.ear.muted.is_none() => {
                (self.ear.told, self.ear.owes) = (None, false);
                Some(MediaEvent::Heard { leg: self.id })
            }
            _ => None,
        }
    }

    /// Why nothing comes of a party that should send.
    fn cause(&self) -> Unheard {
        let keying = self.proof.as_ref().and_then(|proof| proof.keying.as_ref());
        let (foreign, bad) = (self.figures.dropped_foreign - self.ear.foreign, self.figures.dropped_bad - self.ear.bad);
        match self.foreign.as_deref() {
            _ if keying.is_some_and(Keying::is_awaited) => Unheard::Unkeyed,
            _ if bad > 0 => Unheard::Unreadable { packets: bad },
            Some(stranger) if foreign > 0 => Unheard::Elsewhere { source: stranger.latest },
            _ if self.received.packets == 0 => Unheard::Nothing,
            _ => Unheard::Stopped,
        }
    }
}

#[cfg(test)]
mod tests;

//! One leg's stream: what was negotiated, whom it listens to, what it has counted.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use postern_rtp::{Control, Digits, Reception, Sent};
use postern_srtp::dtls::Identity;
use postern_types::{
    CallSid,
    media::{Latching, MediaEvent, StreamReport, StreamSetup},
    stream::Direction,
};

use crate::{
    crypto::Crypto,
    fast::Installed,
    latch::{Latch, is_usable},
    play::{OwnStream, PlayFormat, Player},
    proof::{Early, Proof},
    tap::Taps,
    transcode::Ways,
    unheard::Ear,
    voice::Voice,
};

/// Foreign packets of a leg are told at most this often.
pub(crate) const FOREIGN_EVERY: Duration = Duration::from_secs(1);

/// Payload type that stands for "none" in [`Leg::map`].
pub(crate) const UNMAPPED: u8 = 0xff;

/// What a payload type of a peer is. One byte with its clock, for each leg has a table of all types.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Not negotiated.
    Unknown,
    /// Audio with this clock.
    Audio(Clock),
    /// telephone-event.
    Event,
}

/// RTP clocks of audio (RFC 3551 table 4, and those of later codecs).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Clock {
    Hz8000,
    Hz11025,
    Hz12000,
    Hz16000,
    Hz22050,
    Hz24000,
    Hz32000,
    Hz44100,
    Hz48000,
    Hz90000,
    /// No codec's: jitter is not measured by it.
    Other,
}

impl Clock {
    fn of(hz: u32) -> Self {
        match hz {
            8000 => Self::Hz8000,
            11025 => Self::Hz11025,
            12000 => Self::Hz12000,
            16000 => Self::Hz16000,
            22050 => Self::Hz22050,
            24000 => Self::Hz24000,
            32000 => Self::Hz32000,
            44100 => Self::Hz44100,
            48000 => Self::Hz48000,
            90000 => Self::Hz90000,
            _ => Self::Other,
        }
    }

    pub(crate) fn hz(self) -> Option<u32> {
        Some(match self {
            Self::Hz8000 => 8000,
            Self::Hz11025 => 11025,
            Self::Hz12000 => 12000,
            Self::Hz16000 => 16000,
            Self::Hz22050 => 22050,
            Self::Hz24000 => 24000,
            Self::Hz32000 => 32000,
            Self::Hz44100 => 44100,
            Self::Hz48000 => 48000,
            Self::Hz90000 => 90000,
            Self::Other => return None,
        })
    }
}

/// The stream of one leg. Worker and simulated world own it through [`crate::Relay`].
pub struct Leg {
    pub(crate) id: CallSid,
    pub(crate) opened: Instant,
    pub(crate) setup: Option<Box<StreamSetup>>,
    pub(crate) latch: Latch,
    /// Where the latched party sends RTCP from, when that is not where it described.
    pub(crate) rtcp_source: Option<SocketAddr>,
    pub(crate) crypto: Crypto,
    /// How the peer proves itself, if by ICE or DTLS.
    pub(crate) proof: Option<Box<Proof>>,
    /// A ClientHello that came before the description: who answers a call often begins the handshake in the same moment.
    pub(crate) early: Option<Box<Early>>,
    /// By payload type of the peer.
    pub(crate) kinds: [Kind; 128],
    /// The leg that hears this one, and by payload type of ours, theirs.
    pub(crate) partner: Option<u32>,
    pub(crate) map: [u8; 128],
    /// The next packet relayed to this leg starts a talk spurt: another source was heard before.
    pub(crate) mark_next: bool,
    pub(crate) player: Option<Player>,
    pub(crate) own: OwnStream,
    pub(crate) play_format: Option<PlayFormat>,
    /// What we speak to it by, once we speak anything but G.711 prompts.
    pub(crate) voice: Option<Box<Voice>>,
    /// The peer sent what the other leg lacks, though there was something in common.
    pub(crate) strays: bool,
    /// Its part of a transcoded pair.
    pub(crate) ways: Option<Box<Ways>>,
    /// Who gets copies.
    pub(crate) taps: Option<Box<Taps>>,
    pub(crate) reception: Reception,
    pub(crate) sent: Sent,
    /// Our side of RTCP.
    pub(crate) control: Box<Control>,
    pub(crate) ear: Ear,
    pub(crate) digits: Digits,
    pub(crate) figures: StreamReport,
    /// Since when silence counts: the last packet, or the description that began to expect some.
    pub(crate) heard: Instant,
    pub(crate) silence_told: Option<Instant>,
    pub(crate) foreign: Foreign,
    /// Packets counted at the last second's turn, to know who is silent and whose report is news.
    pub(crate) received_before: u64,
    pub(crate) sent_before: u64,
    /// Packets lost then.
    pub(crate) lost_before: u64,
    /// What the kernel forwards of this leg's packets.
    pub(crate) flow: Option<Box<Installed>>,
    /// The kernel could not: it is not asked again until something changes.
    pub(crate) flow_refused: bool,
    /// The peer that the socket was last asked to be connected to.
    pub(crate) connected: Option<SocketAddr>,
}

/// Strangers' packets that were not told yet.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Foreign {
    packets: u64,
    latest: Option<SocketAddr>,
    told: Option<Instant>,
}

impl Leg {
    pub(crate) fn new(now: Instant, id: CallSid, random: u64) -> Self {
        Self {
            id,
            opened: now,
            setup: None,
            latch: Latch::default(),
            rtcp_source: None,
            crypto: Crypto::default(),
            proof: None,
            early: None,
            kinds: [Kind::Unknown; 128],
            partner: None,
            map: [UNMAPPED; 128],
            mark_next: false,
            player: None,
            own: OwnStream::new(random),
            play_format: None,
            voice: None,
            strays: false,
            ways: None,
            taps: None,
            reception: Reception::default(),
            sent: Sent::default(),
            control: Box::new(Control::new(random.rotate_left(32))),
            ear: Ear::new(now),
            digits: Digits::default(),
            figures: StreamReport::default(),
            heard: now,
            silence_told: None,
            foreign: Foreign::default(),
            received_before: 0,
            sent_before: 0,
            lost_before: 0,
            flow: None,
            flow_refused: false,
            connected: None,
        }
    }

    pub(crate) fn configure(
        &mut self,
        now: Instant,
        setup: Box<StreamSetup>,
        window: Duration,
        identity: Option<&Arc<Identity>>,
    ) {
        // With ICE no described address counts, only what a check came from.
        let window = Some(window).filter(|_| setup.latching == Latching::Window);
        if setup.ice.is_none() && self.latch.describe(now, setup.remote_rtp, window) {
            self.rtcp_source = None;
        }
        self.kinds = [Kind::Unknown; 128];
        // Comfort noise has a static type that descriptions often leave out (RFC 3389 4).
        self.kinds[13] = Kind::Audio(Clock::Hz8000);
        for format in setup.formats.iter().chain([&setup.format]) {
            if let Some(kind) = self.kinds.get_mut(usize::from(format.payload_type)) {
                *kind = Kind::Audio(Clock::of(format.clock_hz));
            }
        }
        if let Some(kind) = setup.telephone_event.and_then(|pt| self.kinds.get_mut(usize::from(pt))) {
            *kind = Kind::Event;
        }
        let is_rekeyed = Proof::configure(&mut self.proof, &setup, identity);
        if setup.dtls.is_none() {
            self.crypto.configure(&setup);
        } else if is_rekeyed {
            self.crypto.shut();
        }
        self.play_format = PlayFormat::of(&setup);
        self.strays = false;
        self.voice.take_if(|voice| !voice.fits(&setup));
        self.heard = now;
        self.silence_told = None;
        self.setup = Some(setup);
        self.expect_audio(now);
    }

    /// Payload types of `self` as those of `other`: by codec, clock and channels; fmtp is not compared, for both ends
    /// settled theirs with us.
    pub(crate) fn map_to(&self, other: &Self) -> [u8; 128] {
        let mut map = [UNMAPPED; 128];
        let (Some(ours), Some(theirs)) = (&self.setup, &other.setup) else { return map };
        map[13] = 13;
        for format in ours.formats.iter().chain([&ours.format]) {
            let same =
                theirs.formats.iter().chain([&theirs.format]).find(|f| {
                    f.codec == format.codec && f.clock_hz == format.clock_hz && f.channels == format.channels
                });
            if let (Some(entry), Some(same)) = (map.get_mut(usize::from(format.payload_type)), same) {
                *entry = same.payload_type;
            }
        }
        if let (Some(from), Some(to)) = (ours.telephone_event, theirs.telephone_event)
            && let Some(entry) = map.get_mut(usize::from(from))
        {
            *entry = to;
        }
        map
    }

    /// Where RTP to this leg goes; none: nowhere, or it does not want any.
    pub(crate) fn rtp_destination(&self) -> Option<SocketAddr> {
        let setup = self.setup.as_ref().filter(|setup| is_usable(&setup.remote_rtp) || setup.ice.is_some())?;
        self.latch.destination().filter(|_| setup.direction.receives())
    }

    /// Where RTCP to this leg goes, and whether it goes out of the RTP port.
    pub(crate) fn rtcp_destination(&self) -> Option<(SocketAddr, bool)> {
        let setup = self.setup.as_ref()?;
        if setup.remote_rtcp == setup.remote_rtp {
            let is_wanted = is_usable(&setup.remote_rtp) || setup.ice.is_some();
            return self.latch.destination().filter(|_| is_wanted).map(|to| (to, true));
        }
        Some(setup.remote_rtcp).filter(is_usable).map(|described| (self.rtcp_bound().unwrap_or(described), false))
    }

    /// Where RTCP of its own port comes from, as long as that is the described address or the host that RTP is latched
    /// to: who held the latch before the party came holds nothing after it.
    pub(crate) fn rtcp_bound(&self) -> Option<SocketAddr> {
        let described = self.setup.as_ref().map(|setup| setup.remote_rtcp);
        let host = self.latch.source().map(|latched| latched.ip());
        self.rtcp_source.filter(|source| Some(*source) == described || Some(source.ip()) == host)
    }

    /// Whether the peer should be sending.
    pub(crate) fn sends(&self) -> bool {
        self.setup.as_ref().is_some_and(|setup| setup.direction.sends())
    }

    /// Whether silence of the peer means that it is gone. One that holds the other may send music or nothing.
    pub(crate) fn must_send(&self) -> bool {
        self.setup.as_ref().is_some_and(|setup| setup.direction == Direction::SendRecv)
    }

    /// Whether ICE lets this source speak.
    pub(crate) fn is_proven(&self, now: Instant, source: SocketAddr) -> bool {
        self.proof.as_ref().and_then(|proof| proof.ice.as_ref()).is_some_and(|ice| ice.is_proven(now, source))
    }

    /// Counts who could not prove to be the peer; tells when it is time to.
    pub(crate) fn refuse(&mut self, now: Instant, source: SocketAddr, why: &'static str) -> Option<MediaEvent> {
        self.figures.proofs_refused += 1;
        let refused = &mut self.proof.as_mut()?.refused;
        refused.packets += 1;
        refused.latest = Some((source, why));
        self.tell_refused(now)
    }

    /// Tells of those that were counted since.
    pub(crate) fn tell_refused(&mut self, now: Instant) -> Option<MediaEvent> {
        let refused = &mut self.proof.as_mut()?.refused;
        let due = refused.told.is_none_or(|told| now.saturating_duration_since(told) >= FOREIGN_EVERY);
        let (source, why) = refused.latest.filter(|_| due)?;
        let packets = std::mem::take(&mut refused.packets);
        (refused.latest, refused.told) = (None, Some(now));
        Some(MediaEvent::Unproven { leg: self.id, source, why, packets })
    }

    /// Counts a stranger's packet; tells when it is time to.
    pub(crate) fn stranger(&mut self, now: Instant, source: SocketAddr) -> Option<MediaEvent> {
        self.figures.dropped_foreign += 1;
        self.foreign.packets += 1;
        self.foreign.latest = Some(source);
        self.ear.stranger = Some(source);
        self.tell_foreign(now)
    }

    /// Tells of strangers that were counted since.
    pub(crate) fn tell_foreign(&mut self, now: Instant) -> Option<MediaEvent> {
        let due = self.foreign.told.is_none_or(|told| now.saturating_duration_since(told) >= FOREIGN_EVERY);
        let source = self.foreign.latest.filter(|_| due)?;
        let packets = std::mem::take(&mut self.foreign.packets);
        self.foreign = Foreign { packets: 0, latest: None, told: Some(now) };
        Some(MediaEvent::Foreign { leg: self.id, source, packets })
    }

    /// The figures so far.
    pub(crate) fn report(&self) -> StreamReport {
        let mut report = self.figures.clone();
        report.packets_lost = self.reception.lost();
        report.jitter_ms = self.reception.jitter_ms();
        report.source = self.latch.source();
        report.rtcp_sent = self.control.written();
        self.measure(&mut report);
        report
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_is_what_it_was_made_of_and_a_plain_leg_stays_small() {
        for hz in [8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000, 90000] {
            assert_eq!(Clock::of(hz).hz(), Some(hz));
        }
        assert_eq!(Clock::of(0).hz(), None);
        // Two of these and their sockets are what a call takes: see docs/PERFORMANCE.md.
        assert!(size_of::<Leg>() <= 1408, "{}", size_of::<Leg>());
    }
}

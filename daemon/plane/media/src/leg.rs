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
    conference::Seat,
    crypto::Crypto,
    fast::Installed,
    inband::Inband,
    latch::{Latch, is_usable},
    play::{OwnStream, PlayFormat, Player},
    press::Pressing,
    proof::{Early, Proof},
    tap::Taps,
    transcode::Ways,
    typed::{COMFORT_NOISE, Clock, Kind, Types},
    unheard::{Attention, Ear},
    voice::Voice,
};

/// Lines of the cache at the beginning of [`Leg`] that a relayed packet touches; the last one and the first two also of the leg that it goes to.
pub(crate) const HOT_LINES: usize = 6;

/// Foreign packets of a leg are told at most this often.
pub(crate) const FOREIGN_EVERY: Duration = Duration::from_secs(1);

/// Packets and their bytes, of one way.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Tally {
    pub(crate) packets: u64,
    /// RTP headers and payloads.
    pub(crate) bytes: u64,
}

impl Tally {
    pub(crate) fn add(&mut self, packets: u64, bytes: u64) {
        self.packets += packets;
        self.bytes += bytes;
    }
}

/// What is seldom counted: see [`StreamReport`] for the words.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Figures {
    pub(crate) rtcp_received: u64,
    pub(crate) dropped_foreign: u64,
    pub(crate) dropped_bad: u64,
    pub(crate) checks_received: u64,
    pub(crate) proofs_refused: u64,
    pub(crate) first_packet_ms: Option<u32>,
    pub(crate) recent_loss_percent: f32,
}

/// The stream of one leg. Worker and simulated world own it through [`crate::Relay`].
///
/// With some thousand legs each packet finds its two out of the caches, and what it waits for is memory: a line of 64 bytes at a time.
/// So the fields lie in the order of their use: first what every packet touches, whole lines of it, then the rest.
#[repr(C, align(64))]
pub struct Leg {
    // One line: ways out of the ordinary, nearly always none.
    pub(crate) crypto: Crypto,
    /// Who gets copies.
    pub(crate) taps: Option<Box<Taps>>,
    /// Its part of a transcoded pair.
    pub(crate) ways: Option<Box<Ways>>,
    pub(crate) received: Tally,
    // One line: what goes out.
    pub(crate) sent: Sent,
    pub(crate) sent_tally: Tally,
    pub(crate) player: Option<Box<Player>>,
    // Two lines.
    pub(crate) reception: Reception,
    // One line.
    /// What the peer's payload types are.
    pub(crate) types: Types,
    /// Since when silence counts: the last packet, or the description that began to expect some.
    pub(crate) heard: Instant,
    // One line, with the latch's first half: whom it listens to, who hears it.
    pub(crate) opened: Instant,
    /// The leg that hears this one.
    pub(crate) partner: Option<u32>,
    /// Described, and by that description the party sends; and it receives, at an address where it can.
    is_described: bool,
    pub(crate) sends: bool,
    receives: bool,
    /// The next packet relayed to this leg starts a talk spurt: another source was heard before.
    pub(crate) mark_next: bool,
    /// There is something in `pressing`.
    pub(crate) is_pressing: bool,
    pub(crate) attention: Attention,
    pub(crate) latch: Latch,
    // From here on nothing that a relayed packet needs.
    pub(crate) id: CallSid,
    pub(crate) setup: Option<Box<StreamSetup>>,
    /// Where the latched party sends RTCP from, when that is not where it described.
    pub(crate) rtcp_source: Option<SocketAddr>,
    /// How the peer proves itself, if by ICE or DTLS.
    pub(crate) proof: Option<Box<Proof>>,
    /// A ClientHello that came before the description: who answers a call often begins the handshake in the same moment.
    pub(crate) early: Option<Box<Early>>,
    /// Digits that we say.
    pub(crate) pressing: Option<Box<Pressing>>,
    pub(crate) own: OwnStream,
    pub(crate) play_format: Option<PlayFormat>,
    /// What we speak to it by, once we speak anything but G.711 prompts.
    pub(crate) voice: Option<Box<Voice>>,
    /// Its part of a room.
    pub(crate) seat: Option<Box<Seat>>,
    /// Digits that are tones.
    pub(crate) inband: Option<Box<Inband>>,
    /// Our side of RTCP.
    pub(crate) control: Box<Control>,
    pub(crate) ear: Ear,
    pub(crate) digits: Digits,
    pub(crate) figures: Figures,
    pub(crate) silence_told: Option<Instant>,
    /// Strangers, once there were some.
    pub(crate) foreign: Option<Box<Foreign>>,
    /// Packets counted at the last second's turn, to know who is silent and whose report is news.
    pub(crate) received_before: u64,
    pub(crate) sent_before: u64,
    /// Packets lost then.
    pub(crate) lost_before: u64,
    /// What the kernel forwards of this leg's packets.
    pub(crate) flow: Option<Box<Installed>>,
    /// The peer sent what the other leg lacks, though there was something in common.
    pub(crate) strays: bool,
    /// The kernel could not: it is not asked again until something changes.
    pub(crate) flow_refused: bool,
    /// The socket was last asked to be connected to the peer.
    pub(crate) is_connected: bool,
    /// It has fax in place of audio.
    pub(crate) is_fax: bool,
}

/// Strangers' packets.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Foreign {
    /// Not told yet.
    packets: u64,
    pub(crate) latest: SocketAddr,
    told: Option<Instant>,
}

impl Leg {
    pub(crate) fn new(now: Instant, id: CallSid, random: u64) -> Self {
        Self {
            crypto: Crypto::default(),
            taps: None,
            ways: None,
            received: Tally::default(),
            sent: Sent::default(),
            sent_tally: Tally::default(),
            player: None,
            reception: Reception::default(),
            types: Types::default(),
            heard: now,
            opened: now,
            partner: None,
            is_described: false,
            sends: false,
            receives: false,
            mark_next: false,
            is_pressing: false,
            attention: Attention::default(),
            latch: Latch::default(),
            id,
            is_fax: false,
            setup: None,
            rtcp_source: None,
            proof: None,
            early: None,
            pressing: None,
            own: OwnStream::new(random),
            play_format: None,
            voice: None,
            seat: None,
            inband: None,
            control: Box::new(Control::new(random.rotate_left(32))),
            ear: Ear::new(now),
            digits: Digits::default(),
            figures: Figures::default(),
            silence_told: None,
            foreign: None,
            received_before: 0,
            sent_before: 0,
            lost_before: 0,
            flow: None,
            strays: false,
            flow_refused: false,
            is_connected: false,
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
        // Comfort noise has a static type that descriptions often leave out (RFC 3389 4).
        let noise = [(COMFORT_NOISE, Kind::Audio(Clock::Hz8000))];
        let audio = setup.all_formats().map(|f| (f.payload_type, Kind::Audio(Clock::of(f.clock_hz))));
        let event = setup.telephone_event.map(|of| (of, Kind::Event));
        self.is_fax = setup.udptl;
        self.types.describe(noise.into_iter().chain(audio).chain(event));
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
        let is_there = is_usable(&setup.remote_rtp) || setup.ice.is_some();
        (self.is_described, self.sends) = (true, setup.direction.sends());
        self.receives = is_there && setup.direction.receives();
        self.setup = Some(setup);
        self.settle_inband();
        self.expect_audio(now);
    }

    /// Maps its payload types to those of `other`: by codec, clock and channels; fmtp is not compared, for both ends
    /// settled theirs with us.
    pub(crate) fn map_to(&mut self, other: &Self) {
        let (Some(ours), Some(theirs)) = (&self.setup, &other.setup) else { return self.types.map([]) };
        let audio = ours.all_formats().filter_map(|format| {
            let same = theirs.all_formats().find(|f| f.is_same_codec(format))?;
            Some((format.payload_type, same.payload_type))
        });
        let event = ours.telephone_event.zip(theirs.telephone_event);
        self.types.map([(COMFORT_NOISE, COMFORT_NOISE)].into_iter().chain(audio).chain(event));
    }

    /// Where RTP to this leg goes; none: nowhere, or it does not want any.
    pub(crate) fn rtp_destination(&self) -> Option<SocketAddr> {
        self.latch.destination().filter(|_| self.receives && !self.is_fax)
    }

    /// Where RTCP to this leg goes, and whether it goes out of the RTP port.
    pub(crate) fn rtcp_destination(&self) -> Option<(SocketAddr, bool)> {
        let setup = self.setup.as_ref().filter(|setup| !setup.udptl)?;
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

    /// Whether anything was negotiated yet.
    pub(crate) fn is_described(&self) -> bool {
        self.is_described
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
        let foreign = self.foreign.get_or_insert_with(|| Box::new(Foreign { packets: 0, latest: source, told: None }));
        foreign.packets += 1;
        foreign.latest = source;
        self.tell_foreign(now)
    }

    /// Tells of strangers that were counted since.
    pub(crate) fn tell_foreign(&mut self, now: Instant) -> Option<MediaEvent> {
        let foreign = self.foreign.as_mut().filter(|foreign| foreign.packets > 0)?;
        if foreign.told.is_some_and(|told| now.saturating_duration_since(told) < FOREIGN_EVERY) {
            return None;
        }
        foreign.told = Some(now);
        let packets = std::mem::take(&mut foreign.packets);
        Some(MediaEvent::Foreign { leg: self.id, source: foreign.latest, packets })
    }

    /// The figures so far.
    pub(crate) fn report(&self) -> StreamReport {
        let mut report = StreamReport {
            packets_received: self.received.packets,
            bytes_received: self.received.bytes,
            packets_sent: self.sent_tally.packets,
            bytes_sent: self.sent_tally.bytes,
            rtcp_received: self.figures.rtcp_received,
            packets_lost: self.reception.lost(),
            dropped_foreign: self.figures.dropped_foreign,
            dropped_bad: self.figures.dropped_bad,
            jitter_ms: self.reception.jitter_ms(),
            recent_loss_percent: self.figures.recent_loss_percent,
            first_packet_ms: self.figures.first_packet_ms.map(u64::from),
            source: self.latch.source(),
            checks_received: self.figures.checks_received,
            proofs_refused: self.figures.proofs_refused,
            rtcp_sent: self.control.written(),
            ..StreamReport::default()
        };
        self.measure(&mut report);
        report
    }
}

#[cfg(test)]
mod tests {
    use std::mem::offset_of;

    use super::*;

    #[test]
    fn a_plain_leg_stays_small() {
        // Two of these and their sockets are what a call takes: see docs/PERFORMANCE.md.
        assert!(size_of::<Leg>() <= 832, "{}", size_of::<Leg>());
    }

    #[test]
    fn what_every_packet_touches_lies_in_whole_lines_in_front() {
        const LINE: usize = 64;
        let end_of_hot = offset_of!(Leg, latch) + size_of::<SocketAddr>();
        let starts = [
            ("sent", offset_of!(Leg, sent), LINE),
            ("reception", offset_of!(Leg, reception), 2 * LINE),
            ("types", offset_of!(Leg, types), 4 * LINE),
            ("opened", offset_of!(Leg, opened), (HOT_LINES - 1) * LINE),
            ("the latch's source ends", end_of_hot, HOT_LINES * LINE),
        ];
        for (what, is, wanted) in starts {
            assert_eq!(is, wanted, "{what}");
        }
    }
}

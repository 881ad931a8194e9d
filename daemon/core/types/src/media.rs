//! The language between the media plane and the router: streams by their leg, without sockets or packets.
//!
//! One audio stream a leg. `Open` reserves ports, `Configure` tells what the peer described, `Bridge` relays two legs
//! to each other, `Close` ends and yields the final report. Commands for a stream that is not open are ignored.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{
    id::{CallSid, ConferenceSid, RealmName},
    recording::{Listener, TapId},
    stream::{Direction, Fingerprint, Format, Ice, SdesKey, SrtpSuite},
};

/// Audio to be played: 16-bit mono samples at 8000 Hz, decoded once and shared by all legs that hear it.
#[derive(Debug, PartialEq, Eq)]
pub struct Prompt {
    /// Samples.
    pub samples: Box<[i16]>,
}

impl Prompt {
    /// How long it sounds.
    pub fn duration(&self) -> Duration {
        Duration::from_micros(self.samples.len() as u64 * 125)
    }
}

/// Names one `Play` of a leg, so that a late `PlayEnded` is not taken for the next one's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PlayId(pub u32);

/// Whose audio may be taken for a party's before its source is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Latching {
    /// Anybody's for a while after a description, for NAT changes addresses; the described address wins whenever it shows up.
    #[default]
    Window,
    /// Only the described address: for parties without NAT.
    Strict,
}

/// What a leg's stream is to expect and to send.
#[derive(Debug, Clone, PartialEq)]
pub struct StreamSetup {
    /// Where the peer says it wants RTP: packets go there until a source is latched. The unspecified address or port 0: nowhere.
    pub remote_rtp: SocketAddr,
    /// Where it wants RTCP; equal to `remote_rtp` with rtcp-mux.
    pub remote_rtcp: SocketAddr,
    /// From where else it may send.
    pub latching: Latching,
    /// The codec in use, by which we play and measure.
    pub format: Format,
    /// All formats that the peer may send, so that a relay can map payload types.
    pub formats: Vec<Format>,
    /// telephone-event payload type on this leg.
    pub telephone_event: Option<u8>,
    /// How digits travel on it.
    pub digits: DigitsBy,
    /// Packet time that we send when playing, milliseconds.
    pub ptime_ms: u8,
    /// Flow seen from the peer: we relay to it only if it receives, and expect packets only if it sends.
    pub direction: Direction,
    /// The key by which we open what the peer sends; none for plain RTP.
    pub srtp_in: Option<Box<SdesKey>>,
    /// The key by which we protect what we send.
    pub srtp_out: Option<Box<SdesKey>>,
    /// Both keys come from a DTLS handshake with this peer; until then nothing passes. `srtp_in` and `srtp_out` are none.
    pub dtls: Option<Box<DtlsPeer>>,
    /// The peer asked for VoIP metrics with our reports (RFC 3611 5.1).
    pub rtcp_xr: bool,
    /// Fax in place of audio: UDPTL is relayed to the partner if that has it too; no RTP, no RTCP, and none of what is above but the address and `latching` counts.
    pub udptl: bool,
    /// Our side of ICE: only sources whose checks carry this password are heard, and packets go where the peer nominates.
    pub ice: Option<Box<Ice>>,
}

impl StreamSetup {
    /// Plain RTP of one format both ways, 20 ms a packet, RTCP on the next port: what a description without attributes means.
    pub fn plain(remote_rtp: SocketAddr, format: Format) -> Self {
        Self {
            remote_rtp,
            remote_rtcp: SocketAddr::new(remote_rtp.ip(), remote_rtp.port().saturating_add(1)),
            latching: Latching::Window,
            formats: vec![format.clone()],
            format,
            telephone_event: None,
            digits: DigitsBy::Stream,
            ptime_ms: 20,
            direction: Direction::SendRecv,
            srtp_in: None,
            srtp_out: None,
            dtls: None,
            rtcp_xr: false,
            udptl: false,
            ice: None,
        }
    }

    /// Whether its packets are, or will be, encrypted.
    pub fn is_encrypted(&self) -> bool {
        self.srtp_in.is_some() || self.srtp_out.is_some() || self.dtls.is_some() || self.ice.is_some()
    }

    /// All formats that the peer may send, and the one in use: some of them twice.
    pub fn all_formats(&self) -> impl Iterator<Item = &Format> {
        self.formats.iter().chain([&self.format])
    }
}

/// How digits travel on a leg.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DigitsBy {
    /// As packets of their own (RFC 4733), if the peer described them.
    #[default]
    Stream,
    /// By signaling.
    Signaling,
    /// As tones in the audio: listened for in what the peer says, and made when it is told one.
    Tones,
}

/// The other end of a DTLS handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DtlsPeer {
    /// What its certificate must be.
    pub fingerprint: Fingerprint,
    /// Whether it begins the handshake, or we.
    pub begins: bool,
}

/// How a leg takes part in a room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RoomPart {
    /// Nobody hears it.
    pub muted: bool,
    /// Nobody hears it, and it hears nobody; what is played to it is heard all the same.
    pub held: bool,
    /// Only this leg hears it, whether it is in the room or not.
    pub coaches: Option<CallSid>,
}

/// What all of a room hear besides each other.
#[derive(Debug, Clone, PartialEq)]
pub enum RoomSound {
    /// Somebody came: a short tone.
    Entered,
    /// Somebody left: a lower one.
    Left,
    /// An announcement.
    Prompt(Arc<Prompt>),
}

/// What the router wants of the media plane.
#[derive(Debug, Clone, PartialEq)]
pub enum MediaCommand {
    /// Reserve a stream in a realm. Answered by Opened or OpenFailed in the same turn.
    Open {
        /// For whom.
        leg: CallSid,
        /// Where.
        realm: RealmName,
        /// Take an IPv6 address of the realm.
        ipv6: bool,
        /// Also when every worker is as busy as it may be: an emergency call.
        urgent: bool,
    },
    /// Tell what was negotiated; again after each new offer and answer. A changed remote address opens a new latching window.
    Configure {
        /// Whose.
        leg: CallSid,
        /// What.
        setup: Box<StreamSetup>,
    },
    /// Relay two legs to each other. A leg is in one bridge at a time; a new one replaces the old.
    Bridge {
        /// One.
        a: CallSid,
        /// The other.
        b: CallSid,
    },
    /// Stop relaying this leg and the one it was bridged with.
    Unbridge {
        /// Either.
        leg: CallSid,
    },
    /// Mix a leg with the others of a room, each of which hears all but itself; again for a leg that is in it: from now on it takes
    /// part so. The room is there as long as it has legs. A leg is in one room or bridge at a time; the new one counts. All legs of a
    /// room live on one worker, that of the first.
    Join {
        /// Which room.
        room: ConferenceSid,
        /// Who.
        leg: CallSid,
        /// How.
        part: RoomPart,
    },
    /// Mix the leg with nobody.
    Leave {
        /// Whose.
        leg: CallSid,
    },
    /// All of a room hear this once; what of this kind still sounds ends.
    Chime {
        /// Which room.
        room: ConferenceSid,
        /// What.
        sound: RoomSound,
    },
    /// Play into a leg, replacing what plays. While it plays, the bridged party, or the room, is not heard on this leg.
    Play {
        /// To whom.
        leg: CallSid,
        /// Its name for PlayEnded.
        play: PlayId,
        /// What.
        prompt: Arc<Prompt>,
        /// How often; 0 means until stopped.
        times: u32,
    },
    /// Stop what plays; no PlayEnded follows.
    StopPlay {
        /// Whose.
        leg: CallSid,
    },
    /// Say a digit to a leg by RFC 4733, for one that came by another way than its partner's stream. Nothing is said when the leg did not describe
    /// telephone-event, while it hears a prompt, or when the partner's stream said a digit just now: it passed already. To a leg with
    /// [`DigitsBy::Tones`] it is said as tones.
    Press {
        /// To whom.
        leg: CallSid,
        /// 0-9 * # A-D; another is ignored.
        digit: char,
        /// For how long.
        duration_ms: u32,
    },
    /// Copy what the leg says and hears to whoever listens to taps, until [`MediaCommand::Untap`] or the leg's end. A leg has
    /// few: see `TAPS_MAX` of the media plane; one too many is ignored.
    Tap {
        /// Whose.
        leg: CallSid,
        /// Its name.
        tap: TapId,
        /// Who listens.
        to: Listener,
        /// What it says.
        inbound: bool,
        /// What it hears.
        outbound: bool,
    },
    /// Copy no more.
    Untap {
        /// Whose.
        leg: CallSid,
        /// Which.
        tap: TapId,
    },
    /// Tell who of a room speaks, from now on, by [`MediaEvent::Speaks`]. Ignored for a room that is not there.
    WatchRoom {
        /// Which room.
        room: ConferenceSid,
    },
    /// Copy what all of a room hear who do not speak to the recorder, as the inbound track, until [`MediaCommand::UntapRoom`] or the room's
    /// end. A room has one; a new one replaces it. Ignored for a room that is not there.
    TapRoom {
        /// Which room.
        room: ConferenceSid,
        /// Its name.
        tap: TapId,
    },
    /// Copy no more.
    UntapRoom {
        /// Which room.
        room: ConferenceSid,
        /// Which.
        tap: TapId,
    },
    /// End the stream and free its ports. Answered by Closed.
    Close {
        /// Whose.
        leg: CallSid,
    },
}

/// What the media plane tells.
#[derive(Debug, Clone, PartialEq)]
pub enum MediaEvent {
    /// Ports are reserved and bound.
    Opened {
        /// Whose.
        leg: CallSid,
        /// The address to describe for RTP: the realm's advertised address when it has one.
        rtp: SocketAddr,
        /// The same for RTCP when not multiplexed.
        rtcp: SocketAddr,
        /// Of our certificate, if the plane can key by DTLS.
        fingerprint: Option<Fingerprint>,
    },
    /// No stream: ports are used up, or the realm is unknown or has no such address family.
    OpenFailed {
        /// Whose.
        leg: CallSid,
        /// Words for a person.
        why: String,
    },
    /// First packet from the source that the leg is now bound to.
    Latched {
        /// Whose.
        leg: CallSid,
        /// From where.
        source: SocketAddr,
        /// Whether it is the address that the peer described.
        as_described: bool,
    },
    /// Packets from elsewhere were dropped. At most one such event a second and leg.
    Foreign {
        /// Whose.
        leg: CallSid,
        /// The latest of the strangers.
        source: SocketAddr,
        /// How many since the last such event.
        packets: u64,
    },
    /// The peer proved itself by ICE, and nominated this source: packets go there, and come from there.
    Connected {
        /// Whose.
        leg: CallSid,
        /// From where.
        source: SocketAddr,
    },
    /// The DTLS handshake is done; audio can pass.
    Keyed {
        /// Whose.
        leg: CallSid,
        /// With whom.
        source: SocketAddr,
        /// What it settled on.
        suite: SrtpSuite,
        /// From the first packet of the handshake to its end.
        took: Duration,
    },
    /// Somebody failed to prove to be the peer: nothing of it is heard. At most one such event a second and leg.
    Unproven {
        /// Whose.
        leg: CallSid,
        /// The latest of them.
        source: SocketAddr,
        /// What was wrong with the latest, in words for a person.
        why: &'static str,
        /// How many packets or handshakes since the last such event.
        packets: u64,
    },
    /// A party that should be heard is not, for nearly two seconds. Once for each cause.
    Unheard {
        /// Whose.
        leg: CallSid,
        /// As far as its packets tell.
        why: Unheard,
        /// For how long.
        silent: Duration,
    },
    /// A party that was told as unheard is heard again, or is not expected to be.
    Heard {
        /// Whose.
        leg: CallSid,
    },
    /// The peer no longer checks the connection (RFC 7675), though ICE had settled it.
    ConsentLost {
        /// Whose.
        leg: CallSid,
        /// For how long.
        silent: Duration,
    },
    /// A digit by RFC 4733, told once, when it ends (or when its end is lost); or, from a leg whose digits are tones, when they end.
    Digit {
        /// Whose.
        leg: CallSid,
        /// 0-9 * # A-D.
        digit: char,
        /// How long it was held.
        duration_ms: u32,
    },
    /// In a room that is watched, a leg begins to speak and to be mixed, or stops: not for the pauses between words.
    Speaks {
        /// Whose.
        leg: CallSid,
        /// It begins.
        on: bool,
    },
    /// A Play finished by itself.
    PlayEnded {
        /// Whose.
        leg: CallSid,
        /// Which.
        play: PlayId,
    },
    /// Nothing was received for the configured time though the peer should send and hear; told again for each further
    /// such time. Or nothing more can be received, because the stream's media worker ended: then `silent` is zero.
    TimedOut {
        /// Whose.
        leg: CallSid,
        /// For how long.
        silent: Duration,
    },
    /// The figures so far, once a second.
    Report {
        /// Whose.
        leg: CallSid,
        /// Figures.
        report: Box<StreamReport>,
    },
    /// The stream is closed; these are its final figures.
    Closed {
        /// Whose.
        leg: CallSid,
        /// Figures.
        report: Box<StreamReport>,
    },
}

/// Why a party is not heard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unheard {
    /// Nothing came of it at all.
    Nothing,
    /// It was heard, and stopped.
    Stopped,
    /// Packets come, but not from where they may.
    Elsewhere {
        /// From where.
        source: SocketAddr,
    },
    /// Packets come, and cannot be used: a wrong key, or not what was agreed.
    Unreadable {
        /// How many were dropped.
        packets: u64,
    },
    /// Its DTLS handshake is not done.
    Unkeyed,
    /// It was asked not to send, or said that it will not.
    Held,
    /// Packets come and hold digital silence.
    Silence,
}

impl Unheard {
    /// The word for machines.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Nothing => "nothing_sent",
            Self::Stopped => "stopped",
            Self::Elsewhere { .. } => "wrong_address",
            Self::Unreadable { .. } => "wrong_key",
            Self::Unkeyed => "no_handshake",
            Self::Held => "held",
            Self::Silence => "silence",
        }
    }
}

impl std::fmt::Display for Unheard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Nothing => f.write_str(
                "no packet ever came of it: a firewall or a wrong address on that side, or it sends nothing",
            ),
            Self::Stopped => f.write_str("its packets stopped: it lost its network, or was muted by stopping"),
            Self::Elsewhere { source } => write!(f, "packets come from {source}, which is not where it may send from"),
            Self::Unreadable { packets } => {
                write!(f, "{packets} packets came that cannot be used: a wrong key, or not the agreed codec")
            }
            Self::Unkeyed => f.write_str("its DTLS handshake is not done"),
            Self::Held => f.write_str("it is on hold"),
            Self::Silence => f.write_str("its packets hold digital silence: it is muted, or has no microphone"),
        }
    }
}

impl MediaEvent {
    /// The leg that this is about.
    pub fn leg(&self) -> CallSid {
        match self {
            Self::Opened { leg, .. }
            | Self::OpenFailed { leg, .. }
            | Self::Latched { leg, .. }
            | Self::Foreign { leg, .. }
            | Self::Connected { leg, .. }
            | Self::Keyed { leg, .. }
            | Self::Unproven { leg, .. }
            | Self::Unheard { leg, .. }
            | Self::Heard { leg }
            | Self::ConsentLost { leg, .. }
            | Self::Digit { leg, .. }
            | Self::Speaks { leg, .. }
            | Self::PlayEnded { leg, .. }
            | Self::TimedOut { leg, .. }
            | Self::Report { leg, .. }
            | Self::Closed { leg, .. } => *leg,
        }
    }
}

/// Figures of one leg's stream. "Received" is from the peer, "sent" is to it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct StreamReport {
    /// RTP packets accepted from the peer.
    pub packets_received: u64,
    /// Their bytes: RTP header and payload.
    pub bytes_received: u64,
    /// RTP packets sent to the peer.
    pub packets_sent: u64,
    /// Their bytes.
    pub bytes_sent: u64,
    /// RTCP packets accepted.
    pub rtcp_received: u64,
    /// Packets that never came, by sequence numbers (RFC 3550 A.3).
    pub packets_lost: u64,
    /// Packets dropped: not from the latched source.
    pub dropped_foreign: u64,
    /// Packets dropped: malformed, wrong key, replayed.
    pub dropped_bad: u64,
    /// Interarrival jitter, milliseconds (RFC 3550 6.4.1).
    pub jitter_ms: f32,
    /// Estimated mean opinion score of what the peer sends, 1.0 to 4.5 (conversational: ITU-T G.107); none without packets.
    pub mos: Option<f32>,
    /// The rating that it is made of, at most 93.2 (R of ITU-T G.107).
    #[serde(default)]
    pub rating: Option<f32>,
    /// Of the packets that were expected in the last second, per cent lost.
    #[serde(default)]
    pub recent_loss_percent: f32,
    /// How losses lie together (RFC 3611 4.7.2); none without packets.
    #[serde(default)]
    pub bursts: Option<BurstReport>,
    /// From opening to the first accepted packet.
    pub first_packet_ms: Option<u64>,
    /// The source that the leg latched.
    pub source: Option<SocketAddr>,
    /// ICE checks of the peer that were answered.
    #[serde(default)]
    pub checks_received: u64,
    /// ICE checks and DTLS handshakes of somebody who could not prove to be the peer.
    #[serde(default)]
    pub proofs_refused: u64,
    /// RTCP packets that we sent.
    #[serde(default)]
    pub rtcp_sent: u64,
    /// To the peer and back, milliseconds, by its answers to our reports (RFC 3550 6.4.1); none when it sends none.
    #[serde(default)]
    pub round_trip_ms: Option<f32>,
    /// What the peer's reports say of the audio that it gets.
    #[serde(default)]
    pub far: Option<FarReport>,
}

/// The peer's view of what we send it, as its latest RTCP report has it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct FarReport {
    /// Packets that it lacks of the present source; negative when it got some twice.
    pub packets_lost: i64,
    /// Of those of its last interval, per cent.
    pub recent_loss_percent: f32,
    /// Interarrival jitter there, milliseconds.
    pub jitter_ms: f32,
    /// Estimated mean opinion score there, 1.0 to 4.5, by the peer's losses and jitter and the round trip.
    pub mos: Option<f32>,
    /// The mean opinion score that the peer itself tells (RFC 3611 4.7.5: conversational, else listening); none if it does not.
    pub told_mos: Option<f32>,
}

/// Losses of what the peer sends: bursts, and the gaps between them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct BurstReport {
    /// Lost within bursts, per cent.
    pub burst_density_percent: f32,
    /// Lost within gaps, per cent.
    pub gap_density_percent: f32,
    /// Mean length of a burst, milliseconds; 0 without one.
    pub burst_ms: u32,
    /// Mean length of a gap, milliseconds.
    pub gap_ms: u32,
}

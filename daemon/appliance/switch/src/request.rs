//! What the REST API, the tool and the control plane ask of the switch, and what it answers.

use std::net::{IpAddr, SocketAddr};

use postern_events::Way;
use postern_facts::{CallRecord, RecordingRecord};
use postern_router::rest::{
    ConferenceAnswer, ConferenceOrder, CreateCall, CreateRecording, RestError, StreamNoun, StreamRecord, UpdateCall,
    UpdateRecording,
};
use postern_router::{Trial, TrialOf};
use postern_types::{AccountSid, CallSid, RecordingSid, Transport, UnixMicros, UserName, mailbox::Waiting};
use serde::{Deserialize, Serialize};

/// A question or an order; answered exactly once.
#[derive(Debug)]
pub enum Request {
    /// Make a call. Answered by `Call`.
    CreateCall {
        /// For whom.
        account: AccountSid,
        /// How.
        call: Box<CreateCall>,
    },
    /// Change or end a live call. Answered by `Call`; `NotLive` when it is over or unknown.
    UpdateCall {
        /// Whose it must be.
        account: AccountSid,
        /// Which.
        sid: CallSid,
        /// What.
        update: Box<UpdateCall>,
    },
    /// Record a live leg. Answered by `Recording`; `NotLive` when the leg is over or unknown.
    CreateRecording {
        /// Whose it must be.
        account: AccountSid,
        /// Which leg.
        call: CallSid,
        /// How.
        wanted: Box<CreateRecording>,
    },
    /// Pause, resume or end a recording that is made. Answered by `Recording`; `NotLive` when it is over or unknown.
    UpdateRecording {
        /// Whose it must be.
        account: AccountSid,
        /// Of which leg.
        call: CallSid,
        /// Which; none: the newest of the leg.
        recording: Option<RecordingSid>,
        /// What.
        update: UpdateRecording,
    },
    /// Send a live leg's audio to a server. Answered by `Stream`; `NotLive` when the leg is over or unknown.
    CreateStream {
        /// Whose it must be.
        account: AccountSid,
        /// Which leg.
        call: CallSid,
        /// Where to, and what.
        wanted: Box<StreamNoun>,
    },
    /// End that. Answered by `Stream`; `NotLive` when it is over or unknown.
    StopStream {
        /// Whose it must be.
        account: AccountSid,
        /// Of which leg.
        call: CallSid,
        /// Its sid or name.
        stream: String,
    },
    /// The live legs, of one account or of all (none). Answered by `Calls`.
    LiveCalls {
        /// Whose.
        account: Option<AccountSid>,
    },
    /// One live leg, of one account or of any (none). Answered by `Call` or `NotLive`.
    FindCall {
        /// Whose it must be.
        account: Option<AccountSid>,
        /// Which.
        sid: CallSid,
    },
    /// End a whole call, by any of its legs. Answered by `Done` or `NotLive`.
    Hangup {
        /// Any leg.
        sid: CallSid,
    },
    /// Refuse new calls, or take them again; live ones go on. Answered by `Done`.
    Drain {
        /// Refuse.
        on: bool,
    },
    /// Conferences of an account. Answered by `Conference`; `NotLive` when there is no such one.
    Conference {
        /// Whose.
        account: AccountSid,
        /// What is asked, or to be done.
        order: Box<ConferenceOrder>,
    },
    /// What would become of a number. Answered by `Route`, `Refused` when the trunk is not there.
    Route(TrialOf),
    /// How the box is. Answered by `Status`.
    Status,
    /// How many voice messages wait for a user. Answered by `Messages`, or `NotLive`.
    Messages {
        /// Whose.
        user: UserName,
        /// So many from now on, and who says so.
        set: Option<(Waiting, String)>,
    },
    /// Who is banned. Answered by `Bans`.
    Bans,
    /// End the ban of the source that this address belongs to. Answered by `Done` or `NotLive`.
    LiftBan {
        /// Any address of it.
        source: IpAddr,
        /// Who asks, for the fact.
        by: String,
    },
    /// The SIP messages of a call, or all after a number. Answered by `Trace`.
    Trace(TraceOf),
}

/// Which messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TraceOf {
    /// Those of a call, named by its first leg.
    Call(CallSid),
    /// Those of all calls, and of what belongs to none, with higher numbers than this.
    Since(u64),
}

/// The answer.
#[derive(Debug)]
pub enum Reply {
    /// One leg.
    Call(Box<CallRecord>),
    /// Legs.
    Calls(Vec<CallRecord>),
    /// A recording.
    Recording(Box<RecordingRecord>),
    /// A fork of a leg's audio.
    Stream(StreamRecord),
    /// Conferences, or who is in one.
    Conference(Box<ConferenceAnswer>),
    /// It was done.
    Done,
    /// No such live call.
    NotLive,
    /// It cannot be; code and words for the REST error body.
    Refused(RestError),
    /// What would become of a number.
    Route(Box<Trial>),
    /// The box.
    Status(Box<Status>),
    /// Bans, by source.
    Bans(Vec<BanStatus>),
    /// How many wait.
    Messages(Waiting),
    /// SIP messages.
    Trace(Box<Tracing>),
}

/// SIP messages, oldest first.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Tracing {
    /// Whether any are kept at all.
    pub is_on: bool,
    /// They, secrets and all.
    pub messages: Vec<TracedMessage>,
    /// How many of the call were given up from its middle.
    pub dropped: u64,
    /// The number of the latest message of all.
    pub last: u64,
    /// Calls of which messages are kept.
    pub calls: u64,
    /// Bytes that all that is kept takes.
    pub bytes: u64,
}

/// A SIP message as it was on the wire.
#[derive(Debug, Clone, PartialEq)]
pub struct TracedMessage {
    /// Its number since the start.
    pub seq: u64,
    /// When it passed.
    pub at: UnixMicros,
    /// The call, by its first leg; none: of no call.
    pub call: Option<CallSid>,
    /// The leg.
    pub leg: Option<CallSid>,
    /// Which way it went.
    pub way: Way,
    /// By what.
    pub transport: Transport,
    /// Our address; port 0: not known.
    pub local: SocketAddr,
    /// The other's.
    pub remote: SocketAddr,
    /// What.
    pub bytes: Vec<u8>,
}

/// How the box is: `postern status`, `GET /v1/status`, and the metrics. Parts that a driver knows are filled in on the way up.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// The appliance's name.
    pub name: String,
    /// The daemon's version.
    pub version: String,
    /// Seconds since start.
    pub uptime_s: u64,
    /// Whether new calls are refused: `postern drain`.
    #[serde(default)]
    pub draining: bool,
    /// Seconds until the configuration goes back to the one before, while one is on trial.
    #[serde(default)]
    pub trial_left_s: Option<u64>,
    /// Live calls.
    pub calls: u64,
    /// Live legs.
    pub legs: u64,
    /// Calls since start.
    pub calls_total: u64,
    /// Legs that were answered since start.
    pub answered_total: u64,
    /// Legs whose audio was measured to its end.
    #[serde(default)]
    pub measured_total: u64,
    /// Of these, with a mean opinion score below 3.6 in either direction.
    #[serde(default)]
    pub poor_total: u64,
    /// How many more calls fit, by each resource; the one that ends first is the first.
    #[serde(default)]
    pub remaining: Vec<RemainingStatus>,
    /// Registered devices.
    pub devices: u64,
    /// Subscriptions to what becomes of users.
    #[serde(default)]
    pub subscriptions: u64,
    /// Users by presence: available, busy.
    pub users_available: u64,
    /// See above.
    pub users_busy: u64,
    /// Per trunk.
    pub trunks: Vec<TrunkStatus>,
    /// Where SIP is taken.
    #[serde(default)]
    pub endpoints: Vec<EndpointStatus>,
    /// SIP messages received and sent.
    pub sip_received: u64,
    /// See above.
    pub sip_sent: u64,
    /// Requests from strangers, turned away.
    pub strangers: u64,
    /// SIP messages that could not be read.
    pub malformed: u64,
    /// SIP messages dropped because their source sent too many.
    #[serde(default)]
    pub throttled: u64,
    /// SIP messages dropped because their source is banned.
    #[serde(default)]
    pub banned: u64,
    /// SIP messages dropped because the realm's access list does not have their source.
    #[serde(default)]
    pub denied: u64,
    /// Sources that are banned now.
    #[serde(default)]
    pub bans: u64,
    /// New calls and registrations refused because the switch had too much to do.
    #[serde(default)]
    pub shed: u64,
    /// Of new calls and registrations, thousandths that are refused for that now.
    #[serde(default)]
    pub shedding: u64,
    /// SIP connections open now.
    pub connections: u64,
    /// SIP connections refused since start: as many as are allowed.
    pub connections_refused: u64,
    /// SIP connections closed since start because what came was no SIP, or too much of it, or because their handshake failed.
    pub connections_broken: u64,
    /// SIP connections closed since start because nobody proved itself, or a message was not finished, in time.
    pub connections_expired: u64,
    /// SIP connections closed since start because the peer was too slow to take what was sent; filled in by the driver.
    pub connections_slow: u64,
    /// Our certificates, the one that ends first in front.
    pub certificates: Vec<CertificateStatus>,
    /// Last event's number.
    pub events_seq: u64,
    /// Media, filled in by the driver.
    pub media: MediaStatus,
    /// Spool, store and link, filled in by the drivers.
    pub delivery: DeliveryStatus,
}

/// One of our SIP addresses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndpointStatus {
    /// Its realm.
    pub realm: String,
    /// `udp`, `tcp`, `tls`, `ws` or `wss`.
    pub transport: String,
    /// Address and port, as bound.
    pub address: SocketAddr,
}

/// One ban.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BanStatus {
    /// The address, or the network of an IPv6 address.
    pub source: String,
    /// Seconds that it lasts yet.
    pub left_s: u64,
    /// The how manieth of this source.
    pub times: u32,
    /// What it did.
    pub why: String,
    /// Whether it is only slowed down: it has a registered device, or is at a trunk's address.
    pub slowed: bool,
    /// Messages dropped since it began.
    pub dropped: u64,
}

/// One trunk.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct TrunkStatus {
    /// Its name.
    pub name: String,
    /// Live legs on it.
    pub calls: u64,
    /// Its limit.
    pub calls_max: Option<u32>,
    /// What its calls take of its line, each way, kbit/s.
    #[serde(default)]
    pub kbps: u32,
    /// The most that they may; absent: no limit.
    #[serde(default)]
    pub kbps_max: Option<u32>,
    /// Calls of the trunk refused for a limit since the start.
    #[serde(default)]
    pub refused_in: u64,
    /// Calls to the trunk refused for a limit since the start; a group may have taken another.
    #[serde(default)]
    pub refused_out: u64,
    /// `up`, `down`, or `unknown` before its name was looked up.
    pub state: String,
    /// Its addresses.
    pub targets: Vec<TargetStatus>,
    /// Our registration with it, where one is configured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub registration: Option<RegistrationStatus>,
}

/// Our registration with a trunk.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct RegistrationStatus {
    /// Whether one holds now.
    pub registered: bool,
    /// The registrar that took it, or that was asked last; empty before the first.
    pub registrar: String,
    /// Seconds until it ends; it is refreshed before.
    pub left_s: u64,
    /// What came of the last try when it failed; else empty.
    pub why: String,
}

/// An address of a trunk.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct TargetStatus {
    /// Address and port.
    pub address: String,
    /// `udp`, `tcp` or `tls`.
    pub transport: String,
    /// `up`, `rests` (it is tried last) or `down`.
    pub state: String,
    /// Why it is not up; else empty.
    pub why: String,
}

/// A certificate of ours.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct CertificateStatus {
    /// The realm or trunk whose it is.
    pub of: String,
    /// Its file.
    pub file: String,
    /// When it ends, seconds since 1970.
    pub expires: u64,
    /// Whole days until then; 0 when it has ended.
    pub days: u64,
}

/// What a packet costs a media worker on this machine.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct CalibrationStatus {
    /// CPU time for a packet received and sent on by sockets, microseconds.
    pub us_per_packet: f64,
    /// With so many legs.
    pub legs: u64,
    /// Calls of two legs with 50 packets a second each that one worker takes within `media.busy_max`, by sockets.
    pub calls_per_worker: u64,
}

/// How many more calls fit, as far as one resource goes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemainingStatus {
    /// Of what, in words.
    pub of: String,
    /// So many calls.
    pub calls: u64,
}

/// The media plane.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct MediaStatus {
    /// Open streams.
    pub streams: u64,
    /// Ports that can still be used.
    pub ports_free: u64,
    /// Packets received since start.
    pub packets_received: u64,
    /// Packets sent since start.
    pub packets_sent: u64,
    /// Of both, packets that the kernel forwarded by itself.
    #[serde(default)]
    pub packets_forwarded: u64,
    /// Directions of calls that the kernel forwards by itself now.
    #[serde(default)]
    pub flows: u64,
    /// Whether the kernel has that part (`media.fast_path`).
    #[serde(default)]
    pub fast_path: bool,
    /// Why not, or what is left out of it; may be empty.
    #[serde(default)]
    pub fast_path_why: String,
    /// Whether G.729 is converted: this machine has its library.
    #[serde(default)]
    pub g729: bool,
    /// Packets dropped since start: foreign, malformed, unsendable.
    pub packets_dropped: u64,
    /// CPU time of the workers per packet received, microseconds, over the last seconds.
    pub us_per_packet: Option<f64>,
    /// The busiest worker's share of its CPU in the last second, per cent; `media.busy_max` is its bound for new calls.
    #[serde(default)]
    pub busy_percent: f64,
    /// What a packet was found to cost at the start; none: it could not be measured.
    #[serde(default)]
    pub calibrated: Option<CalibrationStatus>,
    /// Packets that the kernel did not send: no route, the peer's port is closed, a full socket.
    pub send_errors: u64,
    /// Times that packets waited in their sockets because every buffer was in use.
    pub receive_starved: u64,
    /// Packets longer than a buffer, dropped.
    pub truncated: u64,
    /// Commands to workers and events of theirs that were given up because too many waited.
    pub messages_lost: u64,
    /// Workers at work.
    pub workers: u64,
    /// Times that a worker ended by itself.
    pub workers_failed: u64,
}

/// What became of events and records.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct DeliveryStatus {
    /// `none`, `up` or `down`.
    pub link: String,
    /// Events in the spool that the control plane has not acknowledged.
    pub spool_waiting: u64,
    /// Bytes in the spool.
    pub spool_bytes: u64,
    /// Events acknowledged by the control plane since start.
    pub published: u64,
    /// Journal lines dropped because journald was too slow.
    pub journal_dropped: u64,
    /// Records in the store.
    pub records: u64,
}

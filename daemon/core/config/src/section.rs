//! The sections, typed. A value here has been checked: names refer to something, ranges do not overlap, files were readable.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use postern_types::{AccountSid, AppName, E164, RealmName, Secret, TrunkName, UserName, stream::Codec};
use serde::Serialize;

/// The whole document.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Config {
    /// `appliance:`
    pub appliance: Appliance,
    /// `realms:`
    pub realms: BTreeMap<RealmName, Realm>,
    /// `trunks:`
    pub trunks: BTreeMap<TrunkName, Trunk>,
    /// `users:`
    pub users: BTreeMap<UserName, User>,
    /// `numbers:` what a dialed number maps to.
    pub numbers: BTreeMap<E164, NumberRoute>,
    /// `routes:` for dialed strings that are no configured number; the first match wins.
    pub routes: Vec<Route>,
    /// `applications:`
    pub applications: BTreeMap<AppName, Application>,
    /// `accounts:` by the admin's name for them.
    pub accounts: BTreeMap<String, Account>,
    /// `media:`
    pub media: Media,
    /// `api:`; none: no REST API over TCP (the tool's socket in the runtime folder is always there).
    pub api: Option<Api>,
    /// `control_plane:`; none: works alone.
    pub control_plane: Option<ControlPlane>,
    /// `log:`
    pub log: Log,
}

/// The box itself.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Appliance {
    /// Its name: source of its events, subject of its commands. `[A-Za-z0-9_-]{1,63}`.
    pub name: String,
    /// Durable state: spool, store.
    pub state_folder: PathBuf,
    /// The tool's socket `postern.sock`.
    pub runtime_folder: PathBuf,
    /// Bound of the event spool, megabytes.
    pub spool_mb: u64,
    /// Finished calls kept in the store at most.
    pub records_max: u64,
}

/// Named local addresses: one side of the border.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Realm {
    /// Where SIP over UDP is served; at most one IPv4 and one IPv6 address.
    pub signaling: Vec<SocketAddr>,
    /// Where RTP is served.
    pub media: RealmMedia,
    /// The IPv4 address that the outside knows us by (static NAT): written into SIP and SDP in place of the IPv4 addresses.
    pub advertised: Option<Ipv4Addr>,
    /// Whether client users may register here.
    pub registrations: bool,
    /// Whether calls to free SIP URIs (`<Dial><Sip>`) leave here. At most one realm.
    pub uri_calls: bool,
}

/// Addresses and ports of a realm's media.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RealmMedia {
    /// At most one of each family.
    pub ipv4: Option<Ipv4Addr>,
    /// See `ipv4`.
    pub ipv6: Option<Ipv6Addr>,
    /// First port, even.
    pub port_first: u16,
    /// Last port, included.
    pub port_last: u16,
}

/// How SRTP is used with a peer (SDES keys).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum SrtpMode {
    /// Plain RTP only.
    #[default]
    Off,
    /// Taken when offered, not offered by us.
    Accept,
    /// Offered and demanded.
    Required,
}

/// A trunk to a carrier or PBX.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Trunk {
    /// The realm it is reached from.
    pub realm: RealmName,
    /// Where its calls are sent: host (name or address) and port.
    pub address: Address,
    /// Sources that are this trunk: addresses and prefixes. The numeric `address` is always one.
    pub sources: Vec<Prefix>,
    /// Credentials by which we answer its challenges.
    pub credentials: Option<Credentials>,
    /// Credentials that it must prove to us, besides coming from its sources.
    pub demands: Option<Credentials>,
    /// Codecs allowed, in order of preference; empty allows all.
    pub codecs: Vec<Codec>,
    /// SRTP.
    pub srtp: SrtpMode,
    /// Calls at once at most; none: no limit.
    pub calls_max: Option<u32>,
}

/// Host and port.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub struct Address {
    /// A name or a numeric address, without brackets.
    pub host: String,
    /// UDP port.
    pub port: u16,
}

/// An address prefix: `192.0.2.0/24`, `2001:db8::/32`, or a single address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
pub struct Prefix {
    /// Network address; bits after `length` are zero.
    pub address: IpAddr,
    /// Leading bits that count.
    pub length: u8,
}

impl Prefix {
    /// Whether `address` lies in it. An IPv4-mapped IPv6 address counts as its IPv4 address.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(net), IpAddr::V4(host)) => {
                let shift = 32 - u32::from(self.length.min(32));
                shift == 32 || (u32::from(net) >> shift) == (u32::from(host) >> shift)
            }
            (IpAddr::V6(net), IpAddr::V6(host)) => {
                let shift = 128 - u32::from(self.length.min(128));
                shift == 128 || (u128::from(net) >> shift) == (u128::from(host) >> shift)
            }
            _ => false,
        }
    }
}

/// A username and its password.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Credentials {
    /// As sent in the clear.
    pub username: String,
    /// Never shown.
    pub password: Secret<String>,
}

/// A person's or device's account for registering and calling.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct User {
    /// Digest password.
    pub password: Secret<String>,
    /// Devices at once at most.
    pub devices_max: u32,
    /// The number shown when this user calls out over a trunk; none: its name.
    pub caller_id: Option<E164>,
    /// Codecs allowed, in order of preference; empty allows all.
    pub codecs: Vec<Codec>,
    /// SRTP.
    pub srtp: SrtpMode,
}

/// What a configured number does.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct NumberRoute {
    /// Where its calls go.
    pub to: Destination,
    /// How long it rings at a user or trunk before no-answer.
    pub timeout: Duration,
}

/// Where a call goes.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Destination {
    /// All devices of a user.
    User(UserName),
    /// Out over a trunk, the dialed number kept.
    Trunk(TrunkName),
    /// The program that an application server returns.
    Application(AppName),
}

/// A rule for dialed strings that are no configured number.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Route {
    /// Shown by `explain`.
    pub name: String,
    /// Who may use it.
    pub from: RouteFrom,
    /// The dialed string must start with this.
    pub prefix: String,
    /// Characters taken off its front.
    pub strip: usize,
    /// Put in front afterwards.
    pub prepend: String,
    /// Where to.
    pub to: Destination,
    /// How long it rings before no-answer.
    pub timeout: Duration,
}

/// Whose calls a route takes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum RouteFrom {
    /// Client users, and calls made by documents and REST.
    Users,
    /// One trunk.
    Trunk(TrunkName),
    /// Everybody who is known.
    Any,
}

/// A program: the application server's URLs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Application {
    /// The tenant on whose behalf it runs.
    pub account: AccountSid,
    /// Asked first.
    pub voice_url: String,
    /// How.
    pub voice_method: HttpMethod,
    /// Asked when the first fails.
    pub voice_fallback_url: Option<String>,
    /// How.
    pub voice_fallback_method: HttpMethod,
    /// Told of call progress.
    pub status_callback: Option<String>,
    /// How.
    pub status_callback_method: HttpMethod,
    /// Of which events: `initiated`, `ringing`, `answered`, `completed`.
    pub status_callback_events: Vec<CallbackEvent>,
}

/// GET or POST.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum HttpMethod {
    /// Parameters in the query.
    Get,
    /// Parameters as a form.
    #[default]
    Post,
}

/// Events of call progress.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum CallbackEvent {
    /// The call was made.
    Initiated,
    /// It rings.
    Ringing,
    /// It was answered.
    Answered,
    /// It is over.
    Completed,
}

/// A tenant of the REST API.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Account {
    /// `AC…`, the user of Basic authentication.
    pub sid: AccountSid,
    /// Its password, and the key of callback signatures.
    pub token: Secret<String>,
}

/// The media plane.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Media {
    /// CPUs that media workers are pinned to, one worker each; empty: one worker on the last CPU.
    pub workers: Vec<usize>,
    /// How long after an (re-)offer a new source may still be latched.
    pub latch_window: Duration,
    /// How long a sending party may be silent before its call is ended.
    pub timeout: Duration,
    /// How long a port rests after use.
    pub quarantine: Duration,
    /// Folders below which `Play` may read local WAV files; empty: none.
    pub prompt_folders: Vec<PathBuf>,
}

/// The REST API, event stream and metrics over TCP.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Api {
    /// Where.
    pub listen: SocketAddr,
}

/// The connection to the control plane.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ControlPlane {
    /// `nats://host:port` or `tls://host:port`.
    pub url: String,
    /// JetStream stream that takes the events; made when missing.
    pub stream: String,
    /// Key-value bucket of presence; made when missing.
    pub presence_bucket: String,
    /// Token, or user and password.
    pub token: Option<Secret<String>>,
    /// A NATS credentials file (.creds).
    pub credentials_file: Option<PathBuf>,
    /// CA certificates for `tls://`, PEM; none: the system's.
    pub ca_file: Option<PathBuf>,
}

/// What is written to the journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Log {
    /// Facts of at least this level: `debug`, `info`, `notice`, `warning`, `error`.
    pub level: LogLevel,
    /// `auto` (journal when connected to it, else stderr), `journal`, `stderr`.
    pub to: LogTarget,
}

/// Least level that is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    /// Everything.
    Debug,
    /// Normal work.
    #[default]
    Info,
    /// Worth seeing.
    Notice,
    /// Something to look at.
    Warning,
    /// Something is broken.
    Error,
}

/// Where it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LogTarget {
    /// The journal when systemd connected us to it, else stderr.
    #[default]
    Auto,
    /// The journal.
    Journal,
    /// Lines for a person.
    Stderr,
}

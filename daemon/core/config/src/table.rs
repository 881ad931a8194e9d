//! Every key of the document, once: the readers take their checks and defaults from here, docs/CONFIGURATION.md its reference.

/// What a key takes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Kind {
    /// Further keys with fixed names.
    Section,
    /// Further keys, whose names the admin chooses.
    Named(&'static str),
    /// A list of sections.
    Sections,
    /// Any text without control characters.
    Text,
    /// A name: letters, digits, `.`, `_`, `-`.
    Name,
    /// `true` or `false`.
    Flag,
    /// A whole number.
    Integer { min: u64, max: u64 },
    /// A duration with a unit, from and to these milliseconds.
    Duration { min_ms: u64, max_ms: u64 },
    /// One of these words.
    Choice(&'static [&'static str]),
    /// A path, relative to the folder of the file.
    Path,
    /// A password or token: text, `{file: PATH}` or `{credential: NAME}`.
    Secret,
    /// A number in international form.
    E164,
    /// A part of a dialed number: `+`, digits, `*`, `#`.
    Dialed,
    /// An URL with one of these schemes.
    Url(&'static [&'static str]),
    /// A numeric address and a port; 5060 without one where `port_optional`.
    Socket { port_optional: bool },
    /// A host and a port, 5060 without one.
    Host,
    /// A numeric address.
    Address,
    /// A numeric IPv4 address.
    Ipv4,
    /// An address prefix.
    Prefix,
    /// A range of ports.
    Ports,
    /// A code point of differentiated services.
    Dscp,
    /// A codec's name.
    Codec,
    /// An account's SID.
    Sid,
    /// A name of NATS: no blanks, dots or wildcards.
    NatsName,
    /// The name of an entry of that section.
    Reference(&'static str),
    /// A mapping with one of these keys, each a name of the section beside it.
    Target(&'static [(&'static str, &'static str)]),
    /// Who may use a route.
    From,
    /// Hours and minutes.
    TimeOfDay,
    /// A day of a year.
    Date,
    /// A name of the time zone database.
    TimeZone,
}

/// What holds when a key is left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Otherwise {
    /// The file is refused.
    Required,
    /// As if this had been written.
    Value(&'static str),
    /// What these words say.
    Words(&'static str),
}

/// One key.
#[derive(Debug)]
pub(crate) struct Row {
    /// From the top, `*` for a name that the admin chooses and for an item of a list.
    pub path: &'static str,
    /// What it takes.
    pub kind: Kind,
    /// Whether several may be written, as a list.
    pub list: bool,
    /// When left out.
    pub otherwise: Otherwise,
    /// What it is for.
    pub meaning: &'static str,
    /// A value as it may be written.
    pub example: &'static str,
}

impl Row {
    /// The last part of the path.
    pub fn key(&self) -> &'static str {
        self.path.rsplit('.').next().unwrap_or(self.path)
    }
    /// The path without its last part; empty at the top.
    pub fn parent(&self) -> &'static str {
        self.path.rsplit_once('.').map_or("", |(parent, _)| parent)
    }
}

/// The keys below a path, in the order of the reference.
pub(crate) fn below(path: &str) -> impl Iterator<Item = &'static Row> {
    ROWS.iter().filter(move |row| row.parent() == path && row.key() != "*")
}

/// The row of a key. Readers only ask for keys that are in the table; the tests read every section.
pub(crate) fn row(parent: &str, key: &str) -> &'static Row {
    ROWS.iter()
        .find(|row| row.key() == key && row.parent() == parent)
        .unwrap_or_else(|| unreachable!("the table has no `{parent}.{key}`"))
}

use Kind::*;
use Otherwise::*;

use crate::workarounds::NAMES as WORKAROUNDS;

const SECOND: u64 = 1000;
const MINUTE: u64 = 60 * SECOND;
/// Where a call may be sent by a route.
const TARGETS: &[(&str, &str)] = &[
    ("user", "users"),
    ("trunk", "trunks"),
    ("group", "groups"),
    ("table", "tables"),
    ("application", "applications"),
];
const SRTP: &[&str] = &["off", "accept", "required", "dtls", "webrtc"];
const TRANSPORTS: &[&str] = &["udp", "tcp", "tls", "ws", "wss"];
const TRANSPORTS_OF_TRUNKS: &[&str] = &["udp", "tcp", "tls"];
const FAST_PATH: &[&str] = &["auto", "off", "required"];
const LATCHING: &[&str] = &["window", "strict"];
const METHODS: &[&str] = &["GET", "POST"];
const HTTP: &[&str] = &["http", "https"];
/// How long something may ring: 180 s is SIP's own limit for a proxied INVITE (timer C), ten minutes is for queues and people who hunt.
const RINGING: Kind = Duration { min_ms: SECOND, max_ms: 10 * MINUTE };

const fn one(
    path: &'static str,
    kind: Kind,
    otherwise: Otherwise,
    example: &'static str,
    meaning: &'static str,
) -> Row {
    Row { path, kind, list: false, otherwise, meaning, example }
}

const fn many(
    path: &'static str,
    kind: Kind,
    otherwise: Otherwise,
    example: &'static str,
    meaning: &'static str,
) -> Row {
    Row { path, kind, list: true, otherwise, meaning, example }
}

const REFER: &[&str] = &["refuse", "terminate", "relay"];
const DTMF: &[&str] = &["rfc4733", "info", "inband"];
const RECEIVED: &[&str] = &["as_is", "e164"];
const SENT: &[&str] = &["as_is", "digits", "national"];
const SIDES: &[&str] = &["received_called", "received_caller", "sent_called", "sent_caller"];
const VERIFY: &[&str] = &["off", "tag", "refuse"];
const UNREACHABLE: &[&str] = &["pass", "refuse"];
const ATTESTATIONS: &[&str] = &["A", "B", "C"];
const HEADER_SIDES: &[&str] = &["received_request", "received_response", "sent_request", "sent_response"];
pub(crate) const HEADER_METHODS: &[&str] =
    &["INVITE", "ACK", "BYE", "UPDATE", "PRACK", "INFO", "MESSAGE", "REFER", "NOTIFY", "OPTIONS", "REGISTER"];
const REL100: &[&str] = &["off", "supported", "required"];
const SESSION_TIMERS: &[&str] = &["off", "supported", "always"];
/// NATs forget a silent UDP flow after 30 s at the earliest (RFC 4787 leaves 2 minutes); who wants more than a day wants none.
const LEASE: Kind = Duration { min_ms: 30 * SECOND, max_ms: 24 * 60 * MINUTE };
/// RFC 4028 4 allows no less than 90 s; who wants more than a day wants none.
const SESSION_INTERVAL: Kind = Duration { min_ms: 90 * SECOND, max_ms: 24 * 60 * MINUTE };

/// The document, top to bottom.
#[rustfmt::skip]
pub(crate) const ROWS: &[Row] = &[
    one("appliance", Section, Required, "", "The box itself."),
    one("appliance.name", Name, Required, "edge-1", "Name of this box: the source of its events and the subject of its commands. Letters, digits, `_` and `-`, at most 63."),
    one("appliance.state_folder", Path, Value("/var/lib/postern"), "/var/lib/postern", "Where what must last is kept: event spool and store."),
    one("appliance.runtime_folder", Path, Value("/run/postern"), "/run/postern", "Where the socket of the `postern` tool is made."),
    one("appliance.spool_mb", Integer { min: 1, max: 1_048_576 }, Value("1024"), "1024", "Size of the event spool at most, megabytes. When full, the oldest events leave and every reader is told of the gap."),
    one("appliance.spool_days", Integer { min: 1, max: 3650 }, Value("30"), "7", "Days that an event stays in the spool at most, whether it was delivered or not; older ones leave in the same way."),
    one("appliance.records_max", Integer { min: 0, max: 100_000_000 }, Value("100000"), "100000", "Finished calls kept in the store at most; the oldest leave first."),
    one("realms", Named("realm"), Required, "", "Sides of the border: each realm is a set of local addresses that face one network."),
    many("realms.*.signaling", Socket { port_optional: true }, Required, "[192.0.2.10:5060, \"[2001:db8::10]:5060\"]", "Where SIP over UDP is served: at most one IPv4 and one IPv6 address, port 5060 when none is written. With other transports it is a mapping of the keys below."),
    many("realms.*.signaling.udp", Socket { port_optional: true }, Words("no UDP"), "192.0.2.10:5060", "The same, beside other transports."),
    many("realms.*.signaling.tcp", Socket { port_optional: true }, Words("no TCP"), "192.0.2.10:5060", "Where SIP over TCP is served: at most one IPv4 and one IPv6 address."),
    one("realms.*.signaling.tls", Section, Words("no TLS"), "", "SIP over TLS 1.2 and 1.3."),
    many("realms.*.signaling.tls.address", Socket { port_optional: false }, Required, "192.0.2.10:5061", "Where; usually port 5061."),
    one("realms.*.signaling.tls.certificate", Path, Required, "/etc/postern/sip.pem", "Our certificate and behind it its issuers, PEM. `postern reload` reads it again; connections go on."),
    one("realms.*.signaling.tls.key", Path, Required, "/etc/postern/sip.key", "Its private key, PEM without a passphrase."),
    one("realms.*.signaling.tls.client_ca", Path, Words("clients need no certificate"), "/etc/postern/clients.pem", "Clients must show a certificate of one of these authorities, PEM (mutual TLS)."),
    one("realms.*.signaling.ws", Section, Words("no WebSocket"), "", "SIP over WebSocket (RFC 7118)."),
    many("realms.*.signaling.ws.address", Socket { port_optional: false }, Required, "192.0.2.10:8088", "Where; any path."),
    many("realms.*.signaling.ws.origins", Text, Words("any web page's"), "[\"https://phone.example\"]", "Of which web pages connections are taken (the Origin that browsers send); who sends none is no browser and is taken."),
    one("realms.*.signaling.wss", Section, Words("no secure WebSocket"), "", "SIP over WebSocket over TLS."),
    many("realms.*.signaling.wss.address", Socket { port_optional: false }, Required, "192.0.2.10:8443", "Where; any path."),
    one("realms.*.signaling.wss.certificate", Path, Required, "/etc/postern/sip.pem", "As for `tls`."),
    one("realms.*.signaling.wss.key", Path, Required, "/etc/postern/sip.key", "As for `tls`."),
    one("realms.*.signaling.wss.client_ca", Path, Words("clients need no certificate"), "/etc/postern/clients.pem", "As for `tls`."),
    many("realms.*.signaling.wss.origins", Text, Words("any web page's"), "[\"https://phone.example\"]", "As for `ws`."),
    one("realms.*.media", Section, Words("addresses and ports as below"), "", "Where RTP is served."),
    many("realms.*.media.addresses", Address, Words("the addresses of `signaling`"), "[192.0.2.10, \"2001:db8::10\"]", "Local addresses for RTP: at most one IPv4 and one IPv6."),
    one("realms.*.media.ports", Ports, Value("20000-29999"), "20000-29999", "Ports for RTP and RTCP, both ends included; the first is even. A call takes two on each of its sides. Realms that share an address must not share ports."),
    one("realms.*.media.dscp", Dscp, Value("EF"), "EF", "How routers are asked to treat RTP and RTCP that leave here (the code point of differentiated services in each packet, IPv4 and IPv6, also of those that the kernel forwards): a name as `EF`, `AF41`, `CS5` or `BE`, or a number from 0 to 63."),
    one("realms.*.signaling_dscp", Dscp, Value("AF31"), "CS3", "The same for SIP, over each transport. A change takes effect at the next start."),
    one("realms.*.advertised", Ipv4, Words("none: local addresses are told"), "203.0.113.7", "The IPv4 address under which the outside knows this realm (static NAT): written into SIP and SDP in place of the local IPv4 addresses."),
    one("realms.*.registrations", Flag, Value("false"), "true", "Whether users may register and call from here. To say for how long, it is a mapping of the keys below."),
    one("realms.*.registrations.expires", LEASE, Value("1h"), "30m", "The longest that a registration holds without being refreshed; a device that asks for less gets that, a minute at least."),
    one("realms.*.registrations.behind_nat", LEASE, Words("as `expires`"), "90s", "The same for a device behind NAT, which is one whose `Via` is not the address and port that it is heard from: it refreshes in time to keep the way to it open. Refreshes that change nothing cost no write to the disk. A device that keeps its way open by itself (RFC 5626) is not concerned."),
    one("realms.*.uri_calls", Flag, Value("false"), "true", "Whether calls to free SIP addresses (`<Dial><Sip>`) leave here. At most one realm."),
    many("realms.*.allow", Prefix, Words("everybody who is not denied"), "[10.0.0.0/8, \"2001:db8::/32\"]", "Who may speak here besides its trunks: when it is written, nobody else. Of several prefixes of `allow` and `deny` that a source lies in, the longest decides. What others send is dropped unread."),
    many("realms.*.deny", Prefix, Words("nobody"), "[203.0.113.0/24]", "Who may not. Its trunks always may."),
    one("realms.*.session_timer", Section, Words("as below"), "", "Session timers (RFC 4028) with devices and free addresses, which have no trunk: how a call is noticed whose other end is gone without a word."),
    one("realms.*.session_timer.mode", Choice(SESSION_TIMERS), Value("supported"), "always", "`off`; `supported`: asked for and agreed to, and a peer that does not know them has none; or `always`: such a peer, too, is asked in the same rhythm whether it still has the call."),
    one("realms.*.session_timer.expires", SESSION_INTERVAL, Value("30m"), "30m", "The interval that we ask for, and the longest that we agree to. We refresh at half of it wherever the peer leaves that to us."),
    one("realms.*.session_timer.min", SESSION_INTERVAL, Value("90s"), "90s", "The shortest interval that we agree to; what asks for less is told so (422)."),
    many("realms.*.emergency", Dialed, Words("none"), "[\"112\", \"110\"]", "Numbers that no limit, drain or fault of a trunk keeps from being tried: calls of its users and trunks to them, as they are dialed or as they are after `numbering`, and calls that leave over its trunks. They need a number or route as others do."),
    one("realms.*.numbering", Reference("numbering"), Words("numbers stay as they are"), "de", "How its devices write numbers: what its users dial is changed on the way in, callers that they are shown on the way out."),
    many("realms.*.codecs", Codec, Words("all that the parties agree on"), "[PCMA, PCMU]", "Codecs allowed, best first, with its trunks and users that have no `codecs` of their own, and with free addresses that are called from here."),
    many("realms.*.codecs_stripped", Codec, Words("none"), "[G729]", "Codecs that are left out with everybody there, while all others pass."),

    one("trunks", Named("trunk"), Words("no trunks"), "", "SIP trunks to carriers and PBXs."),
    one("trunks.*.realm", Reference("realms"), Required, "carrier", "The realm that it is reached from."),
    many("trunks.*.address", Host, Required, "[sip1.carrier.example, \"198.51.100.2:5060\"]", "Where calls to it are sent: a name or an address. A name without a port is looked up by NAPTR and SRV, else its addresses have port 5060, 5061 with TLS. Of several the first that lives is taken."),
    one("trunks.*.transport", Choice(TRANSPORTS_OF_TRUNKS), Words("what DNS says of a name; `udp`"), "tls", "What calls to it are sent by: `udp`, `tcp` or `tls`. Its own calls are taken by any transport of the realm, but a trunk with `tls` is known by TLS only."),
    one("trunks.*.large_over_tcp", Flag, Value("false"), "false", "Whether a request of more than 1300 bytes, too large for one UDP packet, goes to this UDP trunk by TCP."),
    one("trunks.*.tls", Section, Words("the system's authorities, the name of its address"), "", "How TLS is spoken to it."),
    one("trunks.*.tls.ca", Path, Words("the system's authorities"), "/etc/postern/carrier-ca.pem", "The authorities that its certificate must be of, PEM."),
    one("trunks.*.tls.name", Text, Words("the host of `address`"), "sip.carrier.example", "The name that its certificate must have, and that it is asked for (SNI)."),
    one("trunks.*.tls.verify", Flag, Value("true"), "true", "Whether its certificate is checked. Without that, encryption keeps out only those who merely listen."),
    one("trunks.*.tls.certificate", Path, Words("none is shown"), "/etc/postern/sip.pem", "Our certificate for a trunk that asks for one, PEM."),
    one("trunks.*.tls.key", Path, Words("none"), "/etc/postern/sip.key", "Its private key, PEM."),
    one("trunks.*.failover", Section, Words("as below"), "", "When a call goes on to the trunk's next address, or to the next trunk of its group."),
    many("trunks.*.failover.statuses", Integer { min: 400, max: 599 }, Words("408, 500, 502, 503 and 504"), "[404, 408, 503]", "Answers that another may answer better. What the callee meant (486, 487, 600 and above) and challenges (401, 407) never count."),
    one("trunks.*.failover.after", Duration { min_ms: 500, max_ms: 32 * SECOND }, Value("4s"), "2s", "How long an address that says nothing at all is waited for, when there is another."),
    one("trunks.*.failover.rest", Duration { min_ms: 0, max_ms: 60 * MINUTE }, Value("30s"), "1m", "How long an address that said nothing, or could not be reached, is tried last. A 503 with Retry-After says it itself."),
    one("trunks.*.probe", Section, Words("calls find out"), "", "OPTIONS to each address, so that one that is down is known before a call meets it. Any answer but 408 and 5xx says that it lives."),
    one("trunks.*.probe.every", Duration { min_ms: SECOND, max_ms: 60 * MINUTE }, Value("30s"), "60s", "How often an address that answers is asked, a tenth more or less by chance."),
    one("trunks.*.probe.again", Duration { min_ms: 500, max_ms: 10 * MINUTE }, Value("5s"), "2s", "How often one that did not answer, or is down, is asked."),
    one("trunks.*.probe.patience", Duration { min_ms: 100, max_ms: 32 * SECOND }, Value("2s"), "1s", "How long an answer is waited for."),
    one("trunks.*.probe.fails", Integer { min: 1, max: 100 }, Value("3"), "2", "Failures in a row after which it is down."),
    one("trunks.*.probe.successes", Integer { min: 1, max: 100 }, Value("2"), "3", "Answers in a row after which it is up again."),
    one("trunks.*.register", Section, Words("it knows where we are"), "", "We register with it (RFC 3261 10), so that it finds us: refreshed in time, tried again for ever, and taken back at the end."),
    one("trunks.*.register.user", Text, Required, "customer-17", "User part of the address that is registered."),
    one("trunks.*.register.domain", Text, Words("the host of `address`"), "carrier.example", "Its domain. Calls to this trunk are from an address of this domain."),
    one("trunks.*.register.contact", Text, Words("`user`"), "customer-17", "User part of our contact. A call to it is this trunk's, and its dialed number is taken from To. Several trunks may have one source when each has a contact of its own."),
    one("trunks.*.register.expires", Duration { min_ms: MINUTE, max_ms: 7 * 24 * 60 * MINUTE }, Value("1h"), "10m", "How long a registration is asked for. The trunk may grant less, or demand more (423)."),
    many("trunks.*.sources", Prefix, Words("its addresses"), "[198.51.100.0/28, 198.51.100.77]", "Addresses and prefixes that calls of this trunk come from. A numeric `address` always counts, and so do the addresses that a name has now. In one realm a source belongs to one trunk only."),
    one("trunks.*.credentials", Section, Words("none"), "", "How we answer when the trunk asks who we are (digest)."),
    one("trunks.*.credentials.username", Text, Required, "customer-17", "User name."),
    one("trunks.*.credentials.password", Secret, Required, "{credential: trunk_acme}", "Password."),
    one("trunks.*.demands", Section, Words("the source address is enough"), "", "What the trunk must prove to us (digest), besides coming from its sources."),
    one("trunks.*.demands.username", Text, Required, "acme", "User name."),
    one("trunks.*.demands.password", Secret, Required, "{file: secrets/acme}", "Password."),
    many("trunks.*.codecs", Codec, Words("those of its realm"), "[PCMA, PCMU]", "Codecs allowed, best first: in this order they are offered to it; all others are left out of what it offers and answers. A call that is left without any is refused with 488."),
    many("trunks.*.codecs_stripped", Codec, Words("those of its realm"), "[G729]", "Codecs that are left out, besides those of its realm, while all others pass."),
    one("trunks.*.srtp", Choice(SRTP), Value("off"), "required", "Encrypted audio: `off`, `accept` when offered (SDES keys or DTLS), `required` (SDES keys are offered), `dtls` (DTLS-SRTP and nothing else), or `webrtc` (DTLS-SRTP over ICE, for browsers)."),
    one("trunks.*.latching", Choice(LATCHING), Value("window"), "strict", "Whose audio is taken for the trunk's: `window`, from anywhere for `media.latch_window` (NAT), the address that it described winning whenever it shows up; or `strict`, only from that address: right for a trunk without NAT."),
    one("trunks.*.dtmf", Choice(DTMF), Value("rfc4733"), "info", "How digits are told: `rfc4733`, in the stream where both sides describe it, a digit that comes by INFO counting as well; `info`, by INFO (application/dtmf-relay) both ways and never in the stream; or `inband`, as tones in the audio, which are listened for and made. Converted for the other party. `inband` costs a call what conversion of codecs costs, and 40 to 60 ms of delay."),
    one("trunks.*.refer", Choice(REFER), Value("refuse"), "terminate", "Whether it may transfer the other party of its calls to a number or user (REFER, RFC 3515): `refuse`, with 405; `terminate`: this box dials whom the `routes` let it call itself, tells it how that goes, and joins the two that stay; or `relay`: the other party is asked to call that number or user through this box, by its own rights, and what it tells is passed back; nothing else of the REFER is. In a call of an application `relay` is as `terminate`. With Replaces (RFC 3891, attended transfer) it joins whom it talks with in two calls through this box, and an INVITE of its own takes the place of one of its legs; what is another party's is not there for it (481). The leg that runs a document stays with it."),
    one("trunks.*.calls_max", Integer { min: 1, max: 1_000_000 }, Words("no limit"), "200", "Calls at once at most, both directions together."),
    one("trunks.*.trusted", Flag, Value("false"), "true", "Whether it belongs to those who are told who calls, and are believed (RFC 3325): P-Asserted-Identity, Privacy, Diversion, History-Info and P-Early-Media are read and sent, numbers and names only, under our address. Otherwise From is all that is taken and given, and `anonymous` when the caller is withheld."),
    one("trunks.*.limits", Section, Words("`calls_max` alone"), "", "What it may carry. A call to it that is over a limit goes to the next trunk of its group; `trunk.limited` tells of it once a minute."),
    one("trunks.*.limits.calls_in", Integer { min: 1, max: 1_000_000 }, Words("no limit"), "100", "Calls of the trunk at once at most."),
    one("trunks.*.limits.calls_out", Integer { min: 1, max: 1_000_000 }, Words("no limit"), "100", "Calls to the trunk at once at most."),
    one("trunks.*.limits.rate_in", Integer { min: 1, max: 10_000 }, Words("no limit"), "20", "Calls of the trunk a second at most."),
    one("trunks.*.limits.rate_out", Integer { min: 1, max: 10_000 }, Words("no limit"), "20", "Calls to the trunk a second at most."),
    one("trunks.*.limits.burst", Integer { min: 1, max: 100_000 }, Words("as many as come in a second"), "50", "Calls that may come at once before a rate holds them."),
    one("trunks.*.limits.bandwidth_max", Integer { min: 24, max: 100_000_000 }, Words("no limit"), "2000", "What all its calls may take of its line at most, each way, in kbit/s: audio with RTP, UDP and IP headers, so 80 for G.711 and 24 for G.729, 20 ms a packet, over IPv4. A call counts as one of the trunk's first codec (G.711 where it names none) until its own is known."),
    one("trunks.*.limits.status", Integer { min: 480, max: 606 }, Words("503"), "503", "What a call of the trunk hears that is over a limit, `calls_max` included."),
    many("trunks.*.emergency", Dialed, Words("those of its realm"), "[\"112\"]", "Emergency numbers in addition to those of its realm."),
    one("trunks.*.numbering", Reference("numbering"), Words("numbers stay as they are"), "de", "How it writes numbers, dialed ones and callers'."),
    one("trunks.*.overload_control", Flag, Value("false"), "true", "Whether it is asked to say how many calls it wants less (`oc` of Via, RFC 7339, by loss), and heeded: of the calls to an address that says 20, a fifth goes to the next address or trunk at once, or fails with 503, but for emergency calls. A trunk that asks us is always told."),
    one("trunks.*.subscribes", Flag, Value("false"), "true", "Whether it may subscribe to whether `watchable` users are there (presence) and in a call (dialog, for busy lamps): for a PBX. It sees no number of theirs."),
    one("trunks.*.message_waiting", Flag, Value("false"), "true", "Whether a NOTIFY of it that voice messages wait (message-summary, RFC 3842) is believed, sent unasked to the name or a number of a user: the user's phones are told, those that subscribed. Otherwise it gets 481."),
    one("trunks.*.stir", Section, Words("as below"), "", "Signed callers (STIR/SHAKEN) in its calls."),
    one("trunks.*.stir.sign", Flag, Value("false"), "true", "Whether calls to it carry an Identity header, made with `stir.sign`: who calls whom and when, signed. The caller is whom it is told (P-Asserted-Identity with `trusted`, else From); one that is no number is not signed, and the call goes on. A call that came with good signatures (`verify`) leaves with these, while they are fresh, and with ours that it was sent on where another number is called now (DIV, RFC 8946). Each has about 600 bytes, so UDP wants `large_over_tcp`."),
    one("trunks.*.stir.attest", Choice(ATTESTATIONS), Value("C"), "B", "How far we vouch for the callers of its own calls, where these go on to a trunk with `sign`: `A`, its customer may use the number; `B`, we know the customer alone; or `C`, it came from there."),
    one("trunks.*.stir.verify", Choice(VERIFY), Value("off"), "tag", "What is done with the signatures of its own calls: `off`, nothing; `tag`, they are checked, and who gets the call is told what came of that; or `refuse`, the same, and a call without a signature is refused with 428, one that is stale with 403, one whose signer is not believed with 437, one that is wrong with 438. An emergency call is never refused for it, and does not wait."),
    one("trunks.*.headers", Reference("headers"), Words("headers stay as they are"), "acme", "What is changed in the headers of its messages, both ways."),
    one("trunks.*.session_timer", Section, Words("as below"), "", "Session timers (RFC 4028) with it: how a call is noticed whose other end is gone without a word."),
    one("trunks.*.session_timer.mode", Choice(SESSION_TIMERS), Value("supported"), "always", "`off`; `supported`: asked for and agreed to, and a peer that does not know them has none; or `always`: such a peer, too, is asked in the same rhythm whether it still has the call."),
    many("trunks.*.workarounds", Choice(WORKAROUNDS), Words("none"), "[user-phone-1]", "What is done for it that others do not need. `user-phone-1`: Request-URI, To and From have `user=phone` where they have a number, for a carrier that refuses calls without. `no-update-1`: sessions are refreshed by INVITE, for one that says that it takes UPDATE and does not answer it. `hold-by-zero-1`: on hold our address is 0.0.0.0, for one that knows no other hold. `ignore-contact-1`: what follows in a call goes where the call came from, or where it was sent, for one that names an address that is not its own. What a name does never changes; a better way gets another number."),
    one("trunks.*.session_timer.expires", SESSION_INTERVAL, Value("30m"), "30m", "The interval that we ask for, and the longest that we agree to. We refresh at half of it wherever the peer leaves that to us."),
    one("trunks.*.session_timer.min", SESSION_INTERVAL, Value("90s"), "90s", "The shortest interval that we agree to; what asks for less is told so (422)."),
    one("trunks.*.rel100", Choice(REL100), Value("supported"), "required", "Reliable provisional responses (RFC 3262) with it, whatever the other side of a call knows: `off`; `supported`: used where it requires them, and for early media where it knows them; or `required`: its calls without them are refused (421)."),

    one("schedules", Named("schedule"), Words("no schedules"), "", "Hours of the week in a time zone: a route, or a row of a table, that names one holds in them alone. An emergency number whose routes are all closed goes by the first of them all the same."),
    one("schedules.*.time_zone", TimeZone, Required, "Europe/Berlin", "Where the hours are meant, by its name in the time zone database. The database is built in."),
    one("schedules.*.hours", Sections, Words("all day, on every day but the holidays"), "", "When it is open: in any of these spans."),
    many("schedules.*.hours.*.days", Choice(DAYS), Words("`mon` to `sun`"), "[mon, tue, wed, thu, fri]", "On which days; `holiday` for the days of `holidays`, on which no other span holds."),
    one("schedules.*.hours.*.from", TimeOfDay, Value("00:00"), "\"08:00\"", "From when."),
    one("schedules.*.hours.*.to", TimeOfDay, Value("24:00"), "\"18:00\"", "Until when; earlier than `from`: on the next day."),
    many("schedules.*.holidays", Date, Words("none"), "[2026-12-25, 2027-01-01]", "Days that are like no weekday."),

    one("tables", Named("table"), Words("no tables"), "", "Prefix tables of up to a million rows: of the rows whose prefix a number begins with, those of the longest one carry it, the cheapest first, the next when that one fails."),
    one("tables.*.file", Path, Required, "carriers.csv", "A CSV file. Its first line names the columns: `prefix`, `trunk` or `group` (or both, one of them empty), `cost` (a number with a point), and perhaps `schedule`; others are passed over. It is read anew with each reload; a bad row refuses the reload, told by its line."),

    one("users", Named("user"), Words("no users"), "", "People and devices that register with us. The name is the user part of their SIP address."),
    one("users.*.password", Secret, Required, "{credential: alice}", "Digest password."),
    one("users.*.devices_max", Integer { min: 1, max: 100 }, Value("5"), "2", "Devices registered at once at most."),
    one("users.*.caller_id", E164, Words("the user's name"), "\"+15551234567\"", "The number shown when this user calls out over a trunk."),
    one("users.*.verstat", Flag, Value("false"), "true", "Whether its devices are shown what came of the check of a caller's signature: `;verstat=TN-Validation-Passed`, `-Failed` or `No-TN-Validation` behind the number in From. Phones that do not know it may show it as a part of the number."),
    one("users.*.attest", Choice(ATTESTATIONS), Words("what `stir.sign.attest` says"), "B", "How far we vouch for this user's calls, where they are signed."),
    many("users.*.codecs", Codec, Words("those of its realm"), "[opus, PCMU]", "Codecs allowed, best first, as for a trunk."),
    many("users.*.codecs_stripped", Codec, Words("those of its realm"), "[G729]", "Codecs that are left out, as for a trunk."),
    one("users.*.srtp", Choice(SRTP), Value("off"), "accept", "Encrypted audio: `off`, `accept` when offered (SDES keys or DTLS), `required` (SDES keys are offered), `dtls` (DTLS-SRTP and nothing else), or `webrtc` (DTLS-SRTP over ICE, for browsers)."),
    one("users.*.dtmf", Choice(DTMF), Value("rfc4733"), "info", "How digits are told: `rfc4733`, in the stream where both sides describe it, a digit that comes by INFO counting as well; `info`, by INFO (application/dtmf-relay) both ways and never in the stream; or `inband`, as tones in the audio, which are listened for and made. Converted for the other party. `inband` costs a call what conversion of codecs costs, and 40 to 60 ms of delay."),
    one("users.*.refer", Choice(REFER), Value("refuse"), "terminate", "Whether it may transfer the other party of its calls to a number or user (REFER, RFC 3515): `refuse`, with 405; `terminate`: this box dials whom the `routes` let it call itself, tells it how that goes, and joins the two that stay; or `relay`: the other party is asked to call that number or user through this box, by its own rights, and what it tells is passed back; nothing else of the REFER is. In a call of an application `relay` is as `terminate`. With Replaces (RFC 3891, attended transfer) it joins whom it talks with in two calls through this box, and an INVITE of its own takes the place of one of its legs; what is another party's is not there for it (481). The leg that runs a document stays with it."),
    many("users.*.transports", Choice(TRANSPORTS), Words("any of its realm"), "[tls, wss]", "What its devices may come by; by another a request is refused with 403."),
    one("users.*.watchable", Flag, Value("true"), "false", "Whether other users, and trunks with `subscribes`, may see whether it is there (presence) and in a call (dialog, for busy lamps), never with whom. It sees itself in any case."),

    one("groups", Named("group"), Words("no groups"), "", "Trunks that lead to the same numbers: a call goes to one of them, and on to the next when that one fails."),
    one("groups.*.trunks", Sections, Required, "", "Its trunks. A trunk that is down is tried last."),
    one("groups.*.trunks.*.trunk", Reference("trunks"), Required, "acme", "Which."),
    one("groups.*.trunks.*.priority", Integer { min: 0, max: 65_535 }, Value("0"), "10", "The lowest is tried first."),
    one("groups.*.trunks.*.weight", Integer { min: 0, max: 65_535 }, Value("1"), "20", "Its share of the calls among those of the same priority; 0 for next to none."),

    one("numbering", Named("numbering"), Words("numbers stay as they are"), "", "How peers write numbers. What comes is changed by the first rule that matches and then brought into international form; what leaves is written as the peer wants it and then changed by the first rule that matches. `postern route NUMBER` shows each step."),
    one("numbering.*.country", Text, Words("numbers without a country code stay as they are"), "\"49\"", "Country code, digits only."),
    one("numbering.*.national", Dialed, Value("0"), "\"0\"", "What stands before a number of the same country; `\"\"` for nothing."),
    one("numbering.*.international", Dialed, Value("00"), "\"011\"", "What stands before a country code."),
    one("numbering.*.received", Choice(RECEIVED), Value("as_is"), "e164", "What becomes of numbers that come: `as_is`, or `e164`: `+` and digits where it can be told by the two prefixes."),
    one("numbering.*.sent", Choice(SENT), Value("as_is"), "national", "How international numbers that leave are written: `as_is`; `digits`, without the `+`; or `national`, with the two prefixes."),
    one("numbering.*.rules", Sections, Words("no rules"), "", "Rules that change numbers, tried from the top, at most 200; for each number on its way the first that matches is the only one."),
    one("numbering.*.rules.*.name", Name, Required, "tech-prefix", "Its name in `postern route` and `postern explain`."),
    many("numbering.*.rules.*.for", Choice(SIDES), Required, "[sent_called]", "Which numbers: `received_called`, `received_caller`, `sent_called`, `sent_caller`."),
    one("numbering.*.rules.*.match", Text, Words("by `prefix`"), "'0(\\d{5,})'", "A regular expression that must match the whole number. No look-around and no back references: any number costs time in proportion to its length."),
    one("numbering.*.rules.*.replace", Text, Words("by `strip` and `prepend`"), "'77$1'", "What a number that `match` took becomes; `$1` is what its first group matched. What would be empty or longer than 128 characters stays as it was."),
    one("numbering.*.rules.*.prefix", Dialed, Value(""), "\"9\"", "Without `match`: what the number starts with."),
    one("numbering.*.rules.*.strip", Integer { min: 0, max: 32 }, Value("0"), "1", "Characters taken off its front."),
    one("numbering.*.rules.*.prepend", Dialed, Value(""), "\"77\"", "What is put in front afterwards."),

    one("headers", Named("header set"), Words("headers stay as they are"), "", "What is changed in the headers of a trunk's messages: of its calls and messages, of our OPTIONS to it and of our registrations with it. `postern trace` shows messages as they are on the wire: what comes before the rules, what leaves after them. `100`, CANCEL and the ACK of a refusal stay as they are, and so does what holds calls together (`Via`, `From`, `To`, `Contact`, `Call-ID`, `CSeq`, routes, credentials, ...)."),
    one("headers.*.rules", Sections, Required, "", "Rules, at most 100. Each that holds for a message is applied, from the top; each sees what the ones before it made."),
    one("headers.*.rules.*.name", Name, Required, "account", "Its name in `postern route` and `postern explain`."),
    many("headers.*.rules.*.for", Choice(HEADER_SIDES), Required, "[sent_request]", "In which messages: `received_request`, `received_response`, `sent_request`, `sent_response`."),
    many("headers.*.rules.*.methods", Choice(HEADER_METHODS), Words("all"), "[INVITE]", "Of which methods, for a response that of its request: `INVITE`, `ACK`, `BYE`, `UPDATE`, `PRACK`, `INFO`, `MESSAGE`, `REFER`, `NOTIFY`, `OPTIONS`, `REGISTER`."),
    one("headers.*.rules.*.header", Text, Required, "P-Asserted-Identity", "Which header, by its long name."),
    one("headers.*.rules.*.add", Text, Words("-"), "\"4711\"", "One more with this value."),
    one("headers.*.rules.*.set", Text, Words("-"), "\"4711\"", "One with this value, in place of those that are there."),
    one("headers.*.rules.*.remove", Flag, Words("-"), "true", "It is taken out; with `match` only where its value is matched."),
    one("headers.*.rules.*.copy", Text, Words("-"), "To", "Its value is that of this header of the same message, or what `match` and `replace` make of that, in place of those that are there."),
    one("headers.*.rules.*.match", Text, Words("any value"), "'<sip:(.*)@.*>'", "A regular expression that must match the whole value of a header field. No look-around and no back references: any value costs time in proportion to its length."),
    one("headers.*.rules.*.replace", Text, Words("as it is"), "'<sip:$1@carrier.example>'", "What a value that `match` took becomes; `$1` is what its first group matched. What would be empty or longer than 1024 bytes stays as it was."),

    one("numbers", Named("number"), Words("no numbers"), "", "What a dialed number maps to: exactly one of `user`, `trunk`, `group` and `application`. The name is the number in international form, `+` and digits."),
    one("numbers.*.user", Reference("users"), Words("-"), "alice", "All devices of this user ring."),
    one("numbers.*.trunk", Reference("trunks"), Words("-"), "acme", "Out over this trunk, the number kept."),
    one("numbers.*.group", Reference("groups"), Words("-"), "carriers", "Out over one of these trunks, the number kept."),
    one("numbers.*.application", Reference("applications"), Words("-"), "greeting", "The program that this application's server returns."),
    one("numbers.*.timeout", RINGING, Value("30s"), "45s", "How long it rings before no-answer."),

    one("routes", Sections, Words("no routes"), "", "Rules for dialed strings that are no configured number, tried from the top; the first that matches wins."),
    one("routes.*.name", Name, Required, "abroad", "Its name in `postern explain`."),
    one("routes.*.from", From, Value("users"), "{trunk: acme}", "Whose calls it takes: `users` (registered users, documents and REST), `{trunk: NAME}` or `any`."),
    one("routes.*.prefix", Dialed, Value(""), "\"+44\"", "What the dialed string starts with; every string when left out."),
    one("routes.*.schedule", Reference("schedules"), Words("always"), "office", "When it may be used. While it is closed the next route that matches is taken."),
    one("routes.*.strip", Integer { min: 0, max: 32 }, Value("0"), "1", "Characters taken off its front."),
    one("routes.*.prepend", Dialed, Value(""), "\"+1\"", "What is put in front afterwards."),
    one("routes.*.to", Target(TARGETS), Required, "{trunk: acme}", "Where the call goes: `{trunk: NAME}`, `{group: NAME}`, `{table: NAME}`, `{user: NAME}` or `{application: NAME}`. A number that the table has no row for goes on to the next route."),
    one("routes.*.timeout", RINGING, Value("30s"), "60s", "How long it rings before no-answer."),

    one("applications", Named("application"), Words("no applications"), "", "Programs: an application server is asked by HTTP and returns a document that runs the call."),
    one("applications.*.account", Reference("accounts"), Required, "main", "The account on whose behalf it runs: its name or its SID."),
    one("applications.*.voice_url", Url(HTTP), Required, "https://app.example/voice", "Asked first."),
    one("applications.*.voice_method", Choice(METHODS), Value("POST"), "GET", "How."),
    one("applications.*.voice_fallback_url", Url(HTTP), Words("the call fails"), "https://spare.example/voice", "Asked when the first is dead, slow or wrong."),
    one("applications.*.voice_fallback_method", Choice(METHODS), Value("POST"), "GET", "How."),
    one("applications.*.status_callback", Url(HTTP), Words("nobody is told"), "https://app.example/status", "Told of the call's progress."),
    one("applications.*.status_callback_method", Choice(METHODS), Value("POST"), "GET", "How."),
    many("applications.*.status_callback_events", Choice(EVENTS), Value("completed"), "[ringing, completed]", "Of which events: `initiated`, `ringing`, `answered`, `completed`."),

    one("accounts", Named("account"), Words("no accounts"), "", "Tenants of the REST API and owners of applications."),
    one("accounts.*.sid", Sid, Required, "AC000000000000000000000000000000a1", "Its identity and user name: `AC` and 32 hexadecimal digits."),
    one("accounts.*.token", Secret, Required, "{credential: main_token}", "Its password, and the key that signs requests to its application servers."),

    one("media", Section, Words("as below"), "", "The audio threads."),
    many("media.workers", Integer { min: 0, max: 1023 }, Words("one worker on the last CPU"), "[2, 3]", "CPUs that carry media, one pinned worker each."),
    one("media.latch_window", Duration { min_ms: 100, max_ms: MINUTE }, Value("5s"), "5s", "How long after an offer or answer the real source of a party's audio may be learned; afterwards only that source and the described address count, and the described address wins."),
    one("media.timeout", Duration { min_ms: SECOND, max_ms: 60 * MINUTE }, Value("30s"), "30s", "How long a party that should send may be silent before its call is ended."),
    one("media.quarantine", Duration { min_ms: 0, max_ms: MINUTE }, Value("5s"), "5s", "How long a port rests before its next call, so that stray packets of the last one are not heard."),
    one("media.busy_max", Integer { min: 10, max: 100 }, Value("95"), "95", "How busy the least busy worker may be, per cent of its CPU in the last second, before new calls are refused with 503; 100: they never are. Emergency calls never are."),
    one("media.fast_path", Choice(FAST_PATH), Value("auto"), "off", "Whether the kernel forwards the packets of plain calls by itself, past sockets, workers and the firewall: `auto`, when it can (Linux 6.6) and we may (CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN, or root); `off`; or `required`: without it the daemon does not start."),
    many("media.prompt_folders", Path, Words("none"), "[/usr/share/postern/prompts]", "Folders below which documents may play local WAV files."),

    one("recordings", Section, Words("as below"), "", "Where recordings of calls go, and how long they stay."),
    one("recordings.folder", Path, Words("`recordings` in `appliance.state_folder`"), "/var/lib/postern/recordings", "The folder of the WAV files. It is made at the start when it is not there."),
    one("recordings.max_mb", Integer { min: 1, max: 100_000_000 }, Value("4096"), "4096", "Megabytes of all recordings at most; the oldest are deleted first. An hour of one channel is 58 MB."),
    one("recordings.days", Integer { min: 1, max: 36500 }, Value("90"), "90", "Days that a recording stays at most."),

    one("records", Section, Words("call records are in the database alone"), "", "Call records as files: a line for each call when it is over, in a hash chain that `postern records verify` checks."),
    one("records.folder", Path, Words("`records` in `appliance.state_folder`"), "/var/lib/postern/records", "The folder of the files. It is made at the start when it is not there."),
    many("records.formats", Choice(RECORDS), Value("json"), "[json, csv]", "`json`: all that is known, an object a line; `csv`: what billing reads, a row a line. Each has a chain of its own."),
    one("records.file_mb", Integer { min: 1, max: 10_000 }, Value("100"), "100", "Megabytes of one file at most; a new one is also begun each day (UTC)."),
    one("records.max_mb", Integer { min: 1, max: 100_000_000 }, Value("4096"), "4096", "Megabytes of the files of each format at most; the oldest are deleted first. A call has about 3 KB in JSON."),
    one("records.days", Integer { min: 1, max: 36500 }, Value("365"), "365", "Days that a file stays at most."),

    one("api", Section, Words("no REST API over TCP"), "", "REST API, event stream and metrics. The `postern` tool has its own socket and does not need it."),
    one("api.listen", Socket { port_optional: false }, Required, "127.0.0.1:8080", "Address and port, plain HTTP. Put a TLS proxy in front of any other than a loopback address."),

    one("control_plane", Section, Words("this box works alone"), "", "The connection to a NATS JetStream control plane."),
    one("control_plane.url", Url(&["nats", "tls"]), Required, "tls://nats.example:4222", "Its server."),
    one("control_plane.stream", NatsName, Value("POSTERN_EVENTS"), "POSTERN_EVENTS", "JetStream stream that takes the events; made when missing."),
    one("control_plane.presence_bucket", NatsName, Value("postern_presence"), "postern_presence", "Key-value bucket of presence; made when missing."),
    one("control_plane.token", Secret, Words("none"), "{credential: nats_token}", "Token, or `user:password`."),
    one("control_plane.credentials_file", Path, Words("none"), "/etc/postern/edge-1.creds", "A NATS credentials file."),
    one("control_plane.ca_file", Path, Words("the system's CAs"), "/etc/postern/nats-ca.pem", "CA certificates for `tls://`, PEM."),

    one("dns", Section, Words("the system's name servers"), "", "How names of trunks and SIP addresses are looked up."),
    many("dns.servers", Address, Words("those of /etc/resolv.conf"), "[192.0.2.53, \"2001:db8::53\"]", "Name servers, asked at port 53 by UDP, and by TCP for what is long."),
    one("dns.port", Integer { min: 1, max: 65_535 }, Value("53"), "53", "Their port."),

    one("log", Section, Words("as below"), "", "What is written to the journal."),
    one("log.level", Choice(LEVELS), Value("info"), "notice", "The least that is written: `debug`, `info`, `notice`, `warning`, `error`."),
    one("log.to", Choice(TARGETS_OF_LOG), Value("auto"), "stderr", "`journal`, `stderr`, or `auto`: the journal when the service manager connected it, else stderr."),

    one("protection", Section, Words("as below"), "", "What every source that is no trunk is held to. A source is an IPv4 address, or an IPv6 network of 64 bits."),
    one("protection.rate", Integer { min: 1, max: 1_000_000 }, Value("200"), "500", "SIP messages a second that one source may send for long; what is beyond is dropped and counted, but for emergency calls and what belongs to calls that live among five a second. An office of a thousand phones behind one address needs about 50."),
    one("protection.burst", Integer { min: 1, max: 1_000_000 }, Value("1000"), "4000", "How many it may send at once after a rest: when power is back, every phone of an office registers in the same second."),
    one("protection.bans", Flag, Value("true"), "false", "Whether sources are banned that guess names or passwords, scan, or send what is no SIP. A trunk's address never is; a source with a registered device is only slowed down."),
    one("protection.ban", Duration { min_ms: SECOND, max_ms: 24 * 60 * MINUTE }, Value("10m"), "1h", "How long a first ban lasts. Each further one is twice as long."),
    one("protection.ban_max", Duration { min_ms: SECOND, max_ms: 30 * 24 * 60 * MINUTE }, Value("24h"), "72h", "How long a ban lasts at most. Who was not banned for as long starts anew."),
    many("protection.trusted", Prefix, Words("nobody"), "[10.0.0.0/8]", "Sources that are neither held up nor banned: a registrar's front, a test bench."),

    one("stir", Section, Words("nothing is signed or checked"), "", "Signed callers: STIR/SHAKEN (RFC 8224, RFC 8225, RFC 8588). Each trunk says whether it takes part."),
    one("stir.sign", Section, Words("nothing is signed"), "", "What calls are signed with."),
    one("stir.sign.key", Path, Required, "/etc/postern/stir.key", "The private key, on P-256, PEM."),
    one("stir.sign.certificate", Url(&["https"]), Required, "https://certificates.example/postern.pem", "Where everybody finds its certificate with the issuers, PEM. It is written into each signature and never fetched by us."),
    one("stir.sign.origid", Text, Required, "123e4567-e89b-12d3-a456-426655440000", "An UUID by which we, and nobody else, know this box when a call is traced back."),
    one("stir.sign.attest", Choice(ATTESTATIONS), Value("A"), "B", "How far we vouch for the callers of our users' calls, and of those that applications and the REST API make: `A`, the caller may use the number; `B`, we know the caller alone; or `C`, neither."),
    one("stir.verify", Section, Words("nothing is checked"), "", "Whose signatures are believed. A certificate is fetched when a call needs it, kept for a day, and fetched anew in the background when it is used after an hour: a repository that is down holds no call."),
    one("stir.verify.authorities", Path, Required, "/etc/postern/stir-authorities.pem", "The authorities that a signer's certificate must be of, PEM."),
    one("stir.verify.freshness", Duration { min_ms: SECOND, max_ms: 60 * MINUTE }, Value("60s"), "60s", "How old a signature may be, and how far in the future."),
    one("stir.verify.patience", Duration { min_ms: 100, max_ms: 10 * SECOND }, Value("2s"), "1s", "How long a call waits for a certificate that is not known."),
    one("stir.verify.unreachable", Choice(UNREACHABLE), Value("pass"), "refuse", "What becomes of a call whose certificate cannot be had, where its trunk says `refuse`: `pass`, it goes on and is told as not checked; or `refuse`, with 436."),
    one("stir.verify.repository_ca", Path, Words("the system's authorities"), "/etc/postern/repository-ca.pem", "The authorities of the TLS of the repositories that certificates are fetched from, PEM."),
    one("stir.verify.private_repositories", Flag, Value("false"), "false", "Whether certificates are also fetched from addresses that are not public, of this box and its networks. Who calls chooses the address: leave it off unless the repository is your own."),
    one("trace", Section, Words("as below"), "", "SIP messages of the last calls, kept in memory for `postern trace`."),
    one("trace.calls", Integer { min: 0, max: 100_000 }, Value("1000"), "1000", "Calls whose messages are kept, live and finished; the oldest leaves first. 0: none are kept."),
    one("trace.mb", Integer { min: 1, max: 4096 }, Value("32"), "32", "Memory for them at most, megabytes; a call takes about 15 KB."),

    one("hep", Section, Words("no copies are sent"), "", "A Homer collector that gets a copy of every SIP message, in HEP3 over UDP, with passwords' digests and keys masked."),
    one("hep.address", Socket { port_optional: false }, Required, "192.0.2.60:9060", "Its address and port."),
    one("hep.id", Integer { min: 0, max: 4_294_967_295 }, Value("1"), "2001", "How the collector knows this box."),
];

const EVENTS: &[&str] = &["initiated", "ringing", "answered", "completed"];
const RECORDS: &[&str] = &["json", "csv"];
const DAYS: &[&str] = &["mon", "tue", "wed", "thu", "fri", "sat", "sun", "holiday"];
const LEVELS: &[&str] = &["debug", "info", "notice", "warning", "error"];
const TARGETS_OF_LOG: &[&str] = &["auto", "journal", "stderr"];

//! From bytes to the one audio stream.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use postern_types::stream::{AudioStream, CODECS_MAX, Codec, Direction, Fax, Format, SdesKey};

use crate::{BYTES_MAX, CRYPTO_MAX, FMTP_MAX, MEDIA_MAX, NAME_MAX, crypto, transport::Transport};

/// Transport and format of T.38 in an m-line (RFC 3362).
pub(crate) const UDPTL: &str = "udptl";
/// See above.
pub(crate) const T38: &str = "t38";
/// Attributes that pass: what two fax machines agree on (ITU-T T.38 Annex D). The vendor's own is not among them: it says who made a machine, and anything else.
const FAX_ATTRIBUTES: [&str; 12] = [
    "T38FaxVersion",
    "T38MaxBitRate",
    "T38FaxFillBitRemoval",
    "T38FaxTranscodingMMR",
    "T38FaxTranscodingJBIG",
    "T38FaxRateManagement",
    "T38FaxMaxBuffer",
    "T38FaxMaxDatagram",
    "T38FaxMaxIFP",
    "T38FaxUdpEC",
    "T38FaxUdpECDepth",
    "T38FaxUdpFECMaxSpan",
];

/// A description that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Described {
    /// The audio stream that we deal with.
    pub audio: AudioStream,
    /// Every m-line in order; `audio_at` is the one that `audio` came from.
    pub media: Vec<Media>,
    /// Index into `media`.
    pub audio_at: usize,
    /// Whether `audio` is in a BUNDLE group (RFC 9143): the answer then has one too, of it alone.
    pub bundled: bool,
}

/// What an answer must repeat of an m-line, whether taken or refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Media {
    /// `audio`, `video`, `application`, ...
    pub kind: Box<str>,
    /// `RTP/AVP`, `RTP/SAVP`, ...
    pub profile: Box<str>,
    /// Its first format: a refusal must name one (RFC 3264 6).
    pub format: Box<str>,
    /// Its `a=mid` (RFC 5888).
    pub mid: Option<Box<str>>,
}

/// Why a description cannot be used. The party that sent it is to blame for the first three; the others say what we do not do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SdpError {
    /// Longer than [`BYTES_MAX`] or more m-lines than [`MEDIA_MAX`].
    TooLong,
    /// Not `v=0` first, or a line that is not `x=value`, or an m-line without its four parts.
    Malformed,
    /// An audio stream without a usable c= line: missing, a host name, or multicast.
    Address,
    /// No audio stream at all.
    NoAudio,
    /// Only audio over profiles that we do not speak (TCP).
    Profile,
    /// SRTP without a key or fingerprint that we can use.
    NoKey,
}

impl fmt::Display for SdpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TooLong => "session description too long",
            Self::Malformed => "malformed session description",
            Self::Address => "no usable connection address",
            Self::NoAudio => "no audio stream",
            Self::Profile => "audio only over a transport profile that is not spoken here",
            Self::NoKey => "SRTP without a usable key or fingerprint",
        })
    }
}

impl std::error::Error for SdpError {}

/// Reads a description. Takes the first audio stream that is wanted (port not 0) and usable; if none is, the first usable one.
pub fn read(bytes: &[u8]) -> Result<Described, SdpError> {
    if bytes.len() > BYTES_MAX {
        return Err(SdpError::TooLong);
    }
    let mut session = Section::default();
    let mut sections: Vec<(MLine<'_>, Section<'_>)> = Vec::with_capacity(2);
    let mut first = true;
    for line in bytes.split(|&b| b == b'\n') {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.is_empty() {
            continue;
        }
        let (&kind, value) = match line {
            [kind, b'=', value @ ..] => (kind, value),
            _ => return Err(SdpError::Malformed),
        };
        if first {
            if line != b"v=0" {
                return Err(SdpError::Malformed);
            }
            first = false;
            continue;
        }
        // A line that is not UTF-8 can only be one that we do not use: s=, i=, or a parameter we must not pass on.
        let Ok(value) = std::str::from_utf8(value) else { continue };
        match kind {
            b'm' if sections.len() >= MEDIA_MAX => return Err(SdpError::TooLong),
            b'm' => sections.push((MLine::read(value).ok_or(SdpError::Malformed)?, Section::default())),
            b'c' | b'a' => {
                let section = sections.last_mut().map_or(&mut session, |(_, section)| section);
                section.take(kind, value);
            }
            _ => {}
        }
    }
    if first {
        return Err(SdpError::Malformed);
    }

    let (audio_at, audio) = choose(&session, &sections)?;
    let media = sections
        .iter()
        .map(|(m, section)| Media {
            kind: m.kind.into(),
            profile: m.profile.into(),
            format: m.formats.split_ascii_whitespace().next().unwrap_or("0").into(),
            mid: section.mid.map(Into::into),
        })
        .collect();
    let bundled = sections[audio_at].1.mid.is_some_and(|mid| {
        session.bundles.iter().any(|bundle| bundle.split_ascii_whitespace().any(|bundled| bundled == mid))
    });
    Ok(Described { audio, media, audio_at, bundled })
}

/// The stream to use, or the reason that the first audio stream cannot be.
fn choose(session: &Section<'_>, sections: &[(MLine<'_>, Section<'_>)]) -> Result<(usize, AudioStream), SdpError> {
    let mut refused = None;
    let mut why = None;
    for (at, (m, section)) in sections.iter().enumerate().filter(|(_, (m, _))| m.kind == "audio") {
        match stream(session, m, section) {
            Ok(audio) if m.port != 0 => return Ok((at, audio)),
            Ok(audio) => refused = refused.or(Some((at, audio))),
            Err(error) => why = why.or(Some(error)),
        }
    }
    let faxes = sections.iter().enumerate().filter(|(_, (m, _))| m.is_t38() && m.port != 0);
    for (at, (m, section)) in faxes {
        match fax(session, m, section) {
            Ok(fax) => return Ok((at, fax)),
            Err(error) => why = why.or(Some(error)),
        }
    }
    refused.ok_or(why.unwrap_or(SdpError::NoAudio))
}

/// T.38 over UDPTL, which has an address and its own attributes, and nothing that audio has.
fn fax(session: &Section<'_>, m: &MLine<'_>, media: &Section<'_>) -> Result<AudioStream, SdpError> {
    let address = media.address.or(session.address).flatten().ok_or(SdpError::Address)?;
    let udptl = SocketAddr::new(address, m.port);
    let attributes = media.fax.iter().map(|(name, value)| (*name, (*value).into())).collect();
    Ok(AudioStream {
        rtp: udptl,
        rtcp: udptl,
        rtcp_mux: false,
        rtcp_xr: false,
        formats: Vec::new(),
        telephone_event: None,
        ptime_ms: 20,
        direction: Direction::SendRecv,
        crypto: Vec::new(),
        dtls: None,
        ice: None,
        fax: Some(Box::new(Fax { attributes })),
    })
}

fn stream(session: &Section<'_>, m: &MLine<'_>, media: &Section<'_>) -> Result<AudioStream, SdpError> {
    let secure = match m.profile {
        "RTP/AVP" | "RTP/AVPF" => false,
        "RTP/SAVP" | "RTP/SAVPF" | "UDP/TLS/RTP/SAVP" | "UDP/TLS/RTP/SAVPF" => true,
        _ => return Err(SdpError::Profile),
    };
    let transport = media.transport.or(session.transport);
    // Before it had a profile of its own, DTLS was said by the fingerprint alone. Who offers both may be answered with SDES.
    let is_dtls = secure && (m.profile.starts_with("UDP/TLS/") || media.crypto.is_empty());
    let dtls = transport.dtls().filter(|_| is_dtls);
    let ice = transport.ice();
    // A refused stream often comes without an address and keys; it needs neither.
    let address = match media.address.or(session.address) {
        Some(Some(address)) => address,
        _ if m.port == 0 => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        _ => return Err(SdpError::Address),
    };
    let has_key = if is_dtls { dtls.is_some() } else { !media.crypto.is_empty() };
    if secure && !has_key && m.port != 0 {
        return Err(SdpError::NoKey);
    }

    let mut formats: Vec<Format> = Vec::with_capacity(8);
    let mut telephone_event = None;
    for word in m.formats.split_ascii_whitespace() {
        let Some(payload_type) = payload_type(word) else { continue };
        if formats.len() >= CODECS_MAX || formats.iter().any(|f| f.payload_type == payload_type) {
            continue;
        }
        let said = media.rtpmaps.iter().find(|(pt, _)| *pt == payload_type).map(|(_, map)| *map);
        let Some((name, clock_hz, channels)) = said.map_or_else(|| static_format(payload_type), rtpmap) else {
            continue;
        };
        if name.eq_ignore_ascii_case("telephone-event") {
            // RFC 4733 2.4.1 wants an event type per clock rate; ours is the one that goes with 8000 Hz.
            if clock_hz == 8000 && telephone_event.is_none() {
                telephone_event = Some(payload_type);
            }
            continue;
        }
        let fmtp = media.fmtps.iter().find(|(pt, _)| *pt == payload_type).map_or("", |(_, fmtp)| fmtp);
        formats.push(Format { payload_type, codec: Codec::from_name(name), clock_hz, channels, fmtp: fmtp.into() });
    }

    let rtp = SocketAddr::new(address, m.port);
    let rtcp_mux = media.rtcp_mux;
    let rtcp = match media.rtcp {
        _ if rtcp_mux => rtp,
        Some((port, at)) => SocketAddr::new(at.unwrap_or(address), port),
        None => default_rtcp(rtp),
    };
    let said = media.direction.or(session.direction).unwrap_or_default();
    // RFC 3264 8.4: the elder way to hold is to have no address; it means that nothing can be received. With ICE it means nothing.
    let direction = match said {
        other if ice.is_some() => other,
        Direction::SendRecv if address.is_unspecified() => Direction::SendOnly,
        Direction::RecvOnly if address.is_unspecified() => Direction::Inactive,
        other => other,
    };
    let crypto = if secure && !is_dtls { media.crypto.clone() } else { Vec::new() };
    Ok(AudioStream {
        fax: None,
        rtp,
        rtcp,
        rtcp_mux,
        rtcp_xr: media.rtcp_xr || session.rtcp_xr,
        formats,
        telephone_event,
        ptime_ms: media.ptime_ms.unwrap_or(20),
        direction,
        crypto,
        dtls,
        ice,
    })
}

/// Where RTCP goes when nothing is said of it: the next port (RFC 3605 2.1 keeps RFC 3550's rule).
pub(crate) fn default_rtcp(rtp: SocketAddr) -> SocketAddr {
    let port = if rtp.port() == 0 { 0 } else { rtp.port().saturating_add(1) };
    SocketAddr::new(rtp.ip(), port)
}

/// `audio 49170 RTP/AVP 0 8 101`
struct MLine<'a> {
    kind: &'a str,
    port: u16,
    profile: &'a str,
    formats: &'a str,
}

impl<'a> MLine<'a> {
    fn read(value: &'a str) -> Option<Self> {
        let (kind, rest) = value.split_once(' ')?;
        let (port, rest) = rest.trim_start().split_once(' ')?;
        let (profile, formats) = rest.trim_start().split_once(' ')?;
        // `port/2` asks for two ports of a layered stream: the first will do.
        let port = port.split('/').next()?.parse().ok()?;
        // What an answer repeats must be tokens, or a peer could write lines of ours.
        let tokens = is_token(kind) && profile.split('/').all(is_token);
        let first = formats.split_ascii_whitespace().next()?;
        (tokens && first.split('/').all(is_token)).then_some(Self { kind, port, profile, formats })
    }

    /// RFC 3362: `image 49170 udptl t38`, in whatever case.
    fn is_t38(&self) -> bool {
        let format = self.formats.split_ascii_whitespace().next().unwrap_or_default();
        self.kind == "image" && self.profile.eq_ignore_ascii_case(UDPTL) && format.eq_ignore_ascii_case(T38)
    }
}

/// What was said at session level, or below one m-line.
#[derive(Default)]
struct Section<'a> {
    /// The c= line: none, unusable, or an address.
    address: Option<Option<IpAddr>>,
    direction: Option<Direction>,
    rtpmaps: Vec<(u8, &'a str)>,
    fmtps: Vec<(u8, &'a str)>,
    rtcp: Option<(u16, Option<IpAddr>)>,
    rtcp_mux: bool,
    rtcp_xr: bool,
    ptime_ms: Option<u8>,
    crypto: Vec<SdesKey>,
    transport: Transport<'a>,
    mid: Option<&'a str>,
    /// Attributes of T.38, by their registered names.
    fax: Vec<(&'static str, &'a str)>,
    /// The tokens of each BUNDLE group; of the session only.
    bundles: Vec<&'a str>,
}

impl<'a> Section<'a> {
    fn take(&mut self, kind: u8, value: &'a str) {
        if kind == b'c' {
            if self.address.is_none() {
                self.address = Some(connection(value));
            }
            return;
        }
        let (name, value) = value.split_once(':').unwrap_or((value, ""));
        match name.trim_end() {
            "rtpmap" if self.rtpmaps.len() < 128 => self.rtpmaps.extend(numbered(value)),
            "fmtp" if self.fmtps.len() < 128 => {
                let fit = numbered(value).filter(|(_, v)| v.len() <= FMTP_MAX && !v.contains(char::is_control));
                self.fmtps.extend(fit);
            }
            "rtcp" => self.rtcp = rtcp(value),
            "rtcp-mux" => self.rtcp_mux = true,
            "rtcp-xr" => self.rtcp_xr |= value.split_ascii_whitespace().any(|block| block == "voip-metrics"),
            // Some write `20.0`; what is beyond any codec's reach is taken for the usual 20.
            "ptime" => {
                let whole = value.trim().split('.').next().and_then(|v| v.parse().ok());
                self.ptime_ms = whole.filter(|v| (1..=200).contains(v));
            }
            "sendrecv" => self.direction = Some(Direction::SendRecv),
            "sendonly" => self.direction = Some(Direction::SendOnly),
            "recvonly" => self.direction = Some(Direction::RecvOnly),
            "inactive" => self.direction = Some(Direction::Inactive),
            "mid" => self.mid = Some(value.trim()).filter(|mid| is_token(mid)),
            "group" if self.bundles.len() < MEDIA_MAX => self.bundles.extend(value.strip_prefix("BUNDLE ")),
            "crypto" if self.crypto.len() < CRYPTO_MAX => self.crypto.extend(crypto::read(value)),
            name => match FAX_ATTRIBUTES.into_iter().find(|known| known.eq_ignore_ascii_case(name)) {
                Some(known) => self.take_fax(known, value.trim()),
                None => self.transport.take(name, value),
            },
        }
    }
}

impl<'a> Section<'a> {
    fn take_fax(&mut self, name: &'static str, value: &'a str) {
        let is_known = self.fax.iter().any(|(known, _)| *known == name);
        if !is_known && (value.is_empty() || is_token(value)) {
            self.fax.push((name, value));
        }
    }
}

/// `IN IP4 192.0.2.1`; a TTL or count of multicast is tolerated, multicast itself and host names are not used.
fn connection(value: &str) -> Option<IpAddr> {
    let mut words = value.split_ascii_whitespace();
    if words.next() != Some("IN") {
        return None;
    }
    let kind = words.next()?;
    let address = words.next()?.split('/').next()?;
    let address = match kind {
        "IP4" => IpAddr::V4(address.parse::<Ipv4Addr>().ok()?),
        "IP6" => IpAddr::V6(address.parse::<Ipv6Addr>().ok()?),
        _ => return None,
    };
    (!address.is_multicast()).then_some(address)
}

/// `53020` or `53020 IN IP4 192.0.2.1` (RFC 3605).
fn rtcp(value: &str) -> Option<(u16, Option<IpAddr>)> {
    let value = value.trim();
    let (port, rest) = value.split_once(' ').unwrap_or((value, ""));
    let port = port.parse().ok()?;
    if rest.trim().is_empty() {
        return Some((port, None));
    }
    connection(rest).map(|address| (port, Some(address)))
}

/// `96 opus/48000/2` into its number and the rest.
fn numbered(value: &str) -> Option<(u8, &str)> {
    let (number, rest) = value.trim().split_once(' ')?;
    Some((payload_type(number)?, rest.trim()))
}

fn payload_type(word: &str) -> Option<u8> {
    word.parse().ok().filter(|pt| *pt <= 127)
}

/// Name, clock and channels of an rtpmap's value.
fn rtpmap(value: &str) -> Option<(&str, u32, u8)> {
    let mut parts = value.split('/');
    let name = parts.next().filter(|name| name.len() <= NAME_MAX && is_token(name))?;
    let clock_hz = parts.next()?.trim().parse().ok().filter(|hz| (1..=384_000).contains(hz))?;
    let channels = parts.next().and_then(|c| c.trim().parse().ok()).filter(|c| *c > 0).unwrap_or(1);
    Some((name, clock_hz, channels))
}

/// RFC 3551 table 4: what a payload type means without an rtpmap.
fn static_format(payload_type: u8) -> Option<(&'static str, u32, u8)> {
    Some(match payload_type {
        0 => ("PCMU", 8000, 1),
        3 => ("GSM", 8000, 1),
        4 => ("G723", 8000, 1),
        5 => ("DVI4", 8000, 1),
        6 => ("DVI4", 16000, 1),
        7 => ("LPC", 8000, 1),
        8 => ("PCMA", 8000, 1),
        9 => ("G722", 8000, 1),
        10 => ("L16", 44100, 2),
        11 => ("L16", 44100, 1),
        12 => ("QCELP", 8000, 1),
        13 => ("CN", 8000, 1),
        14 => ("MPA", 90000, 1),
        15 => ("G728", 8000, 1),
        16 => ("DVI4", 11025, 1),
        17 => ("DVI4", 22050, 1),
        18 => ("G729", 8000, 1),
        _ => return None,
    })
}

/// RFC 8866 9: token.
fn is_token(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 64
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`{|}~".contains(&b))
}

//! From our stream to bytes.

use std::{fmt::Write as _, net::IpAddr};

use postern_types::stream::{AudioStream, Direction, Fax};

use crate::{
    crypto,
    read::{Described, T38, UDPTL, default_rtcp},
    transport,
};

/// The numbers of our o= line (RFC 3264 8: the session keeps its id, and its version rises by one with each change).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Origin {
    /// Made once a leg, at random.
    pub session: u64,
    /// Counts what we described.
    pub version: u64,
}

/// Writes a description of ours: an offer when `against` is none, else the answer to it.
///
/// An answer has the offer's m-lines in their order; all but the audio stream are refused. Nothing else of the offer is used.
pub fn write(stream: &AudioStream, origin: Origin, against: Option<&Described>) -> Vec<u8> {
    describe(stream, origin, against, against.is_none())
}

/// Writes a new offer in a session that began with an offer of the far side's: the m-lines stay where they were (RFC 3264 8).
pub fn write_again(stream: &AudioStream, origin: Origin, began_with: &Described) -> Vec<u8> {
    describe(stream, origin, Some(began_with), true)
}

/// The name that a stream of our own offer has.
const MID: &str = "0";

fn describe(stream: &AudioStream, origin: Origin, layout: Option<&Described>, is_offer: bool) -> Vec<u8> {
    let mut out = String::with_capacity(512);
    let address = Address(stream.rtp.ip());
    // Formatting into a String cannot fail.
    let _ = write!(
        out,
        "v=0\r\no=- {} {} IN {address}\r\ns=-\r\nc=IN {address}\r\nt=0 0\r\n",
        origin.session, origin.version
    );
    transport::write_session(&mut out, stream);
    let mid = match layout {
        Some(layout) => layout.media[layout.audio_at].mid.as_deref(),
        // Who does ICE bundles, and browsers want a name for each stream.
        None => stream.ice.as_ref().map(|_| MID),
    };
    if let Some(mid) = mid.filter(|_| layout.is_none_or(|layout| layout.bundled)) {
        let _ = write!(out, "a=group:BUNDLE {mid}\r\n");
    }
    match layout {
        None => audio(&mut out, stream, profile(stream), mid, is_offer),
        Some(layout) => {
            for (at, media) in layout.media.iter().enumerate() {
                if at == layout.audio_at {
                    // RFC 3264 8.3.3: fax may take the place of audio, and give it back.
                    let profile = if *media.kind == *kind(stream) { &media.profile } else { profile(stream) };
                    audio(&mut out, stream, profile, mid, is_offer);
                } else {
                    let _ = write!(out, "m={} 0 {} {}\r\n", media.kind, media.profile, media.format);
                    if let Some(mid) = &media.mid {
                        let _ = write!(out, "a=mid:{mid}\r\n");
                    }
                }
            }
        }
    }
    out.into_bytes()
}

/// Of an offer of ours. Feedback (AVPF) is what browsers want to see; ours is none.
fn profile(stream: &AudioStream) -> &'static str {
    if stream.fax.is_some() {
        return UDPTL;
    }
    match (&stream.dtls, &stream.ice) {
        (Some(_), Some(_)) => "UDP/TLS/RTP/SAVPF",
        (Some(_), None) => "UDP/TLS/RTP/SAVP",
        (None, _) if stream.crypto.is_empty() => "RTP/AVP",
        (None, _) => "RTP/SAVP",
    }
}

fn kind(stream: &AudioStream) -> &'static str {
    if stream.fax.is_some() { "image" } else { "audio" }
}

fn fax(out: &mut String, fax: &Fax, port: u16, profile: &str, mid: Option<&str>) {
    let _ = write!(out, "m=image {port} {profile} {T38}\r\n");
    if let Some(mid) = mid {
        let _ = write!(out, "a=mid:{mid}\r\n");
    }
    for (name, value) in &fax.attributes {
        let colon = if value.is_empty() { "" } else { ":" };
        let _ = write!(out, "a={name}{colon}{value}\r\n");
    }
}

fn audio(out: &mut String, stream: &AudioStream, profile: &str, mid: Option<&str>, is_offer: bool) {
    if let Some(of) = &stream.fax {
        return fax(out, of, stream.rtp.port(), profile, mid);
    }
    let _ = write!(out, "m=audio {} {profile}", stream.rtp.port());
    for format in &stream.formats {
        let _ = write!(out, " {}", format.payload_type);
    }
    if let Some(payload_type) = stream.telephone_event {
        let _ = write!(out, " {payload_type}");
    }
    if stream.formats.is_empty() && stream.telephone_event.is_none() {
        // The grammar wants one; only a refused stream (port 0) has none.
        out.push_str(" 0");
    }
    out.push_str("\r\n");
    for format in &stream.formats {
        let _ = write!(out, "a=rtpmap:{} {}/{}", format.payload_type, format.codec.name(), format.clock_hz);
        if format.channels > 1 {
            let _ = write!(out, "/{}", format.channels);
        }
        out.push_str("\r\n");
        if !format.fmtp.is_empty() {
            let _ = write!(out, "a=fmtp:{} {}\r\n", format.payload_type, format.fmtp);
        }
    }
    if let Some(payload_type) = stream.telephone_event {
        let _ = write!(out, "a=rtpmap:{payload_type} telephone-event/8000\r\na=fmtp:{payload_type} 0-15\r\n");
    }
    let _ = write!(out, "a=ptime:{}\r\n", stream.ptime_ms);
    if let Some(mid) = mid {
        let _ = write!(out, "a=mid:{mid}\r\n");
    }
    rtcp(out, stream);
    if stream.rtcp_xr {
        out.push_str("a=rtcp-xr:voip-metrics\r\n");
    }
    for key in &stream.crypto {
        crypto::write(out, key);
    }
    transport::write_stream(out, stream, is_offer);
    out.push_str(match stream.direction {
        Direction::SendRecv => "a=sendrecv\r\n",
        Direction::SendOnly => "a=sendonly\r\n",
        Direction::RecvOnly => "a=recvonly\r\n",
        Direction::Inactive => "a=inactive\r\n",
    });
}

fn rtcp(out: &mut String, stream: &AudioStream) {
    let AudioStream { rtp, rtcp, rtcp_mux, .. } = *stream;
    if rtcp_mux {
        out.push_str("a=rtcp-mux\r\n");
    } else if rtcp != default_rtcp(rtp) {
        let _ = write!(out, "a=rtcp:{}", rtcp.port());
        if rtcp.ip() != rtp.ip() {
            let _ = write!(out, " IN {}", Address(rtcp.ip()));
        }
        out.push_str("\r\n");
    }
}

/// `IP4 192.0.2.1`
struct Address(IpAddr);

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            IpAddr::V4(address) => write!(f, "IP4 {address}"),
            IpAddr::V6(address) => write!(f, "IP6 {address}"),
        }
    }
}

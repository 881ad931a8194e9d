//! What two descriptions of an audio stream have in common. Pure functions over [`AudioStream`]s.

use std::net::{IpAddr, SocketAddr};

use postern_config::{Config, SrtpMode};
use postern_types::{
    Cause, RealmName, Secret,
    leg::{Party, Target},
    media::Latching,
    stream::{AudioStream, Codec, Format, SdesKey, SrtpSuite},
};
use rand::Rng;

use crate::keys::NO_MUX;

/// The payload type under which we offer telephone-event when nobody chose one.
pub const TELEPHONE_EVENT: u8 = 101;

/// What the configuration allows with one party.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Policy {
    /// Codecs in order of preference; empty allows all.
    pub codecs: Vec<Codec>,
    /// SRTP.
    pub srtp: SrtpMode,
    /// Whose audio is taken for the party's.
    pub latching: Latching,
}

impl Policy {
    /// That of a trunk, a user, or the default for anybody else.
    pub fn of(config: &Config, party: &Party) -> Self {
        let found = match party {
            Party::Trunk { trunk } => config.trunks.get(trunk).map(|t| (t.codecs.clone(), t.srtp, t.latching)),
            Party::User { user } => config.users.get(user).map(|u| (u.codecs.clone(), u.srtp, Latching::Window)),
            Party::Uri { .. } => None,
        };
        let (codecs, srtp, latching) = found.unwrap_or_default();
        Self { codecs, srtp, latching }
    }

    /// The formats that are allowed, the preferred first.
    pub fn allow(&self, formats: &[Format]) -> Vec<Format> {
        if self.codecs.is_empty() {
            return formats.to_vec();
        }
        self.codecs
            .iter()
            .flat_map(|codec| formats.iter().filter(move |f| same_codec(&f.codec, codec)))
            .cloned()
            .collect()
    }

    /// Whether an offer is encrypted as it may be and must be.
    pub fn accepts(&self, offer: &AudioStream) -> Result<(), Cause> {
        let (is_sdes, is_dtls, is_ice) = (!offer.crypto.is_empty(), offer.dtls.is_some(), offer.ice.is_some());
        let why = match self.srtp {
            SrtpMode::Off if is_sdes || is_dtls => "SRTP offered, and not allowed here",
            SrtpMode::Required if !is_sdes && !is_dtls => "SRTP required, and not offered",
            SrtpMode::Dtls | SrtpMode::Webrtc if !is_dtls => "DTLS-SRTP required, and not offered",
            SrtpMode::Webrtc if !is_ice => "ICE required, and not offered",
            _ if is_dtls && !offer.rtcp_mux => NO_MUX,
            _ => return Ok(()),
        };
        Err(Cause::new(488, why))
    }
}

/// The realm that a new leg leaves from, and whether over IPv6. None: no realm can reach it.
pub fn realm_of(config: &Config, target: &Target) -> Option<(RealmName, bool)> {
    let (name, wants_v6) = match target {
        Target::Trunk { trunk, .. } => {
            let trunk = config.trunks.get(trunk)?;
            let address = trunk.address().host.parse::<std::net::IpAddr>().ok();
            (&trunk.realm, address.map(|a| a.is_ipv6()))
        }
        Target::User { .. } => (config.realms.iter().find(|(_, realm)| realm.registrations)?.0, None),
        Target::Uri { uri, realm, .. } => (realm, Some(uri.contains('['))),
    };
    let realm = config.realms.get(name)?;
    Some((name.clone(), wants_v6.unwrap_or(realm.media.ipv4.is_none())))
}

/// Where a description points to a media port of our own, which no party can have: relayed there, a packet would come back in,
/// and go round for ever.
pub fn own_port(config: &Config, theirs: &AudioStream) -> Option<SocketAddr> {
    let is_ours = |address: &SocketAddr| {
        config.realms.values().any(|realm| {
            let own = [realm.media.ipv4, realm.advertised].into_iter().flatten().map(IpAddr::V4);
            let mut own = own.chain(realm.media.ipv6.map(IpAddr::V6));
            let ports = realm.media.port_first..=realm.media.port_last;
            ports.contains(&address.port()) && own.any(|own| own == address.ip().to_canonical())
        })
    };
    [theirs.rtp, theirs.rtcp].into_iter().find(is_ours)
}

/// The realm for calls to free SIP URIs.
pub fn uri_realm(config: &Config) -> Option<&RealmName> {
    config.realms.iter().find(|(_, realm)| realm.uri_calls).map(|(name, _)| name)
}

/// The formats of `wanted`, in its order, that `theirs` has too, with the payload types of `theirs`.
pub fn common(theirs: &[Format], wanted: &[Format]) -> Vec<Format> {
    wanted.iter().filter_map(|w| theirs.iter().find(|t| same(t, w))).cloned().collect()
}

/// The static formats of RFC 3551 that we offer when nobody else made an offer.
pub fn static_formats() -> Vec<Format> {
    let format = |payload_type, codec| Format { payload_type, codec, clock_hz: 8000, channels: 1, fmtp: "".into() };
    vec![Format::pcmu(), Format::pcma(), format(9, Codec::G722), format(18, Codec::G729)]
}

/// Whether audio in this format can be made and heard by us: G.711.
pub fn is_playable(format: &Format) -> bool {
    matches!(format.codec, Codec::Pcmu | Codec::Pcma) && format.clock_hz == 8000 && format.channels == 1
}

/// Whether a leg in this format can be recorded: G.711, which a tap copies as it is.
pub fn is_recordable(format: &Format) -> bool {
    matches!(format.codec, Codec::Pcmu | Codec::Pcma) && format.clock_hz == 8000 && format.channels == 1
}

/// A fresh SDES key under the tag and suite of an offered one, or tag 1 and the suite that everybody speaks.
pub fn make_key(rng: &mut impl Rng, like: Option<&SdesKey>) -> SdesKey {
    let mut key_salt = [0; 30];
    rng.fill_bytes(&mut key_salt);
    let (tag, suite) = like.map_or((1, SrtpSuite::AesCm128HmacSha1_80), |key| (key.tag, key.suite));
    SdesKey { tag, suite, key_salt: Secret::new(key_salt) }
}

/// Whether the party takes packets: its direction says so and it gave an address (RFC 3264 8.4: 0.0.0.0 is hold), or gives it by ICE.
pub fn receives(stream: &AudioStream) -> bool {
    let is_somewhere = !stream.rtp.ip().is_unspecified() && stream.rtp.port() != 0;
    stream.direction.receives() && (is_somewhere || stream.ice.is_some())
}

fn same(a: &Format, b: &Format) -> bool {
    same_codec(&a.codec, &b.codec) && a.clock_hz == b.clock_hz && a.channels == b.channels
}

fn same_codec(a: &Codec, b: &Codec) -> bool {
    a.name().eq_ignore_ascii_case(b.name())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opus(payload_type: u8) -> Format {
        Format { payload_type, codec: Codec::Opus, clock_hz: 48000, channels: 2, fmtp: "".into() }
    }

    #[test]
    fn policy_filters_and_orders() {
        let offered = [Format::pcmu(), opus(111), Format::pcma()];
        let only = |codecs| Policy { codecs, ..Policy::default() };
        let policy = only(vec![Codec::Pcma, Codec::Pcmu]);
        assert_eq!(policy.allow(&offered), [Format::pcma(), Format::pcmu()]);
        assert_eq!(Policy::default().allow(&offered), offered);
        assert!(only(vec![Codec::G729]).allow(&offered).is_empty());
    }

    #[test]
    fn an_answer_keeps_the_payload_types_of_its_offer() {
        let caller = [opus(96), Format::pcmu()];
        assert_eq!(common(&caller, &[Format::pcmu(), opus(111)]), [Format::pcmu(), opus(96)]);
        assert!(common(&caller, &[Format::pcma()]).is_empty());
    }
}

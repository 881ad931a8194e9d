//! What two descriptions of an audio stream have in common. Pure functions over [`AudioStream`]s.

use std::net::{IpAddr, SocketAddr};

use postern_config::{Config, Dtmf, SrtpMode};
use postern_types::{
    Cause, RealmName, Secret,
    leg::{Party, Target},
    media::Latching,
    stream::{AudioStream, Codec, Format, Libraries, SdesKey, SrtpSuite},
};
use rand::Rng;

use crate::keys::NO_MUX;

/// The payload type under which we offer telephone-event when nobody chose one.
pub const TELEPHONE_EVENT: u8 = 101;

/// What the configuration allows with one party.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Policy {
    /// Codecs in order of preference; empty allows all that are not stripped.
    pub codecs: Vec<Codec>,
    /// Codecs that are left out.
    pub stripped: Vec<Codec>,
    /// SRTP.
    pub srtp: SrtpMode,
    /// Whose audio is taken for the party's.
    pub latching: Latching,
    /// How digits are told.
    pub dtmf: Dtmf,
}

impl Policy {
    /// That of a trunk or user, with what its realm says of everybody there; for anybody else the realm's alone.
    pub fn of(config: &Config, party: &Party, realm: &RealmName) -> Self {
        let found = match party {
            Party::Trunk { trunk } => {
                config.trunks.get(trunk).map(|t| (&t.codecs, &t.codecs_stripped, t.srtp, t.latching, t.dtmf))
            }
            Party::User { user } => {
                config.users.get(user).map(|u| (&u.codecs, &u.codecs_stripped, u.srtp, Latching::Window, u.dtmf))
            }
            Party::Uri { .. } => None,
        };
        let mut policy = match found {
            Some((codecs, stripped, srtp, latching, dtmf)) => {
                Self { codecs: codecs.clone(), stripped: stripped.clone(), srtp, latching, dtmf }
            }
            None => Self::default(),
        };
        if let Some(realm) = config.realms.get(realm) {
            if policy.codecs.is_empty() {
                policy.codecs.clone_from(&realm.codecs);
            }
            policy.stripped.extend(realm.codecs_stripped.iter().cloned());
        }
        policy
    }

    /// The formats that are allowed, the preferred first.
    pub fn allow(&self, formats: &[Format]) -> Vec<Format> {
        let stays = |f: &&Format| !self.stripped.iter().any(|codec| same_codec(&f.codec, codec));
        if self.codecs.is_empty() {
            return formats.iter().filter(stays).cloned().collect();
        }
        self.codecs
            .iter()
            .flat_map(|codec| formats.iter().filter(move |f| same_codec(&f.codec, codec)))
            .filter(stays)
            .cloned()
            .collect()
    }

    /// Whether anything of an offer is left; else why not, in words that name both.
    pub fn leaves_some(&self, formats: &[Format]) -> Result<(), Cause> {
        if !self.allow(formats).is_empty() {
            return Ok(());
        }
        let names = |codecs: &mut dyn Iterator<Item = &Codec>| codecs.map(Codec::name).collect::<Vec<_>>().join(", ");
        let offered = match names(&mut formats.iter().map(|format| &format.codec)) {
            none if none.is_empty() => "no codec".to_owned(),
            names => names,
        };
        let why = match self.codecs.is_empty() {
            true => format!("{offered} offered, and stripped here"),
            false => format!("{offered} offered, and {} allowed here", names(&mut self.codecs.iter())),
        };
        Err(Cause::new(488, why))
    }

    /// Whether an offer is encrypted as it may be and must be.
    pub fn accepts(&self, offer: &AudioStream) -> Result<(), Cause> {
        let (is_sdes, is_dtls, is_ice) = (!offer.crypto.is_empty(), offer.dtls.is_some(), offer.ice.is_some());
        let why = match self.srtp {
            _ if offer.fax.is_some() => "T.38 is for calls that began as audio",
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
    wanted.iter().filter_map(|w| Some(joined(theirs.iter().find(|t| same(t, w))?, w))).collect()
}

/// A format of one party that both may use. RFC 7261: once either refused the silences of Annex B, neither sends any.
fn joined(theirs: &Format, wanted: &Format) -> Format {
    let refuses = wanted.refuses_annex_b() && !theirs.refuses_annex_b();
    Format { fmtp: if refuses { "annexb=no".into() } else { theirs.fmtp.clone() }, ..theirs.clone() }
}

/// The static formats of RFC 3551 that we offer when nobody else made an offer.
pub fn static_formats() -> Vec<Format> {
    let format = |payload_type, codec| Format { payload_type, codec, clock_hz: 8000, channels: 1, fmtp: "".into() };
    vec![Format::pcmu(), Format::pcma(), format(9, Codec::G722)]
}

/// The payload type under which we offer Opus when nobody chose one.
const OPUS: u8 = 111;

/// All formats that the media plane can make and understand, under the payload types by which we offer them ourselves.
pub fn own_formats(libraries: Libraries) -> Vec<Format> {
    // RFC 7587 7: two channels are declared whatever is sent; what we want to be sent is in-band redundancy, and one channel.
    let fmtp = "minptime=10;useinbandfec=1".into();
    let opus = Format { payload_type: OPUS, codec: Codec::Opus, clock_hz: 48000, channels: 2, fmtp };
    // RFC 3551 6. Its silences are understood.
    let g729 = Format { payload_type: 18, codec: Codec::G729, fmtp: "annexb=yes".into(), ..Format::pcmu() };
    let own = static_formats().into_iter().chain([g729, opus]);
    own.filter(|format| format.is_codable(libraries)).collect()
}

/// What is offered to a party on behalf of another that has `theirs`: what both may have, so that packets can pass as they are, and behind it
/// what the media plane can convert to. That is what the configuration names for the party; without names, G.711, and for a browser Opus.
pub fn offer(policy: &Policy, theirs: &[Format], telephone_event: Option<u8>, libraries: Libraries) -> Vec<Format> {
    let mut formats = policy.allow(theirs);
    if !theirs.iter().any(|format| format.is_codable(libraries)) {
        return formats;
    }
    let own = own_formats(libraries);
    let mut further = policy.allow(&own);
    if policy.codecs.is_empty() {
        further.retain(|f| is_telephony(f) || f.codec == Codec::Opus && policy.srtp == SrtpMode::Webrtc);
    }
    further.retain(|own| !formats.iter().any(|f| same(f, own)));
    for mut format in further {
        let is_taken =
            |pt: u8, formats: &[Format]| telephone_event == Some(pt) || formats.iter().any(|f| f.payload_type == pt);
        if is_taken(format.payload_type, &formats) {
            let Some(free) = (96..=127).find(|pt| !is_taken(*pt, &formats)) else { continue };
            format.payload_type = free;
        }
        formats.push(format);
    }
    formats
}

/// A payload type for telephone-event beside these formats.
pub fn event_beside(formats: &[Format]) -> Option<u8> {
    let is_free = |pt: &u8| !formats.iter().any(|format| format.payload_type == *pt);
    std::iter::once(TELEPHONE_EVENT).chain(96..=127).find(is_free)
}

/// The format in which a party that has `theirs` talks with one that has only `wanted`, none of them in common: the media plane converts. The first that
/// carries as much as the other, so that nothing is lost or computed in vain, else the first of all. None: one of them has no format that can be converted.
pub fn convertible(theirs: &[Format], wanted: &[Format], libraries: Libraries) -> Option<Format> {
    let wideband = wanted.iter().find(|format| format.is_codable(libraries))?.is_wideband();
    let codable = || theirs.iter().filter(|format| format.is_codable(libraries));
    codable().find(|format| format.is_wideband() == wideband).or_else(|| codable().next()).cloned()
}

/// Those in common with `agreed` first, then what else of it can be converted when the party sends it all the same.
pub fn with_convertible(theirs: &[Format], agreed: &[Format], libraries: Libraries) -> Vec<Format> {
    let mut formats = common(theirs, agreed);
    let further: Vec<Format> =
        theirs.iter().filter(|t| t.is_codable(libraries) && !formats.iter().any(|f| same(f, t))).cloned().collect();
    formats.extend(further);
    formats
}

/// What a prompt is best played in, first: G.711, which costs nothing and which most can relay on; then the others that can be made.
pub fn playable(formats: Vec<Format>, libraries: Libraries) -> Vec<Format> {
    let mut playable: Vec<Format> = formats.into_iter().filter(|format| format.is_codable(libraries)).collect();
    playable.sort_by_key(|format| !is_telephony(format));
    playable
}

fn is_telephony(format: &Format) -> bool {
    matches!(format.codec, Codec::Pcmu | Codec::Pcma)
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
    fn what_is_in_common_is_offered_first_and_what_can_be_converted_behind_it() {
        let names = |formats: Vec<Format>| {
            formats.iter().map(|f| format!("{}:{}", f.codec, f.payload_type)).collect::<Vec<_>>().join(" ")
        };
        let other = Format { codec: Codec::Other("AMR".into()), ..opus(97) };
        type Row = (&'static str, Vec<Codec>, SrtpMode, Vec<Format>, &'static str);
        let rows: [Row; 8] = [
            ("a trunk without names", vec![], SrtpMode::Off, vec![Format::pcmu()], "PCMU:0 PCMA:8"),
            ("a browser's offer to a trunk", vec![], SrtpMode::Off, vec![opus(96)], "opus:96 PCMU:0 PCMA:8"),
            ("a browser", vec![], SrtpMode::Webrtc, vec![Format::pcma()], "PCMA:8 PCMU:0 opus:111"),
            ("only Opus", vec![Codec::Opus], SrtpMode::Webrtc, vec![Format::pcma()], "opus:111"),
            ("named in order", vec![Codec::G722, Codec::Pcma], SrtpMode::Off, vec![Format::pcma()], "PCMA:8 G722:9"),
            (
                "its type is taken",
                vec![Codec::Opus],
                SrtpMode::Off,
                vec![Format { payload_type: 111, ..Format::pcmu() }],
                "opus:111",
            ),
            ("nothing to convert from", vec![], SrtpMode::Off, vec![other.clone()], "AMR:97"),
            ("nothing allowed", vec![Codec::Pcmu], SrtpMode::Off, vec![other], ""),
        ];
        for (what, codecs, srtp, theirs, want) in rows {
            let policy = Policy { codecs, srtp, ..Policy::default() };
            assert_eq!(names(offer(&policy, &theirs, Some(101), Libraries::default())), want, "{what}");
        }
        let policy = Policy { codecs: vec![Codec::Pcma, Codec::Opus], ..Policy::default() };
        let theirs = [Format { payload_type: 111, ..Format::pcma() }];
        assert_eq!(
            names(offer(&policy, &theirs, Some(96), Libraries::default())),
            "PCMA:111 opus:97",
            "types that are taken are not given twice"
        );
    }

    #[test]
    fn who_must_be_converted_gets_what_carries_as_much_as_the_other() {
        let g722 = Format { payload_type: 9, codec: Codec::G722, ..Format::pcmu() };
        let other = Format { codec: Codec::Other("AMR".into()), ..opus(97) };
        let caller = [Format::pcmu(), opus(96)];
        let convertible = |theirs: &[Format], wanted: &[Format]| convertible(theirs, wanted, Libraries::default());
        assert_eq!(convertible(&caller, std::slice::from_ref(&g722)), Some(opus(96)));
        assert_eq!(convertible(&caller, &[Format::pcma()]), Some(Format::pcmu()));
        assert_eq!(convertible(&caller, std::slice::from_ref(&other)), None);
        assert_eq!(convertible(std::slice::from_ref(&other), &caller), None);
        assert_eq!(convertible(&[other, g722.clone()], &[Format::pcma()]), Some(g722.clone()));
        assert_eq!(
            with_convertible(&[Format::pcma(), g722.clone(), Format::pcmu()], &caller, Libraries::default()),
            [Format::pcmu(), Format::pcma(), g722]
        );
    }

    #[test]
    fn an_answer_keeps_the_payload_types_of_its_offer() {
        let caller = [opus(96), Format::pcmu()];
        assert_eq!(common(&caller, &[Format::pcmu(), opus(111)]), [Format::pcmu(), opus(96)]);
        assert!(common(&caller, &[Format::pcma()]).is_empty());
    }

    #[test]
    fn g729_is_offered_and_converted_where_its_library_is() {
        let names = |formats: Vec<Format>| formats.iter().map(|f| f.codec.to_string()).collect::<Vec<_>>().join(" ");
        let g729 = |fmtp: &str| Format { payload_type: 18, codec: Codec::G729, fmtp: fmtp.into(), ..Format::pcmu() };
        let policy = Policy { codecs: vec![Codec::G729, Codec::Pcma], ..Policy::default() };
        for (has, offered, alone, from) in
            [(true, "G729 PCMA", "G729 PCMU PCMA", Some(g729(""))), (false, "PCMA", "G729", None)]
        {
            let libraries = Libraries { g729: has };
            assert_eq!(names(offer(&policy, &[Format::pcmu()], None, libraries)), offered, "named for a trunk: {has}");
            assert_eq!(names(offer(&Policy::default(), &[g729("")], None, libraries)), alone, "a caller's: {has}");
            assert_eq!(convertible(&[g729("")], &[Format::pcmu()], libraries), from);
            assert_eq!(playable(vec![g729("")], libraries).len(), usize::from(has));
        }
        assert_eq!(own_formats(Libraries::default()).iter().filter(|f| f.codec == Codec::G729).count(), 0);
    }

    #[test]
    fn what_one_party_refuses_of_annex_b_the_other_is_told_not_to_send() {
        let g729 = |fmtp: &str| Format { payload_type: 18, codec: Codec::G729, fmtp: fmtp.into(), ..Format::pcmu() };
        for (offered, answered, told) in [
            ("", "", ""),
            ("annexb=yes", "annexb=no", "annexb=no"),
            ("", "annexb=no", "annexb=no"),
            ("annexb=no", "", "annexb=no"),
            ("annexb=no;x=1", "annexb=no", "annexb=no;x=1"),
        ] {
            assert_eq!(common(&[g729(offered)], &[g729(answered)]), [g729(told)], "{offered:?} {answered:?}");
        }
    }
}

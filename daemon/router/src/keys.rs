//! What a leg is encrypted with and how its peer proves itself: SDES keys, or DTLS with or without ICE. Kept through new offers, so
//! that an association outlives them (RFC 8842 4, RFC 4568 5.1.4).

use postern_config::SrtpMode;
use postern_types::{
    Cause, Secret,
    media::DtlsPeer,
    stream::{AudioStream, Dtls, DtlsSetup, Fingerprint, Ice, SdesKey},
};
use rand::{Rng, RngExt};

use crate::negotiate::{self, Policy};

/// Characters of our name fragments: 48 bits tell more legs apart than there are.
const UFRAG_CHARS: usize = 8;
/// Characters of our passwords: 144 bits (RFC 8445 5.3 wants 128).
const PWD_CHARS: usize = 24;
const ICE_CHARS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// See the module.
#[derive(Debug, Default)]
pub struct Keys {
    /// SDES: the key that the peer sends by, and ours.
    pub key_in: Option<SdesKey>,
    pub key_out: Option<SdesKey>,
    /// The other end of the handshake, once it described itself.
    pub dtls: Option<Box<DtlsPeer>>,
    /// Our side of ICE, offered or agreed.
    pub ice: Option<Box<Ice>>,
    /// Of our certificate; known when the stream is open.
    pub fingerprint: Option<Fingerprint>,
    /// We offered DTLS.
    offers_dtls: bool,
    /// The peer's name fragment, by which a restart is known.
    peer_ufrag: Option<Box<str>>,
}

impl Keys {
    /// Takes an offer of the peer's: what it sends by, and what we answer with.
    pub fn take_offer(&mut self, policy: &Policy, rng: &mut impl Rng, offer: &AudioStream) -> Result<(), Cause> {
        policy.accepts(offer)?;
        self.key_in = offer.crypto.first().cloned();
        self.key_out = match (&self.key_in, self.key_out.take()) {
            (None, _) => None,
            // The same key goes on: a new one would need the far end to change over in the middle of a packet.
            (Some(key), Some(own)) if own.suite == key.suite => Some(SdesKey { tag: key.tag, ..own }),
            (Some(key), _) => Some(negotiate::make_key(rng, Some(key))),
        };
        self.dtls = offer.dtls.as_deref().map(|theirs| self.associate(theirs));
        self.take_ice(rng, offer);
        Ok(())
    }

    /// Who begins: the peer if it may, for it may be behind NAT and we never are; and as before while its certificate is the same.
    fn associate(&self, theirs: &Dtls) -> Box<DtlsPeer> {
        let before = self.dtls.as_ref().filter(|before| before.fingerprint == theirs.fingerprint);
        let begins = match theirs.setup {
            DtlsSetup::Active => true,
            DtlsSetup::Passive => false,
            DtlsSetup::ActPass => before.is_none_or(|before| before.begins),
        };
        Box::new(DtlsPeer { fingerprint: theirs.fingerprint, begins })
    }

    /// ICE is answered where it protects a handshake. New words of the peer's ask for new ones of ours (RFC 8445 9).
    fn take_ice(&mut self, rng: &mut impl Rng, offer: &AudioStream) {
        let theirs = checked(offer).filter(|_| self.dtls.is_some());
        let goes_on =
            theirs.is_some_and(|theirs| self.peer_ufrag.as_deref().is_none_or(|before| before == &*theirs.ufrag));
        self.ice = match (theirs, self.ice.take()) {
            (None, _) => None,
            (Some(_), Some(ours)) if goes_on => Some(ours),
            (Some(_), _) => Some(make_ice(rng)),
        };
        self.peer_ufrag = theirs.map(|theirs| theirs.ufrag.clone());
    }

    /// Takes the answer to our offer.
    pub fn take_answer(&mut self, answer: &AudioStream) -> Result<(), Cause> {
        let refused = |why| Err(Cause::new(488, why));
        match (&self.key_out, answer.crypto.first(), self.offers_dtls || self.dtls.is_some(), &answer.dtls) {
            (None, None, false, None) => self.key_in = None,
            (Some(own), Some(key), _, None) if own.suite == key.suite && own.tag == key.tag => {
                self.key_in = Some(key.clone());
            }
            (None, None, true, Some(_)) if !answer.rtcp_mux => return refused(NO_MUX),
            (None, None, true, Some(theirs)) => {
                // An answer may not leave it open; who does so all the same mostly waits to be asked, and then begins.
                self.dtls = Some(self.associate(theirs));
                self.ice = self.ice.take().filter(|_| checked(answer).is_some());
                self.peer_ufrag = checked(answer).map(|theirs| theirs.ufrag.clone());
            }
            (_, None, true, None) => return refused("DTLS-SRTP required, and not answered"),
            (Some(_), None, _, None) => return refused("SRTP required, and not answered"),
            (_, Some(_), ..) => return refused("an SRTP key answered that was not offered"),
            (_, None, _, Some(_)) => return refused("DTLS-SRTP answered, and not offered"),
        }
        Ok(())
    }

    /// Prepares an offer of ours, as the policy demands.
    pub fn make_offer(&mut self, policy: &Policy, rng: &mut impl Rng) {
        match policy.srtp {
            SrtpMode::Required if self.key_out.is_none() => self.key_out = Some(negotiate::make_key(rng, None)),
            SrtpMode::Off | SrtpMode::Accept | SrtpMode::Required => {}
            SrtpMode::Dtls => self.offers_dtls = true,
            SrtpMode::Webrtc => {
                self.offers_dtls = true;
                self.ice.get_or_insert_with(|| make_ice(rng));
            }
        }
    }

    /// Whether what we describe needs RTP and RTCP on one port, though the peer has not said so yet.
    pub fn wants_mux(&self) -> bool {
        self.offers_dtls
    }

    /// Puts it into a description of ours. The writer of an offer leaves the role open.
    pub fn describe(&self, ours: &mut AudioStream) {
        ours.crypto = self.key_out.iter().cloned().collect();
        let setup = match &self.dtls {
            Some(peer) if peer.begins => Some(DtlsSetup::Passive),
            Some(_) => Some(DtlsSetup::Active),
            None if self.offers_dtls => Some(DtlsSetup::ActPass),
            None => None,
        };
        // Without a certificate nothing fits, and nothing passes: better than in the clear.
        let fingerprint = self.fingerprint.unwrap_or(Fingerprint([0; 32]));
        ours.dtls = setup.map(|setup| Box::new(Dtls { fingerprint, setup }));
        ours.ice = self.ice.clone().filter(|_| ours.dtls.is_some());
    }
}

/// Why a peer that keys by DTLS is refused: a second handshake for a port of RTCP's own is not done here.
pub const NO_MUX: &str = "DTLS-SRTP without rtcp-mux";

/// The ICE of a peer that sends checks: two lite ends have nothing to say to each other (RFC 8445 6.1.1).
fn checked(stream: &AudioStream) -> Option<&Ice> {
    stream.ice.as_deref().filter(|ice| !ice.lite)
}

fn make_ice(rng: &mut impl Rng) -> Box<Ice> {
    let mut text = |len| (0..len).map(|_| char::from(ICE_CHARS[rng.random_range(0..64)])).collect::<String>();
    Box::new(Ice { ufrag: text(UFRAG_CHARS).into(), pwd: Secret::new(text(PWD_CHARS).into()), lite: true })
}

#[cfg(test)]
mod tests {
    use postern_types::stream::{Direction, Format};
    use rand::{SeedableRng, rngs::StdRng};

    use super::*;

    fn policy(srtp: SrtpMode) -> Policy {
        Policy { srtp, ..Policy::default() }
    }

    fn theirs(setup: Option<DtlsSetup>, certificate: u8, ufrag: Option<&str>) -> AudioStream {
        let rtp = ([192, 0, 2, 1], 4000).into();
        let ice = |ufrag: &str| Box::new(Ice { ufrag: ufrag.into(), pwd: Secret::new("p".into()), lite: false });
        AudioStream {
            rtp,
            rtcp: rtp,
            rtcp_mux: true,
            rtcp_xr: false,
            formats: vec![Format::pcmu()],
            telephone_event: None,
            ptime_ms: 20,
            direction: Direction::SendRecv,
            crypto: Vec::new(),
            dtls: setup.map(|setup| Box::new(Dtls { fingerprint: Fingerprint([certificate; 32]), setup })),
            ice: ufrag.map(ice),
            fax: None,
        }
    }

    fn ours(keys: &Keys) -> AudioStream {
        let mut ours = theirs(None, 0, None);
        keys.describe(&mut ours);
        ours
    }

    fn setup(keys: &Keys) -> Option<DtlsSetup> {
        ours(keys).dtls.map(|dtls| dtls.setup)
    }

    #[test]
    fn the_role_is_answered_and_kept_while_the_certificate_is_the_same() {
        let (mut rng, accept) = (StdRng::seed_from_u64(1), policy(SrtpMode::Accept));
        use DtlsSetup::{ActPass, Active, Passive};
        for (first, answered, later, certificate, again) in [
            (ActPass, Passive, ActPass, 1, Passive),
            (Active, Passive, ActPass, 1, Passive),
            (Passive, Active, ActPass, 1, Active),
            // Another device: everything anew.
            (Passive, Active, ActPass, 2, Passive),
            (ActPass, Passive, Passive, 1, Active),
        ] {
            let mut keys = Keys::default();
            keys.take_offer(&accept, &mut rng, &theirs(Some(first), 1, None)).unwrap();
            assert_eq!(setup(&keys), Some(answered));
            keys.take_offer(&accept, &mut rng, &theirs(Some(later), certificate, None)).unwrap();
            assert_eq!(setup(&keys), Some(again), "{first:?} {later:?}");
        }
        let mut keys = Keys::default();
        keys.make_offer(&policy(SrtpMode::Dtls), &mut rng);
        assert_eq!((setup(&keys), keys.wants_mux()), (Some(ActPass), true));
        keys.take_answer(&theirs(Some(Passive), 1, None)).unwrap();
        assert_eq!(setup(&keys), Some(Active));
    }

    #[test]
    fn ice_is_kept_until_the_peer_restarts_it() {
        let (mut rng, accept) = (StdRng::seed_from_u64(1), policy(SrtpMode::Accept));
        let mut keys = Keys::default();
        let ufrag = |keys: &Keys| ours(keys).ice.map(|ice| (ice.ufrag, ice.lite));
        keys.take_offer(&accept, &mut rng, &theirs(Some(DtlsSetup::ActPass), 1, Some("aaaa"))).unwrap();
        let first = ufrag(&keys).expect("answered with ICE");
        assert!(first.1 && keys.ice.as_ref().unwrap().pwd.expose().len() == PWD_CHARS);
        keys.take_offer(&accept, &mut rng, &theirs(Some(DtlsSetup::ActPass), 1, Some("aaaa"))).unwrap();
        assert_eq!(ufrag(&keys).as_ref(), Some(&first));
        keys.take_offer(&accept, &mut rng, &theirs(Some(DtlsSetup::ActPass), 1, Some("bbbb"))).unwrap();
        assert_ne!(ufrag(&keys).as_ref(), Some(&first));
        // A phone without ICE takes over.
        keys.take_offer(&accept, &mut rng, &theirs(Some(DtlsSetup::ActPass), 2, None)).unwrap();
        assert_eq!(ufrag(&keys), None);
        // Two lite ends, or ICE without a handshake: no checks.
        let mut lite = theirs(Some(DtlsSetup::ActPass), 2, Some("cccc"));
        lite.ice.as_mut().unwrap().lite = true;
        keys.take_offer(&accept, &mut rng, &lite).unwrap();
        assert_eq!(ufrag(&keys), None);
        keys.take_offer(&accept, &mut rng, &theirs(None, 0, Some("dddd"))).unwrap();
        assert!(ours(&keys).ice.is_none() && ours(&keys).dtls.is_none());
    }

    #[test]
    fn what_the_policy_forbids_is_refused_in_words() {
        let (mut rng, dtls) = (StdRng::seed_from_u64(1), Some(DtlsSetup::ActPass));
        let mut two_ports = theirs(dtls, 1, None);
        two_ports.rtcp_mux = false;
        for (mode, offer, ok) in [
            (SrtpMode::Off, theirs(dtls, 1, None), false),
            (SrtpMode::Off, theirs(None, 1, None), true),
            (SrtpMode::Accept, theirs(dtls, 1, None), true),
            (SrtpMode::Accept, two_ports.clone(), false),
            (SrtpMode::Required, theirs(dtls, 1, None), true),
            (SrtpMode::Required, theirs(None, 1, None), false),
            (SrtpMode::Dtls, theirs(dtls, 1, None), true),
            (SrtpMode::Dtls, theirs(None, 1, None), false),
            (SrtpMode::Webrtc, theirs(dtls, 1, None), false),
            (SrtpMode::Webrtc, theirs(dtls, 1, Some("aaaa")), true),
        ] {
            assert_eq!(Keys::default().take_offer(&policy(mode), &mut rng, &offer).is_ok(), ok, "{mode:?}");
        }
        for (mode, answer, ok) in [
            (SrtpMode::Dtls, theirs(None, 1, None), false),
            (SrtpMode::Dtls, theirs(Some(DtlsSetup::Active), 1, None), true),
            (SrtpMode::Dtls, two_ports, false),
            (SrtpMode::Webrtc, theirs(Some(DtlsSetup::Active), 1, Some("aaaa")), true),
            (SrtpMode::Off, theirs(Some(DtlsSetup::Active), 1, None), false),
            (SrtpMode::Required, theirs(None, 1, None), false),
        ] {
            let mut keys = Keys::default();
            keys.make_offer(&policy(mode), &mut rng);
            assert_eq!(keys.take_answer(&answer).is_ok(), ok, "{mode:?}");
        }
    }
}

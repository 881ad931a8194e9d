//! Calls that leave for a trunk that wants them signed: the Identity of their first INVITE (RFC 8224 6.1, RFC 8588).
//!
//! What cannot be signed goes unsigned: who is called decides what that is worth. The number that is signed is the one that the trunk is
//! told, in international form, before it was written as the trunk writes numbers.

use postern_config::Config;
use postern_sip::{Name, RequestBuilder};
use postern_stir::{Kind, Passport, Signer, canonical};
use postern_types::{
    TrunkName, UnixMicros,
    leg::{CallerIdentity, Dial},
    trust::Vouched,
};

use crate::Signaling;

/// The signer that a configuration asks for.
pub(crate) fn signer(config: &Config) -> Option<Signer> {
    let sign = config.stir.sign.as_ref()?;
    // The reader of the configuration has refused a key that cannot sign.
    Signer::new(sign.key_der.expose(), &sign.certificate).ok()
}

impl Signaling {
    /// Signs an INVITE that leaves for a trunk, where that is wanted; and what the router is to be told of it.
    pub(crate) fn vouch(
        &self,
        dial: &Dial,
        trunk: Option<&TrunkName>,
        request: RequestBuilder,
    ) -> (RequestBuilder, Option<Vouched>) {
        let config = &self.places.config;
        let wanted = trunk.and_then(|trunk| config.trunks.get(trunk)).is_some_and(|trunk| trunk.stir.sign);
        let (Some(signer), Some(sign), true) = (&self.signer, &config.stir.sign, wanted) else {
            return (request, None);
        };
        let attest = dial.identity.trust.attest.unwrap_or(sign.attest);
        let kind = Kind::Shaken { attest, origid: sign.origid.clone() };
        let passport = match claims(&dial.identity, self.wall, kind) {
            Ok(passport) => passport,
            Err(why) => return (request, Some(Vouched::Unsigned { why })),
        };
        let Some(identity) = signer.identity(&passport) else {
            return (request, Some(Vouched::Unsigned { why: "the machine has no randomness to sign with" }));
        };
        let Passport { orig, dest, .. } = passport;
        let signed = Vouched::Signed { attest, caller: orig.into(), called: dest.join(" ").into() };
        (request.header(Name::Identity, &identity), Some(signed))
    }
}

fn claims(identity: &CallerIdentity, now: UnixMicros, kind: Kind) -> Result<Passport, &'static str> {
    let orig = canonical(&identity.trust.caller).ok_or("the caller that the trunk is told is no number")?;
    let dest = canonical(&identity.trust.called).ok_or("what is called is no number")?;
    Ok(Passport { orig, dest: vec![dest], iat: now.seconds(), kind })
}

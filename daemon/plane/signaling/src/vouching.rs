//! Calls that leave for a trunk that wants them signed: the Identity of their first INVITE (RFC 8224 6.1, RFC 8588).
//!
//! What cannot be signed goes unsigned: who is called decides what that is worth. The number that is signed is the one that the trunk is
//! told, in international form, before it was written as the trunk writes numbers.
//!
//! A call that came with good signatures goes on with them, and with ours that it was sent on where another number is called now (RFC 8946).

use std::time::Duration;

use postern_config::{Config, StirSign};
use postern_sip::{Name, RequestBuilder};
use postern_stir::{Kind, Passport, Signer, canonical};
use postern_types::{
    TrunkName,
    leg::Dial,
    trust::{Chain, Trust, Vouched},
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
        match self.identities(signer, sign, &dial.identity.trust) {
            Ok((identities, vouched)) => {
                let with = |request: RequestBuilder, identity| request.header(Name::Identity, identity);
                (identities.iter().map(|identity| &**identity).fold(request, with), Some(vouched))
            }
            Err(why) => (request, Some(Vouched::Unsigned { why })),
        }
    }

    /// The Identity headers of a call, or why there are none.
    fn identities(
        &self,
        signer: &Signer,
        sign: &StirSign,
        trust: &Trust,
    ) -> Result<(Vec<Box<str>>, Vouched), &'static str> {
        let orig = canonical(&trust.caller).ok_or("the caller that the trunk is told is no number")?;
        let dest = canonical(&trust.called).ok_or("what is called is no number")?;
        let (caller, called) = (orig.as_str().into(), dest.as_str().into());
        let now_s = self.wall.seconds();
        let sign_as = |kind| {
            let passport = Passport { orig: orig.clone(), dest: vec![dest.clone()], iat: now_s, kind };
            signer.identity(&passport).map(String::into_boxed_str).ok_or("the machine has no randomness to sign with")
        };
        let freshness = self.places.config.stir.verify.as_ref().map_or(Duration::ZERO, |verify| verify.freshness);
        // Signatures that the next one would find stale are as none, and so are those of another caller.
        let is_good = |chain: &&Chain| *chain.caller == *orig && now_s.abs_diff(chain.since_s) <= freshness.as_secs();
        let Some(chain) = trust.chain.as_deref().filter(is_good) else {
            let attest = trust.attest.unwrap_or(sign.attest);
            let own = sign_as(Kind::Shaken { attest, origid: sign.origid.clone() })?;
            return Ok((vec![own], Vouched::Signed { attest, caller, called }));
        };
        let (mut identities, mut diverted_from) = (chain.identities.clone(), None);
        if *chain.called != *dest {
            identities.push(sign_as(Kind::Div { from: chain.called.to_string() })?);
            diverted_from = Some(chain.called.clone());
        }
        Ok((identities, Vouched::PassedOn { caller, called, diverted_from }))
    }
}

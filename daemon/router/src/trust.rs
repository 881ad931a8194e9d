//! How far we vouch for a caller whose call goes on, and what came of that.

use postern_config::{Config, Unreachable, Verify};
use postern_facts as facts;
use postern_types::{
    CallSid, Cause,
    leg::{CallerIdentity, Party, Target},
    trust::{Attestation, Outcome, Verdict, Vouched},
};

use crate::{call::Call, context::Context, dial::sent_number};

/// For the caller of a call that came; none: as for calls of our own.
pub fn attestation(config: &Config, party: &Party) -> Option<Attestation> {
    match party {
        Party::Trunk { trunk } => config.trunks.get(trunk).map(|trunk| trunk.stir.attest),
        Party::User { user } => config.users.get(user).and_then(|user| user.attest),
        Party::Uri { .. } => None,
    }
}

/// Keeps the numbers of a leg that leaves as they are before its trunk's numbering: these are signed. The caller is whom the trunk is told.
pub fn remember(config: &Config, party: &Party, target: &Target, from: &str, identity: &mut CallerIdentity) {
    let Party::Trunk { trunk } = party else { return };
    let is_trusted = config.trunks.get(trunk).is_some_and(|trunk| trunk.trusted);
    let asserted = Some(&identity.asserted).filter(|asserted| is_trusted && !asserted.is_empty());
    identity.trust.caller = asserted.map_or_else(|| from.into(), Clone::clone);
    identity.trust.called = sent_number(target).into();
}

/// Whether a call of this party is refused for what came of the check of its signature.
fn is_refused(config: &Config, party: &Party, verdict: &Verdict) -> bool {
    let Party::Trunk { trunk } = party else { return false };
    let refuses = config.trunks.get(trunk).is_some_and(|trunk| trunk.stir.verify == Verify::Refuse);
    let goes_on = match verdict.outcome {
        Outcome::Passed => true,
        Outcome::Unknown { .. } => {
            config.stir.verify.as_ref().is_none_or(|verify| verify.unreachable == Unreachable::Pass)
        }
        Outcome::Failed { .. } | Outcome::Unsigned => false,
    };
    refuses && !goes_on
}

impl Call {
    /// Tells what came of the check of the caller's signature, if there was one. Some: the call is refused for it. An emergency call never is.
    pub fn tell_verdict(&self, cx: &mut Context) -> Option<Cause> {
        let leg = self.first()?;
        let verdict = leg.verdict.as_deref()?;
        let signer = verdict.signer.to_string();
        let Some((status, why)) = verdict.refusal() else {
            let attest = verdict.attest.map(Attestation::letter).unwrap_or_default().into();
            self.tell(cx, self.sid, facts::IdentityVerified { attest, origid: verdict.origid.to_string(), signer });
            return None;
        };
        let refused = !self.emergency && is_refused(&cx.config, &leg.party, verdict);
        self.tell(cx, self.sid, facts::IdentityFailed { status, why: why.into(), signer, refused });
        refused.then(|| Cause::new(status, why.to_owned()))
    }

    /// An INVITE left for a trunk that wants its caller signed.
    pub fn tell_vouched(&self, cx: &mut Context, sid: CallSid, vouched: Vouched) {
        match vouched {
            Vouched::Signed { attest, caller, called } => {
                let (attest, caller, called) = (attest.letter().into(), caller.into(), called.into());
                self.tell(cx, sid, facts::IdentitySigned { attest, caller, called });
            }
            Vouched::PassedOn { caller, called, diverted_from } => {
                let diverted_from = diverted_from.map(String::from).unwrap_or_default();
                self.tell(
                    cx,
                    sid,
                    facts::IdentityPassedOn { caller: caller.into(), called: called.into(), diverted_from },
                );
            }
            Vouched::Unsigned { why } => self.tell(cx, sid, facts::IdentityUnsigned { why: why.into() }),
        }
    }
}

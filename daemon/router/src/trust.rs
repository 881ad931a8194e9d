//! How far we vouch for a caller whose call goes on, and what came of that.

use postern_config::Config;
use postern_facts as facts;
use postern_types::{
    CallSid,
    leg::{CallerIdentity, Party, Target},
    trust::{Attestation, Vouched},
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

impl Call {
    /// An INVITE left for a trunk that wants its caller signed.
    pub fn tell_vouched(&self, cx: &mut Context, sid: CallSid, vouched: Vouched) {
        match vouched {
            Vouched::Signed { attest, caller, called } => {
                let (attest, caller, called) = (attest.letter().into(), caller.into(), called.into());
                self.tell(cx, sid, facts::IdentitySigned { attest, caller, called });
            }
            Vouched::Unsigned { why } => self.tell(cx, sid, facts::IdentityUnsigned { why: why.into() }),
        }
    }
}

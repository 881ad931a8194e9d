//! Client users.

use postern_types::{E164, Secret, Transport, stream::Codec, trust::Attestation};
use serde::Serialize;

use crate::{
    dialog::{Dtmf, Refer},
    reader::{Fields, Reader},
    trunk::SrtpMode,
    write,
};

/// A person's or device's account for registering and calling.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct User {
    /// Digest password.
    pub password: Secret<String>,
    /// Devices at once at most.
    pub devices_max: u32,
    /// The number shown when this user calls out over a trunk; none: its name.
    pub caller_id: Option<E164>,
    /// How far we vouch for its calls; none: as `stir.sign.attest` says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attest: Option<Attestation>,
    /// Whether its devices are shown what came of the check of a caller's signature.
    pub verstat: bool,
    /// Codecs allowed, in order of preference; empty: those of the realm that it is in.
    #[serde(serialize_with = "write::codecs")]
    pub codecs: Vec<Codec>,
    /// Codecs that are left out of what is offered and answered.
    #[serde(serialize_with = "write::codecs", skip_serializing_if = "Vec::is_empty")]
    pub codecs_stripped: Vec<Codec>,
    /// SRTP.
    pub srtp: SrtpMode,
    /// How digits are told.
    pub dtmf: Dtmf,
    /// Whether it may transfer calls.
    pub refer: Refer,
    /// What its devices may come by; empty: anything.
    pub transports: Vec<Transport>,
    /// Whether others may subscribe to its presence and calls.
    pub watchable: bool,
}

impl User {
    pub(crate) fn read(r: &mut Reader<'_>, _: &str, f: &Fields<'_>) -> Option<Self> {
        let password = f.secret(r, "password");
        let devices_max = f.integer(r, "devices_max").map(|n| n as u32);
        let caller_id = f.e164(r, "caller_id");
        let (codecs, codecs_stripped) = f.codec_policy(r);
        let attest = f.choice(r, "attest", &Attestation::ALL);
        let verstat = f.flag(r, "verstat");
        let srtp = f.choice(r, "srtp", &SrtpMode::ALL);
        let (dtmf, refer) = (f.choice(r, "dtmf", &Dtmf::ALL), f.choice(r, "refer", &Refer::ALL));
        let transports = f.choices(r, "transports", &Transport::ALL);
        let watchable = f.flag(r, "watchable");
        Some(Self {
            password: password?,
            devices_max: devices_max?,
            caller_id,
            attest,
            verstat: verstat?,
            codecs,
            codecs_stripped,
            srtp: srtp?,
            dtmf: dtmf?,
            refer: refer?,
            transports,
            watchable: watchable?,
        })
    }
}

//! How we register with a trunk that wants to be told where we are.

use std::{net::IpAddr, time::Duration};

use serde::Serialize;

use crate::{
    reader::{Fields, Reader},
    write,
};

/// Bytes of a user part at most: more than any account's name has, few enough for a datagram.
const NAME_BYTES_MAX: usize = 128;

/// A registration of ours at a trunk (RFC 3261 10).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Register {
    /// User part of the address that is registered.
    pub user: String,
    /// Its domain; its calls name us by it.
    pub domain: String,
    /// User part of our Contact: a call to it is this trunk's, also where several trunks have one source.
    pub contact: String,
    /// How long a registration is asked for.
    #[serde(serialize_with = "write::duration")]
    pub expires: Duration,
}

impl Register {
    pub(crate) fn read(r: &mut Reader<'_>, trunk: &Fields<'_>, host: Option<&str>) -> Option<Self> {
        let f = trunk.section(r, "register", "trunks.*.register")?;
        let (user, expires) = (f.text(r, "user"), f.duration(r, "expires"));
        let domain = if f.has("domain") { f.text(r, "domain") } else { host.map(str::to_owned) };
        let contact = if f.has("contact") { f.text(r, "contact") } else { user.clone() };
        if !trunk.has("credentials") {
            r.warning(f.span, "a registration without a password")
                .hint("most registrars ask for one: write `credentials` in this trunk");
        }
        let (user, domain, contact) = (user?, domain?, contact?);
        for (key, name) in [("user", &user), ("contact", &contact)] {
            if name.is_empty() || name.len() > NAME_BYTES_MAX || name.contains(['@', '<', '>', '"', ' ']) {
                r.error(f.span_of(key), "not the user part of an address")
                    .hint("write what stands before the `@`, without `sip:`");
                return None;
            }
        }
        let is_name =
            !domain.is_empty() && domain.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-'));
        if !is_name && domain.parse::<IpAddr>().is_err() {
            r.error(f.span_of("domain"), "not a domain").hint("write for example carrier.example");
            return None;
        }
        Some(Self { user, domain, contact, expires: expires? })
    }
}

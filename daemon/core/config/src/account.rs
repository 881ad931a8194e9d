//! Accounts: tenants of the REST API.

use postern_types::{AccountSid, Secret};
use serde::Serialize;

use crate::reader::{Fields, Reader};

/// A tenant of the REST API.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Account {
    /// `AC…`, the user of Basic authentication.
    pub sid: AccountSid,
    /// Its password, and the key of callback signatures.
    pub token: Secret<String>,
}

impl Account {
    pub(crate) fn read(r: &mut Reader<'_>, name: &str, f: &Fields<'_>) -> Option<Self> {
        let sid = f.sid(r, "sid");
        if let Some(sid) = sid {
            r.accounts.insert(name.to_owned(), sid);
            r.claims.sids.push((sid, f.span_of("sid")));
        }
        let token = f.secret(r, "token");
        Some(Self { sid: sid?, token: token? })
    }
}

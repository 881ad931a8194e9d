//! REST resources and event streams: HTTP to requests the switch answers, and back.
//!
//! Nothing about calls is decided here. A request is read, its caller is proven, the question goes to the switch or the
//! store, and the answer is put into the shape that telephony SDKs read. Two faces of one router:
//!
//! | face | who | what |
//! |---|---|---|
//! | TCP, [`serve_tcp`] | accounts, by Basic authentication | `/2010-04-01/…`, `/v1/events`; without proof `/metrics`, `/healthz` |
//! | Unix socket, [`serve_unix`] | whoever may open the socket: the tool | the same and `/v1/…`, everybody's calls and events |
//!
//! TLS is not spoken here: bind to loopback, or put a proxy in front.

#![forbid(unsafe_code)]

mod hub;
mod store;
mod switch;

pub use hub::{EventFeed, EventHub, EventPump, FEED_MAX, READERS_MAX};
pub use store::{Admin, Answer, Cursor, Edge, RecordQuery, RecordStore, Span, StoreError};
pub use switch::{ANSWER_WITHIN, Asked, QUESTIONS_MAX, SwitchHandle, Unavailable};

use std::sync::{Arc, PoisonError, RwLock};

use postern_accounts::Accounts;

/// What the handlers need; cheap to clone.
#[derive(Clone)]
pub struct Context {
    /// The switch.
    pub switch: SwitchHandle,
    /// The recent events.
    pub hub: EventHub,
    /// The finished calls.
    pub store: Arc<dyn RecordStore>,
    /// The daemon.
    pub admin: Arc<dyn Admin>,
    /// The tenants.
    pub tenants: Tenants,
}

/// The tenants of the configuration in force; cheap to clone, replaced when the configuration is.
#[derive(Debug, Clone, Default)]
pub struct Tenants(Arc<RwLock<Arc<Accounts>>>);

impl Tenants {
    /// From now on these.
    pub fn replace(&self, accounts: Accounts) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(accounts);
    }

    /// Those of this moment.
    pub fn now(&self) -> Arc<Accounts> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

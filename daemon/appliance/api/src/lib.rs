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

mod admin;
mod events;
mod instance;
mod metrics;
mod order;
mod page;
mod rest;
mod trace;

mod auth;
mod date;
mod error;
mod form;
mod serve;

pub use hub::{EventFeed, EventHub, EventPump, FEED_MAX, READERS_MAX};
pub use serve::{bind_unix, serve_tcp, serve_unix};
pub use store::{
    Admin, Answer, Cursor, Edge, RecordQuery, RecordStore, RecordingQuery, RecordingStore, Span, StoreError,
};
pub use switch::{ANSWER_WITHIN, Asked, QUESTIONS_MAX, SwitchHandle, Unavailable};

use std::sync::{Arc, PoisonError, RwLock};

use axum::{Router, http::Uri, routing::get};
use postern_accounts::Accounts;
use tokio::sync::watch;

use crate::error::Refusal;

/// What the handlers need; cheap to clone.
#[derive(Clone)]
pub struct Context {
    /// The switch.
    pub switch: SwitchHandle,
    /// The recent events.
    pub hub: EventHub,
    /// The finished calls.
    pub store: Arc<dyn RecordStore>,
    /// The recordings.
    pub recordings: Arc<dyn RecordingStore>,
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

/// One face: the context, and what this face may.
#[derive(Clone)]
struct App {
    context: Context,
    /// The Unix socket: no credentials are asked for, and `/v1` is whole.
    local: bool,
    stop: watch::Receiver<bool>,
}

fn router(app: App) -> Router {
    let mut router = rest::routes()
        .route("/v1/events", get(events::serve))
        .route("/metrics", get(metrics::serve))
        .route("/healthz", get(async || "ok\n"));
    if app.local {
        router = router.merge(admin::routes()).merge(trace::routes());
    }
    router
        .fallback(async |uri: Uri| Refusal::not_found(uri.path()))
        .method_not_allowed_fallback(async || Refusal::method_not_allowed())
        .with_state(app)
}

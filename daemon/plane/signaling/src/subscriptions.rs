//! SUBSCRIBE and NOTIFY (RFC 6665): whoever we know may be told what becomes of a user.
//!
//! ```text
//! SUBSCRIBE ─► 200, NOTIFY ─► a change: NOTIFY … ─► Expires: 0, time over, NOTIFY refused: the end
//! ```
//!
//! A subscription is a dialog of its own. One NOTIFY is out at a time and has the state of its moment: what changes meanwhile, or too soon after, is in
//! the next one. A subscriber that refuses a NOTIFY, or is silent, has lost the subscription; so has one whose registration or connection is gone.
//! Nothing survives a restart: a refresh then gets 481, and the phone subscribes anew. What is to be seen of a user the router says.
//!
//! Left out: subscriptions of ours, PUBLISH, lists, and conditional NOTIFYs (RFC 5839). What a REFER makes is told by `refer`.

mod package;

use std::{
    collections::HashMap,
    net::SocketAddr,
    time::{Duration, Instant},
};

use postern_config::{Config, Destination};
use postern_facts::{Subject, SubscriptionBegan, SubscriptionEnded};
use postern_sip::{
    Method, Name, Request, RequestBuilder, Response, ResponseBuilder, SentBy, Uri,
    dialog::Dialog,
    transaction::{ClientKey, Flow, ServerKey},
};
use postern_types::{
    ConnectionId, Now, UserName,
    leg::Party,
    mailbox::Waiting,
    watch::{UserCall, UserState},
};

use crate::{
    Client, Output, Signaling,
    dialed::hop,
    headers::{self, PRODUCT},
    mailboxes,
    offered::{Who, contact},
    places::Endpoint,
    side::Tag,
    timers::Timer,
};
use package::Package;
pub(crate) use package::{MESSAGE_SUMMARY, PACKAGES, SUMMARY};

/// Subscriptions at once at most, some 40 MB; 503 beyond.
const SUBSCRIPTIONS_MAX: usize = 20_000;
/// Those of one user or trunk at most: the busy lamps of two consoles with a hundred keys each. 503 beyond.
const OF_ONE_MAX: usize = 256;
/// Least lifetime, seconds: each refresh costs as much as a short call. A shorter wish is answered with 423.
const EXPIRES_MIN_S: u32 = 60;
/// Lifetime when none is asked for, and the longest that is granted, seconds (RFC 3856 6.4, RFC 4235 3.4).
const EXPIRES_MAX_S: u32 = 3600;

/// All of them.
#[derive(Debug, Default)]
pub(crate) struct Subscriptions {
    of: HashMap<Tag, Subscription>,
    /// Those of each who subscribes, the eldest first.
    by: HashMap<Party, Vec<Tag>>,
    watched: HashMap<UserName, Watched>,
}

/// A user that somebody watches.
#[derive(Debug, Default)]
struct Watched {
    by: Vec<Tag>,
    /// None until the router said it.
    state: Option<UserState>,
}

#[derive(Debug)]
struct Subscription {
    dialog: Dialog,
    by: Party,
    of: UserName,
    package: Package,
    /// The `id` of its Event, which is repeated.
    id: Option<Box<str>>,
    /// The user as the subscriber names it.
    entity: Box<str>,
    flow: Flow,
    /// As our Via and our Contact say it.
    advertised: SentBy,
    contact: SentBy,
    expires: Instant,
    /// It asked for the state once.
    fetches: bool,
    /// A NOTIFY that is out.
    open: Option<ClientKey>,
    /// There is something to tell.
    due: bool,
    /// When the last NOTIFY left.
    told: Option<Instant>,
    /// How many left.
    version: u32,
    /// The calls that the last one told as alive.
    shown: Vec<UserCall>,
    /// The next NOTIFY is the last.
    over: Option<Over>,
    /// The timer that counts.
    wakes: Option<Instant>,
}

/// Why a subscription ends.
#[derive(Debug, Clone, Copy)]
struct Over {
    /// What the last NOTIFY says behind `reason=` (RFC 6665 4.1.3).
    reason: &'static str,
    /// For a person.
    why: &'static str,
}

impl Over {
    const EXPIRED: Self = Self { reason: "timeout", why: "expired" };
    const UNSUBSCRIBED: Self = Self { reason: "timeout", why: "unsubscribed" };
    const UNREGISTERED: Self = Self { reason: "timeout", why: "the subscriber's registration is gone" };
    const FORBIDDEN: Self = Self { reason: "rejected", why: "the configuration does not allow it any more" };
    const GONE: Self = Self { reason: "noresource", why: "the user is gone from the configuration" };
    /// Another start takes seconds.
    const STOPPING: Self = Self { reason: "probation;retry-after=10", why: "the appliance stops" };
}

impl Subscriptions {
    pub(crate) fn len(&self) -> usize {
        self.of.len()
    }

    pub(crate) fn has(&self, tag: Tag) -> bool {
        self.of.contains_key(&tag)
    }

    fn is_full(&self, by: &Party) -> bool {
        self.of.len() >= SUBSCRIPTIONS_MAX || self.by.get(by).is_some_and(|tags| tags.len() >= OF_ONE_MAX)
    }

    fn of_user(&self, user: &UserName) -> Vec<Tag> {
        self.by.get(&Party::User { user: user.clone() }).cloned().unwrap_or_default()
    }
}

impl Signaling {
    /// A SUBSCRIBE outside of any dialog, from a known party.
    pub(crate) fn subscribe(
        &mut self,
        now: Now,
        key: ServerKey,
        request: &Request,
        flow: Flow,
        who: Who,
        at: &Endpoint,
    ) {
        let tag = self.new_tag();
        let by = match who {
            Who::Trunk(trunk) => Party::Trunk { trunk },
            Who::User(user) => Party::User { user },
        };
        if self.refuse_required(now.instant, key, request, tag, "") {
            return;
        }
        let (of, package, expires_s) = match self.wanted(request, &by) {
            Ok(wanted) => wanted,
            Err(status) => return self.refuse_subscription(now.instant, key, request, (status, PACKAGES), tag),
        };
        let contact = at.contact();
        let Ok(mut dialog) = Dialog::uas(request, &tag.to_string(), &crate::offered::contact(contact)) else {
            return self.reply(now.instant, key, request, 400, tag);
        };
        dialog.confirm();
        let uri = request.uri();
        let entity = Uri::sip(Some(of.as_str()), uri.host(), uri.port()).map_or(uri.to_string(), |uri| uri.to_string());
        let id = request.headers.event().and_then(|event| event.id).map(Into::into);
        let fetches = expires_s == 0;
        let subscription = Subscription {
            dialog,
            by: by.clone(),
            of: of.clone(),
            package,
            id,
            entity: entity.into(),
            flow,
            advertised: at.sent_by(flow.transport),
            contact,
            expires: now.instant + Duration::from_secs(expires_s.into()),
            fetches,
            open: None,
            due: true,
            told: None,
            version: 0,
            shown: Vec::new(),
            over: None,
            wakes: None,
        };
        if let Party::User { user } = &by {
            self.registered_over(flow, user);
        }
        self.subscriptions.of.insert(tag, subscription);
        self.subscriptions.by.entry(by.clone()).or_default().push(tag);
        let watched = self.subscriptions.watched.entry(of.clone()).or_default();
        watched.by.push(tag);
        if watched.by.len() == 1 {
            self.outputs.push_back(Output::Watch { user: of.clone(), on: true });
        }
        self.accept_subscription(now.instant, key, request, tag, expires_s);
        if !fetches {
            let (package, source) = (package.name().to_owned(), flow.remote);
            self.fact(subject(&by), SubscriptionBegan { package, of: of.to_string(), source, expires_s });
        }
        self.wake_at(tag, now.instant + Duration::from_secs(expires_s.into()));
        self.notify(now.instant, tag);
    }

    /// Which user's what, and for how many seconds; else the status to refuse with.
    fn wanted(&mut self, request: &Request, by: &Party) -> Result<(UserName, Package, u32), u16> {
        if headers::max_forwards(&request.headers) == 0 {
            return Err(483);
        }
        if !headers::is_served_scheme(request) {
            return Err(416);
        }
        let package = request.headers.event().and_then(|event| Package::of(event.package)).ok_or(489_u16)?;
        if !headers::accepts(&request.headers, package.kind()) {
            return Err(406);
        }
        let config = &self.places.config;
        if let Party::Trunk { trunk } = by
            && !config.trunks.get(trunk).is_some_and(|trunk| trunk.subscribes)
        {
            return Err(403);
        }
        let of = called(config, &headers::user_of(&request.uri())).ok_or(404_u16)?;
        if !may(config, by, &of, package) {
            return Err(403);
        }
        let expires_s = lifetime(request)?;
        if self.draining {
            return Err(503);
        }
        if self.subscriptions.is_full(by) {
            self.counters.overloaded += 1;
            return Err(503);
        }
        Ok((of, package, expires_s))
    }

    /// A request in the dialog of a subscription.
    pub(crate) fn in_subscription(&mut self, now: Now, key: ServerKey, request: &Request, flow: Flow, tag: Tag) {
        let Some(subscription) = self.subscriptions.of.get(&tag).filter(|known| known.dialog.is_of(request)) else {
            let tag = self.new_tag();
            return self.reply(now.instant, key, request, 481, tag);
        };
        // From elsewhere it proves itself anew: the tags alone must not be enough to be told of a user at another address.
        let by = subscription.by.clone();
        if flow != subscription.flow {
            let is_its = match &by {
                Party::User { user } => match self.user_proves(now, key, request, flow) {
                    Some(proven) => proven == *user,
                    // It was challenged.
                    None => return,
                },
                Party::Trunk { trunk } => {
                    let realm = self.places.endpoint(flow).map(|endpoint| endpoint.realm.clone());
                    realm.is_some_and(|realm| self.places.trunk_of(&realm, flow) == Some(trunk))
                }
                Party::Uri { .. } => false,
            };
            if !is_its {
                return self.reply(now.instant, key, request, 403, tag);
            }
        }
        let Some(subscription) = self.subscriptions.of.get_mut(&tag) else { return };
        if let Err(rejection) = subscription.dialog.receive(request) {
            return self.reply(now.instant, key, request, rejection.status, tag);
        }
        match &request.method {
            Method::Subscribe => self.refresh_subscription(now.instant, key, request, flow, tag),
            Method::Options => self.options(now.instant, key, request, tag),
            method => {
                let status = headers::unserved(method);
                self.reply(now.instant, key, request, status, tag);
            }
        }
    }

    fn refresh_subscription(&mut self, now: Instant, key: ServerKey, request: &Request, flow: Flow, tag: Tag) {
        let Some(subscription) = self.subscriptions.of.get_mut(&tag) else { return };
        let event = request.headers.event();
        let is_its = event.is_some_and(|event| {
            event.package == subscription.package.name() && event.id == subscription.id.as_deref()
        });
        if !is_its || subscription.over.is_some() {
            return self.reply(now, key, request, 481, tag);
        }
        let expires_s = match lifetime(request) {
            Ok(expires_s) => expires_s,
            Err(status) => return self.refuse_subscription(now, key, request, (status, PACKAGES), tag),
        };
        (subscription.flow, subscription.advertised.transport) = (flow, flow.transport);
        subscription.expires = now + Duration::from_secs(expires_s.into());
        // RFC 6665 4.2.1.2: each SUBSCRIBE is answered by a NOTIFY at once.
        (subscription.due, subscription.told) = (true, None);
        if expires_s == 0 {
            subscription.over = Some(Over::UNSUBSCRIBED);
        }
        if let Party::User { user } = subscription.by.clone() {
            self.registered_over(flow, &user);
        }
        self.accept_subscription(now, key, request, tag, expires_s);
        self.wake_at(tag, now + Duration::from_secs(expires_s.into()));
        self.notify(now, tag);
    }

    /// 200, with how long it lasts.
    pub(crate) fn accept_subscription(
        &mut self,
        now: Instant,
        key: ServerKey,
        request: &Request,
        tag: Tag,
        expires_s: u32,
    ) {
        let of_call = || self.sides.get(&tag).map(|side| side.contact);
        let Some(reached) = self.subscriptions.of.get(&tag).map(|known| known.contact).or_else(of_call) else { return };
        let response = ResponseBuilder::to(request, 200)
            .to_tag(&tag.to_string())
            .record_route()
            .header(Name::Contact, &contact(reached))
            .header(Name::Expires, &expires_s.to_string())
            .header(Name::Server, PRODUCT)
            .build();
        self.respond(now, key, &response);
    }

    /// A refusal, with what the subscriber needs to do better; `packages` are those that are served there.
    pub(crate) fn refuse_subscription(
        &mut self,
        now: Instant,
        key: ServerKey,
        request: &Request,
        (status, packages): (u16, &str),
        tag: Tag,
    ) {
        let (name, value) = match status {
            423 => (Name::MinExpires, EXPIRES_MIN_S.to_string()),
            489 => (Name::AllowEvents, packages.to_owned()),
            _ => return self.reply(now, key, request, status, tag),
        };
        let text = tag.to_string();
        let response = ResponseBuilder::to(request, status).to_tag(&text).header(name, &value);
        self.respond(now, key, &response.header(Name::Server, PRODUCT).build());
    }

    // ---- what is told ----

    /// Takes from the router what is to be seen of a user that somebody watches.
    pub fn handle_user(&mut self, now: Now, state: UserState) {
        if let Some(watched) = self.subscriptions.watched.get_mut(&state.user) {
            let before = watched.state.replace(state.clone());
            for tag in watched.by.clone() {
                if let Some(subscription) = self.subscriptions.of.get_mut(&tag) {
                    subscription.due |= before.as_ref().is_none_or(|before| subscription.package.tells(before, &state));
                }
                self.notify(now.instant, tag);
            }
        }
        self.run(now);
    }

    /// Another number of messages waits for a user.
    pub(crate) fn mailbox_changed(&mut self, now: Instant, user: &UserName) {
        for tag in self.subscriptions.of_user(user) {
            if let Some(subscription) = self.subscriptions.of.get_mut(&tag) {
                subscription.due |= subscription.package == Package::Messages;
            }
            self.notify(now, tag);
        }
    }

    /// Sends a NOTIFY, if there is something to tell, none is out, and the last is long enough ago.
    fn notify(&mut self, now: Instant, tag: Tag) {
        let branch = self.new_branch();
        let Some(subscription) = self.subscriptions.of.get_mut(&tag) else { return };
        if subscription.open.is_some() || !(subscription.due || subscription.over.is_some()) {
            return;
        }
        let next = subscription.told.map(|told| told + subscription.package.pause());
        if let Some(next) = next.filter(|next| *next > now && subscription.over.is_none()) {
            return self.wake_at(tag, next);
        }
        let state = self.subscriptions.watched.get(&subscription.of).and_then(|watched| watched.state.as_ref());
        let waiting = self.mailboxes.of(&subscription.of);
        // The router says it in this very turn, if it was not known yet.
        let body = subscription.document(state, waiting);
        if body.is_none() && subscription.over.is_none() {
            return;
        }
        if subscription.expires <= now && subscription.over.is_none() {
            subscription.over = Some(Over::EXPIRED);
        }
        let body = body.unwrap_or_default();
        let request = subscription.request(now, &branch, &body);
        let (flow, over) = (subscription.next_hop(), subscription.over);
        (subscription.due, subscription.told) = (false, Some(now));
        if let Some(over) = over {
            // Whatever comes back changes nothing any more.
            self.request(now, flow, request, Client::Told);
            return self.forget_subscription(tag, over.why.into());
        }
        match self.request(now, flow, request, Client::Notify(tag)) {
            Some(key) => {
                if let Some(subscription) = self.subscriptions.of.get_mut(&tag) {
                    subscription.open = Some(key);
                }
            }
            None => self.forget_subscription(tag, "the subscriber cannot be reached".into()),
        }
    }

    /// A NOTIFY was answered.
    pub(crate) fn on_notify_response(&mut self, now: Instant, tag: Tag, response: &Response) {
        if !response.is_success() {
            return self.forget_subscription(tag, format!("the subscriber answered {}", headers::cause_of(response)));
        }
        if let Some(subscription) = self.subscriptions.of.get_mut(&tag) {
            subscription.open = None;
            self.notify(now, tag);
        }
    }

    /// Its time may be over, or that of the pause between what it tells.
    pub(crate) fn subscription_due(&mut self, now: Instant, tag: Tag) {
        let Some(subscription) = self.subscriptions.of.get_mut(&tag) else { return };
        if subscription.wakes.is_none_or(|wakes| wakes > now) {
            return;
        }
        subscription.wakes = None;
        let expires = subscription.expires;
        if expires <= now {
            subscription.over.get_or_insert(Over::EXPIRED);
        } else {
            self.wake_at(tag, expires);
        }
        self.notify(now, tag);
    }

    /// Sets its timer, unless one fires before.
    fn wake_at(&mut self, tag: Tag, at: Instant) {
        let Some(subscription) = self.subscriptions.of.get_mut(&tag) else { return };
        if subscription.wakes.is_none_or(|wakes| at < wakes) {
            subscription.wakes = Some(at);
            self.timers.set(at, Timer::Subscription(tag));
        }
    }

    // ---- ends ----

    /// A NOTIFY never arrived, or its subscription is over: nothing more is told.
    pub(crate) fn forget_subscription(&mut self, tag: Tag, why: String) {
        let Some(subscription) = self.subscriptions.of.remove(&tag) else { return };
        let Subscription { by, of, package, fetches, .. } = subscription;
        if let Some(tags) = self.subscriptions.by.get_mut(&by) {
            tags.retain(|other| *other != tag);
            if tags.is_empty() {
                self.subscriptions.by.remove(&by);
            }
        }
        if let Some(watched) = self.subscriptions.watched.get_mut(&of) {
            watched.by.retain(|other| *other != tag);
            if watched.by.is_empty() {
                self.subscriptions.watched.remove(&of);
                self.outputs.push_back(Output::Watch { user: of.clone(), on: false });
            }
        }
        if !fetches {
            let package = package.name().to_owned();
            self.fact(subject(&by), SubscriptionEnded { package, of: of.to_string(), why });
        }
    }

    fn end_subscription(&mut self, now: Instant, tag: Tag, over: Over) {
        if let Some(subscription) = self.subscriptions.of.get_mut(&tag) {
            subscription.over.get_or_insert(over);
            self.notify(now, tag);
        }
    }

    /// A device of a user is not registered any more: what it subscribed to from there ends.
    pub(crate) fn subscriber_left(&mut self, now: Instant, user: &UserName, source: SocketAddr) {
        for tag in self.subscriptions.of_user(user) {
            if self.subscriptions.of.get(&tag).is_some_and(|subscription| subscription.flow.remote == source) {
                self.end_subscription(now, tag, Over::UNREGISTERED);
            }
        }
    }

    /// A connection is gone, and with it the way to who subscribed over it.
    pub(crate) fn subscriber_lost(&mut self, user: &UserName, id: ConnectionId) {
        for tag in self.subscriptions.of_user(user) {
            if self.subscriptions.of.get(&tag).is_some_and(|subscription| subscription.flow.connection == Some(id)) {
                self.forget_subscription(tag, "the subscriber's connection is gone".into());
            }
        }
    }

    /// Ends what another configuration does not allow.
    pub(crate) fn look_at_subscriptions(&mut self, now: Instant) {
        let config = self.places.config.clone();
        self.end_subscriptions(now, |subscription| match () {
            () if !config.users.contains_key(&subscription.of) => Some(Over::GONE),
            () if !may(&config, &subscription.by, &subscription.of, subscription.package) => Some(Over::FORBIDDEN),
            () => None,
        });
    }

    /// The daemon stops.
    pub(crate) fn leave_subscribers(&mut self, now: Instant) {
        self.end_subscriptions(now, |_| Some(Over::STOPPING));
    }

    fn end_subscriptions(&mut self, now: Instant, over: impl Fn(&Subscription) -> Option<Over>) {
        let ends = self.subscriptions.of.iter().filter_map(|(tag, subscription)| Some((*tag, over(subscription)?)));
        let mut ends: Vec<_> = ends.collect();
        // The same inputs must give the same outputs, whatever the order of a hash table.
        ends.sort_by_key(|(tag, _)| tag.0);
        for (tag, over) in ends {
            self.end_subscription(now, tag, over);
        }
    }
}

impl Subscription {
    /// Our next NOTIFY.
    fn request(&mut self, now: Instant, branch: &str, body: &[u8]) -> Request {
        let event = match &self.id {
            Some(id) => format!("{};id={id}", self.package.name()),
            None => self.package.name().to_owned(),
        };
        let state = match self.over {
            Some(over) => format!("terminated;reason={}", over.reason),
            None => format!("active;expires={}", self.expires.saturating_duration_since(now).as_secs()),
        };
        let request = notify(&mut self.dialog, self.advertised, branch, &event, &state);
        if body.is_empty() { request.build() } else { request.body(self.package.kind(), body).build() }
    }

    /// What is to be told of the user now; none: it is not known yet.
    fn document(&mut self, state: Option<&UserState>, waiting: Waiting) -> Option<Vec<u8>> {
        match self.package {
            Package::Messages => Some(mailboxes::written(&self.entity, waiting)),
            Package::Presence => state.map(|state| package::presence(&self.entity, state)),
            Package::Dialog => {
                let state = state?;
                let over = |call: &UserCall| !state.calls.iter().any(|live| live.leg == call.leg);
                self.shown.retain(over);
                let body = package::dialogs(&self.entity, self.version, &state.calls, &self.shown);
                self.version = self.version.wrapping_add(1);
                self.shown = state.calls.clone();
                Some(body)
            }
        }
    }

    /// Devices are mostly behind NAT: they are told where they subscribed from.
    fn next_hop(&self) -> Flow {
        hop(&self.dialog, self.flow, matches!(self.by, Party::User { .. }))
    }
}

/// A NOTIFY in a dialog (RFC 6665 4.2.2), but for its body.
pub(crate) fn notify(dialog: &mut Dialog, sent_by: SentBy, branch: &str, event: &str, state: &str) -> RequestBuilder {
    dialog
        .request(Method::Notify, sent_by, branch)
        .header(Name::Event, event)
        .header(Name::SubscriptionState, state)
        .header(Name::UserAgent, PRODUCT)
}

/// For how many seconds a SUBSCRIBE is granted; 423 for less than we bear.
pub(crate) fn lifetime(request: &Request) -> Result<u32, u16> {
    match request.headers.number(Name::Expires) {
        Some(Ok(1..EXPIRES_MIN_S)) => Err(423),
        Some(Ok(seconds)) => Ok(seconds.min(EXPIRES_MAX_S)),
        Some(Err(_)) | None => Ok(EXPIRES_MAX_S),
    }
}

/// The user whom a user part names, by its name or by a number of its.
pub(crate) fn called(config: &Config, called: &str) -> Option<UserName> {
    let by_number = || {
        let number = called.parse().ok()?;
        match &config.numbers.get(&number)?.to {
            Destination::User(user) => Some(user.clone()),
            _ => None,
        }
    };
    config.users.get_key_value(called).map(|(name, _)| name.clone()).or_else(by_number)
}

/// Whether somebody may be told of a user.
fn may(config: &Config, by: &Party, of: &UserName, package: Package) -> bool {
    let is_watchable = package != Package::Messages && config.users.get(of).is_some_and(|user| user.watchable);
    match by {
        Party::User { user } => config.users.contains_key(user) && (user == of || is_watchable),
        Party::Trunk { trunk } => is_watchable && config.trunks.get(trunk).is_some_and(|trunk| trunk.subscribes),
        Party::Uri { .. } => false,
    }
}

fn subject(by: &Party) -> Subject {
    match by {
        Party::User { user } => Subject { user: Some(user.clone()), ..Subject::default() },
        Party::Trunk { trunk } => Subject { trunk: Some(trunk.clone()), ..Subject::default() },
        Party::Uri { .. } => Subject::default(),
    }
}

//! Who can be reached where (RFC 3261 10.3): the bindings that proven users asked for, and their expiry.
//!
//! A device is known by its `+sip.instance` (RFC 5627), else by its Contact. It is reached over the flow that its REGISTER
//! came by, not by its Contact's address: that one is wrong behind NAT. When a user has as many devices as allowed, the one
//! that was heard of longest ago makes room: it is mostly the same device before it restarted on another port, and a
//! refusal would lock its owner out until that binding expires.

use std::{
    collections::{HashMap, hash_map::Entry},
    hash::Hash,
    net::SocketAddr,
    time::{Duration, Instant},
};

use postern_config::Prefix;
use postern_sip::{
    Name, Request, Uri,
    message::{Contact, NameAddr},
    transaction::Flow,
};
use postern_types::{
    ConnectionId, Now, Transport, UnixMicros, UserName,
    device::{Device, DeviceChange},
};

use crate::guard;

/// Least lifetime, seconds: keeps a device from loading the registrar; a shorter wish is answered with 423.
pub(crate) const EXPIRES_MIN_S: u32 = 60;
/// Lifetime when none is asked for, and the longest that is granted, seconds.
pub(crate) const EXPIRES_MAX_S: u32 = 3600;
/// Contacts of one REGISTER at most; phones send one. 400 beyond.
const CONTACTS_MAX: usize = 8;
/// Devices of all users at most. 503 beyond.
const BINDINGS_MAX: usize = 100_000;

/// A device that can be reached.
#[derive(Debug, Clone)]
pub(crate) struct Binding {
    /// What it wants in the Request-URI.
    pub(crate) contact: Uri<'static>,
    instance: Option<Box<str>>,
    /// What its REGISTER came by, and what requests to it go by.
    pub(crate) flow: Flow,
    /// Where its REGISTER came from.
    source: SocketAddr,
    call_id: Box<str>,
    cseq: u32,
    expires: Instant,
    /// The same, for what outlives us.
    until: UnixMicros,
    heard: Instant,
}

/// All bindings.
#[derive(Debug, Default)]
pub(crate) struct Registrar {
    users: HashMap<UserName, Vec<Binding>>,
    /// How many bindings have this source: tells devices from strangers.
    sources: HashMap<(Transport, SocketAddr), u32>,
    /// How many are at this address or network.
    hosts: HashMap<Prefix, u32>,
    count: usize,
}

/// What a REGISTER changed.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    /// New devices and their lifetimes, seconds.
    pub(crate) added: Vec<(SocketAddr, u32)>,
    /// Devices that are gone, and why.
    pub(crate) removed: Vec<(SocketAddr, &'static str)>,
    /// What is to be remembered over a restart, in order.
    pub(crate) remembered: Vec<DeviceChange>,
    /// When to look for expired bindings.
    pub(crate) expires: Option<Instant>,
}

/// Why a REGISTER is refused: the status to answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Refusal(pub(crate) u16);

/// One contact of a REGISTER, checked.
struct Wish {
    contact: Uri<'static>,
    instance: Option<Box<str>>,
    expires_s: u32,
}

impl Registrar {
    /// Applies a REGISTER of a user that proved to be it. All of it, or nothing (RFC 3261 10.3 step 7).
    pub(crate) fn register(
        &mut self,
        now: Now,
        user: &UserName,
        devices_max: u32,
        request: &Request,
        flow: Flow,
    ) -> Result<Changes, Refusal> {
        let call_id = request.headers.call_id().map_err(|_| Refusal(400))?;
        let cseq = request.headers.cseq().map_err(|_| Refusal(400))?.number;
        let mut changes = Changes::default();
        if request.headers.contacts().any(|c| matches!(c, Ok(Contact::Star))) {
            let alone = request.headers.contacts().count() == 1;
            if !alone || !matches!(request.headers.number(Name::Expires), Some(Ok(0))) {
                return Err(Refusal(400));
            }
            let bindings = self.users.get(user).map_or(&[][..], Vec::as_slice);
            if bindings.iter().any(|b| b.is_newer_than(call_id, cseq)) {
                return Err(Refusal(500));
            }
            self.retain(user, |_| Some("unregistered"), &mut changes);
            return Ok(changes);
        }

        let wishes = wishes(request)?;
        let bindings = self.users.get(user).map_or(&[][..], Vec::as_slice);
        for wish in &wishes {
            if bindings.iter().any(|b| b.is(wish) && b.is_newer_than(call_id, cseq)) {
                return Err(Refusal(500));
            }
        }
        if self.count + wishes.len() > BINDINGS_MAX {
            return Err(Refusal(503));
        }
        for wish in wishes {
            self.apply(now, user, devices_max, wish, (call_id, cseq), flow, &mut changes);
        }
        changes.expires = self.next_expiry(user);
        Ok(changes)
    }

    #[allow(clippy::too_many_arguments, reason = "the parts of one request, each used once")]
    fn apply(
        &mut self,
        now: Now,
        user: &UserName,
        devices_max: u32,
        wish: Wish,
        (call_id, cseq): (&str, u32),
        flow: Flow,
        changes: &mut Changes,
    ) {
        let known = self.users.get(user).and_then(|bindings| bindings.iter().position(|b| b.is(&wish)));
        if wish.expires_s == 0 {
            if let Some(at) = known {
                self.remove(user, at, "unregistered", changes);
            }
            return;
        }
        let binding = Binding {
            contact: wish.contact,
            instance: wish.instance,
            flow,
            source: flow.remote,
            call_id: call_id.into(),
            cseq,
            expires: now.instant + Duration::from_secs(wish.expires_s.into()),
            until: (now + Duration::from_secs(wish.expires_s.into())).wall,
            heard: now.instant,
        };
        changes.remembered.push(binding.remembered(user));
        *self.sources.entry((flow.transport, flow.remote)).or_default() += 1;
        *self.hosts.entry(guard::network(flow.remote.ip())).or_default() += 1;
        if let Some(at) = known {
            let bindings = self.users.get_mut(user).expect("the position was found in it");
            let before = std::mem::replace(&mut bindings[at], binding);
            self.forget_source(&before);
            return;
        }
        let held = self.users.get(user).map_or(0, Vec::len);
        if held >= devices_max.max(1) as usize {
            let bindings = &self.users[user];
            let eldest = (0..held).min_by_key(|&at| bindings[at].heard).expect("at least one is held");
            self.remove(user, eldest, "replaced", changes);
        }
        self.users.entry(user.clone()).or_default().push(binding);
        self.count += 1;
        changes.added.push((flow.remote, wish.expires_s));
    }

    /// Takes a device that was remembered over a restart. False: its time is over, or there is no room for it.
    pub(crate) fn restore(&mut self, now: Now, devices_max: u32, device: &Device) -> bool {
        let left = Duration::from_micros(device.expires.0.saturating_sub(now.wall.0));
        let held = self.users.get(&device.user).map_or(0, Vec::len);
        let Ok(contact) = Uri::parse(&device.contact).map(Uri::into_owned) else { return false };
        if left.is_zero() || held >= devices_max.max(1) as usize || self.count >= BINDINGS_MAX {
            return false;
        }
        let Device { transport, local, remote, .. } = *device;
        let binding = Binding {
            contact,
            instance: device.instance.as_deref().map(Into::into),
            flow: Flow { transport, local, remote, connection: None },
            source: remote,
            call_id: device.call_id.as_str().into(),
            cseq: device.cseq,
            // A clock that was set back must not make it immortal.
            expires: now.instant + left.min(Duration::from_secs(EXPIRES_MAX_S.into())),
            until: device.expires,
            heard: now.instant,
        };
        *self.sources.entry((transport, remote)).or_default() += 1;
        *self.hosts.entry(guard::network(remote.ip())).or_default() += 1;
        self.users.entry(device.user.clone()).or_default().push(binding);
        self.count += 1;
        true
    }

    /// When to look for expired bindings of a user.
    pub(crate) fn due(&self, user: &UserName) -> Changes {
        Changes { expires: self.next_expiry(user), ..Changes::default() }
    }

    /// Takes out what has expired; the next time to look.
    pub(crate) fn expire(&mut self, now: Instant, user: &UserName) -> Changes {
        let mut changes = Changes::default();
        self.retain(user, |binding| (binding.expires <= now).then_some("expired"), &mut changes);
        changes.expires = self.next_expiry(user);
        changes
    }

    /// Takes out all of a user's devices.
    pub(crate) fn drop_user(&mut self, user: &UserName) -> Changes {
        let mut changes = Changes::default();
        self.retain(user, |_| Some("user removed"), &mut changes);
        changes
    }

    /// The devices of a user.
    pub(crate) fn bindings(&self, user: &str) -> &[Binding] {
        self.users.get(user).map_or(&[], Vec::as_slice)
    }

    /// Users with at least one device.
    pub(crate) fn users(&self) -> impl Iterator<Item = &UserName> {
        self.users.keys()
    }

    /// Whether a device is registered from where this flow comes from.
    pub(crate) fn knows(&self, flow: Flow) -> bool {
        self.sources.contains_key(&(flow.transport, flow.remote))
    }

    /// Whether a device is registered from this address or network.
    pub(crate) fn lives_at(&self, host: Prefix) -> bool {
        self.hosts.contains_key(&host)
    }

    /// A connection is gone, and with it the devices that registered over it (RFC 5626 6): only they can make a new one, and then
    /// they register again. But one on TCP whose Contact is its own address has no NAT before it and can be connected to.
    pub(crate) fn connection_lost(&mut self, now: Instant, user: &UserName, id: ConnectionId) -> Changes {
        for binding in self.users.get_mut(user).into_iter().flatten().filter(|b| b.flow.connection == Some(id)) {
            if binding.is_reachable() && binding.flow.transport == Transport::Tcp {
                binding.flow.connection = None;
                binding.flow.remote = binding.own_address();
            }
        }
        let mut changes = Changes::default();
        let gone = |b: &Binding| (b.flow.connection == Some(id)).then_some("its connection is gone");
        self.retain(user, gone, &mut changes);
        changes.expires = self.next_expiry(user).filter(|at| *at > now);
        changes
    }

    /// Devices in all.
    pub(crate) fn len(&self) -> usize {
        self.count
    }

    fn forget_source(&mut self, binding: &Binding) {
        uncount(&mut self.sources, (binding.flow.transport, binding.source));
        uncount(&mut self.hosts, guard::network(binding.source.ip()));
    }

    fn next_expiry(&self, user: &UserName) -> Option<Instant> {
        self.users.get(user)?.iter().map(|b| b.expires).min()
    }

    fn retain(&mut self, user: &UserName, gone: impl Fn(&Binding) -> Option<&'static str>, changes: &mut Changes) {
        let mut at = 0;
        while let Some(binding) = self.users.get(user).and_then(|bindings| bindings.get(at)) {
            match gone(binding) {
                Some(why) => self.remove(user, at, why, changes),
                None => at += 1,
            }
        }
    }

    fn remove(&mut self, user: &UserName, at: usize, why: &'static str, changes: &mut Changes) {
        let Some(bindings) = self.users.get_mut(user) else { return };
        let binding = bindings.remove(at);
        changes.remembered.push(binding.forgotten(user));
        if bindings.is_empty() {
            self.users.remove(user);
        }
        self.forget_source(&binding);
        self.count -= 1;
        changes.removed.push((binding.source, why));
    }
}

impl Binding {
    fn is(&self, wish: &Wish) -> bool {
        match (&self.instance, &wish.instance) {
            (Some(a), Some(b)) => a == b,
            _ => self.contact.equivalent(&wish.contact),
        }
    }

    /// RFC 3261 10.3 step 7: within one Call-ID only a higher CSeq may change a binding.
    fn is_newer_than(&self, call_id: &str, cseq: u32) -> bool {
        *self.call_id == *call_id && self.cseq >= cseq
    }

    fn key(&self) -> String {
        self.instance.as_deref().map_or_else(|| self.contact.to_string(), str::to_owned)
    }

    fn forgotten(&self, user: &UserName) -> DeviceChange {
        DeviceChange::Forget { user: user.clone(), key: self.key() }
    }

    /// As it is to be remembered over a restart. A connection does not outlive us, and so a device that only it reaches is forgotten.
    fn remembered(&self, user: &UserName) -> DeviceChange {
        let remote = match self.flow.transport {
            Transport::Udp => self.flow.remote,
            Transport::Tcp if self.is_reachable() => self.own_address(),
            _ => return self.forgotten(user),
        };
        DeviceChange::Keep(Box::new(Device {
            user: user.clone(),
            contact: self.contact.to_string(),
            instance: self.instance.as_deref().map(str::to_owned),
            transport: self.flow.transport,
            local: self.flow.local,
            remote,
            call_id: self.call_id.to_string(),
            cseq: self.cseq,
            expires: self.until,
        }))
    }

    /// Whether its Contact is the address that it came from: there is no NAT before it, and it can be connected to.
    fn is_reachable(&self) -> bool {
        self.contact.host_ip() == Some(self.source.ip())
    }

    fn own_address(&self) -> SocketAddr {
        SocketAddr::new(self.source.ip(), self.contact.port().unwrap_or(5060))
    }

    /// Its `+sip.instance`.
    pub(crate) fn instance(&self) -> Option<&str> {
        self.instance.as_deref()
    }

    /// Seconds left, for the answer.
    pub(crate) fn expires_in_s(&self, now: Instant) -> u64 {
        self.expires.saturating_duration_since(now).as_secs()
    }
}

fn uncount<K: Hash + Eq>(counts: &mut HashMap<K, u32>, of: K) {
    if let Entry::Occupied(mut count) = counts.entry(of) {
        *count.get_mut() -= 1;
        if *count.get() == 0 {
            count.remove();
        }
    }
}

fn wishes(request: &Request) -> Result<Vec<Wish>, Refusal> {
    let default = match request.headers.number(Name::Expires) {
        Some(Ok(seconds)) => seconds,
        // RFC 3261 10.2.1.1: what does not read counts as 3600.
        Some(Err(_)) | None => EXPIRES_MAX_S,
    };
    let mut wishes = Vec::new();
    for contact in request.headers.contacts() {
        let Ok(Contact::Address(address)) = contact else { return Err(Refusal(400)) };
        if wishes.len() >= CONTACTS_MAX {
            return Err(Refusal(400));
        }
        let contact = address.uri().map_err(|_| Refusal(400))?;
        if !["sip", "sips"].iter().any(|scheme| contact.scheme_str().eq_ignore_ascii_case(scheme)) {
            return Err(Refusal(400));
        }
        let asked = address.param("expires").map_or(default, |text| text.parse().unwrap_or(EXPIRES_MAX_S));
        if (1..EXPIRES_MIN_S).contains(&asked) {
            return Err(Refusal(423));
        }
        wishes.push(Wish {
            instance: instance(&address),
            contact: contact.into_owned(),
            expires_s: asked.min(EXPIRES_MAX_S),
        });
    }
    Ok(wishes)
}

fn instance(address: &NameAddr<'_>) -> Option<Box<str>> {
    address.params.text("+sip.instance").filter(|text| !text.is_empty()).map(|text| text.into())
}

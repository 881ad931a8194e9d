//! Who can be reached where (RFC 3261 10.3): the bindings that proven users asked for, and their expiry.
//!
//! A device is known by its `+sip.instance` (RFC 5627), else by its Contact. It is reached over the flow that its REGISTER
//! came by, not by its Contact's address: that one is wrong behind NAT. A device may have several such flows (RFC 5626), told apart
//! by their `reg-id`; one that comes again, by whatever address or connection, takes the place of its own. When a user has as many
//! devices as allowed, the one that was heard of longest ago makes room: it is mostly the same device before it restarted on another
//! port, and a refusal would lock its owner out until that binding expires.
//!
//! What is written to disk is ahead of what was granted, so that a device which refreshes often costs a write now and then.
//!
//! Left out: Path (RFC 3327). Who registers through a proxy is reached over that proxy's flow, and has no outbound (439).

use std::{
    collections::{HashMap, hash_map::Entry},
    hash::Hash,
    net::SocketAddr,
    time::{Duration, Instant},
};

use postern_config::{Lease, Prefix};
use postern_sip::{Name, Request, Uri, message::Contact, transaction::Flow};
use postern_types::{
    ConnectionId, Now, Transport, UnixMicros, UserName,
    device::{self, Device, DeviceChange},
};

use crate::guard;

/// Least lifetime, seconds, unless less is granted to everybody: keeps a device from loading the registrar; a shorter wish is answered
/// with 423.
const EXPIRES_MIN_S: u32 = 60;
/// The longest that can be granted, seconds: `registrations.expires` allows no more.
const EXPIRES_MAX_S: u32 = 86_400;
/// Lifetime that a wish which does not read stands for, seconds (RFC 3261 10.2.1.1).
const EXPIRES_UNREAD_S: u32 = 3600;
/// RFC 5626 4.2.
const REG_ID_MAX: u32 = (1 << 31) - 1;
/// How much longer than it was granted a device is written down for. After a restart one that went without a word is called in vain for
/// so long at most; one that refreshes every minute costs a write in a quarter of an hour.
const WRITTEN_AHEAD: Duration = Duration::from_secs(900);
/// Flows of one device at most: RFC 5626 4.2.1 sees two, each over another proxy. The one heard of longest ago makes room.
const FLOWS_MAX: usize = 4;
/// Bytes of a `+sip.instance` at most; 400 beyond. A URN of a UUID has 47, and it stands in answers and addresses.
const INSTANCE_MAX: usize = 256;
/// Contacts of one REGISTER at most; phones send one. 400 beyond.
const CONTACTS_MAX: usize = 8;
/// Flows of all devices at most. 503 beyond.
const BINDINGS_MAX: usize = 100_000;

/// A device that can be reached.
#[derive(Debug, Clone)]
pub(crate) struct Binding {
    /// What it wants in the Request-URI.
    pub(crate) contact: Uri<'static>,
    instance: Option<Box<str>>,
    /// Which of the device's flows it is, where it has several.
    reg_id: Option<u32>,
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
    /// Until when it is written down as it is now; none: it is not.
    written: Option<UnixMicros>,
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
    /// It was about a flow of several (RFC 5626), which the answer says.
    pub(crate) outbound: bool,
}

/// What holds for one REGISTER.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Terms {
    /// Devices of the user at most.
    pub(crate) devices_max: u32,
    /// What the realm grants.
    pub(crate) lease: Lease,
}

/// Why a REGISTER is refused: the status to answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Refusal(pub(crate) u16);

/// One contact of a REGISTER, checked.
struct Wish {
    contact: Uri<'static>,
    instance: Option<Box<str>>,
    reg_id: Option<u32>,
    expires_s: u32,
}

impl Registrar {
    /// Applies a REGISTER of a user that proved to be it. All of it, or nothing (RFC 3261 10.3 step 7).
    pub(crate) fn register(
        &mut self,
        now: Now,
        user: &UserName,
        terms: Terms,
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

        let wishes = wishes(request, flow, terms.lease)?;
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
            changes.outbound |= wish.reg_id.is_some();
            self.apply(now, user, terms.devices_max, wish, (call_id, cseq), flow, &mut changes);
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
            reg_id: wish.reg_id,
            flow,
            source: flow.remote,
            call_id: call_id.into(),
            cseq,
            expires: now.instant + Duration::from_secs(wish.expires_s.into()),
            until: (now + Duration::from_secs(wish.expires_s.into())).wall,
            heard: now.instant,
            written: None,
        };
        self.count_source(&binding);
        if let Some(at) = known {
            let place = &mut self.users.get_mut(user).expect("the position was found in it")[at];
            let before = std::mem::replace(place, binding);
            place.write_down(user, Some(&before), changes);
            self.forget_source(&before);
            return;
        }
        self.make_room(user, devices_max, &binding, changes);
        let mut binding = binding;
        binding.write_down(user, None, changes);
        self.users.entry(user.clone()).or_default().push(binding);
        self.count += 1;
        changes.added.push((flow.remote, wish.expires_s));
    }

    /// For one more binding: of too many flows of its device the eldest goes, of too many devices the one heard of longest ago.
    fn make_room(&mut self, user: &UserName, devices_max: u32, new: &Binding, changes: &mut Changes) {
        let bindings = self.bindings(user.as_str());
        let heard = |device: &str| {
            let of_it = bindings.iter().filter(|b| b.device() == device);
            of_it.map(|b| b.heard).collect::<Vec<_>>()
        };
        let flows = heard(new.device());
        if flows.len() >= FLOWS_MAX {
            let is_eldest = |b: &Binding| b.device() == new.device() && Some(&b.heard) == flows.iter().min();
            if let Some(at) = bindings.iter().position(is_eldest) {
                self.remove(user, at, "replaced", changes);
            }
        } else if flows.is_empty() && self.devices(user.as_str()) >= devices_max.max(1) {
            let devices = bindings.iter().map(Binding::device);
            let eldest = devices.min_by_key(|device| heard(device).into_iter().max()).map(str::to_owned);
            self.retain(user, |b| (Some(b.device()) == eldest.as_deref()).then_some("replaced"), changes);
        }
    }

    /// Takes a device that was remembered over a restart. False: its time is over, or there is no room for it.
    pub(crate) fn restore(&mut self, now: Now, terms: Terms, device: &Device) -> bool {
        let left = Duration::from_micros(device.expires.0.saturating_sub(now.wall.0));
        let Ok(contact) = Uri::parse(&device.contact).map(Uri::into_owned) else { return false };
        if left.is_zero() || self.count >= BINDINGS_MAX {
            return false;
        }
        let Device { transport, local, remote, .. } = *device;
        let binding = Binding {
            contact,
            instance: device.instance.as_deref().map(Into::into),
            reg_id: device.reg_id,
            flow: Flow { transport, local, remote, connection: None },
            source: remote,
            call_id: device.call_id.as_str().into(),
            cseq: device.cseq,
            // A clock that was set back must not make it immortal.
            expires: now.instant + left.min(terms.lease.expires),
            until: device.expires,
            heard: now.instant,
            written: Some(device.expires),
        };
        let bindings = self.bindings(device.user.as_str());
        let flows = bindings.iter().filter(|b| b.device() == binding.device()).count();
        if flows >= FLOWS_MAX || (flows == 0 && self.devices(device.user.as_str()) >= terms.devices_max.max(1)) {
            return false;
        }
        self.count_source(&binding);
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

    /// How many devices a user has, each with one flow or several.
    pub(crate) fn devices(&self, user: &str) -> u32 {
        let bindings = self.bindings(user);
        let is_first = |(at, b): &(usize, &Binding)| !bindings[..*at].iter().any(|other| other.device() == b.device());
        bindings.iter().enumerate().filter(is_first).count() as u32
    }

    /// The flows to the devices of a user.
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

    /// Flows to devices in all.
    pub(crate) fn len(&self) -> usize {
        self.count
    }

    fn count_source(&mut self, binding: &Binding) {
        *self.sources.entry((binding.flow.transport, binding.source)).or_default() += 1;
        *self.hosts.entry(guard::network(binding.source.ip())).or_default() += 1;
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
        if binding.written.is_some() {
            changes.remembered.push(binding.forgotten(user));
        }
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
            (Some(a), Some(b)) => a == b && self.reg_id == wish.reg_id,
            _ => self.contact.equivalent(&wish.contact),
        }
    }

    /// RFC 3261 10.3 step 7: within one Call-ID only a higher CSeq may change a binding.
    fn is_newer_than(&self, call_id: &str, cseq: u32) -> bool {
        *self.call_id == *call_id && self.cseq >= cseq
    }

    /// What its device is told from others by.
    pub(crate) fn device(&self) -> &str {
        self.instance.as_deref().unwrap_or(self.contact.as_str())
    }

    fn key(&self) -> String {
        device::key(self.contact.as_str(), self.instance.as_deref(), self.reg_id)
    }

    fn forgotten(&self, user: &UserName) -> DeviceChange {
        DeviceChange::Forget { user: user.clone(), key: self.key() }
    }

    /// Where it is reached after a restart. None: a connection does not outlive us, and so a device that only it reaches is forgotten.
    fn lasting(&self) -> Option<SocketAddr> {
        match self.flow.transport {
            Transport::Udp => Some(self.flow.remote),
            Transport::Tcp if self.is_reachable() => Some(self.own_address()),
            _ => None,
        }
    }

    /// Has it remembered over a restart, unless that is so already. `before`: what it took the place of.
    fn write_down(&mut self, user: &UserName, before: Option<&Self>, changes: &mut Changes) {
        let known = before.filter(|before| before.written.is_some());
        let Some(remote) = self.lasting() else {
            changes.remembered.extend(known.map(|before| before.forgotten(user)));
            return;
        };
        if let Some(before) = known {
            let is_same = before.lasting() == Some(remote)
                && before.flow.local == self.flow.local
                && before.flow.transport == self.flow.transport
                && before.contact.as_str() == self.contact.as_str()
                && before.call_id == self.call_id;
            if is_same && before.written >= Some(self.until) {
                self.written = before.written;
                return;
            }
            if before.key() != self.key() {
                changes.remembered.push(before.forgotten(user));
            }
        }
        let expires = UnixMicros(self.until.0 + WRITTEN_AHEAD.as_micros() as u64);
        self.written = Some(expires);
        changes.remembered.push(DeviceChange::Keep(Box::new(Device {
            user: user.clone(),
            contact: self.contact.to_string(),
            instance: self.instance.as_deref().map(str::to_owned),
            reg_id: self.reg_id,
            transport: self.flow.transport,
            local: self.flow.local,
            remote,
            call_id: self.call_id.to_string(),
            cseq: self.cseq,
            expires,
        })));
    }

    /// Whether its Contact is the address that it came from: there is no NAT before it, and it can be connected to.
    fn is_reachable(&self) -> bool {
        self.contact.host_ip() == Some(self.source.ip())
    }

    fn own_address(&self) -> SocketAddr {
        SocketAddr::new(self.source.ip(), self.contact.port().unwrap_or(5060))
    }

    /// When it was heard of last.
    pub(crate) fn heard(&self) -> Instant {
        self.heard
    }

    /// What registered it, as far as temporary addresses live as long (RFC 5627 3.1.2).
    pub(crate) fn call_id(&self) -> &str {
        &self.call_id
    }

    /// Its `reg-id`.
    pub(crate) fn reg_id(&self) -> Option<u32> {
        self.reg_id
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

fn wishes(request: &Request, flow: Flow, lease: Lease) -> Result<Vec<Wish>, Refusal> {
    let default = match request.headers.number(Name::Expires) {
        Some(Ok(seconds)) => seconds,
        Some(Err(_)) => EXPIRES_UNREAD_S,
        None => EXPIRES_MAX_S,
    };
    let is_direct = request.headers.vias().count() == 1;
    let wants_outbound =
        [Name::Supported, Name::Require].iter().any(|&name| request.headers.has_token(name, "outbound"));
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
        let instance: Option<Box<str>> =
            address.params.text("+sip.instance").filter(|text| !text.is_empty()).map(|text| text.into());
        if instance.as_ref().is_some_and(|instance| instance.len() > INSTANCE_MAX) {
            return Err(Refusal(400));
        }
        // RFC 5626 6: without an instance, or by who does not know outbound, it means nothing.
        let reg_id = address.param("reg-id").filter(|_| instance.is_some() && wants_outbound);
        let reg_id =
            reg_id.map(|text| text.parse().ok().filter(|id| (1..=REG_ID_MAX).contains(id)).ok_or(Refusal(400)));
        let reg_id = reg_id.transpose()?;
        if reg_id.is_some() && !is_direct {
            return Err(Refusal(439));
        }
        let longest = match lease.behind_nat.filter(|_| reg_id.is_none() && is_behind_nat(request, flow)) {
            Some(behind_nat) => behind_nat.min(lease.expires),
            None => lease.expires,
        };
        let longest = u32::try_from(longest.as_secs()).unwrap_or(EXPIRES_MAX_S).min(EXPIRES_MAX_S);
        let asked = address.param("expires").map_or(default, |text| text.parse().unwrap_or(EXPIRES_UNREAD_S));
        if (1..least_s(lease)).contains(&asked) {
            return Err(Refusal(423));
        }
        wishes.push(Wish { instance, reg_id, contact: contact.into_owned(), expires_s: asked.min(longest) });
    }
    // RFC 5626 6: a flow comes alone.
    let flows = wishes.iter().filter(|wish| wish.reg_id.is_some() && wish.expires_s > 0).count();
    let kept = wishes.iter().filter(|wish| wish.expires_s > 0).count();
    if flows > 0 && kept > 1 { Err(Refusal(400)) } else { Ok(wishes) }
}

/// The shortest lifetime that a realm takes, seconds; for Min-Expires.
pub(crate) fn least_s(lease: Lease) -> u32 {
    let shortest = lease.behind_nat.map_or(lease.expires, |behind_nat| behind_nat.min(lease.expires));
    u32::try_from(shortest.as_secs()).unwrap_or(EXPIRES_MIN_S).min(EXPIRES_MIN_S)
}

/// Whether somebody rewrote the address on the way: the sender's own word for it is another (RFC 3581 4).
fn is_behind_nat(request: &Request, flow: Flow) -> bool {
    let Ok(via) = request.headers.via() else { return true };
    let is_elsewhere = postern_sip::uri::ip_of(via.host) != Some(flow.remote.ip());
    // The port of a connection is never the one that is listened on.
    let port = via.port.unwrap_or(if flow.transport.is_secure() { 5061 } else { 5060 });
    is_elsewhere || (flow.transport == Transport::Udp && port != flow.remote.port())
}

//! A leg that goes out: from the router's Dial to its answer or failure.
//!
//! Each device or address that is tried is a side with an INVITE of its own. The first 2xx wins the leg; the other sides live
//! on without it until their INVITE is over: cancelled, or, when their 2xx crosses the CANCEL, acknowledged and ended by BYE.

use std::{
    collections::VecDeque,
    net::{IpAddr, SocketAddr},
    time::Instant,
};

use postern_sip::{
    Method, Name, RequestBuilder, Response, SentBy, Uri, build,
    dialog::Dialog,
    digest, relief,
    transaction::{ClientKey, Flow, T1_64},
    uri::Scheme,
};
use postern_types::{
    CallSid, Cause, EndedBy, RealmName, Secret, Transport, TrunkName,
    leg::{Dial, LegEvent, Target as Callee},
    stream::AudioStream,
    trust::Trust,
};

use crate::{
    Client, Output, Signaling,
    early::{self, Heard},
    editing,
    headers::{self, PRODUCT, SDP},
    identity,
    ladder::Place,
    legs::Leg,
    offered::contact,
    places::Endpoint,
    refresh::{self, RAISES_MAX},
    registrar::Binding,
    rules::Rules,
    side::{Calling, OfferAnswer, OurDescription, Session, Side, State, Tag},
    targets::Target,
    timers::Timer,
};

/// Challenges answered for one request: one of a proxy, one of its server, and a stale nonce.
pub(crate) const TRIES_MAX: u8 = 3;
/// Bytes of a request that a datagram surely carries when nothing is known of the way (RFC 3261 18.1.1).
pub(crate) const DATAGRAM_MAX: usize = 1300;

/// Where one INVITE or message goes.
#[derive(Debug)]
pub(crate) struct Way {
    /// The Request-URI.
    uri: Uri<'static>,
    /// The URI in To.
    pub(crate) to: Uri<'static>,
    pub(crate) endpoint: Endpoint,
    flow: Flow,
    /// Whom a connection is made to, and the trunk that it is.
    name: Box<str>,
    pub(crate) trunk: Option<TrunkName>,
    /// Whether a request too large for a datagram goes by TCP.
    large_over_tcp: bool,
    keeps_flow: bool,
    pub(crate) credentials: Option<(Box<str>, Secret<String>)>,
}

/// A request outside of dialogs that begins.
pub(crate) struct Opening {
    pub(crate) request: RequestBuilder,
    pub(crate) call_id: String,
    /// Ours, as From has it.
    pub(crate) host: String,
}

impl Signaling {
    /// The router dials.
    pub(crate) fn dial(&mut self, now: Instant, dial: Box<Dial>) {
        let sid = dial.leg;
        if self.legs.contains(sid) {
            return;
        }
        let trunk = match &dial.target {
            Callee::Trunk { trunk, .. } => Some(trunk.clone()),
            _ => None,
        };
        if self.legs.is_full(dial.emergency) {
            self.counters.overloaded += 1;
            let cause = Cause::new(503, "as many calls as are allowed");
            return self.tell(LegEvent::Failed { leg: sid, by: EndedBy::Postern, cause });
        }
        self.timers.set(now + dial.timeout, Timer::NoAnswer(sid));
        let leg = Leg { sides: Vec::new(), dial: Some(dial.clone()), ladder: None, failure: None };
        self.legs.insert(sid, leg, trunk);
        let outcome = match &dial.target {
            Callee::User { user, device } => self.dial_user(now, &dial, user.as_str(), device.as_deref()),
            Callee::Trunk { .. } | Callee::Uri { .. } => self.ladder(now, &dial).map(|ladder| {
                if let Some(leg) = self.legs.get_mut(sid) {
                    leg.ladder = Some(Box::new(ladder));
                }
                self.climb(now, sid);
            }),
        };
        if let Err(cause) = outcome {
            self.fail(now, sid, EndedBy::Postern, cause);
        }
    }

    /// To a device by one of its flows.
    pub(crate) fn way_to(&self, user: &str, binding: &Binding) -> Option<Way> {
        let endpoint = self.places.endpoint(binding.flow).cloned()?;
        let to = Uri::sip(Some(user), &endpoint.advertised.ip().to_string(), None).ok()?;
        Some(Way {
            uri: binding.contact.clone(),
            to,
            endpoint,
            flow: binding.flow,
            name: Box::default(),
            trunk: None,
            large_over_tcp: false,
            keeps_flow: true,
            credentials: None,
        })
    }

    /// One INVITE to one place.
    pub(crate) fn dial_place(
        &mut self,
        now: Instant,
        dial: &Dial,
        realm: &RealmName,
        place: &Place,
    ) -> Result<(), Cause> {
        let way = self.way(&dial.target, realm, place)?;
        self.launch(now, dial, way);
        let launched = self.legs.get(dial.leg).is_some_and(|leg| !leg.sides.is_empty());
        if launched { Ok(()) } else { Err(Cause::new(503, "too many transactions or connections")) }
    }

    /// To a place of a trunk or URI.
    pub(crate) fn way(&self, callee: &Callee, realm: &RealmName, place: &Place) -> Result<Way, Cause> {
        let Target { transport, remote } = place.target;
        let endpoint = self.places.endpoint_in(realm, remote.is_ipv6(), transport).cloned();
        let endpoint = endpoint.ok_or_else(|| Cause::new(503, "no address that can be reached"))?;
        let bad = |_| Cause::new(484, "not an address that can be dialed");
        let mut via_trunk = None;
        let (uri, credentials) = match callee {
            Callee::Trunk { trunk, number } => {
                via_trunk = Some(trunk.clone());
                let port = place.port.filter(|port| *port != usual_port(transport));
                (Uri::sip(Some(number), &place.host, port).map_err(bad)?, self.trunk_credentials(trunk))
            }
            Callee::Uri { uri, credentials, .. } => {
                // What stands behind `?` is for the header list, never for a Request-URI (RFC 3261 19.1.5).
                let uri = uri.split('?').next().unwrap_or(uri);
                (Uri::parse(uri).map_err(bad)?.into_owned(), credentials.clone())
            }
            Callee::User { .. } => return Err(Cause::new(500, "a user is not reached by address")),
        };
        let settings = via_trunk.as_ref().and_then(|trunk| self.places.config.trunks.get(trunk));
        let large_over_tcp = transport == Transport::Udp && settings.is_some_and(|trunk| trunk.large_over_tcp);
        let is_phone = settings.is_some_and(|trunk| trunk.workarounds.user_phone);
        let phone = |uri: Uri<'static>| if is_phone { headers::as_phone(uri) } else { uri };
        Ok(Way {
            to: phone(uri.without_params()),
            uri: phone(uri),
            flow: Flow { transport, local: endpoint.local, remote, connection: None },
            endpoint,
            name: place.host.clone(),
            trunk: via_trunk,
            large_over_tcp,
            keeps_flow: false,
            credentials,
        })
    }

    /// What a request outside of dialogs begins with: Via, Max-Forwards, From, To, Call-ID, CSeq. `verdict`, for who is told how far the caller
    /// is to be believed. None: From can be none.
    pub(crate) fn open_request(
        &mut self,
        method: Method,
        way: &Way,
        (from, from_name): (&str, &str),
        verdict: Option<&Trust>,
        max_forwards: u8,
        tag: Tag,
    ) -> Option<Opening> {
        // Where we are registered we are known by an address of the registrar's domain.
        let trunk = way.trunk.as_ref().and_then(|trunk| self.places.config.trunks.get(trunk));
        let relief = if trunk.is_some_and(|trunk| trunk.overload_control) { relief::WANTED } else { "" };
        let registered = trunk.and_then(|trunk| trunk.register.as_ref());
        let host =
            registered.map_or_else(|| way.endpoint.advertised.ip().to_string(), |register| register.domain.clone());
        let user = headers::tidy(from);
        // RFC 3323 4.1: a host that is nobody's.
        let shown = if user.eq_ignore_ascii_case(identity::ANONYMOUS) { "anonymous.invalid" } else { &host };
        let user = verdict.map_or_else(|| user.clone(), |trust| identity::with_verstat(&user, trust));
        let mut from = Uri::sip(Some(&user).filter(|u| !u.is_empty()).map(|u| &**u), shown, None).ok()?;
        if trunk.is_some_and(|trunk| trunk.workarounds.user_phone) {
            from = headers::as_phone(from);
        }
        let call_id = format!("{:016x}{:016x}", self.random(), self.random());
        let request = RequestBuilder::new(method, &way.uri)
            .via_with(way.endpoint.sent_by(way.flow.transport), &self.new_branch(), relief)
            .max_forwards(max_forwards)
            .header(Name::From, &format!("{};tag={tag}", build::name_addr(&headers::tidy(from_name), &from)))
            .header(Name::To, &format!("<{}>", way.to))
            .header(Name::CallId, &call_id)
            .cseq(1);
        let routes = way.trunk.iter().flat_map(|trunk| self.registrations.routes(trunk));
        let request = routes.fold(request, |request, route| request.header(Name::Route, route));
        Some(Opening { request, call_id, host })
    }

    /// What it goes over, opened where it must be. None: it cannot be had.
    pub(crate) fn flow_of(&mut self, now: Instant, way: &Way) -> Option<Flow> {
        match way.flow.transport {
            Transport::Udp => Some(way.flow),
            _ if way.keeps_flow => self.ready(now, way.flow),
            _ => self.open(now, way.flow, &way.name, way.trunk.clone()),
        }
    }

    /// Sends one INVITE. None: it could not be sent.
    pub(crate) fn launch(&mut self, now: Instant, dial: &Dial, mut way: Way) -> Option<Tag> {
        let tag = self.new_tag();
        let user_called = match &dial.target {
            Callee::User { user, .. } => Some(user),
            Callee::Trunk { .. } | Callee::Uri { .. } => None,
        };
        let rules = Rules::of(&self.places.config, way.trunk.as_ref(), user_called, &way.endpoint.realm);
        let mut ours = OurDescription::new(self.random(), rules.workarounds);
        let (from, verdict) = ((&*dial.from, &*dial.from_name), rules.verstat.then_some(&dial.identity.trust));
        let Opening { request, call_id, host } =
            self.open_request(Method::Invite, &way, from, verdict, dial.max_forwards, tag)?;
        let mut request = request
            .header(Name::Contact, &contact(way.endpoint.contact()))
            .header(Name::Allow, rules.allow())
            .header(Name::UserAgent, PRODUCT);
        if !rules.supported().is_empty() {
            request = request.header(Name::Supported, rules.supported());
        }
        request = early::require(rules.rel100, refresh::ask(&rules.session_timer, request));
        if rules.trusted {
            // RFC 5009 8: it may say whether what comes before the answer is to be heard.
            request = identity::tell(&dial.identity, &way.to, &host, request).other("P-Early-Media", "supported");
        }
        let (mut request, vouched) = self.vouch(dial, way.trunk.as_ref(), request);
        for (name, value) in headers::allowed_extra(&dial.headers) {
            request = request.other(name, value);
        }
        let mut invite = request.body(SDP, ours.write(&dial.offer, None)).build();
        let (mut leaves, edited) = editing::sent(rules.headers.as_deref(), &invite);
        let mut fallback = None;
        if way.large_over_tcp && leaves.len() > DATAGRAM_MAX {
            fallback = Some((way.flow, way.endpoint.clone()));
            self.move_to_tcp(&mut way);
            invite = readdressed(&invite, &way.endpoint, Transport::Tcp, &self.new_branch());
            leaves = editing::sent(rules.headers.as_deref(), &invite).0;
        }
        let advertised = way.endpoint.sent_by(way.flow.transport);
        let flow = self.flow_of(now, &way)?;
        let Some(key) = self.request_as_it_is(now, flow, leaves, Client::Invite(tag)) else {
            self.counters.overloaded += 1;
            return None;
        };
        if let Some(vouched) = vouched {
            self.tell(LegEvent::Vouched { leg: dial.leg, vouched });
        }
        self.outputs.push_back(Output::Dialed { leg: dial.leg, sip_call_id: call_id.into() });
        let side = Side {
            leg: Some(dial.leg),
            flow,
            advertised,
            contact: way.endpoint.contact(),
            keeps_flow: way.keeps_flow || rules.workarounds.ignore_contact,
            trunk: way.trunk.clone(),
            user: user_called.cloned(),
            ours,
            rules,
            credentials: way.credentials,
            state: State::Calling(Box::new(Calling {
                key,
                invite,
                tries: 0,
                raises: 0,
                heard: false,
                earlies: Vec::new(),
                offer_answer: OfferAnswer::Settled,
                fallback,
                flows: VecDeque::new(),
            })),
        };
        self.sides.insert(tag, side);
        if let Some(leg) = self.legs.get_mut(dial.leg) {
            leg.sides.push(tag);
        }
        if !edited.is_empty() {
            self.tell(LegEvent::HeadersChanged { leg: dial.leg, sent: true, rules: edited });
        }
        Some(tag)
    }

    /// RFC 3261 18.1.1: what does not fit goes by a transport that has congestion control.
    fn move_to_tcp(&self, way: &mut Way) {
        let ipv6 = way.flow.local.is_ipv6();
        if let Some(endpoint) = self.places.endpoint_in(&way.endpoint.realm, ipv6, Transport::Tcp) {
            way.endpoint = endpoint.clone();
        }
        way.flow = Flow { transport: Transport::Tcp, local: way.endpoint.local, ..way.flow };
    }

    /// The connection could not be made, or failed before anything was answered. What was only moved to TCP for its size goes by UDP after
    /// all (RFC 3261 18.1.1).
    pub(crate) fn on_invite_undelivered(&mut self, now: Instant, tag: Tag, why: &str) {
        let branch = self.new_branch();
        let Some(side) = self.sides.get_mut(&tag) else { return };
        let State::Calling(calling) = &mut side.state else { return };
        if let (Some((flow, endpoint)), Some(_)) = (calling.fallback.take(), side.leg) {
            let invite = readdressed(&calling.invite, &endpoint, Transport::Udp, &branch);
            let leaves = editing::sent(side.rules.headers.as_deref(), &invite).0;
            if let Ok(key) = self.transactions.send_request(now, flow, leaves) {
                (calling.key, calling.invite) = (key, invite);
                (side.flow, side.advertised, side.contact) =
                    (flow, endpoint.sent_by(Transport::Udp), endpoint.contact());
                self.clients.insert(key, Client::Invite(tag));
                return;
            }
        }
        let cause = Cause::new(503, format!("cannot be reached by {}: {why}", side.flow.transport));
        if self.takes_next_flow(now, tag, &cause) {
            return;
        }
        if let Some(sid) = self.sides.get(&tag).and_then(|side| side.leg) {
            self.target_failed(now, sid, tag, &cause);
        }
        self.side_failed(now, tag, EndedBy::Postern, cause);
    }

    /// It rang long enough. A far end that never said a word is told apart from one that rang: the remedies differ.
    pub(crate) fn no_answer(&mut self, now: Instant, sid: CallSid) {
        let Some(leg) = self.legs.get(sid).filter(|leg| leg.dial.is_some()) else { return };
        let mut silent = leg.sides.iter().filter_map(|tag| self.sides.get(tag)).map(|side| match &side.state {
            State::Calling(calling) if !calling.heard => Some(side.flow.remote),
            _ => None,
        });
        let cause = match silent.next() {
            Some(Some(remote)) if silent.all(|other| other.is_some()) => Cause {
                // Q.850 18: no user responding.
                q850: Some(18),
                ..Cause::new(Cause::NO_ANSWER.status, format!("no answer, nothing was heard from {remote}"))
            },
            _ => Cause::NO_ANSWER,
        };
        self.fail(now, sid, EndedBy::Postern, cause);
    }

    /// A response to the first INVITE of a side, also repeated or further 2xx after its answer.
    pub(crate) fn on_invite_response(
        &mut self,
        now: Instant,
        key: ClientKey,
        tag: Tag,
        response: Response,
        flow: Flow,
    ) {
        if let Some(sid) = self.sides.get(&tag).and_then(|side| side.leg) {
            self.target_answered(now, sid, tag, &response);
        }
        let Some(side) = self.sides.get_mut(&tag) else { return };
        match &mut side.state {
            State::Calling(calling) if calling.key == key => match response.status {
                100 => calling.heard = true,
                101..=199 => {
                    calling.heard = true;
                    let leg = side.leg;
                    if let (Heard::Progress(early), Some(leg)) = (self.on_provisional(now, tag, &response), leg) {
                        self.tell(LegEvent::Progress { leg, status: response.status, early });
                    }
                }
                200..=299 => self.on_answer(now, tag, &response, flow),
                422 if side.leg.is_some() && calling.raises < RAISES_MAX => self.raise(now, tag, &response),
                _ => {
                    let challenged = matches!(response.status, 401 | 407);
                    let (wanted, has_password) = (side.leg.is_some() && challenged, side.credentials.is_some());
                    if !wanted || !self.try_again(now, tag, &response) {
                        let cause = headers::cause_of(&response);
                        // RFC 5626 5.3: a proxy on the way lost this flow, not the device.
                        if cause.status == 430 && self.takes_next_flow(now, tag, &cause) {
                            return;
                        }
                        let cause = if challenged { explained(cause, has_password) } else { cause };
                        self.side_failed(now, tag, EndedBy::Peer, cause);
                    }
                }
            },
            State::Up(_) if response.is_success() => self.on_further_answer(now, tag, &response),
            State::Calling(_) | State::Up(_) | State::Offered(_) => {}
        }
    }

    /// A 2xx: the leg is answered, or came too late and is taken down.
    fn on_answer(&mut self, now: Instant, tag: Tag, response: &Response, flow: Flow) {
        let branch = self.new_branch();
        let Some(side) = self.sides.get_mut(&tag) else { return };
        let State::Calling(_) = &mut side.state else { return };
        let Some((mut dialog, early)) = self.confirmed(tag, response) else {
            // A 2xx without tag or with a broken route makes no dialog that could be acknowledged.
            return self.side_failed(now, tag, EndedBy::Peer, Cause::new(502, "an answer that makes no dialog"));
        };
        let Some(side) = self.sides.get_mut(&tag) else { return };
        let State::Calling(calling) = &mut side.state else { return };
        let cseq = calling.invite.headers.cseq().map_or(1, |cseq| cseq.number);
        let ack = dialog.ack(cseq, side.advertised, &branch, None);
        let answer = sdp_in(response).or(early);
        let mut session = Session::new(dialog);
        session.invite = Some((calling.key, calling.invite.clone()));
        session.is_caller = true;
        session.offer_answer = std::mem::replace(&mut calling.offer_answer, OfferAnswer::Settled);
        session.learn(&response.headers);
        let timer = refresh::timer_by(&side.rules.session_timer, &response.headers, None, now);
        side.state = State::Up(Box::new(session));
        let to = side.next_hop();
        self.send_ack(to, ack);
        let Some(sid) = self.sides.get(&tag).and_then(|side| side.leg) else {
            self.bye(now, tag, &Cause::NORMAL);
            self.forget(tag);
            return;
        };
        let others = match self.legs.get_mut(sid) {
            Some(leg) => {
                leg.dial = None;
                std::mem::replace(&mut leg.sides, vec![tag])
            }
            None => Vec::new(),
        };
        for other in others.into_iter().filter(|other| *other != tag) {
            self.release(now, other, &Cause::ELSEWHERE);
        }
        let sip_call_id = response.headers.call_id().unwrap_or_default().into();
        self.timers.set(now + T1_64, Timer::Settled(tag));
        self.set_session_timer(tag, timer);
        self.tell(LegEvent::Answered { leg: sid, answer, sip_call_id, remote: flow.remote });
    }

    /// A 2xx to an INVITE that was answered: our ACK was lost, or another fork answered too (RFC 3261 13.2.2.4).
    fn on_further_answer(&mut self, now: Instant, tag: Tag, response: &Response) {
        let (branch, last) = (self.new_branch(), self.new_branch());
        let Some(side) = self.sides.get_mut(&tag) else { return };
        let (advertised, flow, to) = (side.advertised, side.flow, side.next_hop());
        let State::Up(session) = &mut side.state else { return };
        if let Some(ack) = session.dialog.ack_again(response).cloned() {
            return self.send_ack(to, ack);
        }
        let Some((_, invite)) = &session.invite else { return };
        let Ok(mut stranger) = Dialog::uac(invite, response) else { return };
        if stranger.id() == session.dialog.id() {
            return;
        }
        let cseq = invite.headers.cseq().map_or(1, |cseq| cseq.number);
        let ack = stranger.ack(cseq, advertised, &branch, None);
        let to = hop(&stranger, flow, side.keeps_flow);
        let bye = stranger.request(Method::Bye, advertised, &last).header(Name::UserAgent, PRODUCT).build();
        self.send_ack(to, ack);
        self.request(now, to, bye, Client::Bye(None));
    }

    /// Answers a challenge to the first INVITE. False when there is no answer.
    fn try_again(&mut self, now: Instant, tag: Tag, response: &Response) -> bool {
        let (branch, cnonce) = (self.new_branch(), self.random());
        let Some(side) = self.sides.get_mut(&tag) else { return false };
        let State::Calling(calling) = &mut side.state else { return false };
        let Some(credentials) = &side.credentials else { return false };
        if calling.tries >= TRIES_MAX {
            return false;
        }
        let Some(invite) = authorized(
            &calling.invite,
            response,
            credentials,
            (side.advertised, &branch, cnonce),
            calling.invite.headers.cseq().map_or(1, |cseq| cseq.number) + 1,
        ) else {
            return false;
        };
        calling.tries += 1;
        self.invite_again(now, tag, invite)
    }

    /// The interval that we asked for was too small: once more, with the one that was told (RFC 4028 7.3).
    fn raise(&mut self, now: Instant, tag: Tag, response: &Response) {
        let branch = self.new_branch();
        let Some(side) = self.sides.get_mut(&tag) else { return };
        let State::Calling(calling) = &mut side.state else { return };
        calling.raises += 1;
        let cseq = calling.invite.headers.cseq().map_or(1, |cseq| cseq.number) + 1;
        let invite = refresh::raised(&calling.invite, response, side.advertised, &branch, cseq);
        if !self.invite_again(now, tag, invite) {
            self.side_failed(now, tag, EndedBy::Peer, headers::cause_of(response));
        }
    }

    /// Sends the first INVITE of a side once more, changed.
    fn invite_again(&mut self, now: Instant, tag: Tag, invite: postern_sip::Request) -> bool {
        let Some(flow) = self.sides.get(&tag).map(|side| side.flow) else { return false };
        let Some(flow) = self.ready(now, flow) else { return false };
        let leaves = self.edited(flow, None, invite.clone());
        let Ok(key) = self.transactions.send_request(now, flow, leaves) else { return false };
        let Some(side) = self.sides.get_mut(&tag) else { return false };
        side.flow = flow;
        let State::Calling(calling) = &mut side.state else { return false };
        calling.heard = true;
        let old = std::mem::replace(&mut calling.key, key);
        calling.invite = invite;
        calling.earlies.clear();
        self.clients.remove(&old);
        self.clients.insert(key, Client::Invite(tag));
        true
    }

    pub(crate) fn on_invite_timed_out(&mut self, now: Instant, tag: Tag) {
        let Some(Side { state: State::Calling(_), leg, .. }) = self.sides.get(&tag) else { return };
        let cause = Cause::new(408, "no answer to the INVITE: unreachable");
        if let Some(sid) = *leg {
            self.target_failed(now, sid, tag, &cause);
        }
        self.side_failed(now, tag, EndedBy::Postern, cause);
    }

    /// One side is out; the leg fails when it was the last.
    fn side_failed(&mut self, now: Instant, tag: Tag, by: EndedBy, cause: Cause) {
        let Some(sid) = self.forget(tag).and_then(|side| side.leg) else { return };
        let Some(leg) = self.legs.get_mut(sid) else { return };
        leg.sides.retain(|side| *side != tag);
        // RFC 3261 16.7 step 5: a 6xx speaks for all.
        let decisive = cause.status >= 600;
        leg.note(by, cause.clone());
        let last = leg.sides.is_empty();
        if last && !decisive && self.moves_on(now, sid, by, &cause) {
            return;
        }
        let Some(leg) = self.legs.get_mut(sid) else { return };
        if last || decisive {
            let (by, best) = leg.failure.take().expect("it was just set");
            self.fail(now, sid, by, best);
        }
    }
}

/// A host, and the port and transport as far as they are said.
type Said = (Box<str>, Option<u16>, Option<Transport>);

/// Where a SIP URI wants to be reached.
pub(crate) fn place_of_uri(uri: &str) -> Result<Said, Cause> {
    let uri = Uri::parse(uri).ok().filter(|uri| matches!(uri.scheme(), Scheme::Sip | Scheme::Sips));
    let uri = uri.ok_or_else(|| Cause::new(484, "not a SIP URI that can be dialed"))?;
    let transport = transport_of(&uri).ok_or_else(|| Cause::new(503, "a transport that is not spoken here"))?;
    // RFC 3263 4.1: what a `sip` URI does not say, DNS may.
    let is_said = uri.param("transport").is_some() || uri.scheme() == Scheme::Sips;
    Ok((uri.host().into(), uri.port(), is_said.then_some(transport)))
}

/// By what a URI wants to be reached (RFC 3261 19.1.2, 26.2.2). None for what is not spoken here, or only by clients of ours.
fn transport_of(uri: &Uri<'_>) -> Option<Transport> {
    let told = uri.param("transport").map(str::to_ascii_lowercase);
    match (uri.scheme(), told.as_deref()) {
        (Scheme::Sips, None | Some("tcp" | "tls")) | (_, Some("tls")) => Some(Transport::Tls),
        (Scheme::Sip, None | Some("udp")) => Some(Transport::Udp),
        (Scheme::Sip, Some("tcp")) => Some(Transport::Tcp),
        _ => None,
    }
}

/// The port of a SIP URI without one (RFC 3261 19.1.2).
fn usual_port(transport: Transport) -> u16 {
    if transport.is_secure() { 5061 } else { 5060 }
}

/// A first INVITE once more, for another transport: another Via and Contact, the next CSeq.
fn readdressed(
    invite: &postern_sip::Request,
    endpoint: &Endpoint,
    transport: Transport,
    branch: &str,
) -> postern_sip::Request {
    let cseq = invite.headers.cseq().map_or(1, |cseq| cseq.number) + 1;
    RequestBuilder::retry(invite, endpoint.sent_by(transport), branch, cseq, &[Name::Contact])
        .header(Name::Contact, &contact(endpoint.contact()))
        .build()
}

/// A challenge that was the end, in words that tell whom to ask.
pub(crate) fn explained(cause: Cause, has_password: bool) -> Cause {
    let why = if has_password {
        "our username and password were refused"
    } else {
        "wants a password, and none is configured"
    };
    Cause { text: format!("{}: {why}", cause.text).into(), ..cause }
}

/// A request once more with an answer to the challenge of `response`.
pub(crate) fn authorized(
    request: &postern_sip::Request,
    response: &Response,
    (username, password): &(Box<str>, Secret<String>),
    (advertised, branch, cnonce): (SentBy, &str, u64),
    cseq: u32,
) -> Option<postern_sip::Request> {
    let credentials = digest::Credentials { username, password };
    let values =
        digest::answer(response, request.method.as_str(), request.uri_str(), credentials, cnonce, &request.headers)
            .ok()?;
    // Each challenge replaces the credentials of its kind; those for a proxy stay when the server behind it asks.
    let replaced: Vec<Name> = values.iter().map(|(name, _)| *name).collect();
    let mut retry = RequestBuilder::retry(request, advertised, branch, cseq, &replaced);
    for (name, value) in &values {
        retry = retry.header(*name, value);
    }
    Some(retry.build())
}

/// Where the next request of a dialog goes: its first route or target when that is an address of a family we can send to
/// from here; else back where the dialog came from, as for every device. A private address told by a peer that is not
/// private itself is one behind NAT, which nobody can reach.
pub(crate) fn hop(dialog: &Dialog, flow: Flow, keeps_flow: bool) -> Flow {
    if keeps_flow {
        return flow;
    }
    let uri = dialog.next_hop();
    match uri.host_ip() {
        Some(ip) if ip.is_ipv6() == flow.local.is_ipv6() && !ip.is_unspecified() && !is_behind_nat(ip, flow) => {
            let remote = SocketAddr::new(ip, uri.port().unwrap_or(usual_port(flow.transport)));
            // RFC 5923: a connection serves its host, whatever port that listens on.
            let connection = flow.connection.filter(|_| ip == flow.remote.ip());
            Flow { remote, connection, ..flow }
        }
        _ => flow,
    }
}

fn is_behind_nat(told: IpAddr, flow: Flow) -> bool {
    let private = |ip: IpAddr| matches!(ip, IpAddr::V4(ip) if ip.is_private());
    private(told) && !private(flow.remote.ip())
}

/// The description in a response, if it has one that reads.
fn sdp_in(response: &Response) -> Option<Box<AudioStream>> {
    let described = crate::offered::description(&response.headers, &response.body).ok().flatten()?;
    Some(Box::new(described.audio))
}

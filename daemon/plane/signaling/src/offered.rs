//! A leg that comes in: from its INVITE to our final answer.

use std::{
    hash::{DefaultHasher, Hasher},
    time::Instant,
};

use postern_sdp::SdpError;
use postern_sip::{
    Headers, Name, Request, ResponseBuilder, SentBy,
    dialog::{AnswerKeeper, Dialog},
    transaction::{Flow, ServerKey},
};
use postern_types::{
    CallSid, Cause, EndedBy, Sid, Transport, TrunkName, UserName,
    leg::{Offered, Party},
    stream::AudioStream,
};

use crate::{
    Signaling,
    early::Provisional,
    editing::Changed,
    gruu::Called,
    headers::{self, PRODUCT, SDP},
    identity::{self, Caller},
    places::Endpoint,
    refresh, registering,
    replaces::Claimant,
    rules::Rules,
    side::{OfferAnswer, OfferedSide, OurDescription, Session, Side, State, Tag, Unacked},
    timers::Timer,
};

/// A party that proved who it is.
#[derive(Debug, Clone)]
pub(crate) enum Who {
    Trunk(TrunkName),
    User(UserName),
}

impl Signaling {
    /// An INVITE without To tag from a known party.
    pub(crate) fn offered(
        &mut self,
        now: Instant,
        key: ServerKey,
        request: Request,
        flow: Flow,
        who: Who,
        endpoint: &Endpoint,
    ) {
        let tag = self.new_tag();
        let merged_id = self.merged_id(&request.headers);
        let trunk = match &who {
            Who::Trunk(trunk) => Some(trunk.clone()),
            Who::User(_) => None,
        };
        let Called { to: called, device } = self.called(&request.uri());
        let emergency = self.places.config.is_emergency(&endpoint.realm, trunk.as_ref(), &called);
        let full = self.legs.is_full(emergency);
        let user = match &who {
            Who::User(user) => Some(user),
            Who::Trunk(_) => None,
        };
        let rules = Rules::of(&self.places.config, trunk.as_ref(), user, &endpoint.realm);
        let offer = match self.first_look(now, key, &request, tag, merged_id, &rules) {
            Some(_) if full => {
                self.counters.overloaded += 1;
                return self.reply(now, key, &request, 503, tag);
            }
            Some(offer) => offer,
            None => return,
        };
        let claimant = match &who {
            Who::Trunk(trunk) => Claimant::Trunk(trunk),
            Who::User(user) => Claimant::User(user),
        };
        let replaces = match self.replaced_by(&request.headers, claimant, rules.refer) {
            Ok(replaces) => replaces,
            Err(status) => return self.reply(now, key, &request, status, tag),
        };

        self.reply(now, key, &request, 100, tag);
        let sid = CallSid::random(&mut self.rng);
        let Caller { from, from_name, identity } = identity::read(&request.headers, rules.trusted);
        let (party, from) = match &who {
            Who::Trunk(trunk) => (Party::Trunk { trunk: trunk.clone() }, from),
            Who::User(user) => (Party::User { user: user.clone() }, user.as_str().into()),
        };
        let mut event = Offered {
            leg: sid,
            party,
            realm: endpoint.realm.clone(),
            from,
            from_name,
            to: match &who {
                Who::Trunk(trunk) => registering::called(&self.places.config, trunk, &request),
                Who::User(_) => called,
            },
            device,
            identity,
            max_forwards: headers::max_forwards(&request.headers),
            offer: offer.as_ref().map(|o| o.audio.clone()),
            replaces,
            headers: headers::extra(&request.headers),
            source: flow.remote,
            sip_call_id: request.headers.call_id().map(headers::tidy).unwrap_or_default().into(),
        };
        let fields = &request.headers;
        let claim = trunk.as_ref().and_then(|trunk| self.check_identity(now, fields, trunk, emergency, &mut event));
        let side = Side {
            // Its own once the router hears of it.
            leg: None,
            flow,
            advertised: endpoint.sent_by(flow.transport),
            contact: endpoint.contact(),
            keeps_flow: matches!(who, Who::User(_)) || rules.workarounds.ignore_contact,
            trunk: trunk.clone(),
            user: match &who {
                Who::User(user) => Some(user.clone()),
                Who::Trunk(_) => None,
            },
            ours: OurDescription::new(self.random(), rules.workarounds),
            rules,
            credentials: trunk.as_ref().and_then(|trunk| self.trunk_credentials(trunk)),
            state: State::Offered(Box::new(OfferedSide {
                key,
                invite: request,
                offer,
                merged_id,
                early: Provisional::default(),
                offer_answer: OfferAnswer::Settled,
                edited: Changed::new(),
            })),
        };
        self.sides.insert(tag, side);
        self.servers.insert(key, tag);
        self.merged.insert(merged_id);
        match (claim, trunk) {
            (Some(claim), Some(trunk)) => self.await_certificate(now, tag, Box::new(event), trunk, claim),
            (_, trunk) => self.announce(tag, Box::new(event), trunk),
        }
    }

    /// What RFC 3261 8.2 wants looked at before a request is served. None: it was answered. Else its description, if any.
    fn first_look(
        &mut self,
        now: Instant,
        key: ServerKey,
        request: &Request,
        tag: Tag,
        merged_id: u64,
        rules: &Rules,
    ) -> Option<Option<postern_sdp::Described>> {
        if headers::max_forwards(&request.headers) == 0 {
            self.reply(now, key, request, 483, tag);
            return None;
        }
        if self.merged.contains(&merged_id) {
            self.reply(now, key, request, 482, tag);
            return None;
        }
        if self.refuse_required(now, key, request, tag, rules.supported())
            || self.refuse_without_rel100(now, key, request, tag, rules.rel100)
        {
            return None;
        }
        if request.headers.contact().is_err() {
            self.reply(now, key, request, 400, tag);
            return None;
        }
        if !headers::is_served_scheme(request) {
            self.reply(now, key, request, 416, tag);
            return None;
        }
        if !headers::accepts(&request.headers, SDP) {
            self.reply(now, key, request, 406, tag);
            return None;
        }
        if self.refuse_interval(now, key, request, tag, &rules.session_timer) {
            return None;
        }
        match description(&request.headers, &request.body) {
            Ok(offer) => Some(offer),
            Err(status) => {
                self.reply(now, key, request, status, tag);
                None
            }
        }
    }

    /// RFC 3261 8.2.2.3. Whether it was answered.
    pub(crate) fn refuse_required(
        &mut self,
        now: Instant,
        key: ServerKey,
        request: &Request,
        tag: Tag,
        supported: &str,
    ) -> bool {
        let Some(named) = headers::unsupported(&request.headers, supported) else { return false };
        let response = ResponseBuilder::to(request, 420)
            .to_tag(&tag.to_string())
            .header(Name::Unsupported, &named)
            .header(Name::Server, PRODUCT)
            .build();
        self.respond(now, key, &response);
        true
    }

    /// The router wants the caller to hear that it rings.
    pub(crate) fn ring(&mut self, now: Instant, leg: CallSid, status: u16, early: Option<&AudioStream>) {
        let Some(tag) = self.only_side(leg) else { return };
        self.progress(now, tag, status, early);
    }

    /// The router answers: 200, repeated until its ACK (RFC 3261 13.3.1.4).
    pub(crate) fn answer(&mut self, now: Instant, leg: CallSid, answer: &AudioStream) {
        let Some(tag) = self.only_side(leg) else { return };
        let Some(side) = self.sides.get_mut(&tag) else { return };
        let State::Offered(offered) = &mut side.state else { return };
        if Self::holds_answer(offered, answer) {
            return;
        }
        let early = offered.early.dialog.take();
        let (waiting, State::Offered(offered)) =
            (std::mem::replace(&mut offered.offer_answer, OfferAnswer::Settled), &side.state)
        else {
            return;
        };
        let (key, merged_id, delayed) = (offered.key, offered.merged_id, offered.offer.is_none());
        let (text, contact) = (tag.to_string(), contact(side.contact));
        let (wish, timer) = side.timer_after(&offered.invite.headers, now);
        let body = side.ours.write(answer, offered.offer.as_ref());
        let response = ResponseBuilder::to(&offered.invite, 200)
            .to_tag(&text)
            .record_route()
            .header(Name::Contact, &contact)
            .header(Name::Allow, side.rules.allow())
            .header(Name::Supported, side.rules.supported())
            .header(Name::Server, PRODUCT)
            .body(SDP, body);
        let response = refresh::agree(wish, response).build();
        let dialog = early.map_or_else(|| Dialog::uas(&offered.invite, &text, &contact), |early| Ok(*early));
        self.servers.remove(&key);
        self.merged.remove(&merged_id);
        let Ok(mut dialog) = dialog else {
            // The INVITE was checked, so only a route set beyond all measure comes here.
            let invite = offered.invite.clone();
            self.reply(now, key, &invite, 500, tag);
            return self.ended(tag, EndedBy::Postern, Cause::new(500, "no dialog can be made with this INVITE"));
        };
        dialog.confirm();
        let keeper = AnswerKeeper::new(now, response.clone());
        self.timers.set(keeper.next_deadline(), Timer::Answer(tag));
        let mut session = Session::new(dialog);
        session.offer_answer = waiting;
        session.unacked = Some(Unacked { key, keeper, delayed, first: true });
        session.learn(&offered.invite.headers);
        side.state = State::Up(Box::new(session));
        self.set_session_timer(tag, timer);
        self.respond(now, key, &response);
    }

    /// A final failure to an INVITE, first or later, with the cause in Reason.
    pub(crate) fn refuse_invite(
        &mut self,
        now: Instant,
        tag: Tag,
        key: ServerKey,
        invite: &Request,
        status: u16,
        cause: &Cause,
    ) {
        let text = tag.to_string();
        let mut response = ResponseBuilder::to(invite, status).to_tag(&text).header(Name::Server, PRODUCT);
        if let Some(reason) = headers::reason(cause) {
            response = response.header(Name::Reason, &reason);
        }
        if status == 503 {
            response = response.header(Name::RetryAfter, "5");
        }
        self.respond(now, key, &response.build());
    }

    /// The caller gave up. The CANCEL is answered already.
    ///
    /// That of a later INVITE has no effect: the other party has the offer and may have accepted it, and a 487 now would leave the two
    /// with different sessions (RFC 6141 3.4). The INVITE gets the other party's answer, as if the CANCEL had crossed it.
    pub(crate) fn on_cancelled(&mut self, now: Instant, key: ServerKey, cancel: &Request) {
        let Some(&tag) = self.servers.get(&key) else { return };
        let Some(Side { state: State::Offered(offered), .. }) = self.sides.get(&tag) else { return };
        let invite = offered.invite.clone();
        let cause = headers::cause_in(&cancel.headers, Cause::CANCELLED);
        self.reply(now, key, &invite, 487, tag);
        self.ended(tag, EndedBy::Peer, cause);
    }

    /// Names an INVITE over all ways that it may come by. The seed keeps strangers from making two collide.
    pub(crate) fn merged_id(&self, headers: &Headers) -> u64 {
        let mut hasher = DefaultHasher::new();
        hasher.write_u64(self.seed);
        hasher.write(headers.call_id().unwrap_or_default().as_bytes());
        hasher.write_u8(0);
        hasher.write(headers.from().ok().and_then(|from| from.tag()).unwrap_or_default().as_bytes());
        hasher.write_u32(headers.cseq().map_or(0, |cseq| cseq.number));
        hasher.finish()
    }
}

/// Our Contact.
pub(crate) fn contact(SentBy { transport, address }: SentBy) -> String {
    match transport {
        Transport::Udp => format!("<sip:{address}>"),
        _ => format!("<sip:{address};transport={}>", transport.in_uri()),
    }
}

/// The description in a body: none without one; the status to refuse with when it cannot be used.
pub(crate) fn description(headers: &Headers, body: &[u8]) -> Result<Option<postern_sdp::Described>, u16> {
    if body.is_empty() {
        return Ok(None);
    }
    if !headers.is_content(SDP) {
        return Err(415);
    }
    postern_sdp::read(body).map(Some).map_err(|error| match error {
        SdpError::Malformed => 400,
        SdpError::TooLong => 413,
        SdpError::Address | SdpError::NoAudio | SdpError::Profile | SdpError::NoKey => 488,
    })
}

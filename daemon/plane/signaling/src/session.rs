//! An answered leg: ACK, BYE from either side, new offers from either side.
//!
//! One offer is open at a time (RFC 3264 4). Theirs while ours is open: 491; while theirs is: 500 (RFC 3261 14.2, RFC 3311 5.2). Ours that
//! is refused with 491 goes out again after the time that RFC 3261 14.1 says.

use std::time::{Duration, Instant};

use postern_sip::{
    Method, Name, Request, Response, ResponseBuilder, SentBy,
    dialog::{AnswerKeeper, Keep},
    transaction::{ClientKey, Flow, ServerKey, T1_64},
};
use postern_types::{CallSid, Cause, EndedBy, leg::LegEvent, stream::AudioStream};

use crate::{
    Client, Retry, Signaling,
    dialed::{TRIES_MAX, authorized},
    editing,
    headers::{self, PRODUCT, SDP},
    offered::{contact, description},
    refresh::{self, RAISES_MAX},
    side::{OfferAnswer, Session, Side, State, Tag, Unacked, Waiting},
    timers::Timer,
};

/// How often an offer of ours is tried again that meets one of the peer's: two who both follow the rules need two tries.
const GLARES_MAX: u8 = 4;
/// How long an offer waits at a time for what is under way.
const WAITING_STEP: Duration = Duration::from_millis(250);
/// How often: longer than any transaction lasts (RFC 3261 timer B).
const DELAYS_MAX: u8 = 140;

impl Signaling {
    /// A request with a To tag; `tag` is none when that is not one of ours.
    pub(crate) fn in_dialog(&mut self, now: Instant, key: ServerKey, request: &Request, flow: Flow, tag: Option<Tag>) {
        let Some(found) = tag.filter(|tag| self.belongs(*tag, request)) else {
            let tag = self.new_tag();
            return self.reply(now, key, request, 481, tag);
        };
        self.heard_in_dialog(found, flow);
        let supported = self.sides.get(&found).map_or("", |side| side.rules.supported());
        if request.method != Method::Bye && self.refuse_required(now, key, request, found, supported) {
            return;
        }
        let Some(session) = self.session_mut(found) else {
            return self.in_early_dialog(now, key, request, found);
        };
        if let Err(rejection) = session.dialog.receive(request) {
            return self.reply(now, key, request, rejection.status, found);
        }
        match request.method {
            Method::Bye => self.on_bye(now, key, request, found),
            Method::Invite | Method::Update => self.on_reoffer(now, key, request, found),
            Method::Options => self.options(now, key, request, found),
            Method::Info => self.on_info(now, key, request, found),
            Method::Message => self.text_in_dialog(now, key, request, found),
            Method::Refer => self.on_refer(now, key, request, found),
            Method::Notify => self.on_notify(now, key, request, found),
            Method::Subscribe => self.on_subscribe(now, key, request, found),
            // Of a response that was not reliable, or of another dialog (RFC 3262 3).
            Method::Prack => self.reply(now, key, request, 481, found),
            ref method => {
                let status = headers::unserved(method);
                self.reply(now, key, request, status, found);
            }
        }
    }

    /// Whether a request with this tag of ours is of the side's dialog: Call-ID and the peer's tag must be right, too.
    fn belongs(&self, tag: Tag, request: &Request) -> bool {
        let headers = &request.headers;
        let Some(side) = self.sides.get(&tag) else { return false };
        match &side.state {
            State::Up(session) => session.dialog.is_of(request),
            State::Offered(offered) => {
                let theirs = &offered.invite.headers;
                let tag_of =
                    |headers: &postern_sip::Headers| headers.from().ok().and_then(|f| f.tag().map(str::to_owned));
                headers.call_id().ok() == theirs.call_id().ok() && tag_of(headers) == tag_of(theirs)
            }
            State::Calling(calling) => calling.earlies.iter().any(|early| early.dialog.is_of(request)),
        }
    }

    pub(crate) fn session_mut(&mut self, tag: Tag) -> Option<&mut Session> {
        match self.sides.get_mut(&tag) {
            Some(Side { state: State::Up(session), .. }) => Some(session),
            _ => None,
        }
    }

    // ---- ACK ----

    pub(crate) fn on_ack(&mut self, now: Instant, ack: &Request) {
        let tag = ack.headers.to().ok().and_then(|to| to.tag()).and_then(Tag::read);
        let Some(tag) = tag.filter(|tag| self.belongs(*tag, ack)) else { return };
        let Some(session) = self.session_mut(tag) else { return };
        let Some(unacked) = session.unacked.take_if(|unacked| unacked.keeper.is_acknowledged_by(ack)) else { return };
        if let Some(cause) = session.hangup.take() {
            self.bye(now, tag, &cause);
            self.forget(tag);
            return;
        }
        let Some(leg) = self.sides.get(&tag).and_then(|side| side.leg) else { return };
        let answer = match (unacked.delayed, description(&ack.headers, &ack.body)) {
            (false, _) => None,
            (true, Ok(Some(described))) => Some(Box::new(described.audio)),
            // RFC 3261 13.2.1: the ACK must carry it. Without an answer there is no session.
            (true, _) => return self.give_up(now, tag, Cause::new(488, "no usable answer in the ACK")),
        };
        if unacked.first || answer.is_some() {
            self.tell(LegEvent::Confirmed { leg, answer });
        }
    }

    /// The 2xx is due once more, or was never acknowledged.
    pub(crate) fn repeat_answer(&mut self, now: Instant, tag: Tag) {
        let Some(Side { state: State::Up(session), .. }) = self.sides.get_mut(&tag) else { return };
        let Some(unacked) = &mut session.unacked else { return };
        let again = match unacked.keeper.handle_timeout(now) {
            Keep::Wait => None,
            Keep::Repeat(response) => Some((unacked.key, response.clone())),
            Keep::GiveUp => {
                session.unacked = None;
                return self.give_up(now, tag, Cause::new(408, "our answer was never acknowledged"));
            }
        };
        self.timers.set(unacked.keeper.next_deadline(), Timer::Answer(tag));
        if let Some((key, response)) = again {
            self.respond(now, key, &response);
        }
    }

    // ---- BYE ----

    /// Ends a session because something failed here: BYE, and the router is told.
    pub(crate) fn give_up(&mut self, now: Instant, tag: Tag, cause: Cause) {
        self.bye(now, tag, &cause);
        self.ended(tag, EndedBy::Postern, cause);
    }

    /// Sends a BYE. Nobody waits for its answer: the dialog is over with it (RFC 3261 15.1.1).
    pub(crate) fn bye(&mut self, now: Instant, tag: Tag, cause: &Cause) {
        self.refuse_theirs(now, tag);
        let branch = self.new_branch();
        let Some(side) = self.sides.get_mut(&tag) else { return };
        let (advertised, to) = (side.advertised, side.next_hop());
        let State::Up(session) = &mut side.state else { return };
        let mut request = session.dialog.request(Method::Bye, advertised, &branch).header(Name::UserAgent, PRODUCT);
        if let Some(reason) = headers::reason(cause) {
            request = request.header(Name::Reason, &reason);
        }
        let request = request.build();
        let rules = side.rules.headers.clone();
        let retry = side
            .credentials
            .clone()
            .map(|credentials| Box::new(Retry { flow: to, advertised, request: request.clone(), credentials, rules }));
        self.request_within(now, tag, to, request, Client::Bye(retry));
    }

    /// A BYE, a message, or the end of a registration, was challenged: once more, with credentials. Whether it left.
    pub(crate) fn once_more(&mut self, now: Instant, retry: Retry, response: &Response, what: Client) -> bool {
        if !matches!(response.status, 401 | 407) {
            return false;
        }
        let (branch, cnonce) = (self.new_branch(), self.random());
        let Retry { flow, advertised, request, credentials, rules } = retry;
        let cseq = request.headers.cseq().map_or(1, |cseq| cseq.number + 1);
        let again = authorized(&request, response, &credentials, (advertised, &branch, cnonce), cseq);
        let (Some(again), Some(flow)) = (again, self.ready(now, flow)) else { return false };
        self.request_as_it_is(now, flow, editing::sent(rules.as_deref(), &again).0, what).is_some()
    }

    /// The INVITE that made this session can have no further answer: what was kept for one may go.
    pub(crate) fn settled(&mut self, tag: Tag) {
        if let Some(session) = self.session_mut(tag)
            && let Some((key, _)) = session.invite.take()
        {
            self.clients.remove(&key);
        }
    }

    fn on_bye(&mut self, now: Instant, key: ServerKey, request: &Request, tag: Tag) {
        self.reply(now, key, request, 200, tag);
        self.refuse_theirs(now, tag);
        self.ended(tag, EndedBy::Peer, headers::cause_in(&request.headers, Cause::NORMAL));
    }

    /// RFC 3261 15 lets a caller end an early dialog by BYE instead of CANCEL.
    pub(crate) fn bye_before_answer(&mut self, now: Instant, key: ServerKey, request: &Request, tag: Tag) {
        self.reply(now, key, request, 200, tag);
        if let Some(Side { state: State::Offered(offered), .. }) = self.sides.get(&tag) {
            let (invite_key, invite) = (offered.key, offered.invite.clone());
            self.reply(now, invite_key, &invite, 487, tag);
        }
        self.ended(tag, EndedBy::Peer, headers::cause_in(&request.headers, Cause::CANCELLED));
    }

    /// RFC 3261 15.1.2: what still waits for an answer when the dialog ends gets 487.
    fn refuse_theirs(&mut self, now: Instant, tag: Tag) {
        let Some(session) = self.session_mut(tag) else { return };
        match std::mem::replace(&mut session.offer_answer, OfferAnswer::Settled) {
            OfferAnswer::Theirs { key, request, .. } => {
                self.servers.remove(&key);
                self.reply(now, key, &request, 487, tag);
            }
            ours @ OfferAnswer::Ours { .. } => session.offer_answer = ours,
            OfferAnswer::Settled => {}
        }
    }

    // ---- their offers ----

    fn on_reoffer(&mut self, now: Instant, key: ServerKey, request: &Request, tag: Tag) {
        let is_invite = request.method == Method::Invite;
        let rule = self.sides.get(&tag).map(|side| side.rules.session_timer).unwrap_or_default();
        if self.refuse_interval(now, key, request, tag, &rule) {
            return;
        }
        let offer = match description(&request.headers, &request.body) {
            Ok(offer) => offer,
            Err(status) => return self.reply(now, key, request, status, tag),
        };
        let Some(side) = self.sides.get_mut(&tag) else { return };
        let (reached, leg) = (side.contact, side.leg);
        let State::Up(session) = &mut side.state else { return };
        session.learn(&request.headers);
        if !is_invite && offer.is_none() {
            // An UPDATE without a body only refreshes the target or a session timer.
            return self.accept_update(now, key, request, tag, reached);
        }
        match session.offer_answer {
            OfferAnswer::Ours { .. } => return self.reply(now, key, request, 491, tag),
            // RFC 3261 14.2, RFC 3311 5.2.
            OfferAnswer::Theirs { .. } => return self.reply(now, key, request, 500, tag),
            OfferAnswer::Settled if session.unacked.is_some() => return self.reply(now, key, request, 491, tag),
            OfferAnswer::Settled => {}
        }
        let Some(leg) = leg else { return self.reply(now, key, request, 481, tag) };
        let audio = offer.as_ref().map(|offer| Box::new(offer.audio.clone()));
        session.offer_answer = OfferAnswer::Theirs { key, request: request.clone(), offer };
        self.servers.insert(key, tag);
        if is_invite {
            self.reply(now, key, request, 100, tag);
        }
        self.tell(LegEvent::Reoffered { leg, offer: audio });
    }

    pub(crate) fn accept_update(&mut self, now: Instant, key: ServerKey, request: &Request, tag: Tag, reached: SentBy) {
        let Some(side) = self.sides.get(&tag) else { return };
        let (wish, timer) = match side.state {
            State::Up(_) => side.timer_after(&request.headers, now),
            // The answer settles it (RFC 4028 7.2).
            State::Offered(_) | State::Calling(_) => (refresh::Wish::None, None),
        };
        let supported = side.rules.supported();
        let text = tag.to_string();
        let response = ResponseBuilder::to(request, 200)
            .to_tag(&text)
            .header(Name::Contact, &contact(reached))
            .header(Name::Allow, side.rules.allow())
            .header(Name::Supported, supported)
            .header(Name::Server, PRODUCT);
        let response = refresh::agree(wish, response).build();
        self.respond(now, key, &response);
        self.set_session_timer(tag, timer);
    }

    /// The router accepts what the peer offered, or makes the offer that it asked for.
    pub(crate) fn answer_reoffer(&mut self, now: Instant, leg: CallSid, answer: &AudioStream) {
        let Some(tag) = self.only_side(leg) else { return };
        let Some(side) = self.sides.get_mut(&tag) else { return };
        let (text, contact) = (tag.to_string(), contact(side.contact));
        let open = side.offer_answer_mut();
        if !matches!(open, OfferAnswer::Theirs { .. }) {
            return;
        }
        let OfferAnswer::Theirs { key, request, offer } = std::mem::replace(open, OfferAnswer::Settled) else {
            return;
        };
        let is_up = matches!(side.state, State::Up(_));
        let (wish, timer) = if is_up { side.timer_after(&request.headers, now) } else { (refresh::Wish::None, None) };
        let response = ResponseBuilder::to(&request, 200)
            .to_tag(&text)
            .header(Name::Contact, &contact)
            .header(Name::Allow, side.rules.allow())
            .header(Name::Supported, side.rules.supported())
            .header(Name::Server, PRODUCT)
            .body(SDP, side.ours.write(answer, offer.as_ref()));
        let response = refresh::agree(wish, response).build();
        if request.method == Method::Invite
            && let State::Up(session) = &mut side.state
        {
            let keeper = AnswerKeeper::new(now, response.clone());
            self.timers.set(keeper.next_deadline(), Timer::Answer(tag));
            session.unacked = Some(Unacked { key, keeper, delayed: offer.is_none(), first: false });
        }
        self.servers.remove(&key);
        self.respond(now, key, &response);
        self.set_session_timer(tag, timer);
    }

    /// The router refuses; the session stays as it was.
    pub(crate) fn reject_reoffer(&mut self, now: Instant, leg: CallSid, cause: &Cause) {
        let Some(tag) = self.only_side(leg) else { return };
        let Some(side) = self.sides.get_mut(&tag) else { return };
        let open = side.offer_answer_mut();
        if !matches!(open, OfferAnswer::Theirs { .. }) {
            return;
        }
        let OfferAnswer::Theirs { key, request, .. } = std::mem::replace(open, OfferAnswer::Settled) else {
            return;
        };
        // 481 and 408 would end this dialog too (RFC 3261 12.2.1.2), a challenge would be answered: neither is meant.
        let status = match cause.status {
            401 | 407 | 408 | 481 => 488,
            status @ 400..=699 => status,
            _ => 488,
        };
        self.servers.remove(&key);
        self.refuse_invite(now, tag, key, &request, status, cause);
    }

    // ---- our offers ----

    /// The router changes the session.
    pub(crate) fn reoffer(&mut self, now: Instant, leg: CallSid, offer: &AudioStream) {
        let Some(tag) = self.only_side(leg) else { return };
        let Some(session) = self.session_mut(tag) else { return };
        let refreshing = matches!(session.offer_answer, OfferAnswer::Ours { refresh: true, .. });
        if session.waiting.is_none() && (refreshing || session.unacked.is_some()) {
            // What is under way ends by itself, and nobody else could know of it.
            session.waiting = Some(Box::new(Waiting { offer: offer.clone(), glares: 0, delays: 0 }));
            return self.timers.set(now + WAITING_STEP, Timer::Reoffer(tag));
        }
        if !matches!(session.offer_answer, OfferAnswer::Settled) || session.waiting.is_some() {
            let cause = Cause::new(491, "another offer is open");
            return self.tell(LegEvent::ReofferFailed { leg, cause });
        }
        self.offer_anew(now, tag, offer, 0);
    }

    /// The time of an offer has come that met one of the peer's.
    pub(crate) fn reoffer_again(&mut self, now: Instant, tag: Tag) {
        let Some(session) = self.session_mut(tag) else { return };
        let Some(mut waiting) = session.waiting.take() else { return };
        if matches!(session.offer_answer, OfferAnswer::Settled) && session.unacked.is_none() {
            return self.offer_anew(now, tag, &waiting.offer, waiting.glares);
        }
        waiting.delays += 1;
        if waiting.delays > DELAYS_MAX {
            return self.reoffer_failed(now, tag, Cause::new(491, "another offer is open"));
        }
        session.waiting = Some(waiting);
        self.timers.set(now + WAITING_STEP, Timer::Reoffer(tag));
    }

    /// Our offer and one of the peer's met: ours waits, for a time that tells the two apart (RFC 3261 14.1). Whether it does.
    fn glare(&mut self, now: Instant, tag: Tag) -> bool {
        let random = self.random();
        let Some(session) = self.session_mut(tag) else { return false };
        let wait = if session.is_caller { 2100 + random % 191 * 10 } else { random % 201 * 10 };
        let OfferAnswer::Ours { stream, glares, refresh, .. } = &mut session.offer_answer else { return false };
        if *glares >= GLARES_MAX || *refresh {
            return false;
        }
        let Some(offer) = stream.take() else { return false };
        session.waiting = Some(Box::new(Waiting { offer: *offer, glares: *glares + 1, delays: 0 }));
        session.offer_answer = OfferAnswer::Settled;
        self.timers.set(now + Duration::from_millis(wait), Timer::Reoffer(tag));
        true
    }

    fn offer_anew(&mut self, now: Instant, tag: Tag, offer: &AudioStream, glares: u8) {
        let branch = self.new_branch();
        let Some(side) = self.sides.get_mut(&tag) else { return };
        let (advertised, to) = (side.advertised, side.next_hop());
        let State::Up(session) = &mut side.state else { return };
        let mut invite = session
            .dialog
            .request(Method::Invite, advertised, &branch)
            .header(Name::Allow, side.rules.allow())
            .header(Name::Supported, side.rules.supported())
            .header(Name::UserAgent, PRODUCT);
        if let Some(timer) = session.timer.as_ref().filter(|timer| timer.agreed) {
            // It refreshes as well. Who refreshes next stays as it is (RFC 4028 7.4).
            let who = if timer.ours { "uac" } else { "uas" };
            invite = invite.header(Name::SessionExpires, &format!("{};refresher={who}", timer.interval.as_secs()));
        }
        let invite = invite.body(SDP, side.ours.write(offer, None)).build();
        let stream = Some(Box::new(offer.clone()));
        session.offer_answer =
            OfferAnswer::Ours { invite: invite.clone(), tries: 0, raises: 0, glares, refresh: false, stream };
        if self.request_within(now, tag, to, invite, Client::Reinvite(tag)).is_none() {
            self.reoffer_failed(now, tag, Cause::new(503, "too many transactions"));
        }
    }

    pub(crate) fn on_reinvite_response(
        &mut self,
        now: Instant,
        key: ClientKey,
        tag: Tag,
        response: Response,
        _flow: Flow,
    ) {
        if response.is_provisional() {
            return;
        }
        let branch = self.new_branch();
        let Some(side) = self.sides.get_mut(&tag) else {
            self.clients.remove(&key);
            return;
        };
        let to = side.next_hop();
        let (advertised, leg) = (side.advertised, side.leg);
        let State::Up(session) = &mut side.state else { return };
        if response.is_success() {
            if let Some(ack) = session.dialog.ack_again(&response).cloned() {
                return self.send_ack(to, ack);
            }
            self.timers.set(now + T1_64, Timer::Reinvited(key));
            let OfferAnswer::Ours { invite, refresh, .. } =
                std::mem::replace(&mut session.offer_answer, OfferAnswer::Settled)
            else {
                return;
            };
            session.dialog.refresh(&response);
            session.learn(&response.headers);
            let timer = refresh::timer_by(&side.rules.session_timer, &response.headers, session.timer.as_ref(), now);
            let cseq = invite.headers.cseq().map_or(0, |cseq| cseq.number);
            let ack = session.dialog.ack(cseq, advertised, &branch, None);
            // The refreshed target is where the ACK goes.
            let to = side.next_hop();
            self.send_ack(to, ack);
            self.set_session_timer(tag, timer);
            if refresh {
                return self.refreshed(tag, &response);
            }
            let Some(leg) = leg else { return };
            let event = match description(&response.headers, &response.body) {
                Ok(Some(described)) => LegEvent::ReofferAnswered { leg, answer: Box::new(described.audio) },
                Ok(None) | Err(_) => {
                    LegEvent::ReofferFailed { leg, cause: Cause::new(488, "accepted without a usable description") }
                }
            };
            return self.tell(event);
        }
        self.clients.remove(&key);
        if matches!(response.status, 401 | 407) && self.try_reoffer_again(now, tag, &response) {
            return;
        }
        if response.status == 491 && self.glare(now, tag) {
            return;
        }
        if response.status == 422 && self.raise_reoffer(now, tag, &response) {
            return;
        }
        let cause = headers::cause_of(&response);
        self.reoffer_failed(now, tag, cause.clone());
        // RFC 3261 12.2.1.2: the peer knows nothing of this dialog any more.
        if matches!(cause.status, 408 | 481) {
            self.give_up(now, tag, cause);
        }
    }

    fn try_reoffer_again(&mut self, now: Instant, tag: Tag, response: &Response) -> bool {
        let (branch, cnonce) = (self.new_branch(), self.random());
        let Some(side) = self.sides.get_mut(&tag) else { return false };
        let (advertised, to) = (side.advertised, side.next_hop());
        let (State::Up(session), Some(credentials)) = (&mut side.state, &side.credentials) else { return false };
        let OfferAnswer::Ours { invite, tries, .. } = &mut session.offer_answer else { return false };
        if *tries >= TRIES_MAX {
            return false;
        }
        let cseq = session.dialog.next_cseq();
        let retry = authorized(invite, response, credentials, (advertised, &branch, cnonce), cseq);
        let Some(retry) = retry else { return false };
        *tries += 1;
        *invite = retry.clone();
        self.request_within(now, tag, to, retry, Client::Reinvite(tag)).is_some()
    }

    /// The interval of a new offer was too small for the peer.
    fn raise_reoffer(&mut self, now: Instant, tag: Tag, response: &Response) -> bool {
        let branch = self.new_branch();
        let Some(side) = self.sides.get_mut(&tag) else { return false };
        let (advertised, to) = (side.advertised, side.next_hop());
        let State::Up(session) = &mut side.state else { return false };
        let OfferAnswer::Ours { invite, raises, .. } = &mut session.offer_answer else { return false };
        if *raises >= RAISES_MAX {
            return false;
        }
        *raises += 1;
        let cseq = session.dialog.next_cseq();
        let again = refresh::raised(invite, response, advertised, &branch, cseq);
        *invite = again.clone();
        self.request_within(now, tag, to, again, Client::Reinvite(tag)).is_some()
    }

    /// The connection failed under it: the session stays as it was, as after a 503.
    pub(crate) fn on_reinvite_undelivered(&mut self, now: Instant, tag: Tag, why: &str) {
        if self.session_mut(tag).is_some_and(|session| matches!(session.offer_answer, OfferAnswer::Ours { .. })) {
            self.reoffer_failed(now, tag, Cause::new(503, format!("the offer could not be delivered: {why}")));
        }
    }

    pub(crate) fn on_reinvite_timed_out(&mut self, now: Instant, tag: Tag) {
        let cause = Cause::new(408, "no answer to a new offer: unreachable");
        let Some(session) = self.session_mut(tag) else { return };
        if matches!(session.offer_answer, OfferAnswer::Ours { .. }) {
            self.reoffer_failed(now, tag, cause.clone());
            self.give_up(now, tag, cause);
        }
    }

    fn reoffer_failed(&mut self, now: Instant, tag: Tag, cause: Cause) {
        let Some(side) = self.sides.get_mut(&tag) else { return };
        if let State::Up(session) = &mut side.state {
            let offer = std::mem::replace(&mut session.offer_answer, OfferAnswer::Settled);
            if matches!(offer, OfferAnswer::Ours { refresh: true, .. }) {
                return self.refresh_failed(now, tag);
            }
        }
        if let Some(leg) = side.leg {
            self.tell(LegEvent::ReofferFailed { leg, cause });
        }
    }
}

//! An answered leg: ACK, BYE from either side, new offers from either side, INFO.
//!
//! One offer is open at a time (RFC 3264 4). Ours while theirs is open, or theirs while ours is: 491 (RFC 3261 14.1, 14.2).

use std::time::Instant;

use postern_sip::{
    Method, Name, Request, Response, ResponseBuilder, SentBy,
    dialog::{AnswerKeeper, Keep},
    transaction::{ClientKey, Flow, ServerKey, T1_64},
};
use postern_types::{CallSid, Cause, EndedBy, leg::LegEvent, stream::AudioStream};

use crate::{
    Client, Retry, Signaling,
    dialed::{TRIES_MAX, authorized},
    headers::{self, ALLOW, PRODUCT, SDP},
    known_method,
    offered::{contact, description},
    side::{OfferAnswer, Session, Side, State, Tag, Unacked},
    timers::Timer,
};

impl Signaling {
    /// A request with a To tag; `tag` is none when that is not one of ours.
    pub(crate) fn in_dialog(&mut self, now: Instant, key: ServerKey, request: &Request, flow: Flow, tag: Option<Tag>) {
        let Some(found) = tag.filter(|tag| self.belongs(*tag, request)) else {
            let tag = self.new_tag();
            return self.reply(now, key, request, 481, tag);
        };
        self.heard_in_dialog(found, flow);
        if request.method != Method::Bye && self.refuse_required(now, key, request, found) {
            return;
        }
        let Some(session) = self.session_mut(found) else {
            // Before our answer: an UPDATE or INFO of an early dialog, which we have not offered.
            let status = if matches!(request.method, Method::Bye) { 481 } else { 491 };
            if request.method == Method::Bye {
                return self.bye_before_answer(now, key, request, found);
            }
            return self.reply(now, key, request, status, found);
        };
        if let Err(rejection) = session.dialog.receive(request) {
            return self.reply(now, key, request, rejection.status, found);
        }
        match request.method {
            Method::Bye => self.on_bye(now, key, request, found),
            Method::Invite | Method::Update => self.on_reoffer(now, key, request, found),
            Method::Options => self.options(now, key, request, found),
            Method::Info => self.on_info(now, key, request, found),
            ref method => {
                let status = if known_method(method) { 405 } else { 501 };
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
            State::Calling(_) => false,
        }
    }

    fn session_mut(&mut self, tag: Tag) -> Option<&mut Session> {
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
        match unacked.keeper.handle_timeout(now) {
            Keep::Wait => {}
            Keep::Repeat(response) => {
                self.transactions.respond(now, unacked.key, response);
            }
            Keep::GiveUp => {
                session.unacked = None;
                return self.give_up(now, tag, Cause::new(408, "our answer was never acknowledged"));
            }
        }
        self.timers.set(unacked.keeper.next_deadline(), Timer::Answer(tag));
    }

    // ---- BYE ----

    /// Ends a session because something failed here: BYE, and the router is told.
    fn give_up(&mut self, now: Instant, tag: Tag, cause: Cause) {
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
        let retry = side
            .credentials
            .clone()
            .map(|credentials| Box::new(Retry { flow: to, advertised, request: request.clone(), credentials }));
        self.request(now, to, request, Client::Bye(retry));
    }

    /// A BYE was challenged: once more, with credentials.
    pub(crate) fn bye_again(&mut self, now: Instant, retry: Retry, response: &Response) {
        if !matches!(response.status, 401 | 407) {
            return;
        }
        let (branch, cnonce) = (self.new_branch(), self.random());
        let Retry { flow, advertised, request, credentials } = retry;
        let cseq = request.headers.cseq().map_or(1, |cseq| cseq.number + 1);
        if let Some(bye) = authorized(&request, response, &credentials, (advertised, &branch, cnonce), cseq, false) {
            self.request(now, flow, bye, Client::Bye(None));
        }
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
    fn bye_before_answer(&mut self, now: Instant, key: ServerKey, request: &Request, tag: Tag) {
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
        let offer = match description(&request.headers, &request.body) {
            Ok(offer) => offer,
            Err(status) => return self.reply(now, key, request, status, tag),
        };
        let Some(side) = self.sides.get_mut(&tag) else { return };
        let (reached, leg) = (side.contact, side.leg);
        let State::Up(session) = &mut side.state else { return };
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

    fn accept_update(&mut self, now: Instant, key: ServerKey, request: &Request, tag: Tag, reached: SentBy) {
        let text = tag.to_string();
        let response = ResponseBuilder::to(request, 200)
            .to_tag(&text)
            .header(Name::Contact, &contact(reached))
            .header(Name::Server, PRODUCT)
            .build();
        self.transactions.respond(now, key, &response);
    }

    /// The router accepts what the peer offered, or makes the offer that it asked for.
    pub(crate) fn answer_reoffer(&mut self, now: Instant, leg: CallSid, answer: &AudioStream) {
        let Some(tag) = self.only_side(leg) else { return };
        let Some(side) = self.sides.get_mut(&tag) else { return };
        let (text, contact) = (tag.to_string(), contact(side.contact));
        let State::Up(session) = &mut side.state else { return };
        let OfferAnswer::Theirs { key, request, offer } =
            std::mem::replace(&mut session.offer_answer, OfferAnswer::Settled)
        else {
            return;
        };
        let response = ResponseBuilder::to(&request, 200)
            .to_tag(&text)
            .header(Name::Contact, &contact)
            .header(Name::Allow, ALLOW)
            .header(Name::Server, PRODUCT)
            .body(SDP, side.ours.write(answer, offer.as_ref()))
            .build();
        if request.method == Method::Invite {
            let keeper = AnswerKeeper::new(now, response.clone());
            self.timers.set(keeper.next_deadline(), Timer::Answer(tag));
            session.unacked = Some(Unacked { key, keeper, delayed: offer.is_none(), first: false });
        }
        self.servers.remove(&key);
        self.transactions.respond(now, key, &response);
    }

    /// The router refuses; the session stays as it was.
    pub(crate) fn reject_reoffer(&mut self, now: Instant, leg: CallSid, cause: &Cause) {
        let Some(tag) = self.only_side(leg) else { return };
        let Some(side) = self.sides.get_mut(&tag) else { return };
        let State::Up(session) = &mut side.state else { return };
        let OfferAnswer::Theirs { key, request, .. } =
            std::mem::replace(&mut session.offer_answer, OfferAnswer::Settled)
        else {
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
        let branch = self.new_branch();
        let Some(tag) = self.only_side(leg) else { return };
        let Some(side) = self.sides.get_mut(&tag) else { return };
        let (advertised, to) = (side.advertised, side.next_hop());
        let State::Up(session) = &mut side.state else { return };
        if !matches!(session.offer_answer, OfferAnswer::Settled) || session.unacked.is_some() {
            let cause = Cause::new(491, "another offer is open");
            return self.tell(LegEvent::ReofferFailed { leg, cause });
        }
        let invite = session
            .dialog
            .request(Method::Invite, advertised, &branch)
            .header(Name::Allow, ALLOW)
            .header(Name::UserAgent, PRODUCT)
            .body(SDP, side.ours.write(offer, None))
            .build();
        session.offer_answer = OfferAnswer::Ours { invite: invite.clone(), tries: 0 };
        if self.request(now, to, invite, Client::Reinvite(tag)).is_none() {
            self.reoffer_failed(tag, Cause::new(503, "too many transactions"));
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
            if let Some(ack) = session.dialog.ack_again(&response) {
                return self.transactions.send(to, ack);
            }
            self.timers.set(now + T1_64, Timer::Reinvited(key));
            let OfferAnswer::Ours { invite, .. } = std::mem::replace(&mut session.offer_answer, OfferAnswer::Settled)
            else {
                return;
            };
            session.dialog.refresh(&response);
            let cseq = invite.headers.cseq().map_or(0, |cseq| cseq.number);
            let ack = session.dialog.ack(cseq, advertised, &branch, None);
            // The refreshed target is where the ACK goes.
            let to = side.next_hop();
            self.transactions.send(to, &ack);
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
        let cause = headers::cause_of(&response);
        self.reoffer_failed(tag, cause.clone());
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
        let OfferAnswer::Ours { invite, tries } = &mut session.offer_answer else { return false };
        if *tries >= TRIES_MAX {
            return false;
        }
        let cseq = session.dialog.next_cseq();
        let again = *tries > 0;
        let retry = authorized(invite, response, credentials, (advertised, &branch, cnonce), cseq, again);
        let Some(retry) = retry else { return false };
        *tries += 1;
        *invite = retry.clone();
        self.request(now, to, retry, Client::Reinvite(tag)).is_some()
    }

    /// The connection failed under it: the session stays as it was, as after a 503.
    pub(crate) fn on_reinvite_undelivered(&mut self, tag: Tag, why: &str) {
        if self.session_mut(tag).is_some_and(|session| matches!(session.offer_answer, OfferAnswer::Ours { .. })) {
            self.reoffer_failed(tag, Cause::new(503, format!("the offer could not be delivered: {why}")));
        }
    }

    pub(crate) fn on_reinvite_timed_out(&mut self, now: Instant, tag: Tag) {
        let cause = Cause::new(408, "no answer to a new offer: unreachable");
        let Some(session) = self.session_mut(tag) else { return };
        if matches!(session.offer_answer, OfferAnswer::Ours { .. }) {
            self.reoffer_failed(tag, cause.clone());
            self.give_up(now, tag, cause);
        }
    }

    fn reoffer_failed(&mut self, tag: Tag, cause: Cause) {
        let Some(side) = self.sides.get_mut(&tag) else { return };
        if let State::Up(session) = &mut side.state {
            session.offer_answer = OfferAnswer::Settled;
        }
        if let Some(leg) = side.leg {
            self.tell(LegEvent::ReofferFailed { leg, cause });
        }
    }

    // ---- INFO ----

    fn on_info(&mut self, now: Instant, key: ServerKey, request: &Request, tag: Tag) {
        if request.body.is_empty() {
            // Some probe a session with it.
            return self.reply(now, key, request, 200, tag);
        }
        let dtmf = ["application/dtmf-relay", "application/dtmf"];
        if !dtmf.iter().any(|kind| request.headers.is_content(kind)) {
            let text = tag.to_string();
            let response = ResponseBuilder::to(request, 415)
                .to_tag(&text)
                .header(Name::Accept, "application/dtmf-relay, application/dtmf")
                .header(Name::Server, PRODUCT)
                .build();
            self.transactions.respond(now, key, &response);
            return;
        }
        // A signal that is no digit (flash) is taken and has no meaning here.
        self.reply(now, key, request, 200, tag);
        let leg = self.sides.get(&tag).and_then(|side| side.leg);
        if let (Some(leg), Some(digit)) = (leg, headers::digit_of(&request.headers, &request.body)) {
            self.tell(LegEvent::Digit { leg, digit });
        }
    }
}

//! Early dialogs: what a party may say before the answer, and how it is made sure that it arrives.
//!
//! Reliable provisional responses (RFC 3262) are each leg's own affair: one side may know them and the other not. Towards a caller
//! we send them so when it requires it, and when it knows them and early media is at stake: only then would a lost one be missed.
//! A new offer before the answer (UPDATE, RFC 3311) can only follow an answer that was given reliably.
//!
//! Several early dialogs come of a proxy behind us that forks. The last one that describes media is heard: it is mostly the one that
//! answers, and a first one that was a ringing tone ends with it. Whichever answers, its own description counts.

use std::time::{Duration, Instant};

use postern_sip::{
    Headers, Method, Name, Request, Response, ResponseBuilder,
    dialog::Dialog,
    transaction::{ServerKey, T1, T1_64},
};
use postern_types::{Cause, EndedBy, leg::LegEvent, stream::AudioStream};

use crate::{
    Client, Signaling,
    headers::{self, PRODUCT, SDP},
    offered::{contact, description},
    rules::Rel100,
    side::{OfferAnswer, OfferedSide, Side, State, Tag},
    timers::Timer,
};

/// Early dialogs of one INVITE that are kept at most: a proxy rings a few places at once. Beyond it the oldest is forgotten; it can
/// still answer.
const EARLY_MAX: usize = 8;
/// Sequence numbers of reliable responses begin below 2^31 (RFC 3262 3).
const RSEQ_MAX: u32 = 0x7fff_ffff;

/// An early dialog of a call that we made.
#[derive(Debug)]
pub(crate) struct Early {
    pub(crate) dialog: Dialog,
    /// The last reliable response's number.
    rseq: Option<u32>,
    /// The last description, for a 200 that does not repeat it.
    pub(crate) media: Option<Box<AudioStream>>,
    /// It came reliably: the offer is answered, and another may follow.
    pub(crate) answered: bool,
}

/// The early dialog of a call that came in.
#[derive(Debug, Default)]
pub(crate) struct Provisional {
    /// Made when its peer first speaks in it.
    pub(crate) dialog: Option<Box<Dialog>>,
    /// A reliable response that is not acknowledged.
    unacked: Option<Box<Reliable>>,
    /// The number of the last one.
    rseq: u32,
    /// What is to be said next: status and early media.
    queued: Option<(u16, Option<Box<AudioStream>>)>,
    /// The answer, which has to wait for the acknowledgement of the one before (RFC 3262 3).
    held: Option<Box<AudioStream>>,
    /// The peer has our description for sure: an UPDATE may change it.
    answered: bool,
}

#[derive(Debug)]
struct Reliable {
    response: Response,
    rseq: u32,
    has_description: bool,
    next: Instant,
    interval: Duration,
    give_up: Instant,
}

/// What a provisional response means for the router.
pub(crate) enum Heard {
    /// A repetition, or out of order.
    Nothing,
    /// To be told, with early media.
    Progress(Option<Box<AudioStream>>),
}

/// Whether early media is to be played: the network may say that what comes is not to be heard (RFC 5009 8).
fn plays(headers: &Headers) -> bool {
    let Some(said) = headers.other("P-Early-Media") else { return true };
    !said.split(',').any(|word| matches!(word.trim().to_ascii_lowercase().as_str(), "inactive" | "recvonly"))
}

impl Signaling {
    // ---- as the caller ----

    /// A provisional response with a tag or without.
    pub(crate) fn on_provisional(&mut self, now: Instant, tag: Tag, response: &Response) -> Heard {
        let branch = self.new_branch();
        let Some(side) = self.sides.get_mut(&tag) else { return Heard::Nothing };
        let (advertised, flow, keeps_flow) = (side.advertised, side.flow, side.keeps_flow);
        let trusted = side.rules.trusted;
        let State::Calling(calling) = &mut side.state else { return Heard::Nothing };
        let described = description(&response.headers, &response.body).ok().flatten();
        let media = described.map(|described| Box::new(described.audio));
        // From whom we do not trust it says nothing (RFC 5009 8).
        let told = media.clone().filter(|_| !trusted || plays(&response.headers));
        let Some(at) = calling.early_dialog(response) else {
            // Without a tag there is no dialog, and nothing but the status to be had.
            return Heard::Progress(told);
        };
        let early = &mut calling.earlies[at];
        let is_reliable = response.headers.has_token(Name::Require, "100rel");
        let rseq = response.headers.number(Name::RSeq).and_then(Result::ok).filter(|_| is_reliable);
        if let Some(rseq) = rseq {
            // RFC 3262 4: one that does not follow the last is neither acknowledged nor looked at; it comes again.
            if early.rseq.is_some_and(|last| rseq != last.wrapping_add(1)) {
                return Heard::Nothing;
            }
            early.rseq = Some(rseq);
            early.answered |= media.is_some();
        }
        if media.is_some() {
            early.media = media;
        }
        if let Some(rseq) = rseq {
            let cseq = calling.invite.headers.cseq().map_or(1, |cseq| cseq.number);
            let prack = early
                .dialog
                .request(Method::Prack, advertised, &branch)
                .header(Name::RAck, &format!("{rseq} {cseq} INVITE"))
                .header(Name::UserAgent, PRODUCT)
                .build();
            let to = crate::dialed::hop(&early.dialog, flow, keeps_flow);
            self.request(now, to, prack, Client::Told);
        }
        Heard::Progress(told)
    }

    /// The early dialog that a 2xx confirms, and what was described in it.
    pub(crate) fn confirmed(&mut self, tag: Tag, response: &Response) -> Option<(Dialog, Option<Box<AudioStream>>)> {
        let Some(Side { state: State::Calling(calling), .. }) = self.sides.get_mut(&tag) else { return None };
        let at = calling.earlies.iter().position(|early| early.dialog.is_of_response(response));
        match at {
            Some(at) => {
                let mut early = calling.earlies.swap_remove(at);
                early.dialog.refresh(response);
                Some((early.dialog, early.media))
            }
            None => Some((Dialog::uac(&calling.invite, response).ok()?, None)),
        }
    }

    // ---- as the callee ----

    /// A request in the early dialog of a call that came in, or went out.
    pub(crate) fn in_early_dialog(&mut self, now: Instant, key: ServerKey, request: &Request, tag: Tag) {
        let text = tag.to_string();
        let Some(side) = self.sides.get_mut(&tag) else { return };
        let our_contact = contact(side.contact);
        let dialog = match &mut side.state {
            State::Offered(offered) => {
                if offered.early.dialog.is_none() {
                    let dialog = Dialog::uas(&offered.invite, &text, &our_contact);
                    offered.early.dialog = dialog.ok().map(Box::new);
                }
                offered.early.dialog.as_deref_mut()
            }
            State::Calling(calling) => {
                calling.earlies.iter_mut().map(|early| &mut early.dialog).find(|dialog| dialog.is_of(request))
            }
            State::Up(_) => None,
        };
        let Some(dialog) = dialog else { return self.reply(now, key, request, 481, tag) };
        if let Err(rejection) = dialog.receive(request) {
            return self.reply(now, key, request, rejection.status, tag);
        }
        let is_caller = matches!(side.state, State::Offered(_));
        match request.method {
            Method::Bye if is_caller => self.bye_before_answer(now, key, request, tag),
            Method::Prack if is_caller => self.on_prack(now, key, request, tag),
            Method::Update => self.on_early_update(now, key, request, tag),
            Method::Options => self.options(now, key, request, tag),
            Method::Info => self.on_info(now, key, request, tag),
            // RFC 3261 14.2: a second INVITE before the answer to the first.
            Method::Invite => self.reply(now, key, request, 500, tag),
            // A callee ends an early dialog by its final response alone (RFC 3261 15).
            Method::Bye | Method::Prack => self.reply(now, key, request, 481, tag),
            ref method => {
                let status = headers::unserved(method);
                self.reply(now, key, request, status, tag);
            }
        }
    }

    /// Whether a provisional response to this caller is to be acknowledged (RFC 3262 3).
    fn is_reliable(rule: Rel100, offered: &OfferedSide, has_description: bool) -> bool {
        let headers = &offered.invite.headers;
        let required = headers.has_token(Name::Require, "100rel");
        let known = required || headers.has_token(Name::Supported, "100rel");
        match rule {
            Rel100::Off => false,
            Rel100::Supported => required || (known && has_description),
            Rel100::Required => known,
        }
    }

    /// The caller is to hear that it rings, or early media.
    pub(crate) fn progress(&mut self, now: Instant, tag: Tag, status: u16, early: Option<&AudioStream>) {
        let random = self.random();
        let Some(side) = self.sides.get_mut(&tag) else { return };
        let State::Offered(offered) = &mut side.state else { return };
        if offered.early.held.is_some() {
            return;
        }
        // Without an offer there is nothing that early media could answer (RFC 3261 13.2.1); what was answered for sure is not
        // answered again.
        let early = early.filter(|_| offered.offer.is_some() && !offered.early.answered);
        if offered.early.unacked.is_some() {
            // RFC 3262 3: the next one waits for the PRACK of the last. What describes nothing new gives way.
            let keeps = early.is_none() && matches!(offered.early.queued, Some((_, Some(_))));
            if !keeps {
                offered.early.queued = Some((status, early.cloned().map(Box::new)));
            }
            return;
        }
        let is_reliable = Self::is_reliable(side.rules.rel100, offered, early.is_some());
        if is_reliable && offered.offer.is_none() {
            // RFC 3262 5: it would have to carry our offer, which is made when somebody answers. Silence is allowed.
            return;
        }
        let (text, our_contact, rseq) = (tag.to_string(), contact(side.contact), offered.early.next_rseq(random));
        let mut response = ResponseBuilder::to(&offered.invite, status.clamp(101, 199))
            .to_tag(&text)
            .record_route()
            .header(Name::Contact, &our_contact)
            .header(Name::Allow, side.rules.allow())
            .header(Name::Server, PRODUCT);
        let number = rseq.to_string();
        if is_reliable {
            response = response.header(Name::Require, "100rel").header(Name::RSeq, &number);
        }
        if let Some(early) = early {
            if side.rules.trusted && offered.invite.headers.other("P-Early-Media").is_some() {
                response = response.other("P-Early-Media", early.direction.name());
            }
            response = response.body(SDP, side.ours.write(early, offered.offer.as_ref()));
        }
        let response = response.build();
        let key = offered.key;
        if is_reliable {
            let (has_description, response) = (early.is_some(), response.clone());
            offered.early.rseq = rseq;
            let reliable =
                Reliable { response, rseq, has_description, next: now + T1, interval: T1, give_up: now + T1_64 };
            offered.early.unacked = Some(Box::new(reliable));
            self.timers.set(now + T1, Timer::Reliable(tag));
        }
        self.respond(now, key, &response);
    }

    /// A reliable response is due once more, or was never acknowledged.
    pub(crate) fn repeat_reliable(&mut self, now: Instant, tag: Tag) {
        let Some(Side { state: State::Offered(offered), .. }) = self.sides.get_mut(&tag) else { return };
        let key = offered.key;
        let Some(reliable) = &mut offered.early.unacked else { return };
        if reliable.give_up <= now {
            // RFC 3262 3: the request is refused with a 5xx.
            let (invite, cause) = (offered.invite.clone(), Cause::new(504, "our ringing was never acknowledged"));
            self.refuse_invite(now, tag, key, &invite, 504, &cause);
            return self.ended(tag, EndedBy::Postern, cause);
        }
        let due = reliable.next <= now;
        if due {
            reliable.interval *= 2;
            reliable.next = now + reliable.interval;
        }
        let (at, response) = (reliable.next.min(reliable.give_up), reliable.response.clone());
        self.timers.set(at, Timer::Reliable(tag));
        if due {
            self.respond(now, key, &response);
        }
    }

    fn on_prack(&mut self, now: Instant, key: ServerKey, request: &Request, tag: Tag) {
        let Some(Side { state: State::Offered(offered), .. }) = self.sides.get_mut(&tag) else { return };
        let acknowledged = rack(&request.headers);
        let invite = offered.invite.headers.cseq().map_or(0, |cseq| cseq.number);
        let found = offered.early.unacked.take_if(|reliable| acknowledged == Some((reliable.rseq, invite)));
        // RFC 3262 3.
        let Some(reliable) = found else { return self.reply(now, key, request, 481, tag) };
        offered.early.answered |= reliable.has_description;
        if request.body.is_empty() {
            self.reply(now, key, request, 200, tag);
        } else {
            self.on_early_update(now, key, request, tag);
        }
        let Some(Side { leg, state: State::Offered(offered), .. }) = self.sides.get_mut(&tag) else { return };
        let (held, queued, leg) = (offered.early.held.take(), offered.early.queued.take(), *leg);
        match (held, queued, leg) {
            (Some(answer), _, Some(leg)) => self.answer(now, leg, &answer),
            (None, Some((status, early)), _) => self.progress(now, tag, status, early.as_deref()),
            _ => {}
        }
    }

    /// A new offer before the answer, or a moved target (RFC 3311 5.2).
    fn on_early_update(&mut self, now: Instant, key: ServerKey, request: &Request, tag: Tag) {
        let Some(side) = self.sides.get(&tag) else { return };
        let (reached, rule, leg) = (side.contact, side.rules.session_timer, side.leg);
        if self.refuse_interval(now, key, request, tag, &rule) {
            return;
        }
        let offer = match description(&request.headers, &request.body) {
            Ok(Some(offer)) => offer,
            Ok(None) => return self.accept_update(now, key, request, tag, reached),
            Err(status) => return self.reply(now, key, request, status, tag),
        };
        let Some(side) = self.sides.get_mut(&tag) else { return };
        let (settled, status, offer_answer) = match &mut side.state {
            // Theirs is not answered for sure: 500. Ours is not: 491.
            State::Offered(offered) => {
                (offered.early.answered && offered.early.unacked.is_none(), 500, &mut offered.offer_answer)
            }
            State::Calling(calling) => {
                let mut of = calling.earlies.iter_mut().filter(|early| early.dialog.is_of(request));
                let early = of.next().filter(|early| early.answered);
                let settled = early.is_some();
                if let Some(early) = early {
                    early.media = Some(Box::new(offer.audio.clone()));
                }
                (settled, 491, &mut calling.offer_answer)
            }
            State::Up(_) => return,
        };
        match (settled, &offer_answer, leg) {
            (false, ..) => self.reply(now, key, request, status, tag),
            (true, OfferAnswer::Settled, Some(leg)) => {
                let audio = Some(Box::new(offer.audio.clone()));
                *offer_answer = OfferAnswer::Theirs { key, request: request.clone(), offer: Some(offer) };
                self.servers.insert(key, tag);
                self.tell(LegEvent::Reoffered { leg, offer: audio });
            }
            (true, ..) => self.reply(now, key, request, 500, tag),
        }
    }

    /// Whether the answer has to wait for a PRACK. It is kept then.
    pub(crate) fn holds_answer(offered: &mut OfferedSide, answer: &AudioStream) -> bool {
        if offered.early.unacked.is_none() {
            return false;
        }
        offered.early.held = Some(Box::new(answer.clone()));
        offered.early.queued = None;
        true
    }
}

/// RAck of an INVITE: the number of the response and that of the INVITE (RFC 3262 7.2).
fn rack(headers: &Headers) -> Option<(u32, u32)> {
    let mut words = headers.first(Name::RAck)?.split_ascii_whitespace();
    let (rseq, cseq, method) = (words.next()?, words.next()?, words.next()?);
    let good = method == "INVITE" && words.next().is_none();
    good.then(|| Some((rseq.parse().ok()?, cseq.parse().ok()?))).flatten()
}

impl Provisional {
    fn next_rseq(&self, random: u64) -> u32 {
        // RFC 3262 3: chosen from 1..2^31 - 1, then one more each time. Halved, so that it never runs over.
        if self.rseq == 0 { (random as u32 % (RSEQ_MAX / 2)).max(1) } else { self.rseq + 1 }
    }
}

impl crate::side::Calling {
    /// The early dialog of a provisional response, made when it is new. None without a tag.
    fn early_dialog(&mut self, response: &Response) -> Option<usize> {
        if let Some(at) = self.earlies.iter().position(|early| early.dialog.is_of_response(response)) {
            return Some(at);
        }
        let dialog = Dialog::uac(&self.invite, response).ok()?;
        if self.earlies.len() >= EARLY_MAX {
            self.earlies.remove(0);
        }
        self.earlies.push(Early { dialog, rseq: None, media: None, answered: false });
        Some(self.earlies.len() - 1)
    }
}

/// What a first INVITE says of reliable responses, besides what [`crate::rules::Rules::supported`] lists.
pub(crate) fn require(rule: Rel100, request: postern_sip::RequestBuilder) -> postern_sip::RequestBuilder {
    if rule == Rel100::Required { request.header(Name::Require, "100rel") } else { request }
}

impl Signaling {
    /// A trunk that must know reliable responses and does not say so (RFC 3261 21.4.16). Whether it was answered.
    pub(crate) fn refuse_without_rel100(
        &mut self,
        now: Instant,
        key: ServerKey,
        request: &Request,
        tag: Tag,
        rule: Rel100,
    ) -> bool {
        let known = [Name::Supported, Name::Require].iter().any(|name| request.headers.has_token(*name, "100rel"));
        if rule != Rel100::Required || known {
            return false;
        }
        let text = tag.to_string();
        let response = ResponseBuilder::to(request, 421)
            .to_tag(&text)
            .header(Name::Require, "100rel")
            .header(Name::Server, headers::PRODUCT)
            .build();
        self.respond(now, key, &response);
        true
    }
}

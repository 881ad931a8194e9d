//! Session timers (RFC 4028): how a session is kept alive, and how one is noticed whose other end is gone.
//!
//! Each leg has its own. Wherever the peer leaves us the choice we refresh, at half of the interval: by UPDATE where the peer takes it
//! (no description is at stake), else by a re-INVITE with what we described last. A peer that does not know timers has none, so that
//! its calls never end by one; with `mode: always` it is asked by OPTIONS instead, which touches nothing.
//!
//! An answer of whatever kind shows that the peer lives. Only one that knows nothing of the call (481), none at all (408), and a peer
//! that promised to refresh and did not, end it.

use std::time::{Duration, Instant};

use postern_config::{SessionTimer as Rule, SessionTimerMode as Mode};
use postern_sip::{
    Headers, Method, Name, Request, RequestBuilder, Response, ResponseBuilder, transaction::ClientKey,
    transaction::ServerKey,
};
use postern_types::{Cause, leg::LegEvent};

use crate::{
    Client, Signaling,
    dialed::{TRIES_MAX, authorized},
    headers::{self, PRODUCT, SDP},
    side::{OfferAnswer, Session, Side, State, Tag},
    timers::Timer,
};

/// The shortest interval that there is (RFC 4028 4).
const INTERVAL_MIN: Duration = Duration::from_secs(90);
/// The longest that is believed of a peer: who wants more wants none.
const INTERVAL_MAX: Duration = Duration::from_secs(86_400);
/// A refresh that was refused, or came at a bad moment, is tried again after this long.
const AGAIN_AFTER: Duration = Duration::from_secs(10);
/// How often one request is repeated because its interval was too small.
pub(crate) const RAISES_MAX: u8 = 2;

/// The timer of a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SessionTimer {
    pub(crate) interval: Duration,
    /// Whether the refreshes are ours.
    pub(crate) ours: bool,
    /// Both sides know of it; else only we ask.
    pub(crate) agreed: bool,
    /// When the next refresh is due, or the peer's is too late.
    at: Instant,
    /// Where the plane's timers have it.
    armed: Option<Instant>,
}

/// A refresh of ours that has no answer yet.
#[derive(Debug)]
pub(crate) struct Refresh {
    request: Request,
    /// How often a challenge was answered.
    tries: u8,
    raises: u8,
}

/// What a request's Session-Expires leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wish {
    /// No timer.
    None,
    /// One of this interval; whether we refresh, and whether the peer knows timers.
    Agreed { interval: Duration, ours: bool, known: bool },
    /// Too short: 422.
    TooShort,
    /// Does not read: 400.
    Malformed,
}

/// What we answer to the Session-Expires of a peer's request (RFC 4028 9). `before`: what held until now.
pub(crate) fn wish(rule: &Rule, headers: &Headers, before: Option<&SessionTimer>) -> Wish {
    let known = headers.has_token(Name::Supported, "timer") || headers.has_token(Name::Require, "timer");
    if rule.mode == Mode::Off {
        return Wish::None;
    }
    let (Some(asked), Some(least)) = (interval(headers, Name::SessionExpires), interval(headers, Name::MinSe)) else {
        return Wish::Malformed;
    };
    let Some(asked) = asked else {
        return match before.filter(|timer| timer.agreed) {
            // It refreshes without saying so: what was agreed still holds.
            Some(timer) => Wish::Agreed { interval: timer.interval, ours: timer.ours, known },
            None if known && rule.mode == Mode::Always => {
                Wish::Agreed { interval: rule.expires.max(least.unwrap_or(INTERVAL_MIN)), ours: true, known }
            }
            None => Wish::None,
        };
    };
    // RFC 4028 9: only a peer that knows timers can make sense of a 422.
    if asked < rule.min && known {
        return Wish::TooShort;
    }
    let longest = rule.expires.max(least.unwrap_or(INTERVAL_MIN));
    // A proxy may have put it in for a caller that knows no timers: then it is for us to refresh (RFC 4028 9, table 2).
    let ours = !(known && refresher(headers) == Some(Refresher::Uac));
    Wish::Agreed { interval: asked.min(longest), ours, known }
}

/// `Some(None)`: no such header; none: it does not read.
fn interval(headers: &Headers, name: Name) -> Option<Option<Duration>> {
    match headers.number(name) {
        None => Some(None),
        Some(Ok(seconds)) => Some(Some(Duration::from_secs(seconds.into()).min(INTERVAL_MAX))),
        Some(Err(_)) => None,
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Refresher {
    Uac,
    Uas,
}

fn refresher(headers: &Headers) -> Option<Refresher> {
    let (_, params) = headers.first(Name::SessionExpires)?.split_once(';')?;
    let told = params.split(';').find_map(|param| {
        let (name, value) = param.split_once('=')?;
        name.trim().eq_ignore_ascii_case("refresher").then(|| value.trim())
    })?;
    match told {
        uac if uac.eq_ignore_ascii_case("uac") => Some(Refresher::Uac),
        uas if uas.eq_ignore_ascii_case("uas") => Some(Refresher::Uas),
        _ => None,
    }
}

/// What a first INVITE of ours asks for. We offer to refresh, so that a peer that agrees without meaning it costs nobody the call.
pub(crate) fn ask(rule: &Rule, request: RequestBuilder) -> RequestBuilder {
    if rule.mode == Mode::Off {
        return request;
    }
    let request = request.header(Name::SessionExpires, &format!("{};refresher=uac", rule.expires.as_secs()));
    if rule.min > INTERVAL_MIN { request.header(Name::MinSe, &rule.min.as_secs().to_string()) } else { request }
}

/// The request of ours that got this 422, with an interval that its sender agrees to (RFC 4028 7.3). What says no useful one is asked
/// without a timer.
pub(crate) fn raised(
    request: &Request,
    refusal: &Response,
    sent_by: postern_sip::SentBy,
    branch: &str,
    cseq: u32,
) -> Request {
    let asked = interval(&request.headers, Name::SessionExpires).flatten().unwrap_or_default();
    let least = interval(&refusal.headers, Name::MinSe).flatten().filter(|least| *least > asked);
    let left_out = [Name::SessionExpires, Name::MinSe];
    let again = RequestBuilder::retry(request, sent_by, branch, cseq, &left_out);
    let Some(least) = least.map(|least| least.as_secs()) else { return again.build() };
    let who = if refresher(&request.headers) == Some(Refresher::Uas) { "uas" } else { "uac" };
    again
        .header(Name::SessionExpires, &format!("{least};refresher={who}"))
        .header(Name::MinSe, &least.to_string())
        .build()
}

/// What a 2xx of ours says of the timer.
pub(crate) fn agree<'a>(wish: Wish, response: ResponseBuilder<'a>) -> ResponseBuilder<'a> {
    let Wish::Agreed { interval, ours, known } = wish else { return response };
    let who = if ours { "uas" } else { "uac" };
    let response = response.header(Name::SessionExpires, &format!("{};refresher={who}", interval.as_secs()));
    // RFC 4028 9: the peer must look at it, which only one that knows timers can be asked for.
    if known { response.header(Name::Require, "timer") } else { response }
}

/// The timer that a wish makes.
pub(crate) fn timer_of(rule: &Rule, wish: Wish, before: Option<&SessionTimer>, now: Instant) -> Option<SessionTimer> {
    let armed = before.and_then(|timer| timer.armed);
    let timer = match wish {
        Wish::Agreed { interval, ours, .. } => SessionTimer { interval, ours, agreed: true, at: now, armed },
        Wish::None if rule.mode == Mode::Always => {
            SessionTimer { interval: rule.expires, ours: true, agreed: false, at: now, armed }
        }
        Wish::None | Wish::TooShort | Wish::Malformed => return None,
    };
    Some(timer.restarted(now))
}

/// The timer that a peer's 2xx to a request of ours makes (RFC 4028 7.2).
pub(crate) fn timer_by(
    rule: &Rule,
    headers: &Headers,
    before: Option<&SessionTimer>,
    now: Instant,
) -> Option<SessionTimer> {
    let wish = match interval(headers, Name::SessionExpires).flatten().filter(|_| rule.mode != Mode::Off) {
        Some(interval) => {
            let ours = refresher(headers) != Some(Refresher::Uas);
            Wish::Agreed { interval: interval.max(INTERVAL_MIN), ours, known: true }
        }
        None => Wish::None,
    };
    timer_of(rule, wish, before, now)
}

impl SessionTimer {
    fn restarted(self, now: Instant) -> Self {
        // RFC 4028 10: who does not refresh ends the session a third of the interval, 32 s at most, before it runs out.
        let patience = self.interval - (self.interval / 3).min(Duration::from_secs(32));
        Self { at: now + if self.ours { self.interval / 2 } else { patience }, ..self }
    }
}

impl Signaling {
    /// A session has another timer, or the same one anew.
    pub(crate) fn set_session_timer(&mut self, tag: Tag, timer: Option<SessionTimer>) {
        let Some(session) = self.session_mut(tag) else { return };
        session.timer = timer;
        self.arm_session_timer(tag);
    }

    /// One entry a session in the plane's timers, however often its peer refreshes: it fires early at worst, and is set again then.
    fn arm_session_timer(&mut self, tag: Tag) {
        let Some(timer) = self.session_mut(tag).and_then(|session| session.timer.as_mut()) else { return };
        if timer.armed.is_none_or(|armed| timer.at < armed) {
            timer.armed = Some(timer.at);
            let at = timer.at;
            self.timers.set(at, Timer::Session(tag));
        }
    }

    /// Refuses a request whose interval is too short, or unreadable. Whether it was answered.
    pub(crate) fn refuse_interval(
        &mut self,
        now: Instant,
        key: ServerKey,
        request: &Request,
        tag: Tag,
        rule: &Rule,
    ) -> bool {
        match wish(rule, &request.headers, None) {
            Wish::TooShort => {
                let text = tag.to_string();
                let response = ResponseBuilder::to(request, 422)
                    .to_tag(&text)
                    .header(Name::MinSe, &rule.min.as_secs().to_string())
                    .header(Name::Server, PRODUCT)
                    .build();
                self.respond(now, key, &response);
                true
            }
            Wish::Malformed => {
                self.reply(now, key, request, 400, tag);
                true
            }
            Wish::None | Wish::Agreed { .. } => false,
        }
    }

    /// A session's timer fires.
    pub(crate) fn session_due(&mut self, now: Instant, tag: Tag) {
        let Some(timer) = self.session_mut(tag).and_then(|session| session.timer.as_mut()) else { return };
        timer.armed = None;
        if timer.at > now {
            return self.arm_session_timer(tag);
        }
        if timer.ours {
            return self.refresh(now, tag);
        }
        let cause = format!("the peer did not refresh the session within {} s", timer.interval.as_secs());
        self.give_up(now, tag, Cause::new(408, cause));
    }

    fn refresh_later(&mut self, now: Instant, tag: Tag, after: Duration) {
        if let Some(timer) = self.session_mut(tag).and_then(|session| session.timer.as_mut()) {
            timer.at = now + after;
        }
        self.arm_session_timer(tag);
    }

    fn refresh(&mut self, now: Instant, tag: Tag) {
        let branch = self.new_branch();
        let Some(side) = self.sides.get_mut(&tag) else { return };
        let (advertised, to) = (side.advertised, side.next_hop());
        let State::Up(session) = &mut side.state else { return };
        let Some(timer) = session.timer.clone() else { return };
        let busy = session.refresh.is_some()
            || session.unacked.is_some()
            || !matches!(session.offer_answer, OfferAnswer::Settled);
        if busy {
            return self.refresh_later(now, tag, AGAIN_AFTER);
        }
        let method = match (timer.agreed, session.takes_update && !side.rules.workarounds.no_update) {
            (false, _) => Method::Options,
            (true, true) => Method::Update,
            (true, false) => Method::Invite,
        };
        let mut request = session.dialog.request(method.clone(), advertised, &branch).header(Name::UserAgent, PRODUCT);
        if timer.agreed {
            request = request
                .header(Name::Allow, side.rules.allow())
                .header(Name::Supported, side.rules.supported())
                .header(Name::SessionExpires, &format!("{};refresher=uac", timer.interval.as_secs()));
        }
        let what = if method == Method::Invite {
            request = request.body(SDP, &side.ours.again());
            Client::Reinvite(tag)
        } else {
            Client::Refresh(tag)
        };
        let request = request.build();
        let refresh = Refresh { request: request.clone(), tries: 0, raises: 0 };
        match method {
            Method::Invite => {
                session.offer_answer = OfferAnswer::Ours {
                    invite: request.clone(),
                    tries: 0,
                    raises: 0,
                    glares: 0,
                    stream: None,
                    refresh: true,
                };
            }
            _ => session.refresh = Some(refresh),
        }
        // Whatever becomes of it, it is looked at again.
        self.refresh_later(now, tag, (timer.interval / 2).max(AGAIN_AFTER));
        if self.request_within(now, tag, to, request, what).is_none() {
            self.refresh_failed(now, tag);
        }
    }

    /// The answer to an UPDATE or OPTIONS that refreshes.
    pub(crate) fn on_refresh_response(&mut self, now: Instant, key: ClientKey, tag: Tag, response: &Response) {
        if response.is_provisional() {
            return;
        }
        self.clients.remove(&key);
        let (branch, cnonce) = (self.new_branch(), self.random());
        let Some(side) = self.sides.get_mut(&tag) else { return };
        let (advertised, to, rule) = (side.advertised, side.next_hop(), side.rules.session_timer);
        let State::Up(session) = &mut side.state else { return };
        let Some(mut refresh) = session.refresh.take() else { return };
        if response.is_success() {
            if refresh.request.method == Method::Update {
                session.dialog.refresh(response);
                let timer = timer_by(&rule, &response.headers, session.timer.as_ref(), now);
                return self.set_session_timer(tag, timer);
            }
            return;
        }
        let again = match response.status {
            401 | 407 if refresh.tries < TRIES_MAX => {
                refresh.tries += 1;
                side.credentials.as_ref().and_then(|credentials| {
                    let cseq = session.dialog.next_cseq();
                    authorized(&refresh.request, response, credentials, (advertised, &branch, cnonce), cseq)
                })
            }
            422 if refresh.raises < RAISES_MAX => {
                refresh.raises += 1;
                let cseq = session.dialog.next_cseq();
                Some(raised(&refresh.request, response, advertised, &branch, cseq))
            }
            _ => None,
        };
        if let Some(request) = again {
            session.refresh = Some(Refresh { request: request.clone(), ..refresh });
            if self.request_within(now, tag, to, request, Client::Refresh(tag)).is_some() {
                return;
            }
        } else if refresh.request.method == Method::Update && matches!(response.status, 405 | 501) {
            session.takes_update = false;
            return self.refresh(now, tag);
        }
        let cause = headers::cause_of(response);
        // RFC 4028 10, RFC 3261 12.2.1.2. An OPTIONS that is not served (405, 501) was answered all the same.
        if matches!(cause.status, 408 | 481) {
            return self.give_up(now, tag, cause);
        }
        self.refresh_failed(now, tag);
    }

    /// A refresh was refused, or could not be sent: the peer is there, and is asked once more.
    pub(crate) fn refresh_failed(&mut self, now: Instant, tag: Tag) {
        let Some(session) = self.session_mut(tag) else { return };
        session.refresh = None;
        if session.timer.as_ref().is_some_and(|timer| timer.agreed) {
            self.refresh_later(now, tag, AGAIN_AFTER);
        }
    }

    pub(crate) fn on_refresh_timed_out(&mut self, now: Instant, tag: Tag) {
        if self.session_mut(tag).is_some_and(|session| session.refresh.take().is_some()) {
            self.give_up(now, tag, Cause::new(408, "no answer to a session refresh: unreachable"));
        }
    }

    /// A re-INVITE that only refreshed was accepted. The peer may have described itself anew all the same.
    pub(crate) fn refreshed(&mut self, tag: Tag, response: &Response) {
        let Some(leg) = self.sides.get(&tag).and_then(|side| side.leg) else { return };
        if let Ok(Some(described)) = crate::offered::description(&response.headers, &response.body) {
            self.tell(LegEvent::Refreshed { leg, theirs: Box::new(described.audio) });
        }
    }
}

impl Session {
    /// Notes what the peer says that it takes.
    pub(crate) fn learn(&mut self, headers: &Headers) {
        if headers.has(Name::Allow) {
            self.takes_update = headers.has_token(Name::Allow, "UPDATE");
        }
    }
}

impl Side {
    /// The timer that an accepted request of the peer makes.
    pub(crate) fn timer_after(&self, headers: &Headers, now: Instant) -> (Wish, Option<SessionTimer>) {
        let before = match &self.state {
            State::Up(session) => session.timer.as_ref(),
            State::Offered(_) | State::Calling(_) => None,
        };
        let wish = wish(&self.rules.session_timer, headers, before);
        (wish, timer_of(&self.rules.session_timer, wish, before, now))
    }
}

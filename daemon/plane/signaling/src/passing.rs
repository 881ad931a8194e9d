//! REFER passed on (`refer: relay`): what a party wants of the other one, that one is asked itself, by a REFER of ours in its own dialog, and its NOTIFYs
//! (message/sipfrag) are what the first is told.
//!
//! Refer-To names the user part that was wanted at our own address on that side: neither host nor headers of the other side pass, and the call that it
//! makes of it comes here, to be routed by the rights of who makes it. Nothing else of the REFER goes on.

use std::time::{Duration, Instant};

use postern_sip::{Headers, Method, Name, Request, Response, Uri, transaction::ServerKey};
use postern_types::{CallSid, leg::LegEvent};

use crate::{
    Client, Signaling,
    headers::PRODUCT,
    side::{State, Tag},
    timers::Timer,
};

/// How long the peer may take to tell the end, as long as it rings anywhere (RFC 3515 2.4.4).
const LASTS: Duration = Duration::from_secs(600);

/// A REFER of ours that the peer has, and did not tell the end of.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Passed {
    until: Instant,
}

impl Signaling {
    /// The router wants the peer of an answered leg to call somebody.
    pub(crate) fn pass_refer(&mut self, now: Instant, leg: CallSid, to: &str) {
        let branch = self.new_branch();
        let Some(tag) = self.only_side(leg) else { return };
        let Some(side) = self.sides.get_mut(&tag) else { return };
        let (advertised, flow, host) = (side.advertised, side.next_hop(), side.contact.address);
        let target = Uri::sip(Some(to), &host.ip().to_string(), Some(host.port()));
        let refer = match (&mut side.state, target) {
            (State::Up(session), Ok(target)) if session.passed.is_none() && session.unacked.is_none() => {
                session.passed = Some(Passed { until: now + LASTS });
                session
                    .dialog
                    .request(Method::Refer, advertised, &branch)
                    .header(Name::ReferTo, &format!("<{}>", target.as_str()))
                    .header(Name::UserAgent, PRODUCT)
                    .build()
            }
            _ => return self.tell(LegEvent::ReferralTold { leg, status: 491 }),
        };
        self.timers.set(now + LASTS, Timer::Passed(tag));
        if self.request(now, flow, refer, Client::Refer(tag)).is_none() {
            self.passed_over(tag, 503);
        }
    }

    /// The peer takes the REFER, or not.
    pub(crate) fn on_refer_response(&mut self, tag: Tag, response: &Response) {
        if !response.is_success() {
            self.passed_over(tag, response.status);
        }
    }

    /// It is over, with that status.
    pub(crate) fn passed_over(&mut self, tag: Tag, status: u16) {
        let Some(side) = self.sides.get_mut(&tag) else { return };
        let (State::Up(session), Some(leg)) = (&mut side.state, side.leg) else { return };
        if session.passed.take().is_some() {
            self.tell(LegEvent::ReferralTold { leg, status });
        }
    }

    /// Its time may be over.
    pub(crate) fn passed_due(&mut self, now: Instant, tag: Tag) {
        let due = self.session_mut(tag).and_then(|session| session.passed).is_some_and(|passed| passed.until <= now);
        if due {
            self.passed_over(tag, 408);
        }
    }

    /// A NOTIFY in a dialog: of a REFER of ours, or of nothing that we asked for.
    pub(crate) fn on_notify(&mut self, now: Instant, key: ServerKey, request: &Request, tag: Tag) {
        if request.headers.event().is_none_or(|event| !event.package.eq_ignore_ascii_case("refer")) {
            return self.refuse_subscription(now, key, request, (489, "refer"), tag);
        }
        if self.session_mut(tag).is_none_or(|session| session.passed.is_none()) {
            return self.reply(now, key, request, 481, tag);
        }
        self.reply(now, key, request, 200, tag);
        let state = request.headers.first(Name::SubscriptionState).unwrap_or_default();
        let is_over = state.trim_start().get(..10).is_some_and(|word| word.eq_ignore_ascii_case("terminated"));
        match told(&request.headers, &request.body) {
            Some(status) if status >= 200 => self.passed_over(tag, status),
            // It will tell no more, and how it went nobody knows.
            _ if is_over => self.passed_over(tag, 408),
            Some(status) if status > 100 => {
                if let Some(leg) = self.sides.get(&tag).and_then(|side| side.leg) {
                    self.tell(LegEvent::ReferralTold { leg, status });
                }
            }
            _ => {}
        }
    }
}

/// The status in a NOTIFY's sipfrag (RFC 3420), 100..=699.
pub(crate) fn told(headers: &Headers, body: &[u8]) -> Option<u16> {
    if !headers.is_content("message/sipfrag") {
        return None;
    }
    let line = body.split(|&byte| byte == b'\r' || byte == b'\n').next()?;
    let status = std::str::from_utf8(line).ok()?.strip_prefix("SIP/2.0 ")?.get(..3)?;
    status.parse().ok().filter(|status| (100..700).contains(status))
}

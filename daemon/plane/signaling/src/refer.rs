//! REFER (RFC 3515): a party wants the other one to talk with somebody else. The peer that asks hears by NOTIFY how it goes; the router dials, or has
//! the other party asked (`passing`). Whom a REFER may reach the router decides by what the referring party could have called itself.
//!
//! With Replaces in Refer-To (attended transfer, RFC 5589 7) the other party is to talk with that of a second call of the peer's, through us as well.
//!
//! Left out: subscriptions of their own, REFER outside a call, other methods than INVITE, and Replaces that names a dialog which is not ours.

use std::time::Instant;

use postern_config::Refer;
use postern_sip::{Headers, Method, Name, Request, ResponseBuilder, transaction::ServerKey};
use postern_types::{CallSid, leg::LegEvent};

use crate::{
    Client, Signaling,
    headers::{self, PRODUCT},
    offered::contact,
    replaces,
    side::{State, Tag},
};

/// How long the peer may expect news, seconds: longer than anybody rings (RFC 3515 2.4.4).
const EXPIRES_S: u32 = 600;

/// A REFER that was accepted and is not over.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Referral {
    /// The CSeq of its REFER, which tells it from others of the dialog (RFC 3515 2.4.6); none for the first, which needs no telling.
    id: Option<u32>,
}

impl Signaling {
    /// A REFER in a dialog.
    pub(crate) fn on_refer(&mut self, now: Instant, key: ServerKey, request: &Request, tag: Tag) {
        let Some(side) = self.sides.get_mut(&tag) else { return };
        let (leg, reached, may) = (side.leg, side.contact, side.rules.refer);
        let State::Up(session) = &mut side.state else { return };
        let wanted = match wanted(&request.headers) {
            _ if may == Refer::Refuse => return self.reply(now, key, request, 405, tag),
            Err(status) => return self.reply(now, key, request, status, tag),
            // RFC 3261 21.4.27: one at a time, and not before the call stands.
            Ok(_) if session.referral.is_some() || session.unacked.is_some() => {
                return self.reply(now, key, request, 491, tag);
            }
            Ok(wanted) => wanted,
        };
        let Some(leg) = leg else { return self.reply(now, key, request, 481, tag) };
        let number = request.headers.cseq().map_or(0, |cseq| cseq.number);
        session.referral = Some(Referral { id: Some(number).filter(|_| session.has_referred) });
        session.has_referred = true;
        let text = tag.to_string();
        let response = ResponseBuilder::to(request, 202)
            .to_tag(&text)
            .header(Name::Contact, &contact(reached))
            .header(Name::Server, PRODUCT)
            .build();
        self.respond(now, key, &response);
        self.referral(now, leg, 100);
        let Wanted { to, replaces } = wanted;
        self.tell(match replaces {
            None => LegEvent::Referred { leg, to, pass_on: may == Refer::Relay },
            Some(value) => {
                let second = self.replaced(&value, self.claimant(tag)).ok();
                LegEvent::ReferredToSecond { leg, second, to }
            }
        });
    }

    /// The router tells how a referral goes: NOTIFY with that status (RFC 3515 2.4.5). 200 and above is its end.
    pub(crate) fn referral(&mut self, now: Instant, leg: CallSid, status: u16) {
        let branch = self.new_branch();
        let Some(side) = self.only_side(leg).and_then(|tag| self.sides.get_mut(&tag)) else { return };
        let (advertised, to) = (side.advertised, side.next_hop());
        let State::Up(session) = &mut side.state else { return };
        let is_over = status >= 200;
        let found = if is_over { session.referral.take() } else { session.referral };
        let Some(Referral { id }) = found else { return };
        let event = id.map_or_else(|| "refer".to_owned(), |id| format!("refer;id={id}"));
        let state =
            if is_over { "terminated;reason=noresource".to_owned() } else { format!("active;expires={EXPIRES_S}") };
        let fragment = format!("SIP/2.0 {status} {}\r\n", postern_sip::status::reason_of(status));
        let notify = session
            .dialog
            .request(Method::Notify, advertised, &branch)
            .header(Name::Event, &event)
            .header(Name::SubscriptionState, &state)
            .header(Name::UserAgent, PRODUCT)
            .body("message/sipfrag;version=2.0", fragment.as_bytes())
            .build();
        self.request(now, to, notify, Client::Told);
    }
}

/// What a REFER wants.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// Whom: the user part, as of a Request-URI; may be empty with `replaces`.
    pub(crate) to: Box<str>,
    /// The dialog whose other party that is.
    pub(crate) replaces: Option<Box<str>>,
}

/// Whom a REFER wants to be called; else the status to refuse with.
pub(crate) fn wanted(headers: &Headers) -> Result<Wanted, u16> {
    let mut targets = headers.addresses(Name::ReferTo);
    // RFC 3515 2.4.2: exactly one.
    let (Some(Ok(target)), None) = (targets.next(), targets.next()) else { return Err(400) };
    let uri = target.uri().map_err(|_| 400_u16)?;
    if !["sip", "sips", "tel"].iter().any(|scheme| uri.scheme_str().eq_ignore_ascii_case(scheme)) {
        return Err(416);
    }
    if !uri.param("method").is_none_or(|method| method.eq_ignore_ascii_case("INVITE")) {
        return Err(501);
    }
    let to = headers::user_of(&uri);
    let replaces = replaces::referred(&uri)?.map(|value| value.into());
    if to.is_empty() && replaces.is_none() { Err(404) } else { Ok(Wanted { to, replaces }) }
}

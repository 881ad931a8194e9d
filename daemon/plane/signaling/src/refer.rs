//! REFER (RFC 3515): a party wants the other one to talk with somebody else. The peer that asks hears by NOTIFY how it goes; the router dials, or has
//! the other party asked (`passing`). Whom a REFER may reach the router decides by what the referring party could have called itself.
//!
//! With Replaces in Refer-To (attended transfer, RFC 5589 7) the other party is to talk with that of a second call of the peer's, through us as well.
//!
//! Left out: REFER outside a call, other methods than INVITE, and Replaces that names a dialog which is not ours.

use std::time::Instant;

use postern_config::Refer;
use postern_sip::{Headers, Name, Request, ResponseBuilder, Uri, transaction::ServerKey};
use postern_types::{CallSid, leg::LegEvent};

use crate::{
    Client, Signaling,
    gruu::Called,
    headers::{self, PRODUCT},
    offered::contact,
    replaces,
    side::{State, Tag},
    subscriptions,
};

/// How long the peer may expect news, seconds: longer than anybody rings (RFC 3515 2.4.4).
const EXPIRES_S: u32 = 600;

/// A REFER that was accepted and is not over.
#[derive(Debug, Clone)]
pub(crate) struct Referral {
    /// The `id` of its Event, the CSeq of its REFER, which tells it from others of the dialog (RFC 3515 2.4.6); none for the first, which needs no telling.
    id: Option<Box<str>>,
    /// What the peer was told last.
    told: u16,
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
        let id = session.has_referred.then(|| number.to_string().into());
        session.referral = Some(Referral { id, told: 100 });
        session.has_referred = true;
        let text = tag.to_string();
        let response = ResponseBuilder::to(request, 202)
            .to_tag(&text)
            .header(Name::Contact, &contact(reached))
            .header(Name::Server, PRODUCT)
            .build();
        self.respond(now, key, &response);
        self.referral(now, leg, 100);
        let (Called { to, device }, replaces) = (self.called(&wanted.uri), wanted.replaces);
        self.tell(match replaces {
            // Who is asked to call by itself would not be told of the device.
            None => LegEvent::Referred { leg, to, pass_on: may == Refer::Relay && device.is_none(), device },
            Some(value) => {
                let second = self.replaced(&value, self.claimant(tag)).ok();
                LegEvent::ReferredToSecond { leg, second, to }
            }
        });
    }

    /// The router tells how a referral goes: NOTIFY with that status (RFC 3515 2.4.5). 200 and above is its end.
    pub(crate) fn referral(&mut self, now: Instant, leg: CallSid, status: u16) {
        if let Some(tag) = self.only_side(leg) {
            let lasts = if status >= 200 { Err("noresource") } else { Ok(EXPIRES_S) };
            self.tell_referral(now, tag, Some(status), lasts);
        }
    }

    /// Tells it, or once more what was told last, and for how many seconds there is more to come, or why not.
    fn tell_referral(&mut self, now: Instant, tag: Tag, status: Option<u16>, lasts: Result<u32, &str>) {
        let branch = self.new_branch();
        let Some(side) = self.sides.get_mut(&tag) else { return };
        let (advertised, to) = (side.advertised, side.next_hop());
        let State::Up(session) = &mut side.state else { return };
        let Some(referral) = &mut session.referral else { return };
        referral.told = status.unwrap_or(referral.told);
        let event = referral.id.as_ref().map_or_else(|| "refer".to_owned(), |id| format!("refer;id={id}"));
        let fragment = format!("SIP/2.0 {} {}\r\n", referral.told, postern_sip::status::reason_of(referral.told));
        let state = match lasts {
            Ok(seconds) => format!("active;expires={seconds}"),
            Err(reason) => format!("terminated;reason={reason}"),
        };
        if lasts.is_err() {
            session.referral = None;
        }
        let notify = subscriptions::notify(&mut session.dialog, advertised, &branch, &event, &state)
            .body("message/sipfrag;version=2.0", fragment.as_bytes())
            .build();
        self.request(now, to, notify, Client::Told);
    }

    /// A SUBSCRIBE in a call's dialog: to go on being told of a REFER, or not any more (RFC 3515 2.4.4). All else wants a dialog of its own.
    pub(crate) fn on_subscribe(&mut self, now: Instant, key: ServerKey, request: &Request, tag: Tag) {
        let Some(session) = self.session_mut(tag) else { return };
        let event = request.headers.event().filter(|event| event.package == "refer");
        let wanted = match (event, &session.referral) {
            (None, _) => Err(489),
            (Some(event), Some(referral)) if event.id == referral.id.as_deref() => subscriptions::lifetime(request),
            (Some(_), _) => Err(481),
        };
        let expires_s = match wanted {
            Ok(expires_s) => expires_s.min(EXPIRES_S),
            Err(status) => return self.refuse_subscription(now, key, request, (status, "refer"), tag),
        };
        self.accept_subscription(now, key, request, tag, expires_s);
        let lasts = if expires_s == 0 { Err("timeout") } else { Ok(expires_s) };
        self.tell_referral(now, tag, None, lasts);
    }
}

/// What a REFER wants.
#[derive(Debug)]
pub(crate) struct Wanted {
    /// Whom, as of a Request-URI; may be without a user part with `replaces`.
    uri: Uri<'static>,
    /// The dialog whose other party that is.
    replaces: Option<Box<str>>,
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
    let replaces: Option<Box<str>> = replaces::referred(&uri)?.map(|value| value.into());
    if replaces.is_none() && headers::user_of(&uri).is_empty() {
        return Err(404);
    }
    Ok(Wanted { replaces, uri: uri.into_owned() })
}

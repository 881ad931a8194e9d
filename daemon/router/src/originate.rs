//! Calls made and changed by the REST API.

use postern_facts as facts;
use postern_types::{
    AccountSid, CallSid, Cause, EndedBy, Now, Sid,
    leg::{CallerIdentity, Dial, FORWARDS_MAX, Party, Target},
    stream::Direction,
};
use std::time::Duration;

use crate::{
    call::Call,
    callback::{Of, Subscription},
    context::Context,
    dial::{Branch, is_emergency, sent_number},
    leg::{Leg, Origin},
    limits::{Bound, Passing},
    negotiate::{self, Policy},
    numbers,
    rest::{CreateCall, Instructions, RestError, StatusCallback, UpdateCall},
    session::{DOCUMENT_PARAMETER_MAX, Session, nouns},
    table::{self, Asked, Caller},
    ways::Ways,
};

/// Characters of a caller or callee at most.
const PARTY_MAX: usize = 512;
/// Seconds that a call may ring at most.
const TIMEOUT_MAX: u32 = 600;

/// A call for which there is no room.
pub fn no_room(message: &str) -> RestError {
    RestError { status: 503, code: 20503, message: message.into() }
}

pub fn bad(code: u32, message: impl Into<String>) -> RestError {
    RestError { status: 400, code, message: message.into() }
}

/// Makes a call; its first leg is dialed as soon as its stream is open.
pub fn create(cx: &mut Context, now: Now, account: AccountSid, wanted: CreateCall) -> Result<Call, RestError> {
    if wanted.to.is_empty() {
        return Err(bad(21201, "To is missing"));
    }
    if wanted.from.is_empty() {
        return Err(bad(21213, "From is missing"));
    }
    if wanted.from.len() > PARTY_MAX || wanted.from.contains(char::is_control) {
        return Err(bad(21212, "From is not a caller that can be shown"));
    }
    check(cx, account, &wanted.instructions)?;
    let Ways { mut target, mut party, mut spares } = callee(cx, now, &wanted.to)?;
    let emergency = is_emergency(&cx.config, &target);
    while let Party::Trunk { trunk } = &party
        && !emergency
        && let Err(full) = cx.take_room(now, trunk, Bound::Out, Passing::Call)
    {
        let Some(next) = spares.pop_front() else { return Err(no_room(full.why())) };
        (target, party) = (next.target, next.party);
    }
    let unreachable = || no_room("no realm from which the callee can be reached");
    let (realm, ipv6) = negotiate::realm_of(&cx.config, &target).ok_or_else(unreachable)?;
    let policy = Policy::of(&cx.config, &party, &realm);
    let formats = policy.allow(&negotiate::own_formats(cx.libraries));
    if formats.is_empty() {
        return Err(bad(21211, "no prompt could be played to To: its codecs leave out PCMU, PCMA, G722 and opus"));
    }
    let sid = CallSid::random(&mut cx.rng);
    let timeout = Duration::from_secs(wanted.timeout_s.clamp(1, TIMEOUT_MAX).into());
    let from: Box<str> = nouns::user_part(&wanted.from).into();
    let branch = Branch {
        target: target.clone(),
        party: party.clone(),
        to: wanted.to.clone(),
        spares,
        headers: vec![],
        subscription: None,
    };
    // An account vouches for the caller that it names.
    let mut identity = CallerIdentity { asserted: from.clone(), ..CallerIdentity::default() };
    let (mut target, mut from) = (target, from);
    let steps = numbers::sent(&cx.config, &party, &realm, &mut target, &mut from, &mut identity);
    let numbers = steps.fact(sent_number(&target), &from);
    let mut leg = Leg::new(sid, branch.party.clone(), policy, realm, ipv6, now);
    leg.to = branch.to.clone();
    leg.account = Some(account);
    leg.origin = Origin::Api;
    leg.from = wanted.from.clone();
    leg.keys.make_offer(&leg.policy, &mut cx.rng);
    let offer = Call::describe(&leg, formats, leg.telephone_event(), Direction::SendRecv);
    let (from_name, headers) = ("".into(), vec![]);
    let dial = Dial {
        leg: sid,
        target,
        from,
        from_name,
        offer,
        timeout,
        headers,
        identity: identity.clone(),
        max_forwards: FORWARDS_MAX,
        emergency,
        spare: false,
    };
    leg.dial = Some(Box::new(dial));

    let mut call = Call::empty(sid, now);
    call.emergency = emergency;
    call.identity = identity;
    call.account = Some(account);
    call.add_leg(cx, leg);
    if let Some(subscription) = subscription(cx, &wanted)? {
        call.callbacks.subscribe(Of::Leg(sid), subscription);
    }
    call.session = Some(Box::new(Session::waiting(wanted.instructions)));
    call.tell(cx, sid, facts::CallCreated { from: wanted.from.clone(), to: wanted.to.clone(), by: "rest".into() });
    let to = match &party {
        Party::Trunk { trunk } => format!("trunk {trunk}"),
        Party::User { user } => format!("user {user}"),
        Party::Uri { uri } => uri.to_string(),
    };
    let (table, entry, why) = ("rest".to_owned(), wanted.to.clone(), "asked by the API".to_owned());
    call.tell(cx, sid, facts::CallRouted { table, entry, to, why });
    let timeout_s = timeout.as_secs();
    call.tell(cx, sid, facts::LegDialed { party, to: wanted.to, from: wanted.from, timeout_s });
    if let Some(fact) = numbers {
        call.tell(cx, sid, fact);
    }
    Ok(call)
}

/// Changes a live leg of the account, or ends it. The record says what was asked for, before signaling has done it.
pub fn update(
    call: &mut Call,
    cx: &mut Context,
    now: Now,
    account: AccountSid,
    sid: CallSid,
    update: UpdateCall,
) -> Result<Option<facts::CallRecord>, RestError> {
    let Some(leg) = call.leg(sid).filter(|leg| leg.account == Some(account) && leg.is_live()) else { return Ok(None) };
    let (answered, is_first) = (leg.answered.is_some(), sid == call.sid);
    let status = match update {
        UpdateCall::Redirect(instructions) => {
            if !answered || !is_first || call.session.is_none() {
                return Err(bad(21220, "the call is not in progress with a document, and cannot be redirected"));
            }
            check(cx, account, &instructions)?;
            call.redirect(cx, now, instructions);
            None
        }
        UpdateCall::Cancel if answered => {
            return Err(bad(21220, "the call was answered: it can be completed, not canceled"));
        }
        UpdateCall::Cancel => {
            release(call, cx, now, sid, Cause { text: "canceled by the API".into(), ..Cause::CANCELLED });
            Some("canceled")
        }
        UpdateCall::Complete => {
            let cause = Cause { text: "completed by the API".into(), ..Cause::NORMAL };
            release(call, cx, now, sid, if answered { cause } else { Cause { status: 487, ..cause } });
            Some(if answered { "completed" } else { "canceled" })
        }
    };
    let record = call.leg(sid).map(|leg| leg.record());
    Ok(record.map(|record| match status {
        Some(status) => facts::CallRecord { status: status.to_owned(), ..record },
        None => record,
    }))
}

/// The first leg takes the call with it; a dialed one goes alone, and the document goes on.
fn release(call: &mut Call, cx: &mut Context, now: Now, sid: CallSid, cause: Cause) {
    if sid == call.sid {
        call.end(cx, now, EndedBy::Operator, cause);
    } else {
        call.hang_up(cx, now, sid, EndedBy::Operator, cause);
    }
}

fn callee(cx: &mut Context, now: Now, to: &str) -> Result<Ways, RestError> {
    let not_valid = |why: &str| bad(21211, format!("To is not a callee: {why}"));
    if to.len() > PARTY_MAX {
        return Err(not_valid("too long"));
    }
    if let Some(name) = to.strip_prefix("client:") {
        let (user, _) = cx.config.users.get_key_value(name).ok_or_else(|| not_valid("no such user"))?;
        return Ok(Ways::user(user.clone()));
    }
    if let Some(rest) = to.strip_prefix("sip:") {
        if rest.is_empty() || !rest.bytes().all(|b| b.is_ascii_graphic() && !b"<>\"?".contains(&b)) {
            return Err(not_valid("want sip:user@host"));
        }
        let realm =
            negotiate::uri_realm(&cx.config).ok_or_else(|| not_valid("calls to SIP URIs are not configured"))?;
        let target = Target::Uri { uri: to.into(), realm: realm.clone(), credentials: None };
        return Ok(Ways::only(target, Party::Uri { uri: to.split(';').next().unwrap_or(to).into() }));
    }
    let emergency = cx.config.is_emergency_somewhere(to);
    let asked = Asked { caller: Caller::User, dialed: to, at: now.wall, emergency };
    let decision = table::look_up(&cx.config, asked).map_err(|why| not_valid(&why))?;
    nouns::reach(cx, decision.to).ok_or_else(|| not_valid("the number is an application's"))
}

/// What can be told before the call is made.
pub fn check(cx: &Context, account: AccountSid, instructions: &Instructions) -> Result<(), RestError> {
    match instructions {
        Instructions::Url { url, .. } => {
            crate::url::resolve(None, url).map(drop).map_err(|why| bad(21205, format!("Url: {why}")))
        }
        Instructions::Document(text) if text.len() > DOCUMENT_PARAMETER_MAX => {
            Err(bad(21263, format!("Twiml is longer than {DOCUMENT_PARAMETER_MAX} bytes")))
        }
        Instructions::Document(_) | Instructions::Program(_) => Ok(()),
        Instructions::Application(name) => {
            let app = cx.config.applications.get(name.as_str()).filter(|app| app.account == account);
            app.map(drop).ok_or_else(|| bad(21218, "no such application"))
        }
    }
}

/// Who is told: an application's own subscriber goes before that of the request.
fn subscription(cx: &Context, wanted: &CreateCall) -> Result<Option<Subscription>, RestError> {
    let callback = match &wanted.instructions {
        Instructions::Application(name) => cx.config.applications.get(name.as_str()).and_then(|app| {
            let (url, method) = (app.status_callback.clone()?, app.status_callback_method);
            Some(StatusCallback { url, method, events: app.status_callback_events.clone() })
        }),
        _ => wanted.status_callback.clone(),
    };
    let Some(StatusCallback { url, method, events }) = callback else { return Ok(None) };
    let url = crate::url::resolve(None, &url).map_err(|why| bad(21609, format!("StatusCallback: {why}")))?;
    Ok(Some(Subscription { url, method, events }))
}

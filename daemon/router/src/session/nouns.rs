//! `<Dial>`: whom its nouns mean, and what came of it in the words of the platform.

use postern_document::{Dial, Noun, StatusCallback, Verb};
use postern_facts as facts;
use postern_presence::Availability;
use postern_types::{
    Cause, Now, UserName,
    leg::{CallerIdentity, HEADERS_MAX, Party, Target},
};

use crate::{
    call::Call,
    callback::Subscription,
    context::Context,
    dial::{BRANCHES_MAX, Branch, Dialing, Outcome},
    negotiate,
    request::{Fields, add},
    table::{self, Asked, Caller, Resolved},
    ways::Ways,
};

impl Call {
    /// The parties that can be dialed; for those that cannot, the reason is noted as their outcome.
    pub fn dialing_of(&mut self, cx: &mut Context, now: Now, dial: &Dial) -> Dialing {
        let (caller, from_name) = self.first().map(|leg| (leg.from.clone(), leg.from_name.clone())).unwrap_or_default();
        let shown = dial.caller_id.clone().unwrap_or(caller);
        let mut branches = Vec::new();
        let mut failures = Vec::new();
        for noun in dial.nouns.iter().take(BRANCHES_MAX) {
            match self.branch_of(cx, now, noun) {
                Ok(branch) => branches.push(branch),
                Err(outcome) => {
                    self.tell_refused(cx, noun_text(noun), &outcome);
                    failures.push(outcome);
                }
            }
        }
        let from = user_part(&shown).to_owned();
        let mut dialing = Dialing::new(branches, &from, &from_name, &shown, dial.timeout);
        // A caller that the document itself names is an account's to vouch for, and is nobody who was sent on.
        dialing.identity = match &dial.caller_id {
            Some(_) => CallerIdentity { asserted: user_part(&shown).into(), ..CallerIdentity::default() },
            None => self.identity.clone(),
        };
        dialing.sequential = dial.sequential;
        dialing.time_limit = Some(dial.time_limit);
        dialing.hangup_on_star = dial.hangup_on_star;
        dialing.record = dial.record.as_ref().map(|record| self.dial_recording(record));
        for outcome in failures {
            dialing.note(outcome);
        }
        dialing
    }

    fn branch_of(&self, cx: &mut Context, now: Now, noun: &Noun) -> Result<Branch, Outcome> {
        let failed = |status, text| Outcome::failed("failed", Cause::new(status, text), None);
        let mut headers: Vec<(Box<str>, Box<str>)> = Vec::new();
        let (ways, to, callback) = match noun {
            Noun::Number(number) => {
                let emergency = cx.config.is_emergency_somewhere(&number.number);
                let asked = Asked { caller: Caller::User, dialed: &number.number, at: now.wall, emergency };
                let decision = table::look_up(&cx.config, asked)
                    .map_err(|why| Outcome::failed("failed", Cause::new(404, why), None))?;
                // Two documents in one call would have no one who decides; a document reaches another by Redirect.
                let ways = reach(cx, decision.to.clone())
                    .ok_or_else(|| failed(501, "the number is an application's: use Redirect to its URL"))?;
                let to = decision.to.to_string();
                let (table, entry, why) = (decision.table.to_owned(), decision.entry, decision.why);
                self.tell(cx, self.sid, facts::CallRouted { table, entry, to, why });
                (ways, number.number.clone(), &number.status_callback)
            }
            Noun::Client(client) => {
                let user = UserName::new(&client.identity);
                match cx.presence.dialable(&user) {
                    Availability::Available { .. } => {}
                    Availability::Busy { .. } => {
                        return Err(Outcome::failed("busy", Cause::new(486, "the user is in a call"), None));
                    }
                    Availability::Gone => {
                        let cause = Cause { text: "no device is registered".into(), ..Cause::NO_ANSWER };
                        return Err(Outcome::failed("no-answer", cause, None));
                    }
                }
                let parameters = client.parameters.iter().take(HEADERS_MAX);
                headers.extend(parameters.map(|(name, value)| (format!("X-{name}").into(), value.as_str().into())));
                let to = format!("client:{user}");
                (Ways::user(user), to, &client.status_callback)
            }
            Noun::Conference(_) => return Err(failed(501, "a conference is not dialed")),
            Noun::Sip(sip) => {
                let realm =
                    negotiate::uri_realm(&cx.config).ok_or_else(|| failed(503, "no realm for calls to SIP URIs"))?;
                let given = sip.headers.iter().take(HEADERS_MAX);
                headers.extend(given.map(|(name, value)| (name.as_str().into(), value.as_str().into())));
                let uri: Box<str> = sip.uri.as_str().into();
                let credentials = sip.credentials.as_ref().map(|(name, secret)| (name.as_str().into(), secret.clone()));
                let plain: Box<str> = sip.uri.split(';').next().unwrap_or_default().into();
                let target = Target::Uri { uri, realm: realm.clone(), credentials };
                (Ways::only(target, Party::Uri { uri: plain.clone() }), plain.into(), &sip.status_callback)
            }
        };
        let subscription = callback.as_ref().and_then(|callback| self.subscription_of(callback));
        let Ways { target, party, spares } = ways;
        Ok(Branch { target, party, spares, to, headers, subscription })
    }

    /// Somebody whom the document, or the route, names is not dialed.
    pub fn tell_refused(&self, cx: &mut Context, entry: String, outcome: &Outcome) {
        let table = if self.session.is_some() { "document" } else { "route" }.to_owned();
        let why = outcome.cause.to_string();
        self.tell(cx, self.sid, facts::CallRouted { table, entry, to: "refused".into(), why });
    }

    fn subscription_of(&self, callback: &StatusCallback) -> Option<Subscription> {
        let base = self.session.as_ref().and_then(|session| session.base.as_ref());
        let url = crate::url::resolve(base, &callback.url).ok()?;
        Some(Subscription { url, method: callback.method, events: callback.events.clone() })
    }
}

/// Whom a row of the routing table means, if it is a party.
pub fn reach(cx: &mut Context, to: Resolved) -> Option<Ways> {
    match to {
        Resolved::User(user) => Some(Ways::user(user)),
        Resolved::Trunk(trunk, number) => Some(Ways::trunk(trunk, number)),
        Resolved::Group(group, number) => Ways::group(cx, &group, &number),
        Resolved::Table(_, rows, number) => Ways::rows(cx, &rows, &number),
        Resolved::Application(_) => None,
    }
}

/// The user part of a caller as the API shows it.
pub fn user_part(shown: &str) -> &str {
    let bare = shown.strip_prefix("client:").or_else(|| shown.strip_prefix("sip:")).unwrap_or(shown);
    bare.split('@').next().unwrap_or_default()
}

/// What the action of a `<Dial>` is told.
pub fn outcome_fields(outcome: &Outcome) -> Fields {
    let mut fields = Fields::new();
    add(&mut fields, "DialCallStatus", outcome.status);
    if let Some(child) = outcome.child {
        add(&mut fields, "DialCallSid", child);
    }
    if outcome.bridged {
        add(&mut fields, "DialCallDuration", outcome.talked.as_millis().div_ceil(1000));
    }
    add(&mut fields, "DialBridged", outcome.bridged);
    fields
}

pub fn noun_text(noun: &Noun) -> String {
    match noun {
        Noun::Number(number) => number.number.clone(),
        Noun::Client(client) => format!("client:{}", client.identity),
        Noun::Sip(sip) => sip.uri.clone(),
        Noun::Conference(conference) => format!("conference {}", conference.name),
    }
}

/// The essentials of a verb, for the fact: no URL with its query, no digit.
pub fn detail(verb: &Verb) -> String {
    match verb {
        Verb::Dial(dial) => dial.nouns.iter().map(noun_text).collect::<Vec<_>>().join(", "),
        Verb::Play(play) => crate::url::shown(&play.url),
        Verb::Record(record) => format!("{} s at most", record.max_length.as_secs()),
        Verb::Gather(gather) => format!("{} prompts, {} s", gather.prompts.len(), gather.timeout.as_secs()),
        Verb::Start(stream) => crate::url::shown(&stream.url),
        Verb::Stop(name) => name.clone(),
        Verb::Pause(pause) => format!("{} s", pause.length.as_secs()),
        Verb::Redirect(redirect) => crate::url::shown(&redirect.target.url),
        Verb::Reject(reject) => format!("{:?}", reject.reason).to_lowercase(),
        Verb::Hangup => String::new(),
    }
}

//! Our requests: what each is for, and whose its answer is, or that none came.

use std::{sync::Arc, time::Instant};

use postern_config::HeaderRules;
use postern_sip::{
    Request, Response, SentBy,
    transaction::{ClientKey, Flow},
};
use postern_types::{Cause, EndedBy, Secret, TrunkName, text::TextId};

use crate::{Signaling, side::Tag, targets::Target};

/// What one of our requests is for.
#[derive(Debug)]
pub(crate) enum Client {
    /// The first INVITE of a side.
    Invite(Tag),
    /// A later INVITE of a session.
    Reinvite(Tag),
    /// A PRACK, INFO, or NOTIFY of a call or a subscription's last: nobody waits for its answer.
    Told,
    /// A NOTIFY of a subscription.
    Notify(Tag),
    /// A REFER that was passed on.
    Refer(Tag),
    /// An UPDATE or OPTIONS that refreshes a session.
    Refresh(Tag),
    /// A BYE: nobody waits for its answer, but a challenge is answered once when there are credentials.
    Bye(Option<Box<Retry>>),
    /// OPTIONS to an address of a trunk.
    Probe(TrunkName, Target),
    /// REGISTER with a trunk.
    Register(TrunkName),
    /// A copy of a message, and how a challenge of it is answered.
    Text(TextId, Option<Box<Retry>>),
    /// The same, to take a registration back: as for a BYE.
    Unregister(Option<Box<Retry>>),
}

/// What it takes to send a BYE, a message, or the end of a registration, again after what it was for is forgotten.
#[derive(Debug)]
pub(crate) struct Retry {
    pub(crate) flow: Flow,
    pub(crate) advertised: SentBy,
    pub(crate) request: Request,
    pub(crate) credentials: (Box<str>, Secret<String>),
    /// Header rules for it.
    pub(crate) rules: Option<Arc<HeaderRules>>,
}

impl Signaling {
    pub(crate) fn on_response(&mut self, now: Instant, key: ClientKey, mut response: Response, flow: Flow) {
        self.edit_received_response(flow, self.clients.get(&key), &mut response);
        if self.answer_detours(now, key, &response) {
            return;
        }
        match self.clients.get(&key) {
            Some(&Client::Invite(tag)) => self.on_invite_response(now, key, tag, response, flow),
            Some(&Client::Reinvite(tag)) => self.on_reinvite_response(now, key, tag, response, flow),
            Some(&Client::Refresh(tag)) => self.on_refresh_response(now, key, tag, &response),
            Some(Client::Bye(_)) if !response.is_provisional() => {
                if let Some(Client::Bye(Some(retry))) = self.clients.remove(&key) {
                    self.once_more(now, *retry, &response, Client::Bye(None));
                }
            }
            Some(Client::Told) if !response.is_provisional() => drop(self.clients.remove(&key)),
            Some(&Client::Notify(tag)) if !response.is_provisional() => {
                self.clients.remove(&key);
                self.on_notify_response(now, tag, &response);
            }
            Some(&Client::Refer(tag)) if !response.is_provisional() => {
                self.clients.remove(&key);
                self.on_refer_response(tag, &response);
            }
            Some(Client::Probe(..)) if !response.is_provisional() => {
                if let Some(Client::Probe(trunk, target)) = self.clients.remove(&key) {
                    self.probe_answered(now, &trunk, target, &response);
                }
            }
            Some(Client::Register(_)) if !response.is_provisional() => {
                if let Some(Client::Register(trunk)) = self.clients.remove(&key) {
                    self.register_answered(now, key, &trunk, &response);
                }
            }
            Some(Client::Text(..)) if !response.is_provisional() => {
                if let Some(Client::Text(id, retry)) = self.clients.remove(&key) {
                    self.on_text_response(now, id, retry, &response);
                }
            }
            Some(Client::Unregister(_)) if !response.is_provisional() => {
                if let Some(Client::Unregister(Some(retry))) = self.clients.remove(&key) {
                    self.once_more(now, *retry, &response, Client::Unregister(None));
                }
            }
            Some(
                Client::Bye(_)
                | Client::Told
                | Client::Notify(_)
                | Client::Refer(_)
                | Client::Probe(..)
                | Client::Register(_)
                | Client::Text(..)
                | Client::Unregister(_),
            )
            | None => {}
        }
    }

    pub(crate) fn on_timed_out(&mut self, now: Instant, key: ClientKey) {
        if self.takes_detour(now, key, &Cause::new(408, "no answer in the call: unreachable")) {
            return;
        }
        match self.clients.remove(&key) {
            Some(Client::Invite(tag)) => self.on_invite_timed_out(now, tag),
            Some(Client::Reinvite(tag)) => self.on_reinvite_timed_out(now, tag),
            Some(Client::Refresh(tag)) => self.on_refresh_timed_out(now, tag),
            Some(Client::Notify(tag)) => self.forget_subscription(tag, "the subscriber did not answer".into()),
            Some(Client::Refer(tag)) => self.passed_over(tag, 408),
            Some(Client::Probe(trunk, target)) => {
                self.probe_failed(now, &trunk, target, Cause::new(408, "no answer to OPTIONS"));
            }
            Some(Client::Text(id, _)) => {
                self.text_ended(id, EndedBy::Postern, Cause::new(408, "no answer to the message"))
            }
            // It was given up long before.
            Some(Client::Register(_)) => {}
            Some(Client::Bye(_) | Client::Told | Client::Unregister(_)) | None => {}
        }
    }

    pub(crate) fn on_undelivered(&mut self, now: Instant, key: ClientKey) {
        let why = self.lost_because.clone();
        if self.takes_detour(now, key, &Cause::new(503, format!("cannot be reached: {why}"))) {
            return;
        }
        match self.clients.remove(&key) {
            Some(Client::Invite(tag)) => self.on_invite_undelivered(now, tag, &why),
            Some(Client::Reinvite(tag)) => self.on_reinvite_undelivered(now, tag, &why),
            Some(Client::Refresh(tag)) => self.refresh_failed(now, tag),
            Some(Client::Notify(tag)) => {
                self.forget_subscription(tag, format!("the subscriber cannot be reached: {why}"));
            }
            Some(Client::Refer(tag)) => self.passed_over(tag, 503),
            Some(Client::Probe(trunk, target)) => {
                let cause = Cause::new(503, format!("cannot be reached by {}: {why}", target.transport));
                self.probe_failed(now, &trunk, target, cause);
            }
            Some(Client::Text(id, _)) => {
                self.text_ended(id, EndedBy::Postern, Cause::new(503, format!("cannot be reached: {why}")));
            }
            Some(Client::Register(trunk)) => self.register_failed(now, key, &trunk, &why),
            Some(Client::Bye(_) | Client::Told | Client::Unregister(_)) | None => {}
        }
    }

    /// Sends a request of ours and remembers what for. None when it cannot be sent: too many, or nowhere to.
    pub(crate) fn request(&mut self, now: Instant, flow: Flow, request: Request, what: Client) -> Option<ClientKey> {
        let flow = self.ready(now, flow)?;
        let request = self.edited(flow, Some(&what), request);
        self.request_as_it_is(now, flow, request, what)
    }

    /// The same for one that header rules were applied to, over a flow that is ready.
    pub(crate) fn request_as_it_is(
        &mut self,
        now: Instant,
        flow: Flow,
        request: Request,
        what: Client,
    ) -> Option<ClientKey> {
        match self.transactions.send_request(now, flow, request) {
            Ok(key) => {
                self.clients.insert(key, what);
                Some(key)
            }
            Err(_) => None,
        }
    }
}

//! Header rules of trunks, applied at the border of the plane: before anything else is read of a message, and after everything else was written.
//!
//! What is kept of a request, to be sent again or to make a dialog of, is what was written, without the rules: they are applied anew each time it
//! leaves. A dialog keeps the rules that it began with. Left out: what the transactions write by themselves (100, CANCEL, the ACK of a refusal), and
//! CANCEL that comes.

use std::{sync::Arc, time::Instant};

use postern_config::{HeaderField, HeaderRules, HeaderSide};
use postern_sip::{
    Headers, Name, Request, Response,
    limits::HEADERS_MAX,
    transaction::{Flow, ServerKey},
};
use postern_types::{TrunkName, leg::LegEvent};

use crate::{
    Client, Signaling, rules,
    side::{Side, State, Tag},
};

/// The names of the rules that changed something.
pub(crate) type Changed = Vec<Box<str>>;

/// Applies rules to the headers of a message.
fn edit(rules: &HeaderRules, side: HeaderSide, method: &str, headers: &mut Headers) -> Changed {
    // Most messages are no rule's.
    if rules.of(side, method).next().is_none() {
        return Changed::new();
    }
    let long =
        |name: Name, written: &str| if name == Name::Other { written.to_owned() } else { name.as_str().to_owned() };
    let mut fields: Vec<HeaderField> = headers
        .iter()
        .map(|header| HeaderField { name: long(header.id, header.name), value: header.unfolded().into_owned() })
        .collect();
    let changed: Changed = rules.apply(side, method, &mut fields, HEADERS_MAX).into_iter().map(Into::into).collect();
    if !changed.is_empty() {
        *headers = headers.replaced(fields.iter().map(|field| (field.name.as_str(), field.value.as_str())));
    }
    changed
}

/// A request as it leaves.
pub(crate) fn sent(rules: Option<&HeaderRules>, request: &Request) -> (Request, Changed) {
    let mut request = request.clone();
    let changed = match rules {
        Some(rules) => edit(rules, HeaderSide::SentRequest, request.method.as_str(), &mut request.headers),
        None => Changed::new(),
    };
    (request, changed)
}

impl Signaling {
    /// Those of the dialog with this tag of ours; without one, of the trunk that the flow's other end is.
    pub(crate) fn header_rules(&self, tag: Option<&str>, flow: Flow) -> Option<Arc<HeaderRules>> {
        if !self.edits {
            return None;
        }
        if let Some(side) = tag.and_then(Tag::read).and_then(|tag| self.sides.get(&tag)) {
            return side.rules.headers.clone();
        }
        let endpoint = self.places.endpoint(flow)?;
        let is_device = endpoint.registrations && self.registrar.knows(flow);
        let trunk = self.places.trunk_of(&endpoint.realm, flow).filter(|_| !is_device)?;
        self.header_rules_of(trunk)
    }

    fn header_rules_of(&self, trunk: &TrunkName) -> Option<Arc<HeaderRules>> {
        let config = &self.places.config;
        rules::header_rules(config, config.trunks.get(trunk)?)
    }

    /// A request that came, as its trunk's rules want it read.
    pub(crate) fn edit_received(&self, flow: Flow, request: &mut Request) -> Changed {
        let rules = self.header_rules(request.headers.to().ok().and_then(|to| to.tag()), flow);
        match rules {
            Some(rules) => edit(&rules, HeaderSide::ReceivedRequest, request.method.as_str(), &mut request.headers),
            None => Changed::new(),
        }
    }

    /// A response that came.
    pub(crate) fn edit_received_response(&self, flow: Flow, what: Option<&Client>, response: &mut Response) {
        let rules = match what {
            Some(Client::Register(trunk) | Client::Probe(trunk, _)) => self.header_rules_of(trunk),
            _ => self.header_rules(response.headers.from().ok().and_then(|from| from.tag()), flow),
        };
        let method = response.headers.cseq().map(|cseq| cseq.method.to_owned());
        if let (Some(rules), Ok(method)) = (rules, method) {
            edit(&rules, HeaderSide::ReceivedResponse, &method, &mut response.headers);
        }
    }

    /// A request of ours, as it leaves.
    pub(crate) fn edited(&self, flow: Flow, what: Option<&Client>, request: Request) -> Request {
        let rules = match what {
            Some(Client::Register(trunk) | Client::Probe(trunk, _)) => self.header_rules_of(trunk),
            _ => self.header_rules(request.headers.from().ok().and_then(|from| from.tag()), flow),
        };
        match rules {
            Some(rules) => sent(Some(&rules), &request).0,
            None => request,
        }
    }

    /// Gives a response to its transaction, as it leaves.
    pub(crate) fn respond(&mut self, now: Instant, key: ServerKey, response: &Response) {
        let tag = response.headers.to().ok().and_then(|to| to.tag());
        let flow = self.transactions.answers_over(key);
        let rules = flow.filter(|_| response.status != 100).and_then(|flow| self.header_rules(tag, flow));
        let method = response.headers.cseq().map(|cseq| cseq.method.to_owned());
        let (Some(rules), Ok(method)) = (rules, method) else {
            self.transactions.respond(now, key, response);
            return;
        };
        let mut response = response.clone();
        edit(&rules, HeaderSide::SentResponse, &method, &mut response.headers);
        self.transactions.respond(now, key, &response);
    }

    /// Sends the ACK of an answer, as it leaves.
    pub(crate) fn send_ack(&mut self, flow: Flow, ack: Request) {
        let ack = self.edited(flow, None, ack);
        self.transactions.send(flow, &ack);
    }

    /// Tells the router which rules changed the INVITE that a leg came with; of one that the router does not know yet, once it does.
    pub(crate) fn tell_edited(&mut self, key: ServerKey, rules: Changed) {
        let side = self.servers.get(&key).and_then(|tag| self.sides.get_mut(tag)).filter(|_| !rules.is_empty());
        match side {
            Some(Side { leg: Some(leg), .. }) => {
                let leg = *leg;
                self.tell(LegEvent::HeadersChanged { leg, sent: false, rules });
            }
            Some(Side { state: State::Offered(offered), .. }) => offered.edited = rules,
            Some(_) | None => {}
        }
    }
}

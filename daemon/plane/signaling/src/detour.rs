//! In-dialog requests whose trunk's address died (RFC 3263 4.3): BYE, new offers and refreshes that time out, cannot be delivered or get 503 go to the
//! next address of the trunk, as they are but for their Via.
//!
//! Only where the peer is the trunk, whichever of its addresses: the dialog's next hop is a name, or an address that the trunk has. What names
//! another address is a party of its own, for which nobody else can speak. New calls are not concerned: what one dialog met says little of them.

use std::time::Instant;

use postern_sip::{
    Request, RequestBuilder, Response, SentBy,
    transaction::{ClientKey, Flow},
};
use postern_types::{CallSid, Cause, TrunkName, leg::LegEvent};

use crate::{
    Signaling,
    clients::Client,
    headers,
    side::{State, Tag},
    targets::Target,
};

/// Addresses that one request tries at most after its first: each may be silent for 32 s, and a peer that lives is mostly the next.
const DETOURS_MAX: usize = 3;

/// What it takes to send a request of a dialog to another address.
#[derive(Debug)]
pub(crate) struct Detour {
    trunk: TrunkName,
    leg: Option<CallSid>,
    flow: Flow,
    advertised: SentBy,
    request: Request,
    /// Where it was before.
    tried: Vec<Target>,
}

impl Signaling {
    /// Sends a request of a side's dialog, and keeps what it takes to send it elsewhere.
    pub(crate) fn request_within(
        &mut self,
        now: Instant,
        tag: Tag,
        flow: Flow,
        request: Request,
        what: Client,
    ) -> Option<ClientKey> {
        let detour = self.detour(tag, flow, &request);
        let key = self.request(now, flow, request, what)?;
        if let Some(detour) = detour {
            self.detours.insert(key, detour);
        }
        Some(key)
    }

    fn detour(&self, tag: Tag, flow: Flow, request: &Request) -> Option<Detour> {
        let side = self.sides.get(&tag)?;
        let (Some(trunk), State::Up(session)) = (&side.trunk, &side.state) else { return None };
        let (trunk, leg) = (trunk.clone(), side.leg);
        let is_the_trunk = session.dialog.next_hop().host_ip().is_none() || self.targets.has(&trunk, flow.remote.ip());
        if !is_the_trunk || self.targets.len(&trunk) < 2 {
            return None;
        }
        Some(Detour { trunk, leg, flow, advertised: side.advertised, request: request.clone(), tried: Vec::new() })
    }

    /// A request failed for a reason that is not the peer's. Whether it left for another address.
    pub(crate) fn takes_detour(&mut self, now: Instant, key: ClientKey, cause: &Cause) -> bool {
        let Some(Detour { trunk, leg, flow, advertised, request, mut tried }) = self.detours.remove(&key) else {
            return false;
        };
        let failed = Target { transport: flow.transport, remote: flow.remote };
        tried.push(failed);
        let other = self.targets.other(now, &trunk, &tried).filter(|_| tried.len() <= DETOURS_MAX);
        let to = other.map(|other| Flow { remote: other.remote, connection: None, ..flow });
        let Some(to) = to.and_then(|to| self.ready(now, to)) else { return false };
        let branch = self.new_branch();
        let cseq = request.headers.cseq().map_or(1, |cseq| cseq.number);
        let request = RequestBuilder::retry(&request, advertised, &branch, cseq, &[]).build();
        let leaves = self.edited(to, self.clients.get(&key), request.clone());
        let Ok(again) = self.transactions.send_request(now, to, leaves) else { return false };
        let Some(mut what) = self.clients.remove(&key) else { return false };
        match &mut what {
            Client::Reinvite(tag) | Client::Refresh(tag) => {
                if let Some(side) = self.sides.get_mut(tag) {
                    side.moves_to(to);
                }
            }
            Client::Bye(Some(retry)) => (retry.flow, retry.request) = (to, request.clone()),
            _ => {}
        }
        self.clients.insert(again, what);
        self.detours.insert(again, Detour { trunk, leg, flow: to, advertised, request, tried });
        if let Some(leg) = leg {
            let (from, to) = (failed.remote.to_string().into(), to.remote.to_string().into());
            self.tell(LegEvent::Moved { leg, from, to, cause: cause.clone() });
        }
        true
    }

    /// The final answer to a request: only 503 sends it elsewhere (RFC 3261 21.5.4). Whether it did.
    pub(crate) fn answer_detours(&mut self, now: Instant, key: ClientKey, response: &Response) -> bool {
        if response.is_provisional() {
            return false;
        }
        if response.status == 503 {
            return self.takes_detour(now, key, &headers::cause_of(response));
        }
        self.detours.remove(&key);
        false
    }
}

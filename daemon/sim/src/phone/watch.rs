//! What a user agent of the simulated world subscribes to (RFC 6665).

use std::time::Instant;

use postern_sip::{
    Method, Name, Request, Response, ResponseBuilder,
    dialog::Dialog,
    transaction::{ClientKey, ServerKey},
};

use super::Phone;

/// A subscription of a user agent.
#[derive(Debug, Default)]
pub struct Watch {
    /// Subscription-State and body of each NOTIFY.
    pub told: Vec<(String, String)>,
    /// The status of the last SUBSCRIBE.
    pub status: Option<u16>,
    call_id: String,
    client: Option<(ClientKey, Request)>,
    dialog: Option<Dialog>,
    /// CSeq of the last NOTIFY.
    last: u32,
}

impl Watch {
    /// Whether the last NOTIFY said that it lives.
    pub fn is_active(&self) -> bool {
        self.told.last().is_some_and(|(state, _)| state.starts_with("active"))
    }

    /// The last document.
    pub fn shown(&self) -> &str {
        self.told.last().map_or("", |(_, body)| body)
    }
}

impl Phone {
    /// Subscribes to what a user is or does. Returns the place in [`Phone::watches`].
    pub fn subscribe(&mut self, now: Instant, to: &str, package: &str, expires: u32) -> usize {
        let uri = format!("sip:{to}@{}", self.border);
        let request = self
            .request(Method::Subscribe, &uri, &format!("<{uri}>"))
            .header(Name::Event, package)
            .header(Name::Expires, &expires.to_string())
            .build();
        let call_id = request.headers.call_id().unwrap_or_default().to_owned();
        let client = self.transactions.send_request(now, self.flow(), request.clone()).ok().map(|key| (key, request));
        self.watches.push(Watch { call_id, client, ..Watch::default() });
        self.watches.len() - 1
    }

    /// Refreshes a subscription, or ends it with 0.
    pub fn subscribe_again(&mut self, now: Instant, at: usize, package: &str, expires: u32) {
        let (flow, branch, sent_by) = (self.flow(), self.branch(), self.sent_by());
        let watch = &mut self.watches[at];
        let Some(dialog) = &mut watch.dialog else { return };
        let request = dialog
            .request(Method::Subscribe, sent_by, &branch)
            .header(Name::Event, package)
            .header(Name::Expires, &expires.to_string())
            .build();
        watch.client = self.transactions.send_request(now, flow, request.clone()).ok().map(|key| (key, request));
    }

    /// A response to a SUBSCRIBE; whether it was one.
    pub(super) fn on_subscribed(&mut self, now: Instant, key: ClientKey, response: &Response) -> bool {
        let its = |watch: &Watch| watch.client.as_ref().is_some_and(|(client, _)| *client == key);
        let Some(at) = self.watches.iter().position(its) else { return false };
        let Some((_, request)) = self.watches[at].client.take() else { return false };
        if response.status == 401 && !request.headers.has(Name::Authorization) {
            let next = self.with_proof(&request, response);
            let sent = next
                .and_then(|next| Some((self.transactions.send_request(now, self.flow(), next.clone()).ok()?, next)));
            self.watches[at].client = sent;
            return true;
        }
        let watch = &mut self.watches[at];
        watch.status = Some(response.status);
        if response.is_success() && watch.dialog.is_none() {
            watch.dialog = Dialog::uac(&request, response).ok();
        }
        true
    }

    /// A NOTIFY of a subscription; whether it was one.
    ///
    /// # Panics
    /// When it is not later than the one before: one is out at a time.
    pub(super) fn on_notified(&mut self, now: Instant, key: ServerKey, request: &Request) -> bool {
        let call_id = request.headers.call_id().unwrap_or_default();
        let Some(watch) = self.watches.iter_mut().find(|watch| watch.call_id == call_id) else { return false };
        let number = request.headers.cseq().map_or(0, |cseq| cseq.number);
        assert!(number > watch.last, "NOTIFY {number} after {}", watch.last);
        watch.last = number;
        let state = request.headers.first(Name::SubscriptionState).unwrap_or_default().to_owned();
        watch.told.push((state, String::from_utf8_lossy(&request.body).into_owned()));
        let ok = ResponseBuilder::to(request, 200).build();
        self.transactions.respond(now, key, &ok);
        true
    }
}

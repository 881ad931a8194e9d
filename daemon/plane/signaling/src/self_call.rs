//! The self-call: the box asks itself over its own SIP sockets whether it is there, as `postern health` does.
//!
//! It goes the whole way of a message (the interface, the ring, the switch's turn, and back), so an answer says what no look at the process
//! can. Who may: nobody but this machine. The kernel takes no packet from outside whose source is one of our own addresses, and besides it
//! must name [`SELF_CALL_USER`]. So neither access lists nor bans weigh it: a realm that admits two carriers must not look dead.

use postern_sip::{Message, Method, ResponseBuilder, transaction::Flow};
use postern_types::{Now, SELF_CALL_USER, Transport};

use crate::{Signaling, headers::PRODUCT, side::Tag};

/// How such a request begins; the first look, at its source, is one comparison a message.
const BEGINS: &[u8] = b"OPTIONS sip:";

impl Signaling {
    /// Whether this was a self-call: then it is answered, with 503 while we drain, and makes no state.
    pub(crate) fn answer_self_call(&mut self, now: Now, flow: Flow, bytes: &[u8]) -> bool {
        let is_own = flow.remote.ip() == flow.local.ip() && flow.transport == Transport::Udp;
        let user = || bytes.strip_prefix(BEGINS)?.strip_prefix(SELF_CALL_USER.as_bytes());
        if !is_own || !user().is_some_and(|rest| rest.starts_with(b"@")) {
            return false;
        }
        let Ok(Message::Request(request)) = Message::parse(bytes) else { return false };
        if request.method != Method::Options || request.check().is_err() || self.places.endpoint(flow).is_none() {
            return false;
        }
        self.counters.received += 1;
        let status = if self.draining { 503 } else { 200 };
        let tag = Tag(self.merged_id(&request.headers)).to_string();
        let response =
            ResponseBuilder::to(&request, status).to_tag(&tag).header(postern_sip::Name::Server, PRODUCT).build();
        // To where it came from, whatever its Via says.
        self.send(now.instant, flow, response.wire());
        true
    }
}

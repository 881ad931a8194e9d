//! Messages (SIP MESSAGE): who may write to whom, by the routes and limits of calls. What is written never comes here.

use std::collections::{BTreeMap, VecDeque};

use postern_config::Config;
use postern_facts as facts;
use postern_types::{
    CallSid, Cause, EndedBy, Now,
    leg::{Party, Target},
    text::{TextCommand, TextEvent, TextId, TextOffered, TextSend, TextTarget},
};

use crate::{
    Output, Router,
    dial::{own_number, shown_to},
    limits::{Bound, Passing},
    negotiate, numbers,
    table::{self, Asked, Caller},
    ways::{Way, Ways},
};

/// One that is under way. Signaling bounds how many there are.
#[derive(Debug)]
pub struct Pending {
    subject: facts::Subject,
    from: String,
    to: String,
    bytes: u64,
    came: Now,
    /// Where it is tried now.
    over: String,
    /// As it came, in our words; none in a call.
    offered: Option<Box<TextOffered>>,
    way: Option<Party>,
    spares: VecDeque<Way>,
}

/// Those of all parties.
pub type Texts = BTreeMap<TextId, Pending>;

impl Router {
    /// Something happened to a message.
    pub fn handle_text(&mut self, now: Now, event: TextEvent) {
        match event {
            TextEvent::Offered(offered) => self.text_offered(now, *offered),
            TextEvent::Within { id, leg, max_forwards, bytes } => self.text_within(now, id, leg, max_forwards, bytes),
            TextEvent::Ended { id, by, cause } => self.text_ended(now, id, by, cause),
        }
    }

    fn text_offered(&mut self, now: Now, mut offered: TextOffered) {
        let config = self.cx.config.clone();
        let (trunk, user, caller) = match &offered.party {
            Party::Trunk { trunk } => (Some(trunk.clone()), None, Caller::Trunk(trunk)),
            Party::User { user } => (None, Some(user.clone()), Caller::User),
            Party::Uri { .. } => (None, None, Caller::User),
        };
        let dialed = offered.to.to_string();
        let (to, from, identity) = (&mut offered.to, &mut offered.from, &mut offered.identity);
        numbers::received_by(&config, &offered.party, &offered.realm, (to, from), identity);
        if let Some(user) = &user {
            identity.asserted = own_number(&config, user.as_str()).unwrap_or_else(|| user.as_str().into());
        }
        let subject = facts::Subject { trunk: trunk.clone(), user, ..facts::Subject::default() };
        let pending = Pending {
            subject,
            from: offered.from.to_string(),
            to: dialed,
            bytes: offered.bytes as u64,
            came: now,
            over: String::new(),
            offered: None,
            way: None,
            spares: VecDeque::new(),
        };
        let room = match (self.cx.closed(false), &trunk) {
            (Some(why), _) => Err(Cause::new(503, why)),
            (None, Some(trunk)) => self.cx.take_room(now, trunk, Bound::In, Passing::Message).map_err(|full| {
                let limits = config.trunks.get(trunk).map(|trunk| trunk.limits).unwrap_or_default();
                Cause::new(limits.refusal(), full.why())
            }),
            (None, None) => Ok(()),
        };
        let asked = Asked { caller, dialed: &offered.to, at: now.wall, emergency: false };
        let found = room.and_then(|()| {
            let decision = table::look_up(&config, asked).map_err(|_| Cause::new(404, "nobody has this number"))?;
            Ok(Ways::of(&mut self.cx, decision.to)?.at(offered.device.clone()))
        });
        match found {
            Ok(Ways { target, party, mut spares }) => {
                spares.push_front(Way { target, party });
                let id = offered.id;
                self.texts.insert(id, Pending { offered: Some(Box::new(offered)), spares, ..pending });
                self.text_goes_on(now, id, Cause::new(503, "no way to it"));
            }
            Err(cause) => self.text_refused(offered.id, &pending, EndedBy::Router, cause),
        }
    }

    /// In a call it goes to the other party.
    fn text_within(&mut self, now: Now, id: TextId, leg: CallSid, max_forwards: u8, bytes: usize) {
        let Some(call) = self.call_of(leg) else {
            let cause = Cause::new(481, "the call is over");
            return self.cx.out.push_back(Output::Text(TextCommand::Answer { id, cause }));
        };
        let found = self.leg(leg).map(|of| (of.subject(call), of.from.clone()));
        let other = self.call(call).and_then(|call| call.bridged_with(leg));
        let (subject, from) = found.unwrap_or_default();
        let (bytes, way, spares) = (bytes as u64, None, VecDeque::new());
        let (to, over) = (String::new(), "the call".to_owned());
        let pending = Pending { subject, from, to, bytes, came: now, over, offered: None, way, spares };
        let Some(other) = other else {
            let cause = Cause::new(488, "nobody in this call takes messages");
            return self.text_refused(id, &pending, EndedBy::Router, cause);
        };
        self.texts.insert(id, pending);
        let (from, from_name, identity) = Default::default();
        let max_forwards = max_forwards.saturating_sub(1);
        let target = TextTarget::Within(other);
        let send = TextSend { id, target, from, from_name, identity, max_forwards };
        self.cx.out.push_back(Output::Text(TextCommand::Send(Box::new(send))));
    }

    /// By its next way that has room; with none left it failed, because of `cause`.
    fn text_goes_on(&mut self, now: Now, id: TextId, mut cause: Cause) {
        let Some(mut pending) = self.texts.remove(&id) else { return };
        while let (Some(Way { target, party }), Some(offered)) = (pending.spares.pop_front(), &pending.offered) {
            if let Party::Trunk { trunk } = &party
                && let Err(full) = self.cx.take_room(now, trunk, Bound::Out, Passing::Message)
            {
                cause = Cause::new(503, full.why());
                continue;
            }
            let send = sent(&self.cx.config, offered, target, &party);
            pending.over = facts::text::party(&party);
            pending.way = Some(party);
            self.texts.insert(id, pending);
            return self.cx.out.push_back(Output::Text(TextCommand::Send(Box::new(send))));
        }
        self.text_refused(id, &pending, EndedBy::Postern, cause);
    }

    fn text_ended(&mut self, now: Now, id: TextId, by: EndedBy, cause: Cause) {
        let Some(pending) = self.texts.get(&id) else { return };
        if cause.status >= 300 {
            let failover = match &pending.way {
                Some(Party::Trunk { trunk }) => self.cx.config.trunks.get(trunk).map(|trunk| trunk.failover.clone()),
                _ => None,
            };
            if !pending.spares.is_empty()
                && (by == EndedBy::Postern || failover.unwrap_or_default().takes(cause.status))
            {
                return self.text_goes_on(now, id, cause);
            }
        }
        let Some(pending) = self.texts.remove(&id) else { return };
        if cause.status >= 300 {
            return self.text_refused(id, &pending, by, cause);
        }
        let Pending { subject, from, to, bytes, came, over, .. } = pending;
        let (status, after_ms) = (cause.status, now.wall.since(came.wall).as_millis() as u64);
        self.cx.fact(subject, facts::MessageDelivered { from, to, over, bytes, status, after_ms });
        self.cx.out.push_back(Output::Text(TextCommand::Answer { id, cause }));
    }

    fn text_refused(&mut self, id: TextId, pending: &Pending, by: EndedBy, cause: Cause) {
        let Pending { subject, from, to, over, bytes, .. } = pending;
        let (from, to, over) = (from.clone(), to.clone(), over.clone());
        let fact = facts::MessageRefused { from, to, over, bytes: *bytes, by, cause: cause.clone() };
        self.cx.fact(subject.clone(), fact);
        self.cx.out.push_back(Output::Text(TextCommand::Answer { id, cause }));
    }
}

/// As whoever gets it wants numbers written.
fn sent(config: &Config, offered: &TextOffered, mut target: Target, party: &Party) -> TextSend {
    let mut identity = offered.identity.clone();
    let user = match &offered.party {
        Party::User { user } => Some(user.as_str()),
        Party::Trunk { .. } | Party::Uri { .. } => None,
    };
    let (mut from, from_name) = shown_to(config, user, (&offered.from, &offered.from_name), identity.withheld, &target);
    if let Some((realm, _)) = negotiate::realm_of(config, &target) {
        numbers::sent(config, party, &realm, &mut target, &mut from, &mut identity);
    }
    TextSend {
        id: offered.id,
        target: TextTarget::Outside(target),
        from,
        from_name,
        identity,
        max_forwards: offered.max_forwards.saturating_sub(1),
    }
}

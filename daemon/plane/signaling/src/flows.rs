//! The ways to one device (RFC 5626 5.3, 6): of several flows that it registered one is used, the one that it was heard of by last, and the
//! next when that one fails or is silent. Devices are called together, the flows of a device never.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use postern_ice::answer_binding;
use postern_sip::transaction::Flow;
use postern_types::{
    Cause, Transport,
    leg::{Dial, LegEvent},
};

use crate::{
    Signaling,
    dialed::Way,
    registrar::Binding,
    side::{Side, State, Tag},
    timers::Timer,
};

/// How long a flow may be silent when there is another: the transaction alone would wait 32 s, longer than anybody rings. The first three
/// repetitions of an INVITE are out by then.
const FLOW_PATIENCE: Duration = Duration::from_secs(4);

impl Signaling {
    /// All devices of a user at once, or the one that was meant.
    pub(crate) fn dial_user(
        &mut self,
        now: Instant,
        dial: &Dial,
        user: &str,
        device: Option<&str>,
    ) -> Result<(), Cause> {
        for flows in self.flows_to(user, device) {
            self.launch_flow(now, dial, flows);
        }
        let launched = self.legs.get(dial.leg).is_some_and(|leg| !leg.sides.is_empty());
        match (launched, device) {
            (true, _) => Ok(()),
            (false, None) => Err(Cause::new(480, "no device is registered")),
            (false, Some(_)) => Err(Cause::new(480, "this device of the user is not registered")),
        }
    }

    /// One way to each device of a user, for what is not worth another try.
    pub(crate) fn first_flows_to(&self, user: &str, device: Option<&str>) -> Vec<Way> {
        self.flows_to(user, device).into_iter().filter_map(|mut flows| flows.pop_front()).collect()
    }

    /// The ways to each device of a user, or to one: of each the one that it was heard of by last comes first.
    fn flows_to(&self, user: &str, device: Option<&str>) -> Vec<VecDeque<Way>> {
        let mut devices: Vec<Vec<&Binding>> = Vec::new();
        let meant = |binding: &&Binding| device.is_none() || binding.instance() == device;
        for binding in self.registrar.bindings(user).iter().filter(meant) {
            match devices.iter_mut().find(|flows| flows[0].device() == binding.device()) {
                Some(flows) => flows.push(binding),
                None => devices.push(vec![binding]),
            }
        }
        let ways = |mut flows: Vec<&Binding>| {
            flows.sort_by_key(|binding| std::cmp::Reverse(binding.heard()));
            flows.into_iter().filter_map(|binding| self.way_to(user, binding)).collect()
        };
        devices.into_iter().map(ways).collect()
    }

    /// The first of these flows that an INVITE can be sent by. Where, if anywhere.
    fn launch_flow(&mut self, now: Instant, dial: &Dial, mut flows: VecDeque<Way>) -> Option<Tag> {
        loop {
            let Some(tag) = self.launch(now, dial, flows.pop_front()?) else { continue };
            if !flows.is_empty()
                && let Some(Side { state: State::Calling(calling), .. }) = self.sides.get_mut(&tag)
            {
                calling.flows = flows;
                self.timers.set(now + FLOW_PATIENCE, Timer::SilentFlow(tag));
            }
            return Some(tag);
        }
    }

    /// A flow to a device failed. Whether the device is called by another.
    pub(crate) fn takes_next_flow(&mut self, now: Instant, tag: Tag, cause: &Cause) -> bool {
        let Some(Side { state: State::Calling(calling), flow, leg: Some(sid), .. }) = self.sides.get_mut(&tag) else {
            return false;
        };
        let (sid, from, flows) = (*sid, flow.remote, std::mem::take(&mut calling.flows));
        let Some(dial) = self.legs.get(sid).and_then(|leg| leg.dial.clone()) else { return false };
        let Some(next) = self.launch_flow(now, &dial, flows) else { return false };
        if let Some(leg) = self.legs.get_mut(sid) {
            leg.sides.retain(|side| *side != tag);
        }
        if let Some(to) = self.sides.get(&next).map(|side| side.flow.remote) {
            let (from, to) = (from.to_string().into(), to.to_string().into());
            self.tell(LegEvent::Moved { leg: sid, from, to, cause: cause.clone() });
        }
        // Should it wake up later, its answer finds the CANCEL, or is acknowledged and ended.
        self.release(now, tag, cause);
        true
    }

    /// RFC 5626 4.4.2: a device asks by STUN whether its flow stands. Nobody else is answered: a source can be forged. Whether it was that.
    pub(crate) fn keep_alive(&mut self, now: Instant, flow: Flow, datagram: &[u8]) -> bool {
        let answer = if flow.transport == Transport::Udp { answer_binding(datagram, flow.remote) } else { None };
        let is_answered = answer.is_some();
        if let Some(answer) = answer {
            self.send(now, flow, answer.into());
        }
        is_answered
    }

    /// Nothing was heard of a flow for as long as is waited when there is another.
    pub(crate) fn on_silent_flow(&mut self, now: Instant, tag: Tag) {
        let Some(Side { state: State::Calling(calling), flow, .. }) = self.sides.get(&tag) else { return };
        if !calling.heard {
            let cause = Cause::new(408, format!("nothing was heard from {}", flow.remote));
            self.takes_next_flow(now, tag, &cause);
        }
    }
}

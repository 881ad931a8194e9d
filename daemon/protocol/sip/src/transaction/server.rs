//! A server transaction: RFC 3261 figures 7 and 8, with the Accepted state of RFC 6026.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    Flow, Output, T1, T1_64, T2, T4, TRYING_AFTER,
    table::{Fired, Timed},
};
use crate::{
    build::ResponseBuilder,
    message::{Method, Request, Response},
};

/// ```text
/// INVITE:  Proceeding --2xx--> Accepted --L--> gone          (ACK goes up, INVITE is absorbed)
///              `--300-699--> Completed --ACK--> Confirmed --I--> gone
///                                `-- H: not acknowledged
/// other:   Proceeding --final--> Completed --J--> gone
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Called Trying for other methods until a provisional response: that differs only in having nothing to repeat.
    Proceeding,
    Completed,
    Confirmed,
    Accepted,
}

#[derive(Debug)]
pub struct Server {
    state: State,
    /// Where responses go.
    flow: Flow,
    /// Kept while a 100 or the tag may still be asked for.
    request: Option<Request>,
    is_invite: bool,
    last: Option<Arc<[u8]>>,
    to_tag: Option<Box<str>>,
    /// 100 is due.
    trying: Option<Instant>,
    /// Timer G: when, and the interval that led there.
    repeat: Option<(Instant, Duration)>,
    /// Timers H, I, J and L.
    end: Option<Instant>,
}

impl Server {
    /// Where responses go.
    pub fn flow(&self) -> Flow {
        self.flow
    }

    pub fn new(now: Instant, flow: Flow, request: &Request) -> Self {
        let is_invite = request.method == Method::Invite;
        Self {
            state: State::Proceeding,
            flow,
            request: is_invite.then(|| request.clone()),
            is_invite,
            last: None,
            to_tag: None,
            trying: is_invite.then_some(now + TRYING_AFTER),
            repeat: None,
            // The client gives up then (timer F): RFC 4320 4.1. An INVITE may ring for as long as the core lets it.
            end: (!is_invite).then_some(now + T1_64),
        }
    }

    /// Whether a CANCEL still has an effect.
    pub fn is_cancellable(&self) -> bool {
        self.is_invite && self.state == State::Proceeding
    }

    /// The tag of the last response.
    pub fn to_tag(&self) -> Option<String> {
        self.to_tag.as_deref().map(Into::into)
    }

    /// None when it is too late for this response.
    pub fn respond(&mut self, now: Instant, response: &Response) -> Option<Output> {
        match self.state {
            State::Proceeding => {}
            State::Accepted if response.is_success() => {}
            State::Accepted | State::Completed | State::Confirmed => return None,
        }
        self.trying = None;
        let bytes: Arc<[u8]> = response.wire();
        if self.is_invite && self.to_tag.is_none() {
            self.to_tag = response.headers.to().ok().and_then(|to| to.tag()).map(Into::into);
        }
        if self.state == State::Proceeding && !response.is_provisional() {
            self.request = None;
            let reliable = self.flow.transport.is_reliable();
            // Timers L and H are for the ACK, which may be lost further on; J and G only for this hop.
            (self.state, self.repeat, self.end) = match (self.is_invite, response.is_success()) {
                (true, true) => (State::Accepted, None, Some(now + T1_64)),
                (true, false) => (State::Completed, (!reliable).then_some((now + T1, T1)), Some(now + T1_64)),
                (false, _) => (State::Completed, None, Some(if reliable { now } else { now + T1_64 })),
            };
        }
        // RFC 6026 7.1: the core alone repeats a 2xx to an INVITE, so that is not kept.
        self.last = (self.state != State::Accepted).then(|| bytes.clone());
        Some(Output::Send { flow: self.flow, bytes })
    }

    /// The request came again.
    pub fn repeat(&self) -> Option<Output> {
        let bytes = self.last.clone().filter(|_| matches!(self.state, State::Proceeding | State::Completed))?;
        Some(Output::Send { flow: self.flow, bytes })
    }

    /// An ACK with this branch came; whether it is the core's.
    pub fn receive_ack(&mut self, now: Instant) -> bool {
        match self.state {
            State::Completed if self.is_invite => {
                // Timer I.
                let linger = if self.flow.transport.is_reliable() { Duration::ZERO } else { T4 };
                (self.state, self.repeat, self.end) = (State::Confirmed, None, Some(now + linger));
                self.last = None;
                false
            }
            // An ACK of a 2xx has a branch of its own, but some clients keep that of the INVITE.
            State::Accepted => true,
            State::Proceeding | State::Completed | State::Confirmed => false,
        }
    }

    pub fn handle_timeout(&mut self, now: Instant) -> Fired {
        if self.end.is_some_and(|at| at <= now) {
            let unacknowledged = self.is_invite && self.state == State::Completed;
            return if unacknowledged { Fired::TimedOut } else { Fired::Ended };
        }
        if self.trying.is_some_and(|at| at <= now) {
            self.trying = None;
            let Some(request) = &self.request else { return Fired::Nothing };
            let bytes: Arc<[u8]> = ResponseBuilder::to(request, 100).build().wire();
            self.last = Some(bytes.clone());
            return Fired::Send(self.flow, bytes);
        }
        match (self.repeat, &self.last) {
            (Some((at, interval)), Some(bytes)) if at <= now => {
                let next = (interval * 2).min(T2);
                self.repeat = Some((now + next, next));
                Fired::Send(self.flow, bytes.clone())
            }
            // Nothing to repeat: a deadline that stays due would never let the table rest.
            (Some(_), None) => {
                self.repeat = None;
                Fired::Nothing
            }
            _ => Fired::Nothing,
        }
    }
}

impl Timed for Server {
    fn deadline(&self) -> Option<Instant> {
        [self.end, self.trying, self.repeat.map(|(at, _)| at)].into_iter().flatten().min()
    }
}

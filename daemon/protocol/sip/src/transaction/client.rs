//! A client transaction: RFC 3261 figures 5 and 6, with the Accepted state of RFC 6026.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use postern_types::ConnectionId;

use super::{
    Flow, Output, T1, T1_64, T2, T4,
    table::{Fired, Timed},
};
use crate::{
    build,
    message::{Method, Request, Response},
};

/// ```text
/// INVITE:  Calling --1xx--> Proceeding --2xx--> Accepted --M--> gone
///             |                 `--300-699--> Completed --D--> gone
///             `-- B: timed out
/// other:   Calling --1xx--> Proceeding --final--> Completed --K--> gone
///             `-------- F: timed out
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Called Trying for other methods than INVITE.
    Calling,
    Proceeding,
    Completed,
    Accepted,
}

#[derive(Debug)]
pub struct Client {
    state: State,
    flow: Flow,
    request: Request,
    /// What a timer repeats, and a repeated failure asks for: the request, later the ACK.
    bytes: Arc<[u8]>,
    /// Timers A and E: when, and the interval that led there.
    repeat: Option<(Instant, Duration)>,
    /// Timers B, D, F, K and M.
    end: Option<Instant>,
    cancel: Cancel,
    /// Nobody waits for its responses.
    quiet: bool,
}

#[derive(Debug)]
enum Cancel {
    Unwanted,
    /// To be sent with the first provisional response; its Reason.
    Wanted(Option<Box<str>>),
    Sent,
}

/// What a response led to.
pub struct Received {
    /// Whether the core is to see it.
    pub up: bool,
    pub send: Option<Output>,
}

impl Client {
    pub fn new(now: Instant, flow: Flow, request: Request) -> Self {
        let bytes = request.wire();
        Self {
            state: State::Calling,
            flow,
            request,
            bytes,
            repeat: (!flow.transport.is_reliable()).then_some((now + T1, T1)),
            end: Some(now + T1_64),
            cancel: Cancel::Unwanted,
            quiet: false,
        }
    }

    pub fn send(&self) -> Output {
        Output::Send { flow: self.flow, bytes: self.bytes.clone() }
    }

    pub fn is_quiet(&self) -> bool {
        self.quiet
    }

    pub fn hush(&mut self) {
        self.quiet = true;
    }

    /// Whether there is still something to cancel.
    pub fn want_cancel(&mut self, now: Instant, reason: Option<&str>) -> bool {
        if !self.is_invite() || !matches!(self.state, State::Calling | State::Proceeding) {
            return false;
        }
        if let Cancel::Unwanted = self.cancel {
            self.cancel = Cancel::Wanted(reason.map(Into::into));
            if self.state == State::Proceeding {
                // RFC 3261 9.1: after 64*T1 without a final response the INVITE counts as cancelled.
                self.end = Some(now + T1_64);
            }
        }
        true
    }

    /// The CANCEL, when its time has come.
    pub fn take_cancel(&mut self) -> Option<(Flow, Request)> {
        if self.state != State::Proceeding || !matches!(self.cancel, Cancel::Wanted(_)) {
            return None;
        }
        let Cancel::Wanted(reason) = std::mem::replace(&mut self.cancel, Cancel::Sent) else { return None };
        Some((self.flow, build::cancel(&self.request, reason.as_deref())))
    }

    pub fn receive(&mut self, now: Instant, response: &Response) -> Received {
        let up = Received { up: true, send: None };
        let nothing = Received { up: false, send: None };
        match (self.state, self.is_invite()) {
            (State::Calling | State::Proceeding, true) if response.is_provisional() => {
                self.repeat = None;
                if self.state == State::Calling {
                    self.state = State::Proceeding;
                    // Timer B ends here; how long it may ring is the core's. A waiting CANCEL sets its own end.
                    self.end = matches!(self.cancel, Cancel::Wanted(_)).then_some(now + T1_64);
                }
                up
            }
            (State::Calling | State::Proceeding, false) if response.is_provisional() => {
                self.state = State::Proceeding;
                self.repeat = self.repeat.map(|(at, _)| (at, T2));
                up
            }
            (State::Calling | State::Proceeding, true) if response.is_success() => {
                // RFC 6026 7.2: further 2xx come up until timer M.
                (self.state, self.repeat, self.end) = (State::Accepted, None, Some(now + T1_64));
                up
            }
            (State::Calling | State::Proceeding, true) => {
                self.bytes = build::ack_of_failure(&self.request, response).wire();
                // Timer D.
                (self.state, self.repeat, self.end) = (State::Completed, None, Some(now + self.lingering(T1_64)));
                Received { up: true, send: Some(self.send()) }
            }
            (State::Calling | State::Proceeding, false) => {
                // Timer K.
                (self.state, self.repeat, self.end) = (State::Completed, None, Some(now + self.lingering(T4)));
                up
            }
            (State::Completed, true) if response.status >= 300 => Received { up: false, send: Some(self.send()) },
            (State::Accepted, _) if response.is_success() => up,
            (State::Completed | State::Accepted, _) => nothing,
        }
    }

    pub fn handle_timeout(&mut self, now: Instant) -> Fired {
        if self.end.is_some_and(|at| at <= now) {
            return match self.state {
                State::Calling | State::Proceeding => Fired::TimedOut,
                State::Completed | State::Accepted => Fired::Ended,
            };
        }
        match self.repeat {
            Some((at, interval)) if at <= now => {
                // Timer A doubles without a bound until B; timer E up to T2 (17.1.1.2, 17.1.2.2).
                let doubled = interval * 2;
                let next = if self.is_invite() { doubled } else { doubled.min(T2) };
                self.repeat = Some((now + next, next));
                Fired::Send(self.flow, self.bytes.clone())
            }
            _ => Fired::Nothing,
        }
    }

    /// Whether it cannot succeed any more when this connection is gone.
    pub fn is_lost_with(&self, connection: ConnectionId) -> bool {
        let unanswered = match self.state {
            State::Calling => true,
            State::Proceeding => !self.is_invite(),
            State::Completed | State::Accepted => false,
        };
        unanswered && self.flow.connection == Some(connection)
    }

    /// How long repetitions may still come.
    fn lingering(&self, span: Duration) -> Duration {
        if self.flow.transport.is_reliable() { Duration::ZERO } else { span }
    }

    fn is_invite(&self) -> bool {
        self.request.method == Method::Invite
    }
}

impl Timed for Client {
    fn deadline(&self) -> Option<Instant> {
        [self.end, self.repeat.map(|(at, _)| at)].into_iter().flatten().min()
    }
}

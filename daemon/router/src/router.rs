//! The machine itself: who is told what.

use std::{collections::VecDeque, sync::Arc, time::Instant};

use postern_config::Config;
use postern_facts::CallRecord;
use postern_presence::Presence;
use postern_types::{
    AccountSid, CallSid, Cause, EndedBy, Now, RequestId, UserName,
    leg::LegEvent,
    media::{MediaEvent, Prompt},
};
use rand::rngs::StdRng;

use crate::{
    output::{Counters, HttpFailure, HttpResponse, Output, PromptKey},
    rest::{CreateCall, RestError, UpdateCall},
};

/// Every call of the appliance.
pub struct Router {
    config: Arc<Config>,
    #[expect(dead_code)]
    rng: StdRng,
    out: VecDeque<Output>,
    presence: Presence,
}

impl Router {
    /// No calls yet. `rng` makes SIDs and SRTP keys: it must be seeded from the system.
    pub fn new(config: Arc<Config>, rng: StdRng, now: Now) -> Self {
        let _ = now;
        Self { config, rng, out: VecDeque::new(), presence: Presence::default() }
    }

    /// A new configuration: for calls that come; those that live keep what they decided.
    pub fn reconfigure(&mut self, _now: Now, config: Arc<Config>) {
        self.config = config;
    }

    /// Something happened on a leg.
    pub fn handle_leg(&mut self, _now: Now, _event: LegEvent) {}

    /// Something happened on a leg's stream.
    pub fn handle_media(&mut self, _now: Now, _event: MediaEvent) {}

    /// The answer to an [`Output::Http`].
    pub fn handle_http(&mut self, _now: Now, _id: RequestId, _answer: Result<HttpResponse, HttpFailure>) {}

    /// The answer to an [`Output::LoadPrompt`].
    pub fn handle_prompt(&mut self, _now: Now, _key: PromptKey, _answer: Result<Arc<Prompt>, String>) {}

    /// How many devices of a user are registered now.
    pub fn handle_devices(&mut self, _now: Now, _user: UserName, _devices: u32) {}

    /// Whatever was due by `now`.
    pub fn handle_timeout(&mut self, _now: Now) {}

    /// What is to be done next; none when all is done.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.out.pop_front()
    }

    /// When [`Router::handle_timeout`] must be called at the latest.
    pub fn next_deadline(&self) -> Option<Instant> {
        None
    }

    /// `POST Calls`: the new call, `queued`.
    pub fn create_call(&mut self, _now: Now, _account: AccountSid, _call: CreateCall) -> Result<CallRecord, RestError> {
        Err(RestError { status: 503, code: 20503, message: "not yet".into() })
    }

    /// `POST Calls/{sid}`: the call as it is now, or none when that account has no such live call.
    pub fn update_call(
        &mut self,
        _now: Now,
        _account: AccountSid,
        _sid: CallSid,
        _update: UpdateCall,
    ) -> Result<Option<CallRecord>, RestError> {
        Ok(None)
    }

    /// Ends a whole call by any of its legs; false when there is no such live leg.
    pub fn hangup(&mut self, _now: Now, _sid: CallSid, _by: EndedBy) -> bool {
        false
    }

    /// Ends every call: the box goes down.
    pub fn end_all(&mut self, _now: Now, _cause: Cause) {}

    /// The live legs, of one account or of all.
    pub fn records(&self, _account: Option<AccountSid>) -> impl Iterator<Item = CallRecord> {
        std::iter::empty()
    }

    /// One live leg.
    pub fn record(&self, _sid: CallSid) -> Option<CallRecord> {
        None
    }

    /// Figures.
    pub fn counters(&self) -> Counters {
        Counters::default()
    }

    /// Live legs of a trunk.
    pub fn trunk_legs(&self, _trunk: &str) -> u32 {
        0
    }

    /// Who is available, busy or gone.
    pub fn presence(&self) -> &Presence {
        &self.presence
    }
}

//! What all calls share: configuration, randomness, outputs, and who waits for which answer.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::Arc,
};

use postern_accounts::Accounts;
use postern_config::Config;
use postern_facts::{Fact, Happened, Subject};
use postern_presence::Presence;
use postern_types::{
    CallSid, ConferenceSid, Now, RequestId, TrunkName, UserName,
    leg::{LegCommand, Party},
    media::MediaCommand,
    recording::TapId,
    stream::Libraries,
    watch::UserCall,
};
use rand::rngs::StdRng;

use crate::{
    conference::Conferences,
    limits::{Bound, Full, Limits, Passing},
    output::{Counters, HttpRequest, Output, PromptKey, PromptSource},
};

/// Calls at once at most: what a two-core appliance carries several times over. Beyond it new ones get 503.
pub const CALLS_MAX: u64 = 20_000;
/// Emergency calls that find room beyond that: nobody's limit, but what memory is kept for.
pub const EMERGENCY_CALLS: u64 = 1000;

/// Who waits for an application server, or has something recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asker {
    Call(CallSid),
    Conference(ConferenceSid),
}

/// Handed down to whatever a call does.
pub struct Context {
    pub config: Arc<Config>,
    pub accounts: Accounts,
    pub rng: StdRng,
    pub out: VecDeque<Output>,
    pub presence: Presence,
    pub counters: Counters,
    /// Leg to call.
    pub legs: HashMap<CallSid, CallSid>,
    /// Who waits for an answer of an application server.
    pub requests: HashMap<RequestId, Asker>,
    /// Who waits for audio.
    pub prompts: HashMap<PromptKey, CallSid>,
    /// Whose audio is recorded or forked.
    pub taps: HashMap<TapId, Asker>,
    /// Legs of each trunk that did not end.
    pub trunks: HashMap<TrunkName, u32>,
    /// Those that live.
    pub conferences: Conferences,
    /// What trunks may carry.
    pub limits: Limits,
    /// Trunks none of whose addresses is known to live.
    pub down: HashSet<TrunkName>,
    /// New calls are refused: the box is about to stop.
    pub draining: bool,
    /// What the media plane can convert besides its own codecs.
    pub libraries: Libraries,
    next: u64,
}

impl Context {
    pub fn new(config: Arc<Config>, rng: StdRng) -> Self {
        Self {
            accounts: Accounts::new(&config),
            config,
            rng,
            out: VecDeque::new(),
            presence: Presence::default(),
            counters: Counters::default(),
            legs: HashMap::new(),
            requests: HashMap::new(),
            prompts: HashMap::new(),
            taps: HashMap::new(),
            trunks: HashMap::new(),
            conferences: Conferences::default(),
            limits: Limits::default(),
            down: HashSet::new(),
            draining: false,
            libraries: Libraries::default(),
            next: 0,
        }
    }

    /// Another configuration from now on.
    pub fn configure(&mut self, config: Arc<Config>) {
        self.accounts = Accounts::new(&config);
        self.config = config;
    }

    pub fn leg(&mut self, command: LegCommand) {
        self.out.push_back(Output::Leg(command));
    }

    pub fn media(&mut self, command: MediaCommand) {
        self.out.push_back(Output::Media(command));
    }

    pub fn fact(&mut self, subject: Subject, fact: impl Into<Fact>) {
        self.out.push_back(Output::Fact(Happened { subject, fact: fact.into() }));
    }

    pub fn load(&mut self, call: CallSid, source: PromptSource) -> PromptKey {
        let key = self.load_for_another(source);
        self.prompts.insert(key, call);
        key
    }

    /// The same for one that is no call, and keeps the key itself.
    pub fn load_for_another(&mut self, source: PromptSource) -> PromptKey {
        let key = PromptKey(self.number());
        self.out.push_back(Output::LoadPrompt { key, source });
        key
    }

    /// A fresh id for a request.
    pub fn request_id(&mut self, asker: Asker) -> RequestId {
        let id = RequestId(self.number());
        self.requests.insert(id, asker);
        id
    }

    /// A fresh name for a tap.
    pub fn tap(&mut self, asker: Asker) -> TapId {
        let tap = TapId(self.number());
        self.taps.insert(tap, asker);
        tap
    }

    pub fn http(&mut self, request: HttpRequest) {
        self.out.push_back(Output::Http(Box::new(request)));
    }

    /// A leg begins, which takes so much of the line: presence and the trunk's counts know it.
    pub fn leg_began(&mut self, sid: CallSid, party: &Party, bound: Bound, kbps: u32) {
        self.counters.legs += 1;
        self.counters.legs_total += 1;
        match party {
            Party::Trunk { trunk } => {
                *self.trunks.entry(trunk.clone()).or_default() += 1;
                self.limits.count(trunk, bound, true);
                self.limits.weigh(trunk, 0, kbps);
            }
            Party::User { user } => {
                let call = UserCall { leg: sid, calls: bound == Bound::In, answered: false };
                let changed = self.presence.call_began(user, call);
                self.user_changed(user, changed);
            }
            Party::Uri { .. } => {}
        }
    }

    /// It was answered.
    pub fn leg_answered(&mut self, sid: CallSid, party: &Party) {
        if let Party::User { user } = party {
            self.presence.call_answered(user, sid);
            self.user_changed(user, None);
        }
    }

    /// It ended.
    pub fn leg_ended(&mut self, sid: CallSid, party: &Party, bound: Bound, kbps: u32) {
        self.counters.legs = self.counters.legs.saturating_sub(1);
        match party {
            Party::Trunk { trunk } => {
                if let Some(count) = self.trunks.get_mut(trunk) {
                    *count = count.saturating_sub(1);
                }
                self.limits.count(trunk, bound, false);
                self.limits.weigh(trunk, kbps, 0);
            }
            Party::User { user } => {
                let changed = self.presence.call_ended(user, sid);
                self.user_changed(user, changed);
            }
            Party::Uri { .. } => {}
        }
    }

    /// Something of a user may have changed: the fact, if it is one, and what those see who watch it.
    pub fn user_changed(&mut self, user: &UserName, changed: Option<Happened>) {
        self.out.extend(changed.map(Output::Fact));
        self.out.extend(self.presence.seen(user).map(Output::User));
    }

    /// Why no further call is taken, if so.
    pub fn closed(&self, emergency: bool) -> Option<&'static str> {
        let most = if emergency { CALLS_MAX + EMERGENCY_CALLS } else { CALLS_MAX };
        match () {
            () if self.draining && !emergency => Some("the appliance drains: it takes no new calls"),
            () if self.counters.calls >= most => Some("no room for a further call"),
            () => None,
        }
    }

    /// Takes room for one more leg or message of a trunk. An error: there is none, which was told and counted.
    pub fn take_room(&mut self, now: Now, trunk: &TrunkName, bound: Bound, passing: Passing) -> Result<(), Full> {
        match self.limits.room(&self.config, now, (trunk, bound), passing) {
            Ok(()) => {
                self.limits.passed(&self.config, now, trunk, bound);
                Ok(())
            }
            Err(full) => {
                if let Some(fact) = self.limits.refused(now, trunk, bound, full) {
                    self.fact(Subject { trunk: Some(trunk.clone()), ..Subject::default() }, fact);
                }
                Err(full)
            }
        }
    }

    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }
}

//! Numbers as a peer writes them and as we do: applied to a call that comes, and to each leg that leaves.

use postern_config::{Config, Numbering, Side};
use postern_facts::NumbersChanged;
use postern_types::{
    RealmName,
    leg::{CallerIdentity, Offered, Party, Target},
};

use crate::trust;

/// What was done to the numbers of a leg, in words; none: nothing.
#[derive(Debug, Default)]
pub struct Steps(Vec<String>);

impl Steps {
    fn take(&mut self, numbering: &Numbering, side: Side, number: &mut Box<str>) {
        let changed = numbering.apply(side, number);
        if !changed.steps.is_empty() {
            *number = changed.number.into();
            self.0.extend(changed.steps);
        }
    }

    /// Numbers that stand beside the caller's: changed alike, told once.
    fn take_quietly(numbering: &Numbering, side: Side, number: &mut Box<str>) {
        if !number.is_empty() {
            *number = numbering.apply(side, number).number.into();
        }
    }

    /// The fact, if anything was changed.
    pub fn fact(&self, called: &str, caller: &str) -> Option<NumbersChanged> {
        let fact = NumbersChanged { called: called.into(), caller: caller.into(), how: self.0.join("; ") };
        (!self.0.is_empty()).then_some(fact)
    }

    pub fn into_words(self) -> Vec<String> {
        self.0
    }
}

/// The numbering of a party: its trunk's, or that of the realm of its devices.
pub fn of<'c>(config: &'c Config, party: &Party, realm: &RealmName) -> Option<&'c Numbering> {
    let name = match party {
        Party::Trunk { trunk } => config.trunks.get(trunk)?.numbering.as_ref()?,
        Party::User { .. } => config.realms.get(realm)?.numbering.as_ref()?,
        Party::Uri { .. } => return None,
    };
    config.numbering.get(name)
}

/// A call that came, in our words. None: its numbers stay as they are.
pub fn received(config: &Config, offered: &Offered) -> Option<(Offered, Steps)> {
    of(config, &offered.party, &offered.realm)?;
    let mut ours = offered.clone();
    let numbers = (&mut ours.to, &mut ours.from);
    let steps = received_by(config, &offered.party, &offered.realm, numbers, &mut ours.identity);
    (ours != *offered).then_some((ours, steps))
}

/// The numbers of what came, called and caller, in our words.
pub fn received_by(
    config: &Config,
    party: &Party,
    realm: &RealmName,
    (called, caller): (&mut Box<str>, &mut Box<str>),
    identity: &mut CallerIdentity,
) -> Steps {
    let mut steps = Steps::default();
    let Some(numbering) = of(config, party, realm) else { return steps };
    steps.take(numbering, Side::ReceivedCalled, called);
    // Who a user is was proven; its name is no number.
    if matches!(party, Party::Trunk { .. }) {
        steps.take(numbering, Side::ReceivedCaller, caller);
        Steps::take_quietly(numbering, Side::ReceivedCaller, &mut identity.asserted);
        for diversion in &mut identity.diversions {
            Steps::take_quietly(numbering, Side::ReceivedCaller, &mut diversion.user);
        }
    }
    steps
}

/// The same for a number that nobody dialed yet; the caller's only where it is a number.
pub fn try_received(
    config: &Config,
    party: &Party,
    realm: &RealmName,
    called: &mut Box<str>,
    caller: Option<&mut Box<str>>,
) -> Vec<String> {
    let mut steps = Steps::default();
    if let Some(numbering) = of(config, party, realm) {
        steps.take(numbering, Side::ReceivedCalled, called);
        if let Some(caller) = caller {
            steps.take(numbering, Side::ReceivedCaller, caller);
        }
    }
    steps.0
}

/// The numbers of a leg that leaves, in the words of who gets it.
pub fn sent(
    config: &Config,
    party: &Party,
    realm: &RealmName,
    target: &mut Target,
    from: &mut Box<str>,
    identity: &mut CallerIdentity,
) -> Steps {
    trust::remember(config, party, target, from, identity);
    let mut steps = Steps::default();
    let Some(numbering) = of(config, party, realm) else { return steps };
    if let Target::Trunk { number, .. } = target {
        steps.take(numbering, Side::SentCalled, number);
    }
    steps.take(numbering, Side::SentCaller, from);
    Steps::take_quietly(numbering, Side::SentCaller, &mut identity.asserted);
    for diversion in &mut identity.diversions {
        Steps::take_quietly(numbering, Side::SentCaller, &mut diversion.user);
    }
    steps
}

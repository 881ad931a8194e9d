//! What a source may send, and what becomes of one that misbehaves.
//!
//! A source is an IPv4 address or an IPv6 network of 64 bits, which is what one household gets. Each has a bucket of messages and
//! a *debt*: every misdeed adds some seconds to it, time takes them off, and whoever owes more than [`DEBT_MAX`] is banned, each time
//! twice as long. Whom a ban spares (a trunk's address, a source with a registered device) is asked of the caller with each message,
//! so that it holds for whoever registered in the meantime, too: there a ban is only a narrow bucket.
//!
//! Nothing here grows with what strangers send. A full table forgets, of the few sources that it looks at, the one that would be
//! clean the soonest; when all of these are banned, newcomers share one bucket and are not remembered. Half of the table at most is
//! banned: beyond that, sources are held to their rate only.

use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    net::IpAddr,
    time::{Duration, Instant},
};

use postern_config::{Access, AccessTable, Prefix, Protection};

/// Sources remembered at most, about 3 MB.
const SOURCES_MAX: usize = 32_768;
/// Of them banned at most.
const BANS_MAX: usize = SOURCES_MAX / 2;
/// Sources looked at when room is needed: a message costs no more in a flood of forged addresses.
const LOOKS: usize = 8;
/// Who owes more is banned.
pub(crate) const DEBT_MAX: Duration = Duration::from_secs(600);
/// What is let through of a banned source: a BYE of a call that lives, an emergency call; and of one that is only slowed.
const NARROW: Rate = Rate { every: Duration::from_millis(200), burst: 20 };

/// What counts against a source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Misdeed {
    /// It was asked for its password. Taken back when it knows it.
    Challenged,
    /// A request where strangers have nothing to ask, in a realm where users register.
    Uninvited,
    /// The same where nobody registers.
    Stranger,
    /// It claims to be a user that we do not have.
    UnknownUser,
    /// It failed to prove to be one that we have.
    WrongPassword,
    /// What came does not read.
    Unreadable,
    /// It names itself as a program for scanning.
    Scanner,
}

/// What may be done with a message, by its source alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Look {
    /// It may come in.
    Free,
    /// Too many; whether this one is among the few that are looked at all the same.
    Spent { looked_at: bool },
    /// The source is banned; whether this one is among the few that are looked at all the same.
    Banned { looked_at: bool },
}

/// A ban that begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Begun {
    pub(crate) source: Prefix,
    pub(crate) lasts: Duration,
    pub(crate) times: u32,
}

/// A ban.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ban {
    /// The address, or the network.
    pub source: Prefix,
    /// How long it lasts yet.
    pub left: Duration,
    /// Which one of this source it is: 1 for the first.
    pub times: u32,
    /// What it did last.
    pub why: &'static str,
    /// Whether the source is only slowed: it has a registered device, or is a trunk's address.
    pub is_slowed: bool,
    /// Messages dropped since it began.
    pub dropped: u64,
}

impl Ban {
    /// The source as a person writes it: an address, or a network with its length.
    pub fn name(&self) -> String {
        written(self.source)
    }
}

/// All sources.
#[derive(Debug)]
pub(crate) struct Guard {
    rules: Protection,
    trusted: Option<AccessTable>,
    rate: Rate,
    sources: HashMap<Prefix, Source>,
    /// Each source once, in the order in which they are looked at for room.
    order: VecDeque<Prefix>,
    /// Of those that found no room.
    newcomers: Bucket,
    /// When bans end and of whom; those that have ended leave when the next begins.
    ends: BTreeSet<(Instant, IpAddr)>,
}

#[derive(Debug)]
struct Source {
    bucket: Bucket,
    narrow: Bucket,
    /// When it will owe nothing.
    clean: Instant,
    ban: Option<Sentence>,
}

#[derive(Debug)]
struct Sentence {
    until: Instant,
    times: u32,
    why: Misdeed,
    dropped: u64,
}

/// Messages at a rate, with room for a burst (GCRA): all that is remembered is when the bucket will be full again.
#[derive(Debug, Clone, Copy)]
struct Bucket {
    full: Instant,
}

#[derive(Debug, Clone, Copy)]
struct Rate {
    every: Duration,
    burst: u32,
}

impl Guard {
    pub(crate) fn new(rules: &Protection, now: Instant) -> Self {
        Self {
            rules: rules.clone(),
            trusted: trusted(rules),
            rate: Rate::of(rules),
            sources: HashMap::new(),
            order: VecDeque::new(),
            newcomers: Bucket { full: now },
            ends: BTreeSet::new(),
        }
    }

    /// Takes new rules. Debts and bans stay.
    pub(crate) fn configure(&mut self, rules: &Protection) {
        (self.rules, self.trusted, self.rate) = (rules.clone(), trusted(rules), Rate::of(rules));
    }

    /// Counts a message. `is_known`: from exactly where a device is registered; a ban is not for it.
    pub(crate) fn look(&mut self, now: Instant, source: IpAddr, is_known: bool) -> Look {
        if self.trusts(source) {
            return Look::Free;
        }
        let (rate, bans) = (self.rate, self.rules.bans);
        let Some(source) = self.source(now, network(source)) else {
            return if self.newcomers.takes(now, rate) { Look::Free } else { Look::Spent { looked_at: false } };
        };
        if let Some(ban) = source.ban.as_mut().filter(|ban| bans && !is_known && ban.until > now) {
            let looked_at = source.narrow.takes(now, NARROW);
            ban.dropped += u64::from(!looked_at);
            return Look::Banned { looked_at };
        }
        if source.bucket.takes(now, rate) {
            return Look::Free;
        }
        Look::Spent { looked_at: source.narrow.takes(now, NARROW) }
    }

    /// Whether it is banned, without counting a message.
    pub(crate) fn bans(&self, now: Instant, source: IpAddr) -> bool {
        let ban = self.sources.get(&network(source)).and_then(|source| source.ban.as_ref());
        self.rules.bans && ban.is_some_and(|ban| ban.until > now) && !self.trusts(source)
    }

    /// A message that was looked at was dropped all the same.
    pub(crate) fn dropped(&mut self, source: IpAddr) {
        if let Some(ban) = self.sources.get_mut(&network(source)).and_then(|source| source.ban.as_mut()) {
            ban.dropped += 1;
        }
    }

    /// Puts a misdeed to a source's account. A ban, when one begins with it.
    pub(crate) fn blame(&mut self, now: Instant, source: IpAddr, what: Misdeed) -> Option<Begun> {
        if self.trusts(source) {
            return None;
        }
        while self.ends.first().is_some_and(|(until, _)| *until <= now) {
            self.ends.pop_first();
        }
        let (first, most) = (self.rules.ban, self.rules.ban_max);
        let may = self.rules.bans && self.ends.len() < BANS_MAX;
        let name = network(source);
        let of = self.source(now, name)?;
        // Owing more changes nothing, and would only put off the day when it is forgiven.
        of.clean = (of.clean.max(now) + what.cost()).min(now + DEBT_MAX + what.cost());
        if of.clean <= now + DEBT_MAX || !may || of.is_banned(now) {
            return None;
        }
        let before = of.ban.as_ref().filter(|ban| ban.until + most > now).map_or(0, |ban| ban.times);
        let lasts = first.saturating_mul(1 << before.min(16)).min(most);
        let times = before.saturating_add(1);
        of.ban = Some(Sentence { until: now + lasts, times, why: what, dropped: 0 });
        of.clean = now;
        self.ends.insert((now + lasts, name.address));
        Some(Begun { source: name, lasts, times })
    }

    /// It knew its password.
    pub(crate) fn forgive(&mut self, now: Instant, source: IpAddr) {
        if let Some(source) = self.sources.get_mut(&network(source)) {
            source.clean = source.clean.checked_sub(Misdeed::Challenged.cost()).unwrap_or(now).max(now);
        }
    }

    /// All bans, by source. `spares` says whom they only slow.
    pub(crate) fn list(&self, now: Instant, spares: impl Fn(Prefix) -> bool) -> Vec<Ban> {
        if !self.rules.bans {
            return Vec::new();
        }
        let ban = |(name, source): (&Prefix, &Source)| {
            let ban = source.ban.as_ref().filter(|ban| ban.until > now && !self.trusts(name.address))?;
            Some(Ban {
                source: *name,
                left: ban.until.duration_since(now),
                times: ban.times,
                why: ban.why.words(),
                is_slowed: spares(*name),
                dropped: ban.dropped,
            })
        };
        let mut all: Vec<_> = self.sources.iter().filter_map(ban).collect();
        all.sort_by_key(|ban| (ban.source.address, ban.source.length));
        all
    }

    /// Ends the ban of a source and forgets what it did. False: it is not banned.
    pub(crate) fn lift(&mut self, now: Instant, source: IpAddr) -> bool {
        let Some(of) = self.sources.get_mut(&network(source)) else { return false };
        let Some(ban) = of.ban.take() else { return false };
        of.clean = now;
        self.ends.remove(&(ban.until, network(source).address));
        ban.until > now
    }

    /// How many are banned.
    pub(crate) fn len(&self, now: Instant) -> usize {
        self.ends.iter().rev().take_while(|(until, _)| *until > now).count()
    }

    fn trusts(&self, source: IpAddr) -> bool {
        self.trusted.as_ref().is_some_and(|trusted| trusted.admits(source))
    }

    /// What is known of a source, from now on. None: there is no room.
    fn source(&mut self, now: Instant, name: Prefix) -> Option<&mut Source> {
        if !self.sources.contains_key(&name) {
            if self.sources.len() >= SOURCES_MAX && !self.make_room(now) {
                return None;
            }
            self.order.push_back(name);
        }
        let new = Source { bucket: Bucket { full: now }, narrow: Bucket { full: now }, clean: now, ban: None };
        Some(self.sources.entry(name).or_insert(new))
    }

    /// Forgets one source. False: all that were looked at are banned.
    fn make_room(&mut self, now: Instant) -> bool {
        let mut looked_at = [None; LOOKS];
        looked_at.fill_with(|| self.order.pop_front());
        let clean = |name: &Prefix| {
            let source = self.sources.get(name).filter(|source| !source.is_banned(now))?;
            Some((source.clean.max(source.bucket.full), *name))
        };
        let least = looked_at.iter().flatten().filter_map(clean).min_by_key(|(clean, _)| *clean).map(|(_, name)| name);
        self.order.extend(looked_at.into_iter().flatten().filter(|name| Some(*name) != least));
        least.and_then(|name| self.sources.remove(&name)).is_some()
    }
}

impl Source {
    fn is_banned(&self, now: Instant) -> bool {
        self.ban.as_ref().is_some_and(|ban| ban.until > now)
    }
}

impl Bucket {
    /// Takes one out, if there is one.
    fn takes(&mut self, now: Instant, rate: Rate) -> bool {
        let full = self.full.max(now);
        if full.duration_since(now) > rate.every.saturating_mul(rate.burst.saturating_sub(1)) {
            return false;
        }
        self.full = full + rate.every;
        true
    }
}

impl Rate {
    fn of(rules: &Protection) -> Self {
        Self { every: Duration::from_secs(1) / rules.rate.max(1), burst: rules.burst }
    }
}

impl Misdeed {
    /// What it adds to the debt.
    fn cost(self) -> Duration {
        match self {
            // 1000 phones of an office that come back in one moment do not ban it.
            Self::Challenged => Duration::from_millis(600),
            // Phones that do not know yet that they are forgotten: keep-alives, subscriptions.
            Self::Uninvited => Duration::from_secs(1),
            Self::Stranger => Duration::from_secs(10),
            Self::Unreadable => Duration::from_secs(20),
            // A phone with an old password that tries once a minute is never banned for it.
            Self::UnknownUser | Self::WrongPassword => Duration::from_secs(59),
            Self::Scanner => DEBT_MAX + Duration::from_secs(1),
        }
    }

    /// For a person.
    pub(crate) fn words(self) -> &'static str {
        match self {
            Self::Challenged => "asks again and again and never shows a password",
            Self::Uninvited | Self::Stranger => "requests of a stranger",
            Self::UnknownUser => "guesses names of users",
            Self::WrongPassword => "wrong passwords",
            Self::Unreadable => "sends what does not read",
            Self::Scanner => "names itself as a program for scanning",
        }
    }
}

fn trusted(rules: &Protection) -> Option<AccessTable> {
    let allow = rules.trusted.clone();
    (!allow.is_empty()).then(|| Access { allow, deny: Vec::new() }.table())
}

/// Whom an address stands for.
pub(crate) fn network(source: IpAddr) -> Prefix {
    let source = source.to_canonical();
    Prefix::around(source, if source.is_ipv4() { 32 } else { 64 })
}

/// As a person writes it: an address, or a network with its length.
pub(crate) fn written(source: Prefix) -> String {
    match source.address {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(_) => source.to_string(),
    }
}

#[cfg(test)]
mod tests;

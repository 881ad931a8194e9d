//! Calls that come from a trunk whose signatures are checked: who calls is held against the Identity of the INVITE (RFC 8224 6.2).
//!
//! What is needed for it and not known is a certificate. It is asked for, and the call waits for a bounded time before the router hears of
//! it: its INVITE was answered by 100, and a CANCEL ends it as ever. Certificates are kept; what is used after [`FRESH_FOR`] is fetched
//! anew while it goes on being used, up to [`KEPT_FOR`], so that a repository that is down holds nobody. Whom a certificate makes believable
//! is checked with each call.
//!
//! What becomes of the call is the router's to decide. Caller and callee are compared as they were written by the trunk and as its
//! numbering reads them.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use postern_config::{Config, Numbering, Side, StirVerify, Verify};
use postern_sip::{Headers, Name};
use postern_stir::{Authorities, Certificate, Identity, canonical};
use postern_types::{
    Now, TrunkName,
    leg::{LegEvent, Offered},
    trust::{Chain, Outcome, Verdict},
};

use crate::{
    Output, Signaling, headers, identity,
    legs::Leg,
    side::{State, Tag},
    timers::Timer,
};

/// Identity headers of one INVITE that are looked at.
const IDENTITIES_MAX: usize = 8;
/// Bytes of a certificate's address at most.
const ADDRESS_MAX: usize = 512;
/// Certificates that are kept: every provider of a large country has a few. The one that was used longest ago makes room.
const CERTIFICATES_MAX: usize = 4096;
/// After this a certificate that is used is fetched anew.
const FRESH_FOR: Duration = Duration::from_secs(3600);
/// After this it is not used any more.
const KEPT_FOR: Duration = Duration::from_secs(24 * 3600);
/// How long one that could not be had is not asked for again.
const FAILED_FOR: Duration = Duration::from_secs(30);
/// A question that was not answered after this is asked again: the driver gives up before.
const LOST_AFTER: Duration = Duration::from_secs(30);
/// Calls that wait for certificates at once at most; one more is told as not checked at once.
const WAITING_MAX: usize = 4096;

/// Checks signatures.
#[derive(Debug, Default)]
pub(crate) struct Verifier {
    authorities: Authorities,
    certificates: HashMap<Box<str>, Known>,
    /// Calls whose certificates are awaited.
    waiting: HashMap<Tag, Waiting>,
}

/// What is known of a certificate, by its address.
#[derive(Debug)]
struct Known {
    certificate: Option<(Certificate, Instant)>,
    /// Why it could not be had the last time.
    failed: Option<(Box<str>, Instant)>,
    asked: Option<Instant>,
    used: Instant,
}

/// A call that the router has not heard of yet.
#[derive(Debug)]
struct Waiting {
    offered: Box<Offered>,
    trunk: TrunkName,
    claim: Claim,
}

/// A signature, and what it must say.
#[derive(Debug)]
pub(crate) struct Claim {
    identity: Identity,
    /// How the call went from the number that was signed to the one that is called (RFC 8946), if not at once.
    diversions: Vec<Identity>,
    /// All that was read of it, as it came.
    values: Vec<Box<str>>,
    /// The caller, in each way that it can be read.
    caller: Vec<String>,
    /// The same of who is called.
    called: Vec<String>,
}

impl Verifier {
    /// One for a configuration.
    pub(crate) fn new(config: &Config) -> Self {
        let mut verifier = Self::default();
        verifier.configure(config);
        verifier
    }

    /// Believes whom a new configuration believes; what was fetched before stays known.
    pub(crate) fn configure(&mut self, config: &Config) {
        let believed = config.stir.verify.iter().flat_map(|verify| &verify.authorities.certificates);
        self.authorities = Authorities::new(believed.map(Vec::as_slice));
    }

    /// How many calls wait.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// What comes of a claim; none while its certificate is not there and may yet come.
    fn judge(&self, now: Instant, wall_s: u64, claim: &Claim, rules: &StirVerify) -> Option<Verdict> {
        for identity in claim.identities() {
            let known = self.certificates.get(identity.x5u())?;
            let outcome = match (known.certificate_at(now), known.failure_at(now)) {
                (Some(certificate), _) => match identity.verify(certificate, &self.authorities, wall_s) {
                    Err(why) => failed(437, format!("the signer is not believed: {why}")),
                    Ok(false) => failed(438, "the signature is not that of the certificate".into()),
                    Ok(true) => continue,
                },
                (None, Some(why)) => Outcome::Unknown { why: format!("its certificate cannot be had: {why}").into() },
                (None, None) => return None,
            };
            return Some(claim.verdict(outcome));
        }
        Some(claim.verdict(claim.outcome(wall_s, rules.freshness)))
    }

    /// Notes that a certificate is used. Whether it is to be asked for now, which is noted too.
    fn wants(&mut self, now: Instant, x5u: &str) -> bool {
        if !self.certificates.contains_key(x5u) && self.certificates.len() >= CERTIFICATES_MAX {
            // By name where times are equal: the same inputs must give the same outputs.
            let oldest = self.certificates.iter().min_by_key(|(x5u, known)| (known.used, (*x5u).clone()));
            if let Some(x5u) = oldest.map(|(x5u, _)| x5u.clone()) {
                self.certificates.remove(&x5u);
            }
        }
        let nothing = || Known { certificate: None, failed: None, asked: None, used: now };
        let known = self.certificates.entry(x5u.into()).or_insert_with(nothing);
        known.used = now;
        let is_fresh = known.certificate.as_ref().is_some_and(|(_, since)| now.duration_since(*since) < FRESH_FOR);
        let is_asked = known.asked.is_some_and(|asked| now.duration_since(asked) < LOST_AFTER);
        let wants = !is_fresh && !is_asked && known.failure_at(now).is_none();
        if wants {
            known.asked = Some(now);
        }
        wants
    }
}

impl Known {
    fn certificate_at(&self, now: Instant) -> Option<&Certificate> {
        let (certificate, since) = self.certificate.as_ref()?;
        (now.duration_since(*since) < KEPT_FOR).then_some(certificate)
    }

    fn failure_at(&self, now: Instant) -> Option<&str> {
        let (why, since) = self.failed.as_ref()?;
        (now.duration_since(*since) < FAILED_FOR).then_some(why)
    }
}

impl Claim {
    /// All whose signatures must be good, the caller's first.
    fn identities(&self) -> impl Iterator<Item = &Identity> {
        std::iter::once(&self.identity).chain(&self.diversions)
    }

    /// What comes of it, its signatures being good.
    fn outcome(&self, wall_s: u64, freshness: Duration) -> Outcome {
        let mut signed = self.identities().map(|identity| identity.claims().iat);
        if let Some(iat) = signed.find(|iat| wall_s.abs_diff(*iat) > freshness.as_secs()) {
            let side = if iat > wall_s { "ahead" } else { "ago" };
            return failed(403, format!("signed {} s {side}", wall_s.abs_diff(iat)));
        }
        match &self.identity.claims().orig {
            Some(orig) if self.caller.contains(orig) => {}
            Some(orig) => return failed(438, format!("{orig} was signed, and another calls")),
            None => return failed(438, "signed for a caller that is no number".into()),
        }
        if self.end().is_none() {
            let dest = &self.identity.claims().dest;
            return failed(438, format!("signed for a call to {}", dest.join(", ")));
        }
        Outcome::Passed
    }

    /// The called number that it ends at.
    fn end(&self) -> Option<&String> {
        let last = self.identities().last()?;
        last.claims().dest.iter().find(|dest| self.called.contains(dest))
    }

    /// What goes on with a call whose signatures are good.
    fn chain(&self) -> Option<Chain> {
        Some(Chain {
            identities: self.values.clone(),
            caller: self.identity.claims().orig.as_deref()?.into(),
            called: self.end()?.as_str().into(),
            since_s: self.identities().map(|identity| identity.claims().iat).min()?,
        })
    }

    fn verdict(&self, outcome: Outcome) -> Verdict {
        let (claims, identity) = (self.identity.claims(), &self.identity);
        Verdict {
            outcome,
            attest: claims.attest,
            origid: headers::tidy(&claims.origid).into(),
            signer: identity.x5u().into(),
            token: identity.token().into(),
        }
    }
}

impl Signaling {
    /// Looks at the signature of a call that came, where its trunk wants that: the verdict is put into it, or the claim is given back for
    /// which a certificate must come first.
    pub(crate) fn check_identity(
        &mut self,
        now: Instant,
        fields: &Headers,
        trunk: &TrunkName,
        is_emergency: bool,
        offered: &mut Offered,
    ) -> Option<Claim> {
        let config = self.places.config.clone();
        let rules = config.stir.verify.as_ref()?;
        let of = config.trunks.get(trunk).filter(|trunk| trunk.stir.verify != Verify::Off)?;
        let numbering = of.numbering.as_ref().and_then(|name| config.numbering.get(name));
        let claim = match claim_of(fields, offered, numbering) {
            Ok(claim) => claim,
            Err(outcome) => {
                offered.identity.trust.verdict = Some(Box::new(Verdict::of(outcome)));
                return None;
            }
        };
        for x5u in claim.identities().map(Identity::x5u) {
            if !x5u.starts_with("https://") || x5u.len() > ADDRESS_MAX {
                let why = "its certificate is not at an address that is asked".into();
                return settle(offered, &claim, claim.verdict(Outcome::Unknown { why }));
            }
            if self.verifier.wants(now, x5u) {
                self.outputs.push_back(Output::Fetch { url: x5u.into() });
            }
        }
        match self.verifier.judge(now, self.wall.seconds(), &claim, rules) {
            Some(verdict) => settle(offered, &claim, verdict),
            None if is_emergency || self.verifier.waiting() >= WAITING_MAX => {
                let why = "its certificate is not known, and the call did not wait".into();
                settle(offered, &claim, claim.verdict(Outcome::Unknown { why }))
            }
            None => Some(claim),
        }
    }

    /// Keeps a call until its certificate comes, or the patience is over.
    pub(crate) fn await_certificate(
        &mut self,
        now: Instant,
        tag: Tag,
        offered: Box<Offered>,
        trunk: TrunkName,
        claim: Claim,
    ) {
        let patience = self.places.config.stir.verify.as_ref().map_or(Duration::ZERO, |rules| rules.patience);
        self.timers.set(now + patience, Timer::Certificate(tag));
        self.verifier.waiting.insert(tag, Waiting { offered, trunk, claim });
    }

    /// Takes what was fetched for an [`Output::Fetch`]: PEM, or why there is none.
    pub fn handle_certificate(&mut self, now: Now, url: &str, fetched: Result<Vec<u8>, String>) {
        self.wall = now.wall;
        let fetched =
            fetched.and_then(|pem| Certificate::read(&pem).ok_or_else(|| "it is no certificate in PEM".into()));
        let Some(known) = self.verifier.certificates.get_mut(url) else { return };
        known.asked = None;
        match fetched {
            Ok(certificate) => (known.certificate, known.failed) = (Some((certificate, now.instant)), None),
            Err(why) => known.failed = Some((why.into(), now.instant)),
        }
        let of_it = |(tag, waiting): (&Tag, &Waiting)| {
            waiting.claim.identities().any(|identity| identity.x5u() == url).then_some(*tag)
        };
        let mut tags: Vec<_> = self.verifier.waiting.iter().filter_map(of_it).collect();
        // The same inputs must give the same outputs, whatever the order of a hash table.
        tags.sort_by_key(|tag| tag.0);
        for tag in tags {
            self.certificate_due(now.instant, tag);
        }
        self.run(now);
    }

    /// A call has waited enough: its certificate is there, or cannot be had, or did not come in time.
    pub(crate) fn certificate_due(&mut self, now: Instant, tag: Tag) {
        let Some(Waiting { mut offered, trunk, claim }) = self.verifier.waiting.remove(&tag) else { return };
        let config = self.places.config.clone();
        let judged =
            config.stir.verify.as_ref().map(|rules| self.verifier.judge(now, self.wall.seconds(), &claim, rules));
        // A configuration that checks nothing any more has no verdict.
        if let Some(judged) = judged {
            let late = || claim.verdict(Outcome::Unknown { why: "its certificate did not come in time".into() });
            settle(&mut offered, &claim, judged.unwrap_or_else(late));
        }
        self.announce(tag, offered, Some(trunk));
    }

    /// The router hears of a call.
    pub(crate) fn announce(&mut self, tag: Tag, offered: Box<Offered>, trunk: Option<TrunkName>) {
        // A caller that waited may have left.
        let Some(side) = self.sides.get_mut(&tag) else { return };
        let leg = offered.leg;
        side.leg = Some(leg);
        let rules = match &mut side.state {
            State::Offered(offered) => std::mem::take(&mut offered.edited),
            State::Calling(_) | State::Up(_) => Vec::new(),
        };
        self.legs.insert(offered.leg, Leg { sides: vec![tag], dial: None, ladder: None, failure: None }, trunk);
        self.tell(LegEvent::Offered(offered));
        if !rules.is_empty() {
            self.tell(LegEvent::HeadersChanged { leg, sent: false, rules });
        }
    }
}

/// What an INVITE claims by its signature, or what follows from its having none.
fn claim_of(fields: &Headers, offered: &Offered, numbering: Option<&Numbering>) -> Result<Claim, Outcome> {
    let (mut unreadable, mut found, mut sent_on, mut values) = (None, None, Vec::new(), Vec::new());
    for value in fields.all(Name::Identity).take(IDENTITIES_MAX) {
        match Identity::read(value) {
            Ok(identity) if identity.is_of_caller() && found.is_none() => found = Some(identity),
            Ok(identity) if identity.is_of_diversion() => sent_on.push(identity),
            // It says something else of the call.
            Ok(_) => continue,
            Err(why) => {
                unreadable = Some(why);
                continue;
            }
        }
        values.push(value.into());
    }
    let Some(identity) = found else {
        return Err(
            unreadable.map_or(Outcome::Unsigned, |why| failed(438, format!("its Identity cannot be read: {why}")))
        );
    };
    let user = |address: Result<_, _>| address.ok().and_then(|address| identity::user(&address)).unwrap_or_default();
    let (from, to) = (user(fields.from()), user(fields.to()));
    // What a trunk that is believed asserts is what is shown; else From is.
    let caller = if offered.identity.asserted.is_empty() { &from } else { &offered.identity.asserted };
    let caller = readings(caller, Side::ReceivedCaller, numbering);
    let mut called = readings(&offered.to, Side::ReceivedCalled, numbering);
    called.extend(readings(&to, Side::ReceivedCalled, numbering));
    let diversions = way(&identity, sent_on, &called);
    Ok(Claim { identity, diversions, values, caller, called })
}

/// By which diversions a call went from the number that was signed to the one that is called, as far as they say so (RFC 8946). Nothing
/// when it went there at once.
fn way(signed: &Identity, mut sent_on: Vec<Identity>, called: &[String]) -> Vec<Identity> {
    let mut way: Vec<Identity> = Vec::new();
    // Each diversion is taken once: this ends.
    loop {
        let last = way.last().unwrap_or(signed).claims();
        if last.dest.iter().any(|dest| called.contains(dest)) {
            return way;
        }
        let goes_on = |next: &Identity| {
            let next = next.claims();
            next.orig == last.orig && next.div.as_ref().is_some_and(|div| last.dest.contains(div))
        };
        let Some(at) = sent_on.iter().position(goes_on) else { return way };
        way.push(sent_on.swap_remove(at));
    }
}

/// A number as it was written, and as the trunk's numbering reads it.
fn readings(written: &str, side: Side, numbering: Option<&Numbering>) -> Vec<String> {
    let read = numbering.map(|numbering| numbering.apply(side, written).number);
    std::iter::once(written).chain(read.as_deref()).filter_map(canonical).collect()
}

fn settle(offered: &mut Offered, claim: &Claim, verdict: Verdict) -> Option<Claim> {
    let trust = &mut offered.identity.trust;
    trust.chain = if verdict.outcome == Outcome::Passed { claim.chain().map(Box::new) } else { None };
    trust.verdict = Some(Box::new(verdict));
    None
}

fn failed(status: u16, why: String) -> Outcome {
    Outcome::Failed { status, why: why.into() }
}

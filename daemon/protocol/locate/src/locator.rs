//! The machine: who waits for which answers.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    time::{Duration, Instant},
};

use rand::{SeedableRng, rngs::StdRng};

use crate::{
    Answer, Question, Target, Wanted,
    cache::Cache,
    solve::{Known, Solved, solve},
};

/// How long DNS may take for one question: the driver gives up before.
const ASKED_FOR: Duration = Duration::from_secs(6);
/// Hosts looked for at once at most; a further one is told as not found, unsurely.
const JOBS_MAX: usize = 4096;
/// How soon what was found unsurely, or without any record, is worth another look.
const AGAIN_AFTER: Duration = Duration::from_secs(5);

/// Names one search.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LocateId(pub u64);

/// What came of a search.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Located {
    /// Where to, in the order of trying; none: there is no such host, or nobody told.
    pub targets: Vec<Target>,
    /// Whether DNS answered everything: if not, an empty list says nothing.
    pub sure: bool,
    /// How long it holds.
    pub lasts: Duration,
}

/// What comes out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// A question for DNS; answered by [`Locator::handle_answer`].
    Ask(Question),
    /// A search is over.
    Located(LocateId, Located),
}

/// Figures.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Questions asked.
    pub asked: u64,
    /// Of them those without an answer.
    pub failed: u64,
    /// Answers that are kept.
    pub kept: u64,
}

/// Finds hosts.
#[derive(Debug)]
pub struct Locator {
    cache: Cache,
    /// What is asked now, and until when.
    asked: HashMap<Question, Instant>,
    jobs: BTreeMap<LocateId, (Wanted, Known)>,
    outputs: VecDeque<Output>,
    counters: Counters,
    rng: StdRng,
}

impl Locator {
    /// Nothing known yet. `seed` draws among servers by their weight.
    pub fn new(seed: u64) -> Self {
        Self {
            cache: Cache::default(),
            asked: HashMap::new(),
            jobs: BTreeMap::new(),
            outputs: VecDeque::new(),
            counters: Counters::default(),
            rng: StdRng::seed_from_u64(seed),
        }
    }

    /// Looks for a host; [`Output::Located`] comes once, at once when everything is known.
    pub fn locate(&mut self, now: Instant, id: LocateId, wanted: Wanted) {
        let wanted = Wanted { host: plain(&wanted.host), ..wanted };
        if self.jobs.len() >= JOBS_MAX {
            let located = Located { targets: Vec::new(), sure: false, lasts: AGAIN_AFTER };
            return self.outputs.push_back(Output::Located(id, located));
        }
        self.jobs.insert(id, (wanted, Known::default()));
        self.go_on(now, id);
    }

    /// Takes what DNS says.
    pub fn handle_answer(&mut self, now: Instant, question: &Question, answer: Answer) {
        if self.asked.remove(question).is_none() {
            return;
        }
        self.counters.failed += u64::from(answer == Answer::Failed);
        let (answer, until) = self.cache.put(now, question, lowered(answer));
        let waiting: Vec<LocateId> = self.jobs.keys().copied().collect();
        for id in waiting {
            let Some((_, known)) = self.jobs.get_mut(&id) else { continue };
            if known.waits_for(question) {
                known.learn(question.clone(), answer.clone(), until);
                self.go_on(now, id);
            }
        }
    }

    /// Gives up questions whose time is over.
    pub fn handle_timeout(&mut self, now: Instant) {
        let mut late: Vec<_> = self.asked.iter().filter(|(_, until)| **until <= now).map(|(q, _)| q.clone()).collect();
        late.sort();
        for question in late {
            self.handle_answer(now, &question, Answer::Failed);
        }
    }

    /// The next output.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When to call [`Locator::handle_timeout`] at the latest.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.asked.values().min().copied()
    }

    /// Figures.
    pub fn counters(&self) -> Counters {
        Counters { kept: self.cache.len() as u64, ..self.counters }
    }

    /// Searches that are not over.
    pub fn searching(&self) -> usize {
        self.jobs.len()
    }

    fn go_on(&mut self, now: Instant, id: LocateId) {
        loop {
            let Some((wanted, known)) = self.jobs.get_mut(&id) else { return };
            let questions = match solve(wanted, known, &mut self.rng) {
                Solved::Targets { targets, sure } => {
                    let until = known.until.unwrap_or(now + AGAIN_AFTER);
                    let lasts = until.saturating_duration_since(now);
                    self.jobs.remove(&id);
                    let located = Located { targets, sure, lasts };
                    return self.outputs.push_back(Output::Located(id, located));
                }
                Solved::Wants(questions) => questions,
            };
            let mut learned = false;
            for question in questions {
                match self.cache.fresh(now, &question) {
                    Some((answer, until)) => {
                        known.learn(question, answer, until);
                        learned = true;
                    }
                    None => {
                        known.wait(question.clone());
                        if self.asked.insert(question.clone(), now + ASKED_FOR).is_none() {
                            self.counters.asked += 1;
                            self.outputs.push_back(Output::Ask(question));
                        }
                    }
                }
            }
            if !learned {
                return;
            }
        }
    }
}

impl Known {
    fn learn(&mut self, question: Question, answer: Answer, until: Instant) {
        self.waiting.retain(|other| *other != question);
        self.until = Some(self.until.map_or(until, |other| other.min(until)));
        self.answers.insert(question, answer);
    }

    fn wait(&mut self, question: Question) {
        if !self.waiting.contains(&question) {
            self.waiting.push(question);
        }
    }

    fn waits_for(&self, question: &Question) -> bool {
        self.waiting.contains(question)
    }
}

/// Names are compared in lower case and without the dot of the root.
fn plain(name: &str) -> Box<str> {
    name.trim_end_matches('.').to_ascii_lowercase().into()
}

fn lowered(answer: Answer) -> Answer {
    let Answer::Records(mut records, lasts) = answer else { return answer };
    for record in &mut records {
        if let crate::Record::Naptr { replacement: name, .. } | crate::Record::Srv { target: name, .. } = record {
            *name = plain(name);
        }
    }
    Answer::Records(records, lasts)
}

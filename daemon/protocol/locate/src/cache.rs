//! What DNS said, for as long as it holds, and a day longer for when DNS fails.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use crate::{Answer, Question, RECORDS_MAX};

/// Answers kept at most: a thousand trunks with some records each. When full, the one that ends first leaves.
const ANSWERS_MAX: usize = 8192;
/// However long a record says that it holds: a carrier that moves must be found again.
const KEPT_MAX: Duration = Duration::from_secs(86_400);
/// However short: a record of no time at all would be asked for with each call.
const KEPT_MIN: Duration = Duration::from_secs(1);
/// That there is nothing, at most: somebody may just be setting it up.
const NOTHING_MAX: Duration = Duration::from_secs(900);
/// That DNS failed: the next call asks again.
const FAILED_FOR: Duration = Duration::from_secs(5);
/// How long after its time a record is used when DNS fails (RFC 8767 5: one to three days).
const STALE_MAX: Duration = Duration::from_secs(86_400);

/// Answers by question.
#[derive(Debug, Default)]
pub(crate) struct Cache {
    kept: HashMap<Question, Kept>,
}

#[derive(Debug)]
struct Kept {
    answer: Answer,
    until: Instant,
}

impl Cache {
    pub(crate) fn len(&self) -> usize {
        self.kept.len()
    }

    /// What holds now.
    pub(crate) fn fresh(&self, now: Instant, question: &Question) -> Option<(Answer, Instant)> {
        let kept = self.kept.get(question).filter(|kept| kept.until > now)?;
        Some((kept.answer.clone(), kept.until))
    }

    /// Takes an answer; gives back what is to be used, and until when.
    pub(crate) fn put(&mut self, now: Instant, question: &Question, answer: Answer) -> (Answer, Instant) {
        let (answer, span) = match answer {
            Answer::Records(mut records, span) if !records.is_empty() => {
                records.truncate(RECORDS_MAX);
                (Answer::Records(records, span), span.clamp(KEPT_MIN, KEPT_MAX))
            }
            Answer::Records(_, span) | Answer::Nothing(span) => {
                (Answer::Nothing(span), span.clamp(KEPT_MIN, NOTHING_MAX))
            }
            Answer::Failed => match self.kept.get(question) {
                Some(Kept { answer: old @ Answer::Records(..), until }) if *until + STALE_MAX > now => {
                    // Not put back: the next question is asked soon, but the records keep their age.
                    return (old.clone(), now + FAILED_FOR);
                }
                _ => (Answer::Failed, FAILED_FOR),
            },
        };
        let until = now + span;
        if self.kept.len() >= ANSWERS_MAX && !self.kept.contains_key(question) {
            let first = self.kept.iter().min_by_key(|(question, kept)| (kept.until, *question)).map(|(q, _)| q.clone());
            if let Some(first) = first {
                self.kept.remove(&first);
            }
        }
        self.kept.insert(question.clone(), Kept { answer: answer.clone(), until });
        (answer, until)
    }
}

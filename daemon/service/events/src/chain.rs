//! Records in a chain: each line carries its number, the hash of the line before and its own, so that nobody can change, leave out or
//! reorder one without its being seen.
//!
//! JSON lines: `{"n":7,"previous":"…","call":{…},"hash":"…"}`. CSV: `7,…,"previous","hash"`. The hash is SHA-256 of all that stands before
//! its own field in the line; `previous` is the `hash` of line n - 1, in the file before when this is the first; 64 zeros before the very
//! first. What a chain cannot show by itself is the loss of its newest lines: the state beside the files ([`Head`]) has their number.
//!
//! Whoever may write all files and their state can make a new chain. Send the newest hash elsewhere (the verdict shows it) and keep it:
//! it then stands for every record before.

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// Characters of a hash.
const HASH_CHARS: usize = 64;
/// Bytes of one line at most that a verifier reads: sixty-four legs have room.
pub const LINE_BYTES_MAX: usize = 1 << 20;

/// How lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Form {
    /// JSON lines, `.jsonl`.
    Json,
    /// CSV with a line of headings, `.csv`.
    Csv,
}

impl Form {
    /// What file names end with.
    pub fn extension(self) -> &'static str {
        match self {
            Self::Json => "jsonl",
            Self::Csv => "csv",
        }
    }
}

/// Where a chain stands: the number and the hash of its newest record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// Its number; 0: there is none yet.
    pub n: u64,
    /// Its hash, 64 hexadecimal digits.
    pub hash: String,
}

impl Default for Head {
    fn default() -> Self {
        Self { n: 0, hash: "0".repeat(HASH_CHARS) }
    }
}

impl fmt::Display for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.n, self.hash)
    }
}

impl Head {
    /// As its [`fmt::Display`] wrote it, with line end or without.
    pub fn parse(text: &str) -> Option<Self> {
        let (n, hash) = text.trim_end().split_once(' ')?;
        let head = Self { n: n.parse().ok()?, hash: hash.to_owned() };
        is_hash(&head.hash).then_some(head)
    }

    /// The next line, line end and all, of what is told: an object's text in JSON, fields in CSV. The head moves on.
    pub fn link(&mut self, form: Form, told: &str) -> String {
        let n = self.n + 1;
        let mut line = match form {
            Form::Json => format!("{{\"n\":{n},\"previous\":\"{}\",\"call\":{told}", self.hash),
            Form::Csv => format!("{n},{told},{}", self.hash),
        };
        let hash = hash_of(line.as_bytes());
        line += &match form {
            Form::Json => format!(",\"hash\":\"{hash}\"}}\n"),
            Form::Csv => format!(",{hash}\n"),
        };
        *self = Self { n, hash };
        line
    }
}

/// A line of a chain, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Its number.
    pub n: u64,
    /// What it says is the hash of the line before.
    pub previous: String,
    /// What it says is its own.
    pub hash: String,
    /// Whether that is so.
    pub is_whole: bool,
}

impl Link {
    /// None: it is no line of a chain.
    pub fn read(form: Form, line: &str) -> Option<Self> {
        let (before, hash, number, previous) = match form {
            Form::Json => {
                let rest = line.strip_suffix("\"}")?;
                let (before, hash) = split_at_end(rest, HASH_CHARS)?;
                let before = before.strip_suffix(",\"hash\":\"")?;
                let (number, rest) = before.strip_prefix("{\"n\":")?.split_once(",\"previous\":\"")?;
                (before, hash, number, rest.get(..HASH_CHARS)?)
            }
            Form::Csv => {
                let (before, hash) = split_at_end(line, HASH_CHARS)?;
                let before = before.strip_suffix(',')?;
                let (_, previous) = split_at_end(before, HASH_CHARS)?;
                (before, hash, before.split_once(',')?.0, previous)
            }
        };
        let n = number.parse().ok().filter(|n| *n > 0)?;
        if !is_hash(hash) || !is_hash(previous) {
            return None;
        }
        let is_whole = hash_of(before.as_bytes()) == hash;
        Some(Self { n, previous: previous.to_owned(), hash: hash.to_owned(), is_whole })
    }
}

/// What does not fit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "what", rename_all = "snake_case")]
pub enum Flaw {
    /// The line is no record.
    Unreadable,
    /// Its content is not what its hash was made of.
    Changed {
        /// Its number, as it says.
        n: u64,
    },
    /// It was made new: it fits itself, but what follows was made of another.
    Replaced {
        /// The number of the one before this line.
        n: u64,
    },
    /// Records are not there.
    Missing {
        /// The first.
        from: u64,
        /// The last.
        to: u64,
    },
    /// It stands behind one with a higher number.
    Reordered {
        /// Its number.
        n: u64,
        /// The one that was awaited.
        awaited: u64,
    },
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable => write!(f, "this line is no record"),
            Self::Changed { n } => write!(f, "record {n} was changed: its hash is not that of its text"),
            Self::Replaced { n } => write!(f, "record {n} was replaced: the next one was made behind another"),
            Self::Missing { from, to } if from == to => write!(f, "record {from} is missing"),
            Self::Missing { from, to } => write!(f, "records {from} to {to} are missing"),
            Self::Reordered { n, awaited } => {
                write!(f, "record {n} stands in the wrong place: {awaited} should be here")
            }
        }
    }
}

/// Goes along a chain.
#[derive(Debug, Default)]
pub struct Verifier {
    first: Option<u64>,
    last: Option<Head>,
    records: u64,
}

impl Verifier {
    /// The next line, without its line end.
    pub fn line(&mut self, form: Form, line: &str) -> Result<(), Flaw> {
        let link = Link::read(form, line).ok_or(Flaw::Unreadable)?;
        // The very first has nothing before it; the first of what is given has it elsewhere.
        let before = match &self.last {
            Some(head) => Some(head.clone()),
            None if link.n == 1 => Some(Head::default()),
            None => None,
        };
        if !link.is_whole {
            return Err(Flaw::Changed { n: link.n });
        }
        if let Some(before) = before {
            let awaited = before.n + 1;
            match () {
                () if link.n > awaited => return Err(Flaw::Missing { from: awaited, to: link.n - 1 }),
                () if link.n < awaited => return Err(Flaw::Reordered { n: link.n, awaited }),
                () if link.previous != before.hash => return Err(Flaw::Replaced { n: before.n }),
                () => {}
            }
        }
        self.first.get_or_insert(link.n);
        self.records += 1;
        self.last = Some(Head { n: link.n, hash: link.hash });
        Ok(())
    }

    /// Whether it ends where the state beside the files says.
    pub fn end(&self, head: &Head) -> Result<(), Flaw> {
        let last = self.last.clone().unwrap_or_default();
        match () {
            () if last.n < head.n => Err(Flaw::Missing { from: last.n + 1, to: head.n }),
            () if last.n == head.n && last.hash != head.hash => Err(Flaw::Replaced { n: last.n }),
            // The state is written behind the records: a loss of power may have taken it back.
            () => Ok(()),
        }
    }

    /// The number of the first record that was seen.
    pub fn first(&self) -> Option<u64> {
        self.first
    }

    /// The newest one.
    pub fn last(&self) -> Option<&Head> {
        self.last.as_ref()
    }

    /// How many fitted.
    pub fn records(&self) -> u64 {
        self.records
    }
}

fn split_at_end(text: &str, chars: usize) -> Option<(&str, &str)> {
    text.split_at_checked(text.len().checked_sub(chars)?)
}

fn is_hash(text: &str) -> bool {
    text.len() == HASH_CHARS && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

fn hash_of(bytes: &[u8]) -> String {
    use fmt::Write;
    let mut text = String::with_capacity(HASH_CHARS);
    // Writing into a String cannot fail.
    Sha256::digest(bytes).iter().for_each(|byte| _ = write!(text, "{byte:02x}"));
    text
}

/// Entry for fuzzing.
pub mod fuzz {
    use super::{Form, Head, Link, Verifier};

    /// Whatever a line is, it is read or not, and no record of a chain that was tampered with passes.
    ///
    /// # Panics
    /// When one does.
    pub fn chain(data: &[u8]) {
        let text = String::from_utf8_lossy(data);
        for form in [Form::Json, Form::Csv] {
            text.lines().for_each(|line| drop(Link::read(form, line)));
        }
        let told = text.replace(['\n', '\r'], " ");
        let (mut head, mut verifier) = (Head::default(), Verifier::default());
        let lines = [head.link(Form::Json, &told), head.link(Form::Json, "{}")];
        for line in &lines {
            assert_eq!(verifier.line(Form::Json, line.trim_end_matches('\n')), Ok(()), "{line:?}");
        }
        assert_eq!(verifier.end(&head), Ok(()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chain(form: Form, count: usize) -> Vec<String> {
        let mut head = Head::default();
        let told = |n: usize| match form {
            Form::Json => format!("{{\"to\":\"+49{n}\",\"hash\":\"x\"}}"),
            Form::Csv => format!("2026,\"a, \"\"b\"\"\",+49{n}"),
        };
        (0..count).map(|n| head.link(form, &told(n)).trim_end().to_owned()).collect()
    }

    fn verdict(form: Form, lines: &[String]) -> Result<u64, Flaw> {
        let mut verifier = Verifier::default();
        for line in lines {
            verifier.line(form, line)?;
        }
        Ok(verifier.records())
    }

    #[test]
    fn whatever_is_done_to_a_record_is_named() {
        for form in [Form::Json, Form::Csv] {
            let whole = chain(form, 6);
            assert_eq!(verdict(form, &whole), Ok(6));
            assert_eq!(verdict(form, &whole[3..]), Ok(3), "what was before is not here");
            let with = |change: &dyn Fn(&mut Vec<String>)| {
                let mut lines = whole.clone();
                change(&mut lines);
                verdict(form, &lines)
            };
            assert_eq!(with(&|l| l[2] = l[2].replace("+492", "+493")), Err(Flaw::Changed { n: 3 }));
            assert_eq!(with(&|l| drop(l.remove(2))), Err(Flaw::Missing { from: 3, to: 3 }));
            assert_eq!(with(&|l| drop(l.drain(0..2))), Ok(4));
            assert_eq!(with(&|l| drop(l.drain(1..4))), Err(Flaw::Missing { from: 2, to: 4 }));
            assert_eq!(with(&|l| l.swap(2, 3)), Err(Flaw::Missing { from: 3, to: 3 }));
            assert_eq!(with(&|l| l.push(l[1].clone())), Err(Flaw::Reordered { n: 2, awaited: 7 }));
            assert_eq!(with(&|l| l[4].clear()), Err(Flaw::Unreadable));
            // One that was made new, own hash and all: the next gives it away.
            let mut forged = Head { n: 2, hash: Link::read(form, &whole[1]).unwrap().hash };
            let forged = forged.link(form, "7").trim_end().to_owned();
            assert_eq!(with(&|l| l[2] = forged.clone()), Err(Flaw::Replaced { n: 3 }));
            // And so does the state when it is the newest.
            let (mut verifier, last) = (Verifier::default(), Link::read(form, &whole[5]).unwrap());
            whole[..5].iter().for_each(|line| verifier.line(form, line).unwrap());
            let head = Head { n: 6, hash: last.hash };
            assert_eq!(verifier.end(&head), Err(Flaw::Missing { from: 6, to: 6 }));
            verifier.line(form, &whole[5]).unwrap();
            assert_eq!(verifier.end(&head), Ok(()));
            assert_eq!(Head::parse(&head.to_string()), Some(head));
        }
    }

    #[test]
    fn a_head_that_is_none_is_refused() {
        for bad in ["", "1", "1 ", "x 00", "1 zz", &format!("-1 {}", "0".repeat(64)), &format!("1 {}", "A".repeat(64))]
        {
            assert_eq!(Head::parse(bad), None, "{bad}");
        }
    }
}

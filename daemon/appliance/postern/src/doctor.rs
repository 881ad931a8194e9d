//! `postern doctor`: is this machine fit for the work? Each check has a verdict, says what it means, and names the command that mends it.
//!
//! Works without a daemon, and without a configuration as far as that goes. What is looked at is collected in one place ([`collect`]);
//! what it means is decided by plain functions over text ([`machine`], [`ours`]), so that each can be shown good and bad samples.

mod collect;
mod machine;
mod ours;

use std::{fmt::Write as _, path::Path};

use serde::Serialize;
use serde_json::json;

use crate::{Failure, print};

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Verdict {
    /// Cannot be said of this machine, or of this configuration.
    NotApplicable,
    /// As it should be.
    Ok,
    /// Works, and will hurt under load or one day.
    Warn,
    /// Does not work.
    Bad,
}

/// What one check found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Finding {
    /// What was looked at.
    check: String,
    verdict: Verdict,
    /// What is there.
    found: String,
    /// What follows from it; empty when all is well.
    means: String,
    /// The command or the change that mends it; empty when all is well.
    mend: String,
}

impl Finding {
    fn ok(check: impl Into<String>, found: impl Into<String>) -> Self {
        Self::new(check, Verdict::Ok, found, "", "")
    }

    fn not_applicable(check: impl Into<String>, found: impl Into<String>) -> Self {
        Self::new(check, Verdict::NotApplicable, found, "", "")
    }

    fn warn(
        check: impl Into<String>,
        found: impl Into<String>,
        means: impl Into<String>,
        mend: impl Into<String>,
    ) -> Self {
        Self::new(check, Verdict::Warn, found, means, mend)
    }

    fn bad(
        check: impl Into<String>,
        found: impl Into<String>,
        means: impl Into<String>,
        mend: impl Into<String>,
    ) -> Self {
        Self::new(check, Verdict::Bad, found, means, mend)
    }

    fn new(
        check: impl Into<String>,
        verdict: Verdict,
        found: impl Into<String>,
        means: impl Into<String>,
        mend: impl Into<String>,
    ) -> Self {
        let (check, found, means, mend) = (check.into(), found.into(), means.into(), mend.into());
        Self { check, verdict, found, means, mend }
    }
}

/// Looks at everything and tells it. `socket`: of a daemon that may run.
pub(crate) async fn run(file: &Path, socket: &Path, as_json: bool) -> Result<(), Failure> {
    let findings = examine(file, socket).await;
    let worst = findings.iter().map(|finding| finding.verdict).max().unwrap_or(Verdict::Ok);
    let told = json!({ "verdict": worst.max(Verdict::Ok), "findings": findings });
    print(as_json, &told, |_| drawn(&findings))?;
    match worst {
        Verdict::NotApplicable | Verdict::Ok => Ok(()),
        Verdict::Warn => Err(Failure::Warned),
        Verdict::Bad => Err(Failure::Problem(String::new())),
    }
}

/// All findings, in the order in which a person looks.
pub(crate) async fn examine(file: &Path, socket: &Path) -> Vec<Finding> {
    let seen = collect::machine(socket);
    let mut findings = machine::all(&seen);
    match collect::configuration(file) {
        Ok(config) => {
            let of_config = collect::ours(&config, &seen).await;
            findings.extend(ours::all(&config, &seen, &of_config));
        }
        Err(finding) => findings.push(finding),
    }
    findings
}

pub(crate) fn drawn(findings: &[Finding]) -> String {
    let widest = findings.iter().map(|finding| finding.check.chars().count()).max().unwrap_or(0);
    let mut out = String::new();
    for Finding { check, verdict, found, means, mend } in findings {
        let word = match verdict {
            Verdict::NotApplicable => "-",
            Verdict::Ok => "ok",
            Verdict::Warn => "warn",
            Verdict::Bad => "BAD",
        };
        // Writing into a String cannot fail.
        _ = writeln!(out, "{word:<5} {check:<widest$}  {}", postern_facts::text::plain(found));
        for (label, text) in [("", means), ("mend: ", mend)] {
            if !text.is_empty() {
                _ = writeln!(out, "{:1$}{label}{2}", "", widest + 8, postern_facts::text::plain(text));
            }
        }
    }
    let count = |wanted| findings.iter().filter(|finding| finding.verdict == wanted).count();
    _ = writeln!(out, "\n{} ok, {} to look at, {} bad", count(Verdict::Ok), count(Verdict::Warn), count(Verdict::Bad));
    out
}

#[cfg(test)]
mod tests;

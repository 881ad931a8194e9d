//! `postern route`: what would become of a number.

use std::fmt::Write;

use serde_json::Value;

use crate::{
    Failure,
    client::{Client, with_query},
    print,
    say::text,
};

pub(crate) async fn run(
    client: &Client,
    json: bool,
    number: &str,
    from: Option<&str>,
    caller: &str,
    at: Option<u64>,
) -> Result<(), Failure> {
    let mut asked = vec![("number", number), ("caller", caller)];
    asked.extend(from.map(|trunk| ("trunk", trunk)));
    let at = at.map(|at| at.to_string());
    asked.extend(at.as_deref().map(|at| ("at", at)));
    let told = client.get(&with_query("/v1/route", &asked)).await?;
    print(json, &told, render)
}

/// A time as a person writes it, in seconds since 1970.
pub(crate) fn time(text: &str) -> Result<u64, String> {
    let exact = text.parse::<jiff::Timestamp>();
    let local =
        || text.parse::<jiff::civil::DateTime>()?.to_zoned(jiff::tz::TimeZone::system()).map(|at| at.timestamp());
    let at = exact.or_else(|_| local()).map_err(|_| "want a time as 2026-12-24T20:00, or 2026-12-24T20:00+01:00")?;
    u64::try_from(at.as_second()).map_err(|_| "before 1970".into())
}

fn render(told: &Value) -> String {
    let mut out = String::new();
    // Writing into a String cannot fail.
    _ = writeln!(out, "{} dialed by {}", text(told, "dialed"), text(told, "from"));
    if told["emergency"] == true {
        _ = writeln!(out, "  an emergency call: no limit holds it");
    }
    steps(&mut out, &told["steps"], "  ");
    steps(&mut out, &told["headers"], "  header rule ");
    for schedule in told["schedules"].as_array().into_iter().flatten() {
        let state = if schedule["open"] == true { "open" } else { "closed" };
        _ = writeln!(out, "  schedule {} is {state}: {}", text(schedule, "name"), text(schedule, "reads"));
    }
    let (called, to) = (text(told, "called"), text(told, "to"));
    _ = match to.as_str() {
        "refused" => writeln!(out, "  {called} is refused (404): {}", text(told, "why")),
        _ => {
            writeln!(
                out,
                "  {called} goes to {to} by {} {}: {}",
                text(told, "table"),
                text(told, "entry"),
                text(told, "why")
            )
        }
    };
    for way in told["ways"].as_array().into_iter().flatten() {
        let group = match to.starts_with("group ") {
            true => format!(", priority {}, weight {}", way["priority"], way["weight"]),
            false if !text(way, "cost").is_empty() => format!(", cost {}", text(way, "cost")),
            false => String::new(),
        };
        _ = writeln!(out, "  trunk {} ({}{group})", text(way, "trunk"), text(way, "state"));
        steps(&mut out, &way["steps"], "    ");
        steps(&mut out, &way["headers"], "    header rule ");
        let caller = match text(way, "caller") {
            caller if caller.is_empty() => String::new(),
            caller => format!(" from {caller}"),
        };
        _ = writeln!(out, "    sends {}{caller}", text(way, "called"));
    }
    out
}

fn steps(out: &mut String, steps: &Value, indent: &str) {
    for step in steps.as_array().into_iter().flatten() {
        _ = writeln!(out, "{indent}{}", step.as_str().unwrap_or_default());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_step_has_its_line_and_odd_numbers_reach_the_daemon_whole() {
        let told = serde_json::json!({
            "dialed": "030123", "from": "users", "called": "+4930123", "steps": ["030123 becomes +4930123: 0 is national"],
            "to": "group out", "table": "route", "entry": "all", "why": "prefix \"+\"",
            "ways": [{"trunk": "acme", "state": "up", "priority": 0, "weight": 1, "called": "4930123", "caller": "1", "steps": [], "headers": ["account: X-Account"]}],
        });
        let want = "030123 dialed by users\n  030123 becomes +4930123: 0 is national\n  +4930123 goes to group out by route all: prefix \"+\"\n  \
                    trunk acme (up, priority 0, weight 1)\n    header rule account: X-Account\n    sends 4930123 from 1\n";
        assert_eq!(render(&told), want);
        let night = serde_json::json!({ "schedules": [{"name": "night", "open": false, "reads": "Thu 2026-12-24 20:00 Europe/Berlin"}],
            "to": "table t", "ways": [{"trunk": "acme", "state": "up", "cost": "0.01"}]});
        let told = render(&night);
        assert!(told.contains("  schedule night is closed: Thu 2026-12-24 20:00 Europe/Berlin\n"), "{told}");
        assert!(told.contains("  trunk acme (up, cost 0.01)\n"), "{told}");
        assert_eq!(time("2026-12-24T20:00+01:00"), Ok(1_798_138_800));
        assert_eq!(time("2026-12-24T19:00Z"), Ok(1_798_138_800));
        assert!(time("2026-12-24T20:00").is_ok());
        for bad in ["", "tomorrow", "1969-12-31T23:00Z", "2026-13-01T00:00"] {
            assert!(time(bad).is_err(), "{bad}");
        }
    }
}

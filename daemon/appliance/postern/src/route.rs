//! `postern route`: what would become of a number.

use std::fmt::Write;

use serde_json::Value;

use crate::{Failure, client::Client, print, say::text};

pub(crate) async fn run(
    client: &Client,
    json: bool,
    number: &str,
    from: Option<&str>,
    caller: &str,
) -> Result<(), Failure> {
    let mut path = format!("/v1/route?number={}&caller={}", escaped(number), escaped(caller));
    if let Some(trunk) = from {
        path.push_str(&format!("&trunk={}", escaped(trunk)));
    }
    let told = client.get(&path).await?;
    print(json, &told, render)
}

/// A value of a query: whatever is not plainly harmless by its bytes.
fn escaped(value: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_');
    value.bytes().map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}

fn render(told: &Value) -> String {
    let mut out = String::new();
    // Writing into a String cannot fail.
    _ = writeln!(out, "{} dialed by {}", text(told, "dialed"), text(told, "from"));
    if told["emergency"] == true {
        _ = writeln!(out, "  an emergency call: no limit holds it");
    }
    steps(&mut out, &told["steps"], "  ");
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
            false => String::new(),
        };
        _ = writeln!(out, "  trunk {} ({}{group})", text(way, "trunk"), text(way, "state"));
        steps(&mut out, &way["steps"], "    ");
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
            "ways": [{"trunk": "acme", "state": "up", "priority": 0, "weight": 1, "called": "4930123", "caller": "1", "steps": []}],
        });
        let want = "030123 dialed by users\n  030123 becomes +4930123: 0 is national\n  +4930123 goes to group out by route all: prefix \"+\"\n  \
                    trunk acme (up, priority 0, weight 1)\n    sends 4930123 from 1\n";
        assert_eq!(render(&told), want);
        assert_eq!(escaped("+49 é&x=1#"), "%2B49%20%C3%A9%26x%3D1%23");
    }
}

//! A call as a ladder: who, when, which way, in which order. A pure function from the answer of `/v1/calls/{sid}`.

use std::fmt::Write;

use comfy_table::{Table, presets::NOTHING};
use postern_types::UnixMicros;
use serde_json::Value;

use crate::say::{by, cause, clock, ms, negotiated, party, phrase, text};

/// Which way a rung goes.
#[derive(Clone, Copy, PartialEq)]
enum Rung {
    CallerToUs,
    UsToCaller,
    UsToCallee,
    CalleeToUs,
    Ours,
}

/// The whole story.
pub(crate) fn render(told: &Value) -> String {
    let legs = told["legs"].as_array().map_or(&[][..], Vec::as_slice);
    let facts = told["facts"].as_array().map_or(&[][..], Vec::as_slice);
    let call = told["call"].as_str().unwrap_or_default();
    let first = legs.iter().find(|leg| leg["sid"] == call);
    let start = first.map(|leg| &leg["created"]).or(facts.first().map(|fact| &fact["at"]));
    let start = UnixMicros(start.and_then(Value::as_u64).unwrap_or(0));
    // Each leg beyond the first has a number, in the order in which they came up.
    let mut others: Vec<&str> = legs.iter().filter_map(|leg| leg["sid"].as_str()).filter(|sid| *sid != call).collect();
    for sid in facts.iter().filter_map(|fact| fact["leg"].as_str()) {
        if sid != call && !others.contains(&sid) {
            others.push(sid);
        }
    }

    let mut out = String::new();
    header(&mut out, call, first, start);
    _ = writeln!(out, "\n      ms  {:<9}{:^9}{:>9}", "caller", "postern", "callee");
    let offered = facts.iter().any(|fact| fact["type"] == "call.offered");
    let mut digits = std::collections::BTreeMap::<&str, u64>::new();
    for fact in facts {
        let kind = fact["type"].as_str().unwrap_or_default();
        let leg = fact["leg"].as_str().unwrap_or(call);
        match kind {
            "leg.digit" => *digits.entry(leg).or_default() += 1,
            // Told in the table below.
            "media.quality" => {}
            _ => {
                let after = UnixMicros(fact["at"].as_u64().unwrap_or(0)).since(start).as_millis();
                let name = whose(leg, call, &others);
                let rung = drawn(rung(kind, leg == call, offered, &fact["data"]));
                let words = if name.is_empty() {
                    phrase(kind, &fact["data"])
                } else {
                    format!("{name}: {}", phrase(kind, &fact["data"]))
                };
                _ = writeln!(out, "{after:>8}  {rung}  {words}");
            }
        }
    }
    if facts.is_empty() {
        out.push_str("          nothing was kept of what happened; the record follows\n");
    }
    for (leg, count) in &digits {
        _ = writeln!(out, "\n{count} digits from {}", named(leg, call, &others));
    }
    ending(&mut out, facts, first);
    audio(&mut out, legs, facts, call, &others);
    out
}

fn header(out: &mut String, call: &str, first: Option<&Value>, start: UnixMicros) {
    _ = writeln!(out, "call {call}");
    let Some(leg) = first else { return };
    let name = match text(leg, "from_name") {
        name if name.is_empty() => name,
        name => format!(" \"{name}\""),
    };
    _ = writeln!(
        out,
        "from {}{name} to {}, {} ({})",
        text(leg, "from"),
        text(leg, "to"),
        text(leg, "direction"),
        party(&leg["party"])
    );
    let status = text(leg, "status");
    let talk = match (leg["answered"].as_u64(), leg["ended"].as_u64()) {
        (Some(answered), Some(ended)) => format!(", {} of talk", ms(ended.saturating_sub(answered) / 1000)),
        _ => String::new(),
    };
    _ = writeln!(out, "at {} UTC, {status}{talk}", clock(start));
}

fn rung(kind: &str, of_first: bool, offered: bool, data: &Value) -> Rung {
    // The first leg called in, or was made by us: then we speak first on it, too.
    let (towards_us, from_us) =
        if of_first { (Rung::CallerToUs, Rung::UsToCaller) } else { (Rung::CalleeToUs, Rung::UsToCallee) };
    match kind {
        "call.offered" | "leg.held" | "leg.resumed" | "media.latched" | "media.foreign" => towards_us,
        "leg.dialed" => from_us,
        "leg.ringing" | "leg.answered" if of_first && offered => from_us,
        "leg.ringing" | "leg.answered" | "leg.reoffer_refused" => towards_us,
        "leg.ended" if data["by"] == "peer" => towards_us,
        "leg.ended" | "play.started" => from_us,
        _ => Rung::Ours,
    }
}

fn drawn(rung: Rung) -> &'static str {
    match rung {
        Rung::CallerToUs => "   |------->|        |",
        Rung::UsToCaller => "   |<-------|        |",
        Rung::UsToCallee => "   |        |------->|",
        Rung::CalleeToUs => "   |        |<-------|",
        Rung::Ours => "   |        *        |",
    }
}

/// The leg in front of a rung's words, when the rung does not say it already.
fn whose(leg: &str, call: &str, others: &[&str]) -> String {
    match others.iter().position(|sid| *sid == leg) {
        Some(at) if others.len() > 1 && leg != call => format!("callee {}", at + 1),
        _ => String::new(),
    }
}

fn named(leg: &str, call: &str, others: &[&str]) -> String {
    match others.iter().position(|sid| *sid == leg) {
        _ if leg == call => "caller".into(),
        Some(at) if others.len() > 1 => format!("callee {}", at + 1),
        _ => "callee".into(),
    }
}

fn ending(out: &mut String, facts: &[Value], first: Option<&Value>) {
    let end = facts.iter().rfind(|fact| fact["type"] == "call.ended").map(|fact| &fact["data"]);
    let end = end.or(first.filter(|leg| leg["ended"].is_u64()));
    match end {
        Some(end) => {
            let word = text(end, if end["by"].is_string() { "by" } else { "ended_by" });
            _ = writeln!(out, "\nreleased by {} ({word}): {}", by(end), cause(end));
        }
        None => out.push_str("\nlive\n"),
    }
}

fn audio(out: &mut String, legs: &[Value], facts: &[Value], call: &str, others: &[&str]) {
    let mut table = Table::new();
    table.load_style(NOTHING);
    table.set_header(["LEG", "AUDIO", "RECEIVED", "SENT", "LOST", "LOSS", "JITTER", "MOS"]);
    let mut rows = 0;
    for leg in legs {
        let sid = leg["sid"].as_str().unwrap_or_default();
        let name = named(sid, call, others);
        if leg["media"].is_object() {
            _ = writeln!(out, "{name:<9} {}", negotiated(&leg["media"]));
        }
        let last = facts.iter().rfind(|fact| fact["type"] == "media.quality" && fact["leg"] == sid);
        let report = last.map(|fact| &fact["data"]["report"]).unwrap_or(&leg["quality"]);
        let Some(received) = report["packets_received"].as_u64() else { continue };
        let lost = report["packets_lost"].as_u64().unwrap_or(0);
        let loss = if received + lost == 0 { 0.0 } else { 100.0 * lost as f64 / (received + lost) as f64 };
        let mos = report["mos"].as_f64().map_or("-".into(), |mos| format!("{mos:.2}"));
        table.add_row([
            name,
            text(&leg["media"], "codec"),
            received.to_string(),
            text(report, "packets_sent"),
            lost.to_string(),
            format!("{loss:.1}%"),
            format!("{:.1} ms", report["jitter_ms"].as_f64().unwrap_or(0.0)),
            mos,
        ]);
        rows += 1;
    }
    if rows > 0 {
        out.push('\n');
        for line in table.lines() {
            _ = writeln!(out, "{}", line.trim());
        }
    }
}

#[cfg(test)]
mod tests;

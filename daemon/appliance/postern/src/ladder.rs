//! A call as a ladder: who, when, which way, in which order. A pure function from the answer of `/v1/calls/{sid}`.

use std::fmt::Write;

use comfy_table::{Table, presets::NOTHING};
use postern_facts::text::took;
use postern_types::UnixMicros;
use serde_json::Value;

use crate::{
    say::{cause, date, negotiated, party, phrase, text},
    why::{End, why},
};

/// Columns before a rung's words.
const MARGIN: usize = 31;
/// Words are not squeezed into less than this, however narrow the terminal.
const WORDS_MIN: usize = 24;

/// Where a rung stands, and which way it goes.
#[derive(Clone, Copy, PartialEq)]
enum Rung {
    CallerToUs,
    UsToCaller,
    UsToCallee,
    CalleeToUs,
    /// About one leg, without a direction.
    OnCaller,
    OnCallee,
    /// About the call.
    Ours,
}

/// The whole story, in lines no longer than `width` where one is given.
pub(crate) fn render(told: &Value, width: Option<usize>) -> String {
    let legs = told["legs"].as_array().map_or(&[][..], Vec::as_slice);
    let facts = told["facts"].as_array().map_or(&[][..], Vec::as_slice);
    let call = told["call"].as_str().unwrap_or_default();
    let first = legs.iter().find(|leg| leg["sid"] == call);
    let start = first.map(|leg| &leg["created"]).or(facts.first().map(|fact| &fact["at"]));
    let start = UnixMicros(start.and_then(Value::as_u64).unwrap_or(0));
    let names = Names::new(call, legs, facts);

    let mut out = String::new();
    header(&mut out, call, first, start);
    _ = writeln!(out, "\n      ms {:<9}{:^9}{:>9}", names.of_first, "postern", "callee");
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
                let rung = drawn(rung(kind, leg == call, names.offered, &fact["data"]));
                let words = match names.numbered(leg) {
                    Some(name) => format!("{name}: {}", phrase(kind, &fact["data"])),
                    None => phrase(kind, &fact["data"]),
                };
                let mut rows = wrapped(&words, width).into_iter();
                _ = writeln!(out, "{after:>8} {rung}  {}", rows.next().unwrap_or_default());
                for row in rows {
                    _ = writeln!(out, "{:>8} {}    {row}", "", drawn_empty());
                }
            }
        }
    }
    if facts.is_empty() {
        out.push_str("         nothing was kept of what happened; the record follows\n");
    }
    for (leg, count) in &digits {
        let noun = if *count == 1 { "digit" } else { "digits" };
        _ = writeln!(out, "\n{count} {noun} from the {}", names.of(leg));
    }
    ending(&mut out, facts, first, &names, width);
    for leg in legs {
        about(&mut out, leg, facts, &names, width);
    }
    figures(&mut out, legs, facts, &names);
    out
}

/// What the legs are called: `caller` or, when we called first, `called`; then `callee`, or `callee 1`, `callee 2`, ….
struct Names<'a> {
    call: &'a str,
    of_first: &'static str,
    offered: bool,
    /// Each leg beyond the first, in the order in which they came up.
    others: Vec<&'a str>,
}

impl<'a> Names<'a> {
    fn new(call: &'a str, legs: &'a [Value], facts: &'a [Value]) -> Self {
        let mut others: Vec<&str> = Vec::new();
        let of_facts = facts.iter().filter_map(|fact| fact["leg"].as_str());
        for sid in of_facts.chain(legs.iter().filter_map(|leg| leg["sid"].as_str())) {
            if sid != call && !others.contains(&sid) {
                others.push(sid);
            }
        }
        let created = facts.iter().any(|fact| fact["type"] == "call.created");
        Self { call, of_first: if created { "called" } else { "caller" }, offered: !created, others }
    }

    /// The name in front of a rung's words, when the rung does not say it already.
    fn numbered(&self, leg: &str) -> Option<String> {
        let at = self.others.iter().position(|sid| *sid == leg)?;
        (self.others.len() > 1).then(|| format!("callee {}", at + 1))
    }

    fn of(&self, leg: &str) -> String {
        if leg == self.call { self.of_first.into() } else { self.numbered(leg).unwrap_or_else(|| "callee".into()) }
    }
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
        "from {}{name} to {}, {}, {}",
        text(leg, "from"),
        text(leg, "to"),
        text(leg, "direction"),
        party(&leg["party"])
    );
    let status = text(leg, "status");
    let talk = match (leg["answered"].as_u64(), leg["ended"].as_u64()) {
        (Some(answered), Some(ended)) => format!(", {} of talk", took(ended.saturating_sub(answered) / 1000)),
        _ => String::new(),
    };
    _ = writeln!(out, "{} UTC, {status}{talk}", date(start));
}

fn rung(kind: &str, of_first: bool, offered: bool, data: &Value) -> Rung {
    // The first leg called in, or was made by us: then we speak first on it, too.
    let (towards_us, from_us, on) = match of_first {
        true => (Rung::CallerToUs, Rung::UsToCaller, Rung::OnCaller),
        false => (Rung::CalleeToUs, Rung::UsToCallee, Rung::OnCallee),
    };
    match kind {
        "call.offered" | "leg.held" | "leg.resumed" | "media.latched" | "media.foreign" => towards_us,
        "leg.dialed" => from_us,
        "leg.ringing" | "leg.answered" if of_first && offered => from_us,
        "leg.ringing" | "leg.answered" | "leg.reoffer_refused" => towards_us,
        "leg.ended" if data["by"] == "peer" => towards_us,
        "leg.ended" | "play.started" => from_us,
        _ if kind.starts_with("leg.") || kind.starts_with("media.") || kind.starts_with("play.") => on,
        _ => Rung::Ours,
    }
}

fn drawn(rung: Rung) -> &'static str {
    match rung {
        Rung::CallerToUs => "  |------->|        |",
        Rung::UsToCaller => "  |<-------|        |",
        Rung::UsToCallee => "  |        |------->|",
        Rung::CalleeToUs => "  |        |<-------|",
        Rung::OnCaller => "  |   *    |        |",
        Rung::OnCallee => "  |        |    *   |",
        Rung::Ours => "  |        *        |",
    }
}

fn drawn_empty() -> &'static str {
    "  |        |        |"
}

/// Words in rows that fit beside the ladder; the rows after the first are two columns shorter.
fn wrapped(words: &str, width: Option<usize>) -> Vec<String> {
    let Some(width) = width else { return vec![words.to_owned()] };
    let room = width.saturating_sub(MARGIN + 2).max(WORDS_MIN);
    let mut rows = vec![String::new()];
    for word in words.split(' ') {
        let row = rows.last_mut().expect("there is one from the start");
        if !row.is_empty() && row.chars().count() + 1 + word.chars().count() > room {
            rows.push(word.to_owned());
            continue;
        }
        if !row.is_empty() {
            row.push(' ');
        }
        row.push_str(word);
    }
    rows
}

fn ending(out: &mut String, facts: &[Value], first: Option<&Value>, names: &Names, width: Option<usize>) {
    let end = facts.iter().rfind(|fact| fact["type"] == "call.ended").map(|fact| &fact["data"]);
    let end = end.or(first.filter(|leg| leg["ended"].is_u64()));
    let Some(end) = end else {
        out.push_str("\nlive\n");
        return;
    };
    // Seen from the first leg.
    let who = match end["by"].as_str().or(end["ended_by"].as_str()) {
        Some("peer") => format!("the {}", names.of_first),
        Some("other_party") => "the callee".into(),
        Some("router") => "the call's program or route".into(),
        Some("operator") => "an operator".into(),
        Some("postern") => "this appliance".into(),
        _ => "somebody".into(),
    };
    _ = writeln!(out, "\nreleased by {who}: {}", cause(end));
    let end = End {
        by: end["by"].as_str().or(end["ended_by"].as_str()).unwrap_or_default(),
        status: end["cause"]["status"].as_u64().and_then(|status| status.try_into().ok()).unwrap_or(0),
        q850: end["cause"]["q850"].as_u64().and_then(|cause| cause.try_into().ok()),
        text: end["cause"]["text"].as_str().unwrap_or_default(),
    };
    for (row, words) in why(end).iter().flat_map(|words| wrapped(words, width.map(|width| width + MARGIN))).enumerate()
    {
        _ = writeln!(out, "{}{words}", if row > 0 { "  " } else { "" });
    }
}

/// A leg's lines: who, its name at the other end, what was agreed, and what is odd about its audio.
fn about(out: &mut String, leg: &Value, facts: &[Value], names: &Names, width: Option<usize>) {
    let sid = leg["sid"].as_str().unwrap_or_default();
    let of_it = |fact: &&Value| fact["leg"].as_str().unwrap_or(names.call) == sid;
    let mut told = vec![format!("{}: {}, {sid}", names.of(sid), party(&leg["party"]))];
    let call_id = facts.iter().filter(of_it).find_map(|fact| fact["data"]["sip_call_id"].as_str());
    if let Some(call_id) = call_id.filter(|call_id| !call_id.is_empty()) {
        told.push(format!("SIP Call-ID {}", postern_facts::text::plain(call_id)));
    }
    if leg["media"].is_object() {
        told.push(format!("audio {}", negotiated(&leg["media"])));
    }
    let report = report(leg, facts);
    told.extend(far(report));
    told.extend(bursts(report));
    let expected = leg["media"].is_object() && leg["media"]["direction"].as_str().is_none_or(|d| d.starts_with("send"));
    if expected && report["packets_received"] == 0 {
        told.push(format!(
            "no audio was ever received from it (it said {}): a firewall or a wrong address on that side, or it sent nothing",
            text(&leg["media"], "remote")
        ));
    }
    for (at, line) in told.iter().enumerate() {
        // As beside the ladder, but from the second column.
        let room = width.map(|width| width + MARGIN - 2);
        for (row, words) in wrapped(line, room).iter().enumerate() {
            let indent = if row > 0 {
                "    "
            } else if at > 0 {
                "  "
            } else {
                ""
            };
            _ = writeln!(out, "{indent}{words}");
        }
    }
}

/// What its end reports of our audio.
fn far(report: &Value) -> Option<String> {
    let far = report["far"].as_object()?;
    let n = |name: &str| far.get(name).and_then(Value::as_f64);
    let round_trip = report["round_trip_ms"].as_f64().map_or(String::new(), |ms| format!(", round trip {ms:.0} ms"));
    let told = n("told_mos").map_or(String::new(), |mos| format!(" (it says {mos:.1})"));
    Some(format!(
        "its end reports: {} lost, jitter {:.1} ms{round_trip}, MOS {}{told}",
        n("packets_lost").unwrap_or(0.0),
        n("jitter_ms").unwrap_or(0.0),
        score(&report["far"]["mos"]),
    ))
}

/// How its losses lie together, if they do.
fn bursts(report: &Value) -> Option<String> {
    let n = |name: &str| report["bursts"][name].as_f64().unwrap_or(0.0);
    let words = format!(
        "losses in bursts of {:.0} ms, {:.0} % lost in them, {:.1} % between them",
        n("burst_ms"),
        n("burst_density_percent"),
        n("gap_density_percent")
    );
    (n("burst_ms") > 0.0).then_some(words)
}

/// A mean opinion score.
fn score(mos: &Value) -> String {
    mos.as_f64().map_or("-".into(), |mos| format!("{mos:.2}"))
}

/// The latest figures of a leg: the final ones, or those of the moment.
fn report<'a>(leg: &'a Value, facts: &'a [Value]) -> &'a Value {
    let last = facts.iter().rfind(|fact| fact["type"] == "media.quality" && fact["leg"] == leg["sid"]);
    last.map_or(&leg["quality"], |fact| &fact["data"]["report"])
}

fn figures(out: &mut String, legs: &[Value], facts: &[Value], names: &Names) {
    let mut table = Table::new();
    table.load_style(NOTHING);
    table.set_header(["LEG", "CODEC", "RECEIVED", "SENT", "LOST", "DROPPED", "JITTER", "MOS", "FIRST RTP"]);
    let mut rows = 0;
    // A leg that never agreed on audio has no figures worth a row.
    for leg in legs.iter().filter(|leg| leg["media"].is_object()) {
        let report = report(leg, facts);
        let Some(received) = report["packets_received"].as_u64() else { continue };
        let n = |name: &str| report[name].as_u64().unwrap_or(0);
        let lost = n("packets_lost");
        let loss = if received + lost == 0 { 0.0 } else { 100.0 * lost as f64 / (received + lost) as f64 };
        table.add_row([
            names.of(leg["sid"].as_str().unwrap_or_default()),
            text(&leg["media"], "codec"),
            received.to_string(),
            text(report, "packets_sent"),
            format!("{lost} ({loss:.1}%)"),
            (n("dropped_foreign") + n("dropped_bad")).to_string(),
            format!("{:.1} ms", report["jitter_ms"].as_f64().unwrap_or(0.0)),
            score(&report["mos"]),
            report["first_packet_ms"].as_u64().map_or("never".into(), took),
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

//! `postern diff NEW.yaml`: what another configuration changes, key by key, and with `--replay` which of the latest calls would have gone
//! elsewhere. Nothing is changed by it, and no call is touched.
//!
//! A replay takes the INVITEs that the daemon keeps in memory (`trace`), and puts what they dialed through the routing of both
//! configurations, at the time at which they came: number rules, routes, tables, schedules, groups. What only happens with a call under way
//! (limits, dead trunks, codecs, documents) is not in it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write,
    path::Path,
};

use clap::Args;
use postern_config::Config;
use postern_router::{Trial, TrialFrom, TrialOf, try_number};
use postern_sip::Message;
use postern_types::{CallSid, TrunkName, UnixMicros, leg::Party};
use serde_json::{Value, json};

use crate::{
    Failure, check,
    client::Client,
    print,
    say::{clock, short},
};

/// Changed keys that are shown to a person at most.
const SHOWN_MAX: usize = 200;
/// Finished legs that are looked through for who called.
const LEGS_MAX: usize = 10_000;

/// What is compared.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The other file.
    new: std::path::PathBuf,
    /// Put the INVITEs that the daemon remembers through both.
    #[arg(long)]
    replay: bool,
}

/// One difference.
#[derive(Debug, PartialEq)]
struct Change {
    key: String,
    words: String,
}

/// A call that came, as it asked.
#[derive(Debug, Clone, PartialEq)]
struct Recorded {
    call: String,
    at: UnixMicros,
    of: TrialOf,
}

/// What became of it by one configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Outcome {
    /// `trunk acme`, `refused`, …
    to: String,
    /// The row, or why there is none.
    by: String,
    /// Trunk, number and caller that are sent, in their order.
    sends: Vec<(String, String, String)>,
}

/// Compares, and replays with `client` where that is wanted.
pub(crate) async fn run(
    wanted: &Arguments,
    old_file: &Path,
    client: impl FnOnce() -> Result<Client, Failure>,
    as_json: bool,
) -> Result<(), Failure> {
    let (old, new) = (check::whole(old_file)?, check::whole(&wanted.new)?);
    let changes = changes(&old, &new);
    let told_changes: Vec<_> = changes.iter().map(|c| json!({ "key": c.key, "words": c.words })).collect();
    let mut told = json!({ "old": old_file, "new": wanted.new, "changes": told_changes });
    if wanted.replay {
        let client = client()?;
        let trace = client.get("/v1/trace?after=0").await?;
        let calls = client.get(&format!("/v1/calls?finished={LEGS_MAX}")).await?;
        told["replay"] = replay(&old, &new, &recorded(&trace, &calls));
    }
    print(as_json, &told, render)
}

/// Every key that differs.
fn changes(old: &Config, new: &Config) -> Vec<Change> {
    let value = |config: &Config| serde_json::to_value(config).unwrap_or_default();
    let mut found = Vec::new();
    walk("", &value(old), &value(new), &mut found);
    // Secrets are written alike, and the rows of tables are not written at all: these differ unseen.
    let mut unseen = |key: String, differs: bool, words: &str| {
        let below = format!("{key}.");
        if differs && !found.iter().any(|change: &Change| change.key == key || change.key.starts_with(&below)) {
            found.push(Change { key, words: words.to_owned() });
        }
    };
    let secret = "a secret, or a file that it names, is another (not shown)";
    for (name, trunk) in &old.trunks {
        unseen(format!("trunks.{name}"), new.trunks.get(name).is_some_and(|other| other != trunk), secret);
    }
    for (name, user) in &old.users {
        unseen(format!("users.{name}"), new.users.get(name).is_some_and(|other| other != user), secret);
    }
    for (name, account) in &old.accounts {
        unseen(format!("accounts.{name}"), new.accounts.get(name).is_some_and(|other| other != account), secret);
    }
    for (name, table) in &old.tables {
        if let Some(other) = new.tables.get(name) {
            let words = format!("other rows: {} before, {} now", table.rows.len(), other.rows.len());
            unseen(format!("tables.{name}"), other.rows != table.rows, &words);
        }
    }
    unseen("control_plane".into(), old.control_plane != new.control_plane, secret);
    found
}

fn walk(path: &str, old: &Value, new: &Value, found: &mut Vec<Change>) {
    let below = |key: &str| if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
    match (old, new) {
        _ if old == new => {}
        (Value::Object(before), Value::Object(after)) => {
            let keys: BTreeSet<_> = before.keys().chain(after.keys()).collect();
            for key in keys {
                let none = Value::Null;
                walk(&below(key), before.get(key).unwrap_or(&none), after.get(key).unwrap_or(&none), found);
            }
        }
        (Value::Array(before), Value::Array(after)) if are_named(before) && are_named(after) => {
            let by_name = |list: &[Value]| -> BTreeMap<String, Value> {
                list.iter().map(|item| (item["name"].as_str().unwrap_or_default().to_owned(), item.clone())).collect()
            };
            let order = |list: &[Value], other: &BTreeMap<String, Value>| -> Vec<String> {
                let names = list.iter().map(|item| item["name"].as_str().unwrap_or_default().to_owned());
                names.filter(|name| other.contains_key(name)).collect()
            };
            let (was, is) = (by_name(before), by_name(after));
            let names: BTreeSet<_> = was.keys().chain(is.keys()).collect();
            for name in names {
                let none = Value::Null;
                walk(&below(name), was.get(name).unwrap_or(&none), is.get(name).unwrap_or(&none), found);
            }
            if order(before, &is) != order(after, &was) {
                let words = format!("another order: {}", order(after, &was).join(", "));
                found.push(Change { key: path.to_owned(), words });
            }
        }
        (Value::Null, after) => {
            found.push(Change { key: path.to_owned(), words: format!("new: {}", short_json(after)) })
        }
        (before, Value::Null) => {
            found.push(Change { key: path.to_owned(), words: format!("gone: {}", short_json(before)) });
        }
        (before, after) => {
            let words = format!("{} becomes {}", short_json(before), short_json(after));
            found.push(Change { key: path.to_owned(), words });
        }
    }
}

fn are_named(list: &[Value]) -> bool {
    list.iter().all(|item| item["name"].is_string())
}

/// A value as far as a line has room for it.
fn short_json(value: &Value) -> String {
    /// Characters of it at most.
    const CHARS_MAX: usize = 120;
    let text = match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    match text.char_indices().nth(CHARS_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

/// The first INVITE of each call whose messages are kept, with who called.
fn recorded(trace: &Value, calls: &Value) -> Vec<Recorded> {
    let parties: BTreeMap<&str, Party> = calls["calls"].as_array().into_iter().flatten().filter_map(party).collect();
    let mut seen = BTreeSet::new();
    let mut all = Vec::new();
    for message in trace["messages"].as_array().into_iter().flatten() {
        let Some(call) = message["call"].as_str().filter(|_| message["way"] == "in") else { continue };
        // What comes first decides; another INVITE of the same call is a new offer.
        let Some(party) = parties.get(call) else { continue };
        let Some((dialed, caller)) = message["text"].as_str().and_then(invite) else { continue };
        if !seen.insert(call) {
            continue;
        }
        let (from, caller) = match party {
            Party::Trunk { trunk } => (TrialFrom::Trunk(trunk.clone()), caller),
            Party::User { user } => (TrialFrom::User, user.to_string()),
            Party::Uri { .. } => continue,
        };
        let at = UnixMicros(message["at"].as_u64().unwrap_or(0));
        all.push(Recorded { call: call.to_owned(), at, of: TrialOf { from, dialed, caller, at: Some(at) } });
    }
    all
}

/// The first leg of a call that came, and who stands there.
fn party(leg: &Value) -> Option<(&str, Party)> {
    let sid = leg["sid"].as_str().filter(|_| leg["direction"] == "inbound")?;
    sid.parse::<CallSid>().ok()?;
    Some((sid, serde_json::from_value(leg["party"].clone()).ok()?))
}

/// What an INVITE dials, and who it says calls.
fn invite(text: &str) -> Option<(String, String)> {
    let Ok(Message::Request(request)) = Message::parse(text.as_bytes()) else { return None };
    if !text.starts_with("INVITE ") {
        return None;
    }
    let dialed = request.uri().user_decoded()?.into_owned();
    let from =
        request.headers.from().ok().and_then(|from| from.uri().ok()?.user_decoded().map(|user| user.into_owned()));
    Some((dialed, from.unwrap_or_default()))
}

fn outcome(config: &Config, recorded: &Recorded) -> Outcome {
    match try_number(config, &recorded.of, recorded.at, &|_: &TrunkName| "up") {
        Ok(Trial { to, table, entry, why, ways, .. }) => {
            let by = if to == "refused" { why } else { format!("{table} {entry}") };
            let sends = ways.into_iter().map(|way| (way.trunk, way.called, way.caller)).collect();
            Outcome { to, by, sends }
        }
        Err(why) => Outcome { to: "a stranger's".into(), by: why, sends: Vec::new() },
    }
}

/// Which of them would have gone elsewhere.
fn replay(old: &Config, new: &Config, calls: &[Recorded]) -> Value {
    let mut moved = Vec::new();
    for call in calls {
        let (before, after) = (outcome(old, call), outcome(new, call));
        // The name of a row alone moves no call.
        if (&before.to, &before.sends) == (&after.to, &after.sends) {
            continue;
        }
        let from = match &call.of.from {
            TrialFrom::Trunk(trunk) => format!("trunk {trunk}"),
            TrialFrom::User => format!("user {}", call.of.caller),
        };
        moved.push(json!({
            "call": call.call, "at": call.at, "from": from, "dialed": call.of.dialed,
            "before": told(&before), "after": told(&after), "refused": after.to == "refused" && before.to != "refused",
        }));
    }
    json!({ "calls": calls.len(), "moved": moved })
}

fn told(outcome: &Outcome) -> Value {
    let sends = outcome
        .sends
        .iter()
        .map(|(trunk, called, caller)| json!({ "trunk": trunk, "called": called, "caller": caller }));
    json!({ "to": outcome.to, "by": outcome.by, "sends": sends.collect::<Vec<_>>() })
}

fn render(told: &Value) -> String {
    let mut out = String::new();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let changes = told["changes"].as_array().map(Vec::as_slice).unwrap_or_default();
    if changes.is_empty() {
        out += "nothing changes\n";
    }
    // Writing into a String cannot fail.
    for change in changes.iter().take(SHOWN_MAX) {
        _ = writeln!(out, "{}: {}", text(&change["key"]), text(&change["words"]));
    }
    if changes.len() > SHOWN_MAX {
        _ = writeln!(out, "and {} more (--json shows all)", changes.len() - SHOWN_MAX);
    }
    let Some(calls) = told["replay"]["calls"].as_u64() else { return out };
    let moved = told["replay"]["moved"].as_array().map(Vec::as_slice).unwrap_or_default();
    _ = match (calls, moved.len()) {
        (0, _) => writeln!(out, "no calls to replay: the daemon keeps the messages of none (`trace.calls`)"),
        (_, 0) => writeln!(out, "of the latest {calls} calls each would go as it went"),
        (_, count) => writeln!(out, "of the latest {calls} calls {count} would go otherwise:"),
    };
    for call in moved.iter().take(SHOWN_MAX) {
        let at = clock(UnixMicros(call["at"].as_u64().unwrap_or(0)));
        let (sid, from, dialed) = (text(&call["call"]), text(&call["from"]), text(&call["dialed"]));
        _ = writeln!(out, "{at} {} {from} dialed {dialed}", short(&sid));
        for (word, outcome) in [("now ", &call["before"]), ("then", &call["after"])] {
            let sends = outcome["sends"].as_array().into_iter().flatten();
            let sends: Vec<_> = sends.map(|way| format!("{} {}", text(&way["trunk"]), text(&way["called"]))).collect();
            let sends = if sends.is_empty() { String::new() } else { format!(": {}", sends.join(", ")) };
            _ = writeln!(out, "  {word} {} by {}{sends}", text(&outcome["to"]), text(&outcome["by"]));
        }
    }
    if moved.len() > SHOWN_MAX {
        _ = writeln!(out, "and {} more (--json shows all)", moved.len() - SHOWN_MAX);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: &str = "appliance: { name: a }\nrealms: { r: { signaling: [127.0.0.1:5060], registrations: true } }\n";

    fn config(rest: &str) -> Config {
        let loaded = postern_config::load("t.yaml", &format!("{BASE}{rest}"), &postern_config::NoFiles);
        loaded.unwrap_or_else(|found| panic!("{found:?}")).0
    }

    const OLD: &str = "trunks: { t: { realm: r, address: 192.0.2.1, codecs: [PCMA] }, u: { realm: r, address: 192.0.2.2 } }\n\
        users: { al: { password: one } }\nroutes: [ { name: x, from: any, prefix: \"+1\", to: { trunk: u } }, { name: y, from: any, prefix: \"+4\", to: { trunk: u } } ]\n";

    #[test]
    fn each_key_that_differs_is_told_and_secrets_only_that_they_do() {
        let old = config(OLD);
        assert_eq!(changes(&old, &config(OLD)), []);
        let new = OLD
            .replace("[PCMA]", "[PCMU]")
            .replace("one", "two")
            .replace("{ name: y, from: any", "{ name: z, from: users");
        let told: Vec<_> =
            changes(&old, &config(&new)).into_iter().map(|c| format!("{}: {}", c.key, c.words)).collect();
        assert_eq!(told[0].split(':').next(), Some("routes.y"), "{told:?}");
        assert!(told[0].contains("gone: ") && told[1].starts_with("routes.z: new: "), "{told:?}");
        assert_eq!(told[2], "trunks.t.codecs: [\"PCMA\"] becomes [\"PCMU\"]");
        assert!(told[3].starts_with("users.al: a secret") && told.len() == 4, "{told:?}");
        assert!(!told.concat().contains("two"), "{told:?}");
        let turned = OLD.replace("name: x", "name: q").replace("name: y", "name: x").replace("name: q", "name: y");
        let told = changes(&old, &config(&turned));
        assert!(told.iter().any(|c| c.key == "routes" && c.words == "another order: y, x"), "{told:?}");
    }

    fn traced(call: u128, text: &str) -> Value {
        json!({ "call": CallSid(call), "way": "in", "at": 1_798_138_800_000_000_u64 + call as u64, "text": text })
    }

    fn invited(dialed: &str) -> String {
        format!(
            "INVITE sip:{dialed}@127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1\r\nFrom: <sip:030@192.0.2.1>;tag=1\r\n\
             To: <sip:{dialed}@127.0.0.1>\r\nCall-ID: 1\r\nCSeq: 1 INVITE\r\nContact: <sip:192.0.2.1>\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n"
        )
    }

    #[test]
    fn calls_that_would_go_elsewhere_or_nowhere_are_named_with_both_ways() {
        let leg = |call: u128, party: Party| json!({ "sid": CallSid(call), "direction": "inbound", "party": party });
        let trunk = |name: &str| Party::Trunk { trunk: TrunkName::new(name) };
        let calls =
            json!({ "calls": [leg(1, trunk("t")), leg(2, trunk("t")), leg(3, trunk("t")), leg(4, trunk("gone"))] });
        let ack = invited("+19").replace("INVITE sip", "ACK sip").replace("1 INVITE", "1 ACK");
        let messages = [
            traced(1, &invited("+12")),
            traced(1, &invited("+49")),
            traced(2, &ack),
            traced(2, &invited("+492")),
            traced(3, "INVITE nonsense"),
            traced(3, &invited("+993")),
            traced(4, &invited("+12")),
            traced(5, &invited("+12")),
        ];
        let all = recorded(&json!({ "messages": messages }), &calls);
        assert_eq!(all.iter().map(|one| &*one.of.dialed).collect::<Vec<_>>(), ["+12", "+492", "+993", "+12"]);
        assert_eq!(all[0].of.caller, "030");
        let old = config(OLD);
        let new = config(
            &OLD.replace("prefix: \"+1\", to: { trunk: u }", "prefix: \"+1\", strip: 1, to: { trunk: u }")
                .replace("\"+4\"", "\"+44\""),
        );
        let told = replay(&old, &new, &all);
        assert_eq!(told["calls"], 4);
        let moved = told["moved"].as_array().unwrap();
        assert_eq!(moved.len(), 2, "what goes nowhere by both, and whose trunk is in neither, is no change: {told:#}");
        assert_eq!(
            (moved[0]["after"]["sends"][0]["called"].as_str(), moved[0]["refused"].as_bool()),
            (Some("12"), Some(false))
        );
        assert_eq!((moved[1]["after"]["to"].as_str(), moved[1]["refused"].as_bool()), (Some("refused"), Some(true)));
        let shown = render(&json!({ "changes": [], "replay": told }));
        assert!(shown.contains("of the latest 4 calls 2 would go otherwise:"), "{shown}");
        assert!(
            shown.contains("trunk t dialed +12\n  now  trunk u by route x: u +12\n  then trunk u by route x: u 12\n"),
            "{shown}"
        );
        assert!(shown.contains("then refused by no number, user or route"), "{shown}");
    }
}

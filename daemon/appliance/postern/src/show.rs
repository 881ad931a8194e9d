//! The status on one screen, and calls as a table.

use std::fmt::Write;

use comfy_table::{Table, presets::NOTHING};
use postern_types::UnixMicros;
use serde_json::Value;

use crate::say::{clock, party, short, text};

/// `postern status`.
pub(crate) fn status(s: &Value) -> String {
    let n = |value: &Value| value.as_u64().unwrap_or(0);
    let (media, delivery) = (&s["media"], &s["delivery"]);
    let up = n(&s["uptime_s"]);
    let mut out = String::new();
    // Writing into a String cannot fail.
    _ = writeln!(
        out,
        "{} {}, up {}d {:02}:{:02}:{:02}",
        text(s, "name"),
        text(s, "version"),
        up / 86_400,
        up / 3600 % 24,
        up / 60 % 60,
        up % 60
    );
    _ = writeln!(
        out,
        "calls      {} live in {} legs; {} since start, {} legs answered",
        s["calls"], s["legs"], s["calls_total"], s["answered_total"]
    );
    if let Some(left) = s["trial_left_s"].as_u64() {
        _ = writeln!(
            out,
            "on trial   this configuration goes in {left} s; `postern confirm` keeps it, `postern reload` goes back at once"
        );
    }
    if s["draining"] == true {
        out.push_str("draining   new calls are refused; `postern drain --off` takes them again\n");
    }
    if n(&s["poor_total"]) > 0 {
        _ = writeln!(out, "quality    {} of {} legs with a MOS below 3.6", s["poor_total"], s["measured_total"]);
    }
    _ = writeln!(
        out,
        "users      {} available, {} busy; {} devices registered, {} subscriptions",
        s["users_available"],
        s["users_busy"],
        s["devices"],
        n(&s["subscriptions"])
    );
    for trunk in s["trunks"].as_array().into_iter().flatten() {
        let limit = trunk["calls_max"].as_u64().map_or(String::new(), |max| format!(" of {max}"));
        let state = match text(trunk, "state") {
            state if state.is_empty() || state == "unknown" => String::new(),
            state => format!(", {state}"),
        };
        let line =
            trunk["kbps_max"].as_u64().map_or(String::new(), |max| format!(", {} of {max} kbit/s", trunk["kbps"]));
        _ = writeln!(out, "trunk      {}: {}{limit} live{line}{state}", text(trunk, "name"), trunk["calls"]);
        if n(&trunk["refused_in"]) + n(&trunk["refused_out"]) > 0 {
            let (of, to) = (n(&trunk["refused_in"]), n(&trunk["refused_out"]));
            _ = writeln!(out, "           over its limits: {of} of its calls and {to} to it were refused");
        }
        for target in trunk["targets"].as_array().into_iter().flatten().filter(|target| target["state"] != "up") {
            let (address, state, why) = (text(target, "address"), text(target, "state"), text(target, "why"));
            _ = writeln!(out, "           {address} {state}: {why}");
        }
        let registration = &trunk["registration"];
        if let Some(registered) = registration["registered"].as_bool() {
            let (registrar, why) = (text(registration, "registrar"), text(registration, "why"));
            _ = match (registered, why.is_empty()) {
                (true, true) => {
                    writeln!(out, "           registered with {registrar} for {} s", registration["left_s"])
                }
                (true, false) => {
                    writeln!(out, "           registered for {} s, but not again: {why}", registration["left_s"])
                }
                (false, true) => writeln!(out, "           not registered yet"),
                (false, false) => writeln!(out, "           not registered: {why}"),
            };
        }
    }
    _ = writeln!(
        out,
        "sip        {} received, {} sent; {} from strangers, {} unreadable",
        s["sip_received"], s["sip_sent"], s["strangers"], s["malformed"]
    );
    if ["throttled", "banned", "denied", "bans"].iter().any(|key| n(&s[*key]) > 0) {
        _ = writeln!(
            out,
            "guard      {} sources banned; dropped {} of them, {} over the rate, {} not allowed",
            s["bans"], s["banned"], s["throttled"], s["denied"]
        );
    }
    if n(&s["shedding"]) > 0 {
        let percent = n(&s["shedding"]).div_ceil(10);
        _ = writeln!(out, "OVERLOAD   {percent} % of new calls and registrations are refused");
    }
    if n(&s["shed"]) > 0 {
        _ = writeln!(out, "overload   {} calls and registrations refused since start", s["shed"]);
    }
    let ended = ["connections_refused", "connections_broken", "connections_expired", "connections_slow"];
    if n(&s["connections"]) > 0 || ended.iter().any(|key| n(&s[*key]) > 0) {
        _ = writeln!(
            out,
            "streams    {} connections; {} refused, {} no SIP, {} out of time, {} too slow",
            s["connections"], s[ended[0]], s[ended[1]], s[ended[2]], s[ended[3]]
        );
    }
    for certificate in s["certificates"].as_array().into_iter().flatten() {
        let ends = match n(&certificate["days"]) {
            0 => "HAS ENDED".to_owned(),
            1 => "ends in 1 day".to_owned(),
            days => format!("ends in {days} days"),
        };
        _ = writeln!(out, "tls        {}: {} {ends}", text(certificate, "of"), text(certificate, "file"));
    }
    let mut cost = media["us_per_packet"].as_f64().map_or(String::new(), |us| format!("; {us:.1} us CPU a packet"));
    if let Some(busy) = media["busy_percent"].as_f64().filter(|busy| *busy >= 1.0) {
        _ = write!(cost, ", the busiest worker has {busy:.0} % of its CPU to do");
    }
    _ = writeln!(
        out,
        "media      {} streams, {} ports free{cost}\npackets    {} received, {} sent, {} dropped",
        media["streams"],
        media["ports_free"],
        media["packets_received"],
        media["packets_sent"],
        media["packets_dropped"]
    );
    let calibrated = &media["calibrated"];
    if let Some(us) = calibrated["us_per_packet"].as_f64() {
        let calls = &calibrated["calls_per_worker"];
        _ = writeln!(
            out,
            "machine    {us:.1} us CPU a packet by sockets: {calls} calls a worker, of 50 packets/s each way"
        );
    }
    // The scarcest is the first.
    if let Some(room) = s["remaining"].get(0) {
        _ = writeln!(out, "room       {} more calls; what ends first: {}", room["calls"], text(room, "of"));
    }
    if media["g729"] == true {
        _ = writeln!(out, "codecs     G.729 is converted: libbcg729 is here");
    }
    let (on, why) = (media["fast_path"] == true, text(media, "fast_path_why"));
    if on {
        let (flows, forwarded) = (n(&media["flows"]), n(&media["packets_forwarded"]));
        let but = if why.is_empty() { String::new() } else { format!("; {why}") };
        _ = writeln!(out, "fast path  {flows} directions of calls, {forwarded} packets forwarded by the kernel{but}");
    } else if !why.is_empty() {
        _ = writeln!(out, "fast path  off: {why}");
    }
    // Silence is the rule: a line only when there is something to look at.
    let troubles: Vec<_> = [
        ("workers_failed", "ends of a worker"),
        ("send_errors", "packets not sent by the kernel"),
        ("receive_starved", "times out of buffers"),
        ("truncated", "packets too long"),
        ("messages_lost", "messages of workers lost"),
    ]
    .iter()
    .filter(|(key, _)| n(&media[*key]) > 0)
    .map(|(key, words)| format!("{} {words}", media[*key]))
    .collect();
    if n(&media["workers_failed"]) > 0 {
        _ = writeln!(out, "workers    {} at work", media["workers"]);
    }
    if !troubles.is_empty() {
        _ = writeln!(out, "trouble    {}", troubles.join("; "));
    }
    _ = writeln!(
        out,
        "events     last {}; {} readers, {} lost to them",
        s["events_seq"], s["streams"]["readers"], s["streams"]["overflowed"]
    );
    match text(delivery, "link") {
        link if link == "none" => {
            _ = writeln!(out, "link       no control plane; {} bytes in the spool", delivery["spool_bytes"])
        }
        link => {
            _ = writeln!(
                out,
                "link       {link}; {} events waiting, {} bytes in the spool, {} published",
                delivery["spool_waiting"], delivery["spool_bytes"], delivery["published"]
            );
        }
    }
    _ = writeln!(
        out,
        "store      {} call records; {} journal lines dropped",
        delivery["records"], delivery["journal_dropped"]
    );
    out
}

/// What a reload came to.
pub(crate) fn reloaded(done: &Value) -> String {
    let mut told = String::from("the configuration is applied; calls go on\n");
    let waiting: Vec<_> = done["needs_restart"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    if !waiting.is_empty() {
        _ = writeln!(told, "not before a restart: {}", waiting.join(", "));
    }
    for warning in done["warnings"].as_array().into_iter().flatten() {
        _ = writeln!(told, "warning: line {}: {}", warning["line"], text(warning, "message"));
    }
    told
}

/// `postern calls`: a row a leg, those that a call dialed under it. A narrow terminal gets less of each.
pub(crate) fn calls(answer: &Value, width: Option<usize>) -> String {
    let calls = answer["calls"].as_array().map_or(&[][..], Vec::as_slice);
    if calls.is_empty() {
        return "no calls\n".into();
    }
    let whole = drawn(calls, false);
    let widest = whole.lines().map(|line| line.chars().count()).max().unwrap_or(0);
    if width.is_some_and(|width| widest > width) { drawn(calls, true) } else { whole }
}

fn drawn(calls: &[Value], narrow: bool) -> String {
    let mut table = Table::new();
    table.load_style(NOTHING);
    let mut head = vec!["SID", "STARTED", "STATUS", "FROM", "TO", "PARTY", "CODEC"];
    if !narrow {
        head.insert(3, "DIRECTION");
    }
    table.set_header(head);
    for call in calls {
        let started = clock(UnixMicros(call["created"].as_u64().unwrap_or(0)));
        let [sid, status, direction, from, to] =
            ["sid", "status", "direction", "from", "to"].map(|name| text(call, name));
        let codec = text(&call["media"], "codec");
        let mut row = vec![sid, started, status, from, to, party(&call["party"]), codec];
        if narrow {
            row[0] = short(&row[0]).to_owned();
            row[1].truncate(8);
            row[6] = row[6].split('/').next().unwrap_or_default().to_owned();
        } else {
            row.insert(3, direction);
        }
        table.add_row(row);
    }
    let lines: Vec<_> = table.lines().map(|line| line.trim().to_owned()).collect();
    lines.join("\n") + "\n"
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn trouble_of_the_media_workers_is_shown_when_there_is_some() {
        let with = |media: Value| status(&json!({ "media": media }));
        let quiet = with(json!({ "workers": 2, "workers_failed": 0, "send_errors": 0 }));
        assert!(!quiet.contains("trouble") && !quiet.contains("workers"), "{quiet}");
        let loud = with(json!({ "workers": 1, "workers_failed": 1, "send_errors": 12, "truncated": 0 }));
        assert!(
            loud.contains("workers    1 at work\ntrouble    1 ends of a worker; 12 packets not sent by the kernel\n"),
            "{loud}"
        );
        assert!(loud.lines().all(|line| line.chars().count() <= 100));
    }
}

//! The status on one screen, and calls as a table.

use std::fmt::Write;

use comfy_table::{Table, presets::NOTHING};
use postern_types::UnixMicros;
use serde_json::Value;

use crate::say::{clock, party, text};

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
    _ = writeln!(
        out,
        "users      {} available, {} busy; {} devices registered",
        s["users_available"], s["users_busy"], s["devices"]
    );
    for trunk in s["trunks"].as_array().into_iter().flatten() {
        let limit = trunk["calls_max"].as_u64().map_or(String::new(), |max| format!(" of {max}"));
        _ = writeln!(out, "trunk      {}: {}{limit} legs", text(trunk, "name"), trunk["calls"]);
    }
    _ = writeln!(
        out,
        "sip        {} received, {} sent; {} from strangers, {} unreadable",
        s["sip_received"], s["sip_sent"], s["strangers"], s["malformed"]
    );
    let cost = media["us_per_packet"].as_f64().map_or(String::new(), |us| format!("; {us:.1} us CPU a packet"));
    _ = writeln!(
        out,
        "media      {} streams, {} ports free; packets {} received, {} sent, {} dropped{cost}",
        media["streams"],
        media["ports_free"],
        media["packets_received"],
        media["packets_sent"],
        media["packets_dropped"]
    );
    _ = writeln!(
        out,
        "events     last {}; {} readers, {} lost to them",
        s["events_seq"], s["streams"]["readers"], s["streams"]["overflowed"]
    );
    _ = writeln!(
        out,
        "link       {}; {} waiting ({} bytes), {} published",
        text(delivery, "link"),
        delivery["spool_waiting"],
        delivery["spool_bytes"],
        delivery["published"]
    );
    _ = writeln!(
        out,
        "store      {} records; {} journal lines dropped",
        delivery["records"], delivery["journal_dropped"]
    );
    out
}

/// `postern calls`.
pub(crate) fn calls(answer: &Value) -> String {
    let calls = answer["calls"].as_array().map_or(&[][..], Vec::as_slice);
    if calls.is_empty() {
        return "no calls\n".into();
    }
    let mut table = Table::new();
    table.load_style(NOTHING);
    table.set_header(["SID", "STARTED", "STATUS", "DIRECTION", "FROM", "TO", "PARTY", "CODEC"]);
    for call in calls {
        let started = clock(UnixMicros(call["created"].as_u64().unwrap_or(0)));
        let [sid, status, direction, from, to] =
            ["sid", "status", "direction", "from", "to"].map(|name| text(call, name));
        table.add_row([
            sid,
            started,
            status,
            direction,
            from,
            to,
            party(&call["party"]),
            text(&call["media"], "codec"),
        ]);
    }
    let lines: Vec<_> = table.lines().map(|line| line.trim().to_owned()).collect();
    lines.join("\n") + "\n"
}

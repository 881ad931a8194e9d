//! Events as lines for a person, from their JSON: an older tool tells a newer daemon's events, too.

use postern_types::UnixMicros;
use serde_json::Value;

/// `12:34:56.789  call.ended  CA0123456789  by peer: 200 normal clearing`.
pub(crate) fn line(event: &Value) -> String {
    if event["type"] == "gap" {
        let data = &event["data"];
        return format!("-- events {} to {} are missing: {} --\n", data["from"], data["to"], text(data, "why"));
    }
    let mut about = Vec::new();
    for (name, shown) in [("call", 10), ("leg", 10)] {
        if let Some(sid) = event[name].as_str().filter(|_| name == "call" || event["leg"] != event["call"]) {
            about.push(sid.get(..shown).unwrap_or(sid).to_owned());
        }
    }
    about.extend(
        ["trunk", "user"].iter().filter_map(|name| event[*name].as_str().map(|v| format!("{name}={}", plain(v)))),
    );
    let time = clock(UnixMicros(event["at"].as_u64().unwrap_or(0)));
    let kind = event["type"].as_str().unwrap_or("?");
    format!("{time}  {:<22} {:<22} {}\n", plain(kind), about.join(" "), phrase(kind, &event["data"]))
}

/// What a fact says, in one line without the ids.
pub(crate) fn phrase(kind: &str, data: &Value) -> String {
    let t = |name: &str| text(data, name);
    match kind {
        "call.offered" => {
            format!("call from {} to {}, {} at {}", t("from"), t("to"), party(&data["party"]), t("source"))
        }
        "call.created" => format!("call from {} to {}, made by {}", t("from"), t("to"), t("by")),
        "call.routed" => format!("goes to {} by {} {}: {}", t("to"), t("table"), t("entry"), t("why")),
        "leg.dialed" => {
            format!("dialing {} ({}) as {}, for {} s", t("to"), party(&data["party"]), t("from"), t("timeout_s"))
        }
        "leg.ringing" if data["early_media"] == true => format!("early media ({})", t("status")),
        "leg.ringing" => format!("rings ({})", t("status")),
        "leg.answered" => format!("answered after {}", ms(data["after_ms"].as_u64().unwrap_or(0))),
        "leg.negotiated" => negotiated(&data["media"]),
        "leg.ended" => format!(
            "{} by {}: {}, after {} of talk",
            t("status"),
            by(data),
            cause(data),
            ms(data["duration_ms"].as_u64().unwrap_or(0))
        ),
        "call.ended" => format!("call ended by {}: {}", by(data), cause(data)),
        "leg.reoffer_refused" => format!("change refused: {}", cause(data)),
        "leg.held" => format!("holds ({})", t("direction")),
        "leg.resumed" => "resumes".into(),
        "media.latched" => {
            let how = if data["as_described"] == true { "as described" } else { "not as described: NAT" };
            format!(
                "first RTP from {} ({how}), {} after opening",
                t("source"),
                ms(data["after_ms"].as_u64().unwrap_or(0))
            )
        }
        "app.requested" => format!("asks {} {} ({})", t("method"), t("url"), t("purpose")),
        "app.responded" => {
            format!("{} after {}: {}", t("status"), ms(data["took_ms"].as_u64().unwrap_or(0)), t("verbs"))
        }
        "app.failed" => format!("{} failed, {}: {}; then {}", t("url"), t("code"), t("why"), t("then")),
        "document.verb" => format!("{} {}", t("verb"), t("detail")),
        "leg.digit" => format!("a digit ({})", t("via")),
        _ => pairs(data),
    }
}

/// `PCMA/8000, 20 ms, digits 101, SRTP …; we 10.0.0.1:4000, they 10.0.0.2:5000`.
pub(crate) fn negotiated(media: &Value) -> String {
    let mut told = format!("{}, payload {}, {} ms", text(media, "codec"), media["payload_type"], media["ptime_ms"]);
    if let Some(digits) = media["telephone_event"].as_u64() {
        told.push_str(&format!(", digits {digits}"));
    }
    match media["srtp"].as_str() {
        Some(suite) => told.push_str(&format!(", SRTP {}", plain(suite))),
        None => told.push_str(", plain RTP"),
    }
    if media["direction"] != "sendrecv" {
        told.push_str(&format!(", {}", text(media, "direction")));
    }
    format!("{told}; we {}, they {}", text(media, "local"), text(media, "remote"))
}

/// Who released, in a word.
pub(crate) fn by(data: &Value) -> &'static str {
    match data["by"].as_str().or(data["ended_by"].as_str()) {
        Some("peer") => "the party",
        Some("other_party") => "the other party",
        Some("router") => "the call's program or route",
        Some("operator") => "an operator",
        Some("postern") => "postern",
        _ => "somebody",
    }
}

/// `486 busy`.
pub(crate) fn cause(data: &Value) -> String {
    format!("{} {}", data["cause"]["status"], text(&data["cause"], "text"))
}

/// `trunk acme`.
pub(crate) fn party(party: &Value) -> String {
    let kind = text(party, "kind");
    format!("{kind} {}", text(party, &kind))
}

/// A field as text, empty when absent; strings lose what a terminal could obey.
pub(crate) fn text(data: &Value, name: &str) -> String {
    match &data[name] {
        Value::Null => String::new(),
        Value::String(value) => plain(value),
        other => plain(&other.to_string()),
    }
}

/// Callers choose some of these words: a control character must not reach the terminal.
pub(crate) fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}

/// `950 ms`, `12.3 s`.
pub(crate) fn ms(ms: u64) -> String {
    if ms < 1000 { format!("{ms} ms") } else { format!("{}.{} s", ms / 1000, ms % 1000 / 100) }
}

/// `12:34:56.789`, UTC.
pub(crate) fn clock(at: UnixMicros) -> String {
    let (s, ms) = (at.seconds() % 86_400, at.0 / 1000 % 1000);
    format!("{:02}:{:02}:{:02}.{ms:03}", s / 3600, s / 60 % 60, s % 60)
}

fn pairs(data: &Value) -> String {
    let fields = data.as_object().into_iter().flatten();
    fields.map(|(name, _)| format!("{name}={}", text(data, name))).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_line_has_time_type_subject_and_words() {
        let event = json!({"seq": 1, "at": 45_296_789_000u64, "type": "call.ended", "call": "CA0123456789abcdef",
            "data": {"by": "peer", "cause": {"status": 200, "text": "normal clearing"}}});
        let want = "12:34:56.789  call.ended             CA01234567             call ended by the party: 200 normal clearing\n";
        assert_eq!(line(&event), want);
        let unknown = json!({"at": 0, "type": "moon.rose", "user": "a\u{1b}b", "data": {"phase": "full", "n": 3}});
        assert_eq!(line(&unknown), "00:00:00.000  moon.rose              user=a?b               n=3 phase=full\n");
        let gap = json!({"type": "gap", "data": {"from": 2, "to": 3, "why": "gone"}});
        assert_eq!(line(&gap), "-- events 2 to 3 are missing: gone --\n");
    }
}

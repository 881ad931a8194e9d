//! Events as lines for a person, from their JSON. The sentences are those of the journal; a fact of a newer daemon, which this tool does
//! not know, is told by its fields.

use postern_facts::{Fact, text as words};
use postern_types::UnixMicros;
use serde_json::{Value, json};

/// `12:34:56.789  call.ended  CA0123456789  call ended by its first party …`.
pub(crate) fn line(event: &Value) -> String {
    if event["type"] == "gap" {
        let data = &event["data"];
        return format!("-- events {} to {} are missing: {} --\n", data["from"], data["to"], text(data, "why"));
    }
    let mut about = Vec::new();
    for name in ["call", "leg"] {
        if let Some(sid) = event[name].as_str().filter(|_| name == "call" || event["leg"] != event["call"]) {
            about.push(short(sid).to_owned());
        }
    }
    about.extend(
        ["trunk", "user"]
            .iter()
            .filter_map(|name| event[*name].as_str().map(|v| format!("{name}={}", words::plain(v)))),
    );
    let time = clock(UnixMicros(event["at"].as_u64().unwrap_or(0)));
    let kind = event["type"].as_str().unwrap_or("?");
    format!("{time}  {:<18} {:<21}  {}\n", words::plain(kind), about.join(" "), phrase(kind, &event["data"]))
}

/// What a fact says, in one line without the ids.
pub(crate) fn phrase(kind: &str, data: &Value) -> String {
    match serde_json::from_value::<Fact>(json!({ "type": kind, "data": data })) {
        Ok(fact) => words::sentence(&fact),
        Err(_) => pairs(data),
    }
}

/// What was agreed on a leg.
pub(crate) fn negotiated(media: &Value) -> String {
    match serde_json::from_value(media.clone()) {
        Ok(media) => words::plain(&words::negotiated(&media)),
        Err(_) => pairs(media),
    }
}

/// `486 busy`.
pub(crate) fn cause(data: &Value) -> String {
    format!("{} {}", data["cause"]["status"], text(&data["cause"], "text"))
}

/// `trunk acme`.
pub(crate) fn party(party: &Value) -> String {
    match serde_json::from_value(party.clone()) {
        Ok(party) => words::plain(&words::party(&party)),
        Err(_) => pairs(party),
    }
}

/// A field as text, empty when absent; strings lose what a terminal could obey.
pub(crate) fn text(data: &Value, name: &str) -> String {
    match &data[name] {
        Value::Null => String::new(),
        Value::String(value) => words::plain(value),
        other => words::plain(&other.to_string()),
    }
}

/// The beginning of a sid that is enough to name it: `CA01234567`.
pub(crate) fn short(sid: &str) -> &str {
    sid.get(..10).unwrap_or(sid)
}

/// `2025-11-21 12:34:56.789`, UTC.
pub(crate) fn date(at: UnixMicros) -> String {
    postern_link::rfc3339(at)[..23].replace('T', " ")
}

/// `12:34:56.789`, UTC.
pub(crate) fn clock(at: UnixMicros) -> String {
    date(at)[11..].to_owned()
}

fn pairs(data: &Value) -> String {
    let fields = data.as_object().into_iter().flatten();
    fields.map(|(name, _)| format!("{}={}", words::plain(name), text(data, name))).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_time_type_subject_and_words() {
        let event = json!({"seq": 1, "at": 45_296_789_000u64, "type": "call.ended", "call": "CA0123456789abcdef",
            "data": {"by": "peer", "cause": {"status": 200, "q850": 16, "text": "normal\u{1b}clearing"}, "total_ms": 61_007, "legs": 2}});
        let want = "12:34:56.789  call.ended         CA01234567             call ended by its first party after 61.0 s with 2 legs: 200 normal?clearing\n";
        assert_eq!(line(&event), want);
        let unknown = json!({"at": 0, "type": "moon.rose", "user": "a\u{1b}b", "data": {"phase": "full", "n": 3}});
        assert_eq!(line(&unknown), "00:00:00.000  moon.rose          user=a?b               n=3 phase=full\n");
        let gap = json!({"type": "gap", "data": {"from": 2, "to": 3, "why": "gone"}});
        assert_eq!(line(&gap), "-- events 2 to 3 are missing: gone --\n");
    }

    #[test]
    fn a_date_is_that_of_utc() {
        assert_eq!(date(UnixMicros(1_763_695_590_123_456)), "2025-11-21 03:26:30.123");
    }
}

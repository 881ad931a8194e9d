//! Events as CloudEvents 1.0, JSON format.

use std::fmt::Write;

use postern_facts::Written;
use postern_types::UnixMicros;

/// The event as one JSON object: `id` is the event's own, `type` its name under `org.postern.`, `subject` whom it is
/// about (leg, call, user or trunk, the closest), `data` the fact's fields. Extensions: `sequence`, and `call`, `leg`,
/// `account`, `trunk`, `user` where known.
pub fn cloud_event(appliance: &str, event: &Written) -> String {
    let mut json = String::with_capacity(event.json.len() + 256);
    json.push_str("{\"specversion\":\"1.0\"");
    let mut member = |name: &str, value: &str| {
        let quoted = serde_json::to_string(value).expect("a string is JSON");
        let _ = write!(json, ",\"{name}\":{quoted}");
    };
    member("id", &event.id.to_string());
    member("source", &format!("postern/{appliance}"));
    member("type", &format!("org.postern.{}", event.name));
    member("time", &rfc3339(event.at));
    member("datacontenttype", "application/json");
    let about = &event.subject;
    let text = |shown: Option<&dyn ToString>| shown.map(ToString::to_string);
    let leg = text(about.leg.as_ref().map(|v| v as _));
    let call = text(about.call.as_ref().map(|v| v as _));
    let user = text(about.user.as_ref().map(|v| v as _));
    let trunk = text(about.trunk.as_ref().map(|v| v as _));
    let account = text(about.account.as_ref().map(|v| v as _));
    if let Some(closest) = leg.as_ref().or(call.as_ref()).or(user.as_ref()).or(trunk.as_ref()) {
        member("subject", closest);
    }
    member("sequence", &event.seq.to_string());
    let extensions = [("call", call), ("leg", leg), ("account", account), ("trunk", trunk), ("user", user)];
    for (name, value) in extensions {
        if let Some(value) = value {
            member(name, &value);
        }
    }
    json.push_str(",\"data\":");
    json.push_str(event.data());
    json.push('}');
    json
}

/// `2026-11-21T03:26:30.123456Z` (RFC 3339).
pub fn rfc3339(time: UnixMicros) -> String {
    let seconds = time.seconds();
    let (days, of_day) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = date_of(days);
    let (hour, minute, second, micros) = (of_day / 3600, of_day / 60 % 60, of_day % 60, time.0 % 1_000_000);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{micros:06}Z")
}

/// Gregorian date of a day since 1970-01-01. The year is counted from March, so that a leap day is its last; 400 years
/// always have 146,097 days.
fn date_of(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let (era, of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use postern_types::{CallSid, TrunkName};

    use super::*;
    use crate::test_events::event;

    #[test]
    fn times_are_rfc3339() {
        let table = [
            (0, "1970-01-01T00:00:00.000000Z"),
            (951_782_399_000_001, "2000-02-28T23:59:59.000001Z"),
            (951_782_400_000_000, "2000-02-29T00:00:00.000000Z"),
            (1_709_251_199_999_999, "2024-02-29T23:59:59.999999Z"),
            (4_107_542_400_000_000, "2100-03-01T00:00:00.000000Z"),
        ];
        for (micros, wanted) in table {
            assert_eq!(rfc3339(UnixMicros(micros)), wanted);
        }
    }

    #[test]
    fn an_event_is_a_cloud_event_with_its_ids_outside() {
        let mut written = event(7);
        written.subject.call = Some(CallSid(1));
        written.subject.trunk = Some(TrunkName::new("a\"b"));
        let json: serde_json::Value = serde_json::from_str(&cloud_event("edge", &written)).unwrap();
        assert_eq!(json["specversion"], "1.0");
        assert_eq!(json["id"], written.id.to_string());
        assert_eq!(json["source"], "postern/edge");
        assert_eq!(json["type"], "org.postern.leg.resumed");
        assert_eq!((&json["sequence"], &json["trunk"]), (&"7".into(), &"a\"b".into()));
        assert_eq!(json["subject"], CallSid(1).to_string());
        assert_eq!(json["data"], serde_json::json!({}));
        // CloudEvents 1.0, 3.1: attribute names are lower-case letters and digits.
        assert!(json.as_object().unwrap().keys().all(|name| name.bytes().all(|b| b.is_ascii_lowercase())));
    }
}

//! Resources as SDKs read them: every field is there, absent ones are null.

use postern_facts::CallRecord;
use postern_types::{AccountSid, UnixMicros};
use serde_json::{Value, json};

use crate::date::rfc2822;

/// The version that is part of every path.
pub(crate) const VERSION: &str = "2010-04-01";

/// The path of an account, without `.json`.
pub(crate) fn account_path(account: AccountSid) -> String {
    format!("/{VERSION}/Accounts/{account}")
}

/// A call resource. `account` is the one who asks, whose call it is.
pub(crate) fn call(record: &CallRecord, account: AccountSid) -> Value {
    let path = account_path(account);
    let date = |time: Option<UnixMicros>| time.and_then(rfc2822);
    let started = (record.status != "queued").then_some(record.created);
    let duration = match (record.status.as_str(), record.answered, record.ended) {
        ("completed", Some(answered), Some(ended)) => Some(ended.since(answered).as_secs().to_string()),
        _ => None,
    };
    json!({
        "sid": record.sid,
        "date_created": date(Some(record.created)),
        "date_updated": date(Some(record.updated)),
        "parent_call_sid": record.parent,
        "account_sid": account,
        "to": record.to,
        "to_formatted": record.to,
        "from": record.from,
        "from_formatted": record.from,
        "phone_number_sid": null,
        "status": record.status,
        "start_time": date(started),
        "end_time": date(record.ended),
        "duration": duration,
        "price": null,
        "price_unit": null,
        "direction": record.direction,
        "answered_by": null,
        "api_version": VERSION,
        "forwarded_from": null,
        "group_sid": null,
        "caller_name": (!record.from_name.is_empty()).then_some(&record.from_name),
        "queue_time": "0",
        "stir_verstat": record.verstat,
        "trunk_sid": null,
        "annotation": null,
        "uri": format!("{path}/Calls/{}.json", record.sid),
        "subresource_uris": {
            "child_calls": format!("{path}/Calls.json?ParentCallSid={}", record.sid),
            "recordings": format!("{path}/Calls/{}/Recordings.json", record.sid),
        },
    })
}

/// An account resource. Its token is never shown.
pub(crate) fn account(sid: AccountSid) -> Value {
    let path = account_path(sid);
    json!({
        "sid": sid,
        "friendly_name": sid,
        "status": "active",
        "type": "Full",
        "auth_token": null,
        "owner_account_sid": sid,
        "date_created": null,
        "date_updated": null,
        "uri": format!("{path}.json"),
        "subresource_uris": {
            "calls": format!("{path}/Calls.json"),
            "conferences": format!("{path}/Conferences.json"),
            "recordings": format!("{path}/Recordings.json"),
        },
    })
}

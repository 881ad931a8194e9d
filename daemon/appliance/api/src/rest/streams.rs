//! Streams: a live call's audio, sent to a server by WebSocket.

use axum::{
    Json, Router,
    body::Body,
    extract::{Path, State},
    http::{HeaderMap, StatusCode},
    response::IntoResponse,
    routing::post,
};
use postern_document::{STREAM_NAME_MAX, STREAM_PARAMETER_BYTES_MAX, STREAM_PARAMETERS_MAX, StreamNoun, Target};
use postern_router::rest::StreamRecord;
use postern_switch::{Reply, Request};
use postern_types::AccountSid;
use serde_json::{Value, json};

use super::{Answer, named, not_live, owner, unexpected};
use crate::{App, date::rfc2822, error::Refusal, form::Parameters, instance::account_path, order};

/// The routes, each with and without `.json`.
pub(crate) fn routes() -> Router<App> {
    Router::new()
        .route("/2010-04-01/Accounts/{account}/Calls/{call}/Streams", post(create))
        .route("/2010-04-01/Accounts/{account}/Calls/{call}/Streams.json", post(create))
        .route("/2010-04-01/Accounts/{account}/Calls/{call}/Streams/{stream}", post(update))
}

async fn create(
    State(app): State<App>,
    Path((account, call)): Path<(String, String)>,
    headers: HeaderMap,
    body: Body,
) -> Answer {
    let account = owner(&app, &headers, &account)?;
    let (sid, path) = named(account, &call)?;
    let wanted = wanted(&Parameters::read(&headers, body).await?)?;
    match app.context.switch.ask(Request::CreateStream { account, call: sid, wanted: Box::new(wanted) }).await? {
        Reply::Stream(record) => Ok((StatusCode::CREATED, Json(instance(&record, account))).into_response()),
        Reply::Refused(error) => Err(error.into()),
        Reply::NotLive => Err(not_live(&app, account, (sid, &path), "streamed").await),
        _ => Err(unexpected()),
    }
}

async fn update(
    State(app): State<App>,
    Path((account, call, stream)): Path<(String, String, String)>,
    headers: HeaderMap,
    body: Body,
) -> Answer {
    let account = owner(&app, &headers, &account)?;
    let (sid, _) = named(account, &call)?;
    let stream = stream.strip_suffix(".json").unwrap_or(&stream).to_owned();
    let path = format!("{}/Calls/{sid}/Streams/{stream}.json", account_path(account));
    if Parameters::read(&headers, body).await?.one("Status") != Some("stopped") {
        return Err(Refusal::parameter(20001, "Status", "want `stopped`"));
    }
    match app.context.switch.ask(Request::StopStream { account, call: sid, stream }).await? {
        Reply::Stream(record) => Ok(Json(instance(&record, account)).into_response()),
        Reply::NotLive => Err(Refusal::not_found(&path)),
        _ => Err(unexpected()),
    }
}

fn instance(record: &StreamRecord, account: AccountSid) -> Value {
    json!({
        "sid": record.sid,
        "account_sid": account,
        "call_sid": record.call,
        "name": record.name,
        "status": record.status,
        "date_updated": rfc2822(record.updated),
        "uri": format!("{}/Calls/{}/Streams/{}.json", account_path(account), record.call, record.sid),
    })
}

fn wanted(given: &Parameters) -> Result<StreamNoun, Refusal> {
    let url = given.one("Url").filter(|url| !url.is_empty());
    let url = url.ok_or_else(|| Refusal::parameter(21603, "Url", "want a URL that begins with wss:// or ws://"))?;
    let name = given.one("Name").map(str::trim).filter(|name| !name.is_empty());
    if name.is_some_and(|name| name.len() > STREAM_NAME_MAX || name.contains(char::is_control)) {
        return Err(Refusal::parameter(20001, "Name", format!("want 1 to {STREAM_NAME_MAX} characters")));
    }
    let (inbound, outbound) = StreamNoun::track(given.one("Track").unwrap_or("inbound_track"))
        .ok_or_else(|| Refusal::parameter(20001, "Track", "want `inbound_track`, `outbound_track` or `both_tracks`"))?;
    let mut parameters = Vec::new();
    for n in 1..=STREAM_PARAMETERS_MAX {
        let (name_is, value_is) = (format!("Parameter{n}.Name"), format!("Parameter{n}.Value"));
        let (Some(name), value) = (given.one(&name_is), given.one(&value_is).unwrap_or_default()) else { continue };
        if name.is_empty() || name.len() + value.len() > STREAM_PARAMETER_BYTES_MAX {
            let why = format!("want a name, and {STREAM_PARAMETER_BYTES_MAX} bytes with its value at most");
            return Err(Refusal::parameter(20001, &name_is, why));
        }
        parameters.push((name.to_owned(), value.to_owned()));
    }
    let method = order::method(given, "StatusCallbackMethod")?;
    let callback = order::web(given, "StatusCallback")?.map(|url| Target { url: url.to_owned(), method });
    Ok(StreamNoun { url: url.to_owned(), name: name.map(str::to_owned), inbound, outbound, parameters, callback })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wanted_is_read_and_what_is_wrong_is_named() {
        let read = |text: &str| wanted(&Parameters::parse(text.as_bytes()).unwrap());
        let all = read(
            "Url=wss://a/b?c=d&Name=one&Track=both_tracks&StatusCallback=http://a/told&StatusCallbackMethod=GET\
             &Parameter1.Name=lang&Parameter1.Value=de&Parameter99.Name=last",
        )
        .unwrap();
        assert_eq!(
            (&*all.url, all.name.as_deref(), all.inbound, all.outbound),
            ("wss://a/b?c=d", Some("one"), true, true)
        );
        let pairs = [("lang", "de"), ("last", "")].map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!((all.parameters, all.callback.map(|to| to.url).as_deref()), (pairs.to_vec(), Some("http://a/told")));
        let plain = read("Url=ws://a/").unwrap();
        assert!(plain.inbound && !plain.outbound && plain.name.is_none() && plain.callback.is_none());
        let long = format!("Url=ws://a/&Parameter2.Name=a&Parameter2.Value={}", "x".repeat(500));
        for (text, name) in [
            ("", "Url"),
            ("Url=ws://a/&Track=left", "Track"),
            ("Url=ws://a/&StatusCallback=ftp://a", "StatusCallback"),
            ("Url=ws://a/&Name=%01", "Name"),
            (&long, "Parameter2.Name"),
        ] {
            let refused = format!("{:?}", read(text).unwrap_err());
            assert!(refused.contains(&format!("'{name}'")), "{text}: {refused}");
        }
    }
}

//! Recordings: of a call that lives, and those that are kept, with their audio.

use std::{
    io::{self, Read},
    time::Duration,
};

use axum::{
    Json, Router,
    body::{Body, Bytes},
    extract::{Path, RawQuery, State},
    http::{HeaderMap, StatusCode, header},
    response::IntoResponse,
    routing::get,
};
use postern_config::{HttpMethod, RecordingEvent};
use postern_facts::RecordingRecord;
use postern_router::rest::{CreateRecording, UpdateRecording};
use postern_switch::{Reply, Request};
use postern_types::{AccountSid, CallSid, RecordingSid, UnixMicros};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Answer, counted::Page, named, not_live, owner, unexpected};
use crate::{
    App,
    date::rfc2822,
    error::Refusal,
    form::Parameters,
    instance::{VERSION, account_path},
    order,
    store::RecordingQuery,
};

/// Bytes that are read of a file at a time.
const CHUNK: usize = 256 << 10;

/// The routes, each with and without `.json`.
pub(crate) fn routes() -> Router<App> {
    Router::new()
        .route("/2010-04-01/Accounts/{account}/Recordings", get(list_all))
        .route("/2010-04-01/Accounts/{account}/Recordings.json", get(list_all))
        .route("/2010-04-01/Accounts/{account}/Recordings/{recording}", get(fetch).delete(delete))
        .route("/2010-04-01/Accounts/{account}/Calls/{call}/Recordings", get(list_of_call).post(create))
        .route("/2010-04-01/Accounts/{account}/Calls/{call}/Recordings.json", get(list_of_call).post(create))
        .route(
            "/2010-04-01/Accounts/{account}/Calls/{call}/Recordings/{recording}",
            get(fetch).post(update).delete(delete),
        )
}

async fn list_all(
    State(app): State<App>,
    Path(account): Path<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Answer {
    let account = owner(&app, &headers, &account)?;
    let given = Parameters::parse(query.unwrap_or_default().as_bytes())?;
    let call = match given.one("CallSid") {
        Some(sid) => Some(sid.parse().map_err(|why| Refusal::parameter(20001, "CallSid", format!("{why}")))?),
        None => None,
    };
    page(&app, account, call, &given, &format!("{}/Recordings.json", account_path(account))).await
}

async fn list_of_call(
    State(app): State<App>,
    Path((account, call)): Path<(String, String)>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Answer {
    let account = owner(&app, &headers, &account)?;
    let (sid, _) = named(account, &call)?;
    let given = Parameters::parse(query.unwrap_or_default().as_bytes())?;
    page(&app, account, Some(sid), &given, &format!("{}/Calls/{sid}/Recordings.json", account_path(account))).await
}

async fn page(app: &App, account: AccountSid, call: Option<CallSid>, given: &Parameters, uri: &str) -> Answer {
    let page = Page::read(given)?;
    let query = RecordingQuery { account, call, offset: page.start(), limit: page.size + 1 };
    let found = app.context.recordings.list(query).await?;
    let rows = found.iter().map(|record| instance(record, account)).collect();
    Ok(Json(page.shape("recordings", uri, rows)).into_response())
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
    let request = Request::CreateRecording { account, call: sid, wanted: Box::new(wanted) };
    match app.context.switch.ask(request).await? {
        Reply::Recording(record) => Ok((StatusCode::CREATED, Json(instance(&record, account))).into_response()),
        Reply::Refused(error) => Err(error.into()),
        Reply::NotLive => Err(not_live(&app, account, (sid, &path), "recorded").await),
        _ => Err(unexpected()),
    }
}

async fn update(
    State(app): State<App>,
    Path((account, call, recording)): Path<(String, String, String)>,
    headers: HeaderMap,
    body: Body,
) -> Answer {
    let account = owner(&app, &headers, &account)?;
    let (sid, _) = named(account, &call)?;
    let name = recording.strip_suffix(".json").unwrap_or(&recording);
    let path = format!("{}/Calls/{sid}/Recordings/{name}.json", account_path(account));
    let recording = match name {
        "Twilio.CURRENT" => None,
        name => Some(name.parse::<RecordingSid>().map_err(|_| Refusal::not_found(&path))?),
    };
    let given = Parameters::read(&headers, body).await?;
    let silence = match given.one("PauseBehavior") {
        Some("silence") | None => true,
        Some("skip") => false,
        Some(_) => return Err(Refusal::parameter(20001, "PauseBehavior", "want `skip` or `silence`")),
    };
    let update = match given.one("Status") {
        Some("paused") => UpdateRecording::Pause { silence },
        Some("in-progress") => UpdateRecording::Resume,
        Some("stopped") => UpdateRecording::Stop,
        _ => return Err(Refusal::parameter(20001, "Status", "want `paused`, `in-progress` or `stopped`")),
    };
    match app.context.switch.ask(Request::UpdateRecording { account, call: sid, recording, update }).await? {
        Reply::Recording(record) => Ok(Json(instance(&record, account)).into_response()),
        Reply::Refused(error) => Err(error.into()),
        Reply::NotLive => match recording {
            Some(recording) => {
                let record = kept(&app, account, recording, &path).await?;
                let why = format!("the recording is {}", record.status);
                Err(Refusal::new(StatusCode::BAD_REQUEST, 21220, why))
            }
            None => Err(Refusal::not_found(&path)),
        },
        _ => Err(unexpected()),
    }
}

/// The parts of a recording's path; the call's is in one of the two.
#[derive(Deserialize)]
struct Place {
    account: String,
    call: Option<String>,
    recording: String,
}

impl Place {
    /// Whose it is, and the call that it has to be of.
    fn owned(&self, app: &App, headers: &HeaderMap) -> Result<(AccountSid, Option<CallSid>), Refusal> {
        let account = owner(app, headers, &self.account)?;
        let call = self.call.as_deref().map(|call| named(account, call)).transpose()?;
        Ok((account, call.map(|(sid, _)| sid)))
    }
}

/// A recording as JSON, or with `.wav` its audio.
async fn fetch(State(app): State<App>, Path(place): Path<Place>, headers: HeaderMap) -> Answer {
    let (account, call) = place.owned(&app, &headers)?;
    let (record, is_audio) = find(&app, account, call, &place.recording).await?;
    if is_audio {
        return audio(&app, &record).await;
    }
    Ok(Json(instance(&record, account)).into_response())
}

async fn delete(State(app): State<App>, Path(place): Path<Place>, headers: HeaderMap) -> Answer {
    let (account, call) = place.owned(&app, &headers)?;
    let (record, _) = find(&app, account, call, &place.recording).await?;
    if matches!(record.status.as_str(), "in-progress" | "paused") {
        let why = "the recording is being made; stop it before deleting it";
        return Err(Refusal::new(StatusCode::CONFLICT, 20009, why));
    }
    app.context.recordings.delete(record.sid).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// The recording of a path, and whether its audio is meant.
async fn find(
    app: &App,
    account: AccountSid,
    call: Option<CallSid>,
    name: &str,
) -> Result<(RecordingRecord, bool), Refusal> {
    let path = format!("{}/Recordings/{name}", account_path(account));
    let (bare, is_audio) = match (name.strip_suffix(".wav"), name.strip_suffix(".json")) {
        (Some(bare), _) => (bare, true),
        (None, Some(bare)) => (bare, false),
        (None, None) => (name, false),
    };
    let sid = bare.parse().map_err(|_| Refusal::not_found(&path))?;
    let record = kept(app, account, sid, &path).await?;
    match call {
        Some(call) if call != record.call => Err(Refusal::not_found(&path)),
        _ => Ok((record, is_audio)),
    }
}

async fn kept(app: &App, account: AccountSid, sid: RecordingSid, path: &str) -> Result<RecordingRecord, Refusal> {
    let record = app.context.recordings.find(sid).await?;
    record.filter(|record| record.account == Some(account)).ok_or_else(|| Refusal::not_found(path))
}

/// The file, as it is now: of one that is being made what was written so far.
async fn audio(app: &App, record: &RecordingRecord) -> Answer {
    let missing = || Refusal::not_found(&format!("/{VERSION}/…/Recordings/{}.wav", record.sid));
    let file = app.context.recordings.open(record.sid).await.map_err(|_| missing())?;
    let bytes = file.metadata().map_err(|_| missing())?.len();
    let whole = futures_util::stream::unfold((file, bytes), |(file, left)| async move {
        if left == 0 {
            return None;
        }
        let read = tokio::task::spawn_blocking(move || {
            let mut file = file;
            let mut chunk = vec![0; CHUNK.min(usize::try_from(left).unwrap_or(CHUNK))];
            file.read_exact(&mut chunk).map(|()| (file, Bytes::from(chunk)))
        });
        match read.await.unwrap_or_else(|error| Err(io::Error::other(error))) {
            Ok((file, chunk)) => {
                let left = left - chunk.len() as u64;
                Some((Ok(chunk), (file, left)))
            }
            Err(error) => Some((Err(error), (std::fs::File::open("/dev/null").ok()?, 0))),
        }
    });
    let headers = [(header::CONTENT_TYPE, "audio/wav".to_owned()), (header::CONTENT_LENGTH, bytes.to_string())];
    Ok((headers, Body::from_stream(whole)).into_response())
}

/// A recording resource.
pub(crate) fn instance(record: &RecordingRecord, account: AccountSid) -> Value {
    let path = account_path(account);
    let date = |time: UnixMicros| rfc2822(time);
    let is_over = matches!(record.status.as_str(), "completed" | "absent");
    let duration = Duration::from_millis(record.duration_ms).as_millis().div_ceil(1000);
    json!({
        "sid": record.sid,
        "account_sid": account,
        "api_version": VERSION,
        "call_sid": record.call,
        "conference_sid": record.conference,
        "date_created": date(record.created),
        "date_updated": date(record.updated),
        "start_time": date(record.created),
        "duration": if is_over { duration.to_string() } else { "-1".into() },
        "channels": record.channels,
        "source": record.source,
        "status": record.status,
        "track": record.track,
        "error_code": record.error.as_ref().map(|_| 13223),
        "price": null,
        "price_unit": null,
        "encryption_details": null,
        "media_url": format!("{path}/Recordings/{}.wav", record.sid),
        "uri": format!("{path}/Recordings/{}.json", record.sid),
        "subresource_uris": {},
    })
}

fn wanted(given: &Parameters) -> Result<CreateRecording, Refusal> {
    let dual = match given.one("RecordingChannels") {
        None | Some("mono") => false,
        Some("dual") => true,
        Some(_) => return Err(Refusal::parameter(20001, "RecordingChannels", "want `mono` or `dual`")),
    };
    let (inbound, outbound) = match given.one("RecordingTrack") {
        None | Some("both") => (true, true),
        Some("inbound") => (true, false),
        Some("outbound") => (false, true),
        Some(_) => return Err(Refusal::parameter(20001, "RecordingTrack", "want `inbound`, `outbound` or `both`")),
    };
    let trim = match given.one("Trim") {
        None | Some("do-not-trim") => false,
        Some("trim-silence") => true,
        Some(_) => return Err(Refusal::parameter(20001, "Trim", "want `trim-silence` or `do-not-trim`")),
    };
    let callback = match order::web(given, "RecordingStatusCallback")? {
        None => None,
        Some(url) => {
            let mut events: Vec<RecordingEvent> = Vec::new();
            for word in given.all("RecordingStatusCallbackEvent").flat_map(str::split_ascii_whitespace) {
                let why = "want `in-progress`, `completed` or `absent`";
                let event = RecordingEvent::from_word(word)
                    .ok_or_else(|| Refusal::parameter(20001, "RecordingStatusCallbackEvent", why))?;
                if !events.contains(&event) {
                    events.push(event);
                }
            }
            if events.is_empty() {
                events.push(RecordingEvent::Completed);
            }
            let method: HttpMethod = order::method(given, "RecordingStatusCallbackMethod")?;
            Some((url.to_owned(), method, events))
        }
    };
    Ok(CreateRecording { dual, inbound, outbound, trim, callback })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wanted_is_read_and_what_is_wrong_is_named() {
        let read = |text: &str| wanted(&Parameters::parse(text.as_bytes()).unwrap());
        let all = read(
            "RecordingChannels=dual&RecordingTrack=inbound&Trim=trim-silence&RecordingStatusCallback=http://a/b\
             &RecordingStatusCallbackEvent=in-progress%20absent&RecordingStatusCallbackMethod=GET",
        )
        .unwrap();
        let events = vec![RecordingEvent::InProgress, RecordingEvent::Absent];
        let callback = Some(("http://a/b".to_owned(), HttpMethod::Get, events));
        assert_eq!(all, CreateRecording { dual: true, inbound: true, outbound: false, trim: true, callback });
        let none = read("").unwrap();
        assert_eq!(none, CreateRecording { dual: false, inbound: true, outbound: true, trim: false, callback: None });
        for (text, name) in [
            ("RecordingChannels=3", "RecordingChannels"),
            ("RecordingTrack=left", "RecordingTrack"),
            ("Trim=yes", "Trim"),
            ("RecordingStatusCallback=ftp://a", "RecordingStatusCallback"),
            ("RecordingStatusCallback=http://a&RecordingStatusCallbackEvent=done", "RecordingStatusCallbackEvent"),
        ] {
            let refused = format!("{:?}", read(text).unwrap_err());
            assert!(refused.contains(&format!("'{name}'")), "{text}: {refused}");
        }
    }
}

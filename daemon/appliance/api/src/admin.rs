//! `/v1/…` on the Unix socket: what the `postern` tool asks. Whoever may open the socket sees everybody's calls.

use std::time::Duration;

use axum::{
    Json, Router,
    extract::{Path, RawQuery, State},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use postern_facts::CallRecord;
use postern_router::{TrialFrom, TrialOf};
use postern_switch::{Reply, Request, Status};
use postern_types::{CallSid, TrunkName, UnixMicros, UserName, mailbox::Waiting};
use serde::Serialize;
use serde_json::{Value, json};

use crate::{App, Context, RecordQuery, error::Refusal, form::Parameters, rest::unexpected};

/// Finished legs in one answer at most.
const FINISHED_MAX: usize = 10_000;

/// A leg's ancestors are looked up so far. Documents do not nest dials, so two would do.
const GENERATIONS_MAX: usize = 8;

/// The last second that a trial may be at: the year 9999 ends.
const AT_MAX: usize = 253_402_300_799;

/// A trial beyond an hour is a mistake in writing.
const TRIAL_MAX_S: usize = 3600;

/// Messages of one user beyond this are a mistake in writing.
const MESSAGES_MAX: u32 = 1_000_000;

/// Legs of one call in an answer at most.
const LEGS_MAX: usize = 200;

/// The routes of the tool.
pub(crate) fn routes() -> Router<App> {
    Router::new()
        .route("/v1/status", get(status))
        .route("/v1/route", get(route))
        .route("/v1/calls", get(calls))
        .route("/v1/calls/{call}", get(call))
        .route("/v1/calls/{call}/hangup", post(hangup))
        .route("/v1/drain", post(drain))
        .route("/v1/bans", get(bans))
        .route("/v1/bans/lift", post(lift_ban))
        .route("/v1/messages", get(messages).post(set_messages))
        .route("/v1/reload", post(reload))
        .route("/v1/trial", post(try_out))
        .route("/v1/trial/confirm", post(confirm))
}

/// The status as it leaves: the switch's, completed by the drivers and by the API itself.
#[derive(Debug, Serialize)]
struct FullStatus {
    #[serde(flatten)]
    status: Status,
    streams: StreamStatus,
}

#[derive(Debug, Serialize)]
struct StreamStatus {
    /// Readers of event streams now.
    readers: usize,
    /// Events that never reached the streams.
    overflowed: u64,
}

async fn status(State(app): State<App>) -> Answer {
    let status = app.context.status().await?;
    let hub = &app.context.hub;
    let streams = StreamStatus { readers: hub.readers(), overflowed: hub.overflowed() };
    Ok(Json(FullStatus { status, streams }).into_response())
}

/// `?finished=N`: with the latest finished legs, too.
async fn calls(State(app): State<App>, RawQuery(query): RawQuery) -> Answer {
    let given = Parameters::parse(query.unwrap_or_default().as_bytes())?;
    let finished = given.number("finished", 0..=FINISHED_MAX)?.unwrap_or(0);
    let mut calls = app.context.live_calls(None).await?;
    calls.sort_by_key(|record| std::cmp::Reverse(record.created));
    if finished > 0 {
        let live: std::collections::HashSet<_> = calls.iter().map(|record| record.sid).collect();
        let query = RecordQuery { limit: finished, ..RecordQuery::default() };
        let list = app.context.store.list(query).await?;
        calls.extend(list.into_iter().filter(|record| !live.contains(&record.sid)));
    }
    Ok(Json(json!({ "calls": calls })).into_response())
}

/// Everything about one call, by any of its legs.
async fn call(State(app): State<App>, Path(call): Path<String>) -> Answer {
    let sid = named(&call)?;
    let live = app.context.live_calls(None).await?;
    let first = app.context.first_leg(sid, &live).await?;
    let children = RecordQuery { parent: Some(first), limit: LEGS_MAX, ..RecordQuery::default() };
    let mut legs = app.context.store.list(children).await?;
    legs.extend(app.context.store.find(first).await?);
    let known: std::collections::HashSet<_> = legs.iter().map(|record| record.sid).collect();
    let of_this = |record: &CallRecord| record.sid == first || record.parent == Some(first);
    legs.extend(live.into_iter().filter(|record| of_this(record) && !known.contains(&record.sid)).take(LEGS_MAX));
    legs.sort_by_key(|record| (record.sid != first, record.created, record.sid));
    let facts = app.context.facts(first).await?;
    if legs.is_empty() && facts.is_empty() {
        return Err(Refusal::not_found(&format!("/v1/calls/{sid}")));
    }
    Ok(Json(json!({ "call": first, "legs": legs, "facts": facts })).into_response())
}

/// `?number=N`, and `trunk=NAME` for a call of a trunk, `caller=N` for who calls, `at=SECONDS` since 1970 for another time than now.
async fn route(State(app): State<App>, RawQuery(query): RawQuery) -> Answer {
    let given = Parameters::parse(query.unwrap_or_default().as_bytes())?;
    let dialed = given.one("number").ok_or_else(|| Refusal::parameter(20001, "number", "is missing"))?;
    let from = given.one("trunk").map_or(TrialFrom::User, |trunk| TrialFrom::Trunk(TrunkName::new(trunk)));
    let caller = given.one("caller").unwrap_or_default().to_owned();
    let at = given.number("at", 0..=AT_MAX)?.map(|seconds| UnixMicros(seconds as u64 * 1_000_000));
    let of = TrialOf { from, dialed: dialed.to_owned(), caller, at };
    match app.context.switch.ask(Request::Route(of)).await? {
        Reply::Route(trial) => Ok(Json(trial).into_response()),
        Reply::Refused(error) => Err(error.into()),
        _ => Err(unexpected()),
    }
}

async fn hangup(State(app): State<App>, Path(call): Path<String>) -> Answer {
    let sid = named(&call)?;
    match app.context.switch.ask(Request::Hangup { sid }).await? {
        Reply::Done => Ok(Json(json!({ "ended": sid })).into_response()),
        Reply::NotLive => Err(Refusal::new(StatusCode::NOT_FOUND, 20404, format!("{sid} is not a live call"))),
        Reply::Refused(error) => Err(error.into()),
        _ => Err(unexpected()),
    }
}

/// `?on=false` takes calls again. The answer is the status.
async fn drain(State(app): State<App>, RawQuery(query): RawQuery) -> Answer {
    let given = Parameters::parse(query.unwrap_or_default().as_bytes())?;
    let on = match given.one("on") {
        None | Some("true") => true,
        Some("false") => false,
        Some(other) => return Err(Refusal::parameter(20001, "on", format!("`{other}` is neither true nor false"))),
    };
    match app.context.switch.ask(Request::Drain { on }).await? {
        Reply::Done => status(State(app)).await,
        Reply::Refused(error) => Err(error.into()),
        _ => Err(unexpected()),
    }
}

async fn bans(State(app): State<App>) -> Answer {
    match app.context.switch.ask(Request::Bans).await? {
        Reply::Bans(bans) => Ok(Json(json!({ "bans": bans })).into_response()),
        _ => Err(unexpected()),
    }
}

/// `?source=ADDRESS`, or a network as `GET /v1/bans` names it.
async fn lift_ban(State(app): State<App>, RawQuery(query): RawQuery) -> Answer {
    let given = Parameters::parse(query.unwrap_or_default().as_bytes())?;
    let named = given.one("source").unwrap_or_default();
    let address = named.split_once('/').map_or(named, |(address, _)| address);
    let source = address
        .parse()
        .map_err(|_| Refusal::parameter(20001, "source", "want an address, or a network as the list of bans has it"))?;
    match app.context.switch.ask(Request::LiftBan { source, by: "postern bans".into() }).await? {
        Reply::Done => Ok(Json(json!({ "lifted": named })).into_response()),
        Reply::NotLive => Err(Refusal::new(StatusCode::NOT_FOUND, 20404, format!("{source} is not banned"))),
        _ => Err(unexpected()),
    }
}

/// `?user=NAME`.
async fn messages(State(app): State<App>, RawQuery(query): RawQuery) -> Answer {
    let given = Parameters::parse(query.unwrap_or_default().as_bytes())?;
    waiting(&app, &given, None).await
}

/// `?user=NAME&new=N&old=N&new_urgent=N&old_urgent=N`: so many voice messages wait from now on; what is left out is 0.
async fn set_messages(State(app): State<App>, RawQuery(query): RawQuery) -> Answer {
    let given = Parameters::parse(query.unwrap_or_default().as_bytes())?;
    let count = |name| given.number(name, 0..=MESSAGES_MAX).map(Option::unwrap_or_default);
    let (new, old) = (count("new")?, count("old")?);
    let (new_urgent, old_urgent) = (count("new_urgent")?, count("old_urgent")?);
    waiting(&app, &given, Some(Waiting { new, old, new_urgent, old_urgent })).await
}

async fn waiting(app: &App, given: &Parameters, set: Option<Waiting>) -> Answer {
    let user = given.one("user").ok_or_else(|| Refusal::parameter(20001, "user", "is missing"))?;
    let set = set.map(|waiting| (waiting, "postern messages".to_owned()));
    match app.context.switch.ask(Request::Messages { user: UserName::new(user), set }).await? {
        Reply::Messages(waiting) => Ok(Json(json!({ "user": user, "messages": waiting })).into_response()),
        Reply::NotLive => Err(Refusal::new(StatusCode::NOT_FOUND, 20404, format!("`{user}` is no user"))),
        _ => Err(unexpected()),
    }
}

async fn reload(State(app): State<App>) -> Answer {
    Ok(applied(app.context.admin.reload("postern reload").await))
}

/// `?place=FILE.trial&seconds=N`: that configuration is in force for so long, and the one before then again, unless it is confirmed.
async fn try_out(State(app): State<App>, RawQuery(query): RawQuery) -> Answer {
    let given = Parameters::parse(query.unwrap_or_default().as_bytes())?;
    let place = given.one("place").ok_or_else(|| Refusal::parameter(20001, "place", "is missing"))?;
    let seconds = given.number("seconds", 1..=TRIAL_MAX_S)?;
    let seconds = seconds.ok_or_else(|| Refusal::parameter(20001, "seconds", "is missing"))?;
    Ok(applied(app.context.admin.try_out(place, Duration::from_secs(seconds as u64)).await))
}

async fn confirm(State(app): State<App>) -> Answer {
    let confirmed = app.context.admin.confirm().await;
    confirmed.map(|told| Json(told).into_response()).map_err(|why| Refusal::new(StatusCode::CONFLICT, 20409, why))
}

fn applied(outcome: Result<Value, Vec<Value>>) -> Response {
    match outcome {
        Ok(summary) => Json(summary).into_response(),
        Err(mistakes) => (StatusCode::UNPROCESSABLE_ENTITY, Json(json!({ "mistakes": mistakes }))).into_response(),
    }
}

type Answer = Result<Response, Refusal>;

pub(crate) fn named(text: &str) -> Result<CallSid, Refusal> {
    text.parse().map_err(|why| Refusal::parameter(20001, "call", format!("{why}")))
}

impl Context {
    /// The live legs of one account, or of all.
    pub(crate) async fn live_calls(
        &self,
        account: Option<postern_types::AccountSid>,
    ) -> Result<Vec<CallRecord>, Refusal> {
        match self.switch.ask(Request::LiveCalls { account }).await? {
            Reply::Calls(calls) => Ok(calls),
            Reply::Refused(error) => Err(error.into()),
            _ => Err(unexpected()),
        }
    }

    /// The status, with the parts that drivers know.
    pub(crate) async fn status(&self) -> Result<Status, Refusal> {
        match self.switch.ask(Request::Status).await? {
            Reply::Status(mut status) => {
                self.admin.complete(&mut status);
                Ok(*status)
            }
            Reply::Refused(error) => Err(error.into()),
            _ => Err(unexpected()),
        }
    }

    /// The first leg of the call that a leg belongs to.
    pub(crate) async fn first_leg(&self, mut sid: CallSid, live: &[CallRecord]) -> Result<CallSid, Refusal> {
        for _ in 0..GENERATIONS_MAX {
            let parent = match live.iter().find(|record| record.sid == sid) {
                Some(record) => record.parent,
                None => self.store.find(sid).await?.and_then(|record| record.parent),
            };
            match parent {
                Some(parent) => sid = parent,
                None => break,
            }
        }
        Ok(sid)
    }

    /// What happened in a call: as stored, and what the memory has beyond that.
    async fn facts(&self, call: CallSid) -> Result<Vec<Value>, Refusal> {
        let mut facts = self.store.facts(call).await?;
        let stored: std::collections::HashSet<_> = facts.iter().filter_map(|fact| fact["seq"].as_u64()).collect();
        let recent = self.hub.of_call(call).into_iter().filter(|event| !stored.contains(&event.seq));
        facts.extend(recent.filter_map(|event| serde_json::from_str(&event.json).ok()));
        facts.sort_by_key(|fact| fact["seq"].as_u64());
        Ok(facts)
    }
}

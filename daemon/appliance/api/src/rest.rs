//! `/2010-04-01/Accounts/…`: the resources that telephony SDKs speak.

use axum::{
    Json, Router,
    body::Body,
    extract::{Path, RawQuery, State},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
    routing::get,
};
use postern_facts::CallRecord;
use postern_switch::{Reply, Request};
use postern_types::{AccountSid, CallSid};

use crate::{App, auth, error::Refusal, form::Parameters, instance, order, page::Wanted};

mod conferences;
mod counted;
mod recordings;
mod streams;

/// The routes, each with and without `.json`.
pub(crate) fn routes() -> Router<App> {
    Router::new()
        .route("/2010-04-01/Accounts/{account}", get(fetch_account))
        .route("/2010-04-01/Accounts/{account}/Calls", get(list).post(create))
        .route("/2010-04-01/Accounts/{account}/Calls.json", get(list).post(create))
        .route("/2010-04-01/Accounts/{account}/Calls/{call}", get(fetch).post(update).delete(delete))
        .merge(conferences::routes())
        .merge(recordings::routes())
        .merge(streams::routes())
}

async fn fetch_account(State(app): State<App>, Path(account): Path<String>, headers: HeaderMap) -> Answer {
    let account = owner(&app, &headers, &account)?;
    Ok(Json(instance::account(account)).into_response())
}

async fn list(
    State(app): State<App>,
    Path(account): Path<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Answer {
    let account = owner(&app, &headers, &account)?;
    let wanted = Wanted::read(account, &Parameters::parse(query.unwrap_or_default().as_bytes())?)?;
    Ok(Json(wanted.fetch(account, &app.context).await?).into_response())
}

async fn create(State(app): State<App>, Path(account): Path<String>, headers: HeaderMap, body: Body) -> Answer {
    let account = owner(&app, &headers, &account)?;
    let call = order::create(&Parameters::read(&headers, body).await?)?;
    match app.context.switch.ask(Request::CreateCall { account, call: Box::new(call) }).await? {
        Reply::Call(record) => Ok((StatusCode::CREATED, Json(instance::call(&record, account))).into_response()),
        Reply::Refused(error) => Err(error.into()),
        _ => Err(unexpected()),
    }
}

async fn fetch(State(app): State<App>, Path((account, call)): Path<(String, String)>, headers: HeaderMap) -> Answer {
    let account = owner(&app, &headers, &account)?;
    let (sid, path) = named(account, &call)?;
    let live = app.context.switch.ask(Request::FindCall { account: Some(account), sid }).await?;
    let record = match live {
        Reply::Call(record) => *record,
        Reply::NotLive => finished(&app, account, sid).await?.ok_or_else(|| Refusal::not_found(&path))?,
        Reply::Refused(error) => return Err(error.into()),
        _ => return Err(unexpected()),
    };
    Ok(Json(instance::call(&record, account)).into_response())
}

async fn update(
    State(app): State<App>,
    Path((account, call)): Path<(String, String)>,
    headers: HeaderMap,
    body: Body,
) -> Answer {
    let account = owner(&app, &headers, &account)?;
    let (sid, path) = named(account, &call)?;
    let update = order::update(&Parameters::read(&headers, body).await?)?;
    match app.context.switch.ask(Request::UpdateCall { account, sid, update: Box::new(update) }).await? {
        Reply::Call(record) => Ok(Json(instance::call(&record, account)).into_response()),
        Reply::Refused(error) => Err(error.into()),
        Reply::NotLive => Err(not_live(&app, account, (sid, &path), "changed").await),
        _ => Err(unexpected()),
    }
}

async fn delete(State(app): State<App>, Path((account, call)): Path<(String, String)>, headers: HeaderMap) -> Answer {
    let account = owner(&app, &headers, &account)?;
    let (sid, path) = named(account, &call)?;
    if let Reply::Call(_) = app.context.switch.ask(Request::FindCall { account: Some(account), sid }).await? {
        return Err(Refusal::new(StatusCode::CONFLICT, 20009, "the call is live; end it before deleting it"));
    }
    finished(&app, account, sid).await?.ok_or_else(|| Refusal::not_found(&path))?;
    match app.context.store.delete(sid).await? {
        true => Ok(StatusCode::NO_CONTENT.into_response()),
        false => Err(Refusal::not_found(&path)),
    }
}

/// Every handler's result.
type Answer = Result<Response, Refusal>;

/// The account that asks, which must be the one of the path. Whether another exists is not told.
fn owner(app: &App, headers: &HeaderMap, in_path: &str) -> Result<AccountSid, Refusal> {
    let account = auth::account(headers, &app.context.tenants)?;
    let in_path = in_path.strip_suffix(".json").unwrap_or(in_path);
    match in_path.parse::<AccountSid>() {
        Ok(named) if named == account => Ok(account),
        _ => Err(Refusal::not_found(&format!("/{}/Accounts/{in_path}", instance::VERSION))),
    }
}

/// The call of the path, and the path for an error.
fn named(account: AccountSid, in_path: &str) -> Result<(CallSid, String), Refusal> {
    let in_path = in_path.strip_suffix(".json").unwrap_or(in_path);
    let path = format!("{}/Calls/{in_path}.json", instance::account_path(account));
    match in_path.parse() {
        Ok(sid) => Ok((sid, path)),
        Err(_) => Err(Refusal::not_found(&path)),
    }
}

async fn finished(app: &App, account: AccountSid, sid: CallSid) -> Result<Option<CallRecord>, Refusal> {
    let record = app.context.store.find(sid).await?;
    Ok(record.filter(|record| app.context.tenants.now().owns(account, record.account)))
}

/// Why a call that does not live cannot be changed, recorded, …: it is over, or never was.
async fn not_live(app: &App, account: AccountSid, (sid, path): (CallSid, &str), what: &str) -> Refusal {
    match finished(app, account, sid).await {
        Ok(Some(record)) => {
            let why = format!("the call is over ({}) and cannot be {what}", record.status);
            Refusal::new(StatusCode::BAD_REQUEST, 21220, why)
        }
        Ok(None) => Refusal::not_found(path),
        Err(refusal) => refusal,
    }
}

/// The switch answered another question than was asked: a mistake of ours.
pub(crate) fn unexpected() -> Refusal {
    Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, 20500, "the appliance misunderstood itself")
}

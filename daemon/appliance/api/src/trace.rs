//! `/v1/trace` on the Unix socket: the SIP messages of a call, secrets masked. Only root sees them with their secrets.

use axum::{
    Extension, Json, Router,
    extract::{Path, RawQuery, State},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::get,
};
use base64::{Engine, prelude::BASE64_STANDARD};
use postern_switch::{Reply, Request, TraceOf, TracedMessage, Tracing};
use serde_json::{Value, json};

use crate::{App, admin::named, error::Refusal, form::Parameters, rest::unexpected, serve::Peer};

/// The routes.
pub(crate) fn routes() -> Router<App> {
    Router::new().route("/v1/trace", get(since)).route("/v1/trace/{call}", get(of_call))
}

/// The messages of a call, by any of its legs. `?secrets=true`: unmasked, for root.
async fn of_call(
    State(app): State<App>,
    Extension(peer): Extension<Peer>,
    Path(call): Path<String>,
    RawQuery(query): RawQuery,
) -> Result<Response, Refusal> {
    let given = Parameters::parse(query.unwrap_or_default().as_bytes())?;
    let secrets = secrets(&given, peer)?;
    let sid = named(&call)?;
    let live = app.context.live_calls(None).await?;
    let first = app.context.first_leg(sid, &live).await?;
    let tracing = ask(&app, TraceOf::Call(first)).await?;
    if tracing.messages.is_empty() {
        let why = if tracing.is_on {
            format!(
                "no messages of {first} are kept: those of the latest {} calls are (`trace.calls`, `trace.mb`)",
                tracing.calls
            )
        } else {
            "no messages are kept: `trace.calls` is 0".to_owned()
        };
        return Err(Refusal::new(StatusCode::NOT_FOUND, 20404, why));
    }
    let mut told = told(tracing, secrets);
    told["call"] = json!(first);
    Ok(Json(told).into_response())
}

/// What came after the number `after`, of all calls and of none; without it nothing but the latest number.
async fn since(
    State(app): State<App>,
    Extension(peer): Extension<Peer>,
    RawQuery(query): RawQuery,
) -> Result<Response, Refusal> {
    let given = Parameters::parse(query.unwrap_or_default().as_bytes())?;
    let secrets = secrets(&given, peer)?;
    let after = given.number("after", 0..=u64::MAX)?.unwrap_or(u64::MAX);
    Ok(Json(told(ask(&app, TraceOf::Since(after)).await?, secrets)).into_response())
}

fn secrets(given: &Parameters, peer: Peer) -> Result<bool, Refusal> {
    match given.one("secrets") {
        None | Some("false") => Ok(false),
        Some("true") if peer.is_root => Ok(true),
        Some("true") => Err(Refusal::new(StatusCode::FORBIDDEN, 20403, "secrets are shown to root alone: use sudo")),
        Some(_) => Err(Refusal::parameter(20001, "secrets", "want `true` or `false`")),
    }
}

async fn ask(app: &App, of: TraceOf) -> Result<Tracing, Refusal> {
    match app.context.switch.ask(Request::Trace(of)).await? {
        Reply::Trace(tracing) => Ok(*tracing),
        Reply::Refused(error) => Err(error.into()),
        _ => Err(unexpected()),
    }
}

fn told(tracing: Tracing, secrets: bool) -> Value {
    let messages: Vec<_> = tracing.messages.into_iter().map(|message| shown(message, secrets)).collect();
    json!({ "messages": messages, "dropped": tracing.dropped, "last": tracing.last, "kept": { "calls": tracing.calls, "bytes": tracing.bytes } })
}

fn shown(mut message: TracedMessage, secrets: bool) -> Value {
    if !secrets {
        postern_sip::raw::mask(&mut message.bytes);
    }
    let mut told = json!({
        "seq": message.seq,
        "at": message.at,
        "call": message.call,
        "leg": message.leg,
        "way": message.way,
        "transport": message.transport,
        "local": message.local,
        "remote": message.remote,
    });
    match String::from_utf8(message.bytes) {
        Ok(text) => told["text"] = json!(text),
        // A body that is no text: whole for programs, readable for a person.
        Err(error) => {
            told["text"] = json!(String::from_utf8_lossy(error.as_bytes()));
            told["base64"] = json!(BASE64_STANDARD.encode(error.as_bytes()));
        }
    }
    told
}

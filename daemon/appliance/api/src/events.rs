//! `GET /v1/events`: what happens, as server-sent events.
//!
//! `id:` is the event's number, `event:` its type, `data:` its JSON. A reader pulls from the hub by number, so a slow one
//! delays nobody; what it missed for good is told by `event: gap`. Every ten seconds of silence a comment and the latest
//! number are sent, so that a reader with a narrow filter resumes where it was.

use std::{convert::Infallible, fmt::Write, time::Duration};

use axum::{
    body::{Body, Bytes},
    extract::{RawQuery, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use futures_util::stream;
use postern_events::{Batch, Filter};
use serde_json::json;
use tokio::{
    sync::{OwnedSemaphorePermit, watch},
    time::Instant,
};

use crate::{App, EventHub, auth, error::Refusal, form::Parameters, serve::stopped};

/// Silence after which a comment is sent: proxies and readers know that the connection stands.
const HEARTBEAT: Duration = Duration::from_secs(10);

/// Events in one piece at most: about 32 KiB in memory for a reader that does not read.
const BATCH: usize = 64;

/// Events from the past that `tail` gives at most.
const TAIL_MAX: usize = 10_000;

/// What the reader asked for.
#[derive(Debug, Default, PartialEq)]
struct Wanted {
    filter: Filter,
    after: Option<u64>,
    tail: Option<usize>,
    once: bool,
}

impl Wanted {
    fn read(given: &Parameters, headers: &HeaderMap) -> Result<Self, Refusal> {
        let mut wanted = Self::default();
        for (name, value) in given.iter() {
            match name {
                "last_event_id" => wanted.after = given.number(name, 0..=u64::MAX)?,
                "tail" => wanted.tail = given.number(name, 0..=TAIL_MAX)?,
                "follow" => match value {
                    "true" => wanted.once = false,
                    "false" => wanted.once = true,
                    _ => return Err(Refusal::parameter(20001, name, "want true or false")),
                },
                _ => match wanted.filter.set(name, value) {
                    Ok(true) => {}
                    Ok(false) => {
                        let why = "unknown; known are type, call, leg, trunk, user, last_event_id, tail, follow";
                        return Err(Refusal::parameter(20001, name, why));
                    }
                    Err(bad) => return Err(Refusal::parameter(20001, &bad.name, &bad.why)),
                },
            }
        }
        // A browser that reconnects repeats its first URL: the header, which it keeps up to date, is the newer word.
        if let Some(last) = headers.get("last-event-id") {
            let number = last.to_str().ok().and_then(|text| text.trim().parse().ok());
            wanted.after =
                Some(number.ok_or_else(|| Refusal::parameter(20001, "Last-Event-ID", "want an event's number"))?);
        }
        Ok(wanted)
    }
}

/// Serves a stream. Over TCP the account sees its own events only.
pub(crate) async fn serve(
    State(app): State<App>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let account = match app.local {
        true => None,
        false => Some(auth::account(&headers, &app.context.tenants)?),
    };
    let mut wanted = Wanted::read(&Parameters::parse(query.unwrap_or_default().as_bytes())?, &headers)?;
    if account.is_some() {
        wanted.filter.account = account;
    }
    let hub = app.context.hub;
    let place = hub.admit_reader().ok_or_else(|| {
        let why = format!("{} readers of event streams is the most", crate::READERS_MAX);
        Refusal::new(StatusCode::SERVICE_UNAVAILABLE, 20503, why)
    })?;
    let newest = hub.newest();
    let next = match (wanted.after, wanted.tail) {
        (Some(after), _) => after,
        (None, Some(count)) => hub.tail(&wanted.filter, count),
        (None, None) => *newest.borrow(),
    };
    let reader = Reader {
        hub,
        newest,
        stop: app.stop,
        filter: wanted.filter,
        next,
        once: wanted.once,
        greeted: false,
        heartbeat: Instant::now() + HEARTBEAT,
        _place: place,
    };
    let body = Body::from_stream(stream::unfold(reader, Reader::turn));
    let headers = [
        (header::CONTENT_TYPE, "text/event-stream; charset=utf-8"),
        (header::CACHE_CONTROL, "no-store"),
        // nginx would otherwise collect the stream before passing it on.
        (header::HeaderName::from_static("x-accel-buffering"), "no"),
    ];
    Ok((headers, body).into_response())
}

struct Reader {
    hub: EventHub,
    newest: watch::Receiver<u64>,
    stop: watch::Receiver<bool>,
    filter: Filter,
    next: u64,
    once: bool,
    greeted: bool,
    heartbeat: Instant,
    _place: OwnedSemaphorePermit,
}

impl Reader {
    /// The next piece of the body; none ends it. Called only when the socket has taken the piece before.
    async fn turn(mut self) -> Option<(Result<Bytes, Infallible>, Self)> {
        let mut text = String::new();
        if !self.greeted {
            // Sent at once, so that the reader knows that it is connected; `retry` is how soon to come back.
            self.greeted = true;
            text.push_str("retry: 2000\n: postern\n\n");
        }
        loop {
            // Marked as seen before reading: what comes in between wakes us again.
            self.newest.borrow_and_update();
            let batch = self.hub.since(self.next, &self.filter, BATCH);
            self.next = batch.next;
            write_batch(&mut text, &batch);
            if !text.is_empty() {
                self.heartbeat = Instant::now() + HEARTBEAT;
                return Some((Ok(text.into()), self));
            }
            if self.once {
                return None;
            }
            tokio::select! {
                changed = self.newest.changed() => changed.ok()?,
                () = stopped(&mut self.stop) => return None,
                () = tokio::time::sleep_until(self.heartbeat) => {
                    // A block with an id and no data sets the reader's last id and shows it nothing.
                    _ = write!(text, ": still here\nid: {}\n\n", self.next);
                }
            }
        }
    }
}

fn write_batch(text: &mut String, batch: &Batch) {
    if let Some(gap) = batch.gap {
        let data = json!({ "from": gap.from, "to": gap.to, "why": "no longer in memory" });
        _ = write!(text, "id: {}\nevent: gap\ndata: {data}\n\n", gap.to);
    }
    for event in &batch.events {
        // JSON has no raw line ends, so one data line is enough.
        _ = write!(text, "id: {}\nevent: {}\ndata: {}\n\n", event.seq, event.name, event.json);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_is_the_newer_word_and_what_is_wrong_is_named() {
        let given = |text: &str| Parameters::parse(text.as_bytes()).unwrap();
        let mut headers = HeaderMap::new();
        let wanted = Wanted::read(&given("type=call.*&type=leg.ended&last_event_id=7"), &headers).unwrap();
        assert_eq!((wanted.after, wanted.filter.types.len()), (Some(7), 2));
        headers.insert("last-event-id", "9".parse().unwrap());
        assert_eq!(Wanted::read(&given("last_event_id=7"), &headers).unwrap().after, Some(9));
        headers.insert("last-event-id", "nine".parse().unwrap());
        assert!(Wanted::read(&given(""), &headers).is_err());
        for (text, name) in [
            ("call=7", "call"),
            ("colour=red", "colour"),
            ("follow=1", "follow"),
            ("tail=-1", "tail"),
            ("type=A", "type"),
        ] {
            let refused = format!("{:?}", Wanted::read(&given(text), &HeaderMap::new()).unwrap_err());
            assert!(refused.contains(&format!("'{name}'")), "{text}: {refused}");
        }
    }
}

//! Application servers: what a URL answers, and how late.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use postern_router::{HttpFailure, HttpRequest, HttpResponse};
use postern_types::RequestId;

/// What happens to a request.
#[derive(Debug, Clone)]
pub enum Answer {
    /// A status, a content type and a body, after a while.
    Document(Duration, u16, &'static str, String),
    /// Nobody is there.
    Refused,
    /// Nothing ever comes: the driver gives up after the request's own limit.
    Silent,
}

impl Answer {
    /// A document that comes within 20 ms.
    pub fn document(body: &str) -> Self {
        let whole = format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?><Response>{body}</Response>");
        Self::Document(Duration::from_millis(20), 200, "text/xml", whole)
    }

    /// A bare status.
    pub fn status(status: u16) -> Self {
        Self::Document(Duration::from_millis(20), status, "text/plain", String::new())
    }
}

/// One request as it came in.
#[derive(Debug, Clone)]
pub struct Taken {
    /// The whole URL.
    pub url: String,
    /// The form.
    pub form: Vec<(String, String)>,
}

impl Taken {
    /// A parameter's value.
    pub fn param(&self, name: &str) -> Option<&str> {
        self.form.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }
}

type Done = (RequestId, Result<HttpResponse, HttpFailure>);

/// All servers of the world, by URL without query.
#[derive(Debug, Default)]
pub struct Servers {
    answers: BTreeMap<String, Vec<Answer>>,
    under_way: Vec<(Instant, Done)>,
    /// Every request that was made, in order.
    pub taken: Vec<Taken>,
}

impl Servers {
    /// From now on `url` answers so: in turn, the last one again and again. A URL without an answer is 404.
    pub fn serve(&mut self, url: &str, answers: Vec<Answer>) {
        self.answers.insert(url.into(), answers);
    }

    /// Takes a request.
    pub fn request(&mut self, now: Instant, request: HttpRequest) {
        let path = request.url.split('?').next().unwrap_or_default().to_owned();
        let answer = match self.answers.get_mut(&path) {
            Some(list) if list.len() > 1 => list.remove(0),
            Some(list) => list[0].clone(),
            None => Answer::status(404),
        };
        let (at, result) = match answer {
            Answer::Document(wait, status, content_type, body) if wait <= request.total_timeout => {
                let response = HttpResponse {
                    status,
                    headers: vec![("Content-Type".into(), content_type.into())],
                    content_type: content_type.into(),
                    body: body.into_bytes(),
                    final_url: request.url.clone(),
                    took: wait,
                };
                (now + wait, Ok(response))
            }
            Answer::Refused => {
                (now + Duration::from_millis(1), Err(HttpFailure { code: 11205, why: "connection refused".into() }))
            }
            _ => (now + request.total_timeout, Err(HttpFailure { code: 11235, why: "no answer in time".into() })),
        };
        self.taken.push(Taken { url: request.url, form: request.form });
        self.under_way.push((at, (request.id, result)));
    }

    /// The next answer that is due.
    pub fn poll(&mut self, now: Instant) -> Option<Done> {
        let due = self.under_way.iter().position(|(at, _)| *at <= now)?;
        Some(self.under_way.swap_remove(due).1)
    }

    /// When the next one is.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.under_way.iter().map(|(at, _)| *at).min()
    }
}

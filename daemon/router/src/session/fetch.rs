//! Asking application servers, and the secondary when the first does not do.

use std::{
    path::{Component, Path, PathBuf},
    time::Instant,
};

use postern_config::HttpMethod;
use postern_document::{Content, Play, Program};
use postern_facts as facts;
use postern_types::{Now, RequestId};
use url::Url;

use crate::{
    call::Call,
    context::{Asker, Context},
    output::{HttpFailure, HttpResponse, PromptSource, Purpose},
    request::{self, Draft, Fields, LOST_AFTER},
    session::State,
    url::shown,
};

/// The answer came with a status that is no success, or is of no use.
const BAD_ANSWER: u32 = 11200;
/// The answer's content type is none that can be run.
const BAD_TYPE: u32 = 12300;

/// A request under way.
#[derive(Debug)]
pub struct Fetch {
    pub id: RequestId,
    url: Url,
    /// The same as it was sent: without credentials, and with GET the parameters in its query.
    sent: String,
    purpose: Purpose,
    /// What the verb adds, for the secondary too.
    extra: Fields,
    is_fallback: bool,
    pub until: Instant,
}

impl Call {
    /// Asks for the next document.
    pub fn fetch(&mut self, cx: &mut Context, now: Now, url: Url, method: HttpMethod, purpose: Purpose, extra: Fields) {
        self.send(cx, now, url, method, purpose, extra, None);
    }

    #[expect(clippy::too_many_arguments, reason = "one place that sends, two that call it")]
    fn send(
        &mut self,
        cx: &mut Context,
        now: Now,
        url: Url,
        method: HttpMethod,
        purpose: Purpose,
        extra: Fields,
        failed: Option<(u32, String)>,
    ) {
        let Some(leg) = self.first() else { return };
        let mut fields = request::standard(leg, leg.status(), &self.headers, self.forwarded_from());
        fields.extend(extra.iter().cloned());
        let is_fallback = failed.is_some();
        if let Some((code, failed_url)) = failed {
            request::add(&mut fields, "ErrorCode", code);
            request::add(&mut fields, "ErrorUrl", failed_url);
        }
        let fact = facts::AppRequested {
            url: shown(url.as_str()),
            method: request::word(method).to_owned(),
            purpose: purpose.name().to_owned(),
        };
        self.tell(cx, self.sid, fact);
        let id = cx.request_id(Asker::Call(self.sid));
        let made = request::finish(cx, &self.jar, self.account, now, id, Draft { url: &url, method, fields, purpose });
        let sent = made.url.clone();
        cx.http(made);
        if let Some(session) = &mut self.session {
            let until = now.instant + LOST_AFTER;
            session.state = State::Fetching(Box::new(Fetch { id, url, sent, purpose, extra, is_fallback, until }));
        }
    }

    /// The answer to the session's request.
    pub fn on_document(
        &mut self,
        cx: &mut Context,
        now: Now,
        id: RequestId,
        answer: Result<HttpResponse, HttpFailure>,
    ) {
        if !self.awaits(id) {
            return;
        }
        let Some(session) = &mut self.session else { return };
        let State::Fetching(fetch) = std::mem::replace(&mut session.state, State::Ready) else { return };
        let response = match answer {
            Ok(response) => response,
            Err(failure) => return self.fetch_failed(cx, now, *fetch, failure.code, failure.why),
        };
        request::keep_cookies(&mut self.jar, &response, now);
        if !(200..=299).contains(&response.status) {
            let why = format!("HTTP status {}", response.status);
            return self.fetch_failed(cx, now, *fetch, BAD_ANSWER, why);
        }
        // References resolve against what answered; our own parameters are no part of it, credentials are.
        let base = match Url::parse(&response.final_url) {
            Ok(url) if response.final_url != fetch.sent => url,
            _ => fetch.url.clone(),
        };
        let told = |verbs: String| facts::AppResponded {
            url: shown(base.as_str()),
            status: response.status,
            took_ms: response.took.as_millis() as u64,
            verbs,
        };
        match Content::of(&response.content_type) {
            Content::Document => match Program::parse(&response.body) {
                Ok(program) => {
                    let mut verbs: Vec<_> = program.verbs.iter().map(|verb| verb.name()).collect();
                    // A document may hold hundreds; whoever reads wants the gist.
                    if verbs.len() > 20 {
                        verbs.truncate(20);
                        verbs.push("...");
                    }
                    let mut verbs = verbs.join(", ");
                    if !program.warnings.is_empty() {
                        verbs = format!("{verbs} (ignored: {})", program.warnings.join("; "));
                    }
                    self.tell(cx, self.sid, told(verbs));
                    if let Some(session) = &mut self.session {
                        session.base = Some(base);
                    }
                    self.run_program(cx, now, program);
                }
                Err(why) => {
                    let (code, why) = (why.code, why.to_string());
                    self.fetch_failed(cx, now, *fetch, code, why);
                }
            },
            Content::Audio => {
                self.tell(cx, self.sid, told("audio".into()));
                let program = Program {
                    verbs: vec![postern_document::Verb::Play(Play { url: base.to_string(), times: 1 })],
                    warnings: Vec::new(),
                };
                if let Some(session) = &mut self.session {
                    session.base = Some(base);
                    session.body = Some(PromptSource::Body(response.body.into()));
                }
                self.run_program(cx, now, program);
            }
            Content::Other => {
                let kind: String = response.content_type.chars().take(60).collect();
                let why = format!("content type {kind:?}: want text/xml, application/xml, text/html or audio");
                self.fetch_failed(cx, now, *fetch, BAD_TYPE, why);
            }
        }
    }

    /// The driver never answered.
    pub fn fetch_lost(&mut self, cx: &mut Context, now: Now, id: RequestId) {
        cx.requests.remove(&id);
        self.on_document(cx, now, id, Err(HttpFailure { code: 11235, why: "no answer in time".into() }));
    }

    /// A reference that cannot be asked at all.
    pub fn fetch_impossible(
        &mut self,
        cx: &mut Context,
        now: Now,
        reference: &str,
        why: String,
        purpose: Purpose,
        extra: Fields,
    ) {
        let reference: String = reference.chars().take(200).collect();
        self.fall_over(cx, now, reference, BAD_ANSWER, why, purpose, extra, false);
    }

    fn fetch_failed(&mut self, cx: &mut Context, now: Now, fetch: Fetch, code: u32, why: String) {
        let url = String::from(fetch.url);
        self.fall_over(cx, now, url, code, why, fetch.purpose, fetch.extra, fetch.is_fallback);
    }

    #[expect(clippy::too_many_arguments, reason = "the failed request, taken apart")]
    fn fall_over(
        &mut self,
        cx: &mut Context,
        now: Now,
        url: String,
        code: u32,
        why: String,
        purpose: Purpose,
        extra: Fields,
        was_fallback: bool,
    ) {
        let fallback = self.session.as_ref().and_then(|session| session.fallback.clone());
        let Some((next, method)) = fallback.filter(|_| !was_fallback) else {
            return self.give_up(cx, now, shown(&url), code, why);
        };
        let fact = facts::AppFailed { url: shown(&url), code, why, then: "secondary".into() };
        self.tell(cx, self.sid, fact);
        self.send(cx, now, next, method, purpose, extra, Some((code, url)));
    }

    /// A document's reference to audio as something that can be loaded.
    pub fn prompt_source(&mut self, cx: &Context, reference: &str) -> Result<PromptSource, String> {
        let Some(session) = &mut self.session else { return Err("the call is over".into()) };
        if let Some(body) = session.body.take() {
            return Ok(body);
        }
        let Some(path) = reference.strip_prefix("file:") else {
            return crate::url::resolve(session.base.as_ref(), reference).map(|url| PromptSource::Url(url.into()));
        };
        let path = Path::new(path.strip_prefix("//").unwrap_or(path));
        prompt_file(cx, path).map(PromptSource::File).map_err(str::to_owned)
    }
}

/// A file below a prompt folder.
pub fn prompt_file(cx: &Context, path: &Path) -> Result<PathBuf, &'static str> {
    let folders = &cx.config.media.prompt_folders;
    let path = match folders.first() {
        Some(folder) if path.is_relative() => folder.join(path),
        _ => path.to_path_buf(),
    };
    let climbs = path.components().any(|part| matches!(part, Component::ParentDir));
    let inside = folders.iter().any(|folder| path.starts_with(folder));
    if inside && !climbs { Ok(path) } else { Err("not below a folder of media.prompt_folders") }
}

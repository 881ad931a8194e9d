//! Requests to application servers, and the fetching of audio.
//!
//! Bodies are bounded while they stream, redirects are counted, requests at once are limited. Neither a query nor
//! credentials ever stand in a failure's words.

use std::{
    error::Error as _,
    io,
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::StreamExt;
use postern_config::HttpMethod;
use postern_router::{BODY_MAX, HttpFailure, HttpRequest, HttpResponse, Purpose};
use reqwest::{Client, ClientBuilder, Response, Url, header, redirect::Policy};
use tokio::{runtime::Handle, sync::Semaphore};

use super::{DriverInput, Report};

/// Requests at once; further ones wait within their own time-out.
const AT_ONCE: usize = 256;

/// Requests that wait or are under way: above what the router's own bounds allow.
const WAITING_MAX: usize = 8192;

/// Until a connection stands, TLS included. A request that grants less is bounded by its whole time.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);

/// Redirects of any request at most, whatever it asks for.
const REDIRECTS_MAX: u8 = 10;

/// Headers of an answer at most; further ones are left out.
const HEADERS_MAX: usize = 100;

/// The client's handle; cheap to clone.
#[derive(Clone)]
pub struct Http {
    client: Client,
    places: Arc<Semaphore>,
    waiting: Arc<Semaphore>,
    report: Report,
    runtime: Handle,
}

impl Http {
    /// A client that verifies certificates and keeps connections, for the current runtime. The crypto provider must be installed.
    pub fn start(report: Report) -> Self {
        let client = Self::builder().build().or_else(|why| {
            // A small system may have no authorities at all. Calls and plain HTTP go on; nobody is trusted over TLS.
            eprintln!("posternd: no HTTPS request can succeed, install ca-certificates and restart: {}", words(&why));
            Self::builder().tls_certs_only([]).build()
        });
        Self {
            client: client.expect("only a missing crypto provider makes this fail"),
            places: Arc::new(Semaphore::new(AT_ONCE)),
            waiting: Arc::new(Semaphore::new(WAITING_MAX)),
            report,
            runtime: Handle::current(),
        }
    }

    fn builder() -> ClientBuilder {
        Client::builder()
            .user_agent(concat!("postern/", env!("CARGO_PKG_VERSION")))
            // Counted here: the number is the request's.
            .redirect(Policy::none())
            .referer(false)
            .pool_max_idle_per_host(16)
            .connect_timeout(CONNECT_WITHIN)
    }

    /// Does it and reports [`DriverInput::HttpDone`]; never waits.
    pub fn request(&self, request: HttpRequest) {
        let Ok(waiting) = self.waiting.clone().try_acquire_owned() else {
            let result = Err(HttpFailure { code: 11205, why: "too many requests are under way".into() });
            return (self.report)(DriverInput::HttpDone { id: request.id, result });
        };
        let http = self.clone();
        self.runtime.spawn(async move {
            let result = http.perform(&request).await;
            (http.report)(DriverInput::HttpDone { id: request.id, result });
            drop(waiting);
        });
    }

    /// A whole answer or why there is none.
    pub async fn perform(&self, request: &HttpRequest) -> Result<HttpResponse, HttpFailure> {
        let whole = self.perform_unbounded(request);
        tokio::time::timeout(request.total_timeout, whole)
            .await
            .unwrap_or_else(|_| Err(timed_out(request.total_timeout)))
    }

    /// Fetches a body of at most `bytes_max` bytes, for audio.
    pub async fn fetch(&self, url: &str, bytes_max: usize, within: Duration) -> Result<Vec<u8>, HttpFailure> {
        let fetching = async {
            let _place = self.places.acquire().await;
            let mut url = parse(url)?;
            for _ in 0..=REDIRECTS_MAX {
                let answer = self.client.get(url.clone()).send().await.map_err(failure)?;
                match redirected(&answer)? {
                    Some(next) => url = next,
                    None if answer.status().is_success() => return body(answer, bytes_max).await,
                    None => return Err(unusable(format!("answered {}", answer.status().as_u16()))),
                }
            }
            Err(unusable("too many redirects".into()))
        };
        tokio::time::timeout(within, fetching).await.unwrap_or_else(|_| Err(timed_out(within)))
    }

    async fn perform_unbounded(&self, request: &HttpRequest) -> Result<HttpResponse, HttpFailure> {
        let _place = self.places.acquire().await;
        let begun = Instant::now();
        let origin = parse(&request.url)?;
        let (mut url, mut is_post) = (origin.clone(), request.method == HttpMethod::Post);
        for _ in 0..=request.follow_redirects.min(REDIRECTS_MAX) {
            let answer = self.send(request, &origin, url.clone(), is_post).await?;
            let status = answer.status().as_u16();
            let Some(next) = redirected(&answer)? else {
                return finish(request, answer, begun).await;
            };
            // RFC 9110 15.4: 307 and 308 keep method and body, a client may make GET of the others.
            is_post &= matches!(status, 307 | 308);
            url = next;
        }
        Err(unusable("too many redirects".into()))
    }

    async fn send(
        &self,
        request: &HttpRequest,
        origin: &Url,
        url: Url,
        is_post: bool,
    ) -> Result<Response, HttpFailure> {
        let is_same_origin = url.origin() == origin.origin();
        let mut building = if is_post { self.client.post(url) } else { self.client.get(url) };
        if is_post {
            let form = form_of(&request.form);
            building = building.header(header::CONTENT_TYPE, "application/x-www-form-urlencoded").body(form);
        }
        for (name, value) in &request.headers {
            // Cookies and authorization are for whom they were given to.
            if is_same_origin || !(name.eq_ignore_ascii_case("authorization") || name.eq_ignore_ascii_case("cookie")) {
                building = building.header(name, value);
            }
        }
        // The head of the answer is no connection: a server may think for the whole time.
        building.send().await.map_err(failure)
    }
}

async fn finish(request: &HttpRequest, answer: Response, begun: Instant) -> Result<HttpResponse, HttpFailure> {
    let status = answer.status().as_u16();
    let text = |value: &header::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let headers: Vec<_> =
        answer.headers().iter().take(HEADERS_MAX).map(|(name, value)| (name.to_string(), text(value))).collect();
    let content_type = answer.headers().get(header::CONTENT_TYPE).map(text).unwrap_or_default();
    let final_url = answer.url().to_string();
    let body = match request.purpose {
        // Nobody reads it; the status is the answer.
        Purpose::Callback => Vec::new(),
        Purpose::Voice | Purpose::Action | Purpose::Redirect => body(answer, BODY_MAX).await?,
    };
    Ok(HttpResponse { status, headers, content_type, body, final_url, took: begun.elapsed() })
}

pub(super) async fn body(answer: Response, bytes_max: usize) -> Result<Vec<u8>, HttpFailure> {
    let mut body = Vec::new();
    let mut chunks = answer.bytes_stream();
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(failure)?;
        if body.len() + chunk.len() > bytes_max {
            return Err(unusable(format!("the answer is longer than {bytes_max} bytes")));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// Where to go next, for a redirect that says so.
fn redirected(answer: &Response) -> Result<Option<Url>, HttpFailure> {
    if !matches!(answer.status().as_u16(), 301 | 302 | 303 | 307 | 308) {
        return Ok(None);
    }
    let location = answer.headers().get(header::LOCATION).and_then(|value| value.to_str().ok());
    let Some(location) = location else { return Ok(None) };
    let next = answer.url().join(location).map_err(|_| unusable("redirected to no URL".into()))?;
    if !matches!(next.scheme(), "http" | "https") {
        return Err(unusable("redirected to neither http nor https".into()));
    }
    Ok(Some(next))
}

fn parse(url: &str) -> Result<Url, HttpFailure> {
    let parsed = Url::parse(url).map_err(|error| unusable(format!("not a URL: {error}")))?;
    match parsed.scheme() {
        "http" | "https" => Ok(parsed),
        _ => Err(unusable("neither http nor https".into())),
    }
}

fn form_of(pairs: &[(String, String)]) -> String {
    let mut url = Url::parse("http://form").expect("a constant URL");
    url.query_pairs_mut().extend_pairs(pairs);
    url.query().unwrap_or_default().to_owned()
}

fn unusable(why: String) -> HttpFailure {
    HttpFailure { code: 11200, why }
}

fn timed_out(after: Duration) -> HttpFailure {
    HttpFailure { code: 11235, why: format!("no answer within {:.1} s", after.as_secs_f32()) }
}

/// The kind of failure, by what lies at its bottom.
fn failure(error: reqwest::Error) -> HttpFailure {
    let why = words(&error);
    let lower = why.to_ascii_lowercase();
    let code = if error.is_timeout() {
        11235
    } else if lower.contains("dns") || lower.contains("lookup") || lower.contains("name or service") {
        11210
    } else if is_tls(&error) {
        11220
    } else if error.is_connect() || error.is_request() || has_io(&error) {
        11205
    } else {
        11200
    };
    HttpFailure { code, why }
}

/// rustls' errors hide inside those of I/O, which do not name them as their source.
fn is_tls(error: &(dyn std::error::Error + 'static)) -> bool {
    if error.is::<rustls::Error>() {
        return true;
    }
    let hidden = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
    hidden.is_some_and(|hidden| is_tls(hidden)) || error.source().is_some_and(is_tls)
}

fn has_io(error: &reqwest::Error) -> bool {
    let mut source = error.source();
    while let Some(inner) = source {
        if inner.is::<io::Error>() {
            return true;
        }
        source = inner.source();
    }
    false
}

/// The innermost words: the outer ones only repeat the URL, which may hold a query.
pub(super) fn words(error: &reqwest::Error) -> String {
    let mut source = error.source();
    let mut words = "failed".to_owned();
    let mut chain = Vec::new();
    while let Some(inner) = source {
        chain.push(inner.to_string());
        source = inner.source();
    }
    if !chain.is_empty() {
        chain.dedup();
        words = chain.join(": ");
    } else if error.is_timeout() {
        words = "timed out".into();
    }
    words
}

#[cfg(test)]
mod tests;

//! HTTP over the daemon's Unix socket.

use std::{io::ErrorKind, os::unix::net::UnixStream, path::Path, time::Duration};

use serde_json::Value;

use crate::Failure;

/// How long an answer may take: the daemon gives up earlier.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

/// Bytes of one event at most; the daemon's are about 500.
const EVENT_MAX: usize = 1 << 20;

/// The daemon.
pub(crate) struct Client {
    http: reqwest::Client,
}

impl Client {
    /// Finds the daemon, and says what to do when it is not there.
    pub(crate) fn open(socket: &Path) -> Result<Self, Failure> {
        if let Err(error) = UnixStream::connect(socket) {
            let at = socket.display();
            return Err(Failure::Unreachable(match error.kind() {
                ErrorKind::NotFound => format!(
                    "no daemon at {at}: start it (`systemctl start posternd`), or name its socket with --socket or POSTERN_SOCKET"
                ),
                ErrorKind::ConnectionRefused => {
                    format!(
                        "the daemon that made {at} is gone: start it (`systemctl start posternd`), see `journalctl -u posternd`"
                    )
                }
                ErrorKind::PermissionDenied => {
                    format!("you may not open {at}: become a member of its group (`ls -l {at}`), or use sudo")
                }
                _ => format!("{at}: {error}"),
            }));
        }
        let http = reqwest::Client::builder().unix_socket(socket).no_proxy().tls_certs_only([]).build();
        Ok(Self { http: http.map_err(|error| Failure::Unreachable(error.to_string()))? })
    }

    /// Asks.
    pub(crate) async fn get(&self, path: &str) -> Result<Value, Failure> {
        answer(self.http.get(url(path)).timeout(ANSWER_WITHIN)).await
    }

    /// Orders.
    pub(crate) async fn post(&self, path: &str) -> Result<Value, Failure> {
        answer(self.http.post(url(path)).timeout(ANSWER_WITHIN)).await
    }

    /// Follows events.
    pub(crate) async fn stream(&self, path: &str) -> Result<Events, Failure> {
        let response = self.http.get(url(path)).send().await.map_err(lost)?;
        if !response.status().is_success() {
            return Err(refused(response).await);
        }
        Ok(Events { response, waiting: Vec::new() })
    }
}

/// A stream of events.
pub(crate) struct Events {
    response: reqwest::Response,
    waiting: Vec<u8>,
}

impl Events {
    /// The next one; none when the stream is over. A gap is an event of type `gap`.
    pub(crate) async fn next(&mut self) -> Result<Option<Value>, Failure> {
        loop {
            while let Some(end) = self.waiting.windows(2).position(|pair| pair == b"\n\n") {
                let block: Vec<u8> = self.waiting.drain(..end + 2).collect();
                if let Some(event) = event_of(&String::from_utf8_lossy(&block)) {
                    return Ok(Some(event));
                }
            }
            if self.waiting.len() > EVENT_MAX {
                return Err(Failure::Problem("the daemon sent an event without an end".into()));
            }
            match self.response.chunk().await.map_err(lost)? {
                Some(bytes) => self.waiting.extend_from_slice(&bytes),
                None => return Ok(None),
            }
        }
    }
}

fn event_of(block: &str) -> Option<Value> {
    let field = |name: &str| block.lines().find_map(|line| line.strip_prefix(name).map(str::trim_start));
    let data: Value = serde_json::from_str(field("data:")?).ok()?;
    match field("event:") {
        Some("gap") => Some(serde_json::json!({ "type": "gap", "data": data })),
        _ => Some(data),
    }
}

/// A path with a query.
pub(crate) fn with_query(path: &str, pairs: &[(&str, &str)]) -> String {
    format!("{path}?{}", url::form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish())
}

fn url(path: &str) -> String {
    format!("http://postern{path}")
}

async fn answer(request: reqwest::RequestBuilder) -> Result<Value, Failure> {
    let response = request.send().await.map_err(lost)?;
    if !response.status().is_success() {
        return Err(refused(response).await);
    }
    let bytes = response.bytes().await.map_err(lost)?;
    serde_json::from_slice(&bytes)
        .map_err(|error| Failure::Problem(format!("the daemon's answer cannot be read: {error}")))
}

async fn refused(response: reqwest::Response) -> Failure {
    let status = response.status();
    let body = response.bytes().await.unwrap_or_default();
    let body: Value = serde_json::from_slice(&body).unwrap_or_default();
    if let Some(mistakes) = body["mistakes"].as_array() {
        let lines: Vec<_> = mistakes.iter().map(mistake).collect();
        return Failure::Problem(format!(
            "the new configuration is refused, the old one goes on:\n{}",
            lines.join("\n")
        ));
    }
    match body["message"].as_str() {
        Some(words) => Failure::Problem(words.into()),
        None => Failure::Problem(format!("the daemon answered {status}")),
    }
}

/// A mistake in the file, as the daemon's own reading told it.
fn mistake(told: &Value) -> String {
    let text = |name: &str| told[name].as_str().unwrap_or_default().to_owned();
    let mut line = match told["line"].as_u64() {
        Some(line) => format!("{}:{line}:{}: {}", text("file"), told["column"], text("message")),
        // The file itself could not be read.
        None => text("message"),
    };
    if let Some(hint) = told["hint"].as_str() {
        line.push_str(&format!("\n      = hint: {hint}"));
    }
    line
}

fn lost(error: reqwest::Error) -> Failure {
    if error.is_timeout() {
        return Failure::Unreachable("the daemon did not answer in time; see `journalctl -u posternd`".into());
    }
    Failure::Unreachable(format!("the daemon hung up: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_without_data_are_no_events() {
        assert_eq!(event_of(": still here\nid: 7\n\n"), None);
        assert_eq!(event_of("id: 1\nevent: call.ended\ndata: {\"seq\":1}\n\n").unwrap()["seq"], 1);
        assert_eq!(event_of("event: gap\ndata: {\"from\":2}\n\n").unwrap()["type"], "gap");
        assert_eq!(event_of("data: nonsense\n\n"), None);
    }
}

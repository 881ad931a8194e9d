//! `postern drain`: no new calls, and a wait with a limit until the live ones are over.

use std::{
    io::{IsTerminal, Write},
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::{Failure, client::Client, print, write};

/// How often the daemon is asked how many calls are left.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// A wait beyond a day is a mistake in writing.
const LIMIT_MAX: Duration = Duration::from_secs(86_400);

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Take new calls again.
    #[arg(long, conflicts_with = "limit")]
    off: bool,
    /// How long to wait for the live calls to end, as 90s, 10m or 1h; 0s does not wait.
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = span)]
    limit: Duration,
}

/// What a wait came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Waited {
    /// Calls that are alive still.
    pub calls: u64,
    /// For how long it went.
    pub took: Duration,
}

pub(crate) async fn run(client: &Client, arguments: &Arguments, as_json: bool) -> Result<(), Failure> {
    if arguments.off {
        let status = client.post("/v1/drain?on=false").await?;
        return print(as_json, &status, |status| format!("new calls are taken again; {} live\n", status["calls"]));
    }
    let waited = wait(client, arguments.limit, as_json).await?;
    if as_json {
        let told = json!({ "draining": true, "calls": waited.calls, "waited_s": waited.took.as_secs() });
        _ = write(&format!("{told:#}\n"));
    }
    if waited.calls == 0 {
        if !as_json {
            _ = write(
                "drained: no call is alive, new ones are refused. `postern drain --off`, or a restart, takes them again\n",
            );
        }
        return Ok(());
    }
    Err(Failure::Problem(format!(
        "{} live after {} s; new ones are refused still. `postern calls` shows who talks, `postern drain --off` takes calls again",
        calls(waited.calls),
        waited.took.as_secs()
    )))
}

/// Has new calls refused, and waits until none lives or the limit has passed. Tells how it goes on standard error.
pub(crate) async fn wait(client: &Client, limit: Duration, quiet: bool) -> Result<Waited, Failure> {
    let began = Instant::now();
    let mut status = client.post("/v1/drain?on=true").await?;
    let mut told = None;
    loop {
        let waited = Waited { calls: live(&status), took: began.elapsed() };
        if !quiet && told != Some(waited.calls) {
            line(&format!("draining: {}, for {} s at most", calls(waited.calls), limit.as_secs()), waited.calls == 0);
            told = Some(waited.calls);
        }
        if waited.calls == 0 || waited.took >= limit {
            return Ok(waited);
        }
        tokio::time::sleep(LOOK_EVERY.min(limit - waited.took)).await;
        status = client.get("/v1/status").await?;
    }
}

/// A line that the next one writes over, on a terminal; one of its own elsewhere.
pub(crate) fn line(text: &str, last: bool) {
    let mut out = std::io::stderr().lock();
    // A reader that left wants no more.
    _ = match (out.is_terminal(), last) {
        (true, false) => write!(out, "\r\x1b[K{text}"),
        (true, true) => writeln!(out, "\r\x1b[K{text}"),
        (false, _) => writeln!(out, "{text}"),
    };
    _ = out.flush();
}

/// `90`, `90s`, `10m` or `1h`.
pub(crate) fn span(text: &str) -> Result<Duration, String> {
    let (number, unit) = match text.strip_suffix(['s', 'm', 'h']) {
        Some(number) => (number, &text[number.len()..]),
        None => (text, "s"),
    };
    let seconds = match unit {
        "m" => 60,
        "h" => 3600,
        _ => 1,
    };
    let wanted = number.parse::<u32>().map_err(|_| "want a time as 90s, 10m or 1h".to_owned())?;
    let span = Duration::from_secs(u64::from(wanted) * seconds);
    if span > LIMIT_MAX { Err("a day at most".into()) } else { Ok(span) }
}

fn live(status: &Value) -> u64 {
    status["calls"].as_u64().unwrap_or(0)
}

fn calls(count: u64) -> String {
    match count {
        1 => "1 call is".into(),
        count => format!("{count} calls are"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_and_nonsense_is_refused() {
        let rows = [("90", 90), ("0s", 0), ("90s", 90), ("10m", 600), ("1h", 3600), ("24h", 86_400)];
        for (text, seconds) in rows {
            assert_eq!(span(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for text in ["", "m", "-1s", "1.5h", "10 m", "1d", "25h", "99999999999h", "10ms", "²s"] {
            assert!(span(text).is_err(), "{text}");
        }
    }
}

//! `postern health`: whether the box serves. The daemon answers, and over each of its own SIP addresses it answers a call of the box to
//! itself; trunks are told with what their probes found, and a trunk that is down does not make the box unhealthy: the carrier may be.
//!
//! The appliance keeps or leaves a new version by it. It sends SIP to addresses of this machine alone.

use std::{
    fmt::Write,
    io,
    net::SocketAddr,
    time::{Duration, Instant},
};

use postern_types::SELF_CALL_USER;
use serde::Serialize;
use serde_json::Value;
use tokio::{
    net::{TcpStream, UdpSocket},
    time::timeout,
};

use crate::{Failure, client::Client, print, say::text};

/// How long each of the attempts waits: a datagram may be lost even on the way to oneself, when the ring's buffers are full.
const ATTEMPTS: [Duration; 4] =
    [Duration::from_millis(500), Duration::from_millis(1000), Duration::from_millis(2000), Duration::from_millis(2000)];

/// A response to it is about 300 bytes.
const RESPONSE_MAX: usize = 4096;

/// What came of asking one of our own addresses.
#[derive(Debug, Clone, PartialEq, Serialize)]
struct Asked {
    realm: String,
    transport: String,
    address: SocketAddr,
    /// Whether it answered: by SIP over UDP, elsewhere by taking a connection.
    answered: bool,
    /// How it answered, or why not.
    how: String,
    took_ms: f64,
}

pub(crate) async fn run(client: &Client, as_json: bool) -> Result<(), Failure> {
    let status = client.get("/v1/status").await?;
    let mut asked = Vec::new();
    for (realm, transport, address) in endpoints(&status) {
        let began = Instant::now();
        let came = match transport.as_str() {
            "udp" => call(address).await,
            _ => connect(address).await,
        };
        let took_ms = began.elapsed().as_secs_f64() * 1000.0;
        let answered = came.is_ok();
        let how = came.unwrap_or_else(|error| error.to_string());
        asked.push(Asked { realm, transport, address, answered, how, took_ms });
    }
    let told = told(&status, &asked);
    print(as_json, &told, drawn)?;
    match told["healthy"] == true {
        true => Ok(()),
        false => Err(Failure::Problem(String::new())),
    }
}

fn endpoints(status: &Value) -> Vec<(String, String, SocketAddr)> {
    let all = status["endpoints"].as_array().into_iter().flatten();
    all.filter_map(|of| Some((text(of, "realm"), text(of, "transport"), of["address"].as_str()?.parse().ok()?)))
        .collect()
}

/// What it all means. A box without SIP addresses, which no configuration is, serves nobody.
fn told(status: &Value, asked: &[Asked]) -> Value {
    let healthy = !asked.is_empty() && asked.iter().all(|one| one.answered);
    serde_json::json!({
        "healthy": healthy, "name": status["name"], "version": status["version"], "uptime_s": status["uptime_s"],
        "draining": status["draining"], "endpoints": asked, "trunks": status["trunks"],
    })
}

fn drawn(told: &Value) -> String {
    let mut out = String::new();
    let draining = if told["draining"] == true { ", draining" } else { "" };
    // Writing into a String cannot fail.
    _ = writeln!(
        out,
        "daemon     {} {}, up {} s{draining}",
        text(told, "name"),
        text(told, "version"),
        told["uptime_s"]
    );
    for one in told["endpoints"].as_array().into_iter().flatten() {
        let (realm, transport, address) = (text(one, "realm"), text(one, "transport"), text(one, "address"));
        let how = text(one, "how");
        _ = match one["answered"] == true {
            true => {
                let took = one["took_ms"].as_f64().unwrap_or_default();
                writeln!(out, "self-call  {address}/{transport} of {realm}: {how} after {took:.1} ms")
            }
            false => writeln!(
                out,
                "self-call  {address}/{transport} of {realm} FAILED: {how}; is the address up (`ip address`)? `journalctl -u posternd -x`"
            ),
        };
    }
    for trunk in told["trunks"].as_array().into_iter().flatten() {
        let mut why = String::new();
        for target in trunk["targets"].as_array().into_iter().flatten().filter(|target| target["state"] != "up") {
            _ = write!(why, "; {} {}: {}", text(target, "address"), text(target, "state"), text(target, "why"));
        }
        _ = writeln!(out, "trunk      {}: {}{why}", text(trunk, "name"), text(trunk, "state"));
    }
    out.push_str(if told["healthy"] == true { "healthy\n" } else { "NOT HEALTHY\n" });
    out
}

/// Asks by OPTIONS, repeated as over UDP it must be.
async fn call(address: SocketAddr) -> io::Result<String> {
    let socket = UdpSocket::bind((address.ip(), 0)).await?;
    socket.connect(address).await?;
    let request = options(address, socket.local_addr()?);
    let mut response = [0; RESPONSE_MAX];
    for wait in ATTEMPTS {
        socket.send(request.as_bytes()).await?;
        match timeout(wait, socket.recv(&mut response)).await {
            Err(_) => continue,
            Ok(count) => return read(&response[..count?]),
        }
    }
    Err(io::Error::new(io::ErrorKind::TimedOut, "no answer to OPTIONS"))
}

/// RFC 3261 11.1. `local`: ours, which makes Call-ID and branch those of this call alone.
fn options(address: SocketAddr, local: SocketAddr) -> String {
    let (pid, port) = (std::process::id(), local.port());
    format!(
        "OPTIONS sip:{SELF_CALL_USER}@{address} SIP/2.0\r\nVia: SIP/2.0/UDP {local};rport;branch=z9hG4bK-self-{pid}-{port}\r\n\
         Max-Forwards: 1\r\nFrom: <sip:{SELF_CALL_USER}@{local}>;tag={pid}\r\nTo: <sip:{SELF_CALL_USER}@{address}>\r\n\
         Call-ID: self-{pid}-{port}\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n"
    )
}

/// 200, and 503 of a box that drains, say that it is there.
fn read(response: &[u8]) -> io::Result<String> {
    let line = String::from_utf8_lossy(response).lines().next().unwrap_or_default().to_owned();
    match line.strip_prefix("SIP/2.0 ").and_then(|rest| rest.get(..3)) {
        Some("200") => Ok("answers".into()),
        Some("503") => Ok("answers (503: it drains)".into()),
        _ => Err(io::Error::other(format!("answered `{}`", postern_facts::text::plain(&line)))),
    }
}

async fn connect(address: SocketAddr) -> io::Result<String> {
    let wait = ATTEMPTS[ATTEMPTS.len() - 1];
    timeout(wait, TcpStream::connect(address)).await.map_err(|_| io::ErrorKind::TimedOut)??;
    Ok("takes connections".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(answered: bool, how: &str) -> Asked {
        let address = "192.0.2.1:5060".parse().unwrap();
        Asked { realm: "out".into(), transport: "udp".into(), address, answered, how: how.into(), took_ms: 1.25 }
    }

    #[test]
    fn it_is_healthy_when_it_answers_itself_whatever_the_trunks() {
        let status = serde_json::json!({"name": "rack", "version": "1", "uptime_s": 3, "draining": false, "trunks": [
            {"name": "acme", "state": "up", "targets": []},
            {"name": "zeta", "state": "down", "targets": [{"address": "192.0.2.9:5060", "state": "down", "why": "408 no answer"}]},
        ]});
        let rows = [
            (vec![asked(true, "answers")], true, "192.0.2.1:5060/udp of out: answers after 1.2 ms"),
            (vec![asked(true, "answers"), asked(false, "no answer")], false, "FAILED: no answer"),
            (vec![], false, "NOT HEALTHY"),
        ];
        for (asked, healthy, words) in rows {
            let told = told(&status, &asked);
            assert_eq!(told["healthy"], healthy, "{told:#}");
            let said = drawn(&told);
            assert!(said.contains(words) && said.contains("zeta: down; 192.0.2.9:5060 down: 408 no answer"), "{said}");
        }
    }

    #[test]
    fn only_what_a_living_border_says_is_an_answer() {
        let rows = [
            ("SIP/2.0 200 OK\r\n\r\n", true),
            ("SIP/2.0 503 x", true),
            ("SIP/2.0 404 x", false),
            ("", false),
            ("\u{1b}", false),
        ];
        for (response, good) in rows {
            assert_eq!(read(response.as_bytes()).is_ok(), good, "{response}");
        }
    }

    #[test]
    fn what_is_sent_is_sip() {
        let (address, local) = ("[2001:db8::1]:5060".parse().unwrap(), "[2001:db8::1]:40000".parse().unwrap());
        let said = options(address, local);
        assert!(said.starts_with("OPTIONS sip:postern-self-call@[2001:db8::1]:5060 SIP/2.0\r\n"), "{said}");
        for name in ["Via: ", "Max-Forwards: ", "From: ", "To: ", "Call-ID: ", "CSeq: "] {
            assert_eq!(said.matches(&format!("\r\n{name}")).count(), 1, "{said}");
        }
        assert!(said.ends_with("\r\n\r\n") && !said.contains("\r\n "), "{said}");
    }
}

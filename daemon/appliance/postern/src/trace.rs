//! `postern trace`: the SIP messages of a call, as a ladder, whole, or as a file for a protocol analyser; or all as they pass.

mod ladder;
mod pcap;

use std::{
    fmt::Write as _, fs::OpenOptions, io::Write as _, net::SocketAddr, os::unix::fs::OpenOptionsExt, path::Path,
    time::Duration,
};

use base64::{Engine, prelude::BASE64_STANDARD};
use postern_facts::text::plain;
use postern_types::{Transport, UnixMicros};
use serde::Deserialize;
use serde_json::Value;

use crate::{
    Failure,
    client::Client,
    find, print,
    say::{clock, short},
    width, write,
};

/// How often a follower looks.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// What a person may ask for.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// A sid, its beginning, or a number, as for `explain`. With --follow: only messages in which this text occurs, or of an address
    /// that begins with it.
    #[arg(required_unless_present = "follow", value_name = "CALL")]
    call: Option<String>,
    /// Show each message whole below the ladder.
    #[arg(long)]
    full: bool,
    /// Write the messages as packets for Wireshark and its kin; `-`: to standard output.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["full", "follow"])]
    pcap: Option<String>,
    /// Show digest responses, SRTP keys and digits as they were: for root alone.
    #[arg(long)]
    secrets: bool,
    /// Every message as it passes, until interrupted.
    #[arg(short, long)]
    follow: bool,
}

/// A message as the daemon tells it.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Message {
    seq: u64,
    at: UnixMicros,
    call: Option<String>,
    way: Way,
    transport: Transport,
    local: SocketAddr,
    remote: SocketAddr,
    text: String,
    base64: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Way {
    In,
    Out,
}

/// Does what was asked.
pub(crate) async fn run(client: &Client, json: bool, arguments: Arguments) -> Result<(), Failure> {
    let secrets = if arguments.secrets { "secrets=true" } else { "" };
    if arguments.follow {
        return follow(client, json, &arguments, secrets).await;
    }
    let call = find::call(client, arguments.call.as_deref().unwrap_or_default()).await?;
    let told = client.get(&format!("/v1/trace/{call}?{secrets}")).await?;
    let messages = messages(&told)?;
    if let Some(file) = &arguments.pcap {
        return save(&messages, file, json);
    }
    print(json, &told, |told| {
        let mut text = ladder::render(told, &messages, width());
        if arguments.full {
            messages.iter().for_each(|message| text.push_str(&whole(message)));
        }
        text
    })
}

/// Ladder and messages of a call, from the daemon's answer, for a file.
pub(crate) fn story(told: &Value) -> Result<String, Failure> {
    let messages = messages(told)?;
    let mut text = ladder::render(told, &messages, None);
    messages.iter().for_each(|message| text.push_str(&whole(message)));
    Ok(text)
}

fn messages(told: &Value) -> Result<Vec<Message>, Failure> {
    serde_json::from_value(told["messages"].clone()).map_err(|error| {
        Failure::Problem(format!("the daemon's answer cannot be read: {error}; are tool and daemon of one version?"))
    })
}

/// Writes a capture file that only its owner may read: it has numbers and names of callers in it.
fn save(messages: &[Message], file: &str, json: bool) -> Result<(), Failure> {
    let bytes = pcap::bytes(messages);
    if file == "-" {
        return std::io::stdout().lock().write_all(&bytes).map_err(|error| Failure::Problem(error.to_string()));
    }
    let opened = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(Path::new(file));
    opened
        .and_then(|mut opened| opened.write_all(&bytes))
        .map_err(|error| Failure::Problem(format!("{file} cannot be written: {error}")))?;
    let told = serde_json::json!({ "file": file, "messages": messages.len() });
    print(json, &told, |_| format!("{file}: {} messages\n", messages.len()))
}

async fn follow(client: &Client, json: bool, arguments: &Arguments, secrets: &str) -> Result<(), Failure> {
    let mut last = client.get(&format!("/v1/trace?{secrets}")).await?["last"].as_u64().unwrap_or(0);
    loop {
        let told = client.get(&format!("/v1/trace?after={last}&{secrets}")).await?;
        let raw = told["messages"].as_array().map_or(&[][..], Vec::as_slice);
        for (message, value) in messages(&told)?.iter().zip(raw) {
            last = last.max(message.seq);
            if !arguments.call.as_deref().is_none_or(|wanted| is_wanted(message, wanted)) {
                continue;
            }
            let text = match (json, arguments.full) {
                (true, _) => format!("{value}\n"),
                (false, true) => whole(message),
                (false, false) => line(message),
            };
            if write(&text).is_err() {
                return Ok(());
            }
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

fn is_wanted(message: &Message, wanted: &str) -> bool {
    let addresses = [message.remote, message.local];
    message.call.as_deref().is_some_and(|call| call.starts_with(wanted))
        || addresses.iter().any(|address| address.to_string().starts_with(wanted))
        || message.text.contains(wanted)
}

/// `12:34:56.789  CA01234567  <- udp 192.0.2.1:5060  INVITE (SDP)`.
fn line(message: &Message) -> String {
    let call = message.call.as_deref().map_or("-", short);
    format!("{}  {call:<10}  {}  {}\n", clock(message.at), message.between(), plain(&message.label()))
}

/// A message under its heading.
fn whole(message: &Message) -> String {
    let mut out = format!("\n{} #{} {}\n", clock(message.at), message.seq, message.between());
    for line in message.text.lines() {
        _ = writeln!(out, "  {}", plain(line));
    }
    out
}

impl Message {
    /// As it was on the wire.
    fn bytes(&self) -> Vec<u8> {
        let binary = self.base64.as_ref().and_then(|text| BASE64_STANDARD.decode(text).ok());
        binary.unwrap_or_else(|| self.text.clone().into_bytes())
    }

    fn between(&self) -> String {
        let arrow = match self.way {
            Way::In => "<-",
            Way::Out => "->",
        };
        format!("{arrow} {} {}", self.transport, self.remote)
    }

    /// `INVITE (SDP)`, `200 OK to BYE`.
    fn label(&self) -> String {
        let mut first = self.text.lines().next().unwrap_or_default().split_ascii_whitespace();
        let word = first.next().unwrap_or_default();
        let mut label = if word.starts_with("SIP/") {
            let method = self.header("cseq", "cseq").and_then(|cseq| cseq.split_ascii_whitespace().nth(1));
            let status: Vec<_> = first.collect();
            match method.filter(|method| *method != "INVITE") {
                Some(method) => format!("{} to {method}", status.join(" ")),
                None => status.join(" "),
            }
        } else {
            word.to_owned()
        };
        if self.sdp().is_some() {
            label.push_str(" (SDP)");
        }
        label
    }

    /// The value of a header, by its lower-case long and short names.
    fn header(&self, long: &str, short: &str) -> Option<&str> {
        self.text.lines().skip(1).take_while(|line| !line.is_empty()).find_map(|line| {
            let (name, value) = line.split_once(':')?;
            let name = name.trim_end();
            (name.eq_ignore_ascii_case(long) || name.eq_ignore_ascii_case(short)).then(|| value.trim())
        })
    }

    fn body(&self) -> &str {
        self.text.split_once("\r\n\r\n").or(self.text.split_once("\n\n")).map_or("", |(_, body)| body)
    }

    /// Its session description.
    fn sdp(&self) -> Option<&str> {
        let kind = self.header("content-type", "c")?;
        let is_sdp = kind.get(..15).is_some_and(|kind| kind.eq_ignore_ascii_case("application/sdp"));
        is_sdp.then(|| self.body()).filter(|body| !body.is_empty())
    }

    /// What a person looks for first: where audio is wanted and with which codecs, or why something ended.
    fn remark(&self) -> String {
        let mut told = Vec::new();
        if let Some(sdp) = self.sdp() {
            told.push(audio(sdp));
        }
        for name in ["reason", "warning", "retry-after"] {
            told.extend(self.header(name, name).map(|value| format!("{name}: {value}")));
        }
        told.retain(|part| !part.is_empty());
        told.join("; ")
    }
}

/// `10.0.0.7:4000 PCMU PCMA, sendonly`.
fn audio(sdp: &str) -> String {
    let value = |kind: &str| sdp.lines().filter_map(|line| line.strip_prefix(kind)).map(str::trim).collect::<Vec<_>>();
    let Some(media) = value("m=audio ").first().copied() else { return String::new() };
    let mut words = media.split_ascii_whitespace();
    let port = words.next().unwrap_or("?");
    let (profile, types) = (words.next().unwrap_or_default(), words.collect::<Vec<_>>());
    let mappings = value("a=rtpmap:");
    let named = |payload_type: &&str| {
        let mapped = mappings.iter().find_map(|map| map.strip_prefix(payload_type)?.strip_prefix(' '));
        match (mapped, *payload_type) {
            (Some(map), _) => map.split('/').next().unwrap_or(map).to_owned(),
            (None, "0") => "PCMU".into(),
            (None, "8") => "PCMA".into(),
            (None, other) => other.to_owned(),
        }
    };
    let codecs: Vec<_> = types.iter().take(4).map(named).collect();
    // The last connection line counts for its media, and there is one stream that matters here.
    let address = value("c=IN ").last().and_then(|c| c.split_ascii_whitespace().nth(1)).unwrap_or("?").to_owned();
    let mut told = format!("{address}:{port} {}", codecs.join(" "));
    if profile.contains("SAVP") {
        told.push_str(", SRTP");
    }
    for flow in ["sendonly", "recvonly", "inactive"] {
        if !value(&format!("a={flow}")).is_empty() {
            _ = write!(told, ", {flow}");
        }
    }
    told
}

#[cfg(test)]
mod tests;

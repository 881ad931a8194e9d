//! docs/EVENTS.md and the journal's catalog, made from the facts' own documentation.
//!
//! The tests compare both with the files in the repository; `UPDATE_DOCS=1 cargo test -p postern-facts` writes them.

use std::fmt::Write;

use crate::{Level, Meta, catalog};

/// The Markdown of docs/EVENTS.md.
pub fn events_md() -> String {
    let mut page = String::from(HEAD);
    for (family, facts) in families() {
        let _ = writeln!(page, "\n## {family}");
        for meta in facts {
            let _ = writeln!(page, "\n### `{}`\n\n{}", meta.name, prose(meta.doc));
            if !meta.advice.is_empty() {
                let _ = writeln!(page, "\n**What to do:** {}", prose(meta.advice));
            }
            let _ = writeln!(page, "\n`{}` · MESSAGE_ID `{}`", level(meta.level), meta.message_id);
            if !meta.fields.is_empty() {
                page.push_str("\n| field | type | meaning |\n|---|---|---|\n");
            }
            for (name, kind, doc) in meta.fields {
                let _ = writeln!(page, "| `{name}` | {} | {} |", json_type(kind), prose(doc).replace('|', "\\|"));
            }
        }
    }
    page
}

/// The text of systemd/postern.catalog (systemd's journal catalog format).
pub fn journal_catalog() -> String {
    let mut text = String::from(
        "# Journal catalog of Postern: `journalctl -x` shows these texts under the messages.\n\
         # Made from daemon/core/facts; see docs/EVENTS.md.\n",
    );
    for meta in catalog() {
        let _ = writeln!(
            text,
            "\n-- {}\nSubject: {}\nDefined-By: Postern\nSupport: {SUPPORT}\n",
            meta.message_id, meta.name
        );
        let _ = writeln!(text, "{}", prose(meta.doc));
        if !meta.advice.is_empty() {
            let _ = writeln!(text, "\nWhat to do: {}", prose(meta.advice));
        }
        let _ = writeln!(text, "\n{}", context(meta));
    }
    text
}

const SUPPORT: &str = "docs/OPERATIONS.md";

const HEAD: &str = r#"# Events

Everything that happens is a fact: one struct in `daemon/core/facts`, documented there. This page is made from those
structs (`UPDATE_DOCS=1 cargo test -p postern-facts`) and a test fails when it is stale. Journal, event stream, spool,
call records and control plane all carry the same events, so they cannot disagree.

## The envelope

```json
{
  "seq": 4711,
  "id": "EV0123456789abcdef0123456789abcdef",
  "at": 1763695590123456,
  "type": "leg.ended",
  "account": "AC…", "call": "CA…", "leg": "CA…", "trunk": "acme", "user": "ann",
  "data": {"by": "peer", "cause": {"status": 200, "q850": 16, "text": "normal clearing"}, "status": "completed", "duration_ms": 61007}
}
```

`seq` counts 1, 2, 3, … on one appliance and goes on over restarts. `id` is stable: a repeat is recognised by it. `at` is in
microseconds since 1970, UTC. `account`, `call` (the sid of the call's first leg), `leg`, `trunk` and `user` say whom it is about
and are absent where they do not apply. `data` has the fields listed below for each type. A program should ignore types and
fields that it does not know: later releases add some, and never change the meaning of one.

## Reading them

`GET /v1/events` is a stream of server-sent events: `id:` is the event's `seq`, `event:` its type, `data:` the envelope on one line.

```
curl -N -u "$ACCOUNT:$TOKEN" 'http://127.0.0.1:8080/v1/events?type=call.*,leg.ended&trunk=acme'
postern events --type 'call.*'
```

| parameter | takes |
|---|---|
| `type` | names and families, separated by commas: `leg.ended`, `call.*`; may be repeated |
| `call` | events about a call, by its first leg, or about this leg of any call |
| `leg`, `account`, `trunk`, `user` | events about exactly these |

A client that comes back with `Last-Event-ID: 4711` gets what followed number 4711, also over a restart of the daemon. Where the
memory no longer reaches back, an `event: gap` with `{"from":…,"to":…}` comes first: nothing is left out silently. An event is
shown only after the spool has it, so no number is ever given twice. A slow reader is told of a gap, too; it never delays a call.

## In the journal

Each event is one message: `MESSAGE` is a sentence, `MESSAGE_ID` names the type (`journalctl -x` explains it), `PRIORITY` follows the
level, and `EVENT_TYPE`, `EVENT_SEQ`, `EVENT_ID`, `CALL_ID`, `LEG_ID`, `TRUNK`, `USER_NAME`, `ACCOUNT` can be searched:
`journalctl CALL_ID=CA…`. Facts below `log.level` are left out of the journal, and only there.

## At the control plane

With a `control_plane` section each event is published to NATS JetStream, subject `postern.<appliance>.events.<type>`, with its `id`
as `Nats-Msg-Id`, as a CloudEvent 1.0 in JSON:

| attribute | from |
|---|---|
| `id` | `id` |
| `source` | `postern/<appliance>` |
| `type` | `org.postern.<type>` |
| `time` | `at`, RFC 3339 with microseconds |
| `subject` | the closest of leg, call, user, trunk |
| `datacontenttype` | `application/json` |
| `data` | `data` |
| `sequence` (extension) | `seq`, as a string |
| `call`, `leg`, `account`, `trunk`, `user` (extensions) | as in the envelope |

Events are published in order, from the spool, and count as delivered when the stream has acknowledged them. After a lost
connection or a crash those in doubt are published again; the stream drops repeats by their id within its duplicate window of two
hours. If the spool's bound is reached before the control plane returns, the oldest leave, and `spool.trimmed` says which.

Presence stands in the key-value bucket, one key a user: `<appliance>.<user>` (bytes other than letters, digits, `-` and `_` as `=XX`)
with `{"status","devices","calls","since"}`. Commands are requests to `postern.<appliance>.command.hangup` with `{"call":"CA…"}` and to
`postern.<appliance>.command.status`; the answer is `{"ok":true,"result":…}` or `{"ok":false,"error":"…"}`.
"#;

fn families() -> Vec<(&'static str, Vec<&'static Meta>)> {
    let mut families: Vec<(&'static str, Vec<&'static Meta>)> = Vec::new();
    for meta in catalog().iter().copied() {
        let family = meta.name.split('.').next().unwrap_or(meta.name);
        match families.iter_mut().find(|(name, _)| *name == family) {
            Some((_, facts)) => facts.push(meta),
            None => families.push((family, vec![meta])),
        }
    }
    families
}

/// Doc comments come with a blank in front and their line breaks lost.
fn prose(doc: &str) -> String {
    doc.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn level(level: Level) -> &'static str {
    match level {
        Level::Debug => "debug",
        Level::Info => "info",
        Level::Notice => "notice",
        Level::Warning => "warning",
        Level::Error => "error",
    }
}

/// A Rust type as a reader of JSON sees it.
fn json_type(kind: &str) -> &str {
    match kind {
        "CallSid" => "string, `CA…`",
        "String" => "string",
        "bool" => "true or false",
        "u8" | "u16" | "u32" | "u64" => "number",
        "SocketAddr" => "string, `address:port`",
        "Option<SocketAddr>" => "string, `address:port`, or null",
        "Cause" => "object: `status`, `q850`, `text`",
        "EndedBy" => "`peer`, `other_party`, `router`, `operator`, `postern`",
        "Party" => "object: `kind` and `trunk`, `user` or `uri`",
        "Negotiated" => {
            "object: `codec`, `payload_type`, `ptime_ms`, `telephone_event`, `srtp`, `ice`, `local`, `remote`, `direction`"
        }
        "StreamReport" => {
            "object: packets and bytes each way, `packets_lost`, `dropped_foreign`, `dropped_bad`, `jitter_ms`, `mos`, `first_packet_ms`, `source`, `checks_received`, `proofs_refused`"
        }
        other => other,
    }
}

fn context(meta: &Meta) -> &'static str {
    match meta.name.split('.').next() {
        Some("call" | "identity" | "leg" | "media" | "play" | "recording" | "document" | "app" | "callback") => {
            "The call is @CALL_ID@, the leg @LEG_ID@; `postern explain @CALL_ID@` tells it from the beginning."
        }
        Some("registration" | "presence" | "auth") => "The user is @USER_NAME@.",
        _ => "`postern status` shows how the appliance is.",
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use super::*;

    fn compare(file: &str, made: &str) {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../..").join(file);
        if std::env::var_os("UPDATE_DOCS").is_some() {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, made).unwrap();
        }
        let there = fs::read_to_string(&path).unwrap_or_default();
        assert!(there == made, "{file} is stale: run `UPDATE_DOCS=1 cargo test -p postern-facts`");
    }

    #[test]
    fn the_documentation_is_that_of_the_code() {
        compare("docs/EVENTS.md", &events_md());
        compare("systemd/postern.catalog", &journal_catalog());
    }

    #[test]
    fn every_field_has_a_type_that_a_reader_of_json_knows() {
        for meta in catalog() {
            for (field, kind, _) in meta.fields {
                assert_ne!(json_type(kind), *kind, "{}.{field}: {kind}", meta.name);
            }
        }
    }

    #[test]
    fn the_catalog_has_an_entry_for_each_message_id() {
        let text = journal_catalog();
        for meta in catalog() {
            assert_eq!(text.matches(&format!("\n-- {}\n", meta.message_id)).count(), 1, "{}", meta.name);
        }
    }
}

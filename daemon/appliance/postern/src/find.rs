//! Which call a person means: a sid, its beginning, or a number.

use serde_json::Value;

use crate::{Failure, client::Client};

/// Finished legs among which a beginning or a number is looked for.
const SEARCHED: usize = 1000;

/// The sid of the call that `text` means.
pub(crate) async fn call(client: &Client, text: &str) -> Result<String, Failure> {
    if is_sid(text) {
        return Ok(text.into());
    }
    let answer = client.get(&format!("/v1/calls?finished={SEARCHED}")).await?;
    among(answer["calls"].as_array().map_or(&[], Vec::as_slice), text).map_err(Failure::Problem)
}

fn is_sid(text: &str) -> bool {
    text.len() == 34 && text.starts_with("CA") && text[2..].bytes().all(|b| b.is_ascii_hexdigit())
}

/// Calls come newest first.
fn among(calls: &[Value], text: &str) -> Result<String, String> {
    let field = |call: &Value, name: &str| call[name].as_str().unwrap_or_default().to_owned();
    let beginning = text.len() >= 3 && text.starts_with("CA") && text[2..].bytes().all(|b| b.is_ascii_hexdigit());
    if beginning {
        let mut found: Vec<_> = calls.iter().map(|call| field(call, "sid")).filter(|s| s.starts_with(text)).collect();
        found.dedup();
        return match found.as_slice() {
            [one] => Ok(one.clone()),
            [] => Err(format!("no call begins with {text} among the live ones and the latest {SEARCHED}")),
            [one, other, ..] => Err(format!("{text} is the beginning of {} calls, as {one} and {other}", found.len())),
        };
    }
    let bare = |number: &str| number.trim_start_matches('+').to_owned();
    let wanted = bare(text);
    let of_it = |call: &&Value| ["from", "to"].iter().any(|name| bare(&field(call, name)) == wanted);
    match calls.iter().filter(of_it).max_by_key(|call| call["created"].as_u64()) {
        // A leg that the call dialed stands for the call: to hang it up alone would leave the caller to the call's program.
        Some(call) => Ok(call["parent"].as_str().map_or_else(|| field(call, "sid"), str::to_owned)),
        None => Err(format!("no call from or to {text} among the live ones and the latest {SEARCHED}")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_call_is_found_by_its_beginning_or_by_a_number() {
        let calls = [
            json!({"sid": "CAab3", "from": "alice", "to": "+1555", "created": 3}),
            json!({"sid": "CAab2", "from": "1555", "to": "bob", "created": 2}),
            json!({"sid": "CAff1", "from": "+1666", "to": "bob", "created": 1}),
            json!({"sid": "CAff2", "parent": "CAff1", "from": "+1666", "to": "carol", "created": 1}),
        ];
        for (text, want) in [
            ("CAff1", Some("CAff1")),
            ("carol", Some("CAff1")),
            ("CAab2", Some("CAab2")),
            ("1555", Some("CAab3")),
            ("bob", Some("CAab2")),
        ] {
            assert_eq!(among(&calls, text).ok().as_deref(), want, "{text}");
        }
        assert!(among(&calls, "CAab").unwrap_err().contains("2 calls"));
        assert!(among(&calls, "CA0").is_err() && among(&calls, "+999").is_err() && among(&calls, "é").is_err());
    }
}

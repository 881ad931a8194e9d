//! `postern bans`: who is banned; and the end of a ban.

use std::net::IpAddr;

use comfy_table::{Table, presets::NOTHING};
use serde_json::Value;

use crate::{Failure, client::Client, print, say::text};

pub(crate) async fn run(client: &Client, json: bool, lift: Option<&str>) -> Result<(), Failure> {
    let Some(source) = lift else {
        let bans = client.get("/v1/bans").await?;
        return print(json, &bans, table);
    };
    let address = source.split_once('/').map_or(source, |(address, _)| address);
    if address.parse::<IpAddr>().is_err() {
        return Err(Failure::Problem(format!("`{source}` is no address: write it as `postern bans` shows it")));
    }
    let done = client.post(&format!("/v1/bans/lift?source={source}")).await?;
    print(json, &done, |_| format!("{source} is not banned any more\n"))
}

fn table(answer: &Value) -> String {
    let bans = answer["bans"].as_array().map_or(&[][..], Vec::as_slice);
    if bans.is_empty() {
        return "nobody is banned\n".into();
    }
    let mut table = Table::new();
    table.load_style(NOTHING);
    table.set_header(["SOURCE", "STATE", "LEFT", "TIMES", "DROPPED", "WHY"]);
    for ban in bans {
        let state = if ban["slowed"] == true { "slowed" } else { "banned" };
        let left = left(ban["left_s"].as_u64().unwrap_or(0));
        let [source, times, dropped, why] = ["source", "times", "dropped", "why"].map(|name| text(ban, name));
        table.add_row([source, state.into(), left, times, dropped, why]);
    }
    let lines: Vec<_> = table.lines().map(|line| line.trim().to_owned()).collect();
    lines.join("\n") + "\n"
}

/// `9m 59s`, `23h 12m`.
fn left(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m {}s", seconds / 60, seconds % 60),
        _ => format!("{}h {}m", seconds / 3600, seconds / 60 % 60),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn bans_are_a_table_and_their_absence_is_said() {
        let ban = |source: &str, slowed: bool, left_s: u64| json!({ "source": source, "slowed": slowed, "left_s": left_s, "times": 2, "dropped": 31, "why": "wrong passwords" });
        let shown = table(&json!({ "bans": [ban("203.0.113.66", false, 599), ban("2001:db8::/64", true, 83_520)] }));
        let rows: Vec<Vec<&str>> = shown.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(rows[1][..6], ["203.0.113.66", "banned", "9m", "59s", "2", "31"]);
        assert_eq!(rows[2][..4], ["2001:db8::/64", "slowed", "23h", "12m"]);
        assert_eq!(table(&json!({ "bans": [] })), "nobody is banned\n");
    }
}

//! `postern bench`: what a packet of a plain call costs a media worker of this machine, by how many legs there are, and so how many calls a
//! worker takes. The daemon measures one such row at its start; this takes longer and says more.

use std::{path::Path, time::Duration};

use comfy_table::{Table, presets::NOTHING};
use postern_config::Config;
use postern_media::{Calibration, calibrate, raise_descriptors, worker_cpus};
use serde_json::{Value, json};

use crate::{Failure, check, client::Client, print};

/// By how many legs.
const LEGS: [usize; 4] = [16, 256, 1024, 4096];

/// A row longer than a minute tells nothing new.
const SECONDS_MAX: u64 = 60;

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// For how long each row is measured.
    #[arg(long, value_name = "SECONDS", default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=SECONDS_MAX))]
    seconds: u64,
    /// Also while the daemon has calls: their worker then waits its turn, and figures are too high.
    #[arg(long)]
    anyway: bool,
}

pub(crate) async fn run(arguments: &Arguments, file: &Path, socket: &Path, as_json: bool) -> Result<(), Failure> {
    // Without a daemon nobody is disturbed.
    if let Ok(client) = Client::open(socket) {
        let legs = client.get("/v1/status").await?["legs"].as_u64().unwrap_or(0);
        if legs > 0 && !arguments.anyway {
            return Err(Failure::Problem(format!(
                "the daemon has {legs} live legs, whose worker would be measured against: `postern drain` first, or say --anyway"
            )));
        }
    }
    let config = check::quiet_config_of(file).unwrap_or_else(|| Config::empty("bench"));
    let cpu = worker_cpus(&config).into_iter().next().unwrap_or(0);
    raise_descriptors();
    let measured = tokio::task::spawn_blocking({
        let span = Duration::from_secs(arguments.seconds);
        move || LEGS.into_iter().map(|legs| calibrate(cpu, legs, span)).collect::<Result<Vec<_>, _>>()
    });
    let rows = measured.await.map_err(|error| Failure::Problem(error.to_string()))?;
    let rows = rows.map_err(|error| Failure::Problem(format!("nothing can be measured here: {error}")))?;
    let told = told(&rows, cpu, config.media.busy_max);
    print(as_json, &told, drawn)
}

fn told(rows: &[Calibration], cpu: usize, busy_max: u8) -> Value {
    let row = |row: &Calibration| {
        json!({
            "legs": row.legs,
            "us_per_packet": row.us_per_packet,
            "packets": row.packets,
            "calls_per_worker": row.calls_in(f64::from(busy_max) * 10.0),
        })
    };
    json!({ "cpu": cpu, "busy_max": busy_max, "rows": rows.iter().map(row).collect::<Vec<_>>() })
}

fn drawn(told: &Value) -> String {
    let mut table = Table::new();
    table.load_style(NOTHING);
    table.set_header(["LEGS", "US A PACKET", "PACKETS", "CALLS A WORKER"]);
    for row in told["rows"].as_array().into_iter().flatten() {
        let us = format!("{:.2}", row["us_per_packet"].as_f64().unwrap_or(0.0));
        table.add_row([row["legs"].to_string(), us, row["packets"].to_string(), row["calls_per_worker"].to_string()]);
    }
    let lines: Vec<_> = table.lines().map(|line| line.trim().to_owned()).collect();
    format!(
        "{}\n\nCPU {}, plain G.711 over loopback, by sockets: what the kernel forwards by itself costs a worker nothing.\n\
         A call is two legs with 50 packets a second each, up to {} % of the CPU (media.busy_max).\n\
         Keys and conversions cost more (docs/PERFORMANCE.md), and the network's card comes on top.\n",
        lines.join("\n"),
        told["cpu"],
        told["busy_max"]
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_a_number_of_legs_with_what_follows_from_it() {
        let row = |legs, us_per_packet| Calibration { us_per_packet, legs, packets: 900, took: Duration::ZERO };
        let shown = drawn(&told(&[row(16, 4.75), row(4096, 9.5)], 3, 95));
        let rows: Vec<Vec<&str>> = shown.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(rows[1..3], [["16", "4.75", "900", "2000"], ["4096", "9.50", "900", "1000"]]);
        assert!(shown.contains("CPU 3") && shown.contains("95 %"), "{shown}");
    }
}

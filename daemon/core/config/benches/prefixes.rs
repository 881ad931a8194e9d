//! What a prefix table of a million rows costs: loading its file, looking numbers up, and memory.
//!
//! ```text
//! cargo bench -p postern-config --bench prefixes -- [--rows 1000000] [--lookups 2000000] [--cold 64]
//! ```
//!
//! Times are CPU time of the thread: a machine that does other things has cold caches, but no longer look-ups. Numbers come in no order. `--cold`: cache lines of other memory touched between two look-ups, as the rest of a call does.

use std::{hint::black_box, time::Duration};

use nix::time::{ClockId, clock_gettime};
use postern_config::{Names, PrefixTable, rows};

const LINE: usize = 64;
/// Memory that is walked through for `--cold`: more than any core's own caches hold.
const OTHER: usize = 64 << 20;

struct All;

impl Names for All {
    fn has(&self, _: &'static str, _: &str) -> bool {
        true
    }
    fn hint(&self, _: &'static str, _: &str) -> String {
        String::new()
    }
}

fn cpu() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map(Duration::from).expect("every thread has such a clock")
}

fn main() {
    let (mut wanted, mut lookups, mut cold) = (1_000_000usize, 2_000_000usize, 64usize);
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut value = || words.next().and_then(|word| word.parse::<usize>().ok()).expect("an option and its number");
        match word.as_str() {
            "--rows" => wanted = value(),
            "--lookups" => lookups = value(),
            "--cold" => cold = value(),
            // Given by `cargo bench` itself.
            "--bench" => {}
            other => panic!("unknown option {other}"),
        }
    }
    let mut random = 88_172_645_463_325_252u64;
    let mut next = move |below: u64| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random % below
    };
    // Two carriers a prefix, of two to nine digits.
    let mut text = String::from("prefix,trunk,cost\n");
    let mut prefixes = std::collections::HashSet::new();
    let mut rows_made = 0;
    while rows_made < wanted {
        let digits = 4 + next(6) as u32;
        let prefix = 10u64.pow(digits - 1) + next(9 * 10u64.pow(digits - 1));
        if prefixes.insert(prefix) {
            for carrier in 0..2.min(wanted - rows_made) {
                let cost = next(100_000);
                text.push_str(&format!("+{prefix},carrier{},0.{cost:05}\n", 10 * carrier + next(10) as usize));
                rows_made += 1;
            }
        }
    }
    let began = cpu();
    let table: PrefixTable = rows(text.as_bytes(), &All).expect("every row is a good one");
    let load = cpu() - began;
    let numbers: Vec<String> =
        (0..lookups.min(1 << 20)).map(|_| format!("+{}", 10_000_000_000 + next(90_000_000_000))).collect();
    let mut other = vec![0u8; OTHER];
    let (mut at, mut found) = (0, 0usize);
    let began = cpu();
    for n in 0..lookups {
        found += usize::from(black_box(table.longest(&numbers[n % numbers.len()])).is_some());
    }
    let hot = (cpu() - began).as_nanos() as f64 / lookups as f64;
    let rounds = lookups.min(200_000);
    // Once with look-ups and once without: the walk through other memory is taken off.
    let mut walk = |looks: bool| {
        let began = cpu();
        for n in 0..rounds {
            for _ in 0..cold {
                at = (at + LINE) % OTHER;
                other[at] = other[at].wrapping_add(1);
            }
            let number = black_box(&numbers[n * 7 % numbers.len()]);
            if looks {
                black_box(table.longest(number).map(|found| found.rows().next()));
            }
        }
        cpu() - began
    };
    walk(false);
    let (with, without) = (walk(true), walk(false));
    let spent = with.saturating_sub(without);
    println!(
        "{{\"rows\":{},\"file_mb\":{:.1},\"load_ms\":{},\"bytes_a_row\":{:.1},\"ns_lookup\":{hot:.0},\"ns_lookup_between_calls\":{:.0},\"matched\":{:.2}}}",
        table.len(),
        text.len() as f64 / 1e6,
        load.as_millis(),
        table.bytes() as f64 / table.len() as f64,
        spent.as_nanos() as f64 / rounds as f64,
        found as f64 / lookups as f64,
    );
}

//! `make fuzz`: every target for some seconds, from a seed that is printed. `fuzz [SECONDS_EACH] [SEED] [NAME]`.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use postern_sim::fuzz::{TARGETS, run};

/// Mutations between two looks at the clock.
const ROUND: u64 = 2_000;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let seconds = arguments.next().and_then(|n| n.parse().ok()).unwrap_or(60);
    let clock = SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |d| d.as_secs());
    let seed: u64 = arguments.next().and_then(|n| n.parse().ok()).unwrap_or(clock);
    let only = arguments.next();
    for target in TARGETS.iter().filter(|target| only.as_deref().is_none_or(|name| name == target.name)) {
        let start = Instant::now();
        let mut rounds = 0;
        while start.elapsed() < Duration::from_secs(seconds) {
            // A panic names the target and the seed below it on the same screen.
            if rounds % (ROUND * 50) == 0 {
                println!("{}: seed {} after {rounds} inputs", target.name, seed + rounds);
            }
            run(target, seed + rounds, ROUND);
            rounds += ROUND;
        }
        println!("{}: {rounds} inputs in {seconds} s, no fault", target.name);
    }
}

//! Each parser's fuzz target, briefly; `make fuzz` runs them for long.

use postern_sim::fuzz::{TARGETS, run};

#[test]
fn no_parser_panics_on_mutated_input() {
    let seed = std::env::var("FUZZ_SEED").ok().and_then(|n| n.parse().ok()).unwrap_or(1);
    for target in TARGETS {
        eprintln!("{} with FUZZ_SEED={seed}", target.name);
        run(target, seed, 3_000);
    }
}

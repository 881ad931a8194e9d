//! Nothing of the fast path outlives its process, however that ends.

use std::{
    collections::BTreeSet,
    env,
    io::{BufRead, BufReader},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use aya::{maps::loaded_maps, programs::loaded_programs};
use postern_fastpath::{Ends, FastPath, Flow, Flows};

mod support;
use support::{PATIENCE, enter, is_root};

/// Tells the second process that it is the one to be killed.
const CHILD: &str = "POSTERN_TEST_TO_BE_KILLED";
const READY: &str = "the flow stands";

/// Programs and maps of ours in the kernel.
fn ours() -> (BTreeSet<u32>, BTreeSet<u32>) {
    let programs = loaded_programs().flatten().filter(|program| program.name_as_str() == Some("forward"));
    let maps = loaded_maps().flatten().filter(|map| matches!(map.name_as_str(), Some("slots" | "flows")));
    (programs.map(|program| program.id()).collect(), maps.map(|map| map.id()).collect())
}

#[test]
fn kill_9_leaves_nothing_in_the_kernel() {
    if !is_root("kill_9_leaves_nothing_in_the_kernel") {
        return;
    }
    if env::var_os(CHILD).is_some() {
        return be_killed();
    }
    let before = ours();
    let own = env::current_exe().expect("this program");
    let mut child = Command::new(own)
        .args(["kill_9_leaves_nothing_in_the_kernel", "--exact", "--nocapture"])
        .env(CHILD, "1")
        .stdout(Stdio::piped())
        .spawn()
        .expect("this program runs");
    let said = BufReader::new(child.stdout.take().expect("a pipe")).lines();
    assert!(said.map_while(Result::ok).any(|line| line.contains(READY)));
    let during = ours();
    // Those of another test may be on their way out: only what is new counts.
    let new = (during.0.difference(&before.0).count(), during.1.difference(&before.1).count());
    assert!(new.0 >= 1 && new.1 >= 2, "{before:?} {during:?}");
    child.kill().expect("it is ours");
    child.wait().expect("it is ours");
    // The kernel takes apart what nobody holds some milliseconds later.
    let limit = Instant::now() + PATIENCE;
    let is_gone = |before: &BTreeSet<u32>, during: &BTreeSet<u32>, now: &BTreeSet<u32>| {
        during.difference(before).all(|id| !now.contains(id))
    };
    loop {
        let now = ours();
        if is_gone(&before.0, &during.0, &now.0) && is_gone(&before.1, &during.1, &now.1) {
            return;
        }
        assert!(Instant::now() < limit, "left behind: {now:?}, before {before:?}");
        thread::yield_now();
    }
}

fn be_killed() {
    enter();
    let path = FastPath::start().expect("root may");
    let mut table = path.table().expect("it stands");
    let ends = |port: u16| Ends { local: ([127, 0, 0, 1], port).into(), peer: ([127, 0, 0, 2], port).into() };
    let (heard, said) = (ends(4000), ends(4002));
    let flow = Flow { heard, said, ssrc: 1, clock_hz: 8000, payload_types: 1, dscp: 46, highest: 0, jitter: 0 };
    assert!(table.install(0, &flow));
    println!("{READY}");
    thread::sleep(Duration::from_secs(60));
}

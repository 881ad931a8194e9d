//! The house stands on its floors: a crate may import only what docs/ARCHITECTURE.md allows its room.

use std::{collections::BTreeMap, path::Path, process::Command};

use serde_json::Value;

/// Room (a folder below `daemon/`, or a group of them) and the rooms that it may import.
const MAY_IMPORT: &[(&str, &[&str])] = &[
    ("core", &["core"]),
    ("protocol", &["core"]),
    ("uring", &["core"]),
    ("fastpath", &["core"]),
    ("plane/media", &["core", "protocol", "uring", "fastpath"]),
    ("plane/signaling", &["core", "protocol"]),
    ("service", &["core"]),
    ("router", &["core", "service", "protocol/document"]),
    ("appliance", &["core", "protocol", "uring", "plane", "service", "router", "appliance"]),
    ("sim", &["core", "protocol", "uring", "plane", "service", "router", "appliance", "sim"]),
];

/// Packages that a floor never has, whoever brings them: sockets, async, other people's clocks.
const NEVER: &[(&str, &[&str])] = &[
    ("core", &["tokio", "socket2", "io-uring", "tokio-uring", "reqwest", "nix"]),
    ("protocol", &["tokio", "socket2", "io-uring", "tokio-uring", "reqwest", "nix"]),
    ("service", &["tokio", "socket2", "io-uring", "tokio-uring", "reqwest", "nix"]),
    ("router", &["tokio", "socket2", "io-uring", "tokio-uring", "reqwest", "nix"]),
    ("plane/signaling", &["tokio", "socket2", "io-uring", "tokio-uring", "reqwest", "nix"]),
    ("plane/media", &["tokio", "tokio-uring", "reqwest"]),
    ("uring", &["tokio", "tokio-uring", "reqwest"]),
    ("fastpath", &["tokio", "tokio-uring", "reqwest"]),
];

/// What the owner named: each has work to do in some crate.
const NAMED_BY_THE_OWNER: &[&str] =
    &["tokio-uring", "socket2", "rsip", "srtp", "nix", "systemd-journal-logger", "serde_yaml"];

struct Crate {
    name: String,
    /// Below `daemon/`: `protocol/sip`.
    room: String,
    /// Ordinary dependencies by package name; those of tests may look anywhere.
    imports: Vec<String>,
}

fn workspace() -> Vec<Crate> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .current_dir(&root)
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("cargo metadata is JSON");
    let read = |package: &Value| {
        let manifest = package["manifest_path"].as_str().expect("a path");
        let (_, below) = manifest.split_once("/daemon/").expect("every crate is below daemon/");
        let ordinary = |d: &&Value| d["kind"].is_null();
        Crate {
            name: package["name"].as_str().expect("a name").into(),
            room: below.trim_end_matches("/Cargo.toml").into(),
            imports: package["dependencies"]
                .as_array()
                .expect("a list")
                .iter()
                .filter(ordinary)
                .map(|d| d["name"].as_str().expect("a name").into())
                .collect(),
        }
    };
    metadata["packages"].as_array().expect("a list").iter().map(read).collect()
}

fn is_in(room: &str, group: &str) -> bool {
    room == group || room.starts_with(&format!("{group}/"))
}

fn row<'a>(table: &'a [(&str, &[&str])], room: &str) -> Option<&'a [&'a str]> {
    table.iter().find(|(group, _)| is_in(room, group)).map(|(_, row)| *row)
}

/// Every breach of the tables, in words.
fn breaches(crates: &[Crate]) -> Vec<String> {
    let rooms: BTreeMap<&str, &str> = crates.iter().map(|c| (c.name.as_str(), c.room.as_str())).collect();
    let mut found = Vec::new();
    for c in crates {
        let Some(allowed) = row(MAY_IMPORT, &c.room) else {
            found.push(format!("{}: its folder {} is no room of the house", c.name, c.room));
            continue;
        };
        for import in &c.imports {
            if let Some(target) = rooms.get(import.as_str()) {
                if !allowed.iter().any(|group| is_in(target, group)) {
                    found.push(format!("{} ({}) must not import {import} ({target})", c.name, c.room));
                }
            } else if row(NEVER, &c.room).is_some_and(|never| never.contains(&import.as_str())) {
                found.push(format!("{} ({}) must never have {import}", c.name, c.room));
            }
        }
    }
    found
}

#[test]
fn no_import_runs_upward_or_sideways() {
    let found = breaches(&workspace());
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn a_forbidden_arrow_would_be_seen() {
    let make = |name: &str, room: &str, imports: &[&str]| Crate {
        name: name.into(),
        room: room.into(),
        imports: imports.iter().map(|i| i.to_string()).collect(),
    };
    let crates = [
        make("sip", "protocol/sip", &["sdp", "tokio"]),
        make("sdp", "protocol/sdp", &[]),
        make("router", "router", &["sip"]),
        make("signaling", "plane/signaling", &["media"]),
        make("media", "plane/media", &["sdp"]),
        make("stray", "attic/stray", &[]),
    ];
    assert_eq!(breaches(&crates).len(), 5, "{:?}", breaches(&crates));
}

#[test]
fn each_package_that_the_owner_named_is_used_by_a_crate() {
    let crates = workspace();
    for name in NAMED_BY_THE_OWNER {
        assert!(crates.iter().any(|c| c.imports.iter().any(|i| i == name)), "{name} has no work");
    }
}

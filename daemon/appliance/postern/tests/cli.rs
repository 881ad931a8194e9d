//! The tool as a person runs it, where no daemon is.

use std::process::{Command, Output};

fn postern(words: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_postern")).args(words).env_remove("POSTERN_SOCKET").output().expect("it runs")
}

#[test]
fn exit_codes_tell_a_missing_daemon_from_wrong_usage_and_from_a_bad_file() {
    let gone = postern(&["--socket", "/nonexistent/postern.sock", "status"]);
    let said = String::from_utf8_lossy(&gone.stderr);
    assert_eq!(gone.status.code(), Some(3));
    assert!(said.contains("/nonexistent/postern.sock") && said.contains("start it"), "{said}");
    assert_eq!(postern(&["statsu"]).status.code(), Some(2));
    assert_eq!(postern(&["check", "/nonexistent/file.yaml"]).status.code(), Some(1));

    let file = std::env::temp_dir().join(format!("postern-cli-{}.yaml", std::process::id()));
    std::fs::write(&file, "appliance:\n  nmae: x\n").unwrap();
    let bad = postern(&["check", file.to_str().unwrap()]);
    let told = postern(&["--json", "check", file.to_str().unwrap()]);
    std::fs::remove_file(&file).unwrap();
    assert_eq!((bad.status.code(), told.status.code()), (Some(1), Some(1)));
    let said = String::from_utf8_lossy(&bad.stderr);
    assert!(said.contains(":2:3: error:") && said.contains("name"), "{said}");
    let json: serde_json::Value = serde_json::from_slice(&told.stdout).unwrap();
    assert_eq!(json["ok"], false);
}

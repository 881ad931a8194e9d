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

#[test]
fn doctor_works_without_a_daemon_and_its_exit_code_is_the_worst_verdict() {
    let folder = std::env::temp_dir().join(format!("postern-doctor-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    // A port that is taken is bad, whatever this machine is like.
    let taken = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let file = folder.join("postern.yaml");
    let text = format!(
        "appliance: {{ name: x, state_folder: {0}, runtime_folder: {0} }}\nrealms: {{ r: {{ signaling: [{1}], media: {{ ports: 40000-40099 }} }} }}\n",
        folder.display(),
        taken.local_addr().unwrap()
    );
    std::fs::write(&file, text).unwrap();
    let told = postern(&["--json", "--config", file.to_str().unwrap(), "doctor"]);
    let json: serde_json::Value = serde_json::from_slice(&told.stdout).unwrap();
    let missing = postern(&["--config", "/nonexistent/postern.yaml", "doctor"]);
    std::fs::remove_dir_all(&folder).unwrap();
    assert_eq!((told.status.code(), json["verdict"].as_str()), (Some(1), Some("bad")), "{json:#}");
    let of = |check: &str| {
        json["findings"].as_array().unwrap().iter().find(|f| f["check"].as_str().unwrap().starts_with(check)).cloned()
    };
    let port = of("port 127.0.0.1").unwrap();
    assert!(port["verdict"] == "bad" && port["mend"].as_str().unwrap().starts_with("ss "), "{port}");
    for check in [
        "kernel",
        "io_uring",
        "clock source",
        "time",
        "receive buffers",
        "CPU governor",
        "journal",
        "descriptors",
        "media ports",
        "disk room",
        "disk sync",
        "DNS",
        "certificates",
    ] {
        assert!(of(check).is_some(), "{check} is not looked at: {json:#}");
    }
    let said = String::from_utf8_lossy(&missing.stdout);
    assert_eq!(missing.status.code(), Some(1));
    assert!(said.contains("BAD   configuration") && said.contains("kernel"), "{said}");
}

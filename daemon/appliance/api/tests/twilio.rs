//! The `twilio` package from PyPI against the real HTTP server, only its base URL changed.

#[allow(dead_code, reason = "each test uses a part of it")]
mod fake;

use fake::{ACCOUNT, Fake, TOKEN};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PyPI's twilio: set POSTERN_TEST_PYTHON to a Python that has it"]
async fn the_package_drives_the_calls() {
    let python = std::env::var("POSTERN_TEST_PYTHON").expect("POSTERN_TEST_PYTHON names a Python with twilio");
    let fake = Fake::start().await;
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/twilio_calls.py");
    let account = ACCOUNT.to_string();
    let run = tokio::task::spawn_blocking(move || {
        let arguments = [script, &fake.url, &account, TOKEN, "client:bob", "+15550009"];
        std::process::Command::new(python).args(arguments).output().expect("Python runs")
    });
    let output = run.await.unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && out.starts_with("ok: "), "{out}{err}");
}

//! Thousands of requests that are made of the OpenAPI document, valid and not, get answers that it promises, and never a 5xx.
//!
//! `scripts/schemathesis.sh` says how. Where Schemathesis, or the right to a network namespace, is missing, this says so.

use std::path::Path;
use std::process::Command;

/// Requests below which the run was none.
const LEAST: u32 = 2_000;

#[tokio::test]
async fn generated_requests_get_the_answers_that_the_document_promises() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    if !root.join(".schemathesis/bin/st").is_file() {
        eprintln!("skipped: there is no Schemathesis (scripts/schemathesis.sh gets it)");
        return;
    }
    let namespace = if rustix::process::geteuid().is_root() {
        ["--net", "--"]
    } else {
        ["--net", "--map-root-user"]
    };
    let allowed = Command::new("unshare").args(namespace).arg("true").output();
    if !allowed.is_ok_and(|output| output.status.success()) {
        eprintln!("skipped: no network namespace may be made here");
        return;
    }
    let run = tokio::task::spawn_blocking(move || {
        Command::new("unshare")
            .args(namespace)
            .arg(root.join("scripts/schemathesis.sh"))
            .args(["run", env!("CARGO_BIN_EXE_leasehold")])
            .output()
            .expect("unshare runs")
    });
    let output = run.await.expect("no panic");
    let said = String::from_utf8_lossy(&output.stdout);
    let log = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}\n{log}");
    // "  4684 generated, 4684 passed"
    let generated = said
        .lines()
        .find_map(|line| line.trim().split_once(" generated")?.0.parse::<u32>().ok());
    assert!(generated.is_some_and(|cases| LEAST <= cases), "{said}");
}

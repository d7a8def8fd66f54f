//! A node as a service of systemd: what it says to it, and the units that are shipped.

use std::os::unix::net::UnixDatagram;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::harness::Launch;

/// What systemd hears, until this is in it.
fn heard(socket: &UnixDatagram, what: &str) -> String {
    let deadline = Instant::now() + Duration::from_secs(20);
    let mut said = String::new();
    let mut message = [0; 4096];
    while !said.contains(what) {
        assert!(
            Instant::now() < deadline,
            "{what} was not said, but: {said}"
        );
        if let Ok(length) = socket.recv(&mut message) {
            said.push_str(&String::from_utf8_lossy(&message[..length]));
        }
    }
    said
}

#[tokio::test]
async fn systemd_hears_that_a_node_serves_turns_and_stops() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("notify");
    let socket = UnixDatagram::bind(&path).expect("a socket");
    socket
        .set_read_timeout(Some(Duration::from_millis(100)))
        .expect("set");

    let node = Launch::embedded()
        .set("env_notify_socket", path.to_str().expect("UTF-8"))
        .set("env_watchdog_usec", "200000")
        .start()
        .await;
    let said = heard(&socket, "WATCHDOG=1\nWATCHDOG=1");
    assert!(said.contains("READY=1"), "{said}");
    assert!(said.contains("STATUS=serving http://127.0.0.1:"), "{said}");
    assert!(said.find("READY=1") < said.find("WATCHDOG=1"), "{said}");
    assert!(!said.contains("STOPPING"), "{said}");

    node.signal("TERM");
    heard(&socket, "STOPPING=1");
    assert!(node.ended(Duration::from_secs(20)).await.success());
}

#[tokio::test]
async fn secrets_come_as_credentials() {
    let directory = tempfile::tempdir().expect("a directory");
    std::fs::write(
        directory.path().join("leasehold_admin_key"),
        "the-key-of-this-service\n",
    )
    .expect("written");
    let node = Launch::embedded()
        .set(
            "env_credentials_directory",
            directory.path().to_str().expect("UTF-8"),
        )
        .start()
        .await;
    node.get("/v1/pools").expect(401).await;
    node.with_key("the-key-of-this-service")
        .get("/v1/pools")
        .expect(200)
        .await;
}

/// `NAME=value` lines of a unit, without its comments.
fn lines(unit: &str) -> Vec<&str> {
    unit.lines()
        .filter(|line| line.contains('=') && !line.starts_with('#'))
        .collect()
}

const ONE: &str = include_str!("../../deploy/systemd/leasehold.service");
const OF_SEVERAL: &str = include_str!("../../deploy/systemd/leasehold@.service");

#[test]
fn one_node_and_one_of_several_are_run_alike() {
    let differ = [
        "Description=",
        "ExecStart=",
        "Environment=LEASEHOLD_DATA_DIR=",
        "StateDirectory=",
    ];
    let same = |unit| {
        let lines = lines(unit).into_iter();
        lines
            .filter(|line| !differ.iter().any(|name| line.starts_with(name)))
            .collect::<Vec<_>>()
    };
    assert_eq!(same(ONE), same(OF_SEVERAL));
    // A node needs up to 20 s to drain, and its Redis 6 more.
    assert!(lines(ONE).contains(&"TimeoutStopSec=35s"));
    assert!(lines(ONE).contains(&"Type=notify"));
}

#[test]
fn the_units_leave_little_to_an_intruder() {
    if Command::new("systemd-analyze")
        .arg("--version")
        .output()
        .is_err()
    {
        eprintln!("skipped: there is no systemd-analyze");
        return;
    }
    for unit in ["leasehold.service", "leasehold@.service"] {
        let path = format!("{}/deploy/systemd/{unit}", env!("CARGO_MANIFEST_DIR"));
        // In tenths: more than 2.0 fails.
        let output = Command::new("systemd-analyze")
            .args([
                "security",
                "--offline=true",
                "--threshold=20",
                "--no-pager",
                &path,
            ])
            .output()
            .expect("it runs");
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(
            output.status.success(),
            "{said}{}",
            String::from_utf8_lossy(&output.stderr)
        );
        assert!(said.contains("Overall exposure level"), "{said}");
    }
}

//! `leasehold run` among things that go wrong: what answers is not Leasehold, the seat is lost, the server is away.

use std::io::Write as _;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::harness::{Installation, Launch, Node, Redis, signal, wait_until};

/// Something that answers every request with this.
fn something_else(status: &'static str, kind: &'static str, body: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("it is bound");
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.expect("a connection");
            let mut head = [0; 4096];
            let _ = std::io::Read::read(&mut stream, &mut head);
            let length = body.len();
            let _ = write!(
                stream,
                "HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
            );
        }
    });
    format!("http://{address}")
}

fn leasehold(server: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_leasehold"));
    command
        .args(arguments)
        .env("LEASEHOLD_SERVER", server)
        .env("LEASEHOLD_KEY", "a-key-that-stays-here")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

async fn output(mut command: Command) -> Output {
    tokio::task::spawn_blocking(move || command.output().expect("it starts"))
        .await
        .expect("no panic")
}

fn server(node: &Node) -> String {
    format!("http://{}", node.address())
}

fn lines(file: &Path) -> usize {
    std::fs::read_to_string(file)
        .unwrap_or_default()
        .lines()
        .count()
}

#[tokio::test]
async fn nothing_runs_without_a_lease_that_leasehold_gave() {
    let html = "<html>Welcome to the hotel WiFi</html>";
    for (status, kind, body) in [
        ("200 OK", "text/html", html),
        ("201 Created", "application/json", "{}"),
        (
            "200 OK",
            "application/json",
            r#"{"lease":{"id":""},"token":"x"}"#,
        ),
        ("302 Found", "text/html", html),
        ("404 Not Found", "text/html", html),
        (
            "403 Forbidden",
            "application/json",
            r#"{"code":"forbidden"}"#,
        ),
        (
            "409 Conflict",
            "application/problem+json",
            r#"{"code":"out_of_stock","status":409}"#,
        ),
    ] {
        let elsewhere = something_else(status, kind, body);
        for arguments in [
            &["run", "--pool", "crm", "--", "echo", "it runs"][..],
            &["pool", "list"],
            &["pool", "show", "crm"],
            &["lease", "list", "crm"],
            &["key", "create", "x", "--role", "viewer"],
        ] {
            let done = output(leasehold(&elsewhere, arguments)).await;
            let said = String::from_utf8_lossy(&done.stderr);
            assert_eq!(
                done.status.code(),
                Some(6),
                "{status} {body} {arguments:?}: {said}"
            );
            assert_eq!(String::from_utf8_lossy(&done.stdout), "", "{arguments:?}");
            assert!(said.contains("not Leasehold"), "{said}");
        }
    }
}

#[tokio::test]
async fn a_command_that_cannot_run_says_so_as_shells_do_and_keys_stay_with_us() {
    let cluster = Installation::one().await;
    let node = cluster.first();
    node.put_pool("crm", json!({"capacity": 1, "platforms": ["desktop"]}), 201)
        .await;
    let run = async |command: &[&str]| {
        let run = ["run", "--pool", "crm", "--platform", "desktop", "--"];
        output(leasehold(&server(node), &[&run[..], command].concat())).await
    };
    assert_eq!(run(&["/no/such/command"]).await.status.code(), Some(127));
    assert_eq!(run(&["/etc/passwd"]).await.status.code(), Some(126));
    let done = run(&["sh", "-c", "echo \"[$LEASEHOLD_KEY]\"; exit 7"]).await;
    assert_eq!(done.status.code(), Some(7));
    assert_eq!(String::from_utf8_lossy(&done.stdout), "[]\n");
    let denied = output(leasehold(
        &server(node),
        &["run", "--pool", "crm", "--", "true"],
    ))
    .await;
    assert_eq!(denied.status.code(), Some(5));
    assert_eq!(node.pool("crm", 200).await["in_use"], 0);
}

#[tokio::test]
async fn all_that_a_command_has_started_is_told_and_gone_before_the_seat_is_free() {
    let cluster = Installation::one().await;
    let node = cluster.first();
    node.put_pool("crm", json!({"capacity": 1}), 201).await;
    let directory = tempfile::tempdir().expect("a directory");
    // A start script in front of a program that does not stop, and whose reader is gone.
    for (name, ends) in [("terminated", false), ("told", true)] {
        let file = directory.path().join(name);
        let script = format!(
            "sh -c 'trap \"\" TERM; while :; do echo tick >>{}; sleep 0.05; done' & wait; echo",
            file.display()
        );
        let mut command = leasehold(
            &server(node),
            &[
                "run",
                "--pool",
                "crm",
                "--kill-after",
                "1",
                "--",
                "sh",
                "-c",
                &script,
            ],
        );
        command.stderr(
            std::fs::File::options()
                .write(true)
                .open("/dev/full")
                .expect("Linux"),
        );
        let mut child = command.spawn().expect("it starts");
        wait_until("it works", Duration::from_secs(10), async || {
            lines(&file) > 3
        })
        .await;
        if ends {
            signal(child.id(), "TERM");
        } else {
            node.terminate("crm", json!({"all": true, "reason": "Over"}), 200)
                .await;
            let lease = node.list("crm", "", 200).await;
            assert_eq!(lease.list("items").len(), 0);
        }
        // It learns of a termination with a heartbeat; that may take a third of the lease.
        if !ends {
            signal(child.id(), "TERM");
        }
        let ended = tokio::task::spawn_blocking(move || child.wait().expect("it ends"));
        ended.await.expect("no panic");
        let before = lines(&file);
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert_eq!(lines(&file), before, "{name}: it works on");
        assert_eq!(node.pool("crm", 200).await["in_use"], 0);
    }
}

#[tokio::test]
async fn an_outage_ends_a_command_when_the_lease_allows_no_more_and_no_sooner() {
    let redis = Redis::start().await;
    let node = Launch::on(&redis.url()).start().await;
    let policy = |grace: u64| json!({"capacity": 5, "ttl_ms": 1_500, "outage_grace_ms": grace});
    node.put_pool("strict", policy(0), 201).await;
    node.put_pool("kind", policy(60_000), 201).await;
    let start = |pool: &str, on_outage: &str| {
        let run = [
            "run",
            "--pool",
            pool,
            "--on-outage",
            on_outage,
            "--",
            "sleep",
            "6",
        ];
        (
            leasehold(&server(&node), &run).spawn().expect("it starts"),
            Instant::now(),
        )
    };
    let mut all = vec![
        start("strict", "warn"),
        start("kind", "stop"),
        start("kind", "continue"),
    ];
    wait_until("all have seats", Duration::from_secs(10), async || {
        let in_use = async |pool: &str| node.pool(pool, 200).await["in_use"].as_u64();
        in_use("strict").await == Some(1) && in_use("kind").await == Some(2)
    })
    .await;
    node.kill();
    let (mut patient, began) = all.pop().expect("three");
    for (mut child, _) in all {
        let gone = Instant::now();
        let status = tokio::task::spawn_blocking(move || child.wait().expect("it ends")).await;
        assert_eq!(status.expect("no panic").code(), Some(143));
        assert!(
            gone.elapsed() < Duration::from_secs(3),
            "{:?}",
            gone.elapsed()
        );
    }
    let status = tokio::task::spawn_blocking(move || patient.wait().expect("it ends")).await;
    assert_eq!(status.expect("no panic").code(), Some(0));
    assert!(began.elapsed() >= Duration::from_secs(6));
}

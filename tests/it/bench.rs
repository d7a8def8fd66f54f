//! `leasehold bench`: what it counts is what happened, it leaves nothing behind, and it ends.

use std::process::{Output, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::process::Command;

use crate::harness::{Installation, Launch, Node, let_pass, signal, wait_until};

fn bench(node: &Node, arguments: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_leasehold"));
    command
        .arg("bench")
        .args(arguments.split_whitespace())
        .args(["--server", &format!("http://{}", node.address())])
        .env_clear()
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command
}

#[track_caller]
fn report(output: &Output, exit: i32) -> Value {
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(exit), "{said}");
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("no report: {said}"))
}

#[tokio::test]
async fn a_crowd_counts_what_happened_and_leaves_nothing_behind() {
    let cluster = Installation::one().await;
    let node = cluster.first();
    let crowd = "--pool crm --seats 4 --holders 8 --stay 100ms --away 20ms --beat 20ms --crash 0 --leave 0 \
                 --requests 400 --for 5m --json";
    let report = report(&bench(node, crowd).output().await.expect("it runs"), 0);

    assert_eq!(report["failed"], 0, "{report:#}");
    assert_eq!(report["capacity"], 4);
    assert!(report["most_in_use"].as_u64() <= Some(4), "{report:#}");
    assert!(report["requests"].as_u64() >= Some(400), "{report:#}");
    let answers = &report["answers"];
    let counted: u64 = answers
        .as_object()
        .expect("words")
        .values()
        .filter_map(Value::as_u64)
        .sum();
    assert_eq!(Some(counted), report["requests"].as_u64());
    for row in report["operations"].as_array().expect("rows") {
        let (p50, p99, max) = (
            row["p50_ms"].as_f64(),
            row["p99_ms"].as_f64(),
            row["max_ms"].as_f64(),
        );
        assert!(p50 <= p99 && p99 <= max, "{row}");
    }

    // The history of the pool tells the same, and all are gone.
    let events = cluster.redis.events("crm").await;
    let count = |kind: &str| events.iter().filter(|event| event.kind == kind).count() as u64;
    assert_eq!(Some(count("started")), answers["granted"].as_u64());
    assert_eq!(Some(count("ended")), answers["released"].as_u64());
    assert_eq!(node.availability("crm", 200).await["in_use"], 0);
}

#[tokio::test]
async fn holders_leave_and_come_back_or_go_without_a_word() {
    let cluster = Installation::one().await;
    let node = cluster.first();
    node.put_pool(
        "crm",
        json!({"capacity": 5, "ttl_ms": 1000, "linger_ms": 500, "queue": {"max_waiting": 50}}),
        201,
    )
    .await;
    let crowd = "--pool crm --holders 10 --stay 200ms --away 50ms --crash 50 --leave 50 --wait --tenants 2 --for 6s --json";
    let report = report(&bench(node, crowd).output().await.expect("it runs"), 0);
    for word in ["granted", "queued", "left"] {
        assert!(report["answers"][word].as_u64() > Some(0), "{report:#}");
    }
    let ended = cluster.redis.events("crm").await;
    assert!(
        ended
            .iter()
            .any(|event| event.kind == "ended" && event.reason == "expired")
    );
}

#[tokio::test]
async fn a_failure_is_counted_and_told() {
    let mut cluster = Installation::one().await;
    let node = cluster.first();
    // So long that nobody goes while the node is away: that seat would come back only by itself.
    let crowd = "--pool crm --seats 4 --holders 4 --stay 10h --away 10ms --beat 20ms --crash 0 --leave 0 --for 5m --every 100ms";
    let running = bench(node, crowd).spawn().expect("it starts");
    wait_until("all have a seat", Duration::from_secs(20), async || {
        node.availability("crm", [200, 404]).await["in_use"] == 4
    })
    .await;
    // The last one has to hear of it.
    let_pass(200).await;
    node.kill();
    tokio::time::sleep(Duration::from_secs(1)).await;
    cluster.nodes[0].restart().await;
    signal(running.id().expect("it runs"), "INT");
    let output = running.wait_with_output().await.expect("it ended");
    assert_eq!(output.status.code(), Some(1));
    let (out, err) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(
        out.contains("failures") && out.contains("does not answer"),
        "{out}"
    );
    assert!(
        err.contains("4 hold") && err.contains("requests failed"),
        "{err}"
    );
    assert_eq!(cluster.nodes[0].availability("crm", 200).await["in_use"], 0);
}

#[tokio::test]
async fn it_loads_what_was_meant_and_nothing_else() {
    let cluster = Installation::one().await;
    let node = cluster.first();
    let exit = async |command: &mut Command| command.output().await.expect("it runs").status.code();

    let mut meant_otherwise = Command::new(env!("CARGO_BIN_EXE_leasehold"));
    meant_otherwise
        .args(["bench", "--pool", "crm"])
        .env_clear()
        .env("LEASEHOLD_SERVER", format!("http://{}", node.address()));
    assert_eq!(exit(&mut meant_otherwise).await, Some(2));
    assert_eq!(exit(&mut bench(node, "--pool nowhere")).await, Some(4));
    assert_eq!(
        exit(&mut bench(node, "--pool crm --crash 60 --leave 60")).await,
        Some(2)
    );
    assert_eq!(exit(&mut bench(node, "--pool crm --for 90")).await, Some(2));
    assert_eq!(
        exit(&mut bench(node, "--pool crm --holders 0")).await,
        Some(2)
    );

    let closed = Launch::on(&cluster.redis.url())
        .set("admin_key", "the-operator-key-of-the-tests")
        .start()
        .await;
    assert_eq!(
        exit(&mut bench(&closed, "--pool crm --seats 1")).await,
        Some(5)
    );
}

#[tokio::test]
async fn a_terminal_shows_one_picture_after_the_other_and_then_the_result() {
    let cluster = Installation::one().await;
    let node = cluster.first();
    // `script` runs it on a terminal of its own.
    let line = format!(
        "{} bench --pool crm --seats 4 --holders 8 --stay 200ms --away 20ms --beat 50ms --every 100ms --for 3s --server http://{}",
        env!("CARGO_BIN_EXE_leasehold"),
        node.address()
    );
    let mut command = Command::new("script");
    command.args(["--quiet", "--return", "--command", &line, "/dev/null"]);
    command.stdin(Stdio::null()).kill_on_drop(true);
    let Ok(output) = command.output().await else {
        eprintln!("skipped: there is no `script` (apt-get install bsdutils)");
        return;
    };
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}");
    // Each begins where the one before began, and takes away what is left of that.
    let mut pictures: Vec<_> = said.split("\u{1b}[H").skip(1).collect();
    assert!(pictures.len() > 2, "{said}");
    let result = pictures.pop().expect("the last");
    for picture in pictures {
        for words in ["leasehold bench: pool crm", " in use", "Ctrl-C ends it"] {
            assert!(picture.contains(words), "{picture}");
        }
        assert!(picture.ends_with("\u{1b}[J"), "{picture}");
    }
    assert!(
        result.contains("0 failed") && result.contains("granted"),
        "{result}"
    );
}

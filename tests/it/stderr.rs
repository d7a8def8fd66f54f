//! Whoever reads the log may be slow, full or gone. Nothing waits for that.

use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::process::Command;

use crate::harness::{Launch, Reader, Redis, Scrape, wait_until};

const DROPPED: &str = "leasehold_log_lines_dropped_total";

#[tokio::test]
async fn a_log_that_cannot_be_written_stops_no_node() {
    let redis = Redis::start().await;
    for reader in [Reader::Full, Reader::Gone, Reader::Stalled] {
        let node = Launch::on(&redis.url())
            .set("log", "leasehold=trace,info")
            .read_by(reader)
            .start()
            .await;
        let pool = format!("{reader:?}").to_lowercase();
        node.put_pool(&pool, json!({"capacity": 500}), 201).await;
        let asked = Instant::now();
        // More lines than wait in the queue.
        for round in 0..60 {
            let all = (0..100).map(|_| node.get("/v1/nowhere").expect(404));
            futures_util::future::join_all(all).await;
            if round % 10 == 0 {
                let token = node.acquire(&pool, json!({}), 201).await.token();
                node.renew(&token, 200).await;
                assert_eq!(node.probe("/livez").await, Some(200));
            }
        }
        assert!(asked.elapsed() < Duration::from_secs(60), "{reader:?}");
        if reader != Reader::Stalled {
            let dropped = Scrape::of(&node).await.get(DROPPED, &[]).unwrap_or(0.0);
            assert!(dropped > 0.0, "{reader:?}: {dropped}");
        }
        node.signal("TERM");
        let status = node.ended(Duration::from_secs(20)).await;
        assert!(status.success(), "{reader:?}: {status}");
    }
}

#[tokio::test]
async fn a_command_is_told_that_its_seat_is_lost_though_nobody_reads_what_is_said() {
    let redis = Redis::start().await;
    let node = Launch::on(&redis.url()).start().await;
    node.put_pool("crm", json!({"capacity": 5, "ttl_ms": 1500}), 201)
        .await;
    for reader in [Reader::Full, Reader::Gone, Reader::Stalled] {
        // The shell itself reports the end of its sleep, and would die of that where nobody reads.
        let script = "exec 2>/dev/null; trap 'exit 42' TERM; while :; do sleep 0.05; done";
        let (stderr, _stalled) = reader.stderr();
        let mut held = Command::new(env!("CARGO_BIN_EXE_leasehold"));
        held.args(["run", "--json", "--pool", "crm", "--server"])
            .arg(format!("http://{}", node.address()))
            .args(["--", "sh", "-c", script])
            .stdin(Stdio::null())
            .stderr(stderr)
            .kill_on_drop(true);
        let mut held = held.spawn().expect("it starts");
        wait_until("the seat is taken", Duration::from_secs(10), async || {
            node.availability("crm", 200).await["in_use"] == 1
        })
        .await;
        // The shell sets its trap a moment after the seat was taken.
        tokio::time::sleep(Duration::from_millis(500)).await;
        node.terminate("crm", json!({"all": true}), 200).await;
        let ended = tokio::time::timeout(Duration::from_secs(20), held.wait()).await;
        let status = ended.expect("it ends").expect("it ran");
        assert_eq!(status.code(), Some(42), "{reader:?}");
    }
}

#[tokio::test]
async fn a_wait_before_the_kill_has_an_end() {
    let too_long = Command::new(env!("CARGO_BIN_EXE_leasehold"))
        .args([
            "run",
            "--pool",
            "crm",
            "--kill-after",
            "18446744073709551615",
        ])
        .args(["--", "true"])
        .output()
        .await
        .expect("it runs");
    assert_eq!(too_long.status.code(), Some(2));
    let said = String::from_utf8_lossy(&too_long.stderr);
    assert!(said.contains("--kill-after"), "{said}");
}

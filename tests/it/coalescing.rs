//! Heartbeats that arrive while a call is under way share the next one, and nobody pays for the company.

use std::time::Duration;

use futures_util::future::join_all;
use serde_json::json;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use crate::harness::{ANY, Launch, Node, Proxy, Redis, let_pass};

/// So long takes each call of the node.
const DELAY: Duration = Duration::from_millis(120);

/// A node whose calls to Redis take their time, and one whose calls do not.
async fn start() -> (Node, Proxy, Node, Redis) {
    let redis = Redis::start().await;
    let proxy = Proxy::start(redis.address());
    let slow = Launch::on(&redis.url_through(&proxy)).start().await;
    let fast = Launch::on(&redis.url()).start().await;
    (slow, proxy, fast, redis)
}

/// A number that the node tells Prometheus.
async fn metric(node: &Node, name: &str) -> f64 {
    let answer = node.get("/metrics").expect(200).await;
    let line = answer.text.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|value| value.trim().parse().ok())
        .unwrap_or(0.0)
}

#[tokio::test]
async fn in_one_call_everybody_gets_an_answer_of_his_own() {
    let (slow, mut proxy, fast, _redis) = start().await;
    fast.put_pool("crm", json!({"capacity": 50}), 201).await;
    let leases = fast.fill("crm", 20).await;
    let released = fast.acquire("crm", json!({}), 201).await;
    fast.release(&released.token(), 204).await;
    let terminated = fast.acquire("crm", json!({}), 201).await;
    fast.terminate("crm", json!({"ids": [terminated.id()]}), 200)
        .await;
    let gone = fast.acquire("crm", json!({}), 201).await;
    // The node has its connections before they are slow.
    slow.renew(&gone.token(), 200).await;
    let calls = metric(&slow, "leasehold_renewals_per_call_count").await;
    let before: Vec<i64> = leases
        .iter()
        .map(|lease| lease.instant("/lease/expires_at"))
        .collect();

    proxy.delay(DELAY);
    // This one keeps the lane busy, and the others wait behind it.
    let first = tokio::spawn(slow.renew(&leases[0].token(), 200));
    let_pass(50).await;
    let mut client = TcpStream::connect(slow.address())
        .await
        .expect("the node listens");
    let body = json!({ "token": gone.token() }).to_string();
    let request = format!(
        "POST /v1/leases/renew HTTP/1.1\r\nHost: crm\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    client
        .write_all(request.as_bytes())
        .await
        .expect("the node listens");
    let bad = tokio::spawn(slow.renew("nonsense", 401));
    let ended = [
        tokio::spawn(slow.renew(&released.token(), 410)),
        tokio::spawn(slow.renew(&terminated.token(), 410)),
    ];
    let beats = leases[1..]
        .iter()
        .map(|lease| tokio::spawn(slow.renew(&lease.token(), 200)));
    let beats: Vec<_> = beats.collect();
    let_pass(30).await;
    drop(client);

    let mut answers = vec![first.await.expect("renewed")];
    for answer in join_all(beats).await {
        answers.push(answer.expect("renewed"));
    }
    bad.await.expect("refused");
    let codes = join_all(ended)
        .await
        .into_iter()
        .map(|answer| answer.expect("lost")["code"].clone());
    assert_eq!(
        codes.collect::<Vec<_>>(),
        ["lease_released", "lease_terminated"]
    );
    for ((lease, before), answer) in leases.iter().zip(before).zip(&answers) {
        assert_eq!(answer.id(), lease.id());
        assert_eq!(answer["lease"]["holder"], lease["lease"]["holder"]);
        assert!(answer.instant("/lease/expires_at") > before);
    }
    let calls = metric(&slow, "leasehold_renewals_per_call_count").await - calls;
    assert!(calls <= 4.0, "23 beats took {calls} calls");
}

#[tokio::test]
async fn beats_of_several_pools_share_a_call_and_keep_their_own_terms() {
    let (slow, mut proxy, fast, _redis) = start().await;
    let pools: Vec<_> = (0..8_u64).map(|number| format!("team-{number}")).collect();
    for (pool, ttl) in pools.iter().zip(30_000..) {
        fast.put_pool(pool, json!({"capacity": 1, "ttl_ms": ttl}), 201)
            .await;
    }
    let leases = join_all(pools.iter().map(|pool| fast.acquire(pool, json!({}), 201))).await;
    // The slow node learns of the pools before its calls take long.
    join_all(leases.iter().map(|lease| slow.renew(&lease.token(), 200))).await;
    let calls = metric(&slow, "leasehold_renewals_per_call_count").await;

    proxy.delay(DELAY);
    let twice = leases.iter().chain(&leases);
    let answers = join_all(twice.map(|lease| slow.renew(&lease.token(), 200))).await;

    for ((answer, lease), ttl) in answers.iter().zip(&leases).zip(30_000_u64..) {
        assert_eq!(answer.id(), lease.id());
        assert_eq!(answer.number("/lease/ttl_ms"), ttl);
        assert_eq!(answer.number("/lease/expires_in_ms"), ttl);
    }
    let calls = metric(&slow, "leasehold_renewals_per_call_count").await - calls;
    assert!(calls <= 4.0, "16 beats in 8 pools took {calls} calls");
}

#[tokio::test]
async fn a_crowd_that_goes_away_leaves_nobody_waiting() {
    let (slow, mut proxy, fast, _redis) = start().await;
    fast.put_pool("crm", json!({"capacity": 300}), 201).await;
    let leases = fast.fill("crm", 100).await;

    proxy.delay(DELAY);
    let crowd = leases
        .iter()
        .map(|lease| tokio::spawn(slow.renew(&lease.token(), ANY)));
    let crowd: Vec<_> = crowd.collect();
    let_pass(20).await;
    for client in &crowd {
        client.abort();
    }
    let asked = std::time::Instant::now();
    slow.renew(&leases[0].token(), 200).await;
    // The call that was under way, and the next one.
    assert!(asked.elapsed() < 4 * DELAY, "{:?}", asked.elapsed());
}

#[tokio::test]
async fn a_crowd_on_one_connection_is_served_in_its_turn() {
    let redis = Redis::start().await;
    let node = Launch::on(&redis.url())
        .set("redis_connections", "1")
        .start()
        .await;
    node.put_pool("crm", json!({"capacity": 1_000}), 201).await;
    // As many as one connection serves within the time that a call waits for it, also on a busy machine.
    let turns = (0..100).map(|_| async {
        for _ in 0..6 {
            // Whoever asks again at once must not keep those waiting who asked before.
            let lease = node.acquire("crm", json!({}), 201).await;
            node.release(&lease.token(), 204).await;
        }
    });
    join_all(turns).await;
}

//! Renew-many: the heartbeats of a whole instance in one call.

use serde_json::json;

use crate::harness::{Installation, Reply, let_pass};

#[tokio::test]
async fn the_results_are_in_the_order_of_the_tokens() {
    let cluster = Installation::two().await;
    let (a, b) = cluster.pair();
    // Pools of several buckets, which share a call.
    let pools: Vec<_> = (0..5).map(|i| format!("pool-{i}")).collect();
    for pool in &pools {
        a.put_pool(pool, json!({"capacity": 20}), 201).await;
    }
    let mut leases = Vec::new();
    for i in 0..60 {
        leases.push(a.acquire(&pools[i * 7 % 5], json!({}), 201).await);
    }
    let tokens: Vec<_> = leases.iter().map(|lease| lease.token()).collect();
    let tokens: Vec<_> = tokens.iter().map(String::as_str).collect();

    let answer = b.renew_many(&tokens, 200).await;

    let results = answer.list("results");
    assert_eq!(results.len(), 60);
    for (lease, result) in leases.iter().zip(results) {
        assert_eq!(result["id"], lease.id());
        assert_eq!(result["status"], "renewed");
        assert_eq!(result["expires_in_ms"], 60_000);
    }
}

#[tokio::test]
async fn a_bad_token_spoils_nothing_and_every_lease_gets_its_own_answer() {
    let cluster = Installation::one().await;
    let node = cluster.first();
    node.put_pool("crm", json!({"capacity": 10}), 201).await;
    node.put_pool("short", json!({"capacity": 10, "ttl_ms": 1_000}), 201)
        .await;
    node.put_pool(
        "strict",
        json!({"capacity": 10, "ttl_ms": 1_000, "resume_window_ms": 0}),
        201,
    )
    .await;

    let live = node.acquire("crm", json!({}), 201).await;
    let released = node.acquire("crm", json!({}), 201).await;
    node.release(&released.token(), 204).await;
    let terminated = node.acquire("crm", json!({}), 201).await;
    node.terminate(
        "crm",
        json!({"ids": [terminated.id()], "reason": "Lunch."}),
        200,
    )
    .await;
    let blocked = node.acquire("crm", json!({"holder": "bob"}), 201).await;
    node.terminate("crm", json!({"holder": "bob", "block_ms": 60_000}), 200)
        .await;
    let late = node.acquire("short", json!({}), 201).await;
    let expired = node.acquire("strict", json!({}), 201).await;
    let_pass(1_050).await;

    let tokens = [
        "nonsense",
        &live.token(),
        &released.token(),
        &late.token(),
        &terminated.token(),
        &expired.token(),
        &live.token(),
        &blocked.token(),
    ];
    let answer = node.renew_many(&tokens, 200).await;

    let results = answer.list("results");
    let statuses: Vec<_> = results.iter().map(|result| &result["status"]).collect();
    assert_eq!(
        statuses,
        [
            "invalid", "renewed", "lost", "resumed", "lost", "lost", "renewed", "lost"
        ]
    );
    assert_eq!(results[1]["id"], live.id());
    assert_eq!(results[2]["code"], "lease_released");
    assert_eq!(results[3]["expires_in_ms"], 1_000);
    assert_eq!(results[4]["code"], "lease_terminated");
    assert_eq!(results[5]["code"], "lease_expired");
    assert!(results[1]["code"].is_null());
    // What a single renew would say of it.
    assert_eq!(results[1]["renew_after_ms"], 20_000);
    assert_eq!(results[3]["renew_after_ms"], 333);
    assert_eq!(results[4]["reason"], "Lunch.");
    assert!(results[4]["blocked_until"].is_null());
    assert!(results[7]["blocked_until"].is_string());
}

#[tokio::test]
async fn a_bucket_that_lost_its_clock_holds_no_other_up() {
    let cluster = Installation::one().await;
    let node = cluster.first();
    let mut leases = Vec::new();
    for number in 0..12 {
        let pool = format!("pool-{number}");
        node.put_pool(&pool, json!({"capacity": 1}), 201).await;
        leases.push(node.acquire(&pool, json!({}), 201).await);
    }
    let tokens: Vec<_> = leases.iter().map(Reply::token).collect();
    let tokens: Vec<_> = tokens.iter().map(String::as_str).collect();
    let configs = cluster.redis.keys("lh1:*:pool-*:config").await;
    assert_eq!(configs.len(), 12);

    // One after the other, so that it is the first bucket of the call, the last, and any between them.
    for config in configs {
        let (bucket, _) = config.split_once(":pool-").expect("the name of a pool");
        let _: i64 = cluster
            .redis
            .query(&["DEL", &format!("{bucket}:clock")])
            .await;
        let answer = node.renew_many(&tokens, 200).await;
        let results = answer.list("results");
        for (lease, result) in leases.iter().zip(results) {
            assert_eq!(result["id"], lease.id());
            assert_eq!(result["status"], "renewed", "without {bucket}: {result}");
        }
    }
}

#[tokio::test]
async fn a_thousand_leases_fit_in_one_call_and_not_one_more() {
    let cluster = Installation::one().await;
    let node = cluster.first();
    node.put_pool("crm", json!({"capacity": 1_000}), 201).await;
    let leases = node.fill("crm", 1_000).await;
    let tokens: Vec<_> = leases.iter().map(Reply::token).collect();
    let tokens: Vec<_> = tokens.iter().map(String::as_str).collect();

    let answer = node.renew_many(&tokens, 200).await;
    let renewed = answer
        .list("results")
        .iter()
        .filter(|result| result["status"] == "renewed");
    assert_eq!(renewed.count(), 1_000);

    let one_more: Vec<_> = tokens.iter().copied().chain([tokens[0]]).collect();
    node.renew_many(&one_more, 400).await;
    assert_eq!(node.renew_many(&[], 200).await["results"], json!([]));
}

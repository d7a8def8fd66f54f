//! Release: the seat goes back now, permanently.

use std::time::Duration;

use futures_util::future::join_all;
use serde_json::json;

use crate::harness::{ANY, Installation, let_pass, wait_until};

#[tokio::test]
async fn a_released_seat_is_free_at_once_on_every_node() {
    let cluster = Installation::two().await;
    let (a, b) = cluster.pair();
    a.put_pool("crm", json!({"capacity": 1}), 201).await;
    let token = a.acquire("crm", json!({}), 201).await.token();
    b.acquire("crm", json!({}), 409).await;

    let answer = b.release(&token, 204).await;

    assert!(answer.text.is_empty());
    a.acquire("crm", json!({}), 201).await;
}

#[tokio::test]
async fn releasing_again_is_a_success_and_frees_nobody_elses_seat() {
    let cluster = Installation::two().await;
    let (a, b) = cluster.pair();
    a.put_pool("crm", json!({"capacity": 1}), 201).await;
    let first = a.acquire("crm", json!({}), 201).await.token();
    a.release(&first, 204).await;
    let second = a.acquire("crm", json!({}), 201).await.token();

    join_all((0..6).map(|i| cluster.nodes[i % 2].release(&first, 204))).await;

    b.acquire("crm", json!({}), 409).await;
    b.renew(&second, 200).await;
    let ends = cluster
        .redis
        .events("crm")
        .await
        .iter()
        .filter(|event| event.kind == "ended")
        .count();
    assert_eq!(ends, 1);
}

#[tokio::test]
async fn no_token_of_a_released_lease_gets_a_seat_again() {
    let cluster = Installation::two().await;
    let (a, b) = cluster.pair();
    a.put_pool("crm", json!({"capacity": 5, "ttl_ms": 1_000}), 201)
        .await;
    let token = a.acquire("crm", json!({}), 201).await.token();
    a.release(&token, 204).await;

    assert_eq!(b.renew(&token, 410).await["code"], "lease_released");
    // Also when the lease would have expired by now, and could be resumed.
    let_pass(1_100).await;
    assert_eq!(a.renew(&token, 410).await["code"], "lease_released");
    assert_eq!(a.availability("crm", 200).await["in_use"], 0);
}

#[tokio::test]
async fn a_lease_that_was_released_after_it_expired_is_not_resumed() {
    let cluster = Installation::one().await;
    let node = cluster.first();
    node.put_pool("crm", json!({"capacity": 1, "ttl_ms": 1_000}), 201)
        .await;
    let token = node.acquire("crm", json!({}), 201).await.token();
    let_pass(1_050).await;

    node.release(&token, 204).await;

    node.renew(&token, 410).await;
    assert_eq!(node.availability("crm", 200).await["free"], 1);
}

#[tokio::test]
async fn a_release_and_a_renew_at_once_leave_the_lease_ended() {
    let cluster = Installation::two().await;
    let (a, b) = cluster.pair();
    a.put_pool("crm", json!({"capacity": 1}), 201).await;

    for _ in 0..30 {
        let token = a.acquire("crm", json!({}), 201).await.token();
        tokio::join!(
            a.renew(&token, [200, 410]),
            b.release(&token, 204),
            b.renew(&token, [200, 410])
        );
        assert_eq!(a.renew(&token, 410).await["code"], "lease_released");
    }
    assert_eq!(a.availability("crm", 200).await["in_use"], 0);
}

#[tokio::test]
async fn a_release_that_may_not_be_undone_has_ended_nothing() {
    let cluster = Installation::one().await;
    let node = cluster.first();
    let user = async |right: &str| {
        let command = ["ACL", "SETUSER", "default", right];
        cluster.redis.query::<String>(&command).await;
    };
    // A pool in which the next one is called, and one without rules.
    let mut held = Vec::new();
    for (pool, policy) in [
        ("crm", json!({"capacity": 1, "queue": {"max_waiting": 2}})),
        ("erp", json!({"capacity": 1})),
    ] {
        node.put_pool(pool, policy, 201).await;
        let lease = node.acquire(pool, json!({"holder": "ann"}), 201).await;
        node.acquire(pool, json!({"holder": "bob", "wait": true}), [202, 409])
            .await;
        held.push((pool, lease.token()));
    }
    user("-zadd").await;
    for (_, token) in &held {
        node.release(token, 503).await;
    }
    user("+zadd").await;
    for (pool, token) in &held {
        wait_until("it is released", Duration::from_secs(20), async || {
            node.release(token, ANY).await.status == 204
        })
        .await;
        let events = cluster.redis.events(pool).await;
        let ends: Vec<&str> = events
            .iter()
            .filter(|event| event.kind == "ended")
            .map(|event| event.reason.as_str())
            .collect();
        assert_eq!(ends, ["released"], "{pool}");
    }
}

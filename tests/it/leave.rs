//! Leave: a page goes away, and perhaps comes back.

use serde_json::json;

use crate::harness::{Installation, let_pass};

#[tokio::test]
async fn a_lease_that_was_left_ends_after_the_linger_time() {
    let cluster = Installation::start_with(2, &[("sweep_every_ms", "0")]).await;
    let (a, b) = cluster.pair();
    a.put_pool(
        "crm",
        json!({"capacity": 1, "ttl_ms": 60_000, "linger_ms": 500}),
        201,
    )
    .await;
    let token = a.acquire("crm", json!({}), 201).await.token();

    a.leave(&token, 204).await;

    let denial = b.acquire("crm", json!({}), 409).await;
    let retry_after_ms = denial.number("/retry_after_ms");
    assert!(retry_after_ms <= 500, "{retry_after_ms}");
    let_pass(retry_after_ms).await;
    b.acquire("crm", json!({}), 201).await;
}

#[tokio::test]
async fn a_renew_within_the_linger_time_undoes_the_leave() {
    let cluster = Installation::two().await;
    let (a, b) = cluster.pair();
    a.put_pool(
        "crm",
        json!({"capacity": 1, "ttl_ms": 60_000, "linger_ms": 1_000}),
        201,
    )
    .await;
    let token = a.acquire("crm", json!({}), 201).await.token();

    a.leave(&token, 204).await;
    let renewed = b.renew(&token, 200).await;

    assert_eq!(renewed["resumed"], false);
    assert_eq!(renewed["lease"]["expires_in_ms"], 60_000);
    let_pass(1_100).await;
    a.acquire("crm", json!({}), 409).await;
    assert_eq!(a.renew(&token, 200).await["resumed"], false);
}

#[tokio::test]
async fn leaving_twice_or_late_prolongs_nothing() {
    let cluster = Installation::one().await;
    let node = cluster.first();
    node.put_pool(
        "crm",
        json!({"capacity": 1, "ttl_ms": 60_000, "linger_ms": 1_000}),
        201,
    )
    .await;
    let token = node.acquire("crm", json!({}), 201).await.token();

    node.leave(&token, 204).await;
    let_pass(400).await;
    node.leave(&token, 204).await;

    let retry_after_ms = node
        .acquire("crm", json!({}), 409)
        .await
        .number("/retry_after_ms");
    assert!(retry_after_ms <= 600, "{retry_after_ms}");

    // Longer than what is left of the TTL: nothing changes either.
    node.put_pool(
        "short",
        json!({"capacity": 1, "ttl_ms": 1_000, "linger_ms": 10_000}),
        201,
    )
    .await;
    let token = node.acquire("short", json!({}), 201).await.token();
    node.leave(&token, 204).await;
    assert!(
        node.acquire("short", json!({}), 409)
            .await
            .number("/retry_after_ms")
            <= 1_000
    );
}

#[tokio::test]
async fn leaving_an_ended_lease_is_a_success_and_changes_nothing() {
    let cluster = Installation::one().await;
    let node = cluster.first();
    node.put_pool("crm", json!({"capacity": 1}), 201).await;
    let token = node.acquire("crm", json!({}), 201).await.token();
    node.release(&token, 204).await;

    node.leave(&token, 204).await;

    assert_eq!(node.renew(&token, 410).await["code"], "lease_released");
    node.acquire("crm", json!({}), 201).await;
}

#[tokio::test]
async fn a_linger_time_of_zero_frees_the_seat_at_once_and_a_reload_resumes_it() {
    let cluster = Installation::one().await;
    let node = cluster.first();
    node.put_pool("crm", json!({"capacity": 1, "linger_ms": 0}), 201)
        .await;
    let granted = node.acquire("crm", json!({}), 201).await;

    node.leave(&granted.token(), 204).await;
    assert_eq!(node.availability("crm", 200).await["free"], 1);

    let resumed = node.renew(&granted.token(), 200).await;
    assert_eq!(resumed["resumed"], true);
    assert_eq!(resumed.id(), granted.id());
}

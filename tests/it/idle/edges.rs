//! Idle seats at the edges: behind many that may not go, reported with a repeated request, released after their end, and resumed late.

use serde_json::json;

use super::{MINUTE, beat, end_of, evicted, idle, seat};
use crate::harness::{ANY, Installation, let_pass};
use crate::rules::index_is_true;

#[tokio::test]
async fn seats_that_may_not_go_hide_none_that_may() {
    let cluster = Installation::one().await;
    let (node, redis) = (cluster.first(), &cluster.redis);
    // Reserved seats stay with their tenant, however idle.
    let policy =
        json!({"capacity": 71, "tenants": {"res": {"reserved": 70}}, "idle": idle("yield")});
    node.put_pool("kept", policy, 201).await;
    for number in 0..70 {
        let asked =
            json!({"holder": format!("r{number}"), "tenant": "res", "idle_ms": 60 * MINUTE});
        node.acquire("kept", asked, 201).await;
    }
    let ann = json!({"holder": "ann", "tenant": "acme", "idle_ms": 20 * MINUTE});
    let ann = node.acquire("kept", ann, 201).await;
    node.acquire("kept", json!({"holder": "bob"}), 201).await;
    assert_eq!(end_of(node, &ann).await, evicted("idle"));
    index_is_true(redis, "kept", false).await;

    // A tenant with all that it may have takes from itself.
    let policy = json!({"capacity": 71, "tenants": {"acme": {"max": 1}}, "idle": idle("yield")});
    node.put_pool("limited", policy, 201).await;
    for number in 0..70 {
        let asked =
            json!({"holder": format!("r{number}"), "tenant": "res", "idle_ms": 60 * MINUTE});
        node.acquire("limited", asked, 201).await;
    }
    let ann = json!({"holder": "ann", "tenant": "acme", "idle_ms": 20 * MINUTE});
    let ann = node.acquire("limited", ann, 201).await;
    let bob = json!({"holder": "bob", "tenant": "acme"});
    node.acquire("limited", bob, 201).await;
    assert_eq!(end_of(node, &ann).await, evicted("idle"));
    index_is_true(redis, "limited", false).await;
}

#[tokio::test]
async fn a_request_that_is_repeated_reports_as_a_heartbeat_does() {
    let cluster = Installation::one().await;
    let (node, redis) = (cluster.first(), &cluster.redis);
    let policy = json!({"capacity": 1, "idle": idle("yield")});
    node.put_pool("crm", policy, 201).await;
    let ask = |idle_ms: u64| json!({"holder": "ann", "idle_ms": idle_ms});
    let ann = node.acquire_once("crm", "session-1", ask(0), 201).await;
    beat(node, &ann, 20 * MINUTE).await;
    node.acquire_once("crm", "session-1", ask(0), 200).await;
    node.acquire("crm", json!({"holder": "bob"}), 409).await;
    node.renew(&ann.token(), 200).await;
    index_is_true(redis, "crm", false).await;
    node.acquire_once("crm", "session-1", ask(20 * MINUTE), 200)
        .await;
    seat(node, "crm", "bob").await;
    assert_eq!(end_of(node, &ann).await, evicted("idle"));
    index_is_true(redis, "crm", false).await;
}

#[tokio::test]
async fn a_release_after_the_end_leaves_the_reason() {
    let cluster = Installation::one().await;
    let node = cluster.first();
    let policy = json!({"capacity": 1, "idle": idle("yield")});
    node.put_pool("crm", policy, 201).await;
    let ann = seat(node, "crm", "ann").await;
    beat(node, &ann, 20 * MINUTE).await;
    seat(node, "crm", "bob").await;
    // Before it is written down, and after.
    node.release(&ann.token(), 204).await;
    assert_eq!(end_of(node, &ann).await, evicted("idle"));
    let_pass(2_500).await;
    node.release(&ann.token(), 204).await;
    assert_eq!(end_of(node, &ann).await, evicted("idle"));
}

#[tokio::test]
async fn a_heartbeat_that_resumes_is_warned_as_any_other() {
    let cluster = Installation::one().await;
    let node = cluster.first();
    let policy = json!({"capacity": 1, "ttl_ms": 1_000, "linger_ms": 500, "max_hold": {"after_ms": 60_000, "then": "yield", "notice_ms": 59_000}});
    node.put_pool("crm", policy, 201).await;
    let ann = seat(node, "crm", "ann").await;
    let_pass(2_500).await;
    let back = node.renew(&ann.token(), ANY).await;
    assert_eq!((back.status, &back["resumed"]), (200, &json!(true)));
    assert_eq!(back["ends"]["reason"], "max_hold");
}

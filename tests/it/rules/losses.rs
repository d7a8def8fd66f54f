//! Rules through what can happen to a store: it comes back empty, it is full, it was away.

use std::time::Duration;

use serde_json::json;

use super::index_is_true;
use crate::harness::{Installation, Redis, Reply, let_pass, wait_until};

#[tokio::test]
async fn holders_that_beat_after_a_loss_of_all_data_have_their_seats_as_the_rules_say() {
    let cluster = Installation::two().await;
    let (a, b) = cluster.pair();
    a.put_pool(
        "crm",
        json!({"capacity": 2, "ttl_ms": 3_000, "seat_per": "holder", "tenants": {"acme": {"max": 1}},
            "named": {"seats": 1, "spill_to_concurrent": true}, "queue": {"max_waiting": 5}}),
        201,
    )
    .await;
    let body = |holder: &str, tenant: &str| json!({"holder": holder, "tenant": tenant});
    let leases = [
        a.acquire("crm", body("ann", "acme"), 201).await,
        b.acquire("crm", body("bob", "acme"), 201).await,
        a.acquire("crm", body("bob", "acme"), 201).await,
        b.acquire("crm", body("cid", "other"), 201).await,
    ];
    // The other node has to know the pool to put it back; it has just asked for it.
    cluster.redis.empty().await;
    for (i, lease) in leases.iter().enumerate() {
        let node = &cluster.nodes[i % 2];
        wait_until("the lease is back", Duration::from_secs(2), async || {
            node.renew(&lease.token(), [200, 503]).await.status == 200
        })
        .await;
    }
    index_is_true(&cluster.redis, "crm", true).await;
    let availability = b.availability("crm", 200).await;
    assert_eq!(availability["in_use"], 2);
    assert_eq!(availability["tenants"]["acme"]["in_use"], 1);
    assert_eq!(availability["named"]["taken"], 1);
    let newcomer = a.acquire("crm", body("dan", "third"), 503).await;
    assert_eq!(newcomer["code"], "recovering");
    let_pass(1_500).await;
    for lease in &leases {
        a.renew(&lease.token(), 200).await;
    }
    let_pass(1_600).await;
    assert_eq!(
        a.acquire("crm", body("dan", "third"), 409).await["code"],
        "pool_full"
    );
}

#[tokio::test]
async fn in_a_full_store_seats_are_given_back_and_counted() {
    let mut cluster = Installation::start_on(Redis::start_alone().await, 1, &[]).await;
    let node = &cluster.nodes[0];
    node.put_pool(
        "crm",
        json!({"capacity": 3, "tenant_max": 3, "when_full": "evict_oldest_of_holder",
            "overdraft": {"seats": 2, "seat_minutes_per_day": 60}, "queue": {"max_waiting": 5}}),
        201,
    )
    .await;
    let mut leases: Vec<Reply> = Vec::new();
    for i in 0..5 {
        let body = json!({"holder": format!("agent-{i}"), "tenant": (["a", "b"][i % 2])});
        leases.push(node.acquire("crm", body, 201).await);
    }
    cluster.redis.fill_up().await;
    let refused = node.acquire("crm", json!({"wait": true}), 503).await;
    assert_eq!(refused["code"], "store_full");
    node.renew(&leases[0].token(), 200).await;
    node.release(&leases[1].token(), 204).await;
    node.terminate("crm", json!({"ids": [leases[4].id()]}), 200)
        .await;
    assert_eq!(node.availability("crm", 200).await["in_use"], 3);
    cluster.redis.make_room().await;
    index_is_true(&cluster.redis, "crm", false).await;
    node.acquire("crm", json!({"tenant": "c"}), 201).await;
}

#[tokio::test]
async fn an_outage_longer_than_the_ttl_takes_no_shared_and_no_promised_seat_away() {
    let mut cluster = Installation::two().await;
    cluster.nodes[0]
        .put_pool(
            "crm",
            json!({"capacity": 1, "ttl_ms": 2_000, "seat_per": "holder", "queue": {"max_waiting": 5}}),
            201,
        )
        .await;
    let tabs = [
        cluster.nodes[0]
            .acquire("crm", json!({"holder": "ann"}), 201)
            .await,
        cluster.nodes[1]
            .acquire("crm", json!({"holder": "ann"}), 201)
            .await,
    ];
    cluster.redis.freeze().await;
    let_pass(4_500).await;
    cluster.redis.thaw().await;
    wait_until("a node is ready", Duration::from_secs(5), async || {
        cluster.nodes[0].is_ready().await && cluster.nodes[1].is_ready().await
    })
    .await;
    let denied = cluster.nodes[1]
        .acquire("crm", json!({"holder": "bob"}), [409, 503])
        .await;
    assert_eq!(denied.status, 409, "{}", denied.text);
    for tab in &tabs {
        cluster.nodes[0].renew(&tab.token(), 200).await;
    }
    index_is_true(&cluster.redis, "crm", true).await;
}

//! Evict: a new login takes the place of the same holder's oldest.

use std::time::Duration;

use serde_json::json;

use super::index_is_true;
use crate::harness::{Installation, wait_until};

#[tokio::test]
async fn a_new_login_ends_the_oldest_lease_of_its_holder_which_learns_why() {
    let cluster = Installation::two().await;
    let (a, b) = cluster.pair();
    a.put_pool(
        "crm",
        json!({"capacity": 3, "when_full": "evict_oldest_of_holder"}),
        201,
    )
    .await;
    let oldest = a.acquire("crm", json!({"holder": "ann"}), 201).await;
    let newer = b.acquire("crm", json!({"holder": "ann"}), 201).await;
    a.acquire("crm", json!({"holder": "bob"}), 201).await;

    let newest = b.acquire("crm", json!({"holder": "ann"}), 201).await;
    assert_eq!(newest["pool"]["in_use"], 3);
    let lost = a.renew(&oldest.token(), 410).await;
    assert_eq!(lost["code"], "lease_evicted");
    a.renew(&newer.token(), 200).await;
    // A holder without a lease to lose is denied, and so is an anonymous one.
    let denial = a.acquire("crm", json!({"holder": "cid"}), 409).await;
    assert_eq!(denial["code"], "pool_full");
    a.acquire("crm", json!({}), 409).await;
    index_is_true(&cluster.redis, "crm", false).await;

    wait_until("the end is recorded", Duration::from_secs(3), async || {
        cluster.redis.keys("lh1:*:crm:evicted").await.is_empty()
    })
    .await;
    assert_eq!(b.renew(&oldest.token(), 410).await["code"], "lease_evicted");
    let events = cluster.redis.events("crm").await;
    let ends: Vec<_> = events
        .iter()
        .filter(|event| event.kind == "ended")
        .collect();
    assert_eq!(ends.len(), 1);
    assert_eq!(
        (ends[0].id.as_str(), ends[0].reason.as_str()),
        (oldest.id().as_str(), "evicted")
    );
}

#[tokio::test]
async fn while_there_are_more_leases_than_seats_nobody_is_evicted_for_a_new_one() {
    let cluster = Installation::one().await;
    let node = cluster.first();
    let policy =
        |capacity: u32| json!({"capacity": capacity, "when_full": "evict_oldest_of_holder"});
    node.put_pool("crm", policy(2), 201).await;
    let first = node.acquire("crm", json!({"holder": "ann"}), 201).await;
    node.acquire("crm", json!({"holder": "ann"}), 201).await;
    node.put_pool("crm", policy(1), 200).await;
    node.acquire("crm", json!({"holder": "ann"}), 409).await;
    node.renew(&first.token(), 200).await;
}

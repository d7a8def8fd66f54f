//! Schedule: other capacities for a time, by Redis's clock.

use std::time::Duration;

use chrono::{TimeDelta, Utc};
use serde_json::json;

use crate::harness::{Installation, let_pass, wait_until};

fn at(offset_ms: i64) -> String {
    (Utc::now() + TimeDelta::milliseconds(offset_ms)).to_rfc3339()
}

#[tokio::test]
async fn capacity_rises_and_falls_at_the_instant_and_nobody_is_thrown_out() {
    let cluster = Installation::start_with(2, &[("sweep_every_ms", "0")]).await;
    let (a, b) = cluster.pair();
    a.put_pool(
        "crm",
        json!({"capacity": 1, "schedule": [
            {"name": "training", "from": at(1_500), "until": at(3_000), "capacity": 3}]}),
        201,
    )
    .await;
    let pool = b.pool("crm", 200).await;
    assert_eq!(pool["capacity_now"], 1);
    assert_eq!(pool["next_change"]["capacity"], 3);
    let held = b.acquire("crm", json!({}), 201).await;
    let denial = a.acquire("crm", json!({}), 409).await;
    // The first seat comes free at the time in the schedule.
    assert!(denial.number("/retry_after_ms") <= 1_500 || denial["capacity"] == 3);

    wait_until(
        "the pool has three seats",
        Duration::from_secs(3),
        async || a.availability("crm", 200).await["capacity"] == 3,
    )
    .await;
    let more = a.acquire("crm", json!({}), 201).await;
    assert_eq!(more["pool"], json!({"in_use": 2, "capacity": 3}));

    wait_until("it has one again", Duration::from_secs(3), async || {
        b.availability("crm", 200).await["capacity"] == 1
    })
    .await;
    a.renew(&more.token(), 200).await;
    b.acquire("crm", json!({}), 409).await;
    a.release(&held.token(), 204).await;
    // One seat, and one in use.
    b.acquire("crm", json!({}), 409).await;
    assert!(b.pool("crm", 200).await["next_change"].is_null());
}

#[tokio::test]
async fn a_change_is_recorded_with_its_instant_on_an_idle_pool_too() {
    let cluster = Installation::one().await;
    let node = cluster.first();
    let put = node
        .put_pool(
            "crm",
            json!({"capacity": 1, "schedule": [{"from": at(300), "until": at(700), "capacity": 3}]}),
            201,
        )
        .await;
    let from: chrono::DateTime<Utc> = put["schedule"][0]["from"]
        .as_str()
        .unwrap()
        .parse()
        .unwrap();
    wait_until(
        "both changes are recorded",
        Duration::from_secs(4),
        async || cluster.redis.events("crm").await.len() >= 3,
    )
    .await;
    let events = cluster.redis.events("crm").await;
    let changes: Vec<_> = events
        .iter()
        .map(|event| (event.kind.as_str(), event.reason.as_str()))
        .collect();
    assert_eq!(
        changes,
        [
            ("configured", "1"),
            ("configured", "3"),
            ("configured", "1")
        ]
    );
    assert_eq!(events[1].at, from.timestamp_millis());
    let_pass(1_100).await;
    assert_eq!(cluster.redis.events("crm").await.len(), 3);
}

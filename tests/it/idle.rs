//! Seats that nobody uses, and seats that are held for too long: reported, counted, and given to those who need them.

mod crowd;
mod edges;
mod ends;
mod history;
mod reports;
mod rules;
mod yields;

use serde_json::{Value, json};

use crate::harness::{Client, Redis, Reply};

const MINUTE: u64 = 60_000;

/// A policy with a quarter of an hour.
fn idle(then: &str) -> Value {
    json!({"after_ms": 15 * MINUTE, "then": then})
}

/// A heartbeat of somebody who has done nothing for so long.
async fn beat(node: &Client, lease: &Reply, idle_ms: u64) -> Reply {
    let body = json!({"token": lease.token(), "idle_ms": idle_ms});
    node.renew_with(body, 200).await
}

/// The end of a lease, as its next heartbeat reads it.
async fn end_of(node: &Client, lease: &Reply) -> (Value, Value) {
    let lost = node.renew(&lease.token(), 410).await;
    (lost["code"].clone(), lost["reason"].clone())
}

fn evicted(reason: &str) -> (Value, Value) {
    (json!("lease_evicted"), json!(reason))
}

/// Takes a seat for a holder.
async fn seat(node: &Client, pool: &str, holder: &str) -> Reply {
    node.acquire(pool, json!({"holder": holder}), 201).await
}

/// Type, lease and reason of each event of a pool, but for those of its policy.
async fn story(redis: &Redis, pool: &str) -> Vec<(String, String, String)> {
    let events = redis.events(pool).await.into_iter();
    events
        .filter(|event| event.kind != "configured")
        .map(|event| (event.kind, event.id, event.reason))
        .collect()
}

//! Behind sentinels: nodes follow the master by themselves, and no holder that goes on beating loses its seat.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use serde_json::json;

use crate::harness::{ANY, Launch, Sentinels, wait_until};

/// Redis's promise at a crash is kept by few: how long the switch may take from the promotion on.
const SWITCH: Duration = Duration::from_millis(1_500);

#[tokio::test]
async fn a_killed_master_is_followed_and_everybody_keeps_the_seat() {
    let mut redis = Sentinels::start().await;
    let url = redis.url();
    let nodes = join_all((0..2).map(|_| Launch::on(&url).start())).await;
    nodes[0].put_pool("crm", json!({"capacity": 3}), 201).await;
    let leases = join_all((0..3).map(|_| nodes[0].acquire("crm", json!({}), 201))).await;
    // What was acknowledged a moment ago may not be on a replica yet; that is another promise.
    redis.servers[0].copied_to(2).await;

    redis.servers[0].kill();
    let refused = nodes[0].acquire("crm", json!({}), 503).await;
    assert_eq!(refused["code"], "store_unavailable");
    redis.promoted(0).await;
    let promoted = Instant::now();
    for node in &nodes {
        wait_until("the node follows", SWITCH, async || {
            node.renew(&leases[0].token(), ANY).await.status == 200
        })
        .await;
    }
    assert!(promoted.elapsed() < 2 * SWITCH);
    for (lease, node) in leases.iter().zip(nodes.iter().cycle()) {
        node.renew(&lease.token(), 200).await;
    }
    nodes[1].acquire("crm", json!({}), 409).await;
    assert_eq!(nodes[0].availability("crm", 200).await["in_use"], 3);
}

#[tokio::test]
async fn a_healthy_master_that_is_replaced_is_left_at_once() {
    let redis = Sentinels::start().await;
    let node = Launch::on(&redis.url()).start().await;
    node.put_pool("crm", json!({"capacity": 1000}), 201).await;

    // This master goes on answering for seconds, and what it acknowledges is lost.
    let () = redis.sentinels[0]
        .query(&["SENTINEL", "FAILOVER", "main"])
        .await;
    let new = redis.promoted(0).await;
    let granted_by_new = async || {
        let lease = node.acquire("crm", json!({}), ANY).await;
        lease.status == 201 && redis.servers[new].has_lease("crm", &lease.id()).await
    };
    wait_until("grants come from the new master", SWITCH, granted_by_new).await;
    for _ in 0..20 {
        assert!(granted_by_new().await, "a grant of the old master");
    }
}

#[tokio::test]
async fn without_sentinels_the_nodes_go_on() {
    let mut redis = Sentinels::start().await;
    let node = Launch::on(&redis.url()).start().await;
    node.put_pool("crm", json!({"capacity": 100}), 201).await;
    for sentinel in &mut redis.sentinels {
        sentinel.kill();
    }
    for _ in 0..50 {
        node.acquire("crm", json!({}), 201).await;
    }
}

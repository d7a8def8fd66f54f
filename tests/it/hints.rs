//! Waiters are notified when a seat comes free, by whatever master there is: behind sentinels, in a cluster, over TLS.
//!
//! That the seat comes at all is `rules/queue.rs`: a waiter asks by itself now and then. Here it is held against the
//! count of hints that it received.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::{
    Answer, Installation, Launch, Node, Scrape, Sentinels, Server, Shards, wait_until,
};

/// Long enough for a failover.
const LONG: Duration = Duration::from_secs(15);

/// What a node says of itself in one metric.
pub(crate) async fn metric(node: &Node, name: &str) -> f64 {
    Scrape::of(node).await.get(name, &[]).unwrap_or(0.0)
}

/// How many nodes listen at a server.
async fn listeners(server: &Server) -> u64 {
    let counted = ["PUBSUB", "NUMSUB", "lh1:{nodes}:queue"];
    let (_, count): (String, u64) = server.try_query(&counted).await.unwrap_or_default();
    count
}

async fn listens(node: &Node) {
    wait_until("the node listens", LONG, async || {
        metric(node, "leasehold_store_listening").await > 0.0
    })
    .await;
}

fn waiter(node: &Node, pool: &str) -> Answer {
    let body = json!({"wait": true, "wait_ms": 20_000});
    node.acquire(pool, body, 201)
}

async fn waiting(node: &Node, pool: &str) {
    wait_until("somebody waits", LONG, async || {
        node.availability(pool, [200, 503]).await["waiting"] == 1
    })
    .await;
}

/// A seat that is released on one node goes to a waiter on another one, which was notified.
///
/// A hint may be lost while a node changes from one server to another, or while the servers of a cluster still connect
/// to each other. So seats are handed over until a waiter is notified.
pub(crate) async fn a_waiter_is_told(holder_at: &Node, waiter_at: &Node, pool: &str) {
    wait_until("a waiter was notified", LONG, async || {
        let before = metric(waiter_at, "leasehold_store_hints_total").await;
        hand_over(holder_at, waiter_at, pool).await;
        let told = async || metric(waiter_at, "leasehold_store_hints_total").await > before;
        let deadline = Instant::now() + Duration::from_secs(1);
        while !told().await {
            if Instant::now() > deadline {
                return false;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        true
    })
    .await;
}

/// Of one seat, with nobody else who wants it.
async fn hand_over(holder_at: &Node, waiter_at: &Node, pool: &str) {
    // From the first waiter on a node listens.
    let held = holder_at.acquire(pool, json!({}), 201).await;
    let waits = tokio::spawn(waiter(waiter_at, pool));
    waiting(holder_at, pool).await;
    listens(waiter_at).await;
    holder_at.release(&held.token(), 204).await;
    let granted = waits.await.expect("no panic");
    holder_at.release(&granted.token(), 204).await;
}

pub(crate) fn one_seat() -> Value {
    json!({"capacity": 1, "queue": {"max_waiting": 9}})
}

#[tokio::test]
async fn behind_sentinels_hints_come_from_whoever_is_the_master() {
    let mut redis = Sentinels::start().await;
    let url = redis.url();
    let (a, b) = tokio::join!(Launch::on(&url).start(), Launch::on(&url).start());
    a.put_pool("crm", one_seat(), 201).await;
    a_waiter_is_told(&a, &b, "crm").await;
    assert_eq!(listeners(&redis.servers[0]).await, 1);

    redis.servers[0].copied_to(2).await;
    redis.servers[0].kill();
    let new = redis.promoted(0).await;
    wait_until("the node listens to the new master", LONG, async || {
        listeners(&redis.servers[new]).await == 1
    })
    .await;
    wait_until("both follow", LONG, async || {
        let (a, b) = tokio::join!(
            a.availability("crm", [200, 503]),
            b.availability("crm", [200, 503])
        );
        a.status == 200 && b.status == 200
    })
    .await;
    a_waiter_is_told(&a, &b, "crm").await;
}

#[tokio::test]
async fn a_master_that_is_replaced_in_good_health_is_not_listened_to_any_more() {
    let redis = Sentinels::start().await;
    let node = Launch::on(&redis.url()).start().await;
    node.put_pool("crm", one_seat(), 201).await;
    a_waiter_is_told(&node, &node, "crm").await;

    let () = redis.sentinels[0]
        .query(&["SENTINEL", "FAILOVER", "main"])
        .await;
    let new = redis.promoted(0).await;
    wait_until("the node listens to the new master", LONG, async || {
        listeners(&redis.servers[new]).await == 1 && listeners(&redis.servers[0]).await == 0
    })
    .await;
}

#[tokio::test]
async fn in_a_cluster_hints_come_from_all_masters_and_outlive_the_node_that_told_them() {
    let mut redis = Shards::start().await;
    let url = redis.url();
    let (a, b) = tokio::join!(Launch::on(&url).start(), Launch::on(&url).start());
    let pools: Vec<String> = (0..8).map(|number| format!("pool-{number}")).collect();
    for pool in &pools {
        a.put_pool(pool, one_seat(), 201).await;
    }
    // Of any bucket, so of each of the three.
    for pool in &pools {
        a_waiter_is_told(&a, &b, pool).await;
    }

    let mut told_by = None;
    for (place, server) in redis.servers.iter().enumerate() {
        if listeners(server).await == 1 {
            told_by = Some(place);
        }
    }
    let told_by = told_by.expect("the node listens to one of them");
    redis.servers[told_by].copied_to(1).await;
    redis.servers[told_by].kill();
    wait_until("the cluster is whole again", LONG, async || {
        redis.masters().await.len() == 3
    })
    .await;
    for pool in &pools {
        wait_until("both have the pool", LONG, async || {
            let (a, b) = tokio::join!(
                a.availability(pool, [200, 503]),
                b.availability(pool, [200, 503])
            );
            a.status == 200 && b.status == 200
        })
        .await;
    }
    for pool in &pools {
        a_waiter_is_told(&a, &b, pool).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_hears_only_of_queues_in_which_somebody_waits_at_it() {
    let cluster = Installation::two().await;
    let (a, b) = cluster.pair();
    for pool in ["crm", "desk"] {
        let policy = json!({"capacity": 1, "queue": {"max_waiting": 9}});
        a.put_pool(pool, policy, 201).await;
    }
    let desk = a.acquire("desk", json!({}), 201).await;
    let waits = tokio::spawn(waiter(b, "desk"));
    waiting(a, "desk").await;
    a_waiter_is_told(b, a, "crm").await;
    // The other node listens too, and heard nothing of that queue.
    listens(b).await;
    assert!(metric(b, "leasehold_store_hints_total").await.abs() < 0.5);
    a.release(&desk.token(), 204).await;
    assert_eq!(waits.await.expect("no panic").status, 201);
}

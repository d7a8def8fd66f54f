//! `durability = "replicated"`: what was acknowledged is on a replica, and where it is not the answer reports that.

use std::time::Duration;

use futures_util::future::join_all;
use serde_json::json;

use crate::harness::{Launch, Scrape, Sentinels, Shards, wait_until};

#[tokio::test]
async fn answers_say_whether_a_replica_has_it() {
    let redis = Sentinels::start().await;
    let node = Launch::on(&redis.url())
        .set("durability", "replicated")
        .start()
        .await;
    node.put_pool("crm", json!({"capacity": 100}), 201).await;
    let lease = node.acquire_once("crm", "tab-1", json!({}), 201).await;
    assert_eq!(lease["durable"], true, "{}", lease.text);
    let again = node.acquire_once("crm", "tab-1", json!({}), 200).await;
    assert_eq!(again["durable"], true, "{}", again.text);
    let released = node.release(&lease.token(), 204).await;
    assert_eq!(released.header("leasehold-durable"), Some("true"));
    // Those who ask together wait together.
    let waits = Scrape::of(&node)
        .await
        .get("leasehold_store_waits_total", &[("durable", "true")]);
    let crowd = join_all((0..64).map(|_| node.acquire("crm", json!({}), 201))).await;
    assert!(crowd.iter().all(|lease| lease["durable"] == true));
    let after = Scrape::of(&node)
        .await
        .get("leasehold_store_waits_total", &[("durable", "true")]);
    let waits = after.unwrap_or(0.0) - waits.unwrap_or(0.0);
    assert!(waits <= 32.0, "64 acquires waited {waits} times");
    let all = json!({"all": true});
    assert_eq!(
        node.terminate("crm", all.clone(), 200).await["durable"],
        true
    );

    // Both replicas are silent: the operation is done all the same, and nothing is promised.
    for replica in &redis.servers[1..] {
        replica.signal("STOP");
    }
    let lease = node.acquire("crm", json!({}), 201).await;
    assert_eq!(lease["durable"], false, "{}", lease.text);
    let renewed = node.renew(&lease.token(), 200).await;
    assert_eq!(renewed.header("leasehold-durable"), None);
    assert_eq!(node.terminate("crm", all, 200).await["durable"], false);
    for replica in &redis.servers[1..] {
        replica.signal("CONT");
    }
}

#[tokio::test]
async fn what_a_replica_has_survives_the_master() {
    let mut redis = Sentinels::start().await;
    let node = Launch::on(&redis.url())
        .set("durability", "replicated")
        .start()
        .await;
    node.put_pool("crm", json!({"capacity": 500}), 201).await;
    let mut grants = Vec::new();
    for _ in 0..20 {
        grants.extend(join_all((0..5).map(|_| node.acquire("crm", json!({}), 201))).await);
    }
    let durable: Vec<_> = grants
        .iter()
        .filter(|grant| grant["durable"] == true)
        .collect();
    redis.servers[0].kill();
    assert!(durable.len() > 50, "{} of 100", durable.len());
    let new = redis.promoted(0).await;
    for grant in durable {
        let id = grant.id();
        assert!(
            redis.servers[new].has_lease("crm", &id).await,
            "{id} was acknowledged as durable"
        );
    }
}

#[tokio::test]
async fn in_a_cluster_the_master_of_the_pool_is_asked() {
    let redis = Shards::start().await;
    let node = Launch::on(&redis.url())
        .set("durability", "replicated")
        .start()
        .await;
    for number in 0..6 {
        let pool = format!("pool-{number}");
        node.put_pool(&pool, json!({"capacity": 1}), 201).await;
        // A replica that has only just joined may take longer than the wait.
        wait_until("a replica has it", Duration::from_secs(5), async || {
            let lease = node.acquire_once(&pool, "tab", json!({}), [200, 201]).await;
            lease["durable"] == true
        })
        .await;
    }
}

//! A rule that counts by holder, tenant or kind of seat comes to a pool in use: its index is made in bites, while the rules of
//! before go on to decide.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::deleted_pools::add_leases;
use crate::harness::{Installation, Redis, let_pass};

#[tokio::test]
async fn acquires_go_on_while_a_rule_comes_to_a_large_pool_and_no_script_is_long() {
    for size in [1_000, 5_000, 20_000] {
        let cluster = Installation::start_on(Redis::start_alone().await, 2, &[]).await;
        let (a, b) = cluster.pair();
        // Long terms: what is added here nobody renews.
        let policy = json!({"capacity": 100_000, "ttl_ms": 600_000});
        a.put_pool("crm", policy, 201).await;
        add_leases(&cluster, "crm", size).await;
        let _: String = cluster
            .redis
            .query(&["CONFIG", "SET", "slowlog-log-slower-than", "20000"])
            .await;
        let _: String = cluster.redis.query(&["SLOWLOG", "RESET"]).await;

        let done = AtomicBool::new(false);
        let asking = async {
            let (mut asked, mut refused, mut longest) = (0_u64, 0, Duration::ZERO);
            while !done.load(Ordering::Relaxed) || asked < 5 {
                let began = Instant::now();
                let body = json!({"holder": format!("new-{asked}"), "tenant": "acme"});
                let key = format!("key-{asked}");
                // A machine that does ten other things may be late for once.
                let lease = loop {
                    let answer = b.acquire_once("crm", &key, body.clone(), [200, 201, 503]);
                    let answer = answer.await;
                    if answer.status != 503 {
                        break answer;
                    }
                    refused += 1;
                };
                if asked % 2 == 1 {
                    b.release(&lease.token(), 204).await;
                }
                longest = longest.max(began.elapsed());
                asked += 1;
            }
            assert!(
                refused <= 2,
                "{refused} of {asked} acquires were not answered"
            );
            (asked, longest)
        };
        let patching = async {
            let began = Instant::now();
            let patched = a
                .patch_pool("crm", json!({"tenant_max": 50_000}), 200)
                .await;
            done.store(true, Ordering::Relaxed);
            assert_eq!(patched["tenant_max"], 50_000);
            began.elapsed()
        };
        let ((asked, longest), took) = tokio::join!(asking, patching);
        let slow: Vec<redis::Value> = cluster.redis.query(&["SLOWLOG", "GET", "128"]).await;
        println!(
            "{size}: {took:?}, {asked} acquires meanwhile, the longest {longest:?}, {} scripts over 20 ms",
            slow.len()
        );
        assert!(longest < Duration::from_secs(3), "{longest:?}");

        // The index agrees with the leases.
        let pool = a.pool("crm", 200).await;
        let live = size as u64 + asked.div_ceil(2);
        assert_eq!(pool["in_use"], live);
        assert_eq!(pool["tenants_in_use"]["acme"], asked.div_ceil(2));
        assert_eq!(pool["tenants_in_use"]["tenant-7"], size / 50);
        b.patch_pool("crm", json!({"tenants": {"acme": {"max": 1}}}), 200)
            .await;
        let denied = b.acquire("crm", json!({"tenant": "acme"}), 409).await;
        assert_eq!(denied["code"], "tenant_full");
    }
}

#[tokio::test]
async fn an_index_that_nobody_goes_on_to_make_is_given_up() {
    let cluster = Installation::start_with(1, &[("sweep_every_ms", "100")]).await;
    let node = cluster.first();
    node.put_pool("crm", json!({"capacity": 10, "ttl_ms": 1_000}), 201)
        .await;
    let config = cluster.redis.keys("lh1:*:crm:config").await.remove(0);
    // As of a node that was killed a while ago.
    let _: i64 = cluster
        .redis
        .query(&["HSET", &config, "indexed", "1", "indexing", "1"])
        .await;

    let ann = node.acquire("crm", json!({"holder": "ann"}), 201).await;
    assert_eq!(node.availability("crm", 200).await["in_use"], 1);
    node.release(&ann.token(), 204).await;
    node.acquire("crm", json!({"holder": "bob"}), 201).await;
    let_pass(1_100).await;
    crate::harness::wait_until(
        "a sweep has been there",
        Duration::from_secs(10),
        async || {
            let left: Vec<Option<String>> = cluster
                .redis
                .query(&["HMGET", &config, "indexed", "indexing"])
                .await;
            left == [None, None]
        },
    )
    .await;
    node.patch_pool("crm", json!({"tenant_max": 1}), 200).await;
    node.acquire("crm", json!({"tenant": "acme"}), 201).await;
    node.acquire("crm", json!({"tenant": "acme"}), 409).await;
}

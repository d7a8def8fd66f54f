//! A pool that was deleted is gone, and a new one of its name is another: nothing of the first has an effect in it.

use std::time::Duration;

use reqwest::Method;
use serde_json::json;

use crate::harness::{ANY, Installation, Node, Reply, Scrape, let_pass, wait_until};

/// Says that the lease was lost because its pool was deleted.
async fn reads_that_its_pool_was_deleted(node: &Node, lease: &Reply) {
    let lost = node.renew(&lease.token(), 410).await;
    assert_eq!(lost["code"], "lease_terminated");
    assert_eq!(lost["reason"], "The pool was deleted.");
    let many = node.renew_many(&[&lease.token()], 200).await;
    assert_eq!(many["results"][0]["code"], "lease_terminated");
}

async fn delete(node: &Node, pool: &str) {
    let path = format!("/v1/pools/{pool}");
    node.call(Method::DELETE, &path).expect(204).await;
}

#[tokio::test]
async fn an_evicted_lease_does_not_come_back_in_a_new_pool_of_the_name() {
    let cluster = Installation::start_with(2, &[("sweep_every_ms", "0")]).await;
    let (a, b) = cluster.pair();
    let evict = json!({"capacity": 1, "when_full": "evict_oldest_of_holder"});
    a.put_pool("crm", evict, 201).await;
    let first = a.acquire("crm", json!({"holder": "ann"}), 201).await;
    let second = b.acquire("crm", json!({"holder": "ann"}), 201).await;

    delete(a, "crm").await;
    reads_that_its_pool_was_deleted(b, &second).await;
    b.put_pool("crm", json!({"capacity": 1}), 201).await;

    for lease in [&first, &second] {
        reads_that_its_pool_was_deleted(a, lease).await;
        b.release(&lease.token(), 204).await;
        b.leave(&lease.token(), 204).await;
    }
    a.acquire("crm", json!({"holder": "bob"}), 201).await;
    let scrape = Scrape::of(a).await;
    assert_eq!(scrape.get("leasehold_leases_rebuilt_total", &[]), Some(0.0));
}

#[tokio::test]
async fn an_expired_lease_does_not_come_back_in_a_new_pool_whether_or_not_a_sweep_has_been_there() {
    for sweep_every_ms in ["0", "100"] {
        let cluster = Installation::start_with(1, &[("sweep_every_ms", sweep_every_ms)]).await;
        let node = cluster.first();
        let short = json!({"capacity": 1, "ttl_ms": 1_000});
        node.put_pool("crm", short.clone(), 201).await;
        let old = node.acquire("crm", json!({"holder": "old"}), 201).await;
        let_pass(1_050).await;
        // It ends with this, and only a sweep would make a tombstone of it.
        let other = node.acquire("crm", json!({"holder": "other"}), 201).await;
        if sweep_every_ms != "0" {
            wait_until("a tombstone", Duration::from_secs(10), async || {
                let tombstone = format!("lh1:{{*}}:crm:lease:{}", old.id());
                !cluster.redis.keys(&tombstone).await.is_empty()
            })
            .await;
        }

        delete(node, "crm").await;
        node.put_pool("crm", short, 201).await;

        for lease in [&old, &other] {
            reads_that_its_pool_was_deleted(node, lease).await;
        }
        // The history begins with the pool.
        let events = cluster.redis.events("crm").await;
        let kinds: Vec<_> = events.iter().map(|event| event.kind.as_str()).collect();
        assert_eq!(kinds, ["configured"]);
        node.acquire("crm", json!({"holder": "new"}), 201).await;
        assert_eq!(cluster.redis.balance("crm").await, (1, 1));
    }
}

#[tokio::test]
async fn no_ticket_and_no_idempotency_key_of_a_deleted_pool_has_an_effect_in_the_new_one() {
    let cluster = Installation::one().await;
    let node = cluster.first();
    let queue = json!({"capacity": 1, "queue": {"max_waiting": 5}});
    node.put_pool("crm", queue.clone(), 201).await;
    let ann = json!({"holder": "ann"});
    let first = node.acquire_once("crm", "key-1", ann.clone(), 201).await;
    let wait = json!({"holder": "bob", "wait": true});
    let ticket = node.acquire("crm", wait, 202).await["ticket"].clone();

    for policy in [queue, json!({"capacity": 1})] {
        delete(node, "crm").await;
        node.acquire("crm", json!({"ticket": ticket}), 404).await;
        node.put_pool("crm", policy, 201).await;
        let expired = node.acquire("crm", json!({"ticket": ticket}), 410).await;
        assert_eq!(expired["code"], "ticket_expired");
        assert_eq!(node.availability("crm", 200).await["in_use"], 0);
        // The key is free for a new lease.
        let second = node.acquire_once("crm", "key-1", ann.clone(), 201).await;
        assert_ne!(second.id(), first.id());
    }
}

#[tokio::test]
async fn a_pool_with_its_incarnation_is_put_back_after_a_loss_and_only_its_own_leases_with_it() {
    let cluster = Installation::one().await;
    let node = cluster.first();
    node.put_pool("crm", json!({"capacity": 3}), 201).await;
    let old = node.acquire("crm", json!({"holder": "old"}), 201).await;
    delete(node, "crm").await;
    node.put_pool("crm", json!({"capacity": 3}), 201).await;
    let new = node.acquire("crm", json!({"holder": "new"}), 201).await;

    cluster.redis.empty().await;

    wait_until("the pool is back", Duration::from_secs(20), async || {
        node.pool("crm", crate::harness::ANY).await.status == 200
    })
    .await;
    reads_that_its_pool_was_deleted(node, &old).await;
    assert_eq!(node.renew(&new.token(), 200).await["resumed"], true);
    let scrape = Scrape::of(node).await;
    assert_eq!(scrape.get("leasehold_leases_rebuilt_total", &[]), Some(1.0));
}

#[tokio::test]
async fn a_pool_that_is_made_anew_after_a_loss_takes_in_the_leases_from_before_it() {
    let mut cluster = Installation::one().await;
    cluster.nodes[0]
        .put_pool("crm", json!({"capacity": 3, "ttl_ms": 2_000}), 201)
        .await;
    let lease = cluster.nodes[0]
        .acquire("crm", json!({"holder": "ann"}), 201)
        .await;

    // Nobody is left who remembers the pool.
    let launch = cluster.nodes[0].launch();
    cluster.nodes.clear();
    cluster.redis.empty().await;
    let node = launch.start().await;
    node.put_pool("crm", json!({"capacity": 3, "ttl_ms": 2_000}), 201)
        .await;

    let back = node.renew(&lease.token(), 200).await;
    assert_eq!(back["resumed"], true);
    let token = back["token"]
        .as_str()
        .expect("one of this store")
        .to_owned();
    // From then on it is a lease of this pool like any other.
    let_pass(2_050).await;
    assert_eq!(node.renew(&token, 200).await["resumed"], true);
}

#[tokio::test]
async fn a_node_that_is_killed_in_the_middle_of_a_deletion_leaves_all_or_nothing() {
    let mut cluster = Installation::two().await;
    cluster.nodes[0]
        .put_pool("crm", json!({"capacity": 4_000}), 201)
        .await;
    let leases = cluster.nodes[0].fill("crm", 400).await;
    add_leases(&cluster, "crm", 3_600).await;

    let node = cluster.nodes.remove(0);
    let asked = node.call(Method::DELETE, "/v1/pools/crm").body("");
    let asked = tokio::spawn(async move { asked.expect(crate::harness::ANY).await.status });
    let_pass(3).await;
    node.kill();
    let _ = asked.await;

    let other = &cluster.nodes[0];
    if other.pool("crm", crate::harness::ANY).await.status == 200 {
        assert_eq!(other.availability("crm", 200).await["in_use"], 4_000);
        delete(other, "crm").await;
    }
    for lease in [&leases[0], &leases[399]] {
        reads_that_its_pool_was_deleted(other, lease).await;
    }
    let left = cluster.redis.keys("lh1:*:crm:*").await;
    let left: Vec<_> = left.iter().filter(|key| !key.ends_with(":ended")).collect();
    assert!(left.is_empty(), "{left:?}");
}

#[tokio::test]
async fn what_an_earlier_version_left_half_deleted_is_finished_by_any_node() {
    let cluster = Installation::one().await;
    let node = cluster.first();
    node.put_pool("crm", json!({"capacity": 400, "ttl_ms": 2_000}), 201)
        .await;
    let leases = node.fill("crm", 300).await;

    // Its first call takes the policy away, the next ones end the leases.
    let config = cluster.redis.keys("lh1:*:crm:config").await;
    let _: i64 = cluster.redis.query(&["DEL", &config[0]]).await;

    wait_until(
        "nothing is left of it",
        Duration::from_secs(20),
        async || cluster.redis.keys("lh1:*:crm:leases").await.is_empty(),
    )
    .await;
    for lease in [&leases[0], &leases[299]] {
        reads_that_its_pool_was_deleted(node, lease).await;
    }
    node.put_pool("crm", json!({"capacity": 400}), 201).await;
    assert_eq!(node.availability("crm", 200).await["in_use"], 0);
    node.renew(&leases[0].token(), 410).await;
}

#[tokio::test]
async fn a_pool_from_before_this_version_keeps_its_leases_and_loses_them_with_its_deletion() {
    let cluster = Installation::start_with(1, &[("sweep_every_ms", "0")]).await;
    let node = cluster.first();
    let short = json!({"capacity": 3, "ttl_ms": 1_000});
    node.put_pool("crm", short.clone(), 201).await;
    let config = cluster.redis.keys("lh1:*:crm:config").await.remove(0);
    let _: i64 = cluster.redis.query(&["HDEL", &config, "incarnation"]).await;
    let lease = node.acquire("crm", json!({"holder": "ann"}), 201).await;
    node.renew(&lease.token(), 200).await;
    let_pass(1_050).await;
    assert_eq!(node.renew(&lease.token(), 200).await["resumed"], true);
    // A change keeps it so.
    node.patch_pool("crm", json!({"capacity": 4}), 200).await;
    let_pass(1_050).await;
    assert_eq!(node.renew(&lease.token(), 200).await["resumed"], true);

    delete(node, "crm").await;
    node.put_pool("crm", short, 201).await;
    reads_that_its_pool_was_deleted(node, &lease).await;
}

/// Live leases of a pool that come from nowhere. White box: `lua/README.md` lists the keys that a lease is in.
pub(crate) async fn add_leases(cluster: &Installation, pool: &str, count: usize) {
    const ADD: &str = r"
        local time = redis.call('TIME')
        local ttl = tonumber(redis.call('HGET', KEYS[1], 'ttl_ms'))
        for i = tonumber(ARGV[1]), tonumber(ARGV[2]) do
          local id = string.format('%021dA', i)
          local at = string.format('%d', time[1] * 1000 + ttl + i % 1000)
          redis.call('ZADD', KEYS[2], at, id)
          redis.call('HSET', KEYS[3], id, string.format('%d', time[1] * 1000000) .. '\1holder-' .. i % 500 .. '\1tenant-' .. i % 50)
        end
        return 1";
    let config = cluster.redis.keys(&format!("lh1:*:{pool}:config")).await;
    let key = |name: &str| config[0].replace(":config", name);
    for from in (1..=count).step_by(1_000) {
        let (from, to) = (from.to_string(), (from + 999).min(count).to_string());
        let (leases, records) = (key(":leases"), key(":records"));
        let call = ["EVAL", ADD, "3", &config[0], &leases, &records, &from, &to];
        let _: i64 = cluster.redis.query(&call).await;
    }
}

#[tokio::test]
async fn a_policy_that_is_put_beside_deletions_is_put_whatever_becomes_of_it() {
    let cluster = Installation::start_with(2, &[]).await;
    let (a, b) = cluster.pair();
    let puts = async {
        for _ in 0..300 {
            let body = json!({"capacity": 2});
            let put = a.call(Method::PUT, "/v1/pools/crm").json(&body);
            let put = put.expect(ANY).await;
            assert!([200, 201].contains(&put.status), "{put:?}");
            assert_eq!((&put["name"], &put["capacity"]), (&json!("crm"), &json!(2)));
        }
    };
    let deletions = async {
        loop {
            let call = b.call(Method::DELETE, "/v1/pools/crm").expect(ANY).await;
            assert!([204, 404].contains(&call.status), "{call:?}");
        }
    };
    tokio::select! {
        () = puts => {}
        never = deletions => never,
    }
}

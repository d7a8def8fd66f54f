//! Tenants share a pool: caps, and seats that are kept for one.

use serde_json::json;

use super::index_is_true;
use crate::harness::{Installation, let_pass};

#[tokio::test]
async fn a_tenant_gets_no_more_than_its_cap_and_the_rest_no_more_than_theirs() {
    let cluster = Installation::two().await;
    let (a, b) = cluster.pair();
    a.put_pool(
        "crm",
        json!({"capacity": 10, "tenants": {"acme": {"max": 3}}, "tenant_max": 1}),
        201,
    )
    .await;

    let mut last = None;
    for node in [a, b, a] {
        last = Some(node.acquire("crm", json!({"tenant": "acme"}), 201).await);
    }
    for node in [a, b] {
        let denial = node.acquire("crm", json!({"tenant": "acme"}), 409).await;
        assert_eq!(denial["code"], "tenant_full");
        assert_eq!(denial["limit"], "max");
        assert_eq!(denial["tenant"], "acme");
        assert_eq!(denial["in_use"], 3);
        assert_eq!(denial["capacity"], 10);
        assert!(denial.number("/retry_after_ms") > 0);
    }
    b.acquire("crm", json!({"tenant": "other"}), 201).await;
    let denial = a.acquire("crm", json!({"tenant": "other"}), 409).await;
    assert_eq!(denial["limit"], "tenant_max");
    b.acquire("crm", json!({"tenant": "third"}), 201).await;
    // Who belongs to no tenant is not one of them.
    b.acquire("crm", json!({}), 201).await;
    b.acquire("crm", json!({}), 201).await;

    let availability = a.availability("crm", 200).await;
    assert_eq!(availability["in_use"], 7);
    assert_eq!(
        availability["tenants"]["acme"],
        json!({"in_use": 3, "max": 3, "reserved": 0})
    );
    assert_eq!(
        availability["tenants"]["other"],
        json!({"in_use": 1, "max": 1, "reserved": 0})
    );
    let pool = b.pool("crm", 200).await;
    assert_eq!(
        pool["tenants_in_use"],
        json!({"acme": 3, "other": 1, "third": 1})
    );
    index_is_true(&cluster.redis, "crm", false).await;

    a.release(&last.unwrap().token(), 204).await;
    b.acquire("crm", json!({"tenant": "acme"}), 201).await;
    index_is_true(&cluster.redis, "crm", false).await;
}

#[tokio::test]
async fn a_reserved_seat_is_kept_for_its_tenant() {
    let cluster = Installation::one().await;
    let node = cluster.first();
    node.put_pool(
        "crm",
        json!({"capacity": 3, "tenants": {"acme": {"reserved": 1}}}),
        201,
    )
    .await;

    node.acquire("crm", json!({"tenant": "other"}), 201).await;
    let second = node.acquire("crm", json!({}), 201).await;
    for body in [json!({"tenant": "other"}), json!({})] {
        let denial = node.acquire("crm", body, 409).await;
        assert_eq!(denial["code"], "tenant_full");
        assert_eq!(denial["limit"], "reserved");
        assert_eq!(denial["in_use"], 2);
    }
    let own = node.acquire("crm", json!({"tenant": "acme"}), 201).await;
    // Now it is full for all, also for a tenant whose reserve is used up.
    let denial = node.acquire("crm", json!({"tenant": "acme"}), 409).await;
    assert_eq!(denial["code"], "pool_full");

    // What is over the reserve comes from the rest.
    node.release(&second.token(), 204).await;
    node.acquire("crm", json!({"tenant": "acme"}), 201).await;
    node.release(&own.token(), 204).await;
    node.acquire("crm", json!({"tenant": "other"}), 201).await;
}

#[tokio::test]
async fn a_lease_that_ran_out_frees_its_tenant_at_once_and_a_late_beat_asks_the_rules() {
    let cluster = Installation::start_with(1, &[("sweep_every_ms", "0")]).await;
    let node = cluster.first();
    node.put_pool(
        "crm",
        json!({"capacity": 9, "ttl_ms": 1_000, "tenants": {"acme": {"max": 1}}}),
        201,
    )
    .await;
    let first = node.acquire("crm", json!({"tenant": "acme"}), 201).await;
    node.acquire("crm", json!({"tenant": "acme"}), 409).await;
    let_pass(1_050).await;
    assert_eq!(
        node.availability("crm", 200).await["tenants"]["acme"]["in_use"],
        0
    );
    let second = node.acquire("crm", json!({"tenant": "acme"}), 201).await;
    node.renew(&first.token(), 410).await;
    node.release(&second.token(), 204).await;
    assert_eq!(node.renew(&first.token(), 200).await["resumed"], true);
    node.acquire("crm", json!({"tenant": "acme"}), 409).await;
    index_is_true(&cluster.redis, "crm", false).await;
}

#[tokio::test]
async fn a_cap_that_comes_later_counts_those_who_were_there_before() {
    let cluster = Installation::two().await;
    let (a, b) = cluster.pair();
    a.put_pool("crm", json!({"capacity": 700}), 201).await;
    let asks =
        (0..450).map(|i| a.acquire("crm", json!({"tenant": (["acme", "other"][i % 2])}), 201));
    for chunk in asks.collect::<Vec<_>>().chunks_mut(6) {
        futures_util::future::join_all(chunk).await;
    }
    b.patch_pool("crm", json!({"tenant_max": 226}), 200).await;
    assert_eq!(
        b.pool("crm", 200).await["tenants_in_use"],
        json!({"acme": 225, "other": 225})
    );
    a.acquire("crm", json!({"tenant": "acme"}), 201).await;
    b.acquire("crm", json!({"tenant": "acme"}), 409).await;
    index_is_true(&cluster.redis, "crm", false).await;
    // And without the rule nothing of it is left.
    b.patch_pool("crm", json!({"tenant_max": null}), 200).await;
    assert_eq!(cluster.redis.keys("lh1:*:crm:who").await, [""; 0]);
    a.acquire("crm", json!({"tenant": "acme"}), 201).await;
}

#[tokio::test]
async fn a_thousand_reserves_cost_an_acquire_what_two_do() {
    let cluster = Installation::start(1).await;
    let (node, redis) = (&cluster.nodes[0], &cluster.redis);
    let mut each = Vec::new();
    for (pool, tenants) in [("few", 2), ("many", 1_000)] {
        let reserves: serde_json::Map<String, serde_json::Value> = (0..tenants)
            .map(|number| (format!("tenant-{number}"), json!({"reserved": 2})))
            .collect();
        node.put_pool(pool, json!({"capacity": 3_000, "tenants": reserves}), 201)
            .await;
        let first = node.acquire(pool, json!({"tenant": "tenant-1"}), 201).await;
        index_is_true(redis, pool, false).await;
        let commands = redis
            .commands_of(&redis.tag(pool).await, async {
                for _ in 0..20 {
                    let lease = node.acquire(pool, json!({"tenant": "tenant-1"}), 201).await;
                    node.release(&lease.token(), 204).await;
                    node.acquire(pool, json!({}), 201).await;
                }
            })
            .await;
        each.push(commands.len() as f64 / 60.0);
        index_is_true(redis, pool, false).await;
        // The first of its two seats is free again, and nobody else gets it.
        node.release(&first.token(), 204).await;
        index_is_true(redis, pool, false).await;
    }
    assert!(each[1] < each[0] * 1.2, "{each:?} commands");
}

#[tokio::test]
async fn a_node_that_keeps_no_sum_of_reserves_takes_nobody_a_reserve() {
    let cluster = Installation::start(1).await;
    let (node, redis) = (&cluster.nodes[0], &cluster.redis);
    let policy = json!({"capacity": 3, "tenants": {"acme": {"reserved": 2}}});
    node.put_pool("crm", policy, 201).await;
    node.acquire("crm", json!({"tenant": "acme"}), 201).await;
    let second = node.acquire("crm", json!({"tenant": "acme"}), 201).await;
    node.acquire("crm", json!({}), 201).await;
    node.release(&second.token(), 204).await;
    // As a release leaves it that a node of the version before ran: the sum is still that of before.
    let config = redis.keys("lh1:{*}:crm:config").await.remove(0);
    let seats = config.replace(":config", ":seats");
    let clock = config.replace(":crm:config", ":clock");
    let _: i64 = redis.query(&["HSET", &seats, "unmet", "0"]).await;
    let _: i64 = redis.query(&["HINCRBY", &clock, "seq", "1"]).await;
    let denied = node.acquire("crm", json!({"tenant": "other"}), 409).await;
    assert_eq!(denied["code"], "tenant_full", "{}", denied.text);
    node.acquire("crm", json!({"tenant": "acme"}), 201).await;
    index_is_true(redis, "crm", false).await;
}

#[tokio::test]
async fn of_many_tenants_an_answer_tells_those_that_are_named_or_use_most_and_counts_the_others() {
    let cluster = Installation::one().await;
    let node = cluster.first();
    let policy = json!({"capacity": 500, "tenants": {"named": {"max": 5}}, "tenant_max": 9});
    node.put_pool("crm", policy, 201).await;
    let tenants = (0..150).map(|number| format!("tenant-{number}"));
    let tenants = tenants.chain(["named", "zoo", "zoo"].map(str::to_owned));
    let leases: Vec<_> = tenants.map(|tenant| json!({ "tenant": tenant })).collect();
    let many = json!({ "leases": leases });
    node.post("/v1/pools/crm/leases/acquire-many")
        .json(&many)
        .expect(200)
        .await;
    let pool = node.pool("crm", 200).await;
    let availability = node.availability("crm", 200).await;
    for (of, tenants, seats) in [
        (&pool, &pool["tenants_in_use"], ""),
        (&availability, &availability["tenants"], "/in_use"),
    ] {
        assert_eq!(tenants.as_object().expect("tenants").len(), 101);
        assert_eq!(of["tenants_left_out"], 51);
        assert_eq!(tenants.pointer(&format!("/zoo{seats}")), Some(&json!(2)));
        assert_eq!(tenants.pointer(&format!("/named{seats}")), Some(&json!(1)));
    }
    // What was read can be put.
    let read = pool.body.clone();
    node.put_pool("crm", read, 200).await;
}

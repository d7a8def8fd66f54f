//! Privacy: no name, label or activity of a holder is anywhere, in a pool that keeps none.

use std::collections::BTreeSet;

use serde_json::json;

use crate::harness::{Installation, Redis, let_pass};

const MARK: &str = "zaphod";

/// Everything that Redis holds, as it would write it to disk, and as commands read it.
async fn dump(redis: &Redis) -> String {
    const ALL: &str = r"
        local all = {}
        for _, key in ipairs(redis.call('KEYS', '*')) do
          all[#all + 1] = key
          local kind = redis.call('TYPE', key).ok
          local read = { string = { 'GET', key }, hash = { 'HGETALL', key }, set = { 'SMEMBERS', key },
            zset = { 'ZRANGE', key, 0, -1 }, stream = { 'XRANGE', key, '-', '+' } }
          all[#all + 1] = cjson.encode(redis.call(unpack(read[kind])))
        end
        return table.concat(all, '\n')";
    redis.query(&["EVAL", ALL, "0"]).await
}

async fn use_it(cluster: &Installation, privacy: &str) -> Vec<crate::harness::Reply> {
    let (a, b) = cluster.pair();
    a.put_pool(
        "crm",
        json!({"capacity": 2, "ttl_ms": 1_000, "privacy": privacy, "queue": {"max_waiting": 5}}),
        201,
    )
    .await;
    let body = |n: u32| {
        json!({"holder": format!("{MARK}-{n}"), "label": format!("{MARK}'s desk"),
            "activities": [format!("call {MARK}")], "tenant": "acme", "platform": "web"})
    };
    let first = a.acquire("crm", body(1), 201).await;
    let second = b.acquire_once("crm", MARK, body(2), 201).await;
    a.acquire("crm", body(3), 409).await;
    let mut waiting = body(4);
    waiting["wait"] = json!(true);
    b.acquire("crm", waiting, 202).await;
    b.renew_with(
        json!({"token": first.token(), "label": MARK, "activities": [MARK]}),
        200,
    )
    .await;
    let_pass(1_100).await;
    a.renew_with(json!({"token": first.token(), "label": MARK}), [200, 410])
        .await;
    // Where nobody has a name, none can be named.
    let known = if privacy == "anonymous" { 400 } else { 200 };
    b.terminate(
        "crm",
        json!({"holder": format!("{MARK}-2"), "block_ms": 5_000}),
        known,
    )
    .await;
    a.release(&second.token(), 204).await;
    vec![first, second]
}

async fn says_nothing(cluster: &Installation) {
    assert!(!dump(&cluster.redis).await.contains(MARK));
    for node in &cluster.nodes {
        let log = node.all_said().await;
        assert!(!log.contains(MARK), "{log}");
        let metrics = node.get("/metrics").expect(200).await;
        assert!(!metrics.text.contains(MARK));
        let listed = node.list("crm", "", 200).await;
        assert!(!listed.text.contains(MARK));
    }
}

#[tokio::test]
async fn a_pseudonymous_pool_keeps_a_keyed_hash_and_knows_its_holders_by_it() {
    let cluster = Installation::two().await;
    let leases = use_it(&cluster, "pseudonymous").await;
    says_nothing(&cluster).await;
    let names: BTreeSet<_> = leases
        .iter()
        .map(|lease| lease["lease"]["holder"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(names.len(), 2);
    assert!(leases[0]["lease"]["label"].is_null());
    assert_eq!(leases[0]["lease"]["activities"], json!([]));
    // The block was for this holder, and a search by its name finds its leases.
    let node = &cluster.nodes[1];
    let blocked = node
        .acquire("crm", json!({"holder": format!("{MARK}-2")}), 409)
        .await;
    assert_eq!(blocked["code"], "holder_blocked");
    node.patch_pool("crm", json!({"capacity": 9}), 200).await;
    node.acquire("crm", json!({"holder": format!("{MARK}-9")}), 201)
        .await;
    let found = node.list("crm", &format!("holder={MARK}-9"), 200).await;
    assert_eq!(found.list("items").len(), 1);
}

#[tokio::test]
async fn an_anonymous_pool_keeps_nothing_but_the_id() {
    let cluster = Installation::two().await;
    let leases = use_it(&cluster, "anonymous").await;
    says_nothing(&cluster).await;
    assert!(leases[0]["lease"]["holder"].is_null());
    let node = cluster.first();
    node.patch_pool("crm", json!({"capacity": 9}), 200).await;
    node.acquire(
        "crm",
        json!({"holder": MARK, "tenant": MARK, "platform": "web"}),
        201,
    )
    .await;
    let listed = node.list("crm", "", 200).await;
    for item in listed.list("items") {
        for field in ["holder", "tenant", "label", "platform"] {
            assert!(item[field].is_null(), "{field}: {}", listed.text);
        }
    }
    says_nothing(&cluster).await;
}

#[tokio::test]
async fn one_person_is_one_holder_on_every_node_and_another_in_another_pool() {
    let cluster = Installation::two().await;
    let (a, b) = cluster.pair();
    for pool in ["crm", "erp"] {
        a.put_pool(
            pool,
            json!({"capacity": 1, "privacy": "pseudonymous", "seat_per": "holder"}),
            201,
        )
        .await;
    }
    let first = a.acquire("crm", json!({"holder": MARK}), 201).await;
    let second = b.acquire("crm", json!({"holder": MARK}), 201).await;
    assert_eq!(second["pool"]["in_use"], 1);
    assert_eq!(first["lease"]["holder"], second["lease"]["holder"]);
    let elsewhere = b.acquire("erp", json!({"holder": MARK}), 201).await;
    assert_ne!(first["lease"]["holder"], elsewhere["lease"]["holder"]);
}

#[tokio::test]
async fn a_token_from_before_brings_no_name_back() {
    let cluster = Installation::start_with(1, &[("sweep_every_ms", "0")]).await;
    let node = cluster.first();
    node.put_pool("crm", json!({"capacity": 1, "ttl_ms": 1_000}), 201)
        .await;
    let named = node
        .acquire("crm", json!({"holder": MARK, "label": MARK}), 201)
        .await;
    let_pass(1_100).await;
    // Nothing of the pool is left, as after a loss of data.
    cluster.redis.empty().await;
    node.put_pool(
        "crm",
        json!({"capacity": 1, "ttl_ms": 1_000, "privacy": "pseudonymous"}),
        [200, 201],
    )
    .await;
    let back = node.renew(&named.token(), 200).await;
    assert_ne!(back["lease"]["holder"], MARK);
    assert!(!dump(&cluster.redis).await.contains(MARK));
}

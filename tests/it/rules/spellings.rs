//! `holder_match: "folded"`: one person, however their name is spelt.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use super::index_is_true;
use crate::harness::{Installation, Reply, wait_until};

fn holders(list: &Reply) -> Vec<&str> {
    let items = list.list("items").iter();
    let mut holders: Vec<&str> = items.filter_map(|item| item["holder"].as_str()).collect();
    holders.sort_unstable();
    holders
}

#[tokio::test]
async fn spellings_of_one_name_share_a_seat_and_each_lease_shows_its_own() {
    let cluster = Installation::two().await;
    let (a, b) = cluster.pair();
    let policy = json!({"capacity": 1, "seat_per": "holder", "holder_match": "folded"});
    let put = a.put_pool("crm", policy, 201).await;
    assert_eq!(put["holder_match"], "folded");
    // Capitals, a decomposed letter, and blanks of other kinds.
    let spellings = ["Zoë  Example", "ZOË EXAMPLE", "zoe\u{308}\u{A0}example"];
    let mut leases = Vec::new();
    for (number, spelling) in spellings.iter().enumerate() {
        let node = &cluster.nodes[number % 2];
        let lease = node.acquire("crm", json!({"holder": spelling}), 201).await;
        assert_eq!(lease["lease"]["holder"], json!(spelling));
        assert_eq!(lease["pool"]["in_use"], 1);
        let renewed = node.renew(&lease.token(), 200).await;
        assert_eq!(renewed["lease"]["holder"], json!(spelling));
        leases.push(lease);
    }
    b.acquire("crm", json!({"holder": "zoe example"}), 409)
        .await;
    let mut expected = spellings;
    expected.sort_unstable();
    let listed = a.list("crm", "holder=ZO%C3%8B%20example", 200).await;
    assert_eq!(holders(&listed), expected);
    index_is_true(&cluster.redis, "crm", true).await;

    // A key names the request of the person, too.
    let body = |holder: &str| json!({ "holder": holder });
    let first = a.acquire_once("crm", "tab", body(spellings[0]), 201).await;
    let again = b.acquire_once("crm", "tab", body(spellings[1]), 200).await;
    assert_eq!(
        (again.id(), &again["lease"]["holder"]),
        (first.id(), &json!(spellings[0]))
    );
    a.release(&first.token(), 204).await;

    // An end and a block meet all of them.
    let ended = json!({"holder": "zoë EXAMPLE", "block_ms": 60_000, "reason": "moved"});
    b.terminate("crm", ended, 200).await;
    for (lease, spelling) in leases.iter().zip(spellings) {
        let lost = a.renew(&lease.token(), 410).await;
        assert_eq!(lost["code"], "lease_terminated");
        let denied = a.acquire("crm", json!({"holder": spelling}), 409).await;
        assert_eq!(denied["code"], "holder_blocked");
    }
    let lift = a.call(Method::DELETE, "/v1/pools/crm/blocks/ZO%C3%8B%20example");
    lift.expect(204).await;
    let block = b.call(Method::PUT, "/v1/pools/crm/blocks/Zo%C3%AB%20Example");
    let blocked = block.json(&json!({"for_ms": 60_000})).expect(200).await;
    assert_eq!(blocked["holder"], "zoë example");
    for spelling in spellings {
        let denied = a.acquire("crm", json!({"holder": spelling}), 409).await;
        assert_eq!(denied["code"], "holder_blocked");
    }
}

#[tokio::test]
async fn leases_that_are_made_again_from_their_tokens_are_of_one_holder_again() {
    let mut cluster = Installation::one().await;
    let policy = json!({"capacity": 2, "seat_per": "holder", "holder_match": "folded"});
    cluster.nodes[0].put_pool("crm", policy, 201).await;
    let mut tokens = Vec::new();
    for holder in ["Ann", "ANN"] {
        let lease = cluster.nodes[0].acquire("crm", json!({ "holder": holder }), 201);
        tokens.push(lease.await.token());
    }
    cluster.redis.restart_empty().await;
    let node = cluster.first();
    for token in &tokens {
        wait_until("it is made again", Duration::from_secs(20), async || {
            node.renew(token, [200, 503]).await.status == 200
        })
        .await;
    }
    assert_eq!(node.availability("crm", 200).await["in_use"], 1);
    let listed = node.list("crm", "holder=ann", 200).await;
    assert_eq!(holders(&listed), ["ANN", "Ann"]);
}

#[tokio::test]
async fn spellings_of_one_name_have_one_named_seat_and_one_place() {
    let cluster = Installation::two().await;
    let (a, b) = cluster.pair();
    let named =
        json!({"capacity": 0, "holder_match": "folded", "named": {"seats": 1, "anchor_day": 1}});
    a.put_pool("crm", named, 201).await;
    a.acquire("crm", json!({"holder": "Ann@Example.com"}), 201)
        .await;
    b.acquire("crm", json!({"holder": "ann@EXAMPLE.com"}), 201)
        .await;
    b.acquire("crm", json!({"holder": "bob"}), 409).await;
    for (method, holder, status) in [
        (Method::GET, "ANN@example.com", 200),
        (Method::PUT, "ann@example.com", 200),
        (Method::DELETE, "aNN@example.com", 204),
        (Method::GET, "ann@example.com", 404),
    ] {
        let seat = format!("/v1/pools/crm/named/{holder}");
        a.call(method, &seat).expect(status).await;
    }

    // Whoever waits is listed with the seat as it asked for it.
    let queue = json!({"capacity": 1, "holder_match": "folded", "queue": {"max_waiting": 3}});
    a.put_pool("queue", queue, 201).await;
    let bob = a.acquire("queue", json!({"holder": "bob"}), 201).await;
    let ask = json!({"holder": "Ann", "wait": true, "activities": ["Order 17"]});
    let ticket = b.acquire("queue", ask, 202).await["ticket"].clone();
    a.release(&bob.token(), 204).await;
    wait_until("it is her turn", Duration::from_secs(20), async || {
        let ask = json!({"holder": "Ann", "wait": true, "ticket": ticket});
        b.acquire("queue", ask, [201, 202]).await.status == 201
    })
    .await;
    let listed = a.list("queue", "holder=ann", 200).await;
    assert_eq!(holders(&listed), ["Ann"]);
    assert_eq!(listed.list("items")[0]["activities"], json!(["Order 17"]));

    // A new login takes the place of the old one.
    let evict =
        json!({"capacity": 1, "holder_match": "folded", "when_full": "evict_oldest_of_holder"});
    a.put_pool("evict", evict, 201).await;
    let old = a.acquire("evict", json!({"holder": "Ann"}), 201).await;
    b.acquire("evict", json!({"holder": "ANN"}), 201).await;
    assert_eq!(a.renew(&old.token(), 410).await["code"], "lease_evicted");

    // And where only a hash is kept, it is the same for all of them.
    let hashed = json!({"capacity": 1, "holder_match": "folded", "seat_per": "holder", "privacy": "pseudonymous"});
    a.put_pool("hashed", hashed, 201).await;
    let one = a.acquire("hashed", json!({"holder": "Ann"}), 201).await;
    let other = b.acquire("hashed", json!({"holder": "ANN"}), 201).await;
    assert_eq!(one["lease"]["holder"], other["lease"]["holder"]);
    let kept = one["lease"]["holder"].as_str().unwrap_or_default();
    assert!(kept.starts_with('~'), "{kept}");
    assert_eq!(a.renew(&one.token(), 200).await["lease"]["holder"], kept);
    assert_eq!(
        a.list("hashed", "holder=ann", 200)
            .await
            .list("items")
            .len(),
        2
    );
}

#[tokio::test]
async fn when_two_spellings_are_one_changes_only_where_nobody_is_known() {
    let cluster = Installation::one().await;
    let node = cluster.first();
    let folded = |word: Value| json!({ "holder_match": word });
    let policy = json!({"capacity": 2, "seat_per": "holder", "queue": {"max_waiting": 3}, "named": {"seats": 1,
        "anchor_day": 1, "spill_to_concurrent": true}});
    let put = node.put_pool("crm", policy, 201).await;
    assert!(put["holder_match"].is_null(), "{}", put.text);
    // Nodes of the last version know no such field, and must read the policy.
    let config = cluster.redis.keys("lh1:*:crm:config").await;
    let stored: String = cluster.redis.query(&["HGET", &config[0], "policy"]).await;
    assert!(!stored.contains("holder_match"), "{stored}");

    // By default two spellings are two.
    let ann = node.acquire("crm", json!({"holder": "Ann"}), 201).await;
    let other = node.acquire("crm", json!({"holder": "ann"}), 201).await;
    assert_eq!(other["lease"]["seat"], "concurrent");
    let refused = node.patch_pool("crm", folded(json!("folded")), 409).await;
    assert_eq!(refused["code"], "pool_in_use");
    node.release(&ann.token(), 204).await;
    node.release(&other.token(), 204).await;
    node.patch_pool("crm", folded(json!("folded")), 409).await;
    node.call(Method::DELETE, "/v1/pools/crm/named/Ann?force=true")
        .expect(204)
        .await;
    let block = json!({"holder": "Ann", "block_ms": 1_500});
    node.terminate("crm", block, 200).await;
    node.patch_pool("crm", folded(json!("folded")), 409).await;
    // Other fields can change meanwhile.
    node.patch_pool("crm", json!({"capacity": 3}), 200).await;
    wait_until("the block is over", Duration::from_secs(20), async || {
        node.patch_pool("crm", folded(json!("folded")), [200, 409])
            .await
            .status
            == 200
    })
    .await;
    node.acquire("crm", json!({"holder": "Ann"}), 201).await;
    let same = node.acquire("crm", json!({"holder": "ann"}), 201).await;
    assert_eq!(same["lease"]["seat"], "named");
    node.patch_pool("crm", folded(Value::Null), 409).await;
    node.terminate("crm", json!({"all": true}), 200).await;
    node.call(Method::DELETE, "/v1/pools/crm/named/ann?force=true")
        .expect(204)
        .await;
    let back = node.patch_pool("crm", folded(Value::Null), 200).await;
    assert!(back["holder_match"].is_null(), "{}", back.text);
}

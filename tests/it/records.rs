//! What is known of leases: one hash for a pool, with a TTL, until an end is written down.

use serde_json::{Value, json};

use crate::harness::{Installation, Node, Redis};

/// How long the records of a pool stay when heartbeats stop, beyond the longest TTL; in ms.
const MARGIN: i64 = 24 * 60 * 60_000 + 5 * 60_000;

/// The key of the records of `crm`, if there are any.
async fn records(redis: &Redis) -> Option<String> {
    redis.keys("*:crm:records").await.pop()
}

/// How long Redis keeps them, ms.
async fn kept_for(redis: &Redis) -> i64 {
    let key = records(redis).await.expect("there are records");
    redis.query(&["PTTL", &key]).await
}

/// The lease with this holder, as it is listed.
async fn listed(node: &Node, holder: &str) -> Value {
    let list = node.list("crm", &format!("holder={holder}"), 200).await;
    assert_eq!(list.list("items").len(), 1, "{}", list.text);
    list.list("items")[0].clone()
}

#[tokio::test]
async fn redis_forgets_by_itself_who_had_the_seats() {
    let cluster = Installation::one().await;
    let (node, redis) = (&cluster.nodes[0], &cluster.redis);
    node.put_pool("crm", json!({"capacity": 5, "ttl_ms": 30_000}), 201)
        .await;
    node.acquire("crm", json!({"holder": "ann"}), 201).await;
    let kept = kept_for(redis).await;
    assert!((MARGIN..=MARGIN + 30_000).contains(&kept), "{kept}");
}

#[tokio::test]
async fn nobody_who_has_a_seat_is_forgotten_when_the_ttl_becomes_shorter() {
    let cluster = Installation::one().await;
    let (node, redis) = (&cluster.nodes[0], &cluster.redis);
    let hour = 60 * 60_000;
    node.put_pool("crm", json!({"capacity": 5, "ttl_ms": hour}), 201)
        .await;
    node.acquire("crm", json!({"holder": "ann"}), 201).await;
    node.put_pool("crm", json!({"capacity": 5, "ttl_ms": 30_000}), 200)
        .await;
    let bob = node.acquire("crm", json!({"holder": "bob"}), 201).await;
    assert!(kept_for(redis).await > hour);
    // A beat that writes into its record refreshes them too.
    node.renew_with(json!({"token": bob.token(), "label": "Desk"}), 200)
        .await;
    assert!(kept_for(redis).await > hour);
    let ann = listed(node, "ann").await;
    assert_eq!(ann["renewed_at"], ann["started_at"]);
}

#[tokio::test]
async fn with_the_last_lease_the_records_are_gone() {
    let cluster = Installation::one().await;
    let (node, redis) = (&cluster.nodes[0], &cluster.redis);
    node.put_pool("crm", json!({"capacity": 5}), 201).await;
    let ann = node.acquire("crm", json!({"holder": "ann"}), 201).await;
    let bob = node.acquire("crm", json!({"holder": "bob"}), 201).await;
    node.acquire("crm", json!({"holder": "eve"}), 201).await;

    node.release(&ann.token(), 204).await;
    node.terminate("crm", json!({"ids": [bob.id()]}), 200).await;
    let key = records(redis).await.expect("that of eve");
    let left: Vec<String> = redis.query(&["HVALS", &key]).await;
    assert_eq!(left.len(), 1);
    assert!(left[0].ends_with("\u{1}eve"), "{left:?}");

    node.call(reqwest::Method::DELETE, "/v1/pools/crm")
        .expect(204)
        .await;
    assert_eq!(records(redis).await, None);
}

#[tokio::test]
async fn leases_of_nodes_that_kept_a_key_for_each_go_on() {
    let cluster = Installation::one().await;
    let (node, redis) = (&cluster.nodes[0], &cluster.redis);
    node.put_pool("crm", json!({"capacity": 5}), 201).await;
    let ann = node.acquire("crm", json!({"holder": "ann"}), 201).await;
    let key = records(redis).await.expect("that of ann");
    let old = key.replace("records", &format!("lease:{}", ann.id()));
    redis.query::<()>(&["DEL", &key]).await;
    let label = ["label", "Desk", "holder", "ann"];
    redis
        .query::<()>(&[&["HSET", &old][..], &label].concat())
        .await;

    let beat = json!({"token": ann.token(), "activities": ["Order 7"]});
    node.renew_with(beat, 200).await;
    let listed = listed(node, "ann").await;
    assert_eq!(listed["label"], "Desk");
    assert_eq!(listed["activities"], json!(["Order 7"]));
    assert!(!redis.query::<bool>(&["EXISTS", &old]).await);
    node.release(&ann.token(), 204).await;
    assert_eq!(
        node.renew(&ann.token(), 410).await["code"],
        "lease_released"
    );
}

#[tokio::test]
async fn every_part_of_a_record_is_listed_whichever_others_there_are() {
    let cluster = Installation::one().await;
    let node = cluster.first();
    node.put_pool("crm", json!({"capacity": 50}), 201).await;
    let parts = [
        ("tenant", json!("acme")),
        ("label", json!("Büro 7, “west”")),
        ("activities", json!(["a\\1b", "{\"c\": 2}"])),
        ("platform", json!("linux")),
    ];
    // Each set of them.
    for set in 0..1 << parts.len() {
        let holder = format!("holder-{set}");
        let mut asked = json!({ "holder": holder });
        for (place, (name, value)) in parts.iter().enumerate() {
            if set & (1 << place) != 0 {
                asked[*name] = value.clone();
            }
        }
        let granted = node.acquire("crm", asked, 201).await;
        let mut listed = listed(node, &holder).await;
        let mut lease = granted["lease"].clone();
        // Its clock runs.
        for lease in [&mut listed, &mut lease] {
            assert!(lease["expires_in_ms"].take().is_number());
            assert!(lease["renew_after_ms"].take().is_number());
        }
        assert_eq!(listed, lease, "{}", granted.text);
    }
}

#[tokio::test]
async fn a_beat_that_asks_for_a_record_that_is_lost_makes_it_again() {
    let cluster = Installation::one().await;
    let (node, redis) = (&cluster.nodes[0], &cluster.redis);
    node.put_pool("crm", json!({"capacity": 5}), 201).await;
    let asked = json!({"holder": "ann", "tenant": "acme", "platform": "linux"});
    let ann = node.acquire("crm", asked, 201).await;
    let key = records(redis).await.expect("that of ann");
    redis.query::<()>(&["DEL", &key]).await;

    let beat = json!({"token": ann.token(), "label": "Desk"});
    let renewed = node.renew_with(beat, 200).await;
    assert_eq!(renewed["lease"]["label"], "Desk");
    let listed = listed(node, "ann").await;
    for (name, value) in [
        ("label", json!("Desk")),
        ("tenant", json!("acme")),
        ("platform", json!("linux")),
        ("fence", ann["lease"]["fence"].clone()),
        ("started_at", ann["lease"]["started_at"].clone()),
    ] {
        assert_eq!(listed[name], value, "{name}");
    }
}

//! `seat_per: "holder"`: one person, many tabs, one seat.

use serde_json::json;

use super::index_is_true;
use crate::harness::{Installation, let_pass};

#[tokio::test]
async fn the_tabs_of_a_holder_share_one_seat_until_the_last_is_closed() {
    let cluster = Installation::two().await;
    let (a, b) = cluster.pair();
    a.put_pool("crm", json!({"capacity": 2, "seat_per": "holder"}), 201)
        .await;

    let first = a.acquire("crm", json!({"holder": "ann"}), 201).await;
    let second = b.acquire("crm", json!({"holder": "ann"}), 201).await;
    assert_ne!(first.id(), second.id());
    assert_eq!(second["pool"], json!({"in_use": 1, "capacity": 2}));
    b.acquire("crm", json!({"holder": "bob"}), 201).await;
    let third = a.acquire("crm", json!({"holder": "ann"}), 201).await;
    assert_eq!(third["pool"]["in_use"], 2);

    let denial = b.acquire("crm", json!({"holder": "cid"}), 409).await;
    assert_eq!(denial["code"], "pool_full");
    assert_eq!(denial["in_use"], 2);
    // Each lease is listed under its holder.
    assert_eq!(
        b.list("crm", "holder=ann", 200).await.list("items").len(),
        3
    );
    assert_eq!(a.pool("crm", 200).await["leases"], 4);

    a.release(&first.token(), 204).await;
    a.release(&third.token(), 204).await;
    a.acquire("crm", json!({"holder": "cid"}), 409).await;
    index_is_true(&cluster.redis, "crm", true).await;
    b.release(&second.token(), 204).await;
    a.acquire("crm", json!({"holder": "cid"}), 201).await;
    index_is_true(&cluster.redis, "crm", true).await;
}

#[tokio::test]
async fn who_has_no_name_has_a_seat_of_its_own() {
    let cluster = Installation::one().await;
    let node = cluster.first();
    node.put_pool("crm", json!({"capacity": 2, "seat_per": "holder"}), 201)
        .await;
    node.acquire("crm", json!({}), 201).await;
    node.acquire("crm", json!({}), 201).await;
    node.acquire("crm", json!({}), 409).await;
}

#[tokio::test]
async fn the_seat_is_free_to_the_millisecond_when_the_last_tab_ran_out_and_a_tab_comes_back_for_nothing()
 {
    let cluster = Installation::start_with(1, &[("sweep_every_ms", "0")]).await;
    let node = cluster.first();
    node.put_pool(
        "crm",
        json!({"capacity": 1, "seat_per": "holder", "ttl_ms": 1_000}),
        201,
    )
    .await;
    let silent = node.acquire("crm", json!({"holder": "ann"}), 201).await;
    let_pass(500).await;
    let beating = node.acquire("crm", json!({"holder": "ann"}), 201).await;
    let_pass(600).await;
    // The first has run out; the second still has the seat, and lends it to the first again.
    node.acquire("crm", json!({"holder": "bob"}), 409).await;
    assert_eq!(node.renew(&silent.token(), 200).await["resumed"], true);
    index_is_true(&cluster.redis, "crm", true).await;
    let_pass(1_050).await;
    assert_eq!(node.availability("crm", 200).await["in_use"], 0);
    node.acquire("crm", json!({"holder": "bob"}), 201).await;
    node.renew(&beating.token(), 410).await;
}

#[tokio::test]
async fn what_counts_as_a_seat_changes_only_while_nobody_has_one() {
    let cluster = Installation::one().await;
    let node = cluster.first();
    node.put_pool("crm", json!({"capacity": 2}), 201).await;
    let held = node.acquire("crm", json!({"holder": "ann"}), 201).await;
    let refused = node
        .patch_pool("crm", json!({"seat_per": "holder"}), 409)
        .await;
    assert_eq!(refused["code"], "pool_in_use");
    assert!(refused["detail"].as_str().unwrap().contains("seat_per"));
    node.release(&held.token(), 204).await;
    node.patch_pool("crm", json!({"seat_per": "holder"}), 200)
        .await;
}

#[tokio::test]
async fn a_holder_that_is_terminated_loses_all_its_tabs() {
    let cluster = Installation::one().await;
    let node = cluster.first();
    node.put_pool("crm", json!({"capacity": 1, "seat_per": "holder"}), 201)
        .await;
    let tabs = [
        node.acquire("crm", json!({"holder": "ann"}), 201).await,
        node.acquire("crm", json!({"holder": "ann"}), 201).await,
    ];
    node.terminate(
        "crm",
        json!({"holder": "ann", "reason": "Enough.", "block_ms": 60_000}),
        200,
    )
    .await;
    for tab in tabs {
        assert_eq!(node.renew(&tab.token(), 410).await["reason"], "Enough.");
    }
    let denial = node.acquire("crm", json!({"holder": "ann"}), 409).await;
    assert_eq!(denial["code"], "holder_blocked");
    node.acquire("crm", json!({"holder": "bob"}), 201).await;
    index_is_true(&cluster.redis, "crm", true).await;
}

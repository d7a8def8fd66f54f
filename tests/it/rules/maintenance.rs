//! Maintenance: nobody new gets a seat, who has one goes on.

use serde_json::json;

use crate::harness::Installation;

#[tokio::test]
async fn newcomers_are_sent_away_with_the_message_and_holders_go_on() {
    let cluster = Installation::two().await;
    let (a, b) = cluster.pair();
    a.put_pool("crm", json!({"capacity": 5}), 201).await;
    let held = a
        .acquire_once("crm", "once", json!({"holder": "ann"}), 201)
        .await;
    let other = b.acquire("crm", json!({"holder": "bob"}), 201).await;

    a.patch_pool(
        "crm",
        json!({"maintenance": {"message": "Back at 20:00", "retry_after_ms": 60_000}}),
        200,
    )
    .await;

    for node in [a, b] {
        let closed = node.acquire("crm", json!({"holder": "cid"}), 503).await;
        assert_eq!(closed["code"], "maintenance");
        assert_eq!(closed["detail"], "Back at 20:00");
        assert_eq!(closed["outcome"], "none");
        assert_eq!(closed["retry_after_ms"], 60_000);
        assert_eq!(closed.header("retry-after"), Some("60"));
        node.renew(&held.token(), 200).await;
    }
    // Who repeats an acquire that was granted before is no newcomer.
    let again = b
        .acquire_once("crm", "once", json!({"holder": "ann"}), 200)
        .await;
    assert_eq!(again.id(), held.id());
    b.release(&other.token(), 204).await;

    a.patch_pool("crm", json!({"maintenance": null}), 200).await;
    b.acquire("crm", json!({"holder": "cid"}), 201).await;
}

#[tokio::test]
async fn a_late_beat_comes_back_during_maintenance() {
    let cluster = Installation::start_with(1, &[("sweep_every_ms", "0")]).await;
    let node = cluster.first();
    node.put_pool("crm", json!({"capacity": 1, "ttl_ms": 1_000}), 201)
        .await;
    let held = node.acquire("crm", json!({}), 201).await;
    node.patch_pool("crm", json!({"maintenance": {"message": "Soon."}}), 200)
        .await;
    crate::harness::let_pass(1_100).await;
    let resumed = node.renew(&held.token(), 200).await;
    assert_eq!(resumed["resumed"], true);
}

//! A Redis that is full: nobody loses a seat by it, seats can be given back, and newcomers are refused cleanly.

use futures_util::future::{join, join_all};
use serde_json::json;

use crate::harness::{Installation, Redis, Reply, Scrape, let_pass};

#[tokio::test]
async fn in_a_full_store_holders_go_on_and_give_back_and_newcomers_wait() {
    let mut cluster = Installation::start_on(Redis::start_alone().await, 2, &[]).await;
    let (a, b) = (&cluster.nodes[0], &cluster.nodes[1]);
    a.put_pool("crm", json!({"capacity": 10, "ttl_ms": 3_000}), 201)
        .await;
    let leases = a.fill("crm", 6).await;
    let tokens: Vec<_> = leases.iter().map(Reply::token).collect();

    cluster.redis.fill_up().await;
    for node in [a, b] {
        let refused = node.acquire("crm", json!({}), 503).await;
        assert_eq!(refused["code"], "store_full");
        assert_eq!(refused["outcome"], "none");
        // Nothing was half done.
        assert_eq!(node.availability("crm", 200).await["in_use"], 6);
        // Whoever has a seat is served, so requests are welcome.
        let ready = node.get("/readyz").expect(200).await;
        assert_eq!(ready["checks"]["store"], "full");
        assert_eq!(
            Scrape::of(node).await.get("leasehold_store_up", &[]),
            Some(1.0)
        );
    }
    // Longer than the TTL.
    for _ in 0..5 {
        let_pass(800).await;
        assert_eq!(b.renew(&tokens[0], 200).await["resumed"], false);
        let many: Vec<_> = tokens.iter().map(String::as_str).collect();
        for result in a.renew_many(&many, 200).await.list("results") {
            assert_eq!(result["status"], "renewed");
        }
    }
    b.leave(&tokens[1], 204).await;
    a.renew(&tokens[1], 200).await;
    a.release(&tokens[2], 204).await;
    let body = json!({"ids": [leases[3].id()], "reason": "Over"});
    b.terminate("crm", body, 200).await;
    assert_eq!(a.availability("crm", 200).await["in_use"], 4);
    assert_eq!(a.renew(&tokens[2], 410).await["code"], "lease_released");
    assert_eq!(a.renew(&tokens[3], 410).await["code"], "lease_terminated");
    a.acquire("crm", json!({}), 503).await;

    // Who gives a seat back in the same moment is not refused for the company.
    let (refused, _) = join(
        join_all((0..20).map(|_| a.acquire("crm", json!({}), 503))),
        join_all(
            leases[4..]
                .iter()
                .map(|lease| a.release(&lease.token(), 204)),
        ),
    )
    .await;
    assert!(refused.iter().all(|answer| answer["code"] == "store_full"));
    assert_eq!(a.availability("crm", 200).await["in_use"], 2);

    cluster.redis.make_room().await;
    a.acquire("crm", json!({}), 201).await;
    assert_eq!(b.renew(&tokens[3], 410).await["reason"], "Over");
    assert_eq!(b.availability("crm", 200).await["in_use"], 3);
    let live: i64 = cluster
        .redis
        .events("crm")
        .await
        .iter()
        .map(|event| event.change())
        .sum();
    assert_eq!(live, 3);
}

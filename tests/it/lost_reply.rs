//! Lost replies: a script ran, and nobody got its answer. Asking again changes nothing and takes no second seat.

use std::collections::HashSet;
use std::time::Duration;

use futures_util::future::join_all;
use reqwest::Method;
use serde_json::json;

use crate::harness::{ANY, Launch, Node, Proxy, Redis, let_pass, wait_until};

/// A node behind a proxy, a node that is not, and a pool of 5.
async fn start() -> (Node, Proxy, Node, Redis) {
    let redis = Redis::start().await;
    let proxy = Proxy::start(redis.address());
    let near = Launch::on(&redis.url_through(&proxy)).start().await;
    let other = Launch::on(&redis.url()).start().await;
    other.put_pool("crm", json!({"capacity": 5}), 201).await;
    (near, proxy, other, redis)
}

#[tokio::test]
async fn an_acquire_whose_reply_was_lost_is_repeated_and_takes_one_seat() {
    let (node, mut proxy, other, _redis) = start().await;

    for round in 1..=5 {
        let key = format!("tab-{round}");
        let holder = format!("unmistakable-{round}");
        proxy.drop_next_reply(&holder);
        // The node may ask Redis again by itself; if it does not, it must answer that it does not know.
        let first = node
            .acquire_once("crm", &key, json!({"holder": holder}), [200, 201, 503])
            .await;
        assert!(proxy.dropped_it());
        if first.status == 503 {
            assert_eq!(first["outcome"], "unknown");
            assert_eq!(first["code"], "store_unavailable");
        }
        assert_eq!(
            other.availability("crm", 200).await["in_use"],
            round,
            "the script ran"
        );

        let again = node
            .acquire_once("crm", &key, json!({"holder": holder}), 200)
            .await;
        assert_eq!(again["lease"]["holder"], holder);
        assert_eq!(other.availability("crm", 200).await["in_use"], round);
        other.renew(&again.token(), 200).await;
    }
}

#[tokio::test]
async fn a_call_of_many_whose_reply_was_lost_is_sent_again_and_gives_each_one_seat() {
    let (node, mut proxy, other, redis) = start().await;
    other.put_pool("crm", json!({"capacity": 50}), 200).await;
    node.acquire("crm", json!({}), 201).await;
    proxy.delay(Duration::from_millis(25));
    proxy.drop_next_reply("unmistakable");
    // The first two go alone; the others wait, and go together.
    let crowd = (0..66).map(|number| {
        let kind = if number < 6 { "first" } else { "unmistakable" };
        node.acquire("crm", json!({"holder": format!("{kind}-{number}")}), ANY)
    });
    let answers = join_all(crowd).await;
    assert!(proxy.dropped_it());
    let granted: Vec<_> = answers
        .iter()
        .filter(|answer| answer.status == 201)
        .collect();
    // The node asks again by itself. Where it finds no connection in time, it answers that it does not know.
    assert!(granted.len() > 6, "{} were granted", granted.len());
    for answer in &answers {
        match answer.status {
            201 => {}
            409 => assert_eq!(answer["code"], "pool_full"),
            _ => assert_eq!(answer["code"], "store_unavailable", "{}", answer.text),
        }
    }
    let ids: HashSet<String> = granted.iter().map(|answer| answer.id()).collect();
    assert_eq!(ids.len(), granted.len());
    for answer in granted.iter().step_by(7) {
        other.renew(&answer.token(), 200).await;
    }
    // Every seat in use was announced to somebody.
    wait_until("all others are free", Duration::from_secs(5), async || {
        other.availability("crm", 200).await["in_use"] == 1 + granted.len()
    })
    .await;
    let events = redis.events("crm").await;
    let started = events.iter().filter(|event| event.kind == "started");
    let starts: Vec<_> = started.map(|event| event.id.clone()).collect();
    assert_eq!(starts.len(), starts.iter().collect::<HashSet<_>>().len());
    let live = 1 + granted.len() as i64;
    assert_eq!(redis.balance("crm").await, (live, live));
}

#[tokio::test]
async fn while_every_reply_is_lost_every_answer_is_that_nobody_knows() {
    let (node, mut proxy, other, _redis) = start().await;
    let lease = node.acquire("crm", json!({}), 201).await;

    proxy.drop_replies();
    for _ in 0..3 {
        let refused = node.acquire_once("crm", "tab-1", json!({}), 503).await;
        assert_eq!(refused["code"], "store_unavailable");
        node.renew(&lease.token(), 503).await;
        node.release(&lease.token(), 503).await;
    }
    proxy.restore();

    node.ready().await;
    let answer = node
        .acquire_once("crm", "tab-1", json!({}), [200, 201])
        .await;
    let in_use = other.availability("crm", 200).await;
    // The other lease was released, if any of those calls got as far as Redis.
    let released = other.renew(&lease.token(), [200, 410]).await.status == 410;
    assert_eq!(
        in_use["in_use"],
        if released { 1 } else { 2 },
        "{}",
        answer.text
    );
}

#[tokio::test]
async fn a_renew_a_release_and_a_terminate_are_repeated_without_harm() {
    let (node, mut proxy, other, redis) = start().await;
    let kept = other.acquire("crm", json!({}), 201).await;
    let given_back = other.acquire("crm", json!({}), 201).await;
    let ended = other.acquire("crm", json!({}), 201).await;

    proxy.drop_next_reply(&kept.id());
    node.renew(&kept.token(), ANY).await;
    assert!(proxy.dropped_it());
    node.renew(&kept.token(), 200).await;

    proxy.drop_next_reply(&given_back.id());
    node.release(&given_back.token(), ANY).await;
    assert!(proxy.dropped_it());
    node.release(&given_back.token(), 204).await;

    proxy.drop_next_reply(&ended.id());
    let body = json!({"ids": [ended.id()], "reason": "Over"});
    node.post("/v1/pools/crm/leases/terminate")
        .json(&body)
        .expect(ANY)
        .await;
    assert!(proxy.dropped_it());
    node.terminate("crm", body, 200).await;

    assert_eq!(other.availability("crm", 200).await["in_use"], 1);
    assert_eq!(
        other.renew(&given_back.token(), 410).await["code"],
        "lease_released"
    );
    assert_eq!(other.renew(&ended.token(), 410).await["reason"], "Over");
    let events = redis.events("crm").await;
    assert_eq!(
        events.iter().filter(|event| event.kind == "ended").count(),
        2,
        "{events:?}"
    );
}

#[tokio::test]
async fn a_node_gets_over_broken_connections_within_a_second() {
    let (node, mut proxy, _other, _redis) = start().await;
    let lease = node.acquire("crm", json!({}), 201).await;

    for _ in 0..20 {
        proxy.cut();
        // The cut may fall into a call; then the repeat must work.
        node.renew(&lease.token(), [200, 503]).await;
        wait_until(
            "the node renews again",
            std::time::Duration::from_secs(1),
            async || node.renew(&lease.token(), ANY).await.status == 200,
        )
        .await;
    }
}

#[tokio::test]
async fn a_copy_that_comes_after_the_release_takes_no_seat() {
    let (node, mut proxy, other, redis) = start().await;
    let rules = json!({"capacity": 5, "tenant_max": 5});
    other.put_pool("ruled", rules, 201).await;

    proxy.duplicate(Duration::from_millis(400));
    for pool in ["crm", "ruled"] {
        let lease = node.acquire(pool, json!({"holder": "agent-7"}), 201).await;
        // Over the other node, so that the copy of the acquire comes later.
        other.release(&lease.token(), 204).await;
        let_pass(1_200).await;
        assert_eq!(other.availability(pool, 200).await["in_use"], 0, "{pool}");
        let events = redis.events(pool).await;
        let starts = events.iter().filter(|event| event.kind == "started");
        assert_eq!(starts.count(), 1, "{pool}");
    }
}

#[tokio::test]
async fn a_copy_that_comes_after_the_deletion_takes_no_seat_in_the_next_pool_of_the_name() {
    let (node, mut proxy, other, redis) = start().await;
    let plain = json!({"capacity": 5});
    let ruled = json!({"capacity": 5, "tenant_max": 5});
    other.put_pool("ruled", ruled.clone(), 201).await;

    proxy.duplicate(Duration::from_millis(400));
    for (pool, policy) in [("crm", plain), ("ruled", ruled)] {
        let lease = node.acquire(pool, json!({"holder": "agent-7"}), 201).await;
        let path = format!("/v1/pools/{pool}/leases/acquire-many");
        let many = json!({"leases": [{"holder": "agent-8"}]});
        node.post(&path).json(&many).expect(200).await;
        // Over the other node, so that the copies come later.
        let path = format!("/v1/pools/{pool}");
        other.call(Method::DELETE, &path).expect(204).await;
        other.put_pool(pool, policy, 201).await;
        let_pass(1_200).await;
        assert_eq!(other.availability(pool, 200).await["in_use"], 0, "{pool}");
        let events = redis.events(pool).await;
        assert!(events.iter().all(|event| event.kind == "configured"));
        other.renew(&lease.token(), 410).await;
    }
}

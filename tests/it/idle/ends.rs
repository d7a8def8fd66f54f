//! Ends at a heartbeat, by idle time or by the longest hold, and the warning before.

use serde_json::{Value, json};

use super::{MINUTE, beat, end_of, evicted, idle, seat, story};
use crate::harness::{Installation, let_pass};

#[tokio::test]
async fn a_heartbeat_warns_before_the_end_and_the_one_beyond_it_reads_it() {
    let cluster = Installation::start(1).await;
    let (node, redis) = (&cluster.nodes[0], &cluster.redis);
    node.put_pool("crm", json!({"capacity": 2, "idle": idle("end")}), 201)
        .await;
    let ann = seat(node, "crm", "ann").await;

    let early = beat(node, &ann, 13 * MINUTE - 1).await;
    assert_eq!(early.body.get("ends"), None);
    assert_eq!(early["lease"]["renew_after_ms"], 20_000);
    let warned = beat(node, &ann, 14 * MINUTE + 30_000).await;
    let expected = json!({"in_ms": 30_000, "reason": "idle", "then": "end"});
    assert_eq!(warned["ends"], expected);
    assert_eq!(warned["lease"]["renew_after_ms"], 10_000);
    // Any activity ends the matter.
    assert_eq!(beat(node, &ann, 0).await.body.get("ends"), None);

    let many = json!({"leases": [{"token": ann.token(), "idle_ms": 14 * MINUTE + 59_700}]});
    let results = node
        .post("/v1/leases/renew-many")
        .json(&many)
        .expect(200)
        .await;
    let result = &results["results"][0];
    assert_eq!(result["ends"]["in_ms"], 300);
    assert_eq!(result["renew_after_ms"], 100);

    let body = json!({"token": ann.token(), "idle_ms": 15 * MINUTE});
    let lost = node.renew_with(body, 410).await;
    assert_eq!(
        (&lost["code"], &lost["reason"]),
        (&json!("lease_evicted"), &json!("idle"))
    );
    assert_eq!(end_of(node, &ann).await, evicted("idle"));
    let told: Vec<_> = story(redis, "crm").await;
    let kinds: Vec<_> = told
        .iter()
        .map(|(kind, _, reason)| (kind.as_str(), reason.as_str()))
        .collect();
    assert_eq!(kinds, [("started", ""), ("idle", ""), ("ended", "idle")]);
    // A seat anew when somebody is there.
    seat(node, "crm", "ann").await;
    assert_eq!(node.availability("crm", 200).await["in_use"], 1);
}

#[tokio::test]
async fn a_seat_that_is_held_for_too_long_is_given_away_or_ends_and_longest_goes_first() {
    let cluster = Installation::start(1).await;
    let node = &cluster.nodes[0];
    let hold = |then: &str| {
        let hold = json!({"after_ms": 1_500, "then": then, "notice_ms": 1_400});
        json!({"capacity": 2, "max_hold": hold})
    };
    node.put_pool("shift", hold("yield"), 201).await;
    node.put_pool("desk", hold("end"), 201).await;
    let both = json!({"capacity": 2, "idle": idle("yield"), "max_hold": {"after_ms": 1_500, "then": "yield"}});
    node.put_pool("both", both, 201).await;

    let (first, second) = (
        seat(node, "shift", "ann").await,
        seat(node, "shift", "bob").await,
    );
    // It is worth asking again when the first of them has to give way, long before a lease can end.
    let denied = node.acquire("shift", json!({"holder": "cid"}), 409).await;
    let retry = denied.number("/retry_after_ms");
    assert!((1..=1_500).contains(&retry), "{retry}");
    let (longest, idler) = (
        seat(node, "both", "ann").await,
        seat(node, "both", "bob").await,
    );
    let held = seat(node, "desk", "ann").await;
    seat(node, "desk", "bob").await;
    let warned = loop {
        let renewed = node.renew(&held.token(), 200).await;
        if renewed.body.get("ends").is_some() {
            break renewed;
        }
        let_pass(20).await;
    };
    assert_eq!(warned["ends"]["reason"], "max_hold");
    assert_eq!(warned["ends"]["then"], "end");
    let within = warned.number("/ends/in_ms");
    assert!((1..=1_400).contains(&within), "{within}");
    assert!(warned.number("/lease/renew_after_ms") <= within.max(300) / 3);
    let_pass(1_500).await;

    // Whoever is active and whoever is not: it is the time that counts.
    beat(node, &first, 0).await;
    let over = node.renew(&second.token(), 200).await;
    assert_eq!(
        over["ends"],
        json!({"in_ms": 0, "reason": "max_hold", "then": "yield"})
    );
    assert_eq!(over["lease"]["renew_after_ms"], 20_000);
    seat(node, "shift", "cid").await;
    assert_eq!(end_of(node, &first).await, evicted("max_hold"));
    seat(node, "shift", "dan").await;
    assert_eq!(end_of(node, &second).await, evicted("max_hold"));
    node.acquire("shift", json!({"holder": "eve"}), 409).await;

    assert_eq!(end_of(node, &held).await, evicted("max_hold"));
    assert_eq!(node.availability("desk", 200).await["in_use"], 1);

    // Idle before held too long, although it began later.
    beat(node, &idler, 16 * MINUTE).await;
    seat(node, "both", "cid").await;
    assert_eq!(end_of(node, &idler).await, evicted("idle"));
    let rest = node.renew(&longest.token(), 200).await;
    assert_eq!(rest["ends"]["reason"], "max_hold");
    seat(node, "both", "dan").await;
    assert_eq!(end_of(node, &longest).await, evicted("max_hold"));
}

#[tokio::test]
async fn after_an_outage_nobody_is_ended_for_a_long_hold_who_could_not_be_warned() {
    let mut cluster = Installation::start(1).await;
    let policy = |then: &str| json!({"capacity": 1, "max_hold": {"after_ms": 2_500, "then": then, "notice_ms": 2_000}});
    let node = &cluster.nodes[0];
    node.put_pool("desk", policy("end"), 201).await;
    node.put_pool("shift", policy("yield"), 201).await;
    let ends = seat(node, "desk", "ann").await;
    let yields = seat(node, "shift", "bob").await;

    cluster.redis.freeze().await;
    let_pass(4_000).await;
    cluster.redis.thaw().await;
    let node = &cluster.nodes[0];
    node.ready().await;
    node.acquire("shift", json!({"holder": "cid"}), 409).await;
    for lease in [&ends, &yields] {
        let warned = node.renew(&lease.token(), 200).await;
        assert_eq!(warned["ends"]["reason"], "max_hold");
        let within = warned.number("/ends/in_ms");
        assert!((1..=2_000).contains(&within), "{within}");
    }
    let_pass(2_000).await;
    assert_eq!(end_of(node, &ends).await, evicted("max_hold"));
    seat(node, "shift", "cid").await;
}

#[tokio::test]
async fn a_policy_that_comes_to_a_pool_in_use_knows_its_leases_from_their_next_heartbeats() {
    let cluster = Installation::start(1).await;
    let node = &cluster.nodes[0];
    node.put_pool("crm", json!({"capacity": 1}), 201).await;
    let ann = seat(node, "crm", "ann").await;
    let_pass(1_000).await;
    node.patch_pool("crm", json!({"max_hold": {"after_ms": 1_000}}), 200)
        .await;
    node.acquire("crm", json!({"holder": "bob"}), 409).await;
    node.renew(&ann.token(), 200).await;
    seat(node, "crm", "bob").await;
    assert_eq!(end_of(node, &ann).await, evicted("max_hold"));

    // Another time after which a seat is idle begins with what is reported under it.
    node.put_pool("desk", json!({"capacity": 1, "idle": idle("yield")}), 201)
        .await;
    let cid = seat(node, "desk", "cid").await;
    beat(node, &cid, 20 * MINUTE).await;
    assert_eq!(
        node.get("/v1/pools/desk/usage").expect(200).await["idle_now"],
        1
    );
    let longer = json!({"idle": {"after_ms": 30 * MINUTE}});
    node.patch_pool("desk", longer, 200).await;
    assert_eq!(
        node.get("/v1/pools/desk/usage").expect(200).await["idle_now"],
        0
    );
    node.acquire("desk", json!({}), 409).await;
    beat(node, &cid, 31 * MINUTE).await;
    node.patch_pool("desk", json!({"idle": null}), 200).await;
    node.acquire("desk", json!({}), 409).await;
    let plain = node.renew(&cid.token(), 200).await;
    assert_eq!(plain["lease"].get("active_at"), None::<&Value>);
}

//! What happened in a pool is told exactly, by the instants at which it happened.

use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{Cluster, wait_until};

/// Sums a field over the items.
fn total(items: &[Value], field: &str) -> u64 {
    items
        .iter()
        .map(|item| item[field].as_u64().expect("a number"))
        .sum()
}

#[tokio::test]
async fn usage_and_history_tell_what_happened_and_when() {
    let cluster = Cluster::start(2).await;
    let [a, b] = &cluster.nodes[..] else {
        unreachable!()
    };
    a.put_pool("crm", json!({"capacity": 3, "ttl_ms": 1_500}), 201)
        .await;
    let mut leases = Vec::new();
    for holder in ["ann", "bob", "cid"] {
        leases.push(a.acquire("crm", json!({"holder": holder}), 201).await);
    }
    a.acquire("crm", json!({"holder": "dan"}), 409).await;
    a.acquire("crm", json!({"holder": "dan"}), 409).await;
    a.release(&leases[0].token(), 204).await;

    let usage = b.get("/v1/pools/crm/usage?days=30").expect(200).await;
    assert_eq!(usage["capacity"], 3);
    assert_eq!(usage["daily_max"], 3);
    assert_eq!(usage["days"], 30);
    assert!(
        usage["daily_average"]
            .as_f64()
            .is_some_and(|mean| mean > 0.0)
    );

    wait_until(
        "the others have expired",
        Duration::from_secs(10),
        async || {
            let history = b.get("/v1/pools/crm/history?step=day").expect(200).await;
            let items = history.list("items");
            items
                .iter()
                .filter_map(|day| day["ends"]["expired"].as_u64())
                .sum::<u64>()
                == 2
        },
    )
    .await;
    for step in ["minute", "hour", "day"] {
        let path = format!("/v1/pools/crm/history?step={step}");
        let history = b.get(&path).expect(200).await;
        let items = history.list("items");
        assert_eq!(total(items, "grants"), 3, "{step}");
        let most = items
            .iter()
            .map(|item| item["high_water_mark"].as_u64().unwrap())
            .max();
        assert_eq!(most, Some(3), "{step}");
        let sum = |of: &str, reason: &str| -> u64 {
            items
                .iter()
                .filter_map(|item| item[of][reason].as_u64())
                .sum()
        };
        // The second denial of the same holder belongs to the first.
        assert_eq!(sum("denials", "pool_full"), 1, "{step}");
        assert_eq!(sum("ends", "released"), 1, "{step}");
        assert_eq!(sum("ends", "expired"), 2, "{step}");
        assert_eq!(items.last().unwrap()["capacity"], 3);

        // Seats times time is what the leases say of themselves: each expired one lived for its TTL.
        let seat_ms: u64 = items
            .iter()
            .flat_map(|item| item["levels_ms"].as_object().unwrap())
            .map(|(level, ms)| level.parse::<u64>().unwrap() * ms.as_u64().unwrap())
            .sum();
        let held = b.get("/v1/pools/crm/holders").expect(200).await;
        assert_eq!(seat_ms, total(held.list("items"), "held_ms"), "{step}");
        assert!(seat_ms >= 2 * 1_500, "{step}: {seat_ms}");
    }
    let usage = b.get("/v1/pools/crm/usage").expect(200).await;
    assert_eq!(usage["current"], 0);
}

#[tokio::test]
async fn holders_are_listed_by_name_with_what_they_used() {
    let cluster = Cluster::start(1).await;
    let node = &cluster.nodes[0];
    node.put_pool("crm", json!({"capacity": 10}), 201).await;
    for holder in ["bob", "ann", "ann", "=1+1"] {
        let lease = node.acquire("crm", json!({"holder": holder}), 201).await;
        node.release(&lease.token(), 204).await;
    }
    node.acquire("crm", json!({}), 201).await;

    let mut names = Vec::new();
    let mut cursor = String::new();
    loop {
        let path = format!("/v1/pools/crm/holders?limit=1{cursor}");
        let page = node.get(&path).expect(200).await;
        names.extend(
            page.list("items")
                .iter()
                .map(|item| (item["holder"].clone(), item["leases"].clone())),
        );
        let Some(next) = page["next_cursor"].as_str() else {
            break;
        };
        cursor = format!("&cursor={}", next.replace('=', "%3D").replace('+', "%2B"));
    }
    let expected = [
        (json!(null), json!(1)),
        (json!("=1+1"), json!(1)),
        (json!("ann"), json!(2)),
        (json!("bob"), json!(1)),
    ];
    assert_eq!(names, expected);

    let csv = node
        .get("/v1/pools/crm/holders")
        .header("accept", "text/csv")
        .expect(200)
        .await;
    assert!(csv.text.contains("\r\n'=1+1,1,"), "{}", csv.text);
}

#[tokio::test]
async fn a_denial_is_a_true_one_unless_the_holder_soon_gets_a_seat() {
    let cluster = Cluster::start(1).await;
    let node = &cluster.nodes[0];
    node.put_pool("crm", json!({"capacity": 1}), 201).await;
    let lease = node.acquire("crm", json!({"holder": "ann"}), 201).await;
    node.acquire("crm", json!({"holder": "bob", "tenant": "acme"}), 409)
        .await;
    node.acquire("crm", json!({"holder": "cid"}), 409).await;
    node.release(&lease.token(), 204).await;
    node.acquire("crm", json!({"holder": "bob", "tenant": "acme"}), 201)
        .await;

    let denials = node.get("/v1/pools/crm/denials").expect(200).await;
    let [bob, cid] = denials.list("items") else {
        panic!("{}", denials.text)
    };
    assert_eq!(
        (&bob["holder"], &bob["tenant"]),
        (&json!("bob"), &json!("acme"))
    );
    assert_eq!(
        (&bob["code"], &bob["true_denial"]),
        (&json!("pool_full"), &json!(false))
    );
    // Two minutes have not passed, so nobody can know yet.
    assert_eq!(
        (&cid["holder"], &cid["true_denial"]),
        (&json!("cid"), &json!(null))
    );
    let first = node.get("/v1/pools/crm/denials?limit=1").expect(200).await;
    let cursor = first["next_cursor"].as_str().expect("a next page");
    let path = format!("/v1/pools/crm/denials?limit=1&cursor={cursor}");
    assert_eq!(
        node.get(&path).expect(200).await["items"][0]["holder"],
        "cid"
    );
}

#[tokio::test]
async fn a_question_that_makes_no_sense_is_refused() {
    let cluster = Cluster::start(1).await;
    let node = &cluster.nodes[0];
    node.put_pool("crm", json!({"capacity": 1}), 201).await;
    for query in [
        "usage?days=0",
        "usage?days=801",
        "usage?tz=Mars",
        "history?step=week",
        "history?from=yesterday",
        "history?from=2026-02-01T00:00:00Z&to=2026-01-01T00:00:00Z",
        "history?step=minute&from=2020-01-01T00:00:00Z",
        "denials?limit=0",
        "denials?cursor=x",
        "holders?limit=1001",
        "holders?cursor=x",
        "holders?colour=red",
    ] {
        let refused = node
            .get(&format!("/v1/pools/crm/{query}"))
            .expect(400)
            .await;
        assert_eq!(refused["code"], "invalid_request", "{query}");
    }
    for report in ["usage", "history", "denials", "holders"] {
        node.get(&format!("/v1/pools/none/{report}"))
            .expect(404)
            .await;
    }
}

//! Acquire: a seat is asked for, and granted or denied.

use futures_util::future::join_all;
use serde_json::json;

use crate::harness::{Installation, let_pass};

#[tokio::test]
async fn everything_that_was_said_about_a_holder_stands_in_its_lease() {
    let cluster = Installation::one().await;
    let node = cluster.first();
    node.put_pool("crm", json!({"capacity": 5}), 201).await;

    let body = json!({"holder": "agent-7", "tenant": "acme", "label": "Front desk",
        "activities": ["Order 17", "Order 18"], "platform": "web", "wait": false});
    let granted = node.acquire("crm", body.clone(), 201).await;

    let lease = &granted["lease"];
    for field in ["holder", "tenant", "label", "activities", "platform"] {
        assert_eq!(lease[field], body[field], "{field}");
    }
    assert_eq!(lease["pool"], "crm");
    assert_eq!(lease["seat"], "concurrent");
    assert_eq!(lease["ttl_ms"], 60_000);
    assert_eq!(lease["expires_in_ms"], 60_000);
    assert_eq!(lease["renew_after_ms"], 20_000);
    assert_eq!(granted.id().len(), 22);
    assert!(granted.number("/lease/fence") > 0);
    assert_eq!(
        granted.instant("/lease/started_at"),
        granted.instant("/lease/renewed_at")
    );
    assert_eq!(
        granted.instant("/lease/expires_at"),
        granted.instant("/lease/started_at") + 60_000
    );
    assert_eq!(granted["pool"], json!({"in_use": 1, "capacity": 5}));

    let listed = node.list("crm", "", 200).await;
    for field in [
        "id",
        "holder",
        "tenant",
        "label",
        "activities",
        "platform",
        "seat",
        "fence",
        "started_at",
        "expires_at",
    ] {
        assert_eq!(listed["items"][0][field], lease[field], "{field}");
    }
}

#[tokio::test]
async fn a_holder_may_be_anonymous_and_say_nothing() {
    let cluster = Installation::one().await;
    let node = cluster.first();
    node.put_pool("crm", json!({"capacity": 3}), 201).await;

    let first = node.acquire("crm", json!({}), 201).await;
    let second = node.acquire("crm", json!({}), 201).await;
    let silent = node.post("/v1/pools/crm/leases").expect(201).await;

    assert_ne!(first.id(), second.id());
    assert!(first["lease"]["holder"].is_null());
    assert!(first["lease"]["tenant"].is_null());
    assert_eq!(silent["pool"]["in_use"], 3);
}

#[tokio::test]
async fn a_full_pool_denies_on_every_node_and_says_when_to_come_back() {
    let cluster = Installation::two().await;
    let (a, b) = cluster.pair();
    a.put_pool("crm", json!({"capacity": 2, "ttl_ms": 30_000}), 201)
        .await;

    a.acquire("crm", json!({"holder": "ann"}), 201).await;
    b.acquire("crm", json!({"holder": "bob"}), 201).await;

    for node in [a, b] {
        let denial = node.acquire("crm", json!({"holder": "cid"}), 409).await;
        assert_eq!(denial["code"], "pool_full");
        assert_eq!(denial["in_use"], 2);
        assert_eq!(denial["capacity"], 2);
        let retry_after_ms = denial.number("/retry_after_ms");
        assert!(
            (20_000..=30_000).contains(&retry_after_ms),
            "{retry_after_ms}"
        );
        let seconds: u64 = denial.header("retry-after").unwrap().parse().unwrap();
        assert_eq!(seconds, retry_after_ms.div_ceil(1_000));
    }
    let availability = b.availability("crm", 200).await;
    assert_eq!(availability["in_use"], 2);
    assert_eq!(availability["capacity"], 2);
    assert_eq!(availability["free"], 0);
    assert_eq!(availability["waiting"], 0);
}

#[tokio::test]
async fn the_denial_names_the_instant_of_the_first_free_seat_not_of_the_last() {
    let cluster = Installation::one().await;
    let node = cluster.first();
    node.put_pool(
        "crm",
        json!({"capacity": 2, "ttl_ms": 60_000, "linger_ms": 5_000}),
        201,
    )
    .await;
    let leaving = node.acquire("crm", json!({}), 201).await;
    node.acquire("crm", json!({}), 201).await;

    node.leave(&leaving.token(), 204).await;

    let denial = node.acquire("crm", json!({}), 409).await;
    let retry_after_ms = denial.number("/retry_after_ms");
    assert!((1..=5_000).contains(&retry_after_ms), "{retry_after_ms}");
}

#[tokio::test]
async fn a_pool_without_seats_denies_and_does_not_break() {
    let cluster = Installation::one().await;
    let node = cluster.first();
    node.put_pool("crm", json!({"capacity": 0}), 201).await;

    let denial = node.acquire("crm", json!({}), 409).await;

    assert_eq!(denial["code"], "pool_full");
    assert!(denial.number("/retry_after_ms") > 0);
}

#[tokio::test]
async fn nobody_gets_a_seat_in_a_pool_that_is_not_there() {
    let cluster = Installation::one().await;
    let node = cluster.first();

    let refused = node.acquire("nowhere", json!({}), 404).await;
    assert_eq!(refused["code"], "pool_not_found");
    let refused = node.availability("nowhere", 404).await;
    assert_eq!(refused["code"], "pool_not_found");
}

#[tokio::test]
async fn a_repeated_request_tells_the_last_beat_whatever_became_of_the_expiry() {
    let cluster = Installation::one().await;
    let node = cluster.first();
    node.put_pool("crm", json!({"capacity": 2, "ttl_ms": 3_600_000}), 201)
        .await;
    let asked = async |key, status: u16| {
        let lease = node.acquire_once("crm", key, json!({}), status).await;
        (lease.token(), lease["lease"].clone())
    };
    let (left, _) = asked("left", 201).await;
    asked("shorter", 201).await;
    node.leave(&left, 204).await;
    node.put_pool("crm", json!({"capacity": 2, "ttl_ms": 30_000}), 200)
        .await;
    for key in ["left", "shorter"] {
        let (_, lease) = asked(key, 200).await;
        assert_eq!(lease["renewed_at"], lease["started_at"], "{key}");
    }
}

#[tokio::test]
async fn the_same_idempotency_key_yields_the_same_lease_on_every_node() {
    let cluster = Installation::two().await;
    let (a, b) = cluster.pair();
    a.put_pool("crm", json!({"capacity": 1}), 201).await;

    let first = a
        .acquire_once("crm", "tab-1", json!({"holder": "ann"}), 201)
        .await;
    let again = b
        .acquire_once("crm", "tab-1", json!({"holder": "ann"}), 200)
        .await;

    assert_eq!(again.id(), first.id());
    assert_eq!(again["lease"]["holder"], "ann");
    assert_eq!(again["lease"]["fence"], first["lease"]["fence"]);
    assert_eq!(again["lease"]["started_at"], first["lease"]["started_at"]);
    assert_eq!(again["pool"], json!({"in_use": 1, "capacity": 1}));
    b.renew(&again.token(), 200).await;
    // Another key is another lease.
    b.acquire_once("crm", "tab-2", json!({"holder": "ann"}), 409)
        .await;
}

#[tokio::test]
async fn one_idempotency_key_asked_many_times_at_once_takes_one_seat() {
    let cluster = Installation::start(3).await;
    cluster.nodes[0]
        .put_pool("crm", json!({"capacity": 50}), 201)
        .await;

    let asks =
        (0..30).map(|i| cluster.nodes[i % 3].acquire_once("crm", "tab-1", json!({}), [200, 201]));
    let answers = join_all(asks).await;

    assert_eq!(
        answers.iter().filter(|answer| answer.status == 201).count(),
        1
    );
    assert!(answers.iter().all(|answer| answer.id() == answers[0].id()));
    assert_eq!(cluster.nodes[0].availability("crm", 200).await["in_use"], 1);
}

#[tokio::test]
async fn an_idempotency_key_is_free_again_when_its_lease_has_ended() {
    let cluster = Installation::one().await;
    let node = cluster.first();
    node.put_pool("crm", json!({"capacity": 1}), 201).await;
    let first = node.acquire_once("crm", "tab-1", json!({}), 201).await;

    node.release(&first.token(), 204).await;

    let second = node.acquire_once("crm", "tab-1", json!({}), 201).await;
    assert_ne!(second.id(), first.id());
    node.renew(&first.token(), 410).await;
    node.renew(&second.token(), 200).await;
}

#[tokio::test]
async fn an_idempotency_key_counts_in_its_own_pool_only() {
    let cluster = Installation::one().await;
    let node = cluster.first();
    node.put_pool("crm", json!({"capacity": 1}), 201).await;
    node.put_pool("phone", json!({"capacity": 1}), 201).await;

    let crm = node.acquire_once("crm", "tab-1", json!({}), 201).await;
    let phone = node.acquire_once("phone", "tab-1", json!({}), 201).await;

    assert_ne!(crm.id(), phone.id());
}

#[tokio::test]
async fn the_fence_grows_with_every_grant_on_whatever_node() {
    let cluster = Installation::two().await;
    let (a, b) = cluster.pair();
    a.put_pool("crm", json!({"capacity": 1}), 201).await;

    let mut last = 0;
    for round in 0..20 {
        let granted = [a, b][round % 2].acquire("crm", json!({}), 201).await;
        let fence = granted.number("/lease/fence");
        assert!(fence > last, "{fence} after {last}");
        // A client in a language whose numbers are floating point must not lose a digit.
        assert!(fence < 1 << 53, "{fence}");
        last = fence;
        a.release(&granted.token(), 204).await;
    }
}

#[tokio::test]
async fn a_denied_holder_gets_the_seat_as_soon_as_it_is_free() {
    let cluster = Installation::one().await;
    let node = cluster.first();
    node.put_pool("crm", json!({"capacity": 1}), 201).await;
    let ann = node.acquire("crm", json!({"holder": "ann"}), 201).await;
    node.acquire("crm", json!({"holder": "bob"}), 409).await;

    node.release(&ann.token(), 204).await;

    let bob = node.acquire("crm", json!({"holder": "bob"}), 201).await;
    let_pass(5).await;
    assert!(
        node.renew(&bob.token(), 200)
            .await
            .instant("/lease/renewed_at")
            > bob.instant("/lease/started_at")
    );
}

#[tokio::test]
async fn a_denial_tells_people_how_many_seats_there_are() {
    let cluster = Installation::one().await;
    let node = cluster.first();
    for (seats, said) in [
        (0, "The pool crm-0 has no seats at present."),
        (1, "The only seat of the pool crm-1 is in use."),
        (2, "All 2 seats of the pool crm-2 are in use."),
    ] {
        let pool = format!("crm-{seats}");
        node.put_pool(&pool, json!({"capacity": seats}), 201).await;
        for _ in 0..seats {
            node.acquire(&pool, json!({}), 201).await;
        }
        let denial = node.acquire(&pool, json!({}), 409).await;
        let detail = denial["detail"].as_str().expect("a sentence");
        assert!(detail.starts_with(said), "{detail}");
    }
}

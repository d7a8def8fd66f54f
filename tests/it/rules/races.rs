//! At the boundary of each limit, with everybody asking at once on three nodes.

use futures_util::future::join_all;
use serde_json::{Value, json};

use super::index_is_true;
use crate::harness::{Client, Installation, Reply, let_pass};

/// Asks until there is an answer. A busy node may answer that it does not know, as it may to any client.
async fn ask(node: &Client, key: &str, body: &Value) -> Reply {
    loop {
        let answer = node
            .acquire_once("crm", key, body.clone(), [200, 201, 409, 503])
            .await;
        if answer.status != 503 {
            return answer;
        }
        let_pass(20).await;
    }
}

/// Asks with all bodies at once, round after round; what was granted in a round is checked and given back.
async fn rounds(policy: Value, bodies: Vec<Value>, per_holder: bool, check: impl Fn(&[&Reply])) {
    let cluster = Installation::start(3).await;
    cluster.nodes[0].put_pool("crm", policy, 201).await;
    for round in 0..15 {
        let keys: Vec<_> = (0..bodies.len()).map(|i| format!("{round}-{i}")).collect();
        let asks = bodies
            .iter()
            .zip(&keys)
            .enumerate()
            .map(|(i, (body, key))| ask(&cluster.nodes[i % 3], key, body));
        let answers = join_all(asks).await;
        let granted: Vec<_> = answers
            .iter()
            .filter(|answer| answer.status != 409)
            .collect();
        check(&granted);
        index_is_true(&cluster.redis, "crm", per_holder).await;
        let tokens: Vec<_> = granted.iter().map(|answer| answer.token()).collect();
        join_all(
            tokens
                .iter()
                .enumerate()
                .map(|(i, token)| cluster.nodes[i % 3].release(token, 204)),
        )
        .await;
        assert_eq!(cluster.nodes[0].availability("crm", 200).await["in_use"], 0);
    }
}

fn of_tenant(granted: &[&Reply], tenant: &str) -> usize {
    granted
        .iter()
        .filter(|answer| answer["lease"]["tenant"] == tenant)
        .count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tenants_get_exactly_what_they_may_and_what_is_kept_for_them() {
    let bodies = (0..24)
        .map(|i| json!({"holder": format!("agent-{i}"), "tenant": (["acme", "beta", "rest"][i % 3])}))
        .collect();
    let policy = json!({"capacity": 10, "tenants": {"acme": {"max": 3}, "beta": {"reserved": 4}}});
    rounds(policy, bodies, false, |granted| {
        assert_eq!(granted.len(), 10);
        assert!(of_tenant(granted, "acme") <= 3);
        assert!(of_tenant(granted, "beta") >= 4);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn holders_with_many_tabs_never_have_more_seats_than_there_are() {
    let bodies = (0..24)
        .map(|i| json!({"holder": format!("agent-{}", i % 8)}))
        .collect();
    let policy = json!({"capacity": 4, "seat_per": "holder"});
    rounds(policy, bodies, true, |granted| {
        let holders: std::collections::BTreeSet<_> = granted
            .iter()
            .map(|answer| answer["lease"]["holder"].to_string())
            .collect();
        assert_eq!(holders.len(), 4);
        // A holder that has a seat may still have been asking for it before it came: not all tabs get in.
        assert!(granted.len() >= 4);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn named_seats_and_lent_ones_are_given_once() {
    let bodies = (0..24)
        .map(|i| json!({"holder": format!("agent-{i}")}))
        .collect();
    let policy = json!({"capacity": 3, "named": {"seats": 4, "spill_to_concurrent": true},
        "overdraft": {"seats": 2, "seat_minutes_per_day": 1_000}});
    rounds(policy, bodies, false, |granted| {
        let of = |kind: &str| {
            granted
                .iter()
                .filter(|answer| answer["lease"]["seat"] == kind)
                .count()
        };
        assert_eq!((of("named"), of("concurrent"), of("overdraft")), (4, 3, 2));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn at_the_instant_of_a_scheduled_change_nobody_gets_a_seat_too_early_or_too_many() {
    let cluster = Installation::start_with(3, &[("sweep_every_ms", "0")]).await;
    let from = chrono::Utc::now() + chrono::TimeDelta::milliseconds(1_500);
    let until = from + chrono::TimeDelta::milliseconds(60_000);
    let policy = json!({"capacity": 1, "schedule": [{"from": from.to_rfc3339(), "until": until.to_rfc3339(), "capacity": 4}]});
    cluster.nodes[0].put_pool("crm", policy, 201).await;
    // Three nodes ask without a pause while the instant passes.
    let ask = |node: Client| async move {
        let mut granted = Vec::new();
        while chrono::Utc::now() < from + chrono::TimeDelta::milliseconds(500) {
            let answer = node.acquire("crm", json!({}), [201, 409]).await;
            if answer.status == 201 {
                granted.push(answer.instant("/lease/started_at"));
            }
        }
        granted
    };
    let granted = join_all(cluster.nodes.iter().map(|node| ask((**node).clone()))).await;
    let mut granted: Vec<i64> = granted.into_iter().flatten().collect();
    granted.sort_unstable();
    assert_eq!(granted.len(), 4, "{granted:?}");
    let early = granted.iter().filter(|at| **at < from.timestamp_millis());
    assert!(early.count() <= 1, "{granted:?}, {from}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn logins_of_one_holder_at_once_leave_as_many_leases_as_there_are_seats() {
    let cluster = Installation::start(3).await;
    let policy = json!({"capacity": 3, "when_full": "evict_oldest_of_holder"});
    cluster.nodes[0].put_pool("crm", policy, 201).await;
    let body = json!({"holder": "ann"});
    let keys: Vec<_> = (0..24).map(|i| format!("login-{i}")).collect();
    let asks = keys
        .iter()
        .zip(0..)
        .map(|(key, i)| ask(&cluster.nodes[i % 3], key, &body));
    let answers = join_all(asks).await;
    assert!(answers.iter().all(|answer| answer.status != 409));
    let alive = join_all(
        answers
            .iter()
            .map(|answer| cluster.nodes[0].renew(&answer.token(), [200, 410])),
    )
    .await;
    assert_eq!(
        alive.iter().filter(|renewed| renewed.status == 200).count(),
        3
    );
    assert_eq!(cluster.nodes[1].availability("crm", 200).await["in_use"], 3);
    index_is_true(&cluster.redis, "crm", false).await;
}

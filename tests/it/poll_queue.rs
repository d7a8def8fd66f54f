//! What it costs to wait, and what it costs to be served: counted in calls of Redis, with 200 who wait at two nodes.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::checker::line;
use crate::harness::{Client, Installation, Node, Reply, Scrape, let_pass, wait_until};

const CROWD: usize = 200;
const LONG: Duration = Duration::from_secs(20);

/// How often the nodes ran one of these scripts.
async fn calls(nodes: &[Node], scripts: &[&str]) -> f64 {
    let mut sum = 0.0;
    for node in nodes {
        let scrape = Scrape::of(node).await;
        for script in scripts {
            let name = "leasehold_store_request_duration_seconds_count";
            sum += scrape.get(name, &[("script", script)]).unwrap_or(0.0);
        }
    }
    sum
}

fn wait(holder: usize) -> Value {
    json!({"holder": format!("agent-{holder:03}"), "wait": true, "wait_ms": 25_000})
}

async fn waiting(node: &Client, number: usize) {
    wait_until("all of them wait", LONG, async || {
        node.availability("crm", [200, 503]).await["waiting"] == number
    })
    .await;
}

/// A full pool, and a crowd that waits for its one seat.
async fn crowd(cluster: &Installation, policy: Value) -> (Reply, Vec<JoinHandle<Reply>>) {
    let nodes = &cluster.nodes;
    nodes[0].put_pool("crm", policy, 201).await;
    let held = nodes[0].acquire("crm", json!({"holder": "ann"}), 201).await;
    let mut crowd = Vec::new();
    for number in 0..CROWD {
        crowd.push(tokio::spawn(nodes[number % nodes.len()].acquire(
            "crm",
            wait(number),
            [201, 202, 503],
        )));
        // In order, as far as it matters here.
        if number % 20 == 19 {
            waiting(&nodes[0], number + 1).await;
        }
    }
    (held, crowd)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn waiting_costs_a_node_one_call_for_all_of_its_waiters_and_a_grant_concerns_one() {
    let cluster = Installation::two().await;
    let nodes = &cluster.nodes;
    let policy = json!({"capacity": 1, "queue": {"max_waiting": CROWD}});
    let (mut held, crowd) = crowd(&cluster, policy).await;

    assert_eq!(
        line::check(&cluster.redis, "crm").await,
        Vec::<String>::new()
    );

    // They only wait: each node reports its hundred every two seconds, and nobody asks.
    let_pass(300).await;
    let before = calls(nodes, &["poll_queue", "acquire_by_rules"]).await;
    let began = Instant::now();
    let_pass(2_500).await;
    let made = calls(nodes, &["poll_queue", "acquire_by_rules"]).await - before;
    let rounds = began.elapsed().as_secs_f64() / 2.0 + 1.0;
    assert!(
        made <= 2.0 * rounds + 2.0,
        "{made} calls for {CROWD} who wait"
    );

    // A seat that comes free concerns the one that is next: a release, and one question.
    let mut crowd: FuturesUnordered<_> = crowd.into_iter().collect();
    let counted = ["release", "poll_queue", "acquire_by_rules"];
    let before = calls(nodes, &counted).await;
    let began = Instant::now();
    let mut served = HashSet::new();
    for grant in 0..20 {
        nodes[grant % 2].release(&held.token(), 204).await;
        held = crowd
            .next()
            .await
            .expect("somebody waits")
            .expect("no panic");
        assert_eq!(held.status, 201, "{}", held.text);
        served.insert(held["lease"]["holder"].as_str().unwrap().to_owned());
    }
    let took = began.elapsed();
    let made = calls(nodes, &counted).await - before;
    // The reports of that time are counted too.
    let reports = 2.0 * (took.as_secs_f64() / 2.0 + 1.0);
    assert!(
        made <= 20.0 * 2.0 + reports + 4.0,
        "{made} calls for 20 grants in {took:?}"
    );
    let first: HashSet<_> = (0..20).map(|number| format!("agent-{number:03}")).collect();
    assert!(
        served.intersection(&first).count() >= 18,
        "who came first is served first: {served:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_seats_at_once_go_to_as_many_of_those_who_wait_in_order() {
    let cluster = Installation::two().await;
    let nodes = &cluster.nodes;
    let policy = json!({"capacity": 1, "queue": {"max_waiting": CROWD}});
    let (_held, crowd) = crowd(&cluster, policy).await;
    let began = Instant::now();
    nodes[1]
        .patch_pool("crm", json!({"capacity": 151}), 200)
        .await;
    let mut crowd: FuturesUnordered<_> = crowd.into_iter().collect();
    let mut served = Vec::new();
    while served.len() < 150 {
        let granted = crowd
            .next()
            .await
            .expect("somebody waits")
            .expect("no panic");
        assert_eq!(granted.status, 201, "{}", granted.text);
        served.push(granted["lease"]["holder"].as_str().unwrap().to_owned());
    }
    assert!(
        began.elapsed() < Duration::from_secs(10),
        "{:?}",
        began.elapsed()
    );
    // Those who came within one group of twenty came at the same time.
    let late = served
        .iter()
        .filter(|holder| holder.as_str() >= "agent-160");
    assert_eq!(late.count(), 0, "{served:?}");
    waiting(&nodes[0], CROWD - 150).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_closes_its_page_is_passed_over_also_when_all_do_at_once() {
    let cluster = Installation::two().await;
    let nodes = &cluster.nodes;
    let policy = json!({"capacity": 1, "queue": {"max_waiting": CROWD + 1}});
    let (held, crowd) = crowd(&cluster, policy).await;
    let last = tokio::spawn(nodes[0].acquire("crm", wait(999), [201, 202]));
    waiting(&nodes[0], CROWD + 1).await;
    let before = calls(nodes, &["leave_queue", "poll_queue"]).await;
    for waiter in &crowd {
        waiter.abort();
    }
    // None of them has a key or a ticket with which it could come back.
    waiting(&nodes[0], 1).await;
    let made = calls(nodes, &["leave_queue", "poll_queue"]).await - before;
    assert!(made < 60.0, "{made} calls for {CROWD} who left");
    nodes[1].release(&held.token(), 204).await;
    let granted = last.await.unwrap();
    assert_eq!(
        (granted.status, &granted["lease"]["holder"]),
        (201, &json!("agent-999"))
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn positions_and_times_are_those_of_the_line_and_nobody_is_turned_away() {
    let cluster = Installation::two().await;
    let (a, b) = cluster.pair();
    a.put_pool(
        "crm",
        json!({"capacity": 1, "queue": {"max_waiting": 500}}),
        201,
    )
    .await;
    let held = a.acquire("crm", json!({}), 201).await;
    let mut tickets = Vec::new();
    for number in 0..30_u64 {
        let body = json!({"holder": format!("agent-{number:03}"), "wait": true});
        let queued = b.acquire("crm", body, 202).await;
        // A client further behind asks less often.
        let retry = queued.number("/retry_after_ms");
        assert!((2_000..=6_000).contains(&retry), "{retry}");
        assert_eq!(
            retry,
            2_000 + 10 * number.saturating_sub(9),
            "{}",
            queued.text
        );
        tickets.push(json!({"ticket": queued["ticket"], "wait_ms": 900}));
    }
    let asked =
        |node: &Node, place: usize| tokio::spawn(node.acquire("crm", tickets[place].clone(), 202));
    let before = calls(&cluster.nodes, &["acquire_by_rules"]).await;
    for round in 0..2 {
        let answers: Vec<_> = (0..30)
            .map(|place| asked(if (place + round) % 2 == 0 { a } else { b }, place))
            .collect();
        for (place, answer) in answers.into_iter().enumerate() {
            let answer = answer.await.unwrap();
            assert_eq!(answer["position"], place + 1);
            let (retry, eta) = (answer.number("/retry_after_ms"), answer.number("/eta_ms"));
            assert!((1..=2_000).contains(&retry) && eta > 0, "{}", answer.text);
        }
    }
    // Their places came with one call; nobody asked for one.
    assert_eq!(calls(&cluster.nodes, &["acquire_by_rules"]).await, before);
    a.release(&held.token(), 204).await;
    let mut first = tickets[0].clone();
    first["wait_ms"] = json!(20_000);
    assert_eq!(
        b.acquire("crm", first, 201).await["lease"]["holder"],
        "agent-000"
    );
}

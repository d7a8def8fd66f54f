//! Queue: first come, first served, whoever asks on whatever node.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use serde_json::{Value, json};

use super::index_is_true;
use crate::harness::{ANY, Client, Installation, Reply, let_pass, wait_until};

fn ticket(reply: &Reply) -> Value {
    json!({"ticket": reply["ticket"]})
}

async fn put_one_seat(node: &Client) {
    let policy = json!({"capacity": 1, "queue": {"max_waiting": 9}});
    node.put_pool("crm", policy, 201).await;
}

fn wait(holder: &str) -> Value {
    json!({"holder": holder, "label": format!("{holder}'s desk"), "wait": true})
}

#[tokio::test]
async fn who_came_first_gets_the_seat_and_a_newcomer_does_not_overtake() {
    let cluster = Installation::two().await;
    let (a, b) = cluster.pair();
    a.put_pool(
        "crm",
        json!({"capacity": 1, "queue": {"max_waiting": 2}}),
        201,
    )
    .await;
    let held = a.acquire("crm", json!({"holder": "ann"}), 201).await;

    let first = a.acquire("crm", wait("bob"), 202).await;
    let second = b.acquire("crm", wait("cid"), 202).await;
    assert_eq!(
        (&first["position"], &second["position"]),
        (&json!(1), &json!(2))
    );
    for queued in [&first, &second] {
        assert!(queued.number("/retry_after_ms") > 0);
        assert!(queued.number("/eta_ms") > 0);
    }
    assert_eq!(
        b.acquire("crm", wait("dan"), 409).await["code"],
        "queue_full"
    );
    // Without `wait_ms` the answer is the old one.
    assert_eq!(b.acquire("crm", json!({}), 409).await["code"], "pool_full");
    assert_eq!(a.availability("crm", 200).await["waiting"], 2);
    assert_eq!(a.acquire("crm", ticket(&first), 202).await["position"], 1);

    a.release(&held.token(), 204).await;
    // The seat is free, and promised.
    assert_eq!(
        b.acquire("crm", json!({"holder": "eve"}), 409).await["code"],
        "pool_full"
    );
    assert_eq!(b.acquire("crm", ticket(&second), 202).await["position"], 2);
    let granted = b.acquire("crm", ticket(&first), 201).await;
    assert_eq!(granted["lease"]["holder"], "bob");
    assert_eq!(granted["lease"]["label"], "bob's desk");
    // Asking with it again yields the same lease: the answer may have been lost.
    let again = a.acquire("crm", ticket(&first), [200, 201]).await;
    assert_eq!(again.id(), granted.id());
    assert_eq!(a.acquire("crm", ticket(&second), 202).await["position"], 1);
    b.release(&again.token(), 204).await;
    let next = a.acquire("crm", ticket(&second), 201).await;
    assert_eq!(next["lease"]["holder"], "cid");
    assert_eq!(a.availability("crm", 200).await["waiting"], 0);
    index_is_true(&cluster.redis, "crm", false).await;
    // The lease of the first ticket is over, and so is the ticket.
    assert_eq!(
        a.acquire("crm", ticket(&first), 410).await["code"],
        "ticket_expired"
    );
}

#[tokio::test]
async fn a_ticket_is_of_its_pool_and_no_lease_id() {
    let cluster = Installation::one().await;
    let node = cluster.first();
    node.put_pool(
        "crm",
        json!({"capacity": 1, "queue": {"max_waiting": 2}}),
        201,
    )
    .await;
    node.put_pool(
        "erp",
        json!({"capacity": 1, "queue": {"max_waiting": 2}}),
        201,
    )
    .await;
    let held = node.acquire("crm", json!({}), 201).await;
    let queued = node.acquire("crm", wait("bob"), 202).await;
    node.acquire("erp", ticket(&queued), 400).await;
    node.acquire("crm", json!({"ticket": held.id()}), 400).await;
    node.acquire("crm", json!({"ticket": ""}), 400).await;
}

#[tokio::test]
async fn a_pool_without_a_queue_denies_who_would_wait() {
    let cluster = Installation::one().await;
    let node = cluster.first();
    node.put_pool("crm", json!({"capacity": 0}), 201).await;
    node.acquire("crm", wait("bob"), 409).await;
}

#[tokio::test]
async fn a_waiter_that_does_not_ask_in_time_is_passed_over_and_later_loses_its_place() {
    let cluster = Installation::start_with(1, &[("sweep_every_ms", "0")]).await;
    let node = cluster.first();
    put_one_seat(node).await;
    let held = node.acquire("crm", json!({}), 201).await;
    let silent = node.acquire("crm", wait("bob"), 202).await;
    let patient = node.acquire("crm", wait("cid"), 202).await;
    node.release(&held.token(), 204).await;
    let began = Instant::now();
    let granted = loop {
        let reply = node.acquire("crm", ticket(&patient), [201, 202]).await;
        if reply.status == 201 {
            break reply;
        }
        assert!(
            began.elapsed() < Duration::from_secs(5),
            "held up for too long"
        );
        let_pass(100).await;
    };
    assert_eq!(granted["lease"]["holder"], "cid");
    // It was kept until the time at which the client was to ask.
    assert!(began.elapsed() > Duration::from_millis(1_900));
    // Its place is where it was, for a while.
    assert_eq!(
        node.acquire("crm", wait("dan"), 202).await["position"],
        json!(2)
    );
    wait_until("its place is lost", Duration::from_secs(12), async || {
        node.acquire("crm", json!({"holder": "eve"}), 409).await;
        node.availability("crm", [200, 503]).await["waiting"] != 2
    })
    .await;
    let late = node.acquire("crm", ticket(&silent), 410).await;
    assert_eq!(late["code"], "ticket_expired");
}

#[tokio::test]
async fn who_asks_late_gets_the_seat_that_is_free() {
    let cluster = Installation::one().await;
    let node = cluster.first();
    put_one_seat(node).await;
    let held = node.acquire("crm", json!({}), 201).await;
    let late = node.acquire("crm", wait("bob"), 202).await;
    node.release(&held.token(), 204).await;
    // Longer than a seat is kept for it, and not as long as its place.
    let_pass(3_500).await;
    let granted = node.acquire("crm", ticket(&late), 201).await;
    assert_eq!(granted["lease"]["holder"], "bob");
}

#[tokio::test]
async fn short_requests_with_pauses_keep_the_place() {
    let cluster = Installation::one().await;
    let node = cluster.first();
    put_one_seat(node).await;
    node.acquire("crm", json!({}), 201).await;
    let place = node.acquire("crm", wait("bob"), 202).await;
    // As long as the two seconds in which all who wait are reported, so none of them is held open just then.
    for _ in 0..7 {
        let_pass(1_000).await;
        let ask = json!({"ticket": place["ticket"], "wait_ms": 1_000});
        node.acquire("crm", ask, 202).await;
    }
}

#[tokio::test]
async fn a_place_in_the_queue_survives_the_node_that_gave_it() {
    let mut cluster = Installation::two().await;
    put_one_seat(&cluster.nodes[0]).await;
    let held = cluster.nodes[0].acquire("crm", json!({}), 201).await;
    let queued = cluster.nodes[0].acquire("crm", wait("bob"), 202).await;
    cluster.nodes[0].restart().await;
    let still = cluster.nodes[0].acquire("crm", ticket(&queued), 202).await;
    assert_eq!(still["position"], 1);
    cluster.nodes[1].release(&held.token(), 204).await;
    cluster.nodes[1].acquire("crm", ticket(&queued), 201).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_held_open_is_answered_as_soon_as_a_seat_comes_free_on_another_node() {
    let cluster = Installation::two().await;
    let (a, b) = cluster.pair();
    put_one_seat(a).await;
    let mut took = Vec::new();
    for _ in 0..5 {
        let held = a.acquire("crm", json!({}), 201).await;
        let waiter = tokio::spawn(b.acquire(
            "crm",
            json!({"holder": "bob", "wait": true, "wait_ms": 20_000}),
            201,
        ));
        wait_until("it waits", Duration::from_secs(3), async || {
            a.availability("crm", 200).await["waiting"] == 1
        })
        .await;
        let_pass(150).await;
        a.release(&held.token(), 204).await;
        let freed = Instant::now();
        let granted = waiter.await.unwrap();
        took.push(freed.elapsed());
        b.release(&granted.token(), 204).await;
    }
    took.sort();
    assert!(took[2] < Duration::from_millis(50), "{took:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_stops_answers_those_who_wait_and_their_places_are_kept() {
    let cluster = Installation::two().await;
    let (a, b) = cluster.pair();
    put_one_seat(a).await;
    let held = b.acquire("crm", json!({}), 201).await;
    let waiter = tokio::spawn(a.acquire(
        "crm",
        json!({"holder": "bob", "wait": true, "wait_ms": 14_000}),
        202,
    ));
    wait_until("it waits", Duration::from_secs(3), async || {
        b.availability("crm", 200).await["waiting"] == 1
    })
    .await;
    a.signal("TERM");
    let queued = tokio::time::timeout(Duration::from_secs(3), waiter)
        .await
        .expect("an answer at once")
        .unwrap();
    b.release(&held.token(), 204).await;
    b.acquire("crm", ticket(&queued), 201).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_held_open_gets_the_seat_of_a_lease_that_runs_out_at_that_instant() {
    let cluster = Installation::start_with(1, &[("sweep_every_ms", "0")]).await;
    let node = cluster.first();
    node.put_pool(
        "crm",
        json!({"capacity": 1, "ttl_ms": 1_500, "queue": {"max_waiting": 9}}),
        201,
    )
    .await;
    let mut held = node.acquire("crm", json!({}), 201).await;
    let mut late = Vec::new();
    // A busy machine may be late once; it must not be every time.
    for _ in 0..4 {
        let granted = node
            .acquire("crm", json!({"wait": true, "wait_ms": 20_000}), 201)
            .await;
        late.push(granted.instant("/lease/started_at") - held.instant("/lease/expires_at"));
        held = granted;
    }
    late.sort_unstable();
    assert!((0..50).contains(&late[0]), "{late:?} ms");
    // And without a free seat it answers with its position when the time is over.
    let began = Instant::now();
    let queued = node
        .acquire("crm", json!({"wait": true, "wait_ms": 300}), 202)
        .await;
    assert!(began.elapsed() >= Duration::from_millis(280));
    assert_eq!(queued["position"], 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crowd_is_served_in_the_order_in_which_it_came_while_newcomers_push() {
    let cluster = Installation::start(3).await;
    let nodes = &cluster.nodes;
    nodes[0]
        .put_pool(
            "crm",
            json!({"capacity": 2, "queue": {"max_waiting": 50}}),
            201,
        )
        .await;
    let mut held = vec![
        nodes[0].acquire("crm", json!({}), 201).await,
        nodes[1].acquire("crm", json!({}), 201).await,
    ];
    let mut tickets = Vec::new();
    for i in 0..12 {
        let queued = nodes[i % 3]
            .acquire("crm", wait(&format!("waiter-{i:02}")), 202)
            .await;
        assert_eq!(queued["position"], i + 1);
        tickets.push(ticket(&queued));
    }
    let mut served = Vec::new();
    while served.len() < 12 {
        let free = held.pop().unwrap();
        // At the instant of the release everybody asks, those who wait in reverse, and newcomers among them.
        let asks = tickets
            .iter()
            .enumerate()
            .rev()
            .map(|(i, ticket)| nodes[i % 3].acquire("crm", ticket.clone(), ANY));
        let push =
            (0..6).map(|i| nodes[i % 3].acquire("crm", json!({"holder": "pushy"}), [409, 503]));
        let (_, answers, _) = tokio::join!(
            nodes[0].release(&free.token(), 204),
            join_all(asks),
            join_all(push)
        );
        for granted in answers.into_iter().filter(|answer| answer.status == 201) {
            let holder = granted["lease"]["holder"].as_str().unwrap().to_owned();
            if !served.contains(&holder) {
                served.push(holder);
                held.insert(0, granted);
            }
        }
        // All may have asked before the release, and a busy node may not know.
        if let Some(ticket) = tickets.get(served.len())
            && held.len() < 2
        {
            let next = loop {
                let answer = nodes[1].acquire("crm", ticket.clone(), [201, 503]).await;
                if answer.status == 201 {
                    break answer;
                }
            };
            served.push(next["lease"]["holder"].as_str().unwrap().to_owned());
            held.insert(0, next);
        }
    }
    assert!(served.is_sorted(), "{served:?}");
}

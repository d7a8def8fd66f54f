//! Minimum and maximum term: a lease that stops beating holds its seat for its TTL, and not a millisecond longer.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use serde_json::json;
use tokio::time::sleep_until;

use crate::harness::{Installation, Node, Reply, let_pass, wait_until};

/// Without a sweeper: nothing but the next acquire can end a lease.
async fn unswept(nodes: usize) -> Installation {
    Installation::start_with(nodes, &[("sweep_every_ms", "0")]).await
}

#[tokio::test]
async fn a_silent_lease_of_2_s_denies_at_1_95_s_and_is_free_at_2_00_s() {
    let cluster = unswept(1).await;
    let node = cluster.first();
    node.put_pool("crm", json!({"capacity": 1, "ttl_ms": 2_000}), 201)
        .await;

    for _ in 0..10 {
        // The lease begins between the two instants, and so ends between the two plus 2 s.
        let sent = Instant::now();
        let first = node.acquire("crm", json!({}), 201).await;
        let received = Instant::now();

        sleep_until((sent + Duration::from_millis(1_950)).into()).await;
        let early = node.acquire("crm", json!({}), [201, 409]).await;
        // On a machine that takes 50 ms for a call this says nothing, and is tried again.
        let proved = sent.elapsed() < Duration::from_millis(2_000);
        assert!(
            !proved || early.status == 409,
            "free too soon: {}",
            early.text
        );
        if early.status == 201 {
            node.release(&early.token(), 204).await;
            continue;
        }

        sleep_until((received + Duration::from_millis(2_000)).into()).await;
        let second = node.acquire("crm", json!({}), 201).await;
        assert!(second.instant("/lease/started_at") >= first.instant("/lease/expires_at"));
        node.release(&second.token(), 204).await;
        if proved {
            return;
        }
    }
    panic!("a call takes more than 50 ms on this machine");
}

#[tokio::test]
async fn who_comes_back_when_the_denial_said_gets_the_seat() {
    let cluster = unswept(2).await;
    let (a, b) = cluster.pair();
    a.put_pool("crm", json!({"capacity": 3, "ttl_ms": 1_000}), 201)
        .await;
    for node in [a, b, a] {
        node.acquire("crm", json!({}), 201).await;
    }

    let denial = b.acquire("crm", json!({}), 409).await;
    let_pass(denial.number("/retry_after_ms")).await;

    b.acquire("crm", json!({}), 201).await;
}

#[tokio::test]
async fn the_seat_changes_hands_at_the_exact_millisecond_by_the_clock_of_redis() {
    let cluster = unswept(1).await;
    let node = cluster.first();
    node.put_pool("crm", json!({"capacity": 1, "ttl_ms": 1_000}), 201)
        .await;
    let first = node.acquire("crm", json!({}), 201).await;
    let expires_at = first.instant("/lease/expires_at");

    // Asks without a pause: the first grant cannot come before the end, and no denial after it.
    let_pass(900).await;
    let begun = Instant::now();
    let second = loop {
        assert!(
            begun.elapsed() < Duration::from_secs(2),
            "the seat does not come free"
        );
        let answer = node.acquire("crm", json!({}), [201, 409]).await;
        if answer.status == 201 {
            break answer;
        }
        assert!(answer.number("/retry_after_ms") <= 100, "{}", answer.text);
    };

    let late = second.instant("/lease/started_at") - expires_at;
    assert!((0..100).contains(&late), "{late} ms after the end");
}

#[tokio::test]
async fn who_has_ended_is_counted_and_listed_no_more_though_nobody_swept() {
    let cluster = unswept(1).await;
    let node = cluster.first();
    node.put_pool("crm", json!({"capacity": 4, "ttl_ms": 1_000}), 201)
        .await;
    node.fill("crm", 4).await;
    assert_eq!(node.availability("crm", 200).await["in_use"], 4);

    let_pass(1_020).await;

    assert_eq!(node.availability("crm", 200).await["free"], 4);
    assert_eq!(node.list("crm", "", 200).await["items"], json!([]));
    assert_eq!(
        node.acquire("crm", json!({}), 201).await["pool"]["in_use"],
        1
    );
}

#[tokio::test]
async fn many_that_end_at_once_leave_all_their_seats_to_the_next() {
    let cluster = unswept(2).await;
    let (a, b) = cluster.pair();
    a.put_pool("crm", json!({"capacity": 300, "ttl_ms": 2_000}), 201)
        .await;
    // More than one script call may end, so the first acquires meet leases that are dead and not yet ended.
    let leases = a.fill("crm", 300).await;
    // A busy machine may take as long for that as the first of them live.
    let tokens: Vec<String> = leases.iter().map(Reply::token).collect();
    let tokens: Vec<&str> = tokens.iter().map(String::as_str).collect();
    a.renew_many(&tokens, 200).await;
    b.acquire("crm", json!({}), 409).await;

    let_pass(2_020).await;

    let answers = b.fill("crm", 40).await;
    assert!(
        answers
            .iter()
            .all(|answer| answer.number("/pool/in_use") <= 40)
    );
    assert_eq!(a.availability("crm", 200).await["in_use"], 40);
}

#[tokio::test]
async fn the_end_is_recorded_within_2_s_with_the_instant_at_which_it_was() {
    let cluster = Installation::two().await;
    let node = cluster.first();
    node.put_pool("crm", json!({"capacity": 5, "ttl_ms": 1_000}), 201)
        .await;
    let leases = node.fill("crm", 5).await;
    let_pass(1_000).await;

    // Nobody asks for anything meanwhile.
    wait_until(
        "all ends are recorded",
        Duration::from_secs(2),
        async || {
            cluster
                .redis
                .events("crm")
                .await
                .iter()
                .filter(|event| event.kind == "ended")
                .count()
                == 5
        },
    )
    .await;

    let events = cluster.redis.events("crm").await;
    for lease in leases {
        let ends: Vec<_> = events
            .iter()
            .filter(|event| event.id == lease.id() && event.kind == "ended")
            .collect();
        let [end] = ends[..] else {
            panic!("{} ends of {}", ends.len(), lease.id())
        };
        assert_eq!(end.reason, "expired");
        assert_eq!(end.at, lease.instant("/lease/expires_at"));
    }
}

#[tokio::test]
async fn a_renew_that_comes_late_resumes_the_same_lease_if_a_seat_is_free() {
    for cluster in [unswept(2).await, Installation::two().await] {
        let (a, b) = cluster.pair();
        a.put_pool("crm", json!({"capacity": 1, "ttl_ms": 1_000}), 201)
            .await;
        let body = json!({"holder": "ann", "label": "Front desk", "activities": ["Order 17"]});
        let granted = a.acquire("crm", body, 201).await;
        let_pass(1_300).await;

        let resumed = b.renew(&granted.token(), 200).await;

        assert_eq!(resumed["resumed"], true);
        for field in ["id", "holder", "label", "activities", "fence", "started_at"] {
            assert_eq!(resumed["lease"][field], granted["lease"][field], "{field}");
        }
        assert_eq!(resumed["lease"]["expires_in_ms"], 1_000);
        a.acquire("crm", json!({}), 409).await;
        assert_eq!(a.renew(&granted.token(), 200).await["resumed"], false);
    }
}

#[tokio::test]
async fn a_lease_is_lost_when_its_seat_was_taken_meanwhile() {
    let cluster = unswept(2).await;
    let (a, b) = cluster.pair();
    a.put_pool("crm", json!({"capacity": 1, "ttl_ms": 1_000}), 201)
        .await;
    let ann = a.acquire("crm", json!({"holder": "ann"}), 201).await;
    let_pass(1_020).await;
    let bob = b.acquire("crm", json!({"holder": "bob"}), 201).await;

    let lost = a.renew(&ann.token(), 410).await;

    assert_eq!(lost["code"], "lease_expired");
    assert_eq!(b.renew(&bob.token(), 200).await["resumed"], false);
}

#[tokio::test]
async fn a_lease_is_lost_when_the_resume_window_is_over() {
    for cluster in [unswept(1).await, Installation::one().await] {
        let node = cluster.first();
        node.put_pool(
            "crm",
            json!({"capacity": 2, "ttl_ms": 1_000, "resume_window_ms": 300}),
            201,
        )
        .await;
        let late = node.acquire("crm", json!({}), 201).await;
        let too_late = node.acquire("crm", json!({}), 201).await;

        let_pass(1_100).await;
        assert_eq!(node.renew(&late.token(), 200).await["resumed"], true);

        let_pass(250).await;
        let lost = node.renew(&too_late.token(), 410).await;
        assert_eq!(lost["code"], "lease_expired");
        assert_eq!(node.availability("crm", 200).await["in_use"], 1);
    }
}

#[tokio::test]
async fn without_a_resume_window_a_late_renew_never_gets_the_seat_back() {
    let cluster = unswept(1).await;
    let node = cluster.first();
    node.put_pool(
        "crm",
        json!({"capacity": 5, "ttl_ms": 1_000, "resume_window_ms": 0}),
        201,
    )
    .await;
    let granted = node.acquire("crm", json!({}), 201).await;
    let_pass(1_020).await;

    assert_eq!(
        node.renew(&granted.token(), 410).await["code"],
        "lease_expired"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn late_heartbeats_never_take_one_seat_too_many() {
    let cluster = unswept(3).await;
    let nodes: Vec<&Node> = cluster.nodes.iter().collect();
    nodes[0]
        .put_pool("crm", json!({"capacity": 10, "ttl_ms": 1_000}), 201)
        .await;
    let late = join_all((0..10).map(|i| nodes[i % 3].acquire("crm", json!({}), 201))).await;
    let_pass(1_020).await;
    let fresh = join_all((0..6).map(|i| nodes[i % 3].acquire("crm", json!({}), 201))).await;

    let tokens: Vec<_> = late.iter().map(|lease| lease.token()).collect();
    let answers = join_all(
        tokens
            .iter()
            .zip(0..)
            .map(|(token, i)| nodes[i % 3].renew(token, [200, 410])),
    )
    .await;

    let resumed = answers.iter().filter(|answer| answer.status == 200);
    assert_eq!(resumed.count(), 4, "seats were free for 4");
    for answer in answers.iter().filter(|answer| answer.status == 410) {
        assert_eq!(answer["code"], "lease_expired");
    }
    for lease in fresh {
        nodes[0].renew(&lease.token(), 200).await;
    }
    assert_eq!(nodes[0].availability("crm", 200).await["in_use"], 10);
}

#[tokio::test]
async fn starts_are_ends_and_live_leases_after_every_way_to_end() {
    let cluster = Installation::one().await;
    let node = cluster.first();
    node.put_pool("crm", json!({"capacity": 10, "ttl_ms": 1_000}), 201)
        .await;
    let leases = node.fill("crm", 6).await;
    node.release(&leases[0].token(), 204).await;
    node.terminate("crm", json!({"ids": [leases[1].id()]}), 200)
        .await;
    node.leave(&leases[2].token(), 204).await;
    let_pass(1_050).await;
    node.renew(&leases[3].token(), 200).await;
    node.release(&leases[3].token(), 204).await;
    node.renew(&leases[4].token(), 200).await;

    wait_until("the numbers add up", Duration::from_secs(2), async || {
        let events = cluster.redis.events("crm").await;
        events.iter().map(|event| event.change()).sum::<i64>() == 1
    })
    .await;
    let events = cluster.redis.events("crm").await;
    let story = |lease: &crate::harness::Reply| -> Vec<String> {
        let of_it = events.iter().filter(|event| event.id == lease.id());
        of_it
            .map(|event| format!("{} {}", event.kind, event.reason).trim().to_owned())
            .collect()
    };
    assert_eq!(story(&leases[0]), ["started", "ended released"]);
    assert_eq!(story(&leases[1]), ["started", "ended terminated"]);
    assert_eq!(story(&leases[2]), ["started", "ended expired"]);
    assert_eq!(
        story(&leases[3]),
        ["started", "ended expired", "resumed", "ended released"]
    );
    assert_eq!(story(&leases[4]), ["started", "ended expired", "resumed"]);
    assert_eq!(story(&leases[5]), ["started", "ended expired"]);
}

#[tokio::test]
async fn the_ends_of_a_crowd_are_written_down_with_few_commands() {
    const LEASES: usize = 320;
    let cluster = Installation::start(1).await;
    let (node, redis) = (&cluster.nodes[0], &cluster.redis);
    node.put_pool("crm", json!({"capacity": LEASES, "ttl_ms": 2_000}), 201)
        .await;
    let leases: Vec<_> = (0..LEASES)
        .map(|number| json!({"holder": format!("agent-{number}"), "label": "Desk"}))
        .collect();
    let many = node.post("/v1/pools/crm/leases/acquire-many");
    let many = many.json(&json!({ "leases": leases })).expect(200).await;
    let last = many.list("results")[LEASES - 1]["token"].as_str();
    let tag = &redis.tag("crm").await;
    let records = redis.keys("lh1:{*}:crm:records").await.remove(0);
    let ended = wait_until(
        "all are written down",
        Duration::from_secs(10),
        async || redis.query::<i64>(&["HLEN", &records]).await == 0,
    );
    let commands = redis.commands_of(tag, ended).await;
    let commands = commands.iter().filter(|command| command.contains(" lua] "));
    let each = commands.count() as f64 / LEASES as f64;
    // An event, a tombstone and its TTL, and a share of what is done for all of a call.
    assert!(each <= 4.5, "{each:.2} commands for each lease");
    let resumed = node.renew(last.expect("a token"), 200).await;
    assert_eq!(resumed["resumed"], true);
    assert_eq!(resumed["lease"]["label"], "Desk");
}

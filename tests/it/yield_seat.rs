//! Somebody who waits asks for a seat, holders read it in their heartbeats, and one of them yields.

use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{Client, Installation, Reply, let_pass, wait_until};
use crate::rules::index_is_true;

fn policy(more: &Value) -> Value {
    let mut policy = json!({"capacity": 2, "ttl_ms": 60_000, "queue": {"max_waiting": 9}, "hand_over": {"answer_ms": 30_000}});
    for (name, value) in more.as_object().expect("an object") {
        policy[name] = value.clone();
    }
    policy
}

async fn waiter(node: &Client, pool: &str, holder: &str, tenant: Option<&str>) -> Reply {
    let body = json!({"holder": holder, "tenant": tenant, "wait": true});
    node.acquire(pool, body, 202).await
}

async fn ask(node: &Client, pool: &str, waiter: &Reply, status: u16) -> Reply {
    let call = node.post(&format!("/v1/pools/{pool}/queue/request"));
    let call = call.json(&json!({"ticket": waiter["ticket"]}));
    call.expect(status).await
}

async fn yields(node: &Client, seat: &Reply, status: u16) -> Reply {
    let call = node.post("/v1/leases/yield");
    call.json(&json!({"token": seat.token()}))
        .expect(status)
        .await
}

/// The waiter asks again, as it was told.
async fn poll(node: &Client, pool: &str, waiter: &Reply, status: u16) -> Reply {
    node.acquire(pool, json!({"ticket": waiter["ticket"]}), status)
        .await
}

#[tokio::test]
async fn who_waits_asks_for_a_seat_and_one_who_yields_gives_it_to_whoever_asked_first() {
    let cluster = Installation::two().await;
    let (a, b) = (&cluster.nodes[0], &cluster.nodes[1]);
    a.put_pool("crm", policy(&json!({})), 201).await;
    let ann = a.acquire("crm", json!({"holder": "ann"}), 201).await;
    let bob = a.acquire("crm", json!({"holder": "bob"}), 201).await;
    let cid = waiter(a, "crm", "cid", None).await;
    assert_eq!(cid["can_request"], true);
    let dan = waiter(b, "crm", "dan", None).await;
    let eve = waiter(b, "crm", "eve", None).await;

    // Nobody asks: nothing is told, and nobody gives a seat away for nothing.
    let quiet = a.renew(&ann.token(), 200).await;
    assert_eq!(quiet.body.get("seat_requested"), None);
    assert_eq!(yields(a, &ann, 409).await["code"], "no_seat_request");

    let asked = ask(b, "crm", &dan, 200).await;
    assert_eq!(asked["requested"], true);
    assert_eq!(asked["answer_in_ms"], 30_000);
    let again = ask(a, "crm", &dan, 200).await;
    assert!(again["answer_in_ms"].as_u64().expect("ms") <= 30_000);
    ask(b, "crm", &eve, 200).await;
    for (node, seat) in [(a, &ann), (b, &bob)] {
        let told = node.renew(&seat.token(), 200).await;
        assert_eq!(told["seat_requested"]["requests"], 2);
        let left = told["seat_requested"]["answer_in_ms"].as_u64().expect("ms");
        assert!((1..=30_000).contains(&left), "{left}");
        assert!(!told.text.contains("dan"), "{}", told.text);
    }
    let many = json!({"tokens": [ann.token()]});
    let many = a
        .post("/v1/leases/renew-many")
        .json(&many)
        .expect(200)
        .await;
    assert_eq!(many["results"][0]["seat_requested"]["requests"], 2);
    let queue = a.get("/v1/pools/crm/queue").expect(200).await;
    let asks: Vec<bool> = queue
        .list("items")
        .iter()
        .map(|item| !item["requested_until"].is_null())
        .collect();
    assert_eq!(asks, [false, true, true]);

    // The seat is for Dan, although Cid came before; both polls are in the order in which a loaded network may bring them.
    assert_eq!(yields(b, &ann, 200).await["yielded"], true);
    assert_eq!(yields(a, &ann, 200).await["yielded"], true);
    poll(a, "crm", &cid, 202).await;
    poll(a, "crm", &eve, 202).await;
    let dan = poll(b, "crm", &dan, 201).await;
    let end = a.renew(&ann.token(), 410).await;
    assert_eq!(
        (&end["code"], &end["reason"]),
        (&json!("lease_evicted"), &json!("handed_over"))
    );
    let told = a.renew(&dan.token(), 200).await;
    assert_eq!(told["seat_requested"]["requests"], 1);
    // Once its end is written down, yielding again is a success still.
    wait_until(
        "the end is written down",
        Duration::from_secs(5),
        async || cluster.redis.keys("lh1:*:crm:lease:*").await.len() == 1,
    )
    .await;
    yields(a, &ann, 200).await;

    // The other request is Eve's; then nobody asks any more.
    yields(a, &bob, 200).await;
    poll(b, "crm", &eve, 201).await;
    assert_eq!(yields(a, &dan, 409).await["code"], "no_seat_request");
    let quiet = a.renew(&dan.token(), 200).await;
    assert_eq!(quiet.body.get("seat_requested"), None);
    poll(a, "crm", &cid, 202).await;
    let events = cluster.redis.events("crm").await;
    let handed = events.iter().filter(|event| event.reason == "handed_over");
    let handed: Vec<&str> = handed.map(|event| event.holder.as_str()).collect();
    assert_eq!(handed, ["ann", "bob"]);
    let asked = events.iter().filter(|event| event.kind == "seat_requested");
    let asked: Vec<&str> = asked.map(|event| event.holder.as_str()).collect();
    assert_eq!(asked, ["dan", "eve"]);
    index_is_true(&cluster.redis, "crm", false).await;
}

#[tokio::test]
async fn a_request_is_over_with_its_time_its_place_and_its_seat() {
    let cluster = Installation::one().await;
    let node = &cluster.nodes[0];
    let short = policy(&json!({"hand_over": {"answer_ms": 1_000}}));
    node.put_pool("crm", short, 201).await;
    let ann = node.acquire("crm", json!({"holder": "ann"}), 201).await;
    let bob = node.acquire("crm", json!({"holder": "bob"}), 201).await;
    let cid = waiter(node, "crm", "cid", None).await;
    ask(node, "crm", &cid, 200).await;
    wait_until("the time is over", Duration::from_secs(5), async || {
        let told = node.renew(&ann.token(), 200).await;
        told.body.get("seat_requested").is_none()
    })
    .await;
    yields(node, &ann, 409).await;
    poll(node, "crm", &cid, 202).await;
    // It may ask anew. One who leaves asks for nothing.
    ask(node, "crm", &cid, 200).await;
    let leave = node.post("/v1/pools/crm/queue/leave");
    let leave = leave.json(&json!({"ticket": cid["ticket"]}));
    leave.expect(204).await;
    yields(node, &ann, 409).await;
    let told = node.renew(&ann.token(), 200).await;
    assert_eq!(told.body.get("seat_requested"), None);
    assert_eq!(ask(node, "crm", &cid, 409).await["code"], "not_waiting");

    // Whoever gets a seat in another way asks no more.
    let dan = waiter(node, "crm", "dan", None).await;
    ask(node, "crm", &dan, 200).await;
    node.release(&bob.token(), 204).await;
    yields(node, &ann, 409).await;
    poll(node, "crm", &dan, 201).await;
    assert_eq!(ask(node, "crm", &dan, 409).await["code"], "not_waiting");
    yields(node, &ann, 409).await;
    index_is_true(&cluster.redis, "crm", false).await;
}

#[tokio::test]
async fn a_seat_that_was_given_up_for_somebody_silent_goes_to_the_next() {
    let cluster = Installation::one().await;
    let node = &cluster.nodes[0];
    node.put_pool("crm", policy(&json!({"capacity": 1})), 201)
        .await;
    let ann = node.acquire("crm", json!({"holder": "ann"}), 201).await;
    let cid = waiter(node, "crm", "cid", None).await;
    let dan = waiter(node, "crm", "dan", None).await;
    ask(node, "crm", &dan, 200).await;
    yields(node, &ann, 200).await;
    wait_until("the next one has it", Duration::from_secs(10), async || {
        let_pass(200).await;
        let ticket = json!({"ticket": cid["ticket"]});
        node.acquire("crm", ticket, [201, 202]).await.status == 201
    })
    .await;
    index_is_true(&cluster.redis, "crm", false).await;
}

#[tokio::test]
async fn nobody_yields_a_seat_that_the_asker_could_not_have() {
    let cluster = Installation::one().await;
    let node = &cluster.nodes[0];
    let of = |holder: &str, tenant: &str| json!({"holder": holder, "tenant": tenant});

    // What a tenant has reserved does not come to others; among its own it does, and what it has beyond that.
    let reserved = policy(&json!({"capacity": 3, "tenants": {"acme": {"reserved": 1}}}));
    node.put_pool("reserved", reserved, 201).await;
    let ann = node.acquire("reserved", of("ann", "acme"), 201).await;
    let bob = node.acquire("reserved", of("bob", "globex"), 201).await;
    node.acquire("reserved", of("cid", "globex"), 201).await;
    let dan = waiter(node, "reserved", "dan", Some("globex")).await;
    ask(node, "reserved", &dan, 200).await;
    yields(node, &ann, 409).await;
    yields(node, &bob, 200).await;
    poll(node, "reserved", &dan, 201).await;
    index_is_true(&cluster.redis, "reserved", false).await;

    // A tenant with all that it may have gets no more, but may pass on what it has.
    let limited = policy(&json!({"capacity": 2, "tenants": {"acme": {"max": 1}}}));
    node.put_pool("limited", limited, 201).await;
    let ann = node.acquire("limited", of("ann", "acme"), 201).await;
    let bob = node.acquire("limited", of("bob", "globex"), 201).await;
    let dan = waiter(node, "limited", "dan", Some("globex")).await;
    ask(node, "limited", &dan, 200).await;
    yields(node, &ann, 200).await;
    poll(node, "limited", &dan, 201).await;
    yields(node, &bob, 409).await;
    index_is_true(&cluster.redis, "limited", false).await;

    // A named seat frees nothing, and two leases that share a seat go together.
    let named =
        json!({"seats": 1, "anchor_day": 1, "time_zone": "UTC", "spill_to_concurrent": true});
    node.put_pool(
        "named",
        policy(&json!({"capacity": 1, "named": named})),
        201,
    )
    .await;
    let owner = node.acquire("named", json!({"holder": "ann"}), 201).await;
    let spilled = node.acquire("named", json!({"holder": "bob"}), 201).await;
    let dan = waiter(node, "named", "dan", None).await;
    ask(node, "named", &dan, 200).await;
    yields(node, &owner, 409).await;
    yields(node, &spilled, 200).await;
    poll(node, "named", &dan, 201).await;
    index_is_true(&cluster.redis, "named", false).await;

    let shared = policy(&json!({"capacity": 1, "seat_per": "holder"}));
    node.put_pool("shared", shared, 201).await;
    let one = node.acquire("shared", json!({"holder": "ann"}), 201).await;
    let two = node.acquire("shared", json!({"holder": "ann"}), 201).await;
    let dan = waiter(node, "shared", "dan", None).await;
    ask(node, "shared", &dan, 200).await;
    yields(node, &one, 200).await;
    for tab in [&one, &two] {
        let end = node.renew(&tab.token(), 410).await;
        assert_eq!(end["reason"], "handed_over");
    }
    poll(node, "shared", &dan, 201).await;
    index_is_true(&cluster.redis, "shared", false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_who_yield_at_once_for_one_request_one_keeps_the_seat() {
    let cluster = Installation::two().await;
    let (a, b) = (&cluster.nodes[0], &cluster.nodes[1]);
    for round in 0..10 {
        let pool = format!("crm-{round}");
        a.put_pool(&pool, policy(&json!({})), 201).await;
        let ann = a.acquire(&pool, json!({"holder": "ann"}), 201).await;
        let bob = a.acquire(&pool, json!({"holder": "bob"}), 201).await;
        let dan = waiter(a, &pool, "dan", None).await;
        ask(a, &pool, &dan, 200).await;
        let yield_of = |node: &Client, seat: &Reply| {
            let call = node.post("/v1/leases/yield");
            call.json(&json!({"token": seat.token()}))
                .expect([200, 409])
        };
        let (one, two) = tokio::join!(yield_of(a, &ann), yield_of(b, &bob));
        let mut statuses = [one.status, two.status];
        statuses.sort_unstable();
        assert_eq!(statuses, [200, 409]);
        poll(b, &pool, &dan, 201).await;
        assert_eq!(a.list(&pool, "", 200).await.list("items").len(), 2);
    }
}

#[tokio::test]
async fn a_pool_offers_it_only_where_its_policy_says_so() {
    let cluster = Installation::one().await;
    let node = &cluster.nodes[0];
    let plain = json!({"capacity": 1, "queue": {"max_waiting": 9}});
    node.put_pool("crm", plain, 201).await;
    let ann = node.acquire("crm", json!({"holder": "ann"}), 201).await;
    let bob = waiter(node, "crm", "bob", None).await;
    assert_eq!(bob.body.get("can_request"), None);
    assert_eq!(ask(node, "crm", &bob, 409).await["code"], "hand_over_off");
    assert_eq!(yields(node, &ann, 409).await["code"], "no_seat_request");
    for (wrong, named) in [
        (json!({"capacity": 1, "hand_over": {}}), "queue"),
        (
            policy(&json!({"hand_over": {"answer_ms": 999}})),
            "answer_ms",
        ),
        (policy(&json!({"hand_over": {"answers": 1}})), "answers"),
    ] {
        let refused = node.put_pool("no", wrong, 400).await;
        assert!(refused.text.contains(named), "{}", refused.text);
    }
    node.put_pool("usual", policy(&json!({"hand_over": {}})), 201)
        .await;
    let read = node.pool("usual", 200).await;
    assert_eq!(read["hand_over"], json!({"answer_ms": 60_000}));
    // A ticket of another pool, and a token of none.
    let call = node.post("/v1/pools/usual/queue/request");
    call.json(&json!({"ticket": bob["ticket"]}))
        .expect(400)
        .await;
    let forged = node.post("/v1/leases/yield").json(&json!({"token": "x"}));
    assert_eq!(forged.expect(401).await["code"], "invalid_token");
}

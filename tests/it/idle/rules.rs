//! Idle seats and longest hold beside the other rules of a pool.

use std::time::Duration;

use serde_json::json;

use super::{MINUTE, beat, end_of, evicted, idle, seat, story};
use crate::harness::{ANY, Client, Installation, Launch, Redis, wait_until};
use crate::rules::index_is_true;

#[tokio::test]
async fn a_holder_with_several_tabs_is_as_active_as_the_most_active_of_them() {
    let cluster = Installation::start(1).await;
    let (node, redis) = (&cluster.nodes[0], &cluster.redis);
    let policy = |then: &str| json!({"capacity": 2, "seat_per": "holder", "idle": idle(then)});
    node.put_pool("crm", policy("yield"), 201).await;
    let (one, two) = (
        seat(node, "crm", "ann").await,
        seat(node, "crm", "ann").await,
    );
    let bob = seat(node, "crm", "bob").await;
    beat(node, &one, 60 * MINUTE).await;
    index_is_true(redis, "crm", true).await;
    // Her other tab has said nothing.
    node.acquire("crm", json!({"holder": "cid"}), 409).await;
    beat(node, &two, 20 * MINUTE).await;
    beat(node, &bob, 30 * MINUTE).await;
    assert_eq!(
        node.get("/v1/pools/crm/usage").expect(200).await["idle_now"],
        2
    );
    index_is_true(redis, "crm", true).await;

    // Bob is idle for longer than the more active of Ann's tabs, and then both of hers go.
    seat(node, "crm", "cid").await;
    assert_eq!(end_of(node, &bob).await, evicted("idle"));
    // Somebody who comes with one more tab needs no seat of another, and is there.
    let three = seat(node, "crm", "ann").await;
    index_is_true(redis, "crm", true).await;
    node.acquire("crm", json!({"holder": "dan"}), 409).await;
    node.release(&three.token(), 204).await;
    index_is_true(redis, "crm", true).await;
    let dan = seat(node, "crm", "dan").await;
    assert_eq!(dan["pool"]["in_use"], 2);
    for lease in [&one, &two] {
        assert_eq!(end_of(node, lease).await, evicted("idle"));
    }
    index_is_true(redis, "crm", true).await;

    // A tab that is beyond the time ends only when the others are.
    node.put_pool("desk", policy("end"), 201).await;
    let (one, two) = (
        seat(node, "desk", "eve").await,
        seat(node, "desk", "eve").await,
    );
    beat(node, &one, 60 * MINUTE).await;
    let warned = beat(node, &two, 14 * MINUTE).await;
    assert_eq!(warned["ends"]["in_ms"], MINUTE);
    let body = |idle_ms: u64| json!({"token": two.token(), "idle_ms": idle_ms});
    node.renew_with(body(16 * MINUTE), 410).await;
    let rest = json!({"token": one.token(), "idle_ms": 60 * MINUTE});
    node.renew_with(rest, 410).await;
    assert_eq!(node.availability("desk", 200).await["in_use"], 0);
}

#[tokio::test]
async fn whoever_waits_gets_an_idle_seat_first_and_is_called_for_it() {
    let cluster = Installation::start(2).await;
    let ([a, b], redis) = (&cluster.nodes[..], &cluster.redis) else {
        unreachable!()
    };
    let policy = json!({"capacity": 2, "queue": {"max_waiting": 5}, "idle": idle("yield")});
    a.put_pool("crm", policy, 201).await;
    let (ann, bob) = (seat(a, "crm", "ann").await, seat(b, "crm", "bob").await);
    // One of them holds its request open, and is called; nobody has to ask in vain.
    let waits = a.acquire(
        "crm",
        json!({"holder": "cid", "wait": true, "wait_ms": 20_000}),
        ANY,
    );
    let waits = tokio::spawn(waits);
    wait_until("somebody waits", Duration::from_secs(5), async || {
        b.availability("crm", 200).await["waiting"] == 1
    })
    .await;
    let second = b
        .acquire("crm", json!({"holder": "dan", "wait": true}), 202)
        .await;
    assert_eq!(second["position"], 2);
    beat(b, &ann, 20 * MINUTE).await;
    // A newcomer takes nothing that somebody waits for.
    let denial = b.acquire("crm", json!({"holder": "eve"}), ANY).await;
    assert_eq!(denial.status, 409, "{}", denial.text);
    let served = waits.await.expect("no panic");
    assert_eq!(
        (served.status, &served["lease"]["holder"]),
        (201, &json!("cid"))
    );
    assert_eq!(end_of(a, &ann).await, evicted("idle"));
    b.renew(&bob.token(), 200).await;

    // Who comes back before the one who was called has asked, keeps the seat, and nobody has lost anything.
    beat(b, &bob, 20 * MINUTE).await;
    beat(b, &bob, 0).await;
    let ticket = json!({"ticket": second["ticket"]});
    let still = b.acquire("crm", ticket.clone(), 202).await;
    assert_eq!(still["position"], 1);
    beat(b, &bob, 20 * MINUTE).await;
    let served = a.acquire("crm", ticket, 201).await;
    assert_eq!(served["lease"]["holder"], "dan");
    assert_eq!(end_of(b, &bob).await, evicted("idle"));
    // Where nobody waits, a newcomer has it at once, and never a place in the queue.
    beat(b, &served, 20 * MINUTE).await;
    let eve = b
        .acquire("crm", json!({"holder": "eve", "wait": true}), 201)
        .await;
    assert_eq!(eve["pool"], json!({"in_use": 2, "capacity": 2}));
    index_is_true(redis, "crm", false).await;
}

#[tokio::test]
async fn whoever_waits_is_called_when_a_seat_has_been_held_for_too_long() {
    let cluster = Installation::start(1).await;
    let node = &cluster.nodes[0];
    let policy =
        json!({"capacity": 1, "queue": {"max_waiting": 5}, "max_hold": {"after_ms": 1_500}});
    node.put_pool("crm", policy, 201).await;
    let ann = seat(node, "crm", "ann").await;
    let waits = json!({"holder": "bob", "wait": true, "wait_ms": 15_000});
    let served = node.acquire("crm", waits, 201).await;
    let held = served.instant("/lease/started_at") - ann.instant("/lease/started_at");
    assert!((1_500..8_000).contains(&held), "{held}");
    assert_eq!(end_of(node, &ann).await, evicted("max_hold"));
}

#[tokio::test]
async fn what_a_tenant_has_at_most_or_for_sure_stays_its_own() {
    let cluster = Installation::start(1).await;
    let (node, redis) = (&cluster.nodes[0], &cluster.redis);
    let policy = json!({"capacity": 3, "tenants": {"acme": {"reserved": 1}, "bolt": {"max": 1}}, "idle": idle("yield")});
    node.put_pool("crm", policy, 201).await;
    let seat = async |holder: &str, tenant: &str| {
        let body = json!({"holder": holder, "tenant": tenant});
        node.acquire("crm", body, 201).await
    };
    let reserved = seat("ann", "acme").await;
    let bolt = seat("bob", "bolt").await;
    let free = node.acquire("crm", json!({"holder": "cid"}), 201).await;
    beat(node, &reserved, 50 * MINUTE).await;
    // The one that is idle longest is kept for its tenant.
    node.acquire("crm", json!({"holder": "dan"}), 409).await;
    node.acquire("crm", json!({"holder": "eve", "tenant": "bolt"}), 409)
        .await;
    let own = seat("fay", "acme").await;
    assert_eq!(end_of(node, &reserved).await, evicted("idle"));
    // A tenant at its maximum takes a seat from itself, and not from another.
    beat(node, &free, 40 * MINUTE).await;
    let denial = node
        .acquire("crm", json!({"holder": "eve", "tenant": "bolt"}), 409)
        .await;
    assert_eq!(denial["code"], "tenant_full");
    beat(node, &bolt, 20 * MINUTE).await;
    seat("eve", "bolt").await;
    assert_eq!(end_of(node, &bolt).await, evicted("idle"));
    node.acquire("crm", json!({"holder": "gus"}), 201).await;
    assert_eq!(end_of(node, &free).await, evicted("idle"));
    node.renew(&own.token(), 200).await;
    index_is_true(redis, "crm", false).await;
}

#[tokio::test]
async fn named_and_lent_seats_and_a_lowered_capacity_keep_their_own_rules() {
    let cluster = Installation::start(1).await;
    let (node, redis) = (&cluster.nodes[0], &cluster.redis);
    let named =
        json!({"seats": 1, "anchor_day": 1, "time_zone": "UTC", "spill_to_concurrent": true});
    let policy = json!({"capacity": 1, "named": named, "idle": idle("yield"), "max_hold": {"after_ms": 1_000, "then": "end"}});
    node.put_pool("named", policy, 201).await;
    let owner = seat(node, "named", "ann").await;
    assert_eq!(owner["lease"]["seat"], "named");
    let spilled = seat(node, "named", "bob").await;
    crate::harness::let_pass(1_000).await;
    // However idle, and however long: it would free nothing.
    let beaten = beat(node, &owner, 60 * MINUTE).await;
    assert_eq!(beaten.body.get("ends"), None);
    node.acquire("named", json!({"holder": "cid"}), 409).await;
    assert_eq!(end_of(node, &spilled).await, evicted("max_hold"));
    node.renew(&owner.token(), 200).await;
    index_is_true(redis, "named", false).await;

    // A seat is lent before one is taken from somebody.
    let policy = json!({"capacity": 1, "overdraft": {"seats": 1, "seat_minutes_per_day": 600}, "idle": idle("yield")});
    node.put_pool("lent", policy, 201).await;
    let first = seat(node, "lent", "ann").await;
    beat(node, &first, 60 * MINUTE).await;
    let lent = seat(node, "lent", "bob").await;
    assert_eq!(lent["lease"]["seat"], "overdraft");
    let second = seat(node, "lent", "cid").await;
    assert_eq!(second["lease"]["seat"], "concurrent");
    assert_eq!(end_of(node, &first).await, evicted("idle"));
    beat(node, &lent, 60 * MINUTE).await;
    assert_eq!(
        seat(node, "lent", "dan").await["lease"]["seat"],
        "overdraft"
    );
    index_is_true(redis, "lent", false).await;

    // Nothing is granted until it fits, and nobody loses a seat for nothing.
    node.put_pool("less", json!({"capacity": 2, "idle": idle("yield")}), 201)
        .await;
    let (ann, _) = (
        seat(node, "less", "ann").await,
        seat(node, "less", "bob").await,
    );
    beat(node, &ann, 60 * MINUTE).await;
    node.patch_pool("less", json!({"capacity": 1}), 200).await;
    node.acquire("less", json!({"holder": "cid"}), 409).await;
    node.renew(&ann.token(), 200).await;
    // A schedule is no other.
    let at = |minutes: i64| (chrono::Utc::now() + chrono::TimeDelta::minutes(minutes)).to_rfc3339();
    let training = json!([{"name": "less", "from": at(-1), "until": at(60), "capacity": 1}]);
    node.patch_pool("less", json!({"capacity": 9, "schedule": training}), 200)
        .await;
    beat(node, &ann, 60 * MINUTE).await;
    node.acquire("less", json!({"holder": "cid"}), 409).await;
    node.patch_pool("less", json!({"capacity": 2, "schedule": []}), 200)
        .await;
    seat(node, "less", "cid").await;
    assert_eq!(end_of(node, &ann).await, evicted("idle"));
}

#[tokio::test]
async fn a_pool_that_keeps_no_names_gives_idle_seats_away_and_names_nobody() {
    let cluster = Installation::start(1).await;
    let (node, redis) = (&cluster.nodes[0], &cluster.redis);
    let with_people = json!({"after_ms": 15 * MINUTE, "then": "yield", "people": true});
    for privacy in ["anonymous", "pseudonymous"] {
        let policy = json!({"capacity": 1, "privacy": privacy, "idle": with_people});
        node.put_pool(privacy, policy, 201).await;
        let ann = seat(node, privacy, "ann@example.org").await;
        // What is worked on is not kept there, so only a heartbeat that says it counts.
        let call = json!({"token": ann.token(), "idle_ms": 20 * MINUTE, "activities": ["Call"]});
        node.renew_with(call, 200).await;
        node.acquire(privacy, json!({"holder": "bob@example.org"}), 409)
            .await;
        beat(node, &ann, 20 * MINUTE).await;
        seat(node, privacy, "bob@example.org").await;
        assert_eq!(end_of(node, &ann).await, evicted("idle"));
        let people = node
            .get(&format!("/v1/pools/{privacy}/holders"))
            .expect(200)
            .await;
        assert!(!people.text.contains("idle_ms"), "{}", people.text);
    }
    let keys = redis.keys("lh1:*").await;
    for key in &keys {
        let dump: Vec<u8> = redis.query(&["DUMP", key]).await;
        let text = String::from_utf8_lossy(&dump);
        assert!(
            !text.contains("@example.org") || !key.contains("nymous"),
            "{key}"
        );
    }
    // Where a policy says so and names are kept, reports tell of people; else only how many.
    for (pool, people) in [("told", true), ("counted", false)] {
        let policy = json!({"capacity": 2, "idle": {"after_ms": 15 * MINUTE, "people": people}});
        node.put_pool(pool, policy, 201).await;
        let ann = seat(node, pool, "ann").await;
        beat(node, &ann, 20 * MINUTE).await;
        let events = redis.events(pool).await;
        let idle = events
            .iter()
            .find(|event| event.kind == "idle")
            .expect("an event");
        assert_eq!(idle.holder, if people { "ann" } else { "" });
        let report = node
            .get(&format!("/v1/pools/{pool}/holders"))
            .expect(200)
            .await;
        assert_eq!(report["items"][0]["idle_ms"].is_u64(), people);
        assert_eq!(story(redis, pool).await.len(), 2);
    }
}

#[tokio::test]
async fn who_is_for_some_tenants_reads_of_its_own_idle_seats_and_of_no_others() {
    const KEY: &str = "the-operator-key-of-the-tests";
    let redis = Redis::start().await;
    let node = Launch::on(&redis.url()).set("admin_key", KEY).start().await;
    let admin = node.with_key(KEY);
    let policy = json!({"capacity": 9, "idle": idle("count")});
    admin.put_pool("crm", policy, 201).await;
    for (holder, tenant, minutes) in [
        ("ann", "acme", 20),
        ("abe", "acme", 2),
        ("greta", "globex", 30),
        ("gus", "globex", 40),
    ] {
        let asked = json!({"holder": holder, "tenant": tenant, "idle_ms": minutes * MINUTE});
        admin.acquire("crm", asked, 201).await;
    }
    let key = json!({"name": "acme", "role": "operator", "tenants": ["acme"]});
    let made = admin.post("/v1/keys").json(&key).expect(201).await;
    let acme = node.with_key(made["secret"].as_str().expect("a secret"));

    let read = admin.pool("crm", 200).await;
    assert_eq!(read["idle_now"], 3);
    // What was read can be put back.
    admin.put_pool("crm", read.body, 200).await;
    assert_eq!(acme.pool("crm", 200).await["idle_now"], 1);
    let pools = acme.get("/v1/pools").expect(200).await;
    assert_eq!(pools["items"][0]["idle_now"], 1);
    let idle = acme.list("crm", "idle_ms=900000&sort=active_at", 200).await;
    let holders: Vec<_> = idle.list("items").iter().map(|it| &it["holder"]).collect();
    assert_eq!(holders, ["ann"]);
    for report in ["usage", "history", "sizing"] {
        let path = format!("/v1/pools/crm/{report}");
        acme.get(&path).expect(403).await;
    }
    let page = acme.get("/admin/pools/crm").expect(200).await.text;
    assert!(page.contains("Idle for"), "{page}");
    assert!(
        !page.contains("idle seat") && !page.contains("3 idle"),
        "{page}"
    );
    let page = admin.get("/admin/pools/crm").expect(200).await.text;
    assert!(page.contains("End 3 idle seats…"), "{page}");

    // Where nobody is named as idle, nobody is to the readers of some tenants.
    let mut stream = reqwest::Client::new()
        .get(node.url("/v1/pools/crm/events"))
        .bearer_auth(made["secret"].as_str().expect("a secret"))
        .header("last-event-id", "0")
        .send()
        .await
        .expect("an answer");
    let mut told = String::new();
    while !told.contains("\"type\":\"idle\"") {
        let chunk = tokio::time::timeout(Duration::from_secs(10), stream.chunk()).await;
        let chunk = chunk.expect("in time").expect("a stream");
        told.push_str(&String::from_utf8_lossy(&chunk.expect("it goes on")));
    }
    let idle = told.lines().find(|line| line.contains("\"type\":\"idle\""));
    let idle = idle.expect("an event");
    assert!(idle.contains("\"holder\":null"), "{idle}");
    assert!(!told.contains("greta"), "{told}");

    // Who ends idle seats ends those of its own, and only of those for sure who are idle still.
    let same_origin = |client: &Client| {
        client
            .post("/admin/pools/crm/terminate")
            .header("sec-fetch-site", "same-origin")
            .header("content-type", "application/x-www-form-urlencoded")
    };
    let ended = same_origin(&acme).body("all=1&idle_ms=900000&reason=Lunch");
    ended.expect(200).await;
    let left = admin.list("crm", "sort=holder", 200).await;
    let left: Vec<_> = left.list("items").iter().map(|it| &it["holder"]).collect();
    assert_eq!(left, ["abe", "greta", "gus"]);
    same_origin(&admin)
        .body("all=1&idle_ms=60000")
        .expect(200)
        .await;
    let left = admin.list("crm", "", 200).await;
    let left: Vec<_> = left.list("items").iter().map(|it| &it["holder"]).collect();
    assert_eq!(left, ["abe"]);
}

#[tokio::test]
async fn idle_seats_end_together_but_no_named_one_and_none_that_its_holder_uses_elsewhere() {
    let cluster = Installation::start(1).await;
    let node = &cluster.nodes[0];
    let named =
        json!({"seats": 1, "anchor_day": 1, "time_zone": "UTC", "spill_to_concurrent": true});
    let policy = json!({"capacity": 3, "named": named, "idle": idle("count")});
    node.put_pool("named", policy, 201).await;
    let shared = json!({"capacity": 3, "seat_per": "holder", "idle": idle("count")});
    node.put_pool("shared", shared, 201).await;
    for (pool, holder, minutes) in [
        ("named", "ann", 20),
        ("named", "bob", 20),
        ("shared", "ann", 20),
        ("shared", "ann", 0),
        ("shared", "bob", 20),
        ("shared", "bob", 30),
    ] {
        let asked = json!({"holder": holder, "idle_ms": minutes * MINUTE});
        node.acquire(pool, asked, 201).await;
    }
    let ask = |pool: &str, form: &str| {
        node.post(&format!("/admin/pools/{pool}/{form}"))
            .header("sec-fetch-site", "same-origin")
            .header("content-type", "application/x-www-form-urlencoded")
            .body("all=1&idle_ms=900000")
    };
    for pool in ["named", "shared"] {
        let question = node.get(&format!(
            "/admin/pools/{pool}/terminate?all=1&idle_ms=900000"
        ));
        let question = question.expect(200).await.text;
        assert!(
            question.contains("/people/bob") && !question.contains("/people/ann"),
            "{question}"
        );
        let result = ask(pool, "terminate").expect(200).await.text;
        assert!(result.contains("in use, kept"), "{result}");
        let left = node.list(pool, "sort=holder", 200).await;
        let holders: Vec<_> = left.list("items").iter().map(|it| &it["holder"]).collect();
        assert!(
            holders.iter().all(|holder| *holder == "ann"),
            "{pool}: {holders:?}"
        );
        assert_eq!(holders.len(), if pool == "named" { 1 } else { 2 });
    }
}

//! Pools: what operators decide, the same on all nodes from one instant on.

use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{ANY, Installation, Redis, Reply};

#[tokio::test]
async fn a_pool_is_created_replaced_changed_read_and_removed() {
    let cluster = Installation::two().await;
    let (a, b) = cluster.pair();

    a.put_pool("crm", json!({"capacity": 5}), 201).await;
    let pool = b.pool("crm", 200).await;
    assert_eq!(pool["name"], "crm");
    assert_eq!(pool["capacity"], 5);
    assert_eq!(pool["ttl_ms"], 60_000);
    assert_eq!(pool["linger_ms"], 10_000);
    assert_eq!(pool["resume_window_ms"], 600_000);
    assert_eq!(pool["in_use"], 0);

    b.put_pool("crm", json!({"capacity": 7, "ttl_ms": 30_000}), 200)
        .await;
    let changed = a.patch_pool("crm", json!({"linger_ms": 0}), 200).await;
    assert_eq!(changed["capacity"], 7);
    assert_eq!(changed["ttl_ms"], 30_000);
    assert_eq!(changed["linger_ms"], 0);

    // What a PUT leaves out has its default again.
    a.put_pool("crm", json!({"capacity": 7}), 200).await;
    let pool = b.pool("crm", 200).await;
    assert_eq!(pool["ttl_ms"], 60_000);
    assert_eq!(pool["linger_ms"], 10_000);

    b.call(Method::DELETE, "/v1/pools/crm").expect(204).await;
    for node in [a, b] {
        assert_eq!(node.pool("crm", 404).await["code"], "pool_not_found");
        node.acquire("crm", json!({}), 404).await;
        node.patch_pool("crm", json!({"capacity": 1}), 404).await;
        node.list("crm", "", 404).await;
        node.call(Method::DELETE, "/v1/pools/crm").expect(404).await;
    }
    a.put_pool("crm", json!({"capacity": 5}), 201).await;
}

#[tokio::test]
async fn all_pools_are_listed_by_name() {
    let cluster = Installation::two().await;
    let (a, b) = cluster.pair();
    assert_eq!(a.get("/v1/pools").expect(200).await["items"], json!([]));

    for name in ["phone", "crm", "Chat", "a.b_c-9"] {
        a.put_pool(name, json!({"capacity": 3}), 201).await;
    }
    a.acquire("crm", json!({}), 201).await;

    let listed = b.get("/v1/pools").expect(200).await;
    let names: Vec<_> = listed
        .list("items")
        .iter()
        .map(|pool| &pool["name"])
        .collect();
    assert_eq!(names, ["Chat", "a.b_c-9", "crm", "phone"]);
    assert_eq!(listed["items"][2]["in_use"], 1);
    assert_eq!(listed["items"][2]["capacity"], 3);
}

#[tokio::test]
async fn a_change_holds_on_every_node_from_the_answer_on() {
    let cluster = Installation::start(3).await;
    let [a, b, c] = &cluster.nodes[..] else {
        unreachable!()
    };
    a.put_pool("crm", json!({"capacity": 0}), 201).await;

    let mut tokens = Vec::new();
    for capacity in 1..=20 {
        a.patch_pool("crm", json!({ "capacity": capacity }), 200)
            .await;
        tokens.push(b.acquire("crm", json!({}), 201).await.token());
        c.acquire("crm", json!({}), 409).await;
    }
}

#[tokio::test]
async fn lowering_the_capacity_ends_nobody_and_grants_nothing_until_it_fits() {
    let cluster = Installation::two().await;
    let (a, b) = cluster.pair();
    a.put_pool("crm", json!({"capacity": 4}), 201).await;
    let leases = a.fill("crm", 4).await;

    a.patch_pool("crm", json!({"capacity": 2}), 200).await;

    let denial = b.acquire("crm", json!({}), 409).await;
    assert_eq!(denial["in_use"], 4);
    assert_eq!(denial["capacity"], 2);
    for lease in &leases {
        assert_eq!(b.renew(&lease.token(), 200).await["resumed"], false);
    }
    let availability = b.availability("crm", 200).await;
    assert_eq!(availability["in_use"], 4);
    assert_eq!(availability["free"], 0);

    for lease in &leases[..2] {
        b.release(&lease.token(), 204).await;
        b.acquire("crm", json!({}), 409).await;
    }
    b.release(&leases[2].token(), 204).await;
    b.acquire("crm", json!({}), 201).await;
    b.acquire("crm", json!({}), 409).await;
}

#[tokio::test]
async fn an_etag_guards_against_lost_updates() {
    let cluster = Installation::two().await;
    let (a, b) = cluster.pair();
    let put = |etag: &str, capacity: u32, status: u16| {
        let call = a
            .call(Method::PUT, "/v1/pools/crm")
            .header("if-match", etag);
        call.json(&json!({ "capacity": capacity })).expect(status)
    };

    let created = a.put_pool("crm", json!({"capacity": 5}), 201).await;
    let first = created
        .header("etag")
        .expect("a PUT says the new ETag")
        .to_owned();
    assert!(first.starts_with('"') && first.ends_with('"'), "{first}");
    assert_eq!(
        b.pool("crm", 200).await.header("etag"),
        Some(first.as_str())
    );

    let second = put(&first, 6, 200)
        .await
        .header("etag")
        .expect("an ETag")
        .to_owned();
    assert_ne!(first, second);

    // Somebody who still looks at the first version.
    assert_eq!(put(&first, 7, 412).await["code"], "precondition_failed");
    for method in [Method::PATCH, Method::DELETE] {
        let call = b.call(method, "/v1/pools/crm").header("if-match", &first);
        call.json(&json!({"capacity": 8})).expect(412).await;
    }
    assert_eq!(b.pool("crm", 200).await["capacity"], 6);

    // One of several, as RFC 9110 has it; a weak one matches nothing.
    assert_eq!(
        put(&format!("W/{second}"), 7, 412).await["code"],
        "precondition_failed"
    );
    put(&format!("{first}, \"7\""), 7, 412).await;
    let listed = put(&format!("{first}, W/\"7\" ,{second}"), 7, 200).await;
    let listed = listed.header("etag").expect("an ETag").to_owned();
    let patched = b
        .call(Method::PATCH, "/v1/pools/crm")
        .header("if-match", &first)
        .header("if-match", &listed);
    patched.json(&json!({"capacity": 8})).expect(200).await;

    put("*", 9, 200).await;
    let patched = b
        .call(Method::PATCH, "/v1/pools/crm")
        .header("if-match", &second);
    patched.json(&json!({"capacity": 8})).expect(412).await;
    let latest = b
        .pool("crm", 200)
        .await
        .header("etag")
        .expect("an ETag")
        .to_owned();
    b.call(Method::DELETE, "/v1/pools/crm")
        .header("if-match", &latest)
        .expect(204)
        .await;

    // Nothing is there to match.
    put("*", 5, 412).await;
    put(&latest, 5, 412).await;
    a.pool("crm", 404).await;
}

#[tokio::test]
async fn a_pool_is_not_created_over_another() {
    let cluster = Installation::one().await;
    let node = cluster.first();
    let create = |capacity: u32, status: u16| {
        let call = node
            .call(Method::PUT, "/v1/pools/crm")
            .header("if-none-match", "*");
        call.json(&json!({ "capacity": capacity })).expect(status)
    };

    create(5, 201).await;
    assert_eq!(create(9, 412).await["code"], "precondition_failed");

    assert_eq!(node.pool("crm", 200).await["capacity"], 5);
}

#[tokio::test]
async fn of_many_who_change_the_same_version_one_wins() {
    let cluster = Installation::two().await;
    let created = cluster.nodes[0]
        .put_pool("crm", json!({"capacity": 1}), 201)
        .await;
    let etag = created.header("etag").expect("an ETag").to_owned();

    let answers = join_all((0..20).map(|i| {
        let call = cluster.nodes[i % 2]
            .call(Method::PATCH, "/v1/pools/crm")
            .header("if-match", &etag);
        call.json(&json!({"capacity": 100 + i})).expect([200, 412])
    }))
    .await;

    let winners: Vec<_> = answers
        .iter()
        .filter(|answer| answer.status == 200)
        .collect();
    assert_eq!(winners.len(), 1);
    assert_eq!(
        cluster.nodes[1].pool("crm", 200).await["capacity"],
        winners[0]["capacity"]
    );
}

#[tokio::test]
async fn a_typing_error_is_never_a_silent_default() {
    let cluster = Installation::one().await;
    let node = cluster.first();
    node.put_pool("crm", json!({"capacity": 5}), 201).await;

    for policy in [
        json!({"capacity": 5, "tll_ms": 1_000}),
        json!({}),
        json!({"capacity": -1}),
        json!({"capacity": 1.5}),
        json!({"capacity": "5"}),
        json!({"capacity": null}),
        json!({"capacity": 10_000_001}),
        json!({"capacity": 5, "ttl_ms": 0}),
        json!({"capacity": 5, "ttl_ms": -1}),
        json!({"capacity": 5, "ttl_ms": 999}),
        json!({"capacity": 5, "ttl_ms": 86_400_001}),
        json!({"capacity": 5, "linger_ms": -1}),
        json!({"capacity": 5, "resume_window_ms": 86_400_001}),
        json!([5]),
    ] {
        let refused = node.put_pool("crm", policy, 400).await;
        assert_eq!(refused["code"], "invalid_request");
    }
    node.patch_pool("crm", json!({"capacitty": 9}), 400).await;
    node.patch_pool("crm", json!({"ttl_ms": 1}), 400).await;

    let pool = node.pool("crm", 200).await;
    assert_eq!(pool["capacity"], 5);
    assert_eq!(pool["ttl_ms"], 60_000);
}

#[tokio::test]
async fn deleting_a_pool_ends_its_leases_for_good() {
    let cluster = Installation::one().await;
    let node = cluster.first();
    node.put_pool("crm", json!({"capacity": 300}), 201).await;
    let leases = node.fill("crm", 250).await;
    let tokens: Vec<_> = leases.iter().map(Reply::token).collect();

    node.call(Method::DELETE, "/v1/pools/crm").expect(204).await;

    for token in [&tokens[0], &tokens[249]] {
        node.renew(token, 410).await;
    }
    node.put_pool("crm", json!({"capacity": 300}), 201).await;
    assert_eq!(node.pool("crm", 200).await["in_use"], 0);
    node.renew(&tokens[0], 410).await;
}

#[tokio::test]
async fn of_a_change_that_was_made_nobody_says_that_nothing_has_changed() {
    let mut cluster = Installation::start_on(Redis::start_alone().await, 1, &[]).await;
    // Redis goes away at some moment of each of these; whatever is said then must be true.
    for round in 0..36_u64 {
        let node = cluster.first();
        let pool = format!("crm-{round}");
        let policy = json!({"capacity": 1});
        node.put_pool(&pool, policy, 201).await;
        node.acquire(&pool, json!({"holder": "ann"}), 201).await;
        let path = format!("/v1/pools/{pool}");
        let change = match round % 3 {
            0 => node.call(Method::PUT, &path).json(&json!({"capacity": 2})),
            1 => node.call(Method::DELETE, &path),
            _ => node
                .post(&format!("{path}/leases/terminate"))
                .json(&json!({"holder": "ann", "block_ms": 600_000})),
        };
        let asked = tokio::spawn(change.expect(ANY));
        tokio::time::sleep(std::time::Duration::from_micros(round * 150)).await;
        cluster.redis.freeze().await;
        let answer = asked.await.expect("no panic");
        cluster.redis.thaw().await;
        let node = cluster.first();
        node.ready().await;
        let says = match answer.status {
            200 | 204 => Some(true),
            503 if answer["outcome"] == "none" => Some(false),
            503 => None,
            _ => panic!("{round}: {}", answer.text),
        };
        let is_done = match round % 3 {
            0 => node.pool(&pool, 200).await["capacity"] == 2,
            1 => node.pool(&pool, [200, 404]).await.status == 404,
            _ => {
                let blocks = node.get(&format!("{path}/blocks")).expect(200).await;
                !blocks.list("items").is_empty()
            }
        };
        assert!(
            says.is_none_or(|says| says == is_done),
            "{round}: {}",
            answer.text
        );
    }
}

#[tokio::test]
async fn what_was_read_can_be_put_back() {
    let cluster = Installation::one().await;
    let node = cluster.first();
    let policy = json!({
        "capacity": 3,
        "tenants": {"acme": {"max": 2, "reserved": 1}},
        "named": {"seats": 2, "anchor_day": 1, "time_zone": "UTC", "spill_to_concurrent": true},
        "overdraft": {"seats": 1, "seat_minutes_per_day": 10},
        "queue": {"max_waiting": 5},
        "schedule": [{"from": "2096-01-01T00:00:00.000Z", "until": "2096-01-02T00:00:00.000Z", "capacity": 9}],
        "alert_at_percent": [1],
        "outage_grace_ms": null,
    });
    node.put_pool("crm", policy, 201).await;
    node.acquire("crm", json!({"tenant": "acme"}), 201).await;
    node.acquire("crm", json!({"holder": "ann"}), 201).await;
    let block = json!({"for_ms": 60_000, "reason": "Call us."});
    node.call(Method::PUT, "/v1/pools/crm/blocks/bob")
        .json(&block)
        .expect(200)
        .await;
    let webhook = json!({"url": "https://hooks.example.com/x", "events": ["pool.full"], "pools": ["crm"], "enabled": false});
    let webhook = node.post("/v1/webhooks").json(&webhook).expect(201).await;
    let webhook = format!("/v1/webhooks/{}", webhook["id"].as_str().unwrap());

    let read = node.pool("crm", 200).await;
    assert_eq!(read["alert_level"], 1);
    assert!(read["next_change"].is_object() && read["named_in_use"].is_object());
    for path in ["/v1/pools/crm", &webhook] {
        let before = node.get(path).expect(200).await;
        let put = node
            .call(Method::PUT, path)
            .json(&before.body)
            .expect(200)
            .await;
        let after = node.get(path).expect(200).await;
        let but_for_the_version = |answer: &Value| {
            let mut answer = answer.clone();
            answer.as_object_mut().unwrap().remove("version");
            answer
        };
        assert_eq!(
            but_for_the_version(&after.body),
            but_for_the_version(&before.body)
        );
        assert_eq!(
            but_for_the_version(&put.body),
            but_for_the_version(&after.body)
        );
    }
    let before = node.get("/v1/pools/crm/blocks").expect(200).await;
    let put = node
        .call(Method::PUT, "/v1/pools/crm/blocks/bob")
        .json(&before["items"][0])
        .expect(200)
        .await;
    assert_eq!(put["until"], before["items"][0]["until"]);
    assert_eq!(put["reason"], "Call us.");

    // Any other field is a mistake, wherever it stands, and the answer says where.
    let wrong = json!({"capacity": 3, "free": 1, "capcity": 4});
    let refused = node.put_pool("crm", wrong, 400).await;
    assert_eq!(refused["field"], "capcity");
}

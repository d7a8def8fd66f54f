//! Named seats: taken by the first lease of a billing period, clear when the next one begins.

use chrono::DateTime;
use serde_json::{Value, json};

use super::jump;
use crate::harness::{Client, Installation, Launch, Node, Redis, Reply};

async fn seat(node: &Node, method: reqwest::Method, holder: &str, status: u16) -> Reply {
    node.call(method, &format!("/v1/pools/crm/named/{holder}"))
        .expect(status)
        .await
}

async fn holders(node: &Node, query: &str) -> Vec<String> {
    let list = node
        .get(&format!("/v1/pools/crm/named{query}"))
        .expect(200)
        .await;
    let name = |item: &Value| item["holder"].as_str().unwrap().to_owned();
    list.list("items").iter().map(name).collect()
}

fn ms(instant: &Value) -> u64 {
    let at: DateTime<chrono::Utc> = instant.as_str().unwrap().parse().unwrap();
    at.timestamp_millis().cast_unsigned()
}

#[tokio::test]
async fn the_first_lease_takes_a_seat_for_the_period_and_any_number_of_leases_follow() {
    let cluster = Installation::two().await;
    let (a, b) = cluster.pair();
    a.put_pool(
        "crm",
        json!({"capacity": 1, "named": {"seats": 2, "anchor_day": 5, "time_zone": "Europe/Zurich"}}),
        201,
    )
    .await;

    let first = a.acquire("crm", json!({"holder": "ann"}), 201).await;
    assert_eq!(first["lease"]["seat"], "named");
    assert_eq!(first["named_seats_left"], 1);
    // None of them counts against the capacity.
    assert_eq!(first["pool"], json!({"in_use": 0, "capacity": 1}));
    for node in [a, b, a] {
        node.acquire("crm", json!({"holder": "ann"}), 201).await;
    }
    let second = b.acquire("crm", json!({"holder": "bob"}), 201).await;
    assert_eq!(second["named_seats_left"], 0);

    let denial = a.acquire("crm", json!({"holder": "cid"}), 409).await;
    assert_eq!(denial["code"], "named_seats_exhausted");
    assert_eq!(
        denial["detail"],
        "You have reached your user limit for the period."
    );
    // The seat stays taken when all leases have ended.
    let renewed = b.renew(&first.token(), 200).await;
    assert_eq!(renewed["lease"]["seat"], "named");
    a.terminate("crm", json!({"all": true}), 200).await;
    a.acquire("crm", json!({"holder": "cid"}), 409).await;
    let again = b.acquire("crm", json!({"holder": "bob"}), 201).await;
    assert_eq!(again["lease"]["seat"], "named");
    assert_eq!(holders(a, "").await, ["ann", "bob"]);
    let availability = b.availability("crm", 200).await;
    assert_eq!(availability["in_use"], 0);
    assert_eq!(availability["named"]["taken"], 2);
    assert_eq!(availability["named"]["left"], 0);
}

#[tokio::test]
async fn who_finds_no_named_seat_gets_a_concurrent_one_if_the_pool_says_so() {
    let cluster = Installation::one().await;
    let node = cluster.first();
    node.put_pool(
        "crm",
        json!({"capacity": 1, "named": {"seats": 1, "spill_to_concurrent": true}}),
        201,
    )
    .await;
    node.acquire("crm", json!({"holder": "ann"}), 201).await;
    let spilled = node.acquire("crm", json!({"holder": "bob"}), 201).await;
    assert_eq!(spilled["lease"]["seat"], "concurrent");
    assert_eq!(spilled["pool"], json!({"in_use": 1, "capacity": 1}));
    assert_eq!(
        node.acquire("crm", json!({"holder": "cid"}), 409).await["code"],
        "pool_full"
    );
    node.acquire("crm", json!({"holder": "ann"}), 201).await;
}

#[tokio::test]
async fn operators_assign_free_and_transfer_once() {
    let cluster = Installation::two().await;
    let (a, b) = cluster.pair();
    a.put_pool("crm", json!({"capacity": 1, "named": {"seats": 2}}), 201)
        .await;

    let assigned = seat(a, reqwest::Method::PUT, "ann", 201).await;
    assert_eq!(assigned["how"], "assigned");
    seat(b, reqwest::Method::PUT, "ann", 200).await;
    a.acquire("crm", json!({"holder": "bob"}), 201).await;
    let full = seat(a, reqwest::Method::PUT, "cid", 409).await;
    assert_eq!(full["code"], "named_seats_exhausted");
    seat(a, reqwest::Method::GET, "cid", 404).await;

    let moved = b
        .post("/v1/pools/crm/named/ann/transfer")
        .json(&json!({"to": "cid"}))
        .expect(200)
        .await;
    assert_eq!(
        (&moved["holder"], &moved["how"]),
        (&json!("cid"), &json!("transferred"))
    );
    let twice = a
        .post("/v1/pools/crm/named/cid/transfer")
        .json(&json!({"to": "dan"}))
        .expect(409)
        .await;
    assert_eq!(twice["code"], "named_seat_transferred");
    a.acquire("crm", json!({"holder": "ann"}), 409).await;

    // Freed while its holder has a lease: that one ends, or there would be more holders than seats.
    let held = b.acquire("crm", json!({"holder": "bob"}), 201).await;
    seat(a, reqwest::Method::DELETE, "bob", 204).await;
    seat(a, reqwest::Method::DELETE, "bob", 404).await;
    assert_eq!(
        b.renew(&held.token(), 410).await["code"],
        "lease_terminated"
    );
    assert_eq!(holders(b, "").await, ["cid"]);
    b.acquire("crm", json!({"holder": "ann"}), 201).await;

    a.put_pool("erp", json!({"capacity": 1}), 201).await;
    a.get("/v1/pools/erp/named").expect(404).await;
    a.get("/v1/pools/none/named").expect(404).await;
}

#[tokio::test]
async fn all_seats_are_clear_when_the_next_period_begins_by_the_clock_of_redis() {
    let cluster = Installation::start_with(2, &[("sweep_every_ms", "0")]).await;
    let (a, b) = cluster.pair();
    a.put_pool(
        "crm",
        json!({"capacity": 0, "ttl_ms": 86_400_000,
            "named": {"seats": 2, "anchor_day": 31, "time_zone": "Europe/Zurich"}}),
        201,
    )
    .await;
    let gone = a.acquire("crm", json!({"holder": "ann"}), 201).await;
    a.release(&gone.token(), 204).await;
    a.acquire("crm", json!({"holder": "bob"}), 201).await;
    let until = ms(&a.get("/v1/pools/crm/named").expect(200).await["until"]);

    jump(&cluster.redis, "crm", until - 1_000).await;
    let held = b.acquire("crm", json!({"holder": "bob"}), 201).await;
    jump(&cluster.redis, "crm", until - 1).await;
    b.acquire("crm", json!({"holder": "cid"}), 409).await;
    jump(&cluster.redis, "crm", until).await;
    // A holder in the middle of a lease uses the new period with it; the seat of the other is free.
    assert_eq!(holders(a, "").await, ["bob"]);
    let first = a.acquire("crm", json!({"holder": "cid"}), 201).await;
    assert_eq!(first["named_seats_left"], 0);
    b.acquire("crm", json!({"holder": "ann"}), 409).await;
    b.renew(&held.token(), 200).await;
    // The period that is over is kept.
    let before = DateTime::from_timestamp_millis((until - 1).cast_signed()).unwrap();
    let query = format!("?at={}", before.format("%Y-%m-%dT%H:%M:%S%.3fZ"));
    assert_eq!(holders(b, &query).await, ["ann", "bob"]);
}

#[tokio::test]
async fn a_new_period_is_opened_in_bites_however_many_are_in_the_middle_of_a_lease() {
    let cluster = Installation::start_with(1, &[("sweep_every_ms", "0")]).await;
    let node = cluster.first();
    for (pool, holders) in [("few", 50_u64), ("some", 250), ("many", 450)] {
        node.put_pool(
            pool,
            json!({"capacity": 1, "ttl_ms": 86_400_000, "named": {"seats": holders}}),
            201,
        )
        .await;
        // Just before the period ends, so that nobody's lease does.
        let list = format!("/v1/pools/{pool}/named");
        let until = ms(&node.get(&list).expect(200).await["until"]);
        jump(&cluster.redis, pool, until - 1_000).await;
        let leases: Vec<Value> = (0..holders)
            .map(|number| json!({"holder": format!("agent {number:03}"), "tenant": format!("t{}", number % 3)}))
            .collect();
        let path = format!("/v1/pools/{pool}/leases/acquire-many");
        let body = json!({"leases": leases});
        node.post(&path).json(&body).expect(200).await;
        jump(&cluster.redis, pool, until).await;

        // Whoever is new is told the truth at once: every seat belongs to somebody who is in the middle of a lease.
        let before = calls(&cluster.redis).await;
        let denied = node.acquire(pool, json!({"holder": "new"}), 409).await;
        let scripts = calls(&cluster.redis).await - before;
        assert_eq!(denied["code"], "named_seats_exhausted", "{denied:?}");
        assert!(scripts > holders / 100, "{scripts} scripts for {holders}");
        assert!(
            scripts < 8 + holders / 25,
            "{scripts} scripts for {holders}"
        );

        let seats = node.get(&format!("{list}?limit=1000")).expect(200).await;
        assert_eq!(seats.list("items").len() as u64, holders);
        assert_eq!(seats["left"], 0);
        assert_eq!(ms(&seats["from"]), until);
        node.acquire(pool, json!({"holder": "agent 007"}), 201)
            .await;
    }
}

/// How many scripts ran in Redis.
async fn calls(redis: &Redis) -> u64 {
    let info: String = redis.query(&["INFO", "commandstats"]).await;
    let line = info
        .lines()
        .find_map(|line| line.strip_prefix("cmdstat_evalsha:calls="));
    line.map_or(0, |line| line.split(',').next().unwrap().parse().unwrap())
}

#[tokio::test]
async fn a_late_beat_of_a_named_seat_needs_no_free_one() {
    let cluster = Installation::start_with(1, &[("sweep_every_ms", "0")]).await;
    let node = cluster.first();
    node.put_pool(
        "crm",
        json!({"capacity": 0, "ttl_ms": 1_000, "named": {"seats": 1}}),
        201,
    )
    .await;
    let held = node.acquire("crm", json!({"holder": "ann"}), 201).await;
    crate::harness::let_pass(1_100).await;
    let resumed = node.renew(&held.token(), 200).await;
    assert_eq!(resumed["resumed"], true);
    assert_eq!(resumed["lease"]["seat"], "named");
}

/// A pool of named seats, and so many of them taken. Put there by hand: only how many there are matters.
async fn crowd(redis: &Redis, node: &Node, seats: u64, taken: u64) {
    node.put_pool(
        "crm",
        json!({"capacity": 1, "named": {"seats": seats}}),
        201,
    )
    .await;
    let period = ms(&node.get("/v1/pools/crm/named").expect(200).await["from"]);
    let key = redis.keys("lh1:*:crm:config").await[0].replace(":config", ":named");
    let entries: Vec<String> = (0..taken)
        .map(|number| format!("{period}\u{1}agent {number:05}\u{1}{period}\u{1}used"))
        .collect();
    for some in entries.chunks(500) {
        let mut command = vec!["ZADD", &key];
        for entry in some {
            command.extend(["0", entry.as_str()]);
        }
        let _: u64 = redis.query(&command).await;
    }
}

#[tokio::test]
async fn the_list_is_whole_and_what_is_left_is_right_beyond_five_thousand() {
    let cluster = Installation::one().await;
    let node = cluster.first();
    crowd(&cluster.redis, node, 12_000, 6_000).await;
    let (mut all, mut cursor, mut pages) = (Vec::new(), String::new(), 0);
    loop {
        let page = node.get(&format!("/v1/pools/crm/named?{cursor}"));
        let page = page.expect(200).await;
        assert_eq!(
            (&page["seats"], &page["left"]),
            (&json!(12_000), &json!(6_000))
        );
        let name = |item: &Value| item["holder"].as_str().unwrap().to_owned();
        all.extend(page.list("items").iter().map(name));
        pages += 1;
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("cursor={next}"),
            None => break,
        }
    }
    assert_eq!((pages, all.len()), (2, 6_000));
    assert!(all.is_sorted() && all[5_999] == "agent 05999");
    let few = node
        .get("/v1/pools/crm/named?limit=2&q=AGENT%2005")
        .expect(200)
        .await;
    assert_eq!(few.list("items")[1]["holder"], "agent 05001");
    assert!(few["next_cursor"].is_string());
    for query in ["limit=0", "limit=5001", "cursor=!"] {
        node.get(&format!("/v1/pools/crm/named?{query}"))
            .expect(400)
            .await;
    }

    for path in [
        "/v1/pools/crm/named?format=csv",
        "/admin/pools/crm/named?format=csv",
    ] {
        let file = node.get(path).expect(200).await.text;
        assert_eq!(file.lines().count(), 6_001, "{path}");
    }
    let page = node
        .get("/admin/pools/crm/named")
        .header("accept", "text/html");
    let page = page.expect(200).await.text;
    assert!(page.contains("6\u{202f}000 of 12\u{202f}000") && page.contains("Next page"));
    let page = node
        .get("/admin/pools/crm/named?q=05999")
        .header("accept", "text/html");
    assert!(page.expect(200).await.text.contains("agent 05999"));
    assert_eq!(node.availability("crm", 200).await["named"]["left"], 6_000);
}

#[tokio::test]
async fn a_seat_that_was_freed_changes_hands_once_in_a_period_unless_an_admin_says_otherwise() {
    let redis = Redis::start().await;
    let admin_key = "the-admin-key-of-this-test";
    let launch = Launch::on(&redis.url()).set("admin_key", admin_key);
    let node = launch.start().await;
    let admin = node.with_key(admin_key);
    let made = admin
        .post("/v1/keys")
        .json(&json!({"name": "floor", "role": "operator"}));
    let operator = node.with_key(made.expect(201).await["secret"].as_str().unwrap());
    admin
        .put_pool("crm", json!({"capacity": 1, "named": {"seats": 2}}), 201)
        .await;
    let free = |client: &Client, holder: &str, query: &str, status: u16| {
        let path = format!("/v1/pools/crm/named/{holder}{query}");
        client.call(reqwest::Method::DELETE, &path).expect(status)
    };
    admin.acquire("crm", json!({"holder": "ann"}), 201).await;
    free(&operator, "ann", "", 204).await;
    // Its own seat comes back to it as it was.
    admin.acquire("crm", json!({"holder": "ann"}), 201).await;
    free(&operator, "ann", "", 204).await;
    let held = admin.acquire("crm", json!({"holder": "bob"}), 201).await;
    let seat = operator.get("/v1/pools/crm/named/bob").expect(200).await;
    assert_eq!(seat["how"], "transferred");

    // The lease goes on, because nothing was done.
    let refused = free(&operator, "bob", "", 409).await;
    assert_eq!(refused["code"], "named_seat_transferred");
    let transfer = |force: bool| {
        let body = json!({"to": "cid", "force": force});
        operator
            .post("/v1/pools/crm/named/bob/transfer")
            .json(&body)
    };
    transfer(false).expect(409).await;
    admin.renew(&held.token(), 200).await;
    assert_eq!(transfer(true).expect(403).await["code"], "forbidden");
    free(&operator, "bob", "?force=true", 403).await;
    admin.renew(&held.token(), 200).await;

    // The other seat was never freed.
    admin.acquire("crm", json!({"holder": "dan"}), 201).await;
    free(&operator, "dan", "", 204).await;

    free(&admin, "bob", "?force=true", 204).await;
    assert_eq!(
        admin.renew(&held.token(), 410).await["code"],
        "lease_terminated"
    );
    let trail = admin.get("/v1/audit?action=named.delete").expect(200).await;
    let newest = &trail.list("items")[0];
    assert_eq!(
        (&newest["target"], &newest["after"]["force"]),
        (&json!("bob"), &json!(true))
    );
    // As new for the second who comes; the first takes the one that was only freed.
    admin.acquire("crm", json!({"holder": "eve"}), 201).await;
    admin.acquire("crm", json!({"holder": "fay"}), 201).await;
    free(&operator, "eve", "", 409).await;
    free(&operator, "fay", "", 204).await;
    assert_eq!(
        operator.get("/v1/pools/crm/named").expect(200).await["left"],
        1
    );
}

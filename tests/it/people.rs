//! People over all pools: what they hold, how operators end it, and the messages that they get.

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{Client, Installation, Launch, Redis, Reply};

const KEY: &str = "the-operator-key-of-the-tests";

async fn end(who: &Client, holder: &str, body: Value, status: u16) -> Reply {
    let path = format!("/v1/holders/{holder}/terminate");
    who.post(&path).json(&body).expect(status).await
}

async fn notify(who: &Client, holder: &str, body: Value, status: u16) -> Reply {
    let path = format!("/v1/holders/{holder}/notice");
    who.post(&path).json(&body).expect(status).await
}

fn names(page: &Reply) -> Vec<&str> {
    let items = page.list("items").iter();
    items
        .map(|item| item["holder"].as_str().expect("a name"))
        .collect()
}

#[tokio::test]
async fn a_person_is_found_in_all_pools_that_the_key_may_see() {
    let redis = Redis::start().await;
    let node = Launch::on(&redis.url()).set("admin_key", KEY).start().await;
    let admin = node.with_key(KEY);
    admin.put_pool("crm", json!({"capacity": 9}), 201).await;
    let rules = json!({"capacity": 9, "seat_per": "holder", "queue": {"max_waiting": 5}, "named": {"seats": 3}});
    admin.put_pool("erp", rules, 201).await;
    admin
        .put_pool("quiet", json!({"capacity": 9, "privacy": "anonymous"}), 201)
        .await;
    for pool in ["crm", "crm", "erp", "erp", "quiet"] {
        admin
            .acquire(pool, json!({"holder": "ann", "tenant": "acme"}), 201)
            .await;
    }
    admin.acquire("crm", json!({"holder": "Bob"}), 201).await;
    admin.acquire("crm", json!({}), 201).await;
    let block = admin.call(Method::PUT, "/v1/pools/crm/blocks/cid");
    block
        .json(&json!({"for_ms": 60_000, "reason": "Lunch"}))
        .expect(200)
        .await;

    let all = admin.get("/v1/holders").expect(200).await;
    assert_eq!(names(&all), ["Bob", "ann", "cid"]);
    let ann = &all.list("items")[1];
    assert_eq!(ann["seats"], 3);
    assert_eq!(ann["pools"][0]["pool"], "crm");
    assert_eq!(ann["pools"][0]["leases"], 2);
    assert_eq!(ann["pools"][1]["leases"], 2);
    assert!(ann["pools"][0]["since"].is_string() && ann["blocked_until"].is_null());
    assert!(all.list("items")[2]["blocked_until"].is_string());
    assert_eq!(all.list("items")[2]["seats"], 0);

    let find = async |query: &str| admin.get(&format!("/v1/holders?{query}")).expect(200).await;
    assert_eq!(names(&find("q=b").await), ["Bob"]);
    assert_eq!(names(&find("tenant=acme").await), ["ann"]);
    assert_eq!(names(&find("pool=erp").await), ["ann"]);
    let first = find("limit=1").await;
    let next = first["next_cursor"]
        .as_str()
        .expect("there are more")
        .to_owned();
    let second = find(&format!("limit=1&cursor={next}")).await;
    assert_eq!((names(&first), names(&second)), (vec!["Bob"], vec!["ann"]));
    admin.get("/v1/holders?pool=nowhere").expect(404).await;

    let shown = admin.get("/v1/holders/ann?days=30").expect(200).await;
    assert_eq!(shown.list("leases").len(), 4);
    assert_eq!(shown.list("named").len(), 1);
    assert_eq!(shown["history"][0]["pool"], "crm");
    assert_eq!(shown["history"][0]["leases"], 2);
    let cid = admin.get("/v1/holders/cid").expect(200).await;
    assert_eq!(cid["blocks"][0]["reason"], "Lunch");
    assert!(cid["history"].is_null());
    assert_eq!(
        admin.get("/v1/holders/zoe").expect(200).await["leases"],
        json!([])
    );
    admin.get("/v1/holders/ann?days=0").expect(400).await;

    // A key for one pool sees that, and what is in others is not there.
    let key = async |role: &str| {
        let key = json!({"name": "x", "role": role, "pools": ["erp"]});
        let made = admin.post("/v1/keys").json(&key).expect(201).await;
        node.with_key(made["secret"].as_str().expect("a secret"))
    };
    let (viewer, operator) = (key("viewer").await, key("operator").await);
    assert_eq!(names(&viewer.get("/v1/holders").expect(200).await), ["ann"]);
    viewer.get("/v1/holders?pool=crm").expect(404).await;
    let shown = viewer.get("/v1/holders/ann").expect(200).await;
    assert_eq!(shown.list("leases").len(), 2);
    end(&viewer, "ann", json!({}), 403).await;
    end(&operator, "ann", json!({"pools": ["crm"]}), 404).await;
    let ended = end(&operator, "ann", json!({"reason": "Over"}), 200).await;
    assert_eq!(ended.list("results").len(), 2);
    assert!(
        ended
            .list("results")
            .iter()
            .all(|one| one["status"] == "terminated" && one["pool"] == "erp")
    );
    assert_eq!(
        admin
            .get("/v1/holders/ann")
            .expect(200)
            .await
            .list("leases")
            .len(),
        2
    );
    let trail = admin.get("/v1/audit?limit=1").expect(200).await;
    assert_eq!(trail["items"][0]["action"], "holder.terminate");
}

#[tokio::test]
async fn somebody_is_found_by_what_it_works_on_and_has_a_history() {
    let cluster = Installation::one().await;
    let node = cluster.first();
    node.put_pool("crm", json!({"capacity": 1}), 201).await;
    node.put_pool("erp", json!({"capacity": 9}), 201).await;
    let ann = json!({"holder": "ann", "label": "Front desk", "activities": ["Order 48213"]});
    let first = node.acquire("crm", ann, 201).await;
    node.acquire("erp", json!({"holder": "ann"}), 201).await;
    node.acquire("erp", json!({"holder": "=bob"}), 201).await;
    let find = async |query: &str| node.get(&format!("/v1/holders?{query}")).expect(200).await;
    for text in ["48213", "front%20DESK"] {
        let found = find(&format!("q={text}")).await;
        assert_eq!(
            (names(&found), &found["items"][0]["seats"]),
            (vec!["ann"], &json!(1))
        );
    }
    assert_eq!(find("q=ann").await["items"][0]["seats"], 2);
    let file = find("format=csv").await;
    let lines: Vec<&str> = file.text.lines().collect();
    assert_eq!(lines[0], "holder,seats,leases,pools,since,blocked_until");
    assert!(
        lines[1].starts_with("'=bob,1,1,erp,") && lines[2].starts_with("ann,2,2,crm erp,"),
        "{}",
        file.text
    );

    // Denied, and then served.
    node.acquire("crm", json!({"holder": "cid"}), 409).await;
    node.release(&first.token(), 204).await;
    node.acquire("crm", json!({"holder": "cid"}), 201).await;
    let cid = node
        .get("/v1/holders/cid?days=30&tz=Europe/Zurich")
        .expect(200)
        .await;
    let crm = &cid["history"][0];
    assert_eq!(crm["denied"][0]["code"], "pool_full");
    assert!(crm["denied"][0]["waited_ms"].is_u64(), "{crm}");
    assert_eq!(crm["denied"][0]["true_denial"], false);
    assert_eq!(crm["days"].as_array().map(Vec::len), Some(1), "{crm}");
    let ann = node.get("/v1/holders/ann?days=30").expect(200).await;
    let ended = &ann["history"][0]["ended"][0];
    assert_eq!(
        (&ended["reason"], &ended["id"]),
        (&json!("released"), &json!(first.id()))
    );
    node.get("/v1/holders/ann?days=30&tz=Mars")
        .expect(400)
        .await;
}

#[tokio::test]
async fn the_trail_has_no_name_that_no_pool_keeps() {
    let cluster = Installation::one().await;
    let node = cluster.first();
    let policy = json!({"capacity": 9, "privacy": "pseudonymous"});
    node.put_pool("crm", policy, 201).await;
    node.put_pool("erp", json!({"capacity": 9, "privacy": "anonymous"}), 201)
        .await;
    let ann = json!({"holder": "unmistakable-ann"});
    let lease = node.acquire("crm", ann, 201).await;
    notify(node, "unmistakable-ann", json!({"message": "Lunch"}), 202).await;
    end(node, "unmistakable-ann", json!({}), 200).await;
    let trail = node.get("/v1/audit?limit=2").expect(200).await;
    assert_eq!(trail["items"][0]["action"], "holder.terminate");
    assert_eq!(trail["items"][0]["target"], lease["lease"]["holder"]);
    assert!(!trail.text.contains("unmistakable-ann"), "{}", trail.text);
}

#[tokio::test]
async fn a_notice_comes_with_the_next_heartbeat_and_once() {
    let cluster = Installation::two().await;
    let (a, b) = cluster.pair();
    a.put_pool("crm", json!({"capacity": 9}), 201).await;
    a.put_pool("erp", json!({"capacity": 9, "tenant_max": 5}), 201)
        .await;
    let crm = a.acquire("crm", json!({"holder": "ann"}), 201).await;
    let erp = a
        .acquire("erp", json!({"holder": "ann", "tenant": "acme"}), 201)
        .await;
    let other = a.acquire("crm", json!({"holder": "bob"}), 201).await;

    let sent = notify(a, "ann", json!({"message": "The shift ends at six."}), 202).await;
    assert_eq!(sent["leases"], 2);
    // A change of the policy forgets nothing.
    a.put_pool("crm", json!({"capacity": 8}), 200).await;
    let told = b.renew(&crm.token(), 200).await;
    assert_eq!(told["notice"]["message"], "The shift ends at six.");
    assert!(told["notice"]["at"].is_string());
    assert_eq!(told["resumed"], false);
    assert!(b.renew(&crm.token(), 200).await["notice"].is_null());
    assert!(b.renew(&other.token(), 200).await["notice"].is_null());
    let many = b.renew_many(&[&erp.token(), &other.token()], 200).await;
    let results = many.list("results");
    assert_eq!(results[0]["notice"]["message"], "The shift ends at six.");
    assert_eq!(
        (&results[0]["status"], &results[1]["status"]),
        (&json!("renewed"), &json!("renewed"))
    );
    assert!(results[1]["notice"].is_null());
    // Nothing is left of it that a heartbeat would have to look at.
    let configs = cluster.redis.keys("lh1:*:config").await;
    for config in configs {
        let left: i64 = cluster.redis.query(&["HEXISTS", &config, "noticed"]).await;
        assert_eq!(left, 0, "{config}");
    }

    let only = json!({"message": "Hello", "pools": ["erp"]});
    assert_eq!(notify(a, "ann", only, 202).await["leases"], 1);
    assert_eq!(
        notify(a, "zoe", json!({"message": "Hello"}), 202).await["leases"],
        0
    );
    notify(a, "ann", json!({"message": " "}), 400).await;
    notify(a, "ann", json!({"message": "x".repeat(513)}), 400).await;
    notify(a, "ann", json!({}), 400).await;
}

#[tokio::test]
async fn notices_that_wait_come_one_by_one_and_no_more_are_taken_than_can_wait() {
    let cluster = Installation::two().await;
    let (a, b) = cluster.pair();
    let policy = json!({"capacity": 9, "idle": {"after_ms": 60_000, "then": "count"}});
    a.put_pool("crm", policy, 201).await;
    let lease = a.acquire("crm", json!({"holder": "ann"}), 201).await;
    for number in 1..=8 {
        let message = json!({"message": format!("Number {number}")});
        notify(a, "ann", message, 202).await;
    }
    let refused = notify(b, "ann", json!({"message": "One more"}), 429).await;
    assert_eq!(refused["code"], "too_many_requests");
    assert!(refused.header("retry-after").is_some());
    for number in 1..=8 {
        let told = b.renew(&lease.token(), 200).await;
        assert_eq!(told["notice"]["message"], format!("Number {number}"));
        if number == 1 {
            notify(b, "ann", json!({"message": "Number 9"}), 202).await;
        }
    }
    // How it is to end is not lost among them.
    end(a, "ann", json!({"when": "idle", "reason": "Update"}), 200).await;
    let lost = b.renew(&lease.token(), 410).await;
    assert_eq!(lost["reason"], "Update");

    let lease = a.acquire("crm", json!({"holder": "bob"}), 201).await;
    notify(a, "bob", json!({"message": "Once"}), 202).await;
    notify(a, "bob", json!({"message": "Twice"}), 202).await;
    for message in [json!("Once"), json!("Twice"), Value::Null] {
        let told = b.renew(&lease.token(), 200).await;
        assert_eq!(
            told["notice"].get("message").unwrap_or(&Value::Null),
            &message
        );
    }
    let config = cluster.redis.keys("lh1:*:config").await.remove(0);
    let left: i64 = cluster.redis.query(&["HEXISTS", &config, "noticed"]).await;
    assert_eq!(left, 0);
    let notices = cluster.redis.keys("lh1:*:notices").await.remove(0);
    let left: Vec<String> = cluster.redis.query(&["HKEYS", &notices]).await;
    let waits = |field: &&String| !field.starts_with("i:");
    assert_eq!(left.iter().filter(waits).count(), 0, "{left:?}");
}

#[tokio::test]
async fn who_is_to_end_when_idle_ends_with_the_first_heartbeat_without_activities() {
    let cluster = Installation::one().await;
    let node = cluster.first();
    node.put_pool("crm", json!({"capacity": 9}), 201).await;
    let busy = json!({"holder": "ann", "activities": ["Order 17"]});
    let lease = node.acquire("crm", busy, 201).await;
    let ended = end(
        node,
        "ann",
        json!({"when": "idle", "reason": "Update", "block_ms": 60_000}),
        200,
    )
    .await;
    assert_eq!(ended.list("results")[0]["status"], "pending");
    assert_eq!(ended.list("results")[0]["id"], lease.id());

    let token = lease.token();
    node.renew(&token, 200).await;
    let renewed = node
        .renew_with(json!({"token": token, "activities": ["Order 18"]}), 200)
        .await;
    assert_eq!(renewed["lease"]["activities"], json!(["Order 18"]));
    let lost = node
        .renew_with(json!({"token": token, "activities": []}), 410)
        .await;
    assert_eq!(lost["code"], "lease_terminated");
    assert_eq!(lost["reason"], "Update");
    assert!(lost["blocked_until"].is_string());
    node.acquire("crm", json!({"holder": "ann"}), 409).await;
    let again = node.renew(&token, 410).await;
    assert_eq!(again["reason"], "Update");
    assert_eq!(node.pool("crm", 200).await["in_use"], 0);
}

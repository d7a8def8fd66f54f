//! A record that only a later version can read spoils itself and nothing else, and is named where an operator looks.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use crate::admin_pages::log_in;
use crate::failover::run;
use crate::harness::{Client, Launch, Node, Receiver, Redis, Reply, Scrape, wait_until};

const KEY: &str = "the-operator-key-of-the-tests";

fn id(reply: &Reply) -> String {
    reply["id"].as_str().expect("an id").to_owned()
}

async fn key_of(redis: &Redis, end: &str) -> String {
    let keys = redis.keys(&format!("lh1:*:{end}")).await;
    assert_eq!(keys.len(), 1, "{keys:?}");
    keys[0].clone()
}

async fn start(redis: &Redis) -> Node {
    Launch::on(&redis.url())
        .set("admin_key", KEY)
        .set("webhook_http", "on")
        .set("webhook_private_networks", "on")
        .set("webhook_retry_ms", "100")
        .start()
        .await
}

async fn unreadable(node: &Node, kind: &str) -> f64 {
    let scrape = Scrape::of(&node.with_key(KEY)).await;
    scrape
        .get("leasehold_unreadable_records", &[("kind", kind)])
        .unwrap_or(0.0)
}

#[tokio::test]
async fn what_a_later_version_wrote_spoils_nothing_but_itself() {
    let redis = Redis::start().await;
    let mut node = start(&redis).await;
    let other = start(&redis).await;
    let admin = node.with_key(KEY);
    admin.put_pool("crm", json!({"capacity": 5}), 201).await;
    admin
        .put_pool("phone", json!({"capacity": 9, "ttl_ms": 1_000}), 201)
        .await;
    let lease = admin.acquire("crm", json!({"holder": "ann"}), 201).await;
    let viewer = admin
        .post("/v1/keys")
        .json(&json!({"name": "a viewer", "role": "viewer"}))
        .expect(201)
        .await;
    let (viewer_id, viewer_key) = (
        id(&viewer),
        viewer["secret"].as_str().expect("one").to_owned(),
    );
    let receiver = Receiver::start().await;
    let webhook = admin
        .post("/v1/webhooks")
        .json(&json!({"url": receiver.url(), "events": ["pool.full"]}))
        .expect(201)
        .await;
    let webhook = id(&webhook);

    // One of each kind, as a version to come could write it.
    let crm = key_of(&redis, "crm:config").await;
    let events = key_of(&redis, "phone:events").await;
    let outbox = events.replace("phone:events", "alerts");
    let rolled = events.replace("events", "rolled");
    let message = format!("msg_tomorrow_{webhook}");
    let pending = format!("lh1:{{alerts}}:{webhook}:pending");
    let tomorrow = r#"{"tomorrow":true}"#;
    let alert = r#"{"type":"pool.tomorrow","state":"firing","at":1,"since":1}"#;
    let clock = redis.query::<Vec<i64>>(&["TIME"]).await;
    let now = (clock[0] * 1_000).to_string();
    let key = r#"{"id":"tomorrow1234","name":"x","role":"tomorrow"}"#;
    let hook = r#"{"id":"tomorrow1234","events":["pool.tomorrow"]}"#;
    let writes: [&[&str]; 12] = [
        &["HSET", "lh1:{keys}:records", "tomorrow1234", key],
        &["INCR", "lh1:{keys}:revision"],
        &["HSET", "lh1:{alerts}:webhooks", "tomorrow1234", hook],
        &["INCR", "lh1:{alerts}:revision"],
        &["HSET", &crm, "policy", r#"{"capacity":5,"tomorrow":true}"#],
        &["XADD", "lh1:{audit}:trail", "*", "action", tomorrow],
        &["XADD", "lh1:{alerts}:log", "*", "alert", alert],
        &["HSET", "lh1:{alerts}:raised", "tomorrow", alert],
        &["XADD", &outbox, "*", "alert", alert],
        &["HSET", "lh1:{alerts}:deliveries", &message, tomorrow],
        &["ZADD", &pending, "1", &message],
        &["ZADD", "lh1:{nodes}:signs", &now, tomorrow],
    ];
    for write in writes {
        let _: redis::Value = redis.query(write).await;
    }
    let _: redis::Value = redis.query(&["SET", &rolled, tomorrow]).await;

    // A key that is revoked at another node is refused here, and a node starts that has to read all of it.
    node.with_key(&viewer_key)
        .get("/v1/pools")
        .expect(200)
        .await;
    let revoked = format!("/v1/keys/{viewer_id}");
    other
        .with_key(KEY)
        .call(Method::DELETE, &revoked)
        .expect(204)
        .await;
    wait_until("the key is refused", Duration::from_secs(5), async || {
        let reply = node
            .with_key(&viewer_key)
            .get("/v1/pools")
            .expect([200, 401])
            .await;
        reply.status == 401
    })
    .await;
    node.restart().await;
    let admin = node.with_key(KEY);
    node.with_key(&viewer_key)
        .get("/v1/pools")
        .expect(401)
        .await;

    // Its pool gives no seats here; who has one goes on and can end.
    let refused = admin.acquire("crm", json!({"holder": "bob"}), 503).await;
    assert_eq!(refused["code"], "newer_node_needed");
    assert_eq!(refused["outcome"], "none");
    node.renew(&lease.token(), 200).await;
    node.release(&lease.token(), 204).await;
    let pools = admin.get("/v1/pools").expect(200).await;
    assert_eq!(pools.list("items").len(), 1);
    assert_eq!(pools["items"][0]["name"], "phone");
    assert_eq!(pools["unreadable"], json!(["crm"]));
    admin.get("/v1/pools/crm").expect(503).await;

    // The other pool has its ends recorded, its alerts told, and messages that flow.
    admin.acquire("phone", json!({"holder": "cid"}), 201).await;
    wait_until("the end is recorded", Duration::from_secs(10), async || {
        let all = redis.events("phone").await;
        all.iter().any(|event| event.kind == "ended")
    })
    .await;
    admin.put_pool("desk", json!({"capacity": 1}), 201).await;
    admin.fill("desk", 1).await;
    let told = receiver.got(1).await;
    assert_eq!(told[0].json["type"], "pool.full");
    wait_until("it was given up", Duration::from_secs(20), async || {
        let dead: Vec<String> = redis
            .query(&["ZRANGE", &pending.replace("pending", "dead"), "0", "-1"])
            .await;
        dead == [message.clone()]
    })
    .await;
    for path in [
        "/v1/keys",
        "/v1/webhooks",
        "/v1/audit",
        "/v1/alerts",
        "/v1/nodes",
        "/v1/pools/phone/history",
        "/v1/pools/phone/leases",
    ] {
        let status = if path.ends_with("history") { 503 } else { 200 };
        admin.get(path).expect(status).await;
    }
    let listed = admin
        .get(&format!("/v1/webhooks/{webhook}/deliveries?state=dead"))
        .expect(200)
        .await;
    assert_eq!(listed.list("items"), Vec::<Value>::new());

    // Each is counted, and named once.
    for kind in [
        "access_key",
        "webhook",
        "pool",
        "delivery",
        "node",
        "audit_entry",
        "alert",
    ] {
        assert!(unreadable(&node, kind).await >= 1.0, "{kind}");
    }
    let log = node.all_said().await;
    for name in [
        "the access key tomorrow1234",
        "the webhook tomorrow1234",
        "the policy of the pool crm",
    ] {
        let lines = log
            .lines()
            .filter(|line| line.contains(&format!("{name} cannot be read")));
        assert_eq!(lines.count(), 1, "{name}: {log}");
    }
    assert!(!log.contains("panic"), "{log}");
    let doctor = run("doctor", &redis.direct_url());
    let findings = String::from_utf8_lossy(&doctor.stdout).into_owned();
    for name in [
        "access key tomorrow1234",
        "webhook tomorrow1234",
        "pool crm",
    ] {
        assert!(findings.contains(name), "{name}: {findings}");
    }
}

/// The hash of the records of a kind, the path of their list, and the id of one called `first`.
async fn one_of_each(admin: &Client) -> [(&'static str, &'static str, String); 2] {
    let key = json!({"name": "first", "role": "viewer"});
    let key = admin.post("/v1/keys").json(&key).expect(201).await;
    let hook = json!({"name": "first", "url": "https://hooks.example.com/", "events": ["*"]});
    let hook = admin.post("/v1/webhooks").json(&hook).expect(201).await;
    [
        ("lh1:{keys}:records", "/v1/keys", id(&key)),
        ("lh1:{alerts}:webhooks", "/v1/webhooks", id(&hook)),
    ]
}

#[tokio::test]
async fn a_record_that_changed_without_a_new_revision_can_be_changed_and_deleted() {
    let redis = Redis::start().await;
    let node = start(&redis).await;
    let admin = node.with_key(KEY);
    for (records, path, id) in one_of_each(&admin).await {
        let one = format!("{path}/{id}");
        let change_behind = async |from: &str, to: &str| {
            let stored: String = redis.query(&["HGET", records, &id]).await;
            let changed = stored.replace(from, to);
            assert_ne!(changed, stored);
            let _: i64 = redis.query(&["HSET", records, &id, &changed]).await;
        };
        change_behind("first", "second").await;
        let patch = json!({"pools": ["crm"]});
        let patched = admin.call(Method::PATCH, &one).json(&patch);
        let patched = patched.expect(200).await;
        assert_eq!(patched["name"], "second");
        assert_eq!(patched["pools"], json!(["crm"]));
        change_behind("second", "third").await;
        let rolled = admin.post(&format!("{one}/roll")).json(&json!({}));
        assert_eq!(rolled.expect(200).await["name"], "third");
        change_behind("third", "fourth").await;
        admin.call(Method::DELETE, &one).expect(204).await;
        admin.get(&one).expect(404).await;
    }
}

#[tokio::test]
async fn a_record_that_cannot_be_read_is_not_changed_and_can_be_deleted() {
    let redis = Redis::start().await;
    let node = start(&redis).await;
    let admin = node.with_key(KEY);
    for (records, path, id) in one_of_each(&admin).await {
        let one = format!("{path}/{id}");
        let newer = format!(r#"{{"id":"{id}","tomorrow":true}}"#);
        let _: i64 = redis.query(&["HSET", records, &id, &newer]).await;
        let patch = json!({"name": "x"});
        let refused = admin.call(Method::PATCH, &one).json(&patch);
        let refused = refused.expect(503).await;
        assert_eq!(refused["code"], "newer_node_needed");
        assert_eq!(refused["outcome"], "none");
        let refused = admin.get(&one).expect(503).await;
        assert_eq!(refused["code"], "newer_node_needed");
        admin.call(Method::DELETE, &one).expect(204).await;
        admin.get(&one).expect(404).await;
        let is_there: i64 = redis.query(&["HEXISTS", records, &id]).await;
        assert_eq!(is_there, 0);
    }
}

#[tokio::test]
async fn a_change_that_was_made_is_no_error_because_it_could_not_be_read_again() {
    let redis = Redis::start().await;
    let node = Launch::on(&redis.url()).start().await;
    // Scripts work, and what a node reads by itself does not.
    let _: redis::Value = redis
        .query(&["ACL", "SETUSER", "default", "-hgetall"])
        .await;
    let made = node
        .post("/v1/keys")
        .json(&json!({"name": "x", "role": "viewer"}))
        .expect(201)
        .await;
    let hook = node
        .post("/v1/webhooks")
        .json(&json!({"url": "https://hooks.example.com/", "events": ["*"]}))
        .expect(201)
        .await;
    let _: redis::Value = redis
        .query(&["ACL", "SETUSER", "default", "+hgetall"])
        .await;
    for path in [
        format!("/v1/keys/{}", id(&made)),
        format!("/v1/webhooks/{}", id(&hook)),
    ] {
        wait_until("it is known", Duration::from_secs(10), async || {
            node.get(&path).expect([200, 404]).await.status == 200
        })
        .await;
        let _: redis::Value = redis
            .query(&["ACL", "SETUSER", "default", "-hgetall"])
            .await;
        node.call(Method::DELETE, &path).expect(204).await;
        let _: redis::Value = redis
            .query(&["ACL", "SETUSER", "default", "+hgetall"])
            .await;
    }
}

#[tokio::test]
async fn a_new_word_waits_until_every_node_that_is_up_knows_it() {
    let redis = Redis::start().await;
    let node = Launch::on(&redis.url()).start().await;
    let folded = json!({"capacity": 5, "holder_match": "folded"});
    // As a node of the version before signs, which says nothing of what it knows.
    let clock = redis.query::<Vec<i64>>(&["TIME"]).await;
    let now = clock[0] * 1_000;
    let old = json!({"id": "old", "version": "0.0.9", "host": "older", "address": "10.0.0.9:7070", "started_at_ms": now});
    let (old, now) = (old.to_string(), (now + 600_000).to_string());
    let _: redis::Value = redis
        .query(&["ZADD", "lh1:{nodes}:signs", &now, &old])
        .await;

    let refused = node.put_pool("crm", folded.clone(), 409).await;
    assert_eq!(refused["code"], "older_node");
    assert!(
        refused.text.contains("older at 10.0.0.9:7070"),
        "{}",
        refused.text
    );
    // What it knows is written so that it can read it.
    node.put_pool("crm", json!({"capacity": 5, "holder_match": "exact"}), 201)
        .await;
    let crm = key_of(&redis, "crm:config").await;
    let policy: String = redis.query(&["HGET", &crm, "policy"]).await;
    assert!(!policy.contains("holder_match"), "{policy}");

    let _: redis::Value = redis.query(&["ZREM", "lh1:{nodes}:signs", &old]).await;
    node.put_pool("crm", folded, 200).await;
}

#[tokio::test]
async fn a_session_of_a_later_version_admits_nobody_here_and_goes_on_there() {
    let redis = Redis::start().await;
    let node = start(&redis).await;
    let page = async |cookie: &str, status: u16| {
        let page = node.get("/admin").header("accept", "text/html");
        page.header("cookie", cookie).expect(status).await
    };
    let cookie = log_in(&node, KEY).await;
    page(&cookie, 200).await;
    let sessions = "lh1:sessions:{login}";
    let ours: Vec<(String, String)> = redis.query(&["HGETALL", sessions]).await;
    let [(login, session)] = &ours[..] else {
        panic!("{ours:?}")
    };
    // Made by somebody who came by another way than a key; only how it is bound to that is new.
    let clock = redis.query::<Vec<i64>>(&["TIME"]).await;
    let theirs = json!({"person": "ann", "since_ms": (clock[0] - 3_600) * 1_000}).to_string();
    let _: redis::Value = redis.query(&["HSET", sessions, login, &theirs]).await;
    page(&cookie, 303).await;

    // Whoever logs in here forgets what is over, and that is not.
    let other = log_in(&node, KEY).await;
    page(&other, 200).await;
    let admin = node.with_key(KEY);
    let listed = admin.get("/v1/sessions").expect(200).await;
    assert_eq!(listed.list("items").len(), 1, "{}", listed.text);
    let kept: Option<String> = redis.query(&["HGET", sessions, login]).await;
    assert_eq!(kept.as_ref(), Some(&theirs));
    assert_eq!(unreadable(&node, "session").await, 1.0);
    let doctor = run("doctor", &redis.direct_url());
    let findings = String::from_utf8_lossy(&doctor.stdout).into_owned();
    let named = format!("the session {}", &login[..16]);
    assert!(findings.contains(&named), "{findings}");
    assert!(!findings.contains(&login[..20]), "{findings}");

    let _: redis::Value = redis.query(&["HSET", sessions, login, session]).await;
    page(&cookie, 200).await;
    admin.get("/v1/sessions").expect(200).await;
    assert_eq!(unreadable(&node, "session").await, 0.0);
}
